/* A client of QEMU's machine protocol.
 * Called by: xen_qemu.c.  Calls: lib/json, sockets. */
#include "xapi/hv/xen_qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/json.h"

enum { MAX_LINE = 1 << 20, MAX_EVENTS = 64, STEP_MS = 10 };

struct event {
    struct event *next;
    char name[48], device[64];
};

struct qmp {
    int fd;
    struct strbuf in;
    struct event *events;
    size_t n_events;
};

static int lost(const char *why, struct hv_failure *f) { return hv_fail(f, HV_FAIL_UNREACHABLE, "QEMU: %s", why); }

static int wait_fd(struct qmp *q, short events, int64_t deadline_ms, struct hv_failure *f)
{
    for (;;) {
        int64_t left_ms = deadline_ms - hv_now_ms();
        struct pollfd p = { .fd = q->fd, .events = events };
        if (left_ms <= 0) return hv_fail(f, HV_FAIL_TIMEOUT, "QEMU does not answer");
        if (poll(&p, 1, left_ms > 1000 ? 1000 : (int)left_ms) > 0) return 0;
    }
}

/* The next line without its end, to be dropped with drop_line(). */
static int next_line(struct qmp *q, int64_t deadline_ms, size_t *ret_len, struct hv_failure *f)
{
    for (;;) {
        const char *end = q->in.len ? memchr(q->in.ptr, '\n', q->in.len) : NULL;
        if (end) {
            *ret_len = (size_t)(end - q->in.ptr);
            return 0;
        }
        if (q->in.len > MAX_LINE) return lost("an answer that is too long", f);
        if (wait_fd(q, POLLIN, deadline_ms, f) < 0) return -1;
        strbuf_reserve(&q->in, 16384);
        ssize_t n = recv(q->fd, q->in.ptr + q->in.len, 16384, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n <= 0) return lost(n == 0 ? "it hung up" : strerror(errno), f);
        q->in.len += (size_t)n;
    }
}

static void drop_line(struct qmp *q, size_t len)
{
    memmove(q->in.ptr, q->in.ptr + len + 1, q->in.len - len - 1);
    q->in.len -= len + 1;
}

static void note_event(struct qmp *q, const struct value *v)
{
    const struct value *data = value_get(v, "data");

    if (q->n_events == MAX_EVENTS) return;
    struct event *e = xcalloc(1, sizeof *e);
    snprintf(e->name, sizeof e->name, "%s", value_get_str(v, "event", ""));
    snprintf(e->device, sizeof e->device, "%s", data ? value_get_str(data, "device", "") : "");
    e->next = q->events;
    q->events = e;
    q->n_events++;
}

/* The next message that is no event. */
static int next_answer(struct qmp *q, int64_t deadline_ms, struct arena *a, struct value *ret, struct hv_failure *f)
{
    for (;;) {
        const char *error;
        size_t len;
        if (next_line(q, deadline_ms, &len, f) < 0) return -1;
        if (json_decode(q->in.ptr, len, a, ret, &error) < 0) return lost("not JSON", f);
        drop_line(q, len);
        if (!value_get(ret, "event")) return 0;
        note_event(q, ret);
    }
}

int qmp_open(const char *socket_path, int64_t deadline_ms, bool (*alive)(void *arg), void *arg, struct qmp **ret_q,
             struct hv_failure *f)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int n = snprintf(addr.sun_path, sizeof addr.sun_path, "%s", socket_path);
    _cleanup_arena_ struct arena *a = arena_new();
    struct value greeting;

    if (n < 0 || (size_t)n >= sizeof addr.sun_path) return hv_fail(f, HV_FAIL_ENGINE, "the socket's name is too long");
    _cleanup_qmp_ struct qmp *q = xcalloc(1, sizeof *q);
    q->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (q->fd < 0) return hv_fail(f, HV_FAIL_ENGINE, "socket: %s", strerror(errno));
    while (connect(q->fd, (const struct sockaddr *)&addr, sizeof addr) < 0) {
        if (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR) return lost(strerror(errno), f);
        if (alive && !alive(arg)) return lost("it ended at once", f);
        if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "QEMU does not listen");
        poll(NULL, 0, STEP_MS);
    }
    if (next_answer(q, deadline_ms, a, &greeting, f) < 0) return -1;
    if (!value_get(&greeting, "QMP")) return lost("it does not greet", f);
    if (qmp_run(q, "qmp_capabilities", NULL, deadline_ms, a, NULL, f) < 0) return -1;
    *ret_q = take_ptr(q);
    return 0;
}

void qmp_close(struct qmp *q)
{
    if (!q) return;
    while (q->events) {
        struct event *e = q->events;
        q->events = e->next;
        free(e);
    }
    if (q->fd >= 0) close(q->fd);
    strbuf_free(&q->in);
    free(q);
}

static int send_all(struct qmp *q, const struct strbuf *b, int64_t deadline_ms, struct hv_failure *f)
{
    for (size_t sent = 0; sent < b->len;) {
        ssize_t n = send(q->fd, b->ptr + sent, b->len - sent, MSG_NOSIGNAL);
        if (n >= 0) sent += (size_t)n;
        else if (errno == EAGAIN) {
            if (wait_fd(q, POLLOUT, deadline_ms, f) < 0) return -1;
        } else if (errno != EINTR) return lost(strerror(errno), f);
    }
    return 0;
}

int qmp_run(struct qmp *q, const char *command, const char *arguments, int64_t deadline_ms, struct arena *a,
            struct value *ret_value, struct hv_failure *f)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct value answer;

    strbuf_printf(&b, "{\"execute\":\"%s\"%s%s}\n", command, arguments ? ",\"arguments\":" : "", arguments ? arguments : "");
    if (send_all(q, &b, deadline_ms, f) < 0 || next_answer(q, deadline_ms, a, &answer, f) < 0) return -1;
    const struct value *error = value_get(&answer, "error"), *good = value_get(&answer, "return");
    if (error) return hv_fail(f, HV_FAIL_ENGINE, "QEMU: %s: %s", command, value_get_str(error, "desc", "it refuses"));
    if (!good) return lost("neither an answer nor an error", f);
    if (ret_value) *ret_value = *good;
    return 0;
}

static bool take_event(struct qmp *q, const char *name, const char *device)
{
    for (struct event **link = &q->events; *link; link = &(*link)->next) {
        struct event *e = *link;
        if (!streq(e->name, name) || (device && !streq(e->device, device))) continue;
        *link = e->next;
        q->n_events--;
        free(e);
        return true;
    }
    return false;
}

int qmp_wait(struct qmp *q, const char *event, const char *device, int64_t deadline_ms, struct hv_failure *f)
{
    for (;;) {
        _cleanup_arena_ struct arena *a = arena_new();
        struct value v;
        const char *error;
        size_t len;
        if (take_event(q, event, device)) return 1;
        if (next_line(q, deadline_ms, &len, f) < 0) {
            if (f->kind != HV_FAIL_TIMEOUT) return -1;
            *f = (struct hv_failure){ .kind = HV_FAIL_NONE };
            return 0;
        }
        if (json_decode(q->in.ptr, len, a, &v, &error) < 0) return lost("not JSON", f);
        drop_line(q, len);
        if (value_get(&v, "event")) note_event(q, &v);
    }
}
