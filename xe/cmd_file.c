/* Commands that move files between the client and the daemon: export, import, backups, reports.
 * Called by: commands.c.  Calls: cmd_call, cmd_env.
 *
 * The client moves the bytes by HTTP under a task that the handler completes; the task says how it went. */
#include "xe/commands.h"

#include <stdio.h>
#include <strings.h>

enum {
    LOAD_LIMIT = 8 << 20,              /* certificates, answer files, plug-in arguments */
    POLL_MS = 500,
    AFTER_MS = 2000,                   /* a client that failed may be faster than the handler that says why */
    CANCEL_MS = 60 * 1000,             /* what is cancelled has to be put away */
};

const char *cmd_escape(struct cmd *c, const char *text)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
            strchr("-._~:", *p))
            strbuf_char(&b, (char)*p);
        else
            strbuf_printf(&b, "%%%02X", *p);
    }
    return arena_strdup(c->arena, strbuf_cstr(&b));
}

int cmd_load(struct cmd *c, const char *what, const char *file, const char **ret_text, struct xerr *err)
{
    char *text;
    size_t n;

    switch (c->env->load(c->env->client, file, LOAD_LIMIT, c->arena, &text, &n)) {
    case 0:
        *ret_text = text;
        return 0;
    case 1:
        cmd_printf_error(c, "Failed to read %s\n", what);
        return cmd_exit(err, 1);
    default:
        return cmd_exit(err, 1);
    }
}

int cmd_plugin_args(struct cmd *c, struct value *ret_args, struct xerr *err)
{
    static const char suffix[] = ":file";
    struct value given = cmd_get_map(c, "args");
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < given.map.n; i++) {
        const char *key = given.map.members[i].key, *text = given.map.members[i].value.s;
        size_t n = strlen(key), m = sizeof suffix - 1;

        if (n > m && streq(key + n - m, suffix)) {
            key = arena_strndup(c->arena, key, n - m);
            if (cmd_load(c, arena_printf(c->arena, "file %s", text), text, &text, err) < 0) return -1;
        }
        value_put(&b, key, value_string(text));
    }
    *ret_args = value_built_map(&b);
    return 0;
}

/* ---- one transfer ------------------------------------------------------------------------------------ */

/* Waits for the client; meanwhile shows how far the task is. */
static enum cmd_state wait_for_client(struct cmd *c, struct cmd_progress *p)
{
    enum cmd_state state;

    while ((state = c->env->transferred(c->env->client, POLL_MS)) == CMD_RUNNING) {
        _cleanup_arena_ struct arena *a = arena_new();
        _cleanup_xerr_ struct xerr ignored = XERR_INIT;
        const struct value task = value_ref(p->task);
        struct value record;

        if (cmd_progress_wanted(p) &&
            c->env->call(c->env->arg, "task.get_record", &task, 1, a, &record, &ignored) == 0)
            cmd_progress_show(c, p, &record, false);
    }
    return state;
}

static int run_transfer(struct cmd *c, enum cmd_transfer kind, const char *file, const char *url,
                        struct ref task, const char **ret_result, struct xerr *err)
{
    struct cmd_progress p;
    enum cmd_state state;
    struct value record;
    char text[REF_TEXT];
    int rc;

    if (cmd_progress_begin(c, task, BAR_PERCENT, &p, err) < 0) return -1;
    url = arena_printf(c->arena, "%s%csession_id=%s&task_id=%s", url, strchr(url, '?') ? '&' : '?',
                       c->env->session(c->env->arg), ref_text(task, text));
    c->env->transfer(c->env->client, kind, file, url);
    state = wait_for_client(c, &p);
    rc = cmd_wait_for_task(c, &p, state == CMD_DONE ? -1 : AFTER_MS, &record, err);
    if (!rc && streq(cmd_member_text(&record, "status"), "cancelling"))
        rc = cmd_wait_for_task(c, &p, CANCEL_MS, &record, err);
    cmd_progress_end(c, &p);
    if (rc < 0) return -1;
    if (state != CMD_DONE || !streq(cmd_member_text(&record, "status"), "success"))
        return cmd_task_failure(c, task, &record, err);
    if (ret_result) *ret_result = cmd_member_text(&record, "result");
    return 0;
}

int cmd_transfer(struct cmd *c, enum cmd_transfer kind, const char *file, const char *url, const char *label,
                 const char **ret_result, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const char *uuid = cmd_get(c, "task-uuid");
    struct ref task;
    int rc;

    /* somebody who brings a task keeps it */
    if (uuid) {
        if (cmd_by_uuid(c, CLASS_task, uuid, &task, err) < 0) return -1;
        return run_transfer(c, kind, file, url, task, ret_result, err);
    }
    if (cmd_call_ref(c, "task.create", CMD_ARGS(value_string(label), value_string("")), &task, err) < 0)
        return -1;
    rc = run_transfer(c, kind, file, url, task, ret_result, err);
    (void)cmd_do(c, "task.destroy", CMD_ARGS(value_ref(task)), &ignored);
    return rc;
}

static const char *ref_query(struct cmd *c, const char *path, const char *key, struct ref ref)
{
    char text[REF_TEXT];

    return arena_printf(c->arena, "%s?%s=%s", path, key, ref_text(ref, text));
}

/* References in a task's result, one after the other, whatever stands between them. */
static const char *next_ref(const char *xml, struct ref *ret_ref)
{
    char text[REF_TEXT] = "";

    while ((xml = strstr(xml, "OpaqueRef:"))) {
        strncpy(text, xml, sizeof text - 1);
        xml += strlen("OpaqueRef:");
        if (ref_parse(text, ret_ref)) return xml;
    }
    return NULL;
}

/* ---- VMs --------------------------------------------------------------------------------------------- */

static int export_one(struct cmd *c, struct ref vm, const char *file, struct xerr *err)
{
    bool metadata, keep_state, snapshots;
    const char *url;

    if (cmd_get_bool(c, "metadata", false, &metadata, err) < 0) return -1;
    if (cmd_get_bool(c, "preserve-power-state", false, &keep_state, err) < 0) return -1;
    if (cmd_get_bool(c, "include-snapshots", false, &snapshots, err) < 0) return -1;
    url = ref_query(c, metadata ? "/export_metadata" : "/export", "ref", vm);
    url = arena_printf(c->arena, "%s&use_compression=%s&preserve_power_state=%s&export_snapshots=%s", url,
                       cmd_escape(c, cmd_get_or(c, "compress", "false")), keep_state ? "true" : "false",
                       snapshots ? "true" : "false");
    if (metadata)
        url = arena_printf(c->arena, "%s&excluded_device_types=%s", url,
                           cmd_escape(c, cmd_get_or(c, "excluded-device-types", "")));
    if (cmd_transfer(c, CMD_GET, file, url, "Export of VM", NULL, err) < 0) return -1;
    if (*file) cmd_say(c, "Export succeeded");
    return 0;
}

/* With --multiple the second file's name gets a 2 behind it, and so on. */
static int export_row(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    unsigned *number = arg;
    const char *file = cmd_need(c, "filename");

    if (++*number > 1) file = arena_printf(c->arena, "%s%u", file, *number);
    return export_one(c, vm->ref, file, err);
}

int cmd_vm_export(struct cmd *c, struct xerr *err)
{
    unsigned number = 0;

    return cmd_each(
        c, "vm", 0,
        "filename,metadata,compress,preserve-power-state,include-snapshots,excluded-device-types,task-uuid",
        export_row, &number, err);
}

int cmd_template_export(struct cmd *c, struct xerr *err)
{
    struct ref vm;

    if (cmd_special_vm(c, cmd_need(c, "template-uuid"), "template", &vm, err) < 0) return -1;
    return export_one(c, vm, cmd_need(c, "filename"), err);
}

int cmd_snapshot_export(struct cmd *c, struct xerr *err)
{
    struct ref vm;

    if (cmd_special_vm(c, cmd_need(c, "snapshot-uuid"), "snapshot", &vm, err) < 0) return -1;
    return export_one(c, vm, cmd_need(c, "filename"), err);
}

static int import_sr(struct cmd *c, struct ref *ret_sr, struct xerr *err)
{
    if (cmd_get_ref(c, "sr-uuid", CLASS_SR, ret_sr, err) < 0) return -1;
    if (ref_is_null(*ret_sr) && cmd_default_sr(c, ret_sr, err) < 0) return -1;
    return ref_is_null(*ret_sr) ? cmd_fail(err, "No SR specified and Pool default SR is null") : 0;
}

static int print_imported(struct cmd *c, const struct ref *vms, size_t n, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < n && c->json; i++)
        if (cmd_print_uuid(c, CLASS_VM, vms[i], err) < 0) return -1;
    if (c->json) return 0;
    for (size_t i = 0; i < n; i++) {
        const char *uuid;

        if (cmd_uuid_of(c, CLASS_VM, vms[i], &uuid, err) < 0) return -1;
        strbuf_printf(&b, "%s%s", i ? "," : "", uuid);
    }
    cmd_print(c, strbuf_cstr(&b));
    return 0;
}

static int import_url(struct cmd *c, struct ref sr, bool preserve, bool force, struct xerr *err)
{
    struct value vms;
    struct ref *refs;

    if (cmd_work(c, "VM.import",
                 CMD_ARGS(value_string(cmd_need(c, "url")), value_ref(sr), value_bool(preserve),
                          value_bool(force)),
                 &vms, err) < 0)
        return -1;
    refs = arena_new_array(c->arena, struct ref, (vms.kind == VALUE_SET ? vms.set.n : 0) + 1);
    for (size_t i = 0; vms.kind == VALUE_SET && i < vms.set.n; i++) refs[i] = cmd_as_ref(&vms.set.items[i]);
    return print_imported(c, refs, vms.kind == VALUE_SET ? vms.set.n : 0, err);
}

static int import_file(struct cmd *c, struct ref sr, bool preserve, bool force, struct xerr *err)
{
    struct value vdis = cmd_get_map(c, "vdi");
    const char *url, *result = "";
    struct ref vms[256];
    bool metadata, dry_run;
    size_t n = 0;

    if (cmd_get_bool(c, "metadata", false, &metadata, err) < 0) return -1;
    if (cmd_get_bool(c, "dry-run", false, &dry_run, err) < 0) return -1;
    if (!cmd_get(c, "filename")) return cmd_usage(err, "Required parameter not found", "%s", "filename");
    if (dry_run && !metadata) {
        cmd_print_error(c, "Only metadata import function support dry-run");
        return cmd_exit(err, 1);
    }
    url = ref_query(c, metadata ? "/import_metadata" : "/import", "sr_id", sr);
    url = arena_printf(c->arena, "%s&restore=%s&force=%s&dry_run=%s", url, preserve ? "true" : "false",
                       force ? "true" : "false", dry_run ? "true" : "false");
    for (size_t i = 0; i < vdis.map.n; i++)
        url = arena_printf(c->arena, "%s&vdi:%s=%s", url, cmd_escape(c, vdis.map.members[i].key),
                           cmd_escape(c, vdis.map.members[i].value.s));
    if (cmd_transfer(c, CMD_PUT, cmd_need(c, "filename"), url, "VM import", &result, err) < 0) return -1;
    while (n < ARRAY_SIZE(vms) && (result = next_ref(result, &vms[n]))) n++;
    if (!n && dry_run && !c->json) {
        cmd_print(c, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        return 0;
    }
    return print_imported(c, vms, n, err);
}

/* From VMware and the like, by a conversion service. */
static int import_foreign(struct cmd *c, struct ref sr, const char *type, struct xerr *err)
{
    const char *user = cmd_get(c, "host-username"), *password = cmd_get(c, "host-password");

    if (!user) return cmd_usage(err, "Required parameter not found", "%s", "host-username");
    if (!password) return cmd_usage(err, "Required parameter not found", "%s", "host-password");
    return cmd_do(c, "VM.import_convert",
                  CMD_ARGS(value_string(type), value_string(user), value_string(password), value_ref(sr),
                           cmd_get_map(c, "remote-config")), err);
}

int cmd_vm_import(struct cmd *c, struct xerr *err)
{
    const char *type = cmd_get_or(c, "type", "default");
    bool preserve, force;
    struct ref sr;

    if (import_sr(c, &sr, err) < 0) return -1;
    if (cmd_get_bool(c, "preserve", false, &preserve, err) < 0) return -1;
    if (cmd_get_bool(c, "force", false, &force, err) < 0) return -1;
    if (cmd_get(c, "url") && cmd_get(c, "filename")) {
        cmd_print_error(
            c, "Invalid arguments. The 'url' and 'filename' parameters should not both be specified.");
        return cmd_exit(err, 1);
    }
    if (strcasecmp(type, "default") && strcasecmp(type, "xenserver")) return import_foreign(c, sr, type, err);
    if (cmd_get(c, "url")) return import_url(c, sr, preserve, force, err);
    return import_file(c, sr, preserve, force, err);
}

/* ---- VDIs, blobs, updates ---------------------------------------------------------------------------- */

static const char *with_param(struct cmd *c, const char *url, const char *key)
{
    const char *value = cmd_get(c, key);

    return value ? arena_printf(c->arena, "%s&%s=%s", url, key, cmd_escape(c, value)) : url;
}

int cmd_vdi_import(struct cmd *c, struct xerr *err)
{
    const char *url;
    struct ref vdi;

    if (cmd_need_ref(c, "uuid", CLASS_VDI, &vdi, err) < 0) return -1;
    url = with_param(c, ref_query(c, "/import_raw_vdi", "vdi", vdi), "format");
    return cmd_transfer(c, CMD_PUT, cmd_need(c, "filename"), url, "VDI import", NULL, err);
}

int cmd_vdi_export(struct cmd *c, struct xerr *err)
{
    const char *url;
    struct ref vdi;

    if (cmd_need_ref(c, "uuid", CLASS_VDI, &vdi, err) < 0) return -1;
    url = with_param(c, with_param(c, ref_query(c, "/export_raw_vdi", "vdi", vdi), "format"), "base");
    return cmd_transfer(c, CMD_GET, cmd_need(c, "filename"), url, "VDI export", NULL, err);
}

int cmd_blob_get(struct cmd *c, struct xerr *err)
{
    struct ref blob;

    if (cmd_need_ref(c, "uuid", CLASS_blob, &blob, err) < 0) return -1;
    if (cmd_transfer(c, CMD_GET, cmd_need(c, "filename"), ref_query(c, "/blob", "ref", blob),
                     "Obtaining blob", NULL, err))
        return -1;
    cmd_say(c, "Blob get succeeded");
    return 0;
}

int cmd_blob_put(struct cmd *c, struct xerr *err)
{
    struct ref blob;

    if (cmd_need_ref(c, "uuid", CLASS_blob, &blob, err) < 0) return -1;
    if (cmd_transfer(c, CMD_PUT, cmd_need(c, "filename"), ref_query(c, "/blob", "ref", blob), "Blob PUT",
                     NULL, err) < 0)
        return -1;
    cmd_say(c, "Blob put succeeded");
    return 0;
}

/* Gives the disk that holds an update the update's name. */
static int name_update_disk(struct cmd *c, struct ref update, struct xerr *err)
{
    struct value record;

    if (cmd_record(c, CLASS_pool_update, update, &record, err) < 0) return -1;
    return cmd_do(
        c, "VDI.set_name_label",
        CMD_ARGS(value_ref(cmd_member_ref(&record, "vdi")),
                 value_string(arena_printf(c->arena, "Update: %s", cmd_member_text(&record, "name_label")))),
        err);
}

int cmd_update_upload(struct cmd *c, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const char *result = "";
    struct ref sr, vdi, update;

    if (cmd_get_ref(c, "sr-uuid", CLASS_SR, &sr, err) < 0) return -1;
    if (ref_is_null(sr) && cmd_default_sr(c, &sr, err) < 0) return -1;
    if (ref_is_null(sr))
        return cmd_fail(
            err,
            "No sr-uuid parameter was given, and the pool's default SR is unspecified or invalid. Please "
            "explicitly specify the SR to use in the sr-uuid parameter, or set the pool's default SR.");
    if (cmd_transfer(c, CMD_PUT, cmd_need(c, "file-name"), ref_query(c, "/import_raw_vdi", "sr_id", sr),
                     "host patch upload", &result, err) < 0)
        return -1;
    if (!next_ref(result, &vdi)) return xerr_internal(err, "the upload gave no disk");
    if (cmd_call_ref(c, "pool_update.introduce", CMD_ARGS(value_ref(vdi)), &update, err) < 0) {
        (void)cmd_do(c, "VDI.destroy", CMD_ARGS(value_ref(vdi)), &ignored);
        return -1;
    }
    if (name_update_disk(c, update, err) < 0) return -1;
    return cmd_print_uuid(c, CLASS_pool_update, update, err);
}

int cmd_patch_upload(struct cmd *c, struct xerr *err)
{
    const char *result = "";
    struct ref sr, patch;

    if (cmd_default_sr(c, &sr, err) < 0) return -1;
    if (cmd_transfer(c, CMD_PUT, cmd_need(c, "file-name"), ref_query(c, "/pool_patch_upload", "sr_id", sr),
                     "host patch upload", &result, err) < 0)
        return -1;
    if (!next_ref(result, &patch)) return xerr_internal(err, "the upload gave no patch");
    return cmd_print_uuid(c, CLASS_pool_patch, patch, err);
}

int cmd_pool_sync_bundle(struct cmd *c, struct xerr *err)
{
    return cmd_transfer(c, CMD_PUT, cmd_need(c, "filename"), "/bundle", "upload bundle", NULL, err);
}

/* ---- hosts and the pool ------------------------------------------------------------------------------ */

/* A path on a host: when it is not the host we talk to, with its address before it. */
static const char *host_url(struct cmd *c, struct ref host, const char *path)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const char *address = "";
    struct ref here;

    if (cmd_this_host(c, &here, &ignored) == 0 && ref_eq(here, host)) return path;
    if (cmd_call_text(c, "host.get_address", CMD_ARGS(value_ref(host)), &address, &ignored) < 0 || !*address)
        return path;
    if (strchr(address, ':')) return arena_printf(c->arena, "https://[%s]%s", address, path);
    return arena_printf(c->arena, "https://%s%s", address, path);
}

struct host_transfer {
    enum cmd_transfer kind;
    const char *path, *file, *label;
};

static int transfer_host(struct cmd *c, struct cmd_object_row *host, void *arg, struct xerr *err)
{
    const struct host_transfer *t = arg;

    return cmd_transfer(c, t->kind, t->file, host_url(c, host->ref, t->path), t->label, NULL, err);
}

int cmd_host_backup(struct cmd *c, struct xerr *err)
{
    struct host_transfer t = { CMD_GET, "/host_backup", cmd_need(c, "file-name"), "host backup download" };

    return cmd_each(c, "host", CMD_ONE, "file-name", transfer_host, &t, err);
}

int cmd_host_restore(struct cmd *c, struct xerr *err)
{
    struct host_transfer t = { CMD_PUT, "/host_restore", cmd_need(c, "file-name"), "host backup upload" };

    return cmd_each(c, "host", CMD_ONE, "file-name", transfer_host, &t, err);
}

int cmd_host_logs_download(struct cmd *c, struct xerr *err)
{
    struct host_transfer t = { CMD_GET, "/host_logs_download", cmd_get_or(c, "file-name", "logs-download"),
                               "host logs download" };

    return cmd_each(c, "host", CMD_ONE, "file-name", transfer_host, &t, err);
}

int cmd_host_get_system_status(struct cmd *c, struct xerr *err)
{
    const char *output = cmd_get_or(c, "output", "tar.bz2");
    struct host_transfer t = { CMD_GET, NULL, cmd_need(c, "filename"), "system-status download" };

    if (!streq(output, "tar.bz2") && !streq(output, "tar") && !streq(output, "zip"))
        return cmd_fail(err, "Invalid output format. Must be 'tar', 'zip' or 'tar.bz2'");
    t.path = arena_printf(c->arena, "/system-status?entries=%s&output=%s",
                          cmd_escape(c, cmd_get_or(c, "entries", "")), output);
    return cmd_each(c, "host", CMD_ONE, "filename,entries,output", transfer_host, &t, err);
}

int cmd_pool_dump_database(struct cmd *c, struct xerr *err)
{
    return cmd_transfer(c, CMD_GET, cmd_need(c, "file-name"), "/pool/xmldbdump", "dump database", NULL, err);
}

int cmd_pool_restore_database(struct cmd *c, struct xerr *err)
{
    bool dry_run = cmd_get(c, "dry-run") != NULL;

    if (!cmd_get(c, "force") && !dry_run)
        return cmd_fail(
            err, "This operation will restore the database backup to this host, making it the master. All "
                 "slave hosts are assumed dead and they will be forgotten. This operation must be forced "
                 "(use --force).");
    if (cmd_transfer(c, CMD_PUT, cmd_need(c, "file-name"),
                     dry_run ? "/pool/xmldbdump?dry_run=true" : "/pool/xmldbdump?dry_run=false",
                     "restore database", NULL, err) < 0)
        return -1;
    cmd_item(c, dry_run ? "Dry-run backup restore successful" : "Host will reboot with restored database");
    return 0;
}

int cmd_audit_log_get(struct cmd *c, struct xerr *err)
{
    const char *since = cmd_get(c, "since"), *file = cmd_need(c, "filename");
    const char *url =
        since ? arena_printf(c->arena, "/audit_log?since=%s", cmd_escape(c, since)) : "/audit_log";

    if (cmd_transfer(c, CMD_GET, file, url, "audit-log-get", NULL, err) < 0) return -1;
    if (*file) cmd_say(c, "audit-log-get into file %s succeeded", file);
    return 0;
}

int cmd_pool_wlb_diagnostics(struct cmd *c, struct xerr *err)
{
    return cmd_transfer(c, CMD_GET, cmd_get_or(c, "filename", ""), "/wlb_diagnostics",
                        "WLB diagnostics download", NULL, err);
}

int cmd_pool_wlb_report(struct cmd *c, struct xerr *err)
{
    const char *url = arena_printf(c->arena, "/wlb_report?report=%s", cmd_escape(c, cmd_need(c, "report")));

    for (size_t i = 0; i < c->n_params; i++) {
        const char *key = c->params[i].key;

        if (streq(key, "report") || streq(key, "filename") || cmd_is_standard_param(key)) continue;
        url = arena_printf(c->arena, "%s&%s=%s", url, cmd_escape(c, key), cmd_escape(c, c->params[i].value));
    }
    return cmd_transfer(c, CMD_GET, cmd_get_or(c, "filename", ""), url, "WLB report", NULL, err);
}
