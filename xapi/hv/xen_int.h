/* The Xen driver's inside: its object, its guests, and what its files offer each other.
 * Called by: xen*.c.  Calls: libxenctrl, xen_store, xen_layout.
 *
 * A guest is one struct xn_guest, from before its domain exists until after the last trace of it is gone. Verbs take
 * turns on it (xn_turn): what a turn's holder reads and writes of the guest's devices needs no lock. Everything that a
 * guest needs after a restart of the agent is in its record, a file below `dir`; the record is written before the
 * domain is made and removed after it is gone, so that whatever a killed agent leaves is found and repaired. */
#ifndef XAPI_HV_XEN_INT_H
#define XAPI_HV_XEN_INT_H

#include <pthread.h>
#include <xenctrl.h>

#include "lib/subproc.h"
#include "xapi/hv/xen_layout.h"

enum {
    XN_MAX_IDLE_STORES = 8,
    XN_MAX_BUILDERS = 4,
    XN_MAX_CPUS = 4096,          /* physical */
    XN_PATIENCE_MS = 30000,      /* xenstored's silence that we bear; a starving dom0's takes over ten seconds for an answer */
    XN_STORE_MS = 120000,        /* for requests, answered one by one, that belong to no verb with a deadline of its own */
    XN_LET_GO_MS = 15000,        /* a backend's time to release what it holds when its guest is gone */
};

/* ---- guests ---- */

enum xn_kind {
    XN_PHY,                      /* blkback on a block device, or a loop device on a raw file */
    XN_QDISK,                    /* a QEMU serves it */
    XN_EMULATED,                 /* only a drive of the device model: an HVM guest's CD */
    XN_NO_MEDIUM,                /* an empty drive of a guest without device model: nothing of it exists */
};
struct xn_disk {
    unsigned slot, devid;
    enum xn_kind kind;
    bool cdrom, readonly;
    char *path;                  /* owned; NULL = empty */
    unsigned major, minor;       /* XN_PHY */
    unsigned generation;         /* how many images QEMU has put on top of the first: names its block node */
};
struct xn_address { bool fixed; char address[HV_ADDRESS_TEXT], gateway[HV_ADDRESS_TEXT]; };
struct xn_nic {
    unsigned device, mtu;
    char mac[18], bridge[16];
    int64_t rate_kbytes;
    bool emulated;               /* a tap of the device model besides */
    struct xn_address ipv4, ipv6;   /* for tools in the guest */
};

enum xn_phase {
    XN_MAKING,                   /* a start is under way, or was when the agent died */
    XN_THERE,
    XN_ENDING,                   /* gone or going; nobody sees it any more */
};

struct xn_guest {
    struct xn_guest *next;       /* lock: xn->lock, as all that is not said to be the turn's */
    unsigned refs;
    char uuid[UUID_TEXT];        /* only xn_guest_succeed() changes it */
    bool busy;                   /* somebody has the turn */
    enum xn_phase phase;
    int64_t domid;               /* -1 = none yet; set once */
    bool crashed;                /* told */
    bool has_ender;              /* a thread is about to clean up after it */
    bool suspending;             /* its shutdown is hv_suspend's business */
    bool cancel;                 /* hv_abort: the suspend that runs is to end */
    bool destroy_wanted;         /* hv_destroy waits for the turn: whoever has it hurries */
    bool sending;                /* it goes to another domain, maybe of this host */
    int64_t watched_bytes;       /* memory as last told; -1 = not being watched */
    bool agent;                  /* its drivers or tools have spoken */

    /* the turn's, and immutable while nobody has it */
    char vm[UUID_TEXT];          /* the VM: uuid, unless another domain of it has that name (migration on one host) */
    char run_name[UUID_TEXT];    /* names its QEMU's sockets: its uuid when it was made */
    bool streaming;              /* a save is under way, or was when the agent died */
    int64_t stopped_ms;          /* when it was last asked to stand still for a save */
    bool dirty_log;              /* its QEMU logs the pages that it writes to */
    char *name;
    enum hv_domain_type type;
    int64_t start_time;
    int64_t static_max_bytes, dynamic_min_bytes, dynamic_max_bytes, target_bytes, video_bytes;
    unsigned vcpus_max, vcpus;
    bool stop_on_reboot;
    bool uefi;                   /* its firmware keeps variables */
    bool screen;                 /* a PV or PVH guest with a framebuffer, a keyboard and a pointer, which QEMU serves */
    uint64_t store_frame, console_frame;
    unsigned store_port, console_port;
    struct xn_disk *disks;
    size_t n_disks;
    struct xn_nic *nics;
    size_t n_nics;
    struct hv_pair *data;        /* VM.xenstore_data, for a xenstored that lost it; owned */
    size_t n_data;
    pid_t qemu_pid;              /* of the device model or disk backend; 0 = none */
    uint64_t qemu_start;
};

/* ---- the driver ---- */

struct xn_builder;
struct xn_consoles;

struct xn {
    char *dir, *run;             /* immutable from here ... */
    char *console_dir, *guest_dir, *boot_dir, *nvram_dir;
    char *helper;                /* xapi-domain */
    char *hvmloader;             /* path; "" = not installed */
    char *emulator;              /* of the configuration; "" = look for one */
    char *store_path;
    struct hv_plug plug;
    hv_event_fn on_event;
    void *arg;
    xc_interface *xch;
    xentoollog_logger *logger;
    pthread_t watcher;           /* ... to here */
    struct xn_consoles *consoles;

    pthread_mutex_t emit_lock;   /* one event at a time */
    bool closed;                 /* lock: emit_lock; no event any more */

    pthread_mutex_t lock;        /* all below; held for memory only */
    pthread_cond_t changed;      /* CLOCK_MONOTONIC */
    struct xn_guest *guests;
    struct xst *stores[XN_MAX_IDLE_STORES];
    size_t n_stores;
    struct xn_builder *builders[XN_MAX_BUILDERS];
    size_t n_builders;           /* idle ones */
    unsigned n_building;         /* with those at work */
    uint64_t busy_ns[XN_MAX_CPUS];   /* of physical processors, as last told */
    unsigned n_enders;           /* threads that clean up after guests */
    bool kernel_deaf;            /* xenstored was lost: see xen_lost.c */
    bool stopping;
    int wake_fd;                 /* eventfd: the watcher has something to look at */
};

/* xen.c */
void xn_emit(struct xn *xn, const struct hv_event *event);
/* Under xn->lock: waits for xn->changed, until then at most. False, without waiting, when the time is over. */
bool xn_wait_until(struct xn *xn, int64_t deadline_ms);
/* A connection to xenstored that nobody else has; -1 with UNREACHABLE or TIMEOUT. */
int xn_store(struct xn *xn, int64_t deadline_ms, struct xst **ret_store, struct hv_failure *f);
/* Gives it back; a broken one, or one with watches, is closed. */
void xn_store_done(struct xn *xn, struct xst *store, bool watched);
/* Runs one batch on a connection of its own. */
int xn_store_run(struct xn *xn, struct xst_batch *b, int64_t deadline_ms, struct hv_failure *f);
/* errno of libxc's call as a failure; -1. ESRCH is NO_DOMAIN. */
int xn_fail_xc(const char *function, struct hv_failure *f);
/* A fault point that a test armed; -1 with the failure, else 0. */
int xn_fault(const char *point, struct hv_failure *f);

/* xen_guest.c: the table of guests and their records. */
struct xn_guest *xn_guest_ref(struct xn *xn, const char *uuid);                /* NULL = no such guest */
struct xn_guest *xn_guest_new(const struct hv_vm *vm);     /* with one reference */
/* Into the table, with a reference of its own. False, *ret_domid set, when there is one of that uuid. */
bool xn_guest_add(struct xn *xn, struct xn_guest *g, int64_t *ret_domid);
void xn_guest_unref(struct xn *xn, struct xn_guest *g);
/* Out of the table; the caller's reference stays. */
void xn_guest_drop(struct xn *xn, struct xn_guest *g);
/* The guest with its turn taken; NULL with NO_DOMAIN or TIMEOUT. Ends with xn_turn_end(). */
struct xn_guest *xn_turn(struct xn *xn, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
void xn_turn_end(struct xn *xn, struct xn_guest *g);
/* xn_turn() for a guest that must run (or, with paused_too, may be paused). */
struct xn_guest *xn_turn_running(struct xn *xn, const char *uuid, bool paused_too, int64_t deadline_ms,
                                 struct hv_failure *f);
int xn_record_write(struct xn *xn, const struct xn_guest *g, struct hv_failure *f);
/* `g`, made under a name of its own, takes the place of the guest that is its VM's so far (may be NULL: it is gone), which
 * goes on under another name until it is cleared away. Both turns are the caller's side's. Whatever instant the agent is
 * killed at, exactly one of the two is the VM afterwards. */
int xn_guest_succeed(struct xn *xn, struct xn_guest *g, struct xn_guest *old, struct hv_failure *f);
void xn_record_remove(struct xn *xn, const char *uuid);
/* Reads every record into the table. */
int xn_record_load(struct xn *xn, struct hv_failure *f);
struct xn_disk *xn_disk_find(const struct xn_guest *g, unsigned slot);
struct xn_disk *xn_disk_add(struct xn_guest *g, const struct xn_disk *disk);   /* takes disk->path */
void xn_disk_remove(struct xn_guest *g, struct xn_disk *disk);
struct xn_nic *xn_nic_find(const struct xn_guest *g, unsigned device);
struct xn_nic *xn_nic_add(struct xn_guest *g, const struct xn_nic *nic);
void xn_nic_remove(struct xn_guest *g, struct xn_nic *nic);

/* xen_info.c */
/* One domain; false, with errno 0, when it is gone or belongs to another guest by now; with errno when the hypervisor does not say. */
bool xn_dominfo(struct xn *xn, const struct xn_guest *g, xc_domaininfo_t *ret_info);
/* Every domain but the first; malloc'd. -1 with errno. */
int xn_dominfo_all(struct xn *xn, xc_domaininfo_t **ret_infos, size_t *ret_n);
enum hv_state xn_state(const xc_domaininfo_t *info);
unsigned xn_shutdown_code(const xc_domaininfo_t *info);
int64_t xn_free_bytes(struct xn *xn);
int xn_list(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_domain **ret_domains,
            size_t *ret_n, struct hv_failure *f);
int xn_query(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, struct hv_domain *ret_domain,
             struct hv_failure *f);
int xn_get_host(void *d, struct arena *arena, int64_t deadline_ms, struct hv_host *ret_host, struct hv_failure *f);
int xn_dmesg(void *d, bool clear, struct arena *arena, int64_t deadline_ms, const char **ret_text, struct hv_failure *f);
int xn_send_debug_keys(void *d, const char *keys, int64_t deadline_ms, struct hv_failure *f);
/* xen_stats.c */
int xn_get_stats(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_stats **ret_stats,
                 size_t *ret_n, struct hv_failure *f);
int xn_get_guest_info(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
                      struct hv_guest_info *ret_info, struct hv_failure *f);

/* xen_create.c */
/* Makes a domain up to its last step: it could run. in: where its memory comes from; NULL = it is built anew. The turn is
 * the caller's. On failure nothing is left. */
struct xn_incoming;
int xn_make(struct xn *xn, const struct hv_vm *vm, struct xn_incoming *in, int64_t deadline_ms, struct xn_guest **ret_g,
            struct hv_failure *f);
/* The last step: written down, told, unpaused. A failure leaves the domain to be cleared away. */
int xn_go(struct xn *xn, struct xn_guest *g, bool start_paused, struct hv_failure *f);
int xn_start(void *d, const struct hv_vm *vm, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f);
/* The most that the domain may hold: so many bytes of its VM's (with its framebuffer), and what its kind has besides. */
int xn_limit_memory(struct xn *xn, const struct xn_guest *g, int64_t bytes, struct hv_failure *f);
/* xen_build.c: memory, kernel and ramdisk by an xapi-domain; fills in the guest's frames. */
struct domain_build;
struct domain_built;
int xn_build_begin(struct xn *xn, const struct domain_build *q, int64_t deadline_ms, struct xn_builder **ret_b,
                   struct hv_failure *f);
int xn_build_end(struct xn *xn, struct xn_builder *b, int64_t deadline_ms, struct domain_built *ret_r, struct hv_failure *f);
void xn_builders_close(struct xn *xn);
/* An xapi-domain in this role; stream_fd (-1 = none) is its DOMAIN_STREAM_FD, *ret_fd its other end of DOMAIN_FD. */
int xn_helper_start(const struct xn *xn, const char *role, int stream_fd, struct subproc *ret_child, int *ret_fd,
                    struct hv_failure *f);

/* xen_stream.c: an xapi-domain at work on one stream. */
struct domain_event;
struct xn_stream {
    struct subproc child;
    int fd;                      /* -1 = none */
    int peer_fd;                 /* of a guest that is sent: where the other side says that it gives up; -1 = nobody does */
};
int xn_stream_begin(struct xn *xn, const char *role, int stream_fd, struct xn_stream *ret_s, struct hv_failure *f);
int xn_stream_send(struct xn_stream *s, const void *message, size_t n, struct hv_failure *f);
/* The next event. TIMEOUT; ENGINE (it died, or the other side gives up); CANCELLED when g (may be NULL) is to be destroyed or its suspend
 * aborted. */
int xn_stream_next(struct xn *xn, const struct xn_guest *g, struct xn_stream *s, int64_t deadline_ms, struct domain_event *ret_e,
                   struct hv_failure *f);
/* Ends the process if it runs. */
void xn_stream_end(struct xn_stream *s);
/* The guest's description for the head of a stream; malloc'd. */
char *xn_head_text(struct xn *xn, const struct xn_guest *g);
/* What the guest wrote into xenstore, as STREAM_NODES has it, in less than max bytes; malloc'd. "{}" when it cannot be read. */
char *xn_nodes_read(struct xn *xn, const struct xn_guest *g, size_t max);
/* Writes them for a new domain. */
int xn_nodes_write(struct xn *xn, const struct xn_guest *g, const char *text, int64_t deadline_ms, struct hv_failure *f);

/* A guest that comes from a stream. */
struct xn_incoming {
    struct xn_stream stream;
    struct hv_vm vm;             /* what the caller wishes, with what the stream's head decides */
    int64_t video_bytes;
    int64_t held_bytes;          /* it may hold more than its target for a while */
    char uuid[UUID_TEXT];        /* its name here until it takes its VM's over; "" = its VM's from the beginning */
    bool devices;                /* a device model's state lies beside its sockets */
    char *nodes;
};
/* Reads the head. *ret_in's vm borrows from vm. */
int xn_incoming_begin(struct xn *xn, const struct hv_vm *vm, int fd, int64_t deadline_ms, struct xn_incoming *ret_in,
                      struct hv_failure *f);
/* Fills the domain, which exists and has its ports; sets the guest's frames. */
int xn_incoming_fill(struct xn *xn, struct xn_incoming *in, struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f);
void xn_incoming_end(struct xn_incoming *in);

/* xen_suspend.c */
/* Writes the guest through fd; the turn is the caller's. file: an image on disk; else a stream to another domain. After
 * success the guest is shut down for good, until xn_resume_in_place() or its end; after a failure it runs on. */
int xn_save(struct xn *xn, struct xn_guest *g, int fd, bool file, bool live, int64_t deadline_ms, struct hv_failure *f);
/* A guest that was shut down for a suspend goes on where it was. */
int xn_resume_in_place(struct xn *xn, struct xn_guest *g);
/* What a killed agent's saves left: those guests go on. */
void xn_recover_streams(struct xn *xn);
int xn_suspend(void *d, const char *uuid, const char *image, int64_t deadline_ms, struct hv_failure *f);
int xn_resume(void *d, const struct hv_vm *vm, const char *image, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f);
int xn_check_image(void *d, const char *uuid, const char *image, struct hv_failure *f);
int xn_abort(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
/* xen_migrate.c */
/* Something can be read at a sender's end that is no sign of success. */
bool xn_has_given_up(int fd);
int xn_migrate_send(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f);
int xn_migrate_receive(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f);

/* xen_power.c */
/* Writes a request that the guest takes by emptying the node; store is the caller's and gets a watch. GUEST_DEAF;
 * CANCELLED when the guest is to be destroyed or its suspend aborted. */
int xn_ask_guest(struct xn *xn, struct xst *store, const struct xn_guest *g, const char *request, int64_t deadline_ms,
                 struct hv_failure *f);
/* Somebody wants the turn so badly that its holder should give up. */
bool xn_hurry(struct xn *xn, const struct xn_guest *g);
int xn_destroy(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int xn_shutdown(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int xn_reboot(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int xn_reset(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int xn_pause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int xn_unpause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int xn_set_memory_target(void *d, const char *uuid, int64_t bytes, int64_t deadline_ms, struct hv_failure *f);
int xn_set_vcpus(void *d, const char *uuid, unsigned vcpus, int64_t deadline_ms, struct hv_failure *f);
int xn_set_vcpu_params(void *d, const char *uuid, const struct hv_vcpu_params *params, int64_t deadline_ms, struct hv_failure *f);
int xn_set_shadow(void *d, const char *uuid, double multiplier, int64_t deadline_ms, struct hv_failure *f);
/* xen_sched.c; mask is not NULL for the first, the second leaves it alone. */
int xn_set_affinity(struct xn *xn, const struct xn_guest *g, const struct hv_vcpu_params *params, struct hv_failure *f);
int xn_set_shares(struct xn *xn, const struct xn_guest *g, const struct hv_vcpu_params *params, struct hv_failure *f);
/* Where the machine has several memory nodes: the one with the most free memory of those that have so much of it and so many
 * processors becomes the domain's, by its soft affinity, which its memory follows. When there is none it stays where Xen puts it. Before
 * the domain has memory. */
int xn_place(struct xn *xn, const struct xn_guest *g, int64_t bytes, unsigned vcpus, struct hv_failure *f);
/* What a guest with so many vcpus and so much memory gets for its page tables. */
int64_t xn_paging_bytes(unsigned vcpus, int64_t memory_bytes, double multiplier);
int xn_send_sysrq(void *d, const char *uuid, char key, int64_t deadline_ms, struct hv_failure *f);
int xn_guest_rdp(void *d, const char *uuid, bool on, int64_t deadline_ms, struct hv_failure *f);
int xn_send_trigger(void *d, const char *uuid, const char *trigger, int64_t deadline_ms, struct hv_failure *f);
/* Ends a domain and removes every trace of it, whatever of it there is. The caller has the turn; afterwards the guest
 * is out of the table and its record gone. Never fails: what cannot be removed is logged. */
void xn_clear_away(struct xn *xn, struct xn_guest *g, int64_t deadline_ms);

/* xen_device.c */
/* Fills in what the guest's disk is to be; opens a loop device when it needs one (*ret_fd keeps it, -1 = none). */
int xn_disk_prepare(struct xn *xn, const struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *ret_disk,
                    int *ret_fd, struct hv_failure *f);
void xn_disk_layout(struct xst_batch *b, int64_t domid, const struct xn_disk *disk);
void xn_nic_layout(struct xst_batch *b, int64_t domid, const struct xn_nic *nic);
/* What tools in the guest are to give it, for a batch. */
void xn_nic_address_layout(struct xst_batch *b, int64_t domid, const struct xn_nic *nic);
/* Takes the addresses of nic alone. */
void xn_nic_readdress(struct xn_nic *n, const struct hv_nic *nic);
void xn_nic_prepare(const struct xn_guest *g, const struct hv_nic *nic, struct xn_nic *ret_nic);
/* Waits until dom0's kernel has taken up the disk. */
int xn_disk_await(struct xn *xn, const struct xn_guest *g, const struct xn_disk *disk, int64_t deadline_ms,
                  struct hv_failure *f);
/* Waits for the card's interface, puts it on its bridge and lets the backend connect. */
int xn_nic_connect(struct xn *xn, const struct xn_guest *g, const struct xn_nic *nic, int64_t deadline_ms,
                   struct hv_failure *f);
int xn_backend_await_gone(enum xn_class class, int64_t domid, unsigned devid, int64_t deadline_ms, struct hv_failure *f);
/* For a domain that is gone: all its backends let go, then their nodes vanish. */
void xn_devices_clear(struct xn *xn, struct xn_guest *g, int64_t deadline_ms);
/* xen_hotplug.c */
int xn_disk_attach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
int xn_disk_detach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
int xn_cd_change(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
int xn_set_io_priority(void *d, const char *uuid, int priority, int64_t deadline_ms, struct hv_failure *f);
int xn_disk_resize(void *d, const char *uuid, const struct hv_disk *disk, int64_t size_bytes, int64_t deadline_ms,
                   struct hv_failure *f);
int xn_nic_attach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f);
/* xen_nvram.c.  Before the domain is destroyed; it is paused, and stays so. */
void xn_nvram_take(struct xn *xn, const struct xn_guest *g);
/* Into a domain that has its memory and has never run. */
int xn_nvram_put(struct xn *xn, const struct xn_guest *g, const struct hv_vm *vm, struct hv_failure *f);
int xn_get_nvram(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                 struct hv_failure *f);
/* Files of guests that ended long ago. */
void xn_nvram_trim(struct xn *xn);
/* xen_script.c */
int xn_guest_run(void *d, const char *uuid, const char *script, bool (*stop)(void *arg), void *arg, struct arena *arena,
                 int64_t deadline_ms, struct hv_ran *ret_ran, struct hv_failure *f);
int xn_nic_address(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f);
int xn_nic_move(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f);
int xn_nic_detach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f);
/* xen_loop.c: a loop device on a raw file, which ends by itself when nobody has it open. */
int xn_loop_open(const char *path, bool readonly, unsigned *ret_major, unsigned *ret_minor, int *ret_fd,
                 struct hv_failure *f);

/* xen_qemu.c: the QEMU of a guest, as device model (HVM), as backend of disks that blkback cannot serve, or both. */
/* Names the emulator to run; NULL, and the failure, when none is installed. malloc'd. */
char *xn_qemu_find(const struct xn *xn, struct hv_failure *f);
/* Does it need one? */
bool xn_qemu_needed(const struct xn_guest *g);
/* Starts it; the guest's disks and cards are as prepared from vm. incoming: it goes on from the state in the file
 * xn_qemu_state(), which is removed. */
int xn_qemu_start(struct xn *xn, struct xn_guest *g, const struct hv_vm *vm, bool incoming, struct hv_failure *f);
/* The file for a device model's state on its way; malloc'd. */
char *xn_qemu_state(const struct xn *xn, const struct xn_guest *g);
/* The guest stands still: so does its QEMU, which writes the state to that file and lets go of its images (hand_over) or
 * keeps them. A backend without device model has no state and writes no file. */
int xn_qemu_save(struct xn *xn, const struct xn_guest *g, bool hand_over, int64_t deadline_ms, struct hv_failure *f);
/* After xn_qemu_save(): it goes on. */
int xn_qemu_continue(struct xn *xn, const struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f);
/* It tells the hypervisor which pages it writes to, or not any more. It must not be told so twice: it would abort. */
int xn_qemu_dirty_log(struct xn *xn, struct xn_guest *g, bool on, int64_t deadline_ms, struct hv_failure *f);
/* Waits until it serves. */
int xn_qemu_await(struct xn *xn, const struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f);
bool xn_qemu_alive(const struct xn_guest *g);
/* Ends it, also one that a killed agent had no time to write down; its sockets vanish. */
void xn_qemu_end(struct xn *xn, struct xn_guest *g);
int xn_qemu_disk_attach(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *d,
                        int64_t deadline_ms, struct hv_failure *f);
int xn_qemu_disk_detach(struct xn *xn, struct xn_guest *g, const struct xn_disk *d, int64_t deadline_ms,
                        struct hv_failure *f);
int xn_qemu_cd_change(struct xn *xn, struct xn_guest *g, const struct hv_disk *disk, struct xn_disk *d,
                      int64_t deadline_ms, struct hv_failure *f);
int xn_qemu_disk_resize(struct xn *xn, struct xn_guest *g, const struct xn_disk *d, int64_t size_bytes,
                        int64_t deadline_ms, struct hv_failure *f);
int xn_disk_snapshot(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
int xn_disk_reopen(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);

/* xen_watch.c */
int xn_watch_start(struct xn *xn, struct hv_failure *f);
void xn_watch_stop(struct xn *xn);
void xn_watch_wake(struct xn *xn);
/* Looks for domains that have ended and cleans up after them, in this thread. */
void xn_look_for_ended(struct xn *xn);

/* xen_lost.c */
/* There is a connection to xenstored, the first or a new one: what it does not know (any more) it is told. */
void xn_store_found(struct xn *xn, struct xst *store);
/* Does dom0's kernel hear nothing of xenstore any more? */
bool xn_kernel_is_deaf(struct xn *xn);
/* -1 with INCOMPATIBLE when it is deaf: it makes no new device. */
int xn_devices_possible(struct xn *xn, struct hv_failure *f);
/* Takes a device from its driver in dom0's kernel, which lets go of everything. For a domain that is gone. */
void xn_backend_force(enum xn_class class, int64_t domid, unsigned devid);

/* xen_console.c */
int xn_consoles_start(struct xn *xn, struct hv_failure *f);
void xn_consoles_stop(struct xn *xn);
/* The guest's console is to be followed (or not any more). */
void xn_console_follow(struct xn *xn, const char *uuid, int64_t domid);
void xn_console_forget(struct xn *xn, const char *uuid);
int xn_console_open(void *d, const char *uuid, enum hv_console which, int64_t deadline_ms, int *ret_fd,
                    struct hv_failure *f);
int xn_console_log(void *d, const char *uuid, struct arena *arena, const char **ret_path, struct hv_failure *f);

#endif
