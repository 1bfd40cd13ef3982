/* The network driver for Open vSwitch.
 * Called by: net.c.  Calls: ovs_plan.c, ovsdb.c, openflow.c, kernel.c, real.c. */
#include "xapi/net/ovs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sys/stat.h>

#define LOG_MODULE "net"
#include "lib/json.h"
#include "lib/log.h"
#include "xapi/net/filter.h"
#include "xapi/net/kernel.h"
#include "xapi/net/openflow.h"

/* Sockets live as long as one verb. */
struct switched {
    uint32_t mark;
    uint64_t proven;             /* the ovs-vswitchd that has everything; under the guard's `applying` */
};

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

const char *ovs_owner(struct arena *a, uint32_t mark) { return arena_printf(a, "%08x", mark); }

bool ovs_is_owned(const struct value *row, const char *owner)
{
    return streq(ovsdb_map_text(row, "external_ids", "xapi-owner"), owner);
}

const char *ovs_quote(struct arena *a, const char *text)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    json_encode_string(text, strlen(text), &out);
    return arena_strdup(a, out.ptr);
}

const char *ovs_row_element(struct arena *a, const struct value *row)
{
    return arena_printf(a, "[\"uuid\",\"%s\"]", ovsdb_uuid(row, "_uuid", 0));
}

static void begin_op(struct ovs_ops *o) { if (o->text.len) strbuf_char(&o->text, ','); }

const char *ovs_insert(struct ovs_ops *o, const char *table, const struct ovs_column *columns, size_t n)
{
    const char *name = arena_printf(o->a, "n%u", o->names++);

    begin_op(o);
    strbuf_printf(&o->text, "{\"op\":\"insert\",\"table\":\"%s\",\"uuid-name\":\"%s\",\"row\":{", table, name);
    for (size_t i = 0; i < n; i++) strbuf_printf(&o->text, "%s\"%s\":%s", i ? "," : "", columns[i].name, columns[i].json);
    strbuf_str(&o->text, "}}");
    return arena_printf(o->a, "[\"named-uuid\",\"%s\"]", name);
}

static bool differs(const struct value *row, const struct ovs_column *column)
{
    _cleanup_strbuf_ struct strbuf now = STRBUF_INIT;
    const struct value *v = value_get(row, column->name);

    if (v) json_encode_value(v, &now);
    return !streq(strbuf_cstr(&now), column->json);
}

void ovs_update(struct ovs_ops *o, const char *table, const struct value *row, const struct ovs_column *columns, size_t n)
{
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        if (!differs(row, &columns[i])) continue;
        if (!any) {
            begin_op(o);
            strbuf_printf(&o->text, "{\"op\":\"update\",\"table\":\"%s\",\"where\":[[\"_uuid\",\"==\",%s]],\"row\":{", table,
                          ovs_row_element(o->a, row));
        }
        strbuf_printf(&o->text, "%s\"%s\":%s", any ? "," : "", columns[i].name, columns[i].json);
        any = true;
    }
    if (any) strbuf_str(&o->text, "}}");
}

void ovs_bridge_port(struct ovs_ops *o, const char *bridge, const char *element, bool add)
{
    begin_op(o);
    strbuf_printf(&o->text, "{\"op\":\"mutate\",\"table\":\"Bridge\",\"where\":[[\"name\",\"==\",%s]],"
                  "\"mutations\":[[\"ports\",\"%s\",%s]]}",
                  ovs_quote(o->a, bridge), add ? "insert" : "delete", element);
}

void ovs_root_bridge(struct ovs_ops *o, const char *element, bool add)
{
    begin_op(o);
    strbuf_printf(&o->text, "{\"op\":\"mutate\",\"table\":\"Open_vSwitch\",\"where\":[],\"mutations\":[[\"bridges\",\"%s\",%s]]}",
                  add ? "insert" : "delete", element);
}

const char *ovs_datapath(const struct value *switch_row)
{
    _cleanup_strbuf_ struct strbuf types = STRBUF_INIT;
    const struct value *v = value_get(switch_row, "datapath_types");

    if (v) json_encode_value(v, &types);
    return strstr(strbuf_cstr(&types), "\"netdev\"") && !strstr(types.ptr, "\"system\"") ? "netdev" : "system";
}

void ovs_make_bridge(struct ovs_ops *o, const char *name, const char *datapath, const char *mac, unsigned mtu)
{
    const char *owned = arena_printf(o->a, "[\"map\",[[\"xapi-owner\",\"%s\"]]]", o->owner), *quoted = ovs_quote(o->a, name);
    const struct ovs_column interface[] = {
        { "name", quoted }, { "type", "\"internal\"" }, { "mtu_request", mtu ? arena_printf(o->a, "%u", mtu) : "[\"set\",[]]" },
    };
    const struct ovs_column port[] = {
        { "name", quoted }, { "external_ids", owned }, { "interfaces", ovs_insert(o, "Interface", interface, ARRAY_SIZE(interface)) },
    };
    const struct ovs_column bridge[] = {
        { "name", quoted }, { "external_ids", owned }, { "datapath_type", ovs_quote(o->a, datapath) },
        { "other_config", *mac ? arena_printf(o->a, "[\"map\",[[\"hwaddr\",\"%s\"]]]", mac) : "[\"map\",[]]" },
        { "ports", ovs_insert(o, "Port", port, ARRAY_SIZE(port)) },
    };
    ovs_root_bridge(o, ovs_insert(o, "Bridge", bridge, ARRAY_SIZE(bridge)), true);
}

int ovs_commit(struct ovsdb *db, struct ovs_ops *o, char **ret_why)
{
    if (!o->text.len) return 0;
    log_debug("ovsdb: %s", o->text.ptr);
    return ovsdb_change(db, o->text.ptr, ret_why);
}

/* ---- opening --------------------------------------------------------------------------------------------------------------- */

static int open_switch(const char *root, uint32_t mark, void **ret_state, char **ret_why)
{
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };

    (void)root;
    if (ovsdb_open(&db, ret_why)) return -1;
    struct switched *w = xcalloc(1, sizeof(*w));
    w->mark = mark;
    *ret_state = w;
    return 0;
}

/* Which ovs-vswitchd runs. */
static uint64_t epoch(void *state)
{
    _cleanup_free_ char *path = ovs_file("ovs-vswitchd.pid");
    struct stat st;

    (void)state;
    return stat(path, &st) ? 0 : (uint64_t)st.st_ino * 31 + (uint64_t)st.st_mtim.tv_sec * 1000003 + (uint64_t)st.st_mtim.tv_nsec;
}

/* Another driver has taken over: its bridges need the names of ours. */
static int leave(uint32_t mark, char **ret_why)
{
    static const struct net_plan nothing = { NULL, 0 };
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    _cleanup_free_ char *not_there = NULL;

    return ovsdb_open(&db, &not_there) ? 0 : ovs_apply_plan(&db, mark, &nothing, false, ret_why);
}

/* ---- plans ------------------------------------------------------------------------------------------------------------------- */

/* The part of a plan that is the kernel's here: NICs and the bridges' own interfaces are there, whoever made them. Before the
 * switch has the plan, only what is to go: bridges that an interface leaves lose its address while that can still be seen. */
static const struct net_plan *kernel_part(const struct net_plan *plan, bool addresses, const char *const *left, size_t n_left,
                                          struct arena *a)
{
    struct net_link *links = arena_new_array(a, struct net_link, plan->n);
    struct net_plan *out = arena_zalloc(a, sizeof(*out));

    for (size_t i = 0; i < plan->n; i++) {
        const struct net_link *l = &plan->links[i];
        if (l->kind != NET_NIC && l->kind != NET_BRIDGE) continue;
        struct net_link *k = &links[out->n++];
        *k = *l;
        k->kind = NET_NIC;
        k->master = k->mac = "";
        if (l->kind == NET_BRIDGE) k->mtu = 0;               /* the switch sets it */
        for (size_t j = 0; j < plan->n && l->kind == NET_NIC; j++)
            if (plan->links[j].kind == NET_BOND && streq(plan->links[j].name, l->master)) k->mtu = plan->links[j].mtu;
        if (!addresses) k->ip4.source = k->ip6.source = NET_IP_LEAVE;
        for (size_t j = 0; j < n_left; j++) {
            if (!streq(left[j], l->name)) continue;
            k->ip4.source = k->ip6.source = NET_IP_NONE;
            k->optional = false;
        }
    }
    out->links = links;
    return out;
}

static int take_steps(struct nl_sock *sk, uint32_t mark, const struct net_plan *part, char **ret_why)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct net_have *had;
    size_t n;

    return real_steps(sk, mark, part, a, &had, &n, ret_why);
}

/* The switch in user space takes frames beside the kernel, which would answer for the host's addresses by each of its cards, with
 * their own MACs. It is not to while a card is the switch's. */
static void silence(const char *nic, bool silent)
{
    static const char quiet[] = "8";
    _cleanup_free_ char *path = xasprintf("/proc/sys/net/ipv4/conf/%s/arp_ignore", nic), *now = NULL;
    size_t n;

    if (read_file(path, 16, &now, &n) || !n || (now[0] == quiet[0]) == silent) return;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, silent ? quiet : "0", 1) < 0) log_debug("%s: %s", path, strerror(errno));
}

static int bring_up(struct nl_sock *sk, uint32_t mark, const struct net_plan *plan, struct arena *a, char **ret_why)
{
    const struct net_have *have;
    size_t n;

    if (kernel_read(sk, mark, a, &have, &n, ret_why)) return -1;
    for (size_t i = 0; i < plan->n; i++) {
        const struct net_link *l = &plan->links[i];
        if (l->kind == NET_NIC) silence(l->name, *l->master);
        bool wanted = (l->kind == NET_NIC && *l->master) || (l->kind == NET_BRIDGE && !l->optional);
        for (size_t j = 0; j < n && wanted; j++)
            if (streq(have[j].link.name, l->name) && !have[j].up &&
                kernel_link_change(sk, l->name, KERNEL_CHANGE(.up = KERNEL_ON), ret_why))
                return -1;
    }
    return 0;
}

static int apply(void *state, const struct net_plan *plan, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    struct switched *w = state;
    uint64_t now = epoch(w);
    const char *const *left;
    size_t n_left;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || ovsdb_open(&db, ret_why)) return -1;
    if (ovs_bridges_left(&db, w->mark, plan, a, &left, &n_left, ret_why)) return -1;
    /* First what the bridge driver has left: the names of its bridges are needed. */
    if (take_steps(sk, w->mark, kernel_part(plan, false, left, n_left, a), ret_why)) return -1;
    if (ovs_apply_plan(&db, w->mark, plan, now != w->proven, ret_why)) return -1;
    w->proven = now;
    if (bring_up(sk, w->mark, plan, a, ret_why) || take_steps(sk, w->mark, kernel_part(plan, true, NULL, 0, a), ret_why)) return -1;
    /* The switch spreads by source itself: rules that the bridge driver left are in its way. */
    return real_finish(plan, ret_why) || filter_slb_only(NULL, 0, ret_why) ? -1 : 0;
}

/* ---- bridges ------------------------------------------------------------------------------------------------------------------- */

/* One look at what has this name: results 0 the switch, 1 the bridge, 2 the port, 3 the interface. */
static int look(struct ovsdb *db, const char *name, struct arena *a, struct value *ret_results, char **ret_why)
{
    const char *where = arena_printf(a, "\"where\":[[\"name\",\"==\",%s]]", ovs_quote(a, name));
    const char *ops = arena_printf(
        a, "{\"op\":\"select\",\"table\":\"Open_vSwitch\",\"where\":[],\"columns\":[\"datapath_types\"]},"
        "{\"op\":\"select\",\"table\":\"Bridge\",%s,\"columns\":[\"_uuid\",\"name\",\"external_ids\"]},"
        "{\"op\":\"select\",\"table\":\"Port\",%s,\"columns\":[\"_uuid\",\"name\",\"tag\",\"trunks\",\"fake_bridge\",\"external_ids\"]},"
        "{\"op\":\"select\",\"table\":\"Interface\",%s,\"columns\":[\"_uuid\",\"mtu_request\",\"ofport\",\"error\"]}", where, where, where);

    return ovsdb_read(db, ops, a, ret_results, ret_why);
}

static const struct value *row_of(const struct value *results, size_t i)
{
    const struct value *rows = ovsdb_rows(results, i);

    return rows->set.n ? &rows->set.items[0] : NULL;
}

/* The name of the bridge that has this port, "" when none. */
static int bridge_of_port(struct ovsdb *db, const struct value *port, struct arena *a, const char **ret_bridge, char **ret_why)
{
    struct value results;
    const char *op = arena_printf(a, "{\"op\":\"select\",\"table\":\"Bridge\",\"where\":[[\"ports\",\"includes\",%s]],"
                                     "\"columns\":[\"name\"]}",
                                  ovs_row_element(a, port));

    if (ovsdb_read(db, op, a, &results, ret_why)) return -1;
    const struct value *row = row_of(&results, 0);
    *ret_bridge = row ? value_get_str(row, "name", "") : "";
    return 0;
}

static int bridge_create(void *state, const char *bridge, unsigned mtu, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    const struct switched *w = state;
    struct ovs_ops ops = { .text = STRBUF_INIT, .a = a, .owner = ovs_owner(a, w->mark) };
    const struct ovs_column size[] = { { "mtu_request", arena_printf(a, "%u", mtu) } };
    struct value have;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || ovsdb_open(&db, ret_why) || look(&db, bridge, a, &have, ret_why)) return -1;
    const struct value *root = row_of(&have, 0), *interface = row_of(&have, 3);
    if (root && !row_of(&have, 2)) ovs_make_bridge(&ops, bridge, ovs_datapath(root), "", mtu);
    else if (interface && mtu) ovs_update(&ops, "Interface", interface, size, 1);
    bool changed = ops.text.len;
    int rc = ovs_commit(&db, &ops, ret_why);
    strbuf_free(&ops.text);
    if (rc) return -1;
    if (!changed) return 0;
    kernel_ipv6_set(bridge, "disable_ipv6", "1");
    return kernel_link_change(sk, bridge, KERNEL_CHANGE(.up = KERNEL_ON), ret_why);
}

static int remove_port(struct ovsdb *db, struct ovs_ops *ops, const struct value *port, char **ret_why)
{
    const char *on;

    if (bridge_of_port(db, port, ops->a, &on, ret_why)) return -1;
    if (*on) ovs_bridge_port(ops, on, ovs_row_element(ops->a, port), false);
    return 0;
}

static int bridge_destroy(void *state, const char *bridge, char **ret_why)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    const struct switched *w = state;
    struct ovs_ops ops = { .text = STRBUF_INIT, .a = a, .owner = ovs_owner(a, w->mark) };
    struct value have;

    if (ovsdb_open(&db, ret_why) || look(&db, bridge, a, &have, ret_why)) return -1;
    const struct value *real = row_of(&have, 1), *port = row_of(&have, 2);
    int rc = 0;
    if (real && ovs_is_owned(real, ops.owner)) ovs_root_bridge(&ops, ovs_row_element(a, real), false);
    else if (!real && port && ovs_is_owned(port, ops.owner)) rc = remove_port(&db, &ops, port, ret_why);
    if (!rc) rc = ovs_commit(&db, &ops, ret_why);
    strbuf_free(&ops.text);
    return rc;
}

/* ---- cards ----------------------------------------------------------------------------------------------------------------------- */

struct place { const char *bridge, *tag; };      /* the real bridge; tag as JSON */

static int find_place(struct ovsdb *db, const char *bridge, struct arena *a, struct place *ret, char **ret_why)
{
    struct value have;

    if (look(db, bridge, a, &have, ret_why)) return -1;
    const struct value *port = row_of(&have, 2), *tag = port ? value_get(port, "tag") : NULL;
    *ret = (struct place){ bridge, "[\"set\",[]]" };
    if (row_of(&have, 1)) return 0;
    if (tag && tag->kind == VALUE_INT) ret->tag = arena_printf(a, "%lld", (long long)tag->i);
    if (port && bridge_of_port(db, port, a, &ret->bridge, ret_why)) return -1;
    if (port && *ret->bridge) return 0;
    *ret_why = xasprintf("there is no bridge %s", bridge);
    return -1;
}

/* As the database writes it. Frames without a tag count as those of VLAN 0. */
static const char *trunks_of(struct arena *a, const struct net_tap *card)
{
    const char *list = "0";

    if (!card->n_trunks) return "[\"set\",[]]";
    for (size_t i = 0; i < card->n_trunks; i++)
        if (card->trunks[i]) list = arena_printf(a, "%s,%u", list, card->trunks[i]);
    return streq(list, "0") ? list : arena_printf(a, "[\"set\",[%s]]", list);
}

/* The card's port is on its bridge. *ret_new: it has not been on one before. */
static int set_port(struct ovsdb *db, struct ovs_ops *o, const struct net_tap *card, const struct place *place, const struct value *have,
                    char **ret_why)
{
    const struct value *port = row_of(have, 2);
    const char *on, *quoted = ovs_quote(o->a, card->name);
    const struct ovs_column interface[] = { { "name", quoted } };
    const char *marks = arena_printf(o->a, "[\"map\",[[\"xapi-card\",%s],[\"xapi-owner\",\"%s\"]]]", ovs_quote(o->a, card->bridge),
                                     o->owner);
    struct ovs_column columns[] = {
        { "tag", place->tag },
        { "trunks", trunks_of(o->a, card) },
        { "external_ids", marks },
        { "name", quoted },
        { "interfaces", "" },            /* of a new one */
    };
    const size_t n = ARRAY_SIZE(columns) - 1;

    if (!port) {
        columns[n].json = ovs_insert(o, "Interface", interface, 1);
        ovs_bridge_port(o, place->bridge, ovs_insert(o, "Port", columns, n + 1), true);
        return 0;
    }
    if (!ovs_is_owned(port, o->owner)) {
        *ret_why = xasprintf("%s is on a bridge of somebody else's", card->name);
        return -1;
    }
    if (bridge_of_port(db, port, o->a, &on, ret_why)) return -1;
    ovs_update(o, "Port", port, columns, n);
    if (streq(on, place->bridge)) return 0;
    const char *element = ovs_row_element(o->a, port);
    ovs_bridge_port(o, on, element, false);
    ovs_bridge_port(o, place->bridge, element, true);
    return 0;
}

static int port_number(struct ovsdb *db, const struct net_tap *card, struct arena *a, uint32_t *ret_number, char **ret_why)
{
    struct value have;

    if (look(db, card->name, a, &have, ret_why)) return -1;
    const struct value *row = row_of(&have, 3), *number = row ? value_get(row, "ofport") : NULL;
    if (number && number->kind == VALUE_INT && number->i > 0) {
        *ret_number = (uint32_t)number->i;
        return 0;
    }
    *ret_why = xasprintf("%s: %s", card->name, row ? value_get_str(row, "error", "the switch gives it no number") : "it is no port");
    return -1;
}

static int plug(const struct switched *w, struct nl_sock *sk, struct ovsdb *db, struct ovs_ops *o, const struct net_tap *card,
                char **ret_why)
{
    struct net_tap closed = *card, own = *card;
    struct place place;
    struct value have;
    uint32_t number;

    /* What it sends, and which VLANs, is the switch's to limit. */
    closed.engine_limits = own.engine_limits = true;
    closed.n_trunks = own.n_trunks = 0;
    closed.up = false;
    if (find_place(db, card->bridge, o->a, &place, ret_why) || look(db, card->name, o->a, &have, ret_why)) return -1;
    bool fresh = !row_of(&have, 2);
    if (set_port(db, o, card, &place, &have, ret_why)) return -1;
    /* Not before its rules are there does anything come from it. */
    if (fresh && real_card_set(sk, w->mark, &closed, ret_why)) return -1;
    if (ovs_commit(db, o, ret_why) || port_number(db, card, o->a, &number, ret_why)) return -1;
    if (openflow_card(place.bridge, number, card->lock, card->engine_limits ? 0 : card->rate_kbytes, ret_why)) return -1;
    return real_card_set(sk, w->mark, &own, ret_why);
}

/* It is a port of nothing. */
static int unplug(struct ovsdb *db, struct ovs_ops *o, const char *name, char **ret_why)
{
    struct value have;

    if (look(db, name, o->a, &have, ret_why)) return -1;
    const struct value *port = row_of(&have, 2), *interface = row_of(&have, 3), *number = interface ? value_get(interface, "ofport") : NULL;
    const char *on = "";
    if (!port || !ovs_is_owned(port, o->owner)) return 0;
    if (bridge_of_port(db, port, o->a, &on, ret_why)) return -1;
    if (*on) ovs_bridge_port(o, on, ovs_row_element(o->a, port), false);
    if (ovs_commit(db, o, ret_why)) return -1;
    /* Its rules go behind it: the next card with this number is not to find them. A bridge that has gone has none. */
    _cleanup_free_ char *gone = NULL;
    if (*on && number && number->kind == VALUE_INT && number->i > 0) openflow_card(on, (uint32_t)number->i, NULL, 0, &gone);
    return 0;
}

static int card(const struct switched *w, const struct net_tap *tap, bool make, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    struct ovs_ops ops = { .text = STRBUF_INIT, .a = a, .owner = ovs_owner(a, w->mark) };
    int rc = 0;

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || ovsdb_open(&db, ret_why)) return -1;
    if (make) rc = real_tap_make(sk, w->mark, tap, ret_why);
    if (!rc && tap->bridge) rc = plug(w, sk, &db, &ops, tap, ret_why);
    else if (!rc) rc = unplug(&db, &ops, tap->name, ret_why) || real_card_set(sk, w->mark, tap, ret_why) ? -1 : 0;
    strbuf_free(&ops.text);
    return rc;
}

static int tap_create(void *state, const struct net_tap *tap, char **ret_why) { return card(state, tap, true, ret_why); }
static int vif_plug(void *state, const struct net_tap *vif, char **ret_why) { return card(state, vif, false, ret_why); }

static int tap_destroy(void *state, const char *name, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    const struct switched *w = state;
    struct ovs_ops ops = { .text = STRBUF_INIT, .a = a, .owner = ovs_owner(a, w->mark) };

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || ovsdb_open(&db, ret_why)) return -1;
    int rc = unplug(&db, &ops, name, ret_why);
    strbuf_free(&ops.text);
    return rc ? -1 : real_card_remove(sk, w->mark, name, ret_why);
}

static int sweep_ports(struct ovsdb *db, struct ovs_ops *o, const char *const *keep, size_t n_keep, char **ret_why)
{
    const char *op = "{\"op\":\"select\",\"table\":\"Port\",\"where\":[],\"columns\":[\"_uuid\",\"name\",\"external_ids\"]}";
    struct value have;

    if (ovsdb_read(db, op, o->a, &have, ret_why)) return -1;
    const struct value *ports = ovsdb_rows(&have, 0);
    for (size_t i = 0; i < ports->set.n; i++) {
        const struct value *port = &ports->set.items[i];
        if (!ovs_is_owned(port, o->owner) || !*ovsdb_map_text(port, "external_ids", "xapi-card")) continue;
        if (!real_is_kept(value_get_str(port, "name", ""), keep, n_keep) && remove_port(db, o, port, ret_why)) return -1;
    }
    return ovs_commit(db, o, ret_why);
}

static int sweep(void *state, const char *const *keep, size_t n_keep, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    const struct switched *w = state;
    struct ovs_ops ops = { .text = STRBUF_INIT, .a = a, .owner = ovs_owner(a, w->mark) };

    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why) || ovsdb_open(&db, ret_why)) return -1;
    int rc = sweep_ports(&db, &ops, keep, n_keep, ret_why);
    strbuf_free(&ops.text);
    return rc ? -1 : real_sweep(sk, w->mark, keep, n_keep, ret_why);
}

/* ---- looking ----------------------------------------------------------------------------------------------------------------------- */

static int list(void *state, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n, char **ret_why)
{
    _cleanup_ovsdb_ struct ovsdb db = { .stream = STREAM_INIT };
    const struct switched *w = state;
    const struct net_interface *interfaces;
    size_t n;

    if (real_list(w->mark, arena, &interfaces, &n, ret_why) || ovsdb_open(&db, ret_why)) return -1;
    if (ovs_complete_list(&db, w->mark, arena, &interfaces, &n, ret_why)) return -1;
    *ret_interfaces = interfaces;
    *ret_n = n;
    return 0;
}

const struct net_driver net_driver_ovs = {
    .name = "openvswitch",
    .backend = "openvswitch",
    .open = open_switch,
    .close = free,
    .leave = leave,
    .epoch = epoch,
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
