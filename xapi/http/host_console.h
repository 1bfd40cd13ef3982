/* The text console of the control domain: a login on a terminal of its own for each viewer.
 * Called by: console.c.  Calls: lib/subproc. */
#ifndef XAPI_HTTP_HOST_CONSOLE_H
#define XAPI_HTTP_HOST_CONSOLE_H

#include "lib/stream.h"
#include "lib/subproc.h"
#include "xapi/call/call.h"

/* Starts the program that host-console names. *ret_stream is its terminal, to be closed before host_console_end(). Errors:
 * OPERATION_NOT_ALLOWED [why]: there is none; INTERNAL_ERROR. */
int host_console_begin(struct call *c, struct stream *ret_stream, struct subproc *ret_child, struct xerr *err);
/* Whoever is logged in is logged out. Waits a few seconds at most. A child that never began is fine. */
void host_console_end(struct subproc *child);

#endif
