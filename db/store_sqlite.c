/* The store on one host: SQLite, WAL, synchronous=FULL.
 * Called by: the engine through store.h.  Calls: sqlite3, store_log, celltext, fault points db.commit, db.committed.
 *
 * The tables follow the data model at run time: one per class, one column per persistent field; the
 * entries of all maps are in one more (store_maps). A row's key is its serial (SQLite's rowid), so that a
 * change of one row dirties one page. Revisions are given out from a block that is reserved in advance:
 * only every BLOCKth commit has to write the counter, and a crash costs a gap. */
#include "db/store_sqlite.h"

#include "db/celltext.h"
#include "lib/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>

enum { REVISION_BLOCK = 1000 };

static struct sqlite_store *of(struct store *st) { return (struct sqlite_store *)st; }

int sqlite_fail(sqlite3 *db, const char *path, const char *doing, struct xerr *err)
{
    return xerr_internal(err, "database %s: %s: %s", path, doing, db ? sqlite3_errmsg(db) : strerror(errno));
}

static int fail(const struct sqlite_store *st, const char *doing, struct xerr *err)
{
    return sqlite_fail(st->db, st->path, doing, err);
}

/* ---- statements ---- */

int sqlite_prepare(struct sqlite_store *st, const char *sql, sqlite3_stmt **stmt, struct xerr *err)
{
    if (*stmt) return 0;
    if (sqlite3_prepare_v3(st->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) == SQLITE_OK) return 0;
    return fail(st, sql, err);
}

int sqlite_run(struct sqlite_store *st, sqlite3_stmt *stmt, const char *doing, struct xerr *err)
{
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_DONE && rc != SQLITE_ROW) fail(st, doing, err);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : -1;
}

static int prepare_fixed(struct sqlite_store *st, struct xerr *err)
{
    const struct { const char *sql; sqlite3_stmt **stmt;
    } all[] = {
        { "BEGIN IMMEDIATE", &st->begin },
        { "COMMIT", &st->end },
        { "ROLLBACK", &st->rollback },
        { "INSERT OR REPLACE INTO _meta (key, value) VALUES (?1, ?2)", &st->set_meta },
        { "INSERT INTO _tombstone (revision, n, created, class, ref) VALUES (?1, ?2, ?3, ?4, ?5)",
          &st->add_tomb },
        { "DELETE FROM _tombstone WHERE revision <= ?1", &st->drop_tombs },
        { "INSERT OR REPLACE INTO _map (class, _id, field, key, value, revision) "
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
          &st->put_entry },
        { "DELETE FROM _map WHERE class = ?1 AND _id = ?2 AND field = ?3 AND key = ?4", &st->drop_entry },
        { "DELETE FROM _map WHERE class = ?1 AND _id = ?2 AND field = ?3", &st->drop_field },
        { "DELETE FROM _map WHERE class = ?1 AND _id = ?2", &st->drop_entries },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (sqlite_prepare(st, all[i].sql, all[i].stmt, err)) return -1;
    return 0;
}

static int set_meta(struct sqlite_store *st, const char *key, uint64_t value, struct xerr *err)
{
    sqlite3_bind_text(st->set_meta, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st->set_meta, 2, (sqlite3_int64)value);
    return sqlite_run(st, st->set_meta, "writing the counters", err);
}

/* 0 when there is no such key. */
static int get_meta(struct sqlite_store *st, const char *key, uint64_t *ret_value, struct xerr *err)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite_prepare(st, "SELECT value FROM _meta WHERE key = ?1", &stmt, err)) return -1;
    sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        *ret_value = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
        rc = 0;
    } else {
        rc = fail(st, "reading the counters", err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- cells ---- */

static void ref_to_bytes(struct ref r, unsigned char out[16])
{
    const uint64_t halves[2] = { htobe64(r.hi), htobe64(r.lo) };

    memcpy(out, halves, sizeof(halves));
}

static bool ref_from_bytes(const unsigned char *p, int len, struct ref *ret_ref)
{
    uint64_t halves[2];

    if (!p || len != 16) return false;
    memcpy(halves, p, sizeof(halves));
    *ret_ref = (struct ref){ be64toh(halves[0]), be64toh(halves[1]) };
    return true;
}

static void bind_ref(sqlite3_stmt *stmt, int at, struct ref r)
{
    unsigned char bytes[16];

    ref_to_bytes(r, bytes);
    if (ref_is_null(r)) sqlite3_bind_null(stmt, at);
    else sqlite3_bind_blob(stmt, at, bytes, sizeof(bytes), SQLITE_TRANSIENT);
}

static void bind_json(sqlite3_stmt *stmt, int at, const struct field_desc *f, const union cell *c)
{
    struct strbuf text = STRBUF_INIT;

    celltext_write(f, c, &text);
    sqlite3_bind_text64(stmt, at, text.ptr, text.len, free, SQLITE_UTF8);
}

void sqlite_bind_cell(sqlite3_stmt *stmt, int at, const struct field_desc *f, const union cell *c)
{
    switch (f->cell) {
    case CELL_STRING:
        sqlite3_bind_text64(stmt, at, cell_str(c), c->text ? c->text->len : 0, SQLITE_STATIC, SQLITE_UTF8);
        break;
    case CELL_INT:
    case CELL_BOOL:
    case CELL_DATETIME:
        sqlite3_bind_int64(stmt, at, c->i);
        break;
    case CELL_FLOAT:
        /* SQLite has no NaN; a text in the column stands for it. */
        if (isnan(c->d)) sqlite3_bind_text(stmt, at, "NaN", -1, SQLITE_STATIC);
        else sqlite3_bind_double(stmt, at, c->d);
        break;
    case CELL_REF:
        bind_ref(stmt, at, c->ref);
        break;
    case CELL_ENUM:
        sqlite3_bind_text(stmt, at, f->type->e->values[c->i], -1, SQLITE_STATIC);
        break;
    case CELL_BITS:
    case CELL_REFSET:
    case CELL_VALUE:
        bind_json(stmt, at, f, c);
        break;
    }
}

static union cell text_cell(const char *s, size_t len, const union cell *fallback)
{
    const struct text *usual = fallback->text;

    if (usual && usual->len == len && memcmp(usual->s, s, len) == 0) return cell_share(*fallback, CELL_STRING);
    return cell_text(s, strnlen(s, len));
}

/* False, with the cell untouched, when the column has nothing of the field's type. */
static bool read_cell(sqlite3_value *v, const struct field_desc *f, const union cell *fallback,
                      union cell *ret_cell)
{
    int type = sqlite3_value_type(v);
    union cell c = { .ref = REF_NULL };

    switch (f->cell) {
    case CELL_STRING:
        if (type != SQLITE_TEXT) return false;
        c = text_cell((const char *)sqlite3_value_text(v), (size_t)sqlite3_value_bytes(v), fallback);
        break;
    case CELL_INT:
    case CELL_BOOL:
    case CELL_DATETIME:
        if (type != SQLITE_INTEGER) return false;
        c.i = sqlite3_value_int64(v);
        if (f->cell == CELL_BOOL) c.i = c.i != 0;
        break;
    case CELL_FLOAT:
        c.d = type == SQLITE_TEXT ? (double)NAN : sqlite3_value_double(v);
        if (type != SQLITE_FLOAT && type != SQLITE_INTEGER && type != SQLITE_TEXT) return false;
        break;
    case CELL_REF:
        if (type != SQLITE_NULL && !ref_from_bytes(sqlite3_value_blob(v), sqlite3_value_bytes(v), &c.ref))
            return false;
        break;
    case CELL_ENUM:
        if (type != SQLITE_TEXT) return false;
        c.i = enum_index(f->type->e, (const char *)sqlite3_value_text(v));
        if (c.i < 0) return false;
        break;
    case CELL_BITS:
    case CELL_REFSET:
    case CELL_VALUE:
        if (type != SQLITE_TEXT) return false;
        const char *text = (const char *)sqlite3_value_text(v);
        if (!celltext_read(f, text, (size_t)sqlite3_value_bytes(v), &c)) return false;
        break;
    }
    *ret_cell = c;
    return true;
}

/* ---- loading ---- */

static void report_cell(const struct store_sink *sink, const struct row *row, unsigned field,
                        sqlite3_stmt *stmt, int at)
{
    _cleanup_free_ char *why = NULL;
    const char *text = (const char *)sqlite3_column_text(stmt, at);

    if (!sink->bad_cell) return;
    why = row->kind->cls->fields[field].secret ? xstrdup("unreadable")
                                               : xasprintf("unreadable: %.200s", text ? text : "NULL");
    sink->bad_cell(sink->arg, row, field, why);
}

/* The fields that have columns, in the order of these. */
struct plan {
    uint8_t fields[MAX_FIELDS];
    unsigned n;
};

/* Columns: _id, _ref, _created, _revision, then the persistent fields. Only this thread reads from this
 * connection, so that a column's value may be looked at as it is. */
static struct row *read_row(const struct kind *kind, const struct plan *plan, sqlite3_stmt *stmt,
                            struct ref ref, const struct store_sink *sink)
{
    enum { FIRST = 4 };
    struct row *row = row_new(kind, ref, (uint64_t)sqlite3_column_int64(stmt, 0));

    row->created = (uint64_t)sqlite3_column_int64(stmt, 2);
    row->revision = (uint64_t)sqlite3_column_int64(stmt, 3);
    for (unsigned i = 0; i < plan->n; i++) {
        unsigned field = plan->fields[i];
        union cell c, fallback = row_cell(kind->blank, field);
        const struct field_desc *f = &kind->cls->fields[field];
        if (!read_cell(sqlite3_column_value(stmt, (int)i + FIRST), f, &fallback, &c))
            report_cell(sink, row, field, stmt, (int)i + FIRST);
        else if (fallback.text && cell_is_counted(f->cell)) row_replace(row, field, c);
        else row_put(row, field, c);
    }
    return row;
}

static int load_row(struct sqlite_store *st, const struct kind *kind, const struct plan *plan,
                    sqlite3_stmt *stmt, struct map_reader *maps, const struct store_sink *sink, struct xerr *err)
{
    struct ref ref;

    if (!ref_from_bytes(sqlite3_column_blob(stmt, 1), sqlite3_column_bytes(stmt, 1), &ref) ||
        ref_is_null(ref))
        return xerr_internal(err, "database %s: %s number %lld has no reference", st->path, kind->cls->name,
                             (long long)sqlite3_column_int64(stmt, 0));
    struct row *row = read_row(kind, plan, stmt, ref, sink);
    if (maps_read(st, maps, row, sink, err) == 0) return sink->row(sink->arg, row, err);
    row_unref(row);
    return -1;
}

static int load_class(struct sqlite_store *st, const struct kind *kind, const struct store_sink *sink,
                      struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf sql = STRBUF_INIT;
    struct map_reader maps;
    struct plan plan = { .n = 0 };
    sqlite3_stmt *stmt = NULL;
    int rc;

    strbuf_str(&sql, "SELECT _id, _ref, _created, _revision");
    for (unsigned i = 0; i < kind->cls->n_fields; i++) {
        if (!has_column(&kind->cls->fields[i])) continue;
        plan.fields[plan.n++] = (uint8_t)i;
        strbuf_printf(&sql, ", \"%s\"", kind->cls->fields[i].name);
    }
    strbuf_printf(&sql, " FROM \"%s\" ORDER BY _id", kind->cls->name);
    if (maps_read_begin(st, kind->cls, &maps, err)) return -1;
    if (sqlite_prepare(st, strbuf_cstr(&sql), &stmt, err)) {
        maps_read_end(&maps);
        return -1;
    }
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && (rc = load_row(st, kind, &plan, stmt, &maps, sink, err)) == 0)
        continue;
    if (rc == SQLITE_DONE) rc = 0;
    else if (rc > 0) rc = fail(st, kind->cls->name, err);
    sqlite3_finalize(stmt);
    maps_read_end(&maps);
    return rc;
}

static int load_tombs(struct sqlite_store *st, const struct store_sink *sink, struct xerr *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc;

    if (!sink->tomb) return 0;
    if (sqlite_prepare(st, "SELECT revision, created, class, ref FROM _tombstone ORDER BY revision, n", &stmt,
                       err))
        return -1;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(stmt, 2);
        const struct class_desc *cls = name ? model_class(name) : NULL;
        struct tomb tomb = { (uint64_t)sqlite3_column_int64(stmt, 0), (uint64_t)sqlite3_column_int64(stmt, 1),
                             REF_NULL, 0 };
        if (!cls || !ref_from_bytes(sqlite3_column_blob(stmt, 3), sqlite3_column_bytes(stmt, 3), &tomb.ref))
            continue;
        tomb.cls = (uint32_t)cls->id;
        sink->tomb(sink->arg, &tomb);
    }
    rc = rc == SQLITE_DONE ? 0 : fail(st, "tombstones", err);
    sqlite3_finalize(stmt);
    return rc;
}

static void drop_table_statements(struct sqlite_store *st)
{
    for (unsigned c = 0; c < st->n_tables; c++) {
        sqlite3_finalize(st->tables[c].insert);
        sqlite3_finalize(st->tables[c].delete);
        for (int u = 0; u < UPDATES_KEPT; u++) sqlite3_finalize(st->tables[c].updates[u].stmt);
    }
    free(st->tables);
    st->tables = NULL;
    st->n_tables = 0;
}

static int op_load(struct store *base, struct kinds *kinds, const struct store_sink *sink,
                   struct store_state *ret_state, struct xerr *err)
{
    struct sqlite_store *st = of(base);

    drop_table_statements(st);
    st->tables = xcalloc(kinds->n, sizeof(*st->tables));
    st->n_tables = kinds->n;
    for (unsigned c = 0; c < kinds->n; c++)
        if (kind_is_stored(&kinds->kinds[c]) && load_class(st, &kinds->kinds[c], sink, err)) return -1;
    if (load_tombs(st, sink, err)) return -1;
    if (get_meta(st, "revision_ceiling", &st->ceiling, err)) return -1;
    if (get_meta(st, "tomb_floor", &st->tomb_floor, err)) return -1;
    if (st->revision < st->ceiling) st->revision = st->ceiling;
    *ret_state = (struct store_state){ .revision = st->revision, .tomb_floor = st->tomb_floor };
    return 0;
}

/* ---- writing ---- */

static int rollback(struct sqlite_store *st)
{
    /* A failed COMMIT may have rolled back already. */
    if (!sqlite3_get_autocommit(st->db)) sqlite3_step(st->rollback);
    sqlite3_reset(st->rollback);
    return -1;
}

static int op_raise_epoch(struct store *base, uint64_t *ret_epoch, struct xerr *err)
{
    struct sqlite_store *st = of(base);
    uint64_t epoch, ceiling = st->revision + REVISION_BLOCK;

    if (get_meta(st, "boot_epoch", &epoch, err) || sqlite_run(st, st->begin, "starting", err)) return -1;
    epoch++;
    if (set_meta(st, "boot_epoch", epoch, err) || set_meta(st, "revision_ceiling", ceiling, err) ||
        sqlite_run(st, st->end, "committing", err))
        return rollback(st);
    st->ceiling = ceiling;
    *ret_epoch = epoch;
    return 0;
}

static int insert_row(struct sqlite_store *st, const struct row *row, uint64_t revision, struct xerr *err)
{
    const struct kind *kind = row->kind;
    struct statements *table = &st->tables[kind->cls->id];
    int at = 5;

    if (!table->insert) {
        _cleanup_strbuf_ struct strbuf sql = STRBUF_INIT, marks = STRBUF_INIT;
        strbuf_printf(&sql, "INSERT INTO \"%s\" (_id, _ref, _created, _revision", kind->cls->name);
        for (unsigned i = 0; i < kind->cls->n_fields; i++) {
            if (!has_column(&kind->cls->fields[i])) continue;
            strbuf_printf(&sql, ", \"%s\"", kind->cls->fields[i].name);
            strbuf_str(&marks, ", ?");
        }
        strbuf_printf(&sql, ") VALUES (?, ?, ?, ?%s)", strbuf_cstr(&marks));
        if (sqlite_prepare(st, strbuf_cstr(&sql), &table->insert, err)) return -1;
    }
    sqlite3_bind_int64(table->insert, 1, (sqlite3_int64)row->serial);
    bind_ref(table->insert, 2, row->leaf.key);
    sqlite3_bind_int64(table->insert, 3, (sqlite3_int64)revision);
    sqlite3_bind_int64(table->insert, 4, (sqlite3_int64)revision);
    for (unsigned i = 0; i < kind->cls->n_fields; i++) {
        union cell c = row_cell(row, i);
        if (has_column(&kind->cls->fields[i]))
            sqlite_bind_cell(table->insert, at++, &kind->cls->fields[i], &c);
    }
    if (sqlite_run(st, table->insert, kind->cls->name, err)) return -1;
    for (unsigned i = 0; i < kind->cls->n_fields; i++) {
        bool dropped;
        if (has_entries(&kind->cls->fields[i]) && maps_write(st, row, i, NULL, revision, &dropped, err))
            return -1;
    }
    return 0;
}

/* The statement that sets just these fields; the usual combinations stay prepared. */
static sqlite3_stmt *update_statement(struct sqlite_store *st, const struct kind *kind,
                                      const struct field_set *fields, struct xerr *err)
{
    struct statements *table = &st->tables[kind->cls->id];
    _cleanup_strbuf_ struct strbuf sql = STRBUF_INIT;
    sqlite3_stmt *stmt = NULL;

    for (int u = 0; u < UPDATES_KEPT && table->updates[u].stmt; u++)
        if (memcmp(&table->updates[u].fields, fields, sizeof(*fields)) == 0) return table->updates[u].stmt;
    strbuf_printf(&sql, "UPDATE \"%s\" SET _revision = ?2", kind->cls->name);
    for (unsigned i = 0; i < kind->cls->n_fields; i++)
        if (field_set_has(fields, i)) strbuf_printf(&sql, ", \"%s\" = ?", kind->cls->fields[i].name);
    strbuf_str(&sql, " WHERE _id = ?1");
    if (sqlite_prepare(st, strbuf_cstr(&sql), &stmt, err)) return NULL;
    sqlite3_finalize(table->updates[table->next].stmt);
    table->updates[table->next].fields = *fields;
    table->updates[table->next].stmt = stmt;
    table->next = (table->next + 1) % UPDATES_KEPT;
    return stmt;
}

/* The row itself: the columns that changed, and the revision. */
static int update_columns(struct sqlite_store *st, const struct row *row, const struct field_set *columns,
                          uint64_t revision, struct xerr *err)
{
    const struct class_desc *cls = row->kind->cls;
    sqlite3_stmt *stmt = update_statement(st, row->kind, columns, err);
    int at = 3;

    if (!stmt) return -1;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)row->serial);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)revision);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        union cell cell = row_cell(row, i);
        if (field_set_has(columns, i)) sqlite_bind_cell(stmt, at++, &cls->fields[i], &cell);
    }
    if (sqlite_run(st, stmt, cls->name, err)) return -1;
    if (sqlite3_changes(st->db) == 1) return 0;
    return xerr_internal(err, "database %s: %s %s is not in its table", st->path, cls->name,
                         REF_STR(row->leaf.key));
}

/* A map that only grew or changed keeps the revision in its entries: then the row need not be written. */
static int update_row(struct sqlite_store *st, const struct store_change *c, uint64_t revision,
                      struct xerr *err)
{
    const struct class_desc *cls = c->row->kind->cls;
    struct field_set columns = { { 0 } };
    bool dropped = false;

    for (unsigned i = 0; i < cls->n_fields; i++) {
        bool one = false;
        if (!field_set_has(c->fields, i)) continue;
        if (has_column(&cls->fields[i])) field_set_add(&columns, i);
        else if (maps_write(st, c->row, i, c->was, revision, &one, err)) return -1;
        dropped |= one;
    }
    if (field_set_empty(&columns) && !dropped) return 0;
    return update_columns(st, c->row, &columns, revision, err);
}

static int delete_row(struct sqlite_store *st, const struct row *row, uint64_t revision, size_t n,
                      struct xerr *err)
{
    const struct class_desc *cls = row->kind->cls;
    struct statements *table = &st->tables[cls->id];

    if (!table->delete) {
        _cleanup_free_ char *sql = xasprintf("DELETE FROM \"%s\" WHERE _id = ?1", cls->name);
        if (sqlite_prepare(st, sql, &table->delete, err)) return -1;
    }
    sqlite3_bind_int64(table->delete, 1, (sqlite3_int64)row->serial);
    if (sqlite_run(st, table->delete, cls->name, err) || maps_drop(st, row, err)) return -1;
    if (!cls->evented) return 0;
    sqlite3_bind_int64(st->add_tomb, 1, (sqlite3_int64)revision);
    sqlite3_bind_int64(st->add_tomb, 2, (sqlite3_int64)n);
    sqlite3_bind_int64(st->add_tomb, 3, (sqlite3_int64)row->created);
    sqlite3_bind_text(st->add_tomb, 4, cls->name, -1, SQLITE_STATIC);
    bind_ref(st->add_tomb, 5, row->leaf.key);
    return sqlite_run(st, st->add_tomb, "tombstones", err);
}

static int drop_tombs(struct sqlite_store *st, uint64_t floor, struct xerr *err)
{
    sqlite3_bind_int64(st->drop_tombs, 1, (sqlite3_int64)floor);
    return sqlite_run(st, st->drop_tombs, "tombstones", err) || set_meta(st, "tomb_floor", floor, err) ? -1
                                                                                                       : 0;
}

static int write_change(struct sqlite_store *st, const struct store_change *c, uint64_t revision, size_t n,
                        struct xerr *err)
{
    switch (c->op) {
    case STORE_INSERT: return insert_row(st, c->row, revision, err);
    case STORE_UPDATE: return update_row(st, c, revision, err);
    case STORE_DELETE: return delete_row(st, c->row, revision, n, err);
    }
    abort();
}

static int op_commit(struct store *base, const struct store_change *changes, size_t n, uint64_t tomb_floor,
                     uint64_t *ret_revision, struct xerr *err)
{
    struct sqlite_store *st = of(base);
    uint64_t revision = st->revision + 1, ceiling = st->ceiling;

    if (sqlite_run(st, st->begin, "starting", err)) return -1;
    if (revision > ceiling) {
        ceiling = revision + REVISION_BLOCK;
        if (set_meta(st, "revision_ceiling", ceiling, err)) return rollback(st);
    }
    for (size_t i = 0; i < n; i++)
        if (write_change(st, &changes[i], revision, i, err)) return rollback(st);
    if (tomb_floor > st->tomb_floor && drop_tombs(st, tomb_floor, err)) return rollback(st);
    if ((errno = fault_step("db.commit")) != 0) {
        sqlite_fail(NULL, st->path, "committing", err);
        return rollback(st);
    }
    if (sqlite_run(st, st->end, "committing", err)) return rollback(st);
    (void)fault_step("db.committed");   /* durable, but nobody knows yet */
    st->ceiling = ceiling;
    if (tomb_floor > st->tomb_floor) st->tomb_floor = tomb_floor;
    *ret_revision = st->revision = revision;
    return 0;
}

/* ---- care ---- */

static int op_verify(struct store *base, struct strbuf *report, struct xerr *err)
{
    struct sqlite_store *st = of(base);
    sqlite3_stmt *stmt = NULL;
    int rc, problems = 0;

    if (sqlite_prepare(st, "PRAGMA integrity_check(100)", &stmt, err)) return -1;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(stmt, 0);
        if (!line || streq(line, "ok")) continue;
        strbuf_printf(report, "file: %s\n", line);
        problems++;
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? problems : fail(st, "integrity check", err);
}

static void op_close(struct store *base)
{
    struct sqlite_store *st = of(base);
    sqlite3_stmt *const fixed[] = { st->begin,      st->end,         st->rollback,  st->set_meta,
                                    st->add_tomb,   st->drop_tombs,  st->put_entry, st->drop_entry,
                                    st->drop_field, st->drop_entries };

    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) sqlite3_finalize(fixed[i]);
    drop_table_statements(st);
    sqlite3_close(st->db);
    free(st->path);
    free(st);
}

static const struct store_ops ops = {
    .load = op_load,
    .raise_epoch = op_raise_epoch,
    .commit = op_commit,
    .verify = op_verify,
    .close = op_close,
};

/* ---- opening ---- */

static int pragmas(struct sqlite_store *st, struct xerr *err)
{
    /* Exclusive before WAL: no shared memory file, and a second daemon on this file is refused. */
    static const char *const all[] = {
        "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
        "PRAGMA temp_store = MEMORY",
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (sqlite3_exec(st->db, all[i], NULL, NULL, NULL) != SQLITE_OK) return fail(st, all[i], err);
    return 0;
}

/* There are secrets in it: made by us, so that nobody else may read it. An existing file is left alone. */
static int create_file(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) return errno == EEXIST ? 0 : -1;
    return sync_folder_of(path);
}

int store_open_sqlite(const char *path, struct store **ret_store, struct xerr *err)
{
    struct sqlite_store *st = xcalloc(1, sizeof(*st));

    st->base.ops = &ops;
    st->path = xstrdup(path);
    if (create_file(path)) {
        sqlite_fail(NULL, path, "creating", err);
        goto fail;
    }
    if (sqlite3_open_v2(path, &st->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        fail(st, "opening", err);
        goto fail;
    }
    sqlite3_extended_result_codes(st->db, 1);
    if (pragmas(st, err) || store_log_open(st, err) || schema_upgrade(st->db, path, err) || prepare_fixed(st, err)) goto fail;
    *ret_store = &st->base;
    return 0;
fail:
    op_close(&st->base);
    return -1;
}
