/* Class Bond: several cards as one: what the first of them was moves to the bond and back.
 * Called by: the generated thunks (schema/bond.xml).  Calls: pif.c, vif.c, network_plan.c, db/. */
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <strings.h>

#define LOG_MODULE "bond"
#include "gen/methods.h"
#include "lib/address.h"
#include "lib/log.h"
#include "lib/num.h"
#include "xapi/bond_before.h"
#include "xapi/network.h"
#include "xapi/network_plan.h"
#include "xapi/pif.h"
#include "xapi/pif_ip.h"
#include "xapi/vif.h"

enum { MEMBERS_MAX = 16, BONDS_MAX = 1000, LACP_KEY_MAX = 65535, PROOFS = 2, SETTLE_MS = 1500 };

/* ---- properties ----------------------------------------------------------------------------------------- */

static const struct property {
    const char *name, *fallback, *values[3];     /* values empty: a key of LACP's, or none */
} properties_of_lacp[] = {
    { "hashing_algorithm", "tcpudp_ports", { "src_mac", "tcpudp_ports" } },
    { "lacp-time", "slow", { "slow", "fast" } },
    { "lacp-aggregation-key", "", { NULL } },
    { "lacp-fallback-ab", "true", { "true", "false" } },
}, properties_of_slb[] = {
    { "hashing_algorithm", "src_mac", { "src_mac" } },
};

static const struct property *properties_for(enum bond_mode mode, size_t *ret_n)
{
    switch (mode) {
    case bond_mode_lacp: *ret_n = ARRAY_SIZE(properties_of_lacp); return properties_of_lacp;
    case bond_mode_balance_slb: *ret_n = ARRAY_SIZE(properties_of_slb); return properties_of_slb;
    case bond_mode_active_backup: break;
    }
    *ret_n = 0;
    return NULL;
}

/* "", or a number from 1 to 65,535. */
static bool is_lacp_key(const char *text)
{
    int64_t key;

    return !*text || (num_parse_int(text, &key) && key >= 1 && key <= LACP_KEY_MAX);
}

static int check_property(enum bond_mode mode, const char *name, const char *value, struct xerr *err)
{
    size_t n;
    const struct property *p = properties_for(mode, &n);

    for (size_t i = 0; i < n; i++) {
        if (!streq(p[i].name, name)) continue;
        for (size_t k = 0; k < ARRAY_SIZE(p[i].values) && p[i].values[k]; k++)
            if (streq(p[i].values[k], value)) return 0;
        return !p[i].values[0] && is_lacp_key(value) ? 0 : xerr_invalid_value(err, name, value);
    }
    return xerr_invalid_value(err, "properties", name);
}

/* The mode's own, with what was said before where it still means something. */
static struct value complete(struct call *c, enum bond_mode mode, const struct value *said)
{
    struct value_builder b = value_builder(c->arena);
    struct xerr wrong = XERR_INIT;
    size_t n;
    const struct property *p = properties_for(mode, &n);

    for (size_t i = 0; i < n; i++) {
        const char *value = value_get_str(said, p[i].name, p[i].fallback);
        if (check_property(mode, p[i].name, value, &wrong)) value = p[i].fallback;
        xerr_clear(&wrong);
        value_put(&b, p[i].name, value_string(value));
    }
    return value_built_map(&b);
}

/* ---- who may be a member ----------------------------------------------------------------------------------------- */

static int check_member(const struct snap *s, struct ref member, struct xerr *err)
{
    const struct row *pif = snap_need(s, CLASS_PIF, member, err);

    if (!pif) return -1;
    if (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return xerr_pif_already_bonded(err, REF_STR(member));
    if (row_int(pif, F_PIF_VLAN) >= 0) return xerr_pif_is_vlan(err, REF_STR(member));
    if (row_refs(pif, F_PIF_tunnel_access_PIF_of)->n) return xerr_is_tunnel_access_pif(err, REF_STR(member));
    if (!row_bool(pif, F_PIF_physical)) return xerr_pif_is_not_physical(err, REF_STR(member));
    if (row_refs(pif, F_PIF_sriov_physical_PIF_of)->n) return xerr_pif_sriov_still_exists(err, REF_STR(member));
    return 0;
}

static bool has_address(const struct row *pif)
{
    return row_enum(pif, F_PIF_ip_configuration_mode) != ip_configuration_mode_None ||
           row_enum(pif, F_PIF_ipv6_configuration_mode) != ipv6_configuration_mode_None;
}

/* Management over a card that its administrator configured: as when it is plugged, the address is kept. */
static bool is_adopted(const struct row *pif)
{
    return row_bool(pif, F_PIF_management) && !has_address(pif) && *row_str(pif, F_PIF_IP) &&
           address_prefix_of(row_str(pif, F_PIF_netmask)) > 0;
}

/* The same tag over two members would be the same VLAN twice over the bond. */
static int check_tags(const struct snap *s, const struct ref *members, size_t n, struct xerr *err)
{
    bool used[4096] = { false };

    SNAP_EACH (s, CLASS_VLAN, vlan)
        for (size_t i = 0; i < n; i++) {
            int64_t tag = row_int(vlan, F_VLAN_tag);
            if (!ref_eq(row_ref(vlan, F_VLAN_tagged_PIF), members[i]) || tag < 0 || tag > 4095) continue;
            if (used[tag]) return xerr_pif_vlan_exists(err, REF_STR(row_ref(vlan, F_VLAN_untagged_PIF)));
            used[tag] = true;
        }
    return 0;
}

static int check_members(struct call *c, const struct snap *s, const struct ref *members, size_t n, struct xerr *err)
{
    const struct row *first = NULL;
    size_t n_addresses = 0;

    if (!n) return xerr_pif_bond_needs_more_members(err);
    for (size_t i = 0; i < n; i++) {
        if (check_member(s, members[i], err)) return -1;
        const struct row *pif = snap_get(s, CLASS_PIF, members[i]);
        if (!first) first = pif;
        if (!ref_eq(row_ref(pif, F_PIF_host), row_ref(first, F_PIF_host))) return xerr_pif_cannot_bond_cross_host(err);
        if (!pif_need_own(c, s, members[i], err)) return -1;
        if (!streq(row_map_str(pif, F_PIF_properties, "gro", "on"), row_map_str(first, F_PIF_properties, "gro", "on")))
            return xerr_incompatible_pif_properties(err);
        if (has_address(pif) || is_adopted(pif)) n_addresses++;
    }
    if (n < 2) return xerr_pif_bond_needs_more_members(err);
    return n_addresses > 1 ? xerr_pif_bond_more_than_one_ip(err) : check_tags(s, members, n, err);
}

/* The one with management, else with an address, else the first by name. */
static struct ref choose_primary(const struct snap *s, const struct ref *members, size_t n)
{
    const struct row *best = NULL;

    for (size_t i = 0; i < n; i++) {
        const struct row *pif = snap_get(s, CLASS_PIF, members[i]);
        int rank = 2 * row_bool(pif, F_PIF_management) + has_address(pif);
        int other = best ? 2 * row_bool(best, F_PIF_management) + has_address(best) : -1;
        if (rank > other || (rank == other && strcmp(row_str(pif, F_PIF_device), row_str(best, F_PIF_device)) < 0)) best = pif;
    }
    return row_ref_of(best);
}

/* ---- moving ----------------------------------------------------------------------------------------- */

static const field_id moved_fields[] = {
    F_PIF_ip_configuration_mode, F_PIF_IP, F_PIF_netmask, F_PIF_gateway, F_PIF_DNS, F_PIF_ipv6_configuration_mode, F_PIF_IPv6,
    F_PIF_ipv6_gateway, F_PIF_primary_address_type, F_PIF_disallow_unplug, F_PIF_properties,
};

/* Addresses, management and their like from one interface to another; the first is bare afterwards. */
static void move_settings(struct call *c, struct txn *t, struct ref from, struct ref to)
{
    static const field_id texts[] = { F_PIF_IP, F_PIF_netmask, F_PIF_gateway, F_PIF_DNS, F_PIF_ipv6_gateway };
    const struct value none = value_set(NULL, 0);

    for (size_t i = 0; i < ARRAY_SIZE(moved_fields); i++) {
        const struct row *row = snap_get(txn_snap(t), CLASS_PIF, from);
        const struct value v = row_field_value(row, model_field(moved_fields[i]), c->arena);
        txn_set_field(t, to, moved_fields[i], &v);
    }
    bool management = row_bool(snap_get(txn_snap(t), CLASS_PIF, from), F_PIF_management);
    txn_set_bool(t, from, F_PIF_management, false);
    txn_set_bool(t, to, F_PIF_management, management);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) txn_set_str(t, from, texts[i], "");
    txn_set_enum(t, from, F_PIF_ip_configuration_mode, ip_configuration_mode_None);
    txn_set_enum(t, from, F_PIF_ipv6_configuration_mode, ipv6_configuration_mode_None);
    txn_set_value(t, from, F_PIF_IPv6, &none);
    txn_set_bool(t, from, F_PIF_disallow_unplug, false);
}

/* A VLAN or a tunnel onto another interface; a VLAN is named after it. */
static void stand_on(struct call *c, struct txn *t, const struct row *thing, struct ref to)
{
    const struct row *below = snap_get(txn_snap(t), CLASS_PIF, to);

    if (row_class(thing) == CLASS_tunnel) {
        txn_set_ref(t, row_ref_of(thing), F_tunnel_transport_PIF, to);
        return;
    }
    struct ref vlan = row_ref_of(thing), top = row_ref(thing, F_VLAN_untagged_PIF);
    const char *device = arena_strdup(c->arena, row_str(below, F_PIF_device)), *mac = arena_strdup(c->arena, row_str(below, F_PIF_MAC));
    txn_set_ref(t, vlan, F_VLAN_tagged_PIF, to);
    txn_set_str(t, top, F_PIF_device, device);
    txn_set_str(t, top, F_PIF_MAC, mac);
}

static void move_vlans(struct call *c, struct txn *t, struct ref from, struct ref to)
{
    SNAP_EACH (txn_snap(t), CLASS_VLAN, vlan)
        if (ref_eq(row_ref(vlan, F_VLAN_tagged_PIF), from)) stand_on(c, t, vlan, to);
    SNAP_EACH (txn_snap(t), CLASS_tunnel, tunnel)
        if (ref_eq(row_ref(tunnel, F_tunnel_transport_PIF), from)) stand_on(c, t, tunnel, to);
}

/* Guests' cards follow: on one network before, on the other now. */
static int move_vifs(struct call *c, struct ref from, struct ref to, struct xerr *err)
{
    struct ref vifs[1024];
    size_t n = 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *network = snap_get(s, CLASS_network, from);
        for (size_t i = 0; network && i < row_refs(network, F_network_VIFs)->n && n < ARRAY_SIZE(vifs); i++)
            vifs[n++] = row_refs(network, F_network_VIFs)->refs[i];
    }
    for (size_t i = 0; i < n; i++)
        if (vif_move(c, vifs[i], to, err)) return -1;
    return 0;
}

static struct ref network_of(struct call *c, struct ref pif)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_PIF, pif);

    return row ? row_ref(row, F_PIF_network) : REF_NULL;
}

/* ---- records ----------------------------------------------------------------------------------------- */

static const char *free_device(struct call *c, const struct snap *s)
{
    for (unsigned i = 0; i < BONDS_MAX; i++) {
        const char *name = arena_printf(c->arena, "bond%u", i);
        bool taken = false;
        SNAP_EACH (s, CLASS_PIF, pif)
            if (ref_eq(row_ref(pif, F_PIF_host), c->agent->host) && streq(row_str(pif, F_PIF_device), name)) taken = true;
        if (!taken) return name;
    }
    return "bond";
}

static int check_mac(const char *mac, struct xerr *err)
{
    unsigned b[6];
    char rest;

    if (!*mac) return 0;
    bool good = strlen(mac) == 17 && sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &rest) == 6;
    return good && !(b[0] & 1) ? 0 : xerr_mac_invalid(err, mac);
}

/* Of two cards with one address on a wire neither is found: only a member may lend its own. */
static int check_mac_free(struct call *c, const struct snap *s, const char *mac, const struct ref *members, size_t n, struct xerr *err)
{
    if (!*mac) return 0;
    SNAP_EACH (s, CLASS_PIF, pif) {
        bool wears_it = (row_bool(pif, F_PIF_physical) || row_refs(pif, F_PIF_bond_master_of)->n) &&
                        ref_eq(row_ref(pif, F_PIF_host), c->agent->host) && !strcasecmp(row_str(pif, F_PIF_MAC), mac);
        for (size_t i = 0; i < n && wears_it; i++) wears_it = !ref_eq(row_ref_of(pif), members[i]);
        if (wears_it) return xerr_mac_still_exists(err, mac);
    }
    return 0;
}

void bond_take_apart(struct call *c, struct txn *t, const struct row *bond)
{
    struct ref self = row_ref_of(bond), master = row_ref(bond, F_Bond_master), primary = row_ref(bond, F_Bond_primary_slave);
    const struct row *top = snap_get(txn_snap(t), CLASS_PIF, master);
    bool attached = top && row_bool(top, F_PIF_currently_attached);

    if (top && snap_get(txn_snap(t), CLASS_PIF, primary)) {
        move_settings(c, t, master, primary);
        move_vlans(c, t, master, primary);
    }
    SNAP_EACH (txn_snap(t), CLASS_PIF, slave) {
        if (!ref_eq(row_ref(slave, F_PIF_bond_slave_of), self)) continue;
        struct ref ref = row_ref_of(slave);
        txn_set_ref(t, ref, F_PIF_bond_slave_of, REF_NULL);
        txn_set_bool(t, ref, F_PIF_currently_attached, attached);
    }
    txn_destroy(t, CLASS_Bond, self);
    pif_destroy_record(t, master);
}

/* Everything in one transaction: a crash leaves a bond or none. */
static int dissolve(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *bond = snap_need(txn_snap(t), CLASS_Bond, self, err);

    if (!bond) {
        db_abort(t);
        return -1;
    }
    bond_take_apart(c, t, bond);
    return db_commit(t, err);
}

/* The bond is attached from the beginning: an agent that ends here makes it at its next start. */
static void create_records(struct call *c, struct txn *t, struct ref bond, struct ref network, const struct ref *members, size_t n,
                           const char *mac, enum bond_mode mode, const struct value *properties, struct ref *ret_master)
{
    struct ref primary = choose_primary(txn_snap(t), members, n);
    const struct row *first = snap_get(txn_snap(t), CLASS_PIF, primary);
    const char *device = free_device(c, txn_snap(t));
    const struct value all = complete(c, mode, properties);

    if (!*mac) mac = arena_strdup(c->arena, row_str(first, F_PIF_MAC));
    if (is_adopted(first)) txn_set_enum(t, primary, F_PIF_ip_configuration_mode, ip_configuration_mode_Static);
    struct ref master = pif_create_record(c, t, device, mac, network, -1, false);
    txn_create(t, CLASS_Bond, bond);
    txn_set_ref(t, bond, F_Bond_master, master);
    txn_set_ref(t, bond, F_Bond_primary_slave, primary);
    txn_set_enum(t, bond, F_Bond_mode, (int)mode);
    txn_set_value(t, bond, F_Bond_properties, &all);
    move_settings(c, t, primary, master);
    for (size_t i = 0; i < n; i++) {
        move_vlans(c, t, members[i], master);
        txn_set_ref(t, members[i], F_PIF_bond_slave_of, bond);
    }
    pif_set_attached(t, master, true);
    *ret_master = master;
}

/* ---- the way back ----------------------------------------------------------------------------------------- */

/* A change of a bond: how all was, what of it carries management, and the cards of guests that may move. */
struct guard {
    struct value before;
    bool management;
    struct place { struct ref vif, network; } *places;
    size_t n_places;
};

static struct ref management_pif(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    SNAP_EACH (s, CLASS_PIF, pif)
        if (ref_eq(row_ref(pif, F_PIF_host), c->agent->host) && row_bool(pif, F_PIF_management)) return row_ref_of(pif);
    return REF_NULL;
}

/* Nothing to prove is an answer, too. */
static bool answers(struct call *c, struct ref pif)
{
    struct xerr why = XERR_INIT;
    bool good = ref_is_null(pif) || !pif_check_answers(c, pif, &why);

    xerr_clear(&why);
    return good;
}

/* The other end of a bond may need some seconds to agree; and a new bond carries everything for a moment, until it knows that nobody
 * agrees. */
static int prove(struct call *c, struct ref pif, struct xerr *err)
{
    for (int i = 0; i < PROOFS; i++) {
        if (!answers(c, pif)) continue;
        poll(NULL, 0, SETTLE_MS);
        if (answers(c, pif)) return 0;
    }
    return pif_check_answers(c, pif, err);
}

/* Management is in a file until guard_end(): an agent that dies meanwhile begins with what was. What did not answer before need not
 * afterwards: a bond that the other end refuses must be changeable. */
static int guard_begin(struct call *c, const struct ref *pifs, size_t n, struct guard *g, struct xerr *err)
{
    *g = (struct guard){ .places = NULL };
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        g->places = arena_new_array(c->arena, struct place, snap_count(s, CLASS_VIF));
        g->before = bond_before(c, s, pifs, n);
        for (size_t i = 0; i < n; i++) {
            const struct row *pif = snap_get(s, CLASS_PIF, pifs[i]);
            const struct row *network = pif ? snap_get(s, CLASS_network, row_ref(pif, F_PIF_network)) : NULL;
            for (size_t k = 0; network && k < row_refs(network, F_network_VIFs)->n && g->n_places < snap_count(s, CLASS_VIF); k++)
                g->places[g->n_places++] = (struct place){ row_refs(network, F_network_VIFs)->refs[k], row_ref_of(network) };
        }
    }
    g->management = bond_before_has_management(&g->before);
    return g->management ? pif_fallback_begin(c, "bond", g->before, err) : 0;
}

static void guard_end(struct call *c, const struct guard *g)
{
    if (g->management) pif_fallback_end(c);
}

static bool has_left(struct call *c, const struct place *place)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VIF, place->vif);

    return row && !ref_eq(row_ref(row, F_VIF_network), place->network);
}

static int restore(struct call *c, const struct guard *g, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    bond_before_restore(c, t, &g->before);
    if (db_commit(t, err) || network_apply(c, err)) return -1;
    for (size_t i = 0; i < g->n_places; i++)
        if (has_left(c, &g->places[i]) && vif_move(c, g->places[i].vif, g->places[i].network, err)) return -1;
    return 0;
}

/* All is as it was. When that fails, too, it is what the records say: never neither. -> -1 */
static int guard_back(struct call *c, const struct guard *g)
{
    struct xerr ignored = XERR_INIT;

    if (restore(c, g, &ignored)) {
        _cleanup_free_ char *why = xerr_text(&ignored);
        log_error("taking back a change of a bond: %s", why);
    }
    xerr_clear(&ignored);
    guard_end(c, g);
    return -1;
}

/* The interfaces that a bond is of. -> their number; 0: there is no such bond, or it is not ours */
static size_t bond_pifs(struct call *c, struct ref self, struct ref pifs[MEMBERS_MAX + 1], struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *bond = snap_need(s, CLASS_Bond, self, err);
    size_t n = 0;

    if (!bond || !pif_need_own(c, s, row_ref(bond, F_Bond_master), err)) return 0;
    const struct refset *slaves = row_refs(bond, F_Bond_slaves);
    pifs[n++] = row_ref(bond, F_Bond_master);
    for (size_t i = 0; i < slaves->n && n <= MEMBERS_MAX; i++) pifs[n++] = slaves->refs[i];
    return n;
}

/* ---- create, destroy ----------------------------------------------------------------------------------------- */

int bond_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct ref primary, pifs[MEMBERS_MAX + 1];
    size_t n = bond_pifs(c, self, pifs, err);
    struct guard g;

    if (!n) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *bond = snap_need(s, CLASS_Bond, self, err);
        if (!bond) return -1;
        primary = row_ref(bond, F_Bond_primary_slave);
    }
    struct ref from = network_of(c, pifs[0]), to = network_of(c, primary);
    if (guard_begin(c, pifs, n, &g, err)) return -1;
    bool answered = g.management && answers(c, management_pif(c));
    if (dissolve(c, self, err) || network_apply(c, err) || (answered && prove(c, management_pif(c), err))) return guard_back(c, &g);
    guard_end(c, &g);
    if (!ref_is_null(to) && move_vifs(c, from, to, err)) return -1;
    network_interface_gone(c, from);
    return 0;
}

int bond_create(struct call *c, struct ref network, const struct value *members, const char *MAC, enum bond_mode mode,
                const struct value *properties, struct ref *ret_result, struct xerr *err)
{
    struct ref bond = ref_new(), master, refs[MEMBERS_MAX];
    size_t n = members->set.n < MEMBERS_MAX ? members->set.n : MEMBERS_MAX;
    struct guard g;

    for (size_t i = 0; i < n; i++) refs[i] = members->set.items[i].ref;
    for (size_t i = 0; i < properties->map.n; i++)
        if (check_property(mode, properties->map.members[i].key, properties->map.members[i].value.s, err)) return -1;
    if (guard_begin(c, refs, n, &g, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (check_mac(MAC, err) || check_members(c, txn_snap(t), refs, n, err) || check_mac_free(c, txn_snap(t), MAC, refs, n, err) ||
        pif_network_free(c, txn_snap(t), network, err)) {
        db_abort(t);
        guard_end(c, &g);
        return -1;
    }
    create_records(c, t, bond, network, refs, n, MAC, mode, properties, &master);
    if (db_commit(t, err)) {
        guard_end(c, &g);
        return -1;
    }
    /* Management that nobody reaches any more is worse than none of a bond. */
    int rc = pif_bring_up(c, master, err);
    if (!rc && !ref_eq(master, management_pif(c))) rc = pif_check_answers(c, master, err);
    if (!rc && g.management) rc = prove(c, management_pif(c), err);
    if (!rc) guard_end(c, &g);
    for (size_t i = 0; i < n && !rc; i++) rc = move_vifs(c, network_of(c, refs[i]), network, err);
    if (rc) {
        guard_back(c, &g);
        network_interface_gone(c, network);
        return -1;
    }
    pif_resolvers(c);
    *ret_result = bond;
    return 0;
}

/* ---- changing ----------------------------------------------------------------------------------------- */

struct edit { const enum bond_mode *mode; const char *name, *value; };      /* of the mode, or of one property */

static int change_records(struct call *c, struct ref self, const struct edit *edit, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *bond = snap_need(txn_snap(t), CLASS_Bond, self, err);

    if (!bond || (!edit->mode && check_property((enum bond_mode)row_enum(bond, F_Bond_mode), edit->name, edit->value, err))) {
        db_abort(t);
        return -1;
    }
    if (edit->mode) {
        const struct value all = complete(c, *edit->mode, row_value(bond, F_Bond_properties));
        txn_set_enum(t, self, F_Bond_mode, (int)*edit->mode);
        txn_set_value(t, self, F_Bond_properties, &all);
    } else {
        txn_map_put_str(t, self, F_Bond_properties, edit->name, edit->value);
    }
    return db_commit(t, err);
}

static int change_bond(struct call *c, struct ref self, const struct edit *edit, struct xerr *err)
{
    struct ref pifs[MEMBERS_MAX + 1];
    size_t n = bond_pifs(c, self, pifs, err);
    struct guard g;

    if (!n || guard_begin(c, pifs, n, &g, err)) return -1;
    bool answered = g.management && answers(c, management_pif(c));
    if (change_records(c, self, edit, err)) {
        guard_end(c, &g);
        return -1;
    }
    if (network_apply(c, err) || (answered && prove(c, management_pif(c), err))) return guard_back(c, &g);
    guard_end(c, &g);
    return 0;
}

int bond_set_mode(struct call *c, struct ref self, enum bond_mode value, struct xerr *err)
{
    return change_bond(c, self, &(struct edit){ .mode = &value }, err);
}

int bond_set_property(struct call *c, struct ref self, const char *name, const char *value, struct xerr *err)
{
    return change_bond(c, self, &(struct edit){ .name = name, .value = value }, err);
}
