/* Class host: the machine and its agent as a whole: restart, power, emptying it.
 * Called by: the generated thunks (schema/host.xml).  Calls: machine, db/. */
#include "xapi/host.h"

#include <signal.h>

#define LOG_MODULE "host"
#include "gen/methods.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "xapi/machine.h"

int host_need_self(struct call *c, struct ref host, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!snap_need(s, CLASS_host, host, err)) return -1;
    return ref_eq(host, c->agent->host) ? 0 : xerr_host_offline(err, REF_STR(host));
}

int pool_need_self(struct call *c, struct ref pool, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return snap_need(s, CLASS_pool, pool, err) ? 0 : -1;
}

/* ---- the agent ----------------------------------------------------------------------------------------- */

int host_restart_agent(struct call *c, struct ref host, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    log_info("restarting on request");
    kill(getpid(), SIGUSR1); /* main.c: ends as on SIGTERM, then runs the same program again */
    return 0;
}

/* ---- power --------------------------------------------------------------------------------------------- */

/* A running VM of the host other than the control domain, or null. */
static struct ref any_guest(const struct snap *s, const struct row *host)
{
    const struct refset *vms = row_refs(host, F_host_resident_VMs);

    for (size_t i = 0; i < vms->n; i++) {
        const struct row *vm = snap_get(s, CLASS_VM, vms->refs[i]);
        if (vm && !row_bool(vm, F_VM_is_control_domain)) return vms->refs[i];
    }
    return REF_NULL;
}

/* Only a disabled host without guests, and only where the administrator allows it. */
static int tell_machine(struct call *c, struct ref host, const char *what, struct xerr *err)
{
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_host, host, err);
        if (!row) return -1;
        if (!ref_eq(host, c->agent->host)) return xerr_host_offline(err, REF_STR(host));
        if (row_bool(row, F_host_enabled)) return xerr_host_not_disabled(err);
        struct ref guest = any_guest(s, row);
        if (!ref_is_null(guest)) return xerr_host_in_use(err, REF_STR(host), "VM", REF_STR(guest));
    }
    if (!conf_bool(c->agent->conf, "allow-host-power"))
        return xerr_operation_not_allowed(err, "The option allow-host-power of this host's agent is off");
    return machine_need(c, err) || MACHINE(c, NULL, err, what) ? -1 : 0;
}

int host_shutdown(struct call *c, struct ref host, struct xerr *err)
{
    return tell_machine(c, host, "poweroff", err);
}

int host_reboot(struct call *c, struct ref host, struct xerr *err)
{
    return tell_machine(c, host, "reboot", err);
}

/* The only host that could be asked is the one that answers. */
int host_power_on(struct call *c, struct ref host, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_host, host, err);

    if (!row) return -1;
    if (!*row_str(row, F_host_power_on_mode)) return xerr_host_power_on_mode_disabled(err);
    return xerr_operation_not_allowed(err, "The host is already powered on");
}

int host_declare_dead(struct call *c, struct ref host, struct xerr *err)
{
    return host_need_self(c, host, err) ? -1 : xerr_host_is_live(err, REF_STR(host));
}

int host_destroy(struct call *c, struct ref self, struct xerr *err)
{
    return host_need_self(c, self, err) ? -1 : xerr_host_cannot_destroy_self(err, REF_STR(self));
}

/* ---- emptying ------------------------------------------------------------------------------------------ */

/* With no other host there is nowhere to go for any VM that runs: VM -> [NO_HOSTS_AVAILABLE]. */
static struct value stuck_vms(struct call *c, const struct snap *s, const struct row *host)
{
    static const struct value reason[] = { { .kind = VALUE_STRING, .s = "NO_HOSTS_AVAILABLE", .len = 18 } };
    const struct refset *vms = row_refs(host, F_host_resident_VMs);
    struct value_builder map = value_builder(c->arena);

    for (size_t i = 0; i < vms->n; i++) {
        const struct row *vm = snap_get(s, CLASS_VM, vms->refs[i]);
        if (!vm || row_bool(vm, F_VM_is_control_domain)) continue;
        value_put_new(&map, arena_strdup(c->arena, REF_STR(vms->refs[i])), value_set(reason, 1));
    }
    return value_built_map(&map);
}

static int find_stuck(struct call *c, struct ref host, struct value *ret_vms, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_host, host, err);

    if (!row) return -1;
    *ret_vms = stuck_vms(c, s, row);
    return 0;
}

int host_get_vms_which_prevent_evacuation(struct call *c, struct ref self, struct value *ret_result,
                                          struct xerr *err)
{
    return find_stuck(c, self, ret_result, err);
}

/* CANNOT_EVACUATE_HOST's one parameter:
 * "NO_HOSTS_AVAILABLE,OpaqueRef:...|NO_HOSTS_AVAILABLE,OpaqueRef:...". */
int host_assert_can_evacuate(struct call *c, struct ref host, struct xerr *err)
{
    struct value stuck;
    const char *text = "";

    if (find_stuck(c, host, &stuck, err)) return -1;
    for (size_t i = 0; i < stuck.map.n; i++)
        text =
            arena_printf(c->arena, "%s%sNO_HOSTS_AVAILABLE,%s", text, i ? "|" : "", stuck.map.members[i].key);
    return stuck.map.n ? xerr_cannot_evacuate_host(err, text) : 0;
}

int host_evacuate(struct call *c, struct ref host, struct ref network, int64_t evacuate_batch_size,
                  struct xerr *err)
{
    if (evacuate_batch_size < 0)
        return xerr_invalid_value(err, "evacuate_batch_size",
                                  arena_printf(c->arena, "%lld", (long long)evacuate_batch_size));
    if (!ref_is_null(network)) {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!snap_need(s, CLASS_network, network, err)) return -1;
    }
    return host_assert_can_evacuate(c, host, err);
}

int host_get_uncooperative_resident_VMs(struct call *c, struct ref self, struct value *ret_result,
                                        struct xerr *err)
{
    *ret_result = value_set(NULL, 0);
    return host_need_self(c, self, err);
}

/* ---- updates ------------------------------------------------------------------------------------------- */

int host_emergency_clear_mandatory_guidance(struct call *c, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_bits(t, c->agent->host, F_host_pending_guidances, 0);
    return db_commit(t, err);
}
