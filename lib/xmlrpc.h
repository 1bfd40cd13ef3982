/* XML-RPC as XenAPI speaks it: readers for calls, replies and single values, and a fast writer.
 * Called by: xapi/rpc, xapi/http, xe/, tests.  Calls: wire, utf8, iso8601, base64, num.
 *
 * The writer follows what real clients accept: no white space between elements, strings bare in <value>,
 * 64-bit ints as text, an empty string as <value></value>. It drops characters that XML cannot carry and
 * replaces malformed UTF-8. The reader takes everything clients send: typed and bare values, any white space,
 * CDATA, comments. It takes no document type, no entities but the five and numeric ones, at most 64
 * containers inside each other. */
#ifndef LIB_XMLRPC_H
#define LIB_XMLRPC_H

#include "lib/strbuf.h"
#include "lib/value.h"
#include "lib/wire.h"
#include "lib/xerr.h"

/* ---- reading
 * --------------------------------------------------------------------------------------------------- body
 * need not be NUL-terminated; nothing returned points into it. Values: <int>, <i4>, <i8> are VALUE_INT,
 * <double> VALUE_FLOAT, <boolean> VALUE_BOOL, dates VALUE_DATETIME, <nil/> VALUE_VOID, text, bare or typed,
 * and base64 VALUE_STRING. All return 0, or -1 with a short text that names the byte offset (in the arena).
 * */

/* A <methodCall>; params is a set. At most 100,000 values. */
int xmlrpc_decode_call(const char *body, size_t len, struct arena *a, const char **ret_method,
                       struct value *ret_params, const char **ret_error);
/* A <methodResponse>'s value (for XenAPI: the Status struct, see xmlrpc_result). A <fault> is an error. */
int xmlrpc_decode_response(const char *body, size_t len, struct arena *a, struct value *ret_value,
                           const char **ret_error);
/* One <value>, as in task.result and ova.xml. */
int xmlrpc_decode_value(const char *text, size_t len, struct arena *a, struct value *ret_value,
                        const char **ret_error);
/* Opens a XenAPI reply: Status Success gives the Value (0), Failure the error it describes (-1). */
int xmlrpc_result(const struct value *response, struct value *ret_result, struct xerr *err);

/* ---- writing: everything appends to out
 * ------------------------------------------------------------------------ */

/* <value>...</value> */
void xmlrpc_encode_value(const struct value *v, struct strbuf *out);
/* <value><struct>...</struct></value> with these names, without looking at them again each time: */
void xmlrpc_frame(const char *const *names, size_t n, struct wire_frame *ret_frame);
void xmlrpc_encode_record(const struct wire_frame *frame, const struct value *values, struct strbuf *out);
/* Character data with & < > " escaped; of use to every writer of XML. */
void xmlrpc_encode_text(const char *s, size_t len, struct strbuf *out);
/* params: a set. */
void xmlrpc_encode_call(const char *method, const struct value *params, struct strbuf *out);
/* The reply with Status Success. */
void xmlrpc_encode_success(const struct value *result, struct strbuf *out);
/* The reply with Status Failure and ErrorDescription [code, params...]. err must be set. */
void xmlrpc_encode_failure(const struct xerr *err, struct strbuf *out);
/* The reply without the Status struct (system.listMethods). */
void xmlrpc_encode_bare(const struct value *result, struct strbuf *out);
/* A protocol-level <fault>, for a body that is no call at all. */
void xmlrpc_encode_fault(int code, const char *text, struct strbuf *out);

/* ---- writing in pieces, around values that are already encoded:
 * xmlrpc_success_begin, <value>, xmlrpc_success_end; the value may be struct_begin, (member_begin, <value>,
 * member_end)*, struct_end or array_begin, <value>*, array_end. */
void xmlrpc_success_begin(struct strbuf *out);
void xmlrpc_success_end(struct strbuf *out);
void xmlrpc_struct_begin(struct strbuf *out);
void xmlrpc_member_begin(const char *key, struct strbuf *out);
void xmlrpc_member_end(struct strbuf *out);
void xmlrpc_struct_end(struct strbuf *out);
void xmlrpc_array_begin(struct strbuf *out);
void xmlrpc_array_end(struct strbuf *out);

#endif
