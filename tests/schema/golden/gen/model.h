/* The data model's identifiers: classes, fields, enumerations.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_MODEL_H
#define GEN_MODEL_H

#include "lib/model.h"

enum class_id {
    CLASS_NONE,
    CLASS_Box,
    CLASS_event,
    CLASS_Thing,
    N_CLASSES
};

enum thing_state {
    thing_state_Idle,
    thing_state_in_use,
};
enum { N_thing_state = 2 };
extern const struct enum_desc enum_desc_thing_state;

/* Box */
enum {
    F_Box_uuid = 0x00010000,   /* string */
    F_Box_things = 0x00010001,   /* Thing ref set */
};

/* event */
enum {
    F_event_snapshot = 0x00020000,   /* <class> record */
};

/* Thing */
enum {
    F_Thing_uuid = 0x00030000,   /* string */
    F_Thing_name_label = 0x00030001,   /* string */
    F_Thing_state = 0x00030002,   /* enum thing_state */
    F_Thing_states = 0x00030003,   /* enum thing_state set */
    F_Thing_size = 0x00030004,   /* int */
    F_Thing_ratio = 0x00030005,   /* float */
    F_Thing_good = 0x00030006,   /* bool */
    F_Thing_born = 0x00030007,   /* datetime */
    F_Thing_box = 0x00030008,   /* Box ref */
    F_Thing_tags = 0x00030009,   /* string set */
    F_Thing_ports = 0x0003000a,   /* int set */
    F_Thing_other_config = 0x0003000b,   /* (string -> string) map */
    F_Thing_memory_max = 0x0003000c,   /* int */
    F_Thing_note = 0x0003000d,   /* string option */
    F_Thing_code = 0x0003000e,   /* string */
    F_Thing_old = 0x0003000f,   /* string */
};

/* The table behind enum type ids; methods.c and model.c only. */
extern const struct type_desc type_descs[];

#endif
