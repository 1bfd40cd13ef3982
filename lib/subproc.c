/* Children by posix_spawn and pidfd.
 * Called by: xapi/, sm/, tests.  Calls: clock.
 *
 * The table of children is file-scope state: the process has one set of children, and the subreaper loop and
 * every waiting thread must agree who takes which exit status. */
#include "lib/subproc.h"

#include "lib/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

extern char **environ;

struct entry {
    pid_t pid;
    int status;
    bool reaped;        /* by subproc_reap(); status is valid, the pid may belong to another process */
    bool kill_group;    /* whatever is left of its group dies with it */
};

static struct {
    pthread_mutex_t lock;
    struct entry *entries;   /* children started here and not yet waited for */
    size_t n, cap;
    unsigned spawning;       /* children that may exist without an entry: subproc_reap() keeps off */
} children = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct entry *find_entry(pid_t pid)
{
    for (size_t i = 0; i < children.n; i++)
        if (children.entries[i].pid == pid) return &children.entries[i];
    return NULL;
}

static void drop_entry(struct entry *e)
{
    *e = children.entries[--children.n];
}

/* ---- starting ---- */

static void spawning_begin(void)
{
    pthread_mutex_lock(&children.lock);
    children.spawning++;
    pthread_mutex_unlock(&children.lock);
}

/* pid 0: nothing was started. */
static void spawning_end(pid_t pid)
{
    pthread_mutex_lock(&children.lock);
    children.spawning--;
    if (pid) {
        struct entry *stale = find_entry(pid);   /* reaped, not waited for, and the number came round again */
        if (stale) drop_entry(stale);
        if (children.n == children.cap) {
            children.cap = children.cap ? children.cap * 2 : 16;
            children.entries = xrealloc(children.entries, children.cap * sizeof(*children.entries));
        }
        children.entries[children.n++] = (struct entry){ .pid = pid };
    }
    pthread_mutex_unlock(&children.lock);
}

struct plan {
    posix_spawn_file_actions_t actions;
    int *high;          /* duplicates of what is passed, out of the way of the numbers it gets there */
    size_t n_high;
    int error;
};

static void plan_try(struct plan *p, int error)
{
    if (!p->error) p->error = error;
}

static void plan_fd(struct plan *p, int ours, int theirs)
{
    if (p->error) return;
    int high = fcntl(ours, F_DUPFD_CLOEXEC, 64 + (int)p->n_high);
    if (high < 0) {
        p->error = errno;
        return;
    }
    p->high[p->n_high++] = high;
    plan_try(p, posix_spawn_file_actions_adddup2(&p->actions, high, theirs));
}

static void plan_standard_fd(struct plan *p, int ours, int theirs)
{
    if (ours >= 0) plan_fd(p, ours, theirs);
    else
        plan_try(p, posix_spawn_file_actions_addopen(&p->actions, theirs, "/dev/null",
                                                     theirs ? O_WRONLY : O_RDONLY, 0));
}

static bool is_passed(const struct subproc_command *cmd, int theirs)
{
    for (size_t i = 0; i < cmd->n_fds; i++)
        if (cmd->fds[i].theirs == theirs) return true;
    return false;
}

/* 1. Duplicate what is passed to numbers that nothing is moved onto. 2. Put it in place. 3. Close the rest.
 * */
static void plan_files(struct plan *p, const struct subproc_command *cmd, const int standard[3])
{
    int last = 2;

    p->high = xcalloc(cmd->n_fds + 3, sizeof(*p->high));
    for (size_t i = 0; i < cmd->n_fds; i++) {
        assert(cmd->fds[i].theirs > 2 && cmd->fds[i].theirs < 64);
        if (cmd->fds[i].theirs > last) last = cmd->fds[i].theirs;
    }
    for (int fd = 0; fd < 3; fd++) plan_standard_fd(p, standard[fd], fd);
    for (size_t i = 0; i < cmd->n_fds; i++) plan_fd(p, cmd->fds[i].ours, cmd->fds[i].theirs);
    for (int fd = 3; fd < last; fd++)
        if (!is_passed(cmd, fd)) plan_try(p, posix_spawn_file_actions_addclose(&p->actions, fd));
    plan_try(p, posix_spawn_file_actions_addclosefrom_np(&p->actions, last + 1));
    if (cmd->cwd) plan_try(p, posix_spawn_file_actions_addchdir_np(&p->actions, cmd->cwd));
}

static void plan_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(attr);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn_planned(const struct plan *p, const struct subproc_command *cmd, struct subproc *ret_child)
{
    struct subproc child = SUBPROC_INIT;
    posix_spawnattr_t attr;

    plan_attributes(&attr);
    spawning_begin();
    int error = posix_spawnp(&child.pid, cmd->argv[0], &p->actions, &attr, (char *const *)cmd->argv,
                             cmd->env ? (char *const *)cmd->env : environ);
    posix_spawnattr_destroy(&attr);
    if (error) child.pid = 0;
    if (child.pid) {
        subproc_start_time(child.pid, &child.start_time);
        child.pidfd = pidfd_open(child.pid, 0);   /* close-on-exec by itself */
        if (child.pidfd < 0) {                    /* out of descriptors: it would run unattended */
            error = errno;
            kill(-child.pid, SIGKILL);
            waitpid(child.pid, NULL, 0);
            child.pid = 0;
        }
    }
    spawning_end(child.pid);
    if (!error) *ret_child = child;
    return error;
}

int subproc_spawn(const struct subproc_command *cmd, int in_fd, int out_fd, int err_fd,
                  struct subproc *ret_child)
{
    struct plan p = { .error = 0 };

    posix_spawn_file_actions_init(&p.actions);
    plan_files(&p, cmd, (const int[3]){ in_fd, out_fd, err_fd });
    if (!p.error) p.error = spawn_planned(&p, cmd, ret_child);
    for (size_t i = 0; i < p.n_high; i++) close(p.high[i]);
    free(p.high);
    posix_spawn_file_actions_destroy(&p.actions);
    if (!p.error) return 0;
    errno = p.error;
    return -1;
}

/* ---- waiting ---- */

static void release(struct subproc *child)
{
    if (child->pidfd >= 0) close(child->pidfd);
    *child = (struct subproc)SUBPROC_INIT;
}

/* The status of a child whose pidfd says that it has ended. */
static int collect(struct subproc *child, int *ret_status)
{
    int rc = 0, status = 0;

    pthread_mutex_lock(&children.lock);
    struct entry *e = find_entry(child->pid);
    if (e && e->reaped) status = e->status;
    else if (!e || waitpid(child->pid, &status, WNOHANG) != child->pid) rc = -1;
    if (e) drop_entry(e);
    pthread_mutex_unlock(&children.lock);
    release(child);
    if (rc) errno = ECHILD;
    else *ret_status = status;
    return rc;
}

static bool pidfd_ended(int pidfd, int timeout_ms)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };

    return poll(&p, 1, timeout_ms) > 0;
}

int subproc_wait(struct subproc *child, int64_t timeout_ms, int *ret_status)
{
    int64_t deadline = clock_deadline_ns(timeout_ms < 0 ? 0 : timeout_ms);

    while (!pidfd_ended(child->pidfd, clock_poll_ms(deadline, 1000)))
        if (clock_boottime_ns() >= deadline) return 1;
    return collect(child, ret_status);
}

/* last: the group is to die with its leader. */
static int signal_group(const struct subproc *child, int sig, bool last)
{
    int rc = -1;

    pthread_mutex_lock(&children.lock);
    struct entry *e = find_entry(child->pid);
    errno = ESRCH;
    if (e && !e->reaped) rc = kill(-child->pid, sig);   /* unreaped, so the number is still its own */
    if (e && last) e->kill_group = true;
    pthread_mutex_unlock(&children.lock);
    return rc;
}

int subproc_kill(const struct subproc *child, int sig)
{
    return signal_group(child, sig, sig == SIGKILL);
}

void subproc_forget(struct subproc *child)
{
    pthread_mutex_lock(&children.lock);
    struct entry *e = find_entry(child->pid);
    if (e) drop_entry(e);
    pthread_mutex_unlock(&children.lock);
    release(child);
}

bool subproc_reap(void)
{
    siginfo_t info;
    int status;

    pthread_mutex_lock(&children.lock);
    bool again = children.spawning > 0;
    while (!again) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid) break;
        struct entry *e = find_entry(info.si_pid);
        if (e && e->kill_group) kill(-info.si_pid, SIGKILL);
        if (waitpid(info.si_pid, &status, WNOHANG) != info.si_pid) break;
        if (e) e->status = status, e->reaped = true;
    }
    pthread_mutex_unlock(&children.lock);
    return again;
}

/* ---- running to the end ---- */

struct run {
    struct subproc child;
    const struct subproc_limits *limits;
    struct subproc_result *result;
    int out, err;                 /* our ends of the pipes, -1 after end of file */
    int64_t deadline;             /* the next one */
    enum { RUNNING, TERMINATING, KILLING } phase;
    enum subproc_end why;         /* of the ending by us */
};

/* Reads what is there, but never for ever: a child may write faster than we read. -1 when that was the end.
 * */
static int drain(int fd, struct strbuf *to, size_t limit, bool *truncated)
{
    char buf[16384];

    for (int rounds = 0; rounds < 64; rounds++) {
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
        if (n <= 0) return -1;
        size_t left = limit - to->len, keep = (size_t)n < left ? (size_t)n : left;
        strbuf_add(to, buf, keep);
        if (keep < (size_t)n) *truncated = true;
    }
    return 0;
}

static void drain_pipe(int *fd, struct strbuf *to, size_t limit, bool *truncated)
{
    if (*fd < 0 || !drain(*fd, to, limit, truncated)) return;
    close(*fd);
    *fd = -1;
}

static void drain_both(struct run *r)
{
    const struct subproc_limits *l = r->limits;

    drain_pipe(&r->out, &r->result->out, l->out_bytes ? l->out_bytes : 1 << 20, &r->result->out_truncated);
    drain_pipe(&r->err, &r->result->err, l->err_bytes ? l->err_bytes : 1 << 16, &r->result->err_truncated);
}

/* RUNNING -> TERMINATING -> KILLING -> given up. False: give up. */
static bool advance(struct run *r, enum subproc_end why)
{
    if (r->phase == RUNNING) {
        r->why = why;
        r->phase = TERMINATING;
        r->deadline = clock_deadline_ns(r->limits->grace_ms ? r->limits->grace_ms : 2000);
        signal_group(&r->child, SIGTERM, true);
        return true;
    }
    if (r->phase == TERMINATING) {
        r->phase = KILLING;
        r->deadline = clock_deadline_ns(1000);
        subproc_kill(&r->child, SIGKILL);
        return true;
    }
    return false;
}

static bool watch(struct run *r)
{
    const struct subproc_limits *l = r->limits;

    for (;;) {
        struct pollfd fds[3] = {
            { .fd = r->child.pidfd, .events = POLLIN },
            { .fd = r->out, .events = POLLIN },
            { .fd = r->err, .events = POLLIN },
        };
        bool ask = l->cancelled && r->phase == RUNNING;
        poll(fds, ARRAY_SIZE(fds), clock_poll_ms(r->deadline, ask ? 100 : 1000));
        drain_both(r);
        if (fds[0].revents) return true;
        if (ask && l->cancelled(l->cancelled_arg)) advance(r, SUBPROC_CANCELLED);
        else if (clock_boottime_ns() >= r->deadline && !advance(r, SUBPROC_TIMED_OUT)) return false;
    }
}

static void finish(struct run *r, bool ended)
{
    struct subproc_result *res = r->result;
    int status;

    if (r->phase != RUNNING) {
        subproc_kill(&r->child, SIGKILL);   /* what the child leaves behind in its group */
        res->end = r->why;
    }
    if (!ended) {
        res->stuck_pid = r->child.pid;
        res->stuck_start_time = r->child.start_time;
        subproc_forget(&r->child);
        return;
    }
    drain_both(r);
    int rc = collect(&r->child, &status);
    if (r->phase != RUNNING) return;
    if (rc) {
        res->end = SUBPROC_LOST;
    } else if (WIFSIGNALED(status)) {
        res->end = SUBPROC_SIGNALED;
        res->code = WTERMSIG(status);
    } else {
        res->end = SUBPROC_EXITED;
        res->code = WEXITSTATUS(status);
    }
}

/* A memory file with the bytes, at its start: no pipe to feed, no SIGPIPE. */
static int input_file(const void *input, size_t len)
{
    _cleanup_close_ int fd = memfd_create("stdin", MFD_CLOEXEC);

    if (fd < 0) return -1;
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)input + done, len - done, (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        done += (size_t)n;
    }
    return take_fd(fd);
}

int subproc_run(const struct subproc_command *cmd, const void *input, size_t input_len,
                const struct subproc_limits *limits, struct subproc_result *ret_result)
{
    _cleanup_close_ int in = -1, out = -1, err = -1, out_child = -1, err_child = -1;
    struct subproc_result result = { .out = STRBUF_INIT, .err = STRBUF_INIT };
    struct run r = { .limits = limits, .result = &result };
    int pipefd[2];

    assert(limits->timeout_ms > 0);
    if (input_len && (in = input_file(input, input_len)) < 0) return -1;
    if (pipe2(pipefd, O_CLOEXEC)) return -1;
    out = pipefd[0], out_child = pipefd[1];
    if (pipe2(pipefd, O_CLOEXEC)) return -1;
    err = pipefd[0], err_child = pipefd[1];
    fcntl(out, F_SETFL, O_NONBLOCK);
    fcntl(err, F_SETFL, O_NONBLOCK);
    r.deadline = clock_deadline_ns(limits->timeout_ms);
    if (subproc_spawn(cmd, in, out_child, err_child, &r.child)) return -1;
    close(take_fd(out_child));
    close(take_fd(err_child));
    r.out = take_fd(out), r.err = take_fd(err);
    finish(&r, watch(&r));
    close_fdp(&r.out);
    close_fdp(&r.err);
    *ret_result = result;
    return 0;
}

void subproc_result_free(struct subproc_result *r)
{
    strbuf_free(&r->out);
    strbuf_free(&r->err);
}

/* The last line of s that is not empty. */
static const char *last_line(const char *s, size_t len, size_t *ret_len)
{
    while (len && (s[len - 1] == '\n' || s[len - 1] == '\r' || s[len - 1] == ' ')) len--;
    const char *newline = memrchr(s, '\n', len);
    const char *line = newline ? newline + 1 : s;
    *ret_len = (size_t)(s + len - line);
    if (*ret_len > 500) *ret_len = 500;
    return line;
}

bool subproc_said_full(const char *text, size_t len)
{
    static const char *const words[] = { "No space left on device", "Disk quota exceeded" };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (memmem(text, len, words[i], strlen(words[i]))) return true;
    return false;
}

char *subproc_describe(const struct subproc_result *r)
{
    size_t len;
    const char *line = last_line(strbuf_cstr(&r->err), r->err.len, &len);

    switch (r->end) {
    case SUBPROC_EXITED: return xasprintf("exit code %d%s%.*s", r->code, len ? ": " : "", (int)len, line);
    case SUBPROC_SIGNALED:
        return xasprintf("killed by signal %d%s%.*s", r->code, len ? ": " : "", (int)len, line);
    case SUBPROC_TIMED_OUT: return xasprintf(r->stuck_pid ? "timed out and cannot be killed" : "timed out");
    case SUBPROC_CANCELLED: return xasprintf(r->stuck_pid ? "cancelled but cannot be killed" : "cancelled");
    case SUBPROC_LOST: return xstrdup("ended with an unknown status");
    }
    abort();
}

/* ---- processes by identity ---- */

/* State letter and start time from /proc/PID/stat: fields 3 and 22; the name in field 2 may hold anything. */
static int read_stat(pid_t pid, char *ret_state, uint64_t *ret_ticks)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid), *text = NULL;
    unsigned long long ticks;

    if (read_file(path, 65536, &text, NULL)) {
        errno = ESRCH;
        return -1;
    }
    const char *p = strrchr(text, ')');
    if (!p ||
        sscanf(p + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               ret_state, &ticks) != 2) {
        errno = EINVAL;
        return -1;
    }
    *ret_ticks = ticks;
    return 0;
}

int subproc_start_time(pid_t pid, uint64_t *ret_ticks)
{
    char letter;

    return read_stat(pid, &letter, ret_ticks);
}

bool subproc_alive(pid_t pid, uint64_t start_time)
{
    uint64_t ticks;
    char letter;

    return !read_stat(pid, &letter, &ticks) && ticks == start_time && letter != 'Z' && letter != 'X';
}
