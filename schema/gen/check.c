/* Every rule of the description that the grammar cannot say.
 * Called by: main.c.  Calls: types, derive. */
#include "schema/gen/gen.h"

#include <ctype.h>
#include <strings.h>

struct cls *find_class(struct schema *s, const char *name)
{
    LIST_EACH(&s->classes, struct cls, c)
        if (streq(c->name, name)) return c;
    return NULL;
}

struct field *find_field(struct cls *c, const char *name)
{
    LIST_EACH(&c->fields, struct field, f)
        if (streq(f->name, name)) return f;
    return NULL;
}

struct error_def *find_error(struct schema *s, const char *code)
{
    LIST_EACH(&s->errors, struct error_def, e)
        if (streq(e->code, code)) return e;
    return NULL;
}

/* ---- names that must differ ------------------------------------------------------------------ */

/* Every identifier of one C name space, to find two descriptions that would make the same. */
struct identifier {
    const char *name;
    struct pos pos;
};

static void claim(struct schema *s, struct list *names, const char *name, struct pos pos)
{
    struct identifier *id = arena_new_array(s->arena, struct identifier, 1);
    *id = (struct identifier){ name, pos };
    list_add(s, names, id);
}

static int identifier_cmp(const void *a, const void *b)
{
    const struct identifier *x = *(struct identifier *const *)a, *y = *(struct identifier *const *)b;
    int order = strcmp(x->name, y->name);
    if (!order) order = strcmp(x->pos.file, y->pos.file);
    return order ? order : x->pos.line - y->pos.line;
}

static void complain_doubles(struct list *names, const char *what)
{
    if (names->n) qsort(names->items, names->n, sizeof(*names->items), identifier_cmp);
    for (size_t i = 1; i < names->n; i++) {
        const struct identifier *a = names->items[i - 1], *b = names->items[i];
        if (streq(a->name, b->name))
            complain(b->pos, "%s '%s' is there already: %s:%d", what, b->name, a->pos.file, a->pos.line);
    }
}

static void check_names(struct schema *s)
{
    struct list classes = { 0 }, enums = { 0 }, functions = { 0 }, constants = { 0 }, fields = { 0 },
                columns = { 0 }, messages = { 0 }, errors = { 0 }, records = { 0 }, templates = { 0 },
                routes = { 0 }, roles = { 0 };
    LIST_EACH(&s->classes, struct cls, c) {
        claim(s, &classes, c->c_name, c->pos);
        claim(s, &constants, arena_printf(s->arena, "CLASS_%s", c->name), c->pos);
        LIST_EACH(&c->fields, struct field, f) {
            claim(s, &fields, arena_printf(s->arena, "%s.%s", c->name, f->name), f->pos);
            claim(s, &columns, arena_printf(s->arena, "%s.%s", c->name, lower(s, f->name)), f->pos);
            claim(s, &constants, arena_printf(s->arena, "F_%s_%s", c->name, f->name), f->pos);
        }
        LIST_EACH(&c->messages, struct message, m) {
            claim(s, &messages, m->full_name, m->pos);
            if (m->has_function) claim(s, &functions, m->c_name, m->pos);
        }
    }
    LIST_EACH(&s->enums, struct enumeration, e) {
        claim(s, &enums, e->name, e->pos);
        LIST_EACH(&e->values, const char, v)
            claim(s, &constants, c_identifier(s, arena_printf(s->arena, "%s_%s", e->name, v)), e->pos);
    }
    LIST_EACH(&s->errors, struct error_def, e) claim(s, &errors, e->code, e->pos);
    LIST_EACH(&s->xe, struct xe_record, r) claim(s, &records, r->name, r->pos);
    LIST_EACH(&s->templates, struct template, t) claim(s, &templates, t->uuid, t->pos);
    LIST_EACH(&s->roles, struct role_def, r) claim(s, &roles, r->name, r->pos);
    LIST_EACH(&s->routes, struct route, r)
        claim(s, &routes, arena_printf(s->arena, "%s %s", r->method, r->path), r->pos);
    complain_doubles(&classes, "class");
    complain_doubles(&enums, "enumeration");
    complain_doubles(&fields, "field");
    if (!complaints()) complain_doubles(&columns, "column");
    if (!complaints()) complain_doubles(&messages, "message");
    if (!complaints()) complain_doubles(&functions, "C function");
    if (!complaints()) complain_doubles(&constants, "C constant");
    complain_doubles(&errors, "error");
    complain_doubles(&records, "record");
    complain_doubles(&templates, "template");
    complain_doubles(&routes, "route");
    complain_doubles(&roles, "role");
}

/* ---- classes --------------------------------------------------------------------------------- */

static void check_life(struct pos pos, const char *what, const char *name, const struct life *l)
{
    bool needs = l->state == LIFE_DEPRECATED || l->state == LIFE_REMOVED;
    if (needs && !*l->deprecated && !*l->removed) complain(pos, "%s %s: since when?", what, name);
}

static void check_key_rules(struct field *f)
{
    if (f->keys.n && f->type->kind != TYPE_MAP)
        complain(f->pos, "field %s is no map: key is for maps", f->name);
    LIST_EACH(&f->keys, struct key_rule, k) {
        const char *star = strchr(k->pattern, '*');
        if (!*k->pattern || (star && star[1]))
            complain(k->pos, "'%s': a key, or a prefix with one * at its end", k->pattern);
    }
}

static void check_field(struct schema *s, struct field *f)
{
    f->type = type_of(s, f->pos, f->type_text);
    if (!f->type) return;
    f->cell = cell_of(f->type);
    if (is_session_ref(f->type)) f->secret = true;
    check_life(f->pos, "field", f->name, &f->life);
    check_key_rules(f);
    if (streq(f->name, "uuid") && f->type->kind == TYPE_STRING) f->cls->uuid = f;
    if (streq(f->name, "name_label") && f->type->kind == TYPE_STRING) f->cls->name_label = f;
    if (f->qualifier == QUAL_RW && f->inverse_text)
        complain(f->pos, "field %s is kept by the database: it cannot be RW", f->name);
}

/* "CLASS.FIELD" of an inverse: a reference to this field's class, in the class whose references the field holds. */
static void check_inverse(struct schema *s, struct field *f)
{
    if (!f->inverse_text || !f->type) return;
    const char *dot = strchr(f->inverse_text, '.');
    struct cls *c =
        dot ? find_class(s, arena_strndup(s->arena, f->inverse_text, (size_t)(dot - f->inverse_text))) : NULL;
    struct field *of = c ? find_field(c, dot + 1) : NULL;
    if (!of) {
        complain(f->pos, "inverse '%s': there is no such field", f->inverse_text);
        return;
    }
    if (f->cell != CELL_REFSET || f->type->elem->cls != c)
        complain(f->pos, "inverse '%s': field %s is no set of %s", f->inverse_text, f->name, c->name);
    else if (!of->type || of->type->kind != TYPE_REF || of->type->cls != f->cls)
        complain(f->pos, "inverse '%s': that is no reference to a %s", f->inverse_text, f->cls->name);
    else f->inverse = of;
}

/* set_F, add_(to_)F, remove_(from_)F: the field, and what the one or two last parameters must be. */
static void check_access(struct message *m)
{
    static const struct {
        const char *prefix;
        enum method_kind kind;
        bool map;
    } forms[] = {
        { "set_", METHOD_SET, false },           { "add_to_", METHOD_ADD, true },
        { "remove_from_", METHOD_REMOVE, true }, { "add_", METHOD_ADD, false },
        { "remove_", METHOD_REMOVE, false },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
        if (!has_prefix(m->name, forms[i].prefix)) continue;
        struct field *f = find_field(m->cls, m->name + strlen(forms[i].prefix));
        if (!f || !f->type) continue;
        const struct type *want[2] = { f->type, NULL };
        if (forms[i].map) {
            if (f->type->kind != TYPE_MAP) continue;
            want[0] = f->type->key;
            want[1] = forms[i].kind == METHOD_ADD ? f->type->elem : NULL;
        } else if (forms[i].kind != METHOD_SET) {
            if (f->type->kind != TYPE_SET) continue;
            want[0] = f->type->elem;
        }
        size_t n = want[1] ? 3 : 2;
        const struct param *const *p = (const struct param *const *)m->params.items;
        if (m->params.n == n && p[0]->type && p[0]->type->cls == m->cls && p[1]->type == want[0] &&
            (n < 3 || p[2]->type == want[1]) && m->result && m->result->kind == TYPE_VOID) {
            m->field = f;
            m->kind = forms[i].kind;
            return;
        }
    }
    complain(m->pos, "message %s is no plain access to a field: check its name and parameters", m->name);
}

static bool contains_enum_set(const struct type *t)
{
    return t->kind == TYPE_SET && t->elem->kind == TYPE_ENUM;
}

static void check_message(struct schema *s, struct message *m)
{
    m->result = type_of(s, m->pos, m->result_text);
    check_life(m->pos, "message", m->name, &m->life);
    if (m->result && contains_enum_set(m->result))
        complain(m->pos, "message %s: a function cannot return a set of an enumeration", m->name);
    if (m->local_time && (!m->result || m->result->kind != TYPE_DATETIME))
        complain(m->pos, "message %s: local-time is for results of type datetime", m->name);
    bool optional = false;
    struct list names = { 0 };
    LIST_EACH(&m->params, struct param, p) {
        if (!p->type_text) {
            complain(p->pos, "parameter %s has no type", p->name);
            continue;
        }
        p->type = type_of(s, p->pos, p->type_text);
        if (p->type && is_session_ref(p->type)) p->secret = true;
        p->c_name = c_identifier(s, p->name);
        claim(s, &names, p->c_name, p->pos);
        if (optional && !p->optional)
            complain(p->pos, "parameter %s follows an optional one: make it optional", p->name);
        if (p->optional && !p->default_text)
            complain(p->pos, "optional parameter %s has no default", p->name);
        if (!p->optional && p->default_text)
            complain(p->pos, "parameter %s has a default but is not optional", p->name);
        optional |= p->optional;
    }
    complain_doubles(&names, "parameter");
    LIST_EACH(&m->errors, struct error_ref, e)
        if (!find_error(s, e->code)) complain(e->pos, "there is no error '%s'", e->code);
    if (m->access) check_access(m);
}

static void check_class(struct schema *s, struct cls *c)
{
    check_life(c->pos, "class", c->name, &c->life);
    LIST_EACH(&c->fields, struct field, f) check_inverse(s, f);
    LIST_EACH(&c->messages, struct message, m) {
        m->kind = METHOD_CUSTOM;
        check_message(s, m);
    }
    if (c->evented && !c->stored) complain(c->pos, "class %s is evented but not stored", c->name);
    if (c->has_constructor && !c->accessors)
        complain(c->pos, "class %s has a constructor but no accessors", c->name);
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* The codes that generated thunks raise. */
static void check_thunk_errors(struct schema *s)
{
    static const struct {
        const char *code;
        size_t n;
    } needed[] = { { "NOT_IMPLEMENTED", 1 }, { "FIELD_TYPE_ERROR", 1 } };
    const struct error_def *last = s->errors.n ? s->errors.items[s->errors.n - 1] : NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
        const struct error_def *e = find_error(s, needed[i].code);
        if (!e || e->params.n != needed[i].n)
            complain(last ? last->pos : (struct pos){ "errors.xml", 1 },
                     "error %s, with one parameter, is needed by gen/thunks.c", needed[i].code);
    }
}

static void check_errors(struct schema *s)
{
    check_thunk_errors(s);
    LIST_EACH(&s->errors, struct error_def, e) {
        if (e->free_params && e->params.n)
            complain(e->pos, "error %s has parameters and params=\"free\"", e->code);
        if (e->params.n > XERR_MAX_PARAMS)
            complain(e->pos, "error %s has more than %d parameters", e->code, XERR_MAX_PARAMS);
        struct list names = { 0 };
        LIST_EACH(&e->params, struct param, p) {
            p->c_name = c_identifier(s, p->name);
            claim(s, &names, p->c_name, p->pos);
        }
        complain_doubles(&names, "parameter");
    }
}

static void check_xe_path(struct schema *s, struct xe_record *r, struct xe_field *f)
{
    if (!*f->path) return;
    const char *dot = strchr(f->path, '.');
    const char *first = dot ? arena_strndup(s->arena, f->path, (size_t)(dot - f->path)) : f->path;
    struct field *a = find_field(r->cls, first), *b = NULL;
    if (a && dot && a->type && a->type->kind == TYPE_REF && a->type->cls)
        b = find_field(a->type->cls, dot + 1);
    if (!a || (dot && !b)) complain(f->pos, "path '%s': class %s has no such field", f->path, r->class_name);
    f->first = a;
    f->second = b;
}

static bool hex_uuid(const char *text)
{
    for (unsigned i = 0; i < 36; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    return !text[36];
}

static void check_size(const struct template *t, const char *text)
{
    if (!bytes_of(text)) complain(t->pos, "template %s: '%s' is no size", t->name_label, text);
}

static void check_number(const struct template *t, const char *text)
{
    if (!*text || text[strspn(text, "0123456789")])
        complain(t->pos, "template %s: '%s' is no number", t->name_label, text);
}

static void check_template(const struct template *t)
{
    if (!hex_uuid(t->uuid)) complain(t->pos, "template %s: '%s' is no uuid", t->name_label, t->uuid);
    check_size(t, t->min_memory);
    check_size(t, t->max_memory);
    check_number(t, t->vcpus_default);
    check_number(t, t->vcpus_limit);
    LIST_EACH(&t->disks, struct pair, d) check_size(t, d->value);
}

static void check_tables(struct schema *s)
{
    for (size_t i = 0; i < s->roles.n; i++) {
        const struct role_def *r = s->roles.items[i];
        if (i > ROLE_READ_ONLY || !streq(r->name, role_wire((enum role_id)i)))
            complain(r->pos, "role %s: the roles are those of enum role_id in lib/model.h, in its order",
                     r->name);
        if (!hex_uuid(r->uuid)) complain(r->pos, "role %s: '%s' is no uuid", r->name, r->uuid);
    }
    LIST_EACH(&s->routes, struct route, r)
        if (r->path[0] != '/' && !streq(r->path, "*")) complain(r->pos, "path '%s' does not begin with a slash", r->path);
    LIST_EACH(&s->templates, struct template, t) check_template(t);
    LIST_EACH(&s->xe, struct xe_record, r) {
        r->cls = find_class(s, r->class_name);
        if (!r->cls) {
            complain(r->pos, "there is no class '%s'", r->class_name);
            continue;
        }
        LIST_EACH(&r->fields, struct xe_field, f) check_xe_path(s, r, f);
    }
}

/* Defaults must be values of their type; writing them out checks that. */
static void check_defaults(struct schema *s)
{
    _cleanup_strbuf_ struct strbuf decls = STRBUF_INIT, text = STRBUF_INIT;
    LIST_EACH(&s->classes, struct cls, c) {
        LIST_EACH(&c->fields, struct field, f)
            if (f->type) out_value(s, &decls, &text, f->pos, f->type, f->default_text, "x");
        LIST_EACH(&c->messages, struct message, m)
            LIST_EACH(&m->params, struct param, p)
                if (p->type && p->default_text)
                    out_value(s, &decls, &text, p->pos, p->type, p->default_text, "x");
    }
}

static int message_cmp(const void *a, const void *b)
{
    return strcmp((*(struct message *const *)a)->full_name, (*(struct message *const *)b)->full_name);
}

void check(struct schema *s)
{
    LIST_EACH(&s->classes, struct cls, c)
        LIST_EACH(&c->fields, struct field, f) check_field(s, f);
    LIST_EACH(&s->classes, struct cls, c) check_class(s, c);
    check_errors(s);
    if (complaints()) return;

    LIST_EACH(&s->classes, struct cls, c) {
        derive(s, c);
        LIST_EACH(&c->messages, struct message, m) {
            m->full_name = arena_printf(s->arena, "%s.%s", c->name, m->name);
            m->c_name = c_identifier(s, arena_printf(s->arena, "%s_%s", c->c_name, m->name));
            list_add(s, &s->messages, m);
        }
    }
    if (s->messages.n) qsort(s->messages.items, s->messages.n, sizeof(*s->messages.items), message_cmp);
    check_tables(s);
    check_defaults(s);
    check_names(s);
}
