/* The calls in flight in this process, by task reference.
 * Called by: call.c, rpc/, xapi/task.c.  Calls: map, db/. */
#include "xapi/call/live_task.h"

#include "lib/clock.h"
#include "lib/map.h"

#include <assert.h>
#include <pthread.h>

/* Progress of a task with a row goes to the database this often at most. */
#define PROGRESS_INTERVAL_NS (250 * NS_PER_MS)

struct live_tasks {
    pthread_mutex_t lock;
    struct refmap *by_ref;     /* lock: lock */
};

/* What live_task_begin gives out is the first member of this. */
struct live {
    struct live_task task;
    _Atomic int64_t written_ns;    /* when progress last went to the row */
};

struct live_tasks *live_tasks_new(void)
{
    struct live_tasks *all = xcalloc(1, sizeof(*all));

    pthread_mutex_init(&all->lock, NULL);
    all->by_ref = refmap_new();
    return all;
}

void live_tasks_free(struct live_tasks *all)
{
    if (!all) return;
    assert(refmap_count(all->by_ref) == 0);
    refmap_free(all->by_ref);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

struct live_task *live_task_begin(struct live_tasks *all, struct ref ref, bool in_db)
{
    struct live *l = xcalloc(1, sizeof(*l));

    l->task.ref = ref;
    l->task.in_db = in_db;
    uuid_to_text(ref, l->task.uuid);
    pthread_mutex_lock(&all->lock);
    void *before = refmap_get(all->by_ref, ref);
    /* Two HTTP requests may name the same client-made task: the first one stays the one that is cancelled. */
    if (!before) refmap_put(all->by_ref, ref, l);
    pthread_mutex_unlock(&all->lock);
    return &l->task;
}

void live_task_end(struct live_tasks *all, struct live_task *task)
{
    if (!task) return;
    struct live *l = (struct live *)task;
    pthread_mutex_lock(&all->lock);
    if (refmap_get(all->by_ref, task->ref) == l) refmap_remove(all->by_ref, task->ref);
    pthread_mutex_unlock(&all->lock);
    free(l);
}

bool live_task_cancel(struct live_tasks *all, struct ref ref)
{
    pthread_mutex_lock(&all->lock);
    struct live *l = refmap_get(all->by_ref, ref);
    if (l) atomic_store(&l->task.cancelled, true);
    pthread_mutex_unlock(&all->lock);
    return l != NULL;
}

bool live_task_runs(struct live_tasks *all, struct ref ref)
{
    pthread_mutex_lock(&all->lock);
    bool runs = refmap_get(all->by_ref, ref) != NULL;
    pthread_mutex_unlock(&all->lock);
    return runs;
}

size_t live_tasks_count(struct live_tasks *all)
{
    pthread_mutex_lock(&all->lock);
    size_t n = refmap_count(all->by_ref);
    pthread_mutex_unlock(&all->lock);
    return n;
}

void live_tasks_cancel_all(struct live_tasks *all)
{
    size_t at = 0;
    struct ref ref;
    void *value;

    pthread_mutex_lock(&all->lock);
    while (refmap_next(all->by_ref, &at, &ref, &value)) atomic_store(&((struct live *)value)->task.cancelled, true);
    pthread_mutex_unlock(&all->lock);
}

/* Declared in call.h. */
void call_progress(struct call *c, double fraction)
{
    struct live *l = (struct live *)c->task;

    if (!(fraction >= 0)) fraction = 0;
    if (fraction > 1) fraction = 1;
    atomic_store(&l->task.progress, fraction);
    if (!l->task.in_db) return;

    int64_t now = clock_monotonic_ns(), last = atomic_load(&l->written_ns);
    if (last && now - last < PROGRESS_INTERVAL_NS) return;
    if (!atomic_compare_exchange_strong(&l->written_ns, &last, now)) return;

    /* Volatile: no wait for the disk. The task may be gone already: then there is nobody to tell. */
    struct txn *t = db_begin(c->agent->db);
    if (!snap_get(txn_snap(t), CLASS_task, l->task.ref)) {
        db_abort(t);
        return;
    }
    txn_set_float(t, l->task.ref, F_task_progress, fraction);
    db_commit(t, NULL);
}
