/* Class host: plug-ins and extensions, the administrator's own programs that clients may run.
 * Called by: the generated thunks (schema/host.xml, pool.xml).  Calls: subproc, xmlrpc, jsonrpc, session.
 *
 * A plug-in gets an XML-RPC methodCall as its only argument, fn(session, {key: text}), and prints a
 * methodResponse with the Status struct of the API. An extension is called with --jsonrpc, reads a
 * JSON-RPC request on stdin and prints the response. Both run as we do, without a shell. */
#include "xapi/host.h"

#include <errno.h>

#include "gen/methods.h"
#include "lib/conf.h"
#include "lib/jsonrpc.h"
#include "lib/limits.h"
#include "lib/subproc.h"
#include "lib/xmlrpc.h"
#include "xapi/auth.h"
#include "xapi/session.h"

enum { ERROR_TEXT_MAX = 16 << 10 };

/* The program of that name in the directory, or NULL. A name is one component that does not begin with a
 * dot. */
static const char *find_program(const struct agent *agent, struct arena *a, const char *option,
                                const char *name)
{
    if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 200) return NULL;
    const char *path = arena_printf(a, "%s/%s", conf_str(agent->conf, option), name);
    return access(path, X_OK) ? NULL : path;
}

static bool cancelled(void *arg) { return call_cancelled(arg); }

/* Runs it to the end. Errors: TASK_CANCELLED, INTERNAL_ERROR when it cannot be started. */
static int run(struct call *c, const char *const *argv, const struct strbuf *input, struct subproc_result *r,
               struct xerr *err)
{
    const struct subproc_command cmd = { .argv = argv, .cwd = "/" };
    const struct subproc_limits limits = {
        .timeout_ms = conf_ms(c->agent->conf, "plugin-timeout"),
        .out_bytes = LIMIT_PLUGIN_OUTPUT,
        .cancelled = cancelled,
        .cancelled_arg = c,
    };

    if (subproc_run(&cmd, input ? input->ptr : NULL, input ? input->len : 0, &limits, r))
        return xerr_internal(err, "%s: %s", argv[0], strerror(errno));
    if (r->end != SUBPROC_CANCELLED) return 0;
    subproc_result_free(r);
    return call_check_cancel(c, err);
}

/* A session of root's for the time the program runs. The secret goes to the program only. */
static int lend_session(struct call *c, struct ref *ret_secret, struct xerr *err)
{
    struct call *own = call_new_internal(c->agent, "plug-in");
    int rc = session_open_root(own, "plug-in", ret_secret, err);

    call_free_internal(own);
    return rc;
}

static void end_session(struct call *c, struct ref secret)
{
    session_close(c->agent, auth_session_key(c->agent->auth, secret));
}

/* ---- plug-ins ------------------------------------------------------------------------------------------ */

/* XENAPI_PLUGIN_FAILURE [status, stdout, stderr] for a program that did not end well. */
static int failed_run(struct call *c, const struct subproc_result *r, struct xerr *err)
{
    const char *out = arena_strndup(c->arena, strbuf_cstr(&r->out),
                                    r->out.len < ERROR_TEXT_MAX ? r->out.len : ERROR_TEXT_MAX);
    const char *text = strbuf_cstr(&r->err);

    switch (r->end) {
    case SUBPROC_EXITED:
        return xerr_xenapi_plugin_failure(err, "non-zero exit", out, text);
    case SUBPROC_SIGNALED:
        return xerr_xenapi_plugin_failure(err, arena_printf(c->arena, "signal: %d", r->code), out, text);
    case SUBPROC_TIMED_OUT:
        return xerr_xenapi_plugin_failure(err, "timed out", out, text);
    case SUBPROC_CANCELLED:
    case SUBPROC_LOST:
        break;
    }
    return xerr_xenapi_plugin_failure(err, "lost", out, text);
}

/* What the program said: the Value as text, or the error it describes, as it is. */
static int read_answer(struct call *c, const struct subproc_result *r, const char **ret_text,
                       struct xerr *err)
{
    struct value response, value;
    const char *why;

    if (r->out_truncated) return xerr_xenapi_plugin_failure(err, "more than 16 MiB of output", "", "");
    if (xmlrpc_decode_response(strbuf_cstr(&r->out), r->out.len, c->arena, &response, &why))
        return xerr_xenapi_plugin_failure(err, why, strbuf_cstr(&r->out), strbuf_cstr(&r->err));
    if (xmlrpc_result(&response, &value, err)) return -1;
    switch (value.kind) {
    case VALUE_STRING:
        *ret_text = value.s;
        return 0;
    case VALUE_VOID:
        *ret_text = "";
        return 0;
    case VALUE_BOOL:
        *ret_text = value.b ? "True" : "False";
        return 0;
    case VALUE_INT:
    case VALUE_INT32:
        *ret_text = arena_printf(c->arena, "%lld", (long long)value.i);
        return 0;
    case VALUE_REF:
        *ret_text = arena_strdup(c->arena, REF_STR(value.ref));
        return 0;
    case VALUE_FLOAT:
    case VALUE_DATETIME:
    case VALUE_LOCALTIME:
    case VALUE_SET:
    case VALUE_MAP:
        break;
    }
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    xmlrpc_encode_value(&value, &xml);
    *ret_text = arena_strdup(c->arena, strbuf_cstr(&xml));
    return 0;
}

int host_call_plugin(struct call *c, struct ref host, const char *plugin, const char *fn,
                     const struct value *args, const char **ret_result, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf request = STRBUF_INIT;
    struct subproc_result r;
    struct ref secret;

    if (host_need_self(c, host, err)) return -1;
    const char *path = find_program(c->agent, c->arena, "plugin-dir", plugin);
    if (!path) return xerr_xenapi_missing_plugin(err, plugin);
    if (lend_session(c, &secret, err)) return -1;
    const struct value params[] = { value_ref(secret), *args };
    const struct value set = value_set(params, ARRAY_SIZE(params));
    xmlrpc_encode_call(fn, &set, &request);
    const char *const argv[] = { path, strbuf_cstr(&request), NULL };
    int rc = request.len > LIMIT_PLUGIN_ARGUMENTS
                 ? xerr_value_not_supported(err, "args", arena_printf(c->arena, "%zu bytes", request.len),
                                            "arguments of a plug-in may have 128 KiB")
                 : run(c, argv, NULL, &r, err);
    end_session(c, secret);
    if (rc) return -1;
    rc = subproc_ok(&r) ? read_answer(c, &r, ret_result, err) : failed_run(c, &r, err);
    subproc_result_free(&r);
    return rc;
}

/* ---- extensions ---------------------------------------------------------------------------------------- */

bool host_extension_exists(const struct agent *agent, const char *name)
{
    _cleanup_arena_ struct arena *a = arena_new();

    return find_program(agent, a, "extension-dir", name) != NULL;
}

int host_has_extension(struct call *c, struct ref host, const char *name, bool *ret_result, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    *ret_result = host_extension_exists(c->agent, name);
    return 0;
}

int pool_has_extension(struct call *c, struct ref self, const char *name, bool *ret_result, struct xerr *err)
{
    if (pool_need_self(c, self, err)) return -1;
    *ret_result = host_extension_exists(c->agent, name);
    return 0;
}

static int protocol_failure(struct call *c, const char *path, const char *what, struct xerr *err)
{
    const char *params[] = { path, arena_strdup(c->arena, what) };

    return xerr_extension_protocol_failure(err, ARRAY_SIZE(params), params);
}

/* The result as it is when it is text, else as JSON. */
static int read_response(struct call *c, const char *path, const struct subproc_result *r,
                         const char **ret_text, struct xerr *err)
{
    struct value document, result;
    const char *why;

    if (!subproc_ok(r)) {
        _cleanup_free_ char *text = subproc_describe(r);
        return xerr_internal(err, "extension %s: %s", path, text);
    }
    if (r->out_truncated || json_decode(strbuf_cstr(&r->out), r->out.len, c->arena, &document, &why))
        return protocol_failure(c, path, r->out_truncated ? "more than 16 MiB of output" : why, err);
    if (document.kind != VALUE_MAP || (!value_get(&document, "result") && !value_get(&document, "error")))
        return protocol_failure(c, path, "no JSON-RPC response", err);
    if (jsonrpc_decode_response(strbuf_cstr(&r->out), r->out.len, c->arena, &result, err)) return -1;
    if (result.kind == VALUE_STRING) {
        *ret_text = result.s;
        return 0;
    }
    _cleanup_strbuf_ struct strbuf json = STRBUF_INIT;
    json_encode_value(&result, &json);
    *ret_text = arena_strdup(c->arena, strbuf_cstr(&json));
    return 0;
}

int host_call_extension(struct call *c, struct ref host, const char *call, const char **ret_result,
                        struct xerr *err)
{
    struct jsonrpc_request request;
    struct subproc_result r;
    const char *why;

    if (host_need_self(c, host, err)) return -1;
    if (jsonrpc_decode_request(call, strlen(call), c->arena, &request, &why))
        return xerr_invalid_value(err, "call", why);
    const char *path = find_program(c->agent, c->arena, "extension-dir", request.method);
    if (!path) return xerr_message_method_unknown(err, request.method);
    const char *const argv[] = { path, "--jsonrpc", NULL };
    _cleanup_strbuf_ struct strbuf input = STRBUF_INIT;
    strbuf_str(&input, call);
    if (run(c, argv, &input, &r, err)) return -1;
    int rc = read_response(c, path, &r, ret_result, err);
    subproc_result_free(&r);
    return rc;
}
