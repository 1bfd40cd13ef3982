/* Sessions that read a dump of a database instead of the database.
 * Called by: rpc/, session.c.  Calls: pool_db, db/. */
#ifndef XAPI_SESSION_DB_H
#define XAPI_SESSION_DB_H

#include "xapi/call/call.h"

/* The dumps that are open now: at most LIMIT_DUMP_SESSIONS, each as large as LIMIT_POOL_DUMP allows. */
struct session_dbs;

struct session_dbs *session_dbs_new(void);
/* No call may run. NULL is fine. */
void session_dbs_free(struct session_dbs *dbs);

/* The database of a SCOPE_DATABASE session until session_db_done(); NULL when it is not open (any more). */
struct db *session_db_use(struct agent *agent, struct ref session);
void session_db_done(struct agent *agent, struct ref session);
/* True while the session's dump is open. */
bool session_db_is_open(struct agent *agent, struct ref session);
/* A new session that reads this dump (pool_db.h). what: where it came from, for the log. *ret_secret: the session as its client
 * names it. Errors: pool_db_load()'s; TOO_MANY_PENDING_TASKS. */
int session_db_open(struct call *c, const char *text, size_t len, const char *what, struct ref *ret_secret,
                    struct xerr *err);
/* Closes the dumps whose sessions have gone. */
void session_dbs_tidy(struct agent *agent);

#endif
