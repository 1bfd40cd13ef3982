/* Repositories in a mounted file system.
 * Called by: ext.c, nfs.c, smb.c, iso.c.  Calls: mount(8), umount2(2), dir. */
#include "sm/mount.h"

#include "lib/strbuf.h"
#include "sm/dir.h"

#include <ctype.h>
#include <dirent.h>
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

/* ---- shares -------------------------------------------------------------------------------- */

/* The whole share, for a moment. */
static int mount_share(struct sm *sm, const struct share *share, const char **ret_path, struct xerr *err)
{
    char uuid[UUID_TEXT];

    *ret_path = arena_printf(sm->arena, "%s/share-%s", sm->mount_dir, uuid_new(uuid));
    return mount_at(sm, share->type, share->source, *ret_path, share->options, share->mount_error, err);
}

static int leave_share(const struct share *share, const char *path, struct xerr *err)
{
    return unmount_at(path, share->unmount_error, err->code ? NULL : err) || err->code ? -1 : 0;
}

static const char *folder_of(struct sm *sm, const struct share *share, const char *path)
{
    return share->subfolder ? arena_printf(sm->arena, "%s/%s", path, sm->sr_uuid) : path;
}

int share_create(struct sm *sm, const struct share *share, struct xerr *err)
{
    const char *path;

    if (mount_share(sm, share, &path, err)) return -1;
    const char *folder = folder_of(sm, share, path);
    if (share->subfolder && mkdir(folder, 0755) && errno != EEXIST)
        sm_fail_errno(err, share->create_error, "cannot make %s on %s", sm->sr_uuid, share->source);
    else
        dir_mark(sm, folder, err);
    return leave_share(share, path, err);
}

int share_attach(struct sm *sm, const struct share *share, struct xerr *err)
{
    const char *path = NULL;
    const char *source =
        share->subfolder ? arena_printf(sm->arena, "%s/%s", share->source, sm->sr_uuid) : share->source;

    if (mount_point(sm, &path, err)) return -1;
    const char *mounted = mounted_source(sm, path);
    if (*mounted && !streq(mounted, source))
        return sm_fail(err, share->mount_error, "%s is mounted at %s", mounted, path);
    if (!*mounted && mount_at(sm, share->type, source, path, share->options, share->mount_error, err))
        return -1;
    if (dir_attach(sm, path, err) == 0) return 0;
    if (!*mounted) unmount_at(path, share->unmount_error, NULL);
    return -1;
}

int share_delete(struct sm *sm, const struct share *share, struct xerr *err)
{
    const char *path;

    if (mount_share(sm, share, &path, err)) return -1;
    const char *folder = folder_of(sm, share, path);
    if (dir_check_mark(sm, folder, err) == 0 && dir_unmark(sm, folder, err) == 0 && share->subfolder &&
        rmdir(folder) && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
        sm_fail_errno(err, SM_SR_REMOVE, "cannot remove %s on %s", sm->sr_uuid, share->source);
    return leave_share(share, path, err);
}

int share_list(struct sm *sm, const struct share *share, const char ***ret_uuids, struct xerr *err)
{
    const char *path, **uuids = NULL;
    const struct dirent *e;
    struct ref bytes;
    size_t n = 0, cap = 0;

    if (mount_share(sm, share, &path, err)) return -1;
    DIR *dir = opendir(path);
    if (!dir) sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", share->source);
    while (dir && (e = readdir(dir))) {
        if (!uuid_from_text(e->d_name, &bytes)) continue;
        if (n == cap) uuids = xrealloc(uuids, (cap = cap ? cap * 2 : 16) * sizeof(*uuids));
        uuids[n++] = arena_strdup(sm->arena, e->d_name);
    }
    if (dir) closedir(dir);
    const char **list = arena_new_array(sm->arena, const char *, n + 1);
    if (n) memcpy(list, uuids, n * sizeof(*list));
    list[n] = NULL;
    free(uuids);
    *ret_uuids = list;
    return leave_share(share, path, err);
}

struct value share_probe_answer(struct sm *sm, const char *const *uuids)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    struct value_builder b = value_builder(sm->arena), results = b;
    const struct value config = value_copy(sm->arena, sm_map(sm, "device_config"));

    strbuf_str(&xml, "<?xml version=\"1.0\" ?>\n<SRlist>\n");
    for (size_t i = 0; uuids[i]; i++) {
        struct value_builder one = value_builder(sm->arena), sr = one;
        strbuf_printf(&xml, "\t<SR>\n\t\t<UUID>\n\t\t\t%s\n\t\t</UUID>\n\t</SR>\n", uuids[i]);
        value_put(&sr, "uuid", value_string(uuids[i]));
        value_put(&one, "configuration", config);
        value_put(&one, "complete", value_bool(true));
        value_put(&one, "sr", value_built_map(&sr));
        value_push(&results, value_built_map(&one));
    }
    strbuf_str(&xml, "</SRlist>\n");
    value_put(&b, "xml", value_string(arena_strdup(sm->arena, strbuf_cstr(&xml))));
    value_put(&b, "results", value_built_set(&results));
    return value_built_map(&b);
}
