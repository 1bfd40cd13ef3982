/* Base64 in and out of byte buffers.
 * Called by: xmlrpc, http, rpc/.  Calls: strbuf. */
#include "lib/base64.h"

void base64_encode(const void *bytes, size_t n, struct strbuf *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *u = bytes;

    strbuf_reserve(out, (n + 2) / 3 * 4);
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t bits = (uint32_t)u[i] << 16;
        if (have > 1) bits |= (uint32_t)u[i + 1] << 8;
        if (have > 2) bits |= u[i + 2];
        char text[4] = { alphabet[bits >> 18], alphabet[bits >> 12 & 63], '=', '=' };
        if (have > 1) text[2] = alphabet[bits >> 6 & 63];
        if (have > 2) text[3] = alphabet[bits & 63];
        strbuf_add(out, text, sizeof(text));
    }
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return -1;
}

bool base64_decode(const char *s, size_t n, struct strbuf *out)
{
    size_t before = out->len, digits = 0, padding = 0;
    uint32_t bits = 0;

    strbuf_reserve(out, n / 4 * 3 + 3);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ' || s[i] == '\t' || s[i] == '\r' || s[i] == '\n') continue;
        if (s[i] == '=') {
            padding++;
            continue;
        }
        int d = digit(s[i]);
        if (d < 0 || padding) goto bad;
        bits = bits << 6 | (uint32_t)d;
        if (++digits % 4) continue;
        strbuf_add(out, (char[3]){ (char)(bits >> 16), (char)(bits >> 8), (char)bits }, 3);
        bits = 0;
    }
    size_t tail = digits % 4;
    if (tail == 1 || (padding && (tail == 0 || tail + padding != 4))) goto bad;
    if (tail == 2) strbuf_add(out, (char[1]){ (char)(bits >> 4) }, 1);
    if (tail == 3) strbuf_add(out, (char[2]){ (char)(bits >> 10), (char)(bits >> 2) }, 2);
    return true;
bad:
    out->len = before;
    out->ptr[before] = '\0';
    return false;
}
