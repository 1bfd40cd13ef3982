/* Values: lookup, comparison, copying, building.
 * Called by: everyone.  Calls: arena. */
#include "lib/value.h"

const struct value *value_get(const struct value *map, const char *key)
{
    if (!map || map->kind != VALUE_MAP) return NULL;
    for (size_t i = 0; i < map->map.n; i++)
        if (streq(map->map.members[i].key, key)) return &map->map.members[i].value;
    return NULL;
}

const char *value_get_str(const struct value *map, const char *key, const char *fallback)
{
    const struct value *v = value_get(map, key);

    return v && v->kind == VALUE_STRING ? v->s : fallback;
}

bool value_has(const struct value *set, const char *item)
{
    if (!set || set->kind != VALUE_SET) return false;
    for (size_t i = 0; i < set->set.n; i++)
        if (set->set.items[i].kind == VALUE_STRING && streq(set->set.items[i].s, item)) return true;
    return false;
}

static bool set_eq(const struct value *a, const struct value *b)
{
    if (a->set.n != b->set.n) return false;
    for (size_t i = 0; i < a->set.n; i++)
        if (!value_eq(&a->set.items[i], &b->set.items[i])) return false;
    return true;
}

static bool map_eq(const struct value *a, const struct value *b)
{
    if (a->map.n != b->map.n) return false;
    for (size_t i = 0; i < a->map.n; i++) {
        const struct member *m = &a->map.members[i], *same = &b->map.members[i];   /* most often in the same place */
        const struct value *other = streq(m->key, same->key) ? &same->value : value_get(b, m->key);
        if (!other || !value_eq(&m->value, other)) return false;
    }
    return true;
}

bool value_eq(const struct value *a, const struct value *b)
{
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case VALUE_VOID: return true;
    case VALUE_STRING: return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
    case VALUE_INT:
    case VALUE_INT32:
    case VALUE_DATETIME:
    case VALUE_LOCALTIME: return a->i == b->i;
    case VALUE_BOOL: return a->b == b->b;
    case VALUE_FLOAT: return memcmp(&a->d, &b->d, sizeof(a->d)) == 0;
    case VALUE_REF: return ref_eq(a->ref, b->ref);
    case VALUE_SET: return set_eq(a, b);
    case VALUE_MAP: return map_eq(a, b);
    }
    abort();
}

struct value value_copy(struct arena *a, const struct value *v)
{
    struct value out = *v;

    if (v->kind == VALUE_STRING) {
        out.s = arena_strndup(a, v->s, v->len);
    } else if (v->kind == VALUE_SET) {
        struct value *items = arena_new_array(a, struct value, v->set.n);
        for (size_t i = 0; i < v->set.n; i++) items[i] = value_copy(a, &v->set.items[i]);
        out.set.items = items;
    } else if (v->kind == VALUE_MAP) {
        struct member *members = arena_new_array(a, struct member, v->map.n);
        for (size_t i = 0; i < v->map.n; i++) {
            members[i].key = arena_strdup(a, v->map.members[i].key);
            members[i].value = value_copy(a, &v->map.members[i].value);
        }
        out.map.members = members;
    }
    return out;
}

static void grow(struct value_builder *b, size_t item_size)
{
    if (b->n < b->cap) return;
    b->cap = b->cap ? b->cap * 2 : 8;
    void *items = arena_alloc(b->arena, b->cap * item_size);
    if (b->n) memcpy(items, b->items, b->n * item_size);
    b->items = items;
}

void value_push(struct value_builder *b, struct value item)
{
    grow(b, sizeof(struct value));
    ((struct value *)b->items)[b->n++] = item;
}

void value_put_new(struct value_builder *b, const char *key, struct value item)
{
    grow(b, sizeof(struct member));
    ((struct member *)b->items)[b->n++] = (struct member){ key, item };
}

void value_put(struct value_builder *b, const char *key, struct value item)
{
    struct member *members = b->items;

    for (size_t i = 0; i < b->n; i++) {
        if (!streq(members[i].key, key)) continue;
        members[i].value = item;
        return;
    }
    value_put_new(b, key, item);
}

struct value value_built_set(const struct value_builder *b)
{
    return value_set(b->items, b->n);
}

struct value value_built_map(const struct value_builder *b)
{
    return value_map(b->items, b->n);
}
