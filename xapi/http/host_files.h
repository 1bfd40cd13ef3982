/* What a host gives as files: audit log, logs, bug report, its own backup.
 * Called by: routes.c.  Calls: report, pool_db, transfer. */
#ifndef XAPI_HTTP_HOST_FILES_H
#define XAPI_HTTP_HOST_FILES_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Endpoints as routes.h has them. */
void get_audit_log(struct http_request *req, struct call *c, struct xerr *err);
void get_host_logs_download(struct http_request *req, struct call *c, struct xerr *err);
void get_system_status(struct http_request *req, struct call *c, struct xerr *err);
void get_host_backup(struct http_request *req, struct call *c, struct xerr *err);
void put_host_restore(struct http_request *req, struct call *c, struct xerr *err);

#endif
