/* Transactions: changes of rows, sets and maps against the pending head, back-references kept in step.
 * Called by: everyone who writes (through db.h).  Calls: snap, cell, engine. */
#include "db/engine.h"

#include "gen/errors.h"

#include <assert.h>

/* ---- life ---- */

struct txn *db_begin(struct db *db)
{
    struct txn *t = xcalloc(1, sizeof(*t));

    pthread_mutex_lock(&db->writer);
    t->db = db;
    t->id = ++db->next_txn;
    t->work = snap_fork(db->pending);
    return t;
}

static void txn_free(struct txn *t)
{
    snap_unrefp(&t->work);
    xerr_clear(&t->err);
    free(t->touches);
    free(t);
}

void db_abort(struct txn *t)
{
    if (!t) return;
    pthread_mutex_unlock(&t->db->writer);
    txn_free(t);
}

int db_commit(struct txn *t, struct xerr *err)
{
    int rc;

    if (t->err.code) {
        rc = xerr_move(err, &t->err);
        db_abort(t);
        return rc;
    }
    rc = engine_commit(t, err);
    txn_free(t);
    return rc;
}

const struct snap *txn_snap(struct txn *t)
{
    return t->work;
}

void txn_awaits_company(struct txn *t)
{
    t->awaits_company = true;
}

int txn_fail(struct txn *t, struct xerr *why)
{
    if (t->err.code) xerr_clear(why);
    else xerr_move(&t->err, why);
    return -1;
}

bool txn_failed(const struct txn *t)
{
    return t->err.code != NULL;
}

/* ---- rows ---- */

static unsigned touch(struct txn *t, unsigned cls, struct ref ref)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 8;
        t->touches = xrealloc(t->touches, t->cap * sizeof(*t->touches));
    }
    t->touches[t->n] = (struct touch){ .cls = cls, .ref = ref };
    t->bytes += 64;
    return (unsigned)t->n++;
}

static bool is_own(const struct txn *t, const struct row *row)
{
    return atomic_load_explicit(&row->stamp, memory_order_relaxed) == (ROW_OWNED | t->id);
}

static void make_own(struct txn *t, struct row *row)
{
    row->leaf.tag = touch(t, (unsigned)row->kind->cls->id, row->leaf.key);
    atomic_store_explicit(&row->stamp, ROW_OWNED | t->id, memory_order_relaxed);
    snap_put_row(t->work, row);
}

/* The row as a version of this transaction's own, or NULL when there is none. */
static struct row *own_row(struct txn *t, unsigned cls, struct ref ref)
{
    struct row *row = snap_get_row(t->work, cls, ref);

    if (!row || is_own(t, row)) return row;
    row = row_copy(row);
    make_own(t, row);
    return row;
}

/* As own_row; a missing row fails the transaction. NULL when it has failed, now or before. */
static struct row *need_row(struct txn *t, unsigned cls, struct ref ref)
{
    if (txn_failed(t)) return NULL;
    struct row *row = snap_get_row(t->work, cls, ref);
    if (!row) xerr_handle_invalid(&t->err, model.classes[cls].name, REF_STR(ref));
    return row;
}

static void mark(struct txn *t, const struct row *row, unsigned field)
{
    if (field_set_has(&row->kind->persistent, field)) field_set_add(&t->touches[row->leaf.tag].fields, field);
}

/* ---- back-references ---- */

static void link_back(struct txn *t, field_id back, struct ref target, struct ref self)
{
    struct row *row = own_row(t, field_class(back), target);
    union cell c = row_cell(row, field_index(back));

    cell_set_add(&c, self);
    row_put(row, field_index(back), c);
}

/* The target may be gone: a database from elsewhere can have references into nothing. */
static void unlink_back(struct txn *t, field_id back, struct ref target, struct ref self)
{
    struct row *row = snap_get_row(t->work, field_class(back), target);

    if (!row || !refset_has(row_refs(row, back), self)) return;
    row = own_row(t, field_class(back), target);
    union cell c = row_cell(row, field_index(back));
    cell_set_remove(&c, self);
    row_put(row, field_index(back), c);
}

/* The references that a forward field holds. */
static struct refset *forward_refs(enum cell_kind kind, const union cell *c)
{
    const struct refset *set = cell_refs(kind == CELL_REFSET ? c : &(union cell){ .set = NULL });
    bool one = kind == CELL_REF && !ref_is_null(c->ref);
    size_t n = one ? 1 : set->n;
    struct refset *out = xmalloc(sizeof(*out) + n * sizeof(out->refs[0]));

    out->n = n;
    if (one) out->refs[0] = c->ref;
    else memcpy(out->refs, set->refs, n * sizeof(out->refs[0]));
    return out;
}

static void relink(struct txn *t, const struct field_desc *f, field_id back, struct ref self,
                   const union cell *from, const union cell *to)
{
    struct refset *old = forward_refs(f->cell, from), *new = forward_refs(f->cell, to);

    for (size_t i = 0; i < old->n; i++)
        if (!refset_has(new, old->refs[i])) unlink_back(t, back, old->refs[i], self);
    for (size_t i = 0; i < new->n; i++)
        if (!refset_has(old, new->refs[i])) link_back(t, back, new->refs[i], self);
    free(old);
    free(new);
}

/* A new reference with a back-reference must point at something, or the two could not be kept in step. */
static bool targets_exist(struct txn *t, const struct field_desc *f, field_id back, const union cell *from,
                          const union cell *to)
{
    struct refset *old = forward_refs(f->cell, from), *new = forward_refs(f->cell, to);

    for (size_t i = 0; i < new->n && !txn_failed(t); i++)
        if (!refset_has(old, new->refs[i])) need_row(t, field_class(back), new->refs[i]);
    free(old);
    free(new);
    return !txn_failed(t);
}

/* ---- one field ---- */

static bool uuid_is_free(struct txn *t, unsigned cls, struct ref self, const char *uuid)
{
    const struct row *other = snap_by_uuid(t->work, (enum class_id)cls, uuid);

    if (!other || ref_eq(other->leaf.key, self)) return true;
    xerr_db_uniqueness_constraint_violation(&t->err, model.classes[cls].name, "uuid", uuid);
    return false;
}

static size_t cell_bytes(const union cell *c, enum cell_kind kind)
{
    if (kind == CELL_STRING && c->text) return c->text->len;
    if (kind == CELL_REFSET) return cell_refs(c)->n * sizeof(struct ref);
    return kind == CELL_VALUE && c->box && c->box->value.kind == VALUE_MAP ? c->box->value.map.n * 64 : 16;
}

/* Gives a field a new content, which passes. Equal content is no change; the caller may know already that
 * it differs. */
static void change_cell(struct txn *t, struct ref ref, field_id id, union cell c, bool differs)
{
    unsigned cls = field_class(id), i = field_index(id);
    const struct field_desc *f = model_field(id);
    struct row *row = need_row(t, cls, ref);

    assert(!f->inverse);   /* back-references are the database's own */
    if (!row) goto out;
    union cell old = row_cell(row, i);
    if (!differs && cell_eq(&old, &c, f->cell)) goto out;
    field_id back = row->kind->inverse[i];
    bool is_uuid = id == row->kind->cls->uuid, is_name = id == row->kind->cls->name_label;
    if (is_uuid && !uuid_is_free(t, cls, ref, cell_str(&c))) goto out;
    if (back && !targets_exist(t, f, back, &old, &c)) goto out;

    row = own_row(t, cls, ref);
    c = intern_cell(&t->db->intern, row, i, c);
    if (is_uuid) snap_index_uuid(t->work, row, false);
    if (is_name) snap_index_name(t->work, row, false);
    row_put(row, i, c);
    mark(t, row, i);
    t->bytes += cell_bytes(&c, f->cell);
    if (is_uuid) snap_index_uuid(t->work, row, true);
    if (is_name) snap_index_name(t->work, row, true);
    if (back) relink(t, f, back, ref, &old, &c);
    c = old;
out:
    cell_clear(&c, f->cell);
}

static void set_cell(struct txn *t, struct ref ref, field_id id, union cell c)
{
    change_cell(t, ref, id, c, false);
}

static void check_kind(field_id f, enum cell_kind kind)
{
    assert(model_field(f)->cell == kind);
    (void)f;
    (void)kind;
}

void txn_set_str(struct txn *t, struct ref ref, field_id f, const char *s)
{
    check_kind(f, CELL_STRING);
    set_cell(t, ref, f, cell_text(s, strlen(s)));
}

void txn_set_int(struct txn *t, struct ref ref, field_id f, int64_t i)
{
    check_kind(f, CELL_INT);
    set_cell(t, ref, f, (union cell){ .i = i });
}

void txn_set_bool(struct txn *t, struct ref ref, field_id f, bool b)
{
    check_kind(f, CELL_BOOL);
    set_cell(t, ref, f, (union cell){ .i = b });
}

void txn_set_float(struct txn *t, struct ref ref, field_id f, double d)
{
    check_kind(f, CELL_FLOAT);
    set_cell(t, ref, f, (union cell){ .d = d });
}

void txn_set_time(struct txn *t, struct ref ref, field_id f, int64_t seconds)
{
    check_kind(f, CELL_DATETIME);
    set_cell(t, ref, f, (union cell){ .i = seconds });
}

void txn_set_ref(struct txn *t, struct ref ref, field_id f, struct ref to)
{
    check_kind(f, CELL_REF);
    set_cell(t, ref, f, (union cell){ .ref = to });
}

void txn_set_enum(struct txn *t, struct ref ref, field_id f, int value)
{
    check_kind(f, CELL_ENUM);
    assert(value >= 0 && (unsigned)value < model_field(f)->type->e->n);
    set_cell(t, ref, f, (union cell){ .i = value });
}

void txn_set_bits(struct txn *t, struct ref ref, field_id f, uint64_t bits)
{
    check_kind(f, CELL_BITS);
    set_cell(t, ref, f, (union cell){ .bits = bits });
}

void txn_set_refs(struct txn *t, struct ref ref, field_id f, const struct ref *refs, size_t n)
{
    check_kind(f, CELL_REFSET);
    set_cell(t, ref, f, cell_set(refs, n));
}

static void fail_type(struct txn *t, field_id f)
{
    if (!txn_failed(t)) xerr_field_type_error(&t->err, model_field(f)->name);
}

void txn_set_field(struct txn *t, struct ref ref, field_id f, const struct value *v)
{
    union cell c;

    if (txn_failed(t)) return;
    if (cell_from_value(model_field(f), v, &c)) set_cell(t, ref, f, c);
    else fail_type(t, f);
}

void txn_set_value(struct txn *t, struct ref ref, field_id f, const struct value *v)
{
    check_kind(f, CELL_VALUE);
    txn_set_field(t, ref, f, v);
}

/* ---- maps ---- */

static const struct value *own_value(struct txn *t, struct ref ref, field_id f)
{
    const struct row *row = need_row(t, field_class(f), ref);

    return row ? row_value(row, f) : NULL;
}

/* The place of a key; n when it is not there. */
static size_t key_place(const struct value *map, const char *key)
{
    size_t i = 0;

    while (i < map->map.n && !streq(map->map.members[i].key, key)) i++;
    return i;
}

/* The map with the value at a place replaced, added behind the last, or (NULL) taken out. */
static void change_map(struct txn *t, struct ref ref, field_id f, const struct value *map, size_t at,
                       const char *key, const struct value *v)
{
    const struct row *row = snap_get_row(t->work, field_class(f), ref);
    union cell c = row_cell(row, field_index(f));

    if (v && at < map->map.n && value_eq(&map->map.members[at].value, v)) return;
    change_cell(t, ref, f, cell_map_change(&c, at, key, v), true);
}

static bool member_fits(struct txn *t, field_id f, const char *key, const struct value *v)
{
    const struct value one = value_map(&(struct member){ key, *v }, 1);

    if (value_fits(&one, model_field(f)->type)) return true;
    fail_type(t, f);
    return false;
}

void txn_map_add(struct txn *t, struct ref ref, field_id f, const char *key, const struct value *v)
{
    const struct field_desc *desc = model_field(f);
    const struct value *map = own_value(t, ref, f);

    assert(desc->type->kind == TYPE_MAP);
    if (!map || !member_fits(t, f, key, v)) return;
    size_t at = key_place(map, key);
    if (at < map->map.n)
        xerr_map_duplicate_key(&t->err, model.classes[field_class(f)].name, desc->name, REF_STR(ref), key);
    else
        change_map(t, ref, f, map, at, key, v);
}

void txn_map_put(struct txn *t, struct ref ref, field_id f, const char *key, const struct value *v)
{
    const struct value *map = own_value(t, ref, f);

    assert(model_field(f)->type->kind == TYPE_MAP);
    if (map && member_fits(t, f, key, v)) change_map(t, ref, f, map, key_place(map, key), key, v);
}

void txn_map_put_str(struct txn *t, struct ref ref, field_id f, const char *key, const char *s)
{
    struct value v = value_string(s);

    txn_map_put(t, ref, f, key, &v);
}

void txn_map_remove(struct txn *t, struct ref ref, field_id f, const char *key)
{
    const struct value *map = own_value(t, ref, f);

    assert(model_field(f)->type->kind == TYPE_MAP);
    if (!map) return;
    size_t at = key_place(map, key);
    if (at < map->map.n) change_map(t, ref, f, map, at, key, NULL);
}

/* ---- sets ---- */

static void change_value_set(struct txn *t, struct ref ref, field_id f, const struct value *item, bool add)
{
    const struct value *set = own_value(t, ref, f);
    size_t n = 0;

    if (!set) return;
    struct value *items = xcalloc(set->set.n + 1, sizeof(*items));
    for (size_t i = 0; i < set->set.n; i++)
        if (!value_eq(&set->set.items[i], item)) items[n++] = set->set.items[i];
    if (add && n < set->set.n) goto out;   /* it is there: leave it in its place */
    if (add) items[n++] = *item;
    struct value changed = value_set(items, n);
    set_cell(t, ref, f, cell_box(&changed));
out:
    free(items);
}

static void change_ref_set(struct txn *t, struct ref ref, field_id f, struct ref item, bool add)
{
    const struct row *row = need_row(t, field_class(f), ref);

    if (!row) return;
    union cell c = cell_share(row_cell(row, field_index(f)), CELL_REFSET);
    if (add) cell_set_add(&c, item);
    else cell_set_remove(&c, item);
    set_cell(t, ref, f, c);
}

static void change_bits(struct txn *t, struct ref ref, field_id f, int bit, bool add)
{
    const struct row *row = need_row(t, field_class(f), ref);

    if (!row) return;
    uint64_t bits = row_cell(row, field_index(f)).bits, one = UINT64_C(1) << bit;
    set_cell(t, ref, f, (union cell){ .bits = add ? bits | one : bits & ~one });
}

static void change_set(struct txn *t, struct ref ref, field_id f, const struct value *item, bool add)
{
    const struct field_desc *desc = model_field(f);

    assert(desc->type->kind == TYPE_SET);
    if (txn_failed(t)) return;
    if (!value_fits(item, desc->type->elem)) fail_type(t, f);
    else if (desc->cell == CELL_REFSET) change_ref_set(t, ref, f, item->ref, add);
    else if (desc->cell == CELL_BITS) change_bits(t, ref, f, enum_index(desc->type->elem->e, item->s), add);
    else change_value_set(t, ref, f, item, add);
}

void txn_set_add(struct txn *t, struct ref ref, field_id f, const struct value *item)
{
    change_set(t, ref, f, item, true);
}

void txn_set_remove(struct txn *t, struct ref ref, field_id f, const struct value *item)
{
    change_set(t, ref, f, item, false);
}

/* ---- whole rows ---- */

void txn_create(struct txn *t, enum class_id cls, struct ref ref)
{
    const struct kind *kind = &t->db->kinds->kinds[cls];
    char uuid[UUID_TEXT];

    if (txn_failed(t)) return;
    assert(kind->cls->stored && !ref_is_null(ref));
    if (snap_get_row(t->work, cls, ref)) {
        xerr_db_uniqueness_constraint_violation(&t->err, kind->cls->name, "_ref", REF_STR(ref));
        return;
    }
    struct row *row = row_new(kind, ref, ++t->db->next_serial);
    if (kind->cls->uuid) {
        row_replace(row, field_index(kind->cls->uuid), cell_text(uuid_new(uuid), UUID_TEXT - 1));
    }
    make_own(t, row);
    t->bytes += 512;
    snap_index_uuid(t->work, row, true);
    snap_index_name(t->work, row, true);
}

/* A reference of another row to one that goes away becomes null, or leaves its set. */
static void forget_target(struct txn *t, field_id forward, struct ref holder, struct ref gone)
{
    struct row *row = own_row(t, field_class(forward), holder);
    unsigned i = field_index(forward);

    if (!row) return;
    union cell c = row_cell(row, i);
    if (model_field(forward)->cell == CELL_REFSET) cell_set_remove(&c, gone);
    else if (ref_eq(c.ref, gone)) c.ref = REF_NULL;
    row_put(row, i, c);
    mark(t, row, i);
}

void txn_destroy(struct txn *t, enum class_id cls, struct ref ref)
{
    struct row *row = need_row(t, cls, ref);
    const union cell nothing = { .ref = REF_NULL };

    if (!row) return;
    row = own_row(t, cls, ref);
    for (unsigned i = 0; i < row->kind->cls->n_fields; i++) {
        const struct field_desc *f = &row->kind->cls->fields[i];
        union cell c = row_cell(row, i);
        if (row->kind->inverse[i]) {
            relink(t, f, row->kind->inverse[i], ref, &c, &nothing);
        } else if (f->inverse) {
            struct refset *holders = forward_refs(CELL_REFSET, &c);
            for (size_t h = 0; h < holders->n; h++)
                if (!ref_eq(holders->refs[h], ref)) forget_target(t, f->inverse, holders->refs[h], ref);
            free(holders);
        }
    }
    snap_index_uuid(t->work, row, false);
    snap_index_name(t->work, row, false);
    snap_remove_row(t->work, row);
}

void txn_touch(struct txn *t, enum class_id cls, struct ref ref)
{
    if (need_row(t, cls, ref)) own_row(t, cls, ref);
}

void txn_rewrite(struct txn *t, enum class_id cls, struct ref ref, unsigned field)
{
    if (need_row(t, cls, ref)) mark(t, own_row(t, cls, ref), field);
}

int db_set_field(struct db *db, struct ref ref, field_id f, const struct value *v, struct xerr *err)
{
    struct txn *t = db_begin(db);

    txn_set_field(t, ref, f, v);
    return db_commit(t, err);
}
