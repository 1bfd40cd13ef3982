/* A growing byte buffer for building text.
 * Called by: everyone.  Calls: libc. */
#include "lib/strbuf.h"

#include <assert.h>
#include <stdio.h>

void strbuf_free(struct strbuf *b)
{
    free(b->ptr);
    *b = (struct strbuf)STRBUF_INIT;
}

void strbuf_reserve(struct strbuf *b, size_t more)
{
    assert(more < SIZE_MAX / 4);
    if (b->cap - b->len > more) return;
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->len <= more) cap *= 2;
    b->ptr = xrealloc(b->ptr, cap);
    b->ptr[b->len] = '\0';
    b->cap = cap;
}

void strbuf_fit(struct strbuf *b)
{
    if (!b->ptr) return;
    b->cap = b->len + 1;
    b->ptr = xrealloc(b->ptr, b->cap);
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
    strbuf_reserve(b, n);
    if (n) memcpy(b->ptr + b->len, p, n);
    b->len += n;
    b->ptr[b->len] = '\0';
}

void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    strbuf_reserve(b, 64);
    int n = vsnprintf(b->ptr + b->len, b->cap - b->len, fmt, ap);
    assert(n >= 0);
    if ((size_t)n >= b->cap - b->len) {
        strbuf_reserve(b, (size_t)n + 1);
        vsnprintf(b->ptr + b->len, b->cap - b->len, fmt, again);
    }
    b->len += (size_t)n;
    va_end(again);
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    strbuf_vprintf(b, fmt, ap);
    va_end(ap);
}

void strbuf_int(struct strbuf *b, int64_t i)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;

    do digits[--at] = (char)('0' + u % 10); while (u /= 10);
    if (i < 0) digits[--at] = '-';
    strbuf_add(b, digits + at, sizeof(digits) - at);
}

char *strbuf_take(struct strbuf *b)
{
    strbuf_reserve(b, 1);
    char *p = b->ptr;
    *b = (struct strbuf)STRBUF_INIT;
    return p;
}
