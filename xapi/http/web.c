/* Static files of the web directory, and CORS.
 * Called by: the route table.  Calls: server.h. */
#include "xapi/http/web.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <strings.h>
#include <sys/stat.h>

#define LOG_MODULE "http"
#include "lib/log.h"

struct web {
    int dir_fd;                /* -1 = none */
    unsigned https_port;
};

enum {
    INLINE_BYTES = 256 << 10,  /* more is read on a thread */
    FILE_MAX = 64 << 20,
    PATH_MAX_BYTES = 1024,
};

struct file {
    int fd;
    size_t size;
    const char *content_type, *headers;
};

struct web *web_new(const char *dir, unsigned https_port)
{
    struct web *w = xcalloc(1, sizeof(*w));

    w->https_port = https_port;
    w->dir_fd = dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir && w->dir_fd < 0) log_info("no web directory %s: %m", dir);
    return w;
}

void web_free(struct web *w)
{
    if (!w) return;
    if (w->dir_fd >= 0) close(w->dir_fd);
    free(w);
}

/* --- finding ------------------------------------------------------------------------------------------- */

/* Open a path below dir_fd, component by component, so that neither ".." nor a link leads out. Empty
 * components are skipped. -1 + errno. */
static int open_below(int dir_fd, const char *path)
{
    _cleanup_close_ int at = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);

    if (at < 0 || strlen(path) > PATH_MAX_BYTES) return -1;
    for (;;) {
        char name[NAME_MAX + 1];
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        if (!n) break;
        if (n > NAME_MAX || path[0] == '.') {
            errno = ENOENT;
            return -1;
        }
        memcpy(name, path, n);
        name[n] = '\0';
        path += n;
        bool last = !path[strspn(path, "/")];
        /* NONBLOCK: a fifo must not hold the thread before fstat() has told what it is. */
        int flags =
            O_CLOEXEC | O_NOFOLLOW | (last ? O_RDONLY | O_NONBLOCK : O_PATH) | (*path ? O_DIRECTORY : 0);
        int next = openat(at, name, flags);
        if (next < 0) return -1;
        close(at);
        at = next;
    }
    return take_fd(at);
}

static const char *content_type(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {
        { ".html", "text/html; charset=utf-8" },
        { ".htm", "text/html; charset=utf-8" },
        { ".js", "text/javascript; charset=utf-8" },
        { ".mjs", "text/javascript; charset=utf-8" },
        { ".css", "text/css; charset=utf-8" },
        { ".txt", "text/plain; charset=utf-8" },
        { ".json", "application/json" },
        { ".map", "application/json" },
        { ".xml", "text/xml" },
        { ".svg", "image/svg+xml" },
        { ".png", "image/png" },
        { ".jpg", "image/jpeg" },
        { ".jpeg", "image/jpeg" },
        { ".gif", "image/gif" },
        { ".webp", "image/webp" },
        { ".ico", "image/x-icon" },
        { ".wasm", "application/wasm" },
        { ".woff", "font/woff" },
        { ".woff2", "font/woff2" },
        { ".ttf", "font/ttf" },
        { ".pdf", "application/pdf" },
    };
    size_t n = strlen(path);

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        size_t len = strlen(types[i].suffix);
        if (n > len && strcasecmp(path + n - len, types[i].suffix) == 0) return types[i].type;
    }
    return "application/octet-stream";
}

/* --- answering ----------------------------------------------------------------------------------------- */

static void send_file(struct http_request *req, void *arg)
{
    struct file *f = arg;
    struct strbuf body = STRBUF_INIT;
    size_t left = f->size;
    ssize_t n = 0;

    strbuf_reserve(&body, f->size);
    while (left && (n = read(f->fd, body.ptr + body.len, left)) > 0) {
        body.len += (size_t)n;
        body.ptr[body.len] = '\0';
        left -= (size_t)n;
    }
    close(f->fd);
    if (n < 0) {
        strbuf_free(&body);
        http_reply_error(req, 500, NULL);
        return;
    }
    struct http_reply r = {
        .status = 200, .content_type = f->content_type, .headers = f->headers, .body = &body
    };
    http_reply(req, &r);
}

/* A directory without its slash would make relative links in its index wrong. */
static void redirect_to_directory(struct http_request *req)
{
    _cleanup_strbuf_ struct strbuf url = STRBUF_INIT;

    /* One leading slash only: two would name another host. */
    strbuf_char(&url, '/');
    http_escape(&url, req->head.path + strspn(req->head.path, "/"), "/");
    strbuf_char(&url, '/');
    http_reply_redirect(req, 301, strbuf_cstr(&url));
}

/* True when the request was answered with the address of the TLS listener. */
static bool redirect_to_https(struct http_request *req, const struct web *w)
{
    _cleanup_strbuf_ struct strbuf url = STRBUF_INIT;
    const char *host = http_header(&req->head, "Host");

    if (!w->https_port || req->peer.tls || req->peer.is_unix || !host || !*host) return false;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n > strlen(host) ||
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") != strlen(host))
        return false;
    strbuf_str(&url, "https://");
    strbuf_add(&url, host, n);
    if (w->https_port != 443) strbuf_printf(&url, ":%u", w->https_port);
    strbuf_str(&url, req->head.target);
    http_reply_redirect(req, 301, strbuf_cstr(&url));
    return true;
}

void web_get(struct http_request *req, void *arg)
{
    const struct web *w = arg;
    const char *path = req->head.path;
    struct stat st;

    /* 1. The file; for a directory its index. */
    if (streq(path, "/") && redirect_to_https(req, w)) return;
    _cleanup_close_ int fd = w->dir_fd >= 0 ? open_below(w->dir_fd, path) : -1;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        if (path[strlen(path) - 1] != '/') {
            redirect_to_directory(req);
            return;
        }
        path = "index.html";
        int index = openat(fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        close(fd);
        fd = index;
    }
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        http_reply_error(req, 404, NULL);
        return;
    }
    if (st.st_size > FILE_MAX) {
        log_warn("%s is too large to serve", path);
        http_reply_error(req, 500, NULL);
        return;
    }

    /* 2. The browser may have it already. */
    const char *tag = arena_printf(req->arena, "\"%llx-%llx-%llx\"", (unsigned long long)st.st_mtim.tv_sec,
                                   (unsigned long long)st.st_mtim.tv_nsec, (unsigned long long)st.st_size);
    const char *headers = arena_printf(req->arena, "ETag: %s\r\nCache-Control: no-cache\r\n"
                                                   "X-Content-Type-Options: nosniff\r\n", tag);
    const char *known = http_header(&req->head, "If-None-Match");
    if (known && http_has_token(known, tag)) {
        struct http_reply r = { .status = 304, .headers = headers };
        http_reply(req, &r);
        return;
    }

    /* 3. Small files at once, large ones where reading holds nobody up. */
    struct file *f = arena_alloc(req->arena, sizeof(*f));
    *f = (struct file){ fd, (size_t)st.st_size, content_type(path), headers };
    if (f->size <= INLINE_BYTES) {
        (void)take_fd(fd);
        send_file(req, f);
    } else if (http_defer(req, send_file, f) == 0) {
        (void)take_fd(fd);
    } else {
        http_reply_error(req, 503, NULL);
    }
}

void web_options(struct http_request *req, void *arg _unused_)
{
    const char *wanted = http_header(&req->head, "Access-Control-Request-Headers");
    struct http_reply r = { .status = 200 };

    r.headers = arena_printf(req->arena,
                             "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: %s%s"
                             "X-Requested-With\r\nAccess-Control-Allow-Methods: GET, POST, PUT, OPTIONS\r\n"
                             "Access-Control-Max-Age: 86400\r\n",
                             wanted ? wanted : "", wanted && *wanted ? ", " : "");
    http_reply(req, &r);
}
