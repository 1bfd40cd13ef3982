/* xe's connections: unix socket, TCP, TLS; blocking.
 * Called by: xe.c, client.c.  Calls: lib, libssl by dlopen. */
#include "xe/conn.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The few functions of libssl that xe needs; loading the library costs more than the rest of most commands.
 */
struct tls_lib {
    __typeof__(TLS_client_method) *TLS_client_method;
    __typeof__(SSL_CTX_new) *SSL_CTX_new;
    __typeof__(SSL_CTX_free) *SSL_CTX_free;
    __typeof__(SSL_CTX_ctrl) *SSL_CTX_ctrl;
    __typeof__(SSL_new) *SSL_new;
    __typeof__(SSL_free) *SSL_free;
    __typeof__(SSL_ctrl) *SSL_ctrl;
    __typeof__(SSL_set_fd) *SSL_set_fd;
    __typeof__(SSL_connect) *SSL_connect;
    __typeof__(SSL_read) *SSL_read;
    __typeof__(SSL_write) *SSL_write;
    __typeof__(SSL_pending) *SSL_pending;
    __typeof__(SSL_shutdown) *SSL_shutdown;
    __typeof__(SSL_get_error) *SSL_get_error;
};

struct conn {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;                  /* NULL when plain */
    struct tls_lib tls;
};

static int tls_load(struct tls_lib *l, char **ret_why)
{
    void *lib = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);   /* stays loaded until xe ends */

    if (!lib) {
        *ret_why = xasprintf("TLS is not possible: %s", dlerror());
        return -1;
    }
#define LOAD(name) \
    do { \
        *(void **)(void *)&l->name = dlsym(lib, #name); \
        if (!l->name) { \
            *ret_why = xasprintf("TLS is not possible: libssl has no %s", #name); \
            return -1; \
        } \
    } while (0)
    LOAD(TLS_client_method);
    LOAD(SSL_CTX_new);
    LOAD(SSL_CTX_free);
    LOAD(SSL_CTX_ctrl);
    LOAD(SSL_new);
    LOAD(SSL_free);
    LOAD(SSL_ctrl);
    LOAD(SSL_set_fd);
    LOAD(SSL_connect);
    LOAD(SSL_read);
    LOAD(SSL_write);
    LOAD(SSL_pending);
    LOAD(SSL_shutdown);
    LOAD(SSL_get_error);
#undef LOAD
    return 0;
}

/* Servers have self-signed certificates as a rule, and xe has never verified them. */
static int tls_start(struct conn *c, const char *server, char **ret_why)
{
    if (tls_load(&c->tls, ret_why) < 0) return -1;
    c->ctx = c->tls.SSL_CTX_new(c->tls.TLS_client_method());
    if (!c->ctx) {
        *ret_why = xstrdup("TLS is not possible: no context");
        return -1;
    }
    c->tls.SSL_CTX_ctrl(c->ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    c->ssl = c->tls.SSL_new(c->ctx);
    if (!c->ssl || c->tls.SSL_set_fd(c->ssl, c->fd) != 1) {
        *ret_why = xstrdup("TLS is not possible: no connection object");
        return -1;
    }
    c->tls.SSL_ctrl(c->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)server);
    if (c->tls.SSL_connect(c->ssl) != 1) {
        *ret_why = xasprintf("%s does not speak TLS there (try --nossl)", server);
        return -1;
    }
    return 0;
}

static int unix_connect(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    _cleanup_close_ int fd = -1;

    if (strlen(path) >= sizeof addr.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) return -1;
    return take_fd(fd);
}

static int tcp_connect(const char *server, int port, char **ret_why)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;
    _cleanup_free_ char *host = xstrdup(server);
    _cleanup_free_ char *service = xasprintf("%d", port);
    size_t n = strlen(host);
    int fd = -1, rc, why = 0;

    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        memmove(host, host + 1, n - 1);
    }
    rc = getaddrinfo(host, service, &hints, &list);
    if (rc) {
        *ret_why = xasprintf("Host '%s' not found: %s", server, gai_strerror(rc));
        return -1;
    }
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol);
        if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0) break;
        why = errno;
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0) *ret_why = xasprintf("Cannot connect to %s port %d: %s", server, port, strerror(why));
    return fd;
}

int conn_open(const struct conn_target *t, struct conn **ret_conn, char **ret_why)
{
    _cleanup_conn_ struct conn *c = xcalloc(1, sizeof *c);
    bool local = streq(t->server, "127.0.0.1");
    bool tls = t->tls && !local;
    int unix_why = 0;

    c->fd = -1;
    if (t->socket) {
        c->fd = unix_connect(t->socket);
        unix_why = errno;
    }
    if (c->fd < 0 && t->socket && t->socket_only) {
        *ret_why = xasprintf("Cannot connect to %s: %s", t->socket, strerror(unix_why));
        return -1;
    }
    if (c->fd < 0) {
        c->fd = tcp_connect(t->server, t->port ? t->port : tls ? 443 : 80, ret_why);
        if (c->fd < 0 && t->socket) {
            _cleanup_free_ char *tcp_why = *ret_why;

            *ret_why = xasprintf("Cannot connect to %s: %s. %s", t->socket, strerror(unix_why), tcp_why);
        }
        if (c->fd < 0) return -1;
        if (tls && tls_start(c, t->server, ret_why) < 0) return -1;
    }
    *ret_conn = take_ptr(c);
    return 0;
}

void conn_close(struct conn *c)
{
    if (!c) return;
    if (c->ssl) c->tls.SSL_free(c->ssl);
    if (c->ctx) c->tls.SSL_CTX_free(c->ctx);
    if (c->fd >= 0) close(c->fd);
    free(c);
}

int conn_fd(const struct conn *c)
{
    return c->fd;
}

bool conn_pending(const struct conn *c)
{
    return c->ssl && c->tls.SSL_pending(c->ssl) > 0;
}

ssize_t conn_read(struct conn *c, void *buf, size_t n)
{
    ssize_t got;

    if (c->ssl) {
        int rc = c->tls.SSL_read(c->ssl, buf, n > INT32_MAX ? INT32_MAX : (int)n);

        if (rc > 0) return rc;
        rc = c->tls.SSL_get_error(c->ssl, rc);
        if (rc == SSL_ERROR_ZERO_RETURN) return 0;
        if (rc != SSL_ERROR_SYSCALL || !errno) errno = EPROTO;
        return -1;
    }
    do got = read(c->fd, buf, n);
    while (got < 0 && errno == EINTR);
    return got;
}

int conn_write(struct conn *c, const void *buf, size_t n)
{
    const char *p = buf;

    while (n) {
        ssize_t did;

        if (c->ssl) {
            did = c->tls.SSL_write(c->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
            if (did <= 0) {
                errno = EPIPE;
                return -1;
            }
        } else {
            did = send(c->fd, p, n, MSG_NOSIGNAL);
            if (did < 0 && errno == EINTR) continue;
            if (did < 0) return -1;
        }
        p += did;
        n -= (size_t)did;
    }
    return 0;
}

void conn_end(struct conn *c)
{
    if (c->ssl) c->tls.SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
}
