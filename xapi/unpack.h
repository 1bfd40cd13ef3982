/* A file that comes in pieces and may be packed with gzip or zstd: read as it was before.
 * Called by: http/xva.c, vm_import.c, ova_import.c.  Calls: subproc.
 *
 * The unpacker is a process between two pipes: a thread of its own feeds it, so that neither side waits for the other in a
 * circle. */
#ifndef XAPI_UNPACK_H
#define XAPI_UNPACK_H

#include "xapi/call/call.h"

struct unpack_source {
    /* >0 bytes, 0 the end, -1 an error. From one thread at a time. */
    ssize_t (*read)(void *arg, void *buf, size_t n);
    /* Nobody wants more: a read that waits ends soon. Any thread; NULL = it does anyway. */
    void (*stop)(void *arg);
    void *arg;
};

struct unpack;

/* Looks at the first bytes. NULL without an error: there are none. Errors: INTERNAL_ERROR. */
struct unpack *unpack_open(struct call *c, const struct unpack_source *source, struct xerr *err);
/* Through this program in any case: its stdin is fed, its stdout read. argv: NULL-terminated, [0] a path. Errors: INTERNAL_ERROR. */
struct unpack *unpack_start(struct call *c, const struct unpack_source *source, const char *const *argv, struct xerr *err);
/* What xva_import() reads with; arg is the struct unpack. -1 also when the call was cancelled. */
ssize_t unpack_read(void *arg, void *buf, size_t n);
/* What the unpacker had to say behind what was read does not matter. NULL is fine. */
void unpack_close(struct unpack *u);

#endif
