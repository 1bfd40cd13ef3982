/* Class network_sriov: cards that split into virtual ones. No card of this host is offered as one that can (PIF.capabilities), so
 * what a wish for it is refused for is said by name; records of other hosts, in a database that came from them, can be removed.
 * Called by: the generated thunks (schema/network_sriov.xml).  Calls: pif.c, db/. */
#include "gen/methods.h"
#include "xapi/pif.h"

static bool can_split(const struct row *pif)
{
    const struct value *abilities = row_value(pif, F_PIF_capabilities);

    for (size_t i = 0; i < abilities->set.n; i++)
        if (streq(abilities->set.items[i].s, "sriov")) return true;
    return false;
}

/* In the reference's order. */
static int check_card(struct call *c, const struct snap *s, struct ref pif, struct ref network, struct xerr *err)
{
    const struct row *row = pif_need_own(c, s, pif, err);
    const char *name = REF_STR(pif);

    if (!row || pif_network_free(c, s, network, err)) return -1;
    if (row_refs(row, F_PIF_sriov_logical_PIF_of)->n) return xerr_pif_is_sriov_logical(err, name);
    if (!row_bool(row, F_PIF_physical)) return xerr_pif_is_not_physical(err, name);
    if (!can_split(row)) return xerr_pif_is_not_sriov_capable(err, name);
    if (row_refs(row, F_PIF_sriov_physical_PIF_of)->n) return xerr_network_sriov_already_enabled(err, name);
    return xerr_network_sriov_enable_failed(err, name, "no driver here gives parts of a card to guests");
}

int network_sriov_create(struct call *c, struct ref pif, struct ref network, struct ref *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    *ret_result = REF_NULL;
    return check_card(c, s, pif, network, err);
}

int network_sriov_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_network_sriov, self, err);
    const struct row *top = row ? snap_get(txn_snap(t), CLASS_PIF, row_ref(row, F_network_sriov_logical_PIF)) : NULL;

    if (!row || (top && (pif_check_bare(top, err) || pif_check_unused(txn_snap(t), top, err)))) {
        db_abort(t);
        return -1;
    }
    struct ref logical = row_ref(row, F_network_sriov_logical_PIF);
    txn_destroy(t, CLASS_network_sriov, self);
    pif_destroy_record(t, logical);
    return db_commit(t, err);
}

/* None of this host's cards has been split. */
int network_sriov_get_remaining_capacity(struct call *c, struct ref self, int64_t *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    *ret_result = 0;
    return snap_need(s, CLASS_network_sriov, self, err) ? 0 : -1;
}
