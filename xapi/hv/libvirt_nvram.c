/* UEFI variables: the file that is a guest's second flash, where our private libvirtd keeps it.
 * Called by: libvirt_power.c, hv.c through the vtable.  Calls: libc.
 *
 * libvirt makes the file from the firmware's template when it is not there, and leaves it when the guest ends. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "xapi/hv/libvirt_int.h"

enum { NVRAM_MAX = 4 << 20, KEEP_S = 7 * 86400 };

static char *path_of(const struct lv *lv, const char *uuid)
{
    return xasprintf("%s/lib/qemu/nvram/%s_VARS.fd", lv->daemon.dir, uuid);
}

int lv_put_nvram(const struct lv *lv, const struct hv_vm *vm, struct hv_failure *f)
{
    if (!lv->private || vm->firmware != HV_FIRMWARE_UEFI || *vm->kernel) return 0;
    _cleanup_free_ char *path = path_of(lv, vm->id.uuid);
    if (unlink(path) < 0 && errno != ENOENT) return hv_fail(f, HV_FAIL_BUILD, "%s: %s", path, strerror(errno));
    if (!vm->nvram_len) return 0;
    if (write_file_atomic(path, vm->nvram, vm->nvram_len, 0600) < 0 ||
        (lv->daemon.uid && chown(path, lv->daemon.uid, lv->daemon.gid) < 0))
        return hv_fail(f, HV_FAIL_BUILD, "%s: %s", path, strerror(errno));
    return 0;
}

int lv_get_nvram(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                 struct hv_failure *f)
{
    const struct lv *lv = d;
    _cleanup_free_ char *path = path_of(lv, uuid), *text = NULL;
    size_t len = 0;

    (void)deadline_ms;
    *ret_len = 0;
    if (!lv->private) return 0;
    if (read_file(path, NVRAM_MAX, &text, &len) < 0)
        return errno == ENOENT ? 0 : hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    char *copy = arena_alloc(arena, len + 1);
    memcpy(copy, text, len);
    *ret_bytes = copy;
    *ret_len = len;
    return 0;
}

/* "UUID_VARS.fd" of a guest that is not there. */
static bool is_left_over(struct lv *lv, const char *name)
{
    char uuid[UUID_TEXT] = "";

    if (strlen(name) != UUID_TEXT - 1 + strlen("_VARS.fd") || !streq(name + UUID_TEXT - 1, "_VARS.fd")) return false;
    memcpy(uuid, name, UUID_TEXT - 1);
    pthread_mutex_lock(&lv->lock);
    const bool here = lv_guest_find(lv, uuid) != NULL;
    pthread_mutex_unlock(&lv->lock);
    return !here;
}

void lv_trim_nvram(struct lv *lv)
{
    _cleanup_free_ char *folder = xasprintf("%s/lib/qemu/nvram", lv->daemon.dir);
    DIR *dir = lv->private ? opendir(folder) : NULL;
    struct stat st;

    if (!dir) return;
    for (const struct dirent *e; (e = readdir(dir));)
        if (is_left_over(lv, e->d_name) && !fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
            clock_wall_seconds() - st.st_mtime > KEEP_S)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
}
