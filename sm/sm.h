/* What every storage driver program is made of: the request, the answer, the lock, the errors.
 * Called by: the drivers (file.c, ext.c, ...).  Calls: lib.
 *
 * A driver is a table of commands and sm_main(). sm_main() reads one request (stdin, or argv[1] as
 * foreign callers give it), takes the SR's lock, runs the command and writes one answer to stdout. See
 * sm/README.md. */
#ifndef SM_SM_H
#define SM_SM_H

#include "lib/arena.h"
#include "lib/value.h"
#include "lib/xerr.h"

/* One operation: lives as long as the process. */
struct sm {
    struct arena *arena;
    const struct sm_driver *driver;
    const char *command;
    struct value request;            /* the struct of the request; never trusted to have a member */
    const char *sr_uuid;             /* a uuid, lower case; "" when the request has none */
    const char *vdi_uuid;
    const char *vdi_location;
    const char *state_dir;           /* locks and small state; from the environment */
    const char *mount_dir;           /* SRs are mounted below */
    int lock_fd, dir_fd;             /* locked until the process and its children are gone; -1 = none */
};

struct share_type;
typedef int (*sm_fn)(struct sm *sm, struct value *ret_answer, struct xerr *err);

enum sm_needs {
    SM_NEEDS_SR = 1,      /* sr_uuid must be there, and its lock is taken */
    SM_NEEDS_VDI = 2,     /* vdi_uuid or vdi_location must be there */
};
struct sm_command {
    const char *name;
    sm_fn fn;
    unsigned needs;
};

struct sm_key { const char *key, *text; };

struct sm_driver {
    const char *type, *name, *description;
    const struct sm_key *configuration;     /* device_config keys; ends with key NULL */
    const char *const *features;            /* ends with NULL */
    const char *const *formats;             /* of images: "raw", "qcow2"; ends with NULL */
    const struct sm_command *commands;      /* ends with name NULL */
    /* Runs before every command, under the lock; NULL = nothing. */
    int (*before)(struct sm *sm, struct xerr *err);
    /* The directory that holds the images; for the commands of dir.c. */
    int (*locate)(struct sm *sm, const char **ret_path, struct xerr *err);
    /* Of a share: share.c's commands. */
    const struct share_type *share;
    /* The block devices that hold the volume group, NULL-terminated; for the commands of lvhd.c. */
    int (*devices)(struct sm *sm, const char *const **ret_devices, struct xerr *err);
};

int sm_main(const struct sm_driver *driver, int argc, char **argv);

/* ---- the request --------------------------------------------------------------------------- */

/* device_config's key as text, or fallback. */
const char *sm_config(const struct sm *sm, const char *key, const char *fallback);
/* A member of the request as text, or fallback. */
const char *sm_param(const struct sm *sm, const char *key, const char *fallback);
/* A member that is a map, or an empty one. */
const struct value *sm_map(const struct sm *sm, const char *key);
/* The i-th positional argument as text, "" when there is none. */
const char *sm_arg(const struct sm *sm, size_t i);
/* The i-th positional argument as a number of bytes above 0; SM_VDI_SIZE otherwise. */
int sm_arg_size(const struct sm *sm, size_t i, int64_t *ret_bytes, struct xerr *err);

/* ---- errors: SR_BACKEND_FAILURE_<number> ["", text, ""], the numbers that SMAPIv1 clients know ---- */

enum sm_error {
    SM_INVALID_ARGUMENT = 1,
    SM_SR_IN_USE = 16,
    SM_NO_DEVICE = 19,
    SM_VDI_IN_USE = 24,
    SM_LOCK = 37,
    SM_UNIMPLEMENTED = 38,
    SM_SR_NOT_EMPTY = 39,
    SM_SR_SCAN = 40,
    SM_SR_EXISTS = 42,
    SM_VDI_EXISTS = 43,
    SM_NO_SPACE = 44,
    SM_VDI_UNAVAILABLE = 46,
    SM_SR_UNAVAILABLE = 47,
    SM_LV_DELETE = 51,
    SM_MOUNT = 52,
    SM_UNMOUNT = 53,
    SM_PV_CREATE = 55,
    SM_FILESYSTEM = 57,
    SM_SR_CREATE = 61,
    SM_SR_REMOVE = 62,
    SM_SR_DELETE = 63,
    SM_VDI_REMOVE = 64,
    SM_VDI_LOAD = 65,
    SM_VDI_TYPE = 66,
    SM_ISCSI_DEVICE = 67,
    SM_ISCSI_LOGIN = 68,
    SM_ISCSI_LOGOUT = 69,
    SM_ISCSI_INITIATOR = 70,
    SM_ISCSI_DAEMON = 71,
    SM_NFS_VERSION = 72,
    SM_NFS_MOUNT = 73,
    SM_NFS_UNMOUNT = 74,
    SM_VG_CREATE = 77,
    SM_VDI_CREATE = 78,
    SM_VDI_SIZE = 79,
    SM_VDI_CLONE = 81,
    SM_VDI_SNAPSHOT = 82,
    SM_ISCSI_DISCOVERY = 83,
    SM_LUN_MISSING = 87,
    SM_NFS_CREATE = 88,
    SM_DEVICE_MISSING = 90,
    SM_DEVICE_INVALID = 91,
    SM_LOCATION_MISSING = 94,
    SM_TARGET_MISSING = 95,
    SM_IQN_MISSING = 96,
    SM_LOCAL_IQN_MISSING = 97,
    SM_ONE_LUN = 99,
    SM_SERVER_PATH_MISSING = 101,
    SM_SERVER_MISSING = 102,
    SM_SERVER_PATH_BAD = 103,
    SM_ROOT_DEVICE = 105,
    SM_SCSIID = 107,
    SM_NFS_TARGET = 108,
    SM_CHAIN_TOO_LONG = 109,
    SM_VDI_RESIZE = 110,
    SM_SMB_MOUNT = 111,
    SM_SMB_UNMOUNT = 112,
    SM_SMB_CREATE = 116,
    SM_ISCSI_TARGET = 141,
    SM_ISCSI_PORT = 142,
    SM_BAD_REQUEST = 143,
    SM_VDI_MISSING = 144,
    SM_LV_GROW = 180,
    SM_METADATA = 181,
    SM_IO = 200,
    SM_GENERAL = 202,
    SM_ISO_LOCATION_MISSING = 220,
    SM_ISO_EXTENSION = 221,
    SM_ISO_MOUNT = 222,
    SM_ISO_UNMOUNT = 223,
    SM_ISO_LOCATION = 225,
    SM_ISO_LOCAL_PATH = 226,
    SM_MULTIPATH = 431,
    SM_CBT_ENABLE = 457,
    SM_CBT_DISABLE = 458,
    SM_CBT_INCONSISTENT = 459,
    SM_CBT_LIST = 460,
};
/* Always -1. The text says what went wrong with which object. */
int sm_fail(struct xerr *err, enum sm_error number, const char *fmt, ...) _printf_(3, 4);
/* As sm_fail with ": <errno's text>"; ENOSPC and EDQUOT become SM_NO_SPACE. */
int sm_fail_errno(struct xerr *err, enum sm_error number, const char *fmt, ...) _printf_(3, 4);
/* SR_BACKEND_FAILURE_<number> ["", text, xml]: what a client is to choose from before it asks again. Always -1. */
int sm_fail_choice(struct xerr *err, enum sm_error number, const char *text, const char *xml);
/* VDI_MISSING [sr, vdi] by the references in the request. Always -1. */
int sm_fail_missing(const struct sm *sm, struct xerr *err);

/* ---- help ---------------------------------------------------------------------------------- */

/* Runs a program (argv ends with NULL; found through PATH) with stdin empty. Its stdout goes to *ret_out
 * when that is not NULL (at most 64 MiB). Not 0: sm_fail(number) with the program's name and the end of
 * what it said. */
int sm_run(struct sm *sm, const char *const argv[], const char **ret_out, enum sm_error number,
           struct xerr *err);
/* A fault point (lib/fault.h): 0, or -1 with the errno that a test asked for. Each is a point "sm.step" as well, so that a
 * test can end a driver at every step of an operation without knowing how many there are. */
int sm_step(const char *point);

#endif
