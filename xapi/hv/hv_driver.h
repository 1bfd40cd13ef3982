/* What a hypervisor driver is: the vtable behind the guard, and how it says that something failed.
 * Called by: hv.c (the guard), the drivers.  Calls: nothing.
 *
 * A driver stays naive: its arguments were checked by the guard (uuid is a lower-case uuid, paths are
 * absolute, devices are distinct, numbers are in range, no text is NULL but hv_disk.path of an empty drive).
 * It reports a failure as a kind and a sentence; the guard makes the XenAPI error. A NULL verb means "cannot
 * do that". A module hv_<name>.so exports `const struct hv_driver hv_driver`. */
#ifndef XAPI_HV_HV_DRIVER_H
#define XAPI_HV_HV_DRIVER_H

#include "xapi/hv/hv.h"

enum { HV_DRIVER_ABI = 7 };          /* raise when anything in hv.h or here changes shape */

enum hv_fail_kind {
    HV_FAIL_NONE,
    HV_FAIL_NO_DOMAIN,
    HV_FAIL_EXISTS,                  /* number: domid */
    HV_FAIL_STATE,                   /* actual says what it is */
    HV_FAIL_NO_MEMORY,               /* number: bytes available */
    HV_FAIL_INCOMPATIBLE,            /* the description asks for what this host has not */
    HV_FAIL_BUILD,                   /* start: anything else */
    HV_FAIL_NO_IMAGE,                /* resume */
    HV_FAIL_NOT_SUSPENDABLE,
    HV_FAIL_DEVICE_EXISTS, HV_FAIL_DEVICE_MISSING, HV_FAIL_DEVICE_REJECTED, HV_FAIL_DEVICE_FULL,
    HV_FAIL_NOT_REMOVABLE, HV_FAIL_TRAY_LOCKED,
    HV_FAIL_GUEST_DEAF,              /* the guest cannot be asked */
    HV_FAIL_SUSPEND_DEAF,            /* to suspend itself */
    HV_FAIL_TIMEOUT, HV_FAIL_CANCELLED,
    HV_FAIL_UNSUPPORTED,             /* the verb exists, but not here and now */
    HV_FAIL_UNREACHABLE,             /* the engine is away */
    HV_FAIL_ENGINE,                  /* everything else */
};

struct hv_failure {
    enum hv_fail_kind kind;
    int64_t number;
    int64_t needed_bytes;            /* NO_MEMORY: when it is not what the caller named (an image knows better); else 0 */
    enum hv_state actual;
    int code;                        /* the engine's own error number, for the log and DOMAIN_BUILDER_ERROR */
    char why[512];                   /* one line */
};

/* Sets the failure; always returns -1. A sentence that is too long is cut. */
int hv_fail(struct hv_failure *f, enum hv_fail_kind kind, const char *fmt, ...) _printf_(3, 4);

struct hv_vcpu_params {
    unsigned weight, vcpus_max;
    int cap;
    const char *mask;
};

struct hv_open_args {
    const struct hv_config *config;  /* texts never NULL; root, run, sr_mount set */
    hv_event_fn on_event;
    void *arg;
};

/* d is the driver's own object. deadline_ms is on CLOCK_BOOTTIME: a driver gives up there with
 * HV_FAIL_TIMEOUT. */
struct hv_driver {
    uint32_t abi;
    const char *name;
    bool plugs_nics;                 /* hv_plugs_nics() */
    bool moves_here;                 /* hv_moves_here() */

    int (*open)(const struct hv_open_args *args, void **ret_d, struct hv_failure *f);
    void (*close)(void *d, bool end_engine);

    int (*start)(void *d, const struct hv_vm *vm, int64_t deadline_ms, int64_t *ret_domid,
                 struct hv_failure *f);
    int (*destroy)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
    int (*shutdown)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
    int (*reboot)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
    int (*reset)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
    int (*pause)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
    int (*unpause)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
    int (*suspend)(void *d, const char *uuid, const char *image, int64_t deadline_ms, struct hv_failure *f);
    int (*resume)(void *d, const struct hv_vm *vm, const char *image, int64_t deadline_ms, int64_t *ret_domid,
                  struct hv_failure *f);
    int (*check_image)(void *d, const char *uuid, const char *image, struct hv_failure *f);
    int (*abort)(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f);
    int (*migrate_send)(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f);
    int (*migrate_receive)(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid,
                           struct hv_failure *f);

    int (*disk_attach)(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                       struct hv_failure *f);
    int (*disk_detach)(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                       struct hv_failure *f);
    int (*cd_change)(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                     struct hv_failure *f);
    int (*disk_snapshot)(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                         struct hv_failure *f);
    int (*disk_reopen)(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
    /* ret_mirror is never NULL and all zero. */
    int (*disk_mirror)(void *d, const char *uuid, const struct hv_disk *disk, enum hv_mirror_step step,
                       struct hv_mirror *ret_mirror, int64_t deadline_ms, struct hv_failure *f);
    int (*disk_resize)(void *d, const char *uuid, const struct hv_disk *disk, int64_t size_bytes,
                       int64_t deadline_ms, struct hv_failure *f);
    /* disk: ref, device and limits. */
    int (*disk_limit)(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f);
    int (*set_io_priority)(void *d, const char *uuid, int priority, int64_t deadline_ms, struct hv_failure *f);
    int (*nic_attach)(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                      struct hv_failure *f);
    int (*nic_detach)(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                      struct hv_failure *f);
    int (*nic_move)(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                    struct hv_failure *f);
    int (*nic_address)(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f);
    int (*set_memory_target)(void *d, const char *uuid, int64_t bytes, int64_t deadline_ms,
                             struct hv_failure *f);
    int (*set_vcpus)(void *d, const char *uuid, unsigned vcpus, int64_t deadline_ms, struct hv_failure *f);
    /* One of the three: weight and cap are 0, mask NULL when they stay as they are; cap -1 = none from now on. */
    int (*set_vcpu_params)(void *d, const char *uuid, const struct hv_vcpu_params *params, int64_t deadline_ms,
                           struct hv_failure *f);
    int (*set_shadow)(void *d, const char *uuid, double multiplier, int64_t deadline_ms, struct hv_failure *f);
    int (*send_sysrq)(void *d, const char *uuid, char key, int64_t deadline_ms, struct hv_failure *f);
    int (*send_trigger)(void *d, const char *uuid, const char *trigger, int64_t deadline_ms,
                        struct hv_failure *f);

    int (*list)(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_domain **ret_domains,
                size_t *ret_n, struct hv_failure *f);
    /* HV_FAIL_NO_DOMAIN when there is none. */
    int (*query)(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
                 struct hv_domain *ret_domain, struct hv_failure *f);
    int (*get_stats)(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_stats **ret_stats,
                     size_t *ret_n, struct hv_failure *f);
    int (*get_host)(void *d, struct arena *arena, int64_t deadline_ms, struct hv_host *ret_host,
                    struct hv_failure *f);
    int (*dmesg)(void *d, bool clear, struct arena *arena, int64_t deadline_ms, const char **ret_text, struct hv_failure *f);
    int (*send_debug_keys)(void *d, const char *keys, int64_t deadline_ms, struct hv_failure *f);
    int (*get_guest_info)(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
                          struct hv_guest_info *ret_info, struct hv_failure *f);
    /* GUEST_DEAF: it has no agent, or one that does not do that. stop is asked a few times a second. */
    int (*guest_run)(void *d, const char *uuid, const char *script, bool (*stop)(void *arg), void *arg, struct arena *arena,
                     int64_t deadline_ms, struct hv_ran *ret_ran, struct hv_failure *f);
    int (*guest_rdp)(void *d, const char *uuid, bool on, int64_t deadline_ms, struct hv_failure *f);
    int (*get_nvram)(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                     struct hv_failure *f);
    int (*check_tpm)(void *d, struct hv_failure *f);
    int (*get_tpm)(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                   struct hv_failure *f);
    int (*console_open)(void *d, const char *uuid, enum hv_console which, int64_t deadline_ms, int *ret_fd,
                        struct hv_failure *f);
    /* Path of the text console's log, from arena; the file may be missing. */
    int (*console_log)(void *d, const char *uuid, struct arena *arena, const char **ret_path,
                       struct hv_failure *f);
};

/* ---- help that every driver needs (hv.c, hv_util.c) ------------------------------------------ */

/* hv_words.c: what the two sides of a migration say once the guest's memory is over:
 *   receiver: READY, it could run; sender: GO, it has let go of the guest; receiver: RUNS. Or, at any time: FAILED and why. */
enum hv_word { HV_WORD_READY = 1, HV_WORD_FAILED, HV_WORD_GO, HV_WORD_RUNS };
enum { HV_SAID_NO = -2 };            /* hv_expect(): the other side said FAILED */
int hv_say(int fd, enum hv_word word, const char *why, struct hv_failure *f);
/* hurry (may be NULL) says that something more urgent came: CANCELLED. TIMEOUT, ENGINE. */
int hv_read(int fd, void *bytes, size_t n, int64_t deadline_ms, bool (*hurry)(void *arg), void *arg, struct hv_failure *f);
/* The next word, which is to be this one. -1, or HV_SAID_NO with its reason. */
int hv_expect(int fd, enum hv_word word, int64_t deadline_ms, bool (*hurry)(void *arg), void *arg, struct hv_failure *f);

/* Milliseconds of CLOCK_BOOTTIME. */
int64_t hv_now_ms(void);
/* Slot number of a VBD device name ("xvda", "hdc", "sdb", "3"), or -1. "xvda" is 0, "xvdz" 25, "xvdaa" 26. */
int hv_slot(const char *device);
/* "xvda" for slot 0 with prefix "xvd"; into buf, which it returns. */
enum { HV_DEVICE_TEXT = 16, HV_ADDRESS_TEXT = 48 };   /* the latter: an address with its prefix length */
const char *hv_slot_name(const char *prefix, unsigned slot, char buf[HV_DEVICE_TEXT]);
/* A key's value among pairs, or fallback. */
const char *hv_pair_get(const struct hv_pair *pairs, size_t n, const char *key, const char *fallback);
/* "true", "1", "yes", "on" (any case) are true; a missing key is fallback. */
bool hv_pair_bool(const struct hv_pair *pairs, size_t n, const char *key, bool fallback);
/* The first "name : value" of a text in the style of /proc/cpuinfo, from the arena; "" (or 0) when there is none. */
const char *hv_proc_line(const char *text, const char *name, struct arena *a);
unsigned hv_proc_number(const char *text, const char *name, struct arena *a);

#endif
