/* What the host's network is to look like, and the steps from what is there to it.
 * Called by: network_plan.c (makes plans), the drivers.  Calls: nothing.
 *
 * A plan names links only: those that the agent makes itself (bridges, VLANs, bonds, tunnels) and the NICs they stand on. A
 * link that it makes carries the agent's mark from its birth on (the link's group: the kernel sets it in the call that
 * makes the link), so that after a crash at any point what is ours is told from what is not. What is neither marked nor
 * named in the plan is never touched. net_diff() is a pure function: the same plan and the same kernel give the same
 * steps, and none when they agree. */
#ifndef XAPI_NET_PLAN_H
#define XAPI_NET_PLAN_H

#include "lib/arena.h"

enum net_kind { NET_OTHER, NET_NIC, NET_BRIDGE, NET_VLAN, NET_BOND, NET_TUNNEL, NET_IFB, NET_TAP };

enum net_bond_mode { NET_BOND_SLB, NET_BOND_ACTIVE_BACKUP, NET_BOND_LACP };
struct net_bond {
    enum net_bond_mode mode;
    unsigned miimon_ms, updelay_ms, downdelay_ms;   /* link watch; 0 = at once */
    bool lacp_fast;                                 /* ask the partner for a sign every second */
    bool hash_ports;                                /* LACP: spread by addresses and ports, else by MACs */
    bool lacp_fallback;                             /* without a partner one link serves (Open vSwitch; the kernel always does so) */
    unsigned lacp_key;                              /* 1 to 65,535: links with the same one may share an aggregate; 0 = their own */
};

struct net_tunnel {
    bool vxlan;                                     /* else GRE */
    const char *local, *remote;                     /* addresses; remote "" (VXLAN): none yet */
    unsigned key;                                   /* VNI or GRE key */
};

enum net_ip_source { NET_IP_LEAVE, NET_IP_NONE, NET_IP_STATIC, NET_IP_DHCP, NET_IP_AUTOCONF };
struct net_ip {
    enum net_ip_source source;   /* LEAVE: whatever there is stays */
    const char *address;         /* STATIC: "192.0.2.7/24"; DHCP: what the lease says, filled in by the driver */
    const char *gateway;         /* "" or NULL: none through here */
};

struct net_link {
    enum net_kind kind;
    const char *name;            /* at most 15 characters */
    const char *master;          /* bridge or bond it is a port of; "" = of none of ours */
    const char *mac;             /* "" = as it is */
    unsigned mtu;                /* bytes; 0 = as it is */
    const char *parent;          /* VLAN: the link below it */
    unsigned tag;                /* VLAN */
    struct net_bond bond;
    struct net_tunnel tunnel;
    struct net_ip ip4, ip6;
    bool optional;               /* a bridge that need not be there, but may stay */
    bool promiscuous;
    bool no_gro;                 /* NICs: packets are not merged as they come in */
    bool is_default;             /* gateways here are the host's */
};

struct net_plan {
    const struct net_link *links;
    size_t n;
};

/* What the kernel has. */
struct net_have {
    struct net_link link;        /* master "" = none; ip4, ip6: unused */
    int index;
    bool owned, up, carrier, physical;
    const char *const *addresses;    /* "192.0.2.7/24", permanent and of more than link scope */
    size_t n_addresses;
    const char *gateway4, *gateway6; /* default routes of ours through it; "" = none */
    const char *link_kind;           /* as the kernel calls it: "bridge", "" */
};

enum net_step_kind {
    NET_STEP_DELETE, NET_STEP_CREATE, NET_STEP_DOWN, NET_STEP_BOND, NET_STEP_MTU, NET_STEP_MAC, NET_STEP_MASTER, NET_STEP_UP,
    NET_STEP_PROMISC, NET_STEP_ADDRESS_REMOVE, NET_STEP_ADDRESS_ADD, NET_STEP_GATEWAY, NET_STEP_GATEWAY_REMOVE,
};
struct net_step {
    enum net_step_kind kind;
    const struct net_link *link;     /* what it is about: of the plan, or (DELETE, releases) of what there is */
    const char *text;                /* MASTER: the new master ("" = none); ADDRESS_*, GATEWAY*: the address */
};

/* Steps in an order that never takes a working link away before its successor is there. Arena. */
void net_diff(const struct net_plan *plan, const struct net_have *have, size_t n_have, struct arena *a,
              const struct net_step **ret_steps, size_t *ret_n);
/* "create bridge xenbr0": for logs. */
const char *net_step_text(const struct net_step *step, struct arena *a);

#endif
