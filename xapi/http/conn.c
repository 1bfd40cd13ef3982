/* One connection's life: handshake, request heads and bodies, routing, keep-alive, hang-up.
 * Called by: server.c (events, timer), reply.c, threads.c.  Calls: reply.c, threads.c, lib/http, OpenSSL. */
#include "xapi/http/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/epoll.h>

#define LOG_MODULE "http"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/tls.h"

enum {
    WATCH = (int)(EPOLLIN | EPOLLRDHUP),
    HANGUP = (int)(EPOLLRDHUP | EPOLLHUP | EPOLLERR),
    PROXY_LINE_MAX = 107,
    PROMPT_NS = 300000,             /* so soon after a reply the next request is there */
};

/* --- registration and state ---------------------------------------------------------------------------- */

static void watch(struct conn *c, uint32_t events, int op)
{
    struct epoll_event ev = { .events = events | EPOLLET,
                              .data.u64 = (uint64_t)c->generation << 32 | c->index };

    if (epoll_ctl(c->server->epoll_fd, op, c->fd, &ev) < 0) log_error("epoll_ctl: %m");
}

void conn_watch(struct conn *c, uint32_t events)
{
    watch(c, events, EPOLL_CTL_MOD);
}

/* Watch for room in the socket, or stop doing so. */
static void watch_out(struct conn *c, bool on)
{
    if (c->watch_out == on) return;
    c->watch_out = on;
    watch(c, WATCH | (on ? EPOLLOUT : 0), EPOLL_CTL_MOD);
}

/* Give the connection to epoll. False: something it would wait for happened already, it stays ours. */
static bool arm(struct conn *c, enum conn_state state, uint32_t wanted, int64_t deadline_ms)
{
    pthread_mutex_lock(&c->lock);
    uint32_t seen = c->pending & wanted;
    c->pending &= ~seen;
    if (!seen) {
        c->since_ms = server_now_ms(c->server);
        atomic_store_explicit(&c->deadline_ms, deadline_ms, memory_order_relaxed);
        c->state = state;
    }
    pthread_mutex_unlock(&c->lock);
    if (seen & HANGUP) c->hup = true;
    if (seen) c->drained = false;
    return !seen;
}

/* By the clock itself: the server's own idea of now may be old when the machine stood still, and a newcomer would have no time. */
static int64_t deadline_in(int ms)
{
    return ms > 0 ? clock_boottime_ns() / NS_PER_MS + ms : 0;
}

/* What a connection in READING is given. */
static int64_t read_deadline(struct conn *c)
{
    const struct http_config *cfg = &c->server->cfg;

    if (c->exchange) return deadline_in(cfg->body_ms);
    if (c->in_len) return c->head_deadline_ms;
    if (!c->served) return deadline_in(cfg->first_byte_ms);
    return c->is_unix ? 0 : deadline_in(cfg->idle_ms);
}

void conn_kick(struct conn *c)
{
    atomic_store_explicit(&c->deadline_ms, read_deadline(c), memory_order_relaxed);
    c->since_ms = server_now_ms(c->server);
    c->state = CONN_READING;
    /* A socket with room reports it at once, and whatever else is pending with it. */
    c->watch_out = true;
    watch(c, WATCH | EPOLLOUT, EPOLL_CTL_MOD);
}

/* --- opening and closing ------------------------------------------------------------------------------- */

static void set_peer(struct conn *c, const struct sockaddr_storage *peer)
{
    const struct sockaddr_in6 *in6 = (const void *)peer;
    const struct sockaddr_in *in4 = (const void *)peer;

    c->address[0] = '\0';
    c->port = 0;
    if (peer->ss_family == AF_INET) {
        inet_ntop(AF_INET, &in4->sin_addr, c->address, sizeof(c->address));
        c->port = ntohs(in4->sin_port);
    } else if (peer->ss_family == AF_INET6) {
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], c->address,
                                                             sizeof(c->address));
        else inet_ntop(AF_INET6, &in6->sin6_addr, c->address, sizeof(c->address));
        c->port = ntohs(in6->sin6_port);
    }
}

void conn_open(struct http_server *s, const struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct conn *c = server_take_slot(s);
    socklen_t len = sizeof(c->cred);

    if (!c) {
        atomic_fetch_add(&s->refused, 1);
        close(fd);
        return;
    }
    c->ssl = l->tls ? tls_server_accept(l->tls, fd) : NULL;
    c->exchange = NULL;
    c->out = NULL;
    c->in = NULL;
    c->in_len = c->scan = c->lingered = c->waiting_bytes = c->unread_bytes = 0;
    c->is_unix = l->is_unix;
    c->handshaken = !l->tls;
    c->proxy_line = l->proxy_line;
    c->served = c->prompt = c->drained = c->hup = c->keep = c->linger = c->watch_out = false;
    c->minor = 1;
    c->has_cred = l->is_unix && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->cred, &len) == 0;
    set_peer(c, peer);
    atomic_fetch_add(c->is_unix ? &s->unix_conns : &s->tcp_conns, 1);
    pthread_mutex_lock(&c->lock);
    c->fd = fd;
    c->pending = 0;
    c->detached = false;
    c->since_ms = server_now_ms(s);
    atomic_store(&c->deadline_ms, deadline_in(s->cfg.first_byte_ms));
    c->state = CONN_READING;
    watch(c, WATCH, EPOLL_CTL_ADD);
    pthread_mutex_unlock(&c->lock);
}

/* Count the memory of a body that is to come, and give it back. False: too much waits already. */
static bool count_waiting(struct conn *c, size_t bytes)
{
    struct http_server *s = c->server;

    if (c->is_unix) return true;
    if (atomic_fetch_add(&s->waiting_bytes, bytes) + bytes > s->cfg.waiting_bytes_max) {
        atomic_fetch_sub(&s->waiting_bytes, bytes);
        return false;
    }
    c->waiting_bytes = bytes;
    return true;
}

static void uncount_waiting(struct conn *c)
{
    if (c->waiting_bytes) atomic_fetch_sub(&c->server->waiting_bytes, c->waiting_bytes);
    c->waiting_bytes = 0;
}

void conn_close(struct conn *c)
{
    struct http_server *s = c->server;

    uncount_waiting(c);

    if (c->ssl && c->handshaken && !c->lingered) {
        ERR_clear_error();
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    pthread_mutex_lock(&c->lock);
    int fd = take_fd(c->fd);
    c->state = CONN_FREE;
    c->generation++;
    c->pending = 0;
    c->detached = false;
    atomic_store(&c->deadline_ms, 0);
    pthread_mutex_unlock(&c->lock);
    SSL_free(take_ptr(c->ssl));
    exchange_free(take_ptr(c->exchange));
    out_end(c);
    free(take_ptr(c->in));
    c->in_len = 0;
    close(fd);
    atomic_fetch_sub(c->is_unix ? &s->unix_conns : &s->tcp_conns, 1);
    server_put_slot(c);
}

/* Throw away what the client still sends, so that closing does not destroy the answer on its way. */
static void linger_on(struct conn *c)
{
    char waste[16384];

    for (;;) {
        ssize_t n = recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            int64_t deadline_ms = atomic_load(&c->deadline_ms);
            if (arm(c, CONN_LINGERING, (uint32_t)WATCH | HANGUP, deadline_ms)) return;
            continue;
        }
        if (n > 0) c->lingered += (size_t)n;
        if (n <= 0 || c->lingered > LINGER_BYTES) break;
    }
    conn_close(c);
}

static void start_linger(struct conn *c)
{
    if (c->ssl && c->handshaken) {
        ERR_clear_error();
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    shutdown(c->fd, SHUT_WR);
    c->lingered = 1;
    /* While nobody else looks at it: the deadline for the whole of it. */
    atomic_store(&c->deadline_ms, deadline_in(LINGER_MS));
    linger_on(c);
}

void conn_expire(struct conn *c)
{
    if (c->handshaken && (c->in_len || c->exchange)) {
        c->keep = false;
        conn_reply_error(c, 408, NULL);
    }
    conn_close(c);
}

bool conn_evict(struct http_server *s)
{
    uint32_t n = atomic_load(&s->n_scan);
    struct conn *oldest = NULL;
    int64_t oldest_ms = INT64_MAX;
    bool took = false;

    for (uint32_t i = 0; i < n; i++) {
        struct conn *c = server_conn(s, i);
        pthread_mutex_lock(&c->lock);
        if (c->state == CONN_READING && !c->is_unix && !c->exchange && c->since_ms < oldest_ms) {
            oldest = c;
            oldest_ms = c->since_ms;
        }
        pthread_mutex_unlock(&c->lock);
    }
    if (!oldest) return false;
    pthread_mutex_lock(&oldest->lock);
    if (oldest->state == CONN_READING && !oldest->is_unix && !oldest->exchange) {
        oldest->state = CONN_BUSY;
        took = true;
    }
    pthread_mutex_unlock(&oldest->lock);
    if (took) conn_close(oldest);
    return took;
}

static struct conn *longest_still(struct http_server *s, int64_t since_ms)
{
    struct conn *found = NULL;

    for (uint32_t i = 0, n = atomic_load(&s->n_scan); i < n; i++) {
        struct conn *c = server_conn(s, i);
        pthread_mutex_lock(&c->lock);
        if (c->state == CONN_WRITING && c->since_ms < since_ms) {
            found = c;
            since_ms = c->since_ms;
        }
        pthread_mutex_unlock(&c->lock);
    }
    return found;
}

void conn_cut_unread(struct http_server *s, size_t most_bytes, int64_t since_ms)
{
    while (atomic_load(&s->unread_bytes) > most_bytes) {
        struct conn *c = longest_still(s, since_ms);
        if (!c) return;
        pthread_mutex_lock(&c->lock);
        bool take = c->state == CONN_WRITING && c->since_ms < since_ms;
        if (take) c->state = CONN_BUSY;
        pthread_mutex_unlock(&c->lock);
        if (!take) continue;   /* it has gone on: look again */
        log_info("a client at %s does not read its answer: cut", c->is_unix ? "the unix socket" : c->address);
        conn_close(c);
    }
}

/* --- reading ------------------------------------------------------------------------------------------- */

/* Errors of OpenSSL as errno. 1 = go on later (EAGAIN), 0 = ended, -1 = broken. */
static int ssl_outcome(struct conn *c, int rc)
{
    int saved = errno;

    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return 1;
    case SSL_ERROR_WANT_WRITE:
        watch_out(c, true);
        return 1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        errno = saved ? saved : ECONNRESET;
        return -1;
    default:
        log_debug("TLS from %s: %s", c->address, ERR_reason_error_string(ERR_peek_error()));
        ERR_clear_error();
        errno = EPROTO;
        return -1;
    }
}

ssize_t conn_recv(struct conn *c, void *buf, size_t n)
{
    size_t got = 0;

    if (!c->ssl) {
        ssize_t r;
        do r = recv(c->fd, buf, n, MSG_DONTWAIT); while (r < 0 && errno == EINTR);
        /* Less than asked for: the socket is empty, unless it is about to say that it ended. */
        c->drained = (r > 0 && (size_t)r < n && !c->hup) || (r < 0 && errno == EAGAIN);
        return r;
    }
    errno = 0;
    ERR_clear_error();
    int rc = SSL_read_ex(c->ssl, buf, n, &got);
    if (rc > 0) return (ssize_t)got;
    int outcome = ssl_outcome(c, rc);
    if (outcome > 0) {
        c->drained = true;
        errno = EAGAIN;
        return -1;
    }
    return outcome;
}

/* 1 done, 0 later, -1 no TLS. */
static int handshake(struct conn *c)
{
    errno = 0;
    ERR_clear_error();
    int rc = SSL_accept(c->ssl);
    if (rc > 0) {
        c->handshaken = true;
        return 1;
    }
    int outcome = ssl_outcome(c, rc);
    if (outcome > 0) c->drained = true;
    return outcome > 0 ? 0 : -1;
}

/* "PROXY TCP4 client server port port\r\n" in front of the first request. 1 = gone through, 0 = not all
 * there yet, -1 bad. */
static int take_proxy_line(struct conn *c, struct exchange *x)
{
    static const char prefix[] = "PROXY ";
    size_t n = x->len < sizeof(prefix) - 1 ? x->len : sizeof(prefix) - 1;
    char line[PROXY_LINE_MAX + 1], family[8], client[46], to[46];
    unsigned port, to_port;
    unsigned char raw[16];

    if (memcmp(x->buf, prefix, n) != 0) {
        c->proxy_line = false;
        return 1;
    }
    size_t look = x->len < PROXY_LINE_MAX ? x->len : PROXY_LINE_MAX;
    const char *lf = memchr(x->buf, '\n', look);
    if (!lf) return look == PROXY_LINE_MAX ? -1 : 0;
    size_t len = (size_t)(lf - x->buf);
    memcpy(line, x->buf, len);
    line[len] = '\0';
    int fields = sscanf(line, "PROXY %7s %45s %45s %u %u", family, client, to, &port, &to_port);
    if (fields < 1) return -1;
    if (!streq(family, "UNKNOWN")) {
        bool v4 = streq(family, "TCP4");
        if (fields != 5 || (!v4 && !streq(family, "TCP6")) || port > 65535
            || inet_pton(v4 ? AF_INET : AF_INET6, client, raw) != 1)
            return -1;
        memcpy(c->address, client, sizeof(c->address));
        c->port = (uint16_t)port;
    }
    x->len -= len + 1;
    memmove(x->buf, lf + 1, x->len);
    c->proxy_line = false;
    return 1;
}

/* Keep what belongs to the next request. */
static void keep_input(struct conn *c, const char *p, size_t n)
{
    assert(!c->in);
    c->in_len = n;
    c->scan = 0;
    if (!n) return;
    c->in = xmalloc(n);
    memcpy(c->in, p, n);
}

enum step { STEP_MORE, STEP_REQUEST, STEP_AGAIN, STEP_CLOSED };

/* The request cannot be served: say so; the connection ends unless the request was whole and had no body. */
static enum step refuse_request(struct conn *c, struct worker *w, int status, bool keep)
{
    if (!keep) {
        c->keep = false;
        c->linger = true;
    }
    c->served = true;
    if (w->exchange) exchange_reset(w->exchange);
    conn_reply_error(c, status, NULL);
    return conn_after_reply(c, w) ? STEP_AGAIN : STEP_CLOSED;
}

static const struct http_route *find_route(const struct http_server *s, const struct http_head *h,
                                           bool is_unix)
{
    for (size_t i = 0; i < s->n_routes[h->method]; i++) {
        const struct http_route *r = &s->routes[h->method][i];
        if ((r->flags & HTTP_PRIVATE) && !is_unix) continue;
        if (has_prefix(h->path, r->prefix)) return r;
    }
    return NULL;
}

static void send_continue(struct conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct stream st = { .fd = c->fd, .ssl = c->ssl };

    /* A client that does not read its few bytes gets no body through either: its timer will end it. */
    if (stream_write_some(&st, text, sizeof(text) - 1) < 0) log_debug("100 Continue: %m");
}

/* The head is parsed: find out who serves it and how its body comes. rest: bytes behind the head at x->buf
 * + end. */
static enum step route_request(struct worker *w, struct conn *c, struct exchange *x, size_t end)
{
    struct http_head *h = &x->req.head;
    size_t rest = x->len - end;
    bool bodiless = !h->chunked && (!h->has_length || h->length == 0);

    /* 1. Who. */
    c->minor = (unsigned char)h->minor;
    c->keep = h->keep_alive && h->minor == 1;
    bool served_method = h->method <= HTTP_OPTIONS;
    x->route = served_method ? find_route(c->server, h, c->is_unix) : NULL;
    if (!x->route || !x->route->handler) {
        /* The page would be taken for the next reply: a reply to HEAD has no body. */
        if (h->method == HTTP_HEAD) bodiless = false;
        if (bodiless) keep_input(c, x->buf + end, rest);
        return refuse_request(c, w, served_method ? 404 : 501, bodiless);
    }
    x->conn = c;
    x->req.server = c->server;
    x->req.peer = (struct http_peer){
        .is_unix = c->is_unix,
        .tls = c->ssl != NULL,
        .has_cred = c->has_cred,
        .uid = c->cred.uid,
        .gid = c->cred.gid,
        .pid = c->cred.pid,
        .address = arena_strdup(x->req.arena, c->address),
        .port = c->port,
    };

    /* 2. A body the handler reads itself: what came already goes with it. */
    bool stream = x->route->flags & HTTP_STREAM;
    if (stream && !x->route->body_limit) {
        if (h->chunked) x->mode = BODY_CHUNKED;
        else if (h->has_length) x->mode = BODY_LENGTH;
        else x->mode = h->method == HTTP_PUT ? BODY_EOF : BODY_NONE;
        x->body_left = h->has_length ? h->length : 0;
        if (rest) {
            x->stream.early = xmalloc(rest);
            memcpy(x->stream.early, x->buf + end, rest);
            x->stream.early_len = rest;
        }
        return STEP_REQUEST;
    }

    /* 3. A buffered one: its length must be known and fit. */
    if (h->chunked || (!h->has_length && (h->method == HTTP_POST || h->method == HTTP_PUT)))
        return refuse_request(c, w, 411, false);
    if (h->length > x->route->body_limit) return refuse_request(c, w, 413, false);
    size_t length = (size_t)h->length;
    if (rest >= length) {
        if (stream && rest > length) {
            x->stream.early_len = rest - length;
            x->stream.early = xmalloc(rest - length);
            memcpy(x->stream.early, x->buf + end + length, rest - length);
        } else if (!stream) {
            keep_input(c, x->buf + end + length, rest - length);
        }
        x->req.body = x->buf + end;
        x->req.body[length] = '\0';
        x->req.body_len = length;
        return STEP_REQUEST;
    }

    /* 4. The rest of it is awaited; the exchange stays with the connection. */
    if (!count_waiting(c, READ_SIZE + length)) return refuse_request(c, w, 503, false);
    strbuf_reserve(&x->body, length < 65536 ? length : 65536);
    strbuf_add(&x->body, x->buf + end, rest);
    if (h->expect_continue && !rest) send_continue(c);
    c->exchange = x;
    if (w->exchange == x) w->exchange = NULL;
    return STEP_AGAIN;
}

/* Read until a head is complete and parse it. */
static enum step read_head(struct worker *w, struct conn *c)
{
    struct http_server *s = c->server;
    struct exchange *x = w->exchange ? w->exchange : (w->exchange = exchange_new(s));
    size_t end = 0;

    x->len = c->in_len;
    if (c->in) memcpy(x->buf, c->in, c->in_len);
    free(take_ptr(c->in));
    c->in_len = 0;
    for (;;) {
        /* 1. Is a head there? */
        int proxy = c->proxy_line && x->len ? take_proxy_line(c, x) : 1;
        if (proxy < 0) return refuse_request(c, w, 400, false);
        if (proxy && x->len && (end = http_head_end(x->buf, x->len, &c->scan))) break;
        if (x->len > s->cfg.head_max) return refuse_request(c, w, 431, false);

        /* 2. More bytes, or back to epoll with what there is. */
        ssize_t n = -1;
        errno = EAGAIN;
        if (!c->drained) n = conn_recv(c, x->buf + x->len, READ_SIZE - x->len);
        if (n > 0) {
            x->len += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            if (x->len && !c->head_deadline_ms) c->head_deadline_ms = deadline_in(s->cfg.head_ms);
            size_t scan = c->scan;
            keep_input(c, x->buf, x->len);
            c->scan = scan;
            return STEP_MORE;
        }
        if (n == 0 && x->len) return refuse_request(c, w, 400, false);
        conn_close(c);
        return STEP_CLOSED;
    }
    c->scan = 0;
    c->head_deadline_ms = 0;
    if (end > s->cfg.head_max) return refuse_request(c, w, 431, false);
    int status = http_parse_request(x->buf, end, x->req.arena, &x->req.head);
    if (status) return refuse_request(c, w, status, false);
    return route_request(w, c, x, end);
}

static enum step read_body(struct conn *c)
{
    struct exchange *x = c->exchange;
    size_t length = (size_t)x->req.head.length;

    while (x->body.len < length) {
        size_t want = length - x->body.len, most = x->body.len > 65536 ? x->body.len : 65536;
        if (want > most) want = most;
        ssize_t n = -1;
        errno = EAGAIN;
        strbuf_reserve(&x->body, want);
        if (!c->drained) n = conn_recv(c, x->body.ptr + x->body.len, want);
        if (n < 0 && errno == EAGAIN) return STEP_MORE;
        if (n <= 0) {
            conn_close(c);
            return STEP_CLOSED;
        }
        x->body.len += (size_t)n;
        x->body.ptr[x->body.len] = '\0';
    }
    uncount_waiting(c);
    c->exchange = NULL;
    x->req.body = x->body.ptr;
    x->req.body_len = x->body.len;
    return STEP_REQUEST;
}

/* Run the handler, which the gate has let in. True: read on. */
static bool run(struct worker *w, struct exchange *x)
{
    struct http_server *s = w->server;
    struct gate_flow *flow = x->flow;
    bool deferred = false, again = false;

    x->deferred = &deferred;
    x->route->handler(&x->req, x->route->arg);
    if (deferred) {
        if (w->exchange == x) w->exchange = NULL;
    } else {
        again = exchange_done(x, w);
        if (w->exchange == x || !w->exchange) {
            exchange_reset(x);
            w->exchange = x;
        } else {
            exchange_free(x);
        }
    }
    gate_leave(s->gate, flow);
    atomic_fetch_sub(&s->running, 1);
    return again;
}

/* Run the handler, here, on a thread, or when it is its turn. True: read on. */
static bool dispatch(struct worker *w, struct conn *c, struct exchange *x)
{
    struct http_server *s = c->server;

    c->served = true;
    atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
    if (x->route->flags & HTTP_STREAM) {
        x->fn = x->route->handler;
        x->fn_arg = x->route->arg;
        /* The thread reads; edges of arriving bytes would only wake workers. */
        pthread_mutex_lock(&c->lock);
        c->detached = true;
        pthread_mutex_unlock(&c->lock);
        watch(c, 0, EPOLL_CTL_MOD);
        x->stream.fd = c->fd;
        x->stream.ssl = c->ssl;
        if (w->exchange == x) w->exchange = NULL;
        if (pool_submit(s, x) == 0) return false;
        pthread_mutex_lock(&c->lock);
        c->detached = false;
        pthread_mutex_unlock(&c->lock);
        watch(c, WATCH, EPOLL_CTL_MOD);
        exchange_free(x);
        c->keep = false;
        c->linger = true;
        conn_reply_error(c, 503, "Too many requests are being served.");
        return conn_after_reply(c, w);
    }
    atomic_fetch_add(&s->running, 1);
    if (w->exchange == x) w->exchange = NULL;   /* at the gate it is anybody's */
    return gate_enter(s->gate, x) && run(w, x);
}

/* Between requests. A client that was prompt is looked for here a moment longer: being put to sleep and woken costs more
 * than a small call does. One worker looks, and only while nothing else is to be done. True: something came. */
static bool look_for_next(struct conn *c)
{
    struct http_server *s = c->server;
    bool came = false;
    char byte;

    if (!c->served || c->in_len || c->exchange) return false;
    c->asked_ns = clock_monotonic_ns();
    if (!c->prompt || !s->looks || atomic_load(&s->running) || atomic_exchange(&s->looking, true)) return false;
    do came = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EINTR);
    while (!came && !atomic_load(&s->running) && !atomic_load(&s->stopping)
           && clock_monotonic_ns() - c->asked_ns < PROMPT_NS);
    atomic_store(&s->looking, false);
    c->prompt = came;
    if (!came) return false;
    c->drained = false;
    atomic_fetch_add_explicit(&s->prompt, 1, memory_order_relaxed);
    return true;
}

/* Serve what is there until it has to be waited for. */
static void serve(struct worker *w, struct conn *c)
{
    for (;;) {
        int ready = c->handshaken ? 1 : handshake(c);
        enum step step = STEP_CLOSED;
        struct exchange *x = c->exchange;
        if (ready < 0) conn_close(c);
        else if (ready == 0) step = STEP_MORE;
        else if (!x && gate_holds(c->server->gate, c)) return;
        else step = x ? read_body(c) : read_head(w, c);
        switch (step) {
        case STEP_MORE:
            if (look_for_next(c)) break;
            if (arm(c, CONN_READING, (uint32_t)WATCH | HANGUP, read_deadline(c))) return;
            break;
        case STEP_REQUEST:
            if (!dispatch(w, c, x ? x : w->exchange)) return;
            break;
        case STEP_AGAIN:
            break;
        case STEP_CLOSED:
            return;
        }
    }
}

void conn_run_next(struct worker *w)
{
    struct exchange *x;

    while ((x = gate_next(w->server->gate))) {
        struct conn *c = x->conn;
        if (run(w, x)) serve(w, c);
    }
}

/* --- after a reply ------------------------------------------------------------------------------------- */

/* Try to get the rest of a reply out. True = all is out (or the connection is closed: *ret_closed). */
static bool write_rest(struct conn *c, bool *ret_closed)
{
    watch_out(c, true);
    for (;;) {
        int rc = out_flush(c);
        if (rc < 0) {
            *ret_closed = true;
            conn_close(c);
            return true;
        }
        if (rc > 0) {
            out_end(c);
            watch_out(c, false);
            return true;
        }
        if (arm(c, CONN_WRITING, EPOLLOUT | EPOLLHUP | EPOLLERR, deadline_in(c->server->cfg.write_ms)))
            return false;
    }
}

bool conn_after_reply(struct conn *c, struct worker *w)
{
    bool closed = false;

    if (c->out && (!write_rest(c, &closed) || closed)) return false;
    if (!c->keep) {
        if (c->linger) start_linger(c);
        else conn_close(c);
        return false;
    }
    if (w) return true;
    pthread_mutex_lock(&c->lock);
    if (c->in_len || !c->drained || c->pending) {
        conn_kick(c);
    } else {
        c->since_ms = server_now_ms(c->server);
        atomic_store_explicit(&c->deadline_ms, read_deadline(c), memory_order_relaxed);
        c->state = CONN_READING;
    }
    pthread_mutex_unlock(&c->lock);
    return false;
}

/* --- events -------------------------------------------------------------------------------------------- */

/* The client of a parked request hung up. Lock held on entry. */
static void leave(struct conn *c)
{
    bool (*on_gone)(void *) = c->on_gone;
    void *arg = c->on_gone_arg;

    c->state = CONN_LEAVING;
    pthread_mutex_unlock(&c->lock);
    bool taken = on_gone(arg);
    if (taken) {
        atomic_fetch_sub(&c->server->parked, 1);
        conn_close(c);
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->state = CONN_LEFT;
    pthread_cond_broadcast(&c->left);
    pthread_mutex_unlock(&c->lock);
}

void conn_event(struct worker *w, struct conn *c, uint32_t generation, uint32_t events)
{
    bool closed = false;

    pthread_mutex_lock(&c->lock);
    enum conn_state was = c->state;
    if (c->generation != generation || was == CONN_FREE) {
        pthread_mutex_unlock(&c->lock);
        return;
    }
    if (was == CONN_PARKED && (events & HANGUP)) {
        leave(c);
        return;
    }
    c->pending |= events;
    if (was != CONN_READING && was != CONN_WRITING && was != CONN_LINGERING) {
        pthread_mutex_unlock(&c->lock);
        return;
    }
    c->state = CONN_BUSY;
    /* A reader takes all; a writer leaves what the next request is about. */
    c->pending &= was == CONN_WRITING ? ~(uint32_t)EPOLLOUT : 0;
    if (was != CONN_LINGERING) atomic_store_explicit(&c->deadline_ms, 0, memory_order_relaxed);
    pthread_mutex_unlock(&c->lock);
    switch (was) {
    case CONN_READING:
        if (events & HANGUP) c->hup = true;
        c->drained = false;
        c->prompt = c->served && clock_monotonic_ns() - c->asked_ns < PROMPT_NS;
        watch_out(c, false);
        serve(w, c);
        break;
    case CONN_WRITING:
        if (write_rest(c, &closed) && !closed && conn_after_reply(c, w)) serve(w, c);
        break;
    case CONN_LINGERING:
        linger_on(c);
        break;
    case CONN_FREE: case CONN_BUSY: case CONN_PARKED: case CONN_LEAVING: case CONN_LEFT:
        break;
    }
}
