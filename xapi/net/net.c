/* The guard over the network drivers: names and ranges, log lines, errors; DHCP.
 * Called by: class files.  Calls: the driver, dhcp.c, news.c. */
#include "xapi/net/net.h"

#include <assert.h>
#include <ctype.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define LOG_MODULE "net"
#include "gen/errors.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/xxh64.h"
#include "xapi/net/dhcp.h"
#include "xapi/net/net_driver.h"
#include "xapi/net/news.h"

#define NET_MAGIC 0x6e657421u
enum { NAME_MAX_BYTES = 15, MTU_MIN = 68, MTU_MAX = 65535 };

struct net {
    unsigned magic;
    const struct net_driver *driver;   /* immutable */
    void *state;
    char *leases;                      /* immutable: the folder of DHCP clients; NULL without a real network */
    char *script;                      /* immutable: what they tell their lease */
    pthread_mutex_t applying;          /* one plan at a time; held over netlink: the only I/O it may be held over */
    pthread_mutex_t lock;
    struct net_news_socket *news;      /* lock: lock; NULL = no real network */
    uint64_t lease_state, epoch, epoch_told;   /* lock: lock */
};

static const struct net_driver *const drivers[] = { &net_driver_bridge, &net_driver_ovs, &net_driver_sim };

/* What another driver made in an earlier life of this host needs the same names. */
static void leave_others(const struct net_driver *chosen, uint32_t mark)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        _cleanup_free_ char *why = NULL;
        if (!chosen->neighbour_answers || drivers[i] == chosen || !drivers[i]->leave) continue;
        if (drivers[i]->leave(mark, &why)) log_warn("what %s has made stays: %s", drivers[i]->name, why);
    }
}

int net_open(const char *name, const char *root, struct net **ret_net, struct xerr *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        _cleanup_free_ char *why = NULL;
        void *state;
        /* A number that no administrator gives a group of links, and that another agent's root does not share. */
        uint32_t mark = 0x58000000u | (uint32_t)(xxh64(root, strlen(root)) & 0xffffff);
        if (!streq(drivers[i]->name, name)) continue;
        if (drivers[i]->open(root, mark, &state, &why)) return xerr_internal(err, "net open %s: %s", name, why);
        leave_others(drivers[i], mark);
        struct net *net = xcalloc(1, sizeof(*net));
        *net = (struct net){ .magic = NET_MAGIC, .driver = drivers[i], .state = state };
        if (net->driver->epoch) net->epoch = net->driver->epoch(state);
        pthread_mutex_init(&net->applying, NULL);
        pthread_mutex_init(&net->lock, NULL);
        if (drivers[i]->neighbour_answers) {
            const char *libexec = getenv("XAPI_NET_DIR");
            net->leases = xasprintf("%s/dhcp", root);
            net->script = xasprintf("%s/xapi-dhcp-event", libexec ? libexec : PKGLIBEXECDIR);
            net->news = news_open();
        }
        *ret_net = net;
        return 0;
    }
    return xerr_internal(err, "there is no network driver \"%s\"", name);
}

void net_close(struct net *net)
{
    if (!net) return;
    net->driver->close(net->state);
    news_close(net->news);
    pthread_mutex_destroy(&net->applying);
    pthread_mutex_destroy(&net->lock);
    free(net->leases);
    free(net->script);
    net->magic = 0;
    free(net);
}

const char *net_name(const struct net *net) { return net->driver->name; }
const char *net_backend(const struct net *net) { return net->driver->backend; }

/* An interface name the kernel takes and no path or shell can misread. */
static int check_name(const char *name, struct xerr *err)
{
    size_t n = name ? strlen(name) : 0;
    bool good = n >= 1 && n <= NAME_MAX_BYTES && !streq(name, ".") && !streq(name, "..");

    for (size_t i = 0; good && i < n; i++) good = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
    return good ? 0 : xerr_invalid_value(err, "interface", name ? name : "");
}

static int check_mtu(unsigned mtu, struct xerr *err)
{
    if (!mtu || (mtu >= MTU_MIN && mtu <= MTU_MAX)) return 0;
    _cleanup_free_ char *text = xasprintf("%u", mtu);
    return xerr_invalid_value(err, "MTU", text);
}

/* The one place where a driver's failure becomes an error, and where every verb is logged. */
static int finish(const struct net *net, const char *verb, const char *object, int rc, char *why, int64_t began_ns,
                  struct xerr *err)
{
    _cleanup_free_ char *reason = why;

    log_debug("%s %s: %s, %lld us", verb, object, rc < 0 ? reason : "done",
              (long long)(clock_monotonic_ns() - began_ns) / 1000);
    assert(rc >= 0 || reason);
    return rc < 0 ? xerr_internal(err, "net %s %s %s: %s", net->driver->name, verb, object, reason) : rc;
}

/* ---- plans -------------------------------------------------------------------------------------------------------------- */

static int check_plan(const struct net_plan *plan, struct xerr *err)
{
    for (size_t i = 0; i < plan->n; i++)
        if (check_name(plan->links[i].name, err) || check_mtu(plan->links[i].mtu, err)) return -1;
    return 0;
}

int net_apply(struct net *net, const struct net_plan *plan, struct xerr *err)
{
    _cleanup_arena_ struct arena *a = arena_new();
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_plan(plan, err)) return -1;
    pthread_mutex_lock(&net->applying);
    if (net->leases) dhcp_end_others(net->leases, plan);
    int rc = net->driver->apply(net->state, net->leases ? dhcp_resolve(net->leases, plan, a) : plan, &why);
    if (!rc && net->leases) rc = dhcp_run(net->leases, plan, net->script, &why);
    pthread_mutex_unlock(&net->applying);
    return finish(net, "apply", "plan", rc, why, began, err);
}

bool net_lease(struct net *net, const char *link, bool v6, struct arena *a, struct net_lease *ret_lease)
{
    if (net->leases) return dhcp_lease(net->leases, link, v6, a, ret_lease);
    *ret_lease = v6 ? (struct net_lease){ "2001:db8::9/128", "", "2001:db8::53", "example.com" }
                    : (struct net_lease){ "192.0.2.9/24", "192.0.2.1", "192.0.2.53", "example.com" };
    return true;
}

bool net_lease_wait(struct net *net, const char *link, bool v6, int timeout_ms)
{
    int64_t until = clock_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    struct net_lease lease;
    bool found;

    do {
        _cleanup_arena_ struct arena *a = arena_new();
        found = net_lease(net, link, v6, a, &lease);
        if (!found) poll(NULL, 0, 50);
    } while (!found && clock_monotonic_ns() < until);
    return found;
}

unsigned net_news(struct net *net)
{
    unsigned news = 0;
    uint64_t leases = net->leases ? dhcp_state(net->leases) : 0;

    if (!net->news) return 0;
    pthread_mutex_lock(&net->lock);
    if (news_take(net->news)) news |= NET_NEWS_LINKS;
    if (leases != net->lease_state) news |= NET_NEWS_LEASES;
    net->lease_state = leases;
    net->epoch_told = net->driver->epoch ? net->driver->epoch(net->state) : 0;
    if (net->epoch_told != net->epoch) news |= NET_NEWS_RESTART;
    pthread_mutex_unlock(&net->lock);
    return news;
}

void net_restart_done(struct net *net)
{
    pthread_mutex_lock(&net->lock);
    net->epoch = net->epoch_told;
    pthread_mutex_unlock(&net->lock);
}

int net_neighbour_answers(struct net *net, const char *link, const char *address, int timeout_ms, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_name(link, err)) return -1;
    if (!net->driver->neighbour_answers) return 1;
    int rc = net->driver->neighbour_answers(net->state, link, address, timeout_ms, &why);
    return finish(net, "neighbour_answers", address, rc, why, began, err);
}

/* ---- bridges --------------------------------------------------------------------------------------------------- */

int net_bridge_create(struct net *net, const char *bridge, unsigned mtu, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_name(bridge, err) || check_mtu(mtu, err)) return -1;
    int rc = net->driver->bridge_create(net->state, bridge, mtu, &why);
    return finish(net, "bridge_create", bridge, rc, why, began, err);
}

int net_bridge_destroy(struct net *net, const char *bridge, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_name(bridge, err)) return -1;
    int rc = net->driver->bridge_destroy(net->state, bridge, &why);
    return finish(net, "bridge_destroy", bridge, rc, why, began, err);
}

/* ---- guests' cards ---------------------------------------------------------------------------------------------------------- */

static int check_tap(const struct net_tap *tap, struct xerr *err)
{
    return check_name(tap->name, err) || (tap->bridge && check_name(tap->bridge, err)) || check_mtu(tap->mtu, err) ? -1 : 0;
}

int net_tap_create(struct net *net, const struct net_tap *tap, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_tap(tap, err)) return -1;
    int rc = net->driver->tap_create(net->state, tap, &why);
    return finish(net, "tap_create", tap->name, rc, why, began, err);
}

int net_tap_destroy(struct net *net, const char *name, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_name(name, err)) return -1;
    int rc = net->driver->tap_destroy(net->state, name, &why);
    return finish(net, "tap_destroy", name, rc, why, began, err);
}

int net_vif_plug(struct net *net, const struct net_tap *vif, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_tap(vif, err)) return -1;
    int rc = net->driver->vif_plug(net->state, vif, &why);
    return finish(net, "vif_plug", vif->name, rc, why, began, err);
}

int net_sweep(struct net *net, const char *const *keep, size_t n_keep, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;
    int rc = net->driver->sweep(net->state, keep, n_keep, &why);

    return finish(net, "sweep", "taps", rc, why, began, err);
}

int net_list(struct net *net, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
             struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;
    int rc = net->driver->list(net->state, arena, ret_interfaces, ret_n, &why);

    return finish(net, "list", "interfaces", rc, why, began, err);
}
