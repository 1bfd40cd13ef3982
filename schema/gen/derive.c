/* The messages that follow from a class's fields: accessors, records, lists, lookups, create and destroy.
 * Called by: check.c.  Calls: types. */
#include "schema/gen/gen.h"

#include <ctype.h>

const char *lower(struct schema *s, const char *text)
{
    char *copy = arena_strdup(s->arena, text);
    for (char *p = copy; *p; p++) *p = (char)tolower((unsigned char)*p);
    return copy;
}

const char *c_identifier(struct schema *s, const char *name)
{
    static const char *const taken[] = {
        "auto",   "break",    "case",   "char",       "const",    "continue", "default", "do",
        "double", "else",     "enum",   "extern",     "float",    "for",      "goto",    "if",
        "inline", "int",      "long",   "register",   "restrict", "return",   "short",   "signed",
        "sizeof", "static",   "struct", "switch",     "typedef",  "typeof",   "union",   "unsigned",
        "void",   "volatile", "while",  "asm",        "unix",     "linux",    "bool",    "true",
        "false",  "c",        "err",    "ret_result", /* ours in every class function */
    };
    char *copy = arena_strdup(s->arena, name);
    for (char *p = copy; *p; p++)
        if (!isalnum((unsigned char)*p)) *p = '_';
    for (unsigned i = 0; i < ARRAY_SIZE(taken); i++)
        if (streq(taken[i], copy)) return arena_printf(s->arena, "%s_", copy);
    return isdigit((unsigned char)copy[0]) ? arena_printf(s->arena, "_%s", copy) : copy;
}

static struct message *add(struct schema *s, struct cls *c, enum method_kind kind, const char *name,
                           const struct type *result, enum role_id role, struct life life, struct pos pos)
{
    struct message *m = arena_new_array(s->arena, struct message, 1);
    *m = (struct message){ .pos = pos,
                           .cls = c,
                           .name = name,
                           .kind = kind,
                           .result = result,
                           .role = role,
                           .life = life,
                           .session = true };
    return list_add(s, &c->messages, m);
}

static void add_param(struct schema *s, struct message *m, const char *name, const struct type *type,
                      bool secret)
{
    struct param *p = arena_new_array(s->arena, struct param, 1);
    *p = (struct param){ .pos = m->pos,
                         .name = name,
                         .c_name = c_identifier(s, name),
                         .type = type,
                         .secret = secret || (type && is_session_ref(type)) };
    list_add(s, &m->params, p);
}

/* A message on one object: the parameter self, and the sentence of documentation. */
static struct message *on_self(struct schema *s, struct message *m, const char *doc)
{
    add_param(s, m, "self", type_derived(s, "%s ref", m->cls->name), false);
    m->doc = doc;
    return m;
}

/* The text with the field's name for $ and the class's for @. */
static const char *fill(struct schema *s, const char *text, const char *field, const char *class_name)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    for (; *text; text++) {
        if (*text == '$') strbuf_str(&b, field);
        else if (*text == '@') strbuf_str(&b, class_name);
        else strbuf_char(&b, *text);
    }
    return arena_strdup(s->arena, strbuf_cstr(&b));
}

/* One accessor of a field; name and doc as fill() takes them. */
static struct message *accessor(struct schema *s, struct field *f, enum method_kind kind, const char *name,
                                const struct type *result, const char *doc)
{
    struct cls *c = f->cls;
    enum role_id role = kind == METHOD_GET ? f->reader : f->writer;
    struct message *m = add(s, c, kind, fill(s, name, f->name, ""), result, role, f->life, f->pos);
    m->field = f;
    m->has_function = kind != METHOD_GET;
    return on_self(s, m, fill(s, doc, f->name, c->name));
}

static void derive_field(struct schema *s, struct field *f)
{
    const struct type *none = type_plain(s, TYPE_VOID);
    if (!f->type) return; /* complained about already */
    accessor(s, f, METHOD_GET, "get_$", f->type, "The field $ of this @.");
    if (f->qualifier != QUAL_RW) return;

    struct message *m = accessor(s, f, METHOD_SET, "set_$", none, "Changes the field $ of this @.");
    add_param(s, m, "value", f->type, f->secret);

    if (f->type->kind == TYPE_MAP) {
        m = accessor(s, f, METHOD_ADD, "add_to_$", none,
                     "Adds a key that is not there yet to the field $ of this @.");
        add_param(s, m, "key", f->type->key, false);
        add_param(s, m, "value", f->type->elem, f->secret);
        m = accessor(s, f, METHOD_REMOVE, "remove_from_$", none,
                     "Removes a key from the field $ of this @; nothing happens when it is not there.");
        add_param(s, m, "key", f->type->key, false);
    } else if (f->type->kind == TYPE_SET) {
        m = accessor(s, f, METHOD_ADD, "add_$", none,
                     "Adds one value to the field $ of this @; nothing happens when it is there.");
        add_param(s, m, "value", f->type->elem, f->secret);
        m = accessor(s, f, METHOD_REMOVE, "remove_$", none,
                     "Removes one value from the field $ of this @; nothing happens when it is not there.");
        add_param(s, m, "value", f->type->elem, f->secret);
    }
}

static void derive_lists(struct schema *s, struct cls *c)
{
    struct arena *a = s->arena;
    const struct type *records = type_derived(s, "(%s ref -> %s record) map", c->name, c->name);
    struct message *m = add(s, c, METHOD_GET_ALL, "get_all", type_derived(s, "%s ref set", c->name),
                            c->reader, c->life, c->pos);
    m->doc = arena_printf(a, "Every %s the system knows.", c->name);
    m = add(s, c, METHOD_GET_ALL_RECORDS, "get_all_records", records, c->reader, c->life, c->pos);
    m->doc = arena_printf(a, "Every %s with its record.", c->name);
    m = add(s, c, METHOD_GET_ALL_RECORDS_WHERE, "get_all_records_where", records, c->reader, c->life, c->pos);
    m->doc = arena_printf(a, "Every %s whose fields satisfy an expression, with its record.", c->name);
    m->internal = true;
    add_param(s, m, "expr", type_plain(s, TYPE_STRING), false);
}

void derive(struct schema *s, struct cls *c)
{
    struct arena *a = s->arena;
    if (!c->accessors) return;

    const struct type *ref = type_derived(s, "%s ref", c->name), *string = type_plain(s, TYPE_STRING);
    on_self(s,
            add(s, c, METHOD_GET_RECORD, "get_record", type_derived(s, "%s record", c->name), c->reader,
                c->life, c->pos),
            arena_printf(a, "Every field of this %s.", c->name));
    if (c->uuid) {
        struct message *m = add(s, c, METHOD_GET_BY_UUID, "get_by_uuid", ref, c->reader, c->life, c->pos);
        m->doc = arena_printf(a, "The %s that has this uuid.", c->name);
        add_param(s, m, "uuid", string, false);
    }
    if (c->name_label && c->by_name) {
        struct message *m = add(s, c, METHOD_GET_BY_NAME_LABEL, "get_by_name_label",
                                type_derived(s, "%s ref set", c->name), c->reader, c->life, c->pos);
        m->doc = arena_printf(a, "Every %s that has this name.", c->name);
        add_param(s, m, "label", string, false);
    }
    if (c->has_constructor) {
        struct message *m = add(s, c, METHOD_CREATE, "create", ref, c->constructor, c->life, c->pos);
        m->doc = arena_printf(a, "Makes a new %s from a record; members that are left out get their default.",
                              c->name);
        m->blocks = c->create_blocks;
        m->has_function = true;
        add_param(s, m, "args", type_derived(s, "%s record", c->name), c->create_secret);
        m = on_self(
            s,
            add(s, c, METHOD_DESTROY, "destroy", type_plain(s, TYPE_VOID), c->constructor, c->life, c->pos),
            arena_printf(a, "Destroys this %s.", c->name));
        m->blocks = c->destroy_blocks;
        m->has_function = true;
    }
    LIST_EACH(&c->fields, struct field, f) derive_field(s, f);
    if (c->get_all) derive_lists(s, c);
}
