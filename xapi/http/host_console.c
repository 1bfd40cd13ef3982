/* The text console of the control domain: host_console.h.
 * Called by: console.c.  Calls: lib/subproc, script(1), which has terminals. */
#include "xapi/http/host_console.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "lib/conf.h"

enum { GRACE_MS = 2000 };

/* A session's environment begins anew. */
static const char *const environment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM=vt100",
    "SHELL=/bin/sh",
    NULL,
};

int host_console_begin(struct call *c, struct stream *ret_stream, struct subproc *ret_child, struct xerr *err)
{
    const char *program = conf_str(c->agent->conf, "host-console");
    const char *const argv[] = { "script", "-q", "-f", "-c", program, "/dev/null", NULL };
    const struct subproc_command cmd = { .argv = argv, .env = environment, .cwd = "/" };
    int ends[2];

    if (!*program || streq(program, "none")) return xerr_operation_not_allowed(err, "This host shows no console of its own (host-console)");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) return xerr_internal(err, "socketpair: %s", strerror(errno));
    _cleanup_close_ int ours = ends[0], theirs = ends[1];
    if (fcntl(ours, F_SETFL, fcntl(ours, F_GETFL) | O_NONBLOCK) < 0) return xerr_internal(err, "fcntl: %s", strerror(errno));
    if (subproc_spawn(&cmd, theirs, theirs, theirs, ret_child)) return xerr_internal(err, "script: %s", strerror(errno));
    *ret_stream = (struct stream)STREAM_INIT;
    ret_stream->fd = take_fd(ours);
    return 0;
}

void host_console_end(struct subproc *child)
{
    int status;

    if (!child->pid) return;
    /* Its terminal goes with it: what runs there is hung up on. */
    if (subproc_wait(child, 0, &status) == 1) {
        subproc_kill(child, SIGTERM);
        if (subproc_wait(child, GRACE_MS, &status) == 1) {
            subproc_kill(child, SIGKILL);
            if (subproc_wait(child, GRACE_MS, &status) == 1) subproc_forget(child);
        }
    }
}
