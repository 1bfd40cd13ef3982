/* A VM's disks, network cards and consoles as a whole: what power operations attach and release.
 * Called by: vm_power.c, vm_resync.c.  Calls: vbd.c, vif.c, db/. */
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

int vm_settle_devices(struct call *c, struct ref vm, bool runs, const struct host_links *links, struct xerr *err)
{
    return vif_settle_all(c, vm, runs, links, err) || vbd_settle_all(c, vm, runs, err) ? -1 : 0;
}

/* What a guest shows: its screen, where it has one, then its text console. One with emulated hardware has the screen alone, as
 * clients want it that type at an installer (packer stops at a second one), unless its platform asks for a serial line:
 * hvm_serial, as the reference names it. One without has the screen that platform:framebuffer wishes for, and always the text. */
static bool shows(const struct row *vm, enum console_protocol protocol)
{
    const bool hvm = vm_domain_type(vm) == domain_type_hvm;
    const char *wish = row_map_str(vm, F_VM_platform, hvm ? "hvm_serial" : "framebuffer", "");

    if (hvm) return protocol == console_protocol_rfb || (*wish && !streq(wish, "none"));
    return protocol == console_protocol_vt100 || streq(wish, "true") || streq(wish, "1");
}

/* Some clients take the first one: sets are sorted by reference, so the screen gets the lesser one. */
static void add_consoles(struct call *c, struct txn *t, struct ref vm)
{
    static const enum console_protocol in_order[] = { console_protocol_rfb, console_protocol_vt100 };
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    const struct row *host = snap_get(txn_snap(t), CLASS_host, c->agent->host);
    struct ref refs[] = { ref_new(), ref_new() };

    if (!row || row_refs(row, F_VM_consoles)->n) return;
    if (ref_cmp(refs[0], refs[1]) > 0) {
        const struct ref lesser = refs[1];
        refs[1] = refs[0];
        refs[0] = lesser;
    }
    for (size_t i = 0; i < ARRAY_SIZE(in_order); i++) {
        if (!shows(row, in_order[i])) continue;
        txn_create(t, CLASS_console, refs[i]);
        txn_set_enum(t, refs[i], F_console_protocol, (int)in_order[i]);
        txn_set_str(t, refs[i], F_console_location, host_console_location(c->arena, host, refs[i]));
        txn_set_ref(t, refs[i], F_console_VM, vm);
        row = snap_get(txn_snap(t), CLASS_VM, vm);
    }
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
    add_consoles(c, t, vm);
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
