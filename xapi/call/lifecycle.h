/* Which operation is allowed on which object in which state: one table a class, read by the gate that takes
 * operations and by everything that shows allowed_operations.
 * Called by: rpc/oplock, class files, jobs/.  Calls: db/.
 *
 * Pure functions of a snapshot: no I/O, no state. A class's table is in xapi/call/lifecycle_<class>.c. */
#ifndef CALL_LIFECYCLE_H
#define CALL_LIFECYCLE_H

#include "db/db.h"

/* May operation `op` (index in the class's operations enum) begin on this object now? 0, or -1 with the precise error
 * (VM_BAD_POWER_STATE [vm, expected, actual], OTHER_OPERATION_IN_PROGRESS [class, ref, operation, its task], VM_IS_TEMPLATE,
 * OPERATION_BLOCKED, OPERATION_NOT_ALLOWED, ...). strict = false: ignore current_operations (used to compute what will be allowed). */
int lifecycle_check(const struct snap *s, enum class_id cls, struct ref ref, int op, bool strict, struct xerr *err);

/* All operations allowed now, as bits of the class's operations enum. */
uint64_t lifecycle_allowed(const struct snap *s, enum class_id cls, struct ref ref);

/* allowed_operations of every object, of a database that nobody has read yet: it does not keep them (see db_fill_bits()). */
void lifecycle_fill(struct db *db);

/* Recompute allowed_operations of this object (a volatile change) and of those whose answer depends on it
 * (a VM's VBDs, VIFs and their VDIs; a VDI's SR). Inside a transaction. */
void lifecycle_refresh(struct txn *t, enum class_id cls, struct ref ref);

/* As lifecycle_refresh, but this object only. */
void lifecycle_refresh_one(struct txn *t, enum class_id cls, struct ref ref);

/* VM_BAD_POWER_STATE [vm, expected, actual]: states are bits of enum vm_power_state, written in small letters as on the
 * reference ("halted, suspended"). Always -1. */
int lifecycle_bad_power_state(const struct row *vm, unsigned states, struct xerr *err);

/* The field ids of a class's operations; 0 when the class has none. */
field_id lifecycle_allowed_field(enum class_id cls);
field_id lifecycle_current_field(enum class_id cls);

#endif
