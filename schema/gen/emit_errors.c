/* gen/errors.h and gen/errors.c: a constructor per error code, and the table of codes.
 * Called by: main.c.  Calls: out. */
#include "schema/gen/gen.h"

static void prototype(struct schema *s, struct strbuf *b, const struct error_def *e)
{
    strbuf_printf(b, "int xerr_%s(struct xerr *err", lower(s, e->code));
    if (e->free_params) strbuf_str(b, ", size_t n, const char *const *params");
    LIST_EACH(&e->params, struct param, p) strbuf_printf(b, ", const char *%s", p->c_name);
    strbuf_char(b, ')');
}

static int code_cmp(const void *a, const void *b)
{
    return strcmp((*(struct error_def *const *)a)->code, (*(struct error_def *const *)b)->code);
}

static void table(struct schema *s, struct strbuf *b)
{
    LIST_EACH(&s->errors, struct error_def, e) {
        if (!e->params.n) continue;
        strbuf_printf(b, "static const char *const params_%s[] = { ", e->code);
        LIST_EACH(&e->params, struct param, p) {
            out_string(b, p->name);
            strbuf_str(b, ", ");
        }
        strbuf_str(b, "NULL };\n");
    }
    strbuf_str(b, "\nconst struct error_desc error_descs[] = {\n");
    LIST_EACH(&s->errors, struct error_def, e) {
        strbuf_printf(b, "    { \"%s\", %zu, ", e->code, e->params.n);
        if (e->params.n) strbuf_printf(b, "params_%s, ", e->code);
        else strbuf_str(b, "NULL, ");
        out_string(b, e->doc);
        strbuf_str(b, " },\n");
    }
    strbuf_str(b, "    { NULL, 0, NULL, NULL },\n};\n");
}

void emit_errors(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    if (s->errors.n) qsort(s->errors.items, s->errors.n, sizeof(*s->errors.items), code_cmp);
    out_head(&b, "A constructor per XenAPI error: sets code and parameters (copied), returns -1.");
    strbuf_str(&b, "#ifndef GEN_ERRORS_H\n#define GEN_ERRORS_H\n\n#include \"lib/model.h\"\n\n"
                   "/* Sorted by code; the last entry has no code. */\n"
                   "extern const struct error_desc error_descs[];\n\n");
    LIST_EACH(&s->errors, struct error_def, e) {
        prototype(s, &b, e);
        strbuf_str(&b, ";\n");
    }
    strbuf_str(&b, "\n#endif\n");
    out_write(&b, dir, "errors.h");

    out_head(&b, "A constructor per XenAPI error, and the table of codes.");
    strbuf_str(&b, "#include \"gen/errors.h\"\n\n");
    LIST_EACH(&s->errors, struct error_def, e) {
        prototype(s, &b, e);
        strbuf_str(&b, "\n{\n");
        if (e->free_params) {
            strbuf_printf(&b, "    return xerr_set(err, \"%s\", n, params);\n}\n\n", e->code);
            continue;
        }
        if (e->params.n) {
            strbuf_str(&b, "    const char *const params[] = { ");
            LIST_EACH(&e->params, struct param, p) strbuf_printf(&b, "%s%s", p_i ? ", " : "", p->c_name);
            strbuf_str(&b, " };\n");
        }
        strbuf_printf(&b, "    return xerr_set(err, \"%s\", %zu, %s);\n}\n\n", e->code, e->params.n,
                      e->params.n ? "params" : "NULL");
    }
    table(s, &b);
    out_write(&b, dir, "errors.c");
}
