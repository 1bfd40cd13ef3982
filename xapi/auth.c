/* Class auth: looking accounts up in the source of accounts.
 * Called by: rpc/.  Calls: auth_source. */
#include "xapi/auth.h"

#include <grp.h>
#include <pwd.h>

#include "gen/methods.h"
#include "xapi/call/call.h"
#include "xapi/ext_auth.h"

static bool group_exists(const char *name, gid_t *ret_gid)
{
    struct group g, *found = NULL;
    char buf[16384];

    if (getgrnam_r(name, &g, buf, sizeof(buf), &found) || !found) return false;
    *ret_gid = g.gr_gid;
    return true;
}

/* A question to the plug-in in charge about one subject. What it does not know cannot be resolved. */
static int ask(struct call *c, const char *type, const char *verb, const char *key, const char *text, enum value_kind kind,
               struct value *ret_result, struct xerr *err)
{
    const struct member request[] = { { key, value_string(text) } };
    struct ext_auth_refusal refusal;

    if (ext_auth_ask(c, type, verb, request, 1, ret_result, &refusal, err)) {
        if (!refusal.tag || !streq(refusal.tag, "NOT_FOUND")) return -1;
        xerr_clear(err);
        return xerr_subject_cannot_be_resolved(err);
    }
    return ret_result->kind == kind ? 0 : xerr_auth_service_error(err, "The plug-in's answer is not understood");
}

/* Maps and sets of texts are what clients get; anything else in them is left out. */
static struct value only_texts(struct call *c, const struct value *v)
{
    struct value_builder b = value_builder(c->arena);

    if (v->kind == VALUE_SET) {
        for (size_t i = 0; i < v->set.n; i++)
            if (v->set.items[i].kind == VALUE_STRING) value_push(&b, v->set.items[i]);
        return value_built_set(&b);
    }
    for (size_t i = 0; i < v->map.n; i++)
        if (v->map.members[i].value.kind == VALUE_STRING) value_put(&b, v->map.members[i].key, v->map.members[i].value);
    return value_built_map(&b);
}

int auth_get_subject_identifier(struct call *c, const char *subject_name, const char **ret_result, struct xerr *err)
{
    const char *type = ext_auth_type(c);
    struct value id;
    gid_t gid;

    if (type) {
        if (ask(c, type, "get_subject_identifier", "name", subject_name, VALUE_STRING, &id, err)) return -1;
        *ret_result = id.s;
        return 0;
    }
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
    const char *name = colon ? colon + 1 : "", *type = ext_auth_type(c);
    struct value info;
    gid_t gid;

    if (type) {
        if (ask(c, type, "query_subject_information", "identifier", subject_identifier, VALUE_MAP, &info, err)) return -1;
        *ret_result = only_texts(c, &info);
        return 0;
    }
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
    const char *name = has_prefix(subject_identifier, "user:") ? subject_identifier + 5 : "", *type = ext_auth_type(c);
    struct value groups;

    if (type) {
        if (ask(c, type, "query_group_membership", "identifier", subject_identifier, VALUE_SET, &groups, err)) return -1;
        *ret_result = only_texts(c, &groups);
        return 0;
    }
    if (!auth_user_exists(c->agent->auth, name)) return xerr_subject_cannot_be_resolved(err);
    const char **ids = auth_user_identifiers(c->agent->auth, name, c->arena);
    for (size_t i = 1; ids[i]; i++) value_push(&b, value_string(ids[i]));
    *ret_result = value_built_set(&b);
    return 0;
}
