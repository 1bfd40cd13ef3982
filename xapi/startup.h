/* From an empty or an old database to an agent that serves: the ordered steps of start.
 * Called by: main.c.  Calls: class files, hv/, net/, storage/, db/. */
#ifndef XAPI_STARTUP_H
#define XAPI_STARTUP_H

#include "xapi/call/call.h"

/* The records that need no hypervisor: pool, host, control domain, templates. Fills agent->pool, host and dom0. */
int startup_records(struct agent *agent, struct xerr *err);
/* What the hypervisor, the network and the storage tell; afterwards every VM's record agrees with its domain. */
int startup_resources(struct agent *agent, struct xerr *err);

/* ---- host.c ---- */
int host_startup(struct agent *agent, struct xerr *err);
/* CPUs, memory and capabilities from the hypervisor. */
int host_refresh(struct call *c, struct xerr *err);

/* ---- pool.c ---- */
int pool_startup(struct agent *agent, struct xerr *err);

/* ---- template.c ---- */
int template_startup(struct agent *agent, struct xerr *err);

#endif
