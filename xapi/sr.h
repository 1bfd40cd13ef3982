/* What the storage class files share: SRs, disks and the driver's answers as records.
 * Called by: sr*.c, pbd.c, vdi*.c, sm.c.  Calls: storage/, db/. */
#ifndef XAPI_SR_H
#define XAPI_SR_H

#include "xapi/vdi.h"

/* sr_for_driver() is in vdi.h. */

/* The VDI for the driver, and its SR (as sr_for_driver(), plugged). Text in c->arena.
 * Errors: HANDLE_INVALID; as sr_for_driver(). */
struct disk_ids {
    struct storage_sr sr;
    struct storage_vdi vdi;
    int64_t virtual_size;
};
int vdi_for_driver(struct call *c, struct ref vdi, struct disk_ids *ret_ids, struct xerr *err);
/* SR_OPERATION_NOT_SUPPORTED [sr] unless the SR's driver has this feature. */
int sr_need_feature(struct call *c, const struct storage_sr *sr, const char *feature, struct xerr *err);
bool sr_has_feature(struct call *c, const struct storage_sr *sr, const char *feature);

/* storage_call() with c's arena and storage. args may be NULL. */
int driver_call(struct call *c, const struct storage_sr *sr, const struct storage_vdi *vdi,
                const char *command, const struct value *args, size_t n_args, const struct value *extra,
                struct value *ret_answer, struct xerr *err);
/* The same for undoing: errors are logged. */
void driver_undo(struct call *c, const struct storage_sr *sr, const struct storage_vdi *vdi,
                 const char *command);

/* A number of the answer (decimal text or int), or fallback. */
int64_t answer_int(const struct value *answer, const char *key, int64_t fallback);
bool answer_bool(const struct value *answer, const char *key, bool fallback);

/* In a transaction: the SR's sizes from any driver answer (sr_physical_size, sr_physical_utilisation). */
void sr_put_space(struct txn *t, struct ref sr, const struct value *answer);
/* In a transaction: virtual_allocation grows (shrinks) by this. */
void sr_add_allocation(struct txn *t, struct ref sr, int64_t bytes);
/* In a transaction: what a VDI answer says of the disk: location, sizes, sm_config (merged). */
void vdi_put_answer(struct txn *t, struct ref vdi, const struct value *answer);
/* Tracking of changed blocks has ended because of a failure: the record says so, and an alert. "" = it has not. */
void vdi_cbt_alert(struct call *c, struct ref vdi, const char *uuid, const char *alert);
/* Where the disk may differ from base: the driver may know, from logs of changed blocks or from the images that both stand on.
 * Neither may be written to meanwhile. From the call's arena; bits NULL: it is not known. */
void vdi_find_changes(struct call *c, struct ref vdi, struct ref base, struct storage_changes *ret_changes);
/* In a transaction: the VDI row goes; CD drives become empty, other VBDs of it go with it. */
void vdi_drop_row(struct txn *t, struct ref vdi);

/* allowed_operations of the SR and of its disks, after what they follow from has changed: the driver, a PBD. In
 * portions that hold nobody up. */
int sr_refresh_operations(struct call *c, struct ref sr, struct xerr *err);
/* At the start, before anything is plugged: SRs that an agent was making when it was killed go, with what the driver has made of them. */
void sr_unfinished_startup(struct call *c);

/* Disks whose move to another SR an earlier agent had begun: what it had not ended is undone, what it had is finished. After
 * the VMs that run are known. Blocks. */
int vdi_migrate_recover(struct call *c, struct xerr *err);

/* Asks the driver what is there and makes the records agree with it. Errors: the driver's. Blocks. */
int sr_scan_records(struct call *c, const struct storage_sr *sr, int deadline_ms, struct xerr *err);

/* Before the first merge: guests' engines let go of what an agent before this one may have merged under them.
 * Errors: the driver's. Blocks. */
int sr_gc_begin(struct call *c, struct ref sr, struct xerr *err);

/* One merge of what deleted snapshots left, when there is one to do, as a task that clients see and may cancel.
 * rate: bytes a second, 0 = no limit; *stop ends it early. *ret_left: merges still to do before this one; 0 = nothing was done.
 * What a step that did not come to its end left is ended by a scan first; *ret_waiting: some of it is open in a guest's engine
 * still, and nothing tells when that lets go.
 * Errors: the driver's; VDI_IO_ERROR [why]; TASK_CANCELLED [task]. Blocks, for hours if need be. */
int sr_gc_step(struct call *c, struct ref sr, int64_t rate, const atomic_bool *stop, size_t *ret_left, bool *ret_waiting,
               struct xerr *err);

/* sr_attach; marks the PBD plugged. deadline_ms: of the driver call, 0 = its own. Errors: the driver's. Blocks. */
int pbd_connect(struct call *c, struct ref pbd, int deadline_ms, struct xerr *err);
/* The same, and the first scan. */
int pbd_attach(struct call *c, struct ref pbd, struct xerr *err);
/* The PBD's record says whether it is plugged. */
int pbd_mark(struct call *c, struct ref pbd, bool plugged, struct xerr *err);
/* device_config with secrets in secret rows: password -> password_secret. In c->arena. */
int pbd_hide_secrets(struct call *c, const struct value *device_config, struct value *ret_config,
                     struct xerr *err);
/* The rows of the PBD and of the secrets its device_config names. */
void pbd_drop_row(struct txn *t, struct ref pbd);

#endif
