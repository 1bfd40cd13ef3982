/* Hash maps against a plain array as the judge.
 * Called by: make check.  Calls: lib/map. */
#include "tests/unit/unit.h"

#include "lib/map.h"

static void siphash_is_a_keyed_function_of_all_bytes(void **state _unused_)
{
    uint64_t key[2] = { 1, 2 }, other[2] = { 1, 3 };
    unsigned char bytes[24] = { 0 };

    uint64_t h = map_siphash(bytes, sizeof(bytes), key);
    assert_true(h == map_siphash(bytes, sizeof(bytes), key));
    assert_true(h != map_siphash(bytes, sizeof(bytes), other));
    assert_true(h != map_siphash(bytes, sizeof(bytes) - 1, key));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = 1;
        assert_true(h != map_siphash(bytes, sizeof(bytes), key));
        bytes[i] = 0;
    }
}

static void random_keys_differ(void **state _unused_)
{
    uint64_t a[2], b[2];

    map_random_key(a);
    map_random_key(b);
    assert_true(a[0] != b[0] || a[1] != b[1]);
}

static void an_empty_map_has_nothing(void **state _unused_)
{
    _cleanup_map_ struct map *m = map_new();
    const char *key;
    void *value;
    size_t at = 0;

    assert_null(map_get(m, "a"));
    assert_null(map_remove(m, "a"));
    assert_int_equal(map_count(m), 0);
    assert_false(map_next(m, &at, &key, &value));
    map_free(NULL);
    refmap_free(NULL);
}

static void put_replaces_and_returns_the_old_value(void **state _unused_)
{
    _cleanup_map_ struct map *m = map_new();
    int a, b;
    char key[] = "key";

    assert_null(map_put(m, key, &a));
    key[0] = 'x';   /* the map has its own copy */
    assert_ptr_equal(map_get(m, "key"), &a);
    assert_ptr_equal(map_put(m, "key", &b), &a);
    assert_ptr_equal(map_get(m, "key"), &b);
    assert_int_equal(map_count(m), 1);
    assert_ptr_equal(map_remove(m, "key"), &b);
    assert_null(map_get(m, "key"));
    assert_int_equal(map_count(m), 0);
}

enum { N = 500 };

static void check_against(const struct map *m, int *const present[N])
{
    size_t n = 0, at = 0;
    const char *key;
    void *value;
    char text[16];

    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "k%d", i);
        assert_ptr_equal(map_get(m, text), present[i]);
        n += present[i] != NULL;
    }
    assert_int_equal(map_count(m), n);
    while (map_next(m, &at, &key, &value)) {
        assert_ptr_equal(present[atoi(key + 1)], value);
        n--;
    }
    assert_int_equal(n, 0);
}

static void a_long_random_life_keeps_every_entry(void **state _unused_)
{
    _cleanup_map_ struct map *m = map_new();
    int values[N];
    int *present[N] = { NULL };
    unsigned seed = 1;
    char text[16];

    for (int step = 0; step < 40000; step++) {
        seed = seed * 1103515245 + 12345;
        unsigned i = seed >> 8 & 0xffff;
        bool put = (i >> 9) % 3 != 0;
        i %= N;
        snprintf(text, sizeof(text), "k%u", i);
        assert_ptr_equal(put ? map_put(m, text, &values[i]) : map_remove(m, text), present[i]);
        present[i] = put ? &values[i] : NULL;
        if (step % 500 == 0) check_against(m, present);
    }
    check_against(m, present);
}

static void references_work_as_keys(void **state _unused_)
{
    _cleanup_refmap_ struct refmap *m = refmap_new();
    struct ref refs[N], got;
    int values[N];
    size_t at = 0, n = 0;
    void *value;

    for (int i = 0; i < N; i++) {
        refs[i] = ref_new();
        assert_null(refmap_put(m, refs[i], &values[i]));
    }
    assert_int_equal(refmap_count(m), N);
    for (int i = 0; i < N; i += 2) assert_ptr_equal(refmap_remove(m, refs[i]), &values[i]);
    for (int i = 0; i < N; i++) assert_ptr_equal(refmap_get(m, refs[i]), i % 2 ? &values[i] : NULL);
    assert_null(refmap_remove(m, REF_NULL));
    while (refmap_next(m, &at, &got, &value)) {
        assert_true(ref_eq(got, refs[(int *)value - values]));
        n++;
    }
    assert_int_equal(n, N / 2);
}

UNIT_MAIN(
    cmocka_unit_test(siphash_is_a_keyed_function_of_all_bytes),
    cmocka_unit_test(random_keys_differ),
    cmocka_unit_test(an_empty_map_has_nothing),
    cmocka_unit_test(put_replaces_and_returns_the_old_value),
    cmocka_unit_test(a_long_random_life_keeps_every_entry),
    cmocka_unit_test(references_work_as_keys),
)
