/* Class VM, size: memory limits and targets, what fits, vcpus.
 * Called by: the generated thunks (schema/vm.xml).  Calls: hv/ for running VMs, db/. */
#include "xapi/vm.h"

#define LOG_MODULE "vm"
#include "gen/methods.h"
#include "xapi/call/lifecycle.h"

/* Bytes of the four limits; -1 = leave as it is. */
struct limits {
    int64_t static_min, dynamic_min, dynamic_max, static_max;
};
#define KEEP INT64_C(-1)

static struct limits current_limits(const struct row *vm)
{
    return (struct limits){ row_int(vm, F_VM_memory_static_min), row_int(vm, F_VM_memory_dynamic_min),
                            row_int(vm, F_VM_memory_dynamic_max), row_int(vm, F_VM_memory_static_max) };
}

static struct limits merged(struct limits now, struct limits wish)
{
    return (struct limits){
        wish.static_min == KEEP ? now.static_min : wish.static_min,
        wish.dynamic_min == KEEP ? now.dynamic_min : wish.dynamic_min,
        wish.dynamic_max == KEEP ? now.dynamic_max : wish.dynamic_max,
        wish.static_max == KEEP ? now.static_max : wish.static_max,
    };
}

static bool ordered(struct limits l)
{
    return 0 <= l.static_min && l.static_min <= l.dynamic_min && l.dynamic_min <= l.dynamic_max &&
           l.dynamic_max <= l.static_max && l.static_max > 0;
}

/* Writes the limits; statics only while halted, dynamics also while running (then the balloon follows). */
static int set_limits(struct call *c, struct ref vm, struct limits wish, struct xerr *err)
{
    bool running = false, changed_static = false;
    struct limits l = { 0 };
    char uuid[UUID_TEXT] = "";
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VM, vm, err);

    if (!row) {
        db_abort(t);
        return -1;
    }
    struct limits now = current_limits(row);
    l = merged(now, wish);
    changed_static = l.static_max != now.static_max || l.static_min != now.static_min;
    running = row_enum(row, F_VM_power_state) == vm_power_state_Running;
    memcpy(uuid, row_uuid(row), sizeof(uuid) - 1);
    if (changed_static && row_enum(row, F_VM_power_state) != vm_power_state_Halted) {
        int rc = lifecycle_bad_power_state(row, 1u << vm_power_state_Halted, err);
        db_abort(t);
        return rc;
    }
    if (!ordered(l)) {
        db_abort(t);
        return xerr_memory_constraint_violation(
            err, "0 <= memory_static_min <= memory_dynamic_min <= memory_dynamic_max <= memory_static_max");
    }
    txn_set_int(t, vm, F_VM_memory_static_min, l.static_min);
    txn_set_int(t, vm, F_VM_memory_dynamic_min, l.dynamic_min);
    txn_set_int(t, vm, F_VM_memory_dynamic_max, l.dynamic_max);
    txn_set_int(t, vm, F_VM_memory_static_max, l.static_max);
    if (db_commit(t, err)) return -1;
    return running ? hv_set_memory_target(c->agent->hv, hv_id(uuid, vm), l.dynamic_max, err) : 0;
}

int vm_set_memory_limits(struct call *c, struct ref vm, int64_t static_min, int64_t static_max, int64_t dynamic_min,
                         int64_t dynamic_max, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ static_min, dynamic_min, dynamic_max, static_max }, err);
}

int vm_set_memory(struct call *c, struct ref vm, int64_t value, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ KEEP, value, value, value }, err);
}

int vm_set_memory_static_range(struct call *c, struct ref vm, int64_t min, int64_t max, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ min, KEEP, KEEP, max }, err);
}

int vm_set_memory_dynamic_range(struct call *c, struct ref vm, int64_t min, int64_t max, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ KEEP, min, max, KEEP }, err);
}

int vm_set_memory_static_min(struct call *c, struct ref vm, int64_t value, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ value, KEEP, KEEP, KEEP }, err);
}

int vm_set_memory_static_max(struct call *c, struct ref vm, int64_t value, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ KEEP, KEEP, KEEP, value }, err);
}

int vm_set_memory_dynamic_min(struct call *c, struct ref vm, int64_t value, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ KEEP, value, KEEP, KEEP }, err);
}

int vm_set_memory_dynamic_max(struct call *c, struct ref vm, int64_t value, struct xerr *err)
{
    return set_limits(c, vm, (struct limits){ KEEP, KEEP, value, KEEP }, err);
}

/* Rough cost of a guest beside its own memory: device model, video memory, what each vcpu takes; and by its size page tables. */
enum { FIXED_BYTES = 16 << 20, VCPU_BYTES = 1 << 20, MOST_VCPUS = 1 << 20, PER_TABLE = 128 };

static int64_t fixed_overhead(const struct row *vm)
{
    const int64_t vcpus = row_int(vm, F_VM_VCPUs_max);

    return FIXED_BYTES + (vcpus < 0 ? 0 : vcpus < MOST_VCPUS ? vcpus : MOST_VCPUS) * VCPU_BYTES;
}

int vm_compute_memory_overhead(struct call *c, struct ref vm, int64_t *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    *ret_result = fixed_overhead(row) + row_int(row, F_VM_memory_static_max) / PER_TABLE;
    return 0;
}

/* In whole MiB; with the overhead that a VM of that size has. */
int vm_maximise_memory(struct call *c, struct ref vm, int64_t total, bool approximate, int64_t *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    (void)approximate;
    if (!row) return -1;
    const int64_t fixed = fixed_overhead(row), rest = total > fixed ? total - fixed : 0;
    *ret_result = (rest - rest / (PER_TABLE + 1)) >> 20 << 20;
    return 0;
}

/* ---- vcpus ---------------------------------------------------------------------------------------------------- */

static int set_vcpus(struct call *c, struct ref vm, int64_t max, int64_t at_startup, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VM, vm, err);

    if (!row || lifecycle_check(txn_snap(t), CLASS_VM, vm, vm_operations_changing_VCPUs, false, err)) {
        db_abort(t);
        return -1;
    }
    if (max == KEEP) max = row_int(row, F_VM_VCPUs_max);
    if (at_startup == KEEP) at_startup = row_int(row, F_VM_VCPUs_at_startup);
    if (at_startup < 1 || at_startup > max) {
        db_abort(t);
        return xerr_invalid_value(err, "VCPUs", "1 <= VCPUs_at_startup <= VCPUs_max is needed");
    }
    txn_set_int(t, vm, F_VM_VCPUs_max, max);
    txn_set_int(t, vm, F_VM_VCPUs_at_startup, at_startup);
    return db_commit(t, err);
}

int vm_set_VCPUs_max(struct call *c, struct ref vm, int64_t value, struct xerr *err)
{
    return set_vcpus(c, vm, value, KEEP, err);
}

int vm_set_VCPUs_at_startup(struct call *c, struct ref vm, int64_t value, struct xerr *err)
{
    return set_vcpus(c, vm, KEEP, value, err);
}

int vm_set_VCPUs_number_live(struct call *c, struct ref vm, int64_t nvcpu, struct xerr *err)
{
    char uuid[UUID_TEXT] = "";
    struct ref metrics;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row) return -1;
        if (nvcpu < 1 || nvcpu > row_int(row, F_VM_VCPUs_max))
            return xerr_invalid_value(err, "nvcpu", arena_printf(c->arena, "%lld", (long long)nvcpu));
        memcpy(uuid, row_uuid(row), sizeof(uuid) - 1);
        metrics = row_ref(row, F_VM_metrics);
    }
    if (hv_set_vcpus(c->agent->hv, hv_id(uuid, vm), (unsigned)nvcpu, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_int(t, vm, F_VM_VCPUs_at_startup, nvcpu);
    txn_set_int(t, metrics, F_VM_metrics_VCPUs_number, nvcpu);
    return db_commit(t, err);
}
