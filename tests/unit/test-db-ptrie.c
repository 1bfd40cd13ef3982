/* The persistent trie against a plain sorted array: random puts and removals, old versions stay as they were.
 * Called by: make check.  Calls: db/ptrie. */
#include "tests/unit/unit.h"

#include "db/ptrie.h"

enum { KEYS = 300, STEPS = 20000, VERSIONS = 8 };

static _Atomic int live_leaves;

static struct pleaf *leaf_new(struct ref key, uint32_t tag)
{
    struct pleaf *l = xcalloc(1, sizeof(*l));

    atomic_init(&l->refs, 1);
    l->key = key;
    l->tag = tag;
    live_leaves++;
    return l;
}

static void leaf_unref(struct pleaf *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1) return;
    free(l);
    live_leaves--;
}

/* What a version of the trie must hold: sorted. */
struct plain {
    size_t n;
    struct { struct ref key; uint32_t tag; } items[KEYS];
};

static size_t place(const struct plain *p, struct ref key)
{
    size_t i = 0;

    while (i < p->n && ref_cmp(p->items[i].key, key) < 0) i++;
    return i;
}

static void plain_put(struct plain *p, struct ref key, uint32_t tag)
{
    size_t i = place(p, key);

    if (i == p->n || !ref_eq(p->items[i].key, key)) {
        memmove(&p->items[i + 1], &p->items[i], (p->n - i) * sizeof(p->items[0]));
        p->n++;
    }
    p->items[i].key = key;
    p->items[i].tag = tag;
}

static bool plain_remove(struct plain *p, struct ref key)
{
    size_t i = place(p, key);

    if (i == p->n || !ref_eq(p->items[i].key, key)) return false;
    memmove(&p->items[i], &p->items[i + 1], (p->n - i - 1) * sizeof(p->items[0]));
    p->n--;
    return true;
}

static void assert_same(const struct ptrie *t, const struct plain *p)
{
    const struct pleaf *l = ptrie_first(t), *stepped = l;
    const void *hint = NULL;

    for (size_t i = 0; i < p->n; i++) {
        assert_non_null(l);
        assert_ptr_equal(stepped, l);
        stepped = ptrie_step(t, l->key, &hint);
        assert_true(ref_eq(l->key, p->items[i].key));
        assert_int_equal(l->tag, p->items[i].tag);
        assert_ptr_equal(ptrie_get(t, l->key), l);
        l = ptrie_next(t, l->key);
    }
    assert_null(l);
    assert_null(stepped);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Keys that share long prefixes, differ in one nibble, sit at both ends, or are just random. */
static void make_keys(struct ref keys[KEYS], uint64_t *seed)
{
    for (unsigned i = 0; i < KEYS; i++) {
        uint64_t r = next_random(seed), q = next_random(seed);
        switch (i % 4) {
        case 0: keys[i] = (struct ref){ r, q }; break;
        case 1: keys[i] = (struct ref){ 7, i }; break;
        case 2: keys[i] = (struct ref){ 1, UINT64_C(1) << (i % 64) }; break;
        case 3: keys[i] = (struct ref){ i % 8 ? UINT64_MAX : 0, (uint64_t)i << (r % 32) }; break;
        }
    }
}

static void random_operations_agree_with_a_sorted_array(void **state _unused_)
{
    uint64_t seed = 88172645463325252u;
    struct ref keys[KEYS];
    struct ptrie now = { 0 }, kept[VERSIONS] = { { 0 } };
    struct plain model = { .n = 0 }, *kept_models = xcalloc(VERSIONS, sizeof(*kept_models));

    make_keys(keys, &seed);
    for (unsigned step = 0; step < STEPS; step++) {
        struct ref key = keys[next_random(&seed) % KEYS];
        if (next_random(&seed) % 3) {
            bool fresh = place(&model, key) == model.n || !ref_eq(model.items[place(&model, key)].key, key);
            assert_int_equal(ptrie_put(&now, leaf_new(key, step), leaf_unref), fresh);
            plain_put(&model, key, step);
        } else {
            assert_int_equal(ptrie_remove(&now, key, leaf_unref), plain_remove(&model, key));
        }
        if (step % 97 == 0) {
            unsigned v = (step / 97) % VERSIONS;
            assert_same(&kept[v], &kept_models[v]);   /* untouched by all that happened since */
            ptrie_clear(&kept[v], leaf_unref);
            kept[v] = ptrie_copy(&now);
            kept_models[v] = model;
            assert_same(&now, &model);
        }
    }
    for (unsigned v = 0; v < VERSIONS; v++) {
        assert_same(&kept[v], &kept_models[v]);
        ptrie_clear(&kept[v], leaf_unref);
    }
    assert_same(&now, &model);
    ptrie_clear(&now, leaf_unref);
    assert_int_equal(live_leaves, 0);
    free(kept_models);
}

static void the_next_key_is_found_from_keys_that_are_not_there(void **state _unused_)
{
    struct ptrie t = { 0 };
    const struct ref there[] = { { 0, 5 }, { 0, 0x50 }, { 1, 0 }, { 0x8000000000000000u, 3 } };

    assert_null(ptrie_first(&t));
    assert_null(ptrie_next(&t, (struct ref){ 0, 0 }));
    for (unsigned i = 0; i < ARRAY_SIZE(there); i++) ptrie_put(&t, leaf_new(there[i], i), leaf_unref);
    assert_int_equal(ptrie_next(&t, (struct ref){ 0, 0 })->tag, 0);
    assert_int_equal(ptrie_next(&t, (struct ref){ 0, 5 })->tag, 1);
    assert_int_equal(ptrie_next(&t, (struct ref){ 0, 0x4f })->tag, 1);
    assert_int_equal(ptrie_next(&t, (struct ref){ 0, UINT64_MAX })->tag, 2);
    assert_int_equal(ptrie_next(&t, (struct ref){ 2, 0 })->tag, 3);
    assert_null(ptrie_next(&t, (struct ref){ 0x8000000000000000u, 3 }));
    assert_null(ptrie_next(&t, (struct ref){ UINT64_MAX, UINT64_MAX }));
    assert_null(ptrie_get(&t, (struct ref){ 0, 6 }));
    ptrie_clear(&t, leaf_unref);
    assert_int_equal(live_leaves, 0);
}

UNIT_MAIN(cmocka_unit_test(random_operations_agree_with_a_sorted_array),
          cmocka_unit_test(the_next_key_is_found_from_keys_that_are_not_there))
