/* Class pool: settings of the machines of all hosts at once.
 * Called by: the generated thunks (schema/pool.xml).  Calls: host_machine.c, host_management.c. */
#include "gen/methods.h"
#define LOG_MODULE "pool"
#include "lib/log.h"
#include "xapi/host.h"

/* What is wrong with the value itself is said as it is; what a host refused becomes the pool's error with the hosts that
 * did. */
static int pool_error(struct call *c, struct xerr *why, int (*error)(struct xerr *err, const char *hosts),
                      struct xerr *err)
{
    if (xerr_is(why, "INVALID_VALUE") || xerr_is(why, "TASK_CANCELLED")) return xerr_move(err, why);
    _cleanup_free_ char *text = xerr_text(why);
    log_error("%s", text);
    xerr_clear(why);
    return error(err, arena_printf(c->arena, "[%s]", REF_STR(c->agent->host)));
}

int pool_enable_ssh(struct call *c, struct ref self, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (pool_need_self(c, self, err)) return -1;
    return host_enable_ssh(c, c->agent->host, &why) ? pool_error(c, &why, xerr_enable_ssh_partially_failed, err) : 0;
}

int pool_disable_ssh(struct call *c, struct ref self, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (pool_need_self(c, self, err)) return -1;
    return host_disable_ssh(c, c->agent->host, &why) ? pool_error(c, &why, xerr_disable_ssh_partially_failed, err) : 0;
}

int pool_set_ssh_enabled_timeout(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (pool_need_self(c, self, err)) return -1;
    return host_set_ssh_enabled_timeout(c, c->agent->host, value, &why)
               ? pool_error(c, &why, xerr_set_ssh_timeout_partially_failed, err)
               : 0;
}

int pool_set_ssh_auto_mode(struct call *c, struct ref self, bool value, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (pool_need_self(c, self, err)) return -1;
    return host_set_ssh_auto_mode(c, c->agent->host, value, &why)
               ? pool_error(c, &why, xerr_set_ssh_auto_mode_partially_failed, err)
               : 0;
}

int pool_set_console_idle_timeout(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (pool_need_self(c, self, err)) return -1;
    return host_set_console_idle_timeout(c, c->agent->host, value, &why)
               ? pool_error(c, &why, xerr_set_console_timeout_partially_failed, err)
               : 0;
}

int pool_set_https_only(struct call *c, struct ref self, bool value, struct xerr *err)
{
    return pool_need_self(c, self, err) ? -1 : host_set_https_only(c, c->agent->host, value, err);
}
