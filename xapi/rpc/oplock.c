/* The gate of operations.
 * Called by: dispatch.c.  Calls: lifecycle, live_task, db/. */
#define LOG_MODULE "oplock"

#include "xapi/rpc/oplock.h"

#include <assert.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/call/live_task.h"
#include "xapi/vm_doubts.h"

/* Which object of the arguments an operation is on. */
enum target {
    SELF,              /* the first argument */
    SELF_DEVICES,      /* the VM, and `attach` on its disks and network cards */
    SR_OF_VDI,         /* the repository of the first argument, a VDI */
    SR_OF_PBD,         /* ... a PBD */
    SR_ARG,            /* the argument, or the record's member, named SR */
    ORIGINAL,          /* the VM that the first argument is a snapshot of; needs it idle, in whatever state */
    POOL,
};

struct rule {
    const char *method;
    enum class_id cls;
    int op;
    enum target target;
};

/* Rules of one message stand together. */
static const struct rule rules[] = {
    { "VM.snapshot", CLASS_VM, vm_operations_snapshot, SELF },
    { "VM.snapshot_with_quiesce", CLASS_VM, vm_operations_snapshot_with_quiesce, SELF },
    { "VM.checkpoint", CLASS_VM, vm_operations_checkpoint, SELF },
    { "VM.clone", CLASS_VM, vm_operations_clone, SELF },
    { "VM.copy", CLASS_VM, vm_operations_copy, SELF },
    { "VM.revert", CLASS_VM, vm_operations_revert, SELF },
    { "VM.revert", CLASS_VM, vm_operations_reverting, ORIGINAL },
    { "VM.provision", CLASS_VM, vm_operations_provision, SELF },
    { "VM.destroy", CLASS_VM, vm_operations_destroy, SELF },
    { "VM.start", CLASS_VM, vm_operations_start, SELF_DEVICES },
    { "VM.start_on", CLASS_VM, vm_operations_start_on, SELF_DEVICES },
    { "VM.resume", CLASS_VM, vm_operations_resume, SELF_DEVICES },
    { "VM.resume_on", CLASS_VM, vm_operations_resume_on, SELF_DEVICES },
    { "VM.pause", CLASS_VM, vm_operations_pause, SELF },
    { "VM.unpause", CLASS_VM, vm_operations_unpause, SELF },
    { "VM.clean_shutdown", CLASS_VM, vm_operations_clean_shutdown, SELF },
    { "VM.clean_reboot", CLASS_VM, vm_operations_clean_reboot, SELF },
    { "VM.shutdown", CLASS_VM, vm_operations_shutdown, SELF },
    { "VM.hard_shutdown", CLASS_VM, vm_operations_hard_shutdown, SELF },
    { "VM.hard_reboot", CLASS_VM, vm_operations_hard_reboot, SELF },
    { "VM.power_state_reset", CLASS_VM, vm_operations_power_state_reset, SELF },
    { "VM.suspend", CLASS_VM, vm_operations_suspend, SELF },
    { "VM.pool_migrate", CLASS_VM, vm_operations_pool_migrate, SELF },
    { "VM.migrate_send", CLASS_VM, vm_operations_migrate_send, SELF },
    { "VM.send_sysrq", CLASS_VM, vm_operations_send_sysrq, SELF },
    { "VM.send_trigger", CLASS_VM, vm_operations_send_trigger, SELF },
    { "VM.call_plugin", CLASS_VM, vm_operations_call_plugin, SELF },
    { "VM.query_services", CLASS_VM, vm_operations_query_services, SELF },
    { "VM.sysprep", CLASS_VM, vm_operations_sysprep, SELF },
    { "VM.wait_memory_target_live", CLASS_VM, vm_operations_awaiting_memory_live, SELF },
    { "VM.set_memory_dynamic_max", CLASS_VM, vm_operations_changing_dynamic_range, SELF },
    { "VM.set_memory_dynamic_min", CLASS_VM, vm_operations_changing_dynamic_range, SELF },
    { "VM.set_memory_dynamic_range", CLASS_VM, vm_operations_changing_dynamic_range, SELF },
    { "VM.set_memory_target_live", CLASS_VM, vm_operations_changing_dynamic_range, SELF },
    { "VM.set_memory_static_max", CLASS_VM, vm_operations_changing_static_range, SELF },
    { "VM.set_memory_static_min", CLASS_VM, vm_operations_changing_static_range, SELF },
    { "VM.set_memory_static_range", CLASS_VM, vm_operations_changing_static_range, SELF },
    { "VM.set_memory_limits", CLASS_VM, vm_operations_changing_memory_limits, SELF },
    { "VM.set_memory", CLASS_VM, vm_operations_changing_memory_limits, SELF },
    { "VM.set_HVM_shadow_multiplier", CLASS_VM, vm_operations_changing_shadow_memory, SELF },
    { "VM.set_shadow_multiplier_live", CLASS_VM, vm_operations_changing_shadow_memory_live, SELF },
    { "VM.set_VCPUs_max", CLASS_VM, vm_operations_changing_VCPUs, SELF },
    { "VM.set_VCPUs_at_startup", CLASS_VM, vm_operations_changing_VCPUs, SELF },
    { "VM.set_VCPUs_number_live", CLASS_VM, vm_operations_changing_VCPUs_live, SELF },
    { "VM.set_NVRAM", CLASS_VM, vm_operations_changing_NVRAM, SELF },
    { "VM.add_to_NVRAM", CLASS_VM, vm_operations_changing_NVRAM, SELF },
    { "VM.remove_from_NVRAM", CLASS_VM, vm_operations_changing_NVRAM, SELF },
    { "VTPM.create", CLASS_VM, vm_operations_create_vtpm, SELF },
    { "VTPM.destroy", CLASS_VTPM, vtpm_operations_destroy, SELF },

    { "VBD.plug", CLASS_VBD, vbd_operations_plug, SELF },
    { "VBD.unplug", CLASS_VBD, vbd_operations_unplug, SELF },
    { "VBD.unplug_force", CLASS_VBD, vbd_operations_unplug_force, SELF },
    { "VBD.insert", CLASS_VBD, vbd_operations_insert, SELF },
    { "VBD.eject", CLASS_VBD, vbd_operations_eject, SELF },
    { "VIF.plug", CLASS_VIF, vif_operations_plug, SELF },
    { "VIF.unplug", CLASS_VIF, vif_operations_unplug, SELF },
    { "VIF.unplug_force", CLASS_VIF, vif_operations_unplug, SELF },

    { "VDI.create", CLASS_SR, storage_operations_vdi_create, SR_ARG },
    { "VDI.introduce", CLASS_SR, storage_operations_vdi_introduce, SR_ARG },
    { "VDI.snapshot", CLASS_VDI, vdi_operations_snapshot, SELF },
    { "VDI.snapshot", CLASS_SR, storage_operations_vdi_snapshot, SR_OF_VDI },
    { "VDI.clone", CLASS_VDI, vdi_operations_clone, SELF },
    { "VDI.clone", CLASS_SR, storage_operations_vdi_clone, SR_OF_VDI },
    { "VDI.copy", CLASS_VDI, vdi_operations_copy, SELF },
    { "VDI.copy", CLASS_SR, storage_operations_vdi_copy, SR_OF_VDI },
    { "VDI.pool_migrate", CLASS_VDI, vdi_operations_mirror, SELF },
    { "VDI.pool_migrate", CLASS_SR, storage_operations_vdi_mirror, SR_OF_VDI },
    { "VDI.resize", CLASS_VDI, vdi_operations_resize, SELF },
    { "VDI.resize", CLASS_SR, storage_operations_vdi_resize, SR_OF_VDI },
    { "VDI.resize_online", CLASS_VDI, vdi_operations_resize_online, SELF },
    { "VDI.resize_online", CLASS_SR, storage_operations_vdi_resize, SR_OF_VDI },
    { "VDI.destroy", CLASS_VDI, vdi_operations_destroy, SELF },
    { "VDI.destroy", CLASS_SR, storage_operations_vdi_destroy, SR_OF_VDI },
    { "VDI.forget", CLASS_VDI, vdi_operations_forget, SELF },
    { "VDI.update", CLASS_VDI, vdi_operations_update, SELF },
    { "VDI.enable_cbt", CLASS_VDI, vdi_operations_enable_cbt, SELF },
    { "VDI.enable_cbt", CLASS_SR, storage_operations_vdi_enable_cbt, SR_OF_VDI },
    { "VDI.disable_cbt", CLASS_VDI, vdi_operations_disable_cbt, SELF },
    { "VDI.disable_cbt", CLASS_SR, storage_operations_vdi_disable_cbt, SR_OF_VDI },
    { "VDI.data_destroy", CLASS_VDI, vdi_operations_data_destroy, SELF },
    { "VDI.data_destroy", CLASS_SR, storage_operations_vdi_data_destroy, SR_OF_VDI },
    { "VDI.list_changed_blocks", CLASS_VDI, vdi_operations_list_changed_blocks, SELF },
    { "VDI.list_changed_blocks", CLASS_SR, storage_operations_vdi_list_changed_blocks, SR_OF_VDI },
    { "VDI.set_on_boot", CLASS_VDI, vdi_operations_set_on_boot, SELF },
    { "VDI.set_on_boot", CLASS_SR, storage_operations_vdi_set_on_boot, SR_OF_VDI },
    { "VDI.revert", CLASS_VDI, vdi_operations_revert_from, SELF },
    { "VDI.revert", CLASS_SR, storage_operations_vdi_revert, SR_OF_VDI },

    { "SR.scan", CLASS_SR, storage_operations_scan, SELF },
    { "SR.update", CLASS_SR, storage_operations_update, SELF },
    { "SR.destroy", CLASS_SR, storage_operations_destroy, SELF },
    { "SR.forget", CLASS_SR, storage_operations_forget, SELF },
    { "PBD.create", CLASS_SR, storage_operations_pbd_create, SR_ARG },
    { "PBD.destroy", CLASS_SR, storage_operations_pbd_destroy, SR_OF_PBD },
    { "PBD.plug", CLASS_SR, storage_operations_plug, SR_OF_PBD },
    { "PBD.unplug", CLASS_SR, storage_operations_unplug, SR_OF_PBD },

    { "VM_appliance.start", CLASS_VM_appliance, vm_appliance_operation_start, SELF },
    { "VM_appliance.clean_shutdown", CLASS_VM_appliance, vm_appliance_operation_clean_shutdown, SELF },
    { "VM_appliance.hard_shutdown", CLASS_VM_appliance, vm_appliance_operation_hard_shutdown, SELF },
    { "VM_appliance.shutdown", CLASS_VM_appliance, vm_appliance_operation_shutdown, SELF },

    { "host.evacuate", CLASS_host, host_allowed_operations_evacuate, SELF },
    { "host.shutdown", CLASS_host, host_allowed_operations_shutdown, SELF },
    { "host.reboot", CLASS_host, host_allowed_operations_reboot, SELF },
    { "host.enable", CLASS_host, host_allowed_operations_enable, SELF },
    { "host.apply_updates", CLASS_host, host_allowed_operations_apply_updates, SELF },
    { "pool.enable_ha", CLASS_pool, pool_allowed_operations_ha_enable, POOL },
    { "pool.disable_ha", CLASS_pool, pool_allowed_operations_ha_disable, POOL },
    { "pool.designate_new_master", CLASS_pool, pool_allowed_operations_designate_new_master, POOL },
    { "pool.eject", CLASS_pool, pool_allowed_operations_eject, POOL },
    { "pool.sync_updates", CLASS_pool, pool_allowed_operations_sync_updates, POOL },
};

struct oplocks {
    unsigned char *first;      /* by index of the message: 1 + index of its first rule, 0 = none */
};

struct oplocks *oplocks_new(void)
{
    struct oplocks *all = xcalloc(1, sizeof(*all));

    _Static_assert(ARRAY_SIZE(rules) < 255, "more rules than a byte counts");
    all->first = xcalloc(model.n_methods, sizeof(*all->first));
    for (size_t i = ARRAY_SIZE(rules); i-- > 0;) {
        const struct method_desc *m = model_method(rules[i].method);
        assert(m);
        all->first[m - model.methods] = (unsigned char)(i + 1);
    }
    return all;
}

void oplocks_free(struct oplocks *all)
{
    if (!all) return;
    free(all->first);
    free(all);
}

/* ---- finding the object ---- */

static struct ref ref_field(const struct snap *s, enum class_id cls, const struct value *arg, field_id f)
{
    const struct row *row = arg->kind == VALUE_REF ? snap_get(s, cls, arg->ref) : NULL;

    return row ? row_ref(row, f) : REF_NULL;
}

static struct ref sr_argument(const struct method_desc *m, const struct value *args)
{
    for (unsigned i = 0; i < m->n_params; i++) {
        const struct value *v = streq(m->params[i].name, "SR") ? &args[i] : value_get(&args[i], "SR");
        if (v && v->kind == VALUE_REF) return v->ref;
    }
    return REF_NULL;
}

/* Null: the message will say itself what is wrong with its arguments. */
static struct ref find_target(const struct call *c, const struct snap *s, const struct rule *r,
                              const struct method_desc *m, const struct value *args)
{
    switch (r->target) {
    case SELF:
    case SELF_DEVICES: return args[0].ref;
    case SR_OF_VDI: return ref_field(s, CLASS_VDI, &args[0], F_VDI_SR);
    case SR_OF_PBD: return ref_field(s, CLASS_PBD, &args[0], F_PBD_SR);
    case SR_ARG: return sr_argument(m, args);
    case ORIGINAL: return ref_field(s, CLASS_VM, &args[0], F_VM_snapshot_of);
    case POOL: return c->agent->pool;
    }
    return REF_NULL;
}

static const struct rule *next_rule(const struct rule *r)
{
    return r + 1 < rules + ARRAY_SIZE(rules) && streq(r[1].method, r->method) ? r + 1 : NULL;
}

static const struct rule *first_rule(const struct oplocks *all, const struct method_desc *m)
{
    unsigned char first = all->first[m - model.methods];

    return first ? &rules[first - 1] : NULL;
}

struct ref oplock_repository(const struct call *c, const struct oplocks *all, const struct method_desc *m,
                             const struct value *args)
{
    for (const struct rule *r = first_rule(all, m); r; r = next_rule(r)) {
        if (r->cls != CLASS_SR) continue;
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        return find_target(c, s, r, m, args);
    }
    return REF_NULL;
}

/* ---- taking ---- */

static void record(struct txn *t, struct oplock *lock, enum class_id cls, struct ref ref, int op)
{
    field_id current = lifecycle_current_field(cls), allowed = lifecycle_allowed_field(cls);
    struct value name = value_string(model_field(allowed)->type->elem->e->values[op]);

    txn_map_put(t, ref, current, lock->key, &name);
    lock->taken[lock->n++] = (struct oplock_taken){ cls, ref };
}

/* True when the object is in this call's hands already: a call within the call works on it too. */
static bool is_ours(const struct snap *s, enum class_id cls, struct ref ref, const char *key)
{
    const struct row *row = snap_get(s, cls, ref);
    field_id current = lifecycle_current_field(cls);

    return row && current && value_get(row_value(row, current), key);
}

static int need_idle(const struct snap *s, enum class_id cls, struct ref ref, struct xerr *err)
{
    const struct value *now = row_value(snap_get(s, cls, ref), lifecycle_current_field(cls));

    if (!now->map.n) return 0;
    return xerr_other_operation_in_progress(err, model.classes[cls].name, REF_STR(ref), now->map.members[0].value.s,
                                            now->map.members[0].key);
}

/* A device that is busy with something else stops the VM's operation. */
static int take_device(struct txn *t, struct oplock *lock, enum class_id cls, struct ref ref, int op, struct xerr *err)
{
    const struct row *device = snap_get(txn_snap(t), cls, ref);

    if (!device || is_ours(txn_snap(t), cls, ref, lock->key)) return 0;
    if (need_idle(txn_snap(t), cls, ref, err)) return -1;
    record(t, lock, cls, ref, op);
    return 0;
}

static int take_devices(struct txn *t, struct oplock *lock, struct ref vm, struct arena *a, struct xerr *err)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    /* Recording changes rows, so the lists are copied first. */
    struct { enum class_id cls; field_id list; int op; } kinds[] = {
        { CLASS_VBD, F_VM_VBDs, vbd_operations_attach }, { CLASS_VIF, F_VM_VIFs, vif_operations_attach },
    };
    struct ref *refs[ARRAY_SIZE(kinds)];
    size_t n[ARRAY_SIZE(kinds)], more = 0;

    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        const struct refset *set = row_refs(row, kinds[k].list);
        n[k] = set->n;
        refs[k] = arena_new_array(a, struct ref, set->n);
        if (set->n) memcpy(refs[k], set->refs, set->n * sizeof(*refs[k]));
        more += set->n;
    }
    struct oplock_taken *taken = arena_new_array(a, struct oplock_taken, ARRAY_SIZE(rules) + more);
    memcpy(taken, lock->taken, lock->n * sizeof(*taken));
    lock->taken = taken;
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
        for (size_t i = 0; i < n[k]; i++)
            if (take_device(t, lock, kinds[k].cls, refs[k][i], kinds[k].op, err)) return -1;
    return 0;
}

/* The calls that a hard operation overtakes are told to stop. */
static void cancel_overtaken(struct call *c, const struct snap *s, enum class_id cls, struct ref ref)
{
    const struct row *row = snap_get(s, cls, ref);
    const struct value *now = row_value(row, lifecycle_current_field(cls));

    for (size_t i = 0; i < now->map.n; i++) {
        struct ref task;
        const char *op = now->map.members[i].value.s;
        bool clean = has_prefix(op, "clean_") || streq(op, "shutdown");
        if (clean && ref_parse(now->map.members[i].key, &task)) live_task_cancel(c->agent->tasks, task);
    }
}

static bool overtakes(const struct rule *r)
{
    return r->cls == CLASS_VM
           && (r->op == vm_operations_hard_shutdown || r->op == vm_operations_hard_reboot
               || r->op == vm_operations_power_state_reset);
}

static int take_rule(struct call *c, struct txn *t, const struct rule *r, const struct method_desc *m,
                     const struct value *args, struct oplock *lock, struct xerr *err)
{
    struct ref ref = find_target(c, txn_snap(t), r, m, args);

    if (r->target != SELF && r->target != SELF_DEVICES && (ref_is_null(ref) || !snap_get(txn_snap(t), r->cls, ref)))
        return 0;
    bool ours = is_ours(txn_snap(t), r->cls, ref, lock->key);
    if (ours && r->target == ORIGINAL) return 0;
    int refused = r->target == ORIGINAL ? need_idle(txn_snap(t), r->cls, ref, err)
                                        : lifecycle_check(txn_snap(t), r->cls, ref, r->op, !ours, err);
    if (refused) return -1;
    if (ours) return 0;
    if (overtakes(r)) cancel_overtaken(c, txn_snap(t), r->cls, ref);
    record(t, lock, r->cls, ref, r->op);
    return r->target == SELF_DEVICES ? take_devices(t, lock, ref, c->arena, err) : 0;
}

static int take_once(struct call *c, const struct rule *first, const struct method_desc *m, const struct value *args,
                     struct oplock *lock, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    lock->n = 0;
    for (const struct rule *r = first; r; r = next_rule(r)) {
        if (!take_rule(c, t, r, m, args, lock, err)) continue;
        db_abort(t);
        lock->n = 0;
        return -1;
    }
    for (size_t i = 0; i < lock->n; i++) lifecycle_refresh(t, lock->taken[i].cls, lock->taken[i].ref);
    if (!db_commit(t, err)) return 0;
    lock->n = 0;
    return -1;
}

/* Work on repositories and images is short and many-sided: waiting a little serves everybody better than an error. A VM
 * that is busy is said to be at once. */
static bool worth_waiting(const struct xerr *why)
{
    return xerr_is(why, "OTHER_OPERATION_IN_PROGRESS") && why->n
           && (streq(why->params[0], "SR") || streq(why->params[0], "VDI"));
}

int oplock_take(struct call *c, const struct oplocks *all, const struct method_desc *m, const struct value *args,
                const char *key, int wait_ms, struct oplock *ret_lock, struct xerr *err)
{
    const struct rule *first = first_rule(all, m);
    int64_t deadline = clock_deadline_ns(wait_ms);
    long pause_ms = 10;

    *ret_lock = (struct oplock){ .key = key };
    if (!first) return 0;
    ret_lock->taken = arena_new_array(c->arena, struct oplock_taken, ARRAY_SIZE(rules));
    for (;;) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        if (!take_once(c, first, m, args, ret_lock, &why)) return 0;
        if (!worth_waiting(&why) || clock_boottime_ns() >= deadline) return xerr_move(err, &why);
        if (call_check_cancel(c, err)) return -1;
        nanosleep(&(struct timespec){ 0, pause_ms * NS_PER_MS }, NULL);
        if (pause_ms < 500) pause_ms *= 2;
    }
}

static int release_once(struct call *c, const struct oplock *lock, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    for (size_t i = 0; i < lock->n; i++) {
        const struct oplock_taken *k = &lock->taken[i];
        if (!snap_get(txn_snap(t), k->cls, k->ref)) continue;
        txn_map_remove(t, k->ref, lifecycle_current_field(k->cls), lock->key);
    }
    for (size_t i = 0; i < lock->n; i++) lifecycle_refresh(t, lock->taken[i].cls, lock->taken[i].ref);
    return db_commit(t, err);
}

/* The VM that has the disk plugged. */
static struct ref user_of(const struct snap *s, const struct row *vdi)
{
    const struct refset *vbds = row_refs(vdi, F_VDI_VBDs);

    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        if (vbd && row_bool(vbd, F_VBD_currently_attached)) return row_ref(vbd, F_VBD_VM);
    }
    return REF_NULL;
}

/* Null: of no VM. */
static struct ref vm_of(struct call *c, const struct oplock_taken *k)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, k->cls, k->ref);

    if (!row) return REF_NULL;
    return k->cls == CLASS_VM    ? k->ref
           : k->cls == CLASS_VBD ? row_ref(row, F_VBD_VM)
           : k->cls == CLASS_VIF ? row_ref(row, F_VIF_VM)
           : k->cls == CLASS_VDI ? user_of(s, row)
                                 : REF_NULL;
}

/* None of it goes to the disk. But what is committed beside somebody's work that the disk refuses is refused with it: an operation that
 * stayed for that would shut the object until the agent ends. */
void oplock_release(struct call *c, struct oplock *lock, bool doubtful)
{
    enum { TRIES = 100 };
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    long pause_ms = 5;

    if (!lock->n) return;
    for (int i = 0; release_once(c, lock, &why); i++) {
        if (i == TRIES) {
            log_error("operations of %s were not released: %s", c->method ? c->method->name : "?", why.code);
            break;
        }
        xerr_clear(&why);
        nanosleep(&(struct timespec){ 0, pause_ms * NS_PER_MS }, NULL);
        if (pause_ms < 500) pause_ms *= 2;
    }
    for (size_t i = 0; doubtful && i < lock->n; i++) {
        const struct ref vm = vm_of(c, &lock->taken[i]);
        if (!ref_is_null(vm)) vm_doubt(c->agent->doubts, vm);
    }
    lock->n = 0;
}
