/* The sampler: one thread, a round every five seconds, what it reads goes into agent->rrds.
 * Called by: main.c.  Calls: hv/, net/, rrd/, alarms.c, db/, /proc. */
#include "xapi/jobs/metrics.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define LOG_MODULE "metrics"
#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/hv/hv.h"
#include "xapi/jobs/alarms.h"
#include "xapi/net/net.h"
#include "xapi/rrd/rrd_store.h"
#include "xapi/storage/storage.h"

enum { PRUNE_EVERY = 3600 / RRD_STEP_S, PROC_MAX = 1 << 20 };
#define PER_MIB (1.0 / (1 << 20))

struct metrics {
    struct agent *agent;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stop;                     /* lock: lock */
    struct alarms *alarms;         /* only the thread, and so below */
    unsigned round;
    const char *silent;            /* what failed last time and was logged then; a literal, NULL = nothing */
    pthread_t thread;
};

/* ---- readings of one object -------------------------------------------------------------------------------------- */

struct readings {
    struct arena *arena;
    struct rrd_sample *samples;
    size_t n, cap;
};

static void add(struct readings *r, const char *name, enum rrd_type type, double value, const char *units,
                const char *description)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        struct rrd_sample *more = arena_new_array(r->arena, struct rrd_sample, cap);
        if (r->n) memcpy(more, r->samples, r->n * sizeof(*more));
        r->samples = more;
        r->cap = cap;
    }
    bool fraction = streq(units, "(fraction)");
    r->samples[r->n++] = (struct rrd_sample){ name, units, description, type, value, 0, fraction ? 1 : INFINITY };
}

static void gauge(struct readings *r, const char *name, double value, const char *units, const char *description)
{
    add(r, name, RRD_GAUGE, value, units, description);
}

static void rate(struct readings *r, const char *name, double value, const char *units, const char *description)
{
    add(r, name, RRD_DERIVE, value, units, description);
}

static void rate_of(struct readings *r, const char *prefix, const char *what, double value, const char *units,
                    const char *description)
{
    rate(r, arena_printf(r->arena, "%s_%s", prefix, what), value, units, description);
}

/* ---- disks, by repository ---------------------------------------------------------------------------------------- */

struct traffic {
    double read_bytes, write_bytes, read_requests, write_requests;
};

struct sr_traffic {
    const char *uuid;
    struct traffic sum;
};

struct srs {
    struct arena *arena;
    size_t n;
    struct sr_traffic *list;
};

/* Repositories that are attached here. */
static struct srs attached_srs(const struct agent *agent, const struct snap *s, struct arena *a)
{
    struct srs srs = { .arena = a, .list = arena_new_array(a, struct sr_traffic, snap_count(s, CLASS_PBD) + 1) };

    SNAP_EACH(s, CLASS_PBD, pbd) {
        if (!row_bool(pbd, F_PBD_currently_attached) || !ref_eq(row_ref(pbd, F_PBD_host), agent->host)) continue;
        const struct row *sr = snap_get(s, CLASS_SR, row_ref(pbd, F_PBD_SR));
        if (sr) srs.list[srs.n++].uuid = arena_strdup(a, row_uuid(sr));
    }
    return srs;
}

/* The repository of a guest's disk. */
static struct sr_traffic *sr_of_disk(struct srs *srs, const struct snap *s, const struct row *vm, const char *device)
{
    const struct refset *vbds = row_refs(vm, F_VM_VBDs);

    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        if (!vbd || !streq(row_str(vbd, F_VBD_device), device)) continue;
        const struct row *vdi = snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI));
        const struct row *sr = vdi ? snap_get(s, CLASS_SR, row_ref(vdi, F_VDI_SR)) : NULL;
        for (size_t k = 0; sr && k < srs->n; k++)
            if (streq(srs->list[k].uuid, row_uuid(sr))) return &srs->list[k];
    }
    return NULL;
}

static void add_traffic(struct readings *r, const char *suffix, const struct traffic *t)
{
    const struct {
        const char *name;
        double value;
        const char *units, *description;
    } rows[] = {
        { "io_throughput_read", t->read_bytes * PER_MIB, "MiB/s", "Data read from the SR" },
        { "io_throughput_write", t->write_bytes * PER_MIB, "MiB/s", "Data written to the SR" },
        { "io_throughput_total", (t->read_bytes + t->write_bytes) * PER_MIB, "MiB/s", "All data to and from the SR" },
        { "iops_read", t->read_requests, "requests/s", "Read requests to the SR" },
        { "iops_write", t->write_requests, "requests/s", "Write requests to the SR" },
        { "iops_total", t->read_requests + t->write_requests, "requests/s", "All requests to the SR" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        rate(r, arena_printf(r->arena, "%s%s", rows[i].name, suffix), rows[i].value, rows[i].units, rows[i].description);
}

/* ---- guests ------------------------------------------------------------------------------------------------------ */

/* Clients know disks of guests by xvd names only. */
static const char *xvd_name(struct arena *a, const char *device)
{
    bool other = (device[0] == 's' || device[0] == 'h') && device[1] == 'd' && device[2];

    return other ? arena_printf(a, "xvd%s", device + 2) : device;
}

static void add_disk(struct readings *r, const struct hv_disk_stats *d)
{
    const char *vbd = arena_printf(r->arena, "vbd_%s", xvd_name(r->arena, d->device));

    rate_of(r, vbd, "read", (double)d->read_bytes, "B/s", "Data read from the device");
    rate_of(r, vbd, "write", (double)d->write_bytes, "B/s", "Data written to the device");
    rate_of(r, vbd, "iops_read", (double)d->read_requests, "requests/s", "Read requests to the device");
    rate_of(r, vbd, "iops_write", (double)d->write_requests, "requests/s", "Write requests to the device");
    rate_of(r, vbd, "iops_total", (double)(d->read_requests + d->write_requests), "requests/s",
            "All requests to the device");
    gauge(r, arena_printf(r->arena, "%s_inflight", vbd), (double)d->inflight, "requests", "Requests under way");
}

static void add_nic(struct readings *r, const struct hv_nic_stats *n)
{
    const char *vif = arena_printf(r->arena, "vif_%u", n->device);

    rate_of(r, vif, "rx", (double)n->rx_bytes, "B/s", "Data that the guest received");
    rate_of(r, vif, "tx", (double)n->tx_bytes, "B/s", "Data that the guest sent");
    rate_of(r, vif, "rx_errors", (double)n->rx_errors, "errors/s", "Errors in receiving");
    rate_of(r, vif, "tx_errors", (double)n->tx_errors, "errors/s", "Errors in sending");
}

static void add_guest(struct readings *r, const struct hv_stats *g)
{
    double all_s = 0;

    for (unsigned i = 0; i < g->n_vcpus; i++) {
        double s = (double)g->vcpu_time_ns[i] / (double)NS_PER_S;
        all_s += s;
        rate(r, arena_printf(r->arena, "cpu%u", i), s, "(fraction)", "Use of a virtual CPU");
    }
    if (g->n_vcpus) rate(r, "cpu_usage", all_s / g->n_vcpus, "(fraction)", "Mean use of the virtual CPUs");
    gauge(r, "memory", (double)g->memory_actual_bytes, "B", "Memory that the VM has");
    gauge(r, "memory_target", (double)g->memory_target_bytes, "B", "Memory that the VM is to have");
    if (g->memory_free_bytes >= 0)
        gauge(r, "memory_internal_free", (double)g->memory_free_bytes / 1024, "KiB", "Memory free inside the guest");
    for (size_t i = 0; i < g->n_disks; i++) add_disk(r, &g->disks[i]);
    for (size_t i = 0; i < g->n_nics; i++) add_nic(r, &g->nics[i]);
}

static void count_traffic(struct srs *srs, const struct snap *s, const struct row *vm, const struct hv_stats *g)
{
    for (size_t i = 0; i < g->n_disks; i++) {
        const struct hv_disk_stats *d = &g->disks[i];
        struct sr_traffic *sr = sr_of_disk(srs, s, vm, d->device);
        if (!sr) continue;
        sr->sum.read_bytes += (double)d->read_bytes;
        sr->sum.write_bytes += (double)d->write_bytes;
        sr->sum.read_requests += (double)d->read_requests;
        sr->sum.write_requests += (double)d->write_requests;
    }
}

/* ---- the host ---------------------------------------------------------------------------------------------------- */

/* "cpu3 user nice system idle iowait irq softirq steal ...", in ticks: how long it was not idle. */
static double busy_s(const char *fields)
{
    unsigned long long t[8] = { 0 };

    sscanf(fields, "%llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]);
    return (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
}

/* The hypervisor under the control domain knows the processors. */
static void add_physical_cpus(struct readings *r, const struct hv_host *host)
{
    double all_s = 0;

    for (size_t i = 0; i < host->n_busy; i++) {
        double s = (double)host->cpu_busy_ns[i] / (double)NS_PER_S;
        all_s += s;
        rate(r, arena_printf(r->arena, "cpu%zu", i), s, "(fraction)", "Use of a physical CPU");
    }
    rate(r, "cpu_avg", all_s / (double)host->n_busy, "(fraction)", "Mean use of the physical CPUs");
}

static void add_cpus(struct readings *r)
{
    _cleanup_free_ char *text = NULL;
    double all_s = 0;
    unsigned n = 0;

    if (read_file("/proc/stat", PROC_MAX, &text, NULL)) return;
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        int number, used = 0;
        if (sscanf(line, "cpu%d%n", &number, &used) != 1 || !isdigit((unsigned char)line[3])) continue;
        double s = busy_s(line + used);
        all_s += s;
        n++;
        rate(r, arena_printf(r->arena, "cpu%d", number), s, "(fraction)", "Use of a physical CPU");
    }
    if (n) rate(r, "cpu_avg", all_s / n, "(fraction)", "Mean use of the physical CPUs");
}

static void add_load(struct readings *r)
{
    _cleanup_free_ char *load = NULL, *statm = NULL;
    unsigned long long pages;
    double one;

    if (!read_file("/proc/loadavg", PROC_MAX, &load, NULL) && sscanf(load, "%lf", &one) == 1)
        gauge(r, "loadavg", one, "(load)", "Load average of the control domain, of one minute");
    if (!read_file("/proc/self/statm", PROC_MAX, &statm, NULL) && sscanf(statm, "%*u %llu", &pages) == 1)
        gauge(r, "xapi_memory_usage_kib", (double)pages * (double)sysconf(_SC_PAGESIZE) / 1024, "KiB",
              "Memory that the agent uses");
}

static void add_interfaces(struct readings *r, const struct net_interface *list, size_t n)
{
    double rx = 0, tx = 0;

    for (size_t i = 0; i < n; i++) {
        if (!list[i].physical) continue;
        const char *pif = arena_printf(r->arena, "pif_%s", list[i].name);
        rate_of(r, pif, "rx", (double)list[i].rx_bytes, "B/s", "Data received on a physical interface");
        rate_of(r, pif, "tx", (double)list[i].tx_bytes, "B/s", "Data sent on a physical interface");
        rx += (double)list[i].rx_bytes;
        tx += (double)list[i].tx_bytes;
    }
    rate(r, "pif_aggr_rx", rx, "B/s", "Data received on all physical interfaces");
    rate(r, "pif_aggr_tx", tx, "B/s", "Data sent on all physical interfaces");
}

/* ---- a round ----------------------------------------------------------------------------------------------------- */

/* Said once, until something else fails or all is well again. */
static void complain(struct metrics *m, const char *what, struct xerr *err)
{
    _cleanup_free_ char *why = xerr_text(err);

    if (m->silent != what) log_warn("%s: %s", what, why);
    m->silent = what;
    xerr_clear(err);
}

struct round {
    struct arena *arena;
    int64_t now_us;
    const struct hv_stats *guests;
    size_t n_guests;
    bool *known;                   /* to the database */
    struct hv_host host;
    bool has_host;
    const struct net_interface *interfaces;
    size_t n_interfaces;
};

/* Everything that takes time, before the database is looked at. */
static void look(struct metrics *m, struct round *r)
{
    struct xerr err = XERR_INIT;
    bool good = true;

    r->now_us = clock_wall_us();
    if (hv_get_stats(m->agent->hv, r->arena, &r->guests, &r->n_guests, &err)) {
        complain(m, "counters of the guests", &err);
        r->n_guests = 0;
        good = false;
    }
    r->has_host = !hv_get_host(m->agent->hv, r->arena, &r->host, &err);
    if (!r->has_host) {
        complain(m, "memory of the host", &err);
        good = false;
    }
    if (net_list(m->agent->net, r->arena, &r->interfaces, &r->n_interfaces, &err)) {
        complain(m, "counters of the interfaces", &err);
        r->n_interfaces = 0;
        good = false;
    }
    if (good) m->silent = NULL;
}

static void feed_guests(struct metrics *m, struct round *round)
{
    for (size_t i = 0; i < round->n_guests; i++) {
        struct readings r = { .arena = round->arena };
        if (!round->known[i]) continue;
        add_guest(&r, &round->guests[i]);
        rrd_store_feed(m->agent->rrds, RRD_VM, round->guests[i].uuid, round->now_us, r.samples, r.n);
    }
}

static void feed_host(struct metrics *m, struct round *round, const struct srs *srs, const char *uuid)
{
    struct readings r = { .arena = round->arena };
    unsigned vcpus = 0;

    for (size_t i = 0; i < round->n_guests; i++)
        if (round->guests[i].state == HV_STATE_RUNNING) vcpus += round->guests[i].n_vcpus;
    if (round->has_host && round->host.n_busy) add_physical_cpus(&r, &round->host);
    else add_cpus(&r);
    add_load(&r);
    gauge(&r, "running_vcpus", vcpus, "(count)", "Virtual CPUs of the guests that run");
    if (round->has_host) {
        gauge(&r, "memory_total_kib", (double)(round->host.memory_total_bytes / 1024), "KiB", "Memory of the host");
        gauge(&r, "memory_free_kib", (double)(round->host.memory_free_bytes / 1024), "KiB", "Memory free for guests");
    }
    add_interfaces(&r, round->interfaces, round->n_interfaces);
    for (size_t i = 0; i < srs->n; i++)
        add_traffic(&r, arena_printf(r.arena, "_%.8s", srs->list[i].uuid), &srs->list[i].sum);
    rrd_store_feed(m->agent->rrds, RRD_HOST, uuid, round->now_us, r.samples, r.n);
}

struct sr_sizes {
    double size, used, allocated;
};

/* A driver that did not come back in time: storage.h. */
static enum sr_health health_of(struct storage *storage, const char *sr_uuid)
{
    return storage_sr_silent(storage, sr_uuid) ? sr_health_unreachable : sr_health_healthy;
}

static void feed_sr(struct metrics *m, struct round *round, const struct sr_traffic *sr, const struct sr_sizes *sizes)
{
    struct readings r = { .arena = round->arena };

    gauge(&r, "physical_size", sizes->size, "B", "Size of the SR");
    gauge(&r, "physical_utilisation", sizes->used, "B", "Space that is used on the SR");
    gauge(&r, "virtual_allocation", sizes->allocated, "B", "Sizes of all disks on the SR together");
    gauge(&r, "health", (double)health_of(m->agent->storage, sr->uuid), "(enum)",
          "0: healthy, 1: recovering, 2: unreachable, 3: unavailable");
    add_traffic(&r, "", &sr->sum);
    rrd_store_feed(m->agent->rrds, RRD_SR, sr->uuid, round->now_us, r.samples, r.n);
}

static void feed_all(struct metrics *m, struct round *round)
{
    struct snap *s = db_snap(m->agent->db);
    struct srs srs = attached_srs(m->agent, s, round->arena);
    struct sr_sizes *sizes = arena_new_array(round->arena, struct sr_sizes, srs.n + 1);
    const struct row *host = snap_get(s, CLASS_host, m->agent->host);
    const char *uuid = host ? arena_strdup(round->arena, row_uuid(host)) : NULL;

    round->known = arena_new_array(round->arena, bool, round->n_guests + 1);
    for (size_t i = 0; i < round->n_guests; i++) {
        const struct row *vm = snap_by_uuid(s, CLASS_VM, round->guests[i].uuid);
        round->known[i] = vm;
        if (vm) count_traffic(&srs, s, vm, &round->guests[i]);
    }
    for (size_t i = 0; i < srs.n; i++) {
        const struct row *sr = snap_by_uuid(s, CLASS_SR, srs.list[i].uuid);
        sizes[i] = (struct sr_sizes){ (double)row_int(sr, F_SR_physical_size), (double)row_int(sr, F_SR_physical_utilisation),
                                      (double)row_int(sr, F_SR_virtual_allocation) };
    }
    snap_unref(s);   /* feeding may read files */
    feed_guests(m, round);
    if (uuid) feed_host(m, round, &srs, uuid);
    for (size_t i = 0; i < srs.n; i++) feed_sr(m, round, &srs.list[i], &sizes[i]);
}

static bool exists(void *arg, enum rrd_kind kind, const char *uuid)
{
    static const enum class_id classes[] = { [RRD_HOST] = CLASS_host, [RRD_VM] = CLASS_VM, [RRD_SR] = CLASS_SR };

    _cleanup_snap_ struct snap *s = db_snap(arg);
    return snap_by_uuid(s, classes[kind], uuid);
}

static void run_round(struct metrics *m)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct round round = { .arena = a };

    if (m->round++ % PRUNE_EVERY == 0) rrd_store_prune(m->agent->rrds, exists, m->agent->db);
    look(m, &round);
    feed_all(m, &round);
    rrd_store_settle(m->agent->rrds, round.now_us);
    alarms_look(m->alarms);
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static void *metrics_main(void *arg)
{
    struct metrics *m = arg;
    int64_t due_ns = clock_monotonic_ns();

    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        pthread_mutex_unlock(&m->lock);
        run_round(m);
        int64_t now_ns = clock_monotonic_ns();
        due_ns += RRD_STEP_S * NS_PER_S;
        if (due_ns < now_ns) due_ns = now_ns;   /* a round that took long is not made up for */
        struct timespec until = { due_ns / NS_PER_S, due_ns % NS_PER_S };
        pthread_mutex_lock(&m->lock);
        while (!m->stop && clock_monotonic_ns() < due_ns) pthread_cond_timedwait(&m->cond, &m->lock, &until);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

struct metrics *metrics_start(struct agent *agent)
{
    struct metrics *m = xcalloc(1, sizeof(*m));
    pthread_condattr_t monotonic;

    m->agent = agent;
    m->alarms = alarms_new(agent);
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&m->thread, NULL, metrics_main, m)) abort();
    return m;
}

void metrics_stop(struct metrics *m)
{
    if (!m) return;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_cond_broadcast(&m->cond);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
    rrd_store_save(m->agent->rrds);
    alarms_free(m->alarms);
    pthread_cond_destroy(&m->cond);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
