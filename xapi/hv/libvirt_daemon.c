/* The private libvirtd: its configuration, its start, its adoption, its end.
 * Called by: libvirt.c.  Calls: subproc, xapi-hv-keeper. */
#include "xapi/hv/libvirt_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libxml/uri.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <dirent.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "lib/strbuf.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

#ifndef PKGLIBEXECDIR
#define PKGLIBEXECDIR "/usr/libexec/xapi"
#endif

enum { LISTEN_MS = 60000, END_MS = 5000, MAX_RUN = 66, MAX_LOG_BYTES = 16 << 20 };

/* What libvirtd keeps where; ours are below dir. */
static const struct { const char *ours, *theirs; } places[] = {
    { "etc", "/etc/libvirt" },           { "run", "/run/libvirt" },         { "lib", "/var/lib/libvirt" },
    { "cache", "/var/cache/libvirt" },   { "log", "/var/log/libvirt" },     { "swtpm-log", "/var/log/swtpm" },
    { "swtpm-ca", "/var/lib/swtpm-localca" },
};

static int fail_errno(struct hv_failure *f, const char *what)
{
    return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", what, strerror(errno));
}

/* ---- what the machine must have -------------------------------------------------------------- */

static char *find_program(const char *name, const char *const *dirs)
{
    for (size_t i = 0; dirs[i]; i++) {
        char *path = xasprintf("%s/%s", dirs[i], name);
        if (access(path, X_OK) == 0) return path;
        free(path);
    }
    return NULL;
}

static int find_programs(struct lv_daemon *d, const struct hv_config *config, struct hv_failure *f)
{
    static const char *const sbin[] = { "/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", NULL };
    _cleanup_free_ char *beside = xasprintf("%s/..", config->module_dir);
    const char *const libexec[] = { config->module_dir, beside, PKGLIBEXECDIR, NULL };

    d->program = find_program("libvirtd", sbin);
    if (!d->program) return hv_fail(f, HV_FAIL_ENGINE, "libvirtd is not installed (package libvirt-daemon)");
    d->keeper = find_program("xapi-hv-keeper", libexec);
    if (!d->keeper)
        return hv_fail(f, HV_FAIL_ENGINE, "xapi-hv-keeper is neither in %s nor in %s", config->module_dir,
                       PKGLIBEXECDIR);
    if (*config->emulator && access(config->emulator, X_OK) < 0) return fail_errno(f, config->emulator);
    if (geteuid() != 0) return hv_fail(f, HV_FAIL_ENGINE, "a private libvirtd needs root");
    return 0;
}

/* libvirt's QEMU driver refuses to load when its compiled-in user is missing, whatever its configuration
 * says. */
static int check_accounts(struct hv_failure *f)
{
    if (!getgrnam("kvm")) return hv_fail(f, HV_FAIL_ENGINE, "group kvm is missing (groupadd --system kvm)");
    if (!getgrnam("libvirt-qemu"))
        return hv_fail(f, HV_FAIL_ENGINE, "group libvirt-qemu is missing (groupadd --system libvirt-qemu)");
    if (!getpwnam("libvirt-qemu"))
        return hv_fail(
            f, HV_FAIL_ENGINE,
            "user libvirt-qemu is missing (useradd --system --no-create-home --gid kvm libvirt-qemu)");
    return 0;
}

bool lv_user_can_enter(const char *path, uid_t uid, gid_t gid, char *ret_where, size_t size)
{
    _cleanup_free_ char *p = xstrdup(path);
    struct stat st;

    if (uid == 0) return true;
    for (char *slash = p;; *slash = '/') {
        slash = strchr(slash + 1, '/');
        if (slash) *slash = '\0';
        if (stat(p, &st) == 0 && S_ISDIR(st.st_mode)) {
            bool ok = st.st_uid == uid   ? st.st_mode & S_IXUSR
                      : st.st_gid == gid ? st.st_mode & S_IXGRP
                                         : st.st_mode & S_IXOTH;
            if (!ok) {
                snprintf(ret_where, size, "%s (mode %04o)", p, st.st_mode & 07777u);
                return false;
            }
        }
        if (!slash) return true;
    }
}

/* The account QEMU is to run as. Nothing configured: the dedicated one, unless it could not reach its files.
 */
static int choose_user(struct lv_daemon *d, const struct hv_config *config, struct hv_failure *f)
{
    const char *name = *config->qemu_user ? config->qemu_user : "libvirt-qemu";
    const struct passwd *pw = getpwnam(name);
    char where[256];

    if (!pw) return hv_fail(f, HV_FAIL_ENGINE, "user %s is missing", name);
    d->uid = pw->pw_uid;
    d->gid = pw->pw_gid;
    bool ok = lv_user_can_enter(d->dir, d->uid, d->gid, where, sizeof where) &&
              lv_user_can_enter(d->run, d->uid, d->gid, where, sizeof where);
    if (!ok && *config->qemu_user) return hv_fail(f, HV_FAIL_ENGINE, "user %s may not enter %s", name, where);
    if (!ok) {
        log_warn("libvirt: QEMU runs as root: %s may not enter %s", name, where);
        name = "root";
        d->uid = 0;
        d->gid = 0;
    }
    const struct group *gr = getgrgid(d->gid);
    d->user = xstrdup(name);
    d->group = gr ? xstrdup(gr->gr_name) : xasprintf("+%u", (unsigned)d->gid);
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Writes a file unless it says that already. */
static int write_conf(struct lv_daemon *d, const char *name, const char *text, struct hv_failure *f)
{
    _cleanup_free_ char *path = xasprintf("%s/etc/%s", d->dir, name), *old = NULL;

    if (read_file(path, 65536, &old, NULL) == 0 && streq(old, text)) return 0;
    d->changed = true;
    return write_file_atomic(path, text, strlen(text), 0600) < 0 ? fail_errno(f, path) : 0;
}

/* This host's identity towards other libvirts: random, made once. */
static int host_uuid(struct lv_daemon *d, char ret[UUID_TEXT], struct hv_failure *f)
{
    _cleanup_free_ char *path = xasprintf("%s/host-uuid", d->dir), *old = NULL;
    struct ref parsed;

    if (read_file(path, 256, &old, NULL) == 0) {
        old[strcspn(old, "\n")] = '\0';
        if (uuid_from_text(old, &parsed)) {
            uuid_to_text(parsed, ret);
            return 0;
        }
    }
    uuid_new(ret);
    return write_file_atomic(path, ret, strlen(ret), 0600) < 0 ? fail_errno(f, path) : 0;
}

static int write_confs(struct lv_daemon *d, struct hv_failure *f)
{
    char uuid[UUID_TEXT];

    if (host_uuid(d, uuid, f) < 0) return -1;
    _cleanup_free_ char *daemon = xasprintf("unix_sock_dir = \"%s\"\n"
                                            "auth_unix_rw = \"none\"\n"
                                            "auth_unix_ro = \"none\"\n"
                                            "unix_sock_rw_perms = \"0700\"\n"
                                            "unix_sock_ro_perms = \"0700\"\n"
                                            "unix_sock_admin_perms = \"0700\"\n"
                                            "max_workers = 64\n"
                                            "prio_workers = 8\n"
                                            "max_client_requests = 64\n"
                                            "log_outputs = \"3:file:%s/log/libvirtd.log\"\n"
                                            "host_uuid = \"%s\"\n",
                                            d->run, d->dir, uuid);
    /* The daemon above owns the permissions of disks, so libvirt must not change them (nor those of swtpm's sockets: it runs as
     * QEMU's user); no virtlogd, no cgroups. */
    _cleanup_free_ char *qemu = xasprintf("user = \"%s\"\n"
                                          "group = \"%s\"\n"
                                          "dynamic_ownership = 0\n"
                                          "remember_owner = 0\n"
                                          "security_driver = \"none\"\n"
                                          "namespaces = []\n"
                                          "cgroup_controllers = []\n"
                                          "stdio_handler = \"file\"\n"
                                          "max_core = 0\n"
                                          "swtpm_user = \"%s\"\n"
                                          "swtpm_group = \"%s\"\n",
                                          d->user, d->group, d->user, d->group);
    if (write_conf(d, "libvirtd.conf", daemon, f) < 0) return -1;
    return write_conf(d, "qemu.conf", qemu, f);
}

static int make_places(struct lv_daemon *d, struct hv_failure *f)
{
    /* QEMU's user passes through, but reads nothing on its way. */
    _cleanup_free_ char *above = xstrndup(d->dir, strlen(d->dir) - strlen("/libvirt"));
    const char *const passed[] = { d->dir, above, d->run };
    for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
        if (make_dirs(passed[i], 0711) < 0 || chmod(passed[i], 0711) < 0) return fail_errno(f, passed[i]);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        _cleanup_free_ char *ours = xasprintf("%s/%s", d->dir, places[i].ours);
        if (make_dirs(ours, 0711) < 0 || chmod(ours, 0711) < 0) return fail_errno(f, ours);
        if (make_dirs(places[i].theirs, 0755) < 0) return fail_errno(f, places[i].theirs);
    }
    return 0;
}

/* Where QEMU itself makes files. */
static int give_places(struct lv_daemon *d, struct hv_failure *f)
{
    _cleanup_free_ char *console = xasprintf("%s/console", d->dir), *sockets = xasprintf("%s/g", d->run);
    const char *const mine[] = { console, sockets };

    for (size_t i = 0; i < ARRAY_SIZE(mine); i++)
        if (make_dirs(mine[i], 0750) < 0 || chown(mine[i], d->uid, d->gid) < 0) return fail_errno(f, mine[i]);
    /* Where swtpm_setup has the key that it signs the certificates of TPMs with. */
    _cleanup_free_ char *ca = xasprintf("%s/swtpm-ca", d->dir);
    if (chmod(ca, 0700) < 0 || chown(ca, d->uid, d->gid) < 0) return fail_errno(f, ca);
    return 0;
}

/* libvirtd asks again and again what QEMU can do (seconds each time) when /dev/kvm is there but closed to
 * QEMU's user. So it sees a node of its own: same device, our permissions. */
static int make_kvm_node(struct lv_daemon *d, struct hv_failure *f)
{
    _cleanup_free_ char *node = xasprintf("%s/kvm", d->dir);
    struct stat st;

    unlink(node);
    if (d->uid == 0 || stat("/dev/kvm", &st) < 0 || !S_ISCHR(st.st_mode)) return 0;
    mode_t group = st.st_gid == d->gid ? st.st_mode & 060 : 0;
    if (group == 060 || (st.st_mode & 06) == 06) return 0;
    if (mknod(node, S_IFCHR | 0600, st.st_rdev) < 0 || chown(node, d->uid, d->gid) < 0)
        return fail_errno(f, node);
    d->own_kvm = true;
    return 0;
}

/* ---- the mount that SRs appear under --------------------------------------------------------- */

/* Undoes mountinfo's octal escapes, in place. */
static void unescape(char *s)
{
    char *to = s;

    for (; *s; s++) {
        if (s[0] == '\\' && s[1] && s[2] && s[3]) {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

/* The mount that holds a directory. */
struct mount_info {
    bool shared;
    bool here;      /* mounted right there */
    bool part;      /* shows a part of a file system only, as a bind mount does */
};

static int mount_of(const char *dir, struct mount_info *ret, struct hv_failure *f)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, root[PATH_MAX], point[PATH_MAX];
    size_t cap = 0, best = 0;
    int at;

    if (!file) return fail_errno(f, "/proc/self/mountinfo");
    *ret = (struct mount_info){ .shared = false };
    while (getline(&line, &cap, file) > 0) {
        if (sscanf(line, "%*d %*d %*s %4095s %4095s %*s %n", root, point, &at) != 2) continue;
        unescape(point);
        size_t n = streq(point, "/") ? 0 : strlen(point);
        if (n < best || strncmp(dir, point, n) != 0 || (dir[n] && dir[n] != '/')) continue;
        best = n;
        const char *optional = line + at, *end = strstr(optional, " - ");
        const char *shared = strstr(optional, "shared:");
        *ret = (struct mount_info){ .shared = shared && (!end || shared < end), .here = !dir[n],
                                    .part = !streq(root, "/") };
    }
    free(line);
    fclose(file);
    return 0;
}

/* libvirtd and QEMU live in a namespace of their own, which sees later mounts only below a shared one. */
static int share_sr_mount(struct lv_daemon *d, const char *sr_mount, struct hv_failure *f)
{
    char dir[PATH_MAX];
    struct mount_info info;

    if (make_dirs(sr_mount, 0711) < 0) return fail_errno(f, sr_mount);
    if (!realpath(sr_mount, dir)) return fail_errno(f, sr_mount);
    d->sr_mount = xstrdup(dir);
    if (mount_of(dir, &info, f) < 0) return -1;
    if (info.shared) return 0;
    if (!info.here && mount(dir, dir, NULL, MS_BIND, NULL) < 0) return fail_errno(f, dir);
    if (mount(NULL, dir, NULL, MS_SHARED, NULL) < 0) return fail_errno(f, dir);
    return 0;
}

void lv_daemon_unshare(struct lv_daemon *d)
{
    struct mount_info info;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };

    /* Ours is a bind mount of the directory on itself; with an SR still mounted below it stays. */
    if (!d->sr_mount || mount_of(d->sr_mount, &info, &ignored) < 0 || !info.here || !info.part) return;
    if (umount2(d->sr_mount, UMOUNT_NOFOLLOW) < 0) log_info("%s: %s", d->sr_mount, strerror(errno));
}

int lv_daemon_prepare(struct lv_daemon *d, const struct hv_config *config, struct hv_failure *f)
{
    *d = (struct lv_daemon){ .pidfd = -1 };
    d->dir = xasprintf("%s/hv/libvirt", config->root);
    d->run = xasprintf("%s/hv", config->run);
    d->socket = xasprintf("%s/libvirt-sock", d->run);
    d->record = xasprintf("%s/daemon", d->dir);
    if (strlen(d->run) > MAX_RUN || strchr(d->run, ':') || strchr(d->dir, ':') || strchr(d->dir, '"') ||
        strchr(d->run, '"'))
        return hv_fail(f, HV_FAIL_ENGINE, "%s: the name is too long (at most %d) or has a colon or quote",
                       d->run, MAX_RUN);
    xmlChar *escaped = xmlURIEscapeStr((const xmlChar *)d->socket, (const xmlChar *)"/");
    d->uri = xasprintf("qemu+unix:///system?socket=%s", (const char *)escaped);
    xmlFree(escaped);
    if (find_programs(d, config, f) < 0 || check_accounts(f) < 0 || make_places(d, f) < 0) return -1;
    if (choose_user(d, config, f) < 0 || give_places(d, f) < 0 || write_confs(d, f) < 0) return -1;
    if (make_kvm_node(d, f) < 0) return -1;
    return share_sr_mount(d, config->sr_mount, f);
}

/* ---- the process ----------------------------------------------------------------------------- */

static int pidfd_of(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
static int signal_pidfd(int pidfd, int sig) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

static void forget(struct lv_daemon *d)
{
    if (d->pidfd >= 0) close(d->pidfd);
    d->pidfd = -1;
    d->pid = 0;
}

/* Fills in who the record names, if that process lives. */
static bool find_living(struct lv_daemon *d)
{
    _cleanup_free_ char *text = NULL;
    int pid;
    unsigned long long start;

    forget(d);
    if (read_file(d->record, 256, &text, NULL) < 0 || sscanf(text, "%d %llu", &pid, &start) != 2 || pid <= 0)
        return false;
    /* First the handle, then the question whether it is the right one. */
    d->pidfd = pidfd_of(pid);
    if (d->pidfd < 0 || !subproc_alive(pid, start)) {
        forget(d);
        return false;
    }
    d->pid = pid;
    d->start_time = start;
    return true;
}

static bool has_ended(const struct lv_daemon *d, int wait_ms)
{
    struct pollfd p = { .fd = d->pidfd, .events = POLLIN };

    return poll(&p, 1, wait_ms) > 0;
}

static bool answers(const struct lv_daemon *d)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(addr.sun_path, d->socket, strlen(d->socket) + 1);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0;
}

/* The last line it logged, for the error. */
static void last_words(const struct lv_daemon *d, char *ret, size_t size)
{
    _cleanup_free_ char *path = xasprintf("%s/log/libvirtd.log", d->dir), *text = NULL;
    size_t len;

    snprintf(ret, size, "see %s", path);
    if (read_file(path, MAX_LOG_BYTES, &text, &len) < 0) return;
    while (len && text[len - 1] == '\n') text[--len] = '\0';
    const char *line = strrchr(text, '\n');
    if (len) snprintf(ret, size, "%s", line ? line + 1 : text);
}

static int wait_listening(struct lv_daemon *d, struct hv_failure *f)
{
    int64_t end_ms = hv_now_ms() + LISTEN_MS;
    char words[300];

    while (!answers(d)) {
        if (has_ended(d, 20)) {
            last_words(d, words, sizeof words);
            forget(d);
            return hv_fail(f, HV_FAIL_ENGINE, "libvirtd ended at once: %s", words);
        }
        if (hv_now_ms() >= end_ms)
            return hv_fail(f, HV_FAIL_TIMEOUT, "libvirtd (pid %d) does not listen", (int)d->pid);
    }
    return 0;
}

static void rotate_log(const struct lv_daemon *d)
{
    _cleanup_free_ char *path = xasprintf("%s/log/libvirtd.log", d->dir), *old = xasprintf("%s.1", path);
    struct stat st;

    if (stat(path, &st) == 0 && st.st_size > MAX_LOG_BYTES / 2) rename(path, old);
}

/* The CPU to start on: always the same one, as long as we may use it. */
static int first_cpu(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) < 0) return -1;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set)) return (int)cpu;
    return -1;
}

static int start_daemon(struct lv_daemon *d, struct hv_failure *f)
{
    _cleanup_free_ char *cpu = xasprintf("%d", first_cpu()), *out = xasprintf("%s/log/libvirtd.out", d->dir);
    _cleanup_free_ char *conf = xasprintf("%s/etc/libvirtd.conf", d->dir),
                        *pid = xasprintf("%s/libvirtd.pid", d->dir);
    _cleanup_free_ char *kvm = xasprintf("%s/kvm:/dev/kvm", d->dir);
    char *pairs[ARRAY_SIZE(places)];
    const char *argv[ARRAY_SIZE(places) + 13];
    size_t n = 0;

    argv[n++] = d->keeper;
    argv[n++] = d->record;
    argv[n++] = out;
    argv[n++] = cpu;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        argv[n++] = pairs[i] = xasprintf("%s/%s:%s", d->dir, places[i].ours, places[i].theirs);
    if (d->own_kvm) argv[n++] = kvm;
    argv[n++] = "--";
    argv[n++] = d->program;
    argv[n++] = "-f";
    argv[n++] = conf;
    argv[n++] = "-p";
    argv[n++] = pid;
    argv[n] = NULL;

    rotate_log(d);
    unlink(out);
    unlink(d->socket);      /* of a killed predecessor: connecting to it would only be refused */
    const struct subproc_command cmd = { .argv = argv };
    const struct subproc_limits limits = { .timeout_ms = 20000 };
    _cleanup_subproc_result_ struct subproc_result result = { .code = 0 };
    int rc = subproc_run(&cmd, "", 0, &limits, &result) < 0 ? fail_errno(f, d->keeper) : 0;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) free(pairs[i]);
    if (rc < 0) return -1;
    if (!subproc_ok(&result)) {
        _cleanup_free_ char *why = subproc_describe(&result);
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", d->keeper, why);
    }
    if (!find_living(d)) return hv_fail(f, HV_FAIL_ENGINE, "libvirtd ended at once: see %s", out);
    d->started = true;
    log_info("libvirtd started: pid %d", (int)d->pid);
    return 0;
}

void lv_daemon_end(struct lv_daemon *d)
{
    if (d->pidfd < 0 && !find_living(d)) return;
    signal_pidfd(d->pidfd, SIGTERM);
    if (!has_ended(d, END_MS)) {
        log_warn("libvirtd (pid %d) ignores SIGTERM", (int)d->pid);
        signal_pidfd(d->pidfd, SIGKILL);
        has_ended(d, END_MS);
    }
    log_info("libvirtd ended: pid %d", (int)d->pid);
    forget(d);
}

int lv_daemon_ensure(struct lv_daemon *d, struct hv_failure *f)
{
    d->started = false;
    if (find_living(d)) {
        if (!d->changed && wait_listening(d, f) == 0) {
            log_info("libvirtd adopted: pid %d", (int)d->pid);
            return 0;
        }
        lv_daemon_end(d);
    }
    d->changed = false;
    if (start_daemon(d, f) < 0) return -1;
    return wait_listening(d, f);
}

void lv_daemon_settle(struct lv_daemon *d)
{
    cpu_set_t set;
    _cleanup_free_ char *path = xasprintf("/proc/%d/task", (int)d->pid);
    DIR *dir;

    if (!d->started || d->pid <= 0 || sched_getaffinity(0, sizeof set, &set) < 0 || !(dir = opendir(path)))
        return;
    for (const struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.') sched_setaffinity(atoi(e->d_name), sizeof set, &set);
    closedir(dir);
    d->started = false;
}

void lv_daemon_free(struct lv_daemon *d)
{
    forget(d);
    free(d->dir);
    free(d->run);
    free(d->socket);
    free(d->uri);
    free(d->record);
    free(d->program);
    free(d->keeper);
    free(d->user);
    free(d->group);
    free(d->sr_mount);
    memset(d, 0, sizeof *d);
    d->pidfd = -1;
}
