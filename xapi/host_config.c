/* Class host: settings that are more than a field: editions, power-on mode, storage names, the display, TLS.
 * Called by: the generated thunks (schema/host.xml), pool_config.c.  Calls: db/. */
#include "xapi/host.h"

#include <errno.h>
#include <sys/stat.h>

#define LOG_MODULE "host"
#include "gen/identity.h"
#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/features.h"

/* ---- editions: there is nothing to buy ----------------------------------------------------------------- */

int host_set_edition(struct call *c, const char *edition, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *host = snap_get(txn_snap(t), CLASS_host, c->agent->host);

    if (!host || !value_has(row_value(host, F_host_editions), edition)) {
        db_abort(t);
        return xerr_invalid_edition(err, edition);
    }
    txn_set_str(t, c->agent->host, F_host_edition, edition);
    txn_map_put_str(t, c->agent->host, F_host_license_params, "sku_type", edition);
    features_write(t, c->agent->host, F_host_license_params);
    features_write(t, c->agent->pool, F_pool_restrictions);
    return db_commit(t, err);
}

int host_apply_edition(struct call *c, struct ref host, const char *edition, bool force, struct xerr *err)
{
    (void)force; /* no licence is checked out that could be missing */
    return host_need_self(c, host, err) ? -1 : host_set_edition(c, edition, err);
}

int host_license_add(struct call *c, struct ref host, const char *contents, struct xerr *err)
{
    (void)contents;
    return host_need_self(c, host, err) ? -1 : xerr_license_file_deprecated(err);
}

/* The free edition is the one there is. */
int host_license_remove(struct call *c, struct ref host, struct xerr *err)
{
    return host_need_self(c, host, err) ? -1 : host_set_edition(c, IDENTITY_EDITION, err);
}

/* Supplemental packs are the reference's way to add software; here the distribution's packages are. The
 * keys of packs ("originator:name") that a restored database may have brought along go. */
int host_refresh_pack_info(struct call *c, struct ref host, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_host, host);
    struct value versions =
        row ? value_copy(c->arena, row_value(row, F_host_software_version)) : value_map(NULL, 0);

    for (size_t i = 0; i < versions.map.n; i++) {
        const char *key = versions.map.members[i].key;
        if (strchr(key, ':')) txn_map_remove(t, host, F_host_software_version, key);
    }
    return db_commit(t, err);
}

/* ---- power-on ------------------------------------------------------------------------------------------ */

/* Wake-on-LAN, a lights-out card, a script of the administrator's, or "" for none. */
int host_set_power_on_mode(struct call *c, struct ref self, const char *power_on_mode,
                           const struct value *power_on_config, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    if (strlen(power_on_mode) > 255) return xerr_invalid_value(err, "power_on_mode", power_on_mode);
    struct txn *t = db_begin(c->agent->db);
    txn_set_str(t, self, F_host_power_on_mode, power_on_mode);
    txn_set_value(t, self, F_host_power_on_config, power_on_config);
    return db_commit(t, err);
}

/* ---- storage ------------------------------------------------------------------------------------------- */

/* RFC 3720: "iqn." date "." reversed name, or eui., or naa.; printable, no blanks, 223 bytes. */
static bool good_iqn(const char *iqn)
{
    static const char *const kinds[] = { "iqn.", "eui.", "naa." };
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) known |= has_prefix(iqn, kinds[i]) && iqn[4];
    for (const char *p = iqn; *p; p++)
        if ((unsigned char)*p <= 0x20 || *p == 0x7f) return false;
    return known && strlen(iqn) <= 223;
}

/* open-iscsi reads its own name from a file. Where it is not installed there is nobody to tell. */
static int write_initiator(struct call *c, const char *iqn, struct xerr *err)
{
    const char *folder = arena_printf(c->arena, "%s/iscsi", c->agent->etc);
    const char *path = arena_printf(c->arena, "%s/initiatorname.iscsi", folder);
    const char *text = arena_printf(c->arena, "InitiatorName=%s\n", iqn);

    if (access(folder, F_OK)) return 0;
    if (write_file_atomic(path, text, strlen(text), 0600))
        return xerr_internal(err, "%s: %s", path, strerror(errno));
    return 0;
}

/* Storage drivers and older clients read the name from other_config. */
int host_set_iscsi_iqn(struct call *c, struct ref host, const char *value, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    if (!good_iqn(value)) return xerr_invalid_value(err, "value", value);
    if (write_initiator(c, value, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_str(t, host, F_host_iscsi_iqn, value);
    txn_map_put_str(t, host, F_host_other_config, "iscsi_iqn", value);
    return db_commit(t, err);
}

/* Drivers look at the flag when they attach: it is not changed under an attached repository on a network. */
int host_set_multipathing(struct call *c, struct ref host, bool value, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    struct txn *t = db_begin(c->agent->db);

    SNAP_EACH (txn_snap(t), CLASS_PBD, pbd) {
        const struct row *sr = snap_get(txn_snap(t), CLASS_SR, row_ref(pbd, F_PBD_SR));
        if (!row_bool(pbd, F_PBD_currently_attached) || !sr) continue;
        const char *type = row_str(sr, F_SR_type);
        if (!has_prefix(type, "lvmo") && !strstr(type, "iscsi") && !strstr(type, "hba")) continue;
        db_abort(t);
        return xerr_operation_not_allowed(err, "Unplug the repositories on block storage networks first");
    }
    txn_set_bool(t, host, F_host_multipathing, value);
    txn_map_put_str(t, host, F_host_other_config, "multipathing", value ? "true" : "false");
    if (value)
        txn_map_put_str(t, host, F_host_other_config, "multipathhandle", "dmp");
    else
        txn_map_remove(t, host, F_host_other_config, "multipathhandle");
    return db_commit(t, err);
}

/* ---- TLS ----------------------------------------------------------------------------------------------- */

/* TLS 1.2 is the least this agent speaks; that cannot be lowered. */
int host_set_ssl_legacy(struct call *c, struct ref self, bool value, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    if (value) return xerr_value_not_supported(err, "ssl_legacy", "true", "TLS before 1.2 is never spoken");
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, self, F_host_ssl_legacy, false);
    return db_commit(t, err);
}

static int set_verification(struct call *c, bool on, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_bool(t, c->agent->host, F_host_tls_verification_enabled, on);
    return db_commit(t, err);
}

int host_emergency_disable_tls_verification(struct call *c, struct xerr *err)
{
    return set_verification(c, false, err);
}

int host_emergency_reenable_tls_verification(struct call *c, struct xerr *err)
{
    return set_verification(c, true, err);
}
