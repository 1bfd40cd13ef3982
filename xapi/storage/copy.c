/* Copying disk content between attached disks (qemu-img convert) and from an image into its parent (image-merge): a
 * child, watched.
 * Called by: vdi_copy.c, sr_gc.c, http/raw_vdi.c.  Calls: lib/subproc. */
#define LOG_MODULE "storage"
#include "xapi/storage/content.h"
#include "xapi/storage/slots.h"

#include "gen/errors.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/subproc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { POLL_MS = 250, SAID = 4096 };

struct copier {
    struct storage *storage;
    const struct merge_state *merge; /* stops when it is forbidden; NULL for a copy */
    storage_progress_fn progress;
    void *arg;
    struct subproc child;
    int out_fd, err_fd;
    char said[SAID]; /* the beginning of stderr */
    size_t said_len;
    double fraction;
    bool stopped;
};

/* "    (12.34/100%)\r": the last one in this piece counts. */
static void take_progress(struct copier *k, const char *text)
{
    for (const char *at = text; (at = strchr(at, '(')); at++) {
        double percent;
        if (sscanf(at, "(%lf/100%%)", &percent) == 1 && percent >= 0 && percent <= 100)
            k->fraction = percent / 100;
    }
}

/* False at the end of the pipe. */
static bool read_out(struct copier *k)
{
    char piece[1024];
    ssize_t n = read(k->out_fd, piece, sizeof(piece) - 1);

    if (n <= 0) return n < 0 && (errno == EINTR || errno == EAGAIN);
    piece[n] = '\0';
    take_progress(k, piece);
    return true;
}

static bool read_err(struct copier *k)
{
    char piece[1024];
    ssize_t n = read(k->err_fd, piece, sizeof(piece));

    if (n <= 0) return n < 0 && (errno == EINTR || errno == EAGAIN);
    for (ssize_t i = 0; i < n && k->said_len < SAID - 1; i++) k->said[k->said_len++] = piece[i];
    return true;
}

static bool is_forbidden(const struct copier *k)
{
    if (!k->merge) return false;
    HOLD(&k->storage->lock);
    return k->merge->forbidden > 0;
}

/* To the end of the child or until progress says stop. The status, or -1 when it is not known. */
static int watch(struct copier *k)
{
    struct pollfd fds[] = {
        { .fd = k->out_fd, .events = POLLIN },
        { .fd = k->err_fd, .events = POLLIN },
        { .fd = k->child.pidfd, .events = POLLIN },
    };
    int status = -1;

    for (;;) {
        poll(fds, ARRAY_SIZE(fds), POLL_MS);
        if (fds[0].revents && !read_out(k)) fds[0].fd = -1;
        if (fds[1].revents && !read_err(k)) fds[1].fd = -1;
        bool go_on = !atomic_load(&k->storage->stopping) && !is_forbidden(k) &&
                     (!k->progress || k->progress(k->arg, k->fraction));
        if (!go_on && !k->stopped) {
            k->stopped = true;
            subproc_kill(&k->child, SIGTERM);
        }
        if (!fds[2].revents) continue;
        if (fds[1].fd >= 0 && fds[1].revents) continue; /* what it said last */
        return subproc_wait(&k->child, 1000, &status) == 0 ? status : -1;
    }
}

/* qemu-img does not sync what it wrote; over NBD it does. */
static int sync_target(const struct storage_disk *disk)
{
    if (disk->socket) return 0;
    _cleanup_close_ int fd = open(disk->path, O_RDWR | O_CLOEXEC);

    return fd < 0 ? -1 : fsync(fd);
}

/* As qemu-img calls one end of the copy. The text is malloc'd. */
static char *end_name(const struct storage_disk *disk)
{
    return disk->socket ? xasprintf("nbd+unix:///?socket=%s", disk->socket) : xstrdup(disk->path);
}

static const char *end_format(const struct storage_disk *disk) { return disk->socket ? "raw" : disk->format; }

static int start(struct copier *k, const char *const *argv, struct xerr *err)
{
    const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    int out[2], diag[2];

    if (pipe2(out, O_CLOEXEC)) return xerr_internal(err, "pipe: %s", strerror(errno));
    if (pipe2(diag, O_CLOEXEC)) {
        close(out[0]);
        close(out[1]);
        return xerr_internal(err, "pipe: %s", strerror(errno));
    }
    int rc = subproc_spawn(&cmd, -1, out[1], diag[1], &k->child);
    if (rc) xerr_internal(err, "cannot start %s: %s", argv[0], strerror(errno));
    close(out[1]);
    close(diag[1]);
    k->out_fd = out[0];
    k->err_fd = diag[0];
    fcntl(k->out_fd, F_SETFL, O_NONBLOCK);
    fcntl(k->err_fd, F_SETFL, O_NONBLOCK);
    return rc;
}

/* Runs the child to its end. -1 when it could not be started. */
static int run(struct copier *k, const char *const *argv, int *ret_status, struct xerr *err)
{
    int rc = start(k, argv, err);

    if (rc == 0) *ret_status = watch(k);
    close_fdp(&k->out_fd);
    close_fdp(&k->err_fd);
    return rc;
}

int storage_copy(struct storage *s, const struct storage_copy *copy, struct xerr *err)
{
    struct copier k = { .storage = s,
                        .progress = copy->progress,
                        .arg = copy->arg,
                        .child = SUBPROC_INIT,
                        .out_fd = -1,
                        .err_fd = -1 };
    _cleanup_free_ char *from = end_name(&copy->from), *to = end_name(&copy->to);
    const bool fresh = copy->target_is_zero && !storage_is_stale(&copy->to);
    const char *argv[] = { "qemu-img",
                           "convert",
                           "-p",
                           "-n",
                           fresh ? "--target-is-zero" : "-W",
                           "-f",
                           end_format(&copy->from),
                           "-O",
                           end_format(&copy->to),
                           from,
                           to,
                           NULL };
    int status = 0;

    if (run(&k, argv, &status, err)) return -1;
    if (k.stopped) return xerr_task_cancelled(err, REF_STR(copy->task));
    if (status || sync_target(&copy->to)) {
        const bool full = !status ? errno == ENOSPC || errno == EDQUOT : subproc_said_full(k.said, k.said_len);
        const char *params[] = { "", "There is no room for the copy", "" };
        log_warn("copy of %s to %s failed (status %d): %.*s", from, to, status, (int)k.said_len, k.said);
        return full ? xerr_set(err, "SR_BACKEND_FAILURE_44", ARRAY_SIZE(params), params) : xerr_vdi_copy_failed(err);
    }
    return 0;
}

/* ---- merging ------------------------------------------------------------------------------- */

/* With the lock held. */
static struct merge_state *merge_state(struct storage *s, const char *sr_uuid)
{
    struct merge_state *m = map_get(s->merges, sr_uuid);

    if (m) return m;
    m = xcalloc(1, sizeof(*m));
    snprintf(m->sr_uuid, sizeof(m->sr_uuid), "%s", sr_uuid);
    map_put(s->merges, m->sr_uuid, m);
    return m;
}

/* With the lock held. */
static void merge_put(struct storage *s, struct merge_state *m)
{
    if (m->running || m->forbidden || m->opening || m->ending) return;
    map_remove(s->merges, m->sr_uuid);
    free(m);
}

void storage_merge_forbid(struct storage *s, const char *sr_uuid)
{
    HOLD(&s->lock);
    struct merge_state *m = merge_state(s, sr_uuid);

    m->forbidden++;
    while (m->running) pthread_cond_wait(&s->merge_ended, &s->lock);
}

void storage_merge_allow(struct storage *s, const char *sr_uuid)
{
    HOLD(&s->lock);
    struct merge_state *m = merge_state(s, sr_uuid);

    if (m->forbidden) m->forbidden--;
    merge_put(s, m);
}

/* image-merge lies beside the drivers. */
static int run_merge(struct copier *k, const struct storage_merge *m, int *ret_status, struct xerr *err)
{
    const struct storage_driver *d = storage_driver_need(k->storage, m->sr_type, err);

    if (!d) return -1;
    int folder = (int)(strrchr(d->program, '/') - d->program);
    _cleanup_free_ char *program = xasprintf("%.*s/image-merge", folder, d->program);
    _cleanup_free_ char *rate = xasprintf("%lld", (long long)m->rate);
    const char *argv[] = { program, m->format, m->top_path, m->base_path, rate, *m->owner_path ? m->owner_path : NULL,
                           m->owner, NULL };
    return run(k, argv, ret_status, err);
}

int storage_merge(struct storage *s, const struct storage_merge *merge, struct xerr *err)
{
    struct copier k = { .storage = s,
                        .progress = merge->progress,
                        .arg = merge->arg,
                        .child = SUBPROC_INIT,
                        .out_fd = -1,
                        .err_fd = -1 };
    int status = 0;

    pthread_mutex_lock(&s->lock);
    struct merge_state *m = merge_state(s, merge->sr_uuid);
    bool allowed = !m->forbidden;
    m->running += allowed;
    pthread_mutex_unlock(&s->lock);
    if (!allowed) return xerr_task_cancelled(err, REF_STR(merge->task));

    k.merge = m;
    int rc = run_merge(&k, merge, &status, err);
    if (!rc && k.stopped) rc = xerr_task_cancelled(err, REF_STR(merge->task));
    if (!rc && status) {
        log_warn("merge of %s failed (status %d): %.*s", merge->top_path, status, (int)k.said_len, k.said);
        rc = content_error(err, *k.said ? k.said : "image-merge died");
    }

    pthread_mutex_lock(&s->lock);
    m->running--;
    pthread_cond_broadcast(&s->merge_ended);
    merge_put(s, m);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- images that are being opened ------------------------------------------------------------ */

enum { OPENING_WAIT_S = 60 };

/* With the lock held. */
static const struct entry *entry_of(const struct storage *s, const char *disk)
{
    const char *key;
    void *e;

    if (*disk != '/') return map_get(s->entries, disk);
    for (size_t at = 0; map_next(s->entries, &at, &key, &e);) {
        const struct entry *found = e;
        if (found->path && streq(found->path, disk)) return found;
    }
    return NULL;
}

/* With the lock held. */
static void opening_add(struct storage *s, const char *sr_uuid, struct storage_opening *o)
{
    struct merge_state *m = merge_state(s, sr_uuid);

    m->opening++; /* it stays, and a merge that has not begun to take names away waits */
    while (m->taking) pthread_cond_wait(&s->merge_ended, &s->lock);
    o->of[o->n++] = m;
}

void storage_opening_begin(struct storage *s, const char *const *disks, size_t n, struct storage_opening *ret_opening)
{
    *ret_opening = (struct storage_opening){ .storage = s, .of = xcalloc(n + 1, sizeof(*ret_opening->of)) };
    HOLD(&s->lock);
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = disks[i] ? entry_of(s, disks[i]) : NULL;
        if (e) opening_add(s, e->sr_uuid, ret_opening);
    }
}

void storage_opening_end(struct storage_opening *opening)
{
    struct storage *s = opening->storage;

    if (!s) return;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < opening->n; i++) {
        opening->of[i]->opening--;
        merge_put(s, opening->of[i]);
    }
    pthread_cond_broadcast(&s->merge_ended);
    pthread_mutex_unlock(&s->lock);
    free(opening->of);
    *opening = (struct storage_opening){ .n = 0 };
}

bool storage_merge_end_begin(struct storage *s, const char *sr_uuid, const atomic_bool *stop)
{
    const int64_t until_ns = clock_monotonic_ns() + OPENING_WAIT_S * NS_PER_S;

    HOLD(&s->lock);
    struct merge_state *m = merge_state(s, sr_uuid);
    m->ending++;
    while (m->opening && !atomic_load(stop) && clock_monotonic_ns() < until_ns) {
        struct timespec soon; /* for the sake of *stop, of which nobody tells */
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_sec++;
        pthread_cond_timedwait(&s->merge_ended, &s->lock, &soon);
    }
    if (!m->opening) return m->taking = true;
    m->ending--;
    return false;
}

void storage_merge_end_done(struct storage *s, const char *sr_uuid)
{
    HOLD(&s->lock);
    struct merge_state *m = merge_state(s, sr_uuid);

    m->taking = false;
    m->ending--;
    pthread_cond_broadcast(&s->merge_ended);
    merge_put(s, m);
}
