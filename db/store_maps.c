/* Maps in the SQLite store: one row of _map an entry.
 * Called by: store_sqlite.  Calls: celltext, sqlite3.
 *
 * Clients keep adding keys to other_config and its like. As one JSON text a column, every addition would
 * write all of them again; so only the entries that differ are written. */
#include "db/store_sqlite.h"

#include "db/celltext.h"

/* One field being written. */
struct writing {
    struct sqlite_store *st;
    const struct row *row;
    unsigned field;
    uint64_t revision;
    bool dropped;                      /* an entry went, so that the row itself must carry the revision */
    struct xerr *err;
};

static void bind_field(const struct writing *w, sqlite3_stmt *stmt)
{
    sqlite3_bind_text(stmt, 1, w->row->kind->cls->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)w->row->serial);
    sqlite3_bind_text(stmt, 3, w->row->kind->cls->fields[w->field].name, -1, SQLITE_STATIC);
}

static int put_entry(struct writing *w, const struct member *m)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    sqlite3_stmt *stmt = w->st->put_entry;

    celltext_write_value(w->row->kind->cls->fields[w->field].type->elem, &m->value, &text);
    bind_field(w, stmt);
    sqlite3_bind_text(stmt, 4, m->key, -1, SQLITE_STATIC);
    sqlite3_bind_text64(stmt, 5, strbuf_cstr(&text), text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
    sqlite3_bind_int64(stmt, 6, (sqlite3_int64)w->revision);
    return sqlite_run(w->st, stmt, w->row->kind->cls->name, w->err);
}

static int drop_entry(struct writing *w, const char *key)
{
    w->dropped = true;
    bind_field(w, w->st->drop_entry);
    sqlite3_bind_text(w->st->drop_entry, 4, key, -1, SQLITE_STATIC);
    return sqlite_run(w->st, w->st->drop_entry, w->row->kind->cls->name, w->err);
}

static int rewrite(struct writing *w, const struct value *map)
{
    w->dropped = true;
    bind_field(w, w->st->drop_field);
    if (sqlite_run(w->st, w->st->drop_field, w->row->kind->cls->name, w->err)) return -1;
    for (size_t i = 0; i < map->map.n; i++)
        if (put_entry(w, &map->map.members[i])) return -1;
    return 0;
}

/* ---- the difference of two maps ---- */

/* Changes of single keys copy the text of a map as it is and add to it: where the texts of two versions
 * begin alike, entries that refer to the same places are the same. */
struct comparison {
    const char *a_texts, *b_texts;
    size_t common;                     /* bytes in which both begin alike; 0 = they do not */
};

static struct comparison compare_texts(const struct box *a, const struct box *b)
{
    size_t common = !a || !b ? 0 : a->texts_len < b->texts_len ? a->texts_len : b->texts_len;

    if (!common || memcmp(a->texts, b->texts, common) != 0) return (struct comparison){ NULL, NULL, 0 };
    return (struct comparison){ a->texts, b->texts, common };
}

static bool same_text(const struct comparison *c, const char *a, const char *b)
{
    if (c->common && a - c->a_texts == b - c->b_texts && (size_t)(a - c->a_texts) < c->common) return true;
    return streq(a, b);
}

static bool same_entry(const struct comparison *c, const struct member *a, const struct member *b)
{
    if (!same_text(c, a->key, b->key)) return false;
    if (a->value.kind != VALUE_STRING || b->value.kind != VALUE_STRING) return value_eq(&a->value, &b->value);
    return a->value.len == b->value.len && same_text(c, a->value.s, b->value.s);
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
static int write_difference(struct writing *w, const struct member *old, size_t n_old,
                            const struct member *new, size_t n_new)
{
    const struct member **a = sorted(old, n_old), **b = sorted(new, n_new);
    size_t i = 0, j = 0;
    int rc = 0;

    while (rc == 0 && (i < n_old || j < n_new)) {
        int order = i == n_old ? 1 : j == n_new ? -1 : strcmp(a[i]->key, b[j]->key);
        if (order < 0) {
            rc = drop_entry(w, a[i++]->key);
            continue;
        }
        if (order > 0 || !value_eq(&a[i]->value, &b[j]->value)) rc = put_entry(w, b[j]);
        if (order == 0) i++;
        j++;
    }
    free(a);
    free(b);
    return rc;
}

static int write_change(struct writing *w, const struct box *was, const struct box *is)
{
    static const struct value empty = { .kind = VALUE_MAP };
    const struct value *old = was ? &was->value : &empty, *new = is ? &is->value : &empty;
    const struct member *a = old->map.members, *b = new->map.members;
    size_t i = 0, n_old = old->map.n, n_new = new->map.n;
    struct comparison c = compare_texts(was, is);

    /* Changes of one key leave the others in their order: what is the same at both ends needs no sorting. */
    while (i < n_old && i < n_new && same_entry(&c, &a[i], &b[i])) i++;
    /* Told to write what is there: the file may hold something else (repair). */
    if (i == n_old && i == n_new) return rewrite(w, new);
    while (n_old > i && n_new > i && same_entry(&c, &a[n_old - 1], &b[n_new - 1])) {
        n_old--;
        n_new--;
    }
    return write_difference(w, a + i, n_old - i, b + i, n_new - i);
}

int maps_write(struct sqlite_store *st, const struct row *row, unsigned field, const struct row *was,
               uint64_t revision, bool *ret_dropped, struct xerr *err)
{
    struct writing w = { st, row, field, revision, false, err };
    const struct box *is = row_cell(row, field).box;
    int rc = 0;

    if (was) rc = write_change(&w, row_cell(was, field).box, is);
    else
        for (size_t i = 0; rc == 0 && is && i < is->value.map.n; i++)
            rc = put_entry(&w, &is->value.map.members[i]);
    if (rc == 0) *ret_dropped = w.dropped;
    return rc;
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
                st,
                "SELECT _id, field, key, value, revision FROM _map WHERE class = ?1 ORDER BY _id, field, key",
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
        uint64_t revision = (uint64_t)sqlite3_column_int64(r->stmt, 4);
        if (revision > row->revision) row->revision = revision;
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
