/* The bytes of an attached disk, whatever its image format: read and written at any place.
 * Called by: http/raw_vdi.c, xva_*.c.  Calls: qemu-nbd, lib/nbd.
 *
 * A qemu-nbd of its own serves each opened disk to one connection and goes when that does, also when
 * this process dies, or at its next start: no state is left behind, and the image code runs in a process that may crash. */
#ifndef XAPI_STORAGE_CONTENT_H
#define XAPI_STORAGE_CONTENT_H

#include "xapi/storage/storage.h"

struct content;

/* The disk stays attached as long as the content is open. Errors: VDI_IO_ERROR [what]. Blocks up to 20 s. */
int content_open(struct storage *s, const struct storage_disk *disk, struct content **ret_content,
                 struct xerr *err);
/* The same, but the caller speaks NBD itself: *ret_fd is a fresh connection to the server of the disk, nonblocking, the
 * caller's. The content is only to be closed, after that. */
int content_connect(struct storage *s, const struct storage_disk *disk, struct content **ret_content, int *ret_fd,
                    struct xerr *err);
int64_t content_size(const struct content *k);
/* At most 4 MiB inside the disk. Errors: VDI_IO_ERROR [what]. */
int content_read(struct content *k, void *buf, size_t n, int64_t at, struct xerr *err);
/* The same, and has the bytes behind these, as many or to the end, read meanwhile. */
int content_read_on(struct content *k, void *buf, size_t n, int64_t at, struct xerr *err);
/* Zeros become a hole where they fill whole aligned blocks of 64 KiB. fresh: nothing was ever written to
 * the disk, so that they need not be written at all. */
int content_write(struct content *k, const void *buf, size_t n, int64_t at, bool fresh, struct xerr *err);
/* Everything written is on disk. */
int content_flush(struct content *k, struct xerr *err);
/* At the start: servers that an agent which was killed has left end; their images are free then. */
void content_sweep(const struct storage *s);
/* Waits until the image is closed. NULL is fine. */
void content_close(struct content *k);

/* VDI_IO_ERROR [what]. Returns -1. */
int content_error(struct xerr *err, const char *what);
/* True when n bytes are all zero. */
bool content_is_zero(const void *buf, size_t n);

#endif
