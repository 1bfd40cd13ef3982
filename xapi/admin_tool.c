/* What programs for the administrator's console share.
 * Called by: xe_reset_networking.c, xe_switch_network_backend.c.  Calls: conf, the agent's options. */
#include "xapi/admin_tool.h"

#include <stdio.h>

#include "xapi/options.h"

int admin_complain(const char *program, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s%s%s\n", program, what, *why ? ": " : "", why);
    return ADMIN_WRONG;
}

struct conf *admin_agent_conf(const char *path)
{
    struct conf *agent = conf_new(daemon_options);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;

    if (access(path, F_OK) || !conf_load(agent, path, &errors)) return agent;
    fputs(strbuf_cstr(&errors), stderr);
    conf_free(agent);
    return NULL;
}
