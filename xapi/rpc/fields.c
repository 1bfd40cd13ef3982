/* The messages that every class has, made from the tables alone.
 * Called by: dispatch.c.  Calls: db/, lifecycle, codecs. */
#include "xapi/rpc/fields.h"

#include <ctype.h>

#include "lib/priority.h"
#include "lib/json.h"
#include "lib/xmlrpc.h"
#include "xapi/call/lifecycle.h"

void rpc_result_set(struct call *c, struct rpc_result *r, const struct value *v)
{
    if (!r->out) {
        r->value = value_copy(c->arena, v);
        return;
    }
    if (r->encoding == ENCODING_JSON) json_encode_value(v, r->out);
    else xmlrpc_encode_value(v, r->out);
    r->written = true;
}

/* Classes whose create and destroy do no more than make and remove the row. */
static bool is_plain(int cls)
{
    switch ((enum class_id)cls) {
    case CLASS_user:
    case CLASS_secret:
    case CLASS_console:
    case CLASS_VM_group:
    case CLASS_VM_appliance:
    case CLASS_Observer:
    case CLASS_Caller:
    case CLASS_Rate_limit: return true;
    default: return false;
    }
}

bool fields_serve(const struct method_desc *m)
{
    if (m->behaviour || !model.classes[m->cls].stored) return false;
    switch (m->kind) {
    case METHOD_CUSTOM: return false;
    case METHOD_CREATE:
    case METHOD_DESTROY: return is_plain(m->cls);
    case METHOD_GET:
    case METHOD_SET:
    case METHOD_ADD:
    case METHOD_REMOVE:
    case METHOD_GET_RECORD:
    case METHOD_GET_ALL:
    case METHOD_GET_ALL_RECORDS:
    case METHOD_GET_ALL_RECORDS_WHERE:
    case METHOD_GET_BY_UUID:
    case METHOD_GET_BY_NAME_LABEL: return true;
    }
    return false;
}

/* ---- reading ---- */

static int get_field(struct call *c, const struct method_desc *m, const struct row *row, struct rpc_result *r)
{
    struct value v = row_field_value(row, model_field(m->field), c->arena);

    rpc_result_set(c, r, &v);
    return 0;
}

static int get_record(struct call *c, const struct row *row, struct rpc_result *r)
{
    if (r->out) {
        _cleanup_arena_ struct arena *scratch = arena_new();
        row_encode(row, r->encoding, scratch, r->out);
        r->written = true;
        return 0;
    }
    struct value record = row_record(row, c->arena);
    rpc_result_set(c, r, &record);
    return 0;
}

/* Map of reference to record. */
static void encode_records_xml(const struct snap *s, enum class_id cls, const struct filter *f, struct strbuf *out)
{
    _cleanup_arena_ struct arena *scratch = arena_new();

    xmlrpc_struct_begin(out);
    SNAP_EACH(s, cls, row) {
        if (f && !filter_match(f, row)) continue;
        xmlrpc_member_begin(REF_STR(row_ref_of(row)), out);
        row_encode(row, ENCODING_XML, scratch, out);
        xmlrpc_member_end(out);
        priority_point();
    }
    xmlrpc_struct_end(out);
}

static void encode_records_json(const struct snap *s, enum class_id cls, const struct filter *f, struct strbuf *out)
{
    _cleanup_arena_ struct arena *scratch = arena_new();

    strbuf_char(out, '{');
    SNAP_EACH(s, cls, row) {
        if (f && !filter_match(f, row)) continue;
        json_member_begin(REF_STR(row_ref_of(row)), out);
        row_encode(row, ENCODING_JSON, scratch, out);
        priority_point();
    }
    strbuf_char(out, '}');
}

static int get_records(struct call *c, enum class_id cls, const char *where, struct rpc_result *r, struct xerr *err)
{
    const struct filter *f = NULL;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    char ref[REF_TEXT];

    if (where && filter_parse(where, &model.classes[cls], c->arena, &f, err)) return -1;
    if (r->out) {
        if (r->encoding == ENCODING_JSON) encode_records_json(s, cls, f, r->out);
        else encode_records_xml(s, cls, f, r->out);
        r->written = true;
        return 0;
    }
    struct value_builder b = value_builder(c->arena);
    SNAP_EACH(s, cls, row)
        if (!f || filter_match(f, row))
            value_put_new(&b, arena_strdup(c->arena, ref_text(row_ref_of(row), ref)), row_record(row, c->arena));
    struct value all = value_built_map(&b);
    rpc_result_set(c, r, &all);
    return 0;
}

static int get_all(struct call *c, enum class_id cls, struct rpc_result *r)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct value_builder b = value_builder(c->arena);

    SNAP_EACH(s, cls, row) value_push(&b, value_ref(row_ref_of(row)));
    struct value all = value_built_set(&b);
    rpc_result_set(c, r, &all);
    return 0;
}

static int get_by_uuid(struct call *c, enum class_id cls, const char *uuid, struct rpc_result *r, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    char *lower = arena_strdup(c->arena, uuid);

    for (char *p = lower; *p; p++) *p = (char)tolower((unsigned char)*p);
    const struct row *row = snap_by_uuid(s, cls, lower);
    if (!row) return xerr_uuid_invalid(err, model.classes[cls].name, uuid);
    struct value v = value_ref(row_ref_of(row));
    rpc_result_set(c, r, &v);
    return 0;
}

static int get_by_name_label(struct call *c, enum class_id cls, const char *label, struct rpc_result *r)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct snap_iter it = snap_iter_named(s, cls, label);
    struct value_builder b = value_builder(c->arena);

    for (const struct row *row; (row = snap_next(s, &it));) value_push(&b, value_ref(row_ref_of(row)));
    struct value all = value_built_set(&b);
    rpc_result_set(c, r, &all);
    return 0;
}

/* ---- writing ---- */

/* A reference that is stored must lead somewhere. */
static int check_refs(const struct snap *s, const struct type_desc *type, const struct value *v, struct xerr *err)
{
    if (type->kind == TYPE_REF && v->kind == VALUE_REF)
        return ref_is_null(v->ref) || snap_need(s, (enum class_id)type->cls, v->ref, err) ? 0 : -1;
    if (type->kind == TYPE_SET && type->elem->kind == TYPE_REF)
        for (size_t i = 0; i < v->set.n; i++)
            if (check_refs(s, type->elem, &v->set.items[i], err)) return -1;
    if (type->kind == TYPE_MAP && type->elem->kind == TYPE_REF)
        for (size_t i = 0; i < v->map.n; i++)
            if (check_refs(s, type->elem, &v->map.members[i].value, err)) return -1;
    return 0;
}

static const char *key_text(struct call *c, const struct value *key)
{
    char ref[REF_TEXT];

    if (key->kind == VALUE_REF) return arena_strdup(c->arena, ref_text(key->ref, ref));
    return key->kind == VALUE_INT ? arena_printf(c->arena, "%lld", (long long)key->i) : key->s;
}

/* Fields that decide what is allowed on the object. */
static bool decides_operations(field_id f)
{
    return f == F_VM_blocked_operations || f == F_VM_is_a_template || f == F_VDI_sharable || f == F_VDI_read_only
           || f == F_SR_shared || f == F_host_enabled;
}

static int change_field(struct call *c, const struct method_desc *m, const struct value *args, struct xerr *err)
{
    const struct field_desc *f = model_field(m->field);
    enum class_id cls = (enum class_id)m->cls;
    struct ref self = args[0].ref;
    struct txn *t = db_begin(c->agent->db);
    bool map = f->type->kind == TYPE_MAP;

    if (!snap_need(txn_snap(t), cls, self, err)) goto refused;
    switch (m->kind) {
    case METHOD_SET:
        if (check_refs(txn_snap(t), f->type, &args[1], err)) goto refused;
        txn_set_field(t, self, m->field, &args[1]);
        break;
    case METHOD_ADD:
        if (check_refs(txn_snap(t), f->type->elem, &args[map ? 2 : 1], err)) goto refused;
        if (map) txn_map_add(t, self, m->field, key_text(c, &args[1]), &args[2]);
        else txn_set_add(t, self, m->field, &args[1]);
        break;
    default:
        if (map) txn_map_remove(t, self, m->field, key_text(c, &args[1]));
        else txn_set_remove(t, self, m->field, &args[1]);
        break;
    }
    if (decides_operations(m->field)) lifecycle_refresh(t, cls, self);
    return db_commit(t, err);
refused:
    db_abort(t);
    return -1;
}

static int create(struct call *c, const struct method_desc *m, const struct value *record, struct rpc_result *r,
                  struct xerr *err)
{
    const struct class_desc *cls = &model.classes[m->cls];
    struct ref ref = ref_new();
    struct txn *t = db_begin(c->agent->db);

    txn_create(t, (enum class_id)cls->id, ref);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct field_desc *f = &cls->fields[i];
        const struct value *v = f->qualifier == QUAL_RO_RUNTIME ? NULL : value_get(record, f->name);
        if (!v || f->id == cls->uuid) continue;
        if (check_refs(txn_snap(t), f->type, v, err)) {
            db_abort(t);
            return -1;
        }
        txn_set_field(t, ref, f->id, v);
    }
    if (lifecycle_allowed_field((enum class_id)cls->id)) lifecycle_refresh(t, (enum class_id)cls->id, ref);
    if (db_commit(t, err)) return -1;
    struct value v = value_ref(ref);
    rpc_result_set(c, r, &v);
    return 0;
}

static int destroy(struct call *c, const struct method_desc *m, struct ref ref, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_destroy(t, (enum class_id)m->cls, ref);
    return db_commit(t, err);
}

static int void_result(struct call *c, struct rpc_result *r, int rc)
{
    struct value none = value_void();

    if (!rc) rpc_result_set(c, r, &none);
    return rc;
}

int fields_call(struct call *c, const struct method_desc *m, const struct value *args, struct rpc_result *r,
                struct xerr *err)
{
    enum class_id cls = (enum class_id)m->cls;

    switch (m->kind) {
    case METHOD_GET:
    case METHOD_GET_RECORD: {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, cls, args[0].ref, err);
        if (!row) return -1;
        return m->kind == METHOD_GET ? get_field(c, m, row, r) : get_record(c, row, r);
    }
    case METHOD_GET_ALL: return get_all(c, cls, r);
    case METHOD_GET_ALL_RECORDS: return get_records(c, cls, NULL, r, err);
    case METHOD_GET_ALL_RECORDS_WHERE: return get_records(c, cls, args[0].s, r, err);
    case METHOD_GET_BY_UUID: return get_by_uuid(c, cls, args[0].s, r, err);
    case METHOD_GET_BY_NAME_LABEL: return get_by_name_label(c, cls, args[0].s, r);
    case METHOD_SET:
    case METHOD_ADD:
    case METHOD_REMOVE: return void_result(c, r, change_field(c, m, args, err));
    case METHOD_CREATE: return create(c, m, &args[0], r, err);
    case METHOD_DESTROY: return void_result(c, r, destroy(c, m, args[0].ref, err));
    case METHOD_CUSTOM: break;
    }
    return xerr_not_implemented(err, m->name);
}
