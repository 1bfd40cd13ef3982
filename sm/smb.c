/* Storage repository "smb": images in a folder of an SMB (CIFS) share, SMB 3.
 * Called by: the agent's storage slots.  Calls: share.
 *
 * The repository is //server/share/<sr uuid>. The password reaches mount.cifs in a file that only root reads and that is
 * gone when the mount is there. */
#include "sm/share.h"

static int make_share(struct sm *sm, struct share *ret_share, struct xerr *err)
{
    const char *server = sm_config(sm, "server", ""), *secret = NULL;

    if (!*server) return sm_fail(err, SM_SERVER_MISSING, "The request is missing the server parameter");
    const char *name = smb_share_name(sm, server);
    if (!name)
        return sm_fail(err, SM_SERVER_PATH_BAD, "no share: '%s'; it must be \\\\SERVER\\SHARE", server);
    if (smb_credentials(sm, &secret, err)) return -1;
    *ret_share = (struct share){
        .type = "cifs",
        .source = name,
        .options = arena_printf(sm->arena, "%s%s,vers=3,cache=none,actimeo=0,soft",
                                secret ? "credentials=" : "guest", secret ? secret : ""),
        .secret = secret,
        .subfolder = true,
    };
    return 0;
}

static const struct share_type type = { make_share, SM_SMB_MOUNT, SM_SMB_UNMOUNT, SM_SMB_CREATE };

static const struct sm_key configuration[] = {
    { "server", "the share: \\\\SERVER\\SHARE" },
    { "username", "account on the server; none = guest" },
    { "password", "its password; kept as a secret" },
    { "domain", "its domain" },
    DIR_KEYS,
};

SHARE_MAIN("smb", "SMB", "Disk images as qcow2, VHD or raw files on an SMB share")
