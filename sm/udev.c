/* Storage repository "udev": block devices as they are: removable disks, whole disks, partitions, logical volumes.
 * Called by: the agent's storage slots.  Calls: raw.
 *
 * device_config's location is a folder of links to devices, which udev's rules or the administrator put there and take
 * away. A disk is known by the name of its link. Nothing here writes to a device. */
#include "sm/raw.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int folder(struct sm *sm, const char **ret_path, struct xerr *err)
{
    const char *path = sm_config(sm, "location", "");
    struct stat st;

    if (!*path) return sm_fail(err, SM_LOCATION_MISSING, "device_config has no location");
    if (*path != '/' || stat(path, &st) || !S_ISDIR(st.st_mode))
        return sm_fail(err, SM_SR_UNAVAILABLE, "no such folder: '%s'", path);
    *ret_path = path;
    return 0;
}

struct device {
    const char *link, *real; /* real: "/dev/dm-3" */
    int64_t size;
    bool read_only;
};

/* False for what is no link to a block device that is there. */
static bool load(struct sm *sm, const char *path, const char *name, struct device *ret_device)
{
    struct device d = { .link = arena_printf(sm->arena, "%s/%s", path, name) };
    _cleanup_free_ char *real = realpath(d.link, NULL), *ro = NULL;
    struct stat st;

    if (*name == '.' || strchr(name, '/') || !real || stat(real, &st) || !S_ISBLK(st.st_mode)) return false;
    _cleanup_close_ int fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    d.size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    if (d.size <= 0) return false; /* a drive without a medium */
    const char *base = strrchr(real, '/') + 1;
    const char *flag = arena_printf(sm->arena, "/sys/class/block/%s/ro", base);
    d.read_only = read_file(flag, 16, &ro, NULL) == 0 && *ro == '1';
    d.real = arena_strdup(sm->arena, real);
    *ret_device = d;
    return true;
}

static void put_device(struct sm *sm, struct value_builder *b, const struct device *d)
{
    const struct raw_disk disk = { .location = d->link,
                                   .name_label = strrchr(d->link, '/') + 1,
                                   .name_description = d->real,
                                   .size = d->size,
                                   .read_only = d->read_only };

    raw_put_disk(sm, b, &disk);
}

static int list(struct sm *sm, struct value_builder *vdis, int64_t *ret_sum, struct xerr *err)
{
    const char *path = NULL;
    const struct dirent *e;
    int64_t sum = 0;

    if (folder(sm, &path, err)) return -1;
    DIR *dir = opendir(path);
    if (!dir) return sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", path);
    while ((e = readdir(dir))) {
        struct value_builder vdi = value_builder(sm->arena);
        struct device d;
        if (!load(sm, path, e->d_name, &d)) continue;
        put_device(sm, &vdi, &d);
        if (vdis) value_push(vdis, value_built_map(&vdi));
        sum += d.size;
    }
    closedir(dir);
    *ret_sum = sum;
    return 0;
}

static int sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena);
    int64_t sum;

    if (list(sm, NULL, &sum, err)) return -1;
    raw_put_space(&b, sum);
    *ret_answer = value_built_map(&b);
    return 0;
}

static int sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena), vdis = b;
    int64_t sum;

    if (list(sm, &vdis, &sum, err)) return -1;
    value_put(&b, "vdis", value_built_set(&vdis));
    raw_put_space(&b, sum);
    *ret_answer = value_built_map(&b);
    return 0;
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    return folder(sm, &path, err) ? -1 : raw_answer_probe(sm, ret_answer);
}

static int find(struct sm *sm, struct device *ret_device, struct xerr *err)
{
    const char *path = NULL, *slash = strrchr(sm->vdi_location, '/');

    if (folder(sm, &path, err)) return -1;
    if (!slash || !load(sm, path, slash + 1, ret_device) || !streq(ret_device->link, sm->vdi_location))
        return sm_fail_missing(sm, err);
    return 0;
}

static int vdi_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena);
    struct device d;

    if (find(sm, &d, err)) return -1;
    put_device(sm, &b, &d);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* The kernel's word that nobody has it mounted or made it part of something: a guest that writes to it would ruin that. */
static int vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const bool writable = !streq(sm_arg(sm, 0), "false");
    struct device d;

    if (find(sm, &d, err)) return -1;
    if (writable) {
        _cleanup_close_ int fd = open(d.real, O_RDWR | O_EXCL | O_CLOEXEC);
        if (fd < 0 && errno == EBUSY)
            return sm_fail(err, SM_VDI_IN_USE, "%s (%s) is in use on this host", d.link, d.real);
        if (fd < 0) return sm_fail_errno(err, SM_VDI_UNAVAILABLE, "cannot open %s", d.real);
    }
    return raw_answer_path(sm, d.real, ret_answer);
}

static const struct sm_key configuration[] = {
    { "location", "path of the folder with links to the devices, for example /dev/xapi/block" },
    { NULL, NULL },
};
static const struct sm_command commands[] = { RAW_COMMANDS(sr_update, sr_update, raw_nothing, sr_probe, sr_scan,
                                                           sr_update, vdi_update, vdi_attach, raw_nothing) };

static const struct sm_driver driver = {
    .type = "udev",
    .name = "Block devices",
    .description = "Removable disks, whole disks, partitions and logical volumes as they are",
    .configuration = configuration,
    .features = raw_features,
    .formats = raw_formats,
    .commands = commands,
};

int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }
