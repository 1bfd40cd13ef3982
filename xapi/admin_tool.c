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

int admin_parse(struct conf *said, int argc, char **argv, const char *synopsis, int *ret_rest)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    int rest;

    if (conf_parse_args(said, argc, argv, &rest, &text)) {
        fputs(strbuf_cstr(&text), stderr);
        return ADMIN_WRONG;
    }
    if (conf_bool(said, "help")) {
        conf_help(said, &text);
        printf("%s\n\n%s", synopsis, strbuf_cstr(&text));
        return -1;
    }
    *ret_rest = rest;
    return 0;
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
