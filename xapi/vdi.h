/* Disks as other class files need them: attach, detach, create for the agent's own use.
 * Called by: vbd.c, vm*.c, startup.  Calls: storage/, db/. */
#ifndef XAPI_VDI_H
#define XAPI_VDI_H

#include "xapi/call/call.h"
#include "xapi/storage/storage.h"

/* Makes the disk's data reachable on this host for an owner (see storage_attach(): a VBD's uuid, or a
 * text of the caller's such as "suspend-<vm uuid>"). Its SR must be plugged here. The answer lives in
 * c->arena. Errors: HANDLE_INVALID; SR_HAS_NO_PBDS [sr]; SR_NOT_ATTACHED [sr]; VDI_MISSING [sr, vdi];
 * VDI_IN_USE [vdi, "attach"]; VDI_READONLY [vdi]; the driver's. Blocks. */
int vdi_attach(struct call *c, struct ref vdi, const char *owner, bool writable,
               struct storage_disk *ret_disk, struct xerr *err);
/* The other end; success when the owner has nothing. Blocks. */
int vdi_detach(struct call *c, struct ref vdi, const char *owner, struct xerr *err);

/* Owners of disks that NBD clients read are called this and something. */
#define VDI_NBD_OWNER "nbd-"
/* While only NBD clients have the disk: waits for them, a few seconds. They release it a moment after their last read. */
void vdi_await_nbd(struct call *c, const char *vdi_uuid);

/* A new disk for the agent's own use (suspend image, crash dump) without going through the gates.
 * type: enum vdi_type. Errors: as VDI.create. */
struct vdi_new {
    struct ref sr;
    const char *name_label, *name_description;
    int64_t virtual_size;
    int type;
    bool sharable, read_only;
    const struct value *other_config, *sm_config, *xenstore_data, *tags;   /* NULL = empty */
};
int vdi_create_internal(struct call *c, const struct vdi_new *what, struct ref *ret_vdi, struct xerr *err);

/* The uuid that repositories on block devices carry as their owner's; from the call's arena, NULL = no pool yet. */
const char *sr_pool_uuid(struct call *c, const struct snap *s);
bool sr_multipath(struct call *c, const struct snap *s);

/* This host's plugged PBD of the SR, for the driver. Fills ret_sr with text borrowed from c->arena.
 * Errors: HANDLE_INVALID; SR_HAS_NO_PBDS [sr]; SR_NOT_ATTACHED [sr]. */
int sr_for_driver(struct call *c, struct ref sr, bool need_plugged, struct storage_sr *ret_sr,
                  struct xerr *err);

#endif
