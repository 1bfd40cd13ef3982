/* The whole database as XML, and back.
 * Called by: report.c, http/pool_db.c, http/host_files.c.  Calls: libxml2, db/. */
#ifndef XAPI_POOL_DB_H
#define XAPI_POOL_DB_H

#include "xapi/call/call.h"

/* Every persistent field of every object but sessions, tasks and roles. redact: secrets as "***" (for bug
 * reports; such a dump cannot be restored).
 *
 *   <database><manifest><pair key="format" value="xapi-1"/>...</manifest>
 *     <table name="VM"><row ref="OpaqueRef:..." name_label="..." VBDs=.../></table>...</database>
 *
 * Scalars are text; sets are ('a' 'b'), maps (('key' 'value') ...), with \ before \ and '. */
void pool_db_dump(const struct agent *agent, bool redact, struct strbuf *out);

/* Makes the database what the dump says, in one transaction: objects that are not in it go, but sessions
 * and tasks stay. The dump's host, pool and control domain become ours. dry_run: only looks whether that
 * would succeed. The agent must be restarted afterwards, so that the hypervisor, networks and storage are
 * compared with it. Errors: IMPORT_ERROR [what]: no dump; RESTORE_INCOMPATIBLE_VERSION;
 * RESTORE_TARGET_MISSING_DEVICE [device]; HOST_HAS_RESIDENT_VMS [host]: guests run, which the dump may not
 * know; the transaction's. */
int pool_db_restore(struct call *c, const char *xml, size_t len, bool dry_run, struct xerr *err);

/* The dump as a database of its own, with its own host and pool, that nothing keeps. c: for its arena. The caller closes it.
 * Errors: IMPORT_ERROR; RESTORE_INCOMPATIBLE_VERSION; the transaction's. */
int pool_db_load(struct call *c, const char *xml, size_t len, struct db **ret_db, struct xerr *err);

#endif
