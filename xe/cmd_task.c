/* Long calls as tasks: waiting for their end, telling the client how far they are.
 * Called by: cmd_call.c, cmd_file.c.  Calls: cmd_env, lib/xmlrpc. */
#include "xe/cmd.h"

#include "lib/clock.h"
#include "lib/iso8601.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"

enum { WATCH_MS = 5000 };

/* ---- results ----------------------------------------------------------------------------------------- */

static struct value as_type(struct cmd *c, const struct value *v, const struct type_desc *type);

static struct value as_set(struct cmd *c, const struct value *v, const struct type_desc *elem)
{
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < v->set.n; i++) value_push(&b, as_type(c, &v->set.items[i], elem));
    return value_built_set(&b);
}

/* elem: of every member; NULL: of a record, whose fields cls knows. */
static struct value as_map(struct cmd *c, const struct value *v, const struct type_desc *elem,
                           const struct class_desc *cls)
{
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < v->map.n; i++) {
        const struct member *m = &v->map.members[i];
        const struct field_desc *f = elem ? NULL : model_field_by_name(cls, m->key);

        value_put_new(&b, m->key, elem || f ? as_type(c, &m->value, elem ? elem : f->type) : m->value);
    }
    return value_built_map(&b);
}

/* XML-RPC writes ints, references and times as text; what a direct call gives is typed. */
static struct value as_type(struct cmd *c, const struct value *v, const struct type_desc *type)
{
    struct value made = *v;

    switch (type->kind) {
    case TYPE_INT:
        if (v->kind == VALUE_STRING && num_parse_int(v->s, &made.i)) made.kind = VALUE_INT;
        return made;
    case TYPE_FLOAT:
        if (v->kind == VALUE_STRING && num_parse_float(v->s, &made.d)) made.kind = VALUE_FLOAT;
        return made;
    case TYPE_DATETIME:
        if (v->kind == VALUE_STRING && iso8601_parse(v->s, &made.i)) made.kind = VALUE_DATETIME;
        return made;
    case TYPE_REF:
        return v->kind == VALUE_STRING ? value_ref(cmd_as_ref(v)) : made;
    case TYPE_SET:
        return v->kind == VALUE_SET ? as_set(c, v, type->elem) : made;
    case TYPE_MAP:
        return v->kind == VALUE_MAP ? as_map(c, v, type->elem, NULL) : made;
    case TYPE_RECORD:
        return v->kind == VALUE_MAP ? as_map(c, v, NULL, &model.classes[type->cls]) : made;
    case TYPE_OPTION:
        return v->kind == VALUE_VOID ? made : as_type(c, v, type->elem);
    case TYPE_VOID:
    case TYPE_STRING:
    case TYPE_BOOL:
    case TYPE_ENUM:
    case TYPE_BATCH:
        break;
    }
    return made;
}

/* A task's result is one XML-RPC value, or nothing. */
static int read_result(struct cmd *c, const char *xml, const struct type_desc *type, struct value *ret_result,
                       struct xerr *err)
{
    const char *wrong;
    struct value v;

    *ret_result = value_void();
    if (!*xml) return 0;
    if (xmlrpc_decode_value(xml, strlen(xml), c->arena, &v, &wrong) < 0)
        return xerr_internal(err, "the task's result makes no sense: %s", wrong);
    *ret_result = as_type(c, &v, type);
    return 0;
}

int cmd_task_failure(struct cmd *c, struct ref task, const struct value *record, struct xerr *err)
{
    const struct value *info = value_get(record, "error_info");
    const char *params[XERR_MAX_PARAMS];
    char text[REF_TEXT];
    size_t n = 0;

    if (has_prefix(cmd_member_text(record, "status"), "cancel")) {
        params[0] = ref_text(task, text);
        return xerr_set(err, "TASK_CANCELLED", 1, params);
    }
    if (!info || info->kind != VALUE_SET || !info->set.n) return xerr_set(err, "CLIENT_ERROR", 0, NULL);
    for (size_t i = 1; i < info->set.n && n < ARRAY_SIZE(params); i++) params[n++] = info->set.items[i].s;
    return xerr_set_dynamic(err, arena_strdup(c->arena, info->set.items[0].s), n, params);
}

/* ---- how far it is ----------------------------------------------------------------------------------- */

int cmd_progress_begin(struct cmd *c, struct ref task, enum cmd_bar bar, struct cmd_progress *ret_progress,
                       struct xerr *err)
{
    struct cmd_progress p = { .task = task, .bar = bar };
    char text[REF_TEXT];
    bool wanted;

    if (cmd_get_bool(c, "progress", false, &wanted, err) < 0) return -1;
    if (!wanted) p.bar = BAR_NONE;
    p.told = c->env->working;
    p.client = p.told && p.bar == BAR_NONE;
    if (p.told)
        c->env->working(c->env->client, c->env->session(c->env->arg), ref_text(task, text),
                        p.client ? CMD_BEGINS : CMD_BEGINS_SHOWN);
    *ret_progress = p;
    return 0;
}

bool cmd_progress_wanted(const struct cmd_progress *p)
{
    return p->client || p->bar != BAR_NONE;
}

void cmd_progress_show(struct cmd *c, struct cmd_progress *p, const struct value *record, bool last)
{
    static const char hashes[] = "######################################################################";
    const struct value *v = value_get(record, "progress");
    double done = v && v->kind == VALUE_FLOAT ? v->d : 0;
    int percent = done < 0 ? 0 : done > 1 ? 100 : (int)(done * 100);
    char text[REF_TEXT];

    switch (p->bar) {
    case BAR_PERCENT:
        cmd_printf_error(c, "\r %3d%%", percent);
        break;
    case BAR_LONG:
        cmd_printf_error(c, "\r %3d%% %c %.*s%s", percent, "|/-\\"[percent % 4], percent * 70 / 100, hashes,
                         last ? "\n" : "");
        break;
    case BAR_NONE:
        if (p->client && !last)
            c->env->working(c->env->client, c->env->session(c->env->arg), ref_text(p->task, text), done);
    }
}

void cmd_progress_end(struct cmd *c, struct cmd_progress *p)
{
    if (p->bar == BAR_PERCENT) cmd_print_error(c, "");
    if (p->told) c->env->working(c->env->client, "", NULL, 0);
}

/* ---- waiting ----------------------------------------------------------------------------------------- */

/* A task that is being cancelled has not ended. */
static bool is_over(const struct value *record)
{
    const char *status = cmd_member_text(record, "status");

    return !streq(status, "pending") && !streq(status, "cancelling");
}

int cmd_wait_for_task(struct cmd *c, struct cmd_progress *p, int timeout_ms, struct value *ret_record,
                      struct xerr *err)
{
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);
    char text[REF_TEXT], token[CMD_TOKEN] = "";
    const char *what = arena_printf(c->arena, "task/%s", ref_text(p->task, text));

    for (;;) {
        _cleanup_arena_ struct arena *record_arena = arena_new();
        struct arena *kept = c->arena;
        struct value record;
        int rc, left_ms;
        bool over = false;

        left_ms = clock_poll_ms(deadline_ns, WATCH_MS);
        if (cmd_watch(c, what, token, left_ms, err) < 0) return -1;
        c->arena = record_arena;       /* hours may go by: what is read meanwhile is not kept */
        rc = cmd_call(c, "task.get_record", CMD_ARGS(value_ref(p->task)), &record, err);
        if (!rc) {
            over = is_over(&record);
            cmd_progress_show(c, p, &record, over);
        }
        c->arena = kept;
        if (rc) return -1;
        if (over || !left_ms) {
            *ret_record = value_copy(c->arena, &record);
            return 0;
        }
        if (c->env->gone(c->env->client)) return cmd_exit(err, 1);
    }
}

bool cmd_goes_as_task(struct cmd *c, const char *method)
{
    const struct method_desc *m = c->env->working && !c->local ? model_method(method) : NULL;

    return m && m->blocks && m->async;
}

static int run(struct cmd *c, const char *method, struct cmd_progress *p, struct value *ret_result, struct xerr *err)
{
    struct value record;

    if (cmd_wait_for_task(c, p, -1, &record, err) < 0) return -1;
    if (!streq(cmd_member_text(&record, "status"), "success")) return cmd_task_failure(c, p->task, &record, err);
    return read_result(c, cmd_member_text(&record, "result"), model_method(method)->result, ret_result, err);
}

int cmd_call_as_task(struct cmd *c, const char *method, const struct value *args, size_t n, enum cmd_bar bar,
                     struct value *ret_result, struct xerr *err)
{
    struct cmd_progress p;
    struct ref task;
    int rc;

    /* From now on a Ctrl-C means the task, which has no name yet. One that came before has ended the client. */
    if (c->env->working) c->env->working(c->env->client, "", "", CMD_BEGINS);
    if (c->env->gone(c->env->client)) return cmd_exit(err, 1);
    if (cmd_call_ref(c, arena_printf(c->arena, "Async.%s", method), args, n, &task, err) < 0) {
        if (c->env->working) c->env->working(c->env->client, "", NULL, 0);
        return -1;
    }
    rc = cmd_progress_begin(c, task, bar, &p, err);
    if (!rc) rc = run(c, method, &p, ret_result, err);
    if (!rc || !c->env->gone(c->env->client)) {
        cmd_progress_end(c, &p);
        /* It has served. Of a client that has gone it is left to run. */
        (void)cmd_do(c, "task.destroy", CMD_ARGS(value_ref(task)), NULL);
    }
    return rc;
}

int cmd_work(struct cmd *c, const char *method, const struct value *args, size_t n, struct value *ret_result,
             struct xerr *err)
{
    const struct method_desc *m = model_method(method);
    struct value dropped;
    bool progress;

    if (!ret_result) ret_result = &dropped;
    if (cmd_get_bool(c, "progress", false, &progress, err) < 0) return -1;
    if (progress && m && m->async && !c->local) return cmd_call_as_task(c, method, args, n, BAR_LONG, ret_result, err);
    return cmd_call(c, method, args, n, ret_result, err);
}
