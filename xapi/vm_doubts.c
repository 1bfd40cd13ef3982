/* VMs of which a commit has failed, and the thread that compares them.
 * Called by: main.c, the gate of operations, class files.  Calls: what main.c gives it (vm_resync.c).
 *
 * A call may have changed a guest when the disk of the database refuses what it writes down. Undoing fails as easily as doing, so
 * calls undo what is simple and report the error; the VM is then in doubt: it is compared as a start of the agent would, until the
 * record says what is so. */
#include "xapi/vm_doubts.h"

#include <pthread.h>
#include <time.h>

enum { FIRST_PAUSE_MS = 20, LONGEST_PAUSE_MS = 30000 };

struct doubt {
    struct doubt *next;
    struct ref vm;         /* null: the host's network */
};

struct vm_doubts {
    struct agent *agent;          /* immutable */
    bool (*settled)(struct agent *agent, struct ref vm);   /* immutable */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct doubt *list;           /* lock: lock */
    bool stop;                    /* lock: lock */
    bool runs;                    /* only who starts and stops */
    pthread_t thread;
};

/* Lock held. One doubt of a VM is enough. */
static void add(struct vm_doubts *d, struct ref vm)
{
    for (const struct doubt *same = d->list; same; same = same->next)
        if (ref_eq(same->vm, vm)) return;
    struct doubt *new = xmalloc(sizeof(*new));
    *new = (struct doubt){ d->list, vm };
    d->list = new;
}

/* Works on the list without the lock, and puts back who is not settled. False: there were none such. */
static bool settle_all(struct vm_doubts *d, struct doubt *list)
{
    bool any = false;

    while (list) {
        struct doubt *next = list->next;
        if (!d->settled(d->agent, list->vm)) {
            pthread_mutex_lock(&d->lock);
            add(d, list->vm);
            pthread_mutex_unlock(&d->lock);
            any = true;
        }
        free(list);
        list = next;
    }
    return any;
}

static struct timespec after_ms(int ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void *doubts_main(void *arg)
{
    struct vm_doubts *d = arg;
    int pause_ms = FIRST_PAUSE_MS;

    pthread_mutex_lock(&d->lock);
    while (!d->stop) {
        if (!d->list) {
            pthread_cond_wait(&d->changed, &d->lock);
            continue;
        }
        struct doubt *list = d->list;
        d->list = NULL;
        pthread_mutex_unlock(&d->lock);
        const bool left = settle_all(d, list);
        pthread_mutex_lock(&d->lock);
        if (!left) {
            pause_ms = FIRST_PAUSE_MS;
            continue;
        }
        const struct timespec until = after_ms(pause_ms);
        while (!d->stop && !pthread_cond_timedwait(&d->changed, &d->lock, &until)) continue;
        pause_ms = pause_ms < LONGEST_PAUSE_MS / 2 ? pause_ms * 2 : LONGEST_PAUSE_MS;
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

void vm_doubt(struct vm_doubts *d, struct ref vm)
{
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    add(d, vm);
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void network_doubt(struct vm_doubts *d) { vm_doubt(d, REF_NULL); }

struct vm_doubts *vm_doubts_new(struct agent *agent, bool (*settled)(struct agent *agent, struct ref vm))
{
    struct vm_doubts *d = xcalloc(1, sizeof(*d));
    pthread_condattr_t monotonic;

    d->agent = agent;
    d->settled = settled;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return d;
}

void vm_doubts_run(struct vm_doubts *d)
{
    if (pthread_create(&d->thread, NULL, doubts_main, d)) abort();
    d->runs = true;
}

void vm_doubts_stop(struct vm_doubts *d)
{
    if (!d || !d->runs) return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    d->runs = false;
}

void vm_doubts_free(struct vm_doubts *d)
{
    if (!d) return;
    vm_doubts_stop(d);
    while (d->list) {
        struct doubt *next = d->list->next;
        free(d->list);
        d->list = next;
    }
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
