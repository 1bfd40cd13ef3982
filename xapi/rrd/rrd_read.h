/* A whole RRD as XML, read back: history that comes from another host or from a backup.
 * Called by: http/metrics.c, tests.  Calls: rrd.c, libxml2. */
#ifndef XAPI_RRD_RRD_READ_H
#define XAPI_RRD_RRD_READ_H

#include "xapi/rrd/rrd.h"

/* What rrd_write_full() writes. Archives that we do not keep are passed by; MIN and MAX are taken when n_cfs is RRD_CFS.
 * NULL and a short text when it is no such document. */
struct rrd *rrd_read_full(const char *xml, size_t len, unsigned n_cfs, const char **ret_why);

#endif
