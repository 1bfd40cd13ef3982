/* A small blocking HTTP/1.1 client over TCP, TLS or a unix socket.
 * Called by: tests, xe, calls to other hosts, import from a URL.  Calls: stream, tls, http.
 *
 * One connection, one thread, one request at a time; a connection may be used again while httpc_usable. */
#ifndef LIB_HTTPC_H
#define LIB_HTTPC_H

#include "lib/http.h"
#include "lib/stream.h"
#include "lib/tls.h"
#include "lib/xerr.h"

struct httpc;

struct httpc_target {
    const char *unix_path;          /* or */
    const char *host;               /* name or address, IPv6 without brackets */
    unsigned port;
    struct tls_client *tls;         /* NULL = plain */
    const char *tls_name;           /* name in the certificate when it is not host */
    bool http10;                    /* speak HTTP/1.0 */
};

/* All errors are INTERNAL_ERROR with a sentence that names the other side. NULL + err. */
struct httpc *httpc_connect(const struct httpc_target *t, int timeout_ms, struct xerr *err);
/* NULL is fine. */
void httpc_free(struct httpc *c);
/* True when another request may be sent: the last reply was read whole, both sides keep the connection,
 * and the other side did not close it since. */
bool httpc_usable(struct httpc *c);

/* Send a request. headers: whole lines "Name: value\r\n", or NULL. Host is added, and Content-Length when
 * body is not NULL. Without body the caller may write one to httpc_stream, as its headers announce. */
int httpc_send(struct httpc *c, const char *method, const char *target, const char *headers,
               const void *body, size_t len, int timeout_ms, struct xerr *err);
/* Read the reply's head (100 Continue is skipped). *ret_head belongs to the connection until the next
 * request. */
int httpc_receive(struct httpc *c, int timeout_ms, const struct http_status **ret_head, struct xerr *err);
/* The reply's body, unframed: >0 bytes, 0 its end, -1 + err. timeout_ms: each piece. */
ssize_t httpc_read(struct httpc *c, void *buf, size_t n, int timeout_ms, struct xerr *err);
/* The whole body behind what is in *body; at most limit bytes. */
int httpc_read_all(struct httpc *c, size_t limit, int timeout_ms, struct strbuf *body, struct xerr *err);
/* The connection itself: uploads, tunnels. Bytes behind the reply's head are read from it first. Borrowed. */
struct stream *httpc_stream(struct httpc *c);

/* httpc_send, httpc_receive and httpc_read_all within timeout_ms altogether. */
int httpc_call(struct httpc *c, const char *method, const char *target, const char *headers, const void *body,
               size_t len, size_t limit, int timeout_ms, int *ret_status, struct strbuf *ret_body,
               struct xerr *err);

#endif
