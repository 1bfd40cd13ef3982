/* Class VDI: snapshot and clone, of disks at rest and of disks that a running VM writes to.
 * Called by: the generated thunks (schema/vdi.xml).  Calls: sr.h, storage/, hv/, db/. */
#define LOG_MODULE "vdi"
#include "xapi/sr.h"

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/unfinished.h"
#include "xapi/vbd.h"

struct wish {
    const char *command;           /* "vdi_snapshot", "vdi_clone" */
    bool snapshot;
    const struct value *driver_params;
    const char *new_uuid;
};

/* ---- the driver's part --------------------------------------------------------------------- */

static int call_phase(struct call *c, const struct disk_ids *ids, const struct wish *w, const char *attached,
                      const char *phase, const char *base_uuid, struct value *ret_answer, struct xerr *err)
{
    struct value_builder extra = value_builder(c->arena);

    value_put(&extra, "new_uuid", value_string(w->new_uuid));
    value_put(&extra, "driver_params", w->driver_params ? *w->driver_params : value_map(NULL, 0));
    value_put(&extra, "attached", value_string(attached));
    if (*phase) value_put(&extra, "phase", value_string(phase));
    if (*base_uuid) value_put(&extra, "base_uuid", value_string(base_uuid));
    struct value extra_map = value_built_map(&extra);
    return driver_call(c, &ids->sr, &ids->vdi, w->command, NULL, 0, &extra_map, ret_answer, err);
}

/* sm/README.md, "Snapshots of a disk in use": 1. the driver freezes the file and puts an empty image in
 * its place; 2. the guest goes on in that image; 3. the driver makes the snapshot. When 2 fails the
 * driver takes 1 back. */
static int take_online(struct call *c, const struct disk_ids *ids, const struct wish *w, const char *owner,
                       struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct value prepared, aborted;
    struct hv_disk disk;
    struct hv_id id;
    struct ref vbd;

    if (vbd_of_owner(c, owner, &vbd, &id)) return xerr_vdi_in_use(err, REF_STR(ids->vdi.ref), w->command + 4);
    if (call_phase(c, ids, w, "rw", "prepare", "", &prepared, err)) return -1;
    const char *base = value_get_str(&prepared, "base_uuid", "");
    struct storage_disk image = {
        .path = value_get_str(&prepared, "params", ""),
        .format = value_get_str(&prepared, "format", "qcow2"),
        .writable = true,
    };
    bool served = streq(image.format, "vhd");
    if (served ? storage_switch(c->agent->storage, ids->vdi.uuid, err)
               : vbd_describe(c, vbd, &image, &disk, err) || hv_disk_snapshot(c->agent->hv, id, &disk, err)) {
        if (call_phase(c, ids, w, "rw", "abort", base, &aborted, &ignored)) {
            _cleanup_free_ char *why = xerr_text(&ignored);
            log_error("disk %s stays frozen on base %s: %s", ids->vdi.uuid, base, why);
        }
        return -1;
    }
    return call_phase(c, ids, w, "rw", "finish", base, ret_answer, err);
}

/* ---- the record ---------------------------------------------------------------------------- */

static void copy_fields(struct call *c, struct txn *t, struct ref from, struct ref to)
{
    static const field_id fields[] = {
        F_VDI_SR,
        F_VDI_name_label,
        F_VDI_name_description,
        F_VDI_virtual_size,
        F_VDI_type,
        F_VDI_sharable,
        F_VDI_other_config,
        F_VDI_xenstore_data,
        F_VDI_sm_config,
        F_VDI_tags,
        F_VDI_allow_caching,
        F_VDI_on_boot,
        F_VDI_metadata_of_pool,
    };

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct row *row = snap_get(txn_snap(t), CLASS_VDI, from);
        if (!row) return;
        struct value v = row_field_value(row, model_field(fields[i]), c->arena);
        txn_set_field(t, to, fields[i], &v);
    }
    txn_map_remove(t, to, F_VDI_sm_config, "vhd-parent");
    unfinished_end(t, CLASS_VDI, to);
}

static int commit_copy(struct call *c, const struct disk_ids *ids, const struct wish *w,
                       const struct value *answer, struct ref *ret_vdi, struct xerr *err)
{
    const char *uuid = value_get_str(answer, "uuid", w->new_uuid);
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_by_uuid(txn_snap(t), CLASS_VDI, uuid);
    struct ref vdi = row ? row_ref_of(row) : ref_new();
    int64_t counted = row ? row_int(row, F_VDI_virtual_size) : 0;

    if (!row) {
        txn_create(t, CLASS_VDI, vdi);
        txn_set_str(t, vdi, F_VDI_uuid, uuid);
    }
    copy_fields(c, t, ids->vdi.ref, vdi);
    if (c->unfinished) unfinished_mark(c, t, vdi);
    txn_set_bool(t, vdi, F_VDI_managed, true);
    txn_set_bool(t, vdi, F_VDI_is_a_snapshot, w->snapshot);
    if (w->snapshot) {
        txn_set_ref(t, vdi, F_VDI_snapshot_of, ids->vdi.ref);
        txn_set_time(t, vdi, F_VDI_snapshot_time, clock_wall_seconds());
    }
    vdi_put_answer(t, vdi, answer);
    row = snap_get(txn_snap(t), CLASS_VDI, vdi);
    if (row) sr_add_allocation(t, ids->sr.ref, row_int(row, F_VDI_virtual_size) - counted);
    /* Source and copy stand on the same base now. */
    const struct value *config = value_get(answer, "sm_config");
    const char *base = config ? value_get_str(config, "vhd-parent", "") : "";
    if (*base) txn_map_put_str(t, ids->vdi.ref, F_VDI_sm_config, "vhd-parent", base);
    sr_put_space(t, ids->sr.ref, answer);
    lifecycle_refresh(t, CLASS_VDI, vdi);
    if (db_commit(t, err)) return -1;
    vdi_cbt_alert(c, ids->vdi.ref, ids->vdi.uuid, value_get_str(answer, "cbt_alert", ""));
    *ret_vdi = vdi;
    return 0;
}

/* ---- both ---------------------------------------------------------------------------------- */

static int take(struct call *c, struct ref vdi, struct wish *w, struct ref *ret_vdi, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    const char *feature = w->snapshot ? "VDI_SNAPSHOT" : "VDI_CLONE";
    struct value answer;
    struct disk_ids ids;

    w->new_uuid = uuid_new(arena_alloc(c->arena, UUID_TEXT));
    if (vdi_for_driver(c, vdi, &ids, err) || sr_need_feature(c, &ids.sr, feature, err)) return -1;
    ids.sr.making = unfinished_making(c, w->new_uuid);
    storage_hold(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, &hold);
    if (storage_making_begin(c->agent->storage, ids.sr.uuid, w->new_uuid, err)) return -1;
    int rc = hold.writable ? take_online(c, &ids, w, hold.owner, &answer, err)
                           : call_phase(c, &ids, w, hold.owners ? "ro" : "", "", "", &answer, err);
    if (rc) {
        unfinished_failed(c, &ids.sr, w->new_uuid);
        storage_making_failed(c->agent->storage, w->new_uuid, err);
        return rc;
    }
    (void)fault_step("vdi.image");
    rc = commit_copy(c, &ids, w, &answer, ret_vdi, err);
    if (rc) {
        struct storage_vdi made = { .uuid = value_get_str(&answer, "uuid", w->new_uuid) };
        driver_undo(c, &ids.sr, &made, "vdi_delete");
    }
    storage_making_end(c->agent->storage, w->new_uuid);
    return rc;
}

int vdi_snapshot(struct call *c, struct ref vdi, const struct value *driver_params, struct ref *ret_result,
                 struct xerr *err)
{
    struct wish w = { .command = "vdi_snapshot", .snapshot = true, .driver_params = driver_params };

    return take(c, vdi, &w, ret_result, err);
}

int vdi_clone(struct call *c, struct ref vdi, const struct value *driver_params, struct ref *ret_result,
              struct xerr *err)
{
    struct wish w = { .command = "vdi_clone", .driver_params = driver_params };

    return take(c, vdi, &w, ret_result, err);
}
