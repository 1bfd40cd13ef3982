/* The bug report: what this host can tell about itself, entry by entry, as an archive.
 * Called by: host_logs.c, http/host_files.c.  Calls: subproc, pool_db, db/. */
#ifndef XAPI_REPORT_H
#define XAPI_REPORT_H

#include "xapi/call/call.h"

/* <system-status-capabilities>: one element an entry. */
void report_capabilities(const struct agent *agent, struct strbuf *out);

/* Collects the entries (names separated by commas; NULL = those checked by default) and packs them.
 * output: "tar" (plain), "tar.gz", "tar.bz2", "zip". The archive is a file below ROOT/tmp, to be unlinked
 * by the caller; its path is in c->arena. Errors: SYSTEM_STATUS_RETRIEVAL_FAILED [reason], TASK_CANCELLED.
 * Blocks for minutes. */
int report_make(struct call *c, const char *entries, const char *output, const char **ret_path,
                struct xerr *err);

/* A fresh folder below ROOT/tmp, in the arena; and its end, with everything in it. */
int report_folder(struct call *c, const char **ret_folder, struct xerr *err);
void report_remove_folder(const char *folder);

/* The agent's own log, at most limit bytes of its end, in the arena. Errors: INTERNAL_ERROR when it goes
 * where we cannot read. */
int report_own_log(struct call *c, size_t limit, const char **ret_text, struct xerr *err);

#endif
