/* What the hypervisor tells of its guests: shutdowns from inside, reboots, crashes, a lost and found engine.
 * Called by: the hypervisor's event thread, startup, vm_power.c (waiting).  Calls: vm_power.c, hv/, db/.
 *
 * Events are queued by the driver's thread and worked off by one thread here; what may block (releasing disks, starting
 * a VM again) gets a thread of its own, one per event, so that one hanging SR delays no other VM. */
#include "xapi/vm.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#define LOG_MODULE "vm"
#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/vm_doubts.h"
#include "xapi/vm_resync.h"
#include "xapi/vm_space.h"

enum { NO_SPACE_PRIORITY = 2 };

struct queued {
    struct queued *next;
    enum hv_event_kind kind;
    enum hv_stop_reason reason;
    int64_t domid, memory_bytes;
    bool no_space;
    char uuid[UUID_TEXT];
    struct vm_monitor *monitor;
};

struct vm_monitor {
    struct agent *agent;
    pthread_mutex_t lock;
    pthread_cond_t queue_cond, ended, stopping;
    struct queued *head, **tail;      /* lock: lock */
    struct vm_wait *waits;            /* lock: lock */
    struct vm_ending *endings;        /* lock: lock */
    unsigned workers;                 /* threads that work on one event; lock: lock */
    bool stop;                        /* lock: lock */
    bool runs;                        /* thread is there; only who starts and stops */
    pthread_t thread;
};

/* ---- waiting -------------------------------------------------------------------------------------------------- */

static void cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void vm_wait_begin(struct vm_monitor *m, struct vm_wait *w, struct ref vm)
{
    w->vm = vm;
    w->news = 0;
    cond_init_monotonic(&w->came);
    pthread_mutex_lock(&m->lock);
    w->next = m->waits;
    m->waits = w;
    pthread_mutex_unlock(&m->lock);
}

void vm_wait_end(struct vm_monitor *m, struct vm_wait *w)
{
    pthread_mutex_lock(&m->lock);
    for (struct vm_wait **p = &m->waits; *p; p = &(*p)->next) {
        if (*p != w) continue;
        *p = w->next;
        break;
    }
    pthread_mutex_unlock(&m->lock);
    pthread_cond_destroy(&w->came);
}

static struct timespec after_ms(int ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* False when the monitor is to stop. */
static bool pause_unless_stopped(struct vm_monitor *m, int ms)
{
    const struct timespec until = after_ms(ms);

    pthread_mutex_lock(&m->lock);
    while (!m->stop && !pthread_cond_timedwait(&m->stopping, &m->lock, &until)) continue;
    const bool stop = m->stop;
    pthread_mutex_unlock(&m->lock);
    return !stop;
}

bool vm_wait_for(struct vm_monitor *m, struct vm_wait *w, int wanted, int timeout_ms, const struct call *c)
{
    enum { LOOK_FOR_CANCEL_MS = 200 };
    int64_t deadline_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;

    pthread_mutex_lock(&m->lock);
    while (!(w->news & wanted) && clock_monotonic_ns() < deadline_ns && !call_cancelled(c)) {
        struct timespec until = after_ms(LOOK_FOR_CANCEL_MS);
        pthread_cond_timedwait(&w->came, &m->lock, &until);
    }
    bool came = w->news & wanted;
    pthread_mutex_unlock(&m->lock);
    return came;
}

void vm_tell(struct vm_monitor *m, struct ref vm, enum vm_news news)
{
    pthread_mutex_lock(&m->lock);
    for (struct vm_wait *w = m->waits; w; w = w->next) {
        if (!ref_eq(w->vm, vm)) continue;
        w->news |= (int)news;
        pthread_cond_signal(&w->came);
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- one end at a time ------------------------------------------------------------------------------------------ */

static bool ends_now(const struct vm_monitor *m, struct ref vm)
{
    for (const struct vm_ending *e = m->endings; e; e = e->next)
        if (ref_eq(e->vm, vm)) return true;
    return false;
}

void vm_ending_begin(struct vm_monitor *m, struct vm_ending *e, struct ref vm)
{
    pthread_mutex_lock(&m->lock);
    while (ends_now(m, vm)) pthread_cond_wait(&m->ended, &m->lock);
    *e = (struct vm_ending){ .next = m->endings, .vm = vm };
    m->endings = e;
    pthread_mutex_unlock(&m->lock);
}

void vm_ending_end(struct vm_monitor *m, struct vm_ending *e)
{
    pthread_mutex_lock(&m->lock);
    for (struct vm_ending **p = &m->endings; *p; p = &(*p)->next) {
        if (*p != e) continue;
        *p = e->next;
        break;
    }
    pthread_cond_broadcast(&m->ended);
    pthread_mutex_unlock(&m->lock);
}

/* ---- what an event does ----------------------------------------------------------------------------------------- */

static void log_failure(const char *what, const char *uuid, struct xerr *err)
{
    _cleanup_free_ char *why = xerr_text(err);

    log_error("%s of VM %s: %s", what, uuid, why);
    xerr_clear(err);
}

/* An operation is at work on it. */
static bool busy(const struct row *vm)
{
    return row_value(vm, F_VM_current_operations)->map.n > 0;
}

static bool operation_runs(const struct row *vm, enum vm_operations op)
{
    const struct value *now = row_value(vm, F_VM_current_operations);
    const char *name = model_field(F_VM_allowed_operations)->type->elem->e->values[op];

    for (size_t i = 0; i < now->map.n; i++)
        if (streq(now->map.members[i].value.s, name)) return true;
    return false;
}

/* Whether a stopped guest shall run again: what the record says of this kind of end. */
static bool wants_restart(const struct row *vm, enum hv_stop_reason reason)
{
    switch (reason) {
    case HV_STOP_POWEROFF:
        return row_enum(vm, F_VM_actions_after_shutdown) == on_normal_exit_restart &&
               !operation_runs(vm, vm_operations_clean_shutdown) && !operation_runs(vm, vm_operations_shutdown);
    case HV_STOP_REBOOT:
        return row_enum(vm, F_VM_actions_after_reboot) == on_normal_exit_restart;
    case HV_STOP_CRASH: {
        int action = row_enum(vm, F_VM_actions_after_crash);
        return action == on_crash_behaviour_restart || action == on_crash_behaviour_coredump_and_restart ||
               action == on_crash_behaviour_rename_restart;
    }
    case HV_STOP_DESTROYED:
    case HV_STOP_SUSPENDED:
    case HV_STOP_MIGRATED:
        return false;
    }
    return false;
}

/* What the record said when the event came; taken so that no snapshot is held over the work that follows. */
struct known {
    struct ref vm, metrics;
    int64_t domid;
    bool deliberate;      /* an operation that ends the domain is at work and writes the record itself */
    bool starting;        /* an operation that makes the domain has not written the record yet */
    bool restart;
    bool rebooting;       /* a clean reboot waits for it: that operation starts it again, not one of its own */
    int crash_action;
};

static bool find_known(struct call *c, const struct queued *e, struct known *ret_known)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_by_uuid(s, CLASS_VM, e->uuid);

    if (!row) return false;   /* a guest that is not ours */
    *ret_known = (struct known){
        .vm = row_ref_of(row),
        .metrics = row_ref(row, F_VM_metrics),
        .domid = row_int(row, F_VM_domid),
        .deliberate = e->reason == HV_STOP_SUSPENDED || e->reason == HV_STOP_MIGRATED ||
                      (e->reason == HV_STOP_DESTROYED && (operation_runs(row, vm_operations_suspend) ||
                                                          operation_runs(row, vm_operations_hard_shutdown) ||
                                                          operation_runs(row, vm_operations_hard_reboot) ||
                                                          operation_runs(row, vm_operations_power_state_reset))),
        .starting = operation_runs(row, vm_operations_start) || operation_runs(row, vm_operations_start_on) ||
                    operation_runs(row, vm_operations_resume) || operation_runs(row, vm_operations_resume_on) ||
                    operation_runs(row, vm_operations_hard_reboot) || operation_runs(row, vm_operations_checkpoint),
        .restart = wants_restart(row, e->reason),
        .rebooting = operation_runs(row, vm_operations_clean_reboot),
        .crash_action = row_enum(row, F_VM_actions_after_crash),
    };
    return true;
}

/* A guest may end before the call that started it has written the record: wait for that call. */
static bool find_settled(struct call *c, const struct queued *e, struct known *ret_known)
{
    enum { STEP_MS = 50, LIMIT_MS = 60000 };
    const struct timespec step = { 0, STEP_MS * 1000000L };

    for (int waited_ms = 0; find_known(c, e, ret_known); waited_ms += STEP_MS) {
        if (ret_known->deliberate || !ret_known->starting || waited_ms >= LIMIT_MS) return true;
        nanosleep(&step, NULL);
    }
    return false;
}

/* The guest has ended, whatever the disk of the database says to it: until it is written. -1: the agent ends first, or there is
 * no such VM any more. */
static int write_end(struct call *c, const struct queued *e, struct ref vm)
{
    enum { FIRST_MS = 50, LONGEST_MS = 30000 };
    struct vm_monitor *m = e->monitor;

    for (int pause_ms = FIRST_MS;; pause_ms = pause_ms < LONGEST_MS / 2 ? pause_ms * 2 : LONGEST_MS) {
        struct call *try = call_new_internal(c->agent, "end of a guest");
        struct xerr err = XERR_INIT;
        const int rc = vm_make_halted(try, vm, e->domid, &err);
        call_free_internal(try);
        if (!rc) return 0;
        const bool gone = xerr_is(&err, "HANDLE_INVALID");
        log_failure("end", e->uuid, &err);
        if (gone || !pause_unless_stopped(m, pause_ms)) return -1;
    }
}

static void after_stop(struct call *c, const struct queued *e, const struct known *k)
{
    struct xerr err = XERR_INIT;
    bool reboot = e->reason == HV_STOP_REBOOT && k->restart;

    if (write_end(c, e, k->vm)) return;
    if (!reboot) vm_tell(c->agent->vms, k->vm, VM_NEWS_HALTED);
    if (!k->restart) return;
    if (reboot && k->rebooting) {
        vm_tell(c->agent->vms, k->vm, VM_NEWS_ENDED);
        return;
    }
    if (call_message(c, "VM.start", ARGS(value_ref(k->vm), value_bool(false), value_bool(false)), NULL, &err))
        log_failure("restart", e->uuid, &err);
    else if (reboot) vm_tell(c->agent->vms, k->vm, VM_NEWS_REBOOTED);
}

static void handle_stopped(struct call *c, const struct queued *e)
{
    struct known k;

    if (!find_settled(c, e, &k) || k.deliberate) return;
    if (e->domid >= 0 && k.domid >= 0 && k.domid != e->domid) return;   /* started anew since: this end is nobody's news */
    after_stop(c, e, &k);
}

static void handle_crashed(struct call *c, const struct queued *e)
{
    struct xerr err = XERR_INIT;
    struct queued stopped = *e;
    struct known k;

    stopped.reason = HV_STOP_CRASH;
    if (!find_settled(c, &stopped, &k) || (e->domid >= 0 && k.domid != e->domid)) return;   /* started anew since */
    vm_tell(c->agent->vms, k.vm, VM_NEWS_CRASHED);
    if (k.crash_action == on_crash_behaviour_preserve) return;
    if (hv_destroy(c->agent->hv, hv_id(e->uuid, k.vm), &err)) log_failure("end after a crash", e->uuid, &err);
    else after_stop(c, &stopped, &k);
}

/* The domain of the event as the engine has it now; false: it is gone, or nobody answers. */
static bool engine_state(struct call *c, const struct queued *e, enum hv_state *ret_state)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const struct hv_domain *list;
    size_t n = 0;

    if (hv_list(c->agent->hv, c->arena, &list, &n, &err)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!streq(list[i].uuid, e->uuid) || list[i].domid != e->domid) continue;
        *ret_state = list[i].state;
        return true;
    }
    return false;
}

/* What the record said before the engine was asked; 0: it has the state, is another domain's, or an operation at work will
 * write it. */
static uint64_t version_to_mend(const struct row *row, const struct queued *e, enum vm_power_state state)
{
    int from = state == vm_power_state_Paused ? vm_power_state_Running : vm_power_state_Paused;

    if (!row || row_enum(row, F_VM_power_state) != from || row_int(row, F_VM_domid) != e->domid || busy(row)) return 0;
    return row_version(row);
}

/* Pause and unpause behind our back (the engine's own tools, an I/O error) show in the record. An event may be an old one: of
 * a pause that has been undone since. So the engine is asked, and the record must be the one from before that question. */
static void note_power_state(struct call *c, const struct queued *e, struct ref vm, enum vm_power_state state)
{
    enum { TRIES = 5 };
    const enum hv_state wanted = state == vm_power_state_Paused ? HV_STATE_PAUSED : HV_STATE_RUNNING;

    for (int i = 0; i < TRIES; i++) {
        struct xerr err = XERR_INIT;
        enum hv_state now;
        struct snap *s = db_snap(c->agent->db);
        const uint64_t version = version_to_mend(snap_get(s, CLASS_VM, vm), e, state);
        snap_unref(s);
        if (!version || !engine_state(c, e, &now) || now != wanted) return;
        struct txn *t = db_begin(c->agent->db);
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (!row || row_version(row) != version) {
            db_abort(t);
            continue;
        }
        txn_set_enum(t, vm, F_VM_power_state, (int)state);
        if (e->no_space) vm_space_note(t, vm);
        lifecycle_refresh(t, CLASS_VM, vm);
        if (!db_commit(t, &err)) return;
        log_failure("power state", e->uuid, &err);
        vm_doubt(c->agent->doubts, vm);
        return;
    }
}

static bool has_operations(struct call *c, struct ref vm)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);

    return row && busy(row);
}

/* The guest wants to write and nobody can: it waits, but nothing is lost. What runs now may be the call that unpaused it for
 * a moment, and says Running at its end: wait for it, then believe the engine. */
static void handle_no_space(struct call *c, const struct queued *e)
{
    enum { STEP_MS = 50, LIMIT_MS = 60000 };
    const struct timespec step = { 0, STEP_MS * 1000000L };
    struct xerr err = XERR_INIT;
    struct ref message;
    struct known k;

    if (!find_known(c, e, &k)) return;
    for (int waited_ms = 0; has_operations(c, k.vm) && waited_ms < LIMIT_MS; waited_ms += STEP_MS) nanosleep(&step, NULL);
    enum hv_state now;
    if (!engine_state(c, e, &now) || now != HV_STATE_PAUSED) return;
    note_power_state(c, e, k.vm, vm_power_state_Paused);

    log_warn("VM %s is paused: a repository of its disks is full", e->uuid);
    if (message_create(c, "VM_PAUSED_NO_SPACE", NO_SPACE_PRIORITY, cls_VM, e->uuid,
                       "The repository of a disk is full. Make room there: the VM goes on where it was, by itself or when it is unpaused.",
                       &message, &err))
        log_failure("alert", e->uuid, &err);
}

static void note_metric(struct call *c, const struct queued *e, const struct known *k)
{
    struct xerr err = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);

    if (e->kind == HV_EVENT_REBOOTED) txn_set_time(t, k->metrics, F_VM_metrics_start_time, time(NULL));
    else txn_set_int(t, k->metrics, F_VM_metrics_memory_actual, e->memory_bytes);
    if (db_commit(t, &err)) log_failure("metrics", e->uuid, &err);
}

static void note_guest(struct call *c, const struct queued *e)
{
    struct xerr err = XERR_INIT;
    struct known k;

    if (!find_settled(c, e, &k) || k.domid < 0) return;
    if (!vm_guest_refresh(c, k.vm, e->uuid, k.domid, &err)) return;
    if (xerr_is(&err, "VM_BAD_POWER_STATE")) xerr_clear(&err);       /* it has ended meanwhile */
    else log_failure("guest metrics", e->uuid, &err);
}

static void handle(struct call *c, const struct queued *e)
{
    struct xerr err = XERR_INIT;
    struct known k;

    switch (e->kind) {
    case HV_EVENT_DRIVER_REGAINED:
        if (vm_resync(c->agent, &err)) log_failure("comparison with the engine", "-", &err);
        return;
    case HV_EVENT_STOPPED: handle_stopped(c, e); return;
    case HV_EVENT_CRASHED: handle_crashed(c, e); return;
    case HV_EVENT_PAUSED:
        if (e->no_space) handle_no_space(c, e);
        else if (find_known(c, e, &k)) note_power_state(c, e, k.vm, vm_power_state_Paused);
        return;
    case HV_EVENT_RESUMED:
        if (find_known(c, e, &k)) note_power_state(c, e, k.vm, vm_power_state_Running);
        return;
    case HV_EVENT_REBOOTED:
    case HV_EVENT_MEMORY:
        if (!find_known(c, e, &k)) return;
        note_metric(c, e, &k);
        if (e->kind == HV_EVENT_REBOOTED) vm_tell(c->agent->vms, k.vm, VM_NEWS_REBOOTED);
        return;
    case HV_EVENT_STARTED:
    case HV_EVENT_SHUTTING_DOWN:
    case HV_EVENT_DEVICE_ADDED:
    case HV_EVENT_DEVICE_REMOVED:
    case HV_EVENT_DRIVER_LOST: return;
    case HV_EVENT_AGENT: note_guest(c, e); return;
    }
}

/* ---- threads -------------------------------------------------------------------------------------------------- */

static void work(struct queued *e)
{
    struct call *c = call_new_internal(e->monitor->agent, "hypervisor event");

    handle(c, e);
    call_free_internal(c);
    free(e);
}

static void *worker(void *arg)
{
    struct queued *e = arg;
    struct vm_monitor *m = e->monitor;

    work(e);
    pthread_mutex_lock(&m->lock);
    m->workers--;
    pthread_cond_broadcast(&m->queue_cond);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static bool may_block(const struct queued *e)
{
    return e->kind == HV_EVENT_STOPPED || e->kind == HV_EVENT_CRASHED || e->kind == HV_EVENT_DRIVER_REGAINED ||
           e->kind == HV_EVENT_AGENT || e->no_space;
}

static void hand_to_worker(struct vm_monitor *m, struct queued *e)
{
    pthread_t thread;
    pthread_attr_t attr;

    pthread_mutex_lock(&m->lock);
    m->workers++;
    pthread_mutex_unlock(&m->lock);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    if (pthread_create(&thread, &attr, worker, e)) worker(e);   /* no thread left: in line, late but done */
    pthread_attr_destroy(&attr);
}

static void *monitor_main(void *arg)
{
    struct vm_monitor *m = arg;

    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        struct queued *e = m->head;
        if (!e) {
            pthread_cond_wait(&m->queue_cond, &m->lock);
            continue;
        }
        m->head = e->next;
        if (!m->head) m->tail = &m->head;
        pthread_mutex_unlock(&m->lock);
        if (may_block(e)) hand_to_worker(m, e);
        else work(e);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

void vm_monitor_event(void *arg, const struct hv_event *event)
{
    struct vm_monitor *m = arg;
    struct queued *e = xcalloc(1, sizeof(*e));

    e->kind = event->kind;
    e->reason = event->reason;
    e->domid = event->domid;
    e->memory_bytes = event->memory_bytes;
    e->no_space = event->no_space;
    e->monitor = m;
    strncpy(e->uuid, event->uuid, sizeof(e->uuid) - 1);
    log_debug("event %d of %s", (int)e->kind, *e->uuid ? e->uuid : "the engine");
    pthread_mutex_lock(&m->lock);
    *m->tail = e;
    m->tail = &e->next;
    pthread_cond_signal(&m->queue_cond);
    pthread_mutex_unlock(&m->lock);
}

struct vm_monitor *vm_monitor_new(struct agent *agent)
{
    struct vm_monitor *m = xcalloc(1, sizeof(*m));

    m->agent = agent;
    m->tail = &m->head;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->queue_cond, NULL);
    pthread_cond_init(&m->ended, NULL);
    cond_init_monotonic(&m->stopping);
    return m;
}

void vm_monitor_run(struct vm_monitor *m)
{
    int rc = pthread_create(&m->thread, NULL, monitor_main, m);

    assert(rc == 0);
    (void)rc;
    m->runs = true;
}

void vm_monitor_stop(struct vm_monitor *m)
{
    if (!m) return;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_cond_broadcast(&m->queue_cond);
    pthread_cond_broadcast(&m->stopping);
    pthread_mutex_unlock(&m->lock);
    /* The thread first: it is what begins workers. */
    if (m->runs) pthread_join(m->thread, NULL);
    m->runs = false;
    pthread_mutex_lock(&m->lock);
    while (m->workers) pthread_cond_wait(&m->queue_cond, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

void vm_monitor_free(struct vm_monitor *m)
{
    if (!m) return;
    vm_monitor_stop(m);
    while (m->head) {
        struct queued *e = m->head;
        m->head = e->next;
        free(e);
    }
    pthread_cond_destroy(&m->queue_cond);
    pthread_cond_destroy(&m->ended);
    pthread_cond_destroy(&m->stopping);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
