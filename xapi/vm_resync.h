/* The hypervisor's guests and the host's devices against the records.
 * Called by: startup, main.c, vm_monitor.c.  Calls: vm_power.c, vm_device.c, hv/, db/. */
#ifndef XAPI_VM_RESYNC_H
#define XAPI_VM_RESYNC_H

#include "xapi/call/call.h"

/* Compares the hypervisor's guests with the database and repairs the database; ends domains that no committed start stands behind;
 * unplugs what no committed plug stands behind. At the start and when the engine came back. Errors: the engine's. Blocks. */
int vm_resync(struct agent *agent, struct xerr *err);

/* The same for one VM, or for the host's network (null): true when the record says what is so. */
bool vm_resync_one(struct agent *agent, struct ref vm);

#endif
