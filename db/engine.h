/* The moving parts of the database: the two heads, open transactions, groups on their way to the disk.
 * Called by: db/ only.  Calls: snap, store.
 *
 * Locks, in the order in which they may nest: writer, then commit, then head. None is held across I/O. */
#ifndef DB_ENGINE_H
#define DB_ENGINE_H

#include "db/intern.h"
#include "db/snap.h"
#include "db/store.h"

#include <pthread.h>
#include <semaphore.h>

enum { GROUP_OPS = 100, GROUP_BYTES = 1 << 20 };

/* What a transaction did to one row. */
struct touch {
    uint32_t cls;
    struct ref ref;
    struct field_set fields;       /* persistent ones that it set */
};

/* Where a member that does not lead waits for the end of its group; on its stack. Not a condition of the lock:
 * all members would wait once more, for the lock. */
struct seat {
    sem_t end;                     /* posted by the leader; the last that is seen of the seat */
    struct seat *next;             /* lock: commit until the group is done, then the leader's */
};

/* Transactions that go to the store together. The first member leads: it waits for the group before to
 * end, closes this one, commits and publishes it, and wakes the others. */
struct group {
    struct group *next;            /* lock: commit */
    struct snap *head;             /* lock: commit until closed; the root after the last member */
    struct touch *touches;         /* lock: commit until closed */
    size_t n, cap, bytes;          /* lock: commit until closed */
    bool closed, done, failed;     /* lock: commit */
    bool awaits_company;           /* lock: commit; all members do, and they are few */
    _Atomic unsigned members;      /* they come under lock: commit; the last one to leave frees */
    struct xerr why;               /* when failed; nobody writes it after done */
    pthread_cond_t turn;           /* for the leader: the group before is done, company has come */
    struct seat *seats;            /* lock: commit until done, then the leader's; of the others */
};

struct db {
    struct store *store;           /* the leader's */
    struct kinds *kinds;           /* immutable */
    _Atomic int live_snaps;

    pthread_mutex_t writer;        /* from db_begin() to db_commit()/db_abort() */
    struct snap *pending;          /* lock: writer */
    struct intern intern;          /* lock: writer */
    uint64_t next_serial;          /* lock: writer */
    uint64_t next_txn;             /* lock: writer */

    pthread_mutex_t commit;
    struct group *first, *last;    /* lock: commit; first is the one being committed */

    pthread_mutex_t head;
    struct snap *durable;          /* lock: head; replaced by the leader only */

    _Atomic uint64_t failures;     /* groups that the store refused */
    _Atomic(publish_fn) publish;
    void *_Atomic publish_arg;
    _Atomic(wait_fn) wait;
    void *_Atomic wait_arg;
};

struct txn {
    struct db *db;
    uint64_t id;
    struct snap *work;             /* nobody else sees it before the commit */
    struct touch *touches;
    size_t n, cap, bytes;
    bool awaits_company;
    struct xerr err;               /* the first failure */
};

/* What to do about damage found while loading. */
struct load_hooks {
    void *arg;
    /* A cell that cannot be read and has the default now. */
    void (*bad_cell)(void *arg, const struct row *row, unsigned field, const char *why);
    /* A second row with the same reference, which passes; NULL = that is an error. */
    void (*duplicate)(void *arg, struct row *row);
};

/* Loads a database; the store stays the caller's. Without an epoch of its own it may not be published
 * from. */
int engine_open(struct store *store, const struct load_hooks *hooks, bool raise_epoch, struct db **ret_db,
                struct xerr *err);
void engine_close(struct db *db);

/* Has a field written to the store although its content is as it was. */
void txn_rewrite(struct txn *t, enum class_id cls, struct ref ref, unsigned field);

/* Sends a transaction's work on its way: releases the writer lock, returns when it is durable and
 * published. */
int engine_commit(struct txn *t, struct xerr *err);

#endif
