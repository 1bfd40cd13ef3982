/* P6: logins with a password over TCP, plain or each over a TLS connection of its own; and the bare password hash.
 * Called by: tests/bench/bench.py.  Calls: bench, OpenSSL, libcrypt.
 *
 *     login-load plain PORT THREADS MS BODY       each thread keeps its connection
 *     login-load tls PORT THREADS MS BODY         each login: connect, full handshake, login, close
 *     login-load hash SALT THREADS MS PASSWORD    crypt() with this salt (a whole hash will do)
 *
 * BODY: a file with one request. Prints "count seconds cpu_seconds", the last of this program. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <crypt.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { MAX_THREADS = 256, MAX_REPLY = 64 << 10 };

struct load {
    int (*once)(struct load *load, int fd);    /* a login; what it gives is the next one's fd */
    uint16_t port;
    SSL_CTX *tls;
    char *request;
    size_t request_len;
    const char *salt, *password;
    int64_t end_ns;
    pthread_barrier_t ready;
};

struct worker {
    pthread_t thread;
    struct load *load;
    size_t n;
    int64_t last_ns;
};

static int connect_to(uint16_t port)
{
    const struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof(a))) die("port %u: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

/* Whether all of the reply is there; dies when it is not a success. */
static bool is_whole(const char *reply, size_t len)
{
    const char *end = strstr(reply, "\r\n\r\n"), *length = end ? strcasestr(reply, "\r\ncontent-length:") : NULL;

    if (!end) return false;
    if (!length || length > end) die("a reply without a length: %.300s", reply);
    if (len < (size_t)(end + 4 - reply) + strtoul(length + 17, NULL, 10)) return false;
    if (!strstr(end, "Success")) die("not a success: %.600s", reply);
    return true;
}

static void talk(struct load *load, int fd, SSL *ssl)
{
    char reply[MAX_REPLY];
    size_t len = 0;
    int size = (int)load->request_len;

    if (ssl ? SSL_write(ssl, load->request, size) != size
            : send(fd, load->request, load->request_len, MSG_NOSIGNAL) != size)
        die("sending");
    do {
        int room = (int)(sizeof(reply) - 1 - len);
        ssize_t n = ssl ? SSL_read(ssl, reply + len, room) : recv(fd, reply + len, (size_t)room, 0);
        if (n <= 0) die("no reply");
        len += (size_t)n;
        reply[len] = '\0';
    } while (!is_whole(reply, len));
}

static int login_plain(struct load *load, int fd)
{
    if (fd < 0) fd = connect_to(load->port);
    talk(load, fd, NULL);
    return fd;
}

static int login_tls(struct load *load, int fd)
{
    SSL *ssl = SSL_new(load->tls);

    fd = connect_to(load->port);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) die("handshake");
    if (SSL_session_reused(ssl)) die("the handshake was not a full one");
    talk(load, fd, ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
    return -1;
}

static int hash_once(struct load *load, int fd)
{
    struct crypt_data data = { .initialized = 0 };
    const char *hash = crypt_r(load->password, load->salt, &data);

    if (!hash || *hash == '*') die("no hash");
    return fd;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct load *load = w->load;
    int fd = -1;

    pthread_barrier_wait(&load->ready);
    pthread_barrier_wait(&load->ready);
    do {
        fd = load->once(load, fd);
        w->n++;
        w->last_ns = clock_monotonic_ns();
    } while (w->last_ns < load->end_ns);
    if (fd >= 0) close(fd);
    return NULL;
}

static void load_request(struct load *load, const char *path)
{
    _cleanup_free_ char *body = NULL;
    size_t len;

    if (read_file(path, MAX_REPLY, &body, &len)) die("%s: %s", path, strerror(errno));
    load->request = xasprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", len, body);
    load->request_len = strlen(load->request);
}

static void run(struct load *load, size_t n, long ms)
{
    struct worker workers[MAX_THREADS] = { 0 };
    struct timespec used;
    size_t count = 0;

    if (!n || n > MAX_THREADS) die("1 to %d threads", MAX_THREADS);
    pthread_barrier_init(&load->ready, NULL, (unsigned)n + 1);
    for (size_t i = 0; i < n; i++) {
        workers[i].load = load;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) die("no thread");
    }
    pthread_barrier_wait(&load->ready);
    int64_t began = clock_monotonic_ns(), last = began;
    load->end_ns = began + ms * NS_PER_MS;
    pthread_barrier_wait(&load->ready);
    for (size_t i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        count += workers[i].n;
        if (workers[i].last_ns > last) last = workers[i].last_ns;
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    printf("%zu %.6f %.6f\n", count, (double)(last - began) / 1e9,
           (double)used.tv_sec + (double)used.tv_nsec / 1e9);
}

int main(int argc, char **argv)
{
    struct load load = { .once = NULL };

    if (argc != 6) die("usage: login-load plain|tls|hash PORT|SALT THREADS MS BODY|PASSWORD");
    if (streq(argv[1], "hash")) {
        load.once = hash_once;
        load.salt = argv[2];
        load.password = argv[5];
    } else {
        load.once = streq(argv[1], "tls") ? login_tls : login_plain;
        load.port = (uint16_t)need_number(argv[2]);
        load_request(&load, argv[5]);
    }
    load.tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(load.tls, SSL_SESS_CACHE_OFF);
    run(&load, (size_t)need_number(argv[3]), need_number(argv[4]));
    SSL_CTX_free(load.tls);
    free(load.request);
    return 0;
}
