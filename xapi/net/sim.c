/* The simulated network: its devices are one line each in root/net, so that they outlive the agent as real ones do.
 * Called by: net.c.  Calls: lib.
 *
 * File: "bridge NAME MTU", "tap NAME BRIDGE MTU", "nic NAME MAC" lines. Two NICs exist from the start. */
#include "xapi/net/net_driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "lib/strbuf.h"

enum { MAX_DEVICES = 65536 };

enum kind { BRIDGE, TAP, NIC };
static const char *const kinds[] = { "bridge", "tap", "nic" };

struct device {
    enum kind kind;
    char name[16], bridge[16], mac[18];
    unsigned mtu;
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
        if (fscanf(f, "%15s %15s %15s %17s %u", kind, d.name, d.bridge, d.mac, &d.mtu) != 5) break;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
            if (streq(kind, kinds[i])) d.kind = (enum kind)i;
        s->devices = xrealloc(s->devices, (s->n + 1) * sizeof(d));
        s->devices[s->n++] = d;
    }
    if (f) fclose(f);
}

static int store(struct sim *s, char **ret_why)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < s->n; i++)
        strbuf_printf(&b, "%s %s %s %s %u\n", kinds[s->devices[i].kind], s->devices[i].name, s->devices[i].bridge,
                      s->devices[i].mac, s->devices[i].mtu);
    FILE *f = fopen(s->path, "we");
    if (!f || fwrite(strbuf_cstr(&b), 1, b.len, f) != b.len) {
        *ret_why = xasprintf("%s: %s", s->path, strerror(errno));
        if (f) fclose(f);
        return -1;
    }
    fclose(f);
    return 0;
}

static struct device *find(struct sim *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (streq(s->devices[i].name, name)) return &s->devices[i];
    return NULL;
}

/* The device of this name, made when it is missing. */
static struct device *need(struct sim *s, enum kind kind, const char *name)
{
    struct device *d = find(s, name);

    if (d) return d;
    s->devices = xrealloc(s->devices, (s->n + 1) * sizeof(*d));
    d = &s->devices[s->n++];
    *d = (struct device){ .kind = kind, .bridge = "-", .mac = "-", .mtu = 1500 };
    memcpy(d->name, name, strlen(name));
    return d;
}

static int sim_open(const char *root, void **ret_state, char **ret_why)
{
    struct sim *s = xcalloc(1, sizeof(*s));

    pthread_mutex_init(&s->lock, NULL);
    s->path = xasprintf("%s/net", root);
    load(s);
    if (!s->n) {
        memcpy(need(s, NIC, "eth0")->mac, "02:00:00:00:00:01", 18);
        memcpy(need(s, NIC, "eth1")->mac, "02:00:00:00:00:02", 18);
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
    struct device *d = need(s, BRIDGE, bridge);
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
        for (size_t i = 0; d->kind == BRIDGE && i < s->n; i++)
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
    bool is_bridge = d && d->kind == BRIDGE;
    pthread_mutex_unlock(&s->lock);
    return is_bridge ? drop(state, bridge, ret_why) : 0;
}

static int port_set(void *state, const char *interface, const char *bridge, char **ret_why)
{
    struct sim *s = state;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    struct device *d = find(s, interface);
    if (!d || (bridge && !find(s, bridge))) {
        *ret_why = xasprintf("%s: no such interface", d ? bridge : interface);
        rc = -1;
    } else {
        snprintf(d->bridge, sizeof(d->bridge), "%s", bridge ? bridge : "-");
        rc = store(s, ret_why);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
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
        struct device *d = need(s, TAP, tap->name);
        d->mtu = tap->mtu ? tap->mtu : 1500;
        snprintf(d->bridge, sizeof(d->bridge), "%s", tap->bridge ? tap->bridge : "-");
        rc = store(s, ret_why);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* There is no engine that makes interfaces here: it is as if one had. */
static int vif_plug(void *state, const char *interface, const char *bridge, unsigned mtu, char **ret_why)
{
    const struct net_tap made = { .name = interface, .bridge = bridge, .mtu = mtu, .owner_uid = -1, .up = true };

    return tap_create(state, &made, ret_why);
}

static int list(void *state, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
                char **ret_why)
{
    struct sim *s = state;

    (void)ret_why;
    pthread_mutex_lock(&s->lock);
    struct net_interface *out = arena_new_array(arena, struct net_interface, s->n);
    int nics = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct device *d = &s->devices[i];
        out[i] = (struct net_interface){
            .name = arena_strdup(arena, d->name),
            .mac = d->kind == NIC ? arena_strdup(arena, d->mac) : "",
            .bridge = streq(d->bridge, "-") ? "" : arena_strdup(arena, d->bridge),
            .driver = d->kind == NIC ? "sim" : "",
            .pci_path = "", .netmask = "", .gateway = "", .ipv6 = "",
            .ip = d->kind == NIC ? arena_printf(arena, "127.0.0.%d", ++nics) : "",   /* clients of tests get through */
            .mtu = d->mtu,
            .physical = d->kind == NIC,
            .is_bridge = d->kind == BRIDGE,
            .is_tap = d->kind == TAP,
            .up = true, .carrier = true, .duplex = true,
            .speed_mbit = d->kind == NIC ? 1000 : 0,
        };
    }
    *ret_interfaces = out;
    *ret_n = s->n;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

const struct net_driver net_driver_sim = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .bridge_create = bridge_create,
    .bridge_destroy = bridge_destroy,
    .port_set = port_set,
    .tap_create = tap_create,
    .tap_destroy = drop,
    .vif_plug = vif_plug,
    .list = list,
};
