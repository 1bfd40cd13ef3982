/* Class VM: the groups it is in, the record it was booted with.
 * Called by: the generated thunks (schema/vm.xml).  Calls: db/. */
#include "gen/methods.h"
#include "xapi/vm.h"

/* ---- groups ------------------------------------------------------------------------------------------------------ */

/* A VM is in one group at most: two rules about where it may run could contradict each other. Both sides are written. */
int vm_set_groups(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    struct ref wanted = value->set.n ? value->set.items[0].ref : REF_NULL;
    struct value mine = value_ref(self);

    if (value->set.n > 1) return xerr_too_many_groups(err);
    struct txn *t = db_begin(c->agent->db);
    const struct row *vm = snap_need(txn_snap(t), CLASS_VM, self, err);
    if (!vm || (value->set.n && !snap_need(txn_snap(t), CLASS_VM_group, wanted, err))) {
        db_abort(t);
        return -1;
    }
    if (row_bool(vm, F_VM_is_control_domain)) {
        db_abort(t);
        return xerr_operation_not_allowed(err, "The control domain is in no group");
    }
    SNAP_EACH (txn_snap(t), CLASS_VM_group, group)
        if (refset_has(row_refs(group, F_VM_group_VMs), self)) txn_set_remove(t, row_ref_of(group), F_VM_group_VMs, &mine);
    if (value->set.n) txn_set_add(t, wanted, F_VM_group_VMs, &mine);
    txn_set_refs(t, self, F_VM_groups, &wanted, value->set.n);
    return db_commit(t, err);
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

/* A VM runs with the record it has: what cannot change while it runs is refused, the rest is followed. */
int vm_get_boot_record(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, self, err);

    if (!row) return -1;
    const struct value record = row_record(row, c->arena);
    *ret_result = value_copy(c->arena, &record);
    return 0;
}
