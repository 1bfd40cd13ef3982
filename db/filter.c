/* The expressions of get_all_records_where: field "x" = "y", and, or, not, parentheses, true, false.
 * Called by: rpc/ (get_all_records_where), xe's server side.  Calls: row, model.
 *
 * A field is compared by the text that the reference database would hold: true and false, decimal numbers,
 * OpaqueRef:..., an enumeration's wire text, ISO dates, ('a' 'b') and (('key' 'value')) for sets and maps.
 * "and" binds closer than "or". Source: wire.md A5. */
#include "db/row.h"

#include "gen/errors.h"
#include "lib/iso8601.h"
#include "lib/num.h"

#include <stdio.h>
#include <strings.h>

enum { MAX_LENGTH = 64 * 1024, MAX_DEPTH = 64 };

enum node_kind { NODE_TRUE, NODE_FALSE, NODE_NOT, NODE_AND, NODE_OR, NODE_EQ };

struct operand {
    const struct field_desc *field;    /* NULL = a literal */
    const char *literal;
};

struct filter {
    enum node_kind kind;
    struct filter *child, *next;       /* first child (NOT, AND, OR); next sibling */
    struct operand left, right;        /* EQ */
};

/* ---- parsing ---- */

struct parser {
    const char *text, *at;
    const struct class_desc *cls;
    struct arena *arena;
    struct xerr *err;
    int depth;
};

static struct filter *parse_or(struct parser *p);

static struct filter *fail(struct parser *p, const char *what)
{
    xerr_invalid_value(p->err, "expr",
                       arena_printf(p->arena, "position %zu: %s", (size_t)(p->at - p->text), what));
    return NULL;
}

static struct filter *node(struct parser *p, enum node_kind kind)
{
    struct filter *f = arena_new_array(p->arena, struct filter, 1);

    f->kind = kind;
    return f;
}

static void skip_space(struct parser *p)
{
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r') p->at++;
}

static bool take_char(struct parser *p, char c)
{
    skip_space(p);
    if (*p->at != c) return false;
    p->at++;
    return true;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool take_word(struct parser *p, const char *word)
{
    size_t n = strlen(word);

    skip_space(p);
    if (strncasecmp(p->at, word, n) != 0 || is_word_char(p->at[n])) return false;
    p->at += n;
    return true;
}

/* A text in double or single quotes; \" and \\ stand for themselves. NULL with the error set. */
static const char *parse_string(struct parser *p)
{
    skip_space(p);
    char quote = *p->at;
    if (quote != '"' && quote != '\'') {
        fail(p, "a text in quotes is expected");
        return NULL;
    }
    const char *from = p->at + 1, *s = from;
    while (*s && *s != quote) s += *s == '\\' && (s[1] == quote || s[1] == '\\') ? 2 : 1;
    if (!*s) {
        fail(p, "a text is not closed");
        return NULL;
    }
    char *out = arena_alloc(p->arena, (size_t)(s - from) + 1), *end = out;
    for (p->at = s + 1; from < s; *end++ = *from++)
        if (*from == '\\' && (from[1] == quote || from[1] == '\\')) from++;
    *end = '\0';
    return out;
}

static bool parse_operand(struct parser *p, struct operand *ret_operand)
{
    struct operand o = { NULL, NULL };
    bool field = take_word(p, "field");
    const char *from = p->at, *s = parse_string(p);

    if (!s) return false;
    if (!field) {
        o.literal = s;
    } else if (!(o.field = model_field_by_name(p->cls, s))) {
        p->at = from;
        fail(p, arena_printf(p->arena, "class %s has no field %s", p->cls->name, s));
        return false;
    }
    *ret_operand = o;
    return true;
}

static struct filter *parse_comparison(struct parser *p)
{
    struct filter *f = node(p, NODE_EQ);

    if (!parse_operand(p, &f->left)) return NULL;
    if (!take_char(p, '=')) return fail(p, "= is expected");
    return parse_operand(p, &f->right) ? f : NULL;
}

static struct filter *parse_primary(struct parser *p)
{
    struct filter *f;

    if (take_word(p, "true")) return node(p, NODE_TRUE);
    if (take_word(p, "false")) return node(p, NODE_FALSE);
    if (!take_char(p, '(')) return parse_comparison(p);
    f = parse_or(p);
    if (f && !take_char(p, ')')) return fail(p, ") is expected");
    return f;
}

static struct filter *parse_not(struct parser *p)
{
    struct filter *f = NULL;

    if (++p->depth > MAX_DEPTH) return fail(p, "the expression is nested too deeply");
    if (!take_word(p, "not")) {
        f = parse_primary(p);
    } else {
        struct filter *child = parse_not(p);
        if (child) {
            f = node(p, NODE_NOT);
            f->child = child;
        }
    }
    p->depth--;
    return f;
}

/* One operand, or a node with all of them as children. */
static struct filter *parse_list(struct parser *p, enum node_kind kind, const char *word,
                                 struct filter *(*parse_one)(struct parser *p))
{
    struct filter *first = parse_one(p), *last = first, *list;

    if (!first || !take_word(p, word)) return first;
    list = node(p, kind);
    list->child = first;
    do {
        last->next = parse_one(p);
        last = last->next;
        if (!last) return NULL;
    } while (take_word(p, word));
    return list;
}

static struct filter *parse_and(struct parser *p)
{
    return parse_list(p, NODE_AND, "and", parse_not);
}

static struct filter *parse_or(struct parser *p)
{
    return parse_list(p, NODE_OR, "or", parse_and);
}

int filter_parse(const char *text, const struct class_desc *cls, struct arena *a,
                 const struct filter **ret_filter, struct xerr *err)
{
    struct parser p = { .text = text, .at = text, .cls = cls, .arena = a, .err = err };

    if (strnlen(text, MAX_LENGTH + 1) > MAX_LENGTH) {
        fail(&p, "the expression is longer than 65536 bytes");
        return -1;
    }
    struct filter *f = parse_or(&p);
    if (!f) return -1;
    skip_space(&p);
    if (*p.at) {
        fail(&p, "and, or or the end is expected");
        return -1;
    }
    *ret_filter = f;
    return 0;
}

/* ---- matching ---- */

static void put_quoted(struct strbuf *b, const char *s)
{
    strbuf_char(b, '\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\') strbuf_char(b, '\\');
        strbuf_char(b, *s);
    }
    strbuf_char(b, '\'');
}

static void put_value(struct strbuf *b, const struct value *v, bool quoted);

static void put_set(struct strbuf *b, const struct value *v)
{
    strbuf_char(b, '(');
    for (size_t i = 0; i < v->set.n; i++) {
        if (i) strbuf_char(b, ' ');
        put_value(b, &v->set.items[i], true);
    }
    strbuf_char(b, ')');
}

static void put_map(struct strbuf *b, const struct value *v)
{
    strbuf_char(b, '(');
    for (size_t i = 0; i < v->map.n; i++) {
        strbuf_str(b, i ? " (" : "(");
        put_quoted(b, v->map.members[i].key);
        strbuf_char(b, ' ');
        put_value(b, &v->map.members[i].value, true);
        strbuf_char(b, ')');
    }
    strbuf_char(b, ')');
}

static const char *scalar_text(const struct value *v, char buf[64])
{
    switch (v->kind) {
    case VALUE_STRING: return v->s;
    case VALUE_BOOL: return v->b ? "true" : "false";
    case VALUE_REF: return ref_text(v->ref, buf);
    case VALUE_FLOAT: return num_float_text(v->d, buf);
    case VALUE_DATETIME:
    case VALUE_LOCALTIME: return iso8601_text(v->i, buf);
    case VALUE_INT:
    case VALUE_INT32:
        snprintf(buf, 64, "%lld", (long long)v->i);
        return buf;
    case VALUE_VOID:
    case VALUE_SET:
    case VALUE_MAP: return "";
    }
    abort();
}

static void put_value(struct strbuf *b, const struct value *v, bool quoted)
{
    char buf[64];

    if (v->kind == VALUE_SET) put_set(b, v);
    else if (v->kind == VALUE_MAP) put_map(b, v);
    else if (quoted) put_quoted(b, scalar_text(v, buf));
    else strbuf_str(b, scalar_text(v, buf));
}

/* The text of an operand; sets and maps, which are rare here, need the strbuf. */
static const char *operand_text(const struct operand *o, const struct row *r, char buf[64],
                                struct strbuf *big)
{
    if (!o->field) return o->literal;
    union cell c = row_cell(r, field_index(o->field->id));
    if (o->field->cell == CELL_STRING) return cell_str(&c);
    if (o->field->cell != CELL_BITS && o->field->cell != CELL_REFSET && o->field->cell != CELL_VALUE) {
        struct value v = cell_to_value(o->field, &c, NULL);
        return scalar_text(&v, buf);
    }
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v = cell_to_value(o->field, &c, a);
    put_value(big, &v, false);
    return strbuf_cstr(big);
}

static bool match_eq(const struct filter *f, const struct row *r)
{
    _cleanup_strbuf_ struct strbuf left = STRBUF_INIT, right = STRBUF_INIT;
    char left_buf[64], right_buf[64];

    return streq(operand_text(&f->left, r, left_buf, &left), operand_text(&f->right, r, right_buf, &right));
}

bool filter_match(const struct filter *f, const struct row *r)
{
    const struct filter *child = f->child;

    switch (f->kind) {
    case NODE_TRUE: return true;
    case NODE_FALSE: return false;
    case NODE_NOT: return !filter_match(child, r);
    case NODE_AND:
        while (child && filter_match(child, r)) child = child->next;
        return !child;
    case NODE_OR:
        while (child && !filter_match(child, r)) child = child->next;
        return child != NULL;
    case NODE_EQ: return match_eq(f, r);
    }
    abort();
}
