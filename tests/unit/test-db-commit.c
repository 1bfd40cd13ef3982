/* Group commit: many writers, a stalled disk, a failing disk, the order of publication.
 * Called by: make check (also under the thread sanitizer).  Calls: db. */
#include "tests/unit/db-fixture.h"

#include <time.h>

enum { WRITERS = 64, KEYS_EACH = 20 };

struct writer {
    struct db *db;
    struct ref vm;
    unsigned id;
};

static void *add_keys(void *arg)
{
    struct writer *w = arg;
    struct value v = value_string("x");

    for (unsigned i = 0; i < KEYS_EACH; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%u.%u", w->id, i);
        struct txn *t = db_begin(w->db);
        txn_map_add(t, w->vm, F_VM_other_config, key, &v);
        commit_ok(t);
        _cleanup_snap_ struct snap *s = db_snap(w->db);   /* acknowledged: visible at once */
        assert_non_null(value_get(row_value(snap_get(s, CLASS_VM, w->vm), F_VM_other_config), key));
    }
    return NULL;
}

static void *read_on(void *arg)
{
    struct writer *w = arg;
    size_t last = 0;

    while (last < WRITERS * KEYS_EACH) {
        _cleanup_snap_ struct snap *s = db_snap(w->db);
        const struct row *row = snap_get(s, CLASS_VM, w->vm);
        size_t n = row_value(row, F_VM_other_config)->map.n;
        assert_true(n >= last);   /* never goes back */
        last = n;
    }
    return NULL;
}

static void run_writers(struct db *db, struct ref vm)
{
    pthread_t threads[WRITERS], reader;
    struct writer writers[WRITERS], watch = { db, vm, 0 };

    assert_int_equal(pthread_create(&reader, NULL, read_on, &watch), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ db, vm, i };
        assert_int_equal(pthread_create(&threads[i], NULL, add_keys, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    pthread_join(reader, NULL);
}

static void sixty_four_writers_of_one_map_lose_no_key(void **state _unused_)
{
    char *folder = folder_new(), *path = xasprintf("%s/state.db", folder);
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM);

    run_writers(db, vm);
    db_close(db);
    db = open_sqlite(path);
    struct snap *s = db_snap(db);
    assert_int_equal(row_value(snap_get(s, CLASS_VM, vm), F_VM_other_config)->map.n, WRITERS * KEYS_EACH);
    snap_unref(s);
    db_close(db);
    free(path);
    folder_free(folder);
}

struct committer {
    struct db *db;
    struct ref vm;
    field_id field;
    struct value v;
    int rc;
    struct xerr err;
    pthread_t thread;
};

static void *commit_one(void *arg)
{
    struct committer *c = arg;

    c->rc = db_set_field(c->db, c->vm, c->field, &c->v, &c->err);
    return NULL;
}

static void start(struct committer *c, struct db *db, struct ref vm, field_id field, struct value v)
{
    *c = (struct committer){ .db = db, .vm = vm, .field = field, .v = v, .err = XERR_INIT };
    assert_int_equal(pthread_create(&c->thread, NULL, commit_one, c), 0);
}

/* Until the pending head has this name: the committer is in the queue. */
static void await_pending_name(struct db *db, struct ref vm, const char *name)
{
    for (bool there = false; !there;) {
        struct txn *t = db_begin(db);
        there = streq(row_str(snap_get(txn_snap(t), CLASS_VM, vm), F_VM_name_label), name);
        db_abort(t);
        if (!there) nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
}

static void no_reader_and_no_transaction_waits_for_a_stalled_store(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref vm = make(db, CLASS_VM);
    struct committer first, second;

    fake_set(store, &store->stalled, true);
    start(&first, db, vm, F_VM_name_label, value_string("one"));
    fake_await(store, true);
    start(&second, db, vm, F_VM_name_label, value_string("two"));
    await_pending_name(db, vm, "two");   /* writers still get their turn */
    for (int i = 0; i < 1000; i++) {     /* and readers the durable head, at once */
        _cleanup_snap_ struct snap *s = db_snap(db);
        assert_string_equal(row_str(snap_get(s, CLASS_VM, vm), F_VM_name_label), "");
    }
    fake_set(store, &store->stalled, false);
    pthread_join(first.thread, NULL);
    pthread_join(second.thread, NULL);
    assert_int_equal(first.rc, 0);
    assert_int_equal(second.rc, 0);
    struct snap *s = db_snap(db);
    assert_string_equal(row_str(snap_get(s, CLASS_VM, vm), F_VM_name_label), "two");
    snap_unref(s);
    db_close(db);
}

static void what_queues_up_behind_a_commit_goes_in_one_group(void **state _unused_)
{
    enum { N = 40 };
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref vms[N], blocker = make(db, CLASS_VM);
    struct committer first, others[N];

    for (int i = 0; i < N; i++) vms[i] = make(db, CLASS_VM);
    fake_set(store, &store->stalled, true);
    start(&first, db, blocker, F_VM_name_label, value_string("first"));
    fake_await(store, true);
    for (int i = 0; i < N; i++) {
        start(&others[i], db, vms[i], F_VM_name_label, value_string("n"));
        await_pending_name(db, vms[i], "n");
    }
    unsigned before = store->commits;
    fake_set(store, &store->stalled, false);
    pthread_join(first.thread, NULL);
    for (int i = 0; i < N; i++) pthread_join(others[i].thread, NULL);
    assert_int_equal(store->commits - before, 2);
    assert_int_equal(store->max_group, N);
    db_close(db);
}

static void a_group_closes_at_a_hundred_rows(void **state _unused_)
{
    enum { N = 150 };
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref vms[N], blocker = make(db, CLASS_VM);
    struct committer first, others[N];

    for (int i = 0; i < N; i++) vms[i] = make(db, CLASS_VM);
    fake_set(store, &store->stalled, true);
    start(&first, db, blocker, F_VM_name_label, value_string("first"));
    fake_await(store, true);
    for (int i = 0; i < N; i++) {
        start(&others[i], db, vms[i], F_VM_name_label, value_string("n"));
        await_pending_name(db, vms[i], "n");
    }
    unsigned before = store->commits;
    fake_set(store, &store->stalled, false);
    pthread_join(first.thread, NULL);
    for (int i = 0; i < N; i++) pthread_join(others[i].thread, NULL);
    assert_int_equal(store->commits - before, 3);
    assert_int_equal(store->max_group, 100);
    db_close(db);
}

static void *add_keys_in_company(void *arg)
{
    struct writer *w = arg;
    struct value v = value_string("x");

    for (unsigned i = 0; i < KEYS_EACH; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%u.%u", w->id, i);
        struct txn *t = db_begin(w->db);
        txn_map_add(t, w->vm, F_VM_other_config, key, &v);
        txn_awaits_company(t);
        commit_ok(t);
    }
    return NULL;
}

/* The store is as fast as can be: nothing queues up by itself. */
static void who_awaits_company_is_stored_together_with_it(void **state _unused_)
{
    enum { N = 8 };
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref vm = make(db, CLASS_VM);
    struct writer writers[N];
    pthread_t threads[N];
    unsigned before = store->commits;

    for (unsigned i = 0; i < N; i++) {
        writers[i] = (struct writer){ db, vm, i };
        assert_int_equal(pthread_create(&threads[i], NULL, add_keys_in_company, &writers[i]), 0);
    }
    for (unsigned i = 0; i < N; i++) pthread_join(threads[i], NULL);
    assert_in_range(store->commits - before, N * KEYS_EACH / 8, N * KEYS_EACH / 2);
    struct snap *s = db_snap(db);
    assert_int_equal(row_value(snap_get(s, CLASS_VM, vm), F_VM_other_config)->map.n, N * KEYS_EACH);
    snap_unref(s);

    before = store->commits;
    add_keys_in_company(&(struct writer){ db, make(db, CLASS_VM), 0 });   /* nobody comes: none waits for ever */
    assert_int_equal(store->commits - before, KEYS_EACH + 1);
    db_close(db);
}

static void a_failed_group_takes_what_was_built_on_it_with_it(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref vm = make(db, CLASS_VM);
    struct committer first, second, third;

    fake_set(store, &store->stalled, true);
    start(&first, db, vm, F_VM_name_label, value_string("one"));
    fake_await(store, true);
    start(&second, db, vm, F_VM_name_label, value_string("two"));
    await_pending_name(db, vm, "two");
    start(&third, db, vm, F_VM_current_operations,
          value_map(&(struct member){ "OpaqueRef:x", value_string("start") }, 1));   /* volatile */
    for (bool there = false; !there;) {
        struct txn *t = db_begin(db);
        there = row_value(snap_get(txn_snap(t), CLASS_VM, vm), F_VM_current_operations)->map.n == 1;
        db_abort(t);
    }
    fake_set(store, &store->failing, true);
    fake_set(store, &store->stalled, false);
    struct committer *all[] = { &first, &second, &third };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        pthread_join(all[i]->thread, NULL);
        assert_int_equal(all[i]->rc, -1);
        assert_string_equal(all[i]->err.code, "INTERNAL_ERROR");
        assert_string_equal(all[i]->err.params[0], "the fake store fails");
        xerr_clear(&all[i]->err);
    }

    /* The pending head is the durable one again, and the database works on. */
    struct txn *t = db_begin(db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    assert_string_equal(row_str(row, F_VM_name_label), "");
    assert_int_equal(row_value(row, F_VM_current_operations)->map.n, 0);
    fake_set(store, &store->failing, false);
    txn_set_str(t, vm, F_VM_name_label, "later");
    commit_ok(t);
    struct snap *s = db_snap(db);
    assert_string_equal(row_str(snap_get(s, CLASS_VM, vm), F_VM_name_label), "later");
    snap_unref(s);
    db_close(db);
}

static void volatile_changes_do_not_touch_the_store(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref task = make(db, CLASS_task);
    unsigned before = store->commits;
    struct value half = value_float(0.5);
    struct xerr err = XERR_INIT;
    struct snap *s0 = db_snap(db);
    struct token then = snap_token(s0);

    snap_unref(s0);
    assert_ok(db_set_field(db, task, F_task_progress, &half, &err), &err);
    struct snap *s = db_snap(db);
    assert_true(row_float(snap_get(s, CLASS_task, task), F_task_progress) == 0.5);
    assert_int_equal(store->commits, before);
    assert_true(snap_token(s).revision == then.revision);
    assert_true(snap_token(s).stamp > then.stamp);
    snap_unref(s);
    db_close(db);
}

struct heard { struct touched rows[64]; size_t n, calls; struct db *db; };

static void hear(void *arg, const struct touched *rows, size_t n)
{
    struct heard *h = arg;
    struct snap *s = db_snap(h->db);   /* the new head is there already, and no lock is held */

    for (size_t i = 0; i < n && h->n < ARRAY_SIZE(h->rows); i++) h->rows[h->n++] = rows[i];
    h->calls++;
    snap_unref(s);
}

static void the_listener_hears_each_touched_row_once(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref vm = make(db, CLASS_VM), vbd = ref_new();
    struct heard heard = { .n = 0, .db = db };

    db_on_publish(db, hear, &heard);
    struct txn *t = db_begin(db);
    txn_create(t, CLASS_VBD, vbd);
    txn_set_ref(t, vbd, F_VBD_VM, vm);
    txn_set_str(t, vbd, F_VBD_userdevice, "0");
    commit_ok(t);
    assert_int_equal(heard.calls, 1);
    assert_int_equal(heard.n, 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(ref_eq(heard.rows[i].ref, heard.rows[i].cls == CLASS_VM ? vm : vbd));
    t = db_begin(db);
    txn_touch(t, CLASS_VM, vm);
    commit_ok(t);
    assert_int_equal(heard.calls, 2);
    t = db_begin(db);
    commit_ok(t);
    assert_int_equal(heard.calls, 2);   /* nothing happened */
    db_on_publish(db, NULL, NULL);
    db_close(db);
}

/* Writers that create, link, rename and destroy at random, with readers that check what a snapshot
 * promises. */
struct churn { struct db *db; struct ref vms[8]; unsigned seed; _Atomic bool *stop; };

static void *churn_write(void *arg)
{
    struct churn *c = arg;
    struct ref mine[4] = { REF_NULL };

    for (unsigned i = 0; i < 300; i++) {
        struct ref *slot = &mine[(unsigned)rand_r(&c->seed) % ARRAY_SIZE(mine)];
        struct txn *t = db_begin(c->db);
        if (ref_is_null(*slot)) {
            *slot = ref_new();
            txn_create(t, CLASS_VBD, *slot);
            txn_set_ref(t, *slot, F_VBD_VM, c->vms[(unsigned)rand_r(&c->seed) % 8]);
        } else if (rand_r(&c->seed) % 2) {
            txn_set_ref(t, *slot, F_VBD_VM, c->vms[(unsigned)rand_r(&c->seed) % 8]);
            txn_set_bits(t, c->vms[0], F_VM_allowed_operations, (uint64_t)i);
        } else {
            txn_destroy(t, CLASS_VBD, *slot);
            *slot = REF_NULL;
        }
        if (rand_r(&c->seed) % 10) commit_ok(t);
        else {
            db_abort(t);
            *slot = REF_NULL;
        }
    }
    return NULL;
}

static void *churn_read(void *arg)
{
    struct churn *c = arg;

    while (!*c->stop) {
        _cleanup_snap_ struct snap *s = db_snap(c->db);
        size_t linked = 0, there = 0;
        SNAP_EACH(s, CLASS_VM, vm) {
            const struct refset *set = row_refs(vm, F_VM_VBDs);
            for (size_t i = 0; i < set->n; i++)
                assert_true(ref_eq(row_ref(snap_get(s, CLASS_VBD, set->refs[i]), F_VBD_VM), row_ref_of(vm)));
            linked += set->n;
        }
        SNAP_EACH(s, CLASS_VBD, vbd) there += !ref_is_null(row_ref(vbd, F_VBD_VM));
        assert_int_equal(linked, there);
    }
    return NULL;
}

static void every_snapshot_is_consistent_under_churn(void **state _unused_)
{
    enum { THREADS = 8 };
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct churn churns[THREADS];
    pthread_t writers[THREADS], readers[2];
    _Atomic bool stop = false;

    for (unsigned i = 0; i < 8; i++) churns[0].vms[i] = make(db, CLASS_VM);
    for (unsigned i = 0; i < THREADS; i++) {
        memcpy(churns[i].vms, churns[0].vms, sizeof(churns[0].vms));
        churns[i].db = db;
        churns[i].seed = i + 1;
        churns[i].stop = &stop;
        pthread_create(&writers[i], NULL, churn_write, &churns[i]);
    }
    for (unsigned i = 0; i < 2; i++) pthread_create(&readers[i], NULL, churn_read, &churns[i]);
    for (unsigned i = 0; i < THREADS; i++) pthread_join(writers[i], NULL);
    stop = true;
    for (unsigned i = 0; i < 2; i++) pthread_join(readers[i], NULL);
    db_close(db);
}

UNIT_MAIN(cmocka_unit_test(sixty_four_writers_of_one_map_lose_no_key),
          cmocka_unit_test(no_reader_and_no_transaction_waits_for_a_stalled_store),
          cmocka_unit_test(what_queues_up_behind_a_commit_goes_in_one_group),
          cmocka_unit_test(a_group_closes_at_a_hundred_rows),
          cmocka_unit_test(who_awaits_company_is_stored_together_with_it),
          cmocka_unit_test(a_failed_group_takes_what_was_built_on_it_with_it),
          cmocka_unit_test(volatile_changes_do_not_touch_the_store),
          cmocka_unit_test(the_listener_hears_each_touched_row_once),
          cmocka_unit_test(every_snapshot_is_consistent_under_churn))
