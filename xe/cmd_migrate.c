/* vm-migrate: to another host of the pool, or with its disks' and cards' places to another pool.
 * Called by: commands.c.  Calls: cmd_call, cmd_select, peer. */
#include "xe/commands.h"

#include "xe/peer.h"

/* Parameters that select no VM. */
static const char OWN_PARAMS[] = "host,host-uuid,host-name,live,force,copy,compress,remote-master,remote-username,remote-password,"
                                 "remote-network,vif,vdi,image-format";

/* force, live and copy as texts, compress as it was said. */
static int read_options(struct cmd *c, struct value *ret_options, struct xerr *err)
{
    static const char *const flags[] = { "force", "live", "copy" };
    struct value_builder options = value_builder(c->arena);

    if (cmd_get(c, "compress")) value_put(&options, "compress", value_string(cmd_get(c, "compress")));
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        bool on;

        if (cmd_get_bool(c, flags[i], false, &on, err) < 0) return -1;
        value_put(&options, flags[i], value_string(on ? "true" : "false"));
    }
    *ret_options = value_built_map(&options);
    return 0;
}

static const char *named_host(const struct cmd *c)
{
    return cmd_get_or(c, "host", cmd_get_or(c, "host-uuid", cmd_get(c, "host-name")));
}

/* ---- within the pool --------------------------------------------------------------------------------- */

struct here {
    struct ref host;
    struct value options;
};

static int move_here(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    const struct here *h = arg;

    return cmd_work(c, "VM.pool_migrate", CMD_ARGS(value_ref(vm->ref), value_ref(h->host), h->options), NULL, err);
}

static int migrate_here(struct cmd *c, struct xerr *err)
{
    static const char *const elsewhere[] = { "vif", "vdi", "image-format" };
    struct here h;

    for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
        if (cmd_get_map(c, elsewhere[i]).map.n)
            return cmd_fail(err, "%s: is for a move to another pool: name it with remote-master=", elsewhere[i]);
    if (!named_host(c)) return cmd_fail(err, "No destination host specified");
    if (cmd_host_named(c, named_host(c), &h.host, err) < 0 || read_options(c, &h.options, err) < 0) return -1;
    return cmd_each(c, "vm", CMD_CONTROL_VMS, OWN_PARAMS, move_here, &h, err);
}

/* ---- to another pool --------------------------------------------------------------------------------- */

struct there {
    struct peer *peer;
    const char *address;
    struct value srs, networks;        /* every record of theirs, by reference */
    struct ref default_sr;             /* null: none */
    bool live, copy;
    struct value token, vdi_map, vif_map, formats, options;
};

/* The object of that pool with this uuid, or this value in one of the fields. what: for the sentence. */
static int find_there(const struct there *t, const struct value *records, const char *what, const char *name,
                      const char *const *fields, struct ref *ret_ref, const struct value **ret_record, struct xerr *err)
{
    size_t found = 0;

    for (size_t i = 0; records->kind == VALUE_MAP && i < records->map.n; i++) {
        const struct value *r = &records->map.members[i].value;
        bool uuid = streq(cmd_member_text(r, "uuid"), name), same = uuid;

        for (size_t f = 0; fields[f] && !same; f++) same = streq(cmd_member_text(r, fields[f]), name);
        if (!same || !ref_parse(records->map.members[i].key, ret_ref)) continue;
        *ret_record = r;
        found = uuid ? 1 : found + 1;
        if (uuid) break;
    }
    if (found == 1) return 0;
    return found ? cmd_fail(err, "The pool at %s has more than one %s of the name %s: use its uuid", t->address, what, name)
                 : cmd_fail(err, "The pool at %s has no %s %s", t->address, what, name);
}

static const char *const NAMES[] = { "name_label", NULL };
static const char *const NETWORK_NAMES[] = { "name_label", "bridge", NULL };
static const char *const HOST_NAMES[] = { "name_label", "hostname", NULL };

static int records_there(const struct there *t, const char *cls_method, struct value *ret_map, struct xerr *err)
{
    return peer_call(t->peer, cls_method, NULL, 0, ret_map, err);
}

/* The host that was named, else the coordinator; what is the pool's default storage. */
static int choose_host(struct cmd *c, struct there *t, struct ref *ret_host, const char **ret_name, struct xerr *err)
{
    const struct value *pool, *host = NULL;
    struct value pools, hosts;
    char text[REF_TEXT];

    if (records_there(t, "pool.get_all_records", &pools, err) < 0 || records_there(t, "host.get_all_records", &hosts, err) < 0)
        return -1;
    pool = pools.kind == VALUE_MAP && pools.map.n ? &pools.map.members[0].value : NULL;
    t->default_sr = pool ? cmd_member_ref(pool, "default_SR") : REF_NULL;
    if (named_host(c)) {
        if (find_there(t, &hosts, "host", named_host(c), HOST_NAMES, ret_host, &host, err) < 0) return -1;
    } else {
        *ret_host = pool ? cmd_member_ref(pool, "master") : REF_NULL;
        host = value_get(&hosts, ref_text(*ret_host, text));
    }
    if (!host) return cmd_fail(err, "The pool at %s does not say which hosts it has", t->address);
    *ret_name = cmd_member_text(host, "name_label");
    return 0;
}

/* The network over which it goes: the one that was named, else that of the host's management. */
static int choose_network(struct cmd *c, struct there *t, struct ref host, struct ref *ret_network, const char **ret_name,
                          struct xerr *err)
{
    const char *wish = cmd_get(c, "remote-network");
    const struct value *network = NULL;
    struct value pifs;
    char text[REF_TEXT];

    if (wish) {
        if (find_there(t, &t->networks, "network", wish, NETWORK_NAMES, ret_network, &network, err) < 0) return -1;
        *ret_name = cmd_member_text(network, "name_label");
        return 0;
    }
    if (records_there(t, "PIF.get_all_records", &pifs, err) < 0) return -1;
    for (size_t i = 0; pifs.kind == VALUE_MAP && i < pifs.map.n && !network; i++) {
        const struct value *pif = &pifs.map.members[i].value;

        if (!cmd_member_bool(pif, "management") || !ref_eq(cmd_member_ref(pif, "host"), host)) continue;
        *ret_network = cmd_member_ref(pif, "network");
        network = value_get(&t->networks, ref_text(*ret_network, text));
    }
    if (!network) return cmd_fail(err, "The host has no management network: name one of the pool at %s with remote-network=", t->address);
    *ret_name = cmd_member_text(network, "name_label");
    return 0;
}

/* name:UUID-here=UUID-or-name-there as a map of references. */
static int read_map(struct cmd *c, const struct there *t, const char *param, int cls, const struct value *records,
                    const char *what, const char *const *names, struct value *ret_map, struct xerr *err)
{
    const struct value given = cmd_get_map(c, param);
    struct value_builder b = value_builder(c->arena);
    const struct value *dropped;

    for (size_t i = 0; i < given.map.n; i++) {
        struct ref here, there;
        char text[REF_TEXT];

        if (cmd_by_uuid(c, cls, given.map.members[i].key, &here, err) < 0
            || find_there(t, records, what, given.map.members[i].value.s, names, &there, &dropped, err) < 0)
            return -1;
        value_put(&b, arena_strdup(c->arena, ref_text(here, text)), value_ref(there));
    }
    *ret_map = value_built_map(&b);
    return 0;
}

static int read_formats(struct cmd *c, struct value *ret_map, struct xerr *err)
{
    const struct value given = cmd_get_map(c, "image-format");
    struct value_builder b = value_builder(c->arena);

    for (size_t i = 0; i < given.map.n; i++) {
        struct ref vdi;
        char text[REF_TEXT];

        if (cmd_by_uuid(c, CLASS_VDI, given.map.members[i].key, &vdi, err) < 0) return -1;
        value_put(&b, arena_strdup(c->arena, ref_text(vdi, text)), given.map.members[i].value);
    }
    *ret_map = value_built_map(&b);
    return 0;
}

/* Where a disk goes of which nobody said: it stays on storage that both pools see, else the pool's default. */
static struct ref place_of_disk(struct cmd *c, const struct there *t, struct ref vdi)
{
    const struct value *disk = cmd_object_record(c, CLASS_VDI, vdi), *dropped;
    const struct value *sr = disk ? cmd_object_record(c, CLASS_SR, cmd_member_ref(disk, "SR")) : NULL;
    _cleanup_xerr_ struct xerr not_there = XERR_INIT;
    static const char *const uuid_only[] = { NULL };
    struct ref there;

    if (sr && find_there(t, &t->srs, "SR", cmd_member_text(sr, "uuid"), uuid_only, &there, &dropped, &not_there) == 0) return there;
    return t->default_sr;
}

/* The map of the command line, and the disks of this VM that it leaves out. */
static int complete_vdi_map(struct cmd *c, const struct there *t, struct ref vm, struct value *ret_map, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    struct value vbds;

    for (size_t i = 0; i < t->vdi_map.map.n; i++) value_put(&b, t->vdi_map.map.members[i].key, t->vdi_map.map.members[i].value);
    if (cmd_call(c, "VM.get_VBDs", CMD_ARGS(value_ref(vm)), &vbds, err) < 0) return -1;
    for (size_t i = 0; vbds.kind == VALUE_SET && i < vbds.set.n; i++) {
        const struct value *vbd = cmd_object_record(c, CLASS_VBD, cmd_as_ref(&vbds.set.items[i]));
        struct ref vdi = vbd ? cmd_member_ref(vbd, "VDI") : REF_NULL, sr;
        char text[REF_TEXT];

        if (ref_is_null(vdi) || streq(cmd_member_text(vbd, "type"), "CD")) continue;
        if (value_get(&t->vdi_map, ref_text(vdi, text))) continue;
        sr = place_of_disk(c, t, vdi);
        if (!ref_is_null(sr)) value_put(&b, arena_strdup(c->arena, text), value_ref(sr));
    }
    *ret_map = value_built_map(&b);
    return 0;
}

static int move_there(struct cmd *c, struct cmd_object_row *vm, void *arg, struct xerr *err)
{
    const struct there *t = arg;
    struct value args[8] = { value_ref(vm->ref), t->token, value_bool(t->live), value_map(NULL, 0), t->vif_map, t->options,
                             value_map(NULL, 0), t->formats };
    struct value moved, uuid;

    if (complete_vdi_map(c, t, vm->ref, &args[3], err) < 0) return -1;
    /* The last one is not known everywhere. */
    if (cmd_work(c, "VM.migrate_send", args, t->formats.map.n ? 8 : 7, &moved, err) < 0) return -1;
    if (!t->copy) return 0;
    if (peer_call(t->peer, "VM.get_uuid", CMD_ARGS(value_ref(cmd_as_ref(&moved))), &uuid, err) < 0) return -1;
    cmd_item(c, uuid.kind == VALUE_STRING ? uuid.s : "");
    return 0;
}

/* 1. what that pool has; 2. where everything goes; 3. the word with which it lets us in; 4. the move. */
static int migrate_with(struct cmd *c, struct there *t, struct xerr *err)
{
    const char *host_name = "", *network_name = "";
    struct ref host, network;

    if (records_there(t, "network.get_all_records", &t->networks, err) < 0
        || records_there(t, "SR.get_all_records", &t->srs, err) < 0 || choose_host(c, t, &host, &host_name, err) < 0
        || choose_network(c, t, host, &network, &network_name, err) < 0)
        return -1;
    if (read_map(c, t, "vif", CLASS_VIF, &t->networks, "network", NETWORK_NAMES, &t->vif_map, err) < 0
        || read_map(c, t, "vdi", CLASS_VDI, &t->srs, "SR", NAMES, &t->vdi_map, err) < 0 || read_formats(c, &t->formats, err) < 0)
        return -1;
    if (!c->minimal) {
        cmd_say(c, "Destination network: %s", network_name);
        cmd_say(c, "Destination host: %s", host_name);
    }
    if (peer_call(t->peer, "host.migrate_receive", CMD_ARGS(value_ref(host), value_ref(network), t->options), &t->token, err) < 0)
        return -1;
    return cmd_each(c, "vm", CMD_TEMPLATES, OWN_PARAMS, move_there, t, err);
}

static int migrate_there(struct cmd *c, struct xerr *err)
{
    static const char *const needed[] = { "remote-master", "remote-username", "remote-password" };
    struct there t = { .address = cmd_get(c, "remote-master") };
    int rc;

    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!cmd_get(c, needed[i])) return cmd_usage(err, "Required parameter not found", "%s", needed[i]);
    if (cmd_get_bool(c, "live", true, &t.live, err) < 0 || cmd_get_bool(c, "copy", false, &t.copy, err) < 0
        || read_options(c, &t.options, err) < 0)
        return -1;
    if (peer_open(c, t.address, cmd_get(c, "remote-username"), cmd_get(c, "remote-password"), &t.peer, err) < 0) return -1;
    rc = migrate_with(c, &t, err);
    peer_close(t.peer);
    return rc;
}

int cmd_vm_migrate(struct cmd *c, struct xerr *err)
{
    for (size_t i = 0; i < c->n_params; i++)
        if (has_prefix(c->params[i].key, "remote-")) return migrate_there(c, err);
    return migrate_here(c, err);
}
