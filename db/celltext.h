/* Cells as text: how the store keeps sets (JSON) and the entries of maps.
 * Called by: store_sqlite.  Calls: json, cell. */
#ifndef DB_CELLTEXT_H
#define DB_CELLTEXT_H

#include "db/cell.h"

/* Appends the JSON text of a cell of kind BITS, REFSET or VALUE. */
void celltext_write(const struct field_desc *f, const union cell *c, struct strbuf *out);
/* The cell that a text stands for. False when it is none of this field's type; *ret_cell is then
 * untouched. */
bool celltext_read(const struct field_desc *f, const char *text, size_t len, union cell *ret_cell);

/* One value of a map: text as it is, anything else as JSON. */
void celltext_write_value(const struct type_desc *type, const struct value *v, struct strbuf *out);
/* In the arena. False when the text is none of this type. */
bool celltext_read_value(const struct type_desc *type, const char *text, size_t len, struct arena *a,
                         struct value *ret_value);

#endif
