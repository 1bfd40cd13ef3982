/* Armed fault points. File-scope state, because a point must cost one branch wherever it stands.
 * Called by: db/, xapi/, sm/.  Calls: libc. */
#include "lib/fault.h"

#include "lib/num.h"
#include "lib/strbuf.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

enum action { ACTION_ERRNO, ACTION_KILL, ACTION_ABORT, ACTION_SLEEP };
enum { MAX_POINTS = 64, POINT_NAME = 48 };

struct point {
    char name[POINT_NAME];   /* "" = free */
    enum action action;
    int64_t argument;        /* errno, milliseconds */
    int64_t nth;             /* 0 = every time */
    bool onwards;
    int64_t reached;
};

bool fault_armed;
_Thread_local bool fault_step_aside;

static struct {
    pthread_mutex_t lock;    /* everything below */
    int fd;
    off_t offset;            /* of a seekable descriptor: ours, because the test's is shared with us */
    bool seekable;
    struct strbuf text;      /* read but not yet a whole line */
    struct point points[MAX_POINTS];
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

static const struct { const char *name; int number; } errnos[] = {
    { "EIO", EIO }, { "ENOSPC", ENOSPC }, { "ENOMEM", ENOMEM }, { "EPERM", EPERM }, { "EACCES", EACCES },
    { "EAGAIN", EAGAIN }, { "EBUSY", EBUSY }, { "EEXIST", EEXIST }, { "ENOENT", ENOENT },
    { "EINVAL", EINVAL },
    { "EPIPE", EPIPE }, { "ECONNRESET", ECONNRESET }, { "ECONNREFUSED", ECONNREFUSED },
    { "ETIMEDOUT", ETIMEDOUT },
    { "EHOSTUNREACH", EHOSTUNREACH }, { "ENODEV", ENODEV }, { "ENXIO", ENXIO }, { "EROFS", EROFS },
    { "EMFILE", EMFILE }, { "EDQUOT", EDQUOT }, { "ESTALE", ESTALE }, { "ENOTSUP", ENOTSUP },
    { "EINTR", EINTR },
    { "ECANCELED", ECANCELED }, { "EFBIG", EFBIG }, { "ESRCH", ESRCH },
};

static bool parse_action(const char *s, struct point *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(errnos); i++) {
        if (!streq(errnos[i].name, s)) continue;
        p->action = ACTION_ERRNO;
        p->argument = errnos[i].number;
        return true;
    }
    if (streq(s, "kill")) {
        p->action = ACTION_KILL;
        return true;
    }
    if (streq(s, "abort")) {
        p->action = ACTION_ABORT;
        return true;
    }
    p->action = ACTION_SLEEP;
    return has_prefix(s, "sleep:") && num_parse_int(s + 6, &p->argument) && p->argument >= 0;
}

static bool parse_nth(char *s, struct point *p)
{
    size_t n = strlen(s);

    p->onwards = n && s[n - 1] == '+';
    if (p->onwards) s[n - 1] = '\0';
    return num_parse_int(s, &p->nth) && p->nth > 0;
}

static struct point *find(const char *name)
{
    for (size_t i = 0; i < MAX_POINTS; i++)
        if (streq(state.points[i].name, name)) return &state.points[i];
    return NULL;
}

/* A mistake in a test's line must not pass for a fault that was injected. */
static void refuse_line(const char *line)
{
    fprintf(stderr, "fault: cannot understand \"%s\"\n", line);
    abort();
}

/* Cuts the next word off *rest; NULL when there is none. */
static char *next_word(char **rest)
{
    char *word = *rest + strspn(*rest, " \t\r"), *end = word + strcspn(word, " \t\r");

    *rest = end + (*end != '\0');
    *end = '\0';
    return *word ? word : NULL;
}

static void take_line(const char *line)
{
    _cleanup_free_ char *copy = xstrdup(line);
    char *rest = copy, *name = next_word(&rest), *action = next_word(&rest), *nth = next_word(&rest);
    struct point p = { .nth = 0 };

    if (!name) return;
    struct point *slot = find(name);
    if (action && streq(action, "off")) {
        if (slot) *slot = p;
        return;
    }
    if (!slot) slot = find("");
    if (!slot || !action || strlen(name) >= sizeof(p.name) || !parse_action(action, &p) ||
        (nth && !parse_nth(nth, &p)))
        refuse_line(line);
    memcpy(p.name, name, strlen(name) + 1);
    *slot = p;
}

static void read_lines(void)
{
    char buf[1024];
    ssize_t n;

    while ((n = state.seekable ? pread(state.fd, buf, sizeof(buf), state.offset)
                               : read(state.fd, buf, sizeof(buf))) > 0) {
        state.offset += n;
        strbuf_add(&state.text, buf, (size_t)n);
    }
    char *line = state.text.ptr, *newline;
    if (!line) return;
    for (; (newline = strchr(line, '\n')); line = newline + 1) {
        *newline = '\0';
        take_line(line);
    }
    state.text.len = strlen(line);
    memmove(state.text.ptr, line, state.text.len + 1);
}

int fault_start(bool allowed, const char **ret_error)
{
    const char *text = getenv("XAPI_FAULT_FD");
    int64_t fd = -1;

    if (!text) return 0;
    bool number = num_parse_int(text, &fd) && fd > 2 && fd < 1 << 20;
    unsetenv("XAPI_FAULT_FD");
    if (!allowed) return *ret_error = "XAPI_FAULT_FD is set, but fault injection was not allowed", -1;
    int flags = number ? fcntl((int)fd, F_GETFL) : -1;
    if (flags < 0) return *ret_error = "XAPI_FAULT_FD does not name an open descriptor", -1;
    fcntl((int)fd, F_SETFL, flags | O_NONBLOCK);
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    pthread_mutex_lock(&state.lock);
    state.fd = (int)fd;
    state.seekable = lseek((int)fd, 0, SEEK_CUR) >= 0;
    read_lines();
    pthread_mutex_unlock(&state.lock);
    fault_armed = true;
    return 0;
}

int fault_check(const char *name)
{
    struct point hit = { .nth = 0 };

    pthread_mutex_lock(&state.lock);
    read_lines();
    struct point *p = find(name);
    if (p) {
        p->reached++;
        if (!p->nth || p->reached == p->nth || (p->onwards && p->reached > p->nth)) hit = *p;
    }
    pthread_mutex_unlock(&state.lock);
    if (!*hit.name) return 0;
    switch (hit.action) {
    case ACTION_ERRNO: return (int)hit.argument;
    case ACTION_KILL: raise(SIGKILL); return 0;
    case ACTION_ABORT: abort();
    case ACTION_SLEEP:;
        struct timespec t = { hit.argument / 1000, hit.argument % 1000 * 1000000 };
        while (nanosleep(&t, &t) && errno == EINTR) continue;
        return 0;
    }
    abort();
}
