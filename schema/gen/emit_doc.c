/* doc/api/CLASS.md, errors.md, roles.md, http.md: the reference pages.
 * Called by: main.c.  Calls: out. */
#include "schema/gen/gen.h"

static void life_note(struct strbuf *b, const struct life *l)
{
    if (*l->since) strbuf_printf(b, "since %s", l->since);
    if (l->state == LIFE_PROTOTYPED) strbuf_str(b, ", not final");
    if (*l->deprecated) strbuf_printf(b, ", deprecated since %s", l->deprecated);
    if (*l->removed) strbuf_printf(b, ", removed in %s", l->removed);
}

/* Text of a table cell: a bar would end it, an angle bracket begin HTML. */
static void cell(struct strbuf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '|') strbuf_str(b, "\\|");
        else if (*p == '<') strbuf_str(b, "&lt;");
        else strbuf_char(b, *p);
    }
}

static void signature(struct strbuf *b, const struct message *m)
{
    strbuf_printf(b, "%s %s(", m->result->text, m->full_name);
    if (m->session) strbuf_str(b, "session");
    LIST_EACH(&m->params, struct param, p)
        strbuf_printf(b, "%s%s%s %s", m->session || p_i ? ", " : "", p->optional ? "[" : "", p->type->text,
                      p->name);
    LIST_EACH(&m->params, struct param, p)
        if (p->optional) strbuf_char(b, ']');
    strbuf_char(b, ')');
}

static void message(struct strbuf *b, const struct message *m)
{
    strbuf_printf(b, "\n### %s\n\n", m->name);
    cell(b, m->doc);
    strbuf_str(b, "\n\n    ");
    signature(b, m);
    strbuf_str(b, "\n\n");
    if (m->role == ROLE_LOCAL_ROOT) strbuf_str(b, "Role: none, the local superuser only; ");
    else strbuf_printf(b, "Role: %s; ", role_wire(m->role));
    life_note(b, &m->life);
    strbuf_str(b, ".\n");
    if (!m->errors.n) return;
    strbuf_str(b, "Errors:");
    LIST_EACH(&m->errors, struct error_ref, e) strbuf_printf(b, "%s %s", e_i ? "," : "", e->code);
    strbuf_str(b, ".\n");
}

static void class_page(struct schema *s, struct cls *c, const char *dir)
{
    static const char *const qualifiers[] = { "RW", "RO/constructor", "RO/runtime" };
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    strbuf_printf(&b, "# %s\n\n%s (", c->name, c->doc);
    life_note(&b, &c->life);
    strbuf_str(&b, ")\n");
    LIST_EACH(&c->enums, struct enumeration, e) {
        strbuf_printf(&b, "%s`%s`:", e_i ? "" : "\n## Enumerations\n\n", e->name);
        LIST_EACH(&e->values, const char, v) strbuf_printf(&b, "%s `%s`", v_i ? "," : "", v);
        strbuf_str(&b, "\n\n");
    }
    if (c->fields.n)
        strbuf_str(&b, "\n## Fields\n\n| field | type | qualifier | |\n| --- | --- | --- | --- |\n");
    LIST_EACH(&c->fields, struct field, f) {
        strbuf_printf(&b, "| `%s` | ", f->name);
        cell(&b, f->type->text);
        strbuf_printf(&b, " | %s | ", qualifiers[f->qualifier]);
        cell(&b, f->doc);
        strbuf_str(&b, " (");
        life_note(&b, &f->life);
        strbuf_str(&b, ") |\n");
    }
    bool any = false;
    LIST_EACH(&c->messages, struct message, m) {
        if (!m->explicit_message && m->kind != METHOD_CREATE && m->kind != METHOD_DESTROY) continue;
        if (!any) strbuf_str(&b, "\n## Messages\n");
        any = true;
        message(&b, m);
    }
    any = false;
    LIST_EACH(&c->messages, struct message, m) {
        if (m->explicit_message || m->kind == METHOD_CREATE || m->kind == METHOD_DESTROY) continue;
        if (!any) strbuf_str(&b, "\n## Derived messages\n\n| message | role |\n| --- | --- |\n");
        any = true;
        strbuf_str(&b, "| ");
        _cleanup_strbuf_ struct strbuf sig = STRBUF_INIT;
        signature(&sig, m);
        cell(&b, strbuf_cstr(&sig));
        strbuf_printf(&b, " | %s |\n", role_wire(m->role));
    }
    out_write(&b, dir, arena_printf(s->arena, "%s.md", c->name));
}

void emit_doc(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    LIST_EACH(&s->classes, struct cls, c) class_page(s, c, dir);

    strbuf_str(
        &b, "# XenAPI reference\n\nMade from `schema/`. See also [errors](errors.md), [roles](roles.md) and "
            "[HTTP endpoints](http.md).\n\n| class | |\n| --- | --- |\n");
    LIST_EACH(&s->classes, struct cls, c) {
        strbuf_printf(&b, "| [%s](%s.md) | ", c->name, c->name);
        cell(&b, c->doc);
        strbuf_str(&b, " |\n");
    }
    out_write(&b, dir, "index.md");

    strbuf_str(&b, "# Errors\n\n| code | parameters | |\n| --- | --- | --- |\n");
    LIST_EACH(&s->errors, struct error_def, e) {
        strbuf_printf(&b, "| `%s` | ", e->code);
        LIST_EACH(&e->params, struct param, p) strbuf_printf(&b, "%s%s", p_i ? ", " : "", p->name);
        if (e->free_params) strbuf_str(&b, "...");
        strbuf_str(&b, " | ");
        cell(&b, e->doc);
        strbuf_str(&b, " |\n");
    }
    out_write(&b, dir, "errors.md");

    strbuf_str(
        &b,
        "# Roles\n\nFrom most to least powerful; each includes those below it.\n\n| role | |\n| --- | --- |\n");
    LIST_EACH(&s->roles, struct role_def, r) {
        strbuf_printf(&b, "| %s | ", r->name);
        cell(&b, r->doc);
        strbuf_str(&b, " |\n");
    }
    out_write(&b, dir, "roles.md");

    strbuf_str(&b, "# HTTP endpoints\n\n| request | parameters | role | |\n| --- | --- | --- | --- |\n");
    LIST_EACH(&s->routes, struct route, r) {
        strbuf_printf(&b, "| %s `%s` | ", r->method, r->path);
        LIST_EACH(&r->queries, const char, q) strbuf_printf(&b, "%s`%s`", q_i ? ", " : "", q);
        strbuf_printf(&b, " | %s | ", r->role_of_call ? "of the call" : role_wire(r->role));
        cell(&b, r->doc);
        strbuf_str(&b, " |\n");
    }
    out_write(&b, dir, "http.md");
}
