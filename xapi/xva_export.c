/* A VM as an XVA file: written.
 * Called by: http/xva.c.  Calls: storage/content, xva_blocks, db/.
 *
 * ova.xml holds the records of the VM and of what belongs to it, in which references are "Ref:<n>". A disk
 * is the folder of its id: the files of xva_blocks.h. */
#define LOG_MODULE "xva"
#include "xapi/xva.h"

#include "lib/log.h"
#include "lib/map.h"
#include "lib/xmlrpc.h"
#include "xapi/call/lifecycle.h"
#include "xapi/storage/content.h"
#include "xapi/vdi.h"
#include "xapi/vtpm.h"
#include "xapi/xva_blocks.h"

struct object {
    enum class_id cls;
    struct ref ref;
};

struct exporter {
    struct call *c;
    struct xva_out out;
    struct object *objects;
    size_t n, cap;
    struct refmap *index; /* reference -> its number + 1 */
};

/* ---- what goes along ---------------------------------------------------------------------------- */

static bool add(struct exporter *x, const struct snap *s, enum class_id cls, struct ref ref)
{
    if (ref_is_null(ref) || !snap_get(s, cls, ref) || refmap_get(x->index, ref)) return false;
    if (x->n == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 64;
        x->objects = xrealloc(x->objects, x->cap * sizeof(*x->objects));
    }
    x->objects[x->n++] = (struct object){ cls, ref };
    refmap_put(x->index, ref, (void *)(uintptr_t)x->n);
    return true;
}

static void collect(struct exporter *x, const struct snap *s, const struct row *vm, unsigned without)
{
    const struct refset *vbds = row_refs(vm, F_VM_VBDs), *vifs = row_refs(vm, F_VM_VIFs);

    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        if (!vbd || row_enum(vbd, F_VBD_type) != vbd_type_Disk || without & XVA_NO_VBDS) continue;
        const struct row *vdi = snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI));
        if (!vdi) continue;
        add(x, s, CLASS_SR, row_ref(vdi, F_VDI_SR));
        if (add(x, s, CLASS_VDI, row_ref_of(vdi))) x->out.total += row_int(vdi, F_VDI_virtual_size);
    }
    add(x, s, CLASS_VM_guest_metrics, row_ref(vm, F_VM_guest_metrics));
    add(x, s, CLASS_VM_metrics, row_ref(vm, F_VM_metrics));
    add(x, s, CLASS_VM, row_ref_of(vm));
    for (size_t i = 0; i < vifs->n; i++) {
        const struct row *vif = snap_get(s, CLASS_VIF, vifs->refs[i]);
        if (vif && !(without & XVA_NO_VIFS)) add(x, s, CLASS_network, row_ref(vif, F_VIF_network));
    }
    const struct refset *vtpms = row_refs(vm, F_VM_VTPMs);
    for (size_t i = 0; i < vtpms->n; i++) add(x, s, CLASS_VTPM, vtpms->refs[i]);
    for (size_t i = 0; i < vbds->n && !(without & XVA_NO_VBDS); i++) add(x, s, CLASS_VBD, vbds->refs[i]);
    for (size_t i = 0; i < vifs->n && !(without & XVA_NO_VIFS); i++) add(x, s, CLASS_VIF, vifs->refs[i]);
}

/* ---- ova.xml ------------------------------------------------------------------------------------ */

static struct value ref_in_file(const struct exporter *x, struct ref ref)
{
    size_t number = ref_is_null(ref) ? 0 : (size_t)(uintptr_t)refmap_get(x->index, ref);

    return value_string(number ? arena_printf(x->c->arena, "Ref:%zu", number - 1) : "OpaqueRef:NULL");
}

/* The value with the file's references. Sets lose those that are not in the file. */
static struct value translate(const struct exporter *x, const struct value *v)
{
    struct value_builder b = value_builder(x->c->arena);

    switch (v->kind) {
    case VALUE_REF:
        return ref_in_file(x, v->ref);
    case VALUE_SET:
        for (size_t i = 0; i < v->set.n; i++) {
            struct value item = translate(x, &v->set.items[i]);
            if (v->set.items[i].kind != VALUE_REF || !streq(item.s, "OpaqueRef:NULL")) value_push(&b, item);
        }
        return value_built_set(&b);
    case VALUE_MAP:
        for (size_t i = 0; i < v->map.n; i++)
            value_put_new(&b, v->map.members[i].key, translate(x, &v->map.members[i].value));
        return value_built_map(&b);
    default:
        return *v;
    }
}

/* The version numbers are low on purpose: others refuse files from a later version than their own. */
static struct value version(struct arena *a)
{
    struct value_builder b = value_builder(a);

    value_put(&b, "hostname", value_string(""));
    value_put(&b, "date", value_string(""));
    value_put(&b, "product_version", value_string(""));
    value_put(&b, "product_brand", value_string(""));
    value_put(&b, "build_number", value_string(""));
    value_put(&b, "xapi_major", (struct value){ .kind = VALUE_INT32, .i = 1 });
    value_put(&b, "xapi_minor", (struct value){ .kind = VALUE_INT32, .i = 20 });
    value_put(&b, "export_vsn", (struct value){ .kind = VALUE_INT32, .i = 2 });
    return value_built_map(&b);
}

static struct value describe(const struct exporter *x, const struct snap *s)
{
    struct arena *a = x->c->arena;
    struct value_builder objects = value_builder(a), file = value_builder(a);

    for (size_t i = 0; i < x->n; i++) {
        const struct object *o = &x->objects[i];
        const struct row *row = snap_get(s, o->cls, o->ref);
        struct value record = row_record(row, a);
        struct value_builder b = value_builder(a);
        value_put(&b, "class", value_string(model.classes[o->cls].name));
        value_put(&b, "id", ref_in_file(x, o->ref));
        value_put(&b, "snapshot", translate(x, &record));
        if (o->cls == CLASS_VTPM) value_put(&b, "contents", value_string(arena_strdup(a, vtpm_contents(s, row))));
        value_push(&objects, value_built_map(&b));
    }
    value_put(&file, "version", version(a));
    value_put(&file, "objects", value_built_set(&objects));
    return value_built_map(&file);
}

/* ---- disks --------------------------------------------------------------------------------------- */

static int put_disk(struct exporter *x, size_t id, struct xerr *err)
{
    const char *owner = arena_printf(x->c->arena, "export-%s", x->c->task->uuid);
    struct ref vdi = x->objects[id].ref;
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct storage_disk disk;
    struct content *k;

    if (vdi_attach(x->c, vdi, owner, false, &disk, err)) return -1;
    disk.writable = false;
    int rc = content_open(x->c->agent->storage, &disk, &k, err);
    if (!rc) {
        rc = xva_put_blocks(&x->out, arena_printf(x->c->arena, "Ref:%zu", id), k, err);
        content_close(k);
    }
    if (vdi_detach(x->c, vdi, owner, &why))
        log_warn("disk %s stays attached after an export: %s", REF_STR(vdi), why.code);
    return rc;
}

int xva_export_check(struct call *c, struct ref vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    if (row_bool(row, F_VM_is_control_domain))
        return xerr_operation_not_allowed(err, "The control domain cannot be exported");
    if (row_enum(row, F_VM_power_state) == vm_power_state_Halted) return 0;
    return lifecycle_bad_power_state(row, 1u << vm_power_state_Halted, err);
}

static int put_description(struct exporter *x, struct ref vm, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    {
        _cleanup_snap_ struct snap *s = db_snap(x->c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row) return -1;
        collect(x, s, row, 0);
        struct value file = describe(x, s);
        xmlrpc_encode_value(&file, &xml);
    }
    return xva_put_text(&x->out, "ova.xml", &xml, err);
}

static void exporter_free(struct exporter *x)
{
    free(x->objects);
    refmap_free(x->index);
}

static int export(struct exporter *x, struct ref vm, struct xerr *err)
{
    if (put_description(x, vm, err)) return -1;
    for (size_t i = 0; i < x->n; i++)
        if (x->objects[i].cls == CLASS_VDI && put_disk(x, i, err)) return -1;
    return xva_put_end(&x->out, err);
}

int xva_export(struct call *c, struct ref vm, bool sha1, xva_write_fn write, void *arg, struct xerr *err)
{
    struct exporter x = { .c = c, .out = { .c = c, .write = write, .arg = arg, .sha1 = sha1 }, .index = refmap_new() };
    int rc = export(&x, vm, err);

    exporter_free(&x);
    return rc;
}

/* ---- records only ------------------------------------------------------------------------------- */

static int append(void *arg, const void *p, size_t n, struct xerr *err)
{
    (void)err;
    strbuf_add(arg, p, n);
    return 0;
}

static void collect_with_snapshots(struct exporter *x, const struct snap *s, const struct row *vm,
                                   const struct xva_metadata *what)
{
    const struct refset *snapshots = row_refs(vm, F_VM_snapshots);

    collect(x, s, vm, what->without);
    for (size_t i = 0; what->snapshots && i < snapshots->n; i++) {
        const struct row *snapshot = snap_get(s, CLASS_VM, snapshots->refs[i]);
        if (snapshot) collect(x, s, snapshot, what->without);
    }
}

int xva_metadata(struct call *c, const struct xva_metadata *what, struct strbuf *out, struct xerr *err)
{
    struct exporter x = { .c = c, .out = { .c = c, .write = append, .arg = out }, .index = refmap_new() };
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    int rc = 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        for (size_t i = 0; i < what->n && !rc; i++) {
            const struct row *row = snap_need(s, CLASS_VM, what->vms[i], err);
            if (row) collect_with_snapshots(&x, s, row, what);
            else rc = -1;
        }
        if (!rc) {
            struct value file = describe(&x, s);
            xmlrpc_encode_value(&file, &xml);
        }
    }
    if (!rc) rc = xva_put_text(&x.out, "ova.xml", &xml, err) || xva_put_end(&x.out, err) ? -1 : 0;
    exporter_free(&x);
    return rc;
}
