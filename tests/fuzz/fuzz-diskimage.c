/* Foreign disk images over arbitrary bytes: pieces are inside the size that was said, and of bounded length.
 * Called by: libFuzzer, replay.c.  Calls: xapi/helper/disk_image. */
#include "tests/fuzz/fuzz.h"

#include "xapi/helper/disk_image.h"

struct state {
    const uint8_t *data;
    size_t left;
    uint64_t size, written;
    bool said;
};

static ssize_t take(void *arg, void *buf, size_t n)
{
    struct state *s = arg;

    if (n > s->left) n = s->left;
    memcpy(buf, s->data, n);
    s->data += n;
    s->left -= n;
    return (ssize_t)n;
}

static int take_size(void *arg, uint64_t bytes)
{
    struct state *s = arg;

    MUST(!s->said && !s->written);
    s->said = true;
    s->size = bytes;
    return 0;
}

static int take_piece(void *arg, uint64_t at, const void *buf, size_t n)
{
    struct state *s = arg;
    const uint8_t *p = buf;

    MUST(n <= DISK_IMAGE_PIECE);
    MUST(!s->said || (at <= s->size && n <= s->size - at));
    for (size_t i = 0; i < n; i += 512) s->written += p[i];
    s->written++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct state s = { .data = data, .left = size };
    const struct disk_image_io io = { take, take_size, take_piece, &s };
    const char *why = NULL;

    int rc = disk_image_read(&io, &why);
    MUST(rc == 0 || why);
    MUST(rc || !s.left);
    return 0;
}
