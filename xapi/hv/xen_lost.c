/* A xenstored that was killed and started again: it knows nobody, and dom0's kernel does not know that.
 * Called by: xen_watch.c, xen_device.c, xen_create.c, xen_hotplug.c.  Calls: libxenctrl, xen_store, xen_layout, sysfs.
 *
 * Guests run on, and what we know of them is written into the new one. But a kernel says only once, at its start, what it
 * wants to hear of: afterwards neither the guests' kernels nor dom0's hear anything. A guest does nothing that it is asked
 * for; dom0's kernel makes no device and lets none go. The last can be forced, so that disks become free; the first cannot,
 * and is refused by name instead of waited for. Only a restart of the host mends it. Replacing xenstored by its live update
 * loses nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
enum { BOOT_ID_TEXT = 36 };

/* ---- what was lost --------------------------------------------------------------------------- */

/* The node that says that this xenstored has been the same since we first saw it; each agent of a machine has its own. */
static int write_marker(struct xn *xn, const char *node, const char *path, const char *boot)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    xst_write(&b, node, boot);
    if (xn_store_run(xn, &b, hv_now_ms() + XN_STORE_MS, &f) < 0) {
        log_warn("xen: %s: %s", node, f.why);
        return -1;
    }
    if (write_file_atomic(path, boot, BOOT_ID_TEXT, 0600) == 0) return 0;
    log_warn("xen: %s: %s", path, strerror(errno));
    return -1;
}

/* Has it lost its memory since this machine started? Once it has, the answer stays: the node is not written again. */
static bool was_lost(struct xn *xn, struct xst *store)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    _cleanup_free_ char *path = xasprintf("%s/xenstored", xn->dir), *boot = NULL, *seen = NULL;
    const char *value = NULL;
    struct stat st;

    if (read_file(BOOT_ID, 4096, &boot, NULL) < 0 || strnlen(boot, BOOT_ID_TEXT) < BOOT_ID_TEXT || stat(xn->dir, &st) < 0)
        return false;
    boot[BOOT_ID_TEXT] = '\0';
    _cleanup_free_ char *node = xasprintf("/tool/xapi/%ju-%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    if (xst_get(store, node, a, &value, hv_now_ms() + XN_STORE_MS, &f) < 0) return false;
    if (value && streq(value, boot)) return false;
    if (!value && read_file(path, 4096, &seen, NULL) == 0 && streq(seen, boot)) return true;
    write_marker(xn, node, path, boot);
    return false;
}

bool xn_kernel_is_deaf(struct xn *xn)
{
    pthread_mutex_lock(&xn->lock);
    bool deaf = xn->kernel_deaf;
    pthread_mutex_unlock(&xn->lock);
    return deaf;
}

int xn_devices_possible(struct xn *xn, struct hv_failure *f)
{
    if (!xn_kernel_is_deaf(xn)) return 0;
    return hv_fail(f, HV_FAIL_INCOMPATIBLE, "xenstored was lost since this host started: dom0's kernel makes no devices until it is "
                                            "started again");
}

void xn_backend_force(enum xn_class class, int64_t domid, unsigned devid)
{
    _cleanup_free_ char *path = xasprintf("/sys/bus/xen-backend/drivers/%s/unbind", xn_class_name(class));
    _cleanup_free_ char *name = xasprintf("%s-%jd-%u", xn_class_name(class), (intmax_t)domid, devid);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, name, strlen(name)) < 0) {
        if (errno != ENODEV) log_warn("xen: %s is not taken from its driver: %s", name, strerror(errno));
    } else log_info("xen: %s is taken from its driver", name);
}

/* ---- telling it again ------------------------------------------------------------------------ */

/* Writes the nodes of one guest again, with its devices as connected as they are. */
static void refill(struct xn *xn, const struct xn_guest *g)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    const struct hv_vm vm = {
        .id = hv_id(g->uuid, REF_NULL), .name = g->name, .domain_type = g->type,
        .memory_static_max_bytes = g->static_max_bytes, .memory_target_bytes = g->target_bytes,
        .vcpus_max = g->vcpus_max, .vcpus_at_startup = g->vcpus, .xenstore_data = g->data, .n_xenstore_data = g->n_data,
    };

    xn_layout_domain(&b, g->domid, &vm, g->video_bytes);
    for (size_t i = 0; i < g->n_disks; i++) {
        if (g->disks[i].kind != XN_PHY) continue;
        xn_disk_layout(&b, g->domid, &g->disks[i]);
        xst_write(&b, XN_B(XN_VBD, g->domid, g->disks[i].devid, "state"), "4");
        xst_write(&b, XN_F(XN_VBD, g->domid, g->disks[i].devid, "state"), "4");
    }
    for (size_t i = 0; i < g->n_nics; i++) {
        xn_nic_layout(&b, g->domid, &g->nics[i]);
        xst_write(&b, XN_B(XN_VIF, g->domid, g->nics[i].device, "state"), "4");
        xst_write(&b, XN_F(XN_VIF, g->domid, g->nics[i].device, "state"), "4");
    }
    xn_layout_rings(&b, g->domid, g->store_frame, g->store_port, g->console_frame, g->console_port);
    if (xn_store_run(xn, &b, hv_now_ms() + XN_STORE_MS, &f) < 0)
        log_error("xen: telling xenstored of domain %jd (%s) again: %s", (intmax_t)g->domid, g->uuid, f.why);
    else log_info("xen: xenstored knows domain %jd (%s) again", (intmax_t)g->domid, g->uuid);
}

static bool is_known(struct xst *store, int64_t domid)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    const char *value = NULL;

    return xst_get(store, XN_P(domid, "vm"), a, &value, hv_now_ms() + XN_STORE_MS, &f) < 0 || value;
}

static void refill_all(struct xn *xn, struct xst *store)
{
    _cleanup_arena_ struct arena *a = arena_new();
    size_t n = 0;

    pthread_mutex_lock(&xn->lock);
    for (const struct xn_guest *g = xn->guests; g; g = g->next) n++;
    const char **uuids = arena_new_array(a, const char *, n + 1);
    n = 0;
    for (const struct xn_guest *g = xn->guests; g; g = g->next)
        if (g->phase == XN_THERE) uuids[n++] = arena_strdup(a, g->uuid);
    pthread_mutex_unlock(&xn->lock);
    for (size_t i = 0; i < n; i++) {
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        struct xn_guest *g = xn_turn(xn, uuids[i], hv_now_ms() + XN_PATIENCE_MS, &f);
        if (!g) continue;
        if (g->phase == XN_THERE && !is_known(store, g->domid)) refill(xn, g);
        xn_turn_end(xn, g);
    }
}

void xn_store_found(struct xn *xn, struct xst *store)
{
    bool lost = was_lost(xn, store);

    if (lost)
        log_error("xen: xenstored was lost since this host started. Guests run on, but hear nothing; dom0's kernel makes no devices: "
                  "restart the host when you can");
    pthread_mutex_lock(&xn->lock);
    xn->kernel_deaf = lost;
    pthread_mutex_unlock(&xn->lock);
    refill_all(xn, store);
}
