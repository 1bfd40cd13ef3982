/* What malloc keeps of the system's memory, and gives back.
 * Called by: xapi/main.c, xapi/jobs/jobs.c.  Calls: malloc. */
#ifndef LIB_MEMORY_H
#define LIB_MEMORY_H

#include "lib/util.h"

/* Once, before the first thread. */
void memory_tune(void);

/* Gives back what is free when a little more is resident and unused than after the last time; every second or so.
 * *unused, bytes: what it left then, 0 at first. */
void memory_return(size_t *unused);

#endif
