/* The gates: arguments, roles, operations, limits, tasks, audit.
 * Called by: make check.  Calls: rpc/, with class functions of its own. */
#include "tests/unit/rpc-fixture.h"

#include <unistd.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/xmlrpc.h"
#include "xapi/auth.h"
#include "xapi/rpc/audit.h"
#include "xapi/rpc/coerce.h"
#include "xapi/rpc/oplock.h"
#include "xapi/rpc/rbac.h"
#include "xapi/role.h"
#include "xapi/session.h"
#include "xapi/task.h"

/* ---- class functions of this program ---- */

static struct {
    atomic_int running, most, release;
    int (*inside)(struct call *c, struct ref vm, struct xerr *err);
} fake;

/* VM.start waits until it is released. */
static int do_start(struct call *c, struct ref vm, struct xerr *err)
{
    int now = atomic_fetch_add(&fake.running, 1) + 1;
    int rc = 0;

    if (now > atomic_load(&fake.most)) atomic_store(&fake.most, now);
    while (!atomic_load(&fake.release) && !call_cancelled(c)) usleep(1000);
    if (fake.inside) rc = fake.inside(c, vm, err);
    else if (call_cancelled(c)) rc = call_check_cancel(c, err);
    atomic_fetch_sub(&fake.running, 1);
    return rc;
}

int thunk_vm_start(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_vm_start(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    *ret_result = value_void();
    return do_start(c, args[0].ref, err);
}

int vm_start(struct call *c, struct ref vm, bool start_paused, bool force, struct xerr *err)
{
    (void)start_paused;
    (void)force;
    return do_start(c, vm, err);
}

/* The generated thunks are not linked here. */
int thunk_session_login_with_password(struct call *c, const struct value *args, struct value *ret_result,
                                      struct xerr *err);
int thunk_session_login_with_password(struct call *c, const struct value *args, struct value *ret_result,
                                      struct xerr *err)
{
    struct ref secret;

    if (session_login_with_password(c, args[0].s, args[1].s, args[2].s, args[3].s, &secret, err)) return -1;
    *ret_result = value_ref(secret);
    return 0;
}

/* VM.pause fails without a word. */
int thunk_vm_pause(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_vm_pause(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    (void)c;
    (void)args;
    (void)ret_result;
    (void)err;
    return -1;
}

int vm_pause(struct call *c, struct ref vm, struct xerr *err)
{
    (void)c;
    (void)vm;
    (void)err;
    return -1;
}

/* ---- calling ---- */

struct caller {
    struct arena *arena;
    struct rpc_call *rc;
    struct xerr err;
    struct strbuf out;
};

static void caller_free(struct caller *k)
{
    if (k->rc) rpc_call_end(k->rc);
    arena_free(k->arena);
    xerr_clear(&k->err);
    strbuf_free(&k->out);
}

/* As a client of the unix socket, with a session's secret in front when the method wants one. */
static int prepare(struct fixture *f, struct caller *k, struct ref secret, const char *method, const struct value *args,
                   size_t n, enum rpc_step *ret_step)
{
    const struct rpc_origin origin = { .peer = "unix", .local = true, .trusted = true };
    struct value params[8];
    char text[REF_TEXT];

    *k = (struct caller){ .arena = arena_new() };
    k->rc = rpc_call_new(&f->agent, k->arena, &origin);
    params[0] = value_string(arena_strdup(k->arena, ref_text(secret, text)));
    if (n) memcpy(params + 1, args, n * sizeof(*args));
    struct value all = value_set(ref_is_null(secret) ? params + 1 : params, ref_is_null(secret) ? n : n + 1);
    return rpc_prepare(k->rc, method, &all, ret_step, &k->err);
}

static int perform(struct fixture *f, struct caller *k, struct ref secret, const char *method, const struct value *args,
                   size_t n)
{
    enum rpc_step step;

    if (prepare(f, k, secret, method, args, n, &step)) return -1;
    struct rpc_result r = { .out = &k->out, .encoding = ENCODING_XML };
    return rpc_perform(k->rc, &r, &k->err);
}

static struct ref login(struct fixture *f)
{
    struct caller k;
    struct ref secret;
    struct value who[] = { value_string("root"), value_string("") };

    assert_int_equal(perform(f, &k, REF_NULL, "session.login_with_password", who, 2), 0);
    const char *at = strstr(k.out.ptr, "OpaqueRef:");
    assert_non_null(at);
    char *text = xstrndup(at, REF_TEXT - 1);
    assert_true(ref_parse(text, &secret));
    free(text);
    caller_free(&k);
    return secret;
}

/* ---- values ---- */

static void values_are_normalized(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct call *c = call_new_internal(&f->agent, "test");
    const struct type_desc *type_int = model_field(F_VM_user_version)->type;
    const struct type_desc *type_float = model_field(F_task_progress)->type;
    const struct type_desc *type_time = model_field(F_VM_snapshot_time)->type;
    const struct type_desc *type_enum = model_field(F_VM_power_state)->type;
    const struct type_desc *type_map = model_field(F_VM_other_config)->type;
    struct xerr err = XERR_INIT;
    struct value out, in;
    (void)state;

    in = value_string("-42");
    assert_ok(coerce(c, type_int, "x", &in, &out, &err), &err);
    assert_true(out.kind == VALUE_INT && out.i == -42);
    in = value_string("4 2");
    assert_failed(coerce(c, type_int, "x", &in, &out, &err), &err, "FIELD_TYPE_ERROR");
    in = value_float(1e300);
    assert_failed(coerce(c, type_int, "x", &in, &out, &err), &err, "FIELD_TYPE_ERROR");
    in = value_int(3);
    assert_ok(coerce(c, type_float, "x", &in, &out, &err), &err);
    assert_true(out.kind == VALUE_FLOAT && out.d > 2.9 && out.d < 3.1);
    in = value_string("20260821T02:00:23Z");
    assert_ok(coerce(c, type_time, "x", &in, &out, &err), &err);
    assert_true(out.kind == VALUE_DATETIME && out.i == 1787277623);
    in = value_string("running");
    assert_ok(coerce(c, type_enum, "x", &in, &out, &err), &err);
    assert_string_equal(out.s, "Running");
    struct member m = { "k", value_int(7) };
    in = value_map(&m, 1);
    assert_ok(coerce(c, type_map, "x", &in, &out, &err), &err);
    assert_string_equal(value_get_str(&out, "k", ""), "7");
    in = value_set(NULL, 0);
    assert_failed(coerce(c, type_map, "x", &in, &out, &err), &err, "FIELD_TYPE_ERROR");
    call_free_internal(c);
    fixture_free(f);
}

/* ---- behaviour ---- */

static void silent_failure_is_named(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct value args[] = { value_ref(f->vm) };
    struct xerr err = XERR_INIT;
    struct caller k;
    (void)state;

    struct txn *t = db_begin(f->agent.db);
    txn_set_enum(t, f->vm, F_VM_power_state, vm_power_state_Running);
    assert_ok(db_commit(t, &err), &err);
    assert_int_equal(perform(f, &k, login(f), "VM.pause", args, 1), -1);
    assert_string_equal(k.err.code, "INTERNAL_ERROR");
    assert_non_null(strstr(k.err.params[0], "VM.pause"));
    caller_free(&k);
    /* Its operation was released. */
    struct snap *s = db_snap(f->agent.db);
    assert_int_equal(row_value(snap_get(s, CLASS_VM, f->vm), F_VM_current_operations)->map.n, 0);
    snap_unref(s);
    fixture_free(f);
}

static struct value task_of(struct fixture *f, struct ref task, field_id field, struct arena *a)
{
    struct snap *s = db_snap(f->agent.db);
    struct value v = row_field_value(snap_get(s, CLASS_task, task), model_field(field), a);

    v = value_copy(a, &v);
    snap_unref(s);
    return v;
}

static struct ref start_async(struct fixture *f, struct ref secret, struct xerr *err)
{
    struct value args[] = { value_ref(f->vm), value_bool(false), value_bool(false) };
    enum rpc_step step;
    struct ref task = REF_NULL;
    struct caller k;

    if (!prepare(f, &k, secret, "Async.VM.start", args, 3, &step)) {
        assert_int_equal(step, RPC_ASYNC);
        rpc_start_async(k.rc, &task, &k.err);
    }
    if (k.err.code) xerr_move(err, &k.err);
    caller_free(&k);
    return task;
}

static void wait_for(atomic_int *what, int value)
{
    for (int i = 0; i < 5000 && atomic_load(what) != value; i++) usleep(1000);
    assert_int_equal(atomic_load(what), value);
}

static bool is_pending(struct fixture *f, struct ref task)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v = task_of(f, task, F_task_status, a);

    return streq(v.s, "pending") || streq(v.s, "cancelling");
}

static void operations_exclude(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct ref secret = login(f);
    struct xerr err = XERR_INIT;
    _cleanup_arena_ struct arena *a = arena_new();
    (void)state;

    memset(&fake, 0, sizeof(fake));
    struct ref task = start_async(f, secret, &err);
    wait_for(&fake.running, 1);
    struct snap *s = db_snap(f->agent.db);
    const struct row *vm = snap_get(s, CLASS_VM, f->vm);
    assert_string_equal(row_map_str(vm, F_VM_current_operations, REF_STR(task), ""), "start");
    assert_false(row_bits(vm, F_VM_allowed_operations) >> vm_operations_start & 1);
    snap_unref(s);

    struct value args[] = { value_ref(f->vm), value_bool(false), value_bool(false) };
    struct caller k;
    assert_int_equal(perform(f, &k, secret, "VM.start", args, 3), -1);
    assert_string_equal(k.err.code, "OTHER_OPERATION_IN_PROGRESS");
    assert_string_equal(k.err.params[3], REF_STR(task));
    caller_free(&k);

    /* The object goes while the operation runs: the release must not mind. */
    struct txn *t = db_begin(f->agent.db);
    txn_destroy(t, CLASS_VM, f->vm);
    assert_ok(db_commit(t, &err), &err);
    atomic_store(&fake.release, 1);
    for (int i = 0; i < 5000 && is_pending(f, task); i++) usleep(1000);
    struct value status = task_of(f, task, F_task_status, a);
    assert_string_equal(status.s, "success");
    fixture_free(f);
}

/* A call within the call works on what the outer one holds. */
static int start_again_inside(struct call *c, struct ref vm, struct xerr *err)
{
    fake.inside = NULL;
    return call_message(c, "VM.start", ARGS(value_ref(vm), value_bool(false), value_bool(false)), NULL, err);
}

static void inner_calls_share_operations(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct value args[] = { value_ref(f->vm), value_bool(false), value_bool(false) };
    struct caller k;
    (void)state;

    memset(&fake, 0, sizeof(fake));
    atomic_store(&fake.release, 1);
    fake.inside = start_again_inside;
    assert_int_equal(perform(f, &k, login(f), "VM.start", args, 3), 0);
    assert_int_equal(atomic_load(&fake.most), 2);
    caller_free(&k);
    struct snap *s = db_snap(f->agent.db);
    assert_int_equal(row_value(snap_get(s, CLASS_VM, f->vm), F_VM_current_operations)->map.n, 0);
    snap_unref(s);
    fixture_free(f);
}

static void devices_are_held(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct ref vbd = ref_new(), secret = login(f);
    struct xerr err = XERR_INIT;
    (void)state;

    memset(&fake, 0, sizeof(fake));
    struct txn *t = db_begin(f->agent.db);
    txn_create(t, CLASS_VBD, vbd);
    txn_set_ref(t, vbd, F_VBD_VM, f->vm);
    assert_ok(db_commit(t, &err), &err);
    struct ref task = start_async(f, secret, &err);
    wait_for(&fake.running, 1);
    struct snap *s = db_snap(f->agent.db);
    assert_string_equal(row_map_str(snap_get(s, CLASS_VBD, vbd), F_VBD_current_operations, REF_STR(task), ""), "attach");
    snap_unref(s);
    atomic_store(&fake.release, 1);
    for (int i = 0; i < 5000 && is_pending(f, task); i++) usleep(1000);

    /* A busy disk keeps the VM from starting, and nothing of the attempt stays. */
    struct value busy = value_string("unplug");
    t = db_begin(f->agent.db);
    txn_map_put(t, vbd, F_VBD_current_operations, "OpaqueRef:other", &busy);
    assert_ok(db_commit(t, &err), &err);
    struct value args[] = { value_ref(f->vm), value_bool(false), value_bool(false) };
    struct caller k;
    assert_int_equal(perform(f, &k, secret, "VM.start", args, 3), -1);
    assert_string_equal(k.err.code, "OTHER_OPERATION_IN_PROGRESS");
    assert_string_equal(k.err.params[0], "VBD");
    caller_free(&k);
    s = db_snap(f->agent.db);
    assert_int_equal(row_value(snap_get(s, CLASS_VM, f->vm), F_VM_current_operations)->map.n, 0);
    snap_unref(s);
    fixture_free(f);
}

static void cancelling(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct ref secret = login(f);
    struct xerr err = XERR_INIT;
    _cleanup_arena_ struct arena *a = arena_new();
    (void)state;

    memset(&fake, 0, sizeof(fake));
    struct ref task = start_async(f, secret, &err);
    wait_for(&fake.running, 1);
    assert_true(live_task_cancel(f->agent.tasks, task));
    for (int i = 0; i < 5000 && is_pending(f, task); i++) usleep(1000);
    struct value status = task_of(f, task, F_task_status, a), info = task_of(f, task, F_task_error_info, a);
    assert_string_equal(status.s, "cancelled");
    assert_true(info.set.n == 2 && streq(info.set.items[0].s, "TASK_CANCELLED"));
    assert_false(live_task_runs(f->agent.tasks, task));
    fixture_free(f);
}

/* Each session may keep two threads, everybody together three; a login always finds a place. */
static void limits(void **state)
{
    const struct rpc_config config = { .threads = 3, .session_threads = 2 };
    struct fixture *f = fixture_new(&config);
    struct ref one = login(f), two = login(f), vms[4];
    struct xerr err = XERR_INIT;
    (void)state;

    memset(&fake, 0, sizeof(fake));
    struct txn *t = db_begin(f->agent.db);
    for (size_t i = 0; i < ARRAY_SIZE(vms); i++) txn_create(t, CLASS_VM, vms[i] = ref_new());
    assert_ok(db_commit(t, &err), &err);
    for (int i = 0; i < 2; i++) {
        f->vm = vms[i];
        start_async(f, one, &err);
        assert_null(err.code);
    }
    f->vm = vms[2];
    start_async(f, one, &err);
    assert_failed(-1, &err, "TOO_MANY_PENDING_TASKS");
    start_async(f, two, &err);
    assert_null(err.code);
    f->vm = vms[3];
    start_async(f, two, &err);
    assert_failed(-1, &err, "TOO_MANY_PENDING_TASKS");
    assert_false(ref_is_null(login(f)));
    wait_for(&fake.running, 3);
    atomic_store(&fake.release, 1);
    wait_for(&fake.running, 0);
    for (int i = 0; i < 5000; i++) {
        start_async(f, two, &err);
        if (!err.code) break;
        xerr_clear(&err);
        usleep(1000);
    }
    assert_null(err.code);
    fixture_free(f);
}

/* ---- care ---- */

static void old_tasks_go(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct xerr err = XERR_INIT;
    int64_t now = clock_wall_seconds();
    struct ref old = ref_new(), recent = ref_new(), stuck = ref_new(), pending = ref_new();
    (void)state;

    struct txn *t = db_begin(f->agent.db);
    struct { struct ref ref; int64_t created, finished; int status; } rows[] = {
        { old, now - 2 * TASK_KEEP_S, now - TASK_KEEP_S - 1, task_status_type_failure },
        { recent, now - 2 * TASK_KEEP_S, now - TASK_KEEP_S + 60, task_status_type_success },
        { stuck, now - TASK_PENDING_S - 1, 0, task_status_type_pending },
        { pending, now - TASK_PENDING_S + 60, 0, task_status_type_pending },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        txn_create(t, CLASS_task, rows[i].ref);
        txn_set_time(t, rows[i].ref, F_task_created, rows[i].created);
        txn_set_time(t, rows[i].ref, F_task_finished, rows[i].finished);
        txn_set_enum(t, rows[i].ref, F_task_status, rows[i].status);
    }
    assert_ok(db_commit(t, &err), &err);
    tasks_collect(&f->agent);
    struct snap *s = db_snap(f->agent.db);
    assert_null(snap_get(s, CLASS_task, old));
    assert_non_null(snap_get(s, CLASS_task, recent));
    assert_int_equal(row_enum(snap_get(s, CLASS_task, stuck), F_task_status), task_status_type_failure);
    assert_int_equal(row_enum(snap_get(s, CLASS_task, pending), F_task_status), task_status_type_pending);
    snap_unref(s);
    /* What a restart finds under way has failed, and says why. */
    assert_ok(tasks_recover(&f->agent, &err), &err);
    s = db_snap(f->agent.db);
    const struct row *row = snap_get(s, CLASS_task, pending);
    assert_int_equal(row_enum(row, F_task_status), task_status_type_failure);
    assert_non_null(strstr(row_value(row, F_task_error_info)->set.items[1].s, "restarted"));
    snap_unref(s);
    fixture_free(f);
}

static void many_tasks_go(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct xerr err = XERR_INIT;
    int64_t now = clock_wall_seconds();
    enum { SEEN = 150, FRESH = 120 };
    (void)state;

    struct txn *t = db_begin(f->agent.db);
    for (int i = 0; i < SEEN + FRESH; i++) {
        struct ref ref = ref_new();
        txn_create(t, CLASS_task, ref);
        txn_set_time(t, ref, F_task_finished, i < SEEN ? now - TASK_SHOW_S - 1 - i : now);
        txn_set_enum(t, ref, F_task_status, task_status_type_success);
    }
    assert_ok(db_commit(t, &err), &err);
    tasks_collect(&f->agent);
    struct snap *s = db_snap(f->agent.db);
    size_t fresh = 0;
    SNAP_EACH(s, CLASS_task, row) fresh += row_time(row, F_task_finished) == now;
    assert_int_equal(snap_count(s, CLASS_task), TASK_KEEP);
    assert_int_equal(fresh, FRESH);
    snap_unref(s);
    fixture_free(f);
}

static void idle_sessions_go(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct ref busy = login(f), idle = login(f), key = auth_session_key(f->agent.auth, idle);
    struct xerr err = XERR_INIT;
    struct caller k;
    (void)state;

    struct txn *t = db_begin(f->agent.db);
    txn_set_time(t, key, F_session_last_active, clock_wall_seconds() - SESSION_IDLE_S - SESSION_TOUCH_S - 1);
    assert_ok(db_commit(t, &err), &err);
    assert_int_equal(perform(f, &k, idle, "VM.get_all", NULL, 0), -1);
    assert_string_equal(k.err.code, "SESSION_INVALID");
    caller_free(&k);
    assert_int_equal(sessions_expire(&f->agent), 1);
    assert_int_equal(perform(f, &k, busy, "VM.get_all", NULL, 0), 0);
    caller_free(&k);

    /* A use is written down when the last one was long ago. */
    key = auth_session_key(f->agent.auth, busy);
    t = db_begin(f->agent.db);
    txn_set_time(t, key, F_session_last_active, clock_wall_seconds() - SESSION_TOUCH_S - 1);
    assert_ok(db_commit(t, &err), &err);
    assert_int_equal(perform(f, &k, busy, "VM.get_all", NULL, 0), 0);
    caller_free(&k);
    struct snap *s = db_snap(f->agent.db);
    assert_true(clock_wall_seconds() - row_time(snap_get(s, CLASS_session, key), F_session_last_active) < 60);
    snap_unref(s);
    fixture_free(f);
}

/* ---- roles ---- */

static void roles_and_keys(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct call *c = call_new_internal(&f->agent, "test");
    struct xerr err = XERR_INIT;
    struct value text = value_string("v");
    (void)state;

    assert_true(role_bits(ROLE_POOL_ADMIN) == (1u << ROLE_NONE) - 1);
    assert_true(role_bits(ROLE_READ_ONLY) == 1u << ROLE_READ_ONLY);
    c->is_root = false;
    c->roles = role_bits(ROLE_VM_OPERATOR);
    const struct method_desc *start = model_method("VM.start"), *destroy = model_method("VM.destroy"),
                             *add = model_method("pool.add_to_other_config"),
                             *set = model_method("pool.set_other_config");
    struct value vm[] = { value_ref(f->vm), value_bool(false), value_bool(false) };
    assert_ok(rbac_check(c, start, vm, &err), &err);
    assert_failed(rbac_check(c, destroy, vm, &err), &err, "RBAC_PERMISSION_DENIED");
    struct value folder[] = { value_ref(f->agent.pool), value_string("folder"), text };
    struct value custom[] = { value_ref(f->agent.pool), value_string("XenCenter.CustomFields.a"), text };
    struct value other[] = { value_ref(f->agent.pool), value_string("folders"), text };
    assert_ok(rbac_check(c, add, folder, &err), &err);
    assert_ok(rbac_check(c, add, custom, &err), &err);
    assert_failed(rbac_check(c, add, other, &err), &err, "RBAC_PERMISSION_DENIED");

    /* A whole map: allowed when only such keys differ. */
    struct txn *t = db_begin(f->agent.db);
    txn_map_put_str(t, f->agent.pool, F_pool_other_config, "kept", "as it is");
    assert_ok(db_commit(t, &err), &err);
    struct member with[] = { { "kept", value_string("as it is") }, { "folder", text } };
    struct member changed[] = { { "kept", value_string("otherwise") }, { "folder", text } };
    struct value good[] = { value_ref(f->agent.pool), value_map(with, 2) };
    struct value bad[] = { value_ref(f->agent.pool), value_map(changed, 2) };
    struct value gone[] = { value_ref(f->agent.pool), value_map(with + 1, 1) };
    assert_ok(rbac_check(c, set, good, &err), &err);
    assert_failed(rbac_check(c, set, bad, &err), &err, "RBAC_PERMISSION_DENIED");
    assert_failed(rbac_check(c, set, gone, &err), &err, "RBAC_PERMISSION_DENIED");

    c->roles = role_bits(ROLE_POOL_ADMIN);
    assert_failed(rbac_check(c, model_method("session.change_password"), vm, &err), &err, "RBAC_PERMISSION_DENIED");
    c->is_root = true;
    assert_ok(rbac_check(c, model_method("session.change_password"), vm, &err), &err);
    call_free_internal(c);
    fixture_free(f);
}

/* Every message of the model is either open to everybody who logged in, or carried by a role, or local root's. */
static void every_message_has_a_gate(void **state)
{
    (void)state;
    for (unsigned i = 0; i < model.n_methods; i++) {
        const struct method_desc *m = &model.methods[i];
        if (m->session) continue;
        assert_true(m->cls == CLASS_session);
        assert_true(strstr(m->message, "login") || streq(m->message, "create_from_db_file"));
    }
}

/* ---- audit ---- */

static void audit_hides_secrets(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct call *c = call_new_internal(&f->agent, "test");
    struct audit *audit;
    struct xerr err = XERR_INIT;
    char *path = xasprintf("%s/apart", f->folder), *file = xasprintf("%s/audit.log", path), *text;
    (void)state;

    assert_int_equal(make_dirs(path, 0700), 0);
    assert_ok(audit_open(path, false, &audit, &err), &err);
    struct value login_args[] = { value_string("ro|ot\nx"), value_string("hunter2"), value_string(""), value_string("") };
    audit_call(audit, c, model_method("session.login_with_password"), false, login_args, NULL);
    struct member config[] = { { "server", value_string("nfs") }, { "chappassword", value_string("hunter3") } };
    struct value plug[] = { value_ref(f->vm), value_map(config, 2) };
    audit_call(audit, c, model_method("VM.set_other_config"), true, plug, NULL);
    struct value self[] = { value_ref(f->vm) };
    for (int i = 0; i < 3; i++) audit_call(audit, c, model_method("VM.get_uuid"), false, self, NULL);
    xerr_handle_invalid(&err, "VM", "x");
    audit_call(audit, c, model_method("VM.get_uuid"), false, self, &err);
    xerr_clear(&err);
    audit_close(audit);
    assert_int_equal(read_file(file, 1 << 20, &text, NULL), 0);
    assert_null(strstr(text, "hunter"));
    assert_non_null(strstr(text, "|session.login_with_password|ro/ot x, ***, "));
    assert_non_null(strstr(text, "|Async.VM.set_other_config|"));
    assert_non_null(strstr(text, "server=nfs, chappassword=***"));
    int lines = 0, reads = 0;
    for (char *p = text; (p = strchr(p, '\n')); p++) lines++;
    for (char *p = text; (p = strstr(p, "VM.get_uuid")); p++) reads++;
    assert_int_equal(lines, 4);      /* one line of the three plain reads, one of the failed one */
    assert_int_equal(reads, 2);
    free(text);
    unlink(file);
    rmdir(path);
    free(file);
    free(path);
    call_free_internal(c);
    fixture_free(f);
}

UNIT_MAIN(cmocka_unit_test(values_are_normalized), cmocka_unit_test(silent_failure_is_named),
          cmocka_unit_test(operations_exclude), cmocka_unit_test(inner_calls_share_operations),
          cmocka_unit_test(devices_are_held), cmocka_unit_test(cancelling), cmocka_unit_test(limits),
          cmocka_unit_test(old_tasks_go), cmocka_unit_test(many_tasks_go),
          cmocka_unit_test(idle_sessions_go), cmocka_unit_test(roles_and_keys),
          cmocka_unit_test(every_message_has_a_gate), cmocka_unit_test(audit_hides_secrets))
