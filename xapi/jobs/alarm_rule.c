/* Rules of alarms: reading them, and when they apply: alarm_rule.h.
 * Called by: alarms.c, tests.  Calls: rrd/, libxml2. */
#include "xapi/jobs/alarm_rule.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/limits.h"
#include "lib/num.h"

#define PER_HOST "sr_io_throughput_total_per_host"
#define ON_HOST "sr_io_throughput_total_"
#define PERIOD_MAX_S (366 * 86400)

/* ---- what a variable is when nobody says ----------------------------------------------------------------------------- */

#define CPUS "cpu[0-9]+"

static const struct usual {
    enum alarm_owner owner;
    const char *name, *regex;        /* NULL = of no data source */
    enum alarm_how how;
    bool low;
    const char *level;               /* NULL = has to be said */
} usual[] = {
    { ALARM_VM, "cpu_usage", CPUS, ALARM_AVERAGE, false, NULL },
    { ALARM_VM, "network_usage", "vif_[0-9]+_[rt]x", ALARM_SUM, false, NULL },
    { ALARM_VM, "disk_usage", "vbd_(xvd|hd)[a-z]+_(read|write)", ALARM_SUM, false, NULL },
    { ALARM_VM, "memory_internal_free", "memory_internal_free", ALARM_SUM, true, NULL },
    { ALARM_VM, "fs_usage", NULL, ALARM_ROOT_FULL, false, "0.9" },
    { ALARM_VM, "log_fs_usage", NULL, ALARM_LOG_FULL, false, "0.9" },
    { ALARM_VM, "mem_usage", NULL, ALARM_MEMORY_USED, false, "0.95" },
    { ALARM_HOST, "cpu_usage", CPUS, ALARM_AVERAGE, false, NULL },
    { ALARM_HOST, "network_usage", "pif_(en|eth|wl)[a-z0-9]*_[rt]x", ALARM_SUM, false, NULL },
    { ALARM_HOST, "memory_free_kib", "memory_free_kib", ALARM_SUM, true, NULL },
    { ALARM_SR, "physical_utilisation", "physical_utilisation|physical_size", ALARM_SR_SHARE, false, "0.8" },
};

static const char *const how_name[ALARM_HOWS] = {
    [ALARM_SUM] = "sum",
    [ALARM_AVERAGE] = "average",
    [ALARM_MAX] = "max",
    [ALARM_SR_SHARE] = "get_percent_sr_usage",
    [ALARM_ROOT_FULL] = "get_percent_fs_usage",
    [ALARM_LOG_FULL] = "get_percent_log_fs_usage",
    [ALARM_MEMORY_USED] = "get_percent_mem_usage",
};

static const struct usual *find_usual(enum alarm_owner owner, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
        if (usual[i].owner == owner && streq(usual[i].name, name)) return &usual[i];
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

struct reader {
    enum alarm_owner owner;
    const char *per_host;
    const struct alarm_rules *old;
    alarm_complain_fn complain;
    void *arg;
    struct alarm_rules *rules;
};

/* Always false. */
static bool complain(const struct reader *rd, const char *name, const char *what, const char *text)
{
    _cleanup_free_ char *why = xasprintf("variable %.64s: %s%s%.64s", name, what, *text ? " " : "", text);

    rd->complain(rd->arg, why);
    return false;
}

static const xmlNode *first(const xmlNode *parent, const char *name)
{
    for (const xmlNode *n = parent->children; n; n = n->next)
        if (n->type == XML_ELEMENT_NODE && streq((const char *)n->name, name)) return n;
    return NULL;
}

/* The value of a variable's element, malloc'd; NULL when there is none. */
static char *value_of(const xmlNode *variable, const char *name)
{
    const xmlNode *n = first(variable, name);
    xmlChar *text = n ? xmlGetProp(n, (const xmlChar *)"value") : NULL;
    char *copy = text ? xstrdup((const char *)text) : NULL;

    xmlFree(text);
    return copy;
}

/* As clients parse it: an element a line. */
static char *pretty(const xmlNode *variable)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    xmlBuffer *b = xmlBufferCreate();

    strbuf_str(&out, "<variable>\n");
    for (xmlNode *n = variable->children; n; n = n->next) {
        if (n->type != XML_ELEMENT_NODE) continue;
        xmlBufferEmpty(b);
        xmlNodeDump(b, n->doc, n, 0, 0);
        strbuf_printf(&out, "\t%s\n", (const char *)xmlBufferContent(b));
    }
    strbuf_str(&out, "</variable>\n");
    xmlBufferFree(b);
    return strbuf_take(&out);
}

/* Whole names only. What takes exponential time or much memory to look at is no pattern for names: no counts, no references back. */
static bool compile(struct alarm_rule *rule, const char *pattern)
{
    _cleanup_free_ char *whole = xasprintf("^(%s)$", pattern);

    if (strlen(pattern) > ALARM_REGEX_MAX_BYTES || strpbrk(pattern, "{\\")) return false;
    rule->has_regex = regcomp(&rule->regex, whole, REG_EXTENDED | REG_NOSUB) == 0;
    return rule->has_regex;
}

static bool read_seconds(const char *text, int64_t *ret)
{
    return !text || (num_parse_int(text, ret) && *ret >= 0 && *ret <= PERIOD_MAX_S);
}

static bool read_level(const char *text, double *ret)
{
    char *end;

    if (!text || !*text) return false;
    *ret = strtod(text, &end);
    return !*end && isfinite(*ret);
}

static int find_how(const char *name)
{
    for (int i = 0; i < ALARM_HOWS; i++)
        if (streq(how_name[i], name)) return i;
    return -1;
}

/* Everything but name and xml. False, having complained. */
static bool read_rule(const struct reader *rd, const xmlNode *variable, struct alarm_rule *rule)
{
    const struct usual *u = find_usual(rd->owner, rule->name);
    _cleanup_free_ char *regex = value_of(variable, "rrd_regex"), *fn = value_of(variable, "consolidation_fn");
    _cleanup_free_ char *level = value_of(variable, "alarm_trigger_level"), *sense = value_of(variable, "alarm_trigger_sense");
    _cleanup_free_ char *period = value_of(variable, "alarm_trigger_period"), *priority = value_of(variable, "alarm_priority");
    _cleanup_free_ char *inhibit = value_of(variable, "alarm_auto_inhibit_period");
    const char *pattern = regex ? regex : rd->per_host ? rule->name + strlen("sr_") : u ? u->regex : NULL;
    const int how = fn ? find_how(fn) : u ? (int)u->how : ALARM_SUM;

    /* The host's own rule about one SR of those it has. */
    if (!pattern && !u && rd->owner == ALARM_HOST && has_prefix(rule->name, ON_HOST)) pattern = rule->name + strlen("sr_");
    rule->period_s = 60;
    rule->inhibit_s = 3600;
    rule->priority = 3;
    rule->low = sense ? !streq(sense, "high") : u && u->low;
    if (how < 0) return complain(rd, rule->name, "no such consolidation_fn:", fn);
    rule->how = (enum alarm_how)how;
    const bool of_sources = how < ALARM_ROOT_FULL;
    if (!pattern && of_sources) return complain(rd, rule->name, "it needs an rrd_regex", "");
    if (!of_sources && rd->owner != ALARM_VM) return complain(rd, rule->name, "that is of the control domain", "");
    if (!read_level(level ? level : u ? u->level : NULL, &rule->level))
        return complain(rd, rule->name, "alarm_trigger_level is no number", level ? level : "");
    if (!read_seconds(period, &rule->period_s))
        return complain(rd, rule->name, "alarm_trigger_period is no number of seconds:", period);
    if (!read_seconds(inhibit, &rule->inhibit_s))
        return complain(rd, rule->name, "alarm_auto_inhibit_period is no number of seconds:", inhibit);
    if (priority && !num_parse_int(priority, &rule->priority)) return complain(rd, rule->name, "alarm_priority is no number:", priority);
    if (of_sources && !compile(rule, pattern)) return complain(rd, rule->name, "rrd_regex is no pattern for names:", pattern);
    return true;
}

static void rule_clear(struct alarm_rule *rule)
{
    free(rule->name);
    free(rule->xml);
    if (rule->has_regex) regfree(&rule->regex);
}

static void carry_on(const struct reader *rd, struct alarm_rule *rule)
{
    rule->row = -1;
    rule->left_s = rule->period_s;
    rule->quiet_until_s = INT64_MIN;
    for (size_t i = 0; rd->old && i < rd->old->n; i++) {
        const struct alarm_rule *was = &rd->old->rules[i];
        if (!streq(was->xml, rule->xml)) continue;
        rule->row = was->row;
        rule->left_s = was->left_s;
        rule->quiet_until_s = was->quiet_until_s;
    }
}

/* It becomes one of the host's: named after the SR, and saying where it was made. */
static void move_to_host(const struct reader *rd, xmlNode *variable)
{
    _cleanup_free_ char *name = xasprintf(ON_HOST "%.8s", rd->per_host);
    xmlNode *where = xmlNewChild(variable, NULL, (const xmlChar *)"configured_on", NULL);

    for (xmlNode *n = variable->children; n; n = n->next)
        if (n->type == XML_ELEMENT_NODE && streq((const char *)n->name, "name")) {
            xmlSetProp(n, (const xmlChar *)"value", (const xmlChar *)name);
            break;
        }
    xmlNewProp(where, (const xmlChar *)"class", (const xmlChar *)"SR");
    xmlNewProp(where, (const xmlChar *)"uuid", (const xmlChar *)rd->per_host);
}

static void read_variable(const struct reader *rd, xmlNode *variable)
{
    struct alarm_rule rule = { .name = value_of(variable, "name") };
    const bool of_hosts = rule.name && rd->owner == ALARM_SR && streq(rule.name, PER_HOST);

    if (!rule.name) {
        complain(rd, "?", "it has no name", "");
        return;
    }
    if (rd->per_host ? !streq(rule.name, PER_HOST) : of_hosts) {
        free(rule.name);
        return;
    }
    if (rd->per_host) {
        move_to_host(rd, variable);
        free(rule.name);
        rule.name = value_of(variable, "name");
    }
    rule.xml = pretty(variable);
    if (rd->rules->n == LIMIT_ALARM_RULES) complain(rd, rule.name, "there are too many", "");
    else if (rd->per_host && first(variable, "rrd_regex")) complain(rd, rule.name, "it must have no rrd_regex", "");
    else if (read_rule(rd, variable, &rule)) {
        carry_on(rd, &rule);
        rd->rules->rules[rd->rules->n++] = rule;
        return;
    }
    rule_clear(&rule);
}

/* They may stand at any depth, as the reference looks for them. */
static void read_variables(const struct reader *rd, xmlNode *parent)
{
    for (xmlNode *n = parent->children; n; n = n->next) {
        if (n->type != XML_ELEMENT_NODE) continue;
        if (streq((const char *)n->name, "variable")) read_variable(rd, n);
        else read_variables(rd, n);
    }
}

struct alarm_rules *alarm_rules_parse(enum alarm_owner owner, const char *xml, const char *per_host, const struct alarm_rules *old,
                                      alarm_complain_fn complain_fn, void *arg)
{
    const int flags = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS;
    const struct reader rd = { owner, per_host, old, complain_fn, arg, xcalloc(1, sizeof(struct alarm_rules)) };
    const size_t len = strlen(xml);
    xmlDoc *doc = len <= LIMIT_ALARM_CONFIG ? xmlReadMemory(xml, (int)len, NULL, "UTF-8", flags) : NULL;

    if (!doc || doc->intSubset || !xmlDocGetRootElement(doc)) complain_fn(arg, "it is no XML of at most 64 KiB without a DTD");
    else if (streq((const char *)xmlDocGetRootElement(doc)->name, "variable")) read_variable(&rd, xmlDocGetRootElement(doc));
    else read_variables(&rd, xmlDocGetRootElement(doc));
    if (doc) xmlFreeDoc(doc);
    return rd.rules;
}

void alarm_rules_free(struct alarm_rules *rules)
{
    if (!rules) return;
    for (size_t i = 0; i < rules->n; i++) rule_clear(&rules->rules[i]);
    free(rules);
}

/* ---- looking --------------------------------------------------------------------------------------------------------- */

double alarm_rule_value(const struct alarm_rule *rule, const struct rrd *r, int64_t row)
{
    double sum = 0, greatest = -INFINITY, size = NAN, used = NAN;
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++) {
        const struct rrd_source *s = &r->sources[i];
        if (!s->enabled || regexec(&rule->regex, s->name, 0, NULL, 0)) continue;
        const double value = rrd_row(r, s, RRD_AVERAGE, alarm_rule_archive(rule), row);
        sum += value;
        if (value > greatest) greatest = value;
        if (streq(s->name, "physical_utilisation")) used = value;
        else size = value;
        n++;
    }
    if (!n) return NAN;
    switch (rule->how) {
    case ALARM_AVERAGE: return sum / (double)n;
    case ALARM_MAX: return isnan(sum) ? NAN : greatest;
    case ALARM_SR_SHARE: return size > 0 ? used / size : NAN;
    case ALARM_SUM:
    case ALARM_ROOT_FULL:
    case ALARM_LOG_FULL:
    case ALARM_MEMORY_USED:
    case ALARM_HOWS: break;
    }
    return sum;
}

/* What is not known is not bad. */
bool alarm_rule_feed(struct alarm_rule *rule, double value, int64_t now_s)
{
    const bool bad = rule->low ? value < rule->level : value > rule->level;

    rule->left_s = bad ? rule->left_s - rrd_row_s(alarm_rule_archive(rule)) : rule->period_s;
    if (!bad || rule->left_s > 0) return false;
    rule->left_s = rule->period_s;
    if (now_s < rule->quiet_until_s) return false;
    rule->quiet_until_s = now_s + rule->inhibit_s;
    return true;
}

void alarm_rule_say(const struct alarm_rule *rule, double value, struct strbuf *out)
{
    strbuf_printf(out, "value: %f\nconfig:\n%s", value, rule->xml);
}
