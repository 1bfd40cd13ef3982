/* Class VLAN: a tagged network over a host interface; and the older messages that make the same.
 * Called by: the generated thunks (schema/vlan.xml, pif.xml, pool.xml).  Calls: pif.c, network_plan.c, db/. */
#include "xapi/vlan.h"

#include "gen/methods.h"
#include "xapi/network.h"
#include "xapi/network_plan.h"
#include "xapi/pif.h"
#include "xapi/vm_doubts.h"

enum { TAG_MAX = 4094 };

int vlan_check_tag(int64_t tag, struct xerr *err)
{
    if (tag >= 0 && tag <= TAG_MAX) return 0;
    _cleanup_free_ char *text = xasprintf("%lld", (long long)tag);
    return xerr_vlan_tag_invalid(err, text);
}

/* A card that carries tags itself would have them within this one. */
static int check_trunks(const struct snap *s, struct ref network, struct xerr *err)
{
    const struct refset *vifs = row_refs(snap_get(s, CLASS_network, network), F_network_VIFs);

    for (size_t i = 0; i < vifs->n; i++) {
        const struct row *vif = snap_get(s, CLASS_VIF, vifs->refs[i]);
        if (vif && row_value(vif, F_VIF_trunks)->set.n) return xerr_network_incompatible_with_trunks(err, REF_STR(network));
    }
    return 0;
}

/* On what a VLAN may stand. */
static int check_foot(struct call *c, const struct snap *s, struct ref foot, int64_t tag, struct xerr *err)
{
    const struct row *pif = pif_need_own(c, s, foot, err);

    if (!pif) return -1;
    if (row_int(pif, F_PIF_VLAN) >= 0) return xerr_pif_is_vlan(err, REF_STR(foot));
    if (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return xerr_cannot_add_vlan_to_bond_slave(err, REF_STR(foot));
    if (row_refs(pif, F_PIF_tunnel_access_PIF_of)->n) return xerr_is_tunnel_access_pif(err, REF_STR(foot));
    const struct refset *vlans = row_refs(pif, F_PIF_VLAN_slave_of);
    for (size_t i = 0; i < vlans->n; i++) {
        const struct row *vlan = snap_get(s, CLASS_VLAN, vlans->refs[i]);
        if (vlan && row_int(vlan, F_VLAN_tag) == tag) return xerr_pif_vlan_exists(err, REF_STR(row_ref(vlan, F_VLAN_untagged_PIF)));
    }
    return 0;
}

int vlan_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct ref top, network;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *vlan = snap_need(s, CLASS_VLAN, self, err);
        if (!vlan) return -1;
        top = row_ref(vlan, F_VLAN_untagged_PIF);
        const struct row *pif = snap_get(s, CLASS_PIF, top);
        network = pif ? row_ref(pif, F_PIF_network) : REF_NULL;
        if (pif && !pif_need_own(c, s, top, err)) return -1;
        if (pif && row_bool(pif, F_PIF_management)) return xerr_pif_is_management_interface(err, REF_STR(top));
        if (pif && row_refs(pif, F_PIF_tunnel_transport_PIF_of)->n) return xerr_pif_tunnel_still_exists(err, REF_STR(top));
        if (pif && pif_check_unused(s, pif, err)) return -1;
    }
    struct txn *t = db_begin(c->agent->db);
    txn_destroy(t, CLASS_VLAN, self);
    pif_destroy_record(t, top);
    if (db_commit(t, err)) return -1;
    if (network_apply(c, err)) {
        network_doubt(c->agent->doubts);
        return -1;
    }
    network_interface_gone(c, network);
    return 0;
}

struct ref vlan_create_record(struct call *c, struct txn *t, struct ref foot, int64_t tag, struct ref network, struct ref *ret_top)
{
    const struct row *pif = snap_get(txn_snap(t), CLASS_PIF, foot);
    const char *device = arena_strdup(c->arena, row_str(pif, F_PIF_device)), *mac = arena_strdup(c->arena, row_str(pif, F_PIF_MAC));
    struct ref top = pif_create_record(c, t, device, mac, network, tag, false), vlan = ref_new();

    txn_create(t, CLASS_VLAN, vlan);
    txn_set_ref(t, vlan, F_VLAN_tagged_PIF, foot);
    txn_set_ref(t, vlan, F_VLAN_untagged_PIF, top);
    txn_set_int(t, vlan, F_VLAN_tag, tag);
    txn_set_ref(t, top, F_PIF_VLAN_master_of, vlan);
    *ret_top = top;
    return vlan;
}

int vlan_create(struct call *c, struct ref tagged_PIF, int64_t tag, struct ref network, struct ref *ret_result, struct xerr *err)
{
    struct ref top;
    struct txn *t = db_begin(c->agent->db);

    if (vlan_check_tag(tag, err) || check_foot(c, txn_snap(t), tagged_PIF, tag, err) ||
        pif_network_free(c, txn_snap(t), network, err) || check_trunks(txn_snap(t), network, err)) {
        db_abort(t);
        return -1;
    }
    struct ref vlan = vlan_create_record(c, t, tagged_PIF, tag, network, &top);
    /* One commit says all of it: the next start makes it so when this agent does not come to it. */
    if (row_bool(snap_get(txn_snap(t), CLASS_PIF, tagged_PIF), F_PIF_currently_attached))
        txn_set_bool(t, top, F_PIF_currently_attached, true);
    if (db_commit(t, err)) return -1;
    if (pif_bring_up(c, top, err)) {
        struct xerr ignored = XERR_INIT;
        vlan_destroy(c, vlan, &ignored);
        xerr_clear(&ignored);
        return -1;
    }
    *ret_result = vlan;
    return 0;
}

/* ---- older ways -------------------------------------------------------------------------------------------------------------- */

static int create_over(struct call *c, struct ref foot, struct ref network, int64_t tag, struct ref *ret_pif, struct xerr *err)
{
    struct ref vlan;

    if (vlan_create(c, foot, tag, network, &vlan, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VLAN, vlan, err);
    if (!row) return -1;
    *ret_pif = row_ref(row, F_VLAN_untagged_PIF);
    return 0;
}

/* The physical or bonded interface of this name; null: none. */
static struct ref device_pif(const struct snap *s, struct ref host, const char *device)
{
    SNAP_EACH (s, CLASS_PIF, pif)
        if (ref_eq(row_ref(pif, F_PIF_host), host) && streq(row_str(pif, F_PIF_device), device) && row_int(pif, F_PIF_VLAN) < 0 &&
            !row_refs(pif, F_PIF_tunnel_access_PIF_of)->n)
            return row_ref_of(pif);
    return REF_NULL;
}

int pif_create_VLAN(struct call *c, const char *device, struct ref network, struct ref host, int64_t VLAN, struct ref *ret_result,
                    struct xerr *err)
{
    struct ref foot;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!snap_need(s, CLASS_host, host, err)) return -1;
        foot = device_pif(s, host, device);
    }
    if (vlan_check_tag(VLAN, err)) return -1;
    return ref_is_null(foot) ? xerr_pif_device_not_found(err) : create_over(c, foot, network, VLAN, ret_result, err);
}

/* One for each host that has the card; this one is the pool's only so far as its others are not here. */
int pool_create_VLAN(struct call *c, const char *device, struct ref network, int64_t VLAN, struct value *ret_result,
                     struct xerr *err)
{
    struct value *one = arena_new_array(c->arena, struct value, 1);
    struct ref pif;

    if (pif_create_VLAN(c, device, network, c->agent->host, VLAN, &pif, err)) return -1;
    one[0] = value_ref(pif);
    *ret_result = value_set(one, 1);
    return 0;
}

int pool_create_VLAN_from_PIF(struct call *c, struct ref pif, struct ref network, int64_t VLAN, struct value *ret_result,
                              struct xerr *err)
{
    struct value *one = arena_new_array(c->arena, struct value, 1);
    struct ref top;

    if (create_over(c, pif, network, VLAN, &top, err)) return -1;
    one[0] = value_ref(top);
    *ret_result = value_set(one, 1);
    return 0;
}

int pif_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct ref vlan;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *pif = snap_need(s, CLASS_PIF, self, err);
        if (!pif) return -1;
        vlan = row_ref(pif, F_PIF_VLAN_master_of);
        if (row_int(pif, F_PIF_VLAN) < 0) return xerr_pif_is_physical(err, REF_STR(self));
    }
    return vlan_destroy(c, vlan, err);
}
