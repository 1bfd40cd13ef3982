/* Storage repository "file": disk images in a directory that exists already or is made.
 * Called by: the agent's storage slots.  Calls: dir. */
#include "sm/dir.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static int locate(struct sm *sm, const char **ret_path, struct xerr *err)
{
    const char *path = sm_config(sm, "location", "");

    if (!*path) return sm_fail(err, SM_LOCATION_MISSING, "device_config has no location");
    if (*path != '/' || strstr(path, "/../"))
        return sm_fail(err, SM_INVALID_ARGUMENT, "no absolute path: '%s'", path);
    *ret_path = path;
    return 0;
}

static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    if (locate(sm, &path, err)) return -1;
    bool fresh = access(path, F_OK) != 0;
    /* Guests' processes run as another user: they may pass through but not look around, whatever our
     * umask. */
    if (make_dirs(path, 0711) || (fresh && chmod(path, 0711)))
        return sm_fail_errno(err, SM_SR_CREATE, "cannot make %s", path);
    return dir_mark(sm, path, err) ? -1 : dir_sr_update(sm, ret_answer, err);
}

static int sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    *ret_answer = value_void();
    if (locate(sm, &path, err)) return -1;
    if (access(path, F_OK) && errno == ENOENT) return 0;   /* as a driver that was killed behind the last step leaves it */
    if (dir_check_mark(sm, path, err) || dir_unmark(sm, path, err)) return -1;
    if (rmdir(path) && errno != ENOTEMPTY && errno != EEXIST && errno != EBUSY)
        return sm_fail_errno(err, SM_SR_REMOVE, "cannot remove %s", path);
    return 0;
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    if (locate(sm, &path, err) || dir_attach(sm, path, err)) return -1;
    return dir_sr_update(sm, ret_answer, err);
}

static int sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return dir_vdi_nothing(sm, ret_answer, err);
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;
    struct statvfs fs;

    if (locate(sm, &path, err)) return -1;
    if (statvfs(path, &fs)) return sm_fail_errno(err, SM_SR_UNAVAILABLE, "%s", path);
    *ret_answer =
        dir_probe_answer(sm, "location", path, dir_read_mark(sm, path), true,
                         (int64_t)(fs.f_blocks * fs.f_frsize), (int64_t)(fs.f_bavail * fs.f_frsize));
    return 0;
}

static const struct sm_key configuration[] = {
    { "location", "directory that holds the disk images" },
    DIR_KEYS,
};

static const struct sm_command commands[] = { DIR_COMMANDS };

static const struct sm_driver driver = {
    .type = "file",
    .name = "Directory",
    .description = "Disk images as qcow2 or raw files in a directory of this host",
    .configuration = configuration,
    .features = dir_features,
    .formats = dir_formats,
    .commands = commands,
    .locate = locate,
};

int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }
