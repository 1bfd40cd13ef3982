/* Access of QEMU's user to what the daemon above made as root.
 * Called by: libvirt_power.c, libvirt_device.c.  Calls: libc. */
#include <errno.h>
#include <sys/stat.h>

#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

/* QEMU's user must open what the daemon above made as root. */
static void give_file(const struct lv *lv, const char *path, bool write)
{
    struct stat st;

    if (lv->daemon.uid == 0 || stat(path, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) return;
    if (st.st_uid == lv->daemon.uid || (!write && st.st_mode & S_IROTH)) return;
    int rc = write ? chown(path, lv->daemon.uid, lv->daemon.gid) : chown(path, st.st_uid, lv->daemon.gid);
    if (rc == 0 && !write) rc = chmod(path, (st.st_mode & 07777) | S_IRGRP);
    if (rc < 0) log_warn("libvirt: %s cannot be given to %s: %s", path, lv->daemon.user, strerror(errno));
}

void lv_give_disk(const struct lv *lv, const struct hv_disk *disk)
{
    if (lv->private && (disk->source == HV_SOURCE_FILE || disk->source == HV_SOURCE_BLOCK))
        give_file(lv, disk->path, !disk->readonly && !disk->cdrom);
}

void lv_give_files(const struct lv *lv, const struct hv_vm *vm)
{
    for (size_t i = 0; i < vm->n_disks; i++) lv_give_disk(lv, &vm->disks[i]);
    if (!lv->private) return;
    if (*vm->kernel) give_file(lv, vm->kernel, false);
    if (*vm->ramdisk) give_file(lv, vm->ramdisk, false);
}
