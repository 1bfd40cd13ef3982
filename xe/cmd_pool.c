/* Commands for the pool: certificates, HA, external users, repositories.
 * Called by: commands.c.  Calls: cmd_call. */
#include "xe/commands.h"

/* ---- certificates ------------------------------------------------------------------------------------ */

/* The file's name without its folder names the certificate. */
static int install_named(struct cmd *c, const char *method, const char *what, struct xerr *err)
{
    const char *file = cmd_need(c, "filename"), *slash = strrchr(file, '/'), *text;

    if (cmd_load(c, what, file, &text, err) < 0) return -1;
    return cmd_do(c, method, CMD_ARGS(value_string(slash ? slash + 1 : file), value_string(text)), err);
}

int cmd_pool_install_ca(struct cmd *c, struct xerr *err)
{
    return install_named(c, "pool.install_ca_certificate", "certificate", err);
}

int cmd_pool_install_crl(struct cmd *c, struct xerr *err)
{
    return install_named(c, "pool.crl_install", "CRL", err);
}

int cmd_pool_install_trusted(struct cmd *c, struct xerr *err)
{
    const struct method_desc *m = model_method("pool.install_trusted_certificate");
    struct value purpose;
    const char *text;
    struct ref pool;
    bool ca;

    if (cmd_get_ref(c, "uuid", CLASS_pool, &pool, err) < 0) return -1;
    if (ref_is_null(pool) && cmd_pool(c, &pool, err) < 0) return -1;
    if (cmd_get_bool(c, "ca", false, &ca, err) < 0) return -1;
    if (cmd_value_parse(c, "purpose", cmd_get_or(c, "purpose", ""), m->params[3].type, false, &purpose, err) <
        0)
        return -1;
    if (cmd_load(c, "certificate", cmd_need(c, "filename"), &text, err) < 0) return -1;
    return cmd_do(c, m->name, CMD_ARGS(value_ref(pool), value_bool(ca), value_string(text), purpose), err);
}

int cmd_repository_remote_pool(struct cmd *c, struct xerr *err)
{
    struct ref repository;
    const char *text;

    if (cmd_load(c, "certificate file", cmd_need(c, "certificate-file"), &text, err) < 0) return -1;
    if (cmd_call_ref(c, "Repository.introduce_remote_pool",
                     CMD_ARGS(value_string(cmd_need(c, "name-label")),
                              value_string(cmd_get_or(c, "name-description", "")),
                              value_string(cmd_need(c, "binary-url")), value_string(text)),
                     &repository, err) < 0)
        return -1;
    return cmd_print_uuid(c, CLASS_Repository, repository, err);
}

int cmd_pool_configure_update_sync(struct cmd *c, struct xerr *err)
{
    const struct method_desc *m = model_method("pool.configure_update_sync");
    const char *day_text = cmd_get(c, "update-sync-day");
    struct value frequency;
    int64_t day = 0;
    struct ref pool;

    if (cmd_pool(c, &pool, err) < 0) return -1;
    if (cmd_value_parse(c, "update-sync-frequency", cmd_need(c, "update-sync-frequency"), m->params[1].type,
                        false, &frequency, err) < 0)
        return -1;
    if (streq(frequency.s, "weekly")) {
        _cleanup_xerr_ struct xerr ignored = XERR_INIT;

        if (cmd_parse_int("update-sync-day", day_text ? day_text : "", &day, &ignored) < 0 || day < 0 ||
            day > 6)
            return cmd_fail(err, "Invalid value for day picked, must be an integer from 0 to 6");
    }
    return cmd_do(c, m->name, CMD_ARGS(value_ref(pool), frequency, value_int(day)), err);
}

/* ---- members ----------------------------------------------------------------------------------------- */

static int list_lost(struct cmd *c, struct ref host, struct xerr *err)
{
    const field_id fields[] = { F_PBD_host, F_PBD_SR };
    struct value pbds;

    if (cmd_all(c, CLASS_PBD, fields, ARRAY_SIZE(fields), &pbds, err) < 0) return -1;
    for (size_t i = 0; pbds.kind == VALUE_MAP && i < pbds.map.n; i++) {
        const struct value *pbd = &pbds.map.members[i].value, *sr;

        if (!ref_eq(cmd_member_ref(pbd, "host"), host)) continue;
        sr = cmd_object_record(c, CLASS_SR, cmd_member_ref(pbd, "SR"));
        if (!sr || cmd_member_bool(sr, "shared")) continue;
        cmd_print(c, arena_printf(c->arena, "SR : %s (%s)", cmd_member_text(sr, "uuid"),
                                  cmd_member_text(sr, "name_label")));
    }
    return 0;
}

int cmd_pool_eject(struct cmd *c, struct xerr *err)
{
    struct ref host;
    bool force;
    int yes = 1;

    if (cmd_need_ref(c, "host-uuid", CLASS_host, &host, err) < 0) return -1;
    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    if (!force) {
        cmd_say(c, "WARNING: Ejecting a host from the pool will reinitialise that host's local SRs.");
        cmd_say(c, "WARNING: Any data contained with the local SRs will be lost.");
        if (list_lost(c, host, err) < 0) return -1;
        yes = cmd_confirm(c, err);
    }
    if (yes <= 0) return yes;
    return cmd_do(c, "pool.eject", CMD_ARGS(value_ref(host)), err);
}

int cmd_pool_recover_slaves(struct cmd *c, struct xerr *err)
{
    struct value hosts;

    if (cmd_call(c, "pool.recover_slaves", NULL, 0, &hosts, err) < 0) return -1;
    for (size_t i = 0; hosts.kind == VALUE_SET && i < hosts.set.n; i++)
        if (cmd_print_uuid(c, CLASS_host, cmd_as_ref(&hosts.set.items[i]), err) < 0) return -1;
    return 0;
}

/* ---- HA ---------------------------------------------------------------------------------------------- */

/* vm-uuid=A restart-priority=x vm-uuid=B restart-priority=y ... */
int cmd_pool_ha_hypothetical(struct cmd *c, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    struct value result;
    const char *vm = NULL;

    for (size_t i = 0; i < c->n_params; i++) {
        const struct cmd_param *p = &c->params[i];
        char text[REF_TEXT];
        struct ref ref;

        if (streq(p->key, "vm-uuid")) {
            if (cmd_by_uuid(c, CLASS_VM, p->value, &ref, err) < 0) return -1;
            vm = arena_strdup(c->arena, ref_text(ref, text));
        } else if (streq(p->key, "restart-priority")) {
            if (!vm)
                return cmd_fail(err, "Each restart-priority must stand behind the vm-uuid that it is for");
            value_put(&b, vm, value_string(p->value));
            vm = NULL;
        }
    }
    if (vm) return cmd_fail(err, "Each vm-uuid needs a restart-priority behind it");
    if (cmd_call(c, "pool.ha_compute_hypothetical_max_host_failures_to_tolerate",
                 CMD_ARGS(value_built_map(&b)), &result, err) < 0)
        return -1;
    cmd_result(c, NULL, &result);
    return 0;
}

int cmd_pool_ha_plan(struct cmd *c, struct xerr *err)
{
    struct value words = cmd_split(c, cmd_need(c, "host-uuids")), plan;
    struct value_builder hosts = value_builder(c->arena), vms = value_builder(c->arena);

    for (size_t i = 0; i < words.set.n; i++) {
        struct value resident;
        struct ref host;

        if (cmd_by_uuid(c, CLASS_host, words.set.items[i].s, &host, err) < 0) return -1;
        if (cmd_call(c, "host.get_resident_VMs", CMD_ARGS(value_ref(host)), &resident, err) < 0) return -1;
        value_push(&hosts, value_ref(host));
        for (size_t k = 0; resident.kind == VALUE_SET && k < resident.set.n; k++) {
            const struct value *vm = cmd_object_record(c, CLASS_VM, cmd_as_ref(&resident.set.items[k]));

            if (vm && !cmd_member_bool(vm, "is_control_domain")) value_push(&vms, resident.set.items[k]);
        }
    }
    if (cmd_call(c, "pool.ha_compute_vm_failover_plan",
                 CMD_ARGS(value_built_set(&hosts), value_built_set(&vms)), &plan, err) < 0)
        return -1;
    for (size_t i = 0; plan.kind == VALUE_MAP && i < plan.map.n; i++) {
        const struct value *where = &plan.map.members[i].value;
        const char *host = value_get_str(where, "host", NULL), *code = value_get_str(where, "error_code", "");

        cmd_row(c,
                (struct cmd_pair[]){ { "VM", cmd_ref_text(c, plan.map.members[i].key) },
                                     { host ? "host" : "error", host ? cmd_ref_text(c, host) : code } },
                2);
    }
    return 0;
}

int cmd_pool_wlb_recommendations(struct cmd *c, struct xerr *err)
{
    struct value map;

    if (cmd_call(c, "pool.retrieve_wlb_recommendations", NULL, 0, &map, err) < 0) return -1;
    cmd_print_advice(c, "VM", "Host, OptID, RecID, Reason", &map);
    return 0;
}

/* ---- users from outside ------------------------------------------------------------------------------ */

int cmd_subject_add(struct cmd *c, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    struct ref subject;
    const char *id;

    if (cmd_call_text(c, "auth.get_subject_identifier", CMD_ARGS(value_string(cmd_need(c, "subject-name"))),
                      &id, err) < 0)
        return -1;
    value_put(&b, "subject_identifier", value_string(id));
    value_put(&b, "other_config", value_map(NULL, 0));
    if (cmd_call_ref(c, "subject.create", CMD_ARGS(value_built_map(&b)), &subject, err) < 0) return -1;
    return cmd_print_uuid(c, CLASS_subject, subject, err);
}

static int change_role(struct cmd *c, const char *method, struct xerr *err)
{
    const char *uuid = cmd_get(c, "role-uuid"), *name = cmd_get(c, "role-name");
    struct ref subject, role = REF_NULL;
    struct value named;

    if (!uuid && !name) return cmd_fail(err, "Required parameter not found: role-uuid or role-name");
    if (uuid && name) return cmd_fail(err, "Parameters role-uuid and role-name cannot be used together");
    if (uuid && cmd_by_uuid(c, CLASS_role, uuid, &role, err) < 0) return -1;
    if (name) {
        if (cmd_call(c, "role.get_by_name_label", CMD_ARGS(value_string(name)), &named, err) < 0) return -1;
        if (named.kind == VALUE_SET && named.set.n) role = cmd_as_ref(&named.set.items[0]);
    }
    if (cmd_need_ref(c, "uuid", CLASS_subject, &subject, err) < 0) return -1;
    return cmd_do(c, method, CMD_ARGS(value_ref(subject), value_ref(role)), err);
}

int cmd_subject_role_add(struct cmd *c, struct xerr *err)
{
    return change_role(c, "subject.add_to_roles", err);
}

int cmd_subject_role_remove(struct cmd *c, struct xerr *err)
{
    return change_role(c, "subject.remove_from_roles", err);
}

int cmd_session_subject_list(struct cmd *c, struct xerr *err)
{
    struct value ids;

    if (cmd_call(c, "session.get_all_subject_identifiers", NULL, 0, &ids, err) < 0) return -1;
    for (size_t i = 0; ids.kind == VALUE_SET && i < ids.set.n; i++)
        cmd_row(c, (struct cmd_pair[]){ { "subject-identifier ( RO)", ids.set.items[i].s } }, 1);
    return 0;
}

int cmd_session_subject_logout_all(struct cmd *c, struct xerr *err)
{
    struct value ids;

    if (cmd_call(c, "session.get_all_subject_identifiers", NULL, 0, &ids, err) < 0) return -1;
    for (size_t i = 0; ids.kind == VALUE_SET && i < ids.set.n; i++)
        if (cmd_do(c, "session.logout_subject_identifier", CMD_ARGS(ids.set.items[i]), err) < 0) return -1;
    return 0;
}
