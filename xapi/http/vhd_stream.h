/* A disk as a stream in the VHD format, whole or what changed since another; and such an image back into a disk.
 * Called by: raw_vdi.c.  Calls: lib/vhd, storage/content. */
#ifndef XAPI_HTTP_VHD_STREAM_H
#define XAPI_HTTP_VHD_STREAM_H

#include "xapi/call/call.h"
#include "xapi/http/server.h"
#include "xapi/storage/content.h"

/* One disk of a stream. */
struct vhd_source {
    struct content *content;
    const char *uuid; /* of its VDI: the image's own, and its children's parent */
};
/* 200 with these headers (whole lines) and the image: a dynamic one of disk, or with base a differencing one on it, whose
 * bitmaps say which sectors differ. When it is known where, only that is read, once, and base->content may be NULL; else
 * both are read twice, because the table stands in front. Nothing is kept on disk.
 * Errors: INTERNAL_ERROR; VDI_IO_ERROR [what]; TASK_CANCELLED [task]. */
int vhd_stream_send(struct http_request *req, struct call *c, const struct vhd_source *disk,
                    const struct vhd_source *base, const struct storage_changes *changes, const char *headers,
                    bool *ret_started, struct xerr *err);

/* Writes the image in fd into a disk of at least its size: a differencing one changes the sectors it has and no other, any
 * other is all of the disk. fresh: nothing was ever written to the disk. fd stays the caller's.
 * Errors: VDI_IO_ERROR [what]; TASK_CANCELLED [task]. */
int vhd_stream_apply(struct call *c, int fd, struct content *disk, bool fresh, struct xerr *err);

#endif
