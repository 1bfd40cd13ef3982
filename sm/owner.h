/* Whose a volume group is: epoch.h's mark as the tag xapi_owner_<pool uuid>_<epoch> of every device of the group.
 * Called by: lvhd*.c.  Calls: epoch, vg.
 *
 * A new volume can be asked for on devices with the tag that we remember: LVM then looks and acts under one lock.
 *
 * Not prevented: a program that was stopped between its look and its next command goes on with that one command; data
 * written to disks that are attached already. */
#ifndef SM_OWNER_H
#define SM_OWNER_H

#include "sm/vg.h"

/* epoch_attach(), epoch_check(), epoch_claim() of a group. */
int owner_attach(struct vg *vg, struct xerr *err);
int owner_check(struct vg *vg, struct xerr *err);
int owner_claim(struct vg *vg, struct xerr *err);
/* The tag that a new volume's devices must have, as far as it is known without looking; "" = not. */
const char *owner_tag(struct sm *sm);
void owner_forget(struct sm *sm);

#endif
