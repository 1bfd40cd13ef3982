/* Class host: its screen, its processors' memory, its drivers.
 * Called by: the generated thunks (schema/host.xml, schema/host_driver.xml), jobs/.  Calls: machine, db/. */
#define LOG_MODULE "host"
#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/host.h"
#include "xapi/hv/hv.h"
#include "xapi/machine.h"

/* ---- the screen: given to a guest or kept, from the next boot on ---------------------------------------- */

/* on: what it is from the next boot on; now: what this boot has. */
static enum host_display state_of(bool now, bool on)
{
    if (now) return on ? host_display_enabled : host_display_disable_on_reboot;
    return on ? host_display_enable_on_reboot : host_display_disabled;
}

static bool has_screen(enum host_display state)
{
    return state == host_display_enabled || state == host_display_disable_on_reboot;
}

static int set_display(struct call *c, struct ref host, bool on, enum host_display *ret_result, struct xerr *err)
{
    enum host_display old;

    if (host_need_self(c, host, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_host, host, err);
        if (!row) return -1;
        old = (enum host_display)row_enum(row, F_host_display);
    }
    *ret_result = state_of(has_screen(old), on);
    if (*ret_result == old) return 0;
    if (MACHINE(c, NULL, err, "display", on ? "on" : "off")) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_enum(t, host, F_host_display, (int)*ret_result);
    return db_commit(t, err);
}

int host_disable_display(struct call *c, struct ref host, enum host_display *ret_result, struct xerr *err)
{
    return set_display(c, host, false, ret_result, err);
}

int host_enable_display(struct call *c, struct ref host, enum host_display *ret_result, struct xerr *err)
{
    return set_display(c, host, true, ret_result, err);
}

void host_booted(struct agent *agent)
{
    struct txn *t = db_begin(agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_host, agent->host);
    enum host_display old = row ? (enum host_display)row_enum(row, F_host_display) : host_display_enabled, now = old;
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (old == host_display_disable_on_reboot) now = host_display_disabled;
    if (old == host_display_enable_on_reboot) now = host_display_enabled;
    if (now == old) {
        db_abort(t);
        return;
    }
    txn_set_enum(t, agent->host, F_host_display, (int)now);
    if (db_commit(t, &why)) log_warn("the state of the display was not stored: %s", why.code);
}

/* ---- memory nodes --------------------------------------------------------------------------------------- */

/* With one node every policy places alike. With several it counts from the next start of a VM on; the default is to leave placing
 * to the hypervisor, which is `any`. */
int host_set_numa_affinity_policy(struct call *c, struct ref self, enum host_numa_affinity_policy value, struct xerr *err)
{
    struct hv_host host;

    if (host_need_self(c, self, err)) return -1;
    if (value == host_numa_affinity_policy_best_effort) {
        if (hv_get_host(c->agent->hv, c->arena, &host, err)) return -1;
        if (host.nodes > 1 && !host.places)
            return xerr_value_not_supported(err, "value", "best_effort", "VMs are not bound to one of several memory nodes");
    }
    struct txn *t = db_begin(c->agent->db);
    txn_set_enum(t, self, F_host_numa_affinity_policy, (int)value);
    return db_commit(t, err);
}

/* ---- drivers in several variants ------------------------------------------------------------------------ */

/* They are the reference's packages; this distribution's kernel has one of each. Records of them came with a database from
 * there, and go. */
int host_rescan_drivers(struct call *c, struct ref self, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    const struct snap *s = txn_snap(t);
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(s, CLASS_Host_driver) + snap_count(s, CLASS_Driver_variant) + 1);
    size_t n_drivers = 0, n;

    SNAP_EACH (s, CLASS_Host_driver, driver)
        if (ref_eq(row_ref(driver, F_Host_driver_host), self)) gone[n_drivers++] = row_ref_of(driver);
    n = n_drivers;
    SNAP_EACH (s, CLASS_Driver_variant, variant) {
        const struct row *driver = snap_get(s, CLASS_Host_driver, row_ref(variant, F_Driver_variant_driver));
        if (!driver || ref_eq(row_ref(driver, F_Host_driver_host), self)) gone[n++] = row_ref_of(variant);
    }
    for (size_t i = n_drivers; i < n; i++) txn_destroy(t, CLASS_Driver_variant, gone[i]);
    for (size_t i = 0; i < n_drivers; i++) txn_destroy(t, CLASS_Host_driver, gone[i]);
    return db_commit(t, err);
}

int host_driver_rescan(struct call *c, struct ref host, struct xerr *err) { return host_rescan_drivers(c, host, err); }
