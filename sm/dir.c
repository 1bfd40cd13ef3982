/* Disk images as files in one directory. dir.h describes names and crash safety.
 * Called by: file.c, ext.c, dummy.c.  Calls: qcow2, qemu-img. */
#include "sm/dir.h"

#include "lib/strbuf.h"
#include "lib/xmlrpc.h"
#include "sm/qcow2.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { MAX_CHAIN = 128, MARK_LIMIT = 4096 };
#define MARK ".xapi-sr"

enum format { FORMAT_QCOW2, FORMAT_RAW };
static const char *const format_text[] = { "qcow2", "raw" };

struct dir {
    struct sm *sm;
    const char *path;
    int fd;                    /* of the directory; locked */
};

struct image {
    enum format format;
    bool hidden, missing_parent;
    int64_t size, used;
    ino_t inode;
    nlink_t links;
    char uuid[UUID_TEXT];
    char parent[UUID_TEXT];    /* uuid of the base it stands on, "" = none */
    const char *name;          /* file name */
    const char *broken;        /* why it cannot be read, NULL = fine */
};

static void dir_close(struct dir *d)
{
    if (d->fd < 0) return;
    d->sm->dir_fd = -1;
    close(d->fd);
}
#define _cleanup_dir_ _cleanup_(dir_close)

static int lock_dir(struct dir *d, struct xerr *err)
{
    /* Against another host's or another root's driver on the same directory. */
    while (flock(d->fd, LOCK_EX))
        if (errno != EINTR && errno != EOPNOTSUPP)
            return sm_fail_errno(err, SM_LOCK, "cannot lock %s", d->path);
    return 0;
}

static int dir_open(struct sm *sm, struct dir *ret_dir, struct xerr *err)
{
    struct dir d = { .sm = sm, .fd = -1 };

    if (sm->driver->locate(sm, &d.path, err)) return -1;
    d.fd = open(d.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d.fd < 0) return sm_fail_errno(err, SM_SR_UNAVAILABLE, "cannot open %s", d.path);
    if (lock_dir(&d, err)) {
        close(d.fd);
        return -1;
    }
    sm->dir_fd = d.fd;
    *ret_dir = d;
    return 0;
}

/* ---- names and images ---------------------------------------------------------------------- */

static const char *leaf_name(struct dir *d, const char *uuid, enum format f)
{
    return arena_printf(d->sm->arena, "%s.%s", uuid, format_text[f]);
}

static const char *base_name(struct dir *d, const char *uuid)
{
    return arena_printf(d->sm->arena, "base-%s.qcow2", uuid);
}

static const char *full_path(struct dir *d, const char *name)
{
    return arena_printf(d->sm->arena, "%s/%s", d->path, name);
}

/* "<uuid>.qcow2", "<uuid>.raw", "base-<uuid>.qcow2"; false for every other name. */
static bool parse_name(const char *name, struct image *ret_image)
{
    struct image im = { .hidden = has_prefix(name, "base-") };
    const char *at = im.hidden ? name + 5 : name;
    struct ref bytes;

    if (strlen(at) < UUID_TEXT) return false;
    memcpy(im.uuid, at, UUID_TEXT - 1);
    if (!uuid_from_text(im.uuid, &bytes)) return false;
    at += UUID_TEXT - 1;
    if (streq(at, ".qcow2")) im.format = FORMAT_QCOW2;
    else if (streq(at, ".raw") && !im.hidden) im.format = FORMAT_RAW;
    else return false;
    *ret_image = im;
    return true;
}

static void take_parent(struct dir *d, const char *backing_file, struct image *im)
{
    const char *slash = strrchr(backing_file, '/');
    const char *name = slash ? slash + 1 : backing_file;
    struct image parent;

    if (!*backing_file) return;
    if (!parse_name(name, &parent) || faccessat(d->fd, name, F_OK, 0)) {
        im->missing_parent = true;
        return;
    }
    memcpy(im->parent, parent.uuid, sizeof(im->parent));
}

/* Reads what the file says of itself. False when there is no such regular file. */
static bool load_image(struct dir *d, const char *name, bool want_empty, struct image *im, bool *ret_empty)
{
    _cleanup_close_ int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct qcow2_info info;
    struct stat st;

    if (ret_empty) *ret_empty = false;
    im->name = arena_strdup(d->sm->arena, name);
    if (fd < 0 && errno != ENOENT && errno != ELOOP) {
        im->broken = strerror(errno);
        return true;
    }
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) return false;
    im->inode = st.st_ino;
    im->links = st.st_nlink;
    im->used = (int64_t)st.st_blocks * 512;
    if (im->format == FORMAT_RAW) {
        im->size = st.st_size;
        return true;
    }
    if (qcow2_read(fd, want_empty, d->sm->arena, &info, &im->broken)) return true;
    im->broken = NULL;
    im->size = info.virtual_size;
    take_parent(d, info.backing_file, im);
    if (im->missing_parent) im->broken = "its backing file is missing";
    if (ret_empty) *ret_empty = info.empty;
    return true;
}

/* The disk that the request names, whatever its format. */
static int find_leaf(struct dir *d, const char *uuid, bool want_empty, struct image *ret_image,
                     bool *ret_empty, struct xerr *err)
{
    for (int f = FORMAT_QCOW2; f <= FORMAT_RAW; f++) {
        const char *name = leaf_name(d, uuid, (enum format)f);
        struct image im;
        if (!parse_name(name, &im) || !load_image(d, name, want_empty, &im, ret_empty)) continue;
        if (im.broken) return sm_fail(err, SM_VDI_LOAD, "%s/%s: %s", d->path, name, im.broken);
        *ret_image = im;
        return 0;
    }
    return sm_fail_missing(d->sm, err);
}

static int find_request_leaf(struct dir *d, bool want_empty, struct image *ret_image, bool *ret_empty,
                             struct xerr *err)
{
    const char *uuid = *d->sm->vdi_uuid ? d->sm->vdi_uuid : d->sm->vdi_location;
    struct ref bytes;

    if (!uuid_from_text(uuid, &bytes)) return sm_fail_missing(d->sm, err);
    return find_leaf(d, uuid, want_empty, ret_image, ret_empty, err);
}

static bool find_base(struct dir *d, const char *uuid, struct image *ret_image)
{
    const char *name = base_name(d, uuid);

    return parse_name(name, ret_image) && load_image(d, name, false, ret_image, NULL);
}

static int sync_dir(struct dir *d, struct xerr *err)
{
    return fsync(d->fd) ? sm_fail_errno(err, SM_IO, "cannot sync %s", d->path) : 0;
}

/* ---- answers ------------------------------------------------------------------------------- */

static void put_space(struct dir *d, struct value_builder *b)
{
    struct statvfs fs;

    if (fstatvfs(d->fd, &fs)) return;
    int64_t unit = (int64_t)fs.f_frsize;
    value_put(b, "sr_physical_size", value_int((int64_t)fs.f_blocks * unit));
    value_put(b, "sr_physical_utilisation", value_int((int64_t)(fs.f_blocks - fs.f_bfree) * unit));
}

static void put_image(struct dir *d, struct value_builder *b, const struct image *im)
{
    struct value_builder config = value_builder(d->sm->arena);
    const char *uuid = arena_strdup(d->sm->arena, im->uuid);

    value_put(b, "uuid", value_string(uuid));
    value_put(b, "location", value_string(uuid));
    value_put(b, "virtual_size", value_int(im->size));
    value_put(b, "physical_utilisation", value_int(im->used));
    value_put(b, "managed", value_bool(!im->hidden));
    value_put(b, "read_only", value_bool(im->hidden));
    value_put(b, "format", value_string(format_text[im->format]));
    value_put(&config, "image-format", value_string(format_text[im->format]));
    if (im->format == FORMAT_RAW) value_put(&config, "type", value_string("raw"));
    if (*im->parent) value_put(&config, "vhd-parent", value_string(arena_strdup(d->sm->arena, im->parent)));
    value_put(b, "sm_config", value_built_map(&config));
}

static int answer_image(struct dir *d, const char *uuid, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(d->sm->arena);
    struct image im;

    if (find_leaf(d, uuid, false, &im, NULL, err)) return -1;
    put_image(d, &b, &im);
    put_space(d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- create -------------------------------------------------------------------------------- */

static int fill_new(int fd, enum format f, int64_t size, const char *backing)
{
    if (f == FORMAT_RAW) return ftruncate(fd, (off_t)size);
    return qcow2_write_empty(fd, size, backing, "qcow2");
}

/* Guests' processes run as another user, in the group that Debian gives to virtual machines: they read a
 * whole chain of images and write its end. Without that group images are root's alone. */
static int share_image(int fd)
{
    char text[4096];
    struct group g, *found = NULL;

    if (getgrnam_r("kvm", &g, text, sizeof(text), &found) || !found) return 0;
    return fchown(fd, (uid_t)-1, found->gr_gid) || fchmod(fd, 0660) ? -1 : 0;
}

/* A new image under its final name in one step: written and synced as tmp-, then renamed (over an older
 * one when replace). The directory is not synced. */
static int make_image(struct dir *d, const char *name, enum format f, int64_t size, const char *backing,
                      bool replace, enum sm_error number, struct xerr *err)
{
    const char *tmp = arena_printf(d->sm->arena, "tmp-%s", name);
    unsigned flags = replace ? 0 : RENAME_NOREPLACE;

    unlinkat(d->fd, tmp, 0);
    _cleanup_close_ int fd = openat(d->fd, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return sm_fail_errno(err, number, "cannot create %s/%s", d->path, tmp);
    if (fill_new(fd, f, size, backing) || share_image(fd) || fsync(fd) || sm_step("sm.image-written")) {
        sm_fail_errno(err, number, "cannot write %s/%s", d->path, tmp);
        unlinkat(d->fd, tmp, 0);
        return -1;
    }
    if (renameat2(d->fd, tmp, d->fd, name, flags)) {
        sm_fail_errno(err, errno == EEXIST ? SM_VDI_EXISTS : number, "cannot rename %s/%s", d->path, tmp);
        unlinkat(d->fd, tmp, 0);
        return -1;
    }
    return sm_step("sm.image-named") ? sm_fail_errno(err, number, "%s/%s", d->path, name) : 0;
}

static const char *new_uuid(struct sm *sm)
{
    return uuid_new(arena_alloc(sm->arena, UUID_TEXT));
}

static int wanted_format(struct sm *sm, enum format *ret_format, struct xerr *err)
{
    const struct value *config = sm_map(sm, "vdi_sm_config");
    const char *type = value_get_str(config, "type", NULL);
    const char *image = value_get_str(config, "image-format", type ? type : "qcow2");

    if (streq(image, "qcow2")) *ret_format = FORMAT_QCOW2;
    else if (streq(image, "raw")) *ret_format = FORMAT_RAW;
    else return sm_fail(err, SM_VDI_TYPE, "image format '%s' is not supported here", image);
    return 0;
}

static int wanted_size(struct sm *sm, int64_t *ret_size, struct xerr *err)
{
    int64_t size;

    if (sm_arg_size(sm, 0, &size, err)) return -1;
    if (size > QCOW2_MAX_SIZE)
        return sm_fail(err, SM_VDI_SIZE, "%lld bytes are more than %lld", (long long)size,
                       (long long)QCOW2_MAX_SIZE);
    *ret_size = (size + 511) & ~INT64_C(511);
    return 0;
}

int dir_vdi_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *uuid = *sm->vdi_uuid ? sm->vdi_uuid : new_uuid(sm);
    _cleanup_dir_ struct dir d = { .fd = -1 };
    enum format f = FORMAT_QCOW2;
    int64_t size = 0;

    if (wanted_format(sm, &f, err) || wanted_size(sm, &size, err) || dir_open(sm, &d, err)) return -1;
    if (!faccessat(d.fd, leaf_name(&d, uuid, FORMAT_QCOW2), F_OK, AT_SYMLINK_NOFOLLOW) ||
        !faccessat(d.fd, leaf_name(&d, uuid, FORMAT_RAW), F_OK, AT_SYMLINK_NOFOLLOW))
        return sm_fail(err, SM_VDI_EXISTS, "%s is in %s already", uuid, d.path);
    if (make_image(&d, leaf_name(&d, uuid, f), f, size, NULL, false, SM_VDI_CREATE, err) || sync_dir(&d, err))
        return -1;
    return answer_image(&d, uuid, ret_answer, err);
}

/* ---- listing ------------------------------------------------------------------------------- */

struct images {
    struct image *list;
    size_t n, cap;
};

static void images_free(struct images *s) { free(s->list); }
#define _cleanup_images_ _cleanup_(images_free)

static int list_images(struct dir *d, struct images *out, struct xerr *err)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;

    if (!dir) {
        close_fdp(&fd);
        return sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", d->path);
    }
    while (errno = 0, (e = readdir(dir))) {
        struct image im;
        if (!parse_name(e->d_name, &im) || !load_image(d, e->d_name, false, &im, NULL)) continue;
        if (out->n == out->cap) {
            out->cap = out->cap ? out->cap * 2 : 64;
            out->list = xrealloc(out->list, out->cap * sizeof(*out->list));
        }
        out->list[out->n++] = im;
    }
    int why = errno;
    closedir(dir);
    errno = why;
    return why ? sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", d->path) : 0;
}

/* ---- delete -------------------------------------------------------------------------------- */

static bool has_children(const struct images *all, const char *base, const char *but_name)
{
    for (size_t i = 0; i < all->n; i++)
        if (streq(all->list[i].parent, base) && !streq(all->list[i].name, but_name)) return true;
    return false;
}

/* The bases that only this image needs, from the top down. None when some image cannot be read: it might
 * need them. */
static size_t lonely_bases(struct dir *d, const struct images *all, const struct image *top,
                           const char *ret_names[MAX_CHAIN])
{
    const char *gone = top->name, *parent = top->parent;
    struct image base;
    size_t n = 0;

    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].broken && !all->list[i].missing_parent) return 0;
    while (*parent && n < MAX_CHAIN && !has_children(all, parent, gone) && find_base(d, parent, &base)) {
        ret_names[n++] = gone = base.name;
        parent = arena_strdup(d->sm->arena, base.parent);
    }
    return n;
}

/* Removes a disk that is called dead- already and the bases that only it needed: the deepest first and
 * the disk's own name last, so that what is left always says how to go on. */
static int bury(struct dir *d, const char *dead, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    const char *bases[MAX_CHAIN];
    struct image im = { .format = FORMAT_QCOW2 };

    if (!load_image(d, dead, false, &im, NULL)) return 0;
    if (*im.parent && list_images(d, &all, err)) return -1;
    for (size_t n = lonely_bases(d, &all, &im, bases); n; n--) {
        if (unlinkat(d->fd, bases[n - 1], 0))
            return sm_fail_errno(err, SM_VDI_REMOVE, "cannot remove %s/%s", d->path, bases[n - 1]);
        if (sm_step("sm.base-removed")) return sm_fail_errno(err, SM_VDI_REMOVE, "%s", bases[n - 1]);
    }
    if (unlinkat(d->fd, dead, 0))
        return sm_fail_errno(err, SM_VDI_REMOVE, "cannot remove %s/%s", d->path, dead);
    return 0;
}

int dir_vdi_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct value_builder b = value_builder(sm->arena);
    struct image im = { 0 };
    const char *name = NULL;

    if (dir_open(sm, &d, err)) return -1;
    for (int f = FORMAT_QCOW2; f <= FORMAT_RAW && !name; f++) {
        name = leaf_name(&d, sm->vdi_uuid, (enum format)f);
        if (!parse_name(name, &im) || !load_image(&d, name, false, &im, NULL)) name = NULL;
    }
    if (!name) return sm_fail_missing(sm, err);
    if (im.format == FORMAT_RAW) {
        if (unlinkat(d.fd, name, 0))
            return sm_fail_errno(err, SM_VDI_REMOVE, "cannot remove %s/%s", d.path, name);
    } else {
        const char *dead = arena_printf(sm->arena, "dead-%s", name);
        if (renameat(d.fd, name, d.fd, dead))
            return sm_fail_errno(err, SM_VDI_REMOVE, "cannot rename %s", name);
        if (sm_step("sm.disk-dead")) return sm_fail_errno(err, SM_VDI_REMOVE, "%s", dead);
        if (bury(&d, dead, err)) return -1;
    }
    if (sync_dir(&d, err)) return -1;
    put_space(&d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- scan ---------------------------------------------------------------------------------- */

/* Ends what a killed driver had begun: half-made images, deletions, the second name of a disk that was
 * about to be frozen. Nothing else is ever removed. */
static int repair(struct dir *d, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int rc = 0;

    if (!dir) {
        close_fdp(&fd);
        return sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", d->path);
    }
    while (rc == 0 && (e = readdir(dir))) {
        struct image im;
        if (has_prefix(e->d_name, "tmp-") && parse_name(e->d_name + 4, &im)) unlinkat(d->fd, e->d_name, 0);
        else if (has_prefix(e->d_name, "dead-") && parse_name(e->d_name + 5, &im))
            rc = bury(d, e->d_name, err);
    }
    closedir(dir);
    if (rc || list_images(d, &all, err)) return -1;
    for (size_t i = 0; i < all.n; i++) {
        const struct image *base = &all.list[i];
        if (!base->hidden || base->links < 2 || has_children(&all, base->uuid, "")) continue;
        for (size_t j = 0; j < all.n; j++)
            if (!all.list[j].hidden && all.list[j].inode == base->inode) unlinkat(d->fd, base->name, 0);
    }
    return 0;
}

int dir_sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct value_builder b = value_builder(sm->arena), vdis = b;

    if (dir_open(sm, &d, err) || repair(&d, err) || list_images(&d, &all, err)) return -1;
    for (size_t i = 0; i < all.n; i++) {
        struct value_builder vdi = value_builder(sm->arena);
        if (all.list[i].broken && !all.list[i].missing_parent)
            continue; /* not an image: left alone, not shown */
        put_image(&d, &vdi, &all.list[i]);
        if (all.list[i].broken) value_put(&vdi, "broken", value_string(all.list[i].broken));
        value_push(&vdis, value_built_map(&vdi));
    }
    value_put(&b, "vdis", value_built_set(&vdis));
    put_space(&d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

int dir_sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct value_builder b = value_builder(sm->arena);

    if (dir_open(sm, &d, err)) return -1;
    put_space(&d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- one disk ------------------------------------------------------------------------------ */

int dir_vdi_resize(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct image im;
    int64_t size = 0;

    if (wanted_size(sm, &size, err) || dir_open(sm, &d, err) || find_request_leaf(&d, false, &im, NULL, err))
        return -1;
    if (size < im.size)
        return sm_fail(err, SM_VDI_SIZE, "shrinking is not allowed: %lld bytes to %lld", (long long)im.size,
                       (long long)size);
    if (size > im.size) {
        const char *bytes = arena_printf(sm->arena, "%lld", (long long)size);
        const char *argv[] = { "qemu-img", "resize", "-q", "-f", format_text[im.format],
                               full_path(&d, im.name), bytes, NULL };
        if (sm_run(sm, argv, NULL, SM_VDI_RESIZE, err)) return -1;
    }
    return answer_image(&d, im.uuid, ret_answer, err);
}

int dir_vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct value_builder b = value_builder(sm->arena);
    struct image im;

    if (dir_open(sm, &d, err) || find_request_leaf(&d, false, &im, NULL, err)) return -1;
    value_put(&b, "params", value_string(full_path(&d, im.name)));
    value_put(&b, "format", value_string(format_text[im.format]));
    *ret_answer = value_built_map(&b);
    return 0;
}

int dir_vdi_nothing(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_void();
    return 0;
}

int dir_vdi_introduce(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *location = *sm->vdi_location ? sm->vdi_location : sm_param(sm, "new_uuid", sm->vdi_uuid);
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct ref bytes;

    if (!uuid_from_text(location, &bytes)) return sm_fail_missing(sm, err);
    return dir_open(sm, &d, err) || answer_image(&d, location, ret_answer, err) ? -1 : 0;
}

int dir_vdi_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct image im;

    if (dir_open(sm, &d, err) || find_request_leaf(&d, false, &im, NULL, err)) return -1;
    return answer_image(&d, im.uuid, ret_answer, err);
}

/* Nothing on disk says that the agent knows a disk: the next scan finds it again. */
int dir_vdi_forget(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return dir_vdi_nothing(sm, ret_answer, err);
}

/* ---- snapshot and clone -------------------------------------------------------------------- */

static int check_depth(struct dir *d, const struct image *leaf, struct xerr *err)
{
    char parent[UUID_TEXT];
    int depth = 1;

    memcpy(parent, leaf->parent, sizeof(parent));
    while (*parent) {
        struct image base;
        if (++depth > MAX_CHAIN)
            return sm_fail(err, SM_CHAIN_TOO_LONG, "%s stands on %d images", leaf->uuid, depth);
        if (!find_base(d, parent, &base)) return sm_fail(err, SM_VDI_LOAD, "base %s is missing", parent);
        memcpy(parent, base.parent, sizeof(parent));
    }
    return 0;
}

/* Undoes step 1, when step 3 has not happened. */
static void drop_second_name(struct dir *d, const struct image *leaf, const char *base)
{
    struct stat st;

    if (fstatat(d->fd, leaf->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == leaf->inode)
        unlinkat(d->fd, base, 0);
}

/* Steps 1 to 3: what leaf held is base-B now, and leaf is a new empty image on it. */
static int freeze(struct dir *d, const struct image *leaf, const char *base_uuid, struct xerr *err)
{
    const char *base = base_name(d, base_uuid);

    if (linkat(d->fd, leaf->name, d->fd, base, 0))
        return sm_fail_errno(err, SM_VDI_SNAPSHOT, "cannot link %s/%s to %s", d->path, leaf->name, base);
    if (sm_step("sm.base-linked")) {
        sm_fail_errno(err, SM_VDI_SNAPSHOT, "%s/%s", d->path, base);
        unlinkat(d->fd, base, 0);
        return -1;
    }
    if (make_image(d, leaf->name, FORMAT_QCOW2, leaf->size, base, true, SM_VDI_SNAPSHOT, err)) {
        drop_second_name(d, leaf, base);
        return -1;
    }
    return sync_dir(d, err);
}

/* Step 4. */
static int hang_on(struct dir *d, const char *uuid, const char *base_uuid, int64_t size, struct xerr *err)
{
    const char *name = leaf_name(d, uuid, FORMAT_QCOW2);

    if (make_image(d, name, FORMAT_QCOW2, size, base_name(d, base_uuid), false, SM_VDI_SNAPSHOT, err))
        return -1;
    return sync_dir(d, err);
}

static int copy_raw(struct dir *d, const struct image *leaf, const char *uuid, struct xerr *err)
{
    const char *name = leaf_name(d, uuid, FORMAT_RAW), *tmp = arena_printf(d->sm->arena, "tmp-%s", name);
    const char *argv[] = { "qemu-img", "convert", "-q", "-f", "raw", "-O", "raw", full_path(d, leaf->name),
                           full_path(d, tmp), NULL };
    int rc = sm_run(d->sm, argv, NULL, SM_VDI_CLONE, err);
    _cleanup_close_ int fd = rc ? -1 : openat(d->fd, tmp, O_RDONLY | O_CLOEXEC);

    if (rc == 0 &&
        (fd < 0 || share_image(fd) || fsync(fd) || renameat2(d->fd, tmp, d->fd, name, RENAME_NOREPLACE)))
        rc = sm_fail_errno(err, SM_VDI_CLONE, "cannot finish %s/%s", d->path, name);
    if (rc) unlinkat(d->fd, tmp, 0);
    return rc ? -1 : sync_dir(d, err);
}

/* The answer to "prepare": where the running guest must go on. */
static int answer_prepared(struct dir *d, const struct image *leaf, const char *base_uuid,
                           struct value *ret_answer)
{
    struct value_builder b = value_builder(d->sm->arena);

    value_put(&b, "params", value_string(full_path(d, leaf->name)));
    value_put(&b, "format", value_string("qcow2"));
    value_put(&b, "base_uuid", value_string(base_uuid));
    value_put(&b, "base_params", value_string(full_path(d, base_name(d, base_uuid))));
    *ret_answer = value_built_map(&b);
    return 0;
}

static int finish_online(struct dir *d, const struct image *leaf, const char *uuid, struct value *ret_answer,
                         struct xerr *err)
{
    const char *base_uuid = sm_param(d->sm, "base_uuid", "");
    struct image base;

    if (!find_base(d, base_uuid, &base))
        return sm_fail(err, SM_BAD_REQUEST, "no base '%s' to finish on", base_uuid);
    if (hang_on(d, uuid, base.uuid, leaf->size, err)) return -1;
    return answer_image(d, uuid, ret_answer, err);
}

/* The guest did not follow: the base gets its disk's name back, which drops the empty image that had it. */
static int abort_online(struct dir *d, const struct image *leaf, bool empty, struct value *ret_answer,
                        struct xerr *err)
{
    const char *base_uuid = sm_param(d->sm, "base_uuid", "");
    struct image base;

    if (!find_base(d, base_uuid, &base) || !streq(leaf->parent, base.uuid) || !empty)
        return sm_fail(err, SM_BAD_REQUEST, "%s is not an empty image on base '%s'", leaf->uuid, base_uuid);
    if (renameat(d->fd, base.name, d->fd, leaf->name))
        return sm_fail_errno(err, SM_VDI_SNAPSHOT, "cannot rename %s/%s", d->path, base.name);
    *ret_answer = value_void();
    return sync_dir(d, err);
}

int dir_vdi_snapshot(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *phase = sm_param(sm, "phase", ""), *uuid = sm_param(sm, "new_uuid", ""), *base;
    bool online = streq(sm_param(sm, "attached", ""), "rw"), empty = false;
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct image leaf;
    struct ref bytes;

    if (!*uuid) uuid = new_uuid(sm);
    if (!uuid_from_text(uuid, &bytes)) return sm_fail(err, SM_BAD_REQUEST, "new_uuid is no uuid: '%s'", uuid);
    if (dir_open(sm, &d, err) || find_request_leaf(&d, true, &leaf, &empty, err)) return -1;
    if (streq(phase, "finish")) return finish_online(&d, &leaf, uuid, ret_answer, err);
    if (streq(phase, "abort")) return abort_online(&d, &leaf, empty, ret_answer, err);

    if (leaf.format == FORMAT_RAW) {
        if (online)
            return sm_fail(err, SM_VDI_IN_USE, "%s is raw and in use: no snapshot while it is", leaf.uuid);
        return copy_raw(&d, &leaf, uuid, err) || answer_image(&d, uuid, ret_answer, err) ? -1 : 0;
    }
    if (online && !streq(phase, "prepare"))
        return sm_fail(err, SM_VDI_IN_USE, "%s is in use: its snapshot needs the phases prepare and finish",
                       leaf.uuid);
    if (check_depth(&d, &leaf, err)) return -1;
    if (streq(phase, "freeze") && empty && *leaf.parent) return answer_image(&d, leaf.uuid, ret_answer, err);
    if (!online && empty && *leaf.parent) {   /* unchanged since it was frozen: stand beside it */
        base = leaf.parent;
    } else {
        base = new_uuid(sm);
        if (freeze(&d, &leaf, base, err)) return -1;
        if (online) return answer_prepared(&d, &leaf, base, ret_answer);
        if (streq(phase, "freeze")) return answer_image(&d, leaf.uuid, ret_answer, err);
    }
    if (hang_on(&d, uuid, base, leaf.size, err)) return -1;
    return answer_image(&d, uuid, ret_answer, err);
}

/* A disk with on_boot=reset begins a new run of its VM: what the last run wrote goes. */
int dir_vdi_epoch_begin(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = { .fd = -1 };
    struct image leaf;
    bool empty;

    *ret_answer = value_void();
    if (!streq(sm_param(sm, "vdi_on_boot", "persist"), "reset")) return 0;
    if (dir_open(sm, &d, err) || find_request_leaf(&d, true, &leaf, &empty, err)) return -1;
    if (!*leaf.parent) return sm_fail(err, SM_VDI_LOAD, "%s has no base to go back to", leaf.uuid);
    if (empty) return 0;
    const char *base = base_name(&d, leaf.parent);
    if (make_image(&d, leaf.name, FORMAT_QCOW2, leaf.size, base, true, SM_VDI_CREATE, err)) return -1;
    return sync_dir(&d, err);
}

/* ---- the directory itself ------------------------------------------------------------------ */

const char *dir_read_mark(struct sm *sm, const char *path)
{
    _cleanup_free_ char *text = NULL;
    struct ref bytes;

    if (read_file(arena_printf(sm->arena, "%s/" MARK, path), MARK_LIMIT, &text, NULL)) return "";
    text[strcspn(text, "\n")] = '\0';
    return uuid_from_text(text, &bytes) ? uuid_to_text(bytes, arena_alloc(sm->arena, UUID_TEXT)) : "";
}

int dir_check_mark(struct sm *sm, const char *path, struct xerr *err)
{
    const char *owner = dir_read_mark(sm, path);

    if (!*owner || streq(owner, sm->sr_uuid)) return 0;
    return sm_fail(err, SM_SR_UNAVAILABLE, "%s belongs to SR %s, not to %s", path, owner, sm->sr_uuid);
}

/* Names the first thing in a directory that is neither a dot file of ours nor lost+found; NULL = empty. */
static int first_entry(struct sm *sm, const char *path, bool images_only, const char **ret_name,
                       struct xerr *err)
{
    DIR *dir = opendir(path);
    const struct dirent *e;

    *ret_name = NULL;
    if (!dir) return sm_fail_errno(err, SM_SR_UNAVAILABLE, "cannot list %s", path);
    while (!*ret_name && (e = readdir(dir))) {
        struct image im;
        if (streq(e->d_name, ".") || streq(e->d_name, "..") || streq(e->d_name, "lost+found")) continue;
        if (images_only && !parse_name(e->d_name, &im)) continue;
        *ret_name = arena_strdup(sm->arena, e->d_name);
    }
    closedir(dir);
    return 0;
}

int dir_mark(struct sm *sm, const char *path, struct xerr *err)
{
    const char *found, *text = arena_printf(sm->arena, "%s\n", sm->sr_uuid);

    if (first_entry(sm, path, false, &found, err)) return -1;
    if (found) return sm_fail(err, SM_SR_EXISTS, "%s is not empty: it holds %s", path, found);
    if (write_file_atomic(arena_printf(sm->arena, "%s/" MARK, path), text, strlen(text), 0644))
        return sm_fail_errno(err, SM_SR_CREATE, "cannot write %s/" MARK, path);
    return 0;
}

int dir_unmark(struct sm *sm, const char *path, struct xerr *err)
{
    const char *found;

    if (first_entry(sm, path, true, &found, err)) return -1;
    if (found) return sm_fail(err, SM_SR_NOT_EMPTY, "%s holds %s", path, found);
    if (unlink(arena_printf(sm->arena, "%s/" MARK, path)) && errno != ENOENT)
        return sm_fail_errno(err, SM_SR_DELETE, "cannot remove %s/" MARK, path);
    return 0;
}

struct value dir_probe_answer(struct sm *sm, const char *device_key, const char *device, const char *sr_uuid,
                              bool complete, int64_t total, int64_t free_space)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    struct value_builder b = value_builder(sm->arena), results = b, one = b, config = b, sr = b;

    strbuf_str(&xml, "<?xml version=\"1.0\" ?>\n<SRlist>\n");
    if (*sr_uuid) {
        strbuf_printf(&xml, "\t<SR>\n\t\t<UUID>\n\t\t\t%s\n\t\t</UUID>\n\t\t<Devlist>\n\t\t\t", sr_uuid);
        xmlrpc_encode_text(device, strlen(device), &xml);
        strbuf_str(&xml, "\n\t\t</Devlist>\n\t</SR>\n");
    }
    strbuf_str(&xml, "</SRlist>\n");
    value_put(&b, "xml", value_string(arena_strdup(sm->arena, strbuf_cstr(&xml))));

    value_put(&config, device_key, value_string(device));
    value_put(&one, "configuration", value_built_map(&config));
    value_put(&one, "complete", value_bool(complete));
    if (*sr_uuid) {
        value_put(&sr, "uuid", value_string(sr_uuid));
        value_put(&sr, "total_space", value_int(total));
        value_put(&sr, "free_space", value_int(free_space));
        value_put(&one, "sr", value_built_map(&sr));
    }
    value_push(&results, value_built_map(&one));
    value_put(&b, "results", value_built_set(&results));
    return value_built_map(&b);
}
