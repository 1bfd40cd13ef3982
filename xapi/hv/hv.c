/* The guard in front of the hypervisor drivers: checks, deadlines, the log, and the one place where a
 * driver's failure becomes a XenAPI error. Called by: class files, startup, rrd, consoles.  Calls: hv_check,
 * the driver (sim.c, or a module). */
#include "xapi/hv/hv.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "gen/errors.h"
#include "lib/fault.h"
#include "lib/num.h"
#include "xapi/hv/hv_check.h"
#include "xapi/hv/sim.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { HV_MAGIC = 0x68763031, SLOW_MS = 1000 };

struct hv {
    uint32_t magic;                     /* immutable, as all of it */
    const struct hv_driver *driver;
    void *d;
    void *module;                       /* of dlopen; NULL for the simulator */
    char host[REF_TEXT];
};

/* ---- one run of a verb ----------------------------------------------------------------------- */

enum verb {
    VERB_START,
    VERB_DESTROY,
    VERB_SHUTDOWN,
    VERB_REBOOT,
    VERB_RESET,
    VERB_PAUSE,
    VERB_UNPAUSE,
    VERB_SUSPEND,
    VERB_RESUME,
    VERB_CHECK_IMAGE,
    VERB_ABORT,
    VERB_MIGRATE_SEND,
    VERB_MIGRATE_RECEIVE,
    VERB_DISK_ATTACH,
    VERB_DISK_DETACH,
    VERB_CD_CHANGE,
    VERB_DISK_SNAPSHOT,
    VERB_DISK_REOPEN,
    VERB_DISK_MIRROR,
    VERB_DISK_RESIZE,
    VERB_DISK_LIMIT,
    VERB_IO_PRIORITY,
    VERB_NIC_ATTACH,
    VERB_NIC_DETACH,
    VERB_NIC_MOVE,
    VERB_NIC_ADDRESS,
    VERB_MEMORY,
    VERB_VCPUS,
    VERB_VCPU_PARAMS,
    VERB_SHADOW,
    VERB_SYSRQ,
    VERB_TRIGGER,
    VERB_LIST,
    VERB_QUERY,
    VERB_STATS,
    VERB_HOST,
    VERB_DMESG,
    VERB_DEBUG_KEYS,
    VERB_GUEST,
    VERB_GUEST_RUN,
    VERB_GUEST_RDP,
    VERB_NVRAM,
    VERB_CHECK_TPM,
    VERB_TPM,
    VERB_CONSOLE,
    VERB_TAIL,
};

static const struct verb_desc {
    const char *name;
    int timeout_ms;
    const char *expected;               /* the state a guest must be in, for VM_BAD_POWER_STATE */
    bool looks;                         /* changes nothing: logged as debug */
} verbs[] = {
    [VERB_START]       = { "start", 120000, "halted", false },
    [VERB_DESTROY]     = { "destroy", 60000, "running", false },
    [VERB_SHUTDOWN]    = { "shutdown", 30000, "running", false },
    [VERB_REBOOT]      = { "reboot", 30000, "running", false },
    [VERB_RESET]       = { "reset", 30000, "running", false },
    [VERB_PAUSE]       = { "pause", 30000, "running", false },
    [VERB_UNPAUSE]     = { "unpause", 30000, "paused", false },
    [VERB_SUSPEND]     = { "suspend", 20 * 60000, "running", false },
    [VERB_RESUME]      = { "resume", 20 * 60000, "suspended", false },
    [VERB_CHECK_IMAGE] = { "check-image", 15000, "suspended", true },
    [VERB_ABORT]       = { "abort", 15000, "running", false },
    [VERB_MIGRATE_SEND] = { "migrate-send", 120 * 60000, "running", false },
    [VERB_MIGRATE_RECEIVE] = { "migrate-receive", 120 * 60000, "halted", false },
    [VERB_DISK_ATTACH] = { "disk-attach", 60000, "running", false },
    [VERB_DISK_DETACH] = { "disk-detach", 30000, "running", false },
    [VERB_CD_CHANGE]   = { "cd-change", 30000, "running", false },
    [VERB_DISK_SNAPSHOT] = { "disk-snapshot", 60000, "running", false },
    [VERB_DISK_REOPEN] = { "disk-reopen", 60000, "running", false },
    [VERB_DISK_MIRROR] = { "disk-mirror", 60000, "running", false },
    [VERB_DISK_RESIZE] = { "disk-resize", 60000, "running", false },
    [VERB_DISK_LIMIT]  = { "disk-limit", 30000, "running", false },
    [VERB_IO_PRIORITY] = { "set-io-priority", 15000, "running", false },
    [VERB_NIC_ATTACH]  = { "nic-attach", 60000, "running", false },
    [VERB_NIC_DETACH]  = { "nic-detach", 30000, "running", false },
    [VERB_NIC_MOVE]    = { "nic-move", 30000, "running", false },
    [VERB_NIC_ADDRESS] = { "nic-address", 30000, "running", false },
    [VERB_MEMORY]      = { "set-memory-target", 30000, "running", false },
    [VERB_VCPUS]       = { "set-vcpus", 60000, "running", false },
    [VERB_VCPU_PARAMS] = { "set-vcpu-params", 30000, "running", false },
    [VERB_SHADOW]      = { "set-shadow", 60000, "running", false },
    [VERB_SYSRQ]       = { "send-sysrq", 15000, "running", false },
    [VERB_TRIGGER]     = { "send-trigger", 15000, "running", false },
    [VERB_LIST]        = { "list", 30000, "", true },
    [VERB_QUERY]       = { "query", 15000, "running", true },
    [VERB_STATS]       = { "get-stats", 15000, "", true },
    [VERB_HOST]        = { "get-host", 15000, "", true },
    [VERB_DMESG]       = { "dmesg", 15000, "", true },
    [VERB_DEBUG_KEYS]  = { "send-debug-keys", 15000, "", false },
    [VERB_GUEST]       = { "get-guest-info", 5000, "running", true },
    [VERB_GUEST_RUN]   = { "guest-run", 10 * 60000, "running", false },
    [VERB_GUEST_RDP]   = { "guest-rdp", 15000, "running", false },
    [VERB_NVRAM]       = { "get-nvram", 15000, "", true },
    [VERB_CHECK_TPM]   = { "check-tpm", 15000, "", true },
    [VERB_TPM]         = { "get-tpm", 15000, "", true },
    [VERB_CONSOLE]     = { "console-open", 15000, "running", true },
    [VERB_TAIL]        = { "console-tail", 15000, "running", true },
};

struct run {
    const struct hv *hv;
    const struct verb_desc *verb;
    char uuid[UUID_TEXT];               /* lower case; "" when the verb is about no guest */
    char who[REF_TEXT];                 /* what errors name */
    const char *type, *device;          /* "VBD" or "VIF" and its device, for device verbs */
    char device_ref[REF_TEXT];
    int64_t needed_bytes;
    int64_t begun_ms, deadline_ms;
    int timeout_ms;
    struct hv_failure f;
};

/* Opens a run. has: the driver has the verb. id.uuid NULL: the verb is about no guest. */
static int run_begin(struct run *r, const struct hv *hv, enum verb verb, bool has, struct hv_id id,
                     int timeout_ms, struct xerr *err) {
    assert(hv && hv->magic == HV_MAGIC);
    *r = (struct run){ .hv = hv, .verb = &verbs[verb], .type = "", .device = "" };
    if (!has) {
        _cleanup_free_ char *name = xasprintf("hv.%s.%s", hv->driver->name, verbs[verb].name);
        return xerr_not_implemented(err, name);
    }
    if (id.uuid) {
        if (hv_check_uuid(id.uuid, r->uuid, err) < 0) return -1;
        if (ref_is_null(id.vm)) memcpy(r->who, r->uuid, UUID_TEXT);
        else ref_text(id.vm, r->who);
    }
    const int broken = r->verb->looks ? 0 : fault_step("hv.call");
    if (broken) return xerr_internal(err, "%s %s: %s", hv->driver->name, verbs[verb].name, strerror(broken));
    r->timeout_ms = timeout_ms > 0 ? timeout_ms : verbs[verb].timeout_ms;
    r->begun_ms = hv_now_ms();
    r->deadline_ms = r->begun_ms + r->timeout_ms;
    return 0;
}

static void run_device(struct run *r, const char *type, const char *device, struct ref ref)
{
    r->type = type;
    r->device = device;
    ref_text(ref, r->device_ref);
}

static const char *state_text(enum hv_state state)
{
    switch (state) {
    case HV_STATE_NONE: return "halted";
    case HV_STATE_RUNNING: return "running";
    case HV_STATE_PAUSED: return "paused";
    case HV_STATE_SHUTDOWN: return "shutting down";
    case HV_STATE_CRASHED: return "crashed";
    }
    return "unknown";
}

static int map_engine(const struct run *r, const char *what, struct xerr *err)
{
    return xerr_internal(err, "%s %s%s%s: %s%s", r->hv->driver->name, r->verb->name, *r->uuid ? " " : "",
                         r->uuid, what, r->f.why);
}

static int map_timeout(const struct run *r, struct xerr *err)
{
    _cleanup_free_ char *seconds = xasprintf("%d", r->timeout_ms / 1000);

    if (r->verb == &verbs[VERB_SUSPEND]) return xerr_vm_suspend_timeout(err, r->who, seconds);
    if (r->verb == &verbs[VERB_GUEST_RUN]) return xerr_xenapi_plugin_failure(err, "timed out", "", r->f.why);
    if (r->verb == &verbs[VERB_DISK_ATTACH] || r->verb == &verbs[VERB_NIC_ATTACH])
        return xerr_device_attach_timeout(err, r->type, r->device_ref);
    if (r->verb == &verbs[VERB_DISK_DETACH] || r->verb == &verbs[VERB_NIC_DETACH])
        return xerr_device_detach_timeout(err, r->type, r->device_ref);
    return map_engine(r, "passed its deadline: ", err);
}

static int map_no_memory(const struct run *r, struct xerr *err)
{
    _cleanup_free_ char *needed = xasprintf("%jd", (intmax_t)(r->f.needed_bytes ? r->f.needed_bytes : r->needed_bytes));
    _cleanup_free_ char *available = xasprintf("%jd", (intmax_t)r->f.number);

    return xerr_host_not_enough_free_memory(err, needed, available);
}

/* The one place where a driver's failure becomes a XenAPI error. */
static int map_failure(const struct run *r, struct xerr *err)
{
    _cleanup_free_ char *number = NULL;

    switch (r->f.kind) {
    case HV_FAIL_NO_DOMAIN:
        return xerr_vm_bad_power_state(err, r->who, r->verb->expected, "halted");
    case HV_FAIL_STATE:
        return xerr_vm_bad_power_state(err, r->who, r->verb->expected, state_text(r->f.actual));
    case HV_FAIL_EXISTS:
        number = xasprintf("%jd", (intmax_t)r->f.number);
        return xerr_domain_exists(err, r->who, number);
    case HV_FAIL_NO_MEMORY:
        return map_no_memory(r, err);
    case HV_FAIL_INCOMPATIBLE:
        return xerr_vm_incompatible_with_this_host(err, r->who, r->hv->host, r->f.why);
    case HV_FAIL_BUILD:
        number = xasprintf("%d", r->f.code);
        return xerr_domain_builder_error(err, r->verb->name, number, r->f.why);
    case HV_FAIL_NO_IMAGE:
        return xerr_suspend_image_not_accessible(err, r->f.why);
    case HV_FAIL_NOT_SUSPENDABLE:
        return xerr_vm_non_suspendable(err, r->who, r->f.why);
    case HV_FAIL_DEVICE_EXISTS:
        return xerr_device_already_attached(err, r->device);
    case HV_FAIL_DEVICE_MISSING:
        return xerr_device_already_detached(err, r->device);
    case HV_FAIL_DEVICE_REJECTED:
        return xerr_device_detach_rejected(err, r->type, r->device_ref, r->f.why);
    case HV_FAIL_DEVICE_FULL:
        return xerr_vm_pci_bus_full(err, r->who);
    case HV_FAIL_NOT_REMOVABLE:
        return xerr_vbd_not_removable_media(err, r->device_ref);
    case HV_FAIL_TRAY_LOCKED:
        return xerr_vbd_tray_locked(err, r->device_ref);
    case HV_FAIL_GUEST_DEAF:
        if (r->verb == &verbs[VERB_GUEST_RUN]) return xerr_xenapi_plugin_failure(err, "failed to execute fn", r->f.why, r->f.why);
        return xerr_vm_failed_shutdown_acknowledgment(err, r->who);
    case HV_FAIL_SUSPEND_DEAF:
        return xerr_vm_failed_suspend_acknowledgment(err, r->who);
    case HV_FAIL_TIMEOUT:
        return map_timeout(r, err);
    case HV_FAIL_CANCELLED:
        return map_engine(r, "cancelled: ", err);
    case HV_FAIL_UNSUPPORTED:
        number = xasprintf("hv.%s.%s: %s", r->hv->driver->name, r->verb->name, r->f.why);
        return xerr_not_implemented(err, number);
    case HV_FAIL_UNREACHABLE:
        return map_engine(r, "the hypervisor is away: ", err);
    case HV_FAIL_ENGINE:
    case HV_FAIL_NONE:
        break;
    }
    return map_engine(r, "", err);
}

/* Closes a run with the driver's answer. */
static int run_end(const struct run *r, int rc, struct xerr *err)
{
    int64_t took_ms = hv_now_ms() - r->begun_ms;
    const char *sep = *r->device ? " " : "";

    assert(rc == 0 || r->f.kind != HV_FAIL_NONE);
    if (r->verb->looks && rc == 0 && took_ms < SLOW_MS)
        log_debug("%s %s %s: %jd ms", r->hv->driver->name, r->verb->name, r->uuid, (intmax_t)took_ms);
    else
        log_info("%s %s %s%s%s: %s, %jd ms", r->hv->driver->name, r->verb->name, r->uuid, sep, r->device,
                 rc == 0 ? "ok" : "failed", (intmax_t)took_ms);
    if (!r->verb->looks) (void)fault_step("hv.done");
    return rc == 0 ? 0 : map_failure(r, err);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int load_module(struct hv *hv, const char *name, const char *dir, struct xerr *err)
{
    _cleanup_free_ char *path = xasprintf("%s/hv_%s.so", dir, name);

    if (!*dir || access(path, R_OK) < 0)
        return xerr_internal(err, "hv: the %s driver is not installed (no %s)", name, path);
    hv->module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!hv->module) return xerr_internal(err, "hv: the %s driver cannot be loaded: %s", name, dlerror());
    hv->driver = dlsym(hv->module, "hv_driver");
    if (!hv->driver) return xerr_internal(err, "hv: %s is not a hypervisor driver", path);
    if (hv->driver->abi != HV_DRIVER_ABI)
        return xerr_internal(err, "hv: %s speaks version %u of the driver interface, this program %u", path,
                             hv->driver->abi, (unsigned)HV_DRIVER_ABI);
    return 0;
}

static int open_driver(struct hv *hv, const struct hv_config *config, hv_event_fn on_event, void *arg,
                       struct xerr *err) {
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    struct hv_open_args args = { config, on_event, arg };
    int64_t begun_ms = hv_now_ms();

    if (hv->driver->open(&args, &hv->d, &f) < 0)
        return xerr_internal(err, "hv: %s: %s", hv->driver->name, f.why);
    log_info("%s opened: %jd ms", hv->driver->name, (intmax_t)(hv_now_ms() - begun_ms));
    return 0;
}

static void ignore_event(void *arg, const struct hv_event *event)
{
    (void)arg;
    (void)event;
}

static const char *text(const char *s) { return s ? s : ""; }

/* Linux says what it may do under Xen; older ones only where xenfs is mounted. */
const char *hv_choose(void)
{
    _cleanup_free_ char *flags = NULL, *capabilities = NULL;
    bool xen = (read_file("/sys/hypervisor/start_flags/initdomain", 64, &flags, NULL) == 0 && *flags == '1') ||
               (read_file("/proc/xen/capabilities", 256, &capabilities, NULL) == 0 && strstr(capabilities, "control_d"));

    return xen ? "xen" : "libvirt";
}

int hv_open(const char *name, const struct hv_config *config, hv_event_fn on_event, void *arg,
            struct hv **ret_hv, struct xerr *err) {
    struct hv_config c = *config;
    _cleanup_free_ char *run = NULL, *sr_mount = NULL;
    struct hv *hv;

    c.root = text(c.root);
    if (hv_check_path("root", c.root, err) < 0) return -1;
    run = c.run && *c.run ? xstrdup(c.run) : xasprintf("%s/run", c.root);
    sr_mount = c.sr_mount && *c.sr_mount ? xstrdup(c.sr_mount) : xasprintf("%s/sr-mount", c.root);
    if (hv_check_path("run", run, err) < 0 || hv_check_path("sr-mount", sr_mount, err) < 0) return -1;
    c.run = run;
    c.sr_mount = sr_mount;
    c.module_dir = text(c.module_dir);
    c.emulator = text(c.emulator);
    c.uri = text(c.uri);
    c.qemu_user = text(c.qemu_user);

    hv = xcalloc(1, sizeof *hv);
    hv->magic = HV_MAGIC;
    ref_text(c.host, hv->host);
    if (streq(name, "sim")) {
        hv->driver = &hv_sim_driver;
    } else if (streq(name, "libvirt") || streq(name, "xen")) {
        if (load_module(hv, name, c.module_dir, err) < 0) goto fail;
    } else {
        xerr_internal(err, "hv: no driver is called '%s' (sim, libvirt, xen)", name);
        goto fail;
    }
    if (open_driver(hv, &c, on_event ? on_event : ignore_event, arg, err) < 0) goto fail;
    *ret_hv = hv;
    return 0;

fail:
    /* The module stays loaded: libvirt keeps threads and atexit handlers that would jump into unmapped code.
     */
    free(hv);
    return -1;
}

static void close_hv(struct hv *hv, bool end_engine)
{
    if (!hv) return;
    assert(hv->magic == HV_MAGIC);
    hv->driver->close(hv->d, end_engine);
    hv->magic = 0;
    free(hv);
}

void hv_close(struct hv *hv) { close_hv(hv, false); }
void hv_close_engine(struct hv *hv) { close_hv(hv, true); }

const char *hv_name(const struct hv *hv)
{
    assert(hv->magic == HV_MAGIC);
    return hv->driver->name;
}

/* Where the verb of each ability stands in the driver's table; what it is, and the messages that need it. */
static const struct {
    size_t at;
    enum verb verb;
    const char *what, *messages;
} abilities[] = {
#define NEEDS(member, verb) offsetof(struct hv_driver, member), verb
    [HV_CAN_CLEAN_SHUTDOWN] = { NEEDS(shutdown, VERB_SHUTDOWN), "asking a guest to power off",
        "VM.clean_shutdown" },
    [HV_CAN_CLEAN_REBOOT] = { NEEDS(reboot, VERB_REBOOT), "asking it to restart",
        "VM.clean_reboot" },
    [HV_CAN_RESET] = { NEEDS(reset, VERB_RESET), "the reset button",
        "VM.send_trigger" },
    [HV_CAN_PAUSE] = { NEEDS(pause, VERB_PAUSE), "pausing",
        "VM.pause, VM.unpause" },
    [HV_CAN_SUSPEND] = { NEEDS(suspend, VERB_SUSPEND), "its memory in an image",
        "VM.suspend, VM.resume, VM.checkpoint" },
    [HV_CAN_MIGRATE] = { NEEDS(migrate_send, VERB_MIGRATE_SEND), "moving it while it runs",
        "VM.pool_migrate, VM.migrate_send" },
    [HV_CAN_DISK_HOTPLUG] = { NEEDS(disk_attach, VERB_DISK_ATTACH), "disks while it runs",
        "VBD.plug, VBD.unplug" },
    [HV_CAN_CD_CHANGE] = { NEEDS(cd_change, VERB_CD_CHANGE), "another medium",
        "VBD.insert, VBD.eject" },
    [HV_CAN_DISK_SNAPSHOT] = { NEEDS(disk_snapshot, VERB_DISK_SNAPSHOT), "a snapshot of an image that it writes to",
        "VDI.snapshot, VM.snapshot" },
    [HV_CAN_DISK_REOPEN] = { NEEDS(disk_reopen, VERB_DISK_REOPEN), "the room of images that were merged under it comes back while it runs",
        "VDI.destroy" },
    [HV_CAN_DISK_MIRROR] = { NEEDS(disk_mirror, VERB_DISK_MIRROR), "moving a disk that it writes to",
        "VDI.pool_migrate" },
    [HV_CAN_DISK_RESIZE] = { NEEDS(disk_resize, VERB_DISK_RESIZE), "a disk that grows under it",
        "VDI.resize_online" },
    [HV_CAN_DISK_LIMIT] = { NEEDS(disk_limit, VERB_DISK_LIMIT), "limits of what it may read and write",
        "VBD.set_qos_algorithm_type (ratelimit)" },
    [HV_CAN_IO_PRIORITY] = { NEEDS(set_io_priority, VERB_IO_PRIORITY), "how urgent its disks are to the host",
        "VBD.set_qos_algorithm_type (ionice)" },
    [HV_CAN_NIC_HOTPLUG] = { NEEDS(nic_attach, VERB_NIC_ATTACH), "cards while it runs",
        "VIF.plug, VIF.unplug" },
    [HV_CAN_NIC_MOVE] = { NEEDS(nic_move, VERB_NIC_MOVE), "a card on another network while it runs (elsewhere the tap moves)",
        "VIF.move" },
    [HV_CAN_NIC_ADDRESS] = { NEEDS(nic_address, VERB_NIC_ADDRESS), "addresses that tools in the guest are to give its cards",
        "VIF.configure_ipv4, VIF.configure_ipv6" },
    [HV_CAN_MEMORY] = { NEEDS(set_memory_target, VERB_MEMORY), "the balloon",
        "VM.set_memory_dynamic_range" },
    [HV_CAN_VCPUS] = { NEEDS(set_vcpus, VERB_VCPUS), "processors while it runs",
        "VM.set_VCPUs_number_live" },
    [HV_CAN_VCPU_PARAMS] = { NEEDS(set_vcpu_params, VERB_VCPU_PARAMS), "their mask and shares while it runs (libvirt: the mask)",
        "VM.add_to_VCPUs_params_live" },
    [HV_CAN_SHADOW] = { NEEDS(set_shadow, VERB_SHADOW), "memory for its page tables while it runs",
        "VM.set_shadow_multiplier_live" },
    [HV_CAN_SYSRQ] = { NEEDS(send_sysrq, VERB_SYSRQ), "magic keys",
        "VM.send_sysrq" },
    [HV_CAN_TRIGGER] = { NEEDS(send_trigger, VERB_TRIGGER), "buttons",
        "VM.send_trigger" },
    [HV_CAN_NVRAM] = { NEEDS(get_nvram, VERB_NVRAM), "UEFI variables that are kept (elsewhere they are lost)",
        "VM.get_NVRAM, VM.set_uefi_mode" },
    [HV_CAN_TPM] = { NEEDS(get_tpm, VERB_CHECK_TPM), "a TPM, whose state is kept (libvirt: by swtpm)",
        "VTPM.create" },
    [HV_CAN_GUEST_INFO] = { NEEDS(get_guest_info, VERB_GUEST), "what it says of itself",
        "VM_guest_metrics" },
    [HV_CAN_GUEST_RUN] = { NEEDS(guest_run, VERB_GUEST_RUN), "scripts that its tools run (libvirt: QEMU's agent)",
        "VM.call_plugin" },
    [HV_CAN_GUEST_RDP] = { NEEDS(guest_rdp, VERB_GUEST_RDP), "remote desktop of a Windows guest on and off",
        "VM.call_plugin" },
    [HV_CAN_DMESG] = { NEEDS(dmesg, VERB_DMESG), "the engine's messages (elsewhere the kernel's)",
        "host.dmesg" },
    [HV_CAN_DEBUG_KEYS] = { NEEDS(send_debug_keys, VERB_DEBUG_KEYS), "the engine's debugging keys",
        "host.send_debug_keys" },
#undef NEEDS
};

static bool driver_can(const struct hv_driver *driver, enum hv_ability ability)
{
    void (*verb)(void);

    memcpy(&verb, (const char *)driver + abilities[ability].at, sizeof verb);
    return verb != NULL;
}

bool hv_can(const struct hv *hv, enum hv_ability ability)
{
    return driver_can(hv->driver, ability);
}

/* The module's, or NULL: it is not installed, cannot be loaded here, or is another version's. Modules stay loaded. */
static const struct hv_driver *look_at_module(const char *name, const char *dir)
{
    _cleanup_free_ char *path = xasprintf("%s/hv_%s.so", dir, name);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct hv_driver *driver = module ? dlsym(module, "hv_driver") : NULL;

    return driver && driver->abi == HV_DRIVER_ABI ? driver : NULL;
}

void hv_list_abilities(const char *module_dir, struct strbuf *out)
{
    const struct hv_driver *const drivers[] = { look_at_module("libvirt", module_dir), look_at_module("xen", module_dir), &hv_sim_driver };

    strbuf_str(out, "what\tmessages\tlibvirt\txen\tsim\n");
    for (size_t i = 0; i < ARRAY_SIZE(abilities); i++) {
        strbuf_printf(out, "%s\t%s", abilities[i].what, abilities[i].messages);
        for (size_t d = 0; d < ARRAY_SIZE(drivers); d++)
            strbuf_printf(out, "\t%s", !drivers[d] ? "?" : driver_can(drivers[d], (enum hv_ability)i) ? "yes" : "no");
        strbuf_char(out, '\n');
    }
}

void hv_list_lacks(const struct hv *hv, struct strbuf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(abilities); i++)
        if (!hv_can(hv, (enum hv_ability)i))
            strbuf_printf(out, "%shv.%s.%s", out->len ? " " : "", hv->driver->name, verbs[abilities[i].verb].name);
}

bool hv_plugs_nics(const struct hv *hv)
{
    assert(hv->magic == HV_MAGIC);
    return hv->driver->plugs_nics;
}

bool hv_moves_here(const struct hv *hv)
{
    assert(hv->magic == HV_MAGIC);
    return hv->driver->moves_here;
}

/* ---- power ----------------------------------------------------------------------------------- */

int hv_start(struct hv *hv, const struct hv_vm *vm, int64_t *ret_domid, struct xerr *err)
{
    struct run r;
    _cleanup_(hv_vm_checked_free) struct hv_vm_checked checked = { .disks = NULL };

    if (run_begin(&r, hv, VERB_START, hv->driver->start, vm->id, 0, err) < 0) return -1;
    if (hv_check_vm(vm, r.who, &checked, err) < 0) return -1;
    r.needed_bytes = checked.vm.memory_target_bytes;
    return run_end(&r, hv->driver->start(hv->d, &checked.vm, r.deadline_ms, ret_domid, &r.f), err);
}

int hv_destroy(struct hv *hv, struct hv_id id, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_DESTROY, hv->driver->destroy, id, 0, err) < 0) return -1;
    int rc = hv->driver->destroy(hv->d, r.uuid, r.deadline_ms, &r.f);
    if (rc < 0 && r.f.kind == HV_FAIL_NO_DOMAIN) rc = 0;
    return run_end(&r, rc, err);
}

typedef int (*simple_fn)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);

static int run_simple(struct hv *hv, enum verb verb, simple_fn fn, struct hv_id id, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, verb, fn, id, 0, err) < 0) return -1;
    return run_end(&r, fn(hv->d, r.uuid, r.deadline_ms, &r.f), err);
}

int hv_shutdown(struct hv *hv, struct hv_id id, struct xerr *err)
{
    return run_simple(hv, VERB_SHUTDOWN, hv->driver->shutdown, id, err);
}

int hv_reboot(struct hv *hv, struct hv_id id, struct xerr *err)
{
    return run_simple(hv, VERB_REBOOT, hv->driver->reboot, id, err);
}

int hv_reset(struct hv *hv, struct hv_id id, struct xerr *err)
{
    return run_simple(hv, VERB_RESET, hv->driver->reset, id, err);
}

int hv_pause(struct hv *hv, struct hv_id id, struct xerr *err)
{
    return run_simple(hv, VERB_PAUSE, hv->driver->pause, id, err);
}

int hv_unpause(struct hv *hv, struct hv_id id, struct xerr *err)
{
    return run_simple(hv, VERB_UNPAUSE, hv->driver->unpause, id, err);
}

int hv_abort(struct hv *hv, struct hv_id id, struct xerr *err)
{
    return run_simple(hv, VERB_ABORT, hv->driver->abort, id, err);
}

int hv_suspend(struct hv *hv, struct hv_id id, const char *image_path, int timeout_ms, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_SUSPEND, hv->driver->suspend, id, timeout_ms, err) < 0) return -1;
    if (hv_check_path("suspend image", image_path, err) < 0) return -1;
    return run_end(&r, hv->driver->suspend(hv->d, r.uuid, image_path, r.deadline_ms, &r.f), err);
}

int hv_resume(struct hv *hv, const struct hv_vm *vm, const char *image_path, int64_t *ret_domid,
              struct xerr *err) {
    struct run r;
    _cleanup_(hv_vm_checked_free) struct hv_vm_checked checked = { .disks = NULL };

    if (run_begin(&r, hv, VERB_RESUME, hv->driver->resume, vm->id, 0, err) < 0) return -1;
    if (hv_check_path("suspend image", image_path, err) < 0) return -1;
    if (hv_check_vm(vm, r.who, &checked, err) < 0) return -1;
    r.needed_bytes = checked.vm.memory_target_bytes;
    return run_end(&r, hv->driver->resume(hv->d, &checked.vm, image_path, r.deadline_ms, ret_domid, &r.f),
                   err);
}

int hv_check_image(struct hv *hv, struct hv_id id, const char *image_path, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_CHECK_IMAGE, hv->driver->check_image, id, 0, err) < 0) return -1;
    if (hv_check_path("suspend image", image_path, err) < 0) return -1;
    return run_end(&r, hv->driver->check_image(hv->d, r.uuid, image_path, &r.f), err);
}

int hv_migrate_send(struct hv *hv, struct hv_id id, int fd, bool live, int timeout_ms, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_MIGRATE_SEND, hv->driver->migrate_send, id, timeout_ms, err) < 0) return -1;
    return run_end(&r, hv->driver->migrate_send(hv->d, r.uuid, fd, live, r.deadline_ms, &r.f), err);
}

int hv_migrate_receive(struct hv *hv, const struct hv_vm *vm, int fd, int timeout_ms, int64_t *ret_domid, struct xerr *err)
{
    struct run r;
    _cleanup_(hv_vm_checked_free) struct hv_vm_checked checked = { .disks = NULL };

    if (run_begin(&r, hv, VERB_MIGRATE_RECEIVE, hv->driver->migrate_receive, vm->id, timeout_ms, err) < 0) return -1;
    if (hv_check_vm(vm, r.who, &checked, err) < 0) return -1;
    r.needed_bytes = checked.vm.memory_target_bytes;
    return run_end(&r, hv->driver->migrate_receive(hv->d, &checked.vm, fd, r.deadline_ms, ret_domid, &r.f), err);
}

/* ---- devices --------------------------------------------------------------------------------- */

typedef int (*disk_fn)(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                       struct hv_failure *f);
typedef int (*nic_fn)(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                      struct hv_failure *f);

static int run_disk(struct hv *hv, enum verb verb, disk_fn fn, struct hv_id id, const struct hv_disk *disk,
                    int timeout_ms, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, verb, fn, id, timeout_ms, err) < 0) return -1;
    run_device(&r, "VBD", disk->device, disk->ref);
    return run_end(&r, fn(hv->d, r.uuid, disk, r.deadline_ms, &r.f), err);
}

int hv_disk_attach(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err)
{
    struct hv_disk checked;

    if (hv_check_disk(disk, &checked, err) < 0) return -1;
    return run_disk(hv, VERB_DISK_ATTACH, hv->driver->disk_attach, id, &checked, 0, err);
}

int hv_disk_detach(struct hv *hv, struct hv_id id, const struct hv_disk *disk, int timeout_ms,
                   struct xerr *err) {
    struct hv_disk only = { .ref = disk->ref, .device = text(disk->device), .export_name = "", .serial = "" };

    if (hv_slot(only.device) < 0) return xerr_invalid_device(err, only.device);
    return run_disk(hv, VERB_DISK_DETACH, hv->driver->disk_detach, id, &only, timeout_ms, err);
}

int hv_cd_change(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err)
{
    struct hv_disk checked;

    if (!disk->cdrom) return xerr_vbd_not_removable_media(err, REF_STR(disk->ref));
    if (hv_check_disk(disk, &checked, err) < 0) return -1;
    return run_disk(hv, VERB_CD_CHANGE, hv->driver->cd_change, id, &checked, 0, err);
}

int hv_disk_snapshot(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err)
{
    struct hv_disk checked;

    if (hv_check_disk(disk, &checked, err) < 0) return -1;
    return run_disk(hv, VERB_DISK_SNAPSHOT, hv->driver->disk_snapshot, id, &checked, 0, err);
}

int hv_disk_reopen(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err)
{
    struct hv_disk checked;

    if (hv_check_disk(disk, &checked, err) < 0) return -1;
    return run_disk(hv, VERB_DISK_REOPEN, hv->driver->disk_reopen, id, &checked, 0, err);
}

int hv_disk_mirror(struct hv *hv, struct hv_id id, const struct hv_disk *disk, enum hv_mirror_step step,
                   struct hv_mirror *ret_mirror, struct xerr *err)
{
    struct run r;
    struct hv_disk checked;
    struct hv_mirror mirror = { .runs = false };

    if (hv_check_disk(disk, &checked, err) < 0) return -1;
    if (run_begin(&r, hv, VERB_DISK_MIRROR, hv->driver->disk_mirror, id, 0, err) < 0) return -1;
    run_device(&r, "VBD", checked.device, checked.ref);
    int rc = run_end(&r, hv->driver->disk_mirror(hv->d, r.uuid, &checked, step, &mirror, r.deadline_ms, &r.f), err);
    if (rc == 0 && ret_mirror) *ret_mirror = mirror;
    return rc;
}

int hv_disk_resize(struct hv *hv, struct hv_id id, const struct hv_disk *disk, int64_t size_bytes,
                   struct xerr *err) {
    struct run r;
    struct hv_disk checked;

    if (hv_check_disk(disk, &checked, err) < 0) return -1;
    if (size_bytes <= 0 || size_bytes % 512) {
        _cleanup_free_ char *size = xasprintf("%jd", (intmax_t)size_bytes);
        return xerr_invalid_value(err, "size", size);
    }
    if (run_begin(&r, hv, VERB_DISK_RESIZE, hv->driver->disk_resize, id, 0, err) < 0) return -1;
    run_device(&r, "VBD", checked.device, checked.ref);
    return run_end(&r, hv->driver->disk_resize(hv->d, r.uuid, &checked, size_bytes, r.deadline_ms, &r.f),
                   err);
}

int hv_disk_limit(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err)
{
    const struct hv_disk only = { .ref = disk->ref, .device = text(disk->device), .export_name = "", .serial = "",
                                  .limit_bytes = disk->limit_bytes, .limit_requests = disk->limit_requests };

    if (hv_slot(only.device) < 0) return xerr_invalid_device(err, only.device);
    return run_disk(hv, VERB_DISK_LIMIT, hv->driver->disk_limit, id, &only, 0, err);
}

int hv_set_io_priority(struct hv *hv, struct hv_id id, int priority, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_IO_PRIORITY, hv->driver->set_io_priority, id, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->set_io_priority(hv->d, r.uuid, priority, r.deadline_ms, &r.f), err);
}

static int run_nic(struct hv *hv, enum verb verb, nic_fn fn, struct hv_id id, const struct hv_nic *nic,
                   int timeout_ms, struct xerr *err) {
    struct run r;
    struct hv_nic checked;
    char device[HV_DEVICE_TEXT];

    if (hv_check_nic(nic, &checked, err) < 0) return -1;
    if (run_begin(&r, hv, verb, fn, id, timeout_ms, err) < 0) return -1;
    snprintf(device, sizeof device, "%u", checked.device);
    run_device(&r, "VIF", device, checked.ref);
    return run_end(&r, fn(hv->d, r.uuid, &checked, r.deadline_ms, &r.f), err);
}

int hv_nic_attach(struct hv *hv, struct hv_id id, const struct hv_nic *nic, struct xerr *err)
{
    return run_nic(hv, VERB_NIC_ATTACH, hv->driver->nic_attach, id, nic, 0, err);
}

int hv_nic_detach(struct hv *hv, struct hv_id id, const struct hv_nic *nic, int timeout_ms, struct xerr *err)
{
    return run_nic(hv, VERB_NIC_DETACH, hv->driver->nic_detach, id, nic, timeout_ms, err);
}

int hv_nic_move(struct hv *hv, struct hv_id id, const struct hv_nic *nic, struct xerr *err)
{
    return run_nic(hv, VERB_NIC_MOVE, hv->driver->nic_move, id, nic, 0, err);
}

int hv_nic_address(struct hv *hv, struct hv_id id, const struct hv_nic *nic, struct xerr *err)
{
    return run_nic(hv, VERB_NIC_ADDRESS, hv->driver->nic_address, id, nic, 0, err);
}

int hv_set_memory_target(struct hv *hv, struct hv_id id, int64_t target_bytes, struct xerr *err)
{
    struct run r;

    if (target_bytes <= 0) return xerr_memory_constraint_violation(err, "memory_target");
    if (run_begin(&r, hv, VERB_MEMORY, hv->driver->set_memory_target, id, 0, err) < 0) return -1;
    r.needed_bytes = target_bytes;
    return run_end(&r, hv->driver->set_memory_target(hv->d, r.uuid, target_bytes, r.deadline_ms, &r.f), err);
}

int hv_set_vcpus(struct hv *hv, struct hv_id id, unsigned vcpus, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_VCPUS, hv->driver->set_vcpus, id, 0, err) < 0) return -1;
    if (!vcpus) return xerr_vm_no_vcpus(err, r.who);
    return run_end(&r, hv->driver->set_vcpus(hv->d, r.uuid, vcpus, r.deadline_ms, &r.f), err);
}

int hv_set_vcpu_param(struct hv *hv, struct hv_id id, const char *key, const char *value, unsigned vcpus_max, struct xerr *err)
{
    struct hv_vcpu_params p = { .vcpus_max = vcpus_max };
    int64_t n = 0;
    struct run r;

    if (streq(key, "mask")) {
        p.mask = value;
    } else {
        const bool weight = streq(key, "weight");
        if (!(weight || streq(key, "cap")) || !num_parse_int(value, &n) || n < (weight ? 1 : 0) || n > 65535)
            return xerr_invalid_value(err, key, value);
        if (weight) p.weight = (unsigned)n;
        else p.cap = n ? (int)n : -1;
    }
    if (run_begin(&r, hv, VERB_VCPU_PARAMS, hv->driver->set_vcpu_params, id, 0, err) < 0) return -1;
    if (p.mask && (!*p.mask || p.mask[strspn(p.mask, "0123456789,-; ")])) return xerr_invalid_value(err, key, value);
    return run_end(&r, hv->driver->set_vcpu_params(hv->d, r.uuid, &p, r.deadline_ms, &r.f), err);
}

int hv_set_shadow(struct hv *hv, struct hv_id id, double multiplier, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_SHADOW, hv->driver->set_shadow, id, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->set_shadow(hv->d, r.uuid, multiplier, r.deadline_ms, &r.f), err);
}

int hv_send_sysrq(struct hv *hv, struct hv_id id, char key, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_SYSRQ, hv->driver->send_sysrq, id, 0, err) < 0) return -1;
    if (!((key >= 'a' && key <= 'z') || (key >= '0' && key <= '9')))
        return xerr_invalid_value(err, "key", (const char[]){ key, '\0' });
    return run_end(&r, hv->driver->send_sysrq(hv->d, r.uuid, key, r.deadline_ms, &r.f), err);
}

int hv_send_trigger(struct hv *hv, struct hv_id id, const char *trigger, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_TRIGGER, hv->driver->send_trigger, id, 0, err) < 0) return -1;
    if (!streq(trigger, "nmi") && !streq(trigger, "reset") && !streq(trigger, "power"))
        return xerr_invalid_value(err, "trigger", trigger);
    return run_end(&r, hv->driver->send_trigger(hv->d, r.uuid, trigger, r.deadline_ms, &r.f), err);
}

/* ---- looking --------------------------------------------------------------------------------- */

static const struct hv_id nobody;

int hv_list(struct hv *hv, struct arena *arena, const struct hv_domain **ret_domains, size_t *ret_n,
            struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_LIST, hv->driver->list, nobody, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->list(hv->d, arena, r.deadline_ms, ret_domains, ret_n, &r.f), err);
}

int hv_query(struct hv *hv, struct hv_id id, struct arena *arena, struct hv_domain *ret_domain,
             struct xerr *err) {
    struct run r;

    if (run_begin(&r, hv, VERB_QUERY, hv->driver->query, id, 0, err) < 0) return -1;
    int rc = hv->driver->query(hv->d, r.uuid, arena, r.deadline_ms, ret_domain, &r.f);
    if (rc < 0 && r.f.kind == HV_FAIL_NO_DOMAIN) {
        *ret_domain = (struct hv_domain){ .uuid = arena_strdup(arena, r.uuid), .name = "", .domid = -1,
                                          .state = HV_STATE_NONE, .vnc_socket = "", .console_socket = "",
                                          .console_log = "" };
        rc = 0;
    }
    return run_end(&r, rc, err);
}

int hv_get_stats(struct hv *hv, struct arena *arena, const struct hv_stats **ret_stats, size_t *ret_n,
                 struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_STATS, hv->driver->get_stats, nobody, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->get_stats(hv->d, arena, r.deadline_ms, ret_stats, ret_n, &r.f), err);
}

int hv_get_host(struct hv *hv, struct arena *arena, struct hv_host *ret_host, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_HOST, hv->driver->get_host, nobody, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->get_host(hv->d, arena, r.deadline_ms, ret_host, &r.f), err);
}

int hv_dmesg(struct hv *hv, bool clear, struct arena *arena, const char **ret_text, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_DMESG, hv->driver->dmesg, nobody, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->dmesg(hv->d, clear, arena, r.deadline_ms, ret_text, &r.f), err);
}

int hv_send_debug_keys(struct hv *hv, const char *keys, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_DEBUG_KEYS, hv->driver->send_debug_keys, nobody, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->send_debug_keys(hv->d, keys, r.deadline_ms, &r.f), err);
}

int hv_get_guest_info(struct hv *hv, struct hv_id id, struct arena *arena, struct hv_guest_info *ret_info,
                      struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_GUEST, hv->driver->get_guest_info, id, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->get_guest_info(hv->d, r.uuid, arena, r.deadline_ms, ret_info, &r.f), err);
}

int hv_guest_run(struct hv *hv, struct hv_id id, const char *script, int timeout_ms, bool (*stop)(void *arg), void *arg,
                 struct arena *arena, struct hv_ran *ret_ran, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_GUEST_RUN, hv->driver->guest_run, id, timeout_ms, err) < 0) return -1;
    return run_end(&r, hv->driver->guest_run(hv->d, r.uuid, script, stop, arg, arena, r.deadline_ms, ret_ran, &r.f), err);
}

int hv_guest_rdp(struct hv *hv, struct hv_id id, bool on, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_GUEST_RDP, hv->driver->guest_rdp, id, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->guest_rdp(hv->d, r.uuid, on, r.deadline_ms, &r.f), err);
}

int hv_get_nvram(struct hv *hv, struct hv_id id, struct arena *arena, const void **ret_bytes, size_t *ret_len, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_NVRAM, hv->driver->get_nvram, id, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->get_nvram(hv->d, r.uuid, arena, r.deadline_ms, ret_bytes, ret_len, &r.f), err);
}

int hv_check_tpm(struct hv *hv, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_CHECK_TPM, hv->driver->check_tpm, nobody, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->check_tpm(hv->d, &r.f), err);
}

int hv_get_tpm(struct hv *hv, struct hv_id id, struct arena *arena, const void **ret_bytes, size_t *ret_len, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_TPM, hv->driver->get_tpm, id, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->get_tpm(hv->d, r.uuid, arena, r.deadline_ms, ret_bytes, ret_len, &r.f), err);
}

int hv_console_open(struct hv *hv, struct hv_id id, enum hv_console which, int *ret_fd, struct xerr *err)
{
    struct run r;

    if (run_begin(&r, hv, VERB_CONSOLE, hv->driver->console_open, id, 0, err) < 0) return -1;
    return run_end(&r, hv->driver->console_open(hv->d, r.uuid, which, r.deadline_ms, ret_fd, &r.f), err);
}

/* The last bytes of a file; a missing file is an empty text. */
static int read_tail(const char *path, size_t max_bytes, struct arena *arena, const char **ret_text,
                     struct hv_failure *f)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    *ret_text = "";
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0 || fstat(fd, &st) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return hv_fail(f, HV_FAIL_ENGINE, "%s: not a regular file", path);
    off_t from = st.st_size > (off_t)max_bytes ? st.st_size - (off_t)max_bytes : 0;
    size_t want = (size_t)(st.st_size - from), got = 0;
    char *buf = arena_alloc(arena, want + 1);
    while (got < want) {
        ssize_t n = pread(fd, buf + got, want - got, from + (off_t)got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
        if (n == 0) break;
        got += (size_t)n;
    }
    for (size_t i = 0; i < got; i++)      /* it is returned as text */
        if (!buf[i]) buf[i] = ' ';
    buf[got] = '\0';
    *ret_text = buf;
    return 0;
}

int hv_console_tail(struct hv *hv, struct hv_id id, size_t max_bytes, struct arena *arena,
                    const char **ret_text, struct xerr *err) {
    struct run r;
    const char *path;

    if (run_begin(&r, hv, VERB_TAIL, hv->driver->console_log, id, 0, err) < 0) return -1;
    if (max_bytes > 1 << 20) max_bytes = 1 << 20;
    int rc = hv->driver->console_log(hv->d, r.uuid, arena, &path, &r.f);
    if (rc == 0) rc = read_tail(path, max_bytes, arena, ret_text, &r.f);
    return run_end(&r, rc, err);
}
