/* Running a command line: finding the command, checking what it requires, saying what went wrong.
 * Called by: xapi/http/cli.c.  Calls: commands, cmd_record. */
#include "xe/commands.h"

#include "lib/catalog.h"

#include <assert.h>
#include <stdarg.h>
#include <strings.h>

const char CMD_FAILURE[] = "CLI failure";
const char CMD_USAGE[] = "CLI usage";
const char CMD_EXIT[] = "CLI exit";
const char CMD_MULTIPLE[] = "CLI multiple";

static const char unknown_command[] = N_("Unknown command");

/* The format and its texts go into the error one by one: in another language they may stand elsewhere. */
static int set_sentence(struct xerr *err, const char *code, const char *first, const char *fmt, va_list ap)
{
    const char *params[XERR_MAX_PARAMS];
    size_t n = 0;

    if (first) params[n++] = first;
    params[n++] = fmt;
    for (const char *p = strchr(fmt, '%'); p; p = strchr(p + 2, '%')) {
        if (p[1] == '%') continue;
        assert(p[1] == 's' && n < ARRAY_SIZE(params));
        params[n] = va_arg(ap, const char *);
        if (!params[n]) params[n] = "";
        n++;
    }
    return xerr_set(err, code, n, params);
}

int cmd_fail(struct xerr *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_sentence(err, CMD_FAILURE, NULL, fmt, ap);
    va_end(ap);
    return -1;
}

int cmd_usage(struct xerr *err, const char *subject, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_sentence(err, CMD_USAGE, subject, fmt, ap);
    va_end(ap);
    return -1;
}

/* What set_sentence kept, from that parameter on. "%2$s" in a translation is the second text. */
static const char *sentence_text(struct cmd *c, const struct xerr *err, size_t first)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const char *fmt = err->params[first];
    size_t next = first + 1;

    if (streq(fmt, "%s")) return cmd_tr(c, err->params[next]);
    for (const char *p = cmd_tr(c, fmt); *p; p++) {
        size_t i;

        if (*p != '%') {
            strbuf_char(&b, *p);
            continue;
        }
        p++;
        if (*p == '%') {
            strbuf_char(&b, '%');
            continue;
        }
        i = next;
        if (*p >= '1' && *p <= '9' && p[1] == '$') {
            i = first + (size_t)(*p - '0');
            p += 2;
        } else {
            next++;
        }
        if (*p != 's' || i >= err->n) return fmt;
        strbuf_str(&b, err->params[i]);
    }
    return arena_strdup(c->arena, strbuf_cstr(&b));
}

const char *cmd_failure_text(struct cmd *c, const struct xerr *err)
{
    return sentence_text(c, err, 0);
}

int cmd_exit(struct xerr *err, int code)
{
    char text[12];
    const char *param = text;

    text[0] = (char)('0' + (code & 7));
    text[1] = '\0';
    return xerr_set(err, CMD_EXIT, 1, &param);
}

int cmd_need_force(struct cmd *c, struct xerr *err)
{
    bool force;

    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    if (force) return 0;
    return cmd_fail(err, "This operation is dangerous and may cause data loss. This operation must be forced "
                         "(use --force).");
}

int cmd_confirm(struct cmd *c, struct xerr *err)
{
    const char *word;
    char *line;
    size_t n;

    cmd_say(c, "Type 'yes' to continue");
    if (c->env->prompt(c->env->client, c->arena, &line) < 0) return cmd_exit(err, 1);
    word = line + strspn(line, " \t\r\n");
    n = strcspn(word, " \t\r\n");
    if (n == 3 && !strncasecmp(word, "yes", 3) && !word[n + strspn(word + n, " \t\r\n")]) return 1;
    cmd_say(c, "Aborted (you typed: '%s')", line);
    return 0;
}

/* ---- what went wrong --------------------------------------------------------------------------------- */

static void print_usage_error(struct cmd *c, const struct xerr *err)
{
    const char *names = streq(err->params[0], unknown_command) ? cmd_suggest(c, c->name) : NULL;

    cmd_printf_error(c, "%s: %s\n", cmd_tr(c, err->params[0]), sentence_text(c, err, 1));
    if (names) cmd_printf_error(c, "Did you mean %s?\n", names);
    cmd_print_error(c, "For usage run: 'xe help'");
}

static void print_api_error(struct cmd *c, const struct xerr *err)
{
    const char *sentence = cmd_error_sentence(c, err);
    const char *params[XERR_MAX_PARAMS];

    if (sentence) {
        struct value lines = cmd_error_lines(c, err);

        cmd_print_error(c, sentence);
        for (size_t i = 0; i < lines.set.n; i++) cmd_print_error(c, lines.set.items[i].s);
        return;
    }
    for (size_t i = 0; i < err->n; i++) params[i] = cmd_ref_text(c, err->params[i]);
    c->env->error(c->env->client, err->code, params, err->n);
}

/* Says it, and returns the exit code. */
static int print_failure(struct cmd *c, const struct xerr *err)
{
    if (xerr_is(err, CMD_FAILURE)) {
        cmd_printf_error(c, "Error: %s\n", cmd_failure_text(c, err));
        cmd_next_steps(c, err);
    } else if (xerr_is(err, CMD_USAGE)) {
        print_usage_error(c, err);
        cmd_next_steps(c, err);
    } else if (xerr_is(err, CMD_EXIT)) {
        return atoi(err->params[0]);
    } else if (xerr_is(err, CMD_MULTIPLE)) {
        for (size_t i = 0; i < c->n_failures; i++)
            cmd_notice(c, arena_printf(c->arena, cmd_tr(c, "operation failed on %s: %s"), c->failures[i].uuid,
                                       c->failures[i].text));
        if (c->json) cmd_json_end(c);
    } else if (xerr_is(err, "SESSION_AUTHENTICATION_FAILED")) {
        bool nobody = !err->n || !*err->params[0];

        cmd_print_error(c, nobody ? N_("Username/password must be specified") : N_("Authentication failed"));
        cmd_print_error(c, "For usage run: 'xe help'");
        cmd_next_steps(c, err);
    } else {
        print_api_error(c, err);
        cmd_next_steps(c, err);
    }
    return 1;
}

/* ---- running ----------------------------------------------------------------------------------------- */

/* The command of this name: of the table, or one that every record class has. */
static int find_command(struct cmd *c, const struct command **ret_command, struct xerr *err)
{
    enum cmd_verb verb;

    *ret_command = command_find(c->name);
    if (*ret_command) return 0;
    if (cmd_record_name(c->name, &c->record, &verb)) {
        *ret_command = cmd_record_command(c->record, verb, c->arena);
        if (*ret_command) return 0;
    }
    return cmd_usage(err, unknown_command, "%s", c->name);
}

static int check_required(struct cmd *c, struct xerr *err)
{
    char *rest = arena_strdup(c->arena, c->command->required), *name;

    while (*c->command->required && (name = strsep(&rest, ",")))
        if (!cmd_get(c, name)) return cmd_usage(err, "Required parameter not found", "%s", name);
    return 0;
}

/* Scripts read the output of the others in no other form. */
static int check_json(struct cmd *c, struct xerr *err)
{
    const struct command *command = c->command;

    if (!c->json) return 0;
    if (c->minimal) return cmd_fail(err, "--json and --minimal exclude each other");
    if (command->flags & COMMAND_JSON || (command->plan && strstr(command->plan, " -> "))) return 0;
    return cmd_fail(err, "--json: %s has no results to show", c->name);
}

static int check_watch(struct cmd *c, struct xerr *err)
{
    enum cmd_verb verb;

    if (!cmd_get(c, "watch")) return 0;
    if (c->record && cmd_record_name(c->name, &c->record, &verb) && verb == VERB_LIST) return 0;
    return cmd_fail(err, "--watch: only lists of a class can be watched, and %s is none", c->name);
}

static int run_found(struct cmd *c, struct xerr *err)
{
    const struct command *command = c->command;

    if (command->deprecated && *command->deprecated)
        cmd_printf_error(c, "Warning: %s is deprecated; use %s.\n", c->name, command->deprecated);
    if (command->run) return command->run(c, err);
    if (command->plan) return cmd_plan(c, command->plan, err);
    return xerr_set(err, "NOT_IMPLEMENTED", 1, &c->name);
}

/* A local session opens nothing of the database: a command that names an object there needs the pool after
 * all. */
static bool wants_local(const struct command *command)
{
    return command->flags & COMMAND_LOCAL && !(command->flags & (COMMAND_VM | COMMAND_HOST | COMMAND_SR)) &&
           !strstr(command->required, "uuid");
}

static int run_line(struct cmd *c, struct xerr *err)
{
    const struct cmd_env *env = c->env;

    if (cmd_get_bool(c, "minimal", false, &c->minimal, err) < 0) return -1;
    if (streq(c->name, "help")) return cmd_help(c, "xe", err);
    if (find_command(c, &c->command, err) < 0 || check_required(c, err) < 0) return -1;
    if (cmd_get_bool(c, "json", false, &c->json, err) < 0 || check_json(c, err) < 0) return -1;
    if (check_watch(c, err) < 0) return -1;
    c->local = wants_local(c->command);
    if (env->login && env->login(env->arg, cmd_get_or(c, "username", ""), cmd_get_or(c, "password", ""), c->local, err) < 0)
        return -1;
    return run_found(c, err);
}

int cmd_run(const struct cmd_env *env, struct arena *arena, const char *const *args, size_t n)
{
    struct cmd c = { .env = env, .arena = arena };
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct cmd_line line;
    int rc;

    if (cmd_parse(args, n, arena, &line, &err) < 0) return print_failure(&c, &err);
    c.name = line.name;
    c.params = line.params;
    c.n_params = line.n;
    if (run_line(&c, &err) == 0) {
        cmd_flush(&c);
        rc = c.exit_code;
    } else {
        rc = print_failure(&c, &err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(c.objects); i++) refmap_free(c.objects[i]);
    strbuf_free(&c.buffered);
    return rc;
}
