/* VMs that start by themselves when the host was booted: pool and VM have other_config:auto_poweron = true.
 * Called by: jobs/.  Calls: db/, the gates.
 *
 * As in an appliance: the lowest VM.order first, then the longest of its start_delays, then the next. */
#include "xapi/vm_autostart.h"

#include <errno.h>
#include <time.h>

#define LOG_MODULE "autostart"
#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/log.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

enum { DELAY_MAX_S = 86400, STORAGE_WAIT_S = 300, RETRY_S = 2 };

struct candidate {
    struct ref vm;
    int64_t order, delay_s;
};

bool vm_autostart_due(struct agent *agent)
{
    _cleanup_free_ char *path = xasprintf("%s/boot-id", agent->root), *now = NULL, *before = NULL;
    size_t len;

    if (read_file(BOOT_ID, 4096, &now, &len)) {
        log_warn("%s: %s; VMs do not start by themselves", BOOT_ID, strerror(errno));
        return false;
    }
    bool known = !read_file(path, 4096, &before, NULL);
    if (known && streq(now, before)) return false;
    /* Noted before anything is started: an agent that dies meanwhile must not start what was halted since. */
    if (write_file_atomic(path, now, len, 0644)) {
        log_error("%s: %s; VMs do not start by themselves", path, strerror(errno));
        return false;
    }
    return known;
}

static bool is_on(const struct row *row, field_id other_config)
{
    return row && streq(row_map_str(row, other_config, "auto_poweron", ""), "true");
}

static int by_order(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return x->order != y->order ? (x->order < y->order ? -1 : 1) : ref_cmp(x->vm, y->vm);
}

static const struct candidate *list(struct call *c, size_t *ret_n)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct candidate *all = arena_new_array(c->arena, struct candidate, snap_count(s, CLASS_VM) + 1);

    *ret_n = 0;
    if (!is_on(snap_get(s, CLASS_pool, c->agent->pool), F_pool_other_config)) return all;
    SNAP_EACH (s, CLASS_VM, vm) {
        if (row_bool(vm, F_VM_is_a_template) || row_bool(vm, F_VM_is_control_domain) || !is_on(vm, F_VM_other_config) ||
            row_enum(vm, F_VM_power_state) != vm_power_state_Halted)
            continue;
        int64_t delay = row_int(vm, F_VM_start_delay);
        all[(*ret_n)++] = (struct candidate){ row_ref_of(vm), row_int(vm, F_VM_order),
                                              delay < 0 ? 0 : delay > DELAY_MAX_S ? DELAY_MAX_S : delay };
    }
    qsort(all, *ret_n, sizeof(*all), by_order);
    return all;
}

/* False when the agent is ending. */
static bool wait_seconds(struct call *c, int64_t seconds)
{
    const struct timespec step = { 0, 100 * NS_PER_MS };

    for (int64_t until = clock_boottime_ns() + seconds * NS_PER_S; clock_boottime_ns() < until;) {
        if (call_cancelled(c)) return false;
        nanosleep(&step, NULL);
    }
    return !call_cancelled(c);
}

/* Repositories are plugged in the background after a boot: a VM whose disks are not there yet is tried again. */
static void start(struct call *c, struct ref vm, int64_t deadline_ns)
{
    for (;;) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (!call_message(c, "VM.start", ARGS(value_ref(vm), value_bool(false), value_bool(false)), NULL, &err)) {
            log_info("VM %s was started: the host was booted", REF_STR(vm));
            return;
        }
        bool later = xerr_is(&err, "SR_HAS_NO_PBDS") && clock_boottime_ns() < deadline_ns;
        if (later && wait_seconds(c, RETRY_S)) continue;
        _cleanup_free_ char *why = xerr_text(&err);
        log_error("VM %s did not start after the boot of the host: %s", REF_STR(vm), why);
        return;
    }
}

void vm_autostart_run(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "automatic start");
    int64_t deadline_ns = clock_deadline_ns(STORAGE_WAIT_S * 1000), delay_s = 0;
    size_t n;
    const struct candidate *all = list(c, &n);

    if (n) log_info("%zu VMs start by themselves", n);
    for (size_t i = 0; i < n && !call_cancelled(c); i++) {
        start(c, all[i].vm, deadline_ns);
        if (all[i].delay_s > delay_s) delay_s = all[i].delay_s;
        if (i + 1 == n || all[i + 1].order == all[i].order) continue;
        if (!wait_seconds(c, delay_s)) break;
        delay_s = 0;
    }
    call_free_internal(c);
}
