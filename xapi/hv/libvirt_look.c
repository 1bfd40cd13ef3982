/* Looking: domains, counters, the host, what guests say of themselves, consoles.
 * Called by: hv.c through the vtable; the supervisor.  Calls: libvirt through jobs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/clock.h"
#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { KEEP_LOG_BYTES = 256 << 10, MAX_LOG_BYTES = 4 << 20, KEEP_LOG_S = 30 * 86400 };

/* ---- what libvirt says of a domain ------------------------------------------------------------ */

struct found {
    char uuid[UUID_TEXT];
    char title[256];
    virDomainInfo info;
    struct lv_guest guest;
};
struct found_list { size_t n; struct found all[]; };

static void read_title(virDomainPtr dom, char *ret, size_t size)
{
    _cleanup_free_ char *title = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_TITLE, NULL, 0);

    snprintf(ret, size, "%s", title ? title : virDomainGetName(dom));
}

/* False when it went away meanwhile. */
static bool find_one(struct lv *lv, virDomainPtr dom, struct found *ret)
{
    unsigned id = virDomainGetID(dom);

    if (id == (unsigned)-1 || virDomainGetUUIDString(dom, ret->uuid) < 0 ||
        virDomainGetInfo(dom, &ret->info) < 0)
        return false;
    read_title(dom, ret->title, sizeof ret->title);
    pthread_mutex_lock(&lv->lock);
    ret->guest = *lv_guest_add(lv, ret->uuid, (int64_t)id);
    pthread_mutex_unlock(&lv->lock);
    if (ret->guest.described) return true;
    _cleanup_free_ char *xml = virDomainGetXMLDesc(dom, 0);
    if (!xml) return false;
    struct lv_guest before = ret->guest;
    lv_xml_describe(xml, &ret->guest);
    /* Those were set by verbs and events since the guest started; its XML still says how it began. */
    if (before.start_time) ret->guest.start_time = before.start_time;
    if (before.target_bytes) ret->guest.target_bytes = before.target_bytes;
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, ret->uuid);
    if (g && g->domid == (int64_t)id) *g = ret->guest;
    pthread_mutex_unlock(&lv->lock);
    return true;
}

static void describe(const struct lv *lv, const struct found *f, struct arena *a, struct hv_domain *ret)
{
    *ret = (struct hv_domain){
        .uuid = arena_strdup(a, f->uuid),
        .name = arena_strdup(a, f->title),
        .domid = f->guest.domid,
        .state = lv_state(f->info.state),
        .start_time = f->guest.start_time,
        .domain_type = f->guest.domain_type,
        .memory_actual_bytes = (int64_t)f->info.memory * 1024,
        .memory_target_bytes = f->guest.target_bytes ? f->guest.target_bytes : (int64_t)f->info.memory * 1024,
        .vcpus = f->info.nrVirtCpu,
        .cpu_time_ns = f->info.cpuTime,
        .vnc_socket = arena_printf(a, "%s/%s.v", lv->socket_dir, f->uuid),
        .console_socket = arena_printf(a, "%s/%s.s", lv->socket_dir, f->uuid),
        .console_log = arena_printf(a, "%s/%s.log", lv->console_dir, f->uuid),
        .agent = f->guest.agent,
    };
}

static int run_list(struct lv_job *job)
{
    virDomainPtr *doms = NULL;
    int n = virConnectListAllDomains(job->conn, &doms, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

    if (n < 0) return lv_job_fail(job, HV_FAIL_ENGINE);
    struct found_list *list = xcalloc(1, sizeof *list + (size_t)n * sizeof list->all[0]);
    for (int i = 0; i < n; i++) {
        if (find_one(job->lv, doms[i], &list->all[list->n])) list->n++;
        virDomainFree(doms[i]);
    }
    free(doms);
    job->out = list;
    job->free_out = free;
    return 0;
}

int lv_list(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_domain **ret_domains,
            size_t *ret_n, struct hv_failure *f) {
    _cleanup_job_ struct lv_job *job = lv_job_new(d, NULL, run_list);

    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    const struct found_list *list = job->out;
    struct hv_domain *all = arena_new_array(arena, struct hv_domain, list->n + 1);
    for (size_t i = 0; i < list->n; i++) describe(d, &list->all[i], arena, &all[i]);
    *ret_domains = all;
    *ret_n = list->n;
    return 0;
}

static int run_query(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    struct found *found = xcalloc(1, sizeof *found);
    job->out = found;
    job->free_out = free;
    bool there = find_one(job->lv, dom, found);
    virDomainFree(dom);
    return there ? 0 : hv_fail(&job->f, HV_FAIL_NO_DOMAIN, "it ended just now");
}

int lv_query(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
             struct hv_domain *ret_domain, struct hv_failure *f) {
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, run_query);

    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    describe(d, job->out, arena, ret_domain);
    return 0;
}

/* ---- counters -------------------------------------------------------------------------------- */

struct counted { struct lv_guest guest; virDomainStatsRecordPtr record; };
struct counted_list { virDomainStatsRecordPtr *records; size_t n; struct counted all[]; };

static void free_counted(void *out)
{
    struct counted_list *list = out;

    virDomainStatsRecordListFree(list->records);
    free(list);
}

static int run_stats(struct lv_job *job)
{
    const unsigned groups = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON |
                            VIR_DOMAIN_STATS_VCPU | VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK;
    virDomainStatsRecordPtr *records = NULL;
    int n = virConnectGetAllDomainStats(job->conn, groups, &records,
                                        VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE |
                                            VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);

    if (n < 0) return lv_job_fail(job, HV_FAIL_ENGINE);
    struct counted_list *list = xcalloc(1, sizeof *list + (size_t)n * sizeof list->all[0]);
    list->records = records;
    job->out = list;
    job->free_out = free_counted;
    for (int i = 0; i < n; i++) {
        struct found found;
        if (!find_one(job->lv, records[i]->dom, &found)) continue;
        list->all[list->n++] = (struct counted){ found.guest, records[i] };
    }
    return 0;
}

/* A number of any width by name; fallback when libvirt does not say. */
static uint64_t number(const virDomainStatsRecord *r, const char *name, uint64_t fallback)
{
    virTypedParameterPtr p = virTypedParamsGet(r->params, r->nparams, name);

    if (!p) return fallback;
    switch (p->type) {
    case VIR_TYPED_PARAM_INT: return (uint64_t)p->value.i;
    case VIR_TYPED_PARAM_UINT: return p->value.ui;
    case VIR_TYPED_PARAM_LLONG: return (uint64_t)p->value.l;
    case VIR_TYPED_PARAM_ULLONG: return p->value.ul;
    default: return fallback;
    }
}

static uint64_t field(const virDomainStatsRecord *r, const char *group, size_t i, const char *name)
{
    char key[VIR_TYPED_PARAM_FIELD_LENGTH];

    snprintf(key, sizeof key, "%s.%zu.%s", group, i, name);
    return number(r, key, 0);
}

static size_t count_of(const virDomainStatsRecord *r, const char *name, size_t max)
{
    uint64_t n = number(r, name, 0);

    return n < max ? (size_t)n : max;
}

static void count_disks(const virDomainStatsRecord *r, struct arena *a, struct hv_stats *st)
{
    size_t n = count_of(r, "block.count", 512);
    struct hv_disk_stats *disks = arena_new_array(a, struct hv_disk_stats, n + 1);

    for (size_t i = 0; i < n; i++) {
        char key[VIR_TYPED_PARAM_FIELD_LENGTH], name[HV_DEVICE_TEXT];
        const char *dev = NULL;
        snprintf(key, sizeof key, "block.%zu.name", i);
        if (virTypedParamsGetString(r->params, r->nparams, key, &dev) < 1) continue;
        _cleanup_free_ char *as_xvd = has_prefix(dev, "vd") ? xasprintf("x%s", dev) : xstrdup(dev);
        int slot = hv_slot(as_xvd);
        if (slot < 0) continue;
        disks[st->n_disks++] = (struct hv_disk_stats){
            .device = arena_strdup(a, hv_slot_name("xvd", (unsigned)slot, name)),
            .read_bytes = field(r, "block", i, "rd.bytes"),
            .read_requests = field(r, "block", i, "rd.reqs"),
            .read_ns = field(r, "block", i, "rd.times"),
            .write_bytes = field(r, "block", i, "wr.bytes"),
            .write_requests = field(r, "block", i, "wr.reqs"),
            .write_ns = field(r, "block", i, "wr.times"),
        };
    }
    st->disks = disks;
}

static void count_nics(const virDomainStatsRecord *r, const struct lv_guest *g, struct arena *a,
                       struct hv_stats *st) {
    size_t n = count_of(r, "net.count", LV_MAX_NICS);
    struct hv_nic_stats *nics = arena_new_array(a, struct hv_nic_stats, n + 1);

    for (size_t i = 0; i < n; i++)
        nics[st->n_nics++] = (struct hv_nic_stats){
            .device = i < g->n_nics ? g->nics[i] : (unsigned)i,
            .rx_bytes = field(r, "net", i, "rx.bytes"),
            .rx_packets = field(r, "net", i, "rx.pkts"),
            .rx_errors = field(r, "net", i, "rx.errs"),
            .rx_drops = field(r, "net", i, "rx.drop"),
            .tx_bytes = field(r, "net", i, "tx.bytes"),
            .tx_packets = field(r, "net", i, "tx.pkts"),
            .tx_errors = field(r, "net", i, "tx.errs"),
            .tx_drops = field(r, "net", i, "tx.drop"),
        };
    st->nics = nics;
}

static void count_vcpus(const virDomainStatsRecord *r, struct arena *a, struct hv_stats *st)
{
    size_t n = count_of(r, "vcpu.maximum", 1024);
    uint64_t *times = arena_new_array(a, uint64_t, n + 1);

    for (size_t i = 0; i < n; i++) {
        char key[VIR_TYPED_PARAM_FIELD_LENGTH];
        snprintf(key, sizeof key, "vcpu.%zu.time", i);
        if (virTypedParamsGet(r->params, r->nparams, key)) times[st->n_vcpus++] = number(r, key, 0);
    }
    /* One thread for all of them: emulation of more than one vcpu may not tell them apart. */
    if (!st->n_vcpus) times[st->n_vcpus++] = number(r, "cpu.time", 0);
    st->vcpu_time_ns = times;
}

static void count(const struct counted *c, struct arena *a, struct hv_stats *st)
{
    const virDomainStatsRecord *r = c->record;
    int64_t actual = (int64_t)number(r, "balloon.current", 0) * 1024;
    uint64_t unused = number(r, "balloon.usable", number(r, "balloon.unused", UINT64_MAX));

    *st = (struct hv_stats){
        .uuid = arena_strdup(a, c->guest.uuid),
        .domid = c->guest.domid,
        .state = lv_state((int)number(r, "state.state", 0)),
        .memory_actual_bytes = actual,
        .memory_target_bytes = c->guest.target_bytes ? c->guest.target_bytes : actual,
        .memory_free_bytes = unused == UINT64_MAX ? -1 : (int64_t)unused * 1024,
    };
    count_vcpus(r, a, st);
    count_disks(r, a, st);
    count_nics(r, &c->guest, a, st);
}

int lv_get_stats(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_stats **ret_stats,
                 size_t *ret_n, struct hv_failure *f) {
    _cleanup_job_ struct lv_job *job = lv_job_new(d, NULL, run_stats);

    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    const struct counted_list *list = job->out;
    struct hv_stats *all = arena_new_array(arena, struct hv_stats, list->n + 1);
    for (size_t i = 0; i < list->n; i++) count(&list->all[i], arena, &all[i]);
    *ret_stats = all;
    *ret_n = list->n;
    return 0;
}

/* ---- the host -------------------------------------------------------------------------------- */

struct host { virNodeInfo node; unsigned long version; };

static int run_host(struct lv_job *job)
{
    struct host *host = xcalloc(1, sizeof *host);

    job->out = host;
    job->free_out = free;
    if (virNodeGetInfo(job->conn, &host->node) < 0) return lv_job_fail(job, HV_FAIL_ENGINE);
    if (virConnectGetVersion(job->conn, &host->version) < 0) host->version = 0;
    return 0;
}

int lv_get_host(void *d, struct arena *arena, int64_t deadline_ms, struct hv_host *ret_host,
                struct hv_failure *f) {
    static const char *const capabilities[] = { "hvm-3.0-x86_32", "hvm-3.0-x86_32p", "hvm-3.0-x86_64", NULL };
    const struct lv *lv = d;
    _cleanup_job_ struct lv_job *job = lv_job_new(d, NULL, run_host);
    _cleanup_free_ char *cpu = NULL, *mem = NULL;

    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    if (read_file("/proc/cpuinfo", 4 << 20, &cpu, NULL) < 0) cpu = xstrdup("");
    if (read_file("/proc/meminfo", 65536, &mem, NULL) < 0) mem = xstrdup("");
    const struct host *host = job->out;
    const virNodeInfo *node = &host->node;
    const char *flags = hv_proc_line(cpu, "flags", arena);
    *ret_host = (struct hv_host){
        .hypervisor = lv->is_test ? "libvirt test driver" : "QEMU",
        .version = arena_printf(arena, "%lu.%lu.%lu", host->version / 1000000, host->version / 1000 % 1000,
                                host->version % 1000),
        .accel = lv->accel == HV_ACCEL_KVM ? "kvm" : "tcg",
        .capabilities = capabilities,
        .cpu_count = node->cpus,
        .nodes = node->nodes,
        .sockets = node->sockets * (node->nodes ? node->nodes : 1),
        .cores_per_socket = node->cores,
        .threads_per_core = node->threads,
        .cpu_mhz = node->mhz ? node->mhz : (int64_t)hv_proc_number(cpu, "cpu MHz", arena),
        .cpu_vendor = hv_proc_line(cpu, "vendor_id", arena),
        .cpu_model_name = hv_proc_line(cpu, "model name", arena),
        .cpu_flags = flags,
        .cpu_family = hv_proc_number(cpu, "cpu family", arena),
        .cpu_model = hv_proc_number(cpu, "model", arena),
        .cpu_stepping = hv_proc_number(cpu, "stepping", arena),
        .memory_total_bytes = (int64_t)node->memory * 1024,
        .memory_free_bytes = (int64_t)strtoll(hv_proc_line(mem, "MemAvailable", arena), NULL, 10) * 1024,
        .hvm = true,
        .nested = lv->accel == HV_ACCEL_KVM && (strstr(flags, "vmx") || strstr(flags, "svm")),
    };
    return 0;
}

/* ---- what the guest says --------------------------------------------------------------------- */

struct said { virTypedParameterPtr params; int n; };

enum { MAX_SAID = 1024 };

static void free_said(void *out)
{
    struct said *said = out;

    virTypedParamsFree(said->params, said->n);
    free(said);
}

static int run_guest_info(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    struct said *said = xcalloc(1, sizeof *said);

    job->out = said;
    job->free_out = free_said;
    if (!dom) return -1;
    virDomainAgentSetResponseTimeout(dom, 3, 0);
    /* Without an agent, or with one that is silent: nothing is known, which is no failure. Types 0: all it
     * can. */
    if (virDomainGetGuestInfo(dom, 0, &said->params, &said->n, 0) < 0) {
        said->params = NULL;
        said->n = 0;
        lv_job_fail_domain(job, dom, HV_FAIL_GUEST_DEAF);
    }
    virDomainFree(dom);
    return job->f.kind == HV_FAIL_NO_DOMAIN || job->f.kind == HV_FAIL_UNREACHABLE ? -1 : 0;
}

/* A guest's word, of bounded length. */
static const char *said_text(const struct said *said, const char *key, struct arena *a)
{
    const char *value = NULL;

    if (virTypedParamsGetString(said->params, said->n, key, &value) < 1 || !value) return "";
    size_t n = strnlen(value, MAX_SAID + 1);
    if (n > MAX_SAID)
        for (n = MAX_SAID; n && ((unsigned char)value[n] & 0xc0) == 0x80;) n--;      /* between characters */
    return arena_strndup(a, value, n);
}

static size_t said_count(const struct said *said, const char *key, size_t max)
{
    unsigned n = 0;

    if (virTypedParamsGetUInt(said->params, said->n, key, &n) < 1) return 0;
    return n < max ? n : max;
}

static void said_nics(const struct said *said, struct arena *a, struct hv_guest_info *ret)
{
    char key[VIR_TYPED_PARAM_FIELD_LENGTH];
    size_t n = said_count(said, "if.count", 64);
    struct hv_guest_nic *nics = arena_new_array(a, struct hv_guest_nic, n + 1);

    for (size_t i = 0; i < n; i++) {
        snprintf(key, sizeof key, "if.%zu.addr.count", i);
        size_t n_addr = said_count(said, key, 64);
        const char **addr = arena_new_array(a, const char *, n_addr + 1);
        for (size_t k = 0; k < n_addr; k++) {
            snprintf(key, sizeof key, "if.%zu.addr.%zu.addr", i, k);
            addr[k] = said_text(said, key, a);
        }
        snprintf(key, sizeof key, "if.%zu.name", i);
        nics[i].name = said_text(said, key, a);
        snprintf(key, sizeof key, "if.%zu.hwaddr", i);
        nics[i].mac = said_text(said, key, a);
        nics[i].device = -1;
        nics[i].addresses = addr;
    }
    ret->nics = nics;
    ret->n_nics = n;
}

int lv_get_guest_info(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
                      struct hv_guest_info *ret_info, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, run_guest_info);

    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    const struct said *said = job->out;
    *ret_info = (struct hv_guest_info){
        .agent = said->n > 0,
        .drivers_seen = said->n > 0,      /* the agent's own channel is a virtio device */
        .os_id = said_text(said, "os.id", arena),
        .os_name = said_text(said, "os.pretty-name", arena),
        .os_version = said_text(said, "os.version-id", arena),
        .os_kernel = said_text(said, "os.kernel-release", arena),
        .hostname = said_text(said, "hostname", arena),
        .timezone = said_text(said, "timezone.name", arena),
    };
    said_nics(said, arena, ret_info);
    return 0;
}

/* ---- consoles -------------------------------------------------------------------------------- */

int lv_console_open(void *d, const char *uuid, enum hv_console which, int64_t deadline_ms, int *ret_fd,
                    struct hv_failure *f)
{
    const struct lv *lv = d;
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct timeval tv = { .tv_sec = 5 };

    (void)deadline_ms;
    int n = snprintf(addr.sun_path, sizeof addr.sun_path, "%s/%s.%c", lv->socket_dir, uuid,
                     which == HV_CONSOLE_VNC ? 'v' : 's');
    if (n < 0 || (size_t)n >= sizeof addr.sun_path)
        return hv_fail(f, HV_FAIL_ENGINE, "the socket's name is too long");
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return hv_fail(f, HV_FAIL_ENGINE, "socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);      /* a full backlog would block */
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return hv_fail(f, HV_FAIL_NO_DOMAIN, "%s: nobody is there", addr.sun_path);
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", addr.sun_path, strerror(errno));
    }
    tv.tv_sec = 0;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    *ret_fd = take_fd(fd);
    return 0;
}

int lv_console_log(void *d, const char *uuid, struct arena *arena, const char **ret_path,
                   struct hv_failure *f) {
    const struct lv *lv = d;

    (void)f;
    *ret_path = arena_printf(arena, "%s/%s.log", lv->console_dir, uuid);
    return 0;
}

/* QEMU appends, so a shorter file just grows again from its new end. */
static void trim_log(int dir_fd, const char *name)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) return;
    if (clock_wall_seconds() - st.st_mtime > KEEP_LOG_S) {
        unlinkat(dir_fd, name, 0);
        return;
    }
    if (st.st_size <= MAX_LOG_BYTES) return;
    _cleanup_free_ char *tail = xmalloc(KEEP_LOG_BYTES);
    ssize_t n = pread(fd, tail, KEEP_LOG_BYTES, st.st_size - KEEP_LOG_BYTES);
    if (n <= 0 || ftruncate(fd, 0) < 0) return;
    if (write(fd, tail, (size_t)n) != n) log_warn("libvirt: console log %s: %s", name, strerror(errno));
}

void lv_trim_logs(const struct lv *lv)
{
    DIR *dir = opendir(lv->console_dir);

    if (!dir) return;
    for (const struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.') trim_log(dirfd(dir), e->d_name);
    closedir(dir);
}
