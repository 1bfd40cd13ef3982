/* The text consoles of VMs.
 * Called by: commands.c.  Calls: cmd_call, cmd_select. */
#include "xe/commands.h"

#include "lib/catalog.h"

#include <ctype.h>

#include "gen/errors.h"

enum { WAIT_MS = 5000 };

/* Where the client finds a console: by the connection it has when the VM runs on the host it talks to. */
static const char *console_url(struct cmd *c, const struct value *vm, const char *location)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const char *rest = strstr(location, "://");
    struct ref here;

    rest = rest ? strchr(rest + 3, '/') : NULL;
    if (rest && cmd_this_host(c, &here, &ignored) == 0 && ref_eq(here, cmd_member_ref(vm, "resident_on")))
        location = rest;
    return arena_printf(c->arena, "%s%csession_id=%s", location, strchr(location, '?') ? '&' : '?',
                        c->env->session(c->env->arg));
}

/* The first of a VM's consoles with this protocol, or of any when it is NULL. */
static const struct value *find_console(struct cmd *c, const struct value *vm, const char *protocol)
{
    const struct value *set = value_get(vm, "consoles");

    for (size_t i = 0; set && set->kind == VALUE_SET && i < set->set.n; i++) {
        const struct value *r = cmd_object_record(c, CLASS_console, cmd_as_ref(&set->set.items[i]));

        if (r && (!protocol || streq(cmd_member_text(r, "protocol"), protocol))) return r;
    }
    return NULL;
}

static int one_vm(struct cmd *c, struct ref *ret_ref, struct value *ret_vm, struct xerr *err)
{
    struct cmd_object_row *rows;
    size_t n;

    if (cmd_select(c, "vm", CMD_CONTROL_VMS, "", &rows, &n, err) < 0) return -1;
    if (n != 1) {
        cmd_print_error(c, n ? N_("Multiple VMs found: please narrow your request to one VM.")
                             : N_("No VM found"));
        return cmd_exit(err, 1);
    }
    *ret_ref = rows[0].ref;
    return cmd_record(c, CLASS_VM, rows[0].ref, ret_vm, err);
}

/* Lets the client attach itself; until it leaves. */
static int attach(struct cmd *c, const struct value *vm, const char *location, struct xerr *err)
{
    cmd_say(c, "Connecting to console on VM %s. Press Ctrl + ']' to quit.", cmd_member_text(vm, "name_label"));
    c->env->transfer(c->env->client, CMD_CONNECT, "", console_url(c, vm, location));
    for (;;) {
        switch (c->env->transferred(c->env->client, WAIT_MS)) {
        case CMD_RUNNING:
            continue;
        case CMD_DONE:
            return 0;
        case CMD_BROKEN:
            return cmd_exit(err, 1);
        }
    }
}

int cmd_console(struct cmd *c, struct xerr *err)
{
    const struct value *console;
    struct value vm;
    struct ref ref;

    if (one_vm(c, &ref, &vm, err) < 0) return -1;
    console = find_console(c, &vm, "vt100");
    if (!console) {
        cmd_print_error(c, "No text console available");
        return cmd_exit(err, 1);
    }
    return attach(c, &vm, cmd_member_text(console, "location"), err);
}

/* As the error names states. */
static const char *lower_case(struct cmd *c, const char *word)
{
    char *copy = arena_strdup(c->arena, word);

    for (char *p = copy; *p; p++) *p = (char)tolower((unsigned char)*p);
    return copy;
}

/* A guest with a screen has a serial line too, which its one console leads to when asked for it by name. */
int cmd_vm_console(struct cmd *c, struct xerr *err)
{
    const struct value *console;
    const char *state, *location;
    char text[REF_TEXT];
    struct value vm;
    struct ref ref;

    if (one_vm(c, &ref, &vm, err) < 0) return -1;
    state = cmd_member_text(&vm, "power_state");
    if (!streq(state, "Running") && !streq(state, "Paused"))
        return xerr_vm_bad_power_state(err, ref_text(ref, text), "running", lower_case(c, state));
    console = find_console(c, &vm, "vt100");
    if (console) return attach(c, &vm, cmd_member_text(console, "location"), err);
    console = find_console(c, &vm, NULL);
    if (!console) return cmd_fail(err, "VM %s has no text console", cmd_member_text(&vm, "name_label"));
    location = cmd_member_text(console, "location");
    return attach(c, &vm, arena_printf(c->arena, "%s%cprotocol=vt100", location, strchr(location, '?') ? '&' : '?'),
                  err);
}
