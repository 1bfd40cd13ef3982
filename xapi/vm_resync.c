/* The hypervisor's guests and the host's devices against the records: after a start, when the engine was away, and for a VM
 * of which a commit has failed.
 * Called by: startup, vm_monitor.c, main.c (for vm_doubts.c).  Calls: vm_power.c, vm_device.c, hv/, db/. */
#include "xapi/vm_resync.h"

#define LOG_MODULE "vm"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/network_plan.h"
#include "xapi/sr.h"
#include "xapi/unfinished.h"
#include "xapi/vif.h"
#include "xapi/vm.h"

static void log_failure(const char *what, const char *uuid, struct xerr *err)
{
    _cleanup_free_ char *why = xerr_text(err);

    log_error("%s of VM %s: %s", what, uuid, why);
    xerr_clear(err);
}

/* ---- one VM ------------------------------------------------------------------------------------------------------ */

static bool any_busy(const struct snap *s, const struct row *vm, field_id list, enum class_id cls)
{
    const struct refset *devices = row_refs(vm, list);

    for (size_t i = 0; i < devices->n; i++) {
        const struct row *device = snap_get(s, cls, devices->refs[i]);
        if (device && row_value(device, lifecycle_current_field(cls))->map.n) return true;
    }
    return false;
}

/* An operation is at work on it, or on a device of it. */
static bool busy(const struct snap *s, const struct row *vm)
{
    return row_value(vm, F_VM_current_operations)->map.n || any_busy(s, vm, F_VM_VBDs, CLASS_VBD) ||
           any_busy(s, vm, F_VM_VIFs, CLASS_VIF);
}

/* A VM as the record had it before the engine was asked. */
struct candidate {
    struct ref ref;
    const char *uuid;
    int64_t domid;
    int state;
    bool should_run, here;
};

static const struct hv_domain *domain_of(const struct hv_domain *domains, size_t n, const char *uuid)
{
    for (size_t i = 0; i < n; i++)
        if (streq(domains[i].uuid, uuid)) return &domains[i];
    return NULL;
}

/* Nothing happened to the VM since: what the engine said is about what the record says. */
static bool still_so(const struct snap *s, const struct candidate *k)
{
    const struct row *vm = snap_get(s, CLASS_VM, k->ref);

    return vm && !busy(s, vm) && row_enum(vm, F_VM_power_state) == k->state && row_int(vm, F_VM_domid) == k->domid;
}

static bool still_so_now(struct call *c, const struct candidate *k)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return still_so(s, k);
}

/* The guest lives: the record takes its number and state. */
static int adopt(struct call *c, const struct candidate *k, const struct hv_domain *domain, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (still_so(txn_snap(t), k)) {
        const struct ref vm = k->ref;
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        struct ref metrics = row_ref(row, F_VM_metrics);
        txn_set_int(t, vm, F_VM_domid, domain->domid);
        txn_set_enum(t, vm, F_VM_power_state,
                     domain->state == HV_STATE_PAUSED ? vm_power_state_Paused : vm_power_state_Running);
        if (snap_get(txn_snap(t), CLASS_VM_metrics, metrics)) {
            txn_set_int(t, metrics, F_VM_metrics_memory_actual, domain->memory_actual_bytes);
            txn_set_int(t, metrics, F_VM_metrics_VCPUs_number, domain->vcpus);
            if (domain->start_time) txn_set_time(t, metrics, F_VM_metrics_start_time, domain->start_time);
        }
        lifecycle_refresh(t, CLASS_VM, vm);
    }
    return db_commit(t, err);
}

/* One VM against its domain (NULL = none). *ret_runs: it does, and the record says so. */
static int compare_domain(struct call *c, const struct candidate *k, const struct hv_domain *domain, bool *ret_runs, struct xerr *err)
{
    bool alive = domain && (domain->state == HV_STATE_RUNNING || domain->state == HV_STATE_PAUSED), suspended = false;

    *ret_runs = false;
    if (k->should_run && vm_settle_suspend(c, k->ref, alive, &suspended, err)) return -1;
    if (suspended) return 0;
    if (k->should_run && alive) {
        *ret_runs = true;
        return adopt(c, k, domain, err);
    }
    if (domain) {
        log_info("VM %s: ending a domain that no finished start stands behind", k->uuid);
        if (hv_destroy(c->agent->hv, hv_id(k->uuid, k->ref), err)) return -1;
    }
    if (!k->should_run) {
        if (domain) vm_detach_devices(c, k->ref);
        return 0;
    }
    log_info("VM %s ended while nobody watched", k->uuid);
    return vm_make_halted(c, k->ref, k->domid, err);
}

static bool read_candidate(struct call *c, const struct snap *s, const struct row *vm, struct candidate *ret_k)
{
    int state = row_enum(vm, F_VM_power_state);

    if (row_bool(vm, F_VM_is_control_domain) || busy(s, vm)) return false;
    *ret_k = (struct candidate){
        .ref = row_ref_of(vm), .uuid = arena_strdup(c->arena, row_uuid(vm)), .domid = row_int(vm, F_VM_domid), .state = state,
        .should_run = state == vm_power_state_Running || state == vm_power_state_Paused,
        .here = ref_eq(row_ref(vm, F_VM_resident_on), c->agent->host),
    };
    return true;
}

/* What is there. */
static int look(struct call *c, const struct hv_domain **ret_domains, size_t *ret_n, struct host_links *ret_links, struct xerr *err)
{
    return hv_list(c->agent->hv, c->arena, ret_domains, ret_n, err) ||
                   net_list(c->agent->net, c->arena, &ret_links->list, &ret_links->n, err)
               ? -1
               : 0;
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

/* Every VM that no operation is at work on. */
static size_t list_idle(struct call *c, struct candidate **ret_list)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct candidate *list = arena_new_array(c->arena, struct candidate, snap_count(s, CLASS_VM));
    size_t n = 0;

    SNAP_EACH (s, CLASS_VM, vm)
        if (read_candidate(c, s, vm, &list[n])) n++;
    *ret_list = list;
    return n;
}

int vm_resync(struct agent *agent, struct xerr *err)
{
    struct call *c = call_new_internal(agent, "comparison with the engine");
    const struct hv_domain *domains;
    struct candidate *list;
    struct host_links links;
    size_t n_domains, n = list_idle(c, &list);
    int rc = -1;

    if (look(c, &domains, &n_domains, &links, err)) goto out;
    for (size_t i = 0; i < n; i++) {
        const struct candidate *k = &list[i];
        const struct hv_domain *domain = domain_of(domains, n_domains, k->uuid);
        struct xerr why = XERR_INIT;
        bool runs;
        if ((k->should_run ? !k->here : !domain) || !still_so_now(c, k)) continue;
        if (compare_domain(c, k, domain, &runs, &why) || (runs && vm_settle_devices(c, k->ref, true, &links, &why)))
            log_failure("comparison", k->uuid, &why);
    }
    rc = 0;
out:
    call_free_internal(c);
    return rc;
}

/* ---- in doubt ---------------------------------------------------------------------------------------------------- */

/* 0: the record says what is so, or there is none. */
static int settle(struct call *c, struct ref vm, struct xerr *err)
{
    struct candidate k;

    if (ref_is_null(vm)) return network_apply(c, err);
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_VM, vm);
        if (!row || row_bool(row, F_VM_is_control_domain) || row_bool(row, F_VM_is_a_template)) return 0;
        if (!read_candidate(c, s, row, &k)) return xerr_internal(err, "an operation is at work on it");
    }
    if (k.should_run && !k.here) return 0;
    const struct hv_domain *domains;
    struct host_links links;
    size_t n;
    bool runs;
    if (look(c, &domains, &n, &links, err)) return -1;
    if (!still_so_now(c, &k)) return xerr_internal(err, "it changes");
    if (compare_domain(c, &k, domain_of(domains, n, k.uuid), &runs, err) || vm_settle_devices(c, vm, runs, &links, err)) return -1;
    if (vdi_migrate_recover(c, err)) return -1;
    unfinished_rerun_one(c, vm);
    return 0;
}

bool vm_resync_one(struct agent *agent, struct ref vm)
{
    struct call *c = call_new_internal(agent, "VM in doubt");
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const int rc = settle(c, vm, &err);

    call_free_internal(c);
    if (rc) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_info("%s %s stays in doubt: %s", ref_is_null(vm) ? "the network" : "VM", REF_STR(vm), why);
    } else {
        log_info("%s %s was in doubt: it is as recorded", ref_is_null(vm) ? "the network" : "VM", REF_STR(vm));
    }
    return !rc;
}
