/* A store that keeps nothing: for a database that lives as long as its process, such as a dump that is only looked at.
 * Called by: session_db.c, through store.h.  Calls: lib. */
#include "db/store.h"

struct memory_store {
    struct store store;                /* first */
    uint64_t revision;
};

static int op_load(struct store *st, struct kinds *kinds, const struct store_sink *sink, struct store_state *ret_state,
                   struct xerr *err)
{
    (void)st, (void)kinds, (void)sink, (void)err;
    *ret_state = (struct store_state){ 0, 0 };
    return 0;
}

static int op_raise_epoch(struct store *st, uint64_t *ret_epoch, struct xerr *err)
{
    (void)st, (void)err;
    *ret_epoch = 1;
    return 0;
}

static int op_commit(struct store *st, const struct store_change *changes, size_t n, uint64_t drop_tombs,
                     uint64_t *ret_revision, struct xerr *err)
{
    (void)changes, (void)n, (void)drop_tombs, (void)err;
    *ret_revision = ++((struct memory_store *)st)->revision;
    return 0;
}

static void op_close(struct store *st) { free(st); }

static const struct store_ops ops = { .load = op_load, .raise_epoch = op_raise_epoch, .commit = op_commit, .close = op_close };

struct store *store_new_memory(void)
{
    struct memory_store *st = xcalloc(1, sizeof(*st));

    st->store.ops = &ops;
    return &st->store;
}
