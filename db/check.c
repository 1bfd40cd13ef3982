/* Offline care: finds what breaks the schema's invariants, and mends it.
 * Called by: main.c (--check-db, --repair-db).  Calls: engine, txn, store.
 *
 * Everything is mended in one transaction against the loaded database; a plain check drops that
 * transaction, so that its report is the plan of a repair. Back-references need no care: they are made
 * anew at every start. */
#include "db/engine.h"

#include <assert.h>
#include <stdio.h>

/* An object means nothing without what these refer to. */
static const field_id parents[] = {
    F_VBD_VM,
    F_VIF_VM,
    F_VTPM_VM,
    F_VUSB_VM,
    F_VGPU_VM,
    F_console_VM,
    F_crashdump_VM,
    F_VDI_SR,
    F_PBD_SR,
    F_PBD_host,
    F_PIF_host,
    F_PCI_host,
    F_PGPU_host,
    F_PUSB_host,
    F_host_cpu_host,
    F_host_crashdump_host,
    F_host_patch_host,
    F_Feature_host,
    F_Bond_master,
    F_VLAN_tagged_PIF,
    F_tunnel_access_PIF,
    F_network_sriov_physical_PIF,
    F_Cluster_host_cluster,
    F_PVS_server_site,
    F_PVS_proxy_site,
    F_PVS_cache_storage_site,
};

/* An object means nothing once none of these refers to it. */
static const field_id owners[] = {
    F_VM_metrics, F_VM_guest_metrics, F_host_metrics, F_PIF_metrics, F_VIF_metrics, F_VBD_metrics,
};

struct bad_cell { enum class_id cls; struct ref ref; unsigned field; };
struct duplicate { enum class_id cls; struct ref ref; uint64_t serial; };

struct check {
    struct strbuf *report;
    struct txn *t;
    struct bad_cell *bad_cells;
    size_t n_bad_cells, cap_bad_cells;
    struct duplicate *duplicates;
    size_t n_duplicates, cap_duplicates;
    int problems;
};

/* ---- reporting ---- */

static void problem(struct check *c, const struct row *row, const char *fmt, ...) _printf_(3, 4);
static void problem(struct check *c, const struct row *row, const char *fmt, ...)
{
    va_list ap;

    strbuf_printf(c->report, "%s %s: ", row->kind->cls->name, REF_STR(row->leaf.key));
    va_start(ap, fmt);
    strbuf_vprintf(c->report, fmt, ap);
    va_end(ap);
    strbuf_char(c->report, '\n');
    c->problems++;
}

static void on_bad_cell(void *arg, const struct row *row, unsigned field, const char *why)
{
    struct check *c = arg;

    problem(c, row, "field %s is %s; it gets its default", row->kind->cls->fields[field].name, why);
    if (c->n_bad_cells == c->cap_bad_cells) {
        c->cap_bad_cells = c->cap_bad_cells ? c->cap_bad_cells * 2 : 16;
        c->bad_cells = xrealloc(c->bad_cells, c->cap_bad_cells * sizeof(*c->bad_cells));
    }
    c->bad_cells[c->n_bad_cells++] = (struct bad_cell){ row_class(row), row->leaf.key, field };
}

static void on_duplicate(void *arg, struct row *row)
{
    struct check *c = arg;

    problem(c, row, "is there twice; number %llu goes", (unsigned long long)row->serial);
    if (c->n_duplicates == c->cap_duplicates) {
        c->cap_duplicates = c->cap_duplicates ? c->cap_duplicates * 2 : 16;
        c->duplicates = xrealloc(c->duplicates, c->cap_duplicates * sizeof(*c->duplicates));
    }
    c->duplicates[c->n_duplicates++] = (struct duplicate){ row_class(row), row->leaf.key, row->serial };
    row_unref(row);
}

/* ---- one object ---- */

/* Of classes that are made anew at each start (role) nothing can be said offline. */
static bool exists(const struct check *c, const struct type_desc *type, struct ref ref)
{
    return ref_is_null(ref) || !kind_is_stored(&c->t->db->kinds->kinds[type->cls]) ||
           snap_get(txn_snap(c->t), (enum class_id)type->cls, ref);
}

static bool is_parent(field_id f)
{
    for (size_t i = 0; i < ARRAY_SIZE(parents); i++)
        if (parents[i] == f) return true;
    return false;
}

static void check_uuid(struct check *c, const struct row *row)
{
    const char *uuid = row_uuid(row);
    char fresh[UUID_TEXT];

    if (!row->kind->cls->uuid) return;
    const struct row *other = *uuid ? snap_by_uuid(txn_snap(c->t), row_class(row), uuid) : NULL;
    if (*uuid && (!other || other == row)) return;
    uuid_new(fresh);
    if (*uuid) problem(c, row, "has the uuid %s of %s; it gets a new one", uuid, REF_STR(other->leaf.key));
    else problem(c, row, "has no uuid; it gets one");
    txn_set_str(c->t, row->leaf.key, row->kind->cls->uuid, fresh);
}

static void check_ref(struct check *c, const struct row *row, const struct field_desc *f, struct ref to)
{
    if (f->type->cls == row->kind->cls->id && ref_eq(to, row->leaf.key))
        problem(c, row, "field %s refers to the object itself; it becomes null", f->name);
    else if (!exists(c, f->type, to))
        problem(c, row, "field %s refers to %s %s, which does not exist; it becomes null", f->name,
                model.classes[f->type->cls].name, REF_STR(to));
    else
        return;
    txn_set_ref(c->t, row->leaf.key, f->id, REF_NULL);
}

static void check_set(struct check *c, const struct row *row, const struct field_desc *f,
                      const union cell *cell)
{
    const struct refset *set = cell_refs(cell);
    struct ref *kept = xmalloc(set->n * sizeof(*kept));
    size_t n = 0;

    for (size_t i = 0; i < set->n; i++) {
        if (exists(c, f->type->elem, set->refs[i])) {
            kept[n++] = set->refs[i];
            continue;
        }
        problem(c, row, "field %s has %s %s, which does not exist; it goes", f->name,
                model.classes[f->type->elem->cls].name, REF_STR(set->refs[i]));
    }
    if (n < set->n) txn_set_refs(c->t, row->leaf.key, f->id, kept, n);
    free(kept);
}

static void check_map(struct check *c, const struct row *row, const struct field_desc *f,
                      const union cell *cell)
{
    const struct value *map = cell_value(cell, f->type);

    if (f->type->kind != TYPE_MAP || f->type->elem->kind != TYPE_REF) return;
    _cleanup_arena_ struct arena *a = arena_new();
    struct value_builder b = value_builder(a);
    for (size_t i = 0; i < map->map.n; i++) {
        const struct member *m = &map->map.members[i];
        if (exists(c, f->type->elem, m->value.ref)) {
            value_put_new(&b, m->key, m->value);
            continue;
        }
        problem(c, row, "field %s has %s -> %s, which does not exist; it goes", f->name, m->key,
                REF_STR(m->value.ref));
    }
    struct value kept = value_built_map(&b);
    if (b.n < map->map.n) txn_set_value(c->t, row->leaf.key, f->id, &kept);
}

/* A transaction's changes replace the row, so every look at it starts from its reference. */
static void check_fields(struct check *c, enum class_id cls, struct ref ref)
{
    for (unsigned i = 0; i < model.classes[cls].n_fields; i++) {
        const struct field_desc *f = &model.classes[cls].fields[i];
        const struct row *row = snap_get(txn_snap(c->t), cls, ref);
        if (!row || !f->persistent || f->inverse) continue;
        union cell cell = row_cell(row, i);
        if (f->cell == CELL_REF) check_ref(c, row, f, cell.ref);
        else if (f->cell == CELL_REFSET) check_set(c, row, f, &cell);
        else if (f->cell == CELL_VALUE) check_map(c, row, f, &cell);
    }
}

/* True when the object went. */
static bool check_parents(struct check *c, const struct row *row)
{
    for (unsigned i = 0; i < row->kind->cls->n_fields; i++) {
        const struct field_desc *f = &row->kind->cls->fields[i];
        if (!is_parent(f->id)) continue;
        struct ref to = row_cell(row, i).ref;
        if (!ref_is_null(to) && exists(c, f->type, to)) continue;
        problem(c, row, "belongs to no %s (field %s is %s); it goes", model.classes[f->type->cls].name,
                f->name, REF_STR(to));
        txn_destroy(c->t, row_class(row), row->leaf.key);
        return true;
    }
    return false;
}

/* ---- the whole ---- */

static void check_class(struct check *c, enum class_id cls)
{
    SNAP_EACH(txn_snap(c->t), cls, row) {
        struct ref ref = row->leaf.key;
        if (check_parents(c, row)) continue;
        check_uuid(c, row);
        check_fields(c, cls, ref);
    }
}

static void check_owned(struct check *c, field_id owner)
{
    enum class_id cls = (enum class_id)model_field(owner)->type->cls;
    size_t n = 0, cap = snap_count(txn_snap(c->t), (enum class_id)field_class(owner));
    struct ref *used = xmalloc(cap * sizeof(*used));

    SNAP_EACH(txn_snap(c->t), (enum class_id)field_class(owner), row)
        used[n++] = row_ref(row, owner);
    union cell set = cell_set(used, n);
    SNAP_EACH(txn_snap(c->t), cls, row) {
        struct ref ref = row->leaf.key;
        if (refset_has(cell_refs(&set), ref)) continue;
        problem(c, row, "belongs to no %s; it goes", model.classes[field_class(owner)].name);
        txn_destroy(c->t, cls, ref);
    }
    cell_clear(&set, CELL_REFSET);
    free(used);
}

/* What goes can leave others without a parent: until nothing more is found. */
static void check_all(struct check *c)
{
    int before;

    for (size_t i = 0; i < c->n_bad_cells; i++)
        txn_rewrite(c->t, c->bad_cells[i].cls, c->bad_cells[i].ref, c->bad_cells[i].field);
    do {
        before = c->problems;
        for (unsigned cls = 0; cls < model.n_classes; cls++) check_class(c, (enum class_id)cls);
        for (size_t i = 0; i < ARRAY_SIZE(owners); i++) check_owned(c, owners[i]);
    } while (c->problems > before && !txn_failed(c->t));
}

static int drop_duplicates(struct check *c, struct db *db, struct xerr *err)
{
    struct store_change *changes = xcalloc(c->n_duplicates, sizeof(*changes));
    struct row **rows = xcalloc(c->n_duplicates, sizeof(struct row *));
    uint64_t revision;
    int rc = 0;

    for (size_t i = 0; i < c->n_duplicates; i++) {
        const struct duplicate *d = &c->duplicates[i];
        rows[i] = row_new(&db->kinds->kinds[d->cls], d->ref, d->serial);
        changes[i] = (struct store_change){ .op = STORE_DELETE, .row = rows[i] };
    }
    if (c->n_duplicates) rc = db->store->ops->commit(db->store, changes, c->n_duplicates, 0, &revision, err);
    for (size_t i = 0; i < c->n_duplicates; i++) row_unref(rows[i]);
    free(rows);
    free(changes);
    return rc;
}

static int check_loaded(struct check *c, struct db *db, bool repair, struct xerr *err)
{
    c->t = db_begin(db);
    check_all(c);
    if (repair || txn_failed(c->t)) {
        if (db_commit(c->t, err) || drop_duplicates(c, db, err)) return -1;
    } else {
        db_abort(c->t);
    }
    return 0;
}

int db_check(struct store *store, bool repair, struct strbuf *report, struct xerr *err)
{
    struct check c = { .report = report };
    const struct load_hooks hooks = { .arg = &c, .bad_cell = on_bad_cell, .duplicate = on_duplicate };
    struct db *db = NULL;
    int rc = -1;

    if (store->ops->verify && (c.problems = store->ops->verify(store, report, err)) < 0) goto out;
    if (engine_open(store, &hooks, false, &db, err)) goto out;
    rc = check_loaded(&c, db, repair, err);
out:
    if (db) engine_close(db);
    free(c.duplicates);
    free(c.bad_cells);
    return rc ? -1 : c.problems;
}
