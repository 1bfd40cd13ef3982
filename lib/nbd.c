/* A client of NBD.
 * Called by: xapi/storage/content.c.  Calls: stream. */
#include "lib/nbd.h"

#include <endian.h>
#include <errno.h>

/* https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md */
static const uint64_t INIT_MAGIC = 0x4e42444d41474943, OPTION_MAGIC = 0x49484156454f5054;
static const uint32_t REQUEST_MAGIC = 0x25609513, REPLY_MAGIC = 0x67446698;
enum { FIXED_NEWSTYLE = 1, NO_ZEROES = 2, OPT_EXPORT_NAME = 1 };
enum { FLAG_READ_ONLY = 2, FLAG_WRITE_ZEROES = 64 };
enum { CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_WRITE_ZEROES = 6 };

struct hello {
    uint64_t init, option;
    uint16_t flags;
} __attribute__((packed));

struct choose {
    uint32_t flags;
    uint64_t magic;
    uint32_t option, len;
} __attribute__((packed));

struct export
{
    uint64_t size;
    uint16_t flags;
}
__attribute__((packed));

struct request {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, at;
    uint32_t len;
} __attribute__((packed));

struct reply {
    uint32_t magic, error;
    uint64_t cookie;
} __attribute__((packed));

static int bad(void)
{
    errno = EPROTO;
    return -1;
}

int nbd_open(struct nbd *n, int fd, int timeout_ms)
{
    struct hello hello;
    struct export export;
    const struct choose choose = { htobe32(FIXED_NEWSTYLE | NO_ZEROES), htobe64(OPTION_MAGIC),
                                   htobe32(OPT_EXPORT_NAME), 0 };

    *n = (struct nbd){ .stream = { .fd = fd }, .timeout_ms = timeout_ms };
    if (stream_read_full(&n->stream, &hello, sizeof(hello), timeout_ms)) return -1;
    const unsigned need = FIXED_NEWSTYLE | NO_ZEROES;
    if (be64toh(hello.init) != INIT_MAGIC || be64toh(hello.option) != OPTION_MAGIC) return bad();
    if ((be16toh(hello.flags) & need) != need) return bad();
    if (stream_write(&n->stream, &choose, sizeof(choose), timeout_ms)) return -1;
    if (stream_read_full(&n->stream, &export, sizeof(export), timeout_ms)) return -1;
    if (be64toh(export.size) > INT64_MAX) return bad();
    n->size = (int64_t)be64toh(export.size);
    n->read_only = be16toh(export.flags) & FLAG_READ_ONLY;
    n->can_zero = be16toh(export.flags) & FLAG_WRITE_ZEROES;
    return 0;
}

static int send_request(struct nbd *n, uint16_t type, size_t len, int64_t at)
{
    const struct request r = {
        htobe32(REQUEST_MAGIC), 0, htobe16(type), htobe64(++n->cookie), htobe64((uint64_t)at),
        htobe32((uint32_t)len),
    };

    return stream_write(&n->stream, &r, sizeof(r), n->timeout_ms);
}

static int answer(struct nbd *n)
{
    struct reply r;

    if (stream_read_full(&n->stream, &r, sizeof(r), n->timeout_ms)) return -1;
    if (be32toh(r.magic) != REPLY_MAGIC || be64toh(r.cookie) != n->cookie) return bad();
    if (!r.error) return 0;
    errno = (int)be32toh(r.error); /* the protocol's numbers are Linux' */
    return -1;
}

static int check(const struct nbd *n, size_t len, size_t most, int64_t at)
{
    if (len <= most && at >= 0 && at <= n->size && (int64_t)len <= n->size - at) return 0;
    errno = EINVAL;
    return -1;
}

/* What was read ahead is not wanted. */
static int drop_ahead(struct nbd *n)
{
    char waste[4096];

    if (!n->ahead) return 0;
    if (answer(n)) return -1;
    while (n->ahead) {
        size_t len = n->ahead < sizeof(waste) ? n->ahead : sizeof(waste);
        if (stream_read_full(&n->stream, waste, len, n->timeout_ms)) return -1;
        n->ahead -= len;
    }
    return 0;
}

static int ask(struct nbd *n, uint16_t type, size_t len, int64_t at)
{
    return drop_ahead(n) ? -1 : send_request(n, type, len, at);
}

int nbd_ahead(struct nbd *n, size_t len, int64_t at)
{
    if (check(n, len, NBD_MOST, at)) return -1;
    if (!len) return 0;
    if (ask(n, CMD_READ, len, at)) return -1;
    n->ahead = len;
    n->ahead_at = at;
    return 0;
}

int nbd_read(struct nbd *n, void *buf, size_t len, int64_t at)
{
    if (check(n, len, NBD_MOST, at)) return -1;
    if (!len) return 0;
    bool is_ahead = n->ahead == len && n->ahead_at == at;
    if (!is_ahead && ask(n, CMD_READ, len, at)) return -1;
    n->ahead = 0;
    if (answer(n)) return -1;
    return stream_read_full(&n->stream, buf, len, n->timeout_ms);
}

int nbd_write(struct nbd *n, const void *buf, size_t len, int64_t at)
{
    if (check(n, len, NBD_MOST, at)) return -1;
    if (!len) return 0;
    if (ask(n, CMD_WRITE, len, at)) return -1;
    return stream_write(&n->stream, buf, len, n->timeout_ms) ? -1 : answer(n);
}

int nbd_zero(struct nbd *n, size_t len, int64_t at)
{
    if (check(n, len, 1u << 30, at)) return -1;
    if (!n->can_zero) {
        errno = ENOTSUP;
        return -1;
    }
    return len && ask(n, CMD_WRITE_ZEROES, len, at) ? -1 : len ? answer(n) : 0;
}

int nbd_flush(struct nbd *n) { return ask(n, CMD_FLUSH, 0, 0) ? -1 : answer(n); }

void nbd_close(struct nbd *n)
{
    if (n->stream.fd < 0) return;
    send_request(n, CMD_DISC, 0, 0);
    stream_close(&n->stream);
    n->stream = (struct stream)STREAM_INIT;
}
