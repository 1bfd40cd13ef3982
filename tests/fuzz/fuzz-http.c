/* HTTP heads, chunked framing and credentials over arbitrary bytes. The first byte says which.
 * Called by: libFuzzer, replay.c.  Calls: lib/http. */
#include "tests/fuzz/fuzz.h"

#include "lib/http.h"

/* Text that a parser hands out ends within its input or arena: the sanitizer sees strlen() run out. */
static size_t touch(const char *s)
{
    MUST(s);
    return strlen(s);
}

static void check_pairs(const struct http_pair *pairs, size_t n, bool named)
{
    for (size_t i = 0; i < n; i++) {
        MUST(!named || touch(pairs[i].name) > 0);
        touch(pairs[i].value);
        MUST(!strpbrk(pairs[i].value, "\r\n") || !named);
    }
}

/* Escaping what was unescaped and reading it again gives the same. */
static void check_path(const char *path)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    MUST(path[0] == '/' || streq(path, "*"));
    http_escape(&b, path, "/*");
    ssize_t n = http_unescape(b.ptr, b.len, false);
    MUST(n == (ssize_t)strlen(path) && memcmp(b.ptr, path, (size_t)n) == 0);
}

static void fuzz_request(const char *text, size_t size)
{
    struct arena *a = arena_new();
    struct http_head h;
    size_t scan = 0, fresh = 0, end = http_head_end(text, size, &fresh);

    /* The end does not depend on the pieces it came in, and nothing before it ends a head. */
    for (size_t n = 0; n < size && n < 4096; n++) {
        size_t part = http_head_end(text, n, &scan);
        MUST(part == (end && n >= end ? end : 0));
        if (part) break;
    }
    MUST(end <= size);
    char *copy = xmalloc(end ? end : size);
    memcpy(copy, text, end ? end : size);
    int status = http_parse_request(copy, end ? end : size, a, &h);
    MUST(status == 0 || status == 400 || status == 501 || status == 505);
    if (status == 0) {
        touch(h.method_text);
        touch(h.target);
        touch(h.query_text);
        check_path(h.path);
        check_pairs(h.headers, h.n_headers, true);
        check_pairs(h.query, h.n_query, false);
        check_pairs(h.cookies, h.n_cookies, false);
        MUST(!(h.chunked && h.has_length) && (h.minor == 0 || h.minor == 1));
        MUST(!h.chunked || h.minor == 1);
        http_param(&h, "session_id");
    }
    free(copy);
    arena_free(a);
}

static void fuzz_response(const char *text, size_t size)
{
    struct arena *a = arena_new();
    struct http_status s;
    char *copy = xmalloc(size);

    memcpy(copy, text, size);
    if (http_parse_response(copy, size, a, &s) == 0) {
        MUST(s.status >= 100 && s.status <= 999);
        touch(s.reason);
        check_pairs(s.headers, s.n_headers, true);
    }
    free(copy);
    arena_free(a);
}

/* The payload when the text comes in pieces of step bytes; how it ended. */
static enum http_chunk unchunk(const char *text, size_t size, size_t step, struct strbuf *ret,
                               size_t *ret_end)
{
    struct http_chunked c = HTTP_CHUNKED_INIT;
    size_t at = 0;

    while (at < size) {
        size_t n = size - at < step ? size - at : step, skip = 0, len = 0;
        enum http_chunk what = http_chunk_next(&c, text + at, n, &skip, &len);
        if (what == HTTP_CHUNK_BAD) return what;
        if (what == HTTP_CHUNK_MORE) {
            at += n;
            continue;
        }
        MUST(skip + len <= n && (what == HTTP_CHUNK_END || len));
        strbuf_add(ret, text + at + skip, len);
        at += skip + len;
        *ret_end = at;
        if (what == HTTP_CHUNK_END) return what;
    }
    return HTTP_CHUNK_MORE;
}

static void fuzz_chunked(const char *text, size_t size)
{
    _cleanup_strbuf_ struct strbuf whole = STRBUF_INIT, bytes = STRBUF_INIT;
    size_t whole_end = 0, bytes_end = 0;
    enum http_chunk a = unchunk(text, size, SIZE_MAX, &whole, &whole_end);
    enum http_chunk b = unchunk(text, size, 1, &bytes, &bytes_end);

    MUST(a == b && whole.len == bytes.len);
    MUST(whole.len == 0 || memcmp(whole.ptr, bytes.ptr, whole.len) == 0);
    MUST(a != HTTP_CHUNK_END || whole_end == bytes_end);
}

static void fuzz_texts(const char *text, size_t size)
{
    char *copy = xmalloc(size + 1), *user = NULL, *password = NULL;

    memcpy(copy, text, size);
    copy[size] = '\0';
    if (http_basic_auth(copy, &user, &password) == 0) MUST(!strchr(user, ':') && touch(password) < size);
    http_has_token(copy, "close");
    free(user);
    free(password);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    const char *text = (const char *)data + 1;
    switch (data[0]) {
    case 'Q': fuzz_request(text, size - 1); break;
    case 'R': fuzz_response(text, size - 1); break;
    case 'C': fuzz_chunked(text, size - 1); break;
    case 'T': fuzz_texts(text, size - 1); break;
    }
    return 0;
}
