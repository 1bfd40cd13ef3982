/* What a host gives as files: GET /audit_log, /host_logs_download, /system-status; GET /host_backup, PUT
 * /host_restore.
 * Called by: the HTTP server, on threads of their own.  Calls: report, host_backup, transfer, http_auth. */
#include "xapi/http/host_files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "lib/iso8601.h"
#include "xapi/host_backup.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/transfer.h"
#include "xapi/report.h"

enum { STEP_MS = 60000, LINE_MAX_BYTES = 16 << 10, AUDIT_FILES = 4 };
static const int64_t BACKUP_MAX = INT64_C(1) << 30;

/* ---- the audit log ------------------------------------------------------------------------------------- */

/* The lines of one file from `since` on (a line begins with its date, and dates sort as text). */
static int send_lines(struct http_request *req, const char *path, const char *since, struct xerr *err)
{
    FILE *f = fopen(path, "re");
    char *line = arena_alloc(req->arena, LINE_MAX_BYTES);
    int rc = 0;

    if (!f) return errno == ENOENT ? 0 : xerr_internal(err, "%s: %s", path, strerror(errno));
    while (!rc && fgets(line, LINE_MAX_BYTES, f)) {
        if (strcmp(line, since) < 0) continue;
        if (stream_write(http_stream(req), line, strlen(line), STEP_MS))
            rc = xerr_internal(err, "the client has gone: %s", strerror(errno));
    }
    fclose(f);
    return rc;
}

static int send_audit(struct http_request *req, const struct agent *agent, const char *since,
                      struct xerr *err)
{
    if (http_stream_head(req, 200, "Connection: close\r\nContent-Type: text/plain\r\n"))
        return xerr_internal(err, "the client has gone: %s", strerror(errno));
    for (int i = AUDIT_FILES; i >= 0; i--) {
        const char *path = i ? arena_printf(req->arena, "%s/audit.log.%d", agent->root, i)
                             : arena_printf(req->arena, "%s/audit.log", agent->root);
        if (send_lines(req, path, since, err)) return -1;
    }
    return 0;
}

void get_audit_log(struct http_request *req, struct call *c, struct xerr *err)
{
    const char *text = http_query(&req->head, "since");
    char since[ISO8601_TEXT] = "";
    int64_t seconds;

    if (text && *text && !iso8601_parse(text, &seconds)) {
        xerr_invalid_value(err, "since", text);
        transfer_refuse(req, 400, err);
    } else {
        if (text && *text) iso8601_text(seconds, since);
        send_audit(req, c->agent, since, err);
    }
}

/* ---- archives ------------------------------------------------------------------------------------------ */

/* The file, then it is gone. */
static void send_archive(struct http_request *req, const char *path, const char *type, const char *name,
                         struct xerr *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    const char *headers = arena_printf(
        req->arena, "Content-Type: %s\r\nContent-Disposition: attachment; filename=\"%s\"\r\n", type, name);
    bool started = false;

    unlink(path);
    if (fd < 0)
        xerr_internal(err, "%s: %s", path, strerror(errno));
    else if (!transfer_send_file(req, fd, headers, &started, err))
        return;
    if (!started) transfer_refuse(req, 500, err);
}

static const char *archive_type(const char *output)
{
    return streq(output, "zip")       ? "application/zip"
           : streq(output, "tar.bz2") ? "application/x-bzip2"
           : streq(output, "tar.gz")  ? "application/gzip"
                                      : "application/x-tar";
}

static void send_report(struct http_request *req, struct call *c, const char *entries, const char *output,
                        const char *name, struct xerr *err)
{
    const char *path;

    if (report_make(c, entries, output, &path, err))
        transfer_refuse(req, 500, err);
    else
        send_archive(req, path, archive_type(output), arena_printf(req->arena, "%s.%s", name, output), err);
}

void get_host_logs_download(struct http_request *req, struct call *c, struct xerr *err)
{
    send_report(req, c, "xapi-logs,system-logs,kernel-info", "tar.gz", "host-logs", err);
}

void get_system_status(struct http_request *req, struct call *c, struct xerr *err)
{
    const char *output = http_query(&req->head, "output"), *entries = http_query(&req->head, "entries");

    send_report(req, c, entries, output && *output ? output : "tar", "bug-report", err);
}

void get_host_backup(struct http_request *req, struct call *c, struct xerr *err)
{
    const char *path;

    if (host_backup_make(c, &path, err))
        transfer_refuse(req, 500, err);
    else
        send_archive(req, path, "application/x-tar", "host-backup.tar", err);
}

/* 1. 200; 2. the archive into a file; 3. what is in it becomes this host's. */
static int restore(struct http_request *req, struct call *c, bool *ret_restored, struct xerr *err)
{
    const char *folder;
    int64_t size = 0;

    if (transfer_begin_upload(req, err) || report_folder(c, &folder, err)) return -1;
    const char *path = arena_printf(req->arena, "%s/upload.tar", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? xerr_internal(err, "%s: %s", path, strerror(errno))
                    : transfer_receive_file(req, c, fd, BACKUP_MAX, &size, err);
    if (fd >= 0) close(fd);
    if (!rc && size) {
        rc = host_backup_restore(c, folder, path, err);
        *ret_restored = !rc;
    }
    report_remove_folder(folder);
    return rc;
}

void put_host_restore(struct http_request *req, struct call *c, struct xerr *err)
{
    bool restored = false;

    restore(req, c, &restored, err);
    http_call_end(c, NULL, err);
    if (restored) kill(getpid(), SIGUSR1);
}
