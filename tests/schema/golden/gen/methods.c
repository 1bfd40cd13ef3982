/* The table of messages. Thunks and class functions are weak: a program without them gets NULL.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/methods.h"

#pragma weak thing_add_tags
int thunk_thing_add_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_add_to_other_config
int thunk_thing_add_to_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_create
int thunk_thing_create(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_destroy
int thunk_thing_destroy(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_register
int thunk_thing_register(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_remove_from_other_config
int thunk_thing_remove_from_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_remove_tags
int thunk_thing_remove_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_set_code
int thunk_thing_set_code(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_set_good
int thunk_thing_set_good(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_set_name_label
int thunk_thing_set_name_label(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_set_other_config
int thunk_thing_set_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_set_ratio
int thunk_thing_set_ratio(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_set_size
int thunk_thing_set_size(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_set_tags
int thunk_thing_set_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_start
int thunk_thing_start(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak thing_when
int thunk_thing_when(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;
#pragma weak event_from
int thunk_event_from(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err) _weak_;

static const struct param_desc params_Box_get_by_uuid[] = {
    { "uuid", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Box_get_record[] = {
    { "self", &type_descs[10], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Box_get_things[] = {
    { "self", &type_descs[10], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Box_get_uuid[] = {
    { "self", &type_descs[10], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_add_tags[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_add_to_other_config[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "key", &type_descs[0], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_create[] = {
    { "args", &type_descs[19], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_destroy[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_all_records_where[] = {
    { "expr", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_born[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_box[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_by_name_label[] = {
    { "label", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_by_uuid[] = {
    { "uuid", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_code[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_good[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_memory_max[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_name_label[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_note[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_old[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_other_config[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_ports[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_ratio[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_record[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_size[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_state[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_states[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_tags[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_get_uuid[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_register[] = {
    { "default", &type_descs[0], false, { .kind = VALUE_VOID }, false },
    { "int", &type_descs[17], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_remove_from_other_config[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "key", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_remove_tags[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_set_code[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[0], false, { .kind = VALUE_VOID }, true },
};
static const struct param_desc params_Thing_set_good[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[8], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_set_name_label[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[0], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_set_other_config[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[13], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_set_ratio[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[7], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_set_size[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[6], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_set_tags[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "value", &type_descs[11], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_Thing_start[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
    { "force", &type_descs[8], true, { .kind = VALUE_BOOL, .b = false }, false },
    { "state", &type_descs[4], true, { .kind = VALUE_STRING, .s = "Idle", .len = 4 }, false },
    { "set", &type_descs[5], true, { .kind = VALUE_SET }, false },
};
static const char *const errors_Thing_start[] = { "THING_BAD_STATE", NULL };
static const struct param_desc params_Thing_when[] = {
    { "self", &type_descs[1], false, { .kind = VALUE_VOID }, false },
};
static const struct param_desc params_event_from[] = {
    { "classes", &type_descs[11], false, { .kind = VALUE_VOID }, false },
};

const struct method_desc method_descs[] = {
    { "Box.get_by_uuid", "get_by_uuid", CLASS_Box, METHOD_GET_BY_UUID, 0,
      .session = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Box_get_by_uuid, .result = &type_descs[10],
      .doc = "The Box that has this uuid." },
    { "Box.get_record", "get_record", CLASS_Box, METHOD_GET_RECORD, 0,
      .session = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Box_get_record, .result = &type_descs[18],
      .doc = "Every field of this Box." },
    { "Box.get_things", "get_things", CLASS_Box, METHOD_GET, F_Box_things,
      .session = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Box_get_things, .result = &type_descs[2],
      .doc = "The field things of this Box." },
    { "Box.get_uuid", "get_uuid", CLASS_Box, METHOD_GET, F_Box_uuid,
      .session = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Box_get_uuid, .result = &type_descs[0],
      .doc = "The field uuid of this Box." },
    { "Thing.add_tags", "add_tags", CLASS_Thing, METHOD_ADD, F_Thing_tags,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_add_tags, .result = &type_descs[16],
      .thunk = thunk_thing_add_tags, .behaviour = (const void *)thing_add_tags,
      .doc = "Adds one value to the field tags of this Thing; nothing happens when it is there." },
    { "Thing.add_to_other_config", "add_to_other_config", CLASS_Thing, METHOD_ADD, F_Thing_other_config,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 3, .params = params_Thing_add_to_other_config, .result = &type_descs[16],
      .thunk = thunk_thing_add_to_other_config, .behaviour = (const void *)thing_add_to_other_config,
      .doc = "Adds a key that is not there yet to the field other_config of this Thing." },
    { "Thing.create", "create", CLASS_Thing, METHOD_CREATE, 0,
      .session = true, .blocks = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_create, .result = &type_descs[1],
      .thunk = thunk_thing_create, .behaviour = (const void *)thing_create,
      .doc = "Makes a new Thing from a record; members that are left out get their default." },
    { "Thing.destroy", "destroy", CLASS_Thing, METHOD_DESTROY, 0,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_destroy, .result = &type_descs[16],
      .thunk = thunk_thing_destroy, .behaviour = (const void *)thing_destroy,
      .doc = "Destroys this Thing." },
    { "Thing.get_all", "get_all", CLASS_Thing, METHOD_GET_ALL, 0,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .result = &type_descs[2],
      .doc = "Every Thing the system knows." },
    { "Thing.get_all_records", "get_all_records", CLASS_Thing, METHOD_GET_ALL_RECORDS, 0,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .result = &type_descs[20],
      .doc = "Every Thing with its record." },
    { "Thing.get_all_records_where", "get_all_records_where", CLASS_Thing, METHOD_GET_ALL_RECORDS_WHERE, 0,
      .session = true, .async = true, .internal = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_all_records_where, .result = &type_descs[20],
      .doc = "Every Thing whose fields satisfy an expression, with its record." },
    { "Thing.get_born", "get_born", CLASS_Thing, METHOD_GET, F_Thing_born,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_born, .result = &type_descs[9],
      .doc = "The field born of this Thing." },
    { "Thing.get_box", "get_box", CLASS_Thing, METHOD_GET, F_Thing_box,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_box, .result = &type_descs[10],
      .doc = "The field box of this Thing." },
    { "Thing.get_by_name_label", "get_by_name_label", CLASS_Thing, METHOD_GET_BY_NAME_LABEL, 0,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_by_name_label, .result = &type_descs[2],
      .doc = "Every Thing that has this name." },
    { "Thing.get_by_uuid", "get_by_uuid", CLASS_Thing, METHOD_GET_BY_UUID, 0,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_by_uuid, .result = &type_descs[1],
      .doc = "The Thing that has this uuid." },
    { "Thing.get_code", "get_code", CLASS_Thing, METHOD_GET, F_Thing_code,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_code, .result = &type_descs[0],
      .doc = "The field code of this Thing." },
    { "Thing.get_good", "get_good", CLASS_Thing, METHOD_GET, F_Thing_good,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_good, .result = &type_descs[8],
      .doc = "The field good of this Thing." },
    { "Thing.get_memory_max", "get_memory_max", CLASS_Thing, METHOD_GET, F_Thing_memory_max,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_memory_max, .result = &type_descs[6],
      .doc = "The field memory_max of this Thing." },
    { "Thing.get_name_label", "get_name_label", CLASS_Thing, METHOD_GET, F_Thing_name_label,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_name_label, .result = &type_descs[0],
      .doc = "The field name_label of this Thing." },
    { "Thing.get_note", "get_note", CLASS_Thing, METHOD_GET, F_Thing_note,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_note, .result = &type_descs[14],
      .doc = "The field note of this Thing." },
    { "Thing.get_old", "get_old", CLASS_Thing, METHOD_GET, F_Thing_old,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_REMOVED,
      .n_params = 1, .params = params_Thing_get_old, .result = &type_descs[0],
      .doc = "The field old of this Thing." },
    { "Thing.get_other_config", "get_other_config", CLASS_Thing, METHOD_GET, F_Thing_other_config,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_other_config, .result = &type_descs[13],
      .doc = "The field other_config of this Thing." },
    { "Thing.get_ports", "get_ports", CLASS_Thing, METHOD_GET, F_Thing_ports,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_ports, .result = &type_descs[12],
      .doc = "The field ports of this Thing." },
    { "Thing.get_ratio", "get_ratio", CLASS_Thing, METHOD_GET, F_Thing_ratio,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_ratio, .result = &type_descs[7],
      .doc = "The field ratio of this Thing." },
    { "Thing.get_record", "get_record", CLASS_Thing, METHOD_GET_RECORD, 0,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_record, .result = &type_descs[19],
      .doc = "Every field of this Thing." },
    { "Thing.get_size", "get_size", CLASS_Thing, METHOD_GET, F_Thing_size,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_size, .result = &type_descs[6],
      .doc = "The field size of this Thing." },
    { "Thing.get_state", "get_state", CLASS_Thing, METHOD_GET, F_Thing_state,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_state, .result = &type_descs[4],
      .doc = "The field state of this Thing." },
    { "Thing.get_states", "get_states", CLASS_Thing, METHOD_GET, F_Thing_states,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_states, .result = &type_descs[5],
      .doc = "The field states of this Thing." },
    { "Thing.get_tags", "get_tags", CLASS_Thing, METHOD_GET, F_Thing_tags,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_tags, .result = &type_descs[11],
      .doc = "The field tags of this Thing." },
    { "Thing.get_uuid", "get_uuid", CLASS_Thing, METHOD_GET, F_Thing_uuid,
      .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_get_uuid, .result = &type_descs[0],
      .doc = "The field uuid of this Thing." },
    { "Thing.register", "register", CLASS_Thing, METHOD_CUSTOM, 0,
      .explicit_message = true, .async = true, .internal = true, .role = ROLE_LOCAL_ROOT, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_register, .result = &type_descs[4],
      .thunk = thunk_thing_register, .behaviour = (const void *)thing_register,
      .doc = "A message whose parameters are named like C keywords." },
    { "Thing.remove_from_other_config", "remove_from_other_config", CLASS_Thing, METHOD_REMOVE, F_Thing_other_config,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_remove_from_other_config, .result = &type_descs[16],
      .thunk = thunk_thing_remove_from_other_config, .behaviour = (const void *)thing_remove_from_other_config,
      .doc = "Removes a key from the field other_config of this Thing; nothing happens when it is not there." },
    { "Thing.remove_tags", "remove_tags", CLASS_Thing, METHOD_REMOVE, F_Thing_tags,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_remove_tags, .result = &type_descs[16],
      .thunk = thunk_thing_remove_tags, .behaviour = (const void *)thing_remove_tags,
      .doc = "Removes one value from the field tags of this Thing; nothing happens when it is not there." },
    { "Thing.set_code", "set_code", CLASS_Thing, METHOD_SET, F_Thing_code,
      .session = true, .async = true, .role = ROLE_POOL_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_set_code, .result = &type_descs[16],
      .thunk = thunk_thing_set_code, .behaviour = (const void *)thing_set_code,
      .doc = "Changes the field code of this Thing." },
    { "Thing.set_good", "set_good", CLASS_Thing, METHOD_SET, F_Thing_good,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_set_good, .result = &type_descs[16],
      .thunk = thunk_thing_set_good, .behaviour = (const void *)thing_set_good,
      .doc = "Changes the field good of this Thing." },
    { "Thing.set_name_label", "set_name_label", CLASS_Thing, METHOD_SET, F_Thing_name_label,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_set_name_label, .result = &type_descs[16],
      .thunk = thunk_thing_set_name_label, .behaviour = (const void *)thing_set_name_label,
      .doc = "Changes the field name_label of this Thing." },
    { "Thing.set_other_config", "set_other_config", CLASS_Thing, METHOD_SET, F_Thing_other_config,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_set_other_config, .result = &type_descs[16],
      .thunk = thunk_thing_set_other_config, .behaviour = (const void *)thing_set_other_config,
      .doc = "Changes the field other_config of this Thing." },
    { "Thing.set_ratio", "set_ratio", CLASS_Thing, METHOD_SET, F_Thing_ratio,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_set_ratio, .result = &type_descs[16],
      .thunk = thunk_thing_set_ratio, .behaviour = (const void *)thing_set_ratio,
      .doc = "Changes the field ratio of this Thing." },
    { "Thing.set_size", "set_size", CLASS_Thing, METHOD_SET, F_Thing_size,
      .explicit_message = true, .field_access = true, .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_set_size, .result = &type_descs[16],
      .thunk = thunk_thing_set_size, .behaviour = (const void *)thing_set_size,
      .doc = "Changes the size." },
    { "Thing.set_tags", "set_tags", CLASS_Thing, METHOD_SET, F_Thing_tags,
      .session = true, .async = true, .role = ROLE_VM_ADMIN, .lifecycle = LIFE_PUBLISHED,
      .n_params = 2, .params = params_Thing_set_tags, .result = &type_descs[16],
      .thunk = thunk_thing_set_tags, .behaviour = (const void *)thing_set_tags,
      .doc = "Changes the field tags of this Thing." },
    { "Thing.start", "start", CLASS_Thing, METHOD_CUSTOM, 0,
      .explicit_message = true, .session = true, .blocks = true, .async = true, .role = ROLE_VM_OPERATOR, .lifecycle = LIFE_PUBLISHED,
      .n_params = 4, .params = params_Thing_start, .result = &type_descs[16],
      .thunk = thunk_thing_start, .behaviour = (const void *)thing_start,
      .errors = errors_Thing_start, .doc = "Starts it." },
    { "Thing.when", "when", CLASS_Thing, METHOD_CUSTOM, 0,
      .explicit_message = true, .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_Thing_when, .result = &type_descs[9],
      .thunk = thunk_thing_when, .behaviour = (const void *)thing_when,
      .doc = "The local time." },
    { "event.from", "from", CLASS_event, METHOD_CUSTOM, 0,
      .explicit_message = true, .session = true, .async = true, .role = ROLE_READ_ONLY, .lifecycle = LIFE_PUBLISHED,
      .n_params = 1, .params = params_event_from, .result = &type_descs[15],
      .thunk = thunk_event_from, .behaviour = (const void *)event_from,
      .doc = "What happened." },
    { .name = NULL },
};
