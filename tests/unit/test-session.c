/* How sessions end: idle ones expire, used ones do not, and who lasts longer than a call is told.
 * Called by: make check.  Calls: session.c, session_watch.c, event hub. */
#include "tests/unit/rpc-fixture.h"

#include <unistd.h>

#include "lib/clock.h"
#include "xapi/event.h"
#include "xapi/session.h"

/* A session of root, with its call. */
static struct call *open_session(struct fixture *f)
{
    struct call *c = call_new_internal(&f->agent, "test");
    struct xerr err = XERR_INIT;
    struct ref secret;

    assert_ok(session_open_root(c, "test", &secret, &err), &err);
    return c;
}

static void set_last_active(struct fixture *f, struct ref session, int64_t ago_s)
{
    struct xerr err = XERR_INIT;
    struct txn *t = db_begin(f->agent.db);

    txn_set_time(t, session, F_session_last_active, clock_wall_seconds() - ago_s);
    assert_ok(db_commit(t, &err), &err);
}

static bool lives(struct fixture *f, struct ref session)
{
    _cleanup_snap_ struct snap *s = db_snap(f->agent.db);
    return snap_get(s, CLASS_session, session) != NULL;
}

static void idle_sessions_expire(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct call *old = open_session(f), *recent = open_session(f);
    (void)state;

    set_last_active(f, old->session, SESSION_IDLE_S + SESSION_TOUCH_S + 10);
    set_last_active(f, recent->session, SESSION_IDLE_S - 10);
    assert_int_equal(sessions_expire(&f->agent), 1);
    assert_false(lives(f, old->session));
    assert_true(lives(f, recent->session));
    assert_int_equal(sessions_expire(&f->agent), 0);
    call_free_internal(old);
    call_free_internal(recent);
    fixture_free(f);
}

/* Even before the row goes. */
static void an_old_secret_is_refused(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct call *c = open_session(f);
    struct xerr err = XERR_INIT;
    char text[REF_TEXT];
    (void)state;

    set_last_active(f, c->session, SESSION_IDLE_S + SESSION_TOUCH_S + 10);
    assert_failed(session_resume(c, c->handle, ref_text(c->handle, text), &err), &err, "SESSION_INVALID");
    call_free_internal(c);
    fixture_free(f);
}

static void count(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

static void what_is_watched_is_in_use(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct call *c = open_session(f);
    atomic_int told = 0;
    (void)state;

    struct session_watch *w = session_watch_begin(c);
    session_watch_set(w, count, &told);
    set_last_active(f, c->session, SESSION_IDLE_S + SESSION_TOUCH_S + 10);
    assert_int_equal(sessions_expire(&f->agent), 0);
    assert_true(lives(f, c->session));
    session_watch_end(w);
    assert_int_equal(told, 0);

    /* It was used until just now. */
    assert_int_equal(sessions_expire(&f->agent), 0);
    set_last_active(f, c->session, SESSION_IDLE_S + SESSION_TOUCH_S + 10);
    assert_int_equal(sessions_expire(&f->agent), 1);
    call_free_internal(c);
    fixture_free(f);
}

static void who_watches_is_told(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct call *c = open_session(f), *other = open_session(f);
    atomic_int told = 0, late = 0, not_me = 0;
    (void)state;

    struct session_watch *a = session_watch_begin(c), *b = session_watch_begin(c), *x = session_watch_begin(other);
    session_watch_set(a, count, &told);
    session_watch_set(x, count, &not_me);
    session_close(&f->agent, c->session);
    for (int i = 0; i < 5000 && !atomic_load(&told); i++) usleep(1000);
    assert_int_equal(told, 1);
    session_watch_end(a);
    /* Who asks late is told at once; who begins to watch what has gone is told, too. */
    for (int i = 0; i < 5000 && event_hub_has_session(f->agent.events, c->session); i++) usleep(1000);
    session_watch_set(b, count, &late);
    for (int i = 0; i < 5000 && !atomic_load(&late); i++) usleep(1000);
    assert_int_equal(late, 1);
    session_watch_end(b);
    b = session_watch_begin(c);
    session_watch_set(b, count, &late);
    for (int i = 0; i < 5000 && atomic_load(&late) < 2; i++) usleep(1000);
    assert_int_equal(late, 2);
    session_watch_end(b);
    assert_int_equal(not_me, 0);
    session_watch_end(x);
    call_free_internal(c);
    call_free_internal(other);
    fixture_free(f);
}

/* A thousand watches that come and go while their sessions end: none is told after its end. */
static void watches_and_ends_race(void **state)
{
    struct fixture *f = fixture_new(NULL);
    (void)state;

    for (int i = 0; i < 300; i++) {
        struct call *c = open_session(f);
        atomic_int *told = xcalloc(1, sizeof(*told));
        struct session_watch *w = session_watch_begin(c);
        session_watch_set(w, count, told);
        session_close(&f->agent, c->session);
        if (i % 3 == 1) usleep(50);
        session_watch_end(w);
        int n = atomic_exchange(told, -1000);
        assert_true(n == 0 || n == 1);
        assert_int_equal(atomic_load(told), -1000);
        free(told);
        call_free_internal(c);
    }
    fixture_free(f);
}

UNIT_MAIN(cmocka_unit_test(idle_sessions_expire), cmocka_unit_test(an_old_secret_is_refused),
          cmocka_unit_test(what_is_watched_is_in_use), cmocka_unit_test(who_watches_is_told),
          cmocka_unit_test(watches_and_ends_race))
