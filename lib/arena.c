/* Bump allocation in growing blocks.
 * Called by: everyone.  Calls: libc. */
#include "lib/arena.h"

#include <assert.h>
#include <stdio.h>

struct block {
    struct block *next;
    size_t size, used;
    _Alignas(16) unsigned char data[];
};

struct arena {
    struct block *head;
    size_t used;
};

enum { FIRST_BLOCK = 8192, MAX_BLOCK = 1 << 20 };

static struct block *block_new(size_t size)
{
    struct block *b = xmalloc(sizeof(*b) + size);

    b->next = NULL;
    b->size = size;
    b->used = 0;
    return b;
}

struct arena *arena_new(void)
{
    struct arena *a = xcalloc(1, sizeof(*a));

    a->head = block_new(FIRST_BLOCK);
    return a;
}

static void free_blocks(struct block *b)
{
    while (b) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
}

void arena_free(struct arena *a)
{
    if (!a) return;
    free_blocks(a->head);
    free(a);
}

void arena_reset(struct arena *a)
{
    struct block *b = a->head, *first = b;

    while (first->next) first = first->next;
    while (b != first) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
    first->used = 0;
    a->head = first;
    a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
    struct block *b = a->head;

    assert(n < SIZE_MAX / 2);
    n = (n + 15) & ~(size_t)15;
    if (b->size - b->used < n) {
        size_t size = b->size * 2 > MAX_BLOCK ? MAX_BLOCK : b->size * 2;
        struct block *fresh = block_new(n > size ? n : size);
        fresh->next = b;
        a->head = b = fresh;
    }
    void *p = b->data + b->used;
    b->used += n;
    a->used += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);

    memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    va_list again;
    char small[256];

    va_copy(again, ap);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    assert(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n < sizeof(small)) memcpy(p, small, (size_t)n + 1);
    else vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *p = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return p;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
