/* Class tunnel: a network carried inside another, by GRE or VXLAN.
 * Called by: the generated thunks (schema/tunnel.xml).  Calls: pif.c, network_plan.c, db/.
 *
 * other_config: "remote" the address of the other end (otherwise that of another host's tunnel on the same network), "key"
 * the number on the wire (otherwise made from the network's uuid, so that every host has the same). */
#include "gen/methods.h"
#include "xapi/network.h"
#include "xapi/network_plan.h"
#include "xapi/pif.h"
#include "xapi/vm_doubts.h"

static int check_transport(struct call *c, const struct snap *s, struct ref transport, struct xerr *err)
{
    const struct row *pif = pif_need_own(c, s, transport, err);

    if (!pif) return -1;
    if (row_refs(pif, F_PIF_tunnel_access_PIF_of)->n) return xerr_is_tunnel_access_pif(err, REF_STR(transport));
    if (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return xerr_cannot_add_tunnel_to_bond_slave(err, REF_STR(transport));
    return *row_str(pif, F_PIF_IP) ? 0 : xerr_transport_pif_not_configured(err, REF_STR(transport));
}

int tunnel_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct ref access, network;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *tunnel = snap_need(s, CLASS_tunnel, self, err);
        if (!tunnel) return -1;
        access = row_ref(tunnel, F_tunnel_access_PIF);
        const struct row *pif = snap_get(s, CLASS_PIF, access);
        network = pif ? row_ref(pif, F_PIF_network) : REF_NULL;
        if (pif && !pif_need_own(c, s, access, err)) return -1;
        if (pif && pif_check_unused(s, pif, err)) return -1;
    }
    struct txn *t = db_begin(c->agent->db);
    txn_destroy(t, CLASS_tunnel, self);
    pif_destroy_record(t, access);
    if (db_commit(t, err)) return -1;
    if (network_apply(c, err)) {
        network_doubt(c->agent->doubts);
        return -1;
    }
    network_interface_gone(c, network);
    return 0;
}

int tunnel_create(struct call *c, struct ref transport_PIF, struct ref network, enum tunnel_protocol protocol,
                  struct ref *ret_result, struct xerr *err)
{
    struct ref tunnel = ref_new();
    struct txn *t = db_begin(c->agent->db);

    if (check_transport(c, txn_snap(t), transport_PIF, err) || pif_network_free(c, txn_snap(t), network, err)) {
        db_abort(t);
        return -1;
    }
    const struct row *foot = snap_get(txn_snap(t), CLASS_PIF, transport_PIF);
    const char *device = arena_strdup(c->arena, row_str(foot, F_PIF_device));
    struct ref access = pif_create_record(c, t, device, "", network, -1, false);
    txn_create(t, CLASS_tunnel, tunnel);
    txn_set_ref(t, tunnel, F_tunnel_access_PIF, access);
    txn_set_ref(t, tunnel, F_tunnel_transport_PIF, transport_PIF);
    txn_set_enum(t, tunnel, F_tunnel_protocol, (int)protocol);
    txn_map_put_str(t, tunnel, F_tunnel_status, "active", "false");
    if (db_commit(t, err)) return -1;
    if (pif_bring_up(c, access, err)) {
        struct xerr ignored = XERR_INIT;
        tunnel_destroy(c, tunnel, &ignored);
        xerr_clear(&ignored);
        return -1;
    }
    *ret_result = tunnel;
    return 0;
}
