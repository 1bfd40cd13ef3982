/* Class VM_guest_metrics: what a guest's drivers and tools say of it.
 * Called by: vm_monitor.c.  Calls: hv/, db/. */
#include "xapi/vm.h"

#include <stdlib.h>
#include <strings.h>
#include <time.h>

/* ---- what was said, as values ---------------------------------------------------------------- */

struct said {
    struct value os_version, netbios_name, drivers, networks, other;
};

static struct value map_of(struct arena *a, const struct hv_pair *pairs, size_t n)
{
    struct value_builder b = value_builder(a);

    for (size_t i = 0; i < n; i++) value_put(&b, pairs[i].key, value_string(pairs[i].value));
    return value_built_map(&b);
}

/* Drivers of XenServer's tongue give pairs, others what QEMU's guest agent knows. */
static struct value os_version(struct arena *a, const struct hv_guest_info *info)
{
    const struct { const char *key, *text; } known[] = {
        { "name", info->os_name }, { "uname", info->os_kernel }, { "distro", info->os_id }, { "major", info->os_version },
    };
    struct value_builder b = value_builder(a);

    if (info->n_os) return map_of(a, info->os, info->n_os);
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (*known[i].text) value_put_new(&b, known[i].key, value_string(known[i].text));
    return value_built_map(&b);
}

/* The number of the card with this MAC; -1 = not ours. */
static int device_of(const struct snap *s, const struct row *vm, const char *mac)
{
    const struct refset *vifs = row_refs(vm, F_VM_VIFs);

    for (size_t i = 0; i < vifs->n; i++) {
        const struct row *vif = snap_get(s, CLASS_VIF, vifs->refs[i]);
        if (vif && !strcasecmp(row_str(vif, F_VIF_MAC), mac)) return (int)strtol(row_str(vif, F_VIF_device), NULL, 10);
    }
    return -1;
}

/* "0/ip" for the first IPv4 address of a card; "0/ipv4/0", "0/ipv6/0" and so on for all. */
static struct value networks(struct arena *a, const struct snap *s, const struct row *vm, const struct hv_guest_info *info)
{
    struct value_builder b = value_builder(a);

    for (size_t i = 0; i < info->n_nics; i++) {
        const struct hv_guest_nic *nic = &info->nics[i];
        int device = nic->device >= 0 ? nic->device : device_of(s, vm, nic->mac), v4 = 0, v6 = 0;
        for (const char *const *ip = nic->addresses; device >= 0 && ip && *ip; ip++) {
            bool six = strchr(*ip, ':');
            if (!six && !v4) value_put(&b, arena_printf(a, "%d/ip", device), value_string(*ip));
            value_put(&b, arena_printf(a, "%d/ipv%c/%d", device, six ? '6' : '4', six ? v6++ : v4++), value_string(*ip));
        }
    }
    return value_built_map(&b);
}

static struct said understand(struct arena *a, const struct snap *s, const struct row *vm, const struct hv_guest_info *info)
{
    struct value_builder name = value_builder(a);

    if (*info->hostname) value_put_new(&name, "host_name", value_string(info->hostname));
    return (struct said){
        .os_version = os_version(a, info),
        .netbios_name = value_built_map(&name),
        .drivers = map_of(a, info->drivers, info->n_drivers),
        .networks = networks(a, s, vm, info),
        .other = map_of(a, info->other, info->n_other),
    };
}

/* ---- the record ------------------------------------------------------------------------------ */

static const int tristate[] = {
    [HV_SAYS_NOTHING] = tristate_type_unspecified,
    [HV_SAYS_NO] = tristate_type_no,
    [HV_SAYS_YES] = tristate_type_yes,
};

static bool is_news(const struct row *row, const struct said *said, const struct hv_guest_info *info)
{
    return !row || !value_eq(row_value(row, F_VM_guest_metrics_os_version), &said->os_version) ||
           !value_eq(row_value(row, F_VM_guest_metrics_netbios_name), &said->netbios_name) ||
           !value_eq(row_value(row, F_VM_guest_metrics_PV_drivers_version), &said->drivers) ||
           !value_eq(row_value(row, F_VM_guest_metrics_networks), &said->networks) ||
           !value_eq(row_value(row, F_VM_guest_metrics_other), &said->other) ||
           row_bool(row, F_VM_guest_metrics_live) != info->agent ||
           row_bool(row, F_VM_guest_metrics_PV_drivers_detected) != info->drivers_seen ||
           row_enum(row, F_VM_guest_metrics_can_use_hotplug_vbd) != tristate[info->hotplug_vbd] ||
           row_enum(row, F_VM_guest_metrics_can_use_hotplug_vif) != tristate[info->hotplug_vif];
}

static void write_said(struct txn *t, struct ref vm, struct ref metrics, const struct said *said, const struct hv_guest_info *info)
{
    if (!snap_get(txn_snap(t), CLASS_VM_guest_metrics, metrics)) {
        metrics = ref_new();
        txn_create(t, CLASS_VM_guest_metrics, metrics);
        txn_set_ref(t, vm, F_VM_guest_metrics, metrics);
    }
    txn_set_value(t, metrics, F_VM_guest_metrics_os_version, &said->os_version);
    txn_set_value(t, metrics, F_VM_guest_metrics_netbios_name, &said->netbios_name);
    txn_set_value(t, metrics, F_VM_guest_metrics_PV_drivers_version, &said->drivers);
    txn_set_value(t, metrics, F_VM_guest_metrics_networks, &said->networks);
    txn_set_value(t, metrics, F_VM_guest_metrics_other, &said->other);
    txn_set_bool(t, metrics, F_VM_guest_metrics_live, info->agent);
    txn_set_bool(t, metrics, F_VM_guest_metrics_PV_drivers_detected, info->drivers_seen);
    txn_set_bool(t, metrics, F_VM_guest_metrics_PV_drivers_up_to_date, info->drivers_seen);
    txn_set_enum(t, metrics, F_VM_guest_metrics_can_use_hotplug_vbd, tristate[info->hotplug_vbd]);
    txn_set_enum(t, metrics, F_VM_guest_metrics_can_use_hotplug_vif, tristate[info->hotplug_vif]);
    txn_set_time(t, metrics, F_VM_guest_metrics_last_updated, time(NULL));
}

int vm_guest_refresh(struct call *c, struct ref vm, const char *uuid, int64_t domid, struct xerr *err)
{
    struct hv_guest_info info;

    if (hv_get_guest_info(c->agent->hv, hv_id(uuid, vm), c->arena, &info, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    /* It may have ended meanwhile, or be another domain by now: that one speaks for itself. */
    if (!row || row_int(row, F_VM_domid) != domid) {
        db_abort(t);
        return 0;
    }
    const struct said said = understand(c->arena, txn_snap(t), row, &info);
    struct ref metrics = row_ref(row, F_VM_guest_metrics);
    if (!is_news(snap_get(txn_snap(t), CLASS_VM_guest_metrics, metrics), &said, &info)) {
        db_abort(t);
        return 0;
    }
    write_said(t, vm, metrics, &said, &info);
    return db_commit(t, err);
}

void vm_guest_forget(struct txn *t, struct ref vm)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    struct ref metrics = row ? row_ref(row, F_VM_guest_metrics) : REF_NULL;

    if (!snap_get(txn_snap(t), CLASS_VM_guest_metrics, metrics)) return;
    txn_set_ref(t, vm, F_VM_guest_metrics, REF_NULL);
    txn_destroy(t, CLASS_VM_guest_metrics, metrics);
}
