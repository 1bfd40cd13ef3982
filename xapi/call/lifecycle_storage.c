/* Which operation is allowed on a disk image and on the repository that holds it: VDI and SR.
 * Called by: lifecycle.c.  Calls: db/. */
#include "xapi/call/lifecycle_table.h"

/* The SR driver's word for each VDI and SR operation, from SM.features; NULL = every driver can. */
static const char *const vdi_feature[] = {
    [vdi_operations_clone] = "VDI_CLONE",
    [vdi_operations_resize] = "VDI_RESIZE",
    [vdi_operations_resize_online] = "VDI_RESIZE_ONLINE",
    [vdi_operations_snapshot] = "VDI_SNAPSHOT",
    [vdi_operations_mirror] = "VDI_MIRROR",
    [vdi_operations_destroy] = "VDI_DELETE",
    [vdi_operations_update] = "VDI_UPDATE",
    [vdi_operations_generate_config] = "VDI_GENERATE_CONFIG",
    [vdi_operations_enable_cbt] = "VDI_CONFIG_CBT",
    [vdi_operations_disable_cbt] = "VDI_CONFIG_CBT",
    [vdi_operations_data_destroy] = "VDI_CONFIG_CBT",
    [vdi_operations_list_changed_blocks] = "VDI_CONFIG_CBT",
    [vdi_operations_set_on_boot] = "VDI_RESET_ON_BOOT",
    [vdi_operations_revert_to] = "VDI_REVERT",
    [vdi_operations_revert_from] = "VDI_REVERT",
    [vdi_operations_blocked] = NULL,
};

static const char *const sr_feature[] = {
    [storage_operations_scan] = "SR_SCAN",
    [storage_operations_update] = "SR_UPDATE",
    [storage_operations_vdi_create] = "VDI_CREATE",
    [storage_operations_vdi_introduce] = "VDI_INTRODUCE",
    [storage_operations_vdi_destroy] = "VDI_DELETE",
    [storage_operations_vdi_resize] = "VDI_RESIZE",
    [storage_operations_vdi_clone] = "VDI_CLONE",
    [storage_operations_vdi_snapshot] = "VDI_SNAPSHOT",
    [storage_operations_vdi_mirror] = "VDI_MIRROR",
    [storage_operations_vdi_enable_cbt] = "VDI_CONFIG_CBT",
    [storage_operations_vdi_disable_cbt] = "VDI_CONFIG_CBT",
    [storage_operations_vdi_data_destroy] = "VDI_CONFIG_CBT",
    [storage_operations_vdi_list_changed_blocks] = "VDI_CONFIG_CBT",
    [storage_operations_vdi_set_on_boot] = "VDI_RESET_ON_BOOT",
    [storage_operations_vdi_generate_config] = "VDI_GENERATE_CONFIG",
    [storage_operations_vdi_resize_online] = "VDI_RESIZE_ONLINE",
    [storage_operations_vdi_update] = "VDI_UPDATE",
    [storage_operations_vdi_revert] = "VDI_REVERT",
    [storage_operations_pbd_destroy] = NULL,
};

static const struct row *driver_of(const struct snap *s, const struct row *sr)
{
    SNAP_EACH (s, CLASS_SM, sm) {
        if (streq(row_str(sm, F_SM_type), row_str(sr, F_SR_type))) return sm;
    }
    return NULL;
}

/* Operations that need no feature, or one that the driver has. */
static uint64_t able(const struct snap *s, const struct row *sr, const char *const *features, size_t n, size_t n_operations)
{
    const struct row *sm = driver_of(s, sr);
    uint64_t bits = 0;

    for (size_t op = 0; op < n_operations; op++)
        if (op >= n || !features[op] || (sm && value_get(row_value(sm, F_SM_features), features[op]))) bits |= OP(op);
    return bits;
}

static bool sr_attached(const struct snap *s, const struct row *sr)
{
    const struct refset *pbds = row_refs(sr, F_SR_PBDs);

    for (size_t i = 0; i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        if (pbd && row_bool(pbd, F_PBD_currently_attached)) return true;
    }
    return false;
}

/* The first VBD that has the image open, or is about to, or NULL. */
static const struct row *open_vbd(const struct snap *s, const struct row *vdi)
{
    const struct refset *vbds = row_refs(vdi, F_VDI_VBDs);

    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        if (!vbd) continue;
        if (row_bool(vbd, F_VBD_currently_attached) || lifecycle_busy(vbd, F_VBD_current_operations)) return vbd;
    }
    return NULL;
}

static void look_vdi(struct facts *f)
{
    struct ref ref = row_ref(f->object, F_VDI_SR);

    f->open = open_vbd(f->s, f->object);
    const struct row *vm = f->open ? snap_get(f->s, CLASS_VM, row_ref(f->open, F_VBD_VM)) : NULL;
    f->of_snapshot = vm && row_bool(vm, F_VM_is_a_snapshot);
    f->lacks = vm && row_bool(f->open, F_VBD_currently_attached) ? lifecycle_lacks(f->s, vm) : "";
    if (f->sr && ref_eq(row_ref_of(f->sr), ref)) return;
    f->sr = snap_get(f->s, CLASS_SR, ref);
    if (!f->sr) return;
    f->able = able(f->s, f->sr, vdi_feature, ARRAY_SIZE(vdi_feature), lifecycle_operations(F_VDI_allowed_operations)->n);
    f->attached = sr_attached(f->s, f->sr);
}

/* Of a disk whose changed blocks are tracked, and of what is left of one whose data were destroyed. */
static int check_tracked(const struct row *vdi, int op, struct xerr *err)
{
    const uint64_t not_metadata = OP(vdi_operations_clone) | OP(vdi_operations_copy) | OP(vdi_operations_enable_cbt) |
                                  OP(vdi_operations_disable_cbt) | OP(vdi_operations_mirror) | OP(vdi_operations_resize) |
                                  OP(vdi_operations_resize_online) | OP(vdi_operations_snapshot) |
                                  OP(vdi_operations_set_on_boot) | OP(vdi_operations_revert_to) |
                                  OP(vdi_operations_revert_from);
    const uint64_t not_tracked = OP(vdi_operations_mirror) | OP(vdi_operations_set_on_boot);
    struct ref self = row_ref_of(vdi);

    if (row_enum(vdi, F_VDI_type) == vdi_type_cbt_metadata && not_metadata & OP(op))
        return xerr_vdi_incompatible_type(err, NAMED(err, self), "cbt_metadata");
    if (row_bool(vdi, F_VDI_cbt_enabled) && not_tracked & OP(op)) return xerr_vdi_cbt_enabled(err, NAMED(err, self));
    return 0;
}

static int check_cbt(const struct row *vdi, struct xerr *err)
{
    const int type = row_enum(vdi, F_VDI_type);
    struct ref self = row_ref_of(vdi);

    if (row_bool(vdi, F_VDI_is_a_snapshot)) return xerr_operation_not_allowed(err, "The disk is a snapshot");
    if (type != vdi_type_user && type != vdi_type_system)
        return xerr_vdi_incompatible_type(err, NAMED(err, self), model_field(F_VDI_type)->type->e->values[type]);
    if (row_enum(vdi, F_VDI_on_boot) == on_boot_reset) return xerr_vdi_on_boot_mode_incompatible_with_operation(err);
    return 0;
}

/* VBDs are looked at by the message itself, which waits for them. */
static int check_data_destroy(const struct row *vdi, struct xerr *err)
{
    if (!row_bool(vdi, F_VDI_is_a_snapshot)) return xerr_operation_not_allowed(err, "The disk is not a snapshot");
    if (!row_bool(vdi, F_VDI_cbt_enabled)) return xerr_vdi_no_cbt_metadata(err, NAMED(err, row_ref_of(vdi)));
    return 0;
}

static int check_vdi(const struct facts *f, int op, struct xerr *err)
{
    const struct row *vdi = f->object, *sr = f->sr;
    struct ref self = row_ref_of(vdi);
    const char *name = lifecycle_operations(F_VDI_allowed_operations)->values[op];

    if (!sr) return xerr_handle_invalid(err, "SR", NAMED(err, row_ref(vdi, F_VDI_SR)));
    if (!(f->able & OP(op))) return xerr_sr_operation_not_supported(err, NAMED(err, row_ref_of(sr)));
    if (op == vdi_operations_forget) return f->open ? xerr_vdi_in_use(err, NAMED(err, self), name) : 0;
    if (!f->attached) return xerr_sr_has_no_pbds(err, NAMED(err, row_ref_of(sr)));
    if (!row_bool(vdi, F_VDI_managed)) return xerr_vdi_not_managed(err, NAMED(err, self));

    if (check_tracked(vdi, op, err)) return -1;
    switch ((enum vdi_operations)op) {
    case vdi_operations_enable_cbt:
    case vdi_operations_disable_cbt:
        return check_cbt(vdi, err);
    case vdi_operations_data_destroy:
        return check_data_destroy(vdi, err);
    case vdi_operations_destroy:
    case vdi_operations_resize:
    case vdi_operations_set_on_boot:
    case vdi_operations_revert_to:
        return f->open ? xerr_vdi_in_use(err, NAMED(err, self), name) : 0;
    case vdi_operations_blocked:
        return xerr_operation_not_allowed(err, "This operation cannot be asked for");
    case vdi_operations_clone:
    case vdi_operations_copy:
    case vdi_operations_resize_online:
    case vdi_operations_snapshot:
    case vdi_operations_forget:
    case vdi_operations_update:
    case vdi_operations_force_unlock:
    case vdi_operations_generate_config:
    case vdi_operations_revert_from:
        return 0;
    case vdi_operations_mirror:
        return lifecycle_need_verb(f->lacks, "disk-mirror", err);
    case vdi_operations_list_changed_blocks:
        return f->open && !f->of_snapshot ? xerr_vdi_in_use(err, NAMED(err, self), name) : 0;
    }
    return xerr_operation_not_allowed(err, "unknown operation");
}

/* Several readers of one image may run side by side. */
static bool vdi_beside(int op, int running)
{
    const uint64_t readers = OP(vdi_operations_clone) | OP(vdi_operations_copy) | OP(vdi_operations_list_changed_blocks);

    return readers & OP(op) && readers & OP(running);
}

static void look_sr(struct facts *f)
{
    f->sr = f->object;
    f->able = able(f->s, f->sr, sr_feature, ARRAY_SIZE(sr_feature), lifecycle_operations(F_SR_allowed_operations)->n);
    f->attached = sr_attached(f->s, f->sr);
}

static int check_sr(const struct facts *f, int op, struct xerr *err)
{
    const struct row *sr = f->object;
    struct ref self = row_ref_of(sr);
    bool attached = f->attached;

    if (!(f->able & OP(op))) return xerr_sr_operation_not_supported(err, NAMED(err, self));
    switch ((enum storage_operations)op) {
    case storage_operations_forget:
        return attached ? xerr_sr_has_pbd(err, NAMED(err, self)) : 0;
    case storage_operations_destroy:
        if (row_map_str(sr, F_SR_other_config, "indestructible", NULL)) return xerr_sr_indestructible(err, NAMED(err, self));
        return attached ? xerr_sr_has_pbd(err, NAMED(err, self)) : 0;
    case storage_operations_plug:
    case storage_operations_unplug:   /* of what is plugged already or not any more: fine */
    case storage_operations_pbd_create:
    case storage_operations_pbd_destroy:
        return 0;
    case storage_operations_scan:
    case storage_operations_update:
    case storage_operations_vdi_create:
    case storage_operations_vdi_introduce:
    case storage_operations_vdi_destroy:
    case storage_operations_vdi_resize:
    case storage_operations_vdi_clone:
    case storage_operations_vdi_snapshot:
    case storage_operations_vdi_mirror:
    case storage_operations_vdi_enable_cbt:
    case storage_operations_vdi_disable_cbt:
    case storage_operations_vdi_data_destroy:
    case storage_operations_vdi_list_changed_blocks:
    case storage_operations_vdi_set_on_boot:
    case storage_operations_vdi_blocked:
    case storage_operations_vdi_copy:
    case storage_operations_vdi_force_unlock:
    case storage_operations_vdi_forget:
    case storage_operations_vdi_generate_config:
    case storage_operations_vdi_resize_online:
    case storage_operations_vdi_update:
    case storage_operations_vdi_revert:
        return attached ? 0 : xerr_sr_has_no_pbds(err, NAMED(err, self));
    }
    return xerr_operation_not_allowed(err, "unknown operation");
}

/* Work on single images runs side by side; what concerns the whole repository runs alone. */
static bool sr_beside(int op, int running)
{
    const uint64_t whole = OP(storage_operations_destroy) | OP(storage_operations_forget) | OP(storage_operations_plug) |
                           OP(storage_operations_unplug) | OP(storage_operations_scan);

    return !(whole & OP(op)) && !(whole & OP(running));
}

const struct lifecycle_rules lifecycle_vdi = {
    .cls = CLASS_VDI,
    .allowed = F_VDI_allowed_operations,
    .current = F_VDI_current_operations,
    .look = look_vdi,
    .check = check_vdi,
    .beside = vdi_beside,
};

const struct lifecycle_rules lifecycle_sr = {
    .cls = CLASS_SR,
    .allowed = F_SR_allowed_operations,
    .current = F_SR_current_operations,
    .look = look_sr,
    .check = check_sr,
    .beside = sr_beside,
};
