/* A volume group of LVM.
 * Called by: lvhd*.c, mgt.c, the drivers of block devices.  Calls: lvm(8), dmsetup(8). */
#include "sm/vg.h"

#include "lib/map.h"
#include "lib/num.h"
#include "lib/strbuf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { MAX_ARGS = 64 };

/* No copy of 16,000 volumes' records in /etc with every change, no daemon that watches the volumes. */
#define CONFIG "backup{backup=0 archive=0} activation{monitoring=0} global{event_activation=0}"

/* ---- commands ------------------------------------------------------------------------------ */

/* LVM says by text only that there is no room. */
static int fail_lvm(struct xerr *err, struct xerr *why)
{
    static const struct {
        const char *text;
        const char *code;
    } known[] = {
        { "nsufficient free space", "SR_BACKEND_FAILURE_44" },
        { "nsufficient suitable", "SR_BACKEND_FAILURE_44" },
        { "already exists in volume group", "SR_BACKEND_FAILURE_43" },
        { "No matching physical volumes found", "SR_BACKEND_FAILURE_47" },
        { "in use", "SR_BACKEND_FAILURE_24" },
    };

    for (size_t i = 0; why->n > 1 && i < ARRAY_SIZE(known); i++) {
        if (!strstr(why->params[1], known[i].text)) continue;
        return xerr_set(err, known[i].code, why->n, (const char *const *)why->params);
    }
    return xerr_move(err, why);
}

int vg_lvm(struct sm *sm, const char *const *devices, const char *const argv[], const char **ret_out,
           enum sm_error number, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    const char *all[MAX_ARGS] = { "lvm", argv[0], "--config", CONFIG };
    size_t n = 4;

    for (size_t i = 0; devices[i] && n < MAX_ARGS / 2; i++) {
        all[n++] = "--devices";
        all[n++] = devices[i];
    }
    for (size_t i = 1; argv[i] && n < MAX_ARGS - 1; i++) all[n++] = argv[i];
    all[n] = NULL;
    setenv("LVM_SUPPRESS_FD_WARNINGS", "1", 1); /* it has our locks, and shall */
    return sm_run(sm, all, ret_out, number, &why) ? fail_lvm(err, &why) : 0;
}

/* A change of the group: a step before it and one behind it. */
static int on_vg(struct vg *vg, const char *const argv[], enum sm_error number, struct xerr *err)
{
    if (sm_step("sm.lvm-begin")) return sm_fail_errno(err, number, "%s", argv[0]);
    if (vg_lvm(vg->sm, vg->devices, argv, NULL, number, err)) return -1;
    return sm_step("sm.lvm-done") ? sm_fail_errno(err, number, "%s", argv[0]) : 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

enum field {
    PV_NAME,
    PV_TAGS,
    PE_START,
    VG_NAME,
    VG_EXTENT_SIZE,
    VG_EXTENTS,
    VG_FREE,
    PVSEG_START,
    PVSEG_SIZE,
    LV_NAME,
    LV_TAGS,
    LV_SIZE,
    SEG_START,
    SEG_TYPE,
    FIELDS
};
#define FIELD_NAMES                                                                                          \
    "pv_name,pv_tags,pe_start,vg_name,vg_extent_size,vg_extent_count,vg_free_count,pvseg_start,pvseg_size,"  \
    "lv_name,lv_tags,lv_size,seg_start_pe,segtype"

static int64_t number(const char *text)
{
    int64_t i = 0;

    return num_parse_int(text, &i) ? i : 0;
}

static size_t pv_index(struct vg *vg, char **f)
{
    if (vg->n_pvs && streq(vg->pvs[vg->n_pvs - 1].name, f[PV_NAME])) return vg->n_pvs - 1;
    vg->pvs = xrealloc(vg->pvs, (vg->n_pvs + 1) * sizeof(*vg->pvs));
    vg->pvs[vg->n_pvs] = (struct vg_pv){ f[PV_NAME], f[PV_TAGS], number(f[PE_START]), -1 };
    return vg->n_pvs++;
}

/* One run of a volume, or of free space. */
static void take_line(struct vg *vg, char **f)
{
    const size_t pv = pv_index(vg, f);

    vg->extent = number(f[VG_EXTENT_SIZE]);
    vg->size = number(f[VG_EXTENTS]) * vg->extent;
    vg->free_space = number(f[VG_FREE]) * vg->extent;
    if (!*f[LV_NAME] || *f[LV_NAME] == '[') return;
    size_t i = (size_t)(uintptr_t)map_get(vg->by_name, f[LV_NAME]);
    if (!i) {
        if (vg->n_lvs % 64 == 0) vg->lvs = xrealloc(vg->lvs, (vg->n_lvs + 64) * sizeof(*vg->lvs));
        vg->lvs[vg->n_lvs++] =
            (struct vg_lv){ .name = f[LV_NAME], .tags = f[LV_TAGS], .size = number(f[LV_SIZE]) };
        i = vg->n_lvs;
        map_put(vg->by_name, f[LV_NAME], (void *)(uintptr_t)i);
    }
    if (number(f[SEG_START]) || !streq(f[SEG_TYPE], "linear")) return;
    vg->lvs[i - 1].first = (struct vg_run){
        .len = number(f[PVSEG_SIZE]) * vg->extent,
        .pv = pv,
        .pv_at = vg->pvs[pv].start + number(f[PVSEG_START]) * vg->extent,
    };
}

/* Fields with '|' between, a line for each run. */
static void take_report(struct vg *vg, char *text)
{
    char *save = NULL, *f[FIELDS];

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        size_t n = 0;
        line += strspn(line, " ");
        for (char *at = line; n < FIELDS; n++) f[n] = at ? strsep(&at, "|") : (char *)(uintptr_t) "";
        if (streq(f[VG_NAME], vg->name)) take_line(vg, f);
    }
}

int vg_name(struct sm *sm, struct vg *ret_vg, struct xerr *err)
{
    struct vg vg = { .sm = sm,
                     .name = arena_printf(sm->arena, VG_PREFIX "%s", sm->sr_uuid),
                     .extent = VG_EXTENT };

    if (!*sm->sr_uuid) return sm_fail(err, SM_BAD_REQUEST, "sr_uuid is missing");
    if (sm->driver->devices(sm, &vg.devices, err)) return -1;
    *ret_vg = vg;
    return 0;
}

int vg_read(struct sm *sm, struct vg *ret_vg, struct xerr *err)
{
    static const char *const head[] = { "pvs",     "--segments", "--noheadings", "--separator", "|",
                                        "--units", "b",          "--nosuffix",   "--options",   FIELD_NAMES };
    const char *argv[MAX_ARGS / 2] = { NULL }, *out = NULL;
    size_t n = ARRAY_SIZE(head);

    if (vg_name(sm, ret_vg, err)) return -1;
    memcpy(argv, head, sizeof(head));
    for (size_t i = 0; ret_vg->devices[i] && n + 1 < ARRAY_SIZE(argv); i++) argv[n++] = ret_vg->devices[i];
    if (vg_lvm(sm, ret_vg->devices, argv, &out, SM_SR_UNAVAILABLE, err)) return -1;
    ret_vg->by_name = map_new();
    take_report(ret_vg, arena_strdup(sm->arena, out));
    if (ret_vg->n_pvs) return 0;
    vg_close(ret_vg);
    return sm_fail(err, SM_SR_UNAVAILABLE, "no such volume group: %s on %s", ret_vg->name,
                   ret_vg->devices[0]);
}

void vg_close(struct vg *vg)
{
    for (size_t i = 0; i < vg->n_pvs; i++) close_fdp(&vg->pvs[i].fd);
    free(take_ptr(vg->pvs));
    free(take_ptr(vg->lvs));
    vg->n_pvs = vg->n_lvs = 0;
    map_free(take_ptr(vg->by_name));
}

const struct vg_lv *vg_find(const struct vg *vg, const char *name)
{
    size_t i = vg->by_name ? (size_t)(uintptr_t)map_get(vg->by_name, name) : 0;

    return i ? &vg->lvs[i - 1] : NULL;
}

const char *vg_tag_value(struct sm *sm, const char *tags, const char *prefix)
{
    const size_t n = strlen(prefix);

    for (const char *at = tags; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, prefix, n) == 0) return arena_strndup(sm->arena, at + n, strcspn(at + n, ","));
    }
    return NULL;
}

bool vg_lv_has_tag(const struct vg_lv *lv, const char *tag)
{
    const size_t n = strlen(tag);

    for (const char *at = lv->tags; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, tag, n) == 0 && (at[n] == '\0' || at[n] == ',')) return true;
    }
    return false;
}

int vg_read_at(struct vg *vg, const struct vg_lv *lv, int64_t at, void *buf, size_t len)
{
    static _Alignas(VG_PEEK) char piece[16 * VG_PEEK];
    struct vg_pv *pv = &vg->pvs[lv->first.pv];
    char *out = buf;

    if (lv->first.len < at + (int64_t)len) {
        errno = ENODATA;
        return -1;
    }
    if (pv->fd < 0) pv->fd = open(pv->name, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (pv->fd < 0) return -1;
    while (len) {
        const size_t skip = (size_t)(at % VG_PEEK), room = sizeof(piece) - skip, n = len < room ? len : room;
        const size_t want = (skip + n + VG_PEEK - 1) / VG_PEEK * VG_PEEK;
        ssize_t got = pread(pv->fd, piece, want, lv->first.pv_at + at - (int64_t)skip);
        if (got != (ssize_t)want) {
            if (got >= 0) errno = ENODATA;
            return -1;
        }
        memcpy(out, piece + skip, n);
        out += n;
        at += (int64_t)n;
        len -= n;
    }
    return 0;
}

int vg_peek(struct vg *vg, const struct vg_lv *lv, void *buf) { return vg_read_at(vg, lv, 0, buf, VG_PEEK); }

/* ---- names --------------------------------------------------------------------------------- */

const char *vg_path(const struct vg *vg, const char *lv)
{
    return arena_printf(vg->sm->arena, "/dev/%s/%s", vg->name, lv);
}

/* As device-mapper calls it: dashes doubled. */
static const char *dm_name(const struct vg *vg, const char *lv)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const char *const parts[] = { vg->name, lv };

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (i) strbuf_char(&b, '-');
        for (const char *p = parts[i]; *p; p++) {
            if (*p == '-') strbuf_char(&b, '-');
            strbuf_char(&b, *p);
        }
    }
    return arena_strdup(vg->sm->arena, strbuf_cstr(&b));
}

bool vg_is_active(const struct vg *vg, const char *lv)
{
    struct stat st;

    return stat(vg_path(vg, lv), &st) == 0 && S_ISBLK(st.st_mode);
}

int64_t vg_round(int64_t bytes) { return (bytes + VG_EXTENT - 1) / VG_EXTENT * VG_EXTENT; }

/* ---- changes ------------------------------------------------------------------------------- */

static const char *full_name(const struct vg *vg, const char *lv)
{
    return arena_printf(vg->sm->arena, "%s/%s", vg->name, lv);
}

static const char *bytes_text(const struct vg *vg, int64_t bytes)
{
    return arena_printf(vg->sm->arena, "%lldb", (long long)bytes);
}

int vg_create_lv(struct vg *vg, const char *name, int64_t size, const char *tag, const char *pv_tag,
                 struct xerr *err)
{
    const char *argv[] = { "lvcreate", "--yes", "--quiet", "--wipesignatures",   "n",  "--zero", "n",
                           "--name",   name,    "--size",  bytes_text(vg, size), NULL, NULL,     NULL,
                           NULL,       NULL };
    size_t n = 11;

    if (tag) {
        argv[n++] = "--addtag";
        argv[n++] = tag;
    }
    argv[n++] = vg->name;
    if (pv_tag) argv[n++] = arena_printf(vg->sm->arena, "@%s", pv_tag);
    if (on_vg(vg, argv, SM_VDI_CREATE, err)) return -1;
    vg->free_space -= vg_round(size);
    return 0;
}

int vg_remove_lv(struct vg *vg, const char *name, struct xerr *err)
{
    const char *argv[] = { "lvremove", "--yes", "--force", "--quiet", full_name(vg, name), NULL };
    const struct vg_lv *lv = vg_find(vg, name);

    if (on_vg(vg, argv, SM_VDI_REMOVE, err)) return -1;
    if (lv) vg->free_space += lv->size;
    return 0;
}

int vg_rename_lv(struct vg *vg, const char *from, const char *to, struct xerr *err)
{
    const char *argv[] = { "lvrename", "--quiet", vg->name, from, to, NULL };

    return on_vg(vg, argv, SM_VDI_SNAPSHOT, err);
}

int vg_resize_lv(struct vg *vg, const char *name, int64_t size, enum sm_error failure, struct xerr *err)
{
    const char *argv[] = { "lvresize",          "--yes", "--force", "--quiet", "--size", bytes_text(vg, size),
                           full_name(vg, name), NULL };
    const struct vg_lv *lv = vg_find(vg, name);

    if (lv && lv->size == vg_round(size)) return 0;
    if (on_vg(vg, argv, failure, err)) return -1;
    if (lv) vg->free_space += lv->size - vg_round(size);
    return 0;
}

int vg_tag_lv(struct vg *vg, const char *name, const char *add, const char *drop, struct xerr *err)
{
    const char *argv[8] = { "lvchange", "--quiet" };
    size_t n = 2;

    if (add) {
        argv[n++] = "--addtag";
        argv[n++] = add;
    }
    if (drop) {
        argv[n++] = "--deltag";
        argv[n++] = drop;
    }
    argv[n] = full_name(vg, name);
    return on_vg(vg, argv, SM_IO, err);
}

int vg_activate(struct vg *vg, const char *const *names, size_t n, struct xerr *err)
{
    const char *argv[MAX_ARGS / 2] = { "lvchange", "--quiet", "--activate", "y", "--ignoreactivationskip" };
    size_t k = 5;

    for (size_t i = 0; i < n; i++) {
        if (vg_is_active(vg, names[i])) continue;
        if (k + 1 == ARRAY_SIZE(argv)) { /* a long chain: in portions */
            if (on_vg(vg, argv, SM_VDI_UNAVAILABLE, err)) return -1;
            k = 5;
            memset(argv + k, 0, sizeof(argv) - k * sizeof(*argv));
        }
        argv[k++] = full_name(vg, names[i]);
    }
    return k > 5 ? on_vg(vg, argv, SM_VDI_UNAVAILABLE, err) : 0;
}

static void remove_device(struct vg *vg, const char *name, bool retry)
{
    const char *argv[] = { "dmsetup", "remove", dm_name(vg, name), retry ? "--retry" : NULL, NULL };
    _cleanup_xerr_ struct xerr busy = XERR_INIT;

    if (!vg_is_active(vg, name)) return;
    sm_step("sm.volume-release"); /* a volume that stays active harms nobody on this host: only a kill counts */
    sm_run(vg->sm, argv, NULL, SM_IO, &busy);
}

void vg_deactivate(struct vg *vg, const char *name) { remove_device(vg, name, false); }
void vg_release(struct vg *vg, const char *name) { remove_device(vg, name, true); }
