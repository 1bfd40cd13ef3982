/* Exchanges, and the threads that deferred and streaming requests run on.
 * Called by: conn.c, handlers (http_defer).  Calls: conn.c, reply.c. */
#include "xapi/http/conn.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <time.h>

#include "lib/clock.h"
#define LOG_MODULE "http"
#include "lib/log.h"

enum { THREAD_IDLE_S = 10 };

/* --- exchanges ----------------------------------------------------------------------------------------- */

struct exchange *exchange_new(struct http_server *s)
{
    struct exchange *x = xcalloc(1, sizeof(*x));

    x->req.server = s;
    x->req.arena = arena_new();
    x->buf = xmalloc(READ_SIZE + 1);
    x->stream.fd = -1;
    return x;
}

void exchange_reset(struct exchange *x)
{
    struct exchange fresh = { .req = { .arena = x->req.arena, .server = x->req.server }, .buf = x->buf };

    arena_reset(x->req.arena);
    strbuf_free(&x->body);
    strbuf_free(&x->last);
    free(x->stream.early);
    *x = fresh;
    x->stream.fd = -1;
}

void exchange_free(struct exchange *x)
{
    if (!x) return;
    arena_free(x->req.arena);
    strbuf_free(&x->body);
    strbuf_free(&x->last);
    free(x->stream.early);
    free(x->buf);
    free(x);
}

bool exchange_done(struct exchange *x, struct worker *w)
{
    struct conn *c = x->conn;
    bool stream = x->route->flags & HTTP_STREAM;

    switch (x->outcome) {
    case X_PARKED:
        return false;
    case X_OPEN:
        log_error("%s %s: the handler gave no answer", x->req.head.method_text, x->route->prefix);
        if (x->route->flags & HTTP_NO_HEAD) c->keep = false;
        else http_reply_error(&x->req, 500, NULL);
        break;
    case X_STREAMING:
        c->keep = false;
        c->linger = true;
        if (x->last.len) conn_send_last(c, &x->last);
        break;
    case X_REPLIED:
        break;
    }
    if (!w) {
        pthread_mutex_lock(&c->lock);
        c->detached = false;
        pthread_mutex_unlock(&c->lock);
        if (stream) conn_watch(c, EPOLLIN | EPOLLRDHUP);
    }
    return conn_after_reply(c, w);
}

/* --- the pool ------------------------------------------------------------------------------------------ */

int pool_init(struct pool *p, unsigned max, size_t stack_bytes)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    p->last = &p->first;
    p->max = max;
    p->stack_bytes = stack_bytes;
    return 0;
}

/* Lock held. */
static void seat_take(struct pool *p, struct seat *seat)
{
    seat->x = NULL;
    seat->listed = true;
    seat->next = p->seats;
    p->seats = seat;
    p->idle++;
}

/* Lock held. */
static void seat_leave(struct pool *p, struct seat *seat)
{
    for (struct seat **at = &p->seats; *at; at = &(*at)->next)
        if (*at == seat) {
            *at = seat->next;
            break;
        }
    seat->listed = false;
    p->idle--;
}

/* Lock held on entry and return, not in between. What the seat was called for; NULL: this thread shall end. */
static struct exchange *seat_wait(struct pool *p, struct seat *seat)
{
    struct timespec until;
    int rc;

    seat_take(p, seat);
    pthread_mutex_unlock(&p->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += THREAD_IDLE_S;
    while ((rc = sem_clockwait(&seat->called, CLOCK_MONOTONIC, &until)) && errno == EINTR) {}
    pthread_mutex_lock(&p->lock);
    if (!rc) return seat->x;
    if (seat->listed) {
        seat_leave(p, seat);
        return NULL;
    }
    while (sem_wait(&seat->called)) {}   /* it was called at the last moment: the post is on its way */
    return seat->x;
}

/* Lock held. The next exchange; NULL: this thread shall end. */
static struct exchange *pool_next(struct pool *p, struct seat *seat)
{
    struct exchange *x = p->first;

    if (!x) return p->stop ? NULL : seat_wait(p, seat);
    p->first = x->next;
    if (!p->first) p->last = &p->first;
    return x;
}

static void *pool_main(void *arg)
{
    struct http_server *s = arg;
    struct pool *p = &s->pool;
    struct seat seat = { .x = NULL };
    struct exchange *x;

    pthread_setname_np(pthread_self(), "http-request");
    sem_init(&seat.called, 0, 0);
    pthread_mutex_lock(&p->lock);
    while ((x = pool_next(p, &seat))) {
        pthread_mutex_unlock(&p->lock);
        x->fn(&x->req, x->fn_arg);
        exchange_done(x, NULL);
        exchange_free(x);
        atomic_fetch_sub(&s->running, 1);
        pthread_mutex_lock(&p->lock);
    }
    server_thread_ends(s);
    p->threads--;
    pthread_cond_broadcast(&p->ended);
    pthread_mutex_unlock(&p->lock);
    sem_destroy(&seat.called);
    return NULL;
}

/* Lock held. A new thread for x; -1: there is none to be had. */
static int pool_grow(struct http_server *s, struct exchange *x)
{
    struct pool *p = &s->pool;
    pthread_t thread;

    if (p->threads >= p->max || server_start_thread(s, pool_main, p->stack_bytes, &thread) < 0) return -1;
    p->threads++;
    x->next = NULL;
    *p->last = x;
    p->last = &x->next;
    return 0;
}

int pool_submit(struct http_server *s, struct exchange *x)
{
    struct pool *p = &s->pool;
    struct seat *seat = NULL;
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    if (p->stop) {
        rc = -1;
    } else if (p->seats) {
        seat = p->seats;
        seat_leave(p, seat);
        seat->x = x;
    } else {
        rc = pool_grow(s, x);
    }
    if (!rc) atomic_fetch_add(&s->running, 1);
    pthread_mutex_unlock(&p->lock);
    if (seat) sem_post(&seat->called);
    return rc;
}

unsigned pool_stop(struct pool *p, int timeout_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000 + 1;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    while (p->seats) {
        struct seat *seat = p->seats;
        seat_leave(p, seat);
        sem_post(&seat->called);
    }
    while (p->threads && pthread_cond_timedwait(&p->ended, &p->lock, &until) != ETIMEDOUT) ;
    unsigned left = p->threads;
    pthread_mutex_unlock(&p->lock);
    return left;
}

/* --- handlers' interface ------------------------------------------------------------------------------- */

int http_defer(struct http_request *req, http_handler_fn fn, void *arg)
{
    struct exchange *x = exchange_of(req);
    struct conn *c = x->conn;
    bool *deferred = take_ptr(x->deferred);

    assert(x->outcome == X_OPEN && deferred);   /* once, and from a worker */
    x->fn = fn;
    x->fn_arg = arg;
    *deferred = true;
    pthread_mutex_lock(&c->lock);
    c->detached = true;
    pthread_mutex_unlock(&c->lock);
    if (pool_submit(req->server, x) == 0) return 0;
    pthread_mutex_lock(&c->lock);
    c->detached = false;
    pthread_mutex_unlock(&c->lock);
    *deferred = false;
    x->deferred = deferred;
    return -1;
}

bool http_client_gone(struct http_request *req)
{
    struct exchange *x = exchange_of(req);
    struct conn *c = x->conn;
    /* An upload may end by half-closing; that is no hang-up. */
    uint32_t gone = EPOLLHUP | EPOLLERR | (x->route->flags & HTTP_STREAM ? 0 : EPOLLRDHUP);

    if (!c) return false;
    pthread_mutex_lock(&c->lock);
    bool is_gone = c->pending & gone;
    pthread_mutex_unlock(&c->lock);
    return is_gone;
}
