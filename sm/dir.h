/* Disk images as files in one directory: what file, ext and later nfs and smb have in common.
 * Called by: file.c, ext.c, dummy.c.  Calls: image, qemu-img.
 *
 * On disk (all in the SR's directory):
 *   <vdi uuid>.qcow2        a disk; its backing file, if any, is a base
 *   <vdi uuid>.vhd          a disk, or a base when its footer says hidden: XenServer's layout
 *   <vdi uuid>.raw          a disk without chain (sm_config type=raw)
 *   base-<uuid>.qcow2       hidden: what a snapshot froze; never written again, backs disks or bases
 *   live-<vdi uuid>*        second names of a disk that is open for writing, and of what it was before a snapshot: see below
 *   tmp-*                   half-made: whoever holds the SR's lock may remove it
 *   merged-<uuid>           a base whose data is in its parent, named inside: finished by the next scan
 *   dead-<vdi uuid>.*       a disk whose removal has begun: finished by the next scan
 *   <vdi uuid>.cbtlog       which blocks of a disk changed since its last snapshot (cbt.h, track.h)
 *   .xapi-sr                the SR's uuid, written by sr_create
 *   .xapi-owner             which pool may change it: epoch.h, dir_owner.c
 * Parents are named without folder, so the directory can move. Names of qcow2 files say whether an image is hidden, so
 * that one rename or link changes content and meaning together. Files of other names are left alone.
 *
 * A snapshot freezes disk L: (1) write a new empty image on base B, as tmp-L; (2) link L to B; (3) rename tmp-L over L;
 * for a VHD, mark B hidden; (4) make the snapshot S, empty, on B. After 2 L and B are one file (a scan drops tmp-L, and
 * with it the second name); after 3 the chain is right in itself. When a guest has L open, it keeps writing into what is
 * now called B until it is told to open the new L: between "prepare" (1-3) and "finish" (4) L is empty, so L still reads
 * as the guest's disk, whatever happens to agent, guest or driver.
 *
 * QEMU opens an image by its name again when a snapshot makes it read-only. By then the name of the disk is that of another
 * image: so guests get a qcow2 under a name of its own, live-L at first and live-L-B after the snapshot that made base B,
 * which stays until the guest has gone on. */
#ifndef SM_DIR_H
#define SM_DIR_H

#include "sm/sm.h"

int dir_vdi_create(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_delete(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_resize(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_resize_online(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_snapshot(struct sm *sm, struct value *ret_answer, struct xerr *err);   /* also vdi_clone */
int dir_vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err);
/* activate, deactivate */
int dir_vdi_nothing(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_epoch_begin(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_introduce(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_update(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_forget(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_detach(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_data_destroy(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_enable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_disable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_list_changed_blocks(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_vdi_compare(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_sr_gc_plan(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_sr_gc_finish(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err);
int dir_sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err);

int dir_sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err);   /* "" */

/* The table of a driver that has functions sr_create, sr_delete, sr_probe, sr_attach and sr_detach of its own. */
#define DIR_COMMANDS                                                             \
    { "sr_create", sr_create, SM_NEEDS_SR },                                     \
    { "sr_delete", sr_delete, SM_NEEDS_SR },                                     \
    { "sr_probe", sr_probe, 0 },                                                 \
    { "sr_attach", sr_attach, SM_NEEDS_SR },                                     \
    { "sr_detach", sr_detach, SM_NEEDS_SR },                                     \
    DIR_OTHER_COMMANDS
#define DIR_OTHER_COMMANDS                                                       \
    { "sr_content_type", dir_sr_content_type, SM_NEEDS_SR },                     \
    DIR_VDI_COMMANDS,                                                            \
    { NULL, NULL, 0 }
extern const char *const dir_features[], *const dir_formats[];

/* The commands above, for a driver's table. */
#define DIR_VDI_COMMANDS                                                         \
    { "vdi_create", dir_vdi_create, SM_NEEDS_SR },                               \
    { "vdi_delete", dir_vdi_delete, SM_NEEDS_SR | SM_NEEDS_VDI },                \
    { "vdi_resize", dir_vdi_resize, SM_NEEDS_SR | SM_NEEDS_VDI },                \
    { "vdi_resize_online", dir_vdi_resize_online, SM_NEEDS_SR | SM_NEEDS_VDI },  \
    { "vdi_snapshot", dir_vdi_snapshot, SM_NEEDS_SR | SM_NEEDS_VDI },            \
    { "vdi_clone", dir_vdi_snapshot, SM_NEEDS_SR | SM_NEEDS_VDI },               \
    { "vdi_attach", dir_vdi_attach, SM_NEEDS_SR | SM_NEEDS_VDI },                \
    { "vdi_detach", dir_vdi_detach, SM_NEEDS_SR | SM_NEEDS_VDI },               \
    { "vdi_epoch_begin", dir_vdi_epoch_begin, SM_NEEDS_SR | SM_NEEDS_VDI },      \
    { "vdi_epoch_end", dir_vdi_nothing, SM_NEEDS_SR | SM_NEEDS_VDI },            \
    { "vdi_introduce", dir_vdi_introduce, SM_NEEDS_SR },                         \
    { "vdi_forget", dir_vdi_forget, SM_NEEDS_SR | SM_NEEDS_VDI },                \
    { "vdi_update", dir_vdi_update, SM_NEEDS_SR | SM_NEEDS_VDI },                \
    { "vdi_enable_cbt", dir_vdi_enable_cbt, SM_NEEDS_SR | SM_NEEDS_VDI },        \
    { "vdi_disable_cbt", dir_vdi_disable_cbt, SM_NEEDS_SR | SM_NEEDS_VDI },      \
    { "vdi_data_destroy", dir_vdi_data_destroy, SM_NEEDS_SR | SM_NEEDS_VDI },    \
    { "vdi_list_changed_blocks", dir_vdi_list_changed_blocks,                    \
      SM_NEEDS_SR | SM_NEEDS_VDI },                                              \
    { "vdi_compare", dir_vdi_compare, SM_NEEDS_SR | SM_NEEDS_VDI },              \
    { "sr_gc_plan", dir_sr_gc_plan, SM_NEEDS_SR },                               \
    { "sr_gc_finish", dir_sr_gc_finish, SM_NEEDS_SR },                           \
    { "sr_scan", dir_sr_scan, SM_NEEDS_SR },                                     \
    { "sr_update", dir_sr_update, SM_NEEDS_SR }
#define DIR_FEATURES                                                                                         \
    "SR_PROBE", "SR_SCAN", "SR_UPDATE", "VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH",              \
        "VDI_UPDATE", "VDI_INTRODUCE", "VDI_CLONE", "VDI_SNAPSHOT", "VDI_RESIZE", "VDI_RESIZE_ONLINE",       \
        "VDI_RESET_ON_BOOT/2", "THIN_PROVISIONING", "SR_COALESCE", "VDI_CONFIG_CBT", "VDI_MIRROR", "SR_METADATA"

/* ---- the SR's directory itself ------------------------------------------------------------- */

/* Refuses a directory that holds anything but lost+found, then writes .xapi-sr. */
int dir_mark(struct sm *sm, const char *path, struct xerr *err);
/* 0 when .xapi-sr names this SR or is missing (a repository made by others); else SR_UNAVAILABLE naming
 * the owner. */
int dir_check_mark(struct sm *sm, const char *path, struct xerr *err);
/* For sr_attach: dir_check_mark(), and the directory must not be another pool's (dir_owner.c). take_from takes it over. */
int dir_attach(struct sm *sm, const char *path, struct xerr *err);
/* SM_SR_IN_USE when it is another pool's. */
int dir_check_owner(struct sm *sm, const char *path, struct xerr *err);
/* A new repository is ours; one that ends, nobody's. */
int dir_claim(struct sm *sm, const char *path, struct xerr *err);
int dir_leave(struct sm *sm, const char *path, struct xerr *err);
/* The keys of device_config that all of them have. */
#define DIR_KEYS                                                                                             \
    { "take_from", "POOL-UUID:EPOCH: takes the images over from another pool" }, { NULL, NULL }

/* The uuid in .xapi-sr, "" when there is none. In the arena. */
const char *dir_read_mark(struct sm *sm, const char *path);
/* Removes .xapi-sr; SR_NOT_EMPTY when disks are left. */
int dir_unmark(struct sm *sm, const char *path, struct xerr *err);
/* The answer of sr_probe: one SR with this uuid, or none. */
struct value dir_probe_answer(struct sm *sm, const char *device_key, const char *device, const char *sr_uuid,
                              bool complete, int64_t total, int64_t free_space);

#endif
