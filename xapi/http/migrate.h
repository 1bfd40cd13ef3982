/* /migrate: a VM of another pool comes in.
 * Called by: the route table.  Calls: http_auth, vm_migrate. */
#ifndef XAPI_HTTP_MIGRATE_H
#define XAPI_HTTP_MIGRATE_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* CONNECT /migrate. */
void migrate(struct http_request *req, struct call *c, struct xerr *err);

#endif
