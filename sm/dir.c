/* The directory of a repository of image files: its lock, names, images, mark. dir.h describes names and crash safety.
 * Called by: dir_vdi.c, dir_snapshot.c, file.c, ext.c, dummy.c.  Calls: image. */
#include "sm/dir_private.h"

#include "lib/strbuf.h"
#include "lib/xmlrpc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/statvfs.h>

enum { MARK_LIMIT = 4096 };
#define MARK ".xapi-sr"
#define LOCK_NAME ".xapi-lock"

void dir_close(struct dir *d)
{
    if (d->fd < 0) return;
    d->sm->dir_fd = -1;
    close_fdp(&d->lock_fd);
    close(d->fd);
}

/* Network file systems lock files that are open for writing, no folders. A server without locks leaves us with the one of
 * this host. */
static int lock_file(struct dir *d, struct xerr *err)
{
    d->lock_fd = openat(d->fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0) return errno == EROFS ? 0 : sm_fail_errno(err, SM_LOCK, "cannot lock %s", d->path);
    while (flock(d->lock_fd, LOCK_EX)) {
        if (errno == ENOLCK || errno == EOPNOTSUPP) return 0;
        if (errno != EINTR) return sm_fail_errno(err, SM_LOCK, "cannot lock %s", d->path);
    }
    return 0;
}

static int lock_dir(struct dir *d, struct xerr *err)
{
    /* Against another host's or another root's driver on the same directory. */
    while (flock(d->fd, LOCK_EX)) {
        if (errno == EBADF || errno == EINVAL) return lock_file(d, err);
        if (errno != EINTR && errno != EOPNOTSUPP)
            return sm_fail_errno(err, SM_LOCK, "cannot lock %s", d->path);
    }
    return 0;
}

int dir_open(struct sm *sm, struct dir *ret_dir, struct xerr *err)
{
    const char *path = NULL;

    return sm->driver->locate(sm, &path, err) ? -1 : dir_open_at(sm, path, ret_dir, err);
}

int dir_open_at(struct sm *sm, const char *path, struct dir *ret_dir, struct xerr *err)
{
    struct dir d = { .sm = sm, .path = path, .fd = -1, .lock_fd = -1 };

    d.fd = open(d.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d.fd < 0) return sm_fail_errno(err, SM_SR_UNAVAILABLE, "cannot open %s", d.path);
    if (lock_dir(&d, err)) {
        close_fdp(&d.lock_fd);
        close(d.fd);
        return -1;
    }
    sm->dir_fd = d.fd;
    *ret_dir = d;
    return 0;
}

int dir_sync(struct dir *d, struct xerr *err)
{
    return fsync(d->fd) ? sm_fail_errno(err, SM_IO, "cannot sync %s", d->path) : 0;
}

/* ---- names --------------------------------------------------------------------------------- */

const char *dir_leaf_name(struct dir *d, const char *uuid, const struct image_format *f)
{
    return arena_printf(d->sm->arena, "%s.%s", uuid, f->name);
}

const char *dir_base_name(struct dir *d, const char *uuid, const struct image_format *f)
{
    return arena_printf(d->sm->arena, "%s%s.%s", f->marks_hidden ? "" : "base-", uuid, f->name);
}

const char *dir_full_path(struct dir *d, const char *name)
{
    return arena_printf(d->sm->arena, "%s/%s", d->path, name);
}

bool dir_parse_name(const char *name, struct image *ret_image)
{
    struct image im = { .hidden = has_prefix(name, "base-") };
    const char *at = im.hidden ? name + 5 : name;
    struct ref bytes;

    if (strlen(at) < UUID_TEXT) return false;
    memcpy(im.uuid, at, UUID_TEXT - 1);
    if (!uuid_from_text(im.uuid, &bytes)) return false;
    at += UUID_TEXT - 1;
    im.format = *at == '.' ? image_format_named(at + 1) : NULL;
    if (!im.format || (im.hidden && (im.format->marks_hidden || !im.format->chains))) return false;
    *ret_image = im;
    return true;
}

/* ---- images -------------------------------------------------------------------------------- */

static void take_parent(struct dir *d, const char *name, struct image *im)
{
    struct image parent;

    if (!*name) return;
    if (!dir_parse_name(name, &parent) || faccessat(d->fd, name, F_OK, 0)) {
        im->missing_parent = true;
        im->broken = "the image it stands on is missing";
        return;
    }
    memcpy(im->parent, parent.uuid, sizeof(im->parent));
}

bool dir_load(struct dir *d, const char *name, bool want_empty, struct image *ret_image)
{
    _cleanup_close_ int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct image_look look;
    struct image *im = ret_image;
    struct stat st;

    im->name = arena_strdup(d->sm->arena, name);
    if (fd < 0 && errno != ENOENT && errno != ELOOP) {
        im->broken = strerror(errno);
        return true;
    }
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) return false;
    im->inode = st.st_ino;
    im->links = st.st_nlink;
    im->used = (int64_t)st.st_blocks * 512;
    if (im->format->look(fd, want_empty, d->sm->arena, &look, &im->broken)) return true;
    im->broken = NULL;
    im->size = look.size;
    im->id = look.id;
    im->empty = look.empty;
    im->hidden |= look.hidden;
    take_parent(d, look.parent, im);
    return true;
}

int dir_find_leaf(struct dir *d, const char *uuid, bool want_empty, struct image *ret_image, struct xerr *err)
{
    for (size_t i = 0; image_formats[i]; i++) {
        const char *name = dir_leaf_name(d, uuid, image_formats[i]);
        struct image im;
        if (!dir_parse_name(name, &im) || !dir_load(d, name, want_empty, &im)) continue;
        if (im.broken) return sm_fail(err, SM_VDI_LOAD, "%s/%s: %s", d->path, name, im.broken);
        *ret_image = im;
        return 0;
    }
    return sm_fail_missing(d->sm, err);
}

int dir_find_request(struct dir *d, bool want_empty, struct image *ret_image, struct xerr *err)
{
    const char *uuid = *d->sm->vdi_uuid ? d->sm->vdi_uuid : d->sm->vdi_location;
    struct ref bytes;

    if (!uuid_from_text(uuid, &bytes)) return sm_fail_missing(d->sm, err);
    return dir_find_leaf(d, uuid, want_empty, ret_image, err);
}

bool dir_find_base(struct dir *d, const char *uuid, struct image *ret_image)
{
    for (size_t i = 0; image_formats[i]; i++) {
        const char *name = dir_base_name(d, uuid, image_formats[i]);
        struct image im;
        if (!image_formats[i]->chains || !dir_parse_name(name, &im) || !dir_load(d, name, false, &im))
            continue;
        *ret_image = im;
        return true;
    }
    return false;
}

int dir_list(struct dir *d, struct images *out, struct xerr *err)
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
        if (dir_parse_name(e->d_name, &im) && dir_load(d, e->d_name, false, &im)) images_add(out, &im);
    }
    int why = errno;
    closedir(dir);
    errno = why;
    return why ? sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", d->path) : 0;
}

/* Guests' processes run as another user, in the group that Debian gives to virtual machines: they read a
 * whole chain of images and write its end. Without that group images are root's alone. */
int dir_share(int fd)
{
    char text[4096];
    struct group g, *found = NULL;

    if (getgrnam_r("kvm", &g, text, sizeof(text), &found) || !found) return 0;
    /* A server that takes root for nobody does not let us: then its own rules say who reads. */
    if (fchown(fd, (uid_t)-1, found->gr_gid)) return errno == EPERM || errno == EINVAL ? 0 : -1;
    return fchmod(fd, 0660);
}

const char *dir_write_tmp(struct dir *d, const char *name, const struct image_format *f, int64_t size,
                          const char *parent, struct ref parent_id, enum sm_error number, struct xerr *err)
{
    const char *tmp = arena_printf(d->sm->arena, TMP "%s", name);
    const struct image_new what = { .size = size, .parent = parent, .parent_id = parent_id };

    unlinkat(d->fd, tmp, 0);
    _cleanup_close_ int fd = openat(d->fd, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return sm_fail_errno(err, number, "cannot create %s/%s", d->path, tmp), NULL;
    if (f->create(fd, &what) || dir_share(fd) || fsync(fd) || sm_step("sm.image-written")) {
        sm_fail_errno(err, number, "cannot write %s/%s", d->path, tmp);
        unlinkat(d->fd, tmp, 0);
        return NULL;
    }
    return tmp;
}

int dir_rename_new(struct dir *d, const char *from, const char *to)
{
    if (renameat2(d->fd, from, d->fd, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    /* NFS and SMB know no such flag; a link fails when the name is there. */
    return linkat(d->fd, from, d->fd, to, 0) || unlinkat(d->fd, from, 0) ? -1 : 0;
}

int dir_put_tmp(struct dir *d, const char *tmp, bool replace, enum sm_error number, struct xerr *err)
{
    const char *name = tmp + strlen(TMP);

    if (replace ? renameat(d->fd, tmp, d->fd, name) : dir_rename_new(d, tmp, name)) {
        sm_fail_errno(err, errno == EEXIST ? SM_VDI_EXISTS : number, "cannot rename %s/%s", d->path, tmp);
        unlinkat(d->fd, tmp, 0);
        return -1;
    }
    return sm_step("sm.image-named") ? sm_fail_errno(err, number, "%s/%s", d->path, name) : 0;
}

int dir_make_image(struct dir *d, const char *name, const struct image_format *f, int64_t size,
                   const struct image *parent, bool replace, enum sm_error number, struct xerr *err)
{
    const char *tmp = dir_write_tmp(d, name, f, size, parent ? parent->name : NULL,
                                    parent ? parent->id : REF_NULL, number, err);

    return tmp ? dir_put_tmp(d, tmp, replace, number, err) : -1;
}

int dir_set_hidden(struct dir *d, const char *name, const struct image_format *f, bool hidden,
                   struct xerr *err)
{
    if (!f->marks_hidden) return 0;
    _cleanup_close_ int fd = openat(d->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || f->set_hidden(fd, hidden))
        return sm_fail_errno(err, SM_IO, "cannot mark %s/%s", d->path, name);
    return 0;
}

/* ---- answers ------------------------------------------------------------------------------- */

void dir_put_space(struct dir *d, struct value_builder *b)
{
    struct statvfs fs;

    if (fstatvfs(d->fd, &fs)) return;
    int64_t unit = (int64_t)fs.f_frsize;
    value_put(b, "sr_physical_size", value_int((int64_t)fs.f_blocks * unit));
    value_put(b, "sr_physical_utilisation", value_int((int64_t)(fs.f_blocks - fs.f_bfree) * unit));
}

void dir_put_image(struct dir *d, struct value_builder *b, const struct image *im)
{
    struct value_builder config = value_builder(d->sm->arena);
    const char *uuid = arena_strdup(d->sm->arena, im->uuid);

    value_put(b, "uuid", value_string(uuid));
    value_put(b, "location", value_string(uuid));
    value_put(b, "virtual_size", value_int(im->size));
    value_put(b, "physical_utilisation", value_int(im->used));
    value_put(b, "managed", value_bool(!im->hidden));
    value_put(b, "read_only", value_bool(im->hidden));
    value_put(b, "cbt_enabled", value_bool(!im->hidden && track_has(dir_tracker(d), im->uuid)));
    value_put(b, "format", value_string(im->format->name));
    value_put(&config, "image-format", value_string(im->format->name));
    if (im->format == &image_raw) value_put(&config, "type", value_string("raw"));
    if (*im->parent) value_put(&config, "vhd-parent", value_string(arena_strdup(d->sm->arena, im->parent)));
    value_put(b, "sm_config", value_built_map(&config));
}

int dir_answer_image(struct dir *d, const char *uuid, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(d->sm->arena);
    struct image im;

    if (dir_find_leaf(d, uuid, false, &im, err)) return -1;
    dir_put_image(d, &b, &im);
    dir_put_space(d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

const char *dir_new_uuid(struct sm *sm) { return uuid_new(arena_alloc(sm->arena, UUID_TEXT)); }

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
        if (images_only && !dir_parse_name(e->d_name, &im) && !track_is_log(e->d_name, im.uuid)) continue;
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
    return dir_claim(sm, path, err);
}

int dir_unmark(struct sm *sm, const char *path, struct xerr *err)
{
    const char *found;

    if (dir_check_owner(sm, path, err) || first_entry(sm, path, true, &found, err)) return -1;
    if (found) return sm_fail(err, SM_SR_NOT_EMPTY, "%s holds %s", path, found);
    if (dir_leave(sm, path, err)) return -1;
    if (unlink(arena_printf(sm->arena, "%s/" MARK, path)) && errno != ENOENT)
        return sm_fail_errno(err, SM_SR_DELETE, "cannot remove %s/" MARK, path);
    unlink(arena_printf(sm->arena, "%s/" LOCK_NAME, path));
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
