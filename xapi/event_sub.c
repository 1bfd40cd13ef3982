/* Subscriptions to events and the encoding of what they match.
 * Called by: event.c, event_hub.c, rpc/.  Calls: db/, xmlrpc, json. */
#include "xapi/event_sub.h"

#include <stdio.h>

#include "lib/json.h"
#include "lib/limits.h"
#include "lib/xmlrpc.h"

/* ---- subscriptions ---- */

static struct event_sub *sub_new(size_t n_objects)
{
    struct event_sub *sub = xcalloc(1, sizeof(*sub) + n_objects * sizeof(sub->objects[0]));

    atomic_init(&sub->refs, 1);
    sub->wanted = xcalloc(model.n_classes, sizeof(bool));
    sub->scan = xcalloc(model.n_classes, sizeof(bool));
    return sub;
}

struct event_sub *event_sub_ref(struct event_sub *sub)
{
    atomic_fetch_add(&sub->refs, 1);
    return sub;
}

void event_sub_unref(struct event_sub *sub)
{
    if (!sub || atomic_fetch_sub(&sub->refs, 1) != 1) return;
    free(sub->wanted);
    free(sub->scan);
    free(sub);
}

static int object_order(const void *a, const void *b)
{
    const struct event_object *x = a, *y = b;

    return x->cls != y->cls ? (x->cls < y->cls ? -1 : 1) : ref_cmp(x->ref, y->ref);
}

/* Sorts the objects, drops doubles and those whose class is wanted whole. */
static void tidy(struct event_sub *sub)
{
    size_t n = 0;

    qsort(sub->objects, sub->n, sizeof(sub->objects[0]), object_order);
    for (size_t i = 0; i < sub->n; i++) {
        const struct event_object *o = &sub->objects[i];
        if (sub->wanted[o->cls] || (n && !object_order(o, &sub->objects[n - 1]))) continue;
        sub->objects[n++] = *o;
    }
    sub->n = n;
    for (unsigned i = 0; i < model.n_classes; i++) sub->scan[i] = sub->wanted[i];
    for (size_t i = 0; i < n; i++) sub->scan[sub->objects[i].cls] = true;
    sub->messages = sub->scan[CLASS_message];
    sub->scan[CLASS_message] = false;
}

static bool parse_one(struct event_sub *sub, const char *text)
{
    const char *slash = strchr(text, '/');
    struct ref ref;

    if (streq(text, "*")) {
        for (unsigned i = 0; i < model.n_classes; i++) sub->wanted[i] = model.classes[i].evented;
        return true;
    }
    _cleanup_free_ char *name = slash ? xstrndup(text, (size_t)(slash - text)) : xstrdup(text);
    const struct class_desc *cls = model_class_nocase(name);
    if (!cls) return false;
    if (!slash) {
        sub->wanted[cls->id] = cls->evented;
        return true;
    }
    if (!slash[1] || !ref_parse(slash + 1, &ref)) return false;
    if (cls->evented) sub->objects[sub->n++] = (struct event_object){ (enum class_id)cls->id, ref };
    return true;
}

int event_sub_parse(const struct value *classes, struct event_sub **ret_sub, struct xerr *err)
{
    if (classes->set.n > LIMIT_SUBSCRIPTIONS) return xerr_event_subscription_parse_failure(err, "too many subscriptions");
    struct event_sub *sub = sub_new(classes->set.n);
    for (size_t i = 0; i < classes->set.n; i++) {
        if (parse_one(sub, classes->set.items[i].s)) continue;
        event_sub_unref(sub);
        return xerr_event_subscription_parse_failure(err, classes->set.items[i].s);
    }
    tidy(sub);
    *ret_sub = sub;
    return 0;
}

struct event_sub *event_sub_merge(const struct event_sub *a, const struct event_sub *b)
{
    struct event_sub *sub = sub_new(a->n + b->n);

    for (unsigned i = 0; i < model.n_classes; i++) sub->wanted[i] = a->wanted[i] || b->wanted[i];
    if (a->n) memcpy(sub->objects, a->objects, a->n * sizeof(a->objects[0]));
    if (b->n) memcpy(sub->objects + a->n, b->objects, b->n * sizeof(b->objects[0]));
    sub->n = a->n + b->n;
    tidy(sub);
    return sub;
}

static bool has_object(const struct event_sub *sub, enum class_id cls, struct ref ref)
{
    struct event_object key = { cls, ref };

    return bsearch(&key, sub->objects, sub->n, sizeof(sub->objects[0]), object_order) != NULL;
}

struct event_sub *event_sub_without(const struct event_sub *a, const struct event_sub *b)
{
    struct event_sub *sub = sub_new(a->n);

    for (unsigned i = 0; i < model.n_classes; i++) sub->wanted[i] = a->wanted[i] && !b->wanted[i];
    for (size_t i = 0; i < a->n; i++)
        if (!b->wanted[a->objects[i].cls] && !has_object(b, a->objects[i].cls, a->objects[i].ref))
            sub->objects[sub->n++] = a->objects[i];
    tidy(sub);
    return sub;
}

int event_changes(const struct snap *s, const struct event_sub *sub, struct token since, change_fn fn, void *arg,
                  struct xerr *err)
{
    const bool messages[N_CLASSES] = { [CLASS_message] = true };

    if (sub->messages && snap_changes(s, since, messages, fn, arg, err)) return -1;
    return snap_changes(s, since, sub->scan, fn, arg, err);
}

bool event_sub_empty(const struct event_sub *sub)
{
    if (sub->messages) return false;
    for (unsigned i = 0; i < model.n_classes; i++)
        if (sub->scan[i]) return false;
    return true;
}

bool event_sub_wants(const struct event_sub *sub, enum class_id cls, struct ref ref)
{
    return sub->wanted[cls] || (sub->n && has_object(sub, cls, ref));
}

char *event_sub_key(const struct event_sub *sub, struct token since, enum event_form form)
{
    struct strbuf b = STRBUF_INIT;
    char text[TOKEN_TEXT];

    strbuf_printf(&b, "%d %s ", (int)form, token_text(since, text));
    for (unsigned i = 0; i < model.n_classes; i++) strbuf_char(&b, sub->wanted[i] ? '1' : '0');
    for (size_t i = 0; i < sub->n; i++)
        strbuf_printf(&b, " %d/%s", (int)sub->objects[i].cls, REF_STR(sub->objects[i].ref));
    return strbuf_take(&b);
}

/* ---- encoded answers ---- */

struct event_text *event_text_ref(struct event_text *text)
{
    atomic_fetch_add(&text->refs, 1);
    return text;
}

void event_text_unref(struct event_text *text)
{
    if (!text || atomic_fetch_sub(&text->refs, 1) != 1) return;
    free(text->ptr);
    free(text);
}

struct event_text *event_text_new(char *ptr, size_t len)
{
    struct event_text *text = xcalloc(1, sizeof(*text));

    atomic_init(&text->refs, 1);
    text->len = len;
    text->ptr = ptr;
    return text;
}

static const char *const op_names[] = { [CHANGE_ADD] = "add", [CHANGE_MOD] = "mod", [CHANGE_DEL] = "del" };

/* Of a batch as many events as others are likely to want, too; more come to who asks for all or was away. */
enum { SHARED_EVENTS = 32, END_OF_BATCH = 8 };

struct encoder {
    const struct event_sub *sub;
    enum event_form form;
    struct event_cache *cache;
    struct strbuf out;
    struct arena *scratch;         /* NULL before the first record */
    size_t n;
};

static void xml_member(struct strbuf *out, const char *key, const char *text)
{
    xmlrpc_member_begin(key, out);
    strbuf_str(out, "<value>");
    xmlrpc_encode_text(text, strlen(text), out);
    strbuf_str(out, "</value>");
    xmlrpc_member_end(out);
}

static void json_member(struct strbuf *out, const char *key, const char *text)
{
    json_member_begin(key, out);
    json_encode_string(text, strlen(text), out);
}

static void encode_xml(struct encoder *e, const struct change *ch, const char *id)
{
    struct strbuf *out = &e->out;

    xmlrpc_struct_begin(out);
    xml_member(out, "id", id);
    xml_member(out, "timestamp", "0.0");
    xml_member(out, "class", model.classes[ch->cls].event_name);
    xml_member(out, "operation", op_names[ch->op]);
    xml_member(out, "ref", REF_STR(ch->ref));
    if (ch->row) {
        xmlrpc_member_begin("snapshot", out);
        row_encode(ch->row, ENCODING_XML, e->scratch, out);
        xmlrpc_member_end(out);
    }
    xmlrpc_struct_end(out);
}

static void encode_json(struct encoder *e, const struct change *ch, const char *id)
{
    struct strbuf *out = &e->out;

    strbuf_char(out, '{');
    json_member(out, "id", id);
    json_member(out, "timestamp", "0.0");
    json_member(out, "class", model.classes[ch->cls].event_name);
    json_member(out, "operation", op_names[ch->op]);
    json_member(out, "ref", REF_STR(ch->ref));
    if (ch->row) {
        json_member_begin("snapshot", out);
        row_encode(ch->row, ENCODING_JSON, e->scratch, out);
    }
    strbuf_char(out, '}');
}

static bool is_json(enum event_form form)
{
    return form == EVENT_BATCH_JSON || form == EVENT_LIST_JSON;
}

static void encode_event(struct encoder *e, const struct change *ch)
{
    char id[24];

    snprintf(id, sizeof(id), "%llu", (unsigned long long)ch->order);
    if (!e->scratch) e->scratch = arena_new();
    if (is_json(e->form)) encode_json(e, ch, id);
    else encode_xml(e, ch, id);
}

static void encode_change(void *arg, const struct change *ch)
{
    struct encoder *e = arg;
    struct strbuf *out = &e->out;

    if (!event_sub_wants(e->sub, ch->cls, ch->ref)) return;
    if (e->n++ && is_json(e->form)) strbuf_char(out, ',');
    if (e->form == EVENT_WAKE) return;
    if (!ch->row || e->n > SHARED_EVENTS) {
        encode_event(e, ch);
        return;
    }
    const struct event_key key = { ch->ref, ch->order, (unsigned)is_json(e->form) | (unsigned)ch->op << 1 };
    size_t at = out->len;
    if (event_cache_get(e->cache, &key, out)) return;
    encode_event(e, ch);
    event_cache_put(e->cache, &key, out->ptr + at, out->len - at);
}

/* How many objects of each class there are, as 32-bit numbers; then the token. */
static void end_batch_xml(struct strbuf *out, const struct snap *s, const char *token)
{
    xmlrpc_array_end(out);
    xmlrpc_member_end(out);
    xmlrpc_member_begin("valid_ref_counts", out);
    xmlrpc_struct_begin(out);
    for (unsigned i = 0; i < model.n_classes; i++) {
        if (!model.classes[i].evented) continue;
        xmlrpc_member_begin(model.classes[i].event_name, out);
        strbuf_str(out, "<value><i4>");
        strbuf_int(out, (int64_t)snap_count(s, (enum class_id)i));
        strbuf_str(out, "</i4></value>");
        xmlrpc_member_end(out);
    }
    xmlrpc_struct_end(out);
    xmlrpc_member_end(out);
    xml_member(out, "token", token);
    xmlrpc_struct_end(out);
}

static void end_batch_json(struct strbuf *out, const struct snap *s, const char *token)
{
    strbuf_char(out, ']');
    json_member_begin("valid_ref_counts", out);
    strbuf_char(out, '{');
    for (unsigned i = 0; i < model.n_classes; i++) {
        if (!model.classes[i].evented) continue;
        json_member_begin(model.classes[i].event_name, out);
        strbuf_int(out, (int64_t)snap_count(s, (enum class_id)i));
    }
    strbuf_char(out, '}');
    json_member(out, "token", token);
    strbuf_char(out, '}');
}

static void begin(struct encoder *e)
{
    switch (e->form) {
    case EVENT_BATCH_XML:
        xmlrpc_struct_begin(&e->out);
        xmlrpc_member_begin("events", &e->out);
        xmlrpc_array_begin(&e->out);
        return;
    case EVENT_BATCH_JSON: strbuf_str(&e->out, "{\"events\":["); return;
    case EVENT_LIST_XML: xmlrpc_array_begin(&e->out); return;
    case EVENT_LIST_JSON: strbuf_char(&e->out, '['); return;
    case EVENT_WAKE: return;
    }
}

/* The same for all whose batch ends here, wherever it begins. */
static void end_batch(struct encoder *e, const struct snap *s)
{
    const struct token until = snap_token(s);
    const struct event_key key = { { until.revision, until.stamp }, 0, END_OF_BATCH | (unsigned)is_json(e->form) };
    char token[TOKEN_TEXT];
    size_t at = e->out.len;

    if (event_cache_get(e->cache, &key, &e->out)) return;
    token_text(until, token);
    if (is_json(e->form)) end_batch_json(&e->out, s, token);
    else end_batch_xml(&e->out, s, token);
    event_cache_put(e->cache, &key, e->out.ptr + at, e->out.len - at);
}

static void end(struct encoder *e, const struct snap *s)
{
    switch (e->form) {
    case EVENT_BATCH_XML: case EVENT_BATCH_JSON: end_batch(e, s); return;
    case EVENT_LIST_XML: xmlrpc_array_end(&e->out); return;
    case EVENT_LIST_JSON: strbuf_char(&e->out, ']'); return;
    case EVENT_WAKE: return;
    }
}

int event_sub_encode(struct db *db, struct event_cache *cache, const struct event_sub *sub, struct token since,
                     enum event_form form, bool even_empty, struct event_text **ret_text, struct token *ret_until,
                     struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(db);
    struct encoder e = { sub, form, cache, STRBUF_INIT, NULL, 0 };

    begin(&e);
    int rc = event_changes(s, sub, since, encode_change, &e, err);
    arena_free(e.scratch);
    if (rc) {
        strbuf_free(&e.out);
        return -1;
    }
    *ret_until = snap_token(s);
    if (!e.n && !even_empty) {
        strbuf_free(&e.out);
        *ret_text = NULL;
        return 0;
    }
    end(&e, s);
    size_t len = e.out.len;
    *ret_text = event_text_new(strbuf_take(&e.out), len);
    return 0;
}
