/* VMs as files over HTTP: GET /export, PUT /import.
 * Called by: routes.c.  Calls: xva, transfer. */
#ifndef XAPI_HTTP_XVA_H
#define XAPI_HTTP_XVA_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Endpoints as routes.h has them. */
void get_export(struct http_request *req, struct call *c, struct xerr *err);
void get_export_metadata(struct http_request *req, struct call *c, struct xerr *err);
void put_import_metadata(struct http_request *req, struct call *c, struct xerr *err);
void put_import(struct http_request *req, struct call *c, struct xerr *err);

#endif
