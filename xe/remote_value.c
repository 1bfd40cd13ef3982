/* Values between us and xmlrpc-c: calls as text, replies as what the model says they are.
 * Called by: remote.c.  Calls: xmlrpc-c, lib. */
#include "xe/remote_value.h"

#include <math.h>
#include <time.h>
#include <xmlrpc-c/base.h>

#include "lib/iso8601.h"
#include "lib/num.h"
#include "lib/utf8.h"

enum { REPLY_LIMIT = 1 << 30 };

/* ---- to xmlrpc-c ------------------------------------------------------------------------------------- */

/* Well-formed, and without what XML cannot carry. */
static xmlrpc_value *string_out(xmlrpc_env *env, const char *s, size_t n)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    uint32_t cp;

    strbuf_reserve(&b, n);
    while (n) {
        unsigned len = utf8_next(s, n, &cp);

        if (!len)
            strbuf_str(&b, UTF8_REPLACEMENT);
        else if (utf8_is_xml_char(cp))
            strbuf_add(&b, s, len);
        s += len ? len : 1;
        n -= len ? len : 1;
    }
    return xmlrpc_string_new_lp_cr(env, b.len, strbuf_cstr(&b));
}

static xmlrpc_value *value_out(xmlrpc_env *env, const struct value *v);

static xmlrpc_value *set_out(xmlrpc_env *env, const struct value *v)
{
    xmlrpc_value *array = xmlrpc_array_new(env);

    for (size_t i = 0; !env->fault_occurred && i < v->set.n; i++) {
        xmlrpc_value *item = value_out(env, &v->set.items[i]);

        if (!env->fault_occurred) xmlrpc_array_append_item(env, array, item);
        if (item) xmlrpc_DECREF(item);
    }
    return array;
}

static xmlrpc_value *map_out(xmlrpc_env *env, const struct value *v)
{
    xmlrpc_value *s = xmlrpc_struct_new(env);

    for (size_t i = 0; !env->fault_occurred && i < v->map.n; i++) {
        const char *key = v->map.members[i].key;
        xmlrpc_value *name = string_out(env, key, strlen(key));
        xmlrpc_value *item = env->fault_occurred ? NULL : value_out(env, &v->map.members[i].value);

        if (!env->fault_occurred) xmlrpc_struct_set_value_v(env, s, name, item);
        if (name) xmlrpc_DECREF(name);
        if (item) xmlrpc_DECREF(item);
    }
    return s;
}

/* NULL when env says what went wrong. */
static xmlrpc_value *value_out(xmlrpc_env *env, const struct value *v)
{
    char text[REF_TEXT];

    switch (v->kind) {
    case VALUE_VOID:
        return xmlrpc_string_new(env, "");
    case VALUE_STRING:
        return string_out(env, v->s, v->len);
    case VALUE_INT:
        return xmlrpc_string_new_f(env, "%lld", (long long)v->i);
    case VALUE_INT32:
        return xmlrpc_int_new(env, (int)v->i);
    case VALUE_BOOL:
        return xmlrpc_bool_new(env, v->b);
    case VALUE_FLOAT: /* the library's writer crashes on what is no number */
        return xmlrpc_double_new(env, isfinite(v->d) ? v->d : 0);
    case VALUE_DATETIME:
    case VALUE_LOCALTIME:
        return xmlrpc_datetime_new_sec(env, (time_t)v->i);
    case VALUE_REF:
        return xmlrpc_string_new(env, ref_text(v->ref, text));
    case VALUE_SET:
        return set_out(env, v);
    case VALUE_MAP:
        return map_out(env, v);
    }
    return NULL;
}

int remote_encode_call(const char *method, const struct value *args, size_t n, struct arena *a,
                       struct strbuf *out, const char **ret_why)
{
    const struct value set = value_set(args, n);
    xmlrpc_value *params;
    xmlrpc_mem_block *text;
    xmlrpc_env env;
    int rc = -1;

    xmlrpc_env_init(&env);
    text = XMLRPC_MEMBLOCK_NEW(char, &env, 0);
    params = set_out(&env, &set);
    if (!env.fault_occurred) xmlrpc_serialize_call(&env, text, method, params);
    if (env.fault_occurred) {
        *ret_why = arena_strdup(a, env.fault_string);
    } else {
        strbuf_add(out, XMLRPC_MEMBLOCK_CONTENTS(char, text), XMLRPC_MEMBLOCK_SIZE(char, text));
        rc = 0;
    }
    if (params) xmlrpc_DECREF(params);
    if (text) XMLRPC_MEMBLOCK_FREE(char, text);
    xmlrpc_env_clean(&env);
    return rc;
}

/* ---- from xmlrpc-c ----------------------------------------------------------------------------------- */

struct reader {
    xmlrpc_env env;
    struct arena *arena;
    const char *why; /* NULL until something is wrong */
};

static int wrong(struct reader *r, const char *what, const struct type_desc *type)
{
    if (!r->why) r->why = arena_printf(r->arena, "%s where %s is due", what, type->text);
    return -1;
}

/* What the library gives, by its own types. Texts live in the arena. */
static const char *text_in(struct reader *r, xmlrpc_value *x, size_t *ret_len)
{
    const char *s = NULL, *copy = "";

    *ret_len = 0;
    xmlrpc_read_string_lp(&r->env, x, ret_len, &s);
    if (r->env.fault_occurred) return copy;
    copy = arena_strndup(r->arena, s, *ret_len);
    *ret_len = strlen(copy); /* no text of ours has a NUL inside */
    free((void *)(uintptr_t)s);
    return copy;
}

/* Seconds since the epoch; the library's own conversion stops at 1970. */
static int64_t date_in(struct reader *r, xmlrpc_value *x)
{
    xmlrpc_datetime d = { .Y = 1970, .M = 1, .D = 1 };
    struct tm tm = { .tm_year = 0 };

    xmlrpc_read_datetime(&r->env, x, &d);
    tm.tm_year = (int)d.Y - 1900;
    tm.tm_mon = (int)d.M - 1;
    tm.tm_mday = (int)d.D;
    tm.tm_hour = (int)d.h;
    tm.tm_min = (int)d.m;
    tm.tm_sec = (int)d.s;
    return timegm(&tm);
}

static int64_t int_in(struct reader *r, xmlrpc_value *x)
{
    xmlrpc_int64 i = 0;
    int small = 0;

    if (xmlrpc_value_type(x) == XMLRPC_TYPE_I8) {
        xmlrpc_read_i8(&r->env, x, &i);
        return i;
    }
    xmlrpc_read_int(&r->env, x, &small);
    return small;
}

static double double_in(struct reader *r, xmlrpc_value *x)
{
    double d = 0;

    xmlrpc_read_double(&r->env, x, &d);
    return d;
}

static bool bool_in(struct reader *r, xmlrpc_value *x)
{
    xmlrpc_bool b = 0;

    xmlrpc_read_bool(&r->env, x, &b);
    return b;
}

static int value_in(struct reader *r, xmlrpc_value *x, const struct type_desc *type, struct value *ret);

static int set_in(struct reader *r, xmlrpc_value *x, const struct type_desc *elem, struct value *ret)
{
    int n = xmlrpc_array_size(&r->env, x);
    struct value *items = arena_new_array(r->arena, struct value, (size_t)(n > 0 ? n : 0) + 1);

    for (int i = 0; i < n; i++) {
        xmlrpc_value *item;
        int rc;

        xmlrpc_array_read_item(&r->env, x, (unsigned)i, &item);
        rc = value_in(r, item, elem, &items[i]);
        xmlrpc_DECREF(item);
        if (rc < 0) return -1;
    }
    *ret = value_set(items, (size_t)(n > 0 ? n : 0));
    return 0;
}

/* type_of: the type of the member with that key, false for one to leave out. */
typedef bool (*type_of_fn)(const void *arg, const char *key, const struct type_desc **ret_type);

static int map_in(struct reader *r, xmlrpc_value *x, type_of_fn type_of, const void *arg,
                  struct value_builder *b)
{
    int n = xmlrpc_struct_size(&r->env, x);

    for (int i = 0; i < n; i++) {
        const struct type_desc *type;
        xmlrpc_value *key, *item;
        const char *name;
        struct value v;
        size_t len;
        int rc = 0;

        xmlrpc_struct_read_member(&r->env, x, (unsigned)i, &key, &item);
        name = text_in(r, key, &len);
        if (type_of(arg, name, &type)) {
            rc = value_in(r, item, type, &v);
            if (rc == 0) value_put_new(b, name, v);
        }
        xmlrpc_DECREF(key);
        xmlrpc_DECREF(item);
        if (rc < 0) return -1;
    }
    return 0;
}

static bool type_of_any(const void *arg, const char *key, const struct type_desc **ret_type)
{
    (void)key;
    *ret_type = arg;
    return true;
}

static bool type_of_field(const void *arg, const char *key, const struct type_desc **ret_type)
{
    const struct class_desc *cls = arg;

    for (unsigned i = 0; i < cls->n_fields; i++)
        if (streq(cls->fields[i].name, key)) {
            *ret_type = cls->fields[i].type;
            return true;
        }
    return false;
}

static int record_in(struct reader *r, xmlrpc_value *x, const struct class_desc *cls, struct value *ret)
{
    struct value_builder b = value_builder(r->arena);
    struct value given;

    if (map_in(r, x, type_of_field, cls, &b) < 0) return -1;
    given = value_built_map(&b);
    for (unsigned i = 0; i < cls->n_fields && given.map.n < cls->n_fields; i++)
        if (!value_get(&given, cls->fields[i].name))
            value_put_new(&b, cls->fields[i].name, cls->fields[i].default_value);
    *ret = value_built_map(&b);
    return 0;
}

/* One event; its snapshot is a record of the class that it names. */
static int event_in(struct reader *r, xmlrpc_value *x, struct value *ret)
{
    static const char *const texts[] = { "id", "timestamp", "class", "operation", "ref", "obj_uuid" };
    struct value_builder b = value_builder(r->arena);
    const struct class_desc *cls = NULL;
    struct ref ref = REF_NULL;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        xmlrpc_value *item = NULL;
        struct value v;

        xmlrpc_struct_find_value(&r->env, x, texts[i], &item);
        if (!item) continue;
        if (value_in(r, item, NULL, &v) == 0) value_put_new(&b, texts[i], v);
        if (streq(texts[i], "class") && v.kind == VALUE_STRING) cls = model_class_nocase(v.s);
        if (streq(texts[i], "ref") && v.kind == VALUE_STRING && ref_parse(v.s, &ref))
            value_put(&b, texts[i], value_ref(ref));
        xmlrpc_DECREF(item);
    }
    if (cls) {
        xmlrpc_value *item = NULL;
        struct value v;
        int rc = 0;

        xmlrpc_struct_find_value(&r->env, x, "snapshot", &item);
        if (item && xmlrpc_value_type(item) == XMLRPC_TYPE_STRUCT && (rc = record_in(r, item, cls, &v)) == 0)
            value_put_new(&b, "snapshot", v);
        if (item) xmlrpc_DECREF(item);
        if (rc < 0) return -1;
    }
    *ret = value_built_map(&b);
    return 0;
}

static int batch_in(struct reader *r, xmlrpc_value *x, const struct type_desc *type, struct value *ret)
{
    struct value_builder b = value_builder(r->arena), events = value_builder(r->arena);
    xmlrpc_value *list = NULL, *token = NULL;
    struct value v;
    int n, rc = 0;

    xmlrpc_struct_find_value(&r->env, x, "events", &list);
    xmlrpc_struct_find_value(&r->env, x, "token", &token);
    if (!list || !token || xmlrpc_value_type(list) != XMLRPC_TYPE_ARRAY)
        rc = wrong(r, "something else", type);
    n = rc == 0 ? xmlrpc_array_size(&r->env, list) : 0;
    for (int i = 0; i < n && rc == 0; i++) {
        xmlrpc_value *item;

        xmlrpc_array_read_item(&r->env, list, (unsigned)i, &item);
        rc = xmlrpc_value_type(item) == XMLRPC_TYPE_STRUCT ? event_in(r, item, &v)
                                                           : wrong(r, "no event", type);
        xmlrpc_DECREF(item);
        if (rc == 0) value_push(&events, v);
    }
    if (rc == 0 && (rc = value_in(r, token, NULL, &v)) == 0) {
        value_put_new(&b, "token", v);
        value_put_new(&b, "events", value_built_set(&events));
        *ret = value_built_map(&b);
    }
    if (list) xmlrpc_DECREF(list);
    if (token) xmlrpc_DECREF(token);
    return rc;
}

/* Without a type: as it came. */
static int plain_in(struct reader *r, xmlrpc_value *x, struct value *ret)
{
    struct value_builder b = value_builder(r->arena);
    int rc = 0;

    switch (xmlrpc_value_type(x)) {
    case XMLRPC_TYPE_INT:
    case XMLRPC_TYPE_I8:
        *ret = value_int(int_in(r, x));
        break;
    case XMLRPC_TYPE_BOOL:
        *ret = value_bool(bool_in(r, x));
        break;
    case XMLRPC_TYPE_DOUBLE:
        *ret = value_float(double_in(r, x));
        break;
    case XMLRPC_TYPE_DATETIME:
        *ret = value_datetime(date_in(r, x));
        break;
    case XMLRPC_TYPE_STRING:
        ret->kind = VALUE_STRING;
        ret->s = text_in(r, x, &ret->len);
        break;
    case XMLRPC_TYPE_ARRAY:
        return set_in(r, x, NULL, ret);
    case XMLRPC_TYPE_STRUCT:
        rc = map_in(r, x, type_of_any, NULL, &b);
        *ret = value_built_map(&b);
        break;
    case XMLRPC_TYPE_BASE64:
    case XMLRPC_TYPE_C_PTR:
    case XMLRPC_TYPE_NIL:
    case XMLRPC_TYPE_DEAD:
        *ret = value_void();
        break;
    }
    return rc;
}

/* A value that is no container, by the type that it should have: ints come as text, for one. */
static int scalar_in(struct reader *r, xmlrpc_value *x, const struct type_desc *type, struct value *ret)
{
    struct value v;

    if (plain_in(r, x, &v) < 0) return -1;
    *ret = v;
    switch (type->kind) {
    case TYPE_INT:
        if (v.kind == VALUE_STRING && num_parse_int(v.s, &ret->i)) ret->kind = VALUE_INT;
        if (ret->kind != VALUE_INT) return wrong(r, "something else", type);
        return 0;
    case TYPE_BOOL:
        return v.kind == VALUE_BOOL ? 0 : wrong(r, "something else", type);
    case TYPE_FLOAT:
        if (v.kind == VALUE_INT) *ret = value_float((double)v.i);
        if (v.kind == VALUE_STRING && num_parse_float(v.s, &ret->d)) ret->kind = VALUE_FLOAT;
        return ret->kind == VALUE_FLOAT ? 0 : wrong(r, "something else", type);
    case TYPE_DATETIME:
        if (v.kind == VALUE_STRING && iso8601_parse(v.s, &ret->i)) ret->kind = VALUE_DATETIME;
        return ret->kind == VALUE_DATETIME ? 0 : wrong(r, "something else", type);
    case TYPE_REF:
        if (v.kind != VALUE_STRING) return wrong(r, "something else", type);
        *ret = value_ref(REF_NULL);
        if (*v.s && !ref_parse(v.s, &ret->ref)) *ret = v;
        return 0;
    case TYPE_STRING:
    case TYPE_ENUM:
        if (v.kind == VALUE_INT) *ret = value_string(arena_printf(r->arena, "%lld", (long long)v.i));
        return ret->kind == VALUE_STRING ? 0 : wrong(r, "something else", type);
    case TYPE_VOID:
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
    case TYPE_BATCH:
        break;
    }
    return wrong(r, "something else", type);
}

static int value_in(struct reader *r, xmlrpc_value *x, const struct type_desc *type, struct value *ret)
{
    xmlrpc_type kind = xmlrpc_value_type(x);
    struct value_builder b;

    if (!type) return plain_in(r, x, ret);
    switch (type->kind) {
    case TYPE_VOID:
        *ret = value_void();
        return 0;
    case TYPE_OPTION:
        if (kind != XMLRPC_TYPE_NIL) return value_in(r, x, type->elem, ret);
        *ret = value_void();
        return 0;
    case TYPE_SET:
        return kind == XMLRPC_TYPE_ARRAY ? set_in(r, x, type->elem, ret) : wrong(r, "something else", type);
    case TYPE_MAP:
        if (kind != XMLRPC_TYPE_STRUCT) return wrong(r, "something else", type);
        b = value_builder(r->arena);
        if (map_in(r, x, type_of_any, type->elem, &b) < 0) return -1;
        *ret = value_built_map(&b);
        return 0;
    case TYPE_RECORD:
        if (kind != XMLRPC_TYPE_STRUCT) return wrong(r, "something else", type);
        return record_in(r, x, &model.classes[type->cls], ret);
    case TYPE_BATCH:
        if (kind != XMLRPC_TYPE_STRUCT) return wrong(r, "something else", type);
        return batch_in(r, x, type, ret);
    case TYPE_STRING:
    case TYPE_INT:
    case TYPE_BOOL:
    case TYPE_FLOAT:
    case TYPE_DATETIME:
    case TYPE_REF:
    case TYPE_ENUM:
        break;
    }
    return scalar_in(r, x, type, ret);
}

/* ---- replies ----------------------------------------------------------------------------------------- */

/* ErrorDescription: the code and its parameters. */
static enum remote_reply failure_in(struct reader *r, xmlrpc_value *reply, struct xerr *err)
{
    const char *params[XERR_MAX_PARAMS];
    xmlrpc_value *list = NULL;
    struct value set;
    size_t n = 0;
    int rc;

    xmlrpc_struct_find_value(&r->env, reply, "ErrorDescription", &list);
    if (!list || xmlrpc_value_type(list) != XMLRPC_TYPE_ARRAY) {
        if (list) xmlrpc_DECREF(list);
        return REMOTE_NONSENSE;
    }
    rc = set_in(r, list, NULL, &set);
    xmlrpc_DECREF(list);
    if (rc < 0 || !set.set.n) return REMOTE_NONSENSE;
    for (size_t i = 0; i < set.set.n; i++)
        if (set.set.items[i].kind != VALUE_STRING) return REMOTE_NONSENSE;
    for (size_t i = 1; i < set.set.n && n < ARRAY_SIZE(params); i++) params[n++] = set.set.items[i].s;
    xerr_set_dynamic(err, set.set.items[0].s, n, params);
    return REMOTE_FAILURE;
}

/* The struct with Status in it. */
static enum remote_reply envelope_in(struct reader *r, xmlrpc_value *reply, const struct type_desc *type,
                                     struct value *ret_value, struct xerr *err)
{
    enum remote_reply what = REMOTE_NONSENSE;
    xmlrpc_value *status = NULL, *value = NULL;
    size_t len;

    if (xmlrpc_value_type(reply) != XMLRPC_TYPE_STRUCT) return REMOTE_NONSENSE;
    xmlrpc_struct_find_value(&r->env, reply, "Status", &status);
    if (!status || xmlrpc_value_type(status) != XMLRPC_TYPE_STRING) {
        if (status) xmlrpc_DECREF(status);
        return REMOTE_NONSENSE;
    }
    if (streq(text_in(r, status, &len), "Success")) {
        xmlrpc_struct_find_value(&r->env, reply, "Value", &value);
        if (value && value_in(r, value, type, ret_value) == 0) what = REMOTE_RESULT;
        if (value) xmlrpc_DECREF(value);
    } else {
        what = failure_in(r, reply, err);
    }
    xmlrpc_DECREF(status);
    return what;
}

enum remote_reply remote_decode_reply(const char *text, size_t len, const struct type_desc *type,
                                      struct arena *a, struct value *ret_value, struct xerr *err,
                                      const char **ret_why)
{
    struct reader r = { .arena = a };
    xmlrpc_value *reply = NULL;
    const char *fault = NULL;
    enum remote_reply what = REMOTE_NONSENSE;
    int fault_code = 0;

    xmlrpc_env_init(&r.env);
    xmlrpc_limit_set(XMLRPC_XML_SIZE_LIMIT_ID, REPLY_LIMIT);
    xmlrpc_parse_response2(&r.env, text, len, &reply, &fault_code, &fault);
    if (r.env.fault_occurred) {
        r.why = arena_strdup(a, r.env.fault_string);
    } else if (fault) {
        what = REMOTE_FAULT;
        r.why = arena_printf(a, "%s (fault %d)", fault, fault_code);
        free((void *)(uintptr_t)fault);
    } else {
        what = envelope_in(&r, reply, type, ret_value, err);
        xmlrpc_DECREF(reply);
        /* What was read by its own type cannot fail: anything else is the library's lack of memory. */
        if (r.env.fault_occurred) what = REMOTE_NONSENSE;
    }
    if (what == REMOTE_NONSENSE && !r.why)
        r.why = r.env.fault_occurred ? arena_strdup(a, r.env.fault_string) : "no result and no error";
    *ret_why = r.why;
    xmlrpc_env_clean(&r.env);
    return what;
}
