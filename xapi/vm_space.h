/* VMs that wait for room where their disks lie.
 * Called by: vm_monitor.c, vm_power.c, jobs/jobs.c.  Calls: nothing. */
#ifndef XAPI_VM_SPACE_H
#define XAPI_VM_SPACE_H

#include "xapi/call/call.h"

/* VM.other_config: the engine has paused the VM because a repository was full. Its value: bytes that were free there when
 * going on was tried last, 0 = not yet. */
#define VM_SPACE_KEY "paused-no-space"

/* Within the transaction that says Paused: the VM waits for room. What was tried before is remembered. */
void vm_space_note(struct txn *t, struct ref vm);
/* Somebody wants the VM paused: it is not to go on by itself. */
void vm_space_forget(struct txn *t, struct ref vm);
/* Unpauses those of this host's VMs that wait and whose repositories have room again: at least 64 MiB, and so much more than
 * when that did not help. Asks drivers: blocks. */
void vm_space_look(struct agent *agent);

#endif
