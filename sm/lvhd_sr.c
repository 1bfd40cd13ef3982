/* A repository of volumes as a whole: made, found, plugged, scanned, removed.
 * Called by: lvm.c, lvmoiscsi.c, lvmohba.c through lvhd.h.  Calls: lvhd.c, owner, lvm(8). */
#include "sm/lvhd_private.h"

#include "lib/map.h"
#include "lib/num.h"
#include "lib/strbuf.h"
#include "lib/xmlrpc.h"
#include "sm/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { MAX_DEVICES = 16 };

/* ---- create, delete ------------------------------------------------------------------------ */

/* Nobody has the device, and it is no part of another group. */
static int check_device(struct sm *sm, const char *device, struct xerr *err)
{
    _cleanup_close_ int fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC);
    const char *const devices[] = { device, NULL };
    const char *argv[] = { "pvs", "--all", "--noheadings", "--options", "vg_name", NULL }, *out = "";
    struct stat st;

    if (fd < 0 && errno == EBUSY) return xerr_set(err, "SR_DEVICE_IN_USE", 0, NULL);
    if (fd < 0) return sm_fail_errno(err, SM_DEVICE_INVALID, "cannot open %s", device);
    if (fstat(fd, &st) || !S_ISBLK(st.st_mode))
        return sm_fail(err, SM_DEVICE_INVALID, "%s is not a block device", device);
    close(take_fd(fd));
    if (vg_lvm(sm, devices, argv, &out, SM_DEVICE_INVALID, err)) return -1;
    const size_t skip = strspn(out, " \n"), len = strcspn(out + skip, " \n");
    if (len)
        return sm_fail(err, SM_SR_EXISTS, "%s is part of volume group %.*s", device, (int)len, out + skip);
    return 0;
}

static int make_group(struct vg *vg, struct xerr *err)
{
    const char *room = arena_printf(vg->sm->arena, "%dm", VG_METADATA_MIB);
    const char *argv[10 + MAX_DEVICES] = {
        "vgcreate", "--yes", "--quiet", "--metadatasize", room, "--physicalextentsize", "4m", vg->name
    };
    size_t n = 8;

    for (size_t i = 0; vg->devices[i] && i < MAX_DEVICES; i++) argv[n++] = vg->devices[i];
    return vg_lvm(vg->sm, vg->devices, argv, NULL, SM_VG_CREATE, err);
}

static int drop_group(struct vg *vg, struct xerr *err)
{
    const char *argv[] = { "vgremove", "--yes", "--force", "--quiet", vg->name, NULL };
    const char *pvs[6 + MAX_DEVICES] = { "pvremove", "--yes", "--quiet" };
    size_t n = 3;

    for (size_t i = 0; vg->devices[i] && i < MAX_DEVICES; i++) pvs[n++] = vg->devices[i];
    if (vg_lvm(vg->sm, vg->devices, argv, NULL, SM_LV_DELETE, err)) return -1;
    return vg_lvm(vg->sm, vg->devices, pvs, NULL, SM_LV_DELETE, err);
}

static int make_notes(struct vg *vg, struct xerr *err)
{
    if (vg_create_lv(vg, MGT_NAME, MGT_BYTES, NULL, NULL, err)) return -1;
    return mgt_format(vg, lvhd_is_thin(vg->sm) ? "thin" : "thick", err);
}

static int put_group_space(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena);

    if (lvhd_open(sm, false, &r, err)) return -1;
    lvhd_put_space(&r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

int lvhd_sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *allocation =
        value_get_str(sm_map(sm, "sr_sm_config"), "allocation", sm_config(sm, "allocation", "thick"));
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct vg vg = VG_INIT;

    if (!streq(allocation, "thick") && !streq(allocation, "thin"))
        return sm_fail(err, SM_INVALID_ARGUMENT, "allocation is thick or thin, not '%s'", allocation);
    if (vg_name(sm, &vg, err)) return -1;
    for (size_t i = 0; vg.devices[i]; i++)
        if (check_device(sm, vg.devices[i], err)) return -1;
    if (make_group(&vg, err)) return -1;
    if (owner_claim(&vg, err) || make_notes(&vg, err) || put_group_space(sm, ret_answer, err)) {
        drop_group(&vg, &ignored);
        return -1;
    }
    vg_release(&vg, MGT_NAME);
    return 0;
}

int lvhd_sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    char uuid[UUID_TEXT];
    bool changed;

    *ret_answer = value_void();
    if (lvhd_open(sm, true, &r, err) || lvhd_repair(&r, &changed, err)) return -1;
    if (changed) {
        lvhd_close(&r);
        r = (struct lvhd)LVHD_INIT;
        if (lvhd_open(sm, true, &r, err)) return -1;
    }
    lvhd_list(&r, &all);
    if (all.n) return sm_fail(err, SM_SR_NOT_EMPTY, "%s holds %s", r.vg.name, all.list[0].name);
    for (size_t i = 0; i < r.vg.n_lvs; i++)
        if (track_is_log(r.vg.lvs[i].name, uuid)) return sm_fail(err, SM_SR_NOT_EMPTY, "%s holds %s", r.vg.name, r.vg.lvs[i].name);
    if (drop_group(&r.vg, err)) return -1;
    owner_forget(sm);
    lvhd_end_uses(sm);
    return 0;
}

/* ---- plug, unplug -------------------------------------------------------------------------- */

/* A device that has become longer: at least as much as XenServer takes notice of. */
static int grow(struct lvhd *r, struct xerr *err)
{
    enum { WORTH_IT = 100 << 20 };
    int64_t sum = 0;

    for (size_t i = 0; i < r->vg.n_pvs; i++) {
        _cleanup_close_ int fd = open(r->vg.pvs[i].name, O_RDONLY | O_CLOEXEC);
        const int64_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
        sum += size - r->vg.pvs[i].start;
    }
    if (sum < r->vg.size + WORTH_IT) return 0;
    if (owner_check(&r->vg, err)) return -1;
    for (size_t i = 0; i < r->vg.n_pvs; i++) {
        const char *argv[] = { "pvresize", "--quiet", r->vg.pvs[i].name, NULL };
        if (vg_lvm(r->sm, r->vg.devices, argv, NULL, SM_SR_UNAVAILABLE, err)) return -1;
    }
    r->vg.size = sum / r->vg.extent * r->vg.extent;
    return 0;
}

int lvhd_sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *const notes[] = { MGT_NAME };
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena);

    if (lvhd_open(sm, false, &r, err) || owner_attach(&r.vg, err) || grow(&r, err)) return -1;
    if (vg_find(&r.vg, MGT_NAME) && vg_activate(&r.vg, notes, 1, err)) return -1;
    lvhd_put_space(&r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* What guests had that ended without a word, and the folder, which LVM leaves for their sake. */
static void drop_links(const struct vg *vg)
{
    const char *folder = arena_printf(vg->sm->arena, "/dev/%s", vg->name);
    DIR *dir = opendir(folder);
    const struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (has_prefix(e->d_name, LIVE)) unlinkat(dirfd(dir), e->d_name, 0);
    if (dir) closedir(dir);
    rmdir(folder);
}

int lvhd_sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct vg vg = VG_INIT;

    *ret_answer = value_void();
    if (vg_name(sm, &vg, err)) return -1;
    const char *argv[] = { "vgchange", "--quiet", "--activate", "n", vg.name, NULL };
    if (vg_lvm(sm, vg.devices, argv, NULL, SM_UNMOUNT, &why)) {
        if (xerr_is(&why, "SR_BACKEND_FAILURE_24")) return xerr_set(err, "SR_DEVICE_IN_USE", 0, NULL);
        return xerr_move(err, &why);
    }
    lvhd_end_uses(sm);
    drop_links(&vg);
    return 0;
}

int lvhd_sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return put_group_space(sm, ret_answer, err);
}

/* ---- probe --------------------------------------------------------------------------------- */

struct found {
    struct sm *sm;
    struct strbuf xml;
    struct value_builder results;
};

static void put_element(struct strbuf *xml, const char *name, const char *text)
{
    strbuf_printf(xml, "\t\t<%s>\n\t\t\t", name);
    xmlrpc_encode_text(text, strlen(text), xml);
    strbuf_printf(xml, "\n\t\t</%s>\n", name);
}

/* What the notes say, for a client that asked with sm_config metadata=true. */
static void put_names(struct found *f, const char *uuid)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    _cleanup_vg_ struct vg vg = VG_INIT;
    char page[VG_PEEK];

    f->sm->sr_uuid = uuid;
    if (vg_read(f->sm, &vg, &ignored)) return;
    const struct vg_lv *notes = vg_find(&vg, MGT_NAME);
    if (!notes || vg_peek(&vg, notes, page)) return;
    put_element(&f->xml, "name_label", mgt_about(f->sm, page, "name_label"));
    put_element(&f->xml, "name_description", mgt_about(f->sm, page, "name_description"));
    put_element(&f->xml, "pool_metadata_detected", "false");
}

/* "VG_XenStorage-<uuid>|size|free|missing devices", one line a device. */
static void take_group(struct found *f, const char *device, char *line)
{
    char *at = line + strspn(line, " ");
    const char *name = strsep(&at, "|"), *size = at ? strsep(&at, "|") : "0", *free_text = at ? strsep(&at, "|") : "0";
    const char *missing = at ? at : "0";
    struct value_builder one = value_builder(f->sm->arena), sr = one;
    int64_t total = 0, left = 0;
    struct ref bytes;

    if (!has_prefix(name, VG_PREFIX) || !uuid_from_text(name + strlen(VG_PREFIX), &bytes)) return;
    const char *uuid = name + strlen(VG_PREFIX);
    if (strstr(strbuf_cstr(&f->xml), uuid)) return; /* another device of the same group */
    num_parse_int(size, &total);
    num_parse_int(free_text, &left);
    strbuf_str(&f->xml, "\t<SR>\n");
    put_element(&f->xml, "UUID", uuid);
    put_element(&f->xml, "Devlist", device);
    put_element(&f->xml, "size", size);
    if (streq(value_get_str(sm_map(f->sm, "sr_sm_config"), "metadata", ""), "true")) put_names(f, uuid);
    strbuf_str(&f->xml, "\t</SR>\n");
    value_put(&sr, "uuid", value_string(uuid));
    value_put(&sr, "total_space", value_int(total));
    value_put(&sr, "free_space", value_int(left));
    value_put(&sr, "health", value_string(streq(missing, "0") ? "healthy" : "unavailable"));
    value_put(&one, "configuration", value_copy(f->sm->arena, sm_map(f->sm, "device_config")));
    value_put(&one, "complete", value_bool(true));
    value_put(&one, "sr", value_built_map(&sr));
    value_push(&f->results, value_built_map(&one));
}

int lvhd_sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct found f = { .sm = sm, .xml = STRBUF_INIT, .results = value_builder(sm->arena) };
    struct value_builder b = value_builder(sm->arena);
    const char *const *devices;
    int rc = 0;

    if (sm->driver->devices(sm, &devices, err)) return -1;
    strbuf_str(&f.xml, "<?xml version=\"1.0\" ?>\n<SRlist>\n");
    for (size_t i = 0; rc == 0 && devices[i]; i++) {
        const char *argv[] = { "pvs",        "--all",     "--noheadings", "--separator", "|",
                               "--units",    "b",         "--nosuffix",   "--options",   "vg_name,vg_size,vg_free,vg_missing_pv_count",
                               devices[i],   NULL },
                   *out = "";
        rc = vg_lvm(sm, devices, argv, &out, SM_DEVICE_INVALID, err);
        char *line = arena_strdup(sm->arena, out);
        line[strcspn(line, "\n")] = '\0';
        if (rc == 0) take_group(&f, devices[i], line);
    }
    strbuf_str(&f.xml, "</SRlist>\n");
    value_put(&b, "xml", value_string(arena_strdup(sm->arena, strbuf_cstr(&f.xml))));
    strbuf_free(&f.xml);
    value_put(&b, "results", value_built_set(&f.results));
    *ret_answer = value_built_map(&b);
    return rc;
}

/* ---- scan ---------------------------------------------------------------------------------- */

static const struct vg_lv *image_volume(struct lvhd *r, const char *uuid)
{
    const struct image_format *const *f = image_formats;

    for (; *f; f++) {
        const struct vg_lv *lv = vg_find(&r->vg, lvhd_volume(r->sm, uuid, *f));
        if (lv) return lv;
    }
    return NULL;
}

/* tmp-<name>: lvhd.h, a snapshot's steps 1 to 3. */
static int repair_tmp(struct lvhd *r, const struct image *tmp, struct xerr *err)
{
    if (image_volume(r, tmp->uuid)) return vg_remove_lv(&r->vg, tmp->name, err);
    if (tmp->broken || !*tmp->parent) return 0; /* nobody knows what it was: left alone */
    return vg_rename_lv(&r->vg, tmp->name, tmp->name + strlen(TMP), err);
}

/* dead-<name>: lvhd_gc.c. */
static int repair_dead(struct lvhd *r, const struct image *dead, struct xerr *err)
{
    if (!image_volume(r, dead->uuid)) {
        const struct vg_lv *base = *dead->parent ? image_volume(r, dead->parent) : NULL;
        if (!base) return 0;
        if (vg_rename_lv(&r->vg, base->name, dead->name + strlen(DEAD), err)) return -1;
    }
    return vg_remove_lv(&r->vg, dead->name, err);
}

bool lvhd_is_unfinished(const struct image *im, const struct map *parents)
{
    return has_prefix(im->name, TMP) || has_prefix(im->name, DEAD) || im->broken == lvhd_half_made || im->merged ||
           (im->hidden && !map_get(parents, im->uuid));
}

static int repair_one(struct lvhd *r, const struct images *all, const struct image *im, bool *ret_changed,
                      struct xerr *err)
{
    const struct vg_lv *lv = vg_find(&r->vg, im->name);
    const char *merged = vg_tag_value(r->sm, lv->tags, TAG_MERGED);

    *ret_changed = true;
    if (has_prefix(im->name, TMP)) return repair_tmp(r, im, err);
    if (has_prefix(im->name, DEAD)) return repair_dead(r, im, err);
    if (im->broken == lvhd_half_made) return vg_remove_lv(&r->vg, im->name, err);
    if (merged) return lvhd_end_merge(r, all, im, merged, im->format == &image_vhd, err);
    if (im->hidden && chain_readable(all) && !chain_has_children(all, im->uuid, "") &&
        !lvhd_in_use(r->sm, im->uuid))
        return vg_remove_lv(&r->vg, im->name, err);
    *ret_changed = false;
    return 0;
}

int lvhd_repair(struct lvhd *r, bool *ret_changed, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_(map_freep) struct map *parents = NULL;
    bool changed, checked = false;

    *ret_changed = false;
    if (lvhd_cbt_settle(r, ret_changed, err)) return -1;
    lvhd_list(r, &all);
    parents = chain_parents(&all);
    for (size_t i = 0; i < all.n; i++) {
        /* Nothing of it concerns most disks, and a repository where nothing is to do is not written to. */
        if (!lvhd_is_unfinished(&all.list[i], parents)) continue;
        if (!checked && owner_check(&r->vg, err)) return -1;
        checked = true;
        if (repair_one(r, &all, &all.list[i], &changed, err)) return -1;
        *ret_changed |= changed;
    }
    return 0;
}

static void put_notes(const struct map *notes, struct value_builder *b, const struct image *im)
{
    const struct mgt_vdi *v = map_get(notes, im->uuid);

    if (!v) return;
    if (*v->name_label) value_put(b, "name_label", value_string(v->name_label));
    if (*v->name_description) value_put(b, "name_description", value_string(v->name_description));
    if (v->is_a_snapshot) value_put(b, "is_a_snapshot", value_bool(true));
    if (*v->snapshot_of) value_put(b, "snapshot_of", value_string(v->snapshot_of));
    if (*v->type) value_put(b, "type", value_string(v->type));
}

static int put_disks(struct lvhd *r, struct value_builder *vdis, struct xerr *err)
{
    _cleanup_images_ struct images all = { 0 };
    _cleanup_mgt_ struct mgt m = MGT_INIT;

    lvhd_list(r, &all);
    mgt_open(&r->vg, &m);
    struct map *notes = mgt_read(&m);
    for (size_t i = 0; i < all.n; i++) {
        struct value_builder vdi = value_builder(r->sm->arena);
        const struct image *im = &all.list[i];
        if (has_prefix(im->name, TMP) || has_prefix(im->name, DEAD) || (im->broken && !im->missing_parent))
            continue;
        lvhd_put_image(r, &vdi, im);
        put_notes(notes, &vdi, im);
        if (im->broken) value_put(&vdi, "broken", value_string(im->broken));
        value_push(vdis, value_built_map(&vdi));
    }
    map_free(notes);
    return track_list(lvhd_tracker(r), &all, vdis, err);
}

int lvhd_sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct value_builder b = value_builder(sm->arena), vdis = b;
    bool changed;

    if (lvhd_open(sm, false, &r, err) || lvhd_repair(&r, &changed, err)) return -1;
    if (changed) {
        lvhd_close(&r);
        r = (struct lvhd)LVHD_INIT;
        if (lvhd_open(sm, false, &r, err)) return -1;
    }
    if (track_repair(lvhd_tracker(&r), err)) return -1;
    lvhd_let_go_strays(&r);
    if (put_disks(&r, &vdis, err)) return -1;
    value_put(&b, "vdis", value_built_set(&vdis));
    lvhd_put_space(&r, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- the rest ------------------------------------------------------------------------------ */

int lvhd_nothing(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_void();
    return 0;
}

int lvhd_sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_string("");
    return 0;
}

const char *const lvhd_features[] = {
    "SR_PROBE",      "SR_SCAN",    "SR_UPDATE",    "VDI_CREATE",     "VDI_DELETE",
    "VDI_ATTACH",    "VDI_DETACH", "VDI_UPDATE",   "VDI_INTRODUCE", "VDI_CLONE",
    "VDI_SNAPSHOT",  "VDI_RESIZE", "VDI_RESIZE_ONLINE", "VDI_RESET_ON_BOOT/2", "SR_COALESCE", "VDI_CONFIG_CBT", NULL
};
const char *const lvhd_formats[] = { "vhd", "qcow2", "raw", NULL };
