/* Sessions: logging in, finding the session behind a client's secret, keeping their number bounded.
 * Called by: rpc/, http/, jobs/, startup.  Calls: auth, db/.
 *
 * The reference that a client holds is 16 random bytes; the row is stored under the first half of their SHA-256, so
 * that the database gives no session away. Rows are persistent: a restart ends no session. */
#ifndef XAPI_SESSION_H
#define XAPI_SESSION_H

#include "xapi/call/call.h"

enum {
    SESSION_IDLE_S = 24 * 3600,         /* a session not used for so long is gone */
    SESSION_TOUCH_S = 600,              /* last_active is written this often at most */
};

/* Finds the session of a client's secret in the durable head and fills the call's session, is_root, roles, user_name
 * and originator. handle is the text the client sent. Errors: SESSION_INVALID [handle]. */
int session_resume(struct call *c, struct ref secret, const char *handle, struct xerr *err);
/* The same by a reference that a client gave as an argument, which must name a session by its secret: the gates have made the
 * row's reference of it. */
int session_assume(struct call *c, struct ref given, struct xerr *err);
/* last_active is brought up to date when it is older than SESSION_TOUCH_S. For every call, and now and then during a
 * long transfer. Waits for the commit when it writes. */
void session_touch(struct call *c);
/* A session of the local superuser; sets c->session and the rest as session_resume does. */
int session_open_root(struct call *c, const char *originator, struct ref *ret_secret, struct xerr *err);
/* The name that pool.enable_client_certificate_auth wants, in the arena, when one of these is it (one a line; case does not
 * matter); else NULL. */
const char *session_certificate_user(const struct agent *agent, const char *names, struct arena *a);
/* Checks the password; the account's rights are this one call's, without a session. Errors: SESSION_AUTHENTICATION_FAILED. */
int session_assume_user(struct call *c, const char *user, const char *password, struct xerr *err);
/* A session for the call-backs of one storage driver's process: SCOPE_REPOSITORY, over the unix socket only. repository may be
 * null (a probe). making: NULL, or the disk that it makes ("UUID", or "UUID VM" when it is that VM's): records that it introduces are
 * unfinished until the call that had it made knows of them. *ret_session: the secret's text, malloc'd. */
int session_open_repository(struct agent *agent, struct ref repository, const char *making, char **ret_session, struct xerr *err);
/* A session for reading a dump, without the dump. Also sets *ret_session, the row's reference. */
int session_open_database(struct call *c, struct ref *ret_secret, struct ref *ret_session, struct xerr *err);
/* Ends the session of this text. */
void session_close_text(struct agent *agent, const char *session);
/* Ends it; a missing one is fine. key: the row's reference. */
void session_close(struct agent *agent, struct ref key);
/* The row's reference for a reference that a client gave as an argument: the key of a secret, or the row itself. */
struct ref session_argument(struct agent *agent, struct ref given);

/* Tells when the call's session ends. While it lasts the session is in use and does not expire. NULL for a call without a session. */
struct session_watch;
struct session_watch *session_watch_begin(const struct call *c);
/* fn(arg) runs once, from the hub's thread or at once, when the session ends or the agent stops. It must not block. */
void session_watch_set(struct session_watch *w, void (*fn)(void *arg), void *arg);
/* Afterwards fn does not run and will not. NULL is fine. */
void session_watch_end(struct session_watch *w);

/* Looks up again whom sessions belong to, when `auth-recheck` has passed: they end with the account, and their rights follow its
 * groups. While the directory does not answer they stay. Background work; blocks on the plug-in. */
void sessions_recheck(struct agent *agent);
/* Ends what has been idle for SESSION_IDLE_S, and what is left of storage drivers that have gone; returns how many. Background
 * work, every few minutes. */
size_t sessions_expire(struct agent *agent);

#endif
