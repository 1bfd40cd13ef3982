/* POST: XML-RPC on any path, JSON-RPC on /jsonrpc and /json.
 * Called by: the HTTP server.  Calls: rpc/, codecs, event_hub. */
#include "xapi/http/post_rpc.h"

#include "lib/clock.h"
#include "lib/jsonrpc.h"
#include "lib/xmlrpc.h"
#include "xapi/user_agents.h"

static const char reply_headers[] = "Access-Control-Allow-Origin: *\r\n"
                                    "Access-Control-Allow-Headers: X-Requested-With\r\n"
                                    "Cache-Control: no-cache, no-store\r\n";

/* How this request wants its answer. */
struct dialect {
    bool json, v2;
    const char *id;            /* JSON text */
};

/* One request; in its arena. */
struct post {
    struct rpc *rpc;
    struct dialect dialect;
    struct rpc_call *rc;       /* NULL before there is a method */
};

/* ---- answers ---- */

static void fill_reply(struct http_reply *reply, const struct dialect *d, struct strbuf *body)
{
    *reply = (struct http_reply){
        .status = 200, .content_type = d->json ? "application/json" : "text/xml", .headers = reply_headers,
        .body = body,
    };
}

static void success_begin(const struct dialect *d, struct strbuf *out)
{
    if (d->json) jsonrpc_success_begin(d->v2, out);
    else xmlrpc_success_begin(out);
}

static void success_end(const struct dialect *d, struct strbuf *out)
{
    if (d->json) jsonrpc_success_end(d->v2, d->id, out);
    else xmlrpc_success_end(out);
}

static void failure(const struct dialect *d, const struct xerr *err, struct strbuf *out)
{
    strbuf_clear(out);
    if (d->json) jsonrpc_encode_failure(d->v2, d->id, err, out);
    else xmlrpc_encode_failure(err, out);
}

static void answer(struct http_request *req, const struct dialect *d, struct strbuf *body)
{
    struct http_reply reply;

    fill_reply(&reply, d, body);
    http_reply(req, &reply);
}

static void answer_failure(struct http_request *req, const struct dialect *d, const struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    failure(d, err, &out);
    answer(req, d, &out);
}

static void answer_value(struct http_request *req, const struct dialect *d, const struct value *v)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    if (d->json) jsonrpc_encode_success(d->v2, d->id, v, &out);
    else xmlrpc_encode_success(v, &out);
    answer(req, d, &out);
}

/* ---- parked requests: waiting for events, or held back after a wrong password ---- */

struct parked {
    struct event_waiter waiter;    /* first */
    struct event_hub *hub;
    struct http_park *park;
    struct dialect dialect;        /* id owned */
    struct event_sub *sub;         /* owned */
    struct event_text *text;       /* being sent */
    struct strbuf body;            /* ready answer of a delayed one; else the bytes behind the text */
    struct strbuf head;
    struct iovec iov[3];
};

static void parked_free(struct parked *p)
{
    event_sub_unref(p->sub);
    event_text_unref(p->text);
    strbuf_free(&p->head);
    strbuf_free(&p->body);
    free((char *)(uintptr_t)p->dialect.id);
    free(p);
}

static void release_parked(void *arg)
{
    parked_free(arg);
}

/* The shared text goes out between this request's own head and tail, without a copy. */
static void send_text(struct parked *p, struct event_text *text)
{
    struct http_reply reply;

    p->text = event_text_ref(text);
    success_begin(&p->dialect, &p->head);
    success_end(&p->dialect, &p->body);
    p->iov[0] = (struct iovec){ p->head.ptr, p->head.len };
    p->iov[1] = (struct iovec){ text->ptr, text->len };
    p->iov[2] = (struct iovec){ p->body.ptr, p->body.len };
    fill_reply(&reply, &p->dialect, NULL);
    reply.iov = p->iov;
    reply.n_iov = ARRAY_SIZE(p->iov);
    reply.release = release_parked;
    reply.release_arg = p;
    http_park_reply(p->park, &reply);
}

static void answer_parked(struct event_waiter *w, struct event_text *text, const struct xerr *why)
{
    struct parked *p = (struct parked *)w;
    struct http_reply reply;

    if (text) {
        send_text(p, text);
        return;
    }
    if (why) failure(&p->dialect, why, &p->body);
    fill_reply(&reply, &p->dialect, &p->body);
    http_park_reply(p->park, &reply);
    parked_free(p);
}

static bool parked_gone(void *arg)
{
    struct parked *p = arg;

    switch (event_wait_cancel(p->hub, &p->waiter)) {
    case EVENT_WITHDRAWN: parked_free(p); return true;
    case EVENT_NOT_FILED: return true;    /* park() is about to file it, and frees it instead */
    case EVENT_ANSWERING: return false;
    }
    return false;
}

/* Takes the request off this thread until the hub answers it. p is filled but for park. */
static void park(struct http_request *req, struct parked *p)
{
    struct event_hub *hub = p->hub;

    p->park = http_park(req, parked_gone, p);
    if (!p->park) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        xerr_too_many_pending_tasks(&err);
        answer_failure(req, &p->dialect, &err);
        parked_free(p);
        return;
    }
    if (!event_wait(hub, &p->waiter)) parked_free(p);
}

static struct parked *parked_new(const struct post *post)
{
    struct parked *p = xcalloc(1, sizeof(*p));

    p->hub = rpc_agent(post->rpc)->events;
    p->dialect = post->dialect;
    p->dialect.id = post->dialect.id ? xstrdup(post->dialect.id) : NULL;
    p->waiter.answer = answer_parked;
    return p;
}

static void answer_text(struct http_request *req, const struct dialect *d, const struct event_text *text)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    success_begin(d, &out);
    strbuf_add(&out, text->ptr, text->len);
    success_end(d, &out);
    answer(req, d, &out);
}

/* event.from and event.next: at once when there is something, parked otherwise. */
static void answer_events(struct http_request *req, struct post *post)
{
    struct event_request *r = &post->rc->events;
    struct agent *agent = rpc_agent(post->rpc);
    bool json = post->dialect.json, legacy = !ref_is_null(r->legacy);
    enum event_form form = legacy ? (json ? EVENT_LIST_JSON : EVENT_LIST_XML) : json ? EVENT_BATCH_JSON : EVENT_BATCH_XML;
    struct event_text *text = NULL;
    struct token until;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    bool no_wait = r->deadline_ns <= clock_boottime_ns();

    if (event_encode(agent->events, r->sub, r->since, form, no_wait, &text, &until, &err)) {
        answer_failure(req, &post->dialect, &err);
    } else if (text) {
        if (legacy) event_legacy_advance(agent->events, r->legacy, until);
        answer_text(req, &post->dialect, text);
        event_text_unref(text);
    } else {
        struct parked *p = parked_new(post);
        p->sub = p->waiter.sub = take_ptr(r->sub);
        p->waiter.since = until;
        p->waiter.form = form;
        p->waiter.deadline_ns = r->deadline_ns;
        p->waiter.legacy = r->legacy;
        p->waiter.session = post->rc->call.session;
        p->waiter.handle = post->rc->call.handle;
        park(req, p);
    }
}

static void answer_later(struct http_request *req, struct post *post, struct strbuf *body)
{
    struct parked *p = parked_new(post);

    p->body = *body;
    *body = (struct strbuf)STRBUF_INIT;
    p->waiter.deadline_ns = clock_deadline_ns(post->rc->delay_ms);
    park(req, p);
}

/* ---- calls ---- */

/* On a worker, or on a thread of its own. */
static void perform(struct http_request *req, void *arg)
{
    struct post *post = arg;
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct rpc_result r = { .out = &out, .encoding = post->dialect.json ? ENCODING_JSON : ENCODING_XML };

    success_begin(&post->dialect, &out);
    if (rpc_perform(post->rc, &r, &err)) failure(&post->dialect, &err, &out);
    else success_end(&post->dialect, &out);
    rpc_call_end(post->rc);
    if (post->rc->delay_ms) answer_later(req, post, &out);
    else answer(req, &post->dialect, &out);
}

static void start_async(struct http_request *req, struct post *post)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct ref task;

    int failed = rpc_start_async(post->rc, &task, &err);
    rpc_call_end(post->rc);
    if (failed) {
        answer_failure(req, &post->dialect, &err);
        return;
    }
    struct value v = value_ref(task);
    answer_value(req, &post->dialect, &v);
}

static void perform_elsewhere(struct http_request *req, struct post *post)
{
    if (!http_defer(req, perform, post)) return;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    rpc_call_end(post->rc);
    xerr_too_many_pending_tasks(&err);
    answer_failure(req, &post->dialect, &err);
}

static struct rpc_origin origin_of(struct http_request *req)
{
    const struct http_peer *peer = &req->peer;
    const char *header = http_header(&req->head, "subtask-of");
    const char *parent = header ? header : http_param(&req->head, "subtask_of");
    struct rpc_origin o = {
        .peer = peer->is_unix ? "unix" : peer->address,
        .certificate = http_peer_names(req),
        .local = peer->is_unix,
        .trusted = peer->is_unix && peer->has_cred && (peer->uid == 0 || peer->uid == getuid()),
    };

    if (parent && !ref_parse(parent, &o.subtask_of)) o.subtask_of = REF_NULL;
    return o;
}

static void list_methods(struct http_request *req, const struct dialect *d)
{
    struct value names = rpc_list_methods(req->arena);

    if (d->json) {
        answer_value(req, d, &names);
        return;
    }
    /* The one answer without a Status. */
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    xmlrpc_encode_bare(&names, &out);
    answer(req, d, &out);
}

static void call(struct http_request *req, struct agent *agent, const struct dialect *d, const char *method,
                 const struct value *params)
{
    struct post *post = arena_zalloc(req->arena, sizeof(*post));
    const struct rpc_origin origin = origin_of(req);
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    enum rpc_step step;

    if (streq(method, "system.listMethods")) {
        list_methods(req, d);
        return;
    }
    if (has_prefix(method, "session.login")) user_agents_note(agent->user_agents, http_header(&req->head, "user-agent"));
    *post = (struct post){ agent->rpc, *d, rpc_call_new(agent, req->arena, &origin) };
    if (rpc_prepare(post->rc, method, params, &step, &err)) {
        rpc_call_end(post->rc);
        answer_failure(req, d, &err);
        return;
    }
    switch (step) {
    case RPC_INLINE: perform(req, post); return;
    case RPC_THREAD: perform_elsewhere(req, post); return;
    case RPC_ASYNC: start_async(req, post); return;
    case RPC_EVENTS:
        answer_events(req, post);
        rpc_call_end(post->rc);
        return;
    }
}

void post_xmlrpc(struct http_request *req, void *arg)
{
    const struct dialect d = { .json = false };
    const char *method, *error;
    struct value params;

    if (!xmlrpc_decode_call(req->body, req->body_len, req->arena, &method, &params, &error)) {
        call(req, arg, &d, method, &params);
        return;
    }
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    enum { PARSE_ERROR = -32700 };
    xmlrpc_encode_fault(PARSE_ERROR, error, &out);
    answer(req, &d, &out);
}

void post_jsonrpc(struct http_request *req, void *arg)
{
    struct jsonrpc_request r;
    const char *error;

    int failed = jsonrpc_decode_request(req->body, req->body_len, req->arena, &r, &error);
    const struct dialect d = { .json = true, .v2 = r.v2, .id = r.id };
    if (!failed) {
        call(req, arg, &d, r.method, &r.params);
        return;
    }
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    xerr_internal(&err, "not a JSON-RPC request: %s", error);
    answer_failure(req, &d, &err);
}

static void on_stopping(void *arg)
{
    rpc_stopping(arg);
}

void rpc_http_config(struct rpc *rpc, struct http_config *config)
{
    config->on_stopping = on_stopping;
    config->on_stopping_arg = rpc;
}
