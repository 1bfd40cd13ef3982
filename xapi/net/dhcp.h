/* DHCP: one client process (udhcpc; for IPv6 dhcpcd) for each link that has an address from a server; what it was told.
 * Called by: net.c.  Calls: subproc, files below root/dhcp.
 *
 * The client only asks: a script (xapi/net/xapi-dhcp-event) writes what it was told to LINK.lease, and the address is set
 * like any other of the plan. A client outlives the agent and is known to the next one by a lock that it holds. */
#ifndef XAPI_NET_DHCP_H
#define XAPI_NET_DHCP_H

#include "xapi/net/net.h"

/* A copy of the plan with the addresses of leases filled in. */
const struct net_plan *dhcp_resolve(const char *dir, const struct net_plan *plan, struct arena *a);
/* Clients of links without DHCP end; before their addresses do, or the last that they see of a link confuses them. */
void dhcp_end_others(const char *dir, const struct net_plan *plan);
/* A client runs for every link with DHCP, with this script. 0 or -1 with a reason. */
int dhcp_run(const char *dir, const struct net_plan *plan, const char *script, char **ret_why);
bool dhcp_lease(const char *dir, const char *link, bool v6, struct arena *a, struct net_lease *ret_lease);
/* Changes whenever a lease does. */
uint64_t dhcp_state(const char *dir);

#endif
