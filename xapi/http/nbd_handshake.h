/* The first words of an NBD client: TLS, which disk, which extras; then it talks to whoever serves that disk.
 * Called by: nbd_server.c, fuzz target.  Calls: lib/stream, lib/tls.
 *
 * We speak the fixed newstyle of the protocol until the client has chosen an export. Everything with a name in it is
 * handed on to the disk's own server (qemu-nbd, nbdkit), without the name, and answered by it: so clients get structured
 * replies, allocation maps and limits as that server has them. Source: the NBD project's doc/proto.md. */
#ifndef XAPI_HTTP_NBD_HANDSHAKE_H
#define XAPI_HTTP_NBD_HANDSHAKE_H

#include "lib/stream.h"

struct tls_server;

struct nbd_handshake {
    struct stream *client;
    struct tls_server *tls;  /* what STARTTLS shows; NULL = no TLS */
    bool tls_required;       /* nothing is told before it */
    /* A fresh, nonblocking connection to who serves this export, or -1 and a literal for the client. */
    int (*open)(void *arg, const char *name, int *ret_fd, const char **ret_why);
    void *arg;
    int timeout_ms;          /* of each wait for the client */
    struct stream backend;   /* out: in transmission, as the client is; to be closed in any case */
};
/* 0 = the client has its disk: bytes may be relayed both ways. -1 = it left or was refused. */
int nbd_handshake(struct nbd_handshake *h);

#endif
