/* Metrics as text: what rrd_updates answers, a whole RRD, and OpenMetrics.
 * Called by: http/metrics.c, tests.  Calls: rrd_store.h, xmlrpc (character data), json. */
#ifndef XAPI_RRD_RRD_WRITE_H
#define XAPI_RRD_RRD_WRITE_H

#include "xapi/rrd/rrd_store.h"

/* <xport>, newest row first; in JSON every number is a string, for JSON has no NaN. */
void rrd_write_table(const struct rrd_table *t, bool json, struct strbuf *out);
/* <rrd>, oldest row first. The order of elements is the reference's: there are readers that rely on it. */
void rrd_write_full(const struct rrd *r, bool json, struct strbuf *out);
/* A gauge family a kind of value, such as xapi_vm_vif_rx{uuid="...",device="0"}. Sorts the values. */
void rrd_write_openmetrics(struct rrd_value *values, size_t n, struct arena *a, struct strbuf *out);

#endif
