/* The pool's database in disks of repositories: what SR.enable_database_replication asked for, kept up to date.
 * Called by: jobs/.  Calls: pool_db, storage/. */
#ifndef XAPI_VDI_METADATA_H
#define XAPI_VDI_METADATA_H

#include "xapi/call/call.h"

/* The database has changed since it was last written, and nobody writes it now. Never blocks. */
bool vdi_metadata_due(struct agent *agent);
/* Writes it to each such disk. Alerts METADATA_LUN_BROKEN when that begins to fail, METADATA_LUN_HEALTHY when it works again.
 * Blocks. */
void vdi_metadata_write(struct agent *agent);

#endif
