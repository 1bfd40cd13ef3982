/* Class role: the roles of the schema and their permissions, as objects.
 * Called by: rpc/, session.c, subject.c, startup.  Calls: db/, gen. */
#include "xapi/role.h"

#include <ctype.h>

#include "gen/methods.h"
#include "gen/permissions.h"
#include "lib/map.h"

unsigned role_bits(enum role_id role)
{
    return role >= ROLE_NONE ? 0 : ((1u << ROLE_NONE) - 1) & ~((1u << role) - 1);
}

static struct ref ref_of_role(enum role_id role)
{
    struct ref ref = REF_NULL;

    uuid_from_text(model.roles[role].uuid, &ref);
    return ref;
}

unsigned role_bits_of_subject(const struct snap *s, struct ref subject)
{
    const struct row *row = ref_is_null(subject) ? NULL : snap_get(s, CLASS_subject, subject);
    unsigned bits = 0;

    if (!row) return 0;
    const struct refset *roles = row_refs(row, F_subject_roles);
    for (enum role_id role = ROLE_POOL_ADMIN; role < ROLE_NONE; role++)
        if (refset_has(roles, ref_of_role(role))) bits |= role_bits(role);
    return bits;
}

const char *role_permission_name(const char *method, struct arena *a)
{
    char *name = arena_strdup(a, method);

    for (char *p = name; *p; p++) *p = (char)tolower((unsigned char)*p);
    return name;
}

struct value role_permissions(enum role_id role, struct arena *a)
{
    struct value_builder names = value_builder(a);
    unsigned bits = role_bits(role);

    for (const struct permission_desc *p = permissions; p->name; p++)
        if (bits & 1u << p->role) value_push(&names, value_string(p->name));
    return value_built_set(&names);
}

struct value role_permissions_of_subject(const struct snap *s, struct ref subject, struct arena *a)
{
    struct value_builder names = value_builder(a);
    unsigned bits = role_bits_of_subject(s, subject);

    for (const struct permission_desc *p = permissions; p->name; p++)
        if (bits & 1u << p->role) value_push(&names, value_string(p->name));
    return value_built_set(&names);
}

/* ---- the rows ---- */

/* A permission's reference follows from its name, so that it is the same on every host and after every restart. */
static struct ref ref_of_permission(const char *name)
{
    static const uint64_t high[2] = { 0x726f6c6500000001, 0x7065726d69737369 };
    static const uint64_t low[2] = { 0x726f6c6500000002, 0x7065726d69737369 };
    size_t n = strlen(name);
    struct ref ref = { map_siphash(name, n, high), map_siphash(name, n, low) };

    /* The shape of a random uuid: version 4, variant 1. */
    ref.hi = (ref.hi & ~UINT64_C(0xf000)) | UINT64_C(0x4000);
    ref.lo = (ref.lo & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
    return ref;
}

struct seed {
    struct txn *t;
    struct refmap *wanted;                      /* every role row there should be */
    struct { struct ref *refs; size_t n; } of[ROLE_NONE];   /* permissions of each role */
    struct arena *arena;
};

static void seed_row(struct seed *seed, struct ref ref, const char *name, const char *description, bool internal)
{
    const struct row *row = snap_get(txn_snap(seed->t), CLASS_role, ref);
    char uuid[UUID_TEXT];

    refmap_put(seed->wanted, ref, seed);
    if (!row) {
        txn_create(seed->t, CLASS_role, ref);
        txn_set_str(seed->t, ref, F_role_uuid, uuid_to_text(ref, uuid));
    }
    if (!row || !streq(row_str(row, F_role_name_label), name)) txn_set_str(seed->t, ref, F_role_name_label, name);
    row = snap_get(txn_snap(seed->t), CLASS_role, ref);
    if (row && !streq(row_str(row, F_role_name_description), description))
        txn_set_str(seed->t, ref, F_role_name_description, description);
    row = snap_get(txn_snap(seed->t), CLASS_role, ref);
    if (row && row_bool(row, F_role_is_internal) != internal)
        txn_set_bool(seed->t, ref, F_role_is_internal, internal);
}

static void seed_permission(struct seed *seed, const struct permission_desc *p)
{
    struct ref ref = ref_of_permission(p->name);

    seed_row(seed, ref, p->name, "", false);
    for (enum role_id role = ROLE_POOL_ADMIN; role < ROLE_NONE; role++)
        if (role_bits(role) & 1u << p->role) seed->of[role].refs[seed->of[role].n++] = ref;
}

static int ref_order(const void *a, const void *b)
{
    return ref_cmp(*(const struct ref *)a, *(const struct ref *)b);
}

static void seed_role(struct seed *seed, enum role_id role)
{
    const struct role_desc *d = &model.roles[role];
    struct ref ref = ref_of_role(role);
    struct ref *refs = seed->of[role].refs;
    size_t n = seed->of[role].n;

    seed_row(seed, ref, d->name, d->doc ? d->doc : "", d->internal);
    qsort(refs, n, sizeof(*refs), ref_order);
    const struct row *row = snap_get(txn_snap(seed->t), CLASS_role, ref);
    const struct refset *now = row ? row_refs(row, F_role_subroles) : NULL;
    if (!now || now->n != n || memcmp(now->refs, refs, n * sizeof(*refs)) != 0)
        txn_set_refs(seed->t, ref, F_role_subroles, refs, n);
}

static void remove_unwanted(struct seed *seed)
{
    struct ref *gone = arena_new_array(seed->arena, struct ref, snap_count(txn_snap(seed->t), CLASS_role) + 1);
    size_t n = 0;

    SNAP_EACH(txn_snap(seed->t), CLASS_role, row)
        if (!refmap_get(seed->wanted, row_ref_of(row))) gone[n++] = row_ref_of(row);
    for (size_t i = 0; i < n; i++) txn_destroy(seed->t, CLASS_role, gone[i]);
}

int roles_seed(struct agent *agent, struct xerr *err)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_refmap_ struct refmap *wanted = refmap_new();
    struct seed seed = { .t = db_begin(agent->db), .wanted = wanted, .arena = a };

    for (enum role_id role = ROLE_POOL_ADMIN; role < ROLE_NONE; role++)
        seed.of[role].refs = arena_new_array(a, struct ref, N_PERMISSIONS + 1);
    for (const struct permission_desc *p = permissions; p->name; p++) seed_permission(&seed, p);
    for (enum role_id role = ROLE_POOL_ADMIN; role < ROLE_NONE; role++) seed_role(&seed, role);
    remove_unwanted(&seed);
    return db_commit(seed.t, err);
}

/* ---- messages ---- */

static const struct row *need_role(const struct snap *s, struct ref self, struct xerr *err)
{
    return call_need(s, CLASS_role, self, err);
}

/* The permissions of a role, or the permission itself. */
static int list_permissions(struct call *c, struct ref self, bool names, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = need_role(s, self, err);
    struct value_builder b = value_builder(c->arena);

    if (!row) return -1;
    const struct refset *subroles = row_refs(row, F_role_subroles);
    struct ref alone[1] = { self };
    const struct ref *refs = subroles->n ? subroles->refs : alone;
    size_t n = subroles->n ? subroles->n : 1;
    for (size_t i = 0; i < n; i++) {
        const struct row *sub = snap_get(s, CLASS_role, refs[i]);
        if (!sub) continue;
        value_push(&b, names ? value_string(arena_strdup(c->arena, row_str(sub, F_role_name_label)))
                             : value_ref(refs[i]));
    }
    *ret_result = value_built_set(&b);
    return 0;
}

int role_get_permissions(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    return list_permissions(c, self, false, ret_result, err);
}

int role_get_permissions_name_label(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    return list_permissions(c, self, true, ret_result, err);
}

static struct value roles_with(struct call *c, const struct snap *s, struct ref permission)
{
    struct value_builder b = value_builder(c->arena);

    SNAP_EACH(s, CLASS_role, row)
        if (refset_has(row_refs(row, F_role_subroles), permission)) value_push(&b, value_ref(row_ref_of(row)));
    return value_built_set(&b);
}

int role_get_by_permission(struct call *c, struct ref permission, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    if (!need_role(s, permission, err)) return -1;
    *ret_result = roles_with(c, s, permission);
    return 0;
}

int role_get_by_permission_name_label(struct call *c, const char *label, struct value *ret_result,
                                      struct xerr *err)
{
    (void)err;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    *ret_result = roles_with(c, s, ref_of_permission(role_permission_name(label, c->arena)));
    return 0;
}
