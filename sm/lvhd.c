/* A repository of volumes: names, images, room, who uses what.
 * Called by: lvhd_*.c.  Calls: vg, owner, image. */
#include "sm/lvhd_private.h"

#include "lib/map.h"
#include "lib/vhd.h"
#include "sm/owner.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

int lvhd_open(struct sm *sm, bool change, struct lvhd *ret_lvhd, struct xerr *err)
{
    ret_lvhd->sm = sm;
    return vg_read(sm, &ret_lvhd->vg, err) || (change && owner_check(&ret_lvhd->vg, err)) ? -1 : 0;
}

void lvhd_close(struct lvhd *r)
{
    vg_close(&r->vg);
    close_fdp(&r->page_fd);
}

/* ---- names --------------------------------------------------------------------------------- */

static const struct {
    const struct image_format *format;
    const char *prefix, *vdi_type;
} kinds[] = {
    { &image_vhd, "VHD-", "vhd" },
    { &image_qcow2, "QCOW2-", "qcow2" },
    { &image_raw, "LV-", "aio" },
};

const char *lvhd_volume(struct sm *sm, const char *uuid, const struct image_format *f)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i].format == f) return arena_printf(sm->arena, "%s%s", kinds[i].prefix, uuid);
    abort();
}

bool lvhd_parse(const char *name, struct image *ret_image)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct image im = { .format = kinds[i].format };
        struct ref bytes;
        if (!has_prefix(name, kinds[i].prefix)) continue;
        name += strlen(kinds[i].prefix);
        if (strlen(name) != UUID_TEXT - 1 || !uuid_from_text(name, &bytes)) return false;
        memcpy(im.uuid, name, UUID_TEXT);
        *ret_image = im;
        return true;
    }
    return false;
}

static const struct vg_lv *find_volume(const struct lvhd *r, const char *uuid)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const struct vg_lv *lv = vg_find(&r->vg, lvhd_volume(r->sm, uuid, kinds[i].format));
        if (lv) return lv;
    }
    return NULL;
}

/* ---- images -------------------------------------------------------------------------------- */

const char lvhd_half_made[] = "it was never finished";

/* Its first page in memory that is as long as the volume: enough for who reads headers. */
static int show_page(struct lvhd *r, const struct vg_lv *lv)
{
    char page[VG_PEEK];

    if (vg_peek(&r->vg, lv, page)) return -1;
    if (r->page_fd < 0) r->page_fd = memfd_create("page", MFD_CLOEXEC);
    if (r->page_fd < 0 || ftruncate(r->page_fd, lv->size) ||
        pwrite(r->page_fd, page, sizeof(page), 0) != (ssize_t)sizeof(page))
        return -1;
    return r->page_fd;
}

static void take_parent(struct lvhd *r, const char *name, struct image *im)
{
    if (!*name) return;
    if (vhd_parent_uuid(name, im->parent) && find_volume(r, im->parent)) return;
    im->missing_parent = true;
    im->broken = "the image it stands on is missing";
}

bool lvhd_load(struct lvhd *r, const struct vg_lv *lv, struct image *ret_image)
{
    const char *id = vg_tag_value(r->sm, lv->tags, TAG_ID), *name = lv->name;
    struct image_look look = { .parent = "" };
    struct image im;
    char text[UUID_TEXT];

    if (has_prefix(name, TMP))
        name += strlen(TMP);
    else if (has_prefix(name, DEAD))
        name += strlen(DEAD);
    if (!lvhd_parse(name, &im)) return false;
    im.name = lv->name;
    im.used = lv->size;
    im.hidden = vg_lv_has_tag(lv, TAG_HIDDEN);
    im.merged = vg_tag_value(r->sm, lv->tags, TAG_MERGED) != NULL;
    if (im.format == &image_raw) {
        im.size = lv->size;
    } else {
        const int fd = show_page(r, lv);
        if (fd < 0)
            im.broken = strerror(errno);
        else if (im.format->look(fd, false, r->sm->arena, &look, &im.broken) == 0)
            im.broken = NULL;
        if (!im.broken && id && im.format->marks_hidden && !streq(uuid_to_text(look.id, text), id))
            im.broken = lvhd_half_made;
        if (im.broken && id) im.broken = lvhd_half_made;
        im.size = look.size;
        im.id = look.id;
        im.hidden |= look.hidden;
        if (!im.broken) take_parent(r, look.parent, &im);
        if (im.merged && im.missing_parent) im.broken = NULL; /* the next merge took it away meanwhile */
    }
    *ret_image = im;
    return true;
}

int lvhd_find(struct lvhd *r, const char *uuid, struct image *ret_image, struct xerr *err)
{
    const struct vg_lv *lv = find_volume(r, uuid);
    struct image im;

    if (!lv || !lvhd_load(r, lv, &im)) return sm_fail_missing(r->sm, err);
    if (im.broken) return sm_fail(err, SM_VDI_LOAD, "%s/%s: %s", r->vg.name, lv->name, im.broken);
    *ret_image = im;
    return 0;
}

int lvhd_find_request(struct lvhd *r, struct image *ret_image, struct xerr *err)
{
    const struct sm *sm = r->sm;

    return lvhd_find(r, *sm->vdi_uuid ? sm->vdi_uuid : sm->vdi_location, ret_image, err);
}

void lvhd_list(struct lvhd *r, struct images *out)
{
    _cleanup_(map_freep) struct map *parents = map_new();
    struct image im;

    for (size_t i = 0; i < r->vg.n_lvs; i++)
        if (lvhd_load(r, &r->vg.lvs[i], &im)) images_add(out, &im);
    for (size_t i = 0; i < out->n; i++)
        if (*out->list[i].parent && !has_prefix(out->list[i].name, TMP))
            map_put(parents, out->list[i].parent, out);
    for (size_t i = 0; i < out->n; i++)
        if (map_get(parents, out->list[i].uuid)) out->list[i].hidden = true;
}

size_t lvhd_chain(struct lvhd *r, const struct image *top, struct image ret_chain[LVHD_MAX_CHAIN])
{
    size_t n = 1;

    ret_chain[0] = *top;
    while (*ret_chain[n - 1].parent) {
        const struct vg_lv *lv = find_volume(r, ret_chain[n - 1].parent);
        if (n == LVHD_MAX_CHAIN || !lv || !lvhd_load(r, lv, &ret_chain[n]) || ret_chain[n].broken) return 0;
        n++;
    }
    return n;
}

int lvhd_open_volume(struct lvhd *r, const char *name, int flags, bool *ret_was_active, struct xerr *err)
{
    const char *const names[] = { name };

    *ret_was_active = vg_is_active(&r->vg, name);
    if (!*ret_was_active && vg_activate(&r->vg, names, 1, err)) return -1;
    int fd = open(vg_path(&r->vg, name), flags | O_CLOEXEC);
    return fd < 0 ? sm_fail_errno(err, SM_VDI_UNAVAILABLE, "cannot open %s", vg_path(&r->vg, name)) : fd;
}

void lvhd_drop(struct lvhd *r, const char *name, bool was_active)
{
    if (!was_active) vg_release(&r->vg, name);
}

int lvhd_is_empty(struct lvhd *r, const struct image *im, bool *ret_empty, struct xerr *err)
{
    struct image_look look;
    const char *why = "";
    bool active;
    _cleanup_close_ int fd = lvhd_open_volume(r, im->name, O_RDONLY, &active, err);

    if (fd < 0) return -1;
    int rc = im->format->look(fd, true, r->sm->arena, &look, &why);
    close(take_fd(fd));
    lvhd_drop(r, im->name, active);
    if (rc) return sm_fail(err, SM_VDI_LOAD, "%s: %s", im->name, why);
    *ret_empty = look.empty;
    return 0;
}

/* ---- room ---------------------------------------------------------------------------------- */

enum {
    VHD_PER_BLOCK = 4096, /* a block's bitmap, its data on whole pages */
    VHD_HEADS = 8 << 20,  /* header, and the table of the largest disk, twice: it moves when a disk grows */
    QCOW2_HEADS = 4 << 20,
};

int64_t lvhd_full_size(const struct image_format *f, int64_t size)
{
    if (f == &image_raw) return vg_round(size);
    if (f == &image_vhd) return vg_round(size + (int64_t)vhd_blocks(size) * VHD_PER_BLOCK + VHD_HEADS);
    return vg_round(size + size / 8192 + size / 16384 +
                    QCOW2_HEADS); /* tables: 8 bytes a cluster, counts: 2, rounded up */
}

int64_t lvhd_small_size(const struct image_format *f, int64_t size)
{
    if (f == &image_raw) return lvhd_full_size(f, size);
    const int64_t heads =
        f == &image_vhd ? (int64_t)vhd_blocks(size) * 4 + (64 << 10) : size / (512 << 20) * 8 + (512 << 10);
    return vg_round(heads + VG_EXTENT / 2);
}

bool lvhd_is_thin(struct sm *sm)
{
    return streq(
        value_get_str(sm_map(sm, "sr_sm_config"), "allocation", sm_config(sm, "allocation", "thick")),
        "thin");
}

/* Where the last footer of a VHD stands depends on the size of its volume. */
static int move_footer(struct lvhd *r, const struct image *im, int64_t bytes, struct xerr *err)
{
    _cleanup_vhd_ struct vhd *v = NULL;
    const char *why = "";
    bool active;

    if (im->format != &image_vhd) return 0;
    int fd = lvhd_open_volume(r, im->name, O_RDWR, &active, err);
    if (fd < 0) return -1;
    if (vhd_open(fd, true, &v, &why)) return sm_fail(err, SM_VDI_LOAD, "%s: %s", im->name, why);
    int rc = vhd_set_device_size(v, bytes) || sm_step("sm.footer-moved") ? sm_fail_errno(err, SM_IO, "cannot write %s", im->name) : 0;
    vhd_close(take_ptr(v));
    lvhd_drop(r, im->name, active);
    return rc;
}

int lvhd_give_room(struct lvhd *r, const struct image *im, int64_t bytes, enum sm_error number,
                   struct xerr *err)
{
    const struct vg_lv *lv = vg_find(&r->vg, im->name);
    const int64_t now = lv ? lv->size : im->used;

    bytes = vg_round(bytes);
    if (bytes == now) return 0;
    if (bytes > now)
        return vg_resize_lv(&r->vg, im->name, bytes, number, err) || move_footer(r, im, bytes, err) ? -1 : 0;
    return move_footer(r, im, bytes, err) || vg_resize_lv(&r->vg, im->name, bytes, number, err) ? -1 : 0;
}

static int used_by_vhd(int fd, const char *name, int64_t *ret_bytes, struct xerr *err)
{
    _cleanup_vhd_ struct vhd *v = NULL;
    const char *why = "";

    if (vhd_open(fd, false, &v, &why)) return sm_fail(err, SM_VDI_LOAD, "%s: %s", name, why);
    *ret_bytes = vhd_end(v) + VHD_FOOTER;
    return 0;
}

const char *lvhd_alone(struct lvhd *r, const char *name)
{
    return arena_printf(
        r->sm->arena,
        "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"host_device\",\"filename\":\"%s\"}}",
        vg_path(&r->vg, name));
}

/* qemu-img knows where the last cluster in use ends. */
static int used_by_qcow2(struct lvhd *r, const struct image *im, int64_t *ret_bytes, struct xerr *err)
{
    const char *out = "", *key = "\"image-end-offset\":";
    const char *argv[] = { "qemu-img", "check", "-U", "--output=json", lvhd_alone(r, im->name), NULL };

    if (sm_run(r->sm, argv, &out, SM_VDI_LOAD, err)) return -1;
    const char *at = strstr(out, key);
    if (!at) return sm_fail(err, SM_VDI_LOAD, "%s: qemu-img does not say where it ends", im->name);
    *ret_bytes = strtoll(at + strlen(key), NULL, 10);
    return 0;
}

int lvhd_used(struct lvhd *r, const struct image *im, int64_t *ret_bytes, struct xerr *err)
{
    bool active;

    if (im->format == &image_raw) {
        *ret_bytes = im->used;
        return 0;
    }
    int fd = lvhd_open_volume(r, im->name, O_RDONLY, &active, err), rc;
    if (fd < 0) return -1;
    if (im->format == &image_vhd) {
        rc = used_by_vhd(fd, im->name, ret_bytes, err);
    } else {
        close(fd);
        rc = used_by_qcow2(r, im, ret_bytes, err);
    }
    lvhd_drop(r, im->name, active);
    return rc;
}

/* ---- names for guests ----------------------------------------------------------------------- */

static const char *live_prefix(struct lvhd *r, const char *uuid)
{
    return arena_printf(r->sm->arena, LIVE "%s", lvhd_volume(r->sm, uuid, &image_qcow2));
}

const char *lvhd_live_link(struct lvhd *r, const struct image *leaf, const char *base, struct xerr *err)
{
    const char *name = arena_printf(r->sm->arena, "%s%s%s", live_prefix(r, leaf->uuid), *base ? "-" : "", base);
    const char *path = vg_path(&r->vg, name), *device = NULL;
    struct stat st, node;

    /* The kernel's name: the others go with the volume's. */
    if (stat(vg_path(&r->vg, leaf->name), &st) == 0) device = arena_printf(r->sm->arena, "/dev/dm-%u", minor(st.st_rdev));
    if (!device || stat(device, &node) || node.st_rdev != st.st_rdev)
        return sm_fail(err, SM_VDI_UNAVAILABLE, "%s/%s has no device", r->vg.name, leaf->name), NULL;
    unlink(path);
    if (symlink(device, path)) return sm_fail_errno(err, SM_VDI_UNAVAILABLE, "cannot make %s", path), NULL;
    return path;
}

void lvhd_live_drop(struct lvhd *r, const char *uuid, bool only_others)
{
    const char *prefix = live_prefix(r, uuid);
    DIR *dir = opendir(arena_printf(r->sm->arena, "/dev/%s", r->vg.name));
    const struct dirent *e;
    struct stat now, st;

    if (stat(vg_path(&r->vg, prefix + strlen(LIVE)), &now)) only_others = false;
    while (dir && (e = readdir(dir))) {
        if (!has_prefix(e->d_name, prefix)) continue;
        if (only_others && fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && st.st_rdev == now.st_rdev) continue;
        unlinkat(dirfd(dir), e->d_name, 0);
    }
    if (dir) closedir(dir);
}

/* ---- changes ------------------------------------------------------------------------------- */

/* Guests' processes run as another user, in the group that Debian gives to virtual machines. */
static void share(int fd)
{
    char text[4096];
    struct group g, *found = NULL;

    if (getgrnam_r("kvm", &g, text, sizeof(text), &found) || !found) return;
    if (fchown(fd, (uid_t)-1, found->gr_gid) == 0) fchmod(fd, 0660);
}

void lvhd_share(struct lvhd *r, const char *name)
{
    _cleanup_close_ int fd = open(vg_path(&r->vg, name), O_RDONLY | O_CLOEXEC);

    if (fd >= 0) share(fd);
}

int lvhd_make(struct lvhd *r, const char *name, const struct image_format *f, int64_t size, int64_t room,
              const struct image *parent, struct ref id, bool keep, struct xerr *err)
{
    const struct image_new what = { .size = size,
                                    .parent = parent ? parent->name : NULL,
                                    .parent_id = parent ? parent->id : REF_NULL,
                                    .id = id };
    const char *tag = arena_printf(r->sm->arena, TAG_ID "%s", uuid_to_text(id, (char[UUID_TEXT]){ 0 }));
    const char *pv_tag = owner_tag(r->sm);
    _cleanup_close_ int fd = -1;

    if (vg_create_lv(&r->vg, name, room, f == &image_raw ? NULL : tag, *pv_tag ? pv_tag : NULL, err))
        return -1;
    fd = open(vg_path(&r->vg, name), O_RDWR | O_CLOEXEC);
    if (fd < 0 || (f != &image_raw && f->create(fd, &what)) || fsync(fd) || sm_step("sm.image-written")) {
        _cleanup_xerr_ struct xerr ignored = XERR_INIT;
        sm_fail_errno(err, SM_VDI_CREATE, "cannot write %s", vg_path(&r->vg, name));
        close_fdp(&fd);
        fd = -1;
        vg_remove_lv(&r->vg, name, &ignored);
        return -1;
    }
    if (keep) share(fd);
    close(take_fd(fd));
    lvhd_drop(r, name, keep);
    return 0;
}

int lvhd_set_hidden(struct lvhd *r, const struct image *im, bool hidden, struct xerr *err)
{
    bool active;

    if (!im->format->marks_hidden)
        return vg_tag_lv(&r->vg, im->name, hidden ? TAG_HIDDEN : NULL, hidden ? NULL : TAG_HIDDEN, err);
    _cleanup_close_ int fd = lvhd_open_volume(r, im->name, O_RDWR, &active, err);
    if (fd < 0) return -1;
    int rc = im->format->set_hidden(fd, hidden) ? sm_fail_errno(err, SM_IO, "cannot mark %s", im->name) : 0;
    close(take_fd(fd));
    lvhd_drop(r, im->name, active);
    return rc;
}

int lvhd_set_parent(struct lvhd *r, const struct image *im, const struct image *parent, struct xerr *err)
{
    bool active;
    _cleanup_close_ int fd = lvhd_open_volume(r, im->name, O_RDWR, &active, err);

    if (fd < 0) return -1;
    int rc = im->format->set_parent(fd, parent->name, parent->id)
                 ? sm_fail_errno(err, SM_IO, "cannot hang %s under %s", im->name, parent->name)
                 : 0;
    close(take_fd(fd));
    lvhd_drop(r, im->name, active);
    return rc;
}

/* ---- who uses what ------------------------------------------------------------------------- */

/* What a reboot makes untrue: named by the boot. */
static const char *use_folder(struct sm *sm)
{
    _cleanup_free_ char *boot = NULL;
    const char *id = "";

    if (read_file("/proc/sys/kernel/random/boot_id", 64, &boot, NULL) == 0)
        id = arena_strndup(sm->arena, boot, 8);
    return arena_printf(sm->arena, "%s/use-%s-%s", sm->state_dir, sm->sr_uuid, id);
}

static const char *use_path(struct sm *sm, const char *uuid)
{
    return arena_printf(sm->arena, "%s/%s", use_folder(sm), uuid);
}

static const char *stamp_path(struct sm *sm, const char *uuid)
{
    return arena_printf(sm->arena, "%s/written-%s/%s", sm->state_dir, sm->sr_uuid, uuid);
}

const char *lvhd_stamp(struct sm *sm, const char *uuid)
{
    _cleanup_free_ char *text = NULL;

    return read_file(stamp_path(sm, uuid), 64, &text, NULL) ? "0" : arena_strdup(sm->arena, text);
}

static int raise_stamp(struct sm *sm, const char *uuid)
{
    const char *next = arena_printf(sm->arena, "%lld", strtoll(lvhd_stamp(sm, uuid), NULL, 10) + 1);

    if (make_dirs(arena_printf(sm->arena, "%s/written-%s", sm->state_dir, sm->sr_uuid), 0700)) return -1;
    return write_file_atomic(stamp_path(sm, uuid), next, strlen(next), 0600);
}

int lvhd_note_use(struct sm *sm, const char *uuid, bool writable)
{
    if (writable && raise_stamp(sm, uuid)) return -1;
    return make_dirs(use_folder(sm), 0700) || write_file_atomic(use_path(sm, uuid), "", 0, 0600) ? -1 : 0;
}

void lvhd_end_use(struct sm *sm, const char *uuid) { unlink(use_path(sm, uuid)); }

bool lvhd_in_use(struct sm *sm, const char *uuid) { return access(use_path(sm, uuid), F_OK) == 0; }

#define MERGING "merging-"

void lvhd_note_merge(struct sm *sm, const char *uuid)
{
    DIR *dir = opendir(use_folder(sm));
    const struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (has_prefix(e->d_name, MERGING)) unlinkat(dirfd(dir), e->d_name, 0);
    if (dir) closedir(dir);
    /* Without the note a scan may take the volumes away before the copy has begun, which then fails: it is begun again. */
    if (*uuid && make_dirs(use_folder(sm), 0700) == 0)
        write_file_atomic(use_path(sm, arena_printf(sm->arena, MERGING "%s", uuid)), "", 0, 0600);
}

static DIR *open_uses(struct sm *sm) { return opendir(use_folder(sm)); }

void lvhd_end_uses(struct sm *sm)
{
    DIR *dir = open_uses(sm);
    const struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (*e->d_name != '.') unlinkat(dirfd(dir), e->d_name, 0);
    if (dir) closedir(dir);
    rmdir(use_folder(sm));
}

/* The volumes that attached disks need. *ret_all: what each of them stands on could be read. */
static struct map *needed(struct lvhd *r, bool *ret_all)
{
    struct map *names = map_new();
    DIR *dir = open_uses(r->sm);
    const struct dirent *e;
    struct image *chain = arena_new_array(r->sm->arena, struct image, LVHD_MAX_CHAIN), top;

    *ret_all = true;
    while (dir && (e = readdir(dir))) {
        const bool merging = has_prefix(e->d_name, MERGING);
        const struct vg_lv *lv = find_volume(r, e->d_name + (merging ? strlen(MERGING) : 0));
        if (!lv || !lvhd_load(r, lv, &top)) continue;
        size_t n = lvhd_chain(r, &top, chain);
        *ret_all &= n > 0;
        for (size_t i = 0; i < n; i++) map_put(names, chain[i].name, r);
    }
    if (dir) closedir(dir);
    return names;
}

void lvhd_let_go(struct lvhd *r, const struct image *chain, size_t n)
{
    bool all;
    _cleanup_(map_freep) struct map *names = needed(r, &all);

    for (size_t i = 0; i < n; i++) {
        if (map_get(names, chain[i].name)) continue;
        if (i == 0)
            vg_release(&r->vg, chain[i].name);
        else
            vg_deactivate(&r->vg, chain[i].name); /* a merge may have it open */
    }
}

void lvhd_let_go_strays(struct lvhd *r)
{
    _cleanup_(map_freep) struct map *names = NULL;
    DIR *dir = opendir(arena_printf(r->sm->arena, "/dev/%s", r->vg.name));
    const struct dirent *e;
    bool all = true;

    while (dir && all && (e = readdir(dir))) {
        if (*e->d_name == '.' || streq(e->d_name, MGT_NAME) || has_prefix(e->d_name, LIVE)) continue;
        if (!names) names = needed(r, &all);
        if (!all || map_get(names, e->d_name)) continue;
        const char *name = arena_strdup(r->sm->arena, e->d_name);
        /* Drivers only open a log, one at a time: who has it now but looks at a device that was written to. */
        if (strstr(name, CBT_SUFFIX))
            vg_release(&r->vg, name);
        else
            vg_deactivate(&r->vg, name);
    }
    if (dir) closedir(dir);
}

/* ---- answers ------------------------------------------------------------------------------- */

void lvhd_put_space(struct lvhd *r, struct value_builder *b)
{
    value_put(b, "sr_physical_size", value_int(r->vg.size));
    value_put(b, "sr_physical_utilisation", value_int(r->vg.size - r->vg.free_space));
}

void lvhd_put_image(struct lvhd *r, struct value_builder *b, const struct image *im)
{
    struct sm *sm = r->sm;
    struct value_builder config = value_builder(sm->arena);
    const char *uuid = arena_strdup(sm->arena, im->uuid);

    value_put(b, "uuid", value_string(uuid));
    value_put(b, "location", value_string(uuid));
    value_put(b, "virtual_size", value_int(im->size));
    value_put(b, "physical_utilisation", value_int(im->used));
    value_put(b, "managed", value_bool(!im->hidden));
    value_put(b, "read_only", value_bool(im->hidden));
    value_put(b, "cbt_enabled", value_bool(!im->hidden && track_has(lvhd_tracker(r), im->uuid)));
    value_put(b, "format", value_string(im->format->name));
    value_put(&config, "image-format", value_string(im->format->name));
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i].format == im->format) value_put(&config, "vdi_type", value_string(kinds[i].vdi_type));
    if (im->format == &image_raw) value_put(&config, "type", value_string("raw"));
    if (*im->parent) value_put(&config, "vhd-parent", value_string(arena_strdup(sm->arena, im->parent)));
    value_put(b, "sm_config", value_built_map(&config));
}

int lvhd_answer(struct lvhd *r, const char *uuid, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(r->sm->arena);
    struct image im;

    if (lvhd_find(r, uuid, &im, err)) return -1;
    lvhd_put_image(r, &b, &im);
    lvhd_put_space(r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}
