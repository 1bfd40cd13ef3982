/* Disk images as they come in archives, read from front to back without a seek: VMDK (streamOptimized and sparse), VHD (fixed and
 * dynamic), raw.
 * Called by: import_disk.c, its fuzz target.  Calls: zlib.
 *
 * The image is hostile. What comes out is inside the size that it states, which the caller checks against what was promised. */
#ifndef HELPER_DISK_IMAGE_H
#define HELPER_DISK_IMAGE_H

#include "lib/util.h"

#include <sys/types.h>

enum { DISK_IMAGE_PIECE = 1 << 20 };

struct disk_image_io {
    /* More of the image: >0 bytes, 0 its end, -1 an error. */
    ssize_t (*read)(void *arg, void *buf, size_t n);
    /* The size of the disk in bytes; once, before any content. Not called for a raw image. 0, or -1 to stop. */
    int (*size)(void *arg, uint64_t bytes);
    /* At most DISK_IMAGE_PIECE bytes of the disk. What is never said is zeros. 0, or -1 to stop. */
    int (*write)(void *arg, uint64_t at, const void *buf, size_t n);
    void *arg;
};

/* The whole image, to its end. 0; -1 with *ret_why, a short text without an end (NULL when one of the functions said -1). */
int disk_image_read(const struct disk_image_io *io, const char **ret_why);

#endif
