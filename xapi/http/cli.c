/* POST /cli: the thin command line protocol. Commands run here, with the caller's session, through the gates.
 * Called by: the HTTP server, on a thread of its own.  Calls: rpc/, xe/cmd, server.h. */
#define LOG_MODULE "cli"

#include "xapi/http/cli.h"

#include <poll.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/utf8.h"
#include "xe/cmd.h"
#include "xe/thin.h"

enum {
    FLUSH_BYTES = 16 << 10,            /* messages are gathered up to this much */
    HELLO_MS = 60 * 1000,
    WRITE_MS = 60 * 1000,
    PROMPT_MS = 3600 * 1000,           /* somebody may be reading the question */
    ANSWER_MS = 60 * 1000,             /* programs answer at once */
    SILENCE_MS = 900 * 1000,           /* a client that transfers says so every 300 s */
    MAX_ANSWER = 64,                   /* bytes of a response; blobs' bytes are not in it */
    MAX_LINE = 64 << 10,
    MAX_ARGS = 4096,
};

struct cli {
    struct http_request *req;
    struct agent *agent;
    struct arena *arena;
    struct rpc_origin origin;
    struct stream *stream;
    struct strbuf out;                 /* messages not sent yet */
    bool gone;                         /* the client has hung up, or does not keep to the protocol */
    const char *session;               /* reference text, NULL before login */
    bool own_session, local_session;   /* we logged in and have to log out */
    int64_t transfer_deadline_ns;
};

/* ---- bytes ------------------------------------------------------------------------------------------- */

static void flush(struct cli *cli)
{
    if (!cli->gone && cli->out.len && stream_write(cli->stream, cli->out.ptr, cli->out.len, WRITE_MS) < 0)
        cli->gone = true;
    strbuf_clear(&cli->out);
}

static void flush_when_full(struct cli *cli)
{
    if (cli->out.len >= FLUSH_BYTES) flush(cli);
}

static int read_bytes(struct cli *cli, void *buf, size_t n, int timeout_ms)
{
    flush(cli);
    if (!cli->gone && stream_read_full(cli->stream, buf, n, timeout_ms) < 0) cli->gone = true;
    return cli->gone ? -1 : 0;
}

/* The client's next message; it only ever sends small ones. */
static int read_answer(struct cli *cli, struct thin_msg *ret_msg, int timeout_ms)
{
    char head[4], payload[MAX_ANSWER];
    int32_t n;

    if (read_bytes(cli, head, sizeof head, timeout_ms) < 0) return -1;
    n = thin_int(head);
    if (n < 8 || n > MAX_ANSWER || read_bytes(cli, payload, (size_t)n, ANSWER_MS) < 0
        || thin_decode(payload, (size_t)n, cli->arena, ret_msg) < 0 || ret_msg->kind == THIN_COMMAND) {
        cli->gone = true;
        return -1;
    }
    return 0;
}

/* Old terminals send what is no UTF-8; it must not reach a record. */
static char *repaired(struct arena *arena, const char *text, size_t n)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    if (utf8_valid(text, n)) return arena_strndup(arena, text, n);
    utf8_repair(text, n, &b);
    return arena_strndup(arena, strbuf_cstr(&b), b.len);
}

/* Chunks until End, at most limit bytes in all. */
static int read_blob(struct cli *cli, size_t limit, struct arena *arena, char **ret_text, size_t *ret_len)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct thin_msg msg;

    for (;;) {
        size_t n, at = b.len;

        if (read_answer(cli, &msg, PROMPT_MS) < 0) return -1;
        if (msg.kind == THIN_BLOB && msg.tag == THIN_END) break;
        n = (size_t)msg.number;
        if (msg.kind != THIN_BLOB || msg.number < 0 || n > limit - b.len) {
            cli->gone = true;
            return -1;
        }
        strbuf_reserve(&b, n + 1);
        if (read_bytes(cli, b.ptr + at, n, ANSWER_MS) < 0) return -1;
        b.len += n;
        b.ptr[b.len] = '\0';
    }
    *ret_text = repaired(arena, strbuf_cstr(&b), b.len);
    *ret_len = strlen(*ret_text);
    return 0;
}

/* ---- what commands ask of the client ----------------------------------------------------------------- */

static void env_print(void *arg, const char *text, size_t n)
{
    struct cli *cli = arg;

    thin_put_text(&cli->out, THIN_PRINT, text, n);
    flush_when_full(cli);
}

static void env_print_error(void *arg, const char *text, size_t n)
{
    struct cli *cli = arg;

    thin_put_text(&cli->out, THIN_PRINT_STDERR, text, n);
    if (n && text[0] == '\r')
        flush(cli);                    /* a progress bar is of no use later */
    else
        flush_when_full(cli);
}

static void env_error(void *arg, const char *code, const char *const *params, size_t n)
{
    struct cli *cli = arg;

    thin_put_error(&cli->out, code, params, n);
}

static int env_load(void *arg, const char *file, size_t limit, struct arena *arena, char **ret_text,
                    size_t *ret_len)
{
    struct cli *cli = arg;
    struct thin_msg msg;

    thin_put_text(&cli->out, THIN_LOAD, file, strlen(file));
    if (read_answer(cli, &msg, ANSWER_MS) < 0) return -1;
    if (msg.kind != THIN_RESPONSE) {
        cli->gone = true;
        return -1;
    }
    return msg.tag == THIN_OK ? read_blob(cli, limit, arena, ret_text, ret_len) : 1;
}

static int env_prompt(void *arg, struct arena *arena, char **ret_line)
{
    struct cli *cli = arg;
    size_t n;

    thin_put_plain(&cli->out, THIN_COMMAND, THIN_PROMPT);
    return read_blob(cli, MAX_LINE, arena, ret_line, &n);
}

static void env_transfer(void *arg, enum cmd_transfer kind, const char *file, const char *url)
{
    struct cli *cli = arg;

    if (kind == CMD_CONNECT)
        thin_put_text(&cli->out, THIN_HTTP_CONNECT, url, strlen(url));
    else
        thin_put_transfer(&cli->out, kind == CMD_GET ? THIN_HTTP_GET : THIN_HTTP_PUT, file, url);
    flush(cli);
    cli->transfer_deadline_ns = clock_deadline_ns(SILENCE_MS);
}

static enum cmd_state env_transferred(void *arg, int timeout_ms)
{
    struct cli *cli = arg;
    struct pollfd p = { .fd = cli->stream->fd, .events = POLLIN };
    struct thin_msg msg;

    flush(cli);
    if (cli->gone || clock_boottime_ns() > cli->transfer_deadline_ns) return CMD_BROKEN;
    if (!stream_pending(cli->stream) && poll(&p, 1, timeout_ms) <= 0) return CMD_RUNNING;
    if (read_answer(cli, &msg, ANSWER_MS) < 0 || msg.kind != THIN_RESPONSE) return CMD_BROKEN;
    cli->transfer_deadline_ns = clock_deadline_ns(SILENCE_MS);
    if (msg.tag == THIN_WAIT) return CMD_RUNNING;
    return msg.tag == THIN_OK ? CMD_DONE : CMD_BROKEN;
}

static bool env_gone(void *arg)
{
    struct cli *cli = arg;

    return cli->gone || http_client_gone(cli->req);
}

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

static int env_watch(void *arg, const char *what, char token[CMD_TOKEN], int timeout_ms, struct xerr *err)
{
    struct cli *cli = arg;
    _cleanup_arena_ struct arena *a = arena_new();
    struct value class = value_string(what), batch;
    const char *next;

    _Static_assert((int)CMD_TOKEN >= (int)TOKEN_TEXT, "a token must fit");
    if (!*token) {
        _cleanup_snap_ struct snap *s = db_snap(cli->agent->db);

        token_text(snap_token(s), token);
        return 0;
    }
    flush(cli);
    if (call(cli, cli->session, "event.from",
             CMD_ARGS(value_set(&class, 1), value_string(token), value_float(timeout_ms / 1000.0)), a, &batch,
             err))
        return -1;
    next = value_get_str(&batch, "token", "");
    if (strlen(next) < CMD_TOKEN) memcpy(token, next, strlen(next) + 1);
    return 0;
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

static bool exchange_hello(struct cli *cli)
{
    char hello[THIN_HELLO];

    thin_put_hello(&cli->out);
    return read_bytes(cli, hello, sizeof hello, HELLO_MS) == 0 && thin_get_hello(hello);
}

/* The body's lines; a first line "session_id=..." is the session's. Returns what is wrong, or NULL. */
static const char *split_lines(struct cli *cli, const char **args, size_t *ret_n)
{
    size_t n = 0, n_body = cli->req->body_len;
    char *rest = n_body ? repaired(cli->arena, cli->req->body, n_body) : NULL, *line;

    if (n_body && memchr(cli->req->body, 0, n_body)) return "Error: an argument contains a NUL byte\n";
    while ((line = strsep(&rest, "\n"))) {
        size_t len = strlen(line);

        if (n == MAX_ARGS) return "Error: too many arguments\n";
        if (len && line[len - 1] == '\r') line[len - 1] = '\0';
        if (!n && !cli->session && has_prefix(line, "session_id="))
            cli->session = line + strlen("session_id=");
        else
            args[n++] = line;
    }
    *ret_n = n;
    return NULL;
}

static void run(struct cli *cli)
{
    const struct cmd_env env = {
        .arg = cli, .login = env_login, .session = env_session, .call = env_call, .records = env_records,
        .watch = env_watch, .lookup = env_lookup, .print = env_print, .print_error = env_print_error,
        .error = env_error, .load = env_load, .prompt = env_prompt, .transfer = env_transfer,
        .transferred = env_transferred, .gone = env_gone,
    };
    const char **args = arena_new_array(cli->arena, const char *, MAX_ARGS), *wrong;
    size_t n;
    int code = 1;

    wrong = split_lines(cli, args, &n);
    if (wrong)
        env_print_error(cli, wrong, strlen(wrong));
    else
        code = cmd_run(&env, cli->arena, args, n);
    logout(cli);
    thin_put_number(&cli->out, THIN_COMMAND, THIN_EXIT, code);
    flush(cli);
}

void post_cli(struct http_request *req, void *arg)
{
    const struct http_peer *peer = &req->peer;
    struct cli cli = {
        .req = req, .agent = arg, .arena = req->arena, .stream = http_stream(req), .out = STRBUF_INIT,
        .origin = {
            .peer = peer->is_unix ? "unix" : peer->address,
            .local = peer->is_unix,
            .trusted = peer->is_unix && peer->has_cred && (peer->uid == 0 || peer->uid == getuid()),
        },
    };

    if (exchange_hello(&cli)) run(&cli);
    strbuf_free(&cli.out);
}

void cli_routes(struct http_server *s, struct agent *agent)
{
    const struct http_route route = {
        .method = HTTP_POST,
        .prefix = "/cli",
        .flags = HTTP_STREAM | HTTP_NO_HEAD,
        .body_limit = CLI_BODY_LIMIT,
        .handler = post_cli,
        .arg = agent,
    };

    http_server_route(s, &route);
}
