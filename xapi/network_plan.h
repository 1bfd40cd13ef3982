/* The records of networks and host interfaces as a plan for the kernel.
 * Called by: network.c, pif*.c, bond.c, vlan.c, tunnel.c, startup.  Calls: db/ (reading), net/plan.h.
 *
 * Nothing here does I/O or has state: the plan is a function of the snapshot. What is wanted is in persistent fields
 * (PIF.currently_attached, ip_configuration_mode, Bond.slaves ...), so that a change is one transaction and then
 * network_apply(); an agent that was killed in between does the second half at its next start. */
#ifndef XAPI_NETWORK_PLAN_H
#define XAPI_NETWORK_PLAN_H

#include "xapi/call/call.h"
#include "xapi/net/plan.h"

/* Everything that this host is to have. Text in the arena. */
const struct net_plan *network_plan(const struct snap *s, struct ref host, struct arena *a);
/* The host's links become what the records say. Errors: as net_apply(). */
int network_apply(struct call *c, struct xerr *err);

/* The link that stands for an interface below its network's bridge: "eth0", "bond0", "eth0.5", "tun1a2b3c4d". */
const char *network_link_of(const struct snap *s, const struct row *pif, struct arena *a);
/* The interface's address on its network's bridge (or, not attached, on the card itself): whose name that is. */
const char *network_address_link(const struct snap *s, const struct row *pif, struct arena *a);

#endif
