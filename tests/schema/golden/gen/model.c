/* The tables of the data model, but messages and errors.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/model.h"
#include "gen/errors.h"
#include "gen/methods.h"

static const char *const values_thing_state[] = {
    "Idle",
    "in-use",
};
const struct enum_desc enum_desc_thing_state = { "thing_state", 2, values_thing_state };

static const struct enum_desc *const enums[] = {
    &enum_desc_thing_state,
    NULL,
};

const struct type_desc type_descs[] = {
    { TYPE_STRING, -1, NULL, NULL, NULL, "string" },
    { TYPE_REF, CLASS_Thing, NULL, NULL, NULL, "Thing ref" },
    { TYPE_SET, -1, NULL, NULL, &type_descs[1], "Thing ref set" },
    { TYPE_RECORD, -1, NULL, NULL, NULL, "<class> record" },
    { TYPE_ENUM, -1, &enum_desc_thing_state, NULL, NULL, "enum thing_state" },
    { TYPE_SET, -1, NULL, NULL, &type_descs[4], "enum thing_state set" },
    { TYPE_INT, -1, NULL, NULL, NULL, "int" },
    { TYPE_FLOAT, -1, NULL, NULL, NULL, "float" },
    { TYPE_BOOL, -1, NULL, NULL, NULL, "bool" },
    { TYPE_DATETIME, -1, NULL, NULL, NULL, "datetime" },
    { TYPE_REF, CLASS_Box, NULL, NULL, NULL, "Box ref" },
    { TYPE_SET, -1, NULL, NULL, &type_descs[0], "string set" },
    { TYPE_SET, -1, NULL, NULL, &type_descs[6], "int set" },
    { TYPE_MAP, -1, NULL, &type_descs[0], &type_descs[0], "(string -> string) map" },
    { TYPE_OPTION, -1, NULL, NULL, &type_descs[0], "string option" },
    { TYPE_BATCH, -1, NULL, NULL, NULL, "an event batch" },
    { TYPE_VOID, -1, NULL, NULL, NULL, "void" },
    { TYPE_MAP, -1, NULL, &type_descs[6], &type_descs[7], "(int -> float) map" },
    { TYPE_RECORD, CLASS_Box, NULL, NULL, NULL, "Box record" },
    { TYPE_RECORD, CLASS_Thing, NULL, NULL, NULL, "Thing record" },
    { TYPE_MAP, -1, NULL, &type_descs[1], &type_descs[19], "(Thing ref -> Thing record) map" },
};

static const struct field_desc fields_Box[] = {
    { "uuid", "uuid", &type_descs[0], CELL_STRING, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "",
      .default_value = { .kind = VALUE_STRING, .s = "", .len = 0 },
      .id = F_Box_uuid,
      .doc = "Its identifier." },
    { "things", "things", &type_descs[2], CELL_REFSET, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "{}",
      .default_value = { .kind = VALUE_SET },
      .id = F_Box_things, .inverse = F_Thing_box,
      .doc = "What is in it." },
};

static const struct field_desc fields_event[] = {
    { "snapshot", "snapshot", &type_descs[3], CELL_VALUE, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "{}",
      .default_value = { .kind = VALUE_MAP },
      .id = F_event_snapshot,
      .doc = "The record." },
};

static const struct value items_Thing_ports[] = {
    { .kind = VALUE_INT, .i = 1 },
    { .kind = VALUE_INT, .i = 2 },
};
static const struct key_role keys_Thing_other_config[] = {
    { "folder", ROLE_VM_OPERATOR },
    { "Console.*", ROLE_VM_OPERATOR },
    { NULL, ROLE_NONE },
};
static const struct member items_Thing_other_config[] = {
    { "a", { .kind = VALUE_STRING, .s = "1", .len = 1 } },
    { "b", { .kind = VALUE_STRING, .s = "x, y", .len = 4 } },
};
static const struct field_desc fields_Thing[] = {
    { "uuid", "uuid", &type_descs[0], CELL_STRING, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "",
      .default_value = { .kind = VALUE_STRING, .s = "", .len = 0 },
      .id = F_Thing_uuid,
      .doc = "Its identifier." },
    { "name_label", "name__label", &type_descs[0], CELL_STRING, QUAL_RW,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "",
      .default_value = { .kind = VALUE_STRING, .s = "", .len = 0 },
      .id = F_Thing_name_label,
      .doc = "Its name." },
    { "state", "state", &type_descs[4], CELL_ENUM, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "in-use",
      .default_value = { .kind = VALUE_STRING, .s = "in-use", .len = 6 },
      .id = F_Thing_state,
      .doc = "Its state." },
    { "states", "states", &type_descs[5], CELL_BITS, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = false, .secret = false, .default_text = "{}",
      .default_value = { .kind = VALUE_SET },
      .id = F_Thing_states,
      .doc = "Its states." },
    { "size", "size", &type_descs[6], CELL_INT, QUAL_RO_CONSTRUCTOR,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "-1",
      .default_value = { .kind = VALUE_INT, .i = -1 },
      .id = F_Thing_size,
      .doc = "Its size in bytes." },
    { "ratio", "ratio", &type_descs[7], CELL_FLOAT, QUAL_RW,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "0.5",
      .default_value = { .kind = VALUE_FLOAT, .d = 0.5 },
      .id = F_Thing_ratio,
      .doc = "A ratio." },
    { "good", "good", &type_descs[8], CELL_BOOL, QUAL_RW,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "true",
      .default_value = { .kind = VALUE_BOOL, .b = true },
      .id = F_Thing_good,
      .doc = "Whether it is good." },
    { "born", "born", &type_descs[9], CELL_DATETIME, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "20000101T00:00:00Z",
      .default_value = { .kind = VALUE_DATETIME, .i = 946684800 },
      .id = F_Thing_born,
      .doc = "When it was made." },
    { "box", "box", &type_descs[10], CELL_REF, QUAL_RO_CONSTRUCTOR,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "OpaqueRef:NULL",
      .default_value = { .kind = VALUE_REF },
      .id = F_Thing_box,
      .doc = "Where it is." },
    { "tags", "tags", &type_descs[11], CELL_VALUE, QUAL_RW,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "{}",
      .default_value = { .kind = VALUE_SET },
      .id = F_Thing_tags,
      .doc = "Words about it." },
    { "ports", "ports", &type_descs[12], CELL_VALUE, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "{1, 2}",
      .default_value = { .kind = VALUE_SET, .set = { items_Thing_ports, 2 } },
      .id = F_Thing_ports,
      .doc = "Some numbers." },
    { "other_config", "other_config", &type_descs[13], CELL_VALUE, QUAL_RW,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "{\"a\" -> \"1\", \"b\" -> \"x, y\"}",
      .default_value = { .kind = VALUE_MAP, .map = { items_Thing_other_config, 2 } },
      .id = F_Thing_other_config, .key_roles = keys_Thing_other_config,
      .doc = "More about it." },
    { "memory_max", "memory__max", &type_descs[6], CELL_INT, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "0",
      .default_value = { .kind = VALUE_INT, .i = 0 },
      .id = F_Thing_memory_max,
      .doc = "A nested name." },
    { "note", "note", &type_descs[14], CELL_VALUE, QUAL_RO_RUNTIME,
      LIFE_PUBLISHED, .persistent = true, .secret = false, .default_text = "{}",
      .default_value = { .kind = VALUE_VOID },
      .id = F_Thing_note,
      .doc = "Perhaps a note." },
    { "code", "code", &type_descs[0], CELL_STRING, QUAL_RW,
      LIFE_PUBLISHED, .persistent = true, .secret = true, .default_text = "",
      .default_value = { .kind = VALUE_STRING, .s = "", .len = 0 },
      .id = F_Thing_code,
      .doc = "A secret." },
    { "old", "old", &type_descs[0], CELL_STRING, QUAL_RO_RUNTIME,
      LIFE_REMOVED, .persistent = true, .secret = false, .default_text = "",
      .default_value = { .kind = VALUE_STRING, .s = "", .len = 0 },
      .id = F_Thing_old,
      .doc = "Gone." },
};

static const struct class_desc classes[N_CLASSES] = {
    [CLASS_NONE] = { .name = "", .event_name = "", .doc = "" },
    [CLASS_Box] = { "Box", "box", CLASS_Box, 2, fields_Box, F_Box_uuid, 0,
        .stored = true, .evented = false, .has_get_all_records = false, .lifecycle = LIFE_PUBLISHED,
        .doc = "Where things are." },
    [CLASS_event] = { "event", "event", CLASS_event, 1, fields_event, 0, 0,
        .stored = false, .evented = false, .has_get_all_records = false, .lifecycle = LIFE_PUBLISHED,
        .doc = "Something happened." },
    [CLASS_Thing] = { "Thing", "thing", CLASS_Thing, 16, fields_Thing, F_Thing_uuid, F_Thing_name_label,
        .stored = true, .evented = true, .has_get_all_records = true, .lifecycle = LIFE_PUBLISHED,
        .doc = "Something that has one of every kind of field." },
};

static const struct role_desc roles[] = {
    { "pool-admin", "0165f154-ba3e-034e-6b27-5d271af109ba", "Everything.", false },
    { "pool-operator", "b9ce9791-0604-50cd-0649-09b3284c7dfd", "Less.", false },
    { NULL, NULL, NULL, false },
};

const struct model model = {
    N_CLASSES, 43, 5, 2, 1,
    classes, method_descs, error_descs, roles, enums,
};
