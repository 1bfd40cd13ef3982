/* What a guest's card may send through Open vSwitch: flows and a meter at the card's port, by OpenFlow 1.3.
 * Called by: ovs.c.  Calls: ovsdb.c (the socket), lib/stream.
 *
 * The same rules as filter.c's, in the switch: its datapath in user space takes frames before the kernel's rules see them.
 * Flows live as long as ovs-vswitchd does. 0 or -1 with a malloc'd reason. Before each message that changes something is the
 * fault point "net.openflow". */
#ifndef XAPI_NET_OPENFLOW_H
#define XAPI_NET_OPENFLOW_H

#include "xapi/net/net.h"

/* lock NULL: it may send anything; rate_kbytes (KiB/s) 0: as fast as it can. There is no moment at which a card that is locked
 * before and after may send what neither lock allows. */
int openflow_card(const char *bridge, uint32_t port, const struct net_lock *lock, int64_t rate_kbytes, char **ret_why);

#endif
