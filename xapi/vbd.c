/* Class VBD: the drives of a VM.
 * Called by: the generated thunks (schema/vbd.xml).  Calls: vbd.h, vdi.h, hv/, db/. */
#define LOG_MODULE "vbd"
#include "xapi/vbd.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/vdi.h"

enum { UNPLUG_MS = 0 };

/* ---- create -------------------------------------------------------------------------------- */

/* One record as it arrives: members may be missing. */
struct new_vbd {
    struct ref vm, vdi;
    int type, mode;
    bool empty;
    int number;
};

static struct ref record_ref(const struct value *record, const char *key)
{
    const struct value *v = value_get(record, key);

    return v && v->kind == VALUE_REF ? v->ref : REF_NULL;
}

static bool record_bool(const struct value *record, const char *key, bool fallback)
{
    const struct value *v = value_get(record, key);

    return v && v->kind == VALUE_BOOL ? v->b : fallback;
}

static int record_enum(const struct value *record, field_id f, int fallback)
{
    const struct field_desc *field = model_field(f);
    int i = enum_index(field->type->e, value_get_str(record, field->name, ""));

    return i < 0 ? fallback : i;
}

/* 0 when the medium may go into a CD drive. */
static int check_iso(const struct snap *s, const struct row *vdi, struct xerr *err)
{
    const struct row *sr = snap_get(s, CLASS_SR, row_ref(vdi, F_VDI_SR));
    const char *content = sr ? row_str(sr, F_SR_content_type) : "", *type = sr ? row_str(sr, F_SR_type) : "";

    if (streq(content, "iso") || streq(type, "iso") || streq(type, "udev")) return 0;
    return xerr_vdi_is_not_iso(err, REF_STR(row_ref_of(vdi)), content);
}

static int check_medium(const struct snap *s, const struct new_vbd *n, struct xerr *err)
{
    const struct row *vdi;

    if (n->type == vbd_type_CD && n->mode == vbd_mode_RW) return xerr_vbd_cds_must_be_readonly(err);
    if (n->empty) return n->type == vbd_type_CD ? 0 : xerr_handle_invalid(err, "VDI", REF_STR(n->vdi));
    vdi = snap_need(s, CLASS_VDI, n->vdi, err);
    if (!vdi) return -1;
    if (n->mode == vbd_mode_RW && row_bool(vdi, F_VDI_read_only))
        return xerr_vdi_readonly(err, REF_STR(n->vdi));
    if (!row_bool(vdi, F_VDI_managed)) return xerr_vdi_not_managed(err, REF_STR(n->vdi));
    return n->type == vbd_type_CD ? check_iso(s, vdi, err) : 0;
}

/* Which device numbers a VM's drives have, but for one of them. */
static void used_numbers(const struct snap *s, const struct row *vm, struct ref but, bool ret_used[256])
{
    const struct refset *vbds = row_refs(vm, F_VM_VBDs);

    memset(ret_used, 0, 256 * sizeof(bool));
    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        int number = vbd ? vbd_device_number(row_str(vbd, F_VBD_userdevice)) : -1;
        if (number >= 0 && number < 256 && !ref_eq(vbds->refs[i], but)) ret_used[number] = true;
    }
}

static int choose_number(const struct snap *s, const struct row *vm, struct ref but, const char *wanted,
                         int *ret_number, struct xerr *err)
{
    int number = vbd_device_number(wanted);
    bool used[256];

    used_numbers(s, vm, but, used);
    if (number == -2) return xerr_invalid_device(err, wanted);
    if (number >= 0 && used[number]) return xerr_device_already_exists(err, wanted);
    for (int i = 0; number < 0 && i < 256; i++)
        if (!used[i]) number = i;
    if (number < 0) return xerr_invalid_device(err, wanted);
    *ret_number = number;
    return 0;
}

static int check_new(const struct snap *s, const struct value *args, struct new_vbd *n, struct xerr *err)
{
    const struct row *vm = snap_need(s, CLASS_VM, n->vm, err);
    const char *wanted = value_get_str(args, "userdevice", "");

    if (!vm || check_medium(s, n, err)) return -1;
    if (row_enum(vm, F_VM_power_state) == vm_power_state_Suspended)
        return xerr_vm_bad_power_state(err, REF_STR(n->vm), "halted", "suspended");
    if (!*wanted) wanted = value_get_str(args, "device", "autodetect");
    return choose_number(s, vm, REF_NULL, *wanted ? wanted : "autodetect", &n->number, err);
}

static void put_map(struct txn *t, struct ref vbd, field_id f, const struct value *v)
{
    if (v && v->kind == VALUE_MAP && v->map.n) txn_set_value(t, vbd, f, v);
}

int vbd_create(struct call *c, const struct value *args, struct ref *ret_result, struct xerr *err)
{
    struct new_vbd n = {
        .vm = record_ref(args, "VM"),
        .vdi = record_ref(args, "VDI"),
        .type = record_enum(args, F_VBD_type, vbd_type_Disk),
        .empty = record_bool(args, "empty", false),
    };
    struct ref vbd = ref_new();

    n.mode = record_enum(args, F_VBD_mode, n.type == vbd_type_CD ? vbd_mode_RO : vbd_mode_RW);
    if (ref_is_null(n.vdi)) n.empty = true;
    if (n.empty) n.vdi = REF_NULL;
    struct txn *t = db_begin(c->agent->db);
    if (check_new(txn_snap(t), args, &n, err) ||
        vbd_qos_check(c, value_get_str(args, "qos_algorithm_type", ""), value_get(args, "qos_algorithm_params"), err)) {
        db_abort(t);
        return -1;
    }
    txn_create(t, CLASS_VBD, vbd);
    txn_set_ref(t, vbd, F_VBD_VM, n.vm);
    txn_set_ref(t, vbd, F_VBD_VDI, n.vdi);
    txn_set_enum(t, vbd, F_VBD_type, n.type);
    txn_set_enum(t, vbd, F_VBD_mode, n.mode);
    txn_set_bool(t, vbd, F_VBD_empty, n.empty);
    txn_set_bool(t, vbd, F_VBD_bootable, record_bool(args, "bootable", false));
    txn_set_bool(t, vbd, F_VBD_unpluggable, record_bool(args, "unpluggable", true));
    txn_set_str(t, vbd, F_VBD_userdevice, arena_printf(c->arena, "%d", n.number));
    txn_set_str(t, vbd, F_VBD_qos_algorithm_type, value_get_str(args, "qos_algorithm_type", ""));
    put_map(t, vbd, F_VBD_qos_algorithm_params, value_get(args, "qos_algorithm_params"));
    vbd_qos_supported(c, t, vbd);
    put_map(t, vbd, F_VBD_other_config, value_get(args, "other_config"));
    lifecycle_refresh(t, CLASS_VBD, vbd);
    lifecycle_refresh(t, CLASS_VM, n.vm);
    if (db_commit(t, err)) return -1;
    *ret_result = vbd;
    return 0;
}

int vbd_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VBD, self, err);
    int rc = row ? 0 : -1;

    if (row && row_bool(row, F_VBD_currently_attached))
        rc = xerr_operation_not_allowed(err, "The VBD is attached: unplug it first");
    if (rc) {
        db_abort(t);
        return rc;
    }
    struct ref vm = row_ref(row, F_VBD_VM);
    txn_destroy(t, CLASS_VBD, self);
    if (snap_get(txn_snap(t), CLASS_VM, vm)) lifecycle_refresh(t, CLASS_VM, vm);
    return db_commit(t, err);
}

/* ---- fields that need a look --------------------------------------------------------------- */

int vbd_set_userdevice(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VBD, self, err);
    const struct row *vm = row ? snap_need(txn_snap(t), CLASS_VM, row_ref(row, F_VBD_VM), err) : NULL;
    int number, rc = vm ? choose_number(txn_snap(t), vm, self, value, &number, err) : -1;

    if (rc) {
        db_abort(t);
        return rc;
    }
    txn_set_str(t, self, F_VBD_userdevice, arena_printf(c->arena, "%d", number));
    return db_commit(t, err);
}

int vbd_set_mode(struct call *c, struct ref self, enum vbd_mode value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VBD, self, err);
    const struct row *vdi = row ? snap_get(txn_snap(t), CLASS_VDI, row_ref(row, F_VBD_VDI)) : NULL;
    int rc = row ? 0 : -1;

    if (row && row_bool(row, F_VBD_currently_attached)) rc = xerr_device_already_attached(err, REF_STR(self));
    else if (row && value == vbd_mode_RW && row_enum(row, F_VBD_type) == vbd_type_CD)
        rc = xerr_vbd_cds_must_be_readonly(err);
    else if (vdi && value == vbd_mode_RW && row_bool(vdi, F_VDI_read_only))
        rc = xerr_vdi_readonly(err, REF_STR(row_ref_of(vdi)));
    if (rc) {
        db_abort(t);
        return rc;
    }
    txn_set_enum(t, self, F_VBD_mode, (int)value);
    return db_commit(t, err);
}

/* ---- plug, unplug -------------------------------------------------------------------------- */

/* The guest behind a VBD. Drives of the control domain are not the hypervisor's. */
static int find_guest(struct call *c, struct ref vbd, struct hv_id *ret_id, bool *ret_running,
                      struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VBD, vbd, err);
    const struct row *vm = row ? snap_need(s, CLASS_VM, row_ref(row, F_VBD_VM), err) : NULL;

    if (!vm) return -1;
    if (row_bool(vm, F_VM_is_control_domain))
        return xerr_operation_not_allowed(err,
                                          "Disks cannot be plugged into the control domain of this host");
    int state = row_enum(vm, F_VM_power_state);
    *ret_running = state == vm_power_state_Running || state == vm_power_state_Paused;
    *ret_id = hv_id(arena_strdup(c->arena, row_uuid(vm)), row_ref_of(vm));
    return 0;
}

static int commit_attached(struct call *c, struct ref vbd, bool attached, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    vbd_set_attached(t, vbd, attached);
    return db_commit(t, err);
}

static int attach_opened(struct call *c, struct hv_id id, const struct hv_disk *disk, struct xerr *err)
{
    _cleanup_opening_ struct storage_opening opening;

    vbd_opening_begin(c, disk, 1, &opening);
    return hv_disk_attach(c->agent->hv, id, disk, err);
}

int vbd_plug(struct call *c, struct ref self, struct xerr *err)
{
    struct hv_disk disk;
    struct hv_id id;
    bool running;

    if (find_guest(c, self, &id, &running, err) || vbd_attach(c, self, &disk, err)) return -1;
    if (attach_opened(c, id, &disk, err)) goto detach;
    if (commit_attached(c, self, true, err) == 0) {
        vbd_qos_begun(c, id, false);
        return 0;
    }
    hv_disk_detach(c->agent->hv, id, &disk, UNPLUG_FORCE_MS, NULL);
detach:
    vbd_detach(c, self, NULL);
    return -1;
}

static int unplug(struct call *c, struct ref self, int timeout_ms, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct hv_disk disk;
    struct hv_id id;
    bool running;

    if (find_guest(c, self, &id, &running, err) || vbd_describe(c, self, NULL, &disk, err)) return -1;
    if (hv_disk_detach(c->agent->hv, id, &disk, timeout_ms, &why) &&
        !xerr_is(&why, "DEVICE_ALREADY_DETACHED"))
        return xerr_move(err, &why);
    return vbd_detach(c, self, err) || commit_attached(c, self, false, err) ? -1 : 0;
}

int vbd_unplug(struct call *c, struct ref self, struct xerr *err)
{
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VBD, self, err);
        if (!row) return -1;
        if (!row_bool(row, F_VBD_unpluggable)) return xerr_vbd_not_unpluggable(err, REF_STR(self));
    }
    return unplug(c, self, UNPLUG_MS, err);
}

int vbd_unplug_force(struct call *c, struct ref self, struct xerr *err)
{
    return unplug(c, self, UNPLUG_FORCE_MS, err);
}

int vbd_assert_attachable(struct call *c, struct ref self, struct xerr *err)
{
    const struct storage_attachment *list;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VBD, self, err);

    if (!row) return -1;
    if (row_bool(row, F_VBD_currently_attached)) return xerr_device_already_attached(err, REF_STR(self));
    if (row_bool(row, F_VBD_empty)) return 0;
    const struct row *vdi = snap_need(s, CLASS_VDI, row_ref(row, F_VBD_VDI), err);
    if (!vdi) return -1;
    bool writable = row_enum(row, F_VBD_mode) == vbd_mode_RW;
    if (writable && row_bool(vdi, F_VDI_read_only)) return xerr_vdi_readonly(err, REF_STR(row_ref_of(vdi)));
    if (row_bool(vdi, F_VDI_sharable)) return 0;
    size_t n = storage_attachments(c->agent->storage, NULL, row_uuid(vdi), c->arena, &list);
    for (size_t i = 0; i < n; i++)
        if (writable || list[i].disk.writable)
            return xerr_vdi_in_use(err, REF_STR(row_ref_of(vdi)), "attach");
    return 0;
}

/* ---- CD drives ----------------------------------------------------------------------------- */

static int commit_medium(struct call *c, struct ref vbd, struct ref vdi, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VBD, vbd);
    struct ref old = row ? row_ref(row, F_VBD_VDI) : REF_NULL;

    txn_set_ref(t, vbd, F_VBD_VDI, vdi);
    txn_set_bool(t, vbd, F_VBD_empty, ref_is_null(vdi));
    lifecycle_refresh(t, CLASS_VBD, vbd);
    if (snap_get(txn_snap(t), CLASS_VDI, old)) lifecycle_refresh(t, CLASS_VDI, old);
    if (snap_get(txn_snap(t), CLASS_VDI, vdi)) lifecycle_refresh(t, CLASS_VDI, vdi);
    return db_commit(t, err);
}

struct cd {
    struct ref vdi;            /* what is in it; null = nothing */
    const char *uuid;
    bool attached;             /* a running guest has the drive */
    struct hv_id id;
};

static int read_cd(struct call *c, struct ref vbd, struct ref new_vdi, struct cd *ret_cd, struct xerr *err)
{
    struct cd cd;
    bool running;

    if (find_guest(c, vbd, &cd.id, &running, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VBD, vbd, err);
    if (!row) return -1;
    if (row_enum(row, F_VBD_type) != vbd_type_CD) return xerr_vbd_not_removable_media(err, REF_STR(vbd));
    cd.vdi = row_bool(row, F_VBD_empty) ? REF_NULL : row_ref(row, F_VBD_VDI);
    cd.uuid = arena_strdup(c->arena, row_uuid(row));
    cd.attached = running && row_bool(row, F_VBD_currently_attached);
    const struct row *vdi = ref_is_null(new_vdi) ? NULL : snap_need(s, CLASS_VDI, new_vdi, err);
    if (!ref_is_null(new_vdi) && (!vdi || check_iso(s, vdi, err))) return -1;
    *ret_cd = cd;
    return 0;
}

int vbd_insert(struct call *c, struct ref vbd, struct ref vdi, struct xerr *err)
{
    struct storage_disk disk;
    struct hv_disk hv;
    struct cd cd;

    if (ref_is_null(vdi)) return xerr_handle_invalid(err, "VDI", REF_STR(vdi));
    if (read_cd(c, vbd, vdi, &cd, err)) return -1;
    if (!ref_is_null(cd.vdi)) return xerr_vbd_not_empty(err, REF_STR(vbd));
    if (!cd.attached) return commit_medium(c, vbd, vdi, err);
    if (vdi_attach(c, vdi, cd.uuid, false, &disk, err)) return -1;
    if (vbd_describe(c, vbd, &disk, &hv, err) || hv_cd_change(c->agent->hv, cd.id, &hv, err)) goto detach;
    if (commit_medium(c, vbd, vdi, err) == 0) return 0;
    hv.source = HV_SOURCE_EMPTY;
    hv.path = NULL;
    hv_cd_change(c->agent->hv, cd.id, &hv, NULL);
detach:
    vdi_detach(c, vdi, cd.uuid, NULL);
    return -1;
}

int vbd_eject(struct call *c, struct ref vbd, struct xerr *err)
{
    struct hv_disk hv;
    struct cd cd;

    if (read_cd(c, vbd, REF_NULL, &cd, err)) return -1;
    if (ref_is_null(cd.vdi)) return xerr_vbd_is_empty(err, REF_STR(vbd));
    if (cd.attached) {
        if (vbd_describe(c, vbd, NULL, &hv, err) || hv_cd_change(c->agent->hv, cd.id, &hv, err)) return -1;
        if (vdi_detach(c, cd.vdi, cd.uuid, err)) return -1;
    }
    return commit_medium(c, vbd, REF_NULL, err);
}
