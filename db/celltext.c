/* Cells as text.
 * Called by: store_sqlite.  Calls: json, cell. */
#include "db/celltext.h"

#include "lib/iso8601.h"
#include "lib/json.h"
#include "lib/num.h"

void celltext_write(const struct field_desc *f, const union cell *c, struct strbuf *out)
{
    bool empty = f->cell == CELL_BITS ? !c->bits : f->cell == CELL_REFSET ? !c->set : !c->box;

    if (empty) {
        strbuf_str(out, f->type->kind == TYPE_SET ? "[]" : f->type->kind == TYPE_MAP ? "{}" : "null");
        return;
    }
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v = cell_to_value(f, c, a);
    json_encode_value(&v, out);
}

/* What JSON has no form for comes back as a string or a whole number: gives it the kind that its type
 * says. */
static bool adapt(struct value *v, const struct type_desc *type, struct arena *a);

static bool adapt_set(struct value *v, const struct type_desc *type, struct arena *a)
{
    if (v->kind != VALUE_SET) return false;
    struct value *items = arena_new_array(a, struct value, v->set.n);
    for (size_t i = 0; i < v->set.n; i++) {
        items[i] = v->set.items[i];
        if (!adapt(&items[i], type->elem, a)) return false;
    }
    v->set.items = items;
    return true;
}

static bool adapt_map(struct value *v, const struct type_desc *type, struct arena *a)
{
    if (v->kind != VALUE_MAP) return false;
    struct member *members = arena_new_array(a, struct member, v->map.n);
    for (size_t i = 0; i < v->map.n; i++) {
        members[i] = v->map.members[i];
        if (!adapt(&members[i].value, type->elem, a)) return false;
    }
    v->map.members = members;
    return true;
}

static bool adapt_float(struct value *v)
{
    double d = v->kind == VALUE_INT ? (double)v->i : v->d;

    if (v->kind == VALUE_STRING && !num_parse_float(v->s, &d)) return false;
    if (v->kind != VALUE_STRING && v->kind != VALUE_INT && v->kind != VALUE_FLOAT) return false;
    *v = value_float(d);
    return true;
}

static bool adapt(struct value *v, const struct type_desc *type, struct arena *a)
{
    int64_t seconds;
    struct ref ref;

    switch (type->kind) {
    case TYPE_SET: return adapt_set(v, type, a);
    case TYPE_MAP: return adapt_map(v, type, a);
    case TYPE_OPTION: return v->kind == VALUE_VOID || adapt(v, type->elem, a);
    case TYPE_FLOAT: return adapt_float(v);
    case TYPE_DATETIME:
        if (v->kind != VALUE_STRING || !iso8601_parse(v->s, &seconds)) return false;
        *v = value_datetime(seconds);
        return true;
    case TYPE_REF:
        if (v->kind != VALUE_STRING || !ref_parse(v->s, &ref)) return false;
        *v = value_ref(ref);
        return true;
    case TYPE_VOID:
    case TYPE_STRING:
    case TYPE_INT:
    case TYPE_BOOL:
    case TYPE_ENUM:
    case TYPE_RECORD:
    case TYPE_BATCH:
        return true;    /* in their own form already, or for cell_from_value() to refuse */
    }
    abort();
}

bool celltext_read(const struct field_desc *f, const char *text, size_t len, union cell *ret_cell)
{
    const char *why;
    struct value v;

    if (len == 2 ? streq(text, "[]") || streq(text, "{}") : len == 4 && streq(text, "null")) {
        *ret_cell = (union cell){ .ref = REF_NULL };
        return true;
    }
    _cleanup_arena_ struct arena *a = arena_new();
    return json_decode(text, len, a, &v, &why) == 0 && adapt(&v, f->type, a) &&
           cell_from_value(f, &v, ret_cell);
}

static bool is_plain_text(const struct type_desc *type)
{
    return type->kind == TYPE_STRING || type->kind == TYPE_ENUM;
}

void celltext_write_value(const struct type_desc *type, const struct value *v, struct strbuf *out)
{
    if (is_plain_text(type)) strbuf_add(out, v->s, v->len);
    else json_encode_value(v, out);
}

bool celltext_read_value(const struct type_desc *type, const char *text, size_t len, struct arena *a,
                         struct value *ret_value)
{
    struct value v = { .kind = VALUE_STRING, .s = arena_strndup(a, text, len), .len = strlen(text) };
    const char *why;

    if (!is_plain_text(type) && (json_decode(text, len, a, &v, &why) || !adapt(&v, type, a))) return false;
    if (!value_fits(&v, type)) return false;
    *ret_value = v;
    return true;
}
