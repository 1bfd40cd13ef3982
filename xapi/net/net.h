/* Host networking: bridges for networks, taps for guests' cards, and what the host's own interfaces are.
 * Called by: class files (network.c, vif.c, pif.c), startup, rrd.  Calls: the guard net.c -> a driver.
 *
 * A driver is a const vtable (net_driver.h): "bridge" speaks netlink through libnl-route-3, "sim" keeps its devices in a
 * file under the root. The guard checks names and ranges, logs every call, and maps failures to XenAPI errors. Every verb
 * is idempotent: making what is there and removing what is gone succeed. Verbs take milliseconds and never wait for a guest. */
#ifndef XAPI_NET_NET_H
#define XAPI_NET_NET_H

#include "lib/arena.h"
#include "lib/xerr.h"

struct net;

/* name: "bridge" or "sim". root: the agent's state directory. Errors: INTERNAL_ERROR naming what is missing. */
int net_open(const char *name, const char *root, struct net **ret_net, struct xerr *err);
/* Bridges and taps stay. NULL is fine. */
void net_close(struct net *net);
const char *net_name(const struct net *net);

/* A bridge of this name is up with this MTU (bytes, 0 = leave). Errors: INTERNAL_ERROR "net bridge_create xenbr0: why". */
int net_bridge_create(struct net *net, const char *bridge, unsigned mtu, struct xerr *err);
/* Gone, whatever was enslaved is released. */
int net_bridge_destroy(struct net *net, const char *bridge, struct xerr *err);
/* An interface of the host is a port of the bridge (bridge NULL: of none). */
int net_port_set(struct net *net, const char *interface, const char *bridge, struct xerr *err);

struct net_tap {
    const char *name;        /* "vif3.0" or "tap...": at most 15 characters */
    const char *bridge;      /* NULL = on no bridge */
    unsigned mtu;            /* bytes, 0 = 1500 */
    int owner_uid;           /* who may open it without privilege; -1 = root */
    int64_t rate_kbytes;     /* transmit limit in KiB/s (VIF.qos_algorithm_params kbps), 0 = none */
    bool up;
};
/* A tap device exists and is as described. */
int net_tap_create(struct net *net, const struct net_tap *tap, struct xerr *err);
int net_tap_destroy(struct net *net, const char *name, struct xerr *err);

/* An interface that the hypervisor made for a guest's card is up, a port of the bridge (NULL: of none), with this MTU
 * (bytes, 0 = leave). It vanishes with the guest. */
int net_vif_plug(struct net *net, const char *interface, const char *bridge, unsigned mtu, struct xerr *err);

struct net_interface {
    const char *name, *mac;          /* "eth0", "aa:bb:.." */
    const char *bridge;              /* the bridge it is a port of, "" = none */
    const char *driver, *pci_path;   /* from sysfs; "" = not known */
    const char *ip, *netmask, *gateway, *ipv6;   /* first address; "" = none */
    unsigned mtu;
    bool physical, is_bridge, is_tap, up, carrier, loopback;
    int speed_mbit;                  /* 0 = not known */
    bool duplex;
    uint64_t rx_bytes, tx_bytes, rx_errors, tx_errors, rx_packets, tx_packets;
};
/* Every interface of the host (of this network namespace), from the arena. */
int net_list(struct net *net, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n, struct xerr *err);

#endif
