/* Class host: management: over which card, over plain HTTP or not, or not at all.
 * Called by: the generated thunks (schema/host.xml, schema/pool.xml), pif.c, main.c.  Calls: pif*.c, db/, the server's listeners. */
#include "xapi/host_management.h"

#include <errno.h>

#define LOG_MODULE "host"
#include "gen/methods.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "xapi/host.h"
#include "xapi/network_plan.h"
#include "xapi/pif.h"
#include "xapi/pif_ip.h"

/* ---- state ------------------------------------------------------------------------------------------------------- */

/* A file, not a field: it must be known before the database is, and must not come back with a restored dump. */
static char *disabled_path(const struct agent *agent) { return xasprintf("%s/management-disabled", agent->root); }

bool host_management_is_disabled(const struct agent *agent)
{
    _cleanup_free_ char *path = disabled_path(agent);

    return access(path, F_OK) == 0;
}

static int set_disabled(const struct agent *agent, bool disabled, struct xerr *err)
{
    _cleanup_free_ char *path = disabled_path(agent);
    int rc = disabled ? write_file_atomic(path, "", 0, 0644) : unlink(path) && errno != ENOENT ? -1 : 0;

    return rc ? xerr_internal(err, "%s: %s", path, strerror(errno)) : 0;
}

int host_management_allow(const char *root, struct xerr *err)
{
    const struct agent agent = { .root = root };

    return set_disabled(&agent, false, err);
}

bool host_is_https_only(const struct agent *agent)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    const struct row *row = snap_get(s, CLASS_host, agent->host);

    return row && row_bool(row, F_host_https_only);
}

int host_set_https_only(struct call *c, struct ref self, bool value, struct xerr *err)
{
    bool open = !host_management_is_disabled(c->agent);

    if (host_need_self(c, self, err)) return -1;
    if (c->agent->listen(c->agent, open && !value, open, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, self, F_host_https_only, value);
    return db_commit(t, err);
}

/* ---- cards ------------------------------------------------------------------------------------------------------- */

static bool is_ours(const struct agent *agent, const struct row *pif)
{
    return ref_eq(row_ref(pif, F_PIF_host), agent->host);
}

static const struct row *management_pif(const struct agent *agent, const struct snap *s)
{
    SNAP_EACH (s, CLASS_PIF, pif)
        if (is_ours(agent, pif) && row_bool(pif, F_PIF_management)) return pif;
    return NULL;
}

/* The address that clients are told; the option of the administrator wins. */
/* Those of VMs here tell clients where to connect. */
static void move_consoles(const struct agent *agent, struct txn *t)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct row *host = snap_get(txn_snap(t), CLASS_host, agent->host);

    SNAP_EACH (txn_snap(t), CLASS_console, console) {
        const struct row *vm = snap_get(txn_snap(t), CLASS_VM, row_ref(console, F_console_VM));
        if (!vm || !ref_eq(row_ref(vm, F_VM_resident_on), agent->host)) continue;
        txn_set_str(t, row_ref_of(console), F_console_location, host_console_location(a, host, row_ref_of(console)));
    }
}

static void set_address(const struct agent *agent, struct txn *t, const char *ip)
{
    const struct row *host = snap_get(txn_snap(t), CLASS_host, agent->host);

    if (!*ip || *conf_str(agent->conf, "address") || (host && streq(row_str(host, F_host_address), ip))) return;
    txn_set_str(t, agent->host, F_host_address, ip);
    move_consoles(agent, t);
}

/* The only card with management; null: none. */
static void give(const struct agent *agent, struct txn *t, struct ref chosen)
{
    SNAP_EACH (txn_snap(t), CLASS_PIF, pif) {
        bool mine = ref_eq(row_ref_of(pif), chosen);
        if (!is_ours(agent, pif)) continue;
        if (mine) set_address(agent, t, row_str(pif, F_PIF_IP));
        if (row_bool(pif, F_PIF_management) != mine) txn_set_bool(t, row_ref_of(pif), F_PIF_management, mine);
    }
}

/* The card with our address; among others the first by name. */
static bool is_better(const struct agent *agent, const struct row *pif, const struct row *other)
{
    bool mine = streq(row_str(pif, F_PIF_IP), agent->address), its = streq(row_str(other, F_PIF_IP), agent->address);

    return mine != its ? mine : strcmp(row_str(pif, F_PIF_device), row_str(other, F_PIF_device)) < 0;
}

void host_management_refresh(const struct agent *agent, struct txn *t)
{
    const struct row *chosen = management_pif(agent, txn_snap(t));

    if (host_management_is_disabled(agent)) return;
    if (chosen) {
        set_address(agent, t, row_str(chosen, F_PIF_IP));
        return;
    }
    SNAP_EACH (txn_snap(t), CLASS_PIF, pif)
        if (is_ours(agent, pif) && (!chosen || is_better(agent, pif, chosen))) chosen = pif;
    if (chosen) give(agent, t, row_ref_of(chosen));
}

static int give_to(struct call *c, struct ref pif, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    give(c->agent, t, pif);
    return db_commit(t, err);
}

/* Plugged, with the host's gateway behind it, which answers. A card that is the administrator's own is as he made it. */
static int prove(struct call *c, struct ref pif, bool managed, struct xerr *err)
{
    return (managed && pif_bring_up(c, pif, err)) || pif_check_answers(c, pif, err) ? -1 : 0;
}

/* Of the family by which the host is to be known. */
static int check_configured(const struct row *pif, struct xerr *err)
{
    if (row_enum(pif, F_PIF_primary_address_type) == primary_address_type_IPv6)
        return row_enum(pif, F_PIF_ipv6_configuration_mode) == ipv6_configuration_mode_None
                   ? xerr_pif_has_no_v6_network_configuration(err, REF_STR(row_ref_of(pif))) : 0;
    return *row_str(pif, F_PIF_IP) ? 0 : xerr_pif_has_no_network_configuration(err, REF_STR(row_ref_of(pif)));
}

/* 1. What was, in a file: an agent that is killed now begins with it again. 2. The records, 3. the network, and the proof that
 * it works; if not, all as it was. 4. The listeners. */
int host_management_reconfigure(struct call *c, struct ref pif, struct xerr *err)
{
    struct ref before = REF_NULL;
    const char *uuid = "";
    bool managed;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_PIF, pif, err), *old = management_pif(c->agent, s);
        if (!row) return -1;
        if (!is_ours(c->agent, row)) return xerr_host_offline(err, REF_STR(row_ref(row, F_PIF_host)));
        if (check_configured(row, err)) return -1;
        managed = row_bool(row, F_PIF_managed);
        if (old) {
            before = row_ref_of(old);
            uuid = arena_strdup(c->arena, row_uuid(old));
        }
    }
    if (pif_fallback_begin(c, "management", value_string(uuid), err)) return -1;
    if (give_to(c, pif, err) || prove(c, pif, managed, err)) {
        struct xerr again = XERR_INIT;
        if (give_to(c, before, &again) || network_apply(c, &again)) {
            _cleanup_free_ char *text = xerr_text(&again);
            log_error("taking back management: %s", text);
            xerr_clear(&again);
        }
        pif_fallback_end(c);
        return -1;
    }
    pif_fallback_end(c);
    pif_resolvers(c);
    return set_disabled(c->agent, false, err) || c->agent->listen(c->agent, !host_is_https_only(c->agent), true, err) ? -1 : 0;
}

/* By the name of the card or of its bridge. */
int host_local_management_reconfigure(struct call *c, const char *interface, struct xerr *err)
{
    struct ref chosen = REF_NULL;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        SNAP_EACH (s, CLASS_PIF, pif) {
            const struct row *network = snap_get(s, CLASS_network, row_ref(pif, F_PIF_network));
            if (!is_ours(c->agent, pif)) continue;
            if (streq(row_str(pif, F_PIF_device), interface) ||
                (network && streq(row_str(network, F_network_bridge), interface)))
                chosen = row_ref_of(pif);
        }
        const struct row *row = snap_get(s, CLASS_PIF, chosen);
        if (!row || !*row_str(row, F_PIF_IP)) return xerr_interface_has_no_ip(err, interface);
    }
    return host_management_reconfigure(c, chosen, err);
}

/* Only the unix socket is left; connections that are open end as their clients close them. */
int host_management_disable(struct call *c, struct xerr *err)
{
    if (set_disabled(c->agent, true, err) || c->agent->listen(c->agent, false, false, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    give(c->agent, t, REF_NULL);
    return db_commit(t, err);
}

int pool_management_reconfigure(struct call *c, struct ref network, struct xerr *err)
{
    struct ref chosen = REF_NULL;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_network, network, err);
        if (!row) return -1;
        const struct refset *pifs = row_refs(row, F_network_PIFs);
        for (size_t i = 0; i < pifs->n; i++) {
            const struct row *pif = snap_get(s, CLASS_PIF, pifs->refs[i]);
            if (pif && is_ours(c->agent, pif)) chosen = pifs->refs[i];
        }
    }
    if (ref_is_null(chosen)) return xerr_pif_not_present(err, REF_STR(c->agent->host), REF_STR(network));
    return host_management_reconfigure(c, chosen, err);
}

int host_get_management_interface(struct call *c, struct ref host, struct ref *ret_result, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *pif = management_pif(c->agent, s);

    if (!pif) return xerr_host_has_no_management_ip(err);
    *ret_result = row_ref_of(pif);
    return 0;
}
