/* Who may call what.
 * Called by: dispatch.c, http_auth.  Calls: role. */
#ifndef RPC_RBAC_H
#define RPC_RBAC_H

#include "xapi/call/call.h"

/* The session's roles against the message's least role; for map fields also the rules of single keys. args: checked.
 * Errors: RBAC_PERMISSION_DENIED [permission, message]. */
int rbac_check(struct call *c, const struct method_desc *m, const struct value *args, struct xerr *err);
/* A permission by its least role: for who has that at hand. */
int rbac_check_role(const struct call *c, const char *permission, enum role_id role, struct xerr *err);
/* A permission of the table by its name ("http/connect_console/host_console"). */
int rbac_check_permission(const struct call *c, const char *permission, struct xerr *err);
/* What the session's scope allows (xapi/rpc/scope.c). Errors: RBAC_PERMISSION_DENIED [permission, message]. */
int scope_check(struct call *c, const struct method_desc *m, const struct value *args, struct xerr *err);
/* The same for what is no message: only a session without limits. */
int scope_check_permission(const struct call *c, const char *permission, struct xerr *err);
/* The message takes something out of a dump: a session that reads one may, though it is no accessor. */
bool scope_recovers(const struct method_desc *m);

#endif
