/* From what a client sent to what the model says: every value checked and normalized by its type.
 * Called by: dispatch.c, fields.c.  Calls: model, session. */
#ifndef RPC_COERCE_H
#define RPC_COERCE_H

#include "xapi/call/call.h"

/* Clients differ: 64-bit ints come as text, ints where floats are due, dates as text, null references as "". All of these
 * are taken. The result lives in the call's arena or borrows from `in`. name: of the parameter or field.
 * Errors: FIELD_TYPE_ERROR [name], HANDLE_INVALID [class, text]. */
int coerce(struct call *c, const struct type_desc *type, const char *name, const struct value *in,
           struct value *ret_value, struct xerr *err);
/* A key of a map as text, by the key's type. */
int coerce_key(struct call *c, const struct type_desc *type, const char *name, const char *key, const char **ret_key,
               struct xerr *err);

#endif
