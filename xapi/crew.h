/* A few threads that do, in the order of asking, what would keep a processor busy for long.
 * Called by: auth_source.c.  Calls: pthread. */
#ifndef XAPI_CREW_H
#define XAPI_CREW_H

#include "lib/util.h"

struct crew;

/* As many threads as the machine has processors, at a lower priority than all others: they leave no processor idle while
 * somebody waits for them, and take none from who has only little to do. name: theirs, at most 15 bytes. */
struct crew *crew_new(const char *name);
/* Nobody asks it any more. NULL is fine. */
void crew_free(struct crew *crew);

/* Has fn(arg) done by one of them, and waits for its end. */
void crew_do(struct crew *crew, void (*fn)(void *arg), void *arg);
/* Each of them is at something: what somebody waits for ends within the time of one piece of work. */
bool crew_is_busy(const struct crew *crew);

#endif
