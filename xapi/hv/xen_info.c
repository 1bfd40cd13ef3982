/* Looking at domains and at the host, through libxenctrl.
 * Called by: hv.c through the vtable; xen*.c.  Calls: libxenctrl. */
#include <errno.h>
#include <stdio.h>

#include "xapi/hv/xen_int.h"

#include <xenguest.h>

#include "lib/clock.h"

enum { LIST_STEP = 64, MAX_DOMAINS = 32752 };

/* ---- domains --------------------------------------------------------------------------------- */

/* The handle that the toolstack gave a domain is its VM's uuid. */
static bool has_uuid(const xc_domaininfo_t *info, const char *uuid)
{
    struct ref bytes;

    if (!uuid_from_text(uuid, &bytes)) return false;
    for (unsigned i = 0; i < 8; i++)
        if (info->handle[i] != (uint8_t)(bytes.hi >> (56 - 8 * i)) || info->handle[i + 8] != (uint8_t)(bytes.lo >> (56 - 8 * i)))
            return false;
    return true;
}

bool xn_dominfo(struct xn *xn, const struct xn_guest *g, xc_domaininfo_t *ret_info)
{
    const int n = g->domid < 0 ? 0 : xc_domain_getinfolist(xn->xch, (uint32_t)g->domid, 1, ret_info);

    if (n >= 0) errno = 0;
    if (n != 1) return false;
    return ret_info->domain == g->domid && has_uuid(ret_info, g->vm) && !(ret_info->flags & XEN_DOMINF_dying);
}

int xn_dominfo_all(struct xn *xn, xc_domaininfo_t **ret_infos, size_t *ret_n)
{
    xc_domaininfo_t *all = NULL;
    size_t n = 0;
    uint32_t next = 1;

    for (;;) {
        all = xrealloc(all, (n + LIST_STEP) * sizeof *all);
        int got = xc_domain_getinfolist(xn->xch, next, LIST_STEP, all + n);
        if (got < 0) {
            free(all);
            return -1;
        }
        n += (size_t)got;
        if (got < LIST_STEP || n >= MAX_DOMAINS) break;
        next = (uint32_t)all[n - 1].domain + 1;
    }
    *ret_infos = all;
    *ret_n = n;
    return 0;
}

unsigned xn_shutdown_code(const xc_domaininfo_t *info)
{
    return info->flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask;
}

enum hv_state xn_state(const xc_domaininfo_t *info)
{
    if (info->flags & XEN_DOMINF_dying) return HV_STATE_NONE;
    if (info->flags & XEN_DOMINF_shutdown) {
        unsigned code = xn_shutdown_code(info);
        return code == SHUTDOWN_crash || code == SHUTDOWN_watchdog || code == SHUTDOWN_soft_reset ? HV_STATE_CRASHED
                                                                                                  : HV_STATE_SHUTDOWN;
    }
    return info->flags & XEN_DOMINF_paused ? HV_STATE_PAUSED : HV_STATE_RUNNING;
}

int64_t xn_free_bytes(struct xn *xn)
{
    xc_physinfo_t info = { 0 };

    if (xc_physinfo(xn->xch, &info) < 0) return 0;
    return (int64_t)(info.free_pages + info.scrub_pages - info.outstanding_pages) << XC_PAGE_SHIFT;
}

/* What lists need of a guest, copied under the lock. */
struct seen {
    char uuid[UUID_TEXT], run_name[UUID_TEXT];
    int64_t domid, start_time, target_bytes, video_bytes;
    enum hv_domain_type type;
    const char *name;            /* in the arena */
    bool agent, suspending;
};

static size_t see_guests(struct xn *xn, struct arena *a, const char *only, struct seen **ret_seen)
{
    size_t n = 0;

    pthread_mutex_lock(&xn->lock);
    for (const struct xn_guest *g = xn->guests; g; g = g->next) n++;
    struct seen *all = arena_new_array(a, struct seen, n + 1);
    n = 0;
    for (const struct xn_guest *g = xn->guests; g; g = g->next) {
        if (g->phase != XN_THERE || (only && !streq(g->uuid, only))) continue;
        struct seen *s = &all[n++];
        *s = (struct seen){ .domid = g->domid, .start_time = g->start_time, .target_bytes = g->target_bytes,
                            .video_bytes = g->video_bytes, .type = g->type, .name = arena_strdup(a, g->name),
                            .agent = g->agent, .suspending = g->suspending };
        memcpy(s->uuid, g->uuid, sizeof s->uuid);
        memcpy(s->run_name, g->run_name, sizeof s->run_name);
    }
    pthread_mutex_unlock(&xn->lock);
    *ret_seen = all;
    return n;
}

/* False when nobody is to see it: it ends, or has ended. */
static bool describe(const struct xn *xn, const struct seen *s, const xc_domaininfo_t *info, struct arena *a,
                     struct hv_domain *ret)
{
    enum hv_state state = xn_state(info);

    if (!has_uuid(info, s->uuid) || state == HV_STATE_NONE) return false;
    if (state == HV_STATE_SHUTDOWN) {
        if (!s->suspending) return false;
        state = HV_STATE_PAUSED;             /* until the image is written */
    }
    *ret = (struct hv_domain){
        .uuid = arena_strdup(a, s->uuid),
        .name = s->name,
        .domid = s->domid,
        .state = state,
        .start_time = s->start_time,
        .domain_type = s->type,
        .memory_actual_bytes = (int64_t)info->tot_pages << XC_PAGE_SHIFT,
        .memory_target_bytes = s->target_bytes,
        .vcpus = info->nr_online_vcpus,
        .cpu_time_ns = info->cpu_time,
        .vnc_socket = s->type == HV_DOMAIN_HVM ? arena_printf(a, "%s/%s.v", xn->run, s->run_name) : "",
        .console_socket = "",
        .console_log = arena_printf(a, "%s/%s.log", xn->console_dir, s->uuid),
        .agent = s->agent,
    };
    return true;
}

static const xc_domaininfo_t *info_of(const xc_domaininfo_t *infos, size_t n, int64_t domid)
{
    for (size_t i = 0; i < n; i++)
        if (infos[i].domain == domid) return &infos[i];
    return NULL;
}

int xn_list(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_domain **ret_domains,
            size_t *ret_n, struct hv_failure *f)
{
    struct xn *xn = d;
    xc_domaininfo_t *infos;
    struct seen *seen;
    size_t n_infos, n = 0, n_seen = see_guests(xn, arena, NULL, &seen);

    (void)deadline_ms;
    if (xn_fault("hv.xen.list", f) < 0) return -1;
    if (xn_dominfo_all(xn, &infos, &n_infos) < 0) return xn_fail_xc("xc_domain_getinfolist", f);
    struct hv_domain *all = arena_new_array(arena, struct hv_domain, n_seen + 1);
    for (size_t i = 0; i < n_seen; i++) {
        const xc_domaininfo_t *info = info_of(infos, n_infos, seen[i].domid);
        if (info && describe(xn, &seen[i], info, arena, &all[n])) n++;
    }
    free(infos);
    *ret_domains = all;
    *ret_n = n;
    return 0;
}

int xn_query(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, struct hv_domain *ret_domain,
             struct hv_failure *f)
{
    struct xn *xn = d;
    xc_domaininfo_t info;
    struct seen *seen;

    (void)deadline_ms;
    if (!see_guests(xn, arena, uuid, &seen) ||
        xc_domain_getinfolist(xn->xch, (uint32_t)seen->domid, 1, &info) != 1 || info.domain != seen->domid ||
        !describe(xn, seen, &info, arena, ret_domain))
        return hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
    return 0;
}

/* ---- the host -------------------------------------------------------------------------------- */

static const char *const *capabilities(struct xn *xn, struct arena *a)
{
    enum { MAX = 32 };
    xen_capabilities_info_t text = "";
    const char **all = arena_new_array(a, const char *, MAX + 1);
    size_t n = 0;

    if (xc_version(xn->xch, XENVER_capabilities, &text) < 0) return all;
    for (const char *p = text; *p && n < MAX;) {
        size_t len = strcspn(p, " ");
        if (len) all[n++] = arena_strndup(a, p, len);
        p += len;
        p += strspn(p, " ");
    }
    return all;
}

static const char *version(struct xn *xn, struct arena *a)
{
    xen_extraversion_t extra = "";
    int number = xc_version(xn->xch, XENVER_version, NULL);

    if (number < 0) return "";
    if (xc_version(xn->xch, XENVER_extraversion, &extra) < 0) extra[0] = '\0';
    return arena_printf(a, "%d.%d%s", number >> 16, number & 0xffff, extra);
}

/* What the hypervisor keeps for itself: all that neither is free nor belongs to a domain. */
static int64_t overhead(struct xn *xn, const xc_physinfo_t *phys)
{
    xc_domaininfo_t *infos, zero;
    size_t n;
    uint64_t used = phys->free_pages + phys->scrub_pages;

    if (xc_domain_getinfolist(xn->xch, 0, 1, &zero) != 1 || xn_dominfo_all(xn, &infos, &n) < 0) return 0;
    used += zero.tot_pages;
    for (size_t i = 0; i < n; i++) used += infos[i].tot_pages;
    free(infos);
    return used < phys->total_pages ? (int64_t)(phys->total_pages - used) << XC_PAGE_SHIFT : 0;
}

/* "1fcbfbff-f7f83223-...": a word of features each; "" where the hypervisor does not say. */
static const char *featureset(struct xn *xn, uint32_t which, struct arena *a)
{
    enum { MAX_WORDS = 64 };
    uint32_t words[MAX_WORDS], n = MAX_WORDS;
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    if (xc_get_cpu_featureset(xn->xch, which, &n, words) < 0 || n > MAX_WORDS) return "";
    for (uint32_t i = 0; i < n; i++) strbuf_printf(&out, "%s%08x", i ? "-" : "", words[i]);
    return arena_strdup(a, strbuf_cstr(&out));
}

/* How long each physical processor was at work; dom0's kernel sees its own vcpus only. Xen says how long it was idle, by a clock that
 * is not quite ours: what would go back by that stands still. */
static size_t busy_times(struct xn *xn, unsigned n_cpus, struct arena *a, const uint64_t **ret_ns)
{
    xc_cpuinfo_t *infos = arena_new_array(a, xc_cpuinfo_t, n_cpus + 1);
    uint64_t *ns = arena_new_array(a, uint64_t, n_cpus + 1);
    int n = 0;

    if (n_cpus > XN_MAX_CPUS) n_cpus = XN_MAX_CPUS;
    if (xc_getcpuinfo(xn->xch, (int)n_cpus, infos, &n) < 0 || n < 0) return 0;
    const uint64_t now_ns = (uint64_t)clock_boottime_ns();
    pthread_mutex_lock(&xn->lock);
    for (int i = 0; i < n; i++) {
        uint64_t busy_ns = now_ns > infos[i].idletime ? now_ns - infos[i].idletime : 0;
        if (busy_ns > xn->busy_ns[i]) xn->busy_ns[i] = busy_ns;
        ns[i] = xn->busy_ns[i];
    }
    pthread_mutex_unlock(&xn->lock);
    *ret_ns = ns;
    return (size_t)n;
}

int xn_dmesg(void *d, bool clear, struct arena *arena, int64_t deadline_ms, const char **ret_text, struct hv_failure *f)
{
    enum { MAX_RING = 1 << 20 };
    struct xn *xn = d;
    unsigned n = MAX_RING;
    char *text = arena_alloc(arena, MAX_RING + 1);

    (void)deadline_ms;
    if (xc_readconsolering(xn->xch, text, &n, clear, 0, NULL) < 0) return xn_fail_xc("xc_readconsolering", f);
    text[n <= MAX_RING ? n : MAX_RING] = '\0';
    *ret_text = text;
    return 0;
}

int xn_send_debug_keys(void *d, const char *keys, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;

    (void)deadline_ms;
    return xc_send_debug_keys(xn->xch, keys) < 0 ? xn_fail_xc("xc_send_debug_keys", f) : 0;
}

int xn_get_host(void *d, struct arena *arena, int64_t deadline_ms, struct hv_host *ret_host, struct hv_failure *f)
{
    struct xn *xn = d;
    xc_physinfo_t phys = { 0 };
    _cleanup_free_ char *cpu = NULL;

    (void)deadline_ms;
    if (xc_physinfo(xn->xch, &phys) < 0) return xn_fail_xc("xc_physinfo", f);
    if (read_file("/proc/cpuinfo", 4 << 20, &cpu, NULL) < 0) cpu = xstrdup("");
    unsigned threads = phys.threads_per_core ? phys.threads_per_core : 1;
    unsigned cores = phys.cores_per_socket ? phys.cores_per_socket : 1;
    const uint64_t *busy_ns = NULL;
    size_t n_busy = busy_times(xn, phys.max_cpu_id + 1, arena, &busy_ns);
    *ret_host = (struct hv_host){
        .hypervisor = "Xen",
        .version = version(xn, arena),
        .accel = "xen",
        .capabilities = capabilities(xn, arena),
        .cpu_count = phys.nr_cpus,
        .nodes = phys.nr_nodes,
        .sockets = phys.nr_cpus / (threads * cores) ? phys.nr_cpus / (threads * cores) : 1,
        .cores_per_socket = cores,
        .threads_per_core = threads,
        .cpu_mhz = phys.cpu_khz / 1000,
        .cpu_vendor = hv_proc_line(cpu, "vendor_id", arena),
        .cpu_model_name = hv_proc_line(cpu, "model name", arena),
        .cpu_flags = hv_proc_line(cpu, "flags", arena),
        .cpu_family = hv_proc_number(cpu, "cpu family", arena),
        .cpu_model = hv_proc_number(cpu, "model", arena),
        .cpu_stepping = hv_proc_number(cpu, "stepping", arena),
        .features = featureset(xn, XEN_SYSCTL_cpu_featureset_host, arena),
        .features_pv = featureset(xn, XEN_SYSCTL_cpu_featureset_pv, arena),
        .features_hvm = featureset(xn, XEN_SYSCTL_cpu_featureset_hvm, arena),
        .n_busy = n_busy,
        .cpu_busy_ns = busy_ns,
        .memory_total_bytes = (int64_t)phys.total_pages << XC_PAGE_SHIFT,
        .memory_free_bytes = xn_free_bytes(xn),
        .memory_overhead_bytes = overhead(xn, &phys),
        .hvm = phys.capabilities & XEN_SYSCTL_PHYSCAP_hvm,
        .pv = phys.capabilities & XEN_SYSCTL_PHYSCAP_pv,
        .pvh = (phys.capabilities & XEN_SYSCTL_PHYSCAP_hvm) && (phys.capabilities & XEN_SYSCTL_PHYSCAP_hap),
        .iommu = phys.capabilities & XEN_SYSCTL_PHYSCAP_directio,
        .places = true,
    };
    return 0;
}
