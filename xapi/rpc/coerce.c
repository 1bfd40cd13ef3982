/* Values checked and normalized by their type in the model.
 * Called by: dispatch.c, fields.c.  Calls: model, session. */
#include "xapi/rpc/coerce.h"

#include <strings.h>

#include "lib/iso8601.h"
#include "lib/num.h"
#include "xapi/session.h"

static int type_error(const char *name, struct xerr *err)
{
    return xerr_field_type_error(err, name);
}

static int to_string(struct call *c, const char *name, const struct value *in, struct value *out, struct xerr *err)
{
    char ref[REF_TEXT];

    switch (in->kind) {
    case VALUE_STRING: *out = *in; return 0;
    case VALUE_INT:
    case VALUE_INT32: *out = value_string(arena_printf(c->arena, "%lld", (long long)in->i)); return 0;
    case VALUE_REF: *out = value_string(arena_strdup(c->arena, ref_text(in->ref, ref))); return 0;
    case VALUE_BOOL: *out = value_string(in->b ? "true" : "false"); return 0;
    case VALUE_FLOAT: {
        char text[NUM_FLOAT_TEXT];
        *out = value_string(arena_strdup(c->arena, num_float_text(in->d, text)));
        return 0;
    }
    case VALUE_VOID:
    case VALUE_DATETIME:
    case VALUE_LOCALTIME:
    case VALUE_SET:
    case VALUE_MAP: break;
    }
    return type_error(name, err);
}

static int to_int(const char *name, const struct value *in, struct value *out, struct xerr *err)
{
    int64_t i;

    if (in->kind == VALUE_INT || in->kind == VALUE_INT32) i = in->i;
    else if (in->kind == VALUE_FLOAT && in->d >= -9007199254740992.0 && in->d <= 9007199254740992.0
             && (double)(int64_t)in->d == in->d) i = (int64_t)in->d;
    else if (in->kind != VALUE_STRING || !num_parse_int(in->s, &i)) return type_error(name, err);
    *out = value_int(i);
    return 0;
}

static int to_bool(const char *name, const struct value *in, struct value *out, struct xerr *err)
{
    bool b;

    if (in->kind == VALUE_BOOL) b = in->b;
    else if ((in->kind == VALUE_INT || in->kind == VALUE_INT32) && (in->i == 0 || in->i == 1)) b = in->i;
    else if (in->kind == VALUE_STRING && (!strcasecmp(in->s, "true") || streq(in->s, "1"))) b = true;
    else if (in->kind == VALUE_STRING && (!strcasecmp(in->s, "false") || streq(in->s, "0"))) b = false;
    else return type_error(name, err);
    *out = value_bool(b);
    return 0;
}

static int to_float(const char *name, const struct value *in, struct value *out, struct xerr *err)
{
    double d;

    if (in->kind == VALUE_FLOAT) d = in->d;
    else if (in->kind == VALUE_INT || in->kind == VALUE_INT32) d = (double)in->i;
    else if (in->kind != VALUE_STRING || !num_parse_float(in->s, &d)) return type_error(name, err);
    *out = value_float(d);
    return 0;
}

static int to_datetime(const char *name, const struct value *in, struct value *out, struct xerr *err)
{
    int64_t t;

    if (in->kind == VALUE_DATETIME || in->kind == VALUE_LOCALTIME) t = in->i;
    else if (in->kind != VALUE_STRING || !iso8601_parse(in->s, &t)) return type_error(name, err);
    *out = value_datetime(t);
    return 0;
}

static int to_ref(struct call *c, const struct type_desc *type, const char *name, const struct value *in,
                  struct value *out, struct xerr *err)
{
    struct ref ref = REF_NULL;

    if (in->kind == VALUE_REF) {
        ref = in->ref;
    } else {
        if (in->kind != VALUE_STRING) return type_error(name, err);
        if (!ref_parse(in->s, &ref)) return xerr_handle_invalid(err, model.classes[type->cls].name, in->s);
        /* What clients hold of a session is a secret; the row has another name. */
        if (type->cls == CLASS_session) ref = session_argument(c->agent, ref);
    }
    *out = value_ref(ref);
    return 0;
}

static int to_enum(const struct enum_desc *e, const char *name, const struct value *in, struct value *out,
                   struct xerr *err)
{
    if (in->kind != VALUE_STRING) return type_error(name, err);
    int i = enum_index(e, in->s);
    for (unsigned k = 0; i < 0 && k < e->n; k++)
        if (!strcasecmp(e->values[k], in->s)) i = (int)k;
    if (i < 0) return type_error(name, err);
    *out = value_string(e->values[i]);
    return 0;
}

static int to_set(struct call *c, const struct type_desc *type, const char *name, const struct value *in,
                  struct value *out, struct xerr *err)
{
    if (in->kind != VALUE_SET) return type_error(name, err);
    struct value *items = arena_new_array(c->arena, struct value, in->set.n);
    for (size_t i = 0; i < in->set.n; i++)
        if (coerce(c, type->elem, name, &in->set.items[i], &items[i], err)) return -1;
    *out = value_set(items, in->set.n);
    return 0;
}

static int to_map(struct call *c, const struct type_desc *type, const char *name, const struct value *in,
                  struct value *out, struct xerr *err)
{
    if (in->kind != VALUE_MAP) return type_error(name, err);
    struct member *members = arena_new_array(c->arena, struct member, in->map.n);
    for (size_t i = 0; i < in->map.n; i++) {
        const struct member *m = &in->map.members[i];
        if (coerce_key(c, type->key, name, m->key, &members[i].key, err)) return -1;
        if (coerce(c, type->elem, name, &m->value, &members[i].value, err)) return -1;
    }
    *out = value_map(members, in->map.n);
    return 0;
}

/* Members the class does not have are ignored, and so are wrong values of fields that nobody but us may set: complete
 * records come back from clients with anything in them. */
static int to_record(struct call *c, const struct type_desc *type, const char *name, const struct value *in,
                     struct value *out, struct xerr *err)
{
    const struct class_desc *cls = &model.classes[type->cls];
    size_t n = 0;

    if (in->kind != VALUE_MAP) return type_error(name, err);
    struct member *members = arena_new_array(c->arena, struct member, cls->n_fields);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct field_desc *f = &cls->fields[i];
        const struct value *v = value_get(in, f->name);
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        if (!v) continue;
        members[n].key = f->name;
        if (!coerce(c, f->type, f->name, v, &members[n].value, &why)) n++;
        else if (f->qualifier != QUAL_RO_RUNTIME) return xerr_move(err, &why);
    }
    *out = value_map(members, n);
    return 0;
}

int coerce(struct call *c, const struct type_desc *type, const char *name, const struct value *in,
           struct value *ret_value, struct xerr *err)
{
    switch (type->kind) {
    case TYPE_VOID: *ret_value = value_void(); return 0;
    case TYPE_STRING: return to_string(c, name, in, ret_value, err);
    case TYPE_INT: return to_int(name, in, ret_value, err);
    case TYPE_BOOL: return to_bool(name, in, ret_value, err);
    case TYPE_FLOAT: return to_float(name, in, ret_value, err);
    case TYPE_DATETIME: return to_datetime(name, in, ret_value, err);
    case TYPE_REF: return to_ref(c, type, name, in, ret_value, err);
    case TYPE_ENUM: return to_enum(type->e, name, in, ret_value, err);
    case TYPE_SET: return to_set(c, type, name, in, ret_value, err);
    case TYPE_MAP: return to_map(c, type, name, in, ret_value, err);
    case TYPE_RECORD: return to_record(c, type, name, in, ret_value, err);
    case TYPE_OPTION:
        if (in->kind != VALUE_VOID) return coerce(c, type->elem, name, in, ret_value, err);
        *ret_value = value_void();
        return 0;
    case TYPE_BATCH: break;
    }
    return type_error(name, err);
}

int coerce_key(struct call *c, const struct type_desc *type, const char *name, const char *key, const char **ret_key,
               struct xerr *err)
{
    struct value in = value_string(key), out;

    if (coerce(c, type, name, &in, &out, err)) return -1;
    if (out.kind == VALUE_STRING) {
        *ret_key = out.s;
        return 0;
    }
    return to_string(c, name, &out, &out, err) ? -1 : (*ret_key = out.s, 0);
}
