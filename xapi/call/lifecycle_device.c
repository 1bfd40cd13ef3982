/* Which operation is allowed on a VM's disks and network cards: VBD and VIF.
 * Called by: lifecycle.c.  Calls: db/. */
#include "xapi/call/lifecycle_table.h"

#include "xapi/call/lifecycle.h"

static const struct row *vm_of(const struct snap *s, const struct row *device, field_id vm_field)
{
    return snap_get(s, CLASS_VM, row_ref(device, vm_field));
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
    return wanted ? xerr_device_already_detached(err, REF_STR(device))
                  : xerr_device_already_attached(err, REF_STR(device));
}

static int check_vbd(const struct snap *s, const struct row *vbd, int op, struct xerr *err)
{
    const struct row *vm = vm_of(s, vbd, F_VBD_VM);
    struct ref self = row_ref_of(vbd);
    bool attached = row_bool(vbd, F_VBD_currently_attached);

    if (!vm) return xerr_handle_invalid(err, "VM", REF_STR(row_ref(vbd, F_VBD_VM)));
    switch ((enum vbd_operations)op) {
    case vbd_operations_attach:
        return 0;
    case vbd_operations_insert:
    case vbd_operations_eject:
        if (row_enum(vbd, F_VBD_type) != vbd_type_CD) return xerr_vbd_not_removable_media(err, REF_STR(self));
        if (op == vbd_operations_insert && !row_bool(vbd, F_VBD_empty)) return xerr_vbd_not_empty(err, REF_STR(self));
        if (op == vbd_operations_eject && row_bool(vbd, F_VBD_empty)) return xerr_vbd_is_empty(err, REF_STR(self));
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

static int check_vif(const struct snap *s, const struct row *vif, int op, struct xerr *err)
{
    const struct row *vm = vm_of(s, vif, F_VIF_VM);
    bool attached = row_bool(vif, F_VIF_currently_attached);

    if (!vm) return xerr_handle_invalid(err, "VM", REF_STR(row_ref(vif, F_VIF_VM)));
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

const struct lifecycle_rules lifecycle_vbd = {
    .cls = CLASS_VBD,
    .allowed = F_VBD_allowed_operations,
    .current = F_VBD_current_operations,
    .check = check_vbd,
};

const struct lifecycle_rules lifecycle_vif = {
    .cls = CLASS_VIF,
    .allowed = F_VIF_allowed_operations,
    .current = F_VIF_current_operations,
    .check = check_vif,
};
