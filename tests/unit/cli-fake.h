/* A pool of two VMs, a template, a host, an SR and a disk behind struct cmd_env, and a client that writes
 * down what it is told. For tests and the fuzz target of the command line. Called by: tests/unit/test-cli.c,
 * tests/fuzz/fuzz-cli.c.  Calls: xe/cmd. */
#ifndef TESTS_UNIT_CLI_FAKE_H
#define TESTS_UNIT_CLI_FAKE_H

#include "xe/commands.h"

#include <stdio.h>

struct fake {
    struct strbuf out, err, calls;     /* what was printed; one changing message a line */
    const char *answer;                /* to a prompt */
    const char *fail;                  /* method that fails ... */
    const char *code, *param;          /* ... with this */
    bool other_host_disabled, advice;
    unsigned logins, waits;
};

#define FAKE_REF(n) ((struct ref){ 0x1111222233334444, (n) })
enum {
    FAKE_VM1 = 1,
    FAKE_VM2,
    FAKE_TEMPLATE,
    FAKE_HOST,
    FAKE_SR,
    FAKE_VDI,
    FAKE_POOL,
    FAKE_NEW,
    FAKE_TASK,
    FAKE_VBD
};

static const struct fake_row {
    unsigned id;
    int cls;
    const char *uuid, *name;
} fake_rows[] = {
    { FAKE_VM1, CLASS_VM, "11111111-0000-4000-8000-000000000001", "app, one" },
    { FAKE_VM2, CLASS_VM, "11111111-0000-4000-8000-000000000002", "db\\two" },
    { FAKE_TEMPLATE, CLASS_VM, "11111111-0000-4000-8000-000000000003", "Debian" },
    { FAKE_HOST, CLASS_host, "11111111-0000-4000-8000-000000000004", "north" },
    { FAKE_SR, CLASS_SR, "11111111-0000-4000-8000-000000000005", "Local storage" },
    { FAKE_VDI, CLASS_VDI, "11111111-0000-4000-8000-000000000006", "root disk" },
    { FAKE_POOL, CLASS_pool, "11111111-0000-4000-8000-000000000007", "" },
    { FAKE_NEW, CLASS_NONE, "11111111-0000-4000-8000-000000000008", "new" },
};

static inline const struct fake_row *fake_row(struct ref ref)
{
    for (size_t i = 0; i < ARRAY_SIZE(fake_rows); i++)
        if (ref_eq(ref, FAKE_REF(fake_rows[i].id))) return &fake_rows[i];
    return NULL;
}

static inline struct value fake_words(struct arena *a, const char *one, const char *two)
{
    struct value_builder b = value_builder(a);

    if (one) value_push(&b, value_string(one));
    if (two) value_push(&b, value_string(two));
    return value_built_set(&b);
}

/* Every field at its default, then what makes the object what it is. */
static inline struct value fake_record(const struct fake_row *row, struct arena *a)
{
    const struct class_desc *cls = &model.classes[row->cls];
    struct value_builder b = value_builder(a), config = value_builder(a);

    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct type_desc *type = cls->fields[i].type;
        struct value v = value_string(type->kind == TYPE_ENUM ? type->e->values[0] : "");

        if (type->kind == TYPE_REF) v = value_ref(REF_NULL);
        if (type->kind == TYPE_SET) v = value_set(NULL, 0);
        if (type->kind == TYPE_MAP) v = value_map(NULL, 0);
        if (type->kind == TYPE_INT) v = value_int(0);
        if (type->kind == TYPE_BOOL) v = value_bool(false);
        if (type->kind == TYPE_FLOAT) v = value_float(0.5);
        if (type->kind == TYPE_DATETIME) v = value_datetime(0);
        value_put(&b, cls->fields[i].name, v);
    }
    value_put(&b, "uuid", value_string(row->uuid));
    if (cls->name_label) value_put(&b, "name_label", value_string(row->name));
    if (row->cls == CLASS_VM) {
        value_put(&config, "owner", value_string(row->id == FAKE_VM1 ? "eve" : "bob"));
        value_put(&config, "tier", value_string("gold"));
        value_put(&b, "other_config", value_built_map(&config));
        value_put(&b, "power_state", value_string(row->id == FAKE_VM1 ? "Running" : "Halted"));
        value_put(&b, "is_a_template", value_bool(row->id == FAKE_TEMPLATE));
        value_put(&b, "tags", fake_words(a, "x", row->id == FAKE_VM1 ? "y" : NULL));
        value_put(&b, "allowed_operations", fake_words(a, "start", "data_source_op"));
        value_put(&b, "resident_on", value_ref(row->id == FAKE_VM1 ? FAKE_REF(FAKE_HOST) : REF_NULL));
        value_put(&b, "actions_after_reboot", value_string("restart"));
        value_put(&b, "domain_type", value_string("pv_in_pvh"));
    }
    if (row->cls == CLASS_pool) {
        value_put(&b, "master", value_ref(FAKE_REF(FAKE_HOST)));
        value_put(&b, "default_SR", value_ref(FAKE_REF(FAKE_SR)));
    }
    if (row->cls == CLASS_VDI) value_put(&b, "SR", value_ref(FAKE_REF(FAKE_SR)));
    return value_built_map(&b);
}

static inline int fake_records(void *arg, const struct class_desc *cls, const field_id *fields, size_t n,
                               struct arena *a, struct value *ret_map, struct xerr *err)
{
    struct value_builder b = value_builder(a);

    (void)arg;
    (void)err;
    for (size_t i = 0; i < ARRAY_SIZE(fake_rows); i++) {
        struct value whole, some = { .kind = VALUE_VOID };
        char text[REF_TEXT];

        if (fake_rows[i].cls != cls->id) continue;
        whole = fake_record(&fake_rows[i], a);
        if (fields) {                  /* no more than was asked for */
            struct value_builder few = value_builder(a);

            for (size_t k = 0; k < n; k++)
                if (fields[k])
                    value_put(&few, model_field(fields[k])->name,
                              *value_get(&whole, model_field(fields[k])->name));
            some = value_built_map(&few);
        }
        value_put(&b, arena_strdup(a, ref_text(FAKE_REF(fake_rows[i].id), text)), fields ? some : whole);
    }
    *ret_map = value_built_map(&b);
    return 0;
}

static inline void fake_write(struct strbuf *b, const struct value *v)
{
    char text[REF_TEXT];

    switch (v->kind) {
    case VALUE_STRING: strbuf_printf(b, "'%s'", v->s); return;
    case VALUE_INT:
    case VALUE_INT32:
    case VALUE_DATETIME:
    case VALUE_LOCALTIME: strbuf_printf(b, "%lld", (long long)v->i); return;
    case VALUE_BOOL: strbuf_str(b, v->b ? "true" : "false"); return;
    case VALUE_FLOAT: strbuf_printf(b, "%g", v->d); return;
    case VALUE_VOID: strbuf_str(b, "void"); return;
    case VALUE_REF:
        if (fake_row(v->ref)) strbuf_printf(b, "#%u", fake_row(v->ref)->id);
        else strbuf_str(b, ref_is_null(v->ref) ? "NULL" : ref_text(v->ref, text));
        return;
    case VALUE_SET:
        strbuf_char(b, '[');
        for (size_t i = 0; i < v->set.n; i++) {
            if (i) strbuf_char(b, ' ');
            fake_write(b, &v->set.items[i]);
        }
        strbuf_char(b, ']');
        return;
    case VALUE_MAP:
        strbuf_char(b, '{');
        for (size_t i = 0; i < v->map.n; i++) {
            strbuf_printf(b, "%s%s=", i ? " " : "", v->map.members[i].key);
            fake_write(b, &v->map.members[i].value);
        }
        strbuf_char(b, '}');
        return;
    }
}

/* Reading messages answer from the rows; the others are written down and give a new object, or nothing. */
static inline int fake_call(void *arg, const char *method, const struct value *args, size_t n,
                            struct arena *a, struct value *ret_result, struct xerr *err)
{
    const struct method_desc *m = model_method(has_prefix(method, "Async.") ? method + 6 : method);
    struct fake *f = arg;
    const struct fake_row *row = n && args[0].kind == VALUE_REF ? fake_row(args[0].ref) : NULL;

    *ret_result = value_void();
    if (!m) return xerr_set(err, "MESSAGE_METHOD_UNKNOWN", 1, &method);
    if (f->fail && streq(method, f->fail) && (!f->param || !row || !has_prefix(f->param, "only ")
                                              || row->id == FAKE_VM1))
        return xerr_set_dynamic(err, f->code, f->param ? 1 : 0, &f->param);
    switch (m->kind) {
    case METHOD_GET_BY_UUID:
        for (size_t i = 0; i < ARRAY_SIZE(fake_rows); i++)
            if (fake_rows[i].cls == m->cls && streq(fake_rows[i].uuid, args[0].s)) {
                *ret_result = value_ref(FAKE_REF(fake_rows[i].id));
                return 0;
            }
        return xerr_set(err, "UUID_INVALID", 2, (const char *[]){ model.classes[m->cls].name, args[0].s });
    case METHOD_GET_BY_NAME_LABEL: {
        struct value_builder b = value_builder(a);

        for (size_t i = 0; i < ARRAY_SIZE(fake_rows); i++)
            if (fake_rows[i].cls == m->cls && streq(fake_rows[i].name, args[0].s))
                value_push(&b, value_ref(FAKE_REF(fake_rows[i].id)));
        *ret_result = value_built_set(&b);
        return 0;
    }
    case METHOD_GET_ALL_RECORDS: return fake_records(f, &model.classes[m->cls], NULL, 0, a, ret_result, err);
    case METHOD_GET_ALL: {
        struct value_builder b = value_builder(a);

        for (size_t i = 0; i < ARRAY_SIZE(fake_rows); i++)
            if (fake_rows[i].cls == m->cls) value_push(&b, value_ref(FAKE_REF(fake_rows[i].id)));
        *ret_result = value_built_set(&b);
        return 0;
    }
    case METHOD_GET_RECORD:
    case METHOD_GET: {
        struct fake_row made = { FAKE_NEW, m->cls, fake_rows[ARRAY_SIZE(fake_rows) - 1].uuid, "new" };
        struct value record;

        if (!row)
            return xerr_set(err, "HANDLE_INVALID", 2, (const char *[]){ model.classes[m->cls].name, "gone" });
        record = fake_record(row->id == FAKE_NEW ? &made : row, a);
        *ret_result =
            m->kind == METHOD_GET_RECORD ? record : *value_get(&record, model_field(m->field)->name);
        return 0;
    }
    case METHOD_CUSTOM:
    case METHOD_SET:
    case METHOD_ADD:
    case METHOD_REMOVE:
    case METHOD_CREATE:
    case METHOD_DESTROY:
    case METHOD_GET_ALL_RECORDS_WHERE: break;
    }
    strbuf_printf(&f->calls, "%s(", method);
    for (size_t i = 0; i < n; i++) {
        if (i) strbuf_str(&f->calls, ", ");
        fake_write(&f->calls, &args[i]);
    }
    strbuf_str(&f->calls, ")\n");
    if (m->result->kind == TYPE_REF) *ret_result = value_ref(FAKE_REF(FAKE_NEW));
    if (m->result->kind == TYPE_SET) *ret_result = value_set(NULL, 0);
    if (m->result->kind == TYPE_MAP) *ret_result = value_map(NULL, 0);
    if (m->result->kind == TYPE_STRING || m->result->kind == TYPE_ENUM) *ret_result = value_string("result");
    if (m->result->kind == TYPE_INT) *ret_result = value_int(42);
    if (m->result->kind == TYPE_FLOAT) *ret_result = value_float(1.5);
    return 0;
}

static inline int fake_call_by(void *arg, const char *session, const char *method, const struct value *args, size_t n,
                               struct arena *a, struct value *ret_result, struct xerr *err)
{
    (void)session;
    return fake_call(arg, method, args, n, a, ret_result, err);
}

static inline int fake_login(void *arg, const char *user, const char *password, bool local, struct xerr *err)
{
    struct fake *f = arg;

    (void)local;
    f->logins++;
    if (streq(password, "wrong"))
        return xerr_set(err, "SESSION_AUTHENTICATION_FAILED", 2, (const char *[]){ user, "" });
    return 0;
}

static inline const char *fake_session(void *arg)
{
    (void)arg;
    return "OpaqueRef:session";
}

static inline int fake_watch(void *arg, const struct value *what, char token[CMD_TOKEN], int timeout_ms,
                             struct arena *a, struct value *ret_events, struct xerr *err)
{
    struct fake *f = arg;

    (void)a;
    if (ret_events) *ret_events = value_set(NULL, 0);

    (void)what;
    (void)timeout_ms;
    (void)err;
    f->waits++;
    strcpy(token, "1");
    return 0;
}

static inline bool fake_lookup(void *arg, int cls, struct ref ref, struct arena *a,
                               struct cmd_object *ret_object)
{
    const struct fake_row *row = fake_row(ref);

    (void)arg;
    (void)cls;
    (void)a;
    if (!row) return false;
    *ret_object = (struct cmd_object){ row->cls, row->uuid, row->name };
    return true;
}

static inline void fake_print(void *arg, const char *text, size_t n)
{
    struct fake *f = arg;

    strbuf_add(&f->out, text, n);
    strbuf_char(&f->out, '\n');
}

static inline void fake_print_error(void *arg, const char *text, size_t n)
{
    struct fake *f = arg;

    strbuf_add(&f->err, text, n);
}

static inline void fake_error(void *arg, const char *code, const char *const *params, size_t n)
{
    struct fake *f = arg;

    strbuf_printf(&f->err, "Error code: %s\nError parameters: ", code);
    for (size_t i = 0; i < n; i++) strbuf_printf(&f->err, "%s%s", i ? ", " : "", params[i]);
    strbuf_char(&f->err, '\n');
}

static inline int fake_load(void *arg, const char *file, size_t limit, struct arena *a, char **ret_text,
                            size_t *ret_len)
{
    (void)arg;
    (void)limit;
    if (streq(file, "missing")) return 1;
    *ret_text = arena_printf(a, "content of %s", file);
    *ret_len = strlen(*ret_text);
    return 0;
}

static inline int fake_prompt(void *arg, struct arena *a, char **ret_line)
{
    struct fake *f = arg;

    if (!f->answer) return -1;
    *ret_line = arena_strdup(a, f->answer);
    return 0;
}

static inline void fake_transfer(void *arg, enum cmd_transfer kind, const char *file, const char *url)
{
    struct fake *f = arg;

    strbuf_printf(&f->calls, "%s '%s' %s\n",
                  kind == CMD_GET   ? "GET"
                  : kind == CMD_PUT ? "PUT"
                                    : "CONNECT",
                  file, url);
}

static inline enum cmd_state fake_transferred(void *arg, int timeout_ms)
{
    (void)arg;
    (void)timeout_ms;
    return CMD_BROKEN;
}

static inline bool fake_gone(void *arg)
{
    return ((struct fake *)arg)->waits > 3;
}

/* Runs a command line given as words between '|'. */
static inline int fake_run(struct fake *f, const char *line)
{
    const struct cmd_env env = {
        .arg = f, .client = f, .login = fake_login, .session = fake_session, .call = fake_call,
        .call_by = fake_call_by, .records = fake_records, .watch = fake_watch, .lookup = fake_lookup, .print = fake_print, .print_error = fake_print_error,
        .error = fake_error, .load = fake_load, .prompt = fake_prompt, .transfer = fake_transfer,
        .transferred = fake_transferred, .gone = fake_gone, .advice = f->advice,
    };
    _cleanup_arena_ struct arena *a = arena_new();
    const char *args[64];
    char *rest = arena_strdup(a, line), *word;
    size_t n = 0;

    while (n < ARRAY_SIZE(args) && (word = strsep(&rest, "|"))) args[n++] = word;
    strbuf_clear(&f->out);
    strbuf_clear(&f->err);
    strbuf_clear(&f->calls);
    return cmd_run(&env, a, args, n);
}

static inline void fake_free(struct fake *f)
{
    strbuf_free(&f->out);
    strbuf_free(&f->err);
    strbuf_free(&f->calls);
}

#endif
