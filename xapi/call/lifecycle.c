/* The common part of every class's operation rules: current_operations, allowed_operations, refresh.
 * Called by: rpc/oplock, class files, jobs/.  Calls: lifecycle_<class>.c, db/. */
#include "xapi/call/lifecycle.h"

#include "xapi/call/lifecycle_table.h"

static const struct lifecycle_rules *const tables[] = {
    &lifecycle_vm, &lifecycle_vbd, &lifecycle_vif, &lifecycle_vdi, &lifecycle_sr, &lifecycle_host,
    &lifecycle_vm_appliance, &lifecycle_pool, &lifecycle_vtpm,
};

static const struct lifecycle_rules *find(enum class_id cls)
{
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (tables[i]->cls == cls) return tables[i];
    return NULL;
}

const struct enum_desc *lifecycle_operations(field_id allowed)
{
    return model_field(allowed)->type->elem->e;
}

bool lifecycle_busy(const struct row *object, field_id current)
{
    return row_value(object, current)->map.n > 0;
}

bool lifecycle_runs(const struct row *object, field_id current, const struct enum_desc *operations, int op)
{
    const struct value *now = row_value(object, current);

    for (size_t i = 0; i < now->map.n; i++)
        if (streq(now->map.members[i].value.s, operations->values[op])) return true;
    return false;
}

static void look(const struct lifecycle_rules *l, struct facts *f, const struct snap *s, const struct row *object)
{
    f->s = s;
    f->object = object;
    if (l->look) l->look(f);
}

static int check_beside(const struct lifecycle_rules *l, const struct row *object, int op, struct xerr *err)
{
    const struct enum_desc *ops = lifecycle_operations(l->allowed);
    const struct value *now = row_value(object, l->current);

    for (size_t i = 0; i < now->map.n; i++) {
        const struct member *m = &now->map.members[i];
        int running = enum_index(ops, m->value.s);
        if (running >= 0 && l->beside && l->beside(op, running)) continue;
        return xerr_other_operation_in_progress(err, model.classes[l->cls].name, REF_STR(row_ref_of(object)), m->value.s,
                                                m->key);
    }
    return 0;
}

int lifecycle_check(const struct snap *s, enum class_id cls, struct ref ref, int op, bool strict, struct xerr *err)
{
    const struct lifecycle_rules *l = find(cls);
    const struct row *object = snap_need(s, cls, ref, err);

    if (!object) return -1;
    if (!l) return 0;
    if (strict && check_beside(l, object, op, err)) return -1;
    struct facts f = { .s = NULL };
    look(l, &f, s, object);
    return l->check(&f, op, err);
}

static uint64_t allowed(const struct lifecycle_rules *l, const struct facts *f)
{
    const unsigned n = lifecycle_operations(l->allowed)->n;
    const bool busy = lifecycle_busy(f->object, l->current);
    struct xerr why = XERR_QUIET;
    uint64_t bits = 0;

    for (unsigned op = 0; op < n; op++) {
        why.code = NULL;
        if ((!busy || !check_beside(l, f->object, (int)op, &why)) && !l->check(f, (int)op, &why)) bits |= OP(op);
    }
    return bits;
}

uint64_t lifecycle_allowed(const struct snap *s, enum class_id cls, struct ref ref)
{
    const struct lifecycle_rules *l = find(cls);
    const struct row *object = l ? snap_get(s, cls, ref) : NULL;
    struct facts f = { .s = NULL };

    if (!object) return 0;
    look(l, &f, s, object);
    return allowed(l, &f);
}

struct filling {
    const struct lifecycle_rules *l;
    struct facts facts;
};

static uint64_t fill_one(void *arg, const struct snap *s, const struct row *object)
{
    struct filling *f = arg;

    look(f->l, &f->facts, s, object);
    return allowed(f->l, &f->facts);
}

void lifecycle_fill(struct db *db)
{
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        db_fill_bits(db, tables[i]->allowed, fill_one, &(struct filling){ .l = tables[i] });
}

void lifecycle_refresh_one(struct txn *t, enum class_id cls, struct ref ref)
{
    const struct lifecycle_rules *l = find(cls);
    const struct row *object = l ? snap_get(txn_snap(t), cls, ref) : NULL;

    if (!object) return;
    uint64_t now = lifecycle_allowed(txn_snap(t), cls, ref);
    if (now != row_bits(object, l->allowed)) txn_set_bits(t, ref, l->allowed, now);
}

void lifecycle_refresh(struct txn *t, enum class_id cls, struct ref ref)
{
    const struct lifecycle_rules *l = find(cls);

    lifecycle_refresh_one(t, cls, ref);
    if (l && l->dependents) l->dependents(t, ref);
}

field_id lifecycle_allowed_field(enum class_id cls)
{
    const struct lifecycle_rules *l = find(cls);

    return l ? l->allowed : 0;
}

field_id lifecycle_current_field(enum class_id cls)
{
    const struct lifecycle_rules *l = find(cls);

    return l ? l->current : 0;
}
