/* Every HTTP endpoint that has a handler.
 * Called by: main.c.  Calls: the handlers' files. */
#include "xapi/http/routes.h"

#include "xapi/http/blob.h"
#include "xapi/http/cli.h"
#include "xapi/http/host_files.h"
#include "xapi/http/metrics.h"
#include "xapi/http/pool_dump.h"
#include "xapi/http/console.h"
#include "xapi/http/post_rpc.h"
#include "xapi/http/raw_vdi.h"
#include "xapi/http/web.h"
#include "xapi/http/xva.h"

struct routes {
    struct web *web;
};

struct routes *routes_new(struct http_server *server, struct agent *agent, const char *web_dir)
{
    struct routes *r = xcalloc(1, sizeof(*r));

    r->web = web_new(web_dir, 0);
    post_rpc_routes(server, agent);
    cli_routes(server, agent);
    blob_routes(server, agent);
    pool_dump_routes(server, agent);
    host_files_routes(server, agent);
    console_routes(server, agent);
    metrics_routes(server, agent);
    raw_vdi_routes(server, agent);
    xva_routes(server, agent);
    web_routes(r->web, server);
    return r;
}

void routes_free(struct routes *r)
{
    if (!r) return;
    web_free(r->web);
    free(r);
}
