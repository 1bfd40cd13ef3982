/* A disk as a tar over HTTP: the blocks of an XVA in a folder `vdi`, each with its checksum.
 * Called by: raw_vdi.c.  Calls: xva_blocks, transfer. */
#ifndef XAPI_HTTP_TAR_STREAM_H
#define XAPI_HTTP_TAR_STREAM_H

#include "xapi/http/server.h"
#include "xapi/xva_blocks.h"

/* 200 with these headers (whole lines) and the archive, to the end of the connection. Errors: as xva_put_blocks();
 * VDI_IO_ERROR [what] when the client has gone. */
int tar_stream_send(struct http_request *req, struct call *c, struct content *disk, const char *headers, bool *ret_started,
                    struct xerr *err);

struct tar_upload {
    struct http_request *req;
    struct call *c;
    struct ref vdi;         /* for its name in errors */
    /* its own */
    struct xva_in in;
    struct tar_entry entry; /* the next one */
    bool ended;             /* the body, not only the archive */
};
/* Reads up to the first file. *ret_any: there is one, else the body has not a byte. Errors: as xva_tar_error(). */
int tar_stream_begin(struct tar_upload *t, bool *ret_any, struct xerr *err);
/* Writes the archive into the disk, all of it: what the archive leaves out becomes zeros. The blocks come in rising order, in
 * one folder. A body that ends without the archive's end must have brought the disk's last block.
 * Errors: as xva_get_block(); VDI_TOO_SMALL [vdi, size]; VDI_IO_ERROR [what]; TASK_CANCELLED [task]. */
int tar_stream_apply(struct tar_upload *t, struct content *disk, struct xerr *err);

#endif
