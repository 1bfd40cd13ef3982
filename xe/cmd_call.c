/* Calling the API from a command: results as the C types they are, objects by uuid, the pool, the default SR.
 * Called by: cmd_*.c.  Calls: cmd_env. */
#include "xe/cmd.h"

int cmd_call(struct cmd *c, const char *method, const struct value *args, size_t n, struct value *ret_result,
             struct xerr *err)
{
    _cleanup_xerr_ struct xerr dropped = XERR_INIT;

    if (!err) err = &dropped;
    if (cmd_goes_as_task(c, method)) return cmd_call_as_task(c, method, args, n, BAR_NONE, ret_result, err);
    return c->env->call(c->env->arg, method, args, n, c->arena, ret_result, err);
}

int cmd_do(struct cmd *c, const char *method, const struct value *args, size_t n, struct xerr *err)
{
    struct value dropped;

    return cmd_call(c, method, args, n, &dropped, err);
}

int cmd_watch(struct cmd *c, const char *what, char token[CMD_TOKEN], int timeout_ms, struct xerr *err)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct value class = value_string(what), set = value_set(&class, 1);

    return c->env->watch(c->env->arg, &set, token, timeout_ms, a, NULL, err);
}

struct ref cmd_as_ref(const struct value *v)
{
    struct ref ref = REF_NULL;

    if (!v) return ref;
    if (v->kind == VALUE_REF) return v->ref;
    if (v->kind == VALUE_STRING && has_prefix(v->s, "OpaqueRef:") && ref_parse(v->s, &ref)) return ref;
    return REF_NULL;
}

int cmd_call_ref(struct cmd *c, const char *method, const struct value *args, size_t n, struct ref *ret_ref,
                 struct xerr *err)
{
    struct value result;

    if (cmd_call(c, method, args, n, &result, err) < 0) return -1;
    *ret_ref = cmd_as_ref(&result);
    return 0;
}

int cmd_call_text(struct cmd *c, const char *method, const struct value *args, size_t n,
                  const char **ret_text, struct xerr *err)
{
    struct value result;

    if (cmd_call(c, method, args, n, &result, err) < 0) return -1;
    *ret_text = result.kind == VALUE_STRING ? result.s : cmd_value_text(c, NULL, &result);
    return 0;
}

/* ---- records ----------------------------------------------------------------------------------------- */

struct ref cmd_member_ref(const struct value *record, const char *field)
{
    return cmd_as_ref(value_get(record, field));
}

const char *cmd_member_text(const struct value *record, const char *field)
{
    return value_get_str(record, field, "");
}

bool cmd_member_bool(const struct value *record, const char *field)
{
    const struct value *v = value_get(record, field);

    return v && v->kind == VALUE_BOOL && v->b;
}

int64_t cmd_member_int(const struct value *record, const char *field)
{
    const struct value *v = value_get(record, field);

    return v && (v->kind == VALUE_INT || v->kind == VALUE_INT32) ? v->i : 0;
}

static const char *message_of(struct cmd *c, int cls, const char *message)
{
    return arena_printf(c->arena, "%s.%s", model.classes[cls].name, message);
}

int cmd_by_uuid(struct cmd *c, int cls, const char *uuid, struct ref *ret_ref, struct xerr *err)
{
    return cmd_call_ref(c, message_of(c, cls, "get_by_uuid"), CMD_ARGS(value_string(uuid)), ret_ref, err);
}

int cmd_need_ref(struct cmd *c, const char *key, int cls, struct ref *ret_ref, struct xerr *err)
{
    return cmd_by_uuid(c, cls, cmd_need(c, key), ret_ref, err);
}

int cmd_get_ref(struct cmd *c, const char *key, int cls, struct ref *ret_ref, struct xerr *err)
{
    const char *uuid = cmd_get(c, key);

    *ret_ref = REF_NULL;
    return uuid && *uuid ? cmd_by_uuid(c, cls, uuid, ret_ref, err) : 0;
}

int cmd_uuid_of(struct cmd *c, int cls, struct ref ref, const char **ret_uuid, struct xerr *err)
{
    return cmd_call_text(c, message_of(c, cls, "get_uuid"), CMD_ARGS(value_ref(ref)), ret_uuid, err);
}

int cmd_print_uuid(struct cmd *c, int cls, struct ref ref, struct xerr *err)
{
    const char *uuid;

    if (cmd_uuid_of(c, cls, ref, &uuid, err) < 0) return -1;
    if (c->json) {
        const struct value v = value_string(uuid);

        cmd_json_single(c, "uuid", NULL, &v);
    } else {
        cmd_item(c, uuid);
    }
    return 0;
}

int cmd_record(struct cmd *c, int cls, struct ref ref, struct value *ret_record, struct xerr *err)
{
    return cmd_call(c, message_of(c, cls, "get_record"), CMD_ARGS(value_ref(ref)), ret_record, err);
}

int cmd_all(struct cmd *c, int cls, const field_id *fields, size_t n, struct value *ret_map, struct xerr *err)
{
    _cleanup_xerr_ struct xerr dropped = XERR_INIT;
    const struct class_desc *class = &model.classes[cls];

    if (!err) err = &dropped;
    if (c->env->records) return c->env->records(c->env->arg, class, fields, n, c->arena, ret_map, err);
    return cmd_call(c, message_of(c, cls, "get_all_records"), NULL, 0, ret_map, err);
}

static struct refmap *objects_of(struct cmd *c, int cls)
{
    if (!c->objects[cls]) c->objects[cls] = refmap_new();
    return c->objects[cls];
}

void cmd_prefetch(struct cmd *c, int cls)
{
    struct value all;

    if (c->prefetched[cls]) return;
    c->prefetched[cls] = true;
    if (cmd_all(c, cls, NULL, 0, &all, NULL) < 0 || all.kind != VALUE_MAP) return;   /* then one by one */
    for (size_t i = 0; i < all.map.n; i++) {
        struct ref ref;

        if (ref_parse(all.map.members[i].key, &ref) && !refmap_get(objects_of(c, cls), ref))
            refmap_put(objects_of(c, cls), ref, (void *)(uintptr_t)&all.map.members[i].value);
    }
}

void cmd_forget(struct cmd *c)
{
    for (int cls = 0; cls < N_CLASSES; cls++) {
        refmap_free(c->objects[cls]);
        c->objects[cls] = NULL;
        c->prefetched[cls] = false;
    }
}

const struct value *cmd_object_record(struct cmd *c, int cls, struct ref ref)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct value *record;

    if (ref_is_null(ref)) return NULL;
    record = refmap_get(objects_of(c, cls), ref);
    if (record) return record;
    record = arena_zalloc(c->arena, sizeof *record);
    if (cmd_record(c, cls, ref, record, &ignored) < 0 || record->kind != VALUE_MAP) return NULL;
    refmap_put(objects_of(c, cls), ref, record);
    return record;
}

/* ---- well-known objects ------------------------------------------------------------------------------ */

int cmd_pool(struct cmd *c, struct ref *ret_pool, struct xerr *err)
{
    struct value pools;

    if (cmd_call(c, "pool.get_all", NULL, 0, &pools, err) < 0) return -1;
    if (pools.kind != VALUE_SET || !pools.set.n) return xerr_internal(err, "the host belongs to no pool");
    *ret_pool = cmd_as_ref(&pools.set.items[0]);
    return 0;
}

int cmd_coordinator(struct cmd *c, struct ref *ret_host, struct xerr *err)
{
    struct ref pool;

    if (cmd_pool(c, &pool, err) < 0) return -1;
    return cmd_call_ref(c, "pool.get_master", CMD_ARGS(value_ref(pool)), ret_host, err);
}

int cmd_this_host(struct cmd *c, struct ref *ret_host, struct xerr *err)
{
    return cmd_call_ref(c, "session.get_this_host", CMD_ARGS(value_string(c->env->session(c->env->arg))),
                        ret_host, err);
}

int cmd_default_sr(struct cmd *c, struct ref *ret_sr, struct xerr *err)
{
    _cleanup_xerr_ struct xerr dangling = XERR_INIT;
    const char *uuid;
    struct ref pool;

    *ret_sr = REF_NULL;
    if (cmd_pool(c, &pool, err) < 0) return -1;
    if (cmd_call_ref(c, "pool.get_default_SR", CMD_ARGS(value_ref(pool)), ret_sr, err) < 0) return -1;
    if (!ref_is_null(*ret_sr) && cmd_uuid_of(c, CLASS_SR, *ret_sr, &uuid, &dangling) < 0) *ret_sr = REF_NULL;
    return 0;
}

int cmd_host_named(struct cmd *c, const char *name, struct ref *ret_host, struct xerr *err)
{
    const field_id fields[] = { F_host_uuid, F_host_name_label };
    struct value all;

    if (cmd_all(c, CLASS_host, fields, ARRAY_SIZE(fields), &all, err) < 0) return -1;
    for (size_t i = 0; all.kind == VALUE_MAP && i < all.map.n; i++) {
        const struct value *record = &all.map.members[i].value;

        if (streq(cmd_member_text(record, "uuid"), name) ||
            streq(cmd_member_text(record, "name_label"), name))
            return ref_parse(all.map.members[i].key, ret_host)
                       ? 0
                       : xerr_internal(err, "bad reference of a host");
    }
    return cmd_fail(err, "Host %s not found", name);
}
