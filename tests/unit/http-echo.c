/* A small program around the HTTP server: every way to answer, for tests over the wire and for measuring.
 * Called by: tests/wire/test-http.py, tests/bench.  Calls: xapi/http.
 *
 *   http-echo [--tcp ADDR:PORT] [--tls ADDR:PORT --pem FILE] [--unix PATH] [--proxy ADDR:PORT] [--web DIR]
 *             [--timeouts MS] [--connections N]
 *
 * It prints "tcp PORT", "tls PORT", "proxy PORT", "ready" and runs until its standard input ends. A line
 * "reload FILE" there takes a new certificate. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/log.h"
#include "lib/tls.h"
#include "xapi/http/server.h"
#include "xapi/http/web.h"

enum { PARKS_MAX = 20000, PIECE = 10000 };

/* Parked requests, answered by GET /release. */
struct shelf {
    pthread_mutex_t lock;
    struct waiter {
        struct shelf *shelf;
        struct http_park *park;
        bool live;
        size_t index;
    } *waiters[PARKS_MAX];
    size_t n;
    unsigned gone;
    uint64_t upload_bytes, upload_sum;   /* of the last upload */
    int upload_errno;
    char piece[PIECE];
};

static void reply_text(struct http_request *req, int status, const char *text)
{
    struct strbuf body = STRBUF_INIT;

    strbuf_str(&body, text);
    struct http_reply r = { .status = status, .content_type = "text/plain", .body = &body };
    http_reply(req, &r);
}

static void echo(struct http_request *req, void *arg _unused_)
{
    struct strbuf body = STRBUF_INIT;

    strbuf_add(&body, req->body, req->body_len);
    struct http_reply r = {
        .status = 200, .content_type = "text/xml", .body = &body,
        .headers = "Access-Control-Allow-Origin: *\r\nCache-Control: no-cache, no-store\r\n",
    };
    http_reply(req, &r);
}

/* What the parser made of a request, a line each. */
static void show_request(struct http_request *req, void *arg _unused_)
{
    struct strbuf body = STRBUF_INIT;
    const struct http_head *h = &req->head;

    strbuf_printf(&body, "%s %s 1.%d\ntarget %s\n", h->method_text, h->path, h->minor, h->target);
    for (size_t i = 0; i < h->n_query; i++)
        strbuf_printf(&body, "query %s=%s\n", h->query[i].name, h->query[i].value);
    for (size_t i = 0; i < h->n_cookies; i++)
        strbuf_printf(&body, "cookie %s=%s\n", h->cookies[i].name, h->cookies[i].value);
    const char *session = http_param(h, "session_id");
    if (session) strbuf_printf(&body, "session_id %s\n", session);
    const struct http_peer *p = &req->peer;
    strbuf_printf(&body, "peer unix=%d tls=%d cred=%d uid=%u pid=%d address=%s port=%u\n", p->is_unix, p->tls,
                  p->has_cred, (unsigned)p->uid, (int)p->pid, p->address, p->port);
    struct http_reply r = { .status = 200, .content_type = "text/plain", .body = &body };
    http_reply(req, &r);
}

static void silent(struct http_request *req _unused_, void *arg _unused_)
{
}

static bool waiter_gone(void *arg)
{
    struct waiter *w = arg;
    struct shelf *s = w->shelf;

    pthread_mutex_lock(&s->lock);
    bool mine = w->live;
    if (mine) {
        s->waiters[w->index] = s->waiters[--s->n];
        s->waiters[w->index]->index = w->index;
        s->gone++;
    }
    pthread_mutex_unlock(&s->lock);
    if (mine) free(w);
    return mine;
}

static void park(struct http_request *req, void *arg)
{
    struct shelf *s = arg;
    struct waiter *w = xcalloc(1, sizeof(*w));

    w->shelf = s;
    pthread_mutex_lock(&s->lock);
    if (s->n < PARKS_MAX && (w->park = http_park(req, waiter_gone, w))) {
        w->live = true;
        w->index = s->n;
        s->waiters[s->n++] = w;
        w = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (!w) return;
    free(w);
    http_reply_error(req, 503, NULL);
}

/* Answer all that is parked. */
static size_t release(struct shelf *s, const char *text)
{
    size_t n = 0;

    for (;;) {
        struct waiter *w = NULL;
        struct strbuf body = STRBUF_INIT;
        pthread_mutex_lock(&s->lock);
        if (s->n) {
            w = s->waiters[--s->n];
            w->live = false;
        }
        pthread_mutex_unlock(&s->lock);
        if (!w) return n;
        strbuf_str(&body, text);
        struct http_reply r = { .status = 200, .content_type = "text/plain", .body = &body };
        http_park_reply(w->park, &r);
        free(w);
        n++;
    }
}

static void release_all(struct http_request *req, void *arg)
{
    const char *text = http_query(&req->head, "text");
    char count[32];

    snprintf(count, sizeof(count), "%zu", release(arg, text ? text : "released"));
    reply_text(req, 200, count);
}

static void on_stopping(void *arg)
{
    release(arg, "stopping");
}

static long number(struct http_request *req, const char *name, long fallback)
{
    const char *text = http_query(&req->head, name);

    return text ? strtol(text, NULL, 10) : fallback;
}

static void sleep_ms(long ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&ts, NULL);
}

static void slow(struct http_request *req, void *arg _unused_)
{
    sleep_ms(number(req, "ms", 100));
    reply_text(req, 200, http_client_gone(req) ? "gone" : "slept");
}

static void defer(struct http_request *req, void *arg _unused_)
{
    if (http_defer(req, slow, NULL) < 0) http_reply_error(req, 503, NULL);
}

/* bytes=N in pieces that are not copied. */
static void pieces(struct http_request *req, void *arg)
{
    struct shelf *s = arg;
    size_t left = (size_t)number(req, "bytes", 1), n = 0;
    struct iovec *iov = xcalloc(left / PIECE + 1, sizeof(*iov));

    for (; left; n++) {
        size_t len = left < PIECE ? left : PIECE;
        iov[n] = (struct iovec){ s->piece, len };
        left -= len;
    }
    struct http_reply r = { .status = 200, .content_type = "application/octet-stream", .iov = iov, .n_iov = n,
                            .release = free, .release_arg = iov };
    http_reply(req, &r);
}

static void note_upload(struct http_request *req, struct shelf *s, int timeout_ms)
{
    char buf[65536];
    uint64_t bytes = 0, sum = 0;
    ssize_t n;

    while ((n = http_body_read(req, buf, sizeof(buf), timeout_ms)) > 0) {
        bytes += (uint64_t)n;
        for (ssize_t i = 0; i < n; i++) sum = sum * 31 + (unsigned char)buf[i];
    }
    int e = n < 0 ? errno : 0;
    pthread_mutex_lock(&s->lock);
    s->upload_bytes = bytes;
    s->upload_sum = sum;
    s->upload_errno = e;
    pthread_mutex_unlock(&s->lock);
}

/* As imports do: 200 first, then the body. */
static void upload(struct http_request *req, void *arg)
{
    if (number(req, "refuse", 0)) {
        http_reply_error(req, 403, NULL);
        return;
    }
    if (http_stream_head(req, 200, "X-Task: 1\r\n") < 0) return;
    if (number(req, "ignore", 0)) return;
    note_upload(req, arg, 5000);
}

static void put(struct http_request *req, void *arg)
{
    struct shelf *s = arg;
    char text[64];

    note_upload(req, s, 5000);
    pthread_mutex_lock(&s->lock);
    snprintf(text, sizeof(text), "%llu %llu", (unsigned long long)s->upload_bytes,
             (unsigned long long)s->upload_sum);
    pthread_mutex_unlock(&s->lock);
    reply_text(req, 200, text);
}

static void last(struct http_request *req, void *arg)
{
    struct shelf *s = arg;
    char text[96];

    pthread_mutex_lock(&s->lock);
    snprintf(text, sizeof(text), "%llu %llu %s gone=%u", (unsigned long long)s->upload_bytes,
             (unsigned long long)s->upload_sum, s->upload_errno ? strerrorname_np(s->upload_errno) : "ok",
             s->gone);
    pthread_mutex_unlock(&s->lock);
    reply_text(req, 200, text);
}

static void export(struct http_request *req, void *arg)
{
    struct shelf *s = arg;
    long left = number(req, "bytes", 1);

    if (http_stream_head(req, 200, "Content-Type: application/octet-stream\r\n") < 0) return;
    while (left > 0) {
        size_t n = left < PIECE ? (size_t)left : PIECE;
        if (stream_write(http_stream(req), s->piece, n, 5000) < 0) return;
        left -= (long)n;
    }
}

static void console(struct http_request *req, void *arg _unused_)
{
    struct stream *st = http_stream(req);
    char buf[4096];
    ssize_t n;

    if (stream_write(st, "HTTP/1.1 200 OK\r\n\r\n", 19, 5000) < 0) return;
    while ((n = stream_read(st, buf, sizeof(buf), 10000)) > 0)
        if (stream_write(st, buf, (size_t)n, 5000) < 0) return;
}

/* Raw reply without a head; the body arrived whole. */
static void cli(struct http_request *req, void *arg _unused_)
{
    struct stream *st = http_stream(req);
    char answer[8];

    if (stream_write(st, "banner\n", 7, 5000) < 0 || stream_write(st, req->body, req->body_len, 5000) < 0)
        return;
    ssize_t n = stream_read(st, answer, sizeof(answer), 5000);
    if (n > 0) stream_write(st, answer, (size_t)n, 5000);
}

static void stats(struct http_request *req, void *arg _unused_)
{
    struct http_server_stats st;

    http_server_stats(req->server, &st);
    char *text =
        xasprintf("connections=%u parked=%u workers=%u threads=%u requests=%llu accepted=%llu refused=%llu",
                  st.connections, st.parked, st.workers, st.threads, (unsigned long long)st.requests,
                  (unsigned long long)st.accepted, (unsigned long long)st.refused);
    reply_text(req, 200, text);
    free(text);
}

static void add_routes(struct http_server *s, struct shelf *shelf)
{
    const struct http_route routes[] = {
        { .method = HTTP_POST, .prefix = "/", .body_limit = 300 << 10, .handler = echo },
        { .method = HTTP_POST, .prefix = "/park", .body_limit = 1000, .handler = park, .arg = shelf },
        { .method = HTTP_GET, .prefix = "/park", .handler = park, .arg = shelf },
        { .method = HTTP_GET, .prefix = "/release", .handler = release_all, .arg = shelf },
        { .method = HTTP_GET, .prefix = "/request", .handler = show_request },
        { .method = HTTP_GET, .prefix = "/private", .flags = HTTP_PRIVATE, .handler = show_request },
        { .method = HTTP_GET, .prefix = "/silent", .handler = silent },
        { .method = HTTP_GET, .prefix = "/slow", .handler = slow },
        { .method = HTTP_GET, .prefix = "/defer", .handler = defer },
        { .method = HTTP_GET, .prefix = "/pieces", .handler = pieces, .arg = shelf },
        { .method = HTTP_GET, .prefix = "/last", .handler = last, .arg = shelf },
        { .method = HTTP_GET, .prefix = "/stats", .handler = stats },
        { .method = HTTP_GET, .prefix = "/export", .flags = HTTP_STREAM, .handler = export, .arg = shelf },
        { .method = HTTP_PUT, .prefix = "/upload", .flags = HTTP_STREAM, .handler = upload, .arg = shelf },
        { .method = HTTP_PUT, .prefix = "/put", .flags = HTTP_STREAM, .handler = put, .arg = shelf },
        { .method = HTTP_PUT, .prefix = "/silent", .flags = HTTP_STREAM, .handler = silent },
        { .method = HTTP_CONNECT, .prefix = "/console", .flags = HTTP_STREAM, .handler = console },
        { .method = HTTP_POST, .prefix = "/cli", .flags = HTTP_STREAM | HTTP_NO_HEAD, .body_limit = 200 << 10,
          .handler = cli },
    };

    http_server_routes(s, routes, ARRAY_SIZE(routes));
}

/* Lines of standard input until it ends. */
static void command_loop(struct tls_server *tls)
{
    char line[4096];

    while (fgets(line, sizeof(line), stdin)) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        line[strcspn(line, "\n")] = '\0';
        if (has_prefix(line, "reload ") && tls) {
            int rc = tls_server_reload(tls, line + 7, &err);
            char *why = rc < 0 ? xerr_text(&err) : xstrdup("reloaded");
            printf("%s\n", why);
            free(why);
        }
        fflush(stdout);
    }
}

static void die(struct xerr *err)
{
    char *text = xerr_text(err);

    fprintf(stderr, "http-echo: %s\n", text);
    free(text);
    exit(1);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "tcp", 1, NULL, 't' }, { "tls", 1, NULL, 's' }, { "pem", 1, NULL, 'p' }, { "unix", 1, NULL, 'u' },
        { "proxy", 1, NULL, 'x' }, { "web", 1, NULL, 'w' }, { "timeouts", 1, NULL, 'o' },
        { "connections", 1, NULL, 'c' }, { NULL, 0, NULL, 0 },
    };
    const char *tcp = NULL, *tls_address = NULL, *pem = NULL, *path = NULL, *proxy = NULL, *web_dir = NULL;
    struct shelf *shelf = xcalloc(1, sizeof(*shelf));
    struct http_config cfg;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    int option;
    unsigned port;

    http_config_init(&cfg);
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 't': tcp = optarg; break;
        case 's': tls_address = optarg; break;
        case 'p': pem = optarg; break;
        case 'u': path = optarg; break;
        case 'x': proxy = optarg; break;
        case 'w': web_dir = optarg; break;
        case 'o':
            cfg.first_byte_ms = cfg.head_ms = cfg.body_ms = cfg.idle_ms = cfg.write_ms = atoi(optarg);
            break;
        case 'c': cfg.connections_max = (unsigned)atoi(optarg); break;
        default: return 2;
        }
    }
    pthread_mutex_init(&shelf->lock, NULL);
    memset(shelf->piece, 'x', PIECE);
    cfg.on_stopping = on_stopping;
    cfg.on_stopping_arg = shelf;
    struct http_server *s = http_server_new(&cfg);
    struct tls_server *tls = pem ? tls_server_new(pem, &err) : NULL;
    if (pem && !tls) die(&err);
    add_routes(s, shelf);
    struct web *web = web_new(web_dir, 0);
    const struct http_route web_routes[] = {
        { .method = HTTP_GET, .prefix = "/", .handler = web_get, .arg = web },
        { .method = HTTP_OPTIONS, .prefix = "/", .handler = web_options },
        { .method = HTTP_OPTIONS, .prefix = "*", .handler = web_options },
    };
    http_server_routes(s, web_routes, ARRAY_SIZE(web_routes));
    if (tcp && http_listen_tcp(s, tcp, NULL, false, &port, &err) < 0) die(&err);
    if (tcp) printf("tcp %u\n", port);
    if (tls && http_listen_tcp(s, tls_address, tls, false, &port, &err) < 0) die(&err);
    if (tls) printf("tls %u\n", port);
    if (proxy && http_listen_tcp(s, proxy, NULL, true, &port, &err) < 0) die(&err);
    if (proxy) printf("proxy %u\n", port);
    if (path && http_listen_unix(s, path, 0600, &err) < 0) die(&err);
    printf("ready\n");
    fflush(stdout);
    command_loop(tls);
    int left = http_server_stop(s, 2000);
    if (left) _exit(3);
    http_server_free(s);
    tls_server_free(tls);
    web_free(web);
    pthread_mutex_destroy(&shelf->lock);
    free(shelf);
    return 0;
}
