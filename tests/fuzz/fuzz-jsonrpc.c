/* The JSON reader over arbitrary bytes; what it accepts is written, read again and must be the same.
 * Called by: libFuzzer, replay.c.  Calls: lib/jsonrpc. */
#include "tests/fuzz/fuzz.h"

#include "lib/jsonrpc.h"

/* Writing changes null to "" and whole floats to ints; after one round nothing changes any more. */
static void check_rounds(const struct value *v, struct arena *a)
{
    struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    struct value again, third;
    const char *error;

    json_encode_value(v, &first);
    MUST(utf8_valid(first.ptr, first.len));
    MUST(!json_decode(first.ptr, first.len, a, &again, &error));
    json_encode_value(&again, &second);
    MUST(!json_decode(second.ptr, second.len, a, &third, &error));
    MUST(value_eq(&again, &third));
    strbuf_free(&first);
    strbuf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct jsonrpc_request r;
    struct value v;
    const char *body = (const char *)data, *error = NULL;
    struct xerr err = XERR_INIT;

    bool accepted = !jsonrpc_decode_request(body, size, a, &r, &error);
    MUST(accepted || (error && *error));
    MUST(r.id && utf8_valid(r.id, strlen(r.id)));
    if (accepted) {
        MUST(r.method && (r.params.kind == VALUE_SET || (r.v2 && r.params.kind == VALUE_MAP)));
        /* the id can be echoed: a reply with it is a document */
        struct strbuf reply = STRBUF_INIT;
        jsonrpc_encode_success(r.v2, r.id, &r.params, &reply);
        MUST(!json_decode(reply.ptr, reply.len, a, &v, &error));
        strbuf_free(&reply);
    }
    error = NULL;
    if (!json_decode(body, size, a, &v, &error)) {
        fuzz_check_value(&v, 0);
        check_rounds(&v, a);
    } else {
        MUST(error && *error);
    }
    if (jsonrpc_decode_response(body, size, a, &v, &err)) MUST(err.code);
    xerr_clear(&err);
    arena_free(a);
    return 0;
}
