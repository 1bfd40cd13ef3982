/* The record classes of the command line.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/xe_fields.h"

static const struct xe_field fields_thing[] = {
    { "uuid", XE_SCALAR, F_Thing_uuid, 0, .can_set = false, .by_default = true },
    { "box-uuid", XE_SCALAR, F_Thing_box, F_Box_uuid, .can_set = false },
    { "other-config", XE_MAP, F_Thing_other_config, 0, .can_set = true, .can_add = true, .can_remove = true },
    { "guess", XE_SCALAR, 0, 0, .can_set = false },
};

const struct xe_record xe_records[N_XE_RECORDS + 1] = {
    { "thing", CLASS_Thing, 4, fields_thing },
    { .name = NULL },
};
