/* Merging what deleted snapshots leave: which images of a directory can go, and how they do.
 * Called by: file.c, ext.c, dummy.c through dir.h.  Calls: dir.c.
 *
 * An image T can be merged into its parent P when P is hidden and T its only child: then nobody sees P but through T.
 *
 *   inner (T hidden): 1. copy T's data into P, while disks that stand on T are read and written as always: what P gets, T
 *       has, and T is asked first. 2. write the journal merged-T. 3. P becomes the parent of T's children. 4. remove T, then
 *       the journal. Killed in 1: P has some of T's data, which harms nobody. Killed later: a scan goes on at 3.
 *   leaf (T a disk at rest): 1. as above. 2. if T is as it was when 1 began and nobody has it: P takes T's name.
 *
 * Step 1 may take hours, so it is no command of a driver: image-merge does it without any lock, when the agent says so. */
#include "sm/dir_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { JOURNAL_LIMIT = 256 };

/* ---- which --------------------------------------------------------------------------------- */

/* A snapshot of a disk in use may have been ended between "prepare" and "finish": then the guest writes to this base still, and
 * what it writes after the copy would be lost. Until the snapshot is finished a qcow2 has the name by which the guest opened it,
 * and a VHD is not marked. */
static bool may_be_written(struct dir *d, const struct images *all, const struct image *top)
{
    struct image now;
    bool attached = false;

    for (size_t i = 0; i < all->n; i++)
        attached |= streq(all->list[i].parent, top->uuid) && chain_is_attached(d->sm, all->list[i].uuid);
    if (!attached || !top->hidden) return false;
    if (!dir_parse_name(top->name, &now) || !dir_load(d, top->name, false, &now)) return true;
    return top->format->marks_hidden ? !now.hidden : now.links > 1;
}

/* A disk whose changed blocks are tracked keeps its base: see track.c. */
static bool can_merge(struct dir *d, const struct images *all, const struct image *top)
{
    return chain_can_merge(d->sm, all, top) && (top->hidden || !track_has(dir_tracker(d), top->uuid)) && !may_be_written(d, all, top);
}

/* What tells whether a disk was written to since. */
static const char *stamp_of(struct dir *d, const struct image *im)
{
    struct stat st;

    if (fstatat(d->fd, im->name, &st, AT_SYMLINK_NOFOLLOW)) return "";
    return arena_printf(d->sm->arena, "%llu %lld.%09ld", (unsigned long long)st.st_ino,
                        (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static struct value describe(struct dir *d, const struct images *all, const struct image *top)
{
    struct value_builder b = value_builder(d->sm->arena);
    const struct image *base = chain_find(all, top->parent);
    const char *owner = "", *owner_path = dir_owner_file(d, &owner);

    value_put(&b, "top", value_string(arena_strdup(d->sm->arena, top->uuid)));
    value_put(&b, "base", value_string(arena_strdup(d->sm->arena, base->uuid)));
    value_put(&b, "format", value_string(top->format->name));
    value_put(&b, "top_path", value_string(dir_full_path(d, top->name)));
    value_put(&b, "base_path", value_string(dir_full_path(d, base->name)));
    value_put(&b, "bytes", value_int(top->used));
    value_put(&b, "leaf", value_bool(!top->hidden));
    value_put(&b, "stamp", value_string(top->hidden ? "" : stamp_of(d, top)));
    value_put(&b, "owner_path", value_string(owner_path));
    value_put(&b, "owner", value_string(owner));
    return value_built_map(&b);
}

int dir_sr_gc_plan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct value_builder b = value_builder(sm->arena), merges = b;

    if (dir_open_ours(sm, &d, err) || dir_list(&d, &all, err)) return -1;
    chain_hide_bases(&all);
    for (size_t i = 0; chain_readable(&all) && i < all.n; i++)
        if (can_merge(&d, &all, &all.list[i])) value_push(&merges, describe(&d, &all, &all.list[i]));
    value_put(&b, "merges", value_built_set(&merges));
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- the end of one ------------------------------------------------------------------------ */

static int hang_under(struct dir *d, const struct image *child, const struct image *base, struct xerr *err)
{
    _cleanup_close_ int fd = openat(d->fd, child->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || child->format->set_parent(fd, base->name, base->id))
        return sm_fail_errno(err, SM_IO, "cannot hang %s/%s under %s", d->path, child->name, base->name);
    return sm_step("sm.merge-relinked") ? sm_fail_errno(err, SM_IO, "%s", child->name) : 0;
}

/* Steps 3 and 4; the logs of changed blocks first. */
static int relink(struct dir *d, const char *journal, const struct image *top, const struct image *base,
                  struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };

    if (dir_list(d, &all, err)) return -1;
    if (!chain_readable(&all)) return sm_fail(err, SM_VDI_LOAD, "an image in %s cannot be read", d->path);
    if (track_merge(dir_tracker(d), top, base, err)) return -1;
    for (size_t i = 0; i < all.n; i++)
        if (streq(all.list[i].parent, top->uuid) && hang_under(d, &all.list[i], base, err)) return -1;
    if (unlinkat(d->fd, top->name, 0))
        return sm_fail_errno(err, SM_VDI_REMOVE, "cannot remove %s/%s", d->path, top->name);
    if (sm_step("sm.merge-removed") || dir_sync(d, err) || unlinkat(d->fd, journal, 0))
        return err->code ? -1 : sm_fail_errno(err, SM_VDI_REMOVE, "%s/%s", d->path, journal);
    return 0;
}

int dir_end_merge(struct dir *d, const char *name, struct xerr *err)
{
    _cleanup_free_ char *text = NULL;
    struct image top, base;
    struct ref bytes;

    if (!uuid_from_text(name + strlen(MERGED), &bytes)) return 0;
    if (read_file(dir_full_path(d, name), JOURNAL_LIMIT, &text, NULL))
        return sm_fail_errno(err, SM_IO, "cannot read %s/%s", d->path, name);
    text[strcspn(text, "\n")] = '\0';
    if (!dir_find_base(d, name + strlen(MERGED), &top)) { /* removed already */
        unlinkat(d->fd, name, 0);
        return 0;
    }
    if (!uuid_from_text(text, &bytes) || !dir_find_base(d, text, &base))
        return sm_fail(err, SM_VDI_LOAD, "%s/%s names no base: '%s'", d->path, name, text);
    return relink(d, name, &top, &base, err);
}

static int finish_inner(struct dir *d, const struct image *top, const char *base_uuid, struct xerr *err)
{
    const char *journal = arena_printf(d->sm->arena, MERGED "%s", top->uuid);
    const char *text = arena_printf(d->sm->arena, "%s\n", base_uuid);

    if (write_file_atomic(dir_full_path(d, journal), text, strlen(text), 0600))
        return sm_fail_errno(err, SM_IO, "cannot write %s/%s", d->path, journal);
    if (sm_step("sm.merge-noted")) return sm_fail_errno(err, SM_IO, "%s", journal);
    return dir_end_merge(d, journal, err);
}

static int finish_leaf(struct dir *d, const struct image *top, const struct image *base, struct xerr *err)
{
    if (!streq(stamp_of(d, top), sm_arg(d->sm, 2)))
        return sm_fail(err, SM_VDI_IN_USE, "%s was written to since", top->uuid);
    /* Unmarked first: a hidden image that nothing stands on would be lost. */
    if (dir_set_hidden(d, base->name, base->format, false, err)) return -1;
    if (sm_step("sm.merge-shown")) return sm_fail_errno(err, SM_IO, "%s", base->name);
    if (renameat(d->fd, base->name, d->fd, top->name))
        return sm_fail_errno(err, SM_VDI_REMOVE, "cannot rename %s/%s", d->path, base->name);
    return dir_sync(d, err);
}

/* args: top, base, stamp of the plan. Everything is looked at again: much may have happened since. */
int dir_sr_gc_finish(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *top_uuid = sm_arg(sm, 0), *base_uuid = sm_arg(sm, 1);
    _cleanup_images_ struct images all = { 0 };
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct value_builder b = value_builder(sm->arena);

    if (dir_open_change(sm, &d, err) || dir_list(&d, &all, err)) return -1;
    chain_hide_bases(&all);
    const struct image *top = chain_find(&all, top_uuid), *base = chain_find(&all, base_uuid);
    if (!top || !base || !streq(top->parent, base->uuid) || !chain_readable(&all) || !can_merge(&d, &all, top))
        return sm_fail(err, SM_VDI_IN_USE, "%s can no longer be merged into %s", top_uuid, base_uuid);
    if (top->hidden ? finish_inner(&d, top, base->uuid, err) : finish_leaf(&d, top, base, err)) return -1;
    dir_put_space(&d, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}
