/* An emergency reset of this host's network: what was recorded of it goes, its cards are found anew, and one interface has
 * management, as xe-reset-networking was told.
 * Called by: main.c, network.c (startup).  Calls: network_reset_file.c, pif.c, vlan.c, db/. */
#include "xapi/network_reset.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define LOG_MODULE "network"
#include "gen/methods.h"
#include "lib/address.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "lib/num.h"
#include "xapi/host_management.h"
#include "xapi/net/net.h"
#include "xapi/network.h"
#include "xapi/network_reset_file.h"
#include "xapi/pif.h"
#include "xapi/pif_ip.h"
#include "xapi/pool_role.h"
#include "xapi/vlan.h"

static bool is_ours(const struct call *c, const struct row *pif) { return pif && ref_eq(row_ref(pif, F_PIF_host), c->agent->host); }

/* Not in the way of the next start any more, and still there to be read. */
static void refuse(const char *root, const char *why)
{
    _cleanup_free_ char *path = network_reset_path(root), *aside = xasprintf("%s.refused", path);

    log_error("the network is not reset: %s", why);
    if (!rename(path, aside)) sync_folder_of(path);
}

void network_reset_role(const char *root)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    _cleanup_free_ char *why = NULL;
    _cleanup_conf_ struct conf *wish = network_reset_read(root, &why);

    if (why) refuse(root, why);
    if (!wish) return;
    if (!host_management_allow(root, &err) && (!*conf_str(wish, "master") || !pool_role_redirect(root, conf_str(wish, "master"), &err)))
        return;
    _cleanup_free_ char *text = xerr_text(&err);
    refuse(root, text);
}

/* ---- what was ------------------------------------------------------------------------------------------------------- */

/* The card below the interface that management goes over: a bond's first, a VLAN's foot. "": there is none. */
static const char *management_card(const struct call *c, const struct snap *s)
{
    SNAP_EACH (s, CLASS_PIF, pif) {
        if (!is_ours(c, pif) || !row_bool(pif, F_PIF_management)) continue;
        const char *device = row_str(pif, F_PIF_device);
        SNAP_EACH (s, CLASS_Bond, bond) {
            const struct row *master = snap_get(s, CLASS_PIF, row_ref(bond, F_Bond_master));
            const struct row *first = snap_get(s, CLASS_PIF, row_ref(bond, F_Bond_primary_slave));
            if (is_ours(c, master) && first && streq(row_str(master, F_PIF_device), device))
                return arena_strdup(c->arena, row_str(first, F_PIF_device));
        }
        return arena_strdup(c->arena, device);
    }
    return "";
}

static struct ref network_of_tag(const struct call *c, const struct snap *s, int64_t tag)
{
    SNAP_EACH (s, CLASS_PIF, pif)
        if (is_ours(c, pif) && row_int(pif, F_PIF_VLAN) == tag) return row_ref(pif, F_PIF_network);
    return REF_NULL;
}

/* All of a class that stands on an interface of this host. */
static void destroy_each(struct call *c, struct txn *t, enum class_id cls, field_id on)
{
    const struct snap *s = txn_snap(t);
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(s, cls));
    size_t n = 0;

    SNAP_EACH (s, cls, row)
        if (is_ours(c, snap_get(s, CLASS_PIF, row_ref(row, on)))) gone[n++] = row_ref_of(row);
    while (n) txn_destroy(t, cls, gone[--n]);
}

/* Networks stay, with the guests' cards on them. */
static void destroy_interfaces(struct call *c, struct txn *t)
{
    destroy_each(c, t, CLASS_Bond, F_Bond_master);
    destroy_each(c, t, CLASS_VLAN, F_VLAN_untagged_PIF);
    destroy_each(c, t, CLASS_tunnel, F_tunnel_access_PIF);
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_PIF));
    size_t n = 0;
    SNAP_EACH (txn_snap(t), CLASS_PIF, pif)
        if (is_ours(c, pif)) gone[n++] = row_ref_of(pif);
    while (n) pif_destroy_record(t, gone[--n]);
}

/* Bridges of bonds, VLANs and tunnels go with their addresses, before it is forgotten whose they were. Those of guests that run
 * are made again when their cards are looked at. */
static int remove_bridges(struct call *c, struct xerr *err)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const char **bridges;
    size_t n = 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        bridges = arena_new_array(a, const char *, snap_count(s, CLASS_PIF));
        SNAP_EACH (s, CLASS_PIF, pif) {
            const struct row *network = snap_get(s, CLASS_network, row_ref(pif, F_PIF_network));
            if (is_ours(c, pif) && !row_bool(pif, F_PIF_physical) && network)
                bridges[n++] = arena_strdup(a, row_str(network, F_network_bridge));
        }
    }
    while (n)
        if (net_bridge_destroy(c->agent->net, bridges[--n], err)) return -1;
    return 0;
}

/* ---- what is to be --------------------------------------------------------------------------------------------------- */

static struct ref create_vlan(struct call *c, struct txn *t, const struct net_interface *nics, size_t n, struct ref foot,
                              const char *device, int64_t tag, struct ref network)
{
    struct ref top;

    if (!snap_get(txn_snap(t), CLASS_network, network)) {
        network = ref_new();
        txn_create(t, CLASS_network, network);
        txn_set_str(t, network, F_network_name_label,
                    arena_printf(c->arena, "Pool-wide network associated with %s on VLAN %d", device, (int)tag));
        txn_set_str(t, network, F_network_bridge, network_free_bridge(c->arena, txn_snap(t), nics, n));
    }
    vlan_create_record(c, t, foot, tag, network, &top);
    return top;
}

static void configure(struct txn *t, struct ref pif, const struct conf *wish)
{
    static const enum ip_configuration_mode modes[] = { ip_configuration_mode_None, ip_configuration_mode_DHCP,
                                                        ip_configuration_mode_Static };
    static const enum ipv6_configuration_mode modes_v6[] = { ipv6_configuration_mode_None, ipv6_configuration_mode_DHCP,
                                                             ipv6_configuration_mode_Autoconf, ipv6_configuration_mode_Static };
    _cleanup_free_ char *ipv6 = address_with_prefix(AF_INET6, conf_str(wish, "ipv6"));
    const struct value one[] = { value_string(ipv6 ? ipv6 : "") };
    const struct value addresses = value_set(one, ipv6 ? 1 : 0);
    enum ip_configuration_mode mode = modes[conf_int(wish, "mode")];

    txn_set_enum(t, pif, F_PIF_ip_configuration_mode, (int)mode);
    txn_set_str(t, pif, F_PIF_IP, conf_str(wish, "ip"));
    txn_set_str(t, pif, F_PIF_netmask, conf_str(wish, "netmask"));
    txn_set_str(t, pif, F_PIF_gateway, conf_str(wish, "gateway"));
    txn_set_str(t, pif, F_PIF_DNS, conf_str(wish, "dns"));
    txn_set_enum(t, pif, F_PIF_ipv6_configuration_mode, (int)modes_v6[conf_int(wish, "mode-v6")]);
    txn_set_value(t, pif, F_PIF_IPv6, &addresses);
    txn_set_str(t, pif, F_PIF_ipv6_gateway, conf_str(wish, "gateway-v6"));
    txn_set_enum(t, pif, F_PIF_primary_address_type,
                 (int)(mode == ip_configuration_mode_None ? primary_address_type_IPv6 : primary_address_type_IPv4));
    txn_set_bool(t, pif, F_PIF_management, true);
    txn_set_bool(t, pif, F_PIF_currently_attached, true);
}

static bool is_card(const struct net_interface *nic) { return nic->physical && !nic->owned; }

/* The card that management is to go over; NULL: it is not there, and *ret_why says so. */
static const char *choose_card(struct call *c, const struct conf *wish, const struct net_interface *nics, size_t n, const char **ret_why)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const char *device = *conf_str(wish, "device") ? conf_str(wish, "device") : management_card(c, s);

    for (size_t i = 0; i < n; i++)
        if (is_card(&nics[i]) && streq(nics[i].name, device)) return device;
    *ret_why = *device ? arena_printf(c->arena, "there is no card %s", device) : "no card had management, and none was named";
    return NULL;
}

/* The records are one transaction. */
static int reset(struct call *c, const struct conf *wish, const char **ret_why, struct xerr *err)
{
    const struct net_interface *nics;
    struct ref management = REF_NULL;
    int64_t tag = -1;
    size_t n;

    if (*conf_str(wish, "vlan") && !num_parse_int(conf_str(wish, "vlan"), &tag)) return xerr_internal(err, "a tag that was checked");
    if (net_list(c->agent->net, c->arena, &nics, &n, err)) return -1;
    const char *device = choose_card(c, wish, nics, n, ret_why);
    if (!device) return 0;
    if (remove_bridges(c, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    struct ref network = tag < 0 ? REF_NULL : network_of_tag(c, txn_snap(t), tag);
    destroy_interfaces(c, t);
    for (size_t i = 0; i < n; i++) {
        if (!is_card(&nics[i])) continue;
        struct ref pif = pif_create_physical(c, t, &nics[i]);
        if (streq(nics[i].name, device)) management = pif;
    }
    if (tag >= 0) {
        txn_set_bool(t, management, F_PIF_currently_attached, true);
        management = create_vlan(c, t, nics, n, management, device, tag, network);
    }
    configure(t, management, wish);
    return db_commit(t, err);
}

int network_reset_startup(struct call *c, struct xerr *err)
{
    const char *root = c->agent->root, *refused = NULL;
    _cleanup_free_ char *path = network_reset_path(root), *why = NULL;
    _cleanup_conf_ struct conf *wish = network_reset_read(root, &why);

    if (!wish) return 0;
    log_warn("the network of this host is reset");
    if (reset(c, wish, &refused, err)) return -1;
    if (refused) {
        refuse(root, refused);
        return 0;
    }
    errno = fault("net.reset");
    /* An address of the interfaces of before must not come back. The wish goes last: killed before that, all is done once more. */
    if (errno) return xerr_internal(err, "net.reset: %s", strerror(errno));
    pif_fallback_end(c);
    if (unlink(path) || sync_folder_of(path)) return xerr_internal(err, "%s: %s", path, strerror(errno));
    return 0;
}
