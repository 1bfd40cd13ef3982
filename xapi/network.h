/* Networks as their neighbours need them.
 * Called by: startup, vif.c, pif*.c.  Calls: net/, db/. */
#ifndef XAPI_NETWORK_H
#define XAPI_NETWORK_H

#include "xapi/call/call.h"

struct net_interface;

/* A default internal network at first start; a network and a PIF for every NIC of the host that has none yet. */
int network_startup(struct call *c, struct xerr *err);

/* Bridges of ours that neither a record nor an interface is on go: at a start, when the cards of guests that did not live have gone. */
int network_tidy(struct call *c, struct xerr *err);

/* Whether disks are served over NBD, and how. The purposes of a pool's networks do not contradict each other. */
enum nbd_purpose { NBD_OFF, NBD_TLS, NBD_INSECURE };
/* address: of this host, by which a client came; the loopback's are always good. NULL: by any. */
enum nbd_purpose network_nbd_purpose(struct agent *agent, const char *address);
/* Adds each address of this host on a network that serves NBD to texts (in a, at most max). */
size_t network_nbd_addresses(struct agent *agent, struct arena *a, const char **texts, size_t max);

/* A name for a bridge that neither a record nor an interface has; text in a. */
const char *network_free_bridge(struct arena *a, const struct snap *s, const struct net_interface *interfaces, size_t n);

/* The interface that the network had here is gone: its bridge goes, too, with the address, unless guests are on it. */
void network_interface_gone(struct call *c, struct ref network);

/* The network can take cards of guests on this host now: its interface is plugged, or its bridge is made. Errors: HANDLE_INVALID;
 * BRIDGE_NOT_AVAILABLE [bridge] of a network that is not managed; as PIF.plug. */
int network_attach(struct call *c, struct ref network, struct xerr *err);
/* The same without doing anything. Errors: HANDLE_INVALID. */
int network_attach_check(struct call *c, struct ref network, struct xerr *err);

/* Records of the host's NICs; called by network_startup and PIF.scan. */
int pif_scan_host(struct call *c, struct xerr *err);

#endif
