/* The whole database as XML, and back.
 * Called by: report.c, http/pool_db.c, http/host_files.c.  Calls: libxml2, db/. */
#include "config.h"

#include "xapi/pool_db.h"

#include <libxml/xmlreader.h>
#include <stdio.h>

#define LOG_MODULE "db"
#include "db/store.h"
#include "gen/identity.h"
#include "gen/methods.h"
#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"
#include "xapi/net/net.h"

#define FORMAT "xapi-1"

enum { NESTING_MAX = 8 };

/* Sessions and tasks belong to the process and its clients, roles to the schema. */
static bool is_dumped(const struct class_desc *cls)
{
    return cls->stored && cls->id != CLASS_session && cls->id != CLASS_task && cls->id != CLASS_role;
}

static bool field_is_dumped(const struct field_desc *f) { return f->persistent && !f->inverse; }

/* ---- writing ------------------------------------------------------------------------------------------- */

static void add_scalar(const struct value *v, struct strbuf *out)
{
    char text[64];

    switch (v->kind) {
    case VALUE_VOID:
        return;
    case VALUE_STRING:
        strbuf_add(out, v->s, v->len);
        return;
    case VALUE_INT:
    case VALUE_INT32:
        strbuf_int(out, v->i);
        return;
    case VALUE_BOOL:
        strbuf_str(out, v->b ? "true" : "false");
        return;
    case VALUE_FLOAT:
        strbuf_printf(out, "%.17g", v->d);
        return;
    case VALUE_DATETIME:
    case VALUE_LOCALTIME:
        strbuf_str(out, iso8601_text(v->i, text));
        return;
    case VALUE_REF:
        strbuf_str(out, REF_STR(v->ref));
        return;
    case VALUE_SET:
    case VALUE_MAP:
        return;
    }
}

static void add_quoted(const char *s, size_t n, struct strbuf *out)
{
    strbuf_char(out, '\'');
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\'' || s[i] == '\\') strbuf_char(out, '\\');
        strbuf_char(out, s[i]);
    }
    strbuf_char(out, '\'');
}

/* A password under a telling name, in a dump that leaves the house. */
static bool is_telling(const char *key)
{
    return strcasestr(key, "password") || strcasestr(key, "chapuser") || streq(key, "secret");
}

static void add_list(const struct value *v, bool redact, struct strbuf *out);

static void add_item(const struct value *v, bool redact, struct strbuf *out)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    if (v->kind == VALUE_SET || v->kind == VALUE_MAP) {
        add_list(v, redact, out);
        return;
    }
    add_scalar(v, &text);
    add_quoted(strbuf_cstr(&text), text.len, out);
}

static void add_list(const struct value *v, bool redact, struct strbuf *out)
{
    strbuf_char(out, '(');
    for (size_t i = 0; v->kind == VALUE_SET && i < v->set.n; i++) {
        if (i) strbuf_char(out, ' ');
        add_item(&v->set.items[i], redact, out);
    }
    for (size_t i = 0; v->kind == VALUE_MAP && i < v->map.n; i++) {
        const struct member *m = &v->map.members[i];
        strbuf_str(out, i ? " (" : "(");
        add_quoted(m->key, strlen(m->key), out);
        strbuf_char(out, ' ');
        if (redact && is_telling(m->key))
            strbuf_str(out, "'***'");
        else
            add_item(&m->value, redact, out);
        strbuf_char(out, ')');
    }
    strbuf_char(out, ')');
}

/* An option is a list of none or one. */
static void add_value(const struct field_desc *f, const struct value *v, bool redact, struct strbuf *out)
{
    if (redact && f->secret)
        strbuf_str(out, "***");
    else if (f->type->kind == TYPE_OPTION) {
        strbuf_char(out, '(');
        if (v->kind != VALUE_VOID) add_item(v, redact, out);
        strbuf_char(out, ')');
    } else if (v->kind == VALUE_SET || v->kind == VALUE_MAP)
        add_list(v, redact, out);
    else
        add_scalar(v, out);
}

/* Attribute text: what a reader would turn into blanks is written by number. */
static void add_attribute(const char *name, const char *s, size_t n, struct strbuf *out)
{
    strbuf_printf(out, " %s=\"", name);
    for (size_t from = 0, i = 0; i <= n; i++) {
        if (i < n && s[i] != '\n' && s[i] != '\r' && s[i] != '\t') continue;
        xmlrpc_encode_text(s + from, i - from, out);
        if (i < n) strbuf_printf(out, "&#%d;", s[i]);
        from = i + 1;
    }
    strbuf_char(out, '"');
}

static void add_row(const struct class_desc *cls, const struct row *row, bool redact, struct strbuf *out)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    strbuf_printf(out, "<row ref=\"%s\"", REF_STR(row_ref_of(row)));
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct field_desc *f = &cls->fields[i];
        if (!field_is_dumped(f)) continue;
        struct value v = row_field_value(row, f, a);
        strbuf_clear(&text);
        add_value(f, &v, redact, &text);
        add_attribute(f->long_name, strbuf_cstr(&text), text.len, out);
    }
    strbuf_str(out, "/>\n");
}

static void add_pair(const char *key, const char *value, struct strbuf *out)
{
    strbuf_str(out, "<pair");
    add_attribute("key", key, strlen(key), out);
    add_attribute("value", value, strlen(value), out);
    strbuf_str(out, "/>\n");
}

void pool_db_dump(const struct agent *agent, bool redact, struct strbuf *out)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    char token[TOKEN_TEXT];

    strbuf_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<database>\n<manifest>\n");
    add_pair("format", FORMAT, out);
    add_pair("version", PACKAGE_VERSION, out);
    add_pair("product_version", IDENTITY_PRODUCT_VERSION, out);
    add_pair("redacted", redact ? "true" : "false", out);
    add_pair("host", REF_STR(agent->host), out);
    add_pair("pool", REF_STR(agent->pool), out);
    add_pair("control_domain", REF_STR(agent->dom0), out);
    add_pair("token", token_text(snap_token(s), token), out);
    strbuf_str(out, "</manifest>\n");
    for (unsigned i = 1; i < model.n_classes; i++) {
        const struct class_desc *cls = &model.classes[i];
        if (!is_dumped(cls)) continue;
        strbuf_printf(out, "<table name=\"%s\">\n", cls->name);
        SNAP_EACH (s, (enum class_id)i, row) add_row(cls, row, redact, out);
        strbuf_str(out, "</table>\n");
    }
    strbuf_str(out, "</database>\n");
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* One row of the dump: its attributes, not looked at yet. */
struct image {
    struct image *next; /* of the class, in the dump's order */
    struct ref ref;     /* ours, when it stands for one of ours */
    bool renamed;       /* it had another there */
    size_t n;
    struct {
        const struct field_desc *field;
        const char *text;
    } cells[];
};

struct dump {
    struct call *c;
    struct image *first[N_CLASSES], *last[N_CLASSES];
    size_t rows;
    struct {
        struct ref theirs, ours;
    } same[3]; /* host, pool, control domain */
    bool format_ok, redacted, has_host;
    bool apart; /* its host, pool and control domain stay what they are */
};

enum { SAME_HOST, SAME_POOL, SAME_DOM0 };

static struct ref our_ref(const struct dump *d, struct ref theirs)
{
    for (size_t i = 0; i < ARRAY_SIZE(d->same) && !d->apart; i++)
        if (!ref_is_null(theirs) && ref_eq(d->same[i].theirs, theirs)) return d->same[i].ours;
    return theirs;
}

static const char *attribute(struct dump *d, xmlTextReader *reader, const char *name)
{
    xmlChar *text = xmlTextReaderGetAttribute(reader, (const xmlChar *)name);
    char *copy = text ? arena_strdup(d->c->arena, (const char *)text) : NULL;

    xmlFree(text);
    return copy;
}

/* Why it is no dump: for a restore, or for somebody who only wants to read it. */
static int bad_dump(const struct dump *d, struct xerr *err, const char *why)
{
    return d->apart ? xerr_import_error(err, why) : xerr_restore_script_failed(err, why);
}

static void read_pair(struct dump *d, xmlTextReader *reader)
{
    static const char *const names[] = {
        [SAME_HOST] = "host", [SAME_POOL] = "pool", [SAME_DOM0] = "control_domain"
    };
    const char *key = attribute(d, reader, "key"), *value = attribute(d, reader, "value");

    if (!key || !value) return;
    if (streq(key, "format")) d->format_ok = streq(value, FORMAT);
    if (streq(key, "redacted")) d->redacted = streq(value, "true");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (streq(key, names[i])) ref_parse(value, &d->same[i].theirs);
}

static int read_row(struct dump *d, xmlTextReader *reader, const struct class_desc *cls, struct xerr *err)
{
    int n = xmlTextReaderAttributeCount(reader);
    struct image *image =
        arena_zalloc(d->c->arena, sizeof(*image) + sizeof(image->cells[0]) * (size_t)(n > 0 ? n : 0));
    struct ref theirs = REF_NULL;

    while (xmlTextReaderMoveToNextAttribute(reader) == 1) {
        const char *name = (const char *)xmlTextReaderConstName(reader);
        const char *text = arena_strdup(d->c->arena, (const char *)xmlTextReaderConstValue(reader));
        if (streq(name, "ref")) {
            if (!ref_parse(text, &theirs)) theirs = REF_NULL;
            continue;
        }
        /* A field that this version does not have any more is no reason to refuse the rest. */
        const struct field_desc *f = model_field_by_name(cls, name);
        if (!f || !field_is_dumped(f)) continue;
        image->cells[image->n].field = f;
        image->cells[image->n++].text = text;
    }
    if (ref_is_null(theirs))
        return bad_dump(d, err, arena_printf(d->c->arena, "a row of %s without a reference", cls->name));
    image->ref = our_ref(d, theirs);
    image->renamed = !ref_eq(image->ref, theirs);
    if (ref_eq(theirs, d->same[SAME_HOST].theirs) || ref_eq(image->ref, d->c->agent->host)) d->has_host = true;
    if (d->last[cls->id])
        d->last[cls->id]->next = image;
    else
        d->first[cls->id] = image;
    d->last[cls->id] = image;
    d->rows++;
    return 0;
}

static int read_node(struct dump *d, xmlTextReader *reader, const struct class_desc **cls, struct xerr *err)
{
    const char *name = (const char *)xmlTextReaderConstName(reader);
    int type = xmlTextReaderNodeType(reader);

    if (type == XML_READER_TYPE_DOCUMENT_TYPE) return bad_dump(d, err, "a dump has no document type");
    if (type != XML_READER_TYPE_ELEMENT) return 0;
    if (xmlTextReaderDepth(reader) == 0 && !streq(name, "database"))
        return bad_dump(d, err, "no database dump");
    if (streq(name, "pair")) read_pair(d, reader);
    if (streq(name, "table")) {
        const char *table = attribute(d, reader, "name");
        *cls = table ? model_class(table) : NULL;
        if (*cls && !is_dumped(*cls)) *cls = NULL;
    }
    if (streq(name, "row") && *cls)
        return d->format_ok ? read_row(d, reader, *cls, err) : xerr_restore_incompatible_version(err);
    return 0;
}

static void ignore_error(void *arg, const char *text, xmlParserSeverities severity,
                         xmlTextReaderLocatorPtr where)
{
    (void)arg, (void)text, (void)severity, (void)where;
}

static int read_dump(struct dump *d, const char *xml, size_t len, struct xerr *err)
{
    const struct class_desc *cls = NULL;
    xmlTextReader *reader =
        len <= LIMIT_POOL_DUMP ? xmlReaderForMemory(xml, (int)len, NULL, "UTF-8", XML_PARSE_NONET) : NULL;
    int rc = 0, more = 1;

    if (!reader) return bad_dump(d, err, "no database dump");
    xmlTextReaderSetErrorHandler(reader, ignore_error, NULL);
    while (!rc && (more = xmlTextReaderRead(reader)) == 1) rc = read_node(d, reader, &cls, err);
    if (!rc && more < 0) {
        const char *where =
            arena_printf(d->c->arena, "line %d is not well-formed", xmlTextReaderGetParserLineNumber(reader));
        rc = bad_dump(d, err, where);
    }
    xmlFreeTextReader(reader);
    if (rc) return rc;
    if (!d->format_ok || d->redacted) return xerr_restore_incompatible_version(err);
    return d->has_host ? 0 : bad_dump(d, err, "the dump has no record of its host");
}

/* ---- text to value ------------------------------------------------------------------------------------- */

struct cursor {
    const struct dump *d;
    const char *p;
};

static bool scalar_from(const struct dump *d, const struct type_desc *type, const char *text,
                        struct value *ret)
{
    int64_t i;
    double f;
    struct ref ref;

    switch (type->kind) {
    case TYPE_STRING:
        *ret = value_string(text);
        return true;
    case TYPE_INT:
        return num_parse_int(text, &i) && (*ret = value_int(i), true);
    case TYPE_FLOAT:
        return num_parse_float(text, &f) && (*ret = value_float(f), true);
    case TYPE_BOOL:
        *ret = value_bool(streq(text, "true"));
        return streq(text, "true") || streq(text, "false");
    case TYPE_DATETIME:
        return iso8601_parse(text, &i) && (*ret = value_datetime(i), true);
    case TYPE_REF:
        return ref_parse(text, &ref) && (*ret = value_ref(our_ref(d, ref)), true);
    case TYPE_ENUM:
        *ret = value_string(text);
        return enum_index(type->e, text) >= 0;
    case TYPE_VOID:
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
    case TYPE_BATCH:
        break;
    }
    return false;
}

static bool take(struct cursor *k, char c)
{
    if (*k->p != c) return false;
    k->p++;
    return true;
}

/* 'text', with \ before what is meant as it is. NULL when there is none. */
static const char *take_quoted(struct cursor *k)
{
    char *text, *to;
    size_t n = 0;

    if (!take(k, '\'')) return NULL;
    while (k->p[n] && k->p[n] != '\'') n += k->p[n] == '\\' && k->p[n + 1] ? 2 : 1;
    to = text = arena_alloc(k->d->c->arena, n + 1);
    for (; *k->p && *k->p != '\''; k->p++) {
        if (*k->p == '\\' && k->p[1]) k->p++;
        *to++ = *k->p;
    }
    *to = '\0';
    return take(k, '\'') ? text : NULL;
}

static bool take_list(struct cursor *k, const struct type_desc *type, int depth, struct value *ret);

static bool take_item(struct cursor *k, const struct type_desc *type, int depth, struct value *ret)
{
    if (*k->p == '(') return take_list(k, type, depth + 1, ret);
    const char *text = take_quoted(k);
    return text && scalar_from(k->d, type, text, ret);
}

static bool take_entry(struct cursor *k, const struct type_desc *type, int depth, struct value_builder *b)
{
    struct ref ref;
    struct value v;

    if (!take(k, '(')) return false;
    const char *key = take_quoted(k);
    if (!key || !take(k, ' ') || !take_item(k, type->elem, depth, &v) || !take(k, ')')) return false;
    if (type->key->kind == TYPE_REF && ref_parse(key, &ref))
        key = arena_strdup(b->arena, REF_STR(our_ref(k->d, ref)));
    value_put(b, key, v);
    return true;
}

static bool take_list(struct cursor *k, const struct type_desc *type, int depth, struct value *ret)
{
    struct value_builder b = value_builder(k->d->c->arena);
    struct value v;

    if (depth > NESTING_MAX || !take(k, '(')) return false;
    while (*k->p && *k->p != ')') {
        if (type->kind == TYPE_MAP) {
            if (!take_entry(k, type, depth, &b)) return false;
        } else {
            if (!take_item(k, type->elem, depth, &v)) return false;
            value_push(&b, v);
        }
        if (*k->p != ')' && !take(k, ' ')) return false;
    }
    *ret = type->kind == TYPE_MAP ? value_built_map(&b) : value_built_set(&b);
    return take(k, ')');
}

static bool value_from(const struct dump *d, const struct type_desc *type, const char *text,
                       struct value *ret)
{
    struct cursor k = { d, text };

    switch (type->kind) {
    case TYPE_SET:
    case TYPE_MAP:
        return take_list(&k, type, 0, ret) && !*k.p;
    case TYPE_OPTION:
        if (streq(text, "()")) {
            *ret = value_void();
            return true;
        }
        return take(&k, '(') && take_item(&k, type->elem, 0, ret) && take(&k, ')') && !*k.p;
    case TYPE_VOID:
    case TYPE_STRING:
    case TYPE_INT:
    case TYPE_BOOL:
    case TYPE_FLOAT:
    case TYPE_DATETIME:
    case TYPE_REF:
    case TYPE_ENUM:
    case TYPE_RECORD:
    case TYPE_BATCH:
        break;
    }
    return scalar_from(d, type, text, ret);
}

/* ---- the transaction ----------------------------------------------------------------------------------- */

static int compare_refs(const void *a, const void *b)
{
    return ref_cmp(*(const struct ref *)a, *(const struct ref *)b);
}

/* What the dump does not have goes. Ours stay, they only change. */
static void drop_others(const struct dump *d, struct txn *t, const struct class_desc *cls)
{
    size_t n = 0;

    for (const struct image *i = d->first[cls->id]; i; i = i->next) n++;
    struct ref *refs = xcalloc(n + 1, sizeof(*refs));
    n = 0;
    for (const struct image *i = d->first[cls->id]; i; i = i->next) refs[n++] = i->ref;
    qsort(refs, n, sizeof(*refs), compare_refs);
    SNAP_EACH (txn_snap(t), (enum class_id)cls->id, row) {
        struct ref ref = row_ref_of(row);
        if (!bsearch(&ref, refs, n, sizeof(*refs), compare_refs)) txn_destroy(t, (enum class_id)cls->id, ref);
    }
    free(refs);
}

static int write_image(const struct dump *d, struct txn *t, const struct class_desc *cls,
                       const struct image *image, struct xerr *err)
{
    struct value v;

    for (size_t i = 0; i < image->n; i++) {
        const struct field_desc *f = image->cells[i].field;
        if (f->id == cls->uuid && image->renamed) continue; /* this machine keeps its own */
        if (!value_from(d, f->type, image->cells[i].text, &v))
            return bad_dump(d, err, arena_printf(d->c->arena, "%s.%s of %s: %.200s", cls->name, f->name, REF_STR(image->ref),
                                                 image->cells[i].text));
        txn_set_field(t, image->ref, f->id, &v);
    }
    return 0;
}

static void create_missing(const struct dump *d, struct txn *t, const struct class_desc *cls)
{
    for (const struct image *i = d->first[cls->id]; i; i = i->next)
        if (!snap_get(txn_snap(t), (enum class_id)cls->id, i->ref))
            txn_create(t, (enum class_id)cls->id, i->ref);
}

/* 1. what is too many goes, so that its uuids are free; 2. what is missing comes, so that references have
 * their ends; 3. the fields. The writer lock is held for all of it: nobody is to write between the old
 * database and the new one. */
static int write_dump(const struct dump *d, struct txn *t, struct xerr *err)
{
    for (unsigned i = 1; i < model.n_classes; i++)
        if (is_dumped(&model.classes[i])) drop_others(d, t, &model.classes[i]);
    for (unsigned i = 1; i < model.n_classes; i++)
        if (is_dumped(&model.classes[i])) create_missing(d, t, &model.classes[i]);
    for (unsigned i = 1; i < model.n_classes; i++)
        for (const struct image *image = d->first[i]; image; image = image->next)
            if (write_image(d, t, &model.classes[i], image, err)) return -1;
    return 0;
}

/* ---- whether this machine is fit for it ---------------------------------------------------------------- */

static const char *cell(const struct image *image, field_id f)
{
    for (size_t i = 0; i < image->n; i++)
        if (image->cells[i].field->id == f) return image->cells[i].text;
    return "";
}

/* Every physical interface that the dump's management is on must be here. */
static int check_devices(const struct dump *d, struct xerr *err)
{
    const struct net_interface *have;
    size_t n;

    if (!d->first[CLASS_PIF]) return 0;
    if (net_list(d->c->agent->net, d->c->arena, &have, &n, err)) return -1;
    for (const struct image *pif = d->first[CLASS_PIF]; pif; pif = pif->next) {
        const char *device = cell(pif, F_PIF_device);
        bool found = !streq(cell(pif, F_PIF_physical), "true") || !streq(cell(pif, F_PIF_management), "true");
        for (size_t i = 0; i < n && !found; i++) found = streq(have[i].name, device);
        if (!found) return xerr_restore_target_missing_device(err, device);
    }
    return 0;
}

static int check_no_guests(const struct dump *d, const struct snap *s, struct xerr *err)
{
    SNAP_EACH (s, CLASS_VM, vm) {
        int state = row_enum(vm, F_VM_power_state);
        if (row_bool(vm, F_VM_is_control_domain)) continue;
        if (state == vm_power_state_Running || state == vm_power_state_Paused)
            return xerr_host_has_resident_vms(err, REF_STR(d->c->agent->host));
    }
    return 0;
}

int pool_db_restore(struct call *c, const char *xml, size_t len, bool dry_run, struct xerr *err)
{
    struct dump *d = arena_zalloc(c->arena, sizeof(*d));

    d->c = c;
    d->same[SAME_HOST].ours = c->agent->host;
    d->same[SAME_POOL].ours = c->agent->pool;
    d->same[SAME_DOM0].ours = c->agent->dom0;
    if (read_dump(d, xml, len, err) || check_devices(d, err)) return -1;

    struct txn *t = db_begin(c->agent->db);
    if (check_no_guests(d, txn_snap(t), err) || write_dump(d, t, err)) {
        db_abort(t);
        return -1;
    }
    /* The first change that failed tells itself in the commit, which then changes nothing. */
    if (dry_run && !txn_failed(t)) {
        db_abort(t);
        return 0;
    }
    if (db_commit(t, err)) return -1;
    log_info("the database is that of the dump: %zu objects", d->rows);
    return 0;
}

int pool_db_load(struct call *c, const char *xml, size_t len, struct db **ret_db, struct xerr *err)
{
    struct dump *d = arena_zalloc(c->arena, sizeof(*d));
    struct db *db;

    d->c = c;
    d->apart = true;
    if (read_dump(d, xml, len, err) || db_open(store_new_memory(), &db, err)) return -1;
    struct txn *t = db_begin(db);
    int rc = write_dump(d, t, err);
    if (rc)
        db_abort(t);
    else
        rc = db_commit(t, err);
    if (rc)
        db_close(db);
    else
        *ret_db = db;
    return rc;
}
