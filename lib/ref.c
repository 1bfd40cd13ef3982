/* Object references and uuids.
 * Called by: everyone.  Calls: libuuid, getrandom. */
#include "lib/ref.h"

#include <sys/random.h>
#include <uuid/uuid.h>

static struct ref from_bytes(const unsigned char u[16])
{
    struct ref r = REF_NULL;

    for (int i = 0; i < 8; i++) {
        r.hi = r.hi << 8 | u[i];
        r.lo = r.lo << 8 | u[i + 8];
    }
    return r;
}

struct ref ref_new(void)
{
    uuid_t u;

    uuid_generate_random(u);
    return from_bytes(u);
}

struct ref ref_new_secret(void)
{
    unsigned char u[16];

    if (getrandom(u, sizeof(u), 0) != (ssize_t)sizeof(u)) abort();
    return from_bytes(u);
}

const char *uuid_to_text(struct ref r, char buf[UUID_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    char *p = buf;

    for (int i = 0; i < 16; i++) {
        unsigned byte = (unsigned)((i < 8 ? r.hi >> (56 - 8 * i) : r.lo >> (56 - 8 * (i - 8))) & 0xff);
        if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
        *p++ = hex[byte >> 4];
        *p++ = hex[byte & 15];
    }
    *p = '\0';
    return buf;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool uuid_from_text(const char *s, struct ref *ret_bytes)
{
    unsigned char u[16];
    int at = 0;

    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && s[at++] != '-') return false;
        int high = hex_digit(s[at]);
        int low = high < 0 ? -1 : hex_digit(s[at + 1]);
        if (low < 0) return false;
        u[i] = (unsigned char)(high << 4 | low);
        at += 2;
    }
    if (s[at]) return false;
    *ret_bytes = from_bytes(u);
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
