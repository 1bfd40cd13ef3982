/* Every HTTP endpoint: what the schema says of it, and the function that serves it.
 * Called by: main.c.  Calls: http_auth, the handlers' files. */
#include "xapi/http/routes.h"

#include <assert.h>

#include "gen/http_routes.h"
#include "lib/limits.h"
#include "xapi/call/ready.h"
#include "xapi/http/blob.h"
#include "xapi/http/cli.h"
#include "xapi/http/console.h"
#include "xapi/http/host_files.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/messages.h"
#include "xapi/http/migrate.h"
#include "xapi/http/metrics.h"
#include "xapi/http/pool_dump.h"
#include "xapi/http/post_rpc.h"
#include "xapi/http/raw_vdi.h"
#include "xapi/http/screenshot.h"
#include "xapi/http/status.h"
#include "xapi/http/transfer.h"
#include "xapi/http/web.h"
#include "xapi/http/xva.h"

/* ---- who serves what ---- */

/* Endpoints that need no session, or find one in the body: the handler gets the bare request. */
static const struct {
    http_handler_fn serve;
    unsigned flags;
    size_t body_limit;
} bare[N_ROUTE_IDS] = {
    [ROUTE_get_root] = { web_get, 0, 0 },
    [ROUTE_options_any] = { web_options, 0, 0 },
    [ROUTE_options_json] = { web_options, 0, 0 },
    [ROUTE_options_jsonrpc] = { web_options, 0, 0 },
    [ROUTE_options_root] = { web_options, 0, 0 },
    [ROUTE_post_RPC2] = { post_xmlrpc, 0, LIMIT_RPC_BODY },
    [ROUTE_post_cli] = { post_cli, HTTP_STREAM | HTTP_NO_HEAD, LIMIT_CLI_BODY },
    [ROUTE_post_json] = { post_jsonrpc, 0, LIMIT_RPC_BODY },
    [ROUTE_post_jsonrpc] = { post_jsonrpc, 0, LIMIT_RPC_BODY },
    [ROUTE_post_root] = { post_xmlrpc, 0, LIMIT_RPC_BODY },
};

/* All others: the handler gets a call whose role was checked. Not here: 501, to who may ask at all. */
static const http_call_fn served[N_ROUTE_IDS] = {
    [ROUTE_connect_console] = console,
    [ROUTE_connect_migrate] = migrate,
    [ROUTE_get_audit_log] = get_audit_log,
    [ROUTE_get_blob] = get_blob,
    [ROUTE_get_console] = console,
    [ROUTE_get_export] = get_export,
    [ROUTE_get_export_metadata] = get_export_metadata,
    [ROUTE_get_export_raw_vdi] = get_export_raw_vdi,
    [ROUTE_get_host_backup] = get_host_backup,
    [ROUTE_get_host_logs_download] = get_host_logs_download,
    [ROUTE_get_host_rrd] = get_host_rrd,
    [ROUTE_get_messages] = get_messages,
    [ROUTE_get_metrics] = get_metrics,
    [ROUTE_get_pool_xml_db_sync] = get_pool_xml_db_sync,
    [ROUTE_get_rrd_updates] = get_rrd_updates,
    [ROUTE_get_sr_rrd] = get_sr_rrd,
    [ROUTE_get_status] = get_status,
    [ROUTE_get_system_status] = get_system_status,
    [ROUTE_get_vm_rrd] = get_vm_rrd,
    [ROUTE_get_vncsnapshot] = get_vncsnapshot,
    [ROUTE_put_blob] = put_blob,
    [ROUTE_put_host_restore] = put_host_restore,
    [ROUTE_put_import] = put_import,
    [ROUTE_put_import_metadata] = put_import_metadata,
    [ROUTE_put_import_raw_vdi] = put_import_raw_vdi,
    [ROUTE_put_messages] = put_messages,
    [ROUTE_put_pool_xml_db_sync] = put_pool_xml_db_sync,
    [ROUTE_put_rrd] = put_rrd,
};

/* ---- the gate ---- */

struct bound {
    const struct http_route_desc *desc;
    struct agent *agent;
};

struct routes {
    struct web *web;
    struct bound bound[N_HTTP_ROUTES];
};

/* What nobody serves: 501. Of an upload that is only when there is one: clients send an empty body first, or announce a length
 * that they do not know and send nothing, to see whether they are sent elsewhere; that gets its 200. */
static void serve_nothing(struct http_request *req, struct call *c, const struct http_route_desc *desc, struct xerr *err)
{
    int64_t length = streq(desc->method, "PUT") ? http_body_left(req) : 1;
    char byte;

    if (length > 0 && length < TRANSFER_LENGTH_UNKNOWN) {
        xerr_not_implemented(err, desc->permission);
        transfer_refuse(req, 501, err);
    } else if (!transfer_begin_upload(req, err) && length && transfer_read(req, c, NULL, &byte, 1) && !call_check_cancel(c, err)) {
        xerr_not_implemented(err, desc->permission);
    }
}

/* 1. who asks, and his role; 2. an agent that has just begun is waited for; 3. the handler; 4. the call and its task end,
 * whatever the handler did. */
static void serve(struct http_request *req, void *arg)
{
    const struct bound *b = arg;
    http_call_fn fn = served[b->desc->id];
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct call *c;

    if (http_authenticate(req, b->agent, b->desc, &c, &err)) {
        http_reply_refused(req, &err);
        return;
    }
    if (call_wait_ready(c, &err)) {
        transfer_refuse(req, 503, &err);
    } else if (fn) {
        fn(req, c, &err);
    } else {
        serve_nothing(req, c, b->desc, &err);
    }
    http_call_end(c, NULL, &err);
}

static enum http_method method_of(const char *text)
{
    static const struct {
        const char *text;
        enum http_method method;
    } methods[] = {
        { "GET", HTTP_GET }, { "PUT", HTTP_PUT }, { "POST", HTTP_POST }, { "CONNECT", HTTP_CONNECT },
        { "OPTIONS", HTTP_OPTIONS },
    };

    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (streq(methods[i].text, text)) return methods[i].method;
    abort();    /* the schema's grammar allows no other */
}

static void add(struct routes *r, struct http_server *server, struct agent *agent, size_t i)
{
    const struct http_route_desc *d = &http_routes[i];
    struct http_route route = { .method = method_of(d->method), .prefix = d->path };

    if (d->role_of_call || d->role == ROLE_NONE) {
        assert(bare[d->id].serve && !served[d->id]);
        route.handler = bare[d->id].serve;
        route.flags = bare[d->id].flags;
        route.body_limit = bare[d->id].body_limit;
        route.arg = d->id == ROUTE_get_root ? (void *)r->web : agent;
    } else {
        assert(!bare[d->id].serve);
        r->bound[i] = (struct bound){ d, agent };
        route.handler = serve;
        route.flags = HTTP_STREAM;
        route.arg = &r->bound[i];
    }
    http_server_route(server, &route);
}

struct routes *routes_new(struct http_server *server, struct agent *agent, const char *web_dir)
{
    struct routes *r = xcalloc(1, sizeof(*r));

    r->web = web_new(web_dir, 0);
    for (size_t i = 0; i < N_HTTP_ROUTES; i++) add(r, server, agent, i);
    return r;
}

void routes_free(struct routes *r)
{
    if (!r) return;
    web_free(r->web);
    free(r);
}
