/* The record classes of the command line and their fields.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_XE_FIELDS_H
#define GEN_XE_FIELDS_H

#include "gen/model.h"

enum xe_kind { XE_SCALAR, XE_SET, XE_MAP };

struct xe_field {
    const char *name;              /* "power-state" */
    enum xe_kind kind;
    field_id field;                /* what is shown; 0 = the command computes it */
    field_id through;              /* not 0: field is a reference, and this field of its object is shown */
    bool can_set, can_add, can_remove, by_default, hidden, expensive, deprecated;
};

struct xe_record {
    const char *name;              /* "vm" as in vm-list */
    int cls;
    unsigned n_fields;
    const struct xe_field *fields;
};

enum { N_XE_RECORDS = 1 };
extern const struct xe_record xe_records[N_XE_RECORDS + 1];   /* the last has no name */

#endif
