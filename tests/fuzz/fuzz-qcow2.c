/* qcow2 headers over arbitrary bytes: whatever is accepted is consistent, and what we write we read back.
 * Called by: libFuzzer, replay.c.  Calls: sm/qcow2. */
#include "tests/fuzz/fuzz.h"

#include "sm/qcow2.c"   /* a driver's file, in no archive of the daemon */

#include <sys/mman.h>

static void take_range(void *arg, int64_t at, int64_t len)
{
    const struct qcow2_info *info = arg;

    MUST(at >= 0 && len > 0 && at < info->virtual_size + (INT64_C(1) << 42));
}

static void fuzz_read(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    int fd = memfd_create("image", MFD_CLOEXEC);
    struct qcow2_info info;
    const char *why = NULL;

    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    if (qcow2_read(fd, true, a, &info, &why)) {
        MUST(why && *why);
    } else {
        MUST(info.virtual_size >= 0);
        if (info.virtual_size <= INT64_C(1) << 36) qcow2_own_ranges(fd, take_range, &info);
        MUST(strlen(info.backing_file) <= MAX_NAME && strlen(info.backing_format) <= MAX_NAME);
    }
    MUST(arena_used(a) < 1 << 20);
    close(fd);
    arena_free(a);
}

/* The input is a size and a name. */
static void fuzz_write(const uint8_t *data, size_t size)
{
    char name[256] = "";
    int64_t bytes = (int64_t)((get64(data) % (uint64_t)(QCOW2_MAX_SIZE / 512) + 1) * 512);
    struct arena *a = arena_new();
    int fd = memfd_create("image", MFD_CLOEXEC);
    struct qcow2_info info;
    const char *why = NULL;

    for (size_t i = 8, n = 0; i < size && n < sizeof(name) - 1; i++)
        if (data[i]) name[n++] = (char)data[i];
    MUST(fd >= 0 && qcow2_write_empty(fd, bytes, *name ? name : NULL, "qcow2") == 0);
    MUST(qcow2_read(fd, true, a, &info, &why) == 0);
    MUST(info.virtual_size == bytes && info.empty);
    MUST(streq(info.backing_file, name) && streq(info.backing_format, *name ? "qcow2" : ""));
    close(fd);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 20) return 0;
    if (data[0] == 'w' && size >= 9) fuzz_write(data + 1, size - 1);
    else fuzz_read(data, size);
    return 0;
}
