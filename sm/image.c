/* The table of image formats.
 * Called by: dir*.c.  Calls: qcow2, lib/vhd. */
#include "sm/image.h"

#include "lib/vhd.h"
#include "sm/qcow2.h"

#include <errno.h>
#include <sys/stat.h>

/* "base.vhd" of "/some/where/base.vhd". */
static const char *leaf_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* ---- qcow2 --------------------------------------------------------------------------------- */

static int qcow2_look(int fd, bool want_empty, struct arena *a, struct image_look *ret_look,
                      const char **ret_why)
{
    struct qcow2_info info;

    if (qcow2_read(fd, want_empty, a, &info, ret_why)) return -1;
    *ret_look = (struct image_look){
        .size = info.virtual_size,
        .parent = leaf_of(info.backing_file),
        .empty = info.empty,
    };
    return 0;
}

static int qcow2_create(int fd, const struct image_new *what)
{
    return qcow2_write_empty(fd, what->size, what->parent, "qcow2");
}

static int qcow2_set_parent(int fd, const char *name, struct ref id)
{
    (void)id;
    return qcow2_rename_backing(fd, name);
}

/* ---- VHD ----------------------------------------------------------------------------------- */

static int vhd_image_look(int fd, bool want_empty, struct arena *a, struct image_look *ret_look,
                          const char **ret_why)
{
    struct vhd_footer footer;
    struct vhd_header header;
    struct image_look look = { .parent = "" };

    if (want_empty) {
        _cleanup_vhd_ struct vhd *v = NULL;
        if (vhd_open(dup(fd), false, &v, ret_why)) return -1;
        footer = *vhd_footer(v);
        if (vhd_header(v)) header = *vhd_header(v);
        look.empty = vhd_used(v) == 0;
    } else if (vhd_look(fd, &footer, &header, ret_why)) {
        return -1;
    }
    if (footer.type == VHD_DIFFERENCING) {
        *ret_why = "a VHD that does not name its parent";
        if (!*header.parent_name) return -1;
        look.parent = arena_strdup(a, header.parent_name);
    }
    look.size = footer.size;
    look.id = footer.uuid;
    look.hidden = footer.hidden;
    *ret_look = look;
    return 0;
}

static int vhd_image_create(int fd, const struct image_new *what)
{
    const struct vhd_new n = {
        .type = what->parent ? VHD_DIFFERENCING : VHD_DYNAMIC,
        .size = what->size,
        .uuid = ref_is_null(what->id) ? ref_new() : what->id,
        .parent = what->parent_id,
        .parent_name = what->parent,
        .parent_timestamp = vhd_now(),
    };

    return vhd_create(fd, &n);
}

static int vhd_image_set_hidden(int fd, bool hidden)
{
    _cleanup_vhd_ struct vhd *v = NULL;
    const char *why;

    if (vhd_open(dup(fd), true, &v, &why)) {
        errno = EIO;
        return -1;
    }
    return vhd_set_hidden(v, hidden);
}

static int vhd_image_set_parent(int fd, const char *name, struct ref id)
{
    _cleanup_vhd_ struct vhd *v = NULL;
    const char *why;

    if (vhd_open(dup(fd), true, &v, &why)) {
        errno = EIO;
        return -1;
    }
    return vhd_set_parent(v, id, name, vhd_now());
}

static int vhd_image_resize(int fd, int64_t size)
{
    _cleanup_vhd_ struct vhd *v = NULL;
    const char *why;

    if (vhd_open(dup(fd), true, &v, &why)) {
        errno = EIO;
        return -1;
    }
    return vhd_resize(v, size);
}

static int vhd_image_own_ranges(int fd, image_range_fn fn, void *arg)
{
    _cleanup_vhd_ struct vhd *v = NULL;
    const char *why;
    int64_t len;
    bool own;

    if (vhd_open(dup(fd), false, &v, &why)) {
        errno = EIO;
        return -1;
    }
    const int64_t size = vhd_footer(v)->size;
    for (int64_t at = 0; at < size; at += len) {
        if (vhd_extent(v, at, size - at, &own, &len)) return -1;
        if (own) fn(arg, at, len);
    }
    return 0;
}

/* ---- raw ----------------------------------------------------------------------------------- */

static int raw_look(int fd, bool want_empty, struct arena *a, struct image_look *ret_look,
                    const char **ret_why)
{
    struct stat st;

    (void)want_empty, (void)a;
    *ret_why = "cannot be read";
    if (fstat(fd, &st)) return -1;
    *ret_look = (struct image_look){ .size = st.st_size, .parent = "" };
    return 0;
}

static int raw_create(int fd, const struct image_new *what) { return ftruncate(fd, what->size); }

/* ---- the table ----------------------------------------------------------------------------- */

const struct image_format image_qcow2 = {
    .name = "qcow2",
    .qemu = "qcow2",
    .chains = true,
    .max_depth = 128,
    .max_size = QCOW2_MAX_SIZE,
    .unit = 512,
    .look = qcow2_look,
    .create = qcow2_create,
    .set_parent = qcow2_set_parent,
    .own_ranges = qcow2_own_ranges,
};
const struct image_format image_vhd = {
    .name = "vhd",
    .chains = true,
    .marks_hidden = true,
    .max_depth = 30, /* what Xen's tools accept */
    .max_size = VHD_MAX_SIZE,
    .unit = VHD_BLOCK,
    .look = vhd_image_look,
    .create = vhd_image_create,
    .set_hidden = vhd_image_set_hidden,
    .set_parent = vhd_image_set_parent,
    .resize = vhd_image_resize,
    .own_ranges = vhd_image_own_ranges,
};
const struct image_format image_raw = {
    .name = "raw",
    .qemu = "raw",
    .max_size = QCOW2_MAX_SIZE,
    .unit = 512,
    .look = raw_look,
    .create = raw_create,
};
const struct image_format *const image_formats[] = { &image_qcow2, &image_vhd, &image_raw, NULL };

const struct image_format *image_format_named(const char *name)
{
    for (size_t i = 0; image_formats[i]; i++)
        if (streq(image_formats[i]->name, name)) return image_formats[i];
    return NULL;
}

int image_choose(struct sm *sm, const char *fallback, const struct image_format **ret_format, struct xerr *err)
{
    const struct value *config = sm_map(sm, "vdi_sm_config");
    const char *name = value_get_str(config, "image-format", value_get_str(config, "type", fallback));

    *ret_format = image_format_named(name);
    if (!*ret_format) return sm_fail(err, SM_VDI_TYPE, "image format '%s' is not supported here", name);
    return 0;
}

int image_wanted_size(struct sm *sm, const struct image_format *f, int64_t *ret_size, struct xerr *err)
{
    int64_t size;

    if (sm_arg_size(sm, 0, &size, err)) return -1;
    if (size > f->max_size)
        return sm_fail(err, SM_VDI_SIZE, "%lld bytes are more than %lld", (long long)size,
                       (long long)f->max_size);
    size = (size + f->unit - 1) / f->unit * f->unit;
    *ret_size = size > f->max_size ? f->max_size : size;
    return 0;
}

int image_larger_size(struct sm *sm, const struct image_format *f, int64_t size, int64_t *ret_size, struct xerr *err)
{
    if (image_wanted_size(sm, f, ret_size, err)) return -1;
    if (*ret_size >= size) return 0;
    return sm_fail(err, SM_VDI_SIZE, "shrinking is not allowed: %lld bytes to %lld", (long long)size, (long long)*ret_size);
}
