/* The gate of operations: what a message does to an object is recorded in current_operations while it runs, and what
 * may not begin beside it is refused.
 * Called by: dispatch.c.  Calls: lifecycle, live_task, db/. */
#ifndef RPC_OPLOCK_H
#define RPC_OPLOCK_H

#include "xapi/call/call.h"

/* The rules of the messages, found by message. Made once. */
struct oplocks;
struct oplocks *oplocks_new(void);
void oplocks_free(struct oplocks *all);

/* The storage repository that the message works on, or null. */
struct ref oplock_repository(const struct call *c, const struct oplocks *all, const struct method_desc *m,
                             const struct value *args);

/* The operations of one call. In the call's arena. */
struct oplock_taken {
    enum class_id cls;
    struct ref ref;
};
struct oplock {
    const char *key;                   /* in current_operations */
    struct oplock_taken *taken;
    size_t n;
};

/* In one transaction: checks each operation of the message against the lifecycle tables, records it under `key` (the
 * task's reference), and refreshes allowed_operations. All of them or none. An object that is recorded under this key
 * already stays the outer call's. On repositories and images it waits up to
 * `wait_ms` for others to end. A message without operations takes nothing.
 * Errors: the lifecycle's, TASK_CANCELLED. */
int oplock_take(struct call *c, const struct oplocks *all, const struct method_desc *m, const struct value *args,
                const char *key, int wait_ms, struct oplock *ret_lock, struct xerr *err);
/* Whatever came of the call, and also when the object is gone. doubtful: a commit failed meanwhile, so the VMs that the call was on may be
 * other than their records say (vm_doubt). */
void oplock_release(struct call *c, struct oplock *lock, bool doubtful);

#endif
