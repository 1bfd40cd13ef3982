/* Whether this host leads its pool or follows a coordinator, and whether it has lost that.
 * Called by: main.c, rpc/, http/, jobs/.  Calls: httpc, db/.
 *
 * The role is one line in ROOT/pool.conf: "master" (also when the file is not there) or "slave:ADDRESS[:PORT]". A host that
 * follows answers emergency calls only (schema: local="yes"), all else with HOST_IS_SLAVE; one that cannot reach its
 * coordinator is in emergency mode and answers HOST_IN_EMERGENCY_MODE instead. Guests run on meanwhile. */
#ifndef XAPI_POOL_ROLE_H
#define XAPI_POOL_ROLE_H

#include "xapi/call/call.h"

/* Before the role is opened: a host that follows another follows this one from now on; one that leads is left alone. Errors: INVALID_VALUE
 * [master, address]; INTERNAL_ERROR. */
int pool_role_redirect(const char *root, const char *coordinator, struct xerr *err);
/* Reads the file. Errors: INTERNAL_ERROR when it says something else. */
int pool_role_open(const char *root, struct pool_role **ret_role, struct xerr *err);
/* NULL is fine. */
void pool_role_free(struct pool_role *role);

/* True on the coordinator; NULL is one. */
bool pool_role_leads(const struct pool_role *role);
bool pool_role_is_emergency(const struct pool_role *role);
/* The gate in front of all messages and endpoints. emergency_call: one that is good for every host.
 * Errors: HOST_IN_EMERGENCY_MODE; HOST_IS_SLAVE [the coordinator's address]. */
int pool_role_check(struct pool_role *role, bool emergency_call, struct xerr *err);

/* Asks for the coordinator and remembers whether it answers. Blocks for seconds. Nothing on the coordinator itself. */
void pool_role_contact(struct agent *agent);

#endif
