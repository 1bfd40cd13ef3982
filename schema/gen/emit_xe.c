/* gen/xe_fields.h and gen/xe_fields.c: the record classes of the command line.
 * Called by: main.c.  Calls: out. */
#include "schema/gen/gen.h"

static void row(struct strbuf *b, const struct xe_field *f)
{
    static const char *const kinds[][2] = { { "scalar", "XE_SCALAR" },
                                            { "set", "XE_SET" },
                                            { "map", "XE_MAP" } };
    strbuf_str(b, "    { ");
    out_string(b, f->name);
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        if (streq(kinds[i][0], f->kind)) strbuf_printf(b, ", %s, ", kinds[i][1]);
    if (f->first) strbuf_printf(b, "F_%s_%s, ", f->first->cls->name, f->first->name);
    else strbuf_str(b, "0, ");
    if (f->second) strbuf_printf(b, "F_%s_%s", f->second->cls->name, f->second->name);
    else strbuf_str(b, "0");
    const struct {
        const char *name;
        bool on;
    } flags[] = {
        { "can_set", f->set },           { "can_add", f->add },   { "can_remove", f->remove },
        { "by_default", f->by_default }, { "hidden", f->hidden }, { "expensive", f->expensive },
        { "deprecated", f->deprecated },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
        if (!i || flags[i].on) strbuf_printf(b, ", .%s = %s", flags[i].name, flags[i].on ? "true" : "false");
    strbuf_str(b, " },\n");
}

void emit_xe(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    out_head(&b, "The record classes of the command line and their fields.");
    strbuf_printf(
        &b,
        "#ifndef GEN_XE_FIELDS_H\n#define GEN_XE_FIELDS_H\n\n#include \"gen/model.h\"\n\n"
        "enum xe_kind { XE_SCALAR, XE_SET, XE_MAP };\n\n"
        "struct xe_field {\n"
        "    const char *name;              /* \"power-state\" */\n"
        "    enum xe_kind kind;\n"
        "    field_id field;                /* what is shown; 0 = the command computes it */\n"
        "    field_id through;              /* not 0: field is a reference, and this field of its object is shown */\n"
        "    bool can_set, can_add, can_remove, by_default, hidden, expensive, deprecated;\n};\n\n"
        "struct xe_record {\n"
        "    const char *name;              /* \"vm\" as in vm-list */\n"
        "    int cls;\n"
        "    unsigned n_fields;\n"
        "    const struct xe_field *fields;\n};\n\n"
        "enum { N_XE_RECORDS = %zu };\n"
        "extern const struct xe_record xe_records[N_XE_RECORDS + 1];   /* the last has no name */\n\n"
        "#endif\n",
        s->xe.n);
    out_write(&b, dir, "xe_fields.h");

    out_head(&b, "The record classes of the command line.");
    strbuf_str(&b, "#include \"gen/xe_fields.h\"\n");
    LIST_EACH(&s->xe, struct xe_record, r) {
        strbuf_printf(&b, "\nstatic const struct xe_field fields_%s[] = {\n", c_identifier(s, r->name));
        LIST_EACH(&r->fields, struct xe_field, f) row(&b, f);
        strbuf_str(&b, "};\n");
    }
    strbuf_str(&b, "\nconst struct xe_record xe_records[N_XE_RECORDS + 1] = {\n");
    LIST_EACH(&s->xe, struct xe_record, r)
        strbuf_printf(&b, "    { \"%s\", CLASS_%s, %zu, fields_%s },\n", r->name, r->class_name, r->fields.n,
                      c_identifier(s, r->name));
    strbuf_str(&b, "    { .name = NULL },\n};\n");
    out_write(&b, dir, "xe_fields.c");
}
