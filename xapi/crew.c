/* A few threads that do, in the order of asking, what would keep a processor busy for long.
 * Called by: auth_source.c.  Calls: pthread. */
#define LOG_MODULE "crew"

#include "xapi/crew.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>

#include "lib/log.h"

enum { NICENESS = 5 };

struct work {
    void (*fn)(void *arg);
    void *arg;
    sem_t end;
    struct work *next;
};

struct crew {
    char name[16];                 /* immutable */
    size_t n;                      /* immutable: threads there are */
    pthread_t *threads;            /* immutable */
    _Atomic size_t asked;          /* pieces of work that are not done */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct work *first, **last;    /* lock: lock; nobody is at these yet */
    bool stop;                     /* lock: lock */
};

static void *crew_main(void *arg)
{
    struct crew *crew = arg;

    pthread_setname_np(pthread_self(), crew->name);
    /* On Linux it is the thread's own. */
    if (setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICENESS)) log_warn("%s: it keeps its priority", crew->name);
    pthread_mutex_lock(&crew->lock);
    while (crew->first || !crew->stop) {
        struct work *w = crew->first;
        if (!w) {
            pthread_cond_wait(&crew->more, &crew->lock);
            continue;
        }
        crew->first = w->next;
        if (!crew->first) crew->last = &crew->first;
        pthread_mutex_unlock(&crew->lock);
        w->fn(w->arg);
        atomic_fetch_sub_explicit(&crew->asked, 1, memory_order_relaxed);
        sem_post(&w->end);   /* the last that is seen of it: it is the asker's again */
        pthread_mutex_lock(&crew->lock);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

struct crew *crew_new(const char *name)
{
    struct crew *crew = xcalloc(1, sizeof(*crew));
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = processors > 0 ? (size_t)processors : 1;

    snprintf(crew->name, sizeof(crew->name), "%s", name);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->more, NULL);
    crew->last = &crew->first;
    crew->threads = xcalloc(wanted, sizeof(*crew->threads));
    while (crew->n < wanted && !pthread_create(&crew->threads[crew->n], NULL, crew_main, crew)) crew->n++;
    if (crew->n < wanted) log_warn("%s: %zu threads instead of %zu", name, crew->n, wanted);
    return crew;
}

void crew_free(struct crew *crew)
{
    if (!crew) return;
    pthread_mutex_lock(&crew->lock);
    crew->stop = true;
    pthread_cond_broadcast(&crew->more);
    pthread_mutex_unlock(&crew->lock);
    for (size_t i = 0; i < crew->n; i++) pthread_join(crew->threads[i], NULL);
    pthread_cond_destroy(&crew->more);
    pthread_mutex_destroy(&crew->lock);
    free(crew->threads);
    free(crew);
}

void crew_do(struct crew *crew, void (*fn)(void *arg), void *arg)
{
    struct work w = { .fn = fn, .arg = arg };

    if (!crew->n) {
        fn(arg);   /* no thread was left: in line, late but done */
        return;
    }
    sem_init(&w.end, 0, 0);
    atomic_fetch_add_explicit(&crew->asked, 1, memory_order_relaxed);
    pthread_mutex_lock(&crew->lock);
    *crew->last = &w;
    crew->last = &w.next;
    pthread_mutex_unlock(&crew->lock);
    pthread_cond_signal(&crew->more);
    while (sem_wait(&w.end)) {}
    sem_destroy(&w.end);
}

bool crew_is_busy(const struct crew *crew)
{
    return crew->n && atomic_load_explicit(&crew->asked, memory_order_relaxed) >= crew->n;
}
