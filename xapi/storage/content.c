/* The bytes of an attached disk: a qemu-nbd and a connection to it.
 * Called by: http/raw_vdi.c, xva_*.c.  Calls: lib/nbd, lib/subproc. */
#define LOG_MODULE "storage"
#include "xapi/storage/content.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "gen/errors.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/nbd.h"
#include "lib/num.h"
#include "lib/subproc.h"
#include "xapi/storage/slots.h"

enum { START_MS = 15000, STEP_MS = 60000, END_MS = 60000, LEFT_MS = 5000, ENVIRON_BYTES = 4096, BLOCK = 64 << 10 };
#define OWNER "XAPI_DISK_SERVER_OF="         /* in a server's environment: whose it is */
/* It allocates a buffer for each request. glibc's malloc would take the big ones from the kernel each time, page by page, zeroed. */
#define KEEP_BIG "MALLOC_MMAP_THRESHOLD_=33554432"
#define KEEP_FREE "MALLOC_TRIM_THRESHOLD_=67108864"

struct content {
    bool stale;     /* never written does not mean zero */
    struct subproc child;
    struct nbd nbd;
};

bool content_is_zero(const void *buf, size_t n)
{
    const unsigned char *p = buf;

    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

int content_error(struct xerr *err, const char *what)
{
    const char *params[] = { what };

    return xerr_vdi_io_error(err, 1, params);
}

/* What failed, and why. */
static int io_error(struct xerr *err, const char *what)
{
    _cleanup_free_ char *text = xasprintf("%s: %s", what, strerror(errno));

    return content_error(err, text);
}

/* What the child said before it left. */
static void log_said(int fd, const char *path)
{
    char said[512];
    ssize_t n = pread(fd, said, sizeof(said) - 1, 0);

    log_warn("qemu-nbd could not open %s: %.*s", path, n > 0 ? (int)n : 0, said);
}

static int connect_once(const struct sockaddr_un *to)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) return -1;
    if (connect(fd, (const struct sockaddr *)(const void *)to, sizeof(*to)) == 0) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
        return fd;
    }
    close(fd);
    return -1;
}

/* Whether the server says its first word, and before it ends. */
static bool greets(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    int64_t until = clock_deadline_ns(START_MS);
    ssize_t n;
    char first;

    while ((n = recv(fd, &first, 1, MSG_PEEK)) < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (clock_boottime_ns() > until) {
            errno = ETIMEDOUT;
            return false;
        }
        poll(&p, 1, 1000);
    }
    if (n != 1) errno = EIO;
    return n == 1;
}

/* A connection that is waiting in the backlog of a socket of nobody else's, and the socket. */
static int connect_ahead(const struct sockaddr_un *at, int *ret_listener)
{
    _cleanup_close_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = -1;

    if (listener >= 0 && !bind(listener, (const struct sockaddr *)(const void *)at, sizeof(*at)) && !listen(listener, 1))
        fd = connect_once(at);
    int why = errno;
    unlink(at->sun_path);
    errno = why;
    if (fd >= 0) *ret_listener = take_fd(listener);
    return fd;
}

/* A server of its own, and a connection to it, which is there before the server is. It ends with the connection, but only if the two
 * had come to speak: what an agent that was killed before leaves is found by its environment. The shell is for systemd's convention of
 * handing over a socket, which names the process. */
static int start(struct content *k, struct storage *s, const struct storage_disk *disk, int *ret_fd, const struct sockaddr_un *at,
                 struct xerr *err)
{
    _cleanup_free_ char *ours = xasprintf(OWNER "%s", s->state_dir);
    _cleanup_close_ int listener = -1, said = memfd_create("said", MFD_CLOEXEC), fd = connect_ahead(at, &listener);
    const char *argv[] = { "/bin/sh",
                           "-c",
                           "LISTEN_PID=$$ exec qemu-nbd \"$@\"",
                           "qemu-nbd",
                           "--format",
                           disk->format,
                           "--discard=unmap",
                           disk->writable ? "--cache=writeback" : "--read-only",
                           "--",
                           disk->path,
                           NULL };
    const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "LISTEN_FDS=1", KEEP_BIG, KEEP_FREE, ours, NULL };
    struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/", .fds = &(struct subproc_fd){ listener, 3 }, .n_fds = 1 };

    _cleanup_opening_ struct storage_opening opening;

    storage_opening_begin(s, &disk->path, 1, &opening);
    if (fd < 0 || subproc_spawn(&cmd, -1, -1, said, &k->child))
        return xerr_internal(err, "cannot start qemu-nbd: %s", strerror(errno));
    close(take_fd(listener));
    if (greets(fd)) {
        *ret_fd = take_fd(fd);
        return 0;
    }
    int why = errno;
    log_said(said, disk->path);
    errno = why;
    return io_error(err, "the image cannot be opened");
}

/* Somebody serves it already. */
static int join(const char *socket, int *ret_fd, struct xerr *err)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int n = snprintf(at.sun_path, sizeof(at.sun_path), "%s", socket);

    if (n < 0 || (size_t)n >= sizeof(at.sun_path)) return xerr_internal(err, "%s is too long for a socket", socket);
    *ret_fd = connect_once(&at);
    return *ret_fd < 0 ? io_error(err, "the image cannot be opened") : 0;
}

int content_connect(struct storage *s, const struct storage_disk *disk, struct content **ret_content, int *ret_fd,
                    struct xerr *err)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char name[UUID_TEXT];

    int n = snprintf(at.sun_path, sizeof(at.sun_path), "%s/nbd-%s", s->state_dir, uuid_new(name));
    if (n < 0 || (size_t)n >= sizeof(at.sun_path))
        return xerr_internal(err, "%s is too long for a socket in it", s->state_dir);
    struct content *k = xcalloc(1, sizeof(*k));
    k->child = (struct subproc)SUBPROC_INIT;
    k->nbd = (struct nbd)NBD_INIT;
    k->stale = storage_is_stale(disk);
    int rc = disk->socket ? join(disk->socket, ret_fd, err) : start(k, s, disk, ret_fd, &at, err);
    if (rc)
        content_close(take_ptr(k));
    else
        *ret_content = k;
    return rc;
}

int content_open(struct storage *s, const struct storage_disk *disk, struct content **ret_content,
                 struct xerr *err)
{
    struct content *k = NULL;
    int fd;

    if (content_connect(s, disk, &k, &fd, err)) return -1;
    if (nbd_open(&k->nbd, fd, STEP_MS)) {
        io_error(err, "the image cannot be opened");
        content_close(k);
        return -1;
    }
    *ret_content = k;
    return 0;
}

int64_t content_size(const struct content *k) { return k->nbd.size; }

int content_read(struct content *k, void *buf, size_t n, int64_t at, struct xerr *err)
{
    return nbd_read(&k->nbd, buf, n, at) ? io_error(err, "reading the disk") : 0;
}

int content_read_on(struct content *k, void *buf, size_t n, int64_t at, struct xerr *err)
{
    int64_t next = at + (int64_t)n, left = content_size(k) - next;

    if (content_read(k, buf, n, at, err)) return -1;
    if (nbd_ahead(&k->nbd, left < (int64_t)n ? (size_t)left : n, next)) return io_error(err, "reading the disk");
    return 0;
}

static int put(struct content *k, const char *p, size_t n, int64_t at, bool fresh)
{
    if (!content_is_zero(p, n)) return nbd_write(&k->nbd, p, n, at);
    if (fresh && !k->stale) return 0;
    return k->nbd.can_zero ? nbd_zero(&k->nbd, n, at) : nbd_write(&k->nbd, p, n, at);
}

/* Runs of blocks that are all zero, and runs that are not. */
int content_write(struct content *k, const void *buf, size_t n, int64_t at, bool fresh, struct xerr *err)
{
    const char *p = buf;

    for (size_t done = 0, run; done < n; done += run) {
        run = BLOCK - (size_t)((at + (int64_t)done) % BLOCK);
        if (run > n - done) run = n - done;
        bool zero = content_is_zero(p + done, run);
        while (run < n - done) {
            size_t more = n - done - run < BLOCK ? n - done - run : BLOCK;
            if (content_is_zero(p + done + run, more) != zero) break;
            run += more;
        }
        if (put(k, p + done, run, at + (int64_t)done, fresh)) return io_error(err, "writing the disk");
    }
    return 0;
}

int content_flush(struct content *k, struct xerr *err)
{
    return nbd_flush(&k->nbd) ? io_error(err, "writing the disk") : 0;
}

void content_close(struct content *k)
{
    int status;

    if (!k) return;
    nbd_close(&k->nbd);
    if (k->child.pid && subproc_wait(&k->child, END_MS, &status) == 1) {
        subproc_kill(&k->child, SIGKILL);
        if (subproc_wait(&k->child, 5000, &status) == 1) subproc_forget(&k->child);
    }
    free(k);
}

/* ---- after an agent that was killed ---- */

/* Whether its environment has this line. */
static bool is_server_of(pid_t pid, const char *line)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/environ", (int)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[ENVIRON_BYTES];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n <= 0) return false;
    text[n] = '\0';
    for (const char *at = text; at < text + n; at += strlen(at) + 1)
        if (streq(at, line)) return true;
    return false;
}

static void end_server(pid_t pid)
{
    static const int signals[] = { SIGTERM, SIGKILL };
    uint64_t start;

    if (subproc_start_time(pid, &start)) return;
    log_info("a disk's server that a killed agent has left ends: process %d", (int)pid);
    for (size_t i = 0; i < ARRAY_SIZE(signals) && subproc_alive(pid, start); i++) {
        const int64_t until = clock_deadline_ns(LEFT_MS);
        kill(pid, signals[i]);
        while (subproc_alive(pid, start) && clock_boottime_ns() < until) poll(NULL, 0, 10);
    }
    if (subproc_alive(pid, start)) log_warn("process %d does not end", (int)pid);
}

void content_sweep(const struct storage *s)
{
    _cleanup_free_ char *ours = xasprintf(OWNER "%s", s->state_dir);
    DIR *proc = opendir("/proc");

    for (const struct dirent *e; proc && (e = readdir(proc));) {
        int64_t pid;
        if (num_parse_int(e->d_name, &pid) && pid > 1 && is_server_of((pid_t)pid, ours)) end_server((pid_t)pid);
    }
    if (proc) closedir(proc);
}
