/* GET /rrd_updates, /host_rrd, /vm_rrd, /sr_rrd and /metrics.
 * Called by: the route table.  Calls: http_auth, rrd/. */
#ifndef XAPI_HTTP_METRICS_H
#define XAPI_HTTP_METRICS_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

void metrics_routes(struct http_server *server, struct agent *agent);

#endif
