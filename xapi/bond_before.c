/* What the records said before a bond was made, changed or dissolved: all of its interfaces, to be put back whole.
 * Called by: bond.c, pif_ip.c (startup).  Calls: bond.c (bond_take_apart), db/. */
#include "xapi/bond_before.h"

#include "lib/model.h"

/* ---- remembering ----------------------------------------------------------------------------------------- */

enum { N_KINDS = 5 };

static const enum class_id kinds[N_KINDS] = { CLASS_PIF_metrics, CLASS_PIF, CLASS_Bond, CLASS_VLAN, CLASS_tunnel };

static const struct class_desc *desc_of(enum class_id cls) { return &model.classes[cls]; }

struct memory {
    struct call *c;
    const struct snap *s;
    struct value_builder of[N_KINDS];
};

/* Back-references follow by themselves; what is not stored is found out anew. */
static bool is_kept(const struct field_desc *f) { return f->persistent && !f->inverse; }

static const struct row *add(struct memory *m, enum class_id cls, struct ref ref)
{
    const struct row *row = snap_get(m->s, cls, ref);
    struct value_builder record = value_builder(m->c->arena);
    size_t k = 0;

    if (!row) return NULL;
    while (kinds[k] != cls) k++;
    const struct class_desc *desc = desc_of(cls);
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const struct field_desc *f = &desc->fields[i];
        if (is_kept(f)) value_put(&record, f->name, row_field_value(row, f, m->c->arena));
    }
    value_put(&m->of[k], arena_strdup(m->c->arena, REF_STR(ref)), value_built_map(&record));
    return row;
}

static const struct row *add_pif(struct memory *m, struct ref pif)
{
    const struct row *row = add(m, CLASS_PIF, pif);

    if (row) add(m, CLASS_PIF_metrics, row_ref(row, F_PIF_metrics));
    return row;
}

static void add_with_what_stands_on_it(struct memory *m, struct ref pif)
{
    const struct row *row = add_pif(m, pif);
    const struct refset *bonds = row ? row_refs(row, F_PIF_bond_master_of) : NULL, *vlans = row ? row_refs(row, F_PIF_VLAN_slave_of) : NULL,
                        *tunnels = row ? row_refs(row, F_PIF_tunnel_transport_PIF_of) : NULL;

    for (size_t i = 0; bonds && i < bonds->n; i++) add(m, CLASS_Bond, bonds->refs[i]);
    for (size_t i = 0; vlans && i < vlans->n; i++) {
        const struct row *vlan = add(m, CLASS_VLAN, vlans->refs[i]);
        if (vlan) add_pif(m, row_ref(vlan, F_VLAN_untagged_PIF));
    }
    for (size_t i = 0; tunnels && i < tunnels->n; i++) {
        const struct row *tunnel = add(m, CLASS_tunnel, tunnels->refs[i]);
        if (tunnel) add_pif(m, row_ref(tunnel, F_tunnel_access_PIF));
    }
}

struct value bond_before(struct call *c, const struct snap *s, const struct ref *pifs, size_t n)
{
    struct memory m = { .c = c, .s = s };
    struct value_builder all = value_builder(c->arena);

    for (size_t k = 0; k < N_KINDS; k++) m.of[k] = value_builder(c->arena);
    for (size_t i = 0; i < n; i++) add_with_what_stands_on_it(&m, pifs[i]);
    for (size_t k = 0; k < N_KINDS; k++) value_put(&all, desc_of(kinds[k])->name, value_built_map(&m.of[k]));
    return value_built_map(&all);
}

/* ---- of what is remembered ----------------------------------------------------------------------------------------- */

static const struct value *of_kind(const struct value *before, enum class_id cls)
{
    static const struct value none = { .kind = VALUE_MAP };
    const struct value *rows = value_get(before, desc_of(cls)->name);

    return rows && rows->kind == VALUE_MAP ? rows : &none;
}

bool bond_before_has_management(const struct value *before)
{
    const struct value *pifs = of_kind(before, CLASS_PIF);

    for (size_t i = 0; i < pifs->map.n; i++) {
        const struct value *management = value_get(&pifs->map.members[i].value, "management");
        if (management && management->kind == VALUE_BOOL && management->b) return true;
    }
    return false;
}

static bool is_in(const struct value *rows, struct ref ref) { return value_get(rows, REF_STR(ref)) != NULL; }

/* One at a time: what is taken apart changes what is looked at. */
static const struct row *made_since(const struct snap *s, const struct value *before)
{
    const struct value *pifs = of_kind(before, CLASS_PIF), *bonds = of_kind(before, CLASS_Bond);

    for (size_t i = 0; i < pifs->map.n; i++) {
        struct ref ref;
        const struct row *pif = ref_parse(pifs->map.members[i].key, &ref) ? snap_get(s, CLASS_PIF, ref) : NULL;
        const struct row *bond = pif ? snap_get(s, CLASS_Bond, row_ref(pif, F_PIF_bond_slave_of)) : NULL;
        if (bond && !is_in(bonds, row_ref_of(bond))) return bond;
    }
    return NULL;
}

static void fill(struct txn *t, struct ref ref, enum class_id cls, const struct value *record)
{
    const struct class_desc *desc = desc_of(cls);

    for (unsigned i = 0; i < desc->n_fields; i++) {
        const struct field_desc *f = &desc->fields[i];
        const struct value *said = is_kept(f) ? value_get(record, f->name) : NULL;
        if (!said) continue;
        struct value v = *said;
        struct ref to;
        /* JSON has no references */
        if (f->type->kind == TYPE_REF && v.kind == VALUE_STRING && ref_parse(v.s, &to)) v = value_ref(to);
        txn_set_field(t, ref, f->id, &v);
    }
}

static void each_row(struct txn *t, const struct value *before, void (*fn)(struct txn *, struct ref, enum class_id, const struct value *))
{
    for (size_t k = 0; k < N_KINDS; k++) {
        const struct value *rows = of_kind(before, kinds[k]);
        struct ref ref;
        for (size_t i = 0; i < rows->map.n; i++)
            if (ref_parse(rows->map.members[i].key, &ref)) fn(t, ref, kinds[k], &rows->map.members[i].value);
    }
}

static void make(struct txn *t, struct ref ref, enum class_id cls, const struct value *record)
{
    (void)record;
    if (!snap_get(txn_snap(t), cls, ref)) txn_create(t, cls, ref);
}

/* All rows first, then what they say: they name one another. */
void bond_before_restore(struct call *c, struct txn *t, const struct value *before)
{
    for (const struct row *bond; !txn_failed(t) && (bond = made_since(txn_snap(t), before));) bond_take_apart(c, t, bond);
    each_row(t, before, make);
    each_row(t, before, fill);
}
