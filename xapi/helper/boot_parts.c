/* Partition tables of guests' disks.
 * Called by: bootloader.c, its fuzz target.  Calls: nothing. */
#include "xapi/helper/boot_parts.h"

#include <string.h>

enum {
    SECTOR = 512, MBR_TABLE = 446, MBR_ENTRY = 16, MBR_ENTRIES = 4, TYPE = 4, FIRST = 8, SECTORS = 12,
    TYPE_GPT = 0xee, GPT_ENTRY = 128, GPT_ENTRY_MAX = 4096, GPT_ENTRIES = 256,
};

struct tables {
    boot_read_fn read;
    void *disk;
    uint64_t sectors;                         /* of the disk */
    struct boot_parts *parts;
};

static uint32_t le32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }
static uint64_t le64(const uint8_t *p) { return le32(p) | (uint64_t)le32(p + 4) << 32; }

static bool read_sector(const struct tables *t, uint64_t at, uint8_t s[SECTOR])
{
    return at < t->sectors && t->read(t->disk, s, SECTOR, at * SECTOR) == 0;
}

static bool is_mbr(const uint8_t *s) { return s[510] == 0x55 && s[511] == 0xaa; }

static void add(const struct tables *t, uint64_t first, uint64_t sectors)
{
    struct boot_parts *parts = t->parts;

    if (parts->n == BOOT_MAX_PARTS || !sectors || first >= t->sectors) return;
    if (sectors > t->sectors - first) sectors = t->sectors - first;
    parts->all[parts->n++] = (struct boot_part){ first * SECTOR, sectors * SECTOR };
}

static void read_gpt(const struct tables *t)
{
    uint8_t head[SECTOR], entry[GPT_ENTRY];

    if (!read_sector(t, 1, head) || memcmp(head, "EFI PART", 8) != 0) return;
    uint64_t table = le64(head + 72);
    uint32_t n = le32(head + 80), size = le32(head + 84);
    if (size < sizeof entry || size > GPT_ENTRY_MAX || table >= t->sectors) return;
    for (uint32_t i = 0; i < n && i < GPT_ENTRIES; i++) {
        if (t->read(t->disk, entry, sizeof entry, table * SECTOR + (uint64_t)i * size) < 0) return;
        uint64_t first = le64(entry + 32), last = le64(entry + 40);
        if (first && last >= first) add(t, first, last - first + 1);
    }
}

static bool is_extended(uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

/* Each table has one logical partition, and the place of the next table; a chain that leads back ends by its length. */
static void read_logical(const struct tables *t, uint64_t start)
{
    const size_t second = MBR_TABLE + MBR_ENTRY;
    uint8_t s[SECTOR];
    uint64_t at = start;

    for (int i = 0; i < BOOT_MAX_PARTS; i++) {
        if (!read_sector(t, at, s) || !is_mbr(s)) return;
        if (s[MBR_TABLE + TYPE]) add(t, at + le32(s + MBR_TABLE + FIRST), le32(s + MBR_TABLE + SECTORS));
        if (!is_extended(s[second + TYPE])) return;
        at = start + le32(s + second + FIRST);
    }
}

void boot_read_parts(boot_read_fn read, void *disk, uint64_t size, struct boot_parts *ret)
{
    const struct tables t = { read, disk, size / SECTOR, ret };
    uint8_t s[SECTOR];

    ret->n = 0;
    add(&t, 0, t.sectors);                    /* a file system without partitions */
    if (!read_sector(&t, 0, s) || !is_mbr(s)) return;
    for (int i = 0; i < MBR_ENTRIES; i++) {
        const uint8_t *e = s + MBR_TABLE + MBR_ENTRY * i;
        if (e[TYPE] == TYPE_GPT) {
            read_gpt(&t);
            return;
        }
        if (is_extended(e[TYPE])) read_logical(&t, le32(e + FIRST));
        else if (e[TYPE]) add(&t, le32(e + FIRST), le32(e + SECTORS));
    }
}
