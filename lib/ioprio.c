/* How urgent a process's disk requests are.
 * Called by: xapi/vbd_qos.c, hypervisor drivers, storage/serve.c.  Calls: the kernel. */
#include "lib/ioprio.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "lib/num.h"

enum { WHO_THREAD = 1, MAX_ROUNDS = 16 };

/* One look at its threads. *ret_changed: some thread had another priority. */
static int set_threads(pid_t pid, int priority, bool *ret_changed)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    const struct dirent *e;
    int rc = 0;

    if (!dir) return errno = ESRCH, -1;
    while (rc == 0 && (e = readdir(dir))) {
        int64_t tid;
        if (!num_parse_int(e->d_name, &tid)) continue;
        if (syscall(SYS_ioprio_get, WHO_THREAD, tid) == priority) continue;
        *ret_changed = true;
        if (syscall(SYS_ioprio_set, WHO_THREAD, tid, priority) && errno != ESRCH) rc = -1;
    }
    int why = errno;
    closedir(dir);
    errno = why;
    return rc;
}

/* A thread inherits from the one that starts it: after a look that changes nothing none can be left out. */
int ioprio_set_process(pid_t pid, int priority)
{
    bool changed = true;

    for (int i = 0; changed && i < MAX_ROUNDS; i++) {
        changed = false;
        if (set_threads(pid, priority, &changed)) return -1;
        if (!priority) break; /* what the kernel tells of it is another number */
    }
    return 0;
}
