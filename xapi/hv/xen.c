/* The Xen driver: a module. Its life, its connections to xenstored, its failures and events.
 * Called by: hv.c through the vtable.  Calls: libxenctrl, xen_guest, xen_watch, xen_console. */
#include "xapi/hv/xen_int.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/fault.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

/* ---- what libxc says ------------------------------------------------------------------------- */

static void vmessage(xentoollog_logger *logger, xentoollog_level level, int errnoval, const char *context,
                     const char *format, va_list al)
{
    char text[512];

    (void)logger;
    (void)errnoval;
    vsnprintf(text, sizeof text, format, al);
    /* Every failure is taken up where the call was made; this is for whoever looks closer. */
    if (level >= XTL_WARN) log_debug("libxc: %s%s%s", context ? context : "", context ? ": " : "", text);
}

static void no_destroy(xentoollog_logger *logger) { (void)logger; }

int xn_fail_xc(const char *function, struct hv_failure *f)
{
    int e = errno;

    f->code = e;
    return hv_fail(f, e == ESRCH ? HV_FAIL_NO_DOMAIN : HV_FAIL_ENGINE, "%s: %s", function, strerror(e));
}

int xn_fault(const char *point, struct hv_failure *f)
{
    int e = fault(point);

    if (!e) return 0;
    f->code = e;
    return hv_fail(f, HV_FAIL_ENGINE, "injected at %s: %s", point, strerror(e));
}

/* ---- waiting --------------------------------------------------------------------------------- */

bool xn_wait_until(struct xn *xn, int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - hv_now_ms();
    struct timespec until;

    if (left_ms <= 0) return false;
    if (left_ms > 1000) left_ms = 1000;      /* the two clocks part while the machine sleeps */
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += left_ms / 1000;
    until.tv_nsec += (long)(left_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&xn->changed, &xn->lock, &until);
    return true;
}

/* ---- events ---------------------------------------------------------------------------------- */

void xn_emit(struct xn *xn, const struct hv_event *event)
{
    struct hv_event e = *event;

    if (!e.device) e.device = "";
    pthread_mutex_lock(&xn->emit_lock);
    if (!xn->closed) xn->on_event(xn->arg, &e);
    pthread_mutex_unlock(&xn->emit_lock);
}

/* ---- connections to xenstored ---------------------------------------------------------------- */

int xn_store(struct xn *xn, int64_t deadline_ms, struct xst **ret_store, struct hv_failure *f)
{
    struct xst *store = NULL;

    if (xn_fault("hv.xen.store", f) < 0) return -1;
    pthread_mutex_lock(&xn->lock);
    if (xn->n_stores) store = xn->stores[--xn->n_stores];
    pthread_mutex_unlock(&xn->lock);
    if (!store) return xst_open(xn->store_path, XN_PATIENCE_MS, deadline_ms, ret_store, f);
    *ret_store = store;
    return 0;
}

void xn_store_done(struct xn *xn, struct xst *store, bool watched)
{
    if (!xst_is_broken(store) && !watched) {
        pthread_mutex_lock(&xn->lock);
        if (!xn->stopping && xn->n_stores < XN_MAX_IDLE_STORES) xn->stores[xn->n_stores++] = take_ptr(store);
        pthread_mutex_unlock(&xn->lock);
    }
    xst_close(store);
}

static void drop_stores(struct xn *xn)
{
    struct xst *stores[XN_MAX_IDLE_STORES];

    pthread_mutex_lock(&xn->lock);
    size_t n = xn->n_stores;
    memcpy(stores, xn->stores, sizeof stores);
    xn->n_stores = 0;
    pthread_mutex_unlock(&xn->lock);
    while (n) xst_close(stores[--n]);
}

int xn_store_run(struct xn *xn, struct xst_batch *b, int64_t deadline_ms, struct hv_failure *f)
{
    for (bool again = false;; again = true) {
        struct xst *store;
        if (xn_store(xn, deadline_ms, &store, f) < 0) return -1;
        int rc = xst_run(store, b, deadline_ms, f);
        xn_store_done(xn, store, false);
        /* An idle connection to a xenstored that has been restarted since: those all go, and a new one is tried. */
        if (rc == 0 || f->kind != HV_FAIL_UNREACHABLE || again) return rc;
        drop_stores(xn);
        *f = (struct hv_failure){ .kind = HV_FAIL_NONE };
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

/* xapi-domain lies beside the module, one directory up (in the build folder), or where it is installed. */
static char *find_helper(const char *module_dir)
{
    char *const places[] = {
        xasprintf("%s/xapi-domain", module_dir),
        xasprintf("%s/../xapi-domain", module_dir),
        xstrdup(PKGLIBEXECDIR "/xapi-domain"),
    };
    char *found = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (!found && access(places[i], X_OK) == 0) found = places[i];
        else free(places[i]);
    }
    return found;
}

static void xn_free(struct xn *xn)
{
    while (xn->guests) {
        struct xn_guest *g = xn->guests;
        xn->guests = g->next;
        xn_guest_unref(xn, g);
    }
    xn_builders_close(xn);
    while (xn->n_stores) xst_close(xn->stores[--xn->n_stores]);
    if (xn->xch) xc_interface_close(xn->xch);
    if (xn->wake_fd >= 0) close(xn->wake_fd);
    pthread_cond_destroy(&xn->changed);
    pthread_mutex_destroy(&xn->lock);
    pthread_mutex_destroy(&xn->emit_lock);
    free(xn->logger);
    free(xn->store_path);
    free(xn->emulator);
    free(xn->hvmloader);
    free(xn->helper);
    free(xn->boot_dir);
    free(xn->guest_dir);
    free(xn->nvram_dir);
    free(xn->console_dir);
    free(xn->run);
    free(xn->dir);
    free(xn);
}

static struct xn *xn_new(const struct hv_open_args *args)
{
    const struct hv_config *config = args->config;
    struct xn *xn = xcalloc(1, sizeof *xn);
    pthread_condattr_t attr;

    xn->on_event = args->on_event;
    xn->arg = args->arg;
    xn->plug = config->plug;
    xn->dir = xasprintf("%s/hv/xen", config->root);
    xn->run = xasprintf("%s/hv", config->run);
    xn->console_dir = xasprintf("%s/console", xn->dir);
    xn->guest_dir = xasprintf("%s/guest", xn->dir);
    xn->nvram_dir = xasprintf("%s/nvram", xn->dir);
    xn->boot_dir = xasprintf("%s/boot", xn->dir);
    xn->emulator = xstrdup(config->emulator);
    xn->store_path = xstrdup(*config->uri ? config->uri : "/run/xenstored/socket");
    xn->logger = xcalloc(1, sizeof *xn->logger);
    *xn->logger = (xentoollog_logger){ .vmessage = vmessage, .destroy = no_destroy };
    xn->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&xn->lock, NULL);
    pthread_mutex_init(&xn->emit_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&xn->changed, &attr);
    pthread_condattr_destroy(&attr);
    return xn;
}

/* Is there a hypervisor that takes our orders? */
static int open_hypervisor(struct xn *xn, struct hv_failure *f)
{
    xc_domaininfo_t info;

    if (access("/dev/xen/privcmd", F_OK) < 0 && access("/proc/xen/privcmd", F_OK) < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "this host does not run Xen (there is no /dev/xen/privcmd)");
    xn->xch = xc_interface_open(xn->logger, xn->logger, 0);
    if (!xn->xch) return hv_fail(f, HV_FAIL_ENGINE, "the hypervisor cannot be opened: %s", strerror(errno));
    if (xc_domain_getinfolist(xn->xch, 0, 1, &info) == 1) return 0;
    return errno == EACCES
               ? hv_fail(f, HV_FAIL_ENGINE, "the running Xen is not the version that libxenctrl here was made for")
               : hv_fail(f, HV_FAIL_ENGINE, "the hypervisor does not obey: %s", strerror(errno));
}

/* hvmloader of the running version, "" when it is not there. */
static char *find_hvmloader(struct xn *xn)
{
    int version = xc_version(xn->xch, XENVER_version, NULL);
    char *const places[] = {
        xasprintf("/usr/lib/xen-%d.%d/boot/hvmloader", version >> 16, version & 0xffff),
        xstrdup("/usr/lib/xen/boot/hvmloader"),
        xstrdup("/usr/libexec/xen/boot/hvmloader"),
        xstrdup("/usr/local/lib/xen/boot/hvmloader"),
    };
    char *found = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (!found && access(places[i], R_OK) == 0) found = places[i];
        else free(places[i]);
    }
    return found ? found : xstrdup("");
}

static int make_folders(struct xn *xn, struct hv_failure *f)
{
    const char *const all[] = { xn->console_dir, xn->guest_dir, xn->boot_dir, xn->nvram_dir, xn->run };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (make_dirs(all[i], 0700) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", all[i], strerror(errno));
    return 0;
}

static int do_open(const struct hv_open_args *args, void **ret_d, struct hv_failure *f)
{
    struct xn *xn = xn_new(args);
    struct xst *store;

    if (open_hypervisor(xn, f) < 0 || make_folders(xn, f) < 0) goto fail;
    xn->hvmloader = find_hvmloader(xn);
    xn->helper = find_helper(args->config->module_dir);
    if (!xn->helper) {
        hv_fail(f, HV_FAIL_ENGINE, "xapi-domain is neither in %s nor in " PKGLIBEXECDIR, args->config->module_dir);
        goto fail;
    }
    if (xn_record_load(xn, f) < 0 || xn_store(xn, hv_now_ms() + XN_STORE_MS, &store, f) < 0) goto fail;
    xn_store_found(xn, store);
    xn_store_done(xn, store, false);
    if (xn_consoles_start(xn, f) < 0) goto fail;
    xn_recover_streams(xn);
    xn_look_for_ended(xn);
    xn_nvram_trim(xn);
    for (const struct xn_guest *g = xn->guests; g; g = g->next) xn_console_follow(xn, g->uuid, g->domid);
    if (xn_watch_start(xn, f) < 0) {
        xn_consoles_stop(xn);
        goto fail;
    }
    *ret_d = xn;
    return 0;

fail:
    xn_free(xn);
    return -1;
}

static void do_close(void *d, bool end_engine)
{
    struct xn *xn = d;

    (void)end_engine;        /* the engine is the machine */
    pthread_mutex_lock(&xn->emit_lock);
    xn->closed = true;
    pthread_mutex_unlock(&xn->emit_lock);
    xn_watch_stop(xn);
    xn_consoles_stop(xn);
    xn_free(xn);
}

/* ABI: hv_open() finds the module by this name. */
extern const struct hv_driver hv_driver;
const struct hv_driver hv_driver = {
    .abi = HV_DRIVER_ABI,
    .name = "xen",
    .plugs_nics = true,
    .moves_here = true,
    .open = do_open,
    .close = do_close,
    .start = xn_start,
    .destroy = xn_destroy,
    .shutdown = xn_shutdown,
    .reboot = xn_reboot,
    .reset = xn_reset,
    .pause = xn_pause,
    .unpause = xn_unpause,
    .suspend = xn_suspend,
    .resume = xn_resume,
    .check_image = xn_check_image,
    .abort = xn_abort,
    .migrate_send = xn_migrate_send,
    .migrate_receive = xn_migrate_receive,
    .disk_attach = xn_disk_attach,
    .disk_detach = xn_disk_detach,
    .cd_change = xn_cd_change,
    .disk_snapshot = xn_disk_snapshot,
    .disk_reopen = xn_disk_reopen,
    .disk_resize = xn_disk_resize,
    .set_io_priority = xn_set_io_priority,
    .nic_attach = xn_nic_attach,
    .nic_detach = xn_nic_detach,
    .nic_move = xn_nic_move,
    .nic_address = xn_nic_address,
    .set_memory_target = xn_set_memory_target,
    .set_vcpus = xn_set_vcpus,
    .set_vcpu_params = xn_set_vcpu_params,
    .set_shadow = xn_set_shadow,
    .send_sysrq = xn_send_sysrq,
    .send_trigger = xn_send_trigger,
    .guest_rdp = xn_guest_rdp,
    .get_nvram = xn_get_nvram,
    .guest_run = xn_guest_run,
    .list = xn_list,
    .query = xn_query,
    .get_stats = xn_get_stats,
    .get_host = xn_get_host,
    .dmesg = xn_dmesg,
    .send_debug_keys = xn_send_debug_keys,
    .get_guest_info = xn_get_guest_info,
    .console_open = xn_console_open,
    .console_log = xn_console_log,
};
