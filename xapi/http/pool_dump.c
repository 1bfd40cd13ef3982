/* GET and PUT /pool/xmldbdump: the database as XML, and back. After a restore the agent starts anew.
 * Called by: the HTTP server, on threads of their own.  Calls: pool_db, transfer, http_auth. */
#include "xapi/http/pool_dump.h"

#include <signal.h>

#include "xapi/http/http_auth.h"
#include "xapi/http/transfer.h"
#include "xapi/pool_db.h"

static void get_dump(struct http_request *req, void *arg)
{
    struct agent *agent = arg;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct strbuf xml = STRBUF_INIT;
    struct call *c;

    if (http_authenticate(req, agent, "http/get_pool_xml_db_sync", ROLE_POOL_ADMIN, &c, &err)) {
        http_reply_refused(req, &err);
        return;
    }
    pool_db_dump(agent, false, &xml);
    struct http_reply reply = { .status = 200, .content_type = "text/xml", .body = &xml, .close = true };
    http_reply(req, &reply);
    http_call_end(c, NULL, NULL);
}

static bool is_true(const char *text) { return text && !streq(text, "false") && !streq(text, "0"); }

static void put_dump(struct http_request *req, void *arg)
{
    struct agent *agent = arg;
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    bool dry_run = is_true(http_query(&req->head, "dry_run")), restored = false;
    struct call *c;

    if (http_authenticate(req, agent, "http/put_pool_xml_db_sync", ROLE_POOL_ADMIN, &c, &err)) {
        http_reply_refused(req, &err);
        return;
    }
    /* A body without a byte is somebody who only wanted to see the 200 (Xen Orchestra). */
    if (!transfer_begin_upload(req, &err) && !transfer_receive(req, c, POOL_DB_MAX, &xml, &err) &&
        (xml.len || c->task->in_db))
        restored = !pool_db_restore(c, strbuf_cstr(&xml), xml.len, dry_run, &err) && !dry_run;
    http_call_end(c, NULL, &err);
    if (restored) kill(getpid(), SIGUSR1);
}

void pool_dump_routes(struct http_server *server, struct agent *agent)
{
    const struct http_route routes[] = {
        { .method = HTTP_GET,
          .prefix = "/pool/xmldbdump",
          .flags = HTTP_STREAM,
          .handler = get_dump,
          .arg = agent },
        { .method = HTTP_PUT,
          .prefix = "/pool/xmldbdump",
          .flags = HTTP_STREAM,
          .handler = put_dump,
          .arg = agent },
    };

    http_server_routes(server, routes, ARRAY_SIZE(routes));
}
