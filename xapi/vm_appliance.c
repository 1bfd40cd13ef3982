/* Class VM_appliance: VMs that start and stop together, in an order.
 * Called by: the generated thunks (schema/vm_appliance.xml).  Calls: VM messages, db/.
 *
 * VMs of the lowest VM.order start first, side by side; when all of them have, the longest of their
 * start_delays goes by, then the next order begins. Stopping goes the other way round, with
 * shutdown_delay. A VM that fails does not keep the others from their turn; in the end the call then fails
 * with OPERATION_PARTIALLY_FAILED. */
#include <pthread.h>
#include <time.h>

#define LOG_MODULE "appliance"
#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/call.h"
#include "xapi/call/lifecycle.h"

enum { SIDE_BY_SIDE = 16, DELAY_MAX_S = 86400 };

struct member_vm {
    struct ref vm;
    int64_t order, delay_s;
    enum vm_power_state state;
};

enum what { START, START_PAUSED, CLEAN_SHUTDOWN, HARD_SHUTDOWN, SHUTDOWN };

static const char *const names[] = { "start", "start", "clean_shutdown", "hard_shutdown", "shutdown" };

static bool stops(enum what what) { return what != START && what != START_PAUSED; }

static int by_order(const void *a, const void *b)
{
    const struct member_vm *x = a, *y = b;
    return x->order < y->order ? -1 : x->order > y->order ? 1 : ref_cmp(x->vm, y->vm);
}

/* The VMs in the order they are to start. */
static int list_members(struct call *c, struct ref appliance, bool stopping, struct member_vm **ret_vms,
                        size_t *ret_n, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM_appliance, appliance, err);

    if (!row) return -1;
    const struct refset *vms = row_refs(row, F_VM_appliance_VMs);
    struct member_vm *list = arena_new_array(c->arena, struct member_vm, vms->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < vms->n; i++) {
        const struct row *vm = snap_get(s, CLASS_VM, vms->refs[i]);
        if (!vm || row_bool(vm, F_VM_is_a_template)) continue;
        int64_t delay = row_int(vm, stopping ? F_VM_shutdown_delay : F_VM_start_delay);
        list[n++] = (struct member_vm){ vms->refs[i], row_int(vm, F_VM_order),
                                        delay < 0             ? 0
                                        : delay > DELAY_MAX_S ? DELAY_MAX_S
                                                              : delay,
                                        (enum vm_power_state)row_enum(vm, F_VM_power_state) };
    }
    qsort(list, n, sizeof(*list), by_order);
    *ret_vms = list;
    *ret_n = n;
    return 0;
}

/* The message that brings a VM where it is wanted; NULL when it is there. */
static const char *message_for(enum what what, enum vm_power_state state)
{
    switch (state) {
    case vm_power_state_Halted:
        return stops(what) ? NULL : "VM.start";
    case vm_power_state_Paused:
        return what == START ? "VM.unpause" : what == START_PAUSED ? NULL : "VM.hard_shutdown";
    case vm_power_state_Running:
        return !stops(what)             ? NULL
               : what == CLEAN_SHUTDOWN ? "VM.clean_shutdown"
               : what == SHUTDOWN       ? "VM.shutdown"
                                        : "VM.hard_shutdown";
    case vm_power_state_Suspended:
        return stops(what) ? "VM.hard_shutdown" : "VM.resume";
    }
    return NULL;
}

/* ---- one VM on a thread of its own --------------------------------------------------------------------- */

struct worker {
    struct call call; /* the outer call's rights and task, an arena of its own */
    const struct member_vm *vm;
    enum what what;
    pthread_t thread;
    bool running, failed;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    const char *method = message_for(w->what, w->vm->state);
    const bool starts = method && (streq(method, "VM.start") || streq(method, "VM.resume"));
    const struct value args[] = { value_ref(w->vm->vm), value_bool(w->what == START_PAUSED),
                                  value_bool(false) };
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value ignored;

    if (!method) return NULL;
    log_set_call(w->call.task->uuid);
    w->failed = call_message(&w->call, method, args, starts ? 3 : 1, &ignored, &err) != 0;
    if (w->failed) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("%s %s: %s", method, REF_STR(w->vm->vm), why);
    }
    return NULL;
}

/* At most SIDE_BY_SIDE VMs of one order; false when any failed. */
static bool run_batch(struct call *c, const struct member_vm *vms, size_t n, enum what what)
{
    struct worker workers[SIDE_BY_SIDE];
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        workers[i] = (struct worker){ .call = *c, .vm = &vms[i], .what = what };
        workers[i].call.arena = arena_new();
        workers[i].running = !pthread_create(&workers[i].thread, NULL, work, &workers[i]);
        if (!workers[i].running) work(&workers[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (workers[i].running) pthread_join(workers[i].thread, NULL);
        arena_free(workers[i].call.arena);
        ok &= !workers[i].failed;
    }
    return ok;
}

static int wait_seconds(struct call *c, int64_t seconds, struct xerr *err)
{
    enum { STEPS = 10 };
    const struct timespec step = { 0, 1000000000 / STEPS };

    for (int64_t i = 0; i < seconds * STEPS; i++) {
        if (call_check_cancel(c, err)) return -1;
        nanosleep(&step, NULL);
    }
    return 0;
}

/* One order: all of its VMs, then the delay. */
static int run_order(struct call *c, const struct member_vm *vms, size_t n, enum what what, bool *failed,
                     struct xerr *err)
{
    int64_t delay = 0;

    for (size_t i = 0; i < n; i += SIDE_BY_SIDE) {
        if (call_check_cancel(c, err)) return -1;
        if (!run_batch(c, vms + i, n - i < SIDE_BY_SIDE ? n - i : SIDE_BY_SIDE, what)) *failed = true;
    }
    for (size_t i = 0; i < n; i++)
        if (message_for(what, vms[i].state) && vms[i].delay_s > delay) delay = vms[i].delay_s;
    return wait_seconds(c, delay, err);
}

static int run(struct call *c, struct ref appliance, enum what what, struct xerr *err)
{
    struct member_vm *vms;
    bool failed = false;
    size_t n;

    if (list_members(c, appliance, stops(what), &vms, &n, err)) return -1;
    for (size_t done = 0; done < n;) {
        /* The next order from the front when starting, from the back when stopping. */
        size_t first = stops(what) ? n - done - 1 : done, len = 1;
        if (stops(what)) {
            for (; first > 0 && vms[first - 1].order == vms[first].order; first--) len++;
        } else {
            for (; first + len < n && vms[first + len].order == vms[first].order;) len++;
        }
        if (run_order(c, vms + first, len, what, &failed, err)) return -1;
        done += len;
        call_progress(c, (double)done / (double)n);
    }
    return failed ? xerr_operation_partially_failed(err, names[what]) : 0;
}

/* ---- membership ---------------------------------------------------------------------------------------- */

static void refresh(struct txn *t, struct ref appliance)
{
    if (snap_get(txn_snap(t), CLASS_VM_appliance, appliance))
        lifecycle_refresh_one(t, CLASS_VM_appliance, appliance);
}

int vm_set_appliance(struct call *c, struct ref self, struct ref value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, self);
    struct ref old = row ? row_ref(row, F_VM_appliance) : REF_NULL;

    if (row && (row_bool(row, F_VM_is_a_template) || row_bool(row, F_VM_is_control_domain))) {
        db_abort(t);
        return xerr_operation_not_allowed(
            err, "Templates, snapshots and the control domain are no members of an appliance");
    }
    txn_set_ref(t, self, F_VM_appliance, value);
    refresh(t, old);
    refresh(t, value);
    return db_commit(t, err);
}

/* ---- messages ------------------------------------------------------------------------------------------ */

int vm_appliance_start(struct call *c, struct ref self, bool paused, struct xerr *err)
{
    return run(c, self, paused ? START_PAUSED : START, err);
}

int vm_appliance_clean_shutdown(struct call *c, struct ref self, struct xerr *err)
{
    return run(c, self, CLEAN_SHUTDOWN, err);
}

int vm_appliance_hard_shutdown(struct call *c, struct ref self, struct xerr *err)
{
    return run(c, self, HARD_SHUTDOWN, err);
}

int vm_appliance_shutdown(struct call *c, struct ref self, struct xerr *err)
{
    return run(c, self, SHUTDOWN, err);
}
