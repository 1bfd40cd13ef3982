/* POST /cli: the thin command line protocol. Commands run here, with the caller's session, through the gates.
 * Called by: routes.c.  Calls: rpc/, xe/cmd, server.h. */
#ifndef XAPI_HTTP_CLI_H
#define XAPI_HTTP_CLI_H

#include "xapi/http/server.h"
#include "xapi/rpc/rpc.h"

/* Handler: arg is the struct agent. */
void post_cli(struct http_request *req, void *arg);

#endif
