/* gen/methods.h (prototypes of class functions), gen/methods.c (the table of messages), gen/thunks.c (from
 * normalized arguments to a class function and back).
 * Called by: main.c.  Calls: out. */
#include "schema/gen/gen.h"

static bool is_bits(const struct type *t)
{
    return t->kind == TYPE_SET && t->elem->kind == TYPE_ENUM && cell_of(t) == CELL_BITS;
}

/* The C type of a parameter or a result, with the space or star before the name. */
static const char *c_type(struct schema *s, const struct type *t, bool result)
{
    switch (t->kind) {
    case TYPE_STRING: return "const char *";
    case TYPE_INT:
    case TYPE_DATETIME: return "int64_t ";
    case TYPE_BOOL: return "bool ";
    case TYPE_FLOAT: return "double ";
    case TYPE_REF: return "struct ref ";
    case TYPE_ENUM: return arena_printf(s->arena, "enum %s ", t->e->name);
    case TYPE_SET:
        if (is_bits(t)) return "uint64_t ";
        break;
    case TYPE_VOID:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
    case TYPE_BATCH: break;
    }
    return result ? "struct value " : "const struct value *";
}

static void prototype(struct schema *s, struct strbuf *b, const struct message *m)
{
    strbuf_printf(b, "int %s(struct call *c", m->c_name);
    LIST_EACH(&m->params, struct param, p) strbuf_printf(b, ", %s%s", c_type(s, p->type, false), p->c_name);
    if (m->result->kind != TYPE_VOID) strbuf_printf(b, ", %s*ret_result", c_type(s, m->result, true));
    strbuf_str(b, ", struct xerr *err)");
}

/* Text into a comment: a "*" before a "/" would end it. */
static void comment(struct strbuf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        strbuf_char(b, *p);
        if (*p == '*' && p[1] == '/') strbuf_char(b, ' ');
    }
}

static void header(struct schema *s, struct strbuf *b)
{
    out_head(b, "Prototypes of the class functions, one a message; and the table of messages.");
    strbuf_str(b,
               "#ifndef GEN_METHODS_H\n#define GEN_METHODS_H\n\n#include \"gen/model.h\"\n\nstruct call;\n\n"
               "/* Sorted by name; the last entry has no name. */\n"
               "extern const struct method_desc method_descs[];\n");
    LIST_EACH(&s->classes, struct cls, c) {
        strbuf_printf(b, "\n/* ---- %s ---- */\n", c->name);
        LIST_EACH(&c->messages, struct message, m) {
            if (!m->has_function) continue;
            strbuf_printf(b, "/* %s: ", m->full_name);
            comment(b, m->doc);
            strbuf_str(b, " */\n");
            prototype(s, b, m);
            strbuf_str(b, ";\n");
        }
    }
    strbuf_str(b, "\n#endif\n");
}

/* ---- the table ------------------------------------------------------------------------------- */

static void params(struct schema *s, struct strbuf *b, const struct message *m, const char *id)
{
    if (!m->params.n) return;
    _cleanup_strbuf_ struct strbuf decls = STRBUF_INIT, rows = STRBUF_INIT;
    LIST_EACH(&m->params, struct param, p) {
        strbuf_str(&rows, "    { ");
        out_string(&rows, p->name);
        strbuf_printf(&rows, ", &type_descs[%u], %s, ", p->type->id, p->optional ? "true" : "false");
        if (p->optional)
            out_value(s, &decls, &rows, p->pos, p->type, p->default_text,
                      arena_printf(s->arena, "%s_%s", id, p->c_name));
        else strbuf_str(&rows, "{ .kind = VALUE_VOID }");
        strbuf_printf(&rows, ", %s },\n", p->secret ? "true" : "false");
    }
    strbuf_printf(b, "%sstatic const struct param_desc params_%s[] = {\n%s};\n", strbuf_cstr(&decls), id,
                  strbuf_cstr(&rows));
}

static void errors(struct strbuf *b, const struct message *m, const char *id)
{
    if (!m->errors.n) return;
    strbuf_printf(b, "static const char *const errors_%s[] = { ", id);
    LIST_EACH(&m->errors, struct error_ref, e) strbuf_printf(b, "\"%s\", ", e->code);
    strbuf_str(b, "NULL };\n");
}

static void row(struct strbuf *b, const struct message *m, const char *id)
{
    static const char *const kinds[] = {
        "METHOD_CUSTOM",
        "METHOD_GET",
        "METHOD_SET",
        "METHOD_ADD",
        "METHOD_REMOVE",
        "METHOD_GET_RECORD",
        "METHOD_GET_ALL",
        "METHOD_GET_ALL_RECORDS",
        "METHOD_GET_ALL_RECORDS_WHERE",
        "METHOD_GET_BY_UUID",
        "METHOD_GET_BY_NAME_LABEL",
        "METHOD_CREATE",
        "METHOD_DESTROY",
    };
    strbuf_printf(b, "    { \"%s\", \"%s\", CLASS_%s, %s, ", m->full_name, m->name, m->cls->name,
                  kinds[m->kind]);
    if (m->field) strbuf_printf(b, "F_%s_%s,\n      ", m->cls->name, m->field->name);
    else strbuf_str(b, "0,\n      ");
    const struct {
        const char *name;
        bool on;
    } flags[] = {
        { "explicit_message", m->explicit_message },
        { "field_access", m->access },
        { "session", m->session },
        { "blocks", m->blocks },
        { "async", m->cls->async },
        { "internal", m->internal },
        { "local", m->local },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
        if (flags[i].on) strbuf_printf(b, ".%s = true, ", flags[i].name);
    strbuf_printf(b, ".role = %s, .lifecycle = %s,\n      ", role_constant(m->role),
                  life_constant(m->life.state));
    if (m->params.n) strbuf_printf(b, ".n_params = %zu, .params = params_%s, ", m->params.n, id);
    strbuf_printf(b, ".result = &type_descs[%u],\n      ", m->result->id);
    if (m->has_function)
        strbuf_printf(b, ".thunk = thunk_%s, .behaviour = (const void *)%s,\n      ", m->c_name, m->c_name);
    if (m->errors.n) strbuf_printf(b, ".errors = errors_%s, ", id);
    strbuf_str(b, ".doc = ");
    out_string(b, m->doc);
    strbuf_str(b, " },\n");
}

static void table(struct schema *s, struct strbuf *b)
{
    _cleanup_strbuf_ struct strbuf rows = STRBUF_INIT;
    out_head(b,
             "The table of messages. Thunks and class functions are weak: a program without them gets NULL.");
    strbuf_str(b, "#include \"gen/methods.h\"\n\n");
    LIST_EACH(&s->messages, struct message, m)
        if (m->has_function)
            strbuf_printf(
                b,
                "#pragma weak %s\nint thunk_%s(struct call *c, const struct value *args, struct value *ret_result, "
                "struct xerr *err) _weak_;\n",
                m->c_name, m->c_name);
    strbuf_char(b, '\n');
    LIST_EACH(&s->messages, struct message, m) {
        const char *id = arena_printf(s->arena, "%s_%s", m->cls->name, m->name);
        params(s, b, m, id);
        errors(b, m, id);
        row(&rows, m, id);
    }
    strbuf_printf(b, "\nconst struct method_desc method_descs[] = {\n%s    { .name = NULL },\n};\n",
                  strbuf_cstr(&rows));
}

/* ---- thunks ---------------------------------------------------------------------------------- */

static void unpack(struct strbuf *b, const struct param *p, size_t i)
{
    const struct type *t = p->type;
    if (t->kind == TYPE_ENUM)
        strbuf_printf(b,
                      "    int a%zu = enum_index(&enum_desc_%s, args[%zu].s);\n"
                      "    if (a%zu < 0) return xerr_field_type_error(err, \"%s\");\n",
                      i, t->e->name, i, i, p->name);
    if (is_bits(t))
        strbuf_printf(b,
                      "    uint64_t a%zu;\n    if (bits_of(&enum_desc_%s, &args[%zu], &a%zu)) "
                      "return xerr_field_type_error(err, \"%s\");\n",
                      i, t->elem->e->name, i, i, p->name);
}

static void argument(struct strbuf *b, const struct type *t, size_t i)
{
    switch (t->kind) {
    case TYPE_STRING: strbuf_printf(b, ", args[%zu].s", i); return;
    case TYPE_INT:
    case TYPE_DATETIME: strbuf_printf(b, ", args[%zu].i", i); return;
    case TYPE_BOOL: strbuf_printf(b, ", args[%zu].b", i); return;
    case TYPE_FLOAT: strbuf_printf(b, ", args[%zu].d", i); return;
    case TYPE_REF: strbuf_printf(b, ", args[%zu].ref", i); return;
    case TYPE_ENUM: strbuf_printf(b, ", (enum %s)a%zu", t->e->name, i); return;
    case TYPE_SET:
        if (is_bits(t)) {
            strbuf_printf(b, ", a%zu", i);
            return;
        }
        break;
    case TYPE_VOID:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
    case TYPE_BATCH: break;
    }
    strbuf_printf(b, ", &args[%zu]", i);
}

static void pack(struct strbuf *b, const struct message *m)
{
    const struct type *t = m->result;
    const char *make = NULL;
    switch (t->kind) {
    case TYPE_VOID: strbuf_str(b, "    *ret_result = value_void();\n"); return;
    case TYPE_ENUM:
        strbuf_printf(b, "    *ret_result = value_string(enum_desc_%s.values[result]);\n", t->e->name);
        return;
    case TYPE_DATETIME:
        if (m->local_time) {
            strbuf_str(b, "    *ret_result = (struct value){ .kind = VALUE_LOCALTIME, .i = result };\n");
            return;
        }
        make = "datetime";
        break;
    case TYPE_STRING: make = "string"; break;
    case TYPE_INT: make = "int"; break;
    case TYPE_BOOL: make = "bool"; break;
    case TYPE_FLOAT: make = "float"; break;
    case TYPE_REF: make = "ref"; break;
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
    case TYPE_BATCH: break;
    }
    if (make) strbuf_printf(b, "    *ret_result = value_%s(result);\n", make);
    else strbuf_str(b, "    *ret_result = result;\n");
}

static void thunk(struct schema *s, struct strbuf *b, const struct message *m)
{
    strbuf_printf(
        b,
        "\n#pragma weak %s\nint thunk_%s(struct call *c, const struct value *args, struct value *ret_result, "
        "struct xerr *err);\nint thunk_%s(struct call *c, const struct value *args, "
        "struct value *ret_result, struct xerr *err)\n"
        "{\n",
        m->c_name, m->c_name, m->c_name);
    if (!m->params.n) strbuf_str(b, "    (void)args;\n");
    strbuf_printf(b, "    if (!%s) return xerr_not_implemented(err, \"%s\");\n", m->c_name, m->full_name);
    LIST_EACH(&m->params, struct param, p) unpack(b, p, p_i);
    bool result = m->result->kind != TYPE_VOID;
    if (result) strbuf_printf(b, "    %sresult;\n", c_type(s, m->result, true));
    strbuf_printf(b, "    if (%s(c", m->c_name);
    LIST_EACH(&m->params, struct param, p) argument(b, p->type, p_i);
    strbuf_printf(b, "%s, err)) return -1;\n", result ? ", &result" : "");
    pack(b, m);
    strbuf_str(b, "    return 0;\n}\n");
}

static void thunks(struct schema *s, struct strbuf *b)
{
    out_head(
        b, "From normalized arguments to a class function and back. Class functions are weak here: linking\n"
           " * one gives its message behaviour; their files must be linked as objects, not from an archive.");
    strbuf_str(b, "#include \"gen/methods.h\"\n\n#include \"gen/errors.h\"\n\n");
    bool bits = false;
    LIST_EACH(&s->messages, struct message, m)
        LIST_EACH(&m->params, struct param, p) bits |= m->has_function && is_bits(p->type);
    if (bits)
        strbuf_str(
            b,
            "static int bits_of(const struct enum_desc *e, const struct value *set, uint64_t *ret_bits)\n{\n"
            "    uint64_t bits = 0;\n"
            "    for (size_t i = 0; i < set->set.n; i++) {\n"
            "        int index = enum_index(e, set->set.items[i].s);\n"
            "        if (index < 0) return -1;\n"
            "        bits |= (uint64_t)1 << index;\n"
            "    }\n"
            "    *ret_bits = bits;\n"
            "    return 0;\n}\n");
    LIST_EACH(&s->messages, struct message, m)
        if (m->has_function) thunk(s, b, m);
}

void emit_methods(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    header(s, &b);
    out_write(&b, dir, "methods.h");
    table(s, &b);
    out_write(&b, dir, "methods.c");
    thunks(s, &b);
    out_write(&b, dir, "thunks.c");
}
