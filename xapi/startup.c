/* From an empty or an old database to an agent that serves: one table of steps.
 * Called by: main.c.  Calls: class files, hv/, net/, storage/, db/. */
#include "xapi/startup.h"

#define LOG_MODULE "startup"
#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/blob.h"
#include "xapi/crash_reports.h"
#include "xapi/host.h"
#include "xapi/host_firmware.h"
#include "xapi/network.h"
#include "xapi/sm.h"
#include "xapi/sr.h"
#include "xapi/unfinished.h"
#include "xapi/vif_card.h"
#include "xapi/vm.h"
#include "xapi/vm_boot.h"
#include "xapi/vm_moves.h"
#include "xapi/vm_resync.h"

struct step {
    const char *what;
    int (*run)(struct call *c, struct xerr *err);
    bool needed;      /* a failure ends the start; otherwise it is logged and the agent serves without */
};

static int run_steps(struct agent *agent, const struct step *steps, size_t n, struct xerr *err)
{
    for (size_t i = 0; i < n; i++) {
        struct call *c = call_new_internal(agent, steps[i].what);
        struct xerr why = XERR_INIT;
        int64_t began = clock_monotonic_ns();
        int rc = steps[i].run(c, &why);
        call_free_internal(c);
        if (!rc) {
            log_debug("%s: %lld us", steps[i].what, (long long)(clock_monotonic_ns() - began) / 1000);
            continue;
        }
        _cleanup_free_ char *text = xerr_text(&why);
        log_error("%s: %s", steps[i].what, text);
        if (steps[i].needed) return xerr_move(err, &why);
        xerr_clear(&why);
    }
    return 0;
}

int startup_records(struct agent *agent, struct xerr *err)
{
    if (host_startup(agent, err) || pool_startup(agent, err)) return -1;
    vm_moves_mark(agent);
    return template_startup(agent, err);
}

static int resync(struct call *c, struct xerr *err)
{
    return vm_resync(c->agent, err);
}

int startup_resources(struct agent *agent, struct xerr *err)
{
    static const struct step steps[] = {
        { "host record", host_refresh, true },
        { "strings of the firmware", host_firmware_startup, false },
        { "network records", network_startup, false },
        { "storage records", storage_startup, false },
        { "blobs", blobs_sweep, false },
        { "host crash dumps", host_crashdumps_scan, false },
        { "reports of crashes", crash_reports_tell, false },
        { "copied kernels", vm_boot_sweep, false },
        { "VMs on the move", vm_moves_startup, false },      /* before what else lives is looked at */
        { "running VMs", resync, false },
        { "cards of running VMs", vif_cards_startup, false },
        { "bridges without cards", network_tidy, false },
        { "disks on the move", vdi_migrate_recover, false },
        { "work that was cut off", unfinished_startup, false },
    };
    return run_steps(agent, steps, ARRAY_SIZE(steps), err);
}
