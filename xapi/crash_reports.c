/* Reports of crashes: crash-<seconds>-<pid>.new until they have been told, then without ".new".
 * Called by: main.c, startup.c, report.c.  Calls: message, lib/crash. */
#include "xapi/crash_reports.h"

#define LOG_MODULE "crash"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gen/methods.h"
#include "lib/limits.h"
#include "lib/log.h"

enum { READ_MAX = 64 << 10, LISTED_MAX = 1000, PRIORITY = 2 };
#define NEW ".new"

char *crash_reports_folder(const char *root)
{
    return xasprintf("%s/crash", root);
}

static long long seconds_of(const char *path)
{
    return strtoll(strrchr(path, '/') + strlen("/crash-"), NULL, 10);
}

static int cmp_newest_first(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    const long long i = seconds_of(*x), j = seconds_of(*y);

    return i == j ? strcmp(*y, *x) : i < j ? 1 : -1;
}

const char *const *crash_reports_list(const char *root, struct arena *arena, size_t *ret_n)
{
    _cleanup_free_ char *folder = crash_reports_folder(root);
    const char **paths = arena_new_array(arena, const char *, LISTED_MAX);
    DIR *dir = opendir(folder);
    size_t n = 0;

    for (const struct dirent *e; dir && n < LISTED_MAX && (e = readdir(dir));)
        if (has_prefix(e->d_name, "crash-")) paths[n++] = arena_printf(arena, "%s/%s", folder, e->d_name);
    if (dir) closedir(dir);
    if (n) qsort(paths, n, sizeof(*paths), cmp_newest_first);
    *ret_n = n;
    return paths;
}

static const char *host_uuid(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);

    return host ? arena_strdup(c->arena, row_uuid(host)) : "";
}

/* Told is what has lost its ".new": a report that could not be renamed is told again. */
static int tell(struct call *c, const char *path, struct xerr *err)
{
    _cleanup_free_ char *text = NULL;
    struct ref message;
    size_t n;

    if (read_file(path, READ_MAX, &text, &n)) return xerr_internal(err, "%s: %s", path, strerror(errno));
    char *where = strstr(text, "where:\n");
    if (where) *where = '\0';
    const char *told = arena_printf(c->arena, "%.*s", (int)(strlen(path) - strlen(NEW)), path);
    const char *body = arena_printf(c->arena, "%sreport: %s\n", text, told);
    log_error("the agent before this one crashed, %s: %s", told, text);
    if (message_create(c, "XAPI_CRASHED", PRIORITY, cls_Host, host_uuid(c), body, &message, err)) return -1;
    return rename(path, told) ? xerr_internal(err, "%s: %s", path, strerror(errno)) : 0;
}

static bool is_new(const char *path)
{
    size_t n = strlen(path);

    return n > strlen(NEW) && streq(path + n - strlen(NEW), NEW);
}

void crash_reports_trim(const char *root)
{
    _cleanup_arena_ struct arena *a = arena_new();
    size_t n;
    const char *const *paths = crash_reports_list(root, a, &n);

    for (size_t i = LIMIT_CRASH_REPORTS; i < n; i++)
        if (unlink(paths[i])) log_warn("%s: %s", paths[i], strerror(errno));
}

int crash_reports_tell(struct call *c, struct xerr *err)
{
    size_t n;
    const char *const *paths = crash_reports_list(c->agent->root, c->arena, &n);

    for (size_t i = 0; i < n; i++)
        if (is_new(paths[i]) && tell(c, paths[i], err)) return -1;
    return 0;
}
