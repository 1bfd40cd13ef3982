/* The bug report: what this host can tell about itself, entry by entry, as an archive.
 * Called by: host_logs.c, http/host_files.c.  Calls: subproc, pool_db, db/. */
#include "xapi/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define LOG_MODULE "report"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/subproc.h"
#include "lib/xmlrpc.h"
#include "xapi/crash_reports.h"
#include "xapi/pool_db.h"

enum { TEXT_MAX = 32 << 20, COMMAND_MS = 60000, PACK_MS = 600000 };

/* ---- the entries --------------------------------------------------------------------------------------- */

struct collector {
    struct call *c;
    const char *folder;
};

static void put(const struct collector *k, const char *name, const char *text, size_t n)
{
    const char *path = arena_printf(k->c->arena, "%s/%s", k->folder, name);

    if (write_file_atomic(path, text, n, 0600)) log_warn("%s: %s", path, strerror(errno));
}

static void put_file(const struct collector *k, const char *name, const char *path)
{
    _cleanup_free_ char *text = NULL;
    size_t n;

    if (!read_file(path, TEXT_MAX, &text, &n)) put(k, name, text, n);
}

/* Output of a program; one that is missing or fails says so in its file. */
static void put_command(const struct collector *k, const char *name, const char *const *argv)
{
    const struct subproc_command cmd = { .argv = argv, .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = COMMAND_MS, .out_bytes = TEXT_MAX };
    struct subproc_result r;

    if (subproc_run(&cmd, NULL, 0, &limits, &r)) {
        const char *text = arena_printf(k->c->arena, "%s: %s\n", argv[0], strerror(errno));
        put(k, name, text, strlen(text));
        return;
    }
    if (!subproc_ok(&r)) strbuf_printf(&r.out, "\n%s\n", strbuf_cstr(&r.err));
    put(k, name, strbuf_cstr(&r.out), r.out.len);
    subproc_result_free(&r);
}

static void collect_logs(const struct collector *k)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const char *text;

    if (report_own_log(k->c, TEXT_MAX, &text, &err)) text = "no log that this agent could read\n";
    put(k, "xapi.log", text, strlen(text));
    put_file(k, "audit.log", arena_printf(k->c->arena, "%s/audit.log", k->c->agent->root));
}

static void collect_crashes(const struct collector *k)
{
    size_t n;
    const char *const *paths = crash_reports_list(k->c->agent->root, k->c->arena, &n);

    for (size_t i = 0; i < n; i++) put_file(k, strrchr(paths[i], '/') + 1, paths[i]);
}

/* The system's, where they are; at most the end of each. */
static void collect_system_logs(const struct collector *k)
{
    static const char *const names[] = { "syslog", "messages", "kern.log", "daemon.log" };
    const char *limit = arena_printf(k->c->arena, "--bytes=%d", TEXT_MAX / 2);

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *path = arena_printf(k->c->arena, "/var/log/%s", names[i]);
        if (!access(path, R_OK)) put_command(k, names[i], (const char *const[]){ "tail", limit, path, NULL });
    }
}

static void collect_database(const struct collector *k)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;

    pool_db_dump(k->c->agent, true, &xml);
    put(k, "xapi-db.xml", strbuf_cstr(&xml), xml.len);
}

static void collect_config(const struct collector *k)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    conf_dump(k->c->agent->conf, &text);
    put(k, "xapi.conf", strbuf_cstr(&text), text.len);
}

static void collect_host(const struct collector *k)
{
    put_file(k, "cpuinfo", "/proc/cpuinfo");
    put_file(k, "meminfo", "/proc/meminfo");
    put_file(k, "uptime", "/proc/uptime");
    put_file(k, "version", "/proc/version");
    put_file(k, "os-release", "/etc/os-release");
    put_command(k, "processes",
                (const char *const[]){ "ps", "-eo", "pid,ppid,user,stat,rss,time,comm", NULL });
    put_command(k, "dmidecode", (const char *const[]){ "dmidecode", "-q", NULL });
}

static void collect_kernel(const struct collector *k)
{
    put_command(k, "dmesg", (const char *const[]){ "dmesg", NULL });
    put_file(k, "modules", "/proc/modules");
    put_file(k, "interrupts", "/proc/interrupts");
}

static void collect_network(const struct collector *k)
{
    put_command(k, "ip-address", (const char *const[]){ "ip", "-d", "address", NULL });
    put_command(k, "ip-route", (const char *const[]){ "ip", "route", "show", "table", "all", NULL });
    put_command(k, "bridge-link", (const char *const[]){ "bridge", "-d", "link", NULL });
    put_file(k, "net-dev", "/proc/net/dev");
}

static void collect_storage(const struct collector *k)
{
    put_file(k, "mounts", "/proc/mounts");
    put_file(k, "partitions", "/proc/partitions");
    put_command(k, "lsblk", (const char *const[]){ "lsblk", "-O", NULL });
    put_command(k, "df", (const char *const[]){ "df", "-k", NULL });
}

/* Sizes in bytes and times in seconds: what a client shows before it asks. */
static const struct entry {
    const char *key, *pii;
    bool checked;
    long long min_size, max_size;
    int min_time, max_time;
    void (*collect)(const struct collector *k);
} entries_table[] = {
    { "xapi-logs", "maybe", true, 1 << 10, 64 << 20, 1, 10, collect_logs },
    { "xapi-crashes", "no", true, 0, 2 << 20, 1, 1, collect_crashes },
    { "system-logs", "maybe", true, 1 << 10, 64 << 20, 1, 60, collect_system_logs },
    { "xapi-database", "yes", true, 16 << 10, 64 << 20, 1, 10, collect_database },
    { "xapi-config", "maybe", true, 1 << 10, 64 << 10, 1, 1, collect_config },
    { "host-info", "no", true, 16 << 10, 4 << 20, 1, 60, collect_host },
    { "kernel-info", "maybe", true, 16 << 10, 4 << 20, 1, 60, collect_kernel },
    { "network-status", "yes", true, 4 << 10, 4 << 20, 1, 180, collect_network },
    { "disk-info", "maybe", true, 4 << 10, 4 << 20, 1, 120, collect_storage },
};

void report_capabilities(const struct agent *agent, struct strbuf *out)
{
    (void)agent;
    strbuf_str(out, "<?xml version=\"1.0\" ?>\n<system-status-capabilities>\n");
    for (size_t i = 0; i < ARRAY_SIZE(entries_table); i++) {
        const struct entry *e = &entries_table[i];
        strbuf_printf(
            out,
            "  <capability content-type=\"text/plain\" default-checked=\"%s\" key=\"%s\" max-size=\"%lld\""
            " max-time=\"%d\" min-size=\"%lld\" min-time=\"%d\" pii=\"%s\"/>\n",
            e->checked ? "yes" : "no", e->key, e->max_size, e->max_time, e->min_size, e->min_time, e->pii);
    }
    strbuf_str(out, "</system-status-capabilities>\n");
}

/* True when the list has the key; NULL has what is checked by default. */
static bool wanted(const char *list, const struct entry *e)
{
    size_t n = strlen(e->key);

    if (!list) return e->checked;
    for (const char *p = list; *p; p += strspn(p, ",")) {
        size_t len = strcspn(p, ",");
        if (len == n && !strncmp(p, e->key, n)) return true;
        p += len;
    }
    return false;
}

/* ---- the agent's own log ------------------------------------------------------------------------------- */

static int end_of_file(struct call *c, const char *path, size_t limit, const char **ret_text,
                       struct xerr *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) return xerr_internal(err, "%s: %s", path, strerror(errno));
    if ((size_t)st.st_size > limit) lseek(fd, -(off_t)limit, SEEK_END);
    char *text = arena_alloc(c->arena, limit < (size_t)st.st_size ? limit + 1 : (size_t)st.st_size + 1);
    size_t have = 0, room = limit < (size_t)st.st_size ? limit : (size_t)st.st_size;
    for (ssize_t n; have < room && (n = read(fd, text + have, room - have)) > 0;) have += (size_t)n;
    text[have] = '\0';
    /* Not from the middle of a line. */
    const char *line = (size_t)st.st_size > limit ? strchr(text, '\n') : NULL;
    *ret_text = line ? line + 1 : text;
    return 0;
}

/* What went to syslog or, under systemd, to stderr is in the journal. */
static int from_journal(struct call *c, size_t limit, const char **ret_text, struct xerr *err)
{
    const char *pid = arena_printf(c->arena, "_PID=%d", (int)getpid());
    const char *const argv[] = { "journalctl",         "--no-pager", "--quiet", "--lines=100000",
                                 "--output=short-iso", pid,          NULL };
    const struct subproc_command cmd = { .argv = argv };
    const struct subproc_limits limits = { .timeout_ms = COMMAND_MS, .out_bytes = limit };
    struct subproc_result r;

    if (subproc_run(&cmd, NULL, 0, &limits, &r)) return xerr_internal(err, "journalctl: %s", strerror(errno));
    bool ok = subproc_ok(&r);
    if (ok) *ret_text = arena_strdup(c->arena, strbuf_cstr(&r.out));
    subproc_result_free(&r);
    return ok ? 0 : xerr_internal(err, "the agent's log is neither a file nor in a journal");
}

int report_own_log(struct call *c, size_t limit, const char **ret_text, struct xerr *err)
{
    const char *target = conf_str(c->agent->conf, "log");
    char link[64], path[4096];
    struct stat st;

    if (has_prefix(target, "file:")) return end_of_file(c, target + 5, limit, ret_text, err);
    /* Started by hand or by a script, stderr is often a file. */
    if (streq(target, "stderr") && !fstat(STDERR_FILENO, &st) && S_ISREG(st.st_mode)) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", STDERR_FILENO);
        ssize_t n = readlink(link, path, sizeof(path) - 1);
        if (n > 0) {
            path[n] = '\0';
            return end_of_file(c, path, limit, ret_text, err);
        }
    }
    return from_journal(c, limit, ret_text, err);
}

/* ---- packing ------------------------------------------------------------------------------------------- */

int report_folder(struct call *c, const char **ret_folder, struct xerr *err)
{
    const char *top = arena_printf(c->arena, "%s/tmp", c->agent->root);
    char *folder = arena_printf(c->arena, "%s/work-XXXXXX", top);

    if (make_dirs(top, 0700) || !mkdtemp(folder))
        return xerr_internal(err, "%s: %s", folder, strerror(errno));
    *ret_folder = folder;
    return 0;
}

void report_remove_folder(const char *folder)
{
    const char *const argv[] = { "rm", "-rf", "--", folder, NULL };
    const struct subproc_command cmd = { .argv = argv };
    const struct subproc_limits limits = { .timeout_ms = PACK_MS };
    struct subproc_result r;

    if (subproc_run(&cmd, NULL, 0, &limits, &r)) {
        log_warn("rm %s: %s", folder, strerror(errno));
        return;
    }
    if (!subproc_ok(&r)) log_warn("rm %s: %s", folder, strbuf_cstr(&r.err));
    subproc_result_free(&r);
}

static bool cancelled(void *arg) { return call_cancelled(arg); }

/* name: the folder inside top that goes into the archive. */
static int pack(struct call *c, const char *top, const char *name, const char *output, const char *path,
                struct xerr *err)
{
    const char *flag = streq(output, "tar.gz") ? "-czf" : streq(output, "tar.bz2") ? "-cjf" : "-cf";
    const char *const tar[] = { "tar", flag, path, name, NULL };
    const char *const zip[] = { "zip", "-qr", path, name, NULL };
    const struct subproc_command cmd = { .argv = streq(output, "zip") ? zip : tar, .cwd = top };
    const struct subproc_limits limits = { .timeout_ms = PACK_MS,
                                           .cancelled = cancelled,
                                           .cancelled_arg = c };
    struct subproc_result r;

    if (subproc_run(&cmd, NULL, 0, &limits, &r))
        return xerr_system_status_retrieval_failed(
            err, arena_printf(c->arena, "%s: %s", cmd.argv[0], strerror(errno)));
    int rc = 0;
    if (r.end == SUBPROC_CANCELLED)
        rc = call_check_cancel(c, err);
    else if (!subproc_ok(&r)) {
        _cleanup_free_ char *why = subproc_describe(&r);
        rc = xerr_system_status_retrieval_failed(err, arena_printf(c->arena, "%s: %s", cmd.argv[0], why));
    }
    subproc_result_free(&r);
    return rc;
}

static bool known_output(const char *output)
{
    return streq(output, "tar") || streq(output, "tar.gz") || streq(output, "tar.bz2") ||
           streq(output, "zip");
}

int report_make(struct call *c, const char *entries, const char *output, const char **ret_path,
                struct xerr *err)
{
    const char *top;
    int rc = 0;

    if (!known_output(output))
        return xerr_system_status_retrieval_failed(err, arena_printf(c->arena, "unknown output %s", output));
    if (report_folder(c, &top, err)) return -1;
    const struct collector k = { c, arena_printf(c->arena, "%s/bug-report", top) };
    const char *path = arena_printf(c->arena, "%s.%s", top, output);
    if (mkdir(k.folder, 0700)) rc = xerr_internal(err, "%s: %s", k.folder, strerror(errno));
    for (size_t i = 0; !rc && i < ARRAY_SIZE(entries_table); i++) {
        if (!wanted(entries, &entries_table[i])) continue;
        entries_table[i].collect(&k);
        call_progress(c, (double)(i + 1) / (double)(ARRAY_SIZE(entries_table) + 1));
        rc = call_check_cancel(c, err);
    }
    if (!rc) rc = pack(c, top, "bug-report", output, path, err);
    report_remove_folder(top);
    if (rc)
        unlink(path);
    else
        *ret_path = path;
    return rc;
}
