/* Class PIF: addresses: reconfigure_ip, reconfigure_ipv6, set_primary_address_type; and the way back when the new address of
 * the management interface leads nowhere.
 * Called by: the generated thunks (schema/pif.xml), startup.  Calls: network_plan.c, net/, db/. */
#include "xapi/pif_ip.h"

#include <errno.h>
#include <sys/socket.h>

#define LOG_MODULE "pif"
#include "gen/methods.h"
#include "lib/address.h"
#include "lib/json.h"
#include "lib/log.h"
#include "xapi/bond_before.h"
#include "xapi/host_management.h"
#include "xapi/net/net.h"
#include "xapi/network.h"
#include "xapi/network_plan.h"
#include "xapi/pif.h"

/* DHCPv6: a link-local address is proven first, then an old lease may be asked about for ten seconds. */
enum { ANSWER_MS = 5000, LEASE_MS = 12000, LEASE6_MS = 30000, RECORD_MAX_BYTES = 16 << 20 };

/* Everything of an interface that these messages change. */
static const field_id address_fields[] = {
    F_PIF_ip_configuration_mode, F_PIF_IP, F_PIF_netmask, F_PIF_gateway, F_PIF_DNS,
    F_PIF_ipv6_configuration_mode, F_PIF_IPv6, F_PIF_ipv6_gateway,
};

/* ---- the way back ------------------------------------------------------------------------------------------------------------ */

/* While a new address of the management interface is not proven, the old one is in a file: an agent that dies meanwhile
 * begins with it again. */
static char *fallback_path(const struct agent *agent) { return xasprintf("%s/network-fallback", agent->root); }

static struct value old_fields(struct call *c, const struct row *pif)
{
    struct value_builder b = value_builder(c->arena);

    value_put(&b, "uuid", value_string(arena_strdup(c->arena, row_uuid(pif))));
    for (size_t i = 0; i < ARRAY_SIZE(address_fields); i++) {
        const struct field_desc *f = model_field(address_fields[i]);
        value_put(&b, f->name, row_field_value(pif, f, c->arena));
    }
    return value_built_map(&b);
}

static void put_back(struct txn *t, const struct value *old)
{
    const struct row *pif = snap_by_uuid(txn_snap(t), CLASS_PIF, value_get_str(old, "uuid", ""));

    for (size_t i = 0; pif && i < ARRAY_SIZE(address_fields); i++) {
        const struct field_desc *f = model_field(address_fields[i]);
        const struct value *v = value_get(old, f->name);
        if (v) txn_set_field(t, row_ref_of(pif), address_fields[i], v);
        pif = snap_by_uuid(txn_snap(t), CLASS_PIF, value_get_str(old, "uuid", ""));
    }
}

static int remember(struct call *c, const struct value *old, struct xerr *err)
{
    _cleanup_free_ char *path = fallback_path(c->agent);
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    json_encode_value(old, &text);
    return write_file_atomic(path, text.ptr, text.len, 0600) ? xerr_internal(err, "%s: %s", path, strerror(errno)) : 0;
}

static void forget(struct call *c)
{
    _cleanup_free_ char *path = fallback_path(c->agent);

    if (!unlink(path)) sync_folder_of(path);
}

int pif_fallback_begin(struct call *c, const char *what, struct value was, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);

    value_put(&b, what, was);
    const struct value old = value_built_map(&b);
    return remember(c, &old, err);
}

void pif_fallback_end(struct call *c) { forget(c); }

/* Management goes back to the interface that had it ("": none). */
static void give_back(struct call *c, struct txn *t, const char *uuid)
{
    SNAP_EACH (txn_snap(t), CLASS_PIF, pif) {
        bool its = streq(row_uuid(pif), uuid);
        if (!ref_eq(row_ref(pif, F_PIF_host), c->agent->host) || row_bool(pif, F_PIF_management) == its) continue;
        txn_set_bool(t, row_ref_of(pif), F_PIF_management, its);
    }
}

int pif_ip_startup(struct call *c, struct xerr *err)
{
    _cleanup_free_ char *path = fallback_path(c->agent), *text = NULL;
    const char *why;
    struct value old;
    size_t n;

    if (read_file(path, RECORD_MAX_BYTES, &text, &n)) return 0;
    if (!json_decode(text, n, c->arena, &old, &why)) {
        log_warn("management is as it was: the agent ended before what was new had been proven");
        struct txn *t = db_begin(c->agent->db);
        const struct value *management = value_get(&old, "management"), *bond = value_get(&old, "bond");
        if (bond && bond->kind == VALUE_MAP) bond_before_restore(c, t, bond);
        else put_back(t, &old);
        if (management && management->kind == VALUE_STRING) give_back(c, t, management->s);
        if (db_commit(t, err)) return -1;
    }
    forget(c);
    return 0;
}

/* ---- does it work ---------------------------------------------------------------------------------------------------------------- */

/* What there is to prove of an interface. */
struct proof {
    const char *link, *gateway;          /* "": none that is to answer */
    bool dhcp, v6;
};

static int what_to_prove(struct call *c, struct ref pif, struct proof *ret, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_PIF, pif, err);

    if (!row) return -1;
    enum ip_configuration_mode mode = (enum ip_configuration_mode)row_enum(row, F_PIF_ip_configuration_mode);
    enum ipv6_configuration_mode mode_v6 = (enum ipv6_configuration_mode)row_enum(row, F_PIF_ipv6_configuration_mode);
    *ret = (struct proof){ .link = network_address_link(s, row, c->arena), .gateway = "", .v6 = mode == ip_configuration_mode_None };
    if (!ret->v6) ret->gateway = arena_strdup(c->arena, row_str(row, F_PIF_gateway));
    else if (mode_v6 == ipv6_configuration_mode_Static) ret->gateway = arena_strdup(c->arena, row_str(row, F_PIF_ipv6_gateway));
    ret->dhcp = ret->v6 ? mode_v6 == ipv6_configuration_mode_DHCP : mode == ip_configuration_mode_DHCP;
    return 0;
}

int pif_check_answers(struct call *c, struct ref pif, struct xerr *err)
{
    struct net_lease lease;
    struct proof p;

    if (what_to_prove(c, pif, &p, err)) return -1;
    if (p.dhcp) {
        if (!net_lease_wait(c->agent->net, p.link, p.v6, p.v6 ? LEASE6_MS : LEASE_MS))
            return xerr_pif_configuration_error(err, REF_STR(pif), p.v6 ? "no DHCPv6 server has answered" : "no DHCP server has answered");
        if (network_apply(c, err) || pif_scan_host(c, err)) return -1;
        if (net_lease(c->agent->net, p.link, p.v6, c->arena, &lease)) p.gateway = lease.gateway;
    }
    if (!*p.gateway) return 0;
    int answers = net_neighbour_answers(c->agent->net, p.link, p.gateway, ANSWER_MS, err);
    if (answers) return answers < 0 ? -1 : 0;
    const char *why = arena_printf(c->arena, "the gateway %s does not answer on %s", p.gateway, p.link);
    return xerr_pif_configuration_error(err, REF_STR(pif), why);
}

/* Resolvers are the management interface's: into the machine's own file. */
static void write_resolvers(struct call *c)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    const char *dns = "", *domain = "";
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        SNAP_EACH (s, CLASS_PIF, pif) {
            if (!ref_eq(row_ref(pif, F_PIF_host), c->agent->host) || !row_bool(pif, F_PIF_management)) continue;
            if (row_bool(pif, F_PIF_currently_attached)) dns = arena_strdup(c->arena, row_str(pif, F_PIF_DNS));
            domain = arena_strdup(c->arena, row_map_str(pif, F_PIF_other_config, "domain", ""));
        }
    }
    if (!*dns) return;                  /* the administrator's own file stays */
    if (*domain) strbuf_printf(&text, "search %s\n", domain);
    for (const char *p = dns; *p;) {
        size_t n = strcspn(p, ",");
        strbuf_printf(&text, "nameserver %.*s\n", (int)n, p);
        p += n + (p[n] == ',');
    }
    _cleanup_free_ char *path = xasprintf("%s/resolv.conf", c->agent->etc);
    if (make_dirs(c->agent->etc, 0755) || write_file_atomic(path, text.ptr, text.len, 0644))
        log_warn("%s: %s", path, strerror(errno));
}

void pif_resolvers(struct call *c) { write_resolvers(c); }

/* ---- changing ------------------------------------------------------------------------------------------------------------------------ */

typedef void (*edit_fn)(struct txn *t, struct ref pif, const void *arg);

static int undo(struct call *c, const struct value *old, struct xerr *why, struct xerr *err)
{
    struct xerr again = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);

    put_back(t, old);
    if (db_commit(t, &again) || network_apply(c, &again)) {
        _cleanup_free_ char *text = xerr_text(&again);
        log_error("taking back an address: %s", text);
        xerr_clear(&again);
    }
    forget(c);
    return xerr_move(err, why);
}

/* The whole of a change: records, kernel, proof; or all as it was. */
static int change(struct call *c, struct ref self, edit_fn edit, const void *arg, struct xerr *err)
{
    struct xerr why = XERR_INIT;
    struct value old;
    bool attached, management;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *pif = pif_need_own(c, s, self, err);
        if (!pif) return -1;
        if (!ref_is_null(row_ref(pif, F_PIF_bond_slave_of))) return xerr_cannot_plug_bond_slave(err, REF_STR(self));
        old = old_fields(c, pif);
        attached = row_bool(pif, F_PIF_currently_attached);
        management = row_bool(pif, F_PIF_management);
    }
    if (management && remember(c, &old, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    edit(t, self, arg);
    if (db_commit(t, err)) {
        forget(c);
        return -1;
    }
    if (attached ? network_apply(c, &why) : management ? pif_bring_up(c, self, &why) : 0) {
        _cleanup_free_ char *text = xerr_text(&why);
        if (!xerr_is(&why, "PIF_CONFIGURATION_ERROR")) {
            xerr_clear(&why);
            xerr_pif_configuration_error(&why, REF_STR(self), text);
        }
        return undo(c, &old, &why, err);
    }
    if (management && pif_check_answers(c, self, &why)) return undo(c, &old, &why, err);
    forget(c);
    write_resolvers(c);
    return pif_scan_host(c, err);
}

struct ipv4 { enum ip_configuration_mode mode; const char *ip, *netmask, *gateway, *dns; };

static void edit_ipv4(struct txn *t, struct ref pif, const void *arg)
{
    const struct ipv4 *n = arg;
    bool fixed = n->mode == ip_configuration_mode_Static;

    txn_set_enum(t, pif, F_PIF_ip_configuration_mode, (int)n->mode);
    txn_set_str(t, pif, F_PIF_IP, fixed ? n->ip : "");
    txn_set_str(t, pif, F_PIF_netmask, fixed ? n->netmask : "");
    txn_set_str(t, pif, F_PIF_gateway, fixed ? n->gateway : "");
    txn_set_str(t, pif, F_PIF_DNS, n->mode == ip_configuration_mode_None ? "" : n->dns);
}

/* The management interface must keep an address of the family by which the host is known. */
static int check_none(struct call *c, struct ref self, enum primary_address_type family, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *pif = snap_need(s, CLASS_PIF, self, err);

    if (!pif) return -1;
    bool needed = row_bool(pif, F_PIF_management) && row_enum(pif, F_PIF_primary_address_type) == (int)family;
    return needed ? xerr_pif_is_management_interface(err, REF_STR(self)) : 0;
}

int pif_reconfigure_ip(struct call *c, struct ref self, enum ip_configuration_mode mode, const char *IP, const char *netmask,
                       const char *gateway, const char *DNS, struct xerr *err)
{
    const struct ipv4 new = { mode, IP, netmask, gateway, DNS };

    if (mode == ip_configuration_mode_Static) {
        if (!address_valid(AF_INET, IP)) return xerr_invalid_ip_address_specified(err, "IP");
        if (address_prefix_of(netmask) < 1) return xerr_invalid_ip_address_specified(err, "netmask");
        if (*gateway && !address_valid(AF_INET, gateway)) return xerr_invalid_ip_address_specified(err, "gateway");
    }
    if (!address_list_valid(DNS)) return xerr_invalid_ip_address_specified(err, "DNS");
    if (mode == ip_configuration_mode_None && check_none(c, self, primary_address_type_IPv4, err)) return -1;
    return change(c, self, edit_ipv4, &new, err);
}

struct ipv6 { enum ipv6_configuration_mode mode; const char *address, *gateway, *dns; };

static void edit_ipv6(struct txn *t, struct ref pif, const void *arg)
{
    const struct ipv6 *n = arg;
    bool fixed = n->mode == ipv6_configuration_mode_Static;
    const struct value one[] = { value_string(fixed ? n->address : "") };
    const struct value set = value_set(one, fixed ? 1 : 0);

    txn_set_enum(t, pif, F_PIF_ipv6_configuration_mode, (int)n->mode);
    txn_set_value(t, pif, F_PIF_IPv6, &set);
    txn_set_str(t, pif, F_PIF_ipv6_gateway, fixed ? n->gateway : "");
    if (*n->dns) txn_set_str(t, pif, F_PIF_DNS, n->dns);
}

int pif_reconfigure_ipv6(struct call *c, struct ref self, enum ipv6_configuration_mode mode, const char *IPv6, const char *gateway,
                         const char *DNS, struct xerr *err)
{
    _cleanup_free_ char *spelled = address_with_prefix(AF_INET6, IPv6);
    const struct ipv6 new = { mode, spelled, gateway, DNS };

    if (mode == ipv6_configuration_mode_Static) {
        if (!spelled) return xerr_invalid_cidr_address_specified(err, "IPv6");
        if (*gateway && !address_valid(AF_INET6, gateway)) return xerr_invalid_ip_address_specified(err, "gateway");
    }
    if (!address_list_valid(DNS)) return xerr_invalid_ip_address_specified(err, "DNS");
    if (mode == ipv6_configuration_mode_None && check_none(c, self, primary_address_type_IPv6, err)) return -1;
    return change(c, self, edit_ipv6, &new, err);
}

int pif_set_primary_address_type(struct call *c, struct ref self, enum primary_address_type primary_address_type,
                                 struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *pif = snap_need(txn_snap(t), CLASS_PIF, self, err);
    bool v6 = primary_address_type == primary_address_type_IPv6;
    int rc = pif ? 0 : -1;

    if (!rc && row_bool(pif, F_PIF_management)) rc = xerr_pif_is_management_interface(err, REF_STR(self));
    if (!rc && v6 && row_enum(pif, F_PIF_ipv6_configuration_mode) == ipv6_configuration_mode_None)
        rc = xerr_pif_has_no_v6_network_configuration(err, REF_STR(self));
    if (!rc && !v6 && row_enum(pif, F_PIF_ip_configuration_mode) == ip_configuration_mode_None)
        rc = xerr_pif_has_no_network_configuration(err, REF_STR(self));
    if (rc) {
        db_abort(t);
        return -1;
    }
    txn_set_enum(t, self, F_PIF_primary_address_type, (int)primary_address_type);
    return db_commit(t, err);
}
