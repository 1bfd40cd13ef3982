/* VLANs as their neighbours need them.
 * Called by: network_reset.c, vif.c, vif_lock.c.  Calls: pif.c, db/. */
#ifndef XAPI_VLAN_H
#define XAPI_VLAN_H

#include "xapi/call/call.h"

/* Errors: VLAN_TAG_INVALID [tag]. */
int vlan_check_tag(int64_t tag, struct xerr *err);
/* The record of a VLAN over an interface of this host, with the interface that it makes, *ret_top, which is not attached. Checks
 * nothing. */
struct ref vlan_create_record(struct call *c, struct txn *t, struct ref foot, int64_t tag, struct ref network, struct ref *ret_top);

#endif
