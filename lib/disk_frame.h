/* How a disk goes through a pipe when its image is read elsewhere: pieces with their places, numbers little-endian.
 * Called by: xapi/helper/import_disk.c, xapi/ova_import.c.  Calls: nothing.
 *
 * At most one SIZE, before any PIECE; the last frame is END, or BAD with a text: why not. */
#ifndef LIB_DISK_FRAME_H
#define LIB_DISK_FRAME_H

#include <stdint.h>

enum disk_frame_kind { DISK_FRAME_SIZE = 1 /* at: bytes */, DISK_FRAME_PIECE, DISK_FRAME_END, DISK_FRAME_BAD };
enum { DISK_FRAME_MAX = 1 << 20 };
struct disk_frame {
    uint32_t kind, len;            /* len: bytes that follow */
    uint64_t at;                   /* place on the disk */
};

#endif
