/* A VM's record as the hypervisor wants it: memory, vcpus, boot, platform.
 * Called by: vm_power.c.  Calls: db/, hv/. */
#include "xapi/vm.h"
#include "xapi/vtpm.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/strbuf.h"

enum domain_type vm_domain_type(const struct row *vm)
{
    enum domain_type type = (enum domain_type)row_enum(vm, F_VM_domain_type);

    if (type != domain_type_unspecified) return type;
    return *row_str(vm, F_VM_HVM_boot_policy) ? domain_type_hvm : domain_type_pv;
}

static const struct hv_pair *pairs(struct arena *a, const struct value *map, size_t *ret_n)
{
    struct hv_pair *out = arena_new_array(a, struct hv_pair, map->map.n);

    for (size_t i = 0; i < map->map.n; i++)
        out[i] = (struct hv_pair){ arena_strdup(a, map->map.members[i].key), arena_strdup(a, map->map.members[i].value.s) };
    *ret_n = map->map.n;
    return out;
}

/* A decimal number of a map field; fallback when missing. */
static int map_number(const struct row *vm, field_id f, const char *key, long fallback, long max, unsigned *ret_number,
                      struct xerr *err)
{
    const char *text = row_map_str(vm, f, key, NULL);
    char *end;

    errno = 0;
    long n = text && *text ? strtol(text, &end, 10) : fallback;
    if (text && *text && (*end || errno || n < 0 || n > max)) return xerr_invalid_value(err, key, text);
    *ret_number = (unsigned)n;
    return 0;
}

static int describe_memory(const struct row *vm, struct hv_vm *v, struct xerr *err)
{
    v->memory_static_max_bytes = row_int(vm, F_VM_memory_static_max);
    v->memory_dynamic_max_bytes = row_int(vm, F_VM_memory_dynamic_max);
    v->memory_dynamic_min_bytes = row_int(vm, F_VM_memory_dynamic_min);
    v->memory_target_bytes = v->memory_dynamic_max_bytes;
    if (v->memory_dynamic_min_bytes > v->memory_dynamic_max_bytes ||
        v->memory_dynamic_max_bytes > v->memory_static_max_bytes ||
        row_int(vm, F_VM_memory_static_min) > v->memory_dynamic_min_bytes || v->memory_static_max_bytes <= 0)
        return xerr_memory_constraint_violation(
            err, "0 <= memory_static_min <= memory_dynamic_min <= memory_dynamic_max <= memory_static_max");
    return 0;
}

/* What is no number of anything becomes one that is too large. */
static unsigned count(int64_t n)
{
    return n >= 0 && n <= UINT_MAX ? (unsigned)n : UINT_MAX;
}

static int describe_vcpus(struct arena *a, const struct row *vm, struct hv_vm *v, struct xerr *err)
{
    v->vcpus_max = count(row_int(vm, F_VM_VCPUs_max));
    v->vcpus_at_startup = count(row_int(vm, F_VM_VCPUs_at_startup));
    v->vcpu_mask = arena_strdup(a, row_map_str(vm, F_VM_VCPUs_params, "mask", ""));
    if (map_number(vm, F_VM_VCPUs_params, "weight", 0, 65535, &v->vcpu_weight, err) ||
        map_number(vm, F_VM_VCPUs_params, "cap", 0, 100 * 1024, &v->vcpu_cap, err))
        return -1;
    return map_number(vm, F_VM_platform, "cores-per-socket", 1, 1024, &v->cores_per_socket, err);
}

static const enum hv_domain_type hv_types[] = {
    [domain_type_hvm] = HV_DOMAIN_HVM,
    [domain_type_pv] = HV_DOMAIN_PV,
    [domain_type_pv_in_pvh] = HV_DOMAIN_PV_IN_PVH,
    [domain_type_pvh] = HV_DOMAIN_PVH,
};

static void describe_boot(struct arena *a, const struct row *vm, struct hv_vm *v)
{
    enum domain_type type = vm_domain_type(vm);

    v->domain_type = hv_types[type];
    if (type == domain_type_hvm) {
        v->firmware =
            streq(row_map_str(vm, F_VM_HVM_boot_params, "firmware", "bios"), "uefi") ? HV_FIRMWARE_UEFI : HV_FIRMWARE_BIOS;
        v->boot_order = arena_strdup(a, row_map_str(vm, F_VM_HVM_boot_params, "order", "cd"));
        return;
    }
    v->kernel = arena_strdup(a, row_str(vm, F_VM_PV_kernel));
    v->ramdisk = arena_strdup(a, row_str(vm, F_VM_PV_ramdisk));
    v->args = arena_strdup(a, row_str(vm, F_VM_PV_args));
}

/* The next word of a featureset; false when there is none, or what is there is no word. */
static bool next_word(const char **p, uint32_t *ret_word)
{
    size_t n = strspn(*p, "0123456789abcdefABCDEF");

    if (n < 1 || n > 8 || ((*p)[n] && (*p)[n] != '-')) return false;
    *ret_word = (uint32_t)strtoul(*p, NULL, 16);
    *p += n + ((*p)[n] == '-');
    return true;
}

/* What this host's processors offer to guests of the kind, less what platform:featureset takes away: "" = nobody knows. */
static int describe_features(struct call *c, const struct row *vm, struct hv_vm *v, struct xerr *err)
{
    const char *mask = row_map_str(vm, F_VM_platform, "featureset", "");
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);
    const char *key = v->domain_type == HV_DOMAIN_PV ? "features_pv" : "features_hvm";
    const char *all = host ? row_map_str(host, F_host_cpu_info, key, "") : "", *m = mask;
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    uint32_t word, allowed;

    while (*m)
        if (!next_word(&m, &allowed)) return xerr_invalid_value(err, "platform:featureset", mask);
    m = mask;
    while (*all && next_word(&all, &word)) {
        if (*mask && !next_word(&m, &allowed)) allowed = 0;       /* words that the mask does not have are none of its features */
        strbuf_printf(&out, "%s%08x", out.len ? "-" : "", *mask ? word & allowed : word);
    }
    v->features = arena_strdup(c->arena, strbuf_cstr(&out));
    v->fewer_features = *mask && *v->features;
    return 0;
}

static bool is_on_one_node(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);

    return host && row_enum(host, F_host_numa_affinity_policy) == host_numa_affinity_policy_best_effort;
}

/* "0/0000:04:01.0,1/0000:04:01.1": devices of the host for the guest. The number before the slash is their order. */
static bool good_pci(const char *list)
{
    unsigned order, domain, bus, device, function;
    int used;

    for (;; list++) {
        used = 0;
        if (sscanf(list, "%3u/%4x:%2x:%2x.%1u%n", &order, &domain, &bus, &device, &function, &used) != 5 || !used || device > 31 ||
            function > 7)
            return false;
        list += used;
        if (!*list) return true;
        if (*list != ',') return false;
    }
}

/* Devices that are not handed over must not be left out in silence: the guest counts on them. */
static int check_pci(struct call *c, const struct row *vm, struct xerr *err)
{
    const char *list = row_map_str(vm, F_VM_other_config, "pci", "");
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);

    if (!*list) return 0;
    if (!good_pci(list)) return xerr_invalid_value(err, "other_config:pci", list);
    if (!host || !streq(row_map_str(host, F_host_chipset_info, "iommu", "false"), "true"))
        return xerr_vm_requires_iommu(err, REF_STR(c->agent->host));
    return xerr_vm_incompatible_with_this_host(err, REF_STR(row_ref_of(vm)), REF_STR(c->agent->host),
                                               "this toolstack does not hand PCI devices to guests");
}

int vm_describe(struct call *c, const struct row *vm, struct hv_vm *ret_vm, struct xerr *err)
{
    struct hv_vm v = { 0 };

    v.id = hv_id(arena_strdup(c->arena, row_uuid(vm)), row_ref_of(vm));
    v.name = arena_strdup(c->arena, row_str(vm, F_VM_name_label));
    if (check_pci(c, vm, err) || describe_memory(vm, &v, err) || describe_vcpus(c->arena, vm, &v, err)) return -1;
    describe_boot(c->arena, vm, &v);
    if (describe_features(c, vm, &v, err) || vm_nvram_describe(c, vm, &v, err) || vtpm_describe(c, vm, &v, err)) return -1;
    v.vendor_device = v.domain_type == HV_DOMAIN_HVM && row_bool(vm, F_VM_has_vendor_device);
    v.shadow_multiplier = row_float(vm, F_VM_HVM_shadow_multiplier);
    v.on_one_node = is_on_one_node(c);
    v.platform = pairs(c->arena, row_value(vm, F_VM_platform), &v.n_platform);
    v.bios_strings = pairs(c->arena, row_value(vm, F_VM_bios_strings), &v.n_bios_strings);
    v.xenstore_data = pairs(c->arena, row_value(vm, F_VM_xenstore_data), &v.n_xenstore_data);
    v.stop_on_reboot = row_enum(vm, F_VM_actions_after_reboot) == on_normal_exit_destroy;
    *ret_vm = v;
    return 0;
}

int vm_describe_now(struct call *c, struct ref vm, struct hv_vm *ret_vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    return row ? vm_describe(c, row, ret_vm, err) : -1;
}
