/* Commands for disks, CDs and network interfaces of VMs, and for virtual disks.
 * Called by: commands.c.  Calls: cmd_call, cmd_select, cmd_field. */
#include "xe/commands.h"

#include "lib/clock.h"
#include "lib/num.h"

#include <strings.h>
#include <time.h>

/* ---- lists ------------------------------------------------------------------------------------------- */

static bool is_type(struct cmd *c, struct ref vbd, const char *type)
{
    const struct value *r = cmd_object_record(c, CLASS_VBD, vbd);

    return r && streq(cmd_member_text(r, "type"), type);
}

struct ordered {
    struct value ref;
    const struct value *record;
    const char *key;
};

static int by_key(const void *a, const void *b)
{
    const char *x = ((const struct ordered *)a)->key, *y = ((const struct ordered *)b)->key;
    int64_t i, k;

    if (num_parse_int(x, &i) && num_parse_int(y, &k)) return i < k ? -1 : i > k;
    return strcmp(x, y);
}

/* A set of references in the order of one field of their objects; those that are gone are left out. */
static struct value in_order(struct cmd *c, const struct value *refs, int cls, const char *field)
{
    size_t n = 0, n_refs = refs->kind == VALUE_SET ? refs->set.n : 0;
    struct ordered *all = arena_new_array(c->arena, struct ordered, n_refs + 1);
    struct value *items = arena_new_array(c->arena, struct value, n_refs + 1);

    for (size_t i = 0; i < n_refs; i++) {
        const struct value *record = cmd_object_record(c, cls, cmd_as_ref(&refs->set.items[i]));

        if (record) all[n++] = (struct ordered){ refs->set.items[i], record, cmd_member_text(record, field) };
    }
    qsort(all, n, sizeof *all, by_key);
    for (size_t i = 0; i < n; i++) items[i] = all[i].ref;
    return value_set(items, n);
}

/* {"vbd": {...}, "vdi": {...}}; "vdi" is null when nothing is in it. */
static int disk_json(struct cmd *c, struct cmd_object_row *vbd, const char *vbd_fields,
                     struct cmd_object_row *vdi, bool has_vdi, const char *vdi_fields, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    strbuf_str(&b, "{\"vbd\":");
    if (cmd_show_json(c, vbd, cmd_get(c, "vbd-params"), vbd_fields, &b, err) < 0) return -1;
    strbuf_str(&b, ",\"vdi\":");
    if (!has_vdi)
        strbuf_str(&b, "null");
    else if (cmd_show_json(c, vdi, cmd_get(c, "vdi-params"), vdi_fields, &b, err) < 0)
        return -1;
    strbuf_char(&b, '}');
    cmd_json_line(c, strbuf_cstr(&b));
    return 0;
}

/* Prints the VBDs of one type and what is in them. */
static int list_disks(struct cmd *c, struct ref vm, bool cds, struct xerr *err)
{
    const char *what = cds ? "CD" : "Disk", *vdi_fields = "uuid,name-label,virtual-size,sr-name-label";
    const char *vbd_fields = cds ? "uuid,vm-name-label,userdevice,empty" : "uuid,vm-name-label,userdevice";
    struct cmd_object_row vbd = { .type = cmd_record_type("vbd") }, vdi = { .type = cmd_record_type("vdi") };
    struct value vbds;
    size_t number = 0;

    if (cmd_call(c, "VM.get_VBDs", CMD_ARGS(value_ref(vm)), &vbds, err) < 0) return -1;
    vbds = in_order(c, &vbds, CLASS_VBD, "userdevice");
    for (size_t i = 0; vbds.kind == VALUE_SET && i < vbds.set.n; i++) {
        bool has_vdi;

        vbd.ref = cmd_as_ref(&vbds.set.items[i]);
        if (!is_type(c, vbd.ref, what)) continue;
        vbd.record = cmd_object_record(c, CLASS_VBD, vbd.ref);
        vdi.ref = cmd_member_ref(vbd.record, "VDI");
        vdi.record = cmd_object_record(c, CLASS_VDI, vdi.ref);
        has_vdi = !cmd_member_bool(vbd.record, "empty") && vdi.record;
        if (c->json) {
            if (disk_json(c, &vbd, vbd_fields, &vdi, has_vdi, vdi_fields, err) < 0) return -1;
            continue;
        }
        cmd_message(c, arena_printf(c->arena, "%s %zu VBD:", what, number));
        if (cmd_show(c, &vbd, cmd_get(c, "vbd-params"), vbd_fields, err) < 0) return -1;
        if (has_vdi) {
            cmd_message(c, arena_printf(c->arena, "%s %zu VDI:", what, number));
            if (cmd_show(c, &vdi, cmd_get(c, "vdi-params"), vdi_fields, err) < 0) return -1;
        }
        number++;
    }
    return 0;
}

static int list_disks_of(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    return list_disks(c, vm->ref, *(const bool *)arg, err);
}

int cmd_vm_disk_list(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "vbd-params,vdi-params", list_disks_of, &(bool){ false }, err);
}

int cmd_vm_cd_list(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "vbd-params,vdi-params", list_disks_of, &(bool){ true }, err);
}

int cmd_snapshot_disk_list(struct cmd *c, struct xerr *err)
{
    struct ref vm;

    if (cmd_named_snapshot(c, &vm, err) < 0) return -1;
    return list_disks(c, vm, false, err);
}

/* Shows each object of a set of references. */
static int show_each(struct cmd *c, const struct value *refs, const char *type, const char *order,
                     const char *fallback, struct xerr *err)
{
    struct cmd_object_row row = { .type = cmd_record_type(type) };
    struct value sorted = in_order(c, refs, row.type->cls, order);

    for (size_t i = 0; i < sorted.set.n; i++) {
        row.ref = cmd_as_ref(&sorted.set.items[i]);
        row.record = cmd_object_record(c, row.type->cls, row.ref);
        if (row.record && cmd_show(c, &row, cmd_get(c, "params"), fallback, err) < 0) return -1;
    }
    return 0;
}

static int list_vifs(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct value vifs;

    (void)arg;
    if (cmd_call(c, "VM.get_VIFs", CMD_ARGS(value_ref(vm->ref)), &vifs, err) < 0) return -1;
    return show_each(c, &vifs, "vif", "device", "uuid,device,MAC,network-uuid,network-name-label,vm-name-label", err);
}

int cmd_vm_vif_list(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", CMD_MANY, "params", list_vifs, NULL, err);
}

static int list_crashdumps(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct value dumps;

    (void)arg;
    if (cmd_call(c, "VM.get_crash_dumps", CMD_ARGS(value_ref(vm->ref)), &dumps, err) < 0) return -1;
    for (size_t i = 0; dumps.kind == VALUE_SET && i < dumps.set.n; i++) {
        const struct value *r = cmd_object_record(c, CLASS_crashdump, cmd_as_ref(&dumps.set.items[i]));
        const char *uuid = "", *vdi = "";
        struct cmd_object object;

        if (!r) continue;
        uuid = cmd_member_text(r, "uuid");
        if (c->env->lookup(c->env->arg, CLASS_VDI, cmd_member_ref(r, "VDI"), c->arena, &object))
            vdi = object.uuid;
        cmd_row(c,
                (struct cmd_pair[]){ { "uuid ( RO)", uuid },
                                     { "vm-uuid ( RO)", value_get_str(vm->record, "uuid", "") },
                                     { "vm-name-label ( RO)", value_get_str(vm->record, "name_label", "") },
                                     { "vdi-uuid ( RO)", vdi } },
                4);
    }
    return 0;
}

int cmd_vm_crashdump_list(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "", list_crashdumps, NULL, err);
}

int cmd_cd_list(struct cmd *c, struct xerr *err)
{
    const field_id fields[] = { F_SR_content_type, F_SR_VDIs };
    struct value srs;

    if (cmd_all(c, CLASS_SR, fields, ARRAY_SIZE(fields), &srs, err) < 0) return -1;
    for (size_t i = 0; srs.kind == VALUE_MAP && i < srs.map.n; i++) {
        const struct value *sr = &srs.map.members[i].value, *vdis = value_get(sr, "VDIs");

        if (!streq(cmd_member_text(sr, "content_type"), "iso") || !vdis) continue;
        if (show_each(c, vdis, "vdi", "name_label", "name-label,uuid", err) < 0) return -1;
    }
    return 0;
}

/* ---- disks of VMs ------------------------------------------------------------------------------------ */

/* A new VBD, attached at once when the VM runs and can take it. */
static int add_vbd(struct cmd *c, struct ref vm, struct ref vdi, const char *device, bool cd, bool owner,
                   struct xerr *err)
{
    struct value_builder b = value_builder(c->arena), config = value_builder(c->arena);
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct ref vbd;

    if (owner) value_put(&config, "owner", value_string(""));
    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "VDI", value_ref(vdi));
    value_put(&b, "userdevice", value_string(device));
    value_put(&b, "bootable", value_bool(false));
    value_put(&b, "mode", value_string(cd ? "RO" : "RW"));
    value_put(&b, "type", value_string(cd ? "CD" : "Disk"));
    value_put(&b, "unpluggable", value_bool(true));
    value_put(&b, "empty", value_bool(false));
    value_put(&b, "other_config", value_built_map(&config));
    value_put(&b, "qos_algorithm_type", value_string(""));
    value_put(&b, "qos_algorithm_params", value_map(NULL, 0));
    if (cmd_call_ref(c, "VBD.create", CMD_ARGS(value_built_map(&b)), &vbd, err) < 0) return -1;
    (void)cmd_do(c, "VBD.plug", CMD_ARGS(value_ref(vbd)), &ignored);
    return 0;
}

struct new_disk {
    struct ref sr;
    int64_t size;
};

static int add_disk(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    const struct new_disk *d = arg;
    struct value_builder b = value_builder(c->arena), hint = value_builder(c->arena);
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct ref vdi;

    value_put(&hint, "vmhint", value_string(value_get_str(vm->record, "uuid", "")));
    value_put(&b, "name_label", value_string("Created by xe"));
    value_put(&b, "name_description", value_string("Created by xe"));
    value_put(&b, "SR", value_ref(d->sr));
    value_put(&b, "virtual_size", value_int(d->size));
    value_put(&b, "type", value_string("user"));
    value_put(&b, "sharable", value_bool(false));
    value_put(&b, "read_only", value_bool(false));
    value_put(&b, "other_config", value_map(NULL, 0));
    value_put(&b, "sm_config", value_built_map(&hint));
    if (cmd_call_ref(c, "VDI.create", CMD_ARGS(value_built_map(&b)), &vdi, err) < 0) return -1;
    if (add_vbd(c, vm->ref, vdi, cmd_need(c, "device"), false, true, err) == 0) return 0;
    (void)cmd_do(c, "VDI.destroy", CMD_ARGS(value_ref(vdi)), &ignored);
    return -1;
}

int cmd_vm_disk_add(struct cmd *c, struct xerr *err)
{
    struct new_disk d;

    if (cmd_parse_bytes("disk-size", cmd_need(c, "disk-size"), &d.size, err) < 0) return -1;
    if (cmd_get_ref(c, "sr-uuid", CLASS_SR, &d.sr, err) < 0) return -1;
    if (ref_is_null(d.sr) && cmd_default_sr(c, &d.sr, err) < 0) return -1;
    if (ref_is_null(d.sr))
        return cmd_fail(err, "No default Pool SR set; you must specify an SR on the commandline");
    return cmd_each(c, "vm", 0, "sr-uuid,device,disk-size", add_disk, &d, err);
}

typedef bool (*vbd_test)(struct cmd *c, const struct value *vbd);

/* The first VBD of a VM that passes; *ret_n how many do. */
static int find_vbd(struct cmd *c, struct ref vm, vbd_test test, struct ref *ret_vbd, size_t *ret_n,
                    struct xerr *err)
{
    struct value vbds;

    *ret_n = 0;
    if (cmd_call(c, "VM.get_VBDs", CMD_ARGS(value_ref(vm)), &vbds, err) < 0) return -1;
    for (size_t i = 0; vbds.kind == VALUE_SET && i < vbds.set.n; i++) {
        struct ref ref = cmd_as_ref(&vbds.set.items[i]);
        const struct value *r = cmd_object_record(c, CLASS_VBD, ref);

        if (!r || !test(c, r)) continue;
        if (!(*ret_n)++) *ret_vbd = ref;
    }
    return 0;
}

static bool has_device(struct cmd *c, const struct value *vbd)
{
    return streq(cmd_member_text(vbd, "userdevice"), cmd_need(c, "device"));
}

static int remove_disk(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct ref vbd, vdi;
    size_t n;

    (void)arg;
    if (find_vbd(c, vm->ref, has_device, &vbd, &n, err) < 0) return -1;
    if (!n) return cmd_fail(err, "Disk not found");
    vdi = cmd_member_ref(cmd_object_record(c, CLASS_VBD, vbd), "VDI");
    if (cmd_do(c, "VBD.destroy", CMD_ARGS(value_ref(vbd)), err) < 0) return -1;
    return cmd_do(c, "VDI.destroy", CMD_ARGS(value_ref(vdi)), err);
}

int cmd_vm_disk_remove(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "device", remove_disk, NULL, err);
}

/* ---- CDs --------------------------------------------------------------------------------------------- */

static bool on_iso_sr(struct cmd *c, const struct value *vdi)
{
    const struct value *sr = cmd_object_record(c, CLASS_SR, cmd_member_ref(vdi, "SR"));

    return sr && streq(cmd_member_text(sr, "content_type"), "iso");
}

/* The image with this name; *ret_n how many have it. */
static int find_image(struct cmd *c, const char *name, struct ref *ret_vdi, size_t *ret_n, struct xerr *err)
{
    struct value vdis;

    *ret_n = 0;
    if (cmd_call(c, "VDI.get_by_name_label", CMD_ARGS(value_string(name)), &vdis, err) < 0) return -1;
    for (size_t i = 0; vdis.kind == VALUE_SET && i < vdis.set.n; i++) {
        struct ref ref = cmd_as_ref(&vdis.set.items[i]);
        const struct value *r = cmd_object_record(c, CLASS_VDI, ref);

        if (!r || !on_iso_sr(c, r)) continue;
        if (!(*ret_n)++) *ret_vdi = ref;
    }
    return 0;
}

static int add_cd(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    return add_vbd(c, vm->ref, *(const struct ref *)arg, cmd_need(c, "device"), true, false, err);
}

int cmd_vm_cd_add(struct cmd *c, struct xerr *err)
{
    const char *name = cmd_need(c, "cd-name");
    struct ref vdi;
    size_t n;

    if (find_image(c, name, &vdi, &n, err) < 0) return -1;
    if (!n) return cmd_fail(err, "CD %s not found!", name);
    return cmd_each(c, "vm", 0, "cd-name,device,cd-location", add_cd, &vdi, err);
}

static bool is_cd(struct cmd *c, const struct value *vbd)
{
    (void)c;
    return streq(cmd_member_text(vbd, "type"), "CD");
}

static bool is_empty_cd(struct cmd *c, const struct value *vbd)
{
    return is_cd(c, vbd) && cmd_member_bool(vbd, "empty");
}

static bool holds_named_cd(struct cmd *c, const struct value *vbd)
{
    const struct value *vdi = cmd_object_record(c, CLASS_VDI, cmd_member_ref(vbd, "VDI"));
    const char *name = cmd_need(c, "cd-name");

    if (!vdi) return streq(name, "<EMPTY>");
    return on_iso_sr(c, vdi) && streq(cmd_member_text(vdi, "name_label"), name);
}

static int eject_cd(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct ref vbd;
    size_t n;

    (void)arg;
    if (find_vbd(c, vm->ref, is_cd, &vbd, &n, err) < 0) return -1;
    if (!n) return cmd_fail(err, "No CDs found");
    if (n > 1) return cmd_fail(err, "Two or more CDs found. Please use vbd-eject");
    return cmd_do(c, "VBD.eject", CMD_ARGS(value_ref(vbd)), err);
}

int cmd_vm_cd_eject(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "", eject_cd, NULL, err);
}

static int insert_cd(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    const struct ref *vdi = arg;
    char text[REF_TEXT];
    const char *param = ref_text(vm->ref, text);
    struct ref vbd;
    size_t n;

    if (find_vbd(c, vm->ref, is_empty_cd, &vbd, &n, err) < 0) return -1;
    if (!n) return xerr_set(err, "VM_NO_EMPTY_CD_VBD", 1, &param);
    if (n > 1) return cmd_fail(err, "Two or more empty CD devices found. Please use vbd-insert");
    return cmd_do(c, "VBD.insert", CMD_ARGS(value_ref(vbd), value_ref(*vdi)), err);
}

int cmd_vm_cd_insert(struct cmd *c, struct xerr *err)
{
    const char *name = cmd_need(c, "cd-name");
    struct ref vdi;
    size_t n;

    if (find_image(c, name, &vdi, &n, err) < 0) return -1;
    if (!n) return cmd_fail(err, "CD %s not found", name);
    if (n > 1)
        return cmd_fail(err, "Multiple CDs named %s found. Please use vbd-insert and specify uuids", name);
    return cmd_each(c, "vm", 0, "cd-name", insert_cd, &vdi, err);
}

static int remove_cd(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    struct ref vbd;
    size_t n;

    (void)arg;
    if (find_vbd(c, vm->ref, holds_named_cd, &vbd, &n, err) < 0) return -1;
    if (!n) return cmd_fail(err, "Disk not found");
    return cmd_do(c, "VBD.destroy", CMD_ARGS(value_ref(vbd)), err);
}

int cmd_vm_cd_remove(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "vm", 0, "cd-name", remove_cd, NULL, err);
}

/* ---- VBDs -------------------------------------------------------------------------------------------- */

static int word_of(const char *given, const char *const *words, size_t n, struct value *ret_value)
{
    for (size_t i = 0; i < n; i++)
        if (!strcasecmp(given, words[i])) {
            *ret_value = value_string(words[i]);
            return 0;
        }
    return -1;
}

int cmd_vbd_create(struct cmd *c, struct xerr *err)
{
    static const char *const modes[] = { "RO", "RW" }, *const types[] = { "CD", "Disk", "Floppy" };
    const char *mode = cmd_get_or(c, "mode", "RW"), *type = cmd_get_or(c, "type", "Disk");
    struct value_builder b = value_builder(c->arena);
    bool bootable, unpluggable, empty = !cmd_get(c, "vdi-uuid");
    struct value mode_value, type_value;
    struct ref vm, vdi, vbd;

    if (cmd_need_ref(c, "vm-uuid", CLASS_VM, &vm, err) < 0) return -1;
    if (cmd_get_ref(c, "vdi-uuid", CLASS_VDI, &vdi, err) < 0) return -1;
    if (cmd_get_bool(c, "bootable", false, &bootable, err) < 0) return -1;
    if (cmd_get_bool(c, "unpluggable", true, &unpluggable, err) < 0) return -1;
    if (word_of(mode, modes, ARRAY_SIZE(modes), &mode_value) < 0)
        return cmd_fail(err, "Unknown mode: %s (should be \"ro\" or \"rw\")", mode);
    if (word_of(type, types, ARRAY_SIZE(types), &type_value) < 0)
        return cmd_fail(err, "Unknown type: %s (should be \"cd\", \"disk\" or \"floppy\")", type);
    if (empty && streq(type_value.s, "Disk")) return cmd_fail(err, "Empty VBDs can only be made for type=CD");
    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "VDI", value_ref(vdi));
    value_put(&b, "userdevice", value_string(cmd_need(c, "device")));
    value_put(&b, "bootable", value_bool(bootable));
    value_put(&b, "mode", mode_value);
    value_put(&b, "type", type_value);
    value_put(&b, "unpluggable", value_bool(unpluggable));
    value_put(&b, "empty", value_bool(empty));
    value_put(&b, "other_config", value_map(NULL, 0));
    value_put(&b, "qos_algorithm_type", value_string(""));
    value_put(&b, "qos_algorithm_params", value_map(NULL, 0));
    if (cmd_call_ref(c, "VBD.create", CMD_ARGS(value_built_map(&b)), &vbd, err) < 0) return -1;
    return cmd_print_uuid(c, CLASS_VBD, vbd, err);
}

/* A guest may refuse for a while; with timeout= it is given that many seconds. */
int cmd_vbd_unplug(struct cmd *c, struct xerr *err)
{
    const struct timespec pause = { .tv_sec = 1 };
    const char *timeout = cmd_get(c, "timeout");
    double seconds = 0;
    int64_t deadline;
    struct ref vbd;
    bool force;

    if (cmd_need_ref(c, "uuid", CLASS_VBD, &vbd, err) < 0) return -1;
    if (timeout && cmd_parse_float("timeout", timeout, &seconds, err) < 0) return -1;
    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    if (cmd_do(c, force ? "VBD.unplug_force" : "VBD.unplug", CMD_ARGS(value_ref(vbd)), err) == 0) return 0;
    if (!xerr_is(err, "DEVICE_DETACH_REJECTED") || !(seconds > 0)) return -1;
    deadline = clock_deadline_ns(seconds < 86400 ? (int64_t)(seconds * 1000) : 86400000);
    while (clock_boottime_ns() < deadline && !c->env->gone(c->env->client)) {
        _cleanup_xerr_ struct xerr ignored = XERR_INIT;
        struct value attached;

        nanosleep(&pause, NULL);
        if (cmd_call(c, "VBD.get_currently_attached", CMD_ARGS(value_ref(vbd)), &attached, &ignored) == 0
            && attached.kind == VALUE_BOOL && !attached.b) {
            xerr_clear(err);
            return 0;
        }
    }
    return -1;
}

/* ---- VDIs -------------------------------------------------------------------------------------------- */

int cmd_vdi_resize(struct cmd *c, struct xerr *err)
{
    struct ref vdi;
    int64_t size;
    bool online;

    if (cmd_need_ref(c, "uuid", CLASS_VDI, &vdi, err) < 0) return -1;
    if (cmd_parse_bytes("disk-size", cmd_need(c, "disk-size"), &size, err) < 0) return -1;
    if (cmd_get_bool(c, "online", false, &online, err) < 0) return -1;
    return cmd_work(c, online ? "VDI.resize_online" : "VDI.resize", CMD_ARGS(value_ref(vdi), value_int(size)),
                    NULL, err);
}

int cmd_vdi_clone(struct cmd *c, struct xerr *err)
{
    static const struct { const char *param, *method; } names[] = {
        { "new-name-label", "VDI.set_name_label" },
        { "new-name-description", "VDI.set_name_description" },
    };
    struct value result;
    struct ref vdi;

    if (cmd_need_ref(c, "uuid", CLASS_VDI, &vdi, err) < 0) return -1;
    if (cmd_work(c, "VDI.clone", CMD_ARGS(value_ref(vdi), cmd_get_map(c, "driver-params")), &result, err) < 0)
        return -1;
    vdi = cmd_as_ref(&result);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *text = cmd_get(c, names[i].param);

        if (text && cmd_do(c, names[i].method, CMD_ARGS(value_ref(vdi), value_string(text)), err) < 0)
            return -1;
    }
    return cmd_print_uuid(c, CLASS_VDI, vdi, err);
}

int cmd_vdi_copy(struct cmd *c, struct xerr *err)
{
    struct ref vdi, sr, base, into;
    struct value result;

    if (cmd_need_ref(c, "uuid", CLASS_VDI, &vdi, err) < 0) return -1;
    if (!cmd_get(c, "sr-uuid") == !cmd_get(c, "into-vdi-uuid"))
        return cmd_fail(
            err, "Please specify one but not both of: a destination sr-uuid (I will create a fresh VDI); or "
                 "a destination into-vdi-uuid (I will copy the blocks into this VDI)");
    if (cmd_get_ref(c, "base-vdi-uuid", CLASS_VDI, &base, err) < 0) return -1;
    if (cmd_get_ref(c, "sr-uuid", CLASS_SR, &sr, err) < 0) return -1;
    if (cmd_get_ref(c, "into-vdi-uuid", CLASS_VDI, &into, err) < 0) return -1;
    if (cmd_work(c, "VDI.copy", CMD_ARGS(value_ref(vdi), value_ref(sr), value_ref(base), value_ref(into)),
                 &result, err))
        return -1;
    return cmd_print_uuid(c, CLASS_VDI, cmd_as_ref(&result), err);
}

int cmd_vdi_pool_migrate(struct cmd *c, struct xerr *err)
{
    const char *format = cmd_get(c, "dest-img-format");
    struct value_builder options = value_builder(c->arena);
    struct ref vdi, sr;
    struct value result;

    if (cmd_need_ref(c, "uuid", CLASS_VDI, &vdi, err) < 0) return -1;
    if (cmd_need_ref(c, "sr-uuid", CLASS_SR, &sr, err) < 0) return -1;
    if (format) value_put(&options, "dest-img-format", value_string(format));
    if (cmd_work(c, "VDI.pool_migrate", CMD_ARGS(value_ref(vdi), value_ref(sr), value_built_map(&options)),
                 &result, err))
        return -1;
    return cmd_print_uuid(c, CLASS_VDI, cmd_as_ref(&result), err);
}

int cmd_diagnostic_vdi_status(struct cmd *c, struct xerr *err)
{
    static const char vbd_fields[] = "uuid,userdevice,device,empty,mode,type,storage-lock";
    struct cmd_object_row vdi = { .type = cmd_record_type("vdi") }, vbd = { .type = cmd_record_type("vbd") };
    struct value vbds;

    if (cmd_need_ref(c, "uuid", CLASS_VDI, &vdi.ref, err) < 0) return -1;
    if (cmd_show(c, &vdi, "uuid,name-label,sr-uuid,mode,read-only,sharable,storage-lock", NULL, err) < 0)
        return -1;
    if (cmd_call(c, "VDI.get_VBDs", CMD_ARGS(value_ref(vdi.ref)), &vbds, err) < 0) return -1;
    for (int active = 1; active >= 0; active--) {
        bool any = false;

        for (size_t i = 0; vbds.kind == VALUE_SET && i < vbds.set.n; i++) {
            vbd.ref = cmd_as_ref(&vbds.set.items[i]);
            vbd.record = cmd_object_record(c, CLASS_VBD, vbd.ref);
            if (!vbd.record || cmd_member_bool(vbd.record, "currently_attached") != (active == 1)) continue;
            if (!any) cmd_item(c, active ? "active VBDs:" : "inactive VBDs:");
            any = true;
            if (cmd_show(c, &vbd, vbd_fields, NULL, err) < 0) return -1;
        }
        if (active && !any) cmd_item(c, "no active VBDs.");
    }
    return 0;
}

int cmd_diagnostic_vm_status(struct cmd *c, struct xerr *err)
{
    struct cmd_object_row vm = { .type = cmd_record_type("vm") }, vbd = { .type = cmd_record_type("vbd") };
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct value vbds;

    if (cmd_need_ref(c, "uuid", CLASS_VM, &vm.ref, err) < 0) return -1;
    if (cmd_show(c, &vm, "uuid,name-label,power-state,possible-hosts", NULL, err) < 0) return -1;
    cmd_item(c, "Checking to see whether disks are attachable");
    if (cmd_call(c, "VM.get_VBDs", CMD_ARGS(value_ref(vm.ref)), &vbds, err) < 0) return -1;
    for (size_t i = 0; vbds.kind == VALUE_SET && i < vbds.set.n; i++) {
        vbd.ref = cmd_as_ref(&vbds.set.items[i]);
        vbd.record = cmd_object_record(c, CLASS_VBD, vbd.ref);
        if (vbd.record &&
            cmd_show(c, &vbd, "uuid,userdevice,device,vdi-uuid,empty,mode,type,storage-lock,attachable", NULL,
                     err))
            return -1;
    }
    cmd_item(c, "Checking to see whether VM can boot on each host");
    if (cmd_vm_host_report(c, vm.ref, err) < 0) return -1;
    if (cmd_do(c, "VM.assert_agile", CMD_ARGS(value_ref(vm.ref)), &why) == 0)
        cmd_item(c, "VM is agile.");
    else
        cmd_item(c, arena_printf(c->arena, "VM is not agile because: %s", cmd_start_problem(c, &why)));
    return 0;
}
