/* What commands print: lines, tables, errors; and what --minimal makes of them.
 * Called by: cmd_*.c.  Calls: cmd_env. */
#include "xe/cmd.h"

#include "lib/catalog.h"

#include <stdarg.h>

const char *cmd_tr(const struct cmd *c, const char *sentence)
{
    return catalog_text(c->env->words, sentence);
}

void cmd_print(struct cmd *c, const char *text)
{
    c->env->print(c->env->client, text, strlen(text));
}

void cmd_say(struct cmd *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    cmd_print(c, arena_vprintf(c->arena, cmd_tr(c, fmt), ap));
    va_end(ap);
}

void cmd_print_error(struct cmd *c, const char *text)
{
    const char *line = arena_printf(c->arena, "%s\n", cmd_tr(c, text));

    c->env->print_error(c->env->client, line, strlen(line));
}

void cmd_printf_error(struct cmd *c, const char *fmt, ...)
{
    const char *text;
    va_list ap;

    va_start(ap, fmt);
    text = arena_vprintf(c->arena, cmd_tr(c, fmt), ap);
    va_end(ap);
    c->env->print_error(c->env->client, text, strlen(text));
}

void cmd_notice(struct cmd *c, const char *text)
{
    if (c->json)
        cmd_print_error(c, text);
    else
        cmd_print(c, text);
}

void cmd_message(struct cmd *c, const char *text)
{
    if (!c->minimal && !c->json) cmd_print(c, text);
}

static void buffer(struct cmd *c, const char *text)
{
    if (c->any_buffered) strbuf_char(&c->buffered, ',');
    c->any_buffered = true;
    for (const char *p = text; *p; p++) {
        if (*p == ',' || *p == '\\') strbuf_char(&c->buffered, '\\');
        strbuf_char(&c->buffered, *p);
    }
}

void cmd_item(struct cmd *c, const char *text)
{
    const struct value v = value_string(text);

    if (c->json)
        cmd_json_single(c, "value", NULL, &v);
    else if (c->minimal)
        buffer(c, text);
    else
        cmd_print(c, text);
}

void cmd_result(struct cmd *c, const struct type_desc *type, const struct value *v)
{
    if (c->json)
        cmd_json_single(c, "value", type, v);
    else
        cmd_item(c, cmd_value_text(c, type, v));
}

void cmd_items(struct cmd *c, const struct value *set)
{
    if (set->kind != VALUE_SET) return;
    for (size_t i = 0; i < set->set.n; i++)
        if (set->set.items[i].kind == VALUE_STRING) cmd_item(c, set->set.items[i].s);
}

/* Names stand right-aligned to the longest and four more; the first, left-aligned. An empty line ends the
 * row, and the client's own newline makes two. */
void cmd_row(struct cmd *c, const struct cmd_pair *pairs, size_t n)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    size_t width = 0;

    if (c->json) {
        cmd_json_pairs(c, pairs, n);
        return;
    }
    if (c->minimal) {
        if (n) buffer(c, pairs[0].value);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (strlen(pairs[i].name) > width) width = strlen(pairs[i].name);
    width += 4;
    for (size_t i = 0; i < n; i++) {
        size_t pad = width - strlen(pairs[i].name);

        strbuf_reserve(&b, width + strlen(pairs[i].value) + 8);
        if (i)
            while (pad--) strbuf_char(&b, ' ');
        strbuf_str(&b, pairs[i].name);
        if (!i)
            while (pad--) strbuf_char(&b, ' ');
        strbuf_str(&b, ": ");
        strbuf_str(&b, pairs[i].value);
        strbuf_char(&b, '\n');
    }
    if (!n) strbuf_char(&b, '\n');
    strbuf_char(&b, '\n');
    c->env->print(c->env->client, b.ptr, b.len);
}

void cmd_row_of_map(struct cmd *c, const struct value *map)
{
    struct cmd_pair *pairs;

    if (map->kind != VALUE_MAP) return;
    pairs = arena_new_array(c->arena, struct cmd_pair, map->map.n + 1);
    for (size_t i = 0; i < map->map.n; i++)
        pairs[i] =
            (struct cmd_pair){ map->map.members[i].key, cmd_value_text(c, NULL, &map->map.members[i].value) };
    cmd_row(c, pairs, map->map.n);
}

void cmd_flush(struct cmd *c)
{
    if (c->json) cmd_json_end(c);
    if (!c->minimal) return;
    c->env->print(c->env->client, strbuf_cstr(&c->buffered), c->buffered.len);
}

/* ---- errors ------------------------------------------------------------------------------------------ */

const char *cmd_error_sentence(const struct cmd *c, const struct xerr *err)
{
    const struct error_desc *e = model_error(err->code);

    return e ? cmd_tr(c, e->doc) : NULL;
}

const char *cmd_ref_text(struct cmd *c, const char *param)
{
    struct cmd_object object;
    struct ref ref;

    if (!has_prefix(param, "OpaqueRef:") || !ref_parse(param, &ref)) return param;
    if (!c->env->lookup(c->env->arg, CLASS_NONE, ref, c->arena, &object)) return param;
    if (!object.name) return object.uuid;
    return arena_printf(c->arena, "%s (%s)", object.uuid, object.name);
}

struct value cmd_error_lines(struct cmd *c, const struct xerr *err)
{
    const struct error_desc *e = model_error(err->code);
    bool all_vms = streq(err->code, "VMS_FAILED_TO_COOPERATE");
    struct value_builder b = value_builder(c->arena);
    size_t n_names = e && !all_vms ? e->n_params : 0;

    for (size_t i = 0; i < err->n || i < n_names; i++) {
        const char *name = i < n_names ? e->params[i] : all_vms ? "VM" : "<extra>";
        const char *value = i < err->n ? cmd_ref_text(c, err->params[i]) : "<unknown>";

        value_push(&b, value_string(arena_printf(c->arena, "%s: %s", name, value)));
    }
    return value_built_set(&b);
}
