/* Storage repository "iso": a directory of CD images (*.iso, *.img), read-only; here or on an NFS or SMB share.
 * Called by: the agent's storage slots.  Calls: mount.
 *
 * A CD is known by its file name (VDI.location); its VDI uuid is the agent's choice. */
#include "sm/mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* Where the images come from: a folder that is there, or a share that is mounted at <mount dir>/<sr uuid>. */
enum source { SOURCE_FOLDER, SOURCE_NFS, SOURCE_SMB };

static enum source source_of(const struct sm *sm)
{
    const char *at = sm_config(sm, "location", "");

    if (streq(sm_config(sm, "legacy_mode", "false"), "true")) return SOURCE_FOLDER;
    if (has_prefix(at, "//") || has_prefix(at, "\\\\")) return SOURCE_SMB;
    return *at != '/' && strstr(at, ":/") ? SOURCE_NFS : SOURCE_FOLDER;
}

static int locate_folder(struct sm *sm, const char **ret_path, struct xerr *err)
{
    const char *path = sm_config(sm, "location", "");
    struct stat st;

    if (*path != '/') return sm_fail(err, SM_ISO_LOCAL_PATH, "no local absolute path: '%s'", path);
    if (stat(path, &st)) return sm_fail_errno(err, SM_ISO_LOCAL_PATH, "%s", path);
    if (!S_ISDIR(st.st_mode)) return sm_fail(err, SM_ISO_LOCAL_PATH, "%s is not a directory", path);
    *ret_path = path;
    return 0;
}

static int locate(struct sm *sm, const char **ret_path, struct xerr *err)
{
    const char *type = sm_config(sm, "type", "");

    if (!*sm_config(sm, "location", ""))
        return sm_fail(err, SM_ISO_LOCATION_MISSING, "device_config has no location");
    if (*type && !streq(type, "local") && !streq(type, "iso") && !streq(type, "nfs_iso") &&
        !streq(type, "cifs"))
        return sm_fail(err, SM_INVALID_ARGUMENT, "device_config type '%s' is not supported", type);
    return source_of(sm) == SOURCE_FOLDER ? locate_folder(sm, ret_path, err) : mount_point(sm, ret_path, err);
}

static int mount_nfs(struct sm *sm, const char *path, struct xerr *err)
{
    const char *location = sm_config(sm, "location", ""), *version = sm_config(sm, "nfsversion", "3");

    if (*location == '-' || strpbrk(location, ", \n") || strpbrk(version, ", \n") || strlen(version) > 3)
        return sm_fail(err, SM_ISO_LOCATION, "no share: '%s'; it must be SERVER:/PATH", location);
    return mount_at(sm, "nfs", location, path,
                    arena_printf(sm->arena, "ro,soft,nolock,proto=tcp,timeo=200,retrans=6,vers=%s", version),
                    SM_ISO_MOUNT, err);
}

static int mount_smb(struct sm *sm, const char *path, struct xerr *err)
{
    const char *name = smb_share_name(sm, sm_config(sm, "location", "")), *secret = NULL;

    if (!name)
        return sm_fail(err, SM_ISO_LOCATION, "no share: '%s'; it must be \\\\SERVER\\SHARE",
                       sm_config(sm, "location", ""));
    if (smb_credentials(sm, &secret, err)) return -1;
    int rc = mount_at(sm, "cifs", name, path,
                      arena_printf(sm->arena, "ro,soft,vers=3,%s%s", secret ? "credentials=" : "guest",
                                   secret ? secret : ""),
                      SM_ISO_MOUNT, err);
    if (secret) unlink(secret);
    return rc;
}

static int mount_share(struct sm *sm, struct xerr *err)
{
    const char *path = NULL;

    if (locate(sm, &path, err)) return -1;
    if (source_of(sm) == SOURCE_FOLDER || *mounted_source(sm, path)) return 0;
    return source_of(sm) == SOURCE_NFS ? mount_nfs(sm, path, err) : mount_smb(sm, path, err);
}

static bool is_iso(const char *name)
{
    const char *dot = strrchr(name, '.');

    return *name != '.' && dot && (!strcasecmp(dot, ".iso") || !strcasecmp(dot, ".img"));
}

static bool stat_iso(const char *dir, const char *name, struct arena *a, struct stat *ret_st)
{
    return is_iso(name) && !strchr(name, '/') && stat(arena_printf(a, "%s/%s", dir, name), ret_st) == 0 &&
           S_ISREG(ret_st->st_mode);
}

static void put_space(const char *path, struct value_builder *b)
{
    struct statvfs fs;

    if (statvfs(path, &fs)) return;
    value_put(b, "sr_physical_size", value_int((int64_t)(fs.f_blocks * fs.f_frsize)));
    value_put(b, "sr_physical_utilisation", value_int((int64_t)((fs.f_blocks - fs.f_bfree) * fs.f_frsize)));
}

static struct value describe(struct sm *sm, const char *name, const struct stat *st)
{
    struct value_builder b = value_builder(sm->arena);

    value_put(&b, "location", value_string(name));
    value_put(&b, "name_label", value_string(name));
    value_put(&b, "virtual_size", value_int(st->st_size));
    value_put(&b, "physical_utilisation", value_int(st->st_size));
    value_put(&b, "managed", value_bool(true));
    value_put(&b, "read_only", value_bool(true));
    value_put(&b, "format", value_string("raw"));
    return value_built_map(&b);
}

static int sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena), vdis = b;
    const struct dirent *e;
    const char *path = NULL;

    if (locate(sm, &path, err)) return -1;
    DIR *dir = opendir(path);
    if (!dir) return sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", path);
    while ((e = readdir(dir))) {
        struct stat st;
        if (stat_iso(path, e->d_name, sm->arena, &st))
            value_push(&vdis, describe(sm, arena_strdup(sm->arena, e->d_name), &st));
    }
    closedir(dir);
    value_put(&b, "vdis", value_built_set(&vdis));
    put_space(path, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

static int sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena);
    const char *path = NULL;

    if (locate(sm, &path, err)) return -1;
    put_space(path, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return mount_share(sm, err) ? -1 : sr_update(sm, ret_answer, err);
}

static int sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    *ret_answer = value_void();
    if (source_of(sm) == SOURCE_FOLDER) return 0;
    return mount_point(sm, &path, err) ? -1 : unmount_at(path, SM_ISO_UNMOUNT, err);
}

/* That it can be mounted is all there is to make sure of. */
static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value ignored;

    if (sr_attach(sm, ret_answer, err)) return -1;
    return sr_detach(sm, &ignored, err);
}

static int nothing(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_void();
    return 0;
}

static int sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_string("iso");
    return 0;
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena), results = b, one = b, config = b;
    const char *path = NULL;

    if (source_of(sm) == SOURCE_FOLDER) {
        if (locate(sm, &path, err)) return -1;
    } else {
        path = sm_config(sm, "location", "");
    }
    value_put(&b, "xml", value_string("<?xml version=\"1.0\" ?>\n<SRlist>\n</SRlist>\n"));
    value_put(&config, "location", value_string(path));
    value_put(&one, "configuration", value_built_map(&config));
    value_put(&one, "complete", value_bool(true));
    value_push(&results, value_built_map(&one));
    value_put(&b, "results", value_built_set(&results));
    *ret_answer = value_built_map(&b);
    return 0;
}

static int find(struct sm *sm, const char *name, const char **ret_path, struct stat *ret_st, struct xerr *err)
{
    if (locate(sm, ret_path, err)) return -1;
    return stat_iso(*ret_path, name, sm->arena, ret_st) ? 0 : sm_fail_missing(sm, err);
}

static int vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena);
    const char *path = NULL;
    struct stat st;

    if (find(sm, sm->vdi_location, &path, &st, err)) return -1;
    if (streq(sm_arg(sm, 0), "true")) {
        const char *params[] = { sm_param(sm, "vdi_ref", sm->vdi_uuid) };
        return xerr_set(err, "VDI_READONLY", 1, params);
    }
    value_put(&b, "params", value_string(arena_printf(sm->arena, "%s/%s", path, sm->vdi_location)));
    value_put(&b, "format", value_string("raw"));
    *ret_answer = value_built_map(&b);
    return 0;
}

static int vdi_introduce(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;
    struct stat st;

    if (!is_iso(sm->vdi_location))
        return sm_fail(err, SM_ISO_EXTENSION, "'%s' does not end in .iso", sm->vdi_location);
    if (find(sm, sm->vdi_location, &path, &st, err)) return -1;
    *ret_answer = describe(sm, sm->vdi_location, &st);
    return 0;
}

static const struct sm_key configuration[] = {
    { "location", "a directory of this host, SERVER:/PATH, or \\\\SERVER\\SHARE" },
    { "legacy_mode", "true: the location is a directory of this host" },
    { "type", "nfs_iso, cifs or nothing: the location tells" },
    { "nfsversion", "3 (default), 4, 4.1" },
    { "username", "account on an SMB server (also: cifsusername)" },
    { "password", "its password; kept as a secret (also: cifspassword)" },
    { NULL, NULL },
};

static const char *const features[] = { "SR_PROBE",   "SR_SCAN",    "SR_UPDATE",  "VDI_INTRODUCE",
                                        "VDI_ATTACH", "VDI_DETACH", "VDI_UPDATE", NULL };

static const char *const formats[] = { "raw", NULL };

static const struct sm_command commands[] = {
    { "sr_create", sr_create, SM_NEEDS_SR },
    { "sr_delete", nothing, SM_NEEDS_SR },
    { "sr_probe", sr_probe, 0 },
    { "sr_attach", sr_attach, SM_NEEDS_SR },
    { "sr_detach", sr_detach, SM_NEEDS_SR },
    { "sr_scan", sr_scan, SM_NEEDS_SR },
    { "sr_update", sr_update, SM_NEEDS_SR },
    { "sr_content_type", sr_content_type, SM_NEEDS_SR },
    { "vdi_attach", vdi_attach, SM_NEEDS_SR | SM_NEEDS_VDI },
    { "vdi_detach", nothing, SM_NEEDS_SR | SM_NEEDS_VDI },
    { "vdi_introduce", vdi_introduce, SM_NEEDS_SR | SM_NEEDS_VDI },
    { "vdi_forget", nothing, SM_NEEDS_SR | SM_NEEDS_VDI },
    { "vdi_update", vdi_introduce, SM_NEEDS_SR | SM_NEEDS_VDI },
    { NULL, NULL, 0 },
};

static const struct sm_driver driver = {
    .type = "iso",
    .name = "CD images",
    .description = "CD images (*.iso) in a directory, read-only",
    .configuration = configuration,
    .features = features,
    .formats = formats,
    .commands = commands,
    .locate = locate,
};

int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }
