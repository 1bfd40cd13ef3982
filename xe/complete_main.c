/* xe-complete: what may stand at the end of a command line of xe. Commands, parameters and fields come from
 * the tables; names, uuids and other values are asked of the server, for two seconds at most.
 * Called by: xe --complete, which the shells' completions run.  Calls: commands, lib/subproc.
 *
 *   xe-complete XE WORD...
 *
 * XE is the program to ask with. The words are those of the line behind "xe" up to the cursor, without
 * quotes; the last one is being typed and may be "". Each line of the answer is one whole word, without
 * quotes, a TAB and what it is (may be empty); a word that goes on ends in '=', ':' or ','. "\001files"
 * instead: names of files. */
#include "xe/commands.h"

#include "lib/catalog.h"
#include "lib/map.h"
#include "lib/subproc.h"

#include <ctype.h>
#include <stdio.h>

enum { LIMIT_MS = 2000, MAX_LOGIN = 32, MAX_ANSWER = 8 << 20 };

struct line {
    struct arena *arena;
    struct map *offered;               /* many objects have the same value of a field */
    struct catalog *language;          /* of the user's language */
    const char *xe;
    const char *const *words;          /* the last is being typed */
    size_t n;
    const char *login[MAX_LOGIN];      /* options about the server and the user */
    size_t n_login;
    const struct command *command;     /* NULL: not typed yet, or none */
    const char *name, *typed;
};

typedef void (*param_fn)(struct line *l, const char *name, void *arg);

/* ---- the tables -------------------------------------------------------------------------------------- */

static const struct command *find(struct line *l, const char *name)
{
    const struct command *command = command_find(name);
    const struct xe_record *type;
    enum cmd_verb verb;

    if (!command && cmd_record_name(name, &type, &verb)) command = cmd_record_command(type, verb, l->arena);
    return command;
}

static void offer(struct line *l, const char *word, const char *what)
{
    if (!has_prefix(word, l->typed)) return;
    if (strpbrk(word, "\n\t")) return;          /* no shell could take that for one word of the answer */
    if (map_put(l->offered, word, l)) return;
    printf("%s\t%s\n", word, what);
}

static void offer_command(struct line *l, const struct command *command)
{
    offer(l, command->name, cmd_help_text(l->language, command, l->arena));
}

static void offer_commands(struct line *l)
{
    for (size_t i = 0; i < n_commands; i++)
        if (!(commands[i].flags & COMMAND_HIDDEN)) offer_command(l, &commands[i]);
    for (const struct xe_record *r = xe_records; r->name; r++)
        for (int v = 0; v < N_VERBS; v++) {
            const struct command *command = cmd_record_command(r, (enum cmd_verb)v, l->arena);

            if (command) offer_command(l, command);
        }
}

static void offer_words(struct line *l, const char *const *words)
{
    for (; *words; words++) offer(l, *words, "");
}

/* Each name of a list between commas, as a copy. */
static void each_name(struct line *l, const char *list, param_fn fn, void *arg)
{
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        fn(l, arena_strndup(l->arena, p, strcspn(p, ",")), arg);
}

static const char *selector(const struct command *command)
{
    return command->flags & COMMAND_VM     ? "vm"
           : command->flags & COMMAND_HOST ? "host"
           : command->flags & COMMAND_SR   ? "sr"
                                           : NULL;
}

/* The parameters of a command; a map's name ends in a colon. Those of a selector: the object, and every filter. */
static void each_param(struct line *l, const struct command *command, param_fn fn, void *arg)
{
    const char *class = selector(command);
    const struct command *list = class ? find(l, arena_printf(l->arena, "%s-list", class)) : NULL;

    each_name(l, command->required, fn, arg);
    each_name(l, command->optional, fn, arg);
    if (!list) return;
    fn(l, class, arg);
    fn(l, "--multiple", arg);
    each_name(l, list->optional, fn, arg);
}

/* ---- parameters -------------------------------------------------------------------------------------- */

static bool is_switch(const char *name)
{
    return streq(name, "force") || streq(name, "multiple") || streq(name, "live");
}

static void offer_param(struct line *l, const char *name, void *arg)
{
    size_t n = strlen(name);
    const char *class = selector(l->command);

    (void)arg;
    if (class && (streq(name, "params") || streq(name, "database:"))) return;    /* of the list alone */
    if (is_switch(name)) offer(l, arena_printf(l->arena, "--%s", name), "");
    if (has_prefix(name, "--") || (n && name[n - 1] == ':')) offer(l, name, "");
    else offer(l, arena_printf(l->arena, "%s=", name), "");
}

/* ---- asking ------------------------------------------------------------------------------------------ */

/* What xe says to a command, NULL when it fails or takes too long. */
static char *ask(struct line *l, const char *const *words, size_t n)
{
    const char **argv = arena_new_array(l->arena, const char *, 1 + l->n_login + n + 1);
    const struct subproc_command command = { .argv = argv };
    const struct subproc_limits limits = { .timeout_ms = LIMIT_MS, .grace_ms = 100, .out_bytes = MAX_ANSWER };
    struct subproc_result r;
    char *text = NULL;

    argv[0] = l->xe;
    memcpy(argv + 1, l->login, l->n_login * sizeof *argv);
    memcpy(argv + 1 + l->n_login, words, n * sizeof *argv);
    if (subproc_run(&command, NULL, 0, &limits, &r) < 0) return NULL;
    if (r.end == SUBPROC_EXITED && r.code == 0 && !r.out_truncated)
        text = arena_strdup(l->arena, strbuf_cstr(&r.out));
    subproc_result_free(&r);
    return text;
}
#define ASK(l, ...) \
    ask(l, (const char *const[]){ __VA_ARGS__ }, ARRAY_SIZE(((const char *const[]){ __VA_ARGS__ })))

/* One value that the parameter of this key may have. */
static void offer_value(struct line *l, const char *key, const char *value, const char *what)
{
    if (*value) offer(l, arena_printf(l->arena, "%s=%s", key, value), what);
}

/* The items of a --minimal answer: between commas, a backslash takes the meaning off. */
static void offer_items(struct line *l, const char *key, const char *text)
{
    _cleanup_strbuf_ struct strbuf item = STRBUF_INIT;

    if (!text) return;
    for (const char *p = text; *p && *p != '\n'; p++) {
        if (*p == ',') {
            offer_value(l, key, strbuf_cstr(&item), "");
            strbuf_clear(&item);
            continue;
        }
        if (*p == '\\' && p[1]) p++;
        strbuf_char(&item, *p);
    }
    offer_value(l, key, strbuf_cstr(&item), "");
}

/* Every object's value of one field; uuids with the objects' names beside them. */
static void offer_field(struct line *l, const char *key, const char *list, const char *field)
{
    const struct xe_record *type;
    const char *name_label = "";
    enum cmd_verb verb;
    char *text, *line, *uuid = NULL;

    if (!streq(field, "uuid") || !cmd_record_name(list, &type, &verb)) {
        offer_items(l, key, ASK(l, list, arena_printf(l->arena, "params=%s", field), "--minimal"));
        return;
    }
    text = ASK(l, list, cmd_field(type, "name-label") ? "params=uuid,name-label" : "params=uuid");
    while (text && (line = strsep(&text, "\n"))) {
        char *value = strstr(line, ": ");

        if (!value && uuid) {
            offer_value(l, key, uuid, name_label);
            uuid = NULL;
            name_label = "";
        }
        if (!value) continue;
        if (has_prefix(line, "uuid")) uuid = value + 2;
        else name_label = value + 2;
    }
    if (uuid) offer_value(l, key, uuid, name_label);
}

/* ---- values ------------------------------------------------------------------------------------------ */

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && streq(s + n - m, suffix);
}

/* "vm" of "vm-param-set", "sr" of "sr-probe": the longest beginning that names a class with records. NULL. */
static const char *class_of_command(struct line *l, const char *command)
{
    char *name = arena_strdup(l->arena, command), *dash;

    while ((dash = strrchr(name, '-'))) {
        *dash = '\0';
        if (cmd_record_type(name)) return name;
    }
    return NULL;
}

/* "sr" of "default-sr": the longest end that names a class. NULL. */
static const char *class_of_param(struct line *l, const char *param)
{
    static const char *const hosts[] = { "master", "resident-on", "affinity", "possible-hosts" };
    char *name = arena_strdup(l->arena, param);

    for (char *p = name; *p; p++) *p = (char)tolower((unsigned char)*p);
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
        if (streq(name, hosts[i])) return "host";
    for (; name; name = strchr(name, '-'), name = name ? name + 1 : NULL)
        if (cmd_record_type(name)) return name;
    return NULL;
}

static const char *without(struct line *l, const char *s, const char *suffix)
{
    return has_suffix(s, suffix) ? arena_strndup(l->arena, s, strlen(s) - strlen(suffix)) : s;
}

static const char *list_of(struct line *l, const char *class)
{
    return arena_printf(l->arena, "%s-list", class);
}

static const char *given(const struct line *l, const char *key)
{
    size_t n = strlen(key);

    for (size_t i = 0; i + 1 < l->n; i++)
        if (strncmp(l->words[i], key, n) == 0 && l->words[i][n] == '=') return l->words[i] + n + 1;
    return NULL;
}

/* A field's name, for params= with those before it. */
struct field_names {
    const char *key, *before;
};

static void offer_field_name(struct line *l, const char *name, void *arg)
{
    const struct field_names *f = arg;

    if (strchr(name, ':') || streq(name, "params")) return;
    offer(l, arena_printf(l->arena, "%s=%s%s", f->key, f->before, name), "");
}

static void offer_params_value(struct line *l, const char *key, const char *text)
{
    const char *comma = strrchr(text, ',');
    struct field_names f = { key, comma ? arena_strndup(l->arena, text, (size_t)(comma + 1 - text)) : "" };

    if (!comma) offer_value(l, key, "all", "");
    each_name(l, l->command->optional, offer_field_name, &f);
}

static void offer_param_names(struct line *l, const char *key)
{
    const char *class = class_of_command(l, l->name);
    const struct command *list = class ? find(l, list_of(l, class)) : NULL;
    struct field_names f = { key, "" };

    if (list) each_name(l, list->optional, offer_field_name, &f);
}

/* What names an object. False when the key is no such parameter. */
static bool offer_objects(struct line *l, const char *key)
{
    const char *class = NULL, *field = "uuid";

    if (streq(key, "uuid")) {
        class = class_of_command(l, l->name);
    } else if (has_suffix(key, "-uuid") || has_suffix(key, "-uuids")) {
        class = class_of_param(l, without(l, without(l, key, "s"), "-uuid"));
    } else if (has_suffix(key, "-name-label") || has_suffix(key, "-name")) {
        class = class_of_param(l, without(l, without(l, key, "-label"), "-name"));
        field = "name-label";
    } else if (streq(key, "vm")) {
        offer_items(l, key, ASK(l, "vm-list", "is-control-domain=false", "params=name-label", "--minimal"));
        return true;
    } else {
        return false;
    }
    if (class) offer_field(l, key, list_of(l, class), field);
    return true;
}

/* What a field is now, to be changed. */
static bool offer_present(struct line *l, const char *key, const char *typed)
{
    const char *uuid = given(l, "uuid");
    char *text;

    if (!has_suffix(l->name, "-param-set") || *typed || !uuid) return false;
    text = ASK(l, arena_printf(l->arena, "%s-get", without(l, l->name, "-set")),
               arena_printf(l->arena, "uuid=%s", uuid), arena_printf(l->arena, "param-name=%s", key));
    if (text) offer_value(l, key, strsep(&text, "\n"), "");
    return true;
}

static bool one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (streq(word, *words)) return true;
    return false;
}

static void offer_values(struct line *l, const char *key, const char *typed)
{
    static const char *const files[] = { "filename", "file-name", "file", "passwordfile", "license-file",
                                         "certificate", "private-key", "certificate-chain", NULL };
    static const char *const truths[] = { "force", "multiple", "live", "enabled", "shared", "read-only",
                                          "unpluggable", "bootable", "minimal", "json", "full", "paused",
                                          "preserve", "metadata", "progress", NULL };
    static const char *const none[] = { "new-name-label", "new-name-description", NULL };
    const char *class;

    if (one_of(key, files) || has_suffix(key, "-filename") || has_suffix(key, "-file")) {
        printf("\001files\n");
    } else if (streq(key, "params")) {
        offer_params_value(l, key, typed);
    } else if (streq(key, "param-name")) {
        offer_param_names(l, key);
    } else if (one_of(key, truths)) {
        offer_value(l, key, "true", "");
        offer_value(l, key, "false", "");
    } else if (one_of(key, none) || offer_objects(l, key)) {
        return;
    } else if (streq(key, "template")) {
        offer_field(l, key, "template-list", "name-label");
    } else if (has_prefix(l->name, "sr-") && streq(key, "type")) {
        offer_field(l, key, "sm-list", "type");
    } else if (offer_present(l, key, typed)) {
        return;
    } else if (has_suffix(l->name, "-create") || has_suffix(l->name, "-param-add") ||
               has_suffix(l->name, "-introduce")) {
        class = class_of_param(l, key);
        if (class) offer_field(l, key, list_of(l, class), "uuid");
    } else if (has_suffix(l->name, "-list")) {
        offer_field(l, key, l->name, key);
    } else if (cmd_record_type(key)) {
        offer_field(l, key, list_of(l, key), "name-label");
    } else if ((class = class_of_command(l, l->name))) {
        offer_field(l, key, list_of(l, class), key);
    }
}

/* ---- the line ---------------------------------------------------------------------------------------- */

static const char *const own_options[] = { "-s", "-p", "-u", "-pw", "-pwf", "--socket", "--nossl", "--xmlrpc",
                                           "--advice", "--debug", "--debug-on-fail", "--traceparent",
                                           "--minimal", "--json", NULL };

static void keep_login(struct line *l, const char *word)
{
    if (l->n_login < MAX_LOGIN) l->login[l->n_login++] = word;
}

/* Finds the command, and what xe itself has to know; *ret_value: the option whose value is being typed, or
 * NULL. */
static void read_line(struct line *l, const char **ret_value)
{
    static const char *const with_value[] = { "-s", "-h", "-p", "-u", "-pw", "-pwf", "--socket",
                                              "--traceparent", NULL };
    static const char *const alone[] = { "--nossl", "--xmlrpc", NULL };
    static const char *const keys[] = { "username=", "password=", "server=", "port=", "passwordfile=", NULL };

    *ret_value = NULL;
    for (size_t i = 0; i + 1 < l->n; i++) {
        const char *word = l->words[i];
        bool key = false;

        for (size_t k = 0; keys[k]; k++) key = key || has_prefix(word, keys[k]);
        if (one_of(word, with_value)) {
            if (i + 2 == l->n) {
                *ret_value = word;
                return;
            }
            keep_login(l, word);
            keep_login(l, l->words[++i]);
        } else if (key || one_of(word, alone)) {
            keep_login(l, word);
        } else if (word[0] != '-' && !l->name) {
            l->name = word;
        }
    }
}

static void complete(struct line *l)
{
    static const char *const any[] = { "--minimal", "--json", NULL };
    static const char *const all[] = { "--all", "--minimal", NULL };
    const char *value, *eq = strchr(l->typed, '='), *key;

    read_line(l, &value);
    if (value) {
        if (streq(value, "-pwf") || streq(value, "--socket")) printf("\001files\n");
        return;
    }
    if (!l->name) {
        if (l->typed[0] == '-') offer_words(l, own_options);
        else offer_commands(l);
        return;
    }
    if (streq(l->name, "help")) {
        if (l->typed[0] == '-') offer_words(l, all);
        else offer_commands(l);
        return;
    }
    l->command = find(l, l->name);
    if (!l->command) return;
    if (!eq) {
        each_param(l, l->command, offer_param, NULL);
        if (l->typed[0] == '-') offer_words(l, any);
        if (l->typed[0] == '-' && has_suffix(l->name, "-list")) offer(l, "--watch", "");
        return;
    }
    /* For a filter on a map or a set the field is what stands before the colon. */
    key = arena_strndup(l->arena, l->typed, (size_t)(eq - l->typed));
    if (strchr(key, ':')) return;
    offer_values(l, key, eq + 1);
}

int main(int argc, char **argv)
{
    struct line l = { .typed = "" };
    _cleanup_free_ char *folder = NULL;
    char language[CATALOG_LANGUAGE];

    if (argc < 3) {
        fprintf(stderr, "xe-complete is a part of xe: see xe(1)\n");
        return 2;
    }
    l.arena = arena_new();
    l.offered = map_new();
    if (catalog_wanted(language)) {
        folder = catalog_folder();
        l.language = catalog_open(folder, language, "xe");
    }
    l.xe = argv[1];
    l.words = (const char *const *)argv + 2;
    l.n = (size_t)argc - 2;
    l.typed = l.words[l.n - 1];
    complete(&l);
    map_free(l.offered);
    catalog_free(l.language);
    arena_free(l.arena);
    return fflush(stdout) ? 1 : 0;
}
