/* Migration of VMs between pools: the receiver's side, behind an HTTP connection.
 * Called by: http/migrate.c.  Calls: nothing. */
#ifndef XAPI_VM_MIGRATE_H
#define XAPI_VM_MIGRATE_H

#include "xapi/call/call.h"

/* Takes in one VM from fd, a connected stream socket, and tells the sender of every failure itself. On failure nothing of the
 * VM stays. ret_vm: a reference. Blocks as long as the guest's memory takes. */
int vm_migrate_serve(struct call *c, int fd, struct value *ret_vm, struct xerr *err);

#endif
