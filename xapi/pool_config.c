/* Class pool: settings that are more than a field, and what a pool of one host has to say about itself.
 * Called by: the generated thunks (schema/pool.xml, schema/host.xml, schema/vm.xml).  Calls: httpc, db/. */
#include "gen/methods.h"
#include "lib/httpc.h"
#include "xapi/certificate.h"
#include "xapi/host.h"

#include <ctype.h>

/* ---- licence ------------------------------------------------------------------------------------------- */

int pool_apply_edition(struct call *c, struct ref self, const char *edition, struct xerr *err)
{
    return pool_need_self(c, self, err) ? -1 : host_set_edition(c, edition, err);
}

int pool_get_license_state(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    struct value_builder map = value_builder(c->arena);
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);

    if (!snap_need(s, CLASS_pool, self, err)) return -1;
    value_put(&map, "edition",
              value_string(arena_strdup(c->arena, host ? row_str(host, F_host_edition) : "")));
    value_put(&map, "expiry", value_string("never"));
    *ret_result = value_built_map(&map);
    return 0;
}

/* ---- guest agents and telemetry ------------------------------------------------------------------------ */

/* What guest agents of Windows ask for: "auto_update_enabled", "auto_update_url". */
int pool_add_to_guest_agent_config(struct call *c, struct ref self, const char *key, const char *value, struct xerr *err)
{
    const struct value text = value_string(value);

    if (pool_need_self(c, self, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_map_add(t, self, F_pool_guest_agent_config, key, &text);
    return db_commit(t, err);
}

int pool_remove_from_guest_agent_config(struct call *c, struct ref self, const char *key, struct xerr *err)
{
    if (pool_need_self(c, self, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_map_remove(t, self, F_pool_guest_agent_config, key);
    return db_commit(t, err);
}

/* A random identifier in a secret of its own; the old one goes. */
int pool_reset_telemetry_uuid(struct call *c, struct ref self, struct xerr *err)
{
    struct ref secret = ref_new();
    char text[UUID_TEXT];

    if (pool_need_self(c, self, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_pool, self);
    struct ref old = row ? row_ref(row, F_pool_telemetry_uuid) : REF_NULL;
    txn_create(t, CLASS_secret, secret);
    txn_set_str(t, secret, F_secret_value, uuid_new(text));
    txn_set_ref(t, self, F_pool_telemetry_uuid, secret);
    if (snap_get(txn_snap(t), CLASS_secret, old)) txn_destroy(t, CLASS_secret, old);
    return db_commit(t, err);
}

/* ---- TLS ----------------------------------------------------------------------------------------------- */

int pool_disable_ssl_legacy(struct call *c, struct ref self, struct xerr *err)
{
    if (pool_need_self(c, self, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, c->agent->host, F_host_ssl_legacy, false);
    return db_commit(t, err);
}

/* A name or an address: it becomes part of a request's head. */
static bool good_host(const char *host)
{
    for (const char *p = host; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(".-_:", *p)) return false;
    return *host && strlen(host) <= 255;
}

int pool_send_test_post(struct call *c, const char *host, int64_t port, const char *body,
                        const char **ret_result, struct xerr *err)
{
    enum { TIMEOUT_MS = 30000, ANSWER_MAX = 1 << 20 };
    _cleanup_strbuf_ struct strbuf answer = STRBUF_INIT;
    struct tls_client *tls;
    int status;

    if (!good_host(host)) return xerr_invalid_value(err, "host", host);
    if (port < 1 || port > 65535)
        return xerr_invalid_value(err, "port", arena_printf(c->arena, "%lld", (long long)port));
    if (certificate_client(c->agent, &tls, err)) return -1;
    const struct httpc_target target = { .host = host, .port = (unsigned)port, .tls = tls };
    struct httpc *http = httpc_connect(&target, TIMEOUT_MS, err);
    int rc = http ? httpc_call(http, "POST", "/", "Content-Type: text/xml\r\n", body, strlen(body),
                               ANSWER_MAX, TIMEOUT_MS, &status, &answer, err)
                  : -1;
    httpc_free(http);
    tls_client_free(tls);
    if (!rc) *ret_result = arena_strdup(c->arena, strbuf_cstr(&answer));
    return rc;
}

/* ---- what one host of this kind does not have: clear errors instead of settings without effect --------- */

/* The switches are Linux bridges. */
int pool_set_igmp_snooping_enabled(struct call *c, struct ref self, bool value, struct xerr *err)
{
    (void)value;
    return pool_need_self(c, self, err) ? -1 : xerr_openvswitch_not_active(err);
}

int pool_set_vswitch_controller(struct call *c, const char *address, struct xerr *err)
{
    (void)c, (void)address;
    return xerr_openvswitch_not_active(err);
}

int pool_retrieve_wlb_recommendations(struct call *c, struct value *ret_result, struct xerr *err)
{
    (void)c, (void)ret_result;
    return xerr_wlb_not_initialized(err);
}

int pool_retrieve_wlb_configuration(struct call *c, struct value *ret_result, struct xerr *err)
{
    (void)c, (void)ret_result;
    return xerr_wlb_not_initialized(err);
}

int pool_send_wlb_configuration(struct call *c, const struct value *config, struct xerr *err)
{
    (void)c, (void)config;
    return xerr_wlb_not_initialized(err);
}

int pool_deconfigure_wlb(struct call *c, struct xerr *err)
{
    (void)c;
    return xerr_wlb_not_initialized(err);
}

int host_retrieve_wlb_evacuate_recommendations(struct call *c, struct ref self, struct value *ret_result,
                                               struct xerr *err)
{
    (void)ret_result;
    return host_need_self(c, self, err) ? -1 : xerr_wlb_not_initialized(err);
}

int vm_retrieve_wlb_recommendations(struct call *c, struct ref vm, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    (void)ret_result;
    return snap_need(s, CLASS_VM, vm, err) ? xerr_wlb_not_initialized(err) : -1;
}

/* Backups to a target went with the protection policies. */
int pool_test_archive_target(struct call *c, struct ref self, const struct value *config,
                             const char **ret_result, struct xerr *err)
{
    (void)config, (void)ret_result;
    return pool_need_self(c, self, err) ? -1 : xerr_message_removed(err);
}

/* The redo log keeps writes that the database has not got to disk yet; this database has got every one
 * there. */
int pool_enable_redo_log(struct call *c, struct ref sr, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!snap_need(s, CLASS_SR, sr, err)) return -1;
    return xerr_cannot_enable_redo_log(err, "every write is on disk before it is acknowledged");
}

int pool_disable_redo_log(struct call *c, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_bool(t, c->agent->pool, F_pool_redo_log_enabled, false);
    return db_commit(t, err);
}

/* ---- one host, which is the coordinator ---------------------------------------------------------------- */

int pool_designate_new_master(struct call *c, struct ref host, struct xerr *err)
{
    return host_need_self(c, host, err);
}

/* No other host has lost its coordinator. */
int pool_recover_slaves(struct call *c, struct value *ret_result, struct xerr *err)
{
    (void)c, (void)err;
    *ret_result = value_set(NULL, 0);
    return 0;
}

/* An alert when two hosts differ. */
int pool_detect_nonhomogeneous_external_auth(struct call *c, struct ref pool, struct xerr *err)
{
    const struct row *first = NULL;
    bool differ = false;
    const char *uuid;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_pool, pool, err);
        if (!row) return -1;
        uuid = arena_strdup(c->arena, row_uuid(row));
        SNAP_EACH (s, CLASS_host, host) {
            if (!first) first = host;
            differ |=
                !streq(row_str(first, F_host_external_auth_type), row_str(host, F_host_external_auth_type)) ||
                !streq(row_str(first, F_host_external_auth_service_name),
                       row_str(host, F_host_external_auth_service_name));
        }
    }
    if (!differ) return 0;
    enum { PRIORITY = 2 };
    struct ref ignored;
    return message_create(c, "AUTH_EXTERNAL_POOL_NON_HOMOGENEOUS", PRIORITY, cls_Pool, uuid,
                          "The hosts of the pool use different external authentication", &ignored, err);
}
