/* Standing builders: xapi-domain processes that put kernels into new domains.
 * Called by: xen_create.c.  Calls: xapi-domain through domain/proto.h.
 *
 * A builder that does not answer in time, or dies, is ended; the next start gets a new one. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "xapi/hv/domain/proto.h"
#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

struct xn_builder {
    struct subproc child;
    int fd;
};

static void free_builder(struct xn_builder *b)
{
    int status;

    close(b->fd);                                /* an idle one ends by itself */
    if (subproc_wait(&b->child, 200, &status) == 1) {
        subproc_kill(&b->child, SIGKILL);
        if (subproc_wait(&b->child, 1000, &status) == 1) subproc_forget(&b->child);
    }
    free(b);
}

int xn_helper_start(const struct xn *xn, const char *role, int stream_fd, struct subproc *ret_child, int *ret_fd,
                    struct hv_failure *f)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "socketpair: %s", strerror(errno));
    const char *const argv[] = { xn->helper, role, NULL };
    const struct subproc_fd pass[] = { { .ours = fds[1], .theirs = DOMAIN_FD }, { .ours = stream_fd, .theirs = DOMAIN_STREAM_FD } };
    const struct subproc_command cmd = { .argv = argv, .fds = pass, .n_fds = stream_fd >= 0 ? 2 : 1 };
    *ret_child = (struct subproc)SUBPROC_INIT;
    int rc = subproc_spawn(&cmd, -1, -1, 2, ret_child);
    int e = errno;
    close(fds[1]);
    if (rc == 0) {
        *ret_fd = fds[0];
        return 0;
    }
    close(fds[0]);
    return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", xn->helper, strerror(e));
}

static struct xn_builder *spawn(struct xn *xn, struct hv_failure *f)
{
    struct xn_builder *b = xcalloc(1, sizeof *b);

    if (xn_helper_start(xn, "build", -1, &b->child, &b->fd, f) == 0) return b;
    free(b);
    return NULL;
}

/* One that waits, or room for a new one; false when the time is over. */
static bool take_idle(struct xn *xn, int64_t deadline_ms, struct xn_builder **ret_b)
{
    bool ok = true;

    pthread_mutex_lock(&xn->lock);
    while (ok && !xn->n_builders && xn->n_building == XN_MAX_BUILDERS) ok = xn_wait_until(xn, deadline_ms);
    *ret_b = ok && xn->n_builders ? xn->builders[--xn->n_builders] : NULL;
    if (ok) xn->n_building++;
    pthread_mutex_unlock(&xn->lock);
    return ok;
}

static void give_back(struct xn *xn, struct xn_builder *b)
{
    pthread_mutex_lock(&xn->lock);
    xn->n_building--;
    if (b && !xn->stopping) xn->builders[xn->n_builders++] = take_ptr(b);
    pthread_cond_broadcast(&xn->changed);
    pthread_mutex_unlock(&xn->lock);
    if (b) free_builder(b);
}

int xn_build_begin(struct xn *xn, const struct domain_build *q, int64_t deadline_ms, struct xn_builder **ret_b,
                   struct hv_failure *f)
{
    struct xn_builder *b;

    if (xn_fault("hv.xen.build", f) < 0) return -1;
    if (!take_idle(xn, deadline_ms, &b)) return hv_fail(f, HV_FAIL_TIMEOUT, "other domains are being built");
    for (bool fresh = false;; fresh = true) {
        if (!b) b = spawn(xn, f);
        if (!b) break;
        if (send(b->fd, q, sizeof *q, MSG_NOSIGNAL) == (ssize_t)sizeof *q) {
            *ret_b = b;
            return 0;
        }
        int e = errno;
        free_builder(b);      /* it died while it was idle */
        b = NULL;
        if (!fresh) continue;
        hv_fail(f, HV_FAIL_ENGINE, "%s: %s", xn->helper, strerror(e));
        break;
    }
    give_back(xn, NULL);
    return -1;
}

/* 0 = the answer is there. */
static int receive(struct xn_builder *b, int64_t deadline_ms, struct domain_built *r, struct hv_failure *f)
{
    for (;;) {
        int64_t left_ms = deadline_ms - hv_now_ms();
        struct pollfd p = { .fd = b->fd, .events = POLLIN };
        if (left_ms <= 0) return hv_fail(f, HV_FAIL_TIMEOUT, "the domain's memory is not built in time");
        if (poll(&p, 1, left_ms > 1000 ? 1000 : (int)left_ms) <= 0) continue;
        ssize_t n = recv(b->fd, r, sizeof *r, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n == (ssize_t)sizeof *r && r->size == sizeof *r) return 0;
        return hv_fail(f, HV_FAIL_BUILD, "the builder died while it read the kernel");
    }
}

int xn_build_end(struct xn *xn, struct xn_builder *b, int64_t deadline_ms, struct domain_built *ret_r, struct hv_failure *f)
{
    if (receive(b, deadline_ms, ret_r, f) < 0) {
        subproc_kill(&b->child, SIGKILL);
        free_builder(b);
        give_back(xn, NULL);
        return -1;
    }
    give_back(xn, b);
    if (ret_r->rc == 0) return 0;
    ret_r->function[sizeof ret_r->function - 1] = ret_r->why[sizeof ret_r->why - 1] = '\0';
    f->code = ret_r->code;
    if (ret_r->code == ENOMEM) {
        f->number = xn_free_bytes(xn);
        return hv_fail(f, HV_FAIL_NO_MEMORY, "%s", ret_r->why);
    }
    return hv_fail(f, HV_FAIL_BUILD, "%s", ret_r->why);
}

void xn_builders_close(struct xn *xn)
{
    while (xn->n_builders) free_builder(xn->builders[--xn->n_builders]);
}
