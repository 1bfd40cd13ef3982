/* Class host: this host's record, its metrics and CPUs, its control domain.
 * Called by: startup, the generated thunks (schema/host.xml).  Calls: hv/, db/. */
#include "xapi/startup.h"

#include <limits.h>
#include <signal.h>
#include <sys/utsname.h>
#include <time.h>

#define LOG_MODULE "host"
#include "gen/identity.h"
#include "gen/methods.h"
#include "lib/conf.h"
#include "lib/iso8601.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "xapi/call/lifecycle.h"
#include "xapi/features.h"
#include "xapi/host.h"
#include "xapi/hv/hv.h"

/* ---- first start ---------------------------------------------------------------------------------------------- */

static void put(struct txn *t, struct ref host, field_id f, const char *key, const char *value)
{
    if (value && *value) txn_map_put_str(t, host, f, key, value);
}

static void write_identity(struct txn *t, const struct agent *agent, const char *hostname)
{
    struct utsname u;
    const field_id f = F_host_software_version;
    struct ref host = agent->host;

    uname(&u);
    put(t, host, f, "product_brand", IDENTITY_PRODUCT_BRAND);
    put(t, host, f, "product_version", IDENTITY_PRODUCT_VERSION);
    put(t, host, f, "product_version_text", IDENTITY_PRODUCT_VERSION_TEXT);
    put(t, host, f, "product_version_text_short", IDENTITY_PRODUCT_VERSION_TEXT_SHORT);
    put(t, host, f, "platform_name", IDENTITY_PLATFORM_NAME);
    put(t, host, f, "platform_version", IDENTITY_PLATFORM_VERSION);
    put(t, host, f, "build_number", IDENTITY_BUILD_NUMBER);
    put(t, host, f, "date", IDENTITY_DATE);
    put(t, host, f, "db_schema", IDENTITY_DB_SCHEMA);
    put(t, host, f, "xapi", IDENTITY_XAPI_VERSION);
    put(t, host, f, "hostname", hostname);
    put(t, host, f, "linux", u.release);
    put(t, host, f, "network_backend", streq(conf_str(agent->conf, "net"), "openvswitch") ? "openvswitch" : "bridge");
    put(t, host, f, "xencenter_min", IDENTITY_XENCENTER_MIN);
    put(t, host, f, "xencenter_max", IDENTITY_XENCENTER_MAX);
    txn_set_int(t, host, F_host_API_version_major, atoi(IDENTITY_API_VERSION_MAJOR));
    txn_set_int(t, host, F_host_API_version_minor, atoi(IDENTITY_API_VERSION_MINOR));
    txn_set_str(t, host, F_host_API_version_vendor, IDENTITY_API_VERSION_VENDOR);
}

/* A licence that never ends, since there is nothing to buy. */
static void write_licence(struct txn *t, struct ref host)
{
    static const char *const empty[] = { "serialnumber", "productcode", "address1", "address2", "city", "state",
                                         "postalcode", "country", "name", "company", "grace" };

    features_write(t, host, F_host_license_params);
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        txn_map_put_str(t, host, F_host_license_params, empty[i], streq(empty[i], "grace") ? "no" : "");
    txn_map_put_str(t, host, F_host_license_params, "expiry", "21000101T00:00:00Z");
    txn_map_put_str(t, host, F_host_license_params, "sku_type", IDENTITY_EDITION);
    txn_map_put_str(t, host, F_host_license_params, "version", IDENTITY_PRODUCT_VERSION);
    txn_map_put_str(t, host, F_host_license_params, "license_type", "");
    txn_map_put_str(t, host, F_host_license_params, "sockets", "1");
    txn_set_str(t, host, F_host_edition, IDENTITY_EDITION);
    const struct value editions[] = { value_string(IDENTITY_EDITION) };
    const struct value set = value_set(editions, ARRAY_SIZE(editions));
    txn_set_value(t, host, F_host_editions, &set);
}

/* /etc/localtime is a link into the database of time zones. */
static void write_timezone(struct txn *t, const struct agent *agent)
{
    _cleanup_free_ char *path = xasprintf("%s/localtime", agent->etc);
    char target[PATH_MAX];
    ssize_t n = agent->machine ? readlink(path, target, sizeof(target) - 1) : -1;

    if (n <= 0) return;
    target[n] = '\0';
    const char *name = strstr(target, "/zoneinfo/");
    if (name) txn_set_str(t, agent->host, F_host_timezone, name + strlen("/zoneinfo/"));
}

/* What iSCSI targets know the host by: the name that open-iscsi has, else one of our own. A name that is there stays. */
static void write_initiator(struct txn *t, const struct agent *agent)
{
    const struct row *host = snap_get(txn_snap(t), CLASS_host, agent->host);
    static const char key[] = "InitiatorName=";
    enum { FILE_MAX = 64 << 10 };
    _cleanup_free_ char *path = xasprintf("%s/iscsi/initiatorname.iscsi", agent->etc);
    _cleanup_free_ char *text = NULL, *name = NULL;

    if (*row_str(host, F_host_iscsi_iqn)) return;
    const char *line = read_file(path, FILE_MAX, &text, NULL) ? NULL : text;
    while (line && !has_prefix(line, key)) {
        line = strchr(line, '\n');
        if (line) line++;
    }
    if (line) name = xasprintf("%.*s", (int)strcspn(line + strlen(key), " \r\n"), line + strlen(key));
    if (!name || !*name) {
        free(name);
        name = xasprintf("iqn.2026-11.xapi:%.8s", row_uuid(host));
    }
    txn_set_str(t, agent->host, F_host_iscsi_iqn, name);
    txn_map_put_str(t, agent->host, F_host_other_config, "iscsi_iqn", name);
}

static int64_t boot_time(void)
{
    struct timespec up;

    clock_gettime(CLOCK_BOOTTIME, &up);
    return time(NULL) - up.tv_sec;
}

/* The control domain: a VM like any other to clients, but never to be started or stopped. */
static struct ref create_dom0(struct txn *t, const struct agent *agent, const char *hostname)
{
    struct ref vm = ref_new(), metrics = ref_new();
    _cleanup_free_ char *name = xasprintf("Control domain on host: %s", hostname);

    txn_create(t, CLASS_VM_metrics, metrics);
    txn_set_time(t, metrics, F_VM_metrics_start_time, boot_time());
    txn_create(t, CLASS_VM, vm);
    txn_set_str(t, vm, F_VM_name_label, name);
    txn_set_str(t, vm, F_VM_name_description, "The domain which manages physical devices and manages other domains");
    txn_set_bool(t, vm, F_VM_is_control_domain, true);
    txn_set_enum(t, vm, F_VM_power_state, vm_power_state_Running);
    txn_set_enum(t, vm, F_VM_domain_type, domain_type_pv);
    txn_set_int(t, vm, F_VM_domid, 0);
    txn_set_ref(t, vm, F_VM_metrics, metrics);
    txn_set_ref(t, vm, F_VM_resident_on, agent->host);
    txn_set_ref(t, vm, F_VM_affinity, agent->host);
    txn_map_put_str(t, vm, F_VM_platform, "cores-per-socket", "1");
    txn_map_put_str(t, vm, F_VM_other_config, "storage_driver_domain", REF_STR(vm));
    txn_set_ref(t, agent->host, F_host_control_domain, vm);
    return vm;
}

static void create_host(struct txn *t, struct agent *agent, const char *hostname)
{
    struct ref metrics = ref_new();

    txn_create(t, CLASS_host, agent->host);
    txn_set_str(t, agent->host, F_host_name_label, hostname);
    txn_set_str(t, agent->host, F_host_name_description, "Default install");
    txn_set_bool(t, agent->host, F_host_enabled, true);
    txn_set_str(t, agent->host, F_host_sched_policy, "credit");
    txn_create(t, CLASS_host_metrics, metrics);
    txn_set_ref(t, agent->host, F_host_metrics, metrics);
    agent->dom0 = create_dom0(t, agent, hostname);
}

/* Epoch seconds with the trailing dot that clients of the reference have learned to read. */
static void put_time(struct txn *t, struct ref host, const char *key, int64_t seconds)
{
    _cleanup_free_ char *text = xasprintf("%lld.", (long long)seconds);

    txn_map_put_str(t, host, F_host_other_config, key, text);
}

/* A text console: xapi/http/host_console.c. Its address may have changed since. */
static void put_console(struct txn *t, const struct agent *agent)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct row *dom0 = snap_get(txn_snap(t), CLASS_VM, agent->dom0);
    const struct refset *consoles = dom0 ? row_refs(dom0, F_VM_consoles) : NULL;
    const struct ref console = consoles && consoles->n ? consoles->refs[0] : ref_new();

    if (!dom0) return;
    if (streq(conf_str(agent->conf, "host-console"), "none")) {
        if (consoles->n) txn_destroy(t, CLASS_console, console);
        return;
    }
    if (!consoles->n) {
        txn_create(t, CLASS_console, console);
        txn_set_enum(t, console, F_console_protocol, console_protocol_vt100);
        txn_set_ref(t, console, F_console_VM, agent->dom0);
    }
    txn_set_str(t, console, F_console_location, host_console_location(a, snap_get(txn_snap(t), CLASS_host, agent->host), console));
}

int host_startup(struct agent *agent, struct xerr *err)
{
    struct utsname u;
    struct txn *t = db_begin(agent->db);
    struct snap_iter it = snap_iter(txn_snap(t), CLASS_host);
    const struct row *row = snap_next(txn_snap(t), &it);

    uname(&u);
    agent->host = row ? row_ref_of(row) : ref_new();
    if (row) agent->dom0 = row_ref(row, F_host_control_domain);
    else create_host(t, agent, u.nodename);
    /* A machine that is never touched keeps the name that clients gave it. */
    const char *name = row && !agent->machine ? row_str(row, F_host_hostname) : u.nodename;
    txn_set_str(t, agent->host, F_host_hostname, name);
    txn_set_str(t, agent->host, F_host_address, agent->address);
    write_identity(t, agent, name);
    write_licence(t, agent->host);
    write_timezone(t, agent);
    write_initiator(t, agent);
    put_time(t, agent->host, "agent_start_time", time(NULL));
    put_time(t, agent->host, "boot_time", boot_time());
    put_console(t, agent);
    lifecycle_refresh(t, CLASS_host, agent->host);
    lifecycle_refresh(t, CLASS_VM, agent->dom0);
    return db_commit(t, err);
}

const char *host_console_location(struct arena *a, const struct row *host, struct ref console)
{
    const char *address = host ? row_str(host, F_host_address) : "";

    return arena_printf(a, strchr(address, ':') ? "https://[%s]/console?ref=%s" : "https://%s/console?ref=%s", address,
                        REF_STR(console));
}

/* ---- what the hypervisor tells --------------------------------------------------------------------------------- */

static void put_number(struct call *c, struct txn *t, field_id f, const char *key, int64_t n)
{
    txn_map_put_str(t, c->agent->host, f, key, arena_printf(c->arena, "%lld", (long long)n));
}

static void write_cpu_info(struct call *c, struct txn *t, const struct hv_host *h)
{
    const field_id f = F_host_cpu_info;

    put_number(c, t, f, "cpu_count", h->cpu_count);
    put_number(c, t, f, "socket_count", h->sockets);
    put_number(c, t, f, "threads_per_core", h->threads_per_core);
    put_number(c, t, f, "nr_nodes", h->nodes);
    put_number(c, t, f, "speed", h->cpu_mhz);
    put_number(c, t, f, "family", h->cpu_family);
    put_number(c, t, f, "model", h->cpu_model);
    put_number(c, t, f, "stepping", h->cpu_stepping);
    txn_map_put_str(t, c->agent->host, f, "vendor", h->cpu_vendor);
    txn_map_put_str(t, c->agent->host, f, "modelname", h->cpu_model_name);
    txn_map_put_str(t, c->agent->host, f, "flags", h->cpu_flags);
    /* "_host": as of this host; without it: what the pool agrees on, which with one host is the same. */
    const struct { const char *key, *words; } features[] = {
        { "features", h->features },          { "features_pv", h->features_pv },   { "features_pv_host", h->features_pv },
        { "features_hvm", h->features_hvm },  { "features_hvm_host", h->features_hvm },
    };
    for (size_t i = 0; i < ARRAY_SIZE(features); i++)
        if (i || features[i].words)
            txn_map_put_str(t, c->agent->host, f, features[i].key, features[i].words ? features[i].words : "");
    put_number(c, t, F_host_license_params, "sockets", h->sockets);
    put_number(c, t, F_host_cpu_configuration, "cpu_count", h->cpu_count);
}

/* One host_cpu record a logical CPU; numbers that went away lose theirs. */
static void write_host_cpus(struct txn *t, const struct agent *agent, const struct hv_host *h)
{
    const struct row *host = snap_get(txn_snap(t), CLASS_host, agent->host);
    size_t have = host ? row_refs(host, F_host_host_CPUs)->n : 0;

    for (size_t i = have; i < h->cpu_count; i++) {
        struct ref cpu = ref_new();
        txn_create(t, CLASS_host_cpu, cpu);
        txn_set_ref(t, cpu, F_host_cpu_host, agent->host);
        txn_set_int(t, cpu, F_host_cpu_number, (int64_t)i);
        txn_set_str(t, cpu, F_host_cpu_vendor, h->cpu_vendor);
        txn_set_str(t, cpu, F_host_cpu_modelname, h->cpu_model_name);
        txn_set_int(t, cpu, F_host_cpu_speed, h->cpu_mhz);
        txn_set_int(t, cpu, F_host_cpu_family, h->cpu_family);
        txn_set_int(t, cpu, F_host_cpu_model, h->cpu_model);
        txn_set_str(t, cpu, F_host_cpu_flags, h->cpu_flags);
    }
    while (have-- > h->cpu_count) {
        host = snap_get(txn_snap(t), CLASS_host, agent->host);
        txn_destroy(t, CLASS_host_cpu, row_refs(host, F_host_host_CPUs)->refs[0]);
    }
}

static void write_capabilities(struct call *c, struct txn *t, const struct hv_host *h)
{
    struct value_builder caps = value_builder(c->arena);
    static const struct value loaders[] = { { .kind = VALUE_STRING, .s = "pygrub", .len = 6 },
                                            { .kind = VALUE_STRING, .s = "eliloader", .len = 9 },
                                            { .kind = VALUE_STRING, .s = "pvgrub", .len = 6 } };
    const struct value bootloaders = value_set(loaders, ARRAY_SIZE(loaders));

    for (const char *const *p = h->capabilities; p && *p; p++) value_push(&caps, value_string(*p));
    const struct value set = value_built_set(&caps);
    txn_set_value(t, c->agent->host, F_host_capabilities, &set);
    txn_set_value(t, c->agent->host, F_host_supported_bootloaders, &bootloaders);
    txn_map_put_str(t, c->agent->host, F_host_chipset_info, "iommu", h->iommu ? "true" : "false");
    if (streq(hv_name(c->agent->hv), "xen")) txn_map_put_str(t, c->agent->host, F_host_software_version, "xen", h->version);
}

/* What guests cannot do here for want of a verb of the driver: their allowed_operations follow it. */
static void write_lacks(struct txn *t, const struct agent *agent)
{
    _cleanup_strbuf_ struct strbuf lacks = STRBUF_INIT;
    const struct row *host = snap_get(txn_snap(t), CLASS_host, agent->host);

    hv_list_lacks(agent->hv, &lacks);
    if (!host || streq(row_map_str(host, F_host_software_version, "hypervisor_lacks", ""), strbuf_cstr(&lacks))) return;
    txn_map_put_str(t, agent->host, F_host_software_version, "hypervisor_lacks", strbuf_cstr(&lacks));
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    SNAP_EACH (s, CLASS_VM, vm) lifecycle_refresh(t, CLASS_VM, row_ref_of(vm));
}

/* Memory of the host: the control domain's record has what the guests cannot get. */
static void write_memory(struct txn *t, const struct agent *agent, const struct hv_host *h)
{
    const struct row *host = snap_get(txn_snap(t), CLASS_host, agent->host);
    struct ref metrics = host ? row_ref(host, F_host_metrics) : REF_NULL;
    int64_t own = h->memory_overhead_bytes > 0 ? h->memory_overhead_bytes : INT64_C(256) << 20;
    static const field_id dom0_memory[] = { F_VM_memory_static_max, F_VM_memory_dynamic_max, F_VM_memory_dynamic_min,
                                            F_VM_memory_static_min };

    txn_set_int(t, metrics, F_host_metrics_memory_total, h->memory_total_bytes);
    txn_set_int(t, metrics, F_host_metrics_memory_free, h->memory_free_bytes);
    txn_set_bool(t, metrics, F_host_metrics_live, true);
    txn_set_time(t, metrics, F_host_metrics_last_updated, time(NULL));
    for (size_t i = 0; i < ARRAY_SIZE(dom0_memory); i++) txn_set_int(t, agent->dom0, dom0_memory[i], own);
    txn_set_int(t, agent->dom0, F_VM_VCPUs_max, h->cpu_count);
    txn_set_int(t, agent->dom0, F_VM_VCPUs_at_startup, h->cpu_count);
}

int host_refresh(struct call *c, struct xerr *err)
{
    struct hv_host h;

    if (hv_get_host(c->agent->hv, c->arena, &h, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    write_cpu_info(c, t, &h);
    write_host_cpus(t, c->agent, &h);
    write_capabilities(c, t, &h);
    write_memory(t, c->agent, &h);
    write_lacks(t, c->agent);
    return db_commit(t, err);
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

static int need_host(struct call *c, struct ref host, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!snap_need(s, CLASS_host, host, err)) return -1;
    return ref_eq(host, c->agent->host) ? 0 : xerr_host_offline(err, REF_STR(host));
}

static int set_enabled(struct call *c, struct ref host, bool enabled, struct xerr *err)
{
    if (need_host(c, host, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, host, F_host_enabled, enabled);
    lifecycle_refresh(t, CLASS_host, host);
    return db_commit(t, err);
}

int host_enable(struct call *c, struct ref host, struct xerr *err)
{
    return set_enabled(c, host, true, err);
}

int host_disable(struct call *c, struct ref host, bool auto_enable, struct xerr *err)
{
    (void)auto_enable;   /* a disabled host is enabled by host.enable only: the state is persistent */
    return set_enabled(c, host, false, err);
}

int host_get_servertime(struct call *c, struct ref host, int64_t *ret_result, struct xerr *err)
{
    if (need_host(c, host, err)) return -1;
    *ret_result = time(NULL);
    return 0;
}

int host_get_server_localtime(struct call *c, struct ref host, int64_t *ret_result, struct xerr *err)
{
    struct tm local;
    time_t now = time(NULL);

    if (need_host(c, host, err)) return -1;
    localtime_r(&now, &local);
    *ret_result = now + local.tm_gmtoff;
    return 0;
}

int host_list_methods(struct call *c, struct value *ret_result, struct xerr *err)
{
    struct value_builder names = value_builder(c->arena);

    (void)err;
    for (unsigned i = 0; i < model.n_methods; i++) value_push(&names, value_string(model.methods[i].name));
    *ret_result = value_built_set(&names);
    return 0;
}

int host_compute_free_memory(struct call *c, struct ref host, int64_t *ret_result, struct xerr *err)
{
    struct hv_host h;

    if (need_host(c, host, err) || hv_get_host(c->agent->hv, c->arena, &h, err)) return -1;
    *ret_result = h.memory_free_bytes;
    return 0;
}

int host_compute_memory_overhead(struct call *c, struct ref host, int64_t *ret_result, struct xerr *err)
{
    struct hv_host h;

    if (need_host(c, host, err) || hv_get_host(c->agent->hv, c->arena, &h, err)) return -1;
    *ret_result = h.memory_overhead_bytes;
    return 0;
}

int host_sync_data(struct call *c, struct ref host, struct xerr *err)
{
    return need_host(c, host, err) ? -1 : host_refresh(c, err);
}

int host_shutdown_agent(struct call *c, struct xerr *err)
{
    (void)c;
    (void)err;
    log_info("shutting down on request");
    kill(getpid(), SIGTERM);
    return 0;
}
