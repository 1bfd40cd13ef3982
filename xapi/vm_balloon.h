/* Memory kept free by moving guests' targets between memory_dynamic_min and memory_dynamic_max.
 * Called by: vm_power.c, jobs/, its unit test.  Calls: hv/, db/. */
#ifndef XAPI_VM_BALLOON_H
#define XAPI_VM_BALLOON_H

#include "xapi/vm.h"

struct balloon {
    int64_t min_bytes, max_bytes;
    int64_t target_bytes;            /* set by balloon_plan() */
};

/* Shares `room` bytes among the guests: all get their minimum, and the same fraction of what they could have beyond. False when there is
 * not even room for the minima; they are the targets then. */
bool balloon_plan(struct balloon *all, size_t n, int64_t room_bytes);

/* hv_start(), or hv_resume() from `image` (NULL = no). When the host's memory is not enough for the guest, others that run are asked to
 * give up some, and it is tried again with as much as came free, between the guest's own limits (an image has its size). Those that
 * give nothing are left out, and the others asked for more. When they cannot, or will not in time, they keep what they have.
 * Errors: as theirs. Blocks while guests give memory back. */
int vm_balloon_start(struct call *c, struct hv_vm *description, const char *image, int64_t *ret_domid, struct xerr *err);
/* Free memory goes back to guests that were asked to give some up. */
void vm_balloon_return(struct agent *agent);

#endif
