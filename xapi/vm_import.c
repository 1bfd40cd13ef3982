/* Class VM: import of an exported file from a web server.
 * Called by: the generated thunks (schema/vm.xml).  Calls: xva, unpack, httpc. */
#include <errno.h>
#include <sys/socket.h>

#include "gen/methods.h"
#include "lib/httpc.h"
#include "xapi/certificate.h"
#include "xapi/unpack.h"
#include "xapi/upload.h"
#include "xapi/xva.h"

enum { STEP_MS = 60000 };

struct download {
    struct httpc *http;
    struct xerr err;          /* what went wrong with the last piece */
};

static ssize_t read_piece(void *arg, void *buf, size_t n)
{
    struct download *d = arg;

    xerr_clear(&d->err);
    return httpc_read(d->http, buf, n, STEP_MS, &d->err);
}

/* A read that waits gets the end at once. */
static void stop(void *arg)
{
    struct download *d = arg;

    shutdown(httpc_stream(d->http)->fd, SHUT_RDWR);
}

static int import(struct call *c, struct download *d, struct xva_import *what, struct value *ret_vms, struct xerr *err)
{
    const struct unpack_source source = { read_piece, stop, d };
    struct unpack *u = unpack_open(c, &source, err);

    if (!u) return err->code ? -1 : xerr_import_error_premature_eof(err);
    what->read = unpack_read;
    what->arg = u;
    int rc = xva_import(c, what, ret_vms, err);
    unpack_close(u);
    return rc;
}

static int fetch(struct call *c, const struct url_address *from, struct xva_import *what, struct value *ret_vms,
                 struct xerr *err)
{
    struct tls_client *tls = NULL;
    struct download d = { .err = XERR_INIT };
    const struct http_status *head;
    int rc = -1;

    if (from->tls && certificate_client(c->agent, &tls, err)) return -1;
    const struct httpc_target target = { .host = from->host, .port = from->port, .tls = tls };
    d.http = httpc_connect(&target, STEP_MS, err);
    if (d.http && !httpc_send(d.http, "GET", from->target, NULL, NULL, 0, STEP_MS, err) &&
        !httpc_receive(d.http, STEP_MS, &head, err))
        rc = head->status == 200 ? import(c, &d, what, ret_vms, err)
                                 : xerr_import_error(err, arena_printf(c->arena, "%s port %u answered %d", from->host,
                                                                       from->port, head->status));
    httpc_free(d.http);
    tls_client_free(tls);
    xerr_clear(&d.err);
    return rc;
}

/* full_restore: VMs keep their uuid, cards their MAC. force changes nothing for a whole file. The address may hold a
 * secret: no error repeats more of it than the host. */
int vm_import(struct call *c, const char *url, struct ref sr, bool full_restore, bool force, struct value *ret_result,
              struct xerr *err)
{
    struct xva_import what = { .sr = sr, .restore = full_restore, .force = force };
    struct url_address from;

    if (url_parse(c, url, &from, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_SR, sr, err);
        if (!row) return -1;
        if (streq(row_str(row, F_SR_content_type), "iso")) return xerr_sr_operation_not_supported(err, REF_STR(sr));
    }
    return fetch(c, &from, &what, ret_result, err);
}
