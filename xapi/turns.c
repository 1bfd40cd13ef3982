/* So many at a time: others wait until it is their turn.
 * Called by: auth_source.c, login_cache.c.  Calls: pthread. */
#include "xapi/turns.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "lib/clock.h"

struct turns {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t max, running;          /* lock: lock */
};

struct turns *turns_new(int64_t max)
{
    struct turns *t = xcalloc(1, sizeof(*t));
    pthread_condattr_t attr;

    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    t->max = max > 1 ? max : 1;
    return t;
}

void turns_free(struct turns *t)
{
    if (!t) return;
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void turns_set(struct turns *t, int64_t max)
{
    if (max < 1) max = 1;
    pthread_mutex_lock(&t->lock);
    if (t->max != max) {
        t->max = max;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
}

bool turns_begin(struct turns *t, int64_t timeout_ms)
{
    int64_t until_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    const struct timespec until = { .tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S };

    pthread_mutex_lock(&t->lock);
    while (t->running >= t->max && pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT) {}
    bool mine = t->running < t->max;
    if (mine) t->running++;
    pthread_mutex_unlock(&t->lock);
    return mine;
}

void turns_end(struct turns *t)
{
    pthread_mutex_lock(&t->lock);
    t->running--;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}
