/* Guests as libvirt's domain XML, both ways. All of it through libxml2, so nothing a client wrote can break
 * out. Called by: libvirt_power.c, libvirt_device.c, libvirt_look.c.  Calls: libxml2. */
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlwriter.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/clock.h"
#include "lib/utf8.h"
#include "xapi/hv/libvirt_int.h"

/* Our own element in the domain's metadata. */
static const char metadata_ns[] = "urn:xapi:hv";
/* Ports of a PCI Express guest that stay free for hot-plug. */
enum { SPARE_PORTS = 8, OWN_PORTS = 5, MAX_XML_BYTES = 4 << 20 };

typedef xmlTextWriterPtr W;

/* ---- writing --------------------------------------------------------------------------------- */

/* Text that XML can carry: everything else becomes U+FFFD. */
static char *clean(const char *s)
{
    struct strbuf b = STRBUF_INIT;
    size_t n = strlen(s);

    while (n) {
        uint32_t cp;
        unsigned used = utf8_next(s, n, &cp);
        if (used && utf8_is_xml_char(cp)) strbuf_add(&b, s, used);
        else strbuf_str(&b, UTF8_REPLACEMENT);
        if (!used) used = 1;
        s += used;
        n -= used;
    }
    return strbuf_take(&b);
}

static void begin(W w, const char *name) { xmlTextWriterStartElement(w, (const xmlChar *)name); }
static void end(W w) { xmlTextWriterEndElement(w); }

static void attr(W w, const char *name, const char *value)
{
    _cleanup_free_ char *text = clean(value);

    xmlTextWriterWriteAttribute(w, (const xmlChar *)name, (const xmlChar *)text);
}

static void attr_int(W w, const char *name, int64_t value)
{
    xmlTextWriterWriteFormatAttribute(w, (const xmlChar *)name, "%" PRId64, value);
}

static void element(W w, const char *name, const char *value)
{
    _cleanup_free_ char *text = clean(value);

    xmlTextWriterWriteElement(w, (const xmlChar *)name, (const xmlChar *)text);
}

/* <name a1="v1" ...>: pairs up to NULL; the element stays open. */
static void begin_with(W w, const char *name, ...)
{
    va_list ap;

    begin(w, name);
    va_start(ap, name);
    for (const char *a; (a = va_arg(ap, const char *));) attr(w, a, va_arg(ap, const char *));
    va_end(ap);
}

#define EMPTY(w, ...) (begin_with((w), __VA_ARGS__, NULL), end(w))

struct document { W w; xmlBufferPtr buf; };

static struct document document_new(void)
{
    struct document d = { .buf = xmlBufferCreate() };

    if (!d.buf || !(d.w = xmlNewTextWriterMemory(d.buf, 0))) abort();      /* out of memory */
    return d;
}

static char *document_take(struct document *d)
{
    xmlFreeTextWriter(d->w);
    char *text = xstrdup((const char *)xmlBufferContent(d->buf));
    xmlBufferFree(d->buf);
    return text;
}

/* ---- the kind of machine --------------------------------------------------------------------- */

/* What follows from the description for all devices. */
struct machine {
    bool pcie;                       /* q35: else the older PC, as Xen's own HVM guests have */
    bool kvm, test;
    const char *disk_bus;
    const char *nic_model;
};

static const char *platform(const struct hv_vm *vm, const char *key, const char *fallback)
{
    return hv_pair_get(vm->platform, vm->n_platform, key, fallback);
}

static bool platform_bool(const struct hv_vm *vm, const char *key, bool fallback)
{
    return hv_pair_bool(vm->platform, vm->n_platform, key, fallback);
}

/* platform:machine is "pc" or "q35"; by default UEFI guests get the modern one. platform:disk_model is
 * "virtio", "sata" or "ide", platform:nic_type "virtio", "e1000" or "rtl8139". Windows templates (device_id
 * 0002) get what Windows drives out of the box. */
static int choose_machine(const struct lv *lv, const struct hv_vm *vm, struct machine *ret,
                          struct hv_failure *f) {
    bool windows = streq(platform(vm, "device_id", ""), "0002");
    const char *machine = platform(vm, "machine", vm->firmware == HV_FIRMWARE_UEFI ? "q35" : "pc");
    const char *disk = platform(vm, "disk_model", windows ? "sata" : "virtio");
    const char *nic = platform(vm, "nic_type", windows ? "e1000" : "virtio");

    if (!streq(machine, "pc") && !streq(machine, "q35"))
        return hv_fail(f, HV_FAIL_INCOMPATIBLE, "platform:machine is '%s' (pc, q35)", machine);
    if (!streq(disk, "virtio") && !streq(disk, "sata") && !streq(disk, "ide"))
        return hv_fail(f, HV_FAIL_INCOMPATIBLE, "platform:disk_model is '%s' (virtio, sata, ide)", disk);
    if (!streq(nic, "virtio") && !streq(nic, "e1000") && !streq(nic, "rtl8139"))
        return hv_fail(f, HV_FAIL_INCOMPATIBLE, "platform:nic_type is '%s' (virtio, e1000, rtl8139)", nic);
    if (vm->firmware == HV_FIRMWARE_UEFI && streq(machine, "pc") && platform_bool(vm, "secureboot", false))
        return hv_fail(f, HV_FAIL_INCOMPATIBLE, "secure boot needs platform:machine q35");
    *ret = (struct machine){ .pcie = streq(machine, "q35"),
                             .kvm = lv->accel == HV_ACCEL_KVM,
                             .test = lv->is_test,
                             .disk_bus = disk,
                             .nic_model = nic };
    if (ret->pcie && streq(disk, "ide")) ret->disk_bus = "sata";       /* q35 has no IDE */
    return 0;
}

/* The bus of a disk: the old PC has four IDE places, everything beyond and every q35 has SATA ones. */
static const char *bus_of(const struct machine *m, const struct hv_disk *disk)
{
    bool ide = !m->pcie && hv_slot(disk->device) < 4;

    if (disk->cdrom) return ide ? "ide" : "sata";
    return streq(m->disk_bus, "ide") && !ide ? "sata" : m->disk_bus;
}

/* ---- devices --------------------------------------------------------------------------------- */

void lv_disk_alias(const char *device, char buf[24]) { snprintf(buf, 24, "ua-disk-%d", hv_slot(device)); }
void lv_nic_alias(unsigned device, char buf[24]) { snprintf(buf, 24, "ua-vif-%u", device); }

const char *lv_alias_device(const char *alias, char buf[HV_DEVICE_TEXT])
{
    unsigned n;

    buf[0] = '\0';
    if (sscanf(alias, "ua-disk-%3u", &n) == 1) return hv_slot_name("xvd", n, buf);
    if (sscanf(alias, "ua-vif-%3u", &n) == 1) snprintf(buf, HV_DEVICE_TEXT, "vif%u", n);
    return buf;
}

static bool can_bypass_cache(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);

    return fd >= 0;
}

static void write_source(W w, const struct hv_disk *disk)
{
    switch (disk->source) {
    case HV_SOURCE_EMPTY:
        break;
    case HV_SOURCE_FILE:
        EMPTY(w, "source", "file", disk->path);
        break;
    case HV_SOURCE_BLOCK:
        EMPTY(w, "source", "dev", disk->path);
        break;
    case HV_SOURCE_NBD:
        begin_with(w, "source", "protocol", "nbd", "name", disk->export_name, NULL);
        EMPTY(w, "host", "transport", "unix", "socket", disk->path);
        end(w);
        break;
    }
}

/* libvirt takes serial numbers of these characters only. */
static bool serial_ok(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_-. ", *p)) return false;
    return *s != '\0';
}

static void write_disk(W w, const struct hv_disk *disk, const char *bus, unsigned boot_order)
{
    static const char *const types[] = { [HV_SOURCE_EMPTY] = "file", [HV_SOURCE_FILE] = "file",
                                         [HV_SOURCE_BLOCK] = "block", [HV_SOURCE_NBD] = "network" };
    const char *prefix = streq(bus, "virtio") ? "vd" : streq(bus, "ide") ? "hd" : "sd";
    bool local = disk->source == HV_SOURCE_FILE || disk->source == HV_SOURCE_BLOCK;
    char name[HV_DEVICE_TEXT], alias[24];

    /* A snapshot of one disk (lv_xml_disk_snapshot) must not take the others along. */
    begin_with(w, "disk", "type", types[disk->source], "device", disk->cdrom ? "cdrom" : "disk", "snapshot",
               "no", NULL);
    begin_with(w, "driver", "name", "qemu", "type", disk->format == HV_FORMAT_QCOW2 ? "qcow2" : "raw", NULL);
    if (local && !disk->cdrom) {
        bool direct = can_bypass_cache(disk->path);
        attr(w, "cache", direct ? "none" : "writeback");
        if (direct) attr(w, "io", "native");
        attr(w, "discard", "unmap");
    }
    if (!disk->cdrom) attr(w, "error_policy", "enospace");
    end(w);
    write_source(w, disk);
    EMPTY(w, "target", "dev", hv_slot_name(prefix, (unsigned)hv_slot(disk->device), name), "bus", bus);
    if (disk->readonly || disk->cdrom) EMPTY(w, "readonly");
    if (serial_ok(disk->serial) && !disk->cdrom) element(w, "serial", disk->serial);
    if (boot_order) {
        begin(w, "boot");
        attr_int(w, "order", boot_order);
        end(w);
    }
    if (disk->limit_bytes || disk->limit_requests) {
        char number[24];
        begin(w, "iotune");
        snprintf(number, sizeof number, "%jd", (intmax_t)disk->limit_bytes);
        element(w, "total_bytes_sec", number);
        snprintf(number, sizeof number, "%jd", (intmax_t)disk->limit_requests);
        element(w, "total_iops_sec", number);
        end(w);
    }
    lv_disk_alias(disk->device, alias);
    EMPTY(w, "alias", "name", alias);
    end(w);
}

static void write_nic(W w, const struct hv_nic *nic, const char *model, unsigned boot_order)
{
    char alias[24];

    begin_with(w, "interface", "type", "ethernet", NULL);
    EMPTY(w, "mac", "address", nic->mac);
    if (*nic->tap) EMPTY(w, "target", "dev", nic->tap, "managed", "no");
    EMPTY(w, "model", "type", *nic->model ? nic->model : model);
    if (nic->mtu && *nic->tap) {
        begin(w, "mtu");
        attr_int(w, "size", nic->mtu);
        end(w);
    }
    if (boot_order) {
        begin(w, "boot");
        attr_int(w, "order", boot_order);
        end(w);
    }
    lv_nic_alias(nic->device, alias);
    EMPTY(w, "alias", "name", alias);
    end(w);
}

char *lv_xml_disk(const struct hv_disk *disk, const char *bus)
{
    struct document doc = document_new();

    write_disk(doc.w, disk, bus, 0);
    return document_take(&doc);
}

/* A snapshot of this disk alone, into an image that exists. */
char *lv_xml_disk_snapshot(const char *target, const char *path)
{
    struct document doc = document_new();

    begin(doc.w, "domainsnapshot");
    begin(doc.w, "disks");
    begin_with(doc.w, "disk", "name", target, "snapshot", "external", NULL);
    begin_with(doc.w, "driver", "type", "qcow2", NULL);
    end(doc.w);
    begin_with(doc.w, "source", "file", path, NULL);
    end(doc.w);
    end(doc.w);
    end(doc.w);
    end(doc.w);
    return document_take(&doc);
}

char *lv_xml_nic(const struct hv_nic *nic, const char *model)
{
    struct document doc = document_new();

    write_nic(doc.w, nic, model, 0);
    return document_take(&doc);
}

/* ---- a domain -------------------------------------------------------------------------------- */

static void write_memory(W w, const char *name, int64_t bytes)
{
    begin_with(w, name, "unit", "KiB", NULL);
    xmlTextWriterWriteFormatString(w, "%" PRId64, bytes / 1024);
    end(w);
}

static void write_identity(W w, const struct hv_vm *vm)
{
    static const char *const types[] = { [HV_DOMAIN_HVM] = "hvm", [HV_DOMAIN_PV] = "pv",
                                         [HV_DOMAIN_PV_IN_PVH] = "pv_in_pvh", [HV_DOMAIN_PVH] = "pvh" };
    _cleanup_free_ char *title = xstrdup(vm->name);

    element(w, "name", vm->id.uuid);
    element(w, "uuid", vm->id.uuid);
    for (char *p = title; *p; p++)
        if (*p == '\n' || *p == '\r') *p = ' ';
    if (*title) element(w, "title", title);
    begin(w, "metadata");
    xmlTextWriterStartElementNS(w, (const xmlChar *)"xapi", (const xmlChar *)"guest",
                                (const xmlChar *)metadata_ns);
    attr_int(w, "started", clock_wall_seconds());
    attr_int(w, "target", vm->memory_target_bytes);
    attr(w, "type", types[vm->domain_type]);
    end(w);
    end(w);
}

/* One mask for every vcpu, or, with semicolons, one each. Anything that is not a list of CPUs is left out. */
static void write_pinning(W w, const struct hv_vm *vm)
{
    const char *mask = vm->vcpu_mask;

    if (!*mask || mask[strspn(mask, "0123456789,-; ")]) return;
    begin(w, "cputune");
    for (unsigned i = 0; i < vm->vcpus_max; i++) {
        size_t n = strcspn(mask, ";");
        _cleanup_free_ char *one = xstrndup(mask, n);
        char *to = one;
        for (const char *p = one; *p; p++)
            if (*p != ' ') *to++ = *p;
        *to = '\0';
        if (*one) {
            begin(w, "vcpupin");
            attr_int(w, "vcpu", i);
            attr(w, "cpuset", one);
            end(w);
        }
        if (mask[n] == ';') mask += n + 1;
    }
    end(w);
}

static void write_cpu(W w, const struct hv_vm *vm, const struct machine *m)
{
    if (m->test) return;
    begin_with(w, "cpu", "mode", m->kvm ? "host-model" : "maximum", NULL);
    begin(w, "topology");
    attr_int(w, "sockets", vm->vcpus_max / vm->cores_per_socket);
    attr_int(w, "cores", vm->cores_per_socket);
    attr(w, "threads", "1");
    end(w);
    if (!platform_bool(vm, "nx", true)) EMPTY(w, "feature", "policy", "disable", "name", "nx");
    end(w);
}

static void write_os(W w, const struct hv_vm *vm, const struct machine *m)
{
    bool uefi = vm->firmware == HV_FIRMWARE_UEFI && !*vm->kernel;

    begin(w, "os");
    if (uefi) attr(w, "firmware", "efi");
    begin(w, "type");
    attr(w, "arch", "x86_64");
    if (!m->test) attr(w, "machine", m->pcie ? "q35" : "pc");
    xmlTextWriterWriteString(w, (const xmlChar *)"hvm");
    end(w);
    if (uefi) {
        bool secure = platform_bool(vm, "secureboot", false);
        begin(w, "firmware");
        EMPTY(w, "feature", "enabled", secure ? "yes" : "no", "name", "secure-boot");
        EMPTY(w, "feature", "enabled", secure ? "yes" : "no", "name", "enrolled-keys");
        end(w);
    }
    if (*vm->kernel) element(w, "kernel", vm->kernel);
    if (*vm->ramdisk) element(w, "initrd", vm->ramdisk);
    if (*vm->kernel && *vm->args) element(w, "cmdline", vm->args);
    if (!m->test) {
        EMPTY(w, "bios", "useserial", "no", "rebootTimeout", "-1");
        if (vm->n_bios_strings) EMPTY(w, "smbios", "mode", "sysinfo");
    }
    end(w);
}

static void write_features(W w, const struct hv_vm *vm, const struct machine *m)
{
    begin(w, "features");
    if (platform_bool(vm, "acpi", true)) EMPTY(w, "acpi");
    if (platform_bool(vm, "apic", true)) EMPTY(w, "apic");
    if (platform_bool(vm, "pae", true)) EMPTY(w, "pae");
    if (vm->firmware == HV_FIRMWARE_UEFI && platform_bool(vm, "secureboot", false))
        EMPTY(w, "smm", "state", "on");
    if (m->kvm && platform_bool(vm, "viridian", false)) {
        begin(w, "hyperv");
        EMPTY(w, "relaxed", "state", "on");
        EMPTY(w, "vapic", "state", "on");
        EMPTY(w, "spinlocks", "state", "on", "retries", "8191");
        end(w);
    }
    end(w);
}

static void write_clock(W w, const struct hv_vm *vm, const struct machine *m)
{
    const char *offset = platform(vm, "timeoffset", "");
    bool windows = streq(platform(vm, "device_id", ""), "0002");
    char *end_of;
    long long seconds = strtoll(offset, &end_of, 10);

    begin(w, "clock");
    if (*offset && !*end_of) {
        attr(w, "offset", "variable");
        attr_int(w, "adjustment", seconds);
        attr(w, "basis", "utc");
    } else {
        attr(w, "offset", windows ? "localtime" : "utc");
    }
    if (!m->test)
        EMPTY(w, "timer", "name", "hpet", "present", platform_bool(vm, "hpet", true) ? "yes" : "no");
    end(w);
}

/* XenAPI's names for SMBIOS texts. */
static void write_smbios(W w, const struct hv_vm *vm)
{
    static const struct { const char *table, *entry, *key; } all[] = {
        { "bios", "vendor", "bios-vendor" },
        { "bios", "version", "bios-version" },
        { "system", "manufacturer", "system-manufacturer" },
        { "system", "product", "system-product-name" },
        { "system", "version", "system-version" },
        { "system", "serial", "system-serial-number" },
        { "baseBoard", "manufacturer", "baseboard-manufacturer" },
        { "baseBoard", "product", "baseboard-product-name" },
        { "baseBoard", "version", "baseboard-version" },
        { "baseBoard", "serial", "baseboard-serial-number" },
        { "baseBoard", "asset", "baseboard-asset-tag" },
        { "baseBoard", "location", "baseboard-location-in-chassis" },
        { "chassis", "asset", "enclosure-asset-tag" },
    };
    const char *table = "";

    begin_with(w, "sysinfo", "type", "smbios", NULL);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        const char *text = hv_pair_get(vm->bios_strings, vm->n_bios_strings, all[i].key, "");
        if (!*text) continue;
        _cleanup_free_ char *cleaned = clean(text);
        if (!streq(table, all[i].table)) {
            if (*table) end(w);
            begin(w, table = all[i].table);
        }
        begin_with(w, "entry", "name", all[i].entry, NULL);
        xmlTextWriterWriteString(w, (const xmlChar *)cleaned);
        end(w);
    }
    if (*table) end(w);
    end(w);
}

/* Numbers of the boot order: devices in the order's letters, bootable disks before others, then by slot. */
struct boot { unsigned disks[256], nics[LV_MAX_NICS]; };

static void number_boot(const struct hv_vm *vm, struct boot *boot)
{
    unsigned n = 0;

    memset(boot, 0, sizeof *boot);
    for (const char *c = vm->boot_order; *c; c++) {
        for (int pass = 0; pass < 2 && *c != 'n'; pass++)
            for (size_t i = 0; i < vm->n_disks; i++) {
                const struct hv_disk *disk = &vm->disks[i];
                unsigned *place = &boot->disks[hv_slot(disk->device)];
                if (disk->cdrom == (*c == 'd') && disk->bootable == !pass && !*place) *place = ++n;
            }
        for (size_t i = 0; i < vm->n_nics && *c == 'n'; i++)
            if (!boot->nics[vm->nics[i].device]) boot->nics[vm->nics[i].device] = ++n;
    }
}

static void write_ports(W w, const struct hv_vm *vm)
{
    size_t n = vm->n_disks + vm->n_nics + OWN_PORTS + SPARE_PORTS;

    EMPTY(w, "controller", "type", "pci", "index", "0", "model", "pcie-root");
    for (size_t i = 1; i <= n; i++) {
        begin_with(w, "controller", "type", "pci", "model", "pcie-root-port", NULL);
        attr_int(w, "index", (int64_t)i);
        end(w);
    }
}

static void write_console(W w, const struct lv *lv, const struct hv_vm *vm)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.s", lv->socket_dir, vm->id.uuid);
    _cleanup_free_ char *log = xasprintf("%s/%s.log", lv->console_dir, vm->id.uuid);

    begin_with(w, "serial", "type", "unix", NULL);
    EMPTY(w, "source", "mode", "bind", "path", path);
    EMPTY(w, "log", "file", log, "append", "on");
    EMPTY(w, "target", "port", "0");
    end(w);
}

static void write_screen(W w, const struct lv *lv, const struct hv_vm *vm)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.v", lv->socket_dir, vm->id.uuid);
    long megabytes = strtol(platform(vm, "videoram", "0"), NULL, 10);
    bool cirrus = streq(platform(vm, "vga", "std"), "cirrus");

    begin_with(w, "graphics", "type", "vnc", NULL);
    EMPTY(w, "listen", "type", "socket", "socket", path);
    end(w);
    begin(w, "video");
    begin_with(w, "model", "type", cirrus ? "cirrus" : "vga", NULL);
    if (megabytes >= 1 && megabytes <= 256) attr_int(w, "vram", megabytes * 1024);
    end(w);
    end(w);
    if (vm->domain_type == HV_DOMAIN_HVM && platform_bool(vm, "usb", true) &&
        platform_bool(vm, "usb_tablet", true))
        EMPTY(w, "input", "type", "tablet", "bus", "usb");
}

static void write_helpers(W w, const struct hv_vm *vm)
{
    /* The agent's channel: clean operations and what the guest says of itself. */
    begin_with(w, "channel", "type", "unix", NULL);
    EMPTY(w, "target", "type", "virtio", "name", "org.qemu.guest_agent.0");
    end(w);
    begin_with(w, "memballoon", "model", "virtio", NULL);
    EMPTY(w, "stats", "period", "5");
    end(w);
    begin_with(w, "rng", "model", "virtio", NULL);
    begin_with(w, "backend", "model", "random", NULL);
    xmlTextWriterWriteString(w, (const xmlChar *)"/dev/urandom");
    end(w);
    end(w);
    if (platform_bool(vm, "acpi", true)) EMPTY(w, "panic", "model", "isa");
    if (vm->has_tpm) {
        begin_with(w, "tpm", "model", vm->firmware == HV_FIRMWARE_UEFI ? "tpm-crb" : "tpm-tis", NULL);
        EMPTY(w, "backend", "type", "emulator", "version", "2.0", "persistent_state", "yes");
        end(w);
    }
    bool usb = vm->domain_type == HV_DOMAIN_HVM && platform_bool(vm, "usb", true);
    if (!usb) EMPTY(w, "controller", "type", "usb", "index", "0", "model", "none");
}

static void write_devices(W w, const struct lv *lv, const struct hv_vm *vm, const struct machine *m)
{
    struct boot boot;

    number_boot(vm, &boot);
    if (*vm->kernel) memset(&boot, 0, sizeof boot);       /* the kernel comes first whatever the disks say */
    begin(w, "devices");
    if (*lv->emulator && !m->test) element(w, "emulator", lv->emulator);
    if (m->pcie && !m->test) write_ports(w, vm);
    for (size_t i = 0; i < vm->n_disks; i++)
        write_disk(w, &vm->disks[i], bus_of(m, &vm->disks[i]), boot.disks[hv_slot(vm->disks[i].device)]);
    for (size_t i = 0; i < vm->n_nics; i++)
        write_nic(w, &vm->nics[i], m->nic_model, boot.nics[vm->nics[i].device]);
    if (!m->test) {
        write_console(w, lv, vm);
        write_screen(w, lv, vm);
        write_helpers(w, vm);
    }
    end(w);
}

char *lv_xml_domain(const struct lv *lv, const struct hv_vm *vm, struct hv_failure *f)
{
    struct machine m;

    if (choose_machine(lv, vm, &m, f) < 0) return NULL;
    struct document doc = document_new();
    W w = doc.w;
    begin_with(w, "domain", "type", m.test ? "test" : m.kvm ? "kvm" : "qemu", NULL);
    write_identity(w, vm);
    write_memory(w, "memory", vm->memory_static_max_bytes);
    write_memory(w, "currentMemory", vm->memory_target_bytes);
    begin_with(w, "vcpu", "placement", "static", NULL);
    attr_int(w, "current", vm->vcpus_at_startup);
    xmlTextWriterWriteFormatString(w, "%u", vm->vcpus_max);
    end(w);
    write_pinning(w, vm);
    if (vm->n_bios_strings && !m.test) write_smbios(w, vm);
    write_os(w, vm, &m);
    write_features(w, vm, &m);
    write_cpu(w, vm, &m);
    write_clock(w, vm, &m);
    element(w, "on_poweroff", "destroy");
    element(w, "on_reboot", vm->stop_on_reboot ? "destroy" : "restart");
    element(w, "on_crash", m.test ? "destroy" : "preserve");
    write_devices(w, lv, vm, &m);
    end(w);
    return document_take(&doc);
}

/* ---- reading --------------------------------------------------------------------------------- */

static xmlDocPtr parse(const char *xml)
{
    size_t n = strlen(xml);

    if (n > MAX_XML_BYTES) return NULL;
    return xmlReadMemory(xml, (int)n, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

static xmlNodePtr child(xmlNodePtr parent, const char *name)
{
    for (xmlNodePtr n = parent ? parent->children : NULL; n; n = n->next)
        if (n->type == XML_ELEMENT_NODE && streq((const char *)n->name, name)) return n;
    return NULL;
}

/* An attribute's text, "" when it is missing; cut to the buffer. */
static const char *get(xmlNodePtr node, const char *name, char *buf, size_t size)
{
    xmlChar *value = node ? xmlGetProp(node, (const xmlChar *)name) : NULL;

    snprintf(buf, size, "%s", value ? (const char *)value : "");
    xmlFree(value);
    return buf;
}

static xmlNodePtr devices_of(xmlDocPtr doc)
{
    xmlNodePtr root = xmlDocGetRootElement(doc);

    return child(root, "devices");
}

static void describe_metadata(xmlNodePtr root, struct lv_guest *g)
{
    xmlNodePtr guest = child(child(root, "metadata"), "guest");
    char buf[64];

    g->start_time = strtoll(get(guest, "started", buf, sizeof buf), NULL, 10);
    g->target_bytes = strtoll(get(guest, "target", buf, sizeof buf), NULL, 10);
    get(guest, "type", buf, sizeof buf);
    g->domain_type = streq(buf, "pv")          ? HV_DOMAIN_PV
                     : streq(buf, "pvh")       ? HV_DOMAIN_PVH
                     : streq(buf, "pv_in_pvh") ? HV_DOMAIN_PV_IN_PVH
                                               : HV_DOMAIN_HVM;
}

void lv_xml_describe(const char *xml, struct lv_guest *g)
{
    xmlDocPtr doc = parse(xml);
    char buf[128];

    g->described = true;
    g->n_nics = 0;
    if (!doc) return;
    describe_metadata(xmlDocGetRootElement(doc), g);
    xmlNodePtr devices = devices_of(doc);
    for (xmlNodePtr n = devices ? devices->children : NULL; n; n = n->next) {
        unsigned device;
        if (n->type != XML_ELEMENT_NODE) continue;
        if (streq((const char *)n->name, "interface") && g->n_nics < LV_MAX_NICS) {
            get(child(n, "alias"), "name", buf, sizeof buf);
            g->nics[g->n_nics] = sscanf(buf, "ua-vif-%3u", &device) == 1 ? device : (unsigned)g->n_nics;
            g->n_nics++;
        }
        if (streq((const char *)n->name, "channel") &&
            streq(get(child(n, "target"), "name", buf, sizeof buf), "org.qemu.guest_agent.0"))
            g->agent = streq(get(child(n, "target"), "state", buf, sizeof buf), "connected");
    }
    xmlFreeDoc(doc);
}

/* The device with this alias, of any kind. */
static xmlNodePtr find_alias(xmlDocPtr doc, const char *alias)
{
    xmlNodePtr devices = devices_of(doc);
    char buf[64];

    for (xmlNodePtr n = devices ? devices->children : NULL; n; n = n->next)
        if (n->type == XML_ELEMENT_NODE && streq(get(child(n, "alias"), "name", buf, sizeof buf), alias))
            return n;
    return NULL;
}

char *lv_xml_bus(const char *xml, const char *alias)
{
    xmlDocPtr doc = parse(xml);
    char buf[32];
    char *bus = NULL;

    if (!doc) return NULL;
    xmlNodePtr device = find_alias(doc, alias);
    if (device) bus = xstrdup(get(child(device, "target"), "bus", buf, sizeof buf));
    xmlFreeDoc(doc);
    return bus;
}

bool lv_xml_has_source(const char *xml, const char *alias, const char *path)
{
    static const char *const names[] = { "file", "dev" };
    xmlDocPtr doc = parse(xml);
    xmlNodePtr device = doc ? find_alias(doc, alias) : NULL;
    xmlNodePtr source = device ? child(device, "source") : NULL, host = source ? child(source, "host") : NULL;
    char buf[4096];
    bool found = host && streq(get(host, "socket", buf, sizeof buf), path);

    for (size_t i = 0; source && !found && i < ARRAY_SIZE(names); i++)
        found = streq(get(source, names[i], buf, sizeof buf), path);
    if (doc) xmlFreeDoc(doc);
    return found;
}

bool lv_xml_uuid(const char *xml, char ret[UUID_TEXT])
{
    xmlDocPtr doc = parse(xml);
    xmlNodePtr node = doc ? child(xmlDocGetRootElement(doc), "uuid") : NULL;
    xmlChar *text = node ? xmlNodeGetContent(node) : NULL;
    struct ref bytes;
    bool ok = text && uuid_from_text((const char *)text, &bytes);

    if (ok) uuid_to_text(bytes, ret);
    xmlFree(text);
    if (doc) xmlFreeDoc(doc);
    return ok;
}

/* ---- a suspended guest with its devices as they are now --------------------------------------- */

/* Puts from's child of this name in the place of to's. */
static void replace_child(xmlNodePtr to, xmlNodePtr from, const char *name)
{
    xmlNodePtr old = child(to, name), wanted = child(from, name);
    xmlNodePtr copy = wanted ? xmlDocCopyNode(wanted, to->doc, 1) : NULL;

    if (old && copy) {
        xmlReplaceNode(old, copy);
        xmlFreeNode(old);
    } else if (old) {
        xmlUnlinkNode(old);
        xmlFreeNode(old);
    } else if (copy) {
        xmlAddChild(to, copy);
    }
}

static void replace_disk(xmlNodePtr to, xmlNodePtr from)
{
    char buf[32];

    xmlSetProp(to, (const xmlChar *)"type", (const xmlChar *)get(from, "type", buf, sizeof buf));
    replace_child(to, from, "driver");
    replace_child(to, from, "source");
    /* The chain of images is found anew. */
    replace_child(to, from, "backingStore");
}

static xmlNodePtr first_device(xmlDocPtr doc, const char *name)
{
    return child(devices_of(doc), name);
}

static void replace_sockets(xmlDocPtr to, xmlDocPtr from)
{
    char buf[256];

    for (xmlNodePtr n = devices_of(to)->children; n; n = n->next) {
        /* The first serial port shows twice: as serial and as console. */
        bool serial = streq((const char *)n->name, "serial"),
             console = streq((const char *)n->name, "console");
        if (n->type != XML_ELEMENT_NODE || !(serial || console) || !first_device(from, "serial")) continue;
        if (console && !streq(get(child(n, "target"), "type", buf, sizeof buf), "serial")) continue;
        replace_child(n, first_device(from, "serial"), "source");
        replace_child(n, first_device(from, "serial"), "log");
    }
    xmlNodePtr graphics = first_device(to, "graphics"), wanted = first_device(from, "graphics");
    if (!graphics || !wanted) return;
    xmlUnsetProp(graphics, (const xmlChar *)"socket");
    replace_child(graphics, wanted, "listen");
}

char *lv_xml_resumed(const char *image_xml, const char *vm_xml, struct hv_failure *f)
{
    xmlDocPtr to = parse(image_xml), from = parse(vm_xml);
    xmlChar *text = NULL;
    char *result = NULL, alias[64];
    int n;

    if (!to || !from || !devices_of(to) || !devices_of(from)) {
        hv_fail(f, HV_FAIL_NO_IMAGE, "the image's description cannot be read");
        goto out;
    }
    for (xmlNodePtr d = devices_of(to)->children; d; d = d->next) {
        if (d->type != XML_ELEMENT_NODE) continue;
        get(child(d, "alias"), "name", alias, sizeof alias);
        xmlNodePtr now = *alias ? find_alias(from, alias) : NULL;
        if (now && streq((const char *)d->name, "disk")) replace_disk(d, now);
        if (now && streq((const char *)d->name, "interface")) replace_child(d, now, "target");
    }
    replace_sockets(to, from);
    replace_child(xmlDocGetRootElement(to), xmlDocGetRootElement(from), "metadata");
    replace_child(xmlDocGetRootElement(to), xmlDocGetRootElement(from), "title");
    xmlDocDumpMemory(to, &text, &n);
    if (text) result = xstrdup((const char *)text);
    else hv_fail(f, HV_FAIL_ENGINE, "out of memory");
    xmlFree(text);

out:
    if (to) xmlFreeDoc(to);
    if (from) xmlFreeDoc(from);
    return result;
}

/* ---- a guest that arrives from another host -------------------------------------------------- */

/* The child of this name, of as many as stand before `like` in its own parent. */
static xmlNodePtr same_place(xmlNodePtr parent, xmlNodePtr like)
{
    xmlNodePtr found = child(parent, (const char *)like->name);

    for (xmlNodePtr n = like->prev; n; n = n->prev) {
        if (n->type != XML_ELEMENT_NODE || !xmlStrEqual(n->name, like->name)) continue;
        for (found = found ? found->next : NULL; found; found = found->next)
            if (found->type == XML_ELEMENT_NODE && xmlStrEqual(found->name, like->name)) break;
    }
    return found;
}

static void copy_child(xmlNodePtr to, xmlNodePtr from, const char *name)
{
    if (child(from, name)) replace_child(to, from, name);
}

/* Its device is this one of ours: it stays where the guest has it. */
static void keep_place(xmlNodePtr ours, xmlNodePtr theirs)
{
    copy_child(ours, theirs, "address");
    if (streq((const char *)ours->name, "disk")) copy_child(ours, theirs, "target");
    if (streq((const char *)ours->name, "interface")) copy_child(ours, theirs, "model");
}

static void drop_all(xmlNodePtr parent, const char *name)
{
    for (xmlNodePtr n; (n = child(parent, name));) {
        xmlUnlinkNode(n);
        xmlFreeNode(n);
    }
}

static void keep_devices(xmlDocPtr ours, xmlDocPtr theirs)
{
    char alias[64];

    for (xmlNodePtr n = devices_of(ours)->children; n; n = n->next) {
        if (n->type != XML_ELEMENT_NODE) continue;
        get(child(n, "alias"), "name", alias, sizeof alias);
        xmlNodePtr same = *alias ? find_alias(theirs, alias) : same_place(devices_of(theirs), n);
        if (same && xmlStrEqual(same->name, n->name)) keep_place(n, same);
    }
    drop_all(devices_of(ours), "controller");
    for (xmlNodePtr n = devices_of(theirs)->children; n; n = n->next) {
        xmlNodePtr copy = n->type == XML_ELEMENT_NODE && streq((const char *)n->name, "controller") ? xmlDocCopyNode(n, ours, 1) : NULL;
        if (copy) xmlAddChild(devices_of(ours), copy);
    }
}

static void keep_attribute(xmlNodePtr to, xmlNodePtr from, const char *name)
{
    char buf[128];

    if (to && *get(from, name, buf, sizeof buf)) xmlSetProp(to, (const xmlChar *)name, (const xmlChar *)buf);
}

char *lv_xml_arriving(const char *their_xml, const char *our_xml, struct hv_failure *f)
{
    static const char *const seen[] = { "currentMemory", "vcpu", "vcpus", "features", "cpu" };
    xmlDocPtr theirs = parse(their_xml), ours = parse(our_xml);
    char their_uuid[UUID_TEXT], our_uuid[UUID_TEXT];
    xmlChar *text = NULL;
    char *result = NULL;
    int n;

    if (!theirs || !ours || !devices_of(theirs) || !devices_of(ours) || !lv_xml_uuid(their_xml, their_uuid) ||
        !lv_xml_uuid(our_xml, our_uuid) || !streq(their_uuid, our_uuid)) {
        hv_fail(f, HV_FAIL_INCOMPATIBLE, "the description of the guest that arrives is not this one's");
        goto out;
    }
    xmlNodePtr to = xmlDocGetRootElement(ours), from = xmlDocGetRootElement(theirs);
    keep_attribute(child(child(to, "os"), "type"), child(child(from, "os"), "type"), "machine");
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++) copy_child(to, from, seen[i]);
    keep_devices(ours, theirs);
    xmlDocDumpMemory(ours, &text, &n);
    if (text) result = xstrdup((const char *)text);
    else hv_fail(f, HV_FAIL_ENGINE, "out of memory");
    xmlFree(text);

out:
    if (theirs) xmlFreeDoc(theirs);
    if (ours) xmlFreeDoc(ours);
    return result;
}
