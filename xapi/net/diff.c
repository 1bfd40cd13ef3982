/* From the network that is there to the one that is wanted: the steps, in a safe order. Pure.
 * Called by: the drivers.  Calls: lib. */
#include "xapi/net/plan.h"

struct work {
    const struct net_plan *plan;
    const struct net_have *have;
    size_t n_have;
    struct net_step *steps;
    size_t n, room;
};

static void add(struct work *w, enum net_step_kind kind, const struct net_link *link, const char *text)
{
    if (w->n == w->room) {
        w->room = w->room ? w->room * 2 : 64;
        w->steps = xrealloc(w->steps, w->room * sizeof(*w->steps));
    }
    w->steps[w->n++] = (struct net_step){ kind, link, text };
}

static const struct net_have *have_named(const struct work *w, const char *name)
{
    for (size_t i = 0; i < w->n_have; i++)
        if (streq(w->have[i].link.name, name)) return &w->have[i];
    return NULL;
}

static const struct net_link *planned(const struct work *w, const char *name)
{
    for (size_t i = 0; i < w->plan->n; i++)
        if (streq(w->plan->links[i].name, name)) return &w->plan->links[i];
    return NULL;
}

static bool made_by_us(enum net_kind kind)
{
    return kind == NET_BRIDGE || kind == NET_VLAN || kind == NET_BOND || kind == NET_TUNNEL;
}

/* What cannot be changed while a link lives. */
static bool same_nature(const struct net_link *a, const struct net_link *b)
{
    if (a->kind != b->kind) return false;
    if (a->kind == NET_VLAN) return a->tag == b->tag && streq(a->parent, b->parent);
    if (a->kind == NET_TUNNEL)
        return a->tunnel.vxlan == b->tunnel.vxlan && a->tunnel.key == b->tunnel.key &&
               streq(a->tunnel.local, b->tunnel.local) && streq(a->tunnel.remote, b->tunnel.remote);
    return a->kind != NET_BOND || a->bond.mode == b->bond.mode;
}

static bool must_go(const struct work *w, const struct net_have *h)
{
    const struct net_link *want = planned(w, h->link.name);

    return h->owned && made_by_us(h->link.kind) && (!want || !same_nature(&h->link, want));
}

/* The link as it will be found when it is its turn: NULL when it has to be made. One that somebody else made under the
 * name of ours is none of ours: making ours then fails, and says so. */
static const struct net_have *survivor(const struct work *w, const char *name)
{
    const struct net_have *h = have_named(w, name);
    const struct net_link *want = planned(w, name);

    return h && !must_go(w, h) && (h->owned || !want || !made_by_us(want->kind)) ? h : NULL;
}

/* A name that is needed for a link of another nature must be free first; everything else goes last. */
static void delete_links(struct work *w, bool names_needed)
{
    /* From the top: what stands on a link goes before the link. */
    static const enum net_kind order[] = { NET_BRIDGE, NET_TUNNEL, NET_VLAN, NET_BOND };

    for (size_t k = 0; k < ARRAY_SIZE(order); k++)
        for (size_t i = 0; i < w->n_have; i++) {
            const struct net_have *h = &w->have[i];
            if (h->link.kind != order[k] || !must_go(w, h)) continue;
            if ((planned(w, h->link.name) != NULL) == names_needed) add(w, NET_STEP_DELETE, &h->link, NULL);
        }
}

static bool same_bond(const struct net_bond *a, const struct net_bond *b)
{
    return a->miimon_ms == b->miimon_ms && a->updelay_ms == b->updelay_ms && a->downdelay_ms == b->downdelay_ms &&
           (a->mode != NET_BOND_LACP || (a->lacp_fast == b->lacp_fast && a->hash_ports == b->hash_ports));
}

static void create_and_set(struct work *w, const struct net_link *want)
{
    const struct net_have *h = survivor(w, want->name);

    if (!h && made_by_us(want->kind) && !want->optional) add(w, NET_STEP_CREATE, want, NULL);
    if (h && want->kind == NET_BOND && !same_bond(&h->link.bond, &want->bond)) add(w, NET_STEP_BOND, want, NULL);
    if (h && want->mtu && h->link.mtu != want->mtu) add(w, NET_STEP_MTU, want, NULL);
    if (h && *want->mac && !streq(h->link.mac, want->mac)) add(w, NET_STEP_MAC, want, NULL);
}

/* Whose port it is. A link of no master of ours is left with a foreign one. */
static void set_master(struct work *w, const struct net_link *want)
{
    const struct net_have *h = survivor(w, want->name), *now = h && *h->link.master ? have_named(w, h->link.master) : NULL;
    const struct net_link *to = *want->master ? planned(w, want->master) : NULL;

    if (want->optional || (!h && !made_by_us(want->kind))) return;
    if (!*want->master) {
        if (now && now->owned && !must_go(w, now)) add(w, NET_STEP_MASTER, want, "");
        return;
    }
    if (now && streq(h->link.master, want->master) && !must_go(w, now)) return;
    if (to && to->kind == NET_BOND && (!h || h->up)) add(w, NET_STEP_DOWN, want, NULL);
    add(w, NET_STEP_MASTER, want, want->master);
}

/* A port goes down on its way into a bond, and the kernel takes it down on its way out of one. */
static bool goes_down(const struct work *w, const struct net_have *h, const struct net_link *want)
{
    if (streq(h->link.master, want->master)) return false;
    const struct net_have *from = have_named(w, h->link.master);
    const struct net_link *to = planned(w, want->master);
    return (from && from->link.kind == NET_BOND) || (to && to->kind == NET_BOND);
}

static void bring_up(struct work *w, const struct net_link *want)
{
    const struct net_have *h = survivor(w, want->name);

    if (want->optional || (want->kind == NET_NIC && (!h || !*want->master))) return;
    if (!h || !h->up || goes_down(w, h, want)) add(w, NET_STEP_UP, want, NULL);
    if (h && want->kind == NET_NIC && h->link.promiscuous != want->promiscuous) add(w, NET_STEP_PROMISC, want, NULL);
}

static bool is_v6(const char *address) { return strchr(address, ':') != NULL; }

static bool wanted_address(const struct net_link *want, const char *address)
{
    const struct net_ip *ip = is_v6(address) ? &want->ip6 : &want->ip4;

    return ip->source == NET_IP_LEAVE || ((ip->source == NET_IP_STATIC || ip->source == NET_IP_DHCP) && ip->address &&
                                         streq(ip->address, address));
}

/* A bridge that need not be there, and that an interface of the host's stood on until now: the address was that interface's. */
static bool loses_interface(const struct work *w, const struct net_link *bridge)
{
    for (size_t i = 0; bridge->optional && i < w->n_have; i++) {
        const struct net_have *h = &w->have[i];
        const struct net_link *want = planned(w, h->link.name);
        if (!streq(h->link.master, bridge->name)) continue;
        if (must_go(w, h) || (want && want->kind != NET_TAP && !streq(want->master, bridge->name))) return true;
    }
    return false;
}

static bool has_address(const struct net_have *h, const char *address)
{
    for (size_t i = 0; h && i < h->n_addresses; i++)
        if (streq(h->addresses[i], address)) return true;
    return false;
}

static void remove_addresses(struct work *w, const struct net_link *want)
{
    const struct net_have *h = survivor(w, want->name);

    for (size_t i = 0; h && i < h->n_addresses; i++)
        if (!wanted_address(want, h->addresses[i])) add(w, NET_STEP_ADDRESS_REMOVE, want, h->addresses[i]);
}

static void remove_lost_addresses(struct work *w, const struct net_link *want)
{
    const struct net_have *h = loses_interface(w, want) ? survivor(w, want->name) : NULL;

    for (size_t i = 0; h && i < h->n_addresses; i++) add(w, NET_STEP_ADDRESS_REMOVE, want, h->addresses[i]);
}

static void add_address(struct work *w, const struct net_link *want, const struct net_ip *ip, const char *gateway)
{
    const struct net_have *h = survivor(w, want->name);
    bool mine = ip->source == NET_IP_STATIC || ip->source == NET_IP_DHCP;

    if (want->optional || ip->source == NET_IP_LEAVE) return;
    if (mine && ip->address && *ip->address && !has_address(h, ip->address))
        add(w, NET_STEP_ADDRESS_ADD, want, ip->address);
    const char *through = want->is_default && mine && ip->gateway ? ip->gateway : "";
    if (*through && (!streq(gateway, through) || !has_address(h, ip->address))) add(w, NET_STEP_GATEWAY, want, through);
    if (!*through && *gateway) add(w, NET_STEP_GATEWAY_REMOVE, want, gateway);
}

static void each(struct work *w, void (*fn)(struct work *w, const struct net_link *want))
{
    /* From the ground up: a port before its master's address, a parent before what stands on it. */
    static const enum net_kind order[] = { NET_BOND, NET_NIC, NET_VLAN, NET_TUNNEL, NET_BRIDGE };

    for (size_t k = 0; k < ARRAY_SIZE(order); k++)
        for (size_t i = 0; i < w->plan->n; i++)
            if (w->plan->links[i].kind == order[k]) fn(w, &w->plan->links[i]);
}

static void add_addresses(struct work *w, const struct net_link *want)
{
    const struct net_have *h = survivor(w, want->name);

    add_address(w, want, &want->ip4, h ? h->gateway4 : "");
    add_address(w, want, &want->ip6, h ? h->gateway6 : "");
}

void net_diff(const struct net_plan *plan, const struct net_have *have, size_t n_have, struct arena *a,
              const struct net_step **ret_steps, size_t *ret_n)
{
    struct work w = { .plan = plan, .have = have, .n_have = n_have };

    each(&w, remove_lost_addresses);        /* first: while it can still be seen */
    delete_links(&w, true);
    each(&w, create_and_set);
    each(&w, set_master);
    each(&w, bring_up);
    each(&w, remove_addresses);
    each(&w, add_addresses);
    delete_links(&w, false);
    struct net_step *steps = arena_new_array(a, struct net_step, w.n);
    if (w.n) memcpy(steps, w.steps, w.n * sizeof(*steps));
    free(w.steps);
    *ret_steps = steps;
    *ret_n = w.n;
}

const char *net_step_text(const struct net_step *step, struct arena *a)
{
    static const char *const kinds[] = { "link", "NIC", "bridge", "VLAN", "bond", "tunnel", "ifb", "tap" };
    static const char *const verbs[] = {
        "delete", "create", "take down", "set up bond", "set MTU of", "set MAC of", "set master of", "bring up",
        "set promiscuity of", "remove address of", "add address of", "set gateway of", "remove gateway of",
    };
    return arena_printf(a, "%s %s %s%s%s", verbs[step->kind], kinds[step->link->kind], step->link->name,
                        step->text ? " " : "", step->text ? step->text : "");
}
