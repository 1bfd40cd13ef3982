/* Running another program from a driver.
 * Called by: the drivers.  Calls: lib/subproc. */
#include "sm/sm.h"

#include "lib/subproc.h"

#include <errno.h>

enum { SHOWN = 600, DAY_MS = 24 * 3600 * 1000, MAX_OUT = 64 << 20 };

static int fail_program(const char *program, const struct subproc_result *r, enum sm_error number,
                        struct xerr *err)
{
    _cleanup_free_ char *what = subproc_describe(r);
    const char *text = strbuf_cstr(&r->err);
    size_t skip = r->err.len > SHOWN ? r->err.len - SHOWN : 0;
    int len = (int)(r->err.len - skip);

    while (len && text[skip + (size_t)len - 1] == '\n') len--;
    if (subproc_said_full(text, r->err.len)) number = SM_NO_SPACE;
    return sm_fail(err, number, "%s: %s%s%.*s", program, what, len ? ": " : "", len, text + skip);
}

int sm_run(struct sm *sm, const char *const argv[], const char **ret_out, enum sm_error number,
           struct xerr *err)
{
    /* The program holds our locks too: if we are killed it may still be writing. */
    struct subproc_fd locks[2];
    struct subproc_command cmd = { .argv = argv, .fds = locks };
    struct subproc_limits limits = { .timeout_ms = DAY_MS, .out_bytes = MAX_OUT }; /* the agent's deadline is the one that counts */
    _cleanup_subproc_result_ struct subproc_result r = { .code = 0 };

    if (sm->lock_fd >= 0) locks[cmd.n_fds++] = (struct subproc_fd){ sm->lock_fd, 3 };
    if (sm->dir_fd >= 0) locks[cmd.n_fds++] = (struct subproc_fd){ sm->dir_fd, 4 };
    if (subproc_run(&cmd, NULL, 0, &limits, &r)) {
        if (errno == ENOENT) return sm_fail(err, number, "%s is not installed", argv[0]);
        return sm_fail_errno(err, SM_GENERAL, "cannot start %s", argv[0]);
    }
    if (!subproc_ok(&r)) return fail_program(argv[0], &r, number, err);
    if (ret_out) *ret_out = arena_strdup(sm->arena, strbuf_cstr(&r.out));
    return 0;
}
