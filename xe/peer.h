/* Another pool, asked by a command while it runs: over XML-RPC, with a session of its own.
 * Called by: cmd_migrate.c.  Calls: lib/httpc, lib/xmlrpc. */
#ifndef XE_PEER_H
#define XE_PEER_H

#include "xe/cmd.h"

struct peer;

/* Logs in. address: "name", "name:port", "[v6]:port", with https:// (the default) or http:// before it; borrowed, as c is.
 * Errors: CMD_FAILURE with a sentence that names the address. */
int peer_open(struct cmd *c, const char *address, const char *user, const char *password, struct peer **ret_peer,
              struct xerr *err);
/* Logs out. NULL is fine. */
void peer_close(struct peer *p);

/* One message, without the session; the result is in the command's arena, untyped: references are texts, ints too. Errors as
 * peer_open. */
int peer_call(struct peer *p, const char *method, const struct value *args, size_t n, struct value *ret_result,
              struct xerr *err);

#endif
