/* xe-switch-network-backend: Linux bridges or Open vSwitch from the next start of the agent on, when that can have what is recorded.
 * Called by: administrators.  Calls: admin_tool.c, xe (for the records), the kernel, the switch's socket. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <netlink/errno.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>

#include "lib/subproc.h"
#include "xapi/admin_tool.h"

enum { CONF_MAX = 1 << 20, ASK_MS = 30000 };

static const struct conf_option options[] = {
    { .key = "config", .type = CONF_PATH, .fallback = SYSCONFDIR "/xapi/xapi.conf",
      .doc = "the agent's configuration file, where the choice is kept", .command_line_only = true },
    { .key = "force", .type = CONF_BOOL, .fallback = "no", .doc = "switch whatever is recorded, also while no agent can be asked",
      .command_line_only = true },
    { .key = "help", .type = CONF_BOOL, .fallback = "no", .doc = "print this and exit", .command_line_only = true },
    { .key = NULL },
};

static int complain(const char *what, const char *why) { return admin_complain("xe-switch-network-backend", what, why); }

/* ---- can it have what is recorded ---------------------------------------------------------------------------------- */

static bool switch_answers(void)
{
    const char *dir = getenv("OVS_RUNDIR");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    _cleanup_free_ char *path = xasprintf("%s/db.sock", dir ? dir : "/run/openvswitch");
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(to.sun_path)) return false;
    memcpy(to.sun_path, path, strlen(path));
    return connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
}

/* In a network of its own, which ends with it: what lacks something is refused otherwise than what the kernel does not know. */
static int try_kind(const char *kind)
{
    struct nl_sock *sk = nl_socket_alloc();
    struct rtnl_link *link = rtnl_link_alloc();

    if (unshare(CLONE_NEWNET) || nl_connect(sk, NETLINK_ROUTE)) return 0;      /* cannot be tried: not a reason */
    rtnl_link_set_name(link, "probe");
    rtnl_link_set_type(link, kind);
    return rtnl_link_add(sk, link, NLM_F_CREATE | NLM_F_EXCL) == -NLE_OPNOTSUPP;
}

static bool kernel_knows(const char *kind)
{
    int status;
    pid_t child = fork();

    if (child == 0) _exit(try_kind(kind));
    return child < 0 || waitpid(child, &status, 0) != child || status == 0;
}

/* How many records of this class there are. 0 or -1 (the agent does not answer). */
static int ask(const struct conf *agent, const char *command, bool *ret_some)
{
    const char *const argv[] = { "xe", "--socket", conf_str(agent, "socket"), command, "--minimal", NULL };
    const struct subproc_command cmd = { .argv = argv };
    const struct subproc_limits limits = { .timeout_ms = ASK_MS };
    _cleanup_subproc_result_ struct subproc_result r = { .out = STRBUF_INIT, .err = STRBUF_INIT };

    if (subproc_run(&cmd, NULL, 0, &limits, &r) || !subproc_ok(&r)) return -1;
    const char *text = strbuf_cstr(&r.out);
    *ret_some = text[strspn(text, " \r\n")] != '\0';
    return 0;
}

/* The switch can have all of them; a kernel without the module cannot. */
static int check_bridge(const struct conf *agent)
{
    static const struct { const char *command, *kind, *what; } needs[] = {
        { "bond-list", "bond", "bonds" }, { "vlan-list", "vlan", "VLANs" },
        { "tunnel-list", "vxlan", "tunnels" }, { "tunnel-list", "gretap", "tunnels" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
        bool some;
        if (ask(agent, needs[i].command, &some)) return complain("the agent does not say what is there", "start it, or use --force");
        if (!some || kernel_knows(needs[i].kind)) continue;
        _cleanup_free_ char *what = xasprintf("there are %s, which this kernel cannot make (%s)", needs[i].what, needs[i].kind);
        return complain(what, "");
    }
    return 0;
}

static int check_switch(void)
{
    return switch_answers() ? 0 : complain("openvswitch", "ovsdb-server does not answer: install and start Open vSwitch first");
}

/* ---- the choice ---------------------------------------------------------------------------------------------------------- */

/* Whether a line of the file, n bytes, is about this key. */
static bool is_about(const char *line, size_t n, const char *key)
{
    size_t blank = strspn(line, " \t"), k = strlen(key);

    if (blank + k >= n || strncmp(line + blank, key, k) != 0) return false;
    line += blank + k;
    return line[strspn(line, " \t")] == '=';
}

static int keep_choice(const char *path, const char *backend)
{
    _cleanup_free_ char *old = NULL;
    _cleanup_strbuf_ struct strbuf new = STRBUF_INIT;
    struct stat st = { .st_mode = 0644 };

    if (read_file(path, CONF_MAX, &old, NULL) && errno != ENOENT) return complain(path, strerror(errno));
    if (old && stat(path, &st)) return complain(path, strerror(errno));
    for (const char *line = old ? old : ""; *line;) {
        size_t n = strcspn(line, "\n");
        if (!is_about(line, n, "net")) {
            strbuf_add(&new, line, n);
            strbuf_add(&new, "\n", 1);
        }
        line += n + (line[n] == '\n');
    }
    strbuf_printf(&new, "net = %s\n", backend);
    return write_file_atomic(path, new.ptr, new.len, st.st_mode & 0777) ? complain(path, strerror(errno)) : 0;
}

static int switch_to(const struct conf *said, const char *backend)
{
    _cleanup_conf_ struct conf *agent = admin_agent_conf(conf_str(said, "config"));

    if (!agent) return ADMIN_WRONG;
    if (streq(conf_str(agent, "net"), backend)) {
        printf("%s is what xapi uses already, or will when it starts the next time.\n", backend);
        return 0;
    }
    if (!conf_bool(said, "force") && (streq(backend, "bridge") ? check_bridge(agent) : check_switch())) return ADMIN_WRONG;
    if (keep_choice(conf_str(said, "config"), backend)) return ADMIN_WRONG;
    printf("%s from the next start of xapi on (systemctl restart xapi, or a reboot). Guests that run stay connected\n"
           "but for the moment in which it starts.\n", backend);
    return 0;
}

int main(int argc, char **argv)
{
    _cleanup_conf_ struct conf *said = conf_new(options);
    static const char synopsis[] =
        "xe-switch-network-backend bridge|openvswitch: how this host connects guests, from the next start of xapi on";
    int rest, rc = admin_parse(said, argc, argv, synopsis, &rest);

    if (rc) return rc < 0 ? 0 : rc;
    if (argc - rest != 1 || (!streq(argv[rest], "bridge") && !streq(argv[rest], "openvswitch")))
        return complain("bridge or openvswitch", "one of them is to be named");
    return switch_to(said, argv[rest]);
}
