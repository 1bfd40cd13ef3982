/* What to do after an error, with the objects it is about filled in.
 * Called by: cmd.c.  Calls: advice, cmd_env. */
#include "xe/advice.h"
#include "xe/cmd.h"

#include <ctype.h>

/* What goes into a command line as it is. */
static bool plain(const char *text)
{
    return *text && !text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:_-[]")];
}

/* A parameter of the error: an object's uuid, or the text itself. NULL when neither is of use in a command. */
static const char *filled(struct cmd *c, const struct xerr *err, size_t i)
{
    struct cmd_object object;
    struct ref ref;

    if (i >= err->n) return NULL;
    if (!has_prefix(err->params[i], "OpaqueRef:")) return plain(err->params[i]) ? err->params[i] : NULL;
    if (!ref_parse(err->params[i], &ref) || !c->env->lookup(c->env->arg, CLASS_NONE, ref, c->arena, &object)) return NULL;
    return object.uuid;
}

/* The class that the error names, as commands spell it: "vm", "vm-group". NULL when none are about it. */
static const char *class_name(struct cmd *c, const struct xerr *err)
{
    const struct class_desc *cls = err->n ? model_class_nocase(err->params[0]) : NULL;
    char *name;

    if (!cls) return NULL;
    name = arena_strdup(c->arena, cls->name);
    for (char *p = name; *p; p++) *p = *p == '_' ? '-' : (char)tolower((unsigned char)*p);
    if (cmd_record_type(name)) return name;
    for (const struct xe_record *r = xe_records; r->name; r++)
        if (r->cls == cls->id) return r->name;
    return NULL;
}

/* A line of the table with its blanks filled in; NULL when it says nothing then. */
static const char *command_line(struct cmd *c, const struct xerr *err, const char *pattern)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (const char *p = pattern; *p; p++) {
        const char *word = NULL;

        if (*p != '%') {
            strbuf_char(&b, *p);
            continue;
        }
        p++;
        if (*p == 'c') word = class_name(c, err);
        else if (*p == '0') word = c->name;
        else word = filled(c, err, (size_t)(*p - '1'));
        if (!word && !isdigit((unsigned char)*p)) return NULL;
        strbuf_str(&b, word ? word : "<uuid>");
    }
    return arena_strdup(c->arena, strbuf_cstr(&b));
}

void cmd_next_steps(struct cmd *c, const struct xerr *err)
{
    const struct advice *a;

    if (!c->env->advice) return;
    a = advice_find(err->code, (const char *const *)err->params, err->n);
    if (!a) return;
    cmd_printf_error(c, "\n%s\n", cmd_tr(c, a->text));
    for (size_t i = 0; i < ADVICE_COMMANDS && a->commands[i]; i++) {
        const char *line = command_line(c, err, a->commands[i]);

        if (line) cmd_printf_error(c, "    xe %s\n", line);
    }
}
