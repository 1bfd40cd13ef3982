/* Whose a volume group is: the pool that may change it, and how often it has changed hands.
 * Called by: lvhd*.c.  Calls: vg.
 *
 * Every device of the group carries the tag xapi_owner_<pool uuid>_<epoch>. A pool takes a group that has none when it first
 * changes it. Another pool's PBD.plug fails and names the owner; with device_config take_from=<pool uuid>:<epoch>, exactly
 * what that error names, it takes the group over: the epoch rises, and whoever still holds the old one fails at its next
 * change. The tag that is ours is remembered in STATE_DIR/owner-<sr uuid>, so that a new volume can be asked for on devices
 * with this tag: LVM then looks and acts under one lock.
 *
 * Not prevented: a program that was stopped between its look and its next command goes on with that one command; data
 * written to disks that are attached already. */
#ifndef SM_OWNER_H
#define SM_OWNER_H

#include "sm/vg.h"

/* For sr_attach: takes over when the request says so. Nothing is written otherwise. Errors: SR_IN_USE naming the owner. */
int owner_attach(struct vg *vg, struct xerr *err);
/* Before a change: ours, or made ours when it was nobody's. Errors: SR_IN_USE. */
int owner_check(struct vg *vg, struct xerr *err);
/* The tag that a new volume's devices must have, as far as it is known without looking; "" = not. */
const char *owner_tag(struct sm *sm);
/* A new group is ours. */
int owner_claim(struct vg *vg, struct xerr *err);
void owner_forget(struct sm *sm);

#endif
