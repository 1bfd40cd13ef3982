/* Addresses of host interfaces as their neighbours need them.
 * Called by: network.c (startup), host_management.c, jobs.  Calls: net/, db/. */
#ifndef XAPI_PIF_IP_H
#define XAPI_PIF_IP_H

#include "xapi/call/call.h"

/* An address of the management interface that an earlier agent did not live to prove is taken back. Before network_apply(). */
int pif_ip_startup(struct call *c, struct xerr *err);
/* resolv.conf below the machine's configuration says what the management interface's DNS says; without one it stays. */
void pif_resolvers(struct call *c);

/* While the way to this host is being changed and not proven: how it was is kept in a file, with which an agent begins that was killed
 * meanwhile. "management": the uuid of the interface that has it ("" = none); "bond": what bond_before() says. Errors: INTERNAL_ERROR. */
int pif_fallback_begin(struct call *c, const char *what, struct value was, struct xerr *err);
void pif_fallback_end(struct call *c);

#endif
