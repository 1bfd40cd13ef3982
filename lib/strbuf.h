/* A growing byte buffer for building text.
 * Called by: everyone.  Calls: libc. */
#ifndef LIB_STRBUF_H
#define LIB_STRBUF_H

#include "lib/util.h"

#include <stdarg.h>

struct strbuf {
    char *ptr;   /* NUL-terminated when not NULL */
    size_t len;
    size_t cap;
};

#define STRBUF_INIT { NULL, 0, 0 }

void strbuf_free(struct strbuf *b);
void strbuf_reserve(struct strbuf *b, size_t more);
/* Gives back what was reserved and is not used. */
void strbuf_fit(struct strbuf *b);
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) _printf_(2, 3);
void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap);
/* Decimal, without printf's cost. */
void strbuf_int(struct strbuf *b, int64_t i);
/* The buffer as a malloc'd string ("" when empty); the strbuf is empty afterwards. */
char *strbuf_take(struct strbuf *b);

static inline void strbuf_str(struct strbuf *b, const char *s) { strbuf_add(b, s, strlen(s)); }
static inline void strbuf_char(struct strbuf *b, char c)
{
    if (b->cap - b->len < 2) strbuf_reserve(b, 1);
    b->ptr[b->len++] = c;
    b->ptr[b->len] = '\0';
}
static inline void strbuf_clear(struct strbuf *b)
{
    b->len = 0;
    if (b->ptr) b->ptr[0] = '\0';
}
/* The text so far, "" when nothing was added. Borrowed. */
static inline const char *strbuf_cstr(const struct strbuf *b) { return b->ptr ? b->ptr : ""; }

#define _cleanup_strbuf_ _cleanup_(strbuf_free)

#endif
