/* The hypervisor: real or simulated guests behind one interface. The class files see nothing else of them.
 * Called by: class files (xapi/vm*.c, host.c), startup, rrd, consoles.  Calls: the guard hv.c, a driver.
 *
 * A driver is a const vtable (hv_driver.h): "sim" is built in, "libvirt" and "xen" are modules loaded by
 * hv_open(). The guard checks every argument, logs every call with its duration, and turns a driver's failure
 * into a XenAPI error in one place. All verbs may be called from any thread and block (the schema marks their
 * messages so); none holds a lock while the hypervisor works. Two verbs on one guest at a time are the
 * operations gate's business; what slips through (destroy while a shutdown runs) is safe.
 *
 * Guests are named by uuid and outlive this process. Sizes are bytes, times are milliseconds.
 *
 * Common errors of every verb, not repeated below:
 *   NOT_IMPLEMENTED ["hv.<driver>.<verb>"]           the driver has no such operation
 *   VM_BAD_POWER_STATE [vm, expected, actual]        no such guest ("halted"), or in the wrong state
 *   INTERNAL_ERROR ["<driver> <verb> <uuid>: why"]   the hypervisor failed, is away or passed its deadline */
#ifndef XAPI_HV_HV_H
#define XAPI_HV_HV_H

#include "lib/arena.h"
#include "lib/ref.h"
#include "lib/strbuf.h"
#include "lib/xerr.h"

struct hv;

/* ---- what a guest is ------------------------------------------------------------------------- */

/* Who is meant: uuid finds the guest, vm is what errors name (REF_NULL: the uuid is named instead). */
struct hv_id {
    const char *uuid;
    struct ref vm;
};
static inline struct hv_id hv_id(const char *uuid, struct ref vm) { return (struct hv_id){ uuid, vm }; }

enum hv_domain_type { HV_DOMAIN_HVM, HV_DOMAIN_PV, HV_DOMAIN_PV_IN_PVH, HV_DOMAIN_PVH };

enum hv_firmware { HV_FIRMWARE_BIOS, HV_FIRMWARE_UEFI };

enum hv_source {
    HV_SOURCE_EMPTY,     /* a CD drive without medium */
    HV_SOURCE_FILE,      /* path: a regular file */
    HV_SOURCE_BLOCK,     /* path: a block device */
    HV_SOURCE_NBD,       /* path: a unix socket, export: the export's name */
};
enum hv_format { HV_FORMAT_RAW, HV_FORMAT_QCOW2 };

struct hv_disk {
    struct ref ref;          /* the VBD: what errors name */
    const char *device;      /* VBD.device or its number: "xvda", "hdc", "sdb", "0": slot 0..255 */
    enum hv_source source;
    enum hv_format format;
    const char *path;        /* absolute; NULL when empty */
    const char *export_name; /* HV_SOURCE_NBD only */
    const char *serial;      /* shown to the guest (VDI uuid), NULL = none */
    bool cdrom, readonly, bootable;
    int64_t limit_bytes, limit_requests; /* a second, reads and writes together; 0 = none */
};

/* What tools in a guest are to give a card. */
struct hv_nic_address {
    bool fixed;              /* false: the guest does as it likes */
    const char *address;     /* "10.0.0.2/24"; when fixed */
    const char *gateway;     /* NULL or "" = none */
};

struct hv_nic {
    struct ref ref;          /* the VIF */
    unsigned device;         /* VIF.device: 0.. */
    const char *mac;         /* "aa:bb:cc:dd:ee:ff" */
    const char *tap;         /* interface made by net/; NULL or "" = a link that leads nowhere */
    const char *bridge;      /* for drivers that plug the bridge themselves (xen); NULL = none */
    unsigned mtu;            /* 0 = default */
    int64_t rate_kbytes;     /* for drivers that plug: limit of what the guest sends, KiB/s; 0 = none */
    const char *model;       /* "virtio", "e1000", "rtl8139"; NULL = by platform */
    struct hv_nic_address ipv4, ipv6;
};

/* A pair of platform, bios_strings or xenstore_data. */
struct hv_pair { const char *key, *value; };

/* Everything a driver needs to make a guest. Borrowed for the call; NULL text = "". */
struct hv_vm {
    struct hv_id id;
    const char *name;                        /* name_label: shown by the engine's own tools */
    enum hv_domain_type domain_type;

    int64_t memory_static_max_bytes;         /* what the guest can ever have */
    int64_t memory_dynamic_max_bytes, memory_dynamic_min_bytes;
    int64_t memory_target_bytes;             /* the balloon at start; min <= target <= static max */

    unsigned vcpus_max, vcpus_at_startup;
    unsigned vcpu_weight;                    /* 0 = default (256) */
    unsigned vcpu_cap;                       /* per cent of one CPU, 0 = none */
    const char *vcpu_mask; /* "0,1,3": physical CPUs, NULL or "" = all; ";" separates vcpus */
    bool on_one_node;                        /* without a mask: memory and processors of one memory node, if one has room for all */
    unsigned cores_per_socket;               /* 0 = 1 */
    double shadow_multiplier;                /* of the memory for page tables; below 1 = 1 */

    const char *kernel, *ramdisk, *args;     /* direct boot when kernel is set */
    bool kernel_is_guests;                   /* they are copies off its own disk: of no use for any other start */
    enum hv_firmware firmware;
    const void *nvram;                       /* UEFI variables as hv_get_nvram() gave them; NULL = the firmware's own */
    size_t nvram_len;
    bool vendor_device;                      /* the PCI device for which Windows fetches the vendor's drivers; Xen alone has it */
    bool has_tpm;
    const void *tpm;                         /* its TPM's lasting state as hv_get_tpm() gave it; NULL = a new one */
    size_t tpm_len;
    const char *boot_order;                  /* of "c" disk, "d" CD, "n" network; NULL = "cd" */

    const char *features;                    /* words of processor features that it sees, "hex-hex-..."; NULL or "" = not known */
    bool fewer_features;                     /* than its kind has by default */
    const struct hv_pair *platform; /* nx acpi apic pae hpet viridian vga videoram device_id nic_type ... */
    size_t n_platform;
    const struct hv_pair *bios_strings;
    size_t n_bios_strings;
    const struct hv_pair *xenstore_data;
    size_t n_xenstore_data;

    const struct hv_disk *disks;
    size_t n_disks;
    const struct hv_nic *nics;
    size_t n_nics;

    bool start_paused;
    bool stop_on_reboot;                     /* actions_after_reboot = destroy: a reboot ends the domain */
};

/* ---- what a guest does ----------------------------------------------------------------------- */

enum hv_state {
    HV_STATE_NONE,           /* there is no such domain */
    HV_STATE_RUNNING,
    HV_STATE_PAUSED,
    HV_STATE_SHUTDOWN,       /* powering off, the domain is still there */
    HV_STATE_CRASHED,        /* dead but kept for inspection; destroy it */
};

struct hv_domain {
    const char *uuid, *name;
    int64_t domid;
    enum hv_state state;
    int64_t start_time;              /* seconds since 1970; 0 = not known */
    enum hv_domain_type domain_type;
    int64_t memory_actual_bytes;     /* what it holds now */
    int64_t memory_target_bytes;
    unsigned vcpus;                  /* online now */
    uint64_t cpu_time_ns;            /* all vcpus together */
    const char *vnc_socket;          /* "" = none */
    const char *console_socket;      /* text, both ways; "" = none */
    const char *console_log;         /* everything the text console ever wrote; "" = none */
    bool agent;                      /* a guest agent answers (clean operations are likely to work) */
};

struct hv_disk_stats {
    const char *device;              /* as hv_disk.device's canonical name: "xvda" */
    uint64_t read_bytes, read_requests, read_ns, write_bytes, write_requests, write_ns, inflight;
};
struct hv_nic_stats {
    unsigned device;
    /* rx: what the guest received */
    uint64_t rx_bytes, rx_packets, rx_errors, rx_drops, tx_bytes, tx_packets, tx_errors, tx_drops;
};
struct hv_stats {
    const char *uuid;
    int64_t domid;
    enum hv_state state;
    unsigned n_vcpus;
    const uint64_t *vcpu_time_ns;    /* n_vcpus entries */
    int64_t memory_actual_bytes, memory_target_bytes;
    int64_t memory_free_bytes;       /* free inside the guest, -1 = the guest does not say */
    size_t n_disks, n_nics;
    const struct hv_disk_stats *disks;
    const struct hv_nic_stats *nics;
};

struct hv_host {
    const char *hypervisor, *version;        /* "QEMU" "7.2.18", "Xen" "4.17.3", "simulator" "1" */
    const char *accel;                       /* "kvm", "tcg", "xen", "sim" */
    const char *const *capabilities;         /* as host.capabilities: "hvm-3.0-x86_64"; NULL-terminated */
    unsigned cpu_count, sockets, cores_per_socket, threads_per_core, nodes;
    int64_t cpu_mhz;
    const char *cpu_vendor, *cpu_model_name, *cpu_flags;
    unsigned cpu_family, cpu_model, cpu_stepping;
    /* Feature words as masks of the reference have them, "hex-hex-...": what processors can, and what the most capable guest
     * sees. "" or NULL = not known. */
    const char *features, *features_pv, *features_hvm;
    size_t n_busy;                           /* physical CPUs that the engine knows better than the kernel; 0 = none */
    const uint64_t *cpu_busy_ns;             /* never goes back */
    int64_t memory_total_bytes, memory_free_bytes;
    int64_t memory_overhead_bytes;           /* of the hypervisor itself, for every guest: rough */
    bool hvm, pv, pvh, iommu, nested;
    bool places;                             /* minds hv_vm.on_one_node */
};

struct hv_guest_nic {
    const char *name, *mac;
    int device;                              /* VIF.device; -1 = to be found by its MAC */
    const char *const *addresses;            /* NULL-terminated, "1.2.3.4" */
};
struct hv_guest_info {
    bool agent;                              /* false: nothing below is known ("" and 0) */
    const char *os_id, *os_name, *os_version, *os_kernel, *hostname, *timezone;
    size_t n_nics;
    const struct hv_guest_nic *nics;

    /* For drivers whose guests speak XenServer's own language: keys as in VM_guest_metrics' maps. */
    const struct hv_pair *os, *drivers, *other;
    size_t n_os, n_drivers, n_other;
    bool drivers_seen;                       /* paravirtual drivers are at work */
    enum hv_says { HV_SAYS_NOTHING, HV_SAYS_NO, HV_SAYS_YES } hotplug_vbd, hotplug_vif;
};

/* ---- events ---------------------------------------------------------------------------------- */

enum hv_event_kind {
    HV_EVENT_STARTED,            /* a domain began to exist (also by resume) */
    HV_EVENT_PAUSED,
    HV_EVENT_RESUMED,            /* runs again after a pause */
    HV_EVENT_SHUTTING_DOWN,      /* the guest is powering off; STOPPED follows */
    HV_EVENT_STOPPED,            /* the domain is gone: see reason */
    HV_EVENT_REBOOTED,           /* the guest restarted inside its domain; domid and devices stay */
    HV_EVENT_CRASHED,            /* the guest crashed; the domain stays until hv_destroy */
    HV_EVENT_DEVICE_ADDED,
    HV_EVENT_DEVICE_REMOVED,     /* device: "xvda" or "vif0"; the guest let it go */
    HV_EVENT_MEMORY,             /* the balloon moved: memory_bytes */
    HV_EVENT_AGENT,              /* the guest agent appeared, went or has news: hv_get_guest_info() */
    HV_EVENT_DRIVER_LOST,        /* uuid "": the engine went away; guests run on, verbs fail until ... */
    HV_EVENT_DRIVER_REGAINED,    /* ... now. Events were missed: compare hv_list() with the database */
};
enum hv_stop_reason {
    HV_STOP_POWEROFF,  /* the guest powered itself off */
    HV_STOP_REBOOT,    /* the guest rebooted and this engine wants it started anew (or stop_on_reboot) */
    HV_STOP_CRASH,     /* the guest or its process died */
    HV_STOP_DESTROYED, /* by hv_destroy or by hand */
    HV_STOP_SUSPENDED, /* by hv_suspend */
    HV_STOP_MIGRATED,  /* by hv_migrate_send: it runs elsewhere */
};
struct hv_event {
    enum hv_event_kind kind;
    const char *uuid;            /* "" for the driver's own */
    int64_t domid;
    enum hv_stop_reason reason;  /* STOPPED */
    const char *device;          /* DEVICE_*: else "" */
    int64_t memory_bytes;        /* MEMORY */
    bool no_space;               /* PAUSED: where a disk's image lies there was no room for what the guest wrote */
    bool agent;                  /* AGENT */
};
/* Called on a thread of the driver, one at a time, in order per guest. Everything is borrowed. It must be
 * quick and must not call hv_*: it puts the event on a queue. An event may arrive before the verb that caused
 * it returns. */
typedef void (*hv_event_fn)(void *arg, const struct hv_event *event);

/* ---- life ------------------------------------------------------------------------------------ */

enum hv_accel { HV_ACCEL_AUTO, HV_ACCEL_KVM, HV_ACCEL_TCG };

/* An interface that the engine made for a guest's card (Xen: "vif3.0"), or a tap that it wants besides ("vif3.0-emu"). */
struct hv_plugged {
    const char *interface, *bridge;  /* bridge "": on none */
    const char *mac;                 /* the card's, as it was given */
    unsigned mtu;                    /* 0 = default */
    bool tap;                        /* make the tap first */
};
/* How a driver that plugs cards itself reaches the host's network. NULL functions: nothing is plugged anywhere. */
struct hv_plug {
    int (*plug)(void *arg, const struct hv_plugged *what, struct xerr *err);
    void (*drop_tap)(void *arg, const char *interface);
    void *arg;
};

/* Borrowed for hv_open(); NULL text = "". */
struct hv_config {
    const char *root;            /* the daemon's state directory: absolute; ours is root/hv */
    const char *run;             /* for sockets and pids: absolute, short; "" = root/run */
    const char *module_dir;      /* where hv_<name>.so lies */
    const char *emulator;        /* "" = the engine's default */
    enum hv_accel accel;         /* AUTO: KVM when a bounded self-test passes, else emulation */
    const char *uri;             /* libvirt: "" = a private libvirtd, started or adopted; xen: xenstored's socket, "" = its usual place */
    const char *qemu_user;       /* libvirt: user QEMU runs as; "" = libvirt-qemu when it exists, else root */
    const char *sr_mount;        /* where SR mounts appear (made a shared mount); "" = root/sr-mount */
    struct ref host;             /* this host, for errors that name it */
    struct hv_plug plug;         /* lives as long as the driver */
};

/* The driver for this machine: "xen" in the control domain of Xen, else "libvirt". */
const char *hv_choose(void);
/* Opens the driver "sim", "libvirt" or "xen" and adopts the guests that run. on_event may be called before
 * this returns. Errors: INTERNAL_ERROR naming what is missing (module, program, user, directory). Blocks: a
 * first libvirtd takes seconds (capability probe). */
int hv_open(const char *name, const struct hv_config *config, hv_event_fn on_event, void *arg,
            struct hv **ret_hv, struct xerr *err);
/* Detaches: guests and the private engine stay. After it returns no event comes. NULL is fine. No verb may
 * run. */
void hv_close(struct hv *hv);
/* As hv_close(), but ends the private engine too when no guest of it is left (quickstart --stop, tests). */
void hv_close_engine(struct hv *hv);
/* "sim", "libvirt", "xen". */
const char *hv_name(const struct hv *hv);
/* What a driver may lack. Its verbs answer NOT_IMPLEMENTED then. */
enum hv_ability {
    HV_CAN_CLEAN_SHUTDOWN, HV_CAN_CLEAN_REBOOT, HV_CAN_RESET, HV_CAN_PAUSE, HV_CAN_SUSPEND, HV_CAN_MIGRATE,
    HV_CAN_DISK_HOTPLUG, HV_CAN_CD_CHANGE, HV_CAN_DISK_SNAPSHOT, HV_CAN_DISK_REOPEN, HV_CAN_DISK_MIRROR, HV_CAN_DISK_RESIZE,
    HV_CAN_DISK_LIMIT, HV_CAN_IO_PRIORITY,
    HV_CAN_NIC_HOTPLUG, HV_CAN_NIC_MOVE, HV_CAN_NIC_ADDRESS,
    HV_CAN_MEMORY, HV_CAN_VCPUS, HV_CAN_VCPU_PARAMS, HV_CAN_SHADOW,
    HV_CAN_SYSRQ, HV_CAN_TRIGGER, HV_CAN_NVRAM, HV_CAN_TPM, HV_CAN_GUEST_INFO, HV_CAN_GUEST_RUN, HV_CAN_GUEST_RDP,
    HV_CAN_DMESG, HV_CAN_DEBUG_KEYS,
};
bool hv_can(const struct hv *hv, enum hv_ability ability);
/* A line for each: what it is, the messages that need it, and yes, no or ? (not here) of each driver; tabs between, a head line. */
void hv_list_abilities(const char *module_dir, struct strbuf *out);
/* The verbs that this driver lacks, as NOT_IMPLEMENTED names them: "hv.libvirt.migrate-send", with blanks between. */
void hv_list_lacks(const struct hv *hv, struct strbuf *out);
/* The engine makes the cards' interfaces itself and puts them on hv_nic.bridge: taps are not wanted. */
bool hv_plugs_nics(const struct hv *hv);
/* A guest can move to a new domain of this very host. */
bool hv_moves_here(const struct hv *hv);

/* ---- power ----------------------------------------------------------------------------------- */

/* Makes and starts (or leaves paused) a guest. On failure nothing of it is left.
 * Errors: DOMAIN_EXISTS [vm, domid]; HOST_NOT_ENOUGH_FREE_MEMORY [needed, available]; VM_NO_VCPUS [vm];
 * VM_TOO_MANY_VCPUS [vm]; MEMORY_CONSTRAINT_VIOLATION [constraint]; INVALID_DEVICE [device]; MAC_INVALID
 * [mac]; DEVICE_ALREADY_EXISTS [device]; VM_INCOMPATIBLE_WITH_THIS_HOST [vm, host, reason];
 * DOMAIN_BUILDER_ERROR [function, code, message]. */
int hv_start(struct hv *hv, const struct hv_vm *vm, int64_t *ret_domid, struct xerr *err);
/* Ends the domain now. No such domain is success (a desired state, as kill is). */
int hv_destroy(struct hv *hv, struct hv_id id, struct xerr *err);
/* Asks the guest to power off (agent, else ACPI) and returns at once; STOPPED follows if it obeys.
 * Errors: VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT [vm] when the guest cannot be asked. */
int hv_shutdown(struct hv *hv, struct hv_id id, struct xerr *err);
/* Asks the guest to restart and returns at once; REBOOTED (or STOPPED/REBOOT) follows. Errors as hv_shutdown.
 */
int hv_reboot(struct hv *hv, struct hv_id id, struct xerr *err);
/* Pulls the reset line; REBOOTED follows. */
int hv_reset(struct hv *hv, struct hv_id id, struct xerr *err);
/* Pausing a paused guest and unpausing a running one are VM_BAD_POWER_STATE. */
int hv_pause(struct hv *hv, struct hv_id id, struct xerr *err);
int hv_unpause(struct hv *hv, struct hv_id id, struct xerr *err);
/* Writes the guest's memory and devices to image_path (a file in an existing directory, or a block device)
 * and ends the domain. On failure the guest runs on and a file made here is removed. timeout_ms 0 = 20
 * minutes. Errors: VM_SUSPEND_TIMEOUT [vm, seconds]; VM_FAILED_SUSPEND_ACKNOWLEDGMENT [vm];
 * VM_NON_SUSPENDABLE [vm, reason]. */
int hv_suspend(struct hv *hv, struct hv_id id, const char *image_path, int timeout_ms, struct xerr *err);
/* Makes the guest anew from an image of hv_suspend(). vm describes disks and nics as they are now (paths and
 * taps may have changed since). The image stays. Errors as hv_start, SUSPEND_IMAGE_NOT_ACCESSIBLE [path]. */
int hv_resume(struct hv *hv, const struct hv_vm *vm, const char *image_path, int64_t *ret_domid,
              struct xerr *err);
/* Is this a whole image of this guest, as hv_suspend() leaves it? Errors: SUSPEND_IMAGE_NOT_ACCESSIBLE [why]: it is not, or
 * cannot be read. */
int hv_check_image(struct hv *hv, struct hv_id id, const char *image_path, struct xerr *err);
/* Ends a suspend that runs in another thread: it fails with VM_SUSPEND_TIMEOUT-like INTERNAL_ERROR "...
 * cancelled". */
int hv_abort(struct hv *hv, struct hv_id id, struct xerr *err);

/* Migration: one side sends a running guest through a connected stream socket, the other makes it anew from there; both
 * talk, so a byte must arrive in either direction. Disks are not copied: the receiver's vm describes them as they are
 * there, and they may be the same ones. On success the guest runs at the receiver and its domain here is gone; on failure
 * it runs on here and nothing is left there, whatever happened to either agent or the connection in between. (From the
 * moment when the sender lets go the guest is never woken up here again: a connection that breaks then may leave it
 * nowhere, but never in two places.) One driver may be both sides at once where hv_moves_here(): the guest moves to a new domain.
 *
 * live: it runs on while most of its memory is sent. timeout_ms 0 = two hours. fd stays the caller's.
 * Errors: INTERNAL_ERROR; VM_INCOMPATIBLE_WITH_THIS_HOST [vm, host, reason]: it cannot move while it runs;
 * VM_FAILED_SUSPEND_ACKNOWLEDGMENT [vm]. */
int hv_migrate_send(struct hv *hv, struct hv_id id, int fd, bool live, int timeout_ms, struct xerr *err);
/* Errors as hv_start. */
int hv_migrate_receive(struct hv *hv, const struct hv_vm *vm, int fd, int timeout_ms, int64_t *ret_domid, struct xerr *err);

/* ---- devices of a running guest -------------------------------------------------------------- */

/* Errors: DEVICE_ALREADY_ATTACHED [device]; INVALID_DEVICE [device]; VM_PCI_BUS_FULL [vm];
 * DEVICE_ATTACH_TIMEOUT [type, ref]. */
int hv_disk_attach(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err);
/* Asks the guest to let the disk go and waits. disk: ref and device are read. timeout_ms 0 = 30 s.
 * Errors: DEVICE_ALREADY_DETACHED [device]; DEVICE_DETACH_REJECTED [type, ref, why]; DEVICE_DETACH_TIMEOUT
 * [type, ref]. */
int hv_disk_detach(struct hv *hv, struct hv_id id, const struct hv_disk *disk, int timeout_ms,
                   struct xerr *err);
/* Puts the medium that disk describes into its CD drive; HV_SOURCE_EMPTY ejects. Errors:
 * VBD_NOT_REMOVABLE_MEDIA [vbd]; VBD_TRAY_LOCKED [vbd]. */
int hv_cd_change(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err);
/* The guest goes on writing in another image: disk's path is a new, empty qcow2 image on what the guest has
 * open now (it may have the same name as that had). What was open becomes read-only for the guest. On failure
 * nothing changed. Errors: DEVICE_ALREADY_DETACHED [device]. */
int hv_disk_snapshot(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err);
/* What the guest's image (disk's path) stands on was merged: its engine opens that anew, and lets go of what it had open there.
 * Nothing may change the disk meanwhile. Errors: DEVICE_ALREADY_DETACHED [device]. */
int hv_disk_reopen(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err);
/* A running guest's disk moves to another image while it is written to: everything is copied, and what is written
 * meanwhile goes to both; once they are alike the guest goes on in the new one alone. disk: the new image, as large as the
 * old one; the same for every step. Steps come back soon. Errors of each: DEVICE_ALREADY_DETACHED [device].
 * START begins; LOOK fills ret_mirror (also NULL); FINISH, once ready, lets the guest go on in the new image; CANCEL ends it
 * with the guest in the old one, and is fine when nothing runs. */
enum hv_mirror_step { HV_MIRROR_START, HV_MIRROR_LOOK, HV_MIRROR_FINISH, HV_MIRROR_CANCEL };
struct hv_mirror {
    bool runs;               /* false: there is none, or it has failed or ended */
    bool moved;              /* the guest is in the new image alone */
    bool ready;
    double fraction;         /* of the first copy */
};
int hv_disk_mirror(struct hv *hv, struct hv_id id, const struct hv_disk *disk, enum hv_mirror_step step,
                   struct hv_mirror *ret_mirror, struct xerr *err);
/* Tells a running guest that its disk has grown. The image has that size already or is grown by the engine.
 */
int hv_disk_resize(struct hv *hv, struct hv_id id, const struct hv_disk *disk, int64_t size_bytes,
                   struct xerr *err);
/* A disk's limits from now on: ref, device and limits are read. Errors: DEVICE_ALREADY_DETACHED [device]. */
int hv_disk_limit(struct hv *hv, struct hv_id id, const struct hv_disk *disk, struct xerr *err);
/* How urgent the requests of the process are that serves the guest's disks: lib/ioprio.h; 0 = nothing special. */
int hv_set_io_priority(struct hv *hv, struct hv_id id, int priority, struct xerr *err);
int hv_nic_attach(struct hv *hv, struct hv_id id, const struct hv_nic *nic, struct xerr *err);
/* The card's other end moves to nic's bridge; the guest sees nothing. Only where hv_plugs_nics(). Errors:
 * DEVICE_ALREADY_DETACHED [device]. */
int hv_nic_move(struct hv *hv, struct hv_id id, const struct hv_nic *nic, struct xerr *err);
/* nic: ref, device, mac and addresses: what the guest's tools are to do from now on. Errors: DEVICE_ALREADY_DETACHED [device]. */
int hv_nic_address(struct hv *hv, struct hv_id id, const struct hv_nic *nic, struct xerr *err);
/* nic: ref, device and mac are read. */
int hv_nic_detach(struct hv *hv, struct hv_id id, const struct hv_nic *nic, int timeout_ms, struct xerr *err);

/* Sets the balloon's target and returns; the guest follows in its own time (HV_EVENT_MEMORY). */
int hv_set_memory_target(struct hv *hv, struct hv_id id, int64_t target_bytes, struct xerr *err);
/* Vcpus online now: 1..vcpus_max. */
int hv_set_vcpus(struct hv *hv, struct hv_id id, unsigned vcpus, struct xerr *err);
/* How its vcpus share the host's processors from now on, as hv_vm has it at a start: key "weight" (1..65535), "cap" (per cent of
 * one CPU, 0 = none) or "mask" (vcpus_max: as it was started). INVALID_VALUE [key, value]. */
int hv_set_vcpu_param(struct hv *hv, struct hv_id id, const char *key, const char *value, unsigned vcpus_max, struct xerr *err);
/* Memory for its page tables, as hv_vm.shadow_multiplier has it: 1.0 and more. */
int hv_set_shadow(struct hv *hv, struct hv_id id, double multiplier, struct xerr *err);
/* key: 'a'..'z', '0'..'9'. */
int hv_send_sysrq(struct hv *hv, struct hv_id id, char key, struct xerr *err);
/* trigger: "nmi", "reset", "power" (button). INVALID_VALUE ["trigger", trigger]. */
int hv_send_trigger(struct hv *hv, struct hv_id id, const char *trigger, struct xerr *err);

/* ---- looking --------------------------------------------------------------------------------- */

/* Every domain there is, from `arena`. */
int hv_list(struct hv *hv, struct arena *arena, const struct hv_domain **ret_domains, size_t *ret_n,
            struct xerr *err);
/* One domain. No such domain is success with HV_STATE_NONE. */
int hv_query(struct hv *hv, struct hv_id id, struct arena *arena, struct hv_domain *ret_domain,
             struct xerr *err);
/* Counters of every domain, for the metrics. */
int hv_get_stats(struct hv *hv, struct arena *arena, const struct hv_stats **ret_stats, size_t *ret_n,
                 struct xerr *err);
int hv_get_host(struct hv *hv, struct arena *arena, struct hv_host *ret_host, struct xerr *err);
/* The engine's own messages, oldest first; clear: they are gone afterwards. NOT_IMPLEMENTED where the kernel is the engine. */
int hv_dmesg(struct hv *hv, bool clear, struct arena *arena, const char **ret_text, struct xerr *err);
/* Keys of the engine's debugging console: printable ASCII. */
int hv_send_debug_keys(struct hv *hv, const char *keys, struct xerr *err);
/* What the guest says of itself. Bounded to a few seconds. */
int hv_get_guest_info(struct hv *hv, struct hv_id id, struct arena *arena, struct hv_guest_info *ret_info,
                      struct xerr *err);

/* A script that has ended: its exit code (128 + n: signal n ended it) and what it wrote, as valid UTF-8. */
struct hv_ran {
    int64_t code;
    const char *out, *err;
};
/* Has the guest's agent run a script (POSIX shell) as its own user, its administrator, and waits for its end. timeout_ms 0 = 10
 * minutes. stop(arg) true: nobody waits any more, the script runs on. Errors: XENAPI_PLUGIN_FAILURE ["failed to execute fn", why,
 * why]: no agent, or one that runs nothing; ["timed out", "", text]; INTERNAL_ERROR "... cancelled". */
int hv_guest_run(struct hv *hv, struct hv_id id, const char *script, int timeout_ms, bool (*stop)(void *arg), void *arg,
                 struct arena *arena, struct hv_ran *ret_ran, struct xerr *err);
/* Asks a Windows guest with XenServer's tools to let people in by remote desktop from now on, or to lock them out. */
int hv_guest_rdp(struct hv *hv, struct hv_id id, bool on, struct xerr *err);

/* The UEFI variables of a guest that runs or ran here, as its firmware left them; *ret_len 0 = none. At most 4 MiB. */
int hv_get_nvram(struct hv *hv, struct hv_id id, struct arena *arena, const void **ret_bytes, size_t *ret_len, struct xerr *err);

/* Whether guests can have a TPM here and now. NOT_IMPLEMENTED ["hv.DRIVER.check-tpm: what is missing"]. */
int hv_check_tpm(struct hv *hv, struct xerr *err);
/* What a guest's TPM keeps while it is switched off, of one that runs or ran here; *ret_len 0 = none. At most 4 MiB. */
int hv_get_tpm(struct hv *hv, struct hv_id id, struct arena *arena, const void **ret_bytes, size_t *ret_len, struct xerr *err);

enum hv_console { HV_CONSOLE_VNC, HV_CONSOLE_TEXT };
/* A connected stream socket to the guest's screen (RFB, security type none) or text console. The text console
 * has one reader at a time: a second connection waits until the first closes. Close-on-exec, blocking; the
 * caller owns it. */
int hv_console_open(struct hv *hv, struct hv_id id, enum hv_console which, int *ret_fd, struct xerr *err);
/* The last bytes (at most max_bytes) that the text console wrote, also after the domain ended. */
int hv_console_tail(struct hv *hv, struct hv_id id, size_t max_bytes, struct arena *arena,
                    const char **ret_text, struct xerr *err);

#endif
