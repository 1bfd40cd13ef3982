/* Classes VM and VM_appliance: out of the database of a pool that is gone, into this one (disaster recovery).
 * Called by: the generated thunks (schema/vm.xml, vm_appliance.xml).  Calls: xva, session, db/.
 *
 * The call's session reads a dump (VDI.open_database, session.create_from_db_file); session_to is one of the pool that gets
 * the VM. The VM goes as records go between pools, as ova.xml; its disks are those that a scan of their repositories
 * found here. What the dump says a VM is doing counts for nothing: it comes halted. */
#define LOG_MODULE "vm"
#include <errno.h>

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/session.h"
#include "xapi/xva.h"

/* A call in the pool that gets the VM, with the other session's rights. */
static int open_target(struct call *c, struct ref session_to, struct call *ret_to, struct xerr *err)
{
    struct call to = {
        .magic = CALL_MAGIC, .agent = c->home ? c->home : c->agent, .arena = c->arena, .method = c->method, .user_name = "",
        .originator = c->originator, .peer = c->peer, .local = c->local, .task = c->task,
    };

    if (session_assume(&to, session_to, err)) return -1;
    if (to.scope != SCOPE_ALL) return xerr_session_invalid(err, REF_STR(session_to));
    /* Who knows another's session, but not its secret, gets no more rights than he has. */
    to.is_root &= c->is_root;
    to.roles &= c->roles;
    *ret_to = to;
    return 0;
}

static int need(struct call *c, struct ref vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return snap_need(s, CLASS_VM, vm, err) ? 0 : -1;
}

/* ---- repositories --------------------------------------------------------------------------- */

static bool is_plugged(const struct snap *s, const char *uuid)
{
    const struct row *sr = snap_by_uuid(s, CLASS_SR, uuid);
    const struct refset *pbds = sr ? row_refs(sr, F_SR_PBDs) : NULL;

    for (size_t i = 0; pbds && i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        if (pbd && row_bool(pbd, F_PBD_currently_attached)) return true;
    }
    return false;
}

struct needed {
    struct ref *srs; /* of the dump, each once: repositories that are not plugged in the other pool */
    size_t n;
};

static void add_needed(const struct snap *here, const struct snap *there, const struct row *vm, struct needed *n)
{
    const struct refset *vbds = row_refs(vm, F_VM_VBDs);

    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(here, CLASS_VBD, vbds->refs[i]);
        const struct row *vdi = vbd && row_enum(vbd, F_VBD_type) != vbd_type_CD ? snap_get(here, CLASS_VDI, row_ref(vbd, F_VBD_VDI)) : NULL;
        const struct row *sr = vdi ? snap_get(here, CLASS_SR, row_ref(vdi, F_VDI_SR)) : NULL;
        size_t k = 0;
        if (!sr || is_plugged(there, row_uuid(sr))) continue;
        while (k < n->n && !ref_eq(n->srs[k], row_ref_of(sr))) k++;
        if (k == n->n) n->srs[n->n++] = row_ref_of(sr);
    }
}

/* What the VMs need and the other pool has not. */
static int find_needed(struct call *c, const struct call *to, const struct ref *vms, size_t n, struct needed *ret_needed,
                       struct xerr *err)
{
    _cleanup_snap_ struct snap *here = db_snap(c->agent->db), *there = db_snap(to->agent->db);
    struct needed found = { arena_new_array(c->arena, struct ref, snap_count(here, CLASS_SR) + 1), 0 };

    for (size_t i = 0; i < n; i++) {
        const struct row *vm = snap_need(here, CLASS_VM, vms[i], err);
        if (!vm) return -1;
        add_needed(here, there, vm, &found);
    }
    *ret_needed = found;
    return 0;
}

static struct value as_set(struct call *c, const struct needed *n)
{
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < n->n; i++) value_push(&b, value_ref(n->srs[i]));
    return value_built_set(&b);
}

static int check_storage(struct call *c, const struct call *to, const struct ref *vms, size_t n, struct xerr *err)
{
    for (size_t i = 0; i < n; i++) {
        struct needed missing;
        if (find_needed(c, to, &vms[i], 1, &missing, err)) return -1;
        if (missing.n) return xerr_vm_requires_sr(err, REF_STR(vms[i]), REF_STR(missing.srs[0]));
    }
    return 0;
}

/* ---- one VM --------------------------------------------------------------------------------- */

struct memory {
    const char *at;
    size_t left;
};

static ssize_t read_memory(void *arg, void *buf, size_t n)
{
    struct memory *m = arg;

    if (n > m->left) n = m->left;
    memcpy(buf, m->at, n);
    m->at += n;
    m->left -= n;
    return (ssize_t)n;
}

/* A VM of this uuid that is there already goes when it is the older one, or by force; its disks stay. */
static int make_way(struct call *to, const char *uuid, int64_t version, bool force, struct xerr *err)
{
    struct ref old;
    {
        _cleanup_snap_ struct snap *s = db_snap(to->agent->db);
        const struct row *vm = snap_by_uuid(s, CLASS_VM, uuid);
        if (!vm) return 0;
        old = row_ref_of(vm);
        const int64_t has = row_int(vm, F_VM_version);
        if (!force && version <= has)
            return xerr_vm_to_import_is_not_newer_version(err, REF_STR(old), arena_printf(to->arena, "%lld", (long long)has),
                                                          arena_printf(to->arena, "%lld", (long long)version));
        if (row_enum(vm, F_VM_power_state) != vm_power_state_Halted)
            return lifecycle_bad_power_state(vm, 1u << vm_power_state_Halted, err);
    }
    return call_message(to, "VM.destroy", ARGS(value_ref(old)), NULL, err);
}

/* Nor may one of its snapshots be there. */
static int drop_snapshots(struct call *c, struct call *to, struct ref vm, struct xerr *err)
{
    struct ref *old;
    size_t n = 0;
    {
        _cleanup_snap_ struct snap *here = db_snap(c->agent->db), *there = db_snap(to->agent->db);
        const struct row *row = snap_get(here, CLASS_VM, vm);
        const struct refset *snapshots = row ? row_refs(row, F_VM_snapshots) : NULL;
        old = arena_new_array(c->arena, struct ref, (snapshots ? snapshots->n : 0) + 1);
        for (size_t i = 0; snapshots && i < snapshots->n; i++) {
            const struct row *snapshot = snap_get(here, CLASS_VM, snapshots->refs[i]);
            const struct row *now = snapshot ? snap_by_uuid(there, CLASS_VM, row_uuid(snapshot)) : NULL;
            if (now) old[n++] = row_ref_of(now);
        }
    }
    for (size_t i = 0; i < n; i++)
        if (call_message(to, "VM.destroy", ARGS(value_ref(old[i])), NULL, err)) return -1;
    return 0;
}

/* A repository of files knows no names: they come from the dump. */
static void name_disks(struct call *c, struct call *to, struct ref vm)
{
    _cleanup_snap_ struct snap *here = db_snap(c->agent->db);
    const struct row *row = snap_get(here, CLASS_VM, vm);
    const struct refset *vbds = row ? row_refs(row, F_VM_VBDs) : NULL;
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct txn *t = db_begin(to->agent->db);

    for (size_t i = 0; vbds && i < vbds->n; i++) {
        const struct row *vbd = snap_get(here, CLASS_VBD, vbds->refs[i]);
        const struct row *vdi = vbd ? snap_get(here, CLASS_VDI, row_ref(vbd, F_VBD_VDI)) : NULL;
        const struct row *now = vdi ? snap_by_uuid(txn_snap(t), CLASS_VDI, row_uuid(vdi)) : NULL;
        if (!now || *row_str(now, F_VDI_name_label)) continue;
        const struct ref ref = row_ref_of(now);
        txn_set_str(t, ref, F_VDI_name_label, row_str(vdi, F_VDI_name_label));
        txn_set_str(t, ref, F_VDI_name_description, row_str(vdi, F_VDI_name_description));
    }
    db_commit(t, &ignored);
}

/* ret_vm: in the other pool. Its version says how often it was recovered. */
static int recover_one(struct call *c, struct call *to, struct ref vm, bool force, struct ref *ret_vm, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf tar = STRBUF_INIT;
    const struct xva_metadata what = { .vms = &vm, .n = 1, .snapshots = true };
    const char *uuid;
    int64_t version;
    struct value made;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row) return -1;
        uuid = arena_strdup(c->arena, row_uuid(row));
        version = row_int(row, F_VM_version);
    }
    if (xva_metadata(c, &what, &tar, err) || make_way(to, uuid, version, force, err) || drop_snapshots(c, to, vm, err))
        return -1;
    struct memory m = { tar.ptr, tar.len };
    const struct xva_import into = { .restore = true, .metadata = true, .force = force, .read = read_memory, .arg = &m };
    if (xva_import(to, &into, &made, err)) return -1;
    name_disks(c, to, vm);
    struct txn *t = db_begin(to->agent->db);
    const struct row *row = snap_by_uuid(txn_snap(t), CLASS_VM, uuid);
    *ret_vm = row ? row_ref_of(row) : REF_NULL;
    if (row) txn_set_int(t, *ret_vm, F_VM_version, version + 1);
    if (db_commit(t, err)) return -1;
    log_info("VM %s was recovered from a dump", uuid);
    return 0;
}

int vm_recover(struct call *c, struct ref self, struct ref session_to, bool force, struct xerr *err)
{
    struct needed missing;
    struct call to;
    struct ref made;

    if (need(c, self, err) || open_target(c, session_to, &to, err) ||
        find_needed(c, &to, &self, 1, &missing, err))
        return -1;
    if (missing.n && !force) return xerr_vm_requires_sr(err, REF_STR(self), REF_STR(missing.srs[0]));
    return recover_one(c, &to, self, force, &made, err);
}

int vm_get_SRs_required_for_recovery(struct call *c, struct ref self, struct ref session_to, struct value *ret_result,
                                     struct xerr *err)
{
    struct needed missing;
    struct call to;

    if (need(c, self, err) || open_target(c, session_to, &to, err) ||
        find_needed(c, &to, &self, 1, &missing, err))
        return -1;
    *ret_result = as_set(c, &missing);
    return 0;
}

int vm_assert_can_be_recovered(struct call *c, struct ref self, struct ref session_to, struct xerr *err)
{
    struct call to;
    struct ref appliance;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, self, err);
        if (!row) return -1;
        appliance = snap_get(s, CLASS_VM_appliance, row_ref(row, F_VM_appliance)) ? row_ref(row, F_VM_appliance) : REF_NULL;
    }
    if (open_target(c, session_to, &to, err)) return -1;
    if (!ref_is_null(appliance)) return xerr_vm_is_part_of_an_appliance(err, REF_STR(self), REF_STR(appliance));
    return check_storage(c, &to, &self, 1, err);
}

/* ---- a whole appliance ---------------------------------------------------------------------- */

static int list_vms(struct call *c, struct ref appliance, const struct ref **ret_vms, size_t *ret_n, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM_appliance, appliance, err);

    if (!row) return -1;
    const struct refset *vms = row_refs(row, F_VM_appliance_VMs);
    struct ref *copy = arena_new_array(c->arena, struct ref, vms->n + 1);
    if (vms->n) memcpy(copy, vms->refs, vms->n * sizeof(*copy));
    *ret_vms = copy;
    *ret_n = vms->n;
    return 0;
}

/* The one of the same uuid, or a new one. */
static int make_appliance(struct call *c, struct call *to, struct ref self, struct ref *ret_appliance, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM_appliance, self, err);

    if (!row) return -1;
    struct txn *t = db_begin(to->agent->db);
    const struct row *same = snap_by_uuid(txn_snap(t), CLASS_VM_appliance, row_uuid(row));
    *ret_appliance = same ? row_ref_of(same) : ref_new();
    if (!same) {
        txn_create(t, CLASS_VM_appliance, *ret_appliance);
        txn_set_str(t, *ret_appliance, F_VM_appliance_uuid, row_uuid(row));
        txn_set_str(t, *ret_appliance, F_VM_appliance_name_label, row_str(row, F_VM_appliance_name_label));
        txn_set_str(t, *ret_appliance, F_VM_appliance_name_description, row_str(row, F_VM_appliance_name_description));
        lifecycle_refresh(t, CLASS_VM_appliance, *ret_appliance);
    }
    return db_commit(t, err);
}

int vm_appliance_recover(struct call *c, struct ref self, struct ref session_to, bool force, struct xerr *err)
{
    const struct ref *vms;
    struct ref appliance, vm;
    struct call to;
    size_t n;

    if (list_vms(c, self, &vms, &n, err) || open_target(c, session_to, &to, err) ||
        (!force && check_storage(c, &to, vms, n, err)) || make_appliance(c, &to, self, &appliance, err))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (call_check_cancel(c, err) || recover_one(c, &to, vms[i], force, &vm, err) ||
            call_message(&to, "VM.set_appliance", ARGS(value_ref(vm), value_ref(appliance)), NULL, err))
            return -1;
    return 0;
}

int vm_appliance_get_SRs_required_for_recovery(struct call *c, struct ref self, struct ref session_to,
                                               struct value *ret_result, struct xerr *err)
{
    const struct ref *vms;
    struct needed missing;
    struct call to;
    size_t n;

    if (list_vms(c, self, &vms, &n, err) || open_target(c, session_to, &to, err) ||
        find_needed(c, &to, vms, n, &missing, err))
        return -1;
    *ret_result = as_set(c, &missing);
    return 0;
}

int vm_appliance_assert_can_be_recovered(struct call *c, struct ref self, struct ref session_to, struct xerr *err)
{
    const struct ref *vms;
    struct call to;
    size_t n;

    return list_vms(c, self, &vms, &n, err) || open_target(c, session_to, &to, err) ? -1 : check_storage(c, &to, vms, n, err);
}
