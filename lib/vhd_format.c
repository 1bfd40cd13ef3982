/* The parts of a VHD on disk: footer, header, names of the parent. vhd.h has the layout.
 * Called by: vhd.c, xapi/http.  Calls: utf8. */
#include "lib/vhd.h"

#include <endian.h>
#include <stdio.h>
#include <time.h>

enum { EPOCH_2000 = 946684800, LOCATOR_SLOTS = 8 };
#define NO_OFFSET UINT64_MAX
#define VERSION UINT32_C(0x00010000)
#define MAX_TABLE_ENTRIES (UINT32_C(1) << 22)

struct disk_footer {
    char cookie[8];
    uint32_t features, version;
    uint64_t header_at;
    uint32_t timestamp;
    char creator[4];
    uint32_t creator_version;
    char host_os[4];
    uint64_t original_size, size;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t type, checksum;
    uint8_t uuid[16];
    uint8_t saved, hidden;
    uint8_t reserved[426];
} __attribute__((packed));

struct disk_locator {
    char platform[4];
    uint32_t space, length, reserved;
    uint64_t at;
} __attribute__((packed));

struct disk_header {
    char cookie[8];
    uint64_t data_at, table_at;
    uint32_t version, blocks, block_size, checksum;
    uint8_t parent[16];
    uint32_t parent_timestamp, reserved;
    uint16_t parent_name[256];
    struct disk_locator locators[LOCATOR_SLOTS];
    uint8_t reserved_end[256];
} __attribute__((packed));

_Static_assert(sizeof(struct disk_footer) == VHD_FOOTER, "a footer is a sector");
_Static_assert(sizeof(struct disk_header) == VHD_HEADER, "a header is two sectors");

/* The complement of the sum of all bytes but the checksum's own. */
static uint32_t checksum(const void *part, size_t n, size_t field_at)
{
    const unsigned char *p = part;
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        if (i < field_at || i >= field_at + 4) sum += p[i];
    return ~sum;
}

static struct ref get_uuid(const uint8_t bytes[16])
{
    struct ref r;

    memcpy(&r, bytes, sizeof(r));
    return (struct ref){ be64toh(r.hi), be64toh(r.lo) };
}

static void put_uuid(uint8_t bytes[16], struct ref uuid)
{
    struct ref r = { htobe64(uuid.hi), htobe64(uuid.lo) };

    memcpy(bytes, &r, sizeof(r));
}

uint32_t vhd_now(void) { return (uint32_t)(time(NULL) - EPOCH_2000); }

uint32_t vhd_blocks(int64_t size) { return (uint32_t)((size + VHD_BLOCK - 1) / VHD_BLOCK); }

/* ---- footer --------------------------------------------------------------------------------- */

/* Cylinders, heads and sectors for a size, as the specification's appendix has it. */
static void set_geometry(struct disk_footer *f, int64_t size)
{
    int64_t total = size / VHD_SECTOR, most = INT64_C(65535) * 16 * 255, per_head, heads;
    unsigned sectors = 17;

    if (total > most) total = most;
    if (total >= INT64_C(65535) * 16 * 63) {
        sectors = 255;
        heads = 16;
        per_head = total / sectors;
    } else {
        per_head = total / sectors;
        heads = (per_head + 1023) / 1024;
        if (heads < 4) heads = 4;
        if (per_head >= heads * 1024 || heads > 16) {
            sectors = 31;
            heads = 16;
            per_head = total / sectors;
        }
        if (per_head >= heads * 1024) {
            sectors = 63;
            heads = 16;
            per_head = total / sectors;
        }
    }
    f->cylinders = htobe16((uint16_t)(per_head / heads));
    f->heads = (uint8_t)heads;
    f->sectors = (uint8_t)sectors;
}

bool vhd_footer_read(const unsigned char sector[VHD_FOOTER], struct vhd_footer *ret_footer,
                     const char **ret_why)
{
    struct disk_footer f;

    memcpy(&f, sector, sizeof(f));
    *ret_why = "no VHD footer";
    if (memcmp(f.cookie, "conectix", sizeof(f.cookie)) != 0) return false;
    *ret_why = "the checksum of the VHD footer is wrong";
    if (be32toh(f.checksum) != checksum(&f, sizeof(f), offsetof(struct disk_footer, checksum))) return false;
    *ret_why = "unknown VHD version";
    if (be32toh(f.version) >> 16 != VERSION >> 16) return false;
    *ret_why = "unknown VHD type";
    uint32_t type = be32toh(f.type);
    if (type < VHD_FIXED || type > VHD_DIFFERENCING) return false;
    *ret_why = "a VHD footer with an impossible size";
    uint64_t size = be64toh(f.size), header_at = be64toh(f.header_at);
    if (size == 0 || size % VHD_SECTOR) return false;
    if (size > (type == VHD_FIXED ? (uint64_t)INT64_MAX - VHD_FOOTER : (uint64_t)VHD_MAX_SIZE)) return false;
    *ret_why = "a VHD footer with an impossible header";
    if (type != VHD_FIXED && (header_at > (uint64_t)INT64_MAX - VHD_HEADER || header_at < VHD_FOOTER))
        return false;

    *ret_footer = (struct vhd_footer){
        .type = (enum vhd_type)type,
        .size = (int64_t)size,
        .original_size = (int64_t)(be64toh(f.original_size) & INT64_MAX),
        .header_at = type == VHD_FIXED ? -1 : (int64_t)header_at,
        .timestamp = be32toh(f.timestamp),
        .creator_version = be32toh(f.creator_version),
        .uuid = get_uuid(f.uuid),
        .hidden = f.hidden == 1,
    };
    memcpy(ret_footer->creator, f.creator, sizeof(f.creator));
    return true;
}

void vhd_footer_write(const struct vhd_footer *footer, unsigned char sector[VHD_FOOTER])
{
    struct disk_footer f = {
        .features = htobe32(2),
        .version = htobe32(VERSION),
        .header_at = htobe64(footer->header_at < 0 ? NO_OFFSET : (uint64_t)footer->header_at),
        .timestamp = htobe32(footer->timestamp),
        .creator_version = htobe32(footer->creator_version),
        .original_size = htobe64((uint64_t)footer->original_size),
        .size = htobe64((uint64_t)footer->size),
        .type = htobe32((uint32_t)footer->type),
        .hidden = footer->hidden,
    };

    memcpy(f.cookie, "conectix", sizeof(f.cookie));
    memcpy(f.creator, footer->creator, sizeof(f.creator));
    put_uuid(f.uuid, footer->uuid);
    set_geometry(&f, footer->size);
    f.checksum = htobe32(checksum(&f, sizeof(f), offsetof(struct disk_footer, checksum)));
    memcpy(sector, &f, sizeof(f));
}

/* ---- header --------------------------------------------------------------------------------- */

/* UTF-16 (already in our order) to UTF-8. Empty when it is not well formed or names a folder. */
static void take_name(const uint16_t name[256], char *ret_text)
{
    unsigned char *out = (unsigned char *)ret_text;
    size_t n = 0;

    for (size_t i = 0; i < 256; i++) {
        uint32_t c = be16toh(name[i]);
        if (c == 0) break;
        if (c >= 0xd800 && c < 0xdc00 && i + 1 < 256) {
            uint32_t low = be16toh(name[i + 1]);
            if (low < 0xdc00 || low > 0xdfff) goto bad;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i++;
        } else if (c >= 0xd800 && c < 0xe000) {
            goto bad;
        }
        if (n + 4 > VHD_MAX_NAME) goto bad;
        if (c == '/' || c == '\\') { /* only the last part of a path is of use */
            n = 0;
            continue;
        }
        if (c < 0x80) {
            out[n++] = (unsigned char)c;
        } else if (c < 0x800) {
            out[n++] = (unsigned char)(0xc0 | c >> 6);
            out[n++] = (unsigned char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            out[n++] = (unsigned char)(0xe0 | c >> 12);
            out[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
            out[n++] = (unsigned char)(0x80 | (c & 63));
        } else {
            out[n++] = (unsigned char)(0xf0 | c >> 18);
            out[n++] = (unsigned char)(0x80 | (c >> 12 & 63));
            out[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
            out[n++] = (unsigned char)(0x80 | (c & 63));
        }
    }
    out[n] = '\0';
    if (!streq(ret_text, ".") && !streq(ret_text, "..")) return;
bad:
    out[0] = '\0';
}

bool vhd_header_read(const unsigned char bytes[VHD_HEADER], int64_t size, struct vhd_header *ret_header,
                     const char **ret_why)
{
    struct disk_header h;
    uint16_t name[256];

    memcpy(&h, bytes, sizeof(h));
    *ret_why = "no VHD header";
    if (memcmp(h.cookie, "cxsparse", sizeof(h.cookie)) != 0) return false;
    *ret_why = "the checksum of the VHD header is wrong";
    if (be32toh(h.checksum) != checksum(&h, sizeof(h), offsetof(struct disk_header, checksum))) return false;
    uint32_t blocks = be32toh(h.blocks), block_size = be32toh(h.block_size);
    uint64_t table_at = be64toh(h.table_at);
    *ret_why = "a VHD with blocks of an unusual size";
    if (block_size != VHD_BLOCK) return false;
    *ret_why = "a VHD whose block table is too short for the disk, or too long";
    if (blocks < vhd_blocks(size) || blocks > MAX_TABLE_ENTRIES) return false;
    *ret_why = "a VHD whose block table is nowhere";
    if (table_at < VHD_FOOTER || table_at > (uint64_t)INT64_MAX - (uint64_t)blocks * 4 ||
        table_at % VHD_SECTOR)
        return false;

    *ret_header = (struct vhd_header){
        .table_at = (int64_t)table_at,
        .blocks = blocks,
        .block_size = block_size,
        .parent = get_uuid(h.parent),
        .parent_timestamp = be32toh(h.parent_timestamp),
    };
    memcpy(name, h.parent_name, sizeof(name));
    take_name(name, ret_header->parent_name);
    return true;
}

/* UTF-8 to UTF-16; well formed by the caller's word (names of images are uuids). Returns the units. */
static size_t put_name(const char *text, uint16_t *ret_name, size_t most)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = 0;

    while (*p && n + 2 <= most) {
        uint32_t c = *p++;
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
        if (more) c &= 0x3fU >> more;
        for (; more && (*p & 0xc0) == 0x80; more--) c = c << 6 | (*p++ & 63);
        if (c >= 0x10000) {
            ret_name[n++] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        ret_name[n++] = (uint16_t)c;
    }
    return n;
}

/* The three ways Xen's tools name a parent beside this image, and what they put in front. */
static const struct {
    const char platform[5];
    const char *before;
    bool utf8;
} locators[] = {
    { "MacX", "file://./", true },
    { "W2ku", ".\\", false },
    { "W2ru", ".\\", false },
};

/* One locator's text into a zeroed buffer of VHD_LOCATOR bytes; its length. */
static size_t put_locator(size_t i, const char *name, unsigned char *ret_bytes)
{
    char text[VHD_MAX_NAME + 16];
    uint16_t wide[VHD_MAX_NAME + 16];

    snprintf(text, sizeof(text), "%s%s", locators[i].before, name);
    if (locators[i].utf8) {
        memcpy(ret_bytes, text, strlen(text));
        return strlen(text);
    }
    size_t n = put_name(text, wide, ARRAY_SIZE(wide));
    for (size_t k = 0; k < n; k++) {
        ret_bytes[2 * k] = (unsigned char)wide[k];
        ret_bytes[2 * k + 1] = (unsigned char)(wide[k] >> 8);
    }
    return 2 * n;
}

void vhd_locators_write(const struct vhd_header *header, unsigned char bytes[VHD_LOCATORS])
{
    memset(bytes, 0, VHD_LOCATORS);
    for (size_t i = 0; i < ARRAY_SIZE(locators); i++)
        put_locator(i, header->parent_name, bytes + i * VHD_LOCATOR);
}

void vhd_header_write(const struct vhd_header *header, int64_t locators_at, unsigned char bytes[VHD_HEADER])
{
    unsigned char scratch[VHD_LOCATOR] = { 0 };
    uint16_t name[256] = { 0 };
    struct disk_header h = {
        .data_at = htobe64(NO_OFFSET),
        .table_at = htobe64((uint64_t)header->table_at),
        .version = htobe32(VERSION),
        .blocks = htobe32(header->blocks),
        .block_size = htobe32(header->block_size),
        .parent_timestamp = htobe32(header->parent_timestamp),
    };

    memcpy(h.cookie, "cxsparse", sizeof(h.cookie));
    put_uuid(h.parent, header->parent);
    size_t n = put_name(header->parent_name, name, ARRAY_SIZE(name) - 1);
    for (size_t i = 0; i < n; i++) name[i] = htobe16(name[i]);
    memcpy(h.parent_name, name, sizeof(name));
    for (size_t i = 0; locators_at && i < ARRAY_SIZE(locators); i++) {
        memcpy(h.locators[i].platform, locators[i].platform, 4);
        h.locators[i].space = htobe32(VHD_LOCATOR);
        h.locators[i].length = htobe32((uint32_t)put_locator(i, header->parent_name, scratch));
        h.locators[i].at = htobe64((uint64_t)locators_at + i * VHD_LOCATOR);
        memset(scratch, 0, sizeof(scratch));
    }
    h.checksum = htobe32(checksum(&h, sizeof(h), offsetof(struct disk_header, checksum)));
    memcpy(bytes, &h, sizeof(h));
}

bool vhd_parent_uuid(const char *name, char ret_uuid[UUID_TEXT])
{
    char tail[UUID_TEXT];
    size_t n = UUID_TEXT - 1;
    struct ref bytes;

    for (const char *p = name + strlen(name); p > name && n; p--) {
        if (p[-1] == '-' && p[0] == '-' && tail[n] == '-') continue;
        tail[--n] = p[-1];
    }
    if (n) return false;
    tail[UUID_TEXT - 1] = '\0';
    if (!uuid_from_text(tail, &bytes)) return false;
    memcpy(ret_uuid, tail, UUID_TEXT);
    return true;
}
