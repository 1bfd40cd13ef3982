/* CLASS-list --watch: the list now, then what changes, told by events until the client goes.
 * Called by: cmd_list.c.  Calls: cmd_list, cmd_field, cmd_json, cmd_env.
 *
 * watch=ROWSxCOLUMNS (which xe makes of --watch on a terminal) draws the screen anew after a change.
 * Otherwise a change is a line, with --json an object on a line. */
#include "xe/cmd_list.h"

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/utf8.h"
#include "xe/cmd_quirk.h"

#include <stdio.h>
#include <time.h>

enum {
    WAIT_MS = 5000,   /* then look whether the client is still there */
    LOOK_MS = 1000,   /* everything is looked at no more often than that */
    MAX_SIDE = 10000, /* of a screen */
    MAX_WIDTH = 48,   /* of one column */
};

/* A row as it was last shown. */
struct seen {
    char *uuid, *name; /* for the order; name "" when there is none */
    char **cells;      /* by column: text, or JSON with --json */
    bool present;      /* still there in the look that is going on */
};

struct watcher {
    struct cmd *c;
    const struct list *list;
    unsigned *columns; /* indexes of fields */
    size_t n_columns;
    struct refmap *seen;  /* of struct seen, by reference */
    struct value classes; /* what is subscribed to; the class of the list first */
    int rows, cols;       /* of the screen, 0 = lines */
    bool begun;           /* the first look is over */
    bool changed;         /* since the screen was drawn */
};

/* ---- rows -------------------------------------------------------------------------------------------- */

static void seen_free(struct seen *s, size_t n)
{
    if (!s) return;
    for (size_t i = 0; s->cells && i < n; i++) free(s->cells[i]);
    free(s->cells);
    free(s->uuid);
    free(s->name);
    free(s);
}

/* What an object shows now. */
static struct seen *look_at(struct watcher *w, struct cmd_object_row *row, struct xerr *err)
{
    struct seen *s = xcalloc(1, sizeof *s);

    s->uuid = xstrdup(value_get_str(row->record, "uuid", ""));
    s->name = xstrdup(value_get_str(row->record, "name_label", ""));
    s->cells = xcalloc(w->n_columns + 1, sizeof *s->cells);
    for (size_t i = 0; i < w->n_columns; i++) {
        const struct xe_field *f = &row->type->fields[w->columns[i]];
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        const char *text = "<expensive field>";
        int rc = 0;

        if (w->c->json)
            rc = cmd_field_json(w->c, row, f, &b, err);
        else if (!f->expensive)
            rc = cmd_field_text(w->c, row, f, &text, err);
        if (rc < 0) {
            seen_free(s, w->n_columns);
            return NULL;
        }
        s->cells[i] = w->c->json ? strbuf_take(&b) : xstrdup(text);
    }
    return s;
}

/* ---- lines ------------------------------------------------------------------------------------------- */

/* As it is when that is one word, else quoted. */
static void put_word(const char *text, struct strbuf *out)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@%+,-<>()";

    if (*text && !text[strspn(text, plain)])
        strbuf_str(out, text);
    else
        json_encode_string(text, strlen(text), out);
}

/* event uuid=... field=value ...; old NULL: all columns, else those that differ. */
static void print_line(struct watcher *w, const char *event, const struct seen *s, const struct seen *old)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    strbuf_printf(&b, "%s uuid=%s", event, s->uuid);
    for (size_t i = 0; i < w->n_columns; i++) {
        const char *name = w->list->type->fields[w->columns[i]].name;

        if (streq(name, "uuid") || (old && streq(old->cells[i], s->cells[i]))) continue;
        strbuf_printf(&b, " %s=", name);
        put_word(s->cells[i], &b);
    }
    cmd_print(w->c, strbuf_cstr(&b));
}

/* {"event": ..., "changed": [...], "object": {...}} */
static void print_json(struct watcher *w, const char *event, const struct seen *s, const struct seen *old)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const struct xe_field *fields = w->list->type->fields;
    bool any = false;

    strbuf_printf(&b, "{\"event\":\"%s\",", event);
    if (old) strbuf_str(&b, "\"changed\":[");
    for (size_t i = 0; old && i < w->n_columns; i++) {
        if (streq(old->cells[i], s->cells[i])) continue;
        strbuf_printf(&b, "%s\"%s\"", any ? "," : "", fields[w->columns[i]].name);
        any = true;
    }
    strbuf_str(&b, old ? "],\"object\":{" : "\"object\":{");
    for (size_t i = 0; i < w->n_columns; i++) {
        json_member_begin(fields[w->columns[i]].name, &b);
        strbuf_str(&b, s->cells[i]);
    }
    strbuf_str(&b, "}}");
    cmd_print(w->c, strbuf_cstr(&b));
}

static void tell(struct watcher *w, const char *event, const struct seen *s, const struct seen *old)
{
    w->changed = true;
    if (w->rows) return;
    if (w->c->json)
        print_json(w, event, s, old);
    else
        print_line(w, event, s, old);
}

/* ---- changes ----------------------------------------------------------------------------------------- */

/* An object that is there and matches; takes s. */
static void is_there(struct watcher *w, struct ref ref, struct seen *s)
{
    struct seen *old = refmap_put(w->seen, ref, s);
    bool same = old != NULL;

    s->present = true;
    for (size_t i = 0; i < w->n_columns && same; i++) same = streq(old->cells[i], s->cells[i]);
    if (!old)
        tell(w, w->begun ? "add" : "list", s, NULL);
    else if (!same)
        tell(w, "mod", s, old);
    seen_free(old, w->n_columns);
}

/* One that is not there, or does not match any more. */
static void is_gone(struct watcher *w, struct ref ref)
{
    struct seen *old = refmap_remove(w->seen, ref);

    if (old) tell(w, "del", old, NULL);
    seen_free(old, w->n_columns);
}

static int look_at_row(struct watcher *w, struct cmd_object_row *row, struct xerr *err)
{
    struct seen *s = look_at(w, row, err);

    if (!s) return -1;
    is_there(w, row->ref, s);
    return 0;
}

static int look_at_all(struct watcher *w, struct xerr *err)
{
    struct cmd_object_row *rows;
    struct ref *gone, ref;
    size_t n, n_gone = 0;
    void *value;

    if (list_fetch(w->c, w->list, &rows, &n, err) < 0) return -1;
    for (size_t at = 0; refmap_next(w->seen, &at, &ref, &value);) ((struct seen *)value)->present = false;
    for (size_t i = 0; i < n; i++)
        if (look_at_row(w, &rows[i], err) < 0) return -1;
    gone = arena_new_array(w->c->arena, struct ref, refmap_count(w->seen) + 1);
    for (size_t at = 0; refmap_next(w->seen, &at, &ref, &value);)
        if (!((struct seen *)value)->present) gone[n_gone++] = ref;
    for (size_t i = 0; i < n_gone; i++) is_gone(w, gone[i]);
    return 0;
}

/* Events of the list's own class come with the record: only their rows are looked at. *ret_others: there were
 * others, of classes behind references. */
static int follow_events(struct watcher *w, const struct value *events, bool *ret_others, struct xerr *err)
{
    const char *own = w->classes.set.items[0].s;

    *ret_others = false;
    for (size_t i = 0; events->kind == VALUE_SET && i < events->set.n; i++) {
        const struct value *e = &events->set.items[i], *record = value_get(e, "snapshot");
        struct cmd_object_row row = { .type = w->list->type,
                                      .ref = cmd_member_ref(e, "ref"),
                                      .record = record };
        size_t n = 1;

        if (!streq(cmd_member_text(e, "class"), own)) {
            *ret_others = true;
        } else if (streq(cmd_member_text(e, "operation"), "del") || !record) {
            is_gone(w, row.ref);
        } else {
            if (list_filter(w->c, w->list, &row, &n, err) < 0) return -1;
            if (!n)
                is_gone(w, row.ref);
            else if (look_at_row(w, &row, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* ---- the screen -------------------------------------------------------------------------------------- */

/* Columns that a character takes. */
static unsigned width_of(uint32_t cp)
{
    static const struct {
        uint32_t first, last;
    } wide[] = {
        { 0x1100, 0x115f }, { 0x2e80, 0xa4cf },   { 0xac00, 0xd7a3 },
        { 0xf900, 0xfaff }, { 0xfe30, 0xfe6f },   { 0xff00, 0xff60 },
        { 0xffe0, 0xffe6 }, { 0x1f300, 0x1faff }, { 0x20000, 0x3fffd },
    };

    if (cp >= 0x300 && cp <= 0x36f) return 0;
    for (size_t i = 0; i < ARRAY_SIZE(wide); i++)
        if (cp >= wide[i].first && cp <= wide[i].last) return 2;
    return 1;
}

/* Appends at most max columns of a text; what a terminal would obey is shown as '?'. How many columns. */
static unsigned put_cell(const char *text, unsigned max, struct strbuf *out)
{
    size_t n = strlen(text);
    unsigned used = 0;

    while (n) {
        uint32_t cp;
        unsigned len = utf8_next(text, n, &cp), width;

        if (!len || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) cp = '?';
        width = width_of(cp);
        if (used + width > max) break;
        used += width;
        if (cp == '?')
            strbuf_char(out, '?');
        else
            strbuf_add(out, text, len);
        text += len ? len : 1;
        n -= len ? len : 1;
    }
    return used;
}

static unsigned text_width(const char *text)
{
    _cleanup_strbuf_ struct strbuf dropped = STRBUF_INIT;

    return put_cell(text, MAX_WIDTH, &dropped);
}

static int by_name(const void *a, const void *b)
{
    const struct seen *x = *(const struct seen *const *)a, *y = *(const struct seen *const *)b;
    int order = strcmp(x->name, y->name);

    return order ? order : strcmp(x->uuid, y->uuid);
}

/* One line of the table. cells NULL: the head. */
static void put_table_line(struct watcher *w, char *const *cells, const unsigned *widths, struct strbuf *out)
{
    unsigned left = (unsigned)w->cols;

    for (size_t i = 0; i < w->n_columns && left; i++) {
        const char *text = cells ? cells[i] : w->list->type->fields[w->columns[i]].name;
        unsigned room = widths[i] < left ? widths[i] : left, used = put_cell(text, room, out);

        left -= room;
        if (i + 1 == w->n_columns || !left) break;
        while (used++ < room) strbuf_char(out, ' ');
        for (int gap = 0; gap < 2 && left; gap++, left--) strbuf_char(out, ' ');
    }
    strbuf_str(out, "\033[K\n");
}

/* From the top left corner, each line up to its end, then the rest: nothing flickers. */
static void draw(struct watcher *w)
{
    size_t n = 0, room = w->rows > 3 ? (size_t)w->rows - 3 : 1;
    struct seen **rows = arena_new_array(w->c->arena, struct seen *, refmap_count(w->seen) + 1);
    unsigned *widths = arena_new_array(w->c->arena, unsigned, w->n_columns + 1);
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_strbuf_ struct strbuf head = STRBUF_INIT;
    struct ref ref;
    void *value;

    for (size_t at = 0; refmap_next(w->seen, &at, &ref, &value);) rows[n++] = value;
    qsort(rows, n, sizeof *rows, by_name);
    for (size_t i = 0; i < w->n_columns; i++) {
        widths[i] = text_width(w->list->type->fields[w->columns[i]].name);
        for (size_t k = 0; k < n; k++)
            if (text_width(rows[k]->cells[i]) > widths[i]) widths[i] = text_width(rows[k]->cells[i]);
    }
    strbuf_str(&b, w->begun ? "\033[H" : "\033[2J\033[H");
    strbuf_printf(&head, "%s: %zu", w->c->name, n);
    put_cell(strbuf_cstr(&head), (unsigned)w->cols, &b);
    strbuf_str(&b, "\033[K\n");
    put_table_line(w, NULL, widths, &b);
    for (size_t i = 0; i < n && i < room; i++) {
        if (i + 1 == room && n > room)
            strbuf_printf(&b, "... %zu more\033[K\n", n - i);
        else
            put_table_line(w, rows[i]->cells, widths, &b);
    }
    b.len--; /* the client ends the line */
    b.ptr[b.len] = '\0';
    strbuf_str(&b, "\033[J");
    cmd_print(w->c, strbuf_cstr(&b));
    w->changed = false;
}

/* ---- the watch --------------------------------------------------------------------------------------- */

/* The class of the list, and those behind references whose fields are shown. */
static struct value subscriptions(struct cmd *c, const struct list *l)
{
    struct value_builder b = value_builder(c->arena);

    value_push(&b, value_string(model.classes[l->type->cls].event_name));
    for (unsigned i = 0; i < l->type->n_fields; i++) {
        const struct xe_field *f = &l->type->fields[i];
        const struct field_quirk *q = field_quirk(l->type->cls, f->name);
        field_id through = q && q->field ? q->through : f->through;
        struct value so_far = value_built_set(&b);
        const struct class_desc *class;

        if (!l->titles[i] || !through || (q && q->get)) continue;
        class = &model.classes[field_class(through)];
        if (class->evented && !value_has(&so_far, class->event_name))
            value_push(&b, value_string(class->event_name));
    }
    return value_built_set(&b);
}

/* What the look began with; the token is of before, so that nothing falls between. */
static int first_look(struct watcher *w, char token[CMD_TOKEN], struct xerr *err)
{
    struct cmd *c = w->c;

    token[0] = '\0';
    if (c->env->watch(c->env->arg, &w->classes, token, 0, c->arena, NULL, err) < 0) return -1;
    return look_at_all(w, err);
}

/* Waits, and shows what has changed. last_ns: when everything was looked at. */
static int next_look(struct watcher *w, char token[CMD_TOKEN], int64_t *last_ns, struct xerr *err)
{
    struct cmd *c = w->c;
    struct value events;
    bool others;

    if (c->env->watch(c->env->arg, &w->classes, token, WAIT_MS, c->arena, &events, err) < 0) {
        if (!xerr_is(err, "EVENTS_LOST")) return -1;
        xerr_clear(err);
        return first_look(w, token, err);
    }
    if (follow_events(w, &events, &others, err) < 0) return -1;
    if (!others) return 0;
    /* Busy classes come again and again; what they change can wait that long. */
    if (clock_monotonic_ns() < *last_ns + LOOK_MS * NS_PER_MS) {
        int64_t left = *last_ns + LOOK_MS * NS_PER_MS - clock_monotonic_ns();
        const struct timespec pause = { .tv_nsec = left > 0 && left < NS_PER_S ? (long)left : 0 };

        nanosleep(&pause, NULL);
    }
    *last_ns = clock_monotonic_ns();
    return look_at_all(w, err);
}

static int watch(struct watcher *w, struct xerr *err)
{
    struct arena *outer = w->c->arena;
    int64_t last_ns = clock_monotonic_ns();
    char token[CMD_TOKEN];
    int rc;

    for (;;) {
        _cleanup_arena_ struct arena *a = arena_new();

        w->c->arena = a; /* a watch may last for days: what a look takes is given back */
        rc = w->begun ? next_look(w, token, &last_ns, err) : first_look(w, token, err);
        if (rc == 0 && w->rows && (w->changed || !w->begun)) draw(w);
        w->begun = true;
        cmd_forget(w->c);
        w->c->arena = outer;
        if (rc < 0) return -1;
        if (w->c->env->gone(w->c->env->client)) return cmd_exit(err, 1);
    }
}

/* "true", or "ROWSxCOLUMNS" of a terminal. */
static int read_size(struct watcher *w, const char *text, struct xerr *err)
{
    bool yes;
    char end;

    if (sscanf(text, "%5dx%5d%c", &w->rows, &w->cols, &end) == 2 && w->rows > 0 && w->rows <= MAX_SIDE &&
        w->cols > 0 && w->cols <= MAX_SIDE) {
        if (w->c->json) w->rows = w->cols = 0;
        return 0;
    }
    w->rows = w->cols = 0;
    if (cmd_parse_bool("watch", text, &yes, err) < 0) return -1;
    return yes ? 0 : cmd_fail(err, "Parameter 'watch' can only be true");
}

int cmd_watch_list(struct cmd *c, const struct list *l, struct xerr *err)
{
    struct watcher w = { .c = c, .list = l };
    struct ref ref;
    void *value;
    int rc;

    if (c->minimal) return cmd_fail(err, "--watch and --minimal exclude each other");
    if (!model.classes[l->type->cls].evented)
        return cmd_fail(err, "--watch: there are no events of class '%s'", l->type->name);
    if (read_size(&w, cmd_need(c, "watch"), err) < 0) return -1;
    w.columns = arena_new_array(c->arena, unsigned, l->type->n_fields + 1);
    for (int last = 0; last < 2; last++) /* on a screen the uuid may be cut off, not the rest */
        for (unsigned i = 0; i < l->type->n_fields; i++)
            if (l->titles[i] && !(c->json && l->type->fields[i].expensive) &&
                (w.rows && streq(l->type->fields[i].name, "uuid")) == last)
                w.columns[w.n_columns++] = i;
    w.classes = subscriptions(c, l);
    w.seen = refmap_new();
    rc = watch(&w, err);
    for (size_t at = 0; refmap_next(w.seen, &at, &ref, &value);) seen_free(value, w.n_columns);
    refmap_free(w.seen);
    return rc;
}
