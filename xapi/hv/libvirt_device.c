/* Devices of a running guest: disks, CDs, NICs, memory, vcpus, keys and buttons.
 * Called by: hv.c through the vtable.  Calls: libvirt through jobs. */
#include <dirent.h>
#include <errno.h>
#include <linux/input-event-codes.h>
#include <stdio.h>

#include "lib/ioprio.h"
#include "lib/num.h"
#include "xapi/hv/libvirt_int.h"

/* ---- plugging -------------------------------------------------------------------------------- */

/* The guest's XML; NULL with job->f. */
static char *domain_xml(struct lv_job *job, virDomainPtr dom)
{
    char *xml = virDomainGetXMLDesc(dom, 0);

    if (!xml) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    return xml;
}

/* Fails unless the guest has (or has not) the job's device. */
static int check_plugged(struct lv_job *job, virDomainPtr dom, bool wanted)
{
    _cleanup_free_ char *xml = domain_xml(job, dom);
    _cleanup_free_ char *bus = xml ? lv_xml_bus(xml, job->alias) : NULL;

    if (!xml) return -1;
    if ((bus != NULL) == wanted) return 0;
    return wanted ? hv_fail(&job->f, HV_FAIL_DEVICE_MISSING, "it is not plugged")
                  : hv_fail(&job->f, HV_FAIL_DEVICE_EXISTS, "it is plugged already");
}

static int run_attach(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = check_plugged(job, dom, false);
    if (rc == 0 && virDomainAttachDeviceFlags(dom, job->xml, VIR_DOMAIN_AFFECT_LIVE) < 0)
        rc = lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

static int attach(struct lv *lv, const char *uuid, char *xml, const char *alias, int64_t deadline_ms,
                  struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_attach);

    job->xml = xml;
    job->alias = xstrdup(alias);
    if (lv_job_run(job, deadline_ms, f) == 0) return 0;
    /* "target vdb already exists": by its name, not by our alias. */
    if (f->kind != HV_FAIL_TIMEOUT && strstr(f->why, "already exists")) f->kind = HV_FAIL_DEVICE_EXISTS;
    return -1;
}

int lv_disk_attach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                   struct hv_failure *f) {
    char alias[24];

    if (disk->cdrom)
        return hv_fail(f, HV_FAIL_UNSUPPORTED, "a CD drive cannot be plugged into a running guest");
    lv_disk_alias(disk->device, alias);
    lv_give_disk(d, disk);
    return attach(d, uuid, lv_xml_disk(disk, "virtio"), alias, deadline_ms, f);
}

int lv_nic_attach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                  struct hv_failure *f) {
    char alias[24];

    lv_nic_alias(nic->device, alias);
    return attach(d, uuid, lv_xml_nic(nic, "virtio"), alias, deadline_ms, f);
}

/* ---- unplugging ------------------------------------------------------------------------------ */

static int run_detach(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = check_plugged(job, dom, true);
    if (rc == 0 && virDomainDetachDeviceAlias(dom, job->alias, VIR_DOMAIN_AFFECT_LIVE) < 0)
        rc = lv_job_fail_domain(job, dom, HV_FAIL_DEVICE_REJECTED);
    virDomainFree(dom);
    return rc;
}

/* Is it gone although no event said so (the connection broke meanwhile)? */
static int run_is_gone(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    _cleanup_free_ char *xml = domain_xml(job, dom);
    _cleanup_free_ char *bus = xml ? lv_xml_bus(xml, job->alias) : NULL;
    job->out_number = xml && !bus;
    virDomainFree(dom);
    return xml ? 0 : -1;
}

static bool is_gone(struct lv *lv, const char *uuid, const char *alias)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_is_gone);
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };

    job->alias = xstrdup(alias);
    return lv_job_run(job, hv_now_ms() + 5000, &ignored) == 0 && job->out_number;
}

static void wait_for(struct lv *lv, struct lv_waiter *w, int64_t deadline_ms)
{
    pthread_mutex_lock(&lv->lock);
    while (w->state == LV_WAITING && lv_wait_until(lv, deadline_ms)) ;
    pthread_mutex_unlock(&lv->lock);
}

static int detach(struct lv *lv, const char *uuid, const char *alias, int64_t deadline_ms,
                  struct hv_failure *f) {
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_detach);
    struct lv_waiter w = { .state = LV_WAITING };

    job->alias = xstrdup(alias);
    snprintf(w.uuid, sizeof w.uuid, "%s", uuid);
    snprintf(w.alias, sizeof w.alias, "%s", alias);
    pthread_mutex_lock(&lv->lock);
    w.next = lv->waiters;
    lv->waiters = &w;
    pthread_mutex_unlock(&lv->lock);

    int rc = lv_job_run(job, deadline_ms, f);
    if (rc == 0) wait_for(lv, &w, deadline_ms);

    pthread_mutex_lock(&lv->lock);
    struct lv_waiter **link = &lv->waiters;
    while (*link != &w) link = &(*link)->next;
    *link = w.next;
    pthread_mutex_unlock(&lv->lock);
    if (rc < 0) return -1;
    if (w.state == LV_REFUSED) return hv_fail(f, HV_FAIL_DEVICE_REJECTED, "the guest refuses");
    if (w.state == LV_REMOVED || is_gone(lv, uuid, alias)) return 0;
    return hv_fail(f, HV_FAIL_TIMEOUT, "the guest does not let go");
}

int lv_disk_detach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                   struct hv_failure *f) {
    char alias[24];

    lv_disk_alias(disk->device, alias);
    if (detach(d, uuid, alias, deadline_ms, f) < 0) return -1;
    lv_disk_sweep(d, uuid);
    return 0;
}

int lv_nic_detach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                  struct hv_failure *f) {
    char alias[24];

    lv_nic_alias(nic->device, alias);
    return detach(d, uuid, alias, deadline_ms, f);
}

/* ---- media and sizes ------------------------------------------------------------------------- */

static int run_cd_change(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = virDomainUpdateDeviceFlags(dom, job->xml, VIR_DOMAIN_AFFECT_LIVE);
    if (rc < 0) {
        lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
        if (job->f.code == VIR_ERR_OPERATION_TIMEOUT || strstr(job->f.why, "tray") ||
            strstr(job->f.why, "locked"))
            job->f.kind = HV_FAIL_TRAY_LOCKED;
    }
    virDomainFree(dom);
    return rc;
}

static int run_bus(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    _cleanup_free_ char *xml = domain_xml(job, dom);
    virDomainFree(dom);
    if (!xml) return -1;
    job->out = lv_xml_bus(xml, job->alias);
    job->free_out = free;
    return job->out ? 0 : hv_fail(&job->f, HV_FAIL_DEVICE_MISSING, "no such disk");
}

/* The bus that the guest's disk is on; malloc'd, NULL with the failure. */
static char *bus_of(struct lv *lv, const char *uuid, const char *device, int64_t deadline_ms,
                    struct hv_failure *f) {
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_bus);
    char alias[24];

    lv_disk_alias(device, alias);
    job->alias = xstrdup(alias);
    if (lv_job_run(job, deadline_ms, f) < 0) return NULL;
    return xstrdup(job->out);
}

int lv_cd_change(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                 struct hv_failure *f) {
    struct lv *lv = d;
    _cleanup_free_ char *bus = bus_of(lv, uuid, disk->device, deadline_ms, f);
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_cd_change);

    if (!bus) return -1;
    if (streq(bus, "virtio")) return hv_fail(f, HV_FAIL_NOT_REMOVABLE, "not a CD drive");
    lv_give_disk(lv, disk);
    job->xml = lv_xml_disk(disk, bus);
    return lv_job_run(job, deadline_ms, f);
}

static int run_resize(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc =
        virDomainBlockResize(dom, job->path, (unsigned long long)job->number, VIR_DOMAIN_BLOCK_RESIZE_BYTES);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

static int run_disk_snapshot(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    virDomainSnapshotPtr made = virDomainSnapshotCreateXML(dom, job->xml,
                                                           VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
                                                               VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT |
                                                               VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA |
                                                               VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC);
    if (made) virDomainSnapshotFree(made);
    else lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return made ? 0 : -1;
}

static const char *target_name(const char *bus, const char *device, char buf[HV_DEVICE_TEXT])
{
    const char *prefix = streq(bus, "virtio") ? "vd" : streq(bus, "ide") ? "hd" : "sd";

    return hv_slot_name(prefix, (unsigned)hv_slot(device), buf);
}

int lv_disk_snapshot(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                     struct hv_failure *f) {
    struct lv *lv = d;
    _cleanup_free_ char *bus = bus_of(lv, uuid, disk->device, deadline_ms, f);
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_disk_snapshot);
    char name[HV_DEVICE_TEXT];

    if (!bus) return -1;
    if (disk->format != HV_FORMAT_QCOW2) return hv_fail(f, HV_FAIL_UNSUPPORTED, "the new image is not qcow2");
    lv_give_disk(lv, disk);
    job->xml = lv_xml_disk_snapshot(target_name(bus, disk->device, name), disk->path);
    return lv_job_run(job, deadline_ms, f);
}

/* A job for one disk of a guest that runs; a, b: its numbers. */
static int run_on_disk(struct lv *lv, const char *uuid, const struct hv_disk *disk, int (*run)(struct lv_job *), int64_t a, int64_t b,
                       int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_free_ char *bus = bus_of(lv, uuid, disk->device, deadline_ms, f);
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run);
    char name[HV_DEVICE_TEXT];

    if (!bus) return -1;
    job->path = xstrdup(target_name(bus, disk->device, name));
    job->number = a;
    job->number2 = b;
    return lv_job_run(job, deadline_ms, f);
}

int lv_disk_resize(void *d, const char *uuid, const struct hv_disk *disk, int64_t size_bytes,
                   int64_t deadline_ms, struct hv_failure *f) {
    return run_on_disk(d, uuid, disk, run_resize, size_bytes, 0, deadline_ms, f);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static int run_limit(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    virTypedParameterPtr params = NULL;
    int n = 0, max = 0;

    if (!dom) return -1;
    int rc = virTypedParamsAddULLong(&params, &n, &max, VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC, (unsigned long long)job->number);
    if (rc == 0)
        rc = virTypedParamsAddULLong(&params, &n, &max, VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC, (unsigned long long)job->number2);
    if (rc == 0) rc = virDomainSetBlockIoTune(dom, job->path, params, n, VIR_DOMAIN_AFFECT_LIVE);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virTypedParamsFree(params, n);
    virDomainFree(dom);
    return rc;
}

int lv_disk_limit(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    return run_on_disk(d, uuid, disk, run_limit, disk->limit_bytes, disk->limit_requests, deadline_ms, f);
}

/* The guest's QEMU, by its command line: libvirt does not tell. 0 = none. */
static pid_t qemu_of(const char *uuid)
{
    _cleanup_free_ char *words = xasprintf("-uuid%c%s", 0, uuid);
    const size_t n = strlen("-uuid") + 1 + strlen(uuid) + 1;
    DIR *dir = opendir("/proc");
    const struct dirent *e;
    pid_t found = 0;

    while (dir && !found && (e = readdir(dir))) {
        int64_t pid;
        size_t len;
        if (!num_parse_int(e->d_name, &pid)) continue;
        _cleanup_free_ char *path = xasprintf("/proc/%s/cmdline", e->d_name), *text = NULL;
        if (read_file(path, 1 << 20, &text, &len) == 0 && memmem(text, len, words, n)) found = (pid_t)pid;
    }
    if (dir) closedir(dir);
    return found;
}

int lv_set_io_priority(void *d, const char *uuid, int priority, int64_t deadline_ms, struct hv_failure *f)
{
    const pid_t pid = qemu_of(uuid);

    (void)d, (void)deadline_ms;
    if (!pid) return hv_fail(f, HV_FAIL_NO_DOMAIN, "no QEMU of it");
    if (ioprio_set_process(pid, priority) == 0) return 0;
    return hv_fail(f, HV_FAIL_ENGINE, "I/O priority of QEMU (pid %d): %s", (int)pid, strerror(errno));
}

/* ---- moving a disk --------------------------------------------------------------------------- */

static int run_mirror_start(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = virDomainBlockCopy(dom, job->path, job->xml, NULL, 0,
                                VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

/* out_number: how much is done, out_number2: of how much; -1: no such job. out: what the guest is in. */
static int run_mirror_look(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    virDomainBlockJobInfo info;

    if (!dom) return -1;
    int n = virDomainGetBlockJobInfo(dom, job->path, &info, 0);
    if (n < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    bool runs = n > 0 && info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_COPY;
    job->out_number = runs ? (int64_t)info.cur : -1;
    job->out_number2 = runs ? (int64_t)info.end : 0;
    job->out = n < 0 ? NULL : domain_xml(job, dom);
    job->free_out = free;
    if (!job->out) n = -1;
    virDomainFree(dom);
    return n < 0 ? -1 : 0;
}

static int run_mirror_end(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = virDomainBlockJobAbort(dom, job->path, job->flags);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

int lv_disk_mirror(void *d, const char *uuid, const struct hv_disk *disk, enum hv_mirror_step step,
                   struct hv_mirror *ret_mirror, int64_t deadline_ms, struct hv_failure *f)
{
    struct lv *lv = d;
    _cleanup_free_ char *bus = bus_of(lv, uuid, disk->device, deadline_ms, f);
    int (*const fns[])(struct lv_job *) = {
        [HV_MIRROR_START] = run_mirror_start,
        [HV_MIRROR_LOOK] = run_mirror_look,
        [HV_MIRROR_FINISH] = run_mirror_end,
        [HV_MIRROR_CANCEL] = run_mirror_end,
    };
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, fns[step]);
    char name[HV_DEVICE_TEXT];

    if (!bus) return -1;
    job->path = xstrdup(target_name(bus, disk->device, name));
    if (step == HV_MIRROR_FINISH) job->flags = VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT;
    if (step == HV_MIRROR_START) {
        lv_give_disk(lv, disk);
        job->xml = lv_xml_disk(disk, bus);
    }
    int rc = lv_job_run(job, deadline_ms, f);
    /* Nothing to cancel is as good as cancelled. */
    if (rc && step == HV_MIRROR_CANCEL && f->kind == HV_FAIL_STATE && strstr(f->why, "job")) rc = 0;
    if (rc == 0 && step == HV_MIRROR_LOOK) {
        char alias[24];
        lv_disk_alias(disk->device, alias);
        ret_mirror->runs = job->out_number >= 0;
        ret_mirror->moved = !ret_mirror->runs && lv_xml_has_source(job->out, alias, disk->path);
        ret_mirror->ready = ret_mirror->runs && job->out_number2 > 0 && job->out_number == job->out_number2;
        ret_mirror->fraction = job->out_number2 > 0 ? (double)job->out_number / (double)job->out_number2 : 0;
    }
    return rc;
}

/* ---- memory, vcpus --------------------------------------------------------------------------- */

static int run_memory(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = virDomainSetMemoryFlags(dom, (unsigned long)(job->number / 1024), VIR_DOMAIN_AFFECT_LIVE);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

int lv_set_memory_target(void *d, const char *uuid, int64_t bytes, int64_t deadline_ms, struct hv_failure *f)
{
    struct lv *lv = d;
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_memory);

    job->number = bytes;
    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, uuid);
    if (g) g->target_bytes = bytes;
    pthread_mutex_unlock(&lv->lock);
    return 0;
}

static int run_vcpus(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = virDomainSetVcpusFlags(dom, (unsigned)job->number, VIR_DOMAIN_VCPU_LIVE);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

int lv_set_vcpus(void *d, const char *uuid, unsigned vcpus, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, run_vcpus);

    job->number = vcpus;
    return lv_job_run(job, deadline_ms, f);
}

/* A CPU's number or "from-to" into the map; -1 = beyond it, or neither. */
static int add_cpus(const char *text, unsigned char *map, size_t cpus)
{
    char *after;
    unsigned long from = strtoul(text, &after, 10), to = *after == '-' ? strtoul(after + 1, &after, 10) : from;

    if (*after || to < from || to >= cpus) return -1;
    for (; from <= to; from++) VIR_USE_CPU(map, from);
    return 0;
}

/* "0,2-3" of one vcpu. */
static int pin(virDomainPtr dom, unsigned vcpu, char *list, size_t cpus, struct hv_failure *f)
{
    const int len = VIR_CPU_MAPLEN((int)cpus);
    _cleanup_free_ char *map = xcalloc(1, (size_t)len);
    char *rest = list;

    for (char *one; (one = strsep(&rest, ", "));)
        if (*one && add_cpus(one, (unsigned char *)map, cpus))
            return hv_fail(f, HV_FAIL_INCOMPATIBLE, "VCPUs_params:mask: no CPU %s here", one);
    return virDomainPinVcpuFlags(dom, vcpu, (unsigned char *)map, len, VIR_DOMAIN_AFFECT_LIVE);
}

/* The mask of each vcpu, ";" between them; the last one given is for all that follow. */
static int run_vcpu_params(struct lv_job *job)
{
    const int cpus = virNodeGetCPUMap(job->conn, NULL, NULL, 0);
    virDomainPtr dom = lv_job_domain(job);
    const char *part = job->path;
    int rc = cpus > 0 ? 0 : -1;

    if (!dom) return -1;
    for (unsigned i = 0; rc == 0 && i < (unsigned)job->number; i++) {
        size_t len = strcspn(part, ";");
        _cleanup_free_ char *list = xstrndup(part, len);
        rc = pin(dom, i, list, (size_t)cpus, &job->f);
        if (part[len]) part += len + 1;
    }
    if (rc < 0 && job->f.kind == HV_FAIL_NONE) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

int lv_set_vcpu_params(void *d, const char *uuid, const struct hv_vcpu_params *params, int64_t deadline_ms,
                       struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, run_vcpu_params);

    if (!params->mask) return hv_fail(f, HV_FAIL_UNSUPPORTED, "shares of the processors");
    job->number = params->vcpus_max;
    job->path = xstrdup(params->mask);
    return lv_job_run(job, deadline_ms, f);
}

/* ---- keys and buttons ------------------------------------------------------------------------ */

/* Linux key codes of 'a'..'z' and '0'..'9'. */
static unsigned key_code(char key)
{
    static const unsigned char letters[26] = {
        KEY_A, KEY_B, KEY_C, KEY_D, KEY_E, KEY_F, KEY_G, KEY_H, KEY_I, KEY_J, KEY_K, KEY_L, KEY_M,
        KEY_N, KEY_O, KEY_P, KEY_Q, KEY_R, KEY_S, KEY_T, KEY_U, KEY_V, KEY_W, KEY_X, KEY_Y, KEY_Z,
    };

    if (key >= 'a') return letters[key - 'a'];
    return key == '0' ? KEY_0 : (unsigned)(KEY_1 + (key - '1'));
}

static int run_sysrq(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    unsigned keys[] = { KEY_LEFTALT, KEY_SYSRQ, key_code((char)job->number) };

    if (!dom) return -1;
    int rc = virDomainSendKey(dom, VIR_KEYCODE_SET_LINUX, 100, keys, ARRAY_SIZE(keys), 0);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

int lv_send_sysrq(void *d, const char *uuid, char key, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, run_sysrq);

    job->number = key;
    return lv_job_run(job, deadline_ms, f);
}

static int run_trigger(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = streq(job->alias, "nmi") ? virDomainInjectNMI(dom, 0)
                                      : virDomainShutdownFlags(dom, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

int lv_send_trigger(void *d, const char *uuid, const char *trigger, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, run_trigger);

    if (streq(trigger, "reset")) return lv_reset(d, uuid, deadline_ms, f);
    job->alias = xstrdup(trigger);
    return lv_job_run(job, deadline_ms, f);
}
