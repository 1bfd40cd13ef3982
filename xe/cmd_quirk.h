/* Fields of the command line that are not simply a field of the model.
 * Called by: cmd_field.c, cmd_record.c.  Calls: cmd. */
#ifndef XE_CMD_QUIRK_H
#define XE_CMD_QUIRK_H

#include "xe/cmd.h"

enum {
    QUIRK_COMMA = 1,   /* set members are joined by ", " and not "; ": for old scripts' sake */
    QUIRK_NO_CASE = 2, /* filters compare without regard to case */
    QUIRK_BYTES = 4,   /* a size: may be written with a suffix */
    QUIRK_NAMES = 8,   /* references are shown by name, not uuid */
    QUIRK_NUMBER = 16, /* computed, and a number: --json shows it as such */
    QUIRK_BOOL = 32,   /* computed, and true or false */
};

struct field_quirk {
    int cls;
    const char *name;
    unsigned flags;
    field_id field, through;           /* not 0: shown instead of what the schema says */
    const char *missing;               /* shown when the object reached through a reference does not exist */
    /* Not NULL: computes what is shown. */
    int (*get)(struct cmd *c, struct cmd_object_row *row, struct value *ret_value, struct xerr *err);
};

/* NULL when the field has none. */
const struct field_quirk *field_quirk(int cls, const char *name);

#endif
