/* Class network: what VIFs connect to; a bridge on the host.
 * Called by: startup, the generated thunks (schema/network.xml).  Calls: net/, db/. */
#include "xapi/network.h"

#define LOG_MODULE "network"
#include "gen/methods.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/strbuf.h"
#include "xapi/net/net.h"
#include "xapi/network_plan.h"
#include "xapi/network_reset.h"
#include "xapi/pif.h"
#include "xapi/pif_ip.h"

enum { BRIDGES_MAX = 100000 };

static bool bridge_in_records(const struct snap *s, const char *bridge)
{
    SNAP_EACH (s, CLASS_network, network) {
        if (streq(row_str(network, F_network_bridge), bridge)) return true;
    }
    return false;
}

/* The host's interfaces; none where they cannot be listed: the records alone must do. */
static const struct net_interface *interfaces_now(struct call *c, size_t *ret_n)
{
    const struct net_interface *interfaces = NULL;
    struct xerr why = XERR_INIT;

    *ret_n = 0;
    if (net_list(c->agent->net, c->arena, &interfaces, ret_n, &why)) xerr_clear(&why);
    return interfaces;
}

const char *network_free_bridge(struct arena *a, const struct snap *s, const struct net_interface *interfaces, size_t n)
{
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        const char *name = arena_printf(a, "xapi%u", i);
        bool taken = bridge_in_records(s, name);
        for (size_t j = 0; j < n && !taken; j++) taken = streq(interfaces[j].name, name);
        if (!taken) return name;
    }
    return "xapi";
}

/* ---- create, destroy ------------------------------------------------------------------------------------------ */

int network_create(struct call *c, const struct value *record, struct ref *ret_result, struct xerr *err)
{
    const struct class_desc *cls = &model.classes[CLASS_network];
    const char *bridge = value_get_str(record, "bridge", "");
    struct ref network = ref_new();
    size_t n = 0;
    const struct net_interface *interfaces = *bridge ? NULL : interfaces_now(c, &n);
    struct txn *t = db_begin(c->agent->db);

    /* Chosen where nobody else chooses. */
    if (!*bridge) bridge = network_free_bridge(c->arena, txn_snap(t), interfaces, n);
    if (bridge_in_records(txn_snap(t), bridge)) {
        db_abort(t);
        return xerr_bridge_name_exists(err, bridge);
    }
    txn_create(t, CLASS_network, network);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct value *v = value_get(record, cls->fields[i].name);
        if (v && cls->fields[i].qualifier != QUAL_RO_RUNTIME) txn_set_field(t, network, cls->fields[i].id, v);
    }
    txn_set_str(t, network, F_network_bridge, bridge);
    if (db_commit(t, err)) return -1;
    *ret_result = network;
    return 0;
}

/* "OpaqueRef:...,OpaqueRef:..." of a set. */
static const char *refs_text(struct arena *a, const struct refset *set)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    for (size_t i = 0; i < set->n; i++) strbuf_printf(&out, "%s%s", i ? "," : "", REF_STR(set->refs[i]));
    return arena_strdup(a, strbuf_cstr(&out));
}

/* The record is gone: a bridge that does not follow is waste, not a failure. An unmanaged bridge is the administrator's. */
static void remove_bridge(struct call *c, const char *bridge, bool managed)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!managed || !net_bridge_destroy(c->agent->net, bridge, &err)) return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("bridge %s stays: %s", bridge, why);
}

static bool vifs_attached(const struct snap *s, struct ref network)
{
    SNAP_EACH (s, CLASS_VIF, vif)
        if (ref_eq(row_ref(vif, F_VIF_network), network) && row_bool(vif, F_VIF_currently_attached)) return true;
    return false;
}

void network_interface_gone(struct call *c, struct ref network)
{
    const char *bridge;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_network, network);
        const struct refset *pifs = row ? row_refs(row, F_network_PIFs) : NULL;
        if (!row || vifs_attached(s, network)) return;
        for (size_t i = 0; i < pifs->n; i++) {
            const struct row *pif = snap_get(s, CLASS_PIF, pifs->refs[i]);
            if (pif && ref_eq(row_ref(pif, F_PIF_host), c->agent->host)) return;
        }
        bridge = row_bool(row, F_network_managed) ? arena_strdup(c->arena, row_str(row, F_network_bridge)) : "";
    }
    remove_bridge(c, bridge, *bridge);
}

int network_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_network, self, err);
    int rc = -1;

    if (!row) goto abort;
    const char *bridge = arena_strdup(c->arena, row_str(row, F_network_bridge));
    bool managed = row_bool(row, F_network_managed);
    SNAP_EACH (txn_snap(t), CLASS_VIF, vif) {
        if (!ref_eq(row_ref(vif, F_VIF_network), self) || !row_bool(vif, F_VIF_currently_attached)) continue;
        rc = xerr_vif_in_use(err, REF_STR(self), REF_STR(row_ref_of(vif)));
        goto abort;
    }
    if (row_refs(row, F_network_PIFs)->n) {
        rc = xerr_network_contains_pif(err, refs_text(c->arena, row_refs(row, F_network_PIFs)));
        goto abort;
    }
    if (row_refs(row, F_network_VIFs)->n) {
        rc = xerr_network_contains_vif(err, refs_text(c->arena, row_refs(row, F_network_VIFs)));
        goto abort;
    }
    txn_destroy(t, CLASS_network, self);
    if (db_commit(t, err)) return -1;
    remove_bridge(c, bridge, managed);
    return 0;
abort:
    db_abort(t);
    return rc;
}

/* ---- cards of guests ------------------------------------------------------------------------------------------------ */

struct attachment {
    const char *bridge;
    unsigned mtu;
    bool managed, attached;
    struct ref pif;             /* this host's interface on it; null = an internal network */
};

static int look(struct call *c, struct ref network, struct attachment *ret, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_network, network, err);

    if (!row) return -1;
    *ret = (struct attachment){
        .bridge = arena_strdup(c->arena, row_str(row, F_network_bridge)),
        .mtu = (unsigned)row_int(row, F_network_MTU),
        .managed = row_bool(row, F_network_managed),
    };
    for (size_t i = 0; i < row_refs(row, F_network_PIFs)->n; i++) {
        const struct row *pif = snap_get(s, CLASS_PIF, row_refs(row, F_network_PIFs)->refs[i]);
        /* A member of a bond connects the bond's network, not its own any more. */
        if (!pif || !ref_eq(row_ref(pif, F_PIF_host), c->agent->host) || !ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) continue;
        ret->pif = row_ref_of(pif);
        ret->attached = row_bool(pif, F_PIF_currently_attached);
    }
    return 0;
}

static int need_bridge(struct call *c, const char *bridge, struct xerr *err)
{
    const struct net_interface *interfaces;
    size_t n;

    if (net_list(c->agent->net, c->arena, &interfaces, &n, err)) return -1;
    for (size_t i = 0; i < n; i++)
        if (streq(interfaces[i].name, bridge)) return 0;
    return xerr_bridge_not_available(err, bridge);
}

int network_attach_check(struct call *c, struct ref network, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return snap_need(s, CLASS_network, network, err) ? 0 : -1;
}

int network_attach(struct call *c, struct ref network, struct xerr *err)
{
    struct attachment a;

    if (look(c, network, &a, err)) return -1;
    if (!a.managed) return need_bridge(c, a.bridge, err);
    if (ref_is_null(a.pif)) return net_bridge_create(c->agent->net, a.bridge, a.mtu, err);
    return a.attached ? 0 : pif_bring_up(c, a.pif, err);
}

/* ---- settings --------------------------------------------------------------------------------------------------------- */

int network_set_MTU(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    enum { MTU_MIN = 68, MTU_MAX = 65535 };
    struct attachment a;
    bool there;

    if (look(c, self, &a, err)) return -1;
    if (value < MTU_MIN || value > MTU_MAX) return xerr_invalid_value(err, "MTU", arena_printf(c->arena, "%lld", (long long)value));
    struct txn *t = db_begin(c->agent->db);
    int64_t before = row_int(snap_get(txn_snap(t), CLASS_network, self), F_network_MTU);
    txn_set_int(t, self, F_network_MTU, value);
    if (a.attached) txn_set_int(t, a.pif, F_PIF_MTU, value);
    if (db_commit(t, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        there = a.attached || vifs_attached(s, self);
    }
    if (!there || !network_apply(c, err)) return 0;
    /* A card that cannot carry so much: as before. */
    struct xerr ignored = XERR_INIT;
    _cleanup_free_ char *why = xerr_text(err);
    t = db_begin(c->agent->db);
    txn_set_int(t, self, F_network_MTU, before);
    if (a.attached) txn_set_int(t, a.pif, F_PIF_MTU, before);
    if (!db_commit(t, &ignored)) network_apply(c, &ignored);
    xerr_clear(&ignored);
    if (!a.attached) return -1;
    xerr_clear(err);
    return xerr_pif_configuration_error(err, REF_STR(a.pif), why);
}

int network_set_default_locking_mode(struct call *c, struct ref network, enum network_default_locking_mode value,
                                     struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_network, network, err);

    for (size_t i = 0; row && i < row_refs(row, F_network_VIFs)->n; i++) {
        const struct row *vif = snap_get(txn_snap(t), CLASS_VIF, row_refs(row, F_network_VIFs)->refs[i]);
        if (!vif || !row_bool(vif, F_VIF_currently_attached) || row_enum(vif, F_VIF_locking_mode) != vif_locking_mode_network_default)
            continue;
        xerr_vif_in_use(err, REF_STR(network), REF_STR(row_ref_of(vif)));
        row = NULL;
    }
    if (!row) {
        db_abort(t);
        return -1;
    }
    txn_set_enum(t, network, F_network_default_locking_mode, (int)value);
    return db_commit(t, err);
}

/* ---- first start ---------------------------------------------------------------------------------------------- */

static int create_default(struct call *c, struct xerr *err)
{
    const struct member other[] = { { "automatic", value_string("true") } };
    const struct member record[] = {
        { "name_label", value_string("Internal network") },
        { "name_description", value_string("Connects VMs of this host with each other") },
        { "MTU", value_int(1500) },
        { "other_config", value_map(other, ARRAY_SIZE(other)) },
    };
    const struct value v = value_map(record, ARRAY_SIZE(record));
    struct ref network;

    return network_create(c, &v, &network, err);
}

static bool in_use(const struct snap *s, struct ref host, const struct row *network)
{
    const struct refset *pifs = row_refs(network, F_network_PIFs);

    for (size_t i = 0; i < pifs->n; i++) {
        const struct row *pif = snap_get(s, CLASS_PIF, pifs->refs[i]);
        if (pif && ref_eq(row_ref(pif, F_PIF_host), host)) return true;
    }
    return vifs_attached(s, row_ref_of(network));
}

/* A bridge of ours that nothing is on and that has no address of an administrator's. */
static bool is_empty(const char *bridge, const struct net_interface *interfaces, size_t n)
{
    bool found = false;

    for (size_t i = 0; i < n; i++) {
        const struct net_interface *x = &interfaces[i];
        if (streq(x->bridge, bridge)) return false;
        if (streq(x->name, bridge)) found = x->is_bridge && x->owned && !*x->ip && !*x->ipv6;
    }
    return found;
}

/* An agent that was killed at the end of a Bond.destroy, or with the first or the last card of a network, did not come to it. */
int network_tidy(struct call *c, struct xerr *err)
{
    (void)err;
    const char **bridges;
    size_t n, n_bridges = 0;
    const struct net_interface *interfaces = interfaces_now(c, &n);
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        bridges = arena_new_array(c->arena, const char *, snap_count(s, CLASS_network));
        SNAP_EACH (s, CLASS_network, network) {
            const char *bridge = row_str(network, F_network_bridge);
            if (!row_bool(network, F_network_managed) || in_use(s, c->agent->host, network) || !is_empty(bridge, interfaces, n)) continue;
            bridges[n_bridges++] = arena_strdup(c->arena, bridge);
        }
    }
    while (n_bridges) remove_bridge(c, bridges[--n_bridges], true);
    return 0;
}

int network_startup(struct call *c, struct xerr *err)
{
    bool first;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        first = snap_count(s, CLASS_network) == 0;
    }
    if (first && create_default(c, err)) return -1;
    /* What an earlier agent did not come to do, and what a boot has taken: the records say how it is to be. A host whose
     * network cannot be made so is served nevertheless. */
    if (network_reset_startup(c, err) || pif_ip_startup(c, err)) return -1;
    struct xerr why = XERR_INIT;
    if (network_apply(c, &why)) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_error("the network is not as recorded: %s", text);
        xerr_clear(&why);
    }
    if (pif_scan_host(c, err)) return -1;
    pif_resolvers(c);
    return 0;
}
