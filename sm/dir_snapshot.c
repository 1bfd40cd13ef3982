/* Snapshots and clones of the disks of a directory. dir.h numbers the steps.
 * Called by: file.c, ext.c, dummy.c through dir.h.  Calls: dir.c, qemu-img. */
#include "sm/dir_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>

/* ---- second names ---------------------------------------------------------------------------- */

#define LIVE "live-"

const char *dir_live_link(struct dir *d, const struct image *leaf, const char *base, struct xerr *err)
{
    const char *name = arena_printf(d->sm->arena, LIVE "%s%s%s.%s", leaf->uuid, base ? "-" : "", base ? base : "",
                                    leaf->format->name);

    struct stat st;

    if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == leaf->inode) return dir_full_path(d, name);
    unlinkat(d->fd, name, 0);
    if (linkat(d->fd, leaf->name, d->fd, name, 0)) {
        sm_fail_errno(err, SM_VDI_SNAPSHOT, "cannot link %s/%s to %s", d->path, leaf->name, name);
        return NULL;
    }
    return dir_full_path(d, name);
}

/* A lock on its bytes, which QEMU has while a guest may write; or, where this host knows, any descriptor. */
static bool is_open(int fd)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    struct statfs fs;

    if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) return true;
    if (fstatfs(fd, &fs) || fs.f_type == NFS_SUPER_MAGIC || fs.f_type == SMB_SUPER_MAGIC || (unsigned)fs.f_type == 0xff534d42 ||
        (unsigned)fs.f_type == 0xfe534d42)
        return false;
    if (fcntl(fd, F_SETLEASE, F_WRLCK)) return errno == EAGAIN;
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return false;
}

bool dir_live_is_used(struct dir *d, const char *uuid)
{
    _cleanup_close_ int fd = openat(d->fd, dir_leaf_name(d, uuid, &image_qcow2), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    return fd >= 0 && is_open(fd);
}

void dir_live_drop(struct dir *d, const char *uuid, bool only_others)
{
    const char *prefix = arena_printf(d->sm->arena, LIVE "%s", uuid);
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    struct stat now, st;

    if (!dir) {
        close_fdp(&fd);
        return;
    }
    if (fstatat(d->fd, dir_leaf_name(d, uuid, &image_qcow2), &now, AT_SYMLINK_NOFOLLOW)) only_others = false;
    while ((e = readdir(dir))) {
        if (!has_prefix(e->d_name, prefix)) continue;
        if (only_others && fstatat(d->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == now.st_ino) continue;
        unlinkat(d->fd, e->d_name, 0);
    }
    closedir(dir);
}

/* ---- freezing ------------------------------------------------------------------------------- */

static int check_depth(struct dir *d, const struct image *leaf, struct xerr *err)
{
    const int most = leaf->format->max_depth;
    char parent[UUID_TEXT];
    int depth = 1;

    memcpy(parent, leaf->parent, sizeof(parent));
    while (*parent) {
        struct image base;
        if (++depth >= most)
            return sm_fail(err, SM_CHAIN_TOO_LONG, "%s stands on %d images", leaf->uuid, depth);
        if (!dir_find_base(d, parent, &base)) return sm_fail(err, SM_VDI_LOAD, "base %s is missing", parent);
        memcpy(parent, base.parent, sizeof(parent));
    }
    return 0;
}

/* Steps 1 to 3: what leaf held is the base now, and leaf is a new empty image on it. */
static int freeze(struct dir *d, const struct image *leaf, struct image *ret_base, struct xerr *err)
{
    struct image base = *leaf;

    base.name = dir_base_name(d, uuid_new(base.uuid), leaf->format);
    const char *tmp =
        dir_write_tmp(d, leaf->name, leaf->format, leaf->size, base.name, leaf->id, SM_VDI_SNAPSHOT, err);
    if (!tmp) return -1;
    if (linkat(d->fd, leaf->name, d->fd, base.name, 0)) {
        sm_fail_errno(err, SM_VDI_SNAPSHOT, "cannot link %s/%s to %s", d->path, leaf->name, base.name);
        unlinkat(d->fd, tmp, 0);
        return -1;
    }
    if (sm_step("sm.base-linked") || dir_put_tmp(d, tmp, true, SM_VDI_SNAPSHOT, err)) {
        struct stat st;
        if (!err->code) sm_fail_errno(err, SM_VDI_SNAPSHOT, "%s/%s", d->path, base.name);
        if (fstatat(d->fd, leaf->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == leaf->inode) {
            unlinkat(d->fd, base.name, 0);
            unlinkat(d->fd, tmp, 0);
        }
        return -1;
    }
    *ret_base = base;
    return dir_sync(d, err);
}

/* Step 4: the base is marked, and a new image stands on it. */
static int hang_on(struct dir *d, const char *uuid, const struct image *base, int64_t size, struct xerr *err)
{
    const char *name = dir_leaf_name(d, uuid, base->format);

    if (dir_make_image(d, name, base->format, size, base, false, SM_VDI_SNAPSHOT, err)) return -1;
    return dir_sync(d, err);
}

static int copy_raw(struct dir *d, const struct image *leaf, const char *uuid, struct xerr *err)
{
    const char *name = dir_leaf_name(d, uuid, leaf->format),
               *tmp = arena_printf(d->sm->arena, TMP "%s", name);
    const char *argv[] = { "qemu-img",
                           "convert",
                           "-q",
                           "-f",
                           "raw",
                           "-O",
                           "raw",
                           dir_full_path(d, leaf->name),
                           dir_full_path(d, tmp),
                           NULL };
    int rc = sm_run(d->sm, argv, NULL, SM_VDI_CLONE, err);
    _cleanup_close_ int fd = rc ? -1 : openat(d->fd, tmp, O_RDONLY | O_CLOEXEC);

    if (rc == 0 && (fd < 0 || dir_share(fd) || fsync(fd) || dir_rename_new(d, tmp, name)))
        rc = sm_fail_errno(err, SM_VDI_CLONE, "cannot finish %s/%s", d->path, name);
    if (rc) unlinkat(d->fd, tmp, 0);
    return rc ? -1 : dir_sync(d, err);
}

/* A snapshot, or a clone, is there. */
static int answer_made(struct dir *d, const struct image *leaf, const struct image *base, const char *uuid,
                       struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(d->sm->arena);
    struct image made;

    track_made(dir_tracker(d), leaf->uuid, uuid, base, &b);
    if (dir_find_leaf(d, uuid, false, &made, err)) return -1;
    dir_put_image(d, &b, &made);
    dir_put_space(d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- of a disk in use ---------------------------------------------------------------------- */

/* The answer to "prepare": where the running guest must go on. */
static int answer_prepared(struct dir *d, const struct image *leaf, const struct image *base,
                           struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(d->sm->arena);
    const char *path = dir_full_path(d, leaf->name);

    if (!leaf->format->marks_hidden && !(path = dir_live_link(d, leaf, base->uuid, err))) return -1;
    value_put(&b, "params", value_string(path));
    value_put(&b, "format", value_string(leaf->format->name));
    value_put(&b, "base_uuid", value_string(arena_strdup(d->sm->arena, base->uuid)));
    value_put(&b, "base_params", value_string(dir_full_path(d, base->name)));
    *ret_answer = value_built_map(&b);
    return 0;
}

static int finish_online(struct dir *d, const struct image *leaf, const char *uuid, struct value *ret_answer,
                         struct xerr *err)
{
    const char *base_uuid = sm_param(d->sm, "base_uuid", "");
    struct image base;

    if (!dir_find_base(d, base_uuid, &base))
        return sm_fail(err, SM_BAD_REQUEST, "no base '%s' to finish on", base_uuid);
    if (dir_set_hidden(d, base.name, base.format, true, err) || hang_on(d, uuid, &base, leaf->size, err))
        return -1;
    dir_live_drop(d, leaf->uuid, true);
    return answer_made(d, leaf, &base, uuid, ret_answer, err);
}

/* The guest did not follow: the base gets its disk's name back, which drops the empty image that had it. */
static int abort_online(struct dir *d, const struct image *leaf, struct value *ret_answer, struct xerr *err)
{
    const char *base_uuid = sm_param(d->sm, "base_uuid", "");
    struct image base;

    if (!dir_find_base(d, base_uuid, &base) || !streq(leaf->parent, base.uuid) || !leaf->empty)
        return sm_fail(err, SM_BAD_REQUEST, "%s is not an empty image on base '%s'", leaf->uuid, base_uuid);
    if (renameat(d->fd, base.name, d->fd, leaf->name))
        return sm_fail_errno(err, SM_VDI_SNAPSHOT, "cannot rename %s/%s", d->path, base.name);
    *ret_answer = value_void();
    dir_live_drop(d, leaf->uuid, true);
    if (base.hidden && dir_set_hidden(d, leaf->name, leaf->format, false, err)) return -1;
    return dir_sync(d, err);
}

/* ---- commands ------------------------------------------------------------------------------ */

/* Of a disk that no guest writes to. */
static int snapshot_at_rest(struct dir *d, const struct image *leaf, const char *uuid, bool only_freeze,
                            struct value *ret_answer, struct xerr *err)
{
    struct image base;

    if (leaf->empty && *leaf->parent) { /* unchanged since it was frozen: stand beside it */
        if (only_freeze) return dir_answer_image(d, leaf->uuid, ret_answer, err);
        if (!dir_find_base(d, leaf->parent, &base))
            return sm_fail(err, SM_VDI_LOAD, "base %s is missing", leaf->parent);
        if (!base.hidden && dir_set_hidden(d, base.name, base.format, true, err)) return -1;
    } else {
        if (freeze(d, leaf, &base, err) || dir_set_hidden(d, base.name, base.format, true, err)) return -1;
        if (only_freeze) return dir_answer_image(d, leaf->uuid, ret_answer, err);
    }
    if (hang_on(d, uuid, &base, leaf->size, err)) return -1;
    return answer_made(d, leaf, &base, uuid, ret_answer, err);
}

int dir_vdi_snapshot(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *phase = sm_param(sm, "phase", ""), *uuid = sm_param(sm, "new_uuid", "");
    bool online = streq(sm_param(sm, "attached", ""), "rw");
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image leaf, base;
    struct ref bytes;

    if (!*uuid) uuid = dir_new_uuid(sm);
    if (!uuid_from_text(uuid, &bytes)) return sm_fail(err, SM_BAD_REQUEST, "new_uuid is no uuid: '%s'", uuid);
    if (dir_open_change(sm, &d, err) || dir_find_request(&d, true, &leaf, err)) return -1;
    if (streq(phase, "finish")) return finish_online(&d, &leaf, uuid, ret_answer, err);
    if (streq(phase, "abort")) return abort_online(&d, &leaf, ret_answer, err);

    if (!leaf.format->chains) {
        if (online)
            return sm_fail(err, SM_VDI_IN_USE, "%s is raw and in use: no snapshot while it is", leaf.uuid);
        return copy_raw(&d, &leaf, uuid, err) || dir_answer_image(&d, uuid, ret_answer, err) ? -1 : 0;
    }
    if (online && !streq(phase, "prepare"))
        return sm_fail(err, SM_VDI_IN_USE, "%s is in use: its snapshot needs the phases prepare and finish",
                       leaf.uuid);
    if (check_depth(&d, &leaf, err)) return -1;
    if (!online) return snapshot_at_rest(&d, &leaf, uuid, streq(phase, "freeze"), ret_answer, err);
    return freeze(&d, &leaf, &base, err) || answer_prepared(&d, &leaf, &base, ret_answer, err) ? -1 : 0;
}

/* A disk with on_boot=reset begins a new run of its VM: what the last run wrote goes. */
int dir_vdi_epoch_begin(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image leaf, base;

    *ret_answer = value_void();
    if (!streq(sm_param(sm, "vdi_on_boot", "persist"), "reset")) return 0;
    if (dir_open_change(sm, &d, err) || dir_find_request(&d, true, &leaf, err)) return -1;
    if (!*leaf.parent || !dir_find_base(&d, leaf.parent, &base))
        return sm_fail(err, SM_VDI_LOAD, "%s has no base to go back to", leaf.uuid);
    if (leaf.empty) return 0;
    if (dir_make_image(&d, leaf.name, leaf.format, leaf.size, &base, true, SM_VDI_CREATE, err)) return -1;
    return dir_sync(&d, err);
}
