/* Files, arenas, buffers, errors, numbers, UTF-8, clocks: the small things.
 * Called by: make check.  Calls: lib/util, arena, strbuf, xerr, num, utf8, clock. */
#include "tests/unit/unit.h"

#include "lib/arena.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "lib/utf8.h"
#include "lib/xerr.h"

#include <errno.h>
#include <math.h>
#include <sys/stat.h>

/* ---- files ---- */

static char dir[] = "/tmp/test-util.XXXXXX";

static int make_dir(void **state _unused_)
{
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state _unused_)
{
    _cleanup_free_ char *cmd = xasprintf("rm -rf %s", dir);

    return system(cmd);
}

static void a_file_is_written_whole_and_read_back(void **state _unused_)
{
    _cleanup_free_ char *path = xasprintf("%s/f", dir), *text = NULL;
    struct stat st;
    size_t len;

    assert_int_equal(write_file_atomic(path, "one", 3, 0600), 0);
    assert_int_equal(write_file_atomic(path, "a\0b", 3, 0640), 0);
    assert_int_equal(read_file(path, 100, &text, &len), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(text, "a\0b\0", 4);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void a_file_beyond_the_limit_is_not_read(void **state _unused_)
{
    _cleanup_free_ char *path = xasprintf("%s/f", dir), *text = NULL;

    assert_int_equal(write_file_atomic(path, "0123456789", 10, 0600), 0);
    assert_int_equal(read_file(path, 9, &text, NULL), -1);
    assert_int_equal(errno, EFBIG);
    assert_null(text);
    assert_int_equal(read_file(path, 10, &text, NULL), 0);
}

static void a_missing_file_says_so(void **state _unused_)
{
    _cleanup_free_ char *text = NULL;

    assert_int_equal(read_file("/nonexistent/file", 10, &text, NULL), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(write_file_atomic("/nonexistent/file", "", 0, 0600), -1);
    assert_int_equal(errno, ENOENT);
}

static void folders_are_made_with_their_parents(void **state _unused_)
{
    _cleanup_free_ char *path = xasprintf("%s/a/b/c", dir), *file = xasprintf("%s/f", dir),
            *below = xasprintf("%s/f/x", dir);
    struct stat st;

    assert_int_equal(make_dirs(path, 0755), 0);
    assert_int_equal(make_dirs(path, 0755), 0);
    assert_true(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
    assert_int_equal(write_file_atomic(file, "", 0, 0600), 0);
    assert_int_equal(make_dirs(below, 0755), -1);
}

/* ---- memory ---- */

static void an_arena_gives_aligned_zeroed_memory_of_any_size(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();

    for (size_t n = 1; n < 3000000; n = n * 3 + 1) {
        unsigned char *p = arena_zalloc(a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i += 97) assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    arena_reset(a);
    assert_int_equal(arena_used(a), 0);
    assert_string_equal(arena_printf(a, "%0300d", 7) + 299, "7");
    assert_string_equal(arena_strndup(a, "abc", 2), "ab");
    arena_free(NULL);
}

static void a_buffer_grows_and_stays_terminated(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    assert_string_equal(strbuf_cstr(&b), "");
    for (int i = 0; i < 1000; i++) {
        strbuf_char(&b, 'x');
        assert_int_equal(strlen(strbuf_cstr(&b)), b.len);
    }
    strbuf_clear(&b);
    strbuf_int(&b, INT64_MIN);
    strbuf_char(&b, ' ');
    strbuf_int(&b, INT64_MAX);
    strbuf_printf(&b, " %s", "text");
    assert_string_equal(b.ptr, "-9223372036854775808 9223372036854775807 text");
    char *taken = strbuf_take(&b);
    assert_int_equal(b.len, 0);
    free(taken);
    taken = strbuf_take(&b);
    assert_string_equal(taken, "");
    free(taken);
}

/* ---- errors ---- */

static void an_error_carries_code_and_parameters(void **state _unused_)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT, moved = XERR_INIT;

    assert_int_equal(xerr_set(&err, "HANDLE_INVALID", 2, (const char *[]){ "VM", NULL }), -1);
    assert_true(xerr_is(&err, "HANDLE_INVALID"));
    assert_string_equal(err.params[0], "VM");
    assert_string_equal(err.params[1], "");
    assert_int_equal(xerr_move(&moved, &err), -1);
    assert_null(err.code);
    _cleanup_free_ char *text = xerr_text(&moved);
    assert_string_equal(text, "HANDLE_INVALID: VM, ");
    assert_int_equal(xerr_set(NULL, "X", 0, NULL), -1);
}

static void an_error_may_have_a_code_that_is_no_literal(void **state _unused_)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    char code[] = "SR_BACKEND_FAILURE_46";
    const char *params[XERR_MAX_PARAMS + 5];

    for (size_t i = 0; i < ARRAY_SIZE(params); i++) params[i] = "p";
    xerr_set_dynamic(&err, code, ARRAY_SIZE(params), params);
    code[0] = 'x';
    assert_string_equal(err.code, "SR_BACKEND_FAILURE_46");
    assert_int_equal(err.n, XERR_MAX_PARAMS);
}

/* ---- numbers ---- */

static void whole_numbers_are_parsed_strictly(void **state _unused_)
{
    static const char *const bad[] = { "", "-", "+", "1 ", " 1", "1.0", "0x1", "9223372036854775808",
                                       "-9223372036854775809",
                                       "99999999999999999999", "1e3", "--1" };
    int64_t i = 7;

    for (size_t n = 0; n < ARRAY_SIZE(bad); n++) {
        if (num_parse_int(bad[n], &i)) fail_msg("accepted \"%s\"", bad[n]);
        assert_int_equal(i, 7);
    }
    assert_true(num_parse_int("9223372036854775807", &i) && i == INT64_MAX);
    assert_true(num_parse_int("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(num_parse_int("+0042", &i) && i == 42);
}

static void floats_are_parsed_strictly(void **state _unused_)
{
    static const char *const bad[] = { "", ".", "-", "1.5 ", " 1", "0x1p3", "1e", "1e+", "1,5", "infin",
                                       "nanx", "1.5f", "--1" };
    double d = 7;

    for (size_t n = 0; n < ARRAY_SIZE(bad); n++)
        if (num_parse_float(bad[n], &d)) fail_msg("accepted \"%s\"", bad[n]);
    assert_true(d == 7);
    assert_true(num_parse_float("-1.5e-3", &d) && d == -0.0015);
    assert_true(num_parse_float("1.", &d) && d == 1);
    assert_true(num_parse_float(".5", &d) && d == 0.5);
    assert_true(num_parse_float("NaN", &d) && isnan(d));
    assert_true(num_parse_float("-Infinity", &d) && isinf(d) && d < 0);
    assert_true(num_parse_float("+inf", &d) && isinf(d) && d > 0);
    assert_true(num_parse_float("1e999", &d) && isinf(d));
}

static void floats_that_are_written_are_read_back(void **state _unused_)
{
    static const double values[] = { 0, -0.0, 1, 0.1, 1e300, 5e-324, 123456789.125, 9007199254740992.0 };
    char buf[NUM_FLOAT_TEXT];
    double d;

    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        assert_true(num_parse_float(num_float_text(values[i], buf), &d) && d == values[i]);
    assert_string_equal(num_float_text(1.0 / 3, buf), "0.3333333333333333");
}

/* ---- UTF-8 ---- */

static void every_code_point_survives_and_surrogates_do_not(void **state _unused_)
{
    char bytes[4];
    uint32_t got;

    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        unsigned n = utf8_encode(cp, bytes);
        bool surrogate = cp >= 0xd800 && cp < 0xe000;
        unsigned m = utf8_next(bytes, n, &got);
        assert_int_equal(m, surrogate ? 0 : n);
        if (!surrogate) assert_int_equal(got, cp);
        if (n > 1) assert_int_equal(utf8_next(bytes, n - 1, &got), 0);
    }
}

static void malformed_sequences_are_refused(void **state _unused_)
{
    static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf",
                                       "\xf0\x80\x80\x80",
                                       "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe",
                                       "\xff", "\xc3(", "\xe2\x82(" };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) assert_false(utf8_valid(bad[i], strlen(bad[i])));
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa7", 10));
}

static void repair_replaces_only_what_is_broken(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    utf8_repair("a\xff\xc3\xa9\xe2\x82z\xc3", 8, &b);
    assert_string_equal(b.ptr, "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd");
}

static void plain_runs_end_at_the_first_special_byte(void **state _unused_)
{
    char text[64];

    for (unsigned c = 0; c < 256; c++)
        for (size_t at = 0; at < 40; at++) {
            memset(text, 'x', sizeof(text));
            text[at] = (char)c;
            bool xml = c < 0x20 || c > 0x7f || c == '<' || c == '>' || c == '&' || c == '"';
            bool json = c < 0x20 || c > 0x7f || c == '"' || c == '\\';
            assert_int_equal(utf8_plain_run_xml(text, 40), xml ? at : 40);
            assert_int_equal(utf8_plain_run_json(text, 40), json ? at : 40);
        }
}

/* ---- clocks ---- */

static void clocks_go_forward(void **state _unused_)
{
    int64_t mono = clock_monotonic_ns(), boot = clock_boottime_ns();

    assert_true(clock_monotonic_ns() >= mono);
    assert_true(clock_boottime_ns() >= boot);
    assert_true(clock_now_ns(&clock_system) >= boot);
    assert_true(clock_wall_seconds() > 1700000000);
    assert_true(clock_wall_us() / 1000000 - clock_now_wall(&clock_system) <= 1);
}

static void deadlines_become_poll_times(void **state _unused_)
{
    assert_true(clock_deadline_ns(-1) == INT64_MAX);
    assert_true(clock_deadline_ns(INT64_MAX) == INT64_MAX);
    assert_int_equal(clock_poll_ms(clock_deadline_ns(60000), 500), 500);
    assert_int_equal(clock_poll_ms(INT64_MAX, 500), 500);
    assert_int_equal(clock_poll_ms(clock_boottime_ns() - 1, 500), 0);
    assert_in_range(clock_poll_ms(clock_deadline_ns(200), 500), 1, 200);
}

#define with_dir(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

UNIT_MAIN(
    with_dir(a_file_is_written_whole_and_read_back),
    with_dir(a_file_beyond_the_limit_is_not_read),
    cmocka_unit_test(a_missing_file_says_so),
    with_dir(folders_are_made_with_their_parents),
    cmocka_unit_test(an_arena_gives_aligned_zeroed_memory_of_any_size),
    cmocka_unit_test(a_buffer_grows_and_stays_terminated),
    cmocka_unit_test(an_error_carries_code_and_parameters),
    cmocka_unit_test(an_error_may_have_a_code_that_is_no_literal),
    cmocka_unit_test(whole_numbers_are_parsed_strictly),
    cmocka_unit_test(floats_are_parsed_strictly),
    cmocka_unit_test(floats_that_are_written_are_read_back),
    cmocka_unit_test(every_code_point_survives_and_surrogates_do_not),
    cmocka_unit_test(malformed_sequences_are_refused),
    cmocka_unit_test(repair_replaces_only_what_is_broken),
    cmocka_unit_test(plain_runs_end_at_the_first_special_byte),
    cmocka_unit_test(clocks_go_forward),
    cmocka_unit_test(deadlines_become_poll_times),
)
