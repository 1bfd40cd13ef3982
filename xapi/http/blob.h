/* GET and PUT /blob: the bytes of a blob.
 * Called by: routes.c.  Calls: blob, transfer. */
#ifndef XAPI_HTTP_BLOB_H
#define XAPI_HTTP_BLOB_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Endpoints as routes.h has them. */
void get_blob(struct http_request *req, struct call *c, struct xerr *err);
void put_blob(struct http_request *req, struct call *c, struct xerr *err);

#endif
