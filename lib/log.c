/* Logging to stderr, a file or syslog.
 * Called by: everyone.  Calls: syslog, libc.
 *
 * File-scope state, because a log line may come from anywhere, before and after main's own objects live. The
 * descriptor's number never changes once it is private: a new file is dup'ed over it, so writers need no
 * lock. */
#include "lib/log.h"

#include "lib/clock.h"
#include "lib/strbuf.h"
#include "lib/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>
#include <time.h>

enum { MAX_MODULES = 32, MODULE_NAME = 24, MAX_MESSAGE = 16384 };

struct levels {
    enum log_level fallback;
    size_t n;
    struct {
        char module[MODULE_NAME];
        enum log_level level;
    } of[MAX_MODULES];
};

static struct {
    pthread_rwlock_t lock;       /* levels, path */
    struct levels levels;
    char *path;                  /* of a file target, else NULL */
    _Atomic int fd;
    _Atomic bool to_syslog;
    _Atomic int most_verbose;    /* over all modules: the quick answer */
} state = { .lock = PTHREAD_RWLOCK_INITIALIZER, .levels = { .fallback = LOG_LEVEL_INFO }, .fd = 2,
            .most_verbose = LOG_LEVEL_INFO };

static _Thread_local char call_id[64];

static const char *const level_names[] = { "error", "warn", "info", "debug" };

/* ---- configuration ---- */

static bool parse_level(const char *s, size_t n, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strlen(level_names[i]) != n || memcmp(level_names[i], s, n) != 0) continue;
        *ret_level = (enum log_level)i;
        return true;
    }
    return false;
}

static bool parse_one(const char *s, size_t n, struct levels *levels)
{
    const char *equals = memchr(s, '=', n);

    if (!equals) return parse_level(s, n, &levels->fallback);
    size_t name = (size_t)(equals - s);
    if (!name || name >= MODULE_NAME || levels->n == MAX_MODULES) return false;
    memcpy(levels->of[levels->n].module, s, name);
    return parse_level(equals + 1, n - name - 1, &levels->of[levels->n++].level);
}

static bool parse_levels(const char *s, struct levels *ret_levels)
{
    struct levels levels = { .fallback = LOG_LEVEL_INFO };

    for (;;) {
        size_t n = strcspn(s, ",");
        if (!parse_one(s, n, &levels)) return false;
        if (!s[n]) break;
        s += n + 1;
    }
    *ret_levels = levels;
    return true;
}

/* Makes fresh the log's descriptor and consumes it. */
static void adopt_fd(int fresh)
{
    int fd = atomic_load(&state.fd);

    if (fd == 2) {
        atomic_store(&state.fd, fresh);
    } else {
        dup3(fresh, fd, O_CLOEXEC);
        close(fresh);
    }
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

static void set_levels(const struct levels *levels)
{
    enum log_level most = levels->fallback;

    for (size_t i = 0; i < levels->n; i++)
        if (levels->of[i].level > most) most = levels->of[i].level;
    state.levels = *levels;
    atomic_store(&state.most_verbose, (int)most);
}

int log_configure(const char *target, const char *levels_text)
{
    struct levels levels;
    bool file = has_prefix(target, "file:"), to_syslog = streq(target, "syslog");
    int fresh = -1;

    if (!parse_levels(levels_text, &levels) || (!file && !to_syslog && !streq(target, "stderr"))) {
        errno = EINVAL;
        return -1;
    }
    if (!to_syslog) {
        fresh = file ? open_file(target + 5) : fcntl(2, F_DUPFD_CLOEXEC, 3);
        if (fresh < 0) return -1;
    }
    pthread_rwlock_wrlock(&state.lock);
    set_levels(&levels);
    free(state.path);
    state.path = file ? xstrdup(target + 5) : NULL;
    if (to_syslog && !atomic_load(&state.to_syslog)) openlog(NULL, LOG_PID | LOG_NDELAY, LOG_DAEMON);
    if (fresh >= 0) adopt_fd(fresh);
    atomic_store(&state.to_syslog, to_syslog);
    pthread_rwlock_unlock(&state.lock);
    return 0;
}

void log_reopen(void)
{
    pthread_rwlock_wrlock(&state.lock);
    int fresh = state.path ? open_file(state.path) : -1;
    if (fresh >= 0) adopt_fd(fresh);
    pthread_rwlock_unlock(&state.lock);
}

bool log_enabled(const char *module, enum log_level level)
{
    if ((int)level > atomic_load_explicit(&state.most_verbose, memory_order_relaxed)) return false;
    pthread_rwlock_rdlock(&state.lock);
    enum log_level limit = state.levels.fallback;
    for (size_t i = 0; i < state.levels.n; i++)
        if (streq(state.levels.of[i].module, module)) limit = state.levels.of[i].level;
    pthread_rwlock_unlock(&state.lock);
    return level <= limit;
}

void log_set_call(const char *id)
{
    size_t n = strnlen(id, sizeof(call_id) - 1);

    memcpy(call_id, id, n);
    call_id[n] = '\0';
}

const char *log_call(void) { return call_id; }

/* ---- writing ---- */

static void add_escape(unsigned char c, struct strbuf *line)
{
    if (c == '\n') strbuf_str(line, "\\n");
    else if (c == '\r') strbuf_str(line, "\\r");
    else if (c == '\t') strbuf_str(line, "\\t");
    else strbuf_printf(line, "\\x%02x", c);
}

/* The message on one line: control characters, C1 ones too, and malformed UTF-8 as escapes. */
static void add_escaped(const char *s, size_t n, struct strbuf *line)
{
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        unsigned len = utf8_next(s + i, n - i, &cp);
        bool control = !len || cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
        if (!control) strbuf_add(line, s + i, len);
        for (unsigned at = 0; control && at < (len ? len : 1); at++)
            add_escape((unsigned char)s[i + at], line);
        i += len ? len : 1;
    }
}

static void add_time(struct strbuf *line)
{
    int64_t us = clock_wall_us();
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    char text[32];

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    strbuf_printf(line, "%s.%03dZ ", text, (int)(us / 1000 % 1000));
}

static void write_line(const char *line, size_t n)
{
    int fd = atomic_load(&state.fd);

    while (write(fd, line, n) < 0 && errno == EINTR) continue;   /* a full disk loses lines, not calls */
}

void log_write(const char *module, enum log_level level, const char *fmt, ...)
{
    static const int priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
    _cleanup_strbuf_ struct strbuf message = STRBUF_INIT, line = STRBUF_INIT;
    int saved = errno;
    va_list ap;

    if (!log_enabled(module, level)) return;
    va_start(ap, fmt);
    strbuf_vprintf(&message, fmt, ap);
    va_end(ap);

    bool to_syslog = atomic_load(&state.to_syslog);
    if (!to_syslog) {
        add_time(&line);
        strbuf_printf(&line, "%-5s ", level_names[level]);
    }
    strbuf_printf(&line, "%s: ", module);
    if (*call_id) {
        strbuf_char(&line, '[');
        add_escaped(call_id, strlen(call_id), &line);
        strbuf_str(&line, "] ");
    }
    add_escaped(strbuf_cstr(&message), message.len < MAX_MESSAGE ? message.len : MAX_MESSAGE, &line);
    if (message.len > MAX_MESSAGE) strbuf_printf(&line, "... (%zu bytes)", message.len);
    if (to_syslog) {
        syslog(priorities[level], "%s", line.ptr);
    } else {
        strbuf_char(&line, '\n');
        write_line(line.ptr, line.len);
    }
    errno = saved;
}
