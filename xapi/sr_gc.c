/* SR: merging the images that deleted snapshots left, one at a time.
 * Called by: jobs/gc.c.  Calls: storage/, sr_scan.c, task.h.
 *
 * 1. the driver's plan, after a scan where an earlier step left something, and room for it in repositories of volumes; 2. the
 * data, copied without any lock, as a task; 3. the driver unhooks the image; 4. whoever has one of the SR's disks open, a server
 * or a guest's engine, looks at its chain anew; 5. a scan brings the records up to date. */
#define LOG_MODULE "sr"
#include "xapi/sr.h"

#include "lib/fault.h"
#include "lib/log.h"
#include "xapi/call/live_task.h"
#include "xapi/task.h"
#include "xapi/vbd.h"

enum { MAX_CHAIN = 1024 };

struct merge {
    const char *top, *base, *format, *top_path, *base_path, *stamp, *owner_path, *owner;
    int64_t bytes;
    bool leaf, prepare;   /* prepare: the driver makes room first */
};

static const struct value *text_set(struct call *c, const char **texts, size_t n)
{
    struct value_builder set = value_builder(c->arena);
    struct value *v = arena_alloc(c->arena, sizeof(*v));

    for (size_t i = 0; i < n; i++) value_push(&set, value_string(texts[i]));
    *v = value_built_set(&set);
    return v;
}

/* More of the request: which disks somebody has. */
static struct value attached_disks(struct call *c, const char *sr_uuid)
{
    struct value_builder b = value_builder(c->arena);
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, sr_uuid, NULL, c->arena, &list);
    const char **uuids = arena_new_array(c->arena, const char *, n);

    for (size_t i = 0; i < n; i++) uuids[i] = list[i].vdi_uuid;
    value_put(&b, "attached", *text_set(c, uuids, n));
    return value_built_map(&b);
}

/* The smallest inner merge; a leaf only when nothing else is left, because its work is lost when the disk is written to.
 * False when there is nothing to do. */
static bool choose(const struct value *merges, struct merge *ret_merge)
{
    bool found = false;

    for (size_t i = 0; i < merges->set.n; i++) {
        const struct value *v = &merges->set.items[i];
        if (v->kind != VALUE_MAP) continue;
        struct merge m = {
            .top = value_get_str(v, "top", ""),
            .base = value_get_str(v, "base", ""),
            .format = value_get_str(v, "format", ""),
            .top_path = value_get_str(v, "top_path", ""),
            .base_path = value_get_str(v, "base_path", ""),
            .stamp = value_get_str(v, "stamp", ""),
            .owner_path = value_get_str(v, "owner_path", ""),
            .owner = value_get_str(v, "owner", ""),
            .bytes = answer_int(v, "bytes", 0),
            .leaf = answer_bool(v, "leaf", true),
        };
        if (!*m.top || !*m.base || *m.top_path != '/' || *m.base_path != '/') continue;
        if (found && (m.leaf != ret_merge->leaf ? m.leaf : m.bytes >= ret_merge->bytes)) continue;
        *ret_merge = m;
        found = true;
    }
    return found;
}

struct pace {
    struct call *c;
    int64_t rate;
    const atomic_bool *stop;
};

static bool on_progress(void *arg, double fraction)
{
    const struct pace *p = arg;

    call_progress(p->c, fraction);
    return !call_cancelled(p->c) && !atomic_load(p->stop);
}

static int prepare(struct call *c, const struct storage_sr *sr, const struct merge *m, struct xerr *err)
{
    const struct value args[] = { value_string(m->top), value_string(m->base) };
    struct value extra, answer;

    if (!m->prepare) return 0;
    extra = attached_disks(c, sr->uuid);
    return driver_call(c, sr, NULL, "sr_gc_prepare", args, ARRAY_SIZE(args), &extra, &answer, err);
}

static int finish(struct call *c, const struct storage_sr *sr, const struct merge *m, const atomic_bool *stop, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    const struct value args[] = { value_string(m->top), value_string(m->base), value_string(m->stamp) };
    struct value extra, answer;

    /* Until the leaf has its new image nobody may open it. */
    if (m->leaf) storage_hold(c->agent->storage, sr->uuid, m->top, &hold);
    /* Nor, meanwhile, what finds the others by their names: behind the hold, for who attaches the leaf opens it. */
    if (hold.owners || !storage_merge_end_begin(c->agent->storage, sr->uuid, stop)) return xerr_vdi_in_use(err, m->top, "coalesce");
    extra = attached_disks(c, sr->uuid);
    int rc = driver_call(c, sr, NULL, "sr_gc_finish", args, ARRAY_SIZE(args), &extra, &answer, err);
    storage_merge_end_done(c->agent->storage, sr->uuid);
    return rc;
}

/* Servers that have the image open let it go. */
static void switch_disks(struct call *c, const char *sr_uuid)
{
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, sr_uuid, NULL, c->arena, &list);

    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (!list[i].disk.socket || storage_switch(c->agent->storage, list[i].vdi_uuid, &err) == 0) continue;
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("disk %s after a merge: %s", list[i].vdi_uuid, why);
    }
}

/* By the records: those of a chain that was merged just now still say how it was; of a new base there may be none yet. */
static bool stands_on(const struct snap *s, const char *vdi_uuid, const char *base)
{
    for (size_t i = 0; i < MAX_CHAIN && *vdi_uuid; i++) {
        const struct row *vdi = snap_by_uuid(s, CLASS_VDI, vdi_uuid);
        if (!vdi) return true;
        vdi_uuid = value_get_str(row_value(vdi, F_VDI_sm_config), "vhd-parent", "");
        if (streq(vdi_uuid, base)) return true;
    }
    return false;
}

/* Nobody changes the disk meanwhile. */
static int reopen_disk(struct call *c, const struct storage_attachment *at, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    struct hv_disk disk;
    struct hv_id id;
    struct ref vbd;

    storage_hold(c->agent->storage, at->sr_uuid, at->vdi_uuid, &hold);
    if (!hold.owner || vbd_of_owner(c, hold.owner, &vbd, &id)) return 0;
    return vbd_describe(c, vbd, &at->disk, &disk, err) || hv_disk_reopen(c->agent->hv, id, &disk, err) ? -1 : 0;
}

/* Engines that read chains themselves let go of what was merged: of all disks that stand on base; NULL = of every disk. A guest
 * that could not goes on with what it has open; it is asked again after the next merge, or by the next agent. */
static void reopen_disks(struct call *c, const char *sr_uuid, const char *base)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, sr_uuid, NULL, c->arena, &list);

    if (!hv_can(c->agent->hv, HV_CAN_DISK_REOPEN)) return;
    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (list[i].disk.socket || !list[i].disk.writable || !streq(list[i].disk.format, "qcow2")) continue;
        if (base && !stands_on(s, list[i].vdi_uuid, base)) continue;
        if (reopen_disk(c, &list[i], &err) == 0) continue;
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("disk %s: merged images stay open: %s", list[i].vdi_uuid, why);
    }
}

int sr_gc_begin(struct call *c, struct ref sr, struct xerr *err)
{
    struct storage_sr ids;

    if (sr_for_driver(c, sr, true, &ids, err)) return -1;
    reopen_disks(c, ids.uuid, NULL);
    return 0;
}

static int do_merge(struct call *c, const struct storage_sr *sr, const struct merge *m, struct pace *pace,
                    struct xerr *err)
{
    const struct storage_merge work = {
        .sr_uuid = sr->uuid,
        .sr_type = sr->type,
        .format = m->format,
        .top_path = m->top_path,
        .base_path = m->base_path,
        .owner_path = m->owner_path,
        .owner = m->owner,
        .rate = pace->rate,
        .task = c->task->ref,
        .progress = on_progress,
        .arg = pace,
    };

    if (prepare(c, sr, m, err) || storage_merge(c->agent->storage, &work, err)) return -1;
    if (finish(c, sr, m, pace->stop, err)) {
        /* A driver that was killed may have got half way: a scan goes on there. */
        _cleanup_xerr_ struct xerr ignored = XERR_INIT;
        sr_scan_records(c, sr, 0, &ignored);
        return -1;
    }
    const int broken = fault("sr.merged");
    if (broken) return xerr_internal(err, "%s: %s", m->top, strerror(broken));
    switch_disks(c, sr->uuid);
    if (!m->leaf) reopen_disks(c, sr->uuid, m->base);
    return sr_scan_records(c, sr, 0, err);
}

/* As a task of its own, which clients see and cancel. */
static int run_as_task(struct call *c, const struct storage_sr *sr, const struct merge *m, struct pace *pace,
                       struct xerr *err)
{
    struct live_task *quiet = c->task;
    struct ref task;

    if (task_row_create(c, "SR.coalesce",
                        arena_printf(c->arena, "Merging %s into %s in SR %s", m->top, m->base, sr->uuid),
                        REF_NULL, &task, err))
        return -1;
    c->task = live_task_begin(c->agent->tasks, task, true);
    int rc = do_merge(c, sr, m, pace, err);
    live_task_end(c->agent->tasks, c->task);
    c->task = quiet;
    task_row_finish(c->agent, task, "", rc ? err : NULL);
    return rc;
}

/* The driver's plan. While it names what is unfinished, and each scan changes that, after another scan. */
static int plan(struct call *c, const struct storage_sr *sr, const atomic_bool *stop, struct value *ret_answer, struct xerr *err)
{
    struct value before = { .kind = VALUE_SET };

    for (;;) {
        const struct value extra = attached_disks(c, sr->uuid);
        if (driver_call(c, sr, NULL, "sr_gc_plan", NULL, 0, &extra, ret_answer, err)) return -1;
        const struct value *now = value_get(ret_answer, "unfinished");
        if (!now || now->kind != VALUE_SET || value_eq(now, &before) || atomic_load(stop)) return 0;
        if (sr_scan_records(c, sr, 0, err)) return -1;
        before = *now;
    }
}

int sr_gc_step(struct call *c, struct ref sr, int64_t rate, const atomic_bool *stop, size_t *ret_left, bool *ret_waiting,
               struct xerr *err)
{
    struct storage_sr ids;
    struct value answer;
    struct pace pace = { c, rate, stop };
    struct merge m = { .top = NULL };

    if (sr_for_driver(c, sr, true, &ids, err)) return -1;
    *ret_waiting = false;
    if (!sr_has_feature(c, &ids, "SR_COALESCE")) {
        *ret_left = 0;
        return 0;
    }
    if (plan(c, &ids, stop, &answer, err)) return -1;
    *ret_waiting = answer_bool(&answer, "waiting", false);
    const struct value *merges = value_get(&answer, "merges");
    bool any = merges && merges->kind == VALUE_SET && choose(merges, &m);
    m.prepare = answer_bool(&answer, "prepare", false);
    if (any && run_as_task(c, &ids, &m, &pace, err)) return -1;
    if (any) log_info("SR %s: %s merged into %s, %zu to go", ids.uuid, m.top, m.base, merges->set.n - 1);
    *ret_left = any ? merges->set.n : 0;
    return 0;
}
