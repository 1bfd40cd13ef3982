/* Storage repository "smb": images in a folder of an SMB (CIFS) share, SMB 3.
 * Called by: the agent's storage slots.  Calls: mount, dir.
 *
 * The repository is //server/share/<sr uuid>. The password reaches mount.cifs in a file that only root reads and that is
 * gone when the mount is there. */
#include "sm/mount.h"

#include "sm/dir.h"

/* Runs one of mount.h's functions with the share; NULL = share_list(). The credentials live as long as it. */
static int with_share(struct sm *sm, int (*fn)(struct sm *sm, const struct share *share, struct xerr *err),
                      const char ***ret_uuids, struct xerr *err)
{
    const char *server = sm_config(sm, "server", ""), *secret = NULL;

    if (!*server) return sm_fail(err, SM_SERVER_MISSING, "The request is missing the server parameter");
    const char *name = smb_share_name(sm, server);
    if (!name)
        return sm_fail(err, SM_SERVER_PATH_BAD, "no share: '%s'; it must be \\\\SERVER\\SHARE", server);
    if (smb_credentials(sm, &secret, err)) return -1;
    const struct share share = {
        .type = "cifs",
        .source = name,
        .options = arena_printf(sm->arena, "%s%s,vers=3,cache=none,actimeo=0,soft",
                                secret ? "credentials=" : "guest", secret ? secret : ""),
        .subfolder = true,
        .mount_error = SM_SMB_MOUNT,
        .unmount_error = SM_SMB_UNMOUNT,
        .create_error = SM_SMB_CREATE,
    };
    int rc = fn ? fn(sm, &share, err) : share_list(sm, &share, ret_uuids, err);
    if (secret) unlink(secret);
    return rc;
}

static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    *ret_answer = value_void();
    return with_share(sm, share_create, NULL, err);
}

static int sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    *ret_answer = value_void();
    return with_share(sm, share_delete, NULL, err);
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return with_share(sm, share_attach, NULL, err) ? -1 : dir_sr_update(sm, ret_answer, err);
}

static int sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    *ret_answer = value_void();
    return mount_point(sm, &path, err) ? -1 : unmount_at(path, SM_SMB_UNMOUNT, err);
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char **uuids = NULL;

    if (with_share(sm, NULL, &uuids, err)) return -1;
    *ret_answer = share_probe_answer(sm, uuids);
    return 0;
}

static const struct sm_key configuration[] = {
    { "server", "the share: \\\\SERVER\\SHARE" },
    { "username", "account on the server; none = guest" },
    { "password", "its password; kept as a secret" },
    { "domain", "its domain" },
    DIR_KEYS,
};

static const struct sm_command commands[] = { DIR_COMMANDS };

static const struct sm_driver driver = {
    .type = "smb",
    .name = "SMB",
    .description = "Disk images as qcow2, VHD or raw files on an SMB share",
    .configuration = configuration,
    .features = dir_features,
    .formats = dir_formats,
    .commands = commands,
    .locate = mount_point,
};

int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }
