/* Whose request runs next: clients in turn, by address and by session.
 * Called by: conn.c, server.c.  Calls: conn.c (conn_kick), lib/map, lib/priority. */
#include "xapi/http/gate.h"

#include <assert.h>
#include <sched.h>

#include "lib/clock.h"
#include "lib/limits.h"
#include "lib/map.h"
#include "lib/priority.h"
#include "xapi/http/conn.h"

enum { SHARED_MS = 1000, RESUME_AT = 64, SESSION_LOOK = 4096 };

/* A ring of what waits for its turn; the next one is first. */
struct turn { struct turn *next, *prev; };

/* One session of one client; what has no session is one, too. */
struct gate_flow {
    struct turn turn;              /* among those of its client; while something waits */
    struct gate_client *client;
    struct ref key;
    unsigned users;                /* requests admitted or waiting */
    unsigned running;              /* admitted, and not waiting for the disk */
    struct exchange *first, **last;
};

/* An address; on the unix socket a process. */
struct gate_client {
    struct turn turn;              /* among clients; while something waits */
    struct turn *flows;
    uint64_t key;
    unsigned users, running, waiting;
    struct conn *stalled, **stalled_last;
};

/* When two different ones were last heard of. */
struct company { uint64_t last; int64_t last_ms, shared_until_ms; };

struct gate {
    pthread_mutex_t lock;
    pthread_key_t mine;            /* the flow whose request a thread runs */
    pthread_key_t less_urgent;     /* a thread's; NULL = it is as urgent as any */
    struct priority *priority;     /* immutable; NULL = threads stay as they are */
    void (*wake)(void *arg);
    void *wake_arg;
    unsigned cpus;
    uint64_t secret[2];
    /* lock: lock, all of the following */
    struct refmap *flows, *clients;
    struct turn *turns;            /* of clients */
    struct company sessions, addresses;
    unsigned running, n_stalled;
    atomic_uint waiting;           /* changes under lock */
};

/* ---- rings ---- */

static void turn_add(struct turn **ring, struct turn *t)
{
    struct turn *first = *ring;

    if (!first) {
        *ring = t->next = t->prev = t;
        return;
    }
    t->next = first;
    t->prev = first->prev;
    first->prev->next = t;
    first->prev = t;
}

static void turn_remove(struct turn **ring, struct turn *t)
{
    if (*ring == t) *ring = t->next == t ? NULL : t->next;
    t->next->prev = t->prev;
    t->prev->next = t->next;
}

static struct gate_client *client_of(struct turn *t) { return (struct gate_client *)(void *)t; }
static struct gate_flow *flow_of(struct turn *t) { return (struct gate_flow *)(void *)t; }

/* ---- life ---- */

struct gate *gate_new(void (*wake)(void *arg), void *arg)
{
    struct gate *g = xcalloc(1, sizeof(*g));
    cpu_set_t set;

    pthread_mutex_init(&g->lock, NULL);
    if (pthread_key_create(&g->mine, NULL) || pthread_key_create(&g->less_urgent, NULL)) abort();
    g->priority = priority_new();
    g->wake = wake;
    g->wake_arg = arg;
    g->cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    map_random_key(g->secret);
    g->flows = refmap_new();
    g->clients = refmap_new();
    return g;
}

void gate_free(struct gate *g)
{
    if (!g) return;
    assert(!g->waiting && !refmap_count(g->flows));
    void *client;
    struct ref key;
    /* Those left have connections that are still held, which their server closes. */
    for (size_t at = 0; refmap_next(g->clients, &at, &key, &client);) free(client);
    refmap_free(g->flows);
    refmap_free(g->clients);
    pthread_key_delete(g->mine);
    pthread_key_delete(g->less_urgent);
    priority_free(g->priority);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- who ---- */

static uint64_t client_key(const struct gate *g, const struct http_peer *peer)
{
    if (peer->is_unix) return map_siphash(&peer->pid, sizeof(peer->pid), g->secret);
    return map_siphash(peer->address, strlen(peer->address) + 1, g->secret);
}

/* The first reference in a call is its session. Nobody has looked yet whether it is one: it divides what one client
 * sends, nothing else. */
static uint64_t session_key(const struct gate *g, const struct http_request *req)
{
    static const char prefix[] = "OpaqueRef:";
    size_t look = req->body_len < SESSION_LOOK ? req->body_len : SESSION_LOOK;
    const char *at = req->body && look ? memmem(req->body, look, prefix, sizeof(prefix) - 1) : NULL;

    if (!at || (size_t)(at - req->body) + REF_TEXT - 1 > req->body_len) return 0;
    return map_siphash(at, REF_TEXT - 1, g->secret);
}

static bool in_company(struct company *c, uint64_t key, int64_t now_ms)
{
    if (c->last != key && c->last_ms && now_ms - c->last_ms < SHARED_MS) c->shared_until_ms = now_ms + SHARED_MS;
    c->last = key;
    c->last_ms = now_ms;
    return now_ms < c->shared_until_ms;
}

static struct gate_client *need_client(struct gate *g, uint64_t key)
{
    const struct ref id = { key, 1 };
    struct gate_client *client = refmap_get(g->clients, id);

    if (client) return client;
    client = xcalloc(1, sizeof(*client));
    client->key = key;
    client->stalled_last = &client->stalled;
    refmap_put(g->clients, id, client);
    return client;
}

static struct gate_flow *need_flow(struct gate *g, struct ref key)
{
    struct gate_flow *flow = refmap_get(g->flows, key);

    if (flow) return flow;
    flow = xcalloc(1, sizeof(*flow));
    flow->key = key;
    flow->client = need_client(g, key.hi);
    flow->last = &flow->first;
    flow->client->users++;
    refmap_put(g->flows, key, flow);
    return flow;
}

/* Both go with their last request. */
static void drop_flow(struct gate *g, struct gate_flow *flow)
{
    struct gate_client *client = flow->client;

    if (--flow->users) return;
    refmap_remove(g->flows, flow->key);
    free(flow);
    if (--client->users || client->stalled) return;
    refmap_remove(g->clients, (struct ref){ client->key, 1 });
    free(client);
}

/* ---- whether ---- */

/* How many requests may run now: of one client, of one flow. */
struct shares { unsigned client, flow; };

static unsigned share(const struct gate *g, const struct company *c, int64_t now_ms)
{
    if (now_ms >= c->shared_until_ms) return g->cpus + 1;
    return g->cpus > 1 ? g->cpus - 1 : 1;
}

static struct shares shares(const struct gate *g)
{
    int64_t now_ms = clock_boottime_ns() / NS_PER_MS;

    return (struct shares){ share(g, &g->addresses, now_ms), share(g, &g->sessions, now_ms) };
}

static bool may_run(const struct gate *g, const struct gate_flow *flow, struct shares most)
{
    return g->running <= g->cpus && flow->client->running < most.client && flow->running < most.flow;
}

static void count_running(struct gate *g, struct gate_flow *flow, int n)
{
    flow->running += (unsigned)n;
    flow->client->running += (unsigned)n;
    g->running += (unsigned)n;
}

/* The flow whose turn it is, or NULL. */
static struct gate_flow *choose(const struct gate *g)
{
    struct turn *t = g->turns, *f;
    const struct shares most = shares(g);

    if (!t || g->running > g->cpus) return NULL;
    do {
        struct gate_client *client = client_of(t);
        f = client->running < most.client ? client->flows : NULL;
        while (f && !may_run(g, flow_of(f), most)) f = f->next == client->flows ? NULL : f->next;
    } while (!f && (t = t->next) != g->turns);
    return f ? flow_of(f) : NULL;
}

/* ---- in and out ---- */

/* What this thread does next is of a client of whom more waits already: whoever asks little comes first at the processors,
 * too. It stays so over many requests of such clients. */
static void be_urgent(struct gate *g, bool urgent)
{
    if (!g->priority || urgent == !pthread_getspecific(g->less_urgent)) return;
    priority_take(g->priority, !urgent);
    pthread_setspecific(g->less_urgent, urgent ? NULL : g);
}

bool gate_enter(struct gate *g, struct exchange *x)
{
    struct ref key = { client_key(g, &x->req.peer), session_key(g, &x->req) };
    int64_t now_ms = clock_boottime_ns() / NS_PER_MS;

    x->flow = NULL;
    pthread_mutex_lock(&g->lock);
    bool sessions = in_company(&g->sessions, key.hi ^ key.lo, now_ms), addresses = in_company(&g->addresses, key.hi, now_ms);
    if (!sessions && !addresses && !g->waiting) {
        pthread_mutex_unlock(&g->lock);
        be_urgent(g, true);
        return true;
    }
    struct gate_flow *flow = need_flow(g, key);
    x->flow = flow;
    flow->users++;
    bool now = !flow->first && may_run(g, flow, shares(g));
    if (now) {
        count_running(g, flow, 1);
    } else {
        if (!flow->client->waiting++) turn_add(&g->turns, &flow->client->turn);
        if (!flow->first) turn_add(&flow->client->flows, &flow->turn);
        x->next = NULL;
        *flow->last = x;
        flow->last = &x->next;
        g->waiting++;
    }
    pthread_mutex_unlock(&g->lock);
    if (now) {
        pthread_setspecific(g->mine, flow);
        be_urgent(g, true);
    }
    return now;
}

/* Lock held. Connections of a client of whom little waits by now; NULL mostly. */
static struct conn *take_stalled(struct gate *g, struct gate_client *client)
{
    if (client->waiting >= RESUME_AT || !client->stalled) return NULL;
    struct conn *list = client->stalled, *c = list;
    unsigned n = 1;

    for (; n < LIMIT_WAITING_REQUESTS - RESUME_AT && c->next_stalled; n++) c = c->next_stalled;
    client->stalled = c->next_stalled;
    if (!client->stalled) client->stalled_last = &client->stalled;
    c->next_stalled = NULL;
    g->n_stalled -= n;
    return list;
}

static void resume(struct conn *list)
{
    for (struct conn *c = list, *next; c; c = next) {
        next = c->next_stalled;
        pthread_mutex_lock(&c->lock);
        conn_kick(c);
        pthread_mutex_unlock(&c->lock);
    }
}

struct exchange *gate_next(struct gate *g)
{
    struct exchange *x = NULL;
    struct conn *stalled = NULL;
    bool more = false, crowd = false;

    pthread_mutex_lock(&g->lock);
    struct gate_flow *flow = choose(g);
    if (flow) {
        struct gate_client *client = flow->client;
        x = flow->first;
        flow->first = x->next;
        if (!flow->first) flow->last = &flow->first;
        g->waiting--;
        client->waiting--;
        /* To the end of both rings. */
        turn_remove(&client->flows, &flow->turn);
        if (flow->first) turn_add(&client->flows, &flow->turn);
        turn_remove(&g->turns, &client->turn);
        if (client->waiting) turn_add(&g->turns, &client->turn);
        count_running(g, flow, 1);
        crowd = flow->first != NULL;
        stalled = take_stalled(g, client);
        more = choose(g) != NULL;
    }
    pthread_mutex_unlock(&g->lock);
    if (more) g->wake(g->wake_arg);
    resume(stalled);
    be_urgent(g, !crowd);
    if (flow) pthread_setspecific(g->mine, flow);
    return x;
}

void gate_leave(struct gate *g, struct gate_flow *flow)
{
    if (!flow) return;
    pthread_setspecific(g->mine, NULL);
    pthread_mutex_lock(&g->lock);
    count_running(g, flow, -1);
    drop_flow(g, flow);
    bool more = g->waiting && choose(g);
    pthread_mutex_unlock(&g->lock);
    if (more) g->wake(g->wake_arg);
}

void gate_disk(struct gate *g, bool waits)
{
    struct gate_flow *flow = pthread_getspecific(g->mine);
    bool more = false;

    if (!flow) return;
    pthread_mutex_lock(&g->lock);
    count_running(g, flow, waits ? -1 : 1);
    if (waits) more = g->waiting && choose(g);
    pthread_mutex_unlock(&g->lock);
    if (more) g->wake(g->wake_arg);
}

bool gate_holds(struct gate *g, struct conn *c)
{
    const struct http_peer peer = { .is_unix = c->is_unix, .pid = c->cred.pid, .address = c->address };

    if (atomic_load_explicit(&g->waiting, memory_order_relaxed) < LIMIT_WAITING_REQUESTS) return false;
    pthread_mutex_lock(&g->lock);
    struct gate_client *client = refmap_get(g->clients, (struct ref){ client_key(g, &peer), 1 });
    bool holds = client && client->waiting >= LIMIT_WAITING_REQUESTS;
    if (holds) {
        c->next_stalled = NULL;
        *client->stalled_last = c;
        client->stalled_last = &c->next_stalled;
        g->n_stalled++;
    }
    pthread_mutex_unlock(&g->lock);
    return holds;
}

unsigned gate_processors(const struct gate *g) { return g->cpus; }

void gate_stats(struct gate *g, struct gate_stats *ret_stats)
{
    pthread_mutex_lock(&g->lock);
    *ret_stats = (struct gate_stats){ g->running, g->waiting, g->n_stalled, (unsigned)refmap_count(g->flows) };
    pthread_mutex_unlock(&g->lock);
}
