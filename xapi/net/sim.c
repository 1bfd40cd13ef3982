/* The simulated network: its devices are one line each in root/net, so that they outlive the agent as real ones do.
 * Called by: net.c.  Calls: lib.
 *
 * File: a line "KIND NAME MASTER MAC MTU IP GATEWAY PARENT TAG BONDMODE" a device, "-" for none. Two NICs exist from the
 * start. Plans go through net_diff() as on a real host. */
#include "xapi/net/net_driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "lib/fault.h"
#include "lib/strbuf.h"

enum { MAX_DEVICES = 65536 };

static const char *const kinds[] = { "other", "nic", "bridge", "vlan", "bond", "tunnel", "ifb", "tap" };   /* enum net_kind */

struct device {
    enum net_kind kind;
    char name[16], bridge[16], mac[18], ip[48], gateway[48], parent[16];     /* "-" = none */
    unsigned mtu, tag, bond_mode;
};

struct sim {
    pthread_mutex_t lock;
    char *path;
    struct device *devices;     /* lock: lock */
    size_t n;
};

static void load(struct sim *s)
{
    FILE *f = fopen(s->path, "re");
    char kind[16];
    struct device d;

    while (f && s->n < MAX_DEVICES) {
        memset(&d, 0, sizeof(d));
        if (fscanf(f, "%15s %15s %15s %17s %u %47s %47s %15s %u %u", kind, d.name, d.bridge, d.mac, &d.mtu, d.ip, d.gateway,
                   d.parent, &d.tag, &d.bond_mode) != 10)
            break;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
            if (streq(kind, kinds[i])) d.kind = (enum net_kind)i;
        s->devices = xrealloc(s->devices, (s->n + 1) * sizeof(d));
        s->devices[s->n++] = d;
    }
    if (f) fclose(f);
}

/* The old file or the new one, whenever the agent is killed. */
static int store(struct sim *s, char **ret_why)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_free_ char *new = xasprintf("%s.new", s->path);

    for (size_t i = 0; i < s->n; i++) {
        const struct device *d = &s->devices[i];
        strbuf_printf(&b, "%s %s %s %s %u %s %s %s %u %u\n", kinds[d->kind], d->name, d->bridge, d->mac, d->mtu, d->ip, d->gateway,
                      d->parent, d->tag, d->bond_mode);
    }
    FILE *f = fopen(new, "we");
    const bool written = f && fwrite(strbuf_cstr(&b), 1, b.len, f) == b.len;
    if ((f && fclose(f)) || !written || rename(new, s->path)) {
        *ret_why = xasprintf("%s: %s", s->path, strerror(errno));
        return -1;
    }
    return 0;
}

static struct device *find(struct sim *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (streq(s->devices[i].name, name)) return &s->devices[i];
    return NULL;
}

/* The device of this name, made when it is missing. */
static struct device *need(struct sim *s, enum net_kind kind, const char *name)
{
    struct device *d = find(s, name);

    if (d) return d;
    s->devices = xrealloc(s->devices, (s->n + 1) * sizeof(*d));
    d = &s->devices[s->n++];
    *d = (struct device){ .kind = kind, .bridge = "-", .mac = "-", .ip = "-", .gateway = "-", .parent = "-", .mtu = 1500 };
    memcpy(d->name, name, strlen(name));
    return d;
}

static int sim_open(const char *root, uint32_t mark, void **ret_state, char **ret_why)
{
    struct sim *s = xcalloc(1, sizeof(*s));

    (void)mark;                         /* nothing here is anybody else's */
    pthread_mutex_init(&s->lock, NULL);
    s->path = xasprintf("%s/net", root);
    load(s);
    if (!s->n) {
        /* Addresses with which clients of tests get through. */
        for (unsigned i = 0; i < 2; i++) {
            struct device *nic = need(s, NET_NIC, i ? "eth1" : "eth0");
            snprintf(nic->mac, sizeof(nic->mac), "02:00:00:00:00:%02x", i + 1);
            snprintf(nic->ip, sizeof(nic->ip), "127.0.0.%u/8", i + 1);
        }
    }
    *ret_state = s;
    return store(s, ret_why);
}

static void sim_close(void *state)
{
    struct sim *s = state;

    pthread_mutex_destroy(&s->lock);
    free(s->devices);
    free(s->path);
    free(s);
}

static int bridge_create(void *state, const char *bridge, unsigned mtu, char **ret_why)
{
    struct sim *s = state;

    pthread_mutex_lock(&s->lock);
    bool fresh = !find(s, bridge);
    struct device *d = need(s, NET_BRIDGE, bridge);
    if (mtu && d->mtu != mtu) fresh = true;
    if (mtu) d->mtu = mtu;
    int rc = fresh ? store(s, ret_why) : 0;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int drop(void *state, const char *name, char **ret_why)
{
    struct sim *s = state;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    struct device *d = find(s, name);
    if (d) {
        for (size_t i = 0; d->kind == NET_BRIDGE && i < s->n; i++)
            if (streq(s->devices[i].bridge, name)) memcpy(s->devices[i].bridge, "-", 2);
        *d = s->devices[--s->n];
        rc = store(s, ret_why);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int bridge_destroy(void *state, const char *bridge, char **ret_why)
{
    struct sim *s = state;

    pthread_mutex_lock(&s->lock);
    const struct device *d = find(s, bridge);
    bool is_bridge = d && d->kind == NET_BRIDGE;
    pthread_mutex_unlock(&s->lock);
    return is_bridge ? drop(state, bridge, ret_why) : 0;
}

static int tap_create(void *state, const struct net_tap *tap, char **ret_why)
{
    struct sim *s = state;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    if (tap->bridge && !find(s, tap->bridge)) {
        *ret_why = xasprintf("%s: no such bridge", tap->bridge);
        rc = -1;
    } else {
        struct device *d = need(s, NET_TAP, tap->name);
        d->mtu = tap->mtu ? tap->mtu : 1500;
        snprintf(d->bridge, sizeof(d->bridge), "%s", tap->bridge ? tap->bridge : "-");
        rc = store(s, ret_why);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int vif_plug(void *state, const struct net_tap *vif, char **ret_why) { return tap_create(state, vif, ret_why); }

static int sweep(void *state, const char *const *keep, size_t n_keep, char **ret_why)
{
    struct sim *s = state;

    pthread_mutex_lock(&s->lock);
    for (size_t i = s->n; i-- > 0;) {
        bool kept = s->devices[i].kind != NET_TAP;
        for (size_t k = 0; k < n_keep && !kept; k++) kept = streq(keep[k], s->devices[i].name);
        if (!kept) s->devices[i] = s->devices[--s->n];
    }
    int rc = store(s, ret_why);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- plans ------------------------------------------------------------------------------------------------------------- */

static const char *text_of(const char *field) { return streq(field, "-") ? "" : field; }

static void set_text(char *field, size_t size, const char *text) { snprintf(field, size, "%s", *text ? text : "-"); }

static struct net_have *as_kernel(const struct sim *s, struct arena *a)
{
    struct net_have *have = arena_new_array(a, struct net_have, s->n);

    for (size_t i = 0; i < s->n; i++) {
        const struct device *d = &s->devices[i];
        const char **addresses = arena_new_array(a, const char *, 1);
        addresses[0] = arena_strdup(a, d->ip);
        have[i] = (struct net_have){
            .owned = d->kind != NET_NIC, .up = true, .carrier = true, .link_kind = "",
            .addresses = addresses, .n_addresses = !streq(d->ip, "-"),
            .gateway4 = arena_strdup(a, text_of(d->gateway)), .gateway6 = "",
            .link = {
                .kind = d->kind, .name = arena_strdup(a, d->name), .master = arena_strdup(a, text_of(d->bridge)),
                .mac = arena_strdup(a, text_of(d->mac)), .mtu = d->mtu, .parent = arena_strdup(a, text_of(d->parent)),
                .tag = d->tag, .bond.mode = (enum net_bond_mode)d->bond_mode,
                .tunnel = { .local = "", .remote = "" },
            },
        };
    }
    return have;
}

static void take_step(struct sim *s, const struct net_step *step)
{
    struct device *d = step->kind == NET_STEP_CREATE ? need(s, step->link->kind, step->link->name) : find(s, step->link->name);

    if (!d) return;
    switch (step->kind) {
    case NET_STEP_DELETE:
        for (size_t i = 0; i < s->n; i++)
            if (streq(s->devices[i].bridge, d->name)) set_text(s->devices[i].bridge, sizeof(d->bridge), "");
        *d = s->devices[--s->n];
        break;
    case NET_STEP_CREATE:
        set_text(d->mac, sizeof(d->mac), step->link->mac);
        set_text(d->parent, sizeof(d->parent), step->link->parent);
        d->mtu = step->link->mtu ? step->link->mtu : 1500;
        d->tag = step->link->tag;
        d->bond_mode = step->link->bond.mode;
        break;
    case NET_STEP_MTU: d->mtu = step->link->mtu; break;
    case NET_STEP_MAC: set_text(d->mac, sizeof(d->mac), step->link->mac); break;
    case NET_STEP_MASTER: set_text(d->bridge, sizeof(d->bridge), step->text); break;
    case NET_STEP_ADDRESS_ADD: set_text(d->ip, sizeof(d->ip), step->text); break;
    case NET_STEP_ADDRESS_REMOVE: set_text(d->ip, sizeof(d->ip), ""); break;
    case NET_STEP_GATEWAY: set_text(d->gateway, sizeof(d->gateway), step->text); break;
    case NET_STEP_GATEWAY_REMOVE: set_text(d->gateway, sizeof(d->gateway), ""); break;
    case NET_STEP_BOND: case NET_STEP_DOWN: case NET_STEP_UP: case NET_STEP_PROMISC: break;
    }
}

/* Addresses by DHCP: there is one server, and it gives the same to all. */
static const struct net_plan *with_leases(const struct net_plan *plan, struct arena *a)
{
    struct net_plan *out = arena_zalloc(a, sizeof(*out));
    struct net_link *links = arena_new_array(a, struct net_link, plan->n);

    for (size_t i = 0; i < plan->n; i++) {
        links[i] = plan->links[i];
        links[i].tunnel.local = links[i].tunnel.remote = "";
        links[i].tunnel.key = 0;
        links[i].tunnel.vxlan = false;
        links[i].ip6.source = NET_IP_LEAVE;
        if (links[i].ip4.source != NET_IP_DHCP) continue;
        links[i].ip4.address = "192.0.2.9/24";
        links[i].ip4.gateway = "192.0.2.1";
    }
    *out = (struct net_plan){ links, plan->n };
    return out;
}

static int apply(void *state, const struct net_plan *plan, char **ret_why)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct sim *s = state;
    const struct net_step *steps;
    size_t n;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    net_diff(with_leases(plan, a), as_kernel(s, a), s->n, a, &steps, &n);
    for (size_t i = 0; i < n && !rc; i++) {
        int e = fault_step("net.netlink");
        if (e) {
            *ret_why = xasprintf("%s: %s", net_step_text(&steps[i], a), strerror(e));
            rc = -1;
        } else {
            take_step(s, &steps[i]);
            rc = store(s, ret_why);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static const char *netmask(struct arena *a, const char *cidr)
{
    const char *slash = strchr(cidr, '/');
    unsigned bits = slash ? (unsigned)atoi(slash + 1) : 32, mask = bits ? ~0u << (32 - bits) : 0;

    return arena_printf(a, "%u.%u.%u.%u", mask >> 24, mask >> 16 & 255, mask >> 8 & 255, mask & 255);
}

static int list(void *state, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
                char **ret_why)
{
    struct sim *s = state;

    (void)ret_why;
    pthread_mutex_lock(&s->lock);
    struct net_interface *out = arena_new_array(arena, struct net_interface, s->n);
    for (size_t i = 0; i < s->n; i++) {
        const struct device *d = &s->devices[i];
        const char *ip = text_of(d->ip);
        out[i] = (struct net_interface){
            .name = arena_strdup(arena, d->name),
            .mac = arena_strdup(arena, text_of(d->mac)),
            .bridge = arena_strdup(arena, text_of(d->bridge)),
            .driver = d->kind == NET_NIC ? "sim" : "",
            .pci_path = "", .vendor_id = "", .device_id = "", .netmask = *ip ? netmask(arena, ip) : "", .ipv6 = "",
            .gateway = arena_strdup(arena, text_of(d->gateway)),
            .ip = arena_strndup(arena, ip, strcspn(ip, "/")),
            .owned = d->kind != NET_NIC,
            .mtu = d->mtu,
            .physical = d->kind == NET_NIC,
            .is_bridge = d->kind == NET_BRIDGE,
            .is_tap = d->kind == NET_TAP,
            .up = true, .carrier = true, .duplex = true,
            .speed_mbit = d->kind == NET_NIC ? 1000 : 0,
        };
    }
    *ret_interfaces = out;
    *ret_n = s->n;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

const struct net_driver net_driver_sim = {
    .name = "sim",
    .backend = "bridge",
    .open = sim_open,
    .close = sim_close,
    .apply = apply,
    .bridge_create = bridge_create,
    .bridge_destroy = bridge_destroy,
    .tap_create = tap_create,
    .tap_destroy = drop,
    .vif_plug = vif_plug,
    .sweep = sweep,
    .list = list,
};
