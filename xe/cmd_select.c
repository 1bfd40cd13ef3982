/* Selectors: which VMs, hosts or storage repositories a command line means.
 * Called by: cmd_plan.c, cmd_*.c.  Calls: cmd_field.
 *
 * vm=<name or uuid>, uuid=<uuid>, or any field as a filter; nothing at all means every object. */
#include "xe/cmd.h"

#include "lib/catalog.h"

static const struct selector {
    const char *type;                  /* also the parameter that takes a name or uuid */
    const char *none, *many, *not_many;
} selectors[] = {
    { "vm", N_("No matching VMs found"),
      N_("Multiple matches VMs found. --multiple required to complete the operation"),
      N_("Multiple matches VMs found. Operation can only be performed on one VM at a time") },
    { "host", N_("No matching hosts found"),
      N_("Multiple matching hosts found. --multiple required to complete the operation"),
      N_("Multiple matching hosts found. Operation can only be performed on one host at a time") },
    { "sr", N_("No matching SRs found"),
      N_("Multiple matching SRs found. --multiple required to complete the operation"),
      N_("Multiple matching SRs found. Operation can only be performed on one SR at a time") },
};

static const struct selector *find_selector(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
        if (streq(selectors[i].type, type)) return &selectors[i];
    return NULL;
}

static bool word_in(const char *list, const char *word, size_t n)
{
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || !p[n])) return true;
    return false;
}

/* Keeps the rows whose name or uuid this is; hosts also answer to their hostname. */
static void keep_named(struct cmd_object_row *rows, size_t *n, const char *name)
{
    size_t kept = 0;

    for (size_t i = 0; i < *n; i++) {
        const struct value *r = rows[i].record;

        if (streq(value_get_str(r, "uuid", ""), name) || streq(value_get_str(r, "name_label", ""), name)
            || streq(value_get_str(r, "hostname", ""), name))
            rows[kept++] = rows[i];
    }
    *n = kept;
}

static bool is_selecting(const struct selector *s, const char *key, const char *ignore)
{
    size_t stem = strcspn(key, ":");
    char name[64];

    if (streq(key, s->type)) return false;
    if (stem >= sizeof name) return true;
    memcpy(name, key, stem);
    name[stem] = '\0';
    return !cmd_is_standard_param(name) && !word_in(ignore, name, stem);
}

/* The model fields that the filters of this command line need. NULL: all. */
static const field_id *fields_of_filters(struct cmd *c, const struct selector *s,
                                         const struct xe_record *type, const char *ignore, size_t *ret_n)
{
    field_id *ids = arena_new_array(c->arena, field_id, 8 + 4 * c->n_params);
    bool all = false;
    size_t n = 0;

    ids[n++] = model.classes[type->cls].uuid;
    ids[n++] = model.classes[type->cls].name_label;
    if (type->cls == CLASS_host) ids[n++] = F_host_hostname;
    if (type->cls == CLASS_VM) {
        ids[n++] = F_VM_is_a_template;
        ids[n++] = F_VM_is_control_domain;
    }
    for (size_t i = 0; i < c->n_params && !all; i++) {
        const struct xe_field *f = cmd_field(type, c->params[i].key);

        if (!is_selecting(s, c->params[i].key, ignore)) continue;
        if (f)
            n += cmd_field_needs(type, f, ids + n, &all);
        else
            all = true;                /* a key of a map: it may be any of them */
    }
    *ret_n = n;
    return all ? NULL : ids;
}

static int filter(struct cmd *c, const struct selector *s, unsigned flags, const char *ignore,
                  struct cmd_object_row *rows, size_t *n, struct xerr *err)
{
    bool vms = streq(s->type, "vm");

    if (vms && !(flags & CMD_TEMPLATES) && cmd_filter(c, rows, n, "is-a-template", "false", err) < 0)
        return -1;
    if (vms && !(flags & CMD_CONTROL_VMS) && cmd_filter(c, rows, n, "is-control-domain", "false", err) < 0)
        return -1;
    for (size_t i = 0; i < c->n_params; i++)
        if (is_selecting(s, c->params[i].key, ignore)
            && cmd_filter(c, rows, n, c->params[i].key, c->params[i].value, err) < 0)
            return -1;
    return 0;
}

int cmd_select(struct cmd *c, const char *type_name, unsigned flags, const char *ignore,
               struct cmd_object_row **ret_rows, size_t *ret_n, struct xerr *err)
{
    const struct selector *s = find_selector(type_name);
    const struct xe_record *type = cmd_record_type(type_name);
    const char *name = cmd_get(c, type_name);
    struct cmd_object_row *rows;
    const field_id *ids;
    size_t n_ids, n = 0;
    struct value all;

    ids = fields_of_filters(c, s, type, ignore, &n_ids);
    if (cmd_all(c, type->cls, ids, ids ? n_ids : 0, &all, err) < 0) return -1;
    if (all.kind != VALUE_MAP) return xerr_internal(err, "%s: no map of records", c->name);
    rows = arena_new_array(c->arena, struct cmd_object_row, all.map.n + 1);
    for (size_t i = 0; i < all.map.n; i++)
        if (ref_parse(all.map.members[i].key, &rows[n].ref)) {
            rows[n].type = type;
            rows[n++].record = &all.map.members[i].value;
        }
    if (name) keep_named(rows, &n, name);
    if (filter(c, s, flags, ignore, rows, &n, err) < 0) return -1;
    cmd_sort_rows(rows, n);
    *ret_rows = rows;
    *ret_n = n;
    return 0;
}

/* ---- doing something with each ----------------------------------------------------------------------- */

static const char *failure_text(struct cmd *c, const struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const char *sentence = cmd_error_sentence(c, err);

    if (sentence) {
        struct value lines = cmd_error_lines(c, err);

        strbuf_str(&b, sentence);
        for (size_t i = 0; i < lines.set.n; i++) strbuf_printf(&b, "\n%s", lines.set.items[i].s);
        if (!lines.set.n) strbuf_char(&b, '\n');
    } else if (xerr_is(err, CMD_FAILURE)) {
        strbuf_str(&b, cmd_failure_text(c, err));
    } else {
        strbuf_printf(&b, "%s: [ ", err->code);
        for (size_t i = 0; i < err->n; i++) strbuf_printf(&b, "%s%s", i ? "; " : "", err->params[i]);
        strbuf_str(&b, " ]");
    }
    return arena_strdup(c->arena, strbuf_cstr(&b));
}

static int each_of_many(struct cmd *c, struct cmd_object_row *rows, size_t n, cmd_each_fn fn, void *arg,
                        struct xerr *err)
{
    c->failures = arena_new_array(c->arena, struct cmd_failure, n);
    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        const char *uuid = value_get_str(rows[i].record, "uuid", "");

        if (fn(c, &rows[i], arg, &why) == 0) continue;
        if (xerr_is(&why, CMD_EXIT)) return xerr_move(err, &why);
        c->failures[c->n_failures++] = (struct cmd_failure){ uuid, failure_text(c, &why) };
    }
    return c->n_failures ? xerr_set(err, CMD_MULTIPLE, 0, NULL) : 0;
}

int cmd_each(struct cmd *c, const char *type, unsigned flags, const char *ignore, cmd_each_fn fn, void *arg,
             struct xerr *err)
{
    const struct selector *s = find_selector(type);
    struct cmd_object_row *rows;
    bool multiple;
    size_t n;

    if (cmd_get_bool(c, "multiple", flags & CMD_MANY, &multiple, err) < 0) return -1;
    if (cmd_select(c, type, flags, ignore, &rows, &n, err) < 0) return -1;
    if (!n) return cmd_fail(err, "%s", s->none);
    if (n == 1) return fn(c, &rows[0], arg, err);
    if (flags & CMD_ONE) return cmd_fail(err, "%s", s->not_many);
    if (!multiple) return cmd_fail(err, "%s", s->many);
    return each_of_many(c, rows, n, fn, arg, err);
}
