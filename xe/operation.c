/* A long operation as the user sees it: a bar that says how far it is, on a terminal only.
 * Called by: client.c, transfer.c.  Calls: terminal, lib. */
#include "xe/operation.h"

#include "lib/clock.h"

#include <stdio.h>

enum {
    BEGIN_MS = 700,                    /* what is over sooner needs no bar */
    STEP_MS = 200,
    BAR_MIN = 8,
    BAR_MAX = 40,
    ROOM_FOR_REST = 36,                /* bytes, bytes a second, time */
};

void operation_init(struct operation *op, struct terminal *term, const char *name)
{
    const char *kind = getenv("TERM");

    *op = (struct operation){ .term = term, .name = name };
    op->bar = isatty(STDERR_FILENO) && kind && *kind && !streq(kind, "dumb");
}

void operation_free(struct operation *op)
{
    operation_end(op);
}

void operation_begin(struct operation *op, const char *session, const char *task, bool shown)
{
    operation_end(op);
    op->shown = shown;
    op->session = xstrdup(session);
    op->task = xstrdup(task);
    op->began_ns = clock_monotonic_ns();
    op->shown_ns = op->began_ns + (BEGIN_MS - STEP_MS) * NS_PER_MS;
    op->done = -1;
    op->bytes = op->total = 0;
    if (!op->cancelled) terminal_listen(op->term, true);
}

void operation_end(struct operation *op)
{
    if (!op->task) return;
    operation_hide(op);
    terminal_listen(op->term, false);
    free(op->session);
    free(op->task);
    op->session = op->task = NULL;
}

void operation_progress(struct operation *op, double done)
{
    op->done = done < 0 ? 0 : done > 1 ? 1 : done;
}

void operation_bytes(struct operation *op, uint64_t bytes, uint64_t total)
{
    op->bytes = bytes;
    op->total = total;
}

void operation_hide(struct operation *op)
{
    terminal_bar(op->term, false);
}

static void put_bytes(struct strbuf *b, double n)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    size_t u = 0;

    while (n >= 1000 && u + 1 < ARRAY_SIZE(units)) {
        n /= 1024;
        u++;
    }
    strbuf_printf(b, u && n < 99.95 ? "%.1f %s" : "%.0f %s", n, units[u]);
}

/* Bytes, bytes a second, time. */
static void put_rest(const struct operation *op, double seconds, struct strbuf *b)
{
    long s = (long)seconds;

    if (op->bytes) {
        put_bytes(b, (double)op->bytes);
        strbuf_str(b, "  ");
        put_bytes(b, seconds > 0 ? (double)op->bytes / seconds : 0);
        strbuf_str(b, "/s  ");
    }
    if (s >= 3600) strbuf_printf(b, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else strbuf_printf(b, "%ld:%02ld", s / 60, s % 60);
}

void operation_line(const struct operation *op, int64_t now_ns, unsigned width, struct strbuf *b)
{
    double done = op->total ? (double)op->bytes / (double)op->total : op->done;
    size_t room = width > 1 ? width - 1 : 0, start = b->len, bar = 0;

    strbuf_str(b, op->name);
    if (done > 1) done = 1;
    if (done > 0) {
        strbuf_printf(b, " %3d%%", (int)(done * 100));
        if (room > b->len - start + BAR_MIN + ROOM_FOR_REST) bar = room - (b->len - start) - ROOM_FOR_REST;
        if (bar > BAR_MAX) bar = BAR_MAX;
    }
    if (bar) {
        strbuf_str(b, " [");
        for (size_t i = 0; i < bar; i++) strbuf_char(b, (double)i < done * (double)bar ? '#' : '-');
        strbuf_char(b, ']');
    }
    strbuf_str(b, "  ");
    put_rest(op, (double)(now_ns - op->began_ns) / (double)NS_PER_S, b);
    if (b->len - start <= room) return;
    /* Too narrow for all: what matters most stands first. */
    b->len = start + room;
    b->ptr[b->len] = '\0';
}

void operation_tick(struct operation *op)
{
    int64_t now = clock_monotonic_ns();
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    if (!op->bar || op->shown || !op->task || op->cancelled || now - op->shown_ns < STEP_MS * NS_PER_MS) return;
    op->shown_ns = now;
    strbuf_char(&b, '\r');
    operation_line(op, now, terminal_width(), &b);
    strbuf_str(&b, "\033[K");
    terminal_bar(op->term, true);
    fwrite(b.ptr, 1, b.len, stderr);
    fflush(stderr);
}
