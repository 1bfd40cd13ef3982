/* The audit log.
 * Called by: dispatch.c, http_auth.  Calls: strbuf, iso8601. */
#define LOG_MODULE "audit"

#include "xapi/rpc/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/log.h"

enum { MAX_TEXT = 200, MAX_LINE = 4000 };

struct audit {
    char *folder, *path;               /* immutable */
    bool reads;                        /* immutable */
    atomic_uchar *seen;                /* by index of the message: a successful read has been written */
    pthread_mutex_t lock;
    int fd;                            /* lock: lock */
    off_t size;                        /* lock: lock */
};

char *audit_path(const char *folder, int i)
{
    return i ? xasprintf("%s/audit.log.%d", folder, i) : xasprintf("%s/audit.log", folder);
}

static int open_file(struct audit *a)
{
    struct stat st;

    a->fd = open(a->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    a->size = a->fd >= 0 && !fstat(a->fd, &st) ? st.st_size : 0;
    return a->fd < 0 ? -1 : 0;
}

int audit_open(const char *folder, bool reads, struct audit **ret_audit, struct xerr *err)
{
    struct audit *a = xcalloc(1, sizeof(*a));

    a->folder = xstrdup(folder);
    a->path = audit_path(folder, 0);
    a->reads = reads;
    a->seen = xcalloc(model.n_methods, sizeof(*a->seen));
    pthread_mutex_init(&a->lock, NULL);
    if (open_file(a)) {
        xerr_internal(err, "cannot open the audit log %s: %s", a->path, strerror(errno));
        audit_close(a);
        return -1;
    }
    *ret_audit = a;
    return 0;
}

void audit_close(struct audit *a)
{
    if (!a) return;
    if (a->fd >= 0) close(a->fd);
    pthread_mutex_destroy(&a->lock);
    free(a->seen);
    free(a->folder);
    free(a->path);
    free(a);
}

/* audit.log.3 -> .4, ..., audit.log -> .1, a fresh file. Under the lock. */
static void rotate(struct audit *a)
{
    for (int i = AUDIT_KEEP; i > 0; i--) {
        _cleanup_free_ char *to = audit_path(a->folder, i), *from = audit_path(a->folder, i - 1);
        if (rename(from, to) && errno != ENOENT) log_warn("cannot rename %s: %s", from, strerror(errno));
    }
    close(a->fd);
    if (open_file(a)) log_error("cannot open the audit log %s: %s", a->path, strerror(errno));
}

static void write_line(struct audit *a, const struct strbuf *line)
{
    pthread_mutex_lock(&a->lock);
    if (a->size > LIMIT_AUDIT_FILE) rotate(a);
    if (a->fd >= 0) {
        ssize_t n = write(a->fd, line->ptr, line->len);
        if (n > 0) a->size += n;
        else log_error("cannot write the audit log %s: %s", a->path, strerror(errno));
    }
    pthread_mutex_unlock(&a->lock);
}

/* Without control characters and the separator, at most max bytes. */
static void add_clean(struct strbuf *b, const char *s, size_t max)
{
    size_t n = 0;

    for (; *s && n < max; s++, n++)
        strbuf_char(b, (unsigned char)*s < 0x20 || *s == 0x7f ? ' ' : *s == '|' ? '/' : *s);
    if (*s) strbuf_str(b, "...");
}

static void add_value(struct strbuf *b, const struct value *v, int depth);

static bool is_secret_key(const char *key)
{
    static const char *const words[] = { "passw", "passphrase", "secret", "token", "chapuser", "private" };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcasestr(key, words[i])) return true;
    return false;
}

static void add_map(struct strbuf *b, const struct value *v, int depth)
{
    strbuf_char(b, '{');
    for (size_t i = 0; i < v->map.n && b->len < MAX_LINE; i++) {
        const char *key = v->map.members[i].key;
        if (i) strbuf_str(b, ", ");
        add_clean(b, key, MAX_TEXT);
        strbuf_char(b, '=');
        /* Whatever the schema calls it, a key that says so is a secret. */
        if (is_secret_key(key))
            strbuf_str(b, "***");
        else
            add_value(b, &v->map.members[i].value, depth + 1);
    }
    strbuf_char(b, '}');
}

static void add_value(struct strbuf *b, const struct value *v, int depth)
{
    char text[64];

    if (b->len > MAX_LINE || depth > 4) {
        strbuf_str(b, "...");
        return;
    }
    switch (v->kind) {
    case VALUE_VOID: return;
    case VALUE_STRING: add_clean(b, v->s, MAX_TEXT); return;
    case VALUE_INT:
    case VALUE_INT32: strbuf_int(b, v->i); return;
    case VALUE_BOOL: strbuf_str(b, v->b ? "true" : "false"); return;
    case VALUE_FLOAT: strbuf_printf(b, "%g", v->d); return;
    case VALUE_DATETIME:
    case VALUE_LOCALTIME: strbuf_str(b, iso8601_text(v->i, text)); return;
    case VALUE_REF: strbuf_str(b, REF_STR(v->ref)); return;
    case VALUE_SET:
        strbuf_char(b, '[');
        for (size_t i = 0; i < v->set.n && b->len < MAX_LINE; i++) {
            if (i) strbuf_str(b, ", ");
            add_value(b, &v->set.items[i], depth + 1);
        }
        strbuf_char(b, ']');
        return;
    case VALUE_MAP: add_map(b, v, depth); return;
    }
}

static void begin_line(struct strbuf *b, const struct call *c, const char *what, bool async, const struct xerr *why)
{
    char now[ISO8601_TEXT];
    bool root = c->is_root && !*c->user_name;

    strbuf_printf(b, "%s|%s|", iso8601_text(clock_wall_seconds(), now), why && why->code ? why->code : "ok");
    add_clean(b, root ? "root" : c->user_name, MAX_TEXT);
    strbuf_char(b, '|');
    add_clean(b, c->peer, MAX_TEXT);
    strbuf_printf(b, "|%s%s|", async ? "Async." : "", what);
}

static bool is_read(const struct method_desc *m)
{
    return m->kind == METHOD_GET || (m->kind >= METHOD_GET_RECORD && m->kind <= METHOD_GET_BY_NAME_LABEL)
           || streq(m->name, "event.from") || streq(m->name, "event.next");
}

static bool is_secret(const struct method_desc *m, unsigned i)
{
    if (m->params[i].secret) return true;
    /* The value of a field that is a secret itself. */
    return m->field && model_field(m->field)->secret && i > 0;
}

void audit_call(struct audit *a, const struct call *c, const struct method_desc *m, bool async, const struct value *args,
                const struct xerr *why)
{
    if (is_read(m) && !a->reads && !(why && why->code)) {
        atomic_uchar *seen = &a->seen[m - model.methods];
        if (atomic_load_explicit(seen, memory_order_relaxed) || atomic_exchange(seen, 1)) return;
    }
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    begin_line(&b, c, m->name, async, why);
    for (unsigned i = 0; args && i < m->n_params; i++) {
        if (i) strbuf_str(&b, ", ");
        if (is_secret(m, i)) strbuf_str(&b, "***");
        else add_value(&b, &args[i], 0);
    }
    strbuf_char(&b, '\n');
    write_line(a, &b);
}

void audit_event(struct audit *a, const struct call *c, const char *what, const char *detail, const struct xerr *why)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    begin_line(&b, c, what, false, why);
    add_clean(&b, detail, MAX_LINE);
    strbuf_char(&b, '\n');
    write_line(a, &b);
}
