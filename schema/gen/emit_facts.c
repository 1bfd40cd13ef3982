/* The model as tab-separated tables, in the form of the published facts: what tests compare with them.
 * Called by: main.c --facts.  Calls: out. */
#include "schema/gen/gen.h"

static void life(struct strbuf *b, const struct life *l)
{
    strbuf_printf(b, "%s\t%s\t%s\t%s\n", life_wire(l->state), l->since, l->deprecated, l->removed);
}

static void messages(struct strbuf *b, struct cls *c)
{
    LIST_EACH(&c->messages, struct message, m) {
        if (m->internal) continue;
        strbuf_printf(b, "%s\t%s\t%s\t%s\t", c->name, m->name, m->explicit_message ? "explicit" : "implicit",
                      m->result->text);
        if (m->session) strbuf_str(b, "session_id: session ref");
        LIST_EACH(&m->params, struct param, p)
            strbuf_printf(b, "%s%s%s: %s", m->session || p_i ? ", " : "", p->name, p->optional ? "?" : "",
                          p->type->text);
        strbuf_char(b, '\t');
        LIST_EACH(&m->errors, struct error_ref, e) strbuf_printf(b, "%s%s", e_i ? " " : "", e->code);
        strbuf_printf(b, "\t%s\t", role_wire(m->role));
        life(b, &m->life);
    }
}

void emit_facts(struct schema *s, const char *dir)
{
    static const char *const qualifiers[] = { "RW", "RO/constructor", "RO/runtime" };
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    LIST_EACH(&s->classes, struct cls, c) {
        strbuf_printf(&b, "%s\t", c->name);
        life(&b, &c->life);
    }
    out_write(&b, dir, "classes.tsv");
    LIST_EACH(&s->classes, struct cls, c)
        LIST_EACH(&c->fields, struct field, f) {
            strbuf_printf(&b, "%s\t%s\t%s\t%s\t%s\t", c->name, f->name, f->type->text,
                          qualifiers[f->qualifier],
                          f->default_text ? (*f->default_text ? f->default_text : "\"\"") : "");
            life(&b, &f->life);
        }
    out_write(&b, dir, "fields.tsv");
    LIST_EACH(&s->classes, struct cls, c) messages(&b, c);
    out_write(&b, dir, "messages.tsv");
    LIST_EACH(&s->enums, struct enumeration, e)
        LIST_EACH(&e->values, const char, v) strbuf_printf(&b, "%s\t%s\n", e->name, v);
    out_write(&b, dir, "enums.tsv");
    LIST_EACH(&s->errors, struct error_def, e) {
        strbuf_printf(&b, "%s\t", e->code);
        LIST_EACH(&e->params, struct param, p) strbuf_printf(&b, "%s%s", p_i ? "," : "", p->name);
        strbuf_printf(&b, "\t%d\n", e->free_params ? 0 : 1);
    }
    out_write(&b, dir, "errors.tsv");
}
