/* The pool secret: what the hosts of a pool know each other by, and who holds it is root.
 * Called by: session.c, http_auth, rpc_init.  Calls: lib.
 *
 * It is the file ROOT/pool-secret (mode 0600, three uuids with slashes between them), made at the first start. */
#ifndef XAPI_POOL_SECRET_H
#define XAPI_POOL_SECRET_H

#include "lib/xerr.h"

struct pool_secret;

/* Reads it, or makes a new one. Errors: INTERNAL_ERROR naming the file. */
int pool_secret_open(const char *root, struct pool_secret **ret_secret, struct xerr *err);
void pool_secret_free(struct pool_secret *s);
/* In a time that does not depend on the text. NULL is not it. */
bool pool_secret_is(struct pool_secret *s, const char *text);
/* A new one, durable before it counts; the old one is worth nothing any more. Errors: INTERNAL_ERROR. */
int pool_secret_renew(struct pool_secret *s, struct xerr *err);

#endif
