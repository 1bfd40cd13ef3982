/* A new Xen domain, step by step; each step's undo is xn_clear_away(), which takes whatever there is.
 * Called by: hv.c through the vtable.  Calls: libxenctrl, xen_build, xen_device, xen_layout. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xenctrl.h>             /* before all others of Xen: it says that we are tools */
#include <xen/hvm/params.h>

#include "lib/clock.h"
#include "lib/num.h"
#include "xapi/hv/domain/acpi.h"
#include "xapi/hv/domain/proto.h"
#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { STD_VIDEO_MIB = 8, CIRRUS_VIDEO_MIB = 4, MAX_VIDEO_MIB = 256 };
enum { MAX_EVTCHN_PORT = 4095, TSC_DEFAULT = 0, TSC_MAX = 2, NO_DELAY_FOR_MISSED_TICKS = 1, MAX_FEATURE_WORDS = 64 };
static const int64_t MIB = 1 << 20;
/* Beside what the guest sees: its special pages, and room for the rounding of both sides. */
static const int64_t SLACK_BYTES = 1 << 20;

struct making {
    struct xn *xn;
    struct xn_guest *g;
    const struct hv_vm *vm;
    struct xn_incoming *in;       /* NULL = memory is built anew */
    int64_t deadline_ms;
    struct hv_failure *f;
    int *fds;                     /* loop devices, open until blkback has them */
    size_t n_fds;
};

static bool is_pv(const struct hv_vm *vm) { return vm->domain_type == HV_DOMAIN_PV; }
static bool is_hvm(const struct hv_vm *vm) { return vm->domain_type == HV_DOMAIN_HVM; }

static bool platform_bool(const struct hv_vm *vm, const char *key, bool fallback)
{
    return hv_pair_bool(vm->platform, vm->n_platform, key, fallback);
}

static int64_t platform_int(const struct hv_vm *vm, const char *key, int64_t min, int64_t max, int64_t fallback)
{
    int64_t n;
    const char *text = hv_pair_get(vm->platform, vm->n_platform, key, NULL);

    return text && num_parse_int(text, &n) && n >= min && n <= max ? n : fallback;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int64_t paging_bytes(const struct hv_vm *vm)
{
    return is_pv(vm) ? 0 : xn_paging_bytes(vm->vcpus_max, vm->memory_static_max_bytes, vm->shadow_multiplier);
}

/* Of the guest's memory; a power of two. */
static int64_t video_bytes(const struct hv_vm *vm)
{
    bool cirrus = streq(hv_pair_get(vm->platform, vm->n_platform, "vga", "std"), "cirrus");
    int64_t mib = platform_int(vm, "videoram", 1, MAX_VIDEO_MIB, cirrus ? CIRRUS_VIDEO_MIB : STD_VIDEO_MIB), power = 1;

    while (power < mib) power *= 2;
    return is_hvm(vm) ? power * MIB : 0;
}

/* What a device model puts into its guest besides: firmware of the screen and of a card. */
static int64_t slack_bytes(enum hv_domain_type type) { return type == HV_DOMAIN_HVM ? 2 * SLACK_BYTES : SLACK_BYTES; }

int xn_limit_memory(struct xn *xn, const struct xn_guest *g, int64_t bytes, struct hv_failure *f)
{
    if (xc_domain_setmaxmem(xn->xch, (uint32_t)g->domid, (uint64_t)((bytes + slack_bytes(g->type)) >> 10)) == 0) return 0;
    return xn_fail_xc("xc_domain_setmaxmem", f);
}

/* A device model's framebuffer may have lain in two places while the guest was sent: there is room for both until it is filled. */
static int64_t held_bytes(const struct making *m)
{
    if (!m->in) return m->vm->memory_target_bytes;
    return m->in->held_bytes + m->in->video_bytes;
}

static int64_t needed_bytes(const struct making *m)
{
    return held_bytes(m) + paging_bytes(m->vm) + slack_bytes(m->vm->domain_type) + m->vm->vcpus_max * (MIB / 16);
}

static int check_memory(const struct making *m)
{
    const int64_t available = xn_free_bytes(m->xn), mine = m->in ? m->in->held_bytes : m->vm->memory_target_bytes;
    const int64_t besides = needed_bytes(m) - mine;

    if (needed_bytes(m) <= available) return 0;
    m->f->number = available > besides ? available - besides : 0;
    if (m->in) m->f->needed_bytes = mine;
    return hv_fail(m->f, HV_FAIL_NO_MEMORY, "not enough free memory");
}

/* ---- the bare domain ------------------------------------------------------------------------- */

static int fail(const struct making *m, const char *function)
{
    int e = errno;

    if (e == ENOMEM) {
        m->f->number = xn_free_bytes(m->xn);
        return hv_fail(m->f, HV_FAIL_NO_MEMORY, "%s: %s", function, strerror(e));
    }
    m->f->code = e;
    return hv_fail(m->f, HV_FAIL_BUILD, "%s: %s", function, strerror(e));
}

#define STEP(function, ...) \
    do { if (function(__VA_ARGS__) < 0) return fail(m, #function); } while (0)

static void copy_uuid(const char *text, xen_domain_handle_t handle)
{
    struct ref bytes = REF_NULL;

    uuid_from_text(text, &bytes);
    for (unsigned i = 0; i < 8; i++) {
        handle[i] = (uint8_t)(bytes.hi >> (56 - 8 * i));
        handle[i + 8] = (uint8_t)(bytes.lo >> (56 - 8 * i));
    }
}

static int create_domain(const struct making *m)
{
    const struct hv_vm *vm = m->vm;
    uint32_t domid = 0;
    struct xen_domctl_createdomain config = {
        .max_vcpus = vm->vcpus_max,
        .max_evtchn_port = MAX_EVTCHN_PORT,
        .max_grant_frames = -1,              /* as the hypervisor has it by default */
        .max_maptrack_frames = -1,
        .grant_opts = XEN_DOMCTL_GRANT_version(1),
    };

    copy_uuid(vm->id.uuid, config.handle);
    if (!is_pv(vm)) config.flags |= XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap;
    if (!is_pv(vm) && platform_bool(vm, "nested-virt", false)) config.flags |= XEN_DOMCTL_CDF_nested_virt;
    if (is_hvm(vm)) config.arch.emulation_flags = XEN_X86_EMU_ALL & ~XEN_X86_EMU_VPCI;
    else if (!is_pv(vm)) config.arch.emulation_flags = XEN_X86_EMU_LAPIC;
    if (xn_fault("hv.xen.create", m->f) < 0) return -1;
    STEP(xc_domain_create, m->xn->xch, &domid, &config);
    pthread_mutex_lock(&m->xn->lock);
    m->g->domid = domid;
    pthread_mutex_unlock(&m->xn->lock);
    return 0;
}

/* What Windows asks its hypervisor for. */
static uint64_t viridian(const struct hv_vm *vm)
{
    if (!platform_bool(vm, "viridian", false)) return 0;
    uint64_t set = HVMPV_base_freq | HVMPV_time_ref_count | HVMPV_apic_assist | HVMPV_crash_ctl;
    if (platform_bool(vm, "viridian_reference_tsc", false)) set |= HVMPV_reference_tsc;
    if (platform_bool(vm, "viridian_stimer", false)) set |= HVMPV_synic | HVMPV_stimer;
    return set;
}

/* Features that the guest may see, as words; 0 = all that its kind may have. */
static uint32_t feature_words(const struct hv_vm *vm, uint32_t *words, uint32_t max)
{
    const char *p = vm->fewer_features ? vm->features : "";
    uint32_t n = 0;

    while (*p && n < max) {
        char *end;
        words[n++] = (uint32_t)strtoul(p, &end, 16);
        p = *end ? end + 1 : end;
    }
    return n;
}

static int set_limits(const struct making *m)
{
    const struct hv_vm *vm = m->vm;
    xc_interface *xch = m->xn->xch;
    const uint32_t domid = (uint32_t)m->g->domid;

    if (xn_fault("hv.xen.limits", m->f) < 0) return -1;
    STEP(xc_domain_max_vcpus, xch, domid, vm->vcpus_max);
    if (xn_limit_memory(m->xn, m->g, held_bytes(m), m->f) < 0) return -1;
    STEP(xc_domain_set_tsc_info, xch, domid, (uint32_t)platform_int(vm, "tsc_mode", 0, TSC_MAX, TSC_DEFAULT), 0, 0, 0);
    if (is_pv(vm)) {
        STEP(xc_domain_set_memmap_limit, xch, domid, (unsigned long)((vm->memory_static_max_bytes + SLACK_BYTES) >> 10));
    } else {
        STEP(xc_set_paging_mempool_size, xch, domid, (uint64_t)paging_bytes(vm));
        STEP(xc_hvm_param_set, xch, domid, HVM_PARAM_TIMER_MODE,
             (uint64_t)platform_int(vm, "timer_mode", 0, 3, NO_DELAY_FOR_MISSED_TICKS));
        if (is_hvm(vm) && viridian(vm) && !m->in) STEP(xc_hvm_param_set, xch, domid, HVM_PARAM_VIRIDIAN, viridian(vm));
    }
    if (m->in) return 0;                 /* the stream has the policy that the guest started with */
    uint32_t words[MAX_FEATURE_WORDS], n_words = feature_words(vm, words, ARRAY_SIZE(words));
    STEP(xc_cpuid_apply_policy, xch, domid, false, n_words ? words : NULL, n_words, platform_bool(vm, "pae", true), false,
         platform_bool(vm, "nested-virt", false), NULL, NULL);
    return 0;
}

static int share_cpus(const struct making *m)
{
    const struct hv_vcpu_params params = { .weight = m->vm->vcpu_weight, .cap = (int)m->vm->vcpu_cap, .vcpus_max = m->vm->vcpus_max,
                                           .mask = *m->vm->vcpu_mask ? m->vm->vcpu_mask : NULL };

    if (!params.mask && m->vm->on_one_node && xn_place(m->xn, m->g, needed_bytes(m), m->vm->vcpus_max, m->f) < 0) return -1;
    if (params.weight == 256 && !params.cap) return params.mask ? xn_set_affinity(m->xn, m->g, &params, m->f) : 0;
    return xn_set_shares(m->xn, m->g, &params, m->f) || (params.mask && xn_set_affinity(m->xn, m->g, &params, m->f)) ? -1 : 0;
}

/* ---- devices --------------------------------------------------------------------------------- */

static int prepare_devices(struct making *m)
{
    if (m->vm->n_nics && xn_devices_possible(m->xn, m->f) < 0) return -1;
    m->fds = xcalloc(m->vm->n_disks + 1, sizeof *m->fds);
    for (size_t i = 0; i < m->vm->n_disks; i++) {
        struct xn_disk disk;
        int fd;
        if (xn_fault("hv.xen.disk", m->f) < 0 || xn_disk_prepare(m->xn, m->g, &m->vm->disks[i], &disk, &fd, m->f) < 0)
            return -1;
        if (fd >= 0) m->fds[m->n_fds++] = fd;
        xn_disk_add(m->g, &disk);
    }
    for (size_t i = 0; i < m->vm->n_nics; i++) {
        struct xn_nic nic;
        xn_nic_prepare(m->g, &m->vm->nics[i], &nic);
        xn_nic_add(m->g, &nic);
    }
    return 0;
}

static void release_fds(struct making *m)
{
    while (m->n_fds) close(m->fds[--m->n_fds]);
    free(m->fds);
    m->fds = NULL;
}

/* The whole tree of nodes in one go: every round trip to xenstored costs more than a hypercall. */
static int write_nodes(const struct making *m)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;

    xn_layout_domain(&b, m->g->domid, m->vm, m->g->video_bytes);
    for (size_t i = 0; i < m->g->n_disks; i++) xn_disk_layout(&b, m->g->domid, &m->g->disks[i]);
    for (size_t i = 0; i < m->g->n_nics; i++) xn_nic_layout(&b, m->g->domid, &m->g->nics[i]);
    return xn_store_run(m->xn, &b, m->deadline_ms, m->f);
}

static int await_devices(const struct making *m)
{
    for (size_t i = 0; i < m->g->n_disks; i++)
        if (xn_disk_await(m->xn, m->g, &m->g->disks[i], m->deadline_ms, m->f) < 0) return -1;
    for (size_t i = 0; i < m->g->n_nics; i++)
        if (xn_nic_connect(m->xn, m->g, &m->g->nics[i], m->deadline_ms, m->f) < 0) return -1;
    return 0;
}

/* ---- memory's content ------------------------------------------------------------------------ */

static int open_ports(const struct making *m)
{
    int store = xc_evtchn_alloc_unbound(m->xn->xch, (uint32_t)m->g->domid, 0);
    int console = store < 0 ? -1 : xc_evtchn_alloc_unbound(m->xn->xch, (uint32_t)m->g->domid, 0);

    if (console < 0) return fail(m, "xc_evtchn_alloc_unbound");
    m->g->store_port = (unsigned)store;
    m->g->console_port = (unsigned)console;
    return 0;
}

/* What hvmloader starts; "" = none is installed. */
static const char *firmware(const struct hv_vm *vm)
{
    static const char *const bios[] = { "/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin" };
    static const char *const uefi[] = { "/usr/share/ovmf/OvmfXen.fd", "/usr/share/OVMF/OvmfXen.fd", "/usr/share/ovmf/OVMF.fd",
                                        "/usr/share/OVMF/OVMF.fd" };
    const char *const *all = vm->firmware == HV_FIRMWARE_UEFI ? uefi : bios;
    size_t n = vm->firmware == HV_FIRMWARE_UEFI ? ARRAY_SIZE(uefi) : ARRAY_SIZE(bios);

    for (size_t i = 0; i < n; i++)
        if (access(all[i], R_OK) == 0) return all[i];
    return "";
}

static int fill_request(const struct making *m, struct domain_build *q)
{
    const struct hv_vm *vm = m->vm;

    *q = (struct domain_build){
        .size = sizeof *q,
        .domid = (uint32_t)m->g->domid,
        .type = vm->domain_type,
        .memory_max_bytes = (uint64_t)(vm->memory_static_max_bytes - m->g->video_bytes),
        .memory_bytes = (uint64_t)(vm->memory_target_bytes - m->g->video_bytes),
        .vcpus = vm->vcpus_max,
        .vcpus_online = vm->vcpus_at_startup,
        .store_port = m->g->store_port,
        .console_port = m->g->console_port,
        .apic = platform_bool(vm, "apic", true),
        .untrusted = vm->kernel_is_guests,
    };
    if ((size_t)snprintf(q->args, sizeof q->args, "%s", vm->args) >= sizeof q->args)
        return hv_fail(m->f, HV_FAIL_INCOMPATIBLE, "the kernel's arguments are too long");
    /* Paths are short enough: the guard has looked. */
    snprintf(q->kernel, sizeof q->kernel, "%s", is_hvm(vm) ? m->xn->hvmloader : vm->kernel);
    snprintf(q->ramdisk, sizeof q->ramdisk, "%s", vm->ramdisk);
    if (is_hvm(vm)) snprintf(q->system_firmware, sizeof q->system_firmware, "%s", firmware(vm));
    return 0;
}

/* Memory from a stream. QEMU, whose images the sender may have open until then, comes after it. */
static int fill(const struct making *m)
{
    if (write_nodes(m) < 0 || xn_incoming_fill(m->xn, m->in, m->g, m->deadline_ms, m->f) < 0) return -1;
    if (xn_nodes_write(m->xn, m->g, m->in->nodes, m->deadline_ms, m->f) < 0) return -1;
    return xn_qemu_needed(m->g) ? xn_qemu_start(m->xn, m->g, m->vm, m->in->devices, m->f) : 0;
}

/* The builder works while xenstored and the backends do. */
static int build(const struct making *m)
{
    static const size_t size = sizeof(struct domain_build);
    struct domain_build *q = xcalloc(1, size);
    struct domain_built r = { .rc = -1 };
    struct xn_builder *builder;
    int rc = -1;

    if (fill_request(m, q) < 0) goto out;
    if (xn_build_begin(m->xn, q, m->deadline_ms, &builder, m->f) < 0) goto out;
    rc = write_nodes(m);
    if (rc == 0 && xn_qemu_needed(m->g)) rc = xn_qemu_start(m->xn, m->g, m->vm, false, m->f);
    struct hv_failure *f = rc < 0 ? &(struct hv_failure){ .kind = HV_FAIL_NONE } : m->f;
    if (xn_build_end(m->xn, builder, m->deadline_ms, &r, f) < 0) rc = -1;
    m->g->store_frame = r.store_frame;
    m->g->console_frame = r.console_frame;
out:
    free(q);
    return rc;
}

static int introduce(const struct making *m)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    const struct xn_guest *g = m->g;

    if (xn_fault("hv.xen.introduce", m->f) < 0) return -1;
    xn_layout_rings(&b, g->domid, g->store_frame, g->store_port, g->console_frame, g->console_port);
    return xn_store_run(m->xn, &b, m->deadline_ms, m->f);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* What this host cannot do is said before anything is made. */
static int check(const struct making *m)
{
    const struct hv_vm *vm = m->vm;
    xc_physinfo_t phys = { 0 };

    if (xc_physinfo(m->xn->xch, &phys) < 0) return fail(m, "xc_physinfo");
    const bool hvm = phys.capabilities & XEN_SYSCTL_PHYSCAP_hvm, hap = phys.capabilities & XEN_SYSCTL_PHYSCAP_hap;
    if (is_pv(vm) && !(phys.capabilities & XEN_SYSCTL_PHYSCAP_pv))
        return hv_fail(m->f, HV_FAIL_INCOMPATIBLE, "this hypervisor runs no PV guests");
    if (!is_pv(vm) && (!hvm || !hap))
        return hv_fail(m->f, HV_FAIL_INCOMPATIBLE, "this host's processors lack nested paging, which HVM and PVH guests need");
    if (!is_pv(vm) && vm->vcpus_max > ACPI_VCPUS_MAX)
        return hv_fail(m->f, HV_FAIL_INCOMPATIBLE, "an HVM or PVH guest has at most %d vcpus", ACPI_VCPUS_MAX);
    if (is_hvm(vm) && !*m->xn->hvmloader) return hv_fail(m->f, HV_FAIL_INCOMPATIBLE, "hvmloader is not installed on this host");
    if (is_hvm(vm) && !*firmware(vm))
        return hv_fail(m->f, HV_FAIL_INCOMPATIBLE, "this firmware is not installed on this host (package %s)",
                       vm->firmware == HV_FIRMWARE_UEFI ? "ovmf" : "seabios");
    if (!is_hvm(vm) && !*vm->kernel && !m->in) return hv_fail(m->f, HV_FAIL_BUILD, "there is no kernel to boot");
    return check_memory(m);
}

/* Everything up to a domain that could run. */
static int make(struct making *m)
{
    if (check(m) < 0) return -1;
    /* 1. The record: from here on a killed agent leaves something to be found. */
    if (xn_record_write(m->xn, m->g, m->f) < 0) return -1;
    /* 2. An empty domain; the record learns its number. */
    if (create_domain(m) < 0 || xn_record_write(m->xn, m->g, m->f) < 0) return -1;
    if (set_limits(m) < 0 || share_cpus(m) < 0 || open_ports(m) < 0) return -1;
    /* 3. Disks and cards; 4. kernel, memory and xenstore's nodes; 5. the rings. */
    if (prepare_devices(m) < 0 || (m->in ? fill(m) : build(m)) < 0 || introduce(m) < 0) return -1;
    if (!m->in && xn_nvram_put(m->xn, m->g, m->vm, m->f) < 0) return -1;
    /* 6. The backends have taken up their devices. */
    if (xn_qemu_needed(m->g) && xn_qemu_await(m->xn, m->g, m->deadline_ms, m->f) < 0) return -1;
    if (await_devices(m) < 0) return -1;
    /* 7. The room that only the filling needed is no guest's to grow into. */
    return m->in ? xn_limit_memory(m->xn, m->g, m->vm->memory_target_bytes, m->f) : 0;
}

int xn_go(struct xn *xn, struct xn_guest *g, bool start_paused, struct hv_failure *f)
{
    g->start_time = clock_wall_seconds();
    pthread_mutex_lock(&xn->lock);
    g->phase = XN_THERE;
    pthread_mutex_unlock(&xn->lock);
    if (xn_record_write(xn, g, f) < 0) return -1;
    xn_console_follow(xn, g->uuid, g->domid);
    xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_STARTED, .uuid = g->uuid, .domid = g->domid });
    if (!start_paused && (xn_fault("hv.xen.unpause", f) < 0 || xc_domain_unpause(xn->xch, (uint32_t)g->domid) < 0)) {
        if (f->kind == HV_FAIL_NONE) {
            f->code = errno;
            hv_fail(f, HV_FAIL_BUILD, "xc_domain_unpause: %s", strerror(errno));
        }
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_STOPPED, .uuid = g->uuid, .domid = g->domid,
                                        .reason = HV_STOP_DESTROYED });
        return -1;
    }
    return 0;
}

int xn_make(struct xn *xn, const struct hv_vm *vm, struct xn_incoming *in, int64_t deadline_ms, struct xn_guest **ret_g,
            struct hv_failure *f)
{
    struct making m = { .xn = xn, .g = xn_guest_new(vm), .vm = vm, .in = in, .deadline_ms = deadline_ms, .f = f };

    m.g->busy = true;
    m.g->phase = XN_MAKING;
    m.g->video_bytes = in ? in->video_bytes : video_bytes(vm);
    if (in && *in->uuid) {
        memcpy(m.g->uuid, in->uuid, sizeof m.g->uuid);
        memcpy(m.g->run_name, in->uuid, sizeof m.g->run_name);
    }
    if (!xn_guest_add(xn, m.g, &f->number)) {
        xn_guest_unref(xn, m.g);
        return hv_fail(f, HV_FAIL_EXISTS, "it exists already");
    }
    int rc = make(&m);
    release_fds(&m);
    if (rc == 0) {
        *ret_g = m.g;
        return 0;
    }
    xn_clear_away(xn, m.g, hv_now_ms() + XN_LET_GO_MS);
    xn_turn_end(xn, m.g);
    return -1;
}

int xn_start(void *d, const struct hv_vm *vm, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g;

    if (xn_make(xn, vm, NULL, deadline_ms, &g, f) < 0) return -1;
    int rc = xn_go(xn, g, vm->start_paused, f);
    if (rc == 0) *ret_domid = g->domid;
    else xn_clear_away(xn, g, hv_now_ms() + XN_LET_GO_MS);
    xn_turn_end(xn, g);
    return rc;
}
