/* What a driver's process said.
 * Called by: slot.c, tests/fuzz.  Calls: xmlrpc. */
#ifndef XAPI_STORAGE_ANSWER_H
#define XAPI_STORAGE_ANSWER_H

#include "lib/strbuf.h"
#include "xapi/storage/storage.h"

/* Reads an XML-RPC answer: a Status struct, or of a foreign driver the bare value or a fault. sr: whose command it was, may be
 * NULL. *ret_answer is in the arena. Errors: the one that it describes; SR_BACKEND_FAILURE_N ["", text, ""] of a fault;
 * SR_OPERATION_NOT_SUPPORTED [sr] for number 38; SM_PLUGIN_COMMUNICATION_FAILURE [type] when it is none. */
int storage_read_answer(const struct storage_driver *d, const struct storage_sr *sr, const struct strbuf *out, struct arena *a,
                        struct value *ret_answer, struct xerr *err);

#endif
