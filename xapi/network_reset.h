/* An emergency reset of this host's network, as xe-reset-networking asked for it.
 * Called by: main.c, network.c (startup).  Calls: network_reset_file.c, db/. */
#ifndef XAPI_NETWORK_RESET_H
#define XAPI_NETWORK_RESET_H

#include "xapi/call/call.h"

/* Before the role is read and listeners are opened: the coordinator's new address, and management is no longer disabled. What
 * fails is logged: the agent starts. */
void network_reset_role(const char *root);
/* Before the network is made as the records say: the records are made anew. A wish that cannot be fulfilled is logged and put
 * aside (ROOT/network-reset.refused), and nothing changes. An agent that is killed meanwhile begins again. */
int network_reset_startup(struct call *c, struct xerr *err);

#endif
