/* Commands for storage repositories.
 * Called by: commands.c.  Calls: cmd_call. */
#include "xe/commands.h"

/* host-uuid=, or the coordinator: of a pool of several hosts only when it does not matter which. */
static int choose_host(struct cmd *c, bool any, struct ref *ret_host, struct xerr *err)
{
    struct value hosts;

    if (cmd_get_ref(c, "host-uuid", CLASS_host, ret_host, err) < 0) return -1;
    if (!ref_is_null(*ret_host)) return 0;
    if (cmd_call(c, "host.get_all", NULL, 0, &hosts, err) < 0) return -1;
    if (!any && hosts.kind == VALUE_SET && hosts.set.n != 1)
        return cmd_fail(err, "Required parameter not found: host-uuid");
    return cmd_coordinator(c, ret_host, err);
}

/* device-config:KEY=value; device-config:KEY-filename=name is the content of the client's file. */
static int device_config(struct cmd *c, struct value *ret_map, struct xerr *err)
{
    static const char suffix[] = "-filename";
    struct value given = cmd_get_map(c, "device-config");
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
    *ret_map = value_built_map(&b);
    return 0;
}

int cmd_sr_create(struct cmd *c, struct xerr *err)
{
    struct value config, sr;
    struct ref host;
    int64_t size;
    bool shared;

    if (cmd_get_bool(c, "shared", false, &shared, err) < 0) return -1;
    if (choose_host(c, shared, &host, err) < 0) return -1;
    if (cmd_get_bytes(c, "physical-size", 0, &size, err) < 0) return -1;
    if (device_config(c, &config, err) < 0) return -1;
    if (cmd_work(c, "SR.create",
                 CMD_ARGS(value_ref(host), config, value_int(size), value_string(cmd_need(c, "name-label")),
                          value_string(cmd_get_or(c, "name-description", "")),
                          value_string(cmd_need(c, "type")), value_string(cmd_get_or(c, "content-type", "")),
                          value_bool(shared), cmd_get_map(c, "sm-config")),
                 &sr, err) < 0)
        return -1;
    return cmd_print_uuid(c, CLASS_SR, cmd_as_ref(&sr), err);
}

int cmd_sr_probe(struct cmd *c, struct xerr *err)
{
    struct value config;
    struct ref host;
    const char *text;

    if (choose_host(c, true, &host, err) < 0 || device_config(c, &config, err) < 0) return -1;
    if (cmd_call_text(
            c, "SR.probe",
            CMD_ARGS(value_ref(host), config, value_string(cmd_need(c, "type")), cmd_get_map(c, "sm-config")),
            &text, err) < 0)
        return -1;
    cmd_item(c, text);
    return 0;
}

static void print_found_sr(struct cmd *c, const struct value *sr)
{
    static const struct {
        const char *title, *field;
    } fields[] = {
        { "uuid", "uuid" },
        { "name-label", "name_label" },
        { "name-description", "name_description" },
        { "total-space", "total_space" },
        { "free-space", "free_space" },
        { "clustered", "clustered" },
        { "health", "health" },
    };
    struct cmd_pair pairs[ARRAY_SIZE(fields)];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct value *v = value_get(sr, fields[i].field);

        if (!v || v->kind == VALUE_VOID) continue;
        pairs[n++] = (struct cmd_pair){ fields[i].title, cmd_value_text(c, NULL, v) };
    }
    cmd_row(c, pairs, n);
}

static void print_map_of(struct cmd *c, const struct value *result, const char *field)
{
    const struct value *map = value_get(result, field);

    if (map) cmd_row_of_map(c, map);
}

/* 0: it is an SR, 1: a configuration that is complete, 2: one that is not. */
static int kind_of_result(const struct value *result)
{
    const struct value *sr = value_get(result, "sr");

    if (sr && sr->kind == VALUE_MAP) return 0;
    return cmd_member_bool(result, "complete") ? 1 : 2;
}

static void print_results(struct cmd *c, const struct value *results, int kind)
{
    static const char *const heads[] = {
        "The following SRs were found:",
        "Found the following complete configurations that can be used to create SRs:",
        "Found the following incomplete configurations that may contain SRs:",
    };
    const char *what = kind ? "Configuration" : "SR";
    unsigned number = 0;

    for (size_t i = 0; i < results->set.n; i++) {
        const struct value *r = &results->set.items[i];

        if (kind_of_result(r) != kind) continue;
        if (!number) cmd_message(c, heads[kind]);
        cmd_message(c, arena_printf(c->arena, "%s %u:", what, number));
        if (!kind) {
            print_found_sr(c, value_get(r, "sr"));
            cmd_message(c, arena_printf(c->arena, "SR %u configuration:", number));
        }
        print_map_of(c, r, "configuration");
        cmd_message(c, arena_printf(c->arena, "%s %u extra information:", what, number));
        print_map_of(c, r, "extra_info");
        number++;
    }
}

int cmd_sr_probe_ext(struct cmd *c, struct xerr *err)
{
    struct value config, results;
    struct ref host;

    if (choose_host(c, true, &host, err) < 0 || device_config(c, &config, err) < 0) return -1;
    if (cmd_call(
            c, "SR.probe_ext",
            CMD_ARGS(value_ref(host), config, value_string(cmd_need(c, "type")), cmd_get_map(c, "sm-config")),
            &results, err) < 0)
        return -1;
    for (int kind = 0; results.kind == VALUE_SET && kind < 3; kind++) print_results(c, &results, kind);
    return 0;
}

/* ---- merging ----------------------------------------------------------------------------------------- */

/* Bytes of the disks that stand on their parent alone, which background work is to merge into it. */
struct backlog {
    int64_t images, bytes;
};

static const char *parent_of(const struct value *vdi)
{
    const struct value *config = value_get(vdi, "sm_config");

    return config ? value_get_str(config, "vhd-parent", "") : "";
}

static bool is_plugged(struct cmd *c, const struct value *vdi)
{
    const struct value *vbds = value_get(vdi, "VBDs");

    for (size_t i = 0; vbds && vbds->kind == VALUE_SET && i < vbds->set.n; i++) {
        const struct value *vbd = cmd_object_record(c, CLASS_VBD, cmd_as_ref(&vbds->set.items[i]));
        if (vbd && cmd_member_bool(vbd, "currently_attached")) return true;
    }
    return false;
}

static struct backlog count_backlog(struct cmd *c, const struct value *vdis)
{
    struct map *children = map_new(); /* parent's uuid -> how many stand on it */
    struct map *bases = map_new();    /* uuids of hidden images: those that a scan has seen */
    struct backlog b = { 0 };

    for (size_t i = 0; vdis->kind == VALUE_MAP && i < vdis->map.n; i++) {
        const char *parent = parent_of(&vdis->map.members[i].value);
        if (*parent) map_put(children, parent, (void *)((uintptr_t)map_get(children, parent) + 1));
        if (!cmd_member_bool(&vdis->map.members[i].value, "managed"))
            map_put(bases, cmd_member_text(&vdis->map.members[i].value, "uuid"), &b);
    }
    for (size_t i = 0; vdis->kind == VALUE_MAP && i < vdis->map.n; i++) {
        const struct value *vdi = &vdis->map.members[i].value;
        const char *parent = parent_of(vdi);
        if (!*parent || !map_get(bases, parent) || (uintptr_t)map_get(children, parent) != 1) continue;
        if (cmd_member_bool(vdi, "managed") && is_plugged(c, vdi)) continue;
        b.images++;
        b.bytes += cmd_member_int(vdi, "physical_utilisation");
    }
    map_free(children);
    map_free(bases);
    return b;
}

/* The merge under way in this SR, from its task; both "" when there is none. */
static int find_running(struct cmd *c, const char *sr_uuid, const char **ret_what, const char **ret_progress,
                        struct xerr *err)
{
    struct value tasks;

    *ret_what = *ret_progress = "";
    if (cmd_call(c, "task.get_all_records_where",
                 CMD_ARGS(value_string(
                     "field \"name__label\" = \"SR.coalesce\" and field \"status\" = \"pending\"")),
                 &tasks, err) < 0)
        return -1;
    for (size_t i = 0; tasks.kind == VALUE_MAP && i < tasks.map.n; i++) {
        const struct value *task = &tasks.map.members[i].value;
        if (!strstr(cmd_member_text(task, "name_description"), sr_uuid)) continue;
        *ret_what = cmd_member_text(task, "name_description");
        *ret_progress = cmd_value_text(c, NULL, value_get(task, "progress"));
    }
    return 0;
}

int cmd_sr_gc_status(struct cmd *c, struct xerr *err)
{
    const char *uuid = cmd_need(c, "uuid"), *what, *progress;
    struct value vdis;
    struct ref sr;

    if (cmd_get_ref(c, "uuid", CLASS_SR, &sr, err) < 0) return -1;
    if (cmd_call(c, "VDI.get_all_records_where",
                 CMD_ARGS(value_string(arena_printf(c->arena, "field \"SR\" = \"%s\"", REF_STR(sr)))), &vdis,
                 err) < 0)
        return -1;
    if (find_running(c, uuid, &what, &progress, err) < 0) return -1;
    const struct backlog b = count_backlog(c, &vdis);
    const struct cmd_pair pairs[] = {
        { "uuid", uuid },
        { "images-to-merge", arena_printf(c->arena, "%lld", (long long)b.images) },
        { "bytes-to-merge", arena_printf(c->arena, "%lld", (long long)b.bytes) },
        { "running", what },
        { "progress", progress },
    };
    cmd_row(c, pairs, ARRAY_SIZE(pairs));
    return 0;
}
