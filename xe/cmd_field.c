/* Fields of records: what they show, and what people write into them.
 * Called by: cmd_record.c, cmd_select.c, cmd_*.c.  Calls: cmd_quirk, cmd_call. */
#include "xe/cmd_quirk.h"

#include "lib/iso8601.h"
#include "lib/json.h"

#include <assert.h>
#include <strings.h>

static const char not_in_database[] = "<not in database>";
static const char invalid_reference[] = "<invalid reference>";

/* ---- enumerations: some have been shown differently from the wire since before the wire had them ----- */

static const struct enum_text { const char *name, *wire, *shown; } enum_texts[] = {
    { "vm_power_state", "Halted", "halted" },
    { "vm_power_state", "Paused", "paused" },
    { "vm_power_state", "Running", "running" },
    { "vm_power_state", "Suspended", "suspended" },
    { "on_normal_exit", "destroy", "Destroy" },
    { "on_normal_exit", "restart", "Restart" },
    { "on_softreboot_behavior", "destroy", "Destroy" },
    { "on_softreboot_behavior", "restart", "Restart" },
    { "on_softreboot_behavior", "preserve", "Preserve" },
    { "on_softreboot_behavior", "soft_reboot", "Soft reboot" },
    { "on_crash_behaviour", "destroy", "Destroy" },
    { "on_crash_behaviour", "coredump_and_destroy", "Core dump and destroy" },
    { "on_crash_behaviour", "restart", "Restart" },
    { "on_crash_behaviour", "coredump_and_restart", "Core dump and restart" },
    { "on_crash_behaviour", "preserve", "Preserve" },
    { "on_crash_behaviour", "rename_restart", "Rename restart" },
    { "vm_operations", "assert_operation_valid", "assertoperationvalid" },
    { "vm_operations", "data_source_op", "data_sources_op" },
    { "host_allowed_operations", "vm_start", "VM.start" },
    { "host_allowed_operations", "vm_resume", "VM.resume" },
    { "host_allowed_operations", "vm_migrate", "VM.migrate" },
    { "storage_operations", "vdi_create", "VDI.create" },
    { "storage_operations", "vdi_introduce", "VDI.introduce" },
    { "storage_operations", "vdi_destroy", "VDI.destroy" },
    { "storage_operations", "vdi_resize", "VDI.resize" },
    { "storage_operations", "vdi_clone", "VDI.clone" },
    { "storage_operations", "vdi_snapshot", "VDI.snapshot" },
    { "storage_operations", "vdi_mirror", "VDI.mirror" },
    { "storage_operations", "vdi_enable_cbt", "VDI.enable_cbt" },
    { "storage_operations", "vdi_disable_cbt", "VDI.disable_cbt" },
    { "storage_operations", "vdi_set_on_boot", "VDI.set_on_boot" },
    { "storage_operations", "vdi_data_destroy", "VDI.data_destroy" },
    { "storage_operations", "vdi_list_changed_blocks", "VDI.list_changed_blocks" },
    { "storage_operations", "pbd_create", "PBD.create" },
    { "storage_operations", "pbd_destroy", "PBD.destroy" },
    { "task_allowed_operations", "cancel", "Cancel" },
    { "task_allowed_operations", "destroy", "Destroy" },
    { "console_protocol", "vt100", "VT100" },
    { "console_protocol", "rfb", "RFB" },
    { "console_protocol", "rdp", "RDP" },
    { "vdi_type", "system", "System" },
    { "vdi_type", "user", "User" },
    { "vdi_type", "ephemeral", "Ephemeral" },
    { "vdi_type", "suspend", "Suspend" },
    { "vdi_type", "crashdump", "Crashdump" },
    { "vdi_type", "ha_statefile", "HA statefile" },
    { "vdi_type", "metadata", "Metadata" },
    { "vdi_type", "redo_log", "Redo log" },
    { "vdi_type", "pvs_cache", "PVS cache" },
    { "vdi_type", "cbt_metadata", "CBT metadata" },
    { "allocation_algorithm", "breadth_first", "breadth-first" },
    { "allocation_algorithm", "depth_first", "depth-first" },
    { "pvs_proxy_status", "incompatible_write_cache_mode", "incompatible-write-cache-mode" },
    { "pvs_proxy_status", "incompatible_protocol_version", "incompatible-protocol-version" },
    { "tristate_type", "yes", "true" },
    { "tristate_type", "no", "false" },
    { "domain_type", "pv_in_pvh", "pv-in-pvh" },
};

const char *cmd_enum_shown(const struct enum_desc *e, const char *wire)
{
    for (size_t i = 0; i < ARRAY_SIZE(enum_texts); i++)
        if (streq(e->name, enum_texts[i].name) && streq(wire, enum_texts[i].wire)) return enum_texts[i].shown;
    return wire;
}

/* The wire's text of what a person wrote: as shown or as on the wire, any case. */
static int enum_parse(struct cmd *c, const struct enum_desc *e, const char *text, struct value *ret_value,
                      struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf all = STRBUF_INIT;

    for (unsigned i = 0; i < e->n; i++) {
        if (!strcasecmp(text, e->values[i]) || !strcasecmp(text, cmd_enum_shown(e, e->values[i]))) {
            *ret_value = value_string(e->values[i]);
            return 0;
        }
        strbuf_printf(&all, "%s'%s'", i ? ", " : "", e->values[i]);
    }
    (void)c;
    return cmd_fail(err, "Expected one of %s, got %s", strbuf_cstr(&all), text);
}

/* ---- values to text ---------------------------------------------------------------------------------- */

static const char *ref_shown(struct cmd *c, int cls, struct ref ref, bool by_name)
{
    struct cmd_object object;

    if (ref_is_null(ref) || !c->env->lookup(c->env->arg, cls, ref, c->arena, &object)) return not_in_database;
    if (by_name) return object.name ? object.name : not_in_database;
    return object.uuid;
}

static const char *scalar_text(struct cmd *c, const struct value *v)
{
    char date[ISO8601_TEXT];

    switch (v->kind) {
    case VALUE_VOID:
        return "";
    case VALUE_STRING:
        return v->s;
    case VALUE_INT:
    case VALUE_INT32:
        return arena_printf(c->arena, "%lld", (long long)v->i);
    case VALUE_BOOL:
        return v->b ? "true" : "false";
    case VALUE_FLOAT:
        return arena_printf(c->arena, "%.3f", v->d);
    case VALUE_DATETIME:
        return arena_strdup(c->arena, iso8601_text(v->i, date));
    case VALUE_LOCALTIME:
        return arena_strdup(c->arena, iso8601_local_text(v->i, date));
    case VALUE_REF:
        return ref_shown(c, CLASS_NONE, v->ref, false);
    case VALUE_SET:
    case VALUE_MAP:
        break;
    }
    return "";
}

/* A value as it is shown: a string, a set of strings, a map of strings. */
static struct value shown(struct cmd *c, const struct type_desc *type, const struct value *v, bool by_name)
{
    struct value_builder b = value_builder(c->arena);

    if (v->kind == VALUE_SET) {
        for (size_t i = 0; i < v->set.n; i++)
            value_push(&b, value_string(cmd_value_text(c, type ? type->elem : NULL, &v->set.items[i])));
        if (by_name && type && type->elem && type->elem->kind == TYPE_REF)
            for (size_t i = 0; i < v->set.n; i++)
                ((struct value *)b.items)[i] =
                    value_string(ref_shown(c, type->elem->cls, cmd_as_ref(&v->set.items[i]), true));
        return value_built_set(&b);
    }
    if (v->kind == VALUE_MAP) {
        for (size_t i = 0; i < v->map.n; i++) {
            const struct value key = value_string(v->map.members[i].key);

            value_put_new(
                &b, cmd_value_text(c, type ? type->key : NULL, &key),
                value_string(cmd_value_text(c, type ? type->elem : NULL, &v->map.members[i].value)));
        }
        return value_built_map(&b);
    }
    if (type && type->kind == TYPE_OPTION) return shown(c, type->elem, v, by_name);
    if (type && type->kind == TYPE_REF) return value_string(ref_shown(c, type->cls, cmd_as_ref(v), by_name));
    if (type && type->kind == TYPE_ENUM && v->kind == VALUE_STRING)
        return value_string(cmd_enum_shown(type->e, v->s));
    return value_string(scalar_text(c, v));
}

static const char *joined(struct cmd *c, const struct value *v, const char *between)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    if (v->kind == VALUE_STRING) return v->s;
    if (v->kind == VALUE_SET)
        for (size_t i = 0; i < v->set.n; i++) {
            if (i) strbuf_str(&b, between);
            strbuf_str(&b, v->set.items[i].s);
        }
    if (v->kind == VALUE_MAP)
        for (size_t i = 0; i < v->map.n; i++) {
            if (i) strbuf_str(&b, between);
            strbuf_printf(&b, "%s: %s", v->map.members[i].key, v->map.members[i].value.s);
        }
    return arena_strdup(c->arena, strbuf_cstr(&b));
}

const char *cmd_value_text(struct cmd *c, const struct type_desc *type, const struct value *v)
{
    struct value s;

    if (v->kind == VALUE_STRING && !type) return v->s;
    s = shown(c, type, v, false);
    return joined(c, &s, "; ");
}

/* ---- fields ------------------------------------------------------------------------------------------ */

const struct xe_record *cmd_record_type(const char *name)
{
    for (const struct xe_record *r = xe_records; r->name; r++)
        if (streq(r->name, name)) return r;
    return NULL;
}

const struct xe_field *cmd_field(const struct xe_record *type, const char *name)
{
    for (unsigned i = 0; i < type->n_fields; i++)
        if (streq(type->fields[i].name, name)) return &type->fields[i];
    return NULL;
}

/* The model field behind a field, and the field behind its reference; false when it is computed. */
static bool field_source(const struct xe_record *type, const struct xe_field *f, const struct field_quirk *q,
                         field_id *ret_field, field_id *ret_through)
{
    (void)type;
    *ret_field = q && q->field ? q->field : f->field;
    *ret_through = q && q->field ? q->through : f->through;
    return (!q || !q->get) && *ret_field;
}

size_t cmd_field_needs(const struct xe_record *type, const struct xe_field *f, field_id *ids, bool *ret_all)
{
    const struct field_quirk *q = field_quirk(type->cls, f->name);
    field_id field, through;

    if (field_source(type, f, q, &field, &through)) {
        ids[0] = field;
        return 1;
    }
    if (!f->expensive) *ret_all = true;
    return 0;
}

/* What a field shows: a value of a type, or words that stand for it. */
struct found {
    const char *words; /* not NULL: instead of a value */
    const struct type_desc *type;
    struct value value;
    bool by_name; /* references by name */
};

/* The object's own name is known to lookup; other fields behind a reference need its record. */
static void find_through(struct cmd *c, const struct value *v, const struct field_desc *f, field_id through,
                         const struct field_quirk *q, struct found *ret)
{
    const struct field_desc *target = model_field(through);
    int cls = f->type->cls;
    struct ref ref = cmd_as_ref(v);
    const struct value *record;

    if (through == model.classes[cls].name_label) {
        struct cmd_object object;

        if (ref_is_null(ref) || !c->env->lookup(c->env->arg, cls, ref, c->arena, &object) || !object.name)
            ret->words = not_in_database;
        else
            *ret = (struct found){ .type = target->type, .value = value_string(object.name) };
        return;
    }
    record = cmd_object_record(c, cls, ref);
    v = record ? value_get(record, target->name) : NULL;
    if (v)
        *ret = (struct found){ .type = target->type, .value = *v };
    else
        ret->words = q && q->missing ? q->missing : not_in_database;
}

/* Operations going on are kept by task; people see which. */
static struct found operations(struct cmd *c, const struct field_desc *f, const struct value *v)
{
    struct type_desc *type = arena_zalloc(c->arena, sizeof *type);
    struct value_builder b = value_builder(c->arena);

    *type = (struct type_desc){ .kind = TYPE_SET, .cls = -1, .elem = f->type->elem, .text = f->type->text };
    for (size_t i = 0; v->kind == VALUE_MAP && i < v->map.n; i++) value_push(&b, v->map.members[i].value);
    return (struct found){ .type = type, .value = value_built_set(&b) };
}

/* Of a field that is not computed. */
static struct found find_value(struct cmd *c, struct cmd_object_row *row, const struct xe_field *xf,
                               const struct field_quirk *q)
{
    struct found found = { .words = NULL };
    const struct field_desc *f;
    const struct value *v;
    field_id field, through;

    if (!field_source(row->type, xf, q, &field, &through)) return (struct found){ .words = "<unknown>" };
    f = model_field(field);
    if (!row->record) row->record = cmd_object_record(c, row->type->cls, row->ref);
    v = row->record ? value_get(row->record, f->name) : NULL;
    if (!v && row->record) {           /* the row of a list, which holds fewer fields */
        const struct value *whole = cmd_object_record(c, row->type->cls, row->ref);

        v = whole ? value_get(whole, f->name) : NULL;
    }
    if (!v) return (struct found){ .words = invalid_reference };
    if (through) {
        find_through(c, v, f, through, q, &found);
        return found;
    }
    if (streq(f->name, "current_operations")) return operations(c, f, v);
    return (struct found){ .type = f->type, .value = *v, .by_name = q && q->flags & QUIRK_NAMES };
}

/* What a quirk computes; an object that went meanwhile shows as such. */
static int compute(struct cmd *c, struct cmd_object_row *row, const struct field_quirk *q,
                   struct value *ret_value, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (q->get(c, row, ret_value, &why) == 0) return 0;
    if (!xerr_is(&why, "HANDLE_INVALID")) return xerr_move(err, &why);
    *ret_value = value_string(invalid_reference);
    return 0;
}

int cmd_field_value(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f,
                    struct value *ret_value, struct xerr *err)
{
    const struct field_quirk *q = field_quirk(row->type->cls, f->name);
    struct found found;

    if (q && q->get) return compute(c, row, q, ret_value, err);
    found = find_value(c, row, f, q);
    *ret_value = found.words ? value_string(found.words) : shown(c, found.type, &found.value, found.by_name);
    return 0;
}

int cmd_field_json(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, struct strbuf *out,
                   struct xerr *err)
{
    const struct field_quirk *q = field_quirk(row->type->cls, f->name);
    struct found found;
    struct value v;

    if (q && q->get) {
        if (compute(c, row, q, &v, err) < 0) return -1;
        cmd_json_computed(&v, q->flags, out);
        return 0;
    }
    found = find_value(c, row, f, q);
    v = value_string(found.words ? found.words : "");
    if (found.words)
        cmd_json_computed(&v, QUIRK_BOOL, out);
    else
        cmd_json_value(c, found.type, &found.value, found.by_name, out);
    return 0;
}

int cmd_field_text(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, const char **ret_text,
                   struct xerr *err)
{
    const struct field_quirk *q = field_quirk(row->type->cls, f->name);
    struct value v;

    if (cmd_field_value(c, row, f, &v, err) < 0) return -1;
    *ret_text = joined(c, &v, q && q->flags & QUIRK_COMMA ? ", " : "; ");
    return 0;
}

const char *cmd_field_title(struct cmd *c, const struct xe_field *f)
{
    const char *rights;

    switch (f->kind) {
    case XE_SET:
        rights = f->can_add ? "SRW" : "SRO";
        break;
    case XE_MAP:
        rights = f->can_add ? "MRW" : "MRO";
        break;
    case XE_SCALAR:
    default:
        rights = f->can_set ? " RW" : " RO";
    }
    return arena_printf(c->arena, "%s (%s)%s", f->name, rights, f->deprecated ? " [DEPRECATED]" : "");
}

static int row_order(const void *a, const void *b)
{
    const struct value *x = ((const struct cmd_object_row *)a)->record;
    const struct value *y = ((const struct cmd_object_row *)b)->record;
    int order = strcmp(value_get_str(x, "name_label", ""), value_get_str(y, "name_label", ""));

    return order ? order : strcmp(value_get_str(x, "uuid", ""), value_get_str(y, "uuid", ""));
}

void cmd_sort_rows(struct cmd_object_row *rows, size_t n)
{
    qsort(rows, n, sizeof *rows, row_order);
}

/* ---- printing ---------------------------------------------------------------------------------------- */

static bool in_list(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || !p[n])) return true;
    return false;
}

static bool is_shown(const struct xe_field *f, const char *list)
{
    if (f->hidden) return false;
    if (!list) return f->by_default;
    return streq(list, "all") || in_list(list, f->name);
}

int cmd_show_json(struct cmd *c, struct cmd_object_row *row, const char *fields, const char *fallback,
                  struct strbuf *out, struct xerr *err)
{
    const char *list = fields ? fields : fallback;

    strbuf_char(out, '{');
    for (unsigned i = 0; i < row->type->n_fields; i++) {
        const struct xe_field *f = &row->type->fields[i];

        if (!is_shown(f, list)) continue;
        json_member_begin(f->name, out);
        if (cmd_field_json(c, row, f, out, err) < 0) return -1;
    }
    strbuf_char(out, '}');
    return 0;
}

int cmd_show(struct cmd *c, struct cmd_object_row *row, const char *fields, const char *fallback,
             struct xerr *err)
{
    const char *list = fields ? fields : fallback;
    struct cmd_pair *pairs = arena_new_array(c->arena, struct cmd_pair, row->type->n_fields + 1);
    size_t n = 0;

    if (c->json) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

        if (cmd_show_json(c, row, fields, fallback, &b, err) < 0) return -1;
        cmd_json_line(c, strbuf_cstr(&b));
        return 0;
    }
    for (unsigned i = 0; i < row->type->n_fields; i++) {
        const struct xe_field *f = &row->type->fields[i];

        if (!is_shown(f, list)) continue;
        pairs[n].name = cmd_field_title(c, f);
        if (cmd_field_text(c, row, f, &pairs[n].value, err) < 0) return -1;
        n++;
        if (c->minimal) break;
    }
    cmd_row(c, pairs, n);
    return 0;
}

/* ---- text to values ---------------------------------------------------------------------------------- */

static int set_parse(struct cmd *c, const char *key, const char *text, const struct type_desc *elem,
                     struct value *ret_value, struct xerr *err)
{
    struct value words = cmd_split(c, text);
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < words.set.n; i++) {
        struct value item;

        if (cmd_value_parse(c, key, words.set.items[i].s, elem, false, &item, err) < 0) return -1;
        value_push(&b, item);
    }
    *ret_value = value_built_set(&b);
    return 0;
}

int cmd_value_parse(struct cmd *c, const char *key, const char *text, const struct type_desc *type,
                    bool bytes, struct value *ret_value, struct xerr *err)
{
    struct value v = value_string(text);
    struct ref ref = REF_NULL;

    switch (type->kind) {
    case TYPE_STRING:
        break;
    case TYPE_INT:
        v = value_int(0);
        if (bytes ? cmd_parse_bytes(key, text, &v.i, err) : cmd_parse_int(key, text, &v.i, err)) return -1;
        break;
    case TYPE_BOOL:
        v = value_bool(false);
        if (cmd_parse_bool(key, text, &v.b, err) < 0) return -1;
        break;
    case TYPE_FLOAT:
        v = value_float(0);
        if (cmd_parse_float(key, text, &v.d, err) < 0) return -1;
        break;
    case TYPE_DATETIME:
        v = value_datetime(0);
        if (!iso8601_parse(text, &v.i))
            return cmd_fail(err, "Failed to parse parameter '%s': expecting a date", key);
        break;
    case TYPE_REF:
        if (*text && cmd_by_uuid(c, type->cls, text, &ref, err) < 0) return -1;
        v = value_ref(ref);
        break;
    case TYPE_ENUM:
        return enum_parse(c, type->e, text, ret_value, err);
    case TYPE_SET:
        return set_parse(c, key, text, type->elem, ret_value, err);
    case TYPE_OPTION:
        return cmd_value_parse(c, key, text, type->elem, bytes, ret_value, err);
    case TYPE_MAP:
        if (!*text) {
            v = value_map(NULL, 0);
            break;
        }
        return cmd_fail(err, "Field '%s' is a map or set. use the 'name:key=value' syntax.", key);
    case TYPE_VOID:
    case TYPE_RECORD:
    case TYPE_BATCH:
        return cmd_fail(err, "Parameter '%s' cannot be given on a command line", key);
    }
    *ret_value = v;
    return 0;
}

/* ---- filters ----------------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b, bool no_case)
{
    return no_case ? !strcasecmp(a, b) : streq(a, b);
}

/* "other-config:key" or the older "other-config-key" against the fields of one kind: the longest name wins.
 */
static const struct xe_field *field_of_key(const struct xe_record *type, const char *key, enum xe_kind kind,
                                           char sep)
{
    const struct xe_field *best = NULL;

    for (unsigned i = 0; i < type->n_fields; i++) {
        const struct xe_field *f = &type->fields[i];
        size_t n = strlen(f->name);

        if (f->kind != kind || strncmp(key, f->name, n) != 0 || key[n] != sep) continue;
        if (!best || n > strlen(best->name)) best = f;
    }
    return best;
}

int cmd_find_field(struct cmd *c, const struct xe_record *type, const char *key,
                   const struct xe_field **ret_field, const char **ret_sub, struct xerr *err)
{
    const struct xe_field *f = cmd_field(type, key);
    const char *colon = strchr(key, ':');

    *ret_sub = NULL;
    if (!f && colon) {
        f = cmd_field(type, arena_strndup(c->arena, key, (size_t)(colon - key)));
        if (f && f->kind == XE_SCALAR) return cmd_fail(err, "Field '%s' is not a set or map", f->name);
        *ret_sub = colon + 1;
    } else if (!f) {
        f = field_of_key(type, key, XE_MAP, '-');
        if (!f) f = field_of_key(type, key, XE_SET, '-');
        if (f) *ret_sub = key + strlen(f->name) + 1;
    }
    if (!f) return cmd_fail(err, "Unknown field '%s'", key);
    *ret_field = f;
    return 0;
}

static int row_matches(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, const char *sub,
                       const char *wanted, bool *ret_match, struct xerr *err)
{
    const struct field_quirk *q = field_quirk(row->type->cls, f->name);
    bool no_case = q && q->flags & QUIRK_NO_CASE, match = false;
    const char *text;
    struct value v;

    if (!sub) {
        if (cmd_field_text(c, row, f, &text, err) < 0) return -1;
        *ret_match = same(text, wanted, no_case);
        return 0;
    }
    if (cmd_field_value(c, row, f, &v, err) < 0) return -1;
    if (v.kind == VALUE_SET)
        for (size_t i = 0; i < v.set.n && !match; i++) match = same(v.set.items[i].s, wanted, no_case);
    if (v.kind == VALUE_MAP)
        for (size_t i = 0; i < v.map.n && !match; i++)
            match =
                same(v.map.members[i].key, sub, no_case) && same(v.map.members[i].value.s, wanted, no_case);
    *ret_match = match;
    return 0;
}

int cmd_filter(struct cmd *c, struct cmd_object_row *rows, size_t *n, const char *key, const char *value,
               struct xerr *err)
{
    const struct xe_field *f;
    const char *sub;
    size_t kept = 0;

    if (!*n) return 0;
    if (cmd_find_field(c, rows[0].type, key, &f, &sub, err) < 0) return -1;
    if (sub && f->kind == XE_SET && !streq(sub, "contains"))
        return cmd_fail(err, "Invalid syntax for set filtering (should be set-param:contains=key)");
    for (size_t i = 0; i < *n; i++) {
        bool match;

        if (row_matches(c, &rows[i], f, sub, value, &match, err) < 0) return -1;
        if (match) rows[kept++] = rows[i];
    }
    *n = kept;
    return 0;
}
