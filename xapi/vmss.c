/* Class VMSS: snapshots of VMs by a schedule.
 * Called by: the generated thunks (schema/vmss.xml), jobs/.  Calls: VM messages, message, db/. */
#include "xapi/vmss.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

#define LOG_MODULE "vmss"
#include "gen/methods.h"
#include "lib/iso8601.h"
#include "lib/log.h"
#include "lib/num.h"

enum {
    RETAINED_MAX = 10,
    DUE_S = 120, /* an agent that was busy or down for longer has missed the moment */
    PRIORITY_SUCCESS = 5,
    PRIORITY_FAILURE = 3,
};

static const char *const days[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                    "Thursday", "Friday", "Saturday" };

/* ---- the schedule -------------------------------------------------------------------------------------- */

/* A number of the schedule within 0..max, or -1. */
static int number(const struct value *schedule, const char *key, int max)
{
    int64_t i;

    return num_parse_int(value_get_str(schedule, key, ""), &i) && i >= 0 && i <= max ? (int)i : -1;
}

/* "Monday,Friday" as bits; 0 when any word is no day. */
static unsigned day_bits(const char *list)
{
    unsigned bits = 0;

    for (const char *p = list; *p;) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        unsigned day = 0;
        if (!n) break;
        while (day < ARRAY_SIZE(days) && (strlen(days[day]) != n || strncasecmp(p, days[day], n))) day++;
        if (day == ARRAY_SIZE(days)) return 0;
        bits |= 1u << day;
        p += n;
    }
    return bits;
}

bool vmss_last_moment(int frequency, const struct value *schedule, int64_t now, int64_t *ret_moment)
{
    int minute = number(schedule, "min", 59), hour = number(schedule, "hour", 23);
    unsigned wanted =
        frequency == vmss_frequency_weekly ? day_bits(value_get_str(schedule, "days", "")) : ~0u;
    time_t at = now;
    struct tm tm;

    if (minute < 0 || (hour < 0 && frequency != vmss_frequency_hourly) || !wanted) return false;
    localtime_r(&at, &tm);
    tm.tm_sec = 0;
    tm.tm_min = minute;
    if (frequency == vmss_frequency_hourly) {
        tm.tm_isdst = -1;
        at = mktime(&tm);
        *ret_moment = at > now ? at - 3600 : at;
        return true;
    }
    /* Back day by day; mktime() makes a date of day 0 and below. */
    tm.tm_hour = hour;
    for (int back = 0; back <= 7; back++) {
        struct tm day = tm;
        day.tm_mday -= back;
        day.tm_isdst = -1;
        at = mktime(&day);
        if (at > now || !(wanted >> day.tm_wday & 1)) continue;
        *ret_moment = at;
        return true;
    }
    return false;
}

/* Keys and values that the frequency has. Errors: INVALID_VALUE [key, value]. */
static int check_schedule(enum vmss_frequency frequency, const struct value *schedule, struct xerr *err)
{
    for (size_t i = 0; i < schedule->map.n; i++) {
        const char *key = schedule->map.members[i].key, *value = value_get_str(schedule, key, "");
        bool good = streq(key, "min")    ? number(schedule, key, 59) >= 0
                    : streq(key, "hour") ? number(schedule, key, 23) >= 0
                    : streq(key, "days") ? day_bits(value) != 0
                                         : false;
        if (!good) return xerr_invalid_value(err, key, value);
    }
    if (!value_get(schedule, "min")) return xerr_invalid_value(err, "schedule:min", "");
    if (frequency != vmss_frequency_hourly && !value_get(schedule, "hour"))
        return xerr_invalid_value(err, "schedule:hour", "");
    if (frequency == vmss_frequency_weekly && !value_get(schedule, "days"))
        return xerr_invalid_value(err, "schedule:days", "");
    return 0;
}

static int check_retained(struct call *c, int64_t n, struct xerr *err)
{
    if (n >= 1 && n <= RETAINED_MAX) return 0;
    return xerr_invalid_value(err, "retained_snapshots", arena_printf(c->arena, "%lld", (long long)n));
}

/* A change of the schedule must leave a good one, whatever changed. change: may be NULL in one of the two. */
static int commit_schedule(struct call *c, struct txn *t, struct ref self, struct xerr *err)
{
    const struct row *row = txn_failed(t) ? NULL : snap_get(txn_snap(t), CLASS_VMSS, self);

    (void)c;
    if (row && check_schedule((enum vmss_frequency)row_enum(row, F_VMSS_frequency),
                              row_value(row, F_VMSS_schedule), err)) {
        db_abort(t);
        return -1;
    }
    return db_commit(t, err);
}

/* ---- messages ------------------------------------------------------------------------------------------ */

static int record_enum(const struct value *args, const char *key, const struct enum_desc *e)
{
    int i = enum_index(e, value_get_str(args, key, ""));
    return i < 0 ? 0 : i;
}

int vmss_create(struct call *c, const struct value *args, struct ref *ret_result, struct xerr *err)
{
    const struct value empty = value_map(NULL, 0);
    const struct value *retained = value_get(args, "retained_snapshots"),
                       *schedule = value_get(args, "schedule");
    const struct value *enabled = value_get(args, "enabled");
    int frequency = record_enum(args, "frequency", &enum_desc_vmss_frequency);
    int64_t keep = retained && retained->kind == VALUE_INT ? retained->i : 7;
    struct ref ref = ref_new();

    if (!schedule || schedule->kind != VALUE_MAP) schedule = &empty;
    if (check_retained(c, keep, err) || check_schedule((enum vmss_frequency)frequency, schedule, err))
        return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_create(t, CLASS_VMSS, ref);
    txn_set_str(t, ref, F_VMSS_name_label, value_get_str(args, "name_label", ""));
    txn_set_str(t, ref, F_VMSS_name_description, value_get_str(args, "name_description", ""));
    txn_set_bool(t, ref, F_VMSS_enabled, !enabled || enabled->kind != VALUE_BOOL || enabled->b);
    txn_set_enum(t, ref, F_VMSS_type, record_enum(args, "type", &enum_desc_vmss_type));
    txn_set_int(t, ref, F_VMSS_retained_snapshots, keep);
    txn_set_enum(t, ref, F_VMSS_frequency, frequency);
    txn_set_value(t, ref, F_VMSS_schedule, schedule);
    if (db_commit(t, err)) return -1;
    *ret_result = ref;
    return 0;
}

int vmss_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VMSS, self, err);

    if (row && row_refs(row, F_VMSS_VMs)->n) xerr_vmss_has_vm(err);
    if (err->code) {
        db_abort(t);
        return -1;
    }
    txn_destroy(t, CLASS_VMSS, self);
    return db_commit(t, err);
}

int vmss_set_type(struct call *c, struct ref self, enum vmss_type value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_enum(t, self, F_VMSS_type, (int)value);
    return db_commit(t, err);
}

int vmss_set_retained_snapshots(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    if (check_retained(c, value, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_int(t, self, F_VMSS_retained_snapshots, value);
    return db_commit(t, err);
}

/* Clients set the frequency first and the schedule that fits it next: only the keys that are there are
 * looked at. */
int vmss_set_frequency(struct call *c, struct ref self, enum vmss_frequency value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_enum(t, self, F_VMSS_frequency, (int)value);
    return db_commit(t, err);
}

int vmss_set_schedule(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_value(t, self, F_VMSS_schedule, value);
    return commit_schedule(c, t, self, err);
}

int vmss_add_to_schedule(struct call *c, struct ref self, const char *key, const char *value,
                         struct xerr *err)
{
    const struct member m = { key, value_string(value) };
    const struct value one = value_map(&m, 1), v = value_string(value);
    struct xerr why = XERR_INIT;

    /* The one key by itself: others may still be missing. */
    if (check_schedule(vmss_frequency_hourly, &one, &why) && !streq(why.params[0], "schedule:min"))
        return xerr_move(err, &why);
    xerr_clear(&why);
    struct txn *t = db_begin(c->agent->db);
    txn_map_add(t, self, F_VMSS_schedule, key, &v);
    return db_commit(t, err);
}

int vmss_remove_from_schedule(struct call *c, struct ref self, const char *key, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_map_remove(t, self, F_VMSS_schedule, key);
    return db_commit(t, err);
}

/* ---- snapshots ----------------------------------------------------------------------------------------- */

static int take_snapshot(struct call *c, struct ref vm, enum vmss_type type, const char *name,
                         struct ref *ret_snapshot, struct xerr *err)
{
    struct value ref;
    int rc = -1;

    switch (type) {
    case vmss_type_snapshot:
        rc = call_message(c, "VM.snapshot", ARGS(value_ref(vm), value_string(name), value_set(NULL, 0)), &ref,
                          err);
        break;
    case vmss_type_checkpoint:
        rc = call_message(c, "VM.checkpoint", ARGS(value_ref(vm), value_string(name)), &ref, err);
        break;
    case vmss_type_snapshot_with_quiesce:
        rc = call_message(c, "VM.snapshot_with_quiesce", ARGS(value_ref(vm), value_string(name)), &ref, err);
        break;
    }
    if (rc) return -1;
    *ret_snapshot = ref.ref;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, ref.ref, F_VM_is_vmss_snapshot, true);
    return db_commit(t, err);
}

/* A snapshot with the disks that are its own. */
static int drop_snapshot(struct call *c, struct ref snapshot, struct xerr *err)
{
    struct ref *vdis = NULL;
    struct value ignored;
    size_t n = 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, snapshot, err);
        if (!row) return -1;
        const struct refset *vbds = row_refs(row, F_VM_VBDs);
        vdis = arena_new_array(c->arena, struct ref, vbds->n + 1);
        for (size_t i = 0; i < vbds->n; i++) {
            const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
            if (vbd && row_enum(vbd, F_VBD_type) == vbd_type_Disk &&
                snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI)))
                vdis[n++] = row_ref(vbd, F_VBD_VDI);
        }
    }
    if (call_message(c, "VM.destroy", ARGS(value_ref(snapshot)), &ignored, err)) return -1;
    for (size_t i = 0; i < n; i++) {
        {
            _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
            if (!snap_get(s, CLASS_VDI, vdis[i])) continue;
        }
        if (call_message(c, "VDI.destroy", ARGS(value_ref(vdis[i])), &ignored, err)) return -1;
    }
    return 0;
}

struct old {
    struct ref snapshot;
    int64_t at;
};

static int newest_first(const void *a, const void *b)
{
    const struct old *x = a, *y = b;
    return x->at > y->at ? -1 : x->at < y->at ? 1 : ref_cmp(x->snapshot, y->snapshot);
}

/* Scheduled snapshots of the VM beyond the newest `keep` go. */
static int drop_old(struct call *c, struct ref vm, size_t keep, struct xerr *err)
{
    struct old *all;
    size_t n = 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row) return -1;
        const struct refset *snapshots = row_refs(row, F_VM_snapshots);
        all = arena_new_array(c->arena, struct old, snapshots->n + 1);
        for (size_t i = 0; i < snapshots->n; i++) {
            const struct row *snapshot = snap_get(s, CLASS_VM, snapshots->refs[i]);
            if (snapshot && row_bool(snapshot, F_VM_is_vmss_snapshot))
                all[n++] = (struct old){ snapshots->refs[i], row_time(snapshot, F_VM_snapshot_time) };
        }
    }
    qsort(all, n, sizeof(*all), newest_first);
    for (size_t i = keep; i < n; i++)
        if (drop_snapshot(c, all[i].snapshot, err)) return -1;
    return 0;
}

struct plan {
    const char *uuid, *name;
    enum vmss_type type;
    size_t keep, n;
    struct {
        struct ref vm;
        const char *uuid, *name;
    } vms[];
};

static const struct plan *read_plan(struct call *c, struct ref vmss, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VMSS, vmss, err);

    if (!row) return NULL;
    const struct refset *vms = row_refs(row, F_VMSS_VMs);
    struct plan *p = arena_zalloc(c->arena, sizeof(*p) + vms->n * sizeof(p->vms[0]));
    p->uuid = arena_strdup(c->arena, row_uuid(row));
    p->name = arena_strdup(c->arena, row_str(row, F_VMSS_name_label));
    p->type = (enum vmss_type)row_enum(row, F_VMSS_type);
    p->keep = (size_t)row_int(row, F_VMSS_retained_snapshots);
    for (size_t i = 0; i < vms->n; i++) {
        const struct row *vm = snap_get(s, CLASS_VM, vms->refs[i]);
        if (!vm || row_bool(vm, F_VM_is_a_snapshot) || row_bool(vm, F_VM_is_a_template)) continue;
        p->vms[p->n].vm = vms->refs[i];
        p->vms[p->n].uuid = arena_strdup(c->arena, row_uuid(vm));
        p->vms[p->n++].name = arena_strdup(c->arena, row_str(vm, F_VM_name_label));
    }
    return p;
}

static void tell(struct call *c, const struct plan *p, const char *name, int64_t priority, const char *body)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct ref ignored;

    if (message_create(c, name, priority, cls_VMSS, p->uuid, body, &ignored, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("%s: %s", name, why);
    }
}

/* Snapshots of every VM. failures: a line a VM that has none now. */
static size_t snapshot_all(struct call *c, struct ref vmss, const struct plan *p, struct strbuf *failures)
{
    char stamp[ISO8601_TEXT];
    size_t failed = 0;

    iso8601_text(time(NULL), stamp);
    for (size_t i = 0; i < p->n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        const char *name = arena_printf(c->arena, "%s_%s_%s", p->name, p->vms[i].name, stamp);
        struct ref snapshot;
        if (!take_snapshot(c, p->vms[i].vm, p->type, name, &snapshot, &err) &&
            !drop_old(c, p->vms[i].vm, p->keep, &err))
            continue;
        _cleanup_free_ char *why = xerr_text(&err);
        strbuf_printf(failures, "VM %s: %s\n", p->vms[i].uuid, why);
        failed++;
    }
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);
    if (snap_get(txn_snap(t), CLASS_VMSS, vmss)) txn_set_time(t, vmss, F_VMSS_last_run_time, time(NULL));
    if (db_commit(t, &err)) log_warn("%s: the time of the run could not be written", p->uuid);
    return failed;
}

int vmss_snapshot_now(struct call *c, struct ref vmss, const char **ret_result, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf failures = STRBUF_INIT;
    const struct plan *p = read_plan(c, vmss, err);

    if (!p) return -1;
    if (snapshot_all(c, vmss, p, &failures)) {
        tell(c, p, "VMSS_SNAPSHOT_FAILED", PRIORITY_FAILURE, strbuf_cstr(&failures));
        return xerr_operation_partially_failed(err, strbuf_cstr(&failures));
    }
    *ret_result = "Success";
    return 0;
}

/* ---- background ---------------------------------------------------------------------------------------- */

size_t vmss_take_due(struct agent *agent, struct arena *a, struct ref **ret_schedules)
{
    int64_t now = time(NULL), moment;
    size_t n = 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(agent->db);
        *ret_schedules = arena_new_array(a, struct ref, snap_count(s, CLASS_VMSS) + 1);
        SNAP_EACH (s, CLASS_VMSS, row) {
            if (!row_bool(row, F_VMSS_enabled) || !row_refs(row, F_VMSS_VMs)->n) continue;
            if (!vmss_last_moment(row_enum(row, F_VMSS_frequency), row_value(row, F_VMSS_schedule), now,
                                  &moment))
                continue;
            if (now - moment <= DUE_S && row_time(row, F_VMSS_last_run_time) < moment)
                (*ret_schedules)[n++] = row_ref_of(row);
        }
    }
    if (!n) return 0;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct txn *t = db_begin(agent->db);
    for (size_t i = 0; i < n; i++) txn_set_time(t, (*ret_schedules)[i], F_VMSS_last_run_time, now);
    /* Not marked is not run: otherwise it would run again in a few seconds. One that was destroyed spoils
     * the rest of this round only. */
    return db_commit(t, &err) ? 0 : n;
}

void vmss_run(struct agent *agent, struct ref schedule)
{
    _cleanup_strbuf_ struct strbuf failures = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct call *c = call_new_internal(agent, "scheduled snapshots");
    const struct plan *p = read_plan(c, schedule, &err);

    if (p) {
        bool failed = snapshot_all(c, schedule, p, &failures) > 0;
        const char *body =
            failed ? strbuf_cstr(&failures) : arena_printf(c->arena, "%s: %zu VMs", p->name, p->n);
        tell(c, p, failed ? "VMSS_SNAPSHOT_FAILED" : "VMSS_SNAPSHOT_SUCCEEDED",
             failed ? PRIORITY_FAILURE : PRIORITY_SUCCESS, body);
        log_info("schedule %s: snapshots of %zu VMs%s", p->uuid, p->n, failed ? ", not all" : "");
    }
    call_free_internal(c);
}
