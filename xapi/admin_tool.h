/* What programs for the administrator's console share.
 * Called by: xe_reset_networking.c, xe_switch_network_backend.c.  Calls: conf, the agent's options. */
#ifndef XAPI_ADMIN_TOOL_H
#define XAPI_ADMIN_TOOL_H

#include "lib/conf.h"

enum { ADMIN_WRONG = 2 };      /* exit status: refused, and nothing was changed */

/* "PROGRAM: WHAT: WHY" on standard error (why may be ""). Returns ADMIN_WRONG. */
int admin_complain(const char *program, const char *what, const char *why);
/* Parses what was said. 0 with the index of the first word that is no option; ADMIN_WRONG: not understood, which has been said;
 * -1: --help was asked for, and is printed below the synopsis ("PROGRAM WORDS: what it does"). */
int admin_parse(struct conf *said, int argc, char **argv, const char *synopsis, int *ret_rest);
/* The agent's configuration as it is in this file, defaults when there is none; NULL when it is wrong, which has been said then. */
struct conf *admin_agent_conf(const char *path);

#endif
