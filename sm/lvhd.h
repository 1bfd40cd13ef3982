/* Disk images in logical volumes: what lvm, lvmoiscsi and lvmohba have in common.
 * Called by: those drivers.  Calls: vg, mgt, image, chain.
 *
 * On disk, XenServer's layout: volume group VG_XenStorage-<sr uuid>, in it
 *   VHD-<vdi uuid>     a VHD; hidden in its footer when it is a base
 *   QCOW2-<vdi uuid>   a qcow2 image; tag "hidden" on a base
 *   LV-<vdi uuid>      the bare bytes of a disk; tag "hidden" when VHDs stand on it
 *   <vdi uuid>.cbtlog  which blocks of a disk changed since its last snapshot (lvhd_cbt.c)
 *   MGT                names (mgt.h)
 * and while something is under way
 *   tmp-<name>         the new empty image that is to take a disk's name
 *   dead-<name>        a disk whose data is in its parent, which is to take its name
 *   tag xapi_id_<id>   on a volume made by us: the id inside the VHD. A VHD that says otherwise was never finished
 *   tag xapi_merged_<uuid>  on a base: its data is in that one, and its children are being hung there
 * Parents are named as their volumes.
 *
 * A new disk gets all the room it can ever need (thick), or little (allocation=thin) until it is attached for writing; a
 * thin one gives it back at detach. Bases keep what they use. Snapshots and clones begin small.
 *
 * A snapshot freezes disk L: (1) a new empty image on base B, as tmp-L; (2) L is renamed to B; (3) tmp-L to L; (4) B is
 * marked hidden and loses the room it does not use; (5) the snapshot S, empty, on B. Between 2 and 3 there is no L: a scan
 * goes on at 3. Before 2 it drops tmp-L.
 *
 * QEMU opens an image by its name again when a snapshot makes it read-only, and then the name of the disk is that of another
 * volume. So guests get a qcow2 by links beside the volumes, in /dev/VG: live-<name> at first, live-<name>-<uuid of B> after
 * the snapshot that made B, which stays until the guest has gone on.
 *
 * Volumes are active while somebody has the disk. Which disks that are is noted in STATE_DIR/use-<sr uuid>, so that a base
 * is let go with the last of them. A scan deactivates what a killed driver left: a volume that stays active here while
 * another host gives it more room or another name would show this host the wrong extents later. */
#ifndef SM_LVHD_H
#define SM_LVHD_H

#include "sm/sm.h"

/* On the driver's devices. */
int lvhd_sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_gc_plan(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_gc_prepare(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_gc_finish(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_create(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_delete(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_resize(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_resize_online(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_snapshot(struct sm *sm, struct value *ret_answer, struct xerr *err); /* also vdi_clone */
int lvhd_vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_detach(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_epoch_begin(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_data_destroy(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_enable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_disable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_list_changed_blocks(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_compare(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_introduce(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_vdi_update(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_nothing(struct sm *sm, struct value *ret_answer, struct xerr *err);
int lvhd_sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err);

/* A driver's table, with its functions for sr_create, sr_delete, sr_attach, sr_detach and sr_probe. */
#define LVHD_COMMANDS(create, delete, attach, detach, probe)                                                 \
    { "sr_create", create, SM_NEEDS_SR },                                                                    \
    { "sr_delete", delete, SM_NEEDS_SR },                                                                    \
    { "sr_attach", attach, SM_NEEDS_SR },                                                                    \
    { "sr_detach", detach, SM_NEEDS_SR },                                                                    \
    { "sr_probe", probe, 0 },                                                                                \
    { "sr_content_type", lvhd_sr_content_type, SM_NEEDS_SR },                                                \
    { "sr_scan", lvhd_sr_scan, SM_NEEDS_SR },                                                                \
    { "sr_update", lvhd_sr_update, SM_NEEDS_SR },                                                            \
    { "sr_gc_plan", lvhd_sr_gc_plan, SM_NEEDS_SR },                                                          \
    { "sr_gc_prepare", lvhd_sr_gc_prepare, SM_NEEDS_SR },                                                    \
    { "sr_gc_finish", lvhd_sr_gc_finish, SM_NEEDS_SR },                                                      \
    { "vdi_create", lvhd_vdi_create, SM_NEEDS_SR },                                                          \
    { "vdi_delete", lvhd_vdi_delete, SM_NEEDS_SR | SM_NEEDS_VDI },                                           \
    { "vdi_resize", lvhd_vdi_resize, SM_NEEDS_SR | SM_NEEDS_VDI },                                           \
    { "vdi_resize_online", lvhd_vdi_resize_online, SM_NEEDS_SR | SM_NEEDS_VDI },                             \
    { "vdi_snapshot", lvhd_vdi_snapshot, SM_NEEDS_SR | SM_NEEDS_VDI },                                       \
    { "vdi_clone", lvhd_vdi_snapshot, SM_NEEDS_SR | SM_NEEDS_VDI },                                          \
    { "vdi_attach", lvhd_vdi_attach, SM_NEEDS_SR | SM_NEEDS_VDI },                                           \
    { "vdi_detach", lvhd_vdi_detach, SM_NEEDS_SR | SM_NEEDS_VDI },                                           \
    { "vdi_epoch_begin", lvhd_vdi_epoch_begin, SM_NEEDS_SR | SM_NEEDS_VDI },                                 \
    { "vdi_epoch_end", lvhd_nothing, SM_NEEDS_SR | SM_NEEDS_VDI },                                           \
    { "vdi_enable_cbt", lvhd_vdi_enable_cbt, SM_NEEDS_SR | SM_NEEDS_VDI },                                   \
    { "vdi_disable_cbt", lvhd_vdi_disable_cbt, SM_NEEDS_SR | SM_NEEDS_VDI },                                 \
    { "vdi_data_destroy", lvhd_vdi_data_destroy, SM_NEEDS_SR | SM_NEEDS_VDI },                               \
    { "vdi_list_changed_blocks", lvhd_vdi_list_changed_blocks, SM_NEEDS_SR | SM_NEEDS_VDI },                 \
    { "vdi_compare", lvhd_vdi_compare, SM_NEEDS_SR | SM_NEEDS_VDI },                                         \
    { "vdi_introduce", lvhd_vdi_introduce, SM_NEEDS_SR },                                                    \
    { "vdi_update", lvhd_vdi_update, SM_NEEDS_SR | SM_NEEDS_VDI },                                           \
    { "vdi_forget", lvhd_nothing, SM_NEEDS_SR | SM_NEEDS_VDI },                                              \
    { NULL, NULL, 0 }
extern const char *const lvhd_features[], *const lvhd_formats[];

/* device_config's keys that each of them has, the last ones. */
#define LVHD_KEYS                                                                                            \
    { "allocation", "thick (default) or thin: disks get all their room at once, or while they are attached" },   \
    { "take_from", "POOL-UUID:EPOCH: takes the volumes over from another pool" },                            \
    { NULL, NULL }
/* A driver of volumes: its type, name, description, what lists its devices, then as for LVHD_COMMANDS. Its keys are in a
 * table of the file, configuration. */
#define LVHD_MAIN(type_, name_, description_, devices_, ...)                                                 \
    static const struct sm_command commands[] = { LVHD_COMMANDS(__VA_ARGS__) };                              \
    static const struct sm_driver driver = {                                                                 \
        .type = type_, .name = name_, .description = description_, .configuration = configuration,           \
        .features = lvhd_features, .formats = lvhd_formats, .commands = commands, .devices = devices_,       \
    };                                                                                                       \
    int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }

#endif
