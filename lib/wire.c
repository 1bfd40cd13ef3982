/* The readers' stack of half-built containers; the fixed text of records.
 * Called by: xmlrpc, json, db/.  Calls: arena, map. */
#include "lib/wire.h"

#include "lib/map.h"

struct wire_frame wire_frame_take(struct strbuf *text, size_t n, uint32_t *at)
{
    strbuf_reserve(text, WIRE_FRAME_SLACK);
    memset(text->ptr + text->len, 0, WIRE_FRAME_SLACK);
    return (struct wire_frame){ n, strbuf_take(text), at };
}

void wire_frame_clear(struct wire_frame *f)
{
    free(f->text);
    free(f->at);
    *f = (struct wire_frame){ 0, NULL, NULL };
}

void wire_stack_init(struct wire_stack *s, struct arena *a, size_t max_items)
{
    *s = (struct wire_stack){ .arena = a, .max_items = max_items };
}

void wire_stack_free(struct wire_stack *s)
{
    free(s->members);
}

bool wire_count(struct wire_stack *s)
{
    return ++s->items <= s->max_items;
}

void wire_push(struct wire_stack *s, const char *key, struct value v)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 32;
        s->members = xrealloc(s->members, s->cap * sizeof(*s->members));
    }
    s->members[s->n++] = (struct member){ key, v };
}

struct value wire_pop_set(struct wire_stack *s, size_t base)
{
    size_t n = s->n - base;
    struct value *items = n ? arena_alloc(s->arena, n * sizeof(*items)) : NULL;

    for (size_t i = 0; i < n; i++) items[i] = s->members[base + i].value;
    s->n = base;
    return value_set(items, n);
}

/* Few members are compared pair by pair. */
static size_t unite_few(struct member *m, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        while (at < kept && !streq(m[at].key, m[i].key)) at++;
        m[at] = m[i];
        kept += at == kept;
    }
    return kept;
}

/* Many go through a table with a secret hash, so that no request makes this quadratic. */
static size_t unite_many(struct member *m, size_t n)
{
    size_t cap = 64, kept = 0;
    uint64_t secret[2];

    while (cap < n * 2) cap *= 2;
    uint32_t *table = xcalloc(cap, sizeof(*table));   /* position + 1 of a kept member */
    map_random_key(secret);
    for (size_t i = 0; i < n; i++) {
        size_t slot = map_siphash(m[i].key, strlen(m[i].key), secret) & (cap - 1);
        while (table[slot] && !streq(m[table[slot] - 1].key, m[i].key)) slot = (slot + 1) & (cap - 1);
        if (!table[slot]) table[slot] = (uint32_t)++kept;
        m[table[slot] - 1] = m[i];
    }
    free(table);
    return kept;
}

struct value wire_pop_map(struct wire_stack *s, size_t base)
{
    struct member *m = s->members ? s->members + base : NULL;
    size_t n = s->n - base;

    n = n <= 16 ? unite_few(m, n) : unite_many(m, n);
    struct member *members = n ? arena_alloc(s->arena, n * sizeof(*members)) : NULL;
    if (n) memcpy(members, m, n * sizeof(*members));
    s->n = base;
    return value_map(members, n);
}
