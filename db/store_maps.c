/* Maps in the SQLite store: one row of _map an entry.
 * Called by: store_sqlite.  Calls: celltext, sqlite3.
 *
 * Clients keep adding keys to other_config and its like. As one JSON text a column, every addition would
 * write all of them again; so only the entries that differ are written. */
#include "db/store_sqlite.h"

#include "db/celltext.h"

static void bind_field(sqlite3_stmt *stmt, const struct row *row, unsigned field)
{
    sqlite3_bind_text(stmt, 1, row->kind->cls->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)row->serial);
    sqlite3_bind_text(stmt, 3, row->kind->cls->fields[field].name, -1, SQLITE_STATIC);
}

static int put_entry(struct sqlite_store *st, const struct row *row, unsigned field, const struct member *m,
                     struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    celltext_write_value(row->kind->cls->fields[field].type->elem, &m->value, &text);
    bind_field(st->put_entry, row, field);
    sqlite3_bind_text(st->put_entry, 4, m->key, -1, SQLITE_STATIC);
    sqlite3_bind_text64(st->put_entry, 5, strbuf_cstr(&text), text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
    return sqlite_run(st, st->put_entry, row->kind->cls->name, err);
}

static int drop_entry(struct sqlite_store *st, const struct row *row, unsigned field, const char *key,
                      struct xerr *err)
{
    bind_field(st->drop_entry, row, field);
    sqlite3_bind_text(st->drop_entry, 4, key, -1, SQLITE_STATIC);
    return sqlite_run(st, st->drop_entry, row->kind->cls->name, err);
}

static int rewrite(struct sqlite_store *st, const struct row *row, unsigned field, const struct value *map,
                   struct xerr *err)
{
    bind_field(st->drop_field, row, field);
    if (sqlite_run(st, st->drop_field, row->kind->cls->name, err)) return -1;
    for (size_t i = 0; i < map->map.n; i++)
        if (put_entry(st, row, field, &map->map.members[i], err)) return -1;
    return 0;
}

/* ---- the difference of two maps ---- */

static bool same_entry(const struct member *a, const struct member *b)
{
    return streq(a->key, b->key) && value_eq(&a->value, &b->value);
}

static int key_order(const void *a, const void *b)
{
    return strcmp((*(const struct member *const *)a)->key, (*(const struct member *const *)b)->key);
}

static const struct member **sorted(const struct member *members, size_t n)
{
    const struct member **out = xmalloc(n * sizeof(*out));

    for (size_t i = 0; i < n; i++) out[i] = &members[i];
    if (n > 1) qsort(out, n, sizeof(*out), key_order);
    return out;
}

/* Entries in no common order: both sides sorted, side by side. */
static int write_difference(struct sqlite_store *st, const struct row *row, unsigned field,
                            const struct member *old, size_t n_old, const struct member *new, size_t n_new,
                            struct xerr *err)
{
    const struct member **a = sorted(old, n_old), **b = sorted(new, n_new);
    size_t i = 0, j = 0;
    int rc = 0;

    while (rc == 0 && (i < n_old || j < n_new)) {
        int order = i == n_old ? 1 : j == n_new ? -1 : strcmp(a[i]->key, b[j]->key);
        if (order < 0) {
            rc = drop_entry(st, row, field, a[i++]->key, err);
            continue;
        }
        if (order > 0 || !value_eq(&a[i]->value, &b[j]->value)) rc = put_entry(st, row, field, b[j], err);
        if (order == 0) i++;
        j++;
    }
    free(a);
    free(b);
    return rc;
}

int maps_write(struct sqlite_store *st, const struct row *row, unsigned field, const struct row *was,
               struct xerr *err)
{
    const struct type_desc *type = row->kind->cls->fields[field].type;
    union cell now = row_cell(row, field), then;
    const struct value *new = cell_value(&now, type);
    const struct member *a, *b = new->map.members;
    size_t i = 0, n_new = new->map.n, n_old;

    if (!was) {
        for (i = 0; i < n_new; i++)
            if (put_entry(st, row, field, &b[i], err)) return -1;
        return 0;
    }
    /* Changes of one key leave the others in their order: what is the same at both ends needs no sorting. */
    then = row_cell(was, field);
    const struct value *old = cell_value(&then, type);
    a = old->map.members;
    n_old = old->map.n;
    while (i < n_old && i < n_new && same_entry(&a[i], &b[i])) i++;
    /* Told to write what is there: the file may hold something else (repair). */
    if (i == n_old && i == n_new) return rewrite(st, row, field, new, err);
    while (n_old > i && n_new > i && same_entry(&a[n_old - 1], &b[n_new - 1])) {
        n_old--;
        n_new--;
    }
    return write_difference(st, row, field, a + i, n_old - i, b + i, n_new - i, err);
}

int maps_drop(struct sqlite_store *st, const struct row *row, struct xerr *err)
{
    if (!has_any_entries(row->kind->cls)) return 0;
    sqlite3_bind_text(st->drop_entries, 1, row->kind->cls->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st->drop_entries, 2, (sqlite3_int64)row->serial);
    return sqlite_run(st, st->drop_entries, row->kind->cls->name, err);
}

/* ---- reading ---- */

static int next_entry(struct sqlite_store *st, struct map_reader *r, struct xerr *err)
{
    int rc = sqlite3_step(r->stmt);

    r->at_row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sqlite_fail(st->db, st->path, "maps", err);
}

int maps_read_begin(struct sqlite_store *st, const struct class_desc *cls, struct map_reader *ret_reader,
                    struct xerr *err)
{
    struct map_reader r = { NULL, false };

    if (has_any_entries(cls)) {
        if (sqlite_prepare(
                st, "SELECT _id, field, key, value FROM _map WHERE class = ?1 ORDER BY _id, field, key",
                &r.stmt, err))
            return -1;
        sqlite3_bind_text(r.stmt, 1, cls->name, -1, SQLITE_STATIC);
        if (next_entry(st, &r, err)) {
            sqlite3_finalize(r.stmt);
            return -1;
        }
    }
    *ret_reader = r;
    return 0;
}

void maps_read_end(struct map_reader *r)
{
    sqlite3_finalize(r->stmt);
}

static void read_entry(sqlite3_stmt *stmt, const struct row *row, unsigned field, struct arena *a,
                       struct value_builder *b, const struct store_sink *sink)
{
    const struct type_desc *type = row->kind->cls->fields[field].type;
    const char *key = (const char *)sqlite3_column_text(stmt, 2),
               *text = (const char *)sqlite3_column_text(stmt, 3);
    struct member m = { key ? arena_strdup(a, key) : NULL, value_void() };

    if (key && text &&
        celltext_read_value(type->elem, text, (size_t)sqlite3_column_bytes(stmt, 3), a, &m.value)) {
        struct value one = value_map(&m, 1);
        if (value_fits(&one, type)) {
            value_put_new(b, m.key, m.value);
            return;
        }
    }
    if (!sink->bad_cell) return;
    const char *shown = row->kind->cls->fields[field].secret ? "" : text ? text : "NULL";
    sink->bad_cell(sink->arg, row, field,
                   arena_printf(a, "unreadable at key %.100s: %.200s", key ? key : "NULL", shown));
}

/* The entries of one field, which come together. */
static int read_map(struct sqlite_store *st, struct map_reader *r, struct row *row, unsigned field,
                    const struct store_sink *sink, struct xerr *err)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct field_desc *f = &row->kind->cls->fields[field];
    struct value_builder b = value_builder(a);

    while (r->at_row && (uint64_t)sqlite3_column_int64(r->stmt, 0) == row->serial &&
           streq((const char *)sqlite3_column_text(r->stmt, 1), f->name)) {
        read_entry(r->stmt, row, field, a, &b, sink);
        if (next_entry(st, r, err)) return -1;
    }
    struct value map = value_built_map(&b);
    row_replace(row, field, cell_box(&map));
    return 0;
}

int maps_read(struct sqlite_store *st, struct map_reader *r, struct row *row, const struct store_sink *sink,
              struct xerr *err)
{
    const struct class_desc *cls = row->kind->cls;

    /* No entries: empty, not the default. */
    for (unsigned i = 0; r->stmt && i < cls->n_fields; i++)
        if (has_entries(&cls->fields[i])) row_replace(row, i, (union cell){ .box = NULL });
    while (r->at_row && (uint64_t)sqlite3_column_int64(r->stmt, 0) <= row->serial) {
        const char *name = (const char *)sqlite3_column_text(r->stmt, 1);
        const struct field_desc *f = name ? model_field_by_name(cls, name) : NULL;
        bool ours = (uint64_t)sqlite3_column_int64(r->stmt, 0) == row->serial && f && has_entries(f) &&
                    streq(f->name, name);
        if (ours ? read_map(st, r, row, field_index(f->id), sink, err) : next_entry(st, r, err)) return -1;
    }
    return 0;
}
