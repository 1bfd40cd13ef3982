/* The content of one disk over HTTP: GET /export_raw_vdi, PUT /import_raw_vdi.
 * Called by: routes.c.  Calls: storage/content, vdi, transfer. */
#ifndef XAPI_HTTP_RAW_VDI_H
#define XAPI_HTTP_RAW_VDI_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Endpoints as routes.h has them. */
void get_export_raw_vdi(struct http_request *req, struct call *c, struct xerr *err);
void put_import_raw_vdi(struct http_request *req, struct call *c, struct xerr *err);

#endif
