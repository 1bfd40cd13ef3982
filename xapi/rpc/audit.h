/* The audit log: who asked for what, and what came of it.
 * Called by: dispatch.c, http_auth, http/get_audit_log.  Calls: libc.
 *
 * One line a call:
 *   20260821T02:00:23Z|ok|root|unix|VM.start|OpaqueRef:..., false, false
 *   20260821T02:00:24Z|RBAC_PERMISSION_DENIED|alice|192.0.2.7|VM.destroy|OpaqueRef:...
 * Secrets are `***`. Successful plain reads get a line once for each message, unless audit_reads is set. The file is
 * renamed to audit.log.1 (up to .4) when it passes 64 MiB. */
#ifndef RPC_AUDIT_H
#define RPC_AUDIT_H

#include "xapi/call/call.h"

struct audit;

enum { AUDIT_KEEP = 4 };           /* old files */
/* The file's path, malloc'd; i > 0: the i-th older one. */
char *audit_path(const char *folder, int i);

/* folder: where audit.log is. Errors: INTERNAL_ERROR naming the file. */
int audit_open(const char *folder, bool reads, struct audit **ret_audit, struct xerr *err);
void audit_close(struct audit *a);

/* args: checked arguments, NULL when the call was refused before. why: NULL or unset = ok. */
void audit_call(struct audit *a, const struct call *c, const struct method_desc *m, bool async, const struct value *args,
                const struct xerr *why);
/* Something that is no message: an HTTP request. detail is written as it is, without control characters. */
void audit_event(struct audit *a, const struct call *c, const char *what, const char *detail, const struct xerr *why);

#endif
