/* What the lifecycle files share: the shape of a rule table and the look at current_operations.
 * Called by: lifecycle*.c only.  Calls: db/. */
#ifndef CALL_LIFECYCLE_TABLE_H
#define CALL_LIFECYCLE_TABLE_H

#include "gen/errors.h"
#include "xapi/call/lifecycle.h"

/* What the rules of one object rest on, gathered once for all its operations. Zero before the first object; kept from one
 * to the next of a class while the snapshot stays, so that what many objects share is looked up once. */
struct facts {
    const struct snap *s;
    const struct row *object;
    const struct row *sr;                     /* VDI: its repository, or NULL. SR: the object */
    uint64_t able;                            /* VDI, SR: operations that the repository's driver has */
    bool attached;                            /* VDI, SR: some host has the repository plugged */
    const struct row *open;                   /* VDI: a VBD that uses it */
    bool of_snapshot;                         /* VDI: which belongs to a snapshot of a VM */
    const struct row *vm;                     /* VBD, VIF, VTPM: the VM, or NULL */
    const char *lacks;                        /* VM; VDI that a VM has open: lifecycle_lacks() */
};

/* One class's rules. check() answers for one operation with current_operations left aside; the common part asks
 * `beside` whether it may run next to what is in progress. */
struct lifecycle_rules {
    enum class_id cls;
    field_id allowed, current;
    void (*look)(struct facts *f);            /* fills what check() wants beyond s and object; NULL = nothing */
    int (*check)(const struct facts *f, int op, struct xerr *err);
    bool (*beside)(int op, int running);      /* may op begin while running is in progress? NULL = never */
    /* Objects whose allowed_operations depend on this one: refresh them too. NULL = none. */
    void (*dependents)(struct txn *t, struct ref ref);
};

extern const struct lifecycle_rules lifecycle_vm, lifecycle_vbd, lifecycle_vif, lifecycle_vdi, lifecycle_sr, lifecycle_host,
    lifecycle_vm_appliance, lifecycle_pool, lifecycle_vtpm;

/* The operations enumeration of a class, from its allowed_operations field. */
const struct enum_desc *lifecycle_operations(field_id allowed);
/* The verbs that a VM's host lacks (host.c: hypervisor_lacks); of a VM that runs nowhere, those of the host that lacks least. */
const char *lifecycle_lacks(const struct snap *s, const struct row *vm);
/* NOT_IMPLEMENTED ["hv.DRIVER.VERB"] when the verb is among them. */
int lifecycle_need_verb(const char *lacks, const char *verb, struct xerr *err);
/* True when any operation is recorded on the row. */
bool lifecycle_busy(const struct row *object, field_id current);
/* True when this operation is recorded on the row. */
bool lifecycle_runs(const struct row *object, field_id current, const struct enum_desc *operations, int op);

#define OP(x) (UINT64_C(1) << (x))
/* REF_STR for an error that is wanted: most checks are made to learn whether. */
#define NAMED(err, ref) ((err)->quiet ? "" : REF_STR(ref))

#endif
