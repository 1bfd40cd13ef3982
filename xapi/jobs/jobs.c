/* Background work: one table of what is done how often, on one thread.
 * Called by: main.c.  Calls: class files. */
#include "xapi/jobs/jobs.h"

#include <pthread.h>
#include <time.h>

#define LOG_MODULE "jobs"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/memory.h"
#include "xapi/host.h"
#include "xapi/host_machine.h"
#include "xapi/pbd_multipath.h"
#include "xapi/pif.h"
#include "xapi/pool_role.h"
#include "xapi/rpc/rpc.h"
#include "xapi/session.h"
#include "xapi/startup.h"
#include "xapi/task.h"
#include "xapi/vdi_metadata.h"
#include "xapi/unfinished.h"
#include "xapi/vm_autostart.h"
#include "xapi/vm_balloon.h"
#include "xapi/vm_moves.h"
#include "xapi/vm_space.h"
#include "xapi/vmss.h"

struct job {
    const char *what;
    int every_s;
    void (*run)(struct agent *agent);
};

static void expire_sessions(struct agent *agent)
{
    size_t n = sessions_expire(agent);

    if (n) log_info("%zu idle sessions ended", n);
}

/* On a thread of its own: a directory may be slow to answer. */
static void run_recheck(void *arg)
{
    struct agent *agent = arg;

    sessions_recheck(agent);
    atomic_store(&agent->now->rechecking, false);
}

static void recheck_sessions(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (atomic_exchange(&agent->now->rechecking, true)) return;
    if (rpc_spawn(agent->rpc, run_recheck, agent, &err)) atomic_store(&agent->now->rechecking, false);
}

static void run_contact(void *arg)
{
    struct agent *agent = arg;

    pool_role_contact(agent);
    atomic_store(&agent->now->contacting, false);
}

/* On a thread of its own, too: a coordinator that is lost answers nothing. */
static void contact_coordinator(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (pool_role_leads(agent->role) || atomic_exchange(&agent->now->contacting, true)) return;
    if (rpc_spawn(agent->rpc, run_contact, agent, &err)) atomic_store(&agent->now->contacting, false);
}

static void run_paths(void *arg)
{
    struct agent *agent = arg;

    pbd_multipath_look(agent);
    atomic_store(&agent->now->counting_paths, false);
}

static void count_paths(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (atomic_exchange(&agent->now->counting_paths, true)) return;
    if (rpc_spawn(agent->rpc, run_paths, agent, &err)) atomic_store(&agent->now->counting_paths, false);
}

static void run_moves(void *arg)
{
    struct agent *agent = arg;

    vm_moves_settle(agent);
    atomic_store(&agent->now->settling, false);
}

/* On a thread of its own, too: the other pool may not answer. */
static void settle_moves(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (atomic_exchange(&agent->now->settling, true)) return;
    if (rpc_spawn(agent->rpc, run_moves, agent, &err)) atomic_store(&agent->now->settling, false);
}

static void run_space(void *arg)
{
    struct agent *agent = arg;

    vm_space_look(agent);
    atomic_store(&agent->now->looking_for_room, false);
}

/* On a thread of its own, too: drivers are asked. */
static void look_for_room(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (atomic_exchange(&agent->now->looking_for_room, true)) return;
    if (rpc_spawn(agent->rpc, run_space, agent, &err)) atomic_store(&agent->now->looking_for_room, false);
}

static void refresh_host(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "host metrics");
    struct xerr err = XERR_INIT;

    if (host_refresh(c, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("host metrics: %s", why);
        xerr_clear(&err);
    }
    call_free_internal(c);
}

/* One run of a schedule, on a thread of its own. */
struct scheduled {
    struct agent *agent;
    struct ref schedule;
};

static void run_schedule(void *arg)
{
    struct scheduled *s = arg;

    vmss_run(s->agent, s->schedule);
    free(s);
}

static void start_schedules(struct agent *agent)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct ref *due;
    size_t n = pool_role_leads(agent->role) ? vmss_take_due(agent, a, &due) : 0;   /* schedules are the coordinator's */

    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        struct scheduled *s = xcalloc(1, sizeof(*s));
        *s = (struct scheduled){ agent, due[i] };
        if (!rpc_spawn(agent->rpc, run_schedule, s, &err)) continue;
        log_error("snapshot schedule %s: no thread is free for it", REF_STR(due[i]));
        free(s);
    }
}

static void run_autostart(void *arg) { vm_autostart_run(arg); }

static void run_reruns(void *arg) { unfinished_rerun_run(arg); }

static void rerun(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (unfinished_rerun_due(agent) && rpc_spawn(agent->rpc, run_reruns, agent, &err))
        log_error("VMs whose reboot was cut off stay halted: no thread is free for them");
}

static void after_boot(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!vm_autostart_due(agent)) return;
    host_booted(agent);
    if (pool_role_leads(agent->role) && rpc_spawn(agent->rpc, run_autostart, agent, &err))
        log_error("VMs do not start by themselves: no thread is free for it");
}

static void run_replication(void *arg)
{
    struct agent *agent = arg;

    vdi_metadata_write(agent);
    atomic_store(&agent->now->replication_started, false);
}

/* On a thread of its own: disks may be slow. */
static void replicate_database(struct agent *agent)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!pool_role_leads(agent->role) || !vdi_metadata_due(agent)) return;
    if (atomic_exchange(&agent->now->replication_started, true)) return;
    if (rpc_spawn(agent->rpc, run_replication, agent, &err)) atomic_store(&agent->now->replication_started, false);
}

static void return_memory(struct agent *agent) { memory_return(&agent->now->unused); }

static const struct job table[] = {
    { "forget finished tasks", 60, tasks_collect },
    { "end idle sessions", 300, expire_sessions },
    { "accounts behind sessions", 5, recheck_sessions },
    { "the coordinator", 5, contact_coordinator },
    { "memory of guests", 10, vm_balloon_return },
    { "host metrics", 30, refresh_host },
    { "scheduled snapshots", 5, start_schedules },
    { "paths to disks", 5, count_paths },
    { "VMs on the move", 5, settle_moves },
    { "VMs that wait for room", 10, look_for_room },
    { "network news", 1, pif_watch },
    { "memory for others", 1, return_memory },
    { "SSH time-out", 5, host_close_expired_ssh },
    { "the database in repositories", 10, replicate_database },
};

struct jobs {
    struct agent *agent;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stop;                              /* lock: lock */
    int64_t due_ns[ARRAY_SIZE(table)];      /* only the thread */
    pthread_t thread;
};

static int64_t run_due(struct jobs *j)
{
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        int64_t now = clock_monotonic_ns();
        if (j->due_ns[i] <= now) {
            table[i].run(j->agent);
            j->due_ns[i] = now + table[i].every_s * NS_PER_S;
        }
        if (j->due_ns[i] < next) next = j->due_ns[i];
    }
    return next;
}

static void *jobs_main(void *arg)
{
    struct jobs *j = arg;

    pthread_mutex_lock(&j->lock);
    while (!j->stop) {
        pthread_mutex_unlock(&j->lock);
        int64_t next = run_due(j);
        struct timespec until = { next / NS_PER_S, next % NS_PER_S };
        pthread_mutex_lock(&j->lock);
        if (!j->stop) pthread_cond_timedwait(&j->cond, &j->lock, &until);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

struct jobs *jobs_start(struct agent *agent)
{
    struct jobs *j = xcalloc(1, sizeof(*j));
    pthread_condattr_t monotonic;

    j->agent = agent;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) j->due_ns[i] = clock_monotonic_ns() + table[i].every_s * NS_PER_S;
    pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&j->cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&j->thread, NULL, jobs_main, j)) abort();
    after_boot(agent);
    rerun(agent);
    return j;
}

void jobs_stop(struct jobs *j)
{
    if (!j) return;
    pthread_mutex_lock(&j->lock);
    j->stop = true;
    pthread_cond_broadcast(&j->cond);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    pthread_cond_destroy(&j->cond);
    pthread_mutex_destroy(&j->lock);
    free(j);
}
