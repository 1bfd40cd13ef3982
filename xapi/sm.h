/* Storage at the start of the agent: driver records, repositories plugged, the default repository.
 * Called by: startup.c.  Calls: storage/, sr.h. */
#ifndef XAPI_SM_H
#define XAPI_SM_H

#include "xapi/call/call.h"

/* SM rows of the installed drivers: made, refreshed, removed; then plugs and scans this host's repositories,
 * side by side, and waits two seconds for those that hang; drops attachments that no VBD stands behind; on
 * the first start makes "Local storage" (type file, root/sr) and the CD repository of the tools. Blocks. */
int storage_startup(struct call *c, struct xerr *err);

/* Drives that have this disk attached although their VMs have ended, because detaching it failed then, give it back. For calls that
 * hold an operation on the disk. Blocks. */
void storage_drop_left(struct call *c, const char *vdi_uuid);

#endif
