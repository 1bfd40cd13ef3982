/* Which operation is allowed on the host, the pool and a VM appliance.
 * Called by: lifecycle.c.  Calls: db/. */
#include "xapi/call/lifecycle_table.h"

static int check_host(const struct facts *f, int op, struct xerr *err)
{
    const struct row *host = f->object;
    bool enabled = row_bool(host, F_host_enabled);

    switch ((enum host_allowed_operations)op) {
    case host_allowed_operations_provision:
    case host_allowed_operations_vm_start:
    case host_allowed_operations_vm_resume:
    case host_allowed_operations_vm_migrate:
        return enabled ? 0 : xerr_host_disabled(err, NAMED(err, row_ref_of(host)));
    case host_allowed_operations_shutdown:
    case host_allowed_operations_reboot:
        return enabled ? xerr_host_not_disabled(err) : 0;
    case host_allowed_operations_evacuate:
    case host_allowed_operations_enable:
    case host_allowed_operations_apply_updates:
        return 0;
    case host_allowed_operations_power_on:
        return xerr_operation_not_allowed(err, "The host is already powered on");
    }
    return xerr_operation_not_allowed(err, "unknown operation");
}

/* Many VMs start, resume and arrive at once; everything else waits its turn. */
static bool host_beside(int op, int running)
{
    const uint64_t many = OP(host_allowed_operations_provision) | OP(host_allowed_operations_vm_start) |
                          OP(host_allowed_operations_vm_resume) | OP(host_allowed_operations_vm_migrate);

    return many & OP(op) && many & OP(running);
}

static int check_pool(const struct facts *f, int op, struct xerr *err)
{
    const struct row *pool = f->object;

    switch ((enum pool_allowed_operations)op) {
    case pool_allowed_operations_ha_enable:
        return row_bool(pool, F_pool_ha_enabled) ? xerr_ha_is_enabled(err) : 0;
    case pool_allowed_operations_ha_disable:
        return row_bool(pool, F_pool_ha_enabled) ? 0 : xerr_ha_not_enabled(err);
    case pool_allowed_operations_cluster_create:
    case pool_allowed_operations_designate_new_master:
    case pool_allowed_operations_configure_repositories:
    case pool_allowed_operations_sync_updates:
    case pool_allowed_operations_sync_bundle:
    case pool_allowed_operations_get_updates:
    case pool_allowed_operations_apply_updates:
    case pool_allowed_operations_tls_verification_enable:
    case pool_allowed_operations_cert_refresh:
    case pool_allowed_operations_exchange_certificates_on_join:
    case pool_allowed_operations_exchange_ca_certificates_on_join:
    case pool_allowed_operations_copy_primary_host_certs:
    case pool_allowed_operations_eject:
    case pool_allowed_operations_exchange_crls_on_join:
        return 0;
    }
    return xerr_operation_not_allowed(err, "unknown operation");
}

/* An appliance may start while any of its VMs is not running, and stop while any is not halted. */
static int check_vm_appliance(const struct facts *f, int op, struct xerr *err)
{
    const struct refset *vms = row_refs(f->object, F_VM_appliance_VMs);

    for (size_t i = 0; i < vms->n; i++) {
        const struct row *vm = snap_get(f->s, CLASS_VM, vms->refs[i]);
        if (!vm) continue;
        int state = row_enum(vm, F_VM_power_state);
        if (op == vm_appliance_operation_start ? state != vm_power_state_Running : state != vm_power_state_Halted)
            return 0;
    }
    return xerr_operation_not_allowed(err, op == vm_appliance_operation_start ? "No VM of the appliance is left to start"
                                                                              : "No VM of the appliance is left to stop");
}

const struct lifecycle_rules lifecycle_host = {
    .cls = CLASS_host,
    .allowed = F_host_allowed_operations,
    .current = F_host_current_operations,
    .check = check_host,
    .beside = host_beside,
};

const struct lifecycle_rules lifecycle_pool = {
    .cls = CLASS_pool,
    .allowed = F_pool_allowed_operations,
    .current = F_pool_current_operations,
    .check = check_pool,
};

const struct lifecycle_rules lifecycle_vm_appliance = {
    .cls = CLASS_VM_appliance,
    .allowed = F_VM_appliance_allowed_operations,
    .current = F_VM_appliance_current_operations,
    .check = check_vm_appliance,
};
