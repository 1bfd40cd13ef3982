/* The guard over the network drivers: names and ranges, log lines, errors.
 * Called by: class files.  Calls: the driver. */
#include "xapi/net/net.h"

#include <assert.h>
#include <ctype.h>

#define LOG_MODULE "net"
#include "gen/errors.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/net/net_driver.h"

#define NET_MAGIC 0x6e657421u
enum { NAME_MAX_BYTES = 15, MTU_MIN = 68, MTU_MAX = 65535 };

struct net {
    unsigned magic;
    const struct net_driver *driver;   /* immutable */
    void *state;
};

static const struct net_driver *const drivers[] = { &net_driver_bridge, &net_driver_sim };

int net_open(const char *name, const char *root, struct net **ret_net, struct xerr *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        _cleanup_free_ char *why = NULL;
        void *state;
        if (!streq(drivers[i]->name, name)) continue;
        if (drivers[i]->open(root, &state, &why)) return xerr_internal(err, "net open %s: %s", name, why);
        struct net *net = xcalloc(1, sizeof(*net));
        *net = (struct net){ NET_MAGIC, drivers[i], state };
        *ret_net = net;
        return 0;
    }
    return xerr_internal(err, "there is no network driver \"%s\"", name);
}

void net_close(struct net *net)
{
    if (!net) return;
    net->driver->close(net->state);
    net->magic = 0;
    free(net);
}

const char *net_name(const struct net *net)
{
    return net->driver->name;
}

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

    log_debug("%s %s: %s, %lld us", verb, object, rc ? reason : "done",
              (long long)(clock_monotonic_ns() - began_ns) / 1000);
    assert(!rc || reason);
    return rc ? xerr_internal(err, "net %s %s %s: %s", net->driver->name, verb, object, reason) : 0;
}

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

int net_port_set(struct net *net, const char *interface, const char *bridge, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_name(interface, err) || (bridge && check_name(bridge, err))) return -1;
    int rc = net->driver->port_set(net->state, interface, bridge, &why);
    return finish(net, "port_set", interface, rc, why, began, err);
}

int net_tap_create(struct net *net, const struct net_tap *tap, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_name(tap->name, err) || (tap->bridge && check_name(tap->bridge, err)) || check_mtu(tap->mtu, err)) return -1;
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

int net_vif_plug(struct net *net, const char *interface, const char *bridge, unsigned mtu, struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;

    if (check_name(interface, err) || (bridge && check_name(bridge, err)) || check_mtu(mtu, err)) return -1;
    int rc = net->driver->vif_plug(net->state, interface, bridge, mtu, &why);
    return finish(net, "vif_plug", interface, rc, why, began, err);
}

int net_list(struct net *net, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
             struct xerr *err)
{
    int64_t began = clock_monotonic_ns();
    char *why = NULL;
    int rc = net->driver->list(net->state, arena, ret_interfaces, ret_n, &why);

    return finish(net, "list", "interfaces", rc, why, began, err);
}
