/* Alarms on metrics: the rules that stand in other_config:perfmon of a VM, a host or an SR, and when one of them has something to say.
 * Called by: alarms.c, tests.  Calls: rrd/, libxml2.
 *
 * <config><variable><name value="cpu_usage"/><alarm_trigger_level value="0.9"/>...</variable>...</config>, as XenCenter writes it.
 * A variable's elements, each with its attribute value:
 *   name                       what it is called
 *   alarm_trigger_level        the threshold
 *   alarm_trigger_sense        "high": values above it are bad; "low": below. Default high, low for free memory
 *   alarm_trigger_period       seconds of bad values before there is an alarm. Default 60
 *   alarm_auto_inhibit_period  seconds after an alarm without another one. Default 3600
 *   alarm_priority             of the message. Default 3
 *   rrd_regex                  which data sources it is made of: a whole name. Known for the usual variables
 *   consolidation_fn           how their values become one: sum, average, max, get_percent_sr_usage, and of the control domain
 *                              get_percent_fs_usage, get_percent_log_fs_usage, get_percent_mem_usage
 * Rows of a minute are looked at, of five seconds when the period is shorter than a minute. */
#ifndef XAPI_JOBS_ALARM_RULE_H
#define XAPI_JOBS_ALARM_RULE_H

#include <regex.h>

#include "xapi/rrd/rrd.h"

#include "lib/limits.h"

enum alarm_owner { ALARM_VM, ALARM_HOST, ALARM_SR };
enum alarm_how { ALARM_SUM, ALARM_AVERAGE, ALARM_MAX, ALARM_SR_SHARE, ALARM_ROOT_FULL, ALARM_LOG_FULL, ALARM_MEMORY_USED, ALARM_HOWS };

enum { ALARM_REGEX_MAX_BYTES = 128 };

struct alarm_rule {
    char *name, *xml;            /* xml: the variable as the message shows it */
    bool has_regex;              /* false: made of no data source */
    regex_t regex;
    enum alarm_how how;
    bool low;
    double level;
    int64_t period_s, inhibit_s, priority;

    int64_t row;                 /* the next one to look at; -1 = none was seen yet */
    int64_t left_s;              /* of bad values until there is an alarm */
    int64_t quiet_until_s;       /* on the clock that alarm_rule_feed() is given */
};

struct alarm_rules {
    size_t n;
    struct alarm_rule rules[LIMIT_ALARM_RULES];
};

/* Called for what is wrong with a configuration: one line each. */
typedef void (*alarm_complain_fn)(void *arg, const char *why);

/* The rules of a configuration; those that are as they were in `old` (may be NULL) go on where they were. Wrong ones are passed by.
 * per_host: of an SR's configuration, the rule about what each host moves to and from it (sr_io_throughput_total_per_host), as a
 * rule of the host's, for the SR with this uuid; NULL: all others. To be freed. */
struct alarm_rules *alarm_rules_parse(enum alarm_owner owner, const char *xml, const char *per_host, const struct alarm_rules *old,
                                      alarm_complain_fn complain, void *arg);
void alarm_rules_free(struct alarm_rules *rules);      /* NULL is fine */

/* The archive whose rows the rule looks at. */
static inline unsigned alarm_rule_archive(const struct alarm_rule *rule) { return rule->period_s < 60 ? 0 : 1; }
/* What the rule's variable was in that row; NaN = not known. ALARM_SUM to ALARM_SR_SHARE. */
double alarm_rule_value(const struct alarm_rule *rule, const struct rrd *r, int64_t row);
/* One more row has this value. True: there is an alarm. now_s: any clock that does not go back. */
bool alarm_rule_feed(struct alarm_rule *rule, double value, int64_t now_s);
/* The message's text. */
void alarm_rule_say(const struct alarm_rule *rule, double value, struct strbuf *out);

#endif
