/* The call behind an HTTP request that is no RPC: who asks, may he, and which task follows it.
 * Called by: the handlers of bulk data, consoles, metrics.  Calls: rpc/, session, task. */
#ifndef XAPI_HTTP_HTTP_AUTH_H
#define XAPI_HTTP_HTTP_AUTH_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

struct http_route_desc;   /* gen/http_routes.h */

/* What the schema says of the route decides: tries in order a unix socket's root, session_id (cookie or query), the pool secret
 * (pool_secret, likewise), HTTP Basic, the client's TLS
 * certificate (pool.enable_client_certificate_auth); then
 * the role. Who shows none of these gets no further, but on an open route. Blocks while a password is checked: on STREAM routes
 * and threads only. Called by routes.c alone, before any handler: handlers get the call.
 *
 * The call lives in the request's arena until http_call_end(). Its task is the one named by task_id when the route follows tasks
 * and that has a row (progress and cancellation go there), else one in memory. On failure the named task fails too.
 * Errors: SESSION_INVALID, SESSION_AUTHENTICATION_FAILED, RBAC_PERMISSION_DENIED, TOO_MANY_PENDING_TASKS. */
int http_authenticate(struct http_request *req, struct agent *agent, const struct http_route_desc *route,
                      struct call **ret_call, struct xerr *err);
/* False on an open route when the client showed nothing: it has no rights at all. */
bool http_call_known(const struct call *c);
/* fn(arg) runs once when the call's session has ended or the agent stops, from any thread, before http_call_end() returns or
 * not at all; at once when that has happened already. It must not block. */
void http_call_on_session_end(struct call *c, void (*fn)(void *arg), void *arg);
/* Answers 401, 403, 503 or 500 for an error of http_authenticate(). */
void http_reply_refused(struct http_request *req, const struct xerr *err);
/* Ends the call and its task: with result (NULL = none) when err is NULL or unset, else with the error. Before the reply
 * is finished, so that a client that waits for the task and one that waits for the bytes agree. Once ended it stays so: what
 * a handler does not end ends when it returns. */
void http_call_end(struct call *c, const struct value *result, const struct xerr *err);

#endif
