/* The messages that follow from a class's fields: accessors, records, lists, lookups, constructor and destructor.
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
        "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
        "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed",
        "sizeof", "static", "struct", "switch", "typedef", "typeof", "union", "unsigned", "void", "volatile", "while",
        "asm", "unix", "linux", "bool", "true", "false",
        "c", "err", "ret_result",   /* ours in every class function */
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
    *m = (struct message){ .pos = pos, .cls = c, .name = name, .kind = kind, .result = result, .role = role,
                           .life = life, .session = true };
    return list_add(s, &c->messages, m);
}

static void add_param(struct schema *s, struct message *m, const char *name, const struct type *type, bool secret)
{
    struct param *p = arena_new_array(s->arena, struct param, 1);
    *p = (struct param){ .pos = m->pos, .name = name, .c_name = c_identifier(s, name), .type = type,
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

static void derive_field(struct schema *s, struct cls *c, struct field *f)
{
    struct arena *a = s->arena;
    const struct type *none = type_plain(s, TYPE_VOID);
    if (!f->type) return;   /* complained about already */
    struct message *m = on_self(s, add(s, c, METHOD_GET, arena_printf(a, "get_%s", f->name), f->type, f->reader,
                                       f->life, f->pos),
                                arena_printf(a, "The field %s of this %s.", f->name, c->name));
    m->field = f;
    if (f->qualifier != QUAL_RW) return;

    m = on_self(s, add(s, c, METHOD_SET, arena_printf(a, "set_%s", f->name), none, f->writer, f->life, f->pos),
                arena_printf(a, "Changes the field %s of this %s.", f->name, c->name));
    m->field = f;
    m->has_function = true;
    add_param(s, m, "value", f->type, f->secret);

    bool map = f->type->kind == TYPE_MAP;
    if (!map && f->type->kind != TYPE_SET) return;
    m = on_self(s, add(s, c, METHOD_ADD, arena_printf(a, map ? "add_to_%s" : "add_%s", f->name), none, f->writer,
                       f->life, f->pos),
                arena_printf(a, map ? "Adds a key that is not there yet to the field %s of this %s."
                                    : "Adds one value to the field %s of this %s; nothing happens when it is there.",
                             f->name, c->name));
    m->field = f;
    m->has_function = true;
    if (map) add_param(s, m, "key", f->type->key, false);
    add_param(s, m, "value", f->type->elem, f->secret);

    m = on_self(s, add(s, c, METHOD_REMOVE, arena_printf(a, map ? "remove_from_%s" : "remove_%s", f->name), none,
                       f->writer, f->life, f->pos),
                arena_printf(a, map ? "Removes a key from the field %s of this %s; nothing happens when it is not there."
                                    : "Removes one value from the field %s of this %s; nothing happens when it is not "
                                      "there.",
                             f->name, c->name));
    m->field = f;
    m->has_function = true;
    if (map) add_param(s, m, "key", f->type->key, false);
    else add_param(s, m, "value", f->type->elem, f->secret);
}

static void derive_lists(struct schema *s, struct cls *c)
{
    struct arena *a = s->arena;
    const struct type *records = type_derived(s, "(%s ref -> %s record) map", c->name, c->name);
    struct message *m = add(s, c, METHOD_GET_ALL, "get_all", type_derived(s, "%s ref set", c->name), c->reader, c->life,
                            c->pos);
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
    on_self(s, add(s, c, METHOD_GET_RECORD, "get_record", type_derived(s, "%s record", c->name), c->reader, c->life,
                   c->pos),
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
        m->doc = arena_printf(a, "Makes a new %s from a record; members that are left out get their default.", c->name);
        m->blocks = c->create_blocks;
        m->has_function = true;
        add_param(s, m, "args", type_derived(s, "%s record", c->name), c->create_secret);
        m = on_self(s, add(s, c, METHOD_DESTROY, "destroy", type_plain(s, TYPE_VOID), c->constructor, c->life, c->pos),
                    arena_printf(a, "Destroys this %s.", c->name));
        m->blocks = c->destroy_blocks;
        m->has_function = true;
    }
    LIST_EACH(&c->fields, struct field, f) derive_field(s, c, f);
    if (c->get_all) derive_lists(s, c);
}
