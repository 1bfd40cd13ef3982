/* What a guest's card may send and gets: rules of nftables at the card's own interface.
 * Called by: bridge.c, ovs.c.  Calls: libnl (messages), the kernel's nf_tables.
 *
 * One table of family netdev for each interface ("xapi-vif1.0"), hooked where frames enter from that interface alone:
 * other cards' packets and plugs cost nothing however many there are. Replaced whole, in one transaction of the kernel's. */
#ifndef XAPI_NET_FILTER_H
#define XAPI_NET_FILTER_H

#include "xapi/net/net.h"

/* mac: the only source; ipv4, ipv6: the only source addresses of IP, ARP and neighbour discovery. Also allowed: asking for
 * an address by DHCP when ipv4 is not empty, the link-local address of the MAC when ipv6 is not empty. */
int filter_lock(const char *interface, const struct net_lock *lock, char **ret_why);
/* No rules; fine when there are none. */
int filter_unlock(const char *interface, char **ret_why);
/* Tagged frames only of these VLANs, in both directions; frames without a tag always. */
int filter_trunks(const char *interface, const uint16_t *tags, size_t n, char **ret_why);
/* balance-slb of the kernel's bonding: what the bond sent never comes in again by another of its ports, and only the first
 * port takes broadcasts. */
int filter_slb(const char *bond, const char *const *others, size_t n_others, char **ret_why);
/* No such rules but of these bonds: those at the ports would outlive a bond, and go on dropping what they take for doubled. */
int filter_slb_only(const char *const *bonds, size_t n, char **ret_why);

#endif
