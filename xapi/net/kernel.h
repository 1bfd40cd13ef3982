/* The kernel's side of the network: one netlink request a function.
 * Called by: bridge.c, ovs.c, reconcile.c.  Calls: libnl, the kernel.
 *
 * 0 or -1 with a malloc'd reason. Before each request that changes something is the fault point "net.netlink". */
#ifndef XAPI_NET_KERNEL_H
#define XAPI_NET_KERNEL_H

#include "xapi/net/plan.h"

struct nl_sock;

/* A socket for NETLINK_ROUTE (or NETLINK_NETFILTER). */
int kernel_connect(int protocol, struct nl_sock **ret_sk, char **ret_why);
void kernel_close(struct nl_sock **sk);
#define _cleanup_kernel_ _cleanup_(kernel_close)

/* Every link with its addresses and default routes; those whose group is `mark` are owned. */
int kernel_read(struct nl_sock *sk, uint32_t mark, struct arena *a, const struct net_have **ret_have, size_t *ret_n,
                char **ret_why);
/* One link by name; *ret_have NULL when there is none. No addresses. */
int kernel_find(struct nl_sock *sk, uint32_t mark, const char *name, struct arena *a, const struct net_have **ret_have,
                char **ret_why);

/* A new link of the plan's kind, with its mark. */
int kernel_link_create(struct nl_sock *sk, uint32_t mark, const struct net_link *link, char **ret_why);
/* Gone already is fine. */
int kernel_link_delete(struct nl_sock *sk, const char *name, char **ret_why);

/* What is to change of a link; NULL and 0 stay as they are. */
enum kernel_switch { KERNEL_AS_IS, KERNEL_ON, KERNEL_OFF };
static inline enum kernel_switch kernel_switch(bool on) { return on ? KERNEL_ON : KERNEL_OFF; }
struct kernel_change {
    unsigned mtu;
    const char *mac;
    const char *master;          /* "" = none */
    enum kernel_switch up, promiscuous;
    uint32_t group;
    const struct net_bond *bond;
};
#define KERNEL_CHANGE(...) (&(const struct kernel_change){ __VA_ARGS__ })
int kernel_link_change(struct nl_sock *sk, const char *name, const struct kernel_change *change, char **ret_why);

/* "192.0.2.7/24". There (gone) already is fine. */
int kernel_address(struct nl_sock *sk, const char *link, const char *address, bool add, char **ret_why);
/* The host's default route, marked as ours. */
int kernel_gateway(struct nl_sock *sk, const char *link, const char *gateway, bool add, char **ret_why);

/* A token bucket for what the link sends: rate in bytes a second; 0 removes. */
int kernel_rate(struct nl_sock *sk, const char *link, uint64_t bytes_per_second, char **ret_why);
/* Everything that the link receives passes through the other link first. to NULL: as it was. */
int kernel_redirect(struct nl_sock *sk, const char *link, const char *to, char **ret_why);

/* /proc/sys/net/ipv6/conf/LINK/KEY; without IPv6 in the kernel nothing. */
void kernel_ipv6_set(const char *link, const char *key, const char *value);

/* 1 when the neighbour answers within the time, 0 when not. */
int kernel_neighbour_answers(struct nl_sock *sk, const char *link, const char *address, int timeout_ms, char **ret_why);

#endif
