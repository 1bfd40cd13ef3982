/* Repositories that are folders of a share.
 * Called by: nfs.c, smb.c.  Calls: mount, dir. */
#include "sm/share.h"

#include "lib/strbuf.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static const struct share_type *type_of(const struct sm *sm) { return sm->driver->share; }

/* The whole share, for a moment. */
static int mount_share(struct sm *sm, const struct share *share, const char **ret_path, struct xerr *err)
{
    char uuid[UUID_TEXT];

    *ret_path = arena_printf(sm->arena, "%s/share-%s", sm->mount_dir, uuid_new(uuid));
    return mount_at(sm, share->type, share->source, *ret_path, share->options, type_of(sm)->mount_error, err);
}

static int leave_share(struct sm *sm, const char *path, struct xerr *err)
{
    return unmount_at(path, type_of(sm)->unmount_error, err->code ? NULL : err) || err->code ? -1 : 0;
}

static const char *folder_of(struct sm *sm, const struct share *share, const char *path)
{
    return share->subfolder ? arena_printf(sm->arena, "%s/%s", path, sm->sr_uuid) : path;
}

static int do_create(struct sm *sm, const struct share *share, struct xerr *err)
{
    const char *path;

    if (mount_share(sm, share, &path, err)) return -1;
    const char *folder = folder_of(sm, share, path);
    if (share->subfolder && mkdir(folder, 0755) && errno != EEXIST)
        sm_fail_errno(err, type_of(sm)->create_error, "cannot make %s on %s", sm->sr_uuid, share->source);
    else
        dir_mark(sm, folder, err);
    return leave_share(sm, path, err);
}

static int do_attach(struct sm *sm, const struct share *share, struct xerr *err)
{
    const char *path = NULL;
    const char *source =
        share->subfolder ? arena_printf(sm->arena, "%s/%s", share->source, sm->sr_uuid) : share->source;

    if (mount_point(sm, &path, err)) return -1;
    const char *mounted = mounted_source(sm, path);
    if (*mounted && !streq(mounted, source))
        return sm_fail(err, type_of(sm)->mount_error, "%s is mounted at %s", mounted, path);
    if (!*mounted && mount_at(sm, share->type, source, path, share->options, type_of(sm)->mount_error, err))
        return -1;
    if (dir_attach(sm, path, err) == 0) return 0;
    if (!*mounted) unmount_at(path, type_of(sm)->unmount_error, NULL);
    return -1;
}

static int do_delete(struct sm *sm, const struct share *share, struct xerr *err)
{
    const char *path;

    if (mount_share(sm, share, &path, err)) return -1;
    const char *folder = folder_of(sm, share, path);
    if (dir_check_mark(sm, folder, err) == 0 && dir_unmark(sm, folder, err) == 0 && share->subfolder &&
        rmdir(folder) && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
        sm_fail_errno(err, SM_SR_REMOVE, "cannot remove %s on %s", sm->sr_uuid, share->source);
    return leave_share(sm, path, err);
}

static int do_list(struct sm *sm, const struct share *share, const char ***ret_uuids, struct xerr *err)
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
    return leave_share(sm, path, err);
}

static struct value probe_answer(struct sm *sm, const char *const *uuids)
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

/* ---- commands ------------------------------------------------------------------------------ */

/* The share of the request, for one of the functions above; its secret lives as long. */
static int with_share(struct sm *sm, int (*fn)(struct sm *sm, const struct share *share, struct xerr *err),
                      struct xerr *err)
{
    struct share share = { .secret = NULL };

    if (type_of(sm)->make(sm, &share, err)) return -1;
    int rc = fn(sm, &share, err);
    if (share.secret) unlink(share.secret);
    return rc;
}

int share_sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    *ret_answer = value_void();
    return with_share(sm, do_create, err);
}

int share_sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    *ret_answer = value_void();
    return with_share(sm, do_delete, err);
}

int share_sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return with_share(sm, do_attach, err) ? -1 : dir_sr_update(sm, ret_answer, err);
}

int share_sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    *ret_answer = value_void();
    return mount_point(sm, &path, err) ? -1 : unmount_at(path, type_of(sm)->unmount_error, err);
}

int share_sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct share share = { .secret = NULL };
    const char **uuids = NULL;

    if (type_of(sm)->make(sm, &share, err)) return -1;
    int rc = do_list(sm, &share, &uuids, err);
    if (share.secret) unlink(share.secret);
    if (rc == 0) *ret_answer = probe_answer(sm, uuids);
    return rc;
}
