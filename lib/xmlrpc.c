/* The XML-RPC writer: straight into the output buffer.
 * Called by: xapi/rpc, xapi/http, xe/, tests.  Calls: utf8, iso8601, num. */
#include "lib/xmlrpc.h"

#include "lib/iso8601.h"
#include "lib/num.h"
#include "lib/utf8.h"

#include <assert.h>

/* The write position travels as `char *p` through every function below, so that it stays in a register; w
 * only knows where room ends. room() must have been asked before anything is put. */
struct writer {
    struct strbuf *b;
    char *end;
};

static char *writer_begin(struct writer *w, struct strbuf *b)
{
    strbuf_reserve(b, 512);
    *w = (struct writer){ b, b->ptr + b->cap - 1 };
    return b->ptr + b->len;
}

static void writer_end(struct writer *w, char *p)
{
    w->b->len = (size_t)(p - w->b->ptr);
    *p = '\0';
}

static __attribute__((noinline)) char *writer_grow(struct writer *w, char *p, size_t more)
{
    writer_end(w, p);
    strbuf_reserve(w->b, more + 512);
    w->end = w->b->ptr + w->b->cap - 1;
    return w->b->ptr + w->b->len;
}

static inline char *room(struct writer *w, char *p, size_t more)
{
    if (__builtin_expect((size_t)(w->end - p) < more, 0)) return writer_grow(w, p, more);
    return p;
}

static inline char *put(char *p, const char *s, size_t n)
{
    return (char *)memcpy(p, s, n) + n;
}
#define PUT(p, literal) put((p), literal, sizeof(literal) - 1)
#define EMIT(w, p, literal) PUT(room((w), (p), sizeof(literal) - 1), literal)

/* ---- text ---- */

/* Signed bytes: those from 0x80 up are negative, so one comparison finds them together with the controls. The
 * other two find < > and " &, which differ in one bit each. */
typedef signed char block __attribute__((vector_size(16)));

struct mask { uint64_t half[2]; };

static inline struct mask block_special(block x)
{
    block special = (x < 0x20) | ((x | 2) == '>') | ((x | 4) == '&');
    struct mask m;

    memcpy(&m, &special, sizeof(m));
    return m;
}

/* The same test for the eight bytes of a word: not 0 when one is special. */
static inline uint64_t word_special(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t angle = (x | ones * 2) ^ ones * '>', quote = (x | ones * 4) ^ ones * '&';

    return (x | ((x - ones * 0x20) & ~x) | ((angle - ones) & ~angle) | ((quote - ones) & ~quote)) &
           (ones * 0x80);
}

/* Copies n bytes while looking at them, the tail as an overlapping block. False when one needs escaping (then
 * what was copied is to be overwritten). */
static inline bool copy_plain(char *to, const char *s, size_t n)
{
    if (n >= sizeof(block)) {
        block x;
        for (size_t i = 0; i < n - sizeof(x); i += sizeof(x)) {
            memcpy(&x, s + i, sizeof(x));
            memcpy(to + i, &x, sizeof(x));
            struct mask m = block_special(x);
            if (m.half[0] | m.half[1]) return false;
        }
        memcpy(&x, s + n - sizeof(x), sizeof(x));
        memcpy(to + n - sizeof(x), &x, sizeof(x));
        struct mask m = block_special(x);
        return !(m.half[0] | m.half[1]);
    }
    if (n >= 8) {
        uint64_t x, y;
        memcpy(&x, s, 8);
        memcpy(&y, s + n - 8, 8);
        memcpy(to, &x, 8);
        memcpy(to + n - 8, &y, 8);
        return !(word_special(x) | word_special(y));
    }
    if (n >= 4) {
        uint32_t x, y;
        memcpy(&x, s, 4);
        memcpy(&y, s + n - 4, 4);
        memcpy(to, &x, 4);
        memcpy(to + n - 4, &y, 4);
        return !word_special(x | (uint64_t)y << 32);
    }
    if (!n) return true;
    unsigned char first = (unsigned char)s[0], middle = (unsigned char)s[n / 2],
                  last = (unsigned char)s[n - 1];
    to[0] = (char)first;
    to[n / 2] = (char)middle;
    to[n - 1] = (char)last;
    return !word_special(0x2020202020000000u | (uint64_t)first << 16 | (uint64_t)middle << 8 | last);
}

/* How many bytes of the block come before its first special one (16 when there is none). */
static inline size_t plain_bytes(struct mask m)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (m.half[0]) return (size_t)__builtin_ctzll(m.half[0]) / 8;
    return m.half[1] ? 8 + (size_t)__builtin_ctzll(m.half[1]) / 8 : 16;
#else
    if (m.half[0]) return (size_t)__builtin_clzll(m.half[0]) / 8;
    return m.half[1] ? 8 + (size_t)__builtin_clzll(m.half[1]) / 8 : 16;
#endif
}

/* What stands for an ASCII character that is not plain; length 0: nothing, the character is dropped. A bare
 * CR would reach the client as a newline. */
static const struct { char text[7]; unsigned char len; } escapes[128] = {
    ['<'] = { "&lt;", 4 }, ['>'] = { "&gt;", 4 }, ['&'] = { "&amp;", 5 }, ['"'] = { "&quot;", 6 },
    ['\t'] = { "\t", 1 }, ['\n'] = { "\n", 1 }, ['\r'] = { "&#13;", 5 },
};

/* The special character at s[*at]; room for eight bytes is there. */
static inline char *put_special(char *p, const char *s, size_t n, size_t *at)
{
    unsigned char c = (unsigned char)s[*at];
    uint32_t cp;

    if (c < 0x80) {
        ++*at;
        memcpy(p, escapes[c].text, sizeof(escapes[c].text));
        return p + escapes[c].len;
    }
    const char *from = s + *at;
    unsigned len = utf8_next(from, n - *at, &cp);
    *at += len ? len : 1;
    if (!len) return PUT(p, UTF8_REPLACEMENT);
    return utf8_is_xml_char(cp) ? put(p, from, len) : p;
}

static inline bool plain_char(char c)
{
    signed char x = (signed char)c;

    return x >= 0x20 && (x | 2) != '>' && (x | 4) != '&';
}

static __attribute__((noinline)) char *put_escaped(struct writer *w, char *p, const char *s, size_t n)
{
    for (size_t at = 0; at < n;) {
        p = room(w, p, sizeof(block) + 8);
        if (n - at >= sizeof(block)) {
            block x;
            memcpy(&x, s + at, sizeof(x));
            memcpy(p, &x, sizeof(x));
            size_t run = plain_bytes(block_special(x));
            p += run;
            at += run;
            if (run == sizeof(x)) continue;
        } else {
            while (at < n && plain_char(s[at])) *p++ = s[at++];
            if (at == n) break;
        }
        p = put_special(p, s, n, &at);
    }
    return p;
}

/* Text; `after` bytes of room are left behind it. */
static inline char *put_text(struct writer *w, char *p, const char *s, size_t n, size_t after)
{
    p = room(w, p, n + after);
    if (__builtin_expect(copy_plain(p, s, n), 1)) return p + n;
    p = put_escaped(w, p, s, n);
    return room(w, p, after);
}

/* ---- values ---- */

static char *put_int(char *p, int64_t i)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;

    do digits[--at] = (char)('0' + u % 10); while (u /= 10);
    if (i < 0) digits[--at] = '-';
    return put(p, digits + at, sizeof(digits) - at);
}

static char *put_float(char *p, double d)
{
    char text[NUM_FLOAT_TEXT];

    num_float_text(d, text);
    p = put(PUT(p, "<value><double>"), text, strlen(text));
    return PUT(p, "</double></value>");
}

static char *put_date(char *p, int64_t seconds, bool zone)
{
    char text[ISO8601_TEXT];

    p = PUT(p, "<value><dateTime.iso8601>");
    p = zone ? put(p, iso8601_text(seconds, text), 18) : put(p, iso8601_local_text(seconds, text), 17);
    return PUT(p, "</dateTime.iso8601></value>");
}

static char *put_ref(char *p, struct ref r)
{
    char text[REF_TEXT];

    p = put(PUT(p, "<value>"), ref_text(r, text), ref_is_null(r) ? 14 : REF_TEXT - 1);
    return PUT(p, "</value>");
}

enum { SCALAR_ROOM = 128, TAG_ROOM = 64 };

static char *put_value(struct writer *w, char *p, const struct value *v);

static char *put_map(struct writer *w, char *p, const struct value *v)
{
    if (!v->map.n) return EMIT(w, p, "<value><struct/></value>");
    p = EMIT(w, p, "<value><struct>");
    for (const struct member *m = v->map.members, *end = m + v->map.n; m < end; m++) {
        p = EMIT(w, p, "<member><name>");
        p = put_text(w, p, m->key, strlen(m->key), TAG_ROOM);
        if (m->value.kind == VALUE_STRING) {
            p = PUT(p, "</name><value>");
            p = put_text(w, p, m->value.s, m->value.len, TAG_ROOM);
            p = PUT(p, "</value></member>");
        } else {
            p = put_value(w, PUT(p, "</name>"), &m->value);
            p = EMIT(w, p, "</member>");
        }
    }
    return EMIT(w, p, "</struct></value>");
}

static char *put_set(struct writer *w, char *p, const struct value *v)
{
    if (!v->set.n) return EMIT(w, p, "<value><array><data/></array></value>");
    p = EMIT(w, p, "<value><array><data>");
    for (size_t i = 0; i < v->set.n; i++) p = put_value(w, p, &v->set.items[i]);
    return EMIT(w, p, "</data></array></value>");
}

static char *put_value(struct writer *w, char *p, const struct value *v)
{
    p = room(w, p, SCALAR_ROOM);
    switch (v->kind) {
    case VALUE_VOID: return PUT(p, "<value/>");
    case VALUE_STRING: return PUT(put_text(w, PUT(p, "<value>"), v->s, v->len, TAG_ROOM), "</value>");
    case VALUE_INT: return PUT(put_int(PUT(p, "<value>"), v->i), "</value>");
    case VALUE_INT32: return PUT(put_int(PUT(p, "<value><i4>"), v->i), "</i4></value>");
    case VALUE_BOOL:
        return v->b ? PUT(p, "<value><boolean>1</boolean></value>")
                    : PUT(p, "<value><boolean>0</boolean></value>");
    case VALUE_FLOAT: return put_float(p, v->d);
    case VALUE_DATETIME: return put_date(p, v->i, true);
    case VALUE_LOCALTIME: return put_date(p, v->i, false);
    case VALUE_REF: return put_ref(p, v->ref);
    case VALUE_SET: return put_set(w, p, v);
    case VALUE_MAP: return put_map(w, p, v);
    }
    abort();
}

void xmlrpc_encode_value(const struct value *v, struct strbuf *out)
{
    struct writer w;
    char *p = writer_begin(&w, out);

    writer_end(&w, put_value(&w, p, v));
}

/* A piece of a frame: in blocks, as far as they go; what is behind it is overwritten. */
static inline char *put_piece(struct writer *w, char *p, const struct wire_frame *f, size_t i, size_t after)
{
    const char *from = f->text + f->at[i];
    size_t n = f->at[i + 1] - f->at[i];

    p = room(w, p, n + WIRE_FRAME_SLACK + after);
    for (size_t done = 0; done < n; done += WIRE_FRAME_SLACK) memcpy(p + done, from + done, WIRE_FRAME_SLACK);
    return p + n;
}

void xmlrpc_encode_record(const struct wire_frame *f, const struct value *values, struct strbuf *out)
{
    struct writer w;
    char *p = writer_begin(&w, out);

    for (size_t i = 0; i < f->n; i++) {
        p = put_piece(&w, p, f, i, SCALAR_ROOM);
        p = put_value(&w, p, &values[i]);
    }
    writer_end(&w, put_piece(&w, p, f, f->n, 0));
}

void xmlrpc_encode_text(const char *s, size_t len, struct strbuf *out)
{
    struct writer w;
    char *p = writer_begin(&w, out);

    writer_end(&w, put_text(&w, p, s, len, 0));
}

/* ---- envelopes ---- */

#define ADD(out, literal) strbuf_add((out), literal, sizeof(literal) - 1)
#define DECLARATION "<?xml version=\"1.0\"?>"
#define REPLY_BEGIN DECLARATION "<methodResponse><params><param>"
#define REPLY_END "</param></params></methodResponse>"
#define STATUS(text) \
    "<value><struct><member><name>Status</name><value>" text "</value></member><member><name>"

void xmlrpc_encode_call(const char *method, const struct value *params, struct strbuf *out)
{
    ADD(out, DECLARATION "<methodCall><methodName>");
    xmlrpc_encode_text(method, strlen(method), out);
    ADD(out, "</methodName><params>");
    for (size_t i = 0; i < params->set.n; i++) {
        ADD(out, "<param>");
        xmlrpc_encode_value(&params->set.items[i], out);
        ADD(out, "</param>");
    }
    ADD(out, "</params></methodCall>");
}

void xmlrpc_success_begin(struct strbuf *out) { ADD(out, REPLY_BEGIN STATUS("Success") "Value</name>"); }
void xmlrpc_success_end(struct strbuf *out) { ADD(out, "</member></struct></value>" REPLY_END); }

void xmlrpc_encode_success(const struct value *result, struct strbuf *out)
{
    xmlrpc_success_begin(out);
    xmlrpc_encode_value(result, out);
    xmlrpc_success_end(out);
}

void xmlrpc_encode_failure(const struct xerr *err, struct strbuf *out)
{
    struct value text[1 + XERR_MAX_PARAMS] = { value_string(err->code) };

    for (size_t i = 0; i < err->n; i++) text[1 + i] = value_string(err->params[i]);
    struct value description = value_set(text, 1 + err->n);
    ADD(out, REPLY_BEGIN STATUS("Failure") "ErrorDescription</name>");
    xmlrpc_encode_value(&description, out);
    xmlrpc_success_end(out);
}

void xmlrpc_encode_bare(const struct value *result, struct strbuf *out)
{
    ADD(out, REPLY_BEGIN);
    xmlrpc_encode_value(result, out);
    ADD(out, REPLY_END);
}

void xmlrpc_encode_fault(int code, const char *text, struct strbuf *out)
{
    struct member members[] = {
        { "faultCode", { .kind = VALUE_INT32, .i = code } },
        { "faultString", value_string(text) },
    };
    struct value fault = value_map(members, ARRAY_SIZE(members));

    ADD(out, DECLARATION "<methodResponse><fault>");
    xmlrpc_encode_value(&fault, out);
    ADD(out, "</fault></methodResponse>");
}

void xmlrpc_struct_begin(struct strbuf *out) { ADD(out, "<value><struct>"); }

void xmlrpc_member_begin(const char *key, struct strbuf *out)
{
    ADD(out, "<member><name>");
    xmlrpc_encode_text(key, strlen(key), out);
    ADD(out, "</name>");
}

void xmlrpc_member_end(struct strbuf *out) { ADD(out, "</member>"); }
void xmlrpc_struct_end(struct strbuf *out) { ADD(out, "</struct></value>"); }
void xmlrpc_frame(const char *const *names, size_t n, struct wire_frame *ret_frame)
{
    struct strbuf b = STRBUF_INIT;
    uint32_t *at = xcalloc(n + 2, sizeof(*at));

    assert(n);
    xmlrpc_struct_begin(&b);
    for (size_t i = 0; i < n; i++) {
        if (i) xmlrpc_member_end(&b);
        xmlrpc_member_begin(names[i], &b);
        at[i + 1] = (uint32_t)b.len;
    }
    xmlrpc_member_end(&b);
    xmlrpc_struct_end(&b);
    at[n + 1] = (uint32_t)b.len;
    *ret_frame = wire_frame_take(&b, n, at);
}

void xmlrpc_array_begin(struct strbuf *out) { ADD(out, "<value><array><data>"); }
void xmlrpc_array_end(struct strbuf *out) { ADD(out, "</data></array></value>"); }

int xmlrpc_result(const struct value *response, struct value *ret_result, struct xerr *err)
{
    const char *status = value_get_str(response, "Status", "");
    const struct value *v = value_get(response, streq(status, "Success") ? "Value" : "ErrorDescription");

    if (streq(status, "Success") && v) {
        *ret_result = *v;
        return 0;
    }
    if (!streq(status, "Failure") || !v || v->kind != VALUE_SET || !v->set.n)
        return xerr_internal(err, "the reply has neither a Value nor an ErrorDescription");
    const char *text[1 + XERR_MAX_PARAMS];
    size_t n = v->set.n < ARRAY_SIZE(text) ? v->set.n : ARRAY_SIZE(text);
    for (size_t i = 0; i < n; i++)
        text[i] = v->set.items[i].kind == VALUE_STRING ? v->set.items[i].s : "";
    return xerr_set_dynamic(err, text[0], n - 1, text + 1);
}
