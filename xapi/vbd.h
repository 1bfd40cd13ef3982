/* Virtual block devices as a VM's start and stop need them.
 * Called by: vm*.c, startup.  Calls: vdi.h, hv/, db/. */
#ifndef XAPI_VBD_H
#define XAPI_VBD_H

#include "xapi/call/call.h"
#include "xapi/hv/hv.h"
#include "xapi/storage/storage.h"

/* How long a guest has to let a disk go that it is to lose. */
enum { UNPLUG_FORCE_MS = 5000 };

/* Attaches the VBD's disk on this host and describes it for the hypervisor; the text lives in c->arena.
 * An empty CD drive is described as such. Nothing is written to the database: the caller sets
 * VBD.currently_attached (and device, see vbd_device()) in the commit that ends the VM's start. On
 * failure nothing stays attached. Errors: as vdi_attach(). Blocks. */
int vbd_attach(struct call *c, struct ref vbd, struct hv_disk *ret_disk, struct xerr *err);
/* Detaches the disk after the hypervisor let it go; success when it was not attached. Blocks. */
int vbd_detach(struct call *c, struct ref vbd, struct xerr *err);

/* Describes the VBD for the hypervisor without attaching anything: with this disk, or as an empty drive
 * when it is NULL (hot unplug, CD change). */
int vbd_describe(struct call *c, struct ref vbd, const struct storage_disk *disk, struct hv_disk *ret_disk,
                 struct xerr *err);

/* The VBD and the guest behind an owner in storage's ledger, when it is a VBD of a VM that runs on this
 * host's hypervisor. -1 otherwise. */
int vbd_of_owner(struct call *c, const char *owner, struct ref *ret_vbd, struct hv_id *ret_id);

/* All VBDs of a VM that can be attached, in device order; on failure all are detached again.
 * Errors: as vbd_attach(). */
int vbd_attach_all(struct call *c, struct ref vm, const struct hv_disk **ret_disks, size_t *ret_n,
                   struct xerr *err);
/* Around the hypervisor's opening of attached disks: storage_opening_begin(). */
void vbd_opening_begin(struct call *c, const struct hv_disk *disks, size_t n, struct storage_opening *ret_opening);
/* For a VM that nobody works on: a disk that is attached for a VBD although the record does not have it plugged is detached
 * (runs: taken from the guest first); a VBD whose disk is not attached any more is unplugged in the record, a CD drive empty.
 * Errors: the hypervisor's, the driver's, the database's. */
int vbd_settle_all(struct call *c, struct ref vm, bool runs, struct xerr *err);
/* Detaches every VBD of a VM; errors are logged and do not stop it. */
void vbd_detach_all(struct call *c, struct ref vm);

/* qos_algorithm_type and qos_algorithm_params as a record wants them. Errors: INVALID_VALUE [field or "field:key", value];
 * VALUE_NOT_SUPPORTED [field, value, why]. */
int vbd_qos_check(struct call *c, const char *type, const struct value *params, struct xerr *err);
/* In a transaction: qos_supported_algorithms. */
void vbd_qos_supported(struct call *c, struct txn *t, struct ref vbd);
/* limit_bytes, limit_requests. */
void vbd_qos_limits(const struct row *vbd, struct hv_disk *disk);
/* A guest has begun with all its drives, or got one: those it has are as urgent as they say, or there is an alert
 * VBD_QOS_FAILED. */
void vbd_qos_begun(struct call *c, struct hv_id id, bool all);

/* The name of device number 0, 1, ...: "xvda", "xvdb", ..., "xvdaa". In `a`. */
const char *vbd_device_name(struct arena *a, unsigned number);
/* The number of a userdevice or device text ("0", "xvda", "hda", "sda", "autodetect" gives -1); -2 when
 * it is none. */
int vbd_device_number(const char *text);

/* In a transaction: currently_attached of one VBD, its device name, and what is allowed on it and its
 * disk. */
void vbd_set_attached(struct txn *t, struct ref vbd, bool attached);
/* In a transaction: currently_attached of all VBDs of a VM (and allowed operations), when it starts or
 * stops. */
void vbd_set_attached_all(struct txn *t, struct ref vm, bool attached);

#endif
