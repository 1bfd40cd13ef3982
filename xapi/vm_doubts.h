/* VMs of which a commit has failed, and the thread that compares them.
 * Called by: main.c, the gate of operations, class files.  Calls: what main.c gives it (vm_resync.c). */
#ifndef XAPI_VM_DOUBTS_H
#define XAPI_VM_DOUBTS_H

#include "xapi/call/call.h"

struct vm_doubts;

/* A change of this VM happened, or part of it, and its commit failed: it is compared with what is there on a thread of ours, again
 * and again until the record says what is so. Returns at once. NULL is fine. */
void vm_doubt(struct vm_doubts *d, struct ref vm);

/* The records say how the host's network is to be, and it could not be made so: it is tried again, as above. */
void network_doubt(struct vm_doubts *d);

/* settled: compares one VM, null = the network; false = to be tried again. */
struct vm_doubts *vm_doubts_new(struct agent *agent, bool (*settled)(struct agent *agent, struct ref vm));
/* Begins with those that came before. */
void vm_doubts_run(struct vm_doubts *d);
/* Finishes the one that it is at; the next agent compares all. NULL is fine. */
void vm_doubts_stop(struct vm_doubts *d);
void vm_doubts_free(struct vm_doubts *d);

#endif
