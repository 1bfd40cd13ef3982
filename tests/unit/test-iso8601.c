/* Dates: every form that XenAPI callers send, the one form we write, and the C library's calendar as the
 * judge.
 * Called by: make check.  Calls: lib/iso8601. */
#include "tests/unit/unit.h"

#include "lib/iso8601.h"

#include <time.h>

static void every_form_that_callers_send_is_read(void **state _unused_)
{
    static const struct { const char *text; int64_t seconds; } cases[] = {
        { "20260821T02:00:23Z", 1787277623 },
        { "20260821T02:00:23", 1787277623 },
        { "20260821T020023Z", 1787277623 },
        { "2026-08-21T02:00:23Z", 1787277623 },
        { "2026-08-21T02:00:23z", 1787277623 },
        { "2026-08-21t02:00:23", 1787277623 },
        { "2026-08-21 02:00:23", 1787277623 },
        { "2026-08-21T02:00:23.999Z", 1787277623 },
        { "2026-08-21T02:00:23,5", 1787277623 },
        { "2026-08-21T04:00:23+02:00", 1787277623 },
        { "2026-08-21T04:00:23+0200", 1787277623 },
        { "2026-08-21T04:00:23+02", 1787277623 },
        { "2026-08-20T20:30:23-05:30", 1787277623 },
        { "20260821T04:00:23+02:00", 1787277623 },
        { "2009-09-10T11:31", 1252582260 },
        { "2009-09-10T11:31Z", 1252582260 },
        { "20090910T1131", 1252582260 },
        { "2009-09-10", 1252540800 },
        { "20090910", 1252540800 },
        { "19700101T00:00:00Z", 0 },
        { "1969-12-31T23:59:59Z", -1 },
        { "2000-02-29T00:00:00Z", 951782400 },
        { "2016-12-31T23:59:60Z", 1483228800 },
        { "0000-01-01T00:00:00Z", -62167219200 },
        { "9999-12-31T23:59:59Z", 253402300799 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t t = 12345;
        if (!iso8601_parse(cases[i].text, &t)) fail_msg("refused: %s", cases[i].text);
        if (t != cases[i].seconds) fail_msg("%s: %lld", cases[i].text, (long long)t);
    }
}

static void anything_else_is_refused(void **state _unused_)
{
    static const char *const texts[] = {
        "", "2026", "2026-08", "202608", "2026-0821", "202608-21", "2026-13-01", "2026-00-01", "2026-02-29",
        "1900-02-29",
        "2026-04-31", "2026-08-00", "2026-08-21T", "2026-08-21T02", "2026-08-21T24:00", "2026-08-21T02:60",
        "2026-08-21T02:00:61", "2026-08-21T02:00:", "2026-08-21T02:00:2", "2026-08-21T02:00:23.",
        "2026-08-21T02:00:23ZZ",
        "2026-08-21T02:00:23 UTC", "2026-08-21T02:00:23+", "2026-08-21T02:00:23+2",
        "2026-08-21T02:00:23+24:00",
        "2026-08-21T02:00:23+02:60", "2026-08-21T02:00:23+02:", "2026-08-21T02:00:23+02000", "2026-08-21Z",
        " 2026-08-21",
        "2026-08-21T02:0023", "+026-08-21", "now", "1787277623",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        int64_t t = 12345;
        if (iso8601_parse(texts[i], &t)) fail_msg("accepted: \"%s\"", texts[i]);
        assert_true(t == 12345);
    }
}

static void our_form_is_basic_date_extended_time_and_z(void **state _unused_)
{
    char buf[ISO8601_TEXT];

    assert_string_equal(iso8601_text(1787277623, buf), "20260821T02:00:23Z");
    assert_string_equal(iso8601_text(0, buf), "19700101T00:00:00Z");
    assert_string_equal(iso8601_text(-1, buf), "19691231T23:59:59Z");
    assert_string_equal(iso8601_local_text(1787277623, buf), "20260821T02:00:23");
}

static void times_outside_four_digit_years_are_clamped(void **state _unused_)
{
    char buf[ISO8601_TEXT];

    assert_string_equal(iso8601_text(INT64_MAX, buf), "99991231T23:59:59Z");
    assert_string_equal(iso8601_text(INT64_MIN, buf), "00000101T00:00:00Z");
}

static void the_calendar_is_the_c_library_s(void **state _unused_)
{
    char ours[ISO8601_TEXT], theirs[64];
    struct tm tm;

    /* a step that is no multiple of a day, over the years 1600 to 2500 */
    for (time_t t = -11676096000; t < 16725225600; t += 86400 * 3 + 12345) {
        int64_t back;
        gmtime_r(&t, &tm);
        strftime(theirs, sizeof(theirs), "%Y%m%dT%H:%M:%SZ", &tm);
        assert_string_equal(iso8601_text(t, ours), theirs);
        assert_true(iso8601_parse(ours, &back) && back == t);
    }
}

UNIT_MAIN(
    cmocka_unit_test(every_form_that_callers_send_is_read),
    cmocka_unit_test(anything_else_is_refused),
    cmocka_unit_test(our_form_is_basic_date_extended_time_and_z),
    cmocka_unit_test(times_outside_four_digit_years_are_clamped),
    cmocka_unit_test(the_calendar_is_the_c_library_s),
)
