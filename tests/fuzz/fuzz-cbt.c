/* Logs of changed blocks from arbitrary bytes: what is accepted is written back the same, and merged within bounds.
 * Called by: libFuzzer, replay.c.  Calls: sm/cbt. */
#include "tests/fuzz/fuzz.h"

#include "sm/cbt.c"   /* a driver's file, in no archive of the daemon */

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, again = CBT_LOG_INIT, other = CBT_LOG_INIT;
    int fd = memfd_create("log", MFD_CLOEXEC), copy = memfd_create("log", MFD_CLOEXEC);
    const char *why = NULL;

    MUST(fd >= 0 && copy >= 0 && write(fd, data, size) == (ssize_t)size);
    if (cbt_log_read(fd, true, &log, &why)) {
        MUST(why && *why);
    } else {
        MUST(log.size >= 0 && cbt_bytes(log.size) <= size);
        MUST(cbt_log_write(copy, &log) == 0 && cbt_log_read(copy, true, &again, &why) == 0);
        MUST(ref_eq(log.parent, again.parent) && ref_eq(log.child, again.child) && log.has_base == again.has_base);
        MUST(memcmp(log.bits, again.bits, cbt_bytes(log.size)) == 0);
        cbt_log_new(&other, log.size / 2);
        cbt_log_add(&other, &log);
        cbt_log_add(&log, &other);
        cbt_log_grow(&other, log.size);
        cbt_log_add(&other, &log);
        cbt_log_mark(&other, log.size / 3, log.size);
        cbt_log_mark_all(&log);
    }
    close(fd);
    close(copy);
    return 0;
}
