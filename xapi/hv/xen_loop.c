/* Loop devices for raw files, so that blkback has a block device to open.
 * Called by: xen_device.c.  Calls: the loop driver.
 *
 * They are made to end by themselves when the last one closes them. We hold them open until blkback does; a killed agent,
 * a destroyed domain and an unplugged disk then all leave none behind. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "xapi/hv/xen_int.h"

enum { TRIES = 64 };

static int fail(const char *what, struct hv_failure *f)
{
    f->code = errno;
    return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", what, strerror(errno));
}

int xn_loop_open(const char *path, bool readonly, unsigned *ret_major, unsigned *ret_minor, int *ret_fd,
                 struct hv_failure *f)
{
    _cleanup_close_ int file = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    _cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

    if (file < 0) return fail(path, f);
    if (control < 0) return fail("/dev/loop-control", f);
    for (int i = 0; i < TRIES; i++) {
        struct loop_config config = { .fd = (uint32_t)file, .block_size = 512 };
        char name[32];
        struct stat st;
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0) return fail("/dev/loop-control", f);
        snprintf(name, sizeof name, "/dev/loop%d", number);
        _cleanup_close_ int loop = open(name, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        if (loop < 0) return fail(name, f);
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO | (readonly ? LO_FLAGS_READ_ONLY : 0u);
        snprintf((char *)config.info.lo_file_name, sizeof config.info.lo_file_name, "%s", path);
        if (ioctl(loop, LOOP_CONFIGURE, &config) < 0) {
            if (errno == EBUSY) continue;      /* somebody else took it */
            return fail(name, f);
        }
        if (fstat(loop, &st) < 0) return fail(name, f);
        *ret_major = major(st.st_rdev);
        *ret_minor = minor(st.st_rdev);
        *ret_fd = take_fd(loop);
        return 0;
    }
    return hv_fail(f, HV_FAIL_ENGINE, "%s: no loop device is to be had", path);
}
