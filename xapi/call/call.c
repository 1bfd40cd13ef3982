/* Calls: cancellation, messages sent from within a call, and the agent's own calls.
 * Called by: class files, rpc/, jobs/.  Calls: live_task. */
#include "xapi/call/call.h"

#include "xapi/call/live_task.h"

#include <assert.h>

int call_check_cancel(struct call *c, struct xerr *err)
{
    assert(c->magic == CALL_MAGIC);
    return call_cancelled(c) ? xerr_task_cancelled(err, REF_STR(c->task->ref)) : 0;
}

int call_message(struct call *c, const char *method, const struct value *args, size_t n, struct value *ret_result,
                 struct xerr *err)
{
    assert(c->magic == CALL_MAGIC && err);
    return c->agent->call_message(c, method, args, n, ret_result, err);
}

struct call *call_new_internal(struct agent *agent, const char *what)
{
    struct arena *arena = arena_new();
    struct call *c = arena_zalloc(arena, sizeof(*c));

    c->magic = CALL_MAGIC;
    c->agent = agent;
    c->arena = arena;
    c->is_root = true;
    c->roles = ~0u;
    c->user_name = "";
    c->originator = arena_strdup(arena, what);
    c->peer = "internal";
    c->local = true;
    c->task = live_task_begin(agent->tasks, ref_new(), false);
    return c;
}

void call_free_internal(struct call *c)
{
    if (!c) return;
    assert(c->magic == CALL_MAGIC);
    c->magic = 0;
    live_task_end(c->agent->tasks, c->task);
    arena_free(c->arena);
}
