/* Which operation is allowed on a VM's disks, network cards and TPM: VBD, VIF and VTPM.
 * Called by: lifecycle.c.  Calls: db/. */
#include "xapi/call/lifecycle_table.h"

#include "xapi/call/lifecycle.h"

static void look_vbd(struct facts *f)
{
    f->vm = snap_get(f->s, CLASS_VM, row_ref(f->object, F_VBD_VM));
}

static void look_vif(struct facts *f)
{
    f->vm = snap_get(f->s, CLASS_VM, row_ref(f->object, F_VIF_VM));
}

static void look_vtpm(struct facts *f)
{
    f->vm = snap_get(f->s, CLASS_VM, row_ref(f->object, F_VTPM_VM));
}

/* The VM must be in the state that plugging needs: running, or paused for unplugging in a hurry. */
static int need_running(const struct row *vm, struct xerr *err)
{
    int state = row_enum(vm, F_VM_power_state);

    if (state == vm_power_state_Running || state == vm_power_state_Paused) return 0;
    return lifecycle_bad_power_state(vm, 1u << vm_power_state_Running, err);
}

static int need_attached(bool wanted, bool attached, struct ref device, struct xerr *err)
{
    if (wanted == attached) return 0;
    return wanted ? xerr_device_already_detached(err, NAMED(err, device))
                  : xerr_device_already_attached(err, NAMED(err, device));
}

static int check_vbd(const struct facts *f, int op, struct xerr *err)
{
    const struct row *vbd = f->object, *vm = f->vm;
    struct ref self = row_ref_of(vbd);
    bool attached = row_bool(vbd, F_VBD_currently_attached);

    if (!vm) return xerr_handle_invalid(err, "VM", NAMED(err, row_ref(vbd, F_VBD_VM)));
    switch ((enum vbd_operations)op) {
    case vbd_operations_attach:
        return 0;
    case vbd_operations_insert:
    case vbd_operations_eject:
        if (row_enum(vbd, F_VBD_type) != vbd_type_CD) return xerr_vbd_not_removable_media(err, NAMED(err, self));
        if (op == vbd_operations_insert && !row_bool(vbd, F_VBD_empty)) return xerr_vbd_not_empty(err, NAMED(err, self));
        if (op == vbd_operations_eject && row_bool(vbd, F_VBD_empty)) return xerr_vbd_is_empty(err, NAMED(err, self));
        if (row_enum(vm, F_VM_power_state) == vm_power_state_Suspended) return need_running(vm, err);
        return 0;
    case vbd_operations_plug:
        return need_running(vm, err) || need_attached(false, attached, self, err) ? -1 : 0;
    case vbd_operations_unplug:
    case vbd_operations_unplug_force:
    case vbd_operations_pause:
    case vbd_operations_unpause:
        return need_running(vm, err) || need_attached(true, attached, self, err) ? -1 : 0;
    }
    return xerr_operation_not_allowed(err, "unknown operation");
}

static int check_vif(const struct facts *f, int op, struct xerr *err)
{
    const struct row *vif = f->object, *vm = f->vm;
    bool attached = row_bool(vif, F_VIF_currently_attached);

    if (!vm) return xerr_handle_invalid(err, "VM", NAMED(err, row_ref(vif, F_VIF_VM)));
    switch ((enum vif_operations)op) {
    case vif_operations_attach:
        return 0;
    case vif_operations_plug:
        return need_running(vm, err) || need_attached(false, attached, row_ref_of(vif), err) ? -1 : 0;
    case vif_operations_unplug:
        return need_running(vm, err) || need_attached(true, attached, row_ref_of(vif), err) ? -1 : 0;
    }
    return xerr_operation_not_allowed(err, "unknown operation");
}

static int check_vtpm(const struct facts *f, int op, struct xerr *err)
{
    const struct row *vm = f->vm;

    if (!vm) return xerr_handle_invalid(err, "VM", NAMED(err, row_ref(f->object, F_VTPM_VM)));
    switch ((enum vtpm_operations)op) {
    case vtpm_operations_destroy:
        return row_enum(vm, F_VM_power_state) == vm_power_state_Halted
                   ? 0 : lifecycle_bad_power_state(vm, 1u << vm_power_state_Halted, err);
    }
    return xerr_operation_not_allowed(err, "unknown operation");
}

/* A disk in use allows less, and what takes hold of its VBD uses it. */
static void disk_of_vbd(struct txn *t, struct ref vbd)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VBD, vbd);
    struct ref vdi = row ? row_ref(row, F_VBD_VDI) : REF_NULL;

    if (snap_get(txn_snap(t), CLASS_VDI, vdi)) lifecycle_refresh_one(t, CLASS_VDI, vdi);
}

const struct lifecycle_rules lifecycle_vbd = {
    .cls = CLASS_VBD,
    .allowed = F_VBD_allowed_operations,
    .current = F_VBD_current_operations,
    .look = look_vbd,
    .check = check_vbd,
    .dependents = disk_of_vbd,
};

const struct lifecycle_rules lifecycle_vif = {
    .cls = CLASS_VIF,
    .allowed = F_VIF_allowed_operations,
    .current = F_VIF_current_operations,
    .look = look_vif,
    .check = check_vif,
};

const struct lifecycle_rules lifecycle_vtpm = {
    .cls = CLASS_VTPM,
    .allowed = F_VTPM_allowed_operations,
    .current = F_VTPM_current_operations,
    .look = look_vtpm,
    .check = check_vtpm,
};
