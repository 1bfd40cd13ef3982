/* What the machine's settings need from outside a call.
 * Called by: jobs/, pool_machine.c.  Calls: db/. */
#ifndef XAPI_HOST_MACHINE_H
#define XAPI_HOST_MACHINE_H

#include "xapi/call/call.h"

/* SSH that was opened for a time (host.ssh_expiry) is closed when it is over; a machine that refuses is asked again. */
void host_close_expired_ssh(struct agent *agent);

#endif
