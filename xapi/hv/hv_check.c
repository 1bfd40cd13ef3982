/* Checks of what callers hand to the guard, so that drivers need not.
 * Called by: hv.c.  Calls: lib, gen/errors.h. */
#include "xapi/hv/hv_check.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>

#include "gen/errors.h"

enum { MAX_VCPUS = 254, MAX_NICS = 64, MAX_SOCKET_PATH = 107, MAX_IFNAME = 15, MAX_ADDRESS = HV_ADDRESS_TEXT - 1 };
static const int64_t MIN_MEMORY_BYTES = INT64_C(1) << 20;

static const char *text(const char *s) { return s ? s : ""; }

int hv_check_uuid(const char *uuid, char ret[UUID_TEXT], struct xerr *err)
{
    struct ref bytes;

    if (!uuid || !uuid_from_text(uuid, &bytes)) return xerr_uuid_invalid(err, "VM", text(uuid));
    uuid_to_text(bytes, ret);
    return 0;
}

int hv_check_path(const char *what, const char *path, struct xerr *err)
{
    if (path[0] != '/') return xerr_internal(err, "hv: %s: not an absolute path: '%s'", what, path);
    if (strlen(path) >= PATH_MAX) return xerr_internal(err, "hv: %s: path is too long", what);
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < ' ') return xerr_internal(err, "hv: %s: control character in a path", what);
    return 0;
}

int hv_check_disk(const struct hv_disk *disk, struct hv_disk *ret, struct xerr *err)
{
    *ret = *disk;
    ret->device = text(disk->device);
    ret->export_name = text(disk->export_name);
    ret->serial = text(disk->serial);
    if (hv_slot(ret->device) < 0) return xerr_invalid_device(err, ret->device);
    if (disk->source == HV_SOURCE_EMPTY) {
        if (!disk->cdrom) return xerr_internal(err, "hv: disk %s has no source", ret->device);
        ret->path = NULL;
        return 0;
    }
    if (hv_check_path(ret->device, text(disk->path), err) < 0) return -1;
    if (disk->source == HV_SOURCE_NBD && strlen(disk->path) > MAX_SOCKET_PATH)
        return xerr_internal(err, "hv: disk %s: socket path is too long: %s", ret->device, disk->path);
    return 0;
}

static bool mac_ok(const char *mac)
{
    unsigned first;

    for (size_t i = 0; i < 17; i++)
        if (i % 3 == 2 ? mac[i] != ':' : !isxdigit((unsigned char)mac[i])) return false;
    if (mac[17] || sscanf(mac, "%2x", &first) != 1) return false;
    return !(first & 1);      /* a group address is nobody's own */
}

static int check_address(struct hv_nic_address *a, struct xerr *err)
{
    a->address = text(a->address);
    a->gateway = text(a->gateway);
    if (strlen(a->address) > MAX_ADDRESS || strlen(a->gateway) > MAX_ADDRESS)
        return xerr_internal(err, "hv: no address: %s, %s", a->address, a->gateway);
    return 0;
}

int hv_check_nic(const struct hv_nic *nic, struct hv_nic *ret, struct xerr *err)
{
    *ret = *nic;
    ret->mac = text(nic->mac);
    ret->tap = text(nic->tap);
    ret->bridge = text(nic->bridge);
    ret->model = text(nic->model);
    if (nic->device >= MAX_NICS) {
        _cleanup_free_ char *number = xasprintf("%u", nic->device);
        return xerr_invalid_device(err, number);
    }
    if (!mac_ok(ret->mac)) return xerr_mac_invalid(err, ret->mac);
    if (strlen(ret->tap) > MAX_IFNAME || strlen(ret->bridge) > MAX_IFNAME || strchr(ret->tap, '/'))
        return xerr_internal(err, "hv: interface name is too long: '%s' on '%s'", ret->tap, ret->bridge);
    return check_address(&ret->ipv4, err) || check_address(&ret->ipv6, err) ? -1 : 0;
}

static int check_cpu(struct hv_vm *v, const char *who, struct xerr *err)
{
    if (!v->vcpus_max) return xerr_vm_no_vcpus(err, who);
    if (v->vcpus_max > MAX_VCPUS) return xerr_vm_too_many_vcpus(err, who);
    if (!v->vcpus_at_startup || v->vcpus_at_startup > v->vcpus_max) v->vcpus_at_startup = v->vcpus_max;
    if (!v->vcpu_weight) v->vcpu_weight = 256;
    if (!v->cores_per_socket || v->vcpus_max % v->cores_per_socket) v->cores_per_socket = 1;
    return 0;
}

static int check_memory(struct hv_vm *v, struct xerr *err)
{
    if (v->memory_static_max_bytes < MIN_MEMORY_BYTES)
        return xerr_memory_constraint_violation(err, "memory_static_max is too small");
    if (!v->memory_dynamic_max_bytes) v->memory_dynamic_max_bytes = v->memory_static_max_bytes;
    if (!v->memory_dynamic_min_bytes) v->memory_dynamic_min_bytes = v->memory_dynamic_max_bytes;
    if (!v->memory_target_bytes) v->memory_target_bytes = v->memory_dynamic_max_bytes;
    if (v->memory_dynamic_min_bytes < 0 || v->memory_dynamic_min_bytes > v->memory_dynamic_max_bytes ||
        v->memory_dynamic_max_bytes > v->memory_static_max_bytes)
        return xerr_memory_constraint_violation(
            err, "memory_dynamic_min <= memory_dynamic_max <= memory_static_max");
    if (v->memory_target_bytes < v->memory_dynamic_min_bytes ||
        v->memory_target_bytes > v->memory_static_max_bytes)
        return xerr_memory_constraint_violation(err, "memory_target");
    return 0;
}

static int check_boot(struct hv_vm *v, struct xerr *err)
{
    if (*v->kernel && hv_check_path("kernel", v->kernel, err) < 0) return -1;
    if (*v->ramdisk && hv_check_path("ramdisk", v->ramdisk, err) < 0) return -1;
    if (*v->ramdisk && !*v->kernel) return xerr_internal(err, "hv: a ramdisk without a kernel");
    if (!*v->boot_order) v->boot_order = "cd";
    for (const char *p = v->boot_order; *p; p++)
        if (!strchr("cdn", *p)) return xerr_invalid_value(err, "HVM_boot_params.order", v->boot_order);
    return 0;
}

static int check_devices(const struct hv_vm *vm, struct hv_vm_checked *c, struct xerr *err)
{
    bool disk_used[256] = { false }, nic_used[MAX_NICS] = { false };

    c->disks = xcalloc(vm->n_disks + 1, sizeof *c->disks);
    c->nics = xcalloc(vm->n_nics + 1, sizeof *c->nics);
    for (size_t i = 0; i < vm->n_disks; i++) {
        if (hv_check_disk(&vm->disks[i], &c->disks[i], err) < 0) return -1;
        bool *used = &disk_used[hv_slot(c->disks[i].device)];
        if (*used) return xerr_device_already_exists(err, c->disks[i].device);
        *used = true;
    }
    for (size_t i = 0; i < vm->n_nics; i++) {
        if (hv_check_nic(&vm->nics[i], &c->nics[i], err) < 0) return -1;
        if (nic_used[c->nics[i].device]) {
            _cleanup_free_ char *number = xasprintf("%u", c->nics[i].device);
            return xerr_device_already_exists(err, number);
        }
        nic_used[c->nics[i].device] = true;
    }
    c->vm.disks = c->disks;
    c->vm.nics = c->nics;
    return 0;
}

int hv_check_vm(const struct hv_vm *vm, const char *who, struct hv_vm_checked *c, struct xerr *err)
{
    struct hv_vm *v = &c->vm;

    *c = (struct hv_vm_checked){ .vm = *vm };
    if (hv_check_uuid(vm->id.uuid, c->uuid, err) < 0) return -1;
    v->id.uuid = c->uuid;
    v->name = text(vm->name);
    v->kernel = text(vm->kernel);
    v->ramdisk = text(vm->ramdisk);
    v->args = text(vm->args);
    v->boot_order = text(vm->boot_order);
    v->vcpu_mask = text(vm->vcpu_mask);
    v->features = text(vm->features);
    if (check_cpu(v, who, err) < 0 || check_memory(v, err) < 0 || check_boot(v, err) < 0) return -1;
    return check_devices(vm, c, err);
}

void hv_vm_checked_free(struct hv_vm_checked *c)
{
    free(c->disks);
    free(c->nics);
    c->disks = NULL;
    c->nics = NULL;
}
