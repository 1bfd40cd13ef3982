/* Class session: being told when a session ends, for whatever lasts longer than a call.
 * Called by: http_auth.  Calls: event hub. */
#include "xapi/session.h"

#include <pthread.h>

#include "xapi/event.h"

struct session_watch {
    struct event_waiter waiter;        /* first */
    struct event_hub *hub;
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool ended;                        /* lock: lock; the hub is through with us */
    void (*fn)(void *arg);             /* lock: lock */
    void *arg;
};

/* From the hub's thread: the session has gone, or the agent stops. */
static void tell(struct event_waiter *waiter, struct event_text *text, const struct xerr *why)
{
    struct session_watch *w = (struct session_watch *)waiter;

    (void)text, (void)why;
    pthread_mutex_lock(&w->lock);
    if (w->fn) w->fn(w->arg);
    w->ended = true;
    pthread_cond_signal(&w->told);
    pthread_mutex_unlock(&w->lock);
}

struct session_watch *session_watch_begin(const struct call *c)
{
    if (ref_is_null(c->session)) return NULL;
    struct session_watch *w = xcalloc(1, sizeof(*w));

    w->waiter = (struct event_waiter){ .form = EVENT_WAKE, .deadline_ns = INT64_MAX, .session = c->session,
                                       .handle = c->handle, .answer = tell };
    w->hub = c->agent->events;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->told, NULL);
    event_wait(w->hub, &w->waiter);
    return w;
}

void session_watch_set(struct session_watch *w, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&w->lock);
    if (w->ended) fn(arg);
    w->fn = fn;
    w->arg = arg;
    pthread_mutex_unlock(&w->lock);
}

void session_watch_end(struct session_watch *w)
{
    if (!w) return;
    if (event_wait_cancel(w->hub, &w->waiter) == EVENT_ANSWERING) {
        pthread_mutex_lock(&w->lock);
        while (!w->ended) pthread_cond_wait(&w->told, &w->lock);
        pthread_mutex_unlock(&w->lock);
    }
    pthread_cond_destroy(&w->told);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
