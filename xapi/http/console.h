/* /console: a VM's screen or text console as a stream.
 * Called by: the route table, screenshot.c.  Calls: http_auth, hv/, websocket. */
#ifndef XAPI_HTTP_CONSOLE_H
#define XAPI_HTTP_CONSOLE_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"
#include "xapi/hv/hv.h"

/* What a request names: a console or a VM, by reference or uuid. */
struct console_target {
    struct ref vm;
    const char *uuid;
    enum hv_console which;
    bool of_host;              /* the control domain's own: no guest's */
};

/* -1: the request has its answer (400, 403, 404, 503). */
int console_find(struct http_request *req, struct call *c, struct console_target *ret_target, struct xerr *err);
/* A connection to it, to be closed. */
int console_open(struct call *c, const struct console_target *t, struct stream *ret_stream, struct xerr *err);

/* CONNECT /console (raw bytes) and GET /console (WebSocket). */
void console(struct http_request *req, struct call *c, struct xerr *err);

#endif
