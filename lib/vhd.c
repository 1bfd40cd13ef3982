/* One VHD image: opened, read, written, grown. vhd.h has the layout.
 * Called by: vhd_chain.c, sm/.  Calls: vhd_format.
 *
 * The block table is in memory as long as the image is open, bitmaps are cached. A new block is written in this
 * order: the footer behind the block's new end, its bitmap and data, a sync, then its entry of the table; so an entry
 * never leads to anything but a whole block, and what was cut off lies unused behind the last one. */
#include "lib/vhd.h"

#include <endian.h>
#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { BITMAPS = 256, BLOCK_ROOM = VHD_BITMAP + VHD_BLOCK, PAGE = 4096 };

struct bitmap {
    uint32_t block; /* VHD_UNUSED = none cached here */
    unsigned char bits[VHD_BITMAP];
};

struct vhd {
    int fd;
    bool device, writable, unsynced;
    int64_t file_size; /* of the device or file */
    struct vhd_footer footer;
    struct vhd_header header;
    uint32_t *table;     /* in our byte order; NULL = fixed */
    unsigned char *full; /* batmap: blocks present as a whole, a bit each; NULL = none */
    size_t full_len;
    int64_t end; /* first byte behind the table, the names and all blocks */
    struct bitmap cache[BITMAPS];
};

/* ---- bytes ---------------------------------------------------------------------------------- */

static int read_at(int fd, void *buf, size_t n, int64_t at)
{
    unsigned char *p = buf;

    while (n) {
        ssize_t got = pread(fd, p, n, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) {
            errno = ENODATA;
            return -1;
        }
        p += got;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

static int write_at(int fd, const void *buf, size_t n, int64_t at)
{
    const unsigned char *p = buf;

    while (n) {
        ssize_t put = pwrite(fd, p, n, at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -1;
        p += put;
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

static int size_of(int fd, int64_t *ret_size, bool *ret_device)
{
    struct stat st;
    uint64_t size;

    if (fstat(fd, &st)) return -1;
    *ret_device = S_ISBLK(st.st_mode);
    if (!*ret_device) {
        *ret_size = st.st_size;
        return 0;
    }
    if (ioctl(fd, BLKGETSIZE64, &size)) return -1;
    *ret_size = (int64_t)size;
    return 0;
}

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Where a block may begin so that its data, behind the bitmap, lies on whole pages. */
static int64_t block_start(int64_t end) { return round_up(end + VHD_BITMAP, PAGE) - VHD_BITMAP; }

/* ---- opening -------------------------------------------------------------------------------- */

static bool read_first_footer(int fd, struct vhd_footer *ret_footer, const char **ret_why)
{
    unsigned char sector[VHD_FOOTER];

    return !read_at(fd, sector, sizeof(sector), 0) && vhd_footer_read(sector, ret_footer, ret_why) &&
           ret_footer->type != VHD_FIXED;
}

/* The footer at the end, or its copy in front when that one is damaged or missing. A device that has been made longer may
 * end with another image's: there the copy counts. */
static int read_footer(int fd, int64_t file_size, bool device, struct vhd_footer *ret_footer, const char **ret_why)
{
    unsigned char sector[VHD_FOOTER];
    const int64_t last = file_size / VHD_SECTOR * VHD_SECTOR - VHD_SECTOR, odd = file_size - VHD_SECTOR + 1;

    *ret_why = "too short for a VHD";
    if (file_size < VHD_FOOTER) return -1;
    *ret_why = "cannot be read";
    if (device && read_first_footer(fd, ret_footer, ret_why)) return 0;
    if (read_at(fd, sector, sizeof(sector), last)) return -1;
    if (vhd_footer_read(sector, ret_footer, ret_why)) return 0;
    /* Some old tools wrote a last footer of 511 bytes. */
    sector[VHD_FOOTER - 1] = 0;
    if (odd > 0 && !read_at(fd, sector, VHD_FOOTER - 1, odd) && vhd_footer_read(sector, ret_footer, ret_why))
        return 0;
    return read_first_footer(fd, ret_footer, ret_why) ? 0 : -1;
}

static int read_header(int fd, const struct vhd_footer *f, struct vhd_header *ret_header,
                       const char **ret_why)
{
    unsigned char bytes[VHD_HEADER];

    *ret_why = "the VHD header cannot be read";
    if (read_at(fd, bytes, sizeof(bytes), f->header_at)) return -1;
    return vhd_header_read(bytes, f->size, ret_header, ret_why) ? 0 : -1;
}

int vhd_look(int fd, struct vhd_footer *ret_footer, struct vhd_header *ret_header, const char **ret_why)
{
    int64_t size;
    bool device;

    *ret_header = (struct vhd_header){ 0 };
    *ret_why = "cannot be read";
    if (size_of(fd, &size, &device) || read_footer(fd, size, device, ret_footer, ret_why)) return -1;
    if (ret_footer->type != VHD_FIXED) return read_header(fd, ret_footer, ret_header, ret_why);
    *ret_why = "a fixed VHD that is shorter than its disk";
    return ret_footer->size > size - VHD_FOOTER ? -1 : 0;
}

static int64_t table_bytes(const struct vhd_header *h)
{
    return round_up((int64_t)h->blocks * 4, VHD_SECTOR);
}

/* Every entry leads behind the table and into the file, and no two blocks share a byte. */
static int check_table(struct vhd *v, const char **ret_why)
{
    const int64_t after_table = v->header.table_at + table_bytes(&v->header);
    const uint32_t unit = BLOCK_ROOM / VHD_SECTOR, slots = VHD_UNUSED / unit + 2;
    _cleanup_free_ char *text = xcalloc(slots, sizeof(uint32_t));
    uint32_t *start = (uint32_t *)(void *)text; /* of the block that begins in this stretch of the file */

    v->end = after_table;
    if (v->footer.header_at + VHD_HEADER > v->end) v->end = v->footer.header_at + VHD_HEADER;
    for (uint32_t i = 0; i < v->header.blocks; i++) {
        uint32_t entry = v->table[i];
        if (entry == VHD_UNUSED) continue;
        int64_t at = (int64_t)entry * VHD_SECTOR;
        *ret_why = "a block of the VHD lies outside the image";
        if (at < VHD_FOOTER || at > v->file_size - BLOCK_ROOM) return -1;
        *ret_why = "a block of the VHD lies on its table";
        if (at < after_table && at + BLOCK_ROOM > v->header.table_at) return -1;
        *ret_why = "two blocks of the VHD lie in one place";
        if (start[entry / unit]) return -1;
        start[entry / unit] = entry;
        if (at + BLOCK_ROOM > v->end) v->end = at + BLOCK_ROOM;
    }
    for (uint32_t i = 0; i + 1 < slots; i++)
        if (start[i] && start[i + 1] && start[i + 1] - start[i] < unit) return -1;
    return 0;
}

static int read_table(struct vhd *v, const char **ret_why)
{
    *ret_why = "the block table of the VHD is outside the image";
    if (v->header.table_at > v->file_size - (int64_t)v->header.blocks * 4) return -1;
    v->table = xmalloc((size_t)v->header.blocks * 4);
    *ret_why = "the block table of the VHD cannot be read";
    if (read_at(v->fd, v->table, (size_t)v->header.blocks * 4, v->header.table_at)) return -1;
    for (uint32_t i = 0; i < v->header.blocks; i++) v->table[i] = be32toh(v->table[i]);
    return check_table(v, ret_why);
}

/* Xen's own tools mark whole blocks behind the table; an image without a good mark has none. */
static void read_batmap(struct vhd *v)
{
    unsigned char sector[VHD_SECTOR];
    uint64_t at;
    uint32_t sectors, sum, expected = 0;
    const int64_t head_at = v->header.table_at + table_bytes(&v->header);

    if (memcmp(v->footer.creator, VHD_CREATOR, 4) != 0 || v->footer.creator_version < VHD_CREATOR_BATMAP)
        return;
    if (read_at(v->fd, sector, sizeof(sector), head_at) || memcmp(sector, "tdbatmap", 8) != 0) return;
    memcpy(&at, sector + 8, 8);
    memcpy(&sectors, sector + 16, 4);
    memcpy(&sum, sector + 24, 4);
    at = be64toh(at);
    size_t bytes = (size_t)be32toh(sectors) * VHD_SECTOR;
    if (at > (uint64_t)v->file_size || bytes > (size_t)table_bytes(&v->header) ||
        bytes * 8 < v->header.blocks)
        return;
    unsigned char *full = xmalloc(bytes);
    if (!read_at(v->fd, full, bytes, (int64_t)at))
        for (size_t i = 0; i < bytes; i++) expected += full[i];
    if (~expected != be32toh(sum)) {
        free(full);
        return;
    }
    v->full = full;
    v->full_len = bytes;
    if ((int64_t)at + (int64_t)bytes > v->end) v->end = (int64_t)at + (int64_t)bytes;
}

static int open_parts(struct vhd *v, const char **ret_why)
{
    *ret_why = "cannot be read";
    if (size_of(v->fd, &v->file_size, &v->device)) return -1;
    if (read_footer(v->fd, v->file_size, v->device, &v->footer, ret_why)) return -1;
    if (v->footer.type == VHD_FIXED) {
        v->end = v->footer.size;
        *ret_why = "a fixed VHD that is shorter than its disk";
        return v->footer.size > v->file_size - VHD_FOOTER ? -1 : 0;
    }
    if (read_header(v->fd, &v->footer, &v->header, ret_why) || read_table(v, ret_why)) return -1;
    read_batmap(v);
    return 0;
}

int vhd_open(int fd, bool writable, struct vhd **ret_vhd, const char **ret_why)
{
    struct vhd *v = xcalloc(1, sizeof(*v));

    v->fd = fd;
    v->writable = writable;
    for (size_t i = 0; i < BITMAPS; i++) v->cache[i].block = VHD_UNUSED;
    if (open_parts(v, ret_why)) {
        vhd_close(v);
        return -1;
    }
    *ret_vhd = v;
    return 0;
}

void vhd_close(struct vhd *v)
{
    if (!v) return;
    if (v->fd >= 0) close(v->fd);
    free(v->table);
    free(v->full);
    free(v);
}

const struct vhd_footer *vhd_footer(const struct vhd *v) { return &v->footer; }
const struct vhd_header *vhd_header(const struct vhd *v) { return v->table ? &v->header : NULL; }
int64_t vhd_end(const struct vhd *v) { return v->end; }

int64_t vhd_used(const struct vhd *v)
{
    int64_t blocks = 0;

    if (!v->table) return v->footer.size;
    for (uint32_t i = 0; i < v->header.blocks; i++) blocks += v->table[i] != VHD_UNUSED;
    return blocks * VHD_BLOCK;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool is_full(const struct vhd *v, uint32_t block)
{
    return v->full && v->full[block / 8] & (0x80 >> block % 8);
}

static int64_t block_at(const struct vhd *v, uint32_t block) { return (int64_t)v->table[block] * VHD_SECTOR; }

/* The bitmap of a block that exists. Valid until the next call. NULL + errno. */
static struct bitmap *get_bitmap(struct vhd *v, uint32_t block)
{
    struct bitmap *b = &v->cache[block % BITMAPS];

    if (b->block == block) return b;
    b->block = VHD_UNUSED;
    if (is_full(v, block))
        memset(b->bits, 0xff, sizeof(b->bits));
    else if (read_at(v->fd, b->bits, sizeof(b->bits), block_at(v, block)))
        return NULL;
    b->block = block;
    return b;
}

static bool bit(const unsigned char *bits, uint32_t i) { return bits[i / 8] & (0x80 >> i % 8); }

static bool in_disk(const struct vhd *v, int64_t at, int64_t len)
{
    if (at >= 0 && len > 0 && at <= v->footer.size - len) return true;
    errno = EINVAL;
    return false;
}

/* The run of alike sectors in one block. */
static int extent_in_block(struct vhd *v, int64_t at, int64_t len, bool *ret_own, int64_t *ret_len)
{
    uint32_t block = (uint32_t)(at / VHD_BLOCK), first = (uint32_t)(at % VHD_BLOCK / VHD_SECTOR), i;
    int64_t left = VHD_BLOCK - at % VHD_BLOCK;

    if (len > left) len = left;
    *ret_len = len;
    *ret_own = false;
    if (v->table[block] == VHD_UNUSED) return 0;
    const struct bitmap *b = get_bitmap(v, block);
    if (!b) return -1;
    *ret_own = bit(b->bits, first);
    uint32_t end = first + (uint32_t)((len + VHD_SECTOR - 1) / VHD_SECTOR);
    for (i = first + 1; i < end && bit(b->bits, i) == *ret_own; i++)
        ;
    if (i < end) *ret_len = (int64_t)i * VHD_SECTOR - at % VHD_BLOCK;
    return 0;
}

int vhd_extent(struct vhd *v, int64_t at, int64_t len, bool *ret_own, int64_t *ret_len)
{
    int64_t run;
    bool own;

    if (!in_disk(v, at, len)) return -1;
    if (!v->table) {
        *ret_own = true;
        *ret_len = len;
        return 0;
    }
    if (extent_in_block(v, at, len, ret_own, ret_len)) return -1;
    while (*ret_len < len && (at + *ret_len) % VHD_BLOCK == 0) {
        if (extent_in_block(v, at + *ret_len, len - *ret_len, &own, &run)) return -1;
        if (own != *ret_own) break;
        *ret_len += run;
    }
    return 0;
}

int vhd_read_own(struct vhd *v, void *buf, size_t len, int64_t at)
{
    char *p = buf;

    if (!in_disk(v, at, (int64_t)len)) return -1;
    if (!v->table) return read_at(v->fd, buf, len, at);
    while (len) {
        uint32_t block = (uint32_t)(at / VHD_BLOCK);
        size_t n = (size_t)(VHD_BLOCK - at % VHD_BLOCK);
        if (n > len) n = len;
        if (v->table[block] == VHD_UNUSED)
            memset(p, 0, n);
        else if (read_at(v->fd, p, n, block_at(v, block) + VHD_BITMAP + at % VHD_BLOCK))
            return -1;
        p += n;
        at += (int64_t)n;
        len -= n;
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static int sync_now(struct vhd *v)
{
    if (v->unsynced && fdatasync(v->fd)) return -1;
    v->unsynced = false;
    return 0;
}

int vhd_flush(struct vhd *v) { return sync_now(v); }

/* The footer in both places. */
static int write_footers(struct vhd *v)
{
    unsigned char sector[VHD_FOOTER];
    const int64_t last = v->device ? v->file_size / VHD_SECTOR * VHD_SECTOR - VHD_SECTOR : v->end;

    vhd_footer_write(&v->footer, sector);
    v->unsynced = true;
    if (v->table && v->footer.header_at != 0 && write_at(v->fd, sector, sizeof(sector), 0)) return -1;
    if (write_at(v->fd, sector, sizeof(sector), last)) return -1;
    if (!v->device && last + VHD_FOOTER > v->file_size) v->file_size = last + VHD_FOOTER;
    return 0;
}

static int write_entry(struct vhd *v, uint32_t block, uint32_t sector)
{
    uint32_t entry = htobe32(sector);

    if (write_at(v->fd, &entry, sizeof(entry), v->header.table_at + (int64_t)block * 4)) return -1;
    v->table[block] = sector;
    v->unsynced = true;
    return 0;
}

static void set_bits(unsigned char *bits, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++) bits[i / 8] |= (unsigned char)(0x80 >> i % 8);
}

/* A block's room at the end of the image. A file gives zeros; on a device old bytes stay, which no bitmap shows. */
static int make_room(struct vhd *v, int64_t at)
{
    if (v->device) {
        if (at + BLOCK_ROOM <= v->file_size - VHD_SECTOR) return 0;
        errno = ENOSPC;
        return -1;
    }
    /* The last footer goes; the copy in front holds until the new one is written. */
    if (ftruncate(v->fd, v->end)) return -1;
    v->file_size = v->end;
    return 0;
}

/* A new block with len bytes at `at` in it. */
static int add_block(struct vhd *v, uint32_t block, const void *buf, size_t len, int64_t at)
{
    const int64_t start = block_start(v->end), old_end = v->end;
    struct bitmap *b = &v->cache[block % BITMAPS];

    if (start / VHD_SECTOR >= (int64_t)VHD_UNUSED) {
        errno = EFBIG;
        return -1;
    }
    if (make_room(v, start)) return -1;
    v->end = start + BLOCK_ROOM;
    b->block = VHD_UNUSED;
    memset(b->bits, 0, sizeof(b->bits));
    set_bits(b->bits, (uint32_t)(at % VHD_BLOCK / VHD_SECTOR), (uint32_t)(len / VHD_SECTOR));
    v->unsynced = true;
    if (write_footers(v) || write_at(v->fd, b->bits, sizeof(b->bits), start) ||
        write_at(v->fd, buf, len, start + VHD_BITMAP + at % VHD_BLOCK) || sync_now(v) ||
        write_entry(v, block, (uint32_t)(start / VHD_SECTOR))) {
        int why = errno;
        v->end = old_end;
        write_footers(v); /* as far as it goes: the copy in front is good either way */
        errno = why;
        return -1;
    }
    b->block = block;
    return 0;
}

static int write_in_block(struct vhd *v, const void *buf, size_t len, int64_t at)
{
    uint32_t block = (uint32_t)(at / VHD_BLOCK), first = (uint32_t)(at % VHD_BLOCK / VHD_SECTOR);
    uint32_t n = (uint32_t)(len / VHD_SECTOR);

    if (v->table[block] == VHD_UNUSED) return add_block(v, block, buf, len, at);
    struct bitmap *b = get_bitmap(v, block);
    if (!b) return -1;
    v->unsynced = true;
    if (write_at(v->fd, buf, len, block_at(v, block) + VHD_BITMAP + at % VHD_BLOCK)) return -1;
    for (uint32_t i = first; i < first + n; i++) {
        if (bit(b->bits, i)) continue;
        /* Data first: a sector that is marked must not show what lay there before. */
        if (sync_now(v)) return -1;
        set_bits(b->bits, first, n);
        uint32_t from = first / 8, to = (first + n + 7) / 8;
        v->unsynced = true;
        if (write_at(v->fd, b->bits + from, to - from, block_at(v, block) + from)) {
            b->block = VHD_UNUSED;
            return -1;
        }
        break;
    }
    return 0;
}

int vhd_write(struct vhd *v, const void *buf, size_t len, int64_t at)
{
    const char *p = buf;

    if (!in_disk(v, at, (int64_t)len)) return -1;
    if (!v->writable || len % VHD_SECTOR || at % VHD_SECTOR) {
        errno = v->writable ? EINVAL : EBADF;
        return -1;
    }
    if (!v->table) {
        v->unsynced = true;
        return write_at(v->fd, buf, len, at);
    }
    while (len) {
        size_t n = (size_t)(VHD_BLOCK - at % VHD_BLOCK);
        if (n > len) n = len;
        if (write_in_block(v, p, n, at)) return -1;
        p += n;
        at += (int64_t)n;
        len -= n;
    }
    return 0;
}

/* ---- making and changing -------------------------------------------------------------------- */

/* Footer copy, header, room for the parent's names, table: so in every image made here. */
enum { HEADER_AT = VHD_FOOTER, LOCATORS_AT = HEADER_AT + VHD_HEADER, TABLE_AT = LOCATORS_AT + VHD_LOCATORS };

static int write_header(struct vhd *v, bool named)
{
    unsigned char head[VHD_HEADER], names[VHD_LOCATORS];
    const bool room = v->footer.header_at == HEADER_AT && v->header.table_at >= TABLE_AT;

    /* An image of another tool may have its table where our names go: its header names the parent then. */
    vhd_header_write(&v->header, named && room ? LOCATORS_AT : 0, head);
    vhd_locators_write(&v->header, names);
    v->unsynced = true;
    if (named && room && write_at(v->fd, names, sizeof(names), LOCATORS_AT)) return -1;
    return write_at(v->fd, head, sizeof(head), v->footer.header_at);
}

static int write_table(struct vhd *v, int64_t at)
{
    const size_t bytes = (size_t)table_bytes(&v->header);
    _cleanup_free_ char *text = xmalloc(bytes);
    uint32_t *out = (uint32_t *)(void *)text;

    memset(text, 0xff, bytes);
    for (uint32_t i = 0; i < v->header.blocks; i++) out[i] = htobe32(v->table[i]);
    v->unsynced = true;
    return write_at(v->fd, text, bytes, at);
}

static int create_sparse(struct vhd *v, const struct vhd_new *what)
{
    v->footer.header_at = HEADER_AT;
    v->header = (struct vhd_header){
        .table_at = TABLE_AT,
        .blocks = vhd_blocks(what->size),
        .block_size = VHD_BLOCK,
        .parent = what->parent,
        .parent_timestamp = what->parent_timestamp,
    };
    if (what->type == VHD_DIFFERENCING) {
        if (!what->parent_name || !*what->parent_name || strlen(what->parent_name) > VHD_MAX_NAME) {
            errno = EINVAL;
            return -1;
        }
        memcpy(v->header.parent_name, what->parent_name, strlen(what->parent_name));
    }
    v->table = xmalloc((size_t)v->header.blocks * 4);
    memset(v->table, 0xff, (size_t)v->header.blocks * 4);
    v->end = TABLE_AT + table_bytes(&v->header);
    if (v->device && v->end > v->file_size - VHD_SECTOR) {
        errno = ENOSPC;
        return -1;
    }
    if (!v->device && ftruncate(v->fd, 0)) return -1;
    if (write_table(v, TABLE_AT) || write_header(v, what->type == VHD_DIFFERENCING)) return -1;
    return write_footers(v);
}

int vhd_create(int fd, const struct vhd_new *what)
{
    struct vhd v = { .fd = fd, .writable = true };
    int rc = 0;

    if (what->size <= 0 || what->size % VHD_SECTOR || what->size > VHD_MAX_SIZE) {
        errno = EINVAL;
        return -1;
    }
    if (size_of(fd, &v.file_size, &v.device)) return -1;
    v.footer = (struct vhd_footer){
        .type = what->type,
        .size = what->size,
        .original_size = what->size,
        .header_at = -1,
        .timestamp = vhd_now(),
        .creator = VHD_CREATOR,
        .creator_version = VHD_CREATOR_VERSION,
        .uuid = what->uuid,
        .hidden = what->hidden,
    };
    if (what->type == VHD_FIXED) {
        v.end = what->size;
        if (v.device && v.end > v.file_size - VHD_SECTOR) {
            errno = ENOSPC;
            return -1;
        }
        if (!v.device) rc = ftruncate(fd, 0);
        if (!rc) rc = write_footers(&v);
    } else {
        rc = create_sparse(&v, what);
    }
    free(v.table);
    return rc;
}

int vhd_set_hidden(struct vhd *v, bool hidden)
{
    v->footer.hidden = hidden;
    return write_footers(v) || sync_now(v) ? -1 : 0;
}

int vhd_set_device_size(struct vhd *v, int64_t size)
{
    if (!v->device || !v->writable || size % VHD_SECTOR || size < v->end + VHD_FOOTER) {
        errno = EINVAL;
        return -1;
    }
    v->file_size = size;
    return write_footers(v) || sync_now(v) ? -1 : 0;
}

int vhd_set_parent(struct vhd *v, struct ref parent, const char *parent_name, uint32_t parent_timestamp)
{
    if (!v->table || (parent_name && strlen(parent_name) > VHD_MAX_NAME)) {
        errno = EINVAL;
        return -1;
    }
    v->header.parent = parent;
    v->header.parent_timestamp = parent_timestamp;
    memset(v->header.parent_name, 0, sizeof(v->header.parent_name));
    if (parent_name) memcpy(v->header.parent_name, parent_name, strlen(parent_name));
    const enum vhd_type type = parent_name ? VHD_DIFFERENCING : VHD_DYNAMIC;
    const bool footers = type != v->footer.type;
    v->footer.type = type;
    return write_header(v, parent_name != NULL) || (footers && write_footers(v)) || sync_now(v) ? -1 : 0;
}

/* The table needs more room than there is up to the first block: it moves behind everything. */
static int grow_table(struct vhd *v, uint32_t blocks)
{
    const uint32_t old = v->header.blocks;
    int64_t room = v->end;

    for (uint32_t i = 0; i < old; i++)
        if (v->table[i] != VHD_UNUSED && block_at(v, i) < room) room = block_at(v, i);
    v->table = xrealloc(v->table, (size_t)blocks * 4);
    memset(v->table + old, 0xff, (size_t)(blocks - old) * 4);
    free(v->full); /* the mark of whole blocks has no room for more; bitmaps say the same */
    v->full = NULL;
    v->footer.creator_version = VHD_CREATOR_VERSION;
    v->header.blocks = blocks;
    bool fits = v->header.table_at + table_bytes(&v->header) <= room;
    int64_t at = fits ? v->header.table_at : round_up(v->end, PAGE);
    if (!fits || at + table_bytes(&v->header) > v->end) v->end = at + table_bytes(&v->header);
    if (v->device && v->end > v->file_size - VHD_SECTOR) {
        errno = ENOSPC;
        return -1;
    }
    if (!v->device && !fits && ftruncate(v->fd, at)) return -1;
    if (write_table(v, at) || sync_now(v)) return -1;
    v->header.table_at = at;
    return 0;
}

/* Blocks that only the batmap calls whole must say so in their bitmaps before the batmap is dropped. */
static int spread_batmap(struct vhd *v)
{
    unsigned char all[VHD_BITMAP];

    memset(all, 0xff, sizeof(all));
    for (uint32_t i = 0; v->full && i < v->header.blocks; i++)
        if (v->table[i] != VHD_UNUSED && is_full(v, i) && write_at(v->fd, all, sizeof(all), block_at(v, i)))
            return -1;
    return 0;
}

/* The new footer is durable before the old one becomes data, that is zeros: one of them is always at the end. */
static int grow_fixed(struct vhd *v, int64_t size)
{
    static const unsigned char zeros[VHD_FOOTER];
    const int64_t old = v->footer.size;

    if (v->device && size > v->file_size - VHD_SECTOR) {
        errno = ENOSPC;
        return -1;
    }
    v->end = v->footer.size = size;
    if (write_footers(v) || sync_now(v)) return -1;
    if (v->device || size == old) return 0;
    v->unsynced = true;
    return write_at(v->fd, zeros, sizeof(zeros), old) || sync_now(v) ? -1 : 0;
}

/* Whatever is durable at a time is an image: a table that is long enough for both sizes, its header, then the size. */
int vhd_resize(struct vhd *v, int64_t size)
{
    if (!v->writable || size < v->footer.size || size % VHD_SECTOR || size > VHD_MAX_SIZE) {
        errno = EINVAL;
        return -1;
    }
    if (!v->table) return grow_fixed(v, size);
    if (vhd_blocks(size) > v->header.blocks && (spread_batmap(v) || grow_table(v, vhd_blocks(size)))) return -1;
    if (write_header(v, v->footer.type == VHD_DIFFERENCING) || sync_now(v)) return -1;
    v->footer.size = size;
    return write_footers(v) || sync_now(v) ? -1 : 0;
}
