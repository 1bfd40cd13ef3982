/* Whether the agent has begun wholly, and those who wait for it.
 * Called by: main.c, rpc/, http/.  Calls: clock. */
#include "xapi/call/ready.h"

#include <pthread.h>
#include <time.h>

#include "lib/clock.h"

enum { LIMIT_MS = 30000, LOOK_FOR_CANCEL_MS = 100 };

struct ready {
    atomic_bool is, never;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

struct ready *ready_new(void)
{
    struct ready *r = xcalloc(1, sizeof(*r));
    pthread_condattr_t monotonic;

    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return r;
}

void ready_free(struct ready *r)
{
    if (!r) return;
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void decide(struct ready *r, atomic_bool *what)
{
    pthread_mutex_lock(&r->lock);
    atomic_store_explicit(what, true, memory_order_release);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void ready_set(struct ready *r)
{
    decide(r, &r->is);
}

void ready_give_up(struct ready *r)
{
    if (r) decide(r, &r->never);
}

bool ready_is(const struct ready *r)
{
    return !r || atomic_load_explicit(&r->is, memory_order_acquire);
}

static void wait_a_moment(struct ready *r)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_FOR_CANCEL_MS * NS_PER_MS;
    if (until.tv_nsec >= NS_PER_S) {
        until.tv_sec++;
        until.tv_nsec -= NS_PER_S;
    }
    pthread_mutex_lock(&r->lock);
    if (!ready_is(r) && !atomic_load(&r->never)) pthread_cond_timedwait(&r->changed, &r->lock, &until);
    pthread_mutex_unlock(&r->lock);
}

int call_wait_ready(struct call *c, struct xerr *err)
{
    struct ready *r = c->agent->ready;
    int64_t deadline_ns = clock_monotonic_ns() + LIMIT_MS * NS_PER_MS;

    while (!ready_is(r)) {
        if (call_check_cancel(c, err)) return -1;
        if (atomic_load(&r->never) || clock_monotonic_ns() > deadline_ns) return xerr_host_still_booting(err);
        wait_a_moment(r);
    }
    return 0;
}
