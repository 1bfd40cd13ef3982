/* GET /audit_log: the audit log's lines, all or since a time.
 * Called by: the route table.  Calls: http_auth, audit. */
#ifndef XAPI_HTTP_GET_AUDIT_LOG_H
#define XAPI_HTTP_GET_AUDIT_LOG_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Adds the route. */
void get_audit_log_routes(struct http_server *s, struct agent *agent);

#endif
