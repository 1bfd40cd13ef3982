/* Room for one more session: what keeps the number of an originator's, and of a directory user's, sessions bounded.
 * Called by: session.c.  Calls: db/. */
#ifndef XAPI_SESSION_ROOM_H
#define XAPI_SESSION_ROOM_H

#include "db/db.h"

struct session_room;

struct session_room *session_room_new(void);
/* NULL is fine. */
void session_room_free(struct session_room *r);

/* In the transaction, which the caller makes one session of this originator and user in: the least recently used one of the
 * originator's goes when there are LIMIT_SESSIONS, and likewise of the user's (sid: "" = no directory's). One program that
 * forgets to log out does not push out the others. */
void session_room_make(struct session_room *r, struct txn *t, const char *originator, const char *sid);
/* That transaction is not on disk: what is known by it does not count. */
void session_room_forget(struct session_room *r);

#endif
