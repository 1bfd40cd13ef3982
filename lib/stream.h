/* A byte stream over TCP, a unix socket or TLS: blocking calls that end at a deadline.
 * Called by: lib/httpc, xapi/http, handlers of bulk data, xe.  Calls: clock, OpenSSL.
 *
 * The descriptor is always nonblocking; every wait is a poll() with a limit. One thread at a time. */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H

#include "lib/util.h"

#include <sys/types.h>

typedef struct ssl_st SSL;

struct stream {
    int fd;
    SSL *ssl;                       /* NULL when plain */
    char *early;                    /* bytes that were read before the stream was made; owned */
    size_t early_at, early_len;
    uint64_t n_read, n_written;     /* payload bytes so far */
};

#define STREAM_INIT { .fd = -1 }

/* At most n bytes, as soon as there are any. >0 bytes, 0 the other side ended its side, -1 + errno: ETIMEDOUT
 * (timeout_ms went by; 0 = do not wait, negative = no limit), EPROTO (TLS), or the socket's. */
ssize_t stream_read(struct stream *s, void *buf, size_t n, int timeout_ms);
/* Exactly n bytes. 0, or -1 + errno (EPIPE when the stream ended early). timeout_ms is per piece:
 * progress. */
int stream_read_full(struct stream *s, void *buf, size_t n, int timeout_ms);
/* All n bytes; timeout_ms limits each wait for progress. 0, or -1 + errno. Never raises SIGPIPE. */
int stream_write(struct stream *s, const void *buf, size_t n, int timeout_ms);
/* What can be written now: bytes, 0 when nothing, -1 + errno. */
ssize_t stream_write_some(struct stream *s, const void *buf, size_t n);
/* Finish the TLS handshake of s->ssl (accept or connect state is set already). 0, or -1 + errno. */
int stream_handshake(struct stream *s, int timeout_ms);
/* True when stream_read would give bytes that poll() on the descriptor cannot see. */
bool stream_pending(const struct stream *s);
/* A peer that acknowledges nothing for so long (a cut cable, a dead machine) counts as gone: every call fails with ETIMEDOUT then.
 * Of no effect but on TCP. */
void stream_watch_peer(struct stream *s, int silent_ms);
/* End our side: TLS close_notify, then shutdown(SHUT_WR). The other side may still send. */
void stream_shutdown(struct stream *s);
/* Frees TLS and early bytes and closes the descriptor. */
void stream_close(struct stream *s);

/* Bytes both ways between two streams until both ended, one failed, or nothing moved for idle_ms.
 * 0, or -1 + errno. */
int stream_relay(struct stream *a, struct stream *b, int idle_ms);

#endif
