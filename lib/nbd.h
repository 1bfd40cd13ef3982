/* A client of NBD, as much as talking to our own qemu-nbd over a unix socket needs.
 * Called by: xapi/storage/content.c.  Calls: stream.
 *
 * One request at a time, and a read ahead of need; every wait has a limit. After an error only nbd_close() may follow. */
#ifndef LIB_NBD_H
#define LIB_NBD_H

#include "lib/stream.h"

struct nbd {
    struct stream stream;
    int64_t size; /* of the export */
    bool read_only, can_zero;
    uint64_t cookie;
    size_t ahead; /* bytes asked for by nbd_ahead() and not taken yet, from ahead_at */
    int64_t ahead_at;
    int timeout_ms; /* of each wait for progress */
};
#define NBD_INIT                                                                                             \
    {                                                                                                        \
        .stream = STREAM_INIT                                                                                \
    }
enum { NBD_MOST = 4 << 20 }; /* bytes in one read or write */

/* Takes a connected, nonblocking descriptor (also on failure) and opens the default export. 0, or -1 +
 * errno. */
int nbd_open(struct nbd *n, int fd, int timeout_ms);
/* At most NBD_MOST bytes, inside the export. 0, or -1 + errno (the server's, EPROTO for an answer that is
 * none). */
int nbd_read(struct nbd *n, void *buf, size_t len, int64_t at);
int nbd_write(struct nbd *n, const void *buf, size_t len, int64_t at);
/* Asks for what the next nbd_read() is going to read, so that the server works meanwhile. When that one reads
 * something else, the answer is thrown away. 0, or -1 + errno. */
int nbd_ahead(struct nbd *n, size_t len, int64_t at);
/* The range becomes zeros, and a hole where the image has holes. ENOTSUP when the server cannot. */
int nbd_zero(struct nbd *n, size_t len, int64_t at);
/* What was written is on disk. */
int nbd_flush(struct nbd *n);
/* Says good-bye and closes. Fine on NBD_INIT and twice. */
void nbd_close(struct nbd *n);

#endif
