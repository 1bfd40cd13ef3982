/* Values between us and xmlrpc-c: calls as text, replies as what the model says they are.
 * Called by: remote.c.  Calls: xmlrpc-c, lib. */
#ifndef XE_REMOTE_VALUE_H
#define XE_REMOTE_VALUE_H

#include "gen/model.h"
#include "lib/strbuf.h"
#include "lib/value.h"
#include "lib/xerr.h"

enum remote_reply {
    REMOTE_RESULT,     /* the value */
    REMOTE_FAILURE,    /* the error that the API describes is in err */
    REMOTE_FAULT,      /* *ret_why: an XML-RPC fault: the server did not understand the call */
    REMOTE_NONSENSE,   /* *ret_why: what came is no reply, or not of the type it should have */
};

/* A <methodCall>, appended. Ints go as text, as every XenAPI server takes them; characters that XML cannot
 * carry are left out. 0, or -1 with a sentence in the arena. */
int remote_encode_call(const char *method, const struct value *args, size_t n, struct arena *a,
                       struct strbuf *out, const char **ret_why);
/* Opens a reply. type: what the result should be (NULL: whatever it is). Members of records that we do not
 * know are left out; those of ours that the server does not know have their defaults. */
enum remote_reply remote_decode_reply(const char *text, size_t len, const struct type_desc *type,
                                      struct arena *a, struct value *ret_value, struct xerr *err,
                                      const char **ret_why);

#endif
