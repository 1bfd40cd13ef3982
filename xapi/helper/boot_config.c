/* Boot loaders' configuration files: GRUB 2 and 1, extlinux, the Boot Loader Specification.
 * Called by: bootloader.c.  Calls: lib.
 *
 * GRUB 2's file is a script; it is read as the list of its menu entries, with the variables that were set before them.
 * Conditions are not evaluated: of several defaults the last that is a plain number or text wins, as with pygrub. */
#include "xapi/helper/boot_config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/strbuf.h"

enum { MAX_WORDS = 512, MAX_LINE = 16384, MAX_DEPTH = 16, MAX_VARIABLES = 256, MAX_LINES = 100000 };

/* ---- lines and words -------------------------------------------------------------------------- */

struct lines {
    const char *at, *end;
    size_t n;
};

/* The next line into buf, continued lines joined; false at the end. What is too long is cut. */
static bool next_line(struct lines *l, struct strbuf *buf)
{
    strbuf_clear(buf);
    if (l->at >= l->end || l->n++ >= MAX_LINES) return false;
    for (;;) {
        const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at)), *end = newline ? newline : l->end;
        size_t len = (size_t)(end - l->at);
        bool more = len && end[-1] == '\\' && newline;
        if (more) len--;
        for (size_t i = 0; i < len && buf->len < MAX_LINE; i++)
            strbuf_char(buf, l->at[i] && l->at[i] != '\r' ? l->at[i] : ' ');
        l->at = newline ? newline + 1 : l->end;
        if (!more || l->at >= l->end) break;
    }
    if (!buf->ptr) strbuf_reserve(buf, 1);
    buf->ptr[buf->len] = '\0';
    return true;
}

struct variable { const char *name, *value; };
struct scope {
    struct arena *arena;
    struct variable variables[MAX_VARIABLES];
    size_t n;
    const char *environment;
};

static void set_variable(struct scope *s, const char *name, const char *value)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!streq(s->variables[i].name, name)) continue;
        s->variables[i].value = value;
        return;
    }
    if (s->n < MAX_VARIABLES) s->variables[s->n++] = (struct variable){ name, value };
}

static const char *get_variable(const struct scope *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (streq(s->variables[i].name, name)) return s->variables[i].value;
    const char *value = boot_environment(s->environment, name, s->arena);
    return value ? value : "";
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* "$name" or "${name}" at p: its value appended, and what follows it returned. */
static const char *expand(const struct scope *s, const char *p, struct strbuf *out)
{
    bool braces = p[1] == '{';
    const char *from = p + 1 + braces, *to = from;

    while (name_char(*to)) to++;
    if (to == from || (braces && *to != '}')) {
        strbuf_char(out, '$');
        return p + 1;
    }
    const char *value = get_variable(s, arena_strndup(s->arena, from, (size_t)(to - from)));
    if (out->len < MAX_LINE) strbuf_str(out, value);
    return to + braces;
}

/* One word from p: quotes are taken off, variables put in unless in single quotes. NULL = the line has no more. */
static const char *next_word(const struct scope *s, const char *p, struct strbuf *out)
{
    char quote = '\0';

    strbuf_clear(out);
    while (*p == ' ' || *p == '\t') p++;
    if (!*p || *p == '#') return NULL;
    while (*p && (quote || (*p != ' ' && *p != '\t'))) {
        if (out->len > MAX_LINE) break;
        if (quote ? *p == quote : (*p == '"' || *p == '\'')) {
            quote = quote ? '\0' : *p;
            p++;
        } else if (*p == '\\' && quote != '\'' && p[1]) {
            strbuf_char(out, p[1]);
            p += 2;
        } else if (*p == '$' && quote != '\'') {
            p = expand(s, p, out);
        } else {
            strbuf_char(out, *p++);
        }
    }
    return p;
}

struct words {
    const char *all[MAX_WORDS];
    size_t n;
};

static void split(const struct scope *s, const char *line, struct words *w)
{
    _cleanup_strbuf_ struct strbuf word = STRBUF_INIT;

    w->n = 0;
    for (const char *p = line; w->n < MAX_WORDS && (p = next_word(s, p, &word));)
        w->all[w->n++] = arena_strdup(s->arena, strbuf_cstr(&word));
}

/* The words from `first` on, as one text. */
static const char *join(struct arena *a, const struct words *w, size_t first)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (size_t i = first; i < w->n && b.len < BOOT_MAX_ARGS; i++) {
        if (b.len) strbuf_char(&b, ' ');
        strbuf_str(&b, w->all[i]);
    }
    return arena_strndup(a, strbuf_cstr(&b), b.len < BOOT_MAX_ARGS ? b.len : BOOT_MAX_ARGS);
}

/* ---- entries ---------------------------------------------------------------------------------- */

static struct boot_entry *add_entry(struct boot_config *c, struct arena *a, const char *title, const char *id)
{
    if (c->n == BOOT_MAX_ENTRIES) return NULL;
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        struct boot_entry *more = arena_new_array(a, struct boot_entry, cap);
        if (c->n) memcpy(more, c->entries, c->n * sizeof *more);
        c->entries = more;
        c->cap = cap;
    }
    struct boot_entry *e = &c->entries[c->n++];
    *e = (struct boot_entry){ .title = title, .id = id, .kernel = "", .args = "", .top = c->n - 1 };
    return e;
}

/* "(hd0,1)/vmlinuz" and "/vmlinuz" are the same here. */
static const char *path_of(struct arena *a, const char *word)
{
    if (*word == '(') {
        const char *end = strchr(word, ')');
        word = end ? end + 1 : "";
    }
    return *word && *word != '/' ? arena_printf(a, "/%s", word) : word;
}

static void add_ramdisk(struct boot_entry *e, const char *path)
{
    if (*path && e->n_ramdisks < BOOT_MAX_RAMDISKS) e->ramdisks[e->n_ramdisks++] = path;
}

const char *boot_environment(const char *environment, const char *name, struct arena *a)
{
    size_t n = strlen(name);

    for (const char *p = environment; *p;) {
        size_t len = strcspn(p, "\n");
        if (len > n && !strncmp(p, name, n) && p[n] == '=') return arena_strndup(a, p + n + 1, len - n - 1);
        p += len + (p[len] == '\n');
    }
    return NULL;
}

/* ---- GRUB 2 ----------------------------------------------------------------------------------- */

struct grub2 {
    struct scope scope;
    struct boot_config *config;
    struct boot_entry *entry;        /* whose lines these are; NULL = none's */
    struct { bool menu; const char *title; } blocks[MAX_DEPTH];
    size_t depth;
    size_t top, nested;              /* numbers given so far */
};

static const char *full_title(struct grub2 *g, const char *title)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < g->depth; i++)
        if (g->blocks[i].menu && b.len < MAX_LINE) strbuf_printf(&b, "%s>", g->blocks[i].title);
    strbuf_str(&b, title);
    return arena_strdup(g->scope.arena, strbuf_cstr(&b));
}

/* menuentry 'title' ... --id id {   or   $menuentry_id_option 'id', whose variable is empty here */
static const char *entry_id(const struct words *w)
{
    for (size_t i = 2; i + 1 < w->n; i++)
        if (streq(w->all[i], "--id") || !*w->all[i]) return w->all[i + 1];
    return "";
}

static void open_block(struct grub2 *g, const struct words *w)
{
    bool entry = streq(w->all[0], "menuentry");
    const char *title = w->n > 1 ? w->all[1] : "";

    if (g->depth == MAX_DEPTH) return;
    if (!g->depth) {
        g->top++;
        g->nested = 0;
    }
    if (entry) g->entry = add_entry(g->config, g->scope.arena, full_title(g, title), entry_id(w));
    if (entry && g->entry) {
        g->entry->top = g->top - 1;
        g->entry->nested = g->nested++;
    }
    g->blocks[g->depth].menu = !entry;
    g->blocks[g->depth].title = title;
    g->depth++;
}

static void close_block(struct grub2 *g)
{
    if (!g->depth) return;
    if (!g->blocks[--g->depth].menu) g->entry = NULL;
}

static void set_grub2(struct grub2 *g, const struct words *w)
{
    const char *equals = w->n > 1 ? strchr(w->all[1], '=') : NULL;

    if (!equals || g->entry) return;
    const char *name = arena_strndup(g->scope.arena, w->all[1], (size_t)(equals - w->all[1])), *value = equals + 1;
    set_variable(&g->scope, name, value);
    if (streq(name, "default") && *value) g->config->wanted = value;
}

static bool is_one_of(const char *word, const char *const *all)
{
    for (; *all; all++)
        if (streq(word, *all)) return true;
    return false;
}

static void take_grub2(struct grub2 *g, const struct words *w)
{
    static const char *const kernels[] = { "linux", "linux16", "linuxefi", NULL };
    static const char *const ramdisks[] = { "initrd", "initrd16", "initrdefi", NULL };
    const char *word = w->n ? w->all[0] : "";
    struct boot_entry *e = g->entry;

    if (streq(word, "menuentry") || streq(word, "submenu")) open_block(g, w);
    else if (streq(word, "}")) close_block(g);
    else if (streq(word, "set")) set_grub2(g, w);
    else if (streq(word, "blscfg")) g->config->blscfg = true;
    else if (e && w->n > 1 && is_one_of(word, kernels)) {
        e->kernel = path_of(g->scope.arena, w->all[1]);
        e->args = join(g->scope.arena, w, 2);
    } else if (e && is_one_of(word, ramdisks)) {
        for (size_t i = 1; i < w->n; i++) add_ramdisk(e, path_of(g->scope.arena, w->all[i]));
    }
}

/* ---- GRUB 1 and extlinux ---------------------------------------------------------------------- */

/* "default=0" and "default 0". */
static void split_assignment(struct arena *a, struct words *w)
{
    const char *equals = w->n == 1 ? strchr(w->all[0], '=') : NULL;

    if (!equals) return;
    w->all[1] = equals + 1;
    w->all[0] = arena_strndup(a, w->all[0], (size_t)(equals - w->all[0]));
    w->n = 2;
}

static bool is_xen(const char *path)
{
    const char *slash = strrchr(path, '/');

    return has_prefix(slash ? slash + 1 : path, "xen");
}

static void take_grub1(struct boot_config *c, struct arena *a, struct words *w)
{
    struct boot_entry *e = c->n ? &c->entries[c->n - 1] : NULL;

    split_assignment(a, w);
    if (w->n < 2) return;
    if (streq(w->all[0], "default")) c->wanted = w->all[1];
    else if (streq(w->all[0], "title")) add_entry(c, a, join(a, w, 1), "");
    else if (!e) return;
    else if (streq(w->all[0], "kernel") && !is_xen(w->all[1])) {
        e->kernel = path_of(a, w->all[1]);
        e->args = join(a, w, 2);
    } else if (streq(w->all[0], "module") && !*e->kernel) {
        e->kernel = path_of(a, w->all[1]);
        e->args = join(a, w, 2);
    } else if (streq(w->all[0], "initrd") || streq(w->all[0], "module")) {
        add_ramdisk(e, path_of(a, w->all[1]));
    }
}

static void take_append(struct boot_entry *e, struct arena *a, const struct words *w)
{
    struct words rest = { .n = 0 };

    for (size_t i = 1; i < w->n; i++) {
        if (has_prefix(w->all[i], "initrd=")) add_ramdisk(e, path_of(a, w->all[i] + 7));
        else rest.all[rest.n++] = w->all[i];
    }
    e->args = join(a, &rest, 0);
}

static void take_extlinux(struct boot_config *c, struct arena *a, const struct words *w)
{
    struct boot_entry *e = c->n ? &c->entries[c->n - 1] : NULL;
    const char *word = w->n > 1 ? w->all[0] : "";

    if (!strcasecmp(word, "default")) c->wanted = w->all[1];
    else if (!strcasecmp(word, "label")) add_entry(c, a, w->all[1], w->all[1]);
    else if (e && (!strcasecmp(word, "kernel") || !strcasecmp(word, "linux"))) e->kernel = path_of(a, w->all[1]);
    else if (e && !strcasecmp(word, "initrd")) add_ramdisk(e, path_of(a, w->all[1]));
    else if (e && !strcasecmp(word, "append")) take_append(e, a, w);
}

/* ---- reading, choosing ------------------------------------------------------------------------- */

void boot_parse(enum boot_syntax syntax, const char *text, size_t len, const char *environment, struct arena *a,
                struct boot_config *ret)
{
    _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;
    struct grub2 *g = arena_zalloc(a, sizeof *g);
    struct words *w = arena_alloc(a, sizeof *w);
    struct lines l = { text, text + len, 0 };

    *ret = (struct boot_config){ .wanted = "" };
    g->scope.arena = a;
    g->scope.environment = environment;
    g->config = ret;
    while (next_line(&l, &line)) {
        split(&g->scope, strbuf_cstr(&line), w);
        if (syntax == BOOT_GRUB2) take_grub2(g, w);
        else if (syntax == BOOT_GRUB1) take_grub1(ret, a, w);
        else take_extlinux(ret, a, w);
    }
}

void boot_parse_bls(const char *text, size_t len, const char *environment, const char *id, struct arena *a,
                    struct boot_config *config)
{
    _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;
    struct scope *s = arena_zalloc(a, sizeof *s);
    struct words *w = arena_alloc(a, sizeof *w);
    struct boot_entry *e = add_entry(config, a, "", arena_strdup(a, id));
    struct lines l = { text, text + len, 0 };

    s->arena = a;
    s->environment = environment;
    while (e && next_line(&l, &line)) {
        split(s, strbuf_cstr(&line), w);
        if (w->n < 2) continue;
        if (streq(w->all[0], "title")) e->title = join(a, w, 1);
        else if (streq(w->all[0], "linux")) e->kernel = path_of(a, w->all[1]);
        else if (streq(w->all[0], "options")) e->args = join(a, w, 1);
        else if (streq(w->all[0], "initrd"))
            for (size_t i = 1; i < w->n; i++) add_ramdisk(e, path_of(a, w->all[i]));
    }
}

/* "2" is the third of the menu, "2>1" the second of the submenu there. */
static bool is_number(const char *wish, size_t *ret_top, size_t *ret_nested)
{
    unsigned top, nested = 0;
    int end = 0;

    if (sscanf(wish, "%6u%n>%6u%n", &top, &end, &nested, &end) < 1 || wish[end]) return false;
    *ret_top = top;
    *ret_nested = nested;
    return true;
}

static const struct boot_entry *find(const struct boot_config *c, const char *wish)
{
    size_t top, nested;
    const char *last = strrchr(wish, '>');

    if (is_number(wish, &top, &nested)) {
        for (size_t i = 0; i < c->n; i++)
            if (c->entries[i].top == top && c->entries[i].nested == nested) return &c->entries[i];
        return NULL;
    }
    for (size_t i = 0; i < c->n && *wish; i++)
        if (streq(c->entries[i].title, wish) || streq(c->entries[i].id, wish)) return &c->entries[i];
    /* "Submenu's id>entry's id" */
    for (size_t i = 0; last && last[1] && i < c->n; i++)
        if (streq(c->entries[i].id, last + 1)) return &c->entries[i];
    return NULL;
}

const struct boot_entry *boot_choose(const struct boot_config *config, const char *wish)
{
    const struct boot_entry *e = find(config, *wish ? wish : config->wanted);

    if (e && *e->kernel) return e;
    if (*wish) return NULL;                  /* asked for by name: no other will do */
    for (size_t i = 0; i < config->n; i++)
        if (*config->entries[i].kernel) return &config->entries[i];
    return NULL;
}
