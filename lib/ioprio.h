/* How urgent a process's disk requests are to the kernel: ioprio_set(2), which no library wraps.
 * Called by: xapi/vbd_qos.c, hypervisor drivers, storage/serve.c.  Calls: the kernel. */
#ifndef LIB_IOPRIO_H
#define LIB_IOPRIO_H

#include "lib/util.h"

/* Classes; the level within the first two is 0 (first) to 7. */
enum { IOPRIO_RT = 1, IOPRIO_BE, IOPRIO_IDLE };
#define IOPRIO(class, level) ((class) << 13 | (level))

/* Every thread of the process, those that it starts meanwhile included. priority 0 = as its processor priority has it, the
 * kernel's own way. 0 or -1 + errno: ESRCH, EPERM. */
int ioprio_set_process(pid_t pid, int priority);

#endif
