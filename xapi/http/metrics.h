/* GET /rrd_updates, /host_rrd, /vm_rrd, /sr_rrd and /metrics; PUT /rrd.
 * Called by: the route table.  Calls: http_auth, rrd/. */
#ifndef XAPI_HTTP_METRICS_H
#define XAPI_HTTP_METRICS_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Endpoints as routes.h has them. */
void get_rrd_updates(struct http_request *req, struct call *c, struct xerr *err);
void get_host_rrd(struct http_request *req, struct call *c, struct xerr *err);
void get_vm_rrd(struct http_request *req, struct call *c, struct xerr *err);
void get_sr_rrd(struct http_request *req, struct call *c, struct xerr *err);
void put_rrd(struct http_request *req, struct call *c, struct xerr *err);
void get_metrics(struct http_request *req, struct call *c, struct xerr *err);

#endif
