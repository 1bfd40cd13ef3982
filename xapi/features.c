/* Licensed features of the reference, all free here.
 * Called by: pool.c, host.c.  Calls: db/.
 *
 * Clients take a missing key for "restricted", so every key that any of them asks for is listed. */
#include "xapi/features.h"

static const char *const restrictions[] = {
    "restrict_vlan", "restrict_qos", "restrict_pool_attached_storage", "restrict_netapp", "restrict_equalogic",
    "restrict_pooling", "restrict_marathon", "restrict_email_alerting", "restrict_historical_performance", "restrict_wlb",
    "restrict_rbac", "restrict_dmc", "restrict_checkpoint", "restrict_cpu_masking", "restrict_connection",
    "platform_filter", "regular_nag_dialog", "restrict_vmpr", "restrict_vmss", "restrict_intellicache", "restrict_gpu",
    "restrict_dr", "restrict_vif_locking", "restrict_storage_xen_motion", "restrict_vgpu",
    "restrict_integrated_gpu_passthrough", "restrict_vss", "restrict_guest_agent_auto_update",
    "restrict_pci_device_for_auto_update", "restrict_xen_motion", "restrict_guest_ip_setting", "restrict_ad",
    "restrict_nested_virt", "restrict_live_patching", "restrict_set_vcpus_number_live", "restrict_pvs_proxy",
    "restrict_igmp_snooping", "restrict_rpu", "restrict_pool_size", "restrict_cbt", "restrict_usb_passthrough",
    "restrict_network_sriov", "restrict_corosync", "restrict_cluster_address", "restrict_zstd_export",
    "restrict_pool_secret_rotation", "restrict_certificate_verification", "restrict_updates",
    "restrict_internal_repo_access", "restrict_vtpm", "restrict_vm_groups", "restrict_vm_start",
    "restrict_vm_appliance_start", "restrict_cifs", "restrict_hotfix_apply", "restrict_batch_hotfix_apply",
    "restrict_health_check", "restrict_management_on_vlan", "restrict_read_caching", "restrict_ssl_legacy_switch",
    "restrict_vswitch_controller", "restrict_xcm", "restrict_export_resource_data",
};

void features_write(struct txn *t, struct ref object, field_id f)
{
    for (size_t i = 0; i < ARRAY_SIZE(restrictions); i++) txn_map_put_str(t, object, f, restrictions[i], "false");
    txn_map_put_str(t, object, f, "enable_xha", "true");
}
