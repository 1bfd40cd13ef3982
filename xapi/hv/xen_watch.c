/* What happens to Xen domains without our doing: they end, their balloons move, xenstored goes and comes.
 * Called by: xen.c, xen_power.c.  Calls: libxenctrl, xen_store, xen_power (clearing away), xen_lost.
 *
 * One thread with one connection. The event that a domain has ended names no domain, so all are looked at; cleaning up
 * after one takes a thread of its own, so that one stuck backend delays nobody else's restart. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { TICK_MS = 5000, BALLOON_TICK_MS = 250, TELL_MS = 2000, RETRY_FIRST_MS = 100, RETRY_MAX_MS = 5000 };

/* ---- domains that ended ---------------------------------------------------------------------- */

static enum hv_stop_reason reason_of(const xc_domaininfo_t *info)
{
    switch (xn_shutdown_code(info)) {
    case SHUTDOWN_poweroff: return HV_STOP_POWEROFF;
    case SHUTDOWN_reboot: return HV_STOP_REBOOT;
    default: return HV_STOP_CRASH;
    }
}

/* The turn's holder: is it over, and how? */
static bool has_ended(struct xn *xn, struct xn_guest *g, enum hv_stop_reason *ret_reason)
{
    xc_domaininfo_t info;

    if (!xn_dominfo(xn, g, &info)) {
        if (errno) return false;             /* looked at again soon */
        *ret_reason = HV_STOP_DESTROYED;
        return true;
    }
    if (g->phase == XN_MAKING) {             /* by an agent that was killed */
        *ret_reason = HV_STOP_DESTROYED;
        return true;
    }
    if (xn_state(&info) != HV_STATE_SHUTDOWN || g->suspending) return false;
    if (xn_shutdown_code(&info) == SHUTDOWN_suspend) {       /* it obeyed after all, when nobody waited for it any more */
        xn_resume_in_place(xn, g);
        return false;
    }
    *ret_reason = reason_of(&info);
    return true;
}

static void finish(struct xn *xn, struct xn_guest *g)
{
    enum hv_stop_reason reason;

    if (g->phase == XN_ENDING || !has_ended(xn, g, &reason)) return;
    bool made = g->phase == XN_THERE;
    log_info("xen: domain %jd (%s) has ended", (intmax_t)g->domid, g->uuid);
    if (made && reason == HV_STOP_POWEROFF)
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_SHUTTING_DOWN, .uuid = g->uuid, .domid = g->domid });
    xn_clear_away(xn, g, hv_now_ms() + XN_LET_GO_MS);
    if (made)
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_STOPPED, .uuid = g->uuid, .domid = g->domid, .reason = reason });
}

struct ender {
    struct xn *xn;
    char uuid[UUID_TEXT];
};

static void *end_one(void *arg)
{
    struct ender *e = arg;
    struct xn *xn = e->xn;
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    for (;;) {
        struct xn_guest *g = xn_turn(xn, e->uuid, hv_now_ms() + 60000, &f);
        if (g) {
            finish(xn, g);
            pthread_mutex_lock(&xn->lock);
            g->has_ender = false;
            pthread_mutex_unlock(&xn->lock);
            xn_turn_end(xn, g);
        }
        pthread_mutex_lock(&xn->lock);
        bool again = !g && f.kind == HV_FAIL_TIMEOUT && !xn->stopping;
        if (!again) {
            xn->n_enders--;
            pthread_cond_broadcast(&xn->changed);
        }
        pthread_mutex_unlock(&xn->lock);
        if (!again) break;
    }
    free(e);
    return NULL;
}

static void start_ender(struct xn *xn, const char *uuid)
{
    struct ender *e = xcalloc(1, sizeof *e);
    pthread_t thread;

    e->xn = xn;
    memcpy(e->uuid, uuid, sizeof e->uuid);
    pthread_mutex_lock(&xn->lock);
    xn->n_enders++;
    pthread_mutex_unlock(&xn->lock);
    if (pthread_create(&thread, NULL, end_one, e)) end_one(e);      /* no thread left: in line, late but done */
    else pthread_detach(thread);
}

/* ---- looking at all of them ------------------------------------------------------------------ */

struct look {
    char uuid[UUID_TEXT];
    int64_t domid, memory_bytes;
    enum { GONE, CRASHED, MOVED } what;
};

static const xc_domaininfo_t *info_of(const xc_domaininfo_t *infos, size_t n, int64_t domid)
{
    for (size_t i = 0; i < n; i++)
        if (infos[i].domain == domid) return &infos[i];
    return NULL;
}

/* Under the lock: what there is to say of one guest; false = nothing. */
static bool judge(struct xn_guest *g, const xc_domaininfo_t *info, struct look *ret)
{
    enum hv_state state = info ? xn_state(info) : HV_STATE_NONE;
    int64_t bytes = info ? (int64_t)info->tot_pages << XC_PAGE_SHIFT : 0;

    memcpy(ret->uuid, g->uuid, sizeof ret->uuid);
    ret->domid = g->domid;
    ret->memory_bytes = bytes;
    if (state == HV_STATE_NONE || (state == HV_STATE_SHUTDOWN && !g->suspending)) {
        bool news = !g->has_ender;
        g->has_ender = true;
        ret->what = GONE;
        return news;
    }
    if (state == HV_STATE_CRASHED && !g->crashed) {
        g->crashed = true;
        ret->what = CRASHED;
        return true;
    }
    if (g->watched_bytes < 0) return false;
    bool moved = bytes != g->watched_bytes;
    g->watched_bytes = bytes;
    int64_t off = bytes - g->target_bytes;
    if (off < 2 << 20 && off > -(2 << 20)) g->watched_bytes = -1;      /* it has arrived */
    ret->what = MOVED;
    return moved;
}

/* Everything that is to be told, and whether a balloon moves. */
static size_t look_at_all(struct xn *xn, struct arena *a, struct look **ret_looks, bool *ret_moving)
{
    xc_domaininfo_t *infos;
    size_t n_infos, n = 0;

    *ret_moving = false;
    if (xn_dominfo_all(xn, &infos, &n_infos) < 0) {
        log_error("xen: listing domains: %s", strerror(errno));
        return 0;
    }
    pthread_mutex_lock(&xn->lock);
    for (const struct xn_guest *g = xn->guests; g; g = g->next) n++;
    struct look *looks = arena_new_array(a, struct look, n + 1);
    n = 0;
    for (struct xn_guest *g = xn->guests; g; g = g->next) {
        if (g->phase == XN_THERE && judge(g, info_of(infos, n_infos, g->domid), &looks[n])) n++;
        *ret_moving |= g->watched_bytes >= 0;
    }
    pthread_mutex_unlock(&xn->lock);
    free(infos);
    *ret_looks = looks;
    return n;
}

/* Tells what is to be told and returns whether a balloon moves. */
static bool look(struct xn *xn)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct look *looks;
    bool moving;
    size_t n = look_at_all(xn, a, &looks, &moving);

    for (size_t i = 0; i < n; i++) {
        const struct look *l = &looks[i];
        if (l->what == GONE) start_ender(xn, l->uuid);
        else if (l->what == CRASHED)
            xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_CRASHED, .uuid = l->uuid, .domid = l->domid });
        else
            xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_MEMORY, .uuid = l->uuid, .domid = l->domid,
                                            .memory_bytes = l->memory_bytes });
    }
    return moving;
}

void xn_look_for_ended(struct xn *xn)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const char **uuids;
    size_t n = 0;

    pthread_mutex_lock(&xn->lock);
    for (const struct xn_guest *g = xn->guests; g; g = g->next) n++;
    uuids = arena_new_array(a, const char *, n + 1);
    n = 0;
    for (const struct xn_guest *g = xn->guests; g; g = g->next) uuids[n++] = arena_strdup(a, g->uuid);
    pthread_mutex_unlock(&xn->lock);
    for (size_t i = 0; i < n; i++) {
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        struct xn_guest *g = xn_turn(xn, uuids[i], hv_now_ms() + XN_LET_GO_MS, &f);
        if (!g) continue;
        finish(xn, g);
        xn_turn_end(xn, g);
    }
}

/* ---- what guests say of themselves ----------------------------------------------------------- */

/* A guest whose drivers and tools are listened to. They may say something new as often as they like: it is told once in TELL_MS. */
struct ear {
    int64_t domid, tell_ms;      /* not before */
    char uuid[UUID_TEXT];
    bool news, here;             /* here: it was in the table just now */
};
struct ears {
    struct ear *all;
    size_t n;
};

/* Where something new shows: the tools' own sign, features of the kernel, devices that are taken up. */
static const char *const heard[] = { "data/updated", "control", "device" };

static struct ear *ear_of(const struct ears *e, int64_t domid)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->all[i].domid == domid) return &e->all[i];
    return NULL;
}

/* Under the lock: ears for new guests. */
static void grow_ears(const struct xn *xn, struct ears *e, struct xst_batch *b)
{
    for (const struct xn_guest *g = xn->guests; g; g = g->next) {
        struct ear *ear = g->phase == XN_THERE ? ear_of(e, g->domid) : NULL;
        if (ear) ear->here = true;
        if (ear || g->phase != XN_THERE) continue;
        e->all = xrealloc(e->all, (e->n + 1) * sizeof *e->all);
        ear = &e->all[e->n++];
        *ear = (struct ear){ .domid = g->domid, .tell_ms = hv_now_ms() + TELL_MS, .here = true };
        memcpy(ear->uuid, g->uuid, sizeof ear->uuid);
        for (size_t i = 0; i < ARRAY_SIZE(heard); i++) xst_watch(b, XN_P(g->domid, "%s", heard[i]), XN_P(g->domid, "%s", ""));
    }
}

/* Listens to those that are there, and to nobody else. -1 when the connection is broken. */
static int listen_to_all(struct xn *xn, struct xst *store, struct ears *e, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    size_t n = 0;

    for (size_t i = 0; i < e->n; i++) e->all[i].here = false;
    pthread_mutex_lock(&xn->lock);
    grow_ears(xn, e, &b);
    pthread_mutex_unlock(&xn->lock);
    for (size_t i = 0; i < e->n; i++) {
        if (e->all[i].here) {
            e->all[n++] = e->all[i];
            continue;
        }
        for (size_t k = 0; k < ARRAY_SIZE(heard); k++)
            xst_unwatch(&b, XN_P(e->all[i].domid, "%s", heard[k]), XN_P(e->all[i].domid, "%s", ""));
    }
    e->n = n;
    if (!b.n) return 0;
    xst_run(store, &b, hv_now_ms() + XN_STORE_MS, f);       /* a watch that is refused is one of a domain that has just gone */
    return xst_is_broken(store) ? -1 : 0;
}

/* Sorts events: true when a domain has ended. */
static bool take_events(struct xst *store, struct ears *e)
{
    bool ended = false;
    int64_t domid;

    for (struct xst_event *event; (event = xst_take_event(store)); free(event)) {
        ended |= streq(event->token, "ended");
        if (sscanf(event->token, "/local/domain/%" SCNd64, &domid) != 1) continue;
        struct ear *ear = ear_of(e, domid);
        if (ear) ear->news = true;
    }
    return ended;
}

/* Tells what is due, and returns in how many milliseconds the next is; -1 = nothing is waiting. */
static int tell_news(struct xn *xn, struct ears *e)
{
    int64_t now_ms = hv_now_ms(), next_ms = -1;

    for (size_t i = 0; i < e->n; i++) {
        struct ear *ear = &e->all[i];
        if (!ear->news) continue;
        if (now_ms < ear->tell_ms) {
            if (next_ms < 0 || ear->tell_ms - now_ms < next_ms) next_ms = ear->tell_ms - now_ms;
            continue;
        }
        ear->news = false;
        ear->tell_ms = now_ms + TELL_MS;
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_AGENT, .uuid = ear->uuid, .domid = ear->domid, .agent = true });
    }
    return (int)next_ms;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool stopping(struct xn *xn)
{
    pthread_mutex_lock(&xn->lock);
    bool yes = xn->stopping;
    pthread_mutex_unlock(&xn->lock);
    return yes;
}

/* Waits on the wake-up, and on xenstored when there is a connection. True when it was woken up. */
static bool wait_for_news(struct xn *xn, struct xst *store, int timeout_ms)
{
    struct pollfd p[2] = { { .fd = xn->wake_fd, .events = POLLIN }, { .fd = store ? xst_fd(store) : -1, .events = POLLIN } };
    uint64_t count;

    if (poll(p, 2, timeout_ms) <= 0 || !p[0].revents) return false;
    if (read(xn->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN) log_error("xen: eventfd: %s", strerror(errno));
    return true;
}

static int subscribe(struct xn *xn, struct xst **ret_store, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct xst *store;

    if (xst_open(xn->store_path, XN_PATIENCE_MS, hv_now_ms() + XN_STORE_MS, &store, f) < 0) return -1;
    xst_watch(&b, "@releaseDomain", "ended");
    if (xst_run(store, &b, hv_now_ms() + XN_STORE_MS, f) < 0) {
        xst_close(store);
        return -1;
    }
    *ret_store = store;
    return 0;
}

/* 0 when the store is there again; -1 when the driver closes. */
static int reconnect(struct xn *xn, struct xst **ret_store)
{
    int delay_ms = RETRY_FIRST_MS;

    while (!stopping(xn)) {
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        if (subscribe(xn, ret_store, &f) == 0) return 0;
        log_warn("xen: not back yet: %s", f.why);
        wait_for_news(xn, NULL, delay_ms);
        delay_ms = 2 * delay_ms < RETRY_MAX_MS ? 2 * delay_ms : RETRY_MAX_MS;
    }
    return -1;
}

struct watcher { struct xn *xn; struct xst *store; };

/* Until the driver closes (0) or the connection breaks (-1). Guests' news come as fast as they like: the list of domains is looked at
 * when one has ended, and else at each tick. */
static int serve(struct xn *xn, struct xst *store, struct ears *ears, struct hv_failure *f)
{
    int64_t due_ms = 0;

    while (!stopping(xn)) {
        if (hv_now_ms() >= due_ms) {
            due_ms = hv_now_ms() + (look(xn) ? BALLOON_TICK_MS : TICK_MS);
            if (listen_to_all(xn, store, ears, f) < 0) return -1;
        }
        int64_t wait_ms = due_ms - hv_now_ms();
        int tell_ms = tell_news(xn, ears);
        if (tell_ms >= 0 && tell_ms < wait_ms) wait_ms = tell_ms;
        bool woken = wait_for_news(xn, store, wait_ms > 0 ? (int)wait_ms : 0);
        if (xst_fill(store, f) < 0) return -1;
        if (take_events(store, ears) || woken) due_ms = 0;
    }
    return 0;
}

static void *watch(void *arg)
{
    struct watcher *w = arg;
    struct xn *xn = w->xn;
    struct xst *store = w->store;
    struct ears ears = { NULL, 0 };
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    free(w);
    while (serve(xn, store, &ears, &f) < 0) {
        log_warn("xen: xenstored is lost: %s", f.why);
        xst_close(store);
        store = NULL;
        ears.n = 0;
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_DRIVER_LOST, .uuid = "" });
        if (reconnect(xn, &store) < 0) break;
        xn_store_found(xn, store);
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_DRIVER_REGAINED, .uuid = "" });
    }
    xst_close(store);
    free(ears.all);
    return NULL;
}

void xn_watch_wake(struct xn *xn)
{
    const uint64_t one = 1;

    if (write(xn->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN) log_error("xen: eventfd: %s", strerror(errno));
}

int xn_watch_start(struct xn *xn, struct hv_failure *f)
{
    struct watcher *w = xcalloc(1, sizeof *w);

    w->xn = xn;
    if (subscribe(xn, &w->store, f) < 0) {
        free(w);
        return -1;
    }
    int rc = pthread_create(&xn->watcher, NULL, watch, w);
    if (!rc) {
        pthread_setname_np(xn->watcher, "hv-xen");
        return 0;
    }
    xst_close(w->store);
    free(w);
    return hv_fail(f, HV_FAIL_ENGINE, "thread: %s", strerror(rc));
}

void xn_watch_stop(struct xn *xn)
{
    pthread_mutex_lock(&xn->lock);
    xn->stopping = true;
    pthread_cond_broadcast(&xn->changed);
    pthread_mutex_unlock(&xn->lock);
    xn_watch_wake(xn);
    pthread_join(xn->watcher, NULL);
    pthread_mutex_lock(&xn->lock);
    while (xn->n_enders) pthread_cond_wait(&xn->changed, &xn->lock);
    pthread_mutex_unlock(&xn->lock);
}
