/* Metrics: archives and consolidation on a clock turned by hand, silence, restarts, the texts.
 * Called by: tests/run.  Calls: rrd/. */
#include "unit.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xapi/rrd/rrd_write.h"

#define S INT64_C(1000000)
#define UUID "0a1b2c3d-0000-4000-8000-000000000001"
enum { T0 = 1700006400 };   /* a whole day */

static void feed_one(struct rrd *r, int64_t t_us, enum rrd_type type, double value, double max)
{
    const struct rrd_sample sample = { "x", "B", "a thing", type, value, 0, max };

    rrd_update(r, t_us, &sample, 1);
}

static double newest(const struct rrd *r, enum rrd_cf cf, unsigned archive)
{
    return rrd_row(r, rrd_find(r, "x"), cf, archive, rrd_last_row(r, archive));
}

static void assert_near(double a, double b)
{
    if (fabs(a - b) > 1e-4 * fmax(1, fabs(b))) fail_msg("%g is not %g", a, b);
}

static void a_gauge_becomes_rows_of_five_seconds(void **state)
{
    struct rrd *r = rrd_new(1, T0 * S - 1);

    (void)state;
    for (int i = 0; i <= 4; i++) feed_one(r, (T0 + 5 * i) * S, RRD_GAUGE, i, INFINITY);
    for (int i = 1; i <= 4; i++) assert_near(rrd_row(r, rrd_find(r, "x"), RRD_AVERAGE, 0, T0 / 5 + i), i);
    assert_true(isnan(rrd_row(r, rrd_find(r, "x"), RRD_AVERAGE, 0, T0 / 5)));
    assert_true(isnan(rrd_row(r, rrd_find(r, "x"), RRD_AVERAGE, 0, T0 / 5 + 5)));
    rrd_free(r);
}

static void readings_between_points_are_weighed_by_time(void **state)
{
    struct rrd *r = rrd_new(1, T0 * S - 1);

    (void)state;
    feed_one(r, T0 * S, RRD_GAUGE, 0, INFINITY);
    feed_one(r, (T0 + 2) * S, RRD_GAUGE, 10, INFINITY);   /* 2 s of 10 and 3 s of 20 */
    feed_one(r, (T0 + 7) * S, RRD_GAUGE, 20, INFINITY);
    assert_near(newest(r, RRD_AVERAGE, 0), 16);
    rrd_free(r);
}

static void counters_become_rates(void **state)
{
    struct rrd *r = rrd_new(1, T0 * S - 1);

    (void)state;
    feed_one(r, T0 * S, RRD_DERIVE, 1000, INFINITY);
    assert_true(isnan(rrd_find(r, "x")->current));
    feed_one(r, (T0 + 5) * S, RRD_DERIVE, 1500, INFINITY);
    assert_near(newest(r, RRD_AVERAGE, 0), 100);
    feed_one(r, (T0 + 10) * S, RRD_DERIVE, 7, INFINITY);   /* began anew */
    assert_true(isnan(newest(r, RRD_AVERAGE, 0)));
    feed_one(r, (T0 + 15) * S, RRD_DERIVE, 57, 8);         /* more than can be */
    assert_near(newest(r, RRD_AVERAGE, 0), 8);
    feed_one(r, (T0 + 20) * S, RRD_ABSOLUTE, 30, INFINITY);
    assert_near(newest(r, RRD_AVERAGE, 0), 6);
    rrd_free(r);
}

static void rows_are_consolidated_into_longer_ones(void **state)
{
    struct rrd *r = rrd_new(RRD_CFS, T0 * S - 1);

    (void)state;
    feed_one(r, T0 * S, RRD_GAUGE, 0, INFINITY);
    for (int i = 1; i <= 720; i++) feed_one(r, (T0 + 5 * i) * S, RRD_GAUGE, i, INFINITY);
    assert_near(newest(r, RRD_AVERAGE, 1), (709 + 720) / 2.0);
    assert_near(newest(r, RRD_MIN, 1), 709);
    assert_near(newest(r, RRD_MAX, 1), 720);
    assert_near(newest(r, RRD_AVERAGE, 2), 721 / 2.0);
    assert_near(newest(r, RRD_MIN, 2), 1);
    assert_true(isnan(newest(r, RRD_AVERAGE, 3)));
    /* The ring has 120 rows: the row before them is gone. */
    assert_near(rrd_row(r, rrd_find(r, "x"), RRD_AVERAGE, 0, T0 / 5 + 601), 601);
    assert_true(isnan(rrd_row(r, rrd_find(r, "x"), RRD_AVERAGE, 0, T0 / 5 + 600)));
    rrd_free(r);
}

static void half_a_row_may_be_missing(void **state)
{
    struct rrd *r = rrd_new(1, (T0 + 30) * S);   /* begins in the middle of a minute */

    (void)state;
    feed_one(r, (T0 + 30) * S + 1, RRD_GAUGE, 4, INFINITY);
    for (int i = 7; i <= 12; i++) feed_one(r, (T0 + 5 * i) * S, RRD_GAUGE, 4, INFINITY);
    assert_near(newest(r, RRD_AVERAGE, 1), 4);
    rrd_free(r);
    r = rrd_new(1, (T0 + 35) * S);
    feed_one(r, (T0 + 35) * S + 1, RRD_GAUGE, 4, INFINITY);
    for (int i = 8; i <= 12; i++) feed_one(r, (T0 + 5 * i) * S, RRD_GAUGE, 4, INFINITY);
    assert_true(isnan(newest(r, RRD_AVERAGE, 1)));
    rrd_free(r);
}

static void a_long_silence_is_not_known(void **state)
{
    struct rrd *r = rrd_new(1, T0 * S - 1);

    (void)state;
    feed_one(r, T0 * S, RRD_GAUGE, 1, INFINITY);
    feed_one(r, (T0 + 100) * S, RRD_GAUGE, 2, INFINITY);   /* bridged */
    assert_near(rrd_row(r, rrd_find(r, "x"), RRD_AVERAGE, 0, T0 / 5 + 3), 2);
    for (int year = 1; year <= 3; year++) {
        int64_t t = T0 + year * INT64_C(365) * 86400 + year;
        feed_one(r, t * S, RRD_GAUGE, 3, INFINITY);
        for (unsigned a = 0; a < RRD_ARCHIVES; a++)
            for (int64_t i = 0; i < rrd_archives[a].rows; i++)
                assert_true(isnan(rrd_row(r, rrd_find(r, "x"), RRD_AVERAGE, a, rrd_last_row(r, a) - i)));
    }
    rrd_free(r);
}

static void the_clock_may_go_back(void **state)
{
    struct rrd *r = rrd_new(1, T0 * S - 1);

    (void)state;
    feed_one(r, T0 * S, RRD_GAUGE, 1, INFINITY);
    feed_one(r, (T0 + 5) * S, RRD_GAUGE, 1, INFINITY);
    feed_one(r, (T0 - 60) * S, RRD_GAUGE, 9, INFINITY);
    assert_true(r->last_us == (T0 + 5) * S);
    assert_near(newest(r, RRD_AVERAGE, 0), 1);
    feed_one(r, (T0 - 86400) * S, RRD_GAUGE, 9, INFINITY);
    assert_true(r->last_us == (T0 - INT64_C(86400)) * S);
    assert_true(isnan(newest(r, RRD_AVERAGE, 0)));
    rrd_free(r);
}

static void sources_come_and_go(void **state)
{
    struct rrd *r = rrd_new(1, T0 * S - 1);
    const struct rrd_sample two[] = { { "x", "", "", RRD_GAUGE, 1, 0, INFINITY }, { "y", "", "", RRD_GAUGE, 2, 0, INFINITY } };

    (void)state;
    rrd_update(r, T0 * S, two, 2);
    rrd_update(r, (T0 + 5) * S, two + 1, 1);
    assert_true(isnan(newest(r, RRD_AVERAGE, 0)));
    assert_near(rrd_row(r, rrd_find(r, "y"), RRD_AVERAGE, 0, T0 / 5 + 1), 2);
    rrd_enable(r, rrd_find(r, "y"), false);
    assert_true(isnan(rrd_row(r, rrd_find(r, "y"), RRD_AVERAGE, 0, T0 / 5 + 1)));
    rrd_update(r, (T0 + 10) * S, two, 2);
    assert_near(rrd_find(r, "y")->current, 2);
    rrd_enable(r, rrd_find(r, "y"), true);
    rrd_update(r, (T0 + 15) * S, two, 2);
    assert_near(rrd_row(r, rrd_find(r, "y"), RRD_AVERAGE, 0, T0 / 5 + 3), 2);
    for (int64_t t = T0 + 20; t < T0 + RRD_FORGOTTEN_S + 60; t += 100) rrd_update(r, t * S, two, 1);
    assert_null(rrd_find(r, "y"));
    assert_non_null(rrd_find(r, "x"));
    rrd_free(r);
}

static void the_archive_follows_interval_and_start(void **state)
{
    const int64_t last = (T0 + 3) * S;

    (void)state;
    assert_int_equal(rrd_pick(last, T0 - 600, 5), 0);
    assert_int_equal(rrd_pick(last, T0 - 600, 0), 0);
    assert_int_equal(rrd_pick(last, T0 - 700, 5), 1);
    assert_int_equal(rrd_pick(last, T0 - 5, 60), 1);
    assert_int_equal(rrd_pick(last, T0 - 5, 61), 2);
    assert_int_equal(rrd_pick(last, T0 - 7 * 86400, 5), 2);
    assert_int_equal(rrd_pick(last, 0, 5), 3);
    assert_int_equal(rrd_pick(last, T0, INT64_MAX), 3);
}

/* Leaves something behind where the next functions have their variables and the next allocations their memory. */
static __attribute__((noinline)) void leave_behind(int c)
{
    void *(*volatile fill)(void *, int, size_t) = memset; /* whose work nobody needs, as far as a compiler can see */
    char trace[8192];

    fill(trace, c, sizeof(trace));
    for (size_t n = 16; n < 16384; n += 16) {
        void *p = xmalloc(n);
        fill(p, c, n);
        free(p);
    }
}

/* What heap and stack held before is nobody's business. */
static void the_state_is_made_of_what_was_fed_only(void **state)
{
    struct strbuf bytes[2] = { STRBUF_INIT, STRBUF_INIT };

    (void)state;
    for (int k = 0; k < 2; k++) {
        const int c = k ? 0x55 : 0xaa;
        leave_behind(c);
        struct rrd *r = rrd_new(RRD_CFS, T0 * S - 1);
        for (int i = 0; i <= 30; i++) {
            leave_behind(c);
            feed_one(r, (T0 + 5 * i) * S, RRD_GAUGE, i, INFINITY);
        }
        leave_behind(c);
        rrd_encode(r, &bytes[k]);
        rrd_free(r);
    }
    assert_int_equal(bytes[0].len, bytes[1].len);
    assert_memory_equal(bytes[0].ptr, bytes[1].ptr, bytes[0].len);
    for (int k = 0; k < 2; k++) strbuf_free(&bytes[k]);
}

static void state_survives_and_rubbish_does_not(void **state)
{
    _cleanup_strbuf_ struct strbuf bytes = STRBUF_INIT, again = STRBUF_INIT;
    struct rrd *r = rrd_new(1, T0 * S - 1);

    (void)state;
    for (int i = 0; i <= 30; i++) feed_one(r, (T0 + 5 * i) * S, RRD_DERIVE, 50 * i, INFINITY);
    rrd_encode(r, &bytes);
    rrd_free(r);
    r = rrd_decode(bytes.ptr, bytes.len);
    assert_non_null(r);
    rrd_encode(r, &again);
    assert_true(again.len == bytes.len && !memcmp(again.ptr, bytes.ptr, bytes.len));
    feed_one(r, (T0 + 155) * S, RRD_DERIVE, 50 * 31, INFINITY);   /* the counter goes on */
    assert_near(newest(r, RRD_AVERAGE, 0), 10);
    rrd_set_cfs(r, RRD_CFS);
    feed_one(r, (T0 + 160) * S, RRD_DERIVE, 50 * 32, INFINITY);
    assert_near(newest(r, RRD_AVERAGE, 1), 10);
    assert_near(newest(r, RRD_MAX, 0), 10);
    rrd_free(r);
    for (size_t n = 0; n < bytes.len; n += 13) assert_null(rrd_decode(bytes.ptr, n));
    strbuf_char(&bytes, 'x');
    assert_null(rrd_decode(bytes.ptr, bytes.len));
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

static bool nobody(void *arg, enum rrd_kind kind, const char *uuid)
{
    (void)arg;
    (void)kind;
    (void)uuid;
    return false;
}

static void feed_store(struct rrd_store *st, int64_t t_s)
{
    const struct rrd_sample samples[] = { { "memory", "B", "Memory", RRD_GAUGE, 4294967296.0, 0, INFINITY },
                                          { "cpu0", "", "Use", RRD_GAUGE, 0.25, 0, 1 },
                                          { "vif_0_rx", "", "In", RRD_GAUGE, 3, 0, INFINITY } };

    rrd_store_feed(st, RRD_VM, UUID, t_s * S, samples, ARRAY_SIZE(samples));
}

static void objects_are_kept_in_files(void **state)
{
    char folder[] = "/tmp/test-rrd-XXXXXX";
    const struct rrd_query all = { .start_s = T0 + 1, .cf = RRD_AVERAGE, .choice = { [RRD_VM] = { .all = true } } };
    _cleanup_arena_ struct arena *a = arena_new();
    struct rrd_table t;
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(folder));
    _cleanup_free_ char *file = xasprintf("%s/vm-" UUID, folder);
    struct rrd_store *store = rrd_store_new(folder, false);
    for (int i = 0; i <= 10; i++) feed_store(store, T0 + 5 * i);
    rrd_store_settle(store, (T0 + 50) * S);
    assert_int_equal(stat(file, &st), -1);
    rrd_store_settle(store, (T0 + 400) * S);   /* silent: leaves memory */
    assert_int_equal(stat(file, &st), 0);
    rrd_store_query(store, &all, a, &t);
    assert_int_equal(t.columns, 0);
    struct rrd *r = rrd_store_get(store, RRD_VM, UUID);
    assert_non_null(r);
    rrd_free(r);
    rrd_store_free(store);

    store = rrd_store_new(folder, false);
    assert_int_equal(rrd_store_enable(store, RRD_VM, UUID, "memory", false), -1);
    feed_store(store, T0 + 55);
    rrd_store_query(store, &all, a, &t);
    assert_int_equal(t.columns, 3);
    assert_int_equal(t.rows, 11);
    assert_int_equal(t.step_s, 5);
    assert_int_equal(t.end_s, T0 + 55);
    assert_int_equal(t.start_s, T0 + 5);
    assert_string_equal(t.legend[1], "AVERAGE:vm:" UUID ":cpu0");
    for (size_t i = 0; i < t.rows; i++) assert_near((double)t.values[t.rows + i], 0.25);
    assert_int_equal(rrd_store_enable(store, RRD_VM, UUID, "memory", false), 0);
    rrd_store_query(store, &all, a, &t);
    assert_int_equal(t.columns, 2);
    rrd_store_save(store);
    rrd_store_prune(store, nobody, NULL);
    assert_int_equal(stat(file, &st), -1);
    assert_null(rrd_store_get(store, RRD_VM, UUID));
    assert_null(rrd_store_get(store, RRD_VM, "../../etc/passwd"));
    rrd_store_free(store);
    assert_int_equal(rmdir(folder), 0);
}

static void openmetrics_has_a_family_a_kind(void **state)
{
    char folder[] = "/tmp/test-rrd-XXXXXX";
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    struct rrd_value *values;

    (void)state;
    assert_non_null(mkdtemp(folder));
    struct rrd_store *store = rrd_store_new(folder, false);
    feed_store(store, T0);
    size_t n = rrd_store_values(store, a, &values);
    rrd_write_openmetrics(values, n, a, &out);
    assert_string_equal(strbuf_cstr(&out), "# TYPE xapi_vm_cpu gauge\n# HELP xapi_vm_cpu Use\n"
                                           "xapi_vm_cpu{uuid=\"" UUID "\",cpu=\"0\"} 0.25\n"
                                           "# TYPE xapi_vm_memory gauge\n# HELP xapi_vm_memory Memory\n"
                                           "xapi_vm_memory{uuid=\"" UUID "\"} 4294967296\n"
                                           "# TYPE xapi_vm_vif_rx gauge\n# HELP xapi_vm_vif_rx In\n"
                                           "xapi_vm_vif_rx{uuid=\"" UUID "\",device=\"0\"} 3\n# EOF\n");
    rrd_store_free(store);
    rmdir(folder);
}

static void tables_are_newest_first(void **state)
{
    const char *legend[] = { "AVERAGE:vm:a:b", "AVERAGE:vm:a:<c>" };
    float values[] = { 2, 1, (float)NAN, 0.5f };
    const struct rrd_table t = { .step_s = 5, .start_s = 100, .end_s = 105, .rows = 2, .columns = 2, .legend = legend,
                                 .values = values };
    _cleanup_strbuf_ struct strbuf json = STRBUF_INIT, xml = STRBUF_INIT;

    (void)state;
    rrd_write_table(&t, true, &json);
    assert_string_equal(strbuf_cstr(&json),
                        "{\"meta\":{\"start\":\"100\",\"step\":\"5\",\"end\":\"105\",\"rows\":\"2\",\"columns\":\"2\","
                        "\"legend\":[\"AVERAGE:vm:a:b\",\"AVERAGE:vm:a:<c>\"]},\"data\":["
                        "{\"t\":\"105\",\"values\":[\"2\",\"NaN\"]},{\"t\":\"100\",\"values\":[\"1\",\"0.5\"]}]}");
    rrd_write_table(&t, false, &xml);
    assert_string_equal(strbuf_cstr(&xml),
                        "<?xml version=\"1.0\"?>\n<xport><meta><start>100</start><step>5</step><end>105</end>"
                        "<rows>2</rows><columns>2</columns><legend><entry>AVERAGE:vm:a:b</entry>"
                        "<entry>AVERAGE:vm:a:&lt;c&gt;</entry></legend></meta><data>"
                        "<row><t>105</t><v>2</v><v>NaN</v></row><row><t>100</t><v>1</v><v>0.5</v></row>"
                        "</data></xport>\n");
}

UNIT_MAIN(
    cmocka_unit_test(a_gauge_becomes_rows_of_five_seconds),
    cmocka_unit_test(readings_between_points_are_weighed_by_time),
    cmocka_unit_test(counters_become_rates),
    cmocka_unit_test(rows_are_consolidated_into_longer_ones),
    cmocka_unit_test(half_a_row_may_be_missing),
    cmocka_unit_test(a_long_silence_is_not_known),
    cmocka_unit_test(the_clock_may_go_back),
    cmocka_unit_test(sources_come_and_go),
    cmocka_unit_test(the_archive_follows_interval_and_start),
    cmocka_unit_test(the_state_is_made_of_what_was_fed_only),
    cmocka_unit_test(state_survives_and_rubbish_does_not),
    cmocka_unit_test(objects_are_kept_in_files),
    cmocka_unit_test(openmetrics_has_a_family_a_kind),
    cmocka_unit_test(tables_are_newest_first),
)
