/* GET and PUT /pool/xmldbdump: the database as XML, and back.
 * Called by: routes.c.  Calls: pool_db, transfer. */
#ifndef XAPI_HTTP_POOL_DUMP_H
#define XAPI_HTTP_POOL_DUMP_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Endpoints as routes.h has them. */
void get_pool_xml_db_sync(struct http_request *req, struct call *c, struct xerr *err);
void put_pool_xml_db_sync(struct http_request *req, struct call *c, struct xerr *err);

#endif
