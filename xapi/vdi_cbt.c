/* Class VDI: changed block tracking.
 * Called by: the generated thunks (schema/vdi.xml), vdi*.c.  Calls: sr.h, storage/, db/.
 *
 * What changed is the driver's knowledge (sm/track.c); the record says whether it is kept, and what is left of a
 * snapshot whose data were destroyed. */
#define LOG_MODULE "vdi"
#include "xapi/sr.h"

#include "gen/methods.h"
#include "lib/base64.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/message.h"

enum { ALERT_PRIORITY = 3, UNPLUG_MS = 4000, UNPLUG_POLL_MS = 50 };

void vdi_cbt_alert(struct call *c, struct ref vdi, const char *uuid, const char *alert)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct ref message;

    if (!*alert) return;
    const char *text = arena_printf(c->arena, "Changed blocks of disk %s are no longer tracked.", uuid);
    log_warn("%s: %s", alert, text);
    struct txn *t = db_begin(c->agent->db);
    if (snap_get(txn_snap(t), CLASS_VDI, vdi)) {
        txn_set_bool(t, vdi, F_VDI_cbt_enabled, false);
        lifecycle_refresh(t, CLASS_VDI, vdi);
    }
    if (db_commit(t, &err) == 0 && message_create(c, alert, ALERT_PRIORITY, cls_VDI, uuid, text, &message, &err) == 0)
        return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("no alert for disk %s: %s", uuid, why);
}

/* ---- on and off ---------------------------------------------------------------------------- */

static int configure(struct call *c, struct ref self, bool on, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    struct disk_ids ids;
    struct value answer;

    if (vdi_for_driver(c, self, &ids, err) || sr_need_feature(c, &ids.sr, "VDI_CONFIG_CBT", err)) return -1;
    storage_hold(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, &hold);
    const struct member extra[] = { { "attached", value_string(hold.writable ? "rw" : "") } };
    const struct value extra_map = value_map(extra, 1);
    if (driver_call(c, &ids.sr, &ids.vdi, on ? "vdi_enable_cbt" : "vdi_disable_cbt", NULL, 0, &extra_map, &answer, err))
        return -1;
    struct txn *t = db_begin(c->agent->db);
    vdi_put_answer(t, self, &answer);
    if (snap_get(txn_snap(t), CLASS_VDI, self)) {
        txn_set_bool(t, self, F_VDI_cbt_enabled, on); /* a foreign driver's answer does not say it */
        lifecycle_refresh(t, CLASS_VDI, self);
    }
    return db_commit(t, err);
}

int vdi_enable_cbt(struct call *c, struct ref self, struct xerr *err) { return configure(c, self, true, err); }

int vdi_disable_cbt(struct call *c, struct ref self, struct xerr *err) { return configure(c, self, false, err); }

/* ---- a snapshot's data --------------------------------------------------------------------- */

/* VBDs that are there, and whether the data are gone already. */
static int look(struct call *c, struct ref vdi, size_t *ret_vbds, bool *ret_gone, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VDI, vdi, err);

    if (!row) return -1;
    *ret_vbds = row_refs(row, F_VDI_VBDs)->n;
    *ret_gone = row_enum(row, F_VDI_type) == vdi_type_cbt_metadata;
    return 0;
}

/* Backup products unplug a disk, destroy its VBD and go on at once: both may take a moment. */
static int await_unused(struct call *c, struct ref vdi, bool *ret_gone, struct xerr *err)
{
    const int64_t until_ns = clock_deadline_ns(UNPLUG_MS);
    size_t vbds = 0;

    for (;;) {
        if (look(c, vdi, &vbds, ret_gone, err)) return -1;
        if (*ret_gone || !vbds) return 0;
        if (clock_poll_ms(until_ns, UNPLUG_POLL_MS) == 0) return xerr_vdi_in_use(err, REF_STR(vdi), "data_destroy");
        if (call_check_cancel(c, err)) return -1;
        usleep(UNPLUG_POLL_MS * 1000);
    }
}

int vdi_data_destroy(struct call *c, struct ref self, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    struct value answer = value_void();
    struct disk_ids ids;
    bool gone = false;

    if (await_unused(c, self, &gone, err)) return -1;
    if (gone) return 0;
    if (vdi_for_driver(c, self, &ids, err) || sr_need_feature(c, &ids.sr, "VDI_CONFIG_CBT", err)) return -1;
    vdi_await_nbd(c, ids.vdi.uuid);
    storage_hold(c->agent->storage, ids.sr.uuid, ids.vdi.uuid, &hold);
    if (hold.owners) return xerr_vdi_in_use(err, REF_STR(self), "data_destroy");
    if (driver_call(c, &ids.sr, &ids.vdi, "vdi_data_destroy", NULL, 0, NULL, &answer, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (!snap_need(txn_snap(t), CLASS_VDI, self, err)) {
        db_abort(t);
        return -1;
    }
    txn_set_enum(t, self, F_VDI_type, vdi_type_cbt_metadata);
    txn_set_int(t, self, F_VDI_physical_utilisation, 0);
    sr_add_allocation(t, ids.sr.ref, -ids.virtual_size);
    sr_put_space(t, ids.sr.ref, &answer);
    lifecycle_refresh(t, CLASS_VDI, self);
    return db_commit(t, err);
}

/* ---- the list ------------------------------------------------------------------------------ */

int vdi_list_changed_blocks(struct call *c, struct ref vdi_from, struct ref vdi_to, const char **ret_result, struct xerr *err)
{
    _cleanup_hold_ struct storage_hold hold = { .entry = NULL };
    struct disk_ids from;
    struct value answer;
    const char *to_sr;
    struct value to;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VDI, vdi_to, err);
        const struct row *sr = row ? snap_need(s, CLASS_SR, row_ref(row, F_VDI_SR), err) : NULL;
        if (!sr) return -1;
        to = value_string(arena_strdup(c->arena, row_uuid(row)));
        to_sr = arena_strdup(c->arena, row_uuid(sr));
    }
    if (vdi_for_driver(c, vdi_from, &from, err) || sr_need_feature(c, &from.sr, "VDI_CONFIG_CBT", err)) return -1;
    storage_hold(c->agent->storage, to_sr, to.s, &hold);
    if (hold.writable) return xerr_vdi_in_use(err, REF_STR(vdi_to), "list_changed_blocks");
    if (driver_call(c, &from.sr, &from.vdi, "vdi_list_changed_blocks", &to, 1, NULL, &answer, err)) return -1;
    if (answer.kind != VALUE_STRING) return xerr_sm_plugin_communication_failure(err, from.sr.type);
    *ret_result = answer.s;
    return 0;
}

void vdi_find_changes(struct call *c, struct ref vdi, struct ref base, struct storage_changes *ret_changes)
{
    _cleanup_strbuf_ struct strbuf bits = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct disk_ids ids, other;
    struct value to, answer;

    *ret_changes = (struct storage_changes){ .bits = NULL };
    if (vdi_for_driver(c, vdi, &ids, &err) || vdi_for_driver(c, base, &other, &err) ||
        !ref_eq(ids.sr.ref, other.sr.ref) || !sr_has_feature(c, &ids.sr, "VDI_CONFIG_CBT"))
        return;
    to = value_string(other.vdi.uuid);
    if (driver_call(c, &ids.sr, &ids.vdi, "vdi_compare", &to, 1, NULL, &answer, &err) || answer.kind != VALUE_STRING ||
        !base64_decode(answer.s, strlen(answer.s), &bits) || !bits.len)
        return;
    unsigned char *copy = arena_alloc(c->arena, bits.len);
    memcpy(copy, bits.ptr, bits.len);
    *ret_changes = (struct storage_changes){ copy, bits.len };
}
