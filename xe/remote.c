/* Where the commands of `xe --xmlrpc` run: any XenAPI server, asked over XML-RPC.
 * Called by: xmlrpc_main.c.  Calls: remote_value, lib/httpc, serve. */
#include "xe/remote.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/httpc.h"
#include "xe/remote_value.h"
#include "xe/thin.h"

enum {
    CONNECT_MS = 60 * 1000,
    PIECE_MS = 60 * 1000,  /* between two pieces of one reply */
    GOODBYE_MS = 5 * 1000, /* what a server gets to end the session of a client that has gone */
    REPLY_LIMIT = 1 << 30,
    READ_BYTES = 256 << 10,
    MAX_REDIRECTS = 3,
    LOOKUPS_ONE_BY_ONE = 4, /* objects of a class; then all of them are fetched at once */
};

struct remote {
    struct conn_target target;
    char *host; /* the target's, without brackets; replaced by a redirect */
    char *path;
    int port;
    bool tls;
    struct serve *client;
    const char *traceparent;
    struct tls_client *tls_client;
    struct httpc *http;              /* NULL: not connected */
    char *session;                   /* reference text, NULL before login */
    bool own_session, local_session; /* we logged in and have to log out */
    /* Names of objects seen since the last change that somebody waited for. */
    struct arena *names;
    struct refmap *objects[N_CLASSES]; /* of struct cmd_object */
    unsigned asked[N_CLASSES];
    bool fetched[N_CLASSES];
};

struct remote *remote_new(const struct conn_target *target, struct serve *client, const char *traceparent)
{
    struct remote *r = xcalloc(1, sizeof *r);
    size_t n = strlen(target->server);
    bool local = streq(target->server, "127.0.0.1");

    r->target = *target;
    r->host =
        target->server[0] == '[' && n > 2 ? xstrndup(target->server + 1, n - 2) : xstrdup(target->server);
    r->path = xstrdup("/");
    r->tls = target->tls && !local;
    r->port = target->port ? target->port : r->tls ? 443 : 80;
    r->client = client;
    r->traceparent = traceparent;
    r->names = arena_new();
    return r;
}

static void forget_objects(struct remote *r)
{
    for (int cls = 0; cls < N_CLASSES; cls++) {
        refmap_free(r->objects[cls]);
        r->objects[cls] = NULL;
        r->asked[cls] = 0;
        r->fetched[cls] = false;
    }
    arena_reset(r->names);
}

void remote_free(struct remote *r)
{
    if (!r) return;
    forget_objects(r);
    arena_free(r->names);
    httpc_free(r->http);
    tls_client_free(r->tls_client);
    free(r->session);
    free(r->host);
    free(r->path);
    free(r);
}

void remote_use_session(struct remote *r, const char *session)
{
    free(r->session);
    r->session = session ? xstrdup(session) : NULL;
}

/* ---- the end ----------------------------------------------------------------------------------------- */

/* There is nothing to go on with: says why, and ends. */
static _printf_(2, 3) _noreturn_ void give_up(struct remote *r, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    va_list ap;

    strbuf_str(&b, "Error: ");
    va_start(ap, fmt);
    strbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    strbuf_char(&b, '\n');
    serve_say(r->client, strbuf_cstr(&b));
    serve_exit(r->client, 1);
    exit(1);
}

/* What a connection's error says, which is meant for people already. */
static _noreturn_ void give_up_on(struct remote *r, const struct xerr *err)
{
    give_up(r, "%s", err->n ? err->params[0] : err->code);
}

/* ---- the connection ---------------------------------------------------------------------------------- */

static void disconnect(struct remote *r)
{
    httpc_free(r->http);
    r->http = NULL;
}

/* To the unix socket when there is one that answers, else to the server. 0 or -1 + err. */
static int connect_somewhere(struct remote *r, int timeout_ms, struct xerr *err)
{
    struct httpc_target t = { .unix_path = r->target.socket };
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (r->target.socket) {
        r->http = httpc_connect(&t, timeout_ms, &why);
        if (r->http) return 0;
        if (r->target.socket_only) return xerr_move(err, &why);
    }
    if (r->tls && !r->tls_client && !(r->tls_client = tls_client_new(NULL, err))) return -1;
    t = (struct httpc_target){ .host = r->host,
                               .port = (unsigned)r->port,
                               .tls = r->tls ? r->tls_client : NULL };
    r->http = httpc_connect(&t, timeout_ms, err);
    return r->http ? 0 : -1;
}

/* The first bytes of what the server says, kept for the next read. False when there are none yet: TLS has
 * messages of its own. */
static bool something_said(struct stream *s)
{
    char *first = xmalloc(READ_BYTES);
    ssize_t got = stream_read(s, first, READ_BYTES, 0);

    if (got <= 0) {
        free(first);
        return got == 0 || errno != ETIMEDOUT;
    }
    free(s->early);
    s->early = first;
    s->early_at = 0;
    s->early_len = (size_t)got;
    return true;
}

/* Waits until the server says something; a client that hangs up meanwhile ends us. A call may take hours. */
static void wait_for_server(struct remote *r)
{
    struct stream *s = httpc_stream(r->http);

    while (!s->early_len && !something_said(s)) {
        struct pollfd p[2] = { { .fd = s->fd, .events = POLLIN },
                               { .fd = r->client->stream->fd, .events = POLLRDHUP } };

        if (poll(p, 2, -1) < 0 && errno != EINTR) return;
        if (p[1].revents) {
            r->client->gone = true;
            disconnect(r);
            remote_logout(r);
            exit(1);
        }
    }
}

/* "https://host[:port]/path": remembered for the calls to come. Only to the same host: a password must not
 * travel where nobody sent it, nor without TLS when it was to travel with. False for anything else. */
static bool follow(struct remote *r, const char *location)
{
    bool tls = has_prefix(location, "https://");
    const char *host, *port;
    _cleanup_free_ char *name = NULL;
    size_t n;

    if (location[0] == '/') {
        free(r->path);
        r->path = xstrdup(location);
        return true;
    }
    if (!tls && (r->tls || !has_prefix(location, "http://"))) return false;
    host = location + strlen(tls ? "https://" : "http://");
    n = strcspn(host, "/?");
    name = xstrndup(host, n);
    port = strrchr(name, ':');
    if (port && strchr(port, ']')) port = NULL;
    n = port ? (size_t)(port - name) : strlen(name);
    if (name[0] == '[' && n > 2) {
        memmove(name, name + 1, n - 2);
        n -= 2;
    }
    if (n != strlen(r->host) || strncasecmp(name, r->host, n) != 0) return false;
    r->tls = tls;
    r->port = port ? atoi(port + 1) : tls ? 443 : 80;
    r->target.socket = NULL;
    free(r->path);
    r->path = xstrdup(host[strcspn(host, "/?")] == '/' ? host + strcspn(host, "/?") : "/");
    disconnect(r);
    return true;
}

/* Sends a document. The head of the reply; the body is to be read. */
static int post_once(struct remote *r, const struct strbuf *call, const struct http_status **ret_head,
                     struct xerr *err)
{
    _cleanup_free_ char *headers =
        xasprintf("Content-Type: text/xml\r\nUser-Agent: xe-xmlrpc/%d.%d\r\n%s%s%s", THIN_MAJOR, THIN_MINOR,
                  r->traceparent ? "traceparent: " : "", r->traceparent ? r->traceparent : "",
                  r->traceparent ? "\r\n" : "");

    if (r->http && !httpc_usable(r->http)) disconnect(r);
    if (!r->http && connect_somewhere(r, CONNECT_MS, err) < 0) return -1;
    if (httpc_send(r->http, "POST", r->path, headers, strbuf_cstr(call), call->len, PIECE_MS, err) < 0)
        return -1;
    wait_for_server(r);
    return httpc_receive(r->http, PIECE_MS, ret_head, err);
}

static void read_body(struct remote *r, struct strbuf *body)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    ssize_t got;

    for (;;) {
        strbuf_reserve(body, READ_BYTES);
        got = httpc_read(r->http, body->ptr + body->len, body->cap - body->len - 1, PIECE_MS, &err);
        if (got < 0) give_up_on(r, &err);
        if (!got) return;
        body->len += (size_t)got;
        body->ptr[body->len] = '\0';
        if (body->len > REPLY_LIMIT) give_up(r, "the server's answer is longer than anything we take");
    }
}

/* A document to the server and its answer's, or the end. */
static void post(struct remote *r, const struct strbuf *call, struct strbuf *ret_body)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const struct http_status *head;

    for (int i = 0; i <= MAX_REDIRECTS; i++) {
        const char *location;

        if (post_once(r, call, &head, &err) < 0) give_up_on(r, &err);
        strbuf_clear(ret_body);
        if (head->status == 200) {
            read_body(r, ret_body);
            return;
        }
        location = http_find(head->headers, head->n_headers, "location", true);
        if (head->status < 300 || head->status > 308 || !location)
            give_up(r, "%s answered with HTTP %d %s instead of XML-RPC", r->target.server, head->status,
                    head->reason);
        location = xstrdup(location);
        read_body(r, ret_body);
        if (!follow(r, location))
            give_up(r, "%s sends its clients to %s: say so with -s", r->target.server, location);
        free((void *)(uintptr_t)location);
    }
    give_up(r, "%s sends its clients round in circles", r->target.server);
}

/* ---- calls ------------------------------------------------------------------------------------------- */

static int call(struct remote *r, const char *session, const char *method, const struct value *args, size_t n,
                struct arena *arena, struct value *ret_result, struct xerr *err)
{
    static const struct type_desc task_type = { .kind = TYPE_REF, .cls = CLASS_task, .text = "task ref" };
    bool async = has_prefix(method, "Async.");
    const struct method_desc *m = model_method(async ? method + strlen("Async.") : method);
    size_t first = session && (!m || m->session) ? 1 : 0;
    struct value *items = arena_new_array(arena, struct value, n + 1);
    _cleanup_strbuf_ struct strbuf document = STRBUF_INIT;
    _cleanup_strbuf_ struct strbuf body = STRBUF_INIT;
    const char *why;

    if (first) items[0] = value_string(session);
    for (size_t i = 0; i < n; i++) items[first + i] = args[i];
    if (remote_encode_call(method, items, first + n, arena, &document, &why) < 0)
        return xerr_internal(err, "%s cannot be sent: %s", method, why);
    serve_flush(r->client); /* what has been printed does not wait for the answer */
    post(r, &document, &body);
    *ret_result = value_void();
    switch (remote_decode_reply(strbuf_cstr(&body), body.len,
                                async ? &task_type
                                : m   ? m->result
                                      : NULL,
                                arena, ret_result, err, &why)) {
    case REMOTE_RESULT:
        return 0;
    case REMOTE_FAILURE:
        return -1;
    case REMOTE_FAULT:
        give_up(r, "%s does not understand %s: %s", r->target.server, method, why);
    case REMOTE_NONSENSE:
        give_up(r, "the answer of %s to %s makes no sense: %s", r->target.server, method, why);
    }
    return -1;
}

static int env_call(void *arg, const char *method, const struct value *args, size_t n, struct arena *arena,
                    struct value *ret_result, struct xerr *err)
{
    struct remote *r = arg;

    return call(r, r->session, method, args, n, arena, ret_result, err);
}

static int env_call_by(void *arg, const char *session, const char *method, const struct value *args, size_t n,
                       struct arena *arena, struct value *ret_result, struct xerr *err)
{
    return call(arg, session, method, args, n, arena, ret_result, err);
}

static int env_watch(void *arg, const struct value *what, char token[CMD_TOKEN], int timeout_ms,
                     struct arena *arena, struct value *ret_events, struct xerr *err)
{
    struct remote *r = arg;
    bool first = !*token;
    struct value batch;
    const struct value *events;
    const char *next;

    if (ret_events) *ret_events = value_set(NULL, 0);
    /* The first answer holds every object there is; only its token matters. */
    if (call(r, r->session, "event.from",
             CMD_ARGS(*what, value_string(token), value_float(first ? 0 : timeout_ms / 1000.0)), arena,
             &batch, err))
        return -1;
    forget_objects(r);
    next = value_get_str(&batch, "token", "");
    if (strlen(next) < CMD_TOKEN) memcpy(token, next, strlen(next) + 1);
    events = value_get(&batch, "events");
    if (ret_events && events && !first) *ret_events = *events;
    return 0;
}

/* ---- objects by reference ---------------------------------------------------------------------------- */

static struct refmap *objects_of(struct remote *r, int cls)
{
    if (!r->objects[cls]) r->objects[cls] = refmap_new();
    return r->objects[cls];
}

static struct cmd_object *remember(struct remote *r, int cls, struct ref ref, const struct value *record)
{
    struct cmd_object *o = arena_zalloc(r->names, sizeof *o);

    o->cls = cls;
    o->uuid = arena_strdup(r->names, cmd_member_text(record, "uuid"));
    if (model.classes[cls].name_label)
        o->name = arena_strdup(r->names, cmd_member_text(record, "name_label"));
    refmap_put(objects_of(r, cls), ref, o);
    return o;
}

static void fetch_all(struct remote *r, int cls)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct value all;

    r->fetched[cls] = true;
    if (env_call(r, arena_printf(a, "%s.get_all_records", model.classes[cls].name), NULL, 0, a, &all,
                 &ignored) < 0)
        return;
    for (size_t i = 0; all.kind == VALUE_MAP && i < all.map.n; i++) {
        struct ref ref;

        if (ref_parse(all.map.members[i].key, &ref)) remember(r, cls, ref, &all.map.members[i].value);
    }
}

static const struct cmd_object *find_in(struct remote *r, int cls, struct ref ref)
{
    const struct class_desc *class = &model.classes[cls];
    const struct cmd_object *known = refmap_get(objects_of(r, cls), ref);
    _cleanup_arena_ struct arena *a = NULL;
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct value record;

    if (known) return known;
    if (r->asked[cls]++ >= LOOKUPS_ONE_BY_ONE && class->has_get_all_records && !r->fetched[cls]) {
        fetch_all(r, cls);
        known = refmap_get(objects_of(r, cls), ref);
    }
    if (known || r->fetched[cls]) return known;
    a = arena_new();
    if (env_call(r, arena_printf(a, "%s.get_record", class->name), CMD_ARGS(value_ref(ref)), a, &record,
                 &ignored) < 0 ||
        record.kind != VALUE_MAP)
        return NULL;
    return remember(r, cls, ref, &record);
}

/* Of whatever class: an error names the object alone. The frequent ones come first, each costs a question. */
static const struct cmd_object *find_anywhere(struct remote *r, struct ref ref)
{
    static const int frequent[] = { CLASS_VM,  CLASS_host, CLASS_SR,  CLASS_VDI,  CLASS_VBD, CLASS_network,
                                    CLASS_VIF, CLASS_PIF,  CLASS_PBD, CLASS_task, CLASS_pool };
    const struct cmd_object *o = NULL;

    for (int cls = 1; cls < N_CLASSES && !o; cls++)
        if (r->objects[cls]) o = refmap_get(r->objects[cls], ref);
    for (size_t i = 0; i < ARRAY_SIZE(frequent) && !o; i++) o = find_in(r, frequent[i], ref);
    for (int cls = 1; cls < N_CLASSES && !o; cls++)
        if (model.classes[cls].stored && model.classes[cls].uuid && cls != CLASS_session && !r->asked[cls])
            o = find_in(r, cls, ref);
    return o;
}

static bool env_lookup(void *arg, int cls, struct ref ref, struct arena *arena, struct cmd_object *ret_object)
{
    struct remote *r = arg;
    const struct cmd_object *o;

    if (ref_is_null(ref)) return false;
    if (cls != CLASS_NONE && !model.classes[cls].uuid) return false;
    o = cls == CLASS_NONE ? find_anywhere(r, ref) : find_in(r, cls, ref);
    if (!o) return false;
    *ret_object = (struct cmd_object){
        .cls = o->cls,
        .uuid = arena_strdup(arena, o->uuid),
        .name = o->name ? arena_strdup(arena, o->name) : NULL,
    };
    return true;
}

/* ---- sessions ---------------------------------------------------------------------------------------- */

static int env_login(void *arg, const char *user, const char *password, bool local, struct xerr *err)
{
    struct remote *r = arg;
    const struct value names[4] = { value_string(user), value_string(password), value_string(""),
                                    value_string("xe") };
    _cleanup_arena_ struct arena *a = NULL;
    char text[REF_TEXT];
    struct value result;

    if (r->session) return 0;
    a = arena_new();
    if (call(r, NULL, local ? "session.slave_local_login_with_password" : "session.login_with_password",
             names, local ? 2 : 4, a, &result, err))
        return -1;
    remote_use_session(r, result.kind == VALUE_REF      ? ref_text(result.ref, text)
                          : result.kind == VALUE_STRING ? result.s
                                                        : "");
    r->own_session = true;
    r->local_session = local;
    return 0;
}

/* Not through call(): neither a server nor a client that has gone is of any interest any more. */
void remote_logout(struct remote *r)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf document = STRBUF_INIT;
    _cleanup_strbuf_ struct strbuf body = STRBUF_INIT;
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const char *why;
    int status;

    if (!r->own_session) return;
    r->own_session = false;
    if (remote_encode_call(r->local_session ? "session.local_logout" : "session.logout",
                           CMD_ARGS(value_string(r->session)), a, &document, &why) < 0)
        return;
    if (r->http && !httpc_usable(r->http)) disconnect(r);
    if (!r->http && connect_somewhere(r, GOODBYE_MS, &ignored) < 0) return;
    (void)httpc_call(r->http, "POST", r->path, "Content-Type: text/xml\r\n", strbuf_cstr(&document),
                     document.len, READ_BYTES, GOODBYE_MS, &status, &body, &ignored);
}

static const char *env_session(void *arg)
{
    const struct remote *r = arg;

    return r->session ? r->session : "";
}

void remote_env(struct remote *r, struct cmd_env *env)
{
    env->arg = r;
    env->login = env_login;
    env->session = env_session;
    env->call = env_call;
    env->call_by = env_call_by;
    env->records = NULL;
    env->watch = env_watch;
    env->lookup = env_lookup;
}
