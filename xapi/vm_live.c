/* Class VM: what changes under a running guest, besides its memory and devices.
 * Called by: the generated thunks (schema/vm.xml).  Calls: hv/, db/, host_plugin.c. */
#include "gen/methods.h"
#include "lib/conf.h"
#include "xapi/call/lifecycle.h"
#include "xapi/vm.h"

/* What of the record a verb needs; from the call's arena. */
struct live {
    struct hv_id id;
    bool running;
    unsigned vcpus_max;
    enum domain_type type;
};

static int look(struct call *c, struct ref vm, struct live *ret, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    *ret = (struct live){
        .id = hv_id(arena_strdup(c->arena, row_uuid(row)), vm),
        .running = row_enum(row, F_VM_power_state) == vm_power_state_Running,
        .vcpus_max = (unsigned)row_int(row, F_VM_VCPUs_max),
        .type = vm_domain_type(row),
    };
    return 0;
}

/* ---- processors -------------------------------------------------------------------------------------------------- */

/* The hypervisor knows these; other keys are for whoever reads the record. */
static bool is_for_driver(const char *key)
{
    return streq(key, "weight") || streq(key, "cap") || streq(key, "mask");
}

int vm_add_to_VCPUs_params_live(struct call *c, struct ref self, const char *key, const char *value, struct xerr *err)
{
    struct live vm;

    if (look(c, self, &vm, err)) return -1;
    if (is_for_driver(key) && hv_set_vcpu_param(c->agent->hv, vm.id, key, value, vm.vcpus_max, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_map_put_str(t, self, F_VM_VCPUs_params, key, value);
    return db_commit(t, err);
}

/* ---- memory for page tables -------------------------------------------------------------------------------------- */

int vm_set_shadow_multiplier_live(struct call *c, struct ref self, double multiplier, struct xerr *err)
{
    struct live vm;

    if (!(multiplier >= 1.0)) return xerr_invalid_value(err, "multiplier", arena_printf(c->arena, "%g", multiplier));
    if (look(c, self, &vm, err)) return -1;
    if (vm.type != domain_type_hvm && vm.type != domain_type_pvh) return xerr_vm_hvm_required(err, REF_STR(self));
    if (hv_set_shadow(c->agent->hv, vm.id, multiplier, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_float(t, self, F_VM_HVM_shadow_multiplier, multiplier);
    return db_commit(t, err);
}

/* ---- device emulators -------------------------------------------------------------------------------------------- */

/* A device emulator holds the state of its devices: a new one gets it where the guest is moved onto its own host, or saved and
 * brought back. Each step goes through its own gate. */
int vm_restart_device_models(struct call *c, struct ref self, struct xerr *err)
{
    struct value done;

    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, self, err);
        if (!row || lifecycle_check(s, CLASS_VM, self, vm_operations_suspend, false, err)) return -1;
    }
    if (hv_moves_here(c->agent->hv))
        return call_message(c, "VM.pool_migrate", ARGS(value_ref(self), value_ref(c->agent->host), value_map(NULL, 0)), &done, err);
    if (call_message(c, "VM.suspend", ARGS(value_ref(self)), &done, err)) return -1;
    return call_message(c, "VM.resume", ARGS(value_ref(self), value_bool(false), value_bool(false)), &done, err);
}

/* ---- plug-ins of the host ---------------------------------------------------------------------------------------- */

/* Whether the administrator lets those who operate VMs run it: a name of the list in vm-plugins. */
static bool plugin_allowed(const struct call *c, const char *plugin)
{
    const char *list = conf_str(c->agent->conf, "vm-plugins");

    for (size_t n; *list; list += n + (list[n] != '\0')) {
        n = strcspn(list, ", ");
        if (n && n == strlen(plugin) && memcmp(list, plugin, n) == 0) return true;
    }
    return false;
}

int vm_call_host_plugin(struct call *c, struct ref vm, const char *plugin, const char *fn, const struct value *args,
                        const char **ret_result, struct xerr *err)
{
    struct live live;

    if (look(c, vm, &live, err)) return -1;
    if (!plugin_allowed(c, plugin)) return xerr_xenapi_missing_plugin(err, plugin);
    if (!live.running) return xerr_vm_bad_power_state(err, REF_STR(vm), "running", "halted");
    return vm_plugin(c, vm, plugin, fn, args, ret_result, err);
}
