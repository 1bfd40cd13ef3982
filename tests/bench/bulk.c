/* P9: a long body over loopback TLS, in or out; and the peer, a server that does nothing but move it.
 * Called by: tests/bench/bench.py.  Calls: bench, OpenSSL.
 *
 *     bulk get PORT PATH FILE         GET; the body goes to FILE, which is synced
 *     bulk put PORT PATH FILE         PUT of FILE: head, status line, body, and then the other side's end
 *     bulk serve CERT KEY FILE NEW    prints its port; a GET is answered with FILE, a PUT goes to NEW, which is synced
 *
 * get and put print "bytes seconds cipher-bits". All of them do the same: read() into one buffer and SSL_write(), or
 * SSL_read() and write(). */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

enum { CHUNK = 128 << 10, MAX_HEAD = 16 << 10 };

static char buffer[CHUNK];

static int need_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd < 0) die("%s: %s", path, strerror(errno));
    return fd;
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0) die("writing: %s", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
}

static void tls_write(SSL *ssl, const char *p, size_t n)
{
    size_t done;

    if (n && SSL_write_ex(ssl, p, n, &done) != 1) die("the other side does not take it");
}

/* 0 at the end of the stream, also where it is cut without a word. */
static size_t tls_read(SSL *ssl, char *p, size_t n)
{
    size_t done;

    if (SSL_read_ex(ssl, p, n, &done) == 1) return done;
    return 0;
}

/* Reads a head; the bytes of the body that came with it are left at the front of `buffer`. Returns how many. */
static size_t read_head(SSL *ssl, char head[MAX_HEAD])
{
    size_t len = 0;

    for (;;) {
        size_t n = tls_read(ssl, head + len, MAX_HEAD - 1 - len);
        if (!n) die("no head");
        len += n;
        head[len] = '\0';
        char *end = strstr(head, "\r\n\r\n");
        if (!end) continue;
        size_t rest = len - (size_t)(end + 4 - head);
        memcpy(buffer, end + 4, rest);
        end[2] = '\0';
        return rest;
    }
}

static size_t to_tls(SSL *ssl, int fd)
{
    size_t total = 0;
    ssize_t n;

    while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
        tls_write(ssl, buffer, (size_t)n);
        total += (size_t)n;
    }
    if (n < 0) die("reading: %s", strerror(errno));
    return total;
}

/* Of `wanted` bytes, or all until the end. */
static size_t from_tls(SSL *ssl, int fd, size_t have, size_t wanted)
{
    size_t total = 0;

    for (size_t n = have; n || !total; n = tls_read(ssl, buffer, sizeof(buffer))) {
        write_all(fd, buffer, n);
        total += n;
        if (total >= wanted) break;
    }
    if (fsync(fd)) die("fsync: %s", strerror(errno));
    return total;
}

/* ---- the client ---- */

static SSL *dial(SSL_CTX *ctx, uint16_t port)
{
    const struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    SSL *ssl = SSL_new(ctx);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof(a))) die("port %u: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) die("handshake");
    return ssl;
}

static void client(bool put, uint16_t port, const char *path, const char *file)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int fd = need_open(file, put ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC);
    char head[MAX_HEAD];
    struct stat st;

    if (fstat(fd, &st)) die("%s: %s", file, strerror(errno));
    SSL *ssl = dial(ctx, port);
    int64_t began = clock_monotonic_ns();
    int len = put ? snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %lld\r\n\r\n",
                             path, (long long)st.st_size)
                  : snprintf(head, sizeof(head), "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
    tls_write(ssl, head, (size_t)len);
    size_t have = read_head(ssl, head), total;
    if (strncmp(head + strcspn(head, " "), " 200", 4) != 0) die("%s: %.*s", path, (int)strcspn(head, "\r"), head);
    if (put) {
        total = to_tls(ssl, fd);
        while (tls_read(ssl, buffer, sizeof(buffer))) continue;
    } else {
        total = from_tls(ssl, fd, have, SIZE_MAX);
    }
    printf("%zu %.6f %d\n", total, (double)(clock_monotonic_ns() - began) / 1e9, SSL_get_cipher_bits(ssl, NULL));
    
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

/* ---- the peer ---- */

static void answer(SSL *ssl, const char *file, const char *new)
{
    static const char ok[] = "HTTP/1.0 200 OK\r\n\r\n";
    char head[MAX_HEAD];
    size_t have = read_head(ssl, head);
    const char *length = strcasestr(head, "\r\ncontent-length:");
    bool put = *head == 'P';
    int fd = need_open(put ? new : file, put ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY);

    if (put && !length) die("a PUT without a length");
    tls_write(ssl, ok, sizeof(ok) - 1);
    if (put) from_tls(ssl, fd, have, strtoul(length + 17, NULL, 10));
    else to_tls(ssl, fd);
    SSL_shutdown(ssl);
    close(fd);
}

/* One connection after another, until it is ended. */
static void serve(const char *cert, const char *key, const char *file, const char *new)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        die("%s, %s: no certificate", cert, key);
    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 4) ||
        getsockname(listener, (struct sockaddr *)&a, &len))
        die("listening: %s", strerror(errno));
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1) answer(ssl, file, new);
        SSL_free(ssl);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    bool put = argc == 5 && streq(argv[1], "put");

    signal(SIGPIPE, SIG_IGN);
    if (argc == 6 && streq(argv[1], "serve")) serve(argv[2], argv[3], argv[4], argv[5]);
    if (argc != 5 || (!put && !streq(argv[1], "get"))) die("usage: bulk get|put PORT PATH FILE, bulk serve CERT KEY FILE NEW");
    client(put, (uint16_t)need_number(argv[2]), argv[3], argv[4]);
    return 0;
}
