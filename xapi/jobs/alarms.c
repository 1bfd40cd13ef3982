/* Alarms on metrics: whose rules there are, and their messages: alarms.h.
 * Called by: metrics.c.  Calls: alarm_rule.c, message.c, rrd/, db/. */
#include "xapi/jobs/alarms.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "gen/methods.h"
#define LOG_MODULE "alarms"
#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/jobs/alarm_rule.h"
#include "xapi/pool_role.h"
#include "xapi/rpc/rpc.h"
#include "xapi/rrd/rrd_store.h"

#define KEY "perfmon"

/* One configuration. */
struct watched {
    char uuid[UUID_TEXT];            /* of whose metrics are looked at */
    char sr[UUID_TEXT];              /* the SR that says what of the host's is looked at; "" = nobody else does */
    enum alarm_owner owner;
    bool control_domain;
    char *config;
    struct alarm_rules *rules;
    bool seen;
};

struct alarms {
    struct agent *agent;
    size_t n, cap;
    struct watched *all;
};

struct alarms *alarms_new(struct agent *agent)
{
    struct alarms *alarms = xcalloc(1, sizeof(*alarms));

    alarms->agent = agent;
    return alarms;
}

static void watched_clear(struct watched *w)
{
    alarm_rules_free(w->rules);
    free(w->config);
}

void alarms_free(struct alarms *alarms)
{
    if (!alarms) return;
    for (size_t i = 0; i < alarms->n; i++) watched_clear(&alarms->all[i]);
    free(alarms->all);
    free(alarms);
}

/* ---- configurations -------------------------------------------------------------------------------------------------- */

static void complain(void *arg, const char *why)
{
    const struct watched *w = arg;

    log_warn("other_config:" KEY " of %s: %s", *w->sr ? w->sr : w->uuid, why);
}

static struct watched *find(struct alarms *alarms, enum alarm_owner owner, const char *uuid, const char *sr)
{
    for (size_t i = 0; i < alarms->n; i++) {
        struct watched *w = &alarms->all[i];
        if (w->owner == owner && streq(w->uuid, uuid) && streq(w->sr, sr)) return w;
    }
    if (alarms->n == alarms->cap) {
        alarms->cap = alarms->cap ? 2 * alarms->cap : 8;
        alarms->all = xrealloc(alarms->all, alarms->cap * sizeof(*alarms->all));
    }
    struct watched *w = &alarms->all[alarms->n++];
    *w = (struct watched){ .owner = owner };
    snprintf(w->uuid, sizeof(w->uuid), "%s", uuid);
    snprintf(w->sr, sizeof(w->sr), "%s", sr);
    return w;
}

/* config NULL or "": nothing is watched. */
static void see(struct alarms *alarms, enum alarm_owner owner, const char *uuid, const char *sr, const char *config, bool control_domain)
{
    if (!config || !*config) return;
    struct watched *w = find(alarms, owner, uuid, sr);
    w->seen = true;
    w->control_domain = control_domain;
    if (w->config && streq(w->config, config)) return;
    struct alarm_rules *old = w->rules;
    w->rules = alarm_rules_parse(owner, config, *sr ? sr : NULL, old, complain, w);
    alarm_rules_free(old);
    free(w->config);
    w->config = xstrdup(config);
}

static const char *config_of(const struct row *row, field_id other_config) { return row_map_str(row, other_config, KEY, NULL); }

/* The SR's own alarms come from one host only, those on each host's share from each. */
static void see_srs(struct alarms *alarms, const struct snap *s, const char *host_uuid)
{
    const struct agent *agent = alarms->agent;

    SNAP_EACH (s, CLASS_PBD, pbd) {
        if (!row_bool(pbd, F_PBD_currently_attached) || !ref_eq(row_ref(pbd, F_PBD_host), agent->host)) continue;
        const struct row *sr = snap_get(s, CLASS_SR, row_ref(pbd, F_PBD_SR));
        const char *config = sr ? config_of(sr, F_SR_other_config) : NULL;
        if (!config) continue;
        if (!row_bool(sr, F_SR_shared) || pool_role_leads(agent->role)) see(alarms, ALARM_SR, row_uuid(sr), "", config, false);
        see(alarms, ALARM_HOST, host_uuid, row_uuid(sr), config, false);
    }
}

static void see_all(struct alarms *alarms)
{
    const struct agent *agent = alarms->agent;
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    const struct row *host = snap_get(s, CLASS_host, agent->host);

    if (!host) return;
    see(alarms, ALARM_HOST, row_uuid(host), "", config_of(host, F_host_other_config), false);
    SNAP_EACH (s, CLASS_VM, vm) {
        const char *config = config_of(vm, F_VM_other_config);
        if (!config || !ref_eq(row_ref(vm, F_VM_resident_on), agent->host) || row_enum(vm, F_VM_power_state) != vm_power_state_Running)
            continue;
        see(alarms, ALARM_VM, row_uuid(vm), "", config, row_bool(vm, F_VM_is_control_domain));
    }
    see_srs(alarms, s, row_uuid(host));
}

static void drop_unseen(struct alarms *alarms)
{
    size_t kept = 0;

    for (size_t i = 0; i < alarms->n; i++) {
        struct watched w = alarms->all[i];
        if (!w.seen) {
            watched_clear(&w);
            continue;
        }
        w.seen = false;
        alarms->all[kept++] = w;
    }
    alarms->n = kept;
}

/* ---- messages -------------------------------------------------------------------------------------------------------- */

struct alarm {
    enum cls cls;
    char uuid[UUID_TEXT];
    int64_t priority;
    char *body;
    struct alarm *next;
};

/* To be said, by a thread of its own: a commit may take long. */
struct said {
    struct agent *agent;
    struct alarm *first;
};

static void say_all(void *arg)
{
    struct said *said = arg;
    struct call *c = call_new_internal(said->agent, "alarms on metrics");

    for (struct alarm *next, *a = said->first; a; a = next) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        struct ref message;
        next = a->next;
        if (message_create(c, "ALARM", a->priority, a->cls, a->uuid, a->body, &message, &err)) {
            _cleanup_free_ char *why = xerr_text(&err);
            log_warn("an alarm of %s gets lost: %s", a->uuid, why);
        }
        free(a->body);
        free(a);
    }
    call_free_internal(c);
    free(said);
}

static void add_alarm(struct said *said, const struct watched *w, const struct alarm_rule *rule, double value)
{
    static const enum cls classes[] = { [ALARM_VM] = cls_VM, [ALARM_HOST] = cls_Host, [ALARM_SR] = cls_SR };
    struct alarm *a = xcalloc(1, sizeof(*a));
    struct strbuf body = STRBUF_INIT;

    alarm_rule_say(rule, value, &body);
    a->cls = classes[w->owner];
    memcpy(a->uuid, w->uuid, sizeof(a->uuid));
    a->priority = rule->priority;
    a->body = strbuf_take(&body);
    a->next = said->first;
    said->first = a;
    log_info("alarm of %s: %s is %g", w->uuid, rule->name, value);
}

/* ---- the control domain, which no guest's counters are of ------------------------------------------------------------- */

static double share_used(const char *path)
{
    struct statvfs fs;

    if (statvfs(path, &fs) || !(fs.f_blocks - fs.f_bfree + fs.f_bavail)) return NAN;
    return (double)(fs.f_blocks - fs.f_bfree) / (double)(fs.f_blocks - fs.f_bfree + fs.f_bavail);
}

/* Not known where logs lie on the root's file system. */
static double logs_used(void)
{
    struct stat root, logs;

    return stat("/", &root) || stat("/var/log", &logs) || root.st_dev == logs.st_dev ? NAN : share_used("/var/log");
}

/* What processes have, in memory and swapped out, of the memory there is. */
static double memory_used(void)
{
    static const char *const names[] = { "MemTotal:", "MemFree:", "Buffers:", "Cached:", "SwapTotal:", "SwapFree:" };
    _cleanup_free_ char *text = NULL;
    double kib[ARRAY_SIZE(names)] = { 0 };

    if (read_file("/proc/meminfo", 65536, &text, NULL)) return NAN;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0)
            if (has_prefix(line, names[i])) kib[i] = strtod(line + strlen(names[i]), NULL);
    return kib[0] > 0 ? (kib[0] - kib[1] - kib[2] - kib[3] + kib[4] - kib[5]) / kib[0] : NAN;
}

static double of_machine(const struct watched *w, enum alarm_how how)
{
    if (!w->control_domain) return NAN;
    return how == ALARM_ROOT_FULL ? share_used("/") : how == ALARM_LOG_FULL ? logs_used() : memory_used();
}

/* ---- looking --------------------------------------------------------------------------------------------------------- */

/* rrd NULL: nothing is known of the object; the rows of the machine's own are those of the clock. */
static void look_at(const struct watched *w, struct alarm_rule *rule, const struct rrd *r, struct said *said)
{
    const unsigned archive = alarm_rule_archive(rule);
    const bool own = rule->how >= ALARM_ROOT_FULL;
    const int64_t now_s = clock_boottime_ns() / NS_PER_S;
    const int64_t last = own ? clock_wall_seconds() / rrd_row_s(archive) : r ? rrd_last_row(r, archive) : -1;

    if (last < 0) return;
    /* What was before the rule came is none of its business; nor is what is not kept any more, or a clock that went back. */
    if (rule->row < 0 || rule->row > last + 1) rule->row = last + 1;
    if (last - rule->row >= rrd_archives[archive].rows) rule->row = last + 1 - rrd_archives[archive].rows;
    for (; rule->row <= last; rule->row++) {
        const double value = own ? of_machine(w, rule->how) : alarm_rule_value(rule, r, rule->row);
        if (alarm_rule_feed(rule, value, now_s)) add_alarm(said, w, rule, value);
    }
}

/* The host's own rule about an SR comes before the SR's about its hosts. */
static bool is_overridden(const struct alarms *alarms, const struct watched *w, const struct alarm_rule *rule)
{
    for (size_t i = 0; *w->sr && i < alarms->n; i++) {
        const struct watched *own = &alarms->all[i];
        if (own->owner != ALARM_HOST || *own->sr) continue;
        for (size_t k = 0; k < own->rules->n; k++)
            if (streq(own->rules->rules[k].name, rule->name)) return true;
    }
    return false;
}

void alarms_look(struct alarms *alarms)
{
    static const enum rrd_kind kinds[] = { [ALARM_VM] = RRD_VM, [ALARM_HOST] = RRD_HOST, [ALARM_SR] = RRD_SR };
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct said *said = xcalloc(1, sizeof(*said));

    said->agent = alarms->agent;
    see_all(alarms);
    drop_unseen(alarms);
    for (size_t i = 0; i < alarms->n; i++) {
        struct watched *w = &alarms->all[i];
        struct rrd *r = w->rules->n ? rrd_store_get(alarms->agent->rrds, kinds[w->owner], w->uuid) : NULL;
        for (size_t k = 0; k < w->rules->n; k++)
            if (!is_overridden(alarms, w, &w->rules->rules[k])) look_at(w, &w->rules->rules[k], r, said);
        rrd_free(r);
    }
    if (said->first && rpc_spawn(alarms->agent->rpc, say_all, said, &err) == 0) return;
    while (said->first) {
        struct alarm *a = said->first;
        said->first = a->next;
        log_warn("an alarm of %s gets lost: no thread is free for it", a->uuid);
        free(a->body);
        free(a);
    }
    free(said);
}
