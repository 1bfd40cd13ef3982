/* The HTTP server in one process with its clients: keep-alive, parking, hang-up, threads, TLS, stopping.
 * Called by: make check.  Calls: xapi/http, lib/httpc. */
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/httpc.h"
#include "lib/log.h"
#include "lib/tls.h"
#include "xapi/http/server.h"

enum { PARKS = 2000, PIECE = 1 << 16, READ_BYTES = 32 << 10, TIMEOUT_MS = 20000 };

/* A server with routes whose state the tests look at. */
struct fixture {
    struct http_server *server;
    char dir[32];
    char *path;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiter {
        struct fixture *f;
        struct http_park *park;
        bool live;
        size_t index;
    } *waiters[PARKS + 100];
    size_t n_waiters;               /* lock */
    unsigned gone;                  /* lock */
    atomic_uint releases;
    bool answer_at_stop;
    char piece[PIECE];
    struct iovec iov[5];            /* two pieces, an empty one, a byte, "end" */
};

static void sleep_ms(long ms)
{
    const struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&ts, NULL);
}

static void reply_text(struct http_request *req, const char *text)
{
    struct strbuf body = STRBUF_INIT;

    strbuf_str(&body, text);
    struct http_reply r = { .status = 200, .content_type = "text/plain", .body = &body };
    http_reply(req, &r);
}

static void on_echo(struct http_request *req, void *arg _unused_)
{
    assert_int_equal(strlen(req->body), req->body_len);
    reply_text(req, req->body);
}

static void on_peer(struct http_request *req, void *arg _unused_)
{
    const struct http_peer *p = &req->peer;

    reply_text(req, arena_printf(req->arena, "%d %u %d %d", p->has_cred, p->uid, p->pid, p->tls));
}

static bool on_gone(void *arg)
{
    struct waiter *w = arg;
    struct fixture *f = w->f;

    pthread_mutex_lock(&f->lock);
    bool mine = w->live;
    if (mine) {
        f->waiters[w->index] = f->waiters[--f->n_waiters];
        f->waiters[w->index]->index = w->index;
        f->gone++;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    if (mine) free(w);
    return mine;
}

static void on_park(struct http_request *req, void *arg)
{
    struct fixture *f = arg;
    struct waiter *w = xcalloc(1, sizeof(*w));

    w->f = f;
    pthread_mutex_lock(&f->lock);
    if (f->n_waiters < ARRAY_SIZE(f->waiters) && (w->park = http_park(req, on_gone, w))) {
        w->live = true;
        w->index = f->n_waiters;
        f->waiters[f->n_waiters++] = w;
        w = NULL;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    if (!w) return;
    free(w);
    http_reply_error(req, 503, NULL);
}

static void release(void *arg, const char *text)
{
    struct waiter *w = arg;
    struct strbuf body = STRBUF_INIT;

    strbuf_str(&body, text);
    struct http_reply r = { .status = 200, .content_type = "text/plain", .body = &body };
    http_park_reply(w->park, &r);
    free(w);
}

static struct waiter *take_waiter(struct fixture *f)
{
    struct waiter *w = NULL;

    pthread_mutex_lock(&f->lock);
    if (f->n_waiters) {
        w = f->waiters[--f->n_waiters];
        w->live = false;
    }
    pthread_mutex_unlock(&f->lock);
    return w;
}

static void release_all(struct fixture *f, const char *text)
{
    struct waiter *w;

    while ((w = take_waiter(f))) release(w, text);
}

static void on_stopping(void *arg)
{
    struct fixture *f = arg;

    if (f->answer_at_stop) release_all(f, "stopping");
}

static void count_release(void *arg)
{
    struct fixture *f = arg;

    atomic_fetch_add(&f->releases, 1);
}

static void on_pieces(struct http_request *req, void *arg)
{
    struct fixture *f = arg;
    struct http_reply r = {
        .status = 200, .iov = f->iov, .n_iov = ARRAY_SIZE(f->iov), .release = count_release, .release_arg = f
    };

    http_reply(req, &r);
}

static void deferred(struct http_request *req, void *arg _unused_)
{
    sleep_ms(20);
    assert_non_null(req->head.path);
    reply_text(req, req->body);
}

static void on_defer(struct http_request *req, void *arg)
{
    if (http_defer(req, deferred, arg) < 0) http_reply_error(req, 503, NULL);
}

/* Threads may park too: the request came from a blocking path. */
static void on_defer_park(struct http_request *req, void *arg)
{
    if (http_defer(req, on_park, arg) < 0) http_reply_error(req, 503, NULL);
}

static void on_hold(struct http_request *req, void *arg _unused_)
{
    for (int i = 0; i < 500 && !http_client_gone(req); i++) sleep_ms(10);
    reply_text(req, http_client_gone(req) ? "gone" : "still here");
}

static void on_hold_thread(struct http_request *req, void *arg)
{
    if (http_defer(req, on_hold, arg) < 0) http_reply_error(req, 503, NULL);
}

static void on_read(struct http_request *req, void *arg _unused_)
{
    char buf[100];

    /* Until the server cuts the connection. */
    if (http_stream_head(req, 200, NULL) < 0) return;
    while (http_body_read(req, buf, sizeof(buf), -1) > 0) ;
}

/* Waits on its worker, as for a commit. */
static void on_commit(struct http_request *req, void *arg _unused_)
{
    sleep_ms(100);
    reply_text(req, "durable");
}

static struct fixture *start_with(struct http_config cfg)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct xerr err = XERR_INIT;
    const struct http_route routes[] = {
        { .method = HTTP_POST, .prefix = "/", .body_limit = 300 << 10, .handler = on_echo },
        { .method = HTTP_POST, .prefix = "/park", .body_limit = 1000, .handler = on_park, .arg = f },
        { .method = HTTP_POST, .prefix = "/defer", .body_limit = 100000, .handler = on_defer },
        { .method = HTTP_POST,
          .prefix = "/defer_park",
          .body_limit = 1000,
          .handler = on_defer_park,
          .arg = f },
        { .method = HTTP_GET, .prefix = "/pieces", .handler = on_pieces, .arg = f },
        { .method = HTTP_GET, .prefix = "/peer", .handler = on_peer },
        { .method = HTTP_GET, .prefix = "/hold", .handler = on_hold_thread },
        { .method = HTTP_GET, .prefix = "/commit", .handler = on_commit },
        { .method = HTTP_PUT, .prefix = "/read", .flags = HTTP_STREAM, .handler = on_read },
    };

    memset(f->piece, 'p', PIECE);
    const struct iovec iov[] = { { f->piece, PIECE }, { f->piece, 0 }, { f->piece, 1 }, { f->piece, PIECE },
                                 { (void *)(uintptr_t)"end", 3 } };
    memcpy(f->iov, iov, sizeof(iov));
    log_configure("stderr", "error");
    memcpy(f->dir, "/tmp/test-http-XXXXXX", 22);
    assert_non_null(mkdtemp(f->dir));
    f->path = xasprintf("%s/s", f->dir);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    cfg.on_stopping = on_stopping;
    cfg.on_stopping_arg = f;
    f->server = http_server_new(&cfg);
    http_server_routes(f->server, routes, ARRAY_SIZE(routes));
    assert_int_equal(http_listen_unix(f->server, f->path, 0600, &err), 0);
    return f;
}

static struct fixture *start(void)
{
    struct http_config cfg;

    http_config_init(&cfg);
    return start_with(cfg);
}

static void stop(struct fixture *f)
{
    if (f->server) {
        assert_int_equal(http_server_stop(f->server, 2000), 0);
        http_server_free(f->server);
    }
    assert_int_equal(access(f->path, F_OK), -1);
    rmdir(f->dir);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f->path);
    free(f);
}

static struct httpc *client(struct fixture *f)
{
    const struct httpc_target t = { .unix_path = f->path };
    struct xerr err = XERR_INIT;
    struct httpc *c = httpc_connect(&t, TIMEOUT_MS, &err);

    if (!c) fail_msg("%s", err.params[0]);
    return c;
}

/* A POST whose answer must be 200 with this text. */
static void call(struct httpc *c, const char *path, const char *body, const char *expected)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    struct xerr err = XERR_INIT;
    int status = 0;

    if (httpc_call(c, "POST", path, NULL, body, strlen(body), 1 << 20, TIMEOUT_MS, &status, &text, &err) < 0)
        fail_msg("%s: %s", path, err.params[0]);
    assert_int_equal(status, 200);
    assert_string_equal(strbuf_cstr(&text), expected);
}

static int raw_connect(struct fixture *f)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(a.sun_path, f->path, strlen(f->path) + 1);
    while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        assert_int_equal(errno, EAGAIN);
        sleep_ms(1);
    }
    return fd;
}

static void raw_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Read until text has come n times, or fail. */
static void raw_expect(int fd, const char *text, unsigned n)
{
    size_t len = strlen(text), kept = 0;
    unsigned seen = 0;
    char buf[65536 + 1];

    while (seen < n) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, TIMEOUT_MS) != 1) fail_msg("only %u of %u \"%s\"", seen, n, text);
        ssize_t got = recv(fd, buf + kept, sizeof(buf) - 1 - kept, 0);
        if (got <= 0) fail_msg("closed after %u of %u \"%s\"", seen, n, text);
        kept += (size_t)got;
        buf[kept] = '\0';
        const char *from = buf;
        for (const char *at; (at = strstr(from, text)); from = at + len) seen++;
        /* A match may go on in the next piece. */
        size_t rest = kept - (size_t)(from - buf), tail = rest < len - 1 ? rest : len - 1;
        memmove(buf, buf + kept - tail, tail);
        kept = tail;
    }
    assert_int_equal(seen, n);
}

static void wait_waiters(struct fixture *f, size_t n, unsigned gone)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    pthread_mutex_lock(&f->lock);
    while (f->n_waiters != n || f->gone != gone)
        if (pthread_cond_timedwait(&f->changed, &f->lock, &until) == ETIMEDOUT) break;
    size_t have = f->n_waiters;
    unsigned left = f->gone;
    pthread_mutex_unlock(&f->lock);
    if (have != n || left != gone) fail_msg("%zu parked, %u gone; not %zu, %u", have, left, n, gone);
}

/* --- tests --------------------------------------------------------------------------------------------- */

static void test_keep_alive(void **state _unused_)
{
    struct fixture *f = start();
    struct httpc *c = client(f);
    char expected[64];

    for (int i = 0; i < 100; i++) {
        char text[24];
        snprintf(text, sizeof(text), "call %d", i);
        call(c, "/RPC2", text, text);
        assert_true(httpc_usable(c));
    }
    /* The kernel says who we are. */
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    struct xerr err = XERR_INIT;
    int status = 0;
    assert_int_equal(httpc_call(c, "GET", "/peer", NULL, NULL, 0, 1000, TIMEOUT_MS, &status, &text, &err), 0);
    snprintf(expected, sizeof(expected), "1 %u %d 0", getuid(), getpid());
    assert_string_equal(strbuf_cstr(&text), expected);
    httpc_free(c);
    stop(f);
}

static int64_t cpu_ms(void)
{
    struct timespec ts;

    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
    return ts.tv_sec * 1000 + ts.tv_nsec / NS_PER_MS;
}

/* A client that asks again at once is looked for; one that does not costs nothing. */
static void test_prompt(void **state _unused_)
{
    struct fixture *f = start();
    struct httpc *c = client(f);
    struct http_server_stats st = { .prompt = 0 };
    int64_t until_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    cpu_set_t set;

    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    const bool several = CPU_COUNT(&set) > 1;
    for (int i = 0; i < 500 || (several && st.prompt < 20 && clock_monotonic_ns() < until_ns); i++) {
        call(c, "/RPC2", "again", "again");
        http_server_stats(f->server, &st);
    }
    if (several) assert_true(st.prompt >= 20);
    else assert_int_equal(st.prompt, 0);
    int64_t used_ms = cpu_ms();
    usleep(500000);
    assert_true(cpu_ms() - used_ms < 100);
    httpc_free(c);
    stop(f);
}

static void test_body_sizes(void **state _unused_)
{
    static const size_t sizes[] = { 0, 1, 30000, 32600, 32768, 70000, 300 << 10 };
    struct fixture *f = start();
    struct httpc *c = client(f);

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char *body = xmalloc(sizes[i] + 1);
        memset(body, 'b', sizes[i]);
        body[sizes[i]] = '\0';
        call(c, "/", body, body);
        free(body);
    }
    httpc_free(c);
    stop(f);
}

static void test_pipelining(void **state _unused_)
{
    struct fixture *f = start();
    _cleanup_strbuf_ struct strbuf all = STRBUF_INIT;
    int fd = raw_connect(f);

    for (int i = 0; i < 500; i++)
        strbuf_str(&all, i % 50 == 7 ? "POST /defer HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
                                     : "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    raw_send(fd, strbuf_cstr(&all));
    raw_expect(fd, "hello", 500);
    /* A parked one in the middle holds back those behind it, and no other. */
    raw_send(
        fd,
        "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nafter");
    wait_waiters(f, 1, 0);
    release_all(f, "parked");
    raw_expect(fd, "after", 1);
    close(fd);
    stop(f);
}

/* Bytes one at a time, over the boundary of head and body. */
static void test_trickle(void **state _unused_)
{
    static const char text[] = "\r\nPOST / HTTP/1.1\r\nContent-Length: 7\r\nX: y\r\n\r\ntrickle";
    struct fixture *f = start();
    int fd = raw_connect(f);

    for (int round = 0; round < 2; round++) {
        for (const char *p = text; *p; p++) {
            assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
            if ((p - text) % 7 == 0) sleep_ms(1);
        }
        raw_expect(fd, "\r\n\r\ntrickle", 1);
    }
    close(fd);
    /* A head that ends anywhere with the connection leaves nothing behind. */
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        fd = raw_connect(f);
        assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
        if (n % 2) shutdown(fd, SHUT_WR);
        close(fd);
    }
    struct http_server_stats st;
    for (int i = 0; i < 500; i++) {
        http_server_stats(f->server, &st);
        if (!st.connections) break;
        sleep_ms(10);
    }
    assert_int_equal(st.connections, 0);
    stop(f);
}

static void test_park_many(void **state _unused_)
{
    struct fixture *f = start();
    int *fds = xcalloc(PARKS, sizeof(int));
    struct http_server_stats st;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PARKS; i++) {
            if (!round) fds[i] = raw_connect(f);
            raw_send(fds[i], "POST /park HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
        }
        wait_waiters(f, PARKS, 0);
        http_server_stats(f->server, &st);
        assert_int_equal(st.parked, PARKS);
        assert_in_range(st.workers, 1, 64);
        assert_int_equal(st.threads, 0);
        /* Others are served while they wait. */
        struct httpc *c = client(f);
        call(c, "/", "meanwhile", "meanwhile");
        httpc_free(c);
        release_all(f, "woken");
        for (int i = 0; i < PARKS; i++) raw_expect(fds[i], "woken", 1);
    }
    /* Half of them hang up while parked: each is told once. */
    for (int i = 0; i < PARKS; i++) raw_send(fds[i], "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    wait_waiters(f, PARKS, 0);
    for (int i = 0; i < PARKS; i += 2) close(fds[i]);
    wait_waiters(f, PARKS / 2, PARKS / 2);
    release_all(f, "woken");
    for (int i = 1; i < PARKS; i += 2) {
        raw_expect(fds[i], "woken", 1);
        close(fds[i]);
    }
    http_server_stats(f->server, &st);
    assert_int_equal(st.parked, 0);
    free(fds);
    stop(f);
}

static void test_pieces(void **state _unused_)
{
    struct fixture *f = start();
    struct httpc *c = client(f);
    struct xerr err = XERR_INIT;

    for (int i = 0; i < 3; i++) {
        _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
        int status = 0;
        assert_int_equal(
            httpc_call(c, "GET", "/pieces", NULL, NULL, 0, 1 << 20, TIMEOUT_MS, &status, &text, &err), 0);
        assert_int_equal(text.len, 2 * PIECE + 4);
        assert_memory_equal(text.ptr + 2 * PIECE + 1, "end", 3);
    }
    httpc_free(c);
    /* A client that asks, reads nothing and leaves. */
    int fd = raw_connect(f);
    for (int i = 0; i < 20; i++) raw_send(fd, "GET /pieces HTTP/1.1\r\n\r\n");
    close(fd);
    stop(f);
}

static void test_release_once(void **state _unused_)
{
    struct fixture *f = start();
    int fd = raw_connect(f);

    /* The socket fills after a few; the rest waits in the server. */
    for (int i = 0; i < 50; i++) raw_send(fd, "GET /pieces HTTP/1.1\r\n\r\n");
    raw_expect(fd, "end", 50);
    for (int i = 0; i < 200 && atomic_load(&f->releases) != 50; i++) sleep_ms(5);
    assert_int_equal(atomic_load(&f->releases), 50);
    raw_send(fd, "GET /pieces HTTP/1.1\r\n\r\nGET /pieces HTTP/1.1\r\n\r\n");
    sleep_ms(50);
    close(fd);
    for (int i = 0; i < 500 && atomic_load(&f->releases) < 51; i++) sleep_ms(10);
    unsigned n = atomic_load(&f->releases);
    assert_in_range(n, 51, 52);
    stop(f);
}

static void test_defer(void **state _unused_)
{
    struct fixture *f = start();
    struct httpc *c = client(f);
    char *large = xmalloc(90001);

    memset(large, 'l', 90000);
    large[90000] = '\0';
    call(c, "/defer", "one", "one");
    call(c, "/defer", large, large);
    call(c, "/", "two", "two");
    free(large);
    httpc_free(c);
    int fd = raw_connect(f);
    raw_send(fd, "POST /defer_park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    wait_waiters(f, 1, 0);
    release_all(f, "from a thread");
    raw_expect(fd, "from a thread", 1);
    /* The thread of a client that leaves can see it. */
    raw_send(fd, "GET /hold HTTP/1.1\r\n\r\n");
    sleep_ms(50);
    int64_t began_ns = clock_monotonic_ns();
    close(fd);
    struct http_server_stats st;
    do {
        sleep_ms(5);
        http_server_stats(f->server, &st);
    } while (st.connections && clock_monotonic_ns() - began_ns < 4 * NS_PER_S);
    assert_int_equal(st.connections, 0);
    stop(f);
}

static void test_limit(void **state _unused_)
{
    struct http_config cfg;
    struct xerr err = XERR_INIT;
    unsigned port = 0;

    http_config_init(&cfg);
    cfg.connections_max = 10;
    struct fixture *f = start_with(cfg);

    /* Idle connections make room; a unix socket is served even when the network has used up its share. */
    assert_int_equal(http_listen_tcp(f->server, "127.0.0.1:0", NULL, false, &port, &err), 0);
    const struct httpc_target t = { .host = "127.0.0.1", .port = port };
    struct httpc *c[30];
    for (int i = 0; i < 30; i++) {
        c[i] = httpc_connect(&t, TIMEOUT_MS, &err);
        assert_non_null(c[i]);
        call(c[i], "/", "x", "x");
    }
    struct http_server_stats st;
    http_server_stats(f->server, &st);
    assert_in_range(st.connections, 1, 10);
    assert_false(httpc_usable(c[0]));
    assert_true(httpc_usable(c[29]));
    struct httpc *local = client(f);
    call(local, "/", "x", "x");
    httpc_free(local);
    for (int i = 0; i < 30; i++) httpc_free(c[i]);
    stop(f);
}

/* Bodies that never come must not fill the memory. */
static void test_waiting_bodies(void **state _unused_)
{
    static const char half[] = "POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\nhalf";
    const int size = 300000;
    struct http_config cfg;
    struct xerr err = XERR_INIT;
    unsigned port = 0;
    int fds[5];

    http_config_init(&cfg);
    cfg.waiting_bytes_max = 4 * (READ_BYTES + (size_t)size);
    struct fixture *f = start_with(cfg);
    assert_int_equal(http_listen_tcp(f->server, "127.0.0.1:0", NULL, false, &port, &err), 0);
    const struct httpc_target t = { .host = "127.0.0.1", .port = port };
    struct httpc *c[5];
    for (int i = 0; i < 5; i++) {
        c[i] = httpc_connect(&t, TIMEOUT_MS, &err);
        assert_non_null(c[i]);
        fds[i] = httpc_stream(c[i])->fd;
        raw_send(fds[i], half);
        sleep_ms(20);
    }
    raw_expect(fds[4], "HTTP/1.1 503", 1);
    /* Small calls and the unix socket go on; one that ends makes room. */
    struct httpc *local = client(f), *small = httpc_connect(&t, TIMEOUT_MS, &err);
    char *large = xmalloc((size_t)size + 1);
    memset(large, 'l', (size_t)size);
    large[size] = '\0';
    call(local, "/", large, large);
    call(small, "/", "x", "x");
    httpc_free(c[0]);
    sleep_ms(50);
    call(small, "/", large, large);
    free(large);
    for (int i = 1; i < 5; i++) httpc_free(c[i]);
    httpc_free(local);
    httpc_free(small);
    stop(f);
}

/* Handlers that wait make more workers: 40 at once need no five rounds of 8. */
static void test_workers_grow(void **state _unused_)
{
    struct fixture *f = start();
    struct http_server_stats st;
    int fds[40];

    for (int round = 0; round < 2; round++) {
        int64_t began_ns = clock_monotonic_ns();
        for (int i = 0; i < 40; i++) {
            if (!round) fds[i] = raw_connect(f);
            raw_send(fds[i], "GET /commit HTTP/1.1\r\n\r\n");
        }
        for (int i = 0; i < 40; i++) raw_expect(fds[i], "durable", 1);
        if (round) assert_in_range(clock_monotonic_ns() - began_ns, 0, 400 * NS_PER_MS);
    }
    http_server_stats(f->server, &st);
    assert_in_range(st.workers, 40, 64);
    for (int i = 0; i < 40; i++) close(fds[i]);
    stop(f);
}

static void test_tls(void **state _unused_)
{
    static const char *const names[] = { "127.0.0.1", "other.example", "::1" };
    struct fixture *f = start();
    struct xerr err = XERR_INIT;
    unsigned port = 0;
    _cleanup_free_ char *pem = xasprintf("%s/pem", f->dir), *pem2 = xasprintf("%s/pem2", f->dir),
                        *text = NULL;
    struct tls_certificate cert, cert2;

    /* 1. A certificate that verifies by address and by name. */
    assert_int_equal(tls_make_self_signed(pem, "host.example", names, 3, 3650, &err), 0);
    assert_int_equal(tls_make_self_signed(pem2, "host.example", names, 3, 3650, &err), 0);
    struct tls_server *tls = tls_server_new(pem, &err);
    assert_non_null(tls);
    assert_int_equal(http_listen_tcp(f->server, "127.0.0.1:0", tls, false, &port, &err), 0);
    struct tls_client *trusting = tls_client_new(NULL, &err), *strict = tls_client_new(pem, &err);
    struct httpc_target t = { .host = "127.0.0.1", .port = port, .tls = strict };
    struct httpc *c = httpc_connect(&t, TIMEOUT_MS, &err);
    if (!c) fail_msg("%s", err.params[0]);
    for (int i = 0; i < 20; i++) call(c, "/", "secret", "secret");
    assert_true(httpc_usable(c));
    t.tls_name = "host.example";
    struct httpc *c2 = httpc_connect(&t, TIMEOUT_MS, &err);
    assert_non_null(c2);
    httpc_free(c2);
    t.tls_name = "wrong.example";
    assert_null(httpc_connect(&t, TIMEOUT_MS, &err));
    assert_non_null(strstr(err.params[0], "ostname mismatch"));
    xerr_clear(&err);

    /* 2. Large bodies both ways. */
    char *large = xmalloc((300 << 10) + 1);
    memset(large, 'l', 300 << 10);
    large[300 << 10] = '\0';
    call(c, "/", large, large);
    call(c, "/defer", "thread", "thread");
    free(large);
    _cleanup_strbuf_ struct strbuf body = STRBUF_INIT;
    int status;
    assert_int_equal(
        httpc_call(c, "GET", "/pieces", NULL, NULL, 0, 1 << 20, TIMEOUT_MS, &status, &body, &err), 0);
    assert_int_equal(body.len, 2 * PIECE + 4);

    /* 3. A new certificate: old connections live on, new ones see it; a bad file changes nothing. */
    assert_int_equal(tls_server_reload(tls, "/dev/null", &err), -1);
    xerr_clear(&err);
    t.tls_name = NULL;
    c2 = httpc_connect(&t, TIMEOUT_MS, &err);
    assert_non_null(c2);
    httpc_free(c2);
    assert_int_equal(tls_server_reload(tls, pem2, &err), 0);
    call(c, "/", "still", "still");
    assert_null(httpc_connect(&t, TIMEOUT_MS, &err));
    xerr_clear(&err);
    t.tls = trusting;
    c2 = httpc_connect(&t, TIMEOUT_MS, &err);
    assert_non_null(c2);
    call(c2, "/", "new", "new");
    httpc_free(c2);
    httpc_free(c);

    /* 4. What a record shows of it. */
    assert_int_equal(read_file(pem, 1 << 16, &text, NULL), 0);
    assert_int_equal(tls_read_certificate(text, &cert, &err), 0);
    free(text);
    assert_int_equal(read_file(pem2, 1 << 16, &text, NULL), 0);
    assert_int_equal(tls_read_certificate(text, &cert2, &err), 0);
    assert_string_equal(cert.subject, "CN=host.example");
    assert_int_equal(strlen(cert.fingerprint_sha256), 32 * 3 - 1);
    assert_int_equal(strlen(cert.fingerprint_sha1), 20 * 3 - 1);
    assert_string_not_equal(cert.fingerprint_sha256, cert2.fingerprint_sha256);
    assert_in_range(cert.not_after - cert.not_before, 3650LL * 86400, 3652LL * 86400);
    tls_certificate_clear(&cert);
    tls_certificate_clear(&cert2);

    /* 5. Plain HTTP on the TLS port ends. */
    const struct httpc_target plain = { .host = "127.0.0.1", .port = port };
    c = httpc_connect(&plain, TIMEOUT_MS, &err);
    assert_non_null(c);
    assert_int_equal(httpc_call(c, "POST", "/", NULL, "x", 1, 1000, TIMEOUT_MS, &status, &body, &err), -1);
    xerr_clear(&err);
    httpc_free(c);
    tls_client_free(trusting);
    tls_client_free(strict);
    unlink(pem);
    unlink(pem2);
    assert_int_equal(http_server_stop(f->server, 2000), 0);
    http_server_free(take_ptr(f->server));
    tls_server_free(tls);
    stop(f);
}

/* Clients of all kinds at once; the sanitizers watch. */
struct crowd {
    struct fixture *f;
    atomic_bool end;
    atomic_uint calls;
};

static void *crowd_calls(void *arg)
{
    struct crowd *k = arg;

    while (!atomic_load(&k->end)) {
        struct httpc *c = client(k->f);
        for (int i = 0; i < 20; i++) call(c, i % 5 ? "/" : "/defer", "crowd", "crowd");
        httpc_free(c);
        atomic_fetch_add(&k->calls, 20);
    }
    return NULL;
}

static void *crowd_parks(void *arg)
{
    struct crowd *k = arg;
    unsigned seed = (unsigned)(uintptr_t)&seed;

    while (!atomic_load(&k->end)) {
        int fd = raw_connect(k->f);
        for (int i = 0; i < 5; i++) {
            raw_send(fd, "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
            /* Sometimes leave at once, or in the very moment of the answer. */
            if (rand_r(&seed) % 4 == 0) break;
            if (rand_r(&seed) % 4 == 0) {
                sleep_ms(1);
                break;
            }
            raw_expect(fd, "woken", 1);
            atomic_fetch_add(&k->calls, 1);
        }
        close(fd);
    }
    return NULL;
}

static void *crowd_releases(void *arg)
{
    struct crowd *k = arg;

    while (!atomic_load(&k->end)) {
        release_all(k->f, "woken");
        sleep_ms(1);
    }
    release_all(k->f, "woken");
    return NULL;
}

static void test_crowd(void **state _unused_)
{
    struct crowd k = { .f = start() };
    void *(*const kinds[])(void *) = { crowd_calls, crowd_calls, crowd_parks, crowd_parks, crowd_parks,
                                       crowd_releases, crowd_releases };
    pthread_t threads[ARRAY_SIZE(kinds)];

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) pthread_create(&threads[i], NULL, kinds[i], &k);
    sleep_ms(1500);
    atomic_store(&k.end, true);
    /* The waking ones end last, so that nobody waits for them. */
    for (size_t i = 0; i < 5; i++) {
        struct timespec ts;
        do {
            release_all(k.f, "woken");
            clock_gettime(CLOCK_REALTIME, &ts);
            ts.tv_nsec += 10 * NS_PER_MS;
            if (ts.tv_nsec >= NS_PER_S) {
                ts.tv_sec++;
                ts.tv_nsec -= NS_PER_S;
            }
        } while (pthread_timedjoin_np(threads[i], NULL, &ts) != 0);
    }
    for (size_t i = 5; i < ARRAY_SIZE(kinds); i++) pthread_join(threads[i], NULL);
    assert_true(atomic_load(&k.calls) > 50);
    stop(k.f);
}

static void test_stop_answers(void **state _unused_)
{
    struct fixture *f = start();
    int fds[20];

    f->answer_at_stop = true;
    for (int i = 0; i < 20; i++) {
        fds[i] = raw_connect(f);
        raw_send(fds[i], "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    }
    wait_waiters(f, 20, 0);
    assert_int_equal(http_server_stop(f->server, 2000), 0);
    for (int i = 0; i < 20; i++) {
        char end;
        raw_expect(fds[i], "stopping", 1);
        assert_int_equal(recv(fds[i], &end, 1, 0), 0);
        close(fds[i]);
    }
    http_server_free(take_ptr(f->server));
    stop(f);
}

/* What nobody answers and what never ends is cut. */
static void test_stop_cuts(void **state _unused_)
{
    struct fixture *f = start();
    int parked = raw_connect(f), stream = raw_connect(f), idle = raw_connect(f), half = raw_connect(f);

    raw_send(parked, "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    raw_send(stream, "PUT /read HTTP/1.0\r\n\r\n");
    raw_expect(stream, "200 OK", 1);
    raw_send(half, "POST / HTTP/1.1\r\nContent-Le");
    wait_waiters(f, 1, 0);
    int64_t began_ns = clock_monotonic_ns();
    assert_int_equal(http_server_stop(f->server, 300), 0);
    assert_in_range(clock_monotonic_ns() - began_ns, 250 * NS_PER_MS, 5 * NS_PER_S);
    assert_int_equal(f->gone, 1);
    http_server_free(take_ptr(f->server));
    close(parked);
    close(stream);
    close(idle);
    close(half);
    stop(f);
}

static void test_socket_file(void **state _unused_)
{
    struct fixture *f = start(), *other = start();
    struct xerr err = XERR_INIT;
    _cleanup_free_ char *file = xasprintf("%s/file", f->dir);

    /* In use, or no socket at all: refused. */
    assert_int_equal(http_listen_unix(other->server, f->path, 0600, &err), -1);
    xerr_clear(&err);
    assert_int_equal(write_file_atomic(file, "x", 1, 0600), 0);
    assert_int_equal(http_listen_unix(other->server, file, 0600, &err), -1);
    xerr_clear(&err);
    unlink(file);
    /* A leftover is replaced. */
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    memcpy(a.sun_path, file, strlen(file) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd);
    assert_int_equal(http_listen_unix(other->server, file, 0600, &err), 0);
    /* Wrong addresses are named. */
    assert_int_equal(http_listen_tcp(f->server, "nonsense", NULL, false, NULL, &err), -1);
    xerr_clear(&err);
    assert_int_equal(http_listen_tcp(f->server, "host.example:80", NULL, false, NULL, &err), -1);
    xerr_clear(&err);
    unsigned port = 0;
    assert_int_equal(http_listen_tcp(f->server, "[::1]:0", NULL, false, &port, &err), 0);
    assert_int_not_equal(port, 0);
    http_unlisten_tcp(f->server, port);
    const struct httpc_target t = { .host = "::1", .port = port };
    assert_null(httpc_connect(&t, TIMEOUT_MS, &err));
    xerr_clear(&err);
    stop(f);
    stop(other);
}

UNIT_MAIN(cmocka_unit_test(test_keep_alive), cmocka_unit_test(test_prompt), cmocka_unit_test(test_body_sizes),
          cmocka_unit_test(test_pipelining), cmocka_unit_test(test_trickle), cmocka_unit_test(test_park_many),
          cmocka_unit_test(test_pieces), cmocka_unit_test(test_release_once), cmocka_unit_test(test_defer),
          cmocka_unit_test(test_limit), cmocka_unit_test(test_waiting_bodies),
          cmocka_unit_test(test_workers_grow), cmocka_unit_test(test_tls), cmocka_unit_test(test_crowd),
          cmocka_unit_test(test_stop_answers), cmocka_unit_test(test_stop_cuts),
          cmocka_unit_test(test_socket_file))
