/* Errors of the description, and the arena-backed lists that hold it.
 * Called by: every file of schema/gen/.  Calls: libc. */
#include "schema/gen/gen.h"

#include <stdio.h>

static unsigned n_complaints; /* the generator is one thread and one run */

void complain(struct pos pos, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", pos.file, pos.line);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    n_complaints++;
}

unsigned complaints(void)
{
    return n_complaints;
}

void *list_add(struct schema *s, struct list *l, void *item)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        void **items = arena_new_array(s->arena, void *, cap);
        if (l->n) memcpy(items, l->items, l->n * sizeof(*items));
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = item;
    return item;
}
