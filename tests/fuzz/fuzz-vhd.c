/* VHD images of arbitrary bytes: what is accepted can be read, mapped, written and grown without a wild access.
 * Called by: libFuzzer, replay.c.  Calls: lib/vhd.
 *
 * So that more than checksums is tried, the input's first byte asks for them to be put right. */
#include "tests/fuzz/fuzz.h"

#include "lib/vhd.h"

#include <sys/mman.h>

static void mend(uint8_t *part, size_t n, size_t at)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        if (i < at || i >= at + 4) sum += part[i];
    for (int i = 0; i < 4; i++) part[at + (size_t)i] = (uint8_t)(~sum >> (24 - 8 * i));
}

static void use(struct vhd *v)
{
    static uint8_t buf[64 << 10];
    const int64_t size = vhd_footer(v)->size, most = INT64_C(8) << 21;
    bool own;
    int64_t len;

    MUST(size > 0 && vhd_used(v) >= 0 && vhd_end(v) > 0);
    for (int64_t at = 0, end = size < most ? size : most; at < end; at += len) {
        if (vhd_extent(v, at, end - at, &own, &len)) break;
        MUST(len > 0 && len <= end - at);
        size_t n = len < (int64_t)sizeof(buf) ? (size_t)len : sizeof(buf);
        if (own && vhd_read_own(v, buf, n, at)) break;
    }
    memset(buf, 7, 512);
    if (vhd_write(v, buf, 512, 0) == 0) {
        memset(buf, 0, 512);
        MUST(vhd_read_own(v, buf, 512, 0) == 0 && buf[0] == 7 && buf[511] == 7);
    }
    if (size <= most) vhd_resize(v, size + (INT64_C(3) << 21));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why = NULL;
    struct vhd *v = NULL;

    if (size < 2 || size > 1 << 16) return 0;
    uint8_t *copy = xmalloc(size);
    memcpy(copy, data + 1, --size);
    if (data[0] & 1) {
        if (size >= 512) mend(copy, 512, 64);
        if (size >= 1536) mend(copy + 512, 1024, 36);
        if (size >= 2048) mend(copy + size - 512, 512, 64);
    }
    int fd = memfd_create("image", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, copy, size) == (ssize_t)size);
    free(copy);
    /* Blocks of a small input may lie in a hole behind it. */
    if (data[0] & 2) MUST(ftruncate(fd, 32 << 20) == 0);
    if (vhd_open(fd, true, &v, &why)) {
        MUST(why && *why);
    } else {
        use(v);
        vhd_close(v);
    }
    return 0;
}
