/* What handlers of STREAM routes read and write: reply heads, request bodies, the raw connection.
 * Called by: handlers on threads of their own.  Calls: lib/stream, lib/http. */
#include "xapi/http/conn.h"

#include <assert.h>
#include <errno.h>

static const char continue_text[] = "HTTP/1.1 100 Continue\r\n\r\n";

/* A client that asked to be told gets told, once, before it is made to wait for its own body. */
static void add_continue(struct exchange *x, struct strbuf *b)
{
    if (x->req.head.expect_continue && !x->continued && x->mode != BODY_NONE) strbuf_str(b, continue_text);
    x->continued = true;
}

int http_stream_head(struct http_request *req, int status, const char *headers)
{
    struct exchange *x = exchange_of(req);
    struct conn *c = x->conn;
    _cleanup_strbuf_ struct strbuf head = STRBUF_INIT;

    assert(x->outcome == X_OPEN && (x->route->flags & HTTP_STREAM));
    x->outcome = X_STREAMING;
    if (status < 300) add_continue(x, &head);
    strbuf_printf(&head, "HTTP/1.%d %d %s\r\n", c->minor, status, http_reason(status));
    if (status != 101 && req->head.method != HTTP_CONNECT) strbuf_str(&head, "Connection: close\r\n");
    if (headers) strbuf_str(&head, headers);
    strbuf_str(&head, "\r\n");
    return stream_write(&x->stream, head.ptr, head.len, c->server->cfg.write_ms);
}

void http_stream_last(struct http_request *req, const void *p, size_t n)
{
    struct exchange *x = exchange_of(req);

    assert(x->outcome == X_STREAMING);
    strbuf_add(&x->last, p, n);
}

/* One read of chunked framing, payload moved to the front of buf. */
static ssize_t read_chunked(struct exchange *x, char *buf, size_t n, int timeout_ms)
{
    for (;;) {
        ssize_t got = stream_read(&x->stream, buf, n, timeout_ms);
        size_t at = 0, to = 0;
        if (got == 0) errno = EPIPE;
        if (got <= 0) return -1;
        while (at < (size_t)got && !x->ended) {
            size_t skip = 0, len = 0;
            enum http_chunk what = http_chunk_next(&x->chunked, buf + at, (size_t)got - at, &skip, &len);
            if (what == HTTP_CHUNK_MORE) break;
            if (what == HTTP_CHUNK_BAD) {
                errno = EPROTO;
                return -1;
            }
            if (what == HTTP_CHUNK_END) x->ended = true;
            memmove(buf + to, buf + at + skip, len);
            to += len;
            at += skip + len;
        }
        if (to || x->ended) return (ssize_t)to;
    }
}

ssize_t http_body_read(struct http_request *req, void *buf, size_t n, int timeout_ms)
{
    struct exchange *x = exchange_of(req);
    _cleanup_strbuf_ struct strbuf head = STRBUF_INIT;

    if (x->mode == BODY_NONE || x->ended || (x->mode == BODY_LENGTH && !x->body_left)) return 0;
    if (x->outcome == X_OPEN) {
        add_continue(x, &head);
        if (head.len && stream_write(&x->stream, head.ptr, head.len, x->req.server->cfg.write_ms) < 0)
            return -1;
    }
    if (x->mode == BODY_CHUNKED) return read_chunked(x, buf, n, timeout_ms);
    if (x->mode == BODY_LENGTH && n > x->body_left) n = (size_t)x->body_left;
    ssize_t got = stream_read(&x->stream, buf, n, timeout_ms);
    if (x->mode == BODY_EOF) {
        x->ended = got == 0;
        return got;
    }
    if (got == 0) {
        errno = EPIPE;
        return -1;
    }
    if (got > 0) x->body_left -= (uint64_t)got;
    return got;
}

int64_t http_body_left(const struct http_request *req)
{
    const struct exchange *x = (const struct exchange *)(const void *)req;

    if (x->mode == BODY_NONE || x->ended) return 0;
    return x->mode == BODY_LENGTH ? (int64_t)x->body_left : -1;
}

struct stream *http_stream(struct http_request *req)
{
    struct exchange *x = exchange_of(req);

    assert(x->route->flags & HTTP_STREAM);
    assert(x->outcome != X_REPLIED && x->outcome != X_PARKED);
    x->outcome = X_STREAMING;
    return &x->stream;
}
