/* External directories: asking the plug-in in charge.
 * Called by: session.c, auth.c, ext_auth_config.c.  Calls: subproc, json, db/. */
#define LOG_MODULE "auth"

#include "xapi/ext_auth.h"

#include <ctype.h>
#include <errno.h>

#include "gen/errors.h"
#include "lib/conf.h"
#include "lib/json.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/subproc.h"
#include "xapi/auth.h"
#include "xapi/login_cache.h"

enum { JOIN_MS = 180000, WAIT_MS = 80000, MAX_ANSWER = 1 << 20, MAX_GROUPS = 4096 };

const char *ext_auth_type(const struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);
    const char *type = host ? row_str(host, F_host_external_auth_type) : "";

    return *type && !streq(type, "PAM") ? arena_strdup(c->arena, type) : NULL;
}

/* A name of a file, and of nothing else. */
static bool good_type(const char *type)
{
    size_t n = strlen(type);

    for (const char *p = type; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-') return false;
    return n && n < 64 && *type != '-';
}

/* A program of the administrator's folder, else one that came along. */
static const char *program_of(struct call *c, const char *type)
{
    const char *from_env = getenv("XAPI_AUTH_DIR"), *own = from_env && *from_env ? from_env : PKGLIBEXECDIR "/auth";
    const char *program = arena_printf(c->arena, "%s/%s", conf_str(c->agent->conf, "auth-plugin-dir"), type);

    return access(program, X_OK) ? arena_printf(c->arena, "%s/%s", own, type) : program;
}

/* Changing the tie to a domain takes longer than asking it. */
static int64_t deadline_ms(struct call *c, const char *verb)
{
    int64_t timeout_ms = conf_ms(c->agent->conf, "auth-timeout");

    return (streq(verb, "enable") || streq(verb, "disable") || streq(verb, "set_ldaps")) && timeout_ms < JOIN_MS ? JOIN_MS : timeout_ms;
}

static int run(struct call *c, const char *type, const char *verb, const struct strbuf *request, struct subproc_result *r,
               struct xerr *err)
{
    const char *program = program_of(c, type);
    const char *const argv[] = { program, verb, NULL };
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                                arena_printf(c->arena, "XAPI_STATE=%s", c->agent->root), NULL };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = deadline_ms(c, verb), .out_bytes = MAX_ANSWER };

    if (!good_type(type) || access(program, X_OK)) return xerr_auth_unknown_type(err, type);
    if (subproc_run(&cmd, request->ptr, request->len, &limits, r))
        return xerr_auth_service_error(err, arena_printf(c->arena, "%s cannot be run: %s", program, strerror(errno)));
    return 0;
}

int ext_auth_read_answer(const char *text, size_t len, struct arena *a, struct value *ret_result, struct ext_auth_refusal *ret_refusal,
                         struct xerr *err)
{
    struct value answer;
    const char *wrong;

    if (json_decode(text, len, a, &answer, &wrong) || answer.kind != VALUE_MAP)
        return xerr_auth_service_error(err, "The plug-in's answer is not understood");
    const char *tag = value_get_str(&answer, "error", NULL);
    const struct value *result = value_get(&answer, "result");
    if (tag) {
        *ret_refusal = (struct ext_auth_refusal){ tag, value_get_str(&answer, "message", "") };
        return xerr_auth_service_error(err, ret_refusal->message);
    }
    *ret_result = result ? *result : value_void();
    return 0;
}

static int read_answer(struct call *c, const struct subproc_result *r, struct value *ret_result,
                       struct ext_auth_refusal *ret_refusal, struct xerr *err)
{
    if (subproc_ok(r) && !r->out_truncated)
        return ext_auth_read_answer(strbuf_cstr(&r->out), r->out.len, c->arena, ret_result, ret_refusal, err);
    _cleanup_free_ char *why = subproc_describe(r);
    return xerr_auth_service_error(err, arena_printf(c->arena, "The plug-in failed: %s", why));
}

int ext_auth_ask(struct call *c, const char *type, const char *verb, const struct member *members, size_t n,
                 struct value *ret_result, struct ext_auth_refusal *ret_refusal, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf request = STRBUF_INIT;
    const struct value map = value_map(members, n);
    struct subproc_result r;

    *ret_refusal = (struct ext_auth_refusal){ NULL, NULL };
    json_encode_value(&map, &request);
    int rc = run(c, type, verb, &request, &r, err);
    explicit_bzero(request.ptr, request.len);
    if (rc) return -1;
    rc = read_answer(c, &r, ret_result, ret_refusal, err);
    if (rc && !ret_refusal->tag) log_error("%s %s: %s", type, verb, err->n ? err->params[0] : err->code);
    subproc_result_free(&r);
    return rc;
}

/* ---- accounts ---- */

static bool says(const struct value *info, const char *key)
{
    return streq(value_get_str(info, key, "false"), "true");
}

static const char *unusable(const struct value *info)
{
    if (says(info, "subject-account-disabled")) return "The account is disabled";
    if (says(info, "subject-account-expired")) return "The account has expired";
    if (says(info, "subject-account-locked")) return "The account is locked";
    if (says(info, "subject-password-expired")) return "The password has expired";
    return NULL;
}

/* What the directory says of the identifier, and its groups. *ret_why: the account must not be used. */
static int look_up(struct call *c, const char *type, const char *id, const char ***ret_ids, const char **ret_why,
                   struct ext_auth_refusal *refusal, struct xerr *err)
{
    const struct member subject[] = { { "identifier", value_string(id) } };
    struct value info, groups;

    if (ext_auth_ask(c, type, "query_subject_information", subject, 1, &info, refusal, err)) return -1;
    if (ext_auth_ask(c, type, "query_group_membership", subject, 1, &groups, refusal, err)) return -1;
    if (info.kind != VALUE_MAP || groups.kind != VALUE_SET || groups.set.n > MAX_GROUPS)
        return xerr_auth_service_error(err, "The plug-in's answer is not understood");
    const char **ids = arena_new_array(c->arena, const char *, groups.set.n + 2);
    size_t n = 0;
    ids[n++] = id;
    for (size_t i = 0; i < groups.set.n; i++)
        if (groups.set.items[i].kind == VALUE_STRING && *groups.set.items[i].s) ids[n++] = groups.set.items[i].s;
    ids[n] = NULL;
    *ret_ids = ids;
    *ret_why = unusable(&info);
    return 0;
}

static int login_failed(struct xerr *err, const char *user, const char *reason)
{
    xerr_clear(err);
    return xerr_set(err, "SESSION_AUTHENTICATION_FAILED", 2, (const char *[]){ user, reason });
}

/* What the pool says of them, and how many may be passed on at a time. */
static struct login_cache_limits limits_of(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *pool = snap_get(s, CLASS_pool, c->agent->pool);

    if (!pool) return (struct login_cache_limits){ 0, 0 };
    turns_set(login_cache_turns(c->agent->directory_logins), row_int(pool, F_pool_ext_auth_max_threads));
    if (!row_bool(pool, F_pool_ext_auth_cache_enabled)) return (struct login_cache_limits){ 0, 0 };
    return (struct login_cache_limits){ row_int(pool, F_pool_ext_auth_cache_size), row_int(pool, F_pool_ext_auth_cache_expiry) * 1000 };
}

/* Asks the directory: the password, then the account and its groups. */
static int pass_on(struct call *c, const char *type, const char *user, const char *password, const char ***ret_ids, struct xerr *err)
{
    const struct member credentials[] = { { "user", value_string(user) }, { "password", value_string(password) } };
    struct ext_auth_refusal refusal;
    const char *why = NULL;
    struct value id;

    if (ext_auth_ask(c, type, "authenticate", credentials, ARRAY_SIZE(credentials), &id, &refusal, err))
        return login_failed(err, user, refusal.tag ? "Invalid credentials" : "The directory does not answer");
    if (id.kind != VALUE_STRING || !*id.s) return login_failed(err, user, "The directory does not answer");
    if (look_up(c, type, id.s, ret_ids, &why, &refusal, err)) return login_failed(err, user, "The directory does not answer");
    return why ? login_failed(err, user, why) : 0;
}

int ext_auth_login(struct call *c, const char *user, const char *password, const char ***ret_ids, struct xerr *err)
{
    const char *type = ext_auth_type(c);
    struct login_cache *cache = c->agent->directory_logins;
    const struct login_cache_limits limits = limits_of(c);

    if (!type || !*user || !*password || strlen(user) > LIMIT_USER_NAME || strlen(password) > LIMIT_PASSWORD)
        return login_failed(err, user, "Invalid credentials");
    if ((*ret_ids = login_cache_find(cache, &limits, type, user, password, c->arena))) return 0;
    if (!turns_begin(login_cache_turns(cache), WAIT_MS)) return xerr_too_many_pending_tasks(err);
    int rc = pass_on(c, type, user, password, ret_ids, err);
    turns_end(login_cache_turns(cache));
    if (!rc) login_cache_add(cache, &limits, type, user, password, *ret_ids);
    return rc;
}

int ext_auth_recheck(struct call *c, const char *identifier, const char ***ret_ids, struct xerr *err)
{
    const char *type = ext_auth_type(c), *why = NULL;
    struct ext_auth_refusal refusal = { NULL, NULL };

    if (!type) {
        const char *name = has_prefix(identifier, "user:") ? identifier + 5 : "";
        if (!auth_user_exists(c->agent->auth, name)) return xerr_subject_cannot_be_resolved(err);
        *ret_ids = auth_user_identifiers(c->agent->auth, name, c->arena);
        return 0;
    }
    int rc = look_up(c, type, identifier, ret_ids, &why, &refusal, err);
    if (!rc && !why) return 0;
    if (rc && !(refusal.tag && streq(refusal.tag, "NOT_FOUND"))) return -1;
    xerr_clear(err);
    return xerr_subject_cannot_be_resolved(err);
}
