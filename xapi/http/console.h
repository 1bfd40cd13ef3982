/* /console: a VM's screen or text console as a stream.
 * Called by: the route table.  Calls: http_auth, hv/, websocket. */
#ifndef XAPI_HTTP_CONSOLE_H
#define XAPI_HTTP_CONSOLE_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* CONNECT /console (raw bytes) and GET /console (WebSocket). */
void console(struct http_request *req, struct call *c, struct xerr *err);

#endif
