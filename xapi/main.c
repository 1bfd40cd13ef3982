/* The daemon: reads its options, brings the layers up in order, serves, takes them down in reverse.
 * Called by: the system.  Calls: everything. */
#include "config.h"

#define LOG_MODULE "main"
#include "xapi/options.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "db/store.h"
#include "lib/clock.h"
#include "lib/crash.h"
#include "lib/fault.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/memory.h"
#include "lib/tls.h"
#include "xapi/call/lifecycle.h"
#include "xapi/call/live_task.h"
#include "xapi/call/ready.h"
#include "xapi/certificate.h"
#include "xapi/crash_reports.h"
#include "xapi/host_management.h"
#include "xapi/http/nbd_server.h"
#include "xapi/http/routes.h"
#include "xapi/http/server.h"
#include "xapi/jobs/gc.h"
#include "xapi/jobs/jobs.h"
#include "xapi/jobs/metrics.h"
#include "xapi/net/net.h"
#include "xapi/network_reset.h"
#include "xapi/pool_role.h"
#include "xapi/privileges.h"
#include "xapi/rpc/rpc.h"
#include "xapi/rrd/rrd_store.h"
#include "xapi/session.h"
#include "xapi/startup.h"
#include "xapi/vif_card.h"
#include "xapi/storage/storage.h"
#include "xapi/vm.h"
#include "xapi/vm_doubts.h"
#include "xapi/vm_resync.h"

/* Everything the process owns, in the order it is brought up. */
struct daemon {
    struct conf *conf;
    const char *config_path;     /* NULL = no file */
    char **argv;
    bool restart;                /* when everything is down, the same program runs again */
    int lock_fd;
    struct agent agent;
    struct agent_now now;
    struct tls_server *tls;
    struct rpc *rpc;
    struct http_server *http;
    struct routes *routes;
    struct nbd_server *nbd;
    struct jobs *jobs;
    struct gc *gc;
    struct metrics *metrics;
    char *address, *certificate, *etc;
    pthread_mutex_t listeners;   /* held while a listener opens or closes */
    char *plain_at, *tls_at;     /* lock: listeners. "ADDR:PORT" with the port that was got at first; NULL = off */
    bool plain_open, tls_open;   /* lock: listeners */
};

/* ---- options --------------------------------------------------------------------------------------------------- */

/* The driver's name. */
static const char *hypervisor(const struct conf *conf)
{
    const char *name = conf_str(conf, "hv");

    return streq(name, "auto") ? hv_choose() : name;
}

/* A directory that the environment names overrides the built-in default: that is how ./run works from the tree. */
static const char *dir_option(const struct conf *conf, const char *key, const char *variable)
{
    const char *from_env = getenv(variable);

    return from_env && *from_env ? from_env : conf_str(conf, key);
}

static int read_options(struct daemon *d, int argc, char **argv)
{
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;
    int rest;

    d->conf = conf_new(daemon_options);
    int rc = conf_parse_args(d->conf, argc, argv, &rest, &errors);
    if (!rc && rest < argc) {
        strbuf_printf(&errors, "unexpected argument \"%s\"\n", argv[rest]);
        rc = -1;
    }
    const char *path = conf_str(d->conf, "config");
    bool readable = !access(path, R_OK);
    if (!rc && !readable && !streq(path, SYSCONFDIR "/xapi/xapi.conf")) {
        strbuf_printf(&errors, "%s: %s\n", path, strerror(errno));
        rc = -1;
    }
    if (!rc && readable) {
        d->config_path = conf_str(d->conf, "config");
        rc = conf_load(d->conf, d->config_path, &errors);
    }
    if (rc) fputs(strbuf_cstr(&errors), stderr);
    return rc;
}

static int fail(struct xerr *err)
{
    _cleanup_free_ char *why = xerr_text(err);

    fprintf(stderr, "xapi: %s\n", why);
    xerr_clear(err);
    return 1;
}

/* ---- offline work ----------------------------------------------------------------------------------------------- */

/* One pass over the database in the root: the report to stdout. Returns how many problems, or -1. */
static int look_at_database(const struct daemon *d, bool repair, struct xerr *err)
{
    _cleanup_free_ char *path = xasprintf("%s/state.db", conf_str(d->conf, "root"));
    _cleanup_strbuf_ struct strbuf report = STRBUF_INIT;
    struct store *store;

    if (store_open_sqlite(path, &store, err)) return -1;
    int n = db_check(store, repair, &report, err);
    store_close(store);
    if (n >= 0 && !repair) fputs(strbuf_cstr(&report), stdout);
    return n;
}

static int care_for_database(const struct daemon *d, bool repair)
{
    struct xerr err = XERR_INIT;
    int n = look_at_database(d, false, &err);

    if (n < 0) return fail(&err);
    printf("%d problems\n", n);
    if (!n || !repair) return n ? 1 : 0;
    if (look_at_database(d, true, &err) < 0) return fail(&err);
    puts("mended");
    return 0;
}

/* One line a message: whether it has behaviour, as the linker sees it. */
static void list_coverage(struct strbuf *out)
{
    for (unsigned i = 0; i < model.n_methods; i++) {
        const struct method_desc *m = &model.methods[i];
        strbuf_printf(out, "%s\t%s\t%s\n", model.classes[m->cls].name, m->message, rpc_has_behaviour(m) ? "yes" : "no");
    }
}

/* Lines of number, unit, of what, and what becomes of more; a title is a line of one field. */
static void list_limits(struct strbuf *out)
{
#define ROW(name, number, unit, what, beyond) strbuf_printf(out, "%d\t%s\t%s\t%s\n", LIMIT_##name, unit, what, beyond);
#define TITLE(title) strbuf_printf(out, "%s\n", title);
    LIMITS(ROW, TITLE)
#undef ROW
#undef TITLE
}

/* What ends before anything is started; -1 = go on. */
static int offline(struct daemon *d)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    if (conf_bool(d->conf, "help")) {
        strbuf_str(&out, "usage: xapi [--OPTION VALUE]...\n\n");
        conf_help(d->conf, &out);
        fputs(strbuf_cstr(&out), stdout);
        return 0;
    }
    if (conf_bool(d->conf, "version")) {
        puts("xapi " PACKAGE_VERSION);
        return 0;
    }
    if (conf_bool(d->conf, "check-config")) {
        conf_dump(d->conf, &out);
        fputs(strbuf_cstr(&out), stdout);
        return 0;
    }
    if (conf_bool(d->conf, "drivers")) {
        hv_list_abilities(dir_option(d->conf, "module-dir", "XAPI_HV_DIR"), &out);
        fputs(strbuf_cstr(&out), stdout);
        return 0;
    }
    if (conf_bool(d->conf, "limits")) {
        list_limits(&out);
        fputs(strbuf_cstr(&out), stdout);
        return 0;
    }
    if (conf_bool(d->conf, "coverage")) {
        list_coverage(&out);
        fputs(strbuf_cstr(&out), stdout);
        return 0;
    }
    if (conf_bool(d->conf, "check-db") || conf_bool(d->conf, "repair-db"))
        return care_for_database(d, conf_bool(d->conf, "repair-db"));
    return -1;
}

/* ---- bringing up -------------------------------------------------------------------------------------------------- */

/* Whether the process that wrote its number into the lock lives. */
static bool holder_lives(int fd)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;

    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno != ESRCH);
}

/* One agent a root: the lock is the kernel's, so a killed agent leaves none behind, but for a child of its that has not
 * yet come to its exec(): that one is waited for. */
static int lock_root(int fd, const char *root, struct xerr *err)
{
    enum { WAIT_MS = 30000 };
    const int64_t until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
    _cleanup_free_ char *pid = xasprintf("%d\n", (int)getpid());

    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK || holder_lives(fd) || clock_monotonic_ns() > until_ns)
            return xerr_internal(err, "another agent runs on %s", root);
        nanosleep(&(struct timespec){ 0, 10 * NS_PER_MS }, NULL);
    }
    if (ftruncate(fd, 0) || pwrite(fd, pid, strlen(pid), 0) < 0)
        return xerr_internal(err, "%s/lock: %s", root, strerror(errno));
    return 0;
}

static int take_root(struct daemon *d, struct xerr *err)
{
    const char *root = conf_str(d->conf, "root");
    _cleanup_free_ char *lock = xasprintf("%s/lock", root);

    if (*root != '/') return xerr_internal(err, "root %s is not an absolute path", root);
    if (make_dirs(root, 0755)) return xerr_internal(err, "%s: %s", root, strerror(errno));
    d->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0) return xerr_internal(err, "%s: %s", lock, strerror(errno));
    if (lock_root(d->lock_fd, root, err)) return -1;
    d->agent.root = root;
    d->agent.now = &d->now;
    _cleanup_free_ char *crashes = crash_reports_folder(root);
    crash_reports_trim(root);
    if (crash_install(crashes, "xapi " PACKAGE_VERSION)) log_warn("no reports of crashes: %s: %s", crashes, strerror(errno));
    return 0;
}

static char *own_address(const struct daemon *d)
{
    char **list = NULL, *first = NULL;
    size_t n = 0;

    if (*conf_str(d->conf, "address")) return xstrdup(conf_str(d->conf, "address"));
    if (tls_local_addresses(&list, &n)) n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!first && !strchr(list[i], ':')) first = xstrdup(list[i]);
        free(list[i]);
    }
    free(list);
    return first ? first : xstrdup("127.0.0.1");
}

static int open_database(struct daemon *d, struct xerr *err)
{
    _cleanup_free_ char *path = xasprintf("%s/state.db", d->agent.root);
    struct store *store;

    if (store_open_sqlite(path, &store, err) || db_open(store, &d->agent.db, err)) return -1;
    lifecycle_fill(d->agent.db);
    return 0;
}

/* For a hypervisor that makes its guests' interfaces itself: they go onto bridges as taps do. */
static int plug(void *arg, const struct hv_plugged *what, struct xerr *err) { return vif_card_plugged(arg, what, err); }

static void drop_tap(void *arg, const char *interface)
{
    struct agent *agent = arg;
    struct xerr err = XERR_INIT;

    net_tap_destroy(agent->net, interface, &err);      /* the guard has logged it */
    xerr_clear(&err);
}

static int open_hypervisor(struct daemon *d, struct xerr *err)
{
    _cleanup_free_ char *run = xasprintf("%s/run", d->agent.root);
    const struct hv_config config = {
        .root = d->agent.root,
        .run = run,
        .module_dir = dir_option(d->conf, "module-dir", "XAPI_HV_DIR"),
        .emulator = conf_str(d->conf, "emulator"),
        .accel = (enum hv_accel)conf_int(d->conf, "accel"),
        .uri = conf_str(d->conf, "hv-uri"),
        .qemu_user = conf_str(d->conf, "qemu-user"),
        .sr_mount = conf_str(d->conf, "sr-mount"),
        .host = d->agent.host,
        .plug = { plug, drop_tap, &d->agent },
    };

    return hv_open(hypervisor(d->conf), &config, vm_monitor_event, d->agent.vms, &d->agent.hv, err);
}

static int driver_session_open(void *arg, const struct storage_sr *sr, char **ret_session, struct xerr *err)
{
    return session_open_repository(arg, sr->ref, sr->making, ret_session, err);
}

static void driver_session_close(void *arg, const char *session)
{
    session_close_text(arg, session);
}

static int open_storage(struct daemon *d, struct xerr *err)
{
    const char *mounts = conf_str(d->conf, "sr-mount");
    const struct storage_config config = {
        .root = d->agent.root,
        .mount_dir = *mounts ? mounts : NULL,
        .plugin_dir = dir_option(d->conf, "module-dir", "XAPI_HV_DIR"),
        .driver_dirs = dir_option(d->conf, "sm-dir", "XAPI_SM_DIR"),
        .socket = conf_str(d->conf, "socket"),
        .session_open = driver_session_open,
        .session_close = driver_session_close,
        .arg = &d->agent,
    };

    return storage_open(&config, &d->agent.storage, err);
}

/* With a simulated hypervisor the machine is simulated too: nothing of the real one changes. */
static void choose_machine(struct daemon *d)
{
    bool sim = streq(conf_str(d->conf, "hv"), "sim");
    const char *program = conf_str(d->conf, "machine"), *etc = conf_str(d->conf, "etc-dir");
    const char *from_env = getenv("XAPI_MACHINE");

    if (!*program) program = sim ? "none" : from_env && *from_env ? from_env : PKGLIBEXECDIR "/xapi-machine";
    d->agent.machine = streq(program, "none") ? NULL : program;
    d->etc = *etc ? xstrdup(etc) : sim ? xasprintf("%s/etc", d->agent.root) : xstrdup("/etc");
    d->agent.etc = d->etc;
}

/* The database and the gates: with these, and listeners, what needs nothing else is answered. */
static int open_records(struct daemon *d, struct xerr *err)
{
    struct agent *agent = &d->agent;
    _cleanup_free_ char *metrics = xasprintf("%s/rrd", agent->root);
    const struct rpc_config rpc = {
        .auth = {
            .source = conf_str(d->conf, "auth"),
            .helper = dir_option(d->conf, "helper", "XAPI_HELPER"),
            .timeout_ms = conf_ms(d->conf, "auth-timeout"),
            .programs = conf_bool(d->conf, "auth-programs"),
        },
        .audit_reads = conf_bool(d->conf, "audit-reads"),
    };

    agent->conf = d->conf;
    agent->helper = rpc.auth.helper;
    choose_machine(d);
    agent->ready = ready_new();
    agent->address = d->address = own_address(d);
    agent->tasks = live_tasks_new();
    agent->vms = vm_monitor_new(agent);
    agent->doubts = vm_doubts_new(agent, vm_resync_one);
    network_reset_role(agent->root);
    if (pool_role_open(agent->root, &agent->role, err)) return -1;
    agent->rrds = rrd_store_new(metrics, conf_bool(d->conf, "rrd-min-max"));
    return open_database(d, err) || startup_records(agent, err) || rpc_init(agent, &rpc, &d->rpc, err) ? -1 : 0;
}

/* Everything else, and the records compared with it; while it happens, calls that need it wait. */
static int open_resources(struct daemon *d, struct xerr *err)
{
    struct agent *agent = &d->agent;

    if (net_open(conf_str(d->conf, "net"), agent->root, &agent->net, err)) return -1;
    if (open_storage(d, err) || open_hypervisor(d, err) || startup_resources(agent, err)) return -1;
    vm_monitor_run(agent->vms);
    vm_doubts_run(agent->doubts);
    return 0;
}

/* ---- listening ---------------------------------------------------------------------------------------------------- */

static int open_certificate(struct daemon *d, struct xerr *err)
{
    const char *wanted = conf_str(d->conf, "certificate");

    d->certificate = *wanted ? xstrdup(wanted) : xasprintf("%s/server.pem", d->agent.root);
    if (access(d->certificate, R_OK) && !*wanted && certificate_make(d->certificate, err)) return -1;
    d->tls = tls_server_new(d->certificate, err);
    if (!d->tls) return -1;
    d->agent.tls = d->tls;
    d->agent.certificate = d->certificate;
    return certificate_record(&d->agent, err) || certificate_apply_clients(&d->agent, err) ? -1 : 0;
}

static int listen_one(struct daemon *d, const char *key, struct tls_server *tls, int *ret_port, char **ret_at,
                      struct xerr *err)
{
    const char *address = conf_str(d->conf, key);
    unsigned port = 0;

    if (streq(address, "none")) return 0;
    if (http_listen_tcp(d->http, address, tls, false, &port, err)) return -1;
    *ret_port = (int)port;
    *ret_at = xasprintf("%.*s:%u", (int)(strrchr(address, ':') - address), address, port);
    log_info("%s on %s, port %u", key, address, port);
    return 0;
}

static int set_listener(struct daemon *d, const char *at, struct tls_server *tls, int port, bool open, bool *is_open,
                        struct xerr *err)
{
    if (!at || open == *is_open) return 0;
    if (!open) http_unlisten_tcp(d->http, (unsigned)port);
    else if (http_listen_tcp(d->http, at, tls, false, NULL, err)) return -1;
    *is_open = open;
    return 0;
}

/* What agent->listen points to. */
static int set_listeners(struct agent *agent, bool plain, bool tls, struct xerr *err)
{
    struct daemon *d = (struct daemon *)((char *)agent - offsetof(struct daemon, agent));

    pthread_mutex_lock(&d->listeners);
    int rc = set_listener(d, d->tls_at, d->tls, agent->https_port, tls, &d->tls_open, err) ||
                     set_listener(d, d->plain_at, NULL, agent->http_port, plain, &d->plain_open, err)
                 ? -1
                 : 0;
    pthread_mutex_unlock(&d->listeners);
    return rc;
}

/* What agent->serve_nbd points to. */
static int serve_nbd(struct agent *agent, struct xerr *err)
{
    struct daemon *d = (struct daemon *)((char *)agent - offsetof(struct daemon, agent));

    return nbd_server_apply(d->nbd, err);
}

/* A port that somebody else has is no reason not to start. */
static void listen_nbd(struct daemon *d)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    d->nbd = nbd_server_new(&d->agent);
    d->agent.serve_nbd = serve_nbd;
    if (nbd_server_apply(d->nbd, &err) == 0) return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_error("no NBD: %s", why);
}

/* The ports are taken even when they are to be closed: they are known then, and free for later. */
static int listen_tcp(struct daemon *d, struct xerr *err)
{
    bool open = !host_management_is_disabled(&d->agent);

    if (listen_one(d, "http", NULL, &d->agent.http_port, &d->plain_at, err) ||
        listen_one(d, "https", d->tls, &d->agent.https_port, &d->tls_at, err))
        return -1;
    d->plain_open = d->plain_at != NULL;
    d->tls_open = d->tls_at != NULL;
    d->agent.listen = set_listeners;
    return set_listeners(&d->agent, open && !host_is_https_only(&d->agent), open, err);
}

static int listen_all(struct daemon *d, struct xerr *err)
{
    struct http_config config;
    const char *socket_path = conf_str(d->conf, "socket");
    _cleanup_free_ char *folder = xstrdup(socket_path);
    char *slash = strrchr(folder, '/');

    http_config_init(&config);
    rpc_http_config(d->rpc, &config);
    d->http = http_server_new(&config);
    db_on_wait(d->agent.db, http_server_disk, d->http);
    d->routes = routes_new(d->http, &d->agent, dir_option(d->conf, "web-dir", "XAPI_WEB_DIR"));
    if (slash && slash != folder) {
        *slash = '\0';
        if (make_dirs(folder, 0755)) return xerr_internal(err, "%s: %s", folder, strerror(errno));
    }
    if (open_certificate(d, err)) return -1;
    if (http_listen_unix(d->http, socket_path, 0600, err) || listen_tcp(d, err)) return -1;
    listen_nbd(d);
    return 0;
}

/* systemd's Type=notify, without linking to it. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };

    if (!path || strlen(path) >= sizeof(to.sun_path)) return;
    memcpy(to.sun_path, path, strlen(path));
    if (*path == '@') to.sun_path[0] = '\0';
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
}

/* Scripts learn from ROOT/ready who serves and where: "pid http-port https-port". */
static int tell_ready(struct daemon *d, struct xerr *err)
{
    _cleanup_free_ char *path = xasprintf("%s/ready", d->agent.root);
    _cleanup_free_ char *text = xasprintf("%d %d %d\n", (int)getpid(), d->agent.http_port, d->agent.https_port);

    if (write_file_atomic(path, text, strlen(text), 0644)) return xerr_internal(err, "%s: %s", path, strerror(errno));
    notify("READY=1");
    return 0;
}

/* ---- serving ------------------------------------------------------------------------------------------------------ */

static int configure_log(const struct daemon *d)
{
    if (!log_configure(conf_str(d->conf, "log"), conf_str(d->conf, "log-level"))) return 0;
    fprintf(stderr, "xapi: log = %s, log-level = %s: not understood\n", conf_str(d->conf, "log"),
            conf_str(d->conf, "log-level"));
    return -1;
}

static void reload(struct daemon *d)
{
    _cleanup_strbuf_ struct strbuf notes = STRBUF_INIT, errors = STRBUF_INIT;

    if (d->config_path && conf_reload(d->conf, d->config_path, &notes, &errors))
        log_error("configuration not reloaded: %s", strbuf_cstr(&errors));
    else if (notes.len) log_warn("%s", strbuf_cstr(&notes));
    configure_log(d);
    log_reopen();
    log_info("configuration reloaded");
}

/* Until SIGTERM or SIGINT; SIGUSR1 is the same and then starts anew. */
static void serve(struct daemon *d, const sigset_t *signals)
{
    for (;;) {
        int number = sigwaitinfo(signals, NULL);
        if (number == SIGHUP) reload(d);
        else if (number == SIGUSR1) d->restart = true;
        if (number == SIGTERM || number == SIGINT || number == SIGUSR1) return;
    }
}

/* -1 when handlers still run: then nothing they use may be freed, and the process just leaves. */
static int take_down(struct daemon *d)
{
    enum { LAST_WORD_MS = 2000 };
    struct agent *agent = &d->agent;
    int stuck = 0;

    notify(d->restart ? "RELOADING=1" : "STOPPING=1");
    if (d->restart) {
        _cleanup_free_ char *ready = xasprintf("%s/ready", agent->root);
        unlink(ready);
    }
    metrics_stop(d->metrics);
    gc_stop(d->gc);
    jobs_stop(d->jobs);
    nbd_server_stop(d->nbd);
    if (d->http) stuck = http_server_stop(d->http, (int)conf_ms(d->conf, "stop-timeout"));
    if (d->rpc && rpc_stop(d->rpc, (int)conf_ms(d->conf, "stop-timeout"))) {
        /* What waits for a repository that hangs is told so; the rest had its time. */
        if (agent->storage) storage_stop(agent->storage);
        stuck |= (int)rpc_stop(d->rpc, LAST_WORD_MS);
    }
    if (stuck) return -1;
    /* The monitor finishes what it has begun while the hypervisor is still there; no event comes after hv_close(). */
    vm_doubts_stop(agent->doubts);
    vm_monitor_stop(agent->vms);
    hv_close(agent->hv);
    vm_monitor_free(agent->vms);
    vm_doubts_free(agent->doubts);
    storage_drain(agent->storage);
    /* Nobody commits any more who could tell the server that he waits. */
    if (agent->db) db_on_wait(agent->db, NULL, NULL);
    http_server_free(d->http);
    nbd_server_free(d->nbd);
    routes_free(d->routes);
    rpc_free(d->rpc);
    storage_close(agent->storage);
    net_close(agent->net);
    if (agent->db) db_close(agent->db);
    rrd_store_free(agent->rrds);
    live_tasks_free(agent->tasks);
    ready_free(agent->ready);
    pool_role_free(agent->role);
    tls_server_free(d->tls);
    free(d->plain_at);
    free(d->tls_at);
    free(d->etc);
    free(d->address);
    free(d->certificate);
    conf_free(d->conf);
    return 0;
}

/* The same process, the same arguments: who supervises us sees no end. The lock of the root goes with the old program.
 * By its path, where it is known: /proc/self/exe would be the old program after an upgrade. */
static int run_again(char **argv)
{
    log_info("starting anew");
    if (argv[0][0] == '/') execv(argv[0], argv);
    execv("/proc/self/exe", argv);
    log_error("cannot run %s again: %s", argv[0], strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    struct daemon d = { .lock_fd = -1, .argv = argv, .listeners = PTHREAD_MUTEX_INITIALIZER };
    struct xerr err = XERR_INIT;
    const char *why = NULL;
    sigset_t signals;

    setlocale(LC_CTYPE, "C.UTF-8");
    memory_tune();
    signal(SIGPIPE, SIG_IGN);
    if (read_options(&d, argc, argv)) {
        conf_free(d.conf);
        return 2;
    }
    int done = offline(&d);
    if (done >= 0) {
        conf_free(d.conf);
        return done;
    }
    if (configure_log(&d)) {
        conf_free(d.conf);
        return 2;
    }
    if (fault_start(conf_bool(d.conf, "allow-faults"), &why)) {
        fprintf(stderr, "xapi: %s\n", why);
        return 2;
    }

    if (privileges_drop()) log_warn("every capability is kept: %s", strerror(errno));
    /* Blocked before any thread exists: every thread inherits it, and serve() alone takes them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    int rc = take_root(&d, &err) || open_records(&d, &err) || listen_all(&d, &err) || open_resources(&d, &err)
             || tell_ready(&d, &err);
    if (rc) {
        fail(&err);
        ready_give_up(d.agent.ready);
    } else {
        ready_set(d.agent.ready);
        d.jobs = jobs_start(&d.agent);
        d.gc = gc_start(&d.agent);
        d.metrics = metrics_start(&d.agent);
        log_info("serving, pid %d", (int)getpid());
        serve(&d, &signals);
        log_info("ending");
    }
    bool restart = d.restart;
    if (take_down(&d)) {
        log_warn("some calls would not end; leaving without them");
        if (!restart) _exit(rc ? 1 : 0);
    }
    return restart ? run_again(argv) : rc ? 1 : 0;
}
