/* The calls in flight in this process, by task reference: where task.cancel and progress meet a running call.
 * Called by: call.c, rpc/, xapi/task.c.  Calls: db/.
 *
 * Lock: the table's mutex, held for a lookup only, never while calling out. */
#ifndef CALL_LIVE_TASK_H
#define CALL_LIVE_TASK_H

#include "xapi/call/call.h"

struct live_tasks *live_tasks_new(void);
/* Every live task must be gone. NULL is fine. */
void live_tasks_free(struct live_tasks *all);

/* Registers a task in flight. ref is its row's when in_db, else any fresh one. Ended by live_task_end(). */
struct live_task *live_task_begin(struct live_tasks *all, struct ref ref, bool in_db);
/* NULL is fine. */
void live_task_end(struct live_tasks *all, struct live_task *task);

/* Tells the running call to stop. False when no call of this task runs here. */
bool live_task_cancel(struct live_tasks *all, struct ref ref);
/* True while a call of this task runs here. */
bool live_task_runs(struct live_tasks *all, struct ref ref);
/* How many calls run (for the shutdown log and tests). */
size_t live_tasks_count(struct live_tasks *all);
/* Asks every running call to stop: the daemon is ending. */
void live_tasks_cancel_all(struct live_tasks *all);

#endif
