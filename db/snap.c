/* Snapshots: lookups, iteration, and changes of a root that nobody else sees yet.
 * Called by: readers, transactions, the publisher.  Calls: ptrie, row. */
#include "db/snap.h"

#include "gen/errors.h"

#include <assert.h>

/* ---- life ---- */

static void table_unref(struct table *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) return;
    ptrie_clear(&t->rows, row_leaf_unref);
    ptrie_clear(&t->uuids, entry_leaf_unref);
    ptrie_clear(&t->names, entry_leaf_unref);
    free(t);
}

static void chunk_unref(struct chunk *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
    for (int i = 0; i < CHUNK_TABLES; i++) table_unref(c->tables[i]);
    free(c);
}

static void tombs_unref(struct tombs *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < t->n; i++)
        if (atomic_fetch_sub_explicit(&t->blocks[i]->refs, 1, memory_order_acq_rel) == 1) free(t->blocks[i]);
    free(t);
}

static struct snap *snap_alloc(struct kinds *kinds, _Atomic int *live)
{
    unsigned n = (kinds->n + CHUNK_TABLES - 1) / CHUNK_TABLES;
    struct snap *s = xcalloc(1, sizeof(*s) + n * sizeof(s->chunks[0]));

    atomic_init(&s->refs, 1);
    atomic_fetch_add_explicit(live, 1, memory_order_relaxed);
    s->live = live;
    s->kinds = kinds;
    s->n_chunks = n;
    return s;
}

struct snap *snap_new_empty(struct kinds *kinds, _Atomic int *live)
{
    return snap_alloc(kinds, live);
}

struct snap *snap_fork(const struct snap *from)
{
    struct snap *s = snap_alloc(from->kinds, from->live);

    for (unsigned i = 0; i < s->n_chunks; i++) {
        s->chunks[i] = from->chunks[i];
        if (s->chunks[i]) atomic_fetch_add_explicit(&s->chunks[i]->refs, 1, memory_order_relaxed);
    }
    return s;
}

struct snap *snap_ref(struct snap *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void snap_unref(struct snap *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    for (unsigned i = 0; i < s->n_chunks; i++) chunk_unref(s->chunks[i]);
    ptrie_clear(&s->stamps, entry_leaf_unref);
    tombs_unref(s->tombs);
    atomic_fetch_sub_explicit(s->live, 1, memory_order_release);
    free(s);
}

/* ---- tables ---- */

static const struct table *table_of(const struct snap *s, unsigned cls)
{
    const struct chunk *c = s->chunks[cls / CHUNK_TABLES];

    return c ? c->tables[cls % CHUNK_TABLES] : NULL;
}

static struct chunk *chunk_own(struct chunk **slot)
{
    struct chunk *old = *slot;

    if (old && atomic_load_explicit(&old->refs, memory_order_acquire) == 1) return old;
    struct chunk *c = xcalloc(1, sizeof(*c));
    atomic_init(&c->refs, 1);
    for (int i = 0; old && i < CHUNK_TABLES; i++) {
        c->tables[i] = old->tables[i];
        if (c->tables[i]) atomic_fetch_add_explicit(&c->tables[i]->refs, 1, memory_order_relaxed);
    }
    chunk_unref(old);
    return *slot = c;
}

static struct table *table_own(struct snap *s, unsigned cls)
{
    struct chunk *c = chunk_own(&s->chunks[cls / CHUNK_TABLES]);
    struct table **slot = &c->tables[cls % CHUNK_TABLES], *old = *slot;

    if (old && atomic_load_explicit(&old->refs, memory_order_acquire) == 1) return old;
    struct table *t = xcalloc(1, sizeof(*t));
    atomic_init(&t->refs, 1);
    if (old) {
        t->count = old->count;
        t->rows = ptrie_copy(&old->rows);
        t->uuids = ptrie_copy(&old->uuids);
        t->names = ptrie_copy(&old->names);
    }
    table_unref(old);
    return *slot = t;
}

/* ---- indexes ---- */

void entry_leaf_unref(struct pleaf *leaf)
{
    if (atomic_fetch_sub_explicit(&leaf->refs, 1, memory_order_acq_rel) == 1) free(leaf);
}

static struct entry *entry_new(struct ref key, unsigned cls, struct ref ref)
{
    struct entry *e = xmalloc(sizeof(*e));

    atomic_init(&e->leaf.refs, 1);
    e->leaf.tag = cls;
    e->leaf.key = key;
    e->ref = ref;
    return e;
}

static void entry_put(struct ptrie *t, struct ref key, unsigned cls, struct ref ref)
{
    ptrie_put(t, &entry_new(key, cls, ref)->leaf, entry_leaf_unref);
}

static uint64_t hash_text(const char *s, uint64_t seed)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

    for (; *s; s++) h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
    return h * UINT64_C(0x9e3779b97f4a7c15);
}

static struct ref uuid_key(const char *uuid)
{
    struct ref key;

    if (!uuid_from_text(uuid, &key)) key = (struct ref){ hash_text(uuid, 0), hash_text(uuid, 1) };
    return key;
}

static struct ref name_key(const struct row *row)
{
    return (struct ref){ hash_text(row_str(row, row->kind->cls->name_label), 0), row->serial };
}

void snap_index_uuid(struct snap *s, const struct row *row, bool add)
{
    const char *uuid = row_uuid(row);
    unsigned cls = (unsigned)row->kind->cls->id;

    if (!*uuid) return;
    struct table *t = table_own(s, cls);
    if (add) entry_put(&t->uuids, uuid_key(uuid), cls, row->leaf.key);
    else ptrie_remove(&t->uuids, uuid_key(uuid), entry_leaf_unref);
}

void snap_index_name(struct snap *s, const struct row *row, bool add)
{
    const struct class_desc *cls = row->kind->cls;

    if (!cls->name_label) return;
    struct ref key = name_key(row);
    struct table *t = table_own(s, (unsigned)cls->id);
    if (add) entry_put(&t->names, key, (unsigned)cls->id, row->leaf.key);
    else ptrie_remove(&t->names, key, entry_leaf_unref);
}

void snap_put_row(struct snap *s, struct row *row)
{
    struct table *t = table_own(s, (unsigned)row->kind->cls->id);

    if (ptrie_put(&t->rows, &row->leaf, row_leaf_unref)) t->count++;
}

/* Gives an index its entries; of several rows with one key the first has it. */
static void fill_index(struct ptrie *index, unsigned cls, struct keyed *keys, size_t n)
{
    size_t kept = 0;

    keyed_sort(keys, n);
    for (size_t i = 0; i < n; i++) {
        const struct row *row = keys[i].what;
        if (kept && ref_eq(keys[kept - 1].key, keys[i].key)) continue;
        keys[kept++] = (struct keyed){ keys[i].key, entry_new(keys[i].key, cls, row->leaf.key) };
    }
    ptrie_build(index, keys, kept);
}

void snap_fill_table(struct snap *s, unsigned cls, const struct keyed *rows, size_t n)
{
    const struct class_desc *desc = &model.classes[cls];
    struct table *t = table_own(s, cls);
    struct keyed *keys = xmalloc(n * sizeof(*keys));
    size_t n_keys = 0;

    ptrie_build(&t->rows, rows, n);
    t->count = n;
    for (size_t i = 0; desc->uuid && i < n; i++) {
        const char *uuid = row_uuid(rows[i].what);
        if (*uuid) keys[n_keys++] = (struct keyed){ uuid_key(uuid), rows[i].what };
    }
    fill_index(&t->uuids, cls, keys, n_keys);
    if (desc->name_label) {
        for (size_t i = 0; i < n; i++) keys[i] = (struct keyed){ name_key(rows[i].what), rows[i].what };
        fill_index(&t->names, cls, keys, n);
    }
    free(keys);
}

void snap_remove_row(struct snap *s, const struct row *row)
{
    struct table *t = table_own(s, (unsigned)row->kind->cls->id);

    if (ptrie_remove(&t->rows, row->leaf.key, row_leaf_unref)) t->count--;
}

/* ---- lookups ---- */

struct row *snap_get_row(const struct snap *s, unsigned cls, struct ref ref)
{
    const struct table *t = table_of(s, cls);
    struct pleaf *leaf = t ? ptrie_get(&t->rows, ref) : NULL;

    return leaf ? row_of_leaf(leaf) : NULL;
}

const struct row *snap_get(const struct snap *s, enum class_id cls, struct ref ref)
{
    return snap_get_row(s, cls, ref);
}

const struct row *snap_need(const struct snap *s, enum class_id cls, struct ref ref, struct xerr *err)
{
    const struct row *row = snap_get_row(s, cls, ref);

    if (!row) xerr_handle_invalid(err, model.classes[cls].name, REF_STR(ref));
    return row;
}

const struct row *snap_by_uuid(const struct snap *s, enum class_id cls, const char *uuid)
{
    const struct table *t = table_of(s, cls);
    const struct pleaf *leaf = t && *uuid ? ptrie_get(&t->uuids, uuid_key(uuid)) : NULL;

    return leaf ? snap_get_row(s, cls, ((const struct entry *)leaf)->ref) : NULL;
}

size_t snap_count(const struct snap *s, enum class_id cls)
{
    const struct table *t = table_of(s, cls);

    return t ? t->count : 0;
}

const struct row *snap_find(const struct snap *s, struct ref ref)
{
    for (unsigned cls = 0; cls < s->kinds->n; cls++) {
        const struct row *row = snap_get_row(s, cls, ref);
        if (row) return row;
    }
    return NULL;
}

/* ---- iteration: by key, so that a transaction may change rows under way ---- */

struct iter {
    struct ref last;               /* named: hash, serial */
    uint32_t cls;
    bool started, named, still;    /* still: the root does not change under way */
    union {
        const char *name;          /* named */
        const void *hint;          /* else: where the last row was, when still */
    };
};
_Static_assert(sizeof(struct iter) <= sizeof(struct snap_iter), "an iterator fits its opaque form");

static struct snap_iter iter_start(struct iter it)
{
    struct snap_iter out = { { 0 } };

    memcpy(&out, &it, sizeof(it));
    return out;
}

/* A transaction's own root may change between two steps, a published one never does. */
static bool is_published(const struct snap *s)
{
    return s->token.stamp != 0;
}

struct snap_iter snap_iter(const struct snap *s, enum class_id cls)
{
    return iter_start((struct iter){ .cls = cls, .still = is_published(s) });
}

struct snap_iter snap_iter_still(const struct snap *s _unused_, enum class_id cls)
{
    return iter_start((struct iter){ .cls = cls, .still = true });
}

struct snap_iter snap_iter_named(const struct snap *s _unused_, enum class_id cls, const char *name_label)
{
    return iter_start((struct iter){ .cls = cls, .named = true, .name = name_label,
                                     .last = { hash_text(name_label, 0), 0 } });
}

static const struct row *next_named(const struct snap *s, const struct table *t, struct iter *it)
{
    uint64_t hash = it->last.hi;
    const struct pleaf *leaf;

    /* Serials start at 1, so that "after (hash, 0)" is the first of its kind. */
    while ((leaf = ptrie_next(&t->names, it->last)) && leaf->key.hi == hash) {
        it->last = leaf->key;
        const struct row *row = snap_get_row(s, it->cls, ((const struct entry *)leaf)->ref);
        if (row && streq(row_str(row, row->kind->cls->name_label), it->name)) return row;
    }
    return NULL;
}

const struct row *snap_next(const struct snap *s, struct snap_iter *opaque)
{
    struct iter it;
    const struct row *row = NULL;

    memcpy(&it, opaque, sizeof(it));
    const struct table *t = table_of(s, it.cls);
    if (t && it.named) {
        row = next_named(s, t, &it);
    } else if (t) {
        struct pleaf *leaf = !it.started ? ptrie_first(&t->rows)
                             : it.still ? ptrie_step(&t->rows, it.last, &it.hint)
                                        : ptrie_next(&t->rows, it.last);
        if (leaf) it.last = leaf->key;
        row = leaf ? row_of_leaf(leaf) : NULL;
    }
    it.started = true;
    memcpy(opaque, &it, sizeof(it));
    return row;
}

/* ---- places in the stream ---- */

void snap_take_stamps(struct snap *s, const struct snap *from)
{
    s->stamps = ptrie_copy(&from->stamps);
    s->n_stamps = from->n_stamps;
    s->stamps_after = from->stamps_after;
}

void snap_drop_stamp(struct snap *s, struct ref key)
{
    if (ptrie_remove(&s->stamps, key, entry_leaf_unref)) s->n_stamps--;
}

void snap_add_stamp(struct snap *s, struct ref key, unsigned cls, struct ref ref)
{
    entry_put(&s->stamps, key, cls, ref);
    if (++s->n_stamps <= STAMPS_KEPT) return;
    struct ref oldest = ptrie_first(&s->stamps)->key;
    s->stamps_after = oldest.hi;
    snap_drop_stamp(s, oldest);
}

/* ---- tombstones ---- */

void snap_take_tombs(struct snap *s, const struct snap *from)
{
    s->tombs = from->tombs;
    s->tombs_last = from->tombs_last;
    if (s->tombs) atomic_fetch_add_explicit(&s->tombs->refs, 1, memory_order_relaxed);
}

/* A directory without the first `drop` blocks and with a fresh one at the end. */
static struct tombs *tombs_next(const struct tombs *old, size_t drop)
{
    size_t kept = old ? old->n - drop : 0;
    struct tombs *t = xmalloc(sizeof(*t) + (kept + 1) * sizeof(t->blocks[0]));

    atomic_init(&t->refs, 1);
    t->floor = !old ? 0 : drop ? old->blocks[drop - 1]->items[TOMB_BLOCK - 1].revision : old->floor;
    t->n = kept + 1;
    for (size_t i = 0; i < kept; i++) {
        t->blocks[i] = old->blocks[drop + i];
        atomic_fetch_add_explicit(&t->blocks[i]->refs, 1, memory_order_relaxed);
    }
    t->blocks[kept] = xmalloc(sizeof(*t->blocks[kept]));
    atomic_init(&t->blocks[kept]->refs, 1);
    return t;
}

void snap_reserve_tombs(struct snap *s)
{
    if (s->tombs && s->tombs_last < TOMB_BLOCK) return;
    size_t full = s->tombs ? s->tombs->n : 0;
    bool drop = full && (full - 1) * TOMB_BLOCK >= TOMBS_KEPT;
    struct tombs *next = tombs_next(s->tombs, drop);

    tombs_unref(s->tombs);
    s->tombs = next;
    s->tombs_last = 0;
}

void snap_add_tomb(struct snap *s, const struct tomb *tomb)
{
    snap_reserve_tombs(s);
    s->tombs->blocks[s->tombs->n - 1]->items[s->tombs_last++] = *tomb;
}
