/* Class auth: looking accounts up in the source of accounts.
 * Called by: rpc/.  Calls: auth_source. */
#include "xapi/auth.h"

#include <grp.h>
#include <pwd.h>

#include "gen/methods.h"
#include "xapi/call/call.h"

static bool group_exists(const char *name, gid_t *ret_gid)
{
    struct group g, *found = NULL;
    char buf[16384];

    if (getgrnam_r(name, &g, buf, sizeof(buf), &found) || !found) return false;
    *ret_gid = g.gr_gid;
    return true;
}

int auth_get_subject_identifier(struct call *c, const char *subject_name, const char **ret_result, struct xerr *err)
{
    gid_t gid;

    if (auth_user_exists(c->agent->auth, subject_name)) {
        *ret_result = arena_printf(c->arena, "user:%s", subject_name);
        return 0;
    }
    if (group_exists(subject_name, &gid)) {
        *ret_result = arena_printf(c->arena, "group:%s", subject_name);
        return 0;
    }
    return xerr_subject_cannot_be_resolved(err);
}

static void describe_user(struct call *c, struct value_builder *b, const char *name)
{
    struct passwd pw, *found = NULL;
    char buf[16384];
    const char *gecos = name;

    if (getpwnam_r(name, &pw, buf, sizeof(buf), &found) == 0 && found) {
        char *text = arena_strdup(c->arena, pw.pw_gecos ? pw.pw_gecos : "");
        text[strcspn(text, ",")] = '\0';
        if (*text) gecos = text;
        value_put(b, "subject-uid", value_string(arena_printf(c->arena, "%u", pw.pw_uid)));
        value_put(b, "subject-gid", value_string(arena_printf(c->arena, "%u", pw.pw_gid)));
        value_put(b, "subject-homedir", value_string(arena_strdup(c->arena, pw.pw_dir)));
        value_put(b, "subject-shell", value_string(arena_strdup(c->arena, pw.pw_shell)));
    }
    value_put(b, "subject-gecos", value_string(gecos));
    value_put(b, "subject-displayname", value_string(gecos));
    value_put(b, "subject-is-group", value_string("false"));
    value_put(b, "subject-account-disabled", value_string("false"));
    value_put(b, "subject-account-expired", value_string("false"));
    value_put(b, "subject-account-locked", value_string("false"));
    value_put(b, "subject-password-expired", value_string("false"));
}

int auth_get_subject_information_from_identifier(struct call *c, const char *subject_identifier,
                                                 struct value *ret_result, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    const char *colon = strchr(subject_identifier, ':');
    const char *name = colon ? colon + 1 : "";
    gid_t gid;

    if (has_prefix(subject_identifier, "user:") && auth_user_exists(c->agent->auth, name)) {
        describe_user(c, &b, name);
    } else if (has_prefix(subject_identifier, "group:") && group_exists(name, &gid)) {
        value_put(&b, "subject-gid", value_string(arena_printf(c->arena, "%u", gid)));
        value_put(&b, "subject-is-group", value_string("true"));
        value_put(&b, "subject-displayname", value_string(name));
    } else {
        return xerr_subject_cannot_be_resolved(err);
    }
    value_put(&b, "subject-name", value_string(name));
    value_put(&b, "subject-sid", value_string(subject_identifier));
    *ret_result = value_built_map(&b);
    return 0;
}

int auth_get_group_membership(struct call *c, const char *subject_identifier, struct value *ret_result,
                              struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    const char *name = has_prefix(subject_identifier, "user:") ? subject_identifier + 5 : "";

    if (!auth_user_exists(c->agent->auth, name)) return xerr_subject_cannot_be_resolved(err);
    const char **ids = auth_user_identifiers(c->agent->auth, name, c->arena);
    for (size_t i = 1; ids[i]; i++) value_push(&b, value_string(ids[i]));
    *ret_result = value_built_set(&b);
    return 0;
}
