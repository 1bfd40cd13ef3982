/* Alarms on metrics: other_config:perfmon of this host, of the VMs that run here and of the SRs attached here.
 * Called by: metrics.c, on its thread.  Calls: alarm_rule.c, message.c, rrd/, db/. */
#ifndef XAPI_JOBS_ALARMS_H
#define XAPI_JOBS_ALARMS_H

#include "xapi/call/call.h"

struct alarms;

struct alarms *alarms_new(struct agent *agent);
/* NULL is fine. */
void alarms_free(struct alarms *alarms);
/* After every round of the sampler: reads configurations that changed, looks at the rows that are new, and sees to it that what is
 * bad for long enough becomes a message ALARM. Does not wait. */
void alarms_look(struct alarms *alarms);

#endif
