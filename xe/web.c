/* One HTTP request of xe: a transfer's head, a console's, a call of the API.
 * Called by: client.c, transfer.c, console.c.  Calls: conn. */
#include "xe/web.h"

#include "lib/num.h"
#include "lib/strbuf.h"

#include <stdio.h>
#include <strings.h>

enum { MAX_REDIRECTS = 3 };

void web_close(struct web *web)
{
    conn_close(web->conn);
    web->conn = NULL;
}

/* A header's value, malloc'd, or NULL. name: in lower case, with its colon. */
static char *header(const struct web *web, const char *name)
{
    const char *line = web->head;
    size_t n_name = strlen(name);

    while (line < web->head + web->body) {
        size_t n = strcspn(line, "\r\n");

        if (strncasecmp(line, name, n_name) == 0) {
            line += n_name;
            line += strspn(line, " \t");
            return xstrndup(line, strcspn(line, "\r\n"));
        }
        line += n;
        line += strspn(line, "\r\n");
    }
    return NULL;
}

int64_t web_length(const struct web *web)
{
    _cleanup_free_ char *value = header(web, "content-length:");
    int64_t length;

    return value && num_parse_int(value, &length) && length >= 0 ? length : -1;
}

static int open_url(const struct conn_target *target, const char *url, struct web *web, const char **ret_path)
{
    struct conn_target t = *target;
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
        t = (struct conn_target){ .server = host, .tls = has_prefix(url, "https:"), .waker = target->waker, .words = target->words };
        if (colon && !strchr(colon, ']')) {
            t.port = atoi(colon + 1);
            *colon = '\0';
        }
        *ret_path = start[n] ? start + n : "/";
        /* Back to the server we already talk to: by the way that worked. */
        if (streq(host, target->server) && !t.port) t = *target;
    }
    if (conn_open(&t, &web->conn, &why) < 0) {
        fprintf(stderr, "%s\n", why);
        return -1;
    }
    return 0;
}

static int ask(struct web *web, const char *method, const char *path, const char *headers, const char *body)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    char *end = NULL;

    strbuf_printf(&b, "%s %s HTTP/1.0\r\n%s\r\n%s", method, path, headers, body);
    if (conn_write(web->conn, b.ptr, b.len) < 0) return -1;
    while (!end) {
        ssize_t got;

        if (web->len == WEB_MAX_HEAD) return -1;
        got = conn_read(web->conn, web->head + web->len, WEB_MAX_HEAD - web->len);
        if (got <= 0) return -1;
        web->len += (size_t)got;
        web->head[web->len] = '\0';
        end = memmem(web->head, web->len, "\r\n\r\n", 4);
    }
    web->body = (size_t)(end + 4 - web->head);
    return sscanf(web->head, "HTTP/1.%*d %d", &web->status) == 1 ? 0 : -1;
}

int web_begin(const struct conn_target *target, struct web *web, const char *method, const char *url,
              const char *headers, const char *body, void (*debug)(const char *line))
{
    _cleanup_free_ char *at = xstrdup(url);

    for (int i = 0; i <= MAX_REDIRECTS; i++) {
        _cleanup_free_ char *line = NULL;
        const char *path;
        char *next;

        web->len = web->body = 0;
        web->status = 0;
        if (open_url(target, at, web, &path) < 0) return -1;
        line = xasprintf("%s %s", method, path);
        if (debug) debug(line);
        if (ask(web, method, path, headers, body) < 0) return -1;
        if (debug) {
            _cleanup_free_ char *status = web_status_line(web);

            debug(status);
        }
        if (web->status != 302) return 0;
        next = header(web, "location:");
        web_close(web);
        if (!next) return -1;
        free(at);
        at = next;
    }
    return -1;
}

/* What came with the head. */
static ssize_t read_early(struct web *web, void *buf, size_t n)
{
    size_t early = web->len - web->body;

    if (n > early) n = early;
    memcpy(buf, web->head + web->body, n);
    web->body += n;
    return (ssize_t)n;
}

ssize_t web_read(struct web *web, void *buf, size_t n)
{
    return web->len > web->body ? read_early(web, buf, n) : conn_read(web->conn, buf, n);
}

ssize_t web_read_now(struct web *web, void *buf, size_t n)
{
    return web->len > web->body ? read_early(web, buf, n) : conn_read_now(web->conn, buf, n);
}

char *web_status_line(const struct web *web)
{
    return xstrndup(web->head, strcspn(web->head, "\r\n"));
}
