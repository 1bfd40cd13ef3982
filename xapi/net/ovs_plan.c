/* A plan of the host's links as rows of Open vSwitch's database: one transaction from what is there to what is wanted.
 * Called by: ovs.c.  Calls: ovsdb.c. */
#include "xapi/net/ovs.h"

#include "lib/map.h"

enum { MEMBERS_MAX = 17, COLUMNS_MAX = 10 };

struct have_port { const struct value *row; const char *bridge; };

/* What the database has: rows by name, ports with their bridges. */
struct have {
    const struct value *root;
    struct map *bridges, *ports, *interfaces;    /* name -> row; of ports -> have_port */
    const struct value *all_bridges, *all_ports;
};

enum { INTERFACE_COLUMNS = 5, OTHER_CONFIG = 4 };
struct want_interface { const char *name; struct ovs_column columns[INTERFACE_COLUMNS]; };
struct want_port {
    const char *name, *bridge;                   /* the real bridge */
    struct want_interface interfaces[MEMBERS_MAX];
    size_t n_interfaces;
    struct ovs_column columns[COLUMNS_MAX];
    size_t n_columns;
};
struct want {
    const struct net_plan *plan;
    struct want_port *ports;
    size_t n;
    struct ovs_ops ops;
    const struct have *have;
};

#define NOTHING "[\"set\",[]]"

/* ---- what is there ---------------------------------------------------------------------------------------------------------- */

static const char *name_of(const struct value *row) { return value_get_str(row, "name", ""); }

static struct map *by_name(const struct value *rows)
{
    struct map *m = map_new();

    for (size_t i = 0; i < rows->set.n; i++) map_put(m, name_of(&rows->set.items[i]), (void *)(uintptr_t)&rows->set.items[i]);
    return m;
}

static void free_have(struct have *h)
{
    map_free(h->bridges);
    map_free(h->ports);
    map_free(h->interfaces);
}

static int read_have(struct ovsdb *db, struct arena *a, struct have *h, char **ret_why)
{
    const char *ops = "{\"op\":\"select\",\"table\":\"Open_vSwitch\",\"where\":[],\"columns\":[\"datapath_types\"]},"
        "{\"op\":\"select\",\"table\":\"Bridge\",\"where\":[],\"columns\":[\"_uuid\",\"name\",\"ports\",\"external_ids\","
        "\"other_config\"]},"
        "{\"op\":\"select\",\"table\":\"Port\",\"where\":[],\"columns\":[\"_uuid\",\"name\",\"interfaces\",\"tag\",\"fake_bridge\","
        "\"bond_mode\",\"bond_updelay\",\"bond_downdelay\",\"lacp\",\"other_config\",\"external_ids\"]},"
        "{\"op\":\"select\",\"table\":\"Interface\",\"where\":[],\"columns\":[\"_uuid\",\"name\",\"type\",\"options\",\"mtu_request\","
        "\"mac\",\"other_config\"]}";
    struct value results;

    *h = (struct have){ .root = NULL };
    if (ovsdb_read(db, ops, a, &results, ret_why)) return -1;
    const struct value *roots = ovsdb_rows(&results, 0);
    if (!roots->set.n) {
        *ret_why = xstrdup("Open vSwitch's database has no row for the switch");
        return -1;
    }
    h->root = &roots->set.items[0];
    h->all_bridges = ovsdb_rows(&results, 1);
    h->all_ports = ovsdb_rows(&results, 2);
    h->bridges = by_name(h->all_bridges);
    h->interfaces = by_name(ovsdb_rows(&results, 3));
    h->ports = map_new();
    struct map *on = map_new();
    for (size_t i = 0; i < h->all_bridges->set.n; i++) {
        const struct value *bridge = &h->all_bridges->set.items[i];
        const char *uuid;
        for (size_t k = 0; *(uuid = ovsdb_uuid(bridge, "ports", k)); k++) map_put(on, uuid, (void *)(uintptr_t)name_of(bridge));
    }
    for (size_t i = 0; i < h->all_ports->set.n; i++) {
        struct have_port *p = arena_zalloc(a, sizeof(*p));
        const char *bridge = map_get(on, ovsdb_uuid(&h->all_ports->set.items[i], "_uuid", 0));
        *p = (struct have_port){ &h->all_ports->set.items[i], bridge ? bridge : "" };
        map_put(h->ports, name_of(p->row), p);
    }
    map_free(on);
    return 0;
}

/* ---- what is wanted ------------------------------------------------------------------------------------------------------------ */

static const struct net_link *link_named(const struct net_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n; i++)
        if (streq(plan->links[i].name, name)) return &plan->links[i];
    return NULL;
}

/* The VLAN whose network this bridge is, or NULL. */
static const struct net_link *vlan_of(const struct net_plan *plan, const char *bridge)
{
    for (size_t i = 0; i < plan->n; i++)
        if (plan->links[i].kind == NET_VLAN && streq(plan->links[i].master, bridge)) return &plan->links[i];
    return NULL;
}

/* The bridge that a network of the plan is really on. */
static const char *real_bridge(const struct net_plan *plan, const char *bridge)
{
    const struct net_link *vlan = vlan_of(plan, bridge), *parent = vlan ? link_named(plan, vlan->parent) : NULL;

    return parent && *parent->master ? parent->master : bridge;
}

static struct want_port *add_port(struct want *w, const char *name, const char *bridge)
{
    struct want_port *p = &w->ports[w->n++];

    p->name = name;
    p->bridge = bridge;
    return p;
}

static void column(struct want_port *p, const char *name, const char *json)
{
    p->columns[p->n_columns++] = (struct ovs_column){ name, json };
}

static struct want_interface *interface(struct want_port *p, const char *name, const char *type)
{
    struct want_interface *x = &p->interfaces[p->n_interfaces];

    if (p->n_interfaces + 1 < MEMBERS_MAX) p->n_interfaces++;
    *x = (struct want_interface){
        name, { { "type", type }, { "options", "[\"map\",[]]" }, { "mtu_request", NOTHING }, { "mac", NOTHING },
          [OTHER_CONFIG] = { "other_config", "[\"map\",[]]" } },
    };
    return x;
}

/* external_ids: whose it is, and which interfaces of the plan stand for it in the records. */
static const char *marks(struct want *w, const char *link, const char *below)
{
    struct arena *a = w->ops.a;

    if (!*link) return arena_printf(a, "[\"map\",[[\"xapi-owner\",\"%s\"]]]", w->ops.owner);
    return arena_printf(a, "[\"map\",[[\"xapi-below\",%s],[\"xapi-link\",%s],[\"xapi-owner\",\"%s\"]]]", ovs_quote(a, below),
                        ovs_quote(a, link), w->ops.owner);
}

static const char *mtu_text(struct want *w, const struct net_link *l) { return l->mtu ? arena_printf(w->ops.a, "%u", l->mtu) : NOTHING; }

static void want_bond(struct want *w, const struct net_link *bond)
{
    struct arena *a = w->ops.a;
    struct want_port *p = add_port(w, bond->name, bond->master);
    bool lacp = bond->bond.mode == NET_BOND_LACP, spread = lacp && bond->bond.hash_ports;
    const char *mode = bond->bond.mode == NET_BOND_ACTIVE_BACKUP ? "\"active-backup\"" : spread ? "\"balance-tcp\"" : "\"balance-slb\"";
    const char *config = arena_printf(a, "[\"map\",[[\"lacp-fallback-ab\",\"%s\"],[\"lacp-time\",\"%s\"]]]",
                                      bond->bond.lacp_fallback ? "true" : "false", bond->bond.lacp_fast ? "fast" : "slow");
    const char *key = arena_printf(a, "[\"map\",[[\"lacp-aggregation-key\",\"%u\"]]]", bond->bond.lacp_key);

    for (size_t i = 0; i < w->plan->n; i++) {
        if (w->plan->links[i].kind != NET_NIC || !streq(w->plan->links[i].master, bond->name)) continue;
        struct want_interface *member = interface(p, w->plan->links[i].name, "\"\"");
        if (lacp && bond->bond.lacp_key) member->columns[OTHER_CONFIG].json = key;
    }
    column(p, "tag", NOTHING);
    column(p, "fake_bridge", "false");
    column(p, "bond_mode", mode);
    column(p, "bond_updelay", arena_printf(a, "%u", bond->bond.updelay_ms));
    column(p, "bond_downdelay", arena_printf(a, "%u", bond->bond.downdelay_ms));
    column(p, "lacp", lacp ? "\"active\"" : "\"off\"");
    column(p, "other_config", lacp ? config : "[\"map\",[]]");
    column(p, "external_ids", marks(w, "", ""));
}

static void want_tunnel(struct want *w, const struct net_link *l)
{
    struct want_port *p = add_port(w, l->name, l->master);
    const struct net_tunnel *t = &l->tunnel;

    if (!*t->remote) {               /* nobody is there yet */
        w->n--;
        return;
    }
    interface(p, l->name, t->vxlan ? "\"vxlan\"" : "\"gre\"")->columns[1].json =
        arena_printf(w->ops.a, "[\"map\",[[\"key\",\"%u\"],[\"local_ip\",%s],[\"remote_ip\",%s]]]", t->key, ovs_quote(w->ops.a, t->local),
                     ovs_quote(w->ops.a, t->remote));
    column(p, "tag", NOTHING);
    column(p, "external_ids", marks(w, l->name, ""));
}

/* The bridge's own interface; of a network with a tag on the bridge below. */
static void want_own_port(struct want *w, const struct net_link *l)
{
    const char *real = real_bridge(w->plan, l->name);
    const struct net_link *vlan = streq(real, l->name) ? NULL : vlan_of(w->plan, l->name);
    struct want_port *p = add_port(w, l->name, real);

    const struct net_link *below = link_named(w->plan, real);
    struct want_interface *x = interface(p, l->name, "\"internal\"");
    x->columns[2].json = mtu_text(w, l);
    /* A bridge's own is told by the bridge; without one, each move to another bridge would be one to another address. */
    if (vlan && *below->mac) x->columns[3].json = ovs_quote(w->ops.a, below->mac);
    column(p, "tag", vlan ? arena_printf(w->ops.a, "%u", vlan->tag) : NOTHING);
    column(p, "fake_bridge", vlan ? "true" : "false");
    column(p, "external_ids", vlan ? marks(w, vlan->name, vlan->parent) : marks(w, "", ""));
}

static void want_nic(struct want *w, const struct net_link *l)
{
    const struct net_link *master = link_named(w->plan, l->master);

    if (!master || master->kind != NET_BRIDGE) return;
    struct want_port *p = add_port(w, l->name, l->master);
    interface(p, l->name, "\"\"");
    column(p, "tag", NOTHING);
    column(p, "external_ids", marks(w, "", ""));
}

/* A bridge that need not be there, and is, in whatever way. */
static bool is_there(const struct want *w, const char *bridge)
{
    const struct have_port *p = map_get(w->have->ports, bridge);

    return p && ovs_is_owned(p->row, w->ops.owner);
}

static void make_wanted(struct want *w)
{
    for (size_t i = 0; i < w->plan->n; i++) {
        const struct net_link *l = &w->plan->links[i];
        if (l->kind == NET_BRIDGE && (!l->optional || is_there(w, l->name))) want_own_port(w, l);
        if (l->kind == NET_BOND) want_bond(w, l);
        if (l->kind == NET_TUNNEL) want_tunnel(w, l);
        if (l->kind == NET_NIC) want_nic(w, l);
    }
}

/* ---- from one to the other --------------------------------------------------------------------------------------------------------- */

static int bridges(struct want *w, char **ret_why)
{
    for (size_t i = 0; i < w->plan->n; i++) {
        const struct net_link *l = &w->plan->links[i];
        if (l->kind != NET_BRIDGE || !streq(real_bridge(w->plan, l->name), l->name)) continue;
        if (l->optional && !is_there(w, l->name)) continue;
        const struct value *row = map_get(w->have->bridges, l->name);
        const char *mac = *l->mac ? arena_printf(w->ops.a, "[\"map\",[[\"hwaddr\",\"%s\"]]]", l->mac) : "[\"map\",[]]";
        const struct ovs_column columns[] = { { "other_config", mac } };
        if (row && !ovs_is_owned(row, w->ops.owner)) {
            *ret_why = xasprintf("there is a bridge %s already, of somebody else's", l->name);
            return -1;
        }
        if (row) ovs_update(&w->ops, "Bridge", row, columns, 1);
        else ovs_make_bridge(&w->ops, l->name, ovs_datapath(w->have->root), l->mac, l->mtu);
    }
    return 0;
}

static bool same_members(const struct want *w, const struct want_port *p, const struct value *row)
{
    size_t n = 0;
    const char *uuid;

    for (; *(uuid = ovsdb_uuid(row, "interfaces", n)); n++) {
        bool found = false;
        for (size_t i = 0; i < p->n_interfaces && !found; i++) {
            const struct value *have = map_get(w->have->interfaces, p->interfaces[i].name);
            found = have && streq(ovsdb_uuid(have, "_uuid", 0), uuid);
        }
        if (!found) return false;
    }
    return n == p->n_interfaces;
}

static const char *insert_interfaces(struct want *w, const struct want_port *p)
{
    struct arena *a = w->ops.a;
    const char *list = "";

    for (size_t i = 0; i < p->n_interfaces; i++) {
        const struct want_interface *x = &p->interfaces[i];
        struct ovs_column columns[INTERFACE_COLUMNS + 1] = { { "name", ovs_quote(a, x->name) } };
        memcpy(columns + 1, x->columns, sizeof(x->columns));
        list = arena_printf(a, "%s%s%s", list, i ? "," : "", ovs_insert(&w->ops, "Interface", columns, ARRAY_SIZE(columns)));
    }
    return arena_printf(a, "[\"set\",[%s]]", list);
}

static int port(struct want *w, struct want_port *p, char **ret_why)
{
    const struct have_port *have = map_get(w->have->ports, p->name);

    if (have && !ovs_is_owned(have->row, w->ops.owner)) {
        *ret_why = xasprintf("%s is a port of somebody else's bridge %s", p->name, have->bridge);
        return -1;
    }
    /* A bridge's own port comes with it, and cannot be another's. */
    bool own = streq(p->name, p->bridge), was_own = have && streq(have->bridge, p->name);
    if (own && !map_get(w->have->bridges, p->name)) return 0;
    if (!have || was_own != own) {
        p->columns[p->n_columns++] = (struct ovs_column){ "interfaces", insert_interfaces(w, p) };
        p->columns[p->n_columns++] = (struct ovs_column){ "name", ovs_quote(w->ops.a, p->name) };
        ovs_bridge_port(&w->ops, p->bridge, ovs_insert(&w->ops, "Port", p->columns, p->n_columns), true);
        return 0;
    }
    ovs_update(&w->ops, "Port", have->row, p->columns, p->n_columns);
    const char *element = ovs_row_element(w->ops.a, have->row);
    if (!streq(have->bridge, p->bridge)) {
        ovs_bridge_port(&w->ops, have->bridge, element, false);
        ovs_bridge_port(&w->ops, p->bridge, element, true);
    }
    if (same_members(w, p, have->row)) {
        for (size_t i = 0; i < p->n_interfaces; i++)
            ovs_update(&w->ops, "Interface", map_get(w->have->interfaces, p->interfaces[i].name), p->interfaces[i].columns,
                       INTERFACE_COLUMNS);
        return 0;
    }
    const struct ovs_column members[] = { { "interfaces", insert_interfaces(w, p) } };
    ovs_update(&w->ops, "Port", have->row, members, 1);
    return 0;
}

/* A guest's card on the network of that name: where that is now. */
static void card(struct want *w, const struct have_port *p, const char *network)
{
    const struct net_link *l = link_named(w->plan, network);
    const char *real = real_bridge(w->plan, network), *element = ovs_row_element(w->ops.a, p->row);
    const struct net_link *vlan = streq(real, network) ? NULL : vlan_of(w->plan, network);
    const struct ovs_column columns[] = { { "tag", vlan ? arena_printf(w->ops.a, "%u", vlan->tag) : NOTHING } };

    if (!l || l->kind != NET_BRIDGE) return;
    ovs_update(&w->ops, "Port", p->row, columns, 1);
    if (streq(p->bridge, real)) return;
    if (*p->bridge) ovs_bridge_port(&w->ops, p->bridge, element, false);
    ovs_bridge_port(&w->ops, real, element, true);
}

static bool wants_port(const struct want *w, const char *name, const char *bridge)
{
    for (size_t i = 0; i < w->n; i++)
        if (streq(w->ports[i].name, name)) return streq(w->ports[i].name, w->ports[i].bridge) == streq(name, bridge);
    return false;
}

/* Ours, and not wanted any more: ports of a bridge that goes, go with it. */
static void remove_rest(struct want *w)
{
    for (size_t i = 0; i < w->have->all_ports->set.n; i++) {
        const struct value *row = &w->have->all_ports->set.items[i];
        const struct have_port *p = map_get(w->have->ports, name_of(row));
        const char *network = ovsdb_map_text(row, "external_ids", "xapi-card");
        if (!ovs_is_owned(row, w->ops.owner)) continue;
        if (*network) card(w, p, network);
        else if (!streq(name_of(row), p->bridge) && *p->bridge && !wants_port(w, name_of(row), p->bridge))
            ovs_bridge_port(&w->ops, p->bridge, ovs_row_element(w->ops.a, row), false);
    }
    for (size_t i = 0; i < w->have->all_bridges->set.n; i++) {
        const struct value *row = &w->have->all_bridges->set.items[i];
        if (ovs_is_owned(row, w->ops.owner) && !wants_port(w, name_of(row), name_of(row)))
            ovs_root_bridge(&w->ops, ovs_row_element(w->ops.a, row), false);
    }
}

int ovs_apply_plan(struct ovsdb *db, uint32_t mark, const struct net_plan *plan, bool prove, char **ret_why)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct have have;
    struct want w = { .plan = plan, .have = &have, .ops = { .text = STRBUF_INIT, .a = a, .owner = ovs_owner(a, mark) } };

    if (read_have(db, a, &have, ret_why)) return -1;
    w.ports = arena_new_array(a, struct want_port, plan->n);
    make_wanted(&w);
    int rc = bridges(&w, ret_why);
    for (size_t i = 0; i < w.n && !rc; i++) rc = port(&w, &w.ports[i], ret_why);
    if (!rc) remove_rest(&w);
    if (!rc && prove && !w.ops.text.len) strbuf_str(&w.ops.text, "{\"op\":\"comment\",\"comment\":\"xapi\"}");
    if (!rc) rc = ovs_commit(db, &w.ops, ret_why);
    strbuf_free(&w.ops.text);
    free_have(&have);
    return rc;
}

/* A fake bridge stands for a VLAN; on another it is each port that is neither its own nor a guest's card. */
static bool has_interface(const struct have *h, const char *bridge, const char *owner)
{
    const struct have_port *own = map_get(h->ports, bridge);

    if (!own || !ovs_is_owned(own->row, owner)) return false;
    if (*ovsdb_map_text(own->row, "external_ids", "xapi-link")) return true;
    for (size_t i = 0; i < h->all_ports->set.n; i++) {
        const struct value *row = &h->all_ports->set.items[i];
        const struct have_port *p = map_get(h->ports, name_of(row));
        if (streq(p->bridge, bridge) && !streq(name_of(row), bridge) && ovs_is_owned(row, owner) &&
            !*ovsdb_map_text(row, "external_ids", "xapi-card"))
            return true;
    }
    return false;
}

int ovs_bridges_left(struct ovsdb *db, uint32_t mark, const struct net_plan *plan, struct arena *a, const char *const **ret_names,
                     size_t *ret_n, char **ret_why)
{
    const char **names = arena_new_array(a, const char *, plan->n), *owner = ovs_owner(a, mark);
    struct have have;
    size_t n = 0;

    if (read_have(db, a, &have, ret_why)) return -1;
    for (size_t i = 0; i < plan->n; i++) {
        const struct net_link *l = &plan->links[i];
        if (l->kind == NET_BRIDGE && l->optional && has_interface(&have, l->name, owner)) names[n++] = l->name;
    }
    free_have(&have);
    *ret_names = names;
    *ret_n = n;
    return 0;
}

/* ---- what only the switch knows ------------------------------------------------------------------------------------------------- */

struct listing {
    struct net_interface *list;
    size_t n;
    struct map *by_name;
    const struct have *have;
    struct arena *a;
};

static void add_interface(struct listing *l, const char *name, struct net_interface with)
{
    if (map_get(l->by_name, name)) return;
    with.name = name;
    with.owned = true;
    with.physical = with.is_tap = with.is_bridge = false;
    l->list[l->n] = with;
    map_put(l->by_name, name, &l->list[l->n++]);
}

static const struct net_interface nothing = {
    .mac = "", .bridge = "", .driver = "", .pci_path = "", .vendor_id = "", .device_id = "", .ip = "", .netmask = "",
    .gateway = "", .ipv6 = "",
};

/* Each interface of a port is on its bridge; a bond is as good as those of its members that have a cable. */
static void note_port(struct listing *l, const struct have_port *p, const struct map *names, const char *owner)
{
    struct net_interface bond = nothing;
    const char *uuid, *type;
    size_t k;

    for (k = 0; *(uuid = ovsdb_uuid(p->row, "interfaces", k)); k++) {
        const char *name = map_get(names, uuid);
        if (!name) continue;
        struct net_interface *x = map_get(l->by_name, name);
        const struct value *row = map_get(l->have->interfaces, name);
        type = row ? value_get_str(row, "type", "") : "";
        if (x && streq(type, "internal")) {
            x->is_bridge = true;
            x->is_tap = x->physical = false;
            x->owned = ovs_is_owned(p->row, owner);
        } else if (x) {
            x->bridge = p->bridge;
            bond.mac = x->mac;
            bond.mtu = x->mtu;
            bond.up = bond.up || x->up;
            bond.duplex = bond.duplex || x->duplex;
            if (x->carrier) bond.speed_mbit += x->speed_mbit;
            bond.carrier = bond.carrier || x->carrier;
        } else if (streq(type, "vxlan") || streq(type, "gre")) {
            struct net_interface tunnel = nothing;
            tunnel.bridge = p->bridge;
            tunnel.up = tunnel.carrier = true;
            add_interface(l, name, tunnel);
        }
    }
    bond.bridge = p->bridge;
    if (k > 1) add_interface(l, name_of(p->row), bond);
}

int ovs_complete_list(struct ovsdb *db, uint32_t mark, struct arena *a, const struct net_interface **interfaces, size_t *n, char **ret_why)
{
    struct have have;
    struct listing l = { .n = *n, .have = &have, .a = a };
    const char *owner = ovs_owner(a, mark);

    if (read_have(db, a, &have, ret_why)) return -1;
    struct map *names = map_new();
    const char *key;
    void *row;
    for (size_t at = 0; map_next(have.interfaces, &at, &key, &row);)
        map_put(names, ovsdb_uuid(row, "_uuid", 0), (void *)(uintptr_t)name_of(row));
    l.list = arena_new_array(a, struct net_interface, *n + 2 * have.all_ports->set.n);
    if (*n) memcpy(l.list, *interfaces, *n * sizeof(*l.list));
    l.by_name = map_new();
    for (size_t i = 0; i < l.n; i++) map_put(l.by_name, l.list[i].name, &l.list[i]);
    for (size_t at = 0; map_next(have.ports, &at, &key, &row);) note_port(&l, row, names, owner);
    /* A VLAN is as good as what it stands on, which may be a bond. */
    for (size_t at = 0; map_next(have.ports, &at, &key, &row);) {
        const struct have_port *p = row;
        const char *link = ovsdb_map_text(p->row, "external_ids", "xapi-link");
        const struct net_interface *below = map_get(l.by_name, ovsdb_map_text(p->row, "external_ids", "xapi-below"));
        if (!*link || !below || !ovs_is_owned(p->row, owner)) continue;
        struct net_interface vlan = *below;
        vlan.bridge = name_of(p->row);
        vlan.ip = vlan.netmask = vlan.gateway = vlan.ipv6 = "";
        add_interface(&l, link, vlan);
    }
    map_free(l.by_name);
    map_free(names);
    free_have(&have);
    *interfaces = l.list;
    *n = l.n;
    return 0;
}
