/* The thin CLI protocol's messages: bytes as xe binaries expect them, and what is refused.
 * Called by: make check.  Calls: xe/thin. */
#include "tests/unit/unit.h"

#include "xe/thin.h"

static void the_hello_is_what_xe_binaries_know(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    thin_put_hello(&b);
    assert_int_equal(b.len, THIN_HELLO);
    assert_memory_equal(b.ptr, "XenSource thin CLI protocol\0\0\0\0\2\0\0\0", THIN_HELLO);
    assert_true(thin_get_hello(b.ptr));
    b.ptr[27] = 1;                     /* another major version */
    assert_false(thin_get_hello(b.ptr));
    b.ptr[27] = 0;
    b.ptr[31] = 9;                     /* a later minor one will do */
    assert_true(thin_get_hello(b.ptr));
}

static void a_print_is_length_kind_tag_and_string(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    thin_put_text(&b, THIN_PRINT, "hi", 2);
    assert_int_equal(b.len, 18);
    assert_memory_equal(b.ptr, "\16\0\0\0" "\11\0\0\0" "\0\0\0\0" "\2\0\0\0" "hi", 18);
}

/* What was put comes out again. */
static struct thin_msg round_trip(const struct strbuf *b, struct arena *a)
{
    struct thin_msg msg;

    assert_int_equal((size_t)thin_int(b->ptr) + 4, b->len);
    assert_int_equal(thin_decode(b->ptr + 4, b->len - 4, a, &msg), 0);
    return msg;
}

static void every_message_survives_a_round_trip(void **state _unused_)
{
    static const char *const params[] = { "a", "", "c d" };
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct thin_msg msg;

    thin_put_transfer(&b, THIN_HTTP_PUT, "/tmp/x", "/import?a=b");
    msg = round_trip(&b, a);
    assert_int_equal(msg.tag, THIN_HTTP_PUT);
    assert_string_equal(msg.text, "/tmp/x");
    assert_string_equal(msg.url, "/import?a=b");
    strbuf_clear(&b);
    thin_put_text(&b, THIN_HTTP_CONNECT, "/console", 8);
    assert_string_equal(round_trip(&b, a).url, "/console");
    strbuf_clear(&b);
    thin_put_error(&b, "CODE", params, 3);
    msg = round_trip(&b, a);
    assert_string_equal(msg.text, "CODE");
    assert_int_equal(msg.n_params, 3);
    assert_string_equal(msg.params[2], "c d");
    strbuf_clear(&b);
    thin_put_number(&b, THIN_COMMAND, THIN_EXIT, -3);
    assert_int_equal(round_trip(&b, a).number, -3);
    strbuf_clear(&b);
    thin_put_number(&b, THIN_BLOB, THIN_CHUNK, 1 << 20);
    assert_int_equal(round_trip(&b, a).number, 1 << 20);
    strbuf_clear(&b);
    thin_put_plain(&b, THIN_RESPONSE, THIN_WAIT);
    assert_int_equal(round_trip(&b, a).kind, THIN_RESPONSE);
    strbuf_clear(&b);
    thin_put_plain(&b, THIN_COMMAND, THIN_PROMPT);
    assert_int_equal(round_trip(&b, a).tag, THIN_PROMPT);
}

static void what_is_no_message_is_refused(void **state _unused_)
{
    static const struct { const char *bytes; size_t n;
    } bad[] = {
        { "", 0 },
        { "\11\0\0\0", 4 }, /* no tag */
        { "\14\0\0\0\0\0\0\0", 8 }, /* unknown kind */
        { "\11\0\0\0\2\0\0\0", 8 }, /* unknown command */
        { "\11\0\0\0\5\0\0\0", 8 }, /* a response's tag in a command */
        { "\12\0\0\0\7\0\0\0", 8 }, /* a blob's tag in a response */
        { "\11\0\0\0\0\0\0\0\5\0\0\0hi", 14 }, /* a string longer than the message */
        { "\11\0\0\0\0\0\0\0\377\377\377\377", 12 }, /* a negative length */
        { "\11\0\0\0\0\0\0\0\2\0\0\0hi!", 15 }, /* bytes left over */
        { "\11\0\0\0\16\0\0\0\0\0\0\0\377\377\377\177", 16 }, /* two thousand million parameters */
    };
    _cleanup_arena_ struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct thin_msg msg;

        assert_int_equal(thin_decode(bad[i].bytes, bad[i].n, a, &msg), -1);
    }
    assert_true(arena_used(a) < 4096);
}

UNIT_MAIN(cmocka_unit_test(the_hello_is_what_xe_binaries_know),
          cmocka_unit_test(a_print_is_length_kind_tag_and_string),
          cmocka_unit_test(every_message_survives_a_round_trip),
          cmocka_unit_test(what_is_no_message_is_refused))
