/* The QEMU of a Xen guest: device model of an HVM guest, backend of disks that blkback cannot serve (qcow2, NBD), screen of a guest
 * without device model, or several of these.
 * Called by: xen_create.c, xen_hotplug.c, xen_power.c, xen_watch.c.  Calls: QEMU through its command line and xen_qmp.
 *
 * It outlives the agent; its pid and start time are in the guest's record. Each disk is one block node "n<slot>"; an HVM
 * guest's emulated drive and its PV disk are two devices on the same node, so that neither has stale data of the other. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/json.h"
#include "lib/num.h"
#include "xapi/hv/xen_int.h"
#include "xapi/hv/qemu_chain.h"
#include "xapi/hv/xen_qmp.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { MAX_ARGS = 512, IDE_DISKS = 4, TERM_MS = 5000, KILL_MS = 5000, PV_MEMORY_MIB = 32, STATE_FD = 3, STEP_MS = 20 };

/* ---- help ------------------------------------------------------------------------------------ */

/* A NULL-terminated list of owned texts. */
struct args {
    char *all[MAX_ARGS + 1];
    size_t n;
};

static void args_free(struct args *a)
{
    for (size_t i = 0; i < a->n; i++) free(a->all[i]);
}
#define _cleanup_args_ _cleanup_(args_free)

static void add(struct args *a, const char *text)
{
    if (a->n < MAX_ARGS) a->all[a->n++] = xstrdup(text);
}

static void add2(struct args *a, const char *option, char *take_value)
{
    if (a->n + 1 >= MAX_ARGS) {
        free(take_value);
        return;
    }
    a->all[a->n++] = xstrdup(option);
    a->all[a->n++] = take_value;
}

static char *socket_path(const struct xn *xn, const struct xn_guest *g, char which)
{
    return xasprintf("%s/%s.%c", xn->run, g->run_name, which);
}

static void member(struct strbuf *b, const char *key, const char *text)
{
    json_member_begin(key, b);
    json_encode_string(text, strlen(text), b);
}

/* In an option's value a comma is written twice. */
static char *escape_commas(const char *text)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (; *text; text++) {
        strbuf_char(&b, *text);
        if (*text == ',') strbuf_char(&b, ',');
    }
    return strbuf_take(&b);
}

static const char *node_name(const struct xn_disk *d, char buf[32])
{
    if (d->generation) snprintf(buf, 32, "n%u-%u", d->slot, d->generation);
    else snprintf(buf, 32, "n%u", d->slot);
    return buf;
}

char *xn_qemu_find(const struct xn *xn, struct hv_failure *f)
{
    static const char *const places[] = {
        "/usr/libexec/xen-qemu-system-i386", "/usr/lib/xen/bin/qemu-system-i386", "/usr/lib64/xen/bin/qemu-system-i386",
        "/usr/local/lib/xen/bin/qemu-system-i386",
    };

    if (*xn->emulator) {
        if (access(xn->emulator, X_OK) == 0) return xstrdup(xn->emulator);
        hv_fail(f, HV_FAIL_INCOMPATIBLE, "%s: %s", xn->emulator, strerror(errno));
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0) return xstrdup(places[i]);
    hv_fail(f, HV_FAIL_INCOMPATIBLE, "there is no QEMU for Xen on this host (package qemu-system-xen)");
    return NULL;
}

bool xn_qemu_needed(const struct xn_guest *g)
{
    bool needed = g->type == HV_DOMAIN_HVM || g->screen;

    for (size_t i = 0; i < g->n_disks; i++) needed |= g->disks[i].kind == XN_QDISK;
    return needed;
}

/* ---- block nodes ----------------------------------------------------------------------------- */

static bool can_bypass_cache(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);

    return fd >= 0;
}

/* What lies at the bottom: a file, a block device, a server. */
static void protocol_json(struct strbuf *b, const struct hv_disk *disk)
{
    strbuf_char(b, '{');
    if (disk->source == HV_SOURCE_NBD) {
        member(b, "driver", "nbd");
        member(b, "export", disk->export_name);
        strbuf_str(b, ",\"server\":{");
        member(b, "type", "unix");
        member(b, "path", disk->path);
        strbuf_char(b, '}');
    } else {
        struct stat st;
        bool block = stat(disk->path, &st) == 0 && S_ISBLK(st.st_mode), direct = can_bypass_cache(disk->path);
        member(b, "driver", block ? "host_device" : "file");
        member(b, "filename", disk->path);
        strbuf_str(b, direct ? ",\"cache\":{\"direct\":true}" : ",\"cache\":{\"direct\":false}");
    }
    strbuf_char(b, '}');
}

/* The whole node as blockdev-add takes it; node NULL = without name, for -drive. */
static char *node_json(const struct hv_disk *disk, const char *node, bool readonly, bool overlay)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    bool direct = disk->source != HV_SOURCE_NBD && can_bypass_cache(disk->path);

    strbuf_char(&b, '{');
    member(&b, "driver", disk->format == HV_FORMAT_QCOW2 ? "qcow2" : "raw");
    if (node) member(&b, "node-name", node);
    strbuf_printf(&b, ",\"read-only\":%s,\"discard\":\"unmap\",\"cache\":{\"direct\":%s}", readonly ? "true" : "false",
                  direct ? "true" : "false");
    if (overlay) strbuf_str(&b, ",\"backing\":null");
    strbuf_str(&b, ",\"file\":");
    protocol_json(&b, disk);
    strbuf_char(&b, '}');
    return strbuf_take(&b);
}

/* ---- the command line ------------------------------------------------------------------------ */

static void add_pv_disk(struct args *a, const struct xn_disk *d)
{
    char name[HV_DEVICE_TEXT], node[32];

    add2(a, "-device", xasprintf("%s,id=x%u,vdev=%s,drive=%s%s", d->cdrom ? "xen-cdrom" : "xen-disk", d->slot,
                                 hv_slot_name("xvd", d->slot, name), node_name(d, node), d->cdrom ? "" : ",share-rw=on"));
}

/* An emulated drive in one of the four places that a PC has. */
static void add_ide_disk(struct args *a, const struct hv_disk *disk, const struct xn_disk *d)
{
    char node[32];
    _cleanup_free_ char *json = disk->source == HV_SOURCE_EMPTY ? NULL : node_json(disk, NULL, d->readonly, false);

    if (d->cdrom) {
        if (json) {
            _cleanup_free_ char *named = node_json(disk, node_name(d, node), true, false);
            add2(a, "-blockdev", xstrdup(named));
        }
        add2(a, "-device", xasprintf("ide-cd,id=c%u,bus=ide.%u,unit=%u%s%s", d->slot, d->slot / 2, d->slot % 2,
                                     json ? ",drive=" : "", json ? node : ""));
        return;
    }
    /* By -drive, because the unplugging of emulated disks finds no others. */
    _cleanup_free_ char *escaped = escape_commas(json);
    add2(a, "-drive", xasprintf("if=ide,index=%u,media=disk,node-name=%s,file=json:%s", d->slot, node_name(d, node), escaped));
}

static void add_disks(struct args *a, const struct xn_guest *g, const struct hv_vm *vm)
{
    char node[32];

    for (size_t i = 0; i < g->n_disks && i < vm->n_disks; i++) {
        const struct xn_disk *d = &g->disks[i];
        const struct hv_disk *disk = &vm->disks[i];
        bool emulated = g->type == HV_DOMAIN_HVM && d->slot < IDE_DISKS && (!d->readonly || d->cdrom);
        if (emulated) {
            add_ide_disk(a, disk, d);
        } else if (d->kind == XN_QDISK) {
            _cleanup_free_ char *json = node_json(disk, node_name(d, node), d->readonly, false);
            add2(a, "-blockdev", xstrdup(json));
        }
        if (d->kind == XN_QDISK) add_pv_disk(a, d);
    }
}

static const char *platform(const struct hv_vm *vm, const char *key, const char *fallback)
{
    return hv_pair_get(vm->platform, vm->n_platform, key, fallback);
}

static void add_nics(struct args *a, const struct xn_guest *g, const struct hv_vm *vm)
{
    const char *wish = platform(vm, "nic_type", "rtl8139");
    const char *model = streq(wish, "e1000") ? "e1000" : "rtl8139";

    for (size_t i = 0; i < g->n_nics; i++) {
        const struct xn_nic *n = &g->nics[i];
        if (!n->emulated) continue;
        add2(a, "-netdev", xasprintf("tap,id=net%u,ifname=vif%jd.%u-emu,script=no,downscript=no", n->device,
                                     (intmax_t)g->domid, n->device));
        /* Only the first has room for its boot ROM in a guest's memory. */
        add2(a, "-device", xasprintf("%s,id=nic%u,netdev=net%u,mac=%s%s", model, n->device, n->device, n->mac,
                                     i ? ",romfile=" : ""));
    }
}

static void add_hardware(struct args *a, const struct xn *xn, const struct xn_guest *g, const struct hv_vm *vm)
{
    _cleanup_free_ char *screen = socket_path(xn, g, 'v'), *serial = socket_path(xn, g, 's');
    const char *vga = platform(vm, "vga", "std");

    add(a, "-machine");
    add(a, "xenfv,suppress-vmdesc=on");
    add2(a, "-m", xasprintf("%jd", (intmax_t)((g->static_max_bytes - g->video_bytes) >> 20)));
    add2(a, "-smp", g->vcpus == g->vcpus_max ? xasprintf("%u", g->vcpus) : xasprintf("%u,maxcpus=%u", g->vcpus, g->vcpus_max));
    add2(a, "-boot", xasprintf("order=%s", vm->boot_order));
    add2(a, "-vnc", xasprintf("unix:%s", screen));
    add(a, "-device");
    if (streq(vga, "cirrus")) a->all[a->n++] = xasprintf("cirrus-vga,vgamem_mb=%jd", (intmax_t)(g->video_bytes >> 20));
    else a->all[a->n++] = xasprintf("VGA,vgamem_mb=%jd", (intmax_t)(g->video_bytes >> 20));
    add2(a, "-chardev", xasprintf("socket,id=serial,path=%s,server=on,wait=off,logfile=%s/%s.log,logappend=on", serial,
                                  xn->console_dir, g->vm));
    add(a, "-serial");
    add(a, "chardev:serial");
    if (hv_pair_bool(vm->platform, vm->n_platform, "usb", true)) {
        add(a, "-usb");
        add(a, "-device");
        add(a, "usb-tablet");
    }
    /* Two devices write to one disk: the emulated one until the guest's own drivers take over. */
    add(a, "-global");
    add(a, "ide-hd.share-rw=on");
}

static void fill_args(struct args *a, const struct xn *xn, const struct xn_guest *g, const struct hv_vm *vm, char *emulator)
{
    _cleanup_free_ char *monitor = socket_path(xn, g, 'q'), *screen = socket_path(xn, g, 'v');

    add(a, emulator);
    add2(a, "-xen-domid", xasprintf("%jd", (intmax_t)g->domid));
    add2(a, "-name", xasprintf("guest-%s", g->vm));
    add(a, "-xen-attach");
    add(a, "-no-user-config");
    add(a, "-nodefaults");
    add(a, "-no-shutdown");
    add(a, "-display");
    add(a, "none");
    add2(a, "-chardev", xasprintf("socket,id=monitor,path=%s,server=on,wait=off", monitor));
    add(a, "-mon");
    add(a, "chardev=monitor,mode=control");
    if (g->type == HV_DOMAIN_HVM) {
        add_hardware(a, xn, g, vm);
        add_nics(a, g, vm);
    } else {
        add(a, "-machine");
        add(a, "xenpv");
        add2(a, "-m", xasprintf("%d", PV_MEMORY_MIB));
        if (g->screen) {
            add(a, "-vga");
            add(a, "xenfb");
            add2(a, "-vnc", xasprintf("unix:%s", screen));
        }
    }
    add_disks(a, g, vm);
    /* Last: the others stay in the slots that they have without it. */
    if (vm->vendor_device) {
        add(a, "-device");
        add(a, "xen-pvdevice,device-id=0xc000");
    }
}

/* ---- its life -------------------------------------------------------------------------------- */

static int make_taps(struct xn *xn, const struct xn_guest *g, struct hv_failure *f)
{
    for (size_t i = 0; xn->plug.plug && i < g->n_nics; i++) {
        struct xerr err = XERR_INIT;
        const struct xn_nic *n = &g->nics[i];
        _cleanup_free_ char *tap = xasprintf("vif%jd.%u-emu", (intmax_t)g->domid, n->device);
        if (!n->emulated) continue;
        if (xn->plug.plug(xn->plug.arg, &(struct hv_plugged){ .interface = tap, .bridge = n->bridge, .mac = n->mac, .mtu = n->mtu,
                                                                   .tap = true },
                          &err) == 0)
            continue;
        _cleanup_free_ char *why = xerr_text(&err);
        xerr_clear(&err);
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", tap, why);
    }
    return 0;
}

static void drop_taps(struct xn *xn, const struct xn_guest *g)
{
    for (size_t i = 0; xn->plug.drop_tap && i < g->n_nics; i++) {
        _cleanup_free_ char *tap = xasprintf("vif%jd.%u-emu", (intmax_t)g->domid, g->nics[i].device);
        if (g->nics[i].emulated) xn->plug.drop_tap(xn->plug.arg, tap);
    }
}

static int open_log(const struct xn *xn, const struct xn_guest *g)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.qemu", xn->console_dir, g->run_name);

    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

char *xn_qemu_state(const struct xn *xn, const struct xn_guest *g) { return socket_path(xn, g, 'd'); }

int xn_qemu_start(struct xn *xn, struct xn_guest *g, const struct hv_vm *vm, bool incoming, struct hv_failure *f)
{
    _cleanup_args_ struct args a = { .n = 0 };
    _cleanup_free_ char *state_path = xn_qemu_state(xn, g);
    _cleanup_close_ int state = incoming ? open(state_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    _cleanup_free_ char *emulator = xn_qemu_find(xn, f);
    _cleanup_close_ int log = open_log(xn, g);
    struct subproc child = SUBPROC_INIT;

    if (!emulator || xn_fault("hv.xen.qemu", f) < 0 || make_taps(xn, g, f) < 0) return -1;
    fill_args(&a, xn, g, vm, emulator);
    if (incoming) {
        if (state < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", state_path, strerror(errno));
        add2(&a, "-incoming", xasprintf("fd:%d", STATE_FD));
        unlink(state_path);
    }
    if (a.n >= MAX_ARGS - 1) return hv_fail(f, HV_FAIL_DEVICE_FULL, "too many devices");
    const struct subproc_fd pass = { .ours = state, .theirs = STATE_FD };
    const struct subproc_command cmd = { .argv = (const char *const *)a.all, .fds = &pass, .n_fds = incoming ? 1 : 0 };
    if (subproc_spawn(&cmd, -1, log, log, &child) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", emulator, strerror(errno));
    g->qemu_pid = child.pid;
    g->qemu_start = child.start_time;
    subproc_forget(&child);
    return xn_record_write(xn, g, f);
}

bool xn_qemu_alive(const struct xn_guest *g) { return g->qemu_pid > 0 && subproc_alive(g->qemu_pid, g->qemu_start); }

static bool alive(void *arg) { return xn_qemu_alive(arg); }

/* The last line that it wrote, for whoever wonders why it ended. */
static void explain(const struct xn *xn, const struct xn_guest *g, struct hv_failure *f)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.qemu", xn->console_dir, g->run_name), *text = NULL;
    size_t len;

    if (read_file(path, 1 << 20, &text, &len) < 0 || !len) return;
    while (len && (text[len - 1] == '\n' || text[len - 1] == '\r')) text[--len] = '\0';
    const char *last = strrchr(text, '\n');
    hv_fail(f, HV_FAIL_BUILD, "QEMU ended: %.400s", last ? last + 1 : text);
}

static int open_monitor(struct xn *xn, const struct xn_guest *g, int64_t deadline_ms, struct qmp **ret_q, struct hv_failure *f)
{
    _cleanup_free_ char *monitor = socket_path(xn, g, 'q');

    if (g->qemu_pid <= 0) return hv_fail(f, HV_FAIL_UNSUPPORTED, "the guest was started without QEMU");
    return qmp_open(monitor, deadline_ms, alive, (void *)g, ret_q, f);
}

/* One that goes on from a state listens before it has read that. */
static int await_running(struct qmp *q, int64_t deadline_ms, struct hv_failure *f)
{
    for (;;) {
        _cleanup_arena_ struct arena *a = arena_new();
        struct value v;
        if (qmp_run(q, "query-status", NULL, deadline_ms, a, &v, f) < 0) return -1;
        const char *status = value_get_str(&v, "status", "");
        if (!streq(status, "inmigrate")) return 0;
        if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "QEMU does not get ready");
        poll(NULL, 0, STEP_MS);
    }
}

int xn_qemu_await(struct xn *xn, const struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;

    if (open_monitor(xn, g, deadline_ms, &q, f) == 0 && await_running(q, deadline_ms, f) == 0) return 0;
    if (!xn_qemu_alive(g)) explain(xn, g, f);
    return -1;
}

/* ---- its state ------------------------------------------------------------------------------- */

int xn_qemu_save(struct xn *xn, const struct xn_guest *g, bool hand_over, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_free_ char *path = xn_qemu_state(xn, g);
    bool model = g->type == HV_DOMAIN_HVM;
    const char *what = arena_printf(a, "{\"filename\":\"%s\",\"live\":%s}", model ? path : "/dev/null", hand_over ? "true" : "false");

    if (!xn_qemu_needed(g)) return 0;
    if (xn_fault("hv.xen.qemu-save", f) < 0 || open_monitor(xn, g, deadline_ms, &q, f) < 0 ||
        qmp_run(q, "stop", NULL, deadline_ms, a, NULL, f) < 0)
        return -1;
    return model || hand_over ? qmp_run(q, "xen-save-devices-state", what, deadline_ms, a, NULL, f) : 0;
}

int xn_qemu_continue(struct xn *xn, const struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();

    if (!xn_qemu_needed(g)) return 0;
    if (open_monitor(xn, g, deadline_ms, &q, f) < 0) return -1;
    return qmp_run(q, "cont", NULL, deadline_ms, a, NULL, f);
}

int xn_qemu_dirty_log(struct xn *xn, struct xn_guest *g, bool on, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();

    if (g->type != HV_DOMAIN_HVM || g->dirty_log == on) return 0;
    if (open_monitor(xn, g, deadline_ms, &q, f) < 0 ||
        qmp_run(q, "xen-set-global-dirty-log", on ? "{\"enable\":true}" : "{\"enable\":false}", deadline_ms, a, NULL, f) < 0)
        return -1;
    g->dirty_log = on;
    return xn_record_write(xn, g, f);
}

/* ---- its end --------------------------------------------------------------------------------- */

/* A QEMU of this guest that nobody wrote down: its monitor's name is on its command line. */
static pid_t search(const struct xn *xn, const struct xn_guest *g)
{
    _cleanup_free_ char *monitor = socket_path(xn, g, 'q');
    DIR *dir = opendir("/proc");
    pid_t found = 0;

    for (const struct dirent *e; dir && !found && (e = readdir(dir));) {
        int64_t pid;
        size_t len = 0;
        _cleanup_free_ char *path = xasprintf("/proc/%s/cmdline", e->d_name), *text = NULL;
        if (!num_parse_int(e->d_name, &pid) || pid <= 1 || read_file(path, 1 << 20, &text, &len) < 0) continue;
        if (memmem(text, len, monitor, strlen(monitor)) && memmem(text, len, "-xen-domid", 10)) found = (pid_t)pid;
    }
    if (dir) closedir(dir);
    return found;
}

static bool await_end(int pidfd, int timeout_ms)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };

    return poll(&p, 1, timeout_ms) > 0;
}

static void end_process(pid_t pid)
{
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (pidfd < 0) return;
    kill(pid, SIGTERM);
    if (await_end(pidfd, TERM_MS)) return;
    kill(pid, SIGKILL);
    if (!await_end(pidfd, KILL_MS)) log_warn("xen: QEMU %d does not end", (int)pid);
}

void xn_qemu_end(struct xn *xn, struct xn_guest *g)
{
    static const char which[] = "qvsd";

    if (xn_qemu_alive(g)) end_process(g->qemu_pid);
    else if (g->qemu_pid <= 0 && g->phase != XN_THERE) {
        pid_t pid = search(xn, g);
        if (pid > 0) end_process(pid);
    }
    subproc_reap();
    g->qemu_pid = 0;
    drop_taps(xn, g);
    for (const char *p = which; *p; p++) {
        _cleanup_free_ char *path = socket_path(xn, g, *p);
        unlink(path);
    }
}

/* ---- disks of a running one ------------------------------------------------------------------ */

struct monitor {
    struct qmp *q;
    int64_t deadline_ms;
};

static int ask(void *arg, const char *command, const char *arguments, struct arena *a, struct value *ret_value, struct hv_failure *f)
{
    const struct monitor *m = arg;

    return qmp_run(m->q, command, arguments, m->deadline_ms, a, ret_value, f);
}

/* The disk's node, and those below it that snapshots left. */
static int drop_nodes(struct qmp *q, const struct xn_disk *d, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct xn_disk at = *d;
    char node[32];
    int rc = 0;

    for (;; at.generation--) {
        const char *which = arena_printf(a, "{\"node-name\":\"%s\"}", node_name(&at, node));
        struct hv_failure ignored = { .kind = HV_FAIL_NONE };
        bool top = at.generation == d->generation;
        if (qmp_run(q, "blockdev-del", which, deadline_ms, a, NULL, top ? f : &ignored) < 0 && top) rc = -1;
        if (rc < 0 || !at.generation) return rc;
    }
}

int xn_qemu_disk_attach(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *d,
                        int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    char name[HV_DEVICE_TEXT], node[32];
    _cleanup_free_ char *json = node_json(disk, node_name(d, node), d->readonly, false);
    const char *device = arena_printf(a, "{\"driver\":\"xen-disk\",\"id\":\"x%u\",\"vdev\":\"%s\",\"drive\":\"%s\"}", d->slot,
                                      hv_slot_name("xvd", d->slot, name), node);

    if (open_monitor(xn, g, deadline_ms, &q, f) < 0 || qmp_run(q, "blockdev-add", json, deadline_ms, a, NULL, f) < 0) return -1;
    if (qmp_run(q, "device_add", device, deadline_ms, a, NULL, f) == 0) return 0;
    qmp_run(q, "blockdev-del", arena_printf(a, "{\"node-name\":\"%s\"}", node), deadline_ms, a, NULL, &ignored);
    return -1;
}

int xn_qemu_disk_detach(struct xn *xn, struct xn_guest *g, const struct xn_disk *d, int64_t deadline_ms,
                        struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    char device[16];

    snprintf(device, sizeof device, "x%u", d->slot);
    if (open_monitor(xn, g, deadline_ms, &q, f) < 0) return -1;
    if (qmp_run(q, "device_del", arena_printf(a, "{\"id\":\"%s\"}", device), deadline_ms, a, NULL, f) < 0) return -1;
    int rc = qmp_wait(q, "DEVICE_DELETED", device, deadline_ms, f);
    if (rc < 0) return -1;
    if (rc == 0) return hv_fail(f, HV_FAIL_TIMEOUT, "the guest does not let go");
    struct monitor m = { q, deadline_ms };
    rc = drop_nodes(q, d, deadline_ms, f);
    qemu_chain_sweep(&(struct qemu_way){ .run = ask, .arg = &m });
    return rc;
}

int xn_qemu_cd_change(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *d,
                      int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    const char *id = arena_printf(a, "{\"id\":\"c%u\"}", d->slot);
    char node[32];

    if (open_monitor(xn, g, deadline_ms, &q, f) < 0) return -1;
    if (qmp_run(q, "blockdev-open-tray", id, deadline_ms, a, NULL, f) < 0) {
        if (strstr(f->why, "locked")) f->kind = HV_FAIL_TRAY_LOCKED;
        return -1;
    }
    if (d->path) {
        if (qmp_run(q, "blockdev-remove-medium", id, deadline_ms, a, NULL, f) < 0 ||
            qmp_run(q, "blockdev-del", arena_printf(a, "{\"node-name\":\"%s\"}", node_name(d, node)), deadline_ms, a, NULL, f) < 0)
            return -1;
    }
    free(d->path);
    d->path = NULL;
    if (disk->source == HV_SOURCE_EMPTY) return 0;
    d->generation++;
    _cleanup_free_ char *json = node_json(disk, node_name(d, node), true, false);
    if (qmp_run(q, "blockdev-add", json, deadline_ms, a, NULL, f) < 0) return -1;
    const char *insert = arena_printf(a, "{\"id\":\"c%u\",\"node-name\":\"%s\"}", d->slot, node);
    if (qmp_run(q, "blockdev-insert-medium", insert, deadline_ms, a, NULL, f) < 0 ||
        qmp_run(q, "blockdev-close-tray", id, deadline_ms, a, NULL, f) < 0)
        return -1;
    d->path = xstrdup(disk->path);
    return 0;
}

int xn_qemu_disk_resize(struct xn *xn, struct xn_guest *g, const struct xn_disk *d, int64_t size_bytes,
                        int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    char node[32];

    if (open_monitor(xn, g, deadline_ms, &q, f) < 0) return -1;
    return qmp_run(q, "block_resize", arena_printf(a, "{\"node-name\":\"%s\",\"size\":%jd}", node_name(d, node), (intmax_t)size_bytes),
                   deadline_ms, a, NULL, f);
}

static int snapshot(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *d, int64_t deadline_ms,
                    struct hv_failure *f)
{
    _cleanup_qmp_ struct qmp *q = NULL;
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    struct xn_disk next = *d;
    char old[32], new[32];

    next.generation++;
    node_name(d, old);
    node_name(&next, new);
    _cleanup_free_ char *json = node_json(disk, new, false, true);
    if (open_monitor(xn, g, deadline_ms, &q, f) < 0 || qmp_run(q, "blockdev-add", json, deadline_ms, a, NULL, f) < 0) return -1;
    const char *what = arena_printf(a, "{\"node\":\"%s\",\"overlay\":\"%s\"}", old, new);
    if (qmp_run(q, "blockdev-snapshot", what, deadline_ms, a, NULL, f) < 0) {
        qmp_run(q, "blockdev-del", arena_printf(a, "{\"node-name\":\"%s\"}", new), deadline_ms, a, NULL, &ignored);
        return -1;
    }
    d->generation++;
    free(d->path);
    d->path = xstrdup(disk->path);
    return xn_record_write(xn, g, f);
}

int xn_disk_snapshot(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc;

    if (!g) return -1;
    struct xn_disk *found = xn_disk_find(g, (unsigned)hv_slot(disk->device));
    if (!found) rc = hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
    else if (disk->format != HV_FORMAT_QCOW2) rc = hv_fail(f, HV_FAIL_UNSUPPORTED, "the new image is not qcow2");
    else if (found->kind != XN_QDISK)
        rc = hv_fail(f, HV_FAIL_UNSUPPORTED, "dom0's kernel serves a raw disk; it cannot change to another image while the guest runs");
    else rc = snapshot(xn, g, disk, found, deadline_ms, f);
    xn_turn_end(xn, g);
    return rc;
}

int xn_disk_reopen(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    struct monitor m = { .deadline_ms = deadline_ms };
    const struct qemu_way way = { .run = ask, .arg = &m };
    char node[32];
    int rc;

    if (!g) return -1;
    const struct xn_disk *found = xn_disk_find(g, (unsigned)hv_slot(disk->device));
    if (!found) rc = hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
    else if (disk->format != HV_FORMAT_QCOW2 || found->kind != XN_QDISK) rc = hv_fail(f, HV_FAIL_UNSUPPORTED, "no qcow2 of QEMU's");
    else rc = open_monitor(xn, g, deadline_ms, &m.q, f) < 0 ? -1 : qemu_chain_reopen(&way, node_name(found, node), disk->path, f);
    qmp_close(m.q);
    xn_turn_end(xn, g);
    return rc;
}
