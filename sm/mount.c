/* Repositories in a mounted file system.
 * Called by: ext.c, share.c, smb.c, iso.c.  Calls: mount(8), umount2(2). */
#include "sm/mount.h"

#include "lib/strbuf.h"

#include <ctype.h>
#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

int mount_point(struct sm *sm, const char **ret_path, struct xerr *err)
{
    if (!*sm->sr_uuid) return sm_fail(err, SM_BAD_REQUEST, "sr_uuid is missing");
    *ret_path = arena_printf(sm->arena, "%s/%s", sm->mount_dir, sm->sr_uuid);
    return 0;
}

const char *mounted_source(struct sm *sm, const char *path)
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    struct mntent entry;
    char buf[4096];
    const char *found = "";

    if (!f) return "";
    while (getmntent_r(f, &entry, buf, sizeof(buf)))
        if (streq(entry.mnt_dir, path)) found = arena_strdup(sm->arena, entry.mnt_fsname);
    endmntent(f);
    return found;
}

int mount_at(struct sm *sm, const char *type, const char *source, const char *path, const char *options,
             enum sm_error number, struct xerr *err)
{
    const char *argv[] = { "mount", "-t", type, "-o", options, "--", source, path, NULL };

    if (make_dirs(path, 0711)) return sm_fail_errno(err, number, "cannot make %s", path);
    if (sm_run(sm, argv, NULL, number, err) == 0) return 0;
    rmdir(path);
    return -1;
}

int unmount_at(const char *path, enum sm_error number, struct xerr *err)
{
    if (umount2(path, UMOUNT_NOFOLLOW) && errno != EINVAL && errno != ENOENT) {
        if (!err) return -1;
        if (errno == EBUSY) return xerr_set(err, "SR_DEVICE_IN_USE", 0, NULL);
        return sm_fail_errno(err, number, "cannot unmount %s", path);
    }
    rmdir(path);
    return 0;
}

/* ---- SMB ---------------------------------------------------------------------------------- */

const char *smb_share_name(struct sm *sm, const char *text)
{
    char *name = arena_strdup(sm->arena, text);

    for (char *p = name; *p; p++)
        if (*p == '\\') *p = '/';
    size_t len = strlen(name);
    while (len > 2 && name[len - 1] == '/') name[--len] = '\0';
    if (!has_prefix(name, "//") || !isalnum((unsigned char)name[2]) || !strchr(name + 2, '/')) return NULL;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("/._-$ ", *p)) return NULL;
    return strstr(name, "/..") ? NULL : name;
}

int smb_credentials(struct sm *sm, const char **ret_path, struct xerr *err)
{
    const char *user = sm_config(sm, "username", sm_config(sm, "cifsusername", ""));
    const char *password = sm_config(sm, "cifspassword", sm_config(sm, "password", ""));
    const char *domain = sm_config(sm, "domain", "");
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    char uuid[UUID_TEXT];

    *ret_path = NULL;
    if (!*user) return 0;
    if (strchr(user, '\n') || strchr(password, '\n') || strchr(domain, '\n'))
        return sm_fail(err, SM_INVALID_ARGUMENT, "username, password or domain with a line break");
    strbuf_printf(&text, "username=%s\npassword=%s\n", user, password);
    if (*domain) strbuf_printf(&text, "domain=%s\n", domain);
    const char *path = arena_printf(sm->arena, "%s/smb-%s", sm->state_dir, uuid_new(uuid));
    if (make_dirs(sm->state_dir, 0700) || write_file_atomic(path, text.ptr, text.len, 0600))
        return sm_fail_errno(err, SM_SMB_MOUNT, "cannot write %s", path);
    *ret_path = path;
    return 0;
}
