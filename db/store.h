/* The store under the database: durable groups of row changes with a revision.
 * Called by: db/ only (and main.c, which opens one).  Calls: lib, gen. */
#ifndef DB_STORE_H
#define DB_STORE_H

#include "lib/value.h"
#include "lib/xerr.h"

struct store;

/* SQLite in one file: WAL, synchronous=FULL, one table a class (gen/sql). Errors name the path. */
int store_open_sqlite(const char *path, struct store **ret_store, struct xerr *err);

#endif
