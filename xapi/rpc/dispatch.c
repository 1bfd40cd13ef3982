/* One call through the gates: method, arity, session, values, role, task, operation, behaviour, audit.
 * Called by: http/, the CLI, class files (call_message).  Calls: everything in rpc/, class files by their thunks. */
#define LOG_MODULE "rpc"

#include <assert.h>
#include <stdio.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/crash.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/xmlrpc.h"
#include "xapi/call/live_task.h"
#include "xapi/call/ready.h"
#include "xapi/pool_role.h"
#include "xapi/rpc/audit.h"
#include "xapi/rpc/coerce.h"
#include "xapi/rpc/oplock.h"
#include "xapi/rpc/rbac.h"
#include "xapi/rpc/rpc.h"
#include "xapi/session.h"
#include "xapi/session_db.h"
#include "xapi/task.h"

enum {
    OPERATION_WAIT_MS = 10000,
    WRONG_PASSWORD_DELAY_MS = 1000,
    WRITERS_INLINE = 40,           /* on workers at a time (of 64): a disk that stalls must leave some for readers */
};

/* ---- the checks ---- */

/* Parameters behind the session: how many must there be, how many are there. */
static int check_arity(const struct method_desc *m, size_t n_sent, struct xerr *err)
{
    size_t session = m->session ? 1 : 0, least = 0;
    char expected[24], received[24];

    for (unsigned i = 0; i < m->n_params; i++) least += !m->params[i].optional;
    if (n_sent >= session + least && n_sent <= session + m->n_params) return 0;
    snprintf(expected, sizeof(expected), "%zu", least);
    snprintf(received, sizeof(received), "%ld", (long)n_sent - (long)session);
    return xerr_message_parameter_count_mismatch(err, m->name, expected, received);
}

/* What the i-th value of a request is called; the session comes first. */
static const char *name_of(const struct method_desc *m, size_t i)
{
    size_t session = m->session ? 1 : 0;

    return i < session ? "session_id" : m->params[i - session].name;
}

static bool is_optional(const struct method_desc *m, size_t i)
{
    size_t session = m->session ? 1 : 0;

    return i >= session && m->params[i - session].optional;
}

/* Parameters by name (JSON-RPC 2.0) in the model's order, up to the first that must be there and is not.
 * Errors: FIELD_TYPE_ERROR [name] for one that the message does not have. */
static int in_order(struct call *c, const struct method_desc *m, const struct value *named, struct value *ret_list,
                    struct xerr *err)
{
    size_t most = (m->session ? 1u : 0u) + m->n_params, n = 0;
    struct value *items = arena_new_array(c->arena, struct value, most);

    for (size_t k = 0; k < named->map.n; k++) {
        size_t i = 0;
        while (i < most && !streq(name_of(m, i), named->map.members[k].key)) i++;
        if (i == most) return xerr_field_type_error(err, named->map.members[k].key);
    }
    for (size_t i = 0; i < most; i++) {
        const struct value *v = value_get(named, name_of(m, i));
        if (!v && !is_optional(m, i)) break;
        items[i] = v ? *v : m->params[i - (m->session ? 1 : 0)].fallback;
        if (v) n = i + 1;
    }
    *ret_list = value_set(items, n);
    return 0;
}

static int resume(struct call *c, const struct value *param, struct xerr *err)
{
    struct ref secret = REF_NULL;
    const char *text = param->kind == VALUE_STRING ? param->s : "";

    if (param->kind == VALUE_REF) secret = param->ref;
    else if (!ref_parse(text, &secret)) return xerr_session_invalid(err, text);
    if (session_resume(c, secret, text, err)) return -1;
    session_touch(c);
    return 0;
}

static int check_args(struct call *c, const struct method_desc *m, const struct value *sent, size_t n,
                      const struct value **ret_args, struct xerr *err)
{
    struct value *args = arena_new_array(c->arena, struct value, m->n_params);

    for (unsigned i = 0; i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];
        if (i >= n) args[i] = p->fallback;
        else if (coerce(c, p->type, p->name, &sent[i], &args[i], err)) return -1;
    }
    *ret_args = args;
    return 0;
}

static bool has_behaviour(const struct method_desc *m)
{
    return fields_serve(m) || (m->thunk && m->behaviour);
}

static int find_method(const char *name, const struct method_desc **ret_method, bool *ret_async, struct xerr *err)
{
    bool async = has_prefix(name, "Async.");
    const struct method_desc *m = model_method(async ? name + 6 : name);

    if (!m || (async && !m->async)) return xerr_message_method_unknown(err, name);
    *ret_method = m;
    *ret_async = async;
    return 0;
}

/* ---- running ---- */

/* A function that failed without saying why, or said why and did not fail, must not confuse the client. */
static int settle(const struct method_desc *m, int rc, struct xerr *err)
{
    if (rc && !err->code) return xerr_internal(err, "%s failed without saying why", m->name);
    if (!rc && err->code) {
        log_error("%s succeeded and left the error %s", m->name, err->code);
        xerr_clear(err);
    }
    return rc ? -1 : 0;
}

/* A session that reads a dump: the same accessors on another database, and what takes VMs out of it. */
static int read_dump(struct call *c, const struct method_desc *m, const struct value *args, struct rpc_result *r,
                     struct xerr *err)
{
    struct agent there = *c->agent;
    struct call other = *c;
    struct value result;

    there.db = session_db_use(c->agent, c->session);
    if (!there.db) return xerr_session_invalid(err, REF_STR(c->handle));
    other.agent = &there;
    other.home = c->agent;
    int rc;
    if (fields_serve(m)) {
        rc = fields_call(&other, m, args, r, err);
    } else {
        rc = settle(m, m->thunk(&other, args, &result, err), err);
        if (!rc && r->out) rpc_result_set(c, r, &result);
        else if (!rc) r->value = result;
    }
    session_db_done(c->agent, c->session);
    return rc;
}

/* Operations and behaviour. key: what current_operations names the call by. */
static int run_message(struct call *c, const struct oplocks *oplocks, const char *key, const struct value *args,
               struct rpc_result *r, struct xerr *err)
{
    const struct method_desc *m = c->method;
    struct oplock lock;
    struct value result;

    if (c->scope == SCOPE_DATABASE && m->cls != CLASS_session) return read_dump(c, m, args, r, err);
    if (fields_serve(m)) return fields_call(c, m, args, r, err);
    if (!has_behaviour(m)) return xerr_not_implemented(err, m->name);
    if (oplock_take(c, oplocks, m, args, key, m->blocks ? OPERATION_WAIT_MS : 0, &lock, err)) return -1;
    const uint64_t failures = db_failures(c->agent->db);
    int rc = settle(m, m->thunk(c, args, &result, err), err);
    oplock_release(c, &lock, db_failures(c->agent->db) != failures);
    if (rc) return -1;
    /* What a class function returns lives in the call's arena. */
    if (r->out) rpc_result_set(c, r, &result);
    else r->value = result;
    return 0;
}

/* What it is called on. */
static struct ref object_of(const struct method_desc *m, const struct value *args)
{
    return m->n_params && args[0].kind == VALUE_REF ? args[0].ref : REF_NULL;
}

static int run(struct call *c, const struct oplocks *oplocks, const char *key, const struct value *args, struct rpc_result *r,
               struct xerr *err)
{
    const struct crash_work before = crash_begin(c->method->name, object_of(c->method, args));
    int rc = run_message(c, oplocks, key, args, r, err);

    crash_end(&before);
    return rc;
}

/* ---- calls from clients ---- */

struct rpc_call *rpc_call_new(struct agent *agent, struct arena *arena, const struct rpc_origin *origin)
{
    struct rpc_call *rc = arena_zalloc(arena, sizeof(*rc));

    rc->rpc = agent->rpc;
    rc->origin = *origin;
    rc->call = (struct call){
        .magic = CALL_MAGIC, .agent = agent, .arena = arena, .is_root = origin->trusted,
        .roles = origin->trusted ? ~0u : 0, .user_name = "", .originator = "", .peer = origin->peer, .certificate = origin->certificate,
        .local = origin->local, .task = &rc->quiet,
    };
    return rc;
}

static int check(struct rpc_call *rc, const struct value *params, struct xerr *err)
{
    struct call *c = &rc->call;
    const struct method_desc *m = c->method;
    size_t session = m->session ? 1 : 0;

    if (check_arity(m, params->set.n, err)) return -1;
    if (m->session) {
        if (resume(c, &params->set.items[0], err)) return -1;
        if (m->lifecycle == LIFE_REMOVED) return xerr_message_removed(err);
    }
    if (check_args(c, m, params->set.items + session, params->set.n - session, &rc->args, err)) return -1;
    if (m->session && (rbac_check(c, m, rc->args, err) || scope_check(c, m, rc->args, err))) return -1;
    return has_behaviour(m) ? 0 : xerr_not_implemented(err, m->name);
}

static int prepare_events(struct rpc_call *rc, struct xerr *err)
{
    if (rc->call.method->behaviour && streq(rc->call.method->message, "next"))
        return event_request_next(&rc->call, &rc->events, err);
    return event_request_from(&rc->args[0], rc->args[1].s, rc->args[2].d, &rc->events, err);
}

static bool waits_for_events(const struct method_desc *m)
{
    return m->cls == CLASS_event && (streq(m->message, "from") || streq(m->message, "next"));
}

/* Whether the agent must be ready; else the database alone answers. What a storage driver asks while it is being attached
 * cannot wait for that. */
static bool needs_resources(const struct call *c)
{
    const struct method_desc *m = c->method;

    return c->scope != SCOPE_REPOSITORY && !fields_serve(m) && m->cls != CLASS_session && m->cls != CLASS_event && m->cls != CLASS_task;
}

/* True when the call may last. A login without a password to check does not. */
static bool may_block(const struct rpc_call *rc)
{
    const struct method_desc *m = rc->call.method;

    if (!m->session && rc->origin.local && rc->origin.trusted) return false;
    return m->blocks || rc->async || (needs_resources(&rc->call) && !ready_is(rc->call.agent->ready));
}

/* Logins of one address are not all there can be. */
static struct ref place_of_address(const char *peer)
{
    static const uint64_t any_key[2] = { 1, 2 };

    return (struct ref){ UINT64_C(0x61646472657373), map_siphash(peer, strlen(peer), any_key) };
}

static int take_place(struct rpc_call *rc, struct xerr *err)
{
    const struct call *c = &rc->call;

    rc->place = (struct rpc_place){ c->session, oplock_repository(c, rpc_oplocks(rc->rpc), c->method, rc->args) };
    if (ref_is_null(c->session) && !c->local) rc->place.sr = place_of_address(c->peer);
    if (rpc_count_in(rc->rpc, rc->place, err)) return -1;
    rc->counted = true;
    return 0;
}

static bool only_reads(const struct method_desc *m)
{
    return m->kind == METHOD_GET || (m->kind >= METHOD_GET_RECORD && m->kind <= METHOD_GET_BY_NAME_LABEL);
}

static enum rpc_step step_of(const struct rpc_call *rc)
{
    if (rc->async) return RPC_ASYNC;
    if (rc->counted) return RPC_THREAD;
    if (only_reads(rc->call.method)) return RPC_INLINE;
    return atomic_load(rpc_writers(rc->rpc)) < WRITERS_INLINE ? RPC_INLINE : RPC_THREAD;
}

int rpc_prepare(struct rpc_call *rc, const char *method, const struct value *params, enum rpc_step *ret_step,
                struct xerr *err)
{
    struct call *c = &rc->call;

    if (find_method(method, &c->method, &rc->async, err)) return -1;
    const struct method_desc *m = c->method;
    struct value list = *params;
    int rc_check = pool_role_check(c->agent->role, m->local, err);
    if (!rc_check && list.kind == VALUE_MAP) rc_check = in_order(c, m, params, &list, err);
    if (!rc_check) rc_check = check(rc, &list, err);
    if (!rc_check && waits_for_events(m)) rc_check = prepare_events(rc, err);
    else if (!rc_check && may_block(rc)) rc_check = take_place(rc, err);
    if (rc_check) {
        audit_call(rpc_audit(rc->rpc), c, m, rc->async, rc->args, err);
        return -1;
    }
    if (waits_for_events(m)) {
        audit_call(rpc_audit(rc->rpc), c, m, false, rc->args, NULL);
        *ret_step = RPC_EVENTS;
        return 0;
    }
    *ret_step = step_of(rc);
    return 0;
}

/* The task of a call: one that task.cancel finds when the call may last, else only a name for its operations. */
static void begin_task(struct rpc_call *rc)
{
    struct call *c = &rc->call;

    if (fields_serve(c->method)) return;
    if (c->method->blocks) {
        c->task = live_task_begin(c->agent->tasks, ref_new(), false);
        log_set_call(c->task->uuid);
    } else {
        rc->quiet.ref = ref_new();
    }
}

static void end_task(struct rpc_call *rc)
{
    struct call *c = &rc->call;

    if (c->task == &rc->quiet) return;
    live_task_end(c->agent->tasks, c->task);
    c->task = &rc->quiet;
    log_set_call("");
}

int rpc_perform(struct rpc_call *rc, struct rpc_result *r, struct xerr *err)
{
    struct call *c = &rc->call;
    char key[REF_TEXT];

    assert(c->magic == CALL_MAGIC && c->method);
    bool writes = !rc->counted && !only_reads(c->method);
    if (writes) atomic_fetch_add(rpc_writers(rc->rpc), 1);
    begin_task(rc);
    int failed = needs_resources(c) ? call_wait_ready(c, err) : 0;
    if (!failed) failed = run(c, rpc_oplocks(rc->rpc), ref_text(c->task->ref, key), rc->args, r, err);
    end_task(rc);
    if (writes) atomic_fetch_sub(rpc_writers(rc->rpc), 1);
    audit_call(rpc_audit(rc->rpc), c, c->method, false, rc->args, failed ? err : NULL);
    if (failed && !c->method->session && xerr_is(err, "SESSION_AUTHENTICATION_FAILED"))
        rc->delay_ms = WRONG_PASSWORD_DELAY_MS;
    return failed;
}

void rpc_call_end(struct rpc_call *rc)
{
    if (rc->counted) rpc_count_out(rc->rpc, rc->place);
    rc->counted = false;
    event_sub_unref(take_ptr(rc->events.sub));
}

/* ---- Async ---- */

static void run_async(void *arg)
{
    struct rpc_call *rc = arg;
    struct call *c = &rc->call;
    struct arena *arena = c->arena;
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct rpc_result r = { .out = &text, .encoding = ENCODING_XML };
    char key[REF_TEXT];

    log_set_call(c->task->uuid);
    int failed = call_check_cancel(c, &err) || (needs_resources(c) && call_wait_ready(c, &err))
                 || run(c, rpc_oplocks(rc->rpc), ref_text(c->task->ref, key), rc->args, &r, &err);
    audit_call(rpc_audit(rc->rpc), c, c->method, true, rc->args, failed ? &err : NULL);
    /* The result of a message without one is no fragment at all. */
    bool none = c->method->result->kind == TYPE_VOID;
    task_row_finish(c->agent, c->task->ref, none ? "" : strbuf_cstr(&text), failed ? &err : NULL);
    live_task_end(c->agent->tasks, c->task);
    log_set_call("");
    rpc_call_end(rc);
    arena_free(arena);
}

/* The call again, in an arena of its own: the request's ends with the answer. */
static struct rpc_call *move_out(const struct rpc_call *rc)
{
    struct arena *a = arena_new();
    struct rpc_call *own = arena_alloc(a, sizeof(*own));
    const struct method_desc *m = rc->call.method;
    struct value *args = arena_new_array(a, struct value, m->n_params);

    *own = *rc;
    own->call.arena = a;
    own->call.user_name = arena_strdup(a, rc->call.user_name);
    own->call.originator = arena_strdup(a, rc->call.originator);
    own->call.certificate = own->origin.certificate = NULL;    /* only a login asks for it */
    own->call.peer = own->origin.peer = arena_strdup(a, rc->call.peer);
    for (unsigned i = 0; i < m->n_params; i++) args[i] = value_copy(a, &rc->args[i]);
    own->args = args;
    return own;
}

int rpc_start_async(struct rpc_call *rc, struct ref *ret_task, struct xerr *err)
{
    struct call *c = &rc->call;
    _cleanup_free_ char *label = xasprintf("Async.%s", c->method->name);
    struct ref task;

    if (task_row_create(c, label, "", rc->origin.subtask_of, &task, err)) return -1;
    struct rpc_call *own = move_out(rc);
    own->call.task = live_task_begin(c->agent->tasks, task, true);
    if (rpc_spawn(rc->rpc, run_async, own, err)) {
        live_task_end(c->agent->tasks, own->call.task);
        arena_free(own->call.arena);
        task_row_finish(c->agent, task, "", err);
        return -1;
    }
    rc->counted = false;               /* the place is the thread's now */
    *ret_task = task;
    return 0;
}

/* ---- messages within calls ---- */

/* Operations go under the outer call's task: what it holds, its inner calls may use. No audit line: the outer call has one. */
int rpc_call_message(struct call *c, const char *method, const struct value *sent, size_t n, struct value *ret_result,
                     struct xerr *err)
{
    struct call child = *c;
    struct rpc_result r = { .out = NULL };
    const struct value *args;
    char key[REF_TEXT];
    bool async;

    if (find_method(method, &child.method, &async, err)) return -1;
    const struct method_desc *m = child.method;
    if (async) return xerr_message_method_unknown(err, method);
    if (check_arity(m, n + (m->session ? 1 : 0), err)) return -1;
    if (m->lifecycle == LIFE_REMOVED) return xerr_message_removed(err);
    if (check_args(&child, m, sent, n, &args, err)) return -1;
    if (m->session && rbac_check(&child, m, args, err)) return -1;
    if (run(&child, rpc_oplocks(c->agent->rpc), ref_text(c->task->ref, key), args, &r, err)) return -1;
    if (ret_result) *ret_result = r.value;
    return 0;
}

/* ---- what there is ---- */

/* Whether the Async form is worth a line: reading a field or a record never takes time. Clients that look for classes
 * take every name before a ".get_all_records" for one, so the list must hold no "Async.VM.get_all_records". */
static bool list_async(const struct method_desc *m)
{
    return m->async && (m->explicit_message || m->kind == METHOD_CREATE || m->kind == METHOD_DESTROY) &&
           !has_prefix(m->message, "get_all");
}

struct value rpc_list_methods(struct arena *a)
{
    struct value_builder b = value_builder(a);

    value_push(&b, value_string("system.listMethods"));
    for (unsigned i = 0; i < model.n_methods; i++) {
        const struct method_desc *m = &model.methods[i];
        if (m->internal) continue;
        value_push(&b, value_string(m->name));
        if (list_async(m)) value_push(&b, value_string(arena_printf(a, "Async.%s", m->name)));
    }
    return value_built_set(&b);
}

bool rpc_has_behaviour(const struct method_desc *m)
{
    return m->lifecycle == LIFE_REMOVED || has_behaviour(m);
}
