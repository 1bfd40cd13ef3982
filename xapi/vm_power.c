/* Class VM, power: start, stop, pause, suspend. Each step has its undo, so that a failure leaves nothing behind.
 * Called by: the generated thunks (schema/vm.xml), vm_monitor.c.  Calls: hv/, vm_device.c, vdi.h, db/. */
#include "gen/methods.h"
#include "xapi/vm.h"

#include <time.h>

#define LOG_MODULE "vm"
#include "lib/fault.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/unfinished.h"
#include "xapi/vdi.h"
#include "xapi/vm_balloon.h"
#include "xapi/vm_boot.h"
#include "xapi/vm_space.h"

enum {
    SHUTDOWN_TIMEOUT_S = 1200,   /* a guest may take this long to stop cleanly */
    ASK_AGAIN_MS = 20000,        /* a guest that was still booting missed the first request */
};

/* ---- helpers ------------------------------------------------------------------------------------------------- */

static struct hv_id id_of(struct call *c, struct ref vm)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);

    return hv_id(row ? arena_strdup(c->arena, row_uuid(row)) : "", vm);
}

/* Which processor the guest has seen. */
static void note_features(struct call *c, struct txn *t, const struct hv_vm *made)
{
    const struct row *host = snap_get(txn_snap(t), CLASS_host, c->agent->host);

    if (!made->features || !*made->features) return;
    txn_map_put_str(t, made->id.vm, F_VM_last_boot_CPU_flags, "features", made->features);
    txn_map_put_str(t, made->id.vm, F_VM_last_boot_CPU_flags, "vendor", host ? row_map_str(host, F_host_cpu_info, "vendor", "") : "");
}

int vm_make_running(struct call *c, const struct hv_vm *made, int64_t domid, bool paused, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct ref vm = made->id.vm;
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);

    if (row) {
        struct ref metrics = row_ref(row, F_VM_metrics);
        int64_t vcpus = row_int(row, F_VM_VCPUs_at_startup);
        txn_set_enum(t, vm, F_VM_power_state, paused ? vm_power_state_Paused : vm_power_state_Running);
        txn_set_int(t, vm, F_VM_domid, domid);
        txn_set_ref(t, vm, F_VM_resident_on, c->agent->host);
        txn_set_ref(t, vm, F_VM_scheduled_to_be_resident_on, REF_NULL);
        note_features(c, t, made);
        vm_devices_started(c, t, vm);
        if (snap_get(txn_snap(t), CLASS_VM_metrics, metrics)) {
            txn_set_time(t, metrics, F_VM_metrics_start_time, time(NULL));
            txn_set_time(t, metrics, F_VM_metrics_last_updated, time(NULL));
            txn_set_int(t, metrics, F_VM_metrics_memory_actual, made->memory_target_bytes);
            txn_set_int(t, metrics, F_VM_metrics_VCPUs_number, vcpus);
        }
        lifecycle_refresh(t, CLASS_VM, vm);
    }
    return db_commit(t, err);
}

/* The domain was paused or goes on. A forced end that overtook the call has the last word. */
static int set_power_state(struct call *c, struct ref vm, enum vm_power_state from, enum vm_power_state to, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);

    if (row && row_enum(row, F_VM_power_state) == (int)from) {
        txn_set_enum(t, vm, F_VM_power_state, (int)to);
        lifecycle_refresh(t, CLASS_VM, vm);
    }
    if (to == vm_power_state_Paused) vm_space_forget(t, vm);
    return db_commit(t, err);
}

/* In a transaction: no domain any more; the state it leaves the VM in. */
static void write_stopped(struct txn *t, struct ref vm, enum vm_power_state state)
{
    txn_set_enum(t, vm, F_VM_power_state, (int)state);
    txn_set_int(t, vm, F_VM_domid, -1);
    txn_set_ref(t, vm, F_VM_resident_on, REF_NULL);
    txn_set_bool(t, vm, F_VM_requires_reboot, false);
    vm_devices_stopped(t, vm);
    if (state == vm_power_state_Halted) vm_guest_forget(t, vm);
    lifecycle_refresh(t, CLASS_VM, vm);
}

/* Whether the end of this domain (-1 = of any) is still to be written down. */
static bool still_to_end(const struct row *vm, int64_t domid)
{
    return row_enum(vm, F_VM_power_state) != vm_power_state_Halted && (domid < 0 || row_int(vm, F_VM_domid) == domid);
}

/* 1 = yes, 0 = no, -1 = there is no such VM. */
static int look_still_to_end(struct call *c, struct ref vm, int64_t domid, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    return row ? still_to_end(row, domid) : -1;
}

int vm_make_halted(struct call *c, struct ref vm, int64_t domid, struct xerr *err)
{
    struct vm_ending ending;

    /* Who waits here finds the record Halted, or already started anew, when its turn comes. */
    vm_ending_begin(c->agent->vms, &ending, vm);
    int rc = look_still_to_end(c, vm, domid, err);
    if (rc > 0) {
        vm_nvram_save(c, vm);
        vm_detach_devices(c, vm);
        struct txn *t = db_begin(c->agent->db);
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (row && still_to_end(row, domid)) write_stopped(t, vm, vm_power_state_Halted);
        rc = db_commit(t, err);
    }
    vm_ending_end(c->agent->vms, &ending);
    return rc;
}

static int assert_enabled(const struct snap *s, struct ref host, struct xerr *err)
{
    const struct row *row = snap_need(s, CLASS_host, host, err);

    if (!row) return -1;
    return row_bool(row, F_host_enabled) ? 0 : xerr_host_disabled(err, REF_STR(host));
}

/* ---- start --------------------------------------------------------------------------------------------------- */

/* What to build: the record, read once. */
static int describe(struct call *c, struct ref vm, bool start_paused, struct hv_vm *ret_vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row || assert_enabled(s, c->agent->host, err) || vm_describe(c, row, ret_vm, err)) return -1;
    ret_vm->start_paused = start_paused;
    return 0;
}

static int start_here(struct call *c, struct ref vm, bool start_paused, struct xerr *err)
{
    struct hv_vm description;
    struct vm_boot boot = { .kernel = NULL };
    int64_t domid;

    /* 1. The record; 2. disks and taps; 3. the kernel, when a boot loader finds it, and the domain. */
    if (describe(c, vm, start_paused, &description, err) || vm_cloud_init(c, vm, err)) return -1;
    if (vm_attach_devices(c, vm, &description, err)) return -1;
    int rc = call_check_cancel(c, err) || vm_boot_find(c, vm, &description, &boot, err) ? -1 : 0;
    if (!rc) rc = vm_balloon_start(c, &description, NULL, &domid, err);
    vm_boot_done(&boot);
    if (rc) {
        vm_detach_devices(c, vm);
        return -1;
    }
    call_progress(c, 0.9);

    /* 4. The record says so. Without it there must be no domain. */
    if (!vm_make_running(c, &description, domid, start_paused, err)) return 0;
    vm_undo_domain(c, description.id);
    vm_detach_devices(c, vm);
    return -1;
}

int vm_start(struct call *c, struct ref vm, bool start_paused, bool force, struct xerr *err)
{
    (void)force;
    return start_here(c, vm, start_paused, err);
}

int vm_start_on(struct call *c, struct ref vm, struct ref host, bool start_paused, bool force, struct xerr *err)
{
    (void)force;
    if (!ref_eq(host, c->agent->host)) {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        return snap_need(s, CLASS_host, host, err) ? xerr_host_offline(err, REF_STR(host)) : -1;
    }
    return start_here(c, vm, start_paused, err);
}

/* ---- stop ---------------------------------------------------------------------------------------------------- */

/* Asks with `ask`, again every ASK_AGAIN_MS, until the wanted news comes: all that came is in *ret_news. */
static int ask_guest(struct call *c, struct ref vm, int (*ask)(struct hv *, struct hv_id, struct xerr *), int wanted,
                     int *ret_news, struct xerr *err)
{
    struct vm_wait w;
    int rc = -1;
    bool asked = false;

    vm_wait_begin(c->agent->vms, &w, vm);
    for (int waited_ms = 0; waited_ms < SHUTDOWN_TIMEOUT_S * 1000; waited_ms += ASK_AGAIN_MS) {
        struct xerr why = XERR_INIT;
        if (ask(c->agent->hv, id_of(c, vm), &why) && !asked) {
            rc = xerr_move(err, &why);
            goto out;
        }
        xerr_clear(&why);   /* a guest on its way down may refuse to be asked again */
        asked = true;
        if (vm_wait_for(c->agent->vms, &w, wanted | VM_NEWS_HALTED, ASK_AGAIN_MS, c)) {
            *ret_news = w.news;
            rc = 0;
            goto out;
        }
        if (call_check_cancel(c, err)) goto out;
    }
    rc = xerr_vm_shutdown_timeout(err, REF_STR(vm), arena_printf(c->arena, "%d", SHUTDOWN_TIMEOUT_S));
out:
    vm_wait_end(c->agent->vms, &w);
    return rc;
}

int vm_clean_shutdown(struct call *c, struct ref vm, struct xerr *err)
{
    int news;

    return ask_guest(c, vm, hv_shutdown, VM_NEWS_HALTED, &news, err);
}

int vm_clean_reboot(struct call *c, struct ref vm, struct xerr *err)
{
    int news = 0;

    if (ask_guest(c, vm, hv_reboot, VM_NEWS_REBOOTED | VM_NEWS_ENDED, &news, err)) return -1;
    return news & VM_NEWS_ENDED ? start_here(c, vm, false, err) : 0;
}

static char *suspend_owner(struct call *c, struct ref vm)
{
    return arena_printf(c->arena, "suspend-%s", id_of(c, vm).uuid);
}

static int destroy_suspend_image(struct call *c, struct ref vm, struct xerr *err)
{
    struct ref vdi;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row) return -1;
        vdi = row_ref(row, F_VM_suspend_VDI);
        if (ref_is_null(vdi) || !snap_get(s, CLASS_VDI, vdi)) return 0;
    }
    struct txn *t = db_begin(c->agent->db);
    txn_set_ref(t, vm, F_VM_suspend_VDI, REF_NULL);
    unfinished_mark(c, t, vdi);
    if (db_commit(t, err)) return -1;

    vm_undo_attach(c, vdi, suspend_owner(c, vm));   /* where the resume could not */
    unfinished_destroy(c, vdi);                     /* a stale image is only waste */
    return 0;
}

/* Ends the domain, whoever waits for it to end otherwise. */
static int end_domain(struct call *c, struct ref vm, struct xerr *err)
{
    if (hv_destroy(c->agent->hv, id_of(c, vm), err) || vm_make_halted(c, vm, -1, err)) return -1;
    vm_tell(c->agent->vms, vm, VM_NEWS_HALTED);
    return 0;
}

int vm_hard_shutdown(struct call *c, struct ref vm, struct xerr *err)
{
    return end_domain(c, vm, err) ? -1 : destroy_suspend_image(c, vm, err);
}

int vm_hard_reboot(struct call *c, struct ref vm, struct xerr *err)
{
    const uint64_t failures = db_failures(c->agent->db);

    if (unfinished_rerun(c, vm, "start", err)) return -1;
    int rc = end_domain(c, vm, err) || start_here(c, vm, false, err) ? -1 : 0;
    unfinished_rerun_end(c, vm, failures);
    return rc;
}

int vm_shutdown(struct call *c, struct ref vm, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (!vm_clean_shutdown(c, vm, &why)) return 0;
    if (call_cancelled(c)) return xerr_move(err, &why);
    xerr_clear(&why);
    return vm_hard_shutdown(c, vm, err);
}

int vm_power_state_reset(struct call *c, struct ref vm, struct xerr *err)
{
    return vm_hard_shutdown(c, vm, err);
}

/* ---- pause --------------------------------------------------------------------------------------------------- */

int vm_pause(struct call *c, struct ref vm, struct xerr *err)
{
    if (hv_pause(c->agent->hv, id_of(c, vm), err)) return -1;
    return set_power_state(c, vm, vm_power_state_Running, vm_power_state_Paused, err);
}

int vm_unpause(struct call *c, struct ref vm, struct xerr *err)
{
    if (hv_unpause(c->agent->hv, id_of(c, vm), err)) return -1;
    return set_power_state(c, vm, vm_power_state_Paused, vm_power_state_Running, err);
}

/* ---- suspend ------------------------------------------------------------------------------------------------- */

/* The first of the VM's, the host's and the pool's choice that exists. */
static int suspend_sr(struct call *c, struct ref vm, struct ref *ret_sr, int64_t *ret_bytes, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host), *pool = snap_get(s, CLASS_pool, c->agent->pool);

    if (!row || !host || !pool) return row ? xerr_internal(err, "host or pool record is missing") : -1;
    const struct ref candidates[] = { row_ref(row, F_VM_suspend_SR), row_ref(host, F_host_suspend_image_sr),
                                      row_ref(pool, F_pool_suspend_image_SR), row_ref(pool, F_pool_default_SR) };
    for (size_t i = 0; i < ARRAY_SIZE(candidates); i++) {
        if (!snap_get(s, CLASS_SR, candidates[i])) continue;
        *ret_sr = candidates[i];
        /* Memory, and room for device state and the engine's header. */
        int64_t memory = row_int(row, F_VM_memory_static_max);
        *ret_bytes = memory + memory / 20 + (INT64_C(64) << 20);
        return 0;
    }
    return xerr_vm_no_suspend_sr(err, REF_STR(vm));
}

static int make_suspend_image(struct call *c, struct ref vm, struct ref *ret_vdi, struct xerr *err)
{
    struct ref sr;
    int64_t bytes = 0;

    if (suspend_sr(c, vm, &sr, &bytes, err)) return -1;
    const struct member raw[] = { { "type", value_string("raw") } };
    const struct value sm_config = value_map(raw, 1);
    const struct vdi_new what = {
        .sr = sr,
        .name_label = "Suspend image",
        .name_description = "Memory and devices of a suspended VM",
        .virtual_size = bytes,
        .type = vdi_type_suspend,
        .sm_config = &sm_config,
    };
    c->unfinished = "";
    int rc = vdi_create_internal(c, &what, ret_vdi, err);
    c->unfinished = NULL;
    return rc;
}

static int suspend_vdi_of(struct call *c, struct ref vm, struct ref *ret_vdi, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    *ret_vdi = row_ref(row, F_VM_suspend_VDI);
    return snap_get(s, CLASS_VDI, *ret_vdi) ? 0 : xerr_vm_has_no_suspend_vdi(err, REF_STR(vm));
}

/* Before anything is written to it: whatever becomes of this agent, somebody knows what the image was for. */
static int note_image(struct call *c, struct ref vm, struct ref vdi, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_ref(t, vm, F_VM_suspend_VDI, vdi);
    unfinished_end(t, CLASS_VDI, vdi);
    return db_commit(t, err);
}

/* An image that came to nothing. A forced end of the VM may have been quicker. */
static void drop_image(struct call *c, struct ref vm, struct ref vdi)
{
    struct xerr why = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    const bool there = snap_get(txn_snap(t), CLASS_VDI, vdi);

    if (row && ref_eq(row_ref(row, F_VM_suspend_VDI), vdi)) txn_set_ref(t, vm, F_VM_suspend_VDI, REF_NULL);
    if (db_commit(t, &why)) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_error("suspend image %s: %s", REF_STR(vdi), text);
        xerr_clear(&why);
    }
    if (there) vm_undo_vdi(c, vdi);
}

static int commit_suspended(struct call *c, struct ref vm, struct ref vdi, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_ref(t, vm, F_VM_suspend_VDI, vdi);
    write_stopped(t, vm, vm_power_state_Suspended);
    return db_commit(t, err);
}

int vm_suspend(struct call *c, struct ref vm, struct xerr *err)
{
    struct ref vdi;
    struct storage_disk disk;
    const char *owner = suspend_owner(c, vm);

    if (make_suspend_image(c, vm, &vdi, err)) return -1;
    if (note_image(c, vm, vdi, err) || vdi_attach(c, vdi, owner, true, &disk, err)) goto drop_image;
    call_progress(c, 0.1);
    if (hv_suspend(c->agent->hv, id_of(c, vm), disk.path, 0, err)) goto detach_image;
    call_progress(c, 0.9);

    /* The domain is gone and the image whole: from here on the VM is Suspended whatever else fails, a crash here too: see
     * vm_settle_suspend(). */
    (void)fault_step("vm.suspended");
    vm_nvram_save(c, vm);
    vm_undo_attach(c, vdi, owner);
    vm_detach_devices(c, vm);
    return commit_suspended(c, vm, vdi, err);

detach_image:
    vm_undo_attach(c, vdi, owner);
drop_image:
    drop_image(c, vm, vdi);
    return -1;
}

int vm_settle_suspend(struct call *c, struct ref vm, bool alive, bool *ret_suspended, struct xerr *err)
{
    const char *owner = suspend_owner(c, vm);
    struct storage_disk disk;
    struct xerr why = XERR_INIT;
    struct ref vdi;
    bool whole = false;

    *ret_suspended = false;
    if (suspend_vdi_of(c, vm, &vdi, &why)) {
        xerr_clear(&why);
        return 0;
    }
    if (!alive && !vdi_attach(c, vdi, owner, false, &disk, &why)) whole = !hv_check_image(c->agent->hv, id_of(c, vm), disk.path, &why);
    if (why.code) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_info("suspend image of VM %s: %s", id_of(c, vm).uuid, text);
        xerr_clear(&why);
    }
    vm_undo_attach(c, vdi, owner);
    if (!whole) {
        drop_image(c, vm, vdi);
        return 0;
    }
    vm_detach_devices(c, vm);
    *ret_suspended = true;
    return commit_suspended(c, vm, vdi, err);
}

static int resume_here(struct call *c, struct ref vm, bool start_paused, struct xerr *err)
{
    const char *owner = suspend_owner(c, vm);
    struct hv_vm description;
    struct storage_disk disk;
    struct ref vdi;
    int64_t domid;

    if (suspend_vdi_of(c, vm, &vdi, err) || describe(c, vm, start_paused, &description, err)) return -1;
    if (vdi_attach(c, vdi, owner, false, &disk, err)) return -1;
    if (vm_attach_devices(c, vm, &description, err)) goto detach_image;
    call_progress(c, 0.1);
    if (vm_balloon_start(c, &description, disk.path, &domid, err)) goto detach_devices;
    call_progress(c, 0.9);
    vm_undo_attach(c, vdi, owner);
    if (vm_make_running(c, &description, domid, start_paused, err)) {
        vm_undo_domain(c, description.id);
        vm_detach_devices(c, vm);
        return -1;
    }
    return destroy_suspend_image(c, vm, err);

detach_devices:
    vm_detach_devices(c, vm);
detach_image:
    vm_undo_attach(c, vdi, owner);
    return -1;
}

int vm_resume(struct call *c, struct ref vm, bool start_paused, bool force, struct xerr *err)
{
    (void)force;
    return resume_here(c, vm, start_paused, err);
}

int vm_resume_on(struct call *c, struct ref vm, struct ref host, bool start_paused, bool force, struct xerr *err)
{
    (void)force;
    if (!ref_eq(host, c->agent->host)) {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        return snap_need(s, CLASS_host, host, err) ? xerr_host_offline(err, REF_STR(host)) : -1;
    }
    return resume_here(c, vm, start_paused, err);
}

/* ---- keys and triggers --------------------------------------------------------------------------------------- */

int vm_send_sysrq(struct call *c, struct ref vm, const char *key, struct xerr *err)
{
    if (strlen(key) != 1) return xerr_invalid_value(err, "key", key);
    return hv_send_sysrq(c->agent->hv, id_of(c, vm), key[0], err);
}

int vm_send_trigger(struct call *c, struct ref vm, const char *trigger, struct xerr *err)
{
    return hv_send_trigger(c->agent->hv, id_of(c, vm), trigger, err);
}
