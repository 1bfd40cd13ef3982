/* Class VDI: records that a foreign storage driver makes and drops by itself, calling back while it works.
 * Called by: the generated thunks (schema/vdi.xml).  Calls: sr.h, db/. */
#include "gen/methods.h"
#include "xapi/call/lifecycle.h"
#include "xapi/sr.h"
#include "xapi/unfinished.h"

/* The transaction has the new row; -1 when an argument names nothing. */
static int check(const struct snap *s, const char *uuid, struct ref sr, int64_t virtual_size, int64_t physical_utilisation,
                 struct xerr *err)
{
    const struct row *twin = snap_by_uuid(s, CLASS_VDI, uuid);
    struct ref bytes;

    if (!uuid_from_text(uuid, &bytes)) return xerr_invalid_value(err, "uuid", uuid);
    if (twin) return xerr_db_uniqueness_constraint_violation(err, "VDI", "uuid", uuid);
    if (virtual_size < 0) return xerr_invalid_value(err, "virtual_size", "negative");
    if (physical_utilisation < 0) return xerr_invalid_value(err, "physical_utilisation", "negative");
    return call_need(s, CLASS_SR, sr, err) ? 0 : -1;
}

int vdi_db_introduce(struct call *c, const char *uuid, const char *name_label, const char *name_description, struct ref SR,
                     enum vdi_type type, bool sharable, bool read_only, const struct value *other_config, const char *location,
                     const struct value *xenstore_data, const struct value *sm_config, bool managed, int64_t virtual_size,
                     int64_t physical_utilisation, struct ref metadata_of_pool, bool is_a_snapshot, int64_t snapshot_time,
                     struct ref snapshot_of, bool cbt_enabled, struct ref *ret_result, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    struct ref vdi = ref_new();

    if (check(txn_snap(t), uuid, SR, virtual_size, physical_utilisation, err)) {
        db_abort(t);
        return -1;
    }
    txn_create(t, CLASS_VDI, vdi);
    txn_set_str(t, vdi, F_VDI_uuid, uuid);
    txn_set_str(t, vdi, F_VDI_name_label, name_label);
    txn_set_str(t, vdi, F_VDI_name_description, name_description);
    txn_set_ref(t, vdi, F_VDI_SR, SR);
    txn_set_enum(t, vdi, F_VDI_type, (int)type);
    txn_set_bool(t, vdi, F_VDI_sharable, sharable);
    txn_set_bool(t, vdi, F_VDI_read_only, read_only);
    txn_set_value(t, vdi, F_VDI_other_config, other_config);
    txn_set_str(t, vdi, F_VDI_location, location);
    txn_set_value(t, vdi, F_VDI_xenstore_data, xenstore_data);
    txn_set_value(t, vdi, F_VDI_sm_config, sm_config);
    txn_set_bool(t, vdi, F_VDI_managed, managed);
    txn_set_int(t, vdi, F_VDI_virtual_size, virtual_size);
    txn_set_int(t, vdi, F_VDI_physical_utilisation, physical_utilisation);
    txn_set_bool(t, vdi, F_VDI_is_a_snapshot, is_a_snapshot);
    txn_set_time(t, vdi, F_VDI_snapshot_time, snapshot_time);
    txn_set_bool(t, vdi, F_VDI_cbt_enabled, cbt_enabled);
    /* Drivers name what they remember, which may be gone. */
    if (snap_get(txn_snap(t), CLASS_VDI, snapshot_of)) txn_set_ref(t, vdi, F_VDI_snapshot_of, snapshot_of);
    if (snap_get(txn_snap(t), CLASS_pool, metadata_of_pool)) txn_set_ref(t, vdi, F_VDI_metadata_of_pool, metadata_of_pool);
    if (c->making) {
        unfinished_mark(c, t, vdi);
        txn_map_put_str(t, vdi, F_VDI_sm_config, UNFINISHED_CALL_KEY, c->making);
    }
    if (managed) sr_add_allocation(t, SR, virtual_size);
    lifecycle_refresh(t, CLASS_VDI, vdi);
    if (db_commit(t, err)) return -1;
    *ret_result = vdi;
    return 0;
}

int vdi_db_forget(struct call *c, struct ref vdi, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!call_need(txn_snap(t), CLASS_VDI, vdi, err)) {
        db_abort(t);
        return -1;
    }
    vdi_drop_row(t, vdi);
    return db_commit(t, err);
}
