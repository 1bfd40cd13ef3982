/* What a host gives as files: audit log, logs, bug report, its own backup.
 * Called by: routes.c.  Calls: report, pool_db, transfer. */
#ifndef XAPI_HTTP_HOST_FILES_H
#define XAPI_HTTP_HOST_FILES_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

void host_files_routes(struct http_server *server, struct agent *agent);

#endif
