/* Class pool: questions about high availability, and what is refused while it is off.
 * Called by: the generated thunks (schema/pool.xml, schema/host.xml).  Calls: host.c, db/.
 *
 * One host has no other to fail over to: it tolerates no failure, and what runs on it starts nowhere else. */
#include "gen/methods.h"
#include "xapi/host.h"

int pool_disable_ha(struct call *c, struct xerr *err) { return (void)c, xerr_ha_not_enabled(err); }

int host_emergency_ha_disable(struct call *c, bool soft, struct xerr *err) { return (void)c, (void)soft, xerr_ha_not_enabled(err); }

int pool_ha_prevent_restarts_for(struct call *c, int64_t seconds, struct xerr *err)
{
    return (void)c, (void)seconds, xerr_ha_not_enabled(err);
}

/* Kept for the day when it is enabled. */
int pool_set_ha_host_failures_to_tolerate(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    if (pool_need_self(c, self, err)) return -1;
    if (value < 0) return xerr_invalid_value(err, "value", arena_printf(c->arena, "%lld", (long long)value));
    struct txn *t = db_begin(c->agent->db);
    txn_set_int(t, self, F_pool_ha_host_failures_to_tolerate, value);
    return db_commit(t, err);
}

int pool_ha_compute_max_host_failures_to_tolerate(struct call *c, int64_t *ret_result, struct xerr *err)
{
    (void)c, (void)err;
    *ret_result = 0;
    return 0;
}

int pool_ha_compute_hypothetical_max_host_failures_to_tolerate(struct call *c, const struct value *configuration, int64_t *ret_result,
                                                               struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    for (size_t i = 0; i < configuration->map.n; i++) {
        struct ref vm;
        const char *priority = configuration->map.members[i].value.s;
        if (!ref_parse(configuration->map.members[i].key, &vm)) return xerr_handle_invalid(err, "VM", configuration->map.members[i].key);
        if (!call_need(s, CLASS_VM, vm, err)) return -1;
        if (!streq(priority, "restart") && !streq(priority, "best-effort") && *priority)
            return xerr_invalid_value(err, "ha_restart_priority", priority);
    }
    *ret_result = 0;
    return 0;
}

int pool_ha_failover_plan_exists(struct call *c, int64_t n, bool *ret_result, struct xerr *err)
{
    (void)c, (void)err;
    *ret_result = n <= 0;
    return 0;
}

/* Of each VM the host that could start it, or why none can: {"host": ref} or {"error_code": code}. */
int pool_ha_compute_vm_failover_plan(struct call *c, const struct value *failed_hosts, const struct value *failed_vms,
                                     struct value *ret_result, struct xerr *err)
{
    struct value_builder plan = value_builder(c->arena);
    bool alive = true;
    int64_t free_bytes;

    if (host_compute_free_memory(c, c->agent->host, &free_bytes, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    for (size_t i = 0; i < failed_hosts->set.n; i++) {
        if (!call_need(s, CLASS_host, failed_hosts->set.items[i].ref, err)) return -1;
        if (ref_eq(failed_hosts->set.items[i].ref, c->agent->host)) alive = false;
    }
    for (size_t i = 0; i < failed_vms->set.n; i++) {
        const struct row *vm = call_need(s, CLASS_VM, failed_vms->set.items[i].ref, err);
        struct value_builder one = value_builder(c->arena);
        if (!vm) return -1;
        int64_t need_bytes = row_int(vm, F_VM_memory_dynamic_min) + row_int(vm, F_VM_memory_overhead);
        if (!alive) value_put(&one, "error_code", value_string("NO_HOSTS_AVAILABLE"));
        else if (need_bytes > free_bytes) value_put(&one, "error_code", value_string("HOST_NOT_ENOUGH_FREE_MEMORY"));
        else value_put(&one, "host", value_string(arena_strdup(c->arena, REF_STR(c->agent->host))));
        if (alive && need_bytes <= free_bytes) free_bytes -= need_bytes;
        value_put_new(&plan, arena_strdup(c->arena, REF_STR(failed_vms->set.items[i].ref)), value_built_map(&one));
    }
    *ret_result = value_built_map(&plan);
    return 0;
}
