/* What interfaces the host has, with addresses, counters and hardware.
 * Called by: bridge.c, ovs.c.  Calls: libnl-route-3, sysfs. */
#include "xapi/net/net_driver.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <netlink/socket.h>

#include "xapi/net/kernel.h"

static int fail_nl(char **ret_why, const char *what, int rc)
{
    *ret_why = xasprintf("%s: %s", what, nl_geterror(rc));
    return -1;
}

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

/* "0x8086" as "8086". */
static const char *pci_id(struct arena *a, const char *name, const char *file)
{
    const char *text = sysfs(a, name, file);

    return has_prefix(text, "0x") ? text + 2 : text;
}

/* What there may be thousands of has no hardware to be asked about, each question a file: the list is to stay cheap with them. */
static bool has_no_hardware(const char *type)
{
    static const char *const types[] = { "tun", "bridge", "ifb", "dummy", "openvswitch" };

    for (size_t i = 0; type && i < ARRAY_SIZE(types); i++)
        if (streq(type, types[i])) return true;
    return false;
}

static void describe_hardware(struct arena *a, const char *name, struct net_interface *out)
{
    out->driver = sysfs_link(a, name, "device/driver");
    out->pci_path = sysfs_link(a, name, "device");
    out->vendor_id = pci_id(a, name, "device/vendor");
    out->device_id = pci_id(a, name, "device/device");
    out->speed_mbit = atoi(sysfs(a, name, "speed"));
    out->duplex = streq(sysfs(a, name, "duplex"), "full");
    if (out->speed_mbit < 0) out->speed_mbit = 0;
}

static void describe(struct arena *a, uint32_t mark, struct nl_cache *links, struct rtnl_link *link, struct net_interface *out)
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
        .driver = "", .pci_path = "", .vendor_id = "", .device_id = "",
        .ip = "", .netmask = "", .gateway = "", .ipv6 = "",
        .mtu = rtnl_link_get_mtu(link),
        .owned = rtnl_link_get_group(link) == mark,
        .is_bridge = type && streq(type, "bridge"),
        .is_tap = type && streq(type, "tun"),
        .loopback = flags & IFF_LOOPBACK,
        .up = flags & IFF_UP,
        .carrier = flags & IFF_RUNNING,
        .rx_bytes = rtnl_link_get_stat(link, RTNL_LINK_RX_BYTES),
        .tx_bytes = rtnl_link_get_stat(link, RTNL_LINK_TX_BYTES),
        .rx_errors = rtnl_link_get_stat(link, RTNL_LINK_RX_ERRORS),
        .tx_errors = rtnl_link_get_stat(link, RTNL_LINK_TX_ERRORS),
        .rx_packets = rtnl_link_get_stat(link, RTNL_LINK_RX_PACKETS),
        .tx_packets = rtnl_link_get_stat(link, RTNL_LINK_TX_PACKETS),
    };
    if (!has_no_hardware(type)) describe_hardware(a, name, out);
    /* A NIC has hardware behind it; a pair of veths stands in for one in network namespaces. */
    out->physical = !out->loopback && (*out->pci_path || (type && streq(type, "veth")));
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
            if (*out->ipv6 || rtnl_addr_get_scope(address) == RT_SCOPE_LINK) continue;
            /* Of a single address the library leaves its length out. */
            out->ipv6 = arena_printf(w->arena, "%s%s", text, strchr(text, '/') ? "" : "/128");
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

int real_list(uint32_t mark, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    struct nl_cache *links = NULL, *cache = NULL;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why)) return -1;
    int rc = rtnl_link_alloc_cache(sk, AF_UNSPEC, &links);
    if (rc) return fail_nl(ret_why, "interfaces", rc);
    struct address_walk w = { arena, links, arena_new_array(arena, struct net_interface, (size_t)nl_cache_nitems(links)), 0 };
    for (struct nl_object *o = nl_cache_get_first(links); o; o = nl_cache_get_next(o))
        describe(arena, mark, links, (struct rtnl_link *)o, &w.interfaces[w.n++]);
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

