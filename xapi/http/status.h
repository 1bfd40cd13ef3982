/* GET /status: the state of this host on one page, for people.
 * Called by: the route table.  Calls: db/. */
#ifndef XAPI_HTTP_STATUS_H
#define XAPI_HTTP_STATUS_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* An endpoint as routes.h has them. */
void get_status(struct http_request *req, struct call *c, struct xerr *err);

#endif
