/* gen/model.h and gen/model.c: identifiers, enumerations, types, classes and fields.
 * Called by: main.c.  Calls: out. */
#include "schema/gen/gen.h"

#include <stdio.h>

static const char *const type_kinds[] = {
    "TYPE_VOID", "TYPE_STRING", "TYPE_INT", "TYPE_BOOL",   "TYPE_FLOAT",  "TYPE_DATETIME", "TYPE_REF",
    "TYPE_ENUM", "TYPE_SET",    "TYPE_MAP", "TYPE_RECORD", "TYPE_OPTION", "TYPE_BATCH",
};

static const char *const cell_kinds[] = {
    "CELL_STRING", "CELL_INT",  "CELL_BOOL", "CELL_FLOAT",  "CELL_DATETIME",
    "CELL_REF",    "CELL_ENUM", "CELL_BITS", "CELL_REFSET", "CELL_VALUE",
};

static const char *const qualifiers[] = { "QUAL_RW", "QUAL_RO_CONSTRUCTOR", "QUAL_RO_RUNTIME" };

static void header(struct schema *s, struct strbuf *b)
{
    out_head(b, "The data model's identifiers: classes, fields, enumerations.");
    strbuf_str(b, "#ifndef GEN_MODEL_H\n#define GEN_MODEL_H\n\n#include \"lib/model.h\"\n\nenum class_id {\n"
                  "    CLASS_NONE,\n");
    LIST_EACH(&s->classes, struct cls, c) strbuf_printf(b, "    CLASS_%s,\n", c->name);
    strbuf_str(b, "    N_CLASSES\n};\n");

    LIST_EACH(&s->enums, struct enumeration, e) {
        strbuf_printf(b, "\nenum %s {\n", e->name);
        LIST_EACH(&e->values, const char, v)
            strbuf_printf(b, "    %s,\n", c_identifier(s, arena_printf(s->arena, "%s_%s", e->name, v)));
        strbuf_printf(b, "};\nenum { N_%s = %zu };\nextern const struct enum_desc enum_desc_%s;\n", e->name,
                      e->values.n, e->name);
    }
    LIST_EACH(&s->classes, struct cls, c) {
        if (!c->fields.n) continue;
        strbuf_printf(b, "\n/* %s */\nenum {\n", c->name);
        LIST_EACH(&c->fields, struct field, f)
            strbuf_printf(b, "    F_%s_%s = 0x%08x,   /* %s */\n", c->name, f->name, c->id << 16 | f->index,
                          f->type_text);
        strbuf_str(b, "};\n");
    }
    strbuf_str(b, "\n/* The table behind enum type ids; methods.c and model.c only. */\n"
                  "extern const struct type_desc type_descs[];\n\n#endif\n");
}

static void enums(struct schema *s, struct strbuf *b)
{
    LIST_EACH(&s->enums, struct enumeration, e) {
        strbuf_printf(b, "\nstatic const char *const values_%s[] = {\n", e->name);
        LIST_EACH(&e->values, const char, v) {
            strbuf_str(b, "    ");
            out_string(b, v);
            strbuf_str(b, ",\n");
        }
        strbuf_printf(b, "};\nconst struct enum_desc enum_desc_%s = { \"%s\", %zu, values_%s };\n", e->name,
                      e->name, e->values.n, e->name);
    }
    strbuf_str(b, "\nstatic const struct enum_desc *const enums[] = {\n");
    LIST_EACH(&s->enums, struct enumeration, e) strbuf_printf(b, "    &enum_desc_%s,\n", e->name);
    strbuf_str(b, "    NULL,\n};\n");
}

static void type_ref(struct strbuf *b, const struct type *t)
{
    if (t) strbuf_printf(b, "&type_descs[%u]", t->id);
    else strbuf_str(b, "NULL");
}

static void types(struct schema *s, struct strbuf *b)
{
    strbuf_str(b, "\nconst struct type_desc type_descs[] = {\n");
    LIST_EACH(&s->types, struct type, t) {
        strbuf_printf(b, "    { %s, ", type_kinds[t->kind]);
        if (t->cls) strbuf_printf(b, "CLASS_%s, ", t->cls->name);
        else strbuf_str(b, "-1, ");
        if (t->e) strbuf_printf(b, "&enum_desc_%s, ", t->e->name);
        else strbuf_str(b, "NULL, ");
        type_ref(b, t->key);
        strbuf_str(b, ", ");
        type_ref(b, t->elem);
        strbuf_str(b, ", ");
        out_string(b, t->text);
        strbuf_str(b, " },\n");
    }
    strbuf_str(b, "};\n");
}

static void key_rules(struct strbuf *b, const struct field *f)
{
    if (!f->keys.n) return;
    strbuf_printf(b, "static const struct key_role keys_%s_%s[] = {\n", f->cls->name, f->name);
    LIST_EACH(&f->keys, struct key_rule, k) {
        strbuf_str(b, "    { ");
        out_string(b, k->pattern);
        strbuf_printf(b, ", %s },\n", role_constant(k->role));
    }
    strbuf_str(b, "    { NULL, ROLE_NONE },\n};\n");
}

static void field(struct schema *s, struct strbuf *decls, struct strbuf *b, const struct field *f)
{
    const char *id = arena_printf(s->arena, "%s_%s", f->cls->name, f->name);
    key_rules(decls, f);
    strbuf_str(b, "    { ");
    out_string(b, f->name);
    strbuf_str(b, ", ");
    out_string(b, f->long_name);
    strbuf_str(b, ", ");
    type_ref(b, f->type);
    strbuf_printf(b, ", %s, %s,\n      %s, .persistent = %s, .secret = %s, .default_text = ",
                  cell_kinds[f->cell], qualifiers[f->qualifier], life_constant(f->life.state),
                  f->persistent ? "true" : "false", f->secret ? "true" : "false");
    if (f->default_text) {
        out_string(b, f->default_text);
    } else if (f->type->kind == TYPE_ENUM) {
        out_string(b, f->type->e->values.items[0]);
    } else {
        static const char *const empty[] = {
            "",   "",   "0",  "false", "0",  "19700101T00:00:00Z", "OpaqueRef:NULL", "",
            "{}", "{}", "{}", "{}",    "{}",
        };
        out_string(b, empty[f->type->kind]);
    }
    strbuf_str(b, ",\n      .default_value = ");
    out_value(s, decls, b, f->pos, f->type, f->default_text, id);
    strbuf_printf(b, ",\n      .id = F_%s", id);
    if (f->inverse) strbuf_printf(b, ", .inverse = F_%s_%s", f->inverse->cls->name, f->inverse->name);
    if (f->keys.n) strbuf_printf(b, ", .key_roles = keys_%s", id);
    strbuf_str(b, ",\n      .doc = ");
    out_string(b, f->doc);
    strbuf_str(b, " },\n");
}

static bool has_message(const struct cls *c, const char *name)
{
    LIST_EACH(&c->messages, struct message, m)
        if (streq(m->name, name)) return true;
    return false;
}

static void classes(struct schema *s, struct strbuf *b)
{
    LIST_EACH(&s->classes, struct cls, c) {
        if (!c->fields.n) continue;
        _cleanup_strbuf_ struct strbuf decls = STRBUF_INIT, rows = STRBUF_INIT;
        LIST_EACH(&c->fields, struct field, f) field(s, &decls, &rows, f);
        strbuf_char(b, '\n');
        strbuf_str(b, strbuf_cstr(&decls));
        strbuf_printf(b, "static const struct field_desc fields_%s[] = {\n%s};\n", c->name,
                      strbuf_cstr(&rows));
    }
    strbuf_str(b, "\nstatic const struct class_desc classes[N_CLASSES] = {\n"
                  "    [CLASS_NONE] = { .name = \"\", .event_name = \"\", .doc = \"\" },\n");
    LIST_EACH(&s->classes, struct cls, c) {
        strbuf_printf(b, "    [CLASS_%s] = { \"%s\", \"%s\", CLASS_%s, %zu, ", c->name, c->name, c->c_name,
                      c->name, c->fields.n);
        if (c->fields.n) strbuf_printf(b, "fields_%s, ", c->name);
        else strbuf_str(b, "NULL, ");
        if (c->uuid) strbuf_printf(b, "F_%s_uuid, ", c->name);
        else strbuf_str(b, "0, ");
        if (c->name_label) strbuf_printf(b, "F_%s_name_label,\n", c->name);
        else strbuf_str(b, "0,\n");
        strbuf_printf(
            b,
            "        .stored = %s, .evented = %s, .has_get_all_records = %s, .lifecycle = %s,\n        .doc = ",
            c->stored ? "true" : "false", c->evented ? "true" : "false",
            has_message(c, "get_all_records") ? "true" : "false", life_constant(c->life.state));
        out_string(b, c->doc);
        strbuf_str(b, " },\n");
    }
    strbuf_str(b, "};\n");
}

static void roles(struct schema *s, struct strbuf *b)
{
    strbuf_str(b, "\nstatic const struct role_desc roles[] = {\n");
    LIST_EACH(&s->roles, struct role_def, r) {
        strbuf_printf(b, "    { \"%s\", \"%s\", ", r->name, r->uuid);
        out_string(b, r->doc);
        strbuf_printf(b, ", %s },\n", r->internal ? "true" : "false");
    }
    strbuf_str(b, "    { NULL, NULL, NULL, false },\n};\n");
}

void emit_model(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    header(s, &b);
    out_write(&b, dir, "model.h");

    out_head(&b, "The tables of the data model, but messages and errors.");
    strbuf_str(&b, "#include \"gen/model.h\"\n#include \"gen/errors.h\"\n#include \"gen/methods.h\"\n");
    enums(s, &b);
    types(s, &b);
    classes(s, &b);
    roles(s, &b);
    strbuf_printf(&b,
                  "\nconst struct model model = {\n    N_CLASSES, %zu, %zu, %zu, %zu,\n"
                  "    classes, method_descs, error_descs, roles, enums,\n};\n",
                  s->messages.n, s->errors.n, s->roles.n, s->enums.n);
    out_write(&b, dir, "model.c");
}
