/* Host networking: the plan of the host's own links, bridges for networks, taps for guests' cards.
 * Called by: class files (network*.c, vif.c, pif*.c), startup, rrd.  Calls: the guard net.c -> a driver.
 *
 * A driver is a const vtable (net_driver.h): "bridge" speaks netlink, "openvswitch" OVSDB and netlink, "sim" keeps its
 * devices in a file under the root. The guard checks names and ranges, logs every call, and maps failures to XenAPI errors.
 * Every verb is idempotent: making what is there and removing what is gone succeed. Verbs take milliseconds and never wait
 * for a guest. */
#ifndef XAPI_NET_NET_H
#define XAPI_NET_NET_H

#include "lib/arena.h"
#include "lib/xerr.h"
#include "xapi/net/plan.h"

struct net;

/* name: "bridge", "openvswitch" or "sim". root: the agent's state directory; its path is also our mark on links. Errors:
 * INTERNAL_ERROR naming what is missing. */
int net_open(const char *name, const char *root, struct net **ret_net, struct xerr *err);
/* Bridges and taps stay. NULL is fine. */
void net_close(struct net *net);
const char *net_name(const struct net *net);
/* Whether VLANs and tunnels need Open vSwitch's or the kernel's way: "openvswitch" or "bridge" (sim says bridge). */
const char *net_backend(const struct net *net);

/* ---- the host's own links --------------------------------------------------------------------------------------- */

/* Makes the host's links as planned; those of ours that the plan does not name go. One at a time. A DHCP client runs for
 * every address by DHCP, and its lease counts as soon as it is there. Errors: INTERNAL_ERROR "net bridge apply STEP: why";
 * what was done until then stays, and the next call goes on from there. */
int net_apply(struct net *net, const struct net_plan *plan, struct xerr *err);
/* What the DHCP client of a link was told; texts from the arena. False: it has no lease. */
struct net_lease {
    const char *address, *gateway;   /* "192.0.2.7/24"; "" = none */
    const char *dns, *domain;        /* "192.0.2.1,192.0.2.2" */
};
bool net_lease(struct net *net, const char *link, bool v6, struct arena *a, struct net_lease *ret_lease);
/* Waits until the link has a lease by DHCP. False when there is none in time. */
bool net_lease_wait(struct net *net, const char *link, bool v6, int timeout_ms);
/* Whether a link of the host's (not a guest's card) came, went or changed its state, a lease its content, or the switch began
 * anew (what it does not keep, rules and limits of cards, is to be told it again) since this was last asked: bits. */
enum net_news { NET_NEWS_LINKS = 1, NET_NEWS_LEASES = 2, NET_NEWS_RESTART = 4 };
unsigned net_news(struct net *net);
/* It has been told: until then the switch's restart stays news. */
void net_restart_done(struct net *net);
/* 1 when the host with this address answers through the link within the time, 0 when not, -1 on errors. */
int net_neighbour_answers(struct net *net, const char *link, const char *address, int timeout_ms, struct xerr *err);

/* A bridge of this name is up with this MTU (bytes, 0 = leave). Errors: INTERNAL_ERROR "net bridge_create xenbr0: why". */
int net_bridge_create(struct net *net, const char *bridge, unsigned mtu, struct xerr *err);
/* Gone, whatever was enslaved is released. Bridges that we did not make stay. */
int net_bridge_destroy(struct net *net, const char *bridge, struct xerr *err);

/* ---- guests' cards ------------------------------------------------------------------------------------------------ */

/* What a card may send: nothing but from these addresses. */
struct net_lock {
    const char *mac;
    const char *const *ipv4, *const *ipv6;
    size_t n_ipv4, n_ipv6;
};
struct net_setting { const char *name; bool on; };   /* "tx" "rx" "sg" "tso" "ufo" "gso" "gro" */
struct net_tap {
    const char *name;        /* "vif3.0" or "tap...": at most 15 characters */
    const char *bridge;      /* NULL = on no bridge */
    unsigned mtu;            /* bytes, 0 = 1500 */
    int owner_uid;           /* who may open it without privilege; -1 = root */
    int64_t rate_kbytes;     /* limit in KiB/s (VIF.qos_algorithm_params kbps), 0 = none; in each direction */
    bool up;
    bool engine_limits;      /* the hypervisor itself limits what the guest sends */
    bool promiscuous;
    const struct net_lock *lock;               /* NULL = it may send anything */
    const uint16_t *trunks;                    /* VLANs whose frames it may send and gets, rising; none: all */
    size_t n_trunks;
    const struct net_setting *settings;        /* ethtool's offloads */
    size_t n_settings;
};
/* A tap device exists and is as described. */
int net_tap_create(struct net *net, const struct net_tap *tap, struct xerr *err);
int net_tap_destroy(struct net *net, const char *name, struct xerr *err);
/* An interface that is there already, made by us or by the hypervisor, is as described. */
int net_vif_plug(struct net *net, const struct net_tap *vif, struct xerr *err);
/* Taps and limiters of ours that are not for any of these interfaces go. */
int net_sweep(struct net *net, const char *const *keep, size_t n_keep, struct xerr *err);

/* ---- looking -------------------------------------------------------------------------------------------------------- */

struct net_interface {
    const char *name, *mac;          /* "eth0", "aa:bb:.." */
    const char *bridge;              /* the bridge it is a port of, "" = none */
    const char *driver, *pci_path;   /* from sysfs; "" = not known */
    const char *vendor_id, *device_id;   /* PCI: "8086"; "" = not known */
    const char *ip, *netmask, *gateway, *ipv6;   /* first address; "" = none */
    unsigned mtu;
    bool physical, is_bridge, is_tap, up, carrier, loopback, owned;
    int speed_mbit;                  /* 0 = not known */
    bool duplex;
    uint64_t rx_bytes, tx_bytes, rx_errors, tx_errors, rx_packets, tx_packets;
};
/* Every interface of the host (of this network namespace), from the arena. */
int net_list(struct net *net, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n, struct xerr *err);

#endif
