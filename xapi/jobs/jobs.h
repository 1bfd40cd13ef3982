/* Background work: one table of what is done how often, on one thread.
 * Called by: main.c.  Calls: class files. */
#ifndef XAPI_JOBS_JOBS_H
#define XAPI_JOBS_JOBS_H

#include "xapi/call/call.h"

struct jobs;

struct jobs *jobs_start(struct agent *agent);
/* Waits for the job that runs. NULL is fine. */
void jobs_stop(struct jobs *jobs);

#endif
