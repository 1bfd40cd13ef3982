/* Who somebody is: passwords, the accounts behind them, and the keys that sessions are stored under.
 * Called by: session.c, auth.c, rpc/, http/.  Calls: xapi-helper, crypt, OpenSSL.
 *
 * Two sources of accounts: "pam" (this host's accounts, checked in a process of their own) and "file:PATH" (lines
 * `user:crypt-hash`, for tests and appliances). The user root (or uid 0) is the local superuser; any other account
 * needs a subject whose identifier is the account's ("user:NAME") or one of its groups' ("group:NAME"). */
#ifndef XAPI_AUTH_H
#define XAPI_AUTH_H

#include "lib/ref.h"
#include "lib/xerr.h"

struct arena;
struct auth;

struct auth_config {
    const char *source;            /* "pam" or "file:PATH" */
    const char *helper;            /* path of xapi-helper */
    int64_t timeout_ms;            /* of one check by PAM; at most AUTH_TIMEOUT_MAX_MS */
    bool programs;                 /* PAM modules may start programs */
};
/* The helper ends itself somewhat later. */
enum { AUTH_TIMEOUT_MAX_MS = 80000 };

/* The configuration is copied. Says in the log when the helper cannot have an account of its own.
 * Errors: INTERNAL_ERROR naming a wrong source. */
int auth_new(const struct auth_config *config, struct auth **ret_auth, struct xerr *err);
void auth_free(struct auth *auth);

/* So many passwords are checked at a time, from now on; a source that needs processors has fewer at most. */
void auth_limit_checks(struct auth *auth, int64_t max);
/* Takes the time of a password hash or of a PAM stack, config.timeout_ms at most; as many at a time as auth_limit_checks()
 * allows, others wait. Errors: SESSION_AUTHENTICATION_FAILED [user, reason]; TOO_MANY_PENDING_TASKS after a long wait. */
int auth_check_password(struct auth *auth, const char *user, const char *password, struct xerr *err);
/* True when another password is bound to have been checked within the time of a hash. */
bool auth_is_busy(const struct auth *auth);
/* Errors: CHANGE_PASSWORD_REJECTED [reason]. */
int auth_set_password(struct auth *auth, const char *user, const char *password, struct xerr *err);

/* True when the source has this account. */
bool auth_user_exists(struct auth *auth, const char *user);
/* True when the account is the local superuser. */
bool auth_user_is_root(struct auth *auth, const char *user);
/* "user:NAME" and a "group:NAME" for each group, in the arena; NULL-terminated. */
const char **auth_user_identifiers(struct auth *auth, const char *user, struct arena *a);

/* The reference a session is stored under: the first half of the SHA-256 of the secret that the client holds. */
struct ref auth_session_key(const struct auth *auth, struct ref secret);

#endif
