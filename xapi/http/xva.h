/* VMs as files over HTTP: GET /export, PUT /import.
 * Called by: routes.c.  Calls: xva, transfer. */
#ifndef XAPI_HTTP_XVA_H
#define XAPI_HTTP_XVA_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

void xva_routes(struct http_server *server, struct agent *agent);

#endif
