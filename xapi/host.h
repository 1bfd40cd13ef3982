/* What the files of class host share with each other and with pool.
 * Called by: host_*.c, pool_*.c, startup.  Calls: db/. */
#ifndef XAPI_HOST_H
#define XAPI_HOST_H

#include "xapi/call/call.h"

/* The host must exist and be this one. Errors: HANDLE_INVALID, HOST_OFFLINE [host]. */
int host_need_self(struct call *c, struct ref host, struct xerr *err);
/* The pool must exist. Errors: HANDLE_INVALID. */
int pool_need_self(struct call *c, struct ref pool, struct xerr *err);

/* ---- host.c ---- */

/* Where clients connect to a console: an absolute URL with a query, by the address of the host's record. */
const char *host_console_location(struct arena *a, const struct row *host, struct ref console);

/* ---- host_plugin.c ---- */

/* True when this host has the extension: a program of that name in extension-dir. */
bool host_extension_exists(const struct agent *agent, const char *name);

/* ---- host_config.c ---- */

/* The edition must be one that this host has. Errors: INVALID_EDITION [edition]. */
int host_set_edition(struct call *c, const char *edition, struct xerr *err);

/* ---- host_hardware.c ---- */

/* Once after each boot: what was asked for from the next boot on is so now. */
void host_booted(struct agent *agent);

/* ---- host_crashdump.c ---- */

/* One record for each dump in crash-dir; records without a dump go. */
int host_crashdumps_scan(struct call *c, struct xerr *err);

#endif
