/* Tasks with a row: those of Async calls and those clients make.
 * Called by: rpc/, http/, jobs/, startup.  Calls: db/, live_task, xmlrpc. */
#ifndef XAPI_TASK_H
#define XAPI_TASK_H

#include "xapi/call/call.h"

enum {
    TASK_KEEP_S = 65 * 60,            /* a finished task is kept this long */
    TASK_KEEP = 200,                  /* and this many of them; the oldest go first, ... */
    TASK_SHOW_S = 30,                 /* ... but none before its client could have seen its end, ... */
    TASK_PENDING_S = 24 * 3600,       /* an unfinished one that nobody works on fails after this long */
};

/* A pending task, durable when this returns, owned by the call's session. subtask_of: null when none. */
int task_row_create(struct call *c, const char *label, const char *description, struct ref subtask_of,
                    struct ref *ret_task, struct xerr *err);
/* Its end: success with result (an encoded XML-RPC <value>, "" for none) when why is NULL or unset, else cancelled
 * (TASK_CANCELLED) or failed with the error. A task that is final already, or gone, stays as it is. */
void task_row_finish(struct agent *agent, struct ref task, const char *result, const struct xerr *why);
/* True when the call's session may change this task: its own, another of the same user, or pool-operator. */
bool task_row_is_mine(const struct call *c, const struct snap *s, struct ref task);

/* Startup: every task that was under way fails, because the call that worked on it is gone. Client-made tasks too: the
 * transfer that carried them ended with the process. */
int tasks_recover(struct agent *agent, struct xerr *err);
/* Forgets old finished tasks and fails forgotten unfinished ones. Background work, every minute. */
void tasks_collect(struct agent *agent);

#endif
