/* The TPM of a VM: its record, and what it keeps while the VM is switched off.
 * Called by: vm*.c, xva_*.c.  Calls: hv/, db/. */
#ifndef XAPI_VTPM_H
#define XAPI_VTPM_H

#include "xapi/call/call.h"
#include "xapi/hv/hv.h"

/* Says in ret_vm whether the VM has a TPM, and what that holds. Errors: INVALID_VALUE ["VTPM contents", ..]. */
int vtpm_describe(struct call *c, const struct row *vm, struct hv_vm *ret_vm, struct xerr *err);
/* What the hypervisor's TPM has by now goes into the record; what fails is logged. */
void vtpm_save(struct call *c, struct ref vm);

/* In a transaction: all that a VM has of TPMs goes; */
void vtpm_drop_rows(struct txn *t, struct ref vm);
/* a copy of it for another VM, a snapshot or any other kind of copy, which a TPM that is one of a kind (is_unique) is left out of; */
void vtpm_copy_rows(struct call *c, struct txn *t, struct ref from, struct ref to, bool snapshot);
/* a TPM for a VM that has none. contents: as VTPM.get_contents has them. */
struct ref vtpm_add_row(struct txn *t, struct ref vm, bool is_unique, const char *contents);

/* VTPM.get_contents of a record; "" = none yet. Borrowed from the snapshot. */
const char *vtpm_contents(const struct snap *s, const struct row *vtpm);
/* Contents of a client's or a file's. Errors: INVALID_VALUE ["VTPM contents", ..]. */
int vtpm_check_contents(struct call *c, const char *contents, struct xerr *err);

#endif
