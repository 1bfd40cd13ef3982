/* The commands that every class of records has: list (cmd_list.c), param-list, param-get, param-set,
 * param-add, param-remove, param-clear. Their tables are generated from the schema.
 * Called by: cmd.c, cmd_help.c.  Calls: cmd_list, cmd_field. */
#include "xe/cmd_list.h"
#include "xe/cmd_quirk.h"
#include "xe/commands.h"

#include "lib/json.h"

#include <assert.h>

static const char *const verbs[N_VERBS] = {
    [VERB_LIST] = "list",
    [VERB_PARAM_LIST] = "param-list",
    [VERB_PARAM_GET] = "param-get",
    [VERB_PARAM_SET] = "param-set",
    [VERB_PARAM_ADD] = "param-add",
    [VERB_PARAM_REMOVE] = "param-remove",
    [VERB_PARAM_CLEAR] = "param-clear",
};

const char *cmd_verb_name(enum cmd_verb verb)
{
    return verbs[verb];
}

bool cmd_record_name(const char *name, const struct xe_record **ret_type, enum cmd_verb *ret_verb)
{
    for (const struct xe_record *r = xe_records; r->name; r++) {
        size_t n = strlen(r->name);

        if (strncmp(name, r->name, n) != 0 || name[n] != '-') continue;
        for (int v = 0; v < N_VERBS; v++) {
            if (!streq(name + n + 1, verbs[v])) continue;
            *ret_type = r;
            *ret_verb = (enum cmd_verb)v;
            return true;
        }
    }
    return false;
}

/* ---- param-list, param-get --------------------------------------------------------------------------- */

/* The object that uuid= names. */
static int named_row(struct cmd *c, struct cmd_object_row *ret_row, struct xerr *err)
{
    struct value *record = arena_zalloc(c->arena, sizeof *record);

    if (cmd_get_map(c, "database").map.n) return xerr_set(err, "NOT_IMPLEMENTED", 1, &c->name);
    ret_row->type = c->record;
    if (cmd_need_ref(c, "uuid", c->record->cls, &ret_row->ref, err) < 0) return -1;
    if (cmd_record(c, c->record->cls, ret_row->ref, record, err) < 0) return -1;
    ret_row->record = record;
    return 0;
}

/* The field that param-name= names; the API's error for a name that is no parameter. */
static int named_field(struct cmd *c, const struct xe_field **ret_field, struct xerr *err)
{
    const char *name = cmd_need(c, "param-name");

    *ret_field = cmd_field(c->record, name);
    if (*ret_field) return 0;
    return xerr_set_dynamic(err, "Missing parameter", 1, &name);
}

static int run_param_list(struct cmd *c, struct xerr *err)
{
    struct cmd_object_row row;

    if (named_row(c, &row, err) < 0) return -1;
    return cmd_show(c, &row, "all", NULL, err);
}

static int print_json_field(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f,
                            struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    strbuf_char(&b, '{');
    json_member_begin(f->name, &b);
    if (cmd_field_json(c, row, f, &b, err) < 0) return -1;
    strbuf_char(&b, '}');
    cmd_json_line(c, strbuf_cstr(&b));
    return 0;
}

static int run_param_get(struct cmd *c, struct xerr *err)
{
    const char *key = cmd_get(c, "param-key"), *text;
    struct cmd_object_row row;
    const struct xe_field *f;
    struct value v;

    if (named_row(c, &row, err) < 0 || named_field(c, &f, err) < 0) return -1;
    if (c->json && !key) return print_json_field(c, &row, f, err);
    if (key && f->kind == XE_MAP) {
        const struct value *item;

        if (cmd_field_value(c, &row, f, &v, err) < 0) return -1;
        item = v.kind == VALUE_MAP ? value_get(&v, key) : NULL;
        if (!item) return cmd_fail(err, "Key %s not found in map", key);
        if (c->json)
            cmd_json_single(c, key, NULL, item);
        else
            cmd_item(c, item->s);
        return 0;
    }
    if (cmd_field_text(c, &row, f, &text, err) < 0) return -1;
    cmd_item(c, text);
    return 0;
}

/* ---- changing fields --------------------------------------------------------------------------------- */

/* The part of a message's name that stands for the field. */
static const char *model_name(struct cmd *c, const struct xe_field *f)
{
    const struct field_quirk *q = field_quirk(c->record->cls, f->name);
    field_id field = q && q->field ? q->field : f->field;
    char *name;

    if (field && !f->through && !(q && q->through)) return model_field(field)->name;
    name = arena_strdup(c->arena, f->name);
    for (char *p = name; *p; p++)
        if (*p == '-') *p = '_';
    return name;
}

/* "VM.set_name_label". The few messages that do not follow the rule have their rows here. */
static const struct method_desc *field_method(struct cmd *c, const char *verb, const struct xe_field *f)
{
    static const struct { int cls; const char *field, *verb, *method; } exceptions[] = {
        { CLASS_pool, "repositories", "add_", "pool.add_repository" },
        { CLASS_pool, "repositories", "remove_", "pool.remove_repository" },
        { CLASS_Caller, "groups", "add_", "Caller.add_group" },
        { CLASS_Caller, "groups", "remove_", "Caller.remove_group" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(exceptions); i++)
        if (c->record->cls == exceptions[i].cls && streq(f->name, exceptions[i].field)
            && streq(verb, exceptions[i].verb))
            return model_method(exceptions[i].method);
    return model_method(arena_printf(c->arena, "%s.%s%s", model.classes[c->record->cls].name, verb,
                                     model_name(c, f)));
}

/* Calls a message of the form (object, value). */
static int call_with_value(struct cmd *c, struct ref ref, const struct method_desc *m, const char *key,
                           const char *text, const struct xe_field *f, struct xerr *err)
{
    const struct field_quirk *q = field_quirk(c->record->cls, f->name);
    struct value v;

    assert(m->n_params >= 2);
    if (cmd_value_parse(c, key, text, m->params[1].type, q && q->flags & QUIRK_BYTES, &v, err) < 0) return -1;
    return cmd_do(c, m->name, CMD_ARGS(value_ref(ref), v), err);
}

static int set_whole(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, const char *text,
                     struct xerr *err)
{
    const struct method_desc *m = field_method(c, "set_", f);

    if (!f->can_set && f->can_add)
        return cmd_fail(err, "Field '%s' is a map or set. use the 'name:key=value' syntax.", f->name);
    if (!f->can_set || !m || m->n_params < 2) return cmd_fail(err, "Field '%s' is read-only.", f->name);
    if (m->params[1].type->kind == TYPE_INT && !(field_quirk(c->record->cls, f->name))) {
        int64_t i;
        _cleanup_xerr_ struct xerr ignored = XERR_INIT;

        if (cmd_parse_int(f->name, text, &i, &ignored) < 0)
            return cmd_fail(err, "Parameter %s must be an integer", f->name);
    }
    return call_with_value(c, row->ref, m, f->name, text, f, err);
}

static int check_map_key(const struct xe_field *f, const char *key, struct xerr *err)
{
    if (!streq(f->name, "VCPUs-params") || streq(key, "weight") || streq(key, "cap") || streq(key, "mask"))
        return 0;
    return cmd_fail(err, "Failed to add parameter '%s': expecting 'weight','cap' or 'mask'", key);
}

static int add_to_map(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, const char *key,
                      const char *text, struct xerr *err)
{
    const struct method_desc *m = field_method(c, "add_to_", f);

    if (!m) return cmd_fail(err, "Parameter is read-only");
    if (check_map_key(f, key, err) < 0) return -1;
    return cmd_do(c, m->name, CMD_ARGS(value_ref(row->ref), value_string(key), value_string(text)), err);
}

static int remove_from_map(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f,
                           const char *key, struct xerr *err)
{
    const struct method_desc *m = field_method(c, "remove_from_", f);

    if (!m) return cmd_fail(err, "Cannot remove parameters from read-only map");
    return cmd_do(c, m->name, CMD_ARGS(value_ref(row->ref), value_string(key)), err);
}

/* Every pair that the command line gives for this map, at once. */
static int set_pairs(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, struct xerr *err)
{
    const struct method_desc *m = field_method(c, "set_", f);

    if (!m) return cmd_fail(err, "Map field '%s' is read-only.", f->name);
    return cmd_do(c, m->name, CMD_ARGS(value_ref(row->ref), cmd_get_map(c, f->name)), err);
}

/* map:key=value. *done: a map that is set as a whole has been. */
static int set_key(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, const char *key,
                   const char *text, const struct xe_field **done, struct xerr *err)
{
    struct value map;

    if (f->kind == XE_SET) return cmd_fail(err, "Cannot param-set on set fields");
    if (!f->can_set && !f->can_add) return cmd_fail(err, "Map field '%s' is read-only.", f->name);
    if (f->can_set && streq(f->name, "properties"))
        return cmd_do(c, arena_printf(c->arena, "%s.set_property", model.classes[c->record->cls].name),
                      CMD_ARGS(value_ref(row->ref), value_string(key), value_string(text)), err);
    if (f->can_set) {
        if (*done == f) return 0;
        *done = f;
        return set_pairs(c, row, f, err);
    }
    if (check_map_key(f, key, err) < 0 || cmd_field_value(c, row, f, &map, err) < 0) return -1;
    if (map.kind == VALUE_MAP && value_get(&map, key) && remove_from_map(c, row, f, key, err) < 0) return -1;
    return add_to_map(c, row, f, key, text, err);
}

static int run_param_set(struct cmd *c, struct xerr *err)
{
    const struct xe_field *done = NULL;
    struct cmd_object_row row;

    if (named_row(c, &row, err) < 0) return -1;
    for (size_t i = 0; i < c->n_params; i++) {
        const struct cmd_param *p = &c->params[i];
        const struct xe_field *f;
        const char *sub;

        if (streq(p->key, "uuid") || cmd_is_standard_param(p->key)) continue;
        if (cmd_find_field(c, c->record, p->key, &f, &sub, err) < 0) return -1;
        if (sub ? set_key(c, &row, f, sub, p->value, &done, err) : set_whole(c, &row, f, p->value, err))
            return -1;
    }
    return 0;
}

static int run_param_add(struct cmd *c, struct xerr *err)
{
    const char *key = cmd_get(c, "param-key");
    struct cmd_object_row row;
    const struct xe_field *f;

    if (named_row(c, &row, err) < 0 || named_field(c, &f, err) < 0) return -1;
    if (f->kind == XE_SCALAR) return cmd_fail(err, "Can only add to parameters of type Set or Map");
    if (!f->can_add) return cmd_fail(err, "Parameter is read-only");
    if (f->kind == XE_SET) {
        const struct method_desc *m = field_method(c, "add_", f);

        if (!key)
            return cmd_fail(err, "When adding a key to a set, use the syntax: *-param-add param-name=<name> "
                                 "param-key=<key>");
        if (!m || m->n_params < 2) return cmd_fail(err, "Parameter is read-only");
        return call_with_value(c, row.ref, m, f->name, key, f, err);
    }
    for (size_t i = 0; i < c->n_params; i++) {
        const struct cmd_param *p = &c->params[i];

        if (streq(p->key, "uuid") || streq(p->key, "param-name") || streq(p->key, "param-key")
            || cmd_is_standard_param(p->key))
            continue;
        if (add_to_map(c, &row, f, p->key, p->value, err) < 0) return -1;
    }
    return 0;
}

static int remove_member(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f,
                         const char *member, struct xerr *err)
{
    const struct method_desc *m = field_method(c, "remove_", f);

    if (!m || m->n_params < 2) return cmd_fail(err, "Cannot remove parameters from read-only map");
    return call_with_value(c, row->ref, m, f->name, member, f, err);
}

static int run_param_remove(struct cmd *c, struct xerr *err)
{
    const char *key = cmd_need(c, "param-key");
    struct cmd_object_row row;
    const struct xe_field *f;
    struct value v;

    if (named_row(c, &row, err) < 0 || named_field(c, &f, err) < 0) return -1;
    if (f->kind == XE_SCALAR) return cmd_fail(err, "Can only remove from parameters of type Set or Map");
    if (!f->can_remove) return cmd_fail(err, "Cannot remove parameters from read-only map");
    if (cmd_field_value(c, &row, f, &v, err) < 0) return -1;
    if (f->kind == XE_SET) {
        if (!value_has(&v, key)) return cmd_fail(err, "Key %s is not in the set", key);
        return remove_member(c, &row, f, key, err);
    }
    if (!value_get(&v, key)) return cmd_fail(err, "Key %s is not in map", key);
    return remove_from_map(c, &row, f, key, err);
}

static int clear_map(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, struct xerr *err)
{
    const struct method_desc *m = field_method(c, "set_", f);
    struct value map;

    if (m) return cmd_do(c, m->name, CMD_ARGS(value_ref(row->ref), value_map(NULL, 0)), err);
    if (!f->can_remove) return cmd_fail(err, "Can only clear RW parameters");
    if (cmd_field_value(c, row, f, &map, err) < 0) return -1;
    for (size_t i = 0; map.kind == VALUE_MAP && i < map.map.n; i++)
        if (remove_from_map(c, row, f, map.map.members[i].key, err) < 0) return -1;
    return 0;
}

static int run_param_clear(struct cmd *c, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct cmd_object_row row;
    const struct xe_field *f;
    struct value set;

    if (named_row(c, &row, err) < 0 || named_field(c, &f, err) < 0) return -1;
    if (f->kind == XE_MAP) return clear_map(c, &row, f, err);
    if (f->kind == XE_SET && f->can_remove) {
        if (cmd_field_value(c, &row, f, &set, err) < 0) return -1;
        for (size_t i = 0; set.kind == VALUE_SET && i < set.set.n; i++)
            if (remove_member(c, &row, f, set.set.items[i].s, err) < 0) return -1;
        return 0;
    }
    if (!f->can_set) return cmd_fail(err, "Can only clear RW parameters");
    if (set_whole(c, &row, f, "", &ignored) < 0) return cmd_fail(err, "Cannot clear this parameter");
    return 0;
}

/* ---- the commands ------------------------------------------------------------------------------------ */

static void add_name(struct strbuf *b, const char *name, const char *suffix)
{
    if (b->len) strbuf_char(b, ',');
    strbuf_printf(b, "%s%s", name, suffix);
}

/* The visible fields that satisfy a verb, as a list of parameter names. */
static const char *field_names(const struct xe_record *type, enum cmd_verb verb, struct arena *a)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const struct xe_field *f;

    for (unsigned i = 0; f = &type->fields[i], i < type->n_fields; i++) {
        if (f->hidden) continue;
        if (verb == VERB_LIST) add_name(&b, f->name, "");
        if (verb == VERB_PARAM_SET && f->can_set && f->kind != XE_MAP) add_name(&b, f->name, "");
        if (verb == VERB_PARAM_ADD && f->can_add) add_name(&b, f->name, "");
        if (verb == VERB_PARAM_CLEAR && (f->can_set || f->kind != XE_SCALAR)) add_name(&b, f->name, "");
    }
    for (unsigned i = 0; f = &type->fields[i], i < type->n_fields; i++) {
        if (f->hidden) continue;
        if (verb == VERB_LIST && f->kind == XE_SET) add_name(&b, f->name, ":contains");
        if (verb == VERB_PARAM_SET && f->kind == XE_MAP && (f->can_set || f->can_add))
            add_name(&b, f->name, ":");
    }
    return arena_strdup(a, strbuf_cstr(&b));
}

const struct command *cmd_record_command(const struct xe_record *type, enum cmd_verb verb, struct arena *a)
{
    static const command_fn runs[N_VERBS] = {
        [VERB_LIST] = cmd_list,
        [VERB_PARAM_LIST] = run_param_list,
        [VERB_PARAM_GET] = run_param_get,
        [VERB_PARAM_SET] = run_param_set,
        [VERB_PARAM_ADD] = run_param_add,
        [VERB_PARAM_REMOVE] = run_param_remove,
        [VERB_PARAM_CLEAR] = run_param_clear,
    };
    struct command *cmd = arena_zalloc(a, sizeof *cmd);
    const char *names = field_names(type, verb == VERB_PARAM_REMOVE ? VERB_PARAM_ADD : verb, a);

    cmd->name = arena_printf(a, "%s-%s", type->name, verbs[verb]);
    cmd->run = runs[verb];
    cmd->required = "uuid";
    cmd->optional = "";
    switch (verb) {
    case VERB_LIST:
        cmd->flags = COMMAND_JSON;
        cmd->required = "";
        cmd->optional = arena_printf(a, "params,database:,%s", names);
        cmd->help = "Lists the objects of class %s that match every filter given. A map is filtered by "
                    "'map-param:key=value', a set by 'set-param:contains=value'.";
        cmd->help_of = type->name;
        if (streq(type->name, "vm") || streq(type->name, "network") || streq(type->name, "sr"))
            cmd->flags |= COMMAND_STANDARD;
        break;
    case VERB_PARAM_LIST:
        cmd->flags = COMMAND_JSON;
        cmd->optional = "database:";
        cmd->help = "Shows every parameter of the object with this uuid.";
        break;
    case VERB_PARAM_GET:
        cmd->flags = COMMAND_JSON;
        cmd->required = "uuid,param-name";
        cmd->optional = "param-key,database:";
        cmd->help =
            "Shows one parameter of the object; of a map, the value of one key with 'param-key=<key>'.";
        break;
    case VERB_PARAM_SET:
        if (!*names) return NULL;
        cmd->optional = names;
        cmd->help = "Sets parameters of the object; a key of a map by 'map-param:key=value'.";
        break;
    case VERB_PARAM_ADD:
        if (!*names) return NULL;
        cmd->required = "uuid,param-name";
        cmd->optional = "param-key";
        cmd->help = "Adds to a set by 'param-key=<value>', or to a map by 'key=value' pairs.";
        break;
    case VERB_PARAM_REMOVE:
        if (!*names) return NULL;
        cmd->required = "uuid,param-name,param-key";
        cmd->help = "Removes a member of a set or a key of a map.";
        break;
    case VERB_PARAM_CLEAR:
        if (!*names) return NULL;
        cmd->required = "uuid,param-name";
        cmd->help = "Empties a parameter (param-name can be %s).";
        cmd->help_of = names;
        break;
    case N_VERBS:
        return NULL;
    }
    return cmd;
}
