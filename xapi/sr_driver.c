/* From records to the driver and back: what drivers are told, what their answers mean for the rows.
 * Called by: sr*.c, pbd.c, vdi*.c.  Calls: storage/, db/. */
#define LOG_MODULE "sr"
#include "xapi/sr.h"

#include "lib/log.h"
#include "lib/num.h"
#include "xapi/call/lifecycle.h"

/* ---- to the driver ------------------------------------------------------------------------- */

/* Ours get "password" for "password_secret" = a secret's uuid; foreign drivers look secrets up
 * themselves. */
static struct value reveal_secrets(struct call *c, const struct snap *s, const struct value *config)
{
    struct value_builder b = value_builder(c->arena);
    struct value copy = value_copy(c->arena, config);
    const size_t suffix = strlen("_secret");

    for (size_t i = 0; i < copy.map.n; i++) {
        const struct member *m = &copy.map.members[i];
        size_t n = strlen(m->key);
        value_put(&b, m->key, m->value);
        if (n <= suffix || !streq(m->key + n - suffix, "_secret") || m->value.kind != VALUE_STRING) continue;
        const struct row *secret = snap_by_uuid(s, CLASS_secret, m->value.s);
        if (!secret) continue;
        value_put(&b, arena_strndup(c->arena, m->key, n - suffix),
                  value_string(arena_strdup(c->arena, row_str(secret, F_secret_value))));
    }
    return value_built_map(&b);
}

/* This host's PBD of the SR, or NULL. */
static const struct row *own_pbd(struct call *c, const struct snap *s, const struct row *sr)
{
    const struct refset *pbds = row_refs(sr, F_SR_PBDs);

    for (size_t i = 0; i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        if (pbd && ref_eq(row_ref(pbd, F_PBD_host), c->agent->host)) return pbd;
    }
    return NULL;
}

const char *sr_pool_uuid(struct call *c, const struct snap *s)
{
    const struct row *pool = snap_get(s, CLASS_pool, c->agent->pool);

    return pool ? arena_strdup(c->arena, row_uuid(pool)) : NULL;
}

bool sr_multipath(struct call *c, const struct snap *s)
{
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);

    return host && row_bool(host, F_host_multipathing);
}

static int fill_sr(struct call *c, const struct snap *s, struct ref sr, bool need_plugged,
                   struct storage_sr *ret_sr, struct xerr *err)
{
    const struct row *row = snap_need(s, CLASS_SR, sr, err), *pbd = row ? own_pbd(c, s, row) : NULL;
    struct value *config = arena_alloc(c->arena, sizeof(*config)),
                 *sm_config = arena_alloc(c->arena, sizeof(*config));

    if (!row) return -1;
    if (!pbd || (need_plugged && !row_bool(pbd, F_PBD_currently_attached)))
        return xerr_sr_has_no_pbds(err, REF_STR(sr));
    const char *type = row_str(row, F_SR_type);
    const struct storage_driver *d = storage_driver_need(c->agent->storage, type, err);
    if (!d) return -1;
    *config = d->foreign ? value_copy(c->arena, row_value(pbd, F_PBD_device_config))
                         : reveal_secrets(c, s, row_value(pbd, F_PBD_device_config));
    *sm_config = value_copy(c->arena, row_value(row, F_SR_sm_config));
    *ret_sr = (struct storage_sr){
        .ref = sr,
        .uuid = arena_strdup(c->arena, row_uuid(row)),
        .type = d->type,
        .host = c->agent->host,
        .device_config = config,
        .sm_config = sm_config,
        .pool_uuid = sr_pool_uuid(c, s),
        .multipath = sr_multipath(c, s),
        .master = true,
        .cancelled = &c->task->cancelled,
        .task = c->task->ref,
    };
    return 0;
}

int sr_for_driver(struct call *c, struct ref sr, bool need_plugged, struct storage_sr *ret_sr,
                  struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return fill_sr(c, s, sr, need_plugged, ret_sr, err);
}

int vdi_for_driver(struct call *c, struct ref vdi, struct disk_ids *ret_ids, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VDI, vdi, err);
    struct value *sm_config = arena_alloc(c->arena, sizeof(*sm_config));
    struct disk_ids ids;

    if (!row || fill_sr(c, s, row_ref(row, F_VDI_SR), true, &ids.sr, err)) return -1;
    *sm_config = value_copy(c->arena, row_value(row, F_VDI_sm_config));
    ids.virtual_size = row_int(row, F_VDI_virtual_size);
    ids.vdi = (struct storage_vdi){
        .ref = vdi,
        .uuid = arena_strdup(c->arena, row_uuid(row)),
        .location = arena_strdup(c->arena, row_str(row, F_VDI_location)),
        .type = model_field(F_VDI_type)->type->e->values[row_enum(row, F_VDI_type)],
        .on_boot = row_enum(row, F_VDI_on_boot) == on_boot_reset ? "reset" : "persist",
        .sm_config = sm_config,
        .allow_caching = row_bool(row, F_VDI_allow_caching),
        .read_only = row_bool(row, F_VDI_read_only),
        .sharable = row_bool(row, F_VDI_sharable),
    };
    *ret_ids = ids;
    return 0;
}

bool sr_has_feature(struct call *c, const struct storage_sr *sr, const char *feature)
{
    const struct storage_driver *d = storage_driver_need(c->agent->storage, sr->type, NULL);

    return d && storage_driver_has(d, feature);
}

int sr_need_feature(struct call *c, const struct storage_sr *sr, const char *feature, struct xerr *err)
{
    return sr_has_feature(c, sr, feature) ? 0 : xerr_sr_operation_not_supported(err, REF_STR(sr->ref));
}

int driver_call(struct call *c, const struct storage_sr *sr, const struct storage_vdi *vdi,
                const char *command, const struct value *args, size_t n_args, const struct value *extra,
                struct value *ret_answer, struct xerr *err)
{
    return storage_call(c->agent->storage, sr, vdi, command, args, n_args, extra, 0, c->arena, ret_answer,
                        err);
}

void driver_undo(struct call *c, const struct storage_sr *sr, const struct storage_vdi *vdi,
                 const char *command)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value ignored;

    if (driver_call(c, sr, vdi, command, NULL, 0, NULL, &ignored, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("%s on SR %s while undoing: %s", command, sr->uuid, why);
    }
}

/* ---- allowed operations -------------------------------------------------------------------- */

static size_t list_disks(struct call *c, struct ref sr, struct ref **ret_vdis)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_SR, sr);
    const struct refset *vdis = row ? row_refs(row, F_SR_VDIs) : NULL;
    size_t n = vdis ? vdis->n : 0;

    *ret_vdis = arena_new_array(c->arena, struct ref, n);
    if (n) memcpy(*ret_vdis, vdis->refs, n * sizeof(**ret_vdis));
    return n;
}

int sr_refresh_operations(struct call *c, struct ref sr, struct xerr *err)
{
    enum { PORTION = 500 };
    struct ref *vdis;
    size_t n = list_disks(c, sr, &vdis), at = 0;

    do {
        struct txn *t = db_begin(c->agent->db);
        if (!at) lifecycle_refresh(t, CLASS_SR, sr);
        for (size_t i = 0; i < PORTION && at < n; i++) lifecycle_refresh(t, CLASS_VDI, vdis[at++]);
        if (db_commit(t, err)) return -1;
    } while (at < n);
    return 0;
}

/* ---- from the driver ----------------------------------------------------------------------- */

int64_t answer_int(const struct value *answer, const char *key, int64_t fallback)
{
    const struct value *v = value_get(answer, key);
    int64_t i = fallback;

    if (v && v->kind == VALUE_INT) return v->i;
    if (v && v->kind == VALUE_STRING) num_parse_int(v->s, &i);
    return i;
}

bool answer_bool(const struct value *answer, const char *key, bool fallback)
{
    const struct value *v = value_get(answer, key);

    if (v && v->kind == VALUE_BOOL) return v->b;
    return v && v->kind == VALUE_STRING ? streq(v->s, "true") : fallback;
}

/* Only what differs is written, so that a scan of 16,000 disks that finds nothing new commits nothing. */
static void put_int(struct txn *t, const struct row *row, field_id f, int64_t i)
{
    if (row && row_int(row, f) != i) txn_set_int(t, row_ref_of(row), f, i);
}

void sr_put_space(struct txn *t, struct ref sr, const struct value *answer)
{
    int64_t size = answer_int(answer, "sr_physical_size", -1),
            used = answer_int(answer, "sr_physical_utilisation", -1);

    const struct row *row = snap_get(txn_snap(t), CLASS_SR, sr);
    /* A driver that did not look at everything knows only what it has taken. */
    if (used < 0 && row && value_get(answer, "sr_physical_utilisation_added"))
        used = row_int(row, F_SR_physical_utilisation) + answer_int(answer, "sr_physical_utilisation_added", 0);
    if (size >= 0) put_int(t, snap_get(txn_snap(t), CLASS_SR, sr), F_SR_physical_size, size);
    if (used >= 0) put_int(t, snap_get(txn_snap(t), CLASS_SR, sr), F_SR_physical_utilisation, used);
}

void sr_add_allocation(struct txn *t, struct ref sr, int64_t bytes)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_SR, sr);

    if (!row || bytes == 0) return;
    int64_t now = row_int(row, F_SR_virtual_allocation) + bytes;
    txn_set_int(t, sr, F_SR_virtual_allocation, now < 0 ? 0 : now);
}

static const struct row *vdi_now(struct txn *t, struct ref vdi)
{
    return snap_get(txn_snap(t), CLASS_VDI, vdi);
}

void vdi_put_answer(struct txn *t, struct ref vdi, const struct value *answer)
{
    const char *location = value_get_str(answer, "location", NULL);
    const struct value *config = value_get(answer, "sm_config");
    const struct row *row = vdi_now(t, vdi);

    if (!row) return;
    if (location && !streq(row_str(row, F_VDI_location), location))
        txn_set_str(t, vdi, F_VDI_location, location);
    put_int(t, vdi_now(t, vdi), F_VDI_virtual_size,
            answer_int(answer, "virtual_size", row_int(vdi_now(t, vdi), F_VDI_virtual_size)));
    put_int(t, vdi_now(t, vdi), F_VDI_physical_utilisation,
            answer_int(answer, "physical_utilisation", row_int(vdi_now(t, vdi), F_VDI_physical_utilisation)));
    const bool tracked = row_bool(vdi_now(t, vdi), F_VDI_cbt_enabled), tracks = answer_bool(answer, "cbt_enabled", tracked);
    if (tracks != tracked) txn_set_bool(t, vdi, F_VDI_cbt_enabled, tracks);
    for (size_t i = 0; config && config->kind == VALUE_MAP && i < config->map.n; i++) {
        const struct member *m = &config->map.members[i];
        if (m->value.kind != VALUE_STRING) continue;
        if (!streq(row_map_str(vdi_now(t, vdi), F_VDI_sm_config, m->key, ""), m->value.s))
            txn_map_put_str(t, vdi, F_VDI_sm_config, m->key, m->value.s);
    }
    if (row_bool(vdi_now(t, vdi), F_VDI_missing)) txn_set_bool(t, vdi, F_VDI_missing, false);
}

/* A copy, because the set changes under the loop. */
static size_t copy_refs(const struct row *row, field_id f, struct ref **ret_refs)
{
    const struct refset *set = row_refs(row, f);

    *ret_refs = xcalloc(set->n, sizeof(**ret_refs));
    if (set->n) memcpy(*ret_refs, set->refs, set->n * sizeof(**ret_refs));
    return set->n;
}

void vdi_drop_row(struct txn *t, struct ref vdi)
{
    const struct row *row = vdi_now(t, vdi);
    struct ref *vbds;

    if (!row) return;
    struct ref sr = row_ref(row, F_VDI_SR);
    bool counts = row_bool(row, F_VDI_managed) && row_enum(row, F_VDI_type) != vdi_type_cbt_metadata;
    int64_t size = counts ? row_int(row, F_VDI_virtual_size) : 0;
    size_t n = copy_refs(row, F_VDI_VBDs, &vbds);
    for (size_t i = 0; i < n; i++) {
        const struct row *vbd = snap_get(txn_snap(t), CLASS_VBD, vbds[i]);
        if (!vbd) continue;
        struct ref vm = row_ref(vbd, F_VBD_VM);
        if (row_enum(vbd, F_VBD_type) == vbd_type_CD) {
            txn_set_ref(t, vbds[i], F_VBD_VDI, REF_NULL);
            txn_set_bool(t, vbds[i], F_VBD_empty, true);
            lifecycle_refresh(t, CLASS_VBD, vbds[i]);
        } else {
            txn_destroy(t, CLASS_VBD, vbds[i]);
            if (snap_get(txn_snap(t), CLASS_VM, vm)) lifecycle_refresh(t, CLASS_VM, vm);
        }
    }
    free(vbds);
    txn_destroy(t, CLASS_VDI, vdi);
    sr_add_allocation(t, sr, -size);
}
