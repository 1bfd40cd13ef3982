/* Links, addresses and routes of the kernel, by netlink.
 * Called by: bridge.c, ovs.c, reconcile.c.  Calls: libnl (sockets and messages), the kernel. */
#include "xapi/net/kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>           /* before the kernel's own */
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <poll.h>

#include "lib/clock.h"
#include "lib/fault.h"

enum { PROTOCOL_OURS = 188 };            /* of our routes: none of those that the kernel's headers name */
enum { BOND_BALANCE_XOR = 2, BOND_ACTIVE_BACKUP = 1, BOND_8023AD = 4, HASH_LAYER2 = 0, HASH_LAYER34 = 1, HASH_VLAN_SRCMAC = 5,
       USER_PORT_KEY_MAX = 1023 };
enum { VXLAN_PORT = 4789, VXLAN_OVERHEAD = 50 };
enum { MESSAGE_BYTES = 128 << 10 };

/* ---- sockets and messages ------------------------------------------------------------------------------------- */

void kernel_close(struct nl_sock **sk)
{
    if (*sk) nl_socket_free(*sk);
    *sk = NULL;
}

static int fail_nl(char **ret_why, const char *what, int rc)
{
    *ret_why = xasprintf("%s: %s", what, nl_geterror(rc));
    return -1;
}

int kernel_connect(int protocol, struct nl_sock **ret_sk, char **ret_why)
{
    struct nl_sock *sk = nl_socket_alloc();
    int rc = sk ? nl_connect(sk, protocol) : -NLE_NOMEM;

    if (rc) {
        kernel_close(&sk);
        return fail_nl(ret_why, "netlink", rc);
    }
    /* The kernel fills what is offered, up to 32 KiB of a list at a time; a message alone has at most 64 KiB. With the library's own
     * size, and a look at each message before it is taken, a list of a thousand cards is six times as many calls, and so much longer
     * that a change meanwhile makes it begin anew. */
    nl_socket_set_msg_buf_size(sk, MESSAGE_BYTES);
    nl_socket_disable_msg_peek(sk);
    *ret_sk = sk;
    return 0;
}

/* Sends one request and waits for its answer; the message is gone afterwards. `fine`: an error that is none. */
static int request(struct nl_sock *sk, struct nl_msg *msg, const char *what, int fine, char **ret_why)
{
    int e = fault_step("net.netlink");

    if (e) {
        nlmsg_free(msg);
        *ret_why = xasprintf("%s: %s", what, strerror(e));
        return -1;
    }
    int rc = nl_send_sync(sk, msg);
    return rc < 0 && rc != -fine ? fail_nl(ret_why, what, rc) : 0;
}

static struct nl_msg *link_message(int type, int flags, int index, unsigned set, unsigned mask)
{
    struct nl_msg *msg = nlmsg_alloc_simple(type, flags);
    struct ifinfomsg head = { .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = set, .ifi_change = mask };

    nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO);
    return msg;
}

static bool parse_mac(const char *text, unsigned char mac[6])
{
    unsigned b[6];
    char rest;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &rest) != 6) return false;
    for (int i = 0; i < 6; i++) mac[i] = (unsigned char)b[i];
    return true;
}

static int index_of(const char *name, char **ret_why)
{
    int index = (int)if_nametoindex(name);

    if (!index) *ret_why = xasprintf("%s: there is no such interface", name);
    return index;
}

/* ---- links: making and changing -------------------------------------------------------------------------------- */

static void put_bond(struct nl_msg *msg, const struct net_bond *bond, bool fresh)
{
    static const uint8_t modes[] = { BOND_BALANCE_XOR, BOND_ACTIVE_BACKUP, BOND_8023AD };

    if (fresh) nla_put_u8(msg, IFLA_BOND_MODE, modes[bond->mode]);
    nla_put_u32(msg, IFLA_BOND_MIIMON, bond->miimon_ms ? bond->miimon_ms : 100);
    nla_put_u32(msg, IFLA_BOND_UPDELAY, bond->updelay_ms);
    nla_put_u32(msg, IFLA_BOND_DOWNDELAY, bond->downdelay_ms);
    if (bond->mode == NET_BOND_SLB) nla_put_u8(msg, IFLA_BOND_XMIT_HASH_POLICY, HASH_VLAN_SRCMAC);
    if (bond->mode != NET_BOND_LACP) return;
    if (fresh) nla_put_u8(msg, IFLA_BOND_AD_LACP_RATE, bond->lacp_fast);   /* cannot change while it is up; nor can the key */
    if (fresh && bond->lacp_key && bond->lacp_key <= USER_PORT_KEY_MAX)
        nla_put_u16(msg, IFLA_BOND_AD_USER_PORT_KEY, (uint16_t)bond->lacp_key);
    nla_put_u8(msg, IFLA_BOND_XMIT_HASH_POLICY, bond->hash_ports ? HASH_LAYER34 : HASH_LAYER2);
}

static int put_address(struct nl_msg *msg, int v4, int v6, const char *text)
{
    unsigned char raw[16];

    if (inet_pton(AF_INET, text, raw) == 1) return nla_put(msg, v4, 4, raw);
    return inet_pton(AF_INET6, text, raw) == 1 && v6 ? nla_put(msg, v6, 16, raw) : 0;
}

static const char *kernel_kind(const struct net_link *link)
{
    switch (link->kind) {
    case NET_BRIDGE: return "bridge";
    case NET_VLAN: return "vlan";
    case NET_BOND: return "bond";
    case NET_TUNNEL: return link->tunnel.vxlan ? "vxlan" : "gretap";
    case NET_IFB: return "ifb";
    case NET_OTHER: case NET_NIC: case NET_TAP: break;
    }
    return "";
}

static void put_kind_data(struct nl_msg *msg, const struct net_link *link)
{
    if (link->kind == NET_VLAN) nla_put_u16(msg, IFLA_VLAN_ID, (uint16_t)link->tag);
    if (link->kind == NET_BOND) put_bond(msg, &link->bond, true);
    if (link->kind != NET_TUNNEL) return;
    if (link->tunnel.vxlan) {
        nla_put_u32(msg, IFLA_VXLAN_ID, link->tunnel.key);
        nla_put_u16(msg, IFLA_VXLAN_PORT, htons(VXLAN_PORT));
        nla_put_u8(msg, IFLA_VXLAN_LEARNING, 1);
        put_address(msg, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6, link->tunnel.local);
        if (*link->tunnel.remote) put_address(msg, IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6, link->tunnel.remote);
        return;
    }
    put_address(msg, IFLA_GRE_LOCAL, 0, link->tunnel.local);
    put_address(msg, IFLA_GRE_REMOTE, 0, link->tunnel.remote);
    if (link->tunnel.key) {
        nla_put_u16(msg, IFLA_GRE_IFLAGS, htons(0x2000));    /* GRE_KEY, as on the wire */
        nla_put_u16(msg, IFLA_GRE_OFLAGS, htons(0x2000));
        nla_put_u32(msg, IFLA_GRE_IKEY, htonl(link->tunnel.key));
        nla_put_u32(msg, IFLA_GRE_OKEY, htonl(link->tunnel.key));
    }
    nla_put_u8(msg, IFLA_GRE_TTL, 64);
}

int kernel_link_create(struct nl_sock *sk, uint32_t mark, const struct net_link *link, char **ret_why)
{
    unsigned char mac[6];
    int parent = 0;

    if (link->kind == NET_VLAN && !(parent = index_of(link->parent, ret_why))) return -1;
    struct nl_msg *msg = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, 0, 0);
    nla_put_string(msg, IFLA_IFNAME, link->name);
    nla_put_u32(msg, IFLA_GROUP, mark);
    if (link->mtu) nla_put_u32(msg, IFLA_MTU, link->mtu);
    if (link->mac && *link->mac && parse_mac(link->mac, mac)) nla_put(msg, IFLA_ADDRESS, sizeof(mac), mac);
    if (parent) nla_put_u32(msg, IFLA_LINK, (uint32_t)parent);
    struct nlattr *info = nla_nest_start(msg, IFLA_LINKINFO);
    nla_put_string(msg, IFLA_INFO_KIND, kernel_kind(link));
    struct nlattr *data = nla_nest_start(msg, IFLA_INFO_DATA);
    put_kind_data(msg, link);
    nla_nest_end(msg, data);
    nla_nest_end(msg, info);
    _cleanup_free_ char *what = xasprintf("create %s %s", kernel_kind(link), link->name);
    if (request(sk, msg, what, 0, ret_why)) return -1;
    /* A network for guests needs no address of the host's: without this every link joins in with one of its own. */
    if (link->ip6.source == NET_IP_NONE || link->ip6.source == NET_IP_LEAVE)
        kernel_ipv6_set(link->name, "disable_ipv6", "1");
    return 0;
}

int kernel_link_delete(struct nl_sock *sk, const char *name, char **ret_why)
{
    int index = (int)if_nametoindex(name);

    if (!index) return 0;
    _cleanup_free_ char *what = xasprintf("delete %s", name);
    return request(sk, link_message(RTM_DELLINK, 0, index, 0, 0), what, NLE_NODEV, ret_why);
}

int kernel_link_change(struct nl_sock *sk, const char *name, const struct kernel_change *ch, char **ret_why)
{
    unsigned set = 0, mask = 0;
    unsigned char mac[6];
    int index = index_of(name, ret_why), master = 0;

    if (!index || (ch->master && *ch->master && !(master = index_of(ch->master, ret_why)))) return -1;
    if (ch->up) mask |= IFF_UP;
    if (ch->up == KERNEL_ON) set |= IFF_UP;
    if (ch->promiscuous) mask |= IFF_PROMISC;
    if (ch->promiscuous == KERNEL_ON) set |= IFF_PROMISC;
    struct nl_msg *msg = link_message(RTM_NEWLINK, 0, index, set, mask);
    if (ch->mtu) nla_put_u32(msg, IFLA_MTU, ch->mtu);
    if (ch->group) nla_put_u32(msg, IFLA_GROUP, ch->group);
    if (ch->mac && parse_mac(ch->mac, mac)) nla_put(msg, IFLA_ADDRESS, sizeof(mac), mac);
    if (ch->master) nla_put_u32(msg, IFLA_MASTER, (uint32_t)master);
    if (ch->bond) {
        struct nlattr *info = nla_nest_start(msg, IFLA_LINKINFO);
        nla_put_string(msg, IFLA_INFO_KIND, "bond");
        struct nlattr *data = nla_nest_start(msg, IFLA_INFO_DATA);
        put_bond(msg, ch->bond, false);
        nla_nest_end(msg, data);
        nla_nest_end(msg, info);
    }
    _cleanup_free_ char *what = ch->mtu ? xasprintf("%s: MTU %u", name, ch->mtu)
                                        : xasprintf("%s%s%s", name, ch->master ? " to " : "", ch->master ? ch->master : "");
    return request(sk, msg, what, 0, ret_why);
}

/* ---- addresses and routes --------------------------------------------------------------------------------------- */

int kernel_address(struct nl_sock *sk, const char *link, const char *address, bool add, char **ret_why)
{
    _cleanup_free_ char *ip = xstrndup(address, strcspn(address, "/"));
    const char *slash = strchr(address, '/');
    unsigned char raw[16];
    bool v6 = strchr(ip, ':');
    int index = index_of(link, ret_why);

    if (!index) return add ? -1 : (free(take_ptr(*ret_why)), 0);
    if (inet_pton(v6 ? AF_INET6 : AF_INET, ip, raw) != 1 || !slash) {
        *ret_why = xasprintf("%s is no address", address);
        return -1;
    }
    if (v6 && add) kernel_ipv6_set(link, "disable_ipv6", "0");
    struct nl_msg *msg = nlmsg_alloc_simple(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_REPLACE : 0);
    struct ifaddrmsg head = {
        .ifa_family = v6 ? AF_INET6 : AF_INET, .ifa_prefixlen = (unsigned char)atoi(slash + 1), .ifa_index = (unsigned)index,
    };
    nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO);
    nla_put(msg, IFA_LOCAL, v6 ? 16 : 4, raw);
    nla_put(msg, IFA_ADDRESS, v6 ? 16 : 4, raw);
    if (!v6 && add) {
        uint32_t ip4, host = head.ifa_prefixlen >= 31 ? 0 : UINT32_MAX >> head.ifa_prefixlen;
        memcpy(&ip4, raw, 4);
        ip4 |= htonl(host);
        if (host) nla_put_u32(msg, IFA_BROADCAST, ip4);
    }
    if (v6) nla_put_u32(msg, IFA_FLAGS, 0x02);               /* IFA_F_NODAD: it is ours by configuration, at once */
    _cleanup_free_ char *what = xasprintf("%s on %s", address, link);
    return request(sk, msg, what, add ? NLE_EXIST : NLE_NOADDR, ret_why);
}

int kernel_gateway(struct nl_sock *sk, const char *link, const char *gateway, bool add, char **ret_why)
{
    unsigned char raw[16];
    bool v6 = strchr(gateway, ':');
    int index = index_of(link, ret_why);

    if (!index) return add ? -1 : (free(take_ptr(*ret_why)), 0);
    if (inet_pton(v6 ? AF_INET6 : AF_INET, gateway, raw) != 1) {
        *ret_why = xasprintf("%s is no address", gateway);
        return -1;
    }
    struct nl_msg *msg = nlmsg_alloc_simple(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_REPLACE : 0);
    struct rtmsg head = {
        .rtm_family = v6 ? AF_INET6 : AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = PROTOCOL_OURS,
        .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST,
    };
    nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO);
    nla_put(msg, RTA_GATEWAY, v6 ? 16 : 4, raw);
    nla_put_u32(msg, RTA_OIF, (uint32_t)index);
    _cleanup_free_ char *what = xasprintf("gateway %s on %s", gateway, link);
    return request(sk, msg, what, add ? NLE_EXIST : NLE_OBJ_NOTFOUND, ret_why);
}

void kernel_ipv6_set(const char *link, const char *key, const char *value)
{
    _cleanup_free_ char *path = xasprintf("/proc/sys/net/ipv6/conf/%s/%s", link, key);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, value, strlen(value)) < 0) return;   /* best effort: read-only /proc in some containers */
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

struct reading {
    struct arena *a;
    uint32_t mark;
    struct net_have *have;
    size_t n, room;
};

struct addresses { const char **list; size_t n; };

static struct net_have *by_index(struct reading *r, int index)
{
    /* The kernel lists addresses and routes in the order of links, more or less: a binary search would win nothing. */
    for (size_t i = 0; i < r->n; i++)
        if (r->have[i].index == index) return &r->have[i];
    return NULL;
}

static const char *attr_text(struct arena *a, struct nlattr *attr)
{
    return attr ? arena_strndup(a, nla_data(attr), strnlen(nla_data(attr), (size_t)nla_len(attr))) : "";
}

static const char *attr_ip(struct arena *a, struct nlattr *attr)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (attr) inet_ntop(nla_len(attr) == 16 ? AF_INET6 : AF_INET, nla_data(attr), text, sizeof(text));
    return arena_strdup(a, text);
}

static void read_bond(struct nlattr *data, struct net_bond *bond)
{
    struct nlattr *tb[IFLA_BOND_MAX + 1] = { NULL };

    if (!data || nla_parse_nested(tb, IFLA_BOND_MAX, data, NULL)) return;
    uint8_t mode = tb[IFLA_BOND_MODE] ? nla_get_u8(tb[IFLA_BOND_MODE]) : 0;
    bond->mode = mode == BOND_8023AD ? NET_BOND_LACP : mode == BOND_ACTIVE_BACKUP ? NET_BOND_ACTIVE_BACKUP : NET_BOND_SLB;
    bond->miimon_ms = tb[IFLA_BOND_MIIMON] ? nla_get_u32(tb[IFLA_BOND_MIIMON]) : 0;
    bond->updelay_ms = tb[IFLA_BOND_UPDELAY] ? nla_get_u32(tb[IFLA_BOND_UPDELAY]) : 0;
    bond->downdelay_ms = tb[IFLA_BOND_DOWNDELAY] ? nla_get_u32(tb[IFLA_BOND_DOWNDELAY]) : 0;
    bond->lacp_fast = tb[IFLA_BOND_AD_LACP_RATE] && nla_get_u8(tb[IFLA_BOND_AD_LACP_RATE]);
    bond->hash_ports = tb[IFLA_BOND_XMIT_HASH_POLICY] && nla_get_u8(tb[IFLA_BOND_XMIT_HASH_POLICY]) == HASH_LAYER34;
}

static void read_tunnel(struct arena *a, struct nlattr *data, struct net_tunnel *t)
{
    struct nlattr *tb[IFLA_VXLAN_MAX + IFLA_GRE_MAX + 1] = { NULL };

    t->local = t->remote = "";
    if (!data || nla_parse_nested(tb, t->vxlan ? IFLA_VXLAN_MAX : IFLA_GRE_MAX, data, NULL)) return;
    if (t->vxlan) {
        t->key = tb[IFLA_VXLAN_ID] ? nla_get_u32(tb[IFLA_VXLAN_ID]) : 0;
        t->local = attr_ip(a, tb[IFLA_VXLAN_LOCAL] ? tb[IFLA_VXLAN_LOCAL] : tb[IFLA_VXLAN_LOCAL6]);
        t->remote = attr_ip(a, tb[IFLA_VXLAN_GROUP] ? tb[IFLA_VXLAN_GROUP] : tb[IFLA_VXLAN_GROUP6]);
        return;
    }
    t->key = tb[IFLA_GRE_IKEY] ? ntohl(nla_get_u32(tb[IFLA_GRE_IKEY])) : 0;
    t->local = attr_ip(a, tb[IFLA_GRE_LOCAL]);
    t->remote = attr_ip(a, tb[IFLA_GRE_REMOTE]);
}

static enum net_kind kind_of(const char *kind, unsigned flags)
{
    static const struct { const char *name; enum net_kind kind; } kinds[] = {
        { "bridge", NET_BRIDGE }, { "vlan", NET_VLAN }, { "bond", NET_BOND }, { "vxlan", NET_TUNNEL }, { "gretap", NET_TUNNEL },
        { "ifb", NET_IFB }, { "tun", NET_TAP }, { "veth", NET_NIC }, { "", NET_NIC },
    };
    if (flags & IFF_LOOPBACK) return NET_OTHER;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (streq(kind, kinds[i].name)) return kinds[i].kind;
    return NET_OTHER;
}

static int note_link(struct nl_msg *msg, void *arg)
{
    struct reading *r = arg;
    struct nlmsghdr *head = nlmsg_hdr(msg);
    const struct ifinfomsg *info = nlmsg_data(head);
    struct nlattr *tb[IFLA_MAX + 1] = { NULL }, *kind[IFLA_INFO_MAX + 1] = { NULL };

    if (head->nlmsg_type != RTM_NEWLINK || nlmsg_parse(head, sizeof(*info), tb, IFLA_MAX, NULL)) return NL_OK;
    if (!tb[IFLA_IFNAME]) return NL_OK;
    if (tb[IFLA_LINKINFO]) nla_parse_nested(kind, IFLA_INFO_MAX, tb[IFLA_LINKINFO], NULL);
    if (r->n == r->room) {
        size_t room = r->room ? r->room * 2 : 32;
        struct net_have *more = arena_new_array(r->a, struct net_have, room);
        if (r->n) memcpy(more, r->have, r->n * sizeof(*more));
        r->have = more;
        r->room = room;
    }
    const char *kind_text = attr_text(r->a, kind[IFLA_INFO_KIND]);
    const unsigned char *mac = tb[IFLA_ADDRESS] && nla_len(tb[IFLA_ADDRESS]) == 6 ? nla_data(tb[IFLA_ADDRESS]) : NULL;
    struct net_have *h = &r->have[r->n++];
    *h = (struct net_have){
        .index = info->ifi_index,
        .owned = tb[IFLA_GROUP] && nla_get_u32(tb[IFLA_GROUP]) == r->mark,
        .up = info->ifi_flags & IFF_UP,
        .carrier = info->ifi_flags & IFF_RUNNING,
        .gateway4 = "", .gateway6 = "",
        .link_kind = kind_text,
        .link = {
            .kind = kind_of(kind_text, info->ifi_flags),
            .name = attr_text(r->a, tb[IFLA_IFNAME]),
            .mac = mac ? arena_printf(r->a, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]) : "",
            .mtu = tb[IFLA_MTU] ? nla_get_u32(tb[IFLA_MTU]) : 0,
            .promiscuous = info->ifi_flags & IFF_PROMISC,
            /* Indexes for now: names once all are read. */
            .master = arena_printf(r->a, "%u", tb[IFLA_MASTER] ? nla_get_u32(tb[IFLA_MASTER]) : 0),
            .parent = arena_printf(r->a, "%u", tb[IFLA_LINK] ? nla_get_u32(tb[IFLA_LINK]) : 0),
            .tunnel.vxlan = streq(kind_text, "vxlan"),
        },
    };
    if (h->link.kind == NET_VLAN && kind[IFLA_INFO_DATA]) {
        struct nlattr *id = nla_find(nla_data(kind[IFLA_INFO_DATA]), nla_len(kind[IFLA_INFO_DATA]), IFLA_VLAN_ID);
        h->link.tag = id ? nla_get_u16(id) : 0;
    }
    if (h->link.kind == NET_BOND) read_bond(kind[IFLA_INFO_DATA], &h->link.bond);
    if (h->link.kind == NET_TUNNEL) read_tunnel(r->a, kind[IFLA_INFO_DATA], &h->link.tunnel);
    return NL_OK;
}

static int note_address(struct nl_msg *msg, void *arg)
{
    struct reading *r = arg;
    struct nlmsghdr *head = nlmsg_hdr(msg);
    const struct ifaddrmsg *info = nlmsg_data(head);
    struct nlattr *tb[IFA_MAX + 1] = { NULL };

    if (head->nlmsg_type != RTM_NEWADDR || nlmsg_parse(head, sizeof(*info), tb, IFA_MAX, NULL)) return NL_OK;
    struct nlattr *ip = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
    struct net_have *h = by_index(r, (int)info->ifa_index);
    uint32_t flags = tb[IFA_FLAGS] ? nla_get_u32(tb[IFA_FLAGS]) : info->ifa_flags;
    bool dynamic_v6 = info->ifa_family == AF_INET6 && !(flags & IFA_F_PERMANENT);
    if (!h || !ip || info->ifa_scope == RT_SCOPE_LINK || dynamic_v6) return NL_OK;
    const char **list = arena_new_array(r->a, const char *, h->n_addresses + 1);
    if (h->n_addresses) memcpy(list, h->addresses, h->n_addresses * sizeof(*list));
    list[h->n_addresses++] = arena_printf(r->a, "%s/%u", attr_ip(r->a, ip), info->ifa_prefixlen);
    h->addresses = list;
    return NL_OK;
}

static int note_route(struct nl_msg *msg, void *arg)
{
    struct reading *r = arg;
    struct nlmsghdr *head = nlmsg_hdr(msg);
    const struct rtmsg *info = nlmsg_data(head);
    struct nlattr *tb[RTA_MAX + 1] = { NULL };

    if (head->nlmsg_type != RTM_NEWROUTE || info->rtm_dst_len || info->rtm_table != RT_TABLE_MAIN ||
        info->rtm_protocol != PROTOCOL_OURS || nlmsg_parse(head, sizeof(*info), tb, RTA_MAX, NULL))
        return NL_OK;
    struct net_have *h = tb[RTA_OIF] && tb[RTA_GATEWAY] ? by_index(r, (int)nla_get_u32(tb[RTA_OIF])) : NULL;
    if (h && info->rtm_family == AF_INET) h->gateway4 = attr_ip(r->a, tb[RTA_GATEWAY]);
    if (h && info->rtm_family == AF_INET6) h->gateway6 = attr_ip(r->a, tb[RTA_GATEWAY]);
    return NL_OK;
}

static int dump(struct nl_sock *sk, int type, const void *head, size_t n, int (*note)(struct nl_msg *, void *),
                struct reading *r, char **ret_why)
{
    nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, note, r);
    int rc = nl_send_simple(sk, type, NLM_F_DUMP, (void *)(uintptr_t)head, n);
    if (rc >= 0) rc = nl_recvmsgs_default(sk);
    nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
    return rc < 0 ? fail_nl(ret_why, "reading the network", rc) : 0;
}

static const char *name_of(struct reading *r, const char *index)
{
    struct net_have *h = streq(index, "0") ? NULL : by_index(r, atoi(index));

    return h ? h->link.name : "";
}

int kernel_read(struct nl_sock *sk, uint32_t mark, struct arena *a, const struct net_have **ret_have, size_t *ret_n,
                char **ret_why)
{
    struct reading r = { .a = a, .mark = mark };
    const struct ifinfomsg links = { .ifi_family = AF_UNSPEC };
    const struct ifaddrmsg addresses = { .ifa_family = AF_UNSPEC };
    const struct rtmsg routes = { .rtm_family = AF_UNSPEC };

    if (dump(sk, RTM_GETLINK, &links, sizeof(links), note_link, &r, ret_why)) return -1;
    for (size_t i = 0; i < r.n; i++) {
        r.have[i].link.master = name_of(&r, r.have[i].link.master);
        r.have[i].link.parent = name_of(&r, r.have[i].link.parent);
    }
    if (dump(sk, RTM_GETADDR, &addresses, sizeof(addresses), note_address, &r, ret_why)) return -1;
    if (dump(sk, RTM_GETROUTE, &routes, sizeof(routes), note_route, &r, ret_why)) return -1;
    *ret_have = r.have;
    *ret_n = r.n;
    return 0;
}

int kernel_find(struct nl_sock *sk, uint32_t mark, const char *name, struct arena *a, const struct net_have **ret_have,
                char **ret_why)
{
    struct reading r = { .a = a, .mark = mark };
    struct nl_msg *msg = link_message(RTM_GETLINK, 0, 0, 0, 0);
    char master[IF_NAMESIZE];

    *ret_have = NULL;
    nla_put_string(msg, IFLA_IFNAME, name);
    nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, note_link, &r);
    int rc = nl_send_auto(sk, msg);
    nlmsg_free(msg);
    if (rc >= 0) rc = nl_recvmsgs_default(sk);
    if (rc >= 0) rc = nl_wait_for_ack(sk);
    nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
    if (rc == -NLE_NODEV || rc == -NLE_OBJ_NOTFOUND) return 0;
    if (rc < 0) return fail_nl(ret_why, name, rc);
    if (!r.n) return 0;
    const char *found = if_indextoname((unsigned)atoi(r.have[0].link.master), master);
    r.have[0].link.master = found ? arena_strdup(a, found) : "";
    r.have[0].link.parent = "";
    *ret_have = r.have;
    return 0;
}

/* ---- neighbours ---------------------------------------------------------------------------------------------------- */

struct neighbour { const char *address; int index; unsigned state; };

static int note_neighbour(struct nl_msg *msg, void *arg)
{
    struct neighbour *n = arg;
    struct nlmsghdr *head = nlmsg_hdr(msg);
    const struct ndmsg *info = nlmsg_data(head);
    struct nlattr *tb[NDA_MAX + 1] = { NULL };
    char text[INET6_ADDRSTRLEN];

    if (head->nlmsg_type != RTM_NEWNEIGH || info->ndm_ifindex != n->index ||
        nlmsg_parse(head, sizeof(*info), tb, NDA_MAX, NULL) || !tb[NDA_DST])
        return NL_OK;
    inet_ntop(info->ndm_family, nla_data(tb[NDA_DST]), text, sizeof(text));
    if (streq(text, n->address)) n->state = info->ndm_state;
    return NL_OK;
}

/* SAID by the administrator: nobody is asked. */
enum { SAID = NUD_PERMANENT | NUD_NOARP, KNOWN = NUD_REACHABLE | SAID };

static int look_at_neighbour(struct nl_sock *sk, struct neighbour *n, char **ret_why)
{
    const struct ndmsg all = { .ndm_family = strchr(n->address, ':') ? AF_INET6 : AF_INET };

    n->state = 0;
    nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, note_neighbour, n);
    int rc = nl_send_simple(sk, RTM_GETNEIGH, NLM_F_DUMP, (void *)(uintptr_t)&all, sizeof(all));
    if (rc >= 0) rc = nl_recvmsgs_default(sk);
    nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
    return rc < 0 ? fail_nl(ret_why, "neighbours", rc) : 0;
}

static int change_neighbour(struct nl_sock *sk, const struct neighbour *n, bool ask, char **ret_why)
{
    unsigned char raw[16];
    bool v6 = strchr(n->address, ':');
    struct nl_msg *msg = nlmsg_alloc_simple(ask ? RTM_NEWNEIGH : RTM_DELNEIGH, ask ? NLM_F_CREATE | NLM_F_REPLACE : 0);
    /* NTF_USE: resolve it now, as a packet that has to go there would. */
    struct ndmsg head = {
        .ndm_family = v6 ? AF_INET6 : AF_INET, .ndm_ifindex = n->index, .ndm_state = NUD_NONE, .ndm_flags = ask ? 0x01 : 0,
    };

    inet_pton(head.ndm_family, n->address, raw);
    nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO);
    nla_put(msg, NDA_DST, v6 ? 16 : 4, raw);
    return request(sk, msg, n->address, ask ? 0 : NLE_OBJ_NOTFOUND, ret_why);
}

int kernel_neighbour_answers(struct nl_sock *sk, const char *link, const char *address, int timeout_ms, char **ret_why)
{
    struct neighbour n = { .address = address, .index = index_of(link, ret_why) };
    int64_t until = clock_monotonic_ns() + (int64_t)timeout_ms * 1000000;

    if (!n.index || look_at_neighbour(sk, &n, ret_why)) return -1;
    /* What it said before, maybe on another way, is believed for half a minute and proves nothing: it is forgotten and asked. */
    if (n.state && !(n.state & SAID) && change_neighbour(sk, &n, false, ret_why)) return -1;
    if (!(n.state & SAID) && change_neighbour(sk, &n, true, ret_why)) return -1;
    do {
        if (look_at_neighbour(sk, &n, ret_why)) return -1;
        if (n.state & KNOWN) return 1;
        if (n.state & NUD_FAILED && change_neighbour(sk, &n, true, ret_why)) return -1;
        poll(NULL, 0, 50);
    } while (clock_monotonic_ns() < until);
    return 0;
}
