/* What a session is good for, besides its roles: this host alone, the records of one storage repository, a dump.
 * Called by: dispatch.c, http_auth.  Calls: rbac, db/. */
#include "xapi/rpc/rbac.h"

#include "xapi/role.h"
#include "xapi/rpc/fields.h"

static int refuse(const struct call *c, const char *permission, struct xerr *err)
{
    static const char *const why[] = {
        [SCOPE_LOCAL] = "A local session is good for emergency calls only",
        [SCOPE_REPOSITORY] = "This session is good for the records of one SR only",
        [SCOPE_DATABASE] = "This session is good for reading a dump only",
    };

    return xerr_rbac_permission_denied(err, permission, why[c->scope]);
}

int scope_check_permission(const struct call *c, const char *permission, struct xerr *err)
{
    return c->scope == SCOPE_ALL ? 0 : refuse(c, permission, err);
}

/* ---- one repository ---- */

/* The object is the repository, one of its disks, or a host's connection to it. */
static bool belongs(const struct snap *s, int cls, struct ref ref, struct ref repository)
{
    const struct row *row = snap_get(s, (enum class_id)cls, ref);

    if (!row) return true;    /* the message itself says what is wrong */
    switch (cls) {
    case CLASS_SR: return ref_eq(ref, repository);
    case CLASS_VDI: return ref_eq(row_ref(row, F_VDI_SR), repository);
    case CLASS_PBD: return ref_eq(row_ref(row, F_PBD_SR), repository);
    default: return false;
    }
}

/* Every repository, disk and connection among the arguments is ours, and there is one. */
static bool only_ours(const struct snap *s, const struct method_desc *m, const struct value *args, struct ref repository)
{
    bool some = false;

    for (unsigned i = 0; i < m->n_params; i++) {
        const struct type_desc *t = m->params[i].type;
        if (t->kind != TYPE_REF || ref_is_null(args[i].ref)) continue;
        if (t->cls != CLASS_SR && t->cls != CLASS_VDI && t->cls != CLASS_PBD) continue;
        if (!belongs(s, t->cls, args[i].ref, repository)) return false;
        some = true;
    }
    return some;
}

/* A connection of this repository names the secret. */
static bool names_secret(const struct snap *s, struct ref repository, const char *uuid)
{
    SNAP_EACH(s, CLASS_PBD, pbd) {
        const struct value *config = row_value(pbd, F_PBD_device_config);
        if (!ref_eq(row_ref(pbd, F_PBD_SR), repository)) continue;
        for (size_t i = 0; i < config->map.n; i++) {
            const struct value *v = &config->map.members[i].value;
            if (v->kind == VALUE_STRING && streq(v->s, uuid)) return true;
        }
    }
    return false;
}

/* secret.get_by_uuid(uuid), secret.get_value(ref). */
static bool own_secret(const struct snap *s, const struct method_desc *m, const struct value *args, struct ref repository)
{
    if (m->kind == METHOD_GET_BY_UUID) return names_secret(s, repository, args[0].s);
    if (m->kind != METHOD_GET) return false;
    const struct row *row = snap_get(s, CLASS_secret, args[0].ref);
    return !row || names_secret(s, repository, row_uuid(row));
}

/* message.create(name, priority, cls, obj_uuid, body): about the repository or one of its disks. */
static bool own_alert(const struct snap *s, const struct value *args, struct ref repository)
{
    const struct row *row = snap_by_uuid(s, CLASS_SR, args[3].s);

    if (row) return ref_eq(row_ref_of(row), repository);
    row = snap_by_uuid(s, CLASS_VDI, args[3].s);
    return row && ref_eq(row_ref(row, F_VDI_SR), repository);
}

static bool reads(const struct method_desc *m)
{
    return m->kind == METHOD_GET || (m->kind >= METHOD_GET_RECORD && m->kind <= METHOD_GET_BY_NAME_LABEL);
}

bool scope_recovers(const struct method_desc *m)
{
    static const char *const messages[] = { "recover", "assert_can_be_recovered", "get_SRs_required_for_recovery" };

    for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
        if ((m->cls == CLASS_VM || m->cls == CLASS_VM_appliance) && streq(m->message, messages[i])) return true;
    return false;
}

static bool database_may(const struct method_desc *m)
{
    if (m->cls == CLASS_session) return reads(m) || streq(m->message, "logout") || streq(m->message, "local_logout");
    return (reads(m) && fields_serve(m)) || scope_recovers(m);
}

static bool repository_may(const struct call *c, const struct method_desc *m, const struct value *args)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    bool looks = reads(m) || (m->role == ROLE_READ_ONLY && has_prefix(m->message, "get_"));

    switch (m->cls) {
    case CLASS_secret: return own_secret(s, m, args, c->repository);
    /* The driver waits for its slot already: what would start another driver on the repository would wait for ever. */
    case CLASS_SR:
    case CLASS_VDI:
    case CLASS_PBD: return looks || (!m->blocks && only_ours(s, m, args, c->repository));
    case CLASS_message: return looks || (streq(m->message, "create") && own_alert(s, args, c->repository));
    case CLASS_session: return looks || streq(m->message, "logout") || streq(m->message, "local_logout");
    /* Drivers run plug-ins on the hosts of a pool; both are root's programs. */
    case CLASS_host: return looks || streq(m->message, "call_plugin");
    default: return looks;
    }
}

/* ---- both ---- */

int scope_check(struct call *c, const struct method_desc *m, const struct value *args, struct xerr *err)
{
    bool may = true;

    switch (c->scope) {
    case SCOPE_ALL: return 0;
    case SCOPE_LOCAL: may = m->local; break;
    case SCOPE_DATABASE: may = database_may(m); break;
    case SCOPE_REPOSITORY: may = c->local && repository_may(c, m, args); break;
    }
    return may ? 0 : refuse(c, role_permission_name(m->name, c->arena), err);
}
