/* --json: results as an array of objects, one a line, with the names of fields that people write.
 * Called by: cmd_*.c.  Calls: lib/json, cmd_env.
 *
 * Numbers and truth values are such, sets arrays, maps objects, dates ISO 8601; a reference is its object's
 * uuid. null: there is no such object, or nobody knows. */
#include "xe/cmd_quirk.h"

#include "lib/json.h"
#include "lib/num.h"

#include <math.h>
#include <time.h>

static void put_text(const char *s, struct strbuf *out) { json_encode_string(s, strlen(s), out); }

static void put_date(int64_t seconds, bool local, struct strbuf *out)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&t, &tm)) {
        strbuf_str(out, "null");
        return;
    }
    strbuf_printf(out, "\"%04d-%02d-%02dT%02d:%02d:%02d%s\"", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                  tm.tm_hour, tm.tm_min, tm.tm_sec, local ? "" : "Z");
}

static void put_ref(struct cmd *c, int cls, struct ref ref, bool by_name, struct strbuf *out)
{
    struct cmd_object object = { .uuid = NULL };

    if (ref_is_null(ref) || !c->env->lookup(c->env->arg, cls, ref, c->arena, &object) ||
        !(by_name ? object.name : object.uuid))
        strbuf_str(out, "null");
    else
        put_text(by_name ? object.name : object.uuid, out);
}

void cmd_json_value(struct cmd *c, const struct type_desc *type, const struct value *v, bool by_name,
                    struct strbuf *out)
{
    if (type && type->kind == TYPE_OPTION) type = type->elem;
    switch (v->kind) {
    case VALUE_VOID:
        strbuf_str(out, "null");
        return;
    case VALUE_FLOAT:
        if (isfinite(v->d))
            json_encode_value(v, out);
        else
            strbuf_str(out, "null");
        return;
    case VALUE_DATETIME:
    case VALUE_LOCALTIME:
        put_date(v->i, v->kind == VALUE_LOCALTIME, out);
        return;
    case VALUE_STRING:
        if (type && type->kind == TYPE_ENUM)
            put_text(cmd_enum_shown(type->e, v->s), out);
        else if (type && type->kind == TYPE_REF)
            put_ref(c, type->cls, cmd_as_ref(v), by_name, out);
        else
            json_encode_value(v, out);
        return;
    case VALUE_REF:
        put_ref(c, type && type->kind == TYPE_REF ? type->cls : CLASS_NONE, v->ref, by_name, out);
        return;
    case VALUE_SET:
        strbuf_char(out, '[');
        for (size_t i = 0; i < v->set.n; i++) {
            if (i) strbuf_char(out, ',');
            cmd_json_value(c, type ? type->elem : NULL, &v->set.items[i], by_name, out);
        }
        strbuf_char(out, ']');
        return;
    case VALUE_MAP:
        strbuf_char(out, '{');
        for (size_t i = 0; i < v->map.n; i++) {
            const struct value key = value_string(v->map.members[i].key);

            json_member_begin(type && type->key ? cmd_value_text(c, type->key, &key) : key.s, out);
            cmd_json_value(c, type ? type->elem : NULL, &v->map.members[i].value, by_name, out);
        }
        strbuf_char(out, '}');
        return;
    case VALUE_INT:
    case VALUE_INT32:
    case VALUE_BOOL:
        json_encode_value(v, out);
        return;
    }
}

/* A text that stands for another type, or for nothing: "<unknown>", "<not in database>". */
static void put_computed_text(const char *s, unsigned flags, struct strbuf *out)
{
    size_t n = strlen(s);
    struct value number = value_float(0);

    if (n > 2 && s[0] == '<' && s[n - 1] == '>')
        strbuf_str(out, "null");
    else if (flags & QUIRK_BOOL && (streq(s, "true") || streq(s, "false")))
        strbuf_str(out, s);
    else if (flags & QUIRK_NUMBER && num_parse_int(s, &number.i))
        strbuf_str(out, s);
    else if (flags & QUIRK_NUMBER && num_parse_float(s, &number.d) && isfinite(number.d))
        json_encode_value(&number, out);
    else
        put_text(s, out);
}

void cmd_json_computed(const struct value *v, unsigned flags, struct strbuf *out)
{
    if (v->kind == VALUE_STRING) {
        put_computed_text(v->s, flags, out);
    } else if (v->kind == VALUE_SET) {
        strbuf_char(out, '[');
        for (size_t i = 0; i < v->set.n; i++) {
            if (i) strbuf_char(out, ',');
            put_computed_text(v->set.items[i].s, flags, out);
        }
        strbuf_char(out, ']');
    } else if (v->kind == VALUE_MAP) {
        strbuf_char(out, '{');
        for (size_t i = 0; i < v->map.n; i++) {
            json_member_begin(v->map.members[i].key, out);
            put_computed_text(v->map.members[i].value.s, flags, out);
        }
        strbuf_char(out, '}');
    } else {
        strbuf_str(out, "null");
    }
}

/* ---- objects ----------------------------------------------------------------------------------------- */

/* Whether another follows decides about the comma: each line waits for the next. */
void cmd_json_line(struct cmd *c, const char *object)
{
    if (c->any_buffered) {
        strbuf_char(&c->buffered, ',');
        cmd_print(c, strbuf_cstr(&c->buffered));
    } else {
        cmd_print(c, "[");
    }
    c->any_buffered = true;
    strbuf_clear(&c->buffered);
    strbuf_str(&c->buffered, object);
}

void cmd_json_end(struct cmd *c)
{
    if (!c->any_buffered) {
        cmd_print(c, "[]");
        return;
    }
    cmd_print(c, strbuf_cstr(&c->buffered));
    cmd_print(c, "]");
}

void cmd_json_object(struct cmd *c, const struct type_desc *type, const struct value *map)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    cmd_json_value(c, type, map, false, &b);
    cmd_json_line(c, strbuf_cstr(&b));
}

void cmd_json_single(struct cmd *c, const char *name, const struct type_desc *type, const struct value *v)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    strbuf_char(&b, '{');
    json_member_begin(name, &b);
    cmd_json_value(c, type, v, false, &b);
    strbuf_char(&b, '}');
    cmd_json_line(c, strbuf_cstr(&b));
}

/* The title of a row is the name and what may be done with it: "uuid ( RO)". */
void cmd_json_pairs(struct cmd *c, const struct cmd_pair *pairs, size_t n)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    strbuf_char(&b, '{');
    for (size_t i = 0; i < n; i++) {
        const char *rights = strstr(pairs[i].name, " (");

        json_member_begin(rights ? arena_strndup(c->arena, pairs[i].name, (size_t)(rights - pairs[i].name))
                                 : pairs[i].name,
                          &b);
        put_text(pairs[i].value, &b);
    }
    strbuf_char(&b, '}');
    cmd_json_line(c, strbuf_cstr(&b));
}
