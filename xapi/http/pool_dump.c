/* GET and PUT /pool/xmldbdump: the database as XML, and back. After a restore the agent starts anew.
 * Called by: the HTTP server, on threads of their own.  Calls: pool_db, transfer, http_auth. */
#include "xapi/http/pool_dump.h"

#include <signal.h>

#include "lib/limits.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/transfer.h"
#include "xapi/pool_db.h"

void get_pool_xml_db_sync(struct http_request *req, struct call *c, struct xerr *err)
{
    struct strbuf xml = STRBUF_INIT;

    (void)err;
    pool_db_dump(c->agent, false, &xml);
    struct http_reply reply = { .status = 200, .content_type = "text/xml", .body = &xml, .close = true };
    http_reply(req, &reply);
}

static bool is_true(const char *text) { return text && !streq(text, "false") && !streq(text, "0"); }

void put_pool_xml_db_sync(struct http_request *req, struct call *c, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    bool dry_run = is_true(http_query(&req->head, "dry_run")), restored = false;

    /* A body without a byte is somebody who only wanted to see the 200 (Xen Orchestra). */
    if (!transfer_begin_upload(req, err) && !transfer_receive(req, c, LIMIT_POOL_DUMP, &xml, err) &&
        (xml.len || c->task->in_db))
        restored = !pool_db_restore(c, strbuf_cstr(&xml), xml.len, dry_run, err) && !dry_run;
    http_call_end(c, NULL, err);
    if (restored) kill(getpid(), SIGUSR1);
}
