/* A disk as a stream in the VHD format, whole or what changed since another; and such an image back into a disk.
 * Called by: raw_vdi.c.  Calls: lib/vhd, storage/content. */
#include "xapi/http/vhd_stream.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>

#include "lib/vhd.h"

enum { SECTORS = VHD_BLOCK / VHD_SECTOR, STEP_MS = 60000, PIECE = 1 << 20 };
/* Footer, header, names of the parent, table; then the blocks, one behind the other. */
enum { HEADER_AT = VHD_FOOTER, LOCATORS_AT = HEADER_AT + VHD_HEADER, TABLE_AT = LOCATORS_AT + VHD_LOCATORS };

/* ---- out ----------------------------------------------------------------------------------- */

struct sender {
    struct http_request *req;
    struct call *c;
    const struct vhd_source *disk, *base;
    const struct storage_changes *changes;
    int64_t size; /* of the disk */
    uint32_t blocks, used;
    uint32_t *table;
    unsigned char bitmap[VHD_BITMAP];
    char *data, *old; /* a block of the disk, and of the base */
};

/* A block of a disk; zeros behind its end. */
static int read_block(struct content *k, char *buf, uint32_t block, struct xerr *err)
{
    const int64_t at = (int64_t)block * VHD_BLOCK, left = content_size(k) - at;
    const size_t n = left <= 0 ? 0 : left < VHD_BLOCK ? (size_t)left : (size_t)VHD_BLOCK;

    memset(buf + n, 0, VHD_BLOCK - n);
    return n ? content_read(k, buf, n, at, err) : 0;
}

/* The bitmap of a block whose changes are known. False when there are none. */
static bool look_up(struct sender *s, uint32_t block)
{
    enum { UNITS = VHD_BLOCK / STORAGE_CHANGE_UNIT, BYTES = VHD_BITMAP / UNITS };
    bool any = false;

    memset(s->bitmap, 0, sizeof(s->bitmap));
    for (size_t i = 0; i < UNITS; i++) {
        const int64_t at = (int64_t)block * VHD_BLOCK + (int64_t)i * STORAGE_CHANGE_UNIT;
        if (at >= s->size) break;
        if (!storage_changed(s->changes, at)) continue;
        memset(s->bitmap + i * BYTES, 0xff, BYTES);
        any = true;
    }
    return any;
}

/* Reads a block and says in the bitmap what the stream has of it. *ret_any: something. */
static int look_at(struct sender *s, uint32_t block, bool *ret_any, struct xerr *err)
{
    *ret_any = false;
    if (call_check_cancel(s->c, err) || read_block(s->disk->content, s->data, block, err)) return -1;
    if (!s->base) {
        *ret_any = !content_is_zero(s->data, VHD_BLOCK);
        memset(s->bitmap, 0xff, sizeof(s->bitmap));
        return 0;
    }
    if (read_block(s->base->content, s->old, block, err)) return -1;
    memset(s->bitmap, 0, sizeof(s->bitmap));
    if (memcmp(s->data, s->old, VHD_BLOCK) == 0) return 0;
    for (size_t i = 0; i < SECTORS; i++)
        if (memcmp(s->data + i * VHD_SECTOR, s->old + i * VHD_SECTOR, VHD_SECTOR) != 0)
            s->bitmap[i / 8] |= (unsigned char)(0x80 >> i % 8);
    *ret_any = true;
    return 0;
}

static size_t table_bytes(const struct sender *s)
{
    return ((size_t)s->blocks * 4 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

/* Where each block will be. Half of the progress. */
static int fill_table(struct sender *s, struct xerr *err)
{
    uint64_t sector = (TABLE_AT + table_bytes(s)) / VHD_SECTOR;

    memset(s->table, 0xff, table_bytes(s));
    for (uint32_t i = 0; i < s->blocks; i++) {
        bool any;
        if (s->changes->bits) any = look_up(s, i);
        else if (look_at(s, i, &any, err)) return -1;
        call_progress(s->c, (double)i / s->blocks / 2);
        if (!any) continue;
        s->table[i] = htobe32((uint32_t)sector);
        sector += (VHD_BITMAP + VHD_BLOCK) / VHD_SECTOR;
        s->used++;
    }
    return 0;
}

static int put(struct sender *s, const void *buf, size_t n, struct xerr *err)
{
    return stream_write(http_stream(s->req), buf, n, STEP_MS) ? content_error(err, "the client has gone") : 0;
}

static void make_head(const struct sender *s, unsigned char head[TABLE_AT])
{
    struct vhd_footer footer = {
        .type = s->base ? VHD_DIFFERENCING : VHD_DYNAMIC,
        .size = s->size,
        .original_size = s->size,
        .header_at = HEADER_AT,
        .timestamp = vhd_now(),
        .creator = VHD_CREATOR,
        .creator_version = VHD_CREATOR_VERSION,
    };
    struct vhd_header header = {
        .table_at = TABLE_AT,
        .blocks = s->blocks,
        .block_size = VHD_BLOCK,
        .parent_timestamp = s->base ? vhd_now() : 0,
    };

    uuid_from_text(s->disk->uuid, &footer.uuid);
    if (s->base) {
        uuid_from_text(s->base->uuid, &header.parent);
        snprintf(header.parent_name, sizeof(header.parent_name), "%s.vhd", s->base->uuid);
        vhd_locators_write(&header, head + LOCATORS_AT);
    } else {
        memset(head + LOCATORS_AT, 0, VHD_LOCATORS);
    }
    vhd_footer_write(&footer, head);
    vhd_header_write(&header, s->base ? LOCATORS_AT : 0, head + HEADER_AT);
}

static int send_all(struct sender *s, const char *headers, bool *ret_started, struct xerr *err)
{
    unsigned char *head = arena_alloc(s->c->arena, TABLE_AT);
    const int64_t length =
        TABLE_AT + (int64_t)table_bytes(s) + (int64_t)s->used * (VHD_BITMAP + VHD_BLOCK) + VHD_FOOTER;

    make_head(s, head);
    headers = arena_printf(s->c->arena, "Content-Length: %lld\r\n%s", (long long)length, headers);
    *ret_started = true;
    if (http_stream_head(s->req, 200, headers)) return content_error(err, "the client has gone");
    if (put(s, head, TABLE_AT, err) || put(s, s->table, table_bytes(s), err)) return -1;
    for (uint32_t i = 0; i < s->blocks; i++) {
        bool any;
        if (s->table[i] == VHD_UNUSED) continue;
        if (s->changes->bits ? !look_up(s, i) || call_check_cancel(s->c, err) || read_block(s->disk->content, s->data, i, err)
                             : look_at(s, i, &any, err))
            return -1;
        if (put(s, s->bitmap, VHD_BITMAP, err) || put(s, s->data, VHD_BLOCK, err)) return -1;
        call_progress(s->c, 0.5 + (double)i / s->blocks / 2);
    }
    http_stream_last(s->req, head, VHD_FOOTER);
    return 0;
}

int vhd_stream_send(struct http_request *req, struct call *c, const struct vhd_source *disk,
                    const struct vhd_source *base, const struct storage_changes *changes, const char *headers,
                    bool *ret_started, struct xerr *err)
{
    struct sender s = { .req = req, .c = c, .disk = disk, .base = base, .changes = changes };
    _cleanup_free_ char *data = xmalloc(VHD_BLOCK), *old = base ? xmalloc(VHD_BLOCK) : NULL;

    s.size = vhd_round(content_size(disk->content));
    s.blocks = vhd_blocks(s.size);
    _cleanup_free_ char *table = xmalloc(table_bytes(&s));
    s.data = data;
    s.old = old;
    s.table = (uint32_t *)(void *)table;
    return fill_table(&s, err) || send_all(&s, headers, ret_started, err) ? -1 : 0;
}

/* ---- in ------------------------------------------------------------------------------------ */

/* A stretch that the image has, or that reads as zeros in it. */
static int apply_run(struct vhd *v, struct content *disk, char *buf, int64_t at, int64_t len, bool own,
                     bool fresh, struct xerr *err)
{
    if (!own && fresh) return 0;
    for (int64_t done = 0; done < len; done += PIECE) {
        size_t n = len - done < PIECE ? (size_t)(len - done) : (size_t)PIECE;
        if (!own)
            memset(buf, 0, n);
        else if (vhd_read_own(v, buf, n, at + done))
            return content_error(err, "the VHD cannot be read");
        if (content_write(disk, buf, n, at + done, fresh, err)) return -1;
    }
    return 0;
}

int vhd_stream_apply(struct call *c, int fd, struct content *disk, bool fresh, struct xerr *err)
{
    _cleanup_vhd_ struct vhd *v = NULL;
    _cleanup_free_ char *buf = xmalloc(PIECE);
    const char *why = NULL;
    int64_t len;
    bool own;

    if (vhd_open(dup(fd), false, &v, &why)) return content_error(err, why);
    const int64_t size = vhd_footer(v)->size;
    const bool all = vhd_footer(v)->type != VHD_DIFFERENCING;
    if (size > vhd_round(content_size(disk))) return content_error(err, "the VHD is larger than the disk");
    const int64_t end = size < content_size(disk) ? size : content_size(disk);
    for (int64_t at = 0; at < end; at += len) {
        if (call_check_cancel(c, err)) return -1;
        if (vhd_extent(v, at, end - at, &own, &len)) return content_error(err, "the VHD cannot be read");
        if ((own || all) && apply_run(v, disk, buf, at, len, own, fresh && all, err)) return -1;
        call_progress(c, 0.5 + (double)at / (double)end / 2);
    }
    return 0;
}
