/* What a paravirtual guest boots when a boot loader finds it: its kernel and ramdisk, copied off its own disk.
 * Called by: vm_power.c, startup.c.  Calls: xapi-helper, storage/content.
 *
 * The disk is the guest's and hostile, so a confined process reads it (helper/bootloader.c); of its answer only the kernel's
 * arguments are used here. The copies are files below run/boot, which go when the domain is built. */
#include "xapi/vm_boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "lib/subproc.h"
#include "xapi/storage/content.h"

#define LOG_MODULE "vm"
#include "lib/log.h"

enum { HELPER_MS = 60000, MAX_ANSWER = 16384, DISK_FD = 3, KERNEL_FD = 4, RAMDISK_FD = 5 };
#define GRUB_FOLDER "/usr/lib/grub-xen/"

/* ---- the record ------------------------------------------------------------------------------ */

/* What the record says; from the call's arena. */
struct wishes {
    const char *loader, *loader_args, *legacy_args, *args;
};

static int read_wishes(struct call *c, struct ref vm, struct wishes *ret, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    *ret = (struct wishes){
        .loader = arena_strdup(c->arena, row_str(row, F_VM_PV_bootloader)),
        .loader_args = arena_strdup(c->arena, row_str(row, F_VM_PV_bootloader_args)),
        .legacy_args = arena_strdup(c->arena, row_str(row, F_VM_PV_legacy_args)),
        .args = arena_strdup(c->arena, row_str(row, F_VM_PV_args)),
    };
    return 0;
}

/* ---- pygrub's options ------------------------------------------------------------------------ */

/* The helper's request: a line per thing that was asked for. */
struct options {
    struct strbuf request;
    bool kernel, args;
};

static void ask(struct options *o, const char *key, const char *value)
{
    strbuf_printf(&o->request, "%s=", key);
    for (; *value; value++) strbuf_char(&o->request, *value == '\n' ? ' ' : *value);
    strbuf_char(&o->request, '\n');
}

/* The next word, without the quotes that hold blanks together; NULL = there is none. */
static char *next_word(const char **p, struct arena *a)
{
    const char *from = *p + strspn(*p, " \t\n");
    char *word = arena_alloc(a, strlen(from) + 1), quote = '\0';
    size_t n = 0;

    if (!*from) return NULL;
    for (; *from && (quote || !strchr(" \t\n", *from)); from++) {
        if (quote ? *from == quote : *from == '"' || *from == '\'') quote = quote ? '\0' : *from;
        else word[n++] = *from;
    }
    word[n] = '\0';
    *p = from;
    return word;
}

/* As pygrub takes them: --kernel= --ramdisk= --args= --entry=, each also with its value as the next word. */
static int read_options(struct call *c, struct ref vm, const char *text, struct options *o, struct xerr *err)
{
    static const struct { const char *option, *key; } known[] = {
        { "--kernel", "kernel" }, { "--ramdisk", "ramdisk" }, { "--args", "args" }, { "--entry", "entry" },
    };
    const char *word;

    while ((word = next_word(&text, c->arena))) {
        size_t i = 0, n = strcspn(word, "=");
        if (streq(word, "-q") || streq(word, "--quiet")) continue;
        while (i < ARRAY_SIZE(known) && (strlen(known[i].option) != n || strncmp(word, known[i].option, n) != 0)) i++;
        const char *value = i == ARRAY_SIZE(known) ? NULL : word[n] ? word + n + 1 : next_word(&text, c->arena);
        if (!value) return xerr_bootloader_failed(err, REF_STR(vm), arena_printf(c->arena, "PV_bootloader_args: %s", word));
        ask(o, known[i].key, value);
        o->kernel |= i == 0;
        o->args |= i == 2;
    }
    return 0;
}

/* ---- the helper ------------------------------------------------------------------------------ */

struct reading {
    struct call *c;
    struct ref vm;
    const struct hv_disk *disk;
    int disk_fd, kernel_fd, ramdisk_fd;
    struct content *server;          /* of an image that is not raw */
};

static int failed(const struct reading *r, struct xerr *err, const char *why)
{
    return xerr_bootloader_failed(err, REF_STR(r->vm), why);
}

static int open_disk(struct reading *r, struct xerr *err)
{
    const struct hv_disk *d = r->disk;
    const bool served = d->source == HV_SOURCE_NBD || d->format != HV_FORMAT_RAW;

    if (!served) {
        r->disk_fd = open(d->path, O_RDONLY | O_CLOEXEC);
        return r->disk_fd < 0 ? failed(r, err, arena_printf(r->c->arena, "%s: %s", d->path, strerror(errno))) : 0;
    }
    const struct storage_disk disk = {
        .path = d->path,
        .format = d->format == HV_FORMAT_QCOW2 ? "qcow2" : "raw",
        .socket = d->source == HV_SOURCE_NBD ? d->path : NULL,
    };
    return content_connect(r->c->agent->storage, &disk, &r->server, &r->disk_fd, err);
}

static int make_file(const struct reading *r, const char *path, int *ret_fd, struct xerr *err)
{
    unlink(path);
    *ret_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return *ret_fd < 0 ? failed(r, err, arena_printf(r->c->arena, "%s: %s", path, strerror(errno))) : 0;
}

static bool cancelled(void *call) { return call_cancelled(call); }

/* The helper's answer, or its complaint as the error. */
static int run_helper(const struct reading *r, const struct strbuf *request, const char **ret_line, struct xerr *err)
{
    struct arena *a = r->c->arena;
    const char *const argv[] = { r->c->agent->helper, "bootloader", NULL };
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    const struct subproc_fd fds[] = { { r->disk_fd, DISK_FD }, { r->kernel_fd, KERNEL_FD }, { r->ramdisk_fd, RAMDISK_FD } };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/", .fds = fds, .n_fds = ARRAY_SIZE(fds) };
    const struct subproc_limits limits = { .timeout_ms = HELPER_MS, .out_bytes = MAX_ANSWER, .cancelled = cancelled,
                                           .cancelled_arg = r->c };
    _cleanup_subproc_result_ struct subproc_result result = { .code = 0 };

    if (subproc_run(&cmd, request->ptr, request->len, &limits, &result))
        return failed(r, err, arena_printf(a, "%s: %s", r->c->agent->helper, strerror(errno)));
    if (result.end == SUBPROC_CANCELLED && call_check_cancel(r->c, err)) return -1;
    const char *out = strbuf_cstr(&result.out), *line = arena_strndup(a, out, strcspn(out, "\n"));
    if (subproc_ok(&result)) {
        *ret_line = line;
        return 0;
    }
    _cleanup_free_ char *why = subproc_describe(&result);
    /* 1 is a disk that does not boot; anything else is one that broke the reader. */
    const bool said = result.end == SUBPROC_EXITED && result.code == 1 && *line;
    if (!said) log_error("xapi-helper bootloader: %s", why);
    return failed(r, err, said ? line : arena_printf(a, "the disk cannot be read: %s", why));
}

/* "ok kernel ARGS" or "ok ramdisk ARGS" */
static int take_answer(const struct reading *r, const struct wishes *w, const struct vm_boot *b, const char *line,
                       struct hv_vm *ret_vm, struct xerr *err)
{
    const bool ramdisk = has_prefix(line, "ok ramdisk ");
    const char *args = ramdisk ? line + strlen("ok ramdisk ") : has_prefix(line, "ok kernel ") ? line + strlen("ok kernel ") : NULL;

    if (!args) return failed(r, err, "the reader of the disk says nothing");
    ret_vm->kernel = b->kernel;
    ret_vm->ramdisk = ramdisk ? b->ramdisk : "";
    ret_vm->args = *args && *w->args ? arena_printf(r->c->arena, "%s %s", args, w->args) : *args ? args : w->args;
    ret_vm->kernel_is_guests = true;
    return 0;
}

static void close_all(struct reading *r)
{
    const int fds[] = { r->disk_fd, r->kernel_fd, r->ramdisk_fd };

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0) close(fds[i]);
    content_close(r->server);
}

/* ---- pygrub ---------------------------------------------------------------------------------- */

/* The first that is marked bootable, else the first. */
static const struct hv_disk *boot_disk(const struct hv_vm *vm)
{
    const struct hv_disk *first = NULL;

    for (size_t i = 0; i < vm->n_disks; i++) {
        const struct hv_disk *d = &vm->disks[i];
        if (d->source == HV_SOURCE_EMPTY) continue;
        if (d->bootable) return d;
        if (!first) first = d;
    }
    return first;
}

static int read_disk(struct call *c, struct ref vm, const struct wishes *w, struct vm_boot *b, struct hv_vm *ret_vm,
                     struct xerr *err)
{
    struct reading r = { .c = c, .vm = vm, .disk = boot_disk(ret_vm), .disk_fd = -1, .kernel_fd = -1, .ramdisk_fd = -1 };
    _cleanup_free_ char *folder = xasprintf("%s/run/boot", c->agent->root);
    struct options o = { .request = STRBUF_INIT };
    const char *line = "";
    int rc = -1;

    if (!r.disk) return failed(&r, err, "the VM has no disk to boot from");
    if (make_dirs(folder, 0700) < 0) return failed(&r, err, arena_printf(c->arena, "%s: %s", folder, strerror(errno)));
    b->kernel = xasprintf("%s/%s.kernel", folder, ret_vm->id.uuid);
    b->ramdisk = xasprintf("%s/%s.ramdisk", folder, ret_vm->id.uuid);
    if (read_options(c, vm, w->loader_args, &o, err)) goto out;
    if (o.kernel && !o.args && *w->legacy_args) ask(&o, "args", w->legacy_args);
    if (make_file(&r, b->kernel, &r.kernel_fd, err) || make_file(&r, b->ramdisk, &r.ramdisk_fd, err)) goto out;
    if (open_disk(&r, err) || run_helper(&r, &o.request, &line, err)) goto out;
    rc = take_answer(&r, w, b, line, ret_vm, err);
out:
    close_all(&r);
    strbuf_free(&o.request);
    if (rc) vm_boot_done(b);
    return rc;
}

/* GRUB as the guest's kernel: it reads the disk inside the guest. */
static int use_grub(struct call *c, struct ref vm, struct hv_vm *ret_vm, struct xerr *err)
{
    const char *image = ret_vm->domain_type == HV_DOMAIN_PV ? GRUB_FOLDER "grub-x86_64-xen.bin" : GRUB_FOLDER "grub-i386-xen_pvh.bin";

    if (access(image, R_OK) < 0)
        return xerr_bootloader_failed(err, REF_STR(vm), arena_printf(c->arena, "%s: %s (package grub-xen-host)", image, strerror(errno)));
    ret_vm->kernel = image;
    ret_vm->ramdisk = "";
    return 0;
}

int vm_boot_find(struct call *c, struct ref vm, struct hv_vm *vm_described, struct vm_boot *ret_boot, struct xerr *err)
{
    struct wishes w;

    *ret_boot = (struct vm_boot){ .kernel = NULL };
    /* The simulator's disks have nothing on them. */
    if (vm_described->domain_type == HV_DOMAIN_HVM || streq(hv_name(c->agent->hv), "sim")) return 0;
    if (read_wishes(c, vm, &w, err)) return -1;
    const char *slash = strrchr(w.loader, '/'), *name = slash ? slash + 1 : w.loader;
    if (!*name) return 0;
    if (streq(name, "pygrub")) return read_disk(c, vm, &w, ret_boot, vm_described, err);
    if (streq(name, "pvgrub")) return use_grub(c, vm, vm_described, err);
    if (streq(name, "eliloader"))
        return xerr_bootloader_failed(err, REF_STR(vm), "eliloader, which fetches an installer, is not there: set PV_bootloader to pygrub "
                                      "for an installed disk, or name PV_kernel and PV_ramdisk");
    return xerr_unknown_bootloader(err, REF_STR(vm), w.loader);
}

void vm_boot_done(struct vm_boot *b)
{
    if (b->kernel) unlink(b->kernel);
    if (b->ramdisk) unlink(b->ramdisk);
    free(b->kernel);
    free(b->ramdisk);
    *b = (struct vm_boot){ .kernel = NULL };
}

int vm_boot_sweep(struct call *c, struct xerr *err)
{
    _cleanup_free_ char *folder = xasprintf("%s/run/boot", c->agent->root);
    DIR *dir = opendir(folder);

    if (!dir) return errno == ENOENT ? 0 : xerr_internal(err, "%s: %s", folder, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir));)
        if (*e->d_name != '.') unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    return 0;
}
