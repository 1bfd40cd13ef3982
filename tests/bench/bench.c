/* What the bench programs share.
 * Called by: the programs of tests/bench.  Calls: lib. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    RECEIVE_MOST = 64 << 10,
    MAX_FILE = 64 << 20,
    MAX_HEAD = 64 << 10,
    REDIS_FRAME = sizeof("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$\r\n\r\n") - 1,
};

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("bench: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

long need_number(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (!*text || *end || n < 0) die("\"%s\" is not a number", text);
    return n;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

void sort_doubles(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), compare_doubles);
}

double at_share(const double *sorted, size_t n, double share)
{
    size_t i = (size_t)((double)n * share);

    if (!n) return 0;
    return sorted[i < n ? i : n - 1];
}

void templates_load(struct templates *t, const char *path)
{
    size_t len, n = 1;

    if (read_file(path, MAX_FILE, &t->text, &len)) die("%s: %s", path, strerror(errno));
    for (size_t i = 0; i < len; i++) n += !t->text[i];
    t->bodies = xcalloc(n, sizeof(*t->bodies));
    t->n = 0;
    for (size_t at = 0; at < len; at += strlen(t->text + at) + 1) t->bodies[t->n++] = t->text + at;
    if (!t->n) die("%s: no request in it", path);
}

void templates_free(struct templates *t)
{
    free(t->bodies);
    free(t->text);
}

void connection_open(struct connection *c, const char *socket_path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    memset(c, 0, sizeof(*c));
    if (strlen(socket_path) >= sizeof(a.sun_path)) die("%s: too long for a socket", socket_path);
    memcpy(a.sun_path, socket_path, strlen(socket_path));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a))) die("%s: %s", socket_path, strerror(errno));
}

void connection_close(struct connection *c)
{
    close(c->fd);
    strbuf_free(&c->out);
    strbuf_free(&c->in);
}

static void make_request(struct connection *c, const char *template, unsigned long long number)
{
    const char *at = strchr(template, '@');
    size_t len = strlen(template), width = at ? strspn(at, "@") : 0;

    strbuf_clear(&c->out);
    strbuf_printf(&c->out, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                  *template == '{' ? "/jsonrpc" : "/", len);
    if (!at) {
        strbuf_add(&c->out, template, len);
        return;
    }
    strbuf_add(&c->out, template, (size_t)(at - template));
    strbuf_printf(&c->out, "%0*llu%s", (int)width, number, at + width);
}

static void send_all(const struct connection *c)
{
    for (size_t sent = 0; sent < c->out.len;) {
        ssize_t n = send(c->fd, c->out.ptr + sent, c->out.len - sent, MSG_NOSIGNAL);
        if (n < 0) die("sending: %s", strerror(errno));
        sent += (size_t)n;
    }
}

/* Appends what comes, `want` bytes at most. */
static void receive_some(struct connection *c, size_t want)
{
    /* No more at a time: while the kernel copies, nobody else may have this processor. */
    if (want > RECEIVE_MOST) want = RECEIVE_MOST;
    strbuf_reserve(&c->in, want);
    ssize_t n = recv(c->fd, c->in.ptr + c->in.len, want, 0);
    if (n <= 0) die("the other side closed: %s", n ? strerror(errno) : "end of stream");
    c->in.len += (size_t)n;
    c->in.ptr[c->in.len] = '\0';
}

bool connection_complete(struct connection *c, size_t redis_bytes)
{
    if (redis_bytes) return c->in.len >= redis_bytes + REDIS_FRAME + (size_t)snprintf(NULL, 0, "%zu", redis_bytes);
    char *end = c->in.len ? strstr(c->in.ptr, "\r\n\r\n") : NULL;
    if (!end) return false;
    const char *length = strcasestr(c->in.ptr, "\r\ncontent-length:");
    if (!length || length > end) die("a reply without Content-Length: %.200s", c->in.ptr);
    c->body_at = (size_t)(end + 4 - c->in.ptr);
    c->total = c->body_at + strtoul(length + 17, NULL, 10);
    return c->in.len >= c->total;
}

void connection_receive(struct connection *c)
{
    strbuf_clear(&c->in);
    c->total = 0;
    while (!connection_complete(c, 0)) {
        if (!c->total && c->in.len > MAX_HEAD) die("a reply's head without an end");
        receive_some(c, c->total ? c->total - c->in.len : 4096);
    }
}

void connection_send(struct connection *c, const char *template, unsigned long long number)
{
    make_request(c, template, number);
    send_all(c);
}

void connection_post(struct connection *c, const char *template, unsigned long long number)
{
    connection_send(c, template, number);
    connection_receive(c);
}

void connection_need_success(const struct connection *c)
{
    const char *body = c->in.ptr + c->body_at;
    size_t n = c->in.len - c->body_at;
    bool json = n && *body == '{';

    /* The status is at the head of an XML body; a JSON one says "error" there or nothing of the kind. */
    if (n > 400) n = 400;
    if (json ? memmem(body, n, "\"error\":{", 9) != NULL : !memmem(body, n, "Success", 7))
        die("not a success: %.600s", body);
}
