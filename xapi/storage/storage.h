/* Storage drivers behind a guard: a slot and a deadline for each SR, and the ledger of attached disks.
 * Called by: class files (sr*.c, vdi*.c, pbd.c, sm.c, vbd.c), startup.  Calls: sm/ processes, lib.
 *
 * A driver is a program of sm/, or a foreign SMAPIv1 one, in one of the configured directories: one
 * process an operation (sm/README.md has the convention). One process at a time serves an SR; callers
 * wait for the slot. A process that passes its deadline is ended if it is one of ours (they may be
 * killed at any instruction); while it cannot be ended, or if it is foreign, its SR is *unresponsive*:
 * waiting and later calls fail at once, and no second process is started until it is gone. Its pid and
 * start time are in a file under root, so that the next agent finds a leftover and awaits or ends it
 * before it touches that SR.
 *
 * The layer knows no database: what it needs to know of an SR or a VDI is in struct storage_sr and
 * storage_vdi. All functions are thread-safe and those that run a driver block; none holds a lock while
 * a driver works.
 *
 * Errors of every driver call, not repeated below:
 *   SR_UNKNOWN_DRIVER [type]                         no such program
 *   SR_OPERATION_NOT_SUPPORTED [sr]                  the driver has no such command
 *   SM_PLUGIN_COMMUNICATION_FAILURE [type]           deadline passed, unresponsive, or no readable answer
 *   SR_BACKEND_FAILURE [status, stdout, stderr]      it died or left without an answer
 *   SR_BACKEND_FAILURE_<n> ["", message, ""]         it answered with a fault
 *   any code the driver answers by name (VDI_IN_USE ...) */
#ifndef XAPI_STORAGE_STORAGE_H
#define XAPI_STORAGE_STORAGE_H

#include "lib/arena.h"
#include "lib/ref.h"
#include "lib/value.h"
#include "lib/xerr.h"

#include <stdatomic.h>

struct storage;

/* ---- life ---------------------------------------------------------------------------------- */

struct storage_sr;
/* Borrowed for storage_open(). */
struct storage_config {
    const char *root; /* state directory: the ledger and the records of processes are in root/storage */
    const char *mount_dir;       /* SRs are mounted at mount_dir/<sr uuid>; NULL = root/sr-mount */
    const char *plugin_dir; /* where nbdkit-vhd.so is */
    const char *driver_dirs; /* "DIR:DIR": program "file" serves type file, foreign "EXTSR" serves type ext */
    const char *socket;          /* our unix socket, for call-backs of foreign drivers; NULL = none */
    /* A session for the call-backs of one foreign driver process, and its end; not called for a process that
     * could not be ended: see storage_driver_runs(). NULL = foreign drivers get "". */
    int (*session_open)(void *arg, const struct storage_sr *sr, char **ret_session, struct xerr *err);   /* malloc'd text */
    void (*session_close)(void *arg, const char *session);
    void *arg;
    int deadline_ms;             /* of every command; 0 = each command's own */
};

/* Finds the drivers and asks each what it can do; reads the ledger (emptied when the host was booted
 * since). A driver that does not answer is logged and left out. Errors: INTERNAL_ERROR naming the
 * directory. */
int storage_open(const struct storage_config *config, struct storage **ret_storage, struct xerr *err);
/* Calls that wait for a slot or a driver end soon with SM_PLUGIN_COMMUNICATION_FAILURE, and so do later
 * ones; drivers run on and are awaited by the next agent. For the end of the agent, when its patience is
 * over. NULL is fine. */
void storage_stop(struct storage *s);
/* storage_stop(), then waits for everything between storage_use_begin() and storage_use_end(): before what such work uses
 * beside the storage is closed. NULL is fine. */
void storage_drain(struct storage *s);
/* storage_drain(), and the end of it. No other call may run. NULL is fine. */
void storage_close(struct storage *s);
/* Around work on a thread of its own that uses the storage and nobody else waits for. */
void storage_use_begin(struct storage *s);
void storage_use_end(struct storage *s);
/* Where an SR is mounted: "<mount_dir>". */
const char *storage_mount_dir(const struct storage *s);

/* ---- drivers ------------------------------------------------------------------------------- */

/* What sr_get_driver_info said; lives as long as the storage. */
struct storage_driver {
    const char *type;                /* "file" */
    const char *program;             /* its path */
    bool foreign;                    /* SMAPIv1: request in argv[1], call-backs by session */
    const char *name, *description, *vendor, *copyright, *version, *required_api_version;
    struct value features;           /* (string -> int) map: VDI_CREATE -> 1 */
    struct value capabilities;       /* string set: the keys of features */
    struct value image_formats;      /* string set: "raw", "qcow2", "vhd" */
    struct value configuration;      /* (string -> string) map: device_config key -> what it means */
};
size_t storage_driver_count(const struct storage *s);
const struct storage_driver *storage_driver_at(const struct storage *s, size_t i);
/* The driver of a type, or NULL and SR_UNKNOWN_DRIVER [type] (err may be NULL). */
const struct storage_driver *storage_driver_need(const struct storage *s, const char *type, struct xerr *err);
bool storage_driver_has(const struct storage_driver *d, const char *feature);

/* ---- calls --------------------------------------------------------------------------------- */

/* The SR a call is about. Borrowed. uuid "" = none yet (probe). */
struct storage_sr {
    struct ref ref;
    const char *uuid, *type;
    struct ref host;                       /* on which host the call runs: this one */
    const struct value *device_config;     /* (string -> string) map, secrets replaced by their values */
    const struct value *sm_config;         /* NULL = empty */
    const char *pool_uuid;                 /* whose SR it is to be; NULL = nobody asks */
    bool multipath;                        /* the host's disks go through multipath */
    bool master;                           /* this host coordinates the pool: SRmaster=true */
    /* Turns true when nobody wants the answer any more, NULL = never: a command that makes or reads waits for the slot no
     * longer, and a driver of ours that only reads is ended. What undoes or releases goes on. TASK_CANCELLED [task]. */
    const atomic_bool *cancelled;
    struct ref task;
    const char *making;                    /* for a foreign driver's session: xapi/session.h; NULL = the command makes no disk */
};

/* The VDI a call is about. Borrowed; NULL text = "". */
struct storage_vdi {
    struct ref ref;
    const char *uuid, *location, *type;    /* type: vdi_type's text */
    const char *on_boot;                   /* "persist", "reset" */
    const struct value *sm_config;
    bool allow_caching, read_only, sharable;
};

/* Runs one command. vdi may be NULL. args: the command's positional arguments (all text), as
 * sm/README.md lists them; extra: more members of the request (new_uuid, driver_params ...), NULL =
 * none. deadline_ms 0 = the command's own. The answer is from `a`. Blocks until the SR's slot is free
 * and the driver has answered. */
int storage_call(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                 const char *command, const struct value *args, size_t n_args, const struct value *extra,
                 int deadline_ms, struct arena *a, struct value *ret_answer, struct xerr *err);

/* True while a driver's process works on the SR, or one past its deadline or of an earlier agent is not gone. */
bool storage_driver_runs(struct storage *s, const char *sr_uuid);
/* True when the SR's last command passed its deadline or the driver could not reach the storage (SR_BACKEND_FAILURE_47, _141), until one
 * gets an answer, and while a process past its deadline keeps the SR from being used. */
bool storage_sr_silent(struct storage *s, const char *sr_uuid);

/* ---- disks that are being made ------------------------------------------------------------- */

/* A driver is about to make a disk of this uuid: known on disk from here on, also to later agents. Until storage_making_end()
 * an image of that uuid is nobody's: a scan makes no record of it. Errors: INTERNAL_ERROR naming the file. */
int storage_making_begin(struct storage *s, const char *sr_uuid, const char *vdi_uuid, struct xerr *err);
/* The record is there, or the image is not. Nothing when nobody made it. */
void storage_making_end(struct storage *s, const char *vdi_uuid);
/* The driver failed. When it may have left an image all the same, that is cut off; else the same as storage_making_end(). */
void storage_making_failed(struct storage *s, const char *vdi_uuid, const struct xerr *why);
bool storage_is_being_made(struct storage *s, const char *vdi_uuid);
/* Disks of the SR whose making was cut off, by the end of an agent or of a driver: what is there of them is to be destroyed, unless
 * there is a record. From `a`. */
size_t storage_cut_off(struct storage *s, const char *sr_uuid, struct arena *a, const char *const **ret_vdis);
/* What has ended has ended after a power cut, too: before a record goes whose image stays. */
void storage_making_settle(struct storage *s);

/* ---- attached disks ------------------------------------------------------------------------ */

/* Where the data of an attached VDI is. From the arena of the call. */
struct storage_disk {
    const char *path;
    const char *format;      /* "raw", "qcow2", "vhd" */
    const char *guest_path;  /* storage_attach() for writing: another name by which a guest opens it; NULL = path */
    const char *socket;      /* not NULL: QEMU cannot read the format; the disk's bytes come from this unix socket
                                (NBD, the default export) instead */
    bool block;              /* a block device, else a file */
    bool writable;
    const char *alert;       /* storage_attach(): what went wrong without failing, as an alert's name; "" = nothing */
};

/* A new disk of this kind shows what lay there before, not zeros: bare blocks of a device. */
static inline bool storage_is_stale(const struct storage_disk *disk) { return disk->block && streq(disk->format, "raw"); }

/* vdi_attach and vdi_activate for an owner: any text without '/' that says who needs the disk (a VBD's
 * uuid, "copy-<task uuid>"), and finds it again after a restart. An owner that has the disk already gets
 * the same answer (its mode must be the same). One writable owner excludes every other, unless the VDI
 * is sharable; readers share. Errors: VDI_IN_USE [vdi, "attach"]; VDI_READONLY [vdi]. */
int storage_attach(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                   const char *owner, bool writable, struct arena *a, struct storage_disk *ret_disk,
                   struct xerr *err);
/* The owner needs it no longer; deactivates and detaches after the last one. An owner without the disk
 * is success. */
int storage_detach(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                   const char *owner, struct xerr *err);

struct storage_attachment {
    const char *sr_uuid, *vdi_uuid, *owner;
    bool left;           /* the owner has let it go, and the detaching failed */
    struct storage_disk disk;
};
/* Everything attached (of one SR and one VDI when these are not NULL), from `a`. Never blocks. */
size_t storage_attachments(struct storage *s, const char *sr_uuid, const char *vdi_uuid, struct arena *a,
                           const struct storage_attachment **ret_list);

/* The image of an attached disk got a new name or parent: whoever serves it goes on with what is there now. Nothing for
 * disks without a socket. Errors: VDI_IO_ERROR [why]. */
int storage_switch(struct storage *s, const char *vdi_uuid, struct xerr *err);

/* Keeps a disk as it is: until storage_release() nobody attaches or detaches it (they wait). For
 * deleting, resizing, freezing. What is attached now is in the hold. Blocks while somebody else works on
 * the disk. */
struct storage_hold {
    size_t owners;
    bool writable;           /* one of them writes */
    const char *owner;       /* the writer, else any, NULL = not attached; valid until the release */
    struct storage *storage;
    void *entry;
};
void storage_hold(struct storage *s, const char *sr_uuid, const char *vdi_uuid,
                  struct storage_hold *ret_hold);
void storage_release(struct storage_hold *hold);
static inline void storage_releasep(struct storage_hold *hold) { if (hold->entry) storage_release(hold); }
#define _cleanup_hold_ _cleanup_(storage_releasep)

/* ---- copying ------------------------------------------------------------------------------- */

/* Called a few times a second with 0..1; false stops the copy. */
typedef bool (*storage_progress_fn)(void *arg, double fraction);
/* Copies the content of one attached disk to another that exists and is at least as large; holes stay
 * holes; durable on return. target_is_zero: nothing was ever written to it. progress may be NULL.
 * Errors: VDI_COPY_FAILED []; SR_BACKEND_FAILURE_44 without room; when progress said stop: TASK_CANCELLED [task]. */
struct storage_copy {
    struct storage_disk from, to;
    bool target_is_zero;
    struct ref task;
    storage_progress_fn progress;
    void *arg;
};
int storage_copy(struct storage *s, const struct storage_copy *copy, struct xerr *err);

/* Where a disk may differ from another one: one bit for each STORAGE_CHANGE_UNIT bytes, the highest bit of a byte first; what
 * the bits say nothing of has changed. bits NULL: it is not known. */
struct storage_changes {
    const unsigned char *bits;
    size_t n_bytes;
};
enum { STORAGE_CHANGE_UNIT = 64 << 10 };
/* The unit at this byte may have changed. */
static inline bool storage_changed(const struct storage_changes *changes, int64_t at)
{
    const size_t n = (size_t)(at / STORAGE_CHANGE_UNIT);

    return n / 8 >= changes->n_bytes || changes->bits[n / 8] & 0x80 >> n % 8;
}
/* As storage_copy(), to a disk that holds what base does: only what differs is written, and where that is known only that is
 * read. base: attached for reading; not looked at when changes->bits is there. Errors: VDI_IO_ERROR [what]; TASK_CANCELLED. */
int storage_copy_changes(struct storage *s, const struct storage_copy *copy, const struct storage_disk *base,
                         const struct storage_changes *changes, struct xerr *err);

/* How urgent the requests of the process are that serves a disk (lib/ioprio.h); 0 = nothing special. Nothing to do for a disk that
 * the hypervisor reads itself. Errors: VDI_IO_ERROR [why]. */
int storage_set_priority(struct storage *s, const char *vdi_uuid, int priority, struct xerr *err);

/* Copies the data of an image into the one it stands on (sm/dir_gc.c, step 1): hours, idle priority, no slot is taken.
 * Errors: VDI_IO_ERROR [why]; TASK_CANCELLED [task] when progress said stop or the SR is being unplugged. */
struct storage_merge {
    const char *sr_uuid, *sr_type, *format, *top_path, *base_path;
    const char *owner_path, *owner;   /* the merge ends when that file says something else; "" = nobody asks */
    int64_t rate;                /* bytes a second, 0 = no limit */
    struct ref task;
    storage_progress_fn progress;
    void *arg;
};
int storage_merge(struct storage *s, const struct storage_merge *merge, struct xerr *err);
/* Ends the merge on this SR, waits for that, and allows no other until storage_merge_allow(). */
void storage_merge_forbid(struct storage *s, const char *sr_uuid);
void storage_merge_allow(struct storage *s, const char *sr_uuid);

/* Who opens an image finds what it stands on by its name, and the end of a merge takes names away: neither is done while the other
 * is. Around the opening of attached disks, by their uuids or paths; of what is not attached nothing is known. Waits for a merge's end. */
struct storage_opening {
    struct storage *storage;
    struct merge_state **of;
    size_t n;
};
void storage_opening_begin(struct storage *s, const char *const *disks, size_t n, struct storage_opening *ret_opening);
void storage_opening_end(struct storage_opening *opening);
#define _cleanup_opening_ _cleanup_(storage_opening_end)
/* Around the end of a merge on this SR. False when its images were being opened for a minute, or *stop turned true. */
bool storage_merge_end_begin(struct storage *s, const char *sr_uuid, const atomic_bool *stop);
void storage_merge_end_done(struct storage *s, const char *sr_uuid);

#endif
