/* Class VDI: copying the content of a disk to another disk, in any repository.
 * Called by: the generated thunks (schema/vdi.xml).  Calls: sr.h, storage/, db/. */
#define LOG_MODULE "vdi"
#include "xapi/sr.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/unfinished.h"

static bool on_progress(void *arg, double fraction)
{
    struct call *c = arg;

    call_progress(c, fraction);
    return !call_cancelled(c);
}

static void detach(struct call *c, struct ref vdi, const char *owner)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (vdi_detach(c, vdi, owner, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("disk %s stays attached after a copy: %s", REF_STR(vdi), why);
    }
}

/* base: what the target holds already, null = nothing is known of it. */
static int copy_attached(struct call *c, struct ref from, struct ref base, struct storage_copy *copy, const char *owner,
                         struct xerr *err)
{
    struct storage_changes changes;
    struct storage_disk disk;

    if (ref_is_null(base)) return storage_copy(c->agent->storage, copy, err);
    if (vdi_attach(c, base, owner, false, &disk, err)) return -1;
    disk.writable = false;
    copy->from.writable = false;
    vdi_find_changes(c, from, base, &changes);
    int rc = storage_copy_changes(c->agent->storage, copy, &disk, &changes, err);
    detach(c, base, owner);
    return rc;
}

static int copy_content(struct call *c, struct ref from, struct ref base, struct ref to, bool to_is_new, struct xerr *err)
{
    const char *owner = arena_printf(c->arena, "copy-%s", c->task->uuid);
    const char *base_owner = arena_printf(c->arena, "copy-base-%s", c->task->uuid);
    struct storage_copy copy = {
        .target_is_zero = to_is_new, .task = c->task->ref, .progress = on_progress, .arg = c
    };
    int rc = -1;

    if (vdi_attach(c, from, owner, false, &copy.from, err)) return -1;
    if (vdi_attach(c, to, owner, true, &copy.to, err) == 0) {
        rc = copy_attached(c, from, base, &copy, base_owner, err);
        detach(c, to, owner);
    }
    detach(c, from, owner);
    return rc;
}

/* What the target must be, and what a new one is to look like. */
static int read_source(struct call *c, struct ref vdi, struct vdi_new *ret_new, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VDI, vdi, err);
    struct value *other = arena_alloc(c->arena, sizeof(*other)),
                 *xenstore = arena_alloc(c->arena, sizeof(*other));
    struct value *tags = arena_alloc(c->arena, sizeof(*tags)),
                 *sm_config = arena_alloc(c->arena, sizeof(*tags));
    struct value_builder kept = value_builder(c->arena);

    if (!row) return -1;
    /* A raw image (a suspend image must be one) is copied to a raw image. */
    const char *image = row_map_str(row, F_VDI_sm_config, "type", NULL);
    if (image) value_put(&kept, "type", value_string(arena_strdup(c->arena, image)));
    *sm_config = value_built_map(&kept);
    *other = value_copy(c->arena, row_value(row, F_VDI_other_config));
    *xenstore = value_copy(c->arena, row_value(row, F_VDI_xenstore_data));
    *tags = value_copy(c->arena, row_value(row, F_VDI_tags));
    *ret_new = (struct vdi_new){
        .sr = row_ref(row, F_VDI_SR),
        .name_label = arena_strdup(c->arena, row_str(row, F_VDI_name_label)),
        .name_description = arena_strdup(c->arena, row_str(row, F_VDI_name_description)),
        .virtual_size = row_int(row, F_VDI_virtual_size),
        .type = row_enum(row, F_VDI_type),
        .sharable = row_bool(row, F_VDI_sharable),
        .other_config = other,
        .xenstore_data = xenstore,
        .sm_config = sm_config,
        .tags = tags,
    };
    return 0;
}

static int check_target(struct call *c, struct ref into, int64_t size, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VDI, into, err);

    if (!row) return -1;
    if (row_bool(row, F_VDI_read_only)) return xerr_vdi_readonly(err, REF_STR(into));
    if (row_int(row, F_VDI_virtual_size) < size)
        return xerr_vdi_too_small(err, REF_STR(into), arena_printf(c->arena, "%lld", (long long)size));
    return 0;
}

/* Reads the target's size on disk again. */
static void refresh(struct call *c, struct ref vdi)
{
    struct disk_ids ids;
    struct value answer;

    if (vdi_for_driver(c, vdi, &ids, NULL) || !sr_has_feature(c, &ids.sr, "VDI_UPDATE")) return;
    if (driver_call(c, &ids.sr, &ids.vdi, "vdi_update", NULL, 0, NULL, &answer, NULL)) return;
    struct txn *t = db_begin(c->agent->db);
    vdi_put_answer(t, vdi, &answer);
    sr_put_space(t, ids.sr.ref, &answer);
    db_commit(t, NULL);
}

/* base_vdi says that into_vdi holds that disk's content already, so that only differences need copying. A new disk holds nobody's:
 * it gets all. */
int vdi_copy(struct call *c, struct ref vdi, struct ref sr, struct ref base_vdi, struct ref into_vdi,
             struct ref *ret_result, struct xerr *err)
{
    const bool make = ref_is_null(into_vdi);
    struct ref target = into_vdi;
    struct vdi_new n;

    if (read_source(c, vdi, &n, err)) return -1;
    if (!ref_is_null(base_vdi)) {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!snap_need(s, CLASS_VDI, base_vdi, err)) return -1;
    }
    if (!ref_is_null(sr)) n.sr = sr;
    const bool ours = make && !c->unfinished;      /* a half-filled disk is no copy */
    if (ours) c->unfinished = "";
    int rc = make ? vdi_create_internal(c, &n, &target, err) : check_target(c, into_vdi, n.virtual_size, err);
    if (ours) c->unfinished = NULL;
    if (rc) return -1;
    if (copy_content(c, vdi, make ? REF_NULL : base_vdi, target, make, err) || (ours && unfinished_end_now(c, target, err))) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        if (make && vdi_destroy(c, target, &why)) {
            _cleanup_free_ char *text = xerr_text(&why);
            log_warn("half a copy, disk %s, stays: %s", REF_STR(target), text);
        }
        return -1;
    }
    refresh(c, target);
    *ret_result = target;
    return 0;
}
