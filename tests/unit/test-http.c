/* HTTP heads, queries, cookies and chunked framing as text.
 * Called by: make check.  Calls: lib/http. */
#include "unit.h"

#include "lib/http.h"

/* The status http_parse_request gives; the head in *h when 0. text is copied into the arena. */
static int parse(struct arena *a, const char *text, struct http_head *h)
{
    char *copy = arena_strdup(a, text);

    return http_parse_request(copy, strlen(copy), a, h);
}

static void test_request(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct http_head h;

    assert_int_equal(
        parse(a, "\r\n\nPOST /RPC2?a=1 HTTP/1.1\r\nHost: h\r\ncontent-LENGTH: 42\r\nX:  y z \t\r\n\r\n", &h),
        0);
    assert_int_equal(h.method, HTTP_POST);
    assert_string_equal(h.path, "/RPC2");
    assert_string_equal(h.target, "/RPC2?a=1");
    assert_string_equal(h.query_text, "a=1");
    assert_int_equal(h.minor, 1);
    assert_true(h.keep_alive && h.has_length && !h.chunked && !h.expect_continue);
    assert_int_equal(h.length, 42);
    assert_int_equal(h.n_headers, 3);
    assert_string_equal(http_header(&h, "x"), "y z");
    assert_null(http_header(&h, "y"));
}

static void test_versions(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct http_head h;

    assert_int_equal(parse(a, "GET / HTTP/1.0\r\n\r\n", &h), 0);
    assert_false(h.keep_alive);
    assert_int_equal(parse(a, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &h), 0);
    assert_true(h.keep_alive);
    assert_int_equal(parse(a, "GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n", &h), 0);
    assert_false(h.keep_alive);
    assert_int_equal(parse(a, "PUT /x HTTP/1.1\nExpect: 100-Continue\nTransfer-Encoding: chunked\n\n", &h),
                     0);
    assert_true(h.expect_continue && h.chunked && !h.has_length);
    assert_int_equal(parse(a, "GET / HTTP/2.0\r\n\r\n", &h), 505);
}

static void test_targets(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct http_head h;

    assert_int_equal(parse(a, "GET http://host:80/a/b?c HTTP/1.1\r\n\r\n", &h), 0);
    assert_string_equal(h.path, "/a/b");
    assert_int_equal(parse(a, "GET https://host?c=d HTTP/1.1\r\n\r\n", &h), 0);
    assert_string_equal(h.path, "/");
    assert_string_equal(h.query_text, "c=d");
    assert_int_equal(parse(a, "GET https://host HTTP/1.1\r\n\r\n", &h), 0);
    assert_string_equal(h.path, "/");
    assert_int_equal(parse(a, "OPTIONS * HTTP/1.1\r\n\r\n", &h), 0);
    assert_string_equal(h.path, "*");
    assert_int_equal(parse(a, "CONNECT /console?uuid=1 HTTP/1.0\r\n\r\n", &h), 0);
    assert_int_equal(h.method, HTTP_CONNECT);
    assert_int_equal(parse(a, "GET /a%2Fb+c%c3%a4 HTTP/1.1\r\n\r\n", &h), 0);
    assert_string_equal(h.path, "/a/b+c\xc3\xa4");
    assert_int_equal(parse(a, "PROPFIND / HTTP/1.1\r\n\r\n", &h), 0);
    assert_int_equal(h.method, HTTP_OTHER_METHOD);
}

static void test_malformed(void **state _unused_)
{
    static const char *const bad[] = {
        "",
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / HTTP/11\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET / HTTP/1.x\r\n\r\n",
        "G(T / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET x HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\n\r\n",
        "CONNECT h:443 HTTP/1.1\r\n\r\n",
        "GET /%zz HTTP/1.1\r\n\r\n",
        "GET /%0 HTTP/1.1\r\n\r\n",
        "GET /%00 HTTP/1.1\r\n\r\n",
        "GET /?a=%f HTTP/1.1\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\001\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    struct http_head h;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        _cleanup_arena_ struct arena *a = arena_new();
        if (parse(a, bad[i], &h) != 400) fail_msg("not refused: %s", bad[i]);
    }
    _cleanup_arena_ struct arena *a = arena_new();
    char nul[] = "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n";
    assert_int_equal(http_parse_request(nul, sizeof(nul) - 1, a, &h), 400);
    assert_int_equal(parse(a, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", &h), 501);
    assert_int_equal(parse(a, "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", &h), 0);
}

static void test_query(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct http_head h;

    assert_int_equal(
        parse(a,
              "GET /x?session_id=OpaqueRef%3Aq&vm_uuid=a,b&vm_uuid=c&flag&e=&vdi:1=2&s=a+b%2Bc&&=n&k=v=w"
              " HTTP/1.1\r\nCookie: session_id=OpaqueRef:c\r\n\r\n",
              &h),
        0);
    assert_string_equal(http_query(&h, "session_id"), "OpaqueRef:q");
    assert_string_equal(http_param(&h, "session_id"), "OpaqueRef:c");
    assert_string_equal(http_query(&h, "vm_uuid"), "a,b");
    assert_string_equal(http_query(&h, "flag"), "");
    assert_string_equal(http_query(&h, "e"), "");
    assert_string_equal(http_query(&h, "vdi:1"), "2");
    assert_string_equal(http_query(&h, "s"), "a b+c");
    assert_string_equal(http_query(&h, "k"), "v=w");
    assert_null(http_query(&h, "K"));
    assert_int_equal(h.n_query, 8);
    assert_string_equal(h.query[2].value, "c");
}

static void test_cookies(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct http_head h;

    assert_int_equal(
        parse(a,
              "GET /?b=q&pool_secret=x HTTP/1.1\r\nCookie: session_id=OpaqueRef%3a1; task_id=2;b=3 \r\n"
              "cookie: c=4&d=5%;odd\r\n\r\n",
              &h),
        0);
    assert_string_equal(http_cookie(&h, "session_id"), "OpaqueRef:1");
    assert_string_equal(http_cookie(&h, "task_id"), "2");
    assert_string_equal(http_cookie(&h, "b"), "3");
    assert_string_equal(http_cookie(&h, "c"), "4");
    assert_string_equal(http_cookie(&h, "d"), "5%");
    assert_string_equal(http_cookie(&h, "odd"), "");
    assert_string_equal(http_param(&h, "b"), "q");
    assert_string_equal(http_param(&h, "c"), "4");
    assert_string_equal(http_param(&h, "pool_secret"), "x");
    assert_null(http_param(&h, "none"));
}

static void test_head_end(void **state _unused_)
{
    static const char text[] = "\r\n\r\nGET / HTTP/1.1\r\nA: b\n\r\nbody";
    size_t whole = sizeof(text) - 1 - 4, scan = 0;

    /* Byte by byte with the scan position kept, and at once from any prefix. */
    for (size_t n = 0; n < whole; n++) {
        size_t fresh = 0;
        assert_int_equal(http_head_end(text, n, &scan), 0);
        assert_int_equal(http_head_end(text, n, &fresh), 0);
    }
    assert_int_equal(http_head_end(text, whole, &scan), whole);
    scan = 0;
    assert_int_equal(http_head_end(text, sizeof(text) - 1, &scan), whole);
}

static void test_response(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    static const char *const bad[] = { "",
                                       "HTTP/1.1 20\r\n\r\n",
                                       "HTTP/2 200\r\n\r\n",
                                       "HTTP/1.1 abc\r\n\r\n",
                                       "HTTP/1.1 2000\r\n\r\n",
                                       "ICY 200 OK\r\n\r\n" };
    struct http_status s;

    char *good = arena_strdup(a, "HTTP/1.0 302 Found\r\nLocation: https://x/y\r\nContent-Length: 3\r\n\r\n");
    assert_int_equal(http_parse_response(good, strlen(good), a, &s), 0);
    assert_int_equal(s.status, 302);
    assert_string_equal(s.reason, "Found");
    assert_string_equal(http_find(s.headers, s.n_headers, "location", true), "https://x/y");
    assert_true(s.has_length && s.length == 3 && !s.keep_alive);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *text = arena_strdup(a, bad[i]);
        assert_int_equal(http_parse_response(text, strlen(text), a, &s), -1);
    }
}

/* Feed text in pieces of step bytes; the payload in *ret, the rest behind the body in *ret_left. */
static enum http_chunk unchunk(const char *text, size_t step, struct strbuf *ret, size_t *ret_left)
{
    struct http_chunked c = HTTP_CHUNKED_INIT;
    size_t len = strlen(text), at = 0;

    while (at < len) {
        size_t n = len - at < step ? len - at : step, skip = 0, got = 0;
        enum http_chunk what = http_chunk_next(&c, text + at, n, &skip, &got);
        if (what == HTTP_CHUNK_MORE) {
            at += n;
            continue;
        }
        if (what == HTTP_CHUNK_BAD) return what;
        strbuf_add(ret, text + at + skip, got);
        at += skip + got;
        *ret_left = len - at;
        if (what == HTTP_CHUNK_END) return what;
    }
    return HTTP_CHUNK_MORE;
}

static void test_chunked(void **state _unused_)
{
    static const char good[] =
        "4;ext=\"x\"\r\nWiki\r\nA\r\npedia in\r\n\r\n3\nabc\n0\r\nTrailer: x\r\n\r\nNEXT";
    static const char *const bad[] = { "g\r\n",  "\r\n", "4\r\nWikiX", "-1\r\n", "fffffffffffffffff\r\n",
                                       "4\rWiki" };

    for (size_t step = 1; step < sizeof(good); step++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        size_t left = 99;
        assert_int_equal(unchunk(good, step, &b, &left), HTTP_CHUNK_END);
        assert_string_equal(strbuf_cstr(&b), "Wikipedia in\r\nabc");
        assert_int_equal(left, 4);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        size_t left;
        if (unchunk(bad[i], 100, &b, &left) != HTTP_CHUNK_BAD) fail_msg("taken: %s", bad[i]);
    }
}

static void test_escape(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    char text[] = "a%20b%2fc";

    http_escape(&b, "/a b?\xc3\xa4~", "/");
    assert_string_equal(strbuf_cstr(&b), "/a%20b%3F%C3%A4~");
    assert_int_equal(http_unescape(text, strlen(text), false), 5);
    assert_string_equal(text, "a b/c");
    assert_true(http_has_token("gzip , Close", "close"));
    assert_false(http_has_token("disclose, closed", "close"));
}

static void test_basic_auth(void **state _unused_)
{
    char *user = NULL, *password = NULL;

    assert_int_equal(http_basic_auth("Basic cm9vdDpwYXNzOndvcmQ=", &user, &password), 0);
    assert_string_equal(user, "root");
    assert_string_equal(password, "pass:word");
    free(user);
    free(password);
    assert_int_equal(http_basic_auth("Bearer cm9vdA==", &user, &password), -1);
    assert_int_equal(http_basic_auth("Basic cm9vdA==", &user, &password), -1);
    assert_int_equal(http_basic_auth("Basic !!!!", &user, &password), -1);
    assert_int_equal(http_basic_auth("Basic ADo=", &user, &password), -1);
}

UNIT_MAIN(cmocka_unit_test(test_request), cmocka_unit_test(test_versions), cmocka_unit_test(test_targets),
          cmocka_unit_test(test_malformed), cmocka_unit_test(test_query), cmocka_unit_test(test_cookies),
          cmocka_unit_test(test_head_end), cmocka_unit_test(test_response), cmocka_unit_test(test_chunked),
          cmocka_unit_test(test_escape), cmocka_unit_test(test_basic_auth))
