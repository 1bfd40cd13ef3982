/* Block devices that a repository is made of.
 * Called by: lvm.c.  Calls: libc. */
#ifndef SM_BLOCK_H
#define SM_BLOCK_H

#include "sm/sm.h"

/* device_config's device, one or several with commas between, resolved: a driver's devices(). Errors: DEVICE_MISSING,
 * DEVICE_INVALID. */
int block_devices(struct sm *sm, const char *const **ret_devices, struct xerr *err);

#endif
