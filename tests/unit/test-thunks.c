/* From normalized arguments to a class function and back: the functions here stand for class files.
 * Called by: make check.  Calls: gen/thunks. */
#include "unit.h"

#include "gen/errors.h"
#include "gen/methods.h"
#include "gen/thunks.c" /* of libgen.a no part, so that programs without class files can be linked */

static struct {
    struct ref vm;
    bool start_paused, force;
    enum on_crash_behaviour action;
    uint64_t purposes;
    const char *text;
    double ratio;
    const struct value *map;
} got;

static const struct ref REF = { 1, 2 };

static int run(const char *method, const struct value *args, struct value *ret, struct xerr *err)
{
    const struct method_desc *m = model_method(method);
    return m->thunk(NULL, args, ret, err);
}

int vm_start(struct call *c, struct ref vm, bool start_paused, bool force, struct xerr *err)
{
    (void)c;
    if (force) return xerr_vm_bad_power_state(err, REF_STR(vm), "halted", "running");
    got.vm = vm;
    got.start_paused = start_paused;
    got.force = force;
    return 0;
}

int vm_set_actions_after_crash(struct call *c, struct ref self, enum on_crash_behaviour value,
                               struct xerr *err)
{
    (void)c, (void)self, (void)err;
    got.action = value;
    return 0;
}

int pool_install_trusted_certificate(struct call *c, struct ref self, bool ca, const char *cert,
                                     uint64_t purpose, struct xerr *err)
{
    (void)c, (void)self, (void)ca, (void)err;
    got.text = cert;
    got.purposes = purpose;
    return 0;
}

int vm_set_HVM_shadow_multiplier(struct call *c, struct ref self, double value, struct xerr *err)
{
    (void)c, (void)self, (void)err;
    got.ratio = value;
    return 0;
}

int network_create(struct call *c, const struct value *args, struct ref *ret_result, struct xerr *err)
{
    (void)c, (void)err;
    got.map = args;
    *ret_result = REF;
    return 0;
}

int host_get_server_localtime(struct call *c, struct ref host, int64_t *ret_result, struct xerr *err)
{
    (void)c, (void)host, (void)err;
    *ret_result = 86400;
    return 0;
}

int pool_update_precheck(struct call *c, struct ref self, struct ref host, enum livepatch_status *ret_result,
                         struct xerr *err)
{
    (void)c, (void)self, (void)host, (void)err;
    *ret_result = livepatch_status_ok_livepatch_incomplete;
    return 0;
}

static bool has_function(const struct method_desc *m)
{
    return m->explicit_message || m->kind == METHOD_SET || m->kind == METHOD_ADD ||
           m->kind == METHOD_REMOVE || m->kind == METHOD_CREATE || m->kind == METHOD_DESTROY;
}

static void every_function_has_a_thunk(void **state)
{
    (void)state;
    for (const struct method_desc *m = model.methods; m->name; m++)
        assert_int_equal(m->thunk != NULL, has_function(m));
}

static void arguments_arrive(void **state)
{
    (void)state;
    struct xerr err = XERR_INIT;
    struct value ret = value_int(1);
    const struct value args[] = { value_ref(REF), value_bool(true), value_bool(false) };
    assert_int_equal(run("VM.start", args, &ret, &err), 0);
    assert_true(ref_eq(got.vm, REF) && got.start_paused && !got.force);
    assert_int_equal(ret.kind, VALUE_VOID);

    const struct value shadow[] = { value_ref(REF), value_float(1.5) };
    assert_int_equal(run("VM.set_HVM_shadow_multiplier", shadow, &ret, &err), 0);
    assert_true(got.ratio > 1.4 && got.ratio < 1.6);

    const struct value record = value_map(NULL, 0);
    assert_int_equal(run("network.create", &record, &ret, &err), 0);
    assert_ptr_equal(got.map, &record);
    assert_true(ret.kind == VALUE_REF && ref_eq(ret.ref, REF));
}

static void enumerations_become_c(void **state)
{
    (void)state;
    struct xerr err = XERR_INIT;
    struct value ret;
    struct value args[] = { value_ref(REF), value_string("preserve") };
    assert_int_equal(run("VM.set_actions_after_crash", args, &ret, &err), 0);
    assert_int_equal(got.action, on_crash_behaviour_preserve);
    args[1] = value_string("explode");
    assert_int_equal(run("VM.set_actions_after_crash", args, &ret, &err), -1);
    assert_true(xerr_is(&err, "FIELD_TYPE_ERROR"));
    assert_string_equal(err.params[0], "value");
    xerr_clear(&err);

    const struct value purposes[] = { value_string("ldaps") };
    struct value install[] = { value_ref(REF), value_bool(true), value_string("pem"),
                               value_set(purposes, 1) };
    assert_int_equal(run("pool.install_trusted_certificate", install, &ret, &err), 0);
    assert_int_equal(got.purposes, 1u << certificate_purpose_ldaps);
    assert_string_equal(got.text, "pem");
    install[3] = value_set(NULL, 0);
    assert_int_equal(run("pool.install_trusted_certificate", install, &ret, &err), 0);
    assert_int_equal(got.purposes, 0);
}

static void results_become_values(void **state)
{
    (void)state;
    struct xerr err = XERR_INIT;
    struct value ret;
    const struct value args[] = { value_ref(REF), value_ref(REF) };
    assert_int_equal(run("pool_update.precheck", args, &ret, &err), 0);
    assert_string_equal(ret.s, "ok_livepatch_incomplete");
    assert_int_equal(run("host.get_server_localtime", args, &ret, &err), 0);
    assert_true(ret.kind == VALUE_LOCALTIME && ret.i == 86400);
}

static void errors_pass(void **state)
{
    (void)state;
    struct xerr err = XERR_INIT;
    struct value ret = value_int(7);
    const struct value args[] = { value_ref(REF), value_bool(true), value_bool(true) };
    assert_int_equal(run("VM.start", args, &ret, &err), -1);
    assert_true(xerr_is(&err, "VM_BAD_POWER_STATE"));
    assert_int_equal(ret.i, 7);
    xerr_clear(&err);
}

static void what_nobody_wrote_says_so(void **state)
{
    (void)state;
    struct xerr err = XERR_INIT;
    struct value ret;
    const struct value args[] = { value_ref(REF) };
    assert_non_null(model_method("VM.start")->behaviour);
    assert_null(model_method("VM.pause")->behaviour);
    assert_int_equal(run("VM.pause", args, &ret, &err), -1);
    assert_true(xerr_is(&err, "NOT_IMPLEMENTED"));
    assert_string_equal(err.params[0], "VM.pause");
    xerr_clear(&err);
}

UNIT_MAIN(cmocka_unit_test(every_function_has_a_thunk), cmocka_unit_test(arguments_arrive),
          cmocka_unit_test(enumerations_become_c), cmocka_unit_test(results_become_values),
          cmocka_unit_test(errors_pass), cmocka_unit_test(what_nobody_wrote_says_so))
