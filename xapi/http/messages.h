/* GET and PUT /messages: the alerts of one object as a document.
 * Called by: the route table.  Calls: message.h, transfer. */
#ifndef XAPI_HTTP_MESSAGES_H
#define XAPI_HTTP_MESSAGES_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Endpoints as routes.h has them. */
void get_messages(struct http_request *req, struct call *c, struct xerr *err);
void put_messages(struct http_request *req, struct call *c, struct xerr *err);

#endif
