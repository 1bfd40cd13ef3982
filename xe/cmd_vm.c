/* Commands for VMs: power, install, clone, snapshot, uninstall.
 * Called by: commands.c.  Calls: cmd_call, cmd_select, libxml2. */
#include "xe/commands.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

/* ---- why a VM cannot start --------------------------------------------------------------------------- */

static const char *error_param(struct cmd *c, const struct xerr *err, size_t i)
{
    return i < err->n ? cmd_ref_text(c, err->params[i]) : "<server did not provide reference>";
}

const char *cmd_start_problem(struct cmd *c, const struct xerr *err)
{
    static const struct { const char *code, *text; } plain[] = {
        { "HOST_DISABLED", "Host disabled (use 'xe host-enable' to re-enable)" },
        { "HOST_DISABLED_INDEFINITELY", "Host disabled indefinitely (use 'xe host-enable' to re-enable)" },
        { "HOST_NOT_LIVE", "Host down" },
        { "HOST_NOT_ENOUGH_FREE_MEMORY", "Not enough free memory" },
        { "VM_HVM_REQUIRED", "HVM not supported" },
    };
    static const struct { const char *code, *text; size_t param; } about[] = {
        { "VM_REQUIRES_SR", "VM requires access to SR", 1 },
        { "VM_REQUIRES_NETWORK", "VM requires access to network", 1 },
        { "HOST_CANNOT_ATTACH_NETWORK", "Host cannot attach to network", 1 },
        { "HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", "VM needs a storage repository that is not shared", 0 },
        { "HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", "VM needs a network that not every host has", 0 },
    };
    _cleanup_free_ char *text = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        if (xerr_is(err, plain[i].code)) return plain[i].text;
    for (size_t i = 0; i < ARRAY_SIZE(about); i++)
        if (xerr_is(err, about[i].code))
            return arena_printf(c->arena, "%s: %s", about[i].text, error_param(c, err, about[i].param));
    if (xerr_is(err, "HOST_NOT_ENOUGH_PCPUS") && err->n == 2)
        return arena_printf(c->arena, "Not enough CPUs (VM needs %s, but host has %s)", err->params[0],
                            err->params[1]);
    text = xerr_text(err);
    return arena_strdup(c->arena, text);
}

int cmd_vm_host_report(struct cmd *c, struct ref vm, struct xerr *err)
{
    const field_id fields[] = { F_host_name_label };
    struct cmd_pair *pairs;
    struct value hosts;
    size_t n = 0;

    if (cmd_all(c, CLASS_host, fields, ARRAY_SIZE(fields), &hosts, err) < 0) return -1;
    if (hosts.kind != VALUE_MAP) return 0;
    pairs = arena_new_array(c->arena, struct cmd_pair, hosts.map.n + 1);
    for (size_t i = 0; i < hosts.map.n; i++) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        struct ref host;

        if (!ref_parse(hosts.map.members[i].key, &host)) continue;
        pairs[n].name = cmd_member_text(&hosts.map.members[i].value, "name_label");
        if (cmd_do(c, "VM.assert_can_boot_here", CMD_ARGS(value_ref(vm), value_ref(host)), &why) == 0)
            pairs[n++].value = "OK";
        else
            pairs[n++].value = arena_printf(c->arena, "Cannot start here [%s]", cmd_start_problem(c, &why));
    }
    cmd_row(c, pairs, n);
    return 0;
}

/* Adds the table of hosts when no host would do. Returns rc. */
static int explain_no_hosts(struct cmd *c, struct ref vm, int rc, const struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;

    if (rc == 0 || !xerr_is(err, "NO_HOSTS_AVAILABLE")) return rc;
    cmd_item(c, "There are no suitable hosts to start this VM on.");
    cmd_item(c, "The following table provides per-host reasons for why the VM could not be started:");
    cmd_item(c, "");
    (void)cmd_vm_host_report(c, vm, &ignored);
    return rc;
}

/* ---- power ------------------------------------------------------------------------------------------- */

/* What the command line says for start and resume. */
struct start_options {
    bool force, paused;
    struct ref on;                     /* null = anywhere */
    const char *anywhere, *somewhere;  /* the two messages */
};

static int read_start_options(struct cmd *c, struct start_options *o, struct xerr *err)
{
    const char *on = cmd_get(c, "on");

    if (cmd_get_bool(c, "force", false, &o->force, err) < 0) return -1;
    if (cmd_get_bool(c, "paused", false, &o->paused, err) < 0) return -1;
    return on ? cmd_host_named(c, on, &o->on, err) : 0;
}

static int start_one(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    const struct start_options *o = arg;
    int rc;

    if (ref_is_null(o->on))
        rc = cmd_work(c, o->anywhere,
                      CMD_ARGS(value_ref(vm->ref), value_bool(o->paused), value_bool(o->force)), NULL, err);
    else
        rc = cmd_work(
            c, o->somewhere,
            CMD_ARGS(value_ref(vm->ref), value_ref(o->on), value_bool(o->paused), value_bool(o->force)), NULL,
            err);
    return explain_no_hosts(c, vm->ref, rc, err);
}

int cmd_vm_start(struct cmd *c, struct xerr *err)
{
    struct start_options o = { .anywhere = "VM.start", .somewhere = "VM.start_on" };

    if (read_start_options(c, &o, err) < 0) return -1;
    return cmd_each(c, "vm", CMD_CONTROL_VMS, "on,paused", start_one, &o, err);
}

int cmd_vm_resume(struct cmd *c, struct xerr *err)
{
    struct start_options o = { .anywhere = "VM.resume", .somewhere = "VM.resume_on" };

    if (read_start_options(c, &o, err) < 0) return -1;
    return cmd_each(c, "vm", 0, "on,paused", start_one, &o, err);
}

static int work_on_vm(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    return cmd_work(c, arg, CMD_ARGS(value_ref(vm->ref)), NULL, err);
}

int cmd_vm_suspend(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "", work_on_vm, (char[]){ "VM.suspend" }, err);
}

int cmd_vm_shutdown(struct cmd *c, struct xerr *err)
{
    bool force;

    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    return cmd_each(c, "vm", 0, "", work_on_vm,
                    force ? (char[]){ "VM.hard_shutdown" } : (char[]){ "VM.clean_shutdown" }, err);
}

/* ---- install ----------------------------------------------------------------------------------------- */

/* The one template of this name. */
static int template_named(struct cmd *c, const char *name, struct ref *ret_vm, struct xerr *err)
{
    const field_id fields[] = { F_VM_name_label, F_VM_is_a_template, F_VM_is_control_domain };
    struct value all;
    size_t found = 0;

    if (cmd_all(c, CLASS_VM, fields, ARRAY_SIZE(fields), &all, err) < 0) return -1;
    for (size_t i = 0; all.kind == VALUE_MAP && i < all.map.n; i++) {
        const struct value *r = &all.map.members[i].value;

        if (!cmd_member_bool(r, "is_a_template") || cmd_member_bool(r, "is_control_domain")) continue;
        if (!streq(cmd_member_text(r, "name_label"), name) || !ref_parse(all.map.members[i].key, ret_vm))
            continue;
        found++;
    }
    if (!found) return cmd_fail(err, "No templates matched");
    return found == 1 ? 0 : cmd_fail(err, "More than one matching template found");
}

static int find_template(struct cmd *c, struct ref *ret_vm, struct xerr *err)
{
    const char *uuid = cmd_get(c, "template-uuid");
    const char *name = cmd_get_or(c, "template-name-label", cmd_get(c, "template-name"));
    const char *either = cmd_get(c, "template");
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;

    if (uuid && cmd_by_uuid(c, CLASS_VM, uuid, ret_vm, &ignored) < 0)
        return cmd_fail(err, "Cannot find template");
    if (uuid) return 0;
    if (name) return template_named(c, name, ret_vm, err);
    if (!either)
        return cmd_fail(err, "Template must be specified by parameter 'template-uuid', 'template-name', "
                             "'template-name-label' or 'template'");
    if (cmd_by_uuid(c, CLASS_VM, either, ret_vm, &ignored) == 0) return 0;
    return template_named(c, either, ret_vm, err);
}

/* The SR of sr-uuid or sr-name-label; null when neither is given. */
static int chosen_sr(struct cmd *c, struct ref *ret_sr, struct xerr *err)
{
    const char *name = cmd_get(c, "sr-name-label");
    struct value named;

    if (cmd_get_ref(c, "sr-uuid", CLASS_SR, ret_sr, err) < 0) return -1;
    if (!name) return 0;
    if (cmd_call(c, "SR.get_by_name_label", CMD_ARGS(value_string(name)), &named, err) < 0) return -1;
    if (named.kind != VALUE_SET || !named.set.n) return cmd_fail(err, "No SR with that name-label found");
    if (ref_is_null(*ret_sr)) {
        if (named.set.n > 1) return cmd_fail(err, "Multiple SRs with that name-label found");
        *ret_sr = cmd_as_ref(&named.set.items[0]);
        return 0;
    }
    for (size_t i = 0; i < named.set.n; i++)
        if (ref_eq(*ret_sr, cmd_as_ref(&named.set.items[i]))) return 0;
    return cmd_fail(err, "SR specified via sr-uuid doesn't have the name specified via sr-name-label");
}

/* Says in a template's list of disks on which SR they are to be made. NULL when the text is no such list. */
static const char *disks_on(struct cmd *c, const char *xml, const char *sr_uuid)
{
    xmlDoc *doc = xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR
                                | XML_PARSE_NOWARNING);
    xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    xmlBuffer *buffer = xmlBufferCreate();
    const char *out = NULL;

    for (xmlNode *node = root ? root->children : NULL; node; node = node->next)
        if (node->type == XML_ELEMENT_NODE && xmlStrEqual(node->name, BAD_CAST "disk"))
            xmlSetProp(node, BAD_CAST "sr", BAD_CAST sr_uuid);
    if (root && buffer && xmlNodeDump(buffer, doc, root, 0, 0) >= 0)
        out = arena_strdup(c->arena, (const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    xmlFreeDoc(doc);
    return out;
}

static int provision_on(struct cmd *c, struct ref vm, struct ref sr, struct xerr *err)
{
    const char *disks, *uuid = "";
    struct value config;

    if (cmd_call(c, "VM.get_other_config", CMD_ARGS(value_ref(vm)), &config, err) < 0) return -1;
    if (!value_get(&config, "disks")) return 0;
    if (ref_is_null(sr) && cmd_default_sr(c, &sr, err) < 0) return -1;
    if (ref_is_null(sr))
        return cmd_fail(err,
                        "Failed to find a valid default SR for the Pool. Please provide an sr-name-label or "
                        "sr-uuid parameter.");
    if (cmd_uuid_of(c, CLASS_SR, sr, &uuid, err) < 0) return -1;
    disks = disks_on(c, cmd_member_text(&config, "disks"), uuid);
    if (!disks) return cmd_fail(err, "The template's list of disks is not valid XML");
    if (cmd_do(c, "VM.remove_from_other_config", CMD_ARGS(value_ref(vm), value_string("disks")), err) < 0)
        return -1;
    return cmd_do(c, "VM.add_to_other_config",
                  CMD_ARGS(value_ref(vm), value_string("disks"), value_string(disks)), err);
}

/* Does the template recommend has-vendor-device? */
static bool recommends_vendor_device(const char *xml)
{
    xmlDoc *doc = *xml ? xmlReadMemory(xml, (int)strlen(xml), NULL, NULL,
                                       XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING) : NULL;
    xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    bool yes = false;

    for (xmlNode *node = root ? root->children : NULL; node && !yes; node = node->next) {
        xmlChar *field, *value;

        if (node->type != XML_ELEMENT_NODE || !xmlStrEqual(node->name, BAD_CAST "restriction")) continue;
        field = xmlGetProp(node, BAD_CAST "field");
        value = xmlGetProp(node, BAD_CAST "value");
        yes = field && value && xmlStrEqual(field, BAD_CAST "has-vendor-device")
              && xmlStrEqual(value, BAD_CAST "true");
        xmlFree(field);
        xmlFree(value);
    }
    xmlFreeDoc(doc);
    return yes;
}

static int set_vendor_device(struct cmd *c, struct ref vm, const char *recommendations, struct xerr *err)
{
    bool wanted = recommends_vendor_device(recommendations);
    struct value refused;
    struct ref pool;

    if (cmd_pool(c, &pool, err) < 0) return -1;
    if (cmd_call(c, "pool.get_policy_no_vendor_device", CMD_ARGS(value_ref(pool)), &refused, err) < 0)
        return -1;
    if (refused.kind == VALUE_BOOL && refused.b) wanted = false;
    return cmd_do(c, "VM.set_has_vendor_device", CMD_ARGS(value_ref(vm), value_bool(wanted)), err);
}

/* The new VM made fit: name, disks, devices. */
static int finish_install(struct cmd *c, const struct value *template, struct ref vm, struct ref sr,
                          struct xerr *err)
{
    struct ref suspend_sr = ref_is_null(sr) ? cmd_member_ref(template, "suspend_SR") : sr;
    struct ref bios_host;

    if (cmd_do(c, "VM.set_name_description", CMD_ARGS(value_ref(vm), value_string("Installed via xe CLI")),
               err) < 0)
        return -1;
    if (cmd_do(c, "VM.set_suspend_SR", CMD_ARGS(value_ref(vm), value_ref(suspend_sr)), err) < 0) return -1;
    if (provision_on(c, vm, sr, err) < 0) return -1;
    if (set_vendor_device(c, vm, cmd_member_text(template, "recommendations"), err) < 0) return -1;
    if (cmd_work(c, "VM.provision", CMD_ARGS(value_ref(vm)), NULL, err) < 0) return -1;
    if (cmd_get_ref(c, "copy-bios-strings-from", CLASS_host, &bios_host, err) < 0) return -1;
    if (!ref_is_null(bios_host)
        && cmd_do(c, "VM.copy_bios_strings", CMD_ARGS(value_ref(vm), value_ref(bios_host)), err) < 0)
        return -1;
    return cmd_print_uuid(c, CLASS_VM, vm, err);
}

int cmd_vm_install(struct cmd *c, struct xerr *err)
{
    const char *name = cmd_need(c, "new-name-label");
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct ref template, sr, vm;
    struct value record;
    bool snapshot;

    if (find_template(c, &template, err) < 0) return -1;
    if (cmd_record(c, CLASS_VM, template, &record, err) < 0) return -1;
    if (!cmd_member_bool(&record, "is_a_template")) return cmd_fail(err, "Can only install from templates");
    snapshot = cmd_member_bool(&record, "is_a_snapshot");
    if (snapshot && (cmd_get(c, "sr-uuid") || cmd_get(c, "sr-name-label")))
        return cmd_fail(
            err, "Do not use the sr-name-label or sr-uuid argument when installing from a snapshot. By "
                 "default, it will install each new disk on the same SR as the corresponding snapshot "
                 "disks.");
    if (chosen_sr(c, &sr, err) < 0) return -1;
    if (ref_is_null(sr)) {
        if (cmd_call_ref(c, "VM.clone", CMD_ARGS(value_ref(template), value_string(name)), &vm, err) < 0)
            return -1;
    } else if (cmd_call_ref(c, "VM.copy", CMD_ARGS(value_ref(template), value_string(name), value_ref(sr)),
                            &vm, err)) {
        return -1;
    }
    if (finish_install(c, &record, vm, sr, err) == 0) return 0;
    (void)cmd_do(c, "VM.destroy", CMD_ARGS(value_ref(vm)), &ignored);
    return -1;
}

/* ---- create, destroy --------------------------------------------------------------------------------- */

int cmd_vm_create(struct cmd *c, struct xerr *err)
{
    const int64_t max = INT64_C(256) << 20, min = INT64_C(128) << 20;
    struct value_builder b = value_builder(c->arena);
    struct ref vm;

    value_put(&b, "name_label", value_string(cmd_need(c, "name-label")));
    value_put(&b, "name_description", value_string(cmd_get_or(c, "name-description", "")));
    value_put(&b, "memory_static_max", value_int(max));
    value_put(&b, "memory_dynamic_max", value_int(max));
    value_put(&b, "memory_dynamic_min", value_int(min));
    value_put(&b, "memory_static_min", value_int(min));
    value_put(&b, "VCPUs_max", value_int(1));
    value_put(&b, "VCPUs_at_startup", value_int(1));
    value_put(&b, "actions_after_shutdown", value_string("destroy"));
    value_put(&b, "actions_after_reboot", value_string("restart"));
    value_put(&b, "actions_after_crash", value_string("destroy"));
    value_put(&b, "HVM_shadow_multiplier", value_float(1));
    if (cmd_call_ref(c, "VM.create", CMD_ARGS(value_built_map(&b)), &vm, err) < 0) return -1;
    return cmd_print_uuid(c, CLASS_VM, vm, err);
}

int cmd_vm_destroy(struct cmd *c, struct xerr *err)
{
    const char *why = "You cannot destroy a control domain via the CLI";
    struct value control;
    struct ref vm;

    if (cmd_need_ref(c, "uuid", CLASS_VM, &vm, err) < 0) return -1;
    if (cmd_call(c, "VM.get_is_control_domain", CMD_ARGS(value_ref(vm)), &control, err) < 0) return -1;
    if (control.kind == VALUE_BOOL && control.b) return xerr_set(err, "OPERATION_NOT_ALLOWED", 1, &why);
    return cmd_do(c, "VM.destroy", CMD_ARGS(value_ref(vm)), err);
}

/* What vm-uninstall destroys with a VM. */
struct doomed {
    struct ref vm, suspend_vdi;
    struct ref *vdis;
    size_t n_vdis;
};

static const char *vdi_line(struct cmd *c, const struct value *vdi)
{
    const struct value *vbds = value_get(vdi, "VBDs");
    bool shared = vbds && vbds->kind == VALUE_SET && vbds->set.n > 1;

    return arena_printf(c->arena, "VDI: %s (%s) %s", cmd_member_text(vdi, "uuid"),
                        cmd_member_text(vdi, "name_label"),
                        shared ? " ** WARNING: disk is shared by other VMs" : "");
}

/* Prints what goes with the VM: its own disks and the image of its memory. */
static int doom(struct cmd *c, struct ref vm, struct doomed *ret_doomed, struct xerr *err)
{
    struct doomed d = { .vm = vm };
    const struct value *vbds, *vdi;
    struct value record;

    if (cmd_record(c, CLASS_VM, vm, &record, err) < 0) return -1;
    cmd_print(c, arena_printf(c->arena, "VM : %s (%s)", cmd_member_text(&record, "uuid"),
                              cmd_member_text(&record, "name_label")));
    vbds = value_get(&record, "VBDs");
    d.vdis = arena_new_array(c->arena, struct ref, (vbds && vbds->kind == VALUE_SET ? vbds->set.n : 0) + 1);
    for (size_t i = 0; vbds && vbds->kind == VALUE_SET && i < vbds->set.n; i++) {
        const struct value *vbd = cmd_object_record(c, CLASS_VBD, cmd_as_ref(&vbds->set.items[i]));
        const struct value *config = vbd ? value_get(vbd, "other_config") : NULL;

        if (!config || !value_get(config, "owner")) continue;
        vdi = cmd_object_record(c, CLASS_VDI, cmd_member_ref(vbd, "VDI"));
        if (!vdi) continue;
        cmd_print(c, vdi_line(c, vdi));
        d.vdis[d.n_vdis++] = cmd_member_ref(vbd, "VDI");
    }
    vdi = cmd_object_record(c, CLASS_VDI, cmd_member_ref(&record, "suspend_VDI"));
    if (vdi) {
        cmd_print(c, vdi_line(c, vdi));
        d.suspend_vdi = cmd_member_ref(&record, "suspend_VDI");
    }
    *ret_doomed = d;
    return 0;
}

static int destroy_doomed(struct cmd *c, const struct doomed *d, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const char *state;

    if (cmd_call_text(c, "VM.get_power_state", CMD_ARGS(value_ref(d->vm)), &state, err) < 0) return -1;
    if (!streq(state, "Halted") && cmd_do(c, "VM.hard_shutdown", CMD_ARGS(value_ref(d->vm)), err) < 0)
        return -1;
    if (cmd_do(c, "VM.destroy", CMD_ARGS(value_ref(d->vm)), err) < 0) return -1;
    for (size_t i = 0; i < d->n_vdis; i++)
        if (cmd_do(c, "VDI.destroy", CMD_ARGS(value_ref(d->vdis[i])), err) < 0) return -1;
    /* shutting down has deleted the memory image as a rule */
    if (!ref_is_null(d->suspend_vdi))
        (void)cmd_do(c, "VDI.destroy", CMD_ARGS(value_ref(d->suspend_vdi)), &ignored);
    return 0;
}

static int uninstall(struct cmd *c, const struct ref *vms, size_t n, struct xerr *err)
{
    struct doomed *doomed = arena_new_array(c->arena, struct doomed, n + 1);
    bool force;
    int yes = 1;

    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    cmd_say(c, "The following items are about to be destroyed");
    for (size_t i = 0; i < n; i++)
        if (doom(c, vms[i], &doomed[i], err) < 0) return -1;
    if (!force) yes = cmd_confirm(c, err);
    if (yes <= 0) return yes;
    for (size_t i = 0; i < n; i++)
        if (destroy_doomed(c, &doomed[i], err) < 0) return -1;
    cmd_say(c, "All objects destroyed");
    return 0;
}

struct ref_list {
    struct ref *refs;
    size_t n;
};

static int collect(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct ref_list *list = arg;

    (void)c;
    (void)err;
    list->refs[list->n++] = vm->ref;
    return 0;
}

int cmd_vm_uninstall(struct cmd *c, struct xerr *err)
{
    struct ref_list list = { .n = 0 };
    struct cmd_object_row *rows;
    size_t n_rows, n_vms;

    if (cmd_select(c, "vm", 0, "", &rows, &n_rows, err) < 0) return -1;
    list.refs = arena_new_array(c->arena, struct ref, n_rows + 1);
    if (cmd_each(c, "vm", 0, "", collect, &list, err) < 0) return -1;
    n_vms = list.n;
    for (size_t i = 0; i < n_vms; i++) {
        struct value snapshots;
        struct ref *more;

        if (cmd_call(c, "VM.get_snapshots", CMD_ARGS(value_ref(list.refs[i])), &snapshots, err) < 0)
            return -1;
        if (snapshots.kind != VALUE_SET || !snapshots.set.n) continue;
        more = arena_new_array(c->arena, struct ref, list.n + snapshots.set.n);
        memcpy(more, list.refs, list.n * sizeof *more);
        list.refs = more;
        for (size_t k = 0; k < snapshots.set.n; k++)
            list.refs[list.n++] = cmd_as_ref(&snapshots.set.items[k]);
    }
    return uninstall(c, list.refs, list.n, err);
}

/* ---- templates and snapshots by uuid ----------------------------------------------------------------- */

int cmd_special_vm(struct cmd *c, const char *uuid, const char *kind, struct ref *ret_vm, struct xerr *err)
{
    struct value is;

    if (cmd_by_uuid(c, CLASS_VM, uuid, ret_vm, err) < 0) return -1;
    if (cmd_call(c, arena_printf(c->arena, "VM.get_is_a_%s", kind), CMD_ARGS(value_ref(*ret_vm)), &is, err) <
        0)
        return -1;
    if (is.kind == VALUE_BOOL && is.b) return 0;
    return cmd_fail(err, "This operation can only be performed on a VM %s. %s is not a VM %s.", kind, uuid,
                    kind);
}

int cmd_named_snapshot(struct cmd *c, struct ref *ret_vm, struct xerr *err)
{
    const char *uuid = cmd_get_or(c, "snapshot-uuid", cmd_get(c, "uuid"));

    if (!uuid) return cmd_fail(err, "Required parameter not found: snapshot-uuid or uuid.");
    return cmd_special_vm(c, uuid, "snapshot", ret_vm, err);
}

int cmd_template_uninstall(struct cmd *c, struct xerr *err)
{
    struct ref vm;

    if (cmd_special_vm(c, cmd_need(c, "template-uuid"), "template", &vm, err) < 0) return -1;
    return uninstall(c, &vm, 1, err);
}

int cmd_snapshot_uninstall(struct cmd *c, struct xerr *err)
{
    struct ref vm;

    if (cmd_named_snapshot(c, &vm, err) < 0) return -1;
    return uninstall(c, &vm, 1, err);
}

int cmd_snapshot_destroy(struct cmd *c, struct xerr *err)
{
    const char *state;
    struct ref vm;

    if (cmd_named_snapshot(c, &vm, err) < 0) return -1;
    if (cmd_call_text(c, "VM.get_power_state", CMD_ARGS(value_ref(vm)), &state, err) < 0) return -1;
    if (!streq(state, "Halted") && cmd_do(c, "VM.hard_shutdown", CMD_ARGS(value_ref(vm)), err) < 0) return -1;
    return cmd_do(c, "VM.destroy", CMD_ARGS(value_ref(vm)), err);
}

int cmd_snapshot_revert(struct cmd *c, struct xerr *err)
{
    struct ref vm;

    if (cmd_named_snapshot(c, &vm, err) < 0) return -1;
    return cmd_work(c, "VM.revert", CMD_ARGS(value_ref(vm)), NULL, err);
}

int cmd_snapshot_reset_powerstate(struct cmd *c, struct xerr *err)
{
    struct ref vm;

    if (cmd_need_force(c, err) < 0 || cmd_named_snapshot(c, &vm, err) < 0) return -1;
    return cmd_do(c, "VM.power_state_reset", CMD_ARGS(value_ref(vm)), err);
}

/* ---- clones ------------------------------------------------------------------------------------------ */

/* A message (VM, new name[, more]) that gives a new VM. */
struct copy {
    const char *method;
    struct value more;
    bool has_more;
    const char *description;           /* of the new one; NULL = as it is */
};

static int copy_one(struct cmd *c, struct ref from, const struct copy *o, struct xerr *err)
{
    struct value args[3] = { value_ref(from), value_string(cmd_need(c, "new-name-label")), o->more }, result;
    struct ref vm;

    if (cmd_work(c, o->method, args, o->has_more ? 3 : 2, &result, err) < 0) return -1;
    vm = cmd_as_ref(&result);
    if (o->description &&
        cmd_do(c, "VM.set_name_description", CMD_ARGS(value_ref(vm), value_string(o->description)), err) < 0)
        return -1;
    return cmd_print_uuid(c, CLASS_VM, vm, err);
}

static int copy_row(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    return copy_one(c, vm->ref, arg, err);
}

static int copy_selected(struct cmd *c, unsigned flags, struct copy *o, struct xerr *err)
{
    o->description = cmd_get(c, "new-name-description");
    return cmd_each(c, "vm", flags, "new-name-label,new-name-description,ignore-vdi-uuids,sr-uuid", copy_row,
                    o, err);
}

static int copy_snapshot(struct cmd *c, struct copy *o, struct xerr *err)
{
    struct ref vm;

    o->description = cmd_get(c, "new-name-description");
    if (cmd_named_snapshot(c, &vm, err) < 0) return -1;
    return copy_one(c, vm, o, err);
}

static int sr_to_copy_to(struct cmd *c, struct copy *o, struct xerr *err)
{
    struct ref sr;

    if (cmd_get_ref(c, "sr-uuid", CLASS_SR, &sr, err) < 0) return -1;
    o->more = value_ref(sr);
    o->has_more = true;
    return 0;
}

int cmd_vm_clone(struct cmd *c, struct xerr *err)
{
    return copy_selected(c, CMD_TEMPLATES, &(struct copy){ .method = "VM.clone" }, err);
}

int cmd_vm_copy(struct cmd *c, struct xerr *err)
{
    struct copy o = { .method = "VM.copy" };

    if (sr_to_copy_to(c, &o, err) < 0) return -1;
    return copy_selected(c, CMD_TEMPLATES | CMD_ONE, &o, err);
}

int cmd_vm_snapshot(struct cmd *c, struct xerr *err)
{
    struct copy o = { .method = "VM.snapshot", .has_more = true };
    struct value words = cmd_split(c, cmd_get_or(c, "ignore-vdi-uuids", ""));
    struct value_builder vdis = value_builder(c->arena);

    for (size_t i = 0; i < words.set.n; i++) {
        struct ref vdi;

        if (cmd_by_uuid(c, CLASS_VDI, words.set.items[i].s, &vdi, err) < 0) return -1;
        value_push(&vdis, value_ref(vdi));
    }
    o.more = value_built_set(&vdis);
    return copy_selected(c, 0, &o, err);
}

int cmd_vm_snapshot_quiesce(struct cmd *c, struct xerr *err)
{
    return copy_selected(c, 0, &(struct copy){ .method = "VM.snapshot_with_quiesce" }, err);
}

int cmd_vm_checkpoint(struct cmd *c, struct xerr *err)
{
    return copy_selected(c, 0, &(struct copy){ .method = "VM.checkpoint" }, err);
}

int cmd_snapshot_clone(struct cmd *c, struct xerr *err)
{
    return copy_snapshot(c, &(struct copy){ .method = "VM.clone" }, err);
}

int cmd_snapshot_copy(struct cmd *c, struct xerr *err)
{
    struct copy o = { .method = "VM.copy" };

    if (sr_to_copy_to(c, &o, err) < 0) return -1;
    return copy_snapshot(c, &o, err);
}

/* ---- the rest ---------------------------------------------------------------------------------------- */

static int bios_strings_of(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct value strings;

    (void)arg;
    if (cmd_call(c, "VM.get_bios_strings", CMD_ARGS(value_ref(vm->ref)), &strings, err) < 0) return -1;
    if (strings.kind != VALUE_MAP || !strings.map.n)
        cmd_message(c, "The BIOS strings of this VM have not yet been set.");
    else if (streq(cmd_member_text(&strings, "bios-vendor"), "Xen"))
        cmd_message(c, "This VM is BIOS-generic.");
    else
        cmd_message(c, "This VM is BIOS-customized.");
    return 0;
}

int cmd_vm_is_bios_customized(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "", bios_strings_of, NULL, err);
}

void cmd_print_advice(struct cmd *c, const char *head, const char *head_value, const struct value *map)
{
    struct cmd_pair *pairs =
        arena_new_array(c->arena, struct cmd_pair, (map->kind == VALUE_MAP ? map->map.n : 0) + 1);
    size_t n = 0;

    pairs[n++] = (struct cmd_pair){ head, head_value };
    for (size_t i = 0; map->kind == VALUE_MAP && i < map->map.n; i++) {
        _cleanup_strbuf_ struct strbuf words = STRBUF_INIT;
        const struct value *set = &map->map.members[i].value;

        for (size_t k = 0; set->kind == VALUE_SET && k < set->set.n; k++)
            strbuf_printf(&words, "%s%s", k ? " " : "", set->set.items[k].s);
        pairs[n++] = (struct cmd_pair){ cmd_ref_text(c, map->map.members[i].key),
                                        arena_strdup(c->arena, strbuf_cstr(&words)) };
    }
    cmd_row(c, pairs, n);
}

static int recommend(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct value map;

    (void)arg;
    if (cmd_call(c, "VM.retrieve_wlb_recommendations", CMD_ARGS(value_ref(vm->ref)), &map, err) < 0)
        return -1;
    cmd_print_advice(c, "Host(Uuid)", "Stars, RecID, ZeroScoreReason", &map);
    return 0;
}

int cmd_vm_wlb_recommendations(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", CMD_ONE, "", recommend, NULL, err);
}

struct sysprep {
    const char *answers;
    double timeout;
};

static int sysprep_one(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    const struct sysprep *s = arg;

    return cmd_do(c, "VM.sysprep",
                  CMD_ARGS(value_ref(vm->ref), value_string(s->answers), value_float(s->timeout)), err);
}

int cmd_vm_sysprep(struct cmd *c, struct xerr *err)
{
    enum { DEFAULT_S = 180 };
    const char *timeout = cmd_get(c, "timeout");
    struct sysprep s = { .timeout = DEFAULT_S };

    if (timeout && cmd_parse_float("timeout", timeout, &s.timeout, err) < 0) return -1;
    if (s.timeout < 0) s.timeout = 0;
    if (cmd_load(c, "file", cmd_need(c, "filename"), &s.answers, err) < 0) return -1;
    return cmd_each(c, "vm", 0, "filename,timeout", sysprep_one, &s, err);
}
