/* Command lines: splitting them, and reading parameters as what they are.
 * Called by: cmd.c, cmd_*.c.  Calls: lib. */
#include "xe/cmd.h"

#include "lib/num.h"

#include <assert.h>
#include <ctype.h>
#include <strings.h>

/* Single-dash switches that take the next word. */
static const struct { const char *word, *key; } dash_switches[] = {
    { "-u", "username" }, { "-pw", "password" }, { "-s", "server" }, { "-h", "server" }, { "-p", "port" },
};

static const char *dash_switch(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(dash_switches); i++)
        if (streq(word, dash_switches[i].word)) return dash_switches[i].key;
    return NULL;
}

static struct cmd_param parse_word(const char *word, struct arena *a)
{
    const char *eq = strchr(word, '=');

    if (has_prefix(word, "--")) {
        /* --force; and --progress=yes, which people write too */
        if (eq) return (struct cmd_param){ arena_strndup(a, word + 2, (size_t)(eq - word - 2)), eq + 1 };
        return (struct cmd_param){ word + 2, "true" };
    }
    if (!eq) return (struct cmd_param){ word, "" };
    return (struct cmd_param){ arena_strndup(a, word, (size_t)(eq - word)), eq + 1 };
}

int cmd_parse(const char *const *args, size_t n, struct arena *a, struct cmd_line *ret_line, struct xerr *err)
{
    struct cmd_line line = { "", arena_new_array(a, struct cmd_param, n + 1), 0 };

    for (size_t i = 0; i < n; i++) {
        const char *key;

        if (!*args[i]) continue;
        if (!*line.name && args[i][0] != '-') {
            if (strchr(args[i], '=')) return cmd_usage(err, "Syntax error", "command name is missing");
            line.name = args[i];
            continue;
        }
        if (args[i][0] != '-' || has_prefix(args[i], "--")) {
            line.params[line.n++] = parse_word(args[i], a);
            continue;
        }
        key = dash_switch(args[i]);
        if (!key) return cmd_usage(err, "Syntax error", "Unknown switch: %s", args[i]);
        if (i + 1 == n)
            return cmd_usage(err, "Syntax error", "Switch %s requires a parameter", args[i]);
        line.params[line.n++] = (struct cmd_param){ key, args[++i] };
    }
    if (!*line.name) return cmd_usage(err, "Syntax error", "command name is missing");
    *ret_line = line;
    return 0;
}

const char *cmd_line_get(const struct cmd_line *line, const char *key)
{
    for (size_t i = 0; i < line->n; i++)
        if (streq(line->params[i].key, key)) return line->params[i].value;
    return NULL;
}

const char *cmd_get(const struct cmd *c, const char *key)
{
    for (size_t i = 0; i < c->n_params; i++)
        if (streq(c->params[i].key, key)) return c->params[i].value;
    return NULL;
}

const char *cmd_get_or(const struct cmd *c, const char *key, const char *fallback)
{
    const char *value = cmd_get(c, key);

    return value ? value : fallback;
}

const char *cmd_need(const struct cmd *c, const char *key)
{
    const char *value = cmd_get(c, key);

    assert(value);     /* cmd_run looked */
    return value;
}

/* ---- texts to values --------------------------------------------------------------------------------- */

int cmd_parse_bool(const char *key, const char *text, bool *ret_bool, struct xerr *err)
{
    if (!strcasecmp(text, "true") || !strcasecmp(text, "yes"))
        *ret_bool = true;
    else if (!strcasecmp(text, "false") || !strcasecmp(text, "no"))
        *ret_bool = false;
    else
        return cmd_fail(err, "Failed to parse parameter '%s': Expected 'true','yes','false','no', got %s",
                        key, text);
    return 0;
}

int cmd_parse_int(const char *key, const char *text, int64_t *ret_int, struct xerr *err)
{
    if (num_parse_int(text, ret_int)) return 0;
    return cmd_fail(err, "Failed to parse parameter '%s': expecting an integer", key);
}

int cmd_parse_float(const char *key, const char *text, double *ret_float, struct xerr *err)
{
    if (num_parse_float(text, ret_float)) return 0;
    return cmd_fail(err, "Failed to parse parameter '%s': expecting a float", key);
}

int cmd_parse_bytes(const char *key, const char *text, int64_t *ret_bytes, struct xerr *err)
{
    static const struct { const char *name; int shift; } units[] = {
        { "", 0 }, { "bytes", 0 }, { "KiB", 10 }, { "MiB", 20 }, { "GiB", 30 }, { "TiB", 40 },
    };
    const char *digits = text + strspn(text, " \t");
    size_t n = strspn(digits, "0123456789");
    const char *unit = digits + n + strspn(digits + n, " \t");
    uint64_t number = 0;
    size_t u = 0;

    if (!n)
        return cmd_fail(err, "Failed to parse field '%s': expecting an integer (possibly with suffix)", key);
    while (u < ARRAY_SIZE(units) && !streq(unit, units[u].name)) u++;
    if (u == ARRAY_SIZE(units))
        return cmd_fail(err, "Failed to parse field '%s': Unknown suffix: '%s' (try KiB, MiB, GiB or TiB)",
                        key, unit);
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(number, 10u, &number)
            || __builtin_add_overflow(number, (uint64_t)(digits[i] - '0'), &number))
            number = UINT64_MAX;
    if (number > (uint64_t)INT64_MAX >> units[u].shift)
        return cmd_fail(err, "Failed to parse field '%s': number too big (maximum = 8388607 TiB)", key);
    *ret_bytes = (int64_t)(number << units[u].shift);
    return 0;
}

int cmd_get_bool(const struct cmd *c, const char *key, bool fallback, bool *ret_bool, struct xerr *err)
{
    const char *text = cmd_get(c, key);

    *ret_bool = fallback;
    return text ? cmd_parse_bool(key, text, ret_bool, err) : 0;
}

int cmd_get_int(const struct cmd *c, const char *key, int64_t fallback, int64_t *ret_int, struct xerr *err)
{
    const char *text = cmd_get(c, key);

    *ret_int = fallback;
    return text ? cmd_parse_int(key, text, ret_int, err) : 0;
}

int cmd_get_bytes(const struct cmd *c, const char *key, int64_t fallback, int64_t *ret_bytes,
                  struct xerr *err)
{
    const char *text = cmd_get(c, key);

    *ret_bytes = fallback;
    return text ? cmd_parse_bytes(key, text, ret_bytes, err) : 0;
}

struct value cmd_get_map(const struct cmd *c, const char *name)
{
    struct value_builder b = value_builder(c->arena);
    size_t n = strlen(name);

    for (size_t i = 0; i < c->n_params; i++) {
        const char *key = c->params[i].key;

        if (has_prefix(key, name) && (key[n] == ':' || key[n] == '-') && key[n + 1])
            value_put(&b, key + n + 1, value_string(c->params[i].value));
    }
    return value_built_map(&b);
}

struct value cmd_split(struct cmd *c, const char *text)
{
    struct value_builder b = value_builder(c->arena);
    char *rest = arena_strdup(c->arena, text), *word;

    while (*text && (word = strsep(&rest, ","))) value_push(&b, value_string(word));
    return value_built_set(&b);
}

bool cmd_is_standard_param(const char *key)
{
    static const char *const names[] = {
        "server",           "password", "port",  "username", "minimal",  "force", "multiple", "all",
        "message-priority", "trace",    "debug", "internal", "progress", "json",  "watch",
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (streq(key, names[i])) return true;
    return false;
}
