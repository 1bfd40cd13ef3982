/* The log: levels, line format, escapes, call ids, reopening, one write a line under many threads.
 * Called by: make check.  Calls: lib/log. */
#include "tests/unit/unit.h"

#define LOG_MODULE "test"
#include "lib/log.h"

#include <errno.h>
#include <pthread.h>
#include <regex.h>

static char path[] = "/tmp/test-log.XXXXXX";

static int open_log(void **state _unused_)
{
    strcpy(path + sizeof(path) - 7, "XXXXXX");
    int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    _cleanup_free_ char *target = xasprintf("file:%s", path);
    return log_configure(target, "info");
}

static int remove_log(void **state _unused_)
{
    log_set_call("");
    return unlink(path);
}

static char *logged(void)
{
    char *text = NULL;

    assert_int_equal(read_file(path, 10 << 20, &text, NULL), 0);
    return text;
}

static void reconfigure(const char *levels)
{
    _cleanup_free_ char *target = xasprintf("file:%s", path);

    assert_int_equal(log_configure(target, levels), 0);
}

static void check_matches(const char *text, const char *pattern)
{
    regex_t re;

    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int rc = regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    if (rc) fail_msg("\"%s\" does not match %s", text, pattern);
}

static void a_line_has_time_level_module_and_message(void **state _unused_)
{
    log_info("hello %d", 5);
    _cleanup_free_ char *text = logged();
    check_matches(text, "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z info  test: "
                         "hello 5\n$");
}

static void the_call_id_is_on_every_line_of_its_thread(void **state _unused_)
{
    char id[] = "R:abc";

    log_set_call(id);
    id[0] = 'x';
    log_info("one");
    log_set_call("");
    log_info("two");
    _cleanup_free_ char *text = logged();
    assert_non_null(strstr(text, "test: [R:abc] one\n"));
    assert_non_null(strstr(text, "test: two\n"));
}

static void levels_are_per_module(void **state _unused_)
{
    reconfigure("warn,db=debug,hv=error");
    assert_false(log_enabled("net", LOG_LEVEL_INFO));
    assert_true(log_enabled("net", LOG_LEVEL_WARN));
    assert_true(log_enabled("db", LOG_LEVEL_DEBUG));
    assert_false(log_enabled("hv", LOG_LEVEL_WARN));
    assert_true(log_enabled("hv", LOG_LEVEL_ERROR));
    log_write("net", LOG_LEVEL_INFO, "not this");
    log_write("db", LOG_LEVEL_DEBUG, "but this");
    _cleanup_free_ char *text = logged();
    assert_null(strstr(text, "not this"));
    assert_non_null(strstr(text, "debug db: but this\n"));
}

static void no_message_can_make_a_second_line_or_a_terminal_sequence(void **state _unused_)
{
    log_info("a\nb\rc\td\x1b[31me\x7f" "f\xc2\x9bg\xffh\xc3\xa9");
    _cleanup_free_ char *text = logged();
    assert_non_null(strstr(text, ": a\\nb\\rc\\td\\x1b[31me\\x7ff\\xc2\\x9bg\\xffh\xc3\xa9\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void a_huge_message_is_cut(void **state _unused_)
{
    _cleanup_free_ char *huge = xmalloc(100001);

    memset(huge, 'x', 100000);
    huge[100000] = '\0';
    log_info("%s", huge);
    _cleanup_free_ char *text = logged();
    assert_true(strlen(text) < 17000);
    assert_non_null(strstr(text, "x... (100000 bytes)\n"));
}

static void wrong_settings_are_refused_and_change_nothing(void **state _unused_)
{
    static const struct { const char *target, *levels; } wrong[] = {
        { "stdout", "info" }, { "stderr", "loud" }, { "stderr", "info,db" }, { "stderr", "=debug" },
        { "stderr", "" },
        { "stderr", "info,,db=debug" }, { "file:/nonexistent/dir/log", "info" },
        { "stderr", "a-module-name-that-is-much-too-long=debug" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        if (!log_configure(wrong[i].target, wrong[i].levels))
            fail_msg("accepted %s %s", wrong[i].target, wrong[i].levels);
    log_info("still here");
    _cleanup_free_ char *text = logged();
    assert_non_null(strstr(text, "still here"));
}

static void a_file_that_was_moved_away_is_reopened(void **state _unused_)
{
    _cleanup_free_ char *moved = xasprintf("%s.1", path), *old = NULL;

    log_info("one");
    assert_int_equal(rename(path, moved), 0);
    log_info("two");
    log_reopen();
    log_info("three");
    assert_int_equal(read_file(moved, 1 << 20, &old, NULL), 0);
    assert_int_equal(unlink(moved), 0);
    _cleanup_free_ char *text = logged();
    assert_true(strstr(old, "one") && strstr(old, "two") && !strstr(old, "three"));
    assert_true(strstr(text, "three") && !strstr(text, "two"));
}

static void errno_survives_a_log_line(void **state _unused_)
{
    errno = EBUSY;
    log_info("x");
    assert_int_equal(errno, EBUSY);
}

enum { THREADS = 8, LINES = 500 };

static void *write_lines(void *arg)
{
    char id[16];

    snprintf(id, sizeof(id), "t%d", (int)(intptr_t)arg);
    log_set_call(id);
    for (int i = 0; i < LINES; i++) {
        if (i % 100 == 0) log_reopen();
        log_info("line %d of a thread that writes quite a lot", i);
    }
    return NULL;
}

static void lines_of_many_threads_stay_whole(void **state _unused_)
{
    pthread_t threads[THREADS];
    size_t n = 0;

    for (intptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    _cleanup_free_ char *text = logged();
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, n++) {
        *end = '\0';
        check_matches(line, "^[-0-9T:.Z]+ info  test: \\[t[0-7]\\] line [0-9]+ of a thread that writes quite "
                             "a lot$");
    }
    assert_int_equal(n, THREADS * LINES);
}

#define with_log(test) cmocka_unit_test_setup_teardown(test, open_log, remove_log)

UNIT_MAIN(
    with_log(a_line_has_time_level_module_and_message),
    with_log(the_call_id_is_on_every_line_of_its_thread),
    with_log(levels_are_per_module),
    with_log(no_message_can_make_a_second_line_or_a_terminal_sequence),
    with_log(a_huge_message_is_cut),
    with_log(wrong_settings_are_refused_and_change_nothing),
    with_log(a_file_that_was_moved_away_is_reopened),
    with_log(errno_survives_a_log_line),
    with_log(lines_of_many_threads_stay_whole),
)
