/* A client of xenstored: pipelined requests, watches, a deadline on everything.
 * Called by: xen*.c.  Calls: the kernel's sockets. */
#include "xapi/hv/xen_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/num.h"

/* As in xs_wire.h; here, so that this file and its tests need no Xen headers. */
enum {
    XS_DIRECTORY = 1,
    XS_READ = 2,
    XS_WATCH = 4,
    XS_UNWATCH = 5,
    XS_INTRODUCE = 8,
    XS_RELEASE = 9,
    XS_WRITE = 11,
    XS_MKDIR = 12,
    XS_RM = 13,
    XS_SET_PERMS = 14,
    XS_WATCH_EVENT = 15,
    XS_ERROR = 16,
    XS_RESUME = 18,
    XS_DIRECTORY_PART = 20,
};
struct head { uint32_t type, id, transaction, len; };

/* Answers to xs_directory_part are as long as the store wants them up to this; everything is below it. */
enum { PAYLOAD_MAX = 4096, READ_BYTES = 16384 };

struct xst {
    int fd;
    int64_t patience_ms;
    bool broken;
    struct strbuf in;                /* bytes received but not yet understood */
    size_t in_at;                    /* of which these are done with */
    struct xst_event *events, **events_tail;
};

/* ---- life ------------------------------------------------------------------------------------ */

static int64_t sooner(int64_t a_ms, int64_t b_ms) { return a_ms < b_ms ? a_ms : b_ms; }

int xst_open(const char *socket_path, int64_t patience_ms, int64_t deadline_ms, struct xst **ret_s, struct hv_failure *f)
{
    int64_t until_ms = sooner(deadline_ms, hv_now_ms() + patience_ms);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int n = snprintf(addr.sun_path, sizeof addr.sun_path, "%s", socket_path);

    if (n < 0 || (size_t)n >= sizeof addr.sun_path)
        return hv_fail(f, HV_FAIL_UNREACHABLE, "%s: the socket's name is too long", socket_path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return hv_fail(f, HV_FAIL_UNREACHABLE, "socket: %s", strerror(errno));
    while (connect(fd, (const struct sockaddr *)&addr, sizeof addr) < 0) {
        if (errno == EINTR) continue;
        /* Its backlog is full: it is busy, or stuck. */
        if (errno != EAGAIN) return hv_fail(f, HV_FAIL_UNREACHABLE, "%s: %s", socket_path, strerror(errno));
        if (hv_now_ms() >= until_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "%s: nobody answers", socket_path);
        poll(NULL, 0, 10);
    }
    struct xst *s = xcalloc(1, sizeof *s);
    s->fd = take_fd(fd);
    s->patience_ms = patience_ms;
    s->events_tail = &s->events;
    *ret_s = s;
    return 0;
}

void xst_close(struct xst *s)
{
    if (!s) return;
    for (struct xst_event *e; (e = xst_take_event(s));) free(e);
    close(s->fd);
    strbuf_free(&s->in);
    free(s);
}

bool xst_is_broken(const struct xst *s) { return s->broken; }
int xst_fd(const struct xst *s) { return s->fd; }

static int broken(struct xst *s, enum hv_fail_kind kind, const char *why, struct hv_failure *f)
{
    s->broken = true;
    return hv_fail(f, kind, "xenstored: %s", why);
}

/* ---- building a batch ------------------------------------------------------------------------ */

void xst_batch_free(struct xst_batch *b)
{
    for (size_t i = 0; i < b->n; i++) free(b->ops[i].value);
    free(b->ops);
    strbuf_free(&b->bytes);
    *b = (struct xst_batch)XST_BATCH_INIT;
}

/* Appends a request of these parts. */
static struct xst_op *add(struct xst_batch *b, uint32_t type, const void *one, size_t n_one, const void *two, size_t n_two)
{
    struct head head = { .type = type, .id = (uint32_t)b->n, .len = (uint32_t)(n_one + n_two) };

    assert(n_one + n_two <= PAYLOAD_MAX);
    if (b->n == b->cap) {
        b->cap = b->cap ? 2 * b->cap : 64;
        b->ops = xrealloc(b->ops, b->cap * sizeof *b->ops);
    }
    strbuf_add(&b->bytes, &head, sizeof head);
    struct xst_op *op = &b->ops[b->n++];
    *op = (struct xst_op){ .type = type, .path_at = b->bytes.len };
    strbuf_add(&b->bytes, one, n_one);
    if (n_two) strbuf_add(&b->bytes, two, n_two);
    return op;
}

/* A value that does not fit is cut: only free text (a name, a guest's own data) can be that long. */
void xst_write(struct xst_batch *b, const char *path, const char *value)
{
    size_t n_path = strlen(path) + 1, n = strlen(value);

    if (n > PAYLOAD_MAX - n_path) n = PAYLOAD_MAX - n_path;
    add(b, XS_WRITE, path, n_path, value, n);
}

void xst_writef(struct xst_batch *b, const char *path, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf value = STRBUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    strbuf_vprintf(&value, fmt, ap);
    va_end(ap);
    xst_write(b, path, strbuf_cstr(&value));
}

void xst_mkdir(struct xst_batch *b, const char *path) { add(b, XS_MKDIR, path, strlen(path) + 1, NULL, 0); }

void xst_perms(struct xst_batch *b, const char *path, int64_t owner, int64_t reader)
{
    char text[64];
    int n = snprintf(text, sizeof text, "n%jd", (intmax_t)owner) + 1;

    if (reader >= 0) n += snprintf(text + n, sizeof text - (size_t)n, "r%jd", (intmax_t)reader) + 1;
    add(b, XS_SET_PERMS, path, strlen(path) + 1, text, (size_t)n);
}

void xst_rm(struct xst_batch *b, const char *path)
{
    add(b, XS_RM, path, strlen(path) + 1, NULL, 0)->may_miss = true;
}

size_t xst_read(struct xst_batch *b, const char *path)
{
    add(b, XS_READ, path, strlen(path) + 1, NULL, 0)->may_miss = true;
    return b->n - 1;
}

void xst_watch(struct xst_batch *b, const char *path, const char *token)
{
    add(b, XS_WATCH, path, strlen(path) + 1, token, strlen(token) + 1);
}

void xst_unwatch(struct xst_batch *b, const char *path, const char *token)
{
    add(b, XS_UNWATCH, path, strlen(path) + 1, token, strlen(token) + 1)->may_miss = true;
}

void xst_introduce(struct xst_batch *b, int64_t domid, uint64_t frame, unsigned port)
{
    char text[80];
    int a = snprintf(text, sizeof text, "%jd", (intmax_t)domid) + 1;
    int n = a + snprintf(text + a, sizeof text - (size_t)a, "%ju", (uintmax_t)frame) + 1;

    n += snprintf(text + n, sizeof text - (size_t)n, "%u", port) + 1;
    add(b, XS_INTRODUCE, text, (size_t)a, text + a, (size_t)(n - a));
}

static struct xst_op *add_domid(struct xst_batch *b, uint32_t type, int64_t domid)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%jd", (intmax_t)domid) + 1;

    return add(b, type, text, (size_t)n, NULL, 0);
}

void xst_release(struct xst_batch *b, int64_t domid) { add_domid(b, XS_RELEASE, domid)->may_miss = true; }
void xst_resume(struct xst_batch *b, int64_t domid) { add_domid(b, XS_RESUME, domid); }

/* ---- receiving ------------------------------------------------------------------------------- */

/* The next whole message in the buffer, or NULL. */
static const struct head *peek(struct xst *s, struct hv_failure *f)
{
    struct head head;

    if (s->in.len - s->in_at < sizeof head) return NULL;
    memcpy(&head, s->in.ptr + s->in_at, sizeof head);
    if (head.len > PAYLOAD_MAX) {
        broken(s, HV_FAIL_ENGINE, "an answer that is too long", f);
        return NULL;
    }
    if (s->in.len - s->in_at < sizeof head + head.len) return NULL;
    return (const struct head *)(const void *)(s->in.ptr + s->in_at);
}

static void drop(struct xst *s, size_t n)
{
    s->in_at += n;
    if (s->in_at < s->in.len) return;
    strbuf_clear(&s->in);
    s->in_at = 0;
}

static void take_in_event(struct xst *s, const char *body, size_t len)
{
    struct xst_event *e = xcalloc(1, sizeof *e + len + 2);

    memcpy(e->path, body, len);          /* path NUL token NUL; our calloc ends both in any case */
    e->token = e->path + strlen(e->path) + 1;
    *s->events_tail = e;
    s->events_tail = &e->next;
}

/* Reads what has arrived. 0 = something, 1 = nothing now, -1 = broken. */
static int receive(struct xst *s, struct hv_failure *f)
{
    if (s->in_at) {                      /* what is left is part of one message */
        memmove(s->in.ptr, s->in.ptr + s->in_at, s->in.len - s->in_at);
        s->in.len -= s->in_at;
        s->in_at = 0;
    }
    strbuf_reserve(&s->in, READ_BYTES);
    ssize_t n = recv(s->fd, s->in.ptr + s->in.len, READ_BYTES, 0);
    if (n > 0) {
        s->in.len += (size_t)n;
        return 0;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
    return broken(s, HV_FAIL_UNREACHABLE, n == 0 ? "it hung up" : strerror(errno), f);
}

/* Moves whole events out of the buffer, up to the first answer. */
static void sort_events(struct xst *s, struct hv_failure *f)
{
    struct head head;

    while (peek(s, f)) {
        memcpy(&head, s->in.ptr + s->in_at, sizeof head);
        if (head.type != XS_WATCH_EVENT) return;
        take_in_event(s, s->in.ptr + s->in_at + sizeof head, head.len);
        drop(s, sizeof head + head.len);
    }
}

int xst_fill(struct xst *s, struct hv_failure *f)
{
    if (s->broken) return hv_fail(f, HV_FAIL_UNREACHABLE, "xenstored: the connection is broken");
    int rc = receive(s, f);
    if (rc < 0) return -1;
    sort_events(s, f);
    return s->broken ? -1 : 0;
}

struct xst_event *xst_take_event(struct xst *s)
{
    struct xst_event *e = s->events;

    if (!e) return NULL;
    s->events = e->next;
    if (!s->events) s->events_tail = &s->events;
    return e;
}

int xst_wait(struct xst *s, int64_t deadline_ms, struct hv_failure *f)
{
    for (;;) {
        bool fired = s->events;
        for (struct xst_event *e; (e = xst_take_event(s));) free(e);
        if (fired) return 1;
        int64_t left_ms = deadline_ms - hv_now_ms();
        if (left_ms <= 0) return 0;
        struct pollfd p = { .fd = s->fd, .events = POLLIN };
        if (poll(&p, 1, left_ms > 1000 ? 1000 : (int)left_ms) > 0 && xst_fill(s, f) < 0) return -1;
    }
}

/* ---- running a batch ------------------------------------------------------------------------- */

static int errno_of(const char *text, size_t len)
{
    static const struct { const char *name; int number; } all[] = {
        { "EINVAL", EINVAL }, { "EACCES", EACCES }, { "EEXIST", EEXIST }, { "EISDIR", EISDIR }, { "ENOENT", ENOENT },
        { "ENOMEM", ENOMEM }, { "ENOSPC", ENOSPC }, { "EIO", EIO }, { "ENOTEMPTY", ENOTEMPTY }, { "ENOSYS", ENOSYS },
        { "EROFS", EROFS }, { "EBUSY", EBUSY }, { "EAGAIN", EAGAIN }, { "EISCONN", EISCONN }, { "E2BIG", E2BIG },
        { "EPERM", EPERM },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (strlen(all[i].name) <= len && !strncmp(text, all[i].name, len) && len <= strlen(all[i].name) + 1)
            return all[i].number;
    return EPROTO;
}

/* One answer; -1 only when the connection is broken. *refused is the first refusal's errno. */
static int take_answer(struct xst *s, struct xst_batch *b, size_t i, int *refused, struct hv_failure *f)
{
    struct xst_op *op = &b->ops[i];
    struct head head;
    const char *body = s->in.ptr + s->in_at + sizeof head;

    memcpy(&head, s->in.ptr + s->in_at, sizeof head);
    if (head.id != (uint32_t)i || (head.type != op->type && head.type != XS_ERROR))
        return broken(s, HV_FAIL_ENGINE, "an answer to another question", f);
    free(op->value);
    op->value = NULL;
    op->len = 0;
    if (head.type != XS_ERROR) {
        if (op->type == XS_READ || op->type == XS_DIRECTORY || op->type == XS_DIRECTORY_PART) {
            op->value = xmalloc((size_t)head.len + 1);
            memcpy(op->value, body, head.len);
            op->value[head.len] = '\0';
            op->len = head.len;
        }
    } else {
        int e = errno_of(body, head.len);
        bool fine = op->may_miss && (e == ENOENT || (op->type == XS_RELEASE && e == EINVAL));
        if (!fine && !*refused) {
            *refused = e;
            f->code = e;
            hv_fail(f, HV_FAIL_ENGINE, "xenstore %s: %s", b->bytes.ptr + op->path_at, strerror(e));
        }
    }
    drop(s, sizeof head + head.len);
    return 0;
}

/* Sends as much as goes without waiting. */
static int send_some(struct xst *s, const struct xst_batch *b, size_t *sent, struct hv_failure *f)
{
    while (*sent < b->bytes.len) {
        ssize_t n = send(s->fd, b->bytes.ptr + *sent, b->bytes.len - *sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return 0;
        if (n < 0) return broken(s, HV_FAIL_UNREACHABLE, strerror(errno), f);
        *sent += (size_t)n;
    }
    return 0;
}

/* A batch on its way. */
struct run {
    size_t sent;                 /* bytes */
    size_t answered;             /* requests */
    int64_t heard_ms;            /* when it began, or its last answer came */
};

/* Waits until more can be sent or has arrived: as long as the deadline is not over, and answers come now and then. */
static int wait_for_more(struct xst *s, const struct xst_batch *b, const struct run *r, int64_t deadline_ms, struct hv_failure *f)
{
    struct pollfd p = { .fd = s->fd, .events = (short)(r->sent < b->bytes.len ? POLLIN | POLLOUT : POLLIN) };

    for (;;) {
        int64_t left_ms = sooner(deadline_ms, r->heard_ms + s->patience_ms) - hv_now_ms();
        /* What is there counts, however late we come to look: it may be us who did not get a processor. */
        if (poll(&p, 1, left_ms <= 0 ? 0 : left_ms > 1000 ? 1000 : (int)left_ms) > 0) return 0;
        if (left_ms > 0) continue;
        s->broken = true;
        return hv_fail(f, HV_FAIL_TIMEOUT, "xenstored: no answer in %jd ms to request %zu of %zu, for %s",
                       (intmax_t)(hv_now_ms() - r->heard_ms), r->answered + 1, b->n, b->bytes.ptr + b->ops[r->answered].path_at);
    }
}

int xst_run(struct xst *s, struct xst_batch *b, int64_t deadline_ms, struct hv_failure *f)
{
    struct run r = { .heard_ms = hv_now_ms() };
    int refused = 0;

    if (s->broken) return hv_fail(f, HV_FAIL_UNREACHABLE, "xenstored: the connection is broken");
    while (r.answered < b->n) {
        if (send_some(s, b, &r.sent, f) < 0) return -1;
        sort_events(s, f);
        while (r.answered < b->n && peek(s, f)) {
            if (take_answer(s, b, r.answered, &refused, f) < 0) return -1;
            r.answered++;
            r.heard_ms = hv_now_ms();
            sort_events(s, f);
        }
        if (s->broken) return -1;
        if (r.answered == b->n) break;
        if (wait_for_more(s, b, &r, deadline_ms, f) < 0) return -1;
        if (receive(s, f) < 0) return -1;
    }
    return refused ? -1 : 0;
}

const char *xst_value(const struct xst_batch *b, size_t i) { return b->ops[i].value; }

int64_t xst_value_int(const struct xst_batch *b, size_t i, int64_t fallback)
{
    int64_t n;

    return b->ops[i].value && num_parse_int(b->ops[i].value, &n) ? n : fallback;
}

/* ---- one at a time --------------------------------------------------------------------------- */

int xst_get(struct xst *s, const char *path, struct arena *a, const char **ret_value, int64_t deadline_ms,
            struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    size_t i = xst_read(&b, path);

    if (xst_run(s, &b, deadline_ms, f) < 0) return -1;
    *ret_value = xst_value(&b, i) ? arena_strdup(a, xst_value(&b, i)) : NULL;
    return 0;
}

/* The names in NUL-separated text. */
static void split_names(const char *text, size_t len, struct arena *a, size_t max, const char *const **ret_names,
                        size_t *ret_n)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) n += !text[i];
    if (n > max) n = max;
    const char **names = arena_new_array(a, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        names[i] = arena_strdup(a, text);
        text += strlen(text) + 1;
    }
    *ret_names = names;
    *ret_n = n;
}

/* A list too long for one answer comes in parts; when the children change meanwhile it is begun again. */
static int list_parts(struct xst *s, const char *path, struct strbuf *out, int64_t deadline_ms, struct hv_failure *f)
{
    char generation[32] = "";

    for (;;) {
        _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
        char offset[24];
        int n = snprintf(offset, sizeof offset, "%zu", out->len);
        struct xst_op *op = add(&b, XS_DIRECTORY_PART, path, strlen(path) + 1, offset, (size_t)n + 1);
        if (xst_run(s, &b, deadline_ms, f) < 0) return -1;
        op = &b.ops[0];
        size_t head = op->value ? strlen(op->value) + 1 : 0;
        if (!head || head > sizeof generation || head > op->len)
            return broken(s, HV_FAIL_ENGINE, "a list that is none", f);
        if (out->len && !streq(generation, op->value)) {
            strbuf_clear(out);
            continue;
        }
        memcpy(generation, op->value, head);
        strbuf_add(out, op->value + head, op->len - head);
        /* The last part ends with an empty name. */
        if (op->len - head < 2 || !op->value[op->len - 2]) break;
    }
    if (out->len) out->len--;
    return 0;
}

int xst_list(struct xst *s, const char *path, struct arena *a, size_t max, const char *const **ret_names,
             size_t *ret_n, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;

    add(&b, XS_DIRECTORY, path, strlen(path) + 1, NULL, 0)->may_miss = true;
    if (xst_run(s, &b, deadline_ms, f) == 0) {
        split_names(b.ops[0].value ? b.ops[0].value : "", b.ops[0].len, a, max, ret_names, ret_n);
        return 0;
    }
    if (s->broken || f->code != E2BIG) return -1;
    *f = (struct hv_failure){ .kind = HV_FAIL_NONE };
    _cleanup_strbuf_ struct strbuf all = STRBUF_INIT;
    if (list_parts(s, path, &all, deadline_ms, f) < 0) return -1;
    split_names(strbuf_cstr(&all), all.len, a, max, ret_names, ret_n);
    return 0;
}
