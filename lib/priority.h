/* How urgently a thread runs beside the others of the machine, and back again.
 * Called by: xapi/http/gate.c, xapi/rpc/fields.c.  Calls: the kernel. */
#ifndef LIB_PRIORITY_H
#define LIB_PRIORITY_H

#include "lib/util.h"

struct priority;

/* What the calling thread has counts as normal. NULL: a thread of this process that makes itself less urgent could not
 * come back (no CAP_SYS_NICE, and RLIMIT_NICE says no), so none should. */
struct priority *priority_new(void);
/* NULL is fine. */
void priority_free(struct priority *p);

/* From now on the calling thread is less urgent, or normal: less of a processor's time (about a third of what a normal one
 * gets beside it), and who is normal and wakes up need not wait until its slice of time is over. */
void priority_take(const struct priority *p, bool less);

/* A place in a long computation where somebody more urgent, or normal, may have the processor: a kernel that does not interrupt a
 * thread for those who wake up looks for them when a system call ends. Costs 0.1 us. */
void priority_point(void);

#endif
