/* Sharing of equal texts and maps.
 * Called by: transactions, loading.  Calls: cell, row, xxh64. */
#include "db/intern.h"

#include "lib/xxh64.h"

static size_t slot_of(const void *bytes, size_t n)
{
    return (size_t)(xxh64(bytes, n) % INTERN_SLOTS);
}

/* The kept one when it is equal; else the new one, which is kept from now on. */
static union cell choose(union cell *slot, union cell c, enum cell_kind kind, bool equal)
{
    if (equal) {
        cell_clear(&c, kind);
        return cell_share(*slot, kind);
    }
    cell_clear(slot, kind);
    *slot = cell_share(c, kind);
    return c;
}

static union cell intern_text(struct intern *in, const struct row *row, union cell c)
{
    field_id uuid = row->kind->cls->uuid;

    if (!c.text || c.text->len > INTERN_BYTES) return c;
    if (uuid) {
        union cell own = row_cell(row, field_index(uuid));
        if (own.text && own.text != c.text && cell_eq(&own, &c, CELL_STRING)) {
            cell_clear(&c, CELL_STRING);
            return cell_share(own, CELL_STRING);
        }
    }
    size_t i = slot_of(c.text->s, c.text->len);
    union cell slot = { .text = in->texts[i] };
    c = choose(&slot, c, CELL_STRING, cell_eq(&slot, &c, CELL_STRING));
    in->texts[i] = slot.text;
    return c;
}

/* With the same text in the same order: equal maps may differ in that, and clients see it. */
static bool box_same(const struct box *a, const struct box *b)
{
    return a && a->texts_len == b->texts_len && !memcmp(a->texts, b->texts, a->texts_len) &&
           value_eq(&a->value, &b->value);
}

static union cell intern_box(struct intern *in, union cell c)
{
    if (!c.box || c.box->texts_len > INTERN_BYTES || c.box->wasted) return c;
    size_t i = slot_of(c.box->texts, c.box->texts_len);
    union cell slot = { .box = in->boxes[i] };
    c = choose(&slot, c, CELL_VALUE, box_same(slot.box, c.box));
    in->boxes[i] = slot.box;
    return c;
}

union cell intern_cell(struct intern *in, const struct row *row, unsigned field, union cell c)
{
    const struct class_desc *cls = row->kind->cls;

    if (cls->uuid && field == field_index(cls->uuid)) return c;
    if (cls->fields[field].cell == CELL_STRING) return intern_text(in, row, c);
    return cls->fields[field].cell == CELL_VALUE ? intern_box(in, c) : c;
}

void intern_clear(struct intern *in)
{
    for (size_t i = 0; i < INTERN_SLOTS; i++) {
        cell_clear(&(union cell){ .text = in->texts[i] }, CELL_STRING);
        cell_clear(&(union cell){ .box = in->boxes[i] }, CELL_VALUE);
    }
}
