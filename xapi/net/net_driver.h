/* What a network driver fills in. The guard net.c has checked every argument.
 * Called by: net.c.  Calls: the drivers. */
#ifndef XAPI_NET_NET_DRIVER_H
#define XAPI_NET_NET_DRIVER_H

#include "xapi/net/net.h"

/* Every verb returns 0 or -1 with a malloc'd reason in *ret_why. */
struct net_driver {
    const char *name;
    int (*open)(const char *root, void **ret_state, char **ret_why);
    void (*close)(void *state);
    int (*bridge_create)(void *state, const char *bridge, unsigned mtu, char **ret_why);
    int (*bridge_destroy)(void *state, const char *bridge, char **ret_why);
    int (*port_set)(void *state, const char *interface, const char *bridge, char **ret_why);
    int (*tap_create)(void *state, const struct net_tap *tap, char **ret_why);
    int (*tap_destroy)(void *state, const char *name, char **ret_why);
    int (*vif_plug)(void *state, const char *interface, const char *bridge, unsigned mtu, char **ret_why);
    int (*list)(void *state, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
                char **ret_why);
};

extern const struct net_driver net_driver_bridge, net_driver_sim;

#endif
