/* POST: XML-RPC on any path, JSON-RPC on /jsonrpc and /json.
 * Called by: the route table.  Calls: rpc/, server.h, codecs. */
#ifndef XAPI_HTTP_POST_RPC_H
#define XAPI_HTTP_POST_RPC_H

#include "xapi/http/server.h"
#include "xapi/rpc/rpc.h"

/* Handlers: arg is the struct agent, after rpc_init(). */
void post_xmlrpc(struct http_request *req, void *arg);
void post_jsonrpc(struct http_request *req, void *arg);

#endif
