/* Class VM, settings that are more than a field: what must be halted, what belongs together, what reaches a running guest.
 * Called by: the generated thunks (schema/vm.xml).  Calls: lifecycle, hv/, db/. */
#include "gen/methods.h"
#include "xapi/call/lifecycle.h"
#include "xapi/host_firmware.h"
#include "xapi/vm.h"

#include <ctype.h>
#include <time.h>

/* Opens a transaction on a halted VM; NULL with VM_BAD_POWER_STATE or HANDLE_INVALID. */
static struct txn *begin_halted(struct call *c, struct ref vm, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VM, vm, err);

    if (row && row_enum(row, F_VM_power_state) == vm_power_state_Halted) return t;
    if (row) lifecycle_bad_power_state(row, 1u << vm_power_state_Halted, err);
    db_abort(t);
    return NULL;
}

int vm_set_has_vendor_device(struct call *c, struct ref self, bool value, struct xerr *err)
{
    struct txn *t = begin_halted(c, self, err);

    if (!t) return -1;
    txn_set_bool(t, self, F_VM_has_vendor_device, value);
    return db_commit(t, err);
}

/* ---- how it boots ------------------------------------------------------------------------------------------------ */

/* domain_type and the older HVM_boot_policy say the same thing twice: they change together. */
static int set_type(struct call *c, struct ref vm, enum domain_type type, const char *policy, struct xerr *err)
{
    struct txn *t = begin_halted(c, vm, err);

    if (!t) return -1;
    txn_set_enum(t, vm, F_VM_domain_type, (int)type);
    txn_set_str(t, vm, F_VM_HVM_boot_policy, policy);
    return db_commit(t, err);
}

int vm_set_domain_type(struct call *c, struct ref self, enum domain_type value, struct xerr *err)
{
    return set_type(c, self, value, value == domain_type_hvm ? "BIOS order" : "", err);
}

int vm_set_HVM_boot_policy(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    return set_type(c, self, *value ? domain_type_hvm : domain_type_pv, value, err);
}

int vm_set_HVM_shadow_multiplier(struct call *c, struct ref self, double value, struct xerr *err)
{
    if (!(value >= 1.0)) return xerr_invalid_value(err, "multiplier", arena_printf(c->arena, "%g", value));
    struct txn *t = begin_halted(c, self, err);
    if (!t) return -1;
    txn_set_float(t, self, F_VM_HVM_shadow_multiplier, value);
    return db_commit(t, err);
}

/* ---- BIOS strings -------------------------------------------------------------------------------------------------- */

static int check_bios_strings(struct call *c, const struct value *strings, struct xerr *err)
{
    for (size_t i = 0; i < strings->map.n; i++) {
        const struct member *m = &strings->map.members[i];
        if (!firmware_string_known(m->key)) return xerr_invalid_value(err, m->key, "Unknown key");
        if (!m->value.len || m->value.len > FIRMWARE_STRING_MAX)
            return xerr_invalid_value(err, m->key, arena_printf(c->arena, "a text of 1 to %d characters is needed", FIRMWARE_STRING_MAX));
        for (const char *p = m->value.s; *p; p++)
            if (!isprint((unsigned char)*p)) return xerr_invalid_value(err, m->key, "not printable");
    }
    return 0;
}

static int write_bios_strings(struct call *c, struct ref vm, const struct value *strings, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VM, vm, err);

    if (!row || row_value(row, F_VM_bios_strings)->map.n) {
        db_abort(t);
        return row ? xerr_vm_bios_strings_already_set(err) : -1;
    }
    txn_set_value(t, vm, F_VM_bios_strings, strings);
    return db_commit(t, err);
}

int vm_set_bios_strings(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    return check_bios_strings(c, value, err) ? -1 : write_bios_strings(c, self, value, err);
}

int vm_copy_bios_strings(struct call *c, struct ref vm, struct ref host, struct xerr *err)
{
    struct value strings;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_host, host, err);
        if (!row) return -1;
        strings = value_copy(c->arena, row_value(row, F_host_bios_strings));
    }
    return write_bios_strings(c, vm, &strings, err);
}

/* ---- high availability, suspend image ---------------------------------------------------------------------------- */

int vm_set_ha_restart_priority(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    static const char *const priorities[] = { "restart", "best-effort", "" };
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(priorities); i++) known |= streq(value, priorities[i]);
    if (!known) return xerr_invalid_value(err, "ha_restart_priority", value);
    struct txn *t = db_begin(c->agent->db);
    txn_set_str(t, self, F_VM_ha_restart_priority, value);
    txn_set_bool(t, self, F_VM_ha_always_run, streq(value, "restart"));
    return db_commit(t, err);
}

int vm_set_ha_always_run(struct call *c, struct ref self, bool value, struct xerr *err)
{
    return vm_set_ha_restart_priority(c, self, value ? "restart" : "", err);
}

int vm_set_suspend_VDI(struct call *c, struct ref self, struct ref value, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VM, self, err);

    if (!row || lifecycle_check(txn_snap(t), CLASS_VM, self, vm_operations_resume, false, err)) {
        db_abort(t);
        return -1;
    }
    const struct row *vdi = snap_need(txn_snap(t), CLASS_VDI, value, err);
    if (!vdi || row_enum(vdi, F_VDI_type) != vdi_type_suspend) {
        db_abort(t);
        return vdi ? xerr_vdi_incompatible_type(err, REF_STR(value), "suspend") : -1;
    }
    txn_set_ref(t, self, F_VM_suspend_VDI, value);
    return db_commit(t, err);
}

/* ---- running guests ------------------------------------------------------------------------------------------------ */

/* Deprecated: every guest counts as cooperative. */
int vm_get_cooperative(struct call *c, struct ref self, bool *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!snap_need(s, CLASS_VM, self, err)) return -1;
    *ret_result = true;
    return 0;
}

int vm_query_services(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!snap_need(s, CLASS_VM, self, err)) return -1;
    *ret_result = value_map(NULL, 0);   /* no VM of ours is a driver domain */
    return 0;
}

int vm_set_memory_target_live(struct call *c, struct ref self, int64_t target, struct xerr *err)
{
    return vm_set_memory_dynamic_range(c, self, target, target, err);
}

int vm_wait_memory_target_live(struct call *c, struct ref self, struct xerr *err)
{
    enum { TOLERANCE_BYTES = 1 << 20, STEP_MS = 200, LIMIT_MS = 256000 };
    struct hv_domain domain;
    struct hv_id id;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, self, err);
        if (!row) return -1;
        id = hv_id(arena_strdup(c->arena, row_uuid(row)), self);
    }
    for (int waited_ms = 0; waited_ms < LIMIT_MS; waited_ms += STEP_MS) {
        if (call_check_cancel(c, err) || hv_query(c->agent->hv, id, c->arena, &domain, err)) return -1;
        int64_t off = domain.memory_actual_bytes - domain.memory_target_bytes;
        if (off <= TOLERANCE_BYTES && off >= -TOLERANCE_BYTES) return 0;
        nanosleep(&(struct timespec){ 0, STEP_MS * 1000000L }, NULL);
    }
    return xerr_vm_memory_target_wait_timeout(err, 0, NULL);
}
