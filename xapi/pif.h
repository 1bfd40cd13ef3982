/* Host interfaces as their neighbours need them.
 * Called by: bond.c, vlan.c, tunnel.c, network.c, host_management.c, jobs.  Calls: net/, db/. */
#ifndef XAPI_PIF_H
#define XAPI_PIF_H

#include "xapi/call/call.h"

struct net_interface;

/* This host's own interface, managed by us. Errors: HANDLE_INVALID; HOST_OFFLINE [host]; PIF_UNMANAGED [PIF]. */
const struct row *pif_need_own(struct call *c, const struct snap *s, struct ref pif, struct xerr *err);
/* An interface with its metrics and no configuration, not attached. MAC, device: as given. */
struct ref pif_create_record(struct call *c, struct txn *t, const char *device, const char *mac, struct ref network, int64_t vlan,
                             bool physical);
/* The record of a card, on the network that its bridge has always been for, else on a new one. */
struct ref pif_create_physical(struct call *c, struct txn *t, const struct net_interface *nic);
/* With its metrics. */
void pif_destroy_record(struct txn *t, struct ref pif);
/* The network has no interface of this host yet. Errors: HANDLE_INVALID; NETWORK_ALREADY_CONNECTED [network, PIF];
 * NETWORK_UNMANAGED [network]. */
int pif_network_free(struct call *c, const struct snap *s, struct ref network, struct xerr *err);
/* No card of a guest that runs here is on the network of this interface or of a VLAN on it. Errors: VIF_IN_USE [network, VIF]. */
int pif_check_unused(const struct snap *s, const struct row *pif, struct xerr *err);
/* The field alone, of a bond with its members; the MTU is its network's from then on. */
void pif_set_attached(struct txn *t, struct ref pif, bool attached);
/* Attached is a field; this is the deed. An interface below (of a VLAN, a tunnel) comes first. What fails leaves the fields
 * as they were. Errors: as PIF.plug. */
int pif_bring_up(struct call *c, struct ref pif, struct xerr *err);
/* No VLAN, tunnel or bond stands on it. Errors: PIF_VLAN_STILL_EXISTS, PIF_TUNNEL_STILL_EXISTS, PIF_SRIOV_STILL_EXISTS,
 * PIF_ALREADY_BONDED [PIF]. */
int pif_check_bare(const struct row *pif, struct xerr *err);
/* The interface's address as the world sees it, checked: the gateway of a new configuration answers (when it has one).
 * Errors: PIF_CONFIGURATION_ERROR [PIF, why]. */
int pif_check_answers(struct call *c, struct ref pif, struct xerr *err);

/* The kernel's news: leases, links that lost or found their cable; bonds tell it as an alert. */
void pif_watch(struct agent *agent);

#endif
