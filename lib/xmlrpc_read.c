/* The XML-RPC reader: one pass over the whole body, values straight into the arena.
 * Called by: xapi/rpc, xapi/http, xe/, tests.  Calls: wire, utf8, iso8601, base64, num.
 *
 * A scanner for exactly the XML that XML-RPC needs: elements (attributes and name-space prefixes are
 * skipped), character data, the five entities, numeric references, CDATA, comments, processing instructions.
 * A document type is refused. Every position moves forward only, recursion is bounded by LIMIT_CALL_DEPTH. */
#include "lib/xmlrpc.h"

#include "lib/base64.h"
#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/num.h"
#include "lib/utf8.h"
#include "lib/wire.h"

enum element {
    EL_UNKNOWN, EL_VALUE, EL_MEMBER, EL_NAME, EL_STRING, EL_STRUCT, EL_ARRAY, EL_DATA, EL_PARAM, EL_PARAMS,
    EL_METHOD_CALL, EL_METHOD_NAME, EL_METHOD_RESPONSE, EL_FAULT, EL_INT, EL_I4, EL_I8, EL_DOUBLE, EL_BOOLEAN,
    EL_DATE, EL_NIL, EL_BASE64, N_ELEMENTS,
};

static const char *const element_names[N_ELEMENTS] = {
    "", "value", "member", "name", "string", "struct", "array", "data", "param", "params", "methodCall",
    "methodName", "methodResponse", "fault", "int", "i4", "i8", "double", "boolean", "dateTime.iso8601",
    "nil",
    "base64",
};

enum tag_kind { TAG_OPEN, TAG_EMPTY, TAG_CLOSE };

struct tag {
    enum element element;
    enum tag_kind kind;
};

struct reader {
    const char *start, *p, *end;
    struct arena *arena;
    struct wire_stack stack;
    struct strbuf pieces;     /* text that comes in more than one piece */
    unsigned depth;
    bool latin1;
    const char *error;        /* the first one; in the arena */
};

struct text {
    const char *s;
    size_t len;
};

static int fail(struct reader *r, const char *what)
{
    if (!r->error) r->error = arena_printf(r->arena, "%s at byte %zu", what, (size_t)(r->p - r->start));
    return -1;
}

static int fail_truncated(struct reader *r)
{
    r->p = r->end;
    return fail(r, "document ends too early");
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static void skip_space(struct reader *r)
{
    while (r->p < r->end && is_space(*r->p)) r->p++;
}

static bool looking_at(const struct reader *r, const char *literal)
{
    size_t n = strlen(literal);

    return (size_t)(r->end - r->p) >= n && memcmp(r->p, literal, n) == 0;
}

/* Moves behind the next `terminator`. */
static int skip_past(struct reader *r, const char *terminator)
{
    const char *at = memmem(r->p, (size_t)(r->end - r->p), terminator, strlen(terminator));

    if (!at) return fail_truncated(r);
    r->p = at + strlen(terminator);
    return 0;
}

/* The comment or processing instruction that r->p is at. */
static int skip_aside(struct reader *r)
{
    if (!looking_at(r, "<!--")) return skip_past(r, "?>");
    r->p += 4;
    return skip_past(r, "-->");
}

/* White space, comments and processing instructions. */
static int skip_misc(struct reader *r)
{
    for (;;) {
        skip_space(r);
        if (!looking_at(r, "<!--") && !looking_at(r, "<?")) return 0;
        if (skip_aside(r)) return -1;
    }
}

/* ---- tags ---- */

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':' || (c & 0x80);
}

static enum element element_of(const char *name, size_t len)
{
    const char *colon = memchr(name, ':', len);   /* ex:nil, ex:i8 */

    if (colon) {
        len -= (size_t)(colon + 1 - name);
        name = colon + 1;
    }
    for (enum element e = EL_VALUE; e < N_ELEMENTS; e++)
        if (element_names[e][0] == *name && strlen(element_names[e]) == len &&
            !memcmp(element_names[e], name, len))
            return e;
    return EL_UNKNOWN;
}

static int skip_attributes(struct reader *r)
{
    for (;;) {
        skip_space(r);
        if (r->p == r->end) return fail_truncated(r);
        if (*r->p == '>' || *r->p == '/') return 0;
        const char *name = r->p;
        while (r->p < r->end && is_name_char(*r->p)) r->p++;
        if (r->p == name) return fail(r, "malformed tag");
        skip_space(r);
        if (r->p == r->end) return fail_truncated(r);
        if (*r->p++ != '=') return fail(r, "malformed attribute");
        skip_space(r);
        if (r->p == r->end) return fail_truncated(r);
        char quote = *r->p++;
        if (quote != '"' && quote != '\'') return fail(r, "malformed attribute");
        const char *close = memchr(r->p, quote, (size_t)(r->end - r->p));
        if (!close) return fail_truncated(r);
        r->p = close + 1;
    }
}

/* Reads one tag; r->p is at its '<'. */
static int read_tag(struct reader *r, struct tag *ret_tag)
{
    struct tag tag = { EL_UNKNOWN, TAG_OPEN };

    r->p++;
    if (r->p < r->end && *r->p == '/') {
        tag.kind = TAG_CLOSE;
        r->p++;
    }
    const char *name = r->p;
    while (r->p < r->end && is_name_char(*r->p)) r->p++;
    if (r->p == r->end) return fail_truncated(r);
    if (r->p == name) return fail(r, *name == '!' ? "document types are not accepted" : "malformed tag");
    tag.element = element_of(name, (size_t)(r->p - name));
    if (tag.element == EL_UNKNOWN) return fail(r, "unknown element");
    if (*r->p != '>') {
        if (tag.kind == TAG_CLOSE) skip_space(r);
        else if (skip_attributes(r)) return -1;
        if (tag.kind == TAG_OPEN && r->p < r->end && *r->p == '/') {
            tag.kind = TAG_EMPTY;
            r->p++;
        }
        if (r->p == r->end) return fail_truncated(r);
        if (*r->p != '>') return fail(r, "malformed tag");
    }
    r->p++;
    *ret_tag = tag;
    return 0;
}

/* The next tag, where nothing but tags may stand. */
static int next_tag(struct reader *r, struct tag *ret_tag)
{
    if (skip_misc(r)) return -1;
    if (r->p == r->end) return fail_truncated(r);
    if (*r->p != '<') return fail(r, "text where an element is expected");
    return read_tag(r, ret_tag);
}

static int fail_expected(struct reader *r, enum element e, const char *what)
{
    if (!r->error)
        r->error = arena_printf(r->arena, "expected %s%s%s at byte %zu", what, element_names[e], ">",
                                (size_t)(r->p - r->start));
    return -1;
}

static int expect(struct reader *r, enum element e, enum tag_kind kind)
{
    struct tag tag;

    if (next_tag(r, &tag)) return -1;
    if (tag.element == e && tag.kind == kind) return 0;
    return fail_expected(r, e, kind == TAG_CLOSE ? "</" : "<");
}

/* ---- text ---- */

static int read_numeric_reference(struct reader *r, const char *s, const char *semicolon, uint32_t *ret_cp)
{
    unsigned base = *s == 'x' ? 16 : 10;
    uint32_t cp = 0;

    s += base == 16;
    if (s == semicolon || semicolon - s > 8) return fail(r, "malformed character reference");
    for (; s < semicolon; s++) {
        unsigned lower = (unsigned char)*s | 0x20u, digit;
        if (*s >= '0' && *s <= '9') digit = (unsigned)(*s - '0');
        else if (base == 16 && lower >= 'a' && lower <= 'f') digit = lower - 'a' + 10;
        else return fail(r, "malformed character reference");
        cp = cp * base + digit;
    }
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000) || !utf8_is_xml_char(cp))
        return fail(r, "character reference to no character");
    *ret_cp = cp;
    return 0;
}

/* s is behind the '&'. Returns the position behind the ';', or NULL. */
static const char *read_reference(struct reader *r, const char *s, const char *end, uint32_t *ret_cp)
{
    static const struct { const char *name; char c; } entities[] = {
        { "lt", '<' }, { "gt", '>' }, { "amp", '&' }, { "quot", '"' }, { "apos", '\'' },
    };
    size_t near = (size_t)(end - s) < 12 ? (size_t)(end - s) : 12;
    const char *semicolon = memchr(s, ';', near);

    if (!semicolon) return fail(r, "malformed entity"), NULL;
    if (*s == '#') return read_numeric_reference(r, s + 1, semicolon, ret_cp) ? NULL : semicolon + 1;
    size_t n = (size_t)(semicolon - s);
    for (size_t i = 0; i < ARRAY_SIZE(entities); i++) {
        if (strlen(entities[i].name) != n || memcmp(entities[i].name, s, n) != 0) continue;
        *ret_cp = (unsigned char)entities[i].c;
        return semicolon + 1;
    }
    return fail(r, "unknown entity"), NULL;
}

/* One character that is not plain. Returns the position behind it, or NULL. */
static const char *read_special(struct reader *r, const char *s, const char *end, bool cdata,
                                uint32_t *ret_cp)
{
    if (*s == '&' && !cdata) return read_reference(r, s + 1, end, ret_cp);
    if (*s == '\r') {   /* line ends are normalized */
        *ret_cp = '\n';
        return s + (s + 1 < end && s[1] == '\n' ? 2 : 1);
    }
    if (r->latin1 && (*s & 0x80)) {
        *ret_cp = (unsigned char)*s;
        return s + 1;
    }
    unsigned len = utf8_next(s, (size_t)(end - s), ret_cp);
    if (!len) return fail(r, "malformed UTF-8"), NULL;
    if (!utf8_is_xml_char(*ret_cp)) return fail(r, "illegal character"), NULL;
    return s + len;
}

/* Decodes [s, end) to `to`, which has room for twice as much (Latin-1 grows). Returns the length or -1. */
static ssize_t decode_text(struct reader *r, const char *s, const char *end, bool cdata, char *to)
{
    const char *to_start = to;
    uint32_t cp;

    while (s < end) {
        size_t run = utf8_plain_run_xml(s, (size_t)(end - s));
        memcpy(to, s, run);
        to += run;
        s += run;
        if (s == end) break;
        r->p = s;
        s = read_special(r, s, end, cdata, &cp);
        if (!s) return -1;
        to += utf8_encode(cp, to);
    }
    return to - to_start;
}

static size_t decoded_room(const struct reader *r, const char *s, const char *end)
{
    return (size_t)(end - s) * (r->latin1 ? 2 : 1) + 1;
}

static int add_piece(struct reader *r, const char *s, const char *end, bool cdata)
{
    strbuf_reserve(&r->pieces, decoded_room(r, s, end));
    ssize_t n = decode_text(r, s, end, cdata, r->pieces.ptr + r->pieces.len);
    if (n < 0) return -1;
    r->pieces.len += (size_t)n;
    return 0;
}

/* The rest of a text that has CDATA, comments or processing instructions in it. */
static int read_pieces(struct reader *r, struct text *ret_text, bool *ret_cdata)
{
    strbuf_clear(&r->pieces);
    for (;;) {
        const char *lt = memchr(r->p, '<', (size_t)(r->end - r->p));
        if (!lt) return fail_truncated(r);
        if (add_piece(r, r->p, lt, false)) return -1;
        r->p = lt;
        if (looking_at(r, "<![CDATA[")) {
            const char *from = r->p + 9;
            if (skip_past(r, "]]>")) return -1;
            const char *behind = r->p;
            if (add_piece(r, from, behind - 3, true)) return -1;
            r->p = behind;
            *ret_cdata = true;
        } else if (looking_at(r, "<!--") || looking_at(r, "<?")) {
            if (skip_aside(r)) return -1;
        } else {
            break;
        }
    }
    *ret_text = (struct text){ arena_strndup(r->arena, strbuf_cstr(&r->pieces), r->pieces.len),
                               r->pieces.len };
    return 0;
}

/* Character data up to the next tag, decoded, in the arena. ret_cdata (may be NULL): some of it was CDATA. */
static int read_text(struct reader *r, struct text *ret_text, bool *ret_cdata)
{
    const char *lt = memchr(r->p, '<', (size_t)(r->end - r->p));
    bool cdata = false;

    if (!lt || lt + 1 == r->end) return fail_truncated(r);
    if (lt[1] == '!' || lt[1] == '?') return read_pieces(r, ret_text, ret_cdata ? ret_cdata : &cdata);
    char *s = arena_alloc(r->arena, decoded_room(r, r->p, lt));
    ssize_t n = decode_text(r, r->p, lt, false, s);
    if (n < 0) return -1;
    s[n] = '\0';
    r->p = lt;
    *ret_text = (struct text){ s, (size_t)n };
    return 0;
}

/* The text of an element that holds only text; its opening tag has been read. */
static int read_text_element(struct reader *r, struct tag open, struct text *ret_text)
{
    if (open.kind == TAG_EMPTY) {
        *ret_text = (struct text){ "", 0 };
        return 0;
    }
    return read_text(r, ret_text, NULL) || expect(r, open.element, TAG_CLOSE) ? -1 : 0;
}

static const char *trimmed(struct reader *r, struct text t)
{
    while (t.len && is_space(*t.s)) t.s++, t.len--;
    while (t.len && is_space(t.s[t.len - 1])) t.len--;
    return t.s[t.len] ? arena_strndup(r->arena, t.s, t.len) : t.s;
}

/* ---- values ---- */

static int scalar_int(struct reader *r, const char *s, struct value *ret_value)
{
    int64_t i;

    if (!num_parse_int(s, &i)) return fail(r, "malformed int");
    *ret_value = value_int(i);
    return 0;
}

static int scalar_float(struct reader *r, const char *s, struct value *ret_value)
{
    double d;

    if (!num_parse_float(s, &d)) return fail(r, "malformed double");
    *ret_value = value_float(d);
    return 0;
}

static int scalar_bool(struct reader *r, const char *s, struct value *ret_value)
{
    bool yes = streq(s, "1") || streq(s, "true");

    if (!yes && !streq(s, "0") && !streq(s, "false")) return fail(r, "malformed boolean");
    *ret_value = value_bool(yes);
    return 0;
}

static int scalar_date(struct reader *r, const char *s, struct value *ret_value)
{
    int64_t t;

    if (!iso8601_parse(s, &t)) return fail(r, "malformed dateTime.iso8601");
    *ret_value = value_datetime(t);
    return 0;
}

static int scalar_base64(struct reader *r, struct text t, struct value *ret_value)
{
    _cleanup_strbuf_ struct strbuf bytes = STRBUF_INIT;

    if (!base64_decode(t.s, t.len, &bytes)) return fail(r, "malformed base64");
    if (memchr(bytes.ptr, '\0', bytes.len) || !utf8_valid(bytes.ptr, bytes.len))
        return fail(r, "base64 that is not text");
    *ret_value = value_string(arena_strndup(r->arena, bytes.ptr, bytes.len));
    return 0;
}

static int read_value(struct reader *r, struct value *ret_value);

static int read_struct(struct reader *r, struct tag open, struct value *ret_value)
{
    size_t base = r->stack.n;
    struct tag tag = open;
    struct text key;
    struct value v;

    while (open.kind != TAG_EMPTY) {
        if (next_tag(r, &tag)) return -1;
        if (tag.element == EL_STRUCT && tag.kind == TAG_CLOSE) break;
        if (tag.element != EL_MEMBER || tag.kind != TAG_OPEN) return fail_expected(r, EL_MEMBER, "<");
        if (next_tag(r, &tag)) return -1;
        if (tag.element != EL_NAME || tag.kind == TAG_CLOSE) return fail_expected(r, EL_NAME, "<");
        if (read_text_element(r, tag, &key) || read_value(r, &v) || expect(r, EL_MEMBER, TAG_CLOSE))
            return -1;
        wire_push(&r->stack, key.s, v);
    }
    *ret_value = wire_pop_map(&r->stack, base);
    return 0;
}

static int read_array(struct reader *r, struct tag open, struct value *ret_value)
{
    size_t base = r->stack.n;
    struct tag tag = open;
    struct value v;

    if (open.kind == TAG_OPEN) {
        if (next_tag(r, &tag)) return -1;
        if (tag.element != EL_DATA || tag.kind == TAG_CLOSE) return fail_expected(r, EL_DATA, "<");
        while (tag.kind == TAG_OPEN) {
            if (skip_misc(r)) return -1;
            if (looking_at(r, "</")) break;
            if (read_value(r, &v)) return -1;
            wire_push(&r->stack, NULL, v);
        }
        if (tag.kind == TAG_OPEN && expect(r, EL_DATA, TAG_CLOSE)) return -1;
        if (expect(r, EL_ARRAY, TAG_CLOSE)) return -1;
    }
    *ret_value = wire_pop_set(&r->stack, base);
    return 0;
}

static int read_container(struct reader *r, struct tag open, struct value *ret_value)
{
    if (++r->depth > LIMIT_CALL_DEPTH) return fail(r, "nested too deeply");
    int rc = open.element == EL_STRUCT ? read_struct(r, open, ret_value) : read_array(r, open, ret_value);
    r->depth--;
    return rc;
}

static int read_typed(struct reader *r, struct value *ret_value)
{
    struct tag open;
    struct text t;

    if (next_tag(r, &open)) return -1;
    if (open.kind == TAG_CLOSE) return fail_expected(r, EL_VALUE, "</");
    if (open.element == EL_STRUCT || open.element == EL_ARRAY) return read_container(r, open, ret_value);
    if (read_text_element(r, open, &t)) return -1;
    switch (open.element) {
    case EL_STRING: *ret_value = (struct value){ .kind = VALUE_STRING, .s = t.s, .len = t.len }; return 0;
    case EL_INT:
    case EL_I4:
    case EL_I8: return scalar_int(r, trimmed(r, t), ret_value);
    case EL_DOUBLE: return scalar_float(r, trimmed(r, t), ret_value);
    case EL_BOOLEAN: return scalar_bool(r, trimmed(r, t), ret_value);
    case EL_DATE: return scalar_date(r, trimmed(r, t), ret_value);
    case EL_BASE64: return scalar_base64(r, t, ret_value);
    case EL_NIL:
        *ret_value = value_void();
        return *trimmed(r, t) ? fail(r, "text in nil") : 0;
    default: return fail(r, "no such type of value");
    }
}

static bool only_space(struct text t)
{
    while (t.len && is_space(t.s[t.len - 1])) t.len--;
    return t.len == 0;
}

/* <value>...</value>, <value/>. */
static int read_value(struct reader *r, struct value *ret_value)
{
    struct tag tag;
    struct text t;
    bool cdata = false;

    if (!wire_count(&r->stack)) return fail(r, "too many values");
    if (next_tag(r, &tag)) return -1;
    if (tag.element != EL_VALUE || tag.kind == TAG_CLOSE) return fail_expected(r, EL_VALUE, "<");
    if (tag.kind == TAG_EMPTY) {
        *ret_value = value_string("");
        return 0;
    }
    if (read_text(r, &t, &cdata)) return -1;
    if (looking_at(r, "</")) {
        *ret_value = (struct value){ .kind = VALUE_STRING, .s = t.s, .len = t.len };
    } else {
        if (cdata || !only_space(t)) return fail(r, "text beside an element");
        if (read_typed(r, ret_value)) return -1;
    }
    return expect(r, EL_VALUE, TAG_CLOSE);
}

/* ---- documents ---- */

/* Only encodings that need no table. The declaration has no other meaning for us. */
static int read_declaration(struct reader *r)
{
    static const struct { const char *name; bool latin1; } encodings[] = {
        { "utf-8", false }, { "utf8", false }, { "us-ascii", false }, { "ascii", false },
        { "iso-8859-1", true }, { "latin1", true }, { "latin-1", true },
    };

    if (looking_at(r, "\xef\xbb\xbf")) r->p += 3;
    skip_space(r);
    if (!looking_at(r, "<?xml") || (size_t)(r->end - r->p) < 6 || !is_space(r->p[5])) return 0;
    const char *from = r->p;
    if (skip_past(r, "?>")) return -1;
    const char *at = memmem(from, (size_t)(r->p - from), "encoding", 8);
    if (!at) return 0;
    for (at += 8; is_space(*at) || *at == '='; at++) continue;
    char quote = *at++;
    const char *close = quote == '"' || quote == '\'' ? memchr(at, quote, (size_t)(r->p - at)) : NULL;
    for (size_t i = 0; close && i < ARRAY_SIZE(encodings); i++) {
        size_t n = strlen(encodings[i].name);
        if ((size_t)(close - at) != n || strncasecmp(at, encodings[i].name, n) != 0) continue;
        r->latin1 = encodings[i].latin1;
        return 0;
    }
    return fail(r, "unsupported encoding");
}

static int read_end(struct reader *r)
{
    if (skip_misc(r)) return -1;
    return r->p == r->end ? 0 : fail(r, "something after the document");
}

/* <params>...</params> pushed on the stack; the opening tag has been read. */
static int read_params(struct reader *r, struct tag open)
{
    struct tag tag = open;
    struct value v;

    while (open.kind == TAG_OPEN) {
        if (next_tag(r, &tag)) return -1;
        if (tag.element == EL_PARAMS && tag.kind == TAG_CLOSE) break;
        if (tag.element != EL_PARAM || tag.kind != TAG_OPEN) return fail_expected(r, EL_PARAM, "<");
        if (read_value(r, &v) || expect(r, EL_PARAM, TAG_CLOSE)) return -1;
        wire_push(&r->stack, NULL, v);
    }
    return 0;
}

static int read_call(struct reader *r, const char **ret_method, struct value *ret_params)
{
    struct tag tag;
    struct text name;

    if (read_declaration(r) || expect(r, EL_METHOD_CALL, TAG_OPEN) || next_tag(r, &tag)) return -1;
    if (tag.element != EL_METHOD_NAME || tag.kind != TAG_OPEN) return fail_expected(r, EL_METHOD_NAME, "<");
    if (read_text_element(r, tag, &name) || next_tag(r, &tag)) return -1;
    if (tag.element == EL_PARAMS && tag.kind != TAG_CLOSE) {
        if (read_params(r, tag) || next_tag(r, &tag)) return -1;
    }
    if (tag.element != EL_METHOD_CALL || tag.kind != TAG_CLOSE) return fail_expected(r, EL_METHOD_CALL, "</");
    if (read_end(r)) return -1;
    *ret_method = trimmed(r, name);
    *ret_params = wire_pop_set(&r->stack, 0);
    return 0;
}

static int fail_fault(struct reader *r, const struct value *fault)
{
    const struct value *code = value_get(fault, "faultCode");

    r->error = arena_printf(r->arena, "fault %lld: %s",
                            code && code->kind == VALUE_INT ? (long long)code->i : 0,
                            value_get_str(fault, "faultString", ""));
    return -1;
}

static int read_response(struct reader *r, struct value *ret_value)
{
    struct tag tag;
    struct value v;

    if (read_declaration(r) || expect(r, EL_METHOD_RESPONSE, TAG_OPEN) || next_tag(r, &tag)) return -1;
    bool fault = tag.element == EL_FAULT;
    if (!fault && tag.element != EL_PARAMS) return fail_expected(r, EL_PARAMS, "<");
    if (tag.kind != TAG_OPEN) return fail_expected(r, EL_PARAMS, "<");
    if (!fault && expect(r, EL_PARAM, TAG_OPEN)) return -1;
    if (read_value(r, &v)) return -1;
    if (!fault && expect(r, EL_PARAM, TAG_CLOSE)) return -1;
    if (expect(r, tag.element, TAG_CLOSE) || expect(r, EL_METHOD_RESPONSE, TAG_CLOSE) || read_end(r))
        return -1;
    if (fault) return fail_fault(r, &v);
    *ret_value = v;
    return 0;
}

static void reader_init(struct reader *r, const char *body, size_t len, struct arena *a, size_t max_items)
{
    *r = (struct reader){ .start = body, .p = body, .end = body + len, .arena = a, .pieces = STRBUF_INIT };
    wire_stack_init(&r->stack, a, max_items);
}

static int reader_end(struct reader *r, int rc, const char **ret_error)
{
    wire_stack_free(&r->stack);
    strbuf_free(&r->pieces);
    if (rc) *ret_error = r->error;
    return rc;
}

int xmlrpc_decode_call(const char *body, size_t len, struct arena *a, const char **ret_method,
                       struct value *ret_params, const char **ret_error)
{
    struct reader r;

    reader_init(&r, body, len, a, LIMIT_CALL_VALUES);
    return reader_end(&r, read_call(&r, ret_method, ret_params), ret_error);
}

int xmlrpc_decode_response(const char *body, size_t len, struct arena *a, struct value *ret_value,
                           const char **ret_error)
{
    struct reader r;

    reader_init(&r, body, len, a, WIRE_MAX_ITEMS);
    return reader_end(&r, read_response(&r, ret_value), ret_error);
}

int xmlrpc_decode_value(const char *text, size_t len, struct arena *a, struct value *ret_value,
                        const char **ret_error)
{
    struct reader r;
    struct value v;

    reader_init(&r, text, len, a, WIRE_MAX_ITEMS);
    int rc = read_declaration(&r) || read_value(&r, &v) || read_end(&r) ? -1 : 0;
    if (!rc) *ret_value = v;
    return reader_end(&r, rc, ret_error);
}
