/* VMs from an XVA file.
 * Called by: http/xva.c.  Calls: storage/content, lib/tar, the gates.
 *
 * Records go through the same gates as a client's: what a client may not set, a file cannot either.
 * References of the file are never taken for ours: only the ones understood here are replaced, the others
 * are left out. */
#define LOG_MODULE "xva"
#include "xapi/xva.h"

#include <errno.h>

#include "gen/methods.h"
#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"
#include "xapi/call/lifecycle.h"
#include "xapi/ova.h"
#include "xapi/storage/content.h"
#include "xapi/unfinished.h"
#include "xapi/vdi.h"
#include "xapi/vtpm.h"
#include "xapi/xva_blocks.h"

struct disk {
    const char *id;     /* in the file */
    struct ref vdi;     /* here */
    int64_t size, last; /* number of its last block */
    bool saw_last, was_here;
    int64_t next;              /* blocks come in order, so that an archive comes to an end */
};

struct importer {
    struct call *c;
    const struct xva_import *what;
    struct xva_in in;
    struct value objects; /* set of {class, id, snapshot} */
    struct disk disks[LIMIT_XVA_OBJECTS];
    size_t n_disks;
    struct ref vms[LIMIT_XVA_OBJECTS];
    const char *vm_ids[LIMIT_XVA_OBJECTS];
    size_t n_vms;
    const struct disk *open; /* whose content is open */
    struct content *content;
    int64_t done, total;
};

static const char *owner_of(const struct importer *m)
{
    return arena_printf(m->c->arena, "import-%s", m->c->task->uuid);
}

/* ---- the file ----------------------------------------------------------------------------------- */

static int read_description(struct importer *m, const struct tar_entry *first, struct xerr *err)
{
    const struct tar_entry e = *first;
    struct value file;
    const char *why;
    enum tar_result r;

    if (!streq(e.name, "ova.xml")) return xerr_import_error_unexpected_file(err, "ova.xml", e.name);
    if (e.size > LIMIT_XVA_XML) return xerr_import_error(err, "ova.xml is too large");
    char *text = arena_alloc(m->c->arena, (size_t)e.size + 1);
    if ((r = tar_read(&m->in.tar, text, (size_t)e.size)) != TAR_ENTRY) return xva_tar_error(&m->in, r, err);
    if (xmlrpc_decode_value(text, (size_t)e.size, m->c->arena, &file, &why))
        return xerr_import_error(err, why);
    const struct value *objects = value_get(&file, "objects");
    if (!objects || objects->kind != VALUE_SET || objects->set.n > LIMIT_XVA_OBJECTS)
        return xerr_import_error(err, "ova.xml has no objects");
    m->objects = *objects;
    return 0;
}

/* ---- records ------------------------------------------------------------------------------------ */

static const struct value *object_of(const struct importer *m, size_t i, const char *cls, const char **ret_id)
{
    const struct value *o = &m->objects.set.items[i], *record = value_get(o, "snapshot");

    *ret_id = value_get_str(o, "id", "");
    return streq(value_get_str(o, "class", ""), cls) && record && record->kind == VALUE_MAP ? record : NULL;
}

static const struct value *find(const struct importer *m, const char *cls, const char *id)
{
    for (size_t i = 0; i < m->objects.set.n; i++) {
        const char *have;
        const struct value *record = object_of(m, i, cls, &have);
        if (record && streq(have, id)) return record;
    }
    return NULL;
}

static bool record_bool(const struct value *record, const char *key)
{
    const struct value *v = value_get(record, key);

    return v && (v->kind == VALUE_BOOL ? v->b : v->kind == VALUE_INT && v->i);
}

/* Among the objects; their number when there is none. */
static size_t place_of_vm(const struct importer *m, const char *id)
{
    size_t i = 0;
    const char *have;

    while (i < m->objects.set.n && !(object_of(m, i, "VM", &have) && streq(have, id))) i++;
    return i;
}

/* Whoever follows parents or snapshots must come to an end. */
static int check_families(struct importer *m, struct xerr *err)
{
    const size_t n = m->objects.set.n;
    size_t *walk = arena_new_array(m->c->arena, size_t, n), next;       /* whose walk came by; 0 = nobody's */
    const char *id;

    memset(walk, 0, n * sizeof(*walk));
    for (size_t i = 0; i < n; i++) {
        const struct value *record = object_of(m, i, "VM", &id);
        if (!record) continue;
        next = record_bool(record, "is_a_snapshot") ? place_of_vm(m, value_get_str(record, "snapshot_of", "")) : n;
        if (next < n && record_bool(object_of(m, next, "VM", &id), "is_a_snapshot"))
            return xerr_import_error(err, "a snapshot of a snapshot");
        for (next = i; next < n && !walk[next];) {
            walk[next] = i + 1;
            next = place_of_vm(m, value_get_str(object_of(m, next, "VM", &id), "parent", ""));
        }
        if (next < n && walk[next] == i + 1) return xerr_import_error(err, "a VM that is its own forebear");
    }
    return 0;
}

static bool has_refs(const struct type_desc *t)
{
    return t && (t->kind == TYPE_REF || has_refs(t->key) || has_refs(t->elem));
}

/* What a client could give to a constructor, without references. */
static struct value_builder plain_fields(const struct importer *m, enum class_id id,
                                         const struct value *record)
{
    const struct class_desc *cls = &model.classes[id];
    struct value_builder b = value_builder(m->c->arena);

    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct field_desc *f = &cls->fields[i];
        const struct value *v = value_get(record, f->name);
        if (v && f->qualifier != QUAL_RO_RUNTIME && !has_refs(f->type)) value_put(&b, f->name, *v);
    }
    return b;
}

static int create(struct importer *m, const char *method, struct value_builder *b, struct ref *ret_ref,
                  struct xerr *err)
{
    struct value made;

    if (call_message(m->c, method, ARGS(value_built_map(b)), &made, err)) return -1;
    *ret_ref = made.ref;
    return 0;
}

/* other_config without what makes a template one of the built-in ones, with who imports it. */
static struct value vm_other_config(const struct importer *m, const struct value *record)
{
    const struct value *old = value_get(record, "other_config");
    struct value_builder b = value_builder(m->c->arena);
    char *task = arena_alloc(m->c->arena, REF_TEXT);

    for (size_t i = 0; old && old->kind == VALUE_MAP && i < old->map.n; i++) {
        const char *key = old->map.members[i].key;
        if (streq(key, "default_template") || streq(key, "xensource_internal") || streq(key, "import_task") ||
            streq(key, UNFINISHED_KEY))
            continue;
        if (streq(key, "mac_seed") && !m->what->restore) continue;
        value_put(&b, key, old->map.members[i].value);
    }
    if (!value_get_str(old, "mac_seed", NULL) || !m->what->restore)
        value_put(&b, "mac_seed", value_string(uuid_new(arena_alloc(m->c->arena, UUID_TEXT))));
    value_put(&b, "import_task", value_string(ref_text(m->c->task->ref, task)));
    value_put(&b, UNFINISHED_KEY, value_string(unfinished_text(m->c)));
    return value_built_map(&b);
}

static int restore_uuid(struct importer *m, struct ref vm, const char *uuid, struct xerr *err)
{
    struct txn *t = db_begin(m->c->agent->db);
    const struct row *other = snap_by_uuid(txn_snap(t), CLASS_VM, uuid);
    struct ref bytes;

    if (other || !uuid_from_text(uuid, &bytes)) {
        struct ref existing = other ? row_ref_of(other) : REF_NULL;
        db_abort(t);
        return other ? xerr_duplicate_vm(err, REF_STR(existing))
                     : xerr_import_error(err, "a VM without uuid");
    }
    txn_set_str(t, vm, F_VM_uuid, uuid);
    return db_commit(t, err);
}

/* What is restored keeps the seed of its cards' addresses: a VM that was made from the same one has the same addresses. */
static int check_seed(struct importer *m, const struct value *record, struct xerr *err)
{
    const struct value *config = value_get(record, "other_config");
    const char *seed = config && config->kind == VALUE_MAP ? value_get_str(config, "mac_seed", "") : "";
    _cleanup_snap_ struct snap *s = db_snap(m->c->agent->db);

    if (!m->what->restore || !*seed || record_bool(record, "is_a_snapshot")) return 0;
    SNAP_EACH (s, CLASS_VM, vm) {
        bool other = !row_bool(vm, F_VM_is_a_snapshot) && !row_bool(vm, F_VM_is_a_template) &&
                     !streq(row_uuid(vm), value_get_str(record, "uuid", ""));
        if (other && streq(row_map_str(vm, F_VM_other_config, "mac_seed", ""), seed)) return xerr_duplicate_mac_seed(err, seed);
    }
    return 0;
}

static int make_vm(struct importer *m, const char *id, const struct value *record, struct xerr *err)
{
    struct value_builder b = plain_fields(m, CLASS_VM, record);
    struct ref vm;

    if (record_bool(record, "is_control_domain")) return 0;
    if (check_seed(m, record, err)) return -1;
    value_put(&b, "other_config", vm_other_config(m, record));
    value_put(&b, "affinity", value_ref(REF_NULL));
    if (create(m, "VM.create", &b, &vm, err)) return -1;
    m->vm_ids[m->n_vms] = id;
    m->vms[m->n_vms++] = vm;
    return m->what->restore ? restore_uuid(m, vm, value_get_str(record, "uuid", ""), err) : 0;
}

static struct ref vm_of(const struct importer *m, const struct value *record)
{
    const char *id = value_get_str(record, "VM", "");

    for (size_t i = 0; i < m->n_vms; i++)
        if (streq(m->vm_ids[i], id)) return m->vms[i];
    return REF_NULL;
}

static int64_t record_int(const struct value *record, const char *key)
{
    const struct value *v = value_get(record, key);
    int64_t i = -1;

    if (v && v->kind == VALUE_INT) return v->i;
    return v && v->kind == VALUE_STRING && num_parse_int(v->s, &i) ? i : -1;
}

static int make_disk(struct importer *m, const char *id, const struct value *record, struct xerr *err)
{
    int type = enum_index(model_field(F_VDI_type)->type->e, value_get_str(record, "type", "user"));
    struct disk *d = &m->disks[m->n_disks];
    struct vdi_new n = {
        .sr = m->what->sr,
        .name_label = value_get_str(record, "name_label", ""),
        .name_description = value_get_str(record, "name_description", ""),
        .virtual_size = record_int(record, "virtual_size"),
        .type = type < 0 ? vdi_type_user : type,
    };

    if (n.virtual_size <= 0) return xerr_import_error(err, "a disk without size");
    *d = (struct disk){ .id = id, .size = n.virtual_size, .last = (n.virtual_size - 1) / XVA_BLOCK };
    if (vdi_create_internal(m->c, &n, &d->vdi, err)) return -1;
    m->n_disks++;
    m->total += d->size;
    return 0;
}

/* A disk that is here: the one that the map names, else the one of this uuid. */
static int find_disk(struct importer *m, const char *id, const struct value *record, struct xerr *err)
{
    const char *uuid = value_get_str(record, "uuid", "");
    _cleanup_snap_ struct snap *s = db_snap(m->c->agent->db);

    if (m->what->vdi_map) uuid = value_get_str(m->what->vdi_map, uuid, uuid);
    const struct row *vdi = snap_by_uuid(s, CLASS_VDI, uuid);
    if (vdi) m->disks[m->n_disks++] = (struct disk){ .id = id, .vdi = row_ref_of(vdi), .was_here = true };
    else if (!m->what->force) return xerr_import_error_failed_to_find_object(err, id);
    return 0;
}

static struct disk *disk_of(struct importer *m, const char *id, size_t len)
{
    for (size_t i = 0; i < m->n_disks; i++)
        if (strlen(m->disks[i].id) == len && memcmp(m->disks[i].id, id, len) == 0) return &m->disks[i];
    return NULL;
}

/* VMs, and a disk for each that one of their devices is. */
static int make_vms(struct importer *m, struct xerr *err)
{
    const char *id;

    for (size_t i = 0; i < m->objects.set.n; i++) {
        const struct value *record = object_of(m, i, "VM", &id);
        if (record && make_vm(m, id, record, err)) return -1;
    }
    if (!m->n_vms) return xerr_import_error(err, "there is no VM in ova.xml");
    for (size_t i = 0; i < m->objects.set.n; i++) {
        const struct value *vbd = object_of(m, i, "VBD", &id);
        if (!vbd || !streq(value_get_str(vbd, "type", "Disk"), "Disk") || ref_is_null(vm_of(m, vbd)))
            continue;
        const char *vdi_id = value_get_str(vbd, "VDI", "");
        const struct value *vdi = find(m, "VDI", vdi_id);
        if (!vdi || disk_of(m, vdi_id, strlen(vdi_id))) continue;
        if (m->what->metadata ? find_disk(m, vdi_id, vdi, err) : make_disk(m, vdi_id, vdi, err)) return -1;
    }
    return 0;
}

/* The VM that stands for one of the file, or null. */
static struct ref vm_named(const struct importer *m, const char *id)
{
    for (size_t i = 0; i < m->n_vms; i++)
        if (streq(m->vm_ids[i], id)) return m->vms[i];
    return REF_NULL;
}

static int64_t record_date(const struct value *record, const char *key)
{
    const struct value *v = value_get(record, key);
    int64_t at = 0;

    if (v && v->kind == VALUE_DATETIME) return v->i;
    return v && v->kind == VALUE_STRING && iso8601_parse(v->s, &at) ? at : 0;
}

/* Snapshots are snapshots again, of the VM that came with them. */
static int join_snapshots(struct importer *m, struct xerr *err)
{
    struct txn *t = db_begin(m->c->agent->db);
    const char *id;

    for (size_t i = 0; i < m->objects.set.n; i++) {
        const struct value *record = object_of(m, i, "VM", &id);
        struct ref vm = record ? vm_named(m, id) : REF_NULL;
        if (ref_is_null(vm)) continue;
        txn_set_ref(t, vm, F_VM_parent, vm_named(m, value_get_str(record, "parent", "")));
        if (!record_bool(record, "is_a_snapshot")) continue;
        txn_set_bool(t, vm, F_VM_is_a_snapshot, true);
        txn_set_bool(t, vm, F_VM_is_a_template, true);
        txn_set_ref(t, vm, F_VM_snapshot_of, vm_named(m, value_get_str(record, "snapshot_of", "")));
        txn_set_time(t, vm, F_VM_snapshot_time, record_date(record, "snapshot_time"));
        lifecycle_refresh(t, CLASS_VM, vm);
    }
    return db_commit(t, err);
}

/* What would keep the records from being imported. */
static int check_only(struct importer *m, struct xerr *err)
{
    const char *id;
    size_t vms = 0;

    for (size_t i = 0; i < m->objects.set.n; i++) {
        const struct value *record = object_of(m, i, "VM", &id), *vdi = object_of(m, i, "VDI", &id);
        if (vdi && find_disk(m, id, vdi, err)) return -1;
        if (!record || record_bool(record, "is_control_domain")) continue;
        vms++;
        _cleanup_snap_ struct snap *s = db_snap(m->c->agent->db);
        const struct row *other = snap_by_uuid(s, CLASS_VM, value_get_str(record, "uuid", ""));
        if (other && m->what->restore) return xerr_duplicate_vm(err, REF_STR(row_ref_of(other)));
        if (check_seed(m, record, err)) return -1;
    }
    return vms ? 0 : xerr_import_error(err, "there is no VM in ova.xml");
}

/* ---- devices ------------------------------------------------------------------------------------ */

static int make_vbd(struct importer *m, const struct value *record, struct xerr *err)
{
    const char *vdi_id = value_get_str(record, "VDI", "");
    struct ref vm = vm_of(m, record), vbd;
    struct disk *d = disk_of(m, vdi_id, strlen(vdi_id));
    bool cd = streq(value_get_str(record, "type", "Disk"), "CD");

    if (ref_is_null(vm) || (!d && !cd)) return 0;
    struct value_builder b = plain_fields(m, CLASS_VBD, record);
    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "VDI", value_ref(d && !cd ? d->vdi : REF_NULL));
    value_put(&b, "empty", value_bool(!d || cd));
    /* The number may be a number in foreign files. */
    int64_t device = record_int(record, "userdevice");
    value_put(&b, "userdevice",
              value_string(device < 0 ? "autodetect" : arena_printf(m->c->arena, "%lld", (long long)device)));
    return create(m, "VBD.create", &b, &vbd, err);
}

/* The same network by uuid, else one of the same bridge, else of the same name. */
static struct ref find_network(const struct importer *m, const struct value *record)
{
    const char *bridge = value_get_str(record, "bridge", ""), *name = value_get_str(record, "name_label", "");
    _cleanup_snap_ struct snap *s = db_snap(m->c->agent->db);
    const struct row *same = snap_by_uuid(s, CLASS_network, value_get_str(record, "uuid", ""));
    struct ref by_bridge = REF_NULL, by_name = REF_NULL;

    if (same) return row_ref_of(same);
    SNAP_EACH (s, CLASS_network, row) {
        if (*bridge && streq(row_str(row, F_network_bridge), bridge)) by_bridge = row_ref_of(row);
        if (*name && streq(row_str(row, F_network_name_label), name)) by_name = row_ref_of(row);
    }
    return ref_is_null(by_bridge) ? by_name : by_bridge;
}

static int need_network(struct importer *m, const char *id, struct ref *ret_network, struct xerr *err)
{
    const struct value *record = find(m, "network", id);
    struct value_builder b = value_builder(m->c->arena);

    if (!record) return xerr_import_error_failed_to_find_object(err, id);
    *ret_network = find_network(m, record);
    if (!ref_is_null(*ret_network)) return 0;
    value_put(&b, "name_label", value_string(value_get_str(record, "name_label", "")));
    value_put(&b, "name_description", value_string(value_get_str(record, "name_description", "")));
    value_put(&b, "other_config", value_map(NULL, 0));
    return create(m, "network.create", &b, ret_network, err);
}

static int make_vif(struct importer *m, const struct value *record, struct xerr *err)
{
    struct ref vm = vm_of(m, record), network = REF_NULL, vif;
    struct value_builder b = plain_fields(m, CLASS_VIF, record);
    int64_t device = record_int(record, "device");

    if (ref_is_null(vm)) return 0;
    if (need_network(m, value_get_str(record, "network", ""), &network, err)) return -1;
    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "network", value_ref(network));
    value_put(&b, "device",
              value_string(device < 0 ? "autodetect" : arena_printf(m->c->arena, "%lld", (long long)device)));
    if (!m->what->restore) value_put(&b, "MAC", value_string(""));
    return create(m, "VIF.create", &b, &vif, err);
}

/* A TPM with what it held; one that is one of a kind comes with a VM that stays itself only. */
static int make_vtpm(struct importer *m, size_t i, const struct value *record, struct xerr *err)
{
    const char *contents = value_get_str(&m->objects.set.items[i], "contents", "");
    const bool is_unique = record_bool(record, "is_unique");
    struct ref vm = vm_of(m, record);

    if (ref_is_null(vm) || (is_unique && !m->what->restore)) return 0;
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    if (vtpm_check_contents(m->c, contents, &why)) return xerr_import_error(err, "the contents of a TPM are none");
    struct txn *t = db_begin(m->c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    if (row && row_refs(row, F_VM_VTPMs)->n) {
        db_abort(t);
        return xerr_import_error(err, "a VM with more than one TPM");
    }
    vtpm_add_row(t, vm, is_unique, contents);
    return db_commit(t, err);
}

static int make_devices(struct importer *m, struct xerr *err)
{
    const char *id;

    for (size_t i = 0; i < m->objects.set.n; i++) {
        const struct value *vbd = object_of(m, i, "VBD", &id), *vif = object_of(m, i, "VIF", &id);
        const struct value *vtpm = object_of(m, i, "VTPM", &id);
        if (vtpm && make_vtpm(m, i, vtpm, err)) return -1;
        if (vbd && make_vbd(m, vbd, err)) return -1;
        if (vif && make_vif(m, vif, err)) return -1;
    }
    return 0;
}

/* ---- blocks ------------------------------------------------------------------------------------- */

/* Everything of the open disk is on disk, and it is detached. */
static int close_disk(struct importer *m, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    int rc = 0;

    if (!m->open) return 0;
    if (m->content) rc = content_flush(m->content, err);
    content_close(take_ptr(m->content));
    if (vdi_detach(m->c, m->open->vdi, owner_of(m), &why))
        log_warn("a disk stays attached after an import: %s", why.code);
    m->open = NULL;
    return rc;
}

static int open_disk(struct importer *m, const struct disk *d, struct xerr *err)
{
    struct storage_disk disk;

    if (m->open == d) return 0;
    if (close_disk(m, err) || vdi_attach(m->c, d->vdi, owner_of(m), true, &disk, err)) return -1;
    m->open = d;
    return content_open(m->c->agent->storage, &disk, &m->content, err);
}

/* "<id>/<number>" */
static struct disk *parse_name(struct importer *m, const char *name, int64_t *ret_number)
{
    size_t folder = xva_block_name(name, ret_number);

    return folder ? disk_of(m, name, folder) : NULL;
}

static int read_block(struct importer *m, const struct tar_entry *e, struct xerr *err)
{
    int64_t number;
    struct disk *d = parse_name(m, e->name, &number);

    if (!d) return xerr_import_error_unexpected_file(err, "a block of a disk", e->name);
    if (number > d->last) return xerr_import_error(err, "a block that is larger than its disk");
    if (number < d->next) return xerr_import_error(err, "blocks that are not in order");
    if (xva_get_block(&m->in, e, err)) return -1;
    if (!e->size) return 0;
    d->next = number + 1;
    /* Some writers pad the last block. */
    int64_t at = number * XVA_BLOCK, n = e->size;
    if (n > d->size - at) n = d->size - at;
    if (open_disk(m, d, err) || content_write(m->content, m->in.block, (size_t)n, at, true, err)) return -1;
    if (number == d->last) d->saw_last = true;
    m->done += n;
    call_progress(m->c, (double)m->done / (double)m->total);
    return 0;
}

static int read_blocks(struct importer *m, struct xerr *err)
{
    struct tar_entry e;
    enum tar_result r;

    while ((r = tar_next(&m->in.tar, &e)) == TAR_ENTRY) {
        if (call_check_cancel(m->c, err) || read_block(m, &e, err)) return -1;
    }
    if (r != TAR_END) return xva_tar_error(&m->in, r, err);
    for (size_t i = 0; i < m->n_disks; i++)
        if (!m->disks[i].saw_last) return xerr_import_error_premature_eof(err);
    return 0;
}

/* ---- all of it ---------------------------------------------------------------------------------- */

static void undo(struct importer *m)
{
    for (size_t i = 0; i < m->n_vms; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (vm_destroy(m->c, m->vms[i], &err)) log_warn("a VM of a failed import stays: %s", err.code);
    }
    for (size_t i = 0; i < m->n_disks; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (!m->disks[i].was_here && vdi_destroy(m->c, m->disks[i].vdi, &err))
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

/* What the driver says of the disks now that they are full. */
static void refresh(struct importer *m)
{
    for (size_t i = 0; i < m->n_disks; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (!m->disks[i].was_here && vdi_update(m->c, m->disks[i].vdi, &err))
            log_warn("the size of an imported disk is not known: %s", err.code);
    }
}

int xva_import(struct call *c, const struct xva_import *what, struct value *ret_vms, struct xerr *err)
{
    struct importer *m = arena_zalloc(c->arena, sizeof(*m));
    struct value_builder vms = value_builder(c->arena);
    struct tar_entry first;

    m->c = c;
    m->what = what;
    m->in = (struct xva_in){ .c = c, .tar = { .read = what->read, .arg = what->arg } };
    enum tar_result r = tar_next(&m->in.tar, &first);
    if (r != TAR_ENTRY) return xva_tar_error(&m->in, r, err);
    if (!what->metadata && ova_is_description(first.name)) return ova_import(c, what, &m->in, &first, ret_vms, err);
    int rc = read_description(m, &first, err) || check_families(m, err) ? -1 : 0;
    if (!rc && what->dry_run) {
        *ret_vms = value_set(NULL, 0);
        return check_only(m, err);
    }
    c->unfinished = "";
    if (!rc) rc = make_vms(m, err) || (!what->metadata && read_blocks(m, err)) ? -1 : 0;
    if (close_disk(m, rc ? NULL : err)) rc = -1;
    if (!rc) rc = make_devices(m, err) || (what->metadata && join_snapshots(m, err)) || finish(m, err) ? -1 : 0;
    c->unfinished = NULL;
    if (rc) {
        undo(m);
        return -1;
    }
    refresh(m);
    for (size_t i = 0; i < m->n_vms; i++) value_push(&vms, value_ref(m->vms[i]));
    *ret_vms = value_built_set(&vms);
    return 0;
}
