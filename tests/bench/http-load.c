/* Load for an HTTP server: keep-alive POSTs over N connections of one thread; or N parked requests woken
 * at once. Called by: by hand, tests/bench. Calls: lib/http.
 *
 *   http-load --unix PATH | --port N  [--connections N] [--seconds S] [--bytes N] [--path /RPC2]
 * [--park N] N requests to /park, then GET /release: when the first and the last answer came */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/clock.h"
#include "lib/http.h"

struct load {
    const char *path_unix;
    unsigned port;
    int connections, seconds, park;
    struct strbuf request;
};

static int open_one(const struct load *l)
{
    static const int on = 1;
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)l->port) };
    int fd;

    if (l->path_unix) {
        strncpy(un.sun_path, l->path_unix, sizeof(un.sun_path) - 1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        while (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
            if (errno != EAGAIN) goto failed;
    } else {
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0) goto failed;
    }
    return fd;

failed:
    perror("http-load: connect");
    exit(1);
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            perror("http-load: send");
            exit(1);
        }
        p += sent;
        n -= (size_t)sent;
    }
}

/* Bytes of a whole reply, learned from the first. */
static size_t reply_size(int fd)
{
    char buf[65536];
    size_t len = 0, end = 0, whole = 0;

    while (!whole || len < whole) {
        ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, 0);
        if (n <= 0) {
            fprintf(stderr, "http-load: no reply\n");
            exit(1);
        }
        len += (size_t)n;
        buf[len] = '\0';
        size_t scan = 0;
        if (!end && (end = http_head_end(buf, len, &scan))) {
            const char *length = strcasestr(buf, "content-length: ");
            whole = end + (length ? strtoul(length + 16, NULL, 10) : 0);
        }
    }
    return whole;
}

static void run_load(struct load *l)
{
    int ep = epoll_create1(0);
    size_t *left = xcalloc((size_t)l->connections, sizeof(size_t)), whole = 0;
    int *fds = xcalloc((size_t)l->connections, sizeof(int));
    uint64_t calls = 0;
    char buf[65536];

    for (int i = 0; i < l->connections; i++) {
        fds[i] = open_one(l);
        send_all(fds[i], l->request.ptr, l->request.len);
        whole = reply_size(fds[i]);
        struct epoll_event ev = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
        epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev);
    }
    int64_t began = clock_monotonic_ns(), end = began + l->seconds * NS_PER_S, now = began;
    for (int i = 0; i < l->connections; i++) {
        left[i] = whole;
        send_all(fds[i], l->request.ptr, l->request.len);
    }
    while (now < end) {
        struct epoll_event evs[64];
        /* One connection needs no poll set: its reply is what comes next. */
        int n = l->connections == 1 ? 1 : epoll_wait(ep, evs, 64, 1000);
        if (l->connections == 1) evs[0].data.u32 = 0;
        for (int e = 0; e < n; e++) {
            uint32_t i = evs[e].data.u32;
            ssize_t got = recv(fds[i], buf, left[i] < sizeof(buf) ? left[i] : sizeof(buf), 0);
            if (got <= 0) {
                fprintf(stderr, "http-load: connection %u ended\n", i);
                exit(1);
            }
            left[i] -= (size_t)got;
            if (left[i]) continue;
            calls++;
            left[i] = whole;
            send_all(fds[i], l->request.ptr, l->request.len);
        }
        now = clock_monotonic_ns();
    }
    double seconds = (double)(now - began) / 1e9;
    printf("connections=%d calls=%llu rate=%.0f/s us_per_call=%.2f\n", l->connections,
           (unsigned long long)calls, (double)calls / seconds, seconds * 1e6 / (double)calls);
    free(left);
    free(fds);
}

static void run_park(struct load *l)
{
    static const char park[] = "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    static const char wake[] = "GET /release?text=woken HTTP/1.1\r\n\r\n";
    int *fds = xcalloc((size_t)l->park, sizeof(int)), ep = epoll_create1(0), control = open_one(l);
    int64_t began = clock_monotonic_ns();
    char buf[4096];

    for (int i = 0; i < l->park; i++) {
        fds[i] = open_one(l);
        send_all(fds[i], park, sizeof(park) - 1);
        struct epoll_event ev = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
        epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev);
    }
    printf("parked=%d in %.1f ms; enter wakes them: ", l->park, (double)(clock_monotonic_ns() - began) / 1e6);
    fflush(stdout);
    if (fgetc(stdin) == EOF) printf("\n");
    int64_t woken = clock_monotonic_ns(), first = 0;
    send_all(control, wake, sizeof(wake) - 1);
    for (int n = 0; n < l->park;) {
        struct epoll_event evs[64];
        int got = epoll_wait(ep, evs, 64, 5000);
        if (got <= 0) {
            fprintf(stderr, "http-load: only %d of %d woke\n", n, l->park);
            exit(1);
        }
        if (!first) first = clock_monotonic_ns();
        for (int e = 0; e < got; e++)
            if (recv(fds[evs[e].data.u32], buf, sizeof(buf), 0) > 0) n++;
    }
    printf("first=%.2f ms last=%.2f ms\n", (double)(first - woken) / 1e6,
           (double)(clock_monotonic_ns() - woken) / 1e6);
    free(fds);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "unix", 1, NULL, 'u' },    { "port", 1, NULL, 'p' },  { "connections", 1, NULL, 'c' },
        { "seconds", 1, NULL, 's' }, { "bytes", 1, NULL, 'b' }, { "path", 1, NULL, 'P' },
        { "park", 1, NULL, 'k' },    { NULL, 0, NULL, 0 },
    };
    struct load l = { .connections = 1, .seconds = 3, .request = STRBUF_INIT };
    const char *path = "/RPC2";
    struct rlimit r;
    int option, bytes = 300;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 'u': l.path_unix = optarg; break;
        case 'p': l.port = (unsigned)atoi(optarg); break;
        case 'c': l.connections = atoi(optarg); break;
        case 's': l.seconds = atoi(optarg); break;
        case 'b': bytes = atoi(optarg); break;
        case 'P': path = optarg; break;
        case 'k': l.park = atoi(optarg); break;
        default: return 2;
        }
    }
    if (!l.path_unix && !l.port) return 2;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    strbuf_printf(
        &l.request,
        "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n", path,
        bytes);
    for (int i = 0; i < bytes; i++) strbuf_char(&l.request, 'x');
    if (l.park) run_park(&l);
    else run_load(&l);
    strbuf_free(&l.request);
    return 0;
}
