/* The libvirt driver's inside: its object, jobs, and what its files offer each other.
 * Called by: libvirt*.c.  Calls: libvirt, libxml2, libvirt_daemon. */
#ifndef XAPI_HV_LIBVIRT_INT_H
#define XAPI_HV_LIBVIRT_INT_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>

#include "xapi/hv/libvirt_daemon.h"

enum { LV_MAX_NICS = 64, LV_MAX_STUCK = 32, LV_MAX_IDLE = 8, LV_RETRY_MAX_MS = 10000, LV_WAIT_UP_MS = 8000 };

/* What we remember of a guest: things libvirt's events and counters do not say. */
struct lv_guest {
    char uuid[UUID_TEXT];
    int64_t domid;
    bool described;                     /* the rest is filled in, from the domain's XML */
    bool agent;
    bool saving;                        /* hv_suspend() or a move runs: its pausing is nobody's business */
    bool sending, cancel, left;         /* it is on its way to another host; it is to stay; it runs there now */
    int64_t rebooted_ms;                /* when it last did */
    int64_t start_time, target_bytes;
    enum hv_domain_type domain_type;
    size_t n_nics;
    unsigned nics[LV_MAX_NICS];         /* VIF.device by libvirt's order */
};

/* A detach that waits for the guest to let go. */
enum lv_wait { LV_WAITING, LV_REMOVED, LV_REFUSED };

struct lv_waiter {
    struct lv_waiter *next;
    char uuid[UUID_TEXT];
    char alias[24];
    enum lv_wait state;
};

/* The connection that events come by, and what was registered on it: each registration holds a reference, so
 * that closing alone would leave the connection open. */
struct lv_link {
    virConnectPtr conn;
    struct lv *told_when_closed;       /* a reference, while the callback is registered */
    size_t n_events;
    int events[8];
};

struct lv {
    unsigned refs;                      /* atomic: the owner and every job that still runs */
    char *console_dir, *socket_dir, *move_dir; /* immutable from here ... */
    char *emulator, *uri;
    bool private;                       /* a libvirtd of our own */
    enum hv_accel accel;                /* what guests get: KVM or TCG */
    hv_event_fn on_event;
    void *arg;
    pthread_t supervisor;               /* ... to here */
    struct lv_daemon daemon;            /* of the supervisor (and of open and close, while it does not run) */

    pthread_mutex_t emit_lock;          /* one event at a time */
    pthread_mutex_t lock;               /* all below; held for memory only */
    pthread_cond_t changed;             /* CLOCK_MONOTONIC */
    struct lv_link *link;               /* NULL = away; closed by the supervisor alone */
    unsigned generation;                /* of the link: raised by every new one */
    size_t n_idle;                      /* connections for calls, of this generation */
    virConnectPtr idle[LV_MAX_IDLE];
    bool lost, stopping, closed;        /* closed: no event any more */
    bool end_engine, is_idle;           /* at the end: shall libvirtd end, and has it no guest? */
    bool is_test;                       /* libvirt's own test driver */
    unsigned n_stuck;                   /* jobs that nobody waits for any more */
    struct lv_guest *guests;
    size_t n_guests, cap_guests;
    struct lv_waiter *waiters;
};

/* ---- jobs (libvirt_job.c): every call to libvirt runs on a thread of its own and is left there at the
 * deadline ---- */

struct lv_job {
    struct lv *lv;                      /* referenced */
    virConnectPtr conn;                 /* the job's alone while it runs; NULL for a bare one */
    unsigned generation;                /* of the link when it was taken */
    bool bare;                          /* needs no connection */
    char uuid[UUID_TEXT];
    char *xml, *path, *alias;           /* arguments, owned */
    int64_t number, number2;
    unsigned flags;
    int (*fn)(struct lv_job *job);      /* -1 with job->f set */
    void (*late)(
        struct lv_job *job); /* it succeeded, but too late for anybody: undo. NULL = nothing to undo */
    void *out;                          /* results, and how to free them */
    void (*free_out)(void *out);
    int64_t out_number, out_number2;
    struct hv_failure f;

    int rc;
    bool done, abandoned;               /* under lv->lock */
    unsigned refs;                      /* atomic */
};

struct lv_job *lv_job_new(struct lv *lv, const char *uuid, int (*fn)(struct lv_job *));
void lv_job_unref(struct lv_job *job);
static inline void lv_job_unrefp(struct lv_job **job) { if (*job) lv_job_unref(*job); }
#define _cleanup_job_ _cleanup_(lv_job_unrefp)
/* Waits for the connection, runs fn, waits for it until the deadline. */
int lv_job_run(struct lv_job *job, int64_t deadline_ms, struct hv_failure *f);
/* As lv_job_run without a connection (the job makes one). */
int lv_job_run_bare(struct lv_job *job, int64_t deadline_ms, struct hv_failure *f);
/* For a thread of ours: libvirt writes to sockets whose other side may have died. */
void lv_block_sigpipe(void);
/* Under lv->lock: waits for lv->changed, until then at most. False, without waiting, when the time is over.
 */
bool lv_wait_until(struct lv *lv, int64_t deadline_ms);
/* The guest of the job; NULL with job->f. To be freed. */
virDomainPtr lv_job_domain(struct lv_job *job);
/* libvirt's last error on this thread as a failure; `other` for what has no kind of its own. Returns -1. */
int lv_job_fail(struct lv_job *job, enum hv_fail_kind other);
/* As lv_job_fail(), asking for the state when it was the wrong one. */
int lv_job_fail_domain(struct lv_job *job, virDomainPtr dom, enum hv_fail_kind other);
enum hv_state lv_state(int vir_state);

void lv_ref(struct lv *lv);
void lv_unref(struct lv *lv);

/* ---- XML (libvirt_xml.c) ---- */

/* A whole domain; "" is never returned. NULL with the failure when the description asks for the impossible.
 */
char *lv_xml_domain(const struct lv *lv, const struct hv_vm *vm, struct hv_failure *f);
/* One device for a running guest. */
char *lv_xml_disk(const struct hv_disk *disk, const char *bus);
char *lv_xml_disk_snapshot(const char *target, const char *path);
char *lv_xml_nic(const struct hv_nic *nic, const char *model);
/* A suspended guest's XML with the sources, taps and sockets of vm_xml (lv_xml_domain of how it is to be
 * now). */
char *lv_xml_resumed(const char *image_xml, const char *vm_xml, struct hv_failure *f);
/* The description of a guest that arrives from another host: ours (lv_xml_domain of how it is to be here), with what the guest
 * sees of the sender's: addresses, buses and models of its devices, its machine, processors and features. Nothing of the sender's
 * names a file, a device or a program of this host. */
char *lv_xml_arriving(const char *their_xml, const char *our_xml, struct hv_failure *f);
/* Fills in a guest's nics, start time and type from its XML. */
void lv_xml_describe(const char *xml, struct lv_guest *guest);
/* Bus of the device with this alias in a domain's XML ("virtio", "sata"), malloc'd; NULL = no such device. */
char *lv_xml_bus(const char *xml, const char *alias);
/* The device with this alias is on this file, block device or socket. */
bool lv_xml_has_source(const char *xml, const char *alias, const char *path);
/* The uuid that a domain's XML says. */
bool lv_xml_uuid(const char *xml, char ret[UUID_TEXT]);
/* "ua-disk-3" -> "xvdd", "ua-vif-0" -> "vif0", else "". */
const char *lv_alias_device(const char *alias, char buf[HV_DEVICE_TEXT]);
void lv_disk_alias(const char *device, char buf[24]);
void lv_nic_alias(unsigned device, char buf[24]);

/* ---- access (libvirt_access.c): QEMU's user may open these from here on ---- */

void lv_give_disk(const struct lv *lv, const struct hv_disk *disk);
void lv_give_files(const struct lv *lv, const struct hv_vm *vm);

/* libvirt_nvram.c: the UEFI variables that the guest is to find; none in the description: the firmware's own. */
int lv_put_nvram(const struct lv *lv, const struct hv_vm *vm, struct hv_failure *f);
int lv_get_nvram(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                 struct hv_failure *f);

/* The same of its TPM, which is made anew when the description has no state of it. BUILD; UNSUPPORTED as lv_check_tpm(). */
int lv_put_tpm(const struct lv *lv, const struct hv_vm *vm, struct hv_failure *f);
int lv_check_tpm(void *d, struct hv_failure *f);
int lv_get_tpm(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
               struct hv_failure *f);

/* Drops those of guests that ended long ago: whatever is still wanted of them is in the database. */
void lv_trim_nvram(struct lv *lv);

/* ---- guests (libvirt_event.c) ---- */

int lv_events_register(struct lv *lv, struct lv_link *link);
void lv_events_deregister(struct lv_link *link);
void lv_emit(struct lv *lv, const struct hv_event *event);
/* Under lv->lock. */
struct lv_guest *lv_guest_find(struct lv *lv, const char *uuid);
struct lv_guest *lv_guest_add(struct lv *lv, const char *uuid, int64_t domid);
void lv_guest_remove(struct lv *lv, const char *uuid);

/* ---- verbs ---- */

/* libvirt_power.c */
int lv_start(void *d, const struct hv_vm *vm, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f);
int lv_destroy(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int lv_shutdown(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int lv_reboot(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int lv_reset(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int lv_pause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int lv_unpause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
int lv_check_image(void *d, const char *uuid, const char *image, struct hv_failure *f);
int lv_suspend(void *d, const char *uuid, const char *image, int64_t deadline_ms, struct hv_failure *f);
int lv_resume(void *d, const struct hv_vm *vm, const char *image, int64_t deadline_ms, int64_t *ret_domid,
              struct hv_failure *f);
int lv_abort(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
/* libvirt_device.c */
int lv_disk_attach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                   struct hv_failure *f);
int lv_disk_detach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                   struct hv_failure *f);
int lv_cd_change(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                 struct hv_failure *f);
int lv_disk_snapshot(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                     struct hv_failure *f);
int lv_disk_mirror(void *d, const char *uuid, const struct hv_disk *disk, enum hv_mirror_step step,
                   struct hv_mirror *ret_mirror, int64_t deadline_ms, struct hv_failure *f);
int lv_disk_resize(void *d, const char *uuid, const struct hv_disk *disk, int64_t size_bytes,
                   int64_t deadline_ms, struct hv_failure *f);
int lv_disk_limit(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
int lv_set_io_priority(void *d, const char *uuid, int priority, int64_t deadline_ms, struct hv_failure *f);
int lv_nic_attach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                  struct hv_failure *f);
int lv_nic_detach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                  struct hv_failure *f);
int lv_set_memory_target(void *d, const char *uuid, int64_t bytes, int64_t deadline_ms, struct hv_failure *f);
int lv_set_vcpus(void *d, const char *uuid, unsigned vcpus, int64_t deadline_ms, struct hv_failure *f);
int lv_set_vcpu_params(void *d, const char *uuid, const struct hv_vcpu_params *params, int64_t deadline_ms,
                       struct hv_failure *f);
int lv_send_sysrq(void *d, const char *uuid, char key, int64_t deadline_ms, struct hv_failure *f);
int lv_send_trigger(void *d, const char *uuid, const char *trigger, int64_t deadline_ms,
                    struct hv_failure *f);
/* libvirt_look.c */
int lv_list(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_domain **ret_domains,
            size_t *ret_n, struct hv_failure *f);
int lv_query(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
             struct hv_domain *ret_domain, struct hv_failure *f);
int lv_get_stats(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_stats **ret_stats,
                 size_t *ret_n, struct hv_failure *f);
int lv_get_host(void *d, struct arena *arena, int64_t deadline_ms, struct hv_host *ret_host,
                struct hv_failure *f);
int lv_get_guest_info(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
                      struct hv_guest_info *ret_info, struct hv_failure *f);
int lv_console_open(void *d, const char *uuid, enum hv_console which, int64_t deadline_ms, int *ret_fd,
                    struct hv_failure *f);
int lv_console_log(void *d, const char *uuid, struct arena *arena, const char **ret_path,
                   struct hv_failure *f);
/* libvirt_agent.c */
int lv_guest_run(void *d, const char *uuid, const char *script, bool (*stop)(void *arg), void *arg, struct arena *arena,
                 int64_t deadline_ms, struct hv_ran *ret_ran, struct hv_failure *f);
/* Drops the heads of text consoles' logs that have grown long, and logs of long ago. */
void lv_trim_logs(const struct lv *lv);
/* libvirt_image.c: makes a suspend image (its XML says old_uuid) the image of another guest. */
int lv_image_adopt(const char *path, const char *old_uuid, const char *new_uuid, struct hv_failure *f);
/* The beginning of a suspend image of a guest that ran, up to its memory. */
void lv_image_head(const char *xml, struct strbuf *out);
struct value;
/* libvirt_monitor.c: a command (JSON) to the guest's QEMU, with a descriptor or -1; what it returns, from the arena. */
int lv_monitor(struct lv *lv, const char *uuid, const char *text, int fd, struct arena *a, const struct value **ret, struct hv_failure *f);
int lv_disk_reopen(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
/* Closes what no disk stands on any more: after one was detached. */
void lv_disk_sweep(struct lv *lv, const char *uuid);

/* libvirt_migrate.c */
int lv_migrate_send(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f);
int lv_migrate_receive(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f);
/* Is it on its way? Then it stays. */
bool lv_migrate_cancel(struct lv *lv, const char *uuid);
/* Ends what a killed agent had on the way: once, when the connection is there and nothing moves yet. */
void lv_migrate_settle(struct lv *lv);
/* From time to time. */
void lv_migrate_retry(struct lv *lv);
/* libvirt_kvm.c: true when a guest really runs under KVM here. Bounded; the answer is kept until the next
 * boot. */
bool lv_kvm_works(const char *emulator, const char *dir);

#endif
