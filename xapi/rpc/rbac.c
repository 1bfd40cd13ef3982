/* Who may call what.
 * Called by: dispatch.c, http_auth.  Calls: role, db/. */
#include "xapi/rpc/rbac.h"

#include <assert.h>
#include <stdlib.h>

#include "gen/permissions.h"
#include "xapi/role.h"

static bool has_role(const struct call *c, enum role_id role)
{
    if (c->is_root || role == ROLE_NONE) return true;
    return role != ROLE_LOCAL_ROOT && c->roles & 1u << role;
}

static bool pattern_matches(const char *pattern, const char *key)
{
    size_t n = strlen(pattern);

    return n && pattern[n - 1] == '*' ? strncmp(pattern, key, n - 1) == 0 : streq(pattern, key);
}

static bool may_touch_key(const struct call *c, const struct key_role *rules, const char *key)
{
    for (; rules->pattern; rules++)
        if (pattern_matches(rules->pattern, key)) return has_role(c, rules->role);
    return false;
}

/* A set_x by somebody who may only touch some keys: every key that differs must be one of those. */
static bool may_change_map(const struct call *c, const struct field_desc *f, const struct value *args)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, (enum class_id)field_class(f->id), args[0].ref);
    const struct value *new_map = &args[1];

    if (!row || f->cell != CELL_VALUE || new_map->kind != VALUE_MAP) return false;
    const struct value *old = row_value(row, f->id);
    for (size_t i = 0; i < old->map.n; i++) {
        const struct value *kept = value_get(new_map, old->map.members[i].key);
        if (kept && value_eq(kept, &old->map.members[i].value)) continue;
        if (!may_touch_key(c, f->key_roles, old->map.members[i].key)) return false;
    }
    for (size_t i = 0; i < new_map->map.n; i++)
        if (!value_get(old, new_map->map.members[i].key) && !may_touch_key(c, f->key_roles, new_map->map.members[i].key))
            return false;
    return true;
}

static bool key_rules_allow(const struct call *c, const struct method_desc *m, const struct value *args)
{
    const struct field_desc *f = m->field ? model_field(m->field) : NULL;

    if (!f || !f->key_roles || f->type->kind != TYPE_MAP) return false;
    if (m->kind == METHOD_SET) return may_change_map(c, f, args);
    if (m->kind != METHOD_ADD && m->kind != METHOD_REMOVE) return false;
    return args[1].kind == VALUE_STRING && may_touch_key(c, f->key_roles, args[1].s);
}

int rbac_check_role(const struct call *c, const char *permission, enum role_id role, struct xerr *err)
{
    if (has_role(c, role)) return 0;
    return xerr_rbac_permission_denied(err, permission, "The session's roles do not carry this permission");
}

static int by_name(const void *name, const void *permission)
{
    return strcmp(name, ((const struct permission_desc *)permission)->name);
}

int rbac_check_permission(const struct call *c, const char *permission, struct xerr *err)
{
    const struct permission_desc *p = bsearch(permission, permissions, N_PERMISSIONS, sizeof(*p), by_name);

    assert(p);
    return rbac_check_role(c, permission, p->role, err);
}

int rbac_check(struct call *c, const struct method_desc *m, const struct value *args, struct xerr *err)
{
    if (has_role(c, m->role) || key_rules_allow(c, m, args)) return 0;
    return rbac_check_role(c, role_permission_name(m->name, c->arena), m->role, err);
}
