/* The network driver for Linux bridges: netlink through libnl-route-3, taps through /dev/net/tun.
 * Called by: net.c.  Calls: libnl-route-3, the kernel.
 *
 * A netlink socket lives as long as one verb: no state, nothing to lock, nothing to lose. */
#include "xapi/net/net_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/route.h>
#include <netlink/route/tc.h>
#include <netlink/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

static void socket_free(struct nl_sock **sk) { if (*sk) nl_socket_free(*sk); }
#define _cleanup_socket_ _cleanup_(socket_free)

static int fail_nl(char **ret_why, const char *what, int rc)
{
    *ret_why = xasprintf("%s: %s", what, nl_geterror(rc));
    return -1;
}

static int fail_errno(char **ret_why, const char *what)
{
    *ret_why = xasprintf("%s: %s", what, strerror(errno));
    return -1;
}

static int connect_route(struct nl_sock **ret_sk, char **ret_why)
{
    struct nl_sock *sk = nl_socket_alloc();
    int rc = sk ? nl_connect(sk, NETLINK_ROUTE) : -NLE_NOMEM;

    if (rc) {
        socket_free(&sk);
        return fail_nl(ret_why, "netlink", rc);
    }
    *ret_sk = sk;
    return 0;
}

static int bridge_open(const char *root, void **ret_state, char **ret_why)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;

    (void)root;
    *ret_state = NULL;
    return connect_route(&sk, ret_why);
}

static void bridge_close(void *state) { (void)state; }

/* Changes flags and MTU of an existing interface. */
static int set_link(struct nl_sock *sk, const char *name, bool up, unsigned mtu, char **ret_why)
{
    struct rtnl_link *link = NULL, *change = rtnl_link_alloc();
    int rc = rtnl_link_get_kernel(sk, 0, name, &link);

    if (!rc) {
        if (up) rtnl_link_set_flags(change, IFF_UP);
        else rtnl_link_unset_flags(change, IFF_UP);
        if (mtu) rtnl_link_set_mtu(change, mtu);
        rc = rtnl_link_change(sk, link, change, 0);
        rtnl_link_put(link);
    }
    rtnl_link_put(change);
    return rc ? fail_nl(ret_why, name, rc) : 0;
}

static int bridge_create(void *state, const char *bridge, unsigned mtu, char **ret_why)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;

    (void)state;
    if (connect_route(&sk, ret_why)) return -1;
    struct rtnl_link *link = rtnl_link_bridge_alloc();
    rtnl_link_set_name(link, bridge);
    int rc = rtnl_link_add(sk, link, NLM_F_CREATE | NLM_F_EXCL);
    rtnl_link_put(link);
    if (rc && rc != -NLE_EXIST) return fail_nl(ret_why, "create", rc);
    return set_link(sk, bridge, true, mtu, ret_why);
}

static int delete_link(const char *name, char **ret_why)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;

    if (connect_route(&sk, ret_why)) return -1;
    struct rtnl_link *link = rtnl_link_alloc();
    rtnl_link_set_name(link, name);
    int rc = rtnl_link_delete(sk, link);
    rtnl_link_put(link);
    return rc && rc != -NLE_OBJ_NOTFOUND && rc != -NLE_NODEV ? fail_nl(ret_why, "delete", rc) : 0;
}

/* What the kernel says, not /sys: that shows the network namespace it was mounted in. */
static bool is_bridge(const char *name)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;
    _cleanup_free_ char *why = NULL;
    struct rtnl_link *link = NULL;

    if (connect_route(&sk, &why) || rtnl_link_get_kernel(sk, 0, name, &link)) return false;
    const char *type = rtnl_link_get_type(link);
    bool yes = type && streq(type, "bridge");
    rtnl_link_put(link);
    return yes;
}

static int bridge_destroy(void *state, const char *bridge, char **ret_why)
{
    (void)state;
    /* A network may be named after anything: only a bridge is deleted for it. */
    return is_bridge(bridge) ? delete_link(bridge, ret_why) : 0;
}

static int port_set(void *state, const char *interface, const char *bridge, char **ret_why)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;
    int port = (int)if_nametoindex(interface), master = bridge ? (int)if_nametoindex(bridge) : 0;

    (void)state;
    if (!port) return fail_errno(ret_why, interface);
    if (bridge && !master) return fail_errno(ret_why, bridge);
    if (connect_route(&sk, ret_why)) return -1;
    int rc = bridge ? rtnl_link_enslave_ifindex(sk, master, port) : rtnl_link_release_ifindex(sk, port);
    return rc ? fail_nl(ret_why, bridge ? bridge : interface, rc) : 0;
}

/* ---- taps ----------------------------------------------------------------------------------------------------- */

/* A persistent device: it stays after this descriptor is closed, until tap_destroy. */
static int make_tap(const struct net_tap *tap, char **ret_why)
{
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

    if (fd < 0) return fail_errno(ret_why, "/dev/net/tun");
    memcpy(request.ifr_name, tap->name, strlen(tap->name));
    if (ioctl(fd, TUNSETIFF, &request)) return errno == EBUSY ? 0 : fail_errno(ret_why, "TUNSETIFF");
    if (tap->owner_uid >= 0 && ioctl(fd, TUNSETOWNER, tap->owner_uid)) return fail_errno(ret_why, "TUNSETOWNER");
    return ioctl(fd, TUNSETPERSIST, 1) ? fail_errno(ret_why, "TUNSETPERSIST") : 0;
}

/* A token bucket at the tap: what the host sends to the guest's card is limited there. */
static int limit_rate(struct nl_sock *sk, const char *name, int64_t rate_kbytes, char **ret_why)
{
    enum { BURST_BYTES = 64 * 1024, LATENCY_US = 50000 };
    struct rtnl_qdisc *q = rtnl_qdisc_alloc();
    struct rtnl_tc *tc = TC_CAST(q);

    rtnl_tc_set_ifindex(tc, (int)if_nametoindex(name));
    rtnl_tc_set_parent(tc, TC_H_ROOT);
    rtnl_tc_set_kind(tc, "tbf");
    rtnl_qdisc_tbf_set_rate(q, rate_kbytes < INT_MAX / 1024 ? (int)rate_kbytes * 1024 : INT_MAX, BURST_BYTES, 0);
    rtnl_qdisc_tbf_set_limit_by_latency(q, LATENCY_US);
    int rc = rtnl_qdisc_add(sk, q, NLM_F_CREATE | NLM_F_REPLACE);
    rtnl_qdisc_put(q);
    return rc ? fail_nl(ret_why, "rate limit", rc) : 0;
}

static int tap_create(void *state, const struct net_tap *tap, char **ret_why)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;

    if (make_tap(tap, ret_why) || connect_route(&sk, ret_why)) return -1;
    if (set_link(sk, tap->name, tap->up, tap->mtu, ret_why)) return -1;
    if (tap->bridge && port_set(state, tap->name, tap->bridge, ret_why)) return -1;
    return tap->rate_kbytes > 0 ? limit_rate(sk, tap->name, tap->rate_kbytes, ret_why) : 0;
}

static int vif_plug(void *state, const char *interface, const char *bridge, unsigned mtu, char **ret_why)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;

    if (connect_route(&sk, ret_why) || set_link(sk, interface, true, mtu, ret_why)) return -1;
    return port_set(state, interface, bridge, ret_why);
}

static int tap_destroy(void *state, const char *name, char **ret_why)
{
    (void)state;
    return delete_link(name, ret_why);
}

/* ---- looking -------------------------------------------------------------------------------------------------- */

/* First word of a file below /sys/class/net/NAME, "" when it cannot be read. */
static const char *sysfs(struct arena *a, const char *name, const char *file)
{
    _cleanup_free_ char *path = xasprintf("/sys/class/net/%s/%s", name, file), *text = NULL;

    if (read_file(path, 4096, &text, NULL)) return "";
    return arena_strndup(a, text, strcspn(text, "\n"));
}

/* Last component of a symbolic link there, "" when there is none. */
static const char *sysfs_link(struct arena *a, const char *name, const char *file)
{
    _cleanup_free_ char *path = xasprintf("/sys/class/net/%s/%s", name, file);
    char target[512];
    ssize_t n = readlink(path, target, sizeof(target) - 1);

    if (n < 0) return "";
    target[n] = '\0';
    const char *slash = strrchr(target, '/');
    return arena_strdup(a, slash ? slash + 1 : target);
}

static void describe(struct arena *a, struct nl_cache *links, struct rtnl_link *link, struct net_interface *out)
{
    char mac[32] = "";
    const char *type = rtnl_link_get_type(link), *name = arena_strdup(a, rtnl_link_get_name(link));
    struct rtnl_link *master = rtnl_link_get_master(link) ? rtnl_link_get(links, rtnl_link_get_master(link)) : NULL;
    unsigned flags = rtnl_link_get_flags(link);

    if (rtnl_link_get_addr(link)) nl_addr2str(rtnl_link_get_addr(link), mac, sizeof(mac));
    *out = (struct net_interface){
        .name = name,
        .mac = arena_strdup(a, mac),
        .bridge = master ? arena_strdup(a, rtnl_link_get_name(master)) : "",
        .driver = sysfs_link(a, name, "device/driver"),
        .pci_path = sysfs_link(a, name, "device"),
        .ip = "", .netmask = "", .gateway = "", .ipv6 = "",
        .mtu = rtnl_link_get_mtu(link),
        .is_bridge = type && streq(type, "bridge"),
        .is_tap = type && streq(type, "tun"),
        .loopback = flags & IFF_LOOPBACK,
        .up = flags & IFF_UP,
        .carrier = flags & IFF_RUNNING,
        .speed_mbit = atoi(sysfs(a, name, "speed")),
        .duplex = streq(sysfs(a, name, "duplex"), "full"),
        .rx_bytes = rtnl_link_get_stat(link, RTNL_LINK_RX_BYTES),
        .tx_bytes = rtnl_link_get_stat(link, RTNL_LINK_TX_BYTES),
        .rx_errors = rtnl_link_get_stat(link, RTNL_LINK_RX_ERRORS),
        .tx_errors = rtnl_link_get_stat(link, RTNL_LINK_TX_ERRORS),
        .rx_packets = rtnl_link_get_stat(link, RTNL_LINK_RX_PACKETS),
        .tx_packets = rtnl_link_get_stat(link, RTNL_LINK_TX_PACKETS),
    };
    /* A NIC has hardware behind it; a pair of veths stands in for one in network namespaces. */
    out->physical = !out->loopback && (*out->pci_path || (type && streq(type, "veth")));
    if (out->speed_mbit < 0) out->speed_mbit = 0;
    if (master) rtnl_link_put(master);
}

struct address_walk {
    struct arena *arena;
    struct nl_cache *links;
    struct net_interface *interfaces;
    size_t n;
};

static void note_address(struct nl_object *object, void *arg)
{
    struct address_walk *w = arg;
    struct rtnl_addr *address = (struct rtnl_addr *)object;
    struct nl_addr *local = rtnl_addr_get_local(address);
    struct rtnl_link *link = rtnl_link_get(w->links, rtnl_addr_get_ifindex(address));
    char text[INET6_ADDRSTRLEN + 8];

    for (size_t i = 0; link && local && i < w->n; i++) {
        struct net_interface *out = &w->interfaces[i];
        if (!streq(out->name, rtnl_link_get_name(link))) continue;
        nl_addr2str(local, text, sizeof(text));
        if (nl_addr_get_family(local) == AF_INET6) {
            if (!*out->ipv6 && rtnl_addr_get_scope(address) != RT_SCOPE_LINK) out->ipv6 = arena_strdup(w->arena, text);
            continue;
        }
        if (nl_addr_get_family(local) != AF_INET || *out->ip) continue;
        struct in_addr mask = { htonl(nl_addr_get_prefixlen(local) ? ~0u << (32 - nl_addr_get_prefixlen(local)) : 0) };
        out->ip = arena_strndup(w->arena, text, strcspn(text, "/"));
        out->netmask = arena_strdup(w->arena, inet_ntop(AF_INET, &mask, text, sizeof(text)));
    }
    if (link) rtnl_link_put(link);
}

static void note_route(struct nl_object *object, void *arg)
{
    struct address_walk *w = arg;
    struct rtnl_route *route = (struct rtnl_route *)object;
    struct rtnl_nexthop *hop = rtnl_route_get_nnexthops(route) ? rtnl_route_nexthop_n(route, 0) : NULL;
    struct nl_addr *gateway = hop ? rtnl_route_nh_get_gateway(hop) : NULL;
    char text[INET6_ADDRSTRLEN + 8];

    if (!gateway || rtnl_route_get_family(route) != AF_INET || nl_addr_get_prefixlen(rtnl_route_get_dst(route))) return;
    struct rtnl_link *link = rtnl_link_get(w->links, rtnl_route_nh_get_ifindex(hop));
    for (size_t i = 0; link && i < w->n; i++)
        if (streq(w->interfaces[i].name, rtnl_link_get_name(link)))
            w->interfaces[i].gateway = arena_strdup(w->arena, nl_addr2str(gateway, text, sizeof(text)));
    if (link) rtnl_link_put(link);
}

static int list(void *state, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
                char **ret_why)
{
    _cleanup_socket_ struct nl_sock *sk = NULL;
    struct nl_cache *links = NULL, *cache = NULL;

    (void)state;
    if (connect_route(&sk, ret_why)) return -1;
    int rc = rtnl_link_alloc_cache(sk, AF_UNSPEC, &links);
    if (rc) return fail_nl(ret_why, "interfaces", rc);
    struct address_walk w = { arena, links, arena_new_array(arena, struct net_interface, (size_t)nl_cache_nitems(links)), 0 };
    for (struct nl_object *o = nl_cache_get_first(links); o; o = nl_cache_get_next(o))
        describe(arena, links, (struct rtnl_link *)o, &w.interfaces[w.n++]);
    rc = rtnl_addr_alloc_cache(sk, &cache);
    if (!rc) {
        nl_cache_foreach(cache, note_address, &w);
        nl_cache_free(cache);
        rc = rtnl_route_alloc_cache(sk, AF_INET, 0, &cache);
    }
    if (!rc) {
        nl_cache_foreach(cache, note_route, &w);
        nl_cache_free(cache);
    }
    nl_cache_free(links);
    if (rc) return fail_nl(ret_why, "addresses", rc);
    *ret_interfaces = w.interfaces;
    *ret_n = w.n;
    return 0;
}

const struct net_driver net_driver_bridge = {
    .name = "bridge",
    .open = bridge_open,
    .close = bridge_close,
    .bridge_create = bridge_create,
    .bridge_destroy = bridge_destroy,
    .port_set = port_set,
    .tap_create = tap_create,
    .tap_destroy = tap_destroy,
    .vif_plug = vif_plug,
    .list = list,
};
