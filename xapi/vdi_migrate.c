/* Class VDI: a disk moves to another repository while its VM runs.
 * Called by: the generated thunks (schema/vdi.xml), startup.c.  Calls: sr.h, storage/, hv/, db/.
 *
 * 1. A new disk, its record marked with the old one's uuid (KEY_OF). 2. The VBD has both attached, and the hypervisor copies
 * and writes to both. 3. When they are alike the mark says so (KEY_ENDS) on disk, before the guest goes on in the new one
 * alone. 4. One commit: the VBD and the old one's snapshots belong to the new disk, whose marks go; the old one is marked
 * (KEY_LEFT). 5. The old one goes, at the next start if need be.
 *
 * Killed before 4: at the next start the hypervisor says which of the two the guest is in. When it is the old one, the copy
 * is forgotten and the new disk goes; else 4 follows. A guest that has ended since then is asked nothing: after 3 both
 * are alike, up to its last write. */
#define LOG_MODULE "vdi"
#include "xapi/sr.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/vbd.h"
#include "xapi/vm_doubts.h"

enum { POLL_MS = 100 };
#define KEY_OF "mirror-of"
#define KEY_ENDS "mirror-ends"
#define KEY_LEFT "mirror-left" /* of the old disk after 4: who had it */

struct move {
    struct ref from, to, vbd;
    struct hv_id vm;
    const char *owner;  /* of both: the VBD's uuid */
    struct hv_disk disk; /* the new one, as the guest gets it */
    bool doubtful;       /* the guest may have gone on in the new one, and the records do not say so */
};

/* ---- what moves ---------------------------------------------------------------------------- */

/* The one VBD of a running VM that has the disk. */
static int find_user(struct call *c, struct move *m, struct xerr *err)
{
    const struct storage_attachment *list;
    struct disk_ids ids;

    if (vdi_for_driver(c, m->from, &ids, err)) return -1;
    size_t n = storage_attachments(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, c->arena, &list);
    if (n == 0) return xerr_vdi_needs_vm_for_migrate(err, REF_STR(m->from));
    if (n > 1 || vbd_of_owner(c, list[0].owner, &m->vbd, &m->vm)) return xerr_vdi_in_use(err, REF_STR(m->from), "mirror");
    if (!list[0].disk.writable) return xerr_vdi_readonly(err, REF_STR(m->from));
    m->owner = list[0].owner;
    if (streq(ids.vdi.on_boot, "reset")) return xerr_vdi_on_boot_mode_incompatible_with_operation(err);
    return 0;
}

static bool driver_makes(struct call *c, const struct storage_sr *sr, const char *format)
{
    const struct storage_driver *d = storage_driver_need(c->agent->storage, sr->type, NULL);

    for (size_t i = 0; d && i < d->image_formats.set.n; i++)
        if (streq(d->image_formats.set.items[i].s, format)) return true;
    return false;
}

/* As the old one, of the same format where the new repository has it. */
static int make_target(struct call *c, struct move *m, struct ref sr, struct xerr *err)
{
    struct value_builder config = value_builder(c->arena);
    struct vdi_new n = { .sr = sr };
    struct storage_sr ids;
    int64_t size;

    if (sr_for_driver(c, sr, true, &ids, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VDI, m->from, err);
        if (!row) return -1;
        const char *format = row_map_str(row, F_VDI_sm_config, "image-format", "");
        if (*format && driver_makes(c, &ids, format))
            value_put(&config, streq(format, "raw") ? "type" : "image-format", value_string(arena_strdup(c->arena, format)));
        value_put(&config, KEY_OF, value_string(arena_strdup(c->arena, row_uuid(row))));
        n.name_label = arena_strdup(c->arena, row_str(row, F_VDI_name_label));
        n.name_description = arena_strdup(c->arena, row_str(row, F_VDI_name_description));
        n.type = row_enum(row, F_VDI_type);
        n.virtual_size = size = row_int(row, F_VDI_virtual_size);
    }
    struct value sm_config = value_built_map(&config);
    n.sm_config = &sm_config;
    if (vdi_create_internal(c, &n, &m->to, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *made = snap_need(s, CLASS_VDI, m->to, err);
    if (!made) return -1;
    /* A copy has the size of what it is a copy of. */
    if (row_int(made, F_VDI_virtual_size) == size) return 0;
    return xerr_vdi_incompatible_type(err, REF_STR(m->to), "a repository whose disks have other sizes");
}

/* ---- the copy ------------------------------------------------------------------------------ */

static int step(struct call *c, const struct move *m, enum hv_mirror_step what, struct hv_mirror *ret, struct xerr *err)
{
    return hv_disk_mirror(c->agent->hv, m->vm, &m->disk, what, ret, err);
}

static int await_ready(struct call *c, const struct move *m, struct xerr *err)
{
    struct hv_mirror now;

    for (;;) {
        if (call_check_cancel(c, err) || step(c, m, HV_MIRROR_LOOK, &now, err)) return -1;
        if (!now.runs) return xerr_vdi_copy_failed(err);
        if (now.ready) return 0;
        call_progress(c, now.fraction * 0.9);
        usleep(POLL_MS * 1000);
    }
}

/* In a transaction: fields that follow the disk, its snapshots, its VBD; the marks go. */
static void take_over(struct call *c, struct txn *t, struct ref from, struct ref to, struct ref vbd, const char *owner)
{
    static const field_id fields[] = {
        F_VDI_name_label, F_VDI_name_description, F_VDI_other_config, F_VDI_xenstore_data, F_VDI_tags,
        F_VDI_sharable,   F_VDI_allow_caching,    F_VDI_on_boot,      F_VDI_metadata_of_pool,
    };
    const struct row *old = snap_get(txn_snap(t), CLASS_VDI, from);

    for (size_t i = 0; old && i < ARRAY_SIZE(fields); i++) {
        struct value v = row_field_value(snap_get(txn_snap(t), CLASS_VDI, from), model_field(fields[i]), c->arena);
        txn_set_field(t, to, fields[i], &v);
    }
    old = snap_get(txn_snap(t), CLASS_VDI, from);
    const struct refset *snapshots = old ? row_refs(old, F_VDI_snapshots) : NULL;
    const size_t n = snapshots ? snapshots->n : 0;
    struct ref *copy = arena_new_array(c->arena, struct ref, n);
    if (n) memcpy(copy, snapshots->refs, n * sizeof(*copy));
    for (size_t i = 0; i < n; i++) txn_set_ref(t, copy[i], F_VDI_snapshot_of, to);
    txn_map_remove(t, to, F_VDI_sm_config, KEY_OF);
    txn_map_remove(t, to, F_VDI_sm_config, KEY_ENDS);
    if (snap_get(txn_snap(t), CLASS_VBD, vbd)) txn_set_ref(t, vbd, F_VBD_VDI, to);
    if (old) txn_map_put_str(t, from, F_VDI_sm_config, KEY_LEFT, *owner ? owner : "none");
    if (old) lifecycle_refresh(t, CLASS_VDI, from);
    lifecycle_refresh(t, CLASS_VDI, to);
}

static int remove_disk(struct call *c, struct ref vdi, const char *owner)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (vdi_detach(c, vdi, owner, &err) == 0 && vdi_destroy(c, vdi, &err) == 0) return 0;
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("disk %s stays after a move: %s", REF_STR(vdi), why);
    return -1;
}

static void cancel(struct call *c, const struct move *m)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (step(c, m, HV_MIRROR_CANCEL, NULL, &err) == 0) return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("the copy of disk %s cannot be ended: %s", REF_STR(m->from), why);
}

/* The guest's own word counts: an answer that came too late is none. */
static int go_on_there(struct call *c, struct move *m, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT, ignored = XERR_INIT;
    struct hv_mirror now = { .moved = false };

    m->doubtful = true;
    if (step(c, m, HV_MIRROR_FINISH, NULL, &why) == 0) return 0;
    m->doubtful = step(c, m, HV_MIRROR_LOOK, &now, &ignored) || now.moved;
    if (now.moved) return 0;
    return xerr_move(err, &why);
}

static int finish(struct call *c, struct move *m, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_map_put_str(t, m->to, F_VDI_sm_config, KEY_ENDS, "true");
    if (db_commit(t, err)) return -1;
    if (go_on_there(c, m, err)) return -1;
    t = db_begin(c->agent->db);
    take_over(c, t, m->from, m->to, m->vbd, m->owner);
    if (db_commit(t, err)) return -1;
    m->doubtful = false;
    return 0;
}

static int copy_over(struct call *c, struct move *m, struct xerr *err)
{
    struct storage_disk disk;

    if (vdi_attach(c, m->to, m->owner, true, &disk, err)) return -1;
    if (vbd_describe(c, m->vbd, &disk, &m->disk, err) || step(c, m, HV_MIRROR_START, NULL, err)) return -1;
    if (await_ready(c, m, err) == 0 && finish(c, m, err) == 0) return 0;
    if (!m->doubtful) cancel(c, m);
    return -1;
}

int vdi_pool_migrate(struct call *c, struct ref vdi, struct ref sr, const struct value *options, struct ref *ret_result,
                     struct xerr *err)
{
    struct move m = { .from = vdi };
    struct disk_ids ids;

    (void)options;
    if (find_user(c, &m, err) || vdi_for_driver(c, vdi, &ids, err)) return -1;
    if (ref_eq(ids.sr.ref, sr)) {
        *ret_result = vdi; /* it is there */
        return 0;
    }
    /* Which of the two disks the guest is in, and what is to go, is found out as at a start of the agent. */
    const int failed = make_target(c, &m, sr, err) || copy_over(c, &m, err);
    if (failed && !m.doubtful && ref_is_null(m.to)) return -1;
    if (m.doubtful || remove_disk(c, failed ? m.to : m.from, m.owner)) vm_doubt(c->agent->doubts, m.vm.vm);
    if (failed) return -1;
    log_info("disk %s moved to %s", REF_STR(m.from), REF_STR(m.to));
    *ret_result = m.to;
    return 0;
}

/* ---- after a start ------------------------------------------------------------------------- */

struct unended {
    struct ref to;
    const char *of;
    bool ends;
    const char *left; /* KEY_LEFT of this disk: it is to go */
    bool busy;        /* a call is at it */
};

static bool is_busy(const struct row *vdi) { return vdi && row_value(vdi, F_VDI_current_operations)->map.n; }

static size_t list_unended(struct call *c, struct unended **ret_list)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct unended *list = arena_new_array(c->arena, struct unended, snap_count(s, CLASS_VDI));
    size_t n = 0;

    SNAP_EACH (s, CLASS_VDI, vdi) {
        const char *of = row_map_str(vdi, F_VDI_sm_config, KEY_OF, NULL), *left = row_map_str(vdi, F_VDI_sm_config, KEY_LEFT, NULL);
        if (!of && !left) continue;
        list[n++] = (struct unended){
            .to = row_ref_of(vdi),
            .of = of ? arena_strdup(c->arena, of) : "",
            .ends = row_map_str(vdi, F_VDI_sm_config, KEY_ENDS, NULL) != NULL,
            .left = left ? arena_strdup(c->arena, left) : NULL,
            .busy = is_busy(vdi) || (of && is_busy(snap_by_uuid(s, CLASS_VDI, of))),
        };
    }
    *ret_list = list;
    return n;
}

/* Whether the guest has gone on in the new disk. Its copy, when it still runs, ends. */
static bool has_moved(struct call *c, struct move *m, const struct unended *u)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const struct storage_attachment *list;
    struct hv_mirror now = { .runs = false };
    struct storage_disk disk;
    const char *uuid = NULL;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_VDI, m->to);
        if (row) uuid = arena_strdup(c->arena, row_uuid(row));
    }
    size_t n = uuid ? storage_attachments(c->agent->storage, NULL, uuid, c->arena, &list) : 0;
    if (n) m->owner = list[0].owner;
    /* A guest that has ended since then had both alike when the mark was made. */
    if (!n || vbd_of_owner(c, m->owner, &m->vbd, &m->vm)) return u->ends;
    /* It has the disk, so this only tells by which name. */
    if (vdi_attach(c, m->to, m->owner, true, &disk, &err) || vbd_describe(c, m->vbd, &disk, &m->disk, &err)) return u->ends;
    if (step(c, m, HV_MIRROR_LOOK, &now, &err)) return u->ends;
    if (now.runs) cancel(c, m);
    return now.moved;
}

static int stays(int rc, struct xerr *err) { return rc ? xerr_internal(err, "a disk stays after a move") : 0; }

static int recover(struct call *c, const struct unended *u, struct xerr *err)
{
    struct move m = { .to = u->to, .owner = "" };
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_by_uuid(s, CLASS_VDI, u->of);
        if (row) m.from = row_ref_of(row);
        const struct refset *vbds = row ? row_refs(row, F_VDI_VBDs) : NULL;
        if (vbds && vbds->n) m.vbd = vbds->refs[0];
    }
    if (!has_moved(c, &m, u)) {
        log_warn("the move of disk %s was not ended: it stays where it was", u->of);
        return stays(remove_disk(c, m.to, *m.owner ? m.owner : "none"), err);
    }
    log_warn("the move of disk %s was all but ended: it is finished", u->of);
    struct txn *t = db_begin(c->agent->db);
    take_over(c, t, m.from, m.to, m.vbd, m.owner);
    if (db_commit(t, err)) return -1;
    return ref_is_null(m.from) ? 0 : stays(remove_disk(c, m.from, *m.owner ? m.owner : "none"), err);
}

int vdi_migrate_recover(struct call *c, struct xerr *err)
{
    struct unended *list;
    size_t n = list_unended(c, &list);
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        int failed;
        if (list[i].busy) failed = xerr_internal(&why, "a disk is on the move");
        else if (list[i].left) failed = stays(remove_disk(c, list[i].to, list[i].left), &why);
        else failed = recover(c, &list[i], &why);
        if (failed && !rc) rc = xerr_move(err, &why);
    }
    return rc;
}
