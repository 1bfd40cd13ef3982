/* Class VM: plug-ins for one VM. The one that speaks to its guest's agent is ours: names, answers and failures are those that
 * clients know.
 * Called by: the generated thunks (schema/vm.xml), vm_live.c.  Calls: hv/, host_plugin.c, db/. */
#include "xapi/vm_plugin.h"

#include <pthread.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/json.h"
#include "lib/limits.h"
#include "xapi/host.h"
#include "xapi/vm.h"

#define AGENT_PLUGIN "guest-agent-operation"
enum { SAID_MAX_BYTES = 1024, SCRIPT_TIMEOUT_MS = 10 * 60000 };

/* ---- how often -------------------------------------------------------------------------------------------------- */

struct one_call {
    struct ref vm;
    int64_t at_ns;
};

struct plugin_calls {
    pthread_mutex_t lock;
    size_t n, cap;             /* lock */
    struct one_call *calls;    /* lock; of the last interval only */
};

struct plugin_calls *plugin_calls_new(void)
{
    struct plugin_calls *all = xcalloc(1, sizeof(*all));

    pthread_mutex_init(&all->lock, NULL);
    return all;
}

void plugin_calls_free(struct plugin_calls *all)
{
    if (!all) return;
    free(all->calls);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

/* Notes a call; how long this VM's next one has to wait instead, when there was one within the interval; else 0. */
static int64_t note_call(struct plugin_calls *all, struct ref vm, int64_t interval_ns)
{
    const int64_t now_ns = clock_boottime_ns();
    int64_t wait_ns = 0;
    size_t kept = 0;

    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < all->n; i++) {
        const int64_t left_ns = all->calls[i].at_ns + interval_ns - now_ns;
        if (left_ns <= 0) continue;
        if (ref_eq(all->calls[i].vm, vm)) wait_ns = left_ns;
        all->calls[kept++] = all->calls[i];
    }
    all->n = kept;
    if (!wait_ns) {
        if (all->n == all->cap) {
            all->cap = all->cap ? 2 * all->cap : 16;
            all->calls = xrealloc(all->calls, all->cap * sizeof(*all->calls));
        }
        all->calls[all->n++] = (struct one_call){ vm, now_ns };
    }
    pthread_mutex_unlock(&all->lock);
    return wait_ns;
}

/* Seconds as the reference writes them: "10.", "2.5". */
static const char *seconds(struct call *c, int64_t ns)
{
    const char *text = arena_printf(c->arena, "%.12g", (double)ns / (double)NS_PER_S);

    return strchr(text, '.') ? text : arena_printf(c->arena, "%s.", text);
}

static int hold_back(struct call *c, struct ref vm, struct xerr *err)
{
    const int64_t interval_ns = conf_ms(c->agent->conf, "vm-call-plugin-interval") * NS_PER_MS;
    const int64_t wait_ns = note_call(c->agent->plugin_calls, vm, interval_ns);

    return wait_ns ? xerr_vm_call_plugin_rate_limit(err, REF_STR(vm), seconds(c, interval_ns), seconds(c, wait_ns)) : 0;
}

/* ---- the guest's agent ------------------------------------------------------------------------------------------- */

struct operation {
    const char *fn;
    int (*run)(struct call *c, struct hv_id id, const struct value *args, const char **ret_result, struct xerr *err);
};

static int failed(struct call *c, const char *status, const char *fn, const char *what, struct xerr *err)
{
    const char *text = arena_printf(c->arena, "The requested fn \"%s\" %s", fn, what);

    return xerr_xenapi_plugin_failure(err, status, text, text);
}

static int lacks_feature(struct call *c, const char *fn, struct xerr *err)
{
    return failed(c, "failed to execute fn", fn,
                  "of plugin \"" AGENT_PLUGIN "\" could not be executed for lack of guest agent control feature.", err);
}

/* XenServer's tools in a Windows guest say that they can. */
static bool has_remote_desktop(struct call *c, struct ref vm)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);
    const struct row *m = row ? snap_get(s, CLASS_VM_guest_metrics, row_ref(row, F_VM_guest_metrics)) : NULL;
    const char *says = m ? row_map_str(m, F_VM_guest_metrics_other, "feature-ts2", "") : "";

    return *says && !streq(says, "0");
}

static int remote_desktop(struct call *c, struct hv_id id, bool on, const char **ret_result, struct xerr *err)
{
    if (!hv_can(c->agent->hv, HV_CAN_GUEST_RDP) || !has_remote_desktop(c, id.vm))
        return lacks_feature(c, on ? "request-rdp-on" : "request-rdp-off", err);
    *ret_result = "";
    return hv_guest_rdp(c->agent->hv, id, on, err);
}

static int rdp_on(struct call *c, struct hv_id id, const struct value *args, const char **ret_result, struct xerr *err)
{
    (void)args;
    return remote_desktop(c, id, true, ret_result, err);
}

static int rdp_off(struct call *c, struct hv_id id, const struct value *args, const char **ret_result, struct xerr *err)
{
    (void)args;
    return remote_desktop(c, id, false, ret_result, err);
}

/* Only where the pool's administrator lets scripts be run, by who may read a guest's memory, too. */
static int check_script(struct call *c, const struct value *args, struct xerr *err)
{
    static const char *const required[] = { "username", "password", "script" };
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *pool = snap_need(s, CLASS_pool, c->agent->pool, err);
        if (!pool) return -1;
        if (!streq(row_map_str(pool, F_pool_other_config, "allow_guest_agent_run_script", ""), "true"))
            return xerr_feature_restricted(err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(required); i++)
        if (!value_get_str(args, required[i], NULL))
            return xerr_xenapi_plugin_failure(err, "missing argument", "", arena_printf(c->arena, "Argument %s is required.", required[i]));
    if (!c->is_root && !(c->roles & (1u << ROLE_VM_POWER_ADMIN)))
        return xerr_rbac_permission_denied(err, "vm.call_plugin", "No permission to run script, must have VM power admin role or higher.");
    if (strlen(value_get_str(args, "script", "")) > LIMIT_GUEST_SCRIPT)
        return xerr_xenapi_plugin_failure(err, "length restriction", "", "The script length must not exceed 1024 bytes");
    return 0;
}

/* No more than clients have always got, and a mark when there was more. */
static const char *shorten(struct call *c, const char *text)
{
    static const char mark[] = " (truncated)";
    size_t n = SAID_MAX_BYTES - (sizeof(mark) - 1);

    if (strlen(text) < SAID_MAX_BYTES) return text;
    while (n && ((unsigned char)text[n] & 0xc0) == 0x80) n--;      /* between characters */
    return arena_printf(c->arena, "%.*s%s", (int)n, text, mark);
}

static bool cancelled(void *arg) { return call_cancelled(arg); }

static int run_script(struct call *c, struct hv_id id, const struct value *args, const char **ret_result, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf json = STRBUF_INIT;
    struct value_builder b = value_builder(c->arena);
    struct hv_ran ran;

    if (check_script(c, args, err)) return -1;
    if (!hv_can(c->agent->hv, HV_CAN_GUEST_RUN)) return lacks_feature(c, "run-script", err);
    if (hv_guest_run(c->agent->hv, id, value_get_str(args, "script", ""), SCRIPT_TIMEOUT_MS, cancelled, c, c->arena, &ran, err)) {
        if (!call_cancelled(c)) return -1;
        xerr_clear(err);
        return call_check_cancel(c, err);
    }
    value_put_new(&b, "rc", value_int(ran.code));
    value_put_new(&b, "stdout", value_string(shorten(c, ran.out)));
    value_put_new(&b, "stderr", value_string(shorten(c, ran.err)));
    const struct value all = value_built_map(&b);
    json_encode_value(&all, &json);
    *ret_result = arena_strdup(c->arena, strbuf_cstr(&json));
    return 0;
}

static const struct operation operations[] = {
    { "request-rdp-on", rdp_on },
    { "request-rdp-off", rdp_off },
    { "run-script", run_script },
};

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static int identify(struct call *c, struct ref vm, struct hv_id *ret, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (row) *ret = hv_id(arena_strdup(c->arena, row_uuid(row)), vm);
    return row ? 0 : -1;
}

int vm_plugin(struct call *c, struct ref vm, const char *plugin, const char *fn, const struct value *args, const char **ret_result,
              struct xerr *err)
{
    struct value_builder all = value_builder(c->arena);
    struct hv_id id;

    if (identify(c, vm, &id, err)) return -1;
    for (size_t i = 0; i < args->map.n; i++) value_put(&all, args->map.members[i].key, args->map.members[i].value);
    value_put(&all, "vm_uuid", value_string(id.uuid));
    const struct value with_uuid = value_built_map(&all);
    return host_call_plugin(c, c->agent->host, plugin, fn, &with_uuid, ret_result, err);
}

/* Functions besides ours are a program's that the administrator has put beside the host's plug-ins under this name. No other one:
 * who may operate a VM may not for that reason run programs of the host's (those of VM.call_host_plugin are listed). */
int vm_call_plugin(struct call *c, struct ref vm, const char *plugin, const char *fn, const struct value *args,
                   const char **ret_result, struct xerr *err)
{
    struct hv_id id;

    if (!streq(plugin, AGENT_PLUGIN)) return xerr_xenapi_missing_plugin(err, plugin);
    if (identify(c, vm, &id, err) || hold_back(c, vm, err)) return -1;
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
        if (streq(operations[i].fn, fn)) return operations[i].run(c, id, args, ret_result, err);
    if (vm_plugin(c, vm, plugin, fn, args, ret_result, err) == 0) return 0;
    if (!xerr_is(err, "XENAPI_MISSING_PLUGIN")) return -1;
    xerr_clear(err);
    return failed(c, "failed to find fn", fn, "could not be found in plugin \"" AGENT_PLUGIN "\".", err);
}
