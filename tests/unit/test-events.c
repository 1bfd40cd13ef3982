/* The hub of event.from: who is woken, with what, and how a waiter is withdrawn.
 * Called by: make check.  Calls: event_hub, event_sub. */
#include "tests/unit/rpc-fixture.h"

#include <unistd.h>

#include "lib/clock.h"
#include "xapi/event_sub.h"

/* ---- a waiter that remembers its answer ---- */

struct listener {
    struct event_waiter waiter;    /* first */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int answers;
    const struct event_text *text; /* compared only */
    char *copy;
    char code[64];
};

static void hear(struct event_waiter *w, struct event_text *text, const struct xerr *why)
{
    struct listener *l = (struct listener *)w;

    pthread_mutex_lock(&l->lock);
    l->answers++;
    l->text = text;
    if (text) l->copy = xstrndup(text->ptr, text->len);
    if (why) snprintf(l->code, sizeof(l->code), "%s", why->code);
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

static struct event_sub *sub_of(const char *text)
{
    struct value item = value_string(text), set = value_set(&item, 1);
    struct xerr err = XERR_INIT;
    struct event_sub *sub = NULL;

    assert_ok(event_sub_parse(&set, &sub, &err), &err);
    return sub;
}

static struct token now_token(struct fixture *f)
{
    _cleanup_snap_ struct snap *s = db_snap(f->agent.db);

    return snap_token(s);
}

static struct listener *listener_new(struct fixture *f, struct event_sub *sub, int timeout_ms)
{
    struct listener *l = xcalloc(1, sizeof(*l));

    l->waiter = (struct event_waiter){
        .sub = sub, .since = now_token(f), .form = EVENT_BATCH_JSON, .deadline_ns = clock_deadline_ns(timeout_ms),
        .answer = hear,
    };
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    return l;
}

static bool answered(struct listener *l, int within_ms)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += within_ms / 1000;
    ts.tv_nsec += within_ms % 1000 * NS_PER_MS;
    if (ts.tv_nsec >= NS_PER_S) {
        ts.tv_sec++;
        ts.tv_nsec -= NS_PER_S;
    }
    pthread_mutex_lock(&l->lock);
    while (!l->answers && !pthread_cond_timedwait(&l->wake, &l->lock, &ts)) {}
    bool yes = l->answers == 1;
    pthread_mutex_unlock(&l->lock);
    return yes;
}

static void listener_free(struct listener *l)
{
    free(l->copy);
    free(l);
}

static void rename_vm(struct fixture *f, const char *name)
{
    struct value v = value_string(name);
    struct xerr err = XERR_INIT;

    assert_ok(db_set_field(f->agent.db, f->vm, F_VM_name_label, &v, &err), &err);
}

/* ---- tests ---- */

static void subscriptions(void **state)
{
    struct xerr err = XERR_INIT;
    struct event_sub *sub;
    (void)state;
    static const char *const bad[] = { "vmm", "vm/", "vm/x", "/", "**" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct value item = value_string(bad[i]), set = value_set(&item, 1);
        assert_failed(event_sub_parse(&set, &sub, &err), &err, "EVENT_SUBSCRIPTION_PARSE_FAILURE");
    }
    struct ref a = ref_new(), b = ref_new();
    char *one = xasprintf("vm/%s", REF_STR(a)), *two = xasprintf("VM/%s", REF_STR(b));
    struct value items[] = { value_string(one), value_string(two), value_string(one), value_string("Task") };
    struct value set = value_set(items, ARRAY_SIZE(items));
    assert_ok(event_sub_parse(&set, &sub, &err), &err);
    assert_int_equal(sub->n, 2);
    assert_true(event_sub_wants(sub, CLASS_VM, a) && event_sub_wants(sub, CLASS_VM, b));
    assert_false(event_sub_wants(sub, CLASS_VM, ref_new()));
    assert_true(event_sub_wants(sub, CLASS_task, a));
    assert_false(event_sub_wants(sub, CLASS_SR, a));
    struct event_sub *tasks = sub_of("task"), *rest = event_sub_without(sub, tasks);
    assert_false(event_sub_wants(rest, CLASS_task, a));
    assert_true(event_sub_wants(rest, CLASS_VM, a));
    struct event_sub *all = sub_of("*"), *none = event_sub_without(rest, all);
    assert_true(event_sub_empty(none));
    assert_false(event_sub_wants(all, CLASS_session, a));
    event_sub_unref(none);
    event_sub_unref(all);
    event_sub_unref(rest);
    event_sub_unref(tasks);
    event_sub_unref(sub);
    free(one);
    free(two);
}

/* The group's answer is encoded once: both waiters get the same bytes, not equal ones. */
static void one_encoding_for_all(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct event_sub *sub = sub_of("vm");
    struct listener *a = listener_new(f, sub, 20000), *b = listener_new(f, sub, 30000), *c;
    struct event_sub *hosts = sub_of("host");

    (void)state;
    c = listener_new(f, hosts, 20000);
    assert_true(event_wait(f->agent.events, &a->waiter));
    assert_true(event_wait(f->agent.events, &b->waiter));
    assert_true(event_wait(f->agent.events, &c->waiter));
    assert_int_equal(event_hub_waiters(f->agent.events), 3);
    rename_vm(f, "two");
    assert_true(answered(a, 5000));
    assert_true(answered(b, 5000));
    assert_ptr_equal(a->text, b->text);
    assert_non_null(strstr(a->copy, "\"name_label\":\"two\""));
    assert_non_null(strstr(a->copy, "\"operation\":\"mod\""));
    assert_false(answered(c, 100));
    assert_int_equal(event_wait_cancel(f->agent.events, &c->waiter), EVENT_WITHDRAWN);
    assert_int_equal(event_hub_waiters(f->agent.events), 0);
    listener_free(a);
    listener_free(b);
    listener_free(c);
    event_sub_unref(sub);
    event_sub_unref(hosts);
    fixture_free(f);
}

/* A change between the look and the filing must not be slept through. */
static void nothing_slips_through(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct event_sub *sub = sub_of("vm");
    struct listener *l = listener_new(f, sub, 20000);

    (void)state;
    rename_vm(f, "before it was filed");
    assert_true(event_wait(f->agent.events, &l->waiter));
    assert_true(answered(l, 5000));
    assert_non_null(strstr(l->copy, "before it was filed"));
    listener_free(l);
    event_sub_unref(sub);
    fixture_free(f);
}

static void withdrawing(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct event_sub *sub = sub_of("vm");
    struct listener *early = listener_new(f, sub, 20000), *late = listener_new(f, sub, 20000);

    (void)state;
    /* Before it is filed: filing says that it is not wanted any more. */
    assert_int_equal(event_wait_cancel(f->agent.events, &early->waiter), EVENT_NOT_FILED);
    assert_false(event_wait(f->agent.events, &early->waiter));
    /* After its answer. */
    assert_true(event_wait(f->agent.events, &late->waiter));
    rename_vm(f, "x");
    assert_true(answered(late, 5000));
    assert_int_equal(event_wait_cancel(f->agent.events, &late->waiter), EVENT_ANSWERING);
    rename_vm(f, "y");
    usleep(50000);
    assert_int_equal(late->answers, 1);
    listener_free(early);
    listener_free(late);
    event_sub_unref(sub);
    fixture_free(f);
}

static void time_is_up(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct event_sub *sub = sub_of("vm");
    struct listener *l[5];
    static const int timeouts_ms[] = { 400, 100, 300, 50, 200 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(l); i++) {
        l[i] = listener_new(f, i == 3 ? NULL : sub, timeouts_ms[i]);   /* one is a mere delay */
        assert_true(event_wait(f->agent.events, &l[i]->waiter));
    }
    int64_t began = clock_monotonic_ns();
    assert_true(answered(l[3], 5000));
    assert_null(l[3]->copy);
    assert_true(answered(l[1], 5000));
    assert_int_equal(l[0]->answers, 0);
    assert_true(answered(l[0], 5000));
    int64_t took_ms = (clock_monotonic_ns() - began) / NS_PER_MS;
    assert_true(took_ms >= 380 && took_ms < 3000);
    assert_non_null(strstr(l[0]->copy, "\"events\":[]"));
    assert_non_null(strstr(l[0]->copy, "\"token\":\""));
    for (size_t i = 0; i < ARRAY_SIZE(l); i++) {
        assert_true(answered(l[i], 5000));
        listener_free(l[i]);
    }
    event_sub_unref(sub);
    fixture_free(f);
}

static void stopping(void **state)
{
    struct fixture *f = fixture_new(NULL);
    struct event_sub *sub = sub_of("*");
    struct listener *before = listener_new(f, sub, 60000), *after = listener_new(f, sub, 60000);

    (void)state;
    assert_true(event_wait(f->agent.events, &before->waiter));
    event_hub_stop(f->agent.events);
    assert_int_equal(before->answers, 1);
    assert_true(event_wait(f->agent.events, &after->waiter));
    assert_int_equal(after->answers, 1);
    listener_free(before);
    listener_free(after);
    event_sub_unref(sub);
    fixture_free(f);
}

/* Many waiters on many objects come and go while rows change: each is answered once, none is left. */
static void churn(void **state)
{
    enum { N = 400 };
    struct fixture *f = fixture_new(NULL);
    struct listener *l[N];
    struct event_sub *subs[N];
    char *one = xasprintf("vm/%s", REF_STR(f->vm));
    int withdrawn = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        subs[i] = sub_of(i % 3 == 0 ? "vm" : i % 3 == 1 ? one : "*");
        l[i] = listener_new(f, subs[i], 20000);
        assert_true(event_wait(f->agent.events, &l[i]->waiter));
        if (i % 7 == 0) {
            char name[32];
            snprintf(name, sizeof(name), "churn %d", i);
            rename_vm(f, name);
        }
        if (i % 5 == 0 && event_wait_cancel(f->agent.events, &l[i]->waiter) == EVENT_WITHDRAWN) {
            withdrawn++;
            l[i]->answers = -1;
        }
    }
    rename_vm(f, "the last");
    for (int i = 0; i < N; i++) {
        if (l[i]->answers != -1) assert_true(answered(l[i], 10000));
        listener_free(l[i]);
        event_sub_unref(subs[i]);
    }
    assert_true(withdrawn > 0);
    assert_int_equal(event_hub_waiters(f->agent.events), 0);
    free(one);
    fixture_free(f);
}

UNIT_MAIN(cmocka_unit_test(subscriptions), cmocka_unit_test(one_encoding_for_all),
          cmocka_unit_test(nothing_slips_through), cmocka_unit_test(withdrawing), cmocka_unit_test(time_is_up),
          cmocka_unit_test(stopping), cmocka_unit_test(churn))
