/* Snapshots and clones of disks in volumes. lvhd.h numbers the steps.
 * Called by: lvm.c, lvmoiscsi.c, lvmohba.c through lvhd.h.  Calls: lvhd.c. */
#include "sm/lvhd_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static int check_depth(struct lvhd *r, const struct image *leaf, struct xerr *err)
{
    struct image *chain = arena_new_array(r->sm->arena, struct image, LVHD_MAX_CHAIN);
    const size_t n = lvhd_chain(r, leaf, chain);
    const int most = leaf->format->chains ? leaf->format->max_depth : image_vhd.max_depth;

    if (!n) return sm_fail(err, SM_VDI_LOAD, "%s: what it stands on is missing", leaf->uuid);
    if (n + 1 >= (size_t)most)
        return sm_fail(err, SM_CHAIN_TOO_LONG, "%s stands on %zu images", leaf->uuid, n);
    return 0;
}

/* VHDs stand on bare disks; everything else stands on its own kind. */
static const struct image_format *format_on(const struct image *base)
{
    return base->format == &image_raw ? &image_vhd : base->format;
}

/* Steps 1 to 3: what leaf held is the base now, and leaf is a new empty image on it. */
static int freeze(struct lvhd *r, struct image *leaf, bool online, struct image *ret_base, struct xerr *err)
{
    const struct image_format *f = format_on(leaf);
    const int64_t room = online ? lvhd_full_size(f, leaf->size) : lvhd_small_size(f, leaf->size);
    const char *name = lvhd_volume(r->sm, leaf->uuid, f), *tmp = arena_printf(r->sm->arena, TMP "%s", name);
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct image base = *leaf;

    uuid_new(base.uuid);
    base.name = lvhd_volume(r->sm, base.uuid, base.format);
    base.hidden = true;
    if (lvhd_make(r, tmp, f, leaf->size, room, &base, ref_new(), online, err)) return -1;
    if (vg_rename_lv(&r->vg, leaf->name, base.name, err)) {
        vg_remove_lv(&r->vg, tmp, &ignored);
        return -1;
    }
    if (vg_rename_lv(&r->vg, tmp, name, err)) return -1; /* a scan goes on here */
    leaf->format = f;
    leaf->name = name;
    leaf->used = room;
    memcpy(leaf->parent, base.uuid, sizeof(leaf->parent));
    *ret_base = base;
    return 0;
}

static void add_notes(struct lvhd *r, const char *uuid, const struct image *leaf, const char *name,
                      bool managed)
{
    const bool snapshot = managed && streq(r->sm->command, "vdi_snapshot");
    _cleanup_xerr_ struct xerr ignored = XERR_INIT; /* the disk is there all the same */
    _cleanup_mgt_ struct mgt m = MGT_INIT;
    const struct mgt_vdi notes = {
        .uuid = uuid,
        .name_label = name,
        .name_description = "",
        .vdi_type = leaf->format == &image_raw ? "aio" : leaf->format->name,
        .type = sm_param(r->sm, "vdi_type", "user"),
        .snapshot_of = snapshot ? leaf->uuid : "",
        .snapshot_time = snapshot ? "19700101T00:00:00Z" : "",
        .is_a_snapshot = snapshot,
        .managed = managed,
    };

    mgt_open(&r->vg, &m);
    mgt_add(&m, &notes, &ignored);
}

/* Step 4. The room that a base does not use comes back; it is none of the snapshot's business when that fails. */
static int hide(struct lvhd *r, const struct image *base, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    int64_t used;

    if (lvhd_set_hidden(r, base, true, err)) return -1;
    add_notes(r, base->uuid, base, "base copy", false);
    if (base->format != &image_raw && lvhd_used(r, base, &used, &ignored) == 0 && vg_round(used) < base->used)
        lvhd_give_room(r, base, used, SM_IO, &ignored);
    return 0;
}

/* Step 5, and the answer: the new disk. */
static int hang_on(struct lvhd *r, const char *uuid, const struct image *base, const struct image *leaf,
                   struct value *ret_answer, struct xerr *err)
{
    const struct image_format *f = format_on(base);
    struct value_builder b = value_builder(r->sm->arena);
    struct image im = { .format = f, .size = leaf->size, .used = lvhd_small_size(f, leaf->size) };

    memcpy(im.uuid, uuid, UUID_TEXT);
    memcpy(im.parent, base->uuid, UUID_TEXT);
    if (!uuid_from_text(uuid, &im.id)) return sm_fail(err, SM_BAD_REQUEST, "new_uuid is no uuid: '%s'", uuid);
    if (lvhd_make(r, lvhd_volume(r->sm, uuid, f), f, leaf->size, im.used, base, im.id, false, err)) return -1;
    add_notes(r, uuid, leaf, "", true);
    track_made(lvhd_tracker(r), leaf->uuid, uuid, base, &b);
    lvhd_put_image(r, &b, &im);
    lvhd_put_space(r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- of a disk in use ---------------------------------------------------------------------- */

static int answer_prepared(struct lvhd *r, const struct image *leaf, const struct image *base,
                           struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(r->sm->arena);
    const char *path = vg_path(&r->vg, leaf->name);

    if (leaf->format == &image_qcow2 && !(path = lvhd_live_link(r, leaf, base->uuid, err))) return -1;
    value_put(&b, "params", value_string(path));
    value_put(&b, "format", value_string(leaf->format->name));
    value_put(&b, "base_uuid", value_string(arena_strdup(r->sm->arena, base->uuid)));
    value_put(&b, "base_params", value_string(vg_path(&r->vg, base->name)));
    *ret_answer = value_built_map(&b);
    return 0;
}

static int find_base(struct lvhd *r, const struct image *leaf, struct image *ret_base, struct xerr *err)
{
    const char *uuid = sm_param(r->sm, "base_uuid", "");

    if (!streq(leaf->parent, uuid))
        return sm_fail(err, SM_BAD_REQUEST, "%s does not stand on '%s'", leaf->uuid, uuid);
    return lvhd_find(r, uuid, ret_base, err);
}

/* The guest did not follow: the base gets its disk's name back. */
static int abort_online(struct lvhd *r, const struct image *leaf, struct value *ret_answer, struct xerr *err)
{
    const char *tmp = arena_printf(r->sm->arena, TMP "%s", leaf->name);
    struct image base;
    bool empty = false;

    *ret_answer = value_void();
    if (find_base(r, leaf, &base, err) || lvhd_is_empty(r, leaf, &empty, err)) return -1;
    if (!empty) return sm_fail(err, SM_BAD_REQUEST, "%s has data of its own", leaf->uuid);
    if (leaf->format == &image_qcow2)
        unlink(vg_path(&r->vg, arena_printf(r->sm->arena, LIVE "%s-%s", leaf->name, base.uuid)));
    if (base.hidden && lvhd_set_hidden(r, &base, false, err)) return -1;
    return vg_rename_lv(&r->vg, leaf->name, tmp, err) || vg_rename_lv(&r->vg, base.name, leaf->name, err) ||
                   vg_remove_lv(&r->vg, tmp, err)
               ? -1
               : 0;
}

/* ---- commands ------------------------------------------------------------------------------ */

/* What a disk at rest was becomes a base, unless it has nothing of its own since it was frozen: then *ret_base is what it stands
 * on. *ret_volume: the volume that was the disk's when this began. */
static int find_or_make_base(struct lvhd *r, struct image *leaf, struct image *ret_base,
                             const char **ret_volume, struct xerr *err)
{
    bool empty = false;

    if (*leaf->parent && lvhd_is_empty(r, leaf, &empty, err)) return -1;
    if (empty) return lvhd_find(r, leaf->parent, ret_base, err);
    if (check_depth(r, leaf, err) || freeze(r, leaf, false, ret_base, err)) return -1;
    *ret_volume = ret_base->name;
    return hide(r, ret_base, err);
}

/* All that is looked at and changed on the way from a disk to a base lies in one volume: active from the first step to the last,
 * each of them finds it so and leaves it so. In a group with many volumes every activation takes as long as a new volume. */
static int snapshot_at_rest(struct lvhd *r, struct image *leaf, const char *uuid, bool only_freeze,
                            struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(r->sm->arena);
    const char *volume = leaf->name;
    const bool active = leaf->format == &image_raw || vg_is_active(&r->vg, volume);
    struct image base;

    if (!active && vg_activate(&r->vg, &volume, 1, err)) return -1;
    int rc = find_or_make_base(r, leaf, &base, &volume, err);
    lvhd_drop(r, volume, active);
    if (rc) return -1;
    if (!only_freeze) return hang_on(r, uuid, &base, leaf, ret_answer, err);
    lvhd_put_image(r, &b, leaf);
    lvhd_put_space(r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

int lvhd_vdi_snapshot(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *phase = sm_param(sm, "phase", ""), *uuid = sm_param(sm, "new_uuid", "");
    const bool online = streq(sm_param(sm, "attached", ""), "rw");
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct image leaf, base;
    struct ref bytes;

    if (!*uuid) uuid = uuid_new(arena_alloc(sm->arena, UUID_TEXT));
    if (!uuid_from_text(uuid, &bytes)) return sm_fail(err, SM_BAD_REQUEST, "new_uuid is no uuid: '%s'", uuid);
    if (lvhd_open(sm, true, &r, err) || lvhd_find_request(&r, &leaf, err)) return -1;
    if (streq(phase, "finish")) {
        if (find_base(&r, &leaf, &base, err) || hide(&r, &base, err)) return -1;
        lvhd_live_drop(&r, leaf.uuid, true);
        return hang_on(&r, uuid, &base, &leaf, ret_answer, err);
    }
    if (streq(phase, "abort")) return abort_online(&r, &leaf, ret_answer, err);
    if (!online) return snapshot_at_rest(&r, &leaf, uuid, streq(phase, "freeze"), ret_answer, err);
    if (leaf.format == &image_raw)
        return sm_fail(err, SM_VDI_IN_USE, "%s is %s and in use: no snapshot while it is", leaf.uuid,
                       leaf.format->name);
    if (!streq(phase, "prepare"))
        return sm_fail(err, SM_VDI_IN_USE, "%s is in use: its snapshot needs the phases prepare and finish",
                       leaf.uuid);
    if (check_depth(&r, &leaf, err) || freeze(&r, &leaf, true, &base, err)) return -1;
    return answer_prepared(&r, &leaf, &base, ret_answer, err);
}

/* A disk with on_boot=reset begins a new run of its VM: what the last run wrote goes. */
int lvhd_vdi_epoch_begin(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct image leaf, base;
    bool empty = false, active;

    *ret_answer = value_void();
    if (!streq(sm_param(sm, "vdi_on_boot", "persist"), "reset")) return 0;
    if (lvhd_open(sm, true, &r, err) || lvhd_find_request(&r, &leaf, err)) return -1;
    if (!*leaf.parent) return sm_fail(err, SM_VDI_LOAD, "%s has no base to go back to", leaf.uuid);
    if (lvhd_find(&r, leaf.parent, &base, err) || lvhd_is_empty(&r, &leaf, &empty, err)) return -1;
    if (empty) return 0;
    /* Written over in place: nobody has it, and what it holds is to go in any case. The id stays, and so does the tag. */
    const struct image_new what = {
        .size = leaf.size, .parent = base.name, .parent_id = base.id, .id = leaf.id
    };
    int fd = lvhd_open_volume(&r, leaf.name, O_RDWR, &active, err);
    if (fd < 0) return -1;
    int rc = leaf.format->create(fd, &what) || fsync(fd)
                 ? sm_fail_errno(err, SM_VDI_CREATE, "cannot reset %s", leaf.name)
                 : 0;
    close(fd);
    lvhd_drop(&r, leaf.name, active);
    return rc;
}
