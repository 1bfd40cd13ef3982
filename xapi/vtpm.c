/* Class VTPM: a VM's TPM. What it keeps is a secret's text, so that nobody reads it who may not read secrets.
 * Called by: the generated thunks (schema/vtpm.xml), vm*.c, xva_*.c.  Calls: hv/, db/.
 *
 * The secret has the uuid of its TPM. It is the truth while the VM is switched off: a start gives the hypervisor what is there, the
 * end of a guest, a suspension and a snapshot bring back what its TPM has by then. */
#define LOG_MODULE "vtpm"
#include "xapi/vtpm.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/vm.h"

/* ---- rows ------------------------------------------------------------------------------------------------------ */

const char *vtpm_contents(const struct snap *s, const struct row *vtpm)
{
    const struct row *secret = snap_by_uuid(s, CLASS_secret, row_uuid(vtpm));

    return secret ? row_str(secret, F_secret_value) : "";
}

static void write_contents(struct txn *t, struct ref vtpm, const char *contents)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VTPM, vtpm);
    const struct row *secret = row ? snap_by_uuid(txn_snap(t), CLASS_secret, row_uuid(row)) : NULL;
    struct ref ref = secret ? row_ref_of(secret) : ref_new();

    if (!row) return;
    if (!secret) {
        txn_create(t, CLASS_secret, ref);
        row = snap_get(txn_snap(t), CLASS_VTPM, vtpm);
        if (row) txn_set_str(t, ref, F_secret_uuid, row_uuid(row));
    }
    txn_set_str(t, ref, F_secret_value, contents);
}

static void drop_row(struct txn *t, struct ref vtpm)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VTPM, vtpm);
    const struct row *secret = row ? snap_by_uuid(txn_snap(t), CLASS_secret, row_uuid(row)) : NULL;

    if (secret) txn_destroy(t, CLASS_secret, row_ref_of(secret));
    txn_destroy(t, CLASS_VTPM, vtpm);
}

/* The VM's, or null. */
static struct ref first_of(const struct snap *s, struct ref vm)
{
    const struct row *row = snap_get(s, CLASS_VM, vm);
    const struct refset *all = row ? row_refs(row, F_VM_VTPMs) : NULL;

    return all && all->n ? all->refs[0] : REF_NULL;
}

void vtpm_drop_rows(struct txn *t, struct ref vm)
{
    struct ref vtpm;

    while (!txn_failed(t) && !ref_is_null(vtpm = first_of(txn_snap(t), vm))) drop_row(t, vtpm);
}

struct ref vtpm_add_row(struct txn *t, struct ref vm, bool is_unique, const char *contents)
{
    struct ref vtpm = ref_new();

    txn_create(t, CLASS_VTPM, vtpm);
    txn_set_ref(t, vtpm, F_VTPM_VM, vm);
    txn_set_bool(t, vtpm, F_VTPM_is_unique, is_unique);
    if (*contents) write_contents(t, vtpm, contents);
    lifecycle_refresh(t, CLASS_VM, vm);
    return vtpm;
}

void vtpm_copy_rows(struct call *c, struct txn *t, struct ref from, struct ref to, bool snapshot)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VTPM, first_of(txn_snap(t), from));

    if (!row || (row_bool(row, F_VTPM_is_unique) && !snapshot)) return;
    const bool is_unique = row_bool(row, F_VTPM_is_unique);
    const char *contents = arena_strdup(c->arena, vtpm_contents(txn_snap(t), row));
    vtpm_add_row(t, to, is_unique, contents);
}

/* ---- between record and hypervisor ------------------------------------------------------------------------------- */

int vtpm_check_contents(struct call *c, const char *contents, struct xerr *err)
{
    unsigned char *bytes;
    size_t len;

    return *contents ? vm_unpack(c, "VTPM contents", contents, &bytes, &len, err) : 0;
}

int vtpm_describe(struct call *c, const struct row *vm, struct hv_vm *ret_vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct refset *all = row_refs(vm, F_VM_VTPMs);
    const struct row *vtpm = all->n ? snap_get(s, CLASS_VTPM, all->refs[0]) : NULL;
    const char *contents = vtpm ? vtpm_contents(s, vtpm) : "";
    unsigned char *bytes;
    size_t len;

    ret_vm->has_tpm = vtpm != NULL;
    if (!*contents) return 0;
    if (vm_unpack(c, "VTPM contents", contents, &bytes, &len, err)) return -1;
    ret_vm->tpm = bytes;
    ret_vm->tpm_len = len;
    return 0;
}

void vtpm_save(struct call *c, struct ref vm)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const char *uuid, *old;
    struct ref vtpm;
    const void *bytes;
    size_t len = 0;

    if (!hv_can(c->agent->hv, HV_CAN_TPM)) return;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_VM, vm), *t = snap_get(s, CLASS_VTPM, vtpm = first_of(s, vm));
        if (!row || !t) return;
        uuid = arena_strdup(c->arena, row_uuid(row));
        old = arena_strdup(c->arena, vtpm_contents(s, t));
    }
    int rc = hv_get_tpm(c->agent->hv, hv_id(uuid, vm), c->arena, &bytes, &len, &err);
    const char *now = !rc && len ? vm_pack(c, bytes, len) : old;
    if (!rc && !streq(now, old)) {
        struct txn *t = db_begin(c->agent->db);
        write_contents(t, vtpm, now);
        rc = db_commit(t, &err);
    }
    if (rc) log_warn("the TPM of VM %s stays as it was: %s", uuid, err.code);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

int vtpm_create(struct call *c, struct ref vm, bool is_unique, struct ref *ret_result, struct xerr *err)
{
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row) return -1;
        if (vm_domain_type(row) == domain_type_pv)
            return xerr_operation_not_allowed(err, "A paravirtual guest has no place for a TPM");
    }
    if (hv_check_tpm(c->agent->hv, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (!ref_is_null(first_of(txn_snap(t), vm))) {
        db_abort(t);
        return xerr_vtpm_max_amount_reached(err, "1");
    }
    struct ref vtpm = vtpm_add_row(t, vm, is_unique, "");
    if (db_commit(t, err)) return -1;
    *ret_result = vtpm;
    return 0;
}

int vtpm_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_VTPM, self, err);
    struct ref vm = row ? row_ref(row, F_VTPM_VM) : REF_NULL;

    if (!row) {
        db_abort(t);
        return -1;
    }
    drop_row(t, self);
    if (snap_get(txn_snap(t), CLASS_VM, vm)) lifecycle_refresh(t, CLASS_VM, vm);
    return db_commit(t, err);
}

int vtpm_get_contents(struct call *c, struct ref self, const char **ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VTPM, self, err);

    if (row) *ret_result = arena_strdup(c->arena, vtpm_contents(s, row));
    return row ? 0 : -1;
}

int vtpm_set_contents(struct call *c, struct ref self, const char *contents, struct xerr *err)
{
    if (vtpm_check_contents(c, contents, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (!snap_need(txn_snap(t), CLASS_VTPM, self, err)) {
        db_abort(t);
        return -1;
    }
    write_contents(t, self, contents);
    return db_commit(t, err);
}
