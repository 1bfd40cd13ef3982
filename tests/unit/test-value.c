/* Values: lookup, equality, copies, builders; references and their text.
 * Called by: make check.  Calls: lib/value, lib/ref. */
#include "tests/unit/unit.h"

#include "lib/value.h"

static void members_are_found_by_key(void **state _unused_)
{
    struct member members[] = { { "a", value_string("x") }, { "b", value_int(1) } };
    struct value map = value_map(members, 2), set = value_set(NULL, 0);

    assert_ptr_equal(value_get(&map, "b"), &members[1].value);
    assert_null(value_get(&map, "c"));
    assert_null(value_get(&set, "a"));
    assert_null(value_get(NULL, "a"));
    assert_string_equal(value_get_str(&map, "a", "-"), "x");
    assert_string_equal(value_get_str(&map, "b", "-"), "-");
    assert_string_equal(value_get_str(&map, "c", "-"), "-");
}

static void sets_know_their_strings(void **state _unused_)
{
    struct value items[] = { value_int(1), value_string("x") }, set = value_set(items, 2);

    assert_true(value_has(&set, "x"));
    assert_false(value_has(&set, "1"));
    assert_false(value_has(NULL, "x"));
}

static void equality_looks_at_kind_and_content(void **state _unused_)
{
    struct value a = value_string("x"), b = value_string("x"), c = value_string("y"), i = value_int(0),
            t = value_datetime(0);
    struct member ab[] = { { "a", a }, { "c", c } }, ba[] = { { "c", c }, { "a", b } };
    struct member other[] = { { "c", c }, { "a", c } };
    struct value m1 = value_map(ab, 2), m2 = value_map(ba, 2), m3 = value_map(other, 2);
    struct value ac[] = { a, c }, ca[] = { c, a }, s1 = value_set(ac, 2), s2 = value_set(ca, 2),
            s3 = value_set(ac, 1);

    assert_true(value_eq(&a, &b));
    assert_false(value_eq(&a, &c));
    assert_false(value_eq(&i, &t));
    assert_true(value_eq(&m1, &m2));
    assert_false(value_eq(&m1, &m3));
    assert_true(value_eq(&s1, &s1));
    assert_false(value_eq(&s1, &s2));
    assert_false(value_eq(&s1, &s3));
}

static void a_copy_outlives_its_original(void **state _unused_)
{
    struct arena *first = arena_new();
    _cleanup_arena_ struct arena *second = arena_new();
    struct value_builder map = value_builder(first), set = value_builder(first);

    value_push(&set, value_string(arena_strdup(first, "item")));
    value_push(&set, value_ref(REF_NULL));
    value_put(&map, arena_strdup(first, "key"), value_built_set(&set));
    value_put(&map, arena_strdup(first, "f"), value_float(1.5));
    struct value original = value_built_map(&map), copy = value_copy(second, &original);
    assert_true(value_eq(&original, &copy));
    arena_free(first);
    assert_string_equal(value_get(&copy, "key")->set.items[0].s, "item");
    assert_true(value_get(&copy, "f")->d == 1.5);
}

static void builders_keep_order_and_replace_equal_keys(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value_builder map = value_builder(a), set = value_builder(a);

    for (int i = 0; i < 100; i++) value_push(&set, value_int(i));
    struct value s = value_built_set(&set);
    assert_int_equal(s.set.n, 100);
    for (int i = 0; i < 100; i++) assert_int_equal(s.set.items[i].i, i);

    for (int i = 0; i < 100; i++) value_put(&map, arena_printf(a, "k%d", i % 50), value_int(i));
    struct value m = value_built_map(&map);
    assert_int_equal(m.map.n, 50);
    assert_string_equal(m.map.members[7].key, "k7");
    assert_int_equal(m.map.members[7].value.i, 57);
}

static void references_have_one_text(void **state _unused_)
{
    struct ref r, again;
    char buf[REF_TEXT];

    assert_true(ref_parse("OpaqueRef:01234567-89AB-cdef-0123-456789abcdef", &r));
    assert_string_equal(ref_text(r, buf), "OpaqueRef:01234567-89ab-cdef-0123-456789abcdef");
    assert_true(ref_parse(buf, &again));
    assert_true(ref_eq(r, again));
    assert_true(ref_parse("", &r) && ref_is_null(r));
    assert_true(ref_parse("OpaqueRef:NULL", &r) && ref_is_null(r));
    assert_string_equal(ref_text(r, buf), "OpaqueRef:NULL");
}

static void other_texts_are_no_references(void **state _unused_)
{
    static const char *const texts[] = {
        "OpaqueRef:", "OpaqueRef:null", "NULL", "01234567-89ab-cdef-0123-456789abcdef", "OpaqueRef:01234567",
        "OpaqueRef:01234567-89ab-cdef-0123-456789abcde", "OpaqueRef:01234567-89ab-cdef-0123-456789abcdef0",
        "OpaqueRef:0123456789ab-cdef-0123-456789abcdef-", "OpaqueRef:g1234567-89ab-cdef-0123-456789abcdef",
        "opaqueref:01234567-89ab-cdef-0123-456789abcdef",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct ref r = { 1, 2 };
        if (ref_parse(texts[i], &r)) fail_msg("accepted %s", texts[i]);
        assert_true(r.hi == 1 && r.lo == 2);
    }
}

static void references_sort_as_their_text_does(void **state _unused_)
{
    char a[REF_TEXT], b[REF_TEXT];

    for (int i = 0; i < 200; i++) {
        struct ref x = ref_new(), y = ref_new();
        assert_false(ref_eq(x, y));
        assert_true((ref_cmp(x, y) < 0) == (strcmp(ref_text(x, a), ref_text(y, b)) < 0));
        assert_int_equal(ref_cmp(x, x), 0);
    }
}

UNIT_MAIN(
    cmocka_unit_test(members_are_found_by_key),
    cmocka_unit_test(sets_know_their_strings),
    cmocka_unit_test(equality_looks_at_kind_and_content),
    cmocka_unit_test(a_copy_outlives_its_original),
    cmocka_unit_test(builders_keep_order_and_replace_equal_keys),
    cmocka_unit_test(references_have_one_text),
    cmocka_unit_test(other_texts_are_no_references),
    cmocka_unit_test(references_sort_as_their_text_does),
)
