/* qcow2 headers, big-endian, version 2 and 3.
 * Called by: the file drivers.  Calls: lib. */
#include "sm/qcow2.h"

#include <errno.h>
#include <sys/stat.h>

enum {
    CLUSTER_BITS = 16, /* of the images made here */
    CLUSTER = 1 << CLUSTER_BITS,
    HEADER = 104, /* version 3 */
    MAX_NAME = 1023,
    MAX_EXTENSIONS = 64,
    L1_CHUNK = 1 << 16,
};
#define MAGIC UINT32_C(0x514649fb)
#define EXT_END UINT32_C(0)
#define EXT_BACKING_FORMAT UINT32_C(0xe2792aca)
#define MAX_L1_ENTRIES (UINT32_C(32) << 17) /* 32 MiB of table, QEMU's own limit */

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get64(const unsigned char *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void put64(unsigned char *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

static bool read_at(int fd, void *buf, size_t n, uint64_t at)
{
    unsigned char *p = buf;

    if (at > INT64_MAX - n) return false;
    while (n) {
        ssize_t got = pread(fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return true;
}

static int write_at(int fd, const void *buf, size_t n, off_t at)
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

/* ---- reading ------------------------------------------------------------------------------- */

/* What lies at the beginning: all that most images say of themselves, with one system call. */
struct head {
    int fd;
    size_t n;
    unsigned char bytes[4096];
};

static void read_head(int fd, struct head *ret_head)
{
    ssize_t got;

    do
        got = pread(fd, ret_head->bytes, sizeof(ret_head->bytes), 0);
    while (got < 0 && errno == EINTR);
    ret_head->fd = fd;
    ret_head->n = got < 0 ? 0 : (size_t)got;
}

static bool take_at(const struct head *h, void *buf, size_t n, uint64_t at)
{
    if (at > h->n || n > h->n - at) return read_at(h->fd, buf, n, at);
    memcpy(buf, h->bytes + at, n);
    return true;
}

/* The backing format extension, "" when there is none; false when the extensions run off the first
 * cluster. */
static bool read_extensions(const struct head *h, uint64_t at, uint64_t end, struct arena *a, const char **ret_format)
{
    *ret_format = "";
    for (int i = 0; i < MAX_EXTENSIONS && at + 8 <= end; i++) {
        unsigned char head[8];
        if (!take_at(h, head, sizeof(head), at)) return false;
        uint32_t type = get32(head), len = get32(head + 4);
        at += 8;
        if (type == EXT_END) return true;
        if (len > end - at) return false;
        if (type == EXT_BACKING_FORMAT) {
            if (len > MAX_NAME) return false;
            char *text = arena_zalloc(a, (size_t)len + 1);
            if (!take_at(h, text, len, at)) return false;
            *ret_format = text;
        }
        at += (len + UINT64_C(7)) & ~UINT64_C(7);
    }
    return true;
}

static bool l1_is_empty(int fd, uint64_t at, uint32_t entries, struct arena *a)
{
    unsigned char *chunk = arena_alloc(a, L1_CHUNK);
    uint64_t left = (uint64_t)entries * 8;

    while (left) {
        size_t n = left < L1_CHUNK ? (size_t)left : (size_t)L1_CHUNK;
        if (!read_at(fd, chunk, n, at)) return false;
        for (size_t i = 0; i < n; i++)
            if (chunk[i]) return false;
        at += n;
        left -= n;
    }
    return true;
}

int qcow2_read(int fd, bool want_empty, struct arena *a, struct qcow2_info *ret_info, const char **ret_why)
{
    unsigned char h[HEADER] = { 0 };
    struct qcow2_info info = { .backing_file = "", .backing_format = "" };
    uint64_t header_len = 72;
    struct head head;

    *ret_why = "not a qcow2 image";
    read_head(fd, &head);
    if (!take_at(&head, h, 72, 0) || get32(h) != MAGIC) return -1;
    uint32_t version = get32(h + 4), bits = get32(h + 20), name_len = get32(h + 16),
             l1_entries = get32(h + 36);
    uint64_t name_at = get64(h + 8), size = get64(h + 24), l1_at = get64(h + 40);

    *ret_why = "unknown qcow2 version";
    if (version != 2 && version != 3) return -1;
    if (version == 3) {
        *ret_why = "truncated qcow2 header";
        if (!take_at(&head, h, HEADER, 0)) return -1;
        header_len = get32(h + 100);
    }
    *ret_why = "damaged qcow2 header";
    if (bits < 9 || bits > 21 || size > INT64_MAX || header_len < 72 || header_len > (UINT64_C(1) << bits))
        return -1;
    if (version == 3 && header_len < HEADER) return -1;
    if (l1_entries > MAX_L1_ENTRIES || (l1_entries && l1_at & ((UINT64_C(1) << bits) - 1))) return -1;
    info.virtual_size = (int64_t)size;

    if (name_at) {
        *ret_why = "damaged backing file name";
        if (name_len == 0 || name_len > MAX_NAME || name_at > (UINT64_C(1) << bits)) return -1;
        char *name = arena_zalloc(a, (size_t)name_len + 1);
        if (!take_at(&head, name, name_len, name_at) || strlen(name) != name_len) return -1;
        info.backing_file = name;
        *ret_why = "damaged qcow2 header extension";
        if (!read_extensions(&head, header_len, name_at, a, &info.backing_format)) return -1;
    }
    if (want_empty) info.empty = l1_is_empty(fd, l1_at, l1_entries, a);
    *ret_info = info;
    return 0;
}

/* Entries of the tables: where the next level is, and flags. An entry of all zeros is the backing file's. */
#define ENTRY_AT UINT64_C(0x00fffffffffffe00)
#define INCOMPATIBLE_EXTENDED_L2 (UINT64_C(1) << 4)

struct tables {
    int fd;
    int64_t size, cluster;
    uint32_t l1_entries;
    uint64_t l1_at;
    size_t entry; /* bytes of an entry of the second level */
};

static bool read_tables(int fd, struct tables *ret_tables)
{
    unsigned char h[HEADER] = { 0 };

    if (!read_at(fd, h, 72, 0) || get32(h) != MAGIC) return false;
    uint32_t version = get32(h + 4), bits = get32(h + 20);
    if (bits < 9 || bits > 21 || get32(h + 36) > MAX_L1_ENTRIES || get64(h + 24) > (uint64_t)QCOW2_MAX_SIZE) return false;
    if (version == 3 && !read_at(fd, h, HEADER, 0)) return false;
    *ret_tables = (struct tables){
        .fd = fd,
        .size = (int64_t)get64(h + 24),
        .cluster = INT64_C(1) << bits,
        .l1_entries = get32(h + 36),
        .l1_at = get64(h + 40),
        .entry = version == 3 && get64(h + 72) & INCOMPATIBLE_EXTENDED_L2 ? 16 : 8,
    };
    return true;
}

static bool is_set(const unsigned char *entry, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (entry[i]) return true;
    return false;
}

int qcow2_own_ranges(int fd, void (*fn)(void *arg, int64_t at, int64_t len), void *arg)
{
    struct tables t;

    if (!read_tables(fd, &t)) return errno = EIO, -1;
    _cleanup_free_ char *l1 = xcalloc((size_t)t.l1_entries + 1, 8), *l2 = xmalloc((size_t)t.cluster);
    if (!read_at(fd, l1, (size_t)t.l1_entries * 8, t.l1_at)) return errno = EIO, -1;
    const int64_t per_l2 = t.cluster / (int64_t)t.entry;
    for (int64_t i = 0; i < t.l1_entries && i * per_l2 * t.cluster < t.size; i++) {
        uint64_t l2_at = get64((unsigned char *)l1 + 8 * i) & ENTRY_AT;
        if (!l2_at) continue;
        if (!read_at(fd, l2, (size_t)t.cluster, l2_at)) return errno = EIO, -1;
        for (int64_t n = 0; n < per_l2; n++) {
            int64_t first = n;
            while (n < per_l2 && is_set((unsigned char *)l2 + (size_t)n * t.entry, t.entry)) n++;
            if (n > first) fn(arg, (i * per_l2 + first) * t.cluster, (n - first) * t.cluster);
        }
    }
    return 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Clusters: 0 header, extension and name; 1 refcount table; 2 the refcount block, enough for 32,768
 * clusters; from 3 the L1 table, one entry for each 512 MiB. Everything else comes when a guest writes. */
int qcow2_write_empty(int fd, int64_t virtual_size, const char *backing_file, const char *backing_format)
{
    const int64_t per_l1 = INT64_C(1) << (CLUSTER_BITS + CLUSTER_BITS - 3);
    size_t l1_entries = (size_t)((virtual_size + per_l1 - 1) / per_l1);
    size_t l1_clusters = (l1_entries * 8 + CLUSTER - 1) / CLUSTER;
    size_t clusters = 3 + l1_clusters, at = HEADER;
    _cleanup_free_ char *block = xcalloc(1, CLUSTER);
    unsigned char *b = (unsigned char *)block;
    struct stat st;

    if (virtual_size < 0 || virtual_size % 512 || virtual_size > QCOW2_MAX_SIZE ||
        (backing_file && strlen(backing_file) > MAX_NAME)) {
        errno = EINVAL;
        return -1;
    }
    put32(b, MAGIC);
    put32(b + 4, 3);
    put32(b + 20, CLUSTER_BITS);
    put64(b + 24, (uint64_t)virtual_size);
    put32(b + 36, (uint32_t)l1_entries);
    put64(b + 40, 3 * CLUSTER);
    put64(b + 48, CLUSTER);
    put32(b + 56, 1);
    put32(b + 96, 4); /* refcounts of 16 bits */
    put32(b + 100, HEADER);
    if (backing_file) {
        size_t n = strlen(backing_format);
        put32(b + at, EXT_BACKING_FORMAT);
        put32(b + at + 4, (uint32_t)n);
        memcpy(b + at + 8, backing_format, n);
        at += 8 + ((n + 7) & ~(size_t)7);
        at += 8; /* the end mark, all zeros */
        put64(b + 8, at);
        put32(b + 16, (uint32_t)strlen(backing_file));
        memcpy(b + at, backing_file, strlen(backing_file));
    }
    if (write_at(fd, b, CLUSTER, 0)) return -1;

    memset(b, 0, CLUSTER);
    put64(b, 2 * CLUSTER);
    if (write_at(fd, b, CLUSTER, CLUSTER)) return -1;

    memset(b, 0, CLUSTER);
    for (size_t i = 0; i < clusters; i++) b[2 * i + 1] = 1;
    if (write_at(fd, b, CLUSTER, 2 * CLUSTER)) return -1;
    if (fstat(fd, &st)) return -1;
    if (!S_ISBLK(st.st_mode)) return ftruncate(fd, (off_t)clusters * CLUSTER);
    /* A device shows what lay there before. */
    memset(b, 0, CLUSTER);
    for (size_t i = 3; i < clusters; i++)
        if (write_at(fd, b, CLUSTER, (off_t)i * CLUSTER)) return -1;
    return 0;
}

int qcow2_rename_backing(int fd, const char *name)
{
    unsigned char h[HEADER] = { 0 };

    if (!read_at(fd, h, 72, 0) || get32(h) != MAGIC || !get64(h + 8) || get32(h + 16) != strlen(name) ||
        get64(h + 8) > CLUSTER * 32) {
        errno = EINVAL;
        return -1;
    }
    return write_at(fd, name, strlen(name), (off_t)get64(h + 8)) || fsync(fd) ? -1 : 0;
}
