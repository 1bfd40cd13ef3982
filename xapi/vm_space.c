/* VMs that wait for room where their disks lie.
 * Called by: vm_monitor.c, vm_power.c, jobs/jobs.c.  Calls: SR.update, VM.unpause, db/.
 *
 * A guest that is paused in the middle of a write goes on where it was, so it may do so as soon as there is room. How much
 * is enough nobody knows (a file system may keep some for root, a quota may be in the way): when a VM is paused again, it
 * is left alone until there is clearly more. */
#define LOG_MODULE "vm"
#include "xapi/vm_space.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "lib/num.h"

#define WORTH_IT (INT64_C(64) << 20)

void vm_space_note(struct txn *t, struct ref vm)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);

    if (row && !row_map_str(row, F_VM_other_config, VM_SPACE_KEY, NULL))
        txn_map_put_str(t, vm, F_VM_other_config, VM_SPACE_KEY, "0");
}

void vm_space_forget(struct txn *t, struct ref vm)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);

    if (row && row_map_str(row, F_VM_other_config, VM_SPACE_KEY, NULL))
        txn_map_remove(t, vm, F_VM_other_config, VM_SPACE_KEY);
}

struct waiting {
    struct ref vm;
    bool paused;
    int64_t tried; /* bytes */
};

static const struct waiting *list(struct call *c, size_t *ret_n)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct waiting *all = arena_new_array(c->arena, struct waiting, snap_count(s, CLASS_VM) + 1);

    *ret_n = 0;
    SNAP_EACH (s, CLASS_VM, vm) {
        const char *text = row_map_str(vm, F_VM_other_config, VM_SPACE_KEY, NULL);
        struct waiting *w = &all[*ret_n];
        if (!text || row_bool(vm, F_VM_is_a_template) || row_bool(vm, F_VM_is_a_snapshot)) continue;
        const bool here = ref_eq(row_ref(vm, F_VM_resident_on), c->agent->host);
        if (!here && row_enum(vm, F_VM_power_state) != vm_power_state_Halted) continue; /* another host's */
        *w = (struct waiting){ row_ref_of(vm), here && row_enum(vm, F_VM_power_state) == vm_power_state_Paused, 0 };
        if (!num_parse_int(text, &w->tried) || w->tried < 0) w->tried = 0;
        (*ret_n)++;
    }
    return all;
}

/* The repositories that the VM writes to, each once. */
static size_t list_srs(struct call *c, struct ref vm, struct ref **ret_srs)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);
    const struct refset *vbds = row ? row_refs(row, F_VM_VBDs) : NULL;
    struct ref *srs = arena_new_array(c->arena, struct ref, (vbds ? vbds->n : 0) + 1);
    size_t n = 0, k;

    for (size_t i = 0; vbds && i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        const struct row *vdi = vbd ? snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI)) : NULL;
        if (!vdi || row_enum(vbd, F_VBD_mode) != vbd_mode_RW) continue;
        for (k = 0; k < n && !ref_eq(srs[k], row_ref(vdi, F_VDI_SR)); k++)
            ;
        if (k == n) srs[n++] = row_ref(vdi, F_VDI_SR);
    }
    *ret_srs = srs;
    return n;
}

/* Bytes that are free where there are fewest, -1 = nobody says. */
static int64_t least_free(struct call *c, struct ref vm)
{
    struct ref *srs;
    const size_t n = list_srs(c, vm, &srs);
    int64_t least = -1;

    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (sr_update(c, srs[i], &err)) continue; /* not one that can be full */
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *sr = snap_get(s, CLASS_SR, srs[i]);
        if (!sr) continue;
        const int64_t left = row_int(sr, F_SR_physical_size) - row_int(sr, F_SR_physical_utilisation);
        if (least < 0 || left < least) least = left < 0 ? 0 : left;
    }
    return least;
}

static void set_key(struct call *c, struct ref vm, const char *value)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);

    vm_space_forget(t, vm);
    if (value && snap_get(txn_snap(t), CLASS_VM, vm)) txn_map_put_str(t, vm, F_VM_other_config, VM_SPACE_KEY, value);
    if (db_commit(t, &err) == 0) return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("VM %s: %s", REF_STR(vm), why);
}

static void go_on(struct call *c, const struct waiting *w)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const int64_t left = least_free(c, w->vm);

    if (left < w->tried + WORTH_IT) return;
    set_key(c, w->vm, arena_printf(c->arena, "%lld", (long long)left));
    if (call_message(c, "VM.unpause", ARGS(value_ref(w->vm)), NULL, &err) == 0) {
        log_info("VM %s goes on: there is room for its disks again", REF_STR(w->vm));
        return;
    }
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("VM %s, which waited for room, does not go on: %s", REF_STR(w->vm), why);
}

void vm_space_look(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "room for disks");
    size_t n;
    const struct waiting *all = list(c, &n);

    for (size_t i = 0; i < n && !call_cancelled(c); i++) {
        if (all[i].paused)
            go_on(c, &all[i]);
        else
            set_key(c, all[i].vm, NULL);
    }
    call_free_internal(c);
}
