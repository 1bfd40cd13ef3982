/* The state of the gates: limits, audit log, threads of Async calls; start and stop.
 * Called by: main.c, dispatch.c.  Calls: audit, oplock, class files. */
#define LOG_MODULE "rpc"

#include "xapi/rpc/rpc.h"

#include <assert.h>
#include <pthread.h>

#include "lib/clock.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/map.h"
#include "xapi/call/live_task.h"
#include "xapi/login_cache.h"
#include "xapi/session_room.h"
#include "xapi/login_guard.h"
#include "xapi/pool_secret.h"
#include "xapi/role.h"
#include "xapi/rpc/audit.h"
#include "xapi/rpc/oplock.h"
#include "xapi/session_db.h"
#include "xapi/task.h"
#include "xapi/user_agents.h"
#include "xapi/vm_plugin.h"

enum { STACK_BYTES = 1 << 20, STOP_MS = 10000 };

struct rpc {
    struct agent *agent;               /* immutable */
    struct audit *audit;               /* immutable */
    struct oplocks *oplocks;           /* immutable */
    unsigned threads_max, session_max, sr_max; /* immutable */
    atomic_uint writers;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    /* lock: lock */
    unsigned threads;                  /* blocking calls in flight, without logins */
    unsigned spawned;                  /* threads of our own */
    struct refmap *by_ref;             /* session, repository -> how many of them, as a number in the pointer */
};

int rpc_init(struct agent *agent, const struct rpc_config *config, struct rpc **ret_rpc, struct xerr *err)
{
    struct rpc *rpc = xcalloc(1, sizeof(*rpc));
    pthread_condattr_t attr;

    rpc->agent = agent;
    rpc->threads_max = config->threads ? config->threads : LIMIT_BLOCKING_CALLS;
    rpc->session_max = config->session_threads ? config->session_threads : LIMIT_BLOCKING_CALLS_SESSION;
    rpc->sr_max = config->sr_threads ? config->sr_threads : LIMIT_BLOCKING_CALLS_SR;
    rpc->by_ref = refmap_new();
    rpc->oplocks = oplocks_new();
    pthread_mutex_init(&rpc->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&rpc->ended, &attr);
    pthread_condattr_destroy(&attr);
    agent->rpc = rpc;
    agent->call_message = rpc_call_message;
    agent->events = event_hub_new(agent->db);
    agent->user_agents = user_agents_new();
    agent->plugin_calls = plugin_calls_new();
    agent->logins = login_guard_new();
    agent->directory_logins = login_cache_new();
    agent->session_room = session_room_new();
    agent->session_dbs = session_dbs_new();
    if (!auth_new(&config->auth, &agent->auth, err) && !pool_secret_open(agent->root, &agent->pool_secret, err)
        && !audit_open(agent->root, config->audit_reads, &rpc->audit, err) && !roles_seed(agent, err)
        && !tasks_recover(agent, err)) {
        *ret_rpc = rpc;
        return 0;
    }
    rpc_free(rpc);
    return -1;
}

void rpc_stopping(struct rpc *rpc)
{
    event_hub_stop(rpc->agent->events);
    live_tasks_cancel_all(rpc->agent->tasks);
}

unsigned rpc_stop(struct rpc *rpc, int timeout_ms)
{
    struct timespec ts;

    rpc_stopping(rpc);
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += timeout_ms / 1000;
    ts.tv_nsec += timeout_ms % 1000 * NS_PER_MS;
    if (ts.tv_nsec >= NS_PER_S) {
        ts.tv_sec++;
        ts.tv_nsec -= NS_PER_S;
    }
    pthread_mutex_lock(&rpc->lock);
    while (rpc->spawned && !pthread_cond_timedwait(&rpc->ended, &rpc->lock, &ts)) {}
    unsigned left = rpc->spawned;
    pthread_mutex_unlock(&rpc->lock);
    if (left) log_warn("%u calls had not ended when the agent stopped", left);
    return left;
}

void rpc_free(struct rpc *rpc)
{
    if (!rpc) return;
    /* Calls that do not end keep what they use: the process is about to end, and they must not crash it. */
    if (rpc_stop(rpc, STOP_MS)) return;
    event_hub_free(take_ptr(rpc->agent->events));
    user_agents_free(take_ptr(rpc->agent->user_agents));
    plugin_calls_free(take_ptr(rpc->agent->plugin_calls));
    login_guard_free(take_ptr(rpc->agent->logins));
    login_cache_free(take_ptr(rpc->agent->directory_logins));
    session_room_free(take_ptr(rpc->agent->session_room));
    session_dbs_free(take_ptr(rpc->agent->session_dbs));
    auth_free(take_ptr(rpc->agent->auth));
    pool_secret_free(take_ptr(rpc->agent->pool_secret));
    audit_close(rpc->audit);
    oplocks_free(rpc->oplocks);
    refmap_free(rpc->by_ref);
    pthread_cond_destroy(&rpc->ended);
    pthread_mutex_destroy(&rpc->lock);
    rpc->agent->rpc = NULL;
    free(rpc);
}

struct agent *rpc_agent(const struct rpc *rpc)
{
    return rpc->agent;
}

atomic_uint *rpc_writers(struct rpc *rpc)
{
    return &rpc->writers;
}

struct audit *rpc_audit(struct rpc *rpc)
{
    return rpc->audit;
}

const struct oplocks *rpc_oplocks(const struct rpc *rpc)
{
    return rpc->oplocks;
}

/* ---- limits ---- */

static uintptr_t count_of(const struct rpc *rpc, struct ref who)
{
    return (uintptr_t)refmap_get(rpc->by_ref, who);
}

static void change_count(struct rpc *rpc, struct ref who, int by)
{
    uintptr_t n = count_of(rpc, who) + (uintptr_t)by;

    if (n) refmap_put(rpc->by_ref, who, (void *)n);
    else refmap_remove(rpc->by_ref, who);
}

static void change_place(struct rpc *rpc, struct rpc_place place, int by)
{
    if (!ref_is_null(place.session)) rpc->threads += (unsigned)by;
    change_count(rpc, place.session, by);
    if (!ref_is_null(place.sr)) change_count(rpc, place.sr, by);
}

int rpc_count_in(struct rpc *rpc, struct rpc_place place, struct xerr *err)
{
    pthread_mutex_lock(&rpc->lock);
    bool room = count_of(rpc, place.session) < rpc->session_max
                && (ref_is_null(place.session) || rpc->threads < rpc->threads_max)
                && (ref_is_null(place.sr) || count_of(rpc, place.sr) < rpc->sr_max);
    if (room) change_place(rpc, place, 1);
    pthread_mutex_unlock(&rpc->lock);
    return room ? 0 : xerr_too_many_pending_tasks(err);
}

void rpc_count_out(struct rpc *rpc, struct rpc_place place)
{
    pthread_mutex_lock(&rpc->lock);
    assert(count_of(rpc, place.session));
    change_place(rpc, place, -1);
    pthread_mutex_unlock(&rpc->lock);
}

/* ---- threads ---- */

struct spawn {
    struct rpc *rpc;
    void (*fn)(void *job);
    void *job;
};

static void *run(void *arg)
{
    struct spawn *s = arg;
    struct rpc *rpc = s->rpc;

    pthread_setname_np(pthread_self(), "async");
    s->fn(s->job);
    free(s);
    pthread_mutex_lock(&rpc->lock);
    rpc->spawned--;
    pthread_cond_broadcast(&rpc->ended);
    pthread_mutex_unlock(&rpc->lock);
    return NULL;
}

int rpc_spawn(struct rpc *rpc, void (*fn)(void *job), void *job, struct xerr *err)
{
    struct spawn *s = xcalloc(1, sizeof(*s));
    pthread_attr_t attr;
    pthread_t thread;

    *s = (struct spawn){ rpc, fn, job };
    pthread_mutex_lock(&rpc->lock);
    rpc->spawned++;
    pthread_mutex_unlock(&rpc->lock);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int rc = pthread_create(&thread, &attr, run, s);
    pthread_attr_destroy(&attr);
    if (!rc) return 0;
    pthread_mutex_lock(&rpc->lock);
    rpc->spawned--;
    pthread_mutex_unlock(&rpc->lock);
    free(s);
    return xerr_too_many_pending_tasks(err);
}
