/* Partition tables over arbitrary bytes: whatever is found lies inside the disk.
 * Called by: libFuzzer, replay.c.  Calls: xapi/helper/boot_parts. */
#include "tests/fuzz/fuzz.h"

#include "xapi/helper/boot_parts.h"

struct disk {
    const uint8_t *bytes;
    size_t size, reads;
};

static int read_bytes(void *disk, void *buf, size_t n, uint64_t at)
{
    struct disk *d = disk;

    d->reads++;
    if (at > d->size || n > d->size - at) return -1;
    memcpy(buf, d->bytes + at, n);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct disk d = { data, size, 0 };
    struct boot_parts parts;

    boot_read_parts(read_bytes, &d, size, &parts);
    MUST(parts.n <= BOOT_MAX_PARTS && d.reads < 600);
    for (size_t i = 0; i < parts.n; i++)
        MUST(parts.all[i].size && parts.all[i].at < size && parts.all[i].size <= size - parts.all[i].at);
    return 0;
}
