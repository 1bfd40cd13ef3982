/* A VM's card as the host's network has it: what is set up, from the records.
 * Called by: vif.c, vif_lock.c, main.c (cards that a hypervisor plugs).  Calls: net/, hv/, db/. */
#ifndef XAPI_VIF_CARD_H
#define XAPI_VIF_CARD_H

#include "xapi/call/call.h"
#include "xapi/hv/hv.h"
#include "xapi/net/net.h"

/* Text in an arena. */
struct card {
    struct ref vif, vm, network;
    const char *vm_uuid, *mac, *bridge;
    const char *tap;                   /* our tap's name, when the hypervisor does not plug */
    int64_t domid;
    unsigned device, mtu, network_mtu;
    bool attached;
    struct hv_nic_address ipv4, ipv6;  /* for tools in the guest */
    struct net_tap settings;           /* complete but for the name: bridge NULL when the card's mode is disabled */
};

int vif_card(struct arena *a, const struct snap *s, const struct row *vif, struct card *ret_card, struct xerr *err);
/* The interfaces of a card that is attached become as the records say now. */
int vif_card_apply(struct call *c, struct ref vif, struct xerr *err);
/* A hypervisor has made this interface for a card, or wants a tap. */
int vif_card_plugged(struct agent *agent, const struct hv_plugged *what, struct xerr *err);
/* After a start: taps of no card go, those that are there become as the records say. */
int vif_cards_startup(struct call *c, struct xerr *err);

#endif
