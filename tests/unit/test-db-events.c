/* Tokens and the stream of changes: what a client that comes back with a token is told.
 * Called by: make check.  Calls: db. */
#include "tests/unit/db-fixture.h"

enum { MAX_CHANGES = 8192 };

struct seen {
    size_t n;
    struct {
        enum change_op op;
        enum class_id cls;
        struct ref ref;
        const struct row *row;
    } items[MAX_CHANGES];
};

static void remember(void *arg, const struct change *c)
{
    struct seen *seen = arg;

    assert_true(seen->n < MAX_CHANGES);
    seen->items[seen->n].op = c->op;
    seen->items[seen->n].cls = c->cls;
    seen->items[seen->n].ref = c->ref;
    seen->items[seen->n++].row = c->row;
    assert_true(c->order < INT64_MAX);
    assert_int_equal(c->row != NULL, c->op != CHANGE_DEL);
}

static struct seen *changes(const struct snap *s, struct token since, const bool *wanted)
{
    static struct seen seen;
    struct xerr err = XERR_INIT;

    seen.n = 0;
    assert_ok(snap_changes(s, since, wanted, remember, &seen, &err), &err);
    for (size_t i = 1; i < seen.n; i++)
        assert_true(seen.items[i - 1].op <= seen.items[i].op); /* adds, mods, dels */
    return &seen;
}

/* How often an object comes with this operation. */
static int told(const struct seen *seen, enum change_op op, struct ref ref)
{
    int n = 0;

    for (size_t i = 0; i < seen->n; i++) n += seen->items[i].op == op && ref_eq(seen->items[i].ref, ref);
    return n;
}

static struct token now(struct db *db)
{
    _cleanup_snap_ struct snap *s = db_snap(db);

    return snap_token(s);
}

static void set_name(struct db *db, struct ref vm, const char *name)
{
    struct txn *t = db_begin(db);

    txn_set_str(t, vm, F_VM_name_label, name);
    commit_ok(t);
}

static void destroy(struct db *db, enum class_id cls, struct ref ref)
{
    struct txn *t = db_begin(db);

    txn_destroy(t, cls, ref);
    commit_ok(t);
}

static void tokens_have_their_text(void **state _unused_)
{
    char buf[TOKEN_TEXT];
    struct token t;

    assert_string_equal(token_text((struct token){ 12, 3 }, buf),
                        "00000000000000000012,00000000000000000003");
    assert_string_equal(token_text((struct token){ UINT64_MAX, 0 }, buf),
                        "18446744073709551615,00000000000000000000");
    assert_true(token_parse(buf, &t) && t.revision == UINT64_MAX && t.stamp == 0);
    assert_true(token_parse("", &t) && !t.revision && !t.stamp);
    assert_true(token_parse("1,2", &t) && t.revision == 1 && t.stamp == 2);
    const char *bad[] = { "1", "1,", ",1", "1,2,3", "1, 2", "-1,2", "x", "18446744073709551616,0", "1,2 ",
                          "000000000000000000000000001,1" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) assert_false(token_parse(bad[i], &t));
}

static void the_zero_token_gets_everything_once(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref vm = make(db, CLASS_VM), host = make(db, CLASS_host), session = make(db, CLASS_session);
    struct snap *s = db_snap(db);
    const bool only_hosts[N_CLASSES] = { [CLASS_host] = true };

    const struct seen *all = changes(s, (struct token){ 0, 0 }, NULL);
    assert_int_equal(all->n, 2);
    assert_int_equal(told(all, CHANGE_ADD, vm), 1);
    assert_int_equal(told(all, CHANGE_ADD, host), 1);
    assert_int_equal(told(all, CHANGE_ADD, session), 0);   /* not evented */
    assert_int_equal(changes(s, (struct token){ 0, 0 }, only_hosts)->n, 1);
    assert_int_equal(changes(s, snap_token(s), NULL)->n, 0);
    snap_unref(s);
    db_close(db);
}

static void each_object_comes_once_in_its_latest_state(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref old = make(db, CLASS_VM), doomed = make(db, CLASS_VM), quiet = make(db, CLASS_VM);
    struct token then = now(db);

    set_name(db, old, "a");
    set_name(db, old, "b");
    struct ref fresh = make(db, CLASS_VM), brief = make(db, CLASS_VM);
    set_name(db, fresh, "c");
    destroy(db, CLASS_VM, doomed);
    destroy(db, CLASS_VM, brief);
    struct snap *s = db_snap(db);
    const struct seen *seen = changes(s, then, NULL);
    assert_int_equal(seen->n, 3);
    assert_int_equal(told(seen, CHANGE_ADD, fresh), 1);
    assert_int_equal(told(seen, CHANGE_MOD, old), 1);
    assert_int_equal(told(seen, CHANGE_DEL, doomed), 1);
    assert_int_equal(told(seen, CHANGE_DEL, brief), 0);   /* came and went unseen */
    assert_int_equal(told(seen, CHANGE_MOD, quiet), 0);
    assert_string_equal(row_str(seen->items[0].row, F_VM_name_label), "c");
    assert_string_equal(row_str(seen->items[1].row, F_VM_name_label), "b");
    snap_unref(s);
    db_close(db);
}

static void volatile_changes_back_references_and_touches_are_told(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref task = make(db, CLASS_task), vm = make(db, CLASS_VM), pool = make(db, CLASS_pool);
    struct token then = now(db);
    struct value v = value_float(0.25);
    struct xerr err = XERR_INIT;

    assert_ok(db_set_field(db, task, F_task_progress, &v, &err), &err);
    struct ref vbd = ref_new();
    struct txn *t = db_begin(db);
    txn_create(t, CLASS_VBD, vbd);
    txn_set_ref(t, vbd, F_VBD_VM, vm);
    commit_ok(t);
    t = db_begin(db);
    txn_touch(t, CLASS_pool, pool);
    commit_ok(t);
    struct snap *s = db_snap(db);
    const struct seen *seen = changes(s, then, NULL);
    assert_int_equal(seen->n, 4);
    assert_int_equal(told(seen, CHANGE_MOD, task), 1);
    assert_int_equal(told(seen, CHANGE_MOD, vm), 1);
    assert_int_equal(told(seen, CHANGE_MOD, pool), 1);
    assert_int_equal(told(seen, CHANGE_ADD, vbd), 1);
    snap_unref(s);
    db_close(db);
}

/* Every token ever given out, at every later point, against a plain record of what happened. */
static void any_token_at_any_time_is_answered_in_full(void **state _unused_)
{
    enum { STEPS = 120, OBJECTS = 10 };
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref refs[OBJECTS];
    int born[OBJECTS], changed[OBJECTS], died[OBJECTS];   /* step, 0 = not */
    struct token tokens[STEPS + 1];
    unsigned seed = 7;

    for (int i = 0; i < OBJECTS; i++) {
        refs[i] = ref_new();
        born[i] = changed[i] = died[i] = 0;
    }
    make(db, CLASS_host);
    tokens[0] = now(db);
    for (int step = 1; step <= STEPS; step++) {
        int i = rand_r(&seed) % OBJECTS;
        struct txn *t = db_begin(db);
        if (!born[i]) {
            txn_create(t, CLASS_network, refs[i]);
            born[i] = step;
        } else if (!died[i] && rand_r(&seed) % 12 == 0) {
            txn_destroy(t, CLASS_network, refs[i]);
            died[i] = step;
        } else if (!died[i]) {
            if (step % 2) txn_set_bits(t, refs[i], F_network_allowed_operations, (uint64_t)step % 2);
            else txn_set_str(t, refs[i], F_network_name_label, step % 4 ? "x" : "y");
            txn_touch(t, CLASS_network, refs[i]);
            changed[i] = step;
        }
        commit_ok(t);
        tokens[step] = now(db);
        struct snap *s = db_snap(db);
        for (int from = 0; from <= step; from++) {
            const struct seen *seen = changes(s, tokens[from], NULL);
            size_t n = 0;
            for (int o = 0; o < OBJECTS; o++) {
                bool add = born[o] > from && !died[o], del = born[o] && born[o] <= from && died[o] > from;
                bool mod = born[o] && born[o] <= from && !died[o] && changed[o] > from;
                assert_int_equal(told(seen, CHANGE_ADD, refs[o]), add);
                assert_int_equal(told(seen, CHANGE_MOD, refs[o]), mod);
                assert_int_equal(told(seen, CHANGE_DEL, refs[o]), del);
                n += (size_t)add + mod + del;
            }
            assert_int_equal(seen->n, n);
        }
        snap_unref(s);
    }
    db_close(db);
}

static void a_token_survives_a_restart(void **state _unused_)
{
    char *folder = folder_new(), *path = xasprintf("%s/state.db", folder);
    struct db *db = open_sqlite(path);
    struct ref secret = make(db, CLASS_secret), other = make(db, CLASS_secret),
               doomed = make(db, CLASS_secret);
    struct ref vm = make(db, CLASS_VM), mapped[2] = { make(db, CLASS_secret), make(db, CLASS_secret) };
    struct txn *t = db_begin(db);
    for (int i = 0; i < 2; i++) txn_map_put_str(t, mapped[i], F_secret_other_config, "k", "v");
    commit_ok(t);
    struct token then = now(db);

    t = db_begin(db);
    txn_set_str(t, secret, F_secret_value, "changed");
    commit_ok(t);
    t = db_begin(db);
    txn_map_put_str(t, mapped[0], F_secret_other_config, "l", "v");
    txn_map_remove(t, mapped[1], F_secret_other_config, "k");
    commit_ok(t);
    struct ref fresh = make(db, CLASS_secret);
    destroy(db, CLASS_secret, doomed);
    struct token before_restart = now(db);
    db_close(db);

    db = open_sqlite(path);
    struct snap *s = db_snap(db);
    assert_true(snap_token(s).stamp > before_restart.stamp &&
                snap_token(s).revision >= before_restart.revision);
    const struct seen *seen = changes(s, then, NULL);
    assert_int_equal(told(seen, CHANGE_MOD, secret), 1);
    assert_int_equal(told(seen, CHANGE_MOD, mapped[0]), 1);
    assert_int_equal(told(seen, CHANGE_MOD, mapped[1]), 1);
    assert_int_equal(told(seen, CHANGE_ADD, fresh), 1);
    assert_int_equal(told(seen, CHANGE_DEL, doomed), 1);
    assert_int_equal(told(seen, CHANGE_MOD, other), 0);   /* neither changed nor volatile */
    assert_int_equal(told(seen, CHANGE_MOD, vm), 1);      /* has volatile fields, which were lost */
    assert_int_equal(seen->n, 6);
    assert_int_equal(changes(s, before_restart, NULL)->n, 1);
    assert_int_equal(told(changes(s, before_restart, NULL), CHANGE_MOD, vm), 1);
    snap_unref(s);

    /* New changes come on top, for tokens of both boots. */
    struct token this_boot = now(db);
    struct ref later = make(db, CLASS_secret);
    destroy(db, CLASS_secret, other);
    s = db_snap(db);
    for (int i = 0; i < 2; i++) {
        seen = changes(s, i ? this_boot : before_restart, NULL);
        assert_int_equal(told(seen, CHANGE_ADD, later), 1);
        assert_int_equal(told(seen, CHANGE_DEL, other), 1);
        assert_int_equal(seen->n, i ? 2 : 3);
    }
    snap_unref(s);
    db_close(db);
    free(path);
    folder_free(folder);
}

/* The index of changes is bounded; what it has no more is found in the rows. */
static void a_token_older_than_the_index_misses_nothing(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct ref quiet = make(db, CLASS_secret), changed = make(db, CLASS_secret), doomed = make(db, CLASS_secret),
               busy = make(db, CLASS_secret);
    struct token then = now(db);
    struct ref fresh = make(db, CLASS_secret), brief = make(db, CLASS_secret);

    struct txn *t = db_begin(db);
    txn_set_str(t, changed, F_secret_value, "changed");
    txn_destroy(t, CLASS_secret, doomed);
    txn_destroy(t, CLASS_secret, brief);
    commit_ok(t);
    struct token half = now(db);
    for (int i = 0; i < 3; i++) {
        t = db_begin(db);
        for (int j = 0; j < STAMPS_KEPT / 2; j++) txn_create(t, CLASS_secret, ref_new());
        txn_set_str(t, busy, F_secret_value, i % 2 ? "a" : "b");
        commit_ok(t);
    }
    struct token late = now(db);
    t = db_begin(db);
    txn_set_str(t, changed, F_secret_value, "again");
    commit_ok(t);
    struct snap *s = db_snap(db);
    assert_true(s->n_stamps <= STAMPS_KEPT && s->stamps_after > half.stamp && s->stamps_after < late.stamp);

    const struct seen *seen = changes(s, then, NULL);
    assert_int_equal(told(seen, CHANGE_ADD, fresh), 1);
    assert_int_equal(told(seen, CHANGE_MOD, changed), 1);
    assert_int_equal(told(seen, CHANGE_MOD, busy), 1);
    assert_int_equal(told(seen, CHANGE_DEL, doomed), 1);
    assert_int_equal(told(seen, CHANGE_MOD, quiet), 0);
    assert_int_equal(seen->n, 4 + 3 * (STAMPS_KEPT / 2));
    seen = changes(s, half, NULL);
    assert_int_equal(told(seen, CHANGE_MOD, changed), 1);
    assert_int_equal(seen->n, 2 + 3 * (STAMPS_KEPT / 2));
    seen = changes(s, late, NULL);
    assert_int_equal(told(seen, CHANGE_MOD, changed), 1);
    assert_int_equal(seen->n, 1);
    snap_unref(s);
    db_close(db);
}

static void a_token_from_nowhere_is_lost(void **state _unused_)
{
    struct fake_store *store;
    struct db *db = open_fake(&store);
    struct xerr err = XERR_INIT;
    struct token t;

    make(db, CLASS_VM);
    t = now(db);
    struct snap *s = db_snap(db);
    struct token future[] = { { t.revision + 1, t.stamp }, { t.revision, t.stamp + 1 }, { 0, UINT64_MAX } };
    for (size_t i = 0; i < ARRAY_SIZE(future); i++)
        assert_failed(snap_changes(s, future[i], NULL, remember, NULL, &err), &err, "EVENTS_LOST");
    snap_unref(s);
    db_close(db);
}

static void count_dels(void *arg, const struct change *c)
{
    *(size_t *)arg += c->op == CHANGE_DEL;
}

/* Creates and destroys n objects; the token after they were there. */
static struct token come_and_go(struct db *db, size_t n)
{
    struct ref *refs = xcalloc(n, sizeof(*refs));
    struct txn *t = db_begin(db);

    for (size_t i = 0; i < n; i++) txn_create(t, CLASS_secret, refs[i] = ref_new());
    commit_ok(t);
    struct token there = now(db);
    for (size_t i = 0; i < n; i += 500) {
        t = db_begin(db);
        for (size_t j = i; j < i + 500 && j < n; j++) txn_destroy(t, CLASS_secret, refs[j]);
        commit_ok(t);
    }
    free(refs);
    return there;
}

static void a_hundred_thousand_destructions_are_remembered(void **state _unused_)
{
    char *folder = folder_new(), *path = xasprintf("%s/state.db", folder);
    struct db *db = open_sqlite(path);
    struct xerr err = XERR_INIT;
    struct token first = come_and_go(db, 20000), second = come_and_go(db, 100000);

    for (int boot = 0; boot < 2; boot++) {
        struct snap *s = db_snap(db);
        size_t dels = 0;
        assert_failed(snap_changes(s, first, NULL, count_dels, &dels, &err), &err, "EVENTS_LOST");
        assert_ok(snap_changes(s, second, NULL, count_dels, &dels, &err), &err);
        assert_int_equal(dels, 100000);
        snap_unref(s);
        if (boot == 0) make(db, CLASS_VM);   /* the next commit takes the dropped ones out of the file */
        db_close(db);
        db = open_sqlite(path);
    }
    db_close(db);
    free(path);
    folder_free(folder);
}

UNIT_MAIN(cmocka_unit_test(tokens_have_their_text), cmocka_unit_test(the_zero_token_gets_everything_once),
          cmocka_unit_test(each_object_comes_once_in_its_latest_state),
          cmocka_unit_test(volatile_changes_back_references_and_touches_are_told),
          cmocka_unit_test(any_token_at_any_time_is_answered_in_full),
          cmocka_unit_test(a_token_survives_a_restart), cmocka_unit_test(a_token_older_than_the_index_misses_nothing),
          cmocka_unit_test(a_token_from_nowhere_is_lost),
          cmocka_unit_test(a_hundred_thousand_destructions_are_remembered))
