/* Transactions as their users see them: fields, maps, sets, back-references, the sticky error, isolation.
 * Called by: make check.  Calls: db. */
#include "tests/unit/db-fixture.h"

#include "db/intern.h"
#include "lib/json.h"
#include "lib/xmlrpc.h"

static struct db *db;
static struct fake_store *store;

static int setup(void **state _unused_)
{
    db = open_fake(&store);
    return 0;
}

static int teardown(void **state _unused_)
{
    db_close(db);
    return 0;
}

static struct value str(const char *s) { return value_string(s); }

static void a_new_row_has_the_defaults_and_a_uuid(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM);
    _cleanup_snap_ struct snap *s = db_snap(db);
    const struct row *row = snap_get(s, CLASS_VM, vm);
    struct ref uuid;

    assert_non_null(row);
    assert_true(ref_eq(row_ref_of(row), vm));
    assert_int_equal(row_class(row), CLASS_VM);
    assert_true(uuid_from_text(row_uuid(row), &uuid));
    assert_string_equal(row_str(row, F_VM_name_label), "");
    assert_int_equal(row_enum(row, F_VM_power_state), vm_power_state_Halted);
    assert_true(ref_is_null(row_ref(row, F_VM_resident_on)));
    assert_int_equal(row_value(row, F_VM_other_config)->kind, VALUE_MAP);
    assert_int_equal(row_value(row, F_VM_other_config)->map.n, 0);
    assert_int_equal(row_refs(row, F_VM_VBDs)->n, 0);
    assert_ptr_equal(snap_by_uuid(s, CLASS_VM, row_uuid(row)), row);
    assert_ptr_equal(snap_find(s, vm), row);
    assert_null(snap_get(s, CLASS_host, vm));
    assert_int_equal(snap_count(s, CLASS_VM), 1);
}

static void fields_of_every_kind_are_set(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM), host = make(db, CLASS_host), metrics = make(db, CLASS_VM_metrics);
    struct ref subject = make(db, CLASS_subject), roles[] = { { 9, 9 }, { 1, 1 }, { 9, 9 }, { 0, 0 } };
    struct txn *t = db_begin(db);
    const struct value tags = value_set((struct value[]){ str("a"), str("b") }, 2);

    txn_set_str(t, vm, F_VM_name_label, "n\xc3\xa4me");
    txn_set_int(t, vm, F_VM_memory_static_max, INT64_MIN);
    txn_set_bool(t, vm, F_VM_is_a_template, true);
    txn_set_float(t, vm, F_VM_HVM_shadow_multiplier, 2.5);
    txn_set_time(t, vm, F_VM_snapshot_time, 1700000000);
    txn_set_ref(t, vm, F_VM_resident_on, host);
    txn_set_enum(t, vm, F_VM_power_state, vm_power_state_Running);
    txn_set_bits(t, vm, F_VM_allowed_operations, 1u << vm_operations_start | 1u << vm_operations_clone);
    txn_set_value(t, vm, F_VM_tags, &tags);
    txn_set_refs(t, subject, F_subject_roles, roles, ARRAY_SIZE(roles));
    txn_set_int(t, metrics, F_VM_metrics_memory_actual, 42);
    commit_ok(t);

    _cleanup_snap_ struct snap *s = db_snap(db);
    _cleanup_arena_ struct arena *a = arena_new();
    const struct row *row = snap_get(s, CLASS_VM, vm);
    assert_string_equal(row_str(row, F_VM_name_label), "n\xc3\xa4me");
    assert_true(row_int(row, F_VM_memory_static_max) == INT64_MIN);
    assert_true(row_bool(row, F_VM_is_a_template));
    assert_true(row_float(row, F_VM_HVM_shadow_multiplier) == 2.5);
    assert_int_equal(row_time(row, F_VM_snapshot_time), 1700000000);
    assert_true(ref_eq(row_ref(row, F_VM_resident_on), host));
    assert_int_equal(row_enum(row, F_VM_power_state), vm_power_state_Running);
    assert_true(value_has(row_value(row, F_VM_tags), "b"));
    struct value ops = row_field_value(row, model_field(F_VM_allowed_operations), a);
    assert_int_equal(ops.set.n, 2);
    assert_true(value_has(&ops, "start") && value_has(&ops, "clone"));
    const struct refset *set = row_refs(snap_get(s, CLASS_subject, subject), F_subject_roles);
    assert_int_equal(set->n, 2);   /* sorted, no doubles, no null */
    assert_true(set->refs[0].hi == 1 && set->refs[1].hi == 9);
    assert_true(refset_has(set, (struct ref){ 9, 9 }) && !refset_has(set, (struct ref){ 5, 5 }));

    struct value record = row_record(row, a);
    assert_int_equal(record.map.n, model.classes[CLASS_VM].n_fields);
    assert_string_equal(value_get_str(&record, "power_state", ""), "Running");
}

static void every_field_of_every_class_goes_through_a_value_and_back(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();

    for (unsigned cls = 0; cls < model.n_classes; cls++) {
        if (!model.classes[cls].stored) continue;
        struct ref ref = make(db, (enum class_id)cls);
        _cleanup_snap_ struct snap *s = db_snap(db);
        const struct row *row = snap_get(s, (enum class_id)cls, ref);
        struct txn *t = db_begin(db);
        for (unsigned i = 0; i < model.classes[cls].n_fields; i++) {
            const struct field_desc *f = &model.classes[cls].fields[i];
            struct value v = row_field_value(row, f, a);
            if (f->id != model.classes[cls].uuid) assert_true(value_eq(&v, &f->default_value));
            if (!f->inverse) txn_set_field(t, ref, f->id, &v);
        }
        assert_false(txn_failed(t));
        commit_ok(t);
    }
}

static void a_reader_sees_nothing_before_the_commit_and_keeps_what_it_had(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM);
    _cleanup_snap_ struct snap *before = db_snap(db);
    struct txn *t = db_begin(db);

    txn_set_str(t, vm, F_VM_name_label, "new");
    _cleanup_snap_ struct snap *during = db_snap(db);
    assert_string_equal(row_str(snap_get(during, CLASS_VM, vm), F_VM_name_label), "");
    assert_string_equal(row_str(snap_get(txn_snap(t), CLASS_VM, vm), F_VM_name_label), "new");
    commit_ok(t);
    _cleanup_snap_ struct snap *after = db_snap(db);
    assert_string_equal(row_str(snap_get(before, CLASS_VM, vm), F_VM_name_label), "");
    assert_string_equal(row_str(snap_get(after, CLASS_VM, vm), F_VM_name_label), "new");
}

static void an_aborted_transaction_leaves_nothing(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM), other = ref_new();
    struct txn *t = db_begin(db);

    txn_set_str(t, vm, F_VM_name_label, "gone");
    txn_create(t, CLASS_VM, other);
    db_abort(t);
    db_abort(NULL);
    t = db_begin(db);
    assert_string_equal(row_str(snap_get(txn_snap(t), CLASS_VM, vm), F_VM_name_label), "");
    assert_null(snap_get(txn_snap(t), CLASS_VM, other));
    db_abort(t);
}

static void the_first_failure_sticks(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM), nobody = ref_new();
    struct xerr err = XERR_INIT;
    struct txn *t = db_begin(db);

    txn_set_str(t, vm, F_VM_name_label, "half");
    assert_false(txn_failed(t));
    txn_set_str(t, nobody, F_VM_name_label, "x");
    assert_true(txn_failed(t));
    txn_destroy(t, CLASS_host, nobody);   /* does nothing: the error stays that of the VM */
    txn_set_str(t, vm, F_VM_name_label, "whole");
    assert_int_equal(db_commit(t, &err), -1);
    assert_string_equal(err.code, "HANDLE_INVALID");
    assert_string_equal(err.params[0], "VM");
    assert_string_equal(err.params[1], REF_STR(nobody));
    xerr_clear(&err);
    _cleanup_snap_ struct snap *s = db_snap(db);
    assert_string_equal(row_str(snap_get(s, CLASS_VM, vm), F_VM_name_label), "");
    assert_null(snap_need(s, CLASS_VM, nobody, &err));
    assert_failed(-1, &err, "HANDLE_INVALID");
}

static void a_precondition_fails_the_transaction(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM);
    struct xerr why = XERR_INIT, err = XERR_INIT;
    struct txn *t = db_begin(db);

    txn_set_str(t, vm, F_VM_name_label, "no");
    xerr_internal(&why, "not now");
    assert_int_equal(txn_fail(t, &why), -1);
    assert_null(why.code);
    assert_failed(db_commit(t, &err), &err, "INTERNAL_ERROR");
}

static void a_value_of_another_type_is_refused(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM);
    const struct { field_id f; struct value v; } wrong[] = {
        { F_VM_name_label, value_int(1) },
        { F_VM_power_state, str("Sleeping") },
        { F_VM_memory_static_max, str("1") },
        { F_VM_other_config, value_set(NULL, 0) },
        { F_VM_other_config, value_map(&(struct member){ "k", value_int(1) }, 1) },
        { F_VM_allowed_operations, value_set((struct value[]){ str("fly") }, 1) },
        { F_VM_resident_on, str("OpaqueRef:NULL") },
        { F_VM_tags, value_set((struct value[]){ value_bool(true) }, 1) },
    };
    struct xerr err = XERR_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_failed(db_set_field(db, vm, wrong[i].f, &wrong[i].v, &err), &err, "FIELD_TYPE_ERROR");
}

static void maps_are_changed_key_by_key(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM);
    struct xerr err = XERR_INIT;
    struct value one = str("1");
    struct txn *t = db_begin(db);

    txn_map_add(t, vm, F_VM_other_config, "a", &one);
    txn_map_put_str(t, vm, F_VM_other_config, "b", "2");
    txn_map_put_str(t, vm, F_VM_other_config, "a", "3");
    txn_map_remove(t, vm, F_VM_other_config, "missing");
    commit_ok(t);
    _cleanup_snap_ struct snap *s = db_snap(db);
    const struct row *row = snap_get(s, CLASS_VM, vm);
    assert_string_equal(row_map_str(row, F_VM_other_config, "a", "-"), "3");
    assert_string_equal(row_map_str(row, F_VM_other_config, "b", "-"), "2");
    assert_string_equal(row_map_str(row, F_VM_other_config, "c", "-"), "-");

    t = db_begin(db);
    txn_map_add(t, vm, F_VM_other_config, "b", &one);
    assert_int_equal(db_commit(t, &err), -1);
    assert_string_equal(err.code, "MAP_DUPLICATE_KEY");
    assert_string_equal(err.params[0], "VM");
    assert_string_equal(err.params[1], "other_config");
    assert_string_equal(err.params[2], REF_STR(vm));
    assert_string_equal(err.params[3], "b");
    xerr_clear(&err);

    t = db_begin(db);
    txn_map_remove(t, vm, F_VM_other_config, "a");
    txn_map_remove(t, vm, F_VM_other_config, "b");
    commit_ok(t);
    _cleanup_snap_ struct snap *after = db_snap(db);
    assert_int_equal(row_value(snap_get(after, CLASS_VM, vm), F_VM_other_config)->map.n, 0);

    const struct value number = value_int(5);
    t = db_begin(db);
    txn_map_put(t, vm, F_VM_other_config, "k", &number);
    assert_failed(db_commit(t, &err), &err, "FIELD_TYPE_ERROR");
}

/* Against plain arrays: text values of all lengths, and numbers. */
static void large_maps_stay_right_through_any_changes(void **state _unused_)
{
    enum { KEYS = 64, STEPS = 4000 };
    struct ref vm = make(db, CLASS_VM), metrics = make(db, CLASS_VM_metrics);
    char *texts[KEYS] = { NULL };
    double numbers[KEYS];
    size_t n = 0;
    unsigned seed = 11;

    for (int step = 0; step < STEPS; step++) {
        unsigned k = (unsigned)rand_r(&seed) % KEYS;
        char key[16];
        snprintf(key, sizeof(key), "%u", k);
        struct txn *t = db_begin(db);
        if (rand_r(&seed) % 3) {
            struct strbuf text = STRBUF_INIT;
            for (int i = rand_r(&seed) % 60; i > 0; i--) strbuf_char(&text, (char)('a' + step % 26));
            n += !texts[k];
            free(texts[k]);
            texts[k] = strbuf_take(&text);
            numbers[k] = step;
            struct value number = value_float(step);
            txn_map_put_str(t, vm, F_VM_other_config, key, texts[k]);
            txn_map_put(t, metrics, F_VM_metrics_VCPUs_utilisation, key, &number);
        } else {
            n -= texts[k] != NULL;
            free(texts[k]);
            texts[k] = NULL;
            txn_map_remove(t, vm, F_VM_other_config, key);
            txn_map_remove(t, metrics, F_VM_metrics_VCPUs_utilisation, key);
        }
        commit_ok(t);
        _cleanup_snap_ struct snap *s = db_snap(db);
        const struct row *row = snap_get(s, CLASS_VM, vm);
        const struct value *floats = row_value(snap_get(s, CLASS_VM_metrics, metrics),
                                               F_VM_metrics_VCPUs_utilisation);
        assert_int_equal(row_value(row, F_VM_other_config)->map.n, n);
        assert_int_equal(floats->map.n, n);
        for (unsigned i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "%u", i);
            const char *got = row_map_str(row, F_VM_other_config, key, NULL);
            assert_int_equal(got != NULL, texts[i] != NULL);
            if (!got) continue;
            assert_string_equal(got, texts[i]);
            assert_true(value_get(floats, key)->d == numbers[i]);
        }
    }
    for (unsigned i = 0; i < KEYS; i++) free(texts[i]);
}

static void sets_are_changed_item_by_item(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM), subject = make(db, CLASS_subject), role = ref_new();
    struct value a = str("a"), b = str("b"), start = str("start"), r = value_ref(role);
    struct txn *t = db_begin(db);

    txn_set_add(t, vm, F_VM_tags, &a);
    txn_set_add(t, vm, F_VM_tags, &b);
    txn_set_add(t, vm, F_VM_tags, &a);
    txn_set_add(t, vm, F_VM_allowed_operations, &start);
    txn_set_add(t, subject, F_subject_roles, &r);
    txn_set_add(t, subject, F_subject_roles, &r);
    commit_ok(t);
    _cleanup_snap_ struct snap *s = db_snap(db);
    assert_int_equal(row_value(snap_get(s, CLASS_VM, vm), F_VM_tags)->set.n, 2);
    assert_true(row_bits(snap_get(s, CLASS_VM, vm), F_VM_allowed_operations) == 1u << vm_operations_start);
    assert_true(refset_has(row_refs(snap_get(s, CLASS_subject, subject), F_subject_roles), role));

    t = db_begin(db);
    txn_set_remove(t, vm, F_VM_tags, &a);
    txn_set_remove(t, vm, F_VM_tags, &a);
    txn_set_remove(t, vm, F_VM_allowed_operations, &start);
    txn_set_remove(t, subject, F_subject_roles, &r);
    commit_ok(t);
    _cleanup_snap_ struct snap *after = db_snap(db);
    assert_false(value_has(row_value(snap_get(after, CLASS_VM, vm), F_VM_tags), "a"));
    assert_true(value_has(row_value(snap_get(after, CLASS_VM, vm), F_VM_tags), "b"));
    assert_true(row_bits(snap_get(after, CLASS_VM, vm), F_VM_allowed_operations) == 0);
    assert_false(refset_has(row_refs(snap_get(after, CLASS_subject, subject), F_subject_roles), role));
}

static const struct refset *vbds_of(const struct snap *s, struct ref vm)
{
    return row_refs(snap_get(s, CLASS_VM, vm), F_VM_VBDs);
}

static void back_references_follow(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM), other = make(db, CLASS_VM), vbd = ref_new();
    struct txn *t = db_begin(db);

    txn_create(t, CLASS_VBD, vbd);
    txn_set_ref(t, vbd, F_VBD_VM, vm);
    assert_true(refset_has(vbds_of(txn_snap(t), vm), vbd));   /* within the transaction already */
    commit_ok(t);
    t = db_begin(db);
    txn_set_ref(t, vbd, F_VBD_VM, other);
    commit_ok(t);
    _cleanup_snap_ struct snap *moved = db_snap(db);
    assert_int_equal(vbds_of(moved, vm)->n, 0);
    assert_true(refset_has(vbds_of(moved, other), vbd));
    t = db_begin(db);
    txn_destroy(t, CLASS_VBD, vbd);
    commit_ok(t);
    _cleanup_snap_ struct snap *gone = db_snap(db);
    assert_int_equal(vbds_of(gone, other)->n, 0);
    assert_null(snap_get(gone, CLASS_VBD, vbd));
}

static void what_referred_to_a_destroyed_object_becomes_null(void **state _unused_)
{
    struct ref host = make(db, CLASS_host), vm = make(db, CLASS_VM), snapshot = make(db, CLASS_VM);
    struct txn *t = db_begin(db);

    txn_set_ref(t, vm, F_VM_resident_on, host);
    txn_set_ref(t, snapshot, F_VM_snapshot_of, vm);
    txn_set_ref(t, vm, F_VM_snapshot_of, vm);   /* even a reference to itself */
    commit_ok(t);
    t = db_begin(db);
    txn_destroy(t, CLASS_host, host);
    assert_true(ref_is_null(row_ref(snap_get(txn_snap(t), CLASS_VM, vm), F_VM_resident_on)));
    txn_destroy(t, CLASS_VM, vm);
    assert_true(ref_is_null(row_ref(snap_get(txn_snap(t), CLASS_VM, snapshot), F_VM_snapshot_of)));
    commit_ok(t);
}

static void a_reference_with_a_back_reference_needs_its_target(void **state _unused_)
{
    struct ref vbd = make(db, CLASS_VBD), nobody = ref_new();
    struct xerr err = XERR_INIT;
    struct value v = value_ref(nobody);

    assert_int_equal(db_set_field(db, vbd, F_VBD_VM, &v, &err), -1);
    assert_string_equal(err.code, "HANDLE_INVALID");
    assert_string_equal(err.params[0], "VM");
    assert_string_equal(err.params[1], REF_STR(nobody));
    xerr_clear(&err);
}

static void references_and_uuids_are_unique(void **state _unused_)
{
    struct ref a = make(db, CLASS_VM), b = make(db, CLASS_VM);
    _cleanup_snap_ struct snap *s = db_snap(db);
    const char *taken = row_uuid(snap_get(s, CLASS_VM, a));
    struct xerr err = XERR_INIT;
    struct txn *t = db_begin(db);

    txn_create(t, CLASS_VM, a);
    assert_failed(db_commit(t, &err), &err, "DB_UNIQUENESS_CONSTRAINT_VIOLATION");
    t = db_begin(db);
    txn_set_str(t, b, F_VM_uuid, taken);
    assert_failed(db_commit(t, &err), &err, "DB_UNIQUENESS_CONSTRAINT_VIOLATION");

    t = db_begin(db);
    txn_destroy(t, CLASS_VM, a);
    txn_set_str(t, b, F_VM_uuid, taken);
    commit_ok(t);
    _cleanup_snap_ struct snap *after = db_snap(db);
    assert_true(ref_eq(row_ref_of(snap_by_uuid(after, CLASS_VM, taken)), b));
    assert_null(snap_by_uuid(after, CLASS_VM, ""));
    assert_null(snap_by_uuid(after, CLASS_VM, "not a uuid"));
}

static size_t count_named(const struct snap *s, const char *name)
{
    struct snap_iter it = snap_iter_named(s, CLASS_VM, name);
    size_t n = 0;

    while (snap_next(s, &it)) n++;
    return n;
}

static void the_name_index_follows_renames(void **state _unused_)
{
    struct ref vms[3];
    struct txn *t;

    for (int i = 0; i < 3; i++) vms[i] = make(db, CLASS_VM);
    t = db_begin(db);
    txn_set_str(t, vms[0], F_VM_name_label, "web");
    txn_set_str(t, vms[1], F_VM_name_label, "web");
    assert_int_equal(count_named(txn_snap(t), "web"), 2);
    commit_ok(t);
    t = db_begin(db);
    txn_set_str(t, vms[0], F_VM_name_label, "db");
    txn_destroy(t, CLASS_VM, vms[2]);
    commit_ok(t);
    _cleanup_snap_ struct snap *s = db_snap(db);
    assert_int_equal(count_named(s, "web"), 1);
    assert_int_equal(count_named(s, "db"), 1);
    assert_int_equal(count_named(s, ""), 0);
}

static void rows_are_walked_in_order_even_while_they_change(void **state _unused_)
{
    enum { N = 200 };
    struct txn *t = db_begin(db);
    struct ref last = REF_NULL;
    size_t n = 0;

    for (int i = 0; i < N; i++) txn_create(t, CLASS_VM, ref_new());
    SNAP_EACH(txn_snap(t), CLASS_VM, vm) {
        struct ref ref = row_ref_of(vm);
        assert_true(ref_cmp(last, ref) < 0);
        last = ref;
        if (n++ % 2) txn_destroy(t, CLASS_VM, ref);
        else txn_set_str(t, ref, F_VM_name_label, "kept");
    }
    assert_int_equal(n, N);
    commit_ok(t);
    _cleanup_snap_ struct snap *s = db_snap(db);
    assert_int_equal(snap_count(s, CLASS_VM), N / 2);
    SNAP_EACH(s, CLASS_VM, vm) assert_string_equal(row_str(vm, F_VM_name_label), "kept");
}

static void setting_what_is_there_changes_nothing(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM);
    _cleanup_snap_ struct snap *before = db_snap(db);
    struct txn *t = db_begin(db);
    const struct value nothing = value_map(NULL, 0);

    txn_set_str(t, vm, F_VM_name_label, "");
    txn_set_value(t, vm, F_VM_other_config, &nothing);
    txn_set_enum(t, vm, F_VM_power_state, vm_power_state_Halted);
    commit_ok(t);
    _cleanup_snap_ struct snap *after = db_snap(db);
    assert_ptr_equal(snap_get(before, CLASS_VM, vm), snap_get(after, CLASS_VM, vm));
    assert_true(snap_token(after).revision == snap_token(before).revision);
    assert_true(snap_token(after).stamp == snap_token(before).stamp);
}

/* Each form against the writer of any value, for a row that has what a class can have. */
static void records_are_encoded_as_their_values(void **state _unused_)
{
    struct ref vm = make(db, CLASS_VM);
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT, want = STRBUF_INIT;
    _cleanup_arena_ struct arena *a = arena_new(), *scratch = arena_new();
    struct txn *t = db_begin(db);

    txn_set_str(t, vm, F_VM_name_label, "a <name> & \"more\" \xc3\xa9");
    txn_map_put_str(t, vm, F_VM_other_config, "k<>", "v\n");
    txn_set_bits(t, vm, F_VM_allowed_operations, 5);
    for (int i = 0; i < 300; i++) {   /* more references than fit anything of a fixed size */
        struct ref vbd = ref_new();
        txn_create(t, CLASS_VBD, vbd);
        txn_set_ref(t, vbd, F_VBD_VM, vm);
    }
    const struct row *own = snap_get(txn_snap(t), CLASS_VM, vm);
    row_encode(own, ENCODING_XML, scratch, &out);
    assert_int_equal(arena_used(scratch), 0);
    struct value record = row_record(own, a);
    xmlrpc_encode_value(&record, &want);
    assert_string_equal(strbuf_cstr(&out), strbuf_cstr(&want));
    commit_ok(t);

    _cleanup_snap_ struct snap *s = db_snap(db);
    for (unsigned cls = 0; cls < model.n_classes; cls++) {
        SNAP_EACH(s, (enum class_id)cls, row) {
            record = row_record(row, a);
            strbuf_clear(&out), strbuf_clear(&want);
            xmlrpc_encode_value(&record, &want);
            json_encode_value(&record, &want);
            row_encode(row, ENCODING_XML, scratch, &out);
            row_encode(row, ENCODING_JSON, scratch, &out);
            assert_string_equal(strbuf_cstr(&out), strbuf_cstr(&want));
        }
    }
}

static void equal_texts_and_maps_are_shared(void **state _unused_)
{
    struct ref a = make(db, CLASS_VDI), b = make(db, CLASS_VDI);
    struct txn *t = db_begin(db);
    char big[INTERN_BYTES + 2];

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    for (int i = 0; i < 2; i++) {
        struct ref vdi = i ? b : a;
        txn_set_str(t, vdi, F_VDI_name_label, "the same");
        txn_set_str(t, vdi, F_VDI_name_description, big);
        txn_map_put_str(t, vdi, F_VDI_sm_config, "image-format", "qcow2");
        txn_map_put_str(t, vdi, F_VDI_other_config, i ? "one" : "two", "1");
        txn_map_put_str(t, vdi, F_VDI_other_config, i ? "two" : "one", "1");
        txn_set_str(t, vdi, F_VDI_location, row_uuid(snap_get(txn_snap(t), CLASS_VDI, vdi)));
    }
    commit_ok(t);
    _cleanup_snap_ struct snap *s = db_snap(db);
    const struct row *x = snap_get(s, CLASS_VDI, a), *y = snap_get(s, CLASS_VDI, b);
    assert_ptr_equal(row_str(x, F_VDI_name_label), row_str(y, F_VDI_name_label));
    assert_ptr_not_equal(row_str(x, F_VDI_name_description), row_str(y, F_VDI_name_description));   /* too long */
    assert_string_equal(row_str(x, F_VDI_name_description), big);
    assert_ptr_equal(row_value(x, F_VDI_sm_config), row_value(y, F_VDI_sm_config));
    assert_ptr_equal(row_str(x, F_VDI_location), row_uuid(x));
    assert_string_not_equal(row_uuid(x), row_uuid(y));
    assert_string_equal(row_value(x, F_VDI_other_config)->map.members[0].key, "two");   /* the order is each one's own */
    assert_string_equal(row_value(y, F_VDI_other_config)->map.members[0].key, "one");

    /* What one of them becomes does not touch the other. */
    t = db_begin(db);
    txn_map_put_str(t, a, F_VDI_sm_config, "image-format", "vhd");
    txn_set_str(t, a, F_VDI_uuid, "00000000-0000-0000-0000-000000000001");
    commit_ok(t);
    _cleanup_snap_ struct snap *later = db_snap(db);
    assert_string_equal(row_map_str(snap_get(later, CLASS_VDI, b), F_VDI_sm_config, "image-format", ""), "qcow2");
    assert_string_not_equal(row_str(snap_get(later, CLASS_VDI, a), F_VDI_location),
                            row_uuid(snap_get(later, CLASS_VDI, a)));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
UNIT_MAIN(T(a_new_row_has_the_defaults_and_a_uuid), T(fields_of_every_kind_are_set),
          T(every_field_of_every_class_goes_through_a_value_and_back),
          T(a_reader_sees_nothing_before_the_commit_and_keeps_what_it_had),
          T(an_aborted_transaction_leaves_nothing), T(the_first_failure_sticks),
          T(a_precondition_fails_the_transaction), T(a_value_of_another_type_is_refused),
          T(maps_are_changed_key_by_key), T(large_maps_stay_right_through_any_changes), T(sets_are_changed_item_by_item), T(back_references_follow),
          T(what_referred_to_a_destroyed_object_becomes_null),
          T(a_reference_with_a_back_reference_needs_its_target), T(references_and_uuids_are_unique),
          T(the_name_index_follows_renames), T(rows_are_walked_in_order_even_while_they_change),
          T(setting_what_is_there_changes_nothing), T(records_are_encoded_as_their_values), T(equal_texts_and_maps_are_shared))
