/* Virtual network cards as a VM's start and stop need them.
 * Called by: vm*.c, bond.c, vif_lock.c.  Calls: net/, hv/, db/. */
#ifndef XAPI_VIF_H
#define XAPI_VIF_H

#include "xapi/call/call.h"
#include "xapi/hv/hv.h"
#include "xapi/net/net.h"

/* Makes the tap of every VIF of a VM on its network's bridge (made too when it is missing) and describes the cards in
 * device order; text in c->arena. On failure no tap stays. Nothing is written to the database.
 * Errors: the network layer's. */
int vif_attach_all(struct call *c, struct ref vm, const struct hv_nic **ret_nics, size_t *ret_n, struct xerr *err);
/* Removes every tap of a VM; errors are logged. Bridges stay until their network is destroyed. */
void vif_detach_all(struct call *c, struct ref vm);
/* The interfaces of this host; from the call's arena. */
struct host_links {
    const struct net_interface *list;
    size_t n;
};

/* For a VM that nobody works on: a card whose interface is there although the record does not have it plugged is unplugged (runs: from
 * the guest, too); one whose tap is gone is unplugged in the record. Errors: the network's, the hypervisor's, the database's. */
int vif_settle_all(struct call *c, struct ref vm, bool runs, const struct host_links *links, struct xerr *err);
/* In a transaction: currently_attached of all VIFs of a VM (and their allowed operations). */
void vif_set_attached_all(struct txn *t, struct ref vm, bool attached);

/* Whether a card on this network may carry the VLANs of this set (int set; none is always good). Errors: VLAN_TAG_INVALID [tag];
 * NETWORK_INCOMPATIBLE_WITH_TRUNKS [network] of a network that is a VLAN itself. */
int vif_check_trunks(const struct snap *s, struct ref network, const struct value *trunks, struct xerr *err);

#endif
