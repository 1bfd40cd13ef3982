/* Class task: progress, results and cancellation, as clients see them.
 * Called by: rpc/, http/, jobs/, startup.  Calls: db/, live_task. */
#define LOG_MODULE "task"

#include "xapi/task.h"

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "xapi/call/live_task.h"

static bool is_final(int status)
{
    switch ((enum task_status_type)status) {
    case task_status_type_pending:
    case task_status_type_cancelling: return false;
    case task_status_type_success:
    case task_status_type_failure:
    case task_status_type_cancelled: return true;
    }
    return true;
}

/* ---- rows ---- */

int task_row_create(struct call *c, const char *label, const char *description, struct ref subtask_of,
                    struct ref *ret_task, struct xerr *err)
{
    struct ref task = ref_new();
    struct txn *t = db_begin(c->agent->db);

    if (snap_count(txn_snap(t), CLASS_task) >= LIMIT_TASKS) {
        db_abort(t);
        return xerr_too_many_pending_tasks(err);
    }
    txn_create(t, CLASS_task, task);
    txn_set_str(t, task, F_task_name_label, label);
    txn_set_str(t, task, F_task_name_description, description);
    txn_set_time(t, task, F_task_created, clock_wall_seconds());
    txn_set_enum(t, task, F_task_status, task_status_type_pending);
    txn_set_ref(t, task, F_task_resident_on, c->agent->host);
    txn_set_str(t, task, F_task_type, "<none/>");
    txn_set_bits(t, task, F_task_allowed_operations, UINT64_C(1) << task_allowed_operations_cancel);
    if (!ref_is_null(subtask_of) && snap_get(txn_snap(t), CLASS_task, subtask_of))
        txn_set_ref(t, task, F_task_subtask_of, subtask_of);
    if (!ref_is_null(c->session) && snap_get(txn_snap(t), CLASS_session, c->session)) {
        struct value mine = value_ref(task);
        txn_set_add(t, c->session, F_session_tasks, &mine);
    }
    if (db_commit(t, err)) return -1;
    *ret_task = task;
    return 0;
}

static void set_error_info(struct txn *t, struct ref task, const struct xerr *why)
{
    struct value items[XERR_MAX_PARAMS + 1] = { value_string(why->code) };

    for (size_t i = 0; i < why->n; i++) items[i + 1] = value_string(why->params[i]);
    struct value set = value_set(items, why->n + 1);
    txn_set_value(t, task, F_task_error_info, &set);
}

/* The changes that every end of a task makes. */
static void finish(struct txn *t, struct ref task, enum task_status_type status)
{
    struct value none = value_map(NULL, 0);

    txn_set_enum(t, task, F_task_status, (int)status);
    txn_set_time(t, task, F_task_finished, clock_wall_seconds());
    txn_set_float(t, task, F_task_progress, 1);   /* however it ended */
    txn_set_bits(t, task, F_task_allowed_operations, 0);
    txn_set_value(t, task, F_task_current_operations, &none);
}

void task_row_finish(struct agent *agent, struct ref task, const char *result, const struct xerr *why)
{
    struct txn *t = db_begin(agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_task, task);

    if (!row || is_final(row_enum(row, F_task_status))) {
        db_abort(t);
        return;
    }
    if (why && why->code) {
        bool cancelled = xerr_is(why, "TASK_CANCELLED");
        finish(t, task, cancelled ? task_status_type_cancelled : task_status_type_failure);
        set_error_info(t, task, why);
    } else {
        finish(t, task, task_status_type_success);
        txn_set_str(t, task, F_task_result, result ? result : "");
    }
    _cleanup_xerr_ struct xerr failed = XERR_INIT;
    size_t n = snap_count(txn_snap(t), CLASS_task);
    if (db_commit(t, &failed)) log_error("the end of task %s could not be stored: %s", REF_STR(task), failed.code);
    /* Background work comes once a minute; a storm of calls must not pile up until then. */
    if (n > LIMIT_FINISHED_TASKS && n % 64 == 0) tasks_collect(agent);
}

/* The session that made it, by its user; tasks nobody owns any more belong to operators. */
bool task_row_is_mine(const struct call *c, const struct snap *s, struct ref task)
{
    if (c->is_root || c->roles & 1u << ROLE_POOL_OPERATOR) return true;
    SNAP_EACH(s, CLASS_session, row) {
        if (!refset_has(row_refs(row, F_session_tasks), task)) continue;
        if (ref_eq(row_ref_of(row), c->session)) return true;
        /* A password instead of a session (HTTP Basic) knows the user by name. */
        if (ref_is_null(c->session)) return *c->user_name && streq(row_str(row, F_session_auth_user_name), c->user_name);
        const struct row *mine = snap_get(s, CLASS_session, c->session);
        return mine && *row_str(mine, F_session_auth_user_sid)
               && streq(row_str(mine, F_session_auth_user_sid), row_str(row, F_session_auth_user_sid));
    }
    return false;
}

/* The task leaves the sessions that own it, then goes. */
static void destroy_row(struct txn *t, struct ref task)
{
    struct value item = value_ref(task);
    struct ref owner = REF_NULL;

    SNAP_EACH(txn_snap(t), CLASS_session, row)
        if (refset_has(row_refs(row, F_session_tasks), task)) owner = row_ref_of(row);
    if (!ref_is_null(owner)) txn_set_remove(t, owner, F_session_tasks, &item);
    txn_destroy(t, CLASS_task, task);
}

/* ---- care ---- */

static void fail(struct txn *t, struct ref task, const char *reason)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    xerr_internal(&why, "%s", reason);
    finish(t, task, task_status_type_failure);
    set_error_info(t, task, &why);
}

int tasks_recover(struct agent *agent, struct xerr *err)
{
    struct txn *t = db_begin(agent->db);
    size_t n = 0, room = snap_count(txn_snap(t), CLASS_task);
    struct ref *open = xcalloc(room, sizeof(*open));

    SNAP_EACH(txn_snap(t), CLASS_task, row)
        if (!is_final(row_enum(row, F_task_status))) open[n++] = row_ref_of(row);
    for (size_t i = 0; i < n; i++)
        fail(t, open[i], "The management agent was restarted while this task was under way");
    free(open);
    if (n) log_info("%zu tasks were under way when the agent ended: they have failed", n);
    return db_commit(t, err);
}

struct old { struct ref ref; int64_t finished; };

static int by_age(const void *a, const void *b)
{
    const struct old *x = a, *y = b;

    return x->finished < y->finished ? -1 : x->finished > y->finished;
}

void tasks_collect(struct agent *agent)
{
    int64_t now = clock_wall_seconds();
    struct txn *t = db_begin(agent->db);
    size_t room = snap_count(txn_snap(t), CLASS_task), n_done = 0, n_stale = 0;
    struct old *done = xcalloc(room, sizeof(*done));
    struct ref *stale = xcalloc(room, sizeof(*stale));

    SNAP_EACH(txn_snap(t), CLASS_task, row) {
        if (is_final(row_enum(row, F_task_status)))
            done[n_done++] = (struct old){ row_ref_of(row), row_time(row, F_task_finished) };
        else if (now - row_time(row, F_task_created) > TASK_PENDING_S
                 && !live_task_runs(agent->tasks, row_ref_of(row)))
            stale[n_stale++] = row_ref_of(row);
    }
    qsort(done, n_done, sizeof(*done), by_age);
    size_t n_gone = 0;
    for (size_t i = 0; i < n_done; i++) {
        size_t left = n_done - i;
        int64_t age = now - done[i].finished;
        bool goes = age > TASK_KEEP_S || (left > TASK_KEEP && age > TASK_SHOW_S) || left > LIMIT_FINISHED_TASKS;
        if (!goes) break;
        destroy_row(t, done[i].ref);
        n_gone++;
    }
    for (size_t i = 0; i < n_stale; i++) fail(t, stale[i], "Nobody has worked on this task for a day");
    free(done);
    free(stale);
    if (!n_gone && !n_stale) {
        db_abort(t);
        return;
    }
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    if (db_commit(t, &why)) log_warn("old tasks could not be removed: %s", why.code);
}

/* ---- messages ---- */

int task_create(struct call *c, const char *label, const char *description, struct ref *ret_result,
                struct xerr *err)
{
    return task_row_create(c, label, description, REF_NULL, ret_result, err);
}

/* A transaction on a task of the caller's. On failure nothing is open. */
static struct txn *begin_mine(struct call *c, struct ref self, const char *message, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!snap_need(txn_snap(t), CLASS_task, self, err)) {
        db_abort(t);
        return NULL;
    }
    if (!task_row_is_mine(c, txn_snap(t), self)) {
        db_abort(t);
        xerr_rbac_permission_denied(err, message, "The task belongs to another user");
        return NULL;
    }
    return t;
}

int task_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = begin_mine(c, self, "task.destroy", err);

    if (!t) return -1;
    /* A call that still runs is told to stop: nobody could see it any more. */
    live_task_cancel(c->agent->tasks, self);
    destroy_row(t, self);
    return db_commit(t, err);
}

/* A task whose call runs here becomes `cancelling` and ends when the call notices; one that nobody works on is
 * cancelled at once; a finished one stays as it is. A synchronous call's task has no row. */
int task_cancel(struct call *c, struct ref task, struct xerr *err)
{
    bool runs = live_task_runs(c->agent->tasks, task);

    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (runs && !snap_get(s, CLASS_task, task)) {
            if (!c->is_root && !(c->roles & 1u << ROLE_POOL_OPERATOR))
                return xerr_rbac_permission_denied(err, "task.cancel", "The task belongs to another user");
            live_task_cancel(c->agent->tasks, task);
            return 0;
        }
    }
    struct txn *t = begin_mine(c, task, "task.cancel", err);
    if (!t) return -1;
    const struct row *row = snap_get(txn_snap(t), CLASS_task, task);
    if (is_final(row_enum(row, F_task_status))) {
        db_abort(t);
        return 0;
    }
    runs = live_task_cancel(c->agent->tasks, task);
    if (runs) {
        struct value op = value_string("cancel");
        txn_set_enum(t, task, F_task_status, task_status_type_cancelling);
        txn_set_bits(t, task, F_task_allowed_operations, 0);
        txn_map_put(t, task, F_task_current_operations, REF_STR(c->task->ref), &op);
    } else {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        xerr_task_cancelled(&why, REF_STR(task));
        finish(t, task, task_status_type_cancelled);
        set_error_info(t, task, &why);
    }
    return db_commit(t, err);
}

int task_set_status(struct call *c, struct ref self, enum task_status_type value, struct xerr *err)
{
    struct txn *t = begin_mine(c, self, "task.set_status", err);

    if (!t) return -1;
    if (is_final((int)value)) finish(t, self, value);
    else txn_set_enum(t, self, F_task_status, (int)value);
    return db_commit(t, err);
}

int task_set_progress(struct call *c, struct ref self, double value, struct xerr *err)
{
    if (!(value >= 0 && value <= 1)) return xerr_value_not_supported(err, "progress", "", "it is between 0 and 1");
    struct txn *t = begin_mine(c, self, "task.set_progress", err);
    if (!t) return -1;
    txn_set_float(t, self, F_task_progress, value);
    return db_commit(t, err);
}

int task_set_result(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    if (strlen(value) > LIMIT_TASK_RESULT) return xerr_value_not_supported(err, "result", "", "it is too long");
    struct txn *t = begin_mine(c, self, "task.set_result", err);
    if (!t) return -1;
    txn_set_str(t, self, F_task_result, value);
    return db_commit(t, err);
}

int task_set_error_info(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    struct txn *t = begin_mine(c, self, "task.set_error_info", err);

    if (!t) return -1;
    txn_set_value(t, self, F_task_error_info, value);
    return db_commit(t, err);
}

/* other_config: anybody may write it on his own tasks. */
int task_set_other_config(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    struct txn *t = begin_mine(c, self, "task.set_other_config", err);

    if (!t) return -1;
    txn_set_value(t, self, F_task_other_config, value);
    return db_commit(t, err);
}

int task_add_to_other_config(struct call *c, struct ref self, const char *key, const char *value, struct xerr *err)
{
    struct txn *t = begin_mine(c, self, "task.add_to_other_config", err);
    struct value text = value_string(value);

    if (!t) return -1;
    txn_map_add(t, self, F_task_other_config, key, &text);
    return db_commit(t, err);
}

int task_remove_from_other_config(struct call *c, struct ref self, const char *key, struct xerr *err)
{
    struct txn *t = begin_mine(c, self, "task.remove_from_other_config", err);

    if (!t) return -1;
    txn_map_remove(t, self, F_task_other_config, key);
    return db_commit(t, err);
}
