/* Sending a file to a web server.
 * Called by: host_logs.c, host_crashdump.c.  Calls: httpc, certificate. */
#include "xapi/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/httpc.h"
#include "lib/num.h"
#include "xapi/certificate.h"

enum { STEP_MS = 60000, PIECE = 64 << 10 };

/* scheme://host[:port][/path] */
int url_parse(struct call *c, const char *url, struct url_address *ret, struct xerr *err)
{
    const char *p = has_prefix(url, "https://") ? url + 8 : has_prefix(url, "http://") ? url + 7 : NULL;
    int64_t port = 0;

    if (!p || strlen(url) > 4096) return xerr_invalid_value(err, "url", url);
    for (const char *q = url; *q; q++)
        if ((unsigned char)*q <= 0x20 || *q == 0x7f) return xerr_invalid_value(err, "url", url);
    ret->tls = url[4] == 's';
    size_t n = strcspn(p, "/");
    char *host = arena_strndup(c->arena, p, n);
    ret->target = p[n] ? arena_strdup(c->arena, p + n) : "/";
    char *colon = host[0] == '[' ? strchr(host, ']') : host;
    colon = colon ? strchr(colon, ':') : NULL;
    if (colon) {
        *colon = '\0';
        if (!num_parse_int(colon + 1, &port) || port < 1 || port > 65535)
            return xerr_invalid_value(err, "url", url);
    }
    if (host[0] == '[') {
        host[strlen(host) - 1] = '\0';
        host++;
    }
    if (!*host || strchr(host, '@')) return xerr_invalid_value(err, "url", url);
    ret->host = host;
    ret->port = port ? (unsigned)port : ret->tls ? 443 : 80;
    return 0;
}

static int send_body(struct call *c, struct stream *to, int fd, const char *path, struct xerr *err)
{
    char buf[PIECE];
    ssize_t n;

    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        if (call_check_cancel(c, err)) return -1;
        if (stream_write(to, buf, (size_t)n, STEP_MS) < 0)
            return xerr_internal(err, "upload: %s", strerror(errno));
    }
    return n < 0 ? xerr_internal(err, "%s: %s", path, strerror(errno)) : 0;
}

static int put(struct call *c, struct httpc *http, const struct url_address *to, int fd, const char *path,
               struct xerr *err)
{
    const struct http_status *head;
    struct stat st;

    if (fstat(fd, &st)) return xerr_internal(err, "%s: %s", path, strerror(errno));
    const char *headers =
        arena_printf(c->arena, "Content-Type: application/octet-stream\r\nContent-Length: %lld\r\n",
                     (long long)st.st_size);
    if (httpc_send(http, "PUT", to->target, headers, NULL, 0, STEP_MS, err)) return -1;
    if (send_body(c, httpc_stream(http), fd, path, err)) return -1;
    if (httpc_receive(http, STEP_MS, &head, err)) return -1;
    if (head->status / 100 == 2) return 0;
    return xerr_internal(err, "%s port %u refused the upload: %d %s", to->host, to->port, head->status,
                         head->reason);
}

int upload_file(struct call *c, const char *path, const char *url, struct xerr *err)
{
    struct url_address to = { .host = NULL };
    struct tls_client *tls = NULL;

    if (url_parse(c, url, &to, err)) return -1;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return xerr_internal(err, "%s: %s", path, strerror(errno));
    if (to.tls && certificate_client(c->agent, &tls, err)) return -1;
    const struct httpc_target target = { .host = to.host, .port = to.port, .tls = tls };
    struct httpc *http = httpc_connect(&target, STEP_MS, err);
    int rc = http ? put(c, http, &to, fd, path, err) : -1;
    httpc_free(http);
    tls_client_free(tls);
    return rc;
}
