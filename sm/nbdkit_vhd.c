/* nbdkit plugin: serves a chain of VHD images as one disk over NBD.
 * Called by: nbdkit, started by xapi/storage.  Calls: lib/vhd.
 *
 *     nbdkit -U SOCKET .../vhd.so image=PATH [readonly=true]
 *
 * All connections share one chain. A new connection opens it anew: after an image got another name or another parent,
 * whoever has changed that connects once, and from then on everybody reads and writes what is there now.
 *
 * Parents are looked for beside the image, by the name that the child gives, or as <uuid>.vhd, VHD-<uuid> and LV-<uuid>. A
 * VHD that stands on nothing and is as long as its disk is served as well. QEMU itself reads a differencing VHD as zeros
 * where it has no data, so that guests get VHDs only from here. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/vhd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

/* nbdkit gives configuration no handle of ours: what it said stays here, and so does the chain. */
static char *image;
static int only_read;
static struct vhd_chain *chain;

static void vhd_unload(void)
{
    vhd_chain_close(chain);
    free(image);
}

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

/* In a volume group the parent's name may be spelled otherwise than its link here. */
static int find_volume(int folder, const char *parent_name)
{
    static const char *const kinds[] = { "VHD-", "LV-" };
    char uuid[UUID_TEXT], name[UUID_TEXT + 8];
    int fd = -1;

    for (size_t i = 0; fd < 0 && i < ARRAY_SIZE(kinds) && vhd_parent_uuid(parent_name, uuid); i++) {
        snprintf(name, sizeof(name), "%s%s", kinds[i], uuid);
        fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    }
    return fd;
}

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
    if (fd < 0) fd = find_volume(folder, child->parent_name);
    *ret_why = "the parent of a VHD is missing";
    return fd;
}

static struct vhd_chain *open_chain(void)
{
    struct vhd_chain *made = NULL;
    const char *why = "";
    char *folder = xstrdup(image), *slash = strrchr(folder, '/');

    slash[slash == folder] = '\0';
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open(image, (only_read ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    free(folder);
    if (fd < 0 || dir < 0) {
        nbdkit_error("cannot open %s: %m", image);
        if (fd >= 0) close(fd);
    } else if (vhd_chain_open(fd, !only_read, find_parent, &dir, &made, &why)) {
        nbdkit_error("%s: %s", image, why);
        made = NULL;
    }
    if (dir >= 0) close(dir);
    return made;
}

/* nbdkit calls us for one request of one connection at a time. */
static void *serve_open(int readonly _unused_)
{
    if (chain && vhd_flush(vhd_chain_leaf(chain))) {
        nbdkit_error("syncing %s: %m", image);
        return NULL;
    }
    struct vhd_chain *fresh = open_chain();
    if (!fresh) return NULL;
    vhd_chain_close(chain);
    chain = fresh;
    return &chain;
}

static int64_t vhd_get_size(void *handle _unused_) { return vhd_chain_size(chain); }

/* ---- requests -------------------------------------------------------------------------------- */

/* The client is told why: QEMU stops a guest for ENOSPC alone. */
static int answer(int rc, const char *what)
{
    const int why = errno;

    if (!rc) return 0;
    nbdkit_error("%s %s: %s", what, image, strerror(why));
    nbdkit_set_error(why);
    return -1;
}

static int vhd_pread(void *handle _unused_, void *buf, uint32_t count, uint64_t offset,
                     uint32_t flags _unused_)
{
    return answer(vhd_chain_read(chain, buf, count, (int64_t)offset), "reading");
}

static int serve_flush(void *handle _unused_, uint32_t flags _unused_)
{
    return answer(vhd_flush(vhd_chain_leaf(chain)), "syncing");
}

static int vhd_pwrite(void *handle _unused_, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    if (answer(vhd_chain_write(chain, buf, count, (int64_t)offset), "writing")) return -1;
    return flags & NBDKIT_FLAG_FUA ? serve_flush(NULL, 0) : 0;
}

/* Where nothing is, zeros need no writing. */
static int vhd_zero(void *handle _unused_, uint32_t count, uint64_t offset, uint32_t flags)
{
    static const char zeros[1 << 20];
    int64_t at = (int64_t)offset, left = count;

    while (left) {
        size_t from;
        int64_t run;
        if (answer(vhd_chain_extent(chain, at, left, &from, &run), "reading")) return -1;
        if (run > (int64_t)sizeof(zeros)) run = sizeof(zeros);
        if (from < vhd_chain_depth(chain) &&
            answer(vhd_chain_write(chain, zeros, (size_t)run, at), "writing"))
            return -1;
        at += run;
        left -= run;
    }
    return flags & NBDKIT_FLAG_FUA ? serve_flush(NULL, 0) : 0;
}

static int vhd_extents(void *handle _unused_, uint32_t count, uint64_t offset, uint32_t flags,
                       struct nbdkit_extents *extents)
{
    int64_t at = (int64_t)offset, left = count;

    while (left) {
        size_t from;
        int64_t run;
        if (answer(vhd_chain_extent(chain, at, left, &from, &run), "reading")) return -1;
        uint32_t type = from < vhd_chain_depth(chain) ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
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
    .open = serve_open,
    .get_size = vhd_get_size,
    .pread = vhd_pread,
    .pwrite = vhd_pwrite,
    .flush = serve_flush,
    .zero = vhd_zero,
    .extents = vhd_extents,
    .can_write = writes,
    .can_flush = yes,
    .can_extents = yes,
    .can_zero = yes,
    .can_fua = native_fua,
};

struct nbdkit_plugin *plugin_init(void);     /* what the macro defines */
NBDKIT_REGISTER_PLUGIN(plugin)
