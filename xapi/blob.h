/* Blobs: named binary data that clients keep with an object. The record is in the database, the bytes are
 * a file.
 * Called by: blob.c, http/blob.c, pool_db.c.  Calls: db/. */
#ifndef XAPI_BLOB_H
#define XAPI_BLOB_H

#include "xapi/call/call.h"

/* ROOT/blobs/<uuid>, in the arena. */
const char *blob_path(const struct agent *agent, struct arena *a, const char *uuid);
/* The file `temporary` (below ROOT/blobs, closed and synced) becomes the blob's content, the record says so.
 * Errors: HANDLE_INVALID, INTERNAL_ERROR; the temporary file is then gone. */
int blob_replace(struct call *c, struct ref blob, const char *temporary, int64_t size, struct xerr *err);
/* Files of blobs that have no record any more (after a crash, a restored database) go. At startup. */
int blobs_sweep(struct call *c, struct xerr *err);

#endif
