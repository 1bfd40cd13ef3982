/* What the tests of the database share: a private folder, a store that keeps nothing and does as it is told.
 * Called by: test-db-*, bench-db.  Calls: db. */
#ifndef TESTS_UNIT_DB_FIXTURE_H
#define TESTS_UNIT_DB_FIXTURE_H

#include "tests/unit/unit.h"

#include "db/db.h"
#include "db/snap.h"
#include "db/store.h"

#include <dirent.h>
#include <pthread.h>

/* ---- a folder ---- */

static inline char *folder_new(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = xasprintf("%s/test-db-XXXXXX", tmp && *tmp ? tmp : "/tmp");

    assert_non_null(mkdtemp(path));
    return path;
}

static inline void folder_free(char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        char *file = xasprintf("%s/%s", path, e->d_name);
        if (*e->d_name != '.') unlink(file);
        free(file);
    }
    if (dir) closedir(dir);
    rmdir(path);
    free(path);
}

static inline void assert_ok(int rc, struct xerr *err)
{
    if (rc == 0) return;
    char *text = xerr_text(err);
    print_error("unexpected failure: %s\n", text);
    free(text);
    xerr_clear(err);
    assert_int_equal(rc, 0);
}

/* The error has this code; clears it. */
static inline void assert_failed(int rc, struct xerr *err, const char *code)
{
    assert_int_equal(rc, -1);
    assert_non_null(err->code);
    assert_string_equal(err->code, code);
    xerr_clear(err);
}

static inline struct db *open_sqlite(const char *path)
{
    struct xerr err = XERR_INIT;
    struct store *store = NULL;
    struct db *db = NULL;

    assert_ok(store_open_sqlite(path, &store, &err), &err);
    assert_ok(db_open(store, &db, &err), &err);
    return db;
}

/* ---- a store without a disk ---- */

struct fake_store {
    struct store base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t revision, epoch, floor;   /* lock */
    unsigned commits, max_group;       /* lock */
    bool stalled, failing, in_commit;  /* lock */
};

static inline int fake_load(struct store *base, struct kinds *kinds _unused_,
                            const struct store_sink *sink _unused_, struct store_state *ret_state,
                            struct xerr *err _unused_)
{
    struct fake_store *st = (struct fake_store *)base;

    *ret_state = (struct store_state){ st->revision, st->floor };
    return 0;
}

static inline int fake_raise_epoch(struct store *base, uint64_t *ret_epoch, struct xerr *err _unused_)
{
    *ret_epoch = ++((struct fake_store *)base)->epoch;
    return 0;
}

static inline int fake_commit(struct store *base, const struct store_change *changes _unused_, size_t n,
                              uint64_t tomb_floor _unused_, uint64_t *ret_revision, struct xerr *err)
{
    struct fake_store *st = (struct fake_store *)base;
    int rc = 0;

    pthread_mutex_lock(&st->lock);
    st->in_commit = true;
    pthread_cond_broadcast(&st->changed);
    while (st->stalled) pthread_cond_wait(&st->changed, &st->lock);
    st->in_commit = false;
    st->commits++;
    if (n > st->max_group) st->max_group = (unsigned)n;
    if (st->failing) rc = xerr_internal(err, "the fake store fails");
    else *ret_revision = ++st->revision;
    pthread_cond_broadcast(&st->changed);
    pthread_mutex_unlock(&st->lock);
    return rc;
}

static inline void fake_close(struct store *base)
{
    free(base);
}

static inline struct fake_store *fake_store_new(void)
{
    static const struct store_ops ops = {
        .load = fake_load, .raise_epoch = fake_raise_epoch, .commit = fake_commit, .close = fake_close,
    };
    struct fake_store *st = xcalloc(1, sizeof(*st));

    st->base.ops = &ops;
    pthread_mutex_init(&st->lock, NULL);
    pthread_cond_init(&st->changed, NULL);
    return st;
}

static inline void fake_set(struct fake_store *st, bool *what, bool value)
{
    pthread_mutex_lock(&st->lock);
    *what = value;
    pthread_cond_broadcast(&st->changed);
    pthread_mutex_unlock(&st->lock);
}

/* Waits until a commit is in the store (or is not). */
static inline void fake_await(struct fake_store *st, bool in_commit)
{
    pthread_mutex_lock(&st->lock);
    while (st->in_commit != in_commit) pthread_cond_wait(&st->changed, &st->lock);
    pthread_mutex_unlock(&st->lock);
}

static inline struct db *open_fake(struct fake_store **ret_store)
{
    struct fake_store *st = fake_store_new();
    struct xerr err = XERR_INIT;
    struct db *db = NULL;

    assert_ok(db_open(&st->base, &db, &err), &err);
    *ret_store = st;
    return db;
}

/* ---- short forms ---- */

static inline void commit_ok(struct txn *t)
{
    struct xerr err = XERR_INIT;

    assert_ok(db_commit(t, &err), &err);
}

static inline struct ref make(struct db *db, enum class_id cls)
{
    struct txn *t = db_begin(db);
    struct ref ref = ref_new();

    txn_create(t, cls, ref);
    commit_ok(t);
    return ref;
}

#endif
