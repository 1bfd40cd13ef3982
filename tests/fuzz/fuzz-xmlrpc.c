/* The XML-RPC reader over arbitrary bytes; what it accepts is written, read again and must not change any
 * more.
 * Called by: libFuzzer, replay.c.  Calls: lib/xmlrpc. */
#include "tests/fuzz/fuzz.h"

#include "lib/xmlrpc.h"

/* Writing loses types (an int becomes text), so the fixed point is reached after one round. */
static void check_rounds(const struct value *v, struct arena *a)
{
    struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    struct value again, third;
    const char *error;

    xmlrpc_encode_value(v, &first);
    MUST(utf8_valid(first.ptr, first.len));
    MUST(!xmlrpc_decode_value(first.ptr, first.len, a, &again, &error));
    xmlrpc_encode_value(&again, &second);
    MUST(!xmlrpc_decode_value(second.ptr, second.len, a, &third, &error));
    MUST(value_eq(&again, &third));
    strbuf_free(&first);
    strbuf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    const char *body = (const char *)data, *method, *error = NULL;
    struct value v, result;
    struct xerr err = XERR_INIT;

    if (!xmlrpc_decode_call(body, size, a, &method, &v, &error)) {
        MUST(v.kind == VALUE_SET && utf8_valid(method, strlen(method)));
        fuzz_check_value(&v, 0);
        check_rounds(&v, a);
    } else {
        MUST(error && *error);
    }
    error = NULL;
    if (!xmlrpc_decode_response(body, size, a, &v, &error)) {
        fuzz_check_value(&v, 0);
        if (!xmlrpc_result(&v, &result, &err)) check_rounds(&result, a);
    } else {
        MUST(error && *error);
    }
    error = NULL;
    if (!xmlrpc_decode_value(body, size, a, &v, &error)) {
        fuzz_check_value(&v, 0);
        check_rounds(&v, a);
    } else {
        MUST(error && *error);
    }
    xerr_clear(&err);
    arena_free(a);
    return 0;
}
