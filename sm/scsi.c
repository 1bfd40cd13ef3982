/* SCSI disks of the host.
 * Called by: lvmoiscsi.c, lvmohba.c, target.c, iscsi.c.  Calls: libc, multipath(8). */
#include "sm/scsi.h"

#include "lib/clock.h"
#include "lib/num.h"
#include "lib/strbuf.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>

enum { LIMIT = 4096, PATIENCE_MS = 15000, LOOK_MS = 100 };

/* ---- sysfs --------------------------------------------------------------------------------- */

/* A file's text without what surrounds it, "" when it is not there. */
static const char *text_of(struct sm *sm, const char *path)
{
    _cleanup_free_ char *text = NULL;

    if (read_file(path, LIMIT, &text, NULL)) return "";
    size_t skip = strspn(text, " \t\n"), n = strlen(text);
    while (n > skip && isspace((unsigned char)text[n - 1])) n--;
    return arena_strndup(sm->arena, text + skip, n - skip);
}

/* Page 0x80: the serial number behind four bytes. */
static const char *serial_of(struct sm *sm, const char *device)
{
    _cleanup_free_ char *page = NULL;
    size_t len = 0, from = 4;

    if (read_file(arena_printf(sm->arena, "%s/vpd_pg80", device), LIMIT, &page, &len) || len < 4) return "";
    while (from < len && isspace((unsigned char)page[from])) from++;
    while (len > from && (isspace((unsigned char)page[len - 1]) || !page[len - 1])) len--;
    for (size_t i = from; i < len; i++)
        if (!isprint((unsigned char)page[i])) return "";
    return arena_strndup(sm->arena, page + from, len - from);
}

/* A designator of page 0x83 as scsi_id writes it, and how much it is preferred; 0 = it does not name the disk. */
static int take_designator(struct sm *sm, const unsigned char *d, const char **ret_id)
{
    const int set = d[0] & 15, association = d[1] >> 4 & 3, type = d[1] & 15;
    const size_t len = d[3];
    _cleanup_strbuf_ struct strbuf id = STRBUF_INIT;

    if (association != 0 || len == 0) return 0;
    if (type != 1 && type != 2 && type != 3) return 0;
    strbuf_printf(&id, "%d", type);
    for (size_t i = 0; i < len; i++) {
        if (set == 1)
            strbuf_printf(&id, "%02x", d[4 + i]);
        else if (isgraph(d[4 + i]))
            strbuf_char(&id, (char)d[4 + i]);
        else if (d[4 + i] && id.len && id.ptr[id.len - 1] != '_')
            strbuf_char(&id, '_');
    }
    *ret_id = arena_strdup(sm->arena, strbuf_cstr(&id));
    if (type == 3) return d[4] >> 4 == 6 ? 5 : 4; /* NAA; the long ones first */
    return type == 2 ? 3 : 2;
}

static const char *scsi_id_of(struct sm *sm, const char *device)
{
    _cleanup_free_ char *page = NULL;
    const char *best = "";
    size_t len = 0;
    int best_rank = 0;

    if (read_file(arena_printf(sm->arena, "%s/vpd_pg83", device), LIMIT, &page, &len)) return "";
    const unsigned char *p = (const unsigned char *)page;
    for (size_t at = 4; at + 4 <= len && at + 4 + p[at + 3] <= len; at += 4 + (size_t)p[at + 3]) {
        const char *id = "";
        int rank = take_designator(sm, p + at, &id);
        if (rank <= best_rank) continue;
        best = id;
        best_rank = rank;
    }
    return best;
}

static const char *map_of(struct sm *sm, const char *name)
{
    DIR *dir = opendir(arena_printf(sm->arena, "/sys/block/%s/holders", name));
    const struct dirent *e;
    const char *map = "";

    while (dir && !*map && (e = readdir(dir)))
        if (has_prefix(text_of(sm, arena_printf(sm->arena, "/sys/block/%s/dm/uuid", e->d_name)), "mpath-"))
            map = arena_printf(sm->arena, "/dev/mapper/%s",
                               text_of(sm, arena_printf(sm->arena, "/sys/block/%s/dm/name", e->d_name)));
    if (dir) closedir(dir);
    return map;
}

const char *scsi_iqn(struct sm *sm, const char *real)
{
    const char *at = strstr(real, "/session");

    if (!at) return "";
    at++;
    return text_of(
        sm, arena_printf(sm->arena, "/sys/class/iscsi_session/%.*s/targetname", (int)strcspn(at, "/"), at));
}

static bool load(struct sm *sm, const char *name, struct lun *ret_lun)
{
    struct arena *a = sm->arena;
    const char *device = arena_printf(a, "/sys/block/%s/device", name), *slash;
    _cleanup_free_ char *real = realpath(device, NULL);
    struct lun l = { .name = arena_strdup(a, name) };
    int64_t sectors = 0;
    long long number;

    if (!real || !(slash = strrchr(real, '/')) ||
        sscanf(slash, "/%d:%d:%d:%lld", &l.host, &l.channel, &l.id, &number) != 4)
        return false;
    l.number = number;
    num_parse_int(text_of(sm, arena_printf(a, "/sys/block/%s/size", name)), &sectors);
    l.size = sectors * 512;
    l.vendor = text_of(sm, arena_printf(a, "%s/vendor", device));
    l.serial = serial_of(sm, device);
    l.scsi_id = scsi_id_of(sm, device);
    l.hba = text_of(sm, arena_printf(a, "/sys/class/scsi_host/host%d/proc_name", l.host));
    l.iqn = scsi_iqn(sm, real);
    l.map = map_of(sm, name);
    *ret_lun = l;
    return true;
}

void scsi_list(struct sm *sm, struct luns *ret_luns)
{
    DIR *dir = opendir("/sys/block");
    struct luns luns = { 0 };
    const struct dirent *e;
    size_t cap = 0;

    while (dir && (e = readdir(dir))) {
        if (!has_prefix(e->d_name, "sd")) continue;
        if (luns.n == cap) {
            struct lun *more = arena_new_array(sm->arena, struct lun, cap = cap ? cap * 2 : 64);
            if (luns.n) memcpy(more, luns.list, luns.n * sizeof(*more));
            luns.list = more;
        }
        luns.n += load(sm, e->d_name, &luns.list[luns.n]);
    }
    if (dir) closedir(dir);
    *ret_luns = luns;
}

const struct lun *scsi_find(const struct luns *luns, const char *scsi_id, const char *iqn)
{
    const struct lun *found = NULL;

    for (size_t i = 0; i < luns->n; i++) {
        const struct lun *l = &luns->list[i];
        if (!streq(l->scsi_id, scsi_id) || (iqn && !streq(l->iqn, iqn))) continue;
        if (!found || (*l->map && !*found->map)) found = l;
    }
    return found;
}

int scsi_devices(struct sm *sm, const char *iqn, bool (*fits)(const struct lun *lun), const char *const **ret_devices,
                 struct xerr *err)
{
    const char *scsi_id = sm_config(sm, "SCSIid", ""), **list = arena_new_array(sm->arena, const char *, 2);
    struct luns luns;

    scsi_list(sm, &luns);
    const struct lun *l = *scsi_id ? scsi_find(&luns, scsi_id, iqn) : NULL;
    if (!l || (fits && !fits(l))) return sm_fail(err, SM_SR_UNAVAILABLE, "LUN %s is not there", scsi_id);
    list[0] = scsi_path(sm, l);
    list[1] = NULL;
    *ret_devices = list;
    return 0;
}

const char *scsi_path(struct sm *sm, const struct lun *lun)
{
    return *lun->map ? lun->map : arena_printf(sm->arena, "/dev/%s", lun->name);
}

int scsi_await(struct sm *sm, const char *scsi_id, const char *iqn, enum sm_error number, struct xerr *err)
{
    const int64_t until = clock_deadline_ns(PATIENCE_MS);

    for (;;) {
        struct luns luns;
        scsi_list(sm, &luns);
        const struct lun *l = scsi_find(&luns, scsi_id, iqn);
        /* udev makes the node a moment after the kernel has the disk */
        if (l && access(scsi_path(sm, l), R_OK) == 0) return 0;
        if (clock_boottime_ns() > until) break;
        usleep(LOOK_MS * 1000);
    }
    return sm_fail(err, number, "no disk %s%s%s appeared", scsi_id, iqn && *iqn ? " on " : "",
                   iqn ? iqn : "");
}

/* The kernel has found a disk on the target ("" = on none, NULL = anywhere) that is no block device yet. */
static bool is_coming(struct sm *sm, const char *iqn)
{
    DIR *dir = opendir("/sys/class/scsi_device");
    const struct dirent *e;
    bool found = false;

    while (dir && !found && (e = readdir(dir))) {
        const char *device = arena_printf(sm->arena, "/sys/class/scsi_device/%s/device", e->d_name);
        _cleanup_free_ char *real = *e->d_name == '.' ? NULL : realpath(device, NULL);
        if (!real || !streq(text_of(sm, arena_printf(sm->arena, "%s/type", device)), "0")) continue;
        found = (!iqn || streq(scsi_iqn(sm, real), iqn)) &&
                access(arena_printf(sm->arena, "%s/block", device), F_OK) != 0;
    }
    if (dir) closedir(dir);
    return found;
}

void scsi_settle(struct sm *sm, const char *iqn)
{
    const int64_t until = clock_deadline_ns(PATIENCE_MS);

    while (is_coming(sm, iqn) && clock_boottime_ns() < until) usleep(LOOK_MS * 1000);
}

void scsi_rescan(const char *driver)
{
    DIR *dir = opendir("/sys/class/scsi_host");
    const struct dirent *e;

    while (dir && (e = readdir(dir))) {
        _cleanup_free_ char *scan = xasprintf("/sys/class/scsi_host/%s/scan", e->d_name), *name = NULL;
        _cleanup_free_ char *proc = xasprintf("/sys/class/scsi_host/%s/proc_name", e->d_name);
        if (*e->d_name == '.' || read_file(proc, LIMIT, &name, NULL)) continue;
        if (driver && !has_prefix(name, driver)) continue;
        FILE *f = fopen(scan, "we");
        if (!f) continue;
        fputs("- - -\n", f);
        fclose(f);
    }
    if (dir) closedir(dir);
}

/* ---- multipath ----------------------------------------------------------------------------- */

bool scsi_multipath(const struct sm *sm)
{
    return streq(sm_param(sm, "multipathing", ""), "true") || streq(sm_config(sm, "multihomed", ""), "true");
}

/* The kernel sends nothing to a path that it has given up. */
static bool path_works(struct sm *sm, const struct lun *l)
{
    return streq(text_of(sm, arena_printf(sm->arena, "/sys/block/%s/device/state", l->name)), "running");
}

/* Every path of the disk that works is to be in its map: one that is left out is missed the day that the others fail.
 * *ret_missing: paths without a map, "/dev/sdb", ends with NULL. *ret_map: "" = there is none yet. */
static void look_at_paths(struct sm *sm, const char *scsi_id, const char *iqn, const char ***ret_missing, const char **ret_map)
{
    struct luns luns;
    size_t n = 0;

    scsi_list(sm, &luns);
    const char **missing = arena_new_array(sm->arena, const char *, luns.n + 1);
    *ret_map = "";
    for (size_t i = 0; i < luns.n; i++) {
        const struct lun *l = &luns.list[i];
        if (!streq(l->scsi_id, scsi_id) || (iqn && !streq(l->iqn, iqn))) continue;
        if (*l->map)
            *ret_map = l->map;
        else if (path_works(sm, l))
            missing[n++] = arena_printf(sm->arena, "/dev/%s", l->name);
    }
    missing[n] = NULL;
    *ret_missing = missing;
}

int scsi_map(struct sm *sm, const char *scsi_id, const char *iqn, struct xerr *err)
{
    const int64_t until = clock_deadline_ns(PATIENCE_MS);
    const char **missing, *map;
    bool known = false;

    if (!scsi_multipath(sm)) return 0;
    for (;;) {
        look_at_paths(sm, scsi_id, iqn, &missing, &map);
        if (*map && !*missing && access(map, R_OK) == 0) return 0;
        if (clock_boottime_ns() > until) break;
        for (size_t i = 0; missing[i]; i++) {
            const char *know[] = { "multipath", "-v0", "-a", missing[i], NULL };
            const char *make[] = { "multipath", "-v0", missing[i], NULL };
            _cleanup_xerr_ struct xerr ignored = XERR_INIT;
            if (!known && sm_run(sm, know, NULL, SM_MULTIPATH, err)) return -1;
            known = true;
            sm_run(sm, make, NULL, SM_MULTIPATH, &ignored); /* multipathd may have been quicker; what counts is the map */
        }
        usleep(LOOK_MS * 1000);
    }
    if (!*map) return sm_fail(err, SM_MULTIPATH, "multipath makes no map of disk %s", scsi_id);
    return sm_fail(err, SM_MULTIPATH, "multipath leaves %s, a path of disk %s, out of its map",
                   *missing ? missing[0] : map, scsi_id);
}

void scsi_unmap(struct sm *sm, const char *scsi_id)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct luns luns;

    scsi_list(sm, &luns);
    const struct lun *l = scsi_find(&luns, scsi_id, NULL);
    if (!l || !*l->map) return;
    const char *flush[] = { "multipath", "-v0", "-f", l->map + strlen("/dev/mapper/"), NULL };
    /* A disk that is known as multipath's LVM does not take without its map. */
    const char *forget[] = { "multipath", "-v0", "-w", arena_printf(sm->arena, "/dev/%s", l->name), NULL };
    if (sm_run(sm, flush, NULL, SM_MULTIPATH, &ignored) == 0) sm_run(sm, forget, NULL, SM_MULTIPATH, &ignored);
}
