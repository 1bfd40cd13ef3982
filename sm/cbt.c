/* Reading, writing and merging logs of changed blocks. cbt.h has the layout.
 * Called by: track.c, dir_cbt.c, lvhd_cbt.c.  Calls: libc. */
#include "sm/cbt.h"

#include <endian.h>
#include <errno.h>
#include <sys/stat.h>

enum { HEAD = 48, CONSISTENT_AT = 32, SIZE_AT = 40, TAIL = 24 };
static const char tail_magic[8] = { 'x', 'a', 'p', 'i', '-', 'c', 'b', 't' };

void cbt_log_clear(struct cbt_log *log)
{
    free(log->bits);
    log->bits = NULL;
}

static int64_t blocks_of(int64_t size) { return (size + CBT_BLOCK - 1) / CBT_BLOCK; }

size_t cbt_bytes(int64_t size) { return (size_t)((blocks_of(size) + 7) / 8); }

void cbt_log_new(struct cbt_log *ret_log, int64_t size)
{
    *ret_log = (struct cbt_log){ .consistent = true, .size = size, .bits = xcalloc(1, cbt_bytes(size) + 1) };
}

/* ---- on disk ------------------------------------------------------------------------------- */

static struct ref get_uuid(const unsigned char *p)
{
    uint64_t half[2];

    memcpy(half, p, sizeof(half));
    return (struct ref){ be64toh(half[0]), be64toh(half[1]) };
}

static void put_uuid(unsigned char *p, struct ref r)
{
    const uint64_t half[2] = { htobe64(r.hi), htobe64(r.lo) };

    memcpy(p, half, sizeof(half));
}

static bool read_fd(void *arg, void *buf, size_t n, int64_t at)
{
    unsigned char *p = buf;

    while (n) {
        ssize_t got = pread(*(const int *)arg, p, n, at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        p += got;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static int write_all(int fd, const void *buf, size_t n)
{
    const unsigned char *p = buf;

    while (n) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -1;
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

int cbt_log_read(int fd, bool want_bits, struct cbt_log *ret_log, const char **ret_why)
{
    struct stat st;

    *ret_why = "no log of changed blocks";
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return -1;
    return cbt_log_read_from(&(struct cbt_source){ read_fd, &fd, st.st_size }, want_bits, ret_log, ret_why);
}

int cbt_log_read_from(const struct cbt_source *from, bool want_bits, struct cbt_log *ret_log, const char **ret_why)
{
    unsigned char head[HEAD], tail[TAIL];
    struct cbt_log log = CBT_LOG_INIT;
    uint64_t size;
    int32_t flag;

    *ret_why = "no log of changed blocks";
    if (from->length < HEAD || !from->read(from->arg, head, HEAD, 0)) return -1;
    memcpy(&flag, head + CONSISTENT_AT, sizeof(flag));
    memcpy(&size, head + SIZE_AT, sizeof(size));
    size = le64toh(size);
    if (size > (uint64_t)CBT_MAX_SIZE) return -1;
    log.parent = get_uuid(head);
    log.child = get_uuid(head + 16);
    log.consistent = flag != 0;
    log.size = (int64_t)size;
    const size_t bytes = cbt_bytes(log.size);
    const int64_t end = HEAD + (int64_t)bytes;
    *ret_why = "a log of changed blocks that was cut short";
    if (from->length < end) return -1;
    if (from->length >= end + TAIL && from->read(from->arg, tail, TAIL, end) && memcmp(tail, tail_magic, sizeof(tail_magic)) == 0) {
        log.has_base = true;
        log.base = get_uuid(tail + sizeof(tail_magic));
    }
    if (want_bits) {
        log.bits = xcalloc(1, bytes + 1);
        if (!from->read(from->arg, log.bits, bytes, HEAD)) {
            cbt_log_clear(&log);
            return -1;
        }
    }
    *ret_log = log;
    return 0;
}

size_t cbt_log_length(int64_t size) { return HEAD + cbt_bytes(size) + TAIL; }

void cbt_log_encode(const struct cbt_log *log, unsigned char *buf)
{
    const size_t bytes = cbt_bytes(log->size);
    const uint64_t size = htole64((uint64_t)log->size);
    const uint32_t flag = htole32(log->consistent);
    unsigned char *tail = buf + HEAD + bytes;

    memset(buf, 0, HEAD);
    put_uuid(buf, log->parent);
    put_uuid(buf + 16, log->child);
    memcpy(buf + CONSISTENT_AT, &flag, sizeof(flag));
    memcpy(buf + SIZE_AT, &size, sizeof(size));
    memcpy(buf + HEAD, log->bits, bytes);
    memset(tail, 0, TAIL);
    if (!log->has_base) return;
    memcpy(tail, tail_magic, sizeof(tail_magic));
    put_uuid(tail + sizeof(tail_magic), log->base);
}

int cbt_log_write(int fd, const struct cbt_log *log)
{
    const size_t length = cbt_log_length(log->size);
    _cleanup_free_ char *buf = xmalloc(length);

    cbt_log_encode(log, (unsigned char *)buf);
    return write_all(fd, buf, log->has_base ? length : length - TAIL);
}

/* ---- bits ---------------------------------------------------------------------------------- */

void cbt_log_mark(struct cbt_log *log, int64_t at, int64_t len)
{
    int64_t first = at / CBT_BLOCK, end = blocks_of(at + len), all = blocks_of(log->size);

    if (end > all) end = all;
    for (int64_t n = first; n < end; n++)
        log->bits[n / 8] = (unsigned char)(log->bits[n / 8] | 1u << (n % 8));
}

void cbt_log_mark_all(struct cbt_log *log) { cbt_log_mark(log, 0, log->size); }

void cbt_log_add(struct cbt_log *log, const struct cbt_log *from)
{
    const size_t mine = cbt_bytes(log->size), other = cbt_bytes(from->size);

    for (size_t i = 0; i < mine && i < other; i++) log->bits[i] = (unsigned char)(log->bits[i] | from->bits[i]);
    /* The last byte of a longer log may have bits beyond our end. */
    for (int64_t n = blocks_of(log->size); n % 8; n++)
        log->bits[n / 8] = (unsigned char)(log->bits[n / 8] & ~(1u << (n % 8)));
}

void cbt_log_grow(struct cbt_log *log, int64_t size)
{
    const size_t had = cbt_bytes(log->size), has = cbt_bytes(size);

    log->size = size;
    if (has <= had) return;
    log->bits = xrealloc(log->bits, has + 1);
    memset(log->bits + had, 0, has - had + 1);
}
