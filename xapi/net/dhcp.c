/* Clients of DHCP and their leases.
 * Called by: net.c.  Calls: subproc, files below root/dhcp. */
#include "xapi/net/dhcp.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#define LOG_MODULE "dhcp"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/subproc.h"

/* udhcpc puts a pipe of its own onto 3 and 4. */
enum { LEASE_MAX_BYTES = 8192, LOCK_FD = 9, END_MS = 5000, LOOK_MS = 10, AGAIN_LOOKS = 20 };

/* One client: of a link, by DHCP or DHCPv6. Its files end with what they are: "xenbr0.lease", "xenbr0.lease6". */
struct client { const char *dir, *link; bool v6; };

static char *file_of(const struct client *c, const char *what)
{
    return xasprintf("%s/%s.%s%s", c->dir, c->link, what, c->v6 ? "6" : "");
}

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

/* The network's word: nothing of it is taken that is not an address. */
static bool is_address(bool v6, const char *text)
{
    unsigned char raw[16];

    return inet_pton(v6 ? AF_INET6 : AF_INET, text, raw) == 1;
}

bool dhcp_lease(const char *dir, const char *link, bool v6, struct arena *a, struct net_lease *ret_lease)
{
    const struct client c = { dir, link, v6 };
    _cleanup_free_ char *path = file_of(&c, "lease"), *text = NULL;

    if (read_file(path, LEASE_MAX_BYTES, &text, NULL)) return false;
    const char *address = line_of(a, text, "ip"), *prefix = line_of(a, text, "mask"), *router = line_of(a, text, "router");
    int bits = atoi(prefix);
    if (!is_address(v6, address) || bits < 1 || bits > (v6 ? 128 : 32)) return false;
    router = arena_strndup(a, router, strcspn(router, " "));
    char *dns = arena_strdup(a, line_of(a, text, "dns"));
    for (char *p = dns; *p; p++)
        if (*p == ' ') *p = ',';
    *ret_lease = (struct net_lease){
        .address = arena_printf(a, "%s/%d", address, bits),
        .gateway = is_address(v6, router) ? router : "",
        .dns = strspn(dns, "0123456789.:abcdefABCDEF,") == strlen(dns) ? dns : "",
        .domain = line_of(a, text, "domain"),
    };
    return true;
}

static void resolve(const char *dir, const char *link, bool v6, struct net_ip *ip, struct arena *a)
{
    struct net_lease lease;

    if (ip->source != NET_IP_DHCP || !dhcp_lease(dir, link, v6, a, &lease)) return;
    ip->address = lease.address;
    ip->gateway = lease.gateway;
}

const struct net_plan *dhcp_resolve(const char *dir, const struct net_plan *plan, struct arena *a)
{
    struct net_plan *out = arena_zalloc(a, sizeof(*out));
    struct net_link *links = arena_new_array(a, struct net_link, plan->n);

    if (plan->n) memcpy(links, plan->links, plan->n * sizeof(*links));
    for (size_t i = 0; i < plan->n; i++) {
        resolve(dir, links[i].name, false, &links[i].ip4, a);
        resolve(dir, links[i].name, true, &links[i].ip6, a);
    }
    *out = (struct net_plan){ links, plan->n };
    return out;
}

static bool is_lease(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && (streq(dot, ".lease") || streq(dot, ".lease6"));
}

uint64_t dhcp_state(const char *dir)
{
    DIR *d = opendir(dir);
    uint64_t sum = 0;
    struct stat st;

    for (const struct dirent *e; d && (e = readdir(d));) {
        if (!is_lease(e->d_name) || fstatat(dirfd(d), e->d_name, &st, 0)) continue;
        sum += (uint64_t)st.st_ino * 31 + (uint64_t)st.st_mtim.tv_sec * 1000003 + (uint64_t)st.st_mtim.tv_nsec;
    }
    if (d) closedir(d);
    return sum;
}

/* ---- clients ---------------------------------------------------------------------------------------------------------- */

/* The client of a link holds the lock on its file, whoever started it. Returns the locked descriptor when none does (the
 * next client is to have it), else -1. */
static int take_lock(const struct client *c)
{
    _cleanup_free_ char *path = file_of(c, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static bool running(const struct client *c)
{
    int fd = take_lock(c);

    if (fd >= 0) close(fd);
    return fd < 0;
}

static pid_t recorded_pid(const struct client *c)
{
    _cleanup_free_ char *record = file_of(c, "pid"), *text = NULL;

    return read_file(record, 32, &text, NULL) ? 0 : atoi(text);
}

/* Said again and again: dhcpcd does not hear it while it begins. */
static void wait_until_ended(const struct client *c, pid_t pid, int sig)
{
    int64_t until = clock_monotonic_ns() + (int64_t)END_MS * 1000000;

    for (unsigned i = 0; running(c) && clock_monotonic_ns() < until; i++) {
        if (i % AGAIN_LOOKS == 0 && kill(pid, sig)) return;
        poll(NULL, 0, LOOK_MS);
    }
}

/* The last that it tells its script is not to meet the next client's files. */
static void end_process(const struct client *c)
{
    pid_t pid = running(c) ? recorded_pid(c) : 0;

    if (pid <= 1) return;
    wait_until_ended(c, pid, SIGTERM);
    if (!running(c)) return;
    log_warn("%s: the client of DHCP is killed, pid %d", c->link, (int)pid);
    wait_until_ended(c, -pid, SIGKILL);          /* dhcpcd's helpers outlive it otherwise */
}

/* Only helpers of a client that has died hold its lock. */
static bool is_orphaned(const struct client *c)
{
    pid_t pid = recorded_pid(c);

    return pid > 1 && kill(pid, 0) && errno == ESRCH;
}

static void end_client(const struct client *c)
{
    static const char *const files[] = { "lease", "pid", "lock" };
    _cleanup_free_ char *lease = file_of(c, "lease"), *half = xasprintf("%s.new", lease);

    end_process(c);
    unlink(half);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_free_ char *path = file_of(c, files[i]);
        unlink(path);
    }
}

enum { ARGS_MAX = 24 };

/* dhcpcd takes the making of link-local addresses from the kernel, and asks from one: it is not to begin before there is. That may
 * be as long as the link has no carrier. */
static const char when_there[] = "echo $$ >\"$XAPI_PID\"; until grep -q \"^fe80.* $XAPI_LINK\\$\" /proc/net/if_inet6; do sleep 0.2; done;"
                                 "exec \"$0\" \"$@\"";

/* Both only ask and tell a script; neither gives the link an address. */
static void command_of(const struct client *c, const char *script, const char *pid, const char *lease_var, const char **argv)
{
    const char *const v4[] = { "udhcpc", "-f", "-i", c->link, "-s", script, "-p", pid, "-t", "4", "-T", "2", "-A", "5", NULL };
    const char *const v6[] = {
        "sh", "-c", when_there, "dhcpcd", "--ipv6only", "--nobackground", "--noconfigure", "--noipv6rs", "--ia_na", "--duid=ll", "--config",
        "/dev/null", "--script", script, "--env", lease_var, "--option", "dhcp6_name_servers,dhcp6_domain_search", c->link, NULL,
    };

    if (c->v6) memcpy(argv, v6, sizeof(v6));
    else memcpy(argv, v4, sizeof(v4));
}

static int start_client(const struct client *c, const char *script, char **ret_why)
{
    _cleanup_free_ char *pid = file_of(c, "pid"), *lease = file_of(c, "lease");
    _cleanup_free_ char *lease_var = xasprintf("XAPI_LEASE=%s", lease), *link_var = xasprintf("XAPI_LINK=%s", c->link);
    _cleanup_free_ char *pid_var = xasprintf("XAPI_PID=%s", pid);
    _cleanup_close_ int lock = take_lock(c);
    if (lock < 0 && is_orphaned(c)) {
        end_process(c);
        lock = take_lock(c);
    }
    const char *argv[ARGS_MAX], *program = c->v6 ? "dhcpcd" : "udhcpc";
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", lease_var, link_var, pid_var, NULL };
    const struct subproc_fd fds[] = { { lock, LOCK_FD } };
    const struct subproc_command command = { .argv = argv, .env = env, .fds = fds, .n_fds = 1 };
    struct subproc child = SUBPROC_INIT;

    if (lock < 0) return 0;
    command_of(c, script, pid, lease_var, argv);
    if (subproc_spawn(&command, -1, -1, -1, &child)) {
        *ret_why = xasprintf("%s: %s", program, strerror(errno));
        return -1;
    }
    log_info("%s: %s asks for an address, pid %d", c->link, program, (int)child.pid);
    _cleanup_free_ char *number = xasprintf("%d\n", (int)child.pid);
    if (write_file_atomic(pid, number, strlen(number), 0644)) log_warn("%s: %s", pid, strerror(errno));
    subproc_forget(&child);
    return 0;
}

static bool wanted(const struct net_plan *plan, const struct client *c)
{
    for (size_t i = 0; i < plan->n; i++) {
        const struct net_link *l = &plan->links[i];
        if (streq(l->name, c->link)) return (c->v6 ? l->ip6.source : l->ip4.source) == NET_IP_DHCP;
    }
    return false;
}

void dhcp_end_others(const char *dir, const struct net_plan *plan)
{
    DIR *d = opendir(dir);

    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        bool v6 = dot && streq(dot, ".lock6");
        if (!dot || dot == e->d_name || (!v6 && !streq(dot, ".lock"))) continue;
        _cleanup_free_ char *link = xstrndup(e->d_name, (size_t)(dot - e->d_name));
        const struct client c = { dir, link, v6 };
        if (!wanted(plan, &c)) end_client(&c);
    }
    if (d) closedir(d);
}

int dhcp_run(const char *dir, const struct net_plan *plan, const char *script, char **ret_why)
{
    for (size_t i = 0; i < 2 * plan->n; i++) {
        const struct client c = { dir, plan->links[i / 2].name, i % 2 };
        if (!wanted(plan, &c)) continue;
        if (make_dirs(dir, 0755)) {
            *ret_why = xasprintf("%s: %s", dir, strerror(errno));
            return -1;
        }
        if (start_client(&c, script, ret_why)) return -1;
    }
    return 0;
}
