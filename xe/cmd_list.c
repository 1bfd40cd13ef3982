/* CLASS-list: the objects of a class that match the filters, and their columns.
 * Called by: cmd_record.c, cmd_watch.c.  Calls: cmd_field, cmd_json. */
#include "xe/cmd_list.h"
#include "xe/cmd_quirk.h"

#include "lib/json.h"

/* What a plain list leaves out. */
static const struct {
    const char *record, *key, *value;
} default_filters[] = {
    { "vm", "is-a-template", "false" },
    { "template", "is-a-template", "true" },
    { "template", "is-a-snapshot", "false" },
    { "snapshot", "is-a-snapshot", "true" },
};

static bool is_filter(const char *key)
{
    return !cmd_is_standard_param(key) && !streq(key, "params") && !streq(key, "database") &&
           !has_prefix(key, "database:");
}

/* The model fields that filters and columns need, so that no more is fetched; false when the whole records
 * are. */
static bool fields_needed(struct cmd *c, const char *columns, field_id *ids, size_t *ret_n)
{
    const struct xe_record *type = c->record;
    bool all = columns && streq(columns, "all");
    size_t n = 0;

    ids[n++] = model.classes[type->cls].uuid;
    ids[n++] = model.classes[type->cls].name_label;
    for (unsigned i = 0; i < type->n_fields && !all; i++) {
        const struct xe_field *f = &type->fields[i];
        size_t len = strlen(f->name);
        bool wanted = columns ? strstr(columns, f->name) != NULL : f->by_default;

        for (size_t k = 0; k < c->n_params && !wanted; k++)
            wanted = strncmp(c->params[k].key, f->name, len) == 0;
        for (size_t k = 0; k < ARRAY_SIZE(default_filters) && !wanted; k++)
            wanted = streq(default_filters[k].record, type->name) && streq(default_filters[k].key, f->name);
        if (wanted) n += cmd_field_needs(type, f, ids + n, &all);
    }
    *ret_n = n;
    return !all;
}

static bool has_defaults(const struct xe_record *type)
{
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].by_default) return true;
    return false;
}

/* Objects behind references of a column are fetched once for all rows. */
static void prefetch_columns(struct cmd *c, const char *columns)
{
    for (unsigned i = 0; i < c->record->n_fields; i++) {
        const struct xe_field *f = &c->record->fields[i];
        const struct field_quirk *q = field_quirk(c->record->cls, f->name);
        field_id field = q && q->field ? q->field : f->field,
                 through = q && q->field ? q->through : f->through;

        if (q && q->get) continue;
        if (!through || model_field(through)->id == model.classes[field_class(through)].name_label) continue;
        if (streq(columns, "all") || strstr(columns, f->name)) cmd_prefetch(c, model_field(field)->type->cls);
    }
}

static int filter_rows(struct cmd *c, struct cmd_object_row *rows, size_t *n, struct xerr *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(default_filters); i++)
        if (streq(default_filters[i].record, c->record->name) &&
            cmd_filter(c, rows, n, default_filters[i].key, default_filters[i].value, err) < 0)
            return -1;
    for (size_t i = 0; i < c->n_params; i++)
        if (is_filter(c->params[i].key) &&
            cmd_filter(c, rows, n, c->params[i].key, c->params[i].value, err) < 0)
            return -1;
    return 0;
}

/* Values that cost a question each are for param-list and param-get. */
static int print_json_row(struct cmd *c, struct cmd_object_row *row, const char *const *titles,
                          struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    strbuf_char(&b, '{');
    for (unsigned i = 0; i < row->type->n_fields; i++) {
        const struct xe_field *f = &row->type->fields[i];

        if (!titles[i] || f->expensive) continue;
        json_member_begin(f->name, &b);
        if (cmd_field_json(c, row, f, &b, err) < 0) return -1;
    }
    strbuf_char(&b, '}');
    cmd_json_line(c, strbuf_cstr(&b));
    return 0;
}

static int print_row(struct cmd *c, struct cmd_object_row *row, struct cmd_pair *pairs,
                     const char *const *titles, struct xerr *err)
{
    const struct xe_record *type = row->type;
    size_t n = 0;

    if (c->json) return print_json_row(c, row, titles, err);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const struct xe_field *f = &type->fields[i];

        if (!titles[i]) continue; /* no column */
        pairs[n].name = titles[i];
        if (f->expensive)
            pairs[n].value = "<expensive field>";
        else if (cmd_field_text(c, row, f, &pairs[n].value, err) < 0)
            return -1;
        n++;
        if (c->minimal) break;
    }
    if (c->minimal && !n) return 0;
    cmd_row(c, pairs, n);
    return 0;
}

static bool is_column(const struct xe_field *f, const char *columns)
{
    size_t n = strlen(f->name);

    if (f->hidden) return false;
    if (!columns) return f->by_default;
    if (streq(columns, "all")) return true;
    for (const char *p = columns; *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, f->name, n) == 0 && (p[n] == ',' || !p[n])) return true;
    return false;
}

int list_begin(struct cmd *c, struct list *ret, struct xerr *err)
{
    const struct xe_record *type = c->record;
    struct list l = { .type = type, .columns = cmd_get(c, "params") };

    if (cmd_get_map(c, "database").map.n) return xerr_set(err, "NOT_IMPLEMENTED", 1, &c->name);
    if (cmd_get_bool(c, "all", false, &l.keep_all, err) < 0) return -1;
    if (!l.columns && !has_defaults(type)) l.columns = "all";
    l.ids = arena_new_array(c->arena, field_id, type->n_fields * 4 + 2);
    if (!fields_needed(c, l.columns, l.ids, &l.n_ids)) {
        l.ids = NULL;
        l.n_ids = 0;
    }
    l.titles = arena_new_array(c->arena, const char *, type->n_fields + 1);
    for (unsigned i = 0; i < type->n_fields; i++)
        if (is_column(&type->fields[i], l.columns)) l.titles[i] = cmd_field_title(c, &type->fields[i]);
    *ret = l;
    return 0;
}

int list_filter(struct cmd *c, const struct list *l, struct cmd_object_row *rows, size_t *n, struct xerr *err)
{
    return l->keep_all ? 0 : filter_rows(c, rows, n, err);
}

int list_fetch(struct cmd *c, const struct list *l, struct cmd_object_row **ret_rows, size_t *ret_n,
               struct xerr *err)
{
    struct cmd_object_row *rows;
    struct value all;
    size_t n = 0;

    if (cmd_all(c, l->type->cls, l->ids, l->n_ids, &all, err) < 0) return -1;
    if (all.kind != VALUE_MAP) return xerr_internal(err, "%s: no map of records", c->name);
    rows = arena_new_array(c->arena, struct cmd_object_row, all.map.n + 1);
    for (size_t i = 0; i < all.map.n; i++)
        if (ref_parse(all.map.members[i].key, &rows[n].ref)) {
            rows[n].type = l->type;
            rows[n++].record = &all.map.members[i].value;
        }
    if (list_filter(c, l, rows, &n, err) < 0) return -1;
    cmd_sort_rows(rows, n);
    if (n > 1 && l->columns) prefetch_columns(c, l->columns);
    *ret_rows = rows;
    *ret_n = n;
    return 0;
}

int cmd_list(struct cmd *c, struct xerr *err)
{
    struct cmd_object_row *rows;
    struct cmd_pair *pairs;
    struct list l;
    size_t n;

    if (list_begin(c, &l, err) < 0) return -1;
    if (cmd_get(c, "watch")) return cmd_watch_list(c, &l, err);
    if (list_fetch(c, &l, &rows, &n, err) < 0) return -1;
    pairs = arena_new_array(c->arena, struct cmd_pair, l.type->n_fields + 1);
    for (size_t i = 0; i < n; i++)
        if (print_row(c, &rows[i], pairs, l.titles, err) < 0) return -1;
    return 0;
}
