/* The tables of the SQLite store: one per stored class.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_SQL_H
#define GEN_SQL_H

#include "gen/model.h"

/* Columns: ref (16 bytes, big-endian) is the key, revision the store revision of the row's last change; then one
 * per persistent field that is no back-reference. TEXT: strings, enumerations by wire text, sets of an
 * enumeration as comma-separated wire texts. INTEGER: int, bool, datetime. REAL: float. BLOB: a reference (16 bytes,
 * or NULL), a sorted set of references (16 bytes each), any other value as the store encodes it. */
struct sql_column {
    field_id field;
    const char *name, *type;
};

struct sql_table {
    int cls;
    const char *name;
    const char *create;      /* CREATE TABLE IF NOT EXISTS */
    unsigned n_columns;      /* without ref and revision */
    const struct sql_column *columns;
};

enum { N_SQL_TABLES = 2 };
extern const struct sql_table sql_tables[N_SQL_TABLES];

/* Changes whenever a table or column does: the store adds and fills what is missing when it finds another one. */
#define SQL_SCHEMA_HASH "3119c668d8f63c99"

#endif
