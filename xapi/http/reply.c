/* Replies: building heads, writing without blocking, parking.
 * Called by: handlers, conn.c.  Calls: conn.c, OpenSSL. */
#include "xapi/http/conn.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>

#define LOG_MODULE "http"
#include "lib/log.h"
#include "lib/tls.h"

/* --- pieces -------------------------------------------------------------------------------------------- */

void out_free(struct out *o)
{
    if (!o) return;
    free(o->head);
    strbuf_free(&o->body);
    if (o->release) o->release(o->release_arg);
    free(o);
}

void out_end(struct conn *c)
{
    atomic_fetch_sub(&c->server->unread_bytes, c->unread_bytes);
    c->unread_bytes = 0;
    out_free(take_ptr(c->out));
}

/* A reply that does not go out at once is kept, and counted with what it may share with others. */
static void out_keep(struct conn *c, const struct out *o, size_t length)
{
    struct http_server *s = c->server;

    c->out = xmalloc(sizeof(*o));
    *c->out = *o;
    strbuf_fit(&c->out->body);   /* it may stay for long */
    c->unread_bytes = length;
    if (atomic_fetch_add(&s->unread_bytes, c->unread_bytes) + c->unread_bytes > UNREAD_HARD * s->cfg.unread_bytes_max)
        conn_cut_unread(s, UNREAD_HARD * s->cfg.unread_bytes_max, INT64_MAX);
}

/* The first piece that is left. False when there is none. */
static bool out_piece(struct out *o, const char **ret_p, size_t *ret_n)
{
    for (;;) {
        const char *p;
        size_t n;
        if (o->head) {
            p = o->head;
            n = o->head_len;
        } else if (o->body.ptr) {
            p = o->body.ptr;
            n = o->body.len;
        } else if (o->n_iov) {
            p = o->iov->iov_base;
            n = o->iov->iov_len;
        } else {
            return false;
        }
        if (o->at < n) {
            *ret_p = p + o->at;
            *ret_n = n - o->at;
            return true;
        }
        o->at -= n;
        if (o->head) {
            free(take_ptr(o->head));
        } else if (o->body.ptr) {
            strbuf_free(&o->body);
        } else {
            o->iov++;
            o->n_iov--;
        }
    }
}

/* As many pieces as one system call takes. */
static size_t out_vector(struct out *o, struct iovec *v, size_t most)
{
    const char *first;
    size_t n = 0, first_len;

    if (!out_piece(o, &first, &first_len)) return 0;
    v[n++] = (struct iovec){ (void *)(uintptr_t)first, first_len };
    bool in_head = o->head, in_body = !in_head && o->body.ptr;
    if (in_head && o->body.len) v[n++] = (struct iovec){ o->body.ptr, o->body.len };
    size_t i = in_head || in_body ? 0 : 1;
    for (; i < o->n_iov && n < most; i++)
        if (o->iov[i].iov_len) v[n++] = o->iov[i];
    return n;
}

static int flush_plain(struct conn *c)
{
    struct iovec v[IOV_BATCH];

    for (;;) {
        struct msghdr m = { .msg_iov = v, .msg_iovlen = out_vector(c->out, v, IOV_BATCH) };
        if (!m.msg_iovlen) return 1;
        ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->out->at += (size_t)n;
    }
}

/* Small pieces are gathered, so that head and body share a record; large ones are encrypted from where
 * they are. */
static int flush_tls(struct conn *c)
{
    char record[TLS_RECORD];
    struct iovec v[IOV_BATCH];

    for (;;) {
        size_t n = out_vector(c->out, v, IOV_BATCH), len, sent = 0;
        if (!n) return 1;
        const char *p = v[0].iov_base;
        len = v[0].iov_len;
        if (len < TLS_RECORD && n > 1) {
            len = 0;
            for (size_t i = 0; i < n && len < TLS_RECORD; i++) {
                size_t take = v[i].iov_len < TLS_RECORD - len ? v[i].iov_len : TLS_RECORD - len;
                memcpy(record + len, v[i].iov_base, take);
                len += take;
            }
            p = record;
        }
        errno = 0;
        ERR_clear_error();
        int rc = SSL_write_ex(c->ssl, p, len, &sent);
        if (rc > 0) {
            c->out->at += sent;
            continue;
        }
        int why = SSL_get_error(c->ssl, rc);
        ERR_clear_error();
        /* WANT_READ only comes with renegotiation, which is off. */
        return why == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
}

int out_flush(struct conn *c)
{
    return c->ssl ? flush_tls(c) : flush_plain(c);
}

/* Nearly always all of it goes out at once, and nothing has to be kept. */
static void out_send(struct conn *c, struct out *o, size_t length)
{
    c->out = o;
    int rc = out_flush(c);
    if (rc == 0) {
        out_keep(c, o, length);
        return;
    }
    c->out = NULL;
    free(o->head);
    strbuf_free(&o->body);
    if (o->release) o->release(o->release_arg);
    if (rc < 0) c->keep = c->linger = false;
}

/* --- building ------------------------------------------------------------------------------------------ */

void reply_drop(struct http_reply *r)
{
    if (r->body) strbuf_free(r->body);
    if (r->release) r->release(r->release_arg);
}

static void add_head(struct strbuf *b, const struct conn *c, const struct http_reply *r, size_t length)
{
    strbuf_reserve(b, 384);
    strbuf_str(b, c->minor ? "HTTP/1.1 " : "HTTP/1.0 ");
    strbuf_int(b, r->status);
    strbuf_char(b, ' ');
    strbuf_str(b, http_reason(r->status));
    if (r->status != 304 && r->status != 204) {
        strbuf_str(b, "\r\nContent-Length: ");
        strbuf_int(b, (int64_t)length);
    }
    if (r->content_type) {
        strbuf_str(b, "\r\nContent-Type: ");
        strbuf_str(b, r->content_type);
    }
    strbuf_str(b, c->keep ? "\r\n" : "\r\nConnection: close\r\n");
    if (r->headers) strbuf_str(b, r->headers);
    strbuf_add(b, "\r\n", 2);
}

void conn_reply(struct conn *c, struct http_reply *r)
{
    struct strbuf head = STRBUF_INIT;
    size_t length = r->body ? r->body->len : 0;

    assert(!c->out && !(r->body && r->n_iov));
    for (size_t i = 0; i < r->n_iov; i++) length += r->iov[i].iov_len;
    if (r->close || atomic_load_explicit(&c->server->stopping, memory_order_relaxed)) c->keep = false;
    add_head(&head, c, r, length);
    struct out o = {
        .head = head.ptr, .head_len = head.len, .iov = r->iov, .n_iov = r->n_iov,
        .release = r->release, .release_arg = r->release_arg,
    };
    if (r->body) {
        o.body = *r->body;
        *r->body = (struct strbuf)STRBUF_INIT;
    }
    out_send(c, &o, length);
}

void conn_send_last(struct conn *c, struct strbuf *last)
{
    struct out o = { .body = *last };

    *last = (struct strbuf)STRBUF_INIT;
    out_send(c, &o, o.body.len);
}

static void add_escaped(struct strbuf *b, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '<': strbuf_str(b, "&lt;"); break;
        case '>': strbuf_str(b, "&gt;"); break;
        case '&': strbuf_str(b, "&amp;"); break;
        default: strbuf_char(b, *s); break;
        }
    }
}

static struct http_reply error_page(struct strbuf *body, int status, const char *text)
{
    strbuf_printf(body, "<html><head><title>%d %s</title></head><body><h1>%s</h1>", status,
                  http_reason(status), http_reason(status));
    if (text) {
        strbuf_str(body, "<p>");
        add_escaped(body, text);
        strbuf_str(body, "</p>");
    }
    strbuf_str(body, "</body></html>\n");
    return (struct http_reply){
        .status = status, .content_type = "text/html", .body = body,
        .headers = status == 401 ? "WWW-Authenticate: Basic realm=\"xapi\"\r\n" : NULL,
    };
}

void conn_reply_error(struct conn *c, int status, const char *text)
{
    struct strbuf body = STRBUF_INIT;
    struct http_reply r = error_page(&body, status, text);

    conn_reply(c, &r);
}

/* --- handlers' interface ------------------------------------------------------------------------------- */

void http_reply(struct http_request *req, struct http_reply *reply)
{
    struct exchange *x = exchange_of(req);
    struct conn *c = x->conn;

    assert(x->outcome == X_OPEN);
    x->outcome = X_REPLIED;
    if (x->mode == BODY_CHUNKED || x->mode == BODY_EOF || x->body_left || x->stream.early_len) {
        /* Part of the body is unread: what follows on the connection is no request. */
        c->keep = false;
        c->linger = true;
    }
    conn_reply(c, reply);
}

void http_reply_error(struct http_request *req, int status, const char *text)
{
    struct strbuf body = STRBUF_INIT;
    struct http_reply r = error_page(&body, status, text);

    http_reply(req, &r);
}

void http_reply_redirect(struct http_request *req, int status, const char *url)
{
    struct strbuf body = STRBUF_INIT, headers = STRBUF_INIT;
    struct http_reply r = error_page(&body, status, NULL);

    /* Old xe looks for exactly "Location: ". A line break in the URL would start another header. */
    strbuf_str(&headers, "Location: ");
    for (; *url; url++) {
        if ((unsigned char)*url > ' ' && *url != 127) strbuf_char(&headers, *url);
        else strbuf_printf(&headers, "%%%02X", (unsigned char)*url);
    }
    strbuf_str(&headers, "\r\n");
    r.headers = strbuf_cstr(&headers);
    http_reply(req, &r);
    strbuf_free(&headers);
}

const char *http_peer_names(struct http_request *req)
{
    const struct conn *c = exchange_of(req)->conn;
    _cleanup_free_ char *subject = c->ssl ? tls_peer_names(c->ssl) : NULL;

    return subject ? arena_strdup(req->arena, subject) : NULL;
}

/* --- parking ------------------------------------------------------------------------------------------- */

/* A park is its connection: it cannot be used for anything else before it ends. */
static struct conn *conn_of(struct http_park *park)
{
    return (struct conn *)(void *)park;
}

struct http_park *http_park(struct http_request *req, bool (*on_gone)(void *arg), void *arg)
{
    struct exchange *x = exchange_of(req);
    struct conn *c = x->conn;
    struct http_server *s = c->server;

    assert(x->outcome == X_OPEN && !(x->route->flags & HTTP_STREAM));
    if (atomic_fetch_add(&s->parked, 1) >= s->cfg.parked_max || atomic_load(&s->stopping)) {
        atomic_fetch_sub(&s->parked, 1);
        return NULL;
    }
    x->outcome = X_PARKED;
    x->conn = NULL;
    pthread_mutex_lock(&c->lock);
    c->on_gone = on_gone;
    c->on_gone_arg = arg;
    c->detached = false;
    c->state = CONN_PARKED;
    /* The hang-up was seen while the handler ran, or before it: have it reported again. */
    if (c->hup || (c->pending & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) conn_watch(c, EPOLLIN | EPOLLRDHUP);
    pthread_mutex_unlock(&c->lock);
    return (struct http_park *)(void *)c;
}

void http_park_reply(struct http_park *park, struct http_reply *reply)
{
    struct conn *c = conn_of(park);

    pthread_mutex_lock(&c->lock);
    while (c->state == CONN_LEAVING) pthread_cond_wait(&c->left, &c->lock);
    assert(c->state == CONN_PARKED || c->state == CONN_LEFT);
    bool gone = c->state == CONN_LEFT;
    c->state = CONN_BUSY;
    pthread_mutex_unlock(&c->lock);
    if (gone) {
        reply_drop(reply);
        conn_close(c);
    } else {
        conn_reply(c, reply);
        conn_after_reply(c, NULL);
    }
    atomic_fetch_sub(&c->server->parked, 1);
}
