/* VMs from an OVA.
 * Called by: xva_import.c.  Calls: xapi-helper, storage/content, the gates.
 *
 * 1. The description, through a confined reader. 2. VMs and empty disks. 3. The disks as they come, each through a confined
 * reader of foreign images. 4. Devices. Nothing is kept in between, and on failure nothing stays. */
#define LOG_MODULE "ova"
#include "xapi/ova.h"

#include <endian.h>
#include <errno.h>

#include "gen/methods.h"
#include "lib/disk_frame.h"
#include "lib/json.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/subproc.h"
#include "xapi/unfinished.h"
#include "xapi/unpack.h"
#include "xapi/vdi.h"

enum { MAX_ANSWER = 32 << 20, OVF_MS = 30000 };

struct disk {
    const char *id, *href;               /* href "": it is empty */
    int64_t capacity;
    struct ref vdi;                      /* null: no VM has it */
    const char *owner;                   /* NULL = not attached */
    bool came;
};

struct importer {
    struct call *c;
    const struct xva_import *what;
    struct xva_in *in;
    struct ova_check *check;
    struct value description;
    struct disk disks[LIMIT_OVA_DISKS];
    size_t n_disks;
    struct ref vms[LIMIT_OVA_VMS];
    size_t n_vms;
    int64_t done, total;                 /* bytes of disks */
    enum tar_result fed;                 /* how the feeding of a reader ended */
    char *piece;                         /* DISK_FRAME_MAX and a byte */
};

/* ---- the archive ----------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && strcasecmp(name + n - m, end) == 0;
}

bool ova_is_description(const char *name) { return ends_with(name, ".ovf"); }

/* A file of the archive as a text. */
static int read_text(struct importer *m, const struct tar_entry *e, const char **ret_text, struct xerr *err)
{
    if (e->size > LIMIT_OVA_TEXT) return xerr_import_error(err, arena_printf(m->c->arena, "%s is too large", e->name));
    char *text = arena_zalloc(m->c->arena, (size_t)e->size + 1);
    enum tar_result r = tar_read(&m->in->tar, text, (size_t)e->size);
    if (r != TAR_ENTRY) return xva_tar_error(m->in, r, err);
    ova_check_begin(m->check, e->name);
    ova_check_add(m->check, text, (size_t)e->size);
    ova_check_end(m->check);
    *ret_text = text;
    return 0;
}

/* What the description is without a path, and "./" before it, of the tar's names as of its own. */
static bool same_file(const char *a, const char *b)
{
    while (has_prefix(a, "./")) a += 2;
    while (has_prefix(b, "./")) b += 2;
    return streq(a, b);
}

/* ---- the description ------------------------------------------------------------------------------------------------- */

static bool cancelled(void *call) { return call_cancelled(call); }

static int read_description(struct importer *m, const struct tar_entry *first, struct xerr *err)
{
    const char *const argv[] = { m->c->agent->helper, "ovf", NULL };
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = OVF_MS, .out_bytes = MAX_ANSWER, .cancelled = cancelled, .cancelled_arg = m->c };
    _cleanup_subproc_result_ struct subproc_result r = { .code = 0 };
    const char *text, *why;

    if (read_text(m, first, &text, err)) return -1;
    if (subproc_run(&cmd, text, (size_t)first->size, &limits, &r))
        return xerr_internal(err, "%s: %s", m->c->agent->helper, strerror(errno));
    if (r.end == SUBPROC_CANCELLED && call_check_cancel(m->c, err)) return -1;
    const char *out = strbuf_cstr(&r.out);
    if (!subproc_ok(&r)) {
        _cleanup_free_ char *ended = subproc_describe(&r);
        /* 1 is a description that does not do; anything else is one that broke its reader. */
        const bool said = r.end == SUBPROC_EXITED && r.code == 1 && *out;
        if (!said) log_error("xapi-helper ovf: %s", ended);
        return xerr_import_error(err, said ? arena_strndup(m->c->arena, out, strcspn(out, "\n")) : "the description cannot be read");
    }
    if (r.out_truncated || json_decode(out, r.out.len, m->c->arena, &m->description, &why))
        return xerr_import_error(err, "the description is too large");
    return 0;
}

/* A member that is a set; the reader may be anybody's by now, so nothing is believed. */
static const struct value *set_of(const struct value *v, const char *key)
{
    static const struct value none = { .kind = VALUE_SET };
    const struct value *set = v && v->kind == VALUE_MAP ? value_get(v, key) : NULL;

    return set && set->kind == VALUE_SET ? set : &none;
}

static const char *text_of(const struct value *v, const char *key)
{
    return v->kind == VALUE_MAP ? value_get_str(v, key, "") : "";
}

static int64_t int_of(const struct value *v, const char *key)
{
    const struct value *n = v->kind == VALUE_MAP ? value_get(v, key) : NULL;

    return n && n->kind == VALUE_INT ? n->i : -1;
}

static bool bool_of(const struct value *v, const char *key)
{
    const struct value *b = v->kind == VALUE_MAP ? value_get(v, key) : NULL;

    return b && b->kind == VALUE_BOOL && b->b;
}

static const struct value *find(const struct value *set, const char *id)
{
    for (size_t i = 0; i < set->set.n; i++)
        if (streq(text_of(&set->set.items[i], "id"), id)) return &set->set.items[i];
    return NULL;
}

/* The disk of that id, known from now on. */
static int need_disk(struct importer *m, const char *id, struct disk **ret_disk, struct xerr *err)
{
    const struct value *d = find(set_of(&m->description, "disks"), id);

    for (size_t i = 0; i < m->n_disks; i++)
        if (streq(m->disks[i].id, id)) return xerr_import_error(err, arena_printf(m->c->arena, "disk %s belongs to two devices", id));
    if (!d) return xerr_import_error_failed_to_find_object(err, id);
    if (m->n_disks == LIMIT_OVA_DISKS) return xerr_import_error(err, "too many disks");
    const char *file = text_of(d, "file");
    const struct value *f = *file ? find(set_of(&m->description, "files"), file) : NULL;
    if (*file && (!f || !*text_of(f, "href"))) return xerr_import_error_failed_to_find_object(err, file);
    if (f && bool_of(f, "chunked")) return xerr_import_error(err, arena_printf(m->c->arena, "file %s is cut into pieces", file));
    if (*text_of(d, "stands_on")) return xerr_import_error(err, arena_printf(m->c->arena, "disk %s stands on another one", id));
    struct disk *k = &m->disks[m->n_disks];
    *k = (struct disk){ .id = id, .href = f ? text_of(f, "href") : "", .capacity = int_of(d, "capacity") };
    if (k->capacity <= 0) return xerr_import_error(err, arena_printf(m->c->arena, "disk %s has no size", id));
    m->n_disks++;
    *ret_disk = k;
    return 0;
}

/* ---- VMs ------------------------------------------------------------------------------------------------------------- */

static int create(struct importer *m, const char *method, const struct value_builder *b, struct ref *ret_ref, struct xerr *err)
{
    struct value made;

    if (call_message(m->c, method, ARGS(value_built_map(b)), &made, err)) return -1;
    *ret_ref = made.ref;
    return 0;
}

static void put_text(struct value_builder *b, const char *key, const char *text) { value_put(b, key, value_string(text)); }

/* What the guest had at its old place, as near as our hypervisors come to it. */
static struct value platform(struct importer *m, const struct value *vm)
{
    static const char *const always[] = { "acpi", "apic", "nx", "pae", "hpet" };
    struct value_builder b = value_builder(m->c->arena);
    const struct value *devices = set_of(vm, "devices");
    const int64_t cores = int_of(vm, "cores");
    const bool windows = strcasestr(text_of(vm, "os"), "windows") != NULL;
    const char *disk = "", *nic = "";

    for (size_t i = devices->set.n; i-- > 0;) {
        const struct value *d = &devices->set.items[i];
        const char *bus = text_of(d, "bus"), *card = text_of(d, "model");
        if (streq(text_of(d, "kind"), "disk")) disk = streq(bus, "ide") || streq(bus, "virtio") ? bus : "sata";
        if (streq(text_of(d, "kind"), "nic"))
            nic = strcasestr(card, "virtio") || strcasestr(card, "vmxnet") ? "virtio" : strcasestr(card, "e1000") ? "e1000" : "";
    }
    for (size_t i = 0; i < ARRAY_SIZE(always); i++) put_text(&b, always[i], "true");
    put_text(&b, "viridian", windows ? "true" : "false");
    if (windows) put_text(&b, "device_id", "0002");
    if (*disk) put_text(&b, "disk_model", disk);
    if (*nic) put_text(&b, "nic_type", nic);
    if (bool_of(vm, "secure")) put_text(&b, "secureboot", "true");
    if (cores > 1 && cores <= 1024 && int_of(vm, "vcpus") % cores == 0)
        put_text(&b, "cores-per-socket", arena_printf(m->c->arena, "%lld", (long long)cores));
    return value_built_map(&b);
}

static struct value other_config(struct importer *m, const struct value *vm)
{
    struct value_builder b = value_builder(m->c->arena);

    put_text(&b, UNFINISHED_KEY, unfinished_text(m->c));
    put_text(&b, "import_task", arena_strdup(m->c->arena, REF_STR(m->c->task->ref)));
    put_text(&b, "mac_seed", uuid_new(arena_alloc(m->c->arena, UUID_TEXT)));
    if (*text_of(vm, "os")) put_text(&b, "ovf_os", text_of(vm, "os"));
    return value_built_map(&b);
}

static int make_vm(struct importer *m, const struct value *vm, struct xerr *err)
{
    static const char *const memory[] = { "memory_static_max", "memory_dynamic_max", "memory_dynamic_min", "memory_static_min" };
    const int64_t bytes = int_of(vm, "memory"), vcpus = int_of(vm, "vcpus");
    struct value_builder b = value_builder(m->c->arena), boot = value_builder(m->c->arena);
    const struct value none = value_map(NULL, 0);

    if (m->n_vms == LIMIT_OVA_VMS) return xerr_import_error(err, "too many VMs");
    if (bytes <= 0 || vcpus <= 0)
        return xerr_import_error(err, arena_printf(m->c->arena, "VM %s has no memory or no processors", text_of(vm, "name")));
    put_text(&boot, "order", "cdn");
    put_text(&boot, "firmware", streq(text_of(vm, "firmware"), "uefi") ? "uefi" : "bios");
    put_text(&b, "name_label", text_of(vm, "name"));
    put_text(&b, "name_description", text_of(vm, "description"));
    for (size_t i = 0; i < ARRAY_SIZE(memory); i++) value_put(&b, memory[i], value_int(bytes));
    value_put(&b, "VCPUs_max", value_int(vcpus));
    value_put(&b, "VCPUs_at_startup", value_int(vcpus));
    value_put(&b, "VCPUs_params", none);
    put_text(&b, "actions_after_shutdown", "destroy");
    put_text(&b, "actions_after_reboot", "restart");
    put_text(&b, "actions_after_crash", "restart");
    put_text(&b, "HVM_boot_policy", "BIOS order");
    value_put(&b, "HVM_boot_params", value_built_map(&boot));
    value_put(&b, "platform", platform(m, vm));
    value_put(&b, "other_config", other_config(m, vm));
    value_put(&b, "is_a_template", value_bool(false));
    value_put(&b, "affinity", value_ref(REF_NULL));
    if (create(m, "VM.create", &b, &m->vms[m->n_vms], err)) return -1;
    m->n_vms++;
    return 0;
}

static int make_disk(struct importer *m, struct disk *d, const char *vm_name, struct xerr *err)
{
    struct vdi_new n = { .sr = m->what->sr, .virtual_size = d->capacity, .type = vdi_type_user,
                         .name_label = arena_printf(m->c->arena, "%s %s", vm_name, d->id), .name_description = "" };

    if (vdi_create_internal(m->c, &n, &d->vdi, err)) return -1;
    if (*d->href) m->total += d->capacity;
    return 0;
}

/* VMs and empty disks. */
static int make_vms(struct importer *m, struct xerr *err)
{
    const struct value *vms = set_of(&m->description, "vms");

    if (!vms->set.n) return xerr_import_error(err, "there is no VM in the description");
    for (size_t i = 0; i < vms->set.n; i++) {
        const struct value *vm = &vms->set.items[i], *devices = set_of(vm, "devices");
        if (make_vm(m, vm, err)) return -1;
        for (size_t j = 0; j < devices->set.n; j++) {
            const struct value *d = &devices->set.items[j];
            struct disk *disk = NULL;
            if (!streq(text_of(d, "kind"), "disk")) continue;
            if (need_disk(m, text_of(d, "disk"), &disk, err) || !disk || make_disk(m, disk, text_of(vm, "name"), err)) return -1;
        }
    }
    return 0;
}

/* ---- devices --------------------------------------------------------------------------------------------------------- */

static int make_vbd(struct importer *m, struct ref vm, struct ref vdi, bool first, const char *device, struct xerr *err)
{
    const bool cd = ref_is_null(vdi);
    struct value_builder b = value_builder(m->c->arena);
    const struct value none = value_map(NULL, 0);
    struct ref vbd;

    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "VDI", value_ref(vdi));
    put_text(&b, "userdevice", device);
    put_text(&b, "type", cd ? "CD" : "Disk");
    put_text(&b, "mode", cd ? "RO" : "RW");
    value_put(&b, "bootable", value_bool(first));
    value_put(&b, "empty", value_bool(cd));
    value_put(&b, "unpluggable", value_bool(true));
    value_put(&b, "other_config", none);
    put_text(&b, "qos_algorithm_type", "");
    value_put(&b, "qos_algorithm_params", none);
    return create(m, "VBD.create", &b, &vbd, err);
}

/* The network of that name, else the one that clients take for the first card of a VM: the oldest. */
static struct ref find_network(const struct importer *m, const char *name)
{
    _cleanup_snap_ struct snap *s = db_snap(m->c->agent->db);
    struct ref first = REF_NULL;

    SNAP_EACH (s, CLASS_network, row) {
        if (streq(row_str(row, F_network_name_label), name)) return row_ref_of(row);
        if (ref_is_null(first) && row_refs(row, F_network_PIFs)->n) first = row_ref_of(row);
    }
    return first;
}

static int make_vif(struct importer *m, struct ref vm, const struct value *nic, unsigned number, struct xerr *err)
{
    const struct ref network = find_network(m, text_of(nic, "network"));
    struct value_builder b = value_builder(m->c->arena);
    struct ref vif;

    if (ref_is_null(network)) return xerr_import_error_failed_to_find_object(err, text_of(nic, "network"));
    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "network", value_ref(network));
    put_text(&b, "device", arena_printf(m->c->arena, "%u", number));
    put_text(&b, "MAC", m->what->restore ? text_of(nic, "mac") : "");
    value_put(&b, "MTU", value_int(1500));
    value_put(&b, "other_config", value_map(NULL, 0));
    put_text(&b, "qos_algorithm_type", "");
    value_put(&b, "qos_algorithm_params", value_map(NULL, 0));
    return create(m, "VIF.create", &b, &vif, err);
}

static struct disk *disk_named(struct importer *m, const char *id)
{
    for (size_t i = 0; i < m->n_disks; i++)
        if (streq(m->disks[i].id, id)) return &m->disks[i];
    return NULL;
}

/* Disks are 0, 1, 2, 4, ... when there is a CD drive, which is 3 as everywhere. */
static int make_vm_devices(struct importer *m, struct ref vm, const struct value *description, struct xerr *err)
{
    const struct value *devices = set_of(description, "devices");
    unsigned place = 0, nics = 0;
    bool has_cd = false, first = true;

    for (size_t i = 0; i < devices->set.n; i++) {
        const struct value *d = &devices->set.items[i];
        if (streq(text_of(d, "kind"), "nic") && make_vif(m, vm, d, nics++, err)) return -1;
        if (streq(text_of(d, "kind"), "cd") && !has_cd && make_vbd(m, vm, REF_NULL, false, "3", err)) return -1;
        has_cd |= streq(text_of(d, "kind"), "cd");
    }
    for (size_t i = 0; i < devices->set.n; i++) {
        const struct value *d = &devices->set.items[i];
        const struct disk *disk = streq(text_of(d, "kind"), "disk") ? disk_named(m, text_of(d, "disk")) : NULL;
        if (!disk) continue;
        place += has_cd && place == 3;
        if (make_vbd(m, vm, disk->vdi, first, arena_printf(m->c->arena, "%u", place++), err)) return -1;
        first = false;
    }
    return 0;
}

static int make_devices(struct importer *m, struct xerr *err)
{
    const struct value *vms = set_of(&m->description, "vms");

    for (size_t i = 0; i < m->n_vms; i++)
        if (make_vm_devices(m, m->vms[i], &vms->set.items[i], err)) return -1;
    return 0;
}

/* ---- a disk's content ------------------------------------------------------------------------------------------------ */

/* What the reader's feeder reads with: the file of the archive, to its end. */
static ssize_t feed(void *arg, void *buf, size_t n)
{
    struct importer *m = arg;

    if (!m->in->tar.left || call_cancelled(m->c)) return 0;
    if ((int64_t)n > m->in->tar.left) n = (size_t)m->in->tar.left;
    m->fed = tar_read(&m->in->tar, buf, n);
    if (m->fed != TAR_ENTRY) return -1;
    ova_check_add(m->check, buf, n);
    return (ssize_t)n;
}

static int read_exactly(struct importer *m, struct unpack *u, void *buf, size_t n, struct xerr *err)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = unpack_read(u, (char *)buf + have, n - have);
        if (got <= 0) {
            if (call_check_cancel(m->c, err)) return -1;
            return m->fed != TAR_ENTRY ? xva_tar_error(m->in, m->fed, err)
                : xerr_import_error(err, "the reader of the disk ended too early");
        }
        have += (size_t)got;
    }
    return 0;
}

/* One frame; *ret_more false at the end. */
static int take_frame(struct importer *m, struct unpack *u, const struct disk *d, struct content *k, bool *ret_more, struct xerr *err)
{
    struct disk_frame f;

    if (read_exactly(m, u, &f, sizeof f, err)) return -1;
    const uint64_t at = le64toh(f.at);
    const uint32_t kind = le32toh(f.kind), n = le32toh(f.len);
    if (n > DISK_FRAME_MAX) return xerr_import_error(err, "the reader of the disk talks nonsense");
    if (n && read_exactly(m, u, m->piece, n, err)) return -1;
    *ret_more = kind != DISK_FRAME_END;
    switch (kind) {
    case DISK_FRAME_SIZE:
        if (at <= (uint64_t)d->capacity) return 0;
        return xerr_import_error(err, arena_printf(m->c->arena, "disk %s is larger than its description says", d->id));
    case DISK_FRAME_PIECE:
        if (at > (uint64_t)d->capacity || n > (uint64_t)d->capacity - at)
            return xerr_import_error(err, arena_printf(m->c->arena, "disk %s is larger than its description says", d->id));
        call_progress(m->c, (double)(m->done + (int64_t)at) / (double)m->total);
        return content_write(k, m->piece, n, (int64_t)at, true, err);
    case DISK_FRAME_END:
        return 0;
    case DISK_FRAME_BAD:
        m->piece[n] = '\0';
        if (m->fed != TAR_ENTRY) return xva_tar_error(m->in, m->fed, err);
        return xerr_import_error(err, arena_printf(m->c->arena, "%s: %s", d->href, m->piece));
    }
    return xerr_import_error(err, "the reader of the disk talks nonsense");
}

static int fill_disk(struct importer *m, const struct disk *d, struct content *k, struct xerr *err)
{
    const struct unpack_source source = { feed, NULL, m };
    const char *const argv[] = { m->c->agent->helper, "import-disk", NULL };
    struct unpack *u = unpack_start(m->c, &source, argv, err);
    bool more = u != NULL;
    int rc = u ? 0 : -1;

    while (!rc && more) rc = take_frame(m, u, d, k, &more, err);
    unpack_close(u);
    return rc ? -1 : content_flush(k, err);
}

static int read_disk(struct importer *m, struct disk *d, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct storage_disk image;
    struct content *k = NULL;

    const char *owner = arena_printf(m->c->arena, "import-%s", m->c->task->uuid);
    if (vdi_attach(m->c, d->vdi, owner, true, &image, err)) return -1;
    m->fed = TAR_ENTRY;
    int rc = content_open(m->c->agent->storage, &image, &k, err);
    if (!rc) rc = fill_disk(m, d, k, err);
    content_close(k);
    if (vdi_detach(m->c, d->vdi, owner, &why)) log_warn("a disk stays attached after an import: %s", why.code);
    m->done += d->capacity;
    d->came = !rc;
    return rc;
}

/* ---- the files ------------------------------------------------------------------------------------------------------- */

static struct disk *disk_of_file(struct importer *m, const char *name)
{
    for (size_t i = 0; i < m->n_disks; i++)
        if (*m->disks[i].href && same_file(m->disks[i].href, name)) return &m->disks[i];
    return NULL;
}

/* A file that the description names and no disk needs: a medium, a logo. Its checksum counts. */
static int pass_over(struct importer *m, struct xerr *err)
{
    ssize_t n;

    m->fed = TAR_ENTRY;
    while ((n = feed(m, m->piece, DISK_FRAME_MAX)) > 0)
        if (call_check_cancel(m->c, err)) return -1;
    return n < 0 ? xva_tar_error(m->in, m->fed, err) : call_check_cancel(m->c, err);
}

static bool is_named(struct importer *m, const char *name)
{
    const struct value *files = set_of(&m->description, "files");

    for (size_t i = 0; i < files->set.n; i++)
        if (same_file(text_of(&files->set.items[i], "href"), name)) return true;
    return false;
}

static int take_file(struct importer *m, const struct tar_entry *e, struct xerr *err)
{
    struct disk *d = disk_of_file(m, e->name);
    const char *text;

    if (ends_with(e->name, ".mf"))
        return read_text(m, e, &text, err) ? -1 : ova_check_manifest(m->check, text) ? 0
            : xerr_import_error(err, "the manifest cannot be read");
    if (ends_with(e->name, ".cert") || e->size == 0) return 0;
    if (!d && !is_named(m, e->name)) return xerr_import_error_unexpected_file(err, "", e->name);
    if (d && d->came) return xerr_import_error_unexpected_file(err, "", e->name);
    ova_check_begin(m->check, e->name);
    int rc = d ? read_disk(m, d, err) : pass_over(m, err);
    ova_check_end(m->check);
    return rc;
}

static int take_files(struct importer *m, struct xerr *err)
{
    struct tar_entry e;
    enum tar_result r;

    while ((r = tar_next(&m->in->tar, &e)) == TAR_ENTRY)
        if (call_check_cancel(m->c, err) || take_file(m, &e, err)) return -1;
    if (r != TAR_END) return xva_tar_error(m->in, r, err);
    for (size_t i = 0; i < m->n_disks; i++)
        if (*m->disks[i].href && !m->disks[i].came) return xerr_import_error_failed_to_find_object(err, m->disks[i].href);
    return ova_check_passed(m->check) ? 0 : xerr_import_error_some_checksums_failed(err);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------- */

static void undo(struct importer *m)
{
    for (size_t i = 0; i < m->n_vms; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (vm_destroy(m->c, m->vms[i], &err)) log_warn("a VM of a failed import stays: %s", err.code);
    }
    for (size_t i = 0; i < m->n_disks; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (!ref_is_null(m->disks[i].vdi) && vdi_destroy(m->c, m->disks[i].vdi, &err))
            log_warn("a disk of a failed import stays: %s", err.code);
    }
}

/* From here on the VMs and their disks are there, whatever comes. */
static int finish(struct importer *m, struct xerr *err)
{
    struct txn *t = db_begin(m->c->agent->db);

    for (size_t i = 0; i < m->n_vms; i++) unfinished_end(t, CLASS_VM, m->vms[i]);
    for (size_t i = 0; i < m->n_disks; i++) unfinished_end(t, CLASS_VDI, m->disks[i].vdi);
    return db_commit(t, err);
}

static void refresh(struct importer *m)
{
    for (size_t i = 0; i < m->n_disks; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (vdi_update(m->c, m->disks[i].vdi, &err)) log_warn("the size of an imported disk is not known: %s", err.code);
    }
}

int ova_import(struct call *c, const struct xva_import *what, struct xva_in *in, const struct tar_entry *first,
               struct value *ret_vms, struct xerr *err)
{
    struct importer *m = arena_zalloc(c->arena, sizeof *m);
    struct value_builder vms = value_builder(c->arena);

    m->c = c;
    m->what = what;
    m->in = in;
    m->check = ova_check_new(c->arena);
    m->piece = arena_alloc(c->arena, DISK_FRAME_MAX + 1);
    c->unfinished = "";
    int rc = read_description(m, first, err) || make_vms(m, err) || take_files(m, err) || make_devices(m, err) || finish(m, err) ? -1 : 0;
    c->unfinished = NULL;
    ova_check_free(m->check);
    if (rc) {
        undo(m);
        return -1;
    }
    refresh(m);
    for (size_t i = 0; i < m->n_vms; i++) value_push(&vms, value_ref(m->vms[i]));
    *ret_vms = value_built_set(&vms);
    return 0;
}
