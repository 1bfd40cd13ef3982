/* Cells: the 16-byte fields of a row. Text, sets and maps are reference-counted heap blocks shared by row
 * versions.
 * Called by: db/ only.  Calls: model, value.
 *
 * A NULL block is the empty text, set or map, so that most fields cost nothing beside their 16 bytes. What
 * a cell holds is said by its field's description, never by the cell. */
#ifndef DB_CELL_H
#define DB_CELL_H

#include "db/db.h"

#include <stdatomic.h>

struct text {
    _Atomic uint32_t refs;
    uint32_t len;
    char s[];
};

struct refbox {
    _Atomic size_t refs;
    size_t n;              /* from here on it is a struct refset */
    struct ref items[];
};

/* A value in one block: this, then the structs below the value, then all its text. */
struct box {
    _Atomic size_t refs;
    size_t texts_len;      /* bytes of text */
    size_t wasted;         /* of these nobody refers to: left over from changes of single keys */
    char *texts;
    struct value value;
};

union cell {
    struct text *text;     /* CELL_STRING; NULL = "" */
    int64_t i;             /* CELL_INT, CELL_DATETIME, CELL_BOOL, CELL_ENUM */
    double d;              /* CELL_FLOAT */
    uint64_t bits;         /* CELL_BITS */
    struct ref ref;        /* CELL_REF */
    struct refbox *set;    /* CELL_REFSET; NULL = empty */
    struct box *box;       /* CELL_VALUE; NULL = empty */
};

/* Whether a cell of this kind refers to a block, NULL = empty. */
static inline bool cell_is_counted(enum cell_kind kind)
{
    return kind == CELL_STRING || kind == CELL_REFSET || kind == CELL_VALUE;
}

/* Another reference to the same content. */
union cell cell_share(union cell c, enum cell_kind kind);
/* Drops what the cell refers to; the cell is empty afterwards. */
void cell_clear(union cell *c, enum cell_kind kind);
bool cell_eq(const union cell *a, const union cell *b, enum cell_kind kind);

/* Fresh content. */
union cell cell_text(const char *s, size_t len);
union cell cell_set(const struct ref *refs, size_t n);      /* sorts and drops doubles and nulls */
union cell cell_box(const struct value *v);                 /* a deep copy */

/* A map with the entry at a place replaced, added behind the last, or (v NULL) taken out. Copies the old
 * block as a whole: what stays has the same place in it. */
union cell cell_map_change(const union cell *map, size_t at, const char *key, const struct value *v);

/* Reading. Never NULL. */
const char *cell_str(const union cell *c);
const struct refset *cell_refs(const union cell *c);
const struct value *cell_value(const union cell *c, const struct type_desc *type);

/* Changes of a set of references, one at a time. False when nothing changed. */
bool cell_set_add(union cell *c, struct ref ref);
bool cell_set_remove(union cell *c, struct ref ref);

/* A cell from a normalized value. False when the value is not of the field's type; *ret_cell is then
 * untouched. */
bool cell_from_value(const struct field_desc *f, const struct value *v, union cell *ret_cell);
/* A value that borrows from the cell; only what has no value form (enums, bits, sets of references) is in
 * the arena. */
struct value cell_to_value(const struct field_desc *f, const union cell *c, struct arena *a);
/* Whether a value fits a type (of a set's item, a map's value); enumerations by their wire text. */
bool value_fits(const struct value *v, const struct type_desc *type);
/* The same for the text of a map's key. */
bool map_key_fits(const char *key, const struct type_desc *type);

#endif
