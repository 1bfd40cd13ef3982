/* Class PBD: how a host reaches a storage repository, and whether it does.
 * Called by: the generated thunks (schema/pbd.xml), sr.c, sm.c.  Calls: sr.h, storage/, db/. */
#define LOG_MODULE "pbd"
#include "xapi/sr.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/sm.h"
#include "xapi/unfinished.h"

/* ---- secrets ------------------------------------------------------------------------------- */

static bool is_secret_key(const char *key)
{
    static const char *const keys[] = { "password", "cifspassword", "chappassword", "incoming_chappassword" };

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (streq(key, keys[i])) return true;
    return false;
}

static const char *make_secret(struct call *c, struct txn *t, const char *value)
{
    struct ref secret = ref_new();
    const char *uuid = uuid_new(arena_alloc(c->arena, UUID_TEXT));

    txn_create(t, CLASS_secret, secret);
    txn_set_str(t, secret, F_secret_uuid, uuid);
    txn_set_str(t, secret, F_secret_value, value);
    return uuid;
}

int pbd_hide_secrets(struct call *c, const struct value *device_config, struct value *ret_config,
                     struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    struct txn *t = NULL;

    for (size_t i = 0; device_config && i < device_config->map.n; i++) {
        const struct member *m = &device_config->map.members[i];
        if (!is_secret_key(m->key) || m->value.kind != VALUE_STRING) {
            value_put(&b, m->key, m->value);
            continue;
        }
        if (!t) t = db_begin(c->agent->db);
        value_put(&b, arena_printf(c->arena, "%s_secret", m->key),
                  value_string(make_secret(c, t, m->value.s)));
    }
    *ret_config = value_built_map(&b);
    return t ? db_commit(t, err) : 0;
}

static void drop_secrets(struct txn *t, const struct value *config)
{
    for (size_t i = 0; i < config->map.n; i++) {
        const struct member *m = &config->map.members[i];
        size_t n = strlen(m->key);
        if (n < 7 || !streq(m->key + n - 7, "_secret") || m->value.kind != VALUE_STRING) continue;
        const struct row *secret = snap_by_uuid(txn_snap(t), CLASS_secret, m->value.s);
        if (secret) txn_destroy(t, CLASS_secret, row_ref_of(secret));
    }
}

void pbd_drop_row(struct txn *t, struct ref pbd)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_PBD, pbd);
    _cleanup_arena_ struct arena *a = arena_new();

    if (!row) return;
    struct value config = value_copy(a, row_value(row, F_PBD_device_config));
    drop_secrets(t, &config);
    txn_destroy(t, CLASS_PBD, pbd);
}

/* ---- create, destroy ----------------------------------------------------------------------- */

static struct ref record_ref(const struct value *record, const char *key)
{
    const struct value *v = value_get(record, key);

    return v && v->kind == VALUE_REF ? v->ref : REF_NULL;
}

static const struct value *record_map(const struct value *record, const char *key)
{
    static const struct value empty = { .kind = VALUE_MAP };
    const struct value *v = value_get(record, key);

    return v && v->kind == VALUE_MAP ? v : &empty;
}

static int check_new(const struct snap *s, struct ref host, struct ref sr, struct xerr *err)
{
    const struct row *sr_row = snap_need(s, CLASS_SR, sr, err);

    if (!sr_row || !snap_need(s, CLASS_host, host, err)) return -1;
    const struct refset *pbds = row_refs(sr_row, F_SR_PBDs);
    for (size_t i = 0; i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        if (pbd && ref_eq(row_ref(pbd, F_PBD_host), host))
            return xerr_pbd_exists(err, REF_STR(sr), REF_STR(host), REF_STR(pbds->refs[i]));
    }
    return 0;
}

int pbd_create(struct call *c, const struct value *args, struct ref *ret_result, struct xerr *err)
{
    struct ref host = record_ref(args, "host"), sr = record_ref(args, "SR"), pbd = ref_new();
    struct value config;

    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (check_new(s, host, sr, err)) return -1;
    }
    if (pbd_hide_secrets(c, record_map(args, "device_config"), &config, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (check_new(txn_snap(t), host, sr, err)) {
        db_abort(t);
        return -1;
    }
    txn_create(t, CLASS_PBD, pbd);
    txn_set_ref(t, pbd, F_PBD_host, host);
    txn_set_ref(t, pbd, F_PBD_SR, sr);
    txn_set_value(t, pbd, F_PBD_device_config, &config);
    txn_set_value(t, pbd, F_PBD_other_config, record_map(args, "other_config"));
    lifecycle_refresh(t, CLASS_SR, sr);
    if (db_commit(t, err)) return -1;
    *ret_result = pbd;
    return 0;
}

int pbd_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_PBD, self, err);

    if (row && row_bool(row, F_PBD_currently_attached)) {
        xerr_operation_not_allowed(err, "The PBD is plugged: unplug it first");
        row = NULL;
    }
    if (!row) {
        db_abort(t);
        return -1;
    }
    struct ref sr = row_ref(row, F_PBD_SR);
    pbd_drop_row(t, self);
    if (snap_get(txn_snap(t), CLASS_SR, sr)) lifecycle_refresh(t, CLASS_SR, sr);
    return db_commit(t, err);
}

int pbd_set_device_config(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    struct value config;

    if (pbd_hide_secrets(c, value, &config, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (!snap_need(txn_snap(t), CLASS_PBD, self, err)) {
        db_abort(t);
        return -1;
    }
    txn_set_value(t, self, F_PBD_device_config, &config);
    return db_commit(t, err);
}

/* ---- plug, unplug -------------------------------------------------------------------------- */

static int find(struct call *c, struct ref pbd, struct ref *ret_sr, bool *ret_plugged, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_PBD, pbd, err);

    if (!row) return -1;
    if (!ref_eq(row_ref(row, F_PBD_host), c->agent->host))
        return xerr_operation_not_allowed(err, "The PBD belongs to another host");
    *ret_sr = row_ref(row, F_PBD_SR);
    *ret_plugged = row_bool(row, F_PBD_currently_attached);
    return snap_need(s, CLASS_SR, *ret_sr, err) ? 0 : -1;
}

static int mark(struct call *c, struct ref pbd, struct ref sr, bool plugged, const struct value *answer,
                struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_PBD, pbd);
    bool changes = row && row_bool(row, F_PBD_currently_attached) != plugged;

    if (changes) txn_set_bool(t, pbd, F_PBD_currently_attached, plugged);
    if (answer) sr_put_space(t, sr, answer);
    if (db_commit(t, err)) return -1;
    return changes ? sr_refresh_operations(c, sr, err) : 0;
}

int pbd_connect(struct call *c, struct ref pbd, int deadline_ms, struct xerr *err)
{
    struct storage_sr ids;
    struct value answer;
    struct ref sr;
    bool plugged;

    if (find(c, pbd, &sr, &plugged, err) || sr_for_driver(c, sr, false, &ids, err)) return -1;
    if (storage_call(c->agent->storage, &ids, NULL, "sr_attach", NULL, 0, NULL, deadline_ms, c->arena,
                     &answer, err))
        return -1;
    return mark(c, pbd, sr, true, &answer, err);
}

int pbd_attach(struct call *c, struct ref pbd, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct storage_sr ids;
    struct ref sr;
    bool plugged;

    if (pbd_connect(c, pbd, 0, err)) return -1;
    if (find(c, pbd, &sr, &plugged, err) || sr_for_driver(c, sr, false, &ids, err)) return -1;
    if (sr_has_feature(c, &ids, "SR_SCAN") && sr_scan_records(c, &ids, 0, &why)) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_warn("SR %s is plugged but cannot be scanned: %s", ids.uuid, text);
    }
    return 0;
}

int pbd_mark(struct call *c, struct ref pbd, bool plugged, struct xerr *err)
{
    struct ref sr;
    bool was;

    return find(c, pbd, &sr, &was, err) || mark(c, pbd, sr, plugged, NULL, err) ? -1 : 0;
}

int pbd_plug(struct call *c, struct ref self, struct xerr *err)
{
    struct ref sr;
    bool plugged;

    if (find(c, self, &sr, &plugged, err)) return -1;
    if (plugged) return 0;
    if (pbd_attach(c, self, err)) return -1;
    unfinished_plugged(c, sr);
    return 0;
}

/* VDI_IN_USE naming the first disk of the SR that is attached here. */
static int check_unused(struct call *c, const struct storage_sr *sr, struct xerr *err)
{
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, sr->uuid, NULL, c->arena, &list);

    for (size_t i = 0; i < n; i++) storage_drop_left(c, list[i].vdi_uuid);
    n = storage_attachments(c->agent->storage, sr->uuid, NULL, c->arena, &list);
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *vdi = n ? snap_by_uuid(s, CLASS_VDI, list[0].vdi_uuid) : NULL;

    if (!n) return 0;
    return xerr_vdi_in_use(err, vdi ? REF_STR(row_ref_of(vdi)) : list[0].vdi_uuid, "PBD.unplug");
}

int pbd_unplug(struct call *c, struct ref self, struct xerr *err)
{
    struct storage_sr ids;
    struct value answer;
    struct ref sr;
    bool plugged;

    if (find(c, self, &sr, &plugged, err)) return -1;
    if (!plugged) return 0;
    if (sr_for_driver(c, sr, true, &ids, err) || check_unused(c, &ids, err)) return -1;
    storage_merge_forbid(c->agent->storage, ids.uuid);
    int rc = driver_call(c, &ids, NULL, "sr_detach", NULL, 0, NULL, &answer, err);
    if (!rc) rc = mark(c, self, sr, false, NULL, err);
    storage_merge_allow(c->agent->storage, ids.uuid);
    return rc;
}
