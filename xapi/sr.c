/* Class SR: storage repositories.
 * Called by: the generated thunks (schema/sr.xml).  Calls: sr.h, storage/, db/. */
#define LOG_MODULE "sr"
#include "xapi/sr.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/unfinished.h"

#include <ctype.h>

static const char *lower(struct arena *a, const char *s)
{
    char *copy = arena_strdup(a, s);

    for (char *p = copy; *p; p++) *p = (char)tolower((unsigned char)*p);
    return copy;
}

/* ---- create -------------------------------------------------------------------------------- */

struct new_sr {
    struct ref ref, pbd;
    const char *uuid, *name_label, *name_description, *type, *content_type;
    bool shared;
    const struct value *sm_config;
    struct value device_config;      /* as the PBD keeps it */
};

static void put_sr_row(struct txn *t, const struct new_sr *n)
{
    txn_create(t, CLASS_SR, n->ref);
    txn_set_str(t, n->ref, F_SR_uuid, n->uuid);
    txn_set_str(t, n->ref, F_SR_name_label, n->name_label);
    txn_set_str(t, n->ref, F_SR_name_description, n->name_description);
    txn_set_str(t, n->ref, F_SR_type, n->type);
    txn_set_str(t, n->ref, F_SR_content_type, n->content_type);
    txn_set_bool(t, n->ref, F_SR_shared, n->shared);
    txn_set_value(t, n->ref, F_SR_sm_config, n->sm_config);
    lifecycle_refresh(t, CLASS_SR, n->ref);
}

/* The records come first, with a mark: what the driver makes for them is then known whatever becomes of this agent. */
static int commit_new(struct call *c, const struct new_sr *n, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    put_sr_row(t, n);
    txn_map_put_str(t, n->ref, F_SR_other_config, UNFINISHED_KEY, unfinished_text(c));
    txn_create(t, CLASS_PBD, n->pbd);
    txn_set_ref(t, n->pbd, F_PBD_host, c->agent->host);
    txn_set_ref(t, n->pbd, F_PBD_SR, n->ref);
    txn_set_value(t, n->pbd, F_PBD_device_config, &n->device_config);
    lifecycle_refresh(t, CLASS_SR, n->ref);
    return db_commit(t, err);
}

static int commit_made(struct call *c, const struct new_sr *n, const struct value *answer, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_map_remove(t, n->ref, F_SR_other_config, UNFINISHED_KEY);
    txn_set_str(t, n->ref, F_SR_content_type, n->content_type);
    sr_put_space(t, n->ref, answer);
    return db_commit(t, err);
}

/* In a transaction: its disks, its PBDs, and itself. */
static void drop_rows(struct txn *t, struct ref sr)
{
    const struct row *row;

    while (!txn_failed(t) && (row = snap_get(txn_snap(t), CLASS_SR, sr)) && row_refs(row, F_SR_VDIs)->n)
        vdi_drop_row(t, row_refs(row, F_SR_VDIs)->refs[0]);
    while (!txn_failed(t) && (row = snap_get(txn_snap(t), CLASS_SR, sr)) && row_refs(row, F_SR_PBDs)->n)
        pbd_drop_row(t, row_refs(row, F_SR_PBDs)->refs[0]);
    if (snap_get(txn_snap(t), CLASS_SR, sr)) txn_destroy(t, CLASS_SR, sr);
}

/* What fails here goes at the next start. */
static void drop_new(struct call *c, struct ref sr)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);

    drop_rows(t, sr);
    if (db_commit(t, &err)) log_warn("SR %s, which was not made, goes at the next start: %s", REF_STR(sr), err.code);
}

/* A driver that refused by name made nothing. Without an answer nobody knows. */
static bool may_be_made(const struct xerr *why)
{
    return xerr_is(why, "SM_PLUGIN_COMMUNICATION_FAILURE") || xerr_is(why, "SR_BACKEND_FAILURE");
}

static int check_host(struct call *c, struct ref host, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return snap_need(s, CLASS_host, host, err) ? 0 : -1;
}

/* The driver's word, for callers who leave it empty. */
static void ask_content_type(struct call *c, const struct storage_sr *sr, struct new_sr *n)
{
    struct value answer;

    if (*n->content_type) return;
    if (driver_call(c, sr, NULL, "sr_content_type", NULL, 0, NULL, &answer, NULL) == 0 &&
        answer.kind == VALUE_STRING)
        n->content_type = answer.s;
}

int sr_create(struct call *c, struct ref host, const struct value *device_config, int64_t physical_size,
              const char *name_label, const char *name_description, const char *type,
              const char *content_type, bool shared, const struct value *sm_config, struct ref *ret_result,
              struct xerr *err)
{
    struct value size = value_string(arena_printf(c->arena, "%lld", (long long)physical_size)), answer;
    struct new_sr n = {
        .ref = ref_new(), .pbd = ref_new(), .uuid = uuid_new(arena_alloc(c->arena, UUID_TEXT)),
        .name_label = name_label, .name_description = name_description, .type = lower(c->arena, type),
        .content_type = content_type, .shared = shared, .sm_config = sm_config,
    };
    struct storage_sr ids = { .ref = n.ref, .uuid = n.uuid, .type = n.type, .host = c->agent->host,
                              .device_config = device_config, .sm_config = sm_config, .master = true };
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        ids.pool_uuid = sr_pool_uuid(c, s);
        ids.multipath = sr_multipath(c, s);
    }

    if (check_host(c, host, err) || !storage_driver_need(c->agent->storage, n.type, err)) return -1;
    if (pbd_hide_secrets(c, device_config, &n.device_config, err) || commit_new(c, &n, err)) return -1;
    if (driver_call(c, &ids, NULL, "sr_create", &size, 1, NULL, &answer, err)) {
        if (may_be_made(err)) goto undo;
        goto drop;
    }
    ask_content_type(c, &ids, &n);
    if (pbd_attach(c, n.pbd, err)) goto undo;
    if (commit_made(c, &n, &answer, err)) {
        driver_undo(c, &ids, NULL, "sr_detach");
        goto undo;
    }
    *ret_result = n.ref;
    return 0;
undo:
    driver_undo(c, &ids, NULL, "sr_delete");
drop:
    drop_new(c, n.ref);
    return -1;
}

void sr_unfinished_startup(struct call *c)
{
    struct ref *list;
    const size_t n = unfinished_list(c, CLASS_SR, REF_NULL, &list);

    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        struct storage_sr ids;
        log_info("SR %s was being made when an earlier agent ended: it goes", REF_STR(list[i]));
        if (!sr_for_driver(c, list[i], false, &ids, &why)) driver_undo(c, &ids, NULL, "sr_delete");
        drop_new(c, list[i]);
    }
}

/* The old name of create: answers with the uuid. */
int sr_make(struct call *c, struct ref host, const struct value *device_config, int64_t physical_size,
            const char *name_label, const char *name_description, const char *type, const char *content_type,
            const struct value *sm_config, const char **ret_result, struct xerr *err)
{
    struct ref sr;

    if (sr_create(c, host, device_config, physical_size, name_label, name_description, type, content_type,
                  false, sm_config, &sr, err))
        return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_SR, sr, err);
    if (!row) return -1;
    *ret_result = arena_strdup(c->arena, row_uuid(row));
    return 0;
}

int sr_introduce(struct call *c, const char *uuid, const char *name_label, const char *name_description,
                 const char *type, const char *content_type, bool shared, const struct value *sm_config,
                 struct ref *ret_result, struct xerr *err)
{
    struct new_sr n = {
        .ref = ref_new(), .name_label = name_label, .name_description = name_description,
        .type = lower(c->arena, type), .content_type = content_type, .shared = shared, .sm_config = sm_config,
    };
    struct ref bytes;

    if (*uuid && !uuid_from_text(uuid, &bytes)) return xerr_invalid_value(err, "uuid", uuid);
    n.uuid = *uuid ? lower(c->arena, uuid) : uuid_new(arena_alloc(c->arena, UUID_TEXT));
    if (!storage_driver_need(c->agent->storage, n.type, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (snap_by_uuid(txn_snap(t), CLASS_SR, n.uuid)) {
        db_abort(t);
        return xerr_sr_uuid_exists(err, n.uuid);
    }
    put_sr_row(t, &n);
    if (db_commit(t, err)) return -1;
    *ret_result = n.ref;
    return 0;
}

/* ---- forget, destroy ----------------------------------------------------------------------- */

static int check_unplugged(const struct snap *s, const struct row *sr, struct xerr *err)
{
    const struct refset *pbds = row_refs(sr, F_SR_PBDs);

    for (size_t i = 0; i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        if (pbd && row_bool(pbd, F_PBD_currently_attached))
            return xerr_sr_has_pbd(err, REF_STR(row_ref_of(sr)));
    }
    return 0;
}

static int drop_records(struct call *c, struct ref sr, struct xerr *err)
{
    storage_making_settle(c->agent->storage);
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_SR, sr, err);

    if (!row || check_unplugged(txn_snap(t), row, err)) {
        db_abort(t);
        return -1;
    }
    drop_rows(t, sr);
    return db_commit(t, err);
}

int sr_forget(struct call *c, struct ref sr, struct xerr *err)
{
    return drop_records(c, sr, err);
}

/* Disks that would be lost: SR_NOT_EMPTY. A driver that cannot delete disks does not delete them with
 * the SR either. */
static int check_empty(struct call *c, const struct storage_sr *sr, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_SR, sr->ref, err);

    if (!row || check_unplugged(s, row, err)) return -1;
    if (row_map_str(row, F_SR_other_config, "indestructible", NULL))
        return xerr_sr_indestructible(err, REF_STR(sr->ref));
    if (!sr_has_feature(c, sr, "VDI_DELETE")) return 0;
    const struct refset *vdis = row_refs(row, F_SR_VDIs);
    for (size_t i = 0; i < vdis->n; i++) {
        const struct row *vdi = snap_get(s, CLASS_VDI, vdis->refs[i]);
        /* Hidden bases of disks that are gone may still have records; the driver knows whether there are any. */
        if (vdi && row_bool(vdi, F_VDI_managed) && !row_bool(vdi, F_VDI_missing)) return xerr_sr_not_empty(err);
    }
    return 0;
}

int sr_destroy(struct call *c, struct ref sr, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct storage_sr ids;
    struct value answer;

    if (sr_for_driver(c, sr, false, &ids, err) || check_empty(c, &ids, err)) return -1;
    if (driver_call(c, &ids, NULL, "sr_delete", NULL, 0, NULL, &answer, &why)) {
        if (xerr_is(&why, "SR_BACKEND_FAILURE_39")) return xerr_sr_not_empty(err);
        return xerr_move(err, &why);
    }
    return drop_records(c, sr, err);
}

/* ---- probe --------------------------------------------------------------------------------- */

static int probe(struct call *c, struct ref host, const struct value *device_config, const char *type,
                 const struct value *sm_config, struct value *ret_answer, struct xerr *err)
{
    struct storage_sr ids = { .uuid = "", .type = lower(c->arena, type), .host = c->agent->host,
                              .device_config = device_config, .sm_config = sm_config, .master = true };
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        ids.multipath = sr_multipath(c, s);
    }

    if (check_host(c, host, err) || !storage_driver_need(c->agent->storage, ids.type, err)) return -1;
    return driver_call(c, &ids, NULL, "sr_probe", NULL, 0, NULL, ret_answer, err);
}

int sr_probe(struct call *c, struct ref host, const struct value *device_config, const char *type,
             const struct value *sm_config, const char **ret_result, struct xerr *err)
{
    struct value answer;

    if (probe(c, host, device_config, type, sm_config, &answer, err)) return -1;
    *ret_result = answer.kind == VALUE_STRING ? answer.s : value_get_str(&answer, "xml", "");
    return 0;
}

static struct value probe_sr(struct call *c, const struct value *sr)
{
    struct value_builder b = value_builder(c->arena);
    const char *uuid = value_get_str(sr, "uuid", NULL);

    if (uuid) value_put(&b, "uuid", value_string(uuid));
    value_put(&b, "name_label", value_string(value_get_str(sr, "name_label", "")));
    value_put(&b, "name_description", value_string(value_get_str(sr, "name_description", "")));
    value_put(&b, "total_space", value_int(answer_int(sr, "total_space", 0)));
    value_put(&b, "free_space", value_int(answer_int(sr, "free_space", 0)));
    value_put(&b, "clustered", value_bool(false));
    const bool silent = uuid && storage_sr_silent(c->agent->storage, uuid);
    value_put(&b, "health", value_string(silent ? "unreachable" : value_get_str(sr, "health", "healthy")));
    return value_built_map(&b);
}

int sr_probe_ext(struct call *c, struct ref host, const struct value *device_config, const char *type,
                 const struct value *sm_config, struct value *ret_result, struct xerr *err)
{
    struct value_builder list = value_builder(c->arena);
    struct value answer;

    if (probe(c, host, device_config, type, sm_config, &answer, err)) return -1;
    const struct value *results = value_get(&answer, "results");
    if (!results || results->kind != VALUE_SET)
        return xerr_not_implemented(err, "SR.probe_ext: the driver can only do SR.probe");
    for (size_t i = 0; i < results->set.n; i++) {
        const struct value *one = &results->set.items[i], *config = value_get(one, "configuration");
        const struct value *sr = value_get(one, "sr"), *extra = value_get(one, "extra_info");
        struct value_builder b = value_builder(c->arena);
        value_put(&b, "configuration", config && config->kind == VALUE_MAP ? *config : value_map(NULL, 0));
        value_put(&b, "complete", value_bool(answer_bool(one, "complete", false)));
        if (sr) value_put(&b, "sr", probe_sr(c, sr));
        value_put(&b, "extra_info", extra && extra->kind == VALUE_MAP ? *extra : value_map(NULL, 0));
        value_push(&list, value_built_map(&b));
    }
    *ret_result = value_built_set(&list);
    return 0;
}

/* ---- scan, update, sizes ------------------------------------------------------------------- */

int sr_scan(struct call *c, struct ref sr, struct xerr *err)
{
    struct storage_sr ids;

    return sr_for_driver(c, sr, true, &ids, err) || sr_need_feature(c, &ids, "SR_SCAN", err)
                   ? -1
                   : sr_scan_records(c, &ids, 0, err);
}

int sr_update(struct call *c, struct ref sr, struct xerr *err)
{
    struct storage_sr ids;
    struct value answer;

    if (sr_for_driver(c, sr, true, &ids, err) || sr_need_feature(c, &ids, "SR_UPDATE", err)) return -1;
    if (driver_call(c, &ids, NULL, "sr_update", NULL, 0, NULL, &answer, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    sr_put_space(t, sr, &answer);
    return db_commit(t, err);
}

int sr_get_supported_types(struct call *c, struct value *ret_result, struct xerr *err)
{
    struct value_builder types = value_builder(c->arena);

    (void)err;
    for (size_t i = 0; i < storage_driver_count(c->agent->storage); i++)
        value_push(&types, value_string(storage_driver_at(c->agent->storage, i)->type));
    *ret_result = value_built_set(&types);
    return 0;
}

int sr_set_physical_size(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    struct value v = value_int(value);

    if (value < 0)
        return xerr_invalid_value(err, "physical_size", arena_printf(c->arena, "%lld", (long long)value));
    return db_set_field(c->agent->db, self, F_SR_physical_size, &v, err);
}

int sr_set_shared(struct call *c, struct ref sr, bool value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_SR, sr, err);
    int rc = row ? 0 : -1;

    if (row && !value && row_refs(row, F_SR_PBDs)->n > 1)
        rc = xerr_sr_has_multiple_pbds(err, REF_STR(row_refs(row, F_SR_PBDs)->refs[0]));
    if (rc) {
        db_abort(t);
        return rc;
    }
    txn_set_bool(t, sr, F_SR_shared, value);
    lifecycle_refresh(t, CLASS_SR, sr);
    return db_commit(t, err);
}

/* ---- what an SR is good for ---------------------------------------------------------------- */

int sr_assert_can_host_ha_statefile(struct call *c, struct ref sr, struct xerr *err)
{
    struct storage_sr ids;

    if (sr_for_driver(c, sr, true, &ids, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_SR, sr, err);
    if (!row) return -1;
    if (!row_bool(row, F_SR_shared)) return xerr_sr_operation_not_supported(err, REF_STR(sr));
    return sr_need_feature(c, &ids, "VDI_GENERATE_CONFIG", err);
}

int sr_assert_supports_database_replication(struct call *c, struct ref sr, struct xerr *err)
{
    struct storage_sr ids;

    return sr_for_driver(c, sr, true, &ids, err) || sr_need_feature(c, &ids, "SR_METADATA", err) ? -1 : 0;
}
