/* Disks and cards of running Xen guests: plugged, unplugged, media changed, resized.
 * Called by: hv.c through the vtable.  Calls: xen_device, xen_store. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

#include "lib/ioprio.h"
#include "xapi/hv/xen_int.h"

enum { LOOP_MAJOR = 7, CONNECTED = 4, CLOSING = 5, CLOSED = 6 };

/* ---- plugging -------------------------------------------------------------------------------- */

/* What was begun and failed. */
static void undo(struct xn *xn, const struct xn_guest *g, enum xn_class class, unsigned devid)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };

    xst_write(&b, XN_B(class, g->domid, devid, "online"), "0");
    xn_layout_drop_device(&b, class, g->domid, devid);
    xn_store_run(xn, &b, hv_now_ms() + XN_STORE_MS, &ignored);
}

/* A guest that had no such disk so far has no QEMU yet. */
static int serve_by_qemu(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *d,
                         int64_t deadline_ms, struct hv_failure *f)
{
    const struct hv_vm none = { .id = hv_id(g->uuid, REF_NULL), .name = "" };

    if (!xn_qemu_alive(g)) {
        if (g->qemu_pid) return hv_fail(f, HV_FAIL_ENGINE, "the guest's QEMU has died");
        if (xn_qemu_start(xn, g, &none, false, f) < 0 || xn_qemu_await(xn, g, deadline_ms, f) < 0) return -1;
    }
    return xn_qemu_disk_attach(xn, g, disk, d, deadline_ms, f);
}

static int plug_disk(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    _cleanup_close_ int fd = -1;
    struct xn_disk made;

    if (xn_fault("hv.xen.disk", f) < 0 || xn_disk_prepare(xn, g, disk, &made, &fd, f) < 0) return -1;
    struct xn_disk *d = xn_disk_add(g, &made);
    xn_disk_layout(&b, g->domid, d);
    if (xn_record_write(xn, g, f) < 0 || (b.n && xn_store_run(xn, &b, deadline_ms, f) < 0) ||
        (d->kind == XN_QDISK && serve_by_qemu(xn, g, disk, d, deadline_ms, f) < 0) ||
        xn_disk_await(xn, g, d, deadline_ms, f) < 0) {
        struct hv_failure ignored = { .kind = HV_FAIL_NONE };
        undo(xn, g, XN_VBD, d->devid);
        xn_disk_remove(g, d);
        xn_record_write(xn, g, &ignored);
        return -1;
    }
    return 0;
}

static void emit_device(struct xn *xn, const struct xn_guest *g, enum hv_event_kind kind, const char *device)
{
    xn_emit(xn, &(struct hv_event){ .kind = kind, .uuid = g->uuid, .domid = g->domid, .device = device });
}

int xn_disk_attach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    unsigned slot = (unsigned)hv_slot(disk->device);
    char name[HV_DEVICE_TEXT];
    int rc;

    if (!g) return -1;
    if (xn_disk_find(g, slot)) rc = hv_fail(f, HV_FAIL_DEVICE_EXISTS, "it is plugged already");
    else rc = plug_disk(xn, g, disk, deadline_ms, f);
    if (rc == 0) emit_device(xn, g, HV_EVENT_DEVICE_ADDED, hv_slot_name("xvd", slot, name));
    xn_turn_end(xn, g);
    return rc;
}

int xn_nic_attach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    char name[HV_DEVICE_TEXT];
    struct xn_nic made;
    int rc = -1;

    if (!g) return -1;
    if (xn_nic_find(g, nic->device)) {
        hv_fail(f, HV_FAIL_DEVICE_EXISTS, "it is plugged already");
        goto out;
    }
    if (xn_devices_possible(xn, f) < 0) goto out;
    xn_nic_prepare(g, nic, &made);
    made.emulated = false;               /* the device model's card is there from the start or never */
    struct xn_nic *n = xn_nic_add(g, &made);
    xn_nic_layout(&b, g->domid, n);
    if (xn_record_write(xn, g, f) < 0 || xn_store_run(xn, &b, deadline_ms, f) < 0 ||
        xn_nic_connect(xn, g, n, deadline_ms, f) < 0) {
        struct hv_failure ignored = { .kind = HV_FAIL_NONE };
        undo(xn, g, XN_VIF, nic->device);
        xn_nic_remove(g, n);
        xn_record_write(xn, g, &ignored);
        goto out;
    }
    snprintf(name, sizeof name, "vif%u", nic->device);
    emit_device(xn, g, HV_EVENT_DEVICE_ADDED, name);
    rc = 0;
out:
    xn_turn_end(xn, g);
    return rc;
}

/* ---- unplugging ------------------------------------------------------------------------------ */

/* Why the guest refuses, from the arena; NULL = it has not said so. */
static const char *refusal(struct xst *store, const struct xn_guest *g, enum xn_class class, unsigned devid, struct arena *a)
{
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    const char *why = NULL;

    xst_get(store, XN_P(g->domid, "error/device/%s/%u/error", xn_class_name(class), devid), a, &why,
            hv_now_ms() + XN_STORE_MS, &ignored);
    return why && *why ? why : NULL;
}

/* The backend is to close; waits until it has, because the guest let go. */
static int close_and_wait(struct xst *store, const struct xn_guest *g, enum xn_class class, unsigned devid,
                          int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch ask = XST_BATCH_INIT, keep = XST_BATCH_INIT;
    _cleanup_arena_ struct arena *a = arena_new();
    const char *state_path = XN_B(class, g->domid, devid, "state");
    const char *why = NULL;

    xst_rm(&ask, XN_P(g->domid, "error/device/%s/%u", xn_class_name(class), devid));
    xst_write(&ask, XN_B(class, g->domid, devid, "online"), "0");
    xst_writef(&ask, state_path, "%d", CLOSING);
    xst_watch(&ask, state_path, "state");
    xst_watch(&ask, XN_P(g->domid, "error/device/%s/%u", xn_class_name(class), devid), "error");
    if (xst_run(store, &ask, deadline_ms, f) < 0) return -1;
    for (;;) {
        const char *state;
        if (xst_get(store, state_path, a, &state, deadline_ms, f) < 0) return -1;
        if (!state || atoi(state) == CLOSED) return 0;
        why = refusal(store, g, class, devid, a);
        if (why) break;
        int rc = xst_wait(store, deadline_ms, f);
        if (rc < 0) return -1;
        if (rc == 0) break;
    }
    /* It stays: as if nobody had asked. */
    xst_write(&keep, XN_B(class, g->domid, devid, "online"), "1");
    xst_writef(&keep, state_path, "%d", CONNECTED);
    xst_run(store, &keep, hv_now_ms() + XN_STORE_MS, f);
    if (why) return hv_fail(f, HV_FAIL_DEVICE_REJECTED, "%s", why);
    return hv_fail(f, HV_FAIL_TIMEOUT, "the guest does not let go");
}

/* The frontend has never come: nobody holds on to it. */
static bool is_idle(struct xst *store, const struct xn_guest *g, enum xn_class class, unsigned devid, int64_t deadline_ms)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    const char *state = NULL;

    return xst_get(store, XN_F(class, g->domid, devid, "state"), a, &state, deadline_ms, &ignored) == 0 &&
           (!state || atoi(state) == 1);
}

static int unplug(struct xn *xn, struct xn_guest *g, enum xn_class class, unsigned devid, int64_t deadline_ms,
                  struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch drop = XST_BATCH_INIT;
    struct xst *store;

    if (xn_fault("hv.xen.unplug", f) < 0 || xn_store(xn, deadline_ms, &store, f) < 0) return -1;
    int rc = is_idle(store, g, class, devid, deadline_ms) ? 0 : close_and_wait(store, g, class, devid, deadline_ms, f);
    xn_store_done(xn, store, true);
    if (rc < 0) return -1;
    xst_write(&drop, XN_B(class, g->domid, devid, "online"), "0");
    xst_rm(&drop, XN_F(class, g->domid, devid, ""));
    if (class == XN_VIF) xn_layout_drop_addresses(&drop, g->domid, devid);
    if (xn_store_run(xn, &drop, deadline_ms, f) < 0) return -1;
    int gone = xn_backend_await_gone(class, g->domid, devid, hv_now_ms() + XN_LET_GO_MS, f);
    _cleanup_batch_ struct xst_batch forget = XST_BATCH_INIT;
    xst_rm(&forget, XN_B(class, g->domid, devid, ""));
    xst_rm(&forget, XN_P(g->domid, "error/device/%s/%u", xn_class_name(class), devid));
    if (xn_store_run(xn, &forget, hv_now_ms() + XN_STORE_MS, f) < 0) return -1;
    return gone;
}

int xn_disk_detach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    char name[HV_DEVICE_TEXT];
    int rc = 0;

    if (!g) return -1;
    unsigned slot = (unsigned)hv_slot(disk->device);
    struct xn_disk *found = xn_disk_find(g, slot);
    if (!found) rc = hv_fail(f, HV_FAIL_DEVICE_MISSING, "it is not plugged");
    else if (found->kind == XN_PHY) rc = unplug(xn, g, XN_VBD, found->devid, deadline_ms, f);
    else if (found->kind == XN_QDISK) rc = xn_qemu_disk_detach(xn, g, found, deadline_ms, f);
    else if (found->kind == XN_EMULATED) rc = hv_fail(f, HV_FAIL_DEVICE_REJECTED, "an emulated drive cannot be unplugged");
    if (rc == 0) {
        xn_disk_remove(g, found);
        rc = xn_record_write(xn, g, f);
        emit_device(xn, g, HV_EVENT_DEVICE_REMOVED, hv_slot_name("xvd", slot, name));
    }
    xn_turn_end(xn, g);
    return rc;
}

int xn_nic_detach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    char name[HV_DEVICE_TEXT];
    int rc;

    if (!g) return -1;
    struct xn_nic *found = xn_nic_find(g, nic->device);
    rc = found ? unplug(xn, g, XN_VIF, nic->device, deadline_ms, f) : hv_fail(f, HV_FAIL_DEVICE_MISSING, "it is not plugged");
    if (rc == 0) {
        xn_nic_remove(g, found);
        rc = xn_record_write(xn, g, f);
        snprintf(name, sizeof name, "vif%u", nic->device);
        emit_device(xn, g, HV_EVENT_DEVICE_REMOVED, name);
    }
    xn_turn_end(xn, g);
    return rc;
}

int xn_nic_address(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc;

    if (!g) return -1;
    struct xn_nic *found = xn_nic_find(g, nic->device);
    if (!found) {
        rc = hv_fail(f, HV_FAIL_DEVICE_MISSING, "it is not plugged");
    } else {
        xn_nic_readdress(found, nic);
        xn_nic_address_layout(&b, g->domid, found);
        rc = xn_record_write(xn, g, f) < 0 || xn_store_run(xn, &b, deadline_ms, f) < 0 ? -1 : 0;
    }
    xn_turn_end(xn, g);
    return rc;
}

int xn_nic_move(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc;

    if (!g) return -1;
    struct xn_nic *found = xn_nic_find(g, nic->device);
    if (!found) {
        rc = hv_fail(f, HV_FAIL_DEVICE_MISSING, "it is not plugged");
    } else {
        snprintf(found->bridge, sizeof found->bridge, "%s", nic->bridge);
        rc = xn_nic_connect(xn, g, found, deadline_ms, f);
        if (rc == 0) rc = xn_record_write(xn, g, f);
    }
    xn_turn_end(xn, g);
    return rc;
}

/* ---- media and sizes ------------------------------------------------------------------------- */

/* A guest without device model has no drive that stays: the medium is plugged and unplugged with it. */
static int change_medium(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, int64_t deadline_ms,
                         struct hv_failure *f)
{
    struct xn_disk *found = xn_disk_find(g, (unsigned)hv_slot(disk->device));

    if (!found) return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such drive");
    if (!found->cdrom) return hv_fail(f, HV_FAIL_NOT_REMOVABLE, "not a CD drive");
    if (found->kind == XN_EMULATED) {
        int rc = xn_qemu_cd_change(xn, g, disk, found, deadline_ms, f);
        struct hv_failure ignored = { .kind = HV_FAIL_NONE };
        xn_record_write(xn, g, rc < 0 ? &ignored : f);
        return rc;
    }
    if (found->kind == XN_QDISK && xn_qemu_disk_detach(xn, g, found, deadline_ms, f) < 0) return -1;
    if (found->kind == XN_PHY && unplug(xn, g, XN_VBD, found->devid, deadline_ms, f) < 0) {
        if (f->kind == HV_FAIL_DEVICE_REJECTED || f->kind == HV_FAIL_TIMEOUT) f->kind = HV_FAIL_TRAY_LOCKED;
        return -1;
    }
    xn_disk_remove(g, found);
    if (plug_disk(xn, g, disk, deadline_ms, f) == 0) return 0;
    /* The old medium is out; an empty drive is left. */
    const struct hv_disk empty = { .ref = disk->ref, .device = disk->device, .source = HV_SOURCE_EMPTY, .cdrom = true };
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    plug_disk(xn, g, &empty, deadline_ms, &ignored);
    return -1;
}

int xn_cd_change(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);

    if (!g) return -1;
    int rc = change_medium(xn, g, disk, deadline_ms, f);
    xn_turn_end(xn, g);
    return rc;
}

/* Of the guest's QEMU, where one serves its disks. blkback's threads have no process. */
int xn_set_io_priority(void *d, const char *uuid, int priority, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc = 0;

    if (!g) return -1;
    if (xn_qemu_alive(g) && ioprio_set_process(g->qemu_pid, priority))
        rc = hv_fail(f, HV_FAIL_ENGINE, "I/O priority of QEMU (pid %d): %s", (int)g->qemu_pid, strerror(errno));
    xn_turn_end(xn, g);
    return rc;
}

/* blkback notices by itself when its block device has grown; a loop device has to be told. */
int xn_disk_resize(void *d, const char *uuid, const struct hv_disk *disk, int64_t size_bytes, int64_t deadline_ms,
                   struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc = 0;

    if (!g) return -1;
    const struct xn_disk *found = xn_disk_find(g, (unsigned)hv_slot(disk->device));
    if (!found) {
        rc = hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
    } else if (found->kind == XN_QDISK) {
        rc = xn_qemu_disk_resize(xn, g, found, size_bytes, deadline_ms, f);
    } else if (found->kind == XN_PHY && found->major == LOOP_MAJOR) {
        _cleanup_free_ char *name = xasprintf("/dev/loop%u", found->minor);
        _cleanup_close_ int fd = open(name, O_RDWR | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, LOOP_SET_CAPACITY) < 0)
            rc = hv_fail(f, HV_FAIL_ENGINE, "%s: %s", name, strerror(errno));
    }
    xn_turn_end(xn, g);
    return rc;
}
