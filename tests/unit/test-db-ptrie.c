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

/* ---- many at once ---- */

static void assert_sorted_and_stable(const struct keyed *items, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int order = ref_cmp(items[i - 1].key, items[i].key);
        assert_true(order <= 0);
        if (order == 0) assert_true((uintptr_t)items[i - 1].what < (uintptr_t)items[i].what);
    }
}

static void sorting_keeps_what_is_equal_in_its_order(void **state _unused_)
{
    static const size_t sizes[] = { 0, 1, 2, 3, 255, 256, 257, 5000 };
    uint64_t seed = 2463534242u;

    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        for (int shape = 0; shape < 4; shape++) {
            size_t n = sizes[s];
            uintptr_t sum = 0;
            struct keyed *items = xcalloc(n + 1, sizeof(*items));
            for (size_t i = 0; i < n; i++) {
                uint64_t r = next_random(&seed);
                /* random; few different; begin alike and descend; every second one the same */
                items[i].key = shape == 0   ? (struct ref){ r, next_random(&seed) }
                               : shape == 1 ? (struct ref){ r % 5, r % 3 }
                               : shape == 2 ? (struct ref){ 42, n - i }
                                            : (struct ref){ i % 2 ? r : 77, i % 2 ? r : 78 };
                items[i].what = (void *)(uintptr_t)(i + 1);
            }
            keyed_sort(items, n);
            assert_sorted_and_stable(items, n);
            for (size_t i = 0; i < n; i++) sum += (uintptr_t)items[i].what;
            assert_int_equal(sum, n * (n + 1) / 2);   /* nothing is lost or doubled */
            free(items);
        }
    }
}

static void a_trie_built_at_once_is_like_one_grown(void **state _unused_)
{
    uint64_t seed = 88172645463325252u;
    struct ref keys[KEYS];
    struct keyed leaves[KEYS] = { { .what = NULL } };
    struct ptrie built = { 0 }, empty = { 0 }, old;
    struct plain model = { .n = 0 };

    ptrie_build(&empty, leaves, 0);
    assert_null(ptrie_first(&empty));
    make_keys(keys, &seed);
    for (unsigned i = 0; i < KEYS; i++) plain_put(&model, keys[i], i);
    for (size_t i = 0; i < model.n; i++)
        leaves[i] = (struct keyed){ model.items[i].key, leaf_new(model.items[i].key, model.items[i].tag) };
    ptrie_build(&built, leaves, model.n);
    assert_same(&built, &model);

    /* It changes as any other does, and its old version stays. */
    old = ptrie_copy(&built);
    struct plain before = model;
    for (unsigned i = 0; i < KEYS; i += 2) {
        assert_int_equal(ptrie_remove(&built, keys[i], leaf_unref), plain_remove(&model, keys[i]));
        struct ref key = { next_random(&seed), keys[i].lo };
        ptrie_put(&built, leaf_new(key, i), leaf_unref);
        plain_put(&model, key, i);
    }
    assert_same(&built, &model);
    assert_same(&old, &before);
    ptrie_clear(&built, leaf_unref);
    ptrie_clear(&old, leaf_unref);
    assert_int_equal(live_leaves, 0);
}

UNIT_MAIN(cmocka_unit_test(random_operations_agree_with_a_sorted_array),
          cmocka_unit_test(the_next_key_is_found_from_keys_that_are_not_there),
          cmocka_unit_test(sorting_keeps_what_is_equal_in_its_order),
          cmocka_unit_test(a_trie_built_at_once_is_like_one_grown))
