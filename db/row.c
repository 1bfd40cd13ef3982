/* Rows: their life, their fields, their encodings.
 * Called by: everyone who reads the database.  Calls: cell, model, lib/xmlrpc, lib/json. */
#include "db/row.h"

#include <assert.h>

#include "lib/json.h"
#include "lib/xmlrpc.h"

/* ---- kinds ---- */

static uint8_t packed_size(const struct field_desc *f)
{
    if (f->cell == CELL_REF) return 16;
    return f->cell == CELL_BOOL || f->cell == CELL_ENUM ? 1 : 8;
}

/* Large fields before small ones, so that each is aligned. */
static int lay_out(struct kind *k)
{
    static const uint8_t sizes[] = { 16, 8, 1 };
    const struct class_desc *cls = k->cls;

    k->offset = xcalloc(cls->n_fields, sizeof(*k->offset));
    k->size = xcalloc(cls->n_fields, sizeof(*k->size));
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        for (unsigned i = 0; i < cls->n_fields; i++) {
            const struct field_desc *f = &cls->fields[i];
            if (packed_size(f) != sizes[s]) continue;
            if (f->cell == CELL_ENUM && f->type->e->n > 256) return -1;
            k->size[i] = sizes[s];
            k->offset[i] = (uint16_t)k->data_size;
            k->data_size += sizes[s];
        }
    }
    return 0;
}

static void make_frames(struct kind *k)
{
    const char *names[MAX_FIELDS];

    for (unsigned i = 0; i < k->cls->n_fields; i++) names[i] = k->cls->fields[i].name;
    xmlrpc_frame(names, k->cls->n_fields, &k->frame[ENCODING_XML]);
    json_frame(names, k->cls->n_fields, &k->frame[ENCODING_JSON]);
}

static struct row *row_blank(const struct kind *kind);

static int kind_init(struct kind *k, const struct class_desc *cls, struct kinds *all, struct xerr *err)
{
    *k = (struct kind){ .cls = cls, .all = all };
    if (!cls->stored) return 0;
    if (cls->n_fields > MAX_FIELDS)
        return xerr_internal(err, "class %s has %u fields, the database takes %d", cls->name, cls->n_fields,
                             MAX_FIELDS);
    k->inverse = xcalloc(cls->n_fields, sizeof(*k->inverse));
    k->heap = xcalloc(cls->n_fields, sizeof(*k->heap));
    k->preset = xcalloc(cls->n_fields, sizeof(*k->preset));
    k->forward = xcalloc(cls->n_fields, sizeof(*k->forward));
    make_frames(k);
    if (lay_out(k)) return xerr_internal(err, "class %s has an enumeration that is too large", cls->name);
    k->blank = row_blank(k);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct field_desc *f = &cls->fields[i];
        union cell c;
        if (!cell_from_value(f, &f->default_value, &c))
            return xerr_internal(err, "the default of %s.%s is not of its type: %s", cls->name, f->name,
                                 f->default_text);
        row_put(k->blank, i, c);
        if (cell_is_counted(f->cell)) {
            k->heap[k->n_heap++] = (uint8_t)i;
            if (c.text) k->preset[k->n_preset++] = (uint8_t)i;   /* whatever it is: not NULL */
        }
        if (f->persistent && !f->inverse) field_set_add(&k->persistent, i);
        else k->has_volatile = true;
    }
    /* Events of such a class could not be told apart by revision. */
    if (cls->evented && !kind_is_stored(k))
        return xerr_internal(err, "class %s is evented but not stored", cls->name);
    return 0;
}

/* The schema says of a back-reference where it comes from; transactions ask the other way round. */
static int link_inverses(struct kinds *all, struct xerr *err)
{
    for (unsigned c = 0; c < all->n; c++) {
        const struct class_desc *cls = all->kinds[c].cls;
        for (unsigned i = 0; cls->stored && i < cls->n_fields; i++) {
            const struct field_desc *back = &cls->fields[i];
            if (!back->inverse) continue;
            const struct field_desc *forward = model_field(back->inverse);
            struct kind *from = &all->kinds[field_class(back->inverse)];
            bool takes_refs = forward->cell == CELL_REF || forward->cell == CELL_REFSET;
            if (back->cell != CELL_REFSET || !takes_refs || !from->inverse ||
                from->inverse[field_index(forward->id)])
                return xerr_internal(err, "%s.%s cannot be the inverse of %s.%s", cls->name, back->name,
                                     from->cls->name, forward->name);
            from->inverse[field_index(forward->id)] = back->id;
            from->forward[from->n_forward++] = (uint8_t)field_index(forward->id);
        }
    }
    return 0;
}

int kinds_new(struct kinds **ret_kinds, struct xerr *err)
{
    struct kinds *all = xcalloc(1, sizeof(*all) + model.n_classes * sizeof(all->kinds[0]));

    all->n = model.n_classes;
    for (unsigned c = 0; c < all->n; c++)
        all->kinds[c].cls = &model.classes[c];
    for (unsigned c = 0; c < all->n; c++)
        if (kind_init(&all->kinds[c], &model.classes[c], all, err)) goto fail;
    if (link_inverses(all, err)) goto fail;
    *ret_kinds = all;
    return 0;
fail:
    kinds_free(all);
    return -1;
}

void kinds_free(struct kinds *all)
{
    if (!all) return;
    for (unsigned c = 0; c < all->n; c++) {
        struct kind *k = &all->kinds[c];
        if (k->blank) row_unref(k->blank);
        for (int e = 0; e < N_ENCODINGS; e++) wire_frame_clear(&k->frame[e]);
        free(k->offset);
        free(k->size);
        free(k->heap);
        free(k->preset);
        free(k->forward);
        free(k->inverse);
    }
    free(all);
}

/* ---- life ---- */

static struct row *row_alloc(const struct kind *kind, struct ref ref, uint64_t serial)
{
    struct row *r = xmalloc(sizeof(*r) + kind->data_size);

    atomic_init(&r->leaf.refs, 1);
    r->leaf.tag = 0;
    r->leaf.key = ref;
    r->kind = kind;
    r->serial = serial;
    r->created = r->revision = 0;
    atomic_init(&r->stamp, 0);
    return r;
}

static struct row *row_blank(const struct kind *kind)
{
    struct row *r = row_alloc(kind, REF_NULL, 0);

    memset(r->data, 0, kind->data_size);
    return r;
}

static void share_cells(struct row *r, const struct row *from, const uint8_t *fields, unsigned n)
{
    const struct kind *kind = r->kind;

    memcpy(r->data, from->data, kind->data_size);
    for (unsigned i = 0; i < n; i++)
        cell_share(row_cell(r, fields[i]), kind->cls->fields[fields[i]].cell);
}

void row_replace(struct row *r, unsigned field, union cell c)
{
    union cell old = row_cell(r, field);

    row_put(r, field, c);
    cell_clear(&old, r->kind->cls->fields[field].cell);
}

struct row *row_new(const struct kind *kind, struct ref ref, uint64_t serial)
{
    struct row *r = row_alloc(kind, ref, serial);

    share_cells(r, kind->blank, kind->preset, kind->n_preset);
    return r;
}

struct row *row_copy(const struct row *from)
{
    struct row *r = row_alloc(from->kind, from->leaf.key, from->serial);

    share_cells(r, from, from->kind->heap, from->kind->n_heap);
    return r;
}

struct row *row_ref_get(struct row *r)
{
    atomic_fetch_add_explicit(&r->leaf.refs, 1, memory_order_relaxed);
    return r;
}

void row_unref(struct row *r)
{
    const struct kind *kind = r->kind;

    if (atomic_fetch_sub_explicit(&r->leaf.refs, 1, memory_order_acq_rel) != 1) return;
    for (unsigned h = 0; h < kind->n_heap; h++) {
        union cell c = row_cell(r, kind->heap[h]);
        cell_clear(&c, kind->cls->fields[kind->heap[h]].cell);
    }
    free(r);
}

void row_leaf_unref(struct pleaf *leaf)
{
    row_unref(row_of_leaf(leaf));
}

/* ---- fields ---- */

static union cell cell_at(const struct row *r, field_id f, enum cell_kind kind)
{
    const struct class_desc *cls = r->kind->cls;

    assert(field_class(f) == (unsigned)cls->id && field_index(f) < cls->n_fields);
    assert(cls->fields[field_index(f)].cell == kind);
    (void)kind;
    return row_cell(r, field_index(f));
}

struct ref row_ref_of(const struct row *r) { return r->leaf.key; }
uint64_t row_serial(const struct row *r) { return r->serial; }
uint64_t row_version(const struct row *r) { return atomic_load_explicit(&r->stamp, memory_order_acquire); }
enum class_id row_class(const struct row *r) { return (enum class_id)r->kind->cls->id; }
int64_t row_int(const struct row *r, field_id f) { return cell_at(r, f, CELL_INT).i; }
bool row_bool(const struct row *r, field_id f) { return cell_at(r, f, CELL_BOOL).i != 0; }
double row_float(const struct row *r, field_id f) { return cell_at(r, f, CELL_FLOAT).d; }
int64_t row_time(const struct row *r, field_id f) { return cell_at(r, f, CELL_DATETIME).i; }
struct ref row_ref(const struct row *r, field_id f) { return cell_at(r, f, CELL_REF).ref; }
int row_enum(const struct row *r, field_id f) { return (int)cell_at(r, f, CELL_ENUM).i; }
uint64_t row_bits(const struct row *r, field_id f) { return cell_at(r, f, CELL_BITS).bits; }

const char *row_str(const struct row *r, field_id f)
{
    union cell c = cell_at(r, f, CELL_STRING);

    return cell_str(&c);
}

const struct refset *row_refs(const struct row *r, field_id f)
{
    union cell c = cell_at(r, f, CELL_REFSET);

    return cell_refs(&c);
}

const char *row_uuid(const struct row *r)
{
    return r->kind->cls->uuid ? row_str(r, r->kind->cls->uuid) : "";
}

const struct value *row_value(const struct row *r, field_id f)
{
    union cell c = cell_at(r, f, CELL_VALUE);

    return cell_value(&c, r->kind->cls->fields[field_index(f)].type);
}

bool refset_has(const struct refset *set, struct ref ref)
{
    size_t low = 0, high = set->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = ref_cmp(set->refs[mid], ref);
        if (order == 0) return true;
        if (order < 0) low = mid + 1;
        else high = mid;
    }
    return false;
}

const char *row_map_str(const struct row *r, field_id f, const char *key, const char *fallback)
{
    return value_get_str(row_value(r, f), key, fallback);
}

struct value row_field_value(const struct row *r, const struct field_desc *f, struct arena *a)
{
    assert(field_class(f->id) == (unsigned)r->kind->cls->id);
    union cell c = row_cell(r, field_index(f->id));
    struct value v = cell_to_value(f, &c, a);
    return value_copy(a, &v);
}

struct value row_record(const struct row *r, struct arena *a)
{
    const struct class_desc *cls = r->kind->cls;
    struct member *members = arena_new_array(a, struct member, cls->n_fields);

    for (unsigned i = 0; i < cls->n_fields; i++)
        members[i] = (struct member){ cls->fields[i].name, row_field_value(r, &cls->fields[i], a) };
    return value_map(members, cls->n_fields);
}

/* ---- encodings ---- */

/* Of many rows most are in no cache of the processor: their parts are asked for all at once, not one by one. */
static void fetch_early(const struct row *r)
{
    const struct kind *k = r->kind;

    for (size_t at = 0; at < k->data_size; at += 64) __builtin_prefetch(r->data + at);
    for (unsigned h = 0; h < k->n_heap; h++) __builtin_prefetch(row_cell(r, k->heap[h]).text);
}

void row_encode(const struct row *r, enum encoding e, struct arena *scratch, struct strbuf *out)
{
    const struct class_desc *cls = r->kind->cls;
    struct value values[MAX_FIELDS];

    fetch_early(r);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        union cell c = row_cell(r, i);
        values[i] = cell_to_value(&cls->fields[i], &c, scratch);
    }
    if (e == ENCODING_JSON) json_encode_record(&r->kind->frame[e], values, out);
    else xmlrpc_encode_record(&r->kind->frame[e], values, out);
    arena_reset(scratch);
}
