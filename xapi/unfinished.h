/* Disks and VMs that belong to nobody yet: what an agent that is killed in the middle leaves, the next one destroys.
 * Called by: class files that make something in several steps, startup.  Calls: db/, the gates.
 *
 * While c->unfinished is set ("", or the reference of the VM that may have them), disks that the call makes, by other messages too,
 * are born with a mark, in the transaction that makes the record. The transaction that ends the work takes the marks off. */
#ifndef XAPI_UNFINISHED_H
#define XAPI_UNFINISHED_H

#include "xapi/call/call.h"
#include "xapi/storage/storage.h"

/* In VDI.sm_config, VM.other_config and SR.other_config: whose work it is. */
#define UNFINISHED_KEY "unfinished-by"

/* In VDI.sm_config besides: which making of a disk a foreign driver introduced it for. */
#define UNFINISHED_CALL_KEY "unfinished-call"

/* c->unfinished of a disk that its destruction has begun of, and that VMs which do not run may still have. */
#define UNFINISHED_DYING "*"
/* The mark's text: this host, and the VM that c->unfinished names. In the call's arena. */
const char *unfinished_text(struct call *c);
/* In a transaction: the disk bears the mark of c->unfinished. */
void unfinished_mark(struct call *c, struct txn *t, struct ref vdi);
/* In a transaction: the VDI or VM is somebody's, or may be. Nothing without a mark. */
void unfinished_end(struct txn *t, enum class_id cls, struct ref object);
/* For storage_sr.making while a driver makes `disk`: what it introduces by itself is marked until unfinished_end(). In the arena. */
const char *unfinished_making(struct call *c, const char *disk);
/* The driver has failed: what it has introduced for that disk goes, as far as it lets it. */
void unfinished_failed(struct call *c, const struct storage_sr *sr, const char *disk);
/* unfinished_end() in a transaction of its own. */
int unfinished_end_now(struct call *c, struct ref vdi, struct xerr *err);
/* Destroys a marked disk, unless another VM than the one that its mark names has it; the mark goes in any case, but where the
 * repository is not plugged. */
void unfinished_destroy(struct call *c, struct ref vdi);
/* The VDIs, VMs or SRs (cls) that bear a mark of this host, but VMs that are to run again; sr: only disks of it, null = all. Their number
 * and, in the call's arena, their references. */
size_t unfinished_list(struct call *c, enum class_id cls, struct ref sr, struct ref **ret_list);
/* At the start: the disks and VMs that this host's mark is on. Never fails. */
int unfinished_startup(struct call *c, struct xerr *err);
/* Whatever becomes of this agent, the VM is to run again: to be "start"ed when it is halted, "resume"d or "resume-paused" when it is
 * suspended, "unpause"d when it is paused; unless the host is booted anew. Until unfinished_rerun_end(). Errors: the database's. */
int unfinished_rerun(struct call *c, struct ref vm, const char *how, struct xerr *err);
/* failures: db_failures() when the work began. When it is another number now, the VM is in doubt (vm_doubts.h), and runs again once
 * it is known what became of it. */
void unfinished_rerun_end(struct call *c, struct ref vm, uint64_t failures);
/* Has a VM that is to run again do so, and takes its mark off; nothing without one. */
void unfinished_rerun_one(struct call *c, struct ref vm);
/* Whether there are such VMs, at the start; they start or resume one after another, on a thread of its own. */
bool unfinished_rerun_due(struct agent *agent);
void unfinished_rerun_run(struct agent *agent);
/* When a repository is plugged that was not at the start. Never fails. */
void unfinished_plugged(struct call *c, struct ref sr);

#endif
