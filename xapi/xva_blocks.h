/* The tar of an XVA: files, and disks as a file for each MiB with its checksum.
 * Called by: xva_export.c, xva_import.c, http/tar_stream.c.  Calls: lib/tar, storage/content.
 *
 * A disk is a folder: files named by their number, 8 digits, of 1 MiB, the last one as long as it is. Those that are all zero
 * are left out except the first and the last. Each is followed by "<name>.xxhash", XXH64 as 16 upper-case hexadecimal digits. A
 * file of no bytes says only that the sender lives. */
#ifndef XAPI_XVA_BLOCKS_H
#define XAPI_XVA_BLOCKS_H

#include "lib/tar.h"
#include "xapi/call/call.h"
#include "xapi/storage/content.h"

enum { XVA_BLOCK = 1 << 20 };

/* Takes the next bytes of the file. 0, or -1 and an error. */
typedef int (*xva_write_fn)(void *arg, const void *p, size_t n, struct xerr *err);

/* ---- writing ---- */

struct xva_out {
    struct call *c;      /* its progress is told, its cancellation heard */
    xva_write_fn write;
    void *arg;
    bool sha1;           /* the checksums of old files, for tools that know no others */
    int64_t done, total; /* bytes of disks, for the progress */
    int64_t quiet_since; /* when something was sent last */
};

/* Errors: the writer's. */
int xva_put_text(struct xva_out *o, const char *name, const struct strbuf *text, struct xerr *err);
/* The whole disk. Errors: the writer's; VDI_IO_ERROR [what]; TASK_CANCELLED [task]. */
int xva_put_blocks(struct xva_out *o, const char *folder, struct content *k, struct xerr *err);
/* The end of the archive. */
int xva_put_end(struct xva_out *o, struct xerr *err);

/* ---- reading ---- */

struct xva_in {
    struct call *c;
    struct tar_reader tar;
    char *block;         /* of XVA_BLOCK: what xva_get_block() read; in the call's arena */
};

/* What a tar_result other than TAR_ENTRY means here; returns -1. Errors: TASK_CANCELLED [task]; IMPORT_ERROR_PREMATURE_EOF;
 * IMPORT_ERROR [why]. */
int xva_tar_error(struct xva_in *in, enum tar_result r, struct xerr *err);
/* The length of the folder's name in "<folder>/<number>", 0 when it is none. */
size_t xva_block_name(const char *name, int64_t *ret_number);
/* The content of this entry into in->block, and its checksum behind it, which must fit (SHA-1 of old files is not looked at).
 * Errors: as xva_tar_error(); IMPORT_ERROR_UNEXPECTED_FILE [expected, found]; IMPORT_ERROR_SOME_CHECKSUMS_FAILED. */
int xva_get_block(struct xva_in *in, const struct tar_entry *e, struct xerr *err);

#endif
