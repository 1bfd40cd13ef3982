/* A file that comes in pieces and may be packed.
 * Called by: http/xva.c, vm_import.c, ova_import.c.  Calls: subproc. */
#include "xapi/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#include "lib/subproc.h"

enum { MAGIC = 4, PIECE = 64 << 10, END_MS = 5000 };

struct unpack {
    struct call *call;
    struct unpack_source source;
    char early[MAGIC];             /* read to see what it is */
    size_t n_early, at_early;
    struct subproc child;
    int to, from;                  /* our ends of its pipes */
    pthread_t pump;
    bool pumping;
};

static ssize_t read_source(struct unpack *u, void *buf, size_t n)
{
    size_t have = u->n_early - u->at_early;

    if (!have) return u->source.read(u->source.arg, buf, n);
    if (n > have) n = have;
    memcpy(buf, u->early + u->at_early, n);
    u->at_early += n;
    return (ssize_t)n;
}

static int write_all(int fd, const char *p, size_t n)
{
    for (ssize_t m; n; p += m, n -= (size_t)m) {
        m = write(fd, p, n);
        if (m < 0 && errno == EINTR) m = 0;
        if (m < 0) return -1;
    }
    return 0;
}

static void *feed(void *arg)
{
    struct unpack *u = arg;
    char *buf = xmalloc(PIECE);
    ssize_t n;

    while ((n = read_source(u, buf, PIECE)) > 0)
        if (write_all(u->to, buf, (size_t)n)) break;
    close(take_fd(u->to));
    free(buf);
    return NULL;
}

static int start(struct unpack *u, const char *const *argv, struct xerr *err)
{
    const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    int in[2], out[2];

    if (pipe2(in, O_CLOEXEC)) return xerr_internal(err, "pipe: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC)) {
        close(in[0]);
        close(in[1]);
        return xerr_internal(err, "pipe: %s", strerror(errno));
    }
    int rc = subproc_spawn(&cmd, in[0], out[1], -1, &u->child);
    if (rc) xerr_internal(err, "cannot start %s: %s", argv[0], strerror(errno));
    close(in[0]);
    close(out[1]);
    u->to = in[1];
    u->from = out[0];
    if (rc) return -1;
    int why = pthread_create(&u->pump, NULL, feed, u);
    if (why) return xerr_internal(err, "cannot start a thread: %s", strerror(why));
    u->pumping = true;
    return 0;
}

static const char *packer_of(const struct unpack *u)
{
    if (u->n_early == MAGIC && memcmp(u->early, "\x1f\x8b", 2) == 0) return "gzip";
    if (u->n_early == MAGIC && memcmp(u->early, "\x28\xb5\x2f\xfd", 4) == 0) return "zstd";
    return NULL;
}

static struct unpack *make(struct call *c, const struct unpack_source *source)
{
    struct unpack *u = xcalloc(1, sizeof(*u));

    *u = (struct unpack){ .call = c, .source = *source, .child = SUBPROC_INIT, .to = -1, .from = -1 };
    return u;
}

struct unpack *unpack_start(struct call *c, const struct unpack_source *source, const char *const *argv, struct xerr *err)
{
    struct unpack *u = make(c, source);

    if (!start(u, argv, err)) return u;
    unpack_close(u);
    return NULL;
}

struct unpack *unpack_open(struct call *c, const struct unpack_source *source, struct xerr *err)
{
    struct unpack *u = make(c, source);
    ssize_t n = 1;

    while (u->n_early < MAGIC && n > 0) {
        n = source->read(source->arg, u->early + u->n_early, MAGIC - u->n_early);
        if (n > 0) u->n_early += (size_t)n;
    }
    const char *program = packer_of(u), *argv[] = { program, "-dc", NULL };
    if (u->n_early && (!program || !start(u, argv, err))) return u;
    unpack_close(u);
    return NULL;
}

ssize_t unpack_read(void *arg, void *buf, size_t n)
{
    struct unpack *u = arg;
    ssize_t got;

    if (u->from < 0) return call_cancelled(u->call) ? -1 : read_source(u, buf, n);
    do got = call_cancelled(u->call) ? -1 : read(u->from, buf, n);
    while (got < 0 && errno == EINTR && !call_cancelled(u->call));
    return got;
}

void unpack_close(struct unpack *u)
{
    int status;

    if (!u) return;
    if (u->child.pid) subproc_kill(&u->child, SIGKILL);
    if (u->pumping && u->source.stop) u->source.stop(u->source.arg);
    if (u->pumping) pthread_join(u->pump, NULL);
    close_fdp(&u->to);
    close_fdp(&u->from);
    if (u->child.pid && subproc_wait(&u->child, END_MS, &status) == 1) subproc_forget(&u->child);
    free(u);
}
