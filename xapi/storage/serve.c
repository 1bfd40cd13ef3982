/* Disks that QEMU cannot read: an nbdkit for each serves its chain of VHDs over a unix socket.
 * Called by: ledger.c, storage.c.  Calls: lib/nbd, lib/subproc.
 *
 * A server outlives the agent, as the guest does that it works for: its socket and the file with its pid are found
 * again by the disk's uuid, in root/nbd. */
#define LOG_MODULE "storage"
#include "xapi/storage/slots.h"

#include "lib/clock.h"
#include "lib/ioprio.h"
#include "lib/log.h"
#include "lib/nbd.h"
#include "xapi/storage/content.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

enum { START_MS = 30000, TERM_MS = 60000, ANSWER_MS = 60000, PID_LIMIT = 64 };

bool serve_needed(const char *format) { return streq(format, "vhd"); }

char *serve_socket(const struct storage *s, const char *vdi_uuid)
{
    return xasprintf("%s/%s", s->serve_dir, vdi_uuid);
}

static char *pid_file(const struct storage *s, const char *vdi_uuid)
{
    return xasprintf("%s/%s.pid", s->serve_dir, vdi_uuid);
}

/* The server's process: its command line names the socket, so no other process that got its number is taken for it.
 * 0 = none. */
static pid_t find_server(const struct storage *s, const char *vdi_uuid)
{
    _cleanup_free_ char *path = pid_file(s, vdi_uuid), *text = NULL, *line = NULL;
    size_t len = 0;

    if (read_file(path, PID_LIMIT, &text, NULL)) return 0;
    long pid = strtol(text, NULL, 10);
    if (pid <= 1) return 0;
    _cleanup_free_ char *cmdline = xasprintf("/proc/%ld/cmdline", pid), *sock = serve_socket(s, vdi_uuid);
    if (read_file(cmdline, 65536, &line, &len)) return 0;
    return memmem(line, len, sock, strlen(sock)) ? (pid_t)pid : 0;
}

static int connect_to(const struct storage *s, const char *vdi_uuid, struct nbd *n)
{
    _cleanup_free_ char *path = serve_socket(s, vdi_uuid);
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(at.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(at.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (const struct sockaddr *)(const void *)&at, sizeof(at))) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return nbd_open(n, fd, ANSWER_MS);
}

/* Guests' processes run as another user, in this group. */
static int share_socket(const char *path)
{
    char text[4096];
    struct group g, *found = NULL;

    if (getgrnam_r("kvm", &g, text, sizeof(text), &found) || !found) return 0;
    return chown(path, (uid_t)-1, found->gr_gid) || chmod(path, 0660) ? -1 : 0;
}

int serve_start(struct storage *s, const struct entry *e, struct xerr *err)
{
    _cleanup_free_ char *sock = serve_socket(s, e->vdi_uuid), *pid = pid_file(s, e->vdi_uuid);
    _cleanup_free_ char *image = xasprintf("image=%s", e->path);
    _cleanup_free_ char *plugin = xasprintf("%s/nbdkit-vhd.so", s->plugin_dir);
    const char *argv[] = { "nbdkit",    "--unix", sock,
                           "--pidfile", pid,      "--threads=1",
                           plugin,      image,    e->writable ? "readonly=false" : "readonly=true",
                           NULL };
    const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = START_MS };
    _cleanup_subproc_result_ struct subproc_result r = { .code = 0 };

    serve_stop(s, e->vdi_uuid);
    if (subproc_run(&cmd, NULL, 0, &limits, &r)) return content_error(err, "nbdkit cannot be started");
    if (!subproc_ok(&r)) {
        _cleanup_free_ char *why = subproc_describe(&r);
        log_warn("nbdkit for %s: %s", e->path, why);
        return content_error(err, why);
    }
    if (share_socket(sock)) log_warn("cannot share %s: %s", sock, strerror(errno));
    /* The first connection opens the image: a damaged one is an error now, not in the guest. */
    if (serve_look(s, e->vdi_uuid, err) == 0) return 0;
    serve_stop(s, e->vdi_uuid);
    return -1;
}

int serve_look(struct storage *s, const char *vdi_uuid, struct xerr *err)
{
    struct nbd n = NBD_INIT;
    int rc = connect_to(s, vdi_uuid, &n);

    if (rc) {
        _cleanup_free_ char *text = xasprintf("the image cannot be opened: %s", strerror(errno));
        content_error(err, text);
    }
    nbd_close(&n);
    return rc ? -1 : 0;
}

int storage_set_priority(struct storage *s, const char *vdi_uuid, int priority, struct xerr *err)
{
    const pid_t pid = find_server(s, vdi_uuid);

    if (!pid || ioprio_set_process(pid, priority) == 0 || errno == ESRCH) return 0;
    _cleanup_free_ char *text = xasprintf("I/O priority of the disk's server (pid %d): %s", (int)pid, strerror(errno));
    return content_error(err, text);
}

void serve_stop(struct storage *s, const char *vdi_uuid)
{
    _cleanup_free_ char *sock = serve_socket(s, vdi_uuid), *pid_path = pid_file(s, vdi_uuid);
    const pid_t pid = find_server(s, vdi_uuid);

    if (pid) {
        _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        /* It syncs what it wrote before it leaves. */
        if (fd >= 0 && find_server(s, vdi_uuid) == pid &&
            syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) == 0 && poll(&p, 1, TERM_MS) == 0) {
            log_warn("nbdkit of disk %s does not end: killed", vdi_uuid);
            syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
        }
    }
    unlink(sock);
    unlink(pid_path);
}

void serve_adopt(struct storage *s, const struct entry *e)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (find_server(s, e->vdi_uuid) && serve_look(s, e->vdi_uuid, &err) == 0) return;
    log_warn("disk %s lost its server; started again", e->vdi_uuid);
    xerr_clear(&err);
    if (serve_start(s, e, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_error("disk %s is not served: %s", e->vdi_uuid, why);
    }
}
