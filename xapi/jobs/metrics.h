/* Background work: reads this host's and its guests' counters every five seconds into their metrics.
 * Called by: main.c.  Calls: hv/, net/, rrd/, db/, /proc. */
#ifndef XAPI_JOBS_METRICS_H
#define XAPI_JOBS_METRICS_H

#include "xapi/call/call.h"

struct metrics;

/* agent->rrds is there already. */
struct metrics *metrics_start(struct agent *agent);
/* Waits for the round that runs, then writes everything. NULL is fine. */
void metrics_stop(struct metrics *m);

#endif
