/* The disks of a directory: create, delete, scan, resize, attach.
 * Called by: file.c, ext.c, dummy.c through dir.h.  Calls: dir.c, qemu-img. */
#include "sm/dir_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* ---- create -------------------------------------------------------------------------------- */

/* A repository that another toolstack made keeps that one's format. */
static const char *default_format(struct dir *d)
{
    const char *wish = value_get_str(sm_map(d->sm, "sr_sm_config"), "image-format", "");

    if (*wish) return wish;
    return *dir_read_mark(d->sm, d->path) ? "qcow2" : "vhd";
}

static bool exists(struct dir *d, const char *uuid)
{
    for (size_t i = 0; image_formats[i]; i++)
        if (!faccessat(d->fd, dir_leaf_name(d, uuid, image_formats[i]), F_OK, AT_SYMLINK_NOFOLLOW))
            return true;
    return false;
}

int dir_vdi_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *uuid = *sm->vdi_uuid ? sm->vdi_uuid : dir_new_uuid(sm);
    _cleanup_dir_ struct dir d = DIR_INIT;
    const struct image_format *f;
    int64_t size = 0;

    if (dir_open_change(sm, &d, err) || image_choose(sm, default_format(&d), &f, err) ||
        image_wanted_size(sm, f, &size, err)) return -1;
    if (exists(&d, uuid)) return sm_fail(err, SM_VDI_EXISTS, "%s is in %s already", uuid, d.path);
    if (dir_make_image(&d, dir_leaf_name(&d, uuid, f), f, size, NULL, false, SM_VDI_CREATE, err) ||
        dir_sync(&d, err))
        return -1;
    return dir_answer_image(&d, uuid, ret_answer, err);
}

/* ---- delete -------------------------------------------------------------------------------- */

#define DEAD "dead-"

/* The bases that only this image needs, from the top down. None when some image cannot be read: it might
 * need them. */
static size_t lonely_bases(struct dir *d, const struct images *all, const struct image *top,
                           const char *ret_names[DIR_MAX_CHAIN])
{
    const char *gone = top->name, *parent = top->parent;
    struct image base;
    size_t n = 0;

    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].broken && !all->list[i].missing_parent) return 0;
    while (*parent && n < DIR_MAX_CHAIN && !chain_has_children(all, parent, gone) &&
           dir_find_base(d, parent, &base)) {
        ret_names[n++] = gone = base.name;
        parent = arena_strdup(d->sm->arena, base.parent);
    }
    return n;
}

/* The request may name disks that are said to stand on the same base. One that does is proof that the base is needed, without
 * a look at every image there is. */
static bool has_sibling(struct dir *d, const struct image *im)
{
    const struct value *list = value_get(&d->sm->request, "siblings");
    struct image other;

    for (size_t i = 0; list && list->kind == VALUE_SET && i < list->set.n; i++) {
        _cleanup_xerr_ struct xerr none = XERR_INIT;
        const struct value *v = &list->set.items[i];
        struct ref bytes;
        if (v->kind != VALUE_STRING || !uuid_from_text(v->s, &bytes) || streq(v->s, im->uuid)) continue;
        if ((dir_find_leaf(d, v->s, false, &other, &none) == 0 || dir_find_base(d, v->s, &other)) && !other.broken &&
            streq(other.parent, im->parent))
            return true;
    }
    return false;
}

/* Removes a disk that is called dead- already and the bases that only it needed: the deepest first and
 * the disk's own name last, so that what is left always says how to go on. */
static int bury(struct dir *d, const char *dead, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    const char *bases[DIR_MAX_CHAIN];
    struct image im;

    if (!dir_parse_name(dead + strlen(DEAD), &im) || !dir_load(d, dead, false, &im)) return 0;
    const bool alone = *im.parent && !has_sibling(d, &im);
    if (alone && dir_list(d, &all, err)) return -1;
    for (size_t n = alone ? lonely_bases(d, &all, &im, bases) : 0; n; n--) {
        if (unlinkat(d->fd, bases[n - 1], 0))
            return sm_fail_errno(err, SM_VDI_REMOVE, "cannot remove %s/%s", d->path, bases[n - 1]);
        if (sm_step("sm.base-removed")) return sm_fail_errno(err, SM_VDI_REMOVE, "%s", bases[n - 1]);
    }
    if (unlinkat(d->fd, dead, 0))
        return sm_fail_errno(err, SM_VDI_REMOVE, "cannot remove %s/%s", d->path, dead);
    return 0;
}

/* The image goes, in one step for whoever looks. VDI_MISSING when there is none. */
static int delete_image(struct dir *d, bool with_log, struct xerr *err)
{
    struct image im = { 0 };
    const char *name = NULL;

    for (size_t i = 0; image_formats[i] && !name; i++) {
        name = dir_leaf_name(d, d->sm->vdi_uuid, image_formats[i]);
        if (!dir_parse_name(name, &im) || !dir_load(d, name, false, &im)) name = NULL;
    }
    if (!name) return sm_fail_missing(d->sm, err);
    if (im.hidden) return sm_fail(err, SM_VDI_IN_USE, "%s is what other disks stand on", im.uuid);
    dir_live_drop(d, im.uuid, false);
    if (with_log && track_drop(dir_tracker(d), im.uuid, err)) return -1;
    if (!im.format->chains) {
        if (unlinkat(d->fd, name, 0))
            return sm_fail_errno(err, SM_VDI_REMOVE, "cannot remove %s/%s", d->path, name);
        return dir_sync(d, err);
    }
    const char *dead = arena_printf(d->sm->arena, DEAD "%s", name);
    if (renameat(d->fd, name, d->fd, dead))
        return sm_fail_errno(err, SM_VDI_REMOVE, "cannot rename %s", name);
    if (sm_step("sm.disk-dead")) return sm_fail_errno(err, SM_VDI_REMOVE, "%s", dead);
    return bury(d, dead, err) ? -1 : dir_sync(d, err);
}

static int answer_space(struct dir *d, struct value *ret_answer)
{
    struct value_builder b = value_builder(d->sm->arena);

    dir_put_space(d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

int dir_vdi_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    _cleanup_dir_ struct dir d = DIR_INIT;

    if (dir_open_change(sm, &d, err)) return -1;
    if (delete_image(&d, true, &why)) {
        /* Of a disk whose data were destroyed the log is all there is. */
        if (!xerr_is(&why, "VDI_MISSING") || !track_has(dir_tracker(&d), sm->vdi_uuid)) return xerr_move(err, &why);
        if (track_drop(dir_tracker(&d), sm->vdi_uuid, err)) return -1;
    }
    return answer_space(&d, ret_answer);
}

int dir_vdi_data_destroy(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    _cleanup_dir_ struct dir d = DIR_INIT;

    if (dir_open_change(sm, &d, err)) return -1;
    if (!track_has(dir_tracker(&d), sm->vdi_uuid))
        return sm_fail(err, SM_VDI_TYPE, "%s has no log of changed blocks", sm->vdi_uuid);
    if (delete_image(&d, false, &why) && !xerr_is(&why, "VDI_MISSING")) return xerr_move(err, &why);
    return answer_space(&d, ret_answer);
}

/* ---- scan ---------------------------------------------------------------------------------- */

/* A half-made image. When it was to take the place of a disk that got a second name as its base, that name goes too: the
 * disk is not frozen yet. */
static void drop_tmp(struct dir *d, const char *tmp)
{
    const char *leaf = tmp + strlen(TMP);
    struct image im, base;
    struct stat a, b;

    if (!dir_parse_name(leaf, &im)) {
        if (track_is_log(leaf, im.uuid)) unlinkat(d->fd, tmp, 0);
        return;
    }
    if (im.format->chains && dir_load(d, tmp, false, &im) && *im.parent &&
        dir_find_base(d, im.parent, &base) && fstatat(d->fd, leaf, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
        fstatat(d->fd, base.name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino)
        unlinkat(d->fd, base.name, 0);
    unlinkat(d->fd, tmp, 0);
}

/* Somebody writes to an image that stands on this one, so nobody writes to this one any more. While its only child is
 * empty it may be a snapshot's work to mark it. */
static bool grown_on(struct dir *d, const struct images *all, const char *base)
{
    for (size_t i = 0; i < all->n; i++) {
        struct image im;
        if (streq(all->list[i].parent, base) && dir_parse_name(all->list[i].name, &im) &&
            dir_load(d, all->list[i].name, true, &im) && !im.broken && !im.empty)
            return true;
    }
    return false;
}

/* Ends what a killed driver had begun: half-made images, deletions, freezes, a base that is not marked as one. Nothing
 * else is ever removed or written. */
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
        if (has_prefix(e->d_name, TMP))
            drop_tmp(d, e->d_name);
        else if (has_prefix(e->d_name, MERGED))
            rc = dir_end_merge(d, e->d_name, err);
        else if (has_prefix(e->d_name, DEAD) && dir_parse_name(e->d_name + strlen(DEAD), &im))
            rc = bury(d, e->d_name, err);
    }
    closedir(dir);
    if (rc || track_repair(dir_tracker(d), err) || dir_list(d, &all, err)) return -1;
    for (size_t i = 0; i < all.n; i++) {
        const struct image *im = &all.list[i];
        if (im->format->marks_hidden && !im->hidden && !im->broken && grown_on(d, &all, im->uuid) &&
            dir_set_hidden(d, im->name, im->format, true, err))
            return -1;
    }
    return 0;
}

int dir_sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct value_builder b = value_builder(sm->arena), vdis = b;

    if (dir_open_ours(sm, &d, err) || repair(&d, err) || dir_list(&d, &all, err)) return -1;
    chain_hide_bases(&all);
    for (size_t i = 0; i < all.n; i++) {
        struct value_builder vdi = value_builder(sm->arena);
        if (all.list[i].broken && !all.list[i].missing_parent)
            continue; /* not an image: left alone, not shown */
        dir_put_image(&d, &vdi, &all.list[i]);
        if (all.list[i].broken) value_put(&vdi, "broken", value_string(all.list[i].broken));
        value_push(&vdis, value_built_map(&vdi));
    }
    if (track_list(dir_tracker(&d), &all, &vdis, err)) return -1;
    value_put(&b, "vdis", value_built_set(&vdis));
    dir_put_space(&d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

int dir_sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;

    return dir_open(sm, &d, err) ? -1 : answer_space(&d, ret_answer);
}

/* ---- one disk ------------------------------------------------------------------------------ */

/* A format that QEMU does not write. Whoever serves the disk has its own idea of the size. */
static int resize_own(struct dir *d, const struct image *im, int64_t size, struct xerr *err)
{
    if (*sm_param(d->sm, "attached", ""))
        return sm_fail(err, SM_VDI_IN_USE, "%s is in use: a %s grows at rest only", im->uuid,
                       im->format->name);
    _cleanup_close_ int fd = openat(d->fd, im->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || im->format->resize(fd, size))
        return sm_fail_errno(err, SM_VDI_RESIZE, "cannot grow %s/%s", d->path, im->name);
    return 0;
}

/* The answer after the image may have grown. Changed blocks that can no longer be tracked are not worth more than the size. */
static int answer_grown(struct dir *d, const char *uuid, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(d->sm->arena);
    struct image im;

    if (dir_find_leaf(d, uuid, false, &im, err)) return -1;
    track_resized(dir_tracker(d), &im, &b);
    dir_put_image(d, &b, &im);
    dir_put_space(d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

int dir_vdi_resize(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image im;
    int64_t size = 0;

    if (dir_open_change(sm, &d, err) || dir_find_request(&d, false, &im, err) || image_larger_size(sm, im.format, im.size, &size, err))
        return -1;
    if (size > im.size) {
        const char *bytes = arena_printf(sm->arena, "%lld", (long long)size);
        const char *argv[] = { "qemu-img", "resize", "-q", "-f", im.format->qemu, dir_full_path(&d, im.name),
                               bytes,      NULL };
        if (im.format->resize ? resize_own(&d, &im, size, err) : sm_run(sm, argv, NULL, SM_VDI_RESIZE, err))
            return -1;
    }
    return answer_grown(&d, im.uuid, ret_answer, err);
}

/* Whoever has the image open grows it: the file gets longer by itself. */
int dir_vdi_resize_online(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image im;
    int64_t size = 0;

    if (dir_open_change(sm, &d, err) || dir_find_request(&d, false, &im, err) || image_larger_size(sm, im.format, im.size, &size, err))
        return -1;
    return dir_answer_image(&d, im.uuid, ret_answer, err);
}

int dir_vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct value_builder b = value_builder(sm->arena);
    const bool writable = streq(sm_arg(sm, 0), "true");
    struct image im;

    if ((writable ? dir_open_change(sm, &d, err) : dir_open_ours(sm, &d, err)) || dir_find_request(&d, false, &im, err))
        return -1;
    value_put(&b, "params", value_string(dir_full_path(&d, im.name)));
    value_put(&b, "format", value_string(im.format->name));
    if (writable && im.format == &image_qcow2) {
        /* A guest that is on its way here has its names open where it comes from. */
        if (!dir_live_is_used(&d, im.uuid)) dir_live_drop(&d, im.uuid, false);
        if (!dir_live_link(&d, &im, NULL, err)) return -1;
    }
    if (writable && !track_open(dir_tracker(&d), &im))
        value_put(&b, "cbt_alert", value_string("VDI_CBT_METADATA_INCONSISTENT"));
    *ret_answer = value_built_map(&b);
    return 0;
}

/* A folder that has gone is no reason to keep a disk. */
int dir_vdi_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    _cleanup_dir_ struct dir d = DIR_INIT;

    (void)err;
    *ret_answer = value_void();
    if (dir_open_ours(sm, &d, &ignored)) return 0;
    track_close(dir_tracker(&d), sm->vdi_uuid);
    if (!dir_live_is_used(&d, sm->vdi_uuid)) dir_live_drop(&d, sm->vdi_uuid, false);
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
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct ref bytes;

    if (!uuid_from_text(location, &bytes)) return sm_fail_missing(sm, err);
    return dir_open_ours(sm, &d, err) || dir_answer_image(&d, location, ret_answer, err) ? -1 : 0;
}

int dir_vdi_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image im;

    if (dir_open_ours(sm, &d, err) || dir_find_request(&d, false, &im, err)) return -1;
    return answer_grown(&d, im.uuid, ret_answer, err);
}

/* Nothing on disk says that the agent knows a disk: the next scan finds it again. */
int dir_vdi_forget(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return dir_vdi_nothing(sm, ret_answer, err);
}

/* ---- the driver ---------------------------------------------------------------------------- */

int dir_sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_string("");
    return 0;
}

const char *const dir_features[] = { DIR_FEATURES, NULL };
const char *const dir_formats[] = { "qcow2", "vhd", "raw", NULL };
