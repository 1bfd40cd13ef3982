/* The events that were encoded lately: found by their key only, and bounded.
 * Called by: make check.  Calls: xapi/event_sub.h. */
#include "tests/unit/unit.h"
#include "xapi/event_sub.h"

static struct event_key key(uint64_t n, uint64_t order, unsigned what)
{
    return (struct event_key){ { n, ~n }, order, what };
}

static bool finds(struct event_cache *c, struct event_key k, const char *text)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    strbuf_str(&out, "before ");
    if (!event_cache_get(c, &k, &out)) {
        assert_string_equal(out.ptr, "before ");
        return false;
    }
    assert_string_equal(out.ptr + 7, text);
    return true;
}

static void a_text_is_found_by_its_whole_key(void **state _unused_)
{
    struct event_cache *c = event_cache_new();
    struct event_key k = key(1, 2, 3);

    assert_false(finds(c, k, ""));
    event_cache_put(c, &k, "text and more", 4);
    assert_true(finds(c, k, "text"));
    assert_true(finds(c, k, "text"));
    assert_false(finds(c, key(2, 2, 3), ""));
    assert_false(finds(c, key(1, 3, 3), ""));
    assert_false(finds(c, key(1, 2, 1), ""));
    event_cache_put(c, &k, "another", 7);
    assert_true(finds(c, k, "another"));
    event_cache_free(c);
}

/* 512 KiB at most, and nothing of more than 16 KiB. */
static void what_is_kept_is_bounded(void **state _unused_)
{
    enum { N = 1000, LEN = 10000 };
    struct event_cache *c = event_cache_new();
    char *text = xcalloc(1, (32 << 10) + 1);
    size_t found = 0;
    struct event_key last = key(N - 1, 1, 0), large = key(N, 1, 0);

    memset(text, 'x', 32 << 10);
    event_cache_put(c, &large, text, 32 << 10);
    assert_false(finds(c, large, ""));
    text[LEN] = '\0';
    for (uint64_t n = 0; n < N; n++) {
        struct event_key k = key(n, 1, 0);
        event_cache_put(c, &k, text, LEN);
        assert_true(finds(c, k, text));
    }
    for (uint64_t n = 0; n < N; n++) found += finds(c, key(n, 1, 0), text);
    assert_true(found > 20 && found <= (512 << 10) / LEN);
    assert_true(finds(c, last, text));
    free(text);
    event_cache_free(c);
}

UNIT_MAIN(
    cmocka_unit_test(a_text_is_found_by_its_whole_key),
    cmocka_unit_test(what_is_kept_is_bounded),
)
