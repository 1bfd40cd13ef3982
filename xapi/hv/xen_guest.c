/* The Xen driver's guests: the table, turns, and the records that outlive the agent.
 * Called by: xen*.c.  Calls: lib/json, the file system. */
#include "xapi/hv/xen_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "lib/json.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { MAX_RECORD = 1 << 20, RECORD_VERSION = 1 };

/* ---- the table ------------------------------------------------------------------------------- */

static struct xn_guest *blank(const char *uuid)
{
    struct xn_guest *g = xcalloc(1, sizeof *g);

    g->refs = 1;
    g->domid = -1;
    g->watched_bytes = -1;
    snprintf(g->uuid, sizeof g->uuid, "%s", uuid);
    memcpy(g->vm, g->uuid, sizeof g->vm);
    memcpy(g->run_name, g->uuid, sizeof g->run_name);
    return g;
}

struct xn_guest *xn_guest_new(const struct hv_vm *vm)
{
    struct xn_guest *g = blank(vm->id.uuid);

    g->name = xstrdup(vm->name);
    g->type = vm->domain_type;
    g->static_max_bytes = vm->memory_static_max_bytes;
    g->dynamic_min_bytes = vm->memory_dynamic_min_bytes;
    g->dynamic_max_bytes = vm->memory_dynamic_max_bytes;
    g->target_bytes = vm->memory_target_bytes;
    g->vcpus_max = vm->vcpus_max;
    g->vcpus = vm->vcpus_at_startup;
    g->stop_on_reboot = vm->stop_on_reboot;
    g->uefi = vm->domain_type == HV_DOMAIN_HVM && vm->firmware == HV_FIRMWARE_UEFI;
    g->screen = vm->domain_type != HV_DOMAIN_HVM && hv_pair_bool(vm->platform, vm->n_platform, "framebuffer", false);
    g->data = xcalloc(vm->n_xenstore_data + 1, sizeof *g->data);
    for (size_t i = 0; i < vm->n_xenstore_data; i++)
        g->data[g->n_data++] = (struct hv_pair){ xstrdup(vm->xenstore_data[i].key), xstrdup(vm->xenstore_data[i].value) };
    return g;
}

static void free_guest(struct xn_guest *g)
{
    for (size_t i = 0; i < g->n_disks; i++) free(g->disks[i].path);
    for (size_t i = 0; i < g->n_data; i++) {
        free((char *)g->data[i].key);
        free((char *)g->data[i].value);
    }
    free(g->data);
    free(g->disks);
    free(g->nics);
    free(g->name);
    free(g);
}

void xn_guest_unref(struct xn *xn, struct xn_guest *g)
{
    pthread_mutex_lock(&xn->lock);
    bool last = --g->refs == 0;
    pthread_mutex_unlock(&xn->lock);
    if (last) free_guest(g);
}

static struct xn_guest *find(const struct xn *xn, const char *uuid)
{
    for (struct xn_guest *g = xn->guests; g; g = g->next)
        if (streq(g->uuid, uuid)) return g;
    return NULL;
}

struct xn_guest *xn_guest_ref(struct xn *xn, const char *uuid)
{
    pthread_mutex_lock(&xn->lock);
    struct xn_guest *g = find(xn, uuid);
    if (g) g->refs++;
    pthread_mutex_unlock(&xn->lock);
    return g;
}

bool xn_guest_add(struct xn *xn, struct xn_guest *g, int64_t *ret_domid)
{
    pthread_mutex_lock(&xn->lock);
    const struct xn_guest *other = find(xn, g->uuid);
    if (other) {
        *ret_domid = other->domid;
    } else {
        g->refs++;
        g->next = xn->guests;
        xn->guests = g;
    }
    pthread_mutex_unlock(&xn->lock);
    return !other;
}

void xn_guest_drop(struct xn *xn, struct xn_guest *g)
{
    bool found = false;

    pthread_mutex_lock(&xn->lock);
    for (struct xn_guest **link = &xn->guests; *link && !found; link = found ? link : &(*link)->next) {
        if (*link != g) continue;
        *link = g->next;
        found = true;
    }
    pthread_cond_broadcast(&xn->changed);
    pthread_mutex_unlock(&xn->lock);
    if (found) xn_guest_unref(xn, g);
}

/* ---- turns ----------------------------------------------------------------------------------- */

struct xn_guest *xn_turn(struct xn *xn, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn_guest *g;

    pthread_mutex_lock(&xn->lock);
    while ((g = find(xn, uuid)) && g->busy) {
        if (xn_wait_until(xn, deadline_ms)) continue;
        pthread_mutex_unlock(&xn->lock);
        hv_fail(f, HV_FAIL_TIMEOUT, "another operation on the guest does not end");
        return NULL;
    }
    if (g) {
        g->busy = true;
        g->refs++;
    }
    pthread_mutex_unlock(&xn->lock);
    if (!g) hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
    return g;
}

void xn_turn_end(struct xn *xn, struct xn_guest *g)
{
    pthread_mutex_lock(&xn->lock);
    g->busy = false;
    pthread_cond_broadcast(&xn->changed);
    pthread_mutex_unlock(&xn->lock);
    xn_guest_unref(xn, g);
}

struct xn_guest *xn_turn_running(struct xn *xn, const char *uuid, bool paused_too, int64_t deadline_ms,
                                 struct hv_failure *f)
{
    struct xn_guest *g = xn_turn(xn, uuid, deadline_ms, f);
    xc_domaininfo_t info;

    if (!g) return NULL;
    if (!xn_dominfo(xn, g, &info)) {
        xn_turn_end(xn, g);
        hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
        return NULL;
    }
    f->actual = xn_state(&info);
    if (f->actual == HV_STATE_RUNNING || (paused_too && f->actual == HV_STATE_PAUSED)) return g;
    xn_turn_end(xn, g);
    hv_fail(f, HV_FAIL_STATE, "wrong state");
    return NULL;
}

/* ---- devices --------------------------------------------------------------------------------- */

struct xn_disk *xn_disk_find(const struct xn_guest *g, unsigned slot)
{
    for (size_t i = 0; i < g->n_disks; i++)
        if (g->disks[i].slot == slot) return &g->disks[i];
    return NULL;
}

struct xn_disk *xn_disk_add(struct xn_guest *g, const struct xn_disk *disk)
{
    g->disks = xrealloc(g->disks, (g->n_disks + 1) * sizeof *g->disks);
    g->disks[g->n_disks] = *disk;
    return &g->disks[g->n_disks++];
}

void xn_disk_remove(struct xn_guest *g, struct xn_disk *disk)
{
    free(disk->path);
    *disk = g->disks[--g->n_disks];
}

struct xn_nic *xn_nic_find(const struct xn_guest *g, unsigned device)
{
    for (size_t i = 0; i < g->n_nics; i++)
        if (g->nics[i].device == device) return &g->nics[i];
    return NULL;
}

struct xn_nic *xn_nic_add(struct xn_guest *g, const struct xn_nic *nic)
{
    g->nics = xrealloc(g->nics, (g->n_nics + 1) * sizeof *g->nics);
    g->nics[g->n_nics] = *nic;
    return &g->nics[g->n_nics++];
}

void xn_nic_remove(struct xn_guest *g, struct xn_nic *nic) { *nic = g->nics[--g->n_nics]; }

/* ---- writing records ------------------------------------------------------------------------- */

static void put_int(struct value_builder *b, const char *key, int64_t i) { value_put_new(b, key, value_int(i)); }
static void put_str(struct value_builder *b, const char *key, const char *s) { value_put_new(b, key, value_string(s)); }

static struct value disk_value(struct arena *a, const struct xn_disk *d)
{
    struct value_builder b = value_builder(a);

    put_int(&b, "slot", d->slot);
    put_int(&b, "kind", d->kind);
    put_int(&b, "cdrom", d->cdrom);
    put_int(&b, "readonly", d->readonly);
    put_int(&b, "major", d->major);
    put_int(&b, "minor", d->minor);
    put_int(&b, "generation", d->generation);
    if (d->path) put_str(&b, "path", d->path);
    return value_built_map(&b);
}

static struct value address_value(struct arena *a, const struct xn_address *from)
{
    struct value_builder b = value_builder(a);

    if (from->fixed) put_str(&b, "address", from->address);
    if (from->fixed && *from->gateway) put_str(&b, "gateway", from->gateway);
    return value_built_map(&b);
}

static struct value nic_value(struct arena *a, const struct xn_nic *n)
{
    struct value_builder b = value_builder(a);

    put_int(&b, "device", n->device);
    put_int(&b, "mtu", n->mtu);
    put_int(&b, "emulated", n->emulated);
    put_int(&b, "rate_kbytes", n->rate_kbytes);
    put_str(&b, "mac", n->mac);
    put_str(&b, "bridge", n->bridge);
    value_put(&b, "ipv4", address_value(a, &n->ipv4));
    value_put(&b, "ipv6", address_value(a, &n->ipv6));
    return value_built_map(&b);
}

static struct value record_value(struct arena *a, const struct xn_guest *g)
{
    struct value_builder b = value_builder(a), disks = value_builder(a), nics = value_builder(a), data = value_builder(a);

    put_int(&b, "version", RECORD_VERSION);
    put_str(&b, "uuid", g->uuid);
    put_int(&b, "making", g->phase == XN_MAKING);
    put_str(&b, "vm", g->vm);
    put_str(&b, "run_name", g->run_name);
    put_int(&b, "streaming", g->streaming);
    put_int(&b, "dirty_log", g->dirty_log);
    put_int(&b, "domid", g->domid);
    put_str(&b, "name", g->name);
    put_int(&b, "type", g->type);
    put_int(&b, "start_time", g->start_time);
    put_int(&b, "static_max", g->static_max_bytes);
    put_int(&b, "dynamic_min", g->dynamic_min_bytes);
    put_int(&b, "dynamic_max", g->dynamic_max_bytes);
    put_int(&b, "target", g->target_bytes);
    put_int(&b, "video", g->video_bytes);
    put_int(&b, "vcpus_max", g->vcpus_max);
    put_int(&b, "vcpus", g->vcpus);
    put_int(&b, "stop_on_reboot", g->stop_on_reboot);
    put_int(&b, "uefi", g->uefi);
    put_int(&b, "screen", g->screen);
    put_int(&b, "store_frame", (int64_t)g->store_frame);
    put_int(&b, "store_port", g->store_port);
    put_int(&b, "console_frame", (int64_t)g->console_frame);
    put_int(&b, "console_port", g->console_port);
    put_int(&b, "qemu_pid", g->qemu_pid);
    put_int(&b, "qemu_start", (int64_t)g->qemu_start);
    for (size_t i = 0; i < g->n_disks; i++) value_push(&disks, disk_value(a, &g->disks[i]));
    for (size_t i = 0; i < g->n_nics; i++) value_push(&nics, nic_value(a, &g->nics[i]));
    for (size_t i = 0; i < g->n_data; i++) value_put(&data, g->data[i].key, value_string(g->data[i].value));
    value_put_new(&b, "disks", value_built_set(&disks));
    value_put_new(&b, "nics", value_built_set(&nics));
    value_put_new(&b, "data", value_built_map(&data));
    return value_built_map(&b);
}

static char *record_path(const struct xn *xn, const char *uuid) { return xasprintf("%s/%s", xn->guest_dir, uuid); }

/* Renamed into place but not synced: a power cut ends the guests too. */
static int replace_file(const char *path, const struct strbuf *text)
{
    _cleanup_free_ char *temporary = xasprintf("%s.new", path);
    FILE *file = fopen(temporary, "we");

    if (!file) return -1;
    size_t n = fwrite(text->ptr, 1, text->len, file);
    if (fclose(file) != 0 || n != text->len) return -1;
    return rename(temporary, path);
}

int xn_record_write(struct xn *xn, const struct xn_guest *g, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    _cleanup_free_ char *path = record_path(xn, g->uuid);
    const struct value v = record_value(a, g);

    if (xn_fault("hv.xen.record", f) < 0) return -1;
    json_encode_value(&v, &text);
    if (replace_file(path, &text) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    return 0;
}

void xn_record_remove(struct xn *xn, const char *uuid)
{
    _cleanup_free_ char *path = record_path(xn, uuid);

    if (unlink(path) < 0 && errno != ENOENT) log_warn("xen: %s: %s", path, strerror(errno));
}

/* ---- one guest after another ----------------------------------------------------------------- */

int xn_guest_succeed(struct xn *xn, struct xn_guest *g, struct xn_guest *old, struct hv_failure *f)
{
    struct xn_guest as_vm = *g, retired = old ? *old : *g;
    char temporary[UUID_TEXT];

    if (streq(g->uuid, g->vm)) return 0;
    memcpy(temporary, g->uuid, sizeof temporary);
    uuid_to_text(ref_new(), retired.uuid);
    retired.phase = XN_MAKING;
    as_vm.phase = XN_THERE;
    memcpy(as_vm.uuid, g->vm, sizeof as_vm.uuid);
    /* 1. Whoever starts now finds the old domain twice: the VM's record counts. 2. The step itself. 3. The new one had a second
     * record too. */
    if (old && xn_record_write(xn, &retired, f) < 0) return -1;
    if (xn_record_write(xn, &as_vm, f) < 0) {
        xn_record_remove(xn, retired.uuid);
        return -1;
    }
    xn_record_remove(xn, temporary);
    pthread_mutex_lock(&xn->lock);
    if (old) {
        memcpy(old->uuid, retired.uuid, sizeof old->uuid);
        old->phase = XN_MAKING;
    }
    memcpy(g->uuid, g->vm, sizeof g->uuid);
    pthread_cond_broadcast(&xn->changed);
    pthread_mutex_unlock(&xn->lock);
    return 0;
}

/* ---- reading records ------------------------------------------------------------------------- */

static int64_t get_int(const struct value *map, const char *key)
{
    const struct value *v = value_get(map, key);

    return v && v->kind == VALUE_INT ? v->i : 0;
}

static void read_disks(struct xn_guest *g, const struct value *disks)
{
    for (size_t i = 0; disks && disks->kind == VALUE_SET && i < disks->set.n; i++) {
        const struct value *d = &disks->set.items[i];
        const char *path = value_get_str(d, "path", NULL);
        unsigned slot = (unsigned)get_int(d, "slot");
        xn_disk_add(g, &(struct xn_disk){
            .slot = slot, .devid = xn_devid(slot), .kind = (enum xn_kind)get_int(d, "kind"),
            .cdrom = get_int(d, "cdrom") != 0, .readonly = get_int(d, "readonly") != 0,
            .major = (unsigned)get_int(d, "major"), .minor = (unsigned)get_int(d, "minor"),
            .generation = (unsigned)get_int(d, "generation"),
            .path = path ? xstrdup(path) : NULL,
        });
    }
}

static void read_address(struct xn_address *to, const struct value *from)
{
    const char *address = from ? value_get_str(from, "address", "") : "";

    to->fixed = *address;
    snprintf(to->address, sizeof to->address, "%s", address);
    snprintf(to->gateway, sizeof to->gateway, "%s", from ? value_get_str(from, "gateway", "") : "");
}

static void read_nics(struct xn_guest *g, const struct value *nics)
{
    for (size_t i = 0; nics && nics->kind == VALUE_SET && i < nics->set.n; i++) {
        const struct value *n = &nics->set.items[i];
        struct xn_nic nic = { .device = (unsigned)get_int(n, "device"), .mtu = (unsigned)get_int(n, "mtu"),
                              .emulated = get_int(n, "emulated") != 0, .rate_kbytes = get_int(n, "rate_kbytes") };
        snprintf(nic.mac, sizeof nic.mac, "%s", value_get_str(n, "mac", ""));
        snprintf(nic.bridge, sizeof nic.bridge, "%s", value_get_str(n, "bridge", ""));
        read_address(&nic.ipv4, value_get(n, "ipv4"));
        read_address(&nic.ipv6, value_get(n, "ipv6"));
        xn_nic_add(g, &nic);
    }
}

static struct xn_guest *guest_of(const struct value *v)
{
    struct xn_guest *g = blank(value_get_str(v, "uuid", ""));
    const struct value *data = value_get(v, "data");

    g->phase = get_int(v, "making") ? XN_MAKING : XN_THERE;
    snprintf(g->vm, sizeof g->vm, "%s", value_get_str(v, "vm", g->uuid));
    snprintf(g->run_name, sizeof g->run_name, "%s", value_get_str(v, "run_name", g->uuid));
    g->streaming = get_int(v, "streaming") != 0;
    g->dirty_log = get_int(v, "dirty_log") != 0;
    g->domid = get_int(v, "domid");
    g->name = xstrdup(value_get_str(v, "name", ""));
    g->type = (enum hv_domain_type)get_int(v, "type");
    g->start_time = get_int(v, "start_time");
    g->static_max_bytes = get_int(v, "static_max");
    g->dynamic_min_bytes = get_int(v, "dynamic_min");
    g->dynamic_max_bytes = get_int(v, "dynamic_max");
    g->target_bytes = get_int(v, "target");
    g->video_bytes = get_int(v, "video");
    g->vcpus_max = (unsigned)get_int(v, "vcpus_max");
    g->vcpus = (unsigned)get_int(v, "vcpus");
    g->stop_on_reboot = get_int(v, "stop_on_reboot") != 0;
    g->uefi = get_int(v, "uefi") != 0;
    g->screen = get_int(v, "screen") != 0;
    g->store_frame = (uint64_t)get_int(v, "store_frame");
    g->store_port = (unsigned)get_int(v, "store_port");
    g->console_frame = (uint64_t)get_int(v, "console_frame");
    g->console_port = (unsigned)get_int(v, "console_port");
    g->qemu_pid = (pid_t)get_int(v, "qemu_pid");
    g->qemu_start = (uint64_t)get_int(v, "qemu_start");
    read_disks(g, value_get(v, "disks"));
    read_nics(g, value_get(v, "nics"));
    size_t n = data && data->kind == VALUE_MAP ? data->map.n : 0;
    g->data = xcalloc(n + 1, sizeof *g->data);
    for (size_t i = 0; i < n; i++)
        if (data->map.members[i].value.kind == VALUE_STRING)
            g->data[g->n_data++] =
                (struct hv_pair){ xstrdup(data->map.members[i].key), xstrdup(data->map.members[i].value.s) };
    return g;
}

static int load_one(struct xn *xn, const char *uuid, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_free_ char *path = record_path(xn, uuid), *text = NULL;
    const char *error;
    struct value v;
    size_t len;

    if (read_file(path, MAX_RECORD, &text, &len) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    if (json_decode(text, len, a, &v, &error) < 0 || get_int(&v, "version") != RECORD_VERSION ||
        !streq(value_get_str(&v, "uuid", ""), uuid))
        return hv_fail(f, HV_FAIL_ENGINE, "%s: not a record of a guest that this version understands", path);
    struct xn_guest *g = guest_of(&v);
    int64_t domid;
    xn_guest_add(xn, g, &domid);
    xn_guest_unref(xn, g);
    return 0;
}

static const struct xn_guest *second_record(const struct xn *xn)
{
    for (const struct xn_guest *g = xn->guests; g; g = g->next)
        for (const struct xn_guest *other = xn->guests; g->phase == XN_MAKING && other; other = other->next)
            if (other != g && other->phase == XN_THERE && other->domid == g->domid) return g;
    return NULL;
}

/* An agent that was killed in xn_guest_succeed() left a domain with two records. */
static void drop_seconds(struct xn *xn)
{
    for (const struct xn_guest *g; (g = second_record(xn));) {
        xn_record_remove(xn, g->uuid);
        xn_guest_drop(xn, (struct xn_guest *)g);
    }
}

int xn_record_load(struct xn *xn, struct hv_failure *f)
{
    DIR *dir = opendir(xn->guest_dir);
    struct ref ignored;
    int rc = 0;

    if (!dir) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", xn->guest_dir, strerror(errno));
    for (const struct dirent *e; rc == 0 && (e = readdir(dir));)
        if (uuid_from_text(e->d_name, &ignored)) rc = load_one(xn, e->d_name, f);
    closedir(dir);
    drop_seconds(xn);
    return rc;
}
