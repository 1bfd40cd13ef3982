/* The tables of the SQLite store: making them, and bringing older ones up to the data model.
 * Called by: store_sqlite when it opens a file.  Calls: sqlite3, celltext.
 *
 * 1. Refuse what is not ours or newer than we are.  2. Compare a fingerprint of the model with the file's:
 * nearly always equal.  3. Else, in one transaction: new tables, new columns with the schema's default in
 * every row, columns and tables that the model does not know go. */
#include "db/store_sqlite.h"

#include "db/celltext.h"

#include <stdio.h>

enum { APPLICATION_ID = 0x58617069 };   /* "Xapi" */

struct upgrade {
    sqlite3 *db;
    const char *path;
    struct xerr *err;
};

static int sql_fail(const struct upgrade *u, const char *sql)
{
    return sqlite_fail(u->db, u->path, sql, u->err);
}

static int exec(const struct upgrade *u, const char *fmt, ...) _printf_(2, 3);
static int exec(const struct upgrade *u, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf sql = STRBUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    strbuf_vprintf(&sql, fmt, ap);
    va_end(ap);
    return sqlite3_exec(u->db, strbuf_cstr(&sql), NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : sql_fail(u, strbuf_cstr(&sql));
}

/* The first column of the only row; fallback when there is none. */
static int query_int(const struct upgrade *u, const char *sql, int64_t fallback, int64_t *ret_number)
{
    sqlite3_stmt *stmt;

    if (sqlite3_prepare_v2(u->db, sql, -1, &stmt, NULL) != SQLITE_OK) return sql_fail(u, sql);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        *ret_number = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : fallback;
        rc = 0;
    } else {
        rc = sql_fail(u, sql);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* Texts of one column of a query, as a set in the arena. */
static int query_texts(const struct upgrade *u, const char *sql, int column, struct arena *a,
                       struct value *ret_set)
{
    struct value_builder b = value_builder(a);
    sqlite3_stmt *stmt;
    int rc;

    if (sqlite3_prepare_v2(u->db, sql, -1, &stmt, NULL) != SQLITE_OK) return sql_fail(u, sql);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        value_push(&b, value_string(arena_strdup(a, (const char *)sqlite3_column_text(stmt, column))));
    sqlite3_finalize(stmt);
    if (rc != SQLITE_DONE) return sql_fail(u, sql);
    *ret_set = value_built_set(&b);
    return 0;
}

/* ---- what the model wants ---- */

static const char *column_type(const struct field_desc *f)
{
    switch (f->cell) {
    case CELL_INT:
    case CELL_BOOL:
    case CELL_DATETIME: return "INTEGER";
    case CELL_FLOAT: return "REAL";
    case CELL_REF: return "BLOB";
    case CELL_STRING:
    case CELL_ENUM:
    case CELL_BITS:
    case CELL_REFSET:
    case CELL_VALUE: return "TEXT";
    }
    abort();
}

static bool has_table(const struct class_desc *cls)
{
    for (unsigned i = 0; cls->stored && i < cls->n_fields; i++)
        if (has_column(&cls->fields[i]) || has_entries(&cls->fields[i])) return true;
    return false;
}

static uint64_t hash_text(uint64_t h, const char *s)
{
    for (; *s; s++) h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return (h ^ '\n') * UINT64_C(0x100000001b3);
}

uint64_t schema_fingerprint(void)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (unsigned c = 0; c < model.n_classes; c++) {
        const struct class_desc *cls = &model.classes[c];
        if (!has_table(cls)) continue;
        h = hash_text(h, cls->name);
        for (unsigned i = 0; i < cls->n_fields; i++) {
            if (!has_column(&cls->fields[i]) && !has_entries(&cls->fields[i])) continue;
            h = hash_text(h, cls->fields[i].name);
            h = hash_text(h, cls->fields[i].type->text);
        }
    }
    return h;
}

/* ---- making it so ---- */

static int create_table(const struct upgrade *u, const struct class_desc *cls)
{
    _cleanup_strbuf_ struct strbuf columns = STRBUF_INIT;

    for (unsigned i = 0; i < cls->n_fields; i++)
        if (has_column(&cls->fields[i]))
            strbuf_printf(&columns, ", \"%s\" %s", cls->fields[i].name, column_type(&cls->fields[i]));
    return exec(
        u,
        "CREATE TABLE \"%s\" (_id INTEGER PRIMARY KEY, _ref BLOB NOT NULL, _created INTEGER NOT NULL, "
        "_revision INTEGER NOT NULL%s)",
        cls->name, strbuf_cstr(&columns));
}

static int add_column(const struct upgrade *u, const struct class_desc *cls, const struct field_desc *f)
{
    _cleanup_free_ char *sql = xasprintf("UPDATE \"%s\" SET \"%s\" = ?1", cls->name, f->name);
    union cell fallback;
    sqlite3_stmt *stmt;

    if (exec(u, "ALTER TABLE \"%s\" ADD COLUMN \"%s\" %s", cls->name, f->name, column_type(f))) return -1;
    if (!cell_from_value(f, &f->default_value, &fallback))
        return xerr_internal(u->err, "the default of %s.%s is not of its type", cls->name, f->name);
    if (sqlite3_prepare_v2(u->db, sql, -1, &stmt, NULL) != SQLITE_OK) return sql_fail(u, sql);
    sqlite_bind_cell(stmt, 1, f, &fallback);
    int rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : sql_fail(u, sql);
    sqlite3_finalize(stmt);
    cell_clear(&fallback, f->cell);
    return rc;
}

static const struct field_desc *column_field(const struct class_desc *cls, const char *column,
                                             const char *type)
{
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct field_desc *f = &cls->fields[i];
        if (has_column(f) && streq(f->name, column)) return streq(column_type(f), type) ? f : NULL;
    }
    return NULL;
}

/* Columns first go, then come: one of another type does both, and its content is the default. */
static int fit_table(const struct upgrade *u, const struct class_desc *cls)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const char *info = arena_printf(a, "PRAGMA table_info(\"%s\")", cls->name);
    struct value names, types;
    bool *there = arena_new_array(a, bool, cls->n_fields);

    if (query_texts(u, info, 1, a, &names) || query_texts(u, info, 2, a, &types)) return -1;
    if (!names.set.n) return create_table(u, cls);
    for (size_t i = 0; i < names.set.n; i++) {
        const char *name = names.set.items[i].s;
        if (*name == '_') continue;
        const struct field_desc *f = column_field(cls, name, types.set.items[i].s);
        if (f) there[field_index(f->id)] = true;
        else if (exec(u, "ALTER TABLE \"%s\" DROP COLUMN \"%s\"", cls->name, name)) return -1;
    }
    for (unsigned i = 0; i < cls->n_fields; i++)
        if (has_column(&cls->fields[i]) && !there[i] && add_column(u, cls, &cls->fields[i])) return -1;
    return 0;
}

static int drop_unknown_tables(const struct upgrade *u)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value names;

    if (query_texts(u, "SELECT name FROM sqlite_schema WHERE type = 'table'", 0, a, &names)) return -1;
    for (size_t i = 0; i < names.set.n; i++) {
        const char *name = names.set.items[i].s;
        const struct class_desc *cls = model_class(name);
        if (*name == '_' || has_prefix(name, "sqlite_") || (cls && has_table(cls))) continue;
        if (exec(u, "DROP TABLE \"%s\"", name)) return -1;
    }
    return 0;
}

/* A map that the file has not known gets its default's entries in every row. */
static int add_map(const struct upgrade *u, const struct class_desc *cls, const struct field_desc *f)
{
    const struct value *map = &f->default_value;
    sqlite3_stmt *stmt;
    int rc = SQLITE_DONE;

    if (exec(u, "INSERT INTO _map_field (class, field) VALUES ('%s', '%s')", cls->name, f->name)) return -1;
    if (!map->map.n) return 0;
    _cleanup_free_ char *sql = xasprintf("INSERT OR REPLACE INTO _map (class, _id, field, key, value) "
                                         "SELECT '%s', _id, '%s', ?1, ?2 FROM \"%s\"",
                                         cls->name, f->name, cls->name);
    if (sqlite3_prepare_v2(u->db, sql, -1, &stmt, NULL) != SQLITE_OK) return sql_fail(u, sql);
    for (size_t i = 0; i < map->map.n && rc == SQLITE_DONE; i++) {
        _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
        celltext_write_value(f->type->elem, &map->map.members[i].value, &text);
        sqlite3_bind_text(stmt, 1, map->map.members[i].key, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, strbuf_cstr(&text), -1, SQLITE_TRANSIENT);
        rc = sqlite3_step(stmt);
        sqlite3_reset(stmt);
    }
    if (rc != SQLITE_DONE) sql_fail(u, sql);
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int fit_maps(const struct upgrade *u)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value classes, fields;
    bool **there = arena_new_array(a, bool *, model.n_classes);

    for (unsigned c = 0; c < model.n_classes; c++)
        there[c] = arena_new_array(a, bool, model.classes[c].n_fields);
    if (query_texts(u, "SELECT class, field FROM _map_field ORDER BY class, field", 0, a, &classes) ||
        query_texts(u, "SELECT class, field FROM _map_field ORDER BY class, field", 1, a, &fields))
        return -1;
    for (size_t i = 0; i < classes.set.n; i++) {
        const char *class = classes.set.items[i].s, *field = fields.set.items[i].s;
        const struct class_desc *cls = model_class(class);
        const struct field_desc *f = cls && cls->stored ? model_field_by_name(cls, field) : NULL;
        if (f && has_entries(f)) {
            there[cls->id][field_index(f->id)] = true;
            continue;
        }
        if (exec(u, "DELETE FROM _map WHERE class = '%s' AND field = '%s'", class, field) ||
            exec(u, "DELETE FROM _map_field WHERE class = '%s' AND field = '%s'", class, field))
            return -1;
    }
    for (unsigned c = 0; c < model.n_classes; c++) {
        const struct class_desc *cls = &model.classes[c];
        for (unsigned i = 0; cls->stored && i < cls->n_fields; i++)
            if (has_entries(&cls->fields[i]) && !there[c][i] && add_map(u, cls, &cls->fields[i])) return -1;
    }
    return 0;
}

static int fit_all(const struct upgrade *u, uint64_t fingerprint)
{
    if (exec(u, "CREATE TABLE IF NOT EXISTS _meta (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID") ||
        exec(u, "CREATE TABLE IF NOT EXISTS _tombstone (revision INTEGER, n INTEGER, created INTEGER, "
                "class TEXT, ref BLOB, PRIMARY KEY (revision, n)) WITHOUT ROWID") ||
        exec(
            u,
            "CREATE TABLE IF NOT EXISTS _map (class TEXT, _id INTEGER, field TEXT, key TEXT, value TEXT, revision INTEGER, "
            "PRIMARY KEY (class, _id, field, key)) WITHOUT ROWID") ||
        exec(u, "CREATE TABLE IF NOT EXISTS _map_field (class TEXT, field TEXT, PRIMARY KEY (class, field)) "
                "WITHOUT ROWID") ||
        drop_unknown_tables(u))
        return -1;
    for (unsigned c = 0; c < model.n_classes; c++)
        if (has_table(&model.classes[c]) && fit_table(u, &model.classes[c])) return -1;
    if (fit_maps(u)) return -1;
    return exec(u, "INSERT OR REPLACE INTO _meta (key, value) VALUES ('fingerprint', %lld)",
                (long long)fingerprint) ||
                   exec(u, "PRAGMA application_id = %d", APPLICATION_ID) ||
                   exec(u, "PRAGMA user_version = %d", SCHEMA_VERSION)
               ? -1
               : 0;
}

static int refuse_foreign(const struct upgrade *u, int64_t application, int64_t version, int64_t n_tables)
{
    if (application != APPLICATION_ID && (application || n_tables))
        return xerr_internal(u->err, "database %s: this is not a database of xapi", u->path);
    if (version > SCHEMA_VERSION)
        return xerr_internal(u->err, "database %s: its schema %lld is newer than this program's %d", u->path,
                             (long long)version, SCHEMA_VERSION);
    return 0;
}

int schema_upgrade(sqlite3 *db, const char *path, struct xerr *err)
{
    const struct upgrade u = { db, path, err };
    uint64_t fingerprint = schema_fingerprint();
    int64_t application, version, n_tables, known = 0;

    if (query_int(&u, "PRAGMA application_id", 0, &application) ||
        query_int(&u, "PRAGMA user_version", 0, &version) ||
        query_int(&u, "SELECT count(*) FROM sqlite_schema", 0, &n_tables) ||
        refuse_foreign(&u, application, version, n_tables))
        return -1;
    if (n_tables && query_int(&u, "SELECT value FROM _meta WHERE key = 'fingerprint'", 0, &known)) return -1;
    if (n_tables && (uint64_t)known == fingerprint && version == SCHEMA_VERSION) return 0;
    if (exec(&u, "BEGIN IMMEDIATE")) return -1;
    if (fit_all(&u, fingerprint) || exec(&u, "COMMIT")) {
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return -1;
    }
    return 0;
}
