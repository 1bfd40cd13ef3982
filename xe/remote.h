/* Where the commands of `xe --xmlrpc` run: any XenAPI server, asked over XML-RPC.
 * Called by: xmlrpc_main.c.  Calls: remote_value, lib/httpc, serve.
 *
 * The transport is lib/httpc and not the one of xmlrpc-c: that knows no unix sockets, and would verify
 * certificates by other rules than the thin client. xmlrpc-c makes and reads the documents. */
#ifndef XE_REMOTE_H
#define XE_REMOTE_H

#include "xe/conn.h"
#include "xe/serve.h"

struct remote;

/* All borrowed until remote_free. traceparent: a header's value, or NULL. */
struct remote *remote_new(const struct conn_target *target, struct serve *client, const char *traceparent);
/* NULL is fine. */
void remote_free(struct remote *r);
/* A session that somebody else has; NULL: commands log in. */
void remote_use_session(struct remote *r, const char *session);
/* Fills in the API's half of a command's environment. A server that cannot be reached, that breaks off or
 * does not speak XML-RPC ends the program: the client is told why, with exit status 1. */
void remote_env(struct remote *r, struct cmd_env *env);
/* Ends the session that a command began. */
void remote_logout(struct remote *r);

#endif
