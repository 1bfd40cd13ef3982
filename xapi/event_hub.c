/* The waiters of event.from: grouped, indexed by class and object, woken by commits, answered by one thread.
 * Called by: event.c, rpc/, http/post_rpc, startup.  Calls: event_sub, db/. */
#include <assert.h>
#include <pthread.h>

#include "lib/clock.h"
#include "lib/map.h"
#include "xapi/event_sub.h"

enum { HUB_MAGIC = 0x65766874 };
enum { WAITER_NEW, WAITER_FILED, WAITER_TAKEN, WAITER_GONE };
enum { LEGACY_LIMIT = 4096 };

/* A group's place in the list of those that watch one object. */
struct watch {
    struct watch *next;
    struct event_group *group;
};

struct event_group {
    char *key;
    struct event_sub *sub;                 /* a reference */
    struct token since;
    enum event_form form;
    struct event_waiter *first;
    bool ready;                            /* in the hub's list of groups to look at */
    struct event_group *ready_next;
    size_t *class_at;                      /* place in classes[cls], by class id */
    struct watch *watches;                 /* sub->n of them */
};

struct class_list {
    struct event_group **groups;
    size_t n, cap;
};

struct legacy {
    struct event_sub *sub;
    struct token since;
};

struct event_hub {
    unsigned magic;
    struct db *db;                         /* immutable */
    struct event_cache *cache;             /* immutable */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* lock: lock, all of the following */
    bool stopping;
    struct map *groups;                    /* key -> struct event_group */
    struct class_list *classes;            /* by class id */
    struct refmap *objects;                /* reference -> struct watch */
    struct event_group *ready;
    struct event_waiter **heap;            /* the earliest deadline first */
    size_t n_heap, cap_heap;
    struct refmap *legacy;                 /* session -> struct legacy */
    struct refmap *sessions;               /* session -> the first that waits in it */
    struct ref *touched;                   /* sessions that changed or went while somebody waited in them */
    size_t n_touched, cap_touched;
};

/* ---- the heap of deadlines (under the lock) ---- */

static void heap_put(struct event_hub *h, size_t at, struct event_waiter *w)
{
    h->heap[at] = w;
    w->heap_at = at;
}

static void heap_up(struct event_hub *h, size_t at, struct event_waiter *w)
{
    while (at && h->heap[(at - 1) / 2]->deadline_ns > w->deadline_ns) {
        heap_put(h, at, h->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(h, at, w);
}

static void heap_down(struct event_hub *h, size_t at, struct event_waiter *w)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->n_heap) break;
        if (child + 1 < h->n_heap && h->heap[child + 1]->deadline_ns < h->heap[child]->deadline_ns) child++;
        if (h->heap[child]->deadline_ns >= w->deadline_ns) break;
        heap_put(h, at, h->heap[child]);
        at = child;
    }
    heap_put(h, at, w);
}

static void heap_add(struct event_hub *h, struct event_waiter *w)
{
    if (h->n_heap == h->cap_heap) {
        h->cap_heap = h->cap_heap ? h->cap_heap * 2 : 64;
        h->heap = xrealloc(h->heap, h->cap_heap * sizeof(h->heap[0]));
    }
    heap_up(h, h->n_heap++, w);
}

static void heap_remove(struct event_hub *h, struct event_waiter *w)
{
    size_t at = w->heap_at;
    struct event_waiter *last = h->heap[--h->n_heap];

    if (last == w) return;
    if (at && h->heap[(at - 1) / 2]->deadline_ns > last->deadline_ns) heap_up(h, at, last);
    else heap_down(h, at, last);
}

/* ---- groups and their index (under the lock) ---- */

static void class_list_add(struct event_hub *h, unsigned cls, struct event_group *g)
{
    struct class_list *l = &h->classes[cls];

    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 8;
        l->groups = xrealloc(l->groups, l->cap * sizeof(l->groups[0]));
    }
    g->class_at[cls] = l->n;
    l->groups[l->n++] = g;
}

static void class_list_remove(struct event_hub *h, unsigned cls, struct event_group *g)
{
    struct class_list *l = &h->classes[cls];
    struct event_group *last = l->groups[--l->n];

    l->groups[g->class_at[cls]] = last;
    last->class_at[cls] = g->class_at[cls];
}

static void index_add(struct event_hub *h, struct event_group *g)
{
    map_put(h->groups, g->key, g);
    for (unsigned i = 0; i < model.n_classes; i++)
        if (g->sub->wanted[i]) class_list_add(h, i, g);
    for (size_t i = 0; i < g->sub->n; i++) {
        struct ref ref = g->sub->objects[i].ref;
        g->watches[i] = (struct watch){ refmap_get(h->objects, ref), g };
        refmap_put(h->objects, ref, &g->watches[i]);
    }
}

static void unwatch(struct event_hub *h, struct ref ref, struct watch *w)
{
    struct watch *first = refmap_get(h->objects, ref), *p = first;

    if (first == w) {
        if (w->next) refmap_put(h->objects, ref, w->next);
        else refmap_remove(h->objects, ref);
        return;
    }
    while (p->next != w) p = p->next;
    p->next = w->next;
}

static void index_remove(struct event_hub *h, struct event_group *g)
{
    map_remove(h->groups, g->key);
    for (unsigned i = 0; i < model.n_classes; i++)
        if (g->sub->wanted[i]) class_list_remove(h, i, g);
    for (size_t i = 0; i < g->sub->n; i++) unwatch(h, g->sub->objects[i].ref, &g->watches[i]);
}

static struct event_group *group_new(const struct event_waiter *w, char *key)
{
    struct event_group *g = xcalloc(1, sizeof(*g));

    g->key = key;
    g->sub = event_sub_ref(w->sub);
    g->since = w->since;
    g->form = w->form;
    g->class_at = xcalloc(model.n_classes, sizeof(*g->class_at));
    g->watches = xcalloc(g->sub->n, sizeof(*g->watches));
    return g;
}

static void group_free(struct event_group *g)
{
    free(g->key);
    event_sub_unref(g->sub);
    free(g->class_at);
    free(g->watches);
    free(g);
}

static void mark_ready(struct event_hub *h, struct event_group *g)
{
    if (g->ready) return;
    g->ready = true;
    g->ready_next = h->ready;
    h->ready = g;
}

static void join(struct event_group *g, struct event_waiter *w)
{
    w->group = g;
    w->prev = NULL;
    w->next = g->first;
    if (g->first) g->first->prev = w;
    g->first = w;
}

static void leave(struct event_waiter *w)
{
    if (w->prev) w->prev->next = w->next;
    else w->group->first = w->next;
    if (w->next) w->next->prev = w->prev;
    w->prev = w->next = NULL;
}

/* Withdraws an empty group that the thread has not taken to look at. */
static void drop_if_empty(struct event_hub *h, struct event_group *g)
{
    if (g->first || g->ready) return;
    index_remove(h, g);
    group_free(g);
}

/* ---- sessions (under the lock) ---- */

static void session_join(struct event_hub *h, struct event_waiter *w)
{
    if (ref_is_null(w->session)) return;
    struct event_waiter *first = refmap_get(h->sessions, w->session);
    w->session_prev = NULL;
    w->session_next = first;
    if (first) first->session_prev = w;
    refmap_put(h->sessions, w->session, w);
}

static void session_leave(struct event_hub *h, struct event_waiter *w)
{
    if (ref_is_null(w->session)) return;
    if (w->session_next) w->session_next->session_prev = w->session_prev;
    if (w->session_prev) w->session_prev->session_next = w->session_next;
    else if (w->session_next) refmap_put(h->sessions, w->session, w->session_next);
    else refmap_remove(h->sessions, w->session);
}

static void note_session(struct event_hub *h, struct ref session)
{
    if (h->n_touched == h->cap_touched) {
        h->cap_touched = h->cap_touched ? h->cap_touched * 2 : 16;
        h->touched = xrealloc(h->touched, h->cap_touched * sizeof(h->touched[0]));
    }
    h->touched[h->n_touched++] = session;
}

static bool session_lives(struct event_hub *h, struct ref session)
{
    _cleanup_snap_ struct snap *s = db_snap(h->db);

    return snap_get(s, CLASS_session, session) != NULL;
}

/* ---- commits ---- */

static void on_publish(void *arg, const struct touched *rows, size_t n)
{
    struct event_hub *h = arg;

    pthread_mutex_lock(&h->lock);
    bool before = h->ready || h->n_touched;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].cls == CLASS_session && refmap_get(h->sessions, rows[i].ref)) note_session(h, rows[i].ref);
        const struct class_list *l = &h->classes[rows[i].cls];
        for (size_t j = 0; j < l->n; j++) mark_ready(h, l->groups[j]);
        for (struct watch *w = refmap_get(h->objects, rows[i].ref); w; w = w->next) mark_ready(h, w->group);
    }
    if (!before && (h->ready || h->n_touched)) pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

int event_encode(struct event_hub *h, const struct event_sub *sub, struct token since, enum event_form form,
                 bool even_empty, struct event_text **ret_text, struct token *ret_until, struct xerr *err)
{
    return event_sub_encode(h->db, h->cache, sub, since, form, even_empty, ret_text, ret_until, err);
}

/* ---- waiting ---- */

static struct token current(struct event_hub *h)
{
    _cleanup_snap_ struct snap *s = db_snap(h->db);

    return snap_token(s);
}

static bool moved_on(struct event_hub *h, struct token since)
{
    struct token now = current(h);

    return now.revision != since.revision || now.stamp != since.stamp;
}

static void file(struct event_hub *h, struct event_waiter *w)
{
    char *key = event_sub_key(w->sub, w->since, w->form);
    struct event_group *g = map_get(h->groups, key);

    if (g) {
        free(key);
    } else {
        g = group_new(w, key);
        index_add(h, g);
    }
    join(g, w);
}

/* Gives the waiters what there is. Without the lock. Those of event.next that lost events go on from now. */
static void answer_all(struct event_hub *h, struct event_waiter *first, struct event_text *text, struct token until,
                       const struct xerr *why)
{
    if (why) until = current(h);
    for (struct event_waiter *w = first, *next; w; w = next) {
        next = w->next;
        if (!ref_is_null(w->legacy)) event_legacy_advance(h, w->legacy, until);
        w->answer(w, text, why);
    }
}

/* What there is for one waiter, even nothing. Without the lock. */
static void answer_now(struct event_hub *h, struct event_waiter *w)
{
    struct event_text *text = NULL;
    struct token until = w->since;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    bool lost = false;

    if (w->sub && w->form != EVENT_WAKE)
        lost = event_encode(h, w->sub, w->since, w->form, true, &text, &until, &err) != 0;
    w->next = NULL;
    answer_all(h, w, text, until, lost ? &err : NULL);
    event_text_unref(text);
}

bool event_wait(struct event_hub *h, struct event_waiter *w)
{
    assert(h->magic == HUB_MAGIC);
    pthread_mutex_lock(&h->lock);
    if (w->state == WAITER_GONE) {
        pthread_mutex_unlock(&h->lock);
        return false;
    }
    if (h->stopping) {
        w->state = WAITER_TAKEN;
        pthread_mutex_unlock(&h->lock);
        answer_now(h, w);
        return true;
    }
    w->state = WAITER_FILED;
    w->group = NULL;
    if (w->sub) file(h, w);
    heap_add(h, w);
    session_join(h, w);
    /* What was published since the caller looked woke nobody here. Filed first, asked then: nothing slips through. */
    if (w->sub && moved_on(h, w->since)) mark_ready(h, w->group);
    if (!ref_is_null(w->session) && !session_lives(h, w->session)) note_session(h, w->session);
    if (h->ready || h->n_touched || h->heap[0] == w) pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return true;
}

/* Out of its group and the heap. */
static void take(struct event_hub *h, struct event_waiter *w)
{
    w->state = WAITER_TAKEN;
    heap_remove(h, w);
    session_leave(h, w);
    if (w->group) {
        leave(w);
        drop_if_empty(h, w->group);
        w->group = NULL;
    }
}

enum event_cancel event_wait_cancel(struct event_hub *h, struct event_waiter *w)
{
    enum event_cancel done = EVENT_ANSWERING;

    pthread_mutex_lock(&h->lock);
    if (w->state == WAITER_FILED) {
        take(h, w);
        done = EVENT_WITHDRAWN;
    } else if (w->state == WAITER_NEW) {
        done = EVENT_NOT_FILED;
    }
    if (done != EVENT_ANSWERING) w->state = WAITER_GONE;
    pthread_mutex_unlock(&h->lock);
    return done;
}

size_t event_hub_waiters(struct event_hub *h)
{
    pthread_mutex_lock(&h->lock);
    size_t n = h->n_heap;
    pthread_mutex_unlock(&h->lock);
    return n;
}

bool event_hub_has_session(struct event_hub *h, struct ref session)
{
    pthread_mutex_lock(&h->lock);
    bool has = refmap_get(h->sessions, session) != NULL;
    pthread_mutex_unlock(&h->lock);
    return has;
}

/* ---- the thread ---- */

/* Looks at one group that a commit matched. Lock held at both ends, not in between. */
static void look_at(struct event_hub *h, struct event_group *g)
{
    struct event_text *text = NULL;
    struct token until = g->since;
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    g->ready = false;
    if (!g->first) {
        drop_if_empty(h, g);
        return;
    }
    /* Marked ready meanwhile it comes again; a reference keeps the subscription while others may drop the group. */
    struct event_sub *sub = event_sub_ref(g->sub);
    struct token since = g->since;
    enum event_form form = g->form;
    _cleanup_free_ char *key = xstrdup(g->key);
    pthread_mutex_unlock(&h->lock);
    bool lost = event_encode(h, sub, since, form, false, &text, &until, &err) != 0;
    event_sub_unref(sub);
    pthread_mutex_lock(&h->lock);

    if (!text && !lost) return;                    /* nothing for them in it: they stay */
    g = map_get(h->groups, key);                   /* whoever is in it now asked the same */
    if (!g) {
        event_text_unref(text);
        return;
    }
    struct event_waiter *all = NULL;
    while (g->first) {
        struct event_waiter *w = g->first;
        leave(w);
        heap_remove(h, w);
        session_leave(h, w);
        w->state = WAITER_TAKEN;
        w->group = NULL;
        w->next = all;
        all = w;
    }
    drop_if_empty(h, g);
    pthread_mutex_unlock(&h->lock);
    answer_all(h, all, form == EVENT_WAKE ? NULL : text, until, lost ? &err : NULL);
    event_text_unref(text);
    pthread_mutex_lock(&h->lock);
}

/* A session that somebody waits in was written: when it has gone, so does who waits. Lock held at both ends. */
static void look_at_session(struct event_hub *h, struct ref session)
{
    if (!refmap_get(h->sessions, session)) return;
    pthread_mutex_unlock(&h->lock);
    bool lives = session_lives(h, session);
    pthread_mutex_lock(&h->lock);
    if (lives) return;
    for (struct event_waiter *w; (w = refmap_get(h->sessions, session));) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        take(h, w);
        pthread_mutex_unlock(&h->lock);
        xerr_session_invalid(&err, REF_STR(w->handle));
        w->answer(w, NULL, &err);
        pthread_mutex_lock(&h->lock);
    }
}

/* The time of one waiter has come: what there is, even nothing. */
static void expire(struct event_hub *h, struct event_waiter *w)
{
    take(h, w);
    pthread_mutex_unlock(&h->lock);
    answer_now(h, w);
    pthread_mutex_lock(&h->lock);
}

static void sleep_until(struct event_hub *h, int64_t deadline_ns)
{
    /* The condition counts CLOCK_MONOTONIC; deadlines are boot time: after a suspend we wake late by at most a second. */
    int64_t left = deadline_ns - clock_boottime_ns();
    struct timespec ts;

    if (left > NS_PER_S) left = NS_PER_S;
    if (left < 0) left = 0;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += left / NS_PER_S;
    ts.tv_nsec += left % NS_PER_S;
    if (ts.tv_nsec >= NS_PER_S) {
        ts.tv_sec++;
        ts.tv_nsec -= NS_PER_S;
    }
    pthread_cond_timedwait(&h->wake, &h->lock, &ts);
}

static void *run(void *arg)
{
    struct event_hub *h = arg;

    pthread_setname_np(pthread_self(), "events");
    pthread_mutex_lock(&h->lock);
    for (;;) {
        if (h->n_touched) {
            look_at_session(h, h->touched[--h->n_touched]);
        } else if (h->ready) {
            struct event_group *g = h->ready;
            h->ready = g->ready_next;
            look_at(h, g);
        } else if (h->n_heap && (h->stopping || h->heap[0]->deadline_ns <= clock_boottime_ns())) {
            expire(h, h->heap[0]);
        } else if (h->stopping) {
            break;
        } else if (h->n_heap) {
            sleep_until(h, h->heap[0]->deadline_ns);
        } else {
            pthread_cond_wait(&h->wake, &h->lock);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

struct event_hub *event_hub_new(struct db *db)
{
    struct event_hub *h = xcalloc(1, sizeof(*h));
    pthread_condattr_t attr;

    h->magic = HUB_MAGIC;
    h->db = db;
    h->cache = event_cache_new();
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->wake, &attr);
    pthread_condattr_destroy(&attr);
    h->groups = map_new();
    h->objects = refmap_new();
    h->legacy = refmap_new();
    h->sessions = refmap_new();
    h->classes = xcalloc(model.n_classes, sizeof(h->classes[0]));
    db_on_publish(db, on_publish, h);
    if (pthread_create(&h->thread, NULL, run, h)) abort();
    return h;
}

void event_hub_stop(struct event_hub *h)
{
    pthread_mutex_lock(&h->lock);
    bool before = h->stopping;
    h->stopping = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    if (!before) pthread_join(h->thread, NULL);
}

bool event_hub_stopping(struct event_hub *h)
{
    pthread_mutex_lock(&h->lock);
    bool stopping = h->stopping;
    pthread_mutex_unlock(&h->lock);
    return stopping;
}

void event_hub_free(struct event_hub *h)
{
    size_t at = 0;
    struct ref ref;
    void *value;

    if (!h) return;
    event_hub_stop(h);
    db_on_publish(h->db, NULL, NULL);
    while (refmap_next(h->legacy, &at, &ref, &value)) {
        event_sub_unref(((struct legacy *)value)->sub);
        free(value);
    }
    for (unsigned i = 0; i < model.n_classes; i++) free(h->classes[i].groups);
    free(h->classes);
    free(h->heap);
    free(h->touched);
    refmap_free(h->sessions);
    map_free(h->groups);
    refmap_free(h->objects);
    refmap_free(h->legacy);
    event_cache_free(h->cache);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    h->magic = 0;
    free(h);
}

/* ---- legacy registrations ---- */

static void legacy_remove(struct event_hub *h, struct ref session)
{
    struct legacy *l = refmap_remove(h->legacy, session);

    if (!l) return;
    event_sub_unref(l->sub);
    free(l);
}

/* Registrations of sessions that have ended go when there are many. */
static void legacy_tidy(struct event_hub *h)
{
    _cleanup_snap_ struct snap *s = db_snap(h->db);
    size_t at = 0, n = 0;
    struct ref ref;
    void *value;

    if (refmap_count(h->legacy) < LEGACY_LIMIT) return;
    struct ref *gone = xcalloc(refmap_count(h->legacy), sizeof(*gone));
    while (refmap_next(h->legacy, &at, &ref, &value))
        if (!snap_get(s, CLASS_session, ref)) gone[n++] = ref;
    for (size_t i = 0; i < n; i++) legacy_remove(h, gone[i]);
    free(gone);
}

void event_legacy_register(struct event_hub *h, struct db *db, struct ref session, struct event_sub *sub)
{
    struct token now;

    {
        _cleanup_snap_ struct snap *s = db_snap(db);
        now = snap_token(s);
    }
    pthread_mutex_lock(&h->lock);
    struct legacy *l = refmap_get(h->legacy, session);
    if (l) {
        struct event_sub *merged = event_sub_merge(l->sub, sub);
        event_sub_unref(l->sub);
        l->sub = merged;
    } else {
        legacy_tidy(h);
        l = xcalloc(1, sizeof(*l));
        l->sub = event_sub_ref(sub);
        l->since = now;
        refmap_put(h->legacy, session, l);
    }
    pthread_mutex_unlock(&h->lock);
}

void event_legacy_unregister(struct event_hub *h, struct ref session, struct event_sub *sub)
{
    pthread_mutex_lock(&h->lock);
    struct legacy *l = refmap_get(h->legacy, session);
    if (l) {
        struct event_sub *rest = event_sub_without(l->sub, sub);
        event_sub_unref(l->sub);
        l->sub = rest;
        if (event_sub_empty(rest)) legacy_remove(h, session);
    }
    pthread_mutex_unlock(&h->lock);
}

bool event_legacy_get(struct event_hub *h, struct ref session, struct event_sub **ret_sub, struct token *ret_since)
{
    pthread_mutex_lock(&h->lock);
    struct legacy *l = refmap_get(h->legacy, session);
    if (l) {
        *ret_sub = event_sub_ref(l->sub);
        *ret_since = l->since;
    }
    pthread_mutex_unlock(&h->lock);
    return l != NULL;
}

void event_legacy_advance(struct event_hub *h, struct ref session, struct token until)
{
    pthread_mutex_lock(&h->lock);
    struct legacy *l = refmap_get(h->legacy, session);
    if (l) l->since = until;
    pthread_mutex_unlock(&h->lock);
}
