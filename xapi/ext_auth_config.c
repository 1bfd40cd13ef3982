/* Classes host and pool: choosing the external directory, and leaving it.
 * Called by: the generated thunks (schema/host.xml, schema/pool.xml).  Calls: ext_auth, db/. */
#define LOG_MODULE "auth"

#include <strings.h>

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/ext_auth.h"
#include "xapi/host.h"
#include "xapi/login_cache.h"

/* What a plug-in may refuse with, and the code that this becomes. */
static int fail(struct call *c, bool enable, const struct ext_auth_refusal *refusal, struct xerr *err)
{
    const char *message = refusal->tag ? refusal->message : err->n ? arena_strdup(c->arena, err->params[0]) : "";
    const char *base = enable ? "AUTH_ENABLE_FAILED" : "AUTH_DISABLE_FAILED", *code = base;

    if (xerr_is(err, "AUTH_UNKNOWN_TYPE")) return -1;
    if (refusal->tag) {
        const char *special = arena_printf(c->arena, "%s_%s", base, refusal->tag);
        const struct error_desc *known = model_error(special);
        if (known && known->n_params == 1) code = special;
    }
    xerr_clear(err);
    return xerr_set_dynamic(err, code, 1, &message);
}

/* Every session of a directory's user; local superusers stay. */
static void end_external_sessions(struct call *c, struct txn *t)
{
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_session) + 1);
    size_t n = 0;

    SNAP_EACH(txn_snap(t), CLASS_session, row)
        if (!row_bool(row, F_session_is_local_superuser) && !ref_eq(row_ref_of(row), c->session)) gone[n++] = row_ref_of(row);
    for (size_t i = 0; i < n; i++) txn_destroy(t, CLASS_session, gone[i]);
}

static int store(struct call *c, const char *type, const char *service, const struct value *config, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_str(t, c->agent->host, F_host_external_auth_type, type);
    txn_set_str(t, c->agent->host, F_host_external_auth_service_name, service);
    txn_set_value(t, c->agent->host, F_host_external_auth_configuration, config);
    end_external_sessions(c, t);
    login_cache_forget(c->agent->directory_logins, NULL);
    return db_commit(t, err);
}

static struct value current(struct call *c, const char **ret_type, const char **ret_service)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);

    *ret_type = host ? arena_strdup(c->arena, row_str(host, F_host_external_auth_type)) : "";
    *ret_service = host ? arena_strdup(c->arena, row_str(host, F_host_external_auth_service_name)) : "";
    return host ? value_copy(c->arena, row_value(host, F_host_external_auth_configuration)) : value_map(NULL, 0);
}

/* What is kept of the configuration: never a password. */
static struct value without_secrets(struct call *c, const struct value *config)
{
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; config->kind == VALUE_MAP && i < config->map.n; i++) {
        const struct member *m = &config->map.members[i];
        if (m->value.kind == VALUE_STRING && strcasecmp(m->key, "pass") && !strcasestr(m->key, "passw")) value_put(&b, m->key, m->value);
    }
    return value_built_map(&b);
}

int host_enable_external_auth(struct call *c, struct ref host, const struct value *config, const char *service_name,
                              const char *auth_type, struct xerr *err)
{
    struct ext_auth_refusal refusal = { NULL, NULL };
    const char *type, *service;
    struct value kept = *config;

    if (host_need_self(c, host, err)) return -1;
    current(c, &type, &service);
    if (*type) return xerr_auth_already_enabled(err, type, service);
    if (!streq(auth_type, "PAM")) {
        const struct member request[] = { { "config", *config }, { "service_name", value_string(service_name) } };
        if (ext_auth_ask(c, auth_type, "enable", request, ARRAY_SIZE(request), &kept, &refusal, err))
            return fail(c, true, &refusal, err);
    }
    kept = without_secrets(c, &kept);
    log_info("accounts of %s %s may log in", auth_type, service_name);
    return store(c, auth_type, service_name, &kept, err);
}

int host_disable_external_auth(struct call *c, struct ref host, const struct value *config, bool force, struct xerr *err)
{
    const char *type, *service;
    const struct value none = value_map(NULL, 0);
    struct value known, dropped;

    if (host_need_self(c, host, err)) return -1;
    known = current(c, &type, &service);
    if (!*type) return 0;
    if (!streq(type, "PAM")) {
        struct ext_auth_refusal refusal = { NULL, NULL };
        const struct member request[] = { { "config", *config }, { "enabled_config", known }, { "service_name", value_string(service) } };
        if (ext_auth_ask(c, type, "disable", request, ARRAY_SIZE(request), &dropped, &refusal, err)) {
            if (!force) return fail(c, false, &refusal, err);
            log_warn("%s did not let go and was left by force", type);
            xerr_clear(err);
        }
    }
    log_info("accounts of %s may not log in any more", type);
    return store(c, "", "", &none, err);
}

/* AUTH_X [message] of the host is POOL_AUTH_X [host, message] of the pool. */
static int of_pool(struct call *c, struct xerr *err)
{
    const char *host = arena_strdup(c->arena, REF_STR(c->agent->host));

    if (xerr_is(err, "AUTH_ALREADY_ENABLED")) {
        xerr_clear(err);
        return xerr_pool_auth_already_enabled(err, host);
    }
    if (!has_prefix(err->code, "AUTH_ENABLE_FAILED") && !has_prefix(err->code, "AUTH_DISABLE_FAILED")) return -1;
    const char *code = arena_printf(c->arena, "POOL_%s", err->code), *params[] = { host, arena_strdup(c->arena, err->params[0]) };
    xerr_clear(err);
    return xerr_set_dynamic(err, code, ARRAY_SIZE(params), params);
}

int pool_enable_external_auth(struct call *c, struct ref pool, const struct value *config, const char *service_name,
                              const char *auth_type, struct xerr *err)
{
    if (pool_need_self(c, pool, err)) return -1;
    return host_enable_external_auth(c, c->agent->host, config, service_name, auth_type, err) ? of_pool(c, err) : 0;
}

int pool_disable_external_auth(struct call *c, struct ref pool, const struct value *config, struct xerr *err)
{
    if (pool_need_self(c, pool, err)) return -1;
    return host_disable_external_auth(c, c->agent->host, config, false, err) ? of_pool(c, err) : 0;
}

/* ---- LDAPS ---- */

/* A refusal as the code that there is for it, else AUTH_SET_LDAPS_FAILED [host, message]. */
static int ldaps_failed(struct call *c, const struct ext_auth_refusal *refusal, struct xerr *err)
{
    const char *code = refusal->tag ? arena_printf(c->arena, "AUTH_%s", refusal->tag) : "";
    const char *host = arena_strdup(c->arena, REF_STR(c->agent->host));
    const char *message = refusal->tag ? refusal->message : err->n ? arena_strdup(c->arena, err->params[0]) : "";
    const struct error_desc *known = model_error(code);

    xerr_clear(err);
    if (known && known->n_params == 1) return xerr_set_dynamic(err, code, 1, &message);
    return xerr_auth_set_ldaps_failed(err, host, message);
}

/* force: also when the directory does not answer that way now. */
int host_external_auth_set_ldaps(struct call *c, struct ref host, bool ldaps, bool force, struct xerr *err)
{
    struct ext_auth_refusal refusal = { NULL, NULL };
    const char *type, *service;
    struct value answer;

    if (host_need_self(c, host, err)) return -1;
    struct value known = current(c, &type, &service);
    if (!*type) return xerr_auth_is_disabled(err);
    if (streq(type, "PAM")) return xerr_auth_unknown_type(err, type);
    const struct member request[] = { { "ldaps", value_bool(ldaps) }, { "force", value_bool(force) }, { "enabled_config", known },
                                      { "service_name", value_string(service) } };
    if (ext_auth_ask(c, type, "set_ldaps", request, ARRAY_SIZE(request), &answer, &refusal, err))
        return xerr_is(err, "AUTH_UNKNOWN_TYPE") ? -1 : ldaps_failed(c, &refusal, err);
    log_info("%s %s is asked %s", type, service, ldaps ? "over TLS" : "without TLS of its own");
    login_cache_forget(c->agent->directory_logins, NULL);
    struct txn *t = db_begin(c->agent->db);
    txn_map_put_str(t, host, F_host_external_auth_configuration, "ldaps", ldaps ? "true" : "false");
    return db_commit(t, err);
}

int pool_external_auth_set_ldaps(struct call *c, struct ref pool, bool ldaps, bool force, struct xerr *err)
{
    return pool_need_self(c, pool, err) ? -1 : host_external_auth_set_ldaps(c, c->agent->host, ldaps, force, err);
}
