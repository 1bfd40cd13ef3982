/* The HTTP server: connections, routes, replies, parked requests, streams.
 * Called by: main.c, xapi/http handlers.  Calls: lib/http, lib/stream, lib/tls.
 *
 * One epoll instance, workers that all wait on it. A worker reads a request and runs its handler inline, so a
 * handler on a worker may wait for a commit but for nothing else. Handlers end a request in exactly one way:
 *
 *   http_reply / http_reply_error   the whole answer now; the connection lives on
 *   http_park                       no thread is held; http_park_reply answers later from any thread
 *   http_defer                      go on in a thread of its own (blocking calls), and end it there
 *   http_stream_*                   only on routes with HTTP_STREAM: raw bytes, on a thread of its own
 *
 * A handler that returns without any of these gets 500 sent on its behalf. */
#ifndef XAPI_HTTP_SERVER_H
#define XAPI_HTTP_SERVER_H

#include "lib/http.h"
#include "lib/stream.h"
#include "lib/xerr.h"

#include <sys/uio.h>

struct http_server;
struct http_park;
struct tls_server;

/* Who is at the other end. */
struct http_peer {
    bool is_unix, tls;
    bool has_cred;                  /* unix socket: uid, gid and pid are the kernel's (SO_PEERCRED) */
    uid_t uid;
    gid_t gid;
    pid_t pid;
    const char *address;            /* "192.0.2.1", "2001:db8::1"; "" on a unix socket */
    unsigned port;
};

/* One request. Everything in it lives until the handler (or the function given to http_defer) returns, also
 * behind http_reply and http_park, whatever happens to the connection meanwhile. */
struct http_request {
    struct http_head head;
    char *body;                     /* buffered routes: all of it, NUL-terminated, may be changed in place */
    size_t body_len;
    struct http_peer peer;
    struct arena *arena;            /* for the handler's own use */
    struct http_server *server;
};

typedef void (*http_handler_fn)(struct http_request *req, void *arg);

enum http_route_flags {
    HTTP_STREAM = 1,                /* runs on a thread of its own and may use http_stream, http_body_read */
    HTTP_NO_HEAD = 2,               /* protocol without reply head (/cli): no error page once the handler
                                     * has started */
    HTTP_PRIVATE = 4,               /* only answered on unix sockets; 404 elsewhere */
};

struct http_route {
    enum http_method method;
    const char *prefix;             /* the longest prefix of the decoded path wins; borrowed for good */
    unsigned flags;
    size_t body_limit;              /* bytes buffered before the handler runs; more get 413. 0 on a STREAM
                                     * route: the handler reads the body itself */
    http_handler_fn handler;
    void *arg;
};

struct http_config {
    unsigned workers_min, workers_max;    /* 8, 64 */
    unsigned threads_max;                 /* deferred and streaming threads: LIMIT_HTTP_THREADS */
    size_t stack_bytes;                   /* of those threads: 256 KiB */
    unsigned connections_max;             /* over TCP: LIMIT_CONNECTIONS. A sixteenth more is kept for unix sockets */
    unsigned parked_max;                  /* parked requests, counted apart: LIMIT_PARKED */
    size_t head_max;                      /* LIMIT_HTTP_HEAD */
    size_t waiting_bytes_max;             /* of bodies still coming in over TCP: LIMIT_UNFINISHED_BODIES; beyond it 503 */
    size_t unread_bytes_max;              /* of replies that clients do not read: LIMIT_UNREAD_REPLIES. Beyond it the connection
                                           * that has stood still longest is cut: from 5 s on; from
                                           * UNREAD_HARD times as much on at once */
    int first_byte_ms, head_ms, body_ms;  /* 30 s first byte, 60 s whole head, 60 s body progress */
    int idle_ms;                          /* keep-alive pause: 10 min; unix sockets: none */
    int write_ms;                         /* progress of a reply: 60 s */
    void (*on_stopping)(void *arg);       /* at stop: answer what is parked, do not wait */
    void *on_stopping_arg;
};
/* The defaults above. */
void http_config_init(struct http_config *cfg);

struct http_server *http_server_new(const struct http_config *cfg);
/* Routes are added before the first listener. */
void http_server_route(struct http_server *s, const struct http_route *route);
void http_server_routes(struct http_server *s, const struct http_route *routes, size_t n);

/* Listeners, any number, any time. address: "ADDR:PORT", "[V6]:PORT", ":PORT" or "*:PORT" (both families);
 * port 0 picks one. tls NULL = plain; else borrowed until the server is freed. proxy_line: a PROXY v1 line
 * precedes each request stream. ret_port may be NULL. */
int http_listen_tcp(struct http_server *s, const char *address, struct tls_server *tls, bool proxy_line,
                    unsigned *ret_port, struct xerr *err);
/* The socket alone: listening, nonblocking, and so is what it accepts to be made. Errors: INTERNAL_ERROR. */
int http_bind_tcp(const char *address, int *ret_fd, unsigned *ret_port, struct xerr *err);
/* Replaces a socket nobody answers on. */
int http_listen_unix(struct http_server *s, const char *path, unsigned mode, struct xerr *err);
/* Stop listening on a TCP port again (management reconfigured); living connections stay. */
void http_unlisten_tcp(struct http_server *s, unsigned port);

/* Stop in order: 1. no new connections, idle ones closed; 2. on_stopping; 3. running requests may end until
 * timeout_ms; 4. on_gone for what is still parked, streams cut. 0 when no handler runs any more; else how
 * many did not end within 5 s more: then leave with _exit() instead of freeing the server. */
int http_server_stop(struct http_server *s, int timeout_ms);
/* After http_server_stop returned 0. NULL is fine. */
void http_server_free(struct http_server *s);

/* A thread begins, or ends, to wait for the disk: db_on_wait(). */
void http_server_disk(void *server, bool waits);

struct http_server_stats {
    unsigned connections, parked, workers, workers_busy, threads, threads_busy;
    uint64_t requests, accepted, refused;
    uint64_t prompt;                /* requests that came so soon after a reply that a worker still looked for them */
};
void http_server_stats(struct http_server *s, struct http_server_stats *ret_stats);

/* --- replies ------------------------------------------------------------------------------------------- */

struct http_reply {
    int status;
    const char *content_type;       /* NULL = none */
    const char *headers;            /* further whole lines "Name: value\r\n...", or NULL; borrowed */
    struct strbuf *body;            /* taken: empty afterwards; or NULL */
    const struct iovec *iov;        /* or the body in pieces, not copied: all valid until release */
    size_t n_iov;
    void (*release)(void *arg);     /* exactly once, when sent or given up; any thread, no locks; or NULL */
    void *release_arg;
    bool close;                     /* close the connection behind it */
};

/* Content-Length and Connection are added. Never blocks: what the socket does not take at once is sent by
 * epoll. On a STREAM route only before http_stream_head. */
void http_reply(struct http_request *req, struct http_reply *reply);
/* A small HTML page; text is escaped; NULL = the status' usual phrase. 401 gets WWW-Authenticate. */
void http_reply_error(struct http_request *req, int status, const char *text);
/* 302 to an absolute URL. */
void http_reply_redirect(struct http_request *req, int status, const char *url);

/* --- parking ------------------------------------------------------------------------------------------- */

/* Detach the request from this thread. on_gone runs at most once, on a worker, when the client hung up (or
 * the server stops) before an answer. It returns true when it has taken the matter: the park is ended,
 * must not be used again and arg may be freed. It returns false when another thread is about to call
 * http_park_reply. It must not call http_park_* itself. NULL when parked_max is reached or the server
 * stops (the request is still to be answered). The answer may be sent by another thread before http_park
 * returns, so register arg's owner accordingly: fill arg first, or hold the lock that the answering side
 * takes first. */
struct http_park *http_park(struct http_request *req, bool (*on_gone)(void *arg), void *arg);
/* Answer, exactly once unless on_gone returned true; ends the park. Any thread; never blocks on the
 * network; waits for a running on_gone of the same park, so call it without locks that on_gone takes. The
 * client being gone is fine. */
void http_park_reply(struct http_park *park, struct http_reply *reply);

/* Names, one a line (tls_peer_names), of the certificate the client showed and the listener's CA bundle vouches for
 * (tls_server_verify_clients), in the request's arena; NULL when there is none. Before the request is
 * answered or parked. */
const char *http_peer_names(struct http_request *req);

/* --- threads ------------------------------------------------------------------------------------------- */

/* Go on with fn on a thread of its own; req stays valid until fn returns, and this thread must not touch
 * it again. 0, or -1 when threads_max is reached (the request is still to be answered). */
int http_defer(struct http_request *req, http_handler_fn fn, void *arg);
/* True when the client of a deferred or streaming request has hung up. */
bool http_client_gone(struct http_request *req);

/* --- streams (HTTP_STREAM routes) ---------------------------------------------------------------------- */

/* Status line and headers (complete lines, or NULL); no length: the reply ends by closing, unless headers
 * say otherwise. For uploads: send 200 before reading. After it http_reply is not possible any more.
 * 0, or -1 + errno. */
int http_stream_head(struct http_request *req, int status, const char *headers);
/* The end of a reply, a copy: it goes out when the handler has returned. Who has read all of the reply can count on
 * what the handler let go behind it: a disk, a task. */
void http_stream_last(struct http_request *req, const void *p, size_t n);
/* The request's body, unframed (length, chunked, or until EOF): >0 bytes, 0 end, -1 + errno (EPIPE: the
 * client left before the announced end; ETIMEDOUT). Sends 100 Continue at the first call when no head went
 * out. */
ssize_t http_body_read(struct http_request *req, void *buf, size_t n, int timeout_ms);
/* Bytes of the body not read yet when its length is known, else -1. */
int64_t http_body_left(const struct http_request *req);
/* The connection itself, early bytes included: for replies, consoles, the CLI protocol. Borrowed; closed
 * by the server when the handler returns, after draining (up to 16 MiB or 10 s, no thread held) what the
 * client still sends. */
struct stream *http_stream(struct http_request *req);

#endif
