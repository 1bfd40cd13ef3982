/* When a snapshot schedule's moment was: by minute, hour and day, over midnight, over weeks and changes of summer time.
 * Called by: tests/run.  Calls: vmss. */
#include "tests/unit/unit.h"

#include <time.h>

#include "db/db.h"
#include "xapi/vmss.h"

static int64_t at(const char *text)
{
    struct tm tm = { .tm_isdst = -1 };

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return mktime(&tm);
}

/* Up to three keys. */
static struct value schedule(struct arena *a, const char *min, const char *hour, const char *days)
{
    struct value_builder b = value_builder(a);

    if (min) value_put(&b, "min", value_string(min));
    if (hour) value_put(&b, "hour", value_string(hour));
    if (days) value_put(&b, "days", value_string(days));
    return value_built_map(&b);
}

static const struct {
    const char *zone;
    int frequency;
    const char *min, *hour, *days, *now, *moment;   /* moment NULL: there is none */
} cases[] = {
    { "UTC", vmss_frequency_hourly, "30", NULL, NULL, "2026-08-21 10:30:00", "2026-08-21 10:30:00" },
    { "UTC", vmss_frequency_hourly, "30", NULL, NULL, "2026-08-21 10:29:59", "2026-08-21 09:30:00" },
    { "UTC", vmss_frequency_hourly, "45", NULL, NULL, "2026-01-01 00:10:00", "2025-12-31 23:45:00" },
    { "UTC", vmss_frequency_daily, "15", "2", NULL, "2026-08-21 02:15:00", "2026-08-21 02:15:00" },
    { "UTC", vmss_frequency_daily, "15", "2", NULL, "2026-03-01 02:14:00", "2026-02-28 02:15:00" },
    { "UTC", vmss_frequency_daily, "0", "0", NULL, "2024-03-01 00:00:01", "2024-03-01 00:00:00" },
    { "UTC", vmss_frequency_weekly, "0", "12", "Monday", "2026-08-21 10:00:00", "2026-08-17 12:00:00" },
    { "UTC", vmss_frequency_weekly, "0", "12", "friday", "2026-08-21 11:59:00", "2026-08-14 12:00:00" },
    { "UTC", vmss_frequency_weekly, "0", "12", "Monday, Friday", "2026-08-21 12:00:00", "2026-08-21 12:00:00" },
    { "UTC", vmss_frequency_weekly, "0", "12", "Sunday,Wednesday", "2026-08-21 12:00:00", "2026-08-19 12:00:00" },
    /* Two in the morning happens twice on 25 October 2026 in Paris, and half past two not at all on 29 March. */
    { "Europe/Paris", vmss_frequency_daily, "0", "4", NULL, "2026-10-25 12:00:00", "2026-10-25 04:00:00" },
    { "Europe/Paris", vmss_frequency_daily, "0", "4", NULL, "2026-03-29 12:00:00", "2026-03-29 04:00:00" },
    { "Europe/Paris", vmss_frequency_daily, "30", "23", NULL, "2026-03-29 12:00:00", "2026-03-28 23:30:00" },
    { "Asia/Kolkata", vmss_frequency_hourly, "15", NULL, NULL, "2026-08-21 10:10:00", "2026-08-21 09:15:00" },
    /* Not a schedule. */
    { "UTC", vmss_frequency_daily, "0", NULL, NULL, "2026-08-21 10:00:00", NULL },
    { "UTC", vmss_frequency_hourly, "60", NULL, NULL, "2026-08-21 10:00:00", NULL },
    { "UTC", vmss_frequency_weekly, "0", "1", "", "2026-08-21 10:00:00", NULL },
    { "UTC", vmss_frequency_weekly, "0", "1", "Funday", "2026-08-21 10:00:00", NULL },
    { "UTC", vmss_frequency_hourly, NULL, NULL, NULL, "2026-08-21 10:00:00", NULL },
};

static void moments(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_arena_ struct arena *a = arena_new();
        const struct value s = schedule(a, cases[i].min, cases[i].hour, cases[i].days);
        int64_t moment = -1;

        setenv("TZ", cases[i].zone, 1);
        tzset();
        bool found = vmss_last_moment(cases[i].frequency, &s, at(cases[i].now), &moment);
        if (found != (cases[i].moment != NULL) || (found && moment != at(cases[i].moment)))
            fail_msg("case %zu: %s, %lld", i, cases[i].now, (long long)moment);
    }
}

/* The clock run through a year in steps of ten minutes: each moment is met once, in order, and lies in the past. */
static void a_year(void **state)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct value daily = schedule(a, "30", "4", NULL);
    const struct value weekly = schedule(a, "30", "4", "Tuesday,Saturday");
    int64_t last_day = 0, last_week = 0, moment;
    int days = 0, weeks = 0;

    (void)state;
    setenv("TZ", "Europe/Paris", 1);
    tzset();
    for (int64_t now = at("2026-01-01 00:00:00"), end = at("2027-01-01 00:00:00"); now < end; now += 600) {
        assert_true(vmss_last_moment(vmss_frequency_daily, &daily, now, &moment) && moment <= now && moment >= last_day);
        days += moment > last_day;
        last_day = moment;
        assert_true(vmss_last_moment(vmss_frequency_weekly, &weekly, now, &moment) && moment <= now && moment >= last_week);
        weeks += moment > last_week;
        last_week = moment;
    }
    assert_int_equal(days, 366);     /* the one before the first, and 365 */
    assert_int_equal(weeks, 105);    /* the same, and two a week */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(moments), cmocka_unit_test(a_year) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
