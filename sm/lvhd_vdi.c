/* The disks of a repository of volumes: create, delete, resize, attach.
 * Called by: lvm.c, lvmoiscsi.c, lvmohba.c through lvhd.h.  Calls: lvhd.c, owner. */
#include "sm/lvhd_private.h"

#include "sm/owner.h"

#include <errno.h>
#include <fcntl.h>

/* ---- create -------------------------------------------------------------------------------- */

static const char *default_format(struct sm *sm)
{
    return value_get_str(sm_map(sm, "sr_sm_config"), "image-format", "vhd");
}

static int add_notes(struct lvhd *r, const char *uuid, const struct image_format *f, struct xerr *err)
{
    _cleanup_mgt_ struct mgt m = MGT_INIT;
    const struct mgt_vdi notes = {
        .uuid = uuid,
        .name_label = sm_arg(r->sm, 1),
        .name_description = sm_arg(r->sm, 2),
        .vdi_type = f == &image_raw ? "aio" : f->name,
        .type = sm_param(r->sm, "vdi_type", "user"),
        .snapshot_of = "",
        .snapshot_time = "",
        .managed = true,
        .read_only = streq(sm_arg(r->sm, 7), "true"),
    };

    mgt_open(&r->vg, &m);
    return mgt_add(&m, &notes, err);
}

/* With LVM's single command for it: lvcreate itself looks whether the devices are ours still. Only the first change of a
 * group that is nobody's yet, or whose owner we do not know, looks before. */
static int open_for_create(struct sm *sm, struct lvhd *r, struct xerr *err)
{
    if (*sm_param(sm, "pool_uuid", "") && !*owner_tag(sm)) return lvhd_open(sm, true, r, err);
    r->sm = sm;
    return vg_name(sm, &r->vg, err);
}

/* LVM found no room on devices with our tag: who has them? */
static int explain(struct sm *sm, struct xerr *why, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;

    if (*owner_tag(sm) && lvhd_open(sm, true, &r, err)) return -1;
    return xerr_move(err, why);
}

int lvhd_vdi_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *uuid = *sm->vdi_uuid ? sm->vdi_uuid : uuid_new(arena_alloc(sm->arena, UUID_TEXT));
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    _cleanup_xerr_ struct xerr why = XERR_INIT, ignored = XERR_INIT;
    struct value_builder b = value_builder(sm->arena);
    const struct image_format *f;
    struct image im = { 0 };
    int64_t size = 0;

    if (image_choose(sm, default_format(sm), &f, err) || image_wanted_size(sm, f, &size, err) ||
        open_for_create(sm, &r, err))
        return -1;
    const int64_t room = lvhd_is_thin(sm) ? lvhd_small_size(f, size) : lvhd_full_size(f, size);
    im = (struct image){ .format = f, .size = f == &image_raw ? room : size, .used = room };
    memcpy(im.uuid, uuid, UUID_TEXT);
    im.name = lvhd_volume(sm, uuid, f);
    if (!uuid_from_text(uuid, &im.id)) return sm_fail(err, SM_BAD_REQUEST, "vdi_uuid is no uuid: '%s'", uuid);
    if (lvhd_make(&r, im.name, f, size, room, NULL, im.id, false, &why)) return explain(sm, &why, err);
    if (add_notes(&r, uuid, f, err)) {
        vg_remove_lv(&r.vg, im.name, &ignored);
        return -1;
    }
    lvhd_put_image(&r, &b, &im);
    if (r.vg.size)
        lvhd_put_space(&r, &b);
    else
        value_put(&b, "sr_physical_utilisation_added", value_int(room));
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- delete -------------------------------------------------------------------------------- */

static void drop_notes(struct lvhd *r, const char *uuid)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT; /* a name too many harms nobody */
    _cleanup_mgt_ struct mgt m = MGT_INIT;

    mgt_open(&r->vg, &m);
    mgt_drop(&m, uuid, &ignored);
}

/* VDI_MISSING when there is none. */
static int delete_image(struct lvhd *r, bool with_log, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };

    lvhd_list(r, &all);
    const struct image *im = chain_find(&all, r->sm->vdi_uuid);
    if (!im) return sm_fail_missing(r->sm, err);
    if (im->hidden) return sm_fail(err, SM_VDI_IN_USE, "%s is what other disks stand on", im->uuid);
    if (with_log && track_drop(lvhd_tracker(r), im->uuid, err)) return -1;
    const char *gone = im->name;
    if (vg_remove_lv(&r->vg, gone, err)) return -1;
    drop_notes(r, im->uuid);
    /* What only it needed; a kill leaves hidden images without children, which the next scan removes. */
    while (chain_readable(&all) && *im->parent && !chain_has_children(&all, im->parent, gone) &&
           (im = chain_find(&all, im->parent))) {
        gone = im->name;
        if (vg_remove_lv(&r->vg, gone, err)) return -1;
        drop_notes(r, im->uuid);
    }
    return 0;
}

static int answer_space(struct lvhd *r, struct value *ret_answer)
{
    struct value_builder b = value_builder(r->sm->arena);

    lvhd_put_space(r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

int lvhd_vdi_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;

    if (lvhd_open(sm, true, &r, err)) return -1;
    if (delete_image(&r, true, &why)) {
        /* Of a disk whose data were destroyed the log is all there is. */
        if (!xerr_is(&why, "VDI_MISSING") || !track_has(lvhd_tracker(&r), sm->vdi_uuid)) return xerr_move(err, &why);
        if (track_drop(lvhd_tracker(&r), sm->vdi_uuid, err)) return -1;
    }
    return answer_space(&r, ret_answer);
}

int lvhd_vdi_data_destroy(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;

    if (lvhd_open(sm, true, &r, err)) return -1;
    if (!track_has(lvhd_tracker(&r), sm->vdi_uuid))
        return sm_fail(err, SM_VDI_TYPE, "%s has no log of changed blocks", sm->vdi_uuid);
    if (delete_image(&r, false, &why) && !xerr_is(&why, "VDI_MISSING")) return xerr_move(err, &why);
    return answer_space(&r, ret_answer);
}

/* ---- resize -------------------------------------------------------------------------------- */

static int grow_image(struct lvhd *r, const struct image *im, int64_t size, struct xerr *err)
{
    bool active;
    _cleanup_close_ int fd = lvhd_open_volume(r, im->name, O_RDWR, &active, err);
    int rc;

    if (fd < 0) return -1;
    if (im->format->resize) {
        rc = im->format->resize(fd, size) ? sm_fail_errno(err, SM_VDI_RESIZE, "cannot grow %s", im->name) : 0;
    } else {
        const char *argv[] = { "qemu-img",
                               "resize",
                               "-q",
                               lvhd_alone(r, im->name),
                               arena_printf(r->sm->arena, "%lld", (long long)size),
                               NULL };
        rc = sm_run(r->sm, argv, NULL, SM_VDI_RESIZE, err);
    }
    close(take_fd(fd));
    lvhd_drop(r, im->name, active);
    return rc;
}

int lvhd_vdi_resize(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena);
    struct image im;
    int64_t size = 0, room;

    if (lvhd_open(sm, true, &r, err) || lvhd_find_request(&r, &im, err) || image_larger_size(sm, im.format, im.size, &size, err))
        return -1;
    if (lvhd_in_use(sm, im.uuid))
        return sm_fail(err, SM_VDI_IN_USE, "%s is in use: it grows at rest only", im.uuid);
    /* A small one gets what its tables may need. */
    room = im.used >= lvhd_full_size(im.format, im.size) ? lvhd_full_size(im.format, size)
                                                         : im.used + lvhd_small_size(im.format, size);
    if (size > im.size) {
        if (lvhd_give_room(&r, &im, room, SM_VDI_RESIZE, err) ||
            (im.format != &image_raw && grow_image(&r, &im, size, err)))
            return -1;
        im.size = im.format == &image_raw ? vg_round(size) : size;
        im.used = vg_round(room);
    }
    track_resized(lvhd_tracker(&r), &im, &b);
    lvhd_put_image(&r, &b, &im);
    lvhd_put_space(&r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* Somebody writes to it: the volume gets the room, and who has the image open grows that. A volume without an image has grown
 * then. A VHD has its last footer where its volume ends, and is its server's alone while that runs. */
int lvhd_vdi_resize_online(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena);
    struct image im;
    int64_t size = 0;

    if (lvhd_open(sm, true, &r, err) || lvhd_find_request(&r, &im, err) || image_larger_size(sm, im.format, im.size, &size, err))
        return -1;
    if (im.format == &image_vhd) return sm_fail(err, SM_VDI_IN_USE, "%s is in use: a VHD grows at rest only", im.uuid);
    const int64_t room = lvhd_full_size(im.format, size);
    if (im.used < room) {
        if (lvhd_give_room(&r, &im, room, SM_VDI_RESIZE, err)) return -1;
        im.used = room;
    }
    if (im.format == &image_raw) im.size = im.used;
    lvhd_put_image(&r, &b, &im);
    lvhd_put_space(&r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- attach -------------------------------------------------------------------------------- */

int lvhd_vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const bool writable = !streq(sm_arg(sm, 0), "false");
    struct image *chain = arena_new_array(sm->arena, struct image, LVHD_MAX_CHAIN);
    const char **names = arena_new_array(sm->arena, const char *, LVHD_MAX_CHAIN);
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena);
    struct image im;

    if (lvhd_open(sm, false, &r, err) || lvhd_find_request(&r, &im, err)) return -1;
    const int64_t room = lvhd_full_size(im.format, im.size);
    const size_t n = lvhd_chain(&r, &im, chain);
    if (!n) return sm_fail(err, SM_VDI_LOAD, "%s: what it stands on is missing", im.uuid);
    for (size_t i = 0; i < n; i++) names[i] = chain[i].name;
    if (vg_activate(&r.vg, names, n, err)) return -1;
    if (writable && im.used < room &&
        (owner_check(&r.vg, err) || lvhd_give_room(&r, &im, room, SM_LV_GROW, err))) {
        lvhd_let_go(&r, chain, n);
        return -1;
    }
    if (lvhd_note_use(sm, im.uuid, writable))
        return sm_fail_errno(err, SM_LOCK, "cannot note the use of %s", im.uuid);
    for (size_t i = 0; i < n; i++) lvhd_share(&r, names[i]);
    if (writable && im.format == &image_qcow2) {
        lvhd_live_drop(&r, im.uuid, false);
        if (!lvhd_live_link(&r, &im, "", err)) {
            lvhd_end_use(sm, im.uuid);
            lvhd_let_go(&r, chain, n);
            return -1;
        }
    }
    value_put(&b, "params", value_string(vg_path(&r.vg, im.name)));
    value_put(&b, "format", value_string(im.format->name));
    if (writable && !track_open(lvhd_tracker(&r), &im)) value_put(&b, "cbt_alert", value_string("VDI_CBT_METADATA_INCONSISTENT"));
    *ret_answer = value_built_map(&b);
    return 0;
}

int lvhd_vdi_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct image *chain = arena_new_array(sm->arena, struct image, LVHD_MAX_CHAIN);
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct image im;
    int64_t used;

    *ret_answer = value_void();
    lvhd_end_use(sm, sm->vdi_uuid);
    if (lvhd_open(sm, false, &r, err)) return -1;
    lvhd_live_drop(&r, sm->vdi_uuid, false);
    if (lvhd_find_request(&r, &im, &ignored)) return 0; /* it is gone: nothing is attached */
    track_close(lvhd_tracker(&r), im.uuid);
    /* Room that it does not use is a convenience: the disk is let go whatever becomes of it. */
    if (lvhd_is_thin(sm) && im.format != &image_raw && im.used >= lvhd_full_size(im.format, im.size) &&
        owner_check(&r.vg, &ignored) == 0 && lvhd_used(&r, &im, &used, &ignored) == 0)
        lvhd_give_room(&r, &im, used, SM_IO, &ignored);
    const size_t n = lvhd_chain(&r, &im, chain);
    lvhd_let_go(&r, n ? chain : &im, n ? n : 1);
    return 0;
}

int lvhd_vdi_introduce(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *uuid = *sm->vdi_location ? sm->vdi_location
                       : *sm->vdi_uuid   ? sm->vdi_uuid
                                         : sm_param(sm, "new_uuid", "");
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct ref bytes;

    if (!uuid_from_text(uuid, &bytes)) return sm_fail_missing(sm, err);
    return lvhd_open(sm, false, &r, err) || lvhd_answer(&r, uuid, ret_answer, err) ? -1 : 0;
}

int lvhd_vdi_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena);
    struct image im;

    if (lvhd_open(sm, false, &r, err) || lvhd_find_request(&r, &im, err) ||
        (track_has(lvhd_tracker(&r), im.uuid) && owner_check(&r.vg, err)))
        return -1;
    track_resized(lvhd_tracker(&r), &im, &b);
    lvhd_put_image(&r, &b, &im);
    lvhd_put_space(&r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}
