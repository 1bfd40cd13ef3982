/* The guest templates that every pool has, with their fixed uuids.
 * Called by: startup.  Calls: gen/templates, db/. */
#include "gen/templates.h"

#include "lib/strbuf.h"
#include "xapi/call/lifecycle.h"
#include "xapi/startup.h"
#include "xapi/vm.h"

enum { WINDOWS_MAX_NICS = 7 };   /* that the drivers of XenServer's tools for Windows serve */

static void put_xml_bool(struct strbuf *b, const char *field, bool yes)
{
    strbuf_printf(b, "<restriction field=\"%s\" value=\"%s\"/>", field, yes ? "yes" : "no");
}

/* What a guest of this kind may be given: clients draw their sliders from it. */
static char *recommendations(const struct guest_template *g)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_str(&b, "<restrictions>");
    strbuf_printf(&b, "<restriction field=\"memory-static-max\" max=\"%llu\"/>", (unsigned long long)g->max_memory_bytes);
    strbuf_printf(&b, "<restriction field=\"vcpus-max\" max=\"%lld\"/>", (long long)g->vcpus_max);
    strbuf_str(&b, "<restriction field=\"vcpus-min\" min=\"1\"/>");
    strbuf_printf(&b, "<restriction field=\"has-vendor-device\" value=\"%s\"/>", g->has_vendor_device ? "true" : "false");
    strbuf_str(&b, "<restriction field=\"allow-gpu-passthrough\" value=\"1\"/><restriction field=\"allow-vgpu\" value=\"1\"/>"
                   "<restriction field=\"allow-network-sriov\" value=\"1\"/>");
    put_xml_bool(&b, "supports-bios", !streq(g->firmware, "uefi"));
    put_xml_bool(&b, "supports-uefi", g->supports_uefi);
    put_xml_bool(&b, "supports-secure-boot", g->supports_secure_boot);
    strbuf_printf(&b, "<restriction max=\"%d\" property=\"number-of-vbds\"/><restriction max=\"%d\" property=\"number-of-vifs\"/>",
                  VM_MAX_DISKS, has_prefix(g->name_label, "Windows") ? WINDOWS_MAX_NICS : VM_MAX_NICS);
    strbuf_str(&b, "</restrictions>");
    return strbuf_take(&b);
}

/* The disks that provisioning will make, as the reference writes them. */
static char *provision_xml(const struct guest_template *g)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_str(&b, "<provision>");
    for (const struct template_disk *d = g->disks; d->device; d++)
        strbuf_printf(&b, "<disk device=\"%s\" size=\"%llu\" sr=\"\" bootable=\"%s\" type=\"system\"/>", d->device,
                      (unsigned long long)d->size_bytes, d->bootable ? "true" : "false");
    strbuf_str(&b, "</provision>");
    return strbuf_take(&b);
}

static void write_other_config(struct txn *t, struct ref vm, const struct guest_template *g)
{
    const struct {
        const char *key, *value;
    } pairs[] = {
        { "default_template", "true" },
        { "linux_template", g->linux_template ? "true" : "" },
        { "install-methods", g->install_methods },
        { "install-distro", g->install_distro },
        { "install-arch", g->install_arch },
    };
    char seed[UUID_TEXT];

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
        if (*pairs[i].value) txn_map_put_str(t, vm, F_VM_other_config, pairs[i].key, pairs[i].value);
    txn_map_put_str(t, vm, F_VM_other_config, "mac_seed", uuid_new(seed));
    if (g->disks->device) {
        _cleanup_free_ char *disks = provision_xml(g);
        txn_map_put_str(t, vm, F_VM_other_config, "disks", disks);
    }
}

static void write_platform(struct txn *t, struct ref vm, const struct guest_template *g)
{
    static const char *const always[] = { "nx", "acpi", "apic", "pae", "hpet" };

    for (size_t i = 0; i < ARRAY_SIZE(always); i++) txn_map_put_str(t, vm, F_VM_platform, always[i], "true");
    txn_map_put_str(t, vm, F_VM_platform, "cores-per-socket", "1");
    for (const struct template_platform *p = g->platform; p->key; p++)
        txn_map_put_str(t, vm, F_VM_platform, p->key, p->value);
}

static void write_boot(struct txn *t, struct ref vm, const struct guest_template *g)
{
    if (streq(g->firmware, "pv")) {
        txn_set_enum(t, vm, F_VM_domain_type, domain_type_pv);
        txn_set_str(t, vm, F_VM_PV_bootloader, g->linux_template ? "eliloader" : "pygrub");
        return;
    }
    txn_set_enum(t, vm, F_VM_domain_type, domain_type_hvm);
    txn_set_str(t, vm, F_VM_HVM_boot_policy, "BIOS order");
    txn_map_put_str(t, vm, F_VM_HVM_boot_params, "order", *g->boot_order ? g->boot_order : "cdn");
    txn_map_put_str(t, vm, F_VM_HVM_boot_params, "firmware", g->firmware);
}

static void create_template(struct txn *t, const struct guest_template *g)
{
    static const field_id memory[] = { F_VM_memory_static_max, F_VM_memory_dynamic_max, F_VM_memory_dynamic_min,
                                       F_VM_memory_static_min };
    struct ref vm = ref_new(), metrics = ref_new();
    _cleanup_free_ char *limits = recommendations(g);
    _cleanup_free_ char *description = xasprintf("Template that allows VM installation of %s", g->name_label);

    txn_create(t, CLASS_VM_metrics, metrics);
    txn_create(t, CLASS_VM, vm);
    txn_set_str(t, vm, F_VM_uuid, g->uuid);
    txn_set_str(t, vm, F_VM_name_label, g->name_label);
    txn_set_str(t, vm, F_VM_name_description, description);
    txn_set_str(t, vm, F_VM_reference_label, g->reference_label);
    txn_set_bool(t, vm, F_VM_is_a_template, true);
    txn_set_bool(t, vm, F_VM_is_default_template, true);
    txn_set_int(t, vm, F_VM_domid, -1);
    txn_set_ref(t, vm, F_VM_metrics, metrics);
    txn_set_str(t, vm, F_VM_recommendations, limits);
    txn_set_bool(t, vm, F_VM_has_vendor_device, g->has_vendor_device);
    for (size_t i = 0; i < ARRAY_SIZE(memory); i++) txn_set_int(t, vm, memory[i], (int64_t)g->min_memory_bytes);
    txn_set_int(t, vm, F_VM_VCPUs_max, g->vcpus > 0 ? g->vcpus : 1);
    txn_set_int(t, vm, F_VM_VCPUs_at_startup, g->vcpus > 0 ? g->vcpus : 1);
    txn_set_enum(t, vm, F_VM_actions_after_shutdown, on_normal_exit_destroy);
    txn_set_enum(t, vm, F_VM_actions_after_reboot, on_normal_exit_restart);
    txn_set_enum(t, vm, F_VM_actions_after_crash, on_crash_behaviour_restart);
    write_platform(t, vm, g);
    write_boot(t, vm, g);
    write_other_config(t, vm, g);
    lifecycle_refresh(t, CLASS_VM, vm);
}

int template_startup(struct agent *agent, struct xerr *err)
{
    struct txn *t = db_begin(agent->db);

    for (const struct guest_template *g = guest_templates; g->uuid; g++)
        if (!snap_by_uuid(txn_snap(t), CLASS_VM, g->uuid)) create_template(t, g);
        else lifecycle_refresh(t, CLASS_VM, row_ref_of(snap_by_uuid(txn_snap(t), CLASS_VM, g->uuid)));
    return db_commit(t, err);
}
