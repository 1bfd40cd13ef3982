/* Class PIF: the host's network cards and what stands on them: scan, plug, unplug, properties.
 * Called by: startup, the generated thunks (schema/pif.xml).  Calls: network_plan.c, net/, db/. */
#include "xapi/pif.h"

#include <ctype.h>

#define LOG_MODULE "pif"
#include "gen/methods.h"
#include "lib/address.h"
#include "lib/log.h"
#include "xapi/host_management.h"
#include "xapi/net/net.h"
#include "xapi/network.h"
#include "xapi/network_plan.h"
#include "xapi/vif_card.h"

#include <time.h>

static bool is_ours(const struct call *c, const struct row *pif) { return ref_eq(row_ref(pif, F_PIF_host), c->agent->host); }

static const struct row *find_pif(const struct snap *s, struct ref host, const char *device)
{
    SNAP_EACH (s, CLASS_PIF, pif) {
        if (ref_eq(row_ref(pif, F_PIF_host), host) && streq(row_str(pif, F_PIF_device), device) &&
            row_int(pif, F_PIF_VLAN) < 0 && !row_refs(pif, F_PIF_tunnel_access_PIF_of)->n)
            return pif;
    }
    return NULL;
}

const struct row *pif_need_own(struct call *c, const struct snap *s, struct ref pif, struct xerr *err)
{
    const struct row *row = snap_need(s, CLASS_PIF, pif, err);

    if (!row) return NULL;
    if (!is_ours(c, row)) xerr_host_offline(err, REF_STR(row_ref(row, F_PIF_host)));
    else if (!row_bool(row, F_PIF_managed)) xerr_pif_unmanaged(err, REF_STR(pif));
    else return row;
    return NULL;
}

static int need_host(struct call *c, struct ref host, struct xerr *err)
{
    if (ref_eq(host, c->agent->host)) return 0;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    return snap_need(s, CLASS_host, host, err) ? xerr_host_offline(err, REF_STR(host)) : -1;
}

/* ---- records ------------------------------------------------------------------------------------------------------------- */

struct ref pif_create_record(struct call *c, struct txn *t, const char *device, const char *mac, struct ref network, int64_t vlan,
                             bool physical)
{
    struct ref pif = ref_new(), metrics = ref_new();

    txn_create(t, CLASS_PIF_metrics, metrics);
    txn_create(t, CLASS_PIF, pif);
    txn_set_str(t, pif, F_PIF_device, device);
    txn_set_ref(t, pif, F_PIF_network, network);
    txn_set_ref(t, pif, F_PIF_host, c->agent->host);
    txn_set_str(t, pif, F_PIF_MAC, mac);
    txn_set_int(t, pif, F_PIF_VLAN, vlan);
    txn_set_bool(t, pif, F_PIF_physical, physical);
    txn_set_bool(t, pif, F_PIF_currently_attached, false);
    txn_set_ref(t, pif, F_PIF_metrics, metrics);
    txn_map_put_str(t, pif, F_PIF_properties, "gro", "on");
    const struct row *row = snap_get(txn_snap(t), CLASS_network, network);
    if (row) txn_set_int(t, pif, F_PIF_MTU, row_int(row, F_network_MTU));
    return pif;
}

void pif_destroy_record(struct txn *t, struct ref pif)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_PIF, pif);
    struct ref metrics = row ? row_ref(row, F_PIF_metrics) : REF_NULL;

    if (snap_get(txn_snap(t), CLASS_PIF_metrics, metrics)) txn_destroy(t, CLASS_PIF_metrics, metrics);
    if (row) txn_destroy(t, CLASS_PIF, pif);
}

/* eth0 -> xenbr0, enp3s0 -> brenp3s0: what administrators of the reference know. */
static const char *bridge_for(struct arena *a, const char *device)
{
    if (has_prefix(device, "eth")) return arena_printf(a, "xenbr%.10s", device + 3);
    return arena_printf(a, "br%.13s", device);
}

/* The network that a forgotten card, or another host's of the same name, has left; null: none. */
static struct ref network_of_bridge(const struct call *c, const struct snap *s, const char *bridge)
{
    SNAP_EACH (s, CLASS_network, network) {
        const struct refset *pifs = row_refs(network, F_network_PIFs);
        bool taken = !row_bool(network, F_network_managed) || !streq(row_str(network, F_network_bridge), bridge);
        for (size_t i = 0; i < pifs->n && !taken; i++) {
            const struct row *pif = snap_get(s, CLASS_PIF, pifs->refs[i]);
            taken = pif && is_ours(c, pif);
        }
        if (!taken) return row_ref_of(network);
    }
    return REF_NULL;
}

struct ref pif_create_physical(struct call *c, struct txn *t, const struct net_interface *nic)
{
    const char *bridge = bridge_for(c->arena, nic->name);
    struct ref network = network_of_bridge(c, txn_snap(t), bridge);

    if (!ref_is_null(network)) return pif_create_record(c, t, nic->name, nic->mac, network, -1, true);
    network = ref_new();
    txn_create(t, CLASS_network, network);
    txn_set_str(t, network, F_network_name_label,
                arena_printf(c->arena, "Pool-wide network associated with %s", nic->name));
    txn_set_str(t, network, F_network_bridge, bridge);
    return pif_create_record(c, t, nic->name, nic->mac, network, -1, true);
}

/* ---- what the kernel says ---------------------------------------------------------------------------------------------------- */

static const struct net_interface *nic_named(const struct net_interface *nics, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (streq(nics[i].name, name)) return &nics[i];
    return NULL;
}

/* An address that we have set is in the record already; what others have set, and leases, are read back. */
static void refresh_address(struct call *c, struct txn *t, struct ref ref, const struct net_interface *with)
{
    const struct row *pif = snap_get(txn_snap(t), CLASS_PIF, ref);
    const char *link = network_address_link(txn_snap(t), pif, c->arena);
    struct net_lease lease;
    bool attached = row_bool(pif, F_PIF_currently_attached);
    enum ip_configuration_mode mode = (enum ip_configuration_mode)row_enum(pif, F_PIF_ip_configuration_mode);

    if (mode == ip_configuration_mode_Static || !ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return;
    txn_set_str(t, ref, F_PIF_IP, with ? with->ip : "");
    txn_set_str(t, ref, F_PIF_netmask, with ? with->netmask : "");
    txn_set_str(t, ref, F_PIF_gateway, with ? with->gateway : "");
    if (mode != ip_configuration_mode_DHCP || !attached || !net_lease(c->agent->net, link, false, c->arena, &lease)) return;
    txn_set_str(t, ref, F_PIF_gateway, lease.gateway);
    txn_set_str(t, ref, F_PIF_DNS, lease.dns);
}

static void refresh_ipv6(struct call *c, struct txn *t, struct ref ref, const struct net_interface *with)
{
    const struct row *pif = snap_get(txn_snap(t), CLASS_PIF, ref);
    const char *link = network_address_link(txn_snap(t), pif, c->arena);
    enum ipv6_configuration_mode mode = (enum ipv6_configuration_mode)row_enum(pif, F_PIF_ipv6_configuration_mode);
    const struct value one[] = { value_string(with ? with->ipv6 : "") };
    const struct value set = value_set(one, with && *with->ipv6 ? 1 : 0);
    bool asks = mode == ipv6_configuration_mode_DHCP && row_bool(pif, F_PIF_currently_attached);
    /* Resolvers are in one field: those of IPv4 are there first. */
    bool alone = row_enum(pif, F_PIF_ip_configuration_mode) == ip_configuration_mode_None;
    struct net_lease lease;

    if (mode != ipv6_configuration_mode_Autoconf && mode != ipv6_configuration_mode_DHCP) return;
    txn_set_value(t, ref, F_PIF_IPv6, &set);
    if (asks && alone && net_lease(c->agent->net, link, true, c->arena, &lease)) txn_set_str(t, ref, F_PIF_DNS, lease.dns);
}

static void refresh(struct call *c, struct txn *t, const struct row *pif, const struct net_interface *nics, size_t n)
{
    const struct net_interface *nic = nic_named(nics, n, network_link_of(txn_snap(t), pif, c->arena));
    const struct net_interface *with = nic_named(nics, n, network_address_link(txn_snap(t), pif, c->arena));
    struct ref ref = row_ref_of(pif), metrics = row_ref(pif, F_PIF_metrics);

    if (nic && !row_bool(pif, F_PIF_currently_attached)) txn_set_int(t, ref, F_PIF_MTU, nic->mtu);
    refresh_address(c, t, ref, with);
    refresh_ipv6(c, t, ref, with);
    txn_set_bool(t, metrics, F_PIF_metrics_carrier, nic && nic->carrier);
    txn_set_time(t, metrics, F_PIF_metrics_last_updated, time(NULL));
    if (!nic) return;
    txn_set_int(t, metrics, F_PIF_metrics_speed, nic->speed_mbit);
    txn_set_bool(t, metrics, F_PIF_metrics_duplex, nic->duplex);
    txn_set_str(t, metrics, F_PIF_metrics_vendor_id, nic->vendor_id);
    txn_set_str(t, metrics, F_PIF_metrics_device_id, nic->device_id);
    txn_set_str(t, metrics, F_PIF_metrics_device_name, nic->driver);
    txn_set_str(t, metrics, F_PIF_metrics_pci_bus_path, nic->pci_path);
}

static int cmp_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* How many members have a cable: a sentence about "eth0+eth1"; NULL when nothing changed. */
static const char *refresh_bond(struct call *c, struct txn *t, const struct row *bond)
{
    const struct refset *slaves = row_refs(bond, F_Bond_slaves);
    const char **devices = arena_new_array(c->arena, const char *, slaves->n), *names = "";
    int64_t up = 0, before = row_int(bond, F_Bond_links_up);
    size_t n = 0;

    for (size_t i = 0; i < slaves->n; i++) {
        const struct row *pif = snap_get(txn_snap(t), CLASS_PIF, slaves->refs[i]);
        const struct row *metrics = pif ? snap_get(txn_snap(t), CLASS_PIF_metrics, row_ref(pif, F_PIF_metrics)) : NULL;
        if (metrics && row_bool(metrics, F_PIF_metrics_carrier)) up++;
        if (pif) devices[n++] = arena_strdup(c->arena, row_str(pif, F_PIF_device));
    }
    if (up == before) return NULL;
    if (n) qsort(devices, n, sizeof(*devices), cmp_text);
    for (size_t i = 0; i < n; i++) names = arena_printf(c->arena, "%s%s%s", names, i ? "+" : "", devices[i]);
    txn_set_int(t, row_ref_of(bond), F_Bond_links_up, up);
    return arena_printf(c->arena, "The status of the %s bond changed: %d/%zu up (was %d/%zu)", names, (int)up, n, (int)before, n);
}

static void alert_bond(struct call *c, const char *body)
{
    enum { PRIORITY = 3 };
    struct xerr err = XERR_INIT;
    struct ref message;
    const char *uuid;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *host = snap_get(s, CLASS_host, c->agent->host);
        uuid = host ? arena_strdup(c->arena, row_uuid(host)) : "";
    }
    log_warn("%s", body);
    if (!message_create(c, "BOND_STATUS_CHANGED", PRIORITY, cls_Host, uuid, body, &message, &err)) return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_error("alert: %s", why);
    xerr_clear(&err);
}

/* Records of this host's interfaces as the kernel has them; new cards get one when `add` says so. */
static int read_kernel(struct call *c, bool add, struct xerr *err)
{
    const struct net_interface *nics;
    const char *bodies[16];
    size_t n, n_bodies = 0;

    if (net_list(c->agent->net, c->arena, &nics, &n, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    for (size_t i = 0; i < n && add; i++)
        if (nics[i].physical && !nics[i].owned && !find_pif(txn_snap(t), c->agent->host, nics[i].name))
            pif_create_physical(c, t, &nics[i]);
    SNAP_EACH (txn_snap(t), CLASS_PIF, pif)
        if (is_ours(c, pif)) refresh(c, t, pif, nics, n);
    SNAP_EACH (txn_snap(t), CLASS_Bond, bond) {
        const struct row *master = snap_get(txn_snap(t), CLASS_PIF, row_ref(bond, F_Bond_master));
        const char *body = master && is_ours(c, master) ? refresh_bond(c, t, bond) : NULL;
        if (body && row_bool(master, F_PIF_currently_attached) && n_bodies < ARRAY_SIZE(bodies)) bodies[n_bodies++] = body;
    }
    host_management_refresh(c->agent, t);
    if (db_commit(t, err)) return -1;
    for (size_t i = 0; i < n_bodies; i++) alert_bond(c, bodies[i]);
    return 0;
}

int pif_scan_host(struct call *c, struct xerr *err) { return read_kernel(c, true, err); }

int pif_scan(struct call *c, struct ref host, struct xerr *err)
{
    return need_host(c, host, err) ? -1 : pif_scan_host(c, err);
}

static bool has_slb(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    SNAP_EACH (s, CLASS_Bond, bond)
        if (row_enum(bond, F_Bond_mode) == bond_mode_balance_slb) return true;
    return false;
}

void pif_watch(struct agent *agent)
{
    unsigned news = net_news(agent->net);

    if (!news) return;
    struct call *c = call_new_internal(agent, "network news");
    struct xerr err = XERR_INIT;
    /* A lease that came or went: its address is set by the plan, and only then it is there to be read. A bond that spreads by
     * source takes broadcasts by its first living link. A switch that began anew has lost interfaces, rules and limits. */
    bool restart = news & NET_NEWS_RESTART, plan = news & NET_NEWS_LEASES || restart || has_slb(c);
    if ((plan && network_apply(c, &err)) || (restart && vif_cards_startup(c, &err)) || read_kernel(c, false, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("network: %s", why);
        xerr_clear(&err);
    } else if (restart) {
        net_restart_done(agent->net);
    }
    call_free_internal(c);
}

/* ---- introduce, forget ---------------------------------------------------------------------------------------------------------- */

static bool mac_valid(const char *mac)
{
    for (int i = 0; i < 17; i++)
        if (i % 3 == 2 ? mac[i] != ':' : !isxdigit((unsigned char)mac[i])) return false;
    return !mac[17];
}

int pif_introduce(struct call *c, struct ref host, const char *MAC, const char *device, bool managed, struct ref *ret_result,
                  struct xerr *err)
{
    const struct net_interface *nics, *found = NULL;
    size_t n;
    bool mac_seen = false;
    char *mac = arena_strdup(c->arena, MAC);

    if (need_host(c, host, err)) return -1;
    for (char *p = mac; *p; p++) *p = (char)tolower((unsigned char)*p);
    if (*mac && !mac_valid(mac)) return xerr_mac_invalid(err, MAC);
    if (net_list(c->agent->net, c->arena, &nics, &n, err)) return -1;
    for (size_t i = 0; i < n; i++) {
        if (!nics[i].physical || nics[i].owned) continue;
        if (*mac && streq(nics[i].mac, mac)) mac_seen = true;
        if (streq(nics[i].name, device) && (!*mac || streq(nics[i].mac, mac))) found = &nics[i];
    }
    if (*mac && !mac_seen) return xerr_mac_does_not_exist(err, MAC);
    if (!found)
        return xerr_could_not_find_network_interface_with_specified_device_name_and_mac_address(
            err, 2, (const char *const[]){ device, MAC });
    struct txn *t = db_begin(c->agent->db);
    if (find_pif(txn_snap(t), host, device)) {
        db_abort(t);
        return xerr_duplicate_pif_device_name(err, device);
    }
    struct ref pif = pif_create_physical(c, t, found);
    txn_set_bool(t, pif, F_PIF_managed, managed);
    refresh(c, t, snap_get(txn_snap(t), CLASS_PIF, pif), nics, n);
    if (db_commit(t, err)) return -1;
    *ret_result = pif;
    return 0;
}

int pif_check_bare(const struct row *pif, struct xerr *err)
{
    const char *name = REF_STR(row_ref_of(pif));

    if (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return xerr_pif_already_bonded(err, name);
    if (row_refs(pif, F_PIF_VLAN_slave_of)->n) return xerr_pif_vlan_still_exists(err, name);
    if (row_refs(pif, F_PIF_tunnel_transport_PIF_of)->n) return xerr_pif_tunnel_still_exists(err, name);
    return row_refs(pif, F_PIF_sriov_physical_PIF_of)->n ? xerr_pif_sriov_still_exists(err, name) : 0;
}

int pif_check_unused(const struct snap *s, const struct row *pif, struct xerr *err)
{
    const struct row *network = snap_get(s, CLASS_network, row_ref(pif, F_PIF_network));
    const struct refset *vifs = network ? row_refs(network, F_network_VIFs) : NULL, *vlans = row_refs(pif, F_PIF_VLAN_slave_of);

    for (size_t i = 0; vifs && i < vifs->n; i++) {
        const struct row *vif = snap_get(s, CLASS_VIF, vifs->refs[i]);
        if (vif && row_bool(vif, F_VIF_currently_attached))
            return xerr_vif_in_use(err, REF_STR(row_ref_of(network)), REF_STR(vifs->refs[i]));
    }
    for (size_t i = 0; i < vlans->n; i++) {
        const struct row *vlan = snap_get(s, CLASS_VLAN, vlans->refs[i]);
        const struct row *top = vlan ? snap_get(s, CLASS_PIF, row_ref(vlan, F_VLAN_untagged_PIF)) : NULL;
        if (top && pif_check_unused(s, top, err)) return -1;
    }
    return 0;
}

int pif_network_free(struct call *c, const struct snap *s, struct ref network, struct xerr *err)
{
    const struct row *row = snap_need(s, CLASS_network, network, err);
    const struct refset *pifs = row ? row_refs(row, F_network_PIFs) : NULL;

    if (!row) return -1;
    if (!row_bool(row, F_network_managed)) return xerr_network_unmanaged(err, REF_STR(network));
    for (size_t i = 0; i < pifs->n; i++) {
        const struct row *pif = snap_get(s, CLASS_PIF, pifs->refs[i]);
        if (pif && is_ours(c, pif)) return xerr_network_already_connected(err, REF_STR(network), REF_STR(pifs->refs[i]));
    }
    return 0;
}

/* The record goes; the card, if it is still there, is left to the administrator. */
int pif_forget(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *pif = pif_need_own(c, txn_snap(t), self, err);
    int rc = pif ? 0 : -1;

    if (!rc && !row_bool(pif, F_PIF_physical)) rc = xerr_pif_is_not_physical(err, REF_STR(self));
    if (!rc && row_bool(pif, F_PIF_management)) rc = xerr_pif_is_management_interface(err, REF_STR(self));
    if (rc || pif_check_bare(pif, err) || pif_check_unused(txn_snap(t), pif, err)) {
        db_abort(t);
        return -1;
    }
    /* First released, then forgotten: what is not in the plan is not touched any more. */
    txn_set_bool(t, self, F_PIF_currently_attached, false);
    if (db_commit(t, err) || network_apply(c, err)) return -1;
    t = db_begin(c->agent->db);
    pif_destroy_record(t, self);
    return db_commit(t, err);
}

int pif_db_introduce(struct call *c, const char *device, struct ref network, struct ref host, const char *MAC, int64_t MTU,
                     int64_t VLAN, bool physical, enum ip_configuration_mode ip_configuration_mode, const char *IP,
                     const char *netmask, const char *gateway, const char *DNS, struct ref bond_slave_of,
                     struct ref VLAN_master_of, bool management, const struct value *other_config, bool disallow_unplug,
                     enum ipv6_configuration_mode ipv6_configuration_mode, const struct value *IPv6, const char *ipv6_gateway,
                     enum primary_address_type primary_address_type, bool managed, const struct value *properties,
                     struct ref *ret_result, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!snap_need(txn_snap(t), CLASS_host, host, err) || !snap_need(txn_snap(t), CLASS_network, network, err)) {
        db_abort(t);
        return -1;
    }
    struct ref pif = pif_create_record(c, t, device, MAC, network, VLAN, physical);
    txn_set_ref(t, pif, F_PIF_host, host);
    txn_set_int(t, pif, F_PIF_MTU, MTU);
    txn_set_enum(t, pif, F_PIF_ip_configuration_mode, (int)ip_configuration_mode);
    txn_set_str(t, pif, F_PIF_IP, IP);
    txn_set_str(t, pif, F_PIF_netmask, netmask);
    txn_set_str(t, pif, F_PIF_gateway, gateway);
    txn_set_str(t, pif, F_PIF_DNS, DNS);
    txn_set_ref(t, pif, F_PIF_bond_slave_of, bond_slave_of);
    txn_set_ref(t, pif, F_PIF_VLAN_master_of, VLAN_master_of);
    txn_set_bool(t, pif, F_PIF_management, management);
    txn_set_value(t, pif, F_PIF_other_config, other_config);
    txn_set_bool(t, pif, F_PIF_disallow_unplug, disallow_unplug);
    txn_set_enum(t, pif, F_PIF_ipv6_configuration_mode, (int)ipv6_configuration_mode);
    txn_set_value(t, pif, F_PIF_IPv6, IPv6);
    txn_set_str(t, pif, F_PIF_ipv6_gateway, ipv6_gateway);
    txn_set_enum(t, pif, F_PIF_primary_address_type, (int)primary_address_type);
    txn_set_bool(t, pif, F_PIF_managed, managed);
    txn_set_value(t, pif, F_PIF_properties, properties);
    if (db_commit(t, err)) return -1;
    *ret_result = pif;
    return 0;
}

int pif_db_forget(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!snap_need(txn_snap(t), CLASS_PIF, self, err)) {
        db_abort(t);
        return -1;
    }
    pif_destroy_record(t, self);
    return db_commit(t, err);
}

/* ---- plug, unplug -------------------------------------------------------------------------------------------------------------- */

/* What a failure of the kernel's means for this interface: the reason, without our own names in front. */
static int configuration_error(struct ref pif, struct xerr *why, struct xerr *err)
{
    _cleanup_free_ char *text = xerr_text(why);

    xerr_clear(why);
    return xerr_pif_configuration_error(err, REF_STR(pif), text);
}

/* A card's own address, which its administrator set before we came: it moves to the bridge, so that who is connected through
 * it stays connected. */
static void adopt_address(struct txn *t, const struct row *pif)
{
    struct ref ref = row_ref_of(pif);

    if (row_enum(pif, F_PIF_ip_configuration_mode) != ip_configuration_mode_None || !*row_str(pif, F_PIF_IP)) return;
    if (!row_bool(pif, F_PIF_physical) || address_prefix_of(row_str(pif, F_PIF_netmask)) < 0) return;
    txn_set_enum(t, ref, F_PIF_ip_configuration_mode, ip_configuration_mode_Static);
}

/* Errors that no kernel is needed for. */
static int check_plug(const struct snap *s, const struct row *pif, struct xerr *err)
{
    const struct refset *tunnels = row_refs(pif, F_PIF_tunnel_access_PIF_of);
    const struct row *tunnel = tunnels->n ? snap_get(s, CLASS_tunnel, tunnels->refs[0]) : NULL;
    const struct row *transport = tunnel ? snap_get(s, CLASS_PIF, row_ref(tunnel, F_tunnel_transport_PIF)) : NULL;

    if (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return xerr_cannot_plug_bond_slave(err, REF_STR(row_ref_of(pif)));
    if (transport && !*row_str(transport, F_PIF_IP))
        return xerr_transport_pif_not_configured(err, REF_STR(row_ref_of(transport)));
    return 0;
}

/* What it stands on, or null. */
static struct ref below(const struct snap *s, const struct row *pif)
{
    const struct row *vlan = snap_get(s, CLASS_VLAN, row_ref(pif, F_PIF_VLAN_master_of));
    const struct refset *tunnels = row_refs(pif, F_PIF_tunnel_access_PIF_of);
    const struct row *tunnel = tunnels->n ? snap_get(s, CLASS_tunnel, tunnels->refs[0]) : NULL;

    return vlan ? row_ref(vlan, F_VLAN_tagged_PIF) : tunnel ? row_ref(tunnel, F_tunnel_transport_PIF) : REF_NULL;
}

/* With the members of a bond, and a tunnel's state. */
void pif_set_attached(struct txn *t, struct ref pif, bool attached)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_PIF, pif);
    const struct row *network = row ? snap_get(txn_snap(t), CLASS_network, row_ref(row, F_PIF_network)) : NULL;
    struct ref bond = row && row_refs(row, F_PIF_bond_master_of)->n ? row_refs(row, F_PIF_bond_master_of)->refs[0] : REF_NULL;
    struct ref tunnel = row && row_refs(row, F_PIF_tunnel_access_PIF_of)->n ? row_refs(row, F_PIF_tunnel_access_PIF_of)->refs[0]
                                                                            : REF_NULL;

    txn_set_bool(t, pif, F_PIF_currently_attached, attached);
    if (attached && network) txn_set_int(t, pif, F_PIF_MTU, row_int(network, F_network_MTU));
    for (size_t i = 0;; i++) {
        const struct row *b = snap_get(txn_snap(t), CLASS_Bond, bond);
        if (!b || i >= row_refs(b, F_Bond_slaves)->n) break;
        txn_set_bool(t, row_refs(b, F_Bond_slaves)->refs[i], F_PIF_currently_attached, attached);
    }
    if (!ref_is_null(tunnel)) txn_map_put_str(t, tunnel, F_tunnel_status, "active", attached ? "true" : "false");
}

static int set_one_attached(struct call *c, struct ref pif, bool attached, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    pif_set_attached(t, pif, attached);
    return db_commit(t, err);
}

int pif_bring_up(struct call *c, struct ref pif, struct xerr *err)
{
    struct xerr why = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = pif_need_own(c, txn_snap(t), pif, err);

    if (!row || check_plug(txn_snap(t), row, err)) {
        db_abort(t);
        return -1;
    }
    struct ref foot = below(txn_snap(t), row);
    enum ip_configuration_mode mode = (enum ip_configuration_mode)row_enum(row, F_PIF_ip_configuration_mode);
    const struct row *under = snap_get(txn_snap(t), CLASS_PIF, foot);
    if (under && !row_bool(under, F_PIF_currently_attached)) {
        db_abort(t);
        if (pif_bring_up(c, foot, err)) return -1;
        return pif_bring_up(c, pif, err);
    }
    bool was = row_bool(row, F_PIF_currently_attached);
    if (!was) adopt_address(t, row);
    pif_set_attached(t, pif, true);
    if (db_commit(t, err)) return -1;
    if (!network_apply(c, &why)) return read_kernel(c, false, err);
    if (was) return configuration_error(pif, &why, err);
    /* Back to what was: the fields, and then the kernel, as far as it had come. */
    struct xerr again = XERR_INIT;
    t = db_begin(c->agent->db);
    pif_set_attached(t, pif, false);
    txn_set_enum(t, pif, F_PIF_ip_configuration_mode, (int)mode);
    if (db_commit(t, &again) || network_apply(c, &again)) {
        _cleanup_free_ char *text = xerr_text(&again);
        log_error("taking back what failed: %s", text);
        xerr_clear(&again);
    }
    return configuration_error(pif, &why, err);
}

int pif_plug(struct call *c, struct ref self, struct xerr *err) { return pif_bring_up(c, self, err); }

int pif_unplug(struct call *c, struct ref self, struct xerr *err)
{
    struct xerr why = XERR_INIT;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *pif = pif_need_own(c, s, self, err);
        if (!pif) return -1;
        if (row_bool(pif, F_PIF_management)) return xerr_pif_is_management_interface(err, REF_STR(self));
        if (row_bool(pif, F_PIF_disallow_unplug)) return xerr_pif_does_not_allow_unplug(err, REF_STR(self));
        if (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return xerr_pif_already_bonded(err, REF_STR(self));
        if (pif_check_unused(s, pif, err)) return -1;
    }
    struct txn *t = db_begin(c->agent->db);
    const struct row *pif = snap_need(txn_snap(t), CLASS_PIF, self, err);
    if (!pif) {
        db_abort(t);
        return -1;
    }
    SNAP_EACH (txn_snap(t), CLASS_VLAN, vlan)
        if (ref_eq(row_ref(vlan, F_VLAN_tagged_PIF), self)) pif_set_attached(t, row_ref(vlan, F_VLAN_untagged_PIF), false);
    pif_set_attached(t, self, false);
    if (db_commit(t, err)) return -1;
    if (!network_apply(c, &why)) return read_kernel(c, false, err);
    struct xerr ignored = XERR_INIT;
    set_one_attached(c, self, true, &ignored);
    xerr_clear(&ignored);
    return configuration_error(self, &why, err);
}

int pif_set_disallow_unplug(struct call *c, struct ref self, bool value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!snap_need(txn_snap(t), CLASS_PIF, self, err)) {
        db_abort(t);
        return -1;
    }
    txn_set_bool(t, self, F_PIF_disallow_unplug, value);
    return db_commit(t, err);
}

int pif_set_property(struct call *c, struct ref self, const char *name, const char *value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *pif = pif_need_own(c, txn_snap(t), self, err);
    int rc = pif ? 0 : -1;

    if (!rc && (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of)) || row_int(pif, F_PIF_VLAN) >= 0 ||
                row_refs(pif, F_PIF_tunnel_access_PIF_of)->n))
        rc = xerr_cannot_change_pif_properties(err, REF_STR(self));
    if (!rc && !streq(name, "gro")) rc = xerr_invalid_value(err, "name", name);
    if (!rc && !streq(value, "on") && !streq(value, "off")) rc = xerr_invalid_value(err, name, value);
    if (rc) {
        db_abort(t);
        return -1;
    }
    struct ref bond = row_refs(pif, F_PIF_bond_master_of)->n ? row_refs(pif, F_PIF_bond_master_of)->refs[0] : REF_NULL;
    txn_map_put_str(t, self, F_PIF_properties, name, value);
    SNAP_EACH (txn_snap(t), CLASS_PIF, slave)
        if (!ref_is_null(bond) && ref_eq(row_ref(slave, F_PIF_bond_slave_of), bond))
            txn_map_put_str(t, row_ref_of(slave), F_PIF_properties, name, value);
    if (db_commit(t, err)) return -1;
    return network_apply(c, err);
}
