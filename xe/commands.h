/* The commands of xe.
 * Called by: cmd.c, cmd_help.c.  Calls: cmd. */
#ifndef XE_COMMANDS_H
#define XE_COMMANDS_H

#include "xe/cmd.h"

struct catalog;

enum {
    COMMAND_VM = 1,
    COMMAND_HOST = 2,
    COMMAND_SR = 4,        /* takes a selector */
    COMMAND_HIDDEN = 8,    /* not in help */
    COMMAND_STANDARD = 16, /* in the short help */
    COMMAND_HERE = 32,     /* on a pool member: runs there, not on the coordinator */
    COMMAND_FILES = 64,    /* reads or writes files of the client */
    COMMAND_LOCAL = 128,   /* with a local session, without the pool */
    COMMAND_JSON = 256,    /* run prints results, which --json can show (a plan with a result always can) */
};

struct command {
    const char *name;
    const char *required, *optional;   /* names between commas; "name:" takes name:key=value */
    unsigned flags;
    const char *deprecated;            /* the command to use instead; "" = none; NULL = not deprecated */
    /* A message and its arguments, see cmd_plan.c; or NULL, then run. */
    const char *plan;
    command_fn run;                    /* NULL together with plan: nothing answers this command yet */
    const char *uses;                  /* the message that run stands for, NULL for none in particular */
    const char *help;
    const char *help_of;               /* what stands for %s in help; NULL: help is no format */
};

extern const struct command commands[];
extern const size_t n_commands;

/* By name; NULL when there is none. */
const struct command *command_find(const char *name);

/* The names nearest to one that is no command, "vm-start or vm-stop"; NULL when none is near. */
const char *cmd_suggest(struct cmd *c, const char *name);

/* What a command is for, in the client's language. */
const char *cmd_help_text(const struct catalog *words, const struct command *command, struct arena *a);

/* Runs a plan. */
int cmd_plan(struct cmd *c, const char *plan, struct xerr *err);
/* The first message of a plan, in the arena. */
const char *cmd_plan_method(const char *plan, struct arena *a);
int cmd_help(struct cmd *c, const char *argv0, struct xerr *err);

int cmd_audit_log_get(struct cmd *c, struct xerr *err);
int cmd_blob_create(struct cmd *c, struct xerr *err);
int cmd_blob_get(struct cmd *c, struct xerr *err);
int cmd_blob_put(struct cmd *c, struct xerr *err);
int cmd_caller_list_usage(struct cmd *c, struct xerr *err);
int cmd_caller_query_usage(struct cmd *c, struct xerr *err);
int cmd_cd_list(struct cmd *c, struct xerr *err);
int cmd_cli_coverage(struct cmd *c, struct xerr *err);
int cmd_console(struct cmd *c, struct xerr *err);
int cmd_diagnostic_license_status(struct cmd *c, struct xerr *err);
int cmd_diagnostic_vdi_status(struct cmd *c, struct xerr *err);
int cmd_diagnostic_vm_status(struct cmd *c, struct xerr *err);
int cmd_event_wait(struct cmd *c, struct xerr *err);
int cmd_host_apply_edition(struct cmd *c, struct xerr *err);
int cmd_host_apply_updates(struct cmd *c, struct xerr *err);
int cmd_host_backup(struct cmd *c, struct xerr *err);
int cmd_host_bugreport_upload(struct cmd *c, struct xerr *err);
int cmd_host_call_plugin(struct cmd *c, struct xerr *err);
int cmd_host_crashdump_upload(struct cmd *c, struct xerr *err);
int cmd_host_declare_dead(struct cmd *c, struct xerr *err);
int cmd_host_disable_external_auth(struct cmd *c, struct xerr *err);
int cmd_host_enable(struct cmd *c, struct xerr *err);
int cmd_host_enable_external_auth(struct cmd *c, struct xerr *err);
int cmd_host_forget(struct cmd *c, struct xerr *err);
int cmd_host_get_cpu_features(struct cmd *c, struct xerr *err);
int cmd_host_get_system_status(struct cmd *c, struct xerr *err);
int cmd_host_get_vms_which_prevent_evacuation(struct cmd *c, struct xerr *err);
int cmd_host_install_certificate(struct cmd *c, struct xerr *err);
int cmd_host_ha_xapi_healthcheck(struct cmd *c, struct xerr *err);
int cmd_host_license_add(struct cmd *c, struct xerr *err);
int cmd_host_license_view(struct cmd *c, struct xerr *err);
int cmd_host_logs_download(struct cmd *c, struct xerr *err);
int cmd_host_restore(struct cmd *c, struct xerr *err);
int cmd_host_wlb_evacuate(struct cmd *c, struct xerr *err);
int cmd_hostdriver_select(struct cmd *c, struct xerr *err);
int cmd_message_create(struct cmd *c, struct xerr *err);
int cmd_message_destroy(struct cmd *c, struct xerr *err);
int cmd_message_destroy_all(struct cmd *c, struct xerr *err);
int cmd_patch_upload(struct cmd *c, struct xerr *err);
int cmd_pool_apply_edition(struct cmd *c, struct xerr *err);
int cmd_pool_configure_update_sync(struct cmd *c, struct xerr *err);
int cmd_pool_dump_database(struct cmd *c, struct xerr *err);
int cmd_pool_eject(struct cmd *c, struct xerr *err);
int cmd_pool_get_cpu_features(struct cmd *c, struct xerr *err);
int cmd_pool_ha_hypothetical(struct cmd *c, struct xerr *err);
int cmd_pool_ha_plan(struct cmd *c, struct xerr *err);
int cmd_pool_install_ca(struct cmd *c, struct xerr *err);
int cmd_pool_install_crl(struct cmd *c, struct xerr *err);
int cmd_pool_install_trusted(struct cmd *c, struct xerr *err);
int cmd_recover(struct cmd *c, struct xerr *err);
int cmd_pool_recover_slaves(struct cmd *c, struct xerr *err);
int cmd_pool_restore_database(struct cmd *c, struct xerr *err);
int cmd_pool_sync_bundle(struct cmd *c, struct xerr *err);
int cmd_pool_wlb_diagnostics(struct cmd *c, struct xerr *err);
int cmd_pool_wlb_recommendations(struct cmd *c, struct xerr *err);
int cmd_pool_wlb_report(struct cmd *c, struct xerr *err);
int cmd_repository_remote_pool(struct cmd *c, struct xerr *err);
int cmd_session_subject_list(struct cmd *c, struct xerr *err);
int cmd_session_subject_logout_all(struct cmd *c, struct xerr *err);
int cmd_snapshot_clone(struct cmd *c, struct xerr *err);
int cmd_snapshot_copy(struct cmd *c, struct xerr *err);
int cmd_snapshot_destroy(struct cmd *c, struct xerr *err);
int cmd_snapshot_disk_list(struct cmd *c, struct xerr *err);
int cmd_snapshot_export(struct cmd *c, struct xerr *err);
int cmd_snapshot_reset_powerstate(struct cmd *c, struct xerr *err);
int cmd_snapshot_revert(struct cmd *c, struct xerr *err);
int cmd_snapshot_uninstall(struct cmd *c, struct xerr *err);
int cmd_sr_create(struct cmd *c, struct xerr *err);
int cmd_sr_gc_status(struct cmd *c, struct xerr *err);
int cmd_sr_probe(struct cmd *c, struct xerr *err);
int cmd_sr_probe_ext(struct cmd *c, struct xerr *err);
int cmd_subject_add(struct cmd *c, struct xerr *err);
int cmd_subject_role_add(struct cmd *c, struct xerr *err);
int cmd_subject_role_remove(struct cmd *c, struct xerr *err);
int cmd_template_export(struct cmd *c, struct xerr *err);
int cmd_template_uninstall(struct cmd *c, struct xerr *err);
int cmd_tunnel_create(struct cmd *c, struct xerr *err);
int cmd_update_upload(struct cmd *c, struct xerr *err);
int cmd_vbd_create(struct cmd *c, struct xerr *err);
int cmd_vbd_unplug(struct cmd *c, struct xerr *err);
int cmd_vdi_clone(struct cmd *c, struct xerr *err);
int cmd_vdi_copy(struct cmd *c, struct xerr *err);
int cmd_vdi_export(struct cmd *c, struct xerr *err);
int cmd_vdi_import(struct cmd *c, struct xerr *err);
int cmd_vdi_pool_migrate(struct cmd *c, struct xerr *err);
int cmd_vdi_resize(struct cmd *c, struct xerr *err);
int cmd_vif_configure_ipv4(struct cmd *c, struct xerr *err);
int cmd_vif_configure_ipv6(struct cmd *c, struct xerr *err);
int cmd_vif_create(struct cmd *c, struct xerr *err);
int cmd_vlan_create(struct cmd *c, struct xerr *err);
int cmd_vlan_destroy(struct cmd *c, struct xerr *err);
int cmd_network_diagram(struct cmd *c, struct xerr *err);
int cmd_vm_call_host_plugin(struct cmd *c, struct xerr *err);
int cmd_vm_call_plugin(struct cmd *c, struct xerr *err);
int cmd_vm_cd_add(struct cmd *c, struct xerr *err);
int cmd_vm_cd_eject(struct cmd *c, struct xerr *err);
int cmd_vm_cd_insert(struct cmd *c, struct xerr *err);
int cmd_vm_cd_list(struct cmd *c, struct xerr *err);
int cmd_vm_cd_remove(struct cmd *c, struct xerr *err);
int cmd_vm_checkpoint(struct cmd *c, struct xerr *err);
int cmd_vm_clone(struct cmd *c, struct xerr *err);
int cmd_vm_console(struct cmd *c, struct xerr *err);
int cmd_vm_copy(struct cmd *c, struct xerr *err);
int cmd_vm_crashdump_list(struct cmd *c, struct xerr *err);
int cmd_vm_create(struct cmd *c, struct xerr *err);
int cmd_vm_destroy(struct cmd *c, struct xerr *err);
int cmd_vm_disk_add(struct cmd *c, struct xerr *err);
int cmd_vm_disk_list(struct cmd *c, struct xerr *err);
int cmd_vm_disk_remove(struct cmd *c, struct xerr *err);
int cmd_vm_export(struct cmd *c, struct xerr *err);
int cmd_vm_import(struct cmd *c, struct xerr *err);
int cmd_vm_install(struct cmd *c, struct xerr *err);
int cmd_vm_is_bios_customized(struct cmd *c, struct xerr *err);
int cmd_vm_migrate(struct cmd *c, struct xerr *err);
int cmd_vm_resume(struct cmd *c, struct xerr *err);
int cmd_vm_shutdown(struct cmd *c, struct xerr *err);
int cmd_vm_snapshot(struct cmd *c, struct xerr *err);
int cmd_vm_snapshot_quiesce(struct cmd *c, struct xerr *err);
int cmd_vm_start(struct cmd *c, struct xerr *err);
int cmd_vm_suspend(struct cmd *c, struct xerr *err);
int cmd_vm_sysprep(struct cmd *c, struct xerr *err);
int cmd_vm_uninstall(struct cmd *c, struct xerr *err);
int cmd_vm_vif_list(struct cmd *c, struct xerr *err);
int cmd_vm_wlb_recommendations(struct cmd *c, struct xerr *err);

#endif
