/* Which VM operation is allowed in which power state, on which kind of VM, beside which other operations.
 * Called by: lifecycle.c.  Calls: db/. */
#include "xapi/call/lifecycle_table.h"

#include "lib/strbuf.h"
#include "xapi/call/lifecycle.h"

/* Power states, as bits. */
enum { H = 1 << vm_power_state_Halted, P = 1 << vm_power_state_Paused, R = 1 << vm_power_state_Running,
       S = 1 << vm_power_state_Suspended, ANY = H | P | R | S };
/* Kinds of VM. */
enum { VM = 1, TEMPLATE = 2, SNAPSHOT = 4, DOM0 = 8, COPYABLE = VM | TEMPLATE | SNAPSHOT, ALL = 15 };
/* Company: what may be in progress when the operation begins. */
enum company {
    ALONE,       /* nothing */
    READER,      /* other readers: they look at the VM or its disks and change neither */
    FORCE,       /* a clean operation that hangs: the hard one overtakes it */
    LOOSE,       /* anything: it does not touch the life of the VM */
};

static const struct {
    int states;
    int kinds;
    enum company company;
} rules[] = {
    [vm_operations_snapshot] = { ANY, VM, ALONE },
    [vm_operations_clone] = { H | S, COPYABLE, READER },
    [vm_operations_copy] = { H | S, COPYABLE, READER },
    [vm_operations_create_template] = { H | S, COPYABLE, READER },
    [vm_operations_revert] = { ANY, SNAPSHOT, ALONE },
    [vm_operations_checkpoint] = { R | P | S | H, VM, ALONE },
    [vm_operations_snapshot_with_quiesce] = { 0, VM, ALONE },
    [vm_operations_provision] = { H, VM | TEMPLATE, ALONE },
    [vm_operations_start] = { H, VM, ALONE },
    [vm_operations_start_on] = { H, VM, ALONE },
    [vm_operations_pause] = { R, VM, ALONE },
    [vm_operations_unpause] = { P, VM, ALONE },
    [vm_operations_clean_shutdown] = { R, VM, ALONE },
    [vm_operations_clean_reboot] = { R, VM, ALONE },
    [vm_operations_hard_shutdown] = { R | P | S, VM | SNAPSHOT, FORCE },     /* a checkpoint: its memory goes */
    [vm_operations_power_state_reset] = { ANY, VM | SNAPSHOT, FORCE },
    [vm_operations_hard_reboot] = { R | P, VM, FORCE },
    [vm_operations_suspend] = { R, VM, ALONE },
    [vm_operations_csvm] = { H | R | S, VM, ALONE },
    [vm_operations_resume] = { S, VM, ALONE },
    [vm_operations_resume_on] = { S, VM, ALONE },
    [vm_operations_pool_migrate] = { R, VM, ALONE },
    [vm_operations_migrate_send] = { R | H | S, VM, ALONE },
    [vm_operations_get_boot_record] = { ANY, ALL, LOOSE },
    [vm_operations_send_sysrq] = { R, VM, LOOSE },
    [vm_operations_send_trigger] = { R, VM, LOOSE },
    [vm_operations_query_services] = { R, VM, LOOSE },
    [vm_operations_shutdown] = { R | P | S, VM, ALONE },
    [vm_operations_call_plugin] = { R, VM, LOOSE },
    [vm_operations_changing_memory_live] = { R, VM, ALONE },
    [vm_operations_awaiting_memory_live] = { R, VM, LOOSE },
    [vm_operations_changing_dynamic_range] = { H | R, ALL, ALONE },
    [vm_operations_changing_static_range] = { H, ALL, ALONE },
    [vm_operations_changing_memory_limits] = { H | R, ALL, ALONE },
    [vm_operations_changing_shadow_memory] = { H, VM | TEMPLATE, ALONE },
    [vm_operations_changing_shadow_memory_live] = { R, VM, ALONE },
    [vm_operations_changing_VCPUs] = { H, ALL, ALONE },
    [vm_operations_changing_VCPUs_live] = { R, VM, ALONE },
    [vm_operations_changing_NVRAM] = { H, VM | TEMPLATE, ALONE },
    [vm_operations_assert_operation_valid] = { ANY, ALL, LOOSE },
    [vm_operations_data_source_op] = { ANY, ALL, LOOSE },
    [vm_operations_update_allowed_operations] = { ANY, ALL, LOOSE },
    [vm_operations_make_into_template] = { H, VM | SNAPSHOT, ALONE },
    [vm_operations_import] = { 0, VM, ALONE },
    [vm_operations_export] = { H | S, COPYABLE, READER },
    [vm_operations_metadata_export] = { ANY, ALL, LOOSE },
    [vm_operations_reverting] = { 0, VM, ALONE },
    [vm_operations_destroy] = { H | S, COPYABLE, ALONE },
    [vm_operations_create_vtpm] = { H, VM | TEMPLATE, ALONE },
    [vm_operations_sysprep] = { R, VM, ALONE },
};

/* What a host's driver may lack, as the host's record says it (host.c: hypervisor_lacks), and in which states it is wanted. */
static const struct {
    int op, states;
    const char *verb;
} needs[] = {
    { vm_operations_pool_migrate, R, "migrate-send" },
    { vm_operations_migrate_send, R, "migrate-send" },
    { vm_operations_changing_shadow_memory_live, R, "set-shadow" },
    { vm_operations_create_vtpm, H, "check-tpm" },
};

static const char *lacks_of(const struct row *host)
{
    return host ? row_map_str(host, F_host_software_version, "hypervisor_lacks", "") : "";
}

const char *lifecycle_lacks(const struct snap *s, const struct row *vm)
{
    const struct row *home = snap_get(s, CLASS_host, row_ref(vm, F_VM_resident_on));
    const char *least = home ? lacks_of(home) : NULL;

    if (home) return least;
    SNAP_EACH (s, CLASS_host, host) {
        const char *lacks = lacks_of(host);
        if (!least || strlen(lacks) < strlen(least)) least = lacks;
    }
    return least ? least : "";
}

static void look(struct facts *f)
{
    f->lacks = lifecycle_lacks(f->s, f->object);
}

/* The word of `lacks` that ends in this verb: "hv.libvirt.migrate-send"; its length, 0 = it is not there. */
static size_t find_lack(const char *lacks, const char *verb, const char **ret_word)
{
    const size_t n = strlen(verb);

    for (size_t len; *lacks; lacks += len + (lacks[len] == ' ')) {
        len = strcspn(lacks, " ");
        *ret_word = lacks;
        if (len > n && lacks[len - n - 1] == '.' && !strncmp(lacks + len - n, verb, n)) return len;
    }
    return 0;
}

int lifecycle_need_verb(const char *lacks, const char *verb, struct xerr *err)
{
    const char *word;
    const size_t len = find_lack(lacks, verb, &word);

    if (!len) return 0;
    _cleanup_free_ char *name = xstrndup(word, len);
    return xerr_not_implemented(err, name);
}

static int check_driver(const struct facts *f, int op, struct xerr *err)
{
    const int state = 1 << row_enum(f->object, F_VM_power_state);

    for (size_t i = 0; *f->lacks && i < ARRAY_SIZE(needs); i++)
        if (needs[i].op == op && needs[i].states & state && lifecycle_need_verb(f->lacks, needs[i].verb, err)) return -1;
    return 0;
}

static int kind_of(const struct row *vm)
{
    if (row_bool(vm, F_VM_is_control_domain)) return DOM0;
    if (row_bool(vm, F_VM_is_a_snapshot)) return SNAPSHOT;
    return row_bool(vm, F_VM_is_a_template) ? TEMPLATE : VM;
}

int lifecycle_bad_power_state(const struct row *vm, unsigned states, struct xerr *err)
{
    static const char *const names[] = { [vm_power_state_Halted] = "halted", [vm_power_state_Paused] = "paused",
                                         [vm_power_state_Running] = "running", [vm_power_state_Suspended] = "suspended" };
    _cleanup_strbuf_ struct strbuf expected = STRBUF_INIT;

    for (unsigned i = 0; i < ARRAY_SIZE(names) && !err->quiet; i++)
        if (states & 1u << i) strbuf_printf(&expected, "%s%s", expected.len ? ", " : "", names[i]);
    return xerr_vm_bad_power_state(err, NAMED(err, row_ref_of(vm)), strbuf_cstr(&expected),
                                   names[row_enum(vm, F_VM_power_state)]);
}

static int check(const struct facts *f, int op, struct xerr *err)
{
    const struct row *vm = f->object;

    if (op < 0 || (size_t)op >= ARRAY_SIZE(rules)) return xerr_operation_not_allowed(err, "unknown operation");
    const char *name = lifecycle_operations(F_VM_allowed_operations)->values[op];
    int kind = kind_of(vm);

    if (!(rules[op].kinds & kind)) {
        if (kind == TEMPLATE || kind == SNAPSHOT) return xerr_vm_is_template(err, NAMED(err, row_ref_of(vm)));
        if (kind == DOM0) return xerr_operation_not_allowed(err, "This operation is not allowed on the control domain");
        return xerr_revert_only_allowed_on_snapshot(err, 0, NULL);
    }
    if (!rules[op].states) return xerr_operation_not_allowed(err, "This operation cannot be asked for");
    if (!(rules[op].states & 1 << row_enum(vm, F_VM_power_state))) return lifecycle_bad_power_state(vm, (unsigned)rules[op].states, err);

    const char *blocked = row_map_str(vm, F_VM_blocked_operations, name, NULL);
    if (blocked) return xerr_operation_blocked(err, NAMED(err, row_ref_of(vm)), blocked);
    if (op == vm_operations_sysprep) return xerr_sysprep(err, NAMED(err, row_ref_of(vm)), "API_not_enabled");
    if (op == vm_operations_create_vtpm && row_refs(vm, F_VM_VTPMs)->n) return xerr_vtpm_max_amount_reached(err, "1");
    return check_driver(f, op, err);
}

static bool is_clean(int op)
{
    return op == vm_operations_clean_shutdown || op == vm_operations_clean_reboot || op == vm_operations_shutdown;
}

static bool beside(int op, int running)
{
    if (rules[op].company == LOOSE || rules[running].company == LOOSE) return true;
    if (rules[op].company == READER) return rules[running].company == READER;
    if (rules[op].company == FORCE) return is_clean(running) || running == vm_operations_pause;
    return false;
}

static void dependents(struct txn *t, struct ref ref)
{
    const struct row *vm = snap_get(txn_snap(t), CLASS_VM, ref);

    if (!vm) return;
    const struct refset *vbds = row_refs(vm, F_VM_VBDs), *vifs = row_refs(vm, F_VM_VIFs);
    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(txn_snap(t), CLASS_VBD, vbds->refs[i]);
        if (!vbd) continue;
        struct ref vdi = row_ref(vbd, F_VBD_VDI);
        lifecycle_refresh_one(t, CLASS_VBD, vbds->refs[i]);
        if (!ref_is_null(vdi)) lifecycle_refresh_one(t, CLASS_VDI, vdi);
    }
    for (size_t i = 0; i < vifs->n; i++) lifecycle_refresh_one(t, CLASS_VIF, vifs->refs[i]);
    vm = snap_get(txn_snap(t), CLASS_VM, ref);
    const struct refset *vtpms = vm ? row_refs(vm, F_VM_VTPMs) : NULL;
    for (size_t i = 0; vtpms && i < vtpms->n; i++) lifecycle_refresh_one(t, CLASS_VTPM, vtpms->refs[i]);
    vm = snap_get(txn_snap(t), CLASS_VM, ref);
    struct ref appliance = vm ? row_ref(vm, F_VM_appliance) : REF_NULL;
    if (snap_get(txn_snap(t), CLASS_VM_appliance, appliance)) lifecycle_refresh_one(t, CLASS_VM_appliance, appliance);
}

const struct lifecycle_rules lifecycle_vm = {
    .cls = CLASS_VM,
    .allowed = F_VM_allowed_operations,
    .current = F_VM_current_operations,
    .look = look,
    .check = check,
    .beside = beside,
    .dependents = dependents,
};
