/* GET /vncsnapshot: what a VM's screen shows.
 * Called by: the route table.  Calls: console, rfb, jpeg. */
#ifndef XAPI_HTTP_SCREENSHOT_H
#define XAPI_HTTP_SCREENSHOT_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

void get_vncsnapshot(struct http_request *req, struct call *c, struct xerr *err);

#endif
