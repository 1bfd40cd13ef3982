/* The content of one disk over HTTP: GET /export_raw_vdi, PUT /import_raw_vdi.
 * Called by: routes.c.  Calls: storage/content, vdi, transfer. */
#ifndef XAPI_HTTP_RAW_VDI_H
#define XAPI_HTTP_RAW_VDI_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

void raw_vdi_routes(struct http_server *server, struct agent *agent);

#endif
