/* nbdkit plugin: serves a chain of VHD images as one disk over NBD.
 * Called by: nbdkit, started by xapi/storage.  Calls: lib/vhd.
 *
 *     nbdkit -U SOCKET .../vhd.so image=PATH [readonly=true]
 *
 * Parents are looked for beside the image, by the name that the child gives, or as <uuid>.vhd. A VHD that stands on
 * nothing and is as long as its disk is served as well. QEMU itself reads a differencing VHD as zeros where it has no
 * data, so that guests get VHDs only from here. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/vhd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

/* nbdkit gives configuration no handle of ours: what it said stays here until open. */
static char *image;
static int only_read;

static void vhd_unload(void) { free(image); }

static int vhd_config(const char *key, const char *value)
{
    if (streq(key, "image")) {
        free(image);
        image = nbdkit_absolute_path(value);
        return image ? 0 : -1;
    }
    if (streq(key, "readonly")) {
        only_read = nbdkit_parse_bool(value);
        return only_read < 0 ? -1 : 0;
    }
    nbdkit_error("no such parameter: %s", key);
    return -1;
}

static int vhd_config_complete(void)
{
    if (image) return 0;
    nbdkit_error("image=PATH is missing");
    return -1;
}

/* ---- the chain ------------------------------------------------------------------------------- */

static int find_parent(void *arg, const struct vhd_header *child, bool *ret_raw, const char **ret_why)
{
    const int folder = *(int *)arg;
    char uuid[UUID_TEXT], name[UUID_TEXT + 8];
    int fd = -1;

    *ret_raw = ref_is_null(child->parent);
    if (*child->parent_name) fd = openat(folder, child->parent_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ELOOP)
        fd = openat(folder, child->parent_name, O_RDONLY | O_CLOEXEC); /* a volume's link */
    if (fd < 0 && !*ret_raw) {
        snprintf(name, sizeof(name), "%s.vhd", uuid_to_text(child->parent, uuid));
        fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    *ret_why = "the parent of a VHD is missing";
    return fd;
}

static void *vhd_serve_open(int readonly)
{
    struct vhd_chain *chain = NULL;
    const char *why = "";
    const bool writable = !readonly && !only_read;
    char *folder = xstrdup(image), *slash = strrchr(folder, '/');

    slash[slash == folder] = '\0';
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open(image, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    free(folder);
    if (fd < 0 || dir < 0) {
        nbdkit_error("cannot open %s: %m", image);
        if (fd >= 0) close(fd);
    } else if (vhd_chain_open(fd, writable, find_parent, &dir, &chain, &why)) {
        nbdkit_error("%s: %s", image, why);
        chain = NULL;
    }
    if (dir >= 0) close(dir);
    return chain;
}

static void vhd_serve_close(void *handle) { vhd_chain_close(handle); }

static int64_t vhd_get_size(void *handle) { return vhd_chain_size(handle); }

/* ---- requests -------------------------------------------------------------------------------- */

static int answer(int rc, const char *what)
{
    if (rc) nbdkit_error("%s %s: %m", what, image);
    return rc ? -1 : 0;
}

static int vhd_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags _unused_)
{
    return answer(vhd_chain_read(handle, buf, count, (int64_t)offset), "reading");
}

static int vhd_serve_flush(void *handle, uint32_t flags _unused_)
{
    return answer(vhd_flush(vhd_chain_leaf(handle)), "syncing");
}

static int vhd_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    if (answer(vhd_chain_write(handle, buf, count, (int64_t)offset), "writing")) return -1;
    return flags & NBDKIT_FLAG_FUA ? vhd_serve_flush(handle, 0) : 0;
}

/* Where nothing is, zeros need no writing. */
static int vhd_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    static const char zeros[1 << 20];
    int64_t at = (int64_t)offset, left = count;

    while (left) {
        size_t from;
        int64_t run;
        if (answer(vhd_chain_extent(handle, at, left, &from, &run), "reading")) return -1;
        if (run > (int64_t)sizeof(zeros)) run = sizeof(zeros);
        if (from < vhd_chain_depth(handle) &&
            answer(vhd_chain_write(handle, zeros, (size_t)run, at), "writing"))
            return -1;
        at += run;
        left -= run;
    }
    return flags & NBDKIT_FLAG_FUA ? vhd_serve_flush(handle, 0) : 0;
}

static int vhd_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                       struct nbdkit_extents *extents)
{
    int64_t at = (int64_t)offset, left = count;

    while (left) {
        size_t from;
        int64_t run;
        if (answer(vhd_chain_extent(handle, at, left, &from, &run), "reading")) return -1;
        uint32_t type = from < vhd_chain_depth(handle) ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
        if (nbdkit_add_extent(extents, (uint64_t)at, (uint64_t)run, type)) return -1;
        if (flags & NBDKIT_FLAG_REQ_ONE) break;
        at += run;
        left -= run;
    }
    return 0;
}

static int yes(void *handle _unused_) { return 1; }
static int writes(void *handle _unused_) { return !only_read; }
static int native_fua(void *handle _unused_) { return NBDKIT_FUA_NATIVE; }

static struct nbdkit_plugin plugin = {
    .name = "vhd",
    .longname = "chains of VHD images",
    .description = "Serves a VHD image and the images it stands on as one disk.",
    .magic_config_key = "image",
    .config_help = "image=PATH      (required) the image\nreadonly=BOOL   never open it for writing",
    .unload = vhd_unload,
    .config = vhd_config,
    .config_complete = vhd_config_complete,
    .open = vhd_serve_open,
    .close = vhd_serve_close,
    .get_size = vhd_get_size,
    .pread = vhd_pread,
    .pwrite = vhd_pwrite,
    .flush = vhd_serve_flush,
    .zero = vhd_zero,
    .extents = vhd_extents,
    .can_write = writes,
    .can_flush = yes,
    .can_extents = yes,
    .can_zero = yes,
    .can_fua = native_fua,
};

NBDKIT_REGISTER_PLUGIN(plugin)
