/* Class subject: accounts and groups that may log in, and their roles.
 * Called by: rpc/.  Calls: role, db/. */
#include "gen/methods.h"
#include "xapi/call/call.h"
#include "xapi/role.h"

int subject_create(struct call *c, const struct value *args, struct ref *ret_result, struct xerr *err)
{
    const char *identifier = value_get_str(args, "subject_identifier", "");
    const struct value *other_config = value_get(args, "other_config");
    struct ref ref = ref_new();

    if (!*identifier) return xerr_invalid_value(err, "subject_identifier", "");
    struct txn *t = db_begin(c->agent->db);
    SNAP_EACH(txn_snap(t), CLASS_subject, row) {
        if (!streq(row_str(row, F_subject_subject_identifier), identifier)) continue;
        db_abort(t);
        return xerr_subject_already_exists(err);
    }
    txn_create(t, CLASS_subject, ref);
    txn_set_str(t, ref, F_subject_subject_identifier, identifier);
    if (other_config) txn_set_value(t, ref, F_subject_other_config, other_config);
    if (db_commit(t, err)) return -1;
    *ret_result = ref;
    return 0;
}

/* Its sessions end with it. */
int subject_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_session) + 1);
    size_t n = 0;

    SNAP_EACH(txn_snap(t), CLASS_session, row)
        if (ref_eq(row_ref(row, F_session_subject), self)) gone[n++] = row_ref_of(row);
    for (size_t i = 0; i < n; i++) txn_destroy(t, CLASS_session, gone[i]);
    txn_destroy(t, CLASS_subject, self);
    return db_commit(t, err);
}

/* Sessions keep the list of permissions that clients read: brought up to date when roles change. */
static void refresh_sessions(struct call *c, struct txn *t, struct ref self)
{
    struct ref *sessions = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_session) + 1);
    size_t n = 0;

    SNAP_EACH(txn_snap(t), CLASS_session, row)
        if (ref_eq(row_ref(row, F_session_subject), self) && !row_bool(row, F_session_is_local_superuser))
            sessions[n++] = row_ref_of(row);
    if (!n) return;
    struct value permissions = role_permissions_of_subject(txn_snap(t), self, c->arena);
    for (size_t i = 0; i < n; i++) txn_set_value(t, sessions[i], F_session_rbac_permissions, &permissions);
}

static int change_role(struct call *c, struct ref self, struct ref role, bool add, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *subject = snap_need(txn_snap(t), CLASS_subject, self, err);
    const struct row *row = snap_get(txn_snap(t), CLASS_role, role);

    if (!subject) goto refused;
    /* Single permissions are roles too, but not ones to give to a subject. */
    if (!row || !row_refs(row, F_role_subroles)->n) {
        xerr_role_not_found(err);
        goto refused;
    }
    bool has = refset_has(row_refs(subject, F_subject_roles), role);
    if (add == has) {
        if (add) xerr_role_already_exists(err);
        else xerr_role_not_found(err);
        goto refused;
    }
    struct value item = value_ref(role);
    if (add) txn_set_add(t, self, F_subject_roles, &item);
    else txn_set_remove(t, self, F_subject_roles, &item);
    refresh_sessions(c, t, self);
    return db_commit(t, err);
refused:
    db_abort(t);
    return -1;
}

int subject_add_to_roles(struct call *c, struct ref self, struct ref role, struct xerr *err)
{
    return change_role(c, self, role, true, err);
}

int subject_remove_from_roles(struct call *c, struct ref self, struct ref role, struct xerr *err)
{
    return change_role(c, self, role, false, err);
}

int subject_get_permissions_name_label(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!call_need(s, CLASS_subject, self, err)) return -1;
    *ret_result = role_permissions_of_subject(s, self, c->arena);
    return 0;
}
