/* What the firmware of a machine says of it, by the names of the reference.
 * Called by: startup, vm_set.c.  Calls: db/. */
#ifndef XAPI_HOST_FIRMWARE_H
#define XAPI_HOST_FIRMWARE_H

#include "xapi/call/call.h"

enum { FIRMWARE_STRING_MAX = 512 };

/* Whether VM.bios_strings and host.bios_strings may have this key. */
bool firmware_string_known(const char *key);

/* host.bios_strings is what the folder of --firmware-dir has; empty where it is not there. Errors: the database's. */
int host_firmware_startup(struct call *c, struct xerr *err);

#endif
