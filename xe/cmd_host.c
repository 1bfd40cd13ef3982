/* Commands for hosts.
 * Called by: commands.c.  Calls: cmd_call, cmd_select. */
#include "xe/commands.h"

#include "lib/catalog.h"

#include "lib/base64.h"
#include "lib/iso8601.h"
#include "lib/num.h"

#include <stdio.h>
#include <time.h>

/* host-uuid=, or the host that answers. */
static int host_or_this(struct cmd *c, const char *key, struct ref *ret_host, struct xerr *err)
{
    if (cmd_get_ref(c, key, CLASS_host, ret_host, err) < 0) return -1;
    return ref_is_null(*ret_host) ? cmd_this_host(c, ret_host, err) : 0;
}

static int enable(struct cmd *c, struct cmd_object_row *host, void *arg, struct xerr *err)
{
    (void)arg;
    /* or XenCenter disables it again */
    if (cmd_do(c, "host.remove_from_other_config",
               CMD_ARGS(value_ref(host->ref), value_string("MAINTENANCE_MODE")), err))
        return -1;
    return cmd_do(c, "host.enable", CMD_ARGS(value_ref(host->ref)), err);
}

int cmd_host_enable(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "host", 0, "", enable, NULL, err);
}

/* ---- questions before what cannot be undone ---------------------------------------------------------- */

static int careful(struct cmd *c, const char *method, const char *const *warnings, struct xerr *err)
{
    struct ref host;
    bool force;
    int yes = 1;

    if (cmd_need_ref(c, "uuid", CLASS_host, &host, err) < 0) return -1;
    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    if (!force) {
        for (size_t i = 0; warnings[i]; i++) cmd_print(c, cmd_tr(c, warnings[i]));
        yes = cmd_confirm(c, err);
    }
    if (yes <= 0) return yes;
    return cmd_do(c, method, CMD_ARGS(value_ref(host)), err);
}

int cmd_host_forget(struct cmd *c, struct xerr *err)
{
    static const char *const warnings[] = {
        N_("WARNING: A host should only be forgotten if it is physically unrecoverable;"),
        N_("WARNING: if possible, Hosts should be 'ejected' from the Pool instead."),
        N_("WARNING: Once a host has been forgotten it will have to be re-installed."),
        N_("WARNING: This operation is irreversible."),
        NULL,
    };

    return careful(c, "host.destroy", warnings, err);
}

int cmd_host_declare_dead(struct cmd *c, struct xerr *err)
{
    static const char *const warnings[] = {
        N_("WARNING: A host should only be declared dead if it is verified offline."),
        N_("WARNING: Performing this operation if the host is still online and has any"),
        N_("WARNING: running VMs may lead to possible data loss and/or corruption."),
        NULL,
    };

    return careful(c, "host.declare_dead", warnings, err);
}

/* ---- licences ---------------------------------------------------------------------------------------- */

static int set_license_server(struct cmd *c, struct ref host, const char *key, const char *value,
                              struct xerr *err)
{
    if (!value) return 0;
    if (cmd_do(c, "host.remove_from_license_server", CMD_ARGS(value_ref(host), value_string(key)), err) < 0)
        return -1;
    return cmd_do(c, "host.add_to_license_server",
                  CMD_ARGS(value_ref(host), value_string(key), value_string(value)), err);
}

static const char *license_port(struct cmd *c)
{
    const char *port = cmd_get(c, "license-server-port");
    int64_t number;

    if (!port || (num_parse_int(port, &number) && number >= 0 && number <= 65535)) return port;
    cmd_print_error(c, "NOTE: The given port number is invalid; reverting to the current value.");
    return NULL;
}

/* Sets the licence server of each host, then applies; puts the old servers back when the licence is refused.
 */
static int apply_edition(struct cmd *c, const struct ref *hosts, size_t n, const char *method, struct ref to,
                         struct xerr *err)
{
    struct value *before = arena_new_array(c->arena, struct value, n + 1);
    struct value edition = value_string(cmd_need(c, "edition"));
    const char *port = license_port(c);

    for (size_t i = 0; i < n; i++) {
        if (cmd_call(c, "host.get_license_server", CMD_ARGS(value_ref(hosts[i])), &before[i], err) < 0)
            return -1;
        if (set_license_server(c, hosts[i], "address", cmd_get(c, "license-server-address"), err) < 0)
            return -1;
        if (set_license_server(c, hosts[i], "port", port, err) < 0) return -1;
    }
    if (cmd_do(c, method, CMD_ARGS(value_ref(to), edition), err) == 0) return 0;
    if (xerr_is(err, "LICENSE_CHECKOUT_ERROR"))
        for (size_t i = 0; i < n; i++) {
            _cleanup_xerr_ struct xerr ignored = XERR_INIT;

            (void)cmd_do(c, "host.set_license_server", CMD_ARGS(value_ref(hosts[i]), before[i]), &ignored);
        }
    return -1;
}

int cmd_host_apply_edition(struct cmd *c, struct xerr *err)
{
    struct ref host;

    if (host_or_this(c, "host-uuid", &host, err) < 0) return -1;
    return apply_edition(c, &host, 1, "host.apply_edition", host, err);
}

int cmd_pool_apply_edition(struct cmd *c, struct xerr *err)
{
    struct ref pool, *hosts;
    struct value all;
    size_t n;

    if (cmd_get_ref(c, "uuid", CLASS_pool, &pool, err) < 0) return -1;
    if (ref_is_null(pool) && cmd_pool(c, &pool, err) < 0) return -1;
    if (cmd_call(c, "host.get_all", NULL, 0, &all, err) < 0) return -1;
    n = all.kind == VALUE_SET ? all.set.n : 0;
    hosts = arena_new_array(c->arena, struct ref, n + 1);
    for (size_t i = 0; i < n; i++) hosts[i] = cmd_as_ref(&all.set.items[i]);
    return apply_edition(c, hosts, n, "pool.apply_edition", pool, err);
}

/* For scripts: the exit status says it. */
int cmd_host_ha_xapi_healthcheck(struct cmd *c, struct xerr *err)
{
    struct value well;

    if (cmd_call(c, "host.ha_xapi_healthcheck", NULL, 0, &well, err) < 0) return -1;
    if (well.kind != VALUE_BOOL || !well.b) {
        cmd_print_error(c, "xapi is unhealthy.");
        return cmd_exit(err, 1);
    }
    cmd_print(c, "xapi is healthy.");
    return 0;
}

int cmd_host_license_add(struct cmd *c, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct ref host;
    const char *file;

    if (host_or_this(c, "host-uuid", &host, err) < 0) return -1;
    if (cmd_load(c, "license file.", cmd_need(c, "license-file"), &file, err) < 0) return -1;
    base64_encode(file, strlen(file), &text);
    if (cmd_do(c, "host.license_add", CMD_ARGS(value_ref(host), value_string(strbuf_cstr(&text))), &ignored) <
        0) {
        cmd_print_error(c, "Failed to apply license file.");
        return cmd_exit(err, 1);
    }
    cmd_say(c, "License applied.");
    return 0;
}

int cmd_host_license_view(struct cmd *c, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    struct value params, shown;
    struct ref host;

    if (host_or_this(c, "host-uuid", &host, err) < 0) return -1;
    if (cmd_call(c, "host.get_license_params", CMD_ARGS(value_ref(host)), &params, err) < 0) return -1;
    for (size_t i = 0; params.kind == VALUE_MAP && i < params.map.n; i++)
        if (!streq(params.map.members[i].key, "sku_type"))
            value_put(&b, params.map.members[i].key, params.map.members[i].value);
    shown = value_built_map(&b);
    cmd_row_of_map(c, &shown);
    return 0;
}

int cmd_diagnostic_license_status(struct cmd *c, struct xerr *err)
{
    const field_id fields[] = { F_host_uuid, F_host_hostname, F_host_edition, F_host_license_params };
    time_t now = time(NULL);
    struct value hosts;

    if (cmd_all(c, CLASS_host, fields, ARRAY_SIZE(fields), &hosts, err) < 0) return -1;
    cmd_message(c, arena_printf(c->arena, "%-30s %-8s %-20s %-20s %s", "Hostname", "UUID", "Edition",
                                "Expiry", "Days left"));
    for (size_t i = 0; hosts.kind == VALUE_MAP && i < hosts.map.n; i++) {
        const struct value *r = &hosts.map.members[i].value, *params = value_get(r, "license_params");
        const char *expiry = params ? value_get_str(params, "expiry", "-") : "-", *days = "-";
        int64_t end;

        if (c->json) {
            cmd_json_pairs(c,
                           (struct cmd_pair[]){ { "hostname", cmd_member_text(r, "hostname") },
                                                { "uuid", cmd_member_text(r, "uuid") },
                                                { "edition", cmd_member_text(r, "edition") },
                                                { "expiry", expiry } },
                           4);
            continue;
        }
        if (iso8601_parse(expiry, &end)) days = arena_printf(c->arena, "%.1f", (double)(end - now) / 86400);
        cmd_message(c, arena_printf(c->arena, "%-30s %-8.8s %-20s %-20s %s", cmd_member_text(r, "hostname"),
                                    cmd_member_text(r, "uuid"), cmd_member_text(r, "edition"), expiry, days));
    }
    return 0;
}

/* ---- CPUs -------------------------------------------------------------------------------------------- */

/* The feature sets of a cpu_info map, as a table. */
static void print_features(struct cmd *c, const struct value *info, const char *const *keys, size_t n)
{
    struct cmd_pair pairs[8];
    size_t found = 0;

    for (size_t i = 0; i < n && i < ARRAY_SIZE(pairs); i++) {
        const char *text = value_get_str(info, keys[i], NULL);

        if (text) pairs[found++] = (struct cmd_pair){ keys[i], text };
    }
    cmd_row(c, pairs, found);
}

int cmd_host_get_cpu_features(struct cmd *c, struct xerr *err)
{
    static const char *const keys[] = { "features_pv", "features_hvm", "features_pv_host",
                                        "features_hvm_host" };
    struct value info;
    struct ref host;

    if (host_or_this(c, "uuid", &host, err) < 0) return -1;
    if (cmd_call(c, "host.get_cpu_info", CMD_ARGS(value_ref(host)), &info, err) < 0) return -1;
    print_features(c, &info, keys, ARRAY_SIZE(keys));
    return 0;
}

int cmd_pool_get_cpu_features(struct cmd *c, struct xerr *err)
{
    static const char *const keys[] = { "features_pv_host", "features_hvm_host" };
    struct value info;
    struct ref pool;

    if (cmd_pool(c, &pool, err) < 0) return -1;
    if (cmd_call(c, "pool.get_cpu_info", CMD_ARGS(value_ref(pool)), &info, err) < 0) return -1;
    print_features(c, &info, keys, ARRAY_SIZE(keys));
    return 0;
}

/* ---- evacuation -------------------------------------------------------------------------------------- */

int cmd_host_get_vms_which_prevent_evacuation(struct cmd *c, struct xerr *err)
{
    struct value map;
    struct ref host;

    if (cmd_need_ref(c, "uuid", CLASS_host, &host, err) < 0) return -1;
    if (cmd_call(c, "host.get_vms_which_prevent_evacuation", CMD_ARGS(value_ref(host)), &map, err) < 0)
        return -1;
    for (size_t i = 0; map.kind == VALUE_MAP && i < map.map.n; i++) {
        const struct value *why = &map.map.members[i].value;
        _cleanup_strbuf_ struct strbuf reason = STRBUF_INIT;
        struct cmd_object vm = { .uuid = "", .name = "" };
        struct ref ref;

        for (size_t k = 0; why->kind == VALUE_SET && k < why->set.n; k++)
            strbuf_printf(&reason, "%s%s", k ? "," : "", why->set.items[k].s);
        if (!ref_parse(map.map.members[i].key, &ref) ||
            !c->env->lookup(c->env->arg, CLASS_VM, ref, c->arena, &vm))
            continue;
        cmd_row(c,
                (struct cmd_pair[]){ { "uuid ( RO)", vm.uuid },
                                     { "name-label ( RW)", vm.name ? vm.name : "" },
                                     { "reason ( RO)", arena_strdup(c->arena, strbuf_cstr(&reason)) } },
                3);
    }
    return 0;
}

int cmd_host_wlb_evacuate(struct cmd *c, struct xerr *err)
{
    struct value map;
    struct ref host;

    if (cmd_need_ref(c, "uuid", CLASS_host, &host, err) < 0) return -1;
    if (cmd_call(c, "host.retrieve_wlb_evacuate_recommendations", CMD_ARGS(value_ref(host)), &map, err) < 0)
        return -1;
    cmd_print_advice(c, "VM", "[Host, RecID] / Error", &map);
    return 0;
}

/* ---- reports ----------------------------------------------------------------------------------------- */

/* Every parameter but these becomes an option of the upload. */
static struct value other_params(struct cmd *c, const char *key)
{
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < c->n_params; i++) {
        const struct cmd_param *p = &c->params[i];

        if (!streq(p->key, key) && !streq(p->key, "url") && !cmd_is_standard_param(p->key))
            value_put(&b, p->key, value_string(p->value));
    }
    return value_built_map(&b);
}

static int upload_report(struct cmd *c, struct cmd_object_row *host, void *arg, struct xerr *err)
{
    (void)arg;
    return cmd_do(
        c, "host.bugreport_upload",
        CMD_ARGS(value_ref(host->ref), value_string(cmd_get_or(c, "url", "")), other_params(c, "host")), err);
}

int cmd_host_bugreport_upload(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "host", 0, "url,http_proxy", upload_report, NULL, err);
}

int cmd_host_crashdump_upload(struct cmd *c, struct xerr *err)
{
    struct ref crash;

    if (cmd_need_ref(c, "uuid", CLASS_host_crashdump, &crash, err) < 0) return -1;
    return cmd_do(c, "host_crashdump.upload",
                  CMD_ARGS(value_ref(crash), value_string(cmd_get_or(c, "url", "")), other_params(c, "uuid")),
                  err);
}

/* ---- plug-ins, certificates, authentication ---------------------------------------------------------- */

static int call_plugin(struct cmd *c, const char *method, const char *key, int cls, struct xerr *err)
{
    struct value args;
    struct ref on;
    const char *text;

    if (cmd_need_ref(c, key, cls, &on, err) < 0 || cmd_plugin_args(c, &args, err) < 0) return -1;
    if (cmd_call_text(c, method,
                      CMD_ARGS(value_ref(on), value_string(cmd_need(c, "plugin")),
                               value_string(cmd_need(c, "fn")), args),
                      &text, err) < 0)
        return -1;
    cmd_item(c, text);
    return 0;
}

int cmd_host_call_plugin(struct cmd *c, struct xerr *err)
{
    return call_plugin(c, "host.call_plugin", "host-uuid", CLASS_host, err);
}

int cmd_vm_call_plugin(struct cmd *c, struct xerr *err)
{
    return call_plugin(c, "VM.call_plugin", "vm-uuid", CLASS_VM, err);
}

int cmd_vm_call_host_plugin(struct cmd *c, struct xerr *err)
{
    return call_plugin(c, "VM.call_host_plugin", "vm-uuid", CLASS_VM, err);
}

static int install_certificate(struct cmd *c, struct cmd_object_row *host, void *arg, struct xerr *err)
{
    const char *const *texts = arg;

    return cmd_do(c, "host.install_server_certificate",
                  CMD_ARGS(value_ref(host->ref), value_string(texts[0]), value_string(texts[1]),
                           value_string(texts[2])),
                  err);
}

int cmd_host_install_certificate(struct cmd *c, struct xerr *err)
{
    const char *texts[3] = { "", "", "" }, *chain = cmd_get(c, "certificate-chain");

    if (cmd_load(c, "certificate", cmd_need(c, "certificate"), &texts[0], err) < 0) return -1;
    if (cmd_load(c, "private key", cmd_need(c, "private-key"), &texts[1], err) < 0) return -1;
    if (chain && cmd_load(c, "certificate chain", chain, &texts[2], err) < 0) return -1;
    return cmd_each(c, "host", CMD_ONE, "certificate,private-key,certificate-chain", install_certificate,
                    texts, err);
}

static int need_force_for_recovery(struct cmd *c, struct xerr *err)
{
    if (cmd_get(c, "force")) return 0;
    return cmd_fail(
        err, "This operation is provided only to recover individual hosts that are unable to access the "
             "external authentication service. This operation must be forced (use --force).");
}

int cmd_host_enable_external_auth(struct cmd *c, struct xerr *err)
{
    struct ref host;

    if (need_force_for_recovery(c, err) < 0 || cmd_need_ref(c, "host-uuid", CLASS_host, &host, err) < 0)
        return -1;
    return cmd_do(c, "host.enable_external_auth",
                  CMD_ARGS(value_ref(host), cmd_get_map(c, "config"),
                           value_string(cmd_need(c, "service-name")), value_string(cmd_need(c, "auth-type"))),
                  err);
}

int cmd_host_disable_external_auth(struct cmd *c, struct xerr *err)
{
    struct ref host;

    if (need_force_for_recovery(c, err) < 0 || cmd_need_ref(c, "host-uuid", CLASS_host, &host, err) < 0)
        return -1;
    return cmd_do(c, "host.disable_external_auth",
                  CMD_ARGS(value_ref(host), cmd_get_map(c, "config"), value_bool(true)), err);
}

/* ---- updates and drivers ----------------------------------------------------------------------------- */

static int apply_updates(struct cmd *c, struct cmd_object_row *host, void *arg, struct xerr *err)
{
    struct value lines;

    (void)arg;
    if (cmd_call(c, "host.apply_updates", CMD_ARGS(value_ref(host->ref), value_string(cmd_need(c, "hash"))),
                 &lines, err))
        return -1;
    for (size_t i = 0; lines.kind == VALUE_SET && i < lines.set.n; i++)
        cmd_message(c, cmd_value_text(c, NULL, &lines.set.items[i]));
    return 0;
}

int cmd_host_apply_updates(struct cmd *c, struct xerr *err)
{
    return cmd_each(c, "host", CMD_ONE, "hash", apply_updates, NULL, err);
}

int cmd_hostdriver_select(struct cmd *c, struct xerr *err)
{
    const char *name = cmd_need(c, "variant-name");
    struct value variants;
    struct ref driver;

    if (cmd_need_ref(c, "uuid", CLASS_Host_driver, &driver, err) < 0) return -1;
    if (cmd_call(c, "Host_driver.get_variants", CMD_ARGS(value_ref(driver)), &variants, err) < 0) return -1;
    for (size_t i = 0; variants.kind == VALUE_SET && i < variants.set.n; i++) {
        struct ref variant = cmd_as_ref(&variants.set.items[i]);
        const struct value *r = cmd_object_record(c, CLASS_Driver_variant, variant);

        if (r && streq(cmd_member_text(r, "name"), name))
            return cmd_do(c, "Host_driver.select", CMD_ARGS(value_ref(driver), value_ref(variant)), err);
    }
    return cmd_fail(err, "%s does not identify a variant of this driver", name);
}
