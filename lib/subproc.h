/* Children: started without a shell, in a session of their own, never waited for without a deadline.
 * Called by: xapi/, sm/, tests.  Calls: posix_spawn, pidfd.
 *
 * A child gets default signal handling, an empty signal mask, exactly the descriptors it is given (everything
 * else closed), and a session and process group of its own, so that ending it ends its descendants. Spawning
 * does not copy the caller's memory (vfork semantics), so it is fine in a large program with many threads.
 *
 * Nobody may call waitpid(-1) while these are used. A process that is a subreaper calls subproc_reap()
 * instead. */
#ifndef LIB_SUBPROC_H
#define LIB_SUBPROC_H

#include "lib/strbuf.h"

#include <sys/types.h>

/* What to run. argv[0]: a path, or a name looked up in our PATH. */
struct subproc_command {
    const char *const *argv;          /* NULL-terminated */
    const char *const *env;           /* NULL-terminated; NULL = our environment */
    const char *cwd;                  /* NULL = ours */
    const struct subproc_fd {
        int ours, theirs;             /* theirs: 3 or more */
    } *fds;                           /* further descriptors; closed on exec here, open there */
    size_t n_fds;
};

/* ---- run to the end ---- */

struct subproc_limits {
    int64_t timeout_ms;               /* must be positive; counted while asleep too */
    int64_t grace_ms;                 /* from SIGTERM to SIGKILL; 0 = 2 s */
    size_t out_bytes, err_bytes;      /* kept of stdout and stderr; 0 = 1 MiB, 64 KiB. The rest is dropped */
    bool (*cancelled)(void *arg);     /* asked ten times a second, or NULL */
    void *cancelled_arg;
};

enum subproc_end {
    SUBPROC_EXITED,                   /* code = exit code */
    SUBPROC_SIGNALED,                 /* code = signal */
    SUBPROC_TIMED_OUT,                /* ended by us */
    SUBPROC_CANCELLED,                /* ended by us */
    SUBPROC_LOST,                     /* somebody else took the exit status */
};

struct subproc_result {
    enum subproc_end end;
    int code;
    struct strbuf out, err;
    bool out_truncated, err_truncated;
    /* It survives SIGKILL (stuck in the kernel): who it is. Such a child is left to subproc_reap(). pid 0 =
     * no. */
    pid_t stuck_pid;
    uint64_t stuck_start_time;
};

/* Runs the command with these bytes as stdin and waits. 0 when it was started, whatever became of it
 * (ret_result is to be freed), or -1 with errno. Blocks up to timeout + grace + 1 s. */
int subproc_run(const struct subproc_command *cmd, const void *input, size_t input_len,
                const struct subproc_limits *limits, struct subproc_result *ret_result);
void subproc_result_free(struct subproc_result *r);
/* Exit code 0. */
static inline bool subproc_ok(const struct subproc_result *r)
{
    return r->end == SUBPROC_EXITED && r->code == 0;
}
/* "exit code 3: <last line of stderr>", "killed by signal 9", "timed out", for errors and logs. malloc'd. */
char *subproc_describe(const struct subproc_result *r);
/* Whether a program's words (stderr in English) are those of a file system, a device or a quota without room. */
bool subproc_said_full(const char *text, size_t len);
#define _cleanup_subproc_result_ _cleanup_(subproc_result_free)

/* ---- start and look after ---- */

struct subproc {
    pid_t pid;                        /* also the process group; 0 = none */
    int pidfd;                        /* readable when it has ended; -1 = none */
    uint64_t start_time;              /* clock ticks since boot: with pid, an identity that outlives us */
};
#define SUBPROC_INIT { .pid = 0, .pidfd = -1 }

/* Starts the command. -1 as one of the three = /dev/null. The descriptors stay the caller's. 0 or -1 + errno.
 * */
int subproc_spawn(const struct subproc_command *cmd, int in_fd, int out_fd, int err_fd,
                  struct subproc *ret_child);
/* 0 and the wait status when it has ended (the child is then forgotten), 1 when it still runs after
 * timeout_ms (0 = just look), -1 with errno ECHILD when somebody else took the status. */
int subproc_wait(struct subproc *child, int64_t timeout_ms, int *ret_status);
/* A signal to the whole group. 0 or -1 + errno; ESRCH when it has ended. */
int subproc_kill(const struct subproc *child, int sig);
/* Stops looking after it: closes the pidfd; the child runs on and subproc_reap() takes its status. */
void subproc_forget(struct subproc *child);

/* ---- processes by identity ---- */

/* Start time of any process. 0, or -1 with errno (ESRCH). */
int subproc_start_time(pid_t pid, uint64_t *ret_ticks);
/* True while the process with this pid and start time exists and is not a zombie. */
bool subproc_alive(pid_t pid, uint64_t start_time);

/* Takes the status of every child that has ended: adopted ones are dropped, ours kept for subproc_wait(). To
 * be called on SIGCHLD and now and then. True when it should be called again soon. */
bool subproc_reap(void);

#endif
