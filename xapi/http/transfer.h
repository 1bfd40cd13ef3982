/* Whole files over HTTP: what downloads and uploads of a few kinds share.
 * Called by: blob.c, pool_db.c, host_files.c.  Calls: server.h. */
#ifndef XAPI_HTTP_TRANSFER_H
#define XAPI_HTTP_TRANSFER_H

#include <stdatomic.h>

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* What Xen Orchestra announces when it does not know the length; it probes with that, too, and sends nothing. */
static const int64_t TRANSFER_LENGTH_UNKNOWN = INT64_C(1) << 50;

/* 200 with the file's bytes, its length, these headers (whole lines, or NULL). The connection ends behind it.
 * Errors: INTERNAL_ERROR; nothing was answered yet when *ret_started is false. */
int transfer_send_file(struct http_request *req, int fd, const char *headers, bool *ret_started,
                       struct xerr *err);
/* The 200 that clients wait for before they send a body. Errors: INTERNAL_ERROR. */
int transfer_begin_upload(struct http_request *req, struct xerr *err);
/* More of the request's body: >0 bytes; 0 its end, also when the client has gone: who reads knows whether it is whole; -1 when
 * nothing came for a minute, the call was cancelled, or stop (NULL = never) was set meanwhile. */
ssize_t transfer_read(struct http_request *req, struct call *c, const atomic_bool *stop, void *buf, size_t n);
/* The request's body into a file. A client that leaves early ends the body there: whoever reads the file
 * knows whether it is whole. Errors: INTERNAL_ERROR; IMPORT_ERROR beyond limit; TASK_CANCELLED. */
int transfer_receive_file(struct http_request *req, struct call *c, int fd, int64_t limit, int64_t *ret_size,
                          struct xerr *err);
/* The same into memory. */
int transfer_receive(struct http_request *req, struct call *c, size_t limit, struct strbuf *out,
                     struct xerr *err);
/* An error before anything was answered: its code and parameters as a page. */
void transfer_refuse(struct http_request *req, int status, const struct xerr *err);

#endif
