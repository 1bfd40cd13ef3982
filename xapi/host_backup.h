/* Backup and restore of what this host keeps below its root: database, certificates, blobs.
 * Called by: http/host_files.c.  Calls: pool_db, report, subproc. */
#ifndef XAPI_HOST_BACKUP_H
#define XAPI_HOST_BACKUP_H

#include "xapi/call/call.h"

/* A tar file below ROOT/tmp, to be unlinked by the caller; its path is in c->arena. Errors:
 * BACKUP_SCRIPT_FAILED [log]. */
int host_backup_make(struct call *c, const char **ret_path, struct xerr *err);
/* Takes over what the tar file holds; folder is for unpacking and the caller's. The agent must be
 * restarted afterwards. Errors: RESTORE_SCRIPT_FAILED [log], as pool_db_restore(). */
int host_backup_restore(struct call *c, const char *folder, const char *tar, struct xerr *err);

#endif
