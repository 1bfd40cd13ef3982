/* JSON-RPC envelopes.
 * Called by: xapi/rpc, xapi/http, tests.  Calls: json. */
#include "lib/jsonrpc.h"

#include "lib/limits.h"
#include "lib/wire.h"

static const struct value no_params = { .kind = VALUE_SET };

int jsonrpc_decode_request(const char *body, size_t len, struct arena *a, struct jsonrpc_request *ret_request,
                           const char **ret_error)
{
    struct value doc;
    const char *raw_id;

    *ret_request = (struct jsonrpc_request){ .id = "null", .params = no_params };
    if (json_decode_raw(body, len, a, LIMIT_CALL_VALUES, "id", &doc, &raw_id, ret_error)) return -1;
    if (doc.kind == VALUE_SET) return *ret_error = "batches are not supported", -1;
    if (doc.kind != VALUE_MAP) return *ret_error = "the request is not an object", -1;

    const struct value *version = value_get(&doc, "jsonrpc");
    ret_request->v2 = version != NULL;
    if (raw_id) ret_request->id = raw_id;
    if (version && !streq(value_get_str(&doc, "jsonrpc", ""), "2.0"))
        return *ret_error = "jsonrpc is not \"2.0\"", -1;
    if (!raw_id) return *ret_error = "id is missing, or neither a number nor a string", -1;

    ret_request->method = value_get_str(&doc, "method", NULL);
    if (!ret_request->method) return *ret_error = "method is missing, or not a string", -1;
    const struct value *params = value_get(&doc, "params");
    bool named = params && params->kind == VALUE_MAP && ret_request->v2;
    if (params && params->kind != VALUE_SET && !named)
        return *ret_error = "params is not an array", -1;
    if (params) ret_request->params = *params;
    return 0;
}

void jsonrpc_success_begin(bool v2, struct strbuf *out)
{
    strbuf_str(out, v2 ? "{\"jsonrpc\":\"2.0\",\"result\":" : "{\"result\":");
}

void jsonrpc_success_end(bool v2, const char *id, struct strbuf *out)
{
    strbuf_str(out, v2 ? ",\"id\":" : ",\"error\":null,\"id\":");
    strbuf_str(out, id);
    strbuf_char(out, '}');
}

void jsonrpc_encode_success(bool v2, const char *id, const struct value *result, struct strbuf *out)
{
    jsonrpc_success_begin(v2, out);
    json_encode_value(result, out);
    jsonrpc_success_end(v2, id, out);
}

static void add_texts(char *const *texts, size_t n, bool first, struct strbuf *out)
{
    for (size_t i = 0; i < n; i++, first = false) {
        if (!first) strbuf_char(out, ',');
        json_encode_string(texts[i], strlen(texts[i]), out);
    }
}

void jsonrpc_encode_failure(bool v2, const char *id, const struct xerr *err, struct strbuf *out)
{
    strbuf_str(out, v2 ? "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":"
                       : "{\"result\":null,\"error\":[");
    json_encode_string(err->code, strlen(err->code), out);
    if (v2) strbuf_str(out, ",\"data\":[");
    add_texts(err->params, err->n, v2, out);
    strbuf_str(out, v2 ? "]},\"id\":" : "],\"id\":");
    strbuf_str(out, id);
    strbuf_char(out, '}');
}

void jsonrpc_encode_call(const char *method, const struct value *params, int64_t id, struct strbuf *out)
{
    strbuf_str(out, "{\"jsonrpc\":\"2.0\",\"method\":");
    json_encode_string(method, strlen(method), out);
    strbuf_str(out, ",\"params\":");
    json_encode_value(params, out);
    strbuf_str(out, ",\"id\":");
    strbuf_int(out, id);
    strbuf_char(out, '}');
}

static int raise_error(const struct value *error, struct xerr *err)
{
    const char *params[XERR_MAX_PARAMS];
    const char *code = value_get_str(error, "message", NULL);
    const struct value *data = value_get(error, "data");
    size_t n = 0;

    if (!code) return xerr_internal(err, "the reply's error has no message");
    for (size_t i = 0; data && data->kind == VALUE_SET && i < data->set.n && n < XERR_MAX_PARAMS; i++)
        params[n++] = data->set.items[i].kind == VALUE_STRING ? data->set.items[i].s : "";
    return xerr_set_dynamic(err, code, n, params);
}

int jsonrpc_decode_response(const char *body, size_t len, struct arena *a, struct value *ret_result,
                            struct xerr *err)
{
    struct value doc;
    const char *why;

    if (json_decode(body, len, a, &doc, &why)) return xerr_internal(err, "the reply is not JSON: %s", why);
    const struct value *error = value_get(&doc, "error"), *result = value_get(&doc, "result");
    if (error && error->kind == VALUE_MAP) return raise_error(error, err);
    if (!result) return xerr_internal(err, "the reply has neither result nor error");
    *ret_result = *result;
    return 0;
}
