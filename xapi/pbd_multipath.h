/* How many paths lead to the disks of repositories on block networks.
 * Called by: jobs, main.c.  Calls: db/, dmsetup(8), sysfs. */
#ifndef XAPI_PBD_MULTIPATH_H
#define XAPI_PBD_MULTIPATH_H

#include "xapi/call/call.h"

/* Looks, where this host has such repositories plugged through multipath, and notes for clients in the PBD's other_config:
 * multipathed = "true", mpath-<SCSI id> = "[paths that work, paths there were]". A map whose paths fail or come back is told as
 * the alert MULTIPATH_PERIODIC_ALERT of the host. Blocks up to some seconds. */
void pbd_multipath_look(struct agent *agent);

struct multipath_paths { int working, all; };
/* The paths in a line of `dmsetup status` of a multipath map, behind its "NAME: ". */
struct multipath_paths multipath_count(const char *status);

#endif
