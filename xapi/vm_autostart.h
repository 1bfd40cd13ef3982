/* VMs that start by themselves when the host was booted.
 * Called by: jobs/.  Calls: db/, the gates. */
#ifndef XAPI_VM_AUTOSTART_H
#define XAPI_VM_AUTOSTART_H

#include "xapi/call/call.h"

/* True once after each boot of the host, false when only the agent was started anew (and on its very first start). The boot
 * is noted in ROOT/boot-id. */
bool vm_autostart_due(struct agent *agent);
/* Starts them; on a thread of its own, it lasts as long as their delays. */
void vm_autostart_run(struct agent *agent);

#endif
