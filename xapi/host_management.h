/* Which of the host's cards clients reach it by, and whether they do.
 * Called by: main.c, pif.c, class files.  Calls: db/. */
#ifndef XAPI_HOST_MANAGEMENT_H
#define XAPI_HOST_MANAGEMENT_H

#include "xapi/call/call.h"

/* host.management_disable holds until management is given to a card again, also over a restart. */
bool host_management_is_disabled(const struct agent *agent);
/* Takes that back before the agent opens its listeners. root: its state directory. Errors: INTERNAL_ERROR. */
int host_management_allow(const char *root, struct xerr *err);
/* host.https_only. */
bool host_is_https_only(const struct agent *agent);
/* In a transaction that has read the cards anew: one of them has management (the one with our address, else the first), and
 * host.address is its address. */
void host_management_refresh(const struct agent *agent, struct txn *t);

#endif
