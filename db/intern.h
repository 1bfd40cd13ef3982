/* Sharing of equal texts and maps: most rows of a class say the same in many of their fields.
 * Called by: db/ only.  Calls: cell, row. */
#ifndef DB_INTERN_H
#define DB_INTERN_H

#include "db/row.h"

/* What was stored lately, by the hash of its content; a slot holds one reference. What comes in with the same
 * content takes that one. Bounded, and no more than a memory: what has left it is merely not shared. */
enum { INTERN_SLOTS = 512, INTERN_BYTES = 1024 };

struct intern {
    struct text *texts[INTERN_SLOTS];
    struct box *boxes[INTERN_SLOTS];
};

/* A field's new content, given up for an equal one that is there already. Not for the row's own uuid; but what
 * repeats it (a disk's location) shares it. Caller: whoever writes to the database, one at a time. */
union cell intern_cell(struct intern *in, const struct row *row, unsigned field, union cell c);
void intern_clear(struct intern *in);

#endif
