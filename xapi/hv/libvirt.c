/* The libvirt driver: a module. Its life: the private libvirtd, the connection, the thread that keeps both.
 * Called by: hv.c through the vtable.  Calls: libvirt, libvirt_daemon, libvirt_job, libvirt_event. */
#include <libxml/parser.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum {
    CONNECT_MS = 60000,
    RECONNECT_MS = 20000,
    KEEPALIVE_S = 5,
    KEEPALIVE_COUNT = 6,
    TICK_MS = 5000,
    RETRY_MS = 100
};

/* ---- libvirt's event loop ---------------------------------------------------------------------- */

/* libvirt has one event loop in a process and no way to end it, so there is one thread for ever, whatever
 * drivers come and go. This is the only state of this module outside a struct. */
static pthread_once_t loop_once = PTHREAD_ONCE_INIT;
static int loop_rc;

static void *run_loop(void *arg)
{
    (void)arg;
    lv_block_sigpipe();
    for (;;)
        if (virEventRunDefaultImpl() < 0) {
            virResetLastError();
            nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
        }
    return NULL;
}

static void no_print(void *arg, virErrorPtr error)
{
    (void)arg;
    (void)error;        /* every failure is taken up where the call was made */
}

/* Keeps the loop awake at least that often; also makes sure poll() never waits without end. */
static void on_tick(int timer, void *arg)
{
    (void)timer;
    (void)arg;
}

static void start_loop(void)
{
    pthread_t thread;

    xmlInitParser();
    virSetErrorFunc(NULL, no_print);
    loop_rc = virInitialize() < 0 || virEventRegisterDefaultImpl() < 0 ||
                      virEventAddTimeout(1000, on_tick, NULL, NULL) < 0 ||
                      pthread_create(&thread, NULL, run_loop, NULL)
                  ? -1
                  : 0;
    if (loop_rc == 0) {
        pthread_setname_np(thread, "hv-libvirt-ev");
        pthread_detach(thread);
    }
}

/* ---- the connection -------------------------------------------------------------------------- */

void lv_unref(struct lv *lv)
{
    if (__atomic_sub_fetch(&lv->refs, 1, __ATOMIC_ACQ_REL)) return;
    lv_daemon_free(&lv->daemon);
    pthread_cond_destroy(&lv->changed);
    pthread_mutex_destroy(&lv->lock);
    pthread_mutex_destroy(&lv->emit_lock);
    free(lv->guests);
    free(lv->console_dir);
    free(lv->socket_dir);
    free(lv->move_dir);
    free(lv->emulator);
    free(lv->uri);
    free(lv);
}

static void on_closed(virConnectPtr conn, int reason, void *arg)
{
    struct lv *lv = arg;

    (void)reason;
    pthread_mutex_lock(&lv->lock);
    if (lv->link && lv->link->conn == conn) lv->lost = true;
    pthread_cond_broadcast(&lv->changed);
    pthread_mutex_unlock(&lv->lock);
}

static void close_link(void *out)
{
    struct lv_link *link = out;

    /* Not by libvirt's own release function: a driver that cannot tell (test) takes the callback with success
     * and forgets it. Once it is unregistered nobody is inside: libvirt calls it under the lock that this takes. */
    if (link->told_when_closed) {
        virConnectUnregisterCloseCallback(link->conn, on_closed);
        lv_unref(link->told_when_closed);
    }
    lv_events_deregister(link);
    virConnectClose(link->conn);
    free(link);
}

/* Opens, registers, and lets libvirtd probe its emulators (4 to 8 s when it has never done so). */
static int run_connect(struct lv_job *job)
{
    struct lv *lv = job->lv;
    virConnectPtr conn = virConnectOpen(lv->uri);

    if (!conn) return lv_job_fail(job, HV_FAIL_UNREACHABLE);
    struct lv_link *link = xcalloc(1, sizeof *link);
    link->conn = conn;
    job->out = link;
    job->free_out = close_link;
    const char *type = virConnectGetType(conn);
    job->out_number = type && streq(type, "TEST");
    virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT);      /* not every driver has it */
    if (virConnectRegisterCloseCallback(conn, on_closed, lv, NULL) == 0) {
        lv_ref(lv);
        link->told_when_closed = lv;
    }
    if (lv_events_register(lv, link) < 0) return lv_job_fail(job, HV_FAIL_ENGINE);
    char *capabilities = virConnectGetCapabilities(conn);
    if (!capabilities) return lv_job_fail(job, HV_FAIL_ENGINE);
    free(capabilities);
    capabilities = virConnectGetDomainCapabilities(conn, *lv->emulator ? lv->emulator : NULL, "x86_64", NULL,
                                                   lv->accel == HV_ACCEL_KVM ? "kvm" : "qemu", 0);
    if (!capabilities && !job->out_number) return lv_job_fail(job, HV_FAIL_ENGINE);
    free(capabilities);
    return 0;
}

/* Makes the connection that verbs use. */
static int connect_once(struct lv *lv, struct hv_failure *f)
{
    if (lv->private && lv_daemon_ensure(&lv->daemon, f) < 0) return -1;
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, NULL, run_connect);
    /* One that has been there for a while knows its emulators. */
    bool fresh = !lv->private || lv->daemon.started;
    int rc = lv_job_run_bare(job, hv_now_ms() + (fresh ? CONNECT_MS : RECONNECT_MS), f);
    /* It listens but does not answer: only a new one will. */
    if (rc < 0 && lv->private && f->kind == HV_FAIL_TIMEOUT) lv_daemon_end(&lv->daemon);
    if (rc < 0) return -1;
    if (lv->private) lv_daemon_settle(&lv->daemon);
    pthread_mutex_lock(&lv->lock);
    lv->link = take_ptr(job->out);
    lv->is_test = job->out_number != 0;
    lv->generation++;
    lv->lost = virConnectIsAlive(lv->link->conn) == 0;      /* the callback came before lv->link was set */
    pthread_cond_broadcast(&lv->changed);
    pthread_mutex_unlock(&lv->lock);
    return 0;
}

/* Learns who runs, so that later events have a domid. */
static void learn_guests(struct lv *lv)
{
    struct arena *arena = arena_new();
    const struct hv_domain *domains;
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    size_t n;

    if (lv_list(lv, arena, hv_now_ms() + 30000, &domains, &n, &f) < 0) log_warn("libvirt: list: %s", f.why);
    else log_info("libvirt: %zu guests", n);
    arena_free(arena);
}

static bool has_no_guest(struct lv *lv)
{
    struct arena *arena = arena_new();
    const struct hv_domain *domains;
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    size_t n = 1;

    if (lv_list(lv, arena, hv_now_ms() + 10000, &domains, &n, &f) < 0) log_warn("libvirt: list: %s", f.why);
    arena_free(arena);
    return n == 0;
}

static void drop_conn(struct lv *lv)
{
    virConnectPtr idle[LV_MAX_IDLE];

    pthread_mutex_lock(&lv->lock);
    struct lv_link *link = take_ptr(lv->link);
    size_t n = lv->n_idle;
    memcpy(idle, lv->idle, sizeof idle);
    lv->n_idle = 0;
    lv->n_guests = 0; /* domids start anew when libvirtd lost its state */
    pthread_mutex_unlock(&lv->lock);
    while (n) virConnectClose(idle[--n]);
    if (link) close_link(link);
}

/* ---- the supervisor -------------------------------------------------------------------------- */

/* Waits until something is to be done. False: the end. */
static bool wait_for_loss(struct lv *lv)
{
    int64_t tick_ms = hv_now_ms() + TICK_MS;

    pthread_mutex_lock(&lv->lock);
    while (!lv->lost && !lv->stopping) {
        if (lv_wait_until(lv, tick_ms)) continue;
        /* libvirt does not call on_closed() when it gave up waiting for answers while a call was under way.
         */
        lv->lost = virConnectIsAlive(lv->link->conn) != 1;
        pthread_mutex_unlock(&lv->lock);
        lv_trim_logs(lv);
        lv_trim_nvram(lv);
        lv_migrate_retry(lv);
        tick_ms = hv_now_ms() + TICK_MS;
        pthread_mutex_lock(&lv->lock);
    }
    bool stopping = lv->stopping;
    pthread_mutex_unlock(&lv->lock);
    return !stopping;
}

/* False: the end came first. */
static bool wait_before_retry(struct lv *lv, int64_t delay_ms)
{
    int64_t until_ms = hv_now_ms() + delay_ms;

    pthread_mutex_lock(&lv->lock);
    while (!lv->stopping && lv_wait_until(lv, until_ms)) ;
    bool stopping = lv->stopping;
    pthread_mutex_unlock(&lv->lock);
    return !stopping;
}

static void *supervise(void *arg)
{
    struct lv *lv = arg;

    lv_block_sigpipe();
    while (wait_for_loss(lv)) {
        int64_t delay_ms = RETRY_MS;
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        log_warn("libvirt: the connection is lost");
        drop_conn(lv);
        lv_emit(lv, &(struct hv_event){ .kind = HV_EVENT_DRIVER_LOST, .uuid = "" });
        while (connect_once(lv, &f) < 0) {
            log_warn("libvirt: not back yet: %s", f.why);
            if (!wait_before_retry(lv, delay_ms)) goto out;
            delay_ms = 2 * delay_ms < LV_RETRY_MAX_MS ? 2 * delay_ms : LV_RETRY_MAX_MS;
        }
        learn_guests(lv);
        lv_emit(lv, &(struct hv_event){ .kind = HV_EVENT_DRIVER_REGAINED, .uuid = "" });
    }

out:
    if (lv->end_engine) lv->is_idle = has_no_guest(lv);
    drop_conn(lv);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct lv *lv_new(const struct hv_open_args *args)
{
    struct lv *lv = xcalloc(1, sizeof *lv);
    pthread_condattr_t attr;

    lv->refs = 1;
    lv->on_event = args->on_event;
    lv->arg = args->arg;
    lv->daemon.pidfd = -1;
    pthread_mutex_init(&lv->lock, NULL);
    pthread_mutex_init(&lv->emit_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lv->changed, &attr);
    pthread_condattr_destroy(&attr);
    return lv;
}

static void choose_accel(struct lv *lv, const struct hv_config *config, const char *dir)
{
    const char *emulator = *lv->emulator ? lv->emulator : "/usr/bin/qemu-system-x86_64";

    lv->accel = config->accel;
    if (lv->accel == HV_ACCEL_AUTO) lv->accel = lv_kvm_works(emulator, dir) ? HV_ACCEL_KVM : HV_ACCEL_TCG;
}

static int open_private(struct lv *lv, const struct hv_config *config, struct hv_failure *f)
{
    lv->private = true;
    if (lv_daemon_prepare(&lv->daemon, config, f) < 0) return -1;
    lv->uri = xstrdup(lv->daemon.uri);
    lv->console_dir = xasprintf("%s/console", lv->daemon.dir);
    lv->socket_dir = xasprintf("%s/g", lv->daemon.run);
    lv->move_dir = xasprintf("%s/moves", lv->daemon.dir);
    if (make_dirs(lv->move_dir, 0700) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: cannot be made", lv->move_dir);
    choose_accel(lv, config, lv->daemon.dir);
    return 0;
}

/* Somebody else's libvirtd: ours are only the sockets and logs. */
static int open_foreign(struct lv *lv, const struct hv_config *config, struct hv_failure *f)
{
    _cleanup_free_ char *dir = xasprintf("%s/hv/libvirt", config->root);

    lv->uri = xstrdup(config->uri);
    lv->console_dir = xasprintf("%s/console", dir);
    lv->socket_dir = xasprintf("%s/hv/g", config->run);
    lv->move_dir = xasprintf("%s/moves", dir);
    if (make_dirs(lv->console_dir, 0755) < 0 || make_dirs(lv->socket_dir, 0755) < 0 || make_dirs(lv->move_dir, 0700) < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "%s: cannot be made", dir);
    choose_accel(lv, config, dir);
    return 0;
}

static int do_open(const struct hv_open_args *args, void **ret_d, struct hv_failure *f)
{
    const struct hv_config *config = args->config;

    pthread_once(&loop_once, start_loop);
    if (loop_rc < 0) return hv_fail(f, HV_FAIL_ENGINE, "libvirt's event loop cannot be started");
    struct lv *lv = lv_new(args);
    lv->emulator = xstrdup(config->emulator);
    if ((*config->uri ? open_foreign : open_private)(lv, config, f) < 0) goto fail;
    if (connect_once(lv, f) < 0) goto fail;
    lv_migrate_settle(lv);
    learn_guests(lv);
    int rc = pthread_create(&lv->supervisor, NULL, supervise, lv);
    if (rc) {
        hv_fail(f, HV_FAIL_ENGINE, "thread: %s", strerror(rc));
        goto fail;
    }
    pthread_setname_np(lv->supervisor, "hv-libvirt");
    *ret_d = lv;
    return 0;

fail:
    drop_conn(lv);
    lv_unref(lv);
    return -1;
}

static void do_close(void *d, bool end_engine)
{
    struct lv *lv = d;

    /* Whoever is inside on_event leaves it first. */
    pthread_mutex_lock(&lv->emit_lock);
    pthread_mutex_lock(&lv->lock);
    lv->closed = true;
    lv->stopping = true;
    lv->end_engine = end_engine && lv->private;
    pthread_cond_broadcast(&lv->changed);
    pthread_mutex_unlock(&lv->lock);
    pthread_mutex_unlock(&lv->emit_lock);
    pthread_join(lv->supervisor, NULL);
    if (lv->is_idle) {
        lv_daemon_end(&lv->daemon);
        lv_daemon_unshare(&lv->daemon);
    }
    lv_unref(lv);
}

/* ABI: hv_open() finds the module by this name. */
extern const struct hv_driver hv_driver;
const struct hv_driver hv_driver = {
    .abi = HV_DRIVER_ABI,
    .name = "libvirt",
    .open = do_open,
    .close = do_close,
    .start = lv_start,
    .destroy = lv_destroy,
    .shutdown = lv_shutdown,
    .reboot = lv_reboot,
    .reset = lv_reset,
    .pause = lv_pause,
    .unpause = lv_unpause,
    .suspend = lv_suspend,
    .check_image = lv_check_image,
    .resume = lv_resume,
    .abort = lv_abort,
    .migrate_send = lv_migrate_send,
    .migrate_receive = lv_migrate_receive,
    .disk_attach = lv_disk_attach,
    .disk_detach = lv_disk_detach,
    .cd_change = lv_cd_change,
    .disk_snapshot = lv_disk_snapshot,
    .disk_reopen = lv_disk_reopen,
    .disk_mirror = lv_disk_mirror,
    .disk_resize = lv_disk_resize,
    .disk_limit = lv_disk_limit,
    .set_io_priority = lv_set_io_priority,
    .nic_attach = lv_nic_attach,
    .nic_detach = lv_nic_detach,
    .set_memory_target = lv_set_memory_target,
    .set_vcpus = lv_set_vcpus,
    .set_vcpu_params = lv_set_vcpu_params,
    .send_sysrq = lv_send_sysrq,
    .send_trigger = lv_send_trigger,
    .list = lv_list,
    .query = lv_query,
    .get_stats = lv_get_stats,
    .get_host = lv_get_host,
    .get_guest_info = lv_get_guest_info,
    .guest_run = lv_guest_run,
    .get_nvram = lv_get_nvram,
    .check_tpm = lv_check_tpm,
    .get_tpm = lv_get_tpm,
    .console_open = lv_console_open,
    .console_log = lv_console_log,
};
