/* Every HTTP endpoint of schema/http.xml: registered with method, path and role as the schema has them.
 * Called by: main.c.  Calls: the handlers' files. */
#ifndef XAPI_HTTP_ROUTES_H
#define XAPI_HTTP_ROUTES_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* An endpoint that needs a session: on a thread of its own, after the role was checked (http_authenticate()). Answers the request;
 * may end the call itself (http_call_end()) to do so before the last byte of the answer. err, when set, is what the call and its
 * task end with. */
typedef void (*http_call_fn)(struct http_request *req, struct call *c, struct xerr *err);

/* What the handlers keep while the server lives. */
struct routes;

/* Before the first listener, after rpc_init. agent and web_dir are borrowed. */
struct routes *routes_new(struct http_server *server, struct agent *agent, const char *web_dir);
/* After http_server_free. NULL is fine. */
void routes_free(struct routes *routes);

#endif
