/* JSON: reading any document into a value, writing values.
 * Called by: jsonrpc, sm/, xapi/, xe/.  Calls: yajl, wire, utf8, iso8601, num. */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include "lib/strbuf.h"
#include "lib/value.h"
#include "lib/wire.h"

/* Reads one document. null is VALUE_VOID, whole numbers within 64 bits VALUE_INT, other numbers VALUE_FLOAT.
 * Of equal member names the last wins. At most 64 containers inside each other; a string with a NUL character
 * is refused. 0, or -1 with a short text that names the byte offset (in the arena). */
int json_decode(const char *text, size_t len, struct arena *a, struct value *ret_value,
                const char **ret_error);

/* As json_decode with at most max_items values; and when the document is an object with a member `raw_key`
 * that is a number or a string, *ret_raw is that member's JSON text (numbers digit by digit), else NULL. */
int json_decode_raw(const char *text, size_t len, struct arena *a, size_t max_items, const char *raw_key,
                    struct value *ret_value, const char **ret_raw, const char **ret_error);

/* Appends the value: ints as numbers, dates and references as strings, no result as "", and a float that JSON
 * has no number for as "NaN", "Infinity" or "-Infinity" in quotes. Malformed UTF-8 is replaced. */
void json_encode_value(const struct value *v, struct strbuf *out);
/* An object with these names, as xmlrpc_frame() and xmlrpc_encode_record(). */
void json_frame(const char *const *names, size_t n, struct wire_frame *ret_frame);
void json_encode_record(const struct wire_frame *frame, const struct value *values, struct strbuf *out);
/* Appends a quoted string. */
void json_encode_string(const char *s, size_t len, struct strbuf *out);
/* Appends `"key":`, after a comma unless out ends in '{'. For objects written in pieces around encoded
 * values. */
void json_member_begin(const char *key, struct strbuf *out);

#endif
