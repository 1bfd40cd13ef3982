/* The tables generated from schema/: every lookup finds what it should, every entry hangs together.
 * Called by: make check.  Calls: gen, lib/model. */
#include "unit.h"

#include <strings.h>

#include "gen/errors.h"
#include "gen/http_routes.h"
#include "gen/methods.h"
#include "gen/permissions.h"
#include "gen/templates.h"
#include "gen/xe_fields.h"
#include "lib/ref.h"

static void classes_are_found_by_name(void **state)
{
    (void)state;
    assert_int_equal(model.n_classes, N_CLASSES);
    for (unsigned i = 1; i < model.n_classes; i++) {
        const struct class_desc *c = &model.classes[i];
        assert_int_equal(c->id, i);
        assert_ptr_equal(model_class(c->name), c);
        assert_ptr_equal(model_class_nocase(c->event_name), c);
        assert_int_equal(strcasecmp(c->name, c->event_name), 0);
        assert_true(*c->doc);
        if (c->uuid) assert_string_equal(model_field(c->uuid)->name, "uuid");
        if (c->name_label) assert_string_equal(model_field(c->name_label)->name, "name_label");
    }
    assert_null(model_class("vm"));
    assert_ptr_equal(model_class_nocase("vm"), model_class("VM"));
    assert_null(model_class(""));
    assert_null(model_class_nocase(""));
    assert_null(model_class("VMM"));
}

static void check_field(const struct class_desc *c, const struct field_desc *f)
{
    assert_ptr_equal(model_field(f->id), f);
    assert_ptr_equal(model_field_by_name(c, f->name), f);
    assert_ptr_equal(model_field_by_name(c, f->long_name), f);
    assert_int_equal(field_class(f->id), c->id);
    assert_non_null(f->type);
    assert_true(*f->doc);
    if (f->cell == CELL_BITS) assert_true(f->type->elem->e->n <= 64);
    if (f->type->kind == TYPE_ENUM) assert_true(enum_index(f->type->e, f->default_value.s) >= 0);
    if (f->type->kind == TYPE_REF || f->cell == CELL_REFSET)
        assert_true(f->type->kind == TYPE_REF || f->type->elem->cls > 0);
    if (!f->inverse) return;
    /* A back-reference is a set of references to the class of a field that refers to this class. */
    assert_int_equal(f->cell, CELL_REFSET);
    assert_int_equal(f->type->elem->cls, field_class(f->inverse));
    assert_int_equal(model_field(f->inverse)->cell, CELL_REF);
    assert_int_equal(model_field(f->inverse)->type->cls, c->id);
}

static void fields_are_found_by_id_and_name(void **state)
{
    (void)state;
    unsigned n = 0;
    for (unsigned i = 1; i < model.n_classes; i++)
        for (unsigned k = 0; k < model.classes[i].n_fields; k++, n++)
            check_field(&model.classes[i], &model.classes[i].fields[k]);
    assert_true(n > 900);
    const struct class_desc *vm = model_class("VM");
    assert_int_equal(model_field_by_name(vm, "name__label")->id, F_VM_name_label);
    assert_int_equal(model_field_by_name(vm, "memory__static_max")->id, F_VM_memory_static_max);
    assert_null(model_field_by_name(vm, "memory__static__max"));
    assert_null(model_field_by_name(vm, "no_such_field"));
}

static void defaults_are_values(void **state)
{
    (void)state;
    const struct field_desc *f = model_field(F_VM_generation_id);
    assert_string_equal(f->default_value.s, "0:0");
    f = model_field(F_VM_has_vendor_device);
    assert_int_equal(f->default_value.kind, VALUE_BOOL);
    f = model_field(F_host_license_server);
    assert_int_equal(f->default_value.map.n, 2);
    assert_string_equal(value_get_str(&f->default_value, "port", ""), "27000");
    f = model_field(F_subject_roles);
    assert_int_equal(f->default_value.set.n, 1);
    assert_string_equal(REF_STR(f->default_value.set.items[0].ref),
                        "OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba");
    f = model_field(F_VBD_type); /* no default said: the first of the enumeration */
    assert_string_equal(f->default_value.s, enum_desc_vbd_type.values[0]);
    f = model_field(F_VM_resident_on);
    assert_true(f->default_value.kind == VALUE_REF && ref_is_null(f->default_value.ref));
}

static void enumerations_have_their_c_numbers(void **state)
{
    (void)state;
    for (unsigned i = 0; i < model.n_enums; i++)
        for (unsigned k = 0; k < model.enums[i]->n; k++)
            assert_int_equal(enum_index(model.enums[i], model.enums[i]->values[k]), k);
    assert_int_equal(enum_index(&enum_desc_vm_power_state, "Suspended"), vm_power_state_Suspended);
    assert_int_equal(enum_index(&enum_desc_bond_mode, "active-backup"), bond_mode_active_backup);
    assert_int_equal(enum_index(&enum_desc_vm_power_state, "suspended"), -1);
    assert_int_equal(enum_desc_vm_operations.n, N_vm_operations);
}

static void messages_are_found_by_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < model.n_methods; i++) {
        const struct method_desc *m = &model.methods[i];
        if (i) assert_true(strcmp(model.methods[i - 1].name, m->name) < 0);
        assert_ptr_equal(model_method(m->name), m);
        assert_string_equal(strchr(m->name, '.') + 1, m->message);
        assert_memory_equal(m->name, model.classes[m->cls].name, strlen(model.classes[m->cls].name));
        assert_true(*m->doc);
        assert_true(!m->thunk && !m->behaviour);   /* this program links neither thunks nor class files */
        for (unsigned k = 0; m->errors && m->errors[k]; k++) assert_non_null(model_error(m->errors[k]));
        for (unsigned k = 1; k < m->n_params; k++)
            assert_true(m->params[k].optional || !m->params[k - 1].optional);
        if (m->field_access) assert_true(m->explicit_message && m->field);
        if (m->kind == METHOD_GET) assert_ptr_equal(m->result, model_field(m->field)->type);
    }
    assert_null(model_method("VM.begin"));
    assert_null(model_method("VM"));
    assert_null(model_method(""));
}

static void messages_say_what_they_are(void **state)
{
    (void)state;
    const struct method_desc *m = model_method("VM.start");
    assert_true(m->blocks && m->async && m->session && m->explicit_message);
    assert_int_equal(m->role, ROLE_VM_OPERATOR);
    assert_int_equal(m->n_params, 3);
    assert_false(model_method("session.login_with_password")->session);
    assert_true(model_method("session.login_with_password")->params[1].secret);
    assert_true(model_method("session.get_uuid")->params[0].secret); /* a session's reference opens it */
    assert_false(model_method("event.from")->blocks);
    assert_false(model_method("event.from")->async);
    m = model_method("VM.add_to_other_config");
    assert_true(m->field_access && m->kind == METHOD_ADD && m->field == F_VM_other_config);
    assert_int_equal(model_method("VM.get_all_records_where")->kind, METHOD_GET_ALL_RECORDS_WHERE);
    assert_null(model_method("session.get_all_records"));
    assert_null(model_method("pool.get_by_name_label"));
    assert_int_equal(model_method("host.set_sched_gran")->role, ROLE_LOCAL_ROOT);
    m = model_method("session.login_with_password");
    assert_true(m->params[2].optional);
    assert_string_equal(m->params[2].fallback.s, "");
    assert_int_equal(model_method("network.get_by_name_label")->result->elem->cls, CLASS_network);
}

static void errors_are_found_and_made(void **state)
{
    (void)state;
    for (unsigned i = 0; i < model.n_errors; i++) {
        const struct error_desc *e = &model.errors[i];
        if (i) assert_true(strcmp(model.errors[i - 1].code, e->code) < 0);
        assert_ptr_equal(model_error(e->code), e);
        assert_true(*e->doc);
        for (unsigned k = 0; k < e->n_params; k++) assert_true(*e->params[k]);
    }
    assert_null(model_error("NO_SUCH_ERROR"));

    struct xerr err = XERR_INIT;
    assert_int_equal(xerr_vm_bad_power_state(&err, "OpaqueRef:1", "halted", "running"), -1);
    assert_true(xerr_is(&err, "VM_BAD_POWER_STATE"));
    assert_int_equal(err.n, 3);
    assert_string_equal(err.params[2], "running");
    xerr_clear(&err);
    assert_int_equal(xerr_vm_is_snapshot(&err, 2, (const char *const[]){ "a", "b" }),
                     -1); /* any parameters */
    assert_int_equal(err.n, 2);
    xerr_clear(&err);
}

static void roles_have_their_uuids(void **state)
{
    (void)state;
    struct ref bytes;
    assert_int_equal(model.n_roles, ROLE_READ_ONLY + 1);
    for (unsigned i = 0; i < model.n_roles; i++) assert_true(uuid_from_text(model.roles[i].uuid, &bytes));
    assert_string_equal(model.roles[ROLE_POOL_ADMIN].name, "pool-admin");
    assert_string_equal(model.roles[ROLE_READ_ONLY].name, "read-only");
    assert_true(model.roles[ROLE_CLIENT_CERT].internal);
}

static const struct permission_desc *permission(const char *name)
{
    for (unsigned i = 0; i < N_PERMISSIONS; i++)
        if (streq(permissions[i].name, name)) return &permissions[i];
    return NULL;
}

static void every_message_has_a_permission(void **state)
{
    (void)state;
    for (unsigned i = 0; i < model.n_methods; i++) {
        const struct method_desc *m = &model.methods[i];
        char name[200];
        snprintf(name, sizeof(name), "%s.%s", model.classes[m->cls].event_name, m->message);
        for (char *p = name; *p; p++) *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        const struct permission_desc *p = permission(name);
        if (m->role == ROLE_LOCAL_ROOT) assert_null(p);
        else assert_int_equal(p->role, m->role);
    }
    for (unsigned i = 1; i < N_PERMISSIONS; i++)
        assert_true(strcmp(permissions[i - 1].name, permissions[i].name) < 0);
    assert_int_equal(permission("vm.add_to_other_config/key:folder")->role, ROLE_VM_OPERATOR);
    assert_int_equal(permission("http/put_import")->role, ROLE_VM_ADMIN);
    assert_null(permission("http/get_root"));
}

static void volatile_fields_are_those_that_can_be_lost(void **state)
{
    (void)state;
    for (unsigned i = 1; i < model.n_classes; i++) {
        const struct class_desc *c = &model.classes[i];
        bool metrics = strlen(c->name) > 8 && streq(c->name + strlen(c->name) - 8, "_metrics");
        for (unsigned k = 0; k < c->n_fields; k++) {
            const struct field_desc *f = &c->fields[k];
            if (streq(f->name, "allowed_operations") || streq(f->name, "current_operations"))
                assert_false(f->persistent);
            /* What a client wrote survives a restart, even on an object whose readings do not. */
            else if (metrics && (f->qualifier == QUAL_RW || f->id == c->uuid)) assert_true(f->persistent);
            else if (f->qualifier == QUAL_RW) assert_true(f->persistent);
        }
    }
    assert_false(model_field(F_host_metrics_live)->persistent);
    assert_false(model_field(F_VM_guest_metrics_networks)->persistent);
    assert_false(model_field(F_task_progress)->persistent);
    assert_true(model_field(F_VM_power_state)->persistent);
    assert_true(model_field(F_VM_metrics_start_time)->persistent);
}

static void command_line_fields_name_model_fields(void **state)
{
    (void)state;
    for (const struct xe_record *r = xe_records; r->name; r++)
        for (unsigned i = 0; i < r->n_fields; i++) {
            const struct xe_field *f = &r->fields[i];
            if (f->field) assert_int_equal(field_class(f->field), r->cls);
            if (!f->through) continue;
            assert_int_equal(model_field(f->field)->type->kind, TYPE_REF);
            assert_int_equal(model_field(f->field)->type->cls, field_class(f->through));
        }
}

static void templates_and_routes_are_whole(void **state)
{
    (void)state;
    struct ref bytes;
    const struct guest_template *other = NULL;
    for (const struct guest_template *t = guest_templates; t->uuid; t++) {
        assert_true(uuid_from_text(t->uuid, &bytes));
        assert_true(t->min_memory_bytes > 0 && t->max_memory_bytes >= t->min_memory_bytes);
        assert_true(t->vcpus > 0 && t->vcpus_max >= t->vcpus);
        if (streq(t->name_label, "Other install media")) other = t;
    }
    assert_int_equal(other->min_memory_bytes, 128 << 20);
    for (const struct http_route_desc *r = http_routes; r->path; r++) {
        assert_true(r->path[0] == '/' || streq(r->path, "*"));
        assert_true(has_prefix(r->permission, "http/"));
    }
}

UNIT_MAIN(cmocka_unit_test(classes_are_found_by_name), cmocka_unit_test(fields_are_found_by_id_and_name),
          cmocka_unit_test(defaults_are_values), cmocka_unit_test(enumerations_have_their_c_numbers),
          cmocka_unit_test(messages_are_found_by_name), cmocka_unit_test(messages_say_what_they_are),
          cmocka_unit_test(errors_are_found_and_made), cmocka_unit_test(roles_have_their_uuids),
          cmocka_unit_test(every_message_has_a_permission),
          cmocka_unit_test(volatile_fields_are_those_that_can_be_lost),
          cmocka_unit_test(command_line_fields_name_model_fields),
          cmocka_unit_test(templates_and_routes_are_whole))
