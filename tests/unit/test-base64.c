/* Base64 in both directions, and what it refuses.
 * Called by: make check.  Calls: lib/base64. */
#include "tests/unit/unit.h"

#include "lib/base64.h"

static const struct { const char *plain, *coded; } vectors[] = {   /* RFC 4648, section 10 */
    { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
    { "fooba", "Zm9vYmE=" },
    { "foobar", "Zm9vYmFy" },
};

static void the_standard_vectors_hold_both_ways(void **state _unused_)
{
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        base64_encode(vectors[i].plain, strlen(vectors[i].plain), &b);
        assert_string_equal(strbuf_cstr(&b), vectors[i].coded);
        strbuf_clear(&b);
        assert_true(base64_decode(vectors[i].coded, strlen(vectors[i].coded), &b));
        assert_string_equal(strbuf_cstr(&b), vectors[i].plain);
    }
}

static void every_byte_survives(void **state _unused_)
{
    unsigned char bytes[256];
    _cleanup_strbuf_ struct strbuf coded = STRBUF_INIT, plain = STRBUF_INIT;

    for (unsigned i = 0; i < 256; i++) bytes[i] = (unsigned char)i;
    for (size_t n = 0; n <= 256; n++) {
        strbuf_clear(&coded);
        strbuf_clear(&plain);
        base64_encode(bytes, n, &coded);
        assert_int_equal(coded.len, (n + 2) / 3 * 4);
        assert_true(base64_decode(coded.ptr, coded.len, &plain));
        assert_int_equal(plain.len, n);
        assert_memory_equal(plain.ptr, bytes, n);
    }
}

static void white_space_and_missing_padding_are_accepted(void **state _unused_)
{
    static const char *const texts[] = { "Zm9v\r\nYmE=\n", "Zm9vYmE", " Z m\t9vYm E = " };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        assert_true(base64_decode(texts[i], strlen(texts[i]), &b));
        assert_string_equal(b.ptr, "fooba");
    }
}

static void anything_else_is_refused_and_leaves_the_buffer_alone(void **state _unused_)
{
    static const char *const texts[] = { "Z", "Zm9vY", "Zg=", "Zg===", "=", "Zm9v=", "Zg==Zg==", "Zm9*",
                                         "Zm9v-_", "Z\xc3" };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        strbuf_str(&b, "kept");
        if (base64_decode(texts[i], strlen(texts[i]), &b)) fail_msg("accepted %s", texts[i]);
        assert_string_equal(b.ptr, "kept");
    }
}

UNIT_MAIN(
    cmocka_unit_test(the_standard_vectors_hold_both_ways),
    cmocka_unit_test(every_byte_survives),
    cmocka_unit_test(white_space_and_missing_padding_are_accepted),
    cmocka_unit_test(anything_else_is_refused_and_leaves_the_buffer_alone),
)
