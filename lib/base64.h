/* Base64 (RFC 4648, standard alphabet).
 * Called by: xmlrpc, http (Basic authentication), rpc/.  Calls: strbuf. */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include "lib/strbuf.h"

/* Appends the encoding of n bytes, padded, without line breaks. */
void base64_encode(const void *bytes, size_t n, struct strbuf *out);
/* Appends the bytes. White space is skipped, missing padding is accepted. False, with out as it was, when the
 * text is anything else. */
bool base64_decode(const char *s, size_t n, struct strbuf *out);

#endif
