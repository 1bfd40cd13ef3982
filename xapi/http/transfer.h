/* Whole files over HTTP: what downloads and uploads of a few kinds share.
 * Called by: blob.c, pool_db.c, host_files.c.  Calls: server.h. */
#ifndef XAPI_HTTP_TRANSFER_H
#define XAPI_HTTP_TRANSFER_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"

/* 200 with the file's bytes, its length, these headers (whole lines, or NULL). The connection ends behind it.
 * Errors: INTERNAL_ERROR; nothing was answered yet when *ret_started is false. */
int transfer_send_file(struct http_request *req, int fd, const char *headers, bool *ret_started,
                       struct xerr *err);
/* The 200 that clients wait for before they send a body. Errors: INTERNAL_ERROR. */
int transfer_begin_upload(struct http_request *req, struct xerr *err);
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
