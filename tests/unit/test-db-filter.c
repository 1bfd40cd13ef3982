/* get_all_records_where's expressions: a table of what matches, of what is refused, and its limits.
 * Called by: make check.  Calls: db. */
#include "tests/unit/db-fixture.h"

static struct db *db;
static struct snap *snapshot;
static const struct row *vm;

static int setup(void **state _unused_)
{
    struct fake_store *store;
    struct ref ref = ref_new(), host = { 0x0a0a0a0a0a0a0a0a, 0x0b0b0b0b0b0b0b0b };
    struct value tag = value_string("it's"), other = value_string("b");

    db = open_fake(&store);
    struct txn *t = db_begin(db);
    txn_create(t, CLASS_host, host);
    txn_create(t, CLASS_VM, ref);
    txn_set_str(t, ref, F_VM_name_label, "say \"hi\" \\o/");
    txn_set_str(t, ref, F_VM_name_description, "and or not");
    txn_set_int(t, ref, F_VM_memory_static_max, -5);
    txn_set_bool(t, ref, F_VM_is_a_template, true);
    txn_set_float(t, ref, F_VM_HVM_shadow_multiplier, 1.5);
    txn_set_time(t, ref, F_VM_snapshot_time, 0);
    txn_set_ref(t, ref, F_VM_resident_on, host);
    txn_set_enum(t, ref, F_VM_power_state, vm_power_state_Running);
    txn_set_bits(t, ref, F_VM_allowed_operations, 1u << vm_operations_snapshot | 1u << vm_operations_clone);
    txn_set_add(t, ref, F_VM_tags, &tag);
    txn_set_add(t, ref, F_VM_tags, &other);
    txn_map_put_str(t, ref, F_VM_other_config, "k", "v");
    txn_map_put_str(t, ref, F_VM_other_config, "k2", "");
    commit_ok(t);
    snapshot = db_snap(db);
    vm = snap_get(snapshot, CLASS_VM, ref);
    return 0;
}

static int teardown(void **state _unused_)
{
    snap_unref(snapshot);
    db_close(db);
    return 0;
}

/* 1 = matches, 0 = does not, -1 = refused. */
static int evaluate(const char *text)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const struct filter *f;

    if (filter_parse(text, &model.classes[CLASS_VM], a, &f, &err) == 0) return filter_match(f, vm);
    assert_string_equal(err.code, "INVALID_VALUE");
    assert_string_equal(err.params[0], "expr");
    assert_true(has_prefix(err.params[1], "position "));
    return -1;
}

static void expressions_have_their_meaning(void **state _unused_)
{
    static const struct { const char *text; int want; } table[] = {
        { "true", 1 },
        { "false", 0 },
        { " ( true ) ", 1 },
        { "not false", 1 },
        { "not not true", 1 },
        { "not(true)", 0 },
        { "TRUE", 1 },
        { "\"a\" = \"a\"", 1 },
        { "\"a\"=\"b\"", 0 },
        { "'a' = \"a\"", 1 },
        /* fields of every kind by their text */
        { "field \"name__label\" = \"say \\\"hi\\\" \\\\o/\"", 1 },
        { "field \"name_label\" = 'say \"hi\" \\\\o/'", 1 },
        { "field \"name__label\" = \"other\"", 0 },
        { "field \"name__description\" = \"and or not\"", 1 },
        { "field \"memory__static_max\" = \"-5\"", 1 },
        { "field \"memory_static_max\" = \"5\"", 0 },
        { "field \"is_a_template\" = \"true\"", 1 },
        { "field \"is_a_template\" = \"false\"", 0 },
        { "field \"HVM__shadow_multiplier\" = \"1.5\"", 1 },
        { "field \"snapshot_time\" = \"19700101T00:00:00Z\"", 1 },
        { "field \"resident_on\" = \"OpaqueRef:0a0a0a0a-0a0a-0a0a-0b0b-0b0b0b0b0b0b\"", 1 },
        { "field \"affinity\" = \"OpaqueRef:NULL\"", 1 },
        { "field \"affinity\" = \"\"", 0 },
        { "field \"power_state\" = \"Running\"", 1 },
        { "field \"power_state\" = \"running\"", 0 },
        { "field \"allowed_operations\" = \"('snapshot' 'clone')\"", 1 },
        { "field \"tags\" = \"('it\\\\'s' 'b')\"", 1 },
        { "field \"VBDs\" = \"()\"", 1 },
        { "field \"other_config\" = \"(('k' 'v') ('k2' ''))\"", 1 },
        { "field \"power_state\" = field \"power_state\"", 1 },
        { "\"Running\" = field \"power_state\"", 1 },
        { "field\"power_state\"=\"Running\"", 1 },
        { "field 'power_state' = 'Running'", 1 },
        /* precedence: = before not before and before or */
        { "not field \"power_state\" = \"Halted\"", 1 },
        { "not false and false", 0 },
        { "not (false and false)", 1 },
        { "true or false and false", 1 },
        { "(true or false) and false", 0 },
        { "false and false or true", 1 },
        { "false or false or true", 1 },
        { "true and true and false", 0 },
        { "(field \"is_a_template\"=\"true\") and (field \"power_state\"=\"Running\")", 1 },
        { "true\nand\r\n\ttrue", 1 },
        /* refused */
        { "", -1 },
        { " ", -1 },
        { "maybe", -1 },
        { "true true", -1 },
        { "(true", -1 },
        { "true)", -1 },
        { "and", -1 },
        { "true and", -1 },
        { "not", -1 },
        { "field", -1 },
        { "field \"x\"", -1 },
        { "field \"nonsense\" = \"1\"", -1 },
        { "\"a\"", -1 },
        { "\"a\" = ", -1 },
        { "\"a\" == \"a\"", -1 },
        { "\"a", -1 },
        { "\"a\\\"", -1 },
        { "field name_label = \"x\"", -1 },
        { "trueish", -1 },
        { "true or or true", -1 },
        { "field \"\" = \"\"", -1 },
        { "\"a\" = \"a\" = \"a\"", -1 },
        { "\xff", -1 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        int got = evaluate(table[i].text);
        if (got != table[i].want) fail_msg("%s: %d, not %d", table[i].text, got, table[i].want);
    }
}

static char *repeat(const char *piece, size_t n, const char *end)
{
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < n; i++) strbuf_str(&b, piece);
    strbuf_str(&b, end);
    return strbuf_take(&b);
}

static void assert_evaluates(char *text, int want)
{
    assert_int_equal(evaluate(text), want);
    free(text);
}

static void depth_and_length_are_limited(void **state _unused_)
{
    assert_evaluates(repeat("not ", 63, "true"), 0);
    assert_evaluates(repeat("not ", 64, "true"), -1);
    assert_evaluates(repeat("(", 63, "true"), -1);   /* not closed */
    assert_evaluates(repeat("(", 100000, ""), -1);
    assert_evaluates(repeat("not ", 16000, "true"), -1);
    assert_evaluates(repeat("true and ", 7000, "true"), 1);    /* long, but flat */
    assert_evaluates(repeat("\"a\"=\"b\" or ", 5000, "true"), 1);
    assert_evaluates(repeat("true and ", 8000, "true"), -1);   /* over 64 KiB */
    assert_evaluates(repeat(" ", 65532, "true"), 1);
    assert_evaluates(repeat(" ", 65533, "true"), -1);
}

static void an_error_names_the_place(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct xerr err = XERR_INIT;
    const struct filter *f;

    assert_int_equal(
        filter_parse("true and field \"colour\" = \"red\"", &model.classes[CLASS_VM], a, &f, &err), -1);
    assert_string_equal(err.params[1], "position 14: class VM has no field colour");
    xerr_clear(&err);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
UNIT_MAIN(T(expressions_have_their_meaning), T(depth_and_length_are_limited), T(an_error_names_the_place))
