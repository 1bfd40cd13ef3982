/* What the files of the SQLite store share.
 * Called by: store_sqlite, store_log, store_maps, store_schema.  Calls: sqlite3. */
#ifndef DB_STORE_SQLITE_H
#define DB_STORE_SQLITE_H

#include "db/snap.h"
#include "db/store.h"

#include <sqlite3.h>

/* Raised with every change of schema/ that adds, drops or redefines a persistent field; a database of a
 * higher number was written by a newer daemon and is refused. tests/schema/db-version.tsv says which model
 * belongs to it. */
enum { SCHEMA_VERSION = 1 };

enum { UPDATES_KEPT = 32 };

/* Prepared statements of one table. */
struct statements {
    sqlite3_stmt *insert, *delete;
    struct { struct field_set fields; sqlite3_stmt *stmt; } updates[UPDATES_KEPT];
    unsigned next;                     /* of updates, to be replaced when all are taken */
};

struct sqlite_store {
    struct store base;
    char *path;
    sqlite3 *db;
    uint64_t revision, ceiling;        /* last given out; end of the reserved block */
    uint64_t tomb_floor;
    int page_bytes;
    sqlite3_int64 log_bytes;           /* length of the log's file, as far as it was looked at */
    sqlite3_stmt *begin, *end, *rollback, *set_meta, *add_tomb, *drop_tombs;
    sqlite3_stmt *put_entry, *drop_entry, *drop_field, *drop_entries;   /* of _map */
    struct statements *tables;         /* by class id */
    unsigned n_tables;
};

/* Prepares unless it is there already. */
int sqlite_prepare(struct sqlite_store *st, const char *sql, sqlite3_stmt **stmt, struct xerr *err);
/* Steps a statement that gives no rows, and resets it. */
int sqlite_run(struct sqlite_store *st, sqlite3_stmt *stmt, const char *doing, struct xerr *err);

/* ---- maps: an entry a row of _map, so that adding a key costs the same however many there are ---- */

/* Makes a stored map from what it was (NULL = nothing) into what the row says. An entry carries the
 * revision of its last change; *ret_dropped says that one went, so that the row has to. */
int maps_write(struct sqlite_store *st, const struct row *row, unsigned field, const struct row *was,
               uint64_t revision, bool *ret_dropped, struct xerr *err);
/* Those of a row that goes. */
int maps_drop(struct sqlite_store *st, const struct row *row, struct xerr *err);

/* Reading a class's maps beside its rows, which must come in the order of their serials. */
struct map_reader {
    sqlite3_stmt *stmt;
    bool at_row;                       /* the statement stands at an entry not yet taken */
    uint64_t serial;                   /* of the row that it belongs to */
    const char *field;                 /* its field's name; lives until the statement goes on */
    struct arena *arena;
    uint8_t fields[MAX_FIELDS];        /* the class's maps */
    unsigned n_fields;
};
int maps_read_begin(struct sqlite_store *st, const struct class_desc *cls, struct map_reader *ret_reader,
                    struct xerr *err);
int maps_read(struct sqlite_store *st, struct map_reader *r, struct row *row, const struct store_sink *sink,
              struct xerr *err);
void maps_read_end(struct map_reader *r);

/* Makes the file's tables those of the data model: new columns get the schema's defaults, what the model
 * does not know goes. Refuses a file of something else, and one of a newer version. */
int schema_upgrade(sqlite3 *db, const char *path, struct xerr *err);

/* Changes with every table, column and type that the model wants stored. */
uint64_t schema_fingerprint(void);

/* Binds a field's content as its column holds it. Text is borrowed until the statement is reset or
 * finalized. */
void sqlite_bind_cell(sqlite3_stmt *stmt, int at, const struct field_desc *f, const union cell *c);

/* Whether a field is kept as entries of _map, and whether it has a column of its own. */
static inline bool has_entries(const struct field_desc *f)
{
    return f->persistent && !f->inverse && f->type->kind == TYPE_MAP;
}
static inline bool has_column(const struct field_desc *f)
{
    return f->persistent && !f->inverse && !has_entries(f);
}
static inline bool has_any_entries(const struct class_desc *cls)
{
    for (unsigned i = 0; i < cls->n_fields; i++)
        if (has_entries(&cls->fields[i])) return true;
    return false;
}

/* Takes over the care of the write-ahead log, which must be on: its length, and when it is copied back. */
int store_log_open(struct sqlite_store *st, struct xerr *err);

/* INTERNAL_ERROR with path, what was being done, and SQLite's (db) or the system's words. Returns -1. */
int sqlite_fail(sqlite3 *db, const char *path, const char *doing, struct xerr *err);

#endif
