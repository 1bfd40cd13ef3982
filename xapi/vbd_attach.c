/* Class VBD as the start and stop of VMs need it: disks attached, described to the hypervisor, released.
 * Called by: vbd.c, vdi*.c, vm*.c.  Calls: vdi.h, storage/, db/. */
#define LOG_MODULE "vbd"
#include "xapi/vbd.h"

#include "lib/log.h"
#include "lib/num.h"
#include "xapi/call/lifecycle.h"
#include "xapi/sr.h"
#include "xapi/vdi.h"

#include <ctype.h>

enum { MAX_NUMBER = 255 };

/* ---- names --------------------------------------------------------------------------------- */

const char *vbd_device_name(struct arena *a, unsigned number)
{
    const char *letters = "";

    for (unsigned n = number + 1; n; n = (n - 1) / 26)
        letters = arena_printf(a, "%c%s", 'a' + (int)((n - 1) % 26), letters);
    return arena_printf(a, "xvd%s", letters);
}

int vbd_device_number(const char *text)
{
    int64_t number;
    int letters = 0;

    if (!*text || streq(text, "autodetect")) return -1;
    if (isdigit((unsigned char)*text))
        return num_parse_int(text, &number) && number <= MAX_NUMBER ? (int)number : -2;
    const char *p = has_prefix(text, "xvd")                            ? text + 3
                    : has_prefix(text, "hd") || has_prefix(text, "sd") ? text + 2
                                                                       : "";
    for (; *p >= 'a' && *p <= 'z' && letters <= MAX_NUMBER; p++) letters = letters * 26 + (*p - 'a' + 1);
    return *p || letters == 0 || letters > MAX_NUMBER + 1 ? -2 : letters - 1;
}

/* ---- one VBD ------------------------------------------------------------------------------- */

/* What attaching needs of the records, read at once. */
struct drive {
    struct ref vbd, vdi, vm;
    const char *uuid, *device, *vdi_uuid;
    struct hv_disk limits; /* only they */
    bool cdrom, writable, bootable, empty, vm_halted;
    int number;
};

static int read_drive(struct call *c, const struct snap *s, struct ref vbd, struct drive *ret_drive,
                      struct xerr *err)
{
    const struct row *row = snap_need(s, CLASS_VBD, vbd, err);
    const struct row *vdi = row ? snap_get(s, CLASS_VDI, row_ref(row, F_VBD_VDI)) : NULL;
    const struct row *vm = row ? snap_get(s, CLASS_VM, row_ref(row, F_VBD_VM)) : NULL;

    if (!row) return -1;
    int number = vbd_device_number(row_str(row, F_VBD_userdevice));
    if (number < 0) number = vbd_device_number(row_str(row, F_VBD_device));
    if (number < 0) return xerr_invalid_device(err, row_str(row, F_VBD_userdevice));
    *ret_drive = (struct drive){
        .vbd = vbd,
        .vdi = row_ref(row, F_VBD_VDI),
        .vm = row_ref(row, F_VBD_VM),
        .uuid = arena_strdup(c->arena, row_uuid(row)),
        .device = vbd_device_name(c->arena, (unsigned)number),
        .vdi_uuid = vdi ? arena_strdup(c->arena, row_uuid(vdi)) : NULL,
        .cdrom = row_enum(row, F_VBD_type) == vbd_type_CD,
        .writable = row_enum(row, F_VBD_mode) == vbd_mode_RW,
        .bootable = row_bool(row, F_VBD_bootable),
        .empty = row_bool(row, F_VBD_empty) || ref_is_null(row_ref(row, F_VBD_VDI)),
        .vm_halted = vm && row_enum(vm, F_VM_power_state) == vm_power_state_Halted,
        .number = number,
    };
    vbd_qos_limits(row, &ret_drive->limits);
    if (!ret_drive->empty && !vdi) return xerr_handle_invalid(err, "VDI", REF_STR(ret_drive->vdi));
    return 0;
}

static int load_drive(struct call *c, struct ref vbd, struct drive *ret_drive, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return read_drive(c, s, vbd, ret_drive, err);
}

static int describe(const struct drive *d, const struct storage_disk *disk, struct hv_disk *ret_disk,
                    struct xerr *err)
{
    struct hv_disk hv = {
        .ref = d->vbd,
        .device = d->device,
        .cdrom = d->cdrom,
        .readonly = !d->writable || d->cdrom,
        .bootable = d->bootable,
        .serial = d->vdi_uuid,
        .limit_bytes = d->limits.limit_bytes,
        .limit_requests = d->limits.limit_requests,
    };

    if (disk) {
        hv.source = disk->socket ? HV_SOURCE_NBD : disk->block ? HV_SOURCE_BLOCK : HV_SOURCE_FILE;
        hv.path = disk->socket ? disk->socket : disk->guest_path ? disk->guest_path : disk->path;
        if (disk->socket) hv.format = HV_FORMAT_RAW;
        else if (streq(disk->format, "qcow2")) hv.format = HV_FORMAT_QCOW2;
        else if (streq(disk->format, "raw")) hv.format = HV_FORMAT_RAW;
        else
            return xerr_value_not_supported(err, "image format", disk->format,
                                            "the hypervisor cannot read it");
    }
    *ret_disk = hv;
    return 0;
}

int vbd_describe(struct call *c, struct ref vbd, const struct storage_disk *disk, struct hv_disk *ret_disk,
                 struct xerr *err)
{
    struct drive d;

    return load_drive(c, vbd, &d, err) || describe(&d, disk, ret_disk, err) ? -1 : 0;
}

/* A disk with on_boot = reset forgets what the last run of its VM wrote. */
static int begin_epoch(struct call *c, const struct drive *d, struct xerr *err)
{
    struct disk_ids ids;
    struct value ignored;

    if (!d->vm_halted || !d->writable) return 0;
    if (vdi_for_driver(c, d->vdi, &ids, err)) return -1;
    if (!streq(ids.vdi.on_boot, "reset")) return 0;
    return driver_call(c, &ids.sr, &ids.vdi, "vdi_epoch_begin", NULL, 0, NULL, &ignored, err);
}

static int attach_drive(struct call *c, const struct drive *d, struct hv_disk *ret_disk, struct xerr *err)
{
    struct storage_disk disk;

    if (d->empty) return describe(d, NULL, ret_disk, err);
    if (begin_epoch(c, d, err)) return -1;
    if (vdi_attach(c, d->vdi, d->uuid, d->writable && !d->cdrom, &disk, err)) return -1;
    if (describe(d, &disk, ret_disk, err) == 0) return 0;
    vdi_detach(c, d->vdi, d->uuid, NULL);
    return -1;
}

int vbd_attach(struct call *c, struct ref vbd, struct hv_disk *ret_disk, struct xerr *err)
{
    struct drive d;

    return load_drive(c, vbd, &d, err) || attach_drive(c, &d, ret_disk, err) ? -1 : 0;
}

static int detach_drive(struct call *c, const struct drive *d, struct xerr *err)
{
    const struct storage_attachment *list;

    if (d->empty || !storage_attachments(c->agent->storage, NULL, d->vdi_uuid, c->arena, &list)) return 0;
    return vdi_detach(c, d->vdi, d->uuid, err);
}

int vbd_detach(struct call *c, struct ref vbd, struct xerr *err)
{
    struct drive d;

    return load_drive(c, vbd, &d, err) || detach_drive(c, &d, err) ? -1 : 0;
}

int vbd_of_owner(struct call *c, const char *owner, struct ref *ret_vbd, struct hv_id *ret_id)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *vbd = owner ? snap_by_uuid(s, CLASS_VBD, owner) : NULL;
    const struct row *vm = vbd ? snap_get(s, CLASS_VM, row_ref(vbd, F_VBD_VM)) : NULL;

    if (!vm || row_bool(vm, F_VM_is_control_domain)) return -1;
    int state = row_enum(vm, F_VM_power_state);
    if (state != vm_power_state_Running && state != vm_power_state_Paused) return -1;
    *ret_vbd = row_ref_of(vbd);
    *ret_id = hv_id(arena_strdup(c->arena, row_uuid(vm)), row_ref_of(vm));
    return 0;
}

/* ---- all VBDs of a VM ---------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    const struct drive *x = a, *y = b;

    return x->number - y->number;
}

/* A drive that holds nothing and is no CD drive is not shown to the guest. */
static bool is_shown(const struct row *vbd)
{
    return row_enum(vbd, F_VBD_type) == vbd_type_CD ||
           !(row_bool(vbd, F_VBD_empty) || ref_is_null(row_ref(vbd, F_VBD_VDI)));
}

static int list_drives(struct call *c, struct ref vm, struct drive **ret_drives, size_t *ret_n,
                       struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    const struct refset *vbds = row_refs(row, F_VM_VBDs);
    struct drive *drives = arena_new_array(c->arena, struct drive, vbds->n);
    size_t n = 0;
    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        if (!vbd || !is_shown(vbd)) continue;
        if (read_drive(c, s, vbds->refs[i], &drives[n++], err)) return -1;
    }
    qsort(drives, n, sizeof(*drives), by_number);
    *ret_drives = drives;
    *ret_n = n;
    return 0;
}

static void release(struct call *c, const struct drive *d)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (detach_drive(c, d, &why)) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_warn("disk of VBD %s stays attached: %s", d->uuid, text);
    }
}

int vbd_attach_all(struct call *c, struct ref vm, const struct hv_disk **ret_disks, size_t *ret_n,
                   struct xerr *err)
{
    struct drive *drives;
    size_t n, done = 0;

    if (list_drives(c, vm, &drives, &n, err)) return -1;
    struct hv_disk *disks = arena_new_array(c->arena, struct hv_disk, n);
    for (; done < n; done++)
        if (attach_drive(c, &drives[done], &disks[done], err)) goto undo;
    *ret_disks = disks;
    *ret_n = n;
    return 0;
undo:
    while (done--) release(c, &drives[done]);
    return -1;
}

void vbd_opening_begin(struct call *c, const struct hv_disk *disks, size_t n, struct storage_opening *ret_opening)
{
    const char **vdis = arena_new_array(c->arena, const char *, n);

    for (size_t i = 0; i < n; i++) vdis[i] = disks[i].serial;
    storage_opening_begin(c->agent->storage, vdis, n, ret_opening);
}

void vbd_detach_all(struct call *c, struct ref vm)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct drive *drives;
    size_t n;

    if (list_drives(c, vm, &drives, &n, &why)) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_warn("disks of VM %s stay attached: %s", REF_STR(vm), text);
        return;
    }
    for (size_t i = 0; i < n; i++) release(c, &drives[i]);
}

/* ---- after a commit that failed, or the end of an agent ------------------------------------ */

/* What the record says of one drive. */
struct said {
    const struct drive *drive;
    bool attached;
    struct hv_id id;
};

static bool has_attachment(struct call *c, const struct drive *d)
{
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, NULL, d->vdi_uuid, c->arena, &list);

    for (size_t i = 0; i < n; i++)
        if (streq(list[i].owner, d->uuid)) return true;
    return false;
}

/* The guest has it no more, nor has the host. */
static int write_unplugged(struct call *c, const struct drive *d, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (d->cdrom) {
        txn_set_ref(t, d->vbd, F_VBD_VDI, REF_NULL);
        txn_set_bool(t, d->vbd, F_VBD_empty, true);
        lifecycle_refresh(t, CLASS_VBD, d->vbd);
        if (snap_get(txn_snap(t), CLASS_VDI, d->vdi)) lifecycle_refresh(t, CLASS_VDI, d->vdi);
    } else {
        vbd_set_attached(t, d->vbd, false);
    }
    return db_commit(t, err);
}

static int settle_one(struct call *c, const struct said *said, bool runs, struct xerr *err)
{
    const struct drive *d = said->drive;
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct hv_disk disk;

    if (d->empty || said->attached == has_attachment(c, d)) return 0;
    log_info("disk of VBD %s: its %s was cut off", d->uuid, said->attached ? "unplugging" : "plugging");
    if (said->attached) return write_unplugged(c, d, err);
    /* As long as the guest may have it nobody else may. */
    if (runs && (describe(d, NULL, &disk, err) || (hv_disk_detach(c->agent->hv, said->id, &disk, UNPLUG_FORCE_MS, &why) &&
                                                  !xerr_is(&why, "DEVICE_ALREADY_DETACHED"))))
        return why.code ? xerr_move(err, &why) : -1;
    return vdi_detach(c, d->vdi, d->uuid, err);
}

static int list_said(struct call *c, struct ref vm, struct said **ret_list, size_t *ret_n, struct xerr *err)
{
    struct drive *drives;
    size_t n;

    if (list_drives(c, vm, &drives, &n, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);
    if (!row) return -1;
    struct said *list = arena_new_array(c->arena, struct said, n);
    const struct hv_id id = hv_id(arena_strdup(c->arena, row_uuid(row)), vm);
    for (size_t i = 0; i < n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, drives[i].vbd);
        list[i] = (struct said){ &drives[i], vbd && row_bool(vbd, F_VBD_currently_attached), id };
    }
    *ret_list = list;
    *ret_n = n;
    return 0;
}

int vbd_settle_all(struct call *c, struct ref vm, bool runs, struct xerr *err)
{
    struct said *list;
    size_t n;

    if (list_said(c, vm, &list, &n, err)) return -1;
    for (size_t i = 0; i < n; i++)
        if (settle_one(c, &list[i], runs, err)) return -1;
    return 0;
}

/* ---- in a transaction ----------------------------------------------------------------------- */

void vbd_set_attached(struct txn *t, struct ref vbd, bool attached)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VBD, vbd);
    _cleanup_arena_ struct arena *a = arena_new();

    if (!row || (attached && !is_shown(row))) return;
    int number = vbd_device_number(row_str(row, F_VBD_userdevice));
    const char *device = number < 0 ? row_str(row, F_VBD_device) : vbd_device_name(a, (unsigned)number);
    if (attached && !streq(row_str(row, F_VBD_device), device)) txn_set_str(t, vbd, F_VBD_device, device);
    row = snap_get(txn_snap(t), CLASS_VBD, vbd);
    struct ref vdi = row_ref(row, F_VBD_VDI);
    if (row_bool(row, F_VBD_currently_attached) != attached)
        txn_set_bool(t, vbd, F_VBD_currently_attached, attached);
    lifecycle_refresh(t, CLASS_VBD, vbd);
    if (snap_get(txn_snap(t), CLASS_VDI, vdi)) lifecycle_refresh(t, CLASS_VDI, vdi);
}

void vbd_set_attached_all(struct txn *t, struct ref vm, bool attached)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    _cleanup_arena_ struct arena *a = arena_new();

    if (!row) return;
    const struct refset *vbds = row_refs(row, F_VM_VBDs);
    size_t n = vbds->n;
    struct ref *copy = arena_new_array(a, struct ref, n);
    if (n) memcpy(copy, vbds->refs, n * sizeof(*copy));
    for (size_t i = 0; i < n; i++) vbd_set_attached(t, copy[i], attached);
}
