/* Rules of alarms: what they say when little is said, which are none, and when there is an alarm.
 * Called by: tests/run.  Calls: alarm_rule, rrd. */
#include "tests/unit/unit.h"

#include <math.h>
#include <stdio.h>

#include "lib/limits.h"
#include "xapi/jobs/alarm_rule.h"

#define LEVEL "<alarm_trigger_level value=\"0.5\"/>"
#define NAMED(name, more) "<variable><name value=\"" name "\"/>" more "</variable>"

static char said[4096];

static void note(void *arg, const char *why)
{
    (void)arg;
    snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s\n", why);
}

static struct alarm_rules *parse(enum alarm_owner owner, const char *variables, const struct alarm_rules *old)
{
    _cleanup_free_ char *xml = xasprintf("<config>%s</config>", variables);

    said[0] = '\0';
    return alarm_rules_parse(owner, xml, NULL, old, note, NULL);
}

static void defaults(void **state)
{
    struct alarm_rules *r = parse(ALARM_VM, NAMED("cpu_usage", LEVEL) NAMED("memory_internal_free", LEVEL) NAMED("fs_usage", ""), NULL);

    (void)state;
    assert_string_equal(said, "");
    assert_int_equal(r->n, 3);
    const struct alarm_rule *cpu = &r->rules[0], *memory = &r->rules[1], *fs = &r->rules[2];
    assert_true(cpu->how == ALARM_AVERAGE && !cpu->low && cpu->period_s == 60 && cpu->inhibit_s == 3600 && cpu->priority == 3);
    assert_true(cpu->level > 0.49 && cpu->level < 0.51 && alarm_rule_archive(cpu) == 1);
    assert_true(memory->low && memory->how == ALARM_SUM);
    assert_true(fs->how == ALARM_ROOT_FULL && fs->level > 0.89 && !fs->has_regex);
    assert_string_equal(cpu->xml, "<variable>\n\t<name value=\"cpu_usage\"/>\n\t<alarm_trigger_level value=\"0.5\"/>\n</variable>\n");
    alarm_rules_free(r);
}

/* Each is passed by with a line; the good one between them stays. */
static void mistakes(void **state)
{
    static const char *const wrong[] = {
        "<variable>" LEVEL "</variable>",
        NAMED("cpu_usage", ""),
        NAMED("cpu_usage", "<alarm_trigger_level value=\"much\"/>"),
        NAMED("cpu_usage", "<alarm_trigger_level value=\"nan\"/>"),
        NAMED("colour", LEVEL),
        NAMED("colour", LEVEL "<rrd_regex value=\"(\"/>"),
        NAMED("colour", LEVEL "<rrd_regex value=\"(a{200}){200}\"/>"),
        NAMED("colour", LEVEL "<rrd_regex value=\"(a)\\1\"/>"),
        NAMED("cpu_usage", LEVEL "<consolidation_fn value=\"eval\"/>"),
        NAMED("cpu_usage", LEVEL "<alarm_trigger_period value=\"-1\"/>"),
        NAMED("cpu_usage", LEVEL "<alarm_trigger_period value=\"soon\"/>"),
        NAMED("cpu_usage", LEVEL "<alarm_auto_inhibit_period value=\"99999999999\"/>"),
        NAMED("cpu_usage", LEVEL "<alarm_priority value=\"high\"/>"),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        _cleanup_free_ char *both = xasprintf("%s" NAMED("network_usage", LEVEL), wrong[i]);
        struct alarm_rules *r = parse(ALARM_VM, both, NULL);
        assert_int_equal(r->n, 1);
        assert_string_equal(r->rules[0].name, "network_usage");
        assert_true(*said && strchr(said, '\n') == said + strlen(said) - 1);
        alarm_rules_free(r);
    }
    struct alarm_rules *r = alarm_rules_parse(ALARM_VM, "<!DOCTYPE a [<!ENTITY b \"c\">]><config/>", NULL, NULL, note, NULL);
    assert_int_equal(r->n, 0);
    alarm_rules_free(r);
    r = parse(ALARM_HOST, NAMED("mem_usage", LEVEL "<consolidation_fn value=\"get_percent_mem_usage\"/>"), NULL);
    assert_int_equal(r->n, 0);
    alarm_rules_free(r);
}

static void many(void **state)
{
    _cleanup_strbuf_ struct strbuf all = STRBUF_INIT;

    (void)state;
    for (int i = 0; i < LIMIT_ALARM_RULES + 2; i++) strbuf_printf(&all, NAMED("n%d", LEVEL "<rrd_regex value=\"a\"/>"), i);
    struct alarm_rules *r = parse(ALARM_SR, strbuf_cstr(&all), NULL);
    assert_int_equal(r->n, LIMIT_ALARM_RULES);
    alarm_rules_free(r);
}

static void when(void **state)
{
    struct alarm_rules *r = parse(ALARM_VM, NAMED("cpu_usage", LEVEL "<alarm_trigger_period value=\"150\"/>"
                                                                     "<alarm_auto_inhibit_period value=\"600\"/>"), NULL);
    struct alarm_rule *rule = &r->rules[0];
    int64_t at = 1000;

    (void)state;
    /* Three minutes of bad values are the first that are 150 seconds; one good or unknown value begins anew. */
    for (int i = 0; i < 2; i++, at += 60) assert_false(alarm_rule_feed(rule, 0.6, at));
    assert_false(alarm_rule_feed(rule, 0.5, at += 60));
    for (int i = 0; i < 2; i++, at += 60) assert_false(alarm_rule_feed(rule, 0.6, at));
    assert_false(alarm_rule_feed(rule, NAN, at += 60));
    for (int i = 0; i < 2; i++, at += 60) assert_false(alarm_rule_feed(rule, 0.6, at));
    assert_true(alarm_rule_feed(rule, 0.6, at));
    /* Bad all the time: every three minutes, but not within the ten after an alarm. */
    const int64_t first = at;
    int64_t second = 0;
    for (int i = 0; i < 20 && !second; i++) {
        at += 60;
        if (alarm_rule_feed(rule, 0.6, at)) second = at;
    }
    assert_int_equal(second - first, 720);
    alarm_rules_free(r);

    r = parse(ALARM_HOST, NAMED("memory_free_kib", LEVEL "<alarm_trigger_period value=\"0\"/>"), NULL);
    rule = &r->rules[0];
    assert_int_equal(alarm_rule_archive(rule), 0);
    assert_false(alarm_rule_feed(rule, 0.5, 0));
    assert_true(alarm_rule_feed(rule, 0.4, 0));
    alarm_rules_free(r);
}

/* A configuration that is written anew does not begin anew what it does not change. */
static void changes(void **state)
{
    struct alarm_rules *old = parse(ALARM_VM, NAMED("cpu_usage", LEVEL) NAMED("disk_usage", LEVEL), NULL);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_true(alarm_rule_feed(&old->rules[i], 1, 1000));
        old->rules[i].row = 77;
    }
    struct alarm_rules *new = parse(ALARM_VM, NAMED("disk_usage", LEVEL) NAMED("cpu_usage", LEVEL "<alarm_priority value=\"1\"/>"), old);
    assert_int_equal(new->rules[0].row, 77);
    assert_int_equal(new->rules[1].row, -1);
    assert_false(alarm_rule_feed(&new->rules[0], 1, 1060));
    assert_true(alarm_rule_feed(&new->rules[1], 1, 1060));
    alarm_rules_free(old);
    alarm_rules_free(new);
}

static void values(void **state)
{
    struct rrd_sample samples[] = {
        { "cpu0", "", "", RRD_GAUGE, 0.2, 0, 1 },
        { "cpu1", "", "", RRD_GAUGE, 0.6, 0, 1 },
        { "cpu_usage", "", "", RRD_GAUGE, 0.9, 0, 1 },
        { "physical_utilisation", "", "", RRD_GAUGE, 30, 0, INFINITY },
        { "physical_size", "", "", RRD_GAUGE, 120, 0, INFINITY },
    };
    static const struct {
        enum alarm_owner owner;
        const char *variable;
        double value;
    } cases[] = {
        { ALARM_VM, NAMED("cpu_usage", LEVEL), 0.4 },
        { ALARM_VM, NAMED("cpu_usage", LEVEL "<consolidation_fn value=\"sum\"/>"), 0.8 },
        { ALARM_VM, NAMED("cpu_usage", LEVEL "<consolidation_fn value=\"max\"/>"), 0.6 },
        { ALARM_VM, NAMED("any", LEVEL "<rrd_regex value=\"cpu_usage\"/>"), 0.9 },
        { ALARM_VM, NAMED("any", LEVEL "<rrd_regex value=\"cpu\"/>"), NAN },
        { ALARM_SR, NAMED("physical_utilisation", ""), 0.25 },
    };
    struct rrd *r = rrd_new(1, 1000 * INT64_C(1000000));

    (void)state;
    for (int64_t at = 1005; at <= 1180; at += 5) rrd_update(r, at * 1000000, samples, ARRAY_SIZE(samples));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct alarm_rules *rules = parse(cases[i].owner, cases[i].variable, NULL);
        const struct alarm_rule *rule = &rules->rules[0];
        assert_int_equal(rules->n, 1);
        const double value = alarm_rule_value(rule, r, rrd_last_row(r, alarm_rule_archive(rule)));
        if (isnan(cases[i].value)) assert_true(isnan(value));
        else assert_true(fabs(value - cases[i].value) < 1e-6);
        assert_true(isnan(alarm_rule_value(rule, r, 0)));
        alarm_rules_free(rules);
    }
    rrd_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults), cmocka_unit_test(mistakes), cmocka_unit_test(many),
        cmocka_unit_test(when), cmocka_unit_test(changes), cmocka_unit_test(values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
