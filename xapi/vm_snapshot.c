/* Class VM, copies: snapshot, checkpoint, clone, copy, revert. Disks first, then one transaction with all the records;
 * a failure destroys the disks made so far. Until that transaction the new disks bear a mark, and after a revert's the old ones
 * do: what an agent that is killed meanwhile leaves, the next one destroys.
 * Called by: the generated thunks (schema/vm.xml).  Calls: vm.c (records), the gates for disks, vm_power.c. */
#include "xapi/vm.h"

#include <time.h>

#define LOG_MODULE "vm"
#include "gen/methods.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/unfinished.h"
#include "xapi/vm_doubts.h"
#include "xapi/vtpm.h"

/* One disk drive of the source and what the copy gets in its place. */
struct drive {
    struct ref vbd, vdi, new_vdi;
    bool copied;               /* new_vdi was made for the copy */
};

struct plan {
    struct ref source;
    struct drive *drives;
    size_t n;
    bool running;
    size_t n_written;          /* disks that the source may be writing to now */
    struct ref suspend_vdi, new_suspend_vdi;
};

static bool listed(const struct value *set, struct ref ref)
{
    for (size_t i = 0; set && i < set->set.n; i++)
        if (ref_eq(set->set.items[i].ref, ref)) return true;
    return false;
}

/* The drives of a VM; disks in `leave_out` are not copied at all. */
static int make_plan(struct call *c, struct ref vm, const struct value *leave_out, struct plan *ret_plan, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    const struct refset *vbds = row_refs(row, F_VM_VBDs);
    struct plan plan = { .source = vm, .drives = arena_new_array(c->arena, struct drive, vbds->n),
                         .running = row_enum(row, F_VM_power_state) == vm_power_state_Running };
    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        if (!vbd || listed(leave_out, row_ref(vbd, F_VBD_VDI))) continue;
        struct drive *d = &plan.drives[plan.n++];
        d->vbd = vbds->refs[i];
        d->vdi = row_ref(vbd, F_VBD_VDI);
        d->new_vdi = d->vdi;   /* a CD stays the same disc */
        d->copied = row_enum(vbd, F_VBD_type) == vbd_type_Disk && !ref_is_null(d->vdi);
        if (d->copied) d->new_vdi = REF_NULL;
        plan.n_written += d->copied && row_enum(vbd, F_VBD_mode) == vbd_mode_RW && row_bool(vbd, F_VBD_currently_attached);
    }
    if (row_enum(row, F_VM_power_state) == vm_power_state_Suspended) plan.suspend_vdi = row_ref(row, F_VM_suspend_VDI);
    *ret_plan = plan;
    return 0;
}

static void drop_disks(struct call *c, const struct plan *plan)
{
    for (size_t i = 0; i < plan->n; i++)
        if (plan->drives[i].copied && !ref_is_null(plan->drives[i].new_vdi))
            vm_undo_vdi(c, plan->drives[i].new_vdi);
    if (!ref_is_null(plan->new_suspend_vdi)) vm_undo_vdi(c, plan->new_suspend_vdi);
}

/* Marked. On failure nothing stays. */
static int copy_disk(struct call *c, const char *how, struct ref vdi, struct ref sr, struct ref *ret_vdi, struct xerr *err)
{
    struct value result = value_ref(REF_NULL);

    c->unfinished = "";
    int rc = streq(how, "VDI.copy")
                 ? call_message(c, how, ARGS(value_ref(vdi), value_ref(sr), value_ref(REF_NULL), value_ref(REF_NULL)), &result, err)
                 : call_message(c, how, ARGS(value_ref(vdi), value_map(NULL, 0)), &result, err);

    c->unfinished = NULL;
    if (!rc) *ret_vdi = result.ref;
    return rc;
}

/* how: "VDI.snapshot", "VDI.clone" or "VDI.copy" (to sr; null = where the disk is). */
static int copy_disks(struct call *c, struct plan *plan, const char *how, struct ref sr, struct xerr *err)
{
    for (size_t i = 0; i < plan->n; i++) {
        struct drive *d = &plan->drives[i];
        call_progress(c, 0.9 * (double)i / (double)plan->n);
        if (!d->copied) continue;
        if (call_check_cancel(c, err) || copy_disk(c, how, d->vdi, sr, &d->new_vdi, err)) goto fail;
    }
    if (!ref_is_null(plan->suspend_vdi) &&
        copy_disk(c, "VDI.copy", plan->suspend_vdi, sr, &plan->new_suspend_vdi, err))
        goto fail;
    const int broken = fault_step("vm.copy.disks");
    if (!broken) return 0;
    xerr_internal(err, "disks of a copy: %s", strerror(broken));
fail:
    drop_disks(c, plan);
    return -1;
}

/* ---- records of devices --------------------------------------------------------------------------------------- */

/* A copy of a device's row for another VM; the live fields start afresh. */
static struct ref copy_row(struct call *c, struct txn *t, enum class_id cls, struct ref from, const field_id *fresh, size_t n)
{
    struct ref copy = ref_new();

    txn_create(t, cls, copy);
    for (unsigned i = 0; i < model.classes[cls].n_fields; i++) {
        const struct field_desc *f = &model.classes[cls].fields[i];
        const struct row *row = snap_get(txn_snap(t), cls, from);
        bool skip = !row || f->inverse;
        for (size_t j = 0; j < n && !skip; j++) skip = fresh[j] == f->id;
        if (skip) continue;
        struct value v = row_field_value(row, f, c->arena);
        txn_set_field(t, copy, f->id, &v);
    }
    return copy;
}

static void copy_vbd(struct call *c, struct txn *t, const struct drive *d, struct ref vm)
{
    static const field_id fresh[] = { F_VBD_uuid, F_VBD_allowed_operations, F_VBD_current_operations, F_VBD_VM, F_VBD_VDI,
                                      F_VBD_currently_attached, F_VBD_metrics, F_VBD_status_code,
                                      F_VBD_status_detail, F_VBD_runtime_properties };
    struct ref vbd = copy_row(c, t, CLASS_VBD, d->vbd, fresh, ARRAY_SIZE(fresh));

    txn_set_ref(t, vbd, F_VBD_VM, vm);
    txn_set_ref(t, vbd, F_VBD_VDI, d->new_vdi);
    if (d->copied) unfinished_end(t, CLASS_VDI, d->new_vdi);
    lifecycle_refresh(t, CLASS_VBD, vbd);
}

static const char *new_mac(struct call *c)
{
    struct ref random = ref_new();

    return arena_printf(c->arena, "%02x:%02x:%02x:%02x:%02x:%02x", (unsigned)(random.hi & 0xfc) | 2,
                        (unsigned)(random.hi >> 8 & 0xff), (unsigned)(random.hi >> 24 & 0xff), (unsigned)(random.lo & 0xff),
                        (unsigned)(random.lo >> 8 & 0xff), (unsigned)(random.lo >> 16 & 0xff));
}

static void copy_vif(struct call *c, struct txn *t, struct ref from, struct ref vm, bool same_mac)
{
    static const field_id fresh[] = { F_VIF_uuid, F_VIF_allowed_operations, F_VIF_current_operations, F_VIF_VM,
                                      F_VIF_currently_attached, F_VIF_metrics, F_VIF_status_code,
                                      F_VIF_status_detail, F_VIF_runtime_properties };
    struct ref vif = copy_row(c, t, CLASS_VIF, from, fresh, ARRAY_SIZE(fresh));

    txn_set_ref(t, vif, F_VIF_VM, vm);
    if (!same_mac) {
        txn_set_str(t, vif, F_VIF_MAC, new_mac(c));
        txn_set_bool(t, vif, F_VIF_MAC_autogenerated, true);
    }
    lifecycle_refresh(t, CLASS_VIF, vif);
}

static const struct ref *vifs_of(struct call *c, struct txn *t, struct ref vm, size_t *ret_n)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    size_t n = row ? row_refs(row, F_VM_VIFs)->n : 0;
    struct ref *out = arena_new_array(c->arena, struct ref, n);

    if (n) memcpy(out, row_refs(row, F_VM_VIFs)->refs, n * sizeof(*out));
    *ret_n = n;
    return out;
}

static void copy_devices(struct call *c, struct txn *t, const struct plan *plan, struct ref to, bool same_mac)
{
    size_t n;
    const struct ref *vifs = vifs_of(c, t, plan->source, &n);

    for (size_t i = 0; i < plan->n; i++) copy_vbd(c, t, &plan->drives[i], to);
    for (size_t i = 0; i < n; i++) copy_vif(c, t, vifs[i], to, same_mac);
}

static void copy_suspend_image(struct txn *t, const struct plan *plan, struct ref to)
{
    if (ref_is_null(plan->new_suspend_vdi)) return;
    unfinished_end(t, CLASS_VDI, plan->new_suspend_vdi);
    txn_set_ref(t, to, F_VM_suspend_VDI, plan->new_suspend_vdi);
    txn_set_enum(t, to, F_VM_power_state, vm_power_state_Suspended);
}

/* ---- clone, copy ---------------------------------------------------------------------------------------------- */

static int commit_copy(struct call *c, struct plan *plan, const char *name, bool snapshot, struct ref *ret_vm, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    struct ref vm = vm_copy_record(c, t, plan->source, name, snapshot);

    copy_devices(c, t, plan, vm, snapshot);
    vtpm_copy_rows(c, t, plan->source, vm, snapshot);
    copy_suspend_image(t, plan, vm);
    if (snapshot) {
        const struct row *source = snap_get(txn_snap(t), CLASS_VM, plan->source);
        if (source) {
            const char *state = model_field(F_VM_power_state)->type->e->values[row_enum(source, F_VM_power_state)];
            struct ref parent = row_ref(source, F_VM_parent);
            txn_map_put_str(t, vm, F_VM_snapshot_info, "power-state-at-snapshot", state);
            txn_map_put_str(t, vm, F_VM_snapshot_info, "disk-snapshot-type", "crash_consistent");
            txn_set_ref(t, vm, F_VM_parent, parent);
        }
        txn_set_bool(t, vm, F_VM_is_a_snapshot, true);
        txn_set_bool(t, vm, F_VM_is_a_template, true);
        txn_set_ref(t, vm, F_VM_snapshot_of, plan->source);
        txn_set_time(t, vm, F_VM_snapshot_time, time(NULL));
        txn_set_ref(t, plan->source, F_VM_parent, vm);
    }
    lifecycle_refresh(t, CLASS_VM, vm);
    if (db_commit(t, err)) {
        drop_disks(c, plan);
        return -1;
    }
    *ret_vm = vm;
    return 0;
}

static int make_copy(struct call *c, struct ref vm, const char *name, const char *how, struct ref sr, struct ref *ret_vm, struct xerr *err)
{
    struct plan plan;

    if (make_plan(c, vm, NULL, &plan, err) || copy_disks(c, &plan, how, sr, err)) return -1;
    return commit_copy(c, &plan, name, streq(how, "VDI.snapshot"), ret_vm, err);
}

int vm_clone(struct call *c, struct ref vm, const char *new_name, struct ref *ret_result, struct xerr *err)
{
    return make_copy(c, vm, new_name, "VDI.clone", REF_NULL, ret_result, err);
}

int vm_copy(struct call *c, struct ref vm, const char *new_name, struct ref sr, struct ref *ret_result, struct xerr *err)
{
    return make_copy(c, vm, new_name, "VDI.copy", sr, ret_result, err);
}

/* ---- snapshot, checkpoint --------------------------------------------------------------------------------------- */

static struct hv_id id_of(struct call *c, struct ref vm)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);

    return hv_id(row ? arena_strdup(c->arena, row_uuid(row)) : "", vm);
}

/* Whatever becomes of this agent, the guest goes on: unfinished.h. *ret_still: it stands still by us; not when it does so already, or
 * has ended. */
static int stand_still(struct call *c, struct ref vm, bool *ret_still, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (unfinished_rerun(c, vm, "unpause", err)) return -1;
    *ret_still = true;
    if (!hv_pause(c->agent->hv, id_of(c, vm), &why)) return 0;
    *ret_still = !xerr_is(&why, "VM_BAD_POWER_STATE");
    if (*ret_still) return xerr_move(err, &why);
    xerr_clear(&why);
    return 0;
}

/* failures: db_failures() before it stood still. */
static void go_on(struct call *c, struct ref vm, bool still, uint64_t failures)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (still && hv_unpause(c->agent->hv, id_of(c, vm), &why) && !xerr_is(&why, "VM_BAD_POWER_STATE")) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_error("VM %s stands still behind its snapshot: %s", REF_STR(vm), text);
        vm_doubt(c->agent->doubts, vm);
        return;
    }
    unfinished_rerun_end(c, vm, failures);
}

/* A guest that writes to several disks stands still meanwhile, so that they are of one moment: what it has been told is on one of
 * them is not missing there while something later is on another. With a single disk that is so in any case. */
static int snapshot_disks(struct call *c, struct plan *plan, struct xerr *err)
{
    const uint64_t failures = db_failures(c->agent->db);
    bool still = false;

    if (!plan->running || plan->n_written < 2) return copy_disks(c, plan, "VDI.snapshot", REF_NULL, err);
    int rc = stand_still(c, plan->source, &still, err);
    if (rc == 0) rc = copy_disks(c, plan, "VDI.snapshot", REF_NULL, err);
    go_on(c, plan->source, still, failures);
    return rc;
}

int vm_snapshot(struct call *c, struct ref vm, const char *new_name, const struct value *ignore_vdis, struct ref *ret_result,
                struct xerr *err)
{
    struct plan plan;

    vm_nvram_save(c, vm);
    if (make_plan(c, vm, ignore_vdis, &plan, err) || snapshot_disks(c, &plan, err)) return -1;
    return commit_copy(c, &plan, new_name, true, ret_result, err);
}

static enum vm_power_state power_state_of(struct call *c, struct ref vm)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);

    return row ? (enum vm_power_state)row_enum(row, F_VM_power_state) : vm_power_state_Halted;
}

/* A running VM is suspended for the moment of the snapshot, so that disks and memory agree, and resumed whatever happens. */
int vm_checkpoint(struct call *c, struct ref vm, const char *new_name, struct ref *ret_result, struct xerr *err)
{
    const uint64_t failures = db_failures(c->agent->db);
    enum vm_power_state state = power_state_of(c, vm);
    bool ran = state == vm_power_state_Running || state == vm_power_state_Paused;

    if (ran && unfinished_rerun(c, vm, state == vm_power_state_Paused ? "resume-paused" : "resume", err)) return -1;
    if (ran && vm_suspend(c, vm, err)) {
        unfinished_rerun_end(c, vm, failures);
        return -1;
    }
    int rc = make_copy(c, vm, new_name, "VDI.snapshot", REF_NULL, ret_result, err);
    if (!ran) return rc;
    struct xerr why = XERR_INIT;
    int failed = vm_resume(c, vm, state == vm_power_state_Paused, true, &why);
    unfinished_rerun_end(c, vm, failures);
    if (failed) {
        if (!rc) return xerr_move(err, &why);
        xerr_clear(&why);
    }
    return rc;
}

/* ---- revert --------------------------------------------------------------------------------------------------- */

/* Fields that stay the VM's own when it goes back to a snapshot. */
static bool stays(field_id f)
{
    static const field_id own[] = {
        F_VM_uuid, F_VM_name_label, F_VM_allowed_operations, F_VM_current_operations, F_VM_power_state, F_VM_resident_on,
        F_VM_domid, F_VM_metrics, F_VM_guest_metrics, F_VM_suspend_VDI, F_VM_is_a_template, F_VM_is_a_snapshot,
        F_VM_snapshot_of, F_VM_snapshot_time, F_VM_parent, F_VM_snapshot_info, F_VM_snapshot_metadata,
        F_VM_transportable_snapshot_id, F_VM_is_control_domain, F_VM_is_default_template, F_VM_blobs, F_VM_appliance,
        F_VM_scheduled_to_be_resident_on, F_VM_requires_reboot, F_VM_groups, F_VM_tags, F_VM_ha_restart_priority,
        F_VM_snapshot_schedule, F_VM_is_vmss_snapshot,
    };
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (own[i] == f) return true;
    return model_field(f)->inverse;
}

static void restore_fields(struct call *c, struct txn *t, struct ref snapshot, struct ref vm)
{
    for (unsigned i = 0; i < model.classes[CLASS_VM].n_fields; i++) {
        const struct field_desc *f = &model.classes[CLASS_VM].fields[i];
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, snapshot);
        if (!row || stays(f->id)) continue;
        struct value v = row_field_value(row, f, c->arena);
        txn_set_field(t, vm, f->id, &v);
    }
}

static void drop_devices(struct txn *t, struct ref vm, field_id set, enum class_id cls)
{
    for (;;) {
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (!row || txn_failed(t) || !row_refs(row, set)->n) return;
        txn_destroy(t, cls, row_refs(row, set)->refs[0]);
    }
}

static int find_origin(struct call *c, struct ref snapshot, struct ref *ret_vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, snapshot, err);

    if (!row) return -1;
    *ret_vm = row_ref(row, F_VM_snapshot_of);
    return snap_need(s, CLASS_VM, *ret_vm, err) ? 0 : -1;
}

/* One with a memory image keeps it until the devices are swapped. failures: db_failures() when the revert began. */
static int stop_for_revert(struct call *c, struct ref vm, const struct plan *old, uint64_t failures, struct xerr *err)
{
    const enum vm_power_state state = power_state_of(c, vm);
    const bool runs = state == vm_power_state_Running || state == vm_power_state_Paused;

    if (state == vm_power_state_Halted || !ref_is_null(old->suspend_vdi)) return 0;
    if (runs && unfinished_rerun(c, vm, "start", err)) return -1;
    if (!vm_hard_shutdown(c, vm, err)) return 0;
    if (runs) unfinished_rerun_end(c, vm, failures);
    return -1;
}

static void drop_suspend_image(struct call *c, struct txn *t, const struct plan *old)
{
    if (ref_is_null(old->suspend_vdi)) return;
    txn_set_ref(t, old->source, F_VM_suspend_VDI, REF_NULL);
    txn_set_enum(t, old->source, F_VM_power_state, vm_power_state_Halted);
    vm_guest_forget(t, old->source);
    unfinished_mark(c, t, old->suspend_vdi);
}

int vm_revert(struct call *c, struct ref snapshot, struct xerr *err)
{
    const uint64_t failures = db_failures(c->agent->db);
    struct plan old, plan;
    struct ref vm;

    /* 1. New disks from the snapshot's; 2. the VM stops, to run again should that be all that comes about; 3. one transaction swaps
     * devices and fields, that mark among them; 4. old disks go. */
    if (find_origin(c, snapshot, &vm, err) || make_plan(c, vm, NULL, &old, err)) return -1;
    if (make_plan(c, snapshot, NULL, &plan, err) || copy_disks(c, &plan, "VDI.clone", REF_NULL, err)) return -1;
    if (stop_for_revert(c, vm, &old, failures, err)) {
        drop_disks(c, &plan);
        return -1;
    }
    struct txn *t = db_begin(c->agent->db);
    drop_devices(t, vm, F_VM_VBDs, CLASS_VBD);
    drop_devices(t, vm, F_VM_VIFs, CLASS_VIF);
    vtpm_drop_rows(t, vm);
    restore_fields(c, t, snapshot, vm);
    drop_suspend_image(c, t, &old);
    copy_devices(c, t, &plan, vm, true);
    vtpm_copy_rows(c, t, snapshot, vm, true);
    copy_suspend_image(t, &plan, vm);
    txn_set_ref(t, vm, F_VM_parent, snapshot);
    for (size_t i = 0; i < old.n; i++)
        if (old.drives[i].copied) unfinished_mark(c, t, old.drives[i].vdi);
    lifecycle_refresh(t, CLASS_VM, vm);
    if (db_commit(t, err)) {
        unfinished_rerun_end(c, vm, failures);
        drop_disks(c, &plan);
        return -1;
    }
    (void)fault_step("vm.revert.swapped");
    for (size_t i = 0; i < old.n; i++)
        if (old.drives[i].copied) unfinished_destroy(c, old.drives[i].vdi);
    if (!ref_is_null(old.suspend_vdi)) unfinished_destroy(c, old.suspend_vdi);
    return 0;
}
