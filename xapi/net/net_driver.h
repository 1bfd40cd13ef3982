/* What a network driver fills in. The guard net.c has checked every argument.
 * Called by: net.c.  Calls: the drivers. */
#ifndef XAPI_NET_NET_DRIVER_H
#define XAPI_NET_NET_DRIVER_H

#include "xapi/net/net.h"

/* Every verb returns 0 or -1 with a malloc'd reason in *ret_why. */
struct net_driver {
    const char *name;
    const char *backend;
    int (*open)(const char *root, uint32_t mark, void **ret_state, char **ret_why);
    void (*close)(void *state);
    /* Takes away what it made under this mark: another driver has been opened. NULL: nothing that could be in the way. */
    int (*leave)(uint32_t mark, char **ret_why);
    /* Changes whenever what the driver talks to has begun anew. NULL: never. */
    uint64_t (*epoch)(void *state);
    /* Every DHCP address is filled in already. Serialized by the guard. */
    int (*apply)(void *state, const struct net_plan *plan, char **ret_why);
    int (*bridge_create)(void *state, const char *bridge, unsigned mtu, char **ret_why);
    int (*bridge_destroy)(void *state, const char *bridge, char **ret_why);
    int (*tap_create)(void *state, const struct net_tap *tap, char **ret_why);
    int (*tap_destroy)(void *state, const char *name, char **ret_why);
    int (*vif_plug)(void *state, const struct net_tap *vif, char **ret_why);
    int (*sweep)(void *state, const char *const *keep, size_t n_keep, char **ret_why);
    int (*list)(void *state, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n,
                char **ret_why);
    /* NULL: no real network. */
    int (*neighbour_answers)(void *state, const char *link, const char *address, int timeout_ms, char **ret_why);
};

extern const struct net_driver net_driver_bridge, net_driver_ovs, net_driver_sim;

/* ---- what the drivers of real networks share (real.c) ---------------------------------------------------------------- */

struct nl_sock;
/* The steps of a plan that the kernel takes by itself, from what it has, which is told. */
int real_steps(struct nl_sock *sk, uint32_t mark, const struct net_plan *plan, struct arena *a, const struct net_have **ret_had,
               size_t *ret_n, char **ret_why);
/* What is no step: IPv6's switches and offloads, as planned, whatever they were. */
int real_finish(const struct net_plan *plan, char **ret_why);
/* A tap with our mark from its first moment on that outlives this process; made already is fine. */
int real_tap_make(struct nl_sock *sk, uint32_t mark, const struct net_tap *tap, char **ret_why);
/* Everything of a card but which bridge it is on: MTU, state, limits, rules. */
int real_card_set(struct nl_sock *sk, uint32_t mark, const struct net_tap *card, char **ret_why);
int real_card_remove(struct nl_sock *sk, uint32_t mark, const char *name, char **ret_why);
/* Whether a name is among those that a sweep leaves. */
bool real_is_kept(const char *name, const char *const *keep, size_t n_keep);
int real_sweep(struct nl_sock *sk, uint32_t mark, const char *const *keep, size_t n_keep, char **ret_why);
int real_list(uint32_t mark, struct arena *arena, const struct net_interface **ret_interfaces, size_t *ret_n, char **ret_why);
int real_neighbour_answers(void *state, const char *link, const char *address, int timeout_ms, char **ret_why);

#endif
