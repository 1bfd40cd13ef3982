/* How urgently a thread runs beside the others of the machine, and back again.
 * Called by: xapi/http/gate.c, xapi/rpc/fields.c.  Calls: the kernel. */
#define LOG_MODULE "priority"

#include "lib/priority.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/log.h"

/* Of a thread with slices longer than its own a normal one takes the processor at once (Linux 6.12; older ones go by
 * the niceness alone). */
enum { LESS_NICE = 5, MOST_NICE = 19, LONG_SLICE_NS = 10 * 1000 * 1000 };

/* As sched_setattr(2) takes it; <linux/sched/types.h> cannot stand beside <sched.h>. */
struct attributes {
    uint32_t size, sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t sched_runtime, sched_deadline, sched_period;
};

struct priority { struct attributes normal, less; };   /* immutable */

static int set_own(const struct attributes *attr)
{
    return (int)syscall(SYS_sched_setattr, 0, attr, 0);
}

/* Whether a thread comes back. The thread that tries it is gone afterwards, however that ends. */
static void *there_and_back(void *arg)
{
    const struct priority *p = arg;

    return set_own(&p->less) == 0 && set_own(&p->normal) == 0 ? arg : NULL;
}

struct priority *priority_new(void)
{
    struct priority *p = xcalloc(1, sizeof(*p));
    pthread_t thread;
    void *back = NULL;

    if (syscall(SYS_sched_getattr, 0, &p->normal, sizeof(p->normal), 0)) goto out;
    p->less = p->normal;
    p->less.sched_nice += LESS_NICE;
    if (p->less.sched_nice > MOST_NICE) p->less.sched_nice = MOST_NICE;
    p->less.sched_runtime = LONG_SLICE_NS;
    if (!pthread_create(&thread, NULL, there_and_back, p)) pthread_join(thread, &back);
out:
    if (back) return p;
    log_info("threads keep their priority: the kernel would not let one come back");
    free(p);
    return NULL;
}

void priority_free(struct priority *p)
{
    free(p);
}

void priority_take(const struct priority *p, bool less)
{
    if (set_own(less ? &p->less : &p->normal)) log_warn("the priority of a thread: %s", strerror(errno));
}

void priority_point(void)
{
    (void)syscall(SYS_getppid);
}
