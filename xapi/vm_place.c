/* Class VM: which hosts could run it, and why not.
 * Called by: the generated thunks (schema/vm.xml).  Calls: vm_config.c, db/. */
#include "gen/methods.h"
#include "xapi/vm.h"

static bool plugged(const struct snap *s, const struct row *sr, struct ref host)
{
    const struct refset *pbds = row_refs(sr, F_SR_PBDs);

    for (size_t i = 0; i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        if (pbd && ref_eq(row_ref(pbd, F_PBD_host), host) && row_bool(pbd, F_PBD_currently_attached)) return true;
    }
    return false;
}

static const struct row *sr_of(const struct snap *s, const struct row *vbd)
{
    const struct row *vdi = vbd && !row_bool(vbd, F_VBD_empty) ? snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI)) : NULL;

    return vdi ? snap_get(s, CLASS_SR, row_ref(vdi, F_VDI_SR)) : NULL;
}

static int check_disks(const struct snap *s, const struct row *vm, struct ref host, struct xerr *err)
{
    const struct refset *vbds = row_refs(vm, F_VM_VBDs);

    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *sr = sr_of(s, snap_get(s, CLASS_VBD, vbds->refs[i]));
        if (sr && !plugged(s, sr, host)) return xerr_vm_requires_sr(err, REF_STR(row_ref_of(vm)), REF_STR(row_ref_of(sr)));
    }
    return 0;
}

/* One without any card is within each host. */
static bool reaches(const struct snap *s, const struct row *network, struct ref host)
{
    const struct refset *pifs = row_refs(network, F_network_PIFs);

    for (size_t i = 0; i < pifs->n; i++) {
        const struct row *pif = snap_get(s, CLASS_PIF, pifs->refs[i]);
        if (pif && ref_eq(row_ref(pif, F_PIF_host), host)) return true;
    }
    return !pifs->n;
}

static int check_networks(const struct snap *s, const struct row *vm, struct ref host, struct xerr *err)
{
    const struct refset *vifs = row_refs(vm, F_VM_VIFs);

    for (size_t i = 0; i < vifs->n; i++) {
        const struct row *vif = snap_get(s, CLASS_VIF, vifs->refs[i]);
        const struct row *network = vif ? snap_get(s, CLASS_network, row_ref(vif, F_VIF_network)) : NULL;
        if (network && !reaches(s, network, host))
            return xerr_vm_requires_network(err, REF_STR(row_ref_of(vm)), REF_STR(row_ref_of(network)));
    }
    return 0;
}

static int check_memory(struct call *c, const struct row *vm, const struct row *metrics, struct xerr *err)
{
    const int64_t total = row_int(metrics, F_host_metrics_memory_total), needed = row_int(vm, F_VM_memory_dynamic_min);

    if (needed <= total) return 0;
    return xerr_host_not_enough_free_memory(err, arena_printf(c->arena, "%lld", (long long)needed),
                                            arena_printf(c->arena, "%lld", (long long)total));
}

int vm_assert_can_boot_here(struct call *c, struct ref vm, struct ref host, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *h = snap_need(s, CLASS_host, host, err), *row = h ? snap_need(s, CLASS_VM, vm, err) : NULL;
    struct hv_vm described;

    if (!row) return -1;
    const struct row *metrics = snap_get(s, CLASS_host_metrics, row_ref(h, F_host_metrics));
    if (!metrics || !row_bool(metrics, F_host_metrics_live)) return xerr_host_not_live(err);
    if (!row_bool(h, F_host_enabled)) return xerr_host_disabled(err, REF_STR(host));
    if (check_disks(s, row, host, err) || check_networks(s, row, host, err) || check_memory(c, row, metrics, err)) return -1;
    return ref_eq(host, c->agent->host) ? vm_describe(c, row, &described, err) : 0;
}

int vm_get_possible_hosts(struct call *c, struct ref vm, struct value *ret_result, struct xerr *err)
{
    struct value_builder hosts = value_builder(c->arena);
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!snap_need(s, CLASS_VM, vm, err)) return -1;
    SNAP_EACH (s, CLASS_host, host) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        if (!vm_assert_can_boot_here(c, vm, row_ref_of(host), &why)) value_push(&hosts, value_ref(row_ref_of(host)));
    }
    *ret_result = value_built_set(&hosts);
    return 0;
}

/* Agile: every disk and network could be reached from every host. On one host that is so. */
int vm_assert_agile(struct call *c, struct ref self, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, self, err);

    if (!row || snap_count(s, CLASS_host) == 1) return row ? 0 : -1;
    const struct refset *vbds = row_refs(row, F_VM_VBDs);
    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *sr = sr_of(s, snap_get(s, CLASS_VBD, vbds->refs[i]));
        if (sr && !row_bool(sr, F_SR_shared)) return xerr_ha_constraint_violation_sr_not_shared(err, REF_STR(row_ref_of(sr)));
    }
    return 0;
}
