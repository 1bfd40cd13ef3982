/* Whole files over HTTP.
 * Called by: blob.c, pool_db.c, host_files.c.  Calls: server.h. */
#include "xapi/http/transfer.h"

#include <errno.h>
#include <sys/stat.h>

enum { PIECE = 64 << 10, STEP_MS = 60000, LOOK_MS = 1000 };
static const uint64_t HABIT = 1ull << 40;

int transfer_send_file(struct http_request *req, int fd, const char *headers, bool *ret_started,
                       struct xerr *err)
{
    char *buf = arena_alloc(req->arena, PIECE);
    struct stat st;
    ssize_t n = 0;

    *ret_started = false;
    if (fstat(fd, &st)) return xerr_internal(err, "cannot read what is to be sent: %s", strerror(errno));
    const char *head = arena_printf(req->arena, "Connection: close\r\nContent-Length: %lld\r\n%s",
                                    (long long)st.st_size, headers ? headers : "");
    if (http_stream_head(req, 200, head))
        return xerr_internal(err, "the client has gone: %s", strerror(errno));
    *ret_started = true;
    for (int64_t left = st.st_size; left > 0; left -= n) {
        n = read(fd, buf, left < PIECE ? (size_t)left : PIECE);
        if (n <= 0)
            return xerr_internal(err, "cannot read what is to be sent: %s",
                                 n ? strerror(errno) : "it became shorter");
        if (n == left)
            http_stream_last(req, buf, (size_t)n);
        else if (stream_write(http_stream(req), buf, (size_t)n, STEP_MS))
            return xerr_internal(err, "the client has gone: %s", strerror(errno));
    }
    return 0;
}

int transfer_begin_upload(struct http_request *req, struct xerr *err)
{
    if (!http_stream_head(req, 200, "Connection: close\r\nCache-Control: no-cache, no-store\r\n")) return 0;
    return xerr_internal(err, "the client has gone: %s", strerror(errno));
}

ssize_t transfer_read(struct http_request *req, struct call *c, const atomic_bool *stop, void *buf, size_t n)
{
    for (int waited = 0; waited < STEP_MS; waited += LOOK_MS) {
        ssize_t got = http_body_read(req, buf, n, LOOK_MS);
        if (got >= 0) return got;
        if (errno == EPIPE || errno == ECONNRESET) return 0;
        if (errno != ETIMEDOUT || (stop && atomic_load(stop)) || call_cancelled(c)) return -1;
    }
    return -1;
}

static int too_long(struct http_request *req, int64_t limit, struct xerr *err)
{
    return xerr_import_error(err, arena_printf(req->arena, "more than %lld bytes", (long long)limit));
}

/* What came of a read: 1 bytes, 0 the end, -1 an error. An end before the announced length is one, unless what was announced
 * is no length but a habit (Xen Orchestra: 1 PiB). */
static int judge(const struct http_request *req, ssize_t n, struct xerr *err)
{
    if (n > 0) return 1;
    if (n == 0) return 0;
    if ((errno == EPIPE || errno == ECONNRESET) && req->head.has_length && req->head.length >= HABIT) return 0;
    return xerr_internal(err, "the body stopped coming: %s", strerror(errno));
}

int transfer_receive_file(struct http_request *req, struct call *c, int fd, int64_t limit, int64_t *ret_size,
                          struct xerr *err)
{
    char *buf = arena_alloc(req->arena, PIECE);
    int64_t size = 0;

    for (;;) {
        ssize_t n = http_body_read(req, buf, PIECE, STEP_MS);
        int rc = judge(req, n, err);
        if (rc < 0) return -1;
        if (!rc) break;
        if (call_check_cancel(c, err)) return -1;
        if (size + n > limit) return too_long(req, limit, err);
        for (ssize_t done = 0, m; done < n; done += m)
            if ((m = write(fd, buf + done, (size_t)(n - done))) < 0)
                return xerr_internal(err, "cannot store the body: %s", strerror(errno));
        size += n;
    }
    if (fsync(fd)) return xerr_internal(err, "cannot store the body: %s", strerror(errno));
    *ret_size = size;
    return 0;
}

int transfer_receive(struct http_request *req, struct call *c, size_t limit, struct strbuf *out,
                     struct xerr *err)
{
    char *buf = arena_alloc(req->arena, PIECE);

    for (;;) {
        ssize_t n = http_body_read(req, buf, PIECE, STEP_MS);
        int rc = judge(req, n, err);
        if (rc <= 0) return rc;
        if (call_check_cancel(c, err)) return -1;
        if (out->len + (size_t)n > limit) return too_long(req, (int64_t)limit, err);
        strbuf_add(out, buf, (size_t)n);
    }
}

void transfer_refuse(struct http_request *req, int status, const struct xerr *err)
{
    _cleanup_free_ char *text = xerr_text(err);

    http_reply_error(req, status, text);
}
