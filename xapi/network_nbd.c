/* Class network: purposes, and what the NBD server needs to know of them.
 * Called by: the generated thunks (schema/network.xml), vdi_nbd.c, http/nbd_server.c.  Calls: db/. */
#include "xapi/network.h"

#include "gen/methods.h"
#include "lib/log.h"

/* ---- purposes ------------------------------------------------------------------------------ */

static bool has(const struct row *network, int purpose) { return row_bits(network, F_network_purpose) >> purpose & 1; }

/* TLS is a must for all of a pool's networks that serve disks, or for none. */
static int check_conflict(const struct snap *s, enum network_purpose value, struct xerr *err)
{
    const struct enum_desc *names = model_field(F_network_purpose)->type->elem->e;
    const int other = value == network_purpose_nbd ? network_purpose_insecure_nbd : network_purpose_nbd;

    SNAP_EACH (s, CLASS_network, network) {
        if (has(network, other)) return xerr_network_incompatible_purposes(err, names->values[value], names->values[other]);
    }
    return 0;
}

static int set(struct call *c, struct ref self, enum network_purpose value, bool on, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = call_need(txn_snap(t), CLASS_network, self, err);
    const uint64_t bit = UINT64_C(1) << value;

    if (!row || (on && check_conflict(txn_snap(t), value, err))) {
        db_abort(t);
        return -1;
    }
    const uint64_t was = row_bits(row, F_network_purpose);
    txn_set_bits(t, self, F_network_purpose, on ? was | bit : was & ~bit);
    if (db_commit(t, err)) return -1;
    return c->agent->serve_nbd ? c->agent->serve_nbd(c->agent, err) : 0;
}

int network_add_purpose(struct call *c, struct ref self, enum network_purpose value, struct xerr *err)
{
    return set(c, self, value, true, err);
}

int network_remove_purpose(struct call *c, struct ref self, enum network_purpose value, struct xerr *err)
{
    return set(c, self, value, false, err);
}

/* ---- for the server ------------------------------------------------------------------------ */

static bool is_loopback(const char *address) { return has_prefix(address, "127.") || streq(address, "::1"); }

/* Calls for each address of this host on the network: fn says whether to go on. */
static bool each_address(const struct agent *agent, const struct snap *s, const struct row *network,
                         bool (*fn)(void *arg, const char *address), void *arg)
{
    const struct refset *pifs = row_refs(network, F_network_PIFs);

    for (size_t i = 0; i < pifs->n; i++) {
        const struct row *pif = snap_get(s, CLASS_PIF, pifs->refs[i]);
        if (!pif || !ref_eq(row_ref(pif, F_PIF_host), agent->host)) continue;
        if (*row_str(pif, F_PIF_IP) && !fn(arg, row_str(pif, F_PIF_IP))) return false;
        const struct value *v6 = row_value(pif, F_PIF_IPv6);
        for (size_t n = 0; n < v6->set.n; n++)
            if (v6->set.items[n].kind == VALUE_STRING && *v6->set.items[n].s && !fn(arg, v6->set.items[n].s)) return false;
    }
    return true;
}

/* False when it is the wanted one; a prefix length behind it does not count. */
static bool is_other(void *arg, const char *address)
{
    const char *wanted = arg;
    const size_t n = strcspn(address, "/");

    return strlen(wanted) != n || strncmp(address, wanted, n) != 0;
}

enum nbd_purpose network_nbd_purpose(struct agent *agent, const char *address)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);

    SNAP_EACH (s, CLASS_network, network) {
        const bool tls = has(network, network_purpose_nbd);
        if (!tls && !has(network, network_purpose_insecure_nbd)) continue;
        if (!address || is_loopback(address) || !each_address(agent, s, network, is_other, (void *)(uintptr_t)address))
            return tls ? NBD_TLS : NBD_INSECURE;
    }
    return NBD_OFF;
}

struct listing {
    struct arena *a;
    const char **texts;
    size_t n, max;
};

static bool list_one(void *arg, const char *address)
{
    struct listing *l = arg;
    const char *text = arena_strndup(l->a, address, strcspn(address, "/"));

    for (size_t i = 0; i < l->n; i++)
        if (streq(l->texts[i], text)) return true;
    if (l->n < l->max) l->texts[l->n++] = text;
    return l->n < l->max;
}

size_t network_nbd_addresses(struct agent *agent, struct arena *a, const char **texts, size_t max)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    struct listing l = { .a = a, .texts = texts, .max = max };

    SNAP_EACH (s, CLASS_network, network) {
        if (has(network, network_purpose_nbd) || has(network, network_purpose_insecure_nbd))
            each_address(agent, s, network, list_one, &l);
    }
    return l.n;
}
