/* The background work that merges what deleted snapshots leave in repositories.
 * Called by: main.c.  Calls: sr.h. */
#ifndef XAPI_JOBS_GC_H
#define XAPI_JOBS_GC_H

#include "xapi/call/call.h"

struct gc;

/* One thread, one merge at a time: a repository is looked at again when its disks have changed, at most every
 * coalesce-interval, whichever agent it was the last time. A failure is tried again later and becomes an alert when it lasts. */
struct gc *gc_start(struct agent *agent);
/* Ends the merge under way, which loses nothing. NULL is fine. */
void gc_stop(struct gc *gc);

#endif
