/* Fields of the command line that are not simply a field of the model.
 * Called by: cmd_field.c, cmd_record.c.  Calls: cmd. */
#include "xe/cmd_quirk.h"

static const char not_in_database[] = "<not in database>";
static const char unknown[] = "<unknown>";

/* The row's record, fetched when the row came without. */
static const struct value *record_of(struct cmd *c, struct cmd_object_row *row)
{
    if (!row->record) row->record = cmd_object_record(c, row->type->cls, row->ref);
    return row->record;
}

/* The whole record: rows of lists may hold fewer fields. */
static const struct value *whole_record(struct cmd *c, struct cmd_object_row *row)
{
    const struct value *record = cmd_object_record(c, row->type->cls, row->ref);

    return record ? record : record_of(c, row);
}

static const char *uuid_text(struct cmd *c, int cls, struct ref ref)
{
    struct cmd_object object;

    return c->env->lookup(c->env->arg, cls, ref, c->arena, &object) ? object.uuid : not_in_database;
}

static const char *name_text(struct cmd *c, int cls, struct ref ref)
{
    struct cmd_object object;

    return c->env->lookup(c->env->arg, cls, ref, c->arena, &object) && object.name ? object.name
                                                                                   : not_in_database;
}

/* ---- measured values --------------------------------------------------------------------------------- */

/* A data source of a VM or host. False when it has no value. */
static bool query(struct cmd *c, const char *method, struct ref of, const char *source, double *ret_value)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct value v;

    if (cmd_call(c, method, CMD_ARGS(value_ref(of), value_string(source)), &v, &ignored) < 0) return false;
    if (v.kind != VALUE_FLOAT) return false;
    *ret_value = v.d;
    return true;
}

static int get_rate(struct cmd *c, const char *method, struct ref of, const char *source,
                    struct value *ret_value)
{
    double bytes;

    if (query(c, method, of, source, &bytes))
        *ret_value = value_string(arena_printf(c->arena, "%.3f", bytes / 1024));
    else
        *ret_value = value_string(unknown);
    return 0;
}

#define DEVICE_RATE(name, owner, method, format) \
    static int name(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err) \
    { \
        const struct value *r = whole_record(c, row); \
        const char *source = arena_printf(c->arena, format, cmd_member_text(r, "device")); \
        (void)err; \
        return get_rate(c, method, cmd_member_ref(r, owner), source, ret_value); \
    }
DEVICE_RATE(pif_read, "host", "host.query_data_source", "pif_%s_rx")
DEVICE_RATE(pif_write, "host", "host.query_data_source", "pif_%s_tx")
DEVICE_RATE(vif_read, "VM", "VM.query_data_source", "vif_%s_rx")
DEVICE_RATE(vif_write, "VM", "VM.query_data_source", "vif_%s_tx")
DEVICE_RATE(vbd_read, "VM", "VM.query_data_source", "vbd_%s_read")
DEVICE_RATE(vbd_write, "VM", "VM.query_data_source", "vbd_%s_write")

static int cpu_utilisation(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                           struct xerr *err)
{
    const struct value *r = whole_record(c, row);
    const char *source = arena_printf(c->arena, "cpu%lld", (long long)cmd_member_int(r, "number"));
    double d;

    (void)err;
    *ret_value = value_string(query(c, "host.query_data_source", cmd_member_ref(r, "host"), source, &d)
                                  ? arena_printf(c->arena, "%.3f", d) : unknown);
    return 0;
}

static int vm_memory_target(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                            struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct value v;

    (void)err;
    if (cmd_call(c, "VM.query_data_source", CMD_ARGS(value_ref(row->ref), value_string("memory_target")), &v,
                 &why) == 0 &&
        v.kind == VALUE_FLOAT)
        *ret_value = value_string(arena_printf(c->arena, "%.0f", v.d));
    else
        *ret_value = value_string(why.code && xerr_is(&why, "VM_BAD_POWER_STATE") ? "0" : unknown);
    return 0;
}

static int vm_cpu_utilisation(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                              struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    const struct value *metrics = cmd_object_record(c, CLASS_VM_metrics,
                                                    cmd_member_ref(whole_record(c, row), "metrics"));
    int64_t n = metrics ? cmd_member_int(metrics, "VCPUs_number") : 0;

    (void)err;
    for (int64_t i = 0; i < n; i++) {
        double d;

        if (!query(c, "VM.query_data_source", row->ref, arena_printf(c->arena, "cpu%lld", (long long)i), &d))
            break;
        value_put_new(&b, arena_printf(c->arena, "%lld", (long long)i),
                      value_string(arena_printf(c->arena, "%.3f", d)));
    }
    *ret_value = value_built_map(&b);
    return 0;
}

/* ---- asked from the API ------------------------------------------------------------------------------ */

/* The result of a message about the object, as it is shown; what when it fails (NULL: fail as well). */
static int ask(struct cmd *c, const char *method, struct ref self, const struct value *when_failed,
               struct value *ret_value, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct value v;

    if (cmd_call(c, method, CMD_ARGS(value_ref(self)), &v, when_failed ? &ignored : err) < 0) {
        if (!when_failed) return -1;
        *ret_value = *when_failed;
        return 0;
    }
    *ret_value = v.kind == VALUE_SET || v.kind == VALUE_MAP ? v : value_string(cmd_value_text(c, NULL, &v));
    return 0;
}

static int vm_vbd_devices(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                          struct xerr *err)
{
    const struct value none = value_set(NULL, 0);

    return ask(c, "VM.get_allowed_VBD_devices", row->ref, &none, ret_value, err);
}

static int vm_vif_devices(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                          struct xerr *err)
{
    const struct value none = value_set(NULL, 0);

    return ask(c, "VM.get_allowed_VIF_devices", row->ref, &none, ret_value, err);
}

static int vm_possible_hosts(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                             struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    struct value hosts;

    if (cmd_call(c, "VM.get_possible_hosts", CMD_ARGS(value_ref(row->ref)), &hosts, err) < 0) return -1;
    for (size_t i = 0; hosts.kind == VALUE_SET && i < hosts.set.n; i++)
        value_push(&b, value_string(uuid_text(c, CLASS_host, cmd_as_ref(&hosts.set.items[i]))));
    *ret_value = value_built_set(&b);
    return 0;
}

static int vm_cooperative(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                          struct xerr *err)
{
    const struct value yes = value_string("true");

    return ask(c, "VM.get_cooperative", row->ref, &yes, ret_value, err);
}

static int vm_last_boot_record(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                               struct xerr *err)
{
    (void)err;
    *ret_value = value_string(
        arena_printf(c->arena, "'%s'", cmd_member_text(whole_record(c, row), "last_booted_record")));
    return 0;
}

static int vbd_attachable(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                          struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    (void)err;
    if (cmd_do(c, "VBD.assert_attachable", CMD_ARGS(value_ref(row->ref)), &why) < 0) {
        _cleanup_free_ char *text = xerr_text(&why);

        *ret_value = value_string(arena_printf(c->arena, "false (error: %s)", text));
    } else {
        *ret_value = value_string("true");
    }
    return 0;
}

static int vbd_vdi_name(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    const struct value *r = whole_record(c, row);

    (void)err;
    *ret_value = value_string(
        cmd_member_bool(r, "empty") ? "<EMPTY>" : name_text(c, CLASS_VDI, cmd_member_ref(r, "VDI")));
    return 0;
}

static int host_memory_free_computed(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                                     struct xerr *err)
{
    return ask(c, "host.compute_free_memory", row->ref, NULL, ret_value, err);
}

static int sriov_remaining(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                           struct xerr *err)
{
    const struct value no = value_string(unknown);

    return ask(c, "network_sriov.get_remaining_capacity", row->ref, &no, ret_value, err);
}

static int pool_sr_types(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    (void)row;
    return cmd_call(c, "SR.get_supported_types", NULL, 0, ret_value, err);
}

static int pool_license_state(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                              struct xerr *err)
{
    const struct value no = value_string(unknown);

    return ask(c, "pool.get_license_state", row->ref, &no, ret_value, err);
}

/* ---- through other objects --------------------------------------------------------------------------- */

static int sr_host(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    const struct value *pbds = value_get(whole_record(c, row), "PBDs");
    size_t n = pbds && pbds->kind == VALUE_SET ? pbds->set.n : 0;
    const struct value *pbd =
        n == 1 ? cmd_object_record(c, CLASS_PBD, cmd_as_ref(&pbds->set.items[0])) : NULL;

    (void)err;
    if (n > 1)
        *ret_value = value_string("<shared>");
    else
        *ret_value =
            value_string(pbd ? name_text(c, CLASS_host, cmd_member_ref(pbd, "host")) : not_in_database);
    return 0;
}

static const struct value *pif_metrics(struct cmd *c, struct cmd_object_row *row)
{
    return cmd_object_record(c, CLASS_PIF_metrics, cmd_member_ref(whole_record(c, row), "metrics"));
}

static int pif_speed(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    const struct value *m = pif_metrics(c, row);

    (void)err;
    *ret_value = value_string(m ? arena_printf(c->arena, "%lld Mbit/s", (long long)cmd_member_int(m, "speed"))
                                : not_in_database);
    return 0;
}

static int pif_duplex(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    const struct value *m = pif_metrics(c, row);

    (void)err;
    if (!m)
        *ret_value = value_string(not_in_database);
    else if (cmd_member_bool(m, "duplex"))
        *ret_value = value_string("full");
    else
        *ret_value = value_string(cmd_member_bool(m, "carrier") ? "half" : "unknown");
    return 0;
}

/* One field of each object in a set of references, as texts. */
static int each_member(struct cmd *c, const struct value *refs, int cls, const char *field,
                       struct value *ret_value)
{
    const struct field_desc *f = model_field_by_name(&model.classes[cls], field);
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; refs && refs->kind == VALUE_SET && i < refs->set.n; i++) {
        const struct value *r = cmd_object_record(c, cls, cmd_as_ref(&refs->set.items[i]));
        const struct value *v = r ? value_get(r, field) : NULL;

        value_push(&b, value_string(v && f ? cmd_value_text(c, f->type, v) : not_in_database));
    }
    *ret_value = value_built_set(&b);
    return 0;
}

static int host_patches(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    (void)err;
    return each_member(c, value_get(whole_record(c, row), "patches"), CLASS_host_patch, "pool_patch",
                       ret_value);
}

static int patch_hosts(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    (void)err;
    return each_member(c, value_get(whole_record(c, row), "host_patches"), CLASS_host_patch, "host",
                       ret_value);
}

static int pgpu_dependencies(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                             struct xerr *err)
{
    const struct value *pci = cmd_object_record(c, CLASS_PCI, cmd_member_ref(whole_record(c, row), "PCI"));

    (void)err;
    return each_member(c, pci ? value_get(pci, "dependencies") : NULL, CLASS_PCI, "pci_id", ret_value);
}

static int pci_dependencies(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                            struct xerr *err)
{
    (void)err;
    return each_member(c, value_get(whole_record(c, row), "dependencies"), CLASS_PCI, "pci_id", ret_value);
}

static int driver_variants(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                           struct xerr *err)
{
    (void)err;
    return each_member(c, value_get(whole_record(c, row), "variants"), CLASS_Driver_variant, "name",
                       ret_value);
}

static int driver_variants_status(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                                  struct xerr *err)
{
    (void)err;
    return each_member(c, value_get(whole_record(c, row), "variants"), CLASS_Driver_variant, "status",
                       ret_value);
}

static int driver_variants_hardware(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                                    struct xerr *err)
{
    (void)err;
    return each_member(c, value_get(whole_record(c, row), "variants"), CLASS_Driver_variant,
                       "hardware_present", ret_value);
}

/* Is this variant the one that its driver names in a field? */
static int variant_is(struct cmd *c, struct cmd_object_row *row, const char *field, struct value *ret_value)
{
    const struct value *d =
        cmd_object_record(c, CLASS_Host_driver, cmd_member_ref(whole_record(c, row), "driver"));

    *ret_value = value_string(d && ref_eq(cmd_member_ref(d, field), row->ref) ? "true" : "false");
    return 0;
}

static int variant_active(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                          struct xerr *err)
{
    (void)err;
    return variant_is(c, row, "active_variant", ret_value);
}

static int variant_selected(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                            struct xerr *err)
{
    (void)err;
    return variant_is(c, row, "selected_variant", ret_value);
}

/* ---- a matter of form -------------------------------------------------------------------------------- */

static int pool_vswitch(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    const char *address = cmd_member_text(whole_record(c, row), "vswitch_controller");

    (void)err;
    *ret_value = value_string(*address ? address : "<not set>");
    return 0;
}

/* VDIs that stand as reference texts in a set of strings. */
static int ha_statefiles(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    const struct value *texts = value_get(whole_record(c, row), "ha_statefiles");
    struct value_builder b = value_builder(c->arena);

    (void)err;
    for (size_t i = 0; texts && texts->kind == VALUE_SET && i < texts->set.n; i++)
        value_push(&b, value_string(uuid_text(c, CLASS_VDI, cmd_as_ref(&texts->set.items[i]))));
    *ret_value = value_built_set(&b);
    return 0;
}

static int vgpu_type_resolution(struct cmd *c, struct cmd_object_row *row, struct value *ret_value,
                                struct xerr *err)
{
    const struct value *r = whole_record(c, row);

    (void)err;
    *ret_value =
        value_string(arena_printf(c->arena, "%lldx%lld", (long long)cmd_member_int(r, "max_resolution_x"),
                                  (long long)cmd_member_int(r, "max_resolution_y")));
    return 0;
}

static int vgpu_metadata(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err)
{
    const struct value *map = value_get(whole_record(c, row), "compatibility_metadata");
    struct value_builder b = value_builder(c->arena);

    (void)err;
    for (size_t i = 0; map && map->kind == VALUE_MAP && i < map->map.n; i++) {
        const struct member *m = &map->map.members[i];

        value_push(&b, value_string(arena_printf(c->arena, "%s:(%zu bytes)", m->key,
                                                 m->value.kind == VALUE_STRING ? m->value.len : 0)));
    }
    *ret_value = value_built_set(&b);
    return 0;
}

/* A setting of hosts, shown for the pool: the value when all hosts agree. */
static int of_every_host(struct cmd *c, const char *field, struct value *ret_value, struct xerr *err)
{
    const struct field_desc *f = model_field_by_name(&model.classes[CLASS_host], field);
    const char *first = NULL;
    struct value all;

    if (cmd_all(c, CLASS_host, f ? &f->id : NULL, f ? 1 : 0, &all, err) < 0) return -1;
    for (size_t i = 0; all.kind == VALUE_MAP && i < all.map.n; i++) {
        const struct value *v = value_get(&all.map.members[i].value, field);
        const char *text = v && f ? cmd_value_text(c, f->type, v) : unknown;

        if (first && !streq(first, text)) {
            *ret_value = value_string("<mixed>");
            return 0;
        }
        first = text;
    }
    *ret_value = value_string(first ? first : unknown);
    return 0;
}

#define HOST_SETTING(name, field) \
    static int name(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err) \
    { \
        (void)row; \
        return of_every_host(c, field, ret_value, err); \
    }
HOST_SETTING(pool_https_only, "https_only")
HOST_SETTING(pool_ssh_enabled, "ssh_enabled")
HOST_SETTING(pool_ssh_timeout, "ssh_enabled_timeout")
HOST_SETTING(pool_ssh_expiry, "ssh_expiry")
HOST_SETTING(pool_console_timeout, "console_idle_timeout")
HOST_SETTING(pool_ssh_auto, "ssh_auto_mode")

/* ---- the table --------------------------------------------------------------------------------------- */

static const struct field_quirk quirks[] = {
    { CLASS_VM, "memory-target", .flags = QUIRK_NUMBER, .get = vm_memory_target },
    { CLASS_VM, "memory-static-max", .flags = QUIRK_BYTES },
    { CLASS_VM, "memory-static-min", .flags = QUIRK_BYTES },
    { CLASS_VM, "memory-dynamic-max", .flags = QUIRK_BYTES },
    { CLASS_VM, "memory-dynamic-min", .flags = QUIRK_BYTES },
    { CLASS_VM, "hvm", .missing = "false" },
    { CLASS_VM, "nomigrate", .missing = "false" },
    { CLASS_VM, "nested-virt", .missing = "false" },
    { CLASS_VM, "start-time", .missing = "<unknown time>" },
    { CLASS_VM, "install-time", .missing = "<unknown time>" },
    { CLASS_VM, "allowed-VBD-devices", .get = vm_vbd_devices },
    { CLASS_VM, "allowed-VIF-devices", .get = vm_vif_devices },
    { CLASS_VM, "possible-hosts", .get = vm_possible_hosts },
    { CLASS_VM, "last-boot-record", .get = vm_last_boot_record },
    { CLASS_VM, "VCPUs-utilisation", .flags = QUIRK_NUMBER, .get = vm_cpu_utilisation },
    { CLASS_VM, "cooperative", .flags = QUIRK_BOOL, .get = vm_cooperative },
    { CLASS_VM, "tags", .flags = QUIRK_COMMA },
    { CLASS_VIF, "MAC", .flags = QUIRK_NO_CASE },
    { CLASS_VIF, "io_read_kbs", .flags = QUIRK_NUMBER, .get = vif_read },
    { CLASS_VIF, "io_write_kbs", .flags = QUIRK_NUMBER, .get = vif_write },
    { CLASS_PIF, "MAC", .flags = QUIRK_NO_CASE },
    { CLASS_PIF, "io_read_kbs", .flags = QUIRK_NUMBER, .get = pif_read },
    { CLASS_PIF, "io_write_kbs", .flags = QUIRK_NUMBER, .get = pif_write },
    { CLASS_PIF, "speed", .get = pif_speed },
    { CLASS_PIF, "duplex", .get = pif_duplex },
    { CLASS_VBD, "vdi-name-label", .get = vbd_vdi_name },
    { CLASS_VBD, "attachable", .flags = QUIRK_BOOL, .get = vbd_attachable },
    { CLASS_VBD, "io_read_kbs", .flags = QUIRK_NUMBER, .get = vbd_read },
    { CLASS_VBD, "io_write_kbs", .flags = QUIRK_NUMBER, .get = vbd_write },
    { CLASS_network, "tags", .flags = QUIRK_COMMA },
    { CLASS_network, "purpose", .flags = QUIRK_COMMA },
    { CLASS_host, "memory-free-computed", .flags = QUIRK_NUMBER, .get = host_memory_free_computed },
    { CLASS_host, "host-metrics-live", .field = F_host_metrics, .through = F_host_metrics_live },
    { CLASS_host, "patches", .flags = QUIRK_COMMA, .get = host_patches },
    { CLASS_host, "updates", .flags = QUIRK_COMMA },
    { CLASS_host, "tags", .flags = QUIRK_COMMA },
    { CLASS_host, "ha-statefiles", .get = ha_statefiles },
    { CLASS_host_cpu, "utilisation", .flags = QUIRK_NUMBER, .get = cpu_utilisation },
    { CLASS_pool, "supported-sr-types", .get = pool_sr_types },
    { CLASS_pool, "license-state", .get = pool_license_state },
    { CLASS_pool, "vswitch-controller", .get = pool_vswitch },
    { CLASS_pool, "ha-statefiles", .get = ha_statefiles },
    { CLASS_pool, "tags", .flags = QUIRK_COMMA },
    { CLASS_pool, "https-only", .flags = QUIRK_BOOL, .get = pool_https_only },
    { CLASS_pool, "ssh-enabled", .flags = QUIRK_BOOL, .get = pool_ssh_enabled },
    { CLASS_pool, "ssh-enabled-timeout", .flags = QUIRK_NUMBER, .get = pool_ssh_timeout },
    { CLASS_pool, "ssh-expiry", .get = pool_ssh_expiry },
    { CLASS_pool, "console-idle-timeout", .flags = QUIRK_NUMBER, .get = pool_console_timeout },
    { CLASS_pool, "ssh-auto-mode", .get = pool_ssh_auto },
    { CLASS_SR, "host", .get = sr_host },
    { CLASS_SR, "tags", .flags = QUIRK_COMMA },
    { CLASS_SM, "required-cluster-stack", .flags = QUIRK_COMMA },
    { CLASS_VDI, "tags", .flags = QUIRK_COMMA },
    { CLASS_VDI, "crashdump-uuids", .field = F_VDI_crash_dumps },
    { CLASS_pool_patch, "hosts", .flags = QUIRK_COMMA, .get = patch_hosts },
    { CLASS_pool_patch, "after-apply-guidance", .flags = QUIRK_COMMA },
    { CLASS_pool_patch, "update", .field = F_pool_patch_pool_update },
    { CLASS_pool_update, "hosts", .flags = QUIRK_COMMA },
    { CLASS_pool_update, "after-apply-guidance", .flags = QUIRK_COMMA },
    { CLASS_role, "name", .field = F_role_name_label },
    { CLASS_role, "description", .field = F_role_name_description },
    { CLASS_subject, "roles", .flags = QUIRK_NAMES },
    { CLASS_message, "class", .field = F_message_cls },
    { CLASS_PGPU, "vendor-name", .field = F_PGPU_PCI, .through = F_PCI_vendor_name },
    { CLASS_PGPU, "device-name", .field = F_PGPU_PCI, .through = F_PCI_device_name },
    { CLASS_PGPU, "pci-id", .field = F_PGPU_PCI, .through = F_PCI_pci_id },
    { CLASS_PGPU, "dependencies", .get = pgpu_dependencies },
    { CLASS_PCI, "dependencies", .get = pci_dependencies },
    { CLASS_VGPU, "type-model-name", .field = F_VGPU_type, .through = F_VGPU_type_model_name },
    { CLASS_VGPU, "pci", .field = F_VGPU_PCI, .through = F_PCI_pci_id },
    { CLASS_VGPU, "compatibility-metadata", .get = vgpu_metadata },
    { CLASS_VGPU_type, "max-resolution", .get = vgpu_type_resolution },
    { CLASS_PVS_site, "pvs-cache-storage-uuids", .field = F_PVS_site_cache_storage },
    { CLASS_PVS_site, "pvs-server-uuids", .field = F_PVS_site_servers },
    { CLASS_PVS_site, "pvs-proxy-uuids", .field = F_PVS_site_proxies },
    { CLASS_PVS_server, "pvs-site-uuid", .field = F_PVS_server_site },
    { CLASS_PVS_proxy, "pvs-site-uuid", .field = F_PVS_proxy_site },
    { CLASS_PVS_cache_storage, "pvs-site-uuid", .field = F_PVS_cache_storage_site },
    { CLASS_network_sriov, "remaining-capacity", .flags = QUIRK_NUMBER, .get = sriov_remaining },
    { CLASS_Driver_variant, "active", .flags = QUIRK_BOOL, .get = variant_active },
    { CLASS_Driver_variant, "selected", .flags = QUIRK_BOOL, .get = variant_selected },
    { CLASS_Driver_variant, "driver-name", .field = F_Driver_variant_driver, .through = F_Host_driver_name },
    { CLASS_Driver_variant, "host-uuid", .field = F_Driver_variant_driver, .through = F_Host_driver_host },
    { CLASS_Driver_variant, "hw-present", .field = F_Driver_variant_hardware_present },
    { CLASS_Host_driver, "variants", .get = driver_variants },
    { CLASS_Host_driver, "variants-dev-status", .get = driver_variants_status },
    { CLASS_Host_driver, "variants-uuid", .field = F_Host_driver_variants },
    { CLASS_Host_driver, "variants-hw-present", .flags = QUIRK_BOOL, .get = driver_variants_hardware },
};

const struct field_quirk *field_quirk(int cls, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(quirks); i++)
        if (quirks[i].cls == cls && streq(quirks[i].name, name)) return &quirks[i];
    return NULL;
}
