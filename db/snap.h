/* Snapshots: one immutable root over all tables and indexes.
 * Called by: db/ only (everybody else reads snapshots through db.h).  Calls: ptrie, row.
 *
 * A root that a transaction works on is its own until it commits; a root that is published is never
 * changed. */
#ifndef DB_SNAP_H
#define DB_SNAP_H

#include "db/row.h"

enum { CHUNK_TABLES = 8, TOMB_BLOCK = 1024, TOMBS_KEPT = 100000, STAMPS_KEPT = 4096 };

/* A stamp is the boot epoch above a sequence number of 40 bits. */
#define EPOCH_SHIFT 40
#define EPOCH_MASK (~UINT64_C(0) << EPOCH_SHIFT)

/* Rows of one class and their indexes, which hold references, not rows, so that most changes leave them
 * alone. */
struct table {
    _Atomic uint32_t refs;
    size_t count;
    struct ptrie rows;             /* reference -> struct row */
    struct ptrie uuids;            /* uuid (or two hashes of an odd one) -> struct entry */
    struct ptrie names;            /* hash of name_label, serial -> struct entry */
};

/* Tables in groups, so that a new root shares most of them at the price of a few counters. */
struct chunk {
    _Atomic uint32_t refs;
    struct table *tables[CHUNK_TABLES];   /* NULL = no row yet */
};

/* An index entry; the leaf's tag is the class. */
struct entry {
    struct pleaf leaf;
    struct ref ref;
};

/* A destroyed object. In blocks that only the publisher appends to; a snapshot looks no further than its
 * own end. */
struct tomb {
    uint64_t revision, created;
    struct ref ref;
    uint32_t cls;
};

struct tomb_block {
    _Atomic uint32_t refs;
    struct tomb items[TOMB_BLOCK];
};

struct tombs {
    _Atomic uint32_t refs;
    uint64_t floor;                /* every destruction after this revision is here */
    size_t n;
    struct tomb_block *blocks[];
};

struct snap {
    _Atomic uint32_t refs;
    _Atomic int *live;             /* how many roots there are */
    struct kinds *kinds;
    /* Of published roots only. */
    struct token token;
    struct ptrie stamps;           /* stamp, serial -> struct entry: the rows that changed last */
    size_t n_stamps;
    uint64_t stamps_after;         /* every row changed after this stamp is among them */
    struct tombs *tombs;
    size_t tombs_last;             /* entries of the last block that belong to this root */
    unsigned n_chunks;
    struct chunk *chunks[];
};

struct snap *snap_new_empty(struct kinds *kinds, _Atomic int *live);
/* A root with the same tables, without the parts that publishing fills in. */
struct snap *snap_fork(const struct snap *s);

/* Changes of a root that nobody else sees. */
void snap_put_row(struct snap *s, struct row *row);        /* the reference passes */
void snap_remove_row(struct snap *s, const struct row *row);
/* A table at once, of rows in the order of their references, none twice. */
void snap_fill_table(struct snap *s, unsigned cls, const struct keyed *rows, size_t n);
/* Index entries of a row's present uuid and name. */
void snap_index_uuid(struct snap *s, const struct row *row, bool add);
void snap_index_name(struct snap *s, const struct row *row, bool add);
struct row *snap_get_row(const struct snap *s, unsigned cls, struct ref ref);

void entry_leaf_unref(struct pleaf *leaf);

/* The stream's index of a new root: that of another one, without a row's last place, with its next; key: stamp
 * and serial. The oldest go when there are many: who asks for changes since then has every row looked at. */
void snap_take_stamps(struct snap *s, const struct snap *from);
void snap_drop_stamp(struct snap *s, struct ref key);
void snap_add_stamp(struct snap *s, struct ref key, unsigned cls, struct ref ref);

/* Tombstones of a new root: those of another one, and more. The oldest block goes when enough are left. */
void snap_take_tombs(struct snap *s, const struct snap *from);
void snap_add_tomb(struct snap *s, const struct tomb *tomb);
/* Makes sure that there is a directory, of this root's own, to add to. */
void snap_reserve_tombs(struct snap *s);

#endif
