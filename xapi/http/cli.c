/* POST /cli: the thin command line protocol. Commands run here, with the caller's session, through the gates.
 * Called by: the HTTP server, on a thread of its own.  Calls: rpc/, xe/cmd, server.h. */
#define LOG_MODULE "cli"

#include "xapi/http/cli.h"

#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/certificate.h"
#include "xapi/event.h"
#include "xe/serve.h"

enum {
    STRANGER_MS = 60 * 1000,           /* how long a client may take to read before it has logged in, */
    READER_MS = 3600 * 1000,           /* and after: somebody may look at page one of the output */
};

struct cli {
    struct serve serve;
    struct http_request *req;
    struct agent *agent;
    struct arena *arena;
    struct rpc_origin origin;
    const char *session;               /* reference text, NULL before login */
    bool own_session, local_session;   /* we logged in and have to log out */
};

/* ---- what commands ask of the API -------------------------------------------------------------------- */

/* One message through all the gates. session NULL: a message that takes none. */
static int call(struct cli *cli, const char *session, const char *method, const struct value *args, size_t n,
                struct arena *arena, struct value *ret_result, struct xerr *err)
{
    const struct method_desc *m =
        model_method(has_prefix(method, "Async.") ? method + strlen("Async.") : method);
    struct rpc_call *rc = rpc_call_new(cli->agent, arena, &cli->origin);
    struct value *items = arena_new_array(arena, struct value, n + 1), params;
    struct rpc_result result = { .out = NULL, .value = value_void() };
    size_t first = session && (!m || m->session) ? 1 : 0;
    enum rpc_step step;
    struct ref task;
    int failed;

    if (first) items[0] = value_string(session);
    for (size_t i = 0; i < n; i++) items[first + i] = args[i];
    params = value_set(items, first + n);
    failed = rpc_prepare(rc, method, &params, &step, err);
    if (!failed && step == RPC_ASYNC) {
        failed = rpc_start_async(rc, &task, err);
        if (!failed) result.value = value_ref(task);
    } else if (!failed) {
        failed = rpc_perform(rc, &result, err);    /* waiting for events blocks: this thread is ours */
    }
    if (rc->delay_ms) {
        const struct timespec pause = { rc->delay_ms / 1000, (long)(rc->delay_ms % 1000) * NS_PER_MS };

        nanosleep(&pause, NULL);
    }
    rpc_call_end(rc);
    if (failed) return -1;
    *ret_result = result.value;
    return 0;
}

static int env_call(void *arg, const char *method, const struct value *args, size_t n, struct arena *arena,
                    struct value *ret_result, struct xerr *err)
{
    struct cli *cli = arg;

    return call(cli, cli->session, method, args, n, arena, ret_result, err);
}

static int env_call_by(void *arg, const char *session, const char *method, const struct value *args, size_t n,
                       struct arena *arena, struct value *ret_result, struct xerr *err)
{
    return call(arg, session, method, args, n, arena, ret_result, err);
}

/* A row's fields, those asked for or all. */
static struct value row_fields(const struct row *row, const struct class_desc *cls, const field_id *fields,
                               size_t n, struct arena *arena)
{
    struct value_builder b = value_builder(arena);
    size_t count = fields ? n : cls->n_fields;

    for (size_t i = 0; i < count; i++) {
        const struct field_desc *f = fields ? model_field(fields[i]) : &cls->fields[i];
        struct value v;

        if (fields && !fields[i]) continue;
        v = row_field_value(row, f, arena);
        value_put(&b, f->name, value_copy(arena, &v));
    }
    return value_built_map(&b);
}

/* get_all_records without the fields that nobody looks at. The gates decide as for the message itself. */
static int env_records(void *arg, const struct class_desc *cls, const field_id *fields, size_t n,
                       struct arena *arena, struct value *ret_map, struct xerr *err)
{
    struct cli *cli = arg;
    const char *name = arena_printf(arena, "%s.get_all_records", cls->name);
    const struct method_desc *m = model_method(name);
    struct value session = value_string(cli->session), params = value_set(&session, 1);
    struct value_builder b = value_builder(arena);
    struct rpc_call *rc;
    enum rpc_step step;
    int failed;

    if (!m || !fields_serve(m)) return env_call(arg, name, NULL, 0, arena, ret_map, err);
    rc = rpc_call_new(cli->agent, arena, &cli->origin);
    failed = rpc_prepare(rc, name, &params, &step, err);
    rpc_call_end(rc);
    if (failed) return -1;
    _cleanup_snap_ struct snap *s = db_snap(cli->agent->db);
    SNAP_EACH(s, (enum class_id)cls->id, row) {
        char text[REF_TEXT];

        value_put_new(&b, arena_strdup(arena, ref_text(row_ref_of(row), text)),
                      row_fields(row, cls, fields, n, arena));
    }
    *ret_map = value_built_map(&b);
    return 0;
}

static bool env_lookup(void *arg, int cls, struct ref ref, struct arena *arena, struct cmd_object *ret_object)
{
    struct cli *cli = arg;
    _cleanup_snap_ struct snap *s = db_snap(cli->agent->db);
    const struct row *row = cls == CLASS_NONE ? snap_find(s, ref) : snap_get(s, (enum class_id)cls, ref);
    field_id name;

    if (!row) return false;
    name = model.classes[row_class(row)].name_label;
    *ret_object = (struct cmd_object){
        .cls = (int)row_class(row), .uuid = arena_strdup(arena, row_uuid(row)),
        .name = name ? arena_strdup(arena, row_str(row, name)) : NULL,
    };
    return true;
}

static int env_watch(void *arg, const struct value *what, char token[CMD_TOKEN], int timeout_ms,
                     struct arena *arena, struct value *ret_events, struct xerr *err)
{
    struct cli *cli = arg;
    const struct value *events;
    struct value batch;
    const char *next;

    _Static_assert((int)CMD_TOKEN >= (int)TOKEN_TEXT, "a token must fit");
    if (ret_events) *ret_events = value_set(NULL, 0);
    if (!*token) {
        _cleanup_snap_ struct snap *s = db_snap(cli->agent->db);

        token_text(snap_token(s), token);
        return 0;
    }
    serve_flush(&cli->serve);
    if (call(cli, cli->session, "event.from",
             CMD_ARGS(*what, value_string(token), value_float(timeout_ms / 1000.0)), arena, &batch, err))
        return -1;
    if (event_hub_stopping(cli->agent->events)) return cmd_fail(err, "The server is being stopped");
    next = value_get_str(&batch, "token", "");
    if (strlen(next) < CMD_TOKEN) memcpy(token, next, strlen(next) + 1);
    events = value_get(&batch, "events");
    if (ret_events && events) *ret_events = *events;
    return 0;
}

static int env_tls(void *arg, struct tls_client **ret_client, struct xerr *err)
{
    const struct cli *cli = arg;

    return certificate_client(cli->agent, ret_client, err);
}

/* ---- sessions ---------------------------------------------------------------------------------------- */

static int env_login(void *arg, const char *user, const char *password, bool local, struct xerr *err)
{
    struct cli *cli = arg;
    struct value names[4] = { value_string(user), value_string(password), value_string(""),
                              value_string("xe") };
    const char *method = local ? "session.slave_local_login_with_password" : "session.login_with_password";
    char text[REF_TEXT];
    struct value result;

    if (cli->session) return 0;        /* forwarded from another host, which has logged in */
    if (call(cli, NULL, method, names, local ? 2 : 4, cli->arena, &result, err)) return -1;
    if (result.kind == VALUE_REF)
        cli->session = arena_strdup(cli->arena, ref_text(result.ref, text));
    else
        cli->session = result.kind == VALUE_STRING ? result.s : "";
    cli->own_session = true;
    cli->local_session = local;
    cli->serve.write_ms = READER_MS;
    return 0;
}

static void logout(struct cli *cli)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value dropped;

    if (!cli->own_session) return;
    if (call(cli, cli->session, cli->local_session ? "session.local_logout" : "session.logout", NULL, 0,
             cli->arena, &dropped, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);

        log_debug("logout: %s", why);
    }
}

static const char *env_session(void *arg)
{
    struct cli *cli = arg;

    return cli->session ? cli->session : "";
}

/* ---- the conversation -------------------------------------------------------------------------------- */

static bool client_gone(void *arg)
{
    return http_client_gone(arg);
}

static void run(struct cli *cli)
{
    struct cmd_env env = {
        .arg = cli, .login = env_login, .session = env_session, .call = env_call,
        .call_by = env_call_by, .records = env_records, .watch = env_watch, .lookup = env_lookup, .tls = env_tls,
    };
    const char *const *args;
    const char *wrong;
    size_t n;
    int code = 1;

    serve_env(&cli->serve, http_header(&cli->req->head, "x-xe-wants"),
              http_header(&cli->req->head, "accept-language"), &env);
    wrong = serve_arguments(&cli->serve, cli->req->body, cli->req->body_len, &args, &n, &cli->session);
    if (wrong)
        serve_say(&cli->serve, wrong);
    else
        code = cmd_run(&env, cli->arena, args, n);
    logout(cli);
    serve_exit(&cli->serve, code);
}

void post_cli(struct http_request *req, void *arg)
{
    const struct http_peer *peer = &req->peer;
    struct cli cli = {
        .serve = { .stream = http_stream(req), .arena = req->arena, .hung_up = client_gone, .hung_up_arg = req,
                   .write_ms = STRANGER_MS },
        .req = req, .agent = arg, .arena = req->arena,
        .origin = {
            .peer = peer->is_unix ? "unix" : peer->address,
            .local = peer->is_unix,
            .trusted = peer->is_unix && peer->has_cred && (peer->uid == 0 || peer->uid == getuid()),
        },
    };

    if (serve_hello(&cli.serve)) run(&cli);
    serve_free(&cli.serve);
}
