/* The client side of the thin CLI protocol: obeys the server until it says exit.
 * Called by: xe.c.  Calls: conn, thin, operation, transfer, console. */
#include "xe/client_inside.h"

#include "lib/catalog.h"
#include "lib/clock.h"
#include "lib/strbuf.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

enum {
    HEARTBEAT_S = 300,                 /* the protocol's own pace */
    TICK_MS = 200,                     /* how often the bar and the server's messages are looked at meanwhile */
    INTERRUPTED = 130,                 /* what shells call a command that Ctrl-C ended */
};

static int run_message(struct client *cl, struct thin_msg *msg);

void client_complain(const struct client *cl, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, catalog_text(cl->target.words, fmt), ap);
    va_end(ap);
}

void client_debug(const struct client *cl, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;
    va_list ap;

    if (!cl->cfg->debug) return;
    va_start(ap, fmt);
    strbuf_vprintf(&line, fmt, ap);
    va_end(ap);
    cl->cfg->debug(strbuf_cstr(&line));
}

/* ---- messages ---------------------------------------------------------------------------------------- */

int client_say(struct client *cl, struct strbuf *b)
{
    int rc = conn_write(cl->conn, strbuf_cstr(b), b->len);

    strbuf_clear(b);
    return rc;
}

void client_respond(struct client *cl, enum thin_tag tag)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    thin_put_plain(&b, THIN_RESPONSE, tag);
    (void)client_say(cl, &b);       /* a server that has gone is noticed by the next read */
}

/* Output must not wait behind a read that blocks. Broken pipe: say so once, end with 1. */
int client_flush(const struct client *cl)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    client_complain(cl, "Error: cannot write the output: %s\n", strerror(errno));
    return -1;
}

/* Waits for the server, or until nobody reads our output any more: then -1. */
static int wait_while_read(struct client *cl)
{
    struct pollfd p[2] = { { .fd = conn_fd(cl->conn), .events = POLLIN }, { .fd = STDOUT_FILENO } };

    if (!cl->cfg->watching) return 0;
    while (!conn_pending(cl->conn)) {
        if (poll(p, 2, -1) < 0 && errno != EINTR) return 0;
        if (p[1].revents & POLLERR) {
            client_complain(cl, "Error: cannot write the output: %s\n", strerror(EPIPE));
            return -1;
        }
        if (p[0].revents) return 0;
    }
    return 0;
}

static void make_room(struct client *cl, size_t n)
{
    if (cl->at && cl->len - cl->at < n) {
        memmove(cl->in, cl->in + cl->at, cl->len - cl->at);
        cl->len -= cl->at;
        cl->at = 0;
    }
    if (cl->cap < n + CLIENT_BLOCK && cl->len - cl->at < n) {
        cl->cap = n + CLIENT_BLOCK;
        cl->in = xrealloc(cl->in, cl->cap);
    }
}

/* At least n bytes in the buffer. 1, 0 when the server ended, -1 + errno. While it waits messages may be read that only say
 * how far something is (hear_progress). */
static int fill(struct client *cl, size_t n)
{
    for (;;) {
        ssize_t got;

        make_room(cl, n);
        if (cl->len - cl->at >= n) return 1;
        if (client_flush(cl) < 0 || wait_while_read(cl) < 0) return -2;
        got = conn_read_now(cl->conn, cl->in + cl->len, cl->cap - cl->len);
        if (got > 0) cl->len += (size_t)got;
        if (got > 0) continue;
        if (got == 0 || errno != EAGAIN) return (int)got;
        if (conn_wait(cl->conn, POLLIN, -1) < 0) return -1;
    }
}

/* The whole next message, or what is wrong on stderr and -1. */
static int next_message(struct client *cl, struct arena *a, struct thin_msg *ret_msg)
{
    int rc = fill(cl, 4);
    int32_t n = 0;

    if (rc == 1) {
        n = thin_int(cl->in + cl->at);
        if (n < 8 || n > CLIENT_MAX_MESSAGE) {
            client_complain(cl, "Error: the server does not keep to the protocol (message of %d bytes).\n", n);
            return -1;
        }
        cl->in_message = true;
        rc = fill(cl, 4 + (size_t)n);
        cl->in_message = false;
    }
    if (rc == -2) return -1;
    if (rc != 1) {
        client_complain(cl, "Lost connection to the server.\n");
        return -1;
    }
    if (thin_decode(cl->in + cl->at + 4, (size_t)n, a, ret_msg) < 0) {
        client_complain(cl, "Unexpected message from server.\n");
        return -1;
    }
    cl->at += 4 + (size_t)n;
    client_debug(cl, "server: kind %d tag %d \"%s\" \"%s\" %d", ret_msg->kind, ret_msg->tag, ret_msg->text,
          ret_msg->url, ret_msg->number);
    return 0;
}

/* True when the next message is such a command and has arrived, in part at least. */
static bool message_waiting(struct client *cl, enum thin_tag tag)
{
    struct pollfd p = { .fd = conn_fd(cl->conn), .events = POLLIN };

    if (cl->len - cl->at < 12) {
        if (!conn_pending(cl->conn) && poll(&p, 1, 0) <= 0) return false;
        if (fill(cl, 12) != 1) return false;
    }
    return thin_int(cl->in + cl->at + 4) == THIN_COMMAND && thin_int(cl->in + cl->at + 8) == (int32_t)tag;
}

/* ---- Ctrl-C ------------------------------------------------------------------------------------------ */

/* A reference, which goes into a request as it is. */
static bool plain(const char *s)
{
    return *s && s[strspn(s, "0123456789abcdefABCDEFghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ:-_")] == '\0';
}

/* Tells the server to cancel the task that is under way, over a connection of its own. A call as small as this is written
 * and read without the library of XML-RPC, which xe would have to load. */
static void cancel_task(struct client *cl)
{
    _cleanup_free_ char *body = xasprintf(
        "<?xml version=\"1.0\"?><methodCall><methodName>task.cancel</methodName><params><param><value><string>%s"
        "</string></value></param><param><value><string>%s</string></value></param></params></methodCall>",
        cl->op.session, cl->op.task);
    _cleanup_free_ char *headers =
        xasprintf("Content-Type: text/xml\r\nContent-Length: %zu\r\n", strlen(body));
    _cleanup_strbuf_ struct strbuf answer = STRBUF_INIT;
    struct conn_target target = cl->cfg->target;       /* nobody is heard meanwhile: another Ctrl-C ends xe */
    struct web web = { .conn = NULL };
    char piece[4096];
    ssize_t got = 0;

    if (web_begin(&target, &web, "POST", "/", headers, body, cl->cfg->debug) == 0)
        while (answer.len < CLIENT_BLOCK && (got = web_read(&web, piece, sizeof piece)) > 0)
            strbuf_add(&answer, piece, (size_t)got);
    web_close(&web);
    /* A task that is gone has ended. */
    if (strstr(strbuf_cstr(&answer), ">Success<") || strstr(strbuf_cstr(&answer), ">HANDLE_INVALID<")) return;
    client_complain(cl, "The task could not be cancelled and goes on. Ctrl-C leaves it to itself.\n");
}

/* Says what the server says, when that is only about how far it is. False: it says something else, or nothing more. */
static bool hear_progress(struct client *cl)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct thin_msg msg;

    if (!message_waiting(cl, THIN_DEBUG)) return false;
    return next_message(cl, a, &msg) == 0 && run_message(cl, &msg) == 0;
}

/* Asks the user. The question is void when the operation ends meanwhile. */
static bool wants_to_cancel(struct client *cl)
{
    char answer[256] = "";
    ssize_t n = 0;

    operation_hide(&cl->op);
    client_complain(cl, "\nCancel the task? [y/N] ");
    for (;;) {
        struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
                               { .fd = cl->transferring || cl->in_message ? -1 : conn_fd(cl->conn),
                                 .events = POLLIN } };

        if (poll(p, 2, -1) < 0 && errno != EINTR) return false;
        if (p[1].revents && !hear_progress(cl)) {
            fputc('\n', stderr);
            return false;
        }
        if (!p[0].revents) continue;
        n = read(STDIN_FILENO, answer, sizeof answer - 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        break;
    }
    return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}

/* A Ctrl-C that is heard: something is under way that can be cancelled. */
static void hear_interrupt(struct client *cl)
{
    struct terminal *term = cl->cfg->term;
    bool ask = terminal_can_ask(), sure;

    if (!terminal_interrupted(term) || (!cl->op.task && !cl->soon)) return;
    term->asking = ask;
    sure = !ask || wants_to_cancel(cl);
    term->asking = false;
    terminal_listen(term, false);
    terminal_listen(term, !sure && (cl->op.task || cl->soon));
    if (!sure) return;
    cl->op.cancelled = true;
    if (ask) client_complain(cl, "Cancelling. Ctrl-C again leaves at once.\n");
    if (cl->op.task) cancel_task(cl);          /* else as soon as it has a name */
}

/* ---- while something is under way -------------------------------------------------------------------- */

static void set_pace(struct client *cl)
{
    cl->waker.every_ms = cl->op.task || cl->transferring ? TICK_MS : -1;
}

/* What a server says in a transfer it says for the user to read now; and it wants to know that we live. */
static void hear_server(struct client *cl)
{
    int64_t now = clock_monotonic_ns();

    if (now >= cl->next_heartbeat_ns) {
        client_respond(cl, THIN_WAIT);
        cl->next_heartbeat_ns = now + HEARTBEAT_S * NS_PER_S;
    }
    while (message_waiting(cl, THIN_PRINT) || message_waiting(cl, THIN_PRINT_STDERR) ||
           message_waiting(cl, THIN_DEBUG)) {
        _cleanup_arena_ struct arena *a = arena_new();
        struct thin_msg msg;

        if (next_message(cl, a, &msg) < 0 || run_message(cl, &msg) < 0) return;
    }
}

int client_tick(struct client *cl)
{
    int64_t now = clock_monotonic_ns();

    cl->ticking = true;
    hear_interrupt(cl);
    if (now >= cl->next_tick_ns) {
        cl->next_tick_ns = now + TICK_MS * NS_PER_MS;
        operation_tick(&cl->op);
        if (cl->transferring) hear_server(cl);
    }
    cl->ticking = false;
    return cl->op.cancelled && cl->transferring ? -1 : 0;
}

/* A connection waits. */
static int woken(void *arg)
{
    struct client *cl = arg;

    if (!cl->ticking) return client_tick(cl);
    hear_interrupt(cl);                /* in mid-message: the tick that reads it goes on */
    return 0;
}

/* A query's value, malloc'd; NULL when there is none. */
static char *query_value(const char *url, const char *key)
{
    const char *p = strchr(url, '?');
    size_t n = strlen(key);

    for (; p; p = strchr(p, '&')) {
        p++;
        if (strncmp(p, key, n) == 0 && p[n] == '=') return xstrndup(p + n + 1, strcspn(p + n + 1, "&"));
    }
    return NULL;
}

/* Ctrl-C is for a task that will have a name in a moment. */
static void expect_task(struct client *cl)
{
    cl->soon = true;
    if (!cl->op.cancelled) terminal_listen(cl->cfg->term, true);
}

static void begin_task(struct client *cl, const char *session, const char *task, bool shown)
{
    if (!plain(session) || !plain(task)) return;
    cl->soon = false;
    operation_begin(&cl->op, session, task, shown);
    if (cl->op.cancelled) cancel_task(cl);     /* somebody who cancels means all that is still to come */
    set_pace(cl);
}

static void end_task(struct client *cl)
{
    cl->soon = false;
    operation_end(&cl->op);
    terminal_listen(cl->cfg->term, false);
    set_pace(cl);
}

void client_transfer_begin(struct client *cl, const char *url)
{
    _cleanup_free_ char *session = url && !cl->op.task ? query_value(url, "session_id") : NULL;
    _cleanup_free_ char *task = session ? query_value(url, "task_id") : NULL;

    cl->transferring = true;
    cl->next_heartbeat_ns = clock_monotonic_ns() + HEARTBEAT_S * NS_PER_S;
    cl->next_tick_ns = 0;
    cl->own_task = task;
    if (task) begin_task(cl, session, task, false);
    set_pace(cl);
}

void client_transfer_end(struct client *cl)
{
    cl->transferring = false;
    if (cl->own_task) end_task(cl);
    set_pace(cl);
}

/* "SESSION TASK" */
static void begin_named(struct client *cl, const char *names, bool shown)
{
    const char *space = strchr(names, ' ');
    _cleanup_free_ char *session = space ? xstrndup(names, (size_t)(space - names)) : NULL;

    if (session) begin_task(cl, session, space + 1, shown);
}

/* What a server of ours tells a client that asked for it ("X-Xe-Wants: task", see serve.h). */
static bool run_task_message(struct client *cl, const char *text)
{
    static const char begin[] = "xe-task begin ", shown[] = "xe-task shown ", progress[] = "xe-task progress ";

    if (streq(text, "xe-task soon")) {
        expect_task(cl);
    } else if (has_prefix(text, begin)) {
        begin_named(cl, text + sizeof begin - 1, false);
    } else if (has_prefix(text, shown)) {
        begin_named(cl, text + sizeof shown - 1, true);
    } else if (has_prefix(text, progress)) {
        operation_progress(&cl->op, strtod(text + sizeof progress - 1, NULL));
    } else if (streq(text, "xe-task end")) {
        end_task(cl);
    } else {
        return false;
    }
    return true;
}

/* ---- file names -------------------------------------------------------------------------------------- */

char *client_absolute(const char *path)
{
    _cleanup_strbuf_ struct strbuf whole = STRBUF_INIT;
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    char *rest, *part;

    if (path[0] != '/') {
        _cleanup_free_ char *cwd = getcwd(NULL, 0);

        strbuf_str(&whole, cwd ? cwd : "");
        strbuf_char(&whole, '/');
    }
    strbuf_str(&whole, path);
    rest = whole.ptr;
    while ((part = strsep(&rest, "/"))) {
        if (!*part || streq(part, ".")) continue;
        if (!streq(part, "..")) {
            strbuf_char(&out, '/');
            strbuf_str(&out, part);
            continue;
        }
        while (out.len && out.ptr[out.len - 1] != '/') out.len--;
        if (out.len) out.len--;
        if (out.ptr) out.ptr[out.len] = '\0';
    }
    if (!out.len) strbuf_char(&out, '/');
    return strbuf_take(&out);
}

/* May the server touch this file? Only what stood on the command line. When writing also such a name with
 * something appended (several exports at once), and logs-... in the current directory. */
bool client_permitted(const struct client *cl, const char *file, bool writing)
{
    _cleanup_free_ char *path = client_absolute(file);
    _cleanup_free_ char *logs = client_absolute("logs-");

    for (size_t i = 0; i < cl->cfg->n_files; i++) {
        size_t n = strlen(cl->cfg->files[i]);

        if (streq(path, cl->cfg->files[i])) return true;
        if (writing && n > 1 && has_prefix(path, cl->cfg->files[i]) && !strchr(path + n, '/')) return true;
    }
    if (writing && has_prefix(path, logs) && !strchr(path + strlen(logs), '/')) return true;
    client_complain(cl,
            "Error: the server asked for the file %s, which was not named on the command line; refused.\n",
            file);
    return false;
}

/* ---- what the server asks for ------------------------------------------------------------------------ */

static int run_load(struct client *cl, const struct thin_msg *msg)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_free_ char *text = NULL;
    size_t n;

    if (!client_permitted(cl, msg->text, false)) return -1;
    if (read_file(msg->text, CLIENT_MAX_MESSAGE, &text, &n) < 0) {
        client_complain(cl, "Error: %s: %s\n", msg->text, strerror(errno));
        client_respond(cl, THIN_FAILED);
        return 0;
    }
    thin_put_plain(&b, THIN_RESPONSE, THIN_OK);
    thin_put_number(&b, THIN_BLOB, THIN_CHUNK, (int32_t)n);
    strbuf_add(&b, text, n);
    thin_put_plain(&b, THIN_BLOB, THIN_END);
    return client_say(cl, &b);
}

static int run_prompt(struct client *cl)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_free_ char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    if (client_flush(cl) < 0) return -1;
    cl->cfg->term->asking = true;
    n = getline(&line, &cap, stdin);
    cl->cfg->term->asking = false;
    if (n > 0 && line[n - 1] == '\n') n--;
    if (n < 0) n = 0;                  /* end of input: an empty answer, which is no yes */
    thin_put_number(&b, THIN_BLOB, THIN_CHUNK, (int32_t)n);
    if (n) strbuf_add(&b, line, (size_t)n);
    thin_put_plain(&b, THIN_BLOB, THIN_END);
    return client_say(cl, &b);
}

/* One command of the server. -1 ends xe with 1; what went wrong has been said. */
static int run_command(struct client *cl, struct thin_msg *msg)
{
    switch (msg->tag) {
    case THIN_PRINT:
        operation_hide(&cl->op);
        fwrite(msg->text, 1, msg->text_len, stdout);
        putchar('\n');
        return 0;
    case THIN_PRINT_STDERR:
        operation_hide(&cl->op);
        if (client_flush(cl) < 0) return -1;
        fwrite(msg->text, 1, msg->text_len, stderr);
        return 0;
    case THIN_DEBUG:
        if (!run_task_message(cl, msg->text)) client_debug(cl, "debug from server: %s", msg->text);
        return 0;
    case THIN_ERROR:
        operation_hide(&cl->op);
        if (client_flush(cl) < 0) return -1;
        client_complain(cl, "Error code: %s\nError parameters: ", msg->text);
        for (size_t i = 0; i < msg->n_params; i++) fprintf(stderr, "%s%s", i ? ", " : "", msg->params[i]);
        fputc('\n', stderr);
        return 0;
    case THIN_EXIT:
        cl->exit_code = msg->number;
        return 0;
    case THIN_LOAD:
        return run_load(cl, msg);
    case THIN_PROMPT:
        return run_prompt(cl);
    case THIN_HTTP_GET:
        return client_get(cl, msg);
    case THIN_HTTP_PUT:
        return client_put(cl, msg);
    case THIN_HTTP_CONNECT:
        return client_console(cl, msg);
    case THIN_OK:
    case THIN_FAILED:
    case THIN_WAIT:
    case THIN_CHUNK:
    case THIN_END:
        break;
    }
    return -1;
}

/* What became of the last download. */
static void confirm(struct client *cl, bool whole)
{
    if (!cl->unconfirmed) return;
    if (!whole) unlink(cl->unconfirmed);
    terminal_writing(cl->cfg->term, NULL);
    free(cl->unconfirmed);
    cl->unconfirmed = NULL;
}

/* A server that prints a result or asks for the next thing is content; complaints come before an exit status. */
static void confirm_by(struct client *cl, const struct thin_msg *msg)
{
    if (msg->tag == THIN_EXIT)
        confirm(cl, msg->number == 0);
    else if (msg->tag != THIN_PRINT_STDERR && msg->tag != THIN_ERROR && msg->tag != THIN_DEBUG)
        confirm(cl, true);
}

static int run_message(struct client *cl, struct thin_msg *msg)
{
    if (msg->kind != THIN_COMMAND) {
        client_complain(cl, "Unexpected message from server.\n");
        return -1;
    }
    confirm_by(cl, msg);
    return run_command(cl, msg);
}

/* ---- the conversation -------------------------------------------------------------------------------- */

static int post(struct client *cl)
{
    _cleanup_strbuf_ struct strbuf body = STRBUF_INIT;
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < cl->cfg->n_args; i++) {
        if (i) strbuf_char(&body, '\n');
        strbuf_str(&body, cl->cfg->args[i]);
    }
    strbuf_printf(&b, "POST /cli HTTP/1.0\r\nuser-agent: xe-cli/Unix/%d.%d\r\n", THIN_MAJOR, THIN_MINOR);
    strbuf_printf(&b, "x-xe-wants: task%s\r\n", cl->cfg->advice ? ", advice" : "");
    if (cl->cfg->language) strbuf_printf(&b, "accept-language: %s\r\n", cl->cfg->language);
    if (cl->cfg->traceparent) strbuf_printf(&b, "traceparent: %s\r\n", cl->cfg->traceparent);
    strbuf_printf(&b, "content-length: %zu\r\n\r\n", body.len);
    strbuf_add(&b, strbuf_cstr(&body), body.len);
    return conn_write(cl->conn, b.ptr, b.len);
}

static int exchange_hello(struct client *cl)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    int rc = fill(cl, THIN_HELLO);

    if (rc != 1) {
        if (cl->len >= 4 && strncasecmp(cl->in, "HTTP", 4) == 0)
            client_complain(cl, "Server internal error.\n");
        else
            client_complain(cl, "Unable to contact server. Please check server and port settings.\n");
        return -1;
    }
    if (strncasecmp(cl->in, "HTTP", 4) == 0) {
        client_complain(cl, "Server internal error: %.*s\n", (int)strcspn(cl->in, "\r\n"), cl->in);
        return -1;
    }
    if (!thin_get_hello(cl->in)) {
        client_complain(cl, "Protocol version mismatch.\n"
                        "Try specifying a server name and port on the command-line.\n");
        return -1;
    }
    cl->at += THIN_HELLO;
    thin_put_hello(&b);
    return client_say(cl, &b);
}

static int converse(struct client *cl)
{
    _cleanup_arena_ struct arena *a = arena_new();

    if (post(cl) < 0) {
        client_complain(cl, "Unable to contact server: %s\n", strerror(errno));
        return -1;
    }
    if (exchange_hello(cl) < 0) return -1;
    while (cl->exit_code < 0) {
        struct thin_msg msg;

        if (next_message(cl, a, &msg) < 0 || run_message(cl, &msg) < 0) return -1;
        arena_reset(a);
    }
    return 0;
}

int client_run(const struct client_config *cfg)
{
    struct client cl = {
        .cfg = cfg, .exit_code = -1, .target = cfg->target,
        .waker = { .fd = cfg->term->wake[0], .every_ms = -1, .woken = woken, .arg = &cl },
    };
    _cleanup_free_ char *why = NULL;
    int rc = 1;

    cl.target.waker = &cl.waker;
    if (conn_open_commands(&cl.target, &cl.conn, &why) < 0) {
        client_complain(&cl, "Error: %s\n", why);
        return 1;
    }
    operation_init(&cl.op, cfg->term, cfg->n_args ? cfg->args[0] : "");
    if (converse(&cl) == 0) rc = cl.exit_code & 0xff;
    confirm(&cl, false);
    operation_free(&cl.op);
    if (client_flush(&cl) < 0) rc = 1;
    conn_close(cl.conn);
    free(cl.in);
    return rc && cl.op.cancelled ? INTERRUPTED : rc;
}
