/* Cells: sharing, comparison, conversion from and to values.
 * Called by: rows, transactions, the store.  Calls: model, value. */
#include "db/cell.h"

#include <assert.h>
#include <errno.h>

union cell cell_share(union cell c, enum cell_kind kind)
{
    switch (kind) {
    case CELL_STRING:
        if (c.text) atomic_fetch_add_explicit(&c.text->refs, 1, memory_order_relaxed);
        break;
    case CELL_REFSET:
        if (c.set) atomic_fetch_add_explicit(&c.set->refs, 1, memory_order_relaxed);
        break;
    case CELL_VALUE:
        if (c.box) atomic_fetch_add_explicit(&c.box->refs, 1, memory_order_relaxed);
        break;
    case CELL_INT:
    case CELL_BOOL:
    case CELL_FLOAT:
    case CELL_DATETIME:
    case CELL_REF:
    case CELL_ENUM:
    case CELL_BITS:
        break;
    }
    return c;
}

void cell_clear(union cell *c, enum cell_kind kind)
{
    switch (kind) {
    case CELL_STRING:
        if (c->text && atomic_fetch_sub_explicit(&c->text->refs, 1, memory_order_acq_rel) == 1) free(c->text);
        break;
    case CELL_REFSET:
        if (c->set && atomic_fetch_sub_explicit(&c->set->refs, 1, memory_order_acq_rel) == 1) free(c->set);
        break;
    case CELL_VALUE:
        if (c->box && atomic_fetch_sub_explicit(&c->box->refs, 1, memory_order_acq_rel) == 1) free(c->box);
        break;
    case CELL_INT:
    case CELL_BOOL:
    case CELL_FLOAT:
    case CELL_DATETIME:
    case CELL_REF:
    case CELL_ENUM:
    case CELL_BITS:
        break;
    }
    memset(c, 0, sizeof(*c));
}

const char *cell_str(const union cell *c)
{
    return c->text ? c->text->s : "";
}

const struct refset *cell_refs(const union cell *c)
{
    static const struct refset empty = { .n = 0 };

    return c->set ? (const struct refset *)&c->set->n : &empty;
}

_Static_assert(offsetof(struct refbox, items) - offsetof(struct refbox, n) == offsetof(struct refset, refs),
               "a refbox holds a refset");

const struct value *cell_value(const union cell *c, const struct type_desc *type)
{
    static const struct value none = { .kind = VALUE_VOID };
    static const struct value set = { .kind = VALUE_SET };
    static const struct value map = { .kind = VALUE_MAP };

    if (c->box) return &c->box->value;
    if (type->kind == TYPE_SET) return &set;
    return type->kind == TYPE_MAP || type->kind == TYPE_RECORD ? &map : &none;
}

static bool set_eq(const struct refset *a, const struct refset *b)
{
    return a->n == b->n && memcmp(a->refs, b->refs, a->n * sizeof(a->refs[0])) == 0;
}

static bool text_eq(const struct text *a, const struct text *b)
{
    size_t a_len = a ? a->len : 0, b_len = b ? b->len : 0;

    return a == b || (a_len == b_len && (!a_len || memcmp(a->s, b->s, a_len) == 0));
}

bool cell_eq(const union cell *a, const union cell *b, enum cell_kind kind)
{
    switch (kind) {
    case CELL_STRING: return text_eq(a->text, b->text);
    case CELL_INT:
    case CELL_BOOL:
    case CELL_DATETIME:
    case CELL_ENUM: return a->i == b->i;
    case CELL_FLOAT: return memcmp(&a->d, &b->d, sizeof(a->d)) == 0;
    case CELL_REF: return ref_eq(a->ref, b->ref);
    case CELL_BITS: return a->bits == b->bits;
    case CELL_REFSET: return a->set == b->set || set_eq(cell_refs(a), cell_refs(b));
    case CELL_VALUE:
        return a->box == b->box || (a->box && b->box && value_eq(&a->box->value, &b->box->value));
    }
    abort();
}

/* ---- text ---- */

union cell cell_text(const char *s, size_t len)
{
    union cell c = { .ref = REF_NULL };

    if (!len) return c;
    assert(len < UINT32_MAX);
    c.text = xmalloc(sizeof(*c.text) + len + 1);
    atomic_init(&c.text->refs, 1);
    c.text->len = (uint32_t)len;
    memcpy(c.text->s, s, len);
    c.text->s[len] = '\0';
    return c;
}

/* ---- sets of references ---- */

static struct refbox *refbox_new(size_t n)
{
    struct refbox *box = xmalloc(sizeof(*box) + n * sizeof(box->items[0]));

    atomic_init(&box->refs, 1);
    box->n = n;
    return box;
}

static int ref_order(const void *a, const void *b)
{
    return ref_cmp(*(const struct ref *)a, *(const struct ref *)b);
}

union cell cell_set(const struct ref *refs, size_t n)
{
    union cell c = { .ref = REF_NULL };

    if (!n) return c;
    c.set = refbox_new(n);
    memcpy(c.set->items, refs, n * sizeof(*refs));
    qsort(c.set->items, n, sizeof(*refs), ref_order);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (ref_is_null(c.set->items[i])) continue;
        if (kept && ref_eq(c.set->items[kept - 1], c.set->items[i])) continue;
        c.set->items[kept++] = c.set->items[i];
    }
    c.set->n = kept;
    if (!kept) cell_clear(&c, CELL_REFSET);
    return c;
}

/* The place of a reference in a sorted set, or where it would go. */
static size_t set_place(const struct refset *set, struct ref ref)
{
    size_t low = 0, high = set->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ref_cmp(set->refs[mid], ref) < 0) low = mid + 1;
        else high = mid;
    }
    return low;
}

bool cell_set_add(union cell *c, struct ref ref)
{
    const struct refset *old = cell_refs(c);
    size_t at = set_place(old, ref);

    if (at < old->n && ref_eq(old->refs[at], ref)) return false;
    if (c->set && atomic_load_explicit(&c->set->refs, memory_order_acquire) == 1) {
        struct refbox *mine = xrealloc(c->set, sizeof(*mine) + (old->n + 1) * sizeof(ref));
        memmove(mine->items + at + 1, mine->items + at, (mine->n - at) * sizeof(ref));
        mine->items[at] = ref;
        mine->n++;
        c->set = mine;
        return true;
    }
    struct refbox *set = refbox_new(old->n + 1);
    memcpy(set->items, old->refs, at * sizeof(ref));
    set->items[at] = ref;
    memcpy(set->items + at + 1, old->refs + at, (old->n - at) * sizeof(ref));
    cell_clear(c, CELL_REFSET);
    c->set = set;
    return true;
}

bool cell_set_remove(union cell *c, struct ref ref)
{
    const struct refset *old = cell_refs(c);
    size_t at = set_place(old, ref);

    if (at == old->n || !ref_eq(old->refs[at], ref)) return false;
    struct refbox *set = old->n > 1 ? refbox_new(old->n - 1) : NULL;
    if (set) {
        memcpy(set->items, old->refs, at * sizeof(ref));
        memcpy(set->items + at, old->refs + at + 1, (old->n - at - 1) * sizeof(ref));
    }
    cell_clear(c, CELL_REFSET);
    c->set = set;
    return true;
}

/* ---- values in one block ---- */

/* Bytes for the tree below a value: structs first, all text behind them. */
static void measure(const struct value *v, size_t *structs, size_t *texts)
{
    if (v->kind == VALUE_STRING) {
        *texts += v->len + 1;
    } else if (v->kind == VALUE_SET) {
        *structs += v->set.n * sizeof(struct value);
        for (size_t i = 0; i < v->set.n; i++) measure(&v->set.items[i], structs, texts);
    } else if (v->kind == VALUE_MAP) {
        *structs += v->map.n * sizeof(struct member);
        for (size_t i = 0; i < v->map.n; i++) {
            *texts += strlen(v->map.members[i].key) + 1;
            measure(&v->map.members[i].value, structs, texts);
        }
    }
}

struct filler { char *structs, *texts; };

static const char *fill_text(struct filler *at, const char *s, size_t len)
{
    char *copy = at->texts;

    memcpy(copy, s, len);
    copy[len] = '\0';
    at->texts += len + 1;
    return copy;
}

static struct value fill(struct filler *at, const struct value *v)
{
    struct value out = *v;

    if (v->kind == VALUE_STRING) {
        out.s = fill_text(at, v->s, v->len);
    } else if (v->kind == VALUE_SET) {
        struct value *items = (struct value *)at->structs;
        at->structs += v->set.n * sizeof(*items);
        for (size_t i = 0; i < v->set.n; i++) items[i] = fill(at, &v->set.items[i]);
        out.set.items = items;
    } else if (v->kind == VALUE_MAP) {
        struct member *members = (struct member *)at->structs;
        at->structs += v->map.n * sizeof(*members);
        for (size_t i = 0; i < v->map.n; i++) {
            const char *key = v->map.members[i].key;
            members[i].key = fill_text(at, key, strlen(key));
            members[i].value = fill(at, &v->map.members[i].value);
        }
        out.map.members = members;
    }
    return out;
}

static struct box *box_alloc(size_t structs, size_t texts)
{
    struct box *box = xmalloc(sizeof(*box) + structs + texts);

    atomic_init(&box->refs, 1);
    box->texts_len = texts;
    box->wasted = 0;
    box->texts = (char *)(box + 1) + structs;
    return box;
}

union cell cell_box(const struct value *v)
{
    union cell c = { .ref = REF_NULL };
    size_t structs = 0, texts = 0;

    if (v->kind == VALUE_VOID) return c;
    if (v->kind == VALUE_SET && !v->set.n) return c;
    if (v->kind == VALUE_MAP && !v->map.n) return c;
    measure(v, &structs, &texts);
    c.box = box_alloc(structs, texts);
    struct filler at = { (char *)(c.box + 1), c.box->texts };
    c.box->value = fill(&at, v);
    return c;
}

/* Bytes of text in an entry whose value has no structs of its own; 0 = it has. */
static size_t entry_texts(const char *key, const struct value *v)
{
    if (v->kind == VALUE_SET || v->kind == VALUE_MAP) return 0;
    return strlen(key) + 1 + (v->kind == VALUE_STRING ? v->len + 1 : 0);
}

/* The entries of a map and their text as they are, moved to another block, which has room behind both.
 * False when one of them is no plain entry. */
static bool move_entries(struct box *to, const struct box *from)
{
    struct member *members = (struct member *)(to + 1);
    const struct member *old = from->value.map.members;

    memcpy(to->texts, from->texts, from->texts_len);
    for (size_t i = 0; i < from->value.map.n; i++) {
        members[i] = old[i];
        members[i].key = to->texts + (old[i].key - from->texts);
        if (old[i].value.kind == VALUE_SET || old[i].value.kind == VALUE_MAP) return false;
        if (old[i].value.kind == VALUE_STRING)
            members[i].value.s = to->texts + (old[i].value.s - from->texts);
    }
    return true;
}

/* Without any old text: for maps with structured values, and when too much of a block is waste. */
static union cell map_rebuilt(const struct value *map, size_t at, const char *key, const struct value *v)
{
    size_t n = map->map.n;
    struct member *members = xmalloc((n + 1) * sizeof(*members));

    if (n) memcpy(members, map->map.members, n * sizeof(*members));
    if (v) {
        members[at] = (struct member){ key, *v };
        n += at == n;
    } else {
        memmove(&members[at], &members[at + 1], (--n - at) * sizeof(*members));
    }
    struct value changed = value_map(members, n);
    union cell c = cell_box(&changed);
    free(members);
    return c;
}

union cell cell_map_change(const union cell *map, size_t at, const char *key, const struct value *v)
{
    static const struct value empty = { .kind = VALUE_MAP };
    const struct box *old = map->box;
    const struct value *entries = old ? &old->value : &empty;
    size_t n = entries->map.n, more = v ? entry_texts(key, v) : 0;
    const struct member *gone = at < n ? &entries->map.members[at] : NULL;

    if (!old || n < 8 || (v && !more) || old->wasted > old->texts_len / 2 || (n == 1 && !v))
        return map_rebuilt(entries, at, key, v);
    struct box *box = box_alloc((n + 1) * sizeof(struct member), old->texts_len + more);
    if (!move_entries(box, old)) {
        free(box);
        return map_rebuilt(entries, at, key, v);
    }
    struct member *members = (struct member *)(box + 1);
    struct filler fill_at = { NULL, box->texts + old->texts_len };
    box->wasted = old->wasted + (gone ? entry_texts(gone->key, &gone->value) : 0);
    if (v) {
        members[at].key = fill_text(&fill_at, key, strlen(key));
        members[at].value = fill(&fill_at, v);
        n += !gone;
    } else {
        memmove(&members[at], &members[at + 1], (--n - at) * sizeof(*members));
    }
    box->value = value_map(members, n);
    return (union cell){ .box = box };
}

/* ---- types ---- */

bool map_key_fits(const char *key, const struct type_desc *type)
{
    struct ref r;
    char *end;

    if (type->kind == TYPE_REF) return ref_parse(key, &r);
    if (type->kind == TYPE_ENUM) return enum_index(type->e, key) >= 0;
    if (type->kind != TYPE_INT) return true;
    errno = 0;
    strtoll(key, &end, 10);
    return *key && !*end && !errno;
}

static bool set_fits(const struct value *v, const struct type_desc *type)
{
    for (size_t i = 0; i < v->set.n; i++)
        if (!value_fits(&v->set.items[i], type->elem)) return false;
    return true;
}

static bool map_fits(const struct value *v, const struct type_desc *type)
{
    for (size_t i = 0; i < v->map.n; i++) {
        if (!map_key_fits(v->map.members[i].key, type->key)) return false;
        if (!value_fits(&v->map.members[i].value, type->elem)) return false;
    }
    return true;
}

bool value_fits(const struct value *v, const struct type_desc *type)
{
    switch (type->kind) {
    case TYPE_VOID: return v->kind == VALUE_VOID;
    case TYPE_STRING: return v->kind == VALUE_STRING;
    case TYPE_INT: return v->kind == VALUE_INT || v->kind == VALUE_INT32;
    case TYPE_BOOL: return v->kind == VALUE_BOOL;
    case TYPE_FLOAT: return v->kind == VALUE_FLOAT;
    case TYPE_DATETIME: return v->kind == VALUE_DATETIME || v->kind == VALUE_LOCALTIME;
    case TYPE_REF: return v->kind == VALUE_REF;
    case TYPE_ENUM: return v->kind == VALUE_STRING && enum_index(type->e, v->s) >= 0;
    case TYPE_SET: return v->kind == VALUE_SET && set_fits(v, type);
    case TYPE_MAP: return v->kind == VALUE_MAP && map_fits(v, type);
    case TYPE_RECORD: return v->kind == VALUE_MAP;
    case TYPE_OPTION: return v->kind == VALUE_VOID || value_fits(v, type->elem);
    case TYPE_BATCH: return false;
    }
    abort();
}

static bool bits_from_set(const struct value *v, const struct enum_desc *e, uint64_t *ret_bits)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < v->set.n; i++) {
        const struct value *item = &v->set.items[i];
        int index = item->kind == VALUE_STRING ? enum_index(e, item->s) : -1;
        if (index < 0) return false;
        bits |= UINT64_C(1) << index;
    }
    *ret_bits = bits;
    return true;
}

static bool refs_from_set(const struct value *v, union cell *ret_cell)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct ref *refs = arena_new_array(a, struct ref, v->set.n);

    for (size_t i = 0; i < v->set.n; i++) {
        if (v->set.items[i].kind != VALUE_REF) return false;
        refs[i] = v->set.items[i].ref;
    }
    *ret_cell = cell_set(refs, v->set.n);
    return true;
}

bool cell_from_value(const struct field_desc *f, const struct value *v, union cell *ret_cell)
{
    union cell c = { .ref = REF_NULL };

    switch (f->cell) {
    case CELL_STRING:
        if (v->kind != VALUE_STRING) return false;
        c = cell_text(v->s, v->len);
        break;
    case CELL_INT:
        if (v->kind != VALUE_INT && v->kind != VALUE_INT32) return false;
        c.i = v->i;
        break;
    case CELL_BOOL:
        if (v->kind != VALUE_BOOL) return false;
        c.i = v->b;
        break;
    case CELL_FLOAT:
        if (v->kind != VALUE_FLOAT) return false;
        c.d = v->d;
        break;
    case CELL_DATETIME:
        if (v->kind != VALUE_DATETIME && v->kind != VALUE_LOCALTIME) return false;
        c.i = v->i;
        break;
    case CELL_REF:
        if (v->kind != VALUE_REF) return false;
        c.ref = v->ref;
        break;
    case CELL_ENUM:
        if (v->kind != VALUE_STRING || (c.i = enum_index(f->type->e, v->s)) < 0) return false;
        break;
    case CELL_BITS:
        if (v->kind != VALUE_SET || !bits_from_set(v, f->type->elem->e, &c.bits)) return false;
        break;
    case CELL_REFSET:
        if (v->kind != VALUE_SET || !refs_from_set(v, &c)) return false;
        break;
    case CELL_VALUE:
        if (!value_fits(v, f->type)) return false;
        c = cell_box(v);
        break;
    }
    *ret_cell = c;
    return true;
}

static struct value bits_to_value(uint64_t bits, const struct enum_desc *e, struct arena *a)
{
    struct value_builder b = value_builder(a);

    for (unsigned i = 0; i < e->n; i++)
        if (bits >> i & 1) value_push(&b, value_string(e->values[i]));
    return value_built_set(&b);
}

static struct value refs_to_value(const struct refset *set, struct arena *a)
{
    struct value *items = arena_new_array(a, struct value, set->n);

    for (size_t i = 0; i < set->n; i++) items[i] = value_ref(set->refs[i]);
    return value_set(items, set->n);
}

struct value cell_to_value(const struct field_desc *f, const union cell *c, struct arena *a)
{
    switch (f->cell) {
    case CELL_STRING:
        return (struct value){ .kind = VALUE_STRING, .s = cell_str(c), .len = c->text ? c->text->len : 0 };
    case CELL_INT: return value_int(c->i);
    case CELL_BOOL: return value_bool(c->i != 0);
    case CELL_FLOAT: return value_float(c->d);
    case CELL_DATETIME: return value_datetime(c->i);
    case CELL_REF: return value_ref(c->ref);
    case CELL_ENUM: return value_string(f->type->e->values[c->i]);
    case CELL_BITS: return bits_to_value(c->bits, f->type->elem->e, a);
    case CELL_REFSET: return refs_to_value(cell_refs(c), a);
    case CELL_VALUE: return *cell_value(c, f->type);
    }
    abort();
}
