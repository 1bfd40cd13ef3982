/* The blocking HTTP client.
 * Called by: tests, xe, calls to other hosts.  Calls: stream, tls, http. */
#include "lib/httpc.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/clock.h"

enum { HEAD_MAX = 64 << 10, HEAD_READ = 8192 };

enum body { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_EOF };

struct httpc {
    struct stream stream;
    char *name;                     /* for errors: "host:port" or the path */
    char *host;                     /* Host header */
    bool http10;
    struct arena *arena;            /* the current reply's head */
    struct http_status head;
    enum body body;
    uint64_t left;
    struct http_chunked chunked;
    bool is_head;                   /* the request was HEAD or CONNECT: no framed body */
    bool done;                      /* nothing of a reply is outstanding */
};

/* --- connecting ---------------------------------------------------------------------------------------- */

static int finish_connect(int fd, const struct sockaddr *a, socklen_t len, int64_t deadline_ns)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    int e = 0, n;
    socklen_t e_len = sizeof(e);

    if (connect(fd, a, len) == 0) return 0;
    /* A unix socket whose queue is full says EAGAIN and cannot be waited for. */
    while (errno == EAGAIN && a->sa_family == AF_UNIX && clock_poll_ms(deadline_ns, 1000) > 0) {
        poll(NULL, 0, 5);
        if (connect(fd, a, len) == 0) return 0;
    }
    if (errno != EINPROGRESS) return -1;
    do {
        int left_ms = clock_poll_ms(deadline_ns, 60000);
        n = poll(&p, 1, left_ms);
        if (n == 0 && left_ms == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
    } while (n == 0 || (n < 0 && errno == EINTR));
    if (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &e_len) < 0) return -1;
    errno = e;
    return e ? -1 : 0;
}

static int connect_unix(const char *path, int64_t deadline_ns)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(a.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || finish_connect(fd, (struct sockaddr *)&a, sizeof(a), deadline_ns) < 0) return -1;
    return take_fd(fd);
}

/* Every address of the name in turn. -1 with *ret_why set to text that lives on, or errno. */
static int connect_tcp(const char *host, unsigned port, int64_t deadline_ns, const char **ret_why)
{
    static const int on = 1;
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *all = NULL;
    char service[12];
    int fd = -1, e = EHOSTUNREACH;

    snprintf(service, sizeof(service), "%u", port);
    int rc = getaddrinfo(host, service, &hints, &all);
    if (rc != 0) {
        *ret_why = gai_strerror(rc);
        return -1;
    }
    for (const struct addrinfo *i = all; i && fd < 0; i = i->ai_next) {
        fd = socket(i->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && finish_connect(fd, i->ai_addr, i->ai_addrlen, deadline_ns) == 0) break;
        e = errno;
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(all);
    if (fd < 0) {
        errno = e;
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

struct httpc *httpc_connect(const struct httpc_target *t, int timeout_ms, struct xerr *err)
{
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);
    struct httpc *c = xcalloc(1, sizeof(*c));
    const char *why = NULL, *open = "", *close_ = "";

    if (t->host && strchr(t->host, ':')) {
        open = "[";
        close_ = "]";
    }
    c->arena = arena_new();
    c->http10 = t->http10;
    c->done = true;
    c->head.keep_alive = true;
    c->name = t->unix_path ? xstrdup(t->unix_path) : xasprintf("%s%s%s:%u", open, t->host, close_, t->port);
    if (t->unix_path) c->host = xstrdup("localhost");
    else if (t->port == (t->tls ? 443 : 80)) c->host = xasprintf("%s%s%s", open, t->host, close_);
    else c->host = xstrdup(c->name);
    c->stream = (struct stream)STREAM_INIT;
    c->stream.fd = t->unix_path ? connect_unix(t->unix_path, deadline_ns)
                                : connect_tcp(t->host, t->port, deadline_ns, &why);
    if (c->stream.fd < 0) {
        xerr_internal(err, "cannot connect to %s: %s", c->name, why ? why : strerror(errno));
        goto failed;
    }
    if (t->tls) {
        const char *name = t->tls_name ? t->tls_name : t->host;
        int left_ms = timeout_ms < 0 ? -1 : clock_poll_ms(deadline_ns, timeout_ms);
        if (tls_client_connect(t->tls, &c->stream, name, left_ms, err) < 0) goto failed;
    }
    return c;

failed:
    httpc_free(c);
    return NULL;
}

void httpc_free(struct httpc *c)
{
    if (!c) return;
    if (c->stream.fd >= 0) stream_shutdown(&c->stream);
    stream_close(&c->stream);
    arena_free(c->arena);
    free(c->name);
    free(c->host);
    free(c);
}

bool httpc_usable(struct httpc *c)
{
    struct pollfd p = { .fd = c->stream.fd, .events = POLLIN | POLLRDHUP };

    if (!c->done || !c->head.keep_alive || c->stream.early_len) return false;
    /* Nothing may come without being asked for; what TLS 1.3 sends behind the handshake was read with the
     * reply. */
    return poll(&p, 1, 0) == 0;
}

struct stream *httpc_stream(struct httpc *c)
{
    return &c->stream;
}

/* --- one request --------------------------------------------------------------------------------------- */

static int io_error(struct httpc *c, const char *doing, struct xerr *err)
{
    int e = errno;

    c->done = false;
    return xerr_internal(err, "%s %s: %s", doing, c->name, e == EPIPE ? "connection closed" : strerror(e));
}

int httpc_send(struct httpc *c, const char *method, const char *target, const char *headers,
               const void *body, size_t len, int timeout_ms, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf head = STRBUF_INIT;

    arena_reset(c->arena);
    c->done = false;
    c->is_head = streq(method, "HEAD");
    strbuf_printf(&head, "%s %s HTTP/1.%d\r\nHost: %s\r\n", method, target, c->http10 ? 0 : 1, c->host);
    if (headers) strbuf_str(&head, headers);
    if (body) strbuf_printf(&head, "Content-Length: %zu\r\n", len);
    strbuf_str(&head, "\r\n");
    /* Small bodies travel with the head. */
    bool together = body && len <= 65536;
    if (together) strbuf_add(&head, body, len);
    if (stream_write(&c->stream, head.ptr, head.len, timeout_ms) < 0) return io_error(c, "sending to", err);
    /* A server may answer an upload before it took all of it; its reply says more than EPIPE. */
    if (body && !together && stream_write(&c->stream, body, len, timeout_ms) < 0 && errno != EPIPE
        && errno != ECONNRESET)
        return io_error(c, "sending to", err);
    return 0;
}

/* Put bytes back in front of the stream. */
static void unread(struct stream *s, const char *p, size_t n)
{
    if (!n) return;
    char *early = xmalloc(n + s->early_len);
    memcpy(early, p, n);
    if (s->early_len) memcpy(early + n, s->early + s->early_at, s->early_len);
    free(s->early);
    s->early = early;
    s->early_at = 0;
    s->early_len += n;
    s->n_read -= n;
}

/* One head, also a 1xx one. */
static int receive_head(struct httpc *c, int64_t deadline_ns, int timeout_ms, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf got = STRBUF_INIT;
    size_t scan = 0, end;

    while (!(end = http_head_end(strbuf_cstr(&got), got.len, &scan))) {
        if (got.len > HEAD_MAX) {
            errno = EMSGSIZE;
            return io_error(c, "reply head of", err);
        }
        strbuf_reserve(&got, HEAD_READ);
        ssize_t n = stream_read(&c->stream, got.ptr + got.len, HEAD_READ,
                                timeout_ms < 0 ? -1 : clock_poll_ms(deadline_ns, timeout_ms));
        if (n == 0) errno = EPIPE;
        if (n <= 0) return io_error(c, "waiting for", err);
        got.len += (size_t)n;
        got.ptr[got.len] = '\0';
    }
    unread(&c->stream, got.ptr + end, got.len - end);
    if (http_parse_response(arena_strndup(c->arena, got.ptr, end), end, c->arena, &c->head) < 0) {
        errno = EPROTO;
        return io_error(c, "reply of", err);
    }
    return 0;
}

int httpc_receive(struct httpc *c, int timeout_ms, const struct http_status **ret_head, struct xerr *err)
{
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);

    do {
        if (receive_head(c, deadline_ns, timeout_ms, err) < 0) return -1;
    } while (c->head.status < 200 && c->head.status != 101);
    if (c->is_head || c->head.status == 204 || c->head.status == 304) c->body = BODY_NONE;
    else if (c->head.chunked) c->body = BODY_CHUNKED;
    else if (c->head.has_length) c->body = BODY_LENGTH;
    else c->body = BODY_EOF;
    c->left = c->head.length;
    c->chunked = (struct http_chunked)HTTP_CHUNKED_INIT;
    c->done = c->body == BODY_NONE || (c->body == BODY_LENGTH && !c->left);
    if (c->body == BODY_EOF) c->head.keep_alive = false;
    *ret_head = &c->head;
    return 0;
}

/* Chunked framing taken out of one read; bytes behind the body's end go back. */
static ssize_t read_chunked(struct httpc *c, char *buf, size_t n, int timeout_ms)
{
    for (;;) {
        ssize_t got = stream_read(&c->stream, buf, n, timeout_ms);
        size_t at = 0, to = 0;
        if (got == 0) errno = EPIPE;
        if (got <= 0) return -1;
        while (at < (size_t)got && !c->done) {
            size_t skip = 0, len = 0;
            enum http_chunk what = http_chunk_next(&c->chunked, buf + at, (size_t)got - at, &skip, &len);
            if (what == HTTP_CHUNK_MORE) break;
            if (what == HTTP_CHUNK_BAD) {
                errno = EPROTO;
                return -1;
            }
            memmove(buf + to, buf + at + skip, len);
            to += len;
            at += skip + len;
            if (what == HTTP_CHUNK_END) {
                c->done = true;
                unread(&c->stream, buf + at, (size_t)got - at);
            }
        }
        if (to || c->done) return (ssize_t)to;
    }
}

ssize_t httpc_read(struct httpc *c, void *buf, size_t n, int timeout_ms, struct xerr *err)
{
    ssize_t got;

    if (c->done) return 0;
    if (c->body == BODY_CHUNKED) {
        got = read_chunked(c, buf, n, timeout_ms);
    } else {
        if (c->body == BODY_LENGTH && n > c->left) n = (size_t)c->left;
        got = stream_read(&c->stream, buf, n, timeout_ms);
        if (got == 0 && c->body == BODY_LENGTH) {
            errno = EPIPE;
            got = -1;
        }
        if (got == 0) c->done = true;
        if (got > 0 && c->body == BODY_LENGTH) {
            c->left -= (uint64_t)got;
            c->done = !c->left;
        }
    }
    return got < 0 ? io_error(c, "reading from", err) : got;
}

int httpc_read_all(struct httpc *c, size_t limit, int timeout_ms, struct strbuf *body, struct xerr *err)
{
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);
    size_t start = body->len;

    if (c->body == BODY_LENGTH && c->left <= limit) strbuf_reserve(body, (size_t)c->left);
    while (!c->done) {
        strbuf_reserve(body, HEAD_READ);
        ssize_t n = httpc_read(c, body->ptr + body->len, body->cap - body->len - 1,
                               timeout_ms < 0 ? -1 : clock_poll_ms(deadline_ns, timeout_ms), err);
        if (n < 0) return -1;
        body->len += (size_t)n;
        body->ptr[body->len] = '\0';
        if (body->len - start > limit) {
            errno = EMSGSIZE;
            return io_error(c, "reading from", err);
        }
    }
    return 0;
}

int httpc_call(struct httpc *c, const char *method, const char *target, const char *headers, const void *body,
               size_t len, size_t limit, int timeout_ms, int *ret_status, struct strbuf *ret_body,
               struct xerr *err)
{
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);
    const struct http_status *head;
    struct strbuf text = STRBUF_INIT;
    int left_ms = timeout_ms;

    if (httpc_send(c, method, target, headers, body, len, left_ms, err) < 0) return -1;
    if (timeout_ms >= 0) left_ms = clock_poll_ms(deadline_ns, timeout_ms);
    if (httpc_receive(c, left_ms, &head, err) < 0) return -1;
    if (timeout_ms >= 0) left_ms = clock_poll_ms(deadline_ns, timeout_ms);
    if (httpc_read_all(c, limit, left_ms, &text, err) < 0) {
        strbuf_free(&text);
        return -1;
    }
    *ret_status = head->status;
    strbuf_free(ret_body);
    *ret_body = text;
    return 0;
}
