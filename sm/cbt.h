/* Logs of changed blocks: one file beside a disk's image, in the layout that XenServer's tools have.
 * Called by: track.c, dir_cbt.c, lvhd_cbt.c.  Calls: lib.
 *
 * <vdi uuid>.cbtlog says which blocks of 64 KiB of a disk changed since the disk called `parent` was the same disk:
 *
 *     0  uuid parent | 16  uuid child | 32  int32 consistent | 40  int64 size of the disk | 48  bitmap
 *
 * Numbers are little-endian, bit n of the bitmap is bit n % 8 of byte n / 8. A null uuid is no parent or child. The layout
 * is that of struct cbt_log_metadata in XenServer's blktap on x86-64.
 *
 * Ours are longer by a tail behind the bitmap, which other tools do not look at: "xapi-cbt", and the uuid of a base. What
 * the images above that base hold has changed as well, whether the bitmap says so or not: so nothing is lost when a host
 * dies that had the disk open. */
#ifndef SM_CBT_H
#define SM_CBT_H

#include "lib/ref.h"

enum { CBT_BLOCK = 64 << 10 };
#define CBT_MAX_SIZE (INT64_C(64) << 40)

struct cbt_log {
    struct ref parent, child;
    bool consistent; /* the bitmap alone tells everything; false while somebody may write to the disk */
    int64_t size;    /* of the disk, bytes */
    bool has_base;   /* the log has a tail */
    struct ref base; /* the tail's; null: every image of the chain counts */
    unsigned char *bits; /* NULL when only the head was wanted */
};
#define CBT_LOG_INIT                                                                                         \
    {                                                                                                        \
        .bits = NULL                                                                                         \
    }
void cbt_log_clear(struct cbt_log *log);
#define _cleanup_cbt_ _cleanup_(cbt_log_clear)

/* Bytes in the bitmap of a disk. */
size_t cbt_bytes(int64_t size);
/* An empty bitmap for a disk of this size. */
void cbt_log_new(struct cbt_log *ret_log, int64_t size);
/* Reads a log. 0, or -1 and *ret_why (a literal) for what is none. */
int cbt_log_read(int fd, bool want_bits, struct cbt_log *ret_log, const char **ret_why);
/* The same from anywhere that holds `length` bytes: read() fills buf with n bytes from at. */
struct cbt_source {
    bool (*read)(void *arg, void *buf, size_t n, int64_t at);
    void *arg;
    int64_t length;
};
int cbt_log_read_from(const struct cbt_source *from, bool want_bits, struct cbt_log *ret_log, const char **ret_why);
/* Writes it into an open, empty file; not synced. 0 or -1 + errno. */
int cbt_log_write(int fd, const struct cbt_log *log);
/* Bytes that the log of a disk takes, with a tail; and it in so many bytes, the tail's zeros when there is none. */
size_t cbt_log_length(int64_t size);
void cbt_log_encode(const struct cbt_log *log, unsigned char *buf);
/* Blocks from at to at + len have changed. */
void cbt_log_mark(struct cbt_log *log, int64_t at, int64_t len);
void cbt_log_mark_all(struct cbt_log *log);
/* What changed in `from` has changed. Blocks beyond the end of either are left out. */
void cbt_log_add(struct cbt_log *log, const struct cbt_log *from);
/* The disk has grown; what is new is unchanged. */
void cbt_log_grow(struct cbt_log *log, int64_t size);

#endif
