/* What xe says after an error: every code of the table is an error of the API, every command there is one, with
 * parameters that it takes; and how it looks. Called by: make check.  Calls: xe/advice, xe/cmd. */
#include "tests/unit/unit.h"

#include "tests/unit/cli-fake.h"
#include "xe/advice.h"

static bool listed(const char *list, const char *name, size_t n)
{
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',') {
        size_t len = strcspn(p, ",");

        if (len && p[len - 1] == ':') len--;           /* a map: "device-config:key=value" */
        if (len == n && strncmp(p, name, n) == 0) return true;
    }
    return false;
}

static const struct command *find(const char *name, struct arena *a)
{
    const struct command *command = command_find(name);
    const struct xe_record *type;
    enum cmd_verb verb;

    if (!command && cmd_record_name(name, &type, &verb)) command = cmd_record_command(type, verb, a);
    return command;
}

/* Of a command's parameter: required, optional, or of its selector, which takes every filter of the list. */
static bool takes(const struct command *command, const char *key, size_t n, struct arena *a)
{
    static const struct { unsigned flag; const char *class; } selectors[] = {
        { COMMAND_VM, "vm" }, { COMMAND_HOST, "host" }, { COMMAND_SR, "sr" },
    };

    if (listed(command->required, key, n) || listed(command->optional, key, n)) return true;
    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
        const struct command *list = find(arena_printf(a, "%s-list", selectors[i].class), a);

        if (command->flags & selectors[i].flag && (listed(list->optional, key, n) || strncmp(key, selectors[i].class, n) == 0))
            return true;
    }
    return false;
}

/* The fields that params= or param-name= name. */
static void check_fields(const char *command, const char *fields, struct arena *a)
{
    const struct xe_record *type;
    char *rest = arena_strdup(a, fields), *name;
    enum cmd_verb verb;

    if (!cmd_record_name(command, &type, &verb)) return;
    while ((name = strsep(&rest, ",")))
        if (*name != '<' && !cmd_field(type, name)) fail_msg("%s %s: no such field: %s", command, fields, name);
}

static void check_line(const char *line, struct arena *a)
{
    char *rest = arena_strdup(a, line), *word;
    const struct command *command = NULL;
    char *required, *need;
    _cleanup_strbuf_ struct strbuf given = STRBUF_INIT;

    while ((word = strsep(&rest, " "))) {
        size_t n = strcspn(word, "=");

        if (!command && word[0] == '-') {              /* an option of xe's own, with its value */
            strsep(&rest, " ");
        } else if (!command && (streq(word, "%0") || streq(word, "help"))) {
            return;
        } else if (!command) {
            command = find(has_prefix(word, "%c") ? arena_printf(a, "vm%s", word + 2) : word, a);
            if (!command) fail_msg("no such command: %s", line);
        } else if (streq(word, "--force")) {
            assert_true(takes(command, "force", 5, a));
        } else if (word[n] == '=') {
            size_t key = strcspn(word, "=:");

            if (!takes(command, word, key, a)) fail_msg("%s takes no %.*s", line, (int)n, word);
            strbuf_printf(&given, "%.*s,", (int)n, word);
            if (has_prefix(word, "params=") || has_prefix(word, "param-name=")) check_fields(command->name, word + n + 1, a);
        } else if (word[strlen(word) - 1] != '>') {    /* "<vm uuid>" is two words */
            fail_msg("%s: what is %s?", line, word);
        }
    }
    required = arena_strdup(a, command->required);
    while (*command->required && (need = strsep(&required, ",")))
        if (!listed(strbuf_cstr(&given), need, strlen(need))) fail_msg("%s lacks %s", line, need);
}

static void test_table(void **state)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const char *before = "";
    size_t n = 0;

    (void)state;
    for (const struct advice *row = advice_table; row->code; row++) {
        const struct error_desc *e = model_error(row->code);

        if (!e && (streq(row->code, CMD_FAILURE) || streq(row->code, CMD_USAGE))) {
            assert_true(row->param && row->commands[0] && *row->text);
            for (size_t i = 0; i < ADVICE_COMMANDS && row->commands[i]; i++) check_line(row->commands[i], a);
            continue;
        }
        if (!e) fail_msg("%s is no error", row->code);
        if (row->param > 0 && row->param > e->n_params) fail_msg("%s has no parameter %u", row->code, row->param);
        assert_true(row->commands[0] && *row->text);
        if (!streq(before, row->code)) n++;
        before = row->code;
        for (size_t i = 0; i < ADVICE_COMMANDS && row->commands[i]; i++) {
            for (const char *p = row->commands[i]; (p = strchr(p, '%')); p++)
                if (p[1] > '0' && p[1] <= '9' && (unsigned)(p[1] - '0') > e->n_params)
                    fail_msg("%s: %s: no such parameter", row->code, row->commands[i]);
            check_line(row->commands[i], a);
        }
    }
    assert_true(n >= 60);
    print_message("advice for %zu errors\n", n);
}

static void test_rows(void **state)
{
    const char *halted[] = { "OpaqueRef:x", "running", "halted" }, *odd[] = { "OpaqueRef:x", "running", "odd" };

    (void)state;
    assert_string_equal(advice_find("VM_BAD_POWER_STATE", halted, 3)->commands[0], "vm-start uuid=%1");
    assert_non_null(strstr(advice_find("VM_BAD_POWER_STATE", odd, 3)->commands[0], "power-state"));
    assert_non_null(strstr(advice_find("VM_BAD_POWER_STATE", NULL, 0)->commands[0], "power-state"));
    assert_null(advice_find("INTERNAL_ERROR", halted, 3));
}

/* What a failing command says; nothing of it is there for a client that did not ask. */
static void check_says(struct fake *f, const char *line, const char *advice)
{
    _cleanup_free_ char *without = NULL;

    f->advice = false;
    assert_int_equal(fake_run(f, line), 1);
    without = xstrdup(strbuf_cstr(&f->err));
    f->advice = true;
    assert_int_equal(fake_run(f, line), 1);
    assert_true(has_prefix(strbuf_cstr(&f->err), without));
    assert_string_equal(strbuf_cstr(&f->err) + strlen(without), advice);
}

static void test_words(void **state)
{
    struct fake f = { .fail = "VM.start", .code = "VM_IS_TEMPLATE", .param = "OpaqueRef:nobody" };
    char text[REF_TEXT];

    (void)state;
    check_says(&f, "vm-start|uuid=11111111-0000-4000-8000-000000000001",
               "\nThis is a template: make a VM of it first.\n    xe vm-install template=<uuid> new-name-label=<name>\n");
    f.param = ref_text(FAKE_REF(FAKE_VM1), text);
    check_says(&f, "vm-start|uuid=11111111-0000-4000-8000-000000000001",
               "\nThis is a template: make a VM of it first.\n"
               "    xe vm-install template=11111111-0000-4000-8000-000000000001 new-name-label=<name>\n");
    f.code = "HANDLE_INVALID";
    f.param = "VM_group";
    check_says(&f, "vm-start|uuid=11111111-0000-4000-8000-000000000001",
               "\nThe object is gone, or of another class. See what there is.\n    xe vm-group-list\n");
    f.param = "; rm -rf /";
    check_says(&f, "vm-start|uuid=11111111-0000-4000-8000-000000000001",
               "\nThe object is gone, or of another class. See what there is.\n");
    f.code = "HOST_IS_SLAVE";
    check_says(&f, "vm-start|uuid=11111111-0000-4000-8000-000000000001",
               "\nThis host is a member of a pool. Ask its coordinator.\n    xe -s <uuid> vm-start\n");
    f.code = "INTERNAL_ERROR";
    check_says(&f, "vm-start|uuid=11111111-0000-4000-8000-000000000001", "");
    fake_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
