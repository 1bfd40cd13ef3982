/* Archives in ustar format, read and written as a stream.
 * Called by: xva_export.c, xva_import.c.  Calls: libc. */
#ifndef LIB_TAR_H
#define LIB_TAR_H

#include "lib/util.h"

#include <sys/types.h>

enum { TAR_BLOCK = 512, TAR_NAME = 257 };

/* ---- reading ---- */

struct tar_reader {
    /* More of the archive: >0 bytes, 0 the end, -1 an error that the caller knows. */
    ssize_t (*read)(void *arg, void *buf, size_t n);
    void *arg;
    int64_t left;   /* of the entry */
    size_t padding; /* behind it */
};

struct tar_entry {
    char name[TAR_NAME];
    int64_t size;
};

enum tar_result { TAR_ENTRY, TAR_END, TAR_CUT, TAR_BAD, TAR_FAILED };
/* The next plain file; what is left of the last one, folders and other kinds are passed over. TAR_END:
 * zeros, or nothing more; TAR_CUT: it ends inside an entry; TAR_BAD: this is no tar; TAR_FAILED: read()
 * failed. */
enum tar_result tar_next(struct tar_reader *t, struct tar_entry *ret_entry);
/* Exactly n bytes of the entry, at most what is left of it: TAR_ENTRY, or what is wrong. */
enum tar_result tar_read(struct tar_reader *t, void *buf, size_t n);

/* ---- writing ---- */

/* The block before the bytes of a file. name: less than 100 bytes; size below 8 GiB. */
void tar_header(char out[TAR_BLOCK], const char *name, int64_t size);
/* Zeros behind n bytes of content. */
static inline size_t tar_padding(int64_t n) { return (size_t)(-n & (TAR_BLOCK - 1)); }

#endif
