/* Cells as JSON text: how the store keeps sets and maps.
 * Called by: store_sqlite.  Calls: json, cell. */
#ifndef DB_CELLTEXT_H
#define DB_CELLTEXT_H

#include "db/cell.h"

/* Appends the text of a cell of kind BITS, REFSET or VALUE. */
void celltext_write(const struct field_desc *f, const union cell *c, struct strbuf *out);
/* The cell that a text stands for. False when it is none of this field's type; *ret_cell is then untouched. */
bool celltext_read(const struct field_desc *f, const char *text, size_t len, union cell *ret_cell);

#endif
