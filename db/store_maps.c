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
    if (r->at_row) {
        const char *field = (const char *)sqlite3_column_text(r->stmt, 1);
        r->serial = (uint64_t)sqlite3_column_int64(r->stmt, 0);
        r->field = field ? field : "";
    }
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sqlite_fail(st->db, st->path, "maps", err);
}

int maps_read_begin(struct sqlite_store *st, const struct class_desc *cls, struct map_reader *ret_reader,
                    struct xerr *err)
{
    struct map_reader r = { .stmt = NULL };

    for (unsigned i = 0; i < cls->n_fields; i++)
        if (has_entries(&cls->fields[i])) r.fields[r.n_fields++] = (uint8_t)i;
    if (r.n_fields) {
        if (sqlite_prepare(
                st,
                "SELECT _id, field, key, value, revision FROM _map WHERE class = ?1 ORDER BY _id, field, key",
                &r.stmt, err))
            return -1;
        sqlite3_bind_text(r.stmt, 1, cls->name, -1, SQLITE_STATIC);
        r.arena = arena_new();
        if (next_entry(st, &r, err)) {
            maps_read_end(&r);
            return -1;
        }
    }
    *ret_reader = r;
    return 0;
}

void maps_read_end(struct map_reader *r)
{
    sqlite3_finalize(r->stmt);
    arena_free(r->arena);
}

/* What the statement stands at, as a member of the map; false when it cannot be read. */
static bool entry_value(sqlite3_stmt *stmt, const struct type_desc *type, struct arena *a,
                        struct member *ret_member)
{
    sqlite3_value *key = sqlite3_column_value(stmt, 2), *text = sqlite3_column_value(stmt, 3);
    struct member m = { NULL, value_void() };

    if (sqlite3_value_type(key) != SQLITE_TEXT || sqlite3_value_type(text) != SQLITE_TEXT) return false;
    m.key = arena_strdup(a, (const char *)sqlite3_value_text(key));
    if (!celltext_read_value(type->elem, (const char *)sqlite3_value_text(text),
                             (size_t)sqlite3_value_bytes(text), a, &m.value) ||
        !map_key_fits(m.key, type->key))
        return false;
    *ret_member = m;
    return true;
}

static void read_entry(struct map_reader *r, const struct row *row, unsigned field, struct value_builder *b,
                       const struct store_sink *sink)
{
    const struct field_desc *f = &row->kind->cls->fields[field];
    struct member m;

    if (entry_value(r->stmt, f->type, r->arena, &m)) {
        value_put_new(b, m.key, m.value);
        return;
    }
    if (!sink->bad_cell) return;
    const char *key = (const char *)sqlite3_column_text(r->stmt, 2),
               *text = (const char *)sqlite3_column_text(r->stmt, 3);
    sink->bad_cell(sink->arg, row, field,
                   arena_printf(r->arena, "unreadable at key %.100s: %.200s", key ? key : "NULL",
                                f->secret ? "" : text ? text : "NULL"));
}

/* The entries of one field, which come together. */
static int read_map(struct sqlite_store *st, struct map_reader *r, struct row *row, unsigned field,
                    const struct store_sink *sink, struct xerr *err)
{
    const char *name = row->kind->cls->fields[field].name;
    struct value_builder b = value_builder(r->arena);

    do {
        uint64_t revision = (uint64_t)sqlite3_column_int64(r->stmt, 4);
        if (revision > row->revision) row->revision = revision;
        read_entry(r, row, field, &b, sink);
        if (next_entry(st, r, err)) return -1;
    } while (r->at_row && r->serial == row->serial && streq(r->field, name));
    struct value map = value_built_map(&b);
    row_replace(row, field, cell_box(&map));
    arena_reset(r->arena);
    return 0;
}

/* The place of the map that the statement stands at, or -1. */
static int field_at(const struct map_reader *r, const struct class_desc *cls)
{
    for (unsigned i = 0; i < r->n_fields; i++)
        if (streq(cls->fields[r->fields[i]].name, r->field)) return r->fields[i];
    return -1;
}

int maps_read(struct sqlite_store *st, struct map_reader *r, struct row *row, const struct store_sink *sink,
              struct xerr *err)
{
    /* No entries: empty, not the default. */
    for (unsigned i = 0; i < r->n_fields; i++) row_replace(row, r->fields[i], (union cell){ .box = NULL });
    while (r->at_row && r->serial <= row->serial) {
        int field = r->serial == row->serial ? field_at(r, row->kind->cls) : -1;
        if (field < 0 ? next_entry(st, r, err) : read_map(st, r, row, (unsigned)field, sink, err)) return -1;
    }
    return 0;
}
