/* Logs of changed blocks in volumes. track.c says what they hold when.
 * Called by: lvhd*.c, lvm.c and its like through lvhd.h.  Calls: track, lvhd.c.
 *
 *   <vdi uuid>.cbtlog       tag cbtlog, as XenServer makes it
 *   tmp-, dead-<that>       a new log that is to take its place, and the one that had it
 *
 * A log is written in place while the disk keeps its size. What is in one sector with the head comes first when the log begins
 * anew, so that a kill leaves one that tells too much, and last when it is completed. Everything else is a new volume: (1) it is
 * written as tmp-, (2) the old one becomes dead-, (3) tmp- takes the name, (4) dead- goes. A scan goes on at 3. */
#include "sm/lvhd_private.h"

#include "sm/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define TAG_LOG "cbtlog"
enum { SECTOR = 512 };

/* ---- reading ------------------------------------------------------------------------------- */

/* Past the volume's device where it can be: nothing is activated. */
struct source {
    struct lvhd *r;
    const struct vg_lv *lv;
    int fd; /* -1 = not opened yet */
    bool was_active;
};

static bool read_log(void *arg, void *buf, size_t n, int64_t at)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct source *s = arg;

    if (s->fd < 0 && vg_read_at(&s->r->vg, s->lv, at, buf, n) == 0) return true;
    if (s->fd < 0) s->fd = lvhd_open_volume(s->r, s->lv->name, O_RDONLY, &s->was_active, &ignored);
    return s->fd >= 0 && pread(s->fd, buf, n, at) == (ssize_t)n;
}

static const struct vg_lv *log_volume(const struct lvhd *r, const char *uuid)
{
    return vg_find(&r->vg, track_log_name(r->sm, uuid));
}

static bool has(void *place, const char *uuid) { return log_volume(place, uuid) != NULL; }

static bool load(void *place, const char *uuid, bool want_bits, struct cbt_log *ret_log)
{
    struct source s = { .r = place, .lv = log_volume(place, uuid), .fd = -1 };
    const char *why;

    if (!s.lv) return false;
    int rc = cbt_log_read_from(&(struct cbt_source){ read_log, &s, s.lv->size }, want_bits, ret_log, &why);
    if (s.fd >= 0) {
        close_fdp(&s.fd);
        lvhd_drop(place, s.lv->name, s.was_active);
    }
    return rc == 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

static int write_at(int fd, const unsigned char *buf, size_t n, off_t at)
{
    while (n) {
        ssize_t put = pwrite(fd, buf, n, at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -1;
        buf += put;
        at += put;
        n -= (size_t)put;
    }
    return fsync(fd);
}

/* Two parts, each durable before the next. */
static int write_log(int fd, const struct cbt_log *log, bool head_first)
{
    const size_t length = (cbt_log_length(log->size) + SECTOR - 1) / SECTOR * SECTOR, rest = length - SECTOR;
    _cleanup_free_ char *all = xcalloc(1, length);
    unsigned char *buf = (unsigned char *)all;

    cbt_log_encode(log, buf);
    if (head_first && write_at(fd, buf, SECTOR, 0)) return -1;
    if (rest && (sm_step("sm.cbt-half") || write_at(fd, buf + SECTOR, rest, SECTOR))) return -1;
    return head_first ? 0 : write_at(fd, buf, SECTOR, 0);
}

static int write_volume(struct lvhd *r, const char *name, const struct cbt_log *log, bool head_first, enum sm_error number,
                        struct xerr *err)
{
    bool active;
    int fd = lvhd_open_volume(r, name, O_RDWR, &active, err), rc;

    if (fd < 0) return -1;
    rc = write_log(fd, log, head_first) || sm_step("sm.cbt-written") ? sm_fail_errno(err, number, "cannot write %s", name) : 0;
    close(fd);
    lvhd_drop(r, name, active);
    return rc;
}

/* The group has other volumes now. */
static int look_again(struct lvhd *r, struct xerr *err)
{
    vg_close(&r->vg);
    r->vg = (struct vg)VG_INIT;
    return vg_read(r->sm, &r->vg, err);
}

static int replace(struct lvhd *r, const char *uuid, const struct cbt_log *log, enum sm_error number, struct xerr *err)
{
    const char *name = track_log_name(r->sm, uuid), *tmp = arena_printf(r->sm->arena, TMP "%s", name),
               *dead = arena_printf(r->sm->arena, DEAD "%s", name), *pv_tag = owner_tag(r->sm);
    const int64_t room = vg_round((int64_t)cbt_log_length(log->size));
    const bool had = vg_find(&r->vg, name) != NULL;
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;

    if (vg_find(&r->vg, tmp) && vg_remove_lv(&r->vg, tmp, err)) return -1;
    if (vg_create_lv(&r->vg, tmp, room, TAG_LOG, *pv_tag ? pv_tag : NULL, err)) return -1;
    if (write_volume(r, tmp, log, true, number, err)) {
        vg_remove_lv(&r->vg, tmp, &ignored);
        return -1;
    }
    vg_release(&r->vg, tmp);
    if ((had && vg_rename_lv(&r->vg, name, dead, err)) || vg_rename_lv(&r->vg, tmp, name, err) ||
        (had && vg_remove_lv(&r->vg, dead, err)))
        return -1;
    return look_again(r, err);
}

static int store(void *place, const char *uuid, const struct cbt_log *log, enum sm_error number, struct xerr *err)
{
    struct lvhd *r = place;
    const struct vg_lv *lv = log_volume(r, uuid);
    struct cbt_log old;

    if (owner_check(&r->vg, err)) return -1;
    if (!lv || !load(r, uuid, false, &old) || old.size != log->size || lv->size < (int64_t)cbt_log_length(log->size))
        return replace(r, uuid, log, number, err);
    return write_volume(r, lv->name, log, !ref_eq(old.parent, log->parent), number, err);
}

static int remove_log(void *place, const char *uuid, enum sm_error number, struct xerr *err)
{
    struct lvhd *r = place;

    (void)number;
    if (!has(r, uuid)) return 0;
    if (owner_check(&r->vg, err) || vg_remove_lv(&r->vg, track_log_name(r->sm, uuid), err)) return -1;
    return look_again(r, err);
}

/* ---- as track.h's table --------------------------------------------------------------------- */

static int each(void *place, track_fn fn, void *arg, struct xerr *err)
{
    struct lvhd *r = place;
    const size_t n = r->vg.n_lvs;
    char(*uuids)[UUID_TEXT] = arena_alloc(r->sm->arena, (n + 1) * UUID_TEXT);
    size_t logs = 0;

    for (size_t i = 0; i < n; i++) /* fn may read the group again */
        if (track_is_log(r->vg.lvs[i].name, uuids[logs])) logs++;
    for (size_t i = 0; i < logs; i++)
        if (fn(lvhd_tracker(r), uuids[i], arg, err)) return -1;
    return 0;
}

static int64_t used(void *place, const char *uuid)
{
    const struct vg_lv *lv = log_volume(place, uuid);

    return lv ? lv->size : 0;
}

static int find(void *place, const char *uuid, struct image *ret_image, struct xerr *err)
{
    return lvhd_find(place, uuid, ret_image, err);
}

static bool find_base(void *place, const char *uuid, struct image *ret_image)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;

    return lvhd_find(place, uuid, ret_image, &ignored) == 0;
}

static int own_ranges(void *place, const struct image *im, image_range_fn fn, void *arg, struct xerr *err)
{
    bool active;
    int fd = lvhd_open_volume(place, im->name, O_RDONLY, &active, err), rc;

    if (fd < 0) return -1;
    rc = im->format->own_ranges(fd, fn, arg) ? sm_fail_errno(err, SM_VDI_LOAD, "cannot read %s", im->name) : 0;
    close(fd);
    lvhd_drop(place, im->name, active);
    return rc;
}

struct tracker lvhd_tracker(struct lvhd *r)
{
    static const struct track_place in = { has, load, store, remove_log, each, used, find, find_base, own_ranges };

    return (struct tracker){ r->sm, r, &in };
}

/* ---- what a killed driver left -------------------------------------------------------------- */

/* A volume of a log under this prefix: its name without it, else NULL. */
static const char *name_behind(const struct vg_lv *lv, const char *prefix)
{
    char uuid[UUID_TEXT];

    return has_prefix(lv->name, prefix) && track_is_log(lv->name + strlen(prefix), uuid) ? lv->name + strlen(prefix) : NULL;
}

static bool there(struct lvhd *r, const char *prefix, const char *name)
{
    return vg_find(&r->vg, arena_printf(r->sm->arena, "%s%s", prefix, name)) != NULL;
}

int lvhd_cbt_settle(struct lvhd *r, bool *ret_changed, struct xerr *err)
{
    static const char *const prefixes[] = { TMP, DEAD }; /* in this order: while there is dead-, tmp- is complete */

    for (size_t k = 0; k < ARRAY_SIZE(prefixes); k++) {
        for (size_t i = 0; i < r->vg.n_lvs; i++) {
            const char *full = r->vg.lvs[i].name, *name = name_behind(&r->vg.lvs[i], prefixes[k]);
            if (!name) continue;
            if (!*ret_changed && owner_check(&r->vg, err)) return -1;
            *ret_changed = true;
            const bool superfluous = there(r, "", name) || (k == 0 ? !there(r, DEAD, name) : there(r, TMP, name));
            if (superfluous ? vg_remove_lv(&r->vg, full, err) : vg_rename_lv(&r->vg, full, name, err)) return -1;
        }
    }
    return 0;
}

/* ---- commands ------------------------------------------------------------------------------ */

int lvhd_vdi_enable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct image im;

    if (lvhd_open(sm, true, &r, err) || lvhd_find_request(&r, &im, err)) return -1;
    return track_enable(lvhd_tracker(&r), &im, err) || lvhd_answer(&r, im.uuid, ret_answer, err) ? -1 : 0;
}

int lvhd_vdi_disable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;
    struct image im;

    if (lvhd_open(sm, true, &r, err) || lvhd_find_request(&r, &im, err)) return -1;
    return track_end(lvhd_tracker(&r), im.uuid, err) || lvhd_answer(&r, im.uuid, ret_answer, err) ? -1 : 0;
}

int lvhd_vdi_list_changed_blocks(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;

    return lvhd_open(sm, false, &r, err) || track_list_changed_blocks(lvhd_tracker(&r), ret_answer, err) ? -1 : 0;
}

int lvhd_vdi_compare(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_lvhd_ struct lvhd r = LVHD_INIT;

    return lvhd_open(sm, false, &r, err) || track_compare(lvhd_tracker(&r), ret_answer, err) ? -1 : 0;
}
