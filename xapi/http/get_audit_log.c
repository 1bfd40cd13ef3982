/* GET /audit_log: the audit log's lines, all or since a time.
 * Called by: the HTTP server, on a thread of its own.  Calls: http_auth, audit. */
#include "xapi/http/get_audit_log.h"

#include <stdio.h>

#include "lib/iso8601.h"
#include "xapi/http/http_auth.h"
#include "xapi/rpc/audit.h"

enum { PIECE = 64 << 10, WRITE_MS = 60 * 1000 };

struct copy {
    struct stream *to;
    bool all;                  /* no more looking at times: lines are in order */
    int64_t since;
    struct strbuf out;
};

static int flush(struct copy *k)
{
    int rc = stream_write(k->to, strbuf_cstr(&k->out), k->out.len, WRITE_MS);

    strbuf_clear(&k->out);
    return rc;
}

/* A line begins with its time, then '|'. */
static bool wanted(struct copy *k, const char *line)
{
    char time[ISO8601_TEXT] = "";
    int64_t t;

    if (k->all) return true;
    size_t n = strcspn(line, "|");
    if (n < sizeof(time)) memcpy(time, line, n);
    k->all = iso8601_parse(time, &t) && t >= k->since;
    return k->all;
}

static int copy_file(struct copy *k, const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;

    if (!f) return 0;
    while (!rc && (n = getline(&line, &cap, f)) > 0) {
        if (wanted(k, line)) strbuf_add(&k->out, line, (size_t)n);
        if (k->out.len >= PIECE) rc = flush(k);
    }
    free(line);
    fclose(f);
    return rc;
}

static void copy_log(struct copy *k, const char *folder)
{
    int rc = 0;

    for (int i = AUDIT_KEEP; i >= 0 && !rc; i--) {
        _cleanup_free_ char *path = audit_path(folder, i);
        rc = copy_file(k, path);
    }
    if (!rc) flush(k);
    strbuf_free(&k->out);
}

static void get_audit_log(struct http_request *req, void *arg)
{
    struct agent *agent = arg;
    const char *since = http_param(&req->head, "since");
    struct copy k = { .all = !since || !*since };
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct call *c;

    if (http_authenticate(req, agent, "http/get_audit_log", ROLE_READ_ONLY, &c, &err)) {
        http_reply_refused(req, &err);
        return;
    }
    if (!k.all && !iso8601_parse(since, &k.since)) {
        xerr_invalid_value(&err, "since", since);
        http_call_end(c, NULL, &err);
        http_reply_error(req, 400, "since is not a time.");
        return;
    }
    /* The line of this request itself comes last in what is sent. */
    http_call_end(c, NULL, NULL);
    if (http_stream_head(req, 200, "Content-Type: text/plain\r\nCache-Control: no-cache, no-store\r\n")) return;
    k.to = http_stream(req);
    copy_log(&k, agent->root);
}

void get_audit_log_routes(struct http_server *s, struct agent *agent)
{
    const struct http_route route = {
        .method = HTTP_GET, .prefix = "/audit_log", .flags = HTTP_STREAM, .handler = get_audit_log, .arg = agent,
    };

    http_server_route(s, &route);
}
