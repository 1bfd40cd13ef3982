/* What the lifecycle files share: the shape of a rule table and the look at current_operations.
 * Called by: lifecycle*.c only.  Calls: db/. */
#ifndef CALL_LIFECYCLE_TABLE_H
#define CALL_LIFECYCLE_TABLE_H

#include "gen/errors.h"
#include "xapi/call/lifecycle.h"

/* One class's rules. check() answers for one operation with current_operations left aside; the common part asks
 * `beside` whether it may run next to what is in progress. */
struct lifecycle_rules {
    enum class_id cls;
    field_id allowed, current;
    int (*check)(const struct snap *s, const struct row *object, int op, struct xerr *err);
    bool (*beside)(int op, int running);      /* may op begin while running is in progress? NULL = never */
    /* Objects whose allowed_operations depend on this one: refresh them too. NULL = none. */
    void (*dependents)(struct txn *t, struct ref ref);
};

extern const struct lifecycle_rules lifecycle_vm, lifecycle_vbd, lifecycle_vif, lifecycle_vdi, lifecycle_sr, lifecycle_host,
    lifecycle_vm_appliance, lifecycle_pool;

/* The operations enumeration of a class, from its allowed_operations field. */
const struct enum_desc *lifecycle_operations(field_id allowed);
/* True when any operation is recorded on the row. */
bool lifecycle_busy(const struct row *object, field_id current);
/* True when this operation is recorded on the row. */
bool lifecycle_runs(const struct row *object, field_id current, const struct enum_desc *operations, int op);

#define OP(x) (UINT64_C(1) << (x))

#endif
