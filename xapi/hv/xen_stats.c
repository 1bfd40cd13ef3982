/* Counters of Xen guests for the metrics: vcpus from the hypervisor, devices from dom0's kernel.
 * Called by: hv.c through the vtable.  Calls: libxenctrl, sysfs, xen_store, xen_tools. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "lib/num.h"
#include "xapi/hv/xen_int.h"
#include "xapi/hv/xen_tools.h"

enum { SECTOR_BYTES = 512, MAX_STAT = 64 };

/* A guest as the lock showed it. */
struct counted {
    char uuid[UUID_TEXT];
    int64_t domid, target_bytes, video_bytes;
    unsigned vcpus;
    size_t n_disks, n_nics;
    struct xn_disk *disks;       /* path is not to be used */
    struct xn_nic *nics;
    size_t free_at;              /* in the batch of reads */
};

static uint64_t read_number(const char *fmt, ...) _printf_(1, 2);
static uint64_t read_number(const char *fmt, ...)
{
    char path[160], text[MAX_STAT];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0) return 0;
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

static void count_disks(const struct counted *c, struct arena *a, struct hv_stats *st)
{
    struct hv_disk_stats *disks = arena_new_array(a, struct hv_disk_stats, c->n_disks + 1);
    char name[HV_DEVICE_TEXT];

    for (size_t i = 0; i < c->n_disks; i++) {
        const struct xn_disk *d = &c->disks[i];
        if (d->kind != XN_PHY) continue;
        _cleanup_free_ char *dir = xasprintf("/sys/bus/xen-backend/devices/vbd-%jd-%u/statistics", (intmax_t)c->domid, d->devid);
        disks[st->n_disks++] = (struct hv_disk_stats){
            .device = arena_strdup(a, hv_slot_name("xvd", d->slot, name)),
            .read_bytes = read_number("%s/rd_sect", dir) * SECTOR_BYTES,
            .read_requests = read_number("%s/rd_req", dir),
            .write_bytes = read_number("%s/wr_sect", dir) * SECTOR_BYTES,
            .write_requests = read_number("%s/wr_req", dir),
        };
    }
    st->disks = disks;
}

/* The interface is the host's end: what it receives, the guest has sent. */
static void count_nics(const struct counted *c, struct arena *a, struct hv_stats *st)
{
    struct hv_nic_stats *nics = arena_new_array(a, struct hv_nic_stats, c->n_nics + 1);

    for (size_t i = 0; i < c->n_nics; i++) {
        _cleanup_free_ char *dir = xasprintf("/sys/class/net/vif%jd.%u/statistics", (intmax_t)c->domid, c->nics[i].device);
        nics[st->n_nics++] = (struct hv_nic_stats){
            .device = c->nics[i].device,
            .rx_bytes = read_number("%s/tx_bytes", dir),
            .rx_packets = read_number("%s/tx_packets", dir),
            .rx_errors = read_number("%s/tx_errors", dir),
            .rx_drops = read_number("%s/tx_dropped", dir),
            .tx_bytes = read_number("%s/rx_bytes", dir),
            .tx_packets = read_number("%s/rx_packets", dir),
            .tx_errors = read_number("%s/rx_errors", dir),
            .tx_drops = read_number("%s/rx_dropped", dir),
        };
    }
    st->nics = nics;
}

static void count_vcpus(struct xn *xn, const struct counted *c, struct arena *a, struct hv_stats *st)
{
    uint64_t *times = arena_new_array(a, uint64_t, c->vcpus + 1);
    xc_vcpuinfo_t info;

    for (unsigned i = 0; i < c->vcpus; i++) {
        if (xc_vcpu_getinfo(xn->xch, (uint32_t)c->domid, i, &info) < 0) continue;
        if (info.online || info.cpu_time) times[st->n_vcpus++] = info.cpu_time;
    }
    st->vcpu_time_ns = times;
}

static size_t copy_guests(struct xn *xn, struct arena *a, struct counted **ret_all)
{
    size_t n = 0;

    pthread_mutex_lock(&xn->lock);
    for (const struct xn_guest *g = xn->guests; g; g = g->next) n++;
    struct counted *all = arena_new_array(a, struct counted, n + 1);
    n = 0;
    for (const struct xn_guest *g = xn->guests; g; g = g->next) {
        /* Devices are the turn's: of a guest that somebody is at work on they are counted next time. */
        if (g->phase != XN_THERE) continue;
        struct counted *c = &all[n++];
        *c = (struct counted){ .domid = g->domid, .target_bytes = g->target_bytes, .video_bytes = g->video_bytes,
                               .vcpus = g->vcpus_max };
        memcpy(c->uuid, g->uuid, sizeof c->uuid);
        if (g->busy) continue;
        c->n_disks = g->n_disks;
        c->n_nics = g->n_nics;
        c->disks = arena_new_array(a, struct xn_disk, g->n_disks + 1);
        c->nics = arena_new_array(a, struct xn_nic, g->n_nics + 1);
        if (g->n_disks) memcpy(c->disks, g->disks, g->n_disks * sizeof *c->disks);
        if (g->n_nics) memcpy(c->nics, g->nics, g->n_nics * sizeof *c->nics);
    }
    pthread_mutex_unlock(&xn->lock);
    *ret_all = all;
    return n;
}

static const xc_domaininfo_t *info_of(const xc_domaininfo_t *infos, size_t n, int64_t domid)
{
    for (size_t i = 0; i < n; i++)
        if (infos[i].domain == domid) return &infos[i];
    return NULL;
}

static void count(struct xn *xn, const struct counted *c, const xc_domaininfo_t *info, int64_t free_kib, struct arena *a,
                  struct hv_stats *st)
{
    int64_t actual = (int64_t)info->tot_pages << XC_PAGE_SHIFT;

    *st = (struct hv_stats){
        .uuid = arena_strdup(a, c->uuid),
        .domid = c->domid,
        .state = xn_state(info),
        .memory_actual_bytes = actual,
        .memory_target_bytes = c->target_bytes,
        /* The guest's word, which may be anything. */
        .memory_free_bytes = free_kib >= 0 && free_kib <= actual >> 10 ? free_kib << 10 : -1,
    };
    count_vcpus(xn, c, a, st);
    count_disks(c, a, st);
    count_nics(c, a, st);
}

int xn_get_stats(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_stats **ret_stats,
                 size_t *ret_n, struct hv_failure *f)
{
    struct xn *xn = d;
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    xc_domaininfo_t *infos;
    struct counted *all;
    size_t n_infos, n = 0, n_all = copy_guests(xn, arena, &all);

    for (size_t i = 0; i < n_all; i++) all[i].free_at = xst_read(&b, XN_P(all[i].domid, "data/meminfo_free"));
    bool asked = b.n && xn_store_run(xn, &b, deadline_ms, &ignored) == 0;
    if (xn_dominfo_all(xn, &infos, &n_infos) < 0) return xn_fail_xc("xc_domain_getinfolist", f);
    struct hv_stats *stats = arena_new_array(arena, struct hv_stats, n_all + 1);
    for (size_t i = 0; i < n_all; i++) {
        const xc_domaininfo_t *info = info_of(infos, n_infos, all[i].domid);
        if (!info || xn_state(info) == HV_STATE_NONE) continue;
        count(xn, &all[i], info, asked ? xst_value_int(&b, all[i].free_at, -1) : -1, arena, &stats[n++]);
    }
    free(infos);
    *ret_stats = stats;
    *ret_n = n;
    return 0;
}

/* ---- what guests say of themselves ----------------------------------------------------------- */

/* False when there is no such guest. Devices of one that somebody is at work on are not known. */
static bool whom_to_ask(struct xn *xn, const char *uuid, struct arena *a, struct xn_tools_of *ret)
{
    bool found = false;

    pthread_mutex_lock(&xn->lock);
    for (const struct xn_guest *g = xn->guests; g && !found; g = g->next) {
        found = g->phase == XN_THERE && streq(g->uuid, uuid);
        if (!found) continue;
        unsigned *disks = arena_new_array(a, unsigned, g->n_disks + 1), *nics = arena_new_array(a, unsigned, g->n_nics + 1);
        *ret = (struct xn_tools_of){ .domid = g->domid, .disks = disks, .nics = nics };
        for (size_t i = 0; i < g->n_disks && !g->busy; i++) disks[ret->n_disks++] = g->disks[i].devid;
        for (size_t i = 0; i < g->n_nics && !g->busy; i++) nics[ret->n_nics++] = g->nics[i].device;
    }
    pthread_mutex_unlock(&xn->lock);
    return found;
}

int xn_get_guest_info(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, struct hv_guest_info *ret_info,
                      struct hv_failure *f)
{
    struct xn *xn = d;
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    const struct xn_tools_asked *asked;
    struct xn_tools_of of;

    if (!whom_to_ask(xn, uuid, arena, &of)) return hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
    xn_tools_ask(&b, &of, arena, &asked);
    if (xn_store_run(xn, &b, deadline_ms, f) < 0) return -1;
    xn_tools_take(&b, asked, &of, arena, ret_info);
    return 0;
}
