/* The store under the database: durable groups of row changes with a revision.
 * Called by: db/ only (and main.c, which opens one).  Calls: lib, gen.
 *
 * A store is called by one thread at a time; db/ sees to that. */
#ifndef DB_STORE_H
#define DB_STORE_H

#include "lib/strbuf.h"
#include "lib/value.h"
#include "lib/xerr.h"

struct store;
struct row;
struct kinds;
struct tomb;
struct field_set;

enum store_op { STORE_INSERT, STORE_UPDATE, STORE_DELETE };

struct store_change {
    enum store_op op;
    const struct row *row;             /* what it becomes; for STORE_DELETE what it was */
    const struct row *was;             /* STORE_UPDATE: the version that the store holds */
    const struct field_set *fields;    /* STORE_UPDATE: the persistent fields that changed */
};

/* What loading yields, piece by piece. */
struct store_sink {
    void *arg;
    /* A row with created and revision set; the reference passes. -1 ends the loading. */
    int (*row)(void *arg, struct row *row, struct xerr *err);
    void (*tomb)(void *arg, const struct tomb *tomb);     /* in the order of revisions; NULL = not wanted */
    /* A cell that cannot be read; the row gets the default instead. */
    void (*bad_cell)(void *arg, const struct row *row, unsigned field, const char *why);
};

struct store_state {
    uint64_t revision;                 /* the last one given out, or above */
    uint64_t tomb_floor;               /* every destruction after this revision has a tombstone */
};

struct store_ops {
    int (*load)(struct store *st, struct kinds *kinds, const struct store_sink *sink,
                struct store_state *ret_state, struct xerr *err);
    /* Raises the boot epoch and makes it durable. */
    int (*raise_epoch)(struct store *st, uint64_t *ret_epoch, struct xerr *err);
    /* Makes a group durable, wholly or not at all, and says under which revision: greater than any before,
     * gaps are legal. Deleted rows of evented classes leave tombstones; those up to drop_tombs may go (0 =
     * none). */
    int (*commit)(struct store *st, const struct store_change *changes, size_t n, uint64_t drop_tombs,
                  uint64_t *ret_revision, struct xerr *err);
    /* The store's own check of its file, if it has one (NULL = none): a line a problem; how many, or -1. */
    int (*verify)(struct store *st, struct strbuf *report, struct xerr *err);
    void (*close)(struct store *st);
};

/* The first member of every store. */
struct store {
    const struct store_ops *ops;
};

static inline void store_close(struct store *st) { if (st) st->ops->close(st); }

/* SQLite in one file: WAL, synchronous=FULL, one table a class. A missing file is created (mode 0600), an
 * older schema upgraded; a newer one is refused. The file is locked: one process at a time. Errors name
 * the path. */
int store_open_sqlite(const char *path, struct store **ret_store, struct xerr *err);

/* Nothing is kept: what is committed lives as long as the database is open. */
struct store *store_new_memory(void);

#endif
