/* SR.scan: the records made to agree with what the driver finds.
 * Called by: sr.c, pbd.c.  Calls: sr_driver.c, storage/.
 *
 * A disk is known by its uuid when the driver gives one, else by its location. Found and unknown: a new
 * record. Known and found: sizes and the driver's sm_config are refreshed, names and everything users
 * set stay. Known and gone: the record goes when it is a hidden base or a CD, else it stays and is
 * marked missing, because its names and links may be all that is left of it, and the disk may come back. */
#define LOG_MODULE "sr"
#include "xapi/sr.h"

#include "lib/log.h"
#include "lib/map.h"
#include "xapi/call/lifecycle.h"

struct scan {
    struct call *c;
    struct txn *t;
    const struct storage_sr *sr;
    struct map *by_uuid, *by_location;   /* text -> struct known * */
    struct known {
        struct ref ref;
        bool found;
    } *known;
    size_t n_known;
    struct refmap *before;               /* records that were there before the driver looked */
    bool can_delete;                     /* disks of this SR are made and removed through us */
    unsigned added, missing, removed;
};

static void load_known(struct scan *scan)
{
    const struct snap *s = txn_snap(scan->t);
    const struct row *sr = snap_get(s, CLASS_SR, scan->sr->ref);
    const struct refset *vdis = row_refs(sr, F_SR_VDIs);

    scan->known = arena_new_array(scan->c->arena, struct known, vdis->n);
    for (size_t i = 0; i < vdis->n; i++) {
        const struct row *vdi = snap_get(s, CLASS_VDI, vdis->refs[i]);
        if (!vdi) continue;
        struct known *k = &scan->known[scan->n_known++];
        k->ref = vdis->refs[i];
        map_put(scan->by_uuid, row_uuid(vdi), k);
        if (*row_str(vdi, F_VDI_location)) map_put(scan->by_location, row_str(vdi, F_VDI_location), k);
    }
}

static struct known *find_known(struct scan *scan, const struct value *found)
{
    const char *uuid = value_get_str(found, "uuid", ""), *location = value_get_str(found, "location", "");
    struct known *k = *uuid ? map_get(scan->by_uuid, uuid) : NULL;

    if (!k && *location) k = map_get(scan->by_location, location);
    return k;
}

static void set_managed(struct txn *t, struct ref vdi, bool managed)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VDI, vdi);

    if (row && row_bool(row, F_VDI_managed) != managed) txn_set_bool(t, vdi, F_VDI_managed, managed);
}

static void add_record(struct scan *scan, const struct value *found)
{
    const char *uuid = value_get_str(found, "uuid", "");
    bool managed = answer_bool(found, "managed", true), only_log = streq(value_get_str(found, "type", ""), "cbt_metadata");
    struct ref vdi = ref_new();
    struct txn *t = scan->t;

    if (*uuid && snap_by_uuid(txn_snap(t), CLASS_VDI, uuid)) {
        log_warn("disk %s in SR %s is known in another SR: not added", uuid, scan->sr->uuid);
        return;
    }
    txn_create(t, CLASS_VDI, vdi);
    if (*uuid) txn_set_str(t, vdi, F_VDI_uuid, uuid);
    txn_set_str(t, vdi, F_VDI_name_label, value_get_str(found, "name_label", managed ? "" : "base copy"));
    txn_set_str(t, vdi, F_VDI_name_description, value_get_str(found, "name_description", ""));
    txn_set_ref(t, vdi, F_VDI_SR, scan->sr->ref);
    txn_set_enum(t, vdi, F_VDI_type, only_log ? vdi_type_cbt_metadata : vdi_type_user);
    if (only_log || answer_bool(found, "is_a_snapshot", false)) txn_set_bool(t, vdi, F_VDI_is_a_snapshot, true);
    txn_set_bool(t, vdi, F_VDI_read_only, answer_bool(found, "read_only", false));
    txn_set_bool(t, vdi, F_VDI_managed, managed);
    vdi_put_answer(t, vdi, found);
    lifecycle_refresh(t, CLASS_VDI, vdi);
    scan->added++;
}

static void take_found(struct scan *scan, const struct value *found)
{
    struct known *k = find_known(scan, found);

    if (!k && storage_is_being_made(scan->c->agent->storage, value_get_str(found, "uuid", ""))) return;
    if (!k) {
        add_record(scan, found);
        return;
    }
    k->found = true;
    vdi_put_answer(scan->t, k->ref, found);
    set_managed(scan->t, k->ref, answer_bool(found, "managed", true));
}

/* What a new record is a snapshot of, as the driver's notes say: both are there now. */
static void link_snapshot(struct scan *scan, const struct value *found)
{
    const char *of = value_get_str(found, "snapshot_of", ""), *uuid = value_get_str(found, "uuid", "");
    const struct row *disk = *of ? snap_by_uuid(txn_snap(scan->t), CLASS_VDI, of) : NULL;
    const struct row *snapshot = disk ? snap_by_uuid(txn_snap(scan->t), CLASS_VDI, uuid) : NULL;

    if (!snapshot || snap_get(txn_snap(scan->t), CLASS_VDI, row_ref(snapshot, F_VDI_snapshot_of))) return;
    if (!row_bool(snapshot, F_VDI_is_a_snapshot)) return;
    txn_set_ref(scan->t, row_ref_of(snapshot), F_VDI_snapshot_of, row_ref_of(disk));
}

static void take_gone(struct scan *scan, struct ref vdi)
{
    const struct row *row = snap_get(txn_snap(scan->t), CLASS_VDI, vdi);

    if (!row || !refmap_get(scan->before, vdi) || row_value(row, F_VDI_current_operations)->map.n) return;
    if (!row_bool(row, F_VDI_managed) || !scan->can_delete) {
        vdi_drop_row(scan->t, vdi);
        scan->removed++;
    } else if (!row_bool(row, F_VDI_missing)) {
        txn_set_bool(scan->t, vdi, F_VDI_missing, true);
        scan->missing++;
    }
}

static void sum_allocation(struct scan *scan)
{
    const struct snap *s = txn_snap(scan->t);
    const struct row *sr = snap_get(s, CLASS_SR, scan->sr->ref);
    const struct refset *vdis = row_refs(sr, F_SR_VDIs);
    int64_t sum = 0;

    for (size_t i = 0; i < vdis->n; i++) {
        const struct row *vdi = snap_get(s, CLASS_VDI, vdis->refs[i]);
        if (vdi && row_bool(vdi, F_VDI_managed) && row_enum(vdi, F_VDI_type) != vdi_type_cbt_metadata)
            sum += row_int(vdi, F_VDI_virtual_size);
    }
    if (row_int(sr, F_SR_virtual_allocation) != sum)
        txn_set_int(scan->t, scan->sr->ref, F_SR_virtual_allocation, sum);
}

static int apply(struct scan *scan, const struct value *answer, struct xerr *err)
{
    const struct value *vdis = value_get(answer, "vdis");

    scan->t = db_begin(scan->c->agent->db);
    if (!snap_need(txn_snap(scan->t), CLASS_SR, scan->sr->ref, err)) {
        db_abort(scan->t);
        return -1;
    }
    load_known(scan);
    for (size_t i = 0; i < vdis->set.n; i++)
        if (vdis->set.items[i].kind == VALUE_MAP) take_found(scan, &vdis->set.items[i]);
    for (size_t i = 0; i < vdis->set.n; i++)
        if (vdis->set.items[i].kind == VALUE_MAP) link_snapshot(scan, &vdis->set.items[i]);
    for (size_t i = 0; i < scan->n_known; i++)
        if (!scan->known[i].found) take_gone(scan, scan->known[i].ref);
    sum_allocation(scan);
    sr_put_space(scan->t, scan->sr->ref, answer);
    if (db_commit(scan->t, err)) return -1;
    log_info("scan of SR %s: %zu disks, %u new, %u missing, %u removed", scan->sr->uuid, vdis->set.n,
             scan->added, scan->missing, scan->removed);
    return 0;
}

/* A disk that is made while the driver looks is not gone because the driver did not see it. */
static void note_records(struct scan *scan)
{
    _cleanup_snap_ struct snap *s = db_snap(scan->c->agent->db);
    const struct row *sr = snap_get(s, CLASS_SR, scan->sr->ref);
    const struct refset *vdis = sr ? row_refs(sr, F_SR_VDIs) : NULL;

    for (size_t i = 0; vdis && i < vdis->n; i++) refmap_put(scan->before, vdis->refs[i], scan);
}

static bool has_record(struct call *c, const char *uuid)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return snap_by_uuid(s, CLASS_VDI, uuid);
}

/* Images that were made for records that never came. */
static void drop_cut_off(struct call *c, const struct storage_sr *sr, const char *const *uuids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        const struct storage_vdi vdi = { .uuid = uuids[i], .location = uuids[i] };
        struct value ignored;
        if (!has_record(c, uuids[i]) && driver_call(c, sr, &vdi, "vdi_delete", NULL, 0, NULL, &ignored, &err) &&
            !xerr_is(&err, "VDI_MISSING")) {
            _cleanup_free_ char *why = xerr_text(&err);
            log_warn("disk %s of SR %s, whose making was cut off, stays: %s", uuids[i], sr->uuid, why);
            continue;
        }
        log_info("disk %s of SR %s: its making was cut off; what was there of it has gone", uuids[i], sr->uuid);
        storage_making_end(c->agent->storage, uuids[i]);
    }
}

int sr_scan_records(struct call *c, const struct storage_sr *sr, int deadline_ms, struct xerr *err)
{
    _cleanup_refmap_ struct refmap *before = refmap_new();
    struct scan scan = {
        .c = c, .sr = sr, .before = before, .can_delete = sr_has_feature(c, sr, "VDI_DELETE")
    };
    const char *const *cut_off;
    struct value answer;

    note_records(&scan);
    const size_t n_cut_off = scan.can_delete ? storage_cut_off(c->agent->storage, sr->uuid, c->arena, &cut_off) : 0;
    if (storage_call(c->agent->storage, sr, NULL, "sr_scan", NULL, 0, NULL, deadline_ms, c->arena, &answer,
                     err))
        return -1;
    const struct value *vdis = value_get(&answer, "vdis");
    if (!vdis || vdis->kind != VALUE_SET) return 0;   /* a foreign driver has called back instead */
    scan.by_uuid = map_new();
    scan.by_location = map_new();
    int rc = apply(&scan, &answer, err);
    map_free(scan.by_uuid);
    map_free(scan.by_location);
    if (!rc && n_cut_off) drop_cut_off(c, sr, cut_off, n_cut_off);
    return rc;
}
