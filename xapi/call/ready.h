/* Whether the agent has begun wholly. It listens as soon as the database is there: what is answered from that alone is
 * answered at once; what needs the hypervisor, storage or the network waits until these have been compared with it.
 * Called by: main.c (sets it), rpc/, http/ (wait).  Calls: libc. */
#ifndef CALL_READY_H
#define CALL_READY_H

#include "xapi/call/call.h"

struct ready *ready_new(void);
/* Nobody may wait any more. NULL is fine. */
void ready_free(struct ready *r);
/* The agent serves everything from now on. */
void ready_set(struct ready *r);
/* It never will: those who wait are told now. NULL is fine. */
void ready_give_up(struct ready *r);
/* NULL is ready: an agent without such a start (tests). */
bool ready_is(const struct ready *r);

/* 0 at once when the agent is ready, else as soon as it is. Blocks. Errors: HOST_STILL_BOOTING after half a minute,
 * TASK_CANCELLED. */
int call_wait_ready(struct call *c, struct xerr *err);

#endif
