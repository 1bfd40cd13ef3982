/* The little language of types: "VM ref set", "(string -> string) map". One object a spelling.
 * Called by: check.c, derive.c, emitters.  Calls: diag. */
#include "schema/gen/gen.h"

#include <ctype.h>

struct parser {
    struct schema *s;
    struct pos pos;
    const char *p;
};

static struct type *intern(struct schema *s, const struct type *t)
{
    LIST_EACH(&s->types, struct type, old)
        if (streq(old->text, t->text)) return old;
    struct type *copy = arena_new_array(s->arena, struct type, 1);
    *copy = *t;
    copy->id = (unsigned)s->types.n;
    return list_add(s, &s->types, copy);
}

/* The next word without consuming it; empty at the end and before punctuation. */
static const char *peek(struct parser *p, size_t *ret_len)
{
    while (*p->p == ' ') p->p++;
    size_t n = 0;
    while (isalnum((unsigned char)p->p[n]) || p->p[n] == '_') n++;
    *ret_len = n;
    return p->p;
}

static bool accept(struct parser *p, const char *text)
{
    size_t len = strlen(text);
    while (*p->p == ' ') p->p++;
    if (strncmp(p->p, text, len) != 0) return false;
    if (isalnum((unsigned char)text[len - 1]) && (isalnum((unsigned char)p->p[len]) || p->p[len] == '_'))
        return false;
    p->p += len;
    return true;
}

static const struct type *parse(struct parser *p);

static struct enumeration *find_enum(struct schema *s, const char *name)
{
    LIST_EACH(&s->enums, struct enumeration, e)
        if (streq(e->name, name)) return e;
    return NULL;
}

static const struct type *parse_map(struct parser *p)
{
    const struct type *key = parse(p);
    if (!key || !accept(p, "->")) return NULL;
    const struct type *elem = parse(p);
    if (!elem || !accept(p, ")") || !accept(p, "map")) return NULL;
    return intern(
        p->s, &(struct type){ .kind = TYPE_MAP,
                              .key = key,
                              .elem = elem,
                              .text = arena_printf(p->s->arena, "(%s -> %s) map", key->text, elem->text) });
}

static const struct type *parse_base(struct parser *p)
{
    static const struct {
        const char *text;
        enum type_kind kind;
    } plain[] = {
        { "void", TYPE_VOID },
        { "string", TYPE_STRING },
        { "int", TYPE_INT },
        { "bool", TYPE_BOOL },
        { "float", TYPE_FLOAT },
        { "datetime", TYPE_DATETIME },
        { "an event batch", TYPE_BATCH },
        { "<class> record", TYPE_RECORD },
    };
    struct schema *s = p->s;
    if (accept(p, "(")) return parse_map(p);
    for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
        if (accept(p, plain[i].text))
            return intern(s, &(struct type){ .kind = plain[i].kind, .text = plain[i].text });

    bool is_enum = accept(p, "enum");
    size_t len;
    const char *word = peek(p, &len);
    if (!len) return NULL;
    char *name = arena_strndup(s->arena, word, len);
    p->p += len;
    if (is_enum) {
        struct enumeration *e = find_enum(s, name);
        if (!e) complain(p->pos, "there is no enumeration '%s'", name);
        return intern(
            s, &(struct type){ .kind = TYPE_ENUM, .e = e, .text = arena_printf(s->arena, "enum %s", name) });
    }
    bool record = accept(p, "record");
    if (!record && !accept(p, "ref")) return NULL;
    struct cls *c = find_class(s, name);
    if (!c) complain(p->pos, "there is no class '%s'", name);
    return intern(s,
                  &(struct type){ .kind = record ? TYPE_RECORD : TYPE_REF,
                                  .cls = c,
                                  .text = arena_printf(s->arena, "%s %s", name, record ? "record" : "ref") });
}

static const struct type *parse(struct parser *p)
{
    const struct type *t = parse_base(p);
    while (t) {
        if (accept(p, "set"))
            t = intern(p->s, &(struct type){ .kind = TYPE_SET,
                                             .elem = t,
                                             .text = arena_printf(p->s->arena, "%s set", t->text) });
        else if (accept(p, "option"))
            t = intern(p->s, &(struct type){ .kind = TYPE_OPTION,
                                             .elem = t,
                                             .text = arena_printf(p->s->arena, "%s option", t->text) });
        else break;
    }
    return t;
}

const struct type *type_of(struct schema *s, struct pos pos, const char *text)
{
    struct parser p = { s, pos, text };
    unsigned before = complaints();
    const struct type *t = parse(&p);
    while (t && *p.p == ' ') p.p++;
    if (t && !*p.p) return t;
    if (complaints() == before) complain(pos, "'%s' is not a type", text);
    return NULL;
}

const struct type *type_plain(struct schema *s, enum type_kind kind)
{
    switch (kind) {
    case TYPE_VOID: return type_of(s, (struct pos){ 0 }, "void");
    case TYPE_STRING: return type_of(s, (struct pos){ 0 }, "string");
    case TYPE_INT: return type_of(s, (struct pos){ 0 }, "int");
    case TYPE_BOOL: return type_of(s, (struct pos){ 0 }, "bool");
    case TYPE_FLOAT: return type_of(s, (struct pos){ 0 }, "float");
    case TYPE_DATETIME: return type_of(s, (struct pos){ 0 }, "datetime");
    case TYPE_BATCH: return type_of(s, (struct pos){ 0 }, "an event batch");
    case TYPE_RECORD: return type_of(s, (struct pos){ 0 }, "<class> record");
    case TYPE_REF:
    case TYPE_ENUM:
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_OPTION: break;
    }
    abort(); /* these need another type */
}

const struct type *type_derived(struct schema *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(s->arena, fmt, ap);
    va_end(ap);
    return type_of(s, (struct pos){ "derived", 0 }, text);
}

bool is_session_ref(const struct type *t)
{
    return t->kind == TYPE_REF && t->cls && streq(t->cls->name, "session");
}

enum cell_kind cell_of(const struct type *t)
{
    switch (t->kind) {
    case TYPE_STRING: return CELL_STRING;
    case TYPE_INT: return CELL_INT;
    case TYPE_BOOL: return CELL_BOOL;
    case TYPE_FLOAT: return CELL_FLOAT;
    case TYPE_DATETIME: return CELL_DATETIME;
    case TYPE_REF: return CELL_REF;
    case TYPE_ENUM: return CELL_ENUM;
    case TYPE_SET:
        if (t->elem->kind == TYPE_REF) return CELL_REFSET;
        if (t->elem->kind == TYPE_ENUM && t->elem->e && t->elem->e->values.n <= 64) return CELL_BITS;
        return CELL_VALUE;
    case TYPE_VOID:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
    case TYPE_BATCH: break;
    }
    return CELL_VALUE;
}
