/* JSON on yajl's parser and an own writer.
 * Called by: jsonrpc, sm/, xapi/, xe/.  Calls: yajl, wire, utf8, iso8601, num. */
#include "lib/json.h"

#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/num.h"
#include "lib/utf8.h"
#include "lib/wire.h"

#include <yajl/yajl_parse.h>

/* ---- reading
 * ---------------------------------------------------------------------------------------------------- */

struct frame {
    size_t base;         /* where this container's values start on the stack */
    const char *key;     /* of the member being read; NULL in an array */
    bool is_map;
};

struct decoder {
    struct arena *arena;
    struct wire_stack stack;
    struct frame frames[LIMIT_CALL_DEPTH];
    unsigned depth;
    struct value result;
    const char *raw_key, *raw;
    const char *error;
};

static int refuse(struct decoder *d, const char *why)
{
    d->error = why;
    return 0;
}

static bool is_raw_member(const struct decoder *d)
{
    return d->raw_key && d->depth == 1 && d->frames[0].key && streq(d->frames[0].key, d->raw_key);
}

static int take(struct decoder *d, struct value v)
{
    if (!d->depth) {
        d->result = v;
        return 1;
    }
    wire_push(&d->stack, d->frames[d->depth - 1].key, v);
    return 1;
}

static int take_scalar(struct decoder *d, struct value v)
{
    if (!wire_count(&d->stack)) return refuse(d, "too many values");
    if (is_raw_member(d)) d->raw = NULL;
    return take(d, v);
}

static int on_null(void *ctx) { return take_scalar(ctx, value_void()); }
static int on_boolean(void *ctx, int b) { return take_scalar(ctx, value_bool(b)); }

static int on_number(void *ctx, const char *s, size_t len)
{
    struct decoder *d = ctx;
    const char *text = arena_strndup(d->arena, s, len);
    int64_t i;
    double f;

    if (num_parse_int(text, &i)) {
        if (!take_scalar(d, value_int(i))) return 0;
    } else {
        if (!num_parse_float(text, &f)) return refuse(d, "malformed number");
        if (!take_scalar(d, value_float(f))) return 0;
    }
    if (is_raw_member(d)) d->raw = text;
    return 1;
}

/* A decoded string into the arena; NULL, with the error set, when it cannot be one of ours. yajl lets
 * overlong forms and surrogates through: repaired. */
static const char *keep_string(struct decoder *d, const unsigned char *u, size_t *len)
{
    const char *s = (const char *)u;

    if (memchr(s, '\0', *len)) return refuse(d, "NUL character in a string"), NULL;
    if (utf8_plain_run_json(s, *len) == *len || utf8_valid(s, *len)) return arena_strndup(d->arena, s, *len);
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    utf8_repair(s, *len, &b);
    *len = b.len;
    return arena_strndup(d->arena, strbuf_cstr(&b), b.len);
}

static int on_string(void *ctx, const unsigned char *u, size_t len)
{
    struct decoder *d = ctx;
    const char *s = keep_string(d, u, &len);

    if (!s || !take_scalar(d, (struct value){ .kind = VALUE_STRING, .s = s, .len = len })) return 0;
    if (is_raw_member(d)) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        json_encode_string(s, len, &b);
        d->raw = arena_strdup(d->arena, strbuf_cstr(&b));
    }
    return 1;
}

static int on_key(void *ctx, const unsigned char *u, size_t len)
{
    struct decoder *d = ctx;

    d->frames[d->depth - 1].key = keep_string(d, u, &len);
    return d->frames[d->depth - 1].key != NULL;
}

static int open_container(struct decoder *d, bool is_map)
{
    if (d->depth == LIMIT_CALL_DEPTH) return refuse(d, "nested too deeply");
    if (!wire_count(&d->stack)) return refuse(d, "too many values");
    if (is_raw_member(d)) d->raw = NULL;
    d->frames[d->depth++] = (struct frame){ d->stack.n, NULL, is_map };
    return 1;
}

static int on_start_map(void *ctx) { return open_container(ctx, true); }
static int on_start_array(void *ctx) { return open_container(ctx, false); }

static int on_end(void *ctx)
{
    struct decoder *d = ctx;
    const struct frame *f = &d->frames[--d->depth];

    return take(d, f->is_map ? wire_pop_map(&d->stack, f->base) : wire_pop_set(&d->stack, f->base));
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

/* yajl's message without its newline and excerpt ("parse error: ..." / "lexical error: ..."). */
static const char *parser_error(struct decoder *d, yajl_handle yajl)
{
    unsigned char *text = yajl_get_error(yajl, 0, NULL, 0);
    const char *line = (const char *)text;
    const char *kept = arena_strndup(d->arena, line, strcspn(line, "\n"));

    yajl_free_error(yajl, text);
    return kept;
}

int json_decode_raw(const char *text, size_t len, struct arena *a, size_t max_items, const char *raw_key,
                    struct value *ret_value, const char **ret_raw, const char **ret_error)
{
    struct decoder d = { .arena = a, .raw_key = raw_key };
    yajl_handle yajl = yajl_alloc(&callbacks, NULL, &d);

    if (!yajl) abort();
    wire_stack_init(&d.stack, a, max_items);
    yajl_status status = yajl_parse(yajl, (const unsigned char *)text, len);
    size_t at = yajl_get_bytes_consumed(yajl);
    if (status == yajl_status_ok) status = yajl_complete_parse(yajl);
    int rc = status == yajl_status_ok ? 0 : -1;
    if (rc) {
        const char *why = d.error ? d.error : parser_error(&d, yajl);
        *ret_error = arena_printf(a, "%s at byte %zu", why, at);
    } else {
        *ret_value = d.result;
        if (ret_raw) *ret_raw = d.raw;
    }
    yajl_free(yajl);
    wire_stack_free(&d.stack);
    return rc;
}

int json_decode(const char *text, size_t len, struct arena *a, struct value *ret_value,
                const char **ret_error)
{
    return json_decode_raw(text, len, a, WIRE_MAX_ITEMS, NULL, ret_value, NULL, ret_error);
}

/* ---- writing
 * ---------------------------------------------------------------------------------------------------- */

static void add_special(const char *s, size_t len, size_t *at, struct strbuf *out)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn\0fr";   /* of 8 to 13 */
    unsigned char c = (unsigned char)s[*at];
    uint32_t cp;

    if (c == '"' || c == '\\') {
        strbuf_add(out, (char[2]){ '\\', (char)c }, 2);
    } else if (c >= 8 && c <= 13 && c != 11) {
        strbuf_add(out, (char[2]){ '\\', letters[c - 8] }, 2);
    } else if (c < 0x20) {
        strbuf_add(out, (char[6]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
    } else {
        unsigned n = utf8_next(s + *at, len - *at, &cp);
        if (n) strbuf_add(out, s + *at, n);
        else strbuf_add(out, UTF8_REPLACEMENT, 3);
        *at += n ? n : 1;
        return;
    }
    ++*at;
}

void json_encode_string(const char *s, size_t len, struct strbuf *out)
{
    strbuf_reserve(out, len + 2);
    strbuf_char(out, '"');
    for (size_t at = 0; at < len;) {
        size_t run = utf8_plain_run_json(s + at, len - at);
        strbuf_add(out, s + at, run);
        at += run;
        if (at < len) add_special(s, len, &at, out);
    }
    strbuf_char(out, '"');
}

static void add_float(double d, struct strbuf *out)
{
    char text[NUM_FLOAT_TEXT];
    bool finite = d - d == 0;

    if (!finite) strbuf_char(out, '"');
    strbuf_str(out, num_float_text(d, text));
    if (!finite) strbuf_char(out, '"');
}

void json_encode_value(const struct value *v, struct strbuf *out)
{
    char date[ISO8601_TEXT], ref[REF_TEXT];

    switch (v->kind) {
    case VALUE_VOID: strbuf_add(out, "\"\"", 2); return;
    case VALUE_STRING: json_encode_string(v->s, v->len, out); return;
    case VALUE_INT:
    case VALUE_INT32: strbuf_int(out, v->i); return;
    case VALUE_BOOL: strbuf_str(out, v->b ? "true" : "false"); return;
    case VALUE_FLOAT: add_float(v->d, out); return;
    case VALUE_DATETIME: json_encode_string(iso8601_text(v->i, date), 18, out); return;
    case VALUE_LOCALTIME: json_encode_string(iso8601_local_text(v->i, date), 17, out); return;
    case VALUE_REF:
        ref_text(v->ref, ref);
        json_encode_string(ref, strlen(ref), out);
        return;
    case VALUE_SET:
        strbuf_char(out, '[');
        for (size_t i = 0; i < v->set.n; i++) {
            if (i) strbuf_char(out, ',');
            json_encode_value(&v->set.items[i], out);
        }
        strbuf_char(out, ']');
        return;
    case VALUE_MAP:
        strbuf_char(out, '{');
        for (size_t i = 0; i < v->map.n; i++) {
            json_member_begin(v->map.members[i].key, out);
            json_encode_value(&v->map.members[i].value, out);
        }
        strbuf_char(out, '}');
        return;
    }
    abort();
}

void json_member_begin(const char *key, struct strbuf *out)
{
    if (out->len && out->ptr[out->len - 1] != '{') strbuf_char(out, ',');
    json_encode_string(key, strlen(key), out);
    strbuf_char(out, ':');
}

void json_frame(const char *const *names, size_t n, struct wire_frame *ret_frame)
{
    struct strbuf b = STRBUF_INIT;
    uint32_t *at = xcalloc(n + 2, sizeof(*at));

    strbuf_char(&b, '{');
    for (size_t i = 0; i < n; i++) {
        json_member_begin(names[i], &b);
        at[i + 1] = (uint32_t)b.len;
    }
    strbuf_char(&b, '}');
    at[n + 1] = (uint32_t)b.len;
    *ret_frame = wire_frame_take(&b, n, at);
}

void json_encode_record(const struct wire_frame *f, const struct value *values, struct strbuf *out)
{
    for (size_t i = 0; i < f->n; i++) {
        strbuf_add(out, f->text + f->at[i], f->at[i + 1] - f->at[i]);
        json_encode_value(&values[i], out);
    }
    strbuf_char(out, '}');
}
