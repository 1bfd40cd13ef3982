/* Which nodes of xenstore a domain and its devices have.
 * Called by: xen_create.c, xen_device.c.  Calls: xen_store (batches only).
 *
 * What is written below a node takes its owner and readers, so that permissions are set once per subtree: /local/domain/N
 * belongs to us and the guest reads it; what a guest writes lies in subtrees of its own. A device's "state" is written
 * last: a kernel that looks before sees no device yet. */
#include "xapi/hv/xen_layout.h"

#include <stdio.h>

#define SETTINGS "xenserver/device/vif"

enum { XENBUS_INITIALISING = 1, XVD_MAJOR = 202, XVD_OLD_DISKS = 16, CONSOLE_LIMIT = 1048576 };

const char *xn_path(char buf[XN_PATH], int64_t domid, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(buf, XN_PATH, "/local/domain/%jd/", (intmax_t)domid);

    va_start(ap, fmt);
    int rest = vsnprintf(buf + n, XN_PATH - (size_t)n, fmt, ap);
    va_end(ap);
    if (!rest) buf[n - 1] = '\0';
    return buf;
}

unsigned xn_devid(unsigned slot)
{
    return slot < XVD_OLD_DISKS ? XVD_MAJOR << 8 | slot << 4 : 1u << 28 | slot << 8;
}

/* ---- a domain -------------------------------------------------------------------------------- */

/* A subtree that the guest owns. */
static void guest_owns(struct xst_batch *b, int64_t domid, const char *name)
{
    const char *path = XN_P(domid, "%s", name);

    xst_mkdir(b, path);
    xst_perms(b, path, domid, -1);
}

static void layout_memory(struct xst_batch *b, int64_t domid, const struct hv_vm *vm, int64_t video_bytes)
{
    xst_writef(b, XN_P(domid, "memory/static-max"), "%jd", (intmax_t)(vm->memory_static_max_bytes >> 10));
    xst_writef(b, XN_P(domid, "memory/target"), "%jd", (intmax_t)((vm->memory_target_bytes - video_bytes) >> 10));
    if (video_bytes) xst_writef(b, XN_P(domid, "memory/videoram"), "%jd", (intmax_t)(video_bytes >> 10));
}

void xn_layout_vcpu(struct xst_batch *b, int64_t domid, unsigned i, bool online)
{
    xst_write(b, XN_P(domid, "cpu/%u/availability", i), online ? "online" : "offline");
}

/* Keys of VM.xenstore_data are paths below the domain; anything that could leave it, or is not for users, is left out. */
static bool data_key_ok(const char *key)
{
    if (!has_prefix(key, "vm-data/") && !has_prefix(key, "FIST/")) return false;
    if (strlen(key) > 96 || strstr(key, "//") || key[strlen(key) - 1] == '/') return false;
    for (const char *p = key; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_@", *p)) return false;
    return true;
}

static void layout_data(struct xst_batch *b, int64_t domid, const struct hv_vm *vm)
{
    xst_mkdir(b, XN_P(domid, "vm-data"));
    for (size_t i = 0; i < vm->n_xenstore_data; i++)
        if (data_key_ok(vm->xenstore_data[i].key))
            xst_write(b, XN_P(domid, "%s", vm->xenstore_data[i].key), vm->xenstore_data[i].value);
}

/* What hvmloader reads. */
static void layout_firmware(struct xst_batch *b, int64_t domid, const struct hv_vm *vm)
{
    guest_owns(b, domid, "hvmloader");
    xst_write(b, XN_P(domid, "hvmloader/bios"), vm->firmware == HV_FIRMWARE_UEFI ? "ovmf" : "seabios");
    xst_write(b, XN_P(domid, "hvmloader/allow-memory-relocate"), "0");
    xst_write(b, XN_P(domid, "platform/acpi"), hv_pair_bool(vm->platform, vm->n_platform, "acpi", true) ? "1" : "0");
    xst_write(b, XN_P(domid, "platform/acpi_s3"), "1");
    xst_write(b, XN_P(domid, "platform/acpi_s4"), "1");
    for (size_t i = 0; i < vm->n_bios_strings; i++)
        xst_write(b, XN_P(domid, "bios-strings/%s", vm->bios_strings[i].key), vm->bios_strings[i].value);
}

/* Names come from users; xenconsoled makes a file's name of it. */
static char *safe_name(const char *name)
{
    char *out = xstrdup(*name ? name : "unnamed");

    for (char *p = out; *p; p++)
        if (*p == '/' || (unsigned char)*p < ' ') *p = '-';
    return out;
}

void xn_layout_domain(struct xst_batch *b, int64_t domid, const struct hv_vm *vm, int64_t video_bytes)
{
    static const char *const owned[] = { "control", "data", "drivers", "attr", "feature", "error", "messages",
                                         "device/suspend/event-channel" };
    _cleanup_free_ char *name = safe_name(vm->name);
    _cleanup_free_ char *vm_path = xasprintf("/vm/%s", vm->id.uuid);
    _cleanup_free_ char *vm_uuid = xasprintf("/vm/%s/uuid", vm->id.uuid);
    _cleanup_free_ char *vm_name = xasprintf("/vm/%s/name", vm->id.uuid);
    const char *home = XN_P(domid, "%s", "");

    xst_rm(b, home);                     /* a domain of this number that somebody did not clean up after */
    xst_mkdir(b, home);
    xst_perms(b, home, 0, domid);
    xst_mkdir(b, vm_path);
    xst_perms(b, vm_path, 0, domid);
    xst_write(b, vm_uuid, vm->id.uuid);
    xst_write(b, vm_name, name);
    xst_write(b, XN_P(domid, "vm"), vm_path);
    xst_write(b, XN_P(domid, "name"), name);
    xst_writef(b, XN_P(domid, "domid"), "%jd", (intmax_t)domid);
    layout_memory(b, domid, vm, video_bytes);
    for (unsigned i = 0; i < vm->vcpus_max; i++) xn_layout_vcpu(b, domid, i, i < vm->vcpus_at_startup);
    xst_mkdir(b, XN_P(domid, "device"));
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++) guest_owns(b, domid, owned[i]);
    xst_write(b, XN_P(domid, "control/platform-feature-multiprocessor-suspend"), "1");
    xst_write(b, XN_P(domid, "control/platform-feature-xs_reset_watches"), "1");
    layout_data(b, domid, vm);
    if (vm->domain_type == HV_DOMAIN_HVM) layout_firmware(b, domid, vm);
}

void xn_layout_rings(struct xst_batch *b, int64_t domid, uint64_t store_frame, unsigned store_port,
                     uint64_t console_frame, unsigned console_port)
{
    xst_writef(b, XN_P(domid, "store/ring-ref"), "%ju", (uintmax_t)store_frame);
    xst_writef(b, XN_P(domid, "store/port"), "%u", store_port);
    xst_write(b, XN_P(domid, "console/type"), "xenconsoled");
    xst_write(b, XN_P(domid, "console/output"), "pty");
    xst_writef(b, XN_P(domid, "console/limit"), "%d", CONSOLE_LIMIT);
    xst_write(b, XN_P(domid, "console/backend-id"), "0");
    xst_writef(b, XN_P(domid, "console/ring-ref"), "%ju", (uintmax_t)console_frame);
    xst_writef(b, XN_P(domid, "console/port"), "%u", console_port);
    xst_introduce(b, domid, store_frame, store_port);
}

void xn_layout_forget(struct xst_batch *b, int64_t domid, const char *uuid)
{
    _cleanup_free_ char *vm_path = xasprintf("/vm/%s", uuid);

    xst_release(b, domid);
    xst_rm(b, XN_P(domid, "%s", ""));
    xst_rm(b, vm_path);
}

/* ---- devices --------------------------------------------------------------------------------- */

const char *xn_class_name(enum xn_class class) { return class == XN_VBD ? "vbd" : "vif"; }

const char *xn_backend(char buf[XN_PATH], enum xn_class class, int64_t domid, unsigned devid, const char *rest)
{
    snprintf(buf, XN_PATH, "/local/domain/0/backend/%s/%jd/%u%s%s", xn_class_name(class), (intmax_t)domid, devid,
             *rest ? "/" : "", rest);
    return buf;
}

const char *xn_frontend(char buf[XN_PATH], enum xn_class class, int64_t domid, unsigned devid, const char *rest)
{
    snprintf(buf, XN_PATH, "/local/domain/%jd/device/%s/%u%s%s", (intmax_t)domid, xn_class_name(class), devid,
             *rest ? "/" : "", rest);
    return buf;
}

/* Both ends with what all devices have; the caller adds its own and then calls end_device(). */
static void begin_device(struct xst_batch *b, enum xn_class class, int64_t domid, unsigned devid)
{
    xst_mkdir(b, XN_F(class, domid, devid, ""));
    xst_perms(b, XN_F(class, domid, devid, ""), domid, 0);
    xst_mkdir(b, XN_B(class, domid, devid, ""));
    xst_perms(b, XN_B(class, domid, devid, ""), 0, domid);
    xst_write(b, XN_F(class, domid, devid, "backend"), XN_B(class, domid, devid, ""));
    xst_write(b, XN_F(class, domid, devid, "backend-id"), "0");
    xst_write(b, XN_B(class, domid, devid, "frontend"), XN_F(class, domid, devid, ""));
    xst_writef(b, XN_B(class, domid, devid, "frontend-id"), "%jd", (intmax_t)domid);
    xst_write(b, XN_B(class, domid, devid, "online"), "1");
}

static void end_device(struct xst_batch *b, enum xn_class class, int64_t domid, unsigned devid)
{
    xst_writef(b, XN_B(class, domid, devid, "state"), "%d", XENBUS_INITIALISING);
    xst_writef(b, XN_F(class, domid, devid, "state"), "%d", XENBUS_INITIALISING);
}

void xn_layout_vbd(struct xst_batch *b, int64_t domid, const struct xn_vbd_nodes *disk)
{
    const unsigned id = disk->devid;
    const char *type = disk->cdrom ? "cdrom" : "disk";
    char name[HV_DEVICE_TEXT];

    begin_device(b, XN_VBD, domid, id);
    xst_writef(b, XN_F(XN_VBD, domid, id, "virtual-device"), "%u", id);
    xst_write(b, XN_F(XN_VBD, domid, id, "device-type"), type);
    xst_write(b, XN_B(XN_VBD, domid, id, "dev"), hv_slot_name("xvd", disk->slot, name));
    xst_write(b, XN_B(XN_VBD, domid, id, "type"), "phy");
    xst_write(b, XN_B(XN_VBD, domid, id, "params"), disk->path);
    xst_write(b, XN_B(XN_VBD, domid, id, "mode"), disk->readonly ? "r" : "w");
    xst_write(b, XN_B(XN_VBD, domid, id, "device-type"), type);
    xst_write(b, XN_B(XN_VBD, domid, id, "removable"), disk->cdrom ? "1" : "0");
    xst_write(b, XN_B(XN_VBD, domid, id, "discard-enable"), disk->readonly ? "0" : "1");
    xst_writef(b, XN_B(XN_VBD, domid, id, "physical-device"), "%x:%x", disk->major, disk->minor);
    xst_write(b, XN_B(XN_VBD, domid, id, "hotplug-status"), "connected");
    end_device(b, XN_VBD, domid, id);
}

void xn_layout_vif(struct xst_batch *b, int64_t domid, const struct xn_vif_nodes *nic)
{
    const unsigned id = nic->device;

    begin_device(b, XN_VIF, domid, id);
    xst_writef(b, XN_F(XN_VIF, domid, id, "handle"), "%u", id);
    xst_write(b, XN_F(XN_VIF, domid, id, "mac"), nic->mac);
    if (nic->mtu) xst_writef(b, XN_F(XN_VIF, domid, id, "mtu"), "%u", nic->mtu);
    xst_writef(b, XN_B(XN_VIF, domid, id, "handle"), "%u", id);
    xst_write(b, XN_B(XN_VIF, domid, id, "mac"), nic->mac);
    xst_write(b, XN_B(XN_VIF, domid, id, "bridge"), nic->bridge);
    xst_write(b, XN_B(XN_VIF, domid, id, "type"), "vif");
    xst_write(b, XN_B(XN_VIF, domid, id, "script"), "");     /* the kernel insists on the node; nothing is run */
    /* Bytes in each time slice of so many microseconds. */
    if (nic->rate_bytes) xst_writef(b, XN_B(XN_VIF, domid, id, "rate"), "%jd,50000", (intmax_t)(nic->rate_bytes / 20));
    end_device(b, XN_VIF, domid, id);
}

/* Whoever reads on a change of "enabled" finds the rest there. */
static void layout_address(struct xst_batch *b, const char *root, const char *suffix, const struct hv_nic_address *a)
{
    const struct { const char *name, *value; } nodes[] = {
        { "address", a->fixed ? a->address : "" }, { "gateway", a->fixed ? a->gateway : "" }, { "enabled", a->fixed ? "1" : "0" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s%s", root, nodes[i].name, suffix);
        if (*nodes[i].value) xst_write(b, path, nodes[i].value);
        else xst_rm(b, path);
    }
}

void xn_layout_addresses(struct xst_batch *b, int64_t domid, unsigned device, const char *mac, const struct hv_nic_address *ipv4,
                         const struct hv_nic_address *ipv6)
{
    _cleanup_free_ char *own = xasprintf(SETTINGS "/%u", device), *place = xasprintf("%s/static-ip-setting", own);
    const char *root = XN_P(domid, "%s", place);

    guest_owns(b, domid, own);
    xst_write(b, XN_P(domid, "%s/mac", place), mac);
    xst_write(b, XN_P(domid, "%s/error-code", place), "0");
    xst_write(b, XN_P(domid, "%s/error-msg", place), "");
    layout_address(b, root, "", ipv4);
    layout_address(b, root, "6", ipv6);
}

void xn_layout_drop_addresses(struct xst_batch *b, int64_t domid, unsigned device)
{
    xst_rm(b, XN_P(domid, SETTINGS "/%u", device));
}

void xn_layout_drop_device(struct xst_batch *b, enum xn_class class, int64_t domid, unsigned devid)
{
    if (class == XN_VIF) xn_layout_drop_addresses(b, domid, devid);
    xst_rm(b, XN_F(class, domid, devid, ""));
    xst_rm(b, XN_B(class, domid, devid, ""));
}
