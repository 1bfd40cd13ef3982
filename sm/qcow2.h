/* qcow2 headers: read what a chain is made of, make new empty images.
 * Called by: the file drivers.  Calls: lib.
 *
 * Only what the drivers need without starting a program for each of 16,000 disks: sizes, backing files,
 * "is there anything in it". Everything that touches clusters is qemu-img's work. Source: QEMU's
 * docs/interop/qcow2.txt. */
#ifndef SM_QCOW2_H
#define SM_QCOW2_H

#include "lib/arena.h"
#include "lib/xerr.h"

struct qcow2_info {
    int64_t virtual_size;
    const char *backing_file;     /* as in the header, "" = none; from the arena */
    const char *backing_format;   /* "" = not said */
    bool empty;                   /* no cluster of its own: reads as its backing file does */
};

/* Reads the header of an open image. The L1 table is read only when want_empty (else ret_info->empty is
 * false). 0, or -1 and *ret_why (a literal) when it is no image that we understand: a foreign or damaged
 * file. */
int qcow2_read(int fd, bool want_empty, struct arena *a, struct qcow2_info *ret_info, const char **ret_why);

/* Writes an empty image into an open, empty file: virtual_size bytes (a multiple of 512, at most
 * QCOW2_MAX_SIZE), reading as backing_file (NULL = zeros), whose format is backing_format. Not synced. 0
 * or -1 + errno. */
#define QCOW2_MAX_SIZE (INT64_C(64) << 40)
int qcow2_write_empty(int fd, int64_t virtual_size, const char *backing_file, const char *backing_format);

/* The backing file gets another name of the same length: the only part of a header that may change while QEMU has the
 * image open, which keeps its own copy of the rest. Durable. 0 or -1 + errno (EINVAL: another length, or no backing
 * file). */
int qcow2_rename_backing(int fd, const char *name);

/* Tells of each run of clusters that the image has itself, zeros among them. What QEMU holds in memory of an image that it
 * has open for writing is not seen. 0 or -1 + errno (EIO: a damaged image). */
int qcow2_own_ranges(int fd, void (*fn)(void *arg, int64_t at, int64_t len), void *arg);

#endif
