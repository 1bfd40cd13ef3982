/* The configuration: sources and their order, every type, mistakes with file and line, reloading, the help.
 * Called by: make check.  Calls: lib/conf. */
#include "tests/unit/unit.h"

#include "lib/conf.h"

static const char *const modes[] = { "sim", "libvirt", "xen", NULL };

static const struct conf_option options[] = {
    { .key = "root", .type = CONF_PATH, .fallback = "/", .unit = "DIR", .doc = "Where everything is kept" },
    { .key = "http", .type = CONF_STRING, .fallback = "", .unit = "ADDR:PORT", .doc = "Listen here" },
    { .key = "hv", .type = CONF_ENUM, .fallback = "libvirt", .choices = modes, .doc = "The hypervisor" },
    { .key = "workers", .type = CONF_INT, .fallback = "8", .min = 1, .max = 64, .doc = "Threads" },
    { .key = "idle", .type = CONF_DURATION, .fallback = "30s", .doc = "Close idle connections after this",
      .reloadable = true },
    { .key = "cache", .type = CONF_SIZE, .fallback = "16M", .min = 4096, .max = INT64_C(1) << 40,
      .doc = "Bytes", .reloadable = true },
    { .key = "redirect", .type = CONF_BOOL, .fallback = "no", .doc = "Redirect the web root",
      .reloadable = true },
    { .key = "greeting", .type = CONF_STRING, .fallback = "hello",
      .doc = "A sentence that is long enough to need more than a "
      "single line of the terminal, so that it is wrapped somewhere in the middle and goes on below",
      .reloadable = true },
    { .key = "check-config", .type = CONF_BOOL, .fallback = "no", .doc = "Only check",
      .command_line_only = true },
    { .key = NULL },
};

static char path[] = "/tmp/test-conf.XXXXXX";

static int make_file(void **state _unused_)
{
    strcpy(path + sizeof(path) - 7, "XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0 ? -1 : 0;
}

static int remove_file(void **state _unused_) { return unlink(path); }

static void write_conf(const char *text)
{
    assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
}

static int parse_args(struct conf *c, struct strbuf *errors, int *rest, const char *a1, const char *a2,
                      const char *a3)
{
    char *argv[] = { (char *)"xapi", (char *)a1, (char *)a2, (char *)a3, NULL };
    int argc = 1;

    while (argv[argc]) argc++;
    return conf_parse_args(c, argc, argv, rest, errors);
}

static void defaults_hold_until_something_is_said(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);

    assert_string_equal(conf_str(c, "root"), "/");
    assert_string_equal(conf_str(c, "http"), "");
    assert_string_equal(conf_str(c, "hv"), "libvirt");
    assert_int_equal(conf_int(c, "hv"), 1);
    assert_int_equal(conf_int(c, "workers"), 8);
    assert_int_equal(conf_ms(c, "idle"), 30000);
    assert_int_equal(conf_bytes(c, "cache"), 16 << 20);
    assert_false(conf_bool(c, "redirect"));
    conf_free(NULL);
}

static void a_file_is_read(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;

    write_conf("# a comment\n\n  root=/srv # not a comment\nhv =\txen\r\nworkers = 64\nidle = 5min\ncache = "
                "2 GiB\nredirect = yes\n"
               "greeting = a = b");
    assert_int_equal(conf_load(c, path, &errors), 0);
    assert_string_equal(conf_str(c, "root"), "/srv # not a comment");
    assert_string_equal(conf_str(c, "hv"), "xen");
    assert_int_equal(conf_int(c, "workers"), 64);
    assert_int_equal(conf_ms(c, "idle"), 300000);
    assert_true(conf_bytes(c, "cache") == INT64_C(2) << 30);
    assert_true(conf_bool(c, "redirect"));
    assert_string_equal(conf_str(c, "greeting"), "a = b");
}

static void every_mistake_is_named_with_its_line_and_nothing_changes(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;

    write_conf("workers = 3\nworkers = 65\nhv = vmware\nidle = soon\ncache = 1K\nredirect = "
                "maybe\nnonsense\ncolour = red\n"
               "check-config = yes\nworkers = 4\n");
    assert_int_equal(conf_load(c, path, &errors), -1);
    static const char *const expected[] = {
        ":2: workers: set twice\n", ":3: hv: \"vmware\" is not one of the choices: sim, libvirt, xen\n",
        ":4: idle: \"soon\" is not a duration", ":5: cache: 1K is not between 4096 and",
        ":6: redirect: \"maybe\" is not yes or no\n",
        ":7: expected \"key = value\"\n", ":8: colour: no such option\n",
        ":9: check-config: only on the command line\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        _cleanup_free_ char *line = xasprintf("%s%s", path, expected[i]);
        if (!strstr(errors.ptr, line)) fail_msg("missing \"%s\" in:\n%s", line, errors.ptr);
    }
    assert_int_equal(conf_int(c, "workers"), 8);
}

static void unreadable_files_are_named(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;

    assert_int_equal(conf_load(c, "/nonexistent.conf", &errors), -1);
    assert_string_equal(errors.ptr, "/nonexistent.conf: No such file or directory\n");
    strbuf_clear(&errors);
    assert_int_equal(write_file_atomic(path, "a\0b", 3, 0600), 0);
    assert_int_equal(conf_load(c, path, &errors), -1);
    assert_non_null(strstr(errors.ptr, "not a text file"));
}

static void durations_and_sizes_have_units(void **state _unused_)
{
    static const struct { const char *text; int64_t ms; } durations[] = {
        { "5", 5000 }, { "500ms", 500 }, { "2s", 2000 }, { "3min", 180000 }, { "1h", 3600000 },
        { "2d", 172800000 }, { "7 s", 7000 },
    };
    static const struct { const char *text; int64_t bytes; } sizes[] = {
        { "4096", 4096 }, { "4096B", 4096 }, { "8K", 8192 }, { "8KiB", 8192 }, { "1M", 1 << 20 },
        { "3G", INT64_C(3) << 30 },
        { "1TiB", INT64_C(1) << 40 },
    };
    static const char *const bad[] = { "--idle=", "--idle=1m", "--idle=-1", "--idle=1.5h",
                                       "--idle=99999999999999999d",
                                       "--cache=8k", "--cache=8kB", "--cache=M",
                                       "--cache=999999999999999999999" };
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;
    int rest;

    for (size_t i = 0; i < ARRAY_SIZE(durations); i++) {
        assert_int_equal(parse_args(c, &errors, &rest, "--idle", durations[i].text, NULL), 0);
        assert_true(conf_ms(c, "idle") == durations[i].ms);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(parse_args(c, &errors, &rest, "--cache", sizes[i].text, NULL), 0);
        assert_true(conf_bytes(c, "cache") == sizes[i].bytes);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (!parse_args(c, &errors, &rest, bad[i], NULL, NULL)) fail_msg("accepted %s", bad[i]);
}

static void the_command_line_wins_over_the_file(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;
    int rest = 0;

    assert_int_equal(parse_args(c, &errors, &rest, "--workers", "5", "--hv=sim"), 0);
    assert_int_equal(rest, 4);
    write_conf("workers = 6\nredirect = on\n");
    assert_int_equal(conf_load(c, path, &errors), 0);
    assert_int_equal(conf_int(c, "workers"), 5);
    assert_int_equal(conf_int(c, "hv"), 0);
    assert_true(conf_bool(c, "redirect"));
}

static void arguments_that_are_no_options_are_left(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;
    int rest = 0;

    assert_int_equal(parse_args(c, &errors, &rest, "--redirect", "list", "--workers"), 0);
    assert_int_equal(rest, 2);
    assert_true(conf_bool(c, "redirect"));
    assert_int_equal(parse_args(c, &errors, &rest, "--redirect=off", "--", "--workers"), 0);
    assert_int_equal(rest, 3);
    assert_false(conf_bool(c, "redirect"));
    assert_int_equal(parse_args(c, &errors, &rest, NULL, NULL, NULL), 0);
    assert_int_equal(rest, 1);
}

static void wrong_arguments_are_named(void **state _unused_)
{
    static const struct { const char *a1, *a2, *error; } cases[] = {
        { "--colour", "red", "--colour: no such option\n" },
        { "--workers", NULL, "--workers: a value is missing\n" },
        { "--root", "--http=x", "--root: a value is missing\n" },
        { "--workers=x", NULL, "--workers: \"x\" is not a whole number\n" },
        { "--workers", "0", "--workers: 0 is not between 1 and 64\n" },
        { "--redirect=perhaps", NULL, "--redirect: \"perhaps\" is not yes or no\n" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_conf_ struct conf *c = conf_new(options);
        _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;
        int rest;
        assert_int_equal(parse_args(c, &errors, &rest, cases[i].a1, cases[i].a2, NULL), -1);
        assert_string_equal(errors.ptr, cases[i].error);
    }
}

static void reloading_changes_only_what_may_change(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT, notes = STRBUF_INIT;
    int rest;

    assert_int_equal(parse_args(c, &errors, &rest, "--redirect=no", NULL, NULL), 0);
    write_conf("workers = 6\nidle = 10s\ngreeting = one\n");
    assert_int_equal(conf_load(c, path, &errors), 0);
    const char *held = conf_str(c, "greeting");

    write_conf("workers = 7\nidle = 20s\nredirect = yes\n");
    assert_int_equal(conf_reload(c, path, &notes, &errors), 0);
    assert_string_equal(notes.ptr, "workers: the new value takes effect after a restart\n");
    assert_int_equal(conf_int(c, "workers"), 6);
    assert_int_equal(conf_ms(c, "idle"), 20000);
    assert_false(conf_bool(c, "redirect"));               /* the command line's */
    assert_string_equal(conf_str(c, "greeting"), "hello");   /* back to the default */
    assert_string_equal(held, "one");                        /* still there for who holds it */
}

static void a_mistake_leaves_everything_as_it_was(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT, notes = STRBUF_INIT;

    write_conf("idle = 20s\nredirect = perhaps\n");
    assert_int_equal(conf_reload(c, path, &notes, &errors), -1);
    assert_int_equal(conf_ms(c, "idle"), 30000);
    assert_non_null(strstr(errors.ptr, ":2: redirect"));
}

static void the_help_names_every_option(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options);
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    conf_help(c, &out);
    assert_non_null(strstr(out.ptr, "  --root DIR\n          Where everything is kept (default: /)\n"));
    assert_non_null(strstr(out.ptr, "  --http ADDR:PORT\n          Listen here\n"));
    assert_non_null(strstr(out.ptr, "  --hv sim|libvirt|xen\n"));
    assert_non_null(strstr(out.ptr,
                    "  --idle DURATION\n          Close idle connections after this (default: 30s) "
                    "[reloadable]\n"));
    assert_non_null(strstr(out.ptr, "  --check-config\n          Only check\n"));
    for (const char *line = out.ptr; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
}

static void a_dump_is_a_file_that_loads(void **state _unused_)
{
    _cleanup_conf_ struct conf *c = conf_new(options), *again = conf_new(options);
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT, errors = STRBUF_INIT;
    int rest;

    assert_int_equal(parse_args(c, &errors, &rest, "--workers=5", "--idle=7s", NULL), 0);
    conf_dump(c, &out);
    assert_non_null(strstr(out.ptr, "# command line\nworkers = 5\n"));
    write_conf(out.ptr);
    if (conf_load(again, path, &errors)) fail_msg("%s", errors.ptr);
    assert_int_equal(conf_int(again, "workers"), 5);
    assert_int_equal(conf_ms(again, "idle"), 7000);
}

#define with_file(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)

UNIT_MAIN(
    cmocka_unit_test(defaults_hold_until_something_is_said),
    with_file(a_file_is_read),
    with_file(every_mistake_is_named_with_its_line_and_nothing_changes),
    with_file(unreadable_files_are_named),
    cmocka_unit_test(durations_and_sizes_have_units),
    with_file(the_command_line_wins_over_the_file),
    cmocka_unit_test(arguments_that_are_no_options_are_left),
    cmocka_unit_test(wrong_arguments_are_named),
    with_file(reloading_changes_only_what_may_change),
    with_file(a_mistake_leaves_everything_as_it_was),
    cmocka_unit_test(the_help_names_every_option),
    with_file(a_dump_is_a_file_that_loads),
)
