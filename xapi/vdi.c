/* Class VDI: disk images: made, found, changed, removed.
 * Called by: the generated thunks (schema/vdi.xml), vm*.c.  Calls: sr.h, storage/, hv/, db/. */
#define LOG_MODULE "vdi"
#include "xapi/vdi.h"

#include "gen/methods.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/sm.h"
#include "xapi/sr.h"
#include "xapi/unfinished.h"
#include "xapi/vbd.h"

static struct value size_arg(struct call *c, int64_t bytes)
{
    return value_string(arena_printf(c->arena, "%lld", (long long)bytes));
}

static struct value bool_arg(bool b)
{
    return value_string(b ? "true" : "false");
}

/* ---- create -------------------------------------------------------------------------------- */

static void put_map(struct txn *t, struct ref vdi, field_id f, const struct value *v)
{
    if (v && v->kind == VALUE_MAP && v->map.n) txn_set_value(t, vdi, f, v);
}

/* A scan that ran meanwhile, or a foreign driver's call-back, may have made the row already. */
static struct ref row_for(struct txn *t, const char *uuid, int64_t *ret_counted)
{
    const struct row *row = snap_by_uuid(txn_snap(t), CLASS_VDI, uuid);
    struct ref vdi = row ? row_ref_of(row) : ref_new();

    *ret_counted = row ? row_int(row, F_VDI_virtual_size) : 0;
    if (!row) {
        txn_create(t, CLASS_VDI, vdi);
        txn_set_str(t, vdi, F_VDI_uuid, uuid);
    }
    return vdi;
}

static int commit_new(struct call *c, const struct vdi_new *what, const char *uuid,
                      const struct value *answer, struct ref *ret_vdi, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    int64_t counted;
    struct ref vdi = row_for(t, uuid, &counted);

    txn_set_ref(t, vdi, F_VDI_SR, what->sr);
    txn_set_str(t, vdi, F_VDI_name_label, what->name_label);
    txn_set_str(t, vdi, F_VDI_name_description, what->name_description);
    txn_set_int(t, vdi, F_VDI_virtual_size, what->virtual_size);
    txn_set_enum(t, vdi, F_VDI_type, what->type);
    txn_set_bool(t, vdi, F_VDI_sharable, what->sharable);
    txn_set_bool(t, vdi, F_VDI_read_only, what->read_only);
    txn_set_bool(t, vdi, F_VDI_managed, true);
    put_map(t, vdi, F_VDI_other_config, what->other_config);
    put_map(t, vdi, F_VDI_sm_config, what->sm_config);
    put_map(t, vdi, F_VDI_xenstore_data, what->xenstore_data);
    if (what->tags && what->tags->kind == VALUE_SET && what->tags->set.n)
        txn_set_value(t, vdi, F_VDI_tags, what->tags);
    vdi_put_answer(t, vdi, answer);
    unfinished_end(t, CLASS_VDI, vdi);
    if (c->unfinished) unfinished_mark(c, t, vdi);
    const struct row *row = snap_get(txn_snap(t), CLASS_VDI, vdi);
    if (row) sr_add_allocation(t, what->sr, row_int(row, F_VDI_virtual_size) - counted);
    sr_put_space(t, what->sr, answer);
    lifecycle_refresh(t, CLASS_VDI, vdi);
    if (db_commit(t, err)) return -1;
    *ret_vdi = vdi;
    return 0;
}

int vdi_create_internal(struct call *c, const struct vdi_new *what, struct ref *ret_vdi, struct xerr *err)
{
    struct vdi_new n = *what;
    struct storage_sr sr;
    struct storage_vdi vdi = {
        .uuid = uuid_new(arena_alloc(c->arena, UUID_TEXT)),
        .type = model_field(F_VDI_type)->type->e->values[n.type],
        .sm_config = n.sm_config,
        .read_only = n.read_only,
        .sharable = n.sharable,
    };
    struct value answer;

    if (!n.name_label) n.name_label = "";
    if (!n.name_description) n.name_description = "";
    if (sr_for_driver(c, n.sr, true, &sr, err) || sr_need_feature(c, &sr, "VDI_CREATE", err)) return -1;
    const struct value args[] = {
        size_arg(c, n.virtual_size), value_string(n.name_label), value_string(n.name_description),
        value_string("OpaqueRef:NULL"), bool_arg(false), value_string("19700101T00:00:00Z"), value_string(""),
        bool_arg(n.read_only),
    };
    const char *wished = vdi.uuid;
    sr.making = unfinished_making(c, wished);
    if (storage_making_begin(c->agent->storage, sr.uuid, wished, err)) return -1;
    if (driver_call(c, &sr, &vdi, "vdi_create", args, ARRAY_SIZE(args), NULL, &answer, err)) {
        unfinished_failed(c, &sr, wished);
        storage_making_failed(c->agent->storage, wished, err);
        return -1;
    }
    (void)fault_step("vdi.image");
    vdi.uuid = value_get_str(&answer, "uuid", wished);
    int rc = commit_new(c, &n, vdi.uuid, &answer, ret_vdi, err);
    if (rc) driver_undo(c, &sr, &vdi, "vdi_delete");
    storage_making_end(c->agent->storage, wished);
    return rc;
}

static struct ref record_ref(const struct value *record, const char *key)
{
    const struct value *v = value_get(record, key);

    return v && v->kind == VALUE_REF ? v->ref : REF_NULL;
}

static bool record_bool(const struct value *record, const char *key)
{
    const struct value *v = value_get(record, key);

    return v && v->kind == VALUE_BOOL && v->b;
}

int vdi_create(struct call *c, const struct value *args, struct ref *ret_result, struct xerr *err)
{
    int type = enum_index(model_field(F_VDI_type)->type->e, value_get_str(args, "type", "user"));
    const struct value *size = value_get(args, "virtual_size");
    struct vdi_new n = {
        .sr = record_ref(args, "SR"),
        .name_label = value_get_str(args, "name_label", ""),
        .name_description = value_get_str(args, "name_description", ""),
        .virtual_size = size && size->kind == VALUE_INT ? size->i : 0,
        .type = type < 0 ? vdi_type_user : type,
        .sharable = record_bool(args, "sharable"),
        .read_only = record_bool(args, "read_only"),
        .other_config = value_get(args, "other_config"),
        .sm_config = value_get(args, "sm_config"),
        .xenstore_data = value_get(args, "xenstore_data"),
        .tags = value_get(args, "tags"),
    };

    return vdi_create_internal(c, &n, ret_result, err);
}

/* ---- introduce, forget --------------------------------------------------------------------- */

int vdi_introduce(struct call *c, const char *uuid, const char *name_label, const char *name_description,
                  struct ref SR, enum vdi_type type, bool sharable, bool read_only,
                  const struct value *other_config, const char *location, const struct value *xenstore_data,
                  const struct value *sm_config, bool managed, int64_t virtual_size,
                  int64_t physical_utilisation, struct ref metadata_of_pool, bool is_a_snapshot,
                  int64_t snapshot_time, struct ref snapshot_of, struct ref *ret_result, struct xerr *err)
{
    struct storage_vdi vdi = { .uuid = uuid, .location = location, .sm_config = sm_config };
    struct value new_uuid = value_string(uuid), answer;
    const struct member extra[] = { { "new_uuid", new_uuid } };
    const struct value extra_map = value_map(extra, 1);
    struct storage_sr sr;
    struct ref bytes;

    (void)managed, (void)virtual_size, (void)physical_utilisation;   /* the driver knows */
    if (*uuid && !uuid_from_text(uuid, &bytes)) return xerr_invalid_value(err, "uuid", uuid);
    if (sr_for_driver(c, SR, true, &sr, err) || sr_need_feature(c, &sr, "VDI_INTRODUCE", err)) return -1;
    if (driver_call(c, &sr, &vdi, "vdi_introduce", NULL, 0, &extra_map, &answer, err)) return -1;
    struct vdi_new n = {
        .sr = SR, .name_label = name_label, .name_description = name_description, .type = (int)type,
        .sharable = sharable, .read_only = read_only || answer_bool(&answer, "read_only", false),
        .other_config = other_config, .sm_config = sm_config, .xenstore_data = xenstore_data,
    };
    const char *chosen =
        value_get_str(&answer, "uuid", *uuid ? uuid : uuid_new(arena_alloc(c->arena, UUID_TEXT)));
    if (commit_new(c, &n, chosen, &answer, ret_result, err)) return -1;
    if (!is_a_snapshot && ref_is_null(metadata_of_pool)) return 0;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, *ret_result, F_VDI_is_a_snapshot, is_a_snapshot);
    txn_set_time(t, *ret_result, F_VDI_snapshot_time, snapshot_time);
    if (snap_get(txn_snap(t), CLASS_VDI, snapshot_of))
        txn_set_ref(t, *ret_result, F_VDI_snapshot_of, snapshot_of);
    if (snap_get(txn_snap(t), CLASS_pool, metadata_of_pool))
        txn_set_ref(t, *ret_result, F_VDI_metadata_of_pool, metadata_of_pool);
    return db_commit(t, err);
}

/* The ledger knows uses that no record shows yet, such as a VM that is about to start. */
static int check_unused(struct call *c, struct ref vdi, const char *operation, struct xerr *err)
{
    const struct storage_attachment *list;
    const char *uuid;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VDI, vdi, err);
        if (!row) return -1;
        uuid = arena_strdup(c->arena, row_uuid(row));
    }
    storage_drop_left(c, uuid);
    if (storage_attachments(c->agent->storage, NULL, uuid, c->arena, &list))
        return xerr_vdi_in_use(err, REF_STR(vdi), operation);
    return 0;
}

int vdi_forget(struct call *c, struct ref vdi, struct xerr *err)
{
    if (check_unused(c, vdi, "forget", err)) return -1;
    storage_making_settle(c->agent->storage);
    struct txn *t = db_begin(c->agent->db);
    vdi_drop_row(t, vdi);
    return db_commit(t, err);
}

/* ---- destroy ------------------------------------------------------------------------------- */

static int check_destroy(struct call *c, struct ref vdi, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VDI, vdi, err);

    if (!row) return -1;
    if (row_enum(row, F_VDI_type) == vdi_type_ha_statefile || row_enum(row, F_VDI_type) == vdi_type_redo_log)
        return xerr_operation_not_allowed(err, "The pool's high availability uses this disk");
    return row_bool(row, F_VDI_managed) ? 0 : xerr_vdi_not_managed(err, REF_STR(vdi));
}

/* A few disks that stand on the same base as this one, as far as the records say. */
static struct value find_siblings(struct call *c, struct ref vdi)
{
    enum { ENOUGH = 3 };
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VDI, vdi), *sr = row ? snap_get(s, CLASS_SR, row_ref(row, F_VDI_SR)) : NULL;
    const char *base = row ? row_map_str(row, F_VDI_sm_config, "vhd-parent", "") : "";
    const struct refset *vdis = sr && *base ? row_refs(sr, F_SR_VDIs) : NULL;
    struct value_builder found = value_builder(c->arena);
    size_t n = 0;

    for (size_t i = 0; vdis && i < vdis->n && n < ENOUGH; i++) {
        const struct row *other = snap_get(s, CLASS_VDI, vdis->refs[i]);
        if (!other || other == row || !streq(row_map_str(other, F_VDI_sm_config, "vhd-parent", ""), base)) continue;
        value_push(&found, value_string(arena_strdup(c->arena, row_uuid(other))));
        n++;
    }
    return value_built_set(&found);
}

/* A record whose image is on its way out goes with it, also after a kill. *ret_marked: by us. */
static int mark_dying(struct call *c, struct ref vdi, bool *ret_marked, struct xerr *err)
{
    const char *outer = c->unfinished;
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VDI, vdi);

    *ret_marked = row && !row_map_str(row, F_VDI_sm_config, UNFINISHED_KEY, NULL);
    if (!*ret_marked) {
        db_abort(t);
        return 0;
    }
    c->unfinished = UNFINISHED_DYING;
    unfinished_mark(c, t, vdi);
    c->unfinished = outer;
    return db_commit(t, err);
}

static void unmark_dying(struct call *c, struct ref vdi)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (unfinished_end_now(c, vdi, &err)) log_warn("disk %s is destroyed at the next start: %s", REF_STR(vdi), err.code);
}

int vdi_destroy(struct call *c, struct ref self, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct value answer = value_void();
    struct disk_ids ids;
    bool marked;

    if (check_destroy(c, self, err) || vdi_for_driver(c, self, &ids, err)) return -1;
    if (sr_need_feature(c, &ids.sr, "VDI_DELETE", err)) return -1;
    vdi_await_nbd(c, ids.vdi.uuid);
    storage_drop_left(c, ids.vdi.uuid);
    storage_hold(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, &hold);
    if (hold.owners) return xerr_vdi_in_use(err, REF_STR(self), "destroy");
    /* A disk that is gone already is as destroyed as it can be. */
    const struct member extra[] = { { "siblings", find_siblings(c, self) } };
    const struct value extra_map = value_map(extra, ARRAY_SIZE(extra));
    if (mark_dying(c, self, &marked, err)) return -1;
    if (driver_call(c, &ids.sr, &ids.vdi, "vdi_delete", NULL, 0, &extra_map, &answer, &why) &&
        !xerr_is(&why, "VDI_MISSING")) {
        if (marked) unmark_dying(c, self);
        return xerr_move(err, &why);
    }
    struct txn *t = db_begin(c->agent->db);
    vdi_drop_row(t, self);
    sr_put_space(t, ids.sr.ref, &answer);
    return db_commit(t, err);
}

/* ---- size ---------------------------------------------------------------------------------- */

static int commit_answer(struct call *c, const struct disk_ids *ids, const struct value *answer,
                         struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    vdi_put_answer(t, ids->vdi.ref, answer);
    const struct row *row = snap_get(txn_snap(t), CLASS_VDI, ids->vdi.ref);
    if (row) sr_add_allocation(t, ids->sr.ref, row_int(row, F_VDI_virtual_size) - ids->virtual_size);
    sr_put_space(t, ids->sr.ref, answer);
    if (db_commit(t, err)) return -1;
    vdi_cbt_alert(c, ids->vdi.ref, ids->vdi.uuid, value_get_str(answer, "cbt_alert", ""));
    return 0;
}

int vdi_resize(struct call *c, struct ref vdi, int64_t size, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    struct value arg = size_arg(c, size), answer;
    struct disk_ids ids;

    if (vdi_for_driver(c, vdi, &ids, err) || sr_need_feature(c, &ids.sr, "VDI_RESIZE", err)) return -1;
    storage_drop_left(c, ids.vdi.uuid);
    storage_hold(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, &hold);
    if (hold.owners) return xerr_vdi_in_use(err, REF_STR(vdi), "resize");
    if (driver_call(c, &ids.sr, &ids.vdi, "vdi_resize", &arg, 1, NULL, &answer, err)) return -1;
    return commit_answer(c, &ids, &answer, err);
}

/* The driver makes room. Then the guest's engine, which has the image open, grows it and tells the guest; what is no image but
 * a device has the size that the driver gave it. */
static int grow_in_guest(struct call *c, const struct disk_ids *ids, const char *owner, int64_t size,
                         struct value *ret_answer, struct xerr *err)
{
    const struct value arg = size_arg(c, size);
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, ids->sr.uuid, ids->vdi.uuid, c->arena, &list), i = 0;
    struct hv_disk disk;
    struct hv_id id;
    struct ref vbd;

    while (i < n && !streq(list[i].owner, owner)) i++;
    /* Who serves a disk over a socket has its size from the start on. */
    if (i == n || list[i].disk.socket || vbd_of_owner(c, owner, &vbd, &id))
        return xerr_vdi_in_use(err, REF_STR(ids->vdi.ref), "resize_online");
    if (vbd_describe(c, vbd, &list[i].disk, &disk, err) ||
        driver_call(c, &ids->sr, &ids->vdi, "vdi_resize_online", &arg, 1, NULL, ret_answer, err))
        return -1;
    const int64_t has = answer_int(ret_answer, "virtual_size", 0);
    return hv_disk_resize(c->agent->hv, id, &disk, has > size ? has : size, err);
}

int vdi_resize_online(struct call *c, struct ref vdi, int64_t size, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    struct value answer;
    struct disk_ids ids;

    if (vdi_for_driver(c, vdi, &ids, err) || sr_need_feature(c, &ids.sr, "VDI_RESIZE_ONLINE", err)) return -1;
    storage_hold(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, &hold);
    if (!hold.owners) {
        storage_release(&hold);
        return vdi_resize(c, vdi, size, err);
    }
    if (size <= ids.virtual_size)
        return xerr_vdi_too_small(err, REF_STR(vdi),
                                  arena_printf(c->arena, "%lld", (long long)ids.virtual_size));
    if (size > INT64_MAX - 511)
        return xerr_vdi_too_large(err, REF_STR(vdi), arena_printf(c->arena, "%lld", (long long)(INT64_MAX - 511)));
    size = (size + 511) & ~INT64_C(511);
    if (grow_in_guest(c, &ids, hold.owner, size, &answer, err)) return -1;
    if (sr_has_feature(c, &ids.sr, "VDI_UPDATE") &&
        driver_call(c, &ids.sr, &ids.vdi, "vdi_update", NULL, 0, NULL, &answer, err))
        return -1;
    return commit_answer(c, &ids, &answer, err);
}

/* ---- update and plain fields --------------------------------------------------------------- */

int vdi_update(struct call *c, struct ref vdi, struct xerr *err)
{
    struct value answer;
    struct disk_ids ids;

    if (vdi_for_driver(c, vdi, &ids, err) || sr_need_feature(c, &ids.sr, "VDI_UPDATE", err)) return -1;
    if (driver_call(c, &ids.sr, &ids.vdi, "vdi_update", NULL, 0, NULL, &answer, err)) return -1;
    return commit_answer(c, &ids, &answer, err);
}

static int set_bool(struct call *c, struct ref self, field_id f, bool value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!snap_need(txn_snap(t), CLASS_VDI, self, err)) {
        db_abort(t);
        return -1;
    }
    txn_set_bool(t, self, f, value);
    lifecycle_refresh(t, CLASS_VDI, self);
    return db_commit(t, err);
}

int vdi_set_read_only(struct call *c, struct ref self, bool value, struct xerr *err)
{
    if (value && check_unused(c, self, "set_read_only", err)) return -1;
    return set_bool(c, self, F_VDI_read_only, value, err);
}

int vdi_set_sharable(struct call *c, struct ref self, bool value, struct xerr *err)
{
    if (!value && check_unused(c, self, "set_sharable", err)) return -1;
    return set_bool(c, self, F_VDI_sharable, value, err);
}

int vdi_set_allow_caching(struct call *c, struct ref self, bool value, struct xerr *err)
{
    return set_bool(c, self, F_VDI_allow_caching, value, err);
}

/* on_boot = reset: the disk's content becomes a base that every start of its VM begins from. */
static int freeze(struct call *c, const struct disk_ids *ids, struct xerr *err)
{
    const struct member extra[] = { { "phase", value_string("freeze") } };
    const struct value extra_map = value_map(extra, 1);
    struct value answer;

    if (driver_call(c, &ids->sr, &ids->vdi, "vdi_snapshot", NULL, 0, &extra_map, &answer, err)) return -1;
    return commit_answer(c, ids, &answer, err);
}

int vdi_set_on_boot(struct call *c, struct ref self, enum on_boot value, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    struct disk_ids ids;

    if (vdi_for_driver(c, self, &ids, err) || sr_need_feature(c, &ids.sr, "VDI_RESET_ON_BOOT", err))
        return -1;
    storage_hold(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, &hold);
    if (hold.owners) return xerr_vdi_in_use(err, REF_STR(self), "set_on_boot");
    if (value == on_boot_reset && freeze(c, &ids, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_enum(t, self, F_VDI_on_boot, (int)value);
    return db_commit(t, err);
}

/* ---- attach -------------------------------------------------------------------------------- */

int vdi_attach(struct call *c, struct ref vdi, const char *owner, bool writable,
               struct storage_disk *ret_disk, struct xerr *err)
{
    struct disk_ids ids;

    if (vdi_for_driver(c, vdi, &ids, err)) return -1;
    int rc = storage_attach(c->agent->storage, &ids.sr, &ids.vdi, owner, writable, c->arena, ret_disk, err);
    if (rc && xerr_is(err, "VDI_IN_USE")) {
        xerr_clear(err);
        storage_drop_left(c, ids.vdi.uuid);
        rc = storage_attach(c->agent->storage, &ids.sr, &ids.vdi, owner, writable, c->arena, ret_disk, err);
    }
    if (rc) return -1;
    vdi_cbt_alert(c, vdi, ids.vdi.uuid, ret_disk->alert);
    return 0;
}

int vdi_detach(struct call *c, struct ref vdi, const char *owner, struct xerr *err)
{
    struct disk_ids ids;

    if (vdi_for_driver(c, vdi, &ids, err)) return -1;
    return storage_detach(c->agent->storage, &ids.sr, &ids.vdi, owner, err);
}
