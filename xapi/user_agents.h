/* Which programs logged in lately, by what they call themselves.
 * Called by: http/post_rpc.c, host_cache.c.  Calls: lib. */
#ifndef XAPI_USER_AGENTS_H
#define XAPI_USER_AGENTS_H

#include "lib/value.h"

struct user_agents;

struct user_agents *user_agents_new(void);
/* NULL is fine. */
void user_agents_free(struct user_agents *all);
/* A login with this User-Agent ("XenCenter/2024.1 more"); NULL and "" are passed by. The one not seen for longest goes when
 * there are more than LIMIT_USER_AGENTS. */
void user_agents_note(struct user_agents *all, const char *user_agent);
/* Name -> version seen last, from the arena. */
struct value user_agents_list(struct user_agents *all, struct arena *a);

#endif
