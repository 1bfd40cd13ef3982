/* Disks and network cards of Xen guests: backends in dom0's kernel, plugged and unplugged by us; no hotplug scripts.
 * Called by: hv.c through the vtable; xen_create.c, xen_power.c.  Calls: xen_layout, xen_store, xen_loop, the plug of hv_config. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { STEP_FIRST_US = 500, STEP_MAX_US = 20000 };

/* ---- waiting for dom0's kernel ---------------------------------------------------------------- */

/* The kernel's own list of its backends: /sys/bus/xen-backend/devices/vbd-5-51712/REST. */
static char *sysfs(enum xn_class class, int64_t domid, unsigned devid, const char *rest)
{
    return xasprintf("/sys/bus/xen-backend/devices/%s-%jd-%u%s%s", xn_class_name(class), (intmax_t)domid, devid,
                     *rest ? "/" : "", rest);
}

/* sysfs tells nobody when it changes: look at growing intervals. False when the deadline passes first. */
static bool await_path(const char *path, bool wanted, int64_t deadline_ms)
{
    long step_us = STEP_FIRST_US;

    while ((access(path, F_OK) == 0) != wanted) {
        if (hv_now_ms() >= deadline_ms) return false;
        nanosleep(&(struct timespec){ .tv_nsec = step_us * 1000 }, NULL);
        if (step_us < STEP_MAX_US) step_us *= 2;
    }
    return true;
}

/* What a backend says of its failure, or fallback. */
static const char *backend_error(struct xn *xn, enum xn_class class, int64_t domid, unsigned devid, struct arena *a,
                                 const char *fallback)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    _cleanup_free_ char *path = xasprintf("/local/domain/0/error/backend/%s/%jd/%u/error", xn_class_name(class),
                                          (intmax_t)domid, devid);
    size_t i = xst_read(&b, path);

    if (xn_store_run(xn, &b, hv_now_ms() + XN_STORE_MS, &ignored) < 0 || !xst_value(&b, i)) return fallback;
    return arena_strdup(a, xst_value(&b, i));
}

static int fail_backend(struct xn *xn, enum xn_class class, const struct xn_guest *g, unsigned devid, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const char *why = backend_error(xn, class, g->domid, devid, a, "dom0's kernel does not take it up");

    return hv_fail(f, HV_FAIL_TIMEOUT, "%s %u: %s", xn_class_name(class), devid, why);
}

int xn_backend_await_gone(enum xn_class class, int64_t domid, unsigned devid, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_free_ char *path = sysfs(class, domid, devid, "");

    if (await_path(path, false, deadline_ms)) return 0;
    return hv_fail(f, HV_FAIL_TIMEOUT, "dom0's kernel does not let go of %s %u", xn_class_name(class), devid);
}

/* ---- disks ----------------------------------------------------------------------------------- */

static int block_device(const char *path, unsigned *ret_major, unsigned *ret_minor, struct hv_failure *f)
{
    struct stat st;

    if (stat(path, &st) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    if (!S_ISBLK(st.st_mode)) return hv_fail(f, HV_FAIL_ENGINE, "%s: not a block device", path);
    *ret_major = major(st.st_rdev);
    *ret_minor = minor(st.st_rdev);
    return 0;
}

int xn_disk_prepare(struct xn *xn, const struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *ret_disk,
                    int *ret_fd, struct hv_failure *f)
{
    unsigned slot = (unsigned)hv_slot(disk->device);
    struct xn_disk d = { .slot = slot, .devid = xn_devid(slot), .cdrom = disk->cdrom,
                         .readonly = disk->readonly || disk->cdrom };
    int fd = -1, rc = 0;

    if (g->type == HV_DOMAIN_HVM && disk->cdrom) d.kind = XN_EMULATED;
    else if (disk->source == HV_SOURCE_EMPTY) d.kind = XN_NO_MEDIUM;
    else if (disk->source == HV_SOURCE_NBD || disk->format != HV_FORMAT_RAW) d.kind = XN_QDISK;
    else d.kind = XN_PHY;
    if (d.kind == XN_PHY && xn_devices_possible(xn, f) < 0) return -1;
    if (d.kind == XN_PHY)
        rc = disk->source == HV_SOURCE_BLOCK ? block_device(disk->path, &d.major, &d.minor, f)
                                             : xn_loop_open(disk->path, d.readonly, &d.major, &d.minor, &fd, f);
    if (rc < 0) return -1;
    d.path = disk->path ? xstrdup(disk->path) : NULL;
    *ret_disk = d;
    *ret_fd = fd;
    return 0;
}

void xn_disk_layout(struct xst_batch *b, int64_t domid, const struct xn_disk *disk)
{
    if (disk->kind != XN_PHY) return;
    xn_layout_vbd(b, domid, &(struct xn_vbd_nodes){ .slot = disk->slot, .devid = disk->devid, .major = disk->major,
                                                    .minor = disk->minor, .path = disk->path, .readonly = disk->readonly,
                                                    .cdrom = disk->cdrom });
}

int xn_disk_await(struct xn *xn, const struct xn_guest *g, const struct xn_disk *disk, int64_t deadline_ms,
                  struct hv_failure *f)
{
    if (disk->kind != XN_PHY) return 0;
    /* It appears when blkback has opened the device. */
    _cleanup_free_ char *path = sysfs(XN_VBD, g->domid, disk->devid, "physical_device");
    return await_path(path, true, deadline_ms) ? 0 : fail_backend(xn, XN_VBD, g, disk->devid, f);
}

/* ---- network cards --------------------------------------------------------------------------- */

static void take_address(struct xn_address *to, const struct hv_nic_address *from)
{
    to->fixed = from->fixed;
    snprintf(to->address, sizeof to->address, "%s", from->address);
    snprintf(to->gateway, sizeof to->gateway, "%s", from->gateway);
}

void xn_nic_readdress(struct xn_nic *n, const struct hv_nic *nic)
{
    take_address(&n->ipv4, &nic->ipv4);
    take_address(&n->ipv6, &nic->ipv6);
}

void xn_nic_prepare(const struct xn_guest *g, const struct hv_nic *nic, struct xn_nic *ret_nic)
{
    *ret_nic = (struct xn_nic){ .device = nic->device, .mtu = nic->mtu,
                               .rate_kbytes = nic->rate_kbytes, .emulated = g->type == HV_DOMAIN_HVM };
    snprintf(ret_nic->mac, sizeof ret_nic->mac, "%s", nic->mac);
    snprintf(ret_nic->bridge, sizeof ret_nic->bridge, "%s", nic->bridge);
    xn_nic_readdress(ret_nic, nic);
}

static struct hv_nic_address to_give(const struct xn_address *a)
{
    return (struct hv_nic_address){ .fixed = a->fixed, .address = a->address, .gateway = a->gateway };
}

void xn_nic_address_layout(struct xst_batch *b, int64_t domid, const struct xn_nic *nic)
{
    const struct hv_nic_address ipv4 = to_give(&nic->ipv4), ipv6 = to_give(&nic->ipv6);

    xn_layout_addresses(b, domid, nic->device, nic->mac, &ipv4, &ipv6);
}

void xn_nic_layout(struct xst_batch *b, int64_t domid, const struct xn_nic *nic)
{
    xn_layout_vif(b, domid, &(struct xn_vif_nodes){ .device = nic->device, .mtu = nic->mtu, .mac = nic->mac,
                                                    .bridge = nic->bridge, .rate_bytes = nic->rate_kbytes * 1024 });
    xn_nic_address_layout(b, domid, nic);
}

static int plug(struct xn *xn, const struct hv_plugged *p, struct hv_failure *f)
{
    struct xerr err = XERR_INIT;

    if (!xn->plug.plug || xn->plug.plug(xn->plug.arg, p, &err) == 0) return 0;
    _cleanup_free_ char *why = xerr_text(&err);
    xerr_clear(&err);
    return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", p->interface, why);
}

int xn_nic_connect(struct xn *xn, const struct xn_guest *g, const struct xn_nic *nic, int64_t deadline_ms,
                   struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    char interface[16];
    _cleanup_free_ char *path = NULL;

    snprintf(interface, sizeof interface, "vif%d.%u", (int)g->domid, nic->device);
    path = xasprintf("/sys/class/net/%s", interface);
    if (!await_path(path, true, deadline_ms)) return fail_backend(xn, XN_VIF, g, nic->device, f);
    if (*nic->bridge && plug(xn, &(struct hv_plugged){ .interface = interface, .bridge = nic->bridge, .mac = nic->mac,
                                                    .mtu = nic->mtu }, f) < 0)
        return -1;
    /* Netback connects no frontend before somebody says that the host's side is ready. */
    xst_write(&b, XN_B(XN_VIF, g->domid, nic->device, "hotplug-status"), "connected");
    return xn_store_run(xn, &b, deadline_ms, f);
}

/* ---- letting go ------------------------------------------------------------------------------ */

struct backend { enum xn_class class; unsigned devid; };

/* Every backend that xenstore or we know of for this domain. */
static size_t all_backends(struct xn *xn, const struct xn_guest *g, struct arena *a, struct backend **ret_all)
{
    static const enum xn_class classes[] = { XN_VBD, XN_VIF };
    enum { MAX = 512 };
    struct backend *all = arena_new_array(a, struct backend, g->n_disks + g->n_nics + 2 * MAX);
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    struct xst *store;
    size_t n = 0;

    for (size_t i = 0; i < g->n_disks; i++)
        if (g->disks[i].kind == XN_PHY) all[n++] = (struct backend){ XN_VBD, g->disks[i].devid };
    for (size_t i = 0; i < g->n_nics; i++) all[n++] = (struct backend){ XN_VIF, g->nics[i].device };
    *ret_all = all;
    const size_t n_known = n;
    if (xn_store(xn, hv_now_ms() + XN_STORE_MS, &store, &f) < 0) return n;
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        const char *const *names;
        size_t n_names;
        _cleanup_free_ char *path = xasprintf("/local/domain/0/backend/%s/%jd", xn_class_name(classes[i]), (intmax_t)g->domid);
        if (xst_list(store, path, a, MAX, &names, &n_names, hv_now_ms() + XN_STORE_MS, &f) < 0) break;
        for (size_t k = 0; k < n_names; k++) {
            unsigned devid = (unsigned)strtoul(names[k], NULL, 10);
            bool known = false;
            for (size_t m = 0; m < n_known; m++) known |= all[m].class == classes[i] && all[m].devid == devid;
            if (!known) all[n++] = (struct backend){ classes[i], devid };
        }
    }
    xn_store_done(xn, store, false);
    return n;
}

static void run_or_log(struct xn *xn, struct xst_batch *b, const char *what, const struct xn_guest *g)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    if (b->n && xn_store_run(xn, b, hv_now_ms() + XN_STORE_MS, &f) < 0)
        log_warn("xen: %s of domain %jd (%s): %s", what, (intmax_t)g->domid, g->uuid, f.why);
}

void xn_devices_clear(struct xn *xn, struct xn_guest *g, int64_t deadline_ms)
{
    _cleanup_batch_ struct xst_batch offline = XST_BATCH_INIT, forget = XST_BATCH_INIT;
    _cleanup_arena_ struct arena *a = arena_new();
    /* Those after the fourth are QEMU's, which has ended. */
    static const char *const places[] = { "backend/vbd", "backend/vif", "error/backend/vbd", "error/backend/vif",
                                          "backend/qdisk", "device-model", "backend/vfb", "backend/vkbd" };
    enum { ALWAYS = 4 };
    struct backend *all;
    size_t n = all_backends(xn, g, a, &all);

    /* A backend whose frontend has vanished and which is not wanted online any more lets go of everything. */
    for (size_t i = 0; i < n; i++) {
        xst_write(&offline, XN_B(all[i].class, g->domid, all[i].devid, "online"), "0");
        xst_rm(&offline, XN_F(all[i].class, g->domid, all[i].devid, ""));
    }
    run_or_log(xn, &offline, "closing devices", g);
    const bool deaf = xn_kernel_is_deaf(xn);
    for (size_t i = 0; i < n; i++) {
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        if (deaf) xn_backend_force(all[i].class, g->domid, all[i].devid);
        else if (xn_backend_await_gone(all[i].class, g->domid, all[i].devid, deadline_ms, &f) < 0)
            log_warn("xen: domain %jd (%s): %s", (intmax_t)g->domid, g->uuid, f.why);
        xst_rm(&forget, XN_B(all[i].class, g->domid, all[i].devid, ""));
    }
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        _cleanup_free_ char *place = xasprintf("/local/domain/0/%s/%jd", places[i], (intmax_t)g->domid);
        if (n || i >= ALWAYS) xst_rm(&forget, place);
    }
    run_or_log(xn, &forget, "forgetting devices", g);
}
