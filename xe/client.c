/* The client side of the thin CLI protocol: obeys the server until it says exit.
 * Called by: xe.c.  Calls: conn, thin. */
#include "xe/client.h"

#include "lib/clock.h"
#include "xe/thin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <termios.h>

enum {
    BLOCK = 64 << 10,
    MAX_MESSAGE = 64 << 20,            /* no server has a reason to say more at once */
    MAX_HEAD = 64 << 10,
    MAX_REDIRECTS = 3,
    HEARTBEAT_S = 300,                 /* the protocol's own pace */
    PUMP_MS = 200,                     /* how often messages are shown during a transfer */
};

struct client {
    const struct client_config *cfg;
    struct conn *conn;
    char *in;                          /* bytes read and not yet used: in[at .. len) */
    size_t at, len, cap;
    int64_t next_heartbeat_ns, next_pump_ns;
    int exit_code;                     /* -1 until the server says */
};

static int run_message(struct client *cl, struct thin_msg *msg);

static _printf_(2, 3) void debug(const struct client *cl, const char *fmt, ...)
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

static int say(struct client *cl, struct strbuf *b)
{
    int rc = conn_write(cl->conn, strbuf_cstr(b), b->len);

    strbuf_clear(b);
    return rc;
}

static void respond(struct client *cl, enum thin_tag tag)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    thin_put_plain(&b, THIN_RESPONSE, tag);
    (void)say(cl, &b);       /* a server that has gone is noticed by the next read */
}

/* Output must not wait behind a read that blocks. Broken pipe: say so once, end with 1. */
static int flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    fprintf(stderr, "Error: cannot write the output: %s\n", strerror(errno));
    return -1;
}

/* At least n bytes in the buffer. 1, 0 when the server ended, -1 + errno. */
static int fill(struct client *cl, size_t n)
{
    if (cl->at && cl->len - cl->at < n) {
        memmove(cl->in, cl->in + cl->at, cl->len - cl->at);
        cl->len -= cl->at;
        cl->at = 0;
    }
    if (cl->cap < n + BLOCK && cl->len - cl->at < n) {
        cl->cap = n + BLOCK;
        cl->in = xrealloc(cl->in, cl->cap);
    }
    while (cl->len - cl->at < n) {
        ssize_t got;

        if (flush_output() < 0) return -2;
        got = conn_read(cl->conn, cl->in + cl->len, cl->cap - cl->len);
        if (got <= 0) return (int)got;
        cl->len += (size_t)got;
    }
    return 1;
}

/* The whole next message, or what is wrong on stderr and -1. */
static int next_message(struct client *cl, struct arena *a, struct thin_msg *ret_msg)
{
    int rc = fill(cl, 4);
    int32_t n = 0;

    if (rc == 1) {
        n = thin_int(cl->in + cl->at);
        if (n < 8 || n > MAX_MESSAGE) {
            fprintf(stderr, "Error: the server does not keep to the protocol (message of %d bytes).\n", n);
            return -1;
        }
        rc = fill(cl, 4 + (size_t)n);
    }
    if (rc == -2) return -1;
    if (rc != 1) {
        fprintf(stderr, "Lost connection to the server.\n");
        return -1;
    }
    if (thin_decode(cl->in + cl->at + 4, (size_t)n, a, ret_msg) < 0) {
        fprintf(stderr, "Unexpected message from server.\n");
        return -1;
    }
    cl->at += 4 + (size_t)n;
    debug(cl, "server: kind %d tag %d \"%s\" \"%s\" %d", ret_msg->kind, ret_msg->tag, ret_msg->text,
          ret_msg->url, ret_msg->number);
    return 0;
}

/* True when a message that only prints has arrived whole or in part. */
static bool print_waiting(struct client *cl)
{
    struct pollfd p = { .fd = conn_fd(cl->conn), .events = POLLIN };

    if (cl->len - cl->at < 12) {
        if (!conn_pending(cl->conn) && poll(&p, 1, 0) <= 0) return false;
        if (fill(cl, 12) != 1) return false;
    }
    switch (thin_int(cl->in + cl->at + 8)) {
    case THIN_PRINT:
    case THIN_PRINT_STDERR:
    case THIN_DEBUG:
        return thin_int(cl->in + cl->at + 4) == THIN_COMMAND;
    default:
        return false;
    }
}

/* Called between the blocks of a transfer: shows what the server says meanwhile, and tells it that we live.
 */
static void transfer_tick(struct client *cl)
{
    int64_t now = clock_monotonic_ns();

    if (now >= cl->next_heartbeat_ns) {
        respond(cl, THIN_WAIT);
        cl->next_heartbeat_ns = now + HEARTBEAT_S * NS_PER_S;
    }
    if (now < cl->next_pump_ns) return;
    cl->next_pump_ns = now + PUMP_MS * NS_PER_MS;
    while (print_waiting(cl)) {
        _cleanup_arena_ struct arena *a = arena_new();
        struct thin_msg msg;

        if (next_message(cl, a, &msg) < 0 || run_message(cl, &msg) < 0) return;
    }
}

static void transfer_begin(struct client *cl)
{
    cl->next_heartbeat_ns = clock_monotonic_ns() + HEARTBEAT_S * NS_PER_S;
    cl->next_pump_ns = 0;
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
static bool permitted(const struct client *cl, const char *file, bool writing)
{
    _cleanup_free_ char *path = client_absolute(file);
    _cleanup_free_ char *logs = client_absolute("logs-");

    for (size_t i = 0; i < cl->cfg->n_files; i++) {
        size_t n = strlen(cl->cfg->files[i]);

        if (streq(path, cl->cfg->files[i])) return true;
        if (writing && n > 1 && has_prefix(path, cl->cfg->files[i]) && !strchr(path + n, '/')) return true;
    }
    if (writing && has_prefix(path, logs) && !strchr(path + strlen(logs), '/')) return true;
    fprintf(stderr,
            "Error: the server asked for the file %s, which was not named on the command line; refused.\n",
            file);
    return false;
}

/* ---- HTTP -------------------------------------------------------------------------------------------- */

struct http {
    struct conn *conn;
    char head[MAX_HEAD + 1];
    size_t len, body;                  /* bytes read; where the body starts in head */
    int status;
};

static void http_close(struct http *h)
{
    conn_close(h->conn);
    h->conn = NULL;
}

/* A header's value as malloc'd text, or NULL. */
static char *http_location(const struct http *h)
{
    static const char name[] = "location:";
    const char *line = h->head;

    while (line < h->head + h->body) {
        size_t n = strcspn(line, "\r\n");

        if (strncasecmp(line, name, sizeof name - 1) == 0) {
            line += sizeof name - 1;
            line += strspn(line, " \t");
            return xstrndup(line, strcspn(line, "\r\n"));
        }
        line += n;
        line += strspn(line, "\r\n");
    }
    return NULL;
}

/* "https://host[:port]/path" or "/path" on the same server. */
static int http_connect(struct client *cl, const char *url, struct http *h, const char **ret_path)
{
    struct conn_target t = cl->cfg->target;
    _cleanup_free_ char *host = NULL;
    _cleanup_free_ char *why = NULL;
    const char *scheme_end = strstr(url, "://");

    *ret_path = url;
    if (scheme_end && url[0] != '/') {
        const char *start = scheme_end + 3;
        size_t n = strcspn(start, "/?");
        char *colon;

        host = xstrndup(start, n);
        colon = strrchr(host, ':');
        t = (struct conn_target){ .server = host, .tls = has_prefix(url, "https:") };
        if (colon && !strchr(colon, ']')) {
            t.port = atoi(colon + 1);
            *colon = '\0';
        }
        *ret_path = start[n] ? start + n : "/";
        /* Back to the server we already talk to: by the way that worked. */
        if (streq(host, cl->cfg->target.server) && !t.port) t = cl->cfg->target;
    }
    if (conn_open(&t, &h->conn, &why) < 0) {
        fprintf(stderr, "%s\n", why);
        return -1;
    }
    return 0;
}

/* Sends the request's head and reads the answer's. 0 with h->status set, or -1. */
static int http_ask(struct client *cl, struct http *h, const char *method, const char *path,
                    const char *headers)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    char *end = NULL;

    strbuf_printf(&b, "%s %s HTTP/1.0\r\n%s\r\n", method, path, headers);
    debug(cl, "%s %s", method, path);
    if (conn_write(h->conn, b.ptr, b.len) < 0) return -1;
    while (!end) {
        ssize_t got;

        if (h->len == MAX_HEAD) return -1;
        got = conn_read(h->conn, h->head + h->len, MAX_HEAD - h->len);
        if (got <= 0) return -1;
        h->len += (size_t)got;
        h->head[h->len] = '\0';
        end = memmem(h->head, h->len, "\r\n\r\n", 4);
    }
    h->body = (size_t)(end + 4 - h->head);
    debug(cl, "%.*s", (int)strcspn(h->head, "\r\n"), h->head);
    if (sscanf(h->head, "HTTP/1.%*d %d", &h->status) != 1) return -1;
    return 0;
}

/* Connects, asks, follows redirects. The caller closes h. */
static int http_begin(struct client *cl, struct http *h, const char *method, const char *url,
                      const char *headers)
{
    _cleanup_free_ char *at = xstrdup(url);

    for (int i = 0; i <= MAX_REDIRECTS; i++) {
        const char *path;
        char *next;

        h->len = h->body = 0;
        h->status = 0;
        if (http_connect(cl, at, h, &path) < 0) return -1;
        if (http_ask(cl, h, method, path, headers) < 0) return -1;
        if (h->status != 302) return 0;
        next = http_location(h);
        http_close(h);
        if (!next) return -1;
        free(at);
        at = next;
    }
    return -1;
}

/* ---- what the server asks for ------------------------------------------------------------------------ */

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t did = write(fd, p, n);

        if (did < 0 && errno == EINTR) continue;
        if (did < 0) return -1;
        p += did;
        n -= (size_t)did;
    }
    return 0;
}

static int copy_body(struct client *cl, struct http *h, int out)
{
    _cleanup_free_ char *buf = xmalloc(BLOCK);
    ssize_t got;

    if (write_all(out, h->head + h->body, h->len - h->body) < 0) return -1;
    while ((got = conn_read(h->conn, buf, BLOCK)) > 0) {
        if (write_all(out, buf, (size_t)got) < 0) return -1;
        transfer_tick(cl);
    }
    return (int)got;
}

static int run_get(struct client *cl, const struct thin_msg *msg)
{
    struct http h = { .conn = NULL };
    _cleanup_close_ int out = -1;
    bool to_stdout = !*msg->text, ok = false;

    if (!to_stdout && !permitted(cl, msg->text, true)) return -1;
    if (flush_output() < 0) return -1;
    transfer_begin(cl);
    if (http_begin(cl, &h, "GET", msg->url, "") == 0 && h.status == 200) {
        out = to_stdout ? dup(STDOUT_FILENO) : open(msg->text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (out < 0) {
            fprintf(stderr, "Operation failed. Error: %s: %s\n", msg->text, strerror(errno));
            cl->exit_code = 1;
        } else {
            if (!to_stdout) cl->cfg->writing(msg->text);
            ok = copy_body(cl, &h, out) == 0 && (to_stdout || fsync(out) == 0);
            if (!ok) fprintf(stderr, "Error: the transfer broke off: %s\n", strerror(errno));
            if (!ok && !to_stdout) unlink(msg->text);
            cl->cfg->writing(NULL);
        }
    }
    http_close(&h);
    respond(cl, ok ? THIN_OK : THIN_FAILED);
    return 0;
}

static int run_put(struct client *cl, const struct thin_msg *msg)
{
    struct http h = { .conn = NULL };
    _cleanup_free_ char *buf = xmalloc(BLOCK);
    _cleanup_free_ char *length = NULL;
    _cleanup_close_ int in = -1;
    struct stat st;
    ssize_t got = 0;
    bool ok = false;

    if (!permitted(cl, msg->text, false)) return -1;
    in = open(msg->text, O_RDONLY | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) < 0) {
        respond(cl, THIN_FAILED);
        if (errno == ENOENT)
            fprintf(stderr, "Operation failed. Error: file '%s' does not exist\n", msg->text);
        else
            fprintf(stderr, "Operation failed. Error: %s: %s\n", msg->text, strerror(errno));
        cl->exit_code = 1;
        return 0;
    }
    /* A pipe has no length: the end of the stream is the end of the file. */
    length = S_ISREG(st.st_mode) ? xasprintf("Content-Length: %lld\r\n", (long long)st.st_size) : xstrdup("");
    transfer_begin(cl);
    if (http_begin(cl, &h, "PUT", msg->url, length) == 0 && h.status == 200) {
        ok = true;
        while (ok && (got = read(in, buf, BLOCK)) > 0) {
            ok = conn_write(h.conn, buf, (size_t)got) == 0;
            transfer_tick(cl);
        }
        if (got < 0) ok = false;
        if (ok) {
            conn_end(h.conn);
            while ((got = conn_read(h.conn, buf, BLOCK)) > 0)
                transfer_tick(cl); /* until the server is done */
        }
    }
    http_close(&h);
    respond(cl, ok ? THIN_OK : THIN_FAILED);
    return 0;
}

static int run_load(struct client *cl, const struct thin_msg *msg)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_free_ char *text = NULL;
    size_t n;

    if (!permitted(cl, msg->text, false)) return -1;
    if (read_file(msg->text, MAX_MESSAGE, &text, &n) < 0) {
        fprintf(stderr, "Error: %s: %s\n", msg->text, strerror(errno));
        respond(cl, THIN_FAILED);
        return 0;
    }
    thin_put_plain(&b, THIN_RESPONSE, THIN_OK);
    thin_put_number(&b, THIN_BLOB, THIN_CHUNK, (int32_t)n);
    strbuf_add(&b, text, n);
    thin_put_plain(&b, THIN_BLOB, THIN_END);
    return say(cl, &b);
}

static int run_prompt(struct client *cl)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_free_ char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    if (flush_output() < 0) return -1;
    n = getline(&line, &cap, stdin);
    if (n > 0 && line[n - 1] == '\n') n--;
    if (n < 0) n = 0;                  /* end of input: an empty answer, which is no yes */
    thin_put_number(&b, THIN_BLOB, THIN_CHUNK, (int32_t)n);
    if (n) strbuf_add(&b, line, (size_t)n);
    thin_put_plain(&b, THIN_BLOB, THIN_END);
    return say(cl, &b);
}

/* Terminal to console until Ctrl-] or the end of either. */
static void relay_console(struct client *cl, struct http *h)
{
    enum { QUIT = 0x1d };
    _cleanup_free_ char *buf = xmalloc(BLOCK);
    bool input = true;

    if (write_all(STDOUT_FILENO, h->head + h->body, h->len - h->body) < 0) return;
    for (;;) {
        struct pollfd p[2] = { { .fd = conn_fd(h->conn), .events = POLLIN },
                               { .fd = input ? STDIN_FILENO : -1, .events = POLLIN } };
        int rc = conn_pending(h->conn) ? 1 : poll(p, 2, HEARTBEAT_S * 1000);

        if (rc < 0 && errno != EINTR) return;
        if (rc == 0) respond(cl, THIN_WAIT);
        if (conn_pending(h->conn) || p[0].revents) {
            ssize_t got = conn_read(h->conn, buf, BLOCK);

            if (got <= 0 || write_all(STDOUT_FILENO, buf, (size_t)got) < 0) return;
        }
        if (p[1].revents) {
            ssize_t got = read(STDIN_FILENO, buf, BLOCK);
            const char *quit = got > 0 ? memchr(buf, QUIT, (size_t)got) : NULL;

            if (got <= 0) input = false;
            if (quit) got = quit - buf;
            if (got > 0 && conn_write(h->conn, buf, (size_t)got) < 0) return;
            if (quit) return;
        }
    }
}

static int run_connect(struct client *cl, const struct thin_msg *msg)
{
    struct http h = { .conn = NULL };
    struct termios saved;
    bool tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0, ok;

    if (flush_output() < 0) return -1;
    ok = http_begin(cl, &h, "CONNECT", msg->url, "content-length: 0\r\n") == 0;
    if (ok && h.status != 200) {
        if (h.status == 404)
            fprintf(stderr, "Server replied with HTTP 404: the console is not available\n");
        else
            fprintf(stderr, "Server said: %.*s\n", (int)strcspn(h.head, "\r\n"), h.head);
        ok = false;
    }
    if (ok) {
        if (tty) {
            struct termios raw = saved;

            cfmakeraw(&raw);
            tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        }
        relay_console(cl, &h);
        if (tty) {
            tcsetattr(STDIN_FILENO, TCSANOW, &saved);
            printf("\r\n");
        }
    }
    http_close(&h);
    respond(cl, ok ? THIN_OK : THIN_FAILED);
    return 0;
}

/* One command of the server. -1 ends xe with 1; what went wrong has been said. */
static int run_command(struct client *cl, struct thin_msg *msg)
{
    switch (msg->tag) {
    case THIN_PRINT:
        fwrite(msg->text, 1, msg->text_len, stdout);
        putchar('\n');
        return 0;
    case THIN_PRINT_STDERR:
        if (flush_output() < 0) return -1;
        fwrite(msg->text, 1, msg->text_len, stderr);
        return 0;
    case THIN_DEBUG:
        debug(cl, "debug from server: %s", msg->text);
        return 0;
    case THIN_ERROR:
        if (flush_output() < 0) return -1;
        fprintf(stderr, "Error code: %s\nError parameters: ", msg->text);
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
        return run_get(cl, msg);
    case THIN_HTTP_PUT:
        return run_put(cl, msg);
    case THIN_HTTP_CONNECT:
        return run_connect(cl, msg);
    case THIN_OK:
    case THIN_FAILED:
    case THIN_WAIT:
    case THIN_CHUNK:
    case THIN_END:
        break;
    }
    return -1;
}

static int run_message(struct client *cl, struct thin_msg *msg)
{
    if (msg->kind != THIN_COMMAND) {
        fprintf(stderr, "Unexpected message from server.\n");
        return -1;
    }
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
            fprintf(stderr, "Server internal error.\n");
        else
            fprintf(stderr, "Unable to contact server. Please check server and port settings.\n");
        return -1;
    }
    if (strncasecmp(cl->in, "HTTP", 4) == 0) {
        fprintf(stderr, "Server internal error: %.*s\n", (int)strcspn(cl->in, "\r\n"), cl->in);
        return -1;
    }
    if (!thin_get_hello(cl->in)) {
        fprintf(stderr, "Protocol version mismatch.\n"
                        "Try specifying a server name and port on the command-line.\n");
        return -1;
    }
    cl->at += THIN_HELLO;
    thin_put_hello(&b);
    return say(cl, &b);
}

static int converse(struct client *cl)
{
    _cleanup_arena_ struct arena *a = arena_new();

    if (post(cl) < 0) {
        fprintf(stderr, "Unable to contact server: %s\n", strerror(errno));
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
    struct client cl = { .cfg = cfg, .exit_code = -1 };
    _cleanup_free_ char *why = NULL;
    int rc = 1;

    if (conn_open_commands(&cfg->target, &cl.conn, &why) < 0) {
        fprintf(stderr, "Error: %s\n", why);
        return 1;
    }
    if (converse(&cl) == 0) rc = cl.exit_code & 0xff;
    if (flush_output() < 0) rc = 1;
    conn_close(cl.conn);
    free(cl.in);
    return rc;
}
