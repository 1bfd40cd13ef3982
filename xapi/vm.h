/* What the files of class VM share with each other and with their neighbours.
 * Called by: vm*.c, startup.c, vbd.c, vif.c.  Calls: hv/, db/. */
#ifndef XAPI_VM_H
#define XAPI_VM_H

#include <pthread.h>

#include "xapi/call/call.h"
#include "xapi/hv/hv.h"

/* ---- vm_config.c: the record as the hypervisor wants it ---- */

/* Everything but disks and cards, copied into the call's arena.
 * Errors: VALUE_NOT_SUPPORTED, MEMORY_CONSTRAINT_VIOLATION. */
int vm_describe(struct call *c, const struct row *vm, struct hv_vm *ret_vm, struct xerr *err);
/* The same, of the record as it is now. Errors also HANDLE_INVALID. */
int vm_describe_now(struct call *c, struct ref vm, struct hv_vm *ret_vm, struct xerr *err);
/* The type the VM boots as: domain_type, or what the old HVM_boot_policy says. */
enum domain_type vm_domain_type(const struct row *vm);

/* ---- vm_limits.c: what its kind of guest takes ---- */

enum { VM_MAX_DISKS = 255, VM_MAX_NICS = 16 };

/* How many cards: what VM.recommendations says (number-of-vifs), at most VM_MAX_NICS. */
unsigned vm_max_nics(const struct row *vm);

/* ---- vm_device.c: a VM's disks, cards and consoles as a whole ---- */

/* Attaches every disk (VBD) and makes every tap (VIF) of the VM and lists them in ret_vm. On failure nothing stays. */
int vm_attach_devices(struct call *c, struct ref vm, struct hv_vm *ret_vm, struct xerr *err);
/* Detaches them all; what fails is logged and the rest goes on. */
void vm_detach_devices(struct call *c, struct ref vm);
/* Marks the devices attached, adds the console record. In the transaction that makes the VM Running. */
void vm_devices_started(struct call *c, struct txn *t, struct ref vm);
/* Marks them detached, removes console records. */
void vm_devices_stopped(struct txn *t, struct ref vm);

/* For a VM that nobody works on: devices that the host has for it and the records do not have as plugged are unplugged (runs: from the
 * guest, too), and cards and disks that the host has no more are unplugged in the records. Errors: the hypervisor's, the database's. */
struct host_links;     /* vif.h */
int vm_settle_devices(struct call *c, struct ref vm, bool runs, const struct host_links *links, struct xerr *err);

/* Undoing on the way out of a failure, where there is nobody left to tell: what fails is logged. */
void vm_undo_domain(struct call *c, struct hv_id id);
void vm_undo_vdi(struct call *c, struct ref vdi);
void vm_undo_attach(struct call *c, struct ref vdi, const char *owner);

/* ---- vm_nvram.c ---- */

/* Fills in the UEFI variables that the record has. Errors: INVALID_VALUE ["NVRAM:OVMF-variables", ..]. */
int vm_nvram_describe(struct call *c, const struct row *vm, struct hv_vm *ret_vm, struct xerr *err);
/* What the guest's firmware has by now goes into the record, and what its TPM has into that one's (vtpm.h); what fails is logged.
 * Nothing for a VM without, or where the hypervisor keeps none. */
void vm_nvram_save(struct call *c, struct ref vm);
/* Bytes of at most 4 MiB as a text for a record, by zlib and in base64, and back; from the call's arena.
 * Errors: INVALID_VALUE [what, ..]. */
const char *vm_pack(struct call *c, const void *bytes, size_t len);
int vm_unpack(struct call *c, const char *what, const char *text, unsigned char **ret, size_t *ret_len, struct xerr *err);

/* ---- vm_cloudinit.c ---- */

/* The disk with the VM's first configuration is there and says what other_config says; nothing when that says nothing.
 * Before a start. Errors: UUID_INVALID ["secret", uuid]; DEFAULT_SR_NOT_FOUND [sr]; as VDI.create and VBD.create. Blocks. */
int vm_cloud_init(struct call *c, struct ref vm, struct xerr *err);

/* ---- vm_plugin.c ---- */

/* Runs the host's plug-in of that name with the VM's uuid (vm_uuid) besides args. Errors: as host.call_plugin. */
int vm_plugin(struct call *c, struct ref vm, const char *plugin, const char *fn, const struct value *args, const char **ret_result,
              struct xerr *err);

/* ---- vm_power.c ---- */

/* The domain `domid` of this VM is gone: releases devices and makes the VM Halted, unless it has been started anew
 * since (domid differs). domid -1: whatever it was. Errors: the database's. */
int vm_make_halted(struct call *c, struct ref vm, int64_t domid, struct xerr *err);

/* The VM that was made so runs on this host from now on, as this domain. Errors: the database's. */
int vm_make_running(struct call *c, const struct hv_vm *made, int64_t domid, bool paused, struct xerr *err);
/* For a VM that the record has as running: an agent that was killed while it suspended it left an image. Of a VM that lives
 * on (alive) the image goes; one that is gone is Suspended when its image is whole (*ret_suspended). Errors: the database's. */
int vm_settle_suspend(struct call *c, struct ref vm, bool alive, bool *ret_suspended, struct xerr *err);

/* ---- vm_monitor.c: events of the hypervisor ---- */

struct vm_monitor;
struct vm_monitor *vm_monitor_new(struct agent *agent);
/* Begins to work on events, also those queued before. */
void vm_monitor_run(struct vm_monitor *m);
/* Finishes what it has begun, while the hypervisor is still there for it; later events are not worked on. NULL is fine. */
void vm_monitor_stop(struct vm_monitor *m);
void vm_monitor_free(struct vm_monitor *m);
/* The hypervisor's callback: queues and returns. arg is the monitor. */
void vm_monitor_event(void *arg, const struct hv_event *event);

/* ENDED: the engine does not restart guests; who asked for the reboot starts it again. */
enum vm_news { VM_NEWS_HALTED = 1, VM_NEWS_REBOOTED = 2, VM_NEWS_CRASHED = 4, VM_NEWS_ENDED = 8 };
/* Wakes those who wait for this news of the VM. */
void vm_tell(struct vm_monitor *m, struct ref vm, enum vm_news news);

/* Waiting for news of one VM: begin, ask the hypervisor, wait, end. */
struct vm_wait {
    struct vm_wait *next;
    struct ref vm;
    int news;              /* enum vm_news bits seen so far; lock: the monitor's */
    pthread_cond_t came;   /* with the monitor's lock: only those whom news concern wake up */
};
void vm_wait_begin(struct vm_monitor *m, struct vm_wait *w, struct ref vm);
void vm_wait_end(struct vm_monitor *m, struct vm_wait *w);
/* True when one of `wanted` came within timeout_ms; wakes early when the call is cancelled. */
bool vm_wait_for(struct vm_monitor *m, struct vm_wait *w, int wanted, int timeout_ms, const struct call *c);

/* One thread at a time brings a VM to its end: the guest's own shutdown and a forced one may meet. Begin waits its turn;
 * what the record says is read after it. */
struct vm_ending {
    struct vm_ending *next;
    struct ref vm;
};
void vm_ending_begin(struct vm_monitor *m, struct vm_ending *e, struct ref vm);
void vm_ending_end(struct vm_monitor *m, struct vm_ending *e);

/* ---- vm_guest.c: what guests say of themselves ---- */

/* Asks the guest, which runs as this domain, and writes its VM_guest_metrics when there is news. Blocks some seconds at most. */
int vm_guest_refresh(struct call *c, struct ref vm, const char *uuid, int64_t domid, struct xerr *err);
/* What it said goes with it. */
void vm_guest_forget(struct txn *t, struct ref vm);

/* ---- vm.c ---- */

/* A copy of a VM's record under a new reference and name, with its own metrics; devices are not copied.
 * snapshot: it is a snapshot of vm. */
struct ref vm_copy_record(struct call *c, struct txn *t, struct ref vm, const char *name, bool snapshot);
/* Removes the rows of a VM and of what belongs to it (VBDs, VIFs, consoles, metrics); VDIs stay. */
void vm_destroy_rows(struct txn *t, struct ref vm);

#endif
