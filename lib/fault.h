/* Fault points: named places where a test can make the program fail.
 * Called by: db/, xapi/, sm/.  Calls: libc.
 *
 *     int e = fault("db.commit");
 *     if (e) return errno = e, -1;
 *
 * Always compiled in; one predictable branch while nothing is armed. Armed only by the descriptor that the
 * environment variable XAPI_FAULT_FD names (a memfd, file or pipe inherited at start), and only in a program
 * that was started with the option that allows it. Lines of that descriptor: `POINT ACTION [NTH]`. More may
 * be written while the program runs; they are read at the next fault point.
 *
 *     ACTION  an errno name (EIO, ENOSPC, ...): fault() returns it
 *             kill: SIGKILL to ourselves;  abort: as of a failed allocation;  sleep:MS: wait, then go on;  off: disarm the point
 *     NTH     3: only the third time that it is reached from now; 3+: from the third on; absent: always */
#ifndef LIB_FAULT_H
#define LIB_FAULT_H

#include "lib/util.h"

/* Called once at start. Without XAPI_FAULT_FD: 0, nothing armed. With it: 0 and armed when allowed, else -1
 * and a sentence (literal). The variable is removed from the environment, so children do not inherit it. */
int fault_start(bool allowed, const char **ret_error);

extern bool fault_armed;
/* This thread works beside the operations, whenever it likes: its steps are not theirs, "agent.step" is not reached by them. */
extern _Thread_local bool fault_step_aside;
int fault_check(const char *point);

/* 0, or the errno that the caller is to fail with. Thread-safe. */
static inline int fault(const char *point)
{
    return __builtin_expect(fault_armed, 0) ? fault_check(point) : 0;
}

/* The same at a step of an operation: a call of a driver, a commit, a change of an interface. "agent.step" is reached at each of them,
 * so that a test can fail or kill at the first, the second, the third ... of whatever an operation does. */
static inline int fault_step(const char *point)
{
    int e = fault_step_aside ? 0 : fault("agent.step");

    return e ? e : fault(point);
}

#endif
