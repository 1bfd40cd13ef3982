/* VMs as files over HTTP, plain or through gzip or zstd.
 * Called by: the HTTP server, on threads of their own.  Calls: xva, transfer.
 *
 * The packer is a process between two pipes. One end of it is this thread's (the archive), the other a
 * second thread's (the connection), so that neither waits for the other in a circle. */
#include "xapi/http/xva.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "lib/subproc.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/transfer.h"
#include "xapi/unpack.h"
#include "xapi/xva.h"

enum { PIECE = 64 << 10, STEP_MS = 60000, END_MS = 60000 };

struct transfer {
    struct http_request *req;
    struct call *c;
    /* with a packer */
    struct subproc child;
    int to, from; /* our ends of its pipes */
    pthread_t pump;
    bool pumping;
    atomic_bool stop; /* nobody wants more from the pump */
    atomic_bool gone; /* the client */
};

/* ---- the packer --------------------------------------------------------------------------------- */

static int write_all(int fd, const char *p, size_t n)
{
    for (ssize_t m; n; p += m, n -= (size_t)m) {
        m = write(fd, p, n);
        if (m < 0 && errno == EINTR) m = 0;
        if (m < 0) return -1;
    }
    return 0;
}

static int start_packer(struct transfer *t, const char *program, const char *option, struct xerr *err)
{
    const char *argv[] = { program, option, NULL };
    const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    int in[2], out[2];

    if (pipe2(in, O_CLOEXEC)) return xerr_internal(err, "pipe: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC)) {
        close(in[0]);
        close(in[1]);
        return xerr_internal(err, "pipe: %s", strerror(errno));
    }
    int rc = subproc_spawn(&cmd, in[0], out[1], -1, &t->child);
    if (rc) xerr_internal(err, "cannot start %s: %s", program, strerror(errno));
    close(in[0]);
    close(out[1]);
    t->to = in[1];
    t->from = out[0];
    return rc;
}

static int start_pump(struct transfer *t, void *(*fn)(void *arg), struct xerr *err)
{
    int why = pthread_create(&t->pump, NULL, fn, t);

    if (why) return xerr_internal(err, "cannot start a thread: %s", strerror(why));
    t->pumping = true;
    return 0;
}

/* 0 when the packer ended well. */
static int end_packer(struct transfer *t, bool at_once)
{
    int status = 0;

    if (at_once && t->child.pid) subproc_kill(&t->child, SIGKILL);
    if (t->pumping) pthread_join(t->pump, NULL);
    close_fdp(&t->to);
    close_fdp(&t->from);
    if (!t->child.pid) return 0;
    int rc = subproc_wait(&t->child, END_MS, &status);
    if (rc == 1) {
        subproc_kill(&t->child, SIGKILL);
        if (subproc_wait(&t->child, 5000, &status) == 1) subproc_forget(&t->child);
    }
    return rc || status ? -1 : 0;
}

/* ---- export ------------------------------------------------------------------------------------- */

static int send_plain(void *arg, const void *p, size_t n, struct xerr *err)
{
    struct transfer *t = arg;

    if (!stream_write(http_stream(t->req), p, n, STEP_MS)) return 0;
    return xerr_internal(err, "the client has gone: %s", strerror(errno));
}

static int send_packed(void *arg, const void *p, size_t n, struct xerr *err)
{
    struct transfer *t = arg;

    if (!write_all(t->to, p, n)) return 0;
    return xerr_internal(err, atomic_load(&t->gone) ? "the client has gone" : "the packer ended too early");
}

/* From the packer to the client. A client that has gone ends the packer, and that ends the export. */
static void *pump_out(void *arg)
{
    struct transfer *t = arg;
    char *buf = xmalloc(PIECE);
    ssize_t n;

    while ((n = read(t->from, buf, PIECE)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0 || !stream_write(http_stream(t->req), buf, (size_t)n, STEP_MS)) continue;
        atomic_store(&t->gone, true);
        break;
    }
    close(take_fd(t->from));
    free(buf);
    return NULL;
}

/* "checksums=sha1": for tools that know no others, as Debian's xva-img. */
static bool wants_sha1(const struct transfer *t)
{
    const char *wish = http_query(&t->req->head, "checksums");

    return wish && streq(wish, "sha1");
}

static int export_packed(struct transfer *t, struct ref vm, const char *program, struct xerr *err)
{
    if (start_packer(t, program, "-c", err)) {
        end_packer(t, true);
        return -1;
    }
    int rc = start_pump(t, pump_out, err) || xva_export(t->c, vm, wants_sha1(t), send_packed, t, err) ? -1 : 0;
    close_fdp(&t->to);
    t->to = -1;
    if (end_packer(t, rc) && !rc) rc = xerr_internal(err, "%s failed", program);
    if (!rc && atomic_load(&t->gone)) rc = xerr_internal(err, "the client has gone");
    return rc;
}

static int find_vm(struct call *c, const struct http_head *head, struct ref *ret_vm, struct xerr *err)
{
    const char *text = http_query(head, "ref");
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct ref ref = REF_NULL;

    if (!text || !*text) text = http_query(head, "uuid");
    if (!text) text = "";
    const struct row *row =
        ref_parse(text, &ref) ? snap_get(s, CLASS_VM, ref) : snap_by_uuid(s, CLASS_VM, text);
    if (!row) return xerr_handle_invalid(err, "VM", text);
    *ret_vm = row_ref_of(row);
    return 0;
}

static int export(struct transfer *t, struct ref vm, struct xerr *err)
{
    const char *wish = http_query(&t->req->head, "use_compression");
    const char *head = arena_printf(t->req->arena,
                                    "Content-Type: application/octet-stream\r\n"
                                    "Content-Disposition: attachment; filename=\"export.xva\"\r\n"
                                    "Cache-Control: no-cache, no-store\r\ntask-id: %s\r\n",
                                    REF_STR(t->c->task->ref));

    if (http_stream_head(t->req, 200, head))
        return xerr_internal(err, "the client has gone: %s", strerror(errno));
    if (wish && streq(wish, "zstd")) return export_packed(t, vm, "zstd", err);
    if (wish && (streq(wish, "true") || streq(wish, "gzip"))) return export_packed(t, vm, "gzip", err);
    return xva_export(t->c, vm, wants_sha1(t), send_plain, t, err);
}

void get_export(struct http_request *req, struct call *c, struct xerr *err)
{
    struct transfer t = { .req = req, .c = c, .child = SUBPROC_INIT, .to = -1, .from = -1 };
    struct ref vm;

    if (find_vm(c, &req->head, &vm, err) || xva_export_check(c, vm, err)) {
        http_call_end(c, NULL, err);
        transfer_refuse(req, xerr_is(err, "HANDLE_INVALID") ? 404 : 400, err);
        return;
    }
    export(&t, vm, err);
}

/* ---- records only ------------------------------------------------------------------------------- */

/* A switch that is on unless the client says no. */
static bool is_on(const struct http_head *head, const char *name)
{
    const char *text = http_query(head, name);

    return !text || (!streq(text, "false") && !streq(text, "0"));
}

/* Every VM that is no snapshot; built-in templates come with the agent. */
static const struct ref *every_vm(struct call *c, bool dom0, size_t *ret_n)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct ref *vms = arena_new_array(c->arena, struct ref, snap_count(s, CLASS_VM) + 1);
    size_t n = 0;

    SNAP_EACH (s, CLASS_VM, vm) {
        if (row_bool(vm, F_VM_is_a_snapshot) || row_bool(vm, F_VM_is_default_template)) continue;
        if (dom0 || !row_bool(vm, F_VM_is_control_domain)) vms[n++] = row_ref_of(vm);
    }
    *ret_n = n;
    return vms;
}

void get_export_metadata(struct http_request *req, struct call *c, struct xerr *err)
{
    const char *all = http_query(&req->head, "all"), *excluded = http_query(&req->head, "excluded_device_types");
    struct strbuf tar = STRBUF_INIT;
    struct ref vm;
    struct xva_metadata what = {
        .snapshots = is_on(&req->head, "export_snapshots"),
        .without = (excluded && strstr(excluded, "vif") ? XVA_NO_VIFS : 0u) |
                   (excluded && strstr(excluded, "vbd") ? XVA_NO_VBDS : 0u),
    };

    if (all && is_on(&req->head, "all")) {
        what.vms = every_vm(c, is_on(&req->head, "include_dom0"), &what.n);
    } else if (find_vm(c, &req->head, &vm, err)) {
        transfer_refuse(req, 404, err);
        return;
    } else {
        what.vms = &vm;
        what.n = 1;
    }
    if (xva_metadata(c, &what, &tar, err)) {
        strbuf_free(&tar);
        transfer_refuse(req, 500, err);
        return;
    }
    struct http_reply reply = {
        .status = 200, .content_type = "application/octet-stream", .body = &tar, .close = true,
        .headers = "Content-Disposition: attachment; filename=\"export.xva\"\r\nCache-Control: no-cache, no-store\r\n",
    };
    http_call_end(c, NULL, err);
    http_reply(req, &reply);
}

/* ---- import ------------------------------------------------------------------------------------- */

static ssize_t body_read(void *arg, void *buf, size_t n)
{
    struct transfer *t = arg;

    return transfer_read(t->req, t->c, &t->stop, buf, n);
}

static void body_stop(void *arg) { atomic_store(&((struct transfer *)arg)->stop, true); }

/* A body without a byte was a probe, or the client thought better of it. */
static int import(struct transfer *t, struct xva_import *what, struct value *ret_vms, struct xerr *err)
{
    const struct unpack_source source = { body_read, body_stop, t };
    struct unpack *u = unpack_open(t->c, &source, err);

    if (!u) return err->code ? -1 : t->c->task->in_db ? xerr_import_error_premature_eof(err) : 0;
    what->read = unpack_read;
    what->arg = u;
    int rc = xva_import(t->c, what, ret_vms, err);
    unpack_close(u);
    return rc;
}

static int find_sr(struct call *c, const struct http_head *head, struct ref *ret_sr, struct xerr *err)
{
    const char *text = http_query(head, "sr_id");
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct ref ref = REF_NULL;

    if (!text || !*text) text = http_query(head, "sr_uuid");
    if (!text || !*text) {
        const struct row *pool = snap_get(s, CLASS_pool, c->agent->pool);
        ref = pool ? row_ref(pool, F_pool_default_SR) : REF_NULL;
        if (!snap_get(s, CLASS_SR, ref)) return xerr_default_sr_not_found(err, REF_STR(ref));
    } else {
        const struct row *row =
            ref_parse(text, &ref) ? snap_get(s, CLASS_SR, ref) : snap_by_uuid(s, CLASS_SR, text);
        if (!row) return xerr_handle_invalid(err, "SR", text);
        ref = row_ref_of(row);
    }
    const struct row *sr = snap_get(s, CLASS_SR, ref);
    if (streq(row_str(sr, F_SR_content_type), "iso"))
        return xerr_sr_operation_not_supported(err, REF_STR(ref));
    *ret_sr = ref;
    return 0;
}

static bool is_true(const struct http_head *head, const char *name)
{
    const char *text = http_query(head, name);

    return text && (streq(text, "true") || streq(text, "1"));
}

/* 1. 200, for which clients wait; 2. the body; 3. the task, before the connection ends. */
void put_import(struct http_request *req, struct call *c, struct xerr *err)
{
    struct transfer t = { .req = req, .c = c, .child = SUBPROC_INIT, .to = -1, .from = -1 };
    struct xva_import what = { .restore = is_true(&req->head, "restore") };
    bool empty = http_body_left(req) == 0;
    struct value vms = value_void();

    if (find_sr(c, &req->head, &what.sr, err)) {
        http_call_end(c, NULL, err);
        transfer_refuse(req, 400, err);
        return;
    }
    if (!transfer_begin_upload(req, err) && !empty) import(&t, &what, &vms, err);
    http_call_end(c, &vms, err);
}

/* "vdi:<old uuid>=<new uuid>" of the query. */
static struct value vdi_map(struct http_request *req)
{
    struct value_builder map = value_builder(req->arena);

    for (size_t i = 0; i < req->head.n_query; i++)
        if (has_prefix(req->head.query[i].name, "vdi:"))
            value_put(&map, req->head.query[i].name + 4, value_string(req->head.query[i].value));
    return value_built_map(&map);
}

void put_import_metadata(struct http_request *req, struct call *c, struct xerr *err)
{
    struct transfer t = { .req = req, .c = c, .child = SUBPROC_INIT, .to = -1, .from = -1 };
    const struct value map = vdi_map(req);
    struct xva_import what = {
        .restore = is_true(&req->head, "restore"), .force = is_true(&req->head, "force"),
        .dry_run = is_true(&req->head, "dry_run"), .metadata = true, .vdi_map = &map,
    };
    bool empty = http_body_left(req) == 0;
    struct value vms = value_void();

    if (!transfer_begin_upload(req, err) && !empty) import(&t, &what, &vms, err);
    http_call_end(c, &vms, err);
}
