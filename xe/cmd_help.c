/* xe help: the list of commands, and what one of them takes.
 * Called by: cmd.c.  Calls: commands, cmd_record.
 *
 * Shell completion reads this: "reqd params" and "optional params" stand in rows of their own, selectors as
 * "<vm-selectors>". */
#include "xe/commands.h"

#include "lib/catalog.h"

enum { LINE = 74 };

static const char *with_spaces(struct cmd *c, const char *list, const char *more)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (const char *p = list; *p; p++) {
        strbuf_char(&b, *p);
        if (*p == ',') strbuf_char(&b, ' ');
    }
    if (*more) strbuf_printf(&b, "%s%s", b.len ? ", " : "", more);
    return arena_strdup(c->arena, strbuf_cstr(&b));
}

const char *cmd_help_text(const struct catalog *words, const struct command *command, struct arena *a)
{
    const char *text = catalog_text(words, command->help);

    return command->help_of ? arena_printf(a, text, command->help_of) : text;
}

static void help_on(struct cmd *c, const char *name)
{
    static const struct { unsigned flag; const char *words, *what;
    } selectors[] = {
        { COMMAND_VM, "<vm-selectors>",
          N_(" The VM is named by 'vm=<name or uuid>', or by filters on any field of vm-list; '--multiple' acts "
             "on every VM that matches.") },
        { COMMAND_HOST, "<host-selectors>",
          N_(" The host is named by 'host=<name or uuid>', or by filters on any field of host-list; "
             "'--multiple' acts on every host that matches.") },
        { COMMAND_SR, "<sr-selectors>",
          N_(" The storage repository is named by 'sr=<name or uuid>', or by filters on any field of sr-list.") },
    };
    const struct command *cmd = command_find(name);
    const char *selector = "", *what = "";
    const struct xe_record *type;
    enum cmd_verb verb;

    if (!cmd && cmd_record_name(name, &type, &verb)) cmd = cmd_record_command(type, verb, c->arena);
    if (!cmd) {
        const char *names = cmd_suggest(c, name);

        cmd_item(c, arena_printf(c->arena, cmd_tr(c, "Unknown command '%s'"), name));
        if (names) cmd_printf_error(c, "Did you mean %s?\n", names);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
        if (cmd->flags & selectors[i].flag) {
            selector = selectors[i].words;
            what = selectors[i].what;
        }
    cmd_row(c,
            (struct cmd_pair[]){
                { "command name        ", name },
                { "reqd params     ", with_spaces(c, cmd->required, "") },
                { "optional params ", with_spaces(c, cmd->optional, selector) },
                { "description     ", arena_printf(c->arena, "%s%s", cmd_help_text(c->env->words, cmd, c->arena),
                                                  cmd_tr(c, what)) },
            },
            4);
}

/* ---- the list ---------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of every command that help shows, sorted. */
static const char **all_names(struct cmd *c, bool standard, size_t *ret_n)
{
    const char **names = arena_new_array(c->arena, const char *, n_commands + N_XE_RECORDS * N_VERBS);
    size_t n = 0;

    for (size_t i = 0; i < n_commands; i++)
        if (!(commands[i].flags & COMMAND_HIDDEN) && (!standard || commands[i].flags & COMMAND_STANDARD))
            names[n++] = commands[i].name;
    for (const struct xe_record *r = xe_records; r->name; r++)
        for (int v = 0; v < N_VERBS; v++) {
            const struct command *cmd = cmd_record_command(r, (enum cmd_verb)v, c->arena);

            if (cmd && (!standard || cmd->flags & COMMAND_STANDARD)) names[n++] = cmd->name;
        }
    qsort(names, n, sizeof *names, by_name);
    *ret_n = n;
    return names;
}

/* Names with commas in between, in lines. only: those with this prefix; NULL: those with none of host-, vm-.
 */
static void print_names(struct cmd *c, const char **names, size_t n, const char *only, bool every)
{
    _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;

    for (size_t i = 0; i < n; i++) {
        bool special = has_prefix(names[i], "host-") || has_prefix(names[i], "vm-");

        if (!every && (only ? !has_prefix(names[i], only) : special)) continue;
        if (line.len && line.len + strlen(names[i]) > LINE) {
            cmd_print(c, strbuf_cstr(&line));
            strbuf_clear(&line);
        }
        strbuf_printf(&line, "%s%s", line.len ? ", " : "    ", names[i]);
    }
    if (line.len) cmd_print(c, strbuf_cstr(&line));
}

static const char usage[] =
    N_("Usage:\n"
       "  %s <command>\n"
       "    [ -s <server> ]            host to talk to\n"
       "    [ -p <port> ]              its port\n"
       "    [ -u <username> -pw <password> | -pwf <password file> ]\n"
       "                               who you are\n"
       "    [ --nossl ]                no TLS\n"
       "    [ --xmlrpc ]               run the command here, over XML-RPC\n"
       "    [ --advice ]               after an error say what to do (always on a terminal)\n"
       "    [ --debug ]                show what xe and the server say to each other\n"
       "    [ --debug-on-fail ]        the same when the command fails\n"
       "    [ --traceparent <value> ]  context for distributed tracing\n"
       "    [ <other arguments> ... ]  options of the command\n"
       "\n"
       "To get help on a specific command:\n"
       "  %s help <command>\n"
       "\n");

int cmd_help(struct cmd *c, const char *argv0, struct xerr *err)
{
    const char **names, *head;
    bool all, some = false;
    size_t n;

    if (cmd_get_bool(c, "all", false, &all, err) < 0) return -1;
    for (size_t i = 0; i < c->n_params; i++) {
        if (cmd_is_standard_param(c->params[i].key)) continue;
        help_on(c, c->params[i].key);
        some = true;
    }
    if (some) return 0;
    names = all_names(c, !all, &n);
    if (c->minimal) {
        for (size_t i = 0; i < n; i++) cmd_item(c, names[i]);
        return 0;
    }
    head = arena_printf(c->arena, cmd_tr(c, usage), argv0, argv0);
    if (!all) {
        cmd_say(c, "%sTo get a full listing of commands:\n  %s help --all\n\n"
                   "Common command list\n-------------------\n", head, argv0);
        print_names(c, names, n, NULL, true);
        return 0;
    }
    cmd_say(c, "%sFull command list\n-----------------\n", head);
    print_names(c, names, n, "host-", false);
    cmd_print(c, "    ");
    print_names(c, names, n, "vm-", false);
    cmd_print(c, "    ");
    print_names(c, names, n, NULL, false);
    return 0;
}

/* For tests/cli/test-table.py: "command<TAB>message", "-" when it needs none in particular, "none" when
 * nothing answers; then flags and parameters, as the reference's table has them. */
int cmd_cli_coverage(struct cmd *c, struct xerr *err)
{
    static const struct { unsigned flag; const char *name; } flags[] = {
        { COMMAND_VM, "vm" }, { COMMAND_HOST, "host" }, { COMMAND_SR, "sr" }, { COMMAND_HIDDEN, "hidden" },
        { COMMAND_STANDARD, "standard" }, { COMMAND_HERE, "here" }, { COMMAND_FILES, "files" },
        { COMMAND_LOCAL, "local" },
    };
    const struct command *cmd;

    (void)err;
    for (size_t i = 0; i < n_commands + N_XE_RECORDS * N_VERBS; i++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        size_t r = i - n_commands;

        if (i < n_commands)
            cmd = &commands[i];
        else
            cmd = cmd_record_command(&xe_records[r / N_VERBS], (enum cmd_verb)(r % N_VERBS), c->arena);
        if (!cmd) continue;
        strbuf_printf(&b, "%s\t%s\t%s\t%s\t", cmd->name,
                      cmd->plan   ? cmd_plan_method(cmd->plan, c->arena)
                      : cmd->uses ? cmd->uses
                      : cmd->run  ? "-"
                                  : "none",
                      cmd->required, cmd->optional);
        for (size_t k = 0; k < ARRAY_SIZE(flags); k++)
            if (cmd->flags & flags[k].flag) strbuf_printf(&b, "%s ", flags[k].name);
        cmd_item(c, strbuf_cstr(&b));
    }
    return 0;
}
