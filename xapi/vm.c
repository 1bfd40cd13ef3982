/* Class VM, records: create, destroy, copy of a record, provisioning.
 * Called by: the generated thunks (schema/vm.xml), vm_snapshot.c.  Calls: db/, the gates for disks. */
#include "xapi/vm.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

#define LOG_MODULE "vm"
#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/unfinished.h"
#include "xapi/vbd.h"
#include "xapi/vtpm.h"


/* ---- create, destroy ------------------------------------------------------------------------------------------ */

static struct ref new_metrics(struct txn *t)
{
    struct ref metrics = ref_new();

    txn_create(t, CLASS_VM_metrics, metrics);
    return metrics;
}

/* Fields a client may not give. */
static bool constructor_field(const struct field_desc *f)
{
    return f->qualifier != QUAL_RO_RUNTIME;
}

int vm_create(struct call *c, const struct value *record, struct ref *ret_result, struct xerr *err)
{
    const struct class_desc *cls = &model.classes[CLASS_VM];
    struct ref vm = ref_new();
    struct txn *t = db_begin(c->agent->db);

    txn_create(t, CLASS_VM, vm);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct field_desc *f = &cls->fields[i];
        const struct value *v = value_get(record, f->name);
        if (v && constructor_field(f)) txn_set_field(t, vm, f->id, v);
    }
    /* Whatever the record claims: a new VM is halted, has no suspend image and its own metrics. */
    txn_set_enum(t, vm, F_VM_power_state, vm_power_state_Halted);
    txn_set_ref(t, vm, F_VM_suspend_VDI, REF_NULL);
    txn_set_int(t, vm, F_VM_domid, -1);
    txn_set_ref(t, vm, F_VM_metrics, new_metrics(t));
    lifecycle_refresh(t, CLASS_VM, vm);
    if (db_commit(t, err)) return -1;
    *ret_result = vm;
    return 0;
}

/* Destroys every object of a back-reference field; each destroy shrinks the set. */
static void destroy_all(struct txn *t, struct ref vm, field_id f, enum class_id cls, field_id metrics_field,
                        enum class_id metrics_cls)
{
    for (;;) {
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (!row || txn_failed(t) || !row_refs(row, f)->n) return;
        struct ref child = row_refs(row, f)->refs[0];
        const struct row *device = snap_get(txn_snap(t), cls, child);
        struct ref metrics = device && metrics_field ? row_ref(device, metrics_field) : REF_NULL;
        if (!ref_is_null(metrics) && snap_get(txn_snap(t), metrics_cls, metrics)) txn_destroy(t, metrics_cls, metrics);
        txn_destroy(t, cls, child);
    }
}

void vm_destroy_rows(struct txn *t, struct ref vm)
{
    destroy_all(t, vm, F_VM_VBDs, CLASS_VBD, F_VBD_metrics, CLASS_VBD_metrics);
    destroy_all(t, vm, F_VM_VIFs, CLASS_VIF, F_VIF_metrics, CLASS_VIF_metrics);
    destroy_all(t, vm, F_VM_consoles, CLASS_console, 0, CLASS_console);
    vtpm_drop_rows(t, vm);

    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    if (!row) return;
    struct ref metrics = row_ref(row, F_VM_metrics), guest = row_ref(row, F_VM_guest_metrics);
    struct ref parent = row_ref(row, F_VM_parent);
    if (snap_get(txn_snap(t), CLASS_VM_metrics, metrics)) txn_destroy(t, CLASS_VM_metrics, metrics);
    if (snap_get(txn_snap(t), CLASS_VM_guest_metrics, guest)) txn_destroy(t, CLASS_VM_guest_metrics, guest);

    /* Its children in the tree of snapshots become its parent's. */
    for (;;) {
        row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (!row || txn_failed(t) || !row_refs(row, F_VM_children)->n) break;
        txn_set_ref(t, row_refs(row, F_VM_children)->refs[0], F_VM_parent, parent);
    }
    const struct value mine = value_ref(vm);
    SNAP_EACH (txn_snap(t), CLASS_VM_group, group)
        if (refset_has(row_refs(group, F_VM_group_VMs), vm)) txn_set_remove(t, row_ref_of(group), F_VM_group_VMs, &mine);
    txn_destroy(t, CLASS_VM, vm);
}

/* The memory of a suspended VM, or of a checkpoint, is nobody's any more. */
static void destroy_memory_image(struct call *c, struct ref vdi)
{
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!snap_get(s, CLASS_VDI, vdi)) return;
        SNAP_EACH (s, CLASS_VM, other)
            if (ref_eq(row_ref(other, F_VM_suspend_VDI), vdi)) return;
    }
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value ignored;
    if (!call_message(c, "VDI.destroy", ARGS(value_ref(vdi)), &ignored, &err)) return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("the memory image %s of a VM that is gone stays: %s", REF_STR(vdi), why);
}

int vm_destroy(struct call *c, struct ref vm, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    struct ref memory = row ? row_ref(row, F_VM_suspend_VDI) : REF_NULL;

    if (row && row_bool(row, F_VM_is_control_domain)) {
        db_abort(t);
        return xerr_operation_not_allowed(err, "The control domain cannot be destroyed");
    }
    if (row && row_bool(row, F_VM_is_default_template)) {
        db_abort(t);
        return xerr_vm_cannot_delete_default_template(err, REF_STR(vm));
    }
    vm_destroy_rows(t, vm);
    if (db_commit(t, err)) return -1;
    if (!ref_is_null(memory)) destroy_memory_image(c, memory);
    return 0;
}

/* ---- copying a record ----------------------------------------------------------------------------------------- */

/* What a copy does not inherit. */
static bool inherited(field_id f)
{
    static const field_id own[] = {
        F_VM_uuid, F_VM_allowed_operations, F_VM_current_operations, F_VM_power_state, F_VM_resident_on, F_VM_domid,
        F_VM_metrics, F_VM_guest_metrics, F_VM_suspend_VDI, F_VM_consoles, F_VM_VIFs, F_VM_VBDs, F_VM_VUSBs,
        F_VM_crash_dumps, F_VM_VTPMs, F_VM_snapshots, F_VM_children, F_VM_parent, F_VM_is_a_snapshot, F_VM_snapshot_of,
        F_VM_snapshot_time, F_VM_transportable_snapshot_id, F_VM_snapshot_info, F_VM_snapshot_metadata, F_VM_blobs,
        F_VM_is_control_domain, F_VM_is_default_template, F_VM_VGPUs, F_VM_attached_PCIs, F_VM_requires_reboot,
        F_VM_scheduled_to_be_resident_on, F_VM_last_booted_record, F_VM_last_boot_CPU_flags, F_VM_groups,
        F_VM_appliance, F_VM_snapshot_schedule, F_VM_is_vmss_snapshot,
    };
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (own[i] == f) return false;
    return !model_field(f)->inverse;
}

struct ref vm_copy_record(struct call *c, struct txn *t, struct ref vm, const char *name, bool snapshot)
{
    const struct class_desc *cls = &model.classes[CLASS_VM];
    struct ref copy = ref_new();

    txn_create(t, CLASS_VM, copy);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (!row) break;
        if (!inherited(cls->fields[i].id)) continue;
        struct value v = row_field_value(row, &cls->fields[i], c->arena);
        txn_set_field(t, copy, cls->fields[i].id, &v);
    }
    unfinished_end(t, CLASS_VM, copy);
    txn_set_str(t, copy, F_VM_name_label, name);
    txn_set_enum(t, copy, F_VM_power_state, vm_power_state_Halted);
    txn_set_int(t, copy, F_VM_domid, -1);
    txn_set_ref(t, copy, F_VM_metrics, new_metrics(t));
    if (!snapshot) {
        char mac_seed[UUID_TEXT];
        txn_map_put_str(t, copy, F_VM_other_config, "mac_seed", uuid_new(mac_seed));
        txn_map_remove(t, copy, F_VM_other_config, "default_template");
    }
    return copy;
}

/* ---- provision ------------------------------------------------------------------------------------------------ */

struct disk_wish {
    const char *device, *sr_uuid, *type;
    int64_t size_bytes;
    bool bootable;
};

static const char *attribute(struct arena *a, xmlNode *node, const char *name, const char *fallback)
{
    xmlChar *text = xmlGetProp(node, (const xmlChar *)name);
    const char *out = text ? arena_strdup(a, (const char *)text) : fallback;

    xmlFree(text);
    return out;
}

static int parse_disk(struct arena *a, xmlNode *node, struct disk_wish *ret_wish, struct xerr *err)
{
    const char *size = attribute(a, node, "size", "");
    char *end;

    errno = 0;
    long long bytes = strtoll(size, &end, 10);
    if (!*size || *end || errno || bytes <= 0) return xerr_invalid_value(err, "disks", size);
    *ret_wish = (struct disk_wish){
        .device = attribute(a, node, "device", "0"),
        .sr_uuid = attribute(a, node, "sr", ""),
        .type = attribute(a, node, "type", "system"),
        .size_bytes = bytes,
        .bootable = streq(attribute(a, node, "bootable", "false"), "true"),
    };
    return 0;
}

/* <provision><disk device="0" size="8589934592" sr="" bootable="true" type="system"/></provision> */
static int parse_disks(struct arena *a, const char *xml, struct disk_wish *wishes, size_t *ret_n, struct xerr *err)
{
    int rc = -1;
    xmlDoc *doc = xmlReadMemory(xml, (int)strlen(xml), NULL, "UTF-8", XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;

    *ret_n = 0;
    /* Entities have no business here: without a DTD there are none to expand. */
    if (!root || doc->intSubset || !xmlStrEqual(root->name, (const xmlChar *)"provision")) {
        xerr_invalid_value(err, "disks", xml);
        goto out;
    }
    for (xmlNode *node = root->children; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE || !xmlStrEqual(node->name, (const xmlChar *)"disk")) continue;
        if (*ret_n == VM_MAX_DISKS) {
            xerr_invalid_value(err, "disks", "too many disks");
            goto out;
        }
        if (parse_disk(a, node, &wishes[*ret_n], err)) goto out;
        (*ret_n)++;
    }
    rc = 0;
out:
    xmlFreeDoc(doc);
    return rc;
}

/* The repository named by uuid or name, else the pool's default. */
static int choose_sr(struct call *c, const char *wish, struct ref *ret_sr, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *sr = *wish ? snap_by_uuid(s, CLASS_SR, wish) : NULL;

    if (*wish && !sr) {
        struct snap_iter it = snap_iter_named(s, CLASS_SR, wish);
        sr = snap_next(s, &it);
        if (!sr) return xerr_uuid_invalid(err, "SR", wish);
    }
    if (!sr) {
        const struct row *pool = snap_get(s, CLASS_pool, c->agent->pool);
        struct ref chosen = pool ? row_ref(pool, F_pool_default_SR) : REF_NULL;
        sr = snap_get(s, CLASS_SR, chosen);
        if (!sr) return xerr_default_sr_not_found(err, REF_STR(chosen));
    }
    *ret_sr = row_ref_of(sr);
    return 0;
}

static int provision_disk(struct call *c, struct ref vm, const char *vm_name, const struct disk_wish *wish,
                          struct ref *ret_vdi, struct xerr *err)
{
    struct ref sr;
    struct value result;

    if (choose_sr(c, wish->sr_uuid, &sr, err)) return -1;
    const struct member vdi_record[] = {
        { "name_label", value_string(arena_printf(c->arena, "%s %s", vm_name, wish->device)) },
        { "name_description", value_string("Created by template provisioner") },
        { "SR", value_ref(sr) },
        { "virtual_size", value_int(wish->size_bytes) },
        { "type", value_string(wish->type) },
        { "sharable", value_bool(false) },
        { "read_only", value_bool(false) },
        { "other_config", value_map(NULL, 0) },
    };
    if (call_message(c, "VDI.create", ARGS(value_map(vdi_record, ARRAY_SIZE(vdi_record))), &result, err)) return -1;
    *ret_vdi = result.ref;
    const struct member owner[] = { { "owner", value_string("") } };
    const struct member vbd_record[] = {
        { "VM", value_ref(vm) },
        { "VDI", value_ref(result.ref) },
        { "userdevice", value_string(wish->device) },
        { "bootable", value_bool(wish->bootable) },
        { "mode", value_string("RW") },
        { "type", value_string("Disk") },
        { "empty", value_bool(false) },
        { "unpluggable", value_bool(true) },
        { "other_config", value_map(owner, 1) },
        { "qos_algorithm_type", value_string("") },
        { "qos_algorithm_params", value_map(NULL, 0) },
    };
    return call_message(c, "VBD.create", ARGS(value_map(vbd_record, ARRAY_SIZE(vbd_record))), NULL, err);
}

static int finish_provision(struct call *c, struct ref vm, const struct ref *made, size_t n, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    for (size_t i = 0; i < n; i++) unfinished_end(t, CLASS_VDI, made[i]);
    txn_map_remove(t, vm, F_VM_other_config, "disks");
    txn_set_bool(t, vm, F_VM_is_a_template, false);
    txn_set_bool(t, vm, F_VM_is_default_template, false);
    txn_map_remove(t, vm, F_VM_other_config, "default_template");
    lifecycle_refresh(t, CLASS_VM, vm);
    return db_commit(t, err);
}

int vm_provision(struct call *c, struct ref vm, struct xerr *err)
{
    const char *xml, *name;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row) return -1;
        xml = arena_strdup(c->arena, row_map_str(row, F_VM_other_config, "disks", ""));
        name = arena_strdup(c->arena, row_str(row, F_VM_name_label));
    }
    struct disk_wish *wishes = arena_new_array(c->arena, struct disk_wish, VM_MAX_DISKS);
    struct ref *made = arena_new_array(c->arena, struct ref, VM_MAX_DISKS);
    size_t n = 0, done = 0;

    if (*xml && parse_disks(c->arena, xml, wishes, &n, err)) return -1;
    c->unfinished = arena_strdup(c->arena, REF_STR(vm));
    for (; done < n; done++) {
        call_progress(c, (double)done / (double)n);
        made[done] = REF_NULL;
        if (call_check_cancel(c, err) || provision_disk(c, vm, name, &wishes[done], &made[done], err)) goto undo;
    }
    c->unfinished = NULL;
    return finish_provision(c, vm, made, n, err);
undo:
    c->unfinished = NULL;
    for (size_t i = 0; i <= done; i++)
        if (!ref_is_null(made[i])) vm_undo_vdi(c, made[i]);
    return -1;
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

int vm_assert_operation_valid(struct call *c, struct ref vm, enum vm_operations op, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return lifecycle_check(s, CLASS_VM, vm, (int)op, true, err);
}

int vm_update_allowed_operations(struct call *c, struct ref vm, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!snap_need(txn_snap(t), CLASS_VM, vm, err)) {
        db_abort(t);
        return -1;
    }
    lifecycle_refresh(t, CLASS_VM, vm);
    return db_commit(t, err);
}

/* The template flag is a lifecycle step: operations change with it. */
int vm_set_is_a_template(struct call *c, struct ref vm, bool value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VM, vm, err);

    /* A VM that is starting must not become a template under the start: nothing could stop it then. */
    if (!row || (value && !row_bool(row, F_VM_is_a_template) &&
                 lifecycle_check(txn_snap(t), CLASS_VM, vm, vm_operations_make_into_template, true, err))) {
        db_abort(t);
        return -1;
    }
    txn_set_bool(t, vm, F_VM_is_a_template, value);
    if (!value) {
        txn_set_bool(t, vm, F_VM_is_default_template, false);
        txn_map_remove(t, vm, F_VM_other_config, "default_template");
    }
    lifecycle_refresh(t, CLASS_VM, vm);
    return db_commit(t, err);
}
