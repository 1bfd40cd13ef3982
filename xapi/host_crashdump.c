/* Class host_crashdump: what the kernel left behind when the host crashed, a folder each.
 * Called by: startup, the generated thunks (schema/host_crashdump.xml).  Calls: report, upload, db/. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define LOG_MODULE "crash"
#include "gen/methods.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/subproc.h"
#include "xapi/host.h"
#include "xapi/report.h"
#include "xapi/upload.h"

enum { DUMPS_MAX = 1000, PACK_MS = 3600000 };

struct dump {
    const char *name;
    int64_t timestamp, size;
};

/* Bytes of the files in a folder and in those below it, without following links. */
static int64_t folder_size(int at, const char *name, int depth)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int64_t sum = 0;
    struct stat st;

    if (!dir && fd >= 0) close(fd);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (streq(e->d_name, ".") || streq(e->d_name, "..") ||
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (S_ISREG(st.st_mode))
            sum += st.st_size;
        else if (S_ISDIR(st.st_mode) && depth > 0)
            sum += folder_size(fd, e->d_name, depth - 1);
    }
    if (dir) closedir(dir);
    return sum;
}

/* Every folder of crash-dir. The time is the folder's last change. */
static const struct dump *list_dumps(struct call *c, size_t *ret_n)
{
    const char *path = conf_str(c->agent->conf, "crash-dir");
    struct dump *dumps = arena_zalloc(c->arena, DUMPS_MAX * sizeof(*dumps));
    DIR *dir = opendir(path);
    struct stat st;
    size_t n = 0;

    if (!dir && errno != ENOENT) log_warn("%s: %s", path, strerror(errno));
    for (const struct dirent *e; dir && n < DUMPS_MAX && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
            !S_ISDIR(st.st_mode))
            continue;
        dumps[n++] = (struct dump){ arena_strdup(c->arena, e->d_name), st.st_mtime,
                                    folder_size(dirfd(dir), e->d_name, 8) };
    }
    if (dir) closedir(dir);
    *ret_n = n;
    return dumps;
}

static const struct dump *find_dump(const struct dump *dumps, size_t n, const struct row *row)
{
    const char *name = row_map_str(row, F_host_crashdump_other_config, "folder", NULL);

    for (size_t i = 0; i < n; i++)
        if (name && streq(dumps[i].name, name)) return &dumps[i];
    return NULL;
}

int host_crashdumps_scan(struct call *c, struct xerr *err)
{
    size_t n;
    const struct dump *dumps = list_dumps(c, &n);
    bool *known = arena_zalloc(c->arena, n + 1);
    struct txn *t = db_begin(c->agent->db);

    SNAP_EACH (txn_snap(t), CLASS_host_crashdump, row) {
        const struct dump *d = find_dump(dumps, n, row);
        if (d)
            known[d - dumps] = true;
        else
            txn_destroy(t, CLASS_host_crashdump, row_ref_of(row));
    }
    for (size_t i = 0; i < n; i++) {
        if (known[i]) continue;
        struct ref ref = ref_new();
        txn_create(t, CLASS_host_crashdump, ref);
        txn_set_ref(t, ref, F_host_crashdump_host, c->agent->host);
        txn_set_time(t, ref, F_host_crashdump_timestamp, dumps[i].timestamp);
        txn_set_int(t, ref, F_host_crashdump_size, dumps[i].size);
        txn_map_put_str(t, ref, F_host_crashdump_other_config, "folder", dumps[i].name);
    }
    return db_commit(t, err);
}

/* The folder of a record: only one that is there now, so that no key of other_config can name another
 * place. */
static int folder_of(struct call *c, struct ref self, const char **ret_name, struct xerr *err)
{
    size_t n;
    const struct dump *dumps = list_dumps(c, &n);
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_host_crashdump, self, err);

    if (!row) return -1;
    const struct dump *d = find_dump(dumps, n, row);
    *ret_name = d ? d->name : NULL;
    return 0;
}

int host_crashdump_destroy(struct call *c, struct ref self, struct xerr *err)
{
    const char *name;

    if (folder_of(c, self, &name, err)) return -1;
    if (name) {
        const char *path = arena_printf(c->arena, "%s/%s", conf_str(c->agent->conf, "crash-dir"), name);
        report_remove_folder(path);
        if (!access(path, F_OK)) return xerr_internal(err, "%s could not be removed", path);
    }
    struct txn *t = db_begin(c->agent->db);
    txn_destroy(t, CLASS_host_crashdump, self);
    return db_commit(t, err);
}

static bool cancelled(void *arg) { return call_cancelled(arg); }

/* The folder as tar.gz. */
static int pack(struct call *c, const char *name, const char *path, struct xerr *err)
{
    const char *const argv[] = { "tar", "-czf", path, "--", name, NULL };
    const struct subproc_command cmd = { .argv = argv, .cwd = conf_str(c->agent->conf, "crash-dir") };
    const struct subproc_limits limits = { .timeout_ms = PACK_MS,
                                           .cancelled = cancelled,
                                           .cancelled_arg = c };
    struct subproc_result r;
    int rc = 0;

    if (subproc_run(&cmd, NULL, 0, &limits, &r)) return xerr_internal(err, "tar: %s", strerror(errno));
    if (r.end == SUBPROC_CANCELLED)
        rc = call_check_cancel(c, err);
    else if (!subproc_ok(&r)) {
        _cleanup_free_ char *why = subproc_describe(&r);
        rc = xerr_internal(err, "tar: %s", why);
    }
    subproc_result_free(&r);
    return rc;
}

int host_crashdump_upload(struct call *c, struct ref self, const char *url, const struct value *options,
                          struct xerr *err)
{
    const char *name, *folder;

    if (*value_get_str(options, "http_proxy", ""))
        return xerr_value_not_supported(err, "http_proxy", value_get_str(options, "http_proxy", ""),
                                        "dumps are sent without a proxy");
    if (folder_of(c, self, &name, err)) return -1;
    if (!name) return xerr_internal(err, "the dump is gone from %s", conf_str(c->agent->conf, "crash-dir"));
    if (report_folder(c, &folder, err)) return -1;
    const char *path = arena_printf(c->arena, "%s/dump.tar.gz", folder);
    int rc = pack(c, name, path, err) || upload_file(c, path, url, err) ? -1 : 0;
    report_remove_folder(folder);
    return rc;
}

/* ---- class crashdump: dumps of guests, kept on a disk -------------------------------------------------- */

int crashdump_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct value ignored;
    struct ref vdi;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_crashdump, self, err);
        if (!row) return -1;
        vdi = row_ref(row, F_crashdump_VDI);
        if (!snap_get(s, CLASS_VDI, vdi)) vdi = REF_NULL;
    }
    if (!ref_is_null(vdi) && call_message(c, "VDI.destroy", ARGS(value_ref(vdi)), &ignored, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (snap_get(txn_snap(t), CLASS_crashdump, self)) txn_destroy(t, CLASS_crashdump, self);
    return db_commit(t, err);
}
