/* The records of networks and host interfaces as a plan for the kernel.
 * Called by: network.c, pif*.c, bond.c, vlan.c, tunnel.c, startup.  Calls: db/ (reading), net/. */
#include "xapi/network_plan.h"

#include "lib/address.h"
#include "lib/xxh64.h"
#include "xapi/net/net.h"

enum { LINK_NAME_MAX = 15, BOND_MIIMON_MS = 100, BOND_DOWNDELAY_MS = 200, BOND_UPDELAY_MS = 31000, KEY_BITS = 24 };

struct planning {
    const struct snap *s;
    struct ref host;
    struct arena *a;
    struct net_link *links;
    size_t n;
    struct ref gateway;          /* the interface whose gateway is the host's */
};

/* ---- names ------------------------------------------------------------------------------------------------------------ */

const char *network_link_of(const struct snap *s, const struct row *pif, struct arena *a)
{
    const char *device = row_str(pif, F_PIF_device);

    if (row_refs(pif, F_PIF_tunnel_access_PIF_of)->n) return arena_printf(a, "tun%.8s", row_uuid(pif));
    if (row_int(pif, F_PIF_VLAN) < 0) return arena_strdup(a, device);
    const char *name = arena_printf(a, "%s.%d", device, (int)row_int(pif, F_PIF_VLAN));
    (void)s;
    /* enp175s0f0np0.4094 is more than the kernel takes. */
    return strlen(name) <= LINK_NAME_MAX ? name : arena_printf(a, "vl%.8s", row_uuid(pif));
}

static const char *bridge_of(const struct snap *s, const struct row *pif, struct arena *a)
{
    const struct row *network = snap_get(s, CLASS_network, row_ref(pif, F_PIF_network));

    return network ? arena_strdup(a, row_str(network, F_network_bridge)) : "";
}

const char *network_address_link(const struct snap *s, const struct row *pif, struct arena *a)
{
    return row_bool(pif, F_PIF_currently_attached) ? bridge_of(s, pif, a) : network_link_of(s, pif, a);
}

/* ---- links ------------------------------------------------------------------------------------------------------------- */

static struct net_link *add(struct planning *p, enum net_kind kind, const char *name)
{
    struct net_link *l = &p->links[p->n++];

    *l = (struct net_link){ .kind = kind, .name = name, .master = "", .mac = "", .parent = "", .tunnel = { .local = "", .remote = "" } };
    return l;
}

static unsigned mtu_of(const struct planning *p, const struct row *pif)
{
    const struct row *network = snap_get(p->s, CLASS_network, row_ref(pif, F_PIF_network));

    return network ? (unsigned)row_int(network, F_network_MTU) : 0;
}

/* What stands on it must fit through: the widest of its own network and of those of its VLANs. */
static unsigned carrier_mtu(const struct planning *p, const struct row *pif)
{
    unsigned mtu = mtu_of(p, pif);
    const struct refset *vlans = row_refs(pif, F_PIF_VLAN_slave_of);

    for (size_t i = 0; i < vlans->n; i++) {
        const struct row *vlan = snap_get(p->s, CLASS_VLAN, vlans->refs[i]);
        const struct row *top = vlan ? snap_get(p->s, CLASS_PIF, row_ref(vlan, F_VLAN_untagged_PIF)) : NULL;
        unsigned its = top && row_bool(top, F_PIF_currently_attached) ? mtu_of(p, top) : 0;
        if (its > mtu) mtu = its;
    }
    return mtu;
}

static struct net_ip ipv4_of(const struct planning *p, const struct row *pif)
{
    struct net_ip ip = { .source = NET_IP_NONE };

    switch ((enum ip_configuration_mode)row_enum(pif, F_PIF_ip_configuration_mode)) {
    case ip_configuration_mode_None: break;
    case ip_configuration_mode_DHCP: ip.source = NET_IP_DHCP; break;
    case ip_configuration_mode_Static:
        ip.source = NET_IP_STATIC;
        ip.address = arena_printf(p->a, "%s/%d", row_str(pif, F_PIF_IP), address_prefix_of(row_str(pif, F_PIF_netmask)));
        ip.gateway = arena_strdup(p->a, row_str(pif, F_PIF_gateway));
        break;
    }
    return ip;
}

static struct net_ip ipv6_of(const struct planning *p, const struct row *pif)
{
    struct net_ip ip = { .source = NET_IP_NONE };
    const struct value *addresses = row_value(pif, F_PIF_IPv6);

    switch ((enum ipv6_configuration_mode)row_enum(pif, F_PIF_ipv6_configuration_mode)) {
    case ipv6_configuration_mode_None: break;
    case ipv6_configuration_mode_DHCP: ip.source = NET_IP_DHCP; break;
    case ipv6_configuration_mode_Autoconf: ip.source = NET_IP_AUTOCONF; break;
    case ipv6_configuration_mode_Static:
        ip.source = addresses->set.n ? NET_IP_STATIC : NET_IP_NONE;
        if (addresses->set.n) ip.address = arena_strdup(p->a, addresses->set.items[0].s);
        ip.gateway = arena_strdup(p->a, row_str(pif, F_PIF_ipv6_gateway));
        break;
    }
    return ip;
}

static unsigned option_ms(const struct row *pif, const char *key, unsigned fallback)
{
    const char *text = row_map_str(pif, F_PIF_other_config, key, "");

    return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 8 ? (unsigned)atoi(text) : fallback;
}

static struct net_bond bond_of(const struct planning *p, const struct row *pif)
{
    const struct row *bond = snap_get(p->s, CLASS_Bond, row_refs(pif, F_PIF_bond_master_of)->refs[0]);
    struct net_bond out = {
        .miimon_ms = option_ms(pif, "bond-miimon", BOND_MIIMON_MS),
        .updelay_ms = option_ms(pif, "bond-updelay", BOND_UPDELAY_MS),
        .downdelay_ms = option_ms(pif, "bond-downdelay", BOND_DOWNDELAY_MS),
    };

    if (!bond) return out;
    /* The kernel rounds delays to whole looks at the links. */
    out.updelay_ms -= out.miimon_ms ? out.updelay_ms % out.miimon_ms : 0;
    out.downdelay_ms -= out.miimon_ms ? out.downdelay_ms % out.miimon_ms : 0;
    switch ((enum bond_mode)row_enum(bond, F_Bond_mode)) {
    case bond_mode_balance_slb: out.mode = NET_BOND_SLB; break;
    case bond_mode_active_backup: out.mode = NET_BOND_ACTIVE_BACKUP; break;
    case bond_mode_lacp: out.mode = NET_BOND_LACP; break;
    }
    out.lacp_fast = streq(row_map_str(bond, F_Bond_properties, "lacp-time", "slow"), "fast");
    out.lacp_fallback = !streq(row_map_str(bond, F_Bond_properties, "lacp-fallback-ab", "true"), "false");
    out.lacp_key = (unsigned)strtoul(row_map_str(bond, F_Bond_properties, "lacp-aggregation-key", ""), NULL, 10);
    out.hash_ports = streq(row_map_str(bond, F_Bond_properties, "hashing_algorithm", "tcpudp_ports"), "tcpudp_ports");
    return out;
}

/* The other ends: what the administrator says, else the interface below the tunnel of another host on the same network. */
static const char *tunnel_remote(const struct planning *p, const struct row *tunnel, struct ref network)
{
    const char *said = row_map_str(tunnel, F_tunnel_other_config, "remote", "");

    if (*said) return arena_strdup(p->a, said);
    SNAP_EACH (p->s, CLASS_tunnel, other) {
        const struct row *access = snap_get(p->s, CLASS_PIF, row_ref(other, F_tunnel_access_PIF));
        const struct row *transport = snap_get(p->s, CLASS_PIF, row_ref(other, F_tunnel_transport_PIF));
        if (access && transport && ref_eq(row_ref(access, F_PIF_network), network) &&
            !ref_eq(row_ref(access, F_PIF_host), p->host))
            return arena_strdup(p->a, row_str(transport, F_PIF_IP));
    }
    return "";
}

static struct net_tunnel tunnel_of(const struct planning *p, const struct row *pif)
{
    const struct row *tunnel = snap_get(p->s, CLASS_tunnel, row_refs(pif, F_PIF_tunnel_access_PIF_of)->refs[0]);
    const struct row *transport = tunnel ? snap_get(p->s, CLASS_PIF, row_ref(tunnel, F_tunnel_transport_PIF)) : NULL;
    const struct row *network = snap_get(p->s, CLASS_network, row_ref(pif, F_PIF_network));
    struct net_tunnel out = { .local = "", .remote = "" };

    if (!transport || !network) return out;
    const char *key = row_map_str(tunnel, F_tunnel_other_config, "key", "");
    out.vxlan = row_enum(tunnel, F_tunnel_protocol) == tunnel_protocol_vxlan;
    out.local = arena_strdup(p->a, row_str(transport, F_PIF_IP));
    out.remote = tunnel_remote(p, tunnel, row_ref_of(network));
    /* Every host of the pool makes the same number of the network's uuid. */
    out.key = *key ? (unsigned)strtoul(key, NULL, 10) & ((1u << KEY_BITS) - 1)
                   : (unsigned)(xxh64(row_uuid(network), strlen(row_uuid(network))) >> (64 - KEY_BITS));
    return out;
}

static void plan_bridge(struct planning *p, const struct row *pif)
{
    const struct row *network = snap_get(p->s, CLASS_network, row_ref(pif, F_PIF_network));
    bool own_mac = row_int(pif, F_PIF_VLAN) < 0 && !row_refs(pif, F_PIF_tunnel_access_PIF_of)->n;

    if (!network) return;
    struct net_link *l = add(p, NET_BRIDGE, bridge_of(p->s, pif, p->a));
    l->mtu = mtu_of(p, pif);
    if (own_mac) l->mac = arena_strdup(p->a, row_str(pif, F_PIF_MAC));
    l->ip4 = ipv4_of(p, pif);
    l->ip6 = ipv6_of(p, pif);
    l->is_default = ref_eq(row_ref_of(pif), p->gateway);
}

/* Attached, or a member of a bond that is. */
static const struct row *master_of(const struct planning *p, const struct row *pif)
{
    const struct row *bond = snap_get(p->s, CLASS_Bond, row_ref(pif, F_PIF_bond_slave_of));

    return bond ? snap_get(p->s, CLASS_PIF, row_ref(bond, F_Bond_master)) : NULL;
}

static void plan_nic(struct planning *p, const struct row *pif)
{
    const struct row *bond = master_of(p, pif), *top = bond ? bond : pif;
    bool attached = row_bool(top, F_PIF_currently_attached);
    struct net_link *l = add(p, NET_NIC, network_link_of(p->s, pif, p->a));

    if (!attached) return;            /* its address stays, too: it is not ours */
    l->master = bond ? network_link_of(p->s, bond, p->a) : bridge_of(p->s, pif, p->a);
    l->mtu = bond ? 0 : carrier_mtu(p, pif);          /* a bond sets that of its members */
    l->ip4.source = NET_IP_NONE;
    const char *promiscuous = row_map_str(top, F_PIF_other_config, "promiscuous", "off");
    l->no_gro = streq(row_map_str(top, F_PIF_properties, "gro", "on"), "off");
    l->promiscuous = streq(promiscuous, "on") || streq(promiscuous, "true");
    if (!bond) plan_bridge(p, pif);
}

static void plan_virtual(struct planning *p, const struct row *pif)
{
    bool is_tunnel = row_refs(pif, F_PIF_tunnel_access_PIF_of)->n, is_bond = row_refs(pif, F_PIF_bond_master_of)->n;

    if (!row_bool(pif, F_PIF_currently_attached) || (!is_tunnel && !is_bond && row_int(pif, F_PIF_VLAN) < 0)) return;
    struct net_link *l = add(p, is_tunnel ? NET_TUNNEL : is_bond ? NET_BOND : NET_VLAN, network_link_of(p->s, pif, p->a));
    l->master = bridge_of(p->s, pif, p->a);
    if (is_tunnel) {
        l->tunnel = tunnel_of(p, pif);
    } else if (is_bond) {
        l->mtu = carrier_mtu(p, pif);
        l->mac = arena_strdup(p->a, row_str(pif, F_PIF_MAC));
        l->bond = bond_of(p, pif);
    } else {
        l->mtu = mtu_of(p, pif);
        l->tag = (unsigned)row_int(pif, F_PIF_VLAN);
        l->parent = arena_strdup(p->a, row_str(pif, F_PIF_device));
    }
    plan_bridge(p, pif);
}

/* The one that the administrator chose, else the one with management. */
static struct ref find_gateway(const struct planning *p)
{
    struct ref found = REF_NULL;

    SNAP_EACH (p->s, CLASS_PIF, pif) {
        if (!ref_eq(row_ref(pif, F_PIF_host), p->host)) continue;
        if (streq(row_map_str(pif, F_PIF_other_config, "defaultroute", ""), "true")) return row_ref_of(pif);
        if (row_bool(pif, F_PIF_management)) found = row_ref_of(pif);
    }
    return found;
}

enum use { USE_NONE, USE_INTERNAL, USE_PIF };

/* What keeps a network's bridge here: an interface of ours that is plugged (which plans it); else guests' cards, which make
 * and need it, whenever they come: only that of a network which hangs on an interface is known to have none. */
static enum use use_of(const struct planning *p, const struct row *network)
{
    const struct refset *pifs = row_refs(network, F_network_PIFs), *vifs = row_refs(network, F_network_VIFs);
    bool ours = false;

    for (size_t i = 0; i < pifs->n; i++) {
        const struct row *pif = snap_get(p->s, CLASS_PIF, pifs->refs[i]);
        if (!pif || !ref_eq(row_ref(pif, F_PIF_host), p->host)) continue;
        if (row_bool(pif, F_PIF_currently_attached) && ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return USE_PIF;
        ours = true;
    }
    for (size_t i = 0; ours && i < vifs->n; i++) {
        const struct row *vif = snap_get(p->s, CLASS_VIF, vifs->refs[i]);
        if (vif && row_bool(vif, F_VIF_currently_attached)) return USE_INTERNAL;
    }
    return ours ? USE_NONE : USE_INTERNAL;
}

const struct net_plan *network_plan(const struct snap *s, struct ref host, struct arena *a)
{
    struct planning p = { .s = s, .host = host, .a = a };
    struct net_plan *plan = arena_zalloc(a, sizeof(*plan));

    p.links = arena_new_array(a, struct net_link, 2 * snap_count(s, CLASS_PIF) + snap_count(s, CLASS_network));
    p.gateway = find_gateway(&p);
    SNAP_EACH (s, CLASS_PIF, pif) {
        if (!ref_eq(row_ref(pif, F_PIF_host), host) || !row_bool(pif, F_PIF_managed)) continue;
        if (row_bool(pif, F_PIF_physical)) plan_nic(&p, pif);
        else plan_virtual(&p, pif);
    }
    SNAP_EACH (s, CLASS_network, network) {
        if (!row_bool(network, F_network_managed) || use_of(&p, network) != USE_INTERNAL) continue;
        struct net_link *l = add(&p, NET_BRIDGE, arena_strdup(a, row_str(network, F_network_bridge)));
        l->optional = true;
        l->mtu = (unsigned)row_int(network, F_network_MTU);
        l->ip4.source = l->ip6.source = NET_IP_LEAVE;    /* an administrator may join in */
    }
    *plan = (struct net_plan){ p.links, p.n };
    return plan;
}

int network_apply(struct call *c, struct xerr *err)
{
    const struct net_plan *plan;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        plan = network_plan(s, c->agent->host, c->arena);
    }
    return net_apply(c->agent->net, plan, err);
}
