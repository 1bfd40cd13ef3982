/* Where the file systems of a guest's disk lie: MBR with logical partitions, GPT, or the disk as a whole.
 * Called by: bootloader.c, its fuzz target.  Calls: nothing.
 *
 * The tables are hostile. What comes out is inside the disk, and bounded in number. */
#ifndef HELPER_BOOT_PARTS_H
#define HELPER_BOOT_PARTS_H

#include "lib/util.h"

enum { BOOT_MAX_PARTS = 64 };

struct boot_part { uint64_t at, size; };      /* bytes */
struct boot_parts {
    struct boot_part all[BOOT_MAX_PARTS];     /* the first is the whole disk */
    size_t n;
};

/* Exactly n bytes from `at`; -1 when they are not all there. */
typedef int (*boot_read_fn)(void *disk, void *buf, size_t n, uint64_t at);

void boot_read_parts(boot_read_fn read, void *disk, uint64_t size, struct boot_parts *ret);

#endif
