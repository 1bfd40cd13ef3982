/* Open vSwitch's database by its unix socket (RFC 7047): whole transactions, and waiting until the switch has taken them.
 * Called by: ovs.c, ovs_plan.c.  Calls: lib/json, lib/stream.
 *
 * The sockets are in $OVS_RUNDIR (as for Open vSwitch's own programs), else in /run/openvswitch. 0 or -1 with a malloc'd
 * reason. Before each transaction that changes something is the fault point "net.ovsdb". */
#ifndef XAPI_NET_OVSDB_H
#define XAPI_NET_OVSDB_H

#include "lib/arena.h"
#include "lib/strbuf.h"
#include "lib/stream.h"
#include "lib/value.h"

/* "/run/openvswitch/NAME", malloc'd. */
char *ovs_file(const char *name);
/* Connects to one of those sockets. */
int ovs_connect(const char *name, struct stream *ret_stream, char **ret_why);

struct ovsdb {
    struct stream stream;
    struct strbuf in;        /* read, and not yet answered to */
    int id;
};
int ovsdb_open(struct ovsdb *db, char **ret_why);
void ovsdb_close(struct ovsdb *db);
#define _cleanup_ovsdb_ _cleanup_(ovsdb_close)

/* ops: "{...},{...}", JSON of one operation or several. *ret_results: a set with the result of each, in the arena. */
int ovsdb_read(struct ovsdb *db, const char *ops, struct arena *a, struct value *ret_results, char **ret_why);
/* All of the operations or none; then ovs-vswitchd has made the machine as they say. */
int ovsdb_change(struct ovsdb *db, const char *ops, char **ret_why);

/* ---- rows as the database writes them -------------------------------------------------------------------------------- */

/* Rows of result number `i` of a select. */
const struct value *ovsdb_rows(const struct value *results, size_t i);
/* The uuid in the row's column: "" when it is none. A set: its element number k, until "". */
const char *ovsdb_uuid(const struct value *row, const char *column, size_t k);
/* The value of a key of a map column, "" when there is none. */
const char *ovsdb_map_text(const struct value *row, const char *column, const char *key);

#endif
