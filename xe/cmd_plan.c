/* Commands that are one message: the plan says which, and where its arguments come from.
 * Called by: cmd.c.  Calls: cmd_call, cmd_field, cmd_select.
 *
 *     [force!] METHOD[/FORCED] ARGUMENT... [-> RESULT]
 *
 * force!     refuse without --force
 * FORCED     called instead of METHOD when --force is given
 *
 * ARGUMENT   in the order of the message's parameters, whose types say how the text is read (a reference from
 * a uuid, a set from words between commas, ...) name            a required parameter name=text       a
 * parameter and its default; "name=" has the type's empty default name#           a size: may have a suffix;
 * name#=text with a default name:           a map parameter, name:key=value ... name,           a map
 * parameter, name=key:value,key:value name~           a parameter whose name may be in any case, by default
 * empty name|@this-host a parameter, or else what the word behind says :               the default of the
 * message itself for a parameter of type map
 *   @               the object that the command's selector names; @dom0 control domains too, @any templates
 * too
 *   @pool           the pool (uuid= may name it)
 *   @this-host      the host that answers
 *   .field<ARG      a member of the record that a create message takes
 *
 * RESULT
 *   uuid    the uuid of the object           uuids   one a line, of a set
 *   text    the value                        list    one item a line, of a set
 *   float   a number, "%f"                   map     a table of the map's pairs
 *   sources a table for each data source */
#include "xe/commands.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>

enum { MAX_WORDS = 40 };

struct plan {
    bool need_force;
    const struct method_desc *method;
    const char *words[MAX_WORDS];
    size_t n_words;
    const char *result;                /* NULL = none */
    const char *selector;              /* "@", "@dom0", "@any" when one of the words is; else NULL */
};

static const char *next_word(char **rest)
{
    char *word;

    while ((word = strsep(rest, " ")) && !*word) {}
    return word;
}

const char *cmd_plan_method(const char *plan, struct arena *a)
{
    char *rest = arena_strdup(a, plan);
    const char *word = next_word(&rest);

    if (streq(word, "force!")) word = next_word(&rest);
    return arena_strndup(a, word, strcspn(word, "/"));
}

/* A word of the plan without a record's ".field<". */
static const char *argument_of(const char *word)
{
    const char *at = word[0] == '.' ? strchr(word, '<') : NULL;

    return at ? at + 1 : word;
}

static int read_plan(struct cmd *c, const char *text, struct plan *p, struct xerr *err)
{
    char *rest = arena_strdup(c->arena, text);
    const char *word = next_word(&rest), *forced;
    bool force;

    *p = (struct plan){ .need_force = streq(word, "force!") };
    if (p->need_force) word = next_word(&rest);
    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    forced = strchr(word, '/');
    if (forced) word = force ? forced + 1 : arena_strndup(c->arena, word, (size_t)(forced - word));
    p->method = model_method(word);
    if (!p->method) return xerr_set(err, "MESSAGE_METHOD_UNKNOWN", 1, &word);
    while ((word = next_word(&rest))) {
        if (streq(word, "->")) {
            p->result = next_word(&rest);
            break;
        }
        assert(p->n_words < MAX_WORDS);
        p->words[p->n_words++] = word;
        word = argument_of(word);
        if (streq(word, "@") || streq(word, "@dom0") || streq(word, "@any")) p->selector = word;
    }
    return 0;
}

/* ---- arguments --------------------------------------------------------------------------------------- */

/* One argument as the plan writes it. */
struct argument {
    const char *name;                  /* of the parameter */
    char form;                         /* '#', ':', ',', '~' or 0 */
    const char *fallback;              /* text, or NULL */
    const char *otherwise;             /* "@this-host", or NULL */
};

static struct argument read_argument(struct cmd *c, const char *word)
{
    size_t n = strcspn(word, "#:,~=|");
    struct argument a = { .name = arena_strndup(c->arena, word, n) };

    word += n;
    if (*word && strchr("#:,~", *word)) a.form = *word++;
    if (*word == '=') a.fallback = word + 1;
    if (*word == '|') a.otherwise = word + 1;
    return a;
}

static const char *get_any_case(const struct cmd *c, const char *name)
{
    for (size_t i = 0; i < c->n_params; i++)
        if (!strcasecmp(c->params[i].key, name)) return c->params[i].value;
    return NULL;
}

static struct value empty_of(const struct type_desc *type)
{
    switch (type->kind) {
    case TYPE_REF:
        return value_ref(REF_NULL);
    case TYPE_SET:
        return value_set(NULL, 0);
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_BATCH:
        return value_map(NULL, 0);
    case TYPE_INT:
        return value_int(0);
    case TYPE_BOOL:
        return value_bool(false);
    case TYPE_FLOAT:
        return value_float(0);
    case TYPE_DATETIME:
        return value_datetime(0);
    case TYPE_STRING:
    case TYPE_ENUM:
    case TYPE_OPTION:
    case TYPE_VOID:
        break;
    }
    return value_string("");
}

/* "key:value,key:value" */
static struct value read_pairs(struct cmd *c, const char *text)
{
    struct value words = cmd_split(c, text);
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < words.set.n; i++) {
        const char *word = words.set.items[i].s, *colon = strchr(word, ':');

        if (colon)
            value_put(&b, arena_strndup(c->arena, word, (size_t)(colon - word)), value_string(colon + 1));
    }
    return value_built_map(&b);
}

static int well_known(struct cmd *c, const char *word, struct ref *ret_ref, struct xerr *err)
{
    if (streq(word, "@pool")) {
        const char *uuid = cmd_get(c, "uuid");

        return uuid ? cmd_by_uuid(c, CLASS_pool, uuid, ret_ref, err) : cmd_pool(c, ret_ref, err);
    }
    assert(streq(word, "@this-host"));
    return cmd_this_host(c, ret_ref, err);
}

static int read_value(struct cmd *c, const char *word, struct ref selected, const struct type_desc *type,
                      struct value *ret_value, struct xerr *err)
{
    struct argument a;
    const char *text;
    struct ref ref;

    if (streq(word, ":")) {
        *ret_value = empty_of(type);
        return 0;
    }
    if (word[0] == '@') {
        if (streq(word, "@") || streq(word, "@dom0") || streq(word, "@any"))
            ref = selected;
        else if (well_known(c, word, &ref, err) < 0)
            return -1;
        *ret_value = value_ref(ref);
        return 0;
    }
    a = read_argument(c, word);
    if (a.form == ':') {
        struct value map = cmd_get_map(c, a.name);
        struct value_builder keys = value_builder(c->arena);

        *ret_value = map;
        if (type->kind != TYPE_SET) return 0;
        for (size_t i = 0; i < map.map.n; i++) value_push(&keys, value_string(map.map.members[i].key));
        *ret_value = value_built_set(&keys);
        return 0;
    }
    text = a.form == '~' ? get_any_case(c, a.name) : cmd_get(c, a.name);
    if (!text && a.otherwise) return read_value(c, a.otherwise, selected, type, ret_value, err);
    if (!text) text = a.fallback;
    if (!text || (a.fallback && !*text)) {
        *ret_value = empty_of(type);
        return 0;
    }
    if (a.form == ',') {
        *ret_value = read_pairs(c, text);
        return 0;
    }
    if (type->kind == TYPE_REF) {      /* an empty uuid is a mistake, not no object */
        if (cmd_by_uuid(c, type->cls, text, &ref, err) < 0) return -1;
        *ret_value = value_ref(ref);
        return 0;
    }
    return cmd_value_parse(c, a.name, text, type, a.form == '#', ret_value, err);
}

/* The arguments of a message; members of a record are gathered into one. */
static int read_arguments(struct cmd *c, const struct plan *p, struct ref selected, struct value *args,
                          size_t *ret_n, struct xerr *err)
{
    struct value_builder record = value_builder(c->arena);
    size_t n = 0;

    for (size_t i = 0; i < p->n_words; i++) {
        const char *word = p->words[i], *argument = argument_of(word);
        struct value v;

        if (argument == word) {
            assert(n < p->method->n_params);
            if (read_value(c, word, selected, p->method->params[n].type, &args[n], err) < 0) return -1;
            n++;
        } else {
            const char *name = arena_strndup(c->arena, word + 1, (size_t)(argument - word - 2));
            const struct field_desc *f = model_field_by_name(&model.classes[p->method->cls], name);

            assert(f);
            if (read_value(c, argument, selected, f->type, &v, err) < 0) return -1;
            value_put(&record, name, v);
        }
    }
    if (record.n) args[n++] = value_built_map(&record);
    *ret_n = n;
    return 0;
}

/* ---- results ----------------------------------------------------------------------------------------- */

static void print_sources(struct cmd *c, const struct value *set)
{
    static const char *const names[] = {
        "name_label", "name_description", "enabled", "standard", "min", "max", "units"
    };

    for (size_t i = 0; set->kind == VALUE_SET && i < set->set.n; i++) {
        struct cmd_pair pairs[ARRAY_SIZE(names)];

        if (c->json) {
            cmd_json_object(c, NULL, &set->set.items[i]);
            continue;
        }
        for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
            const struct value *v = value_get(&set->set.items[i], names[k]);

            pairs[k] = (struct cmd_pair){ names[k], v ? cmd_value_text(c, NULL, v) : "" };
        }
        cmd_row(c, pairs, ARRAY_SIZE(names));
    }
}

static int print_uuids(struct cmd *c, int cls, const struct value *set, struct xerr *err)
{
    for (size_t i = 0; set->kind == VALUE_SET && i < set->set.n; i++)
        if (cmd_print_uuid(c, cls, cmd_as_ref(&set->set.items[i]), err) < 0) return -1;
    return 0;
}

static int print_result(struct cmd *c, const struct plan *p, const struct value *v, struct xerr *err)
{
    const struct type_desc *type = p->method->result;

    if (!p->result) return 0;
    if (streq(p->result, "uuid")) return cmd_print_uuid(c, type->cls, cmd_as_ref(v), err);
    if (streq(p->result, "uuids")) return print_uuids(c, type->elem->cls, v, err);
    if (streq(p->result, "list"))
        cmd_items(c, v);
    else if (streq(p->result, "map"))
        cmd_row_of_map(c, v);
    else if (streq(p->result, "sources"))
        print_sources(c, v);
    else if (streq(p->result, "float") && !c->json)
        cmd_item(c, arena_printf(c->arena, "%f", v->kind == VALUE_FLOAT ? v->d : 0.0));
    else
        cmd_result(c, type, v);
    return 0;
}

/* ---- running ----------------------------------------------------------------------------------------- */

static int run_message(struct cmd *c, const struct plan *p, struct ref selected, struct xerr *err)
{
    struct value args[MAX_WORDS], result;
    size_t n;

    if (read_arguments(c, p, selected, args, &n, err) < 0) return -1;
    if (cmd_work(c, p->method->name, args, n, &result, err) < 0) return -1;
    return print_result(c, p, &result, err);
}

static int run_on(struct cmd *c, struct cmd_object_row *row, void *arg, struct xerr *err)
{
    return run_message(c, arg, row->ref, err);
}

/* The parameters of the command itself select nothing. */
static const char *own_params(struct cmd *c)
{
    return arena_printf(c->arena, "%s,%s", c->command->required, c->command->optional);
}

int cmd_plan(struct cmd *c, const char *text, struct xerr *err)
{
    const char *type = c->command->flags & COMMAND_VM     ? "vm"
                       : c->command->flags & COMMAND_HOST ? "host"
                                                          : "sr";
    char *own, *to;
    unsigned flags = 0;
    struct plan p;

    if (read_plan(c, text, &p, err) < 0) return -1;
    if (p.need_force && cmd_need_force(c, err) < 0) return -1;
    if (!p.selector) return run_message(c, &p, REF_NULL, err);
    if (streq(p.selector, "@dom0")) flags = CMD_CONTROL_VMS;
    if (streq(p.selector, "@any")) flags = CMD_CONTROL_VMS | CMD_TEMPLATES;
    if (p.result) flags |= CMD_ONE * streq(p.result, "sources");
    own = to = arena_strdup(c->arena, own_params(c));
    for (const char *from = own; *from; from++)      /* "power-on-config:" is the stem of its keys */
        if (*from != ':') *to++ = *from;
    *to = '\0';
    return cmd_each(c, type, flags, own, run_on, &p, err);
}
