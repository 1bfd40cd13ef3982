/* What lib/crash.c left of agents that crashed: told once, kept for a while.
 * Called by: main.c, startup.c, report.c.  Calls: message, lib/crash. */
#ifndef XAPI_CRASH_REPORTS_H
#define XAPI_CRASH_REPORTS_H

#include "xapi/call/call.h"

/* Where they are: ROOT/crash, malloc'd. */
char *crash_reports_folder(const char *root);

/* Before anything else can crash again: those beyond LIMIT_CRASH_REPORTS go, the oldest first. */
void crash_reports_trim(const char *root);

/* At the start: for each that is new a line of the log and an alert XAPI_CRASHED of this host, whose body is what the report says
 * above its addresses. */
int crash_reports_tell(struct call *c, struct xerr *err);

/* Paths, the newest first, and how many; in the arena. */
const char *const *crash_reports_list(const char *root, struct arena *arena, size_t *ret_n);

#endif
