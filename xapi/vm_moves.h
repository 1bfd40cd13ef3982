/* VMs on their way to or from another pool, written down: whatever is killed or cut, one pool has the VM in the end.
 * Called by: vm_migrate.c, startup.c, jobs/jobs.c.  Calls: nothing. */
#ifndef XAPI_VM_MOVES_H
#define XAPI_VM_MOVES_H

#include "xapi/call/call.h"

/* Where a VM goes: the other pool's coordinator, and a session that it knows. */
struct vm_target {
    const char *host, *session;
    unsigned port;
};

/* ---- who receives ---- */

/* Before the VM's records are made here. Errors: DUPLICATE_VM [vm]: there is one of that uuid; INTERNAL_ERROR. */
int vm_moves_begin_in(struct call *c, const char *uuid, struct xerr *err);
/* It is ours for good, or all of it is gone again. */
void vm_moves_end_in(struct call *c, const char *uuid);

/* ---- who sends ---- */

/* From here on the other side may have the VM. *ret_fd: whoever has it open is at work on this move. */
int vm_moves_begin_out(struct call *c, const char *uuid, const struct vm_target *to, int *ret_fd, struct xerr *err);
/* It is known whose the VM is. Closes fd. */
void vm_moves_end_out(struct call *c, const char *uuid, int fd);

enum vm_owner { VM_OURS, VM_THEIRS, VM_UNKNOWN };
/* Asks the other side whose the VM is, again and again within wait_ms while it does not answer. ret_there: its reference there.
 * Blocks. */
enum vm_owner vm_moves_ask(struct call *c, const char *uuid, const struct vm_target *to, int64_t wait_ms, struct ref *ret_there);
/* Nobody knows yet. The VM is kept from being started, and asked about in the background. Closes fd. */
void vm_moves_leave_open(struct call *c, const char *uuid, int fd);
/* The VM is another pool's now: its records go, with those of its snapshots. Disks stay where both see them. */
int vm_moves_forget(struct call *c, struct ref vm, struct xerr *err);

/* ---- after a restart ---- */

/* Before anybody is served: nobody starts what was on the move. */
void vm_moves_mark(struct agent *agent);
/* What came and lives is ours, what did not arrive goes; what had been sent is halted here until it is known whose it is. */
int vm_moves_startup(struct call *c, struct xerr *err);
/* Asks about what is left open. */
void vm_moves_settle(struct agent *agent);

#endif
