/* The machine under the agent.
 * Called by: host_*.c, pool_*.c, jobs/.  Calls: subproc. */
#include "xapi/machine.h"

#include <errno.h>

#define LOG_MODULE "machine"
#include "lib/log.h"
#include "lib/subproc.h"

extern char **environ;

enum { WORDS_MAX = 64, TIMEOUT_MS = 60000 };

static bool cancelled(void *arg) { return call_cancelled(arg); }

/* Our environment with XAPI_ETC. */
static const char *const *environment(struct call *c)
{
    size_t n = 0, k = 0;

    while (environ[n]) n++;
    const char **env = arena_new_array(c->arena, const char *, n + 2);
    for (size_t i = 0; i < n; i++)
        if (!has_prefix(environ[i], "XAPI_ETC=")) env[k++] = environ[i];
    env[k++] = arena_printf(c->arena, "XAPI_ETC=%s", c->agent->etc);
    env[k] = NULL;
    return env;
}

/* What its error says: the last line, without exit codes that mean nothing to users. */
static int failed(struct call *c, const char *verb, const struct subproc_result *r, struct xerr *err)
{
    char *text = arena_strdup(c->arena, strbuf_cstr(&r->err));
    size_t n = strlen(text);

    if (r->end == SUBPROC_CANCELLED) return call_check_cancel(c, err);
    while (n && (text[n - 1] == '\n' || text[n - 1] == ' ')) text[--n] = '\0';
    const char *last = strrchr(text, '\n');
    if (r->end == SUBPROC_EXITED && n) return xerr_internal(err, "%s: %s", verb, last ? last + 1 : text);
    _cleanup_free_ char *why = subproc_describe(r);
    return xerr_internal(err, "%s: %s", verb, why);
}

int machine_tell(struct call *c, const char *const *words, const char **ret_text, struct xerr *err)
{
    const char *argv[WORDS_MAX + 2] = { c->agent->machine };
    size_t n = 0;

    if (ret_text) *ret_text = "";
    if (!c->agent->machine) return 0;
    for (; words[n]; n++) {
        if (n == WORDS_MAX) return xerr_internal(err, "%s: too many arguments", words[0]);
        argv[n + 1] = words[n];
    }
    const struct subproc_command cmd = { .argv = argv, .env = environment(c), .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = TIMEOUT_MS, .cancelled = cancelled, .cancelled_arg = c };
    struct subproc_result r;
    log_info("%s%s%s", words[0], words[1] ? " " : "", words[1] ? words[1] : "");
    if (subproc_run(&cmd, NULL, 0, &limits, &r)) return xerr_internal(err, "%s: %s", argv[0], strerror(errno));
    int rc = subproc_ok(&r) ? 0 : failed(c, words[0], &r, err);
    if (!rc && ret_text) *ret_text = arena_strdup(c->arena, strbuf_cstr(&r.out));
    subproc_result_free(&r);
    return rc;
}

int machine_need(struct call *c, struct xerr *err)
{
    return c->agent->machine ? 0
                             : xerr_operation_not_allowed(err, "This agent does not act on its machine (option machine)");
}
