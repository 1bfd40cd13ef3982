/* A constructor per XenAPI error: sets code and parameters (copied), returns -1.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_ERRORS_H
#define GEN_ERRORS_H

#include "lib/model.h"

/* Sorted by code; the last entry has no code. */
extern const struct error_desc error_descs[];

int xerr_anything(struct xerr *err, size_t n, const char *const *params);
int xerr_field_type_error(struct xerr *err, const char *field);
int xerr_free(struct xerr *err);
int xerr_not_implemented(struct xerr *err, const char *function);
int xerr_thing_bad_state(struct xerr *err, const char *thing, const char *actual_state);

#endif
