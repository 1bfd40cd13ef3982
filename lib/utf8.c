/* UTF-8 checking and the search for bytes that need attention, sixteen at a time.
 * Called by: xmlrpc, json, log.  Calls: strbuf. */
#include "lib/utf8.h"

unsigned utf8_next(const char *s, size_t n, uint32_t *ret_cp)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned len;
    uint32_t cp, least;

    if (u[0] < 0x80) {
        *ret_cp = u[0];
        return 1;
    }
    if (u[0] < 0xc2) return 0;
    if (u[0] < 0xe0) len = 2, cp = u[0] & 0x1fu, least = 0x80;
    else if (u[0] < 0xf0) len = 3, cp = u[0] & 0x0fu, least = 0x800;
    else if (u[0] < 0xf5) len = 4, cp = u[0] & 0x07u, least = 0x10000;
    else return 0;
    if (n < len) return 0;
    for (unsigned i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
        cp = cp << 6 | (u[i] & 0x3fu);
    }
    if (cp < least || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) return 0;
    *ret_cp = cp;
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        unsigned len = utf8_next(s + i, n - i, &cp);
        if (!len) return false;
        i += len;
    }
    return true;
}

unsigned utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    unsigned len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (unsigned i = len - 1; i; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)(lead[len] | cp);
    return len;
}

void utf8_repair(const char *s, size_t n, struct strbuf *out)
{
    uint32_t cp;

    for (size_t i = 0, start = 0; i <= n;) {
        unsigned len = i < n ? utf8_next(s + i, n - i, &cp) : 0;
        if (len) {
            i += len;
            continue;
        }
        strbuf_add(out, s + start, i - start);
        if (i < n) strbuf_add(out, UTF8_REPLACEMENT, 3);
        start = ++i;
    }
}

/* Signed bytes: those from 0x80 up are negative, so one comparison finds them together with the controls. */
typedef signed char block __attribute__((vector_size(16)));

static inline bool any(block m)
{
    uint64_t half[2];

    memcpy(half, &m, sizeof(half));
    return (half[0] | half[1]) != 0;
}

static inline bool plain_xml_char(char c)
{
    signed char x = (signed char)c;

    return x >= 0x20 && (x | 2) != '>' && (x | 4) != '&';   /* '<' | 2 == '>', '"' | 4 == '&' */
}

static inline bool plain_json_char(char c)
{
    signed char x = (signed char)c;

    return x >= 0x20 && x != '"' && x != '\\';
}

size_t utf8_plain_run_xml(const char *s, size_t n)
{
    size_t i = 0;

    for (; n - i >= sizeof(block); i += sizeof(block)) {
        block x;
        memcpy(&x, s + i, sizeof(x));
        if (any((x < 0x20) | ((x | 2) == '>') | ((x | 4) == '&'))) break;
    }
    while (i < n && plain_xml_char(s[i])) i++;
    return i;
}

size_t utf8_plain_run_json(const char *s, size_t n)
{
    size_t i = 0;

    for (; n - i >= sizeof(block); i += sizeof(block)) {
        block x;
        memcpy(&x, s + i, sizeof(x));
        if (any((x < 0x20) | (x == '"') | (x == '\\'))) break;
    }
    while (i < n && plain_json_char(s[i])) i++;
    return i;
}
