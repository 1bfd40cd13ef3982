/* Options from a table, the command line and a file.
 * Called by: main programs.  Calls: num, strbuf. */
#include "lib/conf.h"

#include "lib/num.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

enum source { FROM_DEFAULT, FROM_FILE, FROM_ARGS };

/* What a text means for an option. */
struct setting {
    int64_t number;
    const char *text;
};

struct slot {
    _Atomic int64_t number;
    _Atomic(const char *) text;
    enum source source;
};

struct kept_text {
    struct kept_text *next;
    char text[];
};

struct conf {
    const struct conf_option *options;
    size_t n;
    struct slot *slots;
    struct kept_text *texts;   /* every distinct text a reader may still hold */
};

enum { MAX_FILE = 1 << 20 };

/* ---- what values mean ---- */

struct suffix {
    const char *text;
    int64_t factor;
};

static const struct suffix durations[] = {
    { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { "h", 3600000 }, { "d", 86400000 },
    { NULL, 0 },
};

static const struct suffix sizes[] = {
    { "", 1 }, { "B", 1 },
    { "K", INT64_C(1) << 10 }, { "KiB", INT64_C(1) << 10 }, { "M", INT64_C(1) << 20 },
    { "MiB", INT64_C(1) << 20 },
    { "G", INT64_C(1) << 30 }, { "GiB", INT64_C(1) << 30 }, { "T", INT64_C(1) << 40 },
    { "TiB", INT64_C(1) << 40 },
    { NULL, 0 },
};

static bool parse_scaled(const char *s, const struct suffix *suffixes, int64_t *ret_number)
{
    size_t n = strspn(s, "0123456789");
    const char *unit = s + n + strspn(s + n, " ");
    char digits[24];
    int64_t number;

    if (!n || n >= sizeof(digits)) return false;
    memcpy(digits, s, n);
    digits[n] = '\0';
    while (suffixes->text && !streq(suffixes->text, unit)) suffixes++;
    if (!suffixes->text || !num_parse_int(digits, &number)) return false;
    return !__builtin_mul_overflow(number, suffixes->factor, ret_number);
}

static bool parse_bool(const char *s, int64_t *ret_number)
{
    static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!streq(words[i], s)) continue;
        *ret_number = i & 1;
        return true;
    }
    return false;
}

static bool parse_choice(const struct conf_option *o, const char *s, int64_t *ret_number)
{
    for (size_t i = 0; o->choices[i]; i++) {
        if (!streq(o->choices[i], s)) continue;
        *ret_number = (int64_t)i;
        return true;
    }
    return false;
}

/* What a wrong text should have been; NULL when it is right. */
static const char *parse_setting(const struct conf_option *o, const char *s, struct setting *ret)
{
    *ret = (struct setting){ 0, s };
    switch (o->type) {
    case CONF_STRING:
    case CONF_PATH: return NULL;
    case CONF_INT: return num_parse_int(s, &ret->number) ? NULL : "a whole number";
    case CONF_BOOL: return parse_bool(s, &ret->number) ? NULL : "yes or no";
    case CONF_ENUM: return parse_choice(o, s, &ret->number) ? NULL : "one of the choices";
    case CONF_DURATION:
        return parse_scaled(s, durations,
                            &ret->number) ? NULL : "a duration such as 500ms, 30s, 5min, 2h, 1d";
    case CONF_SIZE: return parse_scaled(s, sizes, &ret->number) ? NULL : "a size such as 4096, 64K, 16M, 2G";
    }
    abort();
}

static void add_choices(const struct conf_option *o, const char *separator, struct strbuf *out)
{
    for (size_t i = 0; o->choices[i]; i++) {
        if (i) strbuf_str(out, separator);
        strbuf_str(out, o->choices[i]);
    }
}

/* Checks a text for an option; a mistake is added to errors behind `where`. */
static int check_setting(const struct conf_option *o, const char *s, const char *where, struct setting *ret,
                         struct strbuf *errors)
{
    const char *wanted = parse_setting(o, s, ret);

    if (wanted) {
        strbuf_printf(errors, "%s%s: \"%s\" is not %s", where, o->key, s, wanted);
        if (o->type == CONF_ENUM) {
            strbuf_str(errors, ": ");
            add_choices(o, ", ", errors);
        }
        strbuf_char(errors, '\n');
        return -1;
    }
    bool bounded = o->min || o->max;
    if (bounded && (ret->number < o->min || ret->number > o->max)) {
        const char *unit = o->type == CONF_DURATION ? " ms" : o->type == CONF_SIZE ? " bytes" : "";
        strbuf_printf(errors, "%s%s: %s is not between %lld and %lld%s\n", where, o->key, s,
                      (long long)o->min, (long long)o->max, unit);
        return -1;
    }
    return 0;
}

/* ---- storing ---- */

static const char *keep_text(struct conf *c, const char *s)
{
    size_t n = strlen(s) + 1;

    for (const struct kept_text *t = c->texts; t; t = t->next)
        if (streq(t->text, s)) return t->text;
    struct kept_text *fresh = xmalloc(sizeof(*fresh) + n);
    memcpy(fresh->text, s, n);
    fresh->next = c->texts;
    c->texts = fresh;
    return fresh->text;
}

static void store(struct conf *c, size_t i, struct setting s, enum source source)
{
    atomic_store(&c->slots[i].text, keep_text(c, s.text));
    atomic_store(&c->slots[i].number, s.number);
    c->slots[i].source = source;
}

static void store_fallback(struct conf *c, size_t i)
{
    struct setting s;
    const char *wanted = parse_setting(&c->options[i], c->options[i].fallback, &s);

    assert(!wanted);   /* the table is wrong */
    (void)wanted;
    store(c, i, s, FROM_DEFAULT);
}

struct conf *conf_new(const struct conf_option *options)
{
    struct conf *c = xcalloc(1, sizeof(*c));

    c->options = options;
    while (options[c->n].key) c->n++;
    c->slots = xcalloc(c->n, sizeof(*c->slots));
    for (size_t i = 0; i < c->n; i++) store_fallback(c, i);
    return c;
}

void conf_free(struct conf *c)
{
    if (!c) return;
    while (c->texts) {
        struct kept_text *next = c->texts->next;
        free(c->texts);
        c->texts = next;
    }
    free(c->slots);
    free(c);
}

/* The option with this key of n characters, or -1. */
static ssize_t find_option(const struct conf *c, const char *key, size_t n)
{
    for (size_t i = 0; i < c->n; i++)
        if (strlen(c->options[i].key) == n && !memcmp(c->options[i].key, key, n)) return (ssize_t)i;
    return -1;
}

/* ---- the command line ---- */

/* One argument that starts with "--", and its value. Returns how many arguments it took; mistakes go to
 * errors. */
static int take_arg(struct conf *c, int left, char *const *argv, struct strbuf *errors)
{
    const char *key = argv[0] + 2;
    size_t n = strcspn(key, "=");
    ssize_t i = find_option(c, key, n);
    const char *value = key[n] == '=' ? key + n + 1 : NULL;
    int taken = 1;
    struct setting s;

    if (i < 0) {
        strbuf_printf(errors, "--%.*s: no such option\n", (int)n, key);
        return 1;
    }
    if (!value && c->options[i].type == CONF_BOOL) value = "yes";
    if (!value && left > 1 && !has_prefix(argv[1], "--")) value = argv[1], taken = 2;
    if (!value) strbuf_printf(errors, "--%s: a value is missing\n", c->options[i].key);
    else if (!check_setting(&c->options[i], value, "--", &s, errors)) store(c, (size_t)i, s, FROM_ARGS);
    return taken;
}

int conf_parse_args(struct conf *c, int argc, char *const *argv, int *ret_rest, struct strbuf *errors)
{
    size_t before = errors->len;
    int at = 1;

    while (at < argc && has_prefix(argv[at], "--") && argv[at][2])
        at += take_arg(c, argc - at, argv + at, errors);
    if (at < argc && streq(argv[at], "--")) at++;
    if (errors->len > before) return -1;
    *ret_rest = at;
    return 0;
}

/* ---- the file ---- */

/* What a file says: one setting an option, text NULL where it says nothing. */
struct file {
    char *text;
    struct setting *settings;
};

static void file_free(struct file *f)
{
    free(f->text);
    free(f->settings);
}

static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n && strchr(" \t\r", s[n - 1])) s[--n] = '\0';
    return s;
}

static void take_line(const struct conf *c, char *line, const char *where, struct file *f,
                      struct strbuf *errors)
{
    char *equals = strchr(line, '=');

    line = trim(line);
    if (!*line || *line == '#') return;
    if (!equals) {
        strbuf_printf(errors, "%sexpected \"key = value\"\n", where);
        return;
    }
    *equals = '\0';
    const char *key = trim(line);
    ssize_t i = find_option(c, key, strlen(key));
    if (i < 0) strbuf_printf(errors, "%s%s: no such option\n", where, key);
    else if (c->options[i].command_line_only)
        strbuf_printf(errors, "%s%s: only on the command line\n", where, key);
    else if (f->settings[i].text) strbuf_printf(errors, "%s%s: set twice\n", where, key);
    else check_setting(&c->options[i], trim(equals + 1), where, &f->settings[i], errors);
}

static int read_settings(const struct conf *c, const char *path, struct file *f, struct strbuf *errors)
{
    size_t before = errors->len, len;
    unsigned number = 1;

    *f = (struct file){ .settings = xcalloc(c->n, sizeof(*f->settings)) };
    if (read_file(path, MAX_FILE, &f->text, &len)) {
        strbuf_printf(errors, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    if (strlen(f->text) != len) {
        strbuf_printf(errors, "%s: not a text file\n", path);
        return -1;
    }
    for (char *line = f->text, *next; line; line = next, number++) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        _cleanup_free_ char *where = xasprintf("%s:%u: ", path, number);
        take_line(c, line, where, f, errors);
    }
    return errors->len > before ? -1 : 0;
}

int conf_load(struct conf *c, const char *path, struct strbuf *errors)
{
    struct file f;
    int rc = read_settings(c, path, &f, errors);

    for (size_t i = 0; !rc && i < c->n; i++)
        if (f.settings[i].text && c->slots[i].source != FROM_ARGS) store(c, i, f.settings[i], FROM_FILE);
    file_free(&f);
    return rc;
}

static void reload_one(struct conf *c, size_t i, const struct setting *s, struct strbuf *notes)
{
    const struct conf_option *o = &c->options[i];

    if (c->slots[i].source == FROM_ARGS) return;
    if (streq(s->text ? s->text : o->fallback, atomic_load(&c->slots[i].text))) return;
    if (!o->reloadable) strbuf_printf(notes, "%s: the new value takes effect after a restart\n", o->key);
    else if (s->text) store(c, i, *s, FROM_FILE);
    else store_fallback(c, i);
}

int conf_reload(struct conf *c, const char *path, struct strbuf *notes, struct strbuf *errors)
{
    struct file f;
    int rc = read_settings(c, path, &f, errors);

    for (size_t i = 0; !rc && i < c->n; i++) reload_one(c, i, &f.settings[i], notes);
    file_free(&f);
    return rc;
}

/* ---- showing ---- */

static void add_placeholder(const struct conf_option *o, struct strbuf *out)
{
    static const char *const words[] = {
        [CONF_STRING] = "TEXT", [CONF_PATH] = "PATH", [CONF_INT] = "N", [CONF_DURATION] = "DURATION",
                [CONF_SIZE] = "SIZE",
    };

    if (o->type == CONF_BOOL) return;
    strbuf_char(out, ' ');
    if (o->type == CONF_ENUM) add_choices(o, "|", out);
    else strbuf_str(out, o->unit ? o->unit : words[o->type]);
}

/* Words of the text, from column `indent` to column 100. */
static void add_wrapped(const char *s, size_t indent, struct strbuf *out)
{
    size_t column = indent;

    strbuf_printf(out, "%*s", (int)indent, "");
    while (*s) {
        size_t n = strcspn(s, " ");
        if (column > indent && column + 1 + n > 100) {
            strbuf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        if (column > indent) strbuf_char(out, ' '), column++;
        strbuf_add(out, s, n);
        column += n;
        s += n + strspn(s + n, " ");
    }
    strbuf_char(out, '\n');
}

void conf_help(const struct conf *c, struct strbuf *out)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct conf_option *o = &c->options[i];
        _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

        strbuf_printf(out, "  --%s", o->key);
        add_placeholder(o, out);
        strbuf_char(out, '\n');
        strbuf_str(&text, o->doc);
        if (*o->fallback && !(o->type == CONF_BOOL && o->command_line_only))
            strbuf_printf(&text, " (default: %s)", o->fallback);
        if (o->reloadable) strbuf_str(&text, " [reloadable]");
        add_wrapped(strbuf_cstr(&text), 10, out);
    }
}

void conf_dump(const struct conf *c, struct strbuf *out)
{
    static const char *const sources[] = { "default", "file", "command line" };

    for (size_t i = 0; i < c->n; i++)
        if (!c->options[i].command_line_only)
            strbuf_printf(out, "# %s\n%s = %s\n", sources[c->slots[i].source], c->options[i].key,
                          atomic_load(&c->slots[i].text));
}

/* ---- reading ---- */

static size_t need_option(const struct conf *c, const char *key)
{
    ssize_t i = find_option(c, key, strlen(key));

    assert(i >= 0);
    return (size_t)i;
}

static int64_t number_of(const struct conf *c, const char *key, enum conf_type type _unused_)
{
    size_t i = need_option(c, key);

    assert(c->options[i].type == type);
    return atomic_load(&c->slots[i].number);
}

const char *conf_str(const struct conf *c, const char *key)
{
    size_t i = need_option(c, key);

    assert(c->options[i].type == CONF_STRING || c->options[i].type == CONF_PATH ||
           c->options[i].type == CONF_ENUM);
    return atomic_load(&c->slots[i].text);
}

int64_t conf_int(const struct conf *c, const char *key)
{
    size_t i = need_option(c, key);

    assert(c->options[i].type == CONF_INT || c->options[i].type == CONF_ENUM);
    return atomic_load(&c->slots[i].number);
}

bool conf_bool(const struct conf *c, const char *key) { return number_of(c, key, CONF_BOOL) != 0; }
int64_t conf_ms(const struct conf *c, const char *key) { return number_of(c, key, CONF_DURATION); }
int64_t conf_bytes(const struct conf *c, const char *key) { return number_of(c, key, CONF_SIZE); }
