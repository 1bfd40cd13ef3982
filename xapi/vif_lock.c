/* Class VIF: who may send what: locking modes, allowed addresses, VLANs.
 * Called by: the generated thunks (schema/vif.xml).  Calls: vif_card.c, db/. */
#include <sys/socket.h>

#include "gen/methods.h"
#include "lib/address.h"
#include "xapi/vif.h"
#include "xapi/vif_card.h"
#include "xapi/vlan.h"

static int check_addresses(int family, const struct value *set, const char *parameter, struct xerr *err)
{
    for (size_t i = 0; i < set->set.n; i++)
        if (!address_valid(family, set->set.items[i].s)) return xerr_invalid_ip_address_specified(err, parameter);
    return 0;
}

/* The record, and what runs. A card that is not attached takes it when it is. */
static int change(struct call *c, struct ref vif, field_id f, const struct value *v, struct xerr *err)
{
    return db_set_field(c->agent->db, vif, f, v, err) ? -1 : vif_card_apply(c, vif, err);
}

static int change_item(struct call *c, struct ref vif, field_id f, const char *item, bool add, struct xerr *err)
{
    const struct value v = value_string(item);
    struct txn *t = db_begin(c->agent->db);

    if (add) txn_set_add(t, vif, f, &v);
    else txn_set_remove(t, vif, f, &v);
    return db_commit(t, err) ? -1 : vif_card_apply(c, vif, err);
}

static int need(struct call *c, struct ref vif, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return snap_need(s, CLASS_VIF, vif, err) ? 0 : -1;
}

/* ---- locking ------------------------------------------------------------------------------------------------------------------------ */

int vif_set_locking_mode(struct call *c, struct ref self, enum vif_locking_mode value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_enum(t, self, F_VIF_locking_mode, (int)value);
    return db_commit(t, err) ? -1 : vif_card_apply(c, self, err);
}

int vif_set_ipv4_allowed(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    if (need(c, self, err) || check_addresses(AF_INET, value, "ipv4_allowed", err)) return -1;
    return change(c, self, F_VIF_ipv4_allowed, value, err);
}

int vif_set_ipv6_allowed(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    if (need(c, self, err) || check_addresses(AF_INET6, value, "ipv6_allowed", err)) return -1;
    return change(c, self, F_VIF_ipv6_allowed, value, err);
}

int vif_add_ipv4_allowed(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    if (need(c, self, err)) return -1;
    if (!address_valid(AF_INET, value)) return xerr_invalid_ip_address_specified(err, "ipv4_allowed");
    return change_item(c, self, F_VIF_ipv4_allowed, value, true, err);
}

int vif_add_ipv6_allowed(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    if (need(c, self, err)) return -1;
    if (!address_valid(AF_INET6, value)) return xerr_invalid_ip_address_specified(err, "ipv6_allowed");
    return change_item(c, self, F_VIF_ipv6_allowed, value, true, err);
}

int vif_remove_ipv4_allowed(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    return change_item(c, self, F_VIF_ipv4_allowed, value, false, err);
}

int vif_remove_ipv6_allowed(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    return change_item(c, self, F_VIF_ipv6_allowed, value, false, err);
}

/* ---- VLANs -------------------------------------------------------------------------------------------------------------------------- */

int vif_check_trunks(const struct snap *s, struct ref network, const struct value *trunks, struct xerr *err)
{
    const struct row *row = snap_need(s, CLASS_network, network, err);

    if (!row) return -1;
    for (size_t i = 0; i < trunks->set.n; i++)
        if (vlan_check_tag(trunks->set.items[i].i, err)) return -1;
    for (size_t i = 0; trunks->set.n && i < row_refs(row, F_network_PIFs)->n; i++) {
        const struct row *pif = snap_get(s, CLASS_PIF, row_refs(row, F_network_PIFs)->refs[i]);
        if (pif && row_int(pif, F_PIF_VLAN) >= 0) return xerr_network_incompatible_with_trunks(err, REF_STR(network));
    }
    return 0;
}

enum trunk_change { TRUNKS_SET, TRUNKS_ADD, TRUNKS_REMOVE };

static int change_trunks(struct call *c, struct ref vif, enum trunk_change what, const struct value *set, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VIF, vif, err);

    if (!row || (what != TRUNKS_REMOVE && vif_check_trunks(txn_snap(t), row_ref(row, F_VIF_network), set, err))) {
        db_abort(t);
        return -1;
    }
    switch (what) {
    case TRUNKS_SET: txn_set_value(t, vif, F_VIF_trunks, set); break;
    case TRUNKS_ADD: txn_set_add(t, vif, F_VIF_trunks, &set->set.items[0]); break;
    case TRUNKS_REMOVE: txn_set_remove(t, vif, F_VIF_trunks, &set->set.items[0]); break;
    }
    return db_commit(t, err) ? -1 : vif_card_apply(c, vif, err);
}

static int change_trunk(struct call *c, struct ref vif, enum trunk_change what, int64_t tag, struct xerr *err)
{
    const struct value one[] = { value_int(tag) }, set = value_set(one, 1);

    return change_trunks(c, vif, what, &set, err);
}

int vif_set_trunks(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    return change_trunks(c, self, TRUNKS_SET, value, err);
}

int vif_add_trunks(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    return change_trunk(c, self, TRUNKS_ADD, value, err);
}

int vif_remove_trunks(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    return change_trunk(c, self, TRUNKS_REMOVE, value, err);
}

/* ---- limits ------------------------------------------------------------------------------------------------------------------------- */

int vif_set_qos_algorithm_type(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    const struct value v = value_string(value);

    if (*value && !streq(value, "ratelimit")) return xerr_invalid_value(err, "qos_algorithm_type", value);
    return change(c, self, F_VIF_qos_algorithm_type, &v, err);
}

int vif_set_qos_algorithm_params(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    return change(c, self, F_VIF_qos_algorithm_params, value, err);
}

int vif_add_to_qos_algorithm_params(struct call *c, struct ref self, const char *key, const char *value, struct xerr *err)
{
    const struct value v = value_string(value);
    struct txn *t = db_begin(c->agent->db);

    txn_map_add(t, self, F_VIF_qos_algorithm_params, key, &v);
    return db_commit(t, err) ? -1 : vif_card_apply(c, self, err);
}

int vif_remove_from_qos_algorithm_params(struct call *c, struct ref self, const char *key, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_map_remove(t, self, F_VIF_qos_algorithm_params, key);
    return db_commit(t, err) ? -1 : vif_card_apply(c, self, err);
}
