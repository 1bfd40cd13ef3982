/* Backup and restore of what this host keeps below its root: database, certificates, blobs.
 * Called by: http/host_files.c.  Calls: pool_db, report, tls, subproc.
 *
 * The archive: database.xml (as /pool/xmldbdump gives it), server.pem, certs/ca, certs/crl, blobs. */
#include "xapi/host_backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define LOG_MODULE "backup"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/subproc.h"
#include "lib/tls.h"
#include "xapi/pool_db.h"
#include "xapi/report.h"

enum { TAR_MS = 600000 };

static int run_tar(struct call *c, const char *const *argv, const char *cwd, const char **ret_log)
{
    const struct subproc_command cmd = { .argv = argv, .cwd = cwd };
    const struct subproc_limits limits = { .timeout_ms = TAR_MS };
    struct subproc_result r;

    if (subproc_run(&cmd, NULL, 0, &limits, &r)) {
        *ret_log = arena_printf(c->arena, "tar: %s", strerror(errno));
        return -1;
    }
    bool ok = subproc_ok(&r);
    if (!ok) *ret_log = arena_strdup(c->arena, r.err.len ? strbuf_cstr(&r.err) : "tar failed");
    subproc_result_free(&r);
    return ok ? 0 : -1;
}

int host_backup_make(struct call *c, const char **ret_path, struct xerr *err)
{
    static const char *const parts[] = { "server.pem", "certs", "blobs" };
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    const char *folder, *log = "", *argv[16] = { "tar", "-cf" };
    size_t n = 2;

    if (report_folder(c, &folder, err)) return -1;
    const char *path = arena_printf(c->arena, "%s.tar", folder);
    pool_db_dump(c->agent, false, &xml);
    const char *dump = arena_printf(c->arena, "%s/database.xml", folder);
    argv[n++] = path;
    argv[n++] = "database.xml";
    argv[n++] = "-C";
    argv[n++] = c->agent->root;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!access(arena_printf(c->arena, "%s/%s", c->agent->root, parts[i]), F_OK)) argv[n++] = parts[i];
    argv[n] = NULL;
    int rc = 0;
    if (write_file_atomic(dump, strbuf_cstr(&xml), xml.len, 0600))
        rc = xerr_internal(err, "%s: %s", dump, strerror(errno));
    else if (run_tar(c, argv, folder, &log))
        rc = xerr_backup_script_failed(err, log);
    report_remove_folder(folder);
    if (rc)
        unlink(path);
    else
        *ret_path = path;
    return rc;
}

/* ---- taking over --------------------------------------------------------------------------------------- */

/* Regular files of one unpacked folder become those of the root's; links and whatever else an archive may
 * hold stay where they are. */
static int take_files(struct call *c, const char *from_top, const char *name, struct xerr *err)
{
    const char *from = arena_printf(c->arena, "%s/%s", from_top, name),
               *to = arena_printf(c->arena, "%s/%s", c->agent->root, name);
    int fd = open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct stat st;
    int rc = 0;

    if (!dir) return 0;
    if (make_dirs(to, 0700)) rc = xerr_internal(err, "%s: %s", to, strerror(errno));
    for (const struct dirent *e; !rc && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        const char *target = arena_printf(c->arena, "%s/%s", to, e->d_name);
        if (renameat(fd, e->d_name, AT_FDCWD, target))
            rc = xerr_internal(err, "%s: %s", target, strerror(errno));
    }
    closedir(dir);
    return rc;
}

/* The certificate, when a server can use it. One that the configuration keeps elsewhere is not ours to
 * replace. */
static int take_certificate(struct call *c, const char *from_top, struct xerr *err)
{
    const char *from = arena_printf(c->arena, "%s/server.pem", from_top);
    const char *to = arena_printf(c->arena, "%s/server.pem", c->agent->root);
    struct stat st;

    if (!streq(c->agent->certificate, to) || lstat(from, &st) || !S_ISREG(st.st_mode)) return 0;
    if (c->agent->tls && tls_server_reload(c->agent->tls, from, err)) return -1;
    chmod(from, 0600);
    return rename(from, to) ? xerr_internal(err, "%s: %s", to, strerror(errno)) : 0;
}

int host_backup_restore(struct call *c, const char *folder, const char *tar, struct xerr *err)
{
    const char *top = arena_printf(c->arena, "%s/unpacked", folder),
               *dump = arena_printf(c->arena, "%s/database.xml", top);
    const char *const argv[] = { "tar", "-xf", tar, "--no-same-owner", "-C", top, NULL };
    _cleanup_free_ char *xml = NULL;
    const char *log;
    struct stat st;
    size_t len;

    if (mkdir(top, 0700)) return xerr_internal(err, "%s: %s", top, strerror(errno));
    if (run_tar(c, argv, folder, &log)) return xerr_restore_script_failed(err, log);
    if (lstat(dump, &st) || !S_ISREG(st.st_mode))
        return xerr_restore_script_failed(err, "the archive has no database.xml");
    if (read_file(dump, LIMIT_POOL_DUMP, &xml, &len)) return xerr_restore_script_failed(err, strerror(errno));
    /* First what can be refused. */
    if (pool_db_restore(c, xml, len, false, err)) return -1;
    if (take_files(c, top, "blobs", err) || take_files(c, top, "certs/ca", err) ||
        take_files(c, top, "certs/crl", err))
        return -1;
    return take_certificate(c, top, err);
}
