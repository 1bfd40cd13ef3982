/* How many paths lead to the disks of repositories on block networks.
 * Called by: jobs.  Calls: db/, dmsetup(8), sysfs. */
#include "xapi/pbd_multipath.h"

#include <dirent.h>
#include <stdio.h>
#include <time.h>

#define LOG_MODULE "multipath"
#include "gen/methods.h"
#include "lib/iso8601.h"
#include "lib/log.h"
#include "lib/subproc.h"

enum { PRIORITY = 3, PATIENCE_MS = 10000, TEXT_LIMIT = 4096 };
#define PREFIX "mpath-"

/* ---- what the kernel says --------------------------------------------------------------------- */

/* "0 8388608 multipath 2 0 0 0 2 1 E 0 1 0 8:16 A 0 D 0 1 0 8:32 F 1": behind each device, A or F. */
struct multipath_paths multipath_count(const char *status)
{
    struct multipath_paths p = { 0, 0 };
    unsigned major, minor;
    char state;

    for (const char *at = strchr(status, ':'); at; at = strchr(at + 1, ':')) {
        while (at > status && at[-1] != ' ') at--;
        if (sscanf(at, "%u:%u %c", &major, &minor, &state) == 3 && (state == 'A' || state == 'F')) {
            p.all++;
            p.working += state == 'A';
        }
        at = strchr(at, ':');
    }
    return p;
}

static const char *text_of(struct arena *a, const char *path)
{
    _cleanup_free_ char *text = NULL;

    if (read_file(path, TEXT_LIMIT, &text, NULL)) return "";
    return arena_strndup(a, text, strcspn(text, "\n"));
}

/* The map's line behind "NAME: ", NULL = there is none. */
static const char *status_of(const char *all, const char *name)
{
    const size_t n = strlen(name);

    for (const char *line = all; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, name, n) == 0 && line[n] == ':' && line[n + 1] == ' ') return line + n + 2;
    return NULL;
}

struct map_paths {
    const char *scsi_id;
    struct multipath_paths paths;
};
struct maps {
    struct map_paths *list;
    size_t n;
};

/* Every map of multipath. False: nobody could be asked. */
static bool list_maps(struct arena *a, struct maps *ret_maps)
{
    enum { MOST = 4096 };
    static const char *const argv[] = { "dmsetup", "status", "--target", "multipath", NULL };
    const struct subproc_command cmd = { .argv = argv };
    const struct subproc_limits limits = { .timeout_ms = PATIENCE_MS };
    _cleanup_subproc_result_ struct subproc_result r = { 0 };
    struct maps maps = { arena_new_array(a, struct map_paths, MOST), 0 };
    const struct dirent *e;

    if (subproc_run(&cmd, NULL, 0, &limits, &r) || !subproc_ok(&r)) return false;
    const char *all = arena_strdup(a, strbuf_cstr(&r.out));
    DIR *dir = opendir("/sys/block");
    while (dir && maps.n < MOST && (e = readdir(dir))) {
        if (!has_prefix(e->d_name, "dm-")) continue;
        const char *uuid = text_of(a, arena_printf(a, "/sys/block/%s/dm/uuid", e->d_name));
        if (!has_prefix(uuid, PREFIX)) continue;
        const char *line = status_of(all, text_of(a, arena_printf(a, "/sys/block/%s/dm/name", e->d_name)));
        if (!line) continue;
        line = arena_strndup(a, line, strcspn(line, "\n"));
        maps.list[maps.n++] = (struct map_paths){ uuid + strlen(PREFIX), multipath_count(line) };
    }
    if (dir) closedir(dir);
    *ret_maps = maps;
    return true;
}

/* ---- what the records say --------------------------------------------------------------------- */

static bool through_multipath(const struct row *host, const struct row *pbd)
{
    const char *multihomed = row_map_str(pbd, F_PBD_device_config, "multihomed", "");

    return row_bool(pbd, F_PBD_currently_attached) && (row_bool(host, F_host_multipathing) || streq(multihomed, "true"));
}

static bool has_notes(const struct row *pbd)
{
    const struct value *other = row_value(pbd, F_PBD_other_config);

    for (size_t i = 0; i < other->map.n; i++)
        if (has_prefix(other->map.members[i].key, PREFIX)) return true;
    return false;
}

/* The disk is the repository's LUN, or one of its LUNs. */
static bool is_its_lun(const struct snap *s, const struct row *pbd, const char *scsi_id)
{
    const struct row *sr = snap_get(s, CLASS_SR, row_ref(pbd, F_PBD_SR));
    const char *own = row_map_str(pbd, F_PBD_device_config, "SCSIid", "");

    if (*own || !sr) return streq(own, scsi_id);
    const struct refset *vdis = row_refs(sr, F_SR_VDIs);
    for (size_t i = 0; i < vdis->n; i++) {
        const struct row *vdi = snap_get(s, CLASS_VDI, vdis->refs[i]);
        if (vdi && streq(row_map_str(vdi, F_VDI_sm_config, "SCSIid", ""), scsi_id)) return true;
    }
    return false;
}

static const char *counts_text(struct arena *a, struct multipath_paths p)
{
    return arena_printf(a, "[%d, %d]", p.working, p.all);
}

/* What clients show of an alert: a line of XenServer's. */
static const char *alert_line(struct arena *a, const struct row *host, const struct row *pbd, const char *scsi_id,
                              struct multipath_paths p)
{
    char when[ISO8601_TEXT];

    return arena_printf(a, "[%s] host=%s; host-name=\"%s\"; pbd=%s; scsi_id=%s; current=%d; max=%d\n",
                        iso8601_text((int64_t)time(NULL), when), row_uuid(host), row_str(host, F_host_name_label),
                        row_uuid(pbd), scsi_id, p.working, p.all);
}

/* A map's counts into the PBD's notes. What it says for an alert, "" = nothing new. */
static const char *note(struct arena *a, struct txn *t, const struct row *host, const struct row *pbd,
                        const struct map_paths *m)
{
    const char *key = arena_printf(a, PREFIX "%s", m->scsi_id), *old = row_map_str(pbd, F_PBD_other_config, key, "");
    struct multipath_paths now = m->paths, was = { 0, 0 };
    const bool known = sscanf(old, "[%d, %d]", &was.working, &was.all) == 2;

    if (known && was.all > now.all) now.all = was.all; /* a path that is gone is missed */
    if (streq(old, counts_text(a, now))) return "";
    txn_map_put_str(t, row_ref_of(pbd), F_PBD_other_config, key, counts_text(a, now));
    txn_map_put_str(t, row_ref_of(pbd), F_PBD_other_config, "multipathed", "true");
    if (known ? was.working == now.working : now.working == now.all) return "";
    return alert_line(a, host, pbd, m->scsi_id, now);
}

/* Notes of maps that are no more. */
static void drop_notes(struct txn *t, const struct row *pbd, const struct maps *maps, bool all)
{
    const struct value *other = row_value(pbd, F_PBD_other_config);

    for (size_t i = 0; i < other->map.n; i++) {
        const char *key = other->map.members[i].key;
        bool there = !has_prefix(key, PREFIX);
        for (size_t k = 0; !all && k < maps->n; k++) there |= streq(maps->list[k].scsi_id, key + strlen(PREFIX));
        if (!there) txn_map_remove(t, row_ref_of(pbd), F_PBD_other_config, key);
    }
    if (all) txn_map_remove(t, row_ref_of(pbd), F_PBD_other_config, "multipathed");
}

static void look(struct call *c, struct txn *t, const struct snap *s, const struct row *host, const struct row *pbd,
                 const struct maps *maps, struct strbuf *news)
{
    const bool on = through_multipath(host, pbd);

    for (size_t i = 0; on && i < maps->n; i++)
        if (is_its_lun(s, pbd, maps->list[i].scsi_id)) strbuf_str(news, note(c->arena, t, host, pbd, &maps->list[i]));
    if (has_notes(pbd)) drop_notes(t, pbd, maps, !on);
}

static bool is_due(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);
    bool due = false;

    SNAP_EACH (s, CLASS_PBD, pbd)
        due |= host && ref_eq(row_ref(pbd, F_PBD_host), c->agent->host) && (through_multipath(host, pbd) || has_notes(pbd));
    return due;
}

static int look_at_all(struct call *c, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf news = STRBUF_INIT;
    struct maps maps;
    struct ref message;

    if (!is_due(c) || !list_maps(c->arena, &maps)) return 0;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);
    struct txn *t = db_begin(c->agent->db);
    SNAP_EACH (s, CLASS_PBD, pbd)
        if (host && ref_eq(row_ref(pbd, F_PBD_host), c->agent->host) && snap_get(txn_snap(t), CLASS_PBD, row_ref_of(pbd)))
            look(c, t, s, host, pbd, &maps, &news);
    const char *uuid = host ? arena_strdup(c->arena, row_uuid(host)) : "";
    snap_unref(take_ptr(s));
    if (db_commit(t, err) || !news.len) return err->code ? -1 : 0;
    const char *text = arena_printf(c->arena, "Unhealthy paths or paths that came back:\n%s", strbuf_cstr(&news));
    log_warn("%s", text);
    return message_create(c, "MULTIPATH_PERIODIC_ALERT", PRIORITY, cls_Host, uuid, text, &message, err);
}

void pbd_multipath_look(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "paths to disks");
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (look_at_all(c, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("paths to disks: %s", why);
    }
    call_free_internal(c);
}
