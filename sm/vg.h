/* A volume group of LVM: what it holds, with one command, and every change of it.
 * Called by: lvhd*.c, mgt.c, the drivers of block devices.  Calls: lvm(8), dmsetup(8).
 *
 * Commands see the devices of the repository only (--devices), however many disks and volumes the host has. What lies at
 * the beginning of a volume is read from the devices themselves, so that a scan activates nothing; it is read past the
 * page cache, because what is written goes through the volume's own device. */
#ifndef SM_VG_H
#define SM_VG_H

#include "sm/sm.h"

#define VG_PREFIX "VG_XenStorage-"

enum {
    VG_EXTENT = 4 << 20,        /* of the groups made here; sizes of volumes are multiples */
    VG_METADATA_MIB = 128,      /* room for LVM's own records: 16,000 volumes need 8 MiB, twice */
    VG_PEEK = 4096,             /* bytes at the beginning of a volume that can be read without activating it */
};

struct vg_pv {
    const char *name, *tags;
    int64_t start; /* bytes before the first extent */
    int fd;        /* -1 = not opened yet */
};
/* A run of a volume on a device; all in bytes. */
struct vg_run {
    int64_t at, len, pv_at;
    size_t pv;
};
struct vg_lv {
    const char *name, *tags; /* tags: with commas between */
    int64_t size;
    struct vg_run first;     /* the run that begins at 0; len 0 = not known */
};

struct vg {
    struct sm *sm;
    const char *name;               /* "VG_XenStorage-<sr uuid>" */
    const char *const *devices;     /* NULL-terminated */
    int64_t extent, size, free_space;
    struct vg_pv *pvs;
    struct vg_lv *lvs;
    size_t n_pvs, n_lvs;
    struct map *by_name;            /* of lvs */
};
#define VG_INIT { .n_pvs = 0 }

/* What the driver's devices hold; one LVM command. Errors: SR_UNAVAILABLE when they hold no such group. */
int vg_read(struct sm *sm, struct vg *ret_vg, struct xerr *err);
/* Names the group without looking: for vg_create_lv() and the paths. */
int vg_name(struct sm *sm, struct vg *ret_vg, struct xerr *err);
void vg_close(struct vg *vg);
#define _cleanup_vg_ _cleanup_(vg_close)

const struct vg_lv *vg_find(const struct vg *vg, const char *name); /* NULL = none */
bool vg_lv_has_tag(const struct vg_lv *lv, const char *tag);
/* The rest of the first tag that begins so, from the arena; NULL = none. */
const char *vg_tag_value(struct sm *sm, const char *tags, const char *prefix);
/* What lies there, without activating it. 0 or -1 + errno: ENODATA beyond the run that begins at 0. */
int vg_read_at(struct vg *vg, const struct vg_lv *lv, int64_t at, void *buf, size_t len);
/* VG_PEEK bytes from the beginning. */
int vg_peek(struct vg *vg, const struct vg_lv *lv, void *buf);
/* "/dev/VG/LV", there while it is active. */
const char *vg_path(const struct vg *vg, const char *lv);
bool vg_is_active(const struct vg *vg, const char *lv);
/* Whole extents. */
int64_t vg_round(int64_t bytes);

/* An LVM command on the group's devices: argv without "lvm" and options of ours. */
int vg_lvm(struct sm *sm, const char *const *devices, const char *const argv[], const char **ret_out,
           enum sm_error number, struct xerr *err);
/* A new volume, active, with whatever lay on its extents. tag NULL = none. pv_tag: only on devices with this tag, NULL = any.
 * Errors: VDI_EXISTS, NO_SPACE, VDI_CREATE; SR_UNAVAILABLE when no device has the tag. */
int vg_create_lv(struct vg *vg, const char *name, int64_t size, const char *tag, const char *pv_tag, struct xerr *err);
/* Deactivated first. */
int vg_remove_lv(struct vg *vg, const char *name, struct xerr *err);
int vg_rename_lv(struct vg *vg, const char *from, const char *to, struct xerr *err);
/* Larger or smaller; the content stays as far as it has room. Success when it is so already. */
int vg_resize_lv(struct vg *vg, const char *name, int64_t size, enum sm_error number, struct xerr *err);
/* add, drop: NULL = none. */
int vg_tag_lv(struct vg *vg, const char *name, const char *add, const char *drop, struct xerr *err);
/* All of them with one command. */
int vg_activate(struct vg *vg, const char *const *names, size_t n, struct xerr *err);
/* Unless somebody has it open. */
void vg_deactivate(struct vg *vg, const char *name);
/* For a volume that nobody has: waits for those who only look at devices that are new. */
void vg_release(struct vg *vg, const char *name);

#endif
