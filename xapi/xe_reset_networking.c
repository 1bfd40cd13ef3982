/* xe-reset-networking: for who has lost the way to this host: the next start of the agent forgets all of its network and makes one
 * management interface as told here.
 * Called by: administrators.  Calls: admin_tool.c, network_reset_file.c. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include "xapi/admin_tool.h"
#include "xapi/network_reset_file.h"

enum { POOL_CONF_MAX = 4096 };

static int complain(const char *what, const char *why) { return admin_complain("xe-reset-networking", what, why); }

/* Where the agent keeps its state, malloc'd; NULL when its configuration is wrong, which has been said then. */
static char *find_root(const struct conf *wish)
{
    if (*conf_str(wish, "root")) return xstrdup(conf_str(wish, "root"));
    _cleanup_conf_ struct conf *agent = admin_agent_conf(conf_str(wish, "config"));
    return agent ? xstrdup(conf_str(agent, "root")) : NULL;
}

static bool has_coordinator(const char *root)
{
    _cleanup_free_ char *path = xasprintf("%s/pool.conf", root), *text = NULL;

    return !read_file(path, POOL_CONF_MAX, &text, NULL) && has_prefix(text, "slave:");
}

static int cancel(const char *root)
{
    _cleanup_free_ char *path = network_reset_path(root);

    if (unlink(path)) return complain(path, errno == ENOENT ? "there is nothing to take back" : strerror(errno));
    if (sync_folder_of(path)) return complain(path, strerror(errno));
    puts("The network stays as it is recorded.");
    return 0;
}

static int wish_for(const char *root, const struct conf *wish)
{
    const char *device = conf_str(wish, "device");
    _cleanup_free_ char *why = network_reset_wrong(wish);

    if (why) return complain(why, "");
    if (*device && !if_nametoindex(device)) return complain(device, "there is no such card");
    if (*conf_str(wish, "master") && !has_coordinator(root)) return complain("--master", "this host leads its pool");
    if (network_reset_write(root, wish)) return complain(root, strerror(errno));
    puts("When xapi starts the next time (systemctl restart xapi, or a reboot), this host loses its bonds, VLANs, tunnels\n"
         "and addresses, and management goes over what was given here. xe-reset-networking --cancel takes that back.");
    return 0;
}

int main(int argc, char **argv)
{
    _cleanup_conf_ struct conf *wish = conf_new(network_reset_options);
    static const char synopsis[] = "xe-reset-networking: makes this host's network anew when xapi starts the next time";
    int rest, rc = admin_parse(wish, argc, argv, synopsis, &rest);

    if (rc) return rc < 0 ? 0 : rc;
    if (rest < argc) return complain(argv[rest], "not understood; --help tells what is");
    _cleanup_free_ char *root = find_root(wish);
    if (!root) return ADMIN_WRONG;
    return conf_bool(wish, "cancel") ? cancel(root) : wish_for(root, wish);
}
