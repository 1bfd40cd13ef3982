/* What the two files of the SQLite store share.
 * Called by: store_sqlite, store_schema.  Calls: sqlite3. */
#ifndef DB_STORE_SQLITE_H
#define DB_STORE_SQLITE_H

#include "db/snap.h"
#include "db/store.h"

#include <sqlite3.h>

/* Raised with every change of schema/ that adds, drops or redefines a persistent field; a database of a higher number
 * was written by a newer daemon and is refused. tests/schema/db-version.tsv says which model belongs to it. */
enum { SCHEMA_VERSION = 1 };

/* Makes the file's tables those of the data model: new columns get the schema's defaults, what the model does not
 * know goes. Refuses a file of something else, and one of a newer version. */
int schema_upgrade(sqlite3 *db, const char *path, struct xerr *err);

/* Changes with every table, column and type that the model wants stored. */
uint64_t schema_fingerprint(void);

/* Binds a field's content as its column holds it. Text is borrowed until the statement is reset or finalized. */
void sqlite_bind_cell(sqlite3_stmt *stmt, int at, const struct field_desc *f, const union cell *c);

/* Whether a field has a column. */
static inline bool has_column(const struct field_desc *f) { return f->persistent && !f->inverse; }

/* INTERNAL_ERROR with path, what was being done, and SQLite's (db) or the system's words. Returns -1. */
int sqlite_fail(sqlite3 *db, const char *path, const char *doing, struct xerr *err);

#endif
