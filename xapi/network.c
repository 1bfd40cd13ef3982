/* Class network: what VIFs connect to; a bridge on the host.
 * Called by: startup, the generated thunks (schema/network.xml).  Calls: net/, db/. */
#include "xapi/network.h"

#define LOG_MODULE "network"
#include "gen/methods.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/strbuf.h"
#include "xapi/net/net.h"

enum { BRIDGES_MAX = 100000 };

static bool bridge_in_records(const struct snap *s, const char *bridge)
{
    SNAP_EACH (s, CLASS_network, network) {
        if (streq(row_str(network, F_network_bridge), bridge)) return true;
    }
    return false;
}

const char *network_free_bridge(struct call *c, const struct snap *s)
{
    const struct net_interface *interfaces = NULL;
    size_t n = 0;
    struct xerr why = XERR_INIT;

    if (net_list(c->agent->net, c->arena, &interfaces, &n, &why)) xerr_clear(&why);   /* the records alone must do */
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        const char *name = arena_printf(c->arena, "xapi%u", i);
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
    const char *bridge = value_get_str(record, "bridge", ""), *automatic = NULL;
    struct ref network = ref_new();
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        automatic = *bridge ? bridge : network_free_bridge(c, s);
    }
    struct txn *t = db_begin(c->agent->db);
    if (bridge_in_records(txn_snap(t), automatic)) {
        db_abort(t);
        return xerr_bridge_name_exists(err, automatic);
    }
    txn_create(t, CLASS_network, network);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct value *v = value_get(record, cls->fields[i].name);
        if (v && cls->fields[i].qualifier != QUAL_RO_RUNTIME) txn_set_field(t, network, cls->fields[i].id, v);
    }
    txn_set_str(t, network, F_network_bridge, automatic);
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

int network_startup(struct call *c, struct xerr *err)
{
    bool first;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        first = snap_count(s, CLASS_network) == 0;
    }
    if (first && create_default(c, err)) return -1;
    return pif_scan_host(c, err);
}
