/* Whose request runs next, when several clients want the processors at once.
 * Called by: conn.c, server.c.  Calls: lib/map.
 *
 * While one client alone is heard of, nothing is held up. With two or more in a second, no session takes all
 * processors (and no address, with several addresses): what is too much waits, by address and session in
 * turn, and holds no thread; what runs while more of its session waits is less urgent to the kernel. A thread
 * that waits for the disk does not count: many writers share one fsync. A client of whom much waits already is
 * not read from. */
#ifndef XAPI_HTTP_GATE_H
#define XAPI_HTTP_GATE_H

#include "xapi/http/server.h"

struct conn;
struct exchange;
struct gate;
struct gate_flow;

/* wake(arg): some thread shall call gate_next(); any locks may be held. */
struct gate *gate_new(void (*wake)(void *arg), void *arg);
void gate_free(struct gate *g);
/* How many processors this process may use. */
unsigned gate_processors(const struct gate *g);

/* True: the request runs now, on this thread, and gate_leave() follows. False: it waits, and is another
 * thread's from now on. */
bool gate_enter(struct gate *g, struct exchange *x);
void gate_leave(struct gate *g, struct gate_flow *flow);
/* A request whose turn it is, as if gate_enter() had just let it in; NULL = none. */
struct exchange *gate_next(struct gate *g);
/* True: so much of this client waits that the connection is not to be read now; it comes back through
 * conn_kick(). */
bool gate_holds(struct gate *g, struct conn *c);
/* The thread that runs an admitted request begins or ends to wait for the disk. */
void gate_disk(struct gate *g, bool waits);

struct gate_stats { unsigned running, waiting, stalled, flows; };
void gate_stats(struct gate *g, struct gate_stats *ret_stats);

#endif
