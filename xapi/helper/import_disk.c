/* xapi-helper import-disk: a disk of a foreign archive, unpacked into its pieces.
 * Called by: xapi (ova_import.c).  Calls: disk_image.c, zlib.
 *
 * stdin: the image, perhaps packed with gzip. stdout: frames as helper.h has them. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "lib/disk_frame.h"
#include "lib/util.h"
#include "xapi/helper/disk_image.h"
#include "xapi/helper/helper.h"

enum { INPUT = 256 << 10 };

struct input {
    unsigned char buf[INPUT];
    size_t n, at;
    bool looked, packed, ended;
    z_stream z;
    bool cut;                     /* the packed bytes are damaged */
};

static ssize_t read_plain(struct input *in)
{
    ssize_t n;

    do n = read(STDIN_FILENO, in->buf, sizeof in->buf);
    while (n < 0 && errno == EINTR);
    in->at = 0;
    in->n = n > 0 ? (size_t)n : 0;
    return n;
}

/* One call's worth; 0 = more bytes are wanted. */
static ssize_t inflate_some(struct input *in, void *buf, size_t n)
{
    in->z.next_in = in->buf + in->at;
    in->z.avail_in = (uInt)(in->n - in->at);
    in->z.next_out = buf;
    in->z.avail_out = (uInt)n;
    int rc = inflate(&in->z, Z_NO_FLUSH);
    in->at = in->n - in->z.avail_in;
    if (rc == Z_STREAM_END) in->ended = true;
    else if (rc != Z_OK && rc != Z_BUF_ERROR) in->cut = true;
    return in->cut ? -1 : (ssize_t)(n - in->z.avail_out);
}

static ssize_t read_input(void *arg, void *buf, size_t n)
{
    struct input *in = arg;
    ssize_t got;

    for (;;) {
        if (in->at == in->n && (got = read_plain(in)) <= 0) {
            in->cut |= got == 0 && in->packed && !in->ended;
            return in->cut ? -1 : got;
        }
        if (!in->looked) {
            in->looked = true;
            in->packed = in->n >= 2 && in->buf[0] == 0x1f && in->buf[1] == 0x8b;
            if (in->packed && inflateInit2(&in->z, 15 + 16) != Z_OK) return -1;
        }
        if (in->packed && in->ended) {
            in->at = in->n;       /* what is behind it is nothing of it, but is read */
            continue;
        }
        if (in->packed) {
            if ((got = inflate_some(in, buf, n))) return got;
            continue;
        }
        if (n > in->n - in->at) n = in->n - in->at;
        memcpy(buf, in->buf + in->at, n);
        in->at += n;
        return (ssize_t)n;
    }
}

static int write_all(const void *buf, size_t n)
{
    for (const char *p = buf; n;) {
        ssize_t m = write(STDOUT_FILENO, p, n);
        if (m < 0 && errno == EINTR) continue;
        if (m <= 0) return -1;
        p += m;
        n -= (size_t)m;
    }
    return 0;
}

static int frame(enum disk_frame_kind kind, uint64_t at, const void *buf, size_t n)
{
    const struct disk_frame f = { .kind = htole32(kind), .len = htole32((uint32_t)n), .at = htole64(at) };

    return write_all(&f, sizeof f) || write_all(buf, n) ? -1 : 0;
}

static int say_size(void *arg, uint64_t bytes) { (void)arg; return frame(DISK_FRAME_SIZE, bytes, NULL, 0); }
static int say_piece(void *arg, uint64_t at, const void *buf, size_t n) { (void)arg; return frame(DISK_FRAME_PIECE, at, buf, n); }

int helper_import_disk(void)
{
    struct input *in = xcalloc(1, sizeof *in);
    const struct disk_image_io io = { .read = read_input, .size = say_size, .write = say_piece, .arg = in };
    const char *why;

    int rc = disk_image_read(&io, &why);
    if (!why) why = in->cut ? "the packed disk is damaged" : "the disk cannot be read";
    if (rc) frame(DISK_FRAME_BAD, 0, why, strlen(why));
    else rc = frame(DISK_FRAME_END, 0, NULL, 0);
    free(in);
    return rc ? 1 : 0;
}
