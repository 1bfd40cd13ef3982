/* JSON-RPC 1.0 and 2.0 as XenAPI speaks them.
 * Called by: xapi/rpc, xapi/http, tests.  Calls: json. */
#ifndef LIB_JSONRPC_H
#define LIB_JSONRPC_H

#include "lib/json.h"
#include "lib/xerr.h"

struct jsonrpc_request {
    bool v2;              /* has "jsonrpc":"2.0" */
    const char *method;
    struct value params;  /* a set; in version 2 also a map of the parameters' names */
    const char *id;       /* JSON text, to be echoed as it is */
};

/* Reads a request of at most 100,000 values. params may be absent. A batch and a request without an id are
 * refused. Everything lives in the arena. 0, or -1 with a short text; then v2 and
 * id are set as far as they were seen (id "null" when not), so that a failure can be addressed. */
int jsonrpc_decode_request(const char *body, size_t len, struct arena *a, struct jsonrpc_request *ret_request,
                           const char **ret_error);

/* Replies, appended to out. Version 1 carries both result and error; version 2 exactly one of them. */
void jsonrpc_encode_success(bool v2, const char *id, const struct value *result, struct strbuf *out);
void jsonrpc_encode_failure(bool v2, const char *id, const struct xerr *err, struct strbuf *out);
/* A success in pieces, around a result that is already encoded. */
void jsonrpc_success_begin(bool v2, struct strbuf *out);
void jsonrpc_success_end(bool v2, const char *id, struct strbuf *out);

/* For clients: a version 2 request, and the opening of its reply: 0 with the result, or -1 with the error it
 * describes. */
void jsonrpc_encode_call(const char *method, const struct value *params, int64_t id, struct strbuf *out);
int jsonrpc_decode_response(const char *body, size_t len, struct arena *a, struct value *ret_result,
                            struct xerr *err);

#endif
