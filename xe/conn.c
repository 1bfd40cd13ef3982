/* xe's connections: unix socket, TCP, TLS. Descriptors are nonblocking; every wait is a poll() in conn_wait.
 * Called by: xe.c, client.c.  Calls: lib, libssl by dlopen. */
#include "xe/conn.h"

#include "lib/catalog.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <spawn.h>
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
    const struct conn_waker *waker;
    SSL_CTX *ctx;
    SSL *ssl;                  /* NULL when plain */
    struct tls_lib tls;
};

/* ---- waiting ----------------------------------------------------------------------------------------- */

int conn_wait(struct conn *c, short events, int other)
{
    const struct conn_waker *w = c->waker;

    for (;;) {
        struct pollfd p[3] = { { .fd = c->fd, .events = events }, { .fd = other, .events = POLLIN },
                               { .fd = w ? w->fd : -1, .events = POLLIN } };
        int n = poll(p, 3, w ? w->every_ms : -1);

        if (n < 0 && errno != EINTR) return -1;
        if (w && (n == 0 || (n > 0 && p[2].revents)) && w->woken(w->arg) < 0) {
            errno = ECANCELED;
            return -1;
        }
        if (n > 0 && (p[0].revents || p[1].revents)) return 0;
    }
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* What OpenSSL waits for behind a call that gave rc: 1 = it has it, call again; 0 the end, -1 + errno. */
static int tls_wait(struct conn *c, int rc)
{
    switch (c->tls.SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return conn_wait(c, POLLIN, -1) < 0 ? -1 : 1;
    case SSL_ERROR_WANT_WRITE:
        return conn_wait(c, POLLOUT, -1) < 0 ? -1 : 1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        if (!errno) errno = EPROTO;
        return -1;
    default:
        errno = EPROTO;
        return -1;
    }
}

/* ---- TLS --------------------------------------------------------------------------------------------- */

static int tls_load(const struct catalog *words, struct tls_lib *l, char **ret_why)
{
    void *lib = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);   /* stays loaded until xe ends */

    if (!lib) {
        *ret_why = xasprintf(catalog_text(words, "TLS is not possible: %s"), dlerror());
        return -1;
    }
#define LOAD(name) \
    do { \
        *(void **)(void *)&l->name = dlsym(lib, #name); \
        if (!l->name) { \
            *ret_why = xasprintf(catalog_text(words, "TLS is not possible: libssl has no %s"), #name); \
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
static int tls_start(struct conn *c, const char *server, const struct catalog *words, char **ret_why)
{
    if (tls_load(words, &c->tls, ret_why) < 0) return -1;
    c->ctx = c->tls.SSL_CTX_new(c->tls.TLS_client_method());
    if (!c->ctx) {
        *ret_why = xstrdup(catalog_text(words, "TLS is not possible: no context"));
        return -1;
    }
    c->tls.SSL_CTX_ctrl(c->ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    c->ssl = c->tls.SSL_new(c->ctx);
    if (!c->ssl || c->tls.SSL_set_fd(c->ssl, c->fd) != 1) {
        *ret_why = xstrdup(catalog_text(words, "TLS is not possible: no connection object"));
        return -1;
    }
    c->tls.SSL_ctrl(c->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)server);
    c->tls.SSL_ctrl(c->ssl, SSL_CTRL_MODE, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
                    NULL);
    for (;;) {
        int rc = c->tls.SSL_connect(c->ssl);

        if (rc == 1) return 0;
        if (tls_wait(c, rc) == 1) continue;
        *ret_why = xasprintf(catalog_text(words, "%s does not speak TLS there (try --nossl)"), server);
        return -1;
    }
}

/* ---- connecting -------------------------------------------------------------------------------------- */

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

static int tcp_connect(const char *server, int port, const struct catalog *words, char **ret_why)
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
        *ret_why = xasprintf(catalog_text(words, "Host '%s' not found: %s"), server, gai_strerror(rc));
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
    if (fd < 0) *ret_why = xasprintf(catalog_text(words, "Cannot connect to %s port %d: %s"), server, port, strerror(why));
    return fd;
}

int conn_open(const struct conn_target *t, struct conn **ret_conn, char **ret_why)
{
    _cleanup_conn_ struct conn *c = xcalloc(1, sizeof *c);
    bool local = streq(t->server, "127.0.0.1");
    bool tls = t->tls && !local;
    int unix_why = 0;

    c->fd = -1;
    c->waker = t->waker;
    if (t->socket) {
        c->fd = unix_connect(t->socket);
        unix_why = errno;
    }
    if (c->fd < 0 && t->socket && t->socket_only) {
        *ret_why = xasprintf(catalog_text(t->words, "Cannot connect to %s: %s"), t->socket, strerror(unix_why));
        return -1;
    }
    if (c->fd < 0) {
        c->fd = tcp_connect(t->server, t->port ? t->port : tls ? 443 : 80, t->words, ret_why);
        if (c->fd < 0 && t->socket) {
            _cleanup_free_ char *tcp_why = *ret_why;

            *ret_why = xasprintf(catalog_text(t->words, "Cannot connect to %s: %s. %s"), t->socket, strerror(unix_why), tcp_why);
        }
        if (c->fd < 0) return -1;
        if (set_nonblocking(c->fd) == 0 && tls && tls_start(c, t->server, t->words, ret_why) < 0) return -1;
    }
    if (set_nonblocking(c->fd) < 0) {
        *ret_why = xasprintf("fcntl: %s", strerror(errno));
        return -1;
    }
    *ret_conn = take_ptr(c);
    return 0;
}

char *conn_program(const char *name)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    _cleanup_free_ char *beside = NULL;
    char *slash;

    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    if (slash) beside = xasprintf("%.*s/%s", (int)(slash - self), self, name);
    if (beside && access(beside, X_OK) == 0) return take_ptr(beside);
    return xasprintf("%s/%s", PKGLIBEXECDIR, name);
}

/* The program gets our socket as its standard input. It ends when we close ours. */
static int start_program(const struct conn_target *t, const char *program, int theirs)
{
    _cleanup_free_ char *port = xasprintf("%d", t->port);
    const char *argv[12] = { "xe-xmlrpc", "--server", t->server, "--port", port };
    posix_spawn_file_actions_t files;
    size_t n = 5;
    pid_t pid;
    int rc;

    if (t->socket) {
        argv[n++] = "--socket";
        argv[n++] = t->socket;
    }
    if (t->socket_only) argv[n++] = "--socket-only";
    if (!t->tls) argv[n++] = "--nossl";
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, theirs, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    rc = posix_spawn(&pid, program, &files, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    errno = rc;
    return rc ? -1 : 0;
}

int conn_open_commands(const struct conn_target *t, struct conn **ret_conn, char **ret_why)
{
    _cleanup_free_ char *program = NULL;
    _cleanup_close_ int theirs = -1;
    struct conn *c;
    int pair[2];

    if (!t->xmlrpc) return conn_open(t, ret_conn, ret_why);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        *ret_why = xasprintf(catalog_text(t->words, "No socket pair: %s"), strerror(errno));
        return -1;
    }
    c = xcalloc(1, sizeof *c);
    c->fd = pair[0];
    c->waker = t->waker;
    theirs = pair[1];
    set_nonblocking(c->fd);
    program = conn_program("xe-xmlrpc");
    if (start_program(t, program, theirs) < 0) {
        *ret_why = xasprintf(catalog_text(t->words, "XML-RPC is not possible: %s: %s"), program, strerror(errno));
        conn_close(c);
        return -1;
    }
    *ret_conn = c;
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

/* ---- bytes ------------------------------------------------------------------------------------------- */

/* wait: until there is something. */
static ssize_t read_some(struct conn *c, void *buf, size_t n, bool wait)
{
    for (;;) {
        ssize_t got;

        if (c->ssl) {
            int rc = c->tls.SSL_read(c->ssl, buf, n > INT32_MAX ? INT32_MAX : (int)n);

            if (rc > 0) return rc;
            if (!wait && c->tls.SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ) {
                errno = EAGAIN;
                return -1;
            }
            rc = tls_wait(c, rc);
            if (rc <= 0) return rc;
            continue;
        }
        got = read(c->fd, buf, n);
        if (got >= 0) return got;
        if (errno == EINTR) continue;
        if (errno != EAGAIN || !wait || conn_wait(c, POLLIN, -1) < 0) return -1;
    }
}

ssize_t conn_read(struct conn *c, void *buf, size_t n)
{
    return read_some(c, buf, n, true);
}

ssize_t conn_read_now(struct conn *c, void *buf, size_t n)
{
    return read_some(c, buf, n, false);
}

/* What goes now, at least one byte. */
static ssize_t write_some(struct conn *c, const char *p, size_t n)
{
    for (;;) {
        ssize_t did;

        if (c->ssl) {
            int rc = c->tls.SSL_write(c->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);

            if (rc > 0) return rc;
            rc = tls_wait(c, rc);
            if (rc == 0) errno = EPIPE;
            if (rc <= 0) return -1;
            continue;
        }
        did = send(c->fd, p, n, MSG_NOSIGNAL);
        if (did >= 0) return did;
        if (errno == EINTR) continue;
        if (errno != EAGAIN || conn_wait(c, POLLOUT, -1) < 0) return -1;
    }
}

int conn_write(struct conn *c, const void *buf, size_t n)
{
    const char *p = buf;

    while (n) {
        ssize_t did = write_some(c, p, n);

        if (did < 0) return -1;
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
