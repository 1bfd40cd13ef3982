/* Disk images as they come in archives, read from front to back.
 * Called by: import_disk.c, its fuzz target.  Calls: zlib.
 *
 * VMDK: "Virtual Disk Format 5.0" (VMware): a streamOptimized image is a row of markers, each grain with its place on the disk; a
 * sparse one has tables in front that say where in the file each grain is. VHD: the specification of 2006; the table of blocks is
 * in front. Tables are turned into a list in the order of the file, so that one pass is enough. */
#include "xapi/helper/disk_image.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { SECTOR = 512, GRAIN_MAX = 1 << 20, TABLES_MAX = 192 << 20, EXTENTS_MAX = 1 << 22 };
static const uint64_t SIZE_MAX_BYTES = UINT64_C(1) << 50;

struct reader {
    const struct disk_image_io *io;
    const char *why;
    uint64_t at;                  /* bytes of the image that were read */
    unsigned char head[SECTOR];   /* the first of them, given out again at the start */
    size_t n_head, at_head;
    unsigned char *in, *out;      /* DISK_IMAGE_PIECE and more */
};

static int bad(struct reader *r, const char *why)
{
    r->why = why;
    return -1;
}

/* As many as there are up to n; less only at the end. */
static int take_some(struct reader *r, void *buf, size_t n, size_t *ret_n)
{
    size_t have = r->n_head - r->at_head < n ? r->n_head - r->at_head : n;

    memcpy(buf, r->head + r->at_head, have);
    r->at_head += have;
    while (have < n) {
        ssize_t got = r->io->read(r->io->arg, (char *)buf + have, n - have);
        if (got < 0) return -1;
        if (!got) break;
        have += (size_t)got;
    }
    r->at += have;
    *ret_n = have;
    return 0;
}

static int take(struct reader *r, void *buf, size_t n)
{
    size_t got = 0;

    if (take_some(r, buf, n, &got)) return -1;
    return got == n ? 0 : bad(r, "the image ends too early");
}

static int pass_to(struct reader *r, uint64_t at)
{
    if (at < r->at) return bad(r, "parts of the image lie over each other");
    while (r->at < at) {
        size_t n = at - r->at < DISK_IMAGE_PIECE ? (size_t)(at - r->at) : DISK_IMAGE_PIECE;
        if (take(r, r->in, n)) return -1;
    }
    return 0;
}

static int drain(struct reader *r)
{
    size_t n = 1;

    while (n)
        if (take_some(r, r->in, DISK_IMAGE_PIECE, &n)) return -1;
    return 0;
}

static uint32_t le32_at(const unsigned char *p) { uint32_t v; memcpy(&v, p, sizeof v); return le32toh(v); }
static uint64_t le64_at(const unsigned char *p) { uint64_t v; memcpy(&v, p, sizeof v); return le64toh(v); }
static uint32_t be32_at(const unsigned char *p) { uint32_t v; memcpy(&v, p, sizeof v); return be32toh(v); }
static uint64_t be64_at(const unsigned char *p) { uint64_t v; memcpy(&v, p, sizeof v); return be64toh(v); }

/* ---- pieces of a disk that lie in the image ------------------------------------------------------------------------- */

struct extent { uint64_t from, to; };                       /* bytes of the image, of the disk */
struct extents { struct extent *all; size_t n, cap; };

static int add_extent(struct reader *r, struct extents *x, uint64_t from, uint64_t to)
{
    if (x->n == EXTENTS_MAX) return bad(r, "the image has too many parts");
    if (x->n == x->cap) x->all = xrealloc(x->all, (x->cap = x->cap ? 2 * x->cap : 256) * sizeof *x->all);
    x->all[x->n++] = (struct extent){ from, to };
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

/* Each is `skip` bytes that do not matter, then at most `len` of the disk. */
static int copy_extents(struct reader *r, struct extents *x, uint64_t skip, uint64_t len, uint64_t size)
{
    if (x->n) qsort(x->all, x->n, sizeof *x->all, by_place);
    for (size_t i = 0; i < x->n; i++) {
        uint64_t n = size - x->all[i].to < len ? size - x->all[i].to : len, done = 0;
        if (pass_to(r, x->all[i].from + skip)) return -1;
        while (done < n) {
            size_t piece = n - done < DISK_IMAGE_PIECE ? (size_t)(n - done) : DISK_IMAGE_PIECE;
            if (take(r, r->in, piece) || r->io->write(r->io->arg, x->all[i].to + done, r->in, piece)) return -1;
            done += piece;
        }
    }
    return 0;
}

/* ---- VMDK ------------------------------------------------------------------------------------------------------------ */

struct vmdk {
    uint64_t size, grain, gd_at, overhead;       /* bytes; overhead: where grains may begin */
    uint32_t per_table;
};

static int vmdk_head(struct reader *r, struct vmdk *v)
{
    static const char ends[] = { '\n', ' ', '\r', '\n' };
    unsigned char h[SECTOR];

    if (take(r, h, sizeof h)) return -1;
    if (memcmp(h + 73, ends, sizeof ends) != 0) return bad(r, "the VMDK was sent as text and is damaged");
    const uint64_t capacity = le64_at(h + 12), grain = le64_at(h + 20), gd = le64_at(h + 56), overhead = le64_at(h + 64);
    if (capacity > SIZE_MAX_BYTES / SECTOR || !grain || grain > GRAIN_MAX / SECTOR || grain & (grain - 1))
        return bad(r, "the VMDK has impossible sizes");
    if (overhead > TABLES_MAX / SECTOR) return bad(r, "the tables of the VMDK are too large");
    *v = (struct vmdk){ .size = capacity * SECTOR, .grain = grain * SECTOR, .gd_at = gd, .overhead = overhead * SECTOR,
                        .per_table = le32_at(h + 44) };
    return r->io->size(r->io->arg, v->size);
}

/* A grain whose marker (12 bytes and what was read with them) is in r->in. */
static int vmdk_grain(struct reader *r, const struct vmdk *v, uint64_t lba, uint32_t packed)
{
    uLongf n = GRAIN_MAX;

    if (packed > 2 * GRAIN_MAX - SECTOR || lba >= v->size / SECTOR || lba % (v->grain / SECTOR))
        return bad(r, "a grain of the VMDK is impossible");
    size_t all = ((size_t)packed + 12 + SECTOR - 1) / SECTOR * SECTOR, more = 0;
    /* The last one of the file may lack its padding. */
    if (all > SECTOR && take_some(r, r->in + SECTOR, all - SECTOR, &more)) return -1;
    if (more + SECTOR < packed + 12u) return bad(r, "the image ends too early");
    if (uncompress(r->out, &n, r->in + 12, packed) != Z_OK || n > v->grain) return bad(r, "a grain of the VMDK cannot be unpacked");
    if (n > v->size - lba * SECTOR) n = (uLongf)(v->size - lba * SECTOR);
    return r->io->write(r->io->arg, lba * SECTOR, r->out, n);
}

static int vmdk_stream(struct reader *r, const struct vmdk *v)
{
    enum { END = 0, GRAIN_TABLE, GRAIN_DIRECTORY, FOOTER };
    size_t n;

    if (pass_to(r, v->overhead)) return -1;
    for (;;) {
        if (take_some(r, r->in, SECTOR, &n)) return -1;
        if (!n) return 0;                                 /* some writers put no end marker */
        if (n < 16) return bad(r, "the image ends too early");
        memset(r->in + n, 0, SECTOR - n);
        const uint64_t value = le64_at(r->in);
        const uint32_t packed = le32_at(r->in + 8), type = le32_at(r->in + 12);
        if (packed) {
            if (vmdk_grain(r, v, value, packed)) return -1;
            continue;
        }
        if (type == END) return drain(r);
        if (type > FOOTER || value > TABLES_MAX / SECTOR) return bad(r, "the VMDK has an unknown part");
        if (pass_to(r, r->at + value * SECTOR)) return -1;
    }
}

/* Tables in front of the grains: an image that is no stream, but can be read as one. */
static int vmdk_sparse(struct reader *r, const struct vmdk *v)
{
    struct extents x = { .n = 0 };
    const uint64_t grains = (v->size + v->grain - 1) / v->grain;

    if (v->per_table != 512 || v->gd_at == UINT64_MAX) return bad(r, "the tables of the VMDK are at its end");
    const uint64_t tables = (grains + v->per_table - 1) / v->per_table, gd = v->gd_at * SECTOR;
    if (v->gd_at > TABLES_MAX / SECTOR || gd + tables * 4 > v->overhead || v->overhead < r->at)
        return bad(r, "the tables of the VMDK are not in front");
    unsigned char *front = xcalloc(1, v->overhead);
    int rc = take(r, front + r->at, (size_t)(v->overhead - r->at));
    for (uint64_t t = 0; !rc && t < tables; t++) {
        const uint64_t gt = (uint64_t)le32_at(front + gd + t * 4) * SECTOR;
        if (!gt) continue;
        if (gt + v->per_table * 4u > v->overhead) rc = bad(r, "the tables of the VMDK are not in front");
        for (uint64_t g = 0; !rc && g < v->per_table && t * v->per_table + g < grains; g++) {
            const uint64_t from = (uint64_t)le32_at(front + gt + g * 4) * SECTOR;
            if (from > SECTOR) rc = add_extent(r, &x, from, (t * v->per_table + g) * v->grain);      /* 0 and 1: zeros */
        }
    }
    free(front);
    if (!rc) rc = copy_extents(r, &x, 0, v->grain, v->size) ? -1 : drain(r);
    free(x.all);
    return rc;
}

static int read_vmdk(struct reader *r)
{
    const uint32_t flags = le32_at(r->head + 8);
    const uint16_t algorithm = (uint16_t)(r->head[77] | r->head[78] << 8);
    struct vmdk v;

    if (flags & 1u << 16 && algorithm != 1) return bad(r, "the VMDK is packed in an unknown way");
    if (vmdk_head(r, &v)) return -1;
    return flags & 1u << 16 ? vmdk_stream(r, &v) : vmdk_sparse(r, &v);
}

/* ---- VHD ------------------------------------------------------------------------------------------------------------- */

/* Everything but the footer, which is no part of the disk. */
static int read_vhd_dynamic(struct reader *r)
{
    enum { DYNAMIC = 3, HEADER = 1024 };
    unsigned char f[SECTOR], h[HEADER];
    struct extents x = { .n = 0 };

    if (take(r, f, sizeof f)) return -1;
    const uint64_t header_at = be64_at(f + 16), size = be64_at(f + 48);
    if (be32_at(f + 60) != DYNAMIC) return bad(r, "the VHD stands on another one");
    if (header_at > TABLES_MAX || size > SIZE_MAX_BYTES || pass_to(r, header_at) || take(r, h, sizeof h))
        return r->why ? -1 : bad(r, "the VHD has impossible sizes");
    const uint64_t table_at = be64_at(h + 16), blocks = be32_at(h + 28), block = be32_at(h + 32);
    if (memcmp(h, "cxsparse", 8) != 0 || block < 4096 || block & (block - 1) || block > 1 << 28 || blocks > EXTENTS_MAX ||
        blocks * block < size || table_at > TABLES_MAX)
        return bad(r, "the VHD has impossible sizes");
    if (r->io->size(r->io->arg, size) || pass_to(r, table_at)) return -1;
    unsigned char *table = xmalloc(blocks * 4 + 1);
    int rc = take(r, table, blocks * 4);
    for (uint64_t i = 0; !rc && i < blocks && i * block < size; i++) {
        const uint32_t sector = be32_at(table + i * 4);
        if (sector != UINT32_MAX) rc = add_extent(r, &x, (uint64_t)sector * SECTOR, i * block);
    }
    free(table);
    const uint64_t bitmap = (block / SECTOR / 8 + SECTOR - 1) / SECTOR * SECTOR;
    if (!rc) rc = copy_extents(r, &x, bitmap, block, size) ? -1 : drain(r);
    free(x.all);
    return rc;
}

/* ---- raw ------------------------------------------------------------------------------------------------------------- */

/* A fixed VHD is a raw image and a footer: the last sector is held back until it is known whether that is it. */
static int read_raw(struct reader *r)
{
    enum { FIXED = 2 };
    uint64_t at = 0;
    size_t held = 0, n;

    for (;;) {
        if (take_some(r, r->in + held, DISK_IMAGE_PIECE - held, &n)) return -1;
        const size_t have = held + n;
        const bool last = have < DISK_IMAGE_PIECE;
        size_t write = last ? have : have - SECTOR;
        if (last && have >= SECTOR && memcmp(r->in + have - SECTOR, "conectix", 8) == 0 && be32_at(r->in + have - SECTOR + 60) == FIXED &&
            be64_at(r->in + have - SECTOR + 48) == at + have - SECTOR)
            write -= SECTOR;
        if (write && r->io->write(r->io->arg, at, r->in, write)) return -1;
        at += write;
        held = have - write;
        if (last) return 0;
        memmove(r->in, r->in + write, held);
    }
}

/* ---- which of them --------------------------------------------------------------------------------------------------- */

int disk_image_read(const struct disk_image_io *io, const char **ret_why)
{
    struct reader r = { .io = io };
    int rc = take_some(&r, r.head, sizeof r.head, &r.n_head);

    r.at = 0;
    r.in = xmalloc(2 * GRAIN_MAX + SECTOR);
    r.out = xmalloc(GRAIN_MAX);
    if (!rc && r.n_head >= 79 && memcmp(r.head, "KDMV", 4) == 0) rc = read_vmdk(&r);
    else if (!rc && r.n_head == SECTOR && memcmp(r.head, "conectix", 8) == 0) rc = read_vhd_dynamic(&r);
    else if (!rc && r.n_head >= 21 && memcmp(r.head, "# Disk DescriptorFile", 21) == 0)
        rc = bad(&r, "the VMDK is only a description of other files");
    else if (!rc) rc = read_raw(&r);
    free(r.in);
    free(r.out);
    *ret_why = rc ? r.why : NULL;
    return rc;
}
