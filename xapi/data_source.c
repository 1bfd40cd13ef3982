/* Class data_source: what is measured of a host, a VM or an SR, and whether it is recorded.
 * Called by: the generated thunks (schema/host.xml, vm.xml, sr.xml).  Calls: rrd/, db/. */
#include <math.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "xapi/call/call.h"
#include "xapi/rrd/rrd_store.h"

/* Whose sources. */
struct owner {
    enum rrd_kind kind;
    enum class_id cls;
    struct ref ref;
};

static int owner_uuid(struct call *c, struct owner o, const char **ret_uuid, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = call_need(s, o.cls, o.ref, err);

    if (!row) return -1;
    *ret_uuid = arena_strdup(c->arena, row_uuid(row));
    return 0;
}

/* Of a VM that does not run, only history is known. */
static double value_now(const struct rrd *r, const struct rrd_source *s)
{
    enum { LATE_S = 12 };   /* two rounds of the sampler */

    return clock_wall_us() - r->last_us > LATE_S * INT64_C(1000000) ? NAN : s->current;
}

static struct value record(struct arena *a, const struct rrd *r, const struct rrd_source *s)
{
    struct value_builder b = value_builder(a);

    value_put(&b, "name_label", value_string(arena_strdup(a, s->name)));
    value_put(&b, "name_description", value_string(s->description));
    value_put(&b, "enabled", value_bool(s->enabled));
    value_put(&b, "standard", value_bool(true));
    value_put(&b, "units", value_string(s->units));
    value_put(&b, "min", value_float(s->min));
    value_put(&b, "max", value_float(s->max));
    value_put(&b, "value", value_float(value_now(r, s)));
    return value_built_map(&b);
}

static int list(struct call *c, struct owner o, struct value *ret_result, struct xerr *err)
{
    struct value_builder all = value_builder(c->arena);
    const char *uuid;

    if (owner_uuid(c, o, &uuid, err)) return -1;
    struct rrd *r = rrd_store_get(c->agent->rrds, o.kind, uuid);
    for (size_t i = 0; r && i < r->n; i++) value_push(&all, record(c->arena, r, &r->sources[i]));
    rrd_free(r);
    *ret_result = value_built_set(&all);
    return 0;
}

static int query(struct call *c, struct owner o, const char *name, double *ret_value, struct xerr *err)
{
    const char *uuid;

    if (owner_uuid(c, o, &uuid, err)) return -1;
    struct rrd *r = rrd_store_get(c->agent->rrds, o.kind, uuid);
    const struct rrd_source *s = r ? rrd_find(r, name) : NULL;
    double value = s ? value_now(r, s) : NAN;
    rrd_free(r);
    if (!s) return xerr_invalid_value(err, "data_source", name);
    *ret_value = value;
    return 0;
}

static int enable(struct call *c, struct owner o, const char *name, bool enabled, struct xerr *err)
{
    const char *uuid;

    if (owner_uuid(c, o, &uuid, err)) return -1;
    if (rrd_store_enable(c->agent->rrds, o.kind, uuid, name, enabled)) return xerr_invalid_value(err, "data_source", name);
    return 0;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static struct owner host_owner(struct ref host) { return (struct owner){ RRD_HOST, CLASS_host, host }; }
static struct owner vm_owner(struct ref vm) { return (struct owner){ RRD_VM, CLASS_VM, vm }; }
static struct owner sr_owner(struct ref sr) { return (struct owner){ RRD_SR, CLASS_SR, sr }; }

int host_get_data_sources(struct call *c, struct ref host, struct value *ret_result, struct xerr *err)
{
    return list(c, host_owner(host), ret_result, err);
}

int host_query_data_source(struct call *c, struct ref host, const char *data_source, double *ret_result, struct xerr *err)
{
    return query(c, host_owner(host), data_source, ret_result, err);
}

int host_record_data_source(struct call *c, struct ref host, const char *data_source, struct xerr *err)
{
    return enable(c, host_owner(host), data_source, true, err);
}

int host_forget_data_source_archives(struct call *c, struct ref host, const char *data_source, struct xerr *err)
{
    return enable(c, host_owner(host), data_source, false, err);
}

int vm_get_data_sources(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    return list(c, vm_owner(self), ret_result, err);
}

int vm_query_data_source(struct call *c, struct ref self, const char *data_source, double *ret_result, struct xerr *err)
{
    return query(c, vm_owner(self), data_source, ret_result, err);
}

int vm_record_data_source(struct call *c, struct ref self, const char *data_source, struct xerr *err)
{
    return enable(c, vm_owner(self), data_source, true, err);
}

int vm_forget_data_source_archives(struct call *c, struct ref self, const char *data_source, struct xerr *err)
{
    return enable(c, vm_owner(self), data_source, false, err);
}

int sr_get_data_sources(struct call *c, struct ref sr, struct value *ret_result, struct xerr *err)
{
    return list(c, sr_owner(sr), ret_result, err);
}

int sr_query_data_source(struct call *c, struct ref sr, const char *data_source, double *ret_result, struct xerr *err)
{
    return query(c, sr_owner(sr), data_source, ret_result, err);
}

int sr_record_data_source(struct call *c, struct ref sr, const char *data_source, struct xerr *err)
{
    return enable(c, sr_owner(sr), data_source, true, err);
}

int sr_forget_data_source_archives(struct call *c, struct ref sr, const char *data_source, struct xerr *err)
{
    return enable(c, sr_owner(sr), data_source, false, err);
}
