/* Every HTTP endpoint that has a handler, in one table.
 * Called by: main.c.  Calls: the handlers' files. */
#ifndef XAPI_HTTP_ROUTES_H
#define XAPI_HTTP_ROUTES_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* What the handlers keep while the server lives. */
struct routes;

/* Before the first listener, after rpc_init. agent and web_dir are borrowed. */
struct routes *routes_new(struct http_server *server, struct agent *agent, const char *web_dir);
/* After http_server_free. NULL is fine. */
void routes_free(struct routes *routes);

#endif
