/* The messages that every class has: records, fields, lookups, made from the tables alone.
 * Called by: dispatch.c.  Calls: db/, lifecycle, codecs. */
#ifndef RPC_FIELDS_H
#define RPC_FIELDS_H

#include "xapi/call/call.h"

/* Where an answer goes: as text straight into out when there is one, else as a value in the call's arena. */
struct rpc_result {
    struct strbuf *out;
    enum encoding encoding;
    bool written;              /* the text is in out; value is not set */
    struct value value;
};
/* Gives a value as the result: encodes it when text is wanted. It may borrow from a snapshot that is still held. */
void rpc_result_set(struct call *c, struct rpc_result *r, const struct value *v);

/* True when the message can be answered from the tables: nobody wrote a function for it, and none is needed. */
bool fields_serve(const struct method_desc *m);
/* args: checked. Errors: HANDLE_INVALID, UUID_INVALID, MAP_DUPLICATE_KEY, FIELD_TYPE_ERROR. */
int fields_call(struct call *c, const struct method_desc *m, const struct value *args, struct rpc_result *r,
                struct xerr *err);

#endif
