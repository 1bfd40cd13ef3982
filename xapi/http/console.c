/* /console: a VM's screen (RFB) or text console as a stream, raw after CONNECT or in WebSocket frames.
 * Called by: the route table, screenshot.c.  Calls: http_auth, hv/, host_console.c, websocket. */
#include "xapi/http/console.h"

#include <fcntl.h>
#include <sys/socket.h>

#define LOG_MODULE "console"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/hv/hv.h"
#include "xapi/http/host_console.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/transfer.h"
#include "xapi/http/websocket.h"
#include "xapi/rpc/rbac.h"

enum { IDLE_MS = 24 * 3600 * 1000 };

static const struct row *named(const struct snap *s, enum class_id cls, const char *ref_or_uuid)
{
    struct ref ref;

    if (ref_parse(ref_or_uuid, &ref) && !ref_is_null(ref)) return snap_get(s, cls, ref);
    return snap_by_uuid(s, cls, ref_or_uuid);
}

/* protocol: the one the client asks for, NULL: what the console is. A guest with a screen has a serial line as well. */
static int find_target(struct call *c, const char *name, const char *protocol, struct console_target *ret_target,
                       struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *console = named(s, CLASS_console, name);
    const struct row *vm = console ? snap_get(s, CLASS_VM, row_ref(console, F_console_VM)) : named(s, CLASS_VM, name);

    if (!vm) return xerr_handle_invalid(err, "console", name);
    if (row_bool(vm, F_VM_is_control_domain) && rbac_check_permission(c, "http/connect_console/host_console", err)) return -1;
    if (!console && row_refs(vm, F_VM_consoles)->n) console = snap_get(s, CLASS_console, row_refs(vm, F_VM_consoles)->refs[0]);
    if (!console)
        return lifecycle_bad_power_state(vm, 1u << vm_power_state_Running, err);
    *ret_target = (struct console_target){
        .vm = row_ref_of(vm),
        .uuid = arena_strdup(c->arena, row_uuid(vm)),
        .which = protocol ? (streq(protocol, "vt100") ? HV_CONSOLE_TEXT : HV_CONSOLE_VNC)
                 : row_enum(console, F_console_protocol) == console_protocol_vt100 ? HV_CONSOLE_TEXT
                                                                                   : HV_CONSOLE_VNC,
        .of_host = row_bool(vm, F_VM_is_control_domain),
    };
    if (ret_target->of_host && (!ref_eq(ret_target->vm, c->agent->dom0) || ret_target->which != HV_CONSOLE_TEXT))
        return xerr_operation_not_allowed(err, "A control domain has a text console, on its own host");
    return 0;
}

int console_open(struct call *c, const struct console_target *t, struct stream *ret_stream, struct xerr *err)
{
    int fd;

    if (hv_console_open(c->agent->hv, hv_id(t->uuid, t->vm), t->which, &fd, err)) return -1;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
        close(fd);
        return xerr_internal(err, "console of VM %s: fcntl failed", t->uuid);
    }
    *ret_stream = (struct stream)STREAM_INIT;
    ret_stream->fd = fd;
    return 0;
}

/* Both ends of a console. */
struct ends {
    int client, guest;
};

/* The relay then meets the end of both. */
static void cut(void *arg)
{
    const struct ends *e = arg;

    shutdown(e->client, SHUT_RDWR);
    shutdown(e->guest, SHUT_RDWR);
}

static void serve(struct http_request *req, struct call *c, const struct console_target *t, bool framed, struct xerr *err)
{
    struct subproc login = SUBPROC_INIT;
    struct stream guest;

    if (t->of_host ? host_console_begin(c, &guest, &login, err) : console_open(c, t, &guest, err)) {
        http_reply_error(req, 503, "the console is not to be had now");
    } else {
        int rc = framed ? http_stream_head(req, 101, websocket_headers(req)) : http_stream_head(req, 200, NULL);
        struct ends ends = { http_stream(req)->fd, guest.fd };
        log_info("console of VM %s opened by %s", t->uuid, c->peer);
        http_call_on_session_end(c, cut, &ends);
        if (!rc) rc = framed ? websocket_relay(http_stream(req), &guest, IDLE_MS) : stream_relay(http_stream(req), &guest, IDLE_MS);
        log_info("console of VM %s closed", t->uuid);
        http_call_end(c, NULL, err);
        stream_close(&guest);
        host_console_end(&login);
    }
}

int console_find(struct http_request *req, struct call *c, struct console_target *ret_target, struct xerr *err)
{
    const char *name = http_query(&req->head, "ref");

    if (!name) name = http_query(&req->head, "uuid");
    if (!name) {
        xerr_invalid_value(err, "ref", "");
        transfer_refuse(req, 400, err);
    } else if (find_target(c, name, http_query(&req->head, "protocol"), ret_target, err)) {
        if (xerr_is(err, "RBAC_PERMISSION_DENIED")) http_reply_refused(req, err);
        else http_reply_error(req, xerr_is(err, "HANDLE_INVALID") ? 404 : 503, NULL);
    } else {
        return 0;
    }
    return -1;
}

void console(struct http_request *req, struct call *c, struct xerr *err)
{
    bool framed = req->head.method == HTTP_GET;
    struct console_target target;

    if (framed && !websocket_wanted(req)) {
        xerr_invalid_value(err, "Upgrade", "");
        transfer_refuse(req, 400, err);
    } else if (console_find(req, c, &target, err) == 0) {
        serve(req, c, &target, framed, err);
    }
}
