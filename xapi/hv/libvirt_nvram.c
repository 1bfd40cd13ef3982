/* What a guest keeps while it is switched off, where our private libvirtd has it: the file that is its second flash (UEFI
 * variables), and the folder of its TPM.
 * Called by: libvirt_power.c, hv.c through the vtable.  Calls: libc.
 *
 * libvirt makes the file from the firmware's template, and has swtpm_setup make the folder, when they are not there; it leaves
 * both when the guest ends. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/limits.h"
#include "xapi/hv/libvirt_int.h"

enum { KEEP_S = 7 * 86400 };
#define TPM_FOLDER "tpm2"
#define TPM_FILE "tpm2-00.permall"

static char *path_of(const struct lv *lv, const char *uuid)
{
    return xasprintf("%s/lib/qemu/nvram/%s_VARS.fd", lv->daemon.dir, uuid);
}

int lv_put_nvram(const struct lv *lv, const struct hv_vm *vm, struct hv_failure *f)
{
    if (!lv->private || vm->firmware != HV_FIRMWARE_UEFI || *vm->kernel) return 0;
    _cleanup_free_ char *path = path_of(lv, vm->id.uuid);
    if (unlink(path) < 0 && errno != ENOENT) return hv_fail(f, HV_FAIL_BUILD, "%s: %s", path, strerror(errno));
    if (!vm->nvram_len) return 0;
    if (write_file_atomic(path, vm->nvram, vm->nvram_len, 0600) < 0 ||
        (lv->daemon.uid && chown(path, lv->daemon.uid, lv->daemon.gid) < 0))
        return hv_fail(f, HV_FAIL_BUILD, "%s: %s", path, strerror(errno));
    return 0;
}

/* The whole file into the arena; one that is not there is no failure. */
static int take_file(const char *path, struct arena *arena, const void **ret_bytes, size_t *ret_len, struct hv_failure *f)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;

    *ret_len = 0;
    if (read_file(path, LIMIT_NVRAM, &text, &len) < 0)
        return errno == ENOENT ? 0 : hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    char *copy = arena_alloc(arena, len + 1);
    memcpy(copy, text, len);
    *ret_bytes = copy;
    *ret_len = len;
    return 0;
}

int lv_get_nvram(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                 struct hv_failure *f)
{
    const struct lv *lv = d;
    _cleanup_free_ char *path = path_of(lv, uuid);

    (void)deadline_ms;
    *ret_len = 0;
    return lv->private ? take_file(path, arena, ret_bytes, ret_len, f) : 0;
}

/* ---- TPM ------------------------------------------------------------------------------------------------ */

static char *tpm_folder(const struct lv *lv, const char *uuid)
{
    return xasprintf("%s/lib/swtpm/%s", lv->daemon.dir, uuid);
}

int lv_check_tpm(void *d, struct hv_failure *f)
{
    static const char *const programs[] = { "/usr/bin/swtpm", "/usr/bin/swtpm_setup" };
    const struct lv *lv = d;

    if (!lv->private) return hv_fail(f, HV_FAIL_UNSUPPORTED, "the state of TPMs is kept by a private libvirtd only");
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
        if (access(programs[i], X_OK) < 0)
            return hv_fail(f, HV_FAIL_UNSUPPORTED, "%s is not installed (packages swtpm, swtpm-tools)", programs[i]);
    return 0;
}

/* The folder of a guest's TPM, with the files in it. */
static int drop_tpm(int above)
{
    int fd = openat(above, TPM_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) return errno == ENOENT ? 0 : -1;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -1;
    }
    for (const struct dirent *e; (e = readdir(dir));)
        if (*e->d_name != '.' || streq(e->d_name, ".lock")) unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    return unlinkat(above, TPM_FOLDER, AT_REMOVEDIR);
}

/* Nobody but root gets at the folder before it is whole: it is made here and handed over afterwards. */
static int fill_tpm(const struct lv *lv, const char *above, const struct hv_vm *vm)
{
    _cleanup_free_ char *folder = xasprintf("%s/" TPM_FOLDER, above), *file = xasprintf("%s/" TPM_FILE, folder);
    const uid_t uid = lv->daemon.uid;
    const gid_t gid = lv->daemon.gid;

    if (mkdir(folder, 0700) < 0 || write_file_atomic(file, vm->tpm, vm->tpm_len, 0600) < 0) return -1;
    return chown(file, uid, gid) < 0 || chown(folder, uid, gid) < 0 ? -1 : 0;
}

int lv_put_tpm(const struct lv *lv, const struct hv_vm *vm, struct hv_failure *f)
{
    _cleanup_free_ char *above = tpm_folder(lv, vm->id.uuid);

    if (!vm->has_tpm) return 0;
    if (lv_check_tpm((void *)(uintptr_t)lv, f) < 0) return -1;
    if (make_dirs(above, 0711) < 0) return hv_fail(f, HV_FAIL_BUILD, "%s: %s", above, strerror(errno));
    _cleanup_close_ int fd = open(above, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || drop_tpm(fd) < 0 || (vm->tpm_len && fill_tpm(lv, above, vm) < 0))
        return hv_fail(f, HV_FAIL_BUILD, "%s/" TPM_FOLDER ": %s", above, strerror(errno));
    return 0;
}

int lv_get_tpm(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
               struct hv_failure *f)
{
    const struct lv *lv = d;
    _cleanup_free_ char *above = tpm_folder(lv, uuid), *path = xasprintf("%s/" TPM_FOLDER "/" TPM_FILE, above);
    struct stat st;

    (void)deadline_ms;
    *ret_len = 0;
    if (!lv->private || lstat(path, &st) < 0) return 0;
    /* swtpm's user owns the folder: what lies there is a plain file, or nothing that root reads. */
    if (!S_ISREG(st.st_mode)) return hv_fail(f, HV_FAIL_ENGINE, "%s is not a file", path);
    return take_file(path, arena, ret_bytes, ret_len, f);
}

/* ---- of guests that are gone ------------------------------------------------------------------------------ */

/* "UUID" and this ending, of a guest that is not there. */
static bool is_left_over(struct lv *lv, const char *name, const char *ending)
{
    char uuid[UUID_TEXT] = "";

    if (strlen(name) != UUID_TEXT - 1 + strlen(ending) || !streq(name + UUID_TEXT - 1, ending)) return false;
    memcpy(uuid, name, UUID_TEXT - 1);
    pthread_mutex_lock(&lv->lock);
    const bool here = lv_guest_find(lv, uuid) != NULL;
    pthread_mutex_unlock(&lv->lock);
    return !here;
}

static void drop_variables(int dir, const char *name) { unlinkat(dir, name, 0); }

static void drop_folder(int dir, const char *name)
{
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0 && drop_tpm(fd) == 0) unlinkat(dir, name, AT_REMOVEDIR);
}

static void trim(struct lv *lv, const char *below, const char *ending, void (*drop)(int dir, const char *name))
{
    _cleanup_free_ char *folder = xasprintf("%s/lib/%s", lv->daemon.dir, below);
    DIR *dir = lv->private ? opendir(folder) : NULL;
    struct stat st;

    if (!dir) return;
    for (const struct dirent *e; (e = readdir(dir));)
        if (is_left_over(lv, e->d_name, ending) && !fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
            clock_wall_seconds() - st.st_mtime > KEEP_S)
            drop(dirfd(dir), e->d_name);
    closedir(dir);
}

void lv_trim_nvram(struct lv *lv)
{
    trim(lv, "qemu/nvram", "_VARS.fd", drop_variables);
    trim(lv, "swtpm", "", drop_folder);
}
