/* Rows: immutable, reference-counted versions of one object's fields.
 * Called by: db/ only (everybody else reads rows through db.h).  Calls: cell, ptrie. */
#ifndef DB_ROW_H
#define DB_ROW_H

#include "db/cell.h"
#include "db/ptrie.h"
#include "lib/wire.h"

enum { MAX_FIELDS = 128 };                        /* a class has no more (checked at open) */

struct field_set { uint64_t words[MAX_FIELDS / 64]; };

static inline void field_set_add(struct field_set *s, unsigned i)
{
    s->words[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline bool field_set_has(const struct field_set *s, unsigned i)
{
    return s->words[i / 64] >> (i % 64) & 1;
}
static inline bool field_set_empty(const struct field_set *s) { return !(s->words[0] | s->words[1]); }

/* What all rows of a class share; built once at open. */
struct kind {
    const struct class_desc *cls;
    struct kinds *all;
    struct field_set persistent;   /* written to the store */
    bool has_volatile;             /* a field that is not, back-references included */
    field_id *inverse;             /* by field: the back-reference that this field feeds, 0 = none */
    uint8_t *forward;              /* fields that feed one */
    unsigned n_forward;
    struct row *blank;             /* a row with the schema's defaults */
    struct wire_frame frame[N_ENCODINGS];
    /* Where a row has its fields: a reference takes 16 bytes, a truth or an enumerator one, the rest 8. */
    uint16_t *offset;
    uint8_t *size;
    size_t data_size;
    uint8_t *heap;                 /* fields whose content is counted: text, sets, values */
    unsigned n_heap;
    uint8_t *preset;               /* of these, the ones that are not empty in a fresh row */
    unsigned n_preset;
};

struct kinds {
    unsigned n;
    struct kind kinds[];
};

/* Whether rows of this class go to the store at all (those of `role` do not). */
static inline bool kind_is_stored(const struct kind *k) { return !field_set_empty(&k->persistent); }

/* Reads the model. Fails (INTERNAL_ERROR) on one that cannot be kept. */
int kinds_new(struct kinds **ret_kinds, struct xerr *err);
void kinds_free(struct kinds *kinds);

struct row {
    struct pleaf leaf;             /* key = the reference; tag = place in the owning transaction's touches */
    const struct kind *kind;
    uint64_t serial;               /* names the object in this store for good: index keys, SQLite's rowid */
    /* Set before the row is published, then immutable. */
    uint64_t created, revision;    /* store revisions of the first and of this version */
    _Atomic uint64_t stamp; /* place in the stream of changes; ROW_OWNED | transaction while it is changed */
    _Alignas(8) unsigned char data[];             /* the cells, packed */
};

/* What a field holds; it stays the row's. */
static inline union cell row_cell(const struct row *r, unsigned field)
{
    union cell c = { .ref = REF_NULL };
    const unsigned char *at = r->data + r->kind->offset[field];

    switch (r->kind->size[field]) {
    case 1: c.i = *at; break;
    case 8: memcpy(&c, at, 8); break;
    default: memcpy(&c, at, sizeof(c)); break;
    }
    return c;
}

/* Gives a field a content that passes; the old one is the caller's to clear. For rows that nobody else
 * sees. */
static inline void row_put(struct row *r, unsigned field, union cell c)
{
    unsigned char *at = r->data + r->kind->offset[field];

    switch (r->kind->size[field]) {
    case 1: *at = (unsigned char)c.i; break;
    case 8: memcpy(at, &c, 8); break;
    default: memcpy(at, &c, sizeof(c)); break;
    }
}

/* As row_put, and clears the old content. */
void row_replace(struct row *r, unsigned field, union cell c);

#define ROW_OWNED (UINT64_C(1) << 63)

static inline struct row *row_of_leaf(struct pleaf *leaf) { return (struct row *)leaf; }

/* A row with the schema's defaults, reference count 1. */
struct row *row_new(const struct kind *kind, struct ref ref, uint64_t serial);
/* A new version that shares every cell. */
struct row *row_copy(const struct row *r);
struct row *row_ref_get(struct row *r);
void row_unref(struct row *r);
void row_leaf_unref(struct pleaf *leaf);

#endif
