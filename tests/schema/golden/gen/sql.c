/* The tables of the SQLite store.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/sql.h"

static const struct sql_column columns_Box[] = {
    { F_Box_uuid, "uuid", "TEXT" },
    { 0, NULL, NULL },
};
static const struct sql_column columns_Thing[] = {
    { F_Thing_uuid, "uuid", "TEXT" },
    { F_Thing_name_label, "name_label", "TEXT" },
    { F_Thing_state, "state", "TEXT" },
    { F_Thing_size, "size", "INTEGER" },
    { F_Thing_ratio, "ratio", "REAL" },
    { F_Thing_good, "good", "INTEGER" },
    { F_Thing_born, "born", "INTEGER" },
    { F_Thing_box, "box", "BLOB" },
    { F_Thing_tags, "tags", "BLOB" },
    { F_Thing_ports, "ports", "BLOB" },
    { F_Thing_other_config, "other_config", "BLOB" },
    { F_Thing_memory_max, "memory_max", "INTEGER" },
    { F_Thing_note, "note", "BLOB" },
    { F_Thing_code, "code", "TEXT" },
    { F_Thing_old, "old", "TEXT" },
    { 0, NULL, NULL },
};

const struct sql_table sql_tables[N_SQL_TABLES] = {
    { CLASS_Box, "Box", "CREATE TABLE IF NOT EXISTS \"Box\" (ref BLOB PRIMARY KEY, revision INTEGER NOT NULL, \"uuid\" TEXT) WITHOUT ROWID", 1, columns_Box },
    { CLASS_Thing, "Thing", "CREATE TABLE IF NOT EXISTS \"Thing\" (ref BLOB PRIMARY KEY, revision INTEGER NOT NULL, \"uuid\" TEXT, \"name_label\" TEXT, \"state\" TEXT, \"size\" INTEGER, \"ratio\" REAL, \"good\" INTEGER, \"born\" INTEGER, \"box\" BLOB, \"tags\" BLOB, \"ports\" BLOB, \"other_config\" BLOB, \"memory_max\" INTEGER, \"note\" BLOB, \"code\" TEXT, \"old\" TEXT) WITHOUT ROWID", 15, columns_Thing },
};
