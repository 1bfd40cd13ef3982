/* Snapshot schedules: which are due, and doing what they say.
 * Called by: vmss.c, jobs/.  Calls: VM messages, db/. */
#ifndef XAPI_VMSS_H
#define XAPI_VMSS_H

#include "xapi/call/call.h"

/* The enabled schedules whose moment came in the last minutes and that have not run since; each is marked
 * as run, so that it is given out once. In the arena. Background work, every few seconds. */
size_t vmss_take_due(struct agent *agent, struct arena *a, struct ref **ret_schedules);
/* Snapshots of all its VMs, with the alerts. On a thread of its own: takes as long as the snapshots take. */
void vmss_run(struct agent *agent, struct ref schedule);

/* The last moment, not after now, that a schedule names (seconds; local time counts). False when it names
 * none. Pure. */
bool vmss_last_moment(int frequency, const struct value *schedule, int64_t now, int64_t *ret_moment);

#endif
