/* SCSI disks of the host, as the kernel shows them.
 * Called by: lvmoiscsi.c, lvmohba.c, target.c, iscsi.c.  Calls: libc, multipath(8). */
#ifndef SM_SCSI_H
#define SM_SCSI_H

#include "sm/sm.h"

struct lun {
    const char *name;     /* "sdb" */
    const char *scsi_id;  /* as udev and XenServer name it: "3600140..."; "" = it says none */
    const char *vendor, *serial;
    const char *hba;      /* the adapter's driver: "iscsi_tcp", "lpfc" */
    const char *iqn;      /* the iSCSI target's name, "" = none */
    const char *map;      /* of multipath, which has it: "/dev/mapper/..."; "" = none */
    int64_t size, number; /* bytes; LUN */
    int host, channel, id;
};
struct luns {
    struct lun *list;
    size_t n;
};

/* All of them, from the arena. */
void scsi_list(struct sm *sm, struct luns *ret_luns);
/* The disk with this id on the target ("" = on no iSCSI target, NULL = anywhere), NULL = none. */
const struct lun *scsi_find(const struct luns *luns, const char *scsi_id, const char *iqn);
/* The device of the LUN that device_config's SCSIid names, for a driver's `devices`: as scsi_find(), and one that fits (NULL = any).
 * Errors: SR_UNAVAILABLE. */
int scsi_devices(struct sm *sm, const char *iqn, bool (*fits)(const struct lun *lun), const char *const **ret_devices,
                 struct xerr *err);
/* How the disk is opened: multipath's map, else "/dev/sdb". From the arena. */
const char *scsi_path(struct sm *sm, const struct lun *lun);
/* The iSCSI target that a device of sysfs, by its real path, is on; "" = none. From the arena. */
const char *scsi_iqn(struct sm *sm, const char *real);
/* Waits until the disk is there, at most 15 s. Errors: what number says. */
int scsi_await(struct sm *sm, const char *scsi_id, const char *iqn, enum sm_error number, struct xerr *err);
/* Waits until each disk that the kernel has found there (iqn as above) is a block device, at most 15 s. */
void scsi_settle(struct sm *sm, const char *iqn);
/* Adapters (NULL = all; else those whose driver's name begins so) look for new disks. What they found is known afterwards; its
 * nodes come a moment later. */
void scsi_rescan(const char *driver);

/* The host's disks go through multipath: the request says so. */
bool scsi_multipath(const struct sm *sm);
/* All of the disk's paths that work become one map / it goes away again; nothing without multipath. Errors: MULTIPATH, also when
 * a path is left out of the map for 15 s. */
int scsi_map(struct sm *sm, const char *scsi_id, const char *iqn, struct xerr *err);
void scsi_unmap(struct sm *sm, const char *scsi_id);

#endif
