/* The network driver for Linux bridges.
 * Called by: net.c.  Calls: kernel.c, real.c. */
#include "xapi/net/net_driver.h"

#include <linux/netlink.h>

#include "xapi/net/filter.h"
#include "xapi/net/kernel.h"

/* A netlink socket lives as long as one verb: no state, nothing to lock, nothing to lose. */
struct bridges { uint32_t mark; };

static int open_bridges(const char *root, uint32_t mark, void **ret_state, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;

    (void)root;
    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why)) return -1;
    struct bridges *b = xcalloc(1, sizeof(*b));
    b->mark = mark;
    *ret_state = b;
    return 0;
}

/* The kernel's bonding has no mode that spreads by source and needs no help of the switch; rules make one. */
static bool has_carrier(const struct net_have *have, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (streq(have[i].link.name, name)) return have[i].carrier;
    return false;
}

static bool is_spread(const struct net_link *link)
{
    return link->kind == NET_BOND && link->bond.mode == NET_BOND_SLB;
}

static int spread_by_source(const struct net_plan *plan, const struct net_have *have, size_t n_have, struct arena *a,
                            char **ret_why)
{
    const char **spread = arena_new_array(a, const char *, plan->n);
    size_t n_spread = 0;

    for (size_t i = 0; i < plan->n; i++)
        if (is_spread(&plan->links[i])) spread[n_spread++] = plan->links[i].name;
    if (filter_slb_only(spread, n_spread, ret_why)) return -1;
    for (size_t i = 0; i < plan->n; i++) {
        const struct net_link *bond = &plan->links[i];
        if (!is_spread(bond)) continue;
        const char **ports = arena_new_array(a, const char *, plan->n);
        size_t n = 0;
        for (size_t j = 0; j < plan->n; j++)
            if (streq(plan->links[j].master, bond->name)) ports[n++] = plan->links[j].name;
        /* Broadcasts come by the first port that has a cable; a later look at the links puts another in its place. */
        for (size_t j = 1; j < n && !has_carrier(have, n_have, ports[0]); j++) {
            const char *other = ports[j];
            ports[j] = ports[0];
            ports[0] = other;
        }
        if (n && filter_slb(bond->name, ports + 1, n - 1, ret_why)) return -1;
    }
    return 0;
}

static int apply(void *state, const struct net_plan *plan, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    const struct bridges *b = state;
    const struct net_have *have;
    size_t n;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || real_steps(sk, b->mark, plan, a, &have, &n, ret_why)) return -1;
    return real_finish(plan, ret_why) || spread_by_source(plan, have, n, a, ret_why) ? -1 : 0;
}

static int bridge_create(void *state, const char *bridge, unsigned mtu, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    const struct bridges *b = state;
    const struct net_link link = { .kind = NET_BRIDGE, .name = bridge, .mac = "", .mtu = mtu, .ip6.source = NET_IP_NONE };
    const struct net_have *have;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || kernel_find(sk, b->mark, bridge, a, &have, ret_why)) return -1;
    if (have && have->link.kind != NET_BRIDGE) {
        *ret_why = xasprintf("%s is there and no bridge", bridge);
        return -1;
    }
    if (have && have->up && (!mtu || have->link.mtu == mtu)) return 0;
    if (!have && kernel_link_create(sk, b->mark, &link, ret_why)) return -1;
    return kernel_link_change(sk, bridge, KERNEL_CHANGE(.mtu = mtu, .up = KERNEL_ON), ret_why);
}

static int bridge_destroy(void *state, const char *bridge, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    const struct bridges *b = state;
    const struct net_have *have;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || kernel_find(sk, b->mark, bridge, a, &have, ret_why)) return -1;
    /* A network may be named after anything: only a bridge of ours is deleted for it. */
    return have && have->owned && have->link.kind == NET_BRIDGE ? kernel_link_delete(sk, bridge, ret_why) : 0;
}

static int card(const struct bridges *b, const struct net_tap *tap, bool make, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why)) return -1;
    if (make && real_tap_make(sk, b->mark, tap, ret_why)) return -1;
    if (real_card_set(sk, b->mark, tap, ret_why)) return -1;
    return kernel_link_change(sk, tap->name, KERNEL_CHANGE(.master = tap->bridge ? tap->bridge : ""), ret_why);
}

static int tap_create(void *state, const struct net_tap *tap, char **ret_why) { return card(state, tap, true, ret_why); }
static int vif_plug(void *state, const struct net_tap *vif, char **ret_why) { return card(state, vif, false, ret_why); }

static int tap_destroy(void *state, const char *name, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    const struct bridges *b = state;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why)) return -1;
    return real_card_remove(sk, b->mark, name, ret_why);
}

static int sweep(void *state, const char *const *keep, size_t n_keep, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    const struct bridges *b = state;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why)) return -1;
    return real_sweep(sk, b->mark, keep, n_keep, ret_why);
}

static int list(void *state, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
                char **ret_why)
{
    const struct bridges *b = state;

    return real_list(b->mark, arena, ret_interfaces, ret_n, ret_why);
}

const struct net_driver net_driver_bridge = {
    .name = "bridge",
    .backend = "bridge",
    .open = open_bridges,
    .close = free,
    .apply = apply,
    .bridge_create = bridge_create,
    .bridge_destroy = bridge_destroy,
    .tap_create = tap_create,
    .tap_destroy = tap_destroy,
    .vif_plug = vif_plug,
    .sweep = sweep,
    .list = list,
    .neighbour_answers = real_neighbour_answers,
};
