/* VMs and appliances out of the database of a pool that is gone: appliance-recover, vm-recover, and whether they can be.
 * Called by: commands.c.  Calls: cmd_call. */
#include "xe/commands.h"

/* What the message of the command is, asked by a session that reads the dump; it gets the client's own beside. */
static int ask(struct cmd *c, const char *reader, struct xerr *err)
{
    const struct method_desc *m = model_method(c->command->uses);
    const char *find = arena_printf(c->arena, "%s.get_by_uuid", model.classes[m->cls].name);
    const struct value uuid = value_string(cmd_need(c, "uuid"));
    struct value args[3] = { [1] = value_string(c->env->session(c->env->arg)) }, dropped;
    bool force;

    if (cmd_get_bool(c, "force", false, &force, err) < 0 ||
        c->env->call_by(c->env->arg, reader, find, &uuid, 1, c->arena, &args[0], err) < 0)
        return -1;
    args[2] = value_bool(force);
    return c->env->call_by(c->env->arg, reader, m->name, args, m->n_params, c->arena, &dropped, err);
}

int cmd_recover(struct cmd *c, struct xerr *err)
{
    const struct value database = cmd_get_map(c, "database");
    const char *uuid = value_get_str(&database, "vdi-uuid", "");
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct ref vdi, reader;
    struct value dropped;
    char text[REF_TEXT];

    if (!*uuid) return cmd_fail(err, "Which disk holds the database must be said: database:vdi-uuid=<uuid>");
    if (cmd_by_uuid(c, CLASS_VDI, uuid, &vdi, err) < 0 ||
        cmd_call_ref(c, "VDI.open_database", CMD_ARGS(value_ref(vdi)), &reader, err) < 0)
        return -1;
    const int rc = ask(c, ref_text(reader, text), err);
    c->env->call_by(c->env->arg, text, "session.logout", NULL, 0, c->arena, &dropped, &ignored);
    return rc;
}
