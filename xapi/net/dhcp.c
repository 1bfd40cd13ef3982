/* Clients of DHCP and their leases.
 * Called by: net.c.  Calls: subproc, files below root/dhcp. */
#include "xapi/net/dhcp.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#define LOG_MODULE "dhcp"
#include "lib/log.h"
#include "lib/subproc.h"

/* udhcpc puts a pipe of its own onto 3 and 4. */
enum { LEASE_MAX_BYTES = 8192, LOCK_FD = 9 };

static char *file_of(const char *dir, const char *link, const char *what) { return xasprintf("%s/%s.%s", dir, link, what); }

/* ---- leases ---------------------------------------------------------------------------------------------------------- */

/* The value of a line "KEY=VALUE", "" when there is none. */
static const char *line_of(struct arena *a, const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        if (len > n && line[n] == '=' && !strncmp(line, key, n)) return arena_strndup(a, line + n + 1, len - n - 1);
        line += len + (line[len] == '\n');
    }
    return "";
}

bool dhcp_lease(const char *dir, const char *link, struct arena *a, struct net_lease *ret_lease)
{
    _cleanup_free_ char *path = file_of(dir, link, "lease"), *text = NULL;
    struct in_addr ip;

    if (read_file(path, LEASE_MAX_BYTES, &text, NULL)) return false;
    const char *address = line_of(a, text, "ip"), *prefix = line_of(a, text, "mask"), *router = line_of(a, text, "router");
    int bits = atoi(prefix);
    /* The network's word: nothing of it is taken that is not an address. */
    if (inet_pton(AF_INET, address, &ip) != 1 || bits < 1 || bits > 32) return false;
    router = arena_strndup(a, router, strcspn(router, " "));
    char *dns = arena_strdup(a, line_of(a, text, "dns"));
    for (char *p = dns; *p; p++)
        if (*p == ' ') *p = ',';
    *ret_lease = (struct net_lease){
        .address = arena_printf(a, "%s/%d", address, bits),
        .gateway = inet_pton(AF_INET, router, &ip) == 1 ? router : "",
        .dns = strspn(dns, "0123456789.:abcdefABCDEF,") == strlen(dns) ? dns : "",
        .domain = line_of(a, text, "domain"),
    };
    return true;
}

const struct net_plan *dhcp_resolve(const char *dir, const struct net_plan *plan, struct arena *a)
{
    struct net_plan *out = arena_zalloc(a, sizeof(*out));
    struct net_link *links = arena_new_array(a, struct net_link, plan->n);
    struct net_lease lease;

    if (plan->n) memcpy(links, plan->links, plan->n * sizeof(*links));
    for (size_t i = 0; i < plan->n; i++) {
        if (links[i].ip4.source != NET_IP_DHCP || !dhcp_lease(dir, links[i].name, a, &lease)) continue;
        links[i].ip4.address = lease.address;
        links[i].ip4.gateway = lease.gateway;
    }
    *out = (struct net_plan){ links, plan->n };
    return out;
}

uint64_t dhcp_state(const char *dir)
{
    DIR *d = opendir(dir);
    uint64_t sum = 0;
    struct stat st;

    for (const struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n < 7 || !streq(e->d_name + n - 6, ".lease") || fstatat(dirfd(d), e->d_name, &st, 0)) continue;
        sum += (uint64_t)st.st_ino * 31 + (uint64_t)st.st_mtim.tv_sec * 1000003 + (uint64_t)st.st_mtim.tv_nsec;
    }
    if (d) closedir(d);
    return sum;
}

/* ---- clients ---------------------------------------------------------------------------------------------------------- */

/* The client of a link holds the lock on its file, whoever started it. Returns the locked descriptor when none does (the
 * next client is to have it), else -1. */
static int take_lock(const char *dir, const char *link)
{
    _cleanup_free_ char *path = file_of(dir, link, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static bool running(const char *dir, const char *link)
{
    int fd = take_lock(dir, link);

    if (fd >= 0) close(fd);
    return fd < 0;
}

static void end_client(const char *dir, const char *link)
{
    static const char *const files[] = { "lease", "lease.new", "pid", "lock" };
    _cleanup_free_ char *record = file_of(dir, link, "pid"), *text = NULL;
    bool alive = running(dir, link);
    int pid = alive && !read_file(record, 32, &text, NULL) ? atoi(text) : 0;

    if (pid > 1) kill(pid, SIGTERM);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_free_ char *path = file_of(dir, link, files[i]);
        unlink(path);
    }
}

static int start_client(const char *dir, const char *link, const char *script, char **ret_why)
{
    _cleanup_free_ char *pid = file_of(dir, link, "pid"), *lease = file_of(dir, link, "lease");
    _cleanup_free_ char *lease_var = xasprintf("XAPI_LEASE=%s", lease);
    _cleanup_close_ int lock = take_lock(dir, link);
    const char *const argv[] = {
        "udhcpc", "-f", "-i", link, "-s", script, "-p", pid, "-t", "4", "-T", "2", "-A", "5", NULL,
    };
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", lease_var, NULL };
    const struct subproc_fd fds[] = { { lock, LOCK_FD } };
    const struct subproc_command command = { .argv = argv, .env = env, .fds = fds, .n_fds = 1 };
    struct subproc child = SUBPROC_INIT;

    if (lock < 0) return 0;
    if (subproc_spawn(&command, -1, -1, -1, &child)) {
        *ret_why = xasprintf("udhcpc: %s", strerror(errno));
        return -1;
    }
    log_info("%s: a client asks for an address, pid %d", link, (int)child.pid);
    subproc_forget(&child);
    return 0;
}

static bool wanted(const struct net_plan *plan, const char *link)
{
    for (size_t i = 0; i < plan->n; i++)
        if (streq(plan->links[i].name, link)) return plan->links[i].ip4.source == NET_IP_DHCP;
    return false;
}

int dhcp_run(const char *dir, const struct net_plan *plan, const char *script, char **ret_why)
{
    DIR *d = opendir(dir);

    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || dot == e->d_name || !streq(dot, ".lock")) continue;
        _cleanup_free_ char *link = xstrndup(e->d_name, (size_t)(dot - e->d_name));
        if (!wanted(plan, link)) end_client(dir, link);
    }
    if (d) closedir(d);
    for (size_t i = 0; i < plan->n; i++) {
        const char *link = plan->links[i].name;
        if (plan->links[i].ip4.source != NET_IP_DHCP) continue;
        if (make_dirs(dir, 0755)) {
            *ret_why = xasprintf("%s: %s", dir, strerror(errno));
            return -1;
        }
        if (start_client(dir, link, script, ret_why)) return -1;
    }
    return 0;
}
