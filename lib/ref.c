/* Object references and uuids.
 * Called by: everyone.  Calls: getrandom. */
#include "lib/ref.h"

#include <endian.h>
#include <sys/random.h>

struct ref ref_new_secret(void)
{
    struct ref r;

    if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r)) abort();
    return r;
}

/* RFC 9562, version 4. libuuid's own would seed three generators each time. */
struct ref ref_new(void)
{
    struct ref r = ref_new_secret();

    r.hi = (r.hi & ~UINT64_C(0xf000)) | UINT64_C(0x4000);
    r.lo = (r.lo & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
    return r;
}

/* Eight hexadecimal digits at once: the nibbles are spread over the bytes of a word. */
static void put_digits(uint32_t bits, char out[8])
{
    uint64_t x = bits;

    x = (x << 16 | x) & UINT64_C(0x0000ffff0000ffff);
    x = (x << 8 | x) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x << 4 | x) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    /* 10 to 15 are letters, 39 behind where the digits would go on. */
    uint64_t letters = (x + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
    x = htobe64(x + UINT64_C(0x3030303030303030) + letters * 39);
    memcpy(out, &x, 8);
}

const char *uuid_to_text(struct ref r, char buf[UUID_TEXT])
{
    char digits[32];

    put_digits((uint32_t)(r.hi >> 32), digits);
    put_digits((uint32_t)r.hi, digits + 8);
    put_digits((uint32_t)(r.lo >> 32), digits + 16);
    put_digits((uint32_t)r.lo, digits + 24);
    memcpy(buf, digits, 8);
    memcpy(buf + 9, digits + 8, 4);
    memcpy(buf + 14, digits + 12, 4);
    memcpy(buf + 19, digits + 16, 4);
    memcpy(buf + 24, digits + 20, 12);
    buf[8] = buf[13] = buf[18] = buf[23] = '-';
    buf[36] = '\0';
    return buf;
}

/* One more than the digit's value; 0 = no digit. */
static const unsigned char digit_values[256] = {
    ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
    ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* n digits; stops at the first that is none, so that the end of the text is never passed. */
static bool take_digits(const char **s, int n, uint64_t *bits)
{
    for (; n > 0; n--, (*s)++) {
        unsigned digit = digit_values[(unsigned char)**s];
        if (!digit) return false;
        *bits = *bits << 4 | (digit - 1);
    }
    return true;
}

bool uuid_from_text(const char *s, struct ref *ret_bytes)
{
    struct ref r = REF_NULL;

    if (!take_digits(&s, 8, &r.hi) || *s++ != '-' || !take_digits(&s, 4, &r.hi) || *s++ != '-' ||
        !take_digits(&s, 4, &r.hi) || *s++ != '-' || !take_digits(&s, 4, &r.lo) || *s++ != '-' ||
        !take_digits(&s, 12, &r.lo) || *s)
        return false;
    *ret_bytes = r;
    return true;
}

const char *ref_text(struct ref r, char buf[REF_TEXT])
{
    memcpy(buf, "OpaqueRef:", 10);
    if (ref_is_null(r)) memcpy(buf + 10, "NULL", 5);
    else uuid_to_text(r, buf + 10);
    return buf;
}

bool ref_parse(const char *s, struct ref *ret_ref)
{
    if (!*s || streq(s, "OpaqueRef:NULL")) {
        *ret_ref = REF_NULL;
        return true;
    }
    return has_prefix(s, "OpaqueRef:") && uuid_from_text(s + 10, ret_ref);
}

const char *uuid_new(char buf[UUID_TEXT])
{
    return uuid_to_text(ref_new(), buf);
}
