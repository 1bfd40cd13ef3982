/* Storage repository "ext": a local disk formatted with ext4, mounted at <mount dir>/<sr uuid>.
 * Called by: the agent's storage slots.  Calls: dir, mkfs.ext4, mount(2).
 *
 * The file system's own uuid is the SR's: a wrong disk is not mounted, and a probe finds the SR. */
#include "sm/dir.h"
#include "sm/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum {
    SUPERBLOCK_AT = 1024,
    MAGIC_AT = 0x38,
    UUID_AT = 0x68,
    BLOCKS_AT = 4,
    FREE_AT = 12,
    BLOCK_SIZE_AT = 24
};

/* The device, resolved, open for reading. The reference accepts a list with commas; one is what we can
 * use. */
static int open_device(struct sm *sm, int flags, const char **ret_device, int *ret_fd, struct xerr *err)
{
    const char *name = sm_config(sm, "device", "");
    struct stat st;

    if (!*name) return sm_fail(err, SM_DEVICE_MISSING, "device_config has no device");
    _cleanup_free_ char *real = *name == '/' ? realpath(name, NULL) : NULL;
    if (!real) return sm_fail(err, SM_DEVICE_INVALID, "no such device: '%s'", name);
    _cleanup_close_ int fd = open(real, flags | O_CLOEXEC);
    if (fd < 0 && errno == EBUSY) return xerr_set(err, "SR_DEVICE_IN_USE", 0, NULL);
    if (fd < 0) return sm_fail_errno(err, SM_DEVICE_INVALID, "cannot open %s", real);
    if (fstat(fd, &st) || !S_ISBLK(st.st_mode))
        return sm_fail(err, SM_DEVICE_INVALID, "%s is not a block device", real);
    *ret_device = arena_strdup(sm->arena, real);
    *ret_fd = take_fd(fd);
    return 0;
}

struct superblock {
    char uuid[UUID_TEXT];
    int64_t total, free_space;
};

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* False when the device holds no ext file system. */
static bool read_superblock(int fd, struct superblock *ret_sb)
{
    unsigned char sb[256];
    const unsigned char *u = sb + UUID_AT;

    if (pread(fd, sb, sizeof(sb), SUPERBLOCK_AT) != (ssize_t)sizeof(sb)) return false;
    if (sb[MAGIC_AT] != 0x53 || sb[MAGIC_AT + 1] != 0xef || le32(sb + BLOCK_SIZE_AT) > 6) return false;
    snprintf(ret_sb->uuid, sizeof(ret_sb->uuid),
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3],
             u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    ret_sb->total = (int64_t)le32(sb + BLOCKS_AT) << (10 + le32(sb + BLOCK_SIZE_AT));
    ret_sb->free_space = (int64_t)le32(sb + FREE_AT) << (10 + le32(sb + BLOCK_SIZE_AT));
    return true;
}

static int mount_it(const char *device, const char *path, struct xerr *err)
{
    if (make_dirs(path, 0711)) return sm_fail_errno(err, SM_MOUNT, "cannot make %s", path);
    if (mount(device, path, "ext4", MS_NOATIME | MS_NODEV | MS_NOSUID | MS_NOEXEC, NULL)) {
        sm_fail_errno(err, SM_MOUNT, "cannot mount %s at %s", device, path);
        rmdir(path);
        return -1;
    }
    return 0;
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL, *device = NULL, *mounted;
    _cleanup_close_ int fd = -1;
    struct superblock sb;

    if (mount_point(sm, &path, err)) return -1;
    mounted = mounted_source(sm, path);
    if (!*mounted) {
        if (open_device(sm, O_RDONLY, &device, &fd, err)) return -1;
        if (!read_superblock(fd, &sb))
            return sm_fail(err, SM_SR_UNAVAILABLE, "%s holds no ext file system", device);
        if (!streq(sb.uuid, sm->sr_uuid))
            return sm_fail(err, SM_SR_UNAVAILABLE, "%s belongs to SR %s, not to %s", device, sb.uuid,
                           sm->sr_uuid);
        if (mount_it(device, path, err)) return -1;
    }
    return dir_attach(sm, path, err) ? -1 : dir_sr_update(sm, ret_answer, err);
}

static int sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    *ret_answer = value_void();
    return mount_point(sm, &path, err) ? -1 : unmount_at(path, SM_UNMOUNT, err);
}

/* Formats, mounts once to write the mark, and unmounts: sr_attach follows. */
static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL, *device = NULL;
    _cleanup_close_ int fd = -1;

    if (mount_point(sm, &path, err) || open_device(sm, O_RDWR | O_EXCL, &device, &fd, err)) return -1;
    close(take_fd(fd));
    const char *argv[] = { "mkfs.ext4", "-q", "-F", "-m", "0", "-U", sm->sr_uuid, "-L", "", device, NULL };
    if (sm_run(sm, argv, NULL, SM_FILESYSTEM, err) || mount_it(device, path, err)) return -1;
    if (chmod(path, 0711))
        sm_fail_errno(err, SM_SR_CREATE, "cannot set the mode of %s", path);
    else if (dir_mark(sm, path, err) == 0)
        dir_sr_update(sm, ret_answer, err);
    unmount_at(path, SM_UNMOUNT, err->code ? NULL : err);
    return err->code ? -1 : 0;
}

static int sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL, *device = NULL;
    _cleanup_close_ int fd = -1;
    struct value ignored;

    *ret_answer = value_void();
    if (sr_attach(sm, &ignored, err) || mount_point(sm, &path, err)) return -1;
    if (dir_unmark(sm, path, err)) {
        unmount_at(path, SM_UNMOUNT, NULL);
        return -1;
    }
    if (unmount_at(path, SM_UNMOUNT, err) || open_device(sm, O_RDWR | O_EXCL, &device, &fd, err)) return -1;
    const char *argv[] = { "wipefs", "-q", "-a", device, NULL };
    close(take_fd(fd));
    return sm_run(sm, argv, NULL, SM_SR_DELETE, err);
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_close_ int fd = -1;
    struct superblock sb = { 0 };
    const char *device = NULL;

    if (open_device(sm, O_RDONLY, &device, &fd, err)) return -1;
    const char *uuid = read_superblock(fd, &sb) ? arena_strdup(sm->arena, sb.uuid) : "";
    *ret_answer = dir_probe_answer(sm, "device", device, uuid, true, sb.total, sb.free_space);
    return 0;
}

static const struct sm_key configuration[] = {
    { "device", "path of the local block device, for example /dev/sdb" },
    DIR_KEYS,
};

static const struct sm_command commands[] = { DIR_COMMANDS };

static const struct sm_driver driver = {
    .type = "ext",
    .name = "Local disk (ext4)",
    .description = "Disk images as qcow2 or raw files on a local disk formatted with ext4",
    .configuration = configuration,
    .features = dir_features,
    .formats = dir_formats,
    .commands = commands,
    .locate = mount_point,
};

int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }
