/* The HTTP server as a whole: listeners, workers, the timer, start and stop.
 * Called by: main.c.  Calls: conn.c, threads.c, epoll. */
#include "xapi/http/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "lib/clock.h"
#define LOG_MODULE "http"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/tls.h"

/* Kinds of epoll data: a slot's index, a listener's number with this bit, or the wake-up descriptor. */
#define DATA_LISTENER UINT32_C(0x80000000)
#define DATA_WAKE UINT64_MAX
#define DATA_TURN (UINT64_MAX - 1)

enum { WORKER_IDLE_MS = 60000, WORKER_STACK = 1 << 20, ACCEPT_BATCH = 64, BACKLOG = 4096 };
enum { STOP_GRACE_MS = 5000 };

/* --- making -------------------------------------------------------------------------------------------- */

void http_config_init(struct http_config *cfg)
{
    *cfg = (struct http_config){
        .workers_min = 8, .workers_max = 64, .threads_max = LIMIT_HTTP_THREADS, .stack_bytes = 256 << 10,
        .connections_max = LIMIT_CONNECTIONS, .parked_max = LIMIT_PARKED, .head_max = LIMIT_HTTP_HEAD,
        .waiting_bytes_max = LIMIT_UNFINISHED_BODIES, .unread_bytes_max = LIMIT_UNREAD_REPLIES,
        .first_byte_ms = 30000, .head_ms = 60000, .body_ms = 60000, .idle_ms = 600000, .write_ms = 60000,
    };
}

static int min_of(int a, int b)
{
    return a < b ? a : b;
}

/* Every connection is a descriptor; the soft limit of 1,024 is for programs that use select(). */
static void raise_descriptor_limit(rlim_t wanted)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= wanted) return;
    r.rlim_cur = r.rlim_max < wanted ? r.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur < wanted)
        log_warn("only %llu file descriptors allowed, %llu wanted", (unsigned long long)r.rlim_cur,
                 (unsigned long long)wanted);
}

static void *reader_main(void *server);
static void *runner_main(void *server);
static void *timer_main(void *arg);

/* One more idle runner looks at the gate. */
static void wake_for_turn(void *arg)
{
    struct http_server *s = arg;
    uint64_t one = 1;

    if (write(s->turn_fd, &one, sizeof(one)) < 0) log_error("cannot wake a worker: %m");
}

struct http_server *http_server_new(const struct http_config *cfg)
{
    struct http_server *s = xcalloc(1, sizeof(*s));
    pthread_condattr_t monotonic;

    /* 1. Limits and clocks. */
    s->cfg = *cfg;
    if (s->cfg.workers_min < 1) s->cfg.workers_min = 1;
    if (s->cfg.workers_max < s->cfg.workers_min) s->cfg.workers_max = s->cfg.workers_min;
    if (s->cfg.head_max > READ_SIZE - 1024) s->cfg.head_max = READ_SIZE - 1024;
    int shortest = min_of(min_of(cfg->first_byte_ms, cfg->head_ms), min_of(cfg->body_ms, cfg->write_ms));
    s->tick_ms = shortest / 4 < 20 ? 20 : min_of(shortest / 4, 1000);
    atomic_store(&s->now_ms, clock_boottime_ns() / NS_PER_MS);
    s->max_slots = cfg->connections_max + cfg->connections_max / 16 + 16 + cfg->parked_max;
    s->blocks = xcalloc(s->max_slots / CONNS_PER_BLOCK + 1, sizeof(struct conn *));
    raise_descriptor_limit(s->max_slots + 2048);
    signal(SIGPIPE, SIG_IGN);

    /* 2. Locks, the poll set, the pool of threads. */
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->ended_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (int i = 0; i < LISTENERS_MAX; i++) {
        pthread_mutex_init(&s->listeners[i].lock, NULL);
        s->listeners[i].fd = -1;
    }
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int turns_fd = epoll_create1(EPOLL_CLOEXEC);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->turn_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll_fd < 0 || turns_fd < 0 || s->wake_fd < 0 || s->turn_fd < 0) {
        log_error("cannot make the poll sets: %m");
        abort();
    }
    s->gate = gate_new(wake_for_turn, s);
    s->teams[READERS] = (struct team){ .name = "http-worker", .main = reader_main, .events_fd = s->epoll_fd, .min = s->cfg.workers_min };
    s->teams[RUNNERS] = (struct team){
        .name = "http-turn", .main = runner_main, .events_fd = turns_fd, .min = gate_processors(s->gate) + 1
    };
    struct epoll_event ev = { .events = EPOLLIN, .data.u64 = DATA_WAKE };
    for (int i = 0; i < N_TEAMS; i++) epoll_ctl(s->teams[i].events_fd, EPOLL_CTL_ADD, s->wake_fd, &ev);
    ev = (struct epoll_event){ .events = EPOLLIN | EPOLLET, .data.u64 = DATA_TURN };
    epoll_ctl(turns_fd, EPOLL_CTL_ADD, s->turn_fd, &ev);
    s->looks = gate_processors(s->gate) > 1;
    pool_init(&s->pool, s->cfg.threads_max, s->cfg.stack_bytes);
    return s;
}

void http_server_route(struct http_server *s, const struct http_route *route)
{
    assert(route->method <= HTTP_OTHER_METHOD && route->prefix[0]);
    struct http_route **list = &s->routes[route->method];
    size_t n = s->n_routes[route->method]++, at = n;

    *list = xrealloc(*list, (n + 1) * sizeof(**list));
    /* Longest first, so that the first match is the one. */
    while (at && strlen((*list)[at - 1].prefix) < strlen(route->prefix)) {
        (*list)[at] = (*list)[at - 1];
        at--;
    }
    (*list)[at] = *route;
}

void http_server_routes(struct http_server *s, const struct http_route *routes, size_t n)
{
    for (size_t i = 0; i < n; i++) http_server_route(s, &routes[i]);
}

/* --- slots --------------------------------------------------------------------------------------------- */

struct conn *server_conn(struct http_server *s, uint32_t index)
{
    return &s->blocks[index / CONNS_PER_BLOCK][index % CONNS_PER_BLOCK];
}

struct conn *server_take_slot(struct http_server *s)
{
    struct conn *c = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->free_slot) {
        c = server_conn(s, s->free_slot - 1);
        s->free_slot = c->next_free;
    } else if (s->n_slots < s->max_slots) {
        uint32_t index = s->n_slots++;
        struct conn **block = &s->blocks[index / CONNS_PER_BLOCK];
        if (!*block) *block = xcalloc(CONNS_PER_BLOCK, sizeof(struct conn));
        c = server_conn(s, index);
        c->server = s;
        c->index = index;
        c->fd = -1;
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->left, NULL);
        atomic_store(&s->n_scan, s->n_slots);
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

void server_put_slot(struct conn *c)
{
    struct http_server *s = c->server;

    pthread_mutex_lock(&s->lock);
    c->next_free = s->free_slot;
    s->free_slot = c->index + 1;
    pthread_mutex_unlock(&s->lock);
}

/* --- threads ------------------------------------------------------------------------------------------- */

int server_start_thread(struct http_server *s, void *(*fn)(void *), size_t stack_bytes,
                        pthread_t *ret_thread)
{
    static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP };
    pthread_attr_t attr;
    sigset_t mask;

    /* Signals are main's; those a crash raises in this very thread must get through. */
    sigfillset(&mask);
    for (size_t i = 0; i < ARRAY_SIZE(crashes); i++) sigdelset(&mask, crashes[i]);
    pthread_attr_init(&attr);
    pthread_attr_setsigmask_np(&attr, &mask);
    pthread_attr_setstacksize(&attr, stack_bytes);
    int e = pthread_create(ret_thread, &attr, fn, s);
    pthread_attr_destroy(&attr);
    errno = e;
    return e ? -1 : 0;
}

void server_thread_ends(struct http_server *s)
{
    pthread_mutex_lock(&s->ended_lock);
    s->ended = xrealloc(s->ended, (s->n_ended + 1) * sizeof(*s->ended));
    s->ended[s->n_ended++] = pthread_self();
    pthread_mutex_unlock(&s->ended_lock);
}

/* Join what has ended: a detached thread might still be freeing its memory when the process leaves. */
static void join_ended(struct http_server *s)
{
    pthread_mutex_lock(&s->ended_lock);
    pthread_t *ended = take_ptr(s->ended);
    size_t n = s->n_ended;
    s->n_ended = 0;
    pthread_mutex_unlock(&s->ended_lock);
    for (size_t i = 0; i < n; i++) pthread_join(ended[i], NULL);
    free(ended);
}

static void listener_event(struct http_server *s, struct listener *l, uint32_t generation);

/* One at a time: when all are busy because the processors are, more of them would help nobody. */
static void add_worker(struct http_server *s, struct team *t)
{
    if (atomic_load(&t->workers) >= s->cfg.workers_max || atomic_exchange(&t->starting, true)) return;
    pthread_mutex_lock(&s->lock);
    pthread_t thread;
    bool started = t->workers < s->cfg.workers_max && !atomic_load(&s->stopping)
                   && server_start_thread(s, t->main, WORKER_STACK, &thread) == 0;
    if (started) t->workers++;
    pthread_mutex_unlock(&s->lock);
    if (!started) atomic_store(&t->starting, false);
}

/* Nothing to do for a minute: a team shrinks to its minimum. True: this worker goes. */
static bool leave_idle(struct http_server *s, struct team *t)
{
    pthread_mutex_lock(&s->lock);
    bool leave = t->workers > t->min;
    if (leave) {
        server_thread_ends(s);
        t->workers--;
    }
    pthread_mutex_unlock(&s->lock);
    return leave;
}

static void work(struct http_server *s, struct team *t)
{
    struct worker w = { .server = s };
    bool settled = false;

    pthread_setname_np(pthread_self(), t->name);
    for (;;) {
        struct epoll_event ev;
        atomic_fetch_add(&t->idle, 1);
        if (!settled) atomic_store(&t->starting, false);
        settled = true;
        int n = epoll_wait(t->events_fd, &ev, 1, WORKER_IDLE_MS);
        unsigned idle = atomic_fetch_sub(&t->idle, 1);
        if (atomic_load(&s->stopped)) break;
        if (n == 0 && leave_idle(s, t)) {
            exchange_free(w.exchange);
            return;
        }
        if (n <= 0) continue;
        if (idle == 1) add_worker(s, t);   /* this was the last one waiting */
        uint32_t index = (uint32_t)ev.data.u64, generation = (uint32_t)(ev.data.u64 >> 32);
        if (ev.data.u64 == DATA_WAKE) continue;
        if (ev.data.u64 == DATA_TURN) conn_run_next(&w);
        else if (index & DATA_LISTENER) listener_event(s, &s->listeners[index & ~DATA_LISTENER], generation);
        else conn_event(&w, server_conn(s, index), generation, ev.events);
    }
    exchange_free(w.exchange);
    server_thread_ends(s);
    pthread_mutex_lock(&s->lock);
    t->workers--;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static void *reader_main(void *server)
{
    work(server, &((struct http_server *)server)->teams[READERS]);
    return NULL;
}

static void *runner_main(void *server)
{
    work(server, &((struct http_server *)server)->teams[RUNNERS]);
    return NULL;
}

/* Of all teams. */
static unsigned workers(struct http_server *s)
{
    unsigned n = 0;

    for (int i = 0; i < N_TEAMS; i++) n += atomic_load(&s->teams[i].workers);
    return n;
}

/* Workers and the timer start with the first listener. */
static int start_workers(struct http_server *s)
{
    pthread_t thread;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < N_TEAMS; i++) {
        struct team *t = &s->teams[i];
        while (rc == 0 && t->workers < t->min) {
            rc = server_start_thread(s, t->main, WORKER_STACK, &thread);
            if (rc == 0) t->workers++;
        }
    }
    if (rc == 0 && !s->timer_runs) {
        rc = server_start_thread(s, timer_main, 128 << 10, &s->timer);
        s->timer_runs = rc == 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* --- the timer ----------------------------------------------------------------------------------------- */

static void wait_tick(struct http_server *s, int ms)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += ms % 1000 * NS_PER_MS;
    if (ts.tv_nsec >= NS_PER_S) {
        ts.tv_sec++;
        ts.tv_nsec -= NS_PER_S;
    }
    pthread_cond_timedwait(&s->wake, &s->lock, &ts);
}

static void expire_connections(struct http_server *s, int64_t now_ms)
{
    uint32_t n = atomic_load(&s->n_scan);

    for (uint32_t i = 0; i < n; i++) {
        struct conn *c = server_conn(s, i);
        int64_t deadline_ms = atomic_load_explicit(&c->deadline_ms, memory_order_relaxed);
        if (!deadline_ms || now_ms < deadline_ms) continue;
        pthread_mutex_lock(&c->lock);
        bool take = (c->state == CONN_READING || c->state == CONN_WRITING || c->state == CONN_LINGERING)
                    && atomic_load(&c->deadline_ms) == deadline_ms;
        enum conn_state was = c->state;
        if (take) c->state = CONN_BUSY;
        pthread_mutex_unlock(&c->lock);
        if (!take) continue;
        if (was == CONN_READING) conn_expire(c);
        else conn_close(c);
    }
}

static void arm_listener(struct http_server *s, struct listener *l, int op)
{
    uint32_t index = (uint32_t)(l - s->listeners) | DATA_LISTENER;
    struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT,
                              .data.u64 = (uint64_t)l->generation << 32 | index };

    if (epoll_ctl(s->epoll_fd, op, l->fd, &ev) < 0) log_error("cannot watch a listener: %m");
}

static void *timer_main(void *arg)
{
    struct http_server *s = arg;

    pthread_setname_np(pthread_self(), "http-timer");
    pthread_mutex_lock(&s->lock);
    while (!atomic_load(&s->stopped)) {
        wait_tick(s, s->tick_ms);
        pthread_mutex_unlock(&s->lock);
        int64_t now_ms = clock_boottime_ns() / NS_PER_MS;
        atomic_store(&s->now_ms, now_ms);
        join_ended(s);
        expire_connections(s, now_ms);
        conn_cut_unread(s, s->cfg.unread_bytes_max, now_ms - STILL_MS);
        for (int i = 0; i < LISTENERS_MAX; i++) {
            struct listener *l = &s->listeners[i];
            pthread_mutex_lock(&l->lock);
            if (l->paused && l->fd >= 0) {
                l->paused = false;
                arm_listener(s, l, EPOLL_CTL_MOD);
            }
            pthread_mutex_unlock(&l->lock);
        }
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- accepting ----------------------------------------------------------------------------------------- */

/* True when one more connection fits. Unix sockets have a share that the network cannot use up. */
static bool has_room(struct http_server *s, bool is_unix)
{
    unsigned used = atomic_load(&s->tcp_conns) + atomic_load(&s->unix_conns),
             parked = atomic_load(&s->parked);
    unsigned max = s->cfg.connections_max;

    if (is_unix) max += max / 16 + 16;
    return (used > parked ? used - parked : 0) < max;
}

static void refuse(struct http_server *s, int fd, bool tls)
{
    static const char full[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n"
        "Retry-After: 5\r\n\r\n";

    atomic_fetch_add(&s->refused, 1);
    if (!tls && send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) log_debug("refused: %m");
    close(fd);
}

static void listener_event(struct http_server *s, struct listener *l, uint32_t generation)
{
    pthread_mutex_lock(&l->lock);
    if (l->fd < 0 || l->generation != generation) {
        pthread_mutex_unlock(&l->lock);
        return;
    }
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage peer;
        socklen_t peer_len = sizeof(peer);
        memset(&peer, 0, sizeof(peer));
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                /* The timer tries again; idle connections make room meanwhile. */
                log_warn("cannot accept: %m");
                l->paused = true;
                for (int n = 0; n < 16 && conn_evict(s); n++) ;
            }
            if (errno == EINTR || errno == ECONNABORTED) continue;
            break;
        }
        atomic_fetch_add(&s->accepted, 1);
        if (!has_room(s, l->is_unix) && !conn_evict(s)) refuse(s, fd, l->tls != NULL);
        else conn_open(s, l, fd, &peer);
    }
    if (!l->paused) arm_listener(s, l, EPOLL_CTL_MOD);
    pthread_mutex_unlock(&l->lock);
}

/* --- listeners ----------------------------------------------------------------------------------------- */

static int add_listener(struct http_server *s, const struct listener *made, struct xerr *err)
{
    struct listener *l = NULL;

    if (start_workers(s) < 0) return xerr_internal(err, "cannot start HTTP threads: %s", strerror(errno));
    for (int i = 0; i < LISTENERS_MAX && !l; i++) {
        pthread_mutex_lock(&s->listeners[i].lock);
        if (s->listeners[i].fd < 0) l = &s->listeners[i];
        else pthread_mutex_unlock(&s->listeners[i].lock);
    }
    if (!l) return xerr_internal(err, "more than %d listeners", LISTENERS_MAX);
    l->fd = made->fd;
    l->is_unix = made->is_unix;
    l->proxy_line = made->proxy_line;
    l->paused = false;
    l->port = made->port;
    l->path = made->path;
    l->dev = made->dev;
    l->ino = made->ino;
    l->tls = made->tls;
    arm_listener(s, l, EPOLL_CTL_ADD);
    pthread_mutex_unlock(&l->lock);
    return 0;
}

static void close_listener(struct listener *l)
{
    struct stat st;

    /* Lock held. Another daemon may have replaced the socket file. */
    if (l->path && stat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino) unlink(l->path);
    free(l->path);
    l->path = NULL;
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
    l->generation++;
}

/* "ADDR:PORT" apart. False when it has no such form. */
static bool split_address(const char *address, char host[INET6_ADDRSTRLEN], const char **ret_port)
{
    const char *colon = strrchr(address, ':'), *start = address;

    if (!colon || !colon[1]) return false;
    size_t n = (size_t)(colon - address);
    if (n && start[0] == '[') {
        if (start[n - 1] != ']') return false;
        start++;
        n -= 2;
    } else if (memchr(start, ':', n)) {
        return false;
    }
    if (n == 1 && *start == '*') n = 0;
    if (n >= INET6_ADDRSTRLEN || strspn(colon + 1, "0123456789") != strlen(colon + 1)) return false;
    if (strlen(colon + 1) > 5 || atoi(colon + 1) > UINT16_MAX) return false;   /* getaddrinfo() would cut it */
    memcpy(host, start, n);
    host[n] = '\0';
    *ret_port = colon + 1;
    return true;
}

static int bind_tcp(const struct sockaddr *a, socklen_t len)
{
    static const int on = 1, off = 0;
    _cleanup_close_ int fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    /* Accepted sockets inherit both. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (a->sa_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, a, len) < 0 || listen(fd, BACKLOG) < 0) return -1;
    return take_fd(fd);
}

int http_bind_tcp(const char *address, int *ret_fd, unsigned *ret_port, struct xerr *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE };
    char host[INET6_ADDRSTRLEN];
    const char *port;
    struct addrinfo *found = NULL;

    /* 1. The address; none means both families, or IPv4 where there is no IPv6. */
    if (!split_address(address, host, &port))
        return xerr_internal(err, "not an address to listen on: %s", address);
    if (getaddrinfo(*host ? host : "::", port, &hints, &found) != 0)
        return xerr_internal(err, "not an address to listen on: %s", address);
    int fd = bind_tcp(found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (fd < 0 && !*host && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)
        && getaddrinfo("0.0.0.0", port, &hints, &found) == 0) {
        fd = bind_tcp(found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
    }
    if (fd < 0) return xerr_internal(err, "cannot listen on %s: %s", address, strerror(errno));

    /* 2. The port it got. */
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    unsigned number = 0;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0)
        number = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&bound)->sin6_port
                                                   : ((struct sockaddr_in *)(void *)&bound)->sin_port);
    *ret_fd = fd;
    *ret_port = number;
    return 0;
}

int http_listen_tcp(struct http_server *s, const char *address, struct tls_server *tls, bool proxy_line,
                    unsigned *ret_port, struct xerr *err)
{
    unsigned number;
    int fd;

    if (http_bind_tcp(address, &fd, &number, err)) return -1;
    const struct listener l = { .fd = fd, .proxy_line = proxy_line, .port = number, .tls = tls };
    if (add_listener(s, &l, err) < 0) {
        close(fd);
        return -1;
    }
    log_info("listening on %s, port %u%s", address, number, tls ? " (TLS)" : "");
    if (ret_port) *ret_port = number;
    return 0;
}

int http_listen_unix(struct http_server *s, const char *path, unsigned mode, struct xerr *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct stat st;

    if (strlen(path) >= sizeof(a.sun_path)) return xerr_internal(err, "socket path too long: %s", path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return xerr_internal(err, "no unix socket: %s", strerror(errno));

    /* 1. A socket file that nobody answers on is a leftover; anything else is not ours to remove. */
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) return xerr_internal(err, "%s exists and is no socket", path);
        _cleanup_close_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(probe, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EAGAIN)
            return xerr_internal(err, "somebody else listens on %s", path);
        unlink(path);
    }

    /* 2. The mode is set before anybody can connect. */
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(path, (mode_t)mode) < 0 || stat(path, &st) < 0
        || listen(fd, BACKLOG) < 0)
        return xerr_internal(err, "cannot listen on %s: %s", path, strerror(errno));
    struct listener l = {
        .fd = fd, .is_unix = true, .path = xstrdup(path), .dev = st.st_dev, .ino = st.st_ino
    };
    if (add_listener(s, &l, err) < 0) {
        free(l.path);
        return -1;
    }
    (void)take_fd(fd);
    log_info("listening on %s", path);
    return 0;
}

void http_unlisten_tcp(struct http_server *s, unsigned port)
{
    for (int i = 0; i < LISTENERS_MAX; i++) {
        struct listener *l = &s->listeners[i];
        pthread_mutex_lock(&l->lock);
        if (l->fd >= 0 && !l->is_unix && l->port == port) close_listener(l);
        pthread_mutex_unlock(&l->lock);
    }
}

/* --- stopping ------------------------------------------------------------------------------------------ */

/* Close idle connections, or all but what a handler has, and cut those. How many replies are still being
 * written. */
static unsigned close_connections(struct http_server *s, bool idle_only)
{
    uint32_t n = atomic_load(&s->n_scan);
    unsigned left = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct conn *c = server_conn(s, i);
        pthread_mutex_lock(&c->lock);
        bool idle = c->state == CONN_READING && !c->in_len && !c->exchange;
        bool take = idle || (!idle_only && (c->state == CONN_READING || c->state == CONN_WRITING
                                            || c->state == CONN_LINGERING));
        if (take) c->state = CONN_BUSY;
        else if (c->state == CONN_WRITING) left++;
        if (!take && !idle_only) {
            if (c->state == CONN_BUSY && c->detached) shutdown(c->fd, SHUT_RDWR);
            /* Hanging up from this side is seen by a worker as the client leaving. */
            if (c->state == CONN_PARKED) shutdown(c->fd, SHUT_RDWR);
        }
        pthread_mutex_unlock(&c->lock);
        if (take) conn_close(c);
    }
    return left;
}

int http_server_stop(struct http_server *s, int timeout_ms)
{
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);
    const struct timespec pause = { .tv_nsec = 5 * NS_PER_MS };

    /* 1. No new connections; those that wait for a request end. */
    atomic_store(&s->stopping, true);
    for (int i = 0; i < LISTENERS_MAX; i++) {
        pthread_mutex_lock(&s->listeners[i].lock);
        if (s->listeners[i].fd >= 0) close_listener(&s->listeners[i]);
        pthread_mutex_unlock(&s->listeners[i].lock);
    }
    close_connections(s, true);

    /* 2. What is parked gets its answer from its owner. */
    if (s->cfg.on_stopping) s->cfg.on_stopping(s->cfg.on_stopping_arg);

    /* 3. What runs may end, and be written. */
    while (clock_poll_ms(deadline_ns, 1000) > 0) {
        unsigned writing = close_connections(s, true);
        if (!writing && atomic_load(&s->running) == 0 && atomic_load(&s->parked) == 0) break;
        nanosleep(&pause, NULL);
    }

    /* 4. The rest is cut; handlers see it as errors of their streams. */
    int64_t grace_ns = clock_deadline_ns(STOP_GRACE_MS);
    do {
        close_connections(s, false);
        if (atomic_load(&s->running) == 0 && atomic_load(&s->parked) == 0) break;
        nanosleep(&pause, NULL);
    } while (clock_poll_ms(grace_ns, 1000) > 0);
    unsigned threads = pool_stop(&s->pool, clock_poll_ms(grace_ns, STOP_GRACE_MS) + 100);

    /* 5. Workers and the timer. */
    atomic_store(&s->stopped, true);
    uint64_t one = 1;
    if (write(s->wake_fd, &one, sizeof(one)) < 0) log_error("cannot wake the workers: %m");
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->wake);
    grace_ns = clock_deadline_ns(threads ? 100 : STOP_GRACE_MS);
    int left_ms;
    while (workers(s) && (left_ms = clock_poll_ms(grace_ns, 1000)) > 0) wait_tick(s, left_ms);
    unsigned left = workers(s);
    bool join = s->timer_runs;
    s->timer_runs = false;
    pthread_mutex_unlock(&s->lock);
    if (join) pthread_join(s->timer, NULL);
    join_ended(s);
    if (threads || left) log_warn("stopped with %u handlers still running", threads + left);
    return (int)(threads + left);
}

void http_server_free(struct http_server *s)
{
    if (!s) return;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct conn *c = server_conn(s, i);
        if (c->fd >= 0) conn_close(c);
        pthread_mutex_destroy(&c->lock);
        pthread_cond_destroy(&c->left);
    }
    for (uint32_t i = 0; i <= s->max_slots / CONNS_PER_BLOCK; i++) free(s->blocks[i]);
    free(s->blocks);
    for (int i = 0; i < LISTENERS_MAX; i++) {
        close_listener(&s->listeners[i]);
        pthread_mutex_destroy(&s->listeners[i].lock);
    }
    for (int i = 0; i < HTTP_METHODS; i++) free(s->routes[i]);
    pthread_mutex_destroy(&s->pool.lock);
    pthread_cond_destroy(&s->pool.ended);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->ended_lock);
    pthread_cond_destroy(&s->wake);
    gate_free(s->gate);
    for (int i = 0; i < N_TEAMS; i++) close(s->teams[i].events_fd);
    close(s->wake_fd);
    close(s->turn_fd);
    free(s);
}

void http_server_disk(void *server, bool waits)
{
    gate_disk(((struct http_server *)server)->gate, waits);
}

void http_server_stats(struct http_server *s, struct http_server_stats *ret_stats)
{
    unsigned all = workers(s), idle = 0;

    for (int i = 0; i < N_TEAMS; i++) idle += atomic_load(&s->teams[i].idle);
    pthread_mutex_lock(&s->pool.lock);
    unsigned threads = s->pool.threads, threads_idle = s->pool.idle;
    pthread_mutex_unlock(&s->pool.lock);
    *ret_stats = (struct http_server_stats){
        .connections = atomic_load(&s->tcp_conns) + atomic_load(&s->unix_conns),
        .parked = atomic_load(&s->parked),
        .workers = all, .workers_busy = all > idle ? all - idle : 0,
        .threads = threads, .threads_busy = threads > threads_idle ? threads - threads_idle : 0,
        .requests = atomic_load(&s->requests), .accepted = atomic_load(&s->accepted),
        .refused = atomic_load(&s->refused), .prompt = atomic_load(&s->prompt),
    };
}
