/* GET and PUT /blob: the bytes of a blob.
 * Called by: routes.c.  Calls: blob, transfer. */
#ifndef XAPI_HTTP_BLOB_H
#define XAPI_HTTP_BLOB_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

void blob_routes(struct http_server *server, struct agent *agent);

#endif
