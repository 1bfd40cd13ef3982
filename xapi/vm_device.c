/* A VM's disks, network cards and consoles as a whole: what power operations attach and release.
 * Called by: vm_power.c, vm_monitor.c.  Calls: vbd.c, vif.c, db/. */
#include "xapi/vm.h"

#define LOG_MODULE "vm"
#include "lib/log.h"
#include "xapi/host.h"
#include "xapi/vbd.h"
#include "xapi/vdi.h"
#include "xapi/vif.h"

int vm_attach_devices(struct call *c, struct ref vm, struct hv_vm *ret_vm, struct xerr *err)
{
    const struct hv_disk *disks;
    const struct hv_nic *nics;
    size_t n_disks, n_nics;

    if (vbd_attach_all(c, vm, &disks, &n_disks, err)) return -1;
    if (vif_attach_all(c, vm, &nics, &n_nics, err)) {
        vbd_detach_all(c, vm);
        return -1;
    }
    ret_vm->disks = disks;
    ret_vm->n_disks = n_disks;
    ret_vm->nics = nics;
    ret_vm->n_nics = n_nics;
    return 0;
}

void vm_detach_devices(struct call *c, struct ref vm)
{
    vif_detach_all(c, vm);
    vbd_detach_all(c, vm);
}

/* Clients want exactly one console: the screen where the guest has one, else the text console. */
static void add_console(struct call *c, struct txn *t, struct ref vm)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    const struct row *host = snap_get(txn_snap(t), CLASS_host, c->agent->host);
    struct ref console = ref_new();

    if (!row || row_refs(row, F_VM_consoles)->n) return;
    /* A guest without emulated hardware has one when platform:framebuffer wishes it. */
    const char *wish = row_map_str(row, F_VM_platform, "framebuffer", "");
    bool screen = vm_domain_type(row) == domain_type_hvm || streq(wish, "true") || streq(wish, "1");
    txn_create(t, CLASS_console, console);
    txn_set_enum(t, console, F_console_protocol, screen ? console_protocol_rfb : console_protocol_vt100);
    txn_set_str(t, console, F_console_location, host_console_location(c->arena, host, console));
    txn_set_ref(t, console, F_console_VM, vm);
}

static void remove_consoles(struct txn *t, struct ref vm)
{
    for (;;) {
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (!row || txn_failed(t) || !row_refs(row, F_VM_consoles)->n) return;
        txn_destroy(t, CLASS_console, row_refs(row, F_VM_consoles)->refs[0]);
    }
}

void vm_devices_started(struct call *c, struct txn *t, struct ref vm)
{
    vbd_set_attached_all(t, vm, true);
    vif_set_attached_all(t, vm, true);
    add_console(c, t, vm);
}

void vm_devices_stopped(struct txn *t, struct ref vm)
{
    vbd_set_attached_all(t, vm, false);
    vif_set_attached_all(t, vm, false);
    remove_consoles(t, vm);
}

static void log_undo(const char *what, struct ref object, struct xerr *err)
{
    if (!err->code) return;
    _cleanup_free_ char *why = xerr_text(err);
    log_error("%s %s while undoing: %s", what, REF_STR(object), why);
    xerr_clear(err);
}

void vm_undo_domain(struct call *c, struct hv_id id)
{
    struct xerr err = XERR_INIT;

    hv_destroy(c->agent->hv, id, &err);
    log_undo("domain of VM", id.vm, &err);
}

void vm_undo_vdi(struct call *c, struct ref vdi)
{
    struct xerr err = XERR_INIT;

    call_message(c, "VDI.destroy", ARGS(value_ref(vdi)), NULL, &err);
    log_undo("disk", vdi, &err);
}

void vm_undo_attach(struct call *c, struct ref vdi, const char *owner)
{
    struct xerr err = XERR_INIT;

    vdi_detach(c, vdi, owner, &err);
    log_undo("attached disk", vdi, &err);
}
