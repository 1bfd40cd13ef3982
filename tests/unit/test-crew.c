/* A crew does what it is asked for, in order, and keeps as many processors busy as there are.
 * Called by: make check.  Calls: xapi/crew, lib/priority. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/priority.h"
#include "xapi/crew.h"

enum { ASKERS = 64, TIMES = 50 };

static struct {
    struct crew *crew;
    int normal;                    /* niceness */
    atomic_int at_it, most, done, less_urgent;
} t;

static void work(void *arg)
{
    int n = atomic_fetch_add(&t.at_it, 1) + 1;

    for (int most = atomic_load(&t.most); n > most && !atomic_compare_exchange_weak(&t.most, &most, n);) {}
    sched_yield();
    if (getpriority(PRIO_PROCESS, 0) > t.normal) atomic_fetch_add(&t.less_urgent, 1);
    ++*(int *)arg;
    atomic_fetch_add(&t.done, 1);
    atomic_fetch_sub(&t.at_it, 1);
}

static void *ask(void *arg)
{
    int mine = 0;

    for (int i = 0; i < TIMES; i++) {
        crew_do(t.crew, work, &mine);
        if (mine != i + 1) return arg;   /* crew_do() came back before it was done */
    }
    return NULL;
}

static void everybody_is_served_by_no_more_threads_than_processors(void **state _unused_)
{
    pthread_t askers[ASKERS];
    void *wrong;

    t.normal = getpriority(PRIO_PROCESS, 0);
    t.crew = crew_new("test");
    for (int i = 0; i < ASKERS; i++) assert_int_equal(pthread_create(&askers[i], NULL, ask, &t), 0);
    for (int i = 0; i < ASKERS; i++) {
        assert_int_equal(pthread_join(askers[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_int_equal(atomic_load(&t.done), ASKERS * TIMES);
    assert_in_range(atomic_load(&t.most), 1, sysconf(_SC_NPROCESSORS_ONLN));
    if (t.normal < 19) assert_int_equal(atomic_load(&t.less_urgent), ASKERS * TIMES);
    crew_free(t.crew);
}

static void a_crew_nobody_asked_ends(void **state _unused_)
{
    crew_free(crew_new("a name that is longer than fifteen bytes"));
    crew_free(NULL);
}

static void a_thread_is_less_urgent_and_comes_back(void **state _unused_)
{
    struct priority *p = priority_new();
    int before = getpriority(PRIO_PROCESS, 0);

    SKIP_EMULATED("sched_setattr");
    if (!p) {
        /* Only who may raise a priority again may lower it. */
        assert_int_not_equal(geteuid() == 0 && setpriority(PRIO_PROCESS, 0, before - 1) == 0, 1);
        return;
    }
    priority_take(p, true);
    assert_in_range(getpriority(PRIO_PROCESS, 0), before < 19 ? before + 1 : 19, before + 5);
    priority_take(p, false);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
    priority_free(p);
}

UNIT_MAIN(
    cmocka_unit_test(everybody_is_served_by_no_more_threads_than_processors),
    cmocka_unit_test(a_crew_nobody_asked_ends),
    cmocka_unit_test(a_thread_is_less_urgent_and_comes_back),
)
