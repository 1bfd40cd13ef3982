/* Classes host and pool: local storage as a cache for disks of shared repositories; metrics saved on request.
 * Called by: the generated thunks (schema/host.xml, schema/pool.xml).  Calls: storage, rrd, db/.
 *
 * The cache itself is the storage driver's work: it is told of disks that may be cached and finds the host's cache by
 * host.local_cache_sr. Drivers say that they can be one by the feature SR_SUPPORTS_LOCAL_CACHING. */
#include <math.h>
#include <time.h>

#define LOG_MODULE "host"
#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/host.h"
#include "xapi/rrd/rrd_store.h"
#include "xapi/storage/storage.h"

/* ---- the cache --------------------------------------------------------------------------------------------------- */

static bool can_cache(const struct agent *agent, const struct row *sr)
{
    const struct storage_driver *d = storage_driver_need(agent->storage, row_str(sr, F_SR_type), NULL);

    return !row_bool(sr, F_SR_shared) && d && storage_driver_has(d, "SR_SUPPORTS_LOCAL_CACHING");
}

/* Disks that run on the host would not learn of a cache that comes or goes. */
static int need_no_guests(const struct snap *s, struct ref host, struct xerr *err)
{
    const struct row *row = snap_need(s, CLASS_host, host, err);

    if (!row) return -1;
    const struct refset *vms = row_refs(row, F_host_resident_VMs);
    for (size_t i = 0; i < vms->n; i++) {
        const struct row *vm = snap_get(s, CLASS_VM, vms->refs[i]);
        if (vm && !row_bool(vm, F_VM_is_control_domain))
            return xerr_host_in_use(err, REF_STR(host), "VM", REF_STR(vms->refs[i]));
    }
    return 0;
}

static int set_cache(struct call *c, struct ref host, struct ref sr, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_host, host);
    struct ref old = row ? row_ref(row, F_host_local_cache_sr) : REF_NULL;

    if (snap_get(txn_snap(t), CLASS_SR, old)) txn_set_bool(t, old, F_SR_local_cache_enabled, false);
    if (!ref_is_null(sr)) txn_set_bool(t, sr, F_SR_local_cache_enabled, true);
    txn_set_ref(t, host, F_host_local_cache_sr, sr);
    return db_commit(t, err);
}

int host_enable_local_storage_caching(struct call *c, struct ref host, struct ref sr, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_SR, sr, err);
        if (!row || need_no_guests(s, host, err)) return -1;
        if (!can_cache(c->agent, row)) return xerr_sr_operation_not_supported(err, REF_STR(sr));
    }
    return set_cache(c, host, sr, err);
}

int host_disable_local_storage_caching(struct call *c, struct ref host, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (need_no_guests(s, host, err)) return -1;
    }
    return set_cache(c, host, REF_NULL, err);
}

/* What a host could not do, with the hosts that could not. */
static int failed(struct call *c, struct xerr *why, int (*error)(struct xerr *err, size_t n, const char *const *params),
                  struct xerr *err)
{
    const char *host = arena_strdup(c->arena, REF_STR(c->agent->host));
    _cleanup_free_ char *text = xerr_text(why);

    log_warn("local storage caching: %s", text);
    xerr_clear(why);
    return error(err, 1, &host);
}

int pool_enable_local_storage_caching(struct call *c, struct ref self, struct xerr *err)
{
    struct ref chosen = REF_NULL;
    struct xerr why = XERR_INIT;

    if (pool_need_self(c, self, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        SNAP_EACH (s, CLASS_SR, sr)
            if (can_cache(c->agent, sr)) chosen = row_ref_of(sr);
    }
    if (ref_is_null(chosen)) xerr_internal(&why, "no repository of the host can be a cache");
    else if (!host_enable_local_storage_caching(c, c->agent->host, chosen, &why)) return 0;
    return failed(c, &why, xerr_hosts_failed_to_enable_caching, err);
}

int pool_disable_local_storage_caching(struct call *c, struct ref self, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (pool_need_self(c, self, err)) return -1;
    if (!host_disable_local_storage_caching(c, c->agent->host, &why)) return 0;
    return failed(c, &why, xerr_hosts_failed_to_disable_caching, err);
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

static bool cancelled(void *arg) { return call_cancelled(arg); }

/* delay: seconds, so that not all hosts of a pool come at once. */
int host_backup_rrds(struct call *c, struct ref host, double delay, struct xerr *err)
{
    enum { FLUSH_MS = 60000, DELAY_MAX_S = 86400 };
    const struct timespec step = { 0, 100 * NS_PER_MS };

    if (host_need_self(c, host, err)) return -1;
    if (!(delay >= 0 && delay <= DELAY_MAX_S))
        return xerr_invalid_value(err, "delay", arena_printf(c->arena, "%g", delay));
    for (int64_t until = clock_boottime_ns() + (int64_t)(delay * (double)NS_PER_S); clock_boottime_ns() < until;) {
        if (call_check_cancel(c, err)) return -1;
        nanosleep(&step, NULL);
    }
    if (rrd_store_flush(c->agent->rrds, FLUSH_MS, cancelled, c)) return 0;
    return call_check_cancel(c, err) ? -1 : xerr_internal(err, "the metrics were not written in time");
}
