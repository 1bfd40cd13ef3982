/* Logs of changed blocks beside the images of a directory. track.c says what they hold when.
 * Called by: dir*.c, file.c and its like through dir.h.  Calls: track, dir.c.
 *
 * Each log is replaced as a whole, by a rename. */
#include "sm/dir_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* ---- as track.h's table --------------------------------------------------------------------- */

static bool has(void *place, const char *uuid)
{
    const struct dir *d = place;

    return faccessat(d->fd, track_log_name(d->sm, uuid), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool load(void *place, const char *uuid, bool want_bits, struct cbt_log *ret_log)
{
    const struct dir *d = place;
    _cleanup_close_ int fd = openat(d->fd, track_log_name(d->sm, uuid), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const char *why;

    return fd >= 0 && cbt_log_read(fd, want_bits, ret_log, &why) == 0;
}

static int store(void *place, const char *uuid, const struct cbt_log *log, enum sm_error number, struct xerr *err)
{
    struct dir *d = place;
    const char *name = track_log_name(d->sm, uuid), *tmp = arena_printf(d->sm->arena, TMP "%s", name);

    unlinkat(d->fd, tmp, 0);
    _cleanup_close_ int fd = openat(d->fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return sm_fail_errno(err, number, "cannot create %s/%s", d->path, tmp);
    if (cbt_log_write(fd, log) || fsync(fd) || sm_step("sm.cbt-written") || renameat(d->fd, tmp, d->fd, name)) {
        sm_fail_errno(err, number, "cannot write %s/%s", d->path, name);
        unlinkat(d->fd, tmp, 0);
        return -1;
    }
    return dir_sync(d, err);
}

static int remove_log(void *place, const char *uuid, enum sm_error number, struct xerr *err)
{
    struct dir *d = place;
    const char *name = track_log_name(d->sm, uuid);

    if (unlinkat(d->fd, name, 0) && errno != ENOENT) return sm_fail_errno(err, number, "cannot remove %s/%s", d->path, name);
    return dir_sync(d, err);
}

static int each(void *place, track_fn fn, void *arg, struct xerr *err)
{
    struct dir *d = place;
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    char uuid[UUID_TEXT];

    if (!dir) {
        close_fdp(&fd);
        return sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", d->path);
    }
    while (!rc && (e = readdir(dir)))
        if (track_is_log(e->d_name, uuid)) rc = fn(dir_tracker(d), uuid, arg, err);
    closedir(dir);
    return rc;
}

static int64_t used(void *place, const char *uuid)
{
    const struct dir *d = place;
    struct stat st;

    return fstatat(d->fd, track_log_name(d->sm, uuid), &st, AT_SYMLINK_NOFOLLOW) ? 0 : (int64_t)st.st_blocks * 512;
}

static int find(void *place, const char *uuid, struct image *ret_image, struct xerr *err)
{
    return dir_find_leaf(place, uuid, false, ret_image, err);
}

static bool find_base(void *place, const char *uuid, struct image *ret_image) { return dir_find_base(place, uuid, ret_image); }

static int own_ranges(void *place, const struct image *im, image_range_fn fn, void *arg, struct xerr *err)
{
    const struct dir *d = place;
    _cleanup_close_ int fd = openat(d->fd, im->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || im->format->own_ranges(fd, fn, arg)) return sm_fail_errno(err, SM_VDI_LOAD, "cannot read %s/%s", d->path, im->name);
    return 0;
}

struct tracker dir_tracker(struct dir *d)
{
    static const struct track_place in = { has, load, store, remove_log, each, used, find, find_base, own_ranges };

    return (struct tracker){ d->sm, d, &in };
}

/* ---- commands ------------------------------------------------------------------------------ */

int dir_vdi_enable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image im;

    if (dir_open_change(sm, &d, err) || dir_find_request(&d, false, &im, err)) return -1;
    return track_enable(dir_tracker(&d), &im, err) || dir_answer_image(&d, im.uuid, ret_answer, err) ? -1 : 0;
}

int dir_vdi_disable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image im;

    if (dir_open_change(sm, &d, err) || dir_find_request(&d, false, &im, err)) return -1;
    return track_end(dir_tracker(&d), im.uuid, err) || dir_answer_image(&d, im.uuid, ret_answer, err) ? -1 : 0;
}

int dir_vdi_list_changed_blocks(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;

    return dir_open_ours(sm, &d, err) || track_list_changed_blocks(dir_tracker(&d), ret_answer, err) ? -1 : 0;
}

int dir_vdi_compare(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;

    return dir_open_ours(sm, &d, err) || track_compare(dir_tracker(&d), ret_answer, err) ? -1 : 0;
}
