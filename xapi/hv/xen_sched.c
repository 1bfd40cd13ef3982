/* What a domain may take of the processors, and of memory for its page tables: when it is made, and while it runs.
 * Called by: xen_create.c, hv.c through the vtable.  Calls: libxenctrl. */
#include <errno.h>

#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { MIB = 1 << 20, MAX_SHARE = 65535 };

/* ---- processors ------------------------------------------------------------------------------ */

/* "0,2,3" or "0-3" of one vcpu into a map of n bytes; numbers beyond the machine are ignored, as the reference does. */
static bool parse_mask(const char *text, size_t len, uint8_t *map, size_t n)
{
    size_t from = 0;
    bool any = false, range = false;

    memset(map, 0, n);
    for (size_t i = 0; i < len;) {
        size_t number = 0, digits = 0;
        while (i + digits < len && text[i + digits] >= '0' && text[i + digits] <= '9' && digits < 6)
            number = number * 10 + (size_t)(text[i + digits++] - '0');
        for (size_t cpu = range ? from : number; digits && cpu <= number && cpu / 8 < n; cpu++) {
            map[cpu / 8] |= (uint8_t)(1 << cpu % 8);
            any = true;
        }
        range = digits && i + digits < len && text[i + digits] == '-';
        from = number;
        i += digits + 1;
    }
    return any;
}

/* The mask of each vcpu, ";" between them; the last one given is for all that follow. */
int xn_set_affinity(struct xn *xn, const struct xn_guest *g, const struct hv_vcpu_params *params, struct hv_failure *f)
{
    int size = xc_get_cpumap_size(xn->xch);
    const char *part = params->mask;

    if (size <= 0) return 0;
    xc_cpumap_t hard = xc_cpumap_alloc(xn->xch), soft = xc_cpumap_alloc(xn->xch);
    int rc = hard && soft ? 0 : -1;
    for (unsigned i = 0; rc == 0 && i < params->vcpus_max; i++) {
        size_t len = strcspn(part, ";");
        if (parse_mask(part, len, hard, (size_t)size))
            rc = xc_vcpu_setaffinity(xn->xch, (uint32_t)g->domid, (int)i, hard, soft, XEN_VCPUAFFINITY_HARD);
        if (part[len]) part += len + 1;
    }
    if (rc < 0) xn_fail_xc("xc_vcpu_setaffinity", f);
    free(hard);
    free(soft);
    return rc;
}

static uint16_t share(unsigned n)
{
    return (uint16_t)(n < MAX_SHARE ? n : MAX_SHARE);
}

/* What is 0 stays; a cap of -1 is none. */
int xn_set_shares(struct xn *xn, const struct xn_guest *g, const struct hv_vcpu_params *params, struct hv_failure *f)
{
    const uint32_t domid = (uint32_t)g->domid;
    struct xen_domctl_sched_credit2 c2;
    struct xen_domctl_sched_credit c1;
    int scheduler = 0;

    if (xc_sched_id(xn->xch, &scheduler) < 0) return xn_fail_xc("xc_sched_id", f);
    if (scheduler == XEN_SCHEDULER_CREDIT2) {
        if (xc_sched_credit2_domain_get(xn->xch, domid, &c2) < 0) return xn_fail_xc("xc_sched_credit2_domain_get", f);
        if (params->weight) c2.weight = share(params->weight);
        if (params->cap) c2.cap = params->cap < 0 ? 0 : share((unsigned)params->cap);
        return xc_sched_credit2_domain_set(xn->xch, domid, &c2) < 0 ? xn_fail_xc("xc_sched_credit2_domain_set", f) : 0;
    }
    if (scheduler != XEN_SCHEDULER_CREDIT) return 0;
    if (xc_sched_credit_domain_get(xn->xch, domid, &c1) < 0) return xn_fail_xc("xc_sched_credit_domain_get", f);
    if (params->weight) c1.weight = share(params->weight);
    if (params->cap) c1.cap = params->cap < 0 ? 0 : share((unsigned)params->cap);
    return xc_sched_credit_domain_set(xn->xch, domid, &c1) < 0 ? xn_fail_xc("xc_sched_credit_domain_set", f) : 0;
}

int xn_set_vcpu_params(void *d, const char *uuid, const struct hv_vcpu_params *params, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);

    if (!g) return -1;
    int rc = params->mask ? xn_set_affinity(xn, g, params, f) : xn_set_shares(xn, g, params, f);
    xn_turn_end(xn, g);
    return rc;
}

/* ---- memory nodes ---------------------------------------------------------------------------- */

/* Processors that are not there are of no node; one that is its socket's only core may have no number as a core. */
static unsigned cpus_of(const xc_cputopo_t *cpus, unsigned n_cpus, unsigned node)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_cpus; i++) n += cpus[i].node == node;
    return n;
}

/* -1 = none has room. */
static int roomiest(const xc_meminfo_t *nodes, unsigned n_nodes, const xc_cputopo_t *cpus, unsigned n_cpus, uint64_t bytes, unsigned vcpus)
{
    int best = -1;

    for (unsigned i = 0; i < n_nodes; i++) {
        if (nodes[i].memsize == XEN_INVALID_MEM_SZ || nodes[i].memfree < bytes || cpus_of(cpus, n_cpus, i) < vcpus) continue;
        if (best < 0 || nodes[i].memfree > nodes[best].memfree) best = (int)i;
    }
    return best;
}

/* The processors of its vcpus, where there is a choice. */
static int prefer_cpus(struct xn *xn, const struct xn_guest *g, const xc_cputopo_t *cpus, unsigned n_cpus, unsigned node, unsigned vcpus,
                       struct hv_failure *f)
{
    xc_cpumap_t hard = xc_cpumap_alloc(xn->xch), soft = xc_cpumap_alloc(xn->xch);
    int rc = hard && soft ? 0 : -1;

    for (unsigned i = 0; i < vcpus && rc == 0; i++) {
        memset(soft, 0, (size_t)xc_get_cpumap_size(xn->xch));       /* it comes back as what has become of it */
        for (unsigned cpu = 0; cpu < n_cpus; cpu++)
            if (cpus[cpu].node == node) xc_cpumap_setcpu((int)cpu, soft);
        rc = xc_vcpu_setaffinity(xn->xch, (uint32_t)g->domid, (int)i, hard, soft, XEN_VCPUAFFINITY_SOFT);
    }
    if (rc < 0) xn_fail_xc("xc_vcpu_setaffinity", f);
    free(hard);
    free(soft);
    return rc;
}

int xn_place(struct xn *xn, const struct xn_guest *g, int64_t bytes, unsigned vcpus, struct hv_failure *f)
{
    unsigned n_nodes = 0, n_cpus = 0;
    int rc, node;

    if (xc_numainfo(xn->xch, &n_nodes, NULL, NULL) < 0) return xn_fail_xc("xc_numainfo", f);
    if (n_nodes < 2) return 0;
    if (xc_cputopoinfo(xn->xch, &n_cpus, NULL) < 0) return xn_fail_xc("xc_cputopoinfo", f);
    xc_meminfo_t *nodes = xcalloc(n_nodes, sizeof *nodes);
    uint32_t *distances = xcalloc((size_t)n_nodes * n_nodes, sizeof *distances);
    xc_cputopo_t *cpus = xcalloc(n_cpus + 1, sizeof *cpus);
    if (xc_numainfo(xn->xch, &n_nodes, nodes, distances) < 0) {
        rc = xn_fail_xc("xc_numainfo", f);
    } else if (xc_cputopoinfo(xn->xch, &n_cpus, cpus) < 0) {
        rc = xn_fail_xc("xc_cputopoinfo", f);
    } else if ((node = roomiest(nodes, n_nodes, cpus, n_cpus, (uint64_t)bytes, vcpus)) < 0) {
        log_info("xen: no memory node has room for all of domain %jd", (intmax_t)g->domid);
        rc = 0;
    } else {
        log_info("xen: domain %jd belongs on memory node %d", (intmax_t)g->domid, node);
        rc = prefer_cpus(xn, g, cpus, n_cpus, (unsigned)node, vcpus, f);
    }
    free(nodes);
    free(distances);
    free(cpus);
    return rc;
}

/* ---- page tables ----------------------------------------------------------------------------- */

/* Of the hardware-assisted paging, as Xen's own tools reckon: 1 MiB a vcpu, 8 bytes a KiB. */
int64_t xn_paging_bytes(unsigned vcpus, int64_t memory_bytes, double multiplier)
{
    double bytes = (double)(vcpus * (int64_t)MIB + memory_bytes / 128) * (multiplier > 1 ? multiplier : 1);

    return ((int64_t)bytes + MIB - 1) / MIB * MIB;
}

int xn_set_shadow(void *d, const char *uuid, double multiplier, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    uint64_t now = 0;
    int rc = -1;

    if (!g) return -1;
    const int64_t bytes = xn_paging_bytes(g->vcpus_max, g->static_max_bytes, multiplier);
    f->number = xn_free_bytes(xn);
    if (g->type == HV_DOMAIN_PV) hv_fail(f, HV_FAIL_UNSUPPORTED, "a PV guest keeps its own page tables");
    else if (xc_get_paging_mempool_size(xn->xch, (uint32_t)g->domid, &now) < 0) xn_fail_xc("xc_get_paging_mempool_size", f);
    else if (bytes - (int64_t)now > f->number) hv_fail(f, HV_FAIL_NO_MEMORY, "not enough free memory");
    else if (xc_set_paging_mempool_size(xn->xch, (uint32_t)g->domid, (uint64_t)bytes) < 0) xn_fail_xc("xc_set_paging_mempool_size", f);
    else rc = 0;
    xn_turn_end(xn, g);
    return rc;
}
