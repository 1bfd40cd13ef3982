/* The SQLite store: what comes back after a restart, older and newer files, damage and repair.
 * Called by: make check.  Calls: db, sqlite3. */
#include "tests/unit/db-fixture.h"

#include "db/store_sqlite.h"

#include <math.h>
#include <sqlite3.h>
#include <sys/stat.h>

static char *folder, *path;

static int setup(void **state _unused_)
{
    folder = folder_new();
    path = xasprintf("%s/state.db", folder);
    return 0;
}

static int teardown(void **state _unused_)
{
    free(path);
    folder_free(folder);
    return 0;
}

/* Behind the daemon's back. */
static void sql(const char *text)
{
    sqlite3 *raw;
    char *why = NULL;

    assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
    if (sqlite3_exec(raw, text, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s: %s", text, why);
    sqlite3_close(raw);
}

static int64_t sql_int(const char *text)
{
    sqlite3 *raw;
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(raw, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
    return n;
}

static void assert_refused(const char *part)
{
    struct xerr err = XERR_INIT;
    struct store *store = NULL;
    int rc = store_open_sqlite(path, &store, &err);

    assert_int_equal(rc, -1);
    assert_string_equal(err.code, "INTERNAL_ERROR");
    assert_non_null(strstr(err.params[0], path));   /* the file is named */
    if (!strstr(err.params[0], part)) fail_msg("no '%s' in: %s", part, err.params[0]);
    xerr_clear(&err);
}

/* A value for a field of this type that is not its default. */
static struct value some_value(struct arena *a, const struct type_desc *type, unsigned salt)
{
    switch (type->kind) {
    case TYPE_STRING: return value_string(arena_printf(a, "t%u \"'\\\n\t\x01 \xe2\x82\xac <&>", salt));
    case TYPE_INT: return value_int(INT64_MAX - (int64_t)salt);
    case TYPE_BOOL: return value_bool(true);
    case TYPE_FLOAT: return value_float(0.25 * salt + 0.125);
    case TYPE_DATETIME: return value_datetime(1700000000 + (int64_t)salt);
    case TYPE_REF: return value_ref((struct ref){ salt + 1, 77 });
    case TYPE_ENUM: return value_string(type->e->values[type->e->n - 1]);
    case TYPE_SET:
        return value_set(memcpy(arena_new_array(a, struct value, 1),
                                &(struct value[]){ some_value(a, type->elem, salt) }, sizeof(struct value)),
                         1);
    case TYPE_MAP: {
        struct value key = some_value(a, type->key, salt);
        const char *text = type->key->kind == TYPE_INT ? "42" : type->key->kind == TYPE_REF ?
                           ref_text(key.ref, arena_alloc(a, REF_TEXT)) : key.s;
        struct member *m = arena_new_array(a, struct member, 2);
        m[0] = (struct member){ text, some_value(a, type->elem, salt) };
        m[1] = (struct member){ type->key->kind == TYPE_STRING ? "" : "43",
                                some_value(a, type->elem, salt + 1) };
        return value_map(m, type->key->kind == TYPE_STRING || type->key->kind == TYPE_INT ? 2 : 1);
    }
    case TYPE_VOID:
    case TYPE_RECORD:
    case TYPE_OPTION:
    case TYPE_BATCH: break;
    }
    fail_msg("no stored field should be of type %s", type->text);
    return value_void();
}

/* Whether a new reference in this field must exist: one with a back-reference. */
static bool has_inverse(const struct field_desc *f)
{
    for (unsigned c = 0; c < model.n_classes; c++)
        for (unsigned i = 0; i < model.classes[c].n_fields; i++)
            if (model.classes[c].fields[i].inverse == f->id) return true;
    return false;
}

static void every_persistent_field_comes_back_and_no_volatile_one(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct db *db = open_sqlite(path);
    struct ref refs[N_CLASSES] = { REF_NULL };
    struct value want[N_CLASSES][128];

    for (unsigned c = 0; c < model.n_classes; c++) {
        if (!model.classes[c].stored) continue;
        struct txn *t = db_begin(db);
        txn_create(t, (enum class_id)c, refs[c] = ref_new());
        for (unsigned i = 0; i < model.classes[c].n_fields; i++) {
            const struct field_desc *f = &model.classes[c].fields[i];
            want[c][i] = some_value(a, f->type, i);
            if (f->inverse || has_inverse(f)) want[c][i] = f->default_value;
            if (!f->inverse) txn_set_field(t, refs[c], f->id, &want[c][i]);
            if (!f->persistent) want[c][i] = f->default_value;
        }
        commit_ok(t);
    }
    db_close(db);
    for (int reopened = 0; reopened < 2; reopened++) {
        db = open_sqlite(path);
        struct snap *s = db_snap(db);
        for (unsigned c = 0; c < model.n_classes; c++) {
            bool kept = model.classes[c].stored && kind_is_stored(&s->kinds->kinds[c]);
            const struct row *row = snap_get(s, (enum class_id)c, refs[c]);
            assert_int_equal(row != NULL, kept);
            for (unsigned i = 0; row && i < model.classes[c].n_fields; i++) {
                struct value got = row_field_value(row, &model.classes[c].fields[i], a);
                if (!value_eq(&got, &want[c][i]))
                    fail_msg("%s.%s came back differently", model.classes[c].name,
                             model.classes[c].fields[i].name);
            }
        }
        snap_unref(s);
        db_close(db);
    }
}

static void single_changes_and_special_numbers_come_back(void **state _unused_)
{
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM), host = make(db, CLASS_host), vbd = make(db, CLASS_VBD);
    const double numbers[] = { (double)NAN, (double)INFINITY, -(double)INFINITY, 5e-324, -0.0, 0.1 };
    struct value v;
    struct xerr err = XERR_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        v = value_float(numbers[i]);
        assert_ok(db_set_field(db, vm, F_VM_HVM_shadow_multiplier, &v, &err), &err);
        struct txn *t = db_begin(db);
        txn_set_ref(t, vm, F_VM_resident_on, host);
        txn_set_ref(t, vbd, F_VBD_VM, vm);
        txn_map_put_str(t, vm, F_VM_other_config, "round", i % 2 ? "odd" : "even");
        txn_set_enum(t, vm, F_VM_power_state, i % 2 ? vm_power_state_Running : vm_power_state_Paused);
        commit_ok(t);
        db_close(db);
        db = open_sqlite(path);
        struct snap *s = db_snap(db);
        const struct row *row = snap_get(s, CLASS_VM, vm);
        double d = row_float(row, F_VM_HVM_shadow_multiplier);
        assert_true(isnan(numbers[i]) ? isnan(d) : d == numbers[i]);
        assert_string_equal(row_map_str(row, F_VM_other_config, "round", ""), i % 2 ? "odd" : "even");
        assert_int_equal(row_enum(row, F_VM_power_state),
                         i % 2 ? vm_power_state_Running : vm_power_state_Paused);
        assert_true(
            refset_has(row_refs(snap_get(s, CLASS_host, host), F_host_resident_VMs), vm)); /* built anew */
        assert_true(refset_has(row_refs(row, F_VM_VBDs), vbd));
        assert_ptr_equal(snap_by_uuid(s, CLASS_VM, row_uuid(row)), row);
        snap_unref(s);
    }
    struct txn *t = db_begin(db);
    txn_destroy(t, CLASS_VM, vm);
    commit_ok(t);
    db_close(db);
    db = open_sqlite(path);
    struct snap *s = db_snap(db);
    assert_null(snap_get(s, CLASS_VM, vm));
    assert_true(ref_is_null(row_ref(snap_get(s, CLASS_VBD, vbd), F_VBD_VM)));
    snap_unref(s);
    db_close(db);
}

/* Puts, removals, whole maps in another order, several in one transaction: the file follows. */
static void a_map_comes_back_after_any_changes(void **state _unused_)
{
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM);
    unsigned seed = 3;

    for (int round = 0; round < 30; round++) {
        _cleanup_arena_ struct arena *a = arena_new();
        for (int i = 0; i < 8; i++) {
            struct txn *t = db_begin(db);
            for (int j = rand_r(&seed) % 9; j >= 0; j--) {
                const char *key = arena_printf(a, "k%d", rand_r(&seed) % 30);
                if (rand_r(&seed) % 3)
                    txn_map_put_str(t, vm, F_VM_other_config, key, arena_printf(a, "%d", rand_r(&seed) % 3));
                else txn_map_remove(t, vm, F_VM_other_config, key);
            }
            if (rand_r(&seed) % 5 == 0) {
                const struct value *map = row_value(snap_get(txn_snap(t), CLASS_VM, vm), F_VM_other_config);
                struct value_builder b = value_builder(a);
                for (size_t m = map->map.n; m-- > 0;)
                    if (rand_r(&seed) % 4)
                        value_put_new(&b, map->map.members[m].key, map->map.members[m].value);
                struct value turned = value_built_map(&b);
                turned = value_copy(a, &turned);
                txn_set_value(t, vm, F_VM_other_config, &turned);
            }
            commit_ok(t);
        }
        struct snap *s = db_snap(db);
        struct value want = row_field_value(snap_get(s, CLASS_VM, vm), model_field(F_VM_other_config), a);
        snap_unref(s);
        db_close(db);
        db = open_sqlite(path);
        s = db_snap(db);
        assert_true(value_eq(row_value(snap_get(s, CLASS_VM, vm), F_VM_other_config), &want));
        snap_unref(s);
    }
    struct txn *t = db_begin(db);
    txn_destroy(t, CLASS_VM, vm);
    commit_ok(t);
    db_close(db);
    assert_int_equal(sql_int("SELECT count(*) FROM _map"), 0);
}

static void a_row_made_anew_under_its_reference_is_stored(void **state _unused_)
{
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM);
    struct txn *t = db_begin(db);

    txn_set_str(t, vm, F_VM_name_label, "old");
    txn_destroy(t, CLASS_VM, vm);
    txn_create(t, CLASS_VM, vm);
    txn_set_str(t, vm, F_VM_name_description, "new");
    commit_ok(t);
    db_close(db);
    db = open_sqlite(path);
    struct snap *s = db_snap(db);
    assert_int_equal(snap_count(s, CLASS_VM), 1);
    assert_string_equal(row_str(snap_get(s, CLASS_VM, vm), F_VM_name_label), "");
    assert_string_equal(row_str(snap_get(s, CLASS_VM, vm), F_VM_name_description), "new");
    snap_unref(s);
    db_close(db);
}

static void the_file_is_private_and_locked(void **state _unused_)
{
    struct db *db = open_sqlite(path);
    struct stat st;
    DIR *dir = opendir(folder);
    struct dirent *e;

    make(db, CLASS_secret);
    while ((e = readdir(dir))) {
        char *file = xasprintf("%s/%s", folder, e->d_name);
        assert_int_equal(stat(file, &st), 0);
        if (*e->d_name != '.') assert_int_equal(st.st_mode & 077, 0);   /* the log beside it too */
        free(file);
    }
    closedir(dir);
    assert_refused("locked");
    db_close(db);
}

static void a_revision_is_never_given_out_twice(void **state _unused_)
{
    uint64_t last = 0;

    for (int boot = 0; boot < 3; boot++) {
        struct db *db = open_sqlite(path);
        struct snap *s = db_snap(db);
        assert_true(snap_token(s).revision >= last);
        last = snap_token(s).revision;
        snap_unref(s);
        for (int i = 0; i < (boot == 1 ? 2100 : 3); i++) {   /* past two reserved blocks */
            make(db, CLASS_secret);
            s = db_snap(db);
            assert_true(snap_token(s).revision > last);
            last = snap_token(s).revision;
            snap_unref(s);
        }
        db_close(db);
    }
}

/* ---- the log beside the file ---- */

static off_t log_bytes(void)
{
    char *log = xasprintf("%s-wal", path);
    struct stat st;

    assert_int_equal(stat(log, &st), 0);
    free(log);
    return st.st_size;
}

/* As after a power cut: what the files say while the daemon still has them open. */
static void assert_copy_has(struct ref vm, const char *key)
{
    char *was = path, *copy = xasprintf("%s/copy.db", folder),
         *command = xasprintf("cp %s %s && cp %s-wal %s-wal", path, copy, path, copy);

    assert_int_equal(system(command), 0);
    path = copy;
    struct db *db = open_sqlite(path);
    struct snap *s = db_snap(db);
    const char *value = value_get_str(row_value(snap_get(s, CLASS_VM, vm), F_VM_other_config), key, NULL);
    assert_non_null(value);
    snap_unref(s);
    db_close(db);
    path = was;
    free(copy);
    free(command);
}

static void put_text(struct db *db, struct ref vm, const char *key, const char *text)
{
    struct txn *t = db_begin(db);

    txn_map_put_str(t, vm, F_VM_other_config, key, text);
    commit_ok(t);
}

static void the_log_is_written_ahead_and_starts_again(void **state _unused_)
{
    enum { BIG = 3 << 20, LIMIT = 16 << 20 };
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM);
    char *big = xcalloc(BIG + 1, 1), key[32];
    off_t before = 0, most = 0;

    put_text(db, vm, "first", "1");
    before = log_bytes();
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "small%d", i);
        put_text(db, vm, key, "x");
    }
    assert_int_equal(log_bytes(), before);   /* no commit of these made the file longer */
    assert_copy_has(vm, "small19");

    memset(big, 'b', BIG);
    for (int i = 0; i < 12; i++) {           /* more than twice what is kept before it is copied back */
        big[0] = (char)('a' + i);
        put_text(db, vm, "big", big);
        if (log_bytes() > most) most = log_bytes();
    }
    assert_in_range(most, LIMIT, LIMIT + BIG + BIG / 2);
    put_text(db, vm, "last", "1");
    assert_copy_has(vm, "last");
    assert_in_range(log_bytes(), before, LIMIT + BIG + BIG / 2);
    free(big);
    db_close(db);
}

/* ---- other versions of the schema ---- */

static void load_fixture(const char *name)
{
    const char *source = getenv("XAPI_SOURCE");
    char *file = xasprintf("%s/tests/schema/fixtures/%s", source ? source : ".", name), *text = NULL;

    assert_int_equal(read_file(file, 1 << 20, &text, NULL), 0);
    sql(text);
    free(text);
    free(file);
}

static void the_first_schema_is_upgraded(void **state _unused_)
{
    load_fixture("db-1.sql");
    struct db *db = open_sqlite(path);
    struct snap *s = db_snap(db);
    const struct row *vm = snap_by_uuid(s, CLASS_VM, "11111111-2222-4333-8444-555555555555");
    const struct row *host = snap_by_uuid(s, CLASS_host, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee");

    assert_non_null(vm);
    assert_non_null(host);
    assert_string_equal(row_str(vm, F_VM_name_label), "web's \"first\"");
    assert_int_equal(row_enum(vm, F_VM_power_state), vm_power_state_Running);
    assert_string_equal(row_map_str(vm, F_VM_other_config, "folder", ""), "/a/b");
    assert_int_equal(row_int(vm, F_VM_memory_static_max), 1073741824);
    assert_true(refset_has(row_refs(host, F_host_resident_VMs), row_ref_of(vm)));
    /* Columns that the old file did not have hold the schema's defaults. */
    _cleanup_arena_ struct arena *a = arena_new();
    for (unsigned i = 0; i < model.classes[CLASS_host].n_fields; i++) {
        const struct field_desc *f = &model.classes[CLASS_host].fields[i];
        struct value v = row_field_value(host, f, a);
        if (f->persistent && !f->inverse && f->id != F_host_uuid && f->id != F_host_name_label)
            if (!value_eq(&v, &f->default_value)) fail_msg("host.%s", f->name);
    }
    assert_true(snap_token(s).revision >= 1000);
    assert_int_equal(snap_token(s).stamp >> EPOCH_SHIFT, 4);   /* the fixture's epoch was 3 */
    snap_unref(s);
    make(db, CLASS_VDI);   /* a table that it did not have */
    db_close(db);
    assert_int_equal(sql_int("SELECT count(*) FROM sqlite_schema WHERE name = 'dinosaur'"), 0);
    assert_int_equal(sql_int("SELECT count(*) FROM pragma_table_info('VM') WHERE name = 'extinct'"), 0);
    assert_int_equal(sql_int("PRAGMA user_version"), SCHEMA_VERSION);
    assert_int_equal(sql_int("SELECT count(*) FROM VDI"), 1);
    assert_int_equal(sql_int("SELECT count(*) FROM _map WHERE field = 'bones' OR class = 'dinosaur'"), 0);
}

/* A daemon that is older than its file must know so: every change of what is stored needs a new number. */
static void the_schema_version_goes_with_the_model(void **state _unused_)
{
    const char *source = getenv("XAPI_SOURCE");
    char *file = xasprintf("%s/tests/schema/db-version.tsv", source ? source : "."), *text = NULL;
    char *want = xasprintf("%d\t%016llx\n", SCHEMA_VERSION, (unsigned long long)schema_fingerprint());

    if (getenv("REGENERATE")) assert_int_equal(write_file_atomic(file, want, strlen(want), 0644), 0);
    assert_int_equal(read_file(file, 4096, &text, NULL), 0);
    if (!streq(text, want))
        fail_msg(
            "what is stored has changed: raise SCHEMA_VERSION in db/store_sqlite.h unless it was never "
            "released, then run this with REGENERATE=1");
    free(text);
    free(want);
    free(file);
}

static void a_newer_schema_is_refused(void **state _unused_)
{
    db_close(open_sqlite(path));
    sql("PRAGMA user_version = 999");
    assert_refused("schema 999 is newer");
    assert_int_equal(sql_int("PRAGMA user_version"), 999);   /* untouched */
}

static void a_file_of_something_else_is_refused(void **state _unused_)
{
    sql("CREATE TABLE recipes (soup TEXT); INSERT INTO recipes VALUES ('onion')");
    assert_refused("not a database of xapi");
    assert_int_equal(sql_int("SELECT count(*) FROM recipes"), 1);
    assert_int_equal(
        write_file_atomic(path, "this is text, and long enough to be no SQLite header", 52, 0600), 0);
    assert_refused("not a database");
}

static void a_missing_folder_is_named(void **state _unused_)
{
    char *old = path;

    path = xasprintf("%s/no/such/state.db", folder);
    assert_refused("No such file");
    free(path);
    path = old;
}

/* ---- damage ---- */

static char *check(bool repair, int want)
{
    struct xerr err = XERR_INIT;
    struct strbuf report = STRBUF_INIT;
    struct store *store = NULL;

    assert_ok(store_open_sqlite(path, &store, &err), &err);
    int n = db_check(store, repair, &report, &err);
    store_close(store);
    if (n != want) fail_msg("%d problems, not %d:\n%s", n, want, strbuf_cstr(&report));
    return strbuf_take(&report);
}

static void assert_reported(const char *report, const char *what)
{
    if (!strstr(report, what)) fail_msg("no '%s' in:\n%s", what, report);
}

static void damage_is_found_and_mended(void **state _unused_)
{
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM), orphan = make(db, CLASS_VM), sr = make(db, CLASS_SR), vdi = ref_new();
    struct ref vbd = ref_new(), metrics = make(db, CLASS_VM_metrics),
               good_metrics = make(db, CLASS_VM_metrics);
    struct txn *t = db_begin(db);

    txn_create(t, CLASS_VBD, vbd);
    txn_set_ref(t, vbd, F_VBD_VM, orphan);
    txn_create(t, CLASS_VDI, vdi);
    txn_set_ref(t, vdi, F_VDI_SR, sr);
    txn_set_ref(t, vm, F_VM_metrics, good_metrics);
    txn_set_str(t, vm, F_VM_name_label, "kept");
    commit_ok(t);
    db_close(db);
    free(check(false, 1));   /* the metrics that belong to nobody */
    sql("DELETE FROM VM WHERE name_label = '';"                                      /* VBD without VM */
        "UPDATE VM SET power_state = 'Sleeping', affinity = x'000102030405060708090a0b0c0d0e0f',"
        "  snapshot_of = _ref;"
        "INSERT INTO _map SELECT 'VM', _id, 'blobs', 'k', 'no reference', 0 FROM VM;"
        "UPDATE VDI SET uuid = ''");
    sql("CREATE TEMP TABLE again AS SELECT * FROM SR;"
        "UPDATE again SET _id = _id + 1000, _ref = x'00000000000000000000000000000001';"
        "INSERT INTO SR SELECT * FROM again");
    sql("CREATE TEMP TABLE again AS SELECT * FROM VDI; UPDATE again SET _id = _id + 1000;"
        "INSERT INTO VDI SELECT * FROM again");

    char *plan = check(false, 9);
    assert_reported(plan, "field power_state is unreadable: Sleeping");
    assert_reported(plan, "field blobs is unreadable at key k: no reference");
    assert_reported(
        plan, "field affinity refers to host OpaqueRef:00010203-0405-0607-0809-0a0b0c0d0e0f, which does not");
    assert_reported(plan, "field snapshot_of refers to the object itself");
    assert_reported(plan, "belongs to no VM (field VM is");
    assert_reported(plan, "VM_metrics");
    assert_reported(plan, "has no uuid");
    assert_reported(plan, "it gets a new one");
    assert_reported(plan, "is there twice");
    free(plan);
    free(check(false, 9));   /* a plan changes nothing */
    free(check(true, 9));
    free(check(false, 0));

    db = open_sqlite(path);
    struct snap *s = db_snap(db);
    const struct row *row = snap_get(s, CLASS_VM, vm);
    assert_string_equal(row_str(row, F_VM_name_label), "kept");
    assert_int_equal(row_enum(row, F_VM_power_state), vm_power_state_Halted);
    assert_true(ref_is_null(row_ref(row, F_VM_affinity)) && ref_is_null(row_ref(row, F_VM_snapshot_of)));
    assert_null(snap_get(s, CLASS_VBD, vbd));
    assert_null(snap_get(s, CLASS_VM_metrics, metrics));
    assert_non_null(snap_get(s, CLASS_VM_metrics, good_metrics));
    assert_non_null(snap_get(s, CLASS_VDI, vdi));
    assert_int_equal(snap_count(s, CLASS_VDI), 1);
    assert_int_equal(snap_count(s, CLASS_SR), 2);
    snap_unref(s);
    db_close(db);
}

static void a_doubled_row_stops_the_start(void **state _unused_)
{
    struct xerr err = XERR_INIT;
    struct store *store = NULL;
    struct db *db = open_sqlite(path);

    make(db, CLASS_secret);
    db_close(db);
    sql("CREATE TEMP TABLE again AS SELECT * FROM secret; UPDATE again SET _id = 99;"
        "INSERT INTO secret SELECT * FROM again");
    assert_ok(store_open_sqlite(path, &store, &err), &err);
    assert_int_equal(db_open(store, &db, &err), -1);
    assert_non_null(strstr(err.params[0], "twice"));
    xerr_clear(&err);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
UNIT_MAIN(T(every_persistent_field_comes_back_and_no_volatile_one),
          T(single_changes_and_special_numbers_come_back), T(a_map_comes_back_after_any_changes),
          T(a_row_made_anew_under_its_reference_is_stored), T(the_file_is_private_and_locked),
          T(a_revision_is_never_given_out_twice), T(the_log_is_written_ahead_and_starts_again), T(the_first_schema_is_upgraded),
          T(the_schema_version_goes_with_the_model), T(a_newer_schema_is_refused),
          T(a_file_of_something_else_is_refused), T(a_missing_folder_is_named), T(damage_is_found_and_mended),
          T(a_doubled_row_stops_the_start))
