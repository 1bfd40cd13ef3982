/* Block devices that a repository is made of.
 * Called by: lvm.c.  Calls: libc. */
#include "sm/block.h"

#include <sys/stat.h>

enum { MAX_DEVICES = 16 };

int block_devices(struct sm *sm, const char *const **ret_devices, struct xerr *err)
{
    const char **devices = arena_new_array(sm->arena, const char *, MAX_DEVICES + 1);
    char *save = NULL;
    size_t n = 0;

    for (char *name = strtok_r(arena_strdup(sm->arena, sm_config(sm, "device", "")), ",", &save); name;
         name = strtok_r(NULL, ",", &save)) {
        _cleanup_free_ char *real = *name == '/' ? realpath(name, NULL) : NULL;
        struct stat st;
        if (!real || stat(real, &st)) return sm_fail(err, SM_DEVICE_INVALID, "no such device: '%s'", name);
        if (!S_ISBLK(st.st_mode)) return sm_fail(err, SM_DEVICE_INVALID, "%s is not a block device", real);
        if (n == MAX_DEVICES) return sm_fail(err, SM_DEVICE_INVALID, "more than %d devices", MAX_DEVICES);
        devices[n++] = arena_strdup(sm->arena, real);
    }
    if (!n) return sm_fail(err, SM_DEVICE_MISSING, "device_config has no device");
    devices[n] = NULL;
    *ret_devices = devices;
    return 0;
}
