/* P7: N parked event.from and one write, against N subscribers of a Redis channel and one PUBLISH of the same bytes.
 * Called by: tests/bench/bench.py.  Calls: bench.
 *
 *     fanout SOCKET N ROUNDS EVENT WRITES [REDIS-SOCKET]
 *     fanout SOCKET N watch EVENT              N watchers, each asks again with its new token, until it is ended
 *
 * EVENT: the body of event.from, with TOKEN where the token goes; WRITES: templates (bench.h), one a round. Each round
 * waits until nothing comes any more, writes, and takes the time until the last waiter has its whole answer; then the
 * same with Redis. The first line printed is the bytes of an answer, then one line a round: "ours_us redis_us". */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { QUIET_MS = 60, GIVE_UP_MS = 20000, MAX_TOKEN = 64 };

/* One side: N connections that all wait for the same thing. */
struct side {
    struct connection *waiters;
    size_t n, answered;
    size_t redis_bytes;             /* how long a message is; 0 = HTTP */
    int epoll_fd;
};

static void add_waiters(struct side *side, const char *socket_path, size_t n)
{
    side->n = n;
    side->waiters = xcalloc(n, sizeof(*side->waiters));
    side->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < n; i++) {
        connection_open(&side->waiters[i], socket_path);
        struct epoll_event e = { .events = EPOLLIN, .data.u64 = i };
        if (epoll_ctl(side->epoll_fd, EPOLL_CTL_ADD, side->waiters[i].fd, &e)) die("epoll: %s", strerror(errno));
    }
}

static void send_text(const struct connection *c, const char *text, size_t len)
{
    if (send(c->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len) die("sending: %s", strerror(errno));
}

static void take_bytes(struct side *side, struct connection *c)
{
    strbuf_reserve(&c->in, 65536);
    ssize_t n = recv(c->fd, c->in.ptr + c->in.len, 65536, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) die("a waiter was cut off");
    c->in.len += (size_t)n;
    c->in.ptr[c->in.len] = '\0';
    if (connection_complete(c, side->redis_bytes)) side->answered++;
}

/* Reads until `wanted` waiters have their answer, or for QUIET_MS nothing came when wanted is 0. */
static void wait_answers(struct side *side, size_t wanted)
{
    struct epoll_event events[256];
    int64_t give_up = clock_monotonic_ns() + GIVE_UP_MS * NS_PER_MS;

    while (!wanted || side->answered < wanted) {
        int n = epoll_wait(side->epoll_fd, events, ARRAY_SIZE(events), QUIET_MS);
        if (!n && !wanted) return;
        for (int i = 0; i < n; i++) take_bytes(side, &side->waiters[events[i].data.u64]);
        if (clock_monotonic_ns() > give_up) die("%zu of %zu waiters answered", side->answered, wanted);
    }
}

static void forget_answers(struct side *side)
{
    side->answered = 0;
    for (size_t i = 0; i < side->n; i++) strbuf_clear(&side->waiters[i].in);
}

/* ---- ours ---- */

static void copy_token(const struct connection *c, char token[MAX_TOKEN])
{
    static const char mark[] = "<name>token</name><value>";
    const char *at = strstr(c->in.ptr + c->body_at, mark);
    size_t n = at ? strcspn(at += sizeof(mark) - 1, "<") : MAX_TOKEN;

    if (n >= MAX_TOKEN) die("no token in: %.400s", c->in.ptr + c->body_at);
    memcpy(token, at, n);
    token[n] = '\0';
}

static char *event_body(const char *body, const char *token)
{
    const char *at = strstr(body, "TOKEN");

    if (!at) die("no TOKEN in the body of event.from");
    return xasprintf("%.*s%s%s", (int)(at - body), body, token, at + 5);
}

static void park_all(struct side *side, const char *body, const char *token)
{
    _cleanup_free_ char *text = event_body(body, token);
    _cleanup_free_ char *request = xasprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                                             strlen(text), text);

    for (size_t i = 0; i < side->n; i++) send_text(&side->waiters[i], request, strlen(request));
}

static double round_of_ours(struct side *side, struct connection *writer, const char *event, const char *write,
                            unsigned long long number, char token[MAX_TOKEN])
{
    park_all(side, event, token);
    wait_answers(side, 0);                       /* parked: whoever was behind has its answer */
    if (side->answered) die("a waiter did not park: %.300s", side->waiters[0].in.ptr);
    int64_t began = clock_monotonic_ns();
    connection_send(writer, write, number);
    wait_answers(side, side->n);
    double us = (double)(clock_monotonic_ns() - began) / 1e3;
    connection_receive(writer);
    connection_need_success(writer);
    for (size_t i = 0; i < side->n; i++) connection_need_success(&side->waiters[i]);
    copy_token(&side->waiters[0], token);
    return us;
}

static void watch_on(struct side *side, const char *body)
{
    struct epoll_event events[256];
    char token[MAX_TOKEN];

    for (;;) {
        int n = epoll_wait(side->epoll_fd, events, ARRAY_SIZE(events), -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = &side->waiters[events[i].data.u64];
            size_t before = side->answered;
            take_bytes(side, c);
            if (side->answered == before) continue;
            connection_need_success(c);
            copy_token(c, token);
            strbuf_clear(&c->in);
            _cleanup_free_ char *next = event_body(body, token);
            connection_send(c, next, 0);
        }
    }
}

/* ---- Redis ---- */

static void subscribe_all(struct side *side)
{
    static const char subscribe[] = "SUBSCRIBE c\r\n";

    for (size_t i = 0; i < side->n; i++) send_text(&side->waiters[i], subscribe, sizeof(subscribe) - 1);
    wait_answers(side, 0);
}

static double round_of_redis(struct side *side, struct connection *writer, const struct strbuf *publish)
{
    forget_answers(side);
    int64_t began = clock_monotonic_ns();
    send_text(writer, publish->ptr, publish->len);
    wait_answers(side, side->n);
    double us = (double)(clock_monotonic_ns() - began) / 1e3;
    char waste[64];
    if (recv(writer->fd, waste, sizeof(waste), 0) <= 0) die("redis closed");
    return us;
}

static void make_publish(struct strbuf *b, size_t bytes)
{
    strbuf_printf(b, "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$%zu\r\n", bytes);
    for (size_t i = 0; i < bytes; i++) strbuf_char(b, 'x');
    strbuf_str(b, "\r\n");
}

/* ---- */

static void first_token(struct connection *c, const char *event, char token[MAX_TOKEN])
{
    _cleanup_free_ char *body = event_body(event, "");

    connection_post(c, body, 0);
    connection_need_success(c);
    copy_token(c, token);
}

int main(int argc, char **argv)
{
    struct side ours = { .epoll_fd = -1 }, redis = { .epoll_fd = -1 };
    struct connection writer, publisher;
    struct templates events, writes;
    struct strbuf publish = STRBUF_INIT;
    const struct rlimit many = { 65536, 65536 };
    char token[MAX_TOKEN];

    if (argc < 5) die("usage: fanout SOCKET N ROUNDS|watch EVENT WRITES [REDIS-SOCKET]");
    setrlimit(RLIMIT_NOFILE, &many);
    size_t n = (size_t)need_number(argv[2]);
    templates_load(&events, argv[4]);
    connection_open(&writer, argv[1]);
    first_token(&writer, events.bodies[0], token);
    add_waiters(&ours, argv[1], n);
    if (streq(argv[3], "watch")) {
        park_all(&ours, events.bodies[0], token);
        watch_on(&ours, events.bodies[0]);
    }
    long rounds = need_number(argv[3]);
    templates_load(&writes, argv[5]);
    for (long r = 0; r < rounds; r++) {
        forget_answers(&ours);
        double us = round_of_ours(&ours, &writer, events.bodies[0], writes.bodies[(size_t)r % writes.n],
                                  (unsigned long long)r, token), redis_us = 0;
        if (!r) printf("%zu\n", ours.waiters[0].in.len);
        if (!r && argc > 6) {
            redis.redis_bytes = ours.waiters[0].in.len;
            add_waiters(&redis, argv[6], n);
            connection_open(&publisher, argv[6]);
            subscribe_all(&redis);
            make_publish(&publish, redis.redis_bytes);
        }
        if (argc > 6) redis_us = round_of_redis(&redis, &publisher, &publish);
        printf("%.1f %.1f\n", us, redis_us);
    }
    strbuf_free(&publish);
    templates_free(&events);
    templates_free(&writes);
    return 0;
}
