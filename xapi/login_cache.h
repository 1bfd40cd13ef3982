/* Logins of external directories: how many at a time, and those that succeeded lately.
 * Called by: ext_auth.c, ext_auth_config.c, session.c, rpc/rpc.c.  Calls: turns, OpenSSL.
 *
 * Of a password only a keyed digest is kept, whose key never leaves this process. What is remembered of an account goes as soon
 * as the directory says that it may not be used, and with the directory. */
#ifndef XAPI_LOGIN_CACHE_H
#define XAPI_LOGIN_CACHE_H

#include "lib/arena.h"
#include "xapi/turns.h"

struct login_cache;

struct login_cache *login_cache_new(void);
/* NULL is fine. */
void login_cache_free(struct login_cache *k);
/* Logins that are passed to the directory at a time. */
struct turns *login_cache_turns(struct login_cache *k);

/* At most so many are remembered, for so long; 0 = none. */
struct login_cache_limits {
    int64_t size, expiry_ms;
};
/* The identifiers, as ext_auth_login() gives them, of a login that succeeded within the time; NULL = none is remembered. */
const char **login_cache_find(struct login_cache *k, const struct login_cache_limits *limits, const char *type, const char *user,
                              const char *password, struct arena *a);
/* Remembers one; the oldest makes room. ids: the account's own first, NULL at the end. */
void login_cache_add(struct login_cache *k, const struct login_cache_limits *limits, const char *type, const char *user,
                     const char *password, const char *const *ids);
/* What is remembered of this identifier, or with NULL of all. */
void login_cache_forget(struct login_cache *k, const char *id);

#endif
