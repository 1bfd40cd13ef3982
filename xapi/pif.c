/* Class PIF: the host's physical network cards.
 * Called by: startup, the generated thunks (schema/pif.xml).  Calls: net/, db/. */
#define LOG_MODULE "pif"
#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/host_management.h"
#include "xapi/net/net.h"
#include "xapi/network.h"

#include <time.h>

static const struct row *find_pif(const struct snap *s, struct ref host, const char *device)
{
    SNAP_EACH (s, CLASS_PIF, pif) {
        if (ref_eq(row_ref(pif, F_PIF_host), host) && streq(row_str(pif, F_PIF_device), device) &&
            row_int(pif, F_PIF_VLAN) < 0)
            return pif;
    }
    return NULL;
}

/* eth0 -> xenbr0, enp3s0 -> brenp3s0: what administrators of the reference know. */
static const char *bridge_for(struct arena *a, const char *device)
{
    if (has_prefix(device, "eth")) return arena_printf(a, "xenbr%.10s", device + 3);
    return arena_printf(a, "br%.13s", device);
}

static void create_records(struct call *c, struct txn *t, const struct net_interface *nic)
{
    struct ref network = ref_new(), pif = ref_new(), metrics = ref_new();

    txn_create(t, CLASS_network, network);
    txn_set_str(t, network, F_network_name_label,
                arena_printf(c->arena, "Pool-wide network associated with %s", nic->name));
    txn_set_str(t, network, F_network_bridge, bridge_for(c->arena, nic->name));
    txn_create(t, CLASS_PIF_metrics, metrics);
    txn_create(t, CLASS_PIF, pif);
    txn_set_str(t, pif, F_PIF_device, nic->name);
    txn_set_ref(t, pif, F_PIF_network, network);
    txn_set_ref(t, pif, F_PIF_host, c->agent->host);
    txn_set_str(t, pif, F_PIF_MAC, nic->mac);
    txn_set_int(t, pif, F_PIF_VLAN, -1);
    txn_set_bool(t, pif, F_PIF_physical, true);
    txn_set_bool(t, pif, F_PIF_currently_attached, false);
    txn_set_ref(t, pif, F_PIF_metrics, metrics);
}

/* What the card says of itself now. */
static void refresh(struct txn *t, const struct row *pif, const struct net_interface *nic)
{
    struct ref ref = row_ref_of(pif), metrics = row_ref(pif, F_PIF_metrics);

    txn_set_int(t, ref, F_PIF_MTU, nic->mtu);
    txn_set_str(t, ref, F_PIF_IP, nic->ip);
    txn_set_str(t, ref, F_PIF_netmask, nic->netmask);
    txn_set_str(t, ref, F_PIF_gateway, nic->gateway);
    txn_set_bool(t, metrics, F_PIF_metrics_carrier, nic->carrier);
    txn_set_int(t, metrics, F_PIF_metrics_speed, nic->speed_mbit);
    txn_set_bool(t, metrics, F_PIF_metrics_duplex, nic->duplex);
    txn_set_str(t, metrics, F_PIF_metrics_device_name, nic->driver);
    txn_set_str(t, metrics, F_PIF_metrics_pci_bus_path, nic->pci_path);
    txn_set_time(t, metrics, F_PIF_metrics_last_updated, time(NULL));
}

int pif_scan_host(struct call *c, struct xerr *err)
{
    const struct net_interface *nics;
    size_t n;

    if (net_list(c->agent->net, c->arena, &nics, &n, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    for (size_t i = 0; i < n; i++) {
        if (!nics[i].physical) continue;
        if (!find_pif(txn_snap(t), c->agent->host, nics[i].name)) create_records(c, t, &nics[i]);
        const struct row *pif = find_pif(txn_snap(t), c->agent->host, nics[i].name);
        if (pif) refresh(t, pif, &nics[i]);
    }
    host_management_refresh(c->agent, t);
    return db_commit(t, err);
}

int pif_scan(struct call *c, struct ref host, struct xerr *err)
{
    if (!ref_eq(host, c->agent->host)) {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        return snap_need(s, CLASS_host, host, err) ? xerr_host_offline(err, REF_STR(host)) : -1;
    }
    return pif_scan_host(c, err);
}
