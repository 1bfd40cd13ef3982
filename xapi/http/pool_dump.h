/* GET and PUT /pool/xmldbdump: the database as XML, and back.
 * Called by: routes.c.  Calls: pool_db, transfer. */
#ifndef XAPI_HTTP_POOL_DUMP_H
#define XAPI_HTTP_POOL_DUMP_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

void pool_dump_routes(struct http_server *server, struct agent *agent);

#endif
