/* Commands that belong to no one class: waiting for events, messages, blobs, callers.
 * Called by: commands.c.  Calls: cmd_call, cmd_field. */
#include "xe/commands.h"

/* ---- event-wait -------------------------------------------------------------------------------------- */

struct condition {
    const struct xe_field *field;
    const char *value;
    bool not;
};

static int holds(struct cmd *c, struct cmd_object_row *row, const struct condition *conditions, size_t n,
                 bool *ret_holds, struct xerr *err)
{
    *ret_holds = true;
    for (size_t i = 0; i < n && *ret_holds; i++) {
        const char *text;

        if (cmd_field_text(c, row, conditions[i].field, &text, err) < 0) return -1;
        *ret_holds = streq(text, conditions[i].value) != conditions[i].not;
    }
    return 0;
}

static int any_holds(struct cmd *c, const struct xe_record *type, const struct condition *conditions,
                     size_t n, bool *ret_holds, struct xerr *err)
{
    struct value all;

    *ret_holds = false;
    if (cmd_all(c, type->cls, NULL, 0, &all, err) < 0) return -1;
    for (size_t i = 0; all.kind == VALUE_MAP && i < all.map.n && !*ret_holds; i++) {
        struct cmd_object_row row = { .type = type, .record = &all.map.members[i].value };

        if (ref_parse(all.map.members[i].key, &row.ref) && holds(c, &row, conditions, n, ret_holds, err) < 0)
            return -1;
    }
    return 0;
}

static int read_conditions(struct cmd *c, const struct xe_record *type, struct condition *conditions,
                           size_t *ret_n, struct xerr *err)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_params; i++) {
        const struct cmd_param *p = &c->params[i];
        bool not = has_prefix(p->value, "/=");

        if (streq(p->key, "class") || cmd_is_standard_param(p->key)) continue;
        conditions[n].field = cmd_field(type, p->key);
        if (!conditions[n].field) return cmd_fail(err, "key missing: %s", p->key);
        conditions[n].value = not ? p->value + 2 : p->value;
        conditions[n++].not = not;
    }
    *ret_n = n;
    return 0;
}

int cmd_event_wait(struct cmd *c, struct xerr *err)
{
    enum { WAIT_MS = 5000 };           /* then look whether the client is still there */
    const char *name = cmd_need(c, "class");
    const struct xe_record *type = cmd_record_type(name);
    struct condition *conditions = arena_new_array(c->arena, struct condition, c->n_params + 1);
    struct arena *outer = c->arena;
    char token[CMD_TOKEN] = "";
    const char *class;
    size_t n = 0;

    if (!type || !model.classes[type->cls].evented)
        return cmd_fail(err, "Cli listening for class '%s' not currently implemented", name);
    if (read_conditions(c, type, conditions, &n, err) < 0) return -1;
    class = model.classes[type->cls].event_name;
    if (cmd_watch(c, class, token, 0, err) < 0) return -1;
    for (;;) {
        _cleanup_arena_ struct arena *a = arena_new();
        bool yes;
        int rc;

        c->arena = a;                  /* a wait may last for days: what a look takes is given back */
        rc = any_holds(c, type, conditions, n, &yes, err);
        cmd_forget(c);
        c->arena = outer;
        if (rc < 0) return -1;
        if (yes) return 0;
        if (c->env->gone(c->env->client)) return cmd_exit(err, 1);
        if (cmd_watch(c, class, token, WAIT_MS, err) < 0) return -1;
    }
}

/* ---- messages ---------------------------------------------------------------------------------------- */

int cmd_message_create(struct cmd *c, struct xerr *err)
{
    static const struct { const char *param, *cls; int class; } objects[] = {
        { "vm-uuid", "VM", CLASS_VM }, { "pool-uuid", "Pool", CLASS_pool }, { "sr-uuid", "SR", CLASS_SR },
        { "host-uuid", "Host", CLASS_host },
    };
    int64_t priority;
    struct ref ref;

    if (cmd_parse_int("priority", cmd_need(c, "priority"), &priority, err) < 0) return -1;
    for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
        const char *uuid = cmd_get(c, objects[i].param);

        if (!uuid) continue;
        if (cmd_by_uuid(c, objects[i].class, uuid, &ref, err) < 0) return -1;
        return cmd_do(c, "message.create",
                      CMD_ARGS(value_string(cmd_need(c, "name")), value_int(priority),
                               value_string(objects[i].cls), value_string(uuid),
                               value_string(cmd_need(c, "body"))),
                      err);
    }
    return cmd_fail(err, "Need one of: vm-uuid, host-uuid, sr-uuid or pool-uuid");
}

int cmd_message_destroy(struct cmd *c, struct xerr *err)
{
    const char *one = cmd_get(c, "uuid"), *many = cmd_get(c, "uuids");
    struct value_builder refs = value_builder(c->arena);
    struct value words;

    if (!one == !many) return cmd_fail(err, "Exactly one of the parameters uuid and uuids is needed");
    words = cmd_split(c, one ? one : many);
    for (size_t i = 0; i < words.set.n; i++) {
        struct ref ref;

        if (cmd_by_uuid(c, CLASS_message, words.set.items[i].s, &ref, err) < 0) return -1;
        if (one) return cmd_do(c, "message.destroy", CMD_ARGS(value_ref(ref)), err);
        value_push(&refs, value_ref(ref));
    }
    return cmd_do(c, "message.destroy_many", CMD_ARGS(value_built_set(&refs)), err);
}

int cmd_message_destroy_all(struct cmd *c, struct xerr *err)
{
    static const char *const names[] = { "before", "after", "priority" };
    struct value_builder filters = value_builder(c->arena);

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (cmd_get(c, names[i])) value_put(&filters, names[i], value_string(cmd_get(c, names[i])));
    return cmd_do(c, "message.destroy_all", CMD_ARGS(value_built_map(&filters)), err);
}

/* ---- blobs ------------------------------------------------------------------------------------------- */

int cmd_blob_create(struct cmd *c, struct xerr *err)
{
    static const struct { const char *param; int class;
    } owners[] = {
        { "vm-uuid", CLASS_VM },     { "pool-uuid", CLASS_pool },       { "sr-uuid", CLASS_SR },
        { "host-uuid", CLASS_host }, { "network-uuid", CLASS_network },
    };
    struct ref owner, blob;
    bool public;

    if (cmd_get_bool(c, "public", false, &public, err) < 0) return -1;
    for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
        if (!cmd_get(c, owners[i].param)) continue;
        if (cmd_need_ref(c, owners[i].param, owners[i].class, &owner, err) < 0) return -1;
        if (cmd_call_ref(c, arena_printf(c->arena, "%s.create_new_blob", model.classes[owners[i].class].name),
                         CMD_ARGS(value_ref(owner), value_string(cmd_need(c, "name")),
                                  value_string(cmd_get_or(c, "mime-type", "")), value_bool(public)),
                         &blob, err) < 0)
            return -1;
        return cmd_print_uuid(c, CLASS_blob, blob, err);
    }
    return cmd_fail(err, "Need one of: vm-uuid, host-uuid, network-uuid, sr-uuid or pool-uuid");
}

/* ---- callers ----------------------------------------------------------------------------------------- */

int cmd_caller_list_usage(struct cmd *c, struct xerr *err)
{
    struct value rows;

    if (cmd_call(c, "Caller.query_all_usage", NULL, 0, &rows, err) < 0) return -1;
    for (size_t i = 0; rows.kind == VALUE_SET && i < rows.set.n; i++) {
        const struct value *row = &rows.set.items[i];
        _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;

        for (size_t k = 0; row->kind == VALUE_SET && k < row->set.n; k++)
            strbuf_printf(&line, "%s%s", k ? " | " : "", row->set.items[k].s);
        cmd_item(c, strbuf_cstr(&line));
    }
    return 0;
}

int cmd_caller_query_usage(struct cmd *c, struct xerr *err)
{
    const char *group = cmd_get(c, "group");
    bool by_uuid = cmd_get(c, "uuid") != NULL;
    struct value calls, tokens, which;
    struct ref caller;

    if (by_uuid == (group != NULL))
        return cmd_fail(err, "Exactly one of the parameters uuid and group is needed");
    if (by_uuid && cmd_need_ref(c, "uuid", CLASS_Caller, &caller, err) < 0) return -1;
    which = by_uuid ? value_ref(caller) : value_string(group);
    if (cmd_call(c, by_uuid ? "Caller.query_call_count" : "Caller.query_group_call_count", &which, 1, &calls,
                 err) < 0)
        return -1;
    if (cmd_call(c, by_uuid ? "Caller.query_token_usage" : "Caller.query_group_token_usage", &which, 1,
                 &tokens, err) < 0)
        return -1;
    if (c->json) {
        struct value_builder b = value_builder(c->arena);
        struct value map;

        value_put_new(&b, "call-count", calls);
        value_put_new(&b, "token-usage", tokens);
        map = value_built_map(&b);
        cmd_json_object(c, NULL, &map);
        return 0;
    }
    cmd_row(c, (struct cmd_pair[]){ { "call-count", cmd_value_text(c, NULL, &calls) },
                                    { "token-usage", cmd_value_text(c, NULL, &tokens) } }, 2);
    return 0;
}
