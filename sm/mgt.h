/* The management volume of an LVM repository: names and kinds of its disks, for the day when the database is lost.
 * Called by: lvhd*.c.  Calls: vg.
 *
 * XenServer's layout. Volume "MGT", text in sectors of 512 bytes filled up with spaces:
 *   0  XSSM:LENGTH    :1:2        bytes that are in use, left-aligned in ten columns
 *   1  <?xml version="1.0" ?><uuid>..</uuid><allocation>thick</allocation>
 *   2  <name_label>..</name_label>
 *   3  <name_description>..</name_description>
 *   then two for each disk: <vdi><name_label>..</name_label><name_description>..</name_description>
 *      and its other elements, one of them <deleted>0</deleted>, up to </vdi>.
 * The volume is active as long as the repository is plugged. A repository without one has no such notes. */
#ifndef SM_MGT_H
#define SM_MGT_H

#include "sm/vg.h"

#define MGT_NAME "MGT"
enum { MGT_BYTES = 32 << 20, MGT_SECTOR = 512, MGT_HEAD = 4 * MGT_SECTOR, MGT_VDI = 2 * MGT_SECTOR };

struct mgt {
    struct sm *sm;
    int fd;          /* -1 = there is none */
    int64_t size, length;
};
#define MGT_INIT { .fd = -1 }

struct mgt_vdi {
    const char *uuid, *name_label, *name_description, *vdi_type, *type, *snapshot_of, *snapshot_time;
    bool is_a_snapshot, managed, read_only;
};

/* Writes an empty one into the volume, which is active. */
int mgt_format(struct vg *vg, const char *allocation, struct xerr *err);
/* The group's, when it has one that can be read. */
void mgt_open(struct vg *vg, struct mgt *ret_mgt);
void mgt_close(struct mgt *m);
#define _cleanup_mgt_ _cleanup_(mgt_close)

/* What it says: struct mgt_vdi by uuid, from the arena. "" where it says nothing. */
struct map *mgt_read(struct mgt *m);
/* The text of an element in the first four sectors, or "": allocation, name_label, name_description. */
const char *mgt_about(struct sm *sm, const char head[MGT_HEAD], const char *element);
/* Durable. Names that are too long are cut. METADATA when it is full. */
int mgt_add(struct mgt *m, const struct mgt_vdi *vdi, struct xerr *err);
int mgt_drop(struct mgt *m, const char *uuid, struct xerr *err);

#endif
