/* What the parts of the Open vSwitch driver share: its rows in the database.
 * Called by: ovs.c, ovs_plan.c.  Calls: ovsdb.c.
 *
 * Bridges and ports of ours carry external_ids xapi-owner=MARK: what does not is never changed. A network with a VLAN tag is
 * a fake bridge, as the reference makes it: a port with an interface of the bridge's name on the bridge of what it stands on.
 * A guest's card is a port with xapi-card=BRIDGE, on that bridge or, with its tag, on the one that it is faked on. */
#ifndef XAPI_NET_OVS_H
#define XAPI_NET_OVS_H

#include "xapi/net/net_driver.h"
#include "xapi/net/ovsdb.h"

/* A column as the database itself writes it: sets and maps sorted, a set of one as its element. */
struct ovs_column { const char *name, *json; };

/* Operations of one transaction. */
struct ovs_ops {
    struct strbuf text;
    struct arena *a;
    const char *owner;           /* MARK */
    unsigned names;
};

const char *ovs_owner(struct arena *a, uint32_t mark);
bool ovs_is_owned(const struct value *row, const char *owner);
const char *ovs_quote(struct arena *a, const char *text);
/* {"op":"insert",...}; returns the name that it has in this transaction. */
const char *ovs_insert(struct ovs_ops *o, const char *table, const struct ovs_column *columns, size_t n);
/* Those columns of a row that was read and differ. */
void ovs_update(struct ovs_ops *o, const char *table, const struct value *row, const struct ovs_column *columns, size_t n);
/* Ports of a bridge: element is ["uuid","..."] or ["named-uuid","..."]. */
void ovs_bridge_port(struct ovs_ops *o, const char *bridge, const char *element, bool add);
/* Bridges of the switch. */
void ovs_root_bridge(struct ovs_ops *o, const char *element, bool add);
const char *ovs_row_element(struct arena *a, const struct value *row);
/* "system", or "netdev" where ovs-vswitchd is told to use no other. */
const char *ovs_datapath(const struct value *switch_row);
/* A bridge with its own port. */
void ovs_make_bridge(struct ovs_ops *o, const char *name, const char *datapath, const char *mac, unsigned mtu);
/* The transaction, unless there is nothing to do. */
int ovs_commit(struct ovsdb *db, struct ovs_ops *o, char **ret_why);

/* Bridges, bonds, VLANs and tunnels as planned, and cards on the bridges of their networks; others of ours go. `prove`: also
 * when nothing changes, wait until ovs-vswitchd has everything. */
int ovs_apply_plan(struct ovsdb *db, uint32_t mark, const struct net_plan *plan, bool prove, char **ret_why);
/* Bridges that need not be there any more and that an interface of the host's stands on until the plan is applied: the addresses
 * that they have were that interface's. */
int ovs_bridges_left(struct ovsdb *db, uint32_t mark, const struct net_plan *plan, struct arena *a, const char *const **ret_names,
                     size_t *ret_n, char **ret_why);
/* As the kernel sees them, and what only the switch knows: which bridge, bonds, VLANs, tunnels. */
int ovs_complete_list(struct ovsdb *db, uint32_t mark, struct arena *a, const struct net_interface **interfaces, size_t *n,
                      char **ret_why);

#endif
