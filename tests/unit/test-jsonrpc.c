/* JSON and JSON-RPC: what is written to the byte, what is read and what is refused.
 * Called by: make check.  Calls: lib/json, lib/jsonrpc. */
#include "tests/unit/unit.h"

#include "lib/jsonrpc.h"
#include "lib/limits.h"
#include "lib/wire.h"

#include <math.h>

static void check_written(struct value v, const char *expected)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    json_encode_value(&v, &b);
    assert_string_equal(strbuf_cstr(&b), expected);
}

static struct value parse(struct arena *a, const char *text)
{
    struct value v;
    const char *error = NULL;

    if (json_decode(text, strlen(text), a, &v, &error)) fail_msg("%s: %s", text, error);
    return v;
}

static void check_refused(const char *text, const char *expected)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v;
    const char *error = NULL;

    if (!json_decode(text, strlen(text), a, &v, &error)) fail_msg("accepted: %.200s", text);
    if (!strstr(error, expected)) fail_msg("%.200s: \"%s\" does not say \"%s\"", text, error, expected);
    assert_non_null(strstr(error, " at byte "));
}

/* ---- values ---- */

static void values_are_written_as_the_wire_contract_says(void **state _unused_)
{
    struct value items[] = { value_int(1), value_string("a"), value_set(NULL, 0) };
    struct member members[] = { { "a\"b", value_bool(true) }, { "c", value_map(NULL, 0) } };

    check_written(value_string(""), "\"\"");
    check_written(value_void(), "\"\"");
    check_written(value_int(INT64_MIN), "-9223372036854775808");
    check_written((struct value){ .kind = VALUE_INT32, .i = 3 }, "3");
    check_written(value_bool(false), "false");
    check_written(value_float(0.1), "0.1");
    check_written(value_float((double)NAN), "\"NaN\"");
    check_written(value_float((double)INFINITY), "\"Infinity\"");
    check_written(value_float(-(double)INFINITY), "\"-Infinity\"");
    check_written(value_datetime(1787277623), "\"20260821T02:00:23Z\"");
    check_written((struct value){ .kind = VALUE_LOCALTIME, .i = 0 }, "\"19700101T00:00:00\"");
    check_written(value_ref(REF_NULL), "\"OpaqueRef:NULL\"");
    check_written(value_set(items, 3), "[1,\"a\",[]]");
    check_written(value_map(members, 2), "{\"a\\\"b\":true,\"c\":{}}");
}

static void strings_are_escaped(void **state _unused_)
{
    check_written(value_string("a\"\\/\b\f\n\r\t"), "\"a\\\"\\\\/\\b\\f\\n\\r\\t\"");
    check_written(value_string("\x01\x0b\x1f\x7f"), "\"\\u0001\\u000b\\u001f\x7f\"");
    check_written(value_string("caf\xc3\xa9 \xf0\x9f\x90\xa7"), "\"caf\xc3\xa9 \xf0\x9f\x90\xa7\"");
    check_written(value_string("a\xff\xc0\xaf"), "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    check_written(value_string("0123456789abcdef\"0123456789abcdef"),
                  "\"0123456789abcdef\\\"0123456789abcdef\"");
}

static void every_kind_of_value_is_read(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();

    struct value v = parse(a,
            " {\"s\":\"x\\u20ac\",\"i\":-5,\"f\":1.5,\"big\":9223372036854775808,\"t\":true,\"n\":null,"
                              "\"a\":[1,[2],{}],\"e\":1e2}\n");
    assert_string_equal(value_get_str(&v, "s", ""), "x\xe2\x82\xac");
    assert_true(value_get(&v, "i")->kind == VALUE_INT && value_get(&v, "i")->i == -5);
    assert_true(value_get(&v, "f")->kind == VALUE_FLOAT && value_get(&v, "f")->d == 1.5);
    assert_true(value_get(&v, "big")->kind == VALUE_FLOAT);
    assert_true(value_get(&v, "e")->kind == VALUE_FLOAT && value_get(&v, "e")->d == 100);
    assert_true(value_get(&v, "t")->b);
    assert_int_equal(value_get(&v, "n")->kind, VALUE_VOID);
    assert_int_equal(value_get(&v, "a")->set.n, 3);
    assert_true(parse(a, "9223372036854775807").i == INT64_MAX);
    assert_string_equal(parse(a, "\"x\"").s, "x");
}

static void the_last_of_equal_members_wins(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v = parse(a, "{\"a\":1,\"b\":2,\"a\":3}");

    assert_int_equal(v.map.n, 2);
    assert_int_equal(value_get(&v, "a")->i, 3);
}

static void malformed_documents_are_refused(void **state _unused_)
{
    check_refused("", "");
    check_refused("{", "");
    check_refused("[1,]", "");
    check_refused("{\"a\" 1}", "");
    check_refused("{'a':1}", "");
    check_refused("nul", "");
    check_refused("1 2", "");
    check_refused("[1] x", "");
    check_refused("NaN", "");
    check_refused("-", "");
    check_refused("01", "");
    check_refused("\"a", "");
    check_refused("\"a\nb\"", "");
    check_refused("\"\\x\"", "");
    check_refused("\"\xff\"", "");
    check_refused("/* c */ 1", "");
    check_refused("\"a\\u0000b\"", "NUL");
    check_refused("{\"a\\u0000b\":1}", "NUL");
}

static void what_is_no_character_never_makes_a_malformed_string(void **state _unused_)
{
    static const char *const texts[] = {   /* and what yajl takes for UTF-8 */
        "\"\\ud800\"", "\"\\udc00\"", "\"\\udc00\\ud800\"", "\"\\ud800x\"", "\"\xc0\xaf\"",
        "\"\xed\xa0\x80\"",
    };
    _cleanup_arena_ struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        struct value v = parse(a, texts[i]);
        assert_true(strlen(v.s) == v.len && v.len > 0);
        json_encode_value(&v, &b);   /* would be changed if it were malformed */
        struct value again = parse(a, b.ptr);
        assert_string_equal(again.s, v.s);
    }
}

/* ---- requests ---- */

static struct jsonrpc_request request(struct arena *a, const char *text)
{
    struct jsonrpc_request r;
    const char *error = "";

    if (jsonrpc_decode_request(text, strlen(text), a, &r, &error)) fail_msg("%s: %s", text, error);
    return r;
}

static void requests_of_both_versions_are_read(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();

    struct jsonrpc_request r = request(a,
            "{\"jsonrpc\":\"2.0\",\"method\":\"VM.start\",\"params\":[\"x\",true],\"id\":7}");
    assert_true(r.v2);
    assert_string_equal(r.method, "VM.start");
    assert_int_equal(r.params.set.n, 2);
    assert_string_equal(r.id, "7");

    r = request(a, "{\"id\":\"a\\\"b\\u00e9\",\"method\":\"m\",\"params\":[]}");
    assert_false(r.v2);
    assert_string_equal(r.id, "\"a\\\"b\xc3\xa9\"");

    r = request(a, "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":1}");
    assert_true(r.params.kind == VALUE_SET && r.params.set.n == 0);
}

static void an_id_is_echoed_digit_by_digit(void **state _unused_)
{
    static const char *const ids[] = { "0", "-1", "18446744073709551615", "0.30000000000000004", "1e5",
                                       "\"\"", "\"x\"" };
    _cleanup_arena_ struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        struct jsonrpc_request r = request(a, arena_printf(a,
                "{\"jsonrpc\":\"2.0\",\"params\":[{\"id\":5}],\"id\":%s,"
                                                              "\"method\":\"m\"}", ids[i]));
        assert_string_equal(r.id, ids[i]);
    }
    assert_string_equal(request(a, "{\"id\":1,\"method\":\"m\",\"id\":\"two\"}").id, "\"two\"");
}

static void wrong_requests_are_refused_and_still_addressed(void **state _unused_)
{
    static const struct { const char *text, *error, *id; bool v2; } cases[] = {
        { "[{\"method\":\"m\",\"id\":1}]", "batches", "null", false },
        { "1", "not an object", "null", false },
        { "{\"method\":\"m\"}", "id is missing", "null", false },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":null}", "id is missing", "null", true },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":[1]}", "id is missing", "null", true },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":1,\"id\":{}}", "id is missing", "null", true },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":true}", "id is missing", "null", true },
        { "{\"jsonrpc\":\"1.1\",\"method\":\"m\",\"id\":4}", "jsonrpc is not", "4", true },
        { "{\"jsonrpc\":\"2.0\",\"id\":5}", "method is missing", "5", true },
        { "{\"jsonrpc\":\"2.0\",\"method\":5,\"id\":5}", "method is missing", "5", true },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":7,\"id\":6}", "params is not an array", "6", true },
        { "{\"method\":\"m\",\"params\":{\"a\":1},\"id\":6}", "params is not an array", "6", false },
        { "{\"method\":\"m\",\"params\":\"x\",\"id\":6}", "params is not an array", "6", false },
        { "{\"method\":", "at byte", "null", false },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_arena_ struct arena *a = arena_new();
        struct jsonrpc_request r;
        const char *error = "";
        assert_int_equal(jsonrpc_decode_request(cases[i].text, strlen(cases[i].text), a, &r, &error), -1);
        if (!strstr(error, cases[i].error)) fail_msg("%s: %s", cases[i].text, error);
        assert_string_equal(r.id, cases[i].id);
        assert_true(r.v2 == cases[i].v2);
    }
}

/* ---- hostile sizes ---- */

static void sixty_four_containers_inside_each_other_are_the_limit(void **state _unused_)
{
    static const struct { const char *open, *close; } kinds[] = { { "[", "]" }, { "{\"a\":", "}" } };
    _cleanup_arena_ struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        for (int depth = 64; depth <= 65; depth++) {
            _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
            for (int n = 0; n < depth; n++) strbuf_str(&b, kinds[i].open);
            strbuf_str(&b, "1");
            for (int n = 0; n < depth; n++) strbuf_str(&b, kinds[i].close);
            if (depth == 64) parse(a, b.ptr);
            else check_refused(b.ptr, "nested too deeply");
        }
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    for (int n = 0; n < 1 << 20; n++) strbuf_str(&b, "[");
    check_refused(b.ptr, "nested too deeply");
}

static void a_hundred_thousand_values_are_the_limit_of_a_request(void **state _unused_)
{
    /* two more than the limit's items are there anyway: the object, the array; and three scalars */
    for (int n = LIMIT_CALL_VALUES - 4; n <= LIMIT_CALL_VALUES - 3; n++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        _cleanup_arena_ struct arena *a = arena_new();
        struct jsonrpc_request r;
        const char *error = "";
        strbuf_str(&b, "{\"method\":\"m\",\"id\":1,\"params\":[0");
        for (int i = 1; i < n; i++) strbuf_str(&b, ",0");
        strbuf_str(&b, "]}");
        int rc = jsonrpc_decode_request(b.ptr, b.len, a, &r, &error);
        assert_int_equal(rc, n == LIMIT_CALL_VALUES - 3 ? -1 : 0);
        if (rc) assert_non_null(strstr(error, "too many values"));
    }
}

static void a_string_of_ten_megabytes_is_read_and_written(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT, again = STRBUF_INIT;
    _cleanup_arena_ struct arena *a = arena_new();

    strbuf_str(&b, "\"");
    for (int i = 0; i < 1 << 20; i++) strbuf_str(&b, "text\\n\xc3\xa9yz");
    strbuf_str(&b, "\"");
    struct value v = parse(a, b.ptr);
    json_encode_value(&v, &again);
    assert_string_equal(again.ptr, b.ptr);
}

static const char sample[] = "{\"jsonrpc\":\"2.0\",\"method\":\"VM.create\",\"params\":[\"OpaqueRef:x\",{\"a\\u0026\":[1,true,1.5e3,"
                             "null,\"\xe2\x82\xac\\ud83d\\udc27\"]}],\"id\":\"x1\"}";

static void a_document_cut_anywhere_is_refused(void **state _unused_)
{
    for (size_t len = 0; len < sizeof(sample) - 1; len++) {
        _cleanup_arena_ struct arena *a = arena_new();
        struct jsonrpc_request r;
        const char *error = NULL;
        char *copy = xmalloc(len);
        memcpy(copy, sample, len);
        if (!jsonrpc_decode_request(copy, len, a, &r, &error)) fail_msg("accepted %zu bytes", len);
        assert_non_null(error);
        free(copy);
    }
}

static void a_document_with_any_byte_changed_never_crashes(void **state _unused_)
{
    static const char others[] = { '\0', '{', ']', '"', '\\', (char)0xff, '-', ',' };

    for (size_t at = 0; at < sizeof(sample) - 1; at++)
        for (size_t i = 0; i < sizeof(others); i++) {
            _cleanup_arena_ struct arena *a = arena_new();
            struct jsonrpc_request r;
            const char *error = NULL;
            char copy[sizeof(sample)];
            memcpy(copy, sample, sizeof(sample));
            copy[at] = others[i];
            if (jsonrpc_decode_request(copy, sizeof(copy) - 1, a, &r, &error)) assert_non_null(error);
        }
}

/* ---- replies ---- */

static void replies_of_both_versions_have_their_exact_form(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT, bare = XERR_INIT;
    struct value v = value_string("Running");

    jsonrpc_encode_success(true, "7", &v, &b);
    assert_string_equal(b.ptr, "{\"jsonrpc\":\"2.0\",\"result\":\"Running\",\"id\":7}");
    strbuf_clear(&b);
    jsonrpc_encode_success(false, "\"x\"", &v, &b);
    assert_string_equal(b.ptr, "{\"result\":\"Running\",\"error\":null,\"id\":\"x\"}");

    xerr_set(&err, "HANDLE_INVALID", 2, (const char *[]){ "VM", "a\"b" });
    xerr_set(&bare, "HOST_STILL_BOOTING", 0, NULL);
    strbuf_clear(&b);
    jsonrpc_encode_failure(true, "7", &err, &b);
    assert_string_equal(b.ptr,
                        "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"HANDLE_INVALID\",\"data\":[\"VM\","
                               "\"a\\\"b\"]},\"id\":7}");
    strbuf_clear(&b);
    jsonrpc_encode_failure(true, "null", &bare, &b);
    assert_string_equal(b.ptr,
                        "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"HOST_STILL_BOOTING\",\"data\":[]},"
                               "\"id\":null}");
    strbuf_clear(&b);
    jsonrpc_encode_failure(false, "7", &err, &b);
    assert_string_equal(b.ptr, "{\"result\":null,\"error\":[\"HANDLE_INVALID\",\"VM\",\"a\\\"b\"],\"id\":7}");
    strbuf_clear(&b);
    jsonrpc_encode_failure(false, "7", &bare, &b);
    assert_string_equal(b.ptr, "{\"result\":null,\"error\":[\"HOST_STILL_BOOTING\"],\"id\":7}");
}

static void calls_and_replies_go_both_ways(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT, got = XERR_INIT;
    struct value items[] = { value_string("x"), value_int(5) }, params = value_set(items, 2), result;

    jsonrpc_encode_call("VM.start", &params, 9, &b);
    struct jsonrpc_request r = request(a, b.ptr);
    assert_true(r.v2 && value_eq(&r.params, &params));
    assert_string_equal(r.id, "9");

    strbuf_clear(&b);
    jsonrpc_encode_success(true, "9", &params, &b);
    assert_int_equal(jsonrpc_decode_response(b.ptr, b.len, a, &result, &got), 0);
    assert_true(value_eq(&result, &params));

    xerr_set(&err, "HANDLE_INVALID", 2, (const char *[]){ "VM", "x" });
    strbuf_clear(&b);
    jsonrpc_encode_failure(true, "9", &err, &b);
    assert_int_equal(jsonrpc_decode_response(b.ptr, b.len, a, &result, &got), -1);
    assert_string_equal(got.code, "HANDLE_INVALID");
    assert_string_equal(got.params[1], "x");
}

UNIT_MAIN(
    cmocka_unit_test(values_are_written_as_the_wire_contract_says),
    cmocka_unit_test(strings_are_escaped),
    cmocka_unit_test(every_kind_of_value_is_read),
    cmocka_unit_test(the_last_of_equal_members_wins),
    cmocka_unit_test(malformed_documents_are_refused),
    cmocka_unit_test(what_is_no_character_never_makes_a_malformed_string),
    cmocka_unit_test(requests_of_both_versions_are_read),
    cmocka_unit_test(an_id_is_echoed_digit_by_digit),
    cmocka_unit_test(wrong_requests_are_refused_and_still_addressed),
    cmocka_unit_test(sixty_four_containers_inside_each_other_are_the_limit),
    cmocka_unit_test(a_hundred_thousand_values_are_the_limit_of_a_request),
    cmocka_unit_test(a_string_of_ten_megabytes_is_read_and_written),
    cmocka_unit_test(a_document_cut_anywhere_is_refused),
    cmocka_unit_test(a_document_with_any_byte_changed_never_crashes),
    cmocka_unit_test(replies_of_both_versions_have_their_exact_form),
    cmocka_unit_test(calls_and_replies_go_both_ways),
)
