/* The hypervisor's guests and the host's devices against the records.
 * Called by: startup, main.c, vm_monitor.c, the gate of operations.  Calls: vm_power.c, vm_device.c, hv/, db/. */
#ifndef XAPI_VM_RESYNC_H
#define XAPI_VM_RESYNC_H

#include "xapi/call/call.h"

/* Compares the hypervisor's guests with the database and repairs the database; ends domains that no committed start stands behind;
 * unplugs what no committed plug stands behind. At the start and when the engine came back. Errors: the engine's. Blocks. */
int vm_resync(struct agent *agent, struct xerr *err);

/* A change of this VM happened, or part of it, and its commit failed: it is compared with what is there on a thread of ours, again
 * and again until the record says what is so. Returns at once. NULL is fine. */
struct vm_doubts;
void vm_doubt(struct vm_doubts *d, struct ref vm);

/* The records say how the host's network is to be, and it could not be made so: it is tried again, as above. */
void network_doubt(struct vm_doubts *d);

struct vm_doubts *vm_doubts_new(struct agent *agent);
/* Begins with those that came before. */
void vm_doubts_run(struct vm_doubts *d);
/* Finishes the one that it is at; the next agent compares all. NULL is fine. */
void vm_doubts_stop(struct vm_doubts *d);
void vm_doubts_free(struct vm_doubts *d);

#endif
