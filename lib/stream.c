/* Blocking reads and writes with deadlines over sockets and TLS.
 * Called by: lib/httpc, xapi/http, handlers of bulk data, xe.  Calls: clock, OpenSSL. */
#include "lib/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include "lib/clock.h"

/* Wait for events on the descriptor. 0, or -1 + errno. */
static int wait_for(const struct stream *s, short events, int64_t deadline_ns)
{
    struct pollfd p = { .fd = s->fd, .events = events };

    for (;;) {
        /* Long waits are cut, so that time spent suspended counts. */
        int left_ms = clock_poll_ms(deadline_ns, 60000);
        int n = poll(&p, 1, left_ms);
        if (n > 0) return 0;
        if (n < 0 && errno != EINTR) return -1;
        if (n == 0 && left_ms == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

/* What a failed SSL call wants: POLLIN or POLLOUT, 0 = the other side ended, -1 + errno. */
static int ssl_wants(SSL *ssl, int rc)
{
    int saved = errno;

    switch (SSL_get_error(ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        errno = saved ? saved : ECONNRESET;
        break;
    default:
        errno = EPROTO;
        break;
    }
    /* Alerts and garbage of a peer are not this thread's next error. */
    ERR_clear_error();
    return -1;
}

/* One attempt to read. As stream_read; EAGAIN with *ret_wants set when it has to wait. */
static ssize_t read_once(struct stream *s, void *buf, size_t n, short *ret_wants)
{
    if (!s->ssl) {
        ssize_t got;
        do got = recv(s->fd, buf, n, MSG_DONTWAIT); while (got < 0 && errno == EINTR);
        *ret_wants = POLLIN;
        return got;
    }
    size_t got = 0;
    errno = 0;
    ERR_clear_error();
    int rc = SSL_read_ex(s->ssl, buf, n, &got);
    if (rc > 0) return (ssize_t)got;
    int wants = ssl_wants(s->ssl, rc);
    if (wants <= 0) return wants;
    *ret_wants = (short)wants;
    errno = EAGAIN;
    return -1;
}

static ssize_t write_once(struct stream *s, const void *buf, size_t n, short *ret_wants)
{
    if (!s->ssl) {
        ssize_t sent;
        do sent = send(s->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL); while (sent < 0 && errno == EINTR);
        *ret_wants = POLLOUT;
        return sent;
    }
    size_t sent = 0;
    errno = 0;
    ERR_clear_error();
    int rc = SSL_write_ex(s->ssl, buf, n, &sent);
    if (rc > 0) return (ssize_t)sent;
    int wants = ssl_wants(s->ssl, rc);
    errno = wants > 0 ? EAGAIN : wants == 0 ? EPIPE : errno;
    *ret_wants = (short)wants;
    return -1;
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

ssize_t stream_read(struct stream *s, void *buf, size_t n, int timeout_ms)
{
    int64_t deadline_ns = 0;
    bool started = false;

    if (s->early_len) {
        size_t take = n < s->early_len ? n : s->early_len;
        memcpy(buf, s->early + s->early_at, take);
        s->early_at += take;
        s->early_len -= take;
        if (!s->early_len) {
            free(s->early);
            s->early = NULL;
        }
        s->n_read += take;
        return (ssize_t)take;
    }
    for (;;) {
        short wants = POLLIN;
        ssize_t got = read_once(s, buf, n, &wants);
        if (got > 0) s->n_read += (uint64_t)got;
        if (got >= 0 || !would_block()) return got;
        if (timeout_ms == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (!started) deadline_ns = clock_deadline_ns(timeout_ms);
        started = true;
        if (wait_for(s, wants, deadline_ns) < 0) return -1;
    }
}

int stream_read_full(struct stream *s, void *buf, size_t n, int timeout_ms)
{
    char *to = buf;

    while (n) {
        ssize_t got = stream_read(s, to, n, timeout_ms);
        if (got < 0) return -1;
        if (got == 0) {
            errno = EPIPE;
            return -1;
        }
        to += got;
        n -= (size_t)got;
    }
    return 0;
}

ssize_t stream_write_some(struct stream *s, const void *buf, size_t n)
{
    short wants;
    ssize_t sent = write_once(s, buf, n, &wants);

    if (sent < 0) return would_block() ? 0 : -1;
    s->n_written += (uint64_t)sent;
    return sent;
}

int stream_write(struct stream *s, const void *buf, size_t n, int timeout_ms)
{
    const char *from = buf;

    while (n) {
        short wants = POLLOUT;
        ssize_t sent = write_once(s, from, n, &wants);
        if (sent < 0) {
            if (!would_block() || wait_for(s, wants, clock_deadline_ns(timeout_ms)) < 0) return -1;
            continue;
        }
        s->n_written += (uint64_t)sent;
        from += sent;
        n -= (size_t)sent;
    }
    return 0;
}

int stream_handshake(struct stream *s, int timeout_ms)
{
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);

    for (;;) {
        errno = 0;
        ERR_clear_error();
        int rc = SSL_do_handshake(s->ssl);
        if (rc > 0) return 0;
        int wants = ssl_wants(s->ssl, rc);
        if (wants == 0) errno = EPIPE;
        if (wants <= 0 || wait_for(s, (short)wants, deadline_ns) < 0) return -1;
    }
}

bool stream_pending(const struct stream *s)
{
    return s->early_len || (s->ssl && SSL_has_pending(s->ssl));
}

void stream_watch_peer(struct stream *s, int silent_ms)
{
    /* Probes while nothing is on the way; the limit itself while something is. */
    enum { PROBES = 3 };
    const int on = 1, probes = PROBES, every_s = silent_ms / 1000 / (PROBES + 1) + 1;
    const unsigned limit_ms = (unsigned)silent_ms;

    setsockopt(s->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(s->fd, IPPROTO_TCP, TCP_KEEPIDLE, &every_s, sizeof every_s);
    setsockopt(s->fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(s->fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
}

void stream_shutdown(struct stream *s)
{
    if (s->fd < 0) return;
    if (s->ssl && SSL_is_init_finished(s->ssl)) {
        ERR_clear_error();
        SSL_shutdown(s->ssl);
        ERR_clear_error();
    }
    shutdown(s->fd, SHUT_WR);
}

void stream_close(struct stream *s)
{
    SSL_free(s->ssl);
    free(s->early);
    if (s->fd >= 0) close(s->fd);
    *s = (struct stream)STREAM_INIT;
}

/* --- relay --------------------------------------------------------------------------------------------- */

enum { RELAY_BUFFER = 32768 };

struct direction {
    struct stream *from, *to;
    char *buf;
    size_t at, len;
    bool eof, done;
};

/* One nonblocking step. 1 = something moved, 0 = not now, -1 + errno. */
static int relay_step(struct direction *d)
{
    int moved = 0;

    if (!d->len && !d->eof) {
        ssize_t got = stream_read(d->from, d->buf, RELAY_BUFFER, 0);
        if (got < 0 && errno != ETIMEDOUT) return -1;
        if (got == 0) d->eof = true;
        if (got > 0) d->len = (size_t)got;
        if (got >= 0) moved = 1;
        d->at = 0;
    }
    if (d->len) {
        ssize_t sent = stream_write_some(d->to, d->buf + d->at, d->len);
        if (sent < 0) return -1;
        d->at += (size_t)sent;
        d->len -= (size_t)sent;
        if (sent) moved = 1;
    }
    if (d->eof && !d->len && !d->done) {
        stream_shutdown(d->to);
        d->done = true;
        moved = 1;
    }
    return moved;
}

static short relay_events(const struct direction *in, const struct direction *out)
{
    return (short)((!in->len && !in->eof ? POLLIN : 0) | (out->len ? POLLOUT : 0));
}

int stream_relay(struct stream *a, struct stream *b, int idle_ms)
{
    _cleanup_free_ char *buffers = xmalloc(2 * RELAY_BUFFER);
    struct direction there = { .from = a, .to = b, .buf = buffers };
    struct direction back = { .from = b, .to = a, .buf = buffers + RELAY_BUFFER };

    while (!there.done || !back.done) {
        int x = relay_step(&there), y = x < 0 ? -1 : relay_step(&back);
        if (x < 0 || y < 0) return -1;
        if (x || y) continue;
        struct pollfd p[2] = {
            { .fd = a->fd, .events = relay_events(&there, &back) },
            { .fd = b->fd, .events = relay_events(&back, &there) },
        };
        /* A side with nothing to wait for would only report its hang-up again and again. */
        for (int i = 0; i < 2; i++)
            if (!p[i].events) p[i].fd = -1;
        int n = poll(p, 2, idle_ms);
        if (n < 0 && errno != EINTR) return -1;
        if (n == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
    return 0;
}
