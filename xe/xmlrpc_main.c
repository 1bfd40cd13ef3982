/* xe-xmlrpc: runs one command line for xe over XML-RPC. Standard input is a socket on which xe speaks the
 * thin protocol, as it would to a daemon.
 * Called by: xe (conn.c), which starts it.  Calls: serve, remote, cmd. */
#include "xe/remote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "lib/http.h"

enum { HEAD_MAX = 64 << 10, BODY_MAX = 1 << 20, HEAD_MS = 60 * 1000 };

/* The target as xe gives it: --server NAME [--port N] [--nossl] [--socket PATH] [--socket-only]. False
 * when it is something else. */
static bool read_target(int argc, char **argv, struct conn_target *t)
{
    *t = (struct conn_target){ .tls = true };
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;

        if (streq(argv[i], "--server") && more)
            t->server = argv[++i];
        else if (streq(argv[i], "--port") && more)
            t->port = atoi(argv[++i]);
        else if (streq(argv[i], "--socket") && more)
            t->socket = argv[++i];
        else if (streq(argv[i], "--socket-only"))
            t->socket_only = true;
        else if (streq(argv[i], "--nossl"))
            t->tls = false;
        else
            return false;
    }
    return t->server;
}

/* xe's POST /cli: its head into ret_head, its body behind it. -1 when it is none. */
static int read_request(struct stream *s, struct arena *a, struct http_head *ret_head, const char **ret_body)
{
    char *buf = arena_alloc(a, HEAD_MAX + 1), *body;
    size_t len = 0, scan = 0, end = 0, n;

    while (!end) {
        ssize_t got = len < HEAD_MAX ? stream_read(s, buf + len, HEAD_MAX - len, HEAD_MS) : 0;

        if (got <= 0) return -1;
        len += (size_t)got;
        end = http_head_end(buf, len, &scan);
    }
    body = arena_strndup(a, buf + end, len - end);
    if (http_parse_request(buf, end, a, ret_head) || ret_head->method != HTTP_POST ||
        ret_head->length > BODY_MAX)
        return -1;
    n = (size_t)ret_head->length;
    if (len - end > n) return -1;
    body = arena_alloc(a, n + 1);
    memcpy(body, buf + end, len - end);
    body[n] = '\0';
    *ret_body = body;
    return stream_read_full(s, body + (len - end), n - (len - end), HEAD_MS);
}

static bool hung_up(void *arg)
{
    const struct stream *s = arg;
    struct pollfd p = { .fd = s->fd, .events = POLLRDHUP };

    return poll(&p, 1, 0) > 0;
}

static int converse(const struct conn_target *target, struct serve *client)
{
    const char *const *args;
    const char *body, *session, *wrong;
    struct http_head head;
    struct cmd_env env;
    struct remote *r;
    size_t n;
    int code = 1;

    if (read_request(client->stream, client->arena, &head, &body) < 0 || !serve_hello(client)) return 1;
    r = remote_new(target, client, http_header(&head, "traceparent"));
    remote_env(r, &env);
    serve_env(client, http_header(&head, "x-xe-wants"), http_header(&head, "accept-language"), &env);
    wrong = serve_arguments(client, body, (size_t)head.length, &args, &n, &session);
    if (wrong) {
        serve_say(client, wrong);
    } else {
        remote_use_session(r, session);
        code = cmd_run(&env, client->arena, args, n);
    }
    remote_logout(r);
    serve_exit(client, code);
    remote_free(r);
    return 0;
}

int main(int argc, char **argv)
{
    struct conn_target target;
    struct stream stream = STREAM_INIT;
    struct serve client = { .stream = &stream, .hung_up = hung_up, .hung_up_arg = &stream, .write_ms = -1 };
    int rc;

    if (!read_target(argc, argv, &target)) {
        fprintf(stderr, "xe-xmlrpc is a part of xe: run xe --xmlrpc\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* the terminal's is xe's matter; when it goes, our socket ends */
    stream.fd = STDIN_FILENO;
    fcntl(stream.fd, F_SETFL, fcntl(stream.fd, F_GETFL) | O_NONBLOCK);
    client.arena = arena_new();
    rc = converse(&target, &client);
    serve_free(&client);
    arena_free(client.arena);
    stream_close(&stream);
    return rc;
}
