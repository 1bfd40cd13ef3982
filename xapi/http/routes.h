/* Every HTTP endpoint that has a handler, in one table.
 * Called by: main.c.  Calls: the handlers' files. */
#ifndef XAPI_HTTP_ROUTES_H
#define XAPI_HTTP_ROUTES_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* Before the first listener. agent and web_dir are borrowed until the server is freed. */
void routes_register(struct http_server *server, struct agent *agent, const char *web_dir);

#endif
