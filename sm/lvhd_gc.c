/* Merging what deleted snapshots leave in volumes. dir_gc.c says which and why; here is what differs.
 * Called by: lvm.c, lvmoiscsi.c, lvmohba.c through lvhd.h.  Calls: lvhd.c.
 *
 * sr_gc_prepare activates both volumes and gives the parent room for all that it may get, before image-merge copies.
 *
 *   inner (T hidden): 2. tag T with what it was merged into. 3. P becomes the parent of T's children. 4. remove T. Killed
 *       after 2: a scan goes on at 3.
 *   leaf (T a disk at rest): 2. if T was not attached for writing since 1 began: P is no longer hidden; T is renamed to
 *       dead-T, P to T; dead-T is removed. Killed between: a scan goes on. */
#include "sm/lvhd_private.h"

#include "lib/map.h"

#include <errno.h>

static struct value describe(struct lvhd *r, const struct images *all, const struct image *top)
{
    struct value_builder b = value_builder(r->sm->arena);
    const struct image *base = chain_find(all, top->parent);

    value_put(&b, "top", value_string(arena_strdup(r->sm->arena, top->uuid)));
    value_put(&b, "base", value_string(arena_strdup(r->sm->arena, base->uuid)));
    value_put(&b, "format", value_string(top->format->name));
    value_put(&b, "top_path", value_string(vg_path(&r->vg, top->name)));
    value_put(&b, "base_path", value_string(vg_path(&r->vg, base->name)));
    value_put(&b, "bytes", value_int(top->used));
    value_put(&b, "leaf", value_bool(!top->hidden));
    value_put(&b, "stamp", value_string(top->hidden ? "" : lvhd_stamp(r->sm, top->uuid)));
    return value_built_map(&b);
}

/* A snapshot of a disk in use may have been ended between its steps: then the guest writes to the base still, under an image
 * that stays empty. Until a disk in use has data of its own nobody knows, and its base stays. */
static bool may_be_written(struct lvhd *r, const struct images *all, const struct image *top)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    bool empty = true;

    for (size_t i = 0; i < all->n; i++) {
        const struct image *im = &all->list[i];
        if (!streq(im->parent, top->uuid) || !chain_is_attached(r->sm, im->uuid)) continue;
        if (lvhd_is_empty(r, im, &empty, &ignored) || empty) return true;
    }
    return false;
}

static bool can_merge(struct lvhd *r, const struct images *all, const struct image *top)
{
    if (!top->hidden && track_has(lvhd_tracker(r), top->uuid)) return false; /* see track.c */
    return chain_can_merge(r->sm, all, top) && !may_be_written(r, all, top);
}

/* What a scan would end, by name: while it is there nothing is merged around it. A guest's engine that has an image open which
 * was merged closes it when the guest ends: *ret_waiting. */
static struct value unfinished(struct lvhd *r, const struct images *all, bool *ret_waiting)
{
    _cleanup_(map_freep) struct map *parents = chain_parents(all);
    struct value_builder names = value_builder(r->sm->arena);

    for (size_t i = 0; i < all->n; i++) {
        const struct image *im = &all->list[i];
        const bool alone = !map_get(parents, im->uuid);
        if (!lvhd_is_unfinished(im, parents)) continue;
        if (im->merged && alone) vg_deactivate(&r->vg, im->name);
        if (im->merged && alone && vg_is_active(&r->vg, im->name))
            *ret_waiting = true;
        else if (im->merged || !im->hidden || !lvhd_in_use(r->sm, im->uuid))
            value_push(&names, value_string(arena_strdup(r->sm->arena, im->name)));
    }
    return value_built_set(&names);
}

int lvhd_sr_gc_plan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena), merges = b;
    bool waiting = false;

    if (lvhd_open(sm, false, &r, err)) return -1;
    lvhd_list(&r, &all);
    for (size_t i = 0; chain_readable(&all) && i < all.n; i++)
        if (can_merge(&r, &all, &all.list[i])) value_push(&merges, describe(&r, &all, &all.list[i]));
    value_put(&b, "merges", value_built_set(&merges));
    value_put(&b, "prepare", value_bool(true));
    value_put(&b, "unfinished", unfinished(&r, &all, &waiting));
    value_put(&b, "waiting", value_bool(waiting));
    *ret_answer = value_built_map(&b);
    return 0;
}

/* The two of the request: args top, base. Much may have happened since they were planned. */
static int find_two(struct lvhd *r, const struct images *all, const struct image **ret_top,
                    const struct image **ret_base, struct xerr *err)
{
    const char *top = sm_arg(r->sm, 0), *base = sm_arg(r->sm, 1);

    *ret_top = chain_find(all, top);
    *ret_base = chain_find(all, base);
    if (!*ret_top || !*ret_base || !streq((*ret_top)->parent, base) || !chain_readable(all) ||
        !can_merge(r, all, *ret_top))
        return sm_fail(err, SM_VDI_IN_USE, "%s can no longer be merged into %s", top, base);
    return 0;
}

int lvhd_sr_gc_prepare(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct image *chain = arena_new_array(sm->arena, struct image, LVHD_MAX_CHAIN);
    const char **names = arena_new_array(sm->arena, const char *, LVHD_MAX_CHAIN);
    const struct image *top, *base;

    *ret_answer = value_void();
    if (lvhd_open(sm, true, &r, err)) return -1;
    lvhd_list(&r, &all);
    if (find_two(&r, &all, &top, &base, err)) return -1;
    /* QEMU wants all of a chain, also where it changes but one. */
    const size_t n = lvhd_chain(&r, top, chain);
    for (size_t i = 0; i < n; i++) names[i] = chain[i].name;
    int64_t room = base->used + top->used + lvhd_small_size(top->format, top->size),
            most = lvhd_full_size(top->format, top->size > base->size ? top->size : base->size);
    if (room > most) room = most;
    if (room > base->used && lvhd_give_room(&r, base, room, SM_NO_SPACE, err)) return -1;
    lvhd_note_merge(sm, top->uuid);
    return vg_activate(&r.vg, names, n, err);
}

/* ---- the end of one ------------------------------------------------------------------------ */

static void drop_notes(struct lvhd *r, const char *uuid)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    _cleanup_mgt_ struct mgt m = MGT_INIT;

    mgt_open(&r->vg, &m);
    mgt_drop(&m, uuid, &ignored);
}

/* Steps 3 and 4; the logs of changed blocks first. */
int lvhd_end_merge(struct lvhd *r, const struct images *all, const struct image *top, const char *base_uuid,
                   bool let_go, struct xerr *err)
{
    const struct image *base = chain_find(all, base_uuid);

    if (!base && chain_has_children(all, top->uuid, ""))
        return sm_fail(err, SM_VDI_LOAD, "%s was merged into %s, which is missing", top->name, base_uuid);
    if (!chain_readable(all)) return sm_fail(err, SM_VDI_LOAD, "an image in %s cannot be read", r->vg.name);
    if (chain_has_children(all, top->uuid, "") && track_merge(lvhd_tracker(r), top, base, err)) return -1;
    for (size_t i = 0; i < all->n; i++) {
        if (!streq(all->list[i].parent, top->uuid)) continue;
        if (lvhd_set_parent(r, &all->list[i], base, err)) return -1;
        if (sm_step("sm.merge-relinked")) return sm_fail_errno(err, SM_IO, "%s", all->list[i].name);
    }
    /* Servers of the children have it open until they look anew; the scan after that removes it. */
    if (let_go)
        vg_release(&r->vg, top->name);
    else
        vg_deactivate(&r->vg, top->name);
    if (!vg_is_active(&r->vg, top->name) && vg_remove_lv(&r->vg, top->name, err)) return -1;
    drop_notes(r, top->uuid);
    return 0;
}

static void give_back(struct lvhd *r, const struct image *base)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct image *chain = arena_new_array(r->sm->arena, struct image, LVHD_MAX_CHAIN);
    int64_t used;

    if (lvhd_used(r, base, &used, &ignored) == 0) lvhd_give_room(r, base, used, SM_IO, &ignored);
    lvhd_let_go(r, chain, lvhd_chain(r, base, chain));
}

static int finish_inner(struct lvhd *r, const struct images *all, const struct image *top,
                        const struct image *base, struct xerr *err)
{
    const char *tag = arena_printf(r->sm->arena, TAG_MERGED "%s", base->uuid);

    if (vg_tag_lv(&r->vg, top->name, tag, NULL, err) || lvhd_end_merge(r, all, top, base->uuid, false, err))
        return -1;
    give_back(r, base);
    return 0;
}

static int finish_leaf(struct lvhd *r, const struct image *top, const struct image *base, struct xerr *err)
{
    const char *dead = arena_printf(r->sm->arena, DEAD "%s", top->name);
    struct image *chain = arena_new_array(r->sm->arena, struct image, LVHD_MAX_CHAIN);
    const size_t n = lvhd_chain(r, top, chain);

    if (!streq(lvhd_stamp(r->sm, top->uuid), sm_arg(r->sm, 2)))
        return sm_fail(err, SM_VDI_IN_USE, "%s was written to since", top->uuid);
    /* Unmarked first: a hidden image that nothing stands on would be lost. */
    if (lvhd_set_hidden(r, base, false, err) || sm_step("sm.merge-shown"))
        return err->code ? -1 : sm_fail_errno(err, SM_IO, "%s", base->name);
    vg_release(&r->vg, top->name);
    if (vg_rename_lv(&r->vg, top->name, dead, err) || vg_rename_lv(&r->vg, base->name, top->name, err) ||
        vg_remove_lv(&r->vg, dead, err))
        return -1;
    vg_release(&r->vg, top->name);
    if (n > 2) lvhd_let_go(r, chain + 2, n - 2);
    drop_notes(r, base->uuid);
    return 0;
}

/* args: top, base, stamp of the plan. */
int lvhd_sr_gc_finish(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena);
    const struct image *top, *base;

    lvhd_note_merge(sm, "");
    if (lvhd_open(sm, true, &r, err)) return -1;
    lvhd_list(&r, &all);
    if (find_two(&r, &all, &top, &base, err)) return -1;
    if (top->hidden ? finish_inner(&r, &all, top, base, err) : finish_leaf(&r, top, base, err)) return -1;
    lvhd_put_space(&r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}
