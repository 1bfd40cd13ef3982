/* Storage repository "nfs": images in a folder of an NFS server, NFS 3 or 4.
 * Called by: the agent's storage slots.  Calls: share, showmount(8).
 *
 * The repository is serverpath/<sr uuid>, or serverpath itself with sm_config nosubdir=true. */
#include "sm/share.h"

#include "lib/strbuf.h"
#include "lib/xmlrpc.h"

#include <ctype.h>

/* Versions that device_config's nfsversion may name. */
static const char *const versions[] = { "3", "4", "4.0", "4.1", "4.2" };

static bool plain_word(const char *s, const char *also)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(also, *p)) return false;
    return *s && *s != '-';
}

static int get_server(struct sm *sm, const char **ret_server, struct xerr *err)
{
    const char *server = sm_config(sm, "server", "");

    if (!*server) return sm_fail(err, SM_SERVER_MISSING, "The request is missing the server parameter");
    if (!plain_word(server, ".-:[]_%"))
        return sm_fail(err, SM_INVALID_ARGUMENT, "no server's name: '%s'", server);
    bool bare_v6 = strchr(server, ':') && *server != '[';
    *ret_server = bare_v6 ? arena_printf(sm->arena, "[%s]", server) : server;
    return 0;
}

static int get_version(struct sm *sm, const char **ret_version, struct xerr *err)
{
    const char *wish = sm_config(sm, "nfsversion", "3");

    for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
        if (streq(versions[i], wish)) {
            *ret_version = versions[i];
            return 0;
        }
    return sm_fail(err, SM_NFS_VERSION, "unknown NFS version '%s'", wish);
}

/* What the server exports, for a client that has yet to choose: 101 with the list. */
static int fail_exports(struct sm *sm, const char *server, struct xerr *err)
{
    const char *argv[] = { "showmount", "--no-headers", "-e", server, NULL };
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    const char *out = "";
    char *save = NULL;

    if (sm_run(sm, argv, &out, SM_NFS_TARGET, err)) return -1;
    strbuf_str(&xml, "<?xml version=\"1.0\" ?>\n<nfs-exports>\n");
    for (char *line = strtok_r(arena_strdup(sm->arena, out), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        size_t path = strcspn(line, " \t");
        const char *access = line + path + strspn(line + path, " \t");
        strbuf_str(&xml, "\t<Export>\n\t\t<Target>");
        xmlrpc_encode_text(server, strlen(server), &xml);
        strbuf_str(&xml, "</Target>\n\t\t<Path>");
        xmlrpc_encode_text(line, path, &xml);
        strbuf_str(&xml, "</Path>\n\t\t<Accesslist>");
        xmlrpc_encode_text(access, strlen(access), &xml);
        strbuf_str(&xml, "</Accesslist>\n\t</Export>\n");
    }
    strbuf_str(&xml, "</nfs-exports>\n");
    return sm_fail_choice(err, SM_SERVER_PATH_MISSING, "The request is missing the serverpath parameter",
                          arena_strdup(sm->arena, strbuf_cstr(&xml)));
}

static int make_share(struct sm *sm, struct share *ret_share, struct xerr *err)
{
    const char *server = "", *version = "", *path = sm_config(sm, "serverpath", ""),
               *options = sm_config(sm, "options", "");

    if (get_server(sm, &server, err) || get_version(sm, &version, err)) return -1;
    if (!*path) return fail_exports(sm, server, err);
    if (*path != '/' || strstr(path, "/../") || strchr(path, '\n'))
        return sm_fail(err, SM_SERVER_PATH_BAD, "serverpath is '%s'", path);
    if (*options && !plain_word(options, "=,.-_:"))
        return sm_fail(err, SM_INVALID_ARGUMENT, "options are '%s'", options);
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') len--;
    *ret_share = (struct share){
        .type = "nfs",
        .source = arena_printf(sm->arena, "%s:%.*s", server, (int)len, path),
        /* Soft: a server that went away is an error after some minutes, not a process that nothing ends. */
        .options =
            arena_printf(sm->arena, "soft,proto=tcp,timeo=200,retrans=6,acdirmin=0,acdirmax=0,vers=%s%s%s",
                         version, *options ? "," : "", options),
        .subfolder = !streq(value_get_str(sm_map(sm, "sr_sm_config"), "nosubdir", "false"), "true"),
    };
    return 0;
}

static const struct share_type type = { make_share, SM_NFS_MOUNT, SM_NFS_UNMOUNT, SM_NFS_CREATE };

static const struct sm_key configuration[] = {
    { "server", "name or address of the NFS server" },
    { "serverpath", "path of the export on it" },
    { "nfsversion", "3 (default), 4, 4.0, 4.1, 4.2" },
    { "options", "more options of mount.nfs, with commas between" },
    DIR_KEYS,
};

SHARE_MAIN("nfs", "NFS", "Disk images as qcow2, VHD or raw files on an NFS server")
