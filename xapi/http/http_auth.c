/* The call behind an HTTP request that is no RPC.
 * Called by: the handlers of bulk data, consoles, metrics.  Calls: rpc/, session, task. */
#include "xapi/http/http_auth.h"

#include <time.h>

#include "gen/http_routes.h"
#include "lib/crash.h"
#include "lib/log.h"
#include "lib/xmlrpc.h"
#include "xapi/auth.h"
#include "xapi/call/live_task.h"
#include "xapi/pool_role.h"
#include "xapi/pool_secret.h"
#include "xapi/role.h"
#include "xapi/rpc/audit.h"
#include "xapi/rpc/rbac.h"
#include "xapi/rpc/rpc.h"
#include "xapi/session.h"
#include "xapi/task.h"

struct http_call {
    struct call call;              /* first */
    const char *permission;
    bool known;                    /* somebody, not just anybody */
    const char *detail;            /* of the audit line: path and query without the session */
    struct session_watch *watch;   /* NULL without a session */
};

static const char *describe(const struct http_request *req)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const struct http_head *h = &req->head;

    strbuf_str(&b, h->path);
    for (size_t i = 0; i < h->n_query; i++) {
        if (streq(h->query[i].name, "session_id") || strcasestr(h->query[i].name, "secret")) continue;
        strbuf_printf(&b, " %s=%s", h->query[i].name, h->query[i].value);
    }
    return arena_strdup(req->arena, strbuf_cstr(&b));
}

/* A wrong password costs a second of this thread; how many threads that can take is counted. */
static int check_basic(struct call *c, const char *authorization, struct xerr *err)
{
    const struct rpc_place place = { .session = { UINT64_C(0x4261736963), 1 } };   /* no session has this reference */
    const struct timespec delay = { 1, 0 };
    _cleanup_free_ char *user = NULL, *password = NULL;

    if (http_basic_auth(authorization, &user, &password)) return xerr_session_invalid(err, "");
    if (rpc_count_in(c->agent->rpc, place, err)) return -1;
    int rc = session_assume_user(c, user, password, err);
    explicit_bzero(password, strlen(password));
    if (rc) nanosleep(&delay, NULL);
    rpc_count_out(c->agent->rpc, place);
    return rc;
}

/* Who asks. */
static int identify(struct http_request *req, struct call *c, bool *ret_known, struct xerr *err)
{
    const char *session = http_param(&req->head, "session_id");
    const char *authorization = http_header(&req->head, "authorization");
    const char *pool_secret = http_param(&req->head, "pool_secret");
    struct ref secret;

    *ret_known = true;
    if (session && *session) {
        bool good = ref_parse(session, &secret) ? !session_resume(c, secret, session, err)
                                                : !xerr_session_invalid(err, session);
        if (good) session_touch(c);
        if (good || !c->is_root) return good ? 0 : -1;
        xerr_clear(err);               /* the peer of the unix socket is root, whatever became of its session */
    }
    if (c->is_root) return 0;
    if (pool_secret) {
        if (!pool_secret_is(c->agent->pool_secret, pool_secret)) return xerr_session_invalid(err, "");
        c->user_name = "pool";
        c->is_root = true;
        c->roles = ~0u;
        return 0;
    }
    if (authorization) return check_basic(c, authorization, err);
    const char *name = session_certificate_user(c->agent, http_peer_names(req), req->arena);
    if (name) {
        c->user_name = name;
        c->roles = role_bits(ROLE_CLIENT_CERT);
        return 0;
    }
    *ret_known = false;
    return 0;
}

static int admit(struct http_request *req, struct http_call *hc, const struct http_route_desc *route, struct xerr *err)
{
    if (pool_role_check(hc->call.agent->role, false, err) || identify(req, &hc->call, &hc->known, err)) return -1;
    if (!hc->known) return route->open ? 0 : xerr_session_invalid(err, "");
    return rbac_check_role(&hc->call, route->permission, route->role, err)
           || scope_check_permission(&hc->call, route->permission, err) ? -1 : 0;
}

static struct ref named_task(const struct http_request *req, struct agent *agent)
{
    const char *text = http_param(&req->head, "task_id");
    struct ref task = REF_NULL;

    if (!text) text = http_header(&req->head, "task-id");
    if (!text || !ref_parse(text, &task) || ref_is_null(task)) return REF_NULL;
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    return snap_get(s, CLASS_task, task) ? task : REF_NULL;
}

/* A task that somebody else made is not for us to end. */
static int check_task(struct call *c, struct ref task, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (task_row_is_mine(c, s, task)) return 0;
    return xerr_rbac_permission_denied(err, "task.set_status", "The task belongs to another user");
}

int http_authenticate(struct http_request *req, struct agent *agent, const struct http_route_desc *route,
                      struct call **ret_call, struct xerr *err)
{
    struct http_call *hc = arena_zalloc(req->arena, sizeof(*hc));
    const struct http_peer *peer = &req->peer;
    bool trusted = peer->is_unix && peer->has_cred && (peer->uid == 0 || peer->uid == getuid());
    struct ref task = named_task(req, agent);
    bool in_db = !ref_is_null(task);

    hc->permission = route->permission;
    hc->detail = describe(req);
    hc->call = (struct call){
        .magic = CALL_MAGIC, .agent = agent, .arena = req->arena, .is_root = trusted, .roles = trusted ? ~0u : 0,
        .user_name = "", .originator = "", .peer = peer->is_unix ? "unix" : arena_strdup(req->arena, peer->address),
        .local = peer->is_unix,
    };
    if (!admit(req, hc, route, err)) {
        bool mine = !in_db || !check_task(&hc->call, task, err);
        if (mine) {
            hc->call.task = live_task_begin(agent->tasks, in_db ? task : ref_new(), in_db);
            hc->watch = session_watch_begin(&hc->call);
            log_set_call(hc->call.task->uuid);
            crash_begin(hc->permission, REF_NULL);
            *ret_call = &hc->call;
            return 0;
        }
        in_db = false;
    }
    audit_event(rpc_audit(agent->rpc), &hc->call, hc->permission, hc->detail, err);
    if (in_db) task_row_finish(agent, task, "", err);
    return -1;
}

void http_call_on_session_end(struct call *c, void (*fn)(void *arg), void *arg)
{
    struct http_call *hc = (struct http_call *)c;

    if (hc->watch) session_watch_set(hc->watch, fn, arg);
}

bool http_call_known(const struct call *c)
{
    return ((const struct http_call *)c)->known;
}

/* A member sends whoever comes to its coordinator, where sessions and objects are: same path, same query. */
static void redirect_to_coordinator(struct http_request *req, const char *address)
{
    _cleanup_strbuf_ struct strbuf url = STRBUF_INIT;
    const char *colon = strchr(address, ':');
    bool bare_v6 = colon && strchr(colon + 1, ':') && *address != '[';

    strbuf_printf(&url, bare_v6 ? "https://[%s]" : "https://%s", address);
    if (*req->head.target != '/') strbuf_char(&url, '/');
    strbuf_str(&url, req->head.target);
    http_reply_redirect(req, 302, strbuf_cstr(&url));
}

void http_reply_refused(struct http_request *req, const struct xerr *err)
{
    if (xerr_is(err, "RBAC_PERMISSION_DENIED")) http_reply_error(req, 403, "Your role does not allow this.");
    else if (xerr_is(err, "HOST_IS_SLAVE") && *err->params[0]) redirect_to_coordinator(req, err->params[0]);
    else if (has_prefix(err->code, "SESSION_")) http_reply_error(req, 401, NULL);
    else if (xerr_is(err, "TOO_MANY_PENDING_TASKS") || has_prefix(err->code, "HOST_")) http_reply_error(req, 503, NULL);
    else http_reply_error(req, 500, err->code);
}

void http_call_end(struct call *c, const struct value *result, const struct xerr *err)
{
    struct http_call *hc = (struct http_call *)c;
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    _cleanup_xerr_ struct xerr cancelled = XERR_INIT;
    bool failed = err && err->code;

    if (!c->task) return;
    session_watch_end(take_ptr(hc->watch));
    /* Whatever broke first: a client that cancels its task hangs up too. */
    if (failed && call_cancelled(c)) {
        xerr_task_cancelled(&cancelled, REF_STR(c->task->ref));
        err = &cancelled;
    }
    audit_event(rpc_audit(c->agent->rpc), c, hc->permission, hc->detail, err);
    if (c->task->in_db) {
        if (result && !failed && result->kind != VALUE_VOID) xmlrpc_encode_value(result, &text);
        task_row_finish(c->agent, c->task->ref, strbuf_cstr(&text), err);
    }
    live_task_end(c->agent->tasks, c->task);
    c->task = NULL;
    log_set_call("");
    crash_end(&(const struct crash_work){ .call = NULL });
}
