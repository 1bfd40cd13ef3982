/* What programs for the administrator's console share.
 * Called by: xe_reset_networking.c, xe_switch_network_backend.c.  Calls: conf, the agent's options. */
#ifndef XAPI_ADMIN_TOOL_H
#define XAPI_ADMIN_TOOL_H

#include "lib/conf.h"

enum { ADMIN_WRONG = 2 };      /* exit status: refused, and nothing was changed */

/* "PROGRAM: WHAT: WHY" on standard error (why may be ""). Returns ADMIN_WRONG. */
int admin_complain(const char *program, const char *what, const char *why);
/* The agent's configuration as it is in this file, defaults when there is none; NULL when it is wrong, which has been said then. */
struct conf *admin_agent_conf(const char *path);

#endif
